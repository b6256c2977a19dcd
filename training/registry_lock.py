"""One writer at a time to one model of a registry, among the processes of this machine.

MLflow has no compare-and-swap: two trainers that promote at once may each be judged against the champion before the other. An SQLite store is on this machine, so a file
lock beside it holds everybody; for a tracking server the lock holds the processes of this machine, and `registry.promote` looks again just before it moves an alias, which
leaves the time of one request to processes elsewhere. The system lets go of the lock of a process that dies.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from .tracking import sqlite_path

Result = TypeVar("Result")
#: how often a write is tried that met another's: 0.1, 0.2, ... 3.2 s apart
ATTEMPTS = 6


@contextmanager
def held(uri: str) -> Iterator[None]:
    """The lock of the store at `uri`; waits for it. Without one (no place to write, no such locks on this system) the block runs all the same."""
    opened = None
    with suppress(OSError):
        opened = os.open(_place(uri), os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    if opened is None:
        yield
        return
    try:
        with suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def patiently(write: Callable[[], Result]) -> Result:
    """`write`, again after a while where another's write was in its way (a locked database, a name or number that was just taken); its error in the end."""
    for attempt in range(ATTEMPTS):
        try:
            return write()
        except Exception as error:
            said = str(error)
            if attempt + 1 == ATTEMPTS or not any(word in said for word in ("database is locked", "UNIQUE constraint", "Model Version creation error", "deadlock")):
                raise
            time.sleep(0.1 * 2**attempt * (0.5 + random.random()))
    raise AssertionError("unreachable")


def _place(uri: str) -> Path:
    store = sqlite_path(uri)
    if store is not None:
        return store.with_name(f"{store.name}.lock")
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "silicast" / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / hashlib.sha256(uri.encode()).hexdigest()[:16]
