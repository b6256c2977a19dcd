"""What a server answers per second: python benchmarks/serve.py [--quick] [--model DIR] [--json FILE]

A real `silicast serve` with one worker, 16 connections that each wait for their answer, every question another one; p50 and p99 beside it. In the same
run: the bare round trip (/healthz), and FastAPI with pydantic that answers a constant to the same question (what the framework alone takes). Bulk in
Arrow and JSON. Without --model it fits small models of single GEMMs (with a student, as `silicast compile` makes one), of a plain table and of networks (their
accuracy is not the point here).
The client shares the cores with the server, as both do in the peer's row.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from _tables import print_table, write_json

from silicast.datasets.catalog import hardware
from silicast.datasets.families import FAMILIES, sample
from silicast.datasets.measured import read_measured
from silicast.datasets.simulator import simulate_many
from silicast.datasets.table import GraphQuestions, Table
from silicast.features import FEATURE_VERSION, domain
from silicast.surrogates import store
from silicast.surrogates.card import ModelCard

CLIENTS = 16
MACHINES = ("a100_sxm", "h100_sxm", "t4", "v100_sxm")
OP = {"op": "gemm", "columns": {"m": "m", "n": "n", "k": "k", "dtype": "dtype"}, "hardware": "hardware", "targets": {"latency_s": {"column": "t", "unit": "s"}}}
PLAIN = {"features": ["reuse", "width", "depth", "strategy"], "targets": {"latency_s": {"column": "t", "unit": "s"}}}
PEER = """
from fastapi import FastAPI
from pydantic import BaseModel
class Op(BaseModel):
    kind: str
    m: int
    n: int
    k: int
    dtype: str
class Asked(BaseModel):
    model: str
    op: Op
    hardware: str
class Told(BaseModel):
    point: float
    low: float
    high: float
    domain: str
app = FastAPI()
@app.post("/v1/predict")
async def predict(asked: Asked) -> Told:
    return Told(point=float(asked.op.m), low=0.0, high=1e9, domain="in_domain")
import sys, uvicorn
uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False)
"""


#: our server with a model that costs nothing: what is left is the layer between
LAYER = """
import sys, numpy as np, uvicorn
from dataclasses import replace
from silicast.serving.http import create_app
from silicast.serving.predictor import Predictor
from silicast.surrogates.prediction import Prediction
class Constant:
    name, shape, targets = "constant", "features", ("latency_s",)
    def predict(self, questions):
        one = np.ones((len(questions), 1))
        return Prediction(self.targets, one, 0.9 * one, 1.1 * one, 0.9, Prediction.bare(self.targets, one).domain)
loaded = Predictor.load(sys.argv[1])
class Bare(Predictor):
    def predict_table(self, questions, *, fallback=None):
        return self.surrogate.predict(questions).signed(self.name, self.version)
uvicorn.run(create_app(Bare(Constant(), loaded.card, loaded.name, loaded.version, loaded.source)), port=int(sys.argv[2]), log_level="error", access_log=False)
"""


def main() -> None:
    """Prints the tables, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--model", type=Path, action="append", default=[], help="a model folder of single operators, to take the place of the small one")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    seconds, bulk = (2.0, 20_000) if options.quick else (8.0, 250_000)
    scratch = Path(tempfile.mkdtemp())
    try:
        gemm = options.model[0] if options.model else gemm_model(scratch)
        folders = [gemm, plain_model(scratch), network_model(scratch)]
        single, bulks, memory = measure(folders, seconds, bulk)
        print_table(f"one question at a time, {CLIENTS} connections, one worker", single)
        print_table("bulk, one request after another", bulks)
        print(f"\nresident memory of the server after all of it: {memory / 1e6:.0f} MB")
        by = {row["question"]: row for row in single}
        rates = {row["question"]: row["rows/s"] for row in bulks}
        write_json(options.json, {"http_single_req_s": by["one GEMM on one machine"]["req/s"], "http_bulk_rows_s": rates["GEMMs, Arrow"], "http_plain_single_req_s": by["one row of a plain table"]["req/s"],
                                  "http_plain_bulk_rows_s": rates["plain rows, Arrow"], "server_memory_bytes": memory, "single": single, "bulk": bulks, "quick": options.quick})
    finally:
        shutil.rmtree(scratch)


def probes(quick: bool) -> dict[str, Any]:
    """What `predict.py` takes from here: single questions per second, bulk rows per second and megabytes of a server with a compiled model of GEMMs."""
    scratch = Path(tempfile.mkdtemp())
    rng = np.random.default_rng(11)
    try:
        folder = gemm_model(scratch)
        port = free_port()
        with Server([sys.executable, "-P", "-m", "silicast", "serve", "--model", str(folder), "--port", str(port), "--log", "none"], port, "/readyz") as server:
            single = run(drive(port, "POST", "/v1/predict", gemm_questions("gemm", 4000, rng), 3.0 if quick else 8.0))
            bulk = in_bulk("GEMMs, Arrow", port, "/v1/predict/bulk?model=gemm", gemm_rows(250_000, rng).drop(columns="t"), True)
            return {"http_single_req_s": single["req/s"], "http_single_p99_ms": single["p99 ms"], "http_bulk_rows_s": bulk["rows/s"], "serving_rss_mb": server.memory() / 1e6}
    finally:
        shutil.rmtree(scratch)


def measure(folders: Sequence[Path], seconds: float, bulk: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]], float]:
    """(single, bulk, bytes of memory) of one server with all models."""
    port = free_port()
    words = [word for folder in folders for word in ("--model", str(folder))]
    rng = np.random.default_rng(11)
    with Server([sys.executable, "-P", "-m", "silicast", "serve", *words, "--port", str(port), "--log", "none"], port, "/readyz") as server:
        names = [one["name"] for one in json.loads(get(port, "/v1/models"))["models"]]
        networks = [sample(list(FAMILIES)[i % len(FAMILIES)], rng) for i in range(40)]
        digests = []
        for network in networks:
            told = json.loads(post(port, "/v1/predict", json.dumps({"model": names[2], "workload": network.to_json(), "hardware": "t4"}).encode(), "application/json"))
            digests.append(told["workload_digest"])
        asked = {
            "one GEMM on one machine": ("/v1/predict", gemm_questions(names[0], 4000, rng)),
            "one row of a plain table": ("/v1/predict", plain_questions(names[1], 4000, rng)),
            "one network (by digest) on one machine": ("/v1/predict", [json.dumps({"model": names[2], "workload": digests[i % 40], "hardware": MACHINES[i % 4]}).encode() for i in range(1000)]),
        }
        single = [{"question": "bare round trip (/healthz)", "who": "silicast", **run(drive(port, "GET", "/healthz", [b""], seconds))}]
        single += [{"question": what, "who": "silicast", **run(drive(port, "POST", path, bodies, seconds))} for what, (path, bodies) in asked.items()]
        gemms, plain = gemm_rows(bulk, rng).drop(columns="t"), plain_rows(bulk, rng).drop(columns="t")
        bulks = [in_bulk("GEMMs, Arrow", port, f"/v1/predict/bulk?model={names[0]}", gemms, True), in_bulk("plain rows, Arrow", port, f"/v1/predict/bulk?model={names[1]}", plain, True),
                 in_bulk("plain rows, JSON columns", port, "/v1/predict/bulk", plain.head(bulk // 5), False, names[1])]
        memory = server.memory()
    port = free_port()
    with Server([sys.executable, "-P", "-c", PEER, str(port)], port, "/docs"):
        single.append({"question": "one GEMM on one machine", "who": "FastAPI + pydantic, a constant", **run(drive(port, "POST", "/v1/predict", gemm_questions("gemm", 4000, rng), seconds))})
    port = free_port()
    with Server([sys.executable, "-P", "-c", LAYER, str(folders[1]), str(port)], port, "/readyz"):
        what = "one row of a plain table, a model that costs nothing"
        single.append({"question": what, "who": "silicast", **run(drive(port, "POST", "/v1/predict", plain_questions(names[1], 4000, rng), seconds))})
        bulks.append(in_bulk("plain rows, Arrow, a model that costs nothing", port, f"/v1/predict/bulk?model={names[1]}", plain, True))
    return [r for r in single if r["who"] != "silicast"] + [r for r in single if r["who"] == "silicast"], bulks, memory


def run(work: Any) -> Any:
    """`asyncio.run`, on uvloop where it is there, as the server's."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


async def drive(port: int, method: str, path: str, bodies: Sequence[bytes], seconds: float) -> dict[str, Any]:
    """Requests per second, p50 and p99 in milliseconds, and how many were not 200. Each connection takes its own stretch of the bodies."""
    requests = [f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(b)}\r\n\r\n".encode() + b for b in bodies]
    begin = time.perf_counter() + 0.3 * seconds  # what comes before is warm-up
    loop = asyncio.get_running_loop()
    clients = [(await loop.create_connection(lambda at=i: Client(requests, at, begin, begin + seconds), "127.0.0.1", port))[1] for i in range(CLIENTS)]  # type: ignore[misc]
    await asyncio.gather(*(one.done for one in clients))
    waits = [wait for one in clients for wait in one.waits]
    return {"req/s": len(waits) / seconds, "p50 ms": float(np.quantile(waits, 0.5) * 1e3), "p99 ms": float(np.quantile(waits, 0.99) * 1e3), "not 200": sum(one.failed for one in clients)}


class Client(asyncio.Protocol):
    """One connection that sends a request when the answer to the one before is there: little more than the bytes, for it shares the cores."""

    def __init__(self, requests: Sequence[bytes], at: int, begin: float, end: float) -> None:
        self._requests, self._at, self._begin, self._end = requests, at, begin, end
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waits: list[float] = []
        self.failed = 0
        self._got = b""

    def connection_made(self, transport: Any) -> None:
        """Sends the first request."""
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        if self._sent >= self._end:
            self._transport.close()
            self.done.set_result(None)
            return
        self._transport.write(self._requests[self._at % len(self._requests)])
        self._at += CLIENTS

    def data_received(self, data: bytes) -> None:
        """Waits for the whole answer, then asks again."""
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]):
            return
        if self._sent >= self._begin:
            self.waits.append(time.perf_counter() - self._sent)
            self.failed += not head.startswith(b"HTTP/1.1 200")
        self._got = b""
        self._send()


def in_bulk(what: str, port: int, path: str, frame: pd.DataFrame, arrow: bool, model: str = "") -> dict[str, Any]:
    """Rows per second of the best of three requests, all of it: encoding excluded, transfer and reading the reply included."""
    if arrow:
        table = pa.Table.from_pandas(frame, preserve_index=False)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        body, media = bytes(sink.getvalue()), "application/vnd.apache.arrow.stream"
    else:
        body, media = json.dumps({"model": model, "columns": {str(c): frame[c].tolist() for c in frame}}).encode(), "application/json"
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        told = post(port, path, body, media)
        rows = pa.ipc.open_stream(told).read_all().num_rows if arrow else json.loads(told)["rows"]
        best = min(best, time.perf_counter() - begin)
    assert rows == len(frame)
    return {"question": what, "rows": rows, "request MB": len(body) / 1e6, "seconds": best, "rows/s": rows / best}


class Server:
    """A process that listens on a port until the block ends."""

    def __init__(self, command: Sequence[str], port: int, ready: str) -> None:
        self._process = subprocess.Popen(command, env={**os.environ, "PYTHONSAFEPATH": "1"}, stderr=subprocess.DEVNULL)
        limit = time.time() + 120
        while True:
            try:
                get(port, ready)
                return
            except OSError:
                if self._process.poll() is not None or time.time() > limit:
                    raise SystemExit(f"the server did not start: {' '.join(command)[:200]}") from None
                time.sleep(0.1)

    def memory(self) -> float:
        """Resident bytes."""
        text = Path(f"/proc/{self._process.pid}/statm").read_text(encoding="ascii")
        return float(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *ended: object) -> None:
        self._process.terminate()
        self._process.wait(30)


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def get(port: int, path: str) -> bytes:
    """The body of a reply."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=120) as reply:
        return bytes(reply.read())


def post(port: int, path: str, body: bytes, media: str) -> bytes:
    """The body of a reply."""
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, headers={"content-type": media}), timeout=300) as reply:
        return bytes(reply.read())


def gemm_rows(count: int, rng: np.random.Generator) -> pd.DataFrame:
    """Random GEMMs on four machines, with a made-up time."""
    frame = pd.DataFrame({"m": rng.integers(1, 4096, count), "n": rng.integers(64, 8192, count), "k": rng.integers(64, 8192, count)})
    frame = frame.assign(dtype=rng.choice(["float16", "int8"], count), hardware=rng.choice(MACHINES, count))
    return frame.assign(t=2.0 * frame["m"] * frame["n"] * frame["k"] / 1e14 + 5e-6)


def plain_rows(count: int, rng: np.random.Generator) -> pd.DataFrame:
    """A random plain table, with a made-up time."""
    frame = pd.DataFrame({"reuse": rng.integers(1, 64, count), "width": rng.integers(8, 512, count), "depth": rng.integers(1, 9, count), "strategy": rng.choice(["latency", "resource"], count)})
    return frame.assign(t=1e-8 * frame["reuse"] * frame["width"] * frame["depth"] + 1e-6)


def gemm_questions(model: str, count: int, rng: np.random.Generator) -> list[bytes]:
    """Bodies of single questions, each another GEMM."""
    return [json.dumps({"model": model, "op": {"kind": "gemm", "m": int(r.m), "n": int(r.n), "k": int(r.k), "dtype": r.dtype}, "hardware": r.hardware}).encode()
            for r in gemm_rows(count, rng).itertuples()]


def plain_questions(model: str, count: int, rng: np.random.Generator) -> list[bytes]:
    """Bodies of single questions, each another row."""
    return [json.dumps({"model": model, "features": {"reuse": int(r.reuse), "width": int(r.width), "depth": int(r.depth), "strategy": r.strategy}}).encode()
            for r in plain_rows(count, rng).itertuples()]


def gemm_model(scratch: Path) -> Path:
    """Boosted trees on 2,000 made-up GEMMs, and their student; the trees alone where there is no torch to teach one with."""
    table = read_measured(gemm_rows(2000, np.random.default_rng(1)), OP)
    folder = fitted(scratch / "gemm", table, OP, trees=300)
    if importlib.util.find_spec("torch") is not None:
        from silicast.training.distilling import compile_model

        compile_model(folder, table=table, count=12_000, shown=200_000)
    return folder


def plain_model(scratch: Path) -> Path:
    """Boosted trees on 2,000 rows of a made-up plain table."""
    return fitted(scratch / "plain", read_measured(plain_rows(2000, np.random.default_rng(2)), PLAIN), PLAIN, trees=300)


def network_model(scratch: Path) -> Path:
    """Boosted trees on 120 networks, labelled by the simulator."""
    rng = np.random.default_rng(4)
    workloads, devices = tuple(sample(list(FAMILIES)[i % len(FAMILIES)], rng) for i in range(30)), tuple(map(hardware, MACHINES))
    w, d = np.divmod(np.arange(120), 4)
    values = [answer.values["latency_s"] for one in workloads for answer in simulate_many(one, devices)]
    groups = np.array([workloads[i].digest for i in w], dtype=object)
    slices = pd.DataFrame({"family": [workloads[i].family for i in w], "device": [devices[i].key for i in d], "kind": "gpu"})
    return fitted(scratch / "networks", Table(GraphQuestions(workloads, devices, w, d), {"latency_s": np.array(values)}, groups, slices, "benchmark"), {}, trees=100)


def fitted(folder: Path, table: Table, schema: dict[str, Any], trees: int) -> Path:
    """A model folder with intervals and a domain."""
    surrogate = store.member("conformal")(store.member("boosted")(targets=("latency_s",), trees=trees, threads=1), 0.9).fit(table)
    surrogate.conformalize(table)
    card = ModelCard(folder.name, "1", table.questions.shape, ("latency_s",), {"latency_s": "s"}, FEATURE_VERSION, "", table.source, table.digest, len(table), "none", 0.9,
                     domain.describe(table), schema=schema)
    return store.save(surrogate, card, folder)


if __name__ == "__main__":
    main()
