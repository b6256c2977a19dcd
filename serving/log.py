"""Structured logs: one JSON object per line on stderr. Lines of a moment are written together, so that a log costs no request its speed."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from typing import Any, TextIO

LEVELS = ("requests", "errors", "none")
#: seconds a line may wait; a line of level error does not
_WAIT_S = 0.1


class Log:
    """Writes events to `stream` (default: stderr). `level`: "requests" everything, "errors" no line for a request that went well, "none" nothing."""

    def __init__(self, level: str = "requests", stream: TextIO | None = None) -> None:
        self.level, self._stream = level, stream
        self._lines: list[str] = []
        self._lock = threading.Lock()
        self._written_s = 0.0

    def request(self, **fields: Any) -> None:
        """A request that was answered, well or not (by its `status`)."""
        failed = int(fields.get("status", 200)) >= 400
        if self.level == "requests" or (failed and self.level == "errors"):
            self._put("request", fields, int(fields.get("status", 200)) >= 500)

    def event(self, event: str, **fields: Any) -> None:
        """Anything else that happened: a model was loaded, the registry is gone."""
        if self.level != "none":
            self._put(event, fields, True)

    def _put(self, event: str, fields: dict[str, Any], now: bool) -> None:
        at = time.time()
        line = json.dumps({"at": round(at, 3), "event": event, **fields}, default=str)
        with self._lock:
            self._lines.append(line)
        if now or at - self._written_s > _WAIT_S or len(self._lines) > 200:
            self.flush()

    def flush(self) -> None:
        """Writes what waits. A closed stderr takes no request down."""
        with self._lock:
            lines, self._lines = self._lines, []
            self._written_s = time.time()
            if lines:
                with contextlib.suppress(OSError, ValueError):
                    stream = self._stream or sys.stderr
                    stream.write("\n".join(lines) + "\n")
                    stream.flush()
