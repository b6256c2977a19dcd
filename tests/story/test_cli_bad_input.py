"""Whatever a caller gets wrong is one clear line on stderr, exit code 2, no traceback, and nothing written.

Each case runs in a folder of its own; what lies there afterwards must be what lay there before, byte for byte.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from silicast.datasets.measured import read_measured
from silicast.datasets.ops import Op
from silicast.datasets.workload import WorkloadBuilder
from silicast.features import FEATURE_VERSION, domain
from silicast.serving.cli import app
from silicast.surrogates import store
from silicast.surrogates.boosted import Boosted
from silicast.surrogates.card import ModelCard
from silicast.surrogates.conformal import Conformal

GOOD_DEVICE = """key: mine
name: Mine
kind: gpu
clock: {value: 1, unit: GHz, source: user}
matrix_rate: {float16: {value: 10, unit: Top/s, source: user}}
memory:
  - {name: dram, capacity: {value: 8, unit: GB, source: user}, bandwidth: {value: 100, unit: GB/s, source: user}}
"""
SCHEMA = "op: gemm\ncolumns: {m: m, n: n, k: k}\nfixed: {dtype: float16, hardware: t4}\ntargets: {latency_s: {column: t_us, unit: us}}\n"


def rows(count: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.integers(16, 512, count) for name in ("m", "n", "k")})
    return frame.assign(t_us=1.0 + frame["m"] * frame["n"] * frame["k"] * 1e-6)


@dataclass
class Place:
    """The folder a case runs in, and how to put good things there."""

    folder: Path
    model: Path

    def file(self, name: str, content: str | bytes) -> str:
        data = content.encode() if isinstance(content, str) else content
        (self.folder / name).write_bytes(data)
        return name

    def workload(self, name: str = "net.json", **change: Any) -> str:
        build = WorkloadBuilder("net")
        x = build.input("x", 64 * 64)
        for i in range(3):
            x = build.add(Op.of(f"fc{i}", "gemm", m=64, n=64, k=64, params=64 * 64), [x])
        return self.file(name, json.dumps(build.build().to_json() | change))

    def document(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((self.folder / self.workload()).read_text())
        return data

    def table(self, name: str = "t.csv", frame: pd.DataFrame | None = None) -> str:
        (rows() if frame is None else frame).to_csv(self.folder / name, index=False)
        return name

    def schema(self, text: str = SCHEMA) -> str:
        return self.file("schema.yaml", text)

    def onnx(self, size: int | None = None, op: str = "Relu", batch: Any = 2) -> str:
        onnx = pytest.importorskip("onnx")
        helper, f = onnx.helper, onnx.TensorProto.FLOAT
        graph = helper.make_graph([helper.make_node(op, ["x"], ["y"], name="the_node")], "g", [helper.make_tensor_value_info("x", f, [batch, 8])],
                                  [helper.make_tensor_value_info("y", f, [batch, 8])])
        data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
        return self.file("net.onnx", data[:size] if size else data)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = read_measured(rows(), {"op": "gemm", "columns": {"m": "m", "n": "n", "k": "k"}, "fixed": {"dtype": "float16", "hardware": "t4"},
                                   "targets": {"latency_s": {"column": "t_us", "unit": "us"}}})
    surrogate = Conformal(Boosted(targets=("latency_s",), trees=5, threads=1)).fit(table)
    surrogate.conformalize(table)
    card = ModelCard("gemms", "1", "op", ("latency_s",), {"latency_s": "s"}, FEATURE_VERSION, "", table.source, table.digest, len(table), "none", 0.9, domain.describe(table))
    return store.save(surrogate, card, tmp_path_factory.mktemp("models") / "gemms")


@pytest.fixture
def place(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("SILICAST_DEBUG", raising=False)
    return Place(tmp_path, model)


def _changed_op(place: Place, **dims: Any) -> str:
    data = place.document()
    data["ops"][0]["dims"].update(dims)
    return place.file("net.json", json.dumps(data))


def _cyclic(place: Place) -> str:
    data = place.document()
    data["tensors"].append({"name": "back", "bytes": 2, "producer": 2, "consumers": [0]})
    return place.file("net.json", json.dumps(data))


def _kind(place: Place, kind: str) -> str:
    data = place.document()
    data["ops"][0]["kind"] = kind
    return place.file("net.json", json.dumps(data))


def _old_model(place: Place) -> str:
    import shutil

    folder = shutil.copytree(place.model, place.folder / "old")
    document = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(document | {"feature_version": "0"}))
    return "old"


def _altered_model(place: Place) -> str:
    import shutil

    folder = shutil.copytree(place.model, place.folder / "altered")
    (folder / "latency_s.txt").write_bytes((folder / "latency_s.txt").read_bytes()[:100])
    return "altered"


def _with(column: str, row: int, value: Any) -> pd.DataFrame:
    frame = rows().astype(object)
    frame.loc[row, column] = value
    return frame


Case = Callable[[Place], list[Any]]
#: what is wrong -> (the command, what the line must say)
CASES: dict[str, tuple[Case, str]] = {
    "missing file": (lambda p: ["inspect", "nowhere.onnx"], "nowhere.onnx: no such file"),
    "a folder": (lambda p: ["inspect", str(p.folder)], "cannot read"),
    "unknown suffix": (lambda p: ["inspect", p.file("a.xyz", "x")], "'.xyz'"),
    "neither workload nor table": (lambda p: ["predict", p.file("a.xlsx", "x"), "--on", "t4", "--model", p.model], ".csv"),
    "onnx that is text": (lambda p: ["inspect", p.file("net.onnx", "hello")], "net.onnx"),
    "empty onnx": (lambda p: ["inspect", p.file("net.onnx", "")], "net.onnx"),
    "truncated onnx": (lambda p: ["simulate", p.onnx(size=25), "--on", "t4"], "net.onnx"),
    "onnx with an unknown operator": (lambda p: ["inspect", p.onnx(op="Teleport")], "the_node"),
    "json that is none": (lambda p: ["inspect", p.file("net.json", "{")], "net.json"),
    "json of another kind": (lambda p: ["inspect", p.file("net.json", "[1, 2]")], "net.json: expected a workload document"),
    "json nested without end": (lambda p: ["inspect", p.file("net.json", "[" * 200_000)], "net.json"),
    "cyclic workload": (lambda p: ["simulate", _cyclic(p), "--on", "t4"], "cyclic"),
    "negative size": (lambda p: ["inspect", _changed_op(p, m=-4)], "m must be"),
    "zero size": (lambda p: ["predict", _changed_op(p, k=0), "--on", "t4", "--model", p.model], "k must be"),
    "size that is no integer": (lambda p: ["inspect", _changed_op(p, m=1.5)], "m must be"),
    "unknown operator kind": (lambda p: ["simulate", _kind(p, "gem"), "--on", "t4"], "gemm"),
    "no operators": (lambda p: ["inspect", p.workload(ops=[], tensors=[])], "no operators"),
    "zero dimension": (lambda p: ["inspect", p.onnx(batch="n"), "--dim", "n=0"], "empty"),
    "negative dimension": (lambda p: ["inspect", p.onnx(batch="n"), "--dim", "n=-3"], "--dim n=-3"),
    "dimension without end": (lambda p: ["inspect", p.onnx(batch="n"), "--dim", "n=" + "9" * 5000], "expected NAME=N"),
    "dimension without a name": (lambda p: ["inspect", p.onnx(batch="n"), "--dim", "8"], "expected NAME=N"),
    "dimension not given": (lambda p: ["inspect", p.onnx(batch="n")], "--dim n="),
    "unknown dimension": (lambda p: ["inspect", p.onnx(batch="n"), "--dim", "n=2", "--dim", "m=2"], "'m'"),
    "unknown dtype": (lambda p: ["inspect", p.workload(), "--dtype", "float17"], "float1"),
    "unknown treatment": (lambda p: ["inspect", p.workload(), "--unknown-ops", "ignore"], "bound"),
    "unknown device": (lambda p: ["simulate", p.workload(), "--on", "h1000"], "nearest: h100"),
    "one unknown device of two": (lambda p: ["simulate", p.workload(), "--on", "t4,h1000"], "h1000"),
    "no device": (lambda p: ["simulate", p.workload()], "--on"),
    "an empty device": (lambda p: ["simulate", p.workload(), "--on", ","], "--on"),
    "device file that is missing": (lambda p: ["simulate", p.workload(), "--on", "mine.yaml"], "mine.yaml: no such file"),
    "wrong unit in a device": (lambda p: ["simulate", p.workload(), "--on", p.file("mine.yaml", GOOD_DEVICE.replace("GB/s", "GHz"))], "memory"),
    "unknown unit in a device": (lambda p: ["hardware", "show", p.file("mine.yaml", GOOD_DEVICE.replace("unit: GHz", "unit: gigahertz"))], "gigahertz"),
    "negative figure in a device": (lambda p: ["simulate", p.workload(), "--on", p.file("mine.yaml", GOOD_DEVICE.replace("value: 8,", "value: -8,"))], "capacity"),
    "unknown field in a device": (lambda p: ["simulate", p.workload(), "--on", p.file("mine.yaml", GOOD_DEVICE + "colour: red\n")], "colour"),
    "device that is no yaml": (lambda p: ["hardware", "show", p.file("mine.yaml", "key: [")], "mine.yaml"),
    "missing model": (lambda p: ["predict", p.workload(), "--on", "t4", "--model", "nowhere"], "nowhere"),
    "no ready-made model of that name": (lambda p: ["predict", p.workload(), "--on", "t4", "--model", "ready:netwrks"], "networks"),
    "table that no ready-made model answers": (lambda p: ["predict", p.file("odd.csv", "length\n3\n")], "fpga-hls4ml needs d_in"),
    "recipe of no ready-made model": (lambda p: ["models", "build", "gpu-kernel"], "gpu-kernels"),
    "open data that is not there": (lambda p: ["models", "build", "gpu-power", "--data", "nowhere"], "no such folder"),
    "model reference without a store": (lambda p: ["predict", p.workload(), "--on", "t4", "--model", "models:/a@champion"], "no model store"),
    "model of another feature version": (lambda p: ["predict", p.table(), "--model", _old_model(p), "--schema", p.schema()], "feature version"),
    "altered model": (lambda p: ["predict", p.table(), "--model", _altered_model(p), "--schema", p.schema()], "digest"),
    "workload for a model of operators": (lambda p: ["predict", p.workload(), "--on", "t4", "--model", p.model], "not whole workloads"),
    "unknown target": (lambda p: ["predict", p.table(), "--model", p.model, "--schema", p.schema(), "--target", "latency"], "latency_s"),
    "unknown fallback": (lambda p: ["predict", p.table(), "--model", p.model, "--schema", p.schema(), "--fallback", "guess"], "simulate"),
    "no schema": (lambda p: ["predict", p.table(), "--model", p.model], "--schema"),
    "missing schema file": (lambda p: ["predict", p.table(), "--model", p.model, "--schema", "nowhere.yaml"], "nowhere.yaml"),
    "schema with an unknown key": (lambda p: ["predict", p.table(), "--model", p.model, "--schema", p.schema(SCHEMA + "colour: red\n")], "colour"),
    "schema with a wrong unit": (lambda p: ["predict", p.table(), "--model", p.model, "--schema", p.schema(SCHEMA.replace("unit: us", "unit: uJ"))], "uJ"),
    "schema with an unknown op": (lambda p: ["predict", p.table(), "--model", p.model, "--schema", p.schema(SCHEMA.replace("op: gemm", "op: gem"))], "gemm"),
    "missing table": (lambda p: ["predict", "nowhere.csv", "--model", p.model, "--schema", p.schema()], "nowhere.csv"),
    "missing column": (lambda p: ["predict", p.table(frame=rows().drop(columns="n")), "--model", p.model, "--schema", p.schema()], "'n'"),
    "NaN in a table": (lambda p: ["predict", p.table(frame=_with("m", 3, None)), "--model", p.model, "--schema", p.schema(), "--out", "out.csv"], "row 3"),
    "zero in a table": (lambda p: ["predict", p.table(frame=_with("m", 5, 0)), "--model", p.model, "--schema", p.schema(), "--out", "out.csv"], "row 5"),
    "text in a table": (lambda p: ["predict", p.table(frame=_with("m", 5, "many")), "--model", p.model, "--schema", p.schema(), "--out", "out.csv"], "many"),
    "empty table": (lambda p: ["predict", p.table(frame=rows(0)), "--model", p.model, "--schema", p.schema(), "--out", "out.csv"], "no rows"),
    "parquet that is none": (lambda p: ["predict", p.file("t.parquet", "hello"), "--model", p.model, "--schema", p.schema()], "t.parquet"),
    "out of an unknown kind": (lambda p: ["predict", p.table(), "--model", p.model, "--schema", p.schema(), "--out", "out.xlsx"], "out.xlsx"),
    "out into no folder": (lambda p: ["predict", p.table(), "--model", p.model, "--schema", p.schema(), "--out", "no/out.csv"], "no/out.csv"),
    "out over the input": (lambda p: ["predict", p.table(), "--model", p.model, "--schema", p.schema(), "--out", "t.csv"], "overwrite"),
    "device for a table": (lambda p: ["predict", p.table(), "--model", p.model, "--on", "t4"], "--on"),
    "schema for a workload": (lambda p: ["predict", p.workload(), "--model", p.model, "--on", "t4", "--schema", p.schema()], "--schema"),
    "no device for a workload": (lambda p: ["predict", p.workload(), "--model", p.model], "--on"),
    "missing experiment": (lambda p: ["train", "nowhere.yaml"], "nowhere.yaml"),
    "experiment with an unknown key": (lambda p: ["train", p.file("e.yaml", "name: a\ncolour: red\n")], "colour"),
    "registry without a store": (lambda p: ["models", "show", "a"], "no model store"),
    "promotion without a store": (lambda p: ["models", "promote", "a", "1"], "no model store"),
    "served model that is missing": (lambda p: ["serve", "--model", "nowhere"], "nowhere"),
    "unknown family": (lambda p: ["generate", "data", "--count", "4", "--families", "cnns", "--workers", "1"], "cnn"),
    "unknown device to generate for": (lambda p: ["generate", "data", "--count", "4", "--devices", "h1000", "--workers", "1"], "h100"),
    "calibrate without a place": (lambda p: ["calibrate", p.model, p.table()], "--out DIR"),
}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_one_line_exit_2_nothing_written(place: Place, name: str, as_json: bool) -> None:
    make, said = CASES[name]
    args = [str(a) for a in make(place)]
    before = snapshot(place.folder)
    result = CliRunner().invoke(app, [*args, *(["--json"] if as_json else [])])
    assert result.exit_code == 2, (result.exit_code, result.stderr, result.stdout)
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("silicast: error: ")
    assert said in lines[0], lines[0]
    assert "Traceback" not in result.stderr
    assert snapshot(place.folder) == before


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("args", [["predict"], ["frobnicate"], ["hardware", "show"], ["fit", "t.csv"], ["simulate", "a.onnx", "--batch", "3"], ["serve", "--port", "many"],
                                  ["generate", "x", "--count", "0"]], ids=" ".join)
def test_usage_errors_exit_2_too(place: Place, args: list[str], as_json: bool) -> None:
    result = CliRunner().invoke(app, [*args, *(["--json"] if as_json else [])])
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("silicast: error: ")
    assert "--help" in line
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_group_without_a_verb_shows_its_help(place: Place) -> None:
    told = CliRunner().invoke(app, ["hardware"])
    assert "list" in told.output
    assert "Traceback" not in told.output


def test_a_usage_error_in_a_process_of_its_own(place: Place) -> None:
    done = subprocess.run([sys.executable, "-m", "silicast", "generate", "x", "--count", "0"], capture_output=True, text=True, timeout=60, cwd=place.folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("silicast: error: Invalid value for '--count'")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["truncated onnx", "cyclic workload", "NaN in a table", "wrong unit in a device"])
def test_the_same_in_a_process_of_its_own(place: Place, name: str) -> None:
    make, said = CASES[name]
    args = [str(a) for a in make(place)]
    before = snapshot(place.folder)
    done = subprocess.run([sys.executable, "-m", "silicast", *args], capture_output=True, text=True, timeout=120, cwd=place.folder, env=dict(os.environ))
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert said in done.stderr
    assert snapshot(place.folder) == before
