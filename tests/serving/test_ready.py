"""Who answers where no model was named: the ready-made one for such a question, and it says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from silicast.datasets.errors import InputError, TableError
from silicast.serving import ready as chooser
from silicast.serving.cli import app
from silicast.serving.predictor import Predictor
from silicast.surrogates import ready
from silicast.surrogates.card import ModelCard

runner = CliRunner()
GEMM = {"op": "gemm", "columns": {"m": "m", "n": "n", "k": "k", "dtype": "dtype"}, "hardware": "hardware", "targets": {}}


@pytest.fixture(autouse=True)
def _no_store_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv(ready.VARIABLE, raising=False)


def told(*args: Any) -> dict[str, Any]:
    result = runner.invoke(app, [*map(str, args), "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def gemm_table(tmp_path: Path, **more: Any) -> Path:
    frame = pd.DataFrame({"m": [128, 4096, 64], "n": [4096, 4096, 512], "k": [4096, 8192, 512], "dtype": ["bfloat16", "fp8", "float16"], "hardware": ["h100", "b200_sxm", "a100_sxm"]})
    frame.assign(**more).to_csv(tmp_path / "gemm.csv", index=False)
    return tmp_path / "gemm.csv"


def test_a_network_file_is_answered_right_after_installation(workload_file: Path) -> None:
    document = told("predict", workload_file, "--on", "h100,t4")
    assert document["model"] == "networks"
    assert document["version"] == ready.card("networks").version
    assert document["level"] == 0.9
    for row in document["predictions"]:
        latency = row["targets"]["latency_s"]
        assert 0 < latency["low"] <= latency["point"] <= latency["high"]
        assert row["domain"]["verdict"] in ("in_domain", "extrapolating")
    shown = runner.invoke(app, ["predict", str(workload_file), "--on", "h100"]).stdout
    assert f"model networks version {document['version']}" in shown


def test_a_table_of_operators_needs_neither_model_nor_schema(tmp_path: Path) -> None:
    document = told("predict", gemm_table(tmp_path))
    assert document["model"] == "gpu-kernels"
    assert [row["row"] for row in document["predictions"]] == [1, 2, 3]
    assert all(1e-7 < row["targets"]["latency_s"]["point"] < 1.0 for row in document["predictions"])
    assert any("framework, kernel_source not told" in note for note in document["notes"])
    schema = tmp_path / "s.json"
    schema.write_text(json.dumps({**GEMM, "context": ["library"]}))
    again = told("predict", gemm_table(tmp_path, library="mine"), "--schema", schema)
    assert [r["targets"] for r in again["predictions"]] == [r["targets"] for r in document["predictions"]]


def test_power_is_asked_of_the_model_that_measured_it(tmp_path: Path) -> None:
    document = told("predict", gemm_table(tmp_path), "--target", "power_w")
    assert document["model"] == "gpu-power"
    assert 50 < document["predictions"][1]["targets"]["power_w"]["point"] < 1500


def test_a_plain_table_finds_the_model_whose_inputs_it_has(tmp_path: Path) -> None:
    pd.DataFrame({"d_in": [64], "d_out": [64], "prec": [8], "rf": [512], "strategy": ["resource"]}).to_csv(tmp_path / "d.csv", index=False)
    document = told("predict", tmp_path / "d.csv")
    assert document["model"] == "fpga-hls4ml"
    assert document["predictions"][0]["targets"]["lut"]["point"] > 100
    pd.DataFrame({"length": [64], "width": [64]}).to_csv(tmp_path / "e.csv", index=False)
    result = runner.invoke(app, ["predict", str(tmp_path / "e.csv")])
    assert result.exit_code == 2
    assert "fpga-hls4ml needs d_in, d_out, prec, rf, strategy" in result.stderr
    assert "gpu-kernels needs op, hardware, dtype" in result.stderr


def test_models_list_and_show_tell_them(tmp_path: Path) -> None:
    listed = {row["reference"]: row for row in told("models", "list")["ready"]}
    assert {"ready:networks", "ready:gpu-kernels"} <= set(listed)
    assert not any(row["stale"] for row in listed.values())
    assert told("models", "show", "ready:gpu-kernels")["card"]["data_licence"]
    assert "data of" in runner.invoke(app, ["models", "show", "ready:gpu-kernels"]).stdout


def test_in_python_by_name(workload_file: Path) -> None:
    import silicast as sc

    model = Predictor.load("ready:networks")
    assert Predictor.ready("networks").version == model.version
    answer = sc.Predictor.ready().predict(sc.read(workload_file), "a100").answer(0)
    assert answer["model"] == "networks"


def test_columns_that_are_no_operator(tmp_path: Path) -> None:
    pd.DataFrame([{"op": "conv", "m": 16, "n": 32, "k": 64, "dtype": "bfloat16", "hardware": "h100_sxm"}]).to_csv(tmp_path / "c.csv", index=False)
    card = ModelCard("kernels", "1", "op", ("latency_s",), {}, "1", "1", "made up", "d", 10, "none", 0.9, extra={"circumstances": "{}"}, schema={
        "columns": {"gemm": {"m": "m", "n": "n", "k": "k", "dtype": "dtype"}, "softmax": {}}, "op": {"column": "op"}, "context": ["framework"], "hardware": "hardware", "group": ["site"], "targets": {}})
    with pytest.raises(TableError, match="conv"):
        chooser.schema_of(tmp_path / "c.csv", card)
    pd.DataFrame({"a": [1]}).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match="no ready-made model answers"):
        chooser.for_table(tmp_path / "a.csv", None, ())


def fresh(code: str, folder: Path) -> str:
    """What a fresh interpreter prints after the code, in that folder."""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=120, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_cold_answer_about_a_network_loads_no_learning_library(workload_file: Path, tmp_path: Path) -> None:
    code = ("import runpy, sys\n"
            f"sys.argv = ['silicast', 'predict', {str(workload_file)!r}, '--on', 'h100']\n"
            "try:\n    runpy.run_module('silicast', run_name='__main__')\n"
            "except SystemExit as end:\n    assert not end.code, end.code\n"
            "print('LOADED', *sorted({'torch', 'lightgbm', 'scipy', 'mlflow', 'sklearn', 'matplotlib'} & set(sys.modules)))")
    assert fresh(code, tmp_path).rpartition("LOADED")[2].split() == []


def test_operators_are_answered_where_torch_is_not_installed(tmp_path: Path) -> None:
    code = ("import sys\nsys.modules['torch'] = None\n"
            "from pathlib import Path\nfrom silicast.serving import verbs\n"
            f"told = verbs.predict(Path({str(gemm_table(tmp_path))!r}), (), None, None, None, (), 'error', None, (), None).document\n"
            "print(told['model'], all(row['targets']['latency_s']['point'] > 0 for row in told['predictions']))")
    assert fresh(code, tmp_path).split() == ["gpu-kernels", "True"]
