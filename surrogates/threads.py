"""Good manners of numerical threads: waiting ones sleep instead of spinning.

OpenMP's default lets idle threads spin. On a machine with a busy neighbour that made one LightGBM fit of six seconds take over a minute
(two cores); asleep, it took five seconds. A library reads the setting when it is loaded, so this runs before each import of one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

_lock = Lock()
_inside: list[Any] = []


def wait_asleep() -> None:
    """Sets OMP_WAIT_POLICY=PASSIVE for libraries loaded from now on, unless the user has set it."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Products of matrices inside take one thread each: threads of ours that each call a threaded library wait for one another (columns of a student were
    two to eight times slower so, on two cores). Without threadpoolctl nothing changes. Nested and concurrent uses are counted; the last to leave restores."""
    control = _controller()
    if control is None:
        yield
        return
    with _lock:
        _inside.append(control.limit(limits=1, user_api="blas") if not _inside else None)
    try:
        yield
    finally:
        with _lock:
            if len(_inside) == 1:
                _inside.pop().restore_original_limits()
            else:  # the first limiter stays, it knows what there was before
                _inside.pop()


@cache
def _controller() -> Any:
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()
