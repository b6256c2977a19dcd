"""Many questions at once, in three formats: the same answers as one by one, and an error for each that cannot be read."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

pytest.importorskip("fastapi", reason="needs the extra silicast[serve]")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

from silicast.datasets.measured import read_measured
from silicast.features import FEATURE_VERSION, domain
from silicast.serving.http import create_app
from silicast.serving.http_limits import Limits
from silicast.serving.predictor import Predictor
from silicast.surrogates import store
from silicast.surrogates.analytic import Analytic
from silicast.surrogates.card import ModelCard
from silicast.surrogates.conformal import Conformal

from .conftest import gemms

JSON = {"content-type": "application/json"}
ARROW = "application/vnd.apache.arrow.stream"
OP_SCHEMA = {"op": "gemm", "columns": {"m": "m", "n": "n", "k": "k", "dtype": "dtype"}, "hardware": "hardware", "context": ["framework"],
             "targets": {"latency_s": {"column": "t", "unit": "s"}}}


def gemm_rows(count: int) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({name: rng.integers(64, 4096, count) for name in "mnk"})
    frame = frame.assign(dtype=rng.choice(["float16", "int8"], count), hardware=rng.choice(["a100_sxm", "t4"], count), framework=rng.choice(["trt", "vllm"], count))
    return frame.assign(t=2.0 * frame["m"] * frame["n"] * frame["k"] / 1e14 + 5e-6)


@pytest.fixture(scope="module")
def op_model(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A model of single GEMMs on two machines."""
    table = read_measured(gemm_rows(120), OP_SCHEMA)
    surrogate = Conformal(Analytic(targets=("latency_s",)), 0.9).fit(table)
    surrogate.conformalize(table)
    card = ModelCard("gemm", "3", "op", ("latency_s",), {"latency_s": "s"}, FEATURE_VERSION, "", table.source, table.digest, len(table), "none", 0.9, domain.describe(table), schema=OP_SCHEMA)
    return Predictor.load(store.save(surrogate, card, tmp_path_factory.mktemp("models") / "gemm"))


@pytest.fixture(scope="module")
def client(predictor: Predictor, op_model: Predictor, table_model: Path) -> TestClient:
    app = create_app([predictor, op_model, Predictor.load(table_model)], limits=Limits(rows=2000))
    return TestClient(app, raise_server_exceptions=False)


def stream(columns: dict[str, Any]) -> bytes:
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def test_one_operator(client: TestClient, op_model: Predictor) -> None:
    body = {"model": "gemm", "op": {"kind": "gemm", "m": 128, "n": 256, "k": 512, "dtype": "float16"}, "context": {"framework": "trt"}, "hardware": ["T4", "a100_sxm"]}
    told = client.post("/v1/predict", json=body)
    assert told.status_code == 200, told.text
    rows = told.json()["predictions"]
    asked = read_measured(pd.DataFrame({"m": [128] * 2, "n": [256] * 2, "k": [512] * 2, "dtype": ["float16"] * 2, "hardware": ["t4", "a100_sxm"], "framework": ["trt"] * 2}),
                          OP_SCHEMA, need_targets=False).questions
    assert [r["targets"]["latency_s"]["point"] for r in rows] == op_model.predict_table(asked).point[:, 0].tolist()
    assert [(r["model"], r["version"]) for r in rows] == [("gemm", "3")] * 2
    assert len({r["id"] for r in rows}) == 2


@pytest.mark.parametrize(("change", "said"), [
    ({"op": {"kind": "gemm", "m": 0, "n": 1, "k": 1}}, "m of gemm: expected a whole number"), ({"op": {"kind": "gemm", "m": 1.5, "n": 1, "k": 1}}, "got 1.5"), ({"op": {"kind": "gem"}}, "nearest: gemm"),
    ({"op": {"m": 4, "n": 4}}, "k of gemm"), ({"op": {"m": 4, "n": 4, "k": 4, "zz": 1}}, "unknown column 'zz'"), ({"op": {"m": "4", "n": 4, "k": 4}}, "expected numbers"),
    ({"op": None}, "op: is missing"), ({"features": {}}, "takes op instead"), ({"context": {}}, "lacks the column framework"), ({"hardware": None}, "hardware"),
    ({"op": {"m": 4, "n": 4, "k": 4, "dtype": "float17"}}, "float1"), ({"op": {"m": [4], "n": 4, "k": 4}}, "op.m"), ({"model": "other"}, "unknown model"),
])
def test_operators_that_cannot_be_read(client: TestClient, change: dict[str, Any], said: str) -> None:
    body = {"model": "gemm", "op": {"kind": "gemm", "m": 8, "n": 8, "k": 8}, "context": {"framework": "trt"}, "hardware": "t4"} | change
    response = client.post("/v1/predict", json=body)
    assert response.status_code == (404 if "model" in change else 422), response.text
    assert said in response.json()["error"]


def test_a_row_of_features(client: TestClient, table_model: Path) -> None:
    row = {"reuse": 4, "width": 64, "strategy": "latency"}
    told = client.post("/v1/predict", json={"model": "plain", "features": row}).json()["predictions"][0]
    assert told["targets"]["lut"]["unit"] == "1"
    assert (told["hardware"], told["version"], told["domain"]["verdict"]) == ("", "1", "in_domain")
    assert "lacks the column" in client.post("/v1/predict", json={"model": "plain", "features": {"reuse": 4}}).json()["error"]


def test_an_empty_cell_among_words_is_a_word(client: TestClient, table_model: Path) -> None:
    """As `silicast predict` takes it: a word, here one nobody trained on, and no fault of the row."""
    said, told = ([one["domain"]["reason"] for one in client.post("/v1/predict/bulk", json={"model": "plain", "items": [{"features": {"reuse": 4, "width": 64, "strategy": word}}]}).json()["results"]]
                  for word in (None, "(empty)"))
    assert said == told
    assert "strategy '(empty)' was never trained on" in said[0]


def test_items_one_bad_and_the_others_answered(client: TestClient) -> None:
    good = {"op": {"m": 64, "n": 64, "k": 64}, "context": {"framework": "vllm"}, "hardware": "t4"}
    items = [good, {"op": {"m": -1, "n": 64, "k": 64}, "context": {"framework": "vllm"}, "hardware": "t4"}, 7, {**good, "hardware": "h1000"}, {**good, "op": {"m": "x", "n": 64, "k": 64}}, {**good, "op": {"m": 64, "n": 64, "k": 64, "zz": 1}}, good]
    told = client.post("/v1/predict/bulk", json={"model": "gemm", "items": items}).json()
    assert (told["rows"], told["failed"], told["model"], told["version"], told["level"]) == (7, 5, "gemm", "3", 0.9)
    assert ["error" in one for one in told["results"]] == [False, True, True, True, True, True, False]
    assert "nearest" in told["results"][3]["error"]
    assert told["results"][0]["targets"] == told["results"][6]["targets"]
    single = client.post("/v1/predict", json={"model": "gemm", **good}).json()["predictions"][0]
    assert single["targets"] == told["results"][0]["targets"]


def test_lines_of_json(client: TestClient) -> None:
    lines = [json.dumps({"workload": gemms(256, 2, b).to_json(), "hardware": "t4"}) for b in (1, 2)]
    body = "\n".join([lines[0], "{not json", lines[1], '{"workload": NaN}'])
    response = client.post("/v1/predict/bulk?targets=latency_s", content=body, headers={"content-type": "application/x-ndjson"})
    told = [json.loads(line) for line in response.text.splitlines()]
    assert ["error" in one for one in told] == [False, True, False, True]
    assert list(told[0]["targets"]) == ["latency_s"]
    assert "not JSON" in told[3]["error"]


def test_arrow_as_columns_as_single(client: TestClient) -> None:
    rows = gemm_rows(40)
    bad = rows.assign(hardware=["nobody" if i == 7 else h for i, h in enumerate(rows["hardware"])], m=[0 if i == 9 else m for i, m in enumerate(rows["m"])])
    columns = {name: pa.array(bad[name].tolist()) for name in ("m", "n", "k", "dtype", "framework")} | {"hardware": pa.array(bad["hardware"].tolist()).dictionary_encode()}
    response = client.post("/v1/predict/bulk?model=gemm", content=stream(columns), headers={"content-type": ARROW})
    assert response.status_code == 200, response.text
    table = pa.ipc.open_stream(response.content).read_all()
    assert table.schema.metadata[b"version"] == b"3"
    listed = table.to_pydict()
    assert [i for i, why in enumerate(listed["error"]) if why] == [7, 9]
    assert listed["latency_s"][7] is None
    as_json = client.post("/v1/predict/bulk", json={"model": "gemm", "columns": {name: bad[name].tolist() for name in (*"mnk", "dtype", "framework", "hardware")}}).json()
    assert as_json["columns"]["latency_s"] == listed["latency_s"]
    assert as_json["failed"] == 2


@pytest.mark.parametrize("body", [b"", b"ARROW1", b"\xff" * 100, b"\xff\xff\xff\xff\x10\x00\x00\x00" + b"\x00" * 16, b"\xff\xff\xff\xff\xff\xff\xff\x7f"], ids=range(5))
def test_streams_that_are_none(client: TestClient, body: bytes) -> None:
    response = client.post("/v1/predict/bulk?model=gemm", content=body, headers={"content-type": ARROW})
    assert response.status_code == 422, response.text


def test_damaged_streams_are_never_a_5xx(client: TestClient) -> None:
    whole = stream({"m": [4, 5], "n": [4, 4], "k": [4, 4], "dtype": ["int8", "int8"], "hardware": ["t4", "t4"], "framework": ["trt", "trt"]})
    rng = np.random.default_rng(0)
    for _ in range(120):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 3):
            damaged[at] = int(rng.integers(256))
        response = client.post("/v1/predict/bulk?model=gemm", content=bytes(damaged), headers={"content-type": ARROW})
        assert response.status_code in (200, 422), response.text
    for cut in range(0, len(whole), 37):
        assert client.post("/v1/predict/bulk?model=gemm", content=whole[:cut], headers={"content-type": ARROW}).status_code in (200, 422)


def test_compressed_streams_and_many_rows_are_refused_before_they_are_unpacked(client: TestClient) -> None:
    table = pa.table({"m": np.zeros(1000)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    refused = client.post("/v1/predict/bulk?model=gemm", content=bytes(sink.getvalue()), headers={"content-type": ARROW})
    assert "compressed" in refused.json()["error"]
    many = client.post("/v1/predict/bulk?model=gemm", content=stream({"m": pa.nulls(2001)}), headers={"content-type": ARROW})
    assert (many.status_code, "2,000 are the most" in many.json()["error"]) == (422, True)
    assert client.post("/v1/predict/bulk", json={"model": "gemm", "columns": {"m": [1] * 2001}}).status_code == 422


@pytest.mark.parametrize("body", [{}, {"items": [], "columns": {}}, {"columns": {"m": [1], "n": [1, 2]}}, {"columns": {"m": [1, "a"]}}, {"columns": {"m": [{}]}}, {"columns": {"m": [10**400]}},
                                  {"columns": {"": [1]}}, {"columns": {"m": [[1]]}}, {"items": 7}, {"columns": {"m": [True]}}], ids=range(10))
def test_bulk_that_cannot_be_read(client: TestClient, body: dict[str, Any]) -> None:
    assert client.post("/v1/predict/bulk", content=json.dumps({"model": "gemm", **body}), headers=JSON).status_code == 422


def test_nothing_asked_nothing_answered(client: TestClient) -> None:
    told = client.post("/v1/predict/bulk", json={"items": []}).json()
    assert (told["rows"], told["results"]) == (0, [])
