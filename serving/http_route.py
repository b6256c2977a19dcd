"""A question over HTTP and its reply, free of any web framework: a route is a path, a handler, and the documents that describe it.

`answered` is the only place where errors become status codes. The caller's mistakes are 4xx with one line under `error`; 500 is ours.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ..datasets.errors import FormatError, InputError, RegistryError
from .reply import one_line

JSON = "application/json"
NDJSON = "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"
#: longest text of an error
_MOST_TEXT = 2000

Document = TypeVar("Document", bound=BaseModel)


class Refusal(Exception):
    """A question that gets `status` and one line; `headers` go with it."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.headers = status, dict(headers or {})


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its body whole, the names in its path, its query string, its headers in lower case."""

    body: bytes = b""
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    request_id: str = ""

    @property
    def media(self) -> str:
        """The content type without its parameters, lower case; "" where none was said."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Told:
    """One reply; `noted` goes into the log line of the request."""

    body: bytes
    status: int = 200
    media: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    noted: Mapping[str, Any] = field(default_factory=dict)


Handler = Callable[[Any, Asked], Awaitable[Told]]


@dataclass(frozen=True)
class Route:
    """A path (`{name}` stands for one segment), its handler, and what the OpenAPI document says of it.

    `asks`: content type -> the document of the body, None for one that has no schema. `faults`: the 4xx and 5xx it may give.
    `open` needs no token and no free slot: it says whether the process lives.
    """

    method: str
    path: str
    handler: Handler
    tells: type[BaseModel] | None
    asks: Mapping[str, type[BaseModel] | None] = field(default_factory=dict)
    faults: tuple[int, ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    also: tuple[str, ...] = ()
    open: bool = False


def encode(content: Any) -> bytes:
    """Standard JSON in ASCII: no NaN, and a name with half a character in it (a lone surrogate) can be sent back too."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def json_told(content: Any, status: int = 200, **noted: Any) -> Told:
    """A reply in JSON; `content` holds nothing but what JSON knows."""
    return Told(encode(content), status, noted=noted)


def fault(status: int, text: str, headers: Mapping[str, str] | None = None) -> Told:
    """What went wrong, on one line."""
    said = one_line(text)
    return Told(encode({"error": said if len(said) <= _MOST_TEXT else said[:_MOST_TEXT] + " ..."}), status, headers=headers or {}, noted={"error": said[:300]})


async def answered(route: Route, desk: Any, asked: Asked) -> Told:
    """The handler's reply, or the fault that its error stands for."""
    try:
        if route.asks and asked.media not in route.asks and not (asked.media == "" and JSON in route.asks):
            raise Refusal(415, f"request: content type {asked.media[:80]!r} is not read here; expected {' or '.join(route.asks)}")
        return await route.handler(desk, asked)
    except Refusal as error:
        return fault(error.status, str(error), error.headers)
    except InputError as error:
        return fault(422, str(error))
    except RegistryError as error:
        return fault(503, str(error), {"retry-after": "5"})
    except (MemoryError, RecursionError) as error:
        return fault(413, f"request: too large to compute with ({type(error).__name__}); ask for less at once")
    except Exception as error:
        return fault(500, f"internal error: {type(error).__name__}: {error}")


def _not_json(name: str) -> Any:
    raise FormatError(f"request: {name} is not JSON; a figure that is not there is null or left out")


_DECODER = json.JSONDecoder(parse_constant=_not_json)


def parsed_json(body: bytes, where: str = "request") -> Any:
    """The JSON document in `body`. Raises FormatError for anything else: NaN and Infinity, brackets without end, digits without end, not UTF-8."""
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise FormatError(f"{where}: the body is not a readable JSON document ({reason[:200]})") from None


def document(kind: type[Document], content: Any, where: str = "request") -> Document:
    """`content` as that kind of document. Raises FormatError naming up to four fields; never their values, which may be no text."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        told = [f"{'.'.join(str(part)[:80] for part in one['loc']) or 'document'}: {one['msg']}" for one in faults[:4]]
        more = f"; and {len(faults) - 4} more" if len(faults) > 4 else ""
        raise FormatError(f"{where}: {'; '.join(told)}{more}; expected {', '.join(kind.model_fields)}") from None
    except RecursionError:
        raise FormatError(f"{where}: nested too deeply") from None


def read(kind: type[Document], asked: Asked) -> Document:
    """The body as that kind of document."""
    return document(kind, parsed_json(asked.body))


def guarded(where: str, reader: Callable[[Any], Any], given: Any) -> Any:
    """`reader(given)`; whatever a stranger's document can make it raise is the caller's mistake, named by its place."""
    try:
        return reader(given)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except (ArithmeticError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise FormatError(f"{where}: malformed ({type(error).__name__}: {error})") from None
