"""Good manners of numerical threads: waiting ones sleep instead of spinning.

OpenMP's default lets idle threads spin. On a machine with a busy neighbour that made one LightGBM fit of six seconds take over a minute
(two cores); asleep, it took five seconds. A library reads the setting when it is loaded, so this runs before each import of one.

Sleeping and waking has its price: on two quiet cores a fit to 100,000 rows took 9.3 seconds in two threads that sleep, 5.9 in one. So on two cores each library has one thread, and what
is independent runs side by side.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from threading import Lock, Thread, local
from typing import Any

_lock = Lock()
_inside: list[Any] = []
_lane = local()


def wait_asleep() -> None:
    """Sets OMP_WAIT_POLICY=PASSIVE for libraries loaded from now on, unless the user has set it."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def fair_share() -> int:
    """Threads that a library may use here: in a lane of `side_by_side` its part of the cores, elsewhere one on two cores (see above) and 0, the library's own choice, on more."""
    from ..datasets.measure.machine import usable_threads  # it knows the system, and takes a while to load: nobody who only asks a model needs it

    return lane_share() or (1 if usable_threads() <= 2 else 0)


def lane_share() -> int:
    """Threads that a lane of `side_by_side` may use; 0 outside of one."""
    return int(getattr(_lane, "share", 0))


def side_by_side(tasks: Sequence[Callable[[], Any]]) -> list[Any]:
    """The results of independent tasks, each in a thread of its own where there are cores for two; the first in the caller's, so that an interrupt reaches it. One after the other inside a lane
    that has but one core. Raises the first error, after all have ended."""
    from ..datasets.measure.machine import usable_threads

    if len(tasks) < 2 or usable_threads() < 2 or lane_share() == 1:
        return [task() for task in tasks]
    results: list[Any] = [None] * len(tasks)
    errors: list[Exception] = []

    def run(at: int) -> None:
        before = lane_share()
        _lane.share = max(1, usable_threads() // len(tasks))
        try:
            results[at] = tasks[at]()
        except Exception as error:
            errors.append(error)
        finally:
            _lane.share = before

    others = [Thread(target=run, args=(at,), daemon=True) for at in range(1, len(tasks))]
    for other in others:
        other.start()
    run(0)
    for other in others:
        other.join()
    if errors:
        raise errors[0]
    return results


def in_two_lanes(tasks: Sequence[Callable[[], Any]], apart: Collection[int] = ()) -> list[Any]:
    """The results of independent tasks in two lanes of `side_by_side`: those of `apart` (positions) one after the other in one lane, the others in the other, and whichever is done first goes
    on with what is left of the others, from the end."""
    results: list[Any] = [None] * len(tasks)
    others = deque(i for i in range(len(tasks)) if i not in apart)

    def lane(first: Sequence[int], take: Callable[[], int]) -> None:
        for i in first:
            results[i] = tasks[i]()
        while True:
            try:
                i = take()
            except IndexError:  # nobody is left
                return
            results[i] = tasks[i]()

    side_by_side([partial(lane, (), others.popleft), *([partial(lane, sorted(apart), others.pop)] if len(tasks) > 1 or apart else [])])
    return results


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Products of matrices inside take one thread each: threads of ours that each call a threaded library wait for one another (columns of a student were
    two to eight times slower so, on two cores). Nested and concurrent uses are counted; the last to leave restores. On two cores nobody
    restores: products stay in one thread, as everything here has there (`fair_share`), for a library that is told anew how many threads it has wakes them, and they spin: one answer for
    4,000 machines took twice the processor time so."""
    control = _controller()
    with _lock:
        _inside.append(control.limit(limits=1, user_api="blas") if not _inside else None)
    try:
        yield
    finally:
        with _lock:
            if len(_inside) > 1:  # the first limiter stays, it knows what there was before
                _inside.pop()
            elif (os.cpu_count() or 1) > 2:
                _inside.pop().restore_original_limits()


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController  # takes a while: nobody who only asks for a version needs it

    return ThreadpoolController()
