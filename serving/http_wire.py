"""The shortest way of a question: from the bytes on a connection to the student's answer, without a task, a scope or a layer between.

uvicorn's protocol for httptools, with two changes. A `POST /v1/predict` is held until its body is whole; where a student answers it (`http_quick`), the reply is
written past the same guards (`http_limits.Gate`): questions that came whole in one turn of the event loop are answered together, the others as soon as
they are whole. And a head whose very bytes have been read before is not read again: clients that keep a connection send the same ones. Every other request, and every one
that is not plainly to be admitted, goes uvicorn's way as if it had never been held.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .http_limits import Head
from .http_quick import MOST_BYTES

_PATH = b"/v1/predict"
#: seconds a body may be on its way before its request goes the long way, which waits longer and then says so
_HELD_S = 0.05
#: longest head that is remembered, and how many are
_MOST_HEAD, _MOST_HEADS = 2000, 1000


class Wire(HttpToolsProtocol):
    """One connection of a server whose application is a `http._Application`."""

    #: bytes of a head -> (the length of the body it announces, what it says): of requests that were plain
    _heads: dict[bytes, tuple[int, Head]] = {}  # noqa: RUF012 -- of the process

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        app: Any = self.app
        while app is not None and not hasattr(app, "gate"):  # uvicorn may have wrapped it
            app = getattr(app, "app", None)
        self._gate: Any = getattr(app, "gate", None)
        self._held: bytes | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._between = True             # the parser is between two requests
        self._whole: bytes | None = None  # what is being read, where it began between two requests
        self._asked: bytes | None = None  # a request that waits for its answer
        self._long = False               # what is being read goes the long way
        self._used_s = 0.0

    def on_message_begin(self) -> None:
        """Keeps what the parser tells; a scope is made of it only for the long way."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._between = False

    def on_headers_complete(self) -> None:
        """Holds a question whose answer may be at hand; lets any other request go."""
        parser = self.parser
        if (self.url == _PATH and self._free() and not self._long and not self.expect_100_continue
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
        """Answers what was held, or puts it beside others that are answered together."""
        self._between = True
        if self._held is None:
            super().on_message_complete()
            return
        held, whole, keeps = self._held, self._whole, self.parser.should_keep_alive()
        if keeps and whole is not None:
            read, _, body = whole.partition(b"\r\n\r\n")
            if body == held:  # the request, all of it, and nothing more
                head = Head.of(self.headers)
                if self._gate.put(self, head, held):
                    self._forget()
                    self._asked = whole
                    if not head.request_id and len(read) <= _MOST_HEAD:
                        if len(self._heads) >= _MOST_HEADS:
                            self._heads.clear()
                        self._heads[read] = len(body), head
                else:
                    self._let_go()
                    super().on_message_complete()
                return
        said = self._gate.at_once(self.headers, held)
        if said is None:
            self._let_go()
            super().on_message_complete()
            return
        self._forget()
        self._write(said, keeps)

    def data_received(self, data: bytes) -> None:
        """Reads; what is then held waits for the rest of its body, but not for long."""
        if self._asked is not None:  # answers go out in the order of their questions
            self._gate.flush()
        if self._between and self._free():
            read, _, body = data.partition(b"\r\n\r\n")
            known = self._heads.get(read)
            if known is not None and len(body) == known[0] and self._gate.put(self, known[1], body):
                self._asked = data
                return
        self._read(data)

    def said(self, said: bytes | None) -> None:
        """The answer to what waits, from its content type on; None: the long way."""
        asked, self._asked = self._asked, None
        if asked is None or self.transport.is_closing():
            return
        if said is not None:
            self._write(said, True)
            return
        self._long = True
        try:
            self._read(asked)
        finally:
            self._long = False

    def eof_received(self) -> None:
        """Nothing more will be asked: what waits is answered before the connection is closed."""
        if self._asked is not None:
            self._gate.flush()
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets what was held: nobody waits for it."""
        self._asked = None
        self._forget()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """What was held is under way, and ends before the connection does."""
        if self._asked is not None:
            self._gate.flush()
        self._let_go()
        super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Closes a connection that is no longer used; answers written here do not set the clock anew, so what is left of the time is waited."""
        left = self._used_s + self.timeout_keep_alive - self.loop.time()
        if left > 0.0 or self._asked is not None or self._held is not None:
            self.timeout_keep_alive_task = self.loop.call_later(max(left, _HELD_S), self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def _free(self) -> bool:
        """Whether an answer may be written now."""
        return self._gate is not None and (self.cycle is None or self.cycle.response_complete) and not self.flow.write_paused

    def _read(self, data: bytes) -> None:
        """Lets the parser read."""
        self._whole = data if self._between else None
        super().data_received(data)
        self._whole = None
        if self._held is not None and self._timer is None:
            self._timer = self.loop.call_later(_HELD_S, self._let_go)

    def _write(self, said: bytes, keeps: bool) -> None:
        """A reply with status 200."""
        defaults = b"".join([b"%b: %b\r\n" % pair for pair in self.server_state.default_headers])
        self.transport.write(b"HTTP/1.1 200 OK\r\n%b%b%b" % (defaults, b"" if keeps else b"connection: close\r\n", said))
        self.server_state.total_requests += 1
        if not keeps:
            self.transport.close()
            return
        self._used_s = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _forget(self) -> None:
        """Nothing is held any more."""
        self._held = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _let_go(self) -> None:
        """The long way for what was held."""
        held = self._held
        self._forget()
        if held is not None:
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
