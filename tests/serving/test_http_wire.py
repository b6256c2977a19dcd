"""The shortest way of a question over HTTP: what it answers, what it leaves to the long way, and that bytes in any pieces mean the same."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra silicast[serve]")
pytest.importorskip("httptools", reason="needs the extra silicast[serve]")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import uvicorn

from silicast.serving.http import create_app
from silicast.serving.http_limits import Limits
from silicast.serving.http_wire import Wire
from silicast.serving.log import Log
from silicast.serving.predictor import Predictor

from .test_quick import compiled as compiled

TOKEN = "a-token-of-sixteen-or-more"
OP = {"kind": "gemm", "m": 128, "n": 256, "k": 512, "dtype": "float16"}
BODY = json.dumps({"op": OP, "hardware": "t4", "context": {"framework": "x"}}).encode()


class Served:
    """A server in a thread; `short` counts the questions answered without the long way."""

    def __init__(self, model: Predictor, keep_alive_s: int = 5, **given: Any) -> None:
        self.logged = StringIO()
        self.app = create_app(model, log=Log("requests", self.logged), **given)
        self.short, self.together = 0, list[int]()
        replied = self.app.gate.replied  # type: ignore[attr-defined]

        def counting(asked: Any) -> list[bytes | None]:
            said: list[bytes | None] = replied(asked)
            self.short += sum(one is not None for one in said)
            self.together.append(len(asked))
            return said

        self.app.gate.replied = counting  # type: ignore[attr-defined]
        self._server = uvicorn.Server(uvicorn.Config(self.app, port=0, http=Wire, log_level="error", access_log=False, proxy_headers=False, server_header=False, timeout_keep_alive=keep_alive_s))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve()), daemon=True)
        self._thread.start()
        limit = time.time() + 30
        while not self._server.started and time.time() < limit:
            time.sleep(0.01)
        self.port = int(self._server.servers[0].sockets[0].getsockname()[1])

    def pause(self, seconds: float) -> None:
        """The event loop sleeps."""
        self._server.servers[0].get_loop().call_soon_threadsafe(time.sleep, seconds)

    def stop(self) -> None:
        """Ends it."""
        self._server.should_exit = True
        self._thread.join(30)

    def send(self, *pieces: bytes, replies: int = 1, pause_s: float = 0.01) -> list[tuple[int, dict[str, str], bytes]]:
        """(status, headers, body) of each reply to bytes that arrive piece by piece."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as s, s.makefile("rb") as answers:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i, piece in enumerate(pieces):
                time.sleep(pause_s if i else 0.0)
                s.sendall(piece)
            return [_reply(answers) for _ in range(replies)]


def _reply(answers: Any) -> tuple[int, dict[str, str], bytes]:
    status = int(answers.readline().split()[1])
    headers = {}
    while (line := answers.readline().strip()):
        name, _, value = line.decode("latin-1").partition(": ")
        assert name not in headers, f"{name} twice"
        headers[name] = value
    return status, headers, answers.read(int(headers["content-length"]))


def request(body: bytes = BODY, *headers: str, path: str = "/v1/predict") -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "host: x", "content-type: application/json", f"content-length: {len(body)}", *headers, "", ""]).encode() + body


@pytest.fixture(scope="module")
def served(compiled: Predictor) -> Iterator[Served]:
    found = Served(compiled)
    yield found
    found.stop()


def test_a_question_is_answered_as_by_the_model(served: Served, compiled: Predictor) -> None:
    before = served.short
    (status, headers, body), = served.send(request(BODY, "x-request-id: mine-1"))
    assert (status, headers["content-type"], headers["x-request-id"], served.short - before) == (200, "application/json", "mine-1", 1)
    told, one = json.loads(body)["predictions"][0], compiled.predict_op("gemm", {"m": 128, "n": 256, "k": 512}, "t4", framework="x")
    assert told["targets"]["latency_s"] == {"point": pytest.approx(one.point[0]), "low": pytest.approx(one.low[0]), "high": pytest.approx(one.high[0]), "unit": "s"}
    assert (told["level"], told["calibrated"], told["domain"]["verdict"], told["model"], told["version"], told["speed"]) == (0.9, one.calibrated, one.domain.verdict, "gemm", "1", "columns")
    served.app.state.desk.log.flush()
    line = next(json.loads(x) for x in served.logged.getvalue().splitlines() if "mine-1" in x)
    assert (line["path"], line["status"], line["model"], line["version"], line["rows"]) == ("/v1/predict", 200, "gemm", "1", 1)
    (_, other, _), = served.send(request(BODY, "x-request-id: no id!"))
    assert len(other["x-request-id"]) == 16


def test_bytes_in_any_pieces_mean_the_same(served: Served) -> None:
    whole = request()
    figures = set()
    for cuts in ((), (5,), (60,), (len(whole) - len(BODY),), (len(whole) - 3,), (3, 70, len(whole) - 10)):
        edges = (0, *cuts, len(whole))
        (status, _, body), = served.send(*(whole[a:b] for a, b in itertools.pairwise(edges)))
        assert status == 200
        figures.add(json.dumps(json.loads(body)["predictions"][0]["targets"]))
    assert len(figures) == 1
    before = served.short
    (status, _, body), = served.send(whole[:-5], whole[-5:], pause_s=0.2)  # too slow to be held
    assert (status, json.loads(body)["predictions"][0]["speed"], served.short) == (200, "columns", before)
    chunked = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    assert [status for status, _, _ in served.send(chunked)] == [200]


def test_requests_behind_one_another_are_answered_in_order(served: Served) -> None:
    far = json.dumps({"op": {**OP, "m": 10_000_000}, "hardware": "t4", "context": {"framework": "x"}}).encode()  # the model itself answers
    told = served.send(request(BODY, "x-request-id: a") + request(far, "x-request-id: b") + request(BODY, "x-request-id: c") + b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-request-id: d\r\n\r\n", replies=4)
    assert [(status, headers["x-request-id"]) for status, headers, _ in told] == [(200, "a"), (200, "b"), (200, "c"), (200, "d")]
    assert [json.loads(body)["predictions"][0]["speed"] for _, _, body in told[:3]] == ["columns", "exact", "columns"]


@pytest.mark.parametrize(("sent", "status"), [
    (request(b'{"op": 5, "hardware": "t4"}'), 422), (request(b"[" * 1500), 422), (request(b'{"op": {"m": NaN}}'), 422), (request(b"\xff\xfe{}"), 422), (request(b""), 422), (request(BODY + b"x"), 422),
    (request(BODY).replace(b"application/json", b"text/plain"), 415), (request(BODY, path="/v1/predictt"), 404), (request(json.dumps({"model": "nobody", "op": OP, "hardware": "t4"}).encode()), 404),
    (request(BODY + b" \n"), 200), (request(b" " * 5000 + BODY), 200), (request(BODY).replace(b"application/json", b"Application/JSON; charset=utf-8"), 200),
    (request(BODY, path="/v1/predict?a=b"), 200), (request(BODY).replace(b"POST", b"PUT", 1), 405)])
def test_what_is_not_plainly_such_a_question_goes_the_long_way(served: Served, sent: bytes, status: int) -> None:
    (found, headers, body), = served.send(sent)
    assert found == status, body
    assert "x-request-id" in headers


def test_a_connection_is_closed_where_that_is_asked_for(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as s, s.makefile("rb") as answers:
        s.sendall(request(BODY, "connection: close"))
        status, headers, _ = _reply(answers)
        assert (status, headers["connection"], answers.read()) == (200, "close", b"")


def test_a_client_that_goes_away_in_the_middle(served: Served) -> None:
    for piece in (request()[:-5], request()[:30], b""):
        with socket.create_connection(("127.0.0.1", served.port), timeout=20) as s:
            s.sendall(piece)
    time.sleep(0.1)
    assert [status for status, _, _ in served.send(request())] == [200]


def test_guards_stand_before_it(compiled: Predictor) -> None:
    guarded = Served(compiled, tokens=(TOKEN.encode(),), limits=Limits(body_bytes=200, body_s=0.3))
    try:
        assert [guarded.send(request(BODY, *headers))[0][0] for headers in ((), ("authorization: Bearer wrong-wrong-wrong-wrong",), (f"authorization: Bearer {TOKEN}",))] == [401, 401, 200]
        assert guarded.short == 1
        assert guarded.send(request(BODY + b" " * 200, f"authorization: Bearer {TOKEN}"))[0][0] == 413
        assert guarded.send(request(BODY, f"authorization: Bearer {TOKEN}")[:-5])[0][0] == 408
        guarded.app.gate.in_flight = 2000  # type: ignore[attr-defined]
        assert guarded.send(request(BODY, f"authorization: Bearer {TOKEN}"))[0][0] == 429
    finally:
        guarded.stop()


def test_it_is_counted(served: Served) -> None:
    def figure(name: str) -> float:
        text = served.app.state.desk.metrics.text()
        return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name)), 0.0)

    names = ('silicast_requests_total{path="/v1/predict",status="200"}', 'silicast_rows_total{model="gemm"}', 'silicast_request_seconds_count{path="/v1/predict"}')
    before = [figure(name) for name in names]
    served.send(request() * 3, replies=3)
    assert [figure(name) - b for name, b in zip(names, before, strict=True)] == [3.0, 3.0, 3.0]


def test_questions_that_come_together_are_answered_together_each_its_own(served: Served, compiled: Predictor) -> None:
    sizes = [(16 * i, 32 * i, 64 * i) for i in range(2, 14)]
    bodies = [json.dumps({"op": {"kind": "gemm", "m": m, "n": n, "k": k, "dtype": ("float16", "int8")[m % 3 == 0]}, "hardware": ("t4", "a100_sxm")[n % 5 == 0], "context": {"framework": "xy"[k % 7 == 0]}}).encode()
              for m, n, k in sizes]
    bodies[5] = b'{"op": {"kind": "gemm", "m": -5, "n": 1, "k": 1}, "hardware": "t4", "context": {"framework": "x"}}'  # spoils no neighbour's answer
    connections = [socket.create_connection(("127.0.0.1", served.port), timeout=20) for _ in bodies]
    try:
        files = [c.makefile("rb") for c in connections]
        for _ in range(2):  # the second time their heads are known
            served.together.clear()
            served.pause(0.3)
            for i, (c, body) in enumerate(zip(connections, bodies, strict=True)):
                c.sendall(request(body, f"x-request-id: id-{i}") if i % 2 else request(body))
            for i, (answers, body) in enumerate(zip(files, bodies, strict=True)):
                status, headers, told = _reply(answers)
                if i == 5:
                    assert status == 422
                    continue
                asked = json.loads(body)
                one = compiled.predict_op("gemm", {d: asked["op"][d] for d in "mnk"}, asked["hardware"], dtype=asked["op"]["dtype"], **asked["context"])
                found = json.loads(told)["predictions"][0]
                assert found["targets"]["latency_s"]["point"] == pytest.approx(one.point[0], rel=1e-5)
                assert found["targets"]["latency_s"]["high"] == pytest.approx(one.high[0], rel=1e-5)
                assert (found["hardware"], found["domain"]["verdict"]) == (asked["hardware"], one.domain.verdict)
                assert headers["x-request-id"] == f"id-{i}" or not i % 2
            assert max(served.together) > 1
        for answers in files:
            answers.close()
    finally:
        for c in connections:
            c.close()


def test_a_client_that_says_no_more_is_answered(served: Served) -> None:
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", served.port), timeout=20) as s, s.makefile("rb") as answers:
            served.pause(0.1)
            s.sendall(request())
            s.shutdown(socket.SHUT_WR)
            assert _reply(answers)[0] == 200


def test_a_known_head_with_another_body_is_read_anew(served: Served) -> None:
    head = request(BODY)[:-len(BODY)]
    (status, _, _), = served.send(head + BODY)
    assert status == 200
    other = BODY.replace(b"128", b"256")
    told = [served.send(*pieces)[0] for pieces in ((head + BODY,), (head + other,), (head + other[:20], other[20:]), (head, other))]
    points = [json.loads(body)["predictions"][0]["targets"]["latency_s"]["point"] for _, _, body in told]
    assert points[1:] == pytest.approx([points[1]] * 3, rel=1e-6)
    assert points[0] != points[1]
    both = served.send(head + BODY + head + other, replies=2)
    assert [json.loads(body)["predictions"][0]["targets"]["latency_s"]["point"] for _, _, body in both] == pytest.approx(points[:2], rel=1e-6)
    assert served.send(head + BODY[:-1] + b"x")[0][0] == 422


def test_an_idle_connection_is_closed_and_a_used_one_is_not(compiled: Predictor) -> None:
    short = Served(compiled, keep_alive_s=1)
    try:
        with socket.create_connection(("127.0.0.1", short.port), timeout=20) as s, s.makefile("rb") as answers:
            begin = time.time()
            for _ in range(8):
                s.sendall(request())
                assert _reply(answers)[0] == 200
                time.sleep(0.25)
            assert time.time() - begin > 1.9
            assert answers.read() == b""
            assert time.time() - begin < 10.0
    finally:
        short.stop()


def test_trouble_with_the_answers_is_the_long_ways(compiled: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    troubled = Served(compiled)
    try:
        assert troubled.send(request())[0][0] == 200

        def broken(*given: Any) -> Any:
            raise RuntimeError("no answer")

        monkeypatch.setattr("silicast.serving.http_quick.replies", broken)
        status, _, body = troubled.send(request())[0]
        assert (status, "error" in json.loads(body)) == (500, True)  # the long way has asked the same
        monkeypatch.undo()
        assert troubled.send(request())[0][0] == 200
    finally:
        troubled.stop()
