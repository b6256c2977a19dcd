"""A real server under fire: thousands of connections, 100 MB bodies, killed workers, hostile bytes. It answers afterwards, and never with a 5xx."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import gemms

pytest.importorskip("uvicorn", reason="needs the extra silicast[serve]")
psutil = pytest.importorskip("psutil")

CONNECTIONS = 10_000


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextlib.contextmanager
def serving(model: Path | str, *words: str, start_s: float = 90) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    port = free_port()
    command = [sys.executable, "-P", "-m", "silicast", "serve", "--model", str(model), "--port", str(port), "--log", "errors", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        try:
            limit = time.time() + start_s
            while time.time() < limit:
                with contextlib.suppress(OSError):
                    if ask(port, "/readyz")[0] == 200:
                        break
                assert process.poll() is None, process.stderr.read() if process.stderr else ""
                time.sleep(0.1)
            yield port, process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def ask(port: int, path: str, body: bytes | None = None, media: str = "application/json", timeout: float = 30) -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, headers={"content-type": media})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture(scope="module")
def server(model_folder: Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    with serving(model_folder) as started:
        yield started


def question() -> bytes:
    return json.dumps({"workload": gemms(256, 4, 16).to_json(), "hardware": "t4"}).encode()


def test_a_hundred_megabytes(server: tuple[int, subprocess.Popen[str]]) -> None:
    status, said = ask(server[0], "/v1/predict", b" " * 100_000_000)
    assert (status, b"16,000,000 bytes" in said) == (413, True)
    assert ask(server[0], "/v1/predict", question())[0] == 200
    assert psutil.Process(server[1].pid).memory_info().rss < 500e6


def test_ten_thousand_connections(server: tuple[int, subprocess.Popen[str]]) -> None:
    import resource

    room = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    count = min(CONNECTIONS, room - 500)
    if count < 1000:
        pytest.skip(f"only {room} files may be open here")
    held: list[socket.socket] = []
    body = question()
    head = f"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    try:
        for _ in range(count):
            one = socket.create_connection(("127.0.0.1", server[0]), timeout=30)
            one.settimeout(60)
            held.append(one)
        asking = held[:: max(1, count // 300)]
        for one in asking:
            one.sendall(head + body)
        statuses = [re.match(rb"HTTP/1.1 (\d+)", one.recv(65536)) for one in asking]
        assert {int(found[1]) for found in statuses if found} <= {200, 429}
        assert all(statuses)
        assert ask(server[0], "/v1/predict", body)[0] in (200, 429)
    finally:
        for one in held:
            one.close()
    time.sleep(0.5)
    assert ask(server[0], "/v1/predict", body)[0] == 200
    assert psutil.Process(server[1].pid).memory_info().rss < 500e6


@pytest.mark.parametrize("sent", [
    b"\x00" * 1000, b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n", b"POST /v1/predict HTTP/1.1\r\ncontent-length: -5\r\n\r\n",
    b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99999999999999999999\r\n\r\n{",
    b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", b"GET /v1/hardware/../../../etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /v1/hardware/..%2f..%2fetc%2fpasswd HTTP/1.1\r\nhost: x\r\n\r\n", b"GET /v1/drift?" + b"a=1&" * 3000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nhost: x\r\nx-request-id: \xff\xfe\r\n\r\n",
], ids=range(10))
def test_bytes_that_are_no_request(server: tuple[int, subprocess.Popen[str]], sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server[0]), timeout=10) as s:
        s.settimeout(3)
        with contextlib.suppress(OSError):
            s.sendall(sent)
            s.shutdown(socket.SHUT_WR)
            said = s.recv(65536)
            assert not said.startswith(b"HTTP/1.1 5"), said
            assert b"root:" not in said
    assert ask(server[0], "/healthz")[0] == 200


@pytest.mark.parametrize(("path", "sent", "media", "due"), [
    ("/v1/predict", b"[" * 100_000, "application/json", 422), ("/v1/predict", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "application/json", 422),
    ("/v1/predict", b'{"workload": NaN, "hardware": "t4"}', "application/json", 422), ("/v1/predict", b'{"workload": {"flops": Infinity}, "hardware": -Infinity}', "application/json", 422),
    ("/v1/predict", b"9" * 100_000, "application/json", 422), ("/v1/predict", b"\xff\xfe\x00", "application/json", 422), ("/v1/predict", b"", "application/json", 422),
    ("/v1/predict", b"a=1", "application/x-www-form-urlencoded", 415), ("/v1/predict", b"{}", "text/html", 415), ("/v1/predict/bulk", b"{}", "application/octet-stream", 415),
    ("/v1/workloads", b"{}", "application/json", 415), ("/v1/workloads", b"\x08\x07" + b"\xff" * 1000, "application/octet-stream", 422),
    ("/v1/predict", b'{"workload": "../../etc/passwd", "hardware": "t4"}', "application/json", 422), ("/v1/simulate", b'{"workload": "x", "hardware": "/etc/passwd.yaml"}', "application/json", 422),
    ("/v1/predict", b'{"model": "../../etc/passwd", "hardware": "t4"}', "application/json", 404), ("/v2/models/..%2f..%2fetc%2fpasswd/infer", b"{}", "application/json", 404),
    ("/v2/models/tiny/versions/..%2f7/infer", b"{}", "application/json", 404), ("/v1/predict/bulk?model=..%2F..%2Fetc", b"{}", "application/x-ndjson", 404),
    ("/v1/hardware/..%2f..%2f..%2fetc%2fpasswd", None, "application/json", 404), ("/v1/hardware/%00", None, "application/json", 404), ("/docs/../../etc/passwd", None, "application/json", 404),
], ids=range(21))
def test_bad_input_is_told_and_never_a_5xx(server: tuple[int, subprocess.Popen[str]], path: str, sent: bytes | None, media: str, due: int) -> None:
    status, said = ask(server[0], path, sent, media)
    assert status == due, said[:300]
    assert b"root:" not in said
    assert b"Traceback" not in said
    if sent is not None:
        assert list(json.loads(said)) == ["error"]
        assert len(said) < 2000


def test_a_truth_that_was_acknowledged_survives_a_kill(table_model: Path, tmp_path: Path) -> None:
    from silicast.serving.drift import DriftStore

    with serving(table_model, "--drift", str(tmp_path / "drift.db")) as (port, process):
        asked = json.dumps({"features": {"reuse": 4, "width": 100, "strategy": "latency"}}).encode()
        told = json.loads(ask(port, "/v1/predict", asked)[1])["predictions"][0]
        truth = json.dumps({"truths": [{"id": told["id"], "targets": {"latency_s": 1e-5}}]}).encode()
        limit = time.time() + 30
        while json.loads(ask(port, "/v1/drift")[1])["truths"] == 0 and time.time() < limit:  # the prediction is on disk a fifth of a second later
            assert json.loads(ask(port, "/v1/truth", truth)[1])["accepted"] == 1
        process.kill()
        process.wait(20)
    kept = DriftStore(tmp_path / "drift.db", create=False)
    assert kept.counts()["predictions"] == 1
    assert kept.counts()["truths"] >= 1
    assert len(kept.matched()) == kept.counts()["truths"]


def test_a_client_that_leaves_in_the_middle(server: tuple[int, subprocess.Popen[str]]) -> None:
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", server[0]), timeout=10) as s:
            s.sendall(b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{")
    assert ask(server[0], "/v1/predict", question())[0] == 200
    in_flight = re.search(rb"silicast_in_flight (\d+)", ask(server[0], "/metrics")[1])
    assert in_flight
    assert int(in_flight[1]) == 1  # the one that asks


def test_a_stop_lets_requests_end(model_folder: Path) -> None:
    with serving(model_folder) as (port, process):
        body = question()
        with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
            s.settimeout(20)
            s.sendall(f"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body[:100])
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            s.sendall(body[100:])
            assert s.recv(65536).startswith(b"HTTP/1.1 200")
        assert process.wait(20) in (0, -signal.SIGTERM)


@pytest.mark.slow
def test_a_killed_worker_is_replaced(model_folder: Path) -> None:
    with serving(model_folder, "--workers", "2") as (port, process):
        workers = [one for one in psutil.Process(process.pid).children(recursive=True) if "spawn_main" in " ".join(one.cmdline())]
        assert len(workers) == 2
        workers[0].send_signal(signal.SIGKILL)
        statuses = []
        limit = time.time() + 180
        replaced = False
        while time.time() < limit and not replaced:
            time.sleep(0.1)  # a worker starts slowly while questions take both cores
            with contextlib.suppress(OSError):  # the connection that the dead one held
                statuses.append(ask(port, "/v1/predict", question())[0])
            alive = [one for one in psutil.Process(process.pid).children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE and "spawn_main" in " ".join(one.cmdline())]
            replaced = len(alive) == 2 and workers[0].pid not in {one.pid for one in alive}
        assert replaced
        assert statuses
        assert set(statuses) == {200}
