"""HTTP: the application, its OpenAPI document, and the server that runs it.

`http_route` says what a route is; `http_v1`, `http_bulk`, `http_v2` and `http_health` hold them; `http_limits.Gate` stands before all of them;
`http_desk.Desk` is what they work with. Only this file knows FastAPI, and only this one and `http_wire` uvicorn.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from .. import __version__
from ..datasets.errors import InputError
from . import http_bulk, http_health, http_v1, http_v2
from .http_desk import Desk
from .http_documents import Fault, Item, TruthItem
from .http_limits import Gate, Limits, read_tokens
from .http_route import ARROW, JSON, NDJSON, Asked, Route, Told, answered, fault
from .http_shelf import Shelf, warm
from .log import LEVELS, Log
from .metrics import MEDIA, Metrics
from .predictor import Predictor

ROUTES: tuple[Route, ...] = (*http_health.ROUTES, *http_v1.ROUTES, *http_bulk.ROUTES, *http_v2.ROUTES)
#: paths whose body may be as large as an upload, and paths that may take longer
UPLOADS = ("/v1/workloads", "/v1/predict/bulk")
SLOW = ("/v1/workloads", "/v1/predict/bulk", "/v1/simulate", "/v1/truth", "/v1/drift", "/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer")
_SETTINGS = "SILICAST_SERVE"
_FAULTS = {401: "the token is missing or unknown", 404: "there is no such thing here", 408: "the body did not arrive in time", 413: "the body is over the limit",
           415: "the content type is not read here", 422: "the question cannot be read", 429: "too much is under way; Retry-After says when to try again",
           503: "no model is loaded, or no answer in time"}


@dataclass(frozen=True)
class Settings:
    """How a server is started: what `silicast serve` was told. Raises InputError for what makes no sense."""

    models: tuple[str, ...]
    limits: Limits = field(default_factory=Limits)
    token_file: str | None = None
    drift: str | None = None
    poll_s: float = 5.0
    log: str = "requests"

    def __post_init__(self) -> None:
        if self.log not in LEVELS:
            raise InputError(f"--log {self.log}: expected {', '.join(LEVELS)}")
        if not self.poll_s >= 0:
            raise InputError(f"--poll-s {self.poll_s}: expected seconds, 0 for never")

    def to_json(self) -> str:
        """For the environment of a worker; `from_json` gives back equal settings."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """The inverse of `to_json`."""
        data = json.loads(text)
        return cls(**{**data, "models": tuple(data["models"]), "limits": Limits(**data["limits"])})

    def application(self, predictors: Sequence[Predictor]) -> FastAPI:
        """The application with these models."""
        return create_app(predictors, limits=self.limits, tokens=read_tokens(Path(self.token_file) if self.token_file else None), drift=self.drift, poll_s=self.poll_s, log=Log(self.log))


def create_app(predictors: Predictor | Sequence[Predictor] | None, *, limits: Limits | None = None, tokens: tuple[bytes, ...] = (), drift: str | Path | None = None,
               poll_s: float = 5.0, log: Log | None = None, shelf: Shelf | None = None) -> FastAPI:
    """The application for loaded models, the first the default (None: none yet; then `/readyz` and `/v1/predict` are 503).

    `drift` names the file that keeps predictions and their truths. Raises InputError for two models of one name or a model whose questions
    nobody can name, FormatError for a damaged drift store.
    """
    given = [] if predictors is None else [predictors] if isinstance(predictors, Predictor) else list(predictors)
    for one in given:
        _servable(one)
    log, metrics = log or Log("none"), Metrics()

    def heard(event: str, **fields: Any) -> None:
        log.event(event, **fields)
        if event.startswith("reload"):
            metrics.add("silicast_reloads_total", labels=(("outcome", event),))

    recorder = None
    if drift is not None:
        from .drift import DriftStore, Recorder

        recorder = Recorder(DriftStore(drift))
    shelf = shelf or Shelf(given, poll_s)
    shelf._heard = heard
    desk = Desk(shelf, limits or Limits(), log, metrics, recorder)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        desk.start()
        try:
            yield
        finally:
            desk.close()

    app = _Application(title="silicast", version=__version__, summary="What will this workload cost on this hardware?", lifespan=lifespan)
    app.state.desk = desk
    app.gate = Gate(app.behind, desk, ROUTES, tokens, UPLOADS, SLOW)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _ours)
    for route in ROUTES:
        for path in (route.path, *route.also):
            app.add_api_route(path, _endpoint(route, desk), methods=[route.method], response_model=None, name=_name(route, path), operation_id=_name(route, path),
                              summary=(route.handler.__doc__ or "").strip().splitlines()[0], description=(route.handler.__doc__ or "").strip(), openapi_extra={"x-route": path})
    described = _described(app, bool(tokens))
    app.openapi = lambda: described  # type: ignore[method-assign]
    return app


class _Application(FastAPI):
    """FastAPI with the gate before everything it does: what the gate answers itself never enters its layers, which cost more than an answer."""

    gate: Gate | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and self.gate is not None:
            await self.gate(scope, receive, send)
        else:
            await self.behind(scope, receive, send)

    async def behind(self, scope: Any, receive: Any, send: Any) -> None:
        """What FastAPI does: routes with names in their path, the documents, and the faults of what is not there."""
        await super().__call__(scope, receive, send)


def _servable(model: Predictor) -> None:
    if model.shape == "features" and "ranges" not in model.card.domain:
        raise InputError(f"serve: model {model.name!r} answers rows of a feature table, and its card describes no columns; train it again")
    if model.shape not in ("graph", "op", "features"):
        raise InputError(f"serve answers questions about whole workloads, operators and feature tables; model {model.name!r} takes {model.shape} questions")


def _endpoint(route: Route, desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        asked = Asked(await request.body(), dict(request.path_params), dict(request.query_params), {k.lower(): v for k, v in request.headers.items()})
        return _response(await answered(route, desk, asked))

    return endpoint


def _response(told: Told) -> Response:
    return Response(told.body, told.status, dict(told.headers), told.media)


def _name(route: Route, path: str) -> str:
    return f"{route.handler.__module__.rpartition('.')[2].removeprefix('http_')}_{route.handler.__name__}{'_version' if 'version}' in path else ''}"


def _described(app: FastAPI, tokens: bool) -> dict[str, Any]:
    """The OpenAPI document: every route with its parameters, bodies and faults, as they are."""
    described = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    kinds = {kind for route in ROUTES for kind in (route.tells, *route.asks.values()) if kind is not None} | {Fault, Item, TruthItem}
    ordered: list[Any] = sorted(kinds, key=lambda kind: kind.__name__)
    _, schemas = models_json_schema([(kind, "validation") for kind in ordered], ref_template="#/components/schemas/{model}")
    described["components"] = {"schemas": schemas["$defs"]}
    if tokens:
        described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"token": []}]

    def ref(kind: Any) -> dict[str, Any]:
        return {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}

    for route in ROUTES:
        for path in (route.path, *route.also):
            told = described["paths"][path][route.method.lower()]
            told.pop("x-route", None)
            media = {JSON: ref(route.tells)} if route.tells is not None else {MEDIA.partition(";")[0]: {"schema": {"type": "string"}}}
            if ARROW in route.asks:
                media |= {NDJSON: {"schema": {"type": "string"}}, ARROW: {"schema": {"type": "string", "format": "binary"}}}
            faults = {*route.faults, *((401,) if tokens and not route.open else ()), *((408,) if route.asks else ()), *(() if route.open else (429, 503))}
            told["responses"] = {"200": {"description": "the answer", "content": media},
                                 **{str(status): {"description": _FAULTS[status], "content": {JSON: ref(Fault)}} for status in sorted(faults)}}
            if path == "/v2/health/ready":
                told["responses"]["503"]["content"] = {JSON: ref(route.tells)}
            if route.open and tokens:
                told["security"] = []
            names = re.findall(r"\{([^}]+)\}", path)
            told["parameters"] = [*({"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for name in names),
                                  *({"name": name, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}
                                    for name, text in route.query if "." not in name)]
            if route.asks:
                told["requestBody"] = {"required": True, "content": {kind: ref(model) if model is not None else {"schema": {"type": "string", "format": "binary"}}
                                                                     for kind, model in route.asks.items()}}
    return described


async def _http(request: Request, error: Exception) -> Response:
    status, detail, headers = (error.status_code, str(error.detail), error.headers) if isinstance(error, HTTPException) else (500, "", None)
    said = f"{detail}: {request.method} {request.url.path[:200]}" if status in (404, 405) else detail
    return _response(fault(status, said, dict(headers or {})))


async def _ours(request: Request, error: Exception) -> Response:
    return _response(fault(500, f"internal error: {type(error).__name__}: {error}"))


def _wire() -> Any:
    """The protocol that answers some questions itself, where httptools is there; uvicorn's own choice where it is not."""
    try:
        from .http_wire import Wire
    except ImportError:
        return "auto"
    return Wire


def from_environment() -> FastAPI:
    """The application of one worker of several, by the settings its parent has put in the environment."""
    settings = Settings.from_json(os.environ[_SETTINGS])
    predictors = [Predictor.load(ref) for ref in settings.models]
    for one in predictors:
        warm(one)
    return settings.application(predictors)


def run(settings: Settings, predictors: Sequence[Predictor], host: str, port: int, workers: int = 1, drain_s: int = 30) -> None:
    """Answers until it is told to stop (SIGTERM, SIGINT); requests under way have `drain_s` seconds to end. Several workers are processes of their own:
    one that dies is replaced. Raises InputError where the port cannot be had."""
    import uvicorn

    common: dict[str, Any] = {"host": host, "port": port, "log_level": "warning", "access_log": False, "server_header": False, "backlog": 8192, "timeout_keep_alive": 65,
                              "timeout_graceful_shutdown": drain_s, "proxy_headers": False, "http": _wire()}
    log = Log(settings.log)
    log.event("serving", host=host, port=port, workers=workers, models={one.name: one.version for one in predictors}, token=settings.token_file is not None)
    if host not in ("127.0.0.1", "localhost", "::1") and settings.token_file is None:
        log.event("open_to_the_network", host=host, advice="anyone who reaches this address may ask; give --token-file")
    try:
        if workers > 1:
            os.environ[_SETTINGS] = settings.to_json()
            uvicorn.run(f"{__name__}:from_environment", factory=True, workers=workers, timeout_worker_healthcheck=60, **common)
        else:
            for one in predictors:
                warm(one)
            uvicorn.run(settings.application(predictors), **common)
    except SystemExit as stopped:  # uvicorn has logged why, to stderr
        if stopped.code:
            raise InputError(f"could not serve on {host}:{port}; is the port taken? Choose another with --port") from None
    log.event("stopped")
