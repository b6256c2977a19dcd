"""The Open Inference Protocol: health, metadata, inference."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra silicast[serve]")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

from silicast.datasets.catalog import hardware
from silicast.datasets.table import GraphQuestions
from silicast.serving.http import create_app
from silicast.serving.predictor import Predictor

from .conftest import TARGETS, gemms


@pytest.fixture(scope="module")
def client(predictor: Predictor, table_model: Path) -> TestClient:
    return TestClient(create_app([predictor, Predictor.load(table_model)]), raise_server_exceptions=False)


def tensor(name: str, data: list[Any], datatype: str = "BYTES") -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data}


def test_health_and_metadata(client: TestClient) -> None:
    assert client.get("/v2").json()["name"] == "silicast"
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    for path in ("/v2/models/tiny", "/v2/models/tiny/versions/7"):
        told = client.get(path).json()
        assert (told["name"], told["versions"]) == ("tiny", ["7"])
        assert [one["name"] for one in told["inputs"]] == ["workload", "hardware"]
        assert client.get(f"{path}/ready").json() == {"name": "tiny", "ready": True}
    assert {one["name"]: one["datatype"] for one in client.get("/v2/models/plain").json()["inputs"]} == {"reuse": "FP64", "width": "FP64", "strategy": "BYTES"}
    assert TestClient(create_app(None)).get("/v2/health/ready").status_code == 503


def test_inference_is_the_models_answer(client: TestClient, predictor: Predictor) -> None:
    document = json.dumps(gemms(256, 4, 16).to_json())
    body = {"id": "a1", "inputs": [tensor("workload", [document, document, "nothing"]), tensor("hardware", ["t4", "v100_sxm", "t4"])]}
    told = client.post("/v2/models/tiny/infer", json=body).json()
    assert (told["model_name"], told["model_version"], told["id"]) == ("tiny", "7", "a1")
    out = {one["name"]: one for one in told["outputs"]}
    assert list(out) == [*(n + e for n in TARGETS for e in ("", "_low", "_high")), "domain", "domain_reason", "calibrated", "novelty", "nearest", "error"]
    doubt = predictor.predict_many(GraphQuestions.cross(gemms(256, 4, 16), [hardware("t4"), hardware("v100_sxm")])).domain
    assert out["novelty"]["data"] == [*(d.novelty if math.isfinite(d.novelty) else None for d in doubt), None]
    assert out["nearest"]["data"] == [*(d.nearest or None if math.isfinite(d.novelty) else None for d in doubt), None]
    assert out["latency_s"]["data"][0] == predictor.predict(gemms(256, 4, 16), hardware("t4")).point[0, 0]
    assert out["latency_s"]["data"][2] is None
    assert "no workload of digest" in out["error"]["data"][2]
    assert all(one["shape"] == [3] for one in out.values())
    few = client.post("/v2/models/tiny/versions/7/infer", json=body | {"outputs": [{"name": "domain"}]}).json()
    assert [one["name"] for one in few["outputs"]] == ["domain"]


def test_columns_of_a_feature_table(client: TestClient) -> None:
    body = {"inputs": [tensor("reuse", [4, 8], "INT64"), {"name": "width", "shape": [2, 1], "datatype": "FP32", "data": [64.0, 32.5]}, tensor("strategy", ["latency", "resource"])]}
    told = client.post("/v2/models/plain/infer", json=body)
    assert told.status_code == 200, told.text
    assert {one["name"] for one in told.json()["outputs"]} >= {"lut", "lut_low", "lut_high", "latency_s"}


@pytest.mark.parametrize("path", ["/v2/models/nobody", "/v2/models/tiny/versions/8", "/v2/models/nobody/ready", "/v2/models/..%2f..%2fetc%2fpasswd", "/v2/models/%00"])
def test_models_that_are_not_there(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, list(response.json())) == (404, ["error"])


@pytest.mark.parametrize("inputs", [
    [], [{}], [tensor("workload", ["x"])], [tensor("workload", ["x"]), tensor("hardware", ["t4", "t4"])], [tensor("workload", [1], "FP64"), tensor("hardware", ["t4"])],
    [tensor("workload", ["x"], "FP64"), tensor("hardware", ["t4"])], [tensor("workload", ["x"], "COMPLEX"), tensor("hardware", ["t4"])], [tensor("zz", ["x"])],
    [{"name": "workload", "shape": [3], "datatype": "BYTES", "data": ["x"]}], [{"name": "workload", "shape": [1, 2], "datatype": "BYTES", "data": ["x", "y"]}],
    [{"name": "workload", "shape": [-1], "datatype": "BYTES", "data": []}], [tensor("workload", ["x"]), tensor("workload", ["x"])],
    [{"name": "workload", "shape": [10**9, 10**9], "datatype": "BYTES", "data": []}], [tensor("hardware", [None])],
], ids=range(14))
def test_inputs_that_cannot_be_read(client: TestClient, inputs: list[Any]) -> None:
    response = client.post("/v2/models/tiny/infer", json={"inputs": inputs})
    assert (response.status_code, list(response.json())) == (422, ["error"]), response.text
