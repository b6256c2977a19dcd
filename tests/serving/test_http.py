"""HTTP: the happy path, true documents, and no 5xx for whatever a caller sends."""

from __future__ import annotations

import gc
import json
import warnings
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra silicast[serve]")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # starlette would like httpx's successor; httpx is what most people have
    from fastapi.testclient import TestClient

from silicast.datasets.catalog import hardware
from silicast.datasets.errors import InputError
from silicast.datasets.workload import Workload
from silicast.serving.http import ROUTES, create_app
from silicast.serving.http_limits import Limits
from silicast.serving.predictor import Predictor

from .conftest import TARGETS, gemms


@pytest.fixture(scope="module")
def client(predictor: Predictor) -> TestClient:
    return TestClient(create_app(predictor, limits=Limits(body_bytes=300_000)), raise_server_exceptions=False)


@pytest.fixture
def workload() -> dict[str, Any]:
    return gemms(256, 4, 16).to_json()


def refused(response: Any) -> str:
    """The one-line message of a 422."""
    assert response.status_code == 422, response.text
    assert list(response.json()) == ["error"]
    message: str = response.json()["error"]
    assert "\n" not in message
    assert "Traceback" not in message
    return message


def test_an_answer_says_all(client: TestClient, workload: dict[str, Any], predictor: Predictor) -> None:
    response = client.post("/v1/predict", json={"workload": workload, "hardware": "A100-SXM4-80GB"})
    assert response.status_code == 200, response.text
    told = response.json()
    assert told["workload"] == workload["name"]
    (answer,) = told["predictions"]
    assert (answer["hardware"], answer["model"], answer["version"], answer["level"]) == ("a100_sxm", "tiny", "7", 0.9)
    assert answer["domain"]["verdict"] == "in_domain"
    assert answer["calibrated"] is True
    assert list(answer["targets"]) == list(TARGETS)
    latency = answer["targets"]["latency_s"]
    assert latency["low"] <= latency["point"] <= latency["high"]
    assert latency["unit"] == "s"
    assert latency["point"] == predictor.predict(gemms(256, 4, 16), hardware("a100_sxm")).point[0, 0]


def test_machines_by_key_and_document_in_order(client: TestClient, workload: dict[str, Any]) -> None:
    body = {"workload": workload, "hardware": ["t4", hardware("h100_sxm").to_json()], "targets": ["energy_j"]}
    told = client.post("/v1/predict", json=body).json()["predictions"]
    assert [t["hardware"] for t in told] == ["t4", "h100_sxm"]
    assert [list(t["targets"]) for t in told] == [["energy_j"], ["energy_j"]]


def test_the_simulator_stands_in_when_asked(client: TestClient) -> None:
    body = {"workload": gemms(8192, 2, 16).to_json(), "hardware": ["t4"], "fallback": "simulate"}
    (told,) = client.post("/v1/predict", json=body).json()["predictions"]
    assert (told["model"], told["level"], told["targets"]["latency_s"]["low"]) == ("simulator", 0.0, None)


def test_an_answer_outside_the_domain_is_not_called_calibrated(client: TestClient) -> None:
    (told,) = client.post("/v1/predict", json={"workload": gemms(8192, 2, 16).to_json(), "hardware": "t4"}).json()["predictions"]
    assert (told["domain"]["verdict"], told["calibrated"]) == ("extrapolating", False)
    assert told["targets"]["latency_s"]["low"] is not None
    assert "calibrated" in client.get("/openapi.json").json()["components"]["schemas"]["Answer"]["required"]


def test_health_and_readiness(client: TestClient) -> None:
    assert client.get("/healthz").json()["status"] == "ok"
    told = client.get("/readyz").json()
    assert (told["status"], told["model"], told["version"], told["targets"]) == ("ready", "tiny", "7", list(TARGETS))
    assert told["registry"]["state"] == "unused"  # it came from a folder


def test_not_ready_without_a_model(workload: dict[str, Any]) -> None:
    waiting = TestClient(create_app(None))
    assert waiting.get("/healthz").status_code == 200
    assert waiting.get("/readyz").status_code == 503
    assert waiting.post("/v1/predict", json={"workload": workload, "hardware": "t4"}).status_code == 503


def test_a_model_of_another_shape_is_not_served(predictor: Predictor) -> None:
    from dataclasses import replace

    op = type("OtherModel", (), {"shape": "pictures", "targets": ("latency_s",), "name": "x"})()
    with pytest.raises(InputError, match="takes pictures questions"):
        create_app(replace(predictor, surrogate=op))


def test_openapi_is_true(client: TestClient, workload: dict[str, Any]) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {path for route in ROUTES for path in (route.path, *route.also)}
    schemas = document["components"]["schemas"]
    assert set(document["paths"]["/v1/predict"]["post"]["responses"]) == {"200", "404", "408", "413", "415", "422", "429", "503"}
    assert document["paths"]["/v1/predict"]["post"]["responses"]["422"]["content"]["application/json"]["schema"]["$ref"].endswith("/Fault")
    answer = client.post("/v1/predict", json={"workload": workload, "hardware": "t4"}).json()
    assert set(answer) == set(schemas["PredictResponse"]["properties"])
    assert set(answer["predictions"][0]) == set(schemas["Answer"]["properties"])
    assert set(answer["predictions"][0]["targets"]["latency_s"]) == set(schemas["Value"]["properties"])


@pytest.mark.parametrize(("given", "said"), [
    ("h1000", "nearest: h100"), ("", "unknown device"), ("../../etc/passwd.yaml", "files are not read"), ("/etc/hostname", "files are not read"), ({}, "hardware"),
    ({"format": "silicast-hardware/1"}, "hardware"), ([], "hardware"), (7, "hardware"), (None, "hardware"), (["t4", "h1000"], "hardware[1]"), (["t4", None], "hardware"),
])
def test_hardware_that_cannot_be_read(client: TestClient, workload: dict[str, Any], given: Any, said: str) -> None:
    assert said in refused(client.post("/v1/predict", json={"workload": workload, "hardware": given}))


@pytest.mark.parametrize("field", ["clock_hz", "memory", "matrix_rate", "units", "kind"])
@pytest.mark.parametrize("value", [None, -1, "x", [], {}, 10**400, {"int8": float("nan")}, [{"name": "a"}], True])
def test_damaged_hardware_documents(client: TestClient, workload: dict[str, Any], field: str, value: Any) -> None:
    body = json.dumps({"workload": workload, "hardware": hardware("t4").to_json() | {field: value}})
    response = client.post("/v1/predict", content=body, headers={"content-type": "application/json"})
    if response.status_code != 200:  # a machine without matrix rates, or of one unit, is a machine
        refused(response)


@pytest.mark.parametrize(("field", "value"), [
    ("format", "other"), ("ops", []), ("ops", None), ("ops", [7]), ("ops", [{}]), ("tensors", [{}]), ("tensors", 3), ("name", {"a": 1}), ("tensors", [[1]]),
])
def test_workloads_that_cannot_be_read(client: TestClient, workload: dict[str, Any], field: str, value: Any) -> None:
    response = client.post("/v1/predict", json={"workload": workload | {field: value}, "hardware": "t4"})
    if response.status_code != 200:
        refused(response)
    else:
        assert field == "name"


@pytest.mark.parametrize("size", ["0", "-5", "1.5", "1e400", "NaN", "Infinity", '"8"', "null", "true", "[1]", "9" * 400, "9" * 5000, str(2**62), str(2**63), '{"a": 1}'])
@pytest.mark.parametrize("where", ["m", "params", "bytes", "producer", "elements"])
def test_impossible_figures_are_never_a_5xx(client: TestClient, workload: dict[str, Any], size: str, where: str) -> None:
    mark = "@@"
    if where in ("m",):
        workload["ops"][0]["dims"]["m"] = mark
    elif where == "elements":
        workload["ops"][1]["dims"]["elements"] = mark
    elif where == "params":
        workload["ops"][0]["params"] = mark
    else:
        workload["tensors"][1][where] = mark
    body = json.dumps({"workload": workload, "hardware": "t4", "fallback": "simulate"}).replace(f'"{mark}"', size)
    response = client.post("/v1/predict", content=body, headers={"content-type": "application/json"})
    assert response.status_code in (200, 422), response.text
    if response.status_code == 200:
        (answer,) = response.json()["predictions"]  # standard JSON: no NaN, no Infinity
        assert "NaN" not in response.text
        assert answer["domain"]["verdict"] in ("in_domain", "extrapolating", "unsupported")


def test_a_cycle_is_named(client: TestClient, workload: dict[str, Any]) -> None:
    workload["tensors"].append({"name": "back", "bytes": 8, "producer": 3, "consumers": [0]})
    assert "cyclic" in refused(client.post("/v1/predict", json={"workload": workload, "hardware": "t4"}))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"null", b"\xff\xfe", b"[" * 100_000, b'{"workload":' * 20_000, b'{"workload": {}, "hardware": ' + b"[" * 90_000 + b"]" * 90_000 + b"}",
                                  b'{"workload": NaN, "hardware": Infinity}', b"9" * 6000, b'{"a": ' + b"9" * 6000 + b"}"], ids=range(12))
def test_bodies_that_are_no_question(client: TestClient, body: bytes) -> None:
    refused(client.post("/v1/predict", content=body, headers={"content-type": "application/json"}))


def test_deep_documents_inside_a_question(client: TestClient, workload: dict[str, Any]) -> None:
    deep = '{"a":' * 400 + "1" + "}" * 400
    for field in ("workload", "hardware"):
        body = json.dumps({"workload": workload, "hardware": "t4"} | {field: "@@"}).replace('"@@"', deep)
        refused(client.post("/v1/predict", content=body, headers={"content-type": "application/json"}))


def test_half_a_character_in_a_name_comes_back(client: TestClient, workload: dict[str, Any]) -> None:
    body = json.dumps({"workload": workload | {"name": "a\ud800b"}, "hardware": "t4"})
    assert client.post("/v1/predict", content=body, headers={"content-type": "application/json"}).status_code == 200
    refused(client.post("/v1/predict", content=json.dumps({"workload": workload, "hardware": "h\ud800"}), headers={"content-type": "application/json"}))


@pytest.mark.parametrize("change", [{"targets": ["latency"]}, {"targets": ["latency_s", "latency_s"]}, {"targets": "latency_s"}, {"fallback": "guess"}, {"more": 1}])
def test_options_that_do_not_exist(client: TestClient, workload: dict[str, Any], change: dict[str, Any]) -> None:
    refused(client.post("/v1/predict", json={"workload": workload, "hardware": "t4"} | change))


def test_a_body_over_the_limit(client: TestClient) -> None:
    response = client.post("/v1/predict", content=b" " * 300_001)
    assert response.status_code == 413
    assert "300,000 bytes" in response.json()["error"]
    chunked = client.post("/v1/predict", content=(b" " * 1000 for _ in range(301)))
    assert chunked.status_code == 413


def test_too_many_machines(client: TestClient, workload: dict[str, Any]) -> None:
    refused(client.post("/v1/predict", json={"workload": workload, "hardware": ["t4"] * 1025}))


def test_unknown_paths_and_methods(client: TestClient) -> None:
    assert client.get("/nowhere").status_code == 404
    assert client.get("/v1/predict").status_code == 405
    assert list(client.get("/nowhere").json()) == ["error"]


def test_networks_asked_about_are_let_go_again(predictor: Predictor) -> None:
    """Beyond the few hundred that are kept on purpose: a server that holds on to every document grows without end."""
    with TestClient(create_app(predictor)) as client:
        for i in range(400):
            assert client.post("/v1/predict", json={"workload": gemms(64 + i, 1, 1).to_json(), "hardware": "t4"}).status_code == 200
        gc.collect()
        alive = {o.name for o in gc.get_objects() if type(o) is Workload and o.name.startswith("gemms")}
    assert len(alive) < 330
