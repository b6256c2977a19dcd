"""HTTP: `POST /v1/predict`, `GET /healthz`, `GET /readyz`, and an OpenAPI document that is true.

The caller's mistakes are 4xx with one line under `error`: 422 for what silicast cannot read, 413 for a body over the limit. No input
makes a 5xx: a document is parsed and judged before a model sees it, and arithmetic that overflows is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from .. import __version__
from ..datasets.catalog import SUFFIXES, hardware
from ..datasets.errors import FormatError, InputError, SilicastError
from ..datasets.hardware import Hardware
from ..datasets.table import GraphQuestions
from ..datasets.workload import Workload
from .predictor import Predictor, known_targets, select
from .reply import one_line, plain

BODY_LIMIT_BYTES = 16_000_000
#: machines in one request
MOST_MACHINES = 1024

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class PredictRequest(BaseModel):
    """One workload, on one machine or several."""

    model_config = ConfigDict(extra="forbid")
    workload: dict[str, Any] = Field(description="a silicast workload document (format silicast-workload/1), as `Workload.to_json` writes it")
    hardware: Annotated[list[str | dict[str, Any]], Field(min_length=1, max_length=MOST_MACHINES)] | str | dict[str, Any] = Field(
        description="a catalogue key or alias, a hardware document (silicast-hardware/1, or the catalogue's form as JSON), or a list of these")
    targets: list[str] | None = Field(default=None, description="which targets to answer, in this order; default: all the model has")
    fallback: Literal["simulate"] | None = Field(default=None, description="'simulate': the reference simulator answers what lies outside the model's domain")


class Value(BaseModel):
    """One target's answer in SI. `low` and `high` are null where there is no interval, all three where there is no answer."""

    point: float | None
    low: float | None
    high: float | None
    unit: str


class Verdict(BaseModel):
    """Whether the question lay in the model's domain."""

    verdict: Literal["in_domain", "extrapolating", "unsupported", "unchecked"]
    reason: str


class Answer(BaseModel):
    """The answer for one machine. `level` is the share of answers the intervals hold for rows in the domain, 0 where there is none;
    `calibrated` is false where that is not claimed for this answer: it is outside the domain, or lacks an interval."""

    hardware: str
    targets: dict[str, Value]
    level: float
    calibrated: bool
    domain: Verdict
    model: str
    version: str


class PredictResponse(BaseModel):
    """One answer per machine asked about, in order."""

    workload: str
    workload_digest: str
    predictions: list[Answer]


class Health(BaseModel):
    """The process runs."""

    status: Literal["ok"]
    silicast: str


class Ready(BaseModel):
    """A model is loaded and answers."""

    status: Literal["ready"]
    model: str
    version: str
    targets: list[str]


class Fault(BaseModel):
    """What went wrong, in one line: got, expected, where, what to do."""

    error: str


class _Ascii(JSONResponse):
    """JSON in ASCII: a name with half a character in it (a lone surrogate) can be sent back too."""

    def render(self, content: Any) -> bytes:
        return json.dumps(plain(content), allow_nan=False, separators=(",", ":")).encode("ascii")


def create_app(predictor: Predictor | None, *, body_limit_bytes: int = BODY_LIMIT_BYTES) -> FastAPI:
    """The application for one loaded model (None: none yet; then `/readyz` and `/v1/predict` are 503).

    Raises InputError for a model that does not take whole workloads.
    """
    if predictor is not None and predictor.shape != "graph":
        raise InputError(f"serve answers questions about whole workloads; model {predictor.name!r} takes {predictor.shape} questions. Use `silicast predict TABLE` for it")
    app = FastAPI(title="silicast", version=__version__, summary="What will this workload cost on this hardware?", default_response_class=_Ascii)
    app.add_middleware(_BodyLimit, most=body_limit_bytes)
    app.add_exception_handler(SilicastError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _ours)
    refusals: dict[int | str, dict[str, Any]] = {413: {"model": Fault, "description": "the body is over the limit"}, 422: {"model": Fault, "description": "the question cannot be read"},
                                                 503: {"model": Fault, "description": "no model is loaded"}}

    @app.get("/healthz", response_model=Health)
    def healthz() -> dict[str, Any]:
        """The process runs."""
        return {"status": "ok", "silicast": __version__}

    @app.get("/readyz", response_model=Ready, responses={503: refusals[503]})
    def readyz() -> dict[str, Any]:
        """A model is loaded: which, and which version."""
        ready = _loaded(predictor)
        return {"status": "ready", "model": ready.name, "version": ready.version, "targets": list(ready.targets)}

    @app.post("/v1/predict", response_model=PredictResponse, responses=refusals)
    def predict(asked: PredictRequest) -> Any:
        """Latency, energy, power and memory of a workload on machines, with intervals and domain verdicts."""
        ready = _loaded(predictor)
        workload = _parsed("workload", Workload.from_json, asked.workload)
        wanted = asked.hardware if isinstance(asked.hardware, list) else [asked.hardware]
        machines = [_parsed(f"hardware[{i}]" if isinstance(asked.hardware, list) else "hardware", _machine, one) for i, one in enumerate(wanted)]
        known_targets(ready, asked.targets)
        try:
            prediction = select(ready.predict_many(GraphQuestions.cross(workload, machines), fallback=asked.fallback), asked.targets)
        except (ArithmeticError, ValueError, RuntimeWarning) as error:  # sizes no machine has: 10^18 x 10^18
            raise InputError(f"workload: its sizes cannot be computed with ({type(error).__name__}: {error})") from None
        units = ready.card.units
        rows = [{"hardware": machine.key, **prediction.answer(i)} for i, machine in enumerate(machines)]
        for row in rows:
            row["targets"] = {name: {**value, "unit": str(units.get(name, ""))} for name, value in row["targets"].items()}
        return _Ascii({"workload": workload.name, "workload_digest": workload.digest, "predictions": rows})

    return app


def _loaded(predictor: Predictor | None) -> Predictor:
    if predictor is None:
        raise HTTPException(503, "no model is loaded yet")
    return predictor


def _machine(given: str | dict[str, Any]) -> Hardware:
    """A machine by key, alias or document; a path would read files of the machine that serves."""
    if isinstance(given, str):
        if given.lower().endswith(SUFFIXES) or "/" in given or "\\" in given:
            raise FormatError(f"expected a catalogue key, an alias or a hardware document, got {given[:200]!r}; files are not read over HTTP")
        return hardware(given[:200])
    from ..datasets.catalog.document import read_json

    return read_json(json.dumps(given), "document")


def _parsed(where: str, read: Callable[[Any], Any], given: Any) -> Any:
    """`read(given)`; whatever a document can make it raise is the caller's mistake, named by its place."""
    try:
        return read(given)
    except SilicastError as error:
        raise InputError(f"{where}: {error}") from None
    except (ArithmeticError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise FormatError(f"{where}: malformed ({type(error).__name__}: {error})") from None


def _fault(status: int, text: str) -> JSONResponse:
    return _Ascii({"error": text if len(text) <= 2000 else text[:2000] + " ..."}, status_code=status)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    return _fault(422 if isinstance(error, InputError) else 500, one_line(error))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    told = [f"{'.'.join(str(part)[:80] for part in fault['loc'])}: {fault['msg']}" for fault in faults[:4]]  # never its input: it may not be JSON
    more = f"; and {len(faults) - 4} more" if len(faults) > 4 else ""
    return _fault(422, one_line(f"request: {'; '.join(told)}{more}; expected workload, hardware and optionally targets, fallback"))


async def _http(request: Request, error: Exception) -> JSONResponse:
    status, detail = (error.status_code, str(error.detail)) if isinstance(error, HTTPException) else (500, "")
    if status == 400:  # a body that no JSON parser takes: too deep, digits without end, not text
        return _fault(422, "request: the body is not a readable JSON document; expected an object with workload and hardware")
    return _fault(status, one_line(detail))


async def _ours(request: Request, error: Exception) -> JSONResponse:
    return _fault(500, f"internal error: {type(error).__name__}: {one_line(error)}")


class _BodyLimit:
    """Refuses a body over `most` bytes with 413, whether or not its length was announced."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        chunks: list[bytes] = []
        arrived = 0
        size = int(announced) if announced.isdigit() and len(announced) < 19 else 0
        more = scope["method"] in ("POST", "PUT", "PATCH")
        while more and size <= self.most:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            chunks.append(message.get("body", b""))
            arrived += len(chunks[-1])
            size = max(size, arrived)
            more = message.get("more_body", False)
        if size > self.most:
            await _fault(413, f"request: the body is over {self.most:,} bytes; ask about fewer machines, or start with a larger --body-limit-mb")(scope, receive, send)
            return
        if not chunks:
            await self.app(scope, receive, send)
            return
        waiting = [b"".join(chunks)]

        async def whole() -> Message:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False} if waiting else await receive()

        await self.app(scope, whole, send)
