"""`/healthz`, `/readyz`, `/metrics`: for those who watch over the process. They need no token and no free slot."""

from __future__ import annotations

from typing import Any

from .. import __version__
from . import http_documents as documents
from . import metrics as figures
from .http_route import Asked, Route, Told, json_told


async def healthz(desk: Any, asked: Asked) -> Told:
    """The process runs."""
    return json_told({"status": "ok", "silicast": __version__})


async def readyz(desk: Any, asked: Asked) -> Told:
    """A model is loaded: which, in which version; and how the registry is, which a loaded model does not need."""
    ready = desk.shelf.get()
    return json_told({"status": "ready", "model": ready.name, "version": ready.version, "targets": list(ready.predictor.targets),
                      "models": {one.name: one.version for one in desk.shelf.all()}, "registry": desk.shelf.registry()})


async def metrics(desk: Any, asked: Asked) -> Told:
    """Figures of this process for Prometheus."""
    desk.gauges()
    return Told(desk.metrics.text().encode(), media=figures.MEDIA)


ROUTES: tuple[Route, ...] = (
    Route("GET", "/healthz", healthz, documents.Health, open=True),
    Route("GET", "/readyz", readyz, documents.Ready, faults=(503,), open=True),
    Route("GET", "/metrics", metrics, None, faults=(401,)),
)
