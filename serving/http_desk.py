"""What every handler has at hand: the models, the limits, threads to compute in, the workloads read before, figures, logs, the drift store."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np

from ..datasets.errors import InputError
from ..datasets.workload import Workload
from . import http_answers, http_columns
from .http_batch import Batcher
from .http_limits import Limits
from .http_route import Refusal, guarded
from .http_shelf import Loaded, Shelf
from .log import Log
from .metrics import Metrics, resident_bytes

Result = TypeVar("Result")
#: workloads remembered by their digest
_WORKLOADS = 256


class Desk:
    """One process's means. `drift` is a `drift_queue.Recorder` or None."""

    def __init__(self, shelf: Shelf, limits: Limits, log: Log, metrics: Metrics, drift: Any = None) -> None:
        self.shelf, self.limits, self.log, self.metrics, self.drift = shelf, limits, log, metrics, drift
        self._workloads: OrderedDict[str, Workload] = OrderedDict()
        self._threads: dict[str, ThreadPoolExecutor] = {}
        self._heavy = 0
        self.batcher = Batcher(self._answer, lambda: self._pool("model", 1), limits.batch_wait_s, lambda rows: metrics.observe("silicast_batch_rows", rows))

    def _pool(self, name: str, workers: int) -> ThreadPoolExecutor:
        if name not in self._threads:
            self._threads[name] = ThreadPoolExecutor(workers, thread_name_prefix=f"silicast-{name}")
        return self._threads[name]

    def start(self) -> None:
        """Begins to watch the registry and to record predictions."""
        self.shelf.start()
        if self.drift is not None:
            self.drift.start()

    def close(self) -> None:
        """Lets work that is under way end, and writes what waits."""
        self.shelf.stop()
        for pool in self._threads.values():
            pool.shutdown(wait=False, cancel_futures=True)
        self._threads.clear()
        if self.drift is not None:
            self.drift.close()
        self.log.flush()

    async def heavy(self, work: Callable[[], Result]) -> Result:
        """`work` in a thread. Refuses with 429 while `limits.heavy` others compute; work whose client has gone still counts until it ends,
        for no thread can be stopped."""
        if self._heavy >= self.limits.heavy:
            self.metrics.add("silicast_rejected_total", labels=(("reason", "heavy"),))
            raise Refusal(429, f"{self._heavy} long computations are under way, the most this server does at once; try again later", {"retry-after": "1"})
        self._heavy += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool("heavy", 2), work)
        future.add_done_callback(self._lighter)
        return await asyncio.shield(future)

    def _lighter(self, done: asyncio.Future[Any]) -> None:
        self._heavy -= 1
        if not done.cancelled():
            with suppress(BaseException):
                done.exception()  # fetched: an error whose client has gone is no news

    def workload(self, given: Any) -> Workload:
        """A workload from its document, or one remembered by its digest."""
        if isinstance(given, Workload):
            return given
        if isinstance(given, str):
            if given.lstrip()[:1] == "{":
                from .http_route import parsed_json

                return self.workload(parsed_json(given.encode("utf-8", "surrogatepass"), "workload"))
            found = self._workloads.get(given)
            if found is None:
                raise InputError(f"no workload of digest {given[:40]!r} is remembered here; send its document")
            self._workloads.move_to_end(given)
            return found
        return self.remember(guarded("workload", Workload.from_json, given))

    def remember(self, workload: Workload) -> Workload:
        """Keeps a workload for questions that name its digest; gives back the one that is kept, with what was computed of it."""
        kept = self._workloads.get(workload.digest)
        if kept is not None and kept.name == workload.name:
            return kept
        self._workloads[workload.digest] = workload
        while len(self._workloads) > _WORKLOADS:
            self._workloads.popitem(last=False)
        return workload

    def _answer(self, key: tuple[Loaded, str | None], rows: list[Any]) -> list[Any]:
        """For the batcher: one answer per row of one model, an `InputError` in place of one that cannot be read."""
        loaded, fallback = key
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: http_columns.column(name, [row.get(name) for row in rows]) for name in names}
        answered = self.ask(loaded, columns, len(rows), fallback)
        found: list[Any] = [None] * len(rows)
        if answered.prediction is not None:
            for at, one in zip(np.flatnonzero(answered.keep).tolist(), http_answers.rows(answered.prediction, loaded.predictor.card.units), strict=True):
                found[at] = one
        for at, why in answered.faults.items():
            found[at] = InputError(why)
        return found

    def ask(self, loaded: Loaded, columns: Any, rows: int, fallback: str | None = None) -> http_answers.Answered:
        """A model's answers to n rows of columns; arithmetic that overflows is the caller's mistake."""
        model = loaded.predictor
        batch = http_columns.questions(model, columns, rows, self.workload)
        if batch.questions is None or not len(batch.questions):
            return http_answers.Answered(model, None, batch.keep, batch.faults)
        try:
            prediction = model.predict_table(batch.questions, fallback=fallback)  # type: ignore[arg-type]
        except (ArithmeticError, ValueError, RuntimeWarning) as error:  # sizes no machine has: 10^18 x 10^18
            raise InputError(f"{'workload' if model.shape == 'graph' else 'question'}: its sizes cannot be computed with ({type(error).__name__}: {error})") from None
        self._count(model, prediction)
        return http_answers.Answered(model, prediction, batch.keep, batch.faults)

    def _count(self, model: Any, prediction: Any) -> None:
        labels = (("model", model.name),)
        self.metrics.add("silicast_rows_total", len(prediction), labels)
        counts: dict[str, int] = {}
        for one in prediction.domain:
            counts[one.verdict] = counts.get(one.verdict, 0) + 1
        for verdict, count in counts.items():
            self.metrics.add("silicast_verdicts_total", count, (*labels, ("verdict", verdict)))

    async def one_by_one(self, loaded: Loaded, rows: Sequence[dict[str, Any]], fallback: str | None) -> list[Any]:
        """One answer (a dict) or `InputError` per row, through the batcher: beside others that ask at the same time."""
        return await self.batcher.ask((loaded, fallback), list(rows))

    def ids(self, count: int) -> list[str]:
        """New names for `count` answers."""
        stem = secrets.token_hex(8)
        return [f"{stem}-{i}" for i in range(count)]

    def record(self, rows: Sequence[dict[str, Any]], asked: Sequence[Any]) -> None:
        """Hands answers to the drift store, if there is one; `asked` are the questions they answer."""
        if self.drift is not None and not self.drift.put(time.time(), rows, asked):
            self.metrics.add("silicast_drift_dropped_total", len(rows))

    def gauges(self) -> None:
        """Brings the gauges up to date."""
        self.metrics.set("silicast_model_info", {(("model", one.name), ("version", one.version)): 1.0 for one in self.shelf.all()})
        state = self.shelf.registry()["state"]
        self.metrics.set("silicast_registry_up", {} if state == "unused" else {(): float(state == "reachable")})
        self.metrics.set("process_resident_memory_bytes", {(): resident_bytes()})
