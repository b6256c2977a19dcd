"""What one server takes on: the size of a body, requests at once, seconds, and who may ask. An ASGI layer that refuses before anything is read.

413 a body over the limit, 408 one that does not arrive, 429 with Retry-After while too many requests are under way, 401 without the token,
503 with Retry-After for an answer that takes too long. Each request gets an id, a log line and its figures here.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..datasets.errors import FormatError, InputError
from . import http_quick
from .http_route import JSON, Asked, Route, Told, answered, fault

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_ID = re.compile(r"[A-Za-z0-9._:\-]{1,64}")
#: what an answer that is at once there adds one to
_QUICK = ("silicast_requests_total", (("path", "/v1/predict"), ("status", "200")))
#: of a body over the limit so much is read and thrown away, so that the client hears the refusal and not a broken connection
_DRAINED = 256_000_000


@dataclass(frozen=True)
class Limits:
    """Valid at birth: raises InputError for a limit that lets nothing through.

    `body_bytes` of a request, `upload_bytes` of an uploaded file; `in_flight` requests at once; `heavy` long computations at once;
    `rows` of one bulk request; `body_s` seconds for a body to arrive, `answer_s` for an answer, `bulk_s` for a bulk answer, a simulation or an
    upload; `batch_wait_s` how long a question waits for others.
    """

    body_bytes: int = 16_000_000
    upload_bytes: int = 64_000_000
    in_flight: int = 1024
    heavy: int = 8
    rows: int = 1_000_000
    body_s: float = 30.0
    answer_s: float = 30.0
    bulk_s: float = 120.0
    batch_wait_s: float = 0.0005

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0 and name != "batch_wait_s":
                raise InputError(f"limits: {name} must be greater than 0, got {value}")


def read_tokens(path: Path | None) -> tuple[bytes, ...]:
    """The tokens in a file, one per line; '#' begins a comment. Raises FormatError for a file without one, or with one shorter than 16 characters."""
    if path is None:
        return ()
    try:
        lines = [line.strip() for line in path.read_text(encoding="ascii").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"--token-file {path}: not a readable file of ASCII text ({type(error).__name__})") from None
    tokens = tuple(line.encode("ascii") for line in lines if line and not line.startswith("#"))
    if not tokens or min(map(len, tokens)) < 16:
        raise FormatError(f"--token-file {path}: expected one token per line, each of 16 characters or more")
    return tokens


class Head(NamedTuple):
    """What the headers of a question say: whether its body is JSON, the id it came with (b"": none that can be kept), what stands for a token."""

    json: bool
    request_id: bytes
    token: str

    @classmethod
    def of(cls, headers: Sequence[tuple[bytes, bytes]]) -> Head:
        """`headers`: names in lower case."""
        media = given = token = b""
        for name, value in headers:
            if name == b"content-type":
                media = value
            elif name == b"x-request-id":
                given = value
            elif name == b"authorization":
                token = value
        plain = media == b"application/json" or Asked(headers={"content-type": media.decode("latin-1")}).media in ("", JSON)
        return cls(plain, given if _ID.fullmatch(given.decode("latin-1")) else b"", token.decode("latin-1"))


class Gate:
    """The layer. Routes without names in their path are answered here, everything else goes on to `app`: a router costs more than an answer.

    `uploads`: the paths that take `upload_bytes`; `slow`: those (names left as `{name}`) that may take `bulk_s`.
    """

    def __init__(self, app: Application, desk: Any, routes: tuple[Route, ...], tokens: tuple[bytes, ...] = (), uploads: tuple[str, ...] = (), slow: tuple[str, ...] = ()) -> None:
        self._app, self._desk, self._tokens = app, desk, tokens
        self._hot = {(r.method, r.path): r for r in routes if "{" not in r.path}
        self._open = {path for r in routes if r.open for path in (r.path, *r.also)}
        self._shapes = [(re.compile("".join("[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^}]+\})", path))), path)
                        for r in routes if "{" in r.path for path in (r.path, *r.also)]
        self._uploads, self._slow = set(uploads), set(slow)
        self.in_flight = 0
        self._waiting: list[tuple[Any, tuple[http_quick.Question, bytes, float]]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request: admitted or refused, answered, counted, logged."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = time.perf_counter()
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else secrets.token_hex(8)
        path, method = scope["path"], scope["method"]
        label = self._label(path)
        self.in_flight += 1
        self._desk.metrics.set("silicast_in_flight", {(): self.in_flight})
        told: Told | None = None
        status = [500]
        try:
            told = await self._admitted(scope, receive, send, headers, path, method, label, request_id, status)
            if told is not None:
                status[0] = told.status
                await send({"type": "http.response.start", "status": told.status, "headers": [
                    (b"content-type", told.media.encode()), (b"content-length", b"%d" % len(told.body)), (b"x-request-id", request_id.encode()),
                    *((k.encode(), v.encode("latin-1", "replace")) for k, v in told.headers.items())]})
                await send({"type": "http.response.body", "body": told.body if method != "HEAD" else b""})
        except _Gone:
            status[0] = 499
        finally:
            self.in_flight -= 1
            seconds = time.perf_counter() - begin
            self._desk.metrics.add("silicast_requests_total", labels=(("path", label), ("status", str(status[0]))))
            self._desk.metrics.observe("silicast_request_seconds", seconds, (("path", label),))
            self._desk.log.request(id=request_id, method=method, path=path[:200], status=status[0], ms=round(seconds * 1e3, 3), **(told.noted if told is not None else {}))

    async def _admitted(self, scope: Scope, receive: Receive, send: Send, headers: Mapping[str, str], path: str, method: str, label: str, request_id: str,
                        status: list[int]) -> Told | None:
        """The reply, or None where `app` has sent one."""
        limits = self._desk.limits
        opened = path in self._open
        if self._tokens and not opened and not self._known(headers.get("authorization", "")):
            self._desk.metrics.add("silicast_rejected_total", labels=(("reason", "token"),))
            return fault(401, "request: expected the header 'authorization: Bearer TOKEN' with a token this server knows", {"www-authenticate": "Bearer"})
        if self.in_flight > limits.in_flight and not opened:
            self._desk.metrics.add("silicast_rejected_total", labels=(("reason", "in_flight"),))
            return fault(429, f"{limits.in_flight:,} requests are under way, the most this server takes at once; try again later", {"retry-after": "1"})
        most = limits.upload_bytes if path in self._uploads else limits.body_bytes
        body = b""
        if method in ("POST", "PUT", "PATCH"):
            try:
                async with asyncio.timeout(limits.body_s):
                    got = await _body(headers, receive, most)
            except TimeoutError:
                return fault(408, f"request: the body did not arrive within {limits.body_s:g} s", {"connection": "close"})
            if got is None:
                self._desk.metrics.add("silicast_rejected_total", labels=(("reason", "body"),))
                return fault(413, f"request: the body is over {most:,} bytes; ask for less at once, or start with a larger --body-limit-mb", {"connection": "close"})
            body = got
        seconds = limits.bulk_s if label in self._slow else limits.answer_s
        try:
            async with asyncio.timeout(seconds):
                route = self._hot.get((method, path))
                if route is not None:
                    try:
                        query = _query(scope)
                    except ValueError as error:
                        return fault(422, f"request: its query string is not readable ({error})")
                    return await answered(route, self._desk, Asked(body, {}, query, headers, request_id))
                await self._app(scope, _again(body, receive), _signed(send, request_id, status))
                return None
        except TimeoutError:
            self._desk.metrics.add("silicast_rejected_total", labels=(("reason", "timeout"),))
            return fault(503, f"no answer within {seconds:g} s; ask for less at once, or again later", {"retry-after": "5"})

    def at_once(self, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bytes | None:
        """The reply to a `POST /v1/predict`, from its content type on, where a student answers (`http_quick`) and nothing speaks against it; None: the long way, which says what does.

        `headers`: names in lower case."""
        begin = time.perf_counter()
        head = Head.of(headers)
        asked = self._asked(head, body)
        return self.replied([(asked, head.request_id, begin)])[0] if asked is not None else None

    def put(self, wire: Any, head: Head, body: bytes) -> bool:
        """Puts a question that a student answers beside those that came in this turn of the loop: they are answered together at its end, by `wire.said`. False: the long way."""
        begin = time.perf_counter()
        asked = self._asked(head, body)
        if asked is None:
            return False
        if not self._waiting:
            wire.loop.call_soon(self.flush)
        self._waiting.append((wire, (asked, head.request_id, begin)))
        return True

    def flush(self) -> None:
        """Answers what waits."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            found = self.replied([one for _, one in waiting])
        except Exception:  # the long way says what it is
            found = [None] * len(waiting)
        for (wire, _), said in zip(waiting, found, strict=True):
            try:
                wire.said(said)
            except Exception as error:  # one connection's trouble is not its neighbours'
                self._desk.log.event("connection_failed", error=f"{type(error).__name__}: {error}"[:300])

    def _asked(self, head: Head, body: bytes) -> http_quick.Question | None:
        """The question, where nothing speaks against its being answered now."""
        if (not head.json or self.in_flight + len(self._waiting) >= self._desk.limits.in_flight or len(body) > self._desk.limits.body_bytes
                or (self._tokens and not self._known(head.token))):
            return None
        return http_quick.question(self._desk, body)

    def replied(self, asked: Sequence[tuple[http_quick.Question, bytes, float]]) -> list[bytes | None]:
        """The replies, from the content type on, to questions with the ids they came with (b"": none) and when each began; counted, logged. None: the long way."""
        desk = self._desk
        found = http_quick.replies(desk, [one for one, _, _ in asked])
        now, out, seconds = time.perf_counter(), list[bytes | None](), list[float]()
        for (_, given, begin), answer in zip(asked, found, strict=True):
            if answer is None:
                out.append(None)
                continue
            told, noted = answer
            request_id = given or http_quick.new_id()
            seconds.append(now - begin)
            if desk.log.level == "requests":
                desk.log.request(id=request_id.decode("latin-1"), method="POST", path="/v1/predict", status=200, ms=round((now - begin) * 1e3, 3), **noted)
            out.append(b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\n\r\n%b" % (len(told), request_id, told))
        if seconds:
            desk.metrics.count_many({_QUICK: len(seconds)})
            desk.metrics.observe_all("silicast_request_seconds", seconds, _QUICK[1][:1])
        return out

    def _known(self, given: str) -> bool:
        scheme, _, token = given.partition(" ")
        sent = token.strip().encode("latin-1", "replace")
        found = False
        for one in self._tokens:  # all of them, so that time tells nothing
            found |= hmac.compare_digest(one, sent)
        return found and scheme.lower() == "bearer"

    def _label(self, path: str) -> str:
        """The route's path, names left as `{name}`; "other" for what is none, so that strangers cannot make up figures."""
        if ("GET", path) in self._hot or ("POST", path) in self._hot:
            return path
        return next((named for shape, named in self._shapes if shape.fullmatch(path)), "other")


class _Gone(Exception):
    """The client went away before its question was whole."""


async def _body(headers: Mapping[str, str], receive: Receive, most: int) -> bytes | None:
    """The whole body; None where it is over `most` bytes, whether or not its length was announced."""
    announced = headers.get("content-length", "0")
    over = announced.isdigit() and (len(announced) > 18 or int(announced) > most)
    chunks: list[bytes] = []
    arrived = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        chunk = message.get("body", b"")
        arrived += len(chunk)
        over = over or arrived > most
        if over:
            chunks.clear()
        else:
            chunks.append(chunk)
        if not message.get("more_body", False):
            return None if over else (chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if over and arrived > _DRAINED:
            return None


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive` for the application behind: the body once more, then whatever comes."""
    waiting = [body]

    async def whole() -> Message:
        return {"type": "http.request", "body": waiting.pop(), "more_body": False} if waiting else await receive()

    return whole


def _signed(send: Send, request_id: str, status: list[int]) -> Send:
    """`send` that adds the request's id and notes the status."""
    async def signed(message: Message) -> None:
        if message["type"] == "http.response.start":
            status[0] = int(message["status"])
            message = {**message, "headers": [*message.get("headers", ()), (b"x-request-id", request_id.encode())]}
        await send(message)

    return signed


def _query(scope: Scope) -> Mapping[str, str]:
    raw = scope.get("query_string", b"")
    if not raw:
        return {}
    from urllib.parse import parse_qsl

    return dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=100))
