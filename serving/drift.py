"""Predictions that were given out, and what was measured later: one SQLite file that several processes may write.

    store = DriftStore(path)
    store.predicted([Predicted(...)])                 # when an answer goes out
    store.measured([Truth(id, "latency_s", 0.0012)])  # when somebody has measured
    drift_report.report(store.matched())              # does the interval still cover?
    store.export(folder)                              # the measured rows as a table for `silicast calibrate`

A truth is on disk when `measured` returns. One that names a prediction the store does not know is kept all the same: it may arrive yet.
"""

from __future__ import annotations

import hashlib
import json
import math
import queue
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..datasets.errors import FormatError, InputError, TableError
from ..datasets.workload import Workload

FORMAT = "silicast-drift/1"
#: predictions that wait to be written; more are dropped, and counted
_WAITING = 100_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS prediction (id TEXT PRIMARY KEY, at_s REAL NOT NULL, model TEXT NOT NULL, version TEXT NOT NULL, question TEXT NOT NULL, hardware TEXT NOT NULL,
  kind TEXT NOT NULL, family TEXT NOT NULL, verdict TEXT NOT NULL, level REAL NOT NULL, claimed INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answer (id TEXT NOT NULL, target TEXT NOT NULL, point REAL, low REAL, high REAL, PRIMARY KEY (id, target)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS question (digest TEXT PRIMARY KEY, document BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS truth (number INTEGER PRIMARY KEY, id TEXT NOT NULL, target TEXT NOT NULL, value REAL NOT NULL, at_s REAL NOT NULL);
CREATE INDEX IF NOT EXISTS truth_of ON truth (id, target);
"""


@dataclass(frozen=True)
class Truth:
    """What was measured for one target of one prediction, in SI. Raises InputError for a value that is not finite or below zero."""

    id: str
    target: str
    value: float
    at_s: float | None = None

    def __post_init__(self) -> None:
        if not self.id or len(self.id) > 100 or not self.target or len(self.target) > 100:
            raise InputError("truth: expected the id of a prediction and the name of a target, of at most 100 characters")
        if not (isinstance(self.value, (int, float)) and math.isfinite(self.value) and self.value >= 0):
            raise InputError(f"truth of {self.id}: expected a finite {self.target} of at least 0, got {self.value}")
        if self.at_s is not None and not 0 < self.at_s < 1e11:
            raise InputError(f"truth of {self.id}: expected the time in seconds since 1970, got {self.at_s}")


@dataclass(frozen=True)
class Predicted:
    """One answer as it went out: `answer` as `Prediction.answer` tells it with its id, `asked` the question it answers (a workload or named values)."""

    at_s: float
    answer: Mapping[str, Any]
    asked: Any


class DriftStore:
    """The file at `path`, made if it is not there. Raises FormatError for a file that is no such store."""

    def __init__(self, path: str | Path, create: bool = True) -> None:
        self.path = Path(path)
        if not self.path.exists() and not create:
            raise FormatError(f"{path}: no such drift store; `silicast serve --drift {path}` makes one")
        if self.path.is_dir() or not self.path.absolute().parent.is_dir():
            raise FormatError(f"{path}: expected a file in a folder that exists")
        with self._open() as db:
            db.executescript(_SCHEMA)
            db.execute("INSERT OR IGNORE INTO about VALUES ('format', ?)", (FORMAT,))
            said = db.execute("SELECT value FROM about WHERE key = 'format'").fetchone()
            if said is None or said[0] != FORMAT:
                raise FormatError(f"{path}: expected a drift store of format {FORMAT}, got {said and said[0]!r}")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection and a transaction: all of it is on disk at the end, or none."""
        try:
            with closing(sqlite3.connect(self.path, timeout=30.0)) as db:
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("PRAGMA synchronous=FULL")
                with db:
                    yield db
        except sqlite3.DatabaseError as error:
            if "locked" in str(error) or "full" in str(error) or "readonly" in str(error) or "unable to open" in str(error):
                raise InputError(f"{self.path}: the drift store cannot be used now ({error}); nothing was written, try again") from None
            raise FormatError(f"{self.path}: no drift store, or a damaged one ({error}); restore it, or name another file") from None

    def predicted(self, rows: Sequence[Predicted]) -> None:
        """Keeps answers that went out. An id that is there already stays as it was."""
        predictions, answers, questions = [], [], {}
        for row in rows:
            a = row.answer
            digest, document, family, kind = _question(row.asked, str(a.get("hardware", "")))
            if digest not in questions:
                questions[digest] = document
            verdict = a["domain"]["verdict"]
            predictions.append((a["id"], row.at_s, a["model"], a["version"], digest, str(a.get("hardware", "")), kind, family, verdict, float(a["level"]), int(a["calibrated"])))
            answers += [(a["id"], name, v["point"], v["low"], v["high"]) for name, v in a["targets"].items()]
        with self._open() as db:
            db.executemany("INSERT OR IGNORE INTO question VALUES (?, ?)", [(d, zlib.compress(json.dumps(text).encode(), 1)) for d, text in questions.items()])
            db.executemany("INSERT OR IGNORE INTO prediction VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", predictions)
            db.executemany("INSERT OR IGNORE INTO answer VALUES (?, ?, ?, ?, ?)", answers)

    def measured(self, truths: Sequence[Truth]) -> int:
        """Keeps truths, on disk when this returns; gives back how many name a prediction the store does not know (yet)."""
        now = time.time()
        with self._open() as db:
            db.executemany("INSERT INTO truth (id, target, value, at_s) VALUES (?, ?, ?, ?)", [(t.id, t.target, float(t.value), t.at_s or now) for t in truths])
            known = {i for chunk in _chunks(sorted({t.id for t in truths})) for (i,) in db.execute(f"SELECT id FROM prediction WHERE id IN ({','.join('?' * len(chunk))})", chunk)}
        return sum(t.id not in known for t in truths)

    def matched(self, since_s: float = 0.0) -> pd.DataFrame:
        """One row per truth measured after `since_s` with its prediction: question, target, truth, at_s, point, low, high, level, claimed, and `FACETS`."""
        query = """SELECT p.question, t.target, t.value AS truth, t.at_s, a.point, a.low, a.high, p.level, p.claimed, p.model, p.version, p.hardware, p.kind, p.family, p.verdict
                   FROM truth t JOIN prediction p ON p.id = t.id JOIN answer a ON a.id = t.id AND a.target = t.target WHERE t.at_s >= ?"""
        with self._open() as db:
            cursor = db.execute(query, (since_s,))
            frame = pd.DataFrame(cursor.fetchall(), columns=[name for name, *_ in cursor.description])
        return frame.astype(dict.fromkeys(("truth", "at_s", "point", "low", "high", "level"), float)).astype({"claimed": bool})

    def counts(self) -> dict[str, int]:
        """How much there is: predictions, truths, truths without their prediction."""
        with self._open() as db:
            def one(query: str) -> int:
                return int(db.execute(query).fetchone()[0])

            return {"predictions": one("SELECT COUNT(*) FROM prediction"), "truths": one("SELECT COUNT(*) FROM truth"),
                    "unmatched": one("SELECT COUNT(*) FROM truth t LEFT JOIN answer a ON a.id = t.id AND a.target = t.target WHERE a.id IS NULL")}

    def export(self, folder: str | Path, model: str | None = None) -> tuple[Path, Path | None]:
        """The measured rows as `measured.csv` with `schema.yaml` (None where a table needs none): what `silicast calibrate` and `evaluate` read.

        One row per question and machine, the median of its truths per target. Networks lie beside it as documents. Raises TableError when there
        is nothing, or questions of several shapes.
        """
        frame = self.matched()
        frame = frame if model is None else frame[frame["model"] == model]
        if frame.empty:
            raise TableError(f"{self.path}: no truth{f' for model {model!r}' if model else ''} that matches a prediction; nothing to export")
        values = frame.pivot_table(index=["question", "hardware"], columns="target", values="truth", aggfunc="median").reset_index()
        with self._open() as db:
            documents = {d: json.loads(zlib.decompress(text)) for chunk in _chunks(sorted(set(values["question"])))
                         for d, text in db.execute(f"SELECT digest, document FROM question WHERE digest IN ({','.join('?' * len(chunk))})", chunk)}
        from .drift_table import write_table

        return write_table(Path(folder), values, documents)


def _question(asked: Any, hardware: str) -> tuple[str, Any, str, str]:
    """(digest, document, family, kind of machine) of a question; the machine is part of what is told apart."""
    family, device = "", None
    if isinstance(asked, Mapping):
        device = asked.get("hardware")
        workload = asked.get("workload")
        document: Any = {"values": {k: v for k, v in asked.items() if isinstance(v, (str, int, float)) and k != "hardware"}}
        family = str(asked.get("kind", ""))
        if isinstance(workload, Workload):
            document, family = {"workload": workload.to_json()}, workload.family
            return hashlib.sha256(f"{workload.digest} {_machine_digest(device, hardware)}".encode()).hexdigest()[:16], document, family, str(getattr(device, "kind", ""))
    else:
        document = {"values": {}}
    text = json.dumps(document, sort_keys=True)
    return hashlib.sha256(f"{text} {_machine_digest(device, hardware)}".encode()).hexdigest()[:16], document, family, str(getattr(device, "kind", ""))


def _machine_digest(device: Any, name: str) -> str:
    return str(getattr(device, "digest", name))


def _chunks(items: Sequence[str], size: int = 500) -> Iterator[list[str]]:
    for at in range(0, len(items), size):
        yield list(items[at:at + size])


class Recorder:
    """Writes predictions to a store from a thread of its own, so that no request waits for a disk."""

    def __init__(self, store: DriftStore, wait_s: float = 0.2) -> None:
        self.store, self._wait_s = store, wait_s
        self._queue: queue.Queue[Predicted] = queue.Queue(_WAITING)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, at_s: float, rows: Sequence[Mapping[str, Any]], asked: Sequence[Any]) -> bool:
        """Takes answers with their questions; False when the disk is so slow that they are dropped."""
        try:
            for row, question in zip(rows, asked, strict=True):
                self._queue.put_nowait(Predicted(at_s, row, question))
        except queue.Full:
            return False
        return True

    def start(self) -> None:
        """Begins to write."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="silicast-drift", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._wait_s):
            try:
                self.flush()
            except InputError:  # a disk that is full or busy: what waits is tried again
                continue

    def flush(self) -> None:
        """Writes what waits, now. Raises as the store does; then it still waits."""
        with self._lock:
            while not self._queue.empty():
                rows: list[Predicted] = []
                while len(rows) < 2000 and not self._queue.empty():
                    rows.append(self._queue.get_nowait())
                try:
                    self.store.predicted(rows)
                except InputError:
                    for row in rows:
                        with_room = not self._queue.full()
                        if with_room:
                            self._queue.put_nowait(row)
                    raise

    def close(self) -> None:
        """Writes what waits and ends."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(timeout=10)
        try:
            self.flush()
        except InputError:
            return
