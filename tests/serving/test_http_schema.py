"""The OpenAPI document against the server: schemathesis makes requests, good and bad, from the document, and each reply must be one it allows."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from silicast.serving.predictor import Predictor

from .conftest import gemms

pytest.importorskip("fastapi", reason="needs the extra silicast[serve]")
schemathesis = pytest.importorskip("schemathesis", reason="checks the OpenAPI document; pip install schemathesis")
from silicast.serving.http import ROUTES, create_app  # noqa: E402  needs fastapi

EXAMPLES = 12


@pytest.fixture(scope="module")
def schema(predictor: Predictor) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return schemathesis.openapi.from_asgi("/openapi.json", create_app(predictor))


@pytest.mark.parametrize(("method", "path"), sorted({(r.method, p) for r in ROUTES for p in (r.path, *r.also)}))
def test_every_reply_is_one_the_document_allows(schema: Any, method: str, path: str) -> None:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

    operation = schema[path][method.lower()]

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
    @given(case=operation.as_strategy())
    def check(case: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case.call_and_validate(checks=[not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance])

    check()


def test_a_client_made_from_the_document_gets_an_answer(predictor: Predictor) -> None:
    """The round trip of a generated client: path, method, body and reply taken from the document alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastapi.testclient import TestClient
    client = TestClient(create_app(predictor))
    document = client.get("/openapi.json").json()

    def model(kind: dict[str, Any]) -> dict[str, Any]:
        return document["components"]["schemas"][kind["$ref"].rpartition("/")[2]]  # type: ignore[no-any-return]

    path, operation = next((p, o["post"]) for p, o in document["paths"].items() if o.get("post", {}).get("operationId") == "v1_predict")
    fields = model(operation["requestBody"]["content"]["application/json"]["schema"])["properties"]
    body = {name: value for name, value in {"workload": gemms(256, 4, 16).to_json(), "hardware": ["t4"], "targets": ["latency_s"]}.items() if name in fields}
    reply = client.request("post", path, json=body)
    told = model(operation["responses"][str(reply.status_code)]["content"]["application/json"]["schema"])
    assert set(told["required"]) == set(reply.json())
    answer = model(told["properties"]["predictions"]["items"])
    assert set(answer["required"]) == set(reply.json()["predictions"][0])
    operations = [o["operationId"] for p in document["paths"].values() for o in p.values()]
    assert len(set(operations)) == len(operations)
