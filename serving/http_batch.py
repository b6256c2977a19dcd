"""Micro-batching: questions that come at the same time go to a model together.

While a model computes, what arrives waits and goes next, all at once. A model that answers a batch within `INLINE_S` is asked where the
requests are handled; a slower one in a thread of its own, so that health checks and other requests go on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

#: a model whose last batches took no longer is asked on the event loop: handing over to a thread costs about as much
INLINE_S = 0.0015
#: rows of one batch
MOST_ROWS = 512


@dataclass(eq=False)
class _Waiting:
    """One request's rows, and the future that gets their answers."""

    key: Any
    rows: list[Any]
    future: asyncio.Future[Any]


class Batcher:
    """`answer(key, rows)` gives one answer per row; rows of one key go together. `wait_s`: how long the first of a batch waits for others at most."""

    def __init__(self, answer: Callable[[Any, list[Any]], list[Any]], executor: Callable[[], Executor], wait_s: float = 0.0005,
                 seen: Callable[[int], None] = lambda rows: None) -> None:
        self._answer, self._executor, self._wait_s, self._seen = answer, executor, min(wait_s, 0.002), seen
        self._queue: list[_Waiting] = []
        self._planned: asyncio.AbstractEventLoop | None = None
        self._busy = 0
        self._usual_s: dict[Any, float] = {}
        self._together = 1.0  # requests of the last batches

    async def ask(self, key: Any, rows: list[Any]) -> list[Any]:
        """The answers to `rows`, in order. An error that rows cause reaches only those who sent them."""
        loop = asyncio.get_running_loop()
        one = _Waiting(key, rows, loop.create_future())
        self._queue.append(one)
        if self._planned is not loop and not self._busy:
            self._planned = loop
            if self._together > 1.5 and len(self._queue) < self._together:  # others are on their way
                loop.call_later(self._wait_s, self._go, loop)
            else:
                loop.call_soon(self._go, loop)
        return await one.future

    def _go(self, loop: asyncio.AbstractEventLoop) -> None:
        self._planned = None
        waiting, self._queue = [w for w in self._queue if not w.future.done()], []
        if not waiting:
            return
        self._together = 0.8 * self._together + 0.2 * len(waiting)
        by_key: dict[Any, list[_Waiting]] = {}
        for one in waiting:
            by_key.setdefault(one.key, []).append(one)
        for key, members in by_key.items():
            while members:
                batch: list[_Waiting] = []
                size = 0
                while members and (not batch or size + len(members[0].rows) <= MOST_ROWS):
                    batch.append(members.pop(0))
                    size += len(batch[-1].rows)
                self._seen(size)
                if self._usual_s.get(key, 1.0) < INLINE_S and size <= 64:
                    self._deliver(batch, self._timed(key, batch))
                else:
                    self._busy += 1
                    work = loop.run_in_executor(self._executor(), self._timed, key, batch)
                    work.add_done_callback(partial(self._back, loop, batch))

    def _back(self, loop: asyncio.AbstractEventLoop, batch: list[_Waiting], done: asyncio.Future[Any]) -> None:
        self._busy -= 1
        if not done.cancelled():
            self._deliver(batch, done.exception() or done.result())
        if self._queue and self._planned is None:
            self._go(loop)

    def _timed(self, key: Any, batch: list[_Waiting]) -> list[Any]:
        """What each member of the batch gets: a list of answers, or the error its own rows cause."""
        begin = time.perf_counter()
        try:
            answers = self._answer(key, [row for one in batch for row in one.rows])
            out: list[Any] = []
            at = 0
            for one in batch:
                out.append(answers[at:at + len(one.rows)])
                at += len(one.rows)
        except Exception as error:  # one bad question must not spoil its neighbours' answers
            out = [error] if len(batch) == 1 else [self._timed(key, [one])[0] for one in batch]
        taken = time.perf_counter() - begin
        if len(self._usual_s) > 64:
            self._usual_s.clear()
        before = self._usual_s.get(key)
        self._usual_s[key] = taken if before is None else 0.7 * before + 0.3 * taken
        return out

    @staticmethod
    def _deliver(batch: list[_Waiting], answers: Any) -> None:
        for at, one in enumerate(batch):
            if one.future.done():  # its client has gone
                continue
            found = answers[at] if isinstance(answers, list) else answers
            if isinstance(found, BaseException):
                one.future.set_exception(found)
            else:
                one.future.set_result(found)
