"""The command line: every verb's reply, as JSON and as text; what goes where; exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from silicast.datasets.catalog import hardware, keys
from silicast.datasets.simulator import simulate
from silicast.serving import machines, verbs
from silicast.serving.cli import app
from silicast.serving.predictor import Predictor
from silicast.serving.quantities import interval, quantity
from silicast.serving.reply import plain
from silicast.surrogates.card import ModelCard

from .conftest import bounded, gemms, plain_rows

HEAVY = ("torch", "mlflow", "lightgbm", "sklearn", "pandas", "onnx", "matplotlib", "fastapi", "numpy", "pyarrow", "pydantic", "yaml")


def run(*args: Any) -> Any:
    return CliRunner().invoke(app, [str(a) for a in args])


def document(*args: Any) -> Any:
    """The JSON document of a verb that succeeds."""
    result = run(*args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_help_loads_nothing_heavy() -> None:
    code = f"import sys\nfrom silicast.__main__ import main\ntry: main()\nexcept SystemExit as e: assert not e.code\nprint([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "[]"
    for verb in ("hardware", "inspect", "simulate", "generate", "train", "fit", "predict", "evaluate", "models", "serve", "demo", "calibrate", "measure", "search"):
        assert verb in done.stdout


def test_importing_silicast_loads_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", f"import sys, silicast\nprint([m for m in {HEAVY!r} if m in sys.modules])"], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_version_and_help_of_every_verb() -> None:
    from silicast import __version__

    assert run("--version").stdout.strip() == f"silicast {__version__}"
    for verb in ("inspect", "simulate", "generate", "train", "fit", "predict", "evaluate", "serve", "demo"):
        told = run(verb, "--help")
        assert told.exit_code == 0
        assert "--json" in told.stdout


def test_hardware_list_and_show() -> None:
    assert [d["key"] for d in document("hardware", "list")["devices"]] == list(keys())
    told = document("hardware", "show", "A100-SXM4-80GB")
    assert told["key"] == "a100_sxm"
    assert told["memory"][-1]["bandwidth_bytes_per_s"] == hardware("a100_sxm").dram_bandwidth
    assert told["cited"]
    text = run("hardware", "show", "t4").stdout
    assert "70 W" in text  # the T4's published board power
    assert "(1) " in text


def test_inspect_counts(workload_file: Path) -> None:
    told = document("inspect", workload_file)
    # four layers of 16 x 256 x 256: 2 x 4 x 16 x 256 x 256 flops on matrix units, and 4 x 16 x 256 for the activations; 2 bytes a weight
    assert told["flops"] == 2 * 4 * 16 * 256 * 256 + 4 * 16 * 256
    assert told["params"] == 4 * 256 * 256
    assert told["weight_bytes"] == 2 * 4 * 256 * 256
    assert told["ops"] == 8
    assert told["by_kind"]["gemm"]["ops"] == 4
    assert "8 ops" in run("inspect", workload_file).stdout


def test_simulate_several_devices(workload_file: Path) -> None:
    told = document("simulate", workload_file, "--on", "t4,h100", "--on", "T4", "--ops")
    assert [a["hardware"] for a in told["answers"]] == ["t4", "h100_sxm"]  # each once, in order
    assert told["answers"][0]["values"]["latency_s"] == simulate(gemms(256, 4, 16), hardware("t4")).values["latency_s"]
    assert sum(op["latency_s"] for op in told["answers"][0]["ops"]) == pytest.approx(told["answers"][0]["values"]["latency_s"])
    assert "us" in run("simulate", workload_file, "--on", "t4").stdout


def test_a_yaml_device(workload_file: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("key: mine\nname: Mine\nkind: gpu\nclock: {value: 1, unit: GHz, source: user}\nmatrix_rate: {float16: {value: 10, unit: Top/s, source: user}}\n"
                    "memory:\n  - {name: dram, capacity: {value: 8, unit: GB, source: user}, bandwidth: {value: 100, unit: GB/s, source: user}}\n", encoding="utf-8")
    assert [a["hardware"] for a in document("simulate", workload_file, "--on", f"{mine},t4")["answers"]] == ["mine", "t4"]


def test_predict_a_workload(workload_file: Path, model_folder: Path, predictor: Predictor) -> None:
    told = document("predict", workload_file, "--on", "a100_sxm,t4", "--model", model_folder)
    assert [p["hardware"] for p in told["predictions"]] == ["a100_sxm", "t4"]
    assert (told["model"], told["version"], told["level"]) == ("tiny", "7", 0.9)
    assert told["units"]["latency_s"] == "s"
    expected = predictor.predict(gemms(256, 4, 16), hardware("t4")).answer(0)
    assert {k: told["predictions"][1][k] for k in expected} == expected
    text = run("predict", workload_file, "--on", "t4", "--model", model_folder).stdout
    assert "us [" in text
    assert "model tiny version 7" in text
    assert "intervals hold at 90 % for rows in the domain; for the others they are not calibrated" in text
    assert "~[" not in text


def test_an_interval_outside_the_domain_is_marked(tmp_path: Path, model_folder: Path) -> None:
    file = tmp_path / "wide.json"
    file.write_text(json.dumps(gemms(8192, 2, 16).to_json()), encoding="utf-8")
    (told,) = document("predict", file, "--on", "a100_sxm", "--model", model_folder)["predictions"]
    assert (told["domain"]["verdict"], told["calibrated"]) == ("extrapolating", False)
    row = next(line for line in run("predict", file, "--on", "a100_sxm", "--model", model_folder).stdout.splitlines() if line.startswith("a100_sxm  "))
    assert row.count(" ~[") == row.count("[") == 4  # each of its four targets


def test_predict_says_why_it_doubts(tmp_path: Path, model_folder: Path) -> None:
    file = tmp_path / "odd.json"
    file.write_text(json.dumps(bounded().to_json()), encoding="utf-8")
    text = run("predict", file, "--on", "a100_sxm", "--model", model_folder).stdout
    assert "a100_sxm: unsupported: " in text
    assert "mystery" in text
    (told,) = document("predict", file, "--on", "a100_sxm", "--model", model_folder, "--fallback", "simulate")["predictions"]
    assert told["model"] == "simulator"


def test_predict_writes_one_row_per_device(workload_file: Path, model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert document("predict", workload_file, "--on", "t4,h100", "--model", model_folder, "--out", out, "--target", "latency_s")["out"] == str(out)
    frame = pd.read_csv(out)
    assert list(frame.columns) == ["hardware", "latency_s", "latency_s_low", "latency_s_high", "domain", "domain_reason", "calibrated"]
    assert list(frame["hardware"]) == ["t4", "h100_sxm"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_in_a_table_out(tmp_path: Path, table_model: Path, suffix: str) -> None:
    rows = plain_rows(50, seed=1).drop(columns=["lut_used", "t_us"])
    table, out = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
    rows.to_csv(table, index=False) if suffix == "csv" else rows.to_parquet(table)
    told = document("predict", table, "--model", table_model, "--out", out)
    assert told["rows"] == 50
    assert "predictions" not in told
    frame = pd.read_csv(out) if suffix == "csv" else pd.read_parquet(out)
    assert list(frame.columns) == ["lut", "lut_low", "lut_high", "latency_s", "latency_s_low", "latency_s_high", "domain", "domain_reason", "calibrated"]
    truth = plain_rows(50, seed=1)
    assert (frame["latency_s"] / (truth["t_us"] * 1e-6)).median() == pytest.approx(1.0, rel=0.1)
    assert frame["latency_s"].corr(truth["t_us"]) > 0.9  # the rows are still in order
    assert {p.name for p in tmp_path.iterdir()} == {table.name, out.name}


def test_rows_the_schema_leaves_out_keep_their_place(tmp_path: Path, table_model: Path) -> None:
    import yaml

    from .conftest import SCHEMA

    rows = plain_rows(20, seed=2)
    table, schema, out = tmp_path / "in.csv", tmp_path / "schema.yaml", tmp_path / "out.csv"
    rows.to_csv(table, index=False)
    schema.write_text(yaml.safe_dump(SCHEMA | {"where": {"strategy": ["latency"]}}), encoding="utf-8")
    assert run("predict", table, "--model", table_model, "--schema", schema, "--out", out).exit_code == 0
    frame = pd.read_csv(out)
    assert len(frame) == 20
    assert (frame["lut"].notna() == (rows["strategy"] == "latency")).all()
    assert frame["domain_reason"][rows["strategy"] != "latency"].str.contains("where").all()


def test_a_table_of_networks(tmp_path: Path, model_folder: Path, workload_file: Path, predictor: Predictor) -> None:
    table = tmp_path / "nets.csv"
    pd.DataFrame({"workload": ["net.json", json.dumps(gemms(128, 2, 1).to_json())], "hardware": ["t4", "h100"]}).to_csv(table, index=False)
    told = document("predict", table, "--model", model_folder)
    assert told["predictions"][0]["targets"] == predictor.predict(gemms(256, 4, 16), hardware("t4")).answer(0)["targets"]
    assert [p["row"] for p in told["predictions"]] == [1, 2]
    assert "2 rows in_domain" in run("predict", table, "--model", model_folder).stdout


def test_without_a_model_it_says_how_to_get_one(workload_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("SILICAST_READY", str(tmp_path))  # as if none had come with the package
    for args in (("predict", workload_file, "--on", "t4"), ("serve",)):
        result = run(*args)
        assert result.exit_code == 2
        assert "silicast demo" in result.stderr
    assert "no model store here" in run("models", "list").stdout
    assert not (tmp_path / "mlflow.db").exists()



def test_generate_passes_on_what_was_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from silicast.datasets import generate as module

    seen: dict[str, Any] = {}

    def stub(out: Path, **given: Any) -> dict[str, Any]:
        seen.update(given, out=out)
        given["say"]("half way")
        print("a library talks")
        return {"rows": given["count"]}

    monkeypatch.setattr(module, "generate", stub)
    result = run("generate", tmp_path / "t", "--count", 12, "--seed", 3, "--devices", "t4,h100_sxm", "--workers", 1, "--json")
    assert json.loads(result.stdout) == {"rows": 12}
    assert "half way" in result.stderr
    assert "a library talks" in result.stderr
    assert (seen["count"], seen["seed"], seen["devices"], seen["workers"], "sampled" in seen) == (12, 3, ["t4", "h100_sxm"], 1, False)


def test_fit_and_evaluate_pass_on_what_was_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    card = ModelCard("m", "", "op", ("latency_s",), {"latency_s": "s"}, "1", "", "measured:t.csv", "0", 10, "by group", 0.9, metrics={"all": {"latency_s": {"median_ape": 0.05}}})
    seen: dict[str, Any] = {}

    def fit_table(table: Path, schema: Path, targets: Any, out: Path, **rest: Any) -> ModelCard:
        seen.update(rest, table=table, schema=schema, targets=targets, out=out)
        return card

    def evaluate_table(folder: Path, table: Path, **rest: Any) -> Any:
        seen.update(rest, folder=folder)
        frame = pd.DataFrame({"slice": ["all"], "target": ["latency_s"], "median_ape": [float("nan")]})
        return types.SimpleNamespace(frame=frame, flagged=0.25, rows=8, source="measured:t.csv", to_json=lambda: {"metrics": {"all": {"latency_s": {"median_ape": float("nan")}}}})

    monkeypatch.setitem(sys.modules, "silicast.training.fitting", types.SimpleNamespace(fit_table=fit_table, evaluate_table=evaluate_table))
    args = ("fit", "t.csv", "--schema", "s.yaml", "--target", "latency_s", "--target", "power_w", "--out", tmp_path / "m", "--seed", 4, "--skip-bad-rows")
    assert document(*args)["card"]["targets"] == ["latency_s"]
    assert (seen["targets"], seen["seed"], seen["skip_bad_rows"], seen["level"], seen["schema"]) == (("latency_s", "power_w"), 4, True, 0.9, Path("s.yaml"))
    assert "5 %" in run(*args).stdout
    assert document("evaluate", tmp_path / "m", "t.csv")["metrics"]["all"]["latency_s"]["median_ape"] is None
    assert (seen["folder"], seen["schema"], seen["skip_bad_rows"]) == (tmp_path / "m", None, False)
    assert "25.0% outside" in run("evaluate", tmp_path / "m", "t.csv").stdout


@dataclass(frozen=True)
class _StoryModel:
    name: str = "m"
    version: str = "1"
    folder: Path = Path("out/m")
    metrics: Any = field(default_factory=lambda: {"latency_s": {"median_ape": 0.051, "coverage": 0.9}})
    unseen: Any = field(default_factory=dict)
    champion: bool = True
    gate: tuple[str, ...] = ("first champion",)


def test_train_tells_the_story(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from silicast.training import config, pipeline, story

    told = story.Story("s", (_StoryModel(),), tmp_path / "report.html", "sqlite:///x", "r1", {"fit": 1.5})  # type: ignore[arg-type]
    monkeypatch.setattr(config.Experiment, "load", classmethod(lambda cls, path: path))
    monkeypatch.setattr(pipeline, "run", lambda experiment, say: (say("step one"), told)[1])
    result = run("train", "e.yaml", "--json")
    assert json.loads(result.stdout)["models"][0]["champion"] is True
    assert "step one" in result.stderr
    assert "5.1 %" in run("train", "e.yaml").stdout


def test_a_folder_into_the_registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from contextlib import nullcontext

    from silicast.training import registry, tracking

    monkeypatch.setattr(tracking, "Run", lambda name: nullcontext(name))
    monkeypatch.setattr(registry, "register", lambda folder, name, run: f"{len(str(folder.name))}")
    monkeypatch.setattr(registry, "promote", lambda name, version: registry.Promotion(name, version, None, ("first champion; coverage holds",)))
    assert document("models", "register", str(tmp_path / "four"), "plain") == {"name": "plain", "version": "4"}
    assert document("models", "register", str(tmp_path / "four"), "plain", "--promote")["champion"] is True


def test_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from silicast.training import registry

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'm.db'}")
    (tmp_path / "m.db").touch()
    version = registry.Version("tiny", "3", ("champion",), 0.0, "", {"gate": "passed"})
    known = registry.Registered("tiny", (version,), "3", ("1",))
    monkeypatch.setattr(registry, "list_models", lambda: (known,))
    monkeypatch.setattr(registry, "show", lambda name: known)
    monkeypatch.setattr(registry, "card_of", lambda ref: ModelCard("tiny", "3", "graph", ("latency_s",), {}, "1", "1", "simulated:1", "0", 10, "none", 0.9))
    monkeypatch.setattr(registry, "promote", lambda name, number, force=False: registry.Promotion(name, number, "3", ("better",)))
    monkeypatch.setattr(registry, "rollback", lambda name: registry.Promotion(name, "1", "3", ("rolled back",)))
    assert document("models", "list")["models"][0]["champion"] == "3"
    assert document("models", "show", "tiny")["card"]["targets"] == ["latency_s"]
    assert document("models", "promote", "tiny", "4")["version"] == "4"
    assert document("models", "rollback", "tiny")["version"] == "1"
    for args in (("list",), ("show", "tiny"), ("promote", "tiny", "4"), ("rollback", "tiny")):
        assert "tiny" in run("models", *args).stdout


def test_demo_passes_on_what_was_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Any] = []
    monkeypatch.setitem(sys.modules, "silicast.serving.demo", types.SimpleNamespace(run_demo=lambda *a: (seen.extend(a), {"report": tmp_path / "r.html"})[1]))
    assert document("demo", "--out", tmp_path, "--quick", "--seed", 5)["report"] == str(tmp_path / "r.html")
    assert (seen[0], seen[1], seen[3], seen[5]) == (tmp_path, None, 5, True)


def test_serve_without_its_extra_names_it(monkeypatch: pytest.MonkeyPatch, model_folder: Path) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = run("serve", "--model", model_folder)
    assert result.exit_code == 2
    assert "silicast[serve]" in result.stderr


def test_serve_loads_the_model_then_listens(monkeypatch: pytest.MonkeyPatch, model_folder: Path) -> None:
    uvicorn = pytest.importorskip("uvicorn")
    seen: dict[str, Any] = {}
    monkeypatch.setattr(uvicorn, "run", lambda app, **given: seen.update(given, app=app))
    assert run("serve", "--model", model_folder, "--port", 9001).exit_code == 0
    assert (seen["host"], seen["port"], seen["app"].title) == ("127.0.0.1", 9001, "silicast")


def test_our_own_faults_are_one_line_and_exit_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(machines, "hardware_list", broken)
    monkeypatch.delenv("SILICAST_DEBUG", raising=False)
    result = run("hardware", "list")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == ["silicast: internal error: RuntimeError: two lines (a defect of silicast; SILICAST_DEBUG=1 shows where)"]
    monkeypatch.setenv("SILICAST_DEBUG", "1")
    assert "Traceback" in run("hardware", "list").stderr


def test_a_registry_that_is_down_is_exit_1(monkeypatch: pytest.MonkeyPatch) -> None:
    from silicast.datasets.errors import RegistryError

    def down() -> None:
        raise RegistryError("model store sqlite:///x: the file is damaged")

    monkeypatch.setattr(verbs, "models_list", down)
    result = run("models", "list")
    assert result.exit_code == 1
    assert result.stderr.startswith("silicast: error: model store")


def test_a_reader_that_goes_away_is_no_crash(tmp_path: Path) -> None:
    done = subprocess.run(f"{sys.executable} -m silicast hardware show h100 --json | head -c 1", shell=True, capture_output=True, text=True, timeout=60, env=dict(os.environ))
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_figures_as_people_read_them() -> None:
    assert quantity(1.234e-3, "s") == "1.23 ms"
    assert quantity(0.99996e-3, "s") == "1 ms"
    assert quantity(2.5e-6, "J") == "2.5 uJ"
    assert quantity(512e6, "B") == "512 MB"
    assert quantity(1234.0, "1") == "1,234"
    assert quantity(0.0, "s") == "0 s"
    assert quantity(None, "W") == quantity(float("nan"), "W") == "-"
    assert interval(1.23e-3, 1.1e-3, 1.381e-3, "s") == "1.23 ms [1.10, 1.38]"
    assert interval(12.3e-3, 9.96e-3, 15e-3, "s") == "12.3 ms [9.96, 15.0]"
    assert interval(None, None, None, "s") == "-"
    assert interval(5.0, float("nan"), float("nan"), "W") == "5 W"


def test_plain_leaves_nothing_json_does_not_know() -> None:
    import numpy as np

    value = {"a": np.float64("nan"), "b": np.arange(2), "c": Path("x"), 3: (np.int64(1), float("inf")), "d": pd.DataFrame({"x": [1]})}
    assert plain(value) == {"a": None, "b": [0, 1], "c": "x", "3": [1, None], "d": [{"x": 1}]}


def test_simulate_at_another_clock_power_limit_and_objective(workload_file: Path) -> None:
    asked = ("simulate", workload_file, "--on", "h100")
    told = document(*asked)["answers"][0]
    assert sum(told["energy_parts_j"].values()) == pytest.approx(told["values"]["energy_j"])
    slow = document(*asked, "--clock-mhz", 500, "--power-limit-w", 200)["answers"][0]
    assert slow["hardware"] == "h100_sxm_500mhz_200w"
    assert slow["values"]["latency_s"] > told["values"]["latency_s"]
    assert slow["values"]["power_w"] <= 200
    thrifty = document(*asked, "--objective", "energy")["answers"][0]
    assert thrifty["values"]["energy_j"] <= told["values"]["energy_j"] * (1 + 1e-9)
    wrong = run(*asked, "--objective", "speed")
    assert wrong.exit_code == 2
    assert "unknown objective 'speed'" in wrong.stderr
