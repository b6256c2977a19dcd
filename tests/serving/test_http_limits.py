"""What a server refuses and how: sizes, seconds, crowds, strangers; and what it tells of itself."""

from __future__ import annotations

import asyncio
import io
import json
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra silicast[serve]")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

from silicast.datasets.errors import FormatError, InputError
from silicast.serving import http_v1
from silicast.serving.http import create_app
from silicast.serving.http_batch import Batcher
from silicast.serving.http_limits import Limits, read_tokens
from silicast.serving.log import Log
from silicast.serving.metrics import Metrics
from silicast.serving.predictor import Predictor

from .conftest import gemms

TOKEN = "0123456789abcdef"


def body() -> dict[str, Any]:
    return {"workload": gemms(256, 4, 16).to_json(), "hardware": "t4"}


def test_a_token_is_asked_for_where_it_matters(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"# ours\n{TOKEN}\nanother-token-of-mine\n", encoding="ascii")
    client = TestClient(create_app(predictor, tokens=read_tokens(tmp_path / "tokens")))
    for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"):
        assert client.get(path).status_code == 200
    for given in (None, TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer ", "Bearer \u00e9"):
        refused = client.post("/v1/predict", json=body(), headers={} if given is None else {"authorization": given.encode("latin-1")})
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    for path in ("/v1/models", "/metrics", "/docs", "/openapi.json", "/nowhere"):
        assert client.get(path).status_code == 401
    for token in (TOKEN, "another-token-of-mine"):
        assert client.post("/v1/predict", json=body(), headers={"authorization": f"bearer {token}"}).status_code == 200


@pytest.mark.parametrize("text", ["", "# nothing\n", "short\n", "\u00e9" * 20])
def test_token_files_that_protect_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokens").write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match="token-file"):
        read_tokens(tmp_path / "tokens")


def test_limits_that_let_nothing_through() -> None:
    with pytest.raises(InputError, match="in_flight"):
        Limits(in_flight=0)


def ask_together(app: Any, count: int, path: str, content: bytes) -> list[tuple[int, dict[str, str]]]:
    """`count` requests at the same time, without a socket between: (status, headers) of each."""
    async def one() -> tuple[int, dict[str, str]]:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
                 "scheme": "http", "headers": [(b"content-type", b"application/json")], "server": ("t", 80), "client": ("t", 1)}
        await app(scope, receive, send)
        return sent[0]["status"], {k.decode(): v.decode() for k, v in sent[0]["headers"]}

    async def all_of_them() -> list[tuple[int, dict[str, str]]]:
        return await asyncio.gather(*(one() for _ in range(count)))

    return asyncio.run(all_of_them())


def test_a_crowd_is_told_to_come_back(predictor: Predictor) -> None:
    app = create_app(predictor, limits=Limits(in_flight=10))
    told = ask_together(app, 40, "/v1/predict", json.dumps(body()).encode())
    assert sorted({status for status, _ in told}) == [200, 429]
    assert sum(status == 200 for status, _ in told) == 10
    assert {headers["retry-after"] for status, headers in told if status == 429} == {"1"}
    assert 'silicast_rejected_total{reason="in_flight"} 30' in TestClient(app).get("/metrics").text


def test_requests_at_once_are_answered_together_and_alike(predictor: Predictor) -> None:
    app = create_app(predictor)
    assert {status for status, _ in ask_together(app, 64, "/v1/predict", json.dumps(body()).encode())} == {200}
    text = TestClient(app).get("/metrics").text
    batches = float(text.partition("silicast_batch_rows_count ")[2].split()[0])
    assert float(text.partition("silicast_batch_rows_sum ")[2].split()[0]) == 64
    assert batches <= 8
    assert 'silicast_rows_total{model="tiny"} 64' in text


def test_an_answer_that_takes_too_long(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_v1, "_simulated", lambda *given: time.sleep(0.3) or {})
    app = create_app(predictor, limits=Limits(bulk_s=0.05, heavy=1))
    with TestClient(app) as client:
        late = client.post("/v1/simulate", json=body())
        assert (late.status_code, late.headers["retry-after"]) == (503, "5")
        crowded = client.post("/v1/simulate", json=body())  # no thread can be stopped: it counts until it ends
        assert (crowded.status_code, crowded.headers["retry-after"]) == (429, "1")
        assert client.post("/v1/predict", json=body()).status_code == 200
        time.sleep(0.4)
        assert client.post("/v1/simulate", json=body()).status_code == 503


def test_a_bad_question_does_not_spoil_its_neighbours() -> None:
    def answer(key: str, rows: list[Any]) -> list[Any]:
        if "bad" in rows:
            raise ValueError("bad")
        return [f"{key}{row}" for row in rows]

    async def go() -> list[Any]:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as pool:
            batcher = Batcher(answer, lambda: pool)
            return await asyncio.gather(*(batcher.ask("k", rows) for rows in ([1], ["bad"], [2, 3])), return_exceptions=True)

    first, second, third = asyncio.run(go())
    assert (first, third) == (["k1"], ["k2", "k3"])
    assert isinstance(second, ValueError)


@pytest.mark.parametrize("media", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "\u00ff"])
def test_content_types_that_are_not_read(predictor: Predictor, media: str) -> None:
    client = TestClient(create_app(predictor))
    for path in ("/v1/predict", "/v1/predict/bulk", "/v1/simulate", "/v1/workloads", "/v2/models/tiny/infer"):
        refused = client.post(path, content=b"{}", headers={"content-type": media.encode("latin-1")})
        assert (refused.status_code, "expected" in refused.json()["error"]) == (415, True)


def test_requests_have_ids_and_log_lines(predictor: Predictor) -> None:
    stream = io.StringIO()
    log = Log("requests", stream)
    client = TestClient(create_app(predictor, log=log))
    assert client.post("/v1/predict", json=body(), headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    other = client.get("/v1/hardware/nothing%0aof%20the%20kind", headers={"x-request-id": "not an id\t"}).headers["x-request-id"]
    log.flush()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(one["id"], one["status"]) for one in lines] == [("mine-1", 200), (other, 404)]
    assert (lines[0]["model"], lines[0]["version"], lines[0]["rows"], lines[0]["event"]) == ("tiny", "7", 1, "request")
    assert lines[0]["ms"] > 0


def test_figures_cannot_be_made_up_by_strangers(predictor: Predictor) -> None:
    client = TestClient(create_app(predictor))
    for i in range(5):
        client.get(f"/nowhere/{i}")
        client.get(f"/v1/hardware/none{i}")
    text = client.get("/metrics").text
    assert 'silicast_requests_total{path="other",status="404"} 5' in text
    assert 'silicast_requests_total{path="/v1/hardware/{key}",status="404"} 5' in text
    assert "nowhere" not in text
    assert 'silicast_model_info{model="tiny",version="7"} 1' in text


def test_a_histogram_as_prometheus_reads_it() -> None:
    metrics = Metrics()
    for rows in (1, 2, 3, 1000):
        metrics.observe("silicast_batch_rows", rows)
    text = metrics.text()
    for line in ('_bucket{le="1.0"} 1', '_bucket{le="2.0"} 2', '_bucket{le="4.0"} 3', '_bucket{le="256.0"} 3', '_bucket{le="+Inf"} 4', "_sum 1006", "_count 4"):
        assert f"silicast_batch_rows{line}\n" in text


def test_the_simulator_the_catalogue_and_uploads(predictor: Predictor, tmp_path: Path) -> None:
    client = TestClient(create_app(predictor))
    told = client.post("/v1/simulate", json=body() | {"hardware": ["t4", "v100_sxm"], "ops": True}).json()
    assert [one["hardware"] for one in told["answers"]] == ["t4", "v100_sxm"]
    assert len(told["answers"][0]["ops"]) == 8
    assert told["units"]["latency_s"] == "s"
    capped = client.post("/v1/simulate", json=body() | {"hardware": "a100_sxm", "power_limit_w": 1.0})
    assert capped.status_code in (200, 422), capped.text
    listed = client.get("/v1/hardware").json()["devices"]
    one = client.get("/v1/hardware/A100-SXM4-80GB").json()
    assert one["key"] in {d["key"] for d in listed}
    assert one["digest"]
    for name in ("..%2f..%2fetc%2fpasswd", "%2e%2e", "a%00b", "%ff", "x.yaml"):
        assert client.get(f"/v1/hardware/{name}").status_code == 404
    assert client.get("/v1/models").json()["models"][0]["version"] == "7"


def test_an_onnx_file_becomes_a_workload(predictor: Predictor) -> None:
    onnx = pytest.importorskip("onnx")
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["b", 64]) for name in ("x", "y"))
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [64, 64], [0.5] * 4096)
    graph = onnx.helper.make_graph([onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], "net", [x], [y], [weight])
    data = onnx.helper.make_model(graph).SerializeToString()
    client = TestClient(create_app(predictor, limits=Limits(upload_bytes=len(data))))
    media = {"content-type": "application/octet-stream"}
    unbound = client.post("/v1/workloads", content=data, headers=media)
    assert (unbound.status_code, "upload" in unbound.json()["error"]) == (422, True)
    told = client.post("/v1/workloads?dim.b=8&document=1", content=data, headers=media).json()
    assert told["summary"]["flops"] == 2 * 8 * 64 * 64
    by_digest = client.post("/v1/predict", json={"workload": told["digest"], "hardware": "t4"}).json()
    by_document = client.post("/v1/predict", json={"workload": told["document"], "hardware": "t4"}).json()
    assert by_digest["predictions"][0]["targets"] == by_document["predictions"][0]["targets"]
    assert client.post("/v1/workloads", content=data + b"x", headers=media).status_code == 413
    for damaged in (b"", b"\x00", data[: len(data) // 2], b"\xff" * 60):
        refused = client.post("/v1/workloads?dim.b=8", content=damaged, headers=media)
        assert refused.status_code == 422, refused.text
        assert "/tmp" not in refused.text
    for query in ("dim.b=x", "dim.b=-1", "zz=1", "unknown_ops=guess", "dtype=float17"):
        assert client.post(f"/v1/workloads?{query}", content=data, headers=media).status_code == 422
