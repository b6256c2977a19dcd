"""The shortest way of a question: from the bytes on a connection to the student's answer, without a task, a scope or a layer between.

uvicorn's protocol for httptools, with one change. A `POST /v1/predict` is held until its body is whole; where a student answers it (`http_quick`), the
reply is written there and then, past the same guards (`http_limits.Gate.at_once`). Every other request, and every one that is not plainly to be
admitted, goes uvicorn's way as if it had never been held.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .http_quick import MOST_BYTES

_PATH = b"/v1/predict"
#: seconds a body may be on its way before its request goes the long way, which waits longer and then says so
_HELD_S = 0.05


class Wire(HttpToolsProtocol):
    """One connection of a server whose application is a `http._Application`."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        app: Any = self.app
        while app is not None and not hasattr(app, "gate"):  # uvicorn may have wrapped it
            app = getattr(app, "app", None)
        self._gate: Any = getattr(app, "gate", None)
        self._held: bytes | None = None
        self._timer: asyncio.TimerHandle | None = None

    def on_message_begin(self) -> None:
        """Keeps what the parser tells; a scope is made of it only for the long way."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """Holds a question whose answer may be at hand; lets any other request go."""
        parser = self.parser
        if (self.url == _PATH and self._gate is not None and (self.cycle is None or self.cycle.response_complete) and not self.expect_100_continue and not self.flow.write_paused
                and parser.get_method() == b"POST" and parser.get_http_version() == "1.1" and not parser.should_upgrade()):
            self._held = b""
        else:
            self._begin()

    def on_body(self, body: bytes) -> None:
        """Collects a held body."""
        if self._held is not None:
            if len(self._held) + len(body) <= MOST_BYTES:
                self._held += body
                return
            self._let_go()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Answers what was held."""
        if self._held is None:
            super().on_message_complete()
            return
        said = self._gate.at_once(self.headers, self._held)
        if said is None:
            self._let_go()
            super().on_message_complete()
            return
        self._held = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        keeps = self.parser.should_keep_alive()
        defaults = b"".join([b"%b: %b\r\n" % pair for pair in self.server_state.default_headers])
        self.transport.write(b"HTTP/1.1 200 OK\r\n%b%b%b" % (defaults, b"" if keeps else b"connection: close\r\n", said))
        if keeps:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Reads; what is then held waits for the rest of its body, but not for long."""
        super().data_received(data)
        if self._held is not None and self._timer is None:
            self._timer = self.loop.call_later(_HELD_S, self._let_go)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets what was held: nobody waits for it."""
        self._held = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """What was held is under way, and ends before the connection does."""
        self._let_go()
        super().shutdown()

    def _let_go(self) -> None:
        """The long way for what was held."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._held is not None:
            held, self._held = self._held, None
            self._begin()
            if held:
                super().on_body(held)

    def _begin(self) -> None:
        """What uvicorn does when a request begins, with what the parser has told since."""
        url, expects, headers = self.url, self.expect_100_continue, self.headers
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()
