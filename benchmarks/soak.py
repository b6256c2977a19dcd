"""Ten minutes of mixed questions at a real server: does its memory stay flat and its p99 steady?

    python benchmarks/soak.py [--seconds 600] [--rate 100] [--json FILE]

`silicast serve` with one worker, three models (single GEMMs, a plain table, networks) and a drift store, asked at a fixed rate by 16 connections. Every good question is another
one; a network is sent whole once and by its digest later. Most are single; the others are bulk (JSON, NDJSON, Arrow), the simulator, an ONNX upload, measured truth, `/v2`,
`/metrics`, and twelve of a hundred are bad (no JSON, NaN, a path for a machine, deep nesting, a wrong content type, damaged Arrow) and must be told so. A wait counts from the moment
a request was due, so that a server that stalls cannot hide it. Per minute: requests, p50, p99, resident memory, and the machine's load average.

Flat: the median memory of the last quarter is at most 5 % above that of the second quarter (the first fills caches of a fixed size). Steady: no minute of the second half has a
p99 above three times the median one of all minutes. A 429 is told, not a fault. The client shares the cores with the server, and with whoever else is on the machine: where they are taken,
give a lower --rate.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from _tables import print_table, write_json
from serve import MACHINES, Server, free_port, gemm_model, gemm_rows, get, network_model, plain_model, plain_questions, run

from silicast.datasets.families import FAMILIES, sample

CONNECTIONS = 16
#: memory that grows by more than this is not flat; a minute's p99 above so many times the median one is not steady
FLAT, STEADY = 0.05, 3.0
JSON, NDJSON, ARROW, ONNX = "application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream", "application/octet-stream"
#: bad requests with what each must be told
BAD: tuple[tuple[str, bytes, str, int], ...] = (
    ("/v1/predict", b"{", JSON, 422), ("/v1/predict", b'{"model": "gemm", "op": {"kind": "gemm", "m": NaN, "n": 1, "k": 1}, "hardware": "t4"}', JSON, 422),
    ("/v1/predict", b'{"model": "gemm", "op": {"kind": "gemm", "m": 8, "n": 8, "k": 8}, "hardware": "../../etc/passwd"}', JSON, 422),
    ("/v1/predict", b"[" * 20_000, JSON, 422), ("/v1/predict", b"<xml/>", "application/xml", 415), ("/v1/predict/bulk?model=gemm", b"\xff" * 300, ARROW, 422),
    ("/v2/models/nobody/infer", b"{}", JSON, 404), ("/v1/workloads", b"\x00" * 200, ONNX, 422))


@dataclass(frozen=True)
class Question:
    """One request, and the status it must be answered with."""

    path: str
    body: bytes = b""
    media: str = JSON
    due: int = 200

    @property
    def sent(self) -> bytes:
        """As it goes over the wire."""
        head = f"{'POST' if self.body else 'GET'} {self.path} HTTP/1.1\r\nhost: x\r\ncontent-type: {self.media}\r\ncontent-length: {len(self.body)}\r\n\r\n"
        return head.encode() + self.body


class Questions:
    """An endless row of questions, none like another but for the bad ones. It keeps the last few ids and digests it was told, for truths and for later questions."""

    def __init__(self, names: Sequence[str], seed: int = 23) -> None:
        self._gemm, self._plain, self._network = names
        self._rng = np.random.default_rng(seed)
        self._ids: list[str] = []
        self._digests: list[str] = []
        self._rows: list[bytes] = []
        self._ready: list[dict[str, Any]] = []
        made: dict[str, tuple[int, Callable[[], Question]]] = {
            "one GEMM": (50, self.gemm), "one plain row": (15, self.plain), "one network": (5, self.network), "a network by digest": (8, self.by_digest), "bulk, JSON": (1, self.bulk_json),
            "bulk, NDJSON": (1, self.bulk_ndjson), "bulk, Arrow": (1, self.bulk_arrow), "simulate": (1, self.simulate), "upload": (1, self.upload), "truth": (2, self.truth),
            "/v2": (2, self.v2), "/metrics": (1, lambda: Question("/metrics")), "bad": (12, self.bad)}
        self._makers = [(kind, make) for kind, (share, make) in made.items() for _ in range(share)]

    def draw(self) -> tuple[str, Question]:
        """(kind, question), the kinds by their shares."""
        kind, make = self._makers[int(self._rng.integers(len(self._makers)))]
        return kind, make()

    def heard(self, kind: str, body: bytes) -> None:
        """Keeps what an answer named."""
        if kind in ("one GEMM", "one network"):
            told = json.loads(body)
            self._ids = [*self._ids[-200:], *(one["id"] for one in told["predictions"])]
            if kind == "one network":
                self._digests = [*self._digests[-50:], told["workload_digest"]]

    def gemm(self) -> Question:
        """A matrix product on a machine."""
        return _json("/v1/predict", {"model": self._gemm, **self._items(1)[0]})

    def plain(self) -> Question:
        """A row of the plain table."""
        if not self._rows:
            self._rows = plain_questions(self._plain, 500, self._rng)
        return Question("/v1/predict", self._rows.pop())

    def network(self) -> Question:
        """A network nobody has seen."""
        return _json("/v1/predict", {"model": self._network, "workload": self._document(), "hardware": [self._machine()]})

    def by_digest(self) -> Question:
        """A network sent before, on all machines."""
        return _json("/v1/predict", {"model": self._network, "workload": self._seen(), "hardware": list(MACHINES)})

    def bulk_json(self) -> Question:
        """200 matrix products as columns."""
        frame = gemm_rows(200, self._rng).drop(columns="t")
        return _json("/v1/predict/bulk", {"model": self._gemm, "columns": {str(c): frame[c].tolist() for c in frame}})

    def bulk_ndjson(self) -> Question:
        """50 matrix products and a line that is none."""
        return Question(f"/v1/predict/bulk?model={self._gemm}", "\n".join([*map(json.dumps, self._items(50)), "{"]).encode(), NDJSON)

    def bulk_arrow(self) -> Question:
        """2,000 matrix products."""
        table, sink = pa.Table.from_pandas(gemm_rows(2000, self._rng).drop(columns="t"), preserve_index=False), pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return Question(f"/v1/predict/bulk?model={self._gemm}", sink.getvalue().to_pybytes(), ARROW)

    def simulate(self) -> Question:
        """A network by the simulator."""
        return _json("/v1/simulate", {"workload": self._seen(), "hardware": self._machine()})

    def upload(self) -> Question:
        """An ONNX file of one layer."""
        from onnx import TensorProto, helper

        width = int(self._rng.integers(8, 256))
        x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, width]) for name in ("x", "y"))
        weight = helper.make_tensor("w", TensorProto.FLOAT, [width, width], self._rng.random(width * width).tolist())
        graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "net", [x], [y], [weight])
        return Question("/v1/workloads", helper.make_model(graph).SerializeToString(), ONNX)

    def truth(self) -> Question:
        """Measured truth of past answers."""
        return _json("/v1/truth", {"truths": [{"id": one, "targets": {"latency_s": float(self._rng.random())}} for one in self._ids[-20:]]})

    def v2(self) -> Question:
        """Twenty rows of the plain table as tensors."""
        frame = {"reuse": self._rng.integers(1, 64, 20), "width": self._rng.integers(8, 512, 20), "depth": self._rng.integers(1, 9, 20)}
        tensors = [{"name": name, "shape": [20], "datatype": "INT64", "data": values.tolist()} for name, values in frame.items()]
        return _json(f"/v2/models/{self._plain}/infer", {"inputs": [*tensors, {"name": "strategy", "shape": [20], "datatype": "BYTES", "data": ["latency"] * 20}]})

    def bad(self) -> Question:
        """One of `BAD`."""
        return Question(*BAD[int(self._rng.integers(len(BAD)))])

    def _items(self, count: int) -> list[dict[str, Any]]:
        while len(self._ready) < count:
            self._ready += [{"op": {"kind": "gemm", "m": int(r.m), "n": int(r.n), "k": int(r.k), "dtype": r.dtype}, "hardware": r.hardware} for r in gemm_rows(500, self._rng).itertuples()]
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken

    def _document(self) -> Any:
        return sample(list(FAMILIES)[int(self._rng.integers(len(FAMILIES)))], self._rng).to_json()

    def _seen(self) -> Any:
        return self._digests[int(self._rng.integers(max(len(self._digests) - 20, 0), len(self._digests)))] if self._digests else self._document()

    def _machine(self) -> str:
        return MACHINES[int(self._rng.integers(len(MACHINES)))]


def _json(path: str, body: Any) -> Question:
    return Question(path, json.dumps(body).encode())


@dataclass
class Watch:
    """What was seen: waits and outcomes by window of time, memory every second."""

    seconds: float
    begin: float = 0.0
    waits: dict[int, list[float]] = field(default_factory=dict)
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    memory: list[tuple[float, float, float]] = field(default_factory=list)  # second, bytes, load average

    @property
    def window_s(self) -> float:
        """Length of a window: a minute, or a quarter of a short run."""
        return 60.0 if self.seconds >= 240 else self.seconds / 4

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self.begin

    def saw(self, kind: str, wait: float, status: int, due: int) -> None:
        """An answer."""
        self.waits.setdefault(int(self.now / self.window_s), []).append(wait)
        self.outcomes.setdefault(kind, Counter())["as due" if status == due else "come back" if status == 429 else str(status)] += 1

    def bytes_between(self, low: float, high: float) -> float:
        """Median resident bytes in that part of the time."""
        return float(np.median([m for at, m, _ in self.memory if low * self.seconds <= at < high * self.seconds]))

    def windows(self) -> list[dict[str, Any]]:
        """One row a window; the last few answers, which came after the time was over, count in the last."""
        out = []
        for i in range(round(self.seconds / self.window_s)):
            begin, end = i * self.window_s, (i + 1) * self.window_s
            waits = self.waits.get(i, []) + (self.waits.get(i + 1, []) if end >= self.seconds else [])
            seen = np.array([(m, load) for at, m, load in self.memory if begin <= at < end])
            p50, p99, most = np.quantile(waits, [0.5, 0.99, 1.0]) * 1e3
            out.append({"from s": int(begin), "requests": len(waits), "p50 ms": float(p50), "p99 ms": float(p99), "longest ms": float(most), "memory MB": float(np.median(seen[:, 0])) / 1e6,
                        "load": float(np.median(seen[:, 1]))})
        return out


def main() -> None:
    """Prints the table, writes the JSON; exit code 1 where memory is not flat or an answer was not the one that was due."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp())
    try:
        found = soak(scratch, options.seconds, options.rate)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print_table(f"{options.seconds:g} s at {options.rate:g} requests/s, {CONNECTIONS} connections, one worker", found["windows"])
    print(f"\nmemory {'flat' if found['memory_flat'] else 'NOT FLAT'}: {found['memory_early_bytes'] / 1e6:.1f} MB in the second quarter, {found['memory_late_bytes'] / 1e6:.1f} MB in the last "
          f"({100 * found['memory_growth']:+.1f} %), {found['memory_most_bytes'] / 1e6:.0f} MB at most\np99 {'steady' if found['p99_steady'] else 'NOT STEADY'}: {found['p99_usual_ms']:.1f} ms in the "
          f"median window, {found['p99_worst_ms']:.1f} ms in the worst of the second half\n{found['requests']:,} requests, {found['told_to_come_back']} told to come back, {found['unexpected']} not answered as was due {found['unexpected_by_kind'] or ''}")
    write_json(options.json, found)
    raise SystemExit(0 if found["memory_flat"] and not found["unexpected"] else 1)


def soak(scratch: Path, seconds: float, rate: float) -> dict[str, Any]:
    """Fits the models, starts the server, asks it, and says what came of it."""
    folders, port = [gemm_model(scratch), plain_model(scratch), network_model(scratch)], free_port()
    words = [word for folder in folders for word in ("--model", str(folder))]
    watch = Watch(seconds)
    with Server([sys.executable, "-P", "-m", "silicast", "serve", *words, "--port", str(port), "--log", "none", "--drift", str(scratch / "drift.db")], port, "/readyz") as server:
        questions = Questions([folder.name for folder in folders])
        run(asked(watch, server, port, questions, rate))
        drift = json.loads(get(port, "/v1/drift"))
    windows = watch.windows()
    quarter = max(len(windows) // 4, 1)
    usual, later = float(np.median([one["p99 ms"] for one in windows])), max(one["p99 ms"] for one in windows[2 * quarter:])
    early, late = watch.bytes_between(0.25, 0.5), watch.bytes_between(0.75, 1.0)
    wrong = {kind: {status: n for status, n in of.items() if status not in ("as due", "come back")} for kind, of in watch.outcomes.items()}
    return {"seconds": seconds, "rate": rate, "requests": sum(map(len, watch.waits.values())), "windows": windows, "memory_early_bytes": early, "memory_late_bytes": late,
            "memory_growth": late / early - 1.0, "memory_flat": late / early - 1.0 <= FLAT, "memory_most_bytes": max(m for _, m, _ in watch.memory), "p99_usual_ms": usual, "p99_worst_ms": later,
            "p99_steady": later <= STEADY * usual, "told_to_come_back": sum(of["come back"] for of in watch.outcomes.values()), "unexpected": sum(n for of in wrong.values() for n in of.values()),
            "unexpected_by_kind": {kind: of for kind, of in wrong.items() if of}, "asked": {kind: sum(of.values()) for kind, of in sorted(watch.outcomes.items())}, "truths_kept": drift["truths"]}


async def asked(watch: Watch, server: Server, port: int, questions: Questions, rate: float) -> None:
    """The connections until the time is over, and beside them one that reads the memory."""
    watch.begin = time.perf_counter()

    async def look() -> None:
        while watch.now < watch.seconds:
            watch.memory.append((watch.now, server.memory(), os.getloadavg()[0]))
            await asyncio.sleep(min(1.0, watch.seconds / 40))

    await asyncio.gather(look(), *(connection(watch, port, questions, i / rate, CONNECTIONS / rate) for i in range(CONNECTIONS)))


async def connection(watch: Watch, port: int, questions: Questions, due: float, every: float) -> None:
    """Asks when a question is due, or at once when that is past. A connection that the server closed, as it may after a refusal, is opened anew."""
    reader = writer = None
    while due < watch.seconds:
        await asyncio.sleep(max(due - watch.now, 0.0))
        kind, question = questions.draw()
        if writer is None or reader is None or reader.at_eof() or writer.is_closing():
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
        writer.write(question.sent)
        status, body = await answer(reader)
        watch.saw(kind, watch.now - due, status, question.due)
        if status == 200:
            questions.heard(kind, body)
        due += every
    if writer is not None:
        writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """(status, body) of one reply; status 0 where the server hung up."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        return int(head.split(b" ")[1]), await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError, ValueError, IndexError):
        return 0, b""


if __name__ == "__main__":
    main()
