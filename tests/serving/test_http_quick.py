"""Questions about single operators over HTTP, where the model has a student: the short way and the long way refuse alike, and say who spoke."""

from __future__ import annotations

import io
import json
import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("fastapi", reason="needs the extra silicast[serve]")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

from silicast.serving.http import create_app
from silicast.serving.predictor import Predictor

from .test_quick import compiled as compiled


@pytest.fixture(scope="module")
def client(compiled: Predictor) -> Any:
    with TestClient(create_app(compiled)) as found:
        yield found


OP = {"kind": "gemm", "m": 128, "n": 256, "k": 512, "dtype": "float16"}


def test_a_single_question_is_answered_by_the_student(client: Any, compiled: Predictor) -> None:
    reply = client.post("/v1/predict", json={"op": OP, "hardware": "t4", "context": {"framework": "x"}})
    assert reply.status_code == 200
    told = reply.json()["predictions"][0]
    assert (told["speed"], told["hardware"], told["model"]) == ("columns", "t4", "gemm")
    one = compiled.predict_op("gemm", {"m": 128, "n": 256, "k": 512}, "t4", framework="x")
    assert told["targets"]["latency_s"] == {"point": pytest.approx(one.point[0]), "low": pytest.approx(one.low[0]), "high": pytest.approx(one.high[0]), "unit": "s"}
    assert told["calibrated"] == one.calibrated


def test_exact_is_the_model_itself(client: Any) -> None:
    told = client.post("/v1/predict", json={"op": OP, "hardware": "t4", "context": {"framework": "x"}, "speed": "exact"}).json()["predictions"][0]
    assert told["speed"] == "exact"
    far = client.post("/v1/predict", json={"op": {**OP, "m": 10_000_000}, "hardware": "t4", "context": {"framework": "x"}}).json()["predictions"][0]
    assert (far["speed"], far["domain"]["verdict"], far["calibrated"]) == ("exact", "extrapolating", False)


@pytest.mark.parametrize("body", [
    {"op": {**OP, "m": 0}, "hardware": "t4", "context": {"framework": "x"}}, {"op": {**OP, "m": 1.5}, "hardware": "t4", "context": {"framework": "x"}},
    {"op": {**OP, "m": True}, "hardware": "t4", "context": {"framework": "x"}}, {"op": {**OP, "zz": 1}, "hardware": "t4", "context": {"framework": "x"}},
    {"op": OP, "hardware": "nowhere", "context": {"framework": "x"}}, {"op": OP, "hardware": "../../etc/passwd", "context": {"framework": "x"}},
    {"op": OP, "hardware": "t4"}, {"op": OP, "hardware": "t4", "context": {"framework": 3}}, {"op": OP, "hardware": "t4", "context": {"framework": "x"}, "extra": 1},
    {"op": {**OP, "dtype": "float99"}, "hardware": "t4", "context": {"framework": "x"}}, {"op": 5, "hardware": "t4"}, [], 7, {"hardware": "t4"},
    {"op": OP, "hardware": "t4", "context": {"framework": "x", "colour": "red"}}])
def test_what_cannot_be_read_is_422_in_one_line(client: Any, body: Any) -> None:
    reply = client.post("/v1/predict", json=body)
    assert reply.status_code == 422, reply.text
    assert "\n" not in reply.json()["error"]


def test_bulk_columns(client: Any, compiled: Predictor) -> None:
    columns = {"m": [128, 10_000_000, 128, 0], "n": [256] * 4, "k": [512] * 4, "hardware": ["t4", "t4", "nowhere", "t4"], "framework": ["x"] * 4}
    told = client.post("/v1/predict/bulk", json={"columns": columns}).json()
    assert (told["speed"], told["failed"]) == ("mixed", 2)
    one = compiled.predict_op("gemm", {"m": 128, "n": 256, "k": 512}, "t4", framework="x")
    assert told["columns"]["latency_s"][0] == pytest.approx(one.point[0])
    assert told["columns"]["latency_s"][2:] == [None, None]
    assert "nowhere" in told["columns"]["error"][2]
    assert told["columns"]["domain"][1] == "extrapolating"
    exact = client.post("/v1/predict/bulk", json={"columns": columns, "speed": "exact"}).json()
    assert exact["speed"] == "exact"
    assert exact["columns"]["latency_s"][1] == pytest.approx(told["columns"]["latency_s"][1])


def test_bulk_arrow_and_items(client: Any) -> None:
    table = pa.table({"m": np.arange(1, 101) * 16, "n": [256] * 100, "k": [512] * 100, "hardware": ["t4", "a100_sxm"] * 50, "framework": ["x"] * 100})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    reply = client.post("/v1/predict/bulk", content=sink.getvalue(), headers={"content-type": "application/vnd.apache.arrow.stream"})
    found = pa.ipc.open_stream(reply.content).read_all()
    assert found.schema.metadata[b"speed"] in (b"columns", b"mixed")
    items = [{"op": {"kind": "gemm", "m": int(m), "n": 256, "k": 512}, "hardware": h, "context": {"framework": "x"}} for m, h in zip(table["m"].to_pylist(), table["hardware"].to_pylist(), strict=True)]
    lines = client.post("/v1/predict/bulk", content="\n".join(map(json.dumps, items)), headers={"content-type": "application/x-ndjson"}).text.splitlines()
    assert [json.loads(line)["targets"]["latency_s"]["point"] for line in lines] == pytest.approx(found["latency_s"].to_pylist())
    assert found["domain"].to_pylist() == [json.loads(line)["domain"]["verdict"] for line in lines]
