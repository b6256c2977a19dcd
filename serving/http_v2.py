"""`/v2`: the Open Inference Protocol (KServe V2, REST), so that clients that speak it need nothing of ours.

Inputs are the columns of a model's questions (`http_columns.fields`): texts as BYTES, numbers as FP64 or integers, all of one length n (or of
shape [n, 1]). Outputs are T, T_low, T_high, novelty (FP64), domain, domain_reason, nearest, error (BYTES) and calibrated (BOOL), each of shape [n]; a
figure that is not there is null.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from .. import __version__
from ..datasets.errors import FormatError, InputError, UnknownNameError
from . import http_columns
from .http_bulk import ask
from .http_route import JSON, Asked, Refusal, Route, Told, json_told, read

#: datatypes of the protocol that are read as numbers
NUMERIC = ("FP64", "FP32", "FP16", "INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8")
_Open = ConfigDict(extra="ignore", strict=True, protected_namespaces=())
_Size = Annotated[int, Field(ge=0, le=2**31)]


class Live(BaseModel):
    """The process runs."""

    live: bool


class ServerReady(BaseModel):
    """A model is loaded."""

    ready: bool


class Server(BaseModel):
    """What this server is."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """One input or output; -1 stands for any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """A model's inputs and outputs."""

    model_config = ConfigDict(protected_namespaces=())
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, Any]


class ModelReady(BaseModel):
    """Whether a model answers."""

    name: str
    ready: bool


class InferInput(BaseModel):
    """One column of n questions."""

    model_config = _Open
    name: str
    shape: Annotated[list[_Size], Field(min_length=1, max_length=2)]
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] | None = None


class InferOutputAsked(BaseModel):
    """An output that is wanted."""

    model_config = _Open
    name: str
    parameters: dict[str, Any] | None = None


class InferRequest(BaseModel):
    """n questions as columns."""

    model_config = _Open
    id: str | None = None
    inputs: Annotated[list[InferInput], Field(min_length=1, max_length=200)]
    outputs: list[InferOutputAsked] | None = None
    parameters: dict[str, Any] | None = None


class InferOutput(BaseModel):
    """One column of n answers."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class InferResponse(BaseModel):
    """n answers as columns."""

    model_config = ConfigDict(protected_namespaces=())
    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, Any]
    outputs: list[InferOutput]


async def server(desk: Any, asked: Asked) -> Told:
    """What this server is."""
    return json_told({"name": "silicast", "version": __version__, "extensions": []})


async def live(desk: Any, asked: Asked) -> Told:
    """The process runs."""
    return json_told({"live": True})


async def ready(desk: Any, asked: Asked) -> Told:
    """A model is loaded and answers."""
    there = bool(desk.shelf.all())
    return json_told({"ready": there}, 200 if there else 503)


def _loaded(desk: Any, asked: Asked) -> Any:
    return desk.shelf.get(asked.path["model"], asked.path.get("version"))


async def metadata(desk: Any, asked: Asked) -> Told:
    """A model's inputs and outputs."""
    loaded = _loaded(desk, asked)
    model = loaded.predictor
    inputs = [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in http_columns.fields(model).items()]
    outputs = [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in _outputs(model)]
    return json_told({"name": loaded.name, "versions": [loaded.version], "platform": f"silicast_{model.surrogate.name}", "inputs": inputs, "outputs": outputs,
                      "parameters": {"level": float(model.card.level), "shape": model.shape, "units": {k: str(v) for k, v in model.card.units.items()}}})


def _outputs(model: Any) -> list[tuple[str, str]]:
    figures = [(name + ending, "FP64") for name in model.targets for ending in ("", "_low", "_high")]
    return [*figures, ("domain", "BYTES"), ("domain_reason", "BYTES"), ("calibrated", "BOOL"), ("novelty", "FP64"), ("nearest", "BYTES"), ("error", "BYTES")]


async def model_ready(desk: Any, asked: Asked) -> Told:
    """Whether a model answers."""
    return json_told({"name": _loaded(desk, asked).name, "ready": True})


async def infer(desk: Any, asked: Asked) -> Told:
    """Answers to n questions."""
    loaded = _loaded(desk, asked)
    given = read(InferRequest, asked)
    lengths = {_rows(one) for one in given.inputs}
    if len(lengths) != 1:
        raise FormatError(f"inputs: all must have the same length; got {', '.join(map(str, sorted(lengths)))}")
    count = lengths.pop()
    if count > desk.limits.rows:
        raise Refusal(413, f"inputs: {count:,} rows; {desk.limits.rows:,} are the most at once")
    names = [one.name for one in given.inputs]
    if len(set(names)) != len(names):
        raise FormatError("inputs: two have the same name")
    known = dict(_outputs(loaded.predictor))
    wanted = [one.name for one in given.outputs] if given.outputs else list(known)
    for name in wanted:
        if name not in known:
            raise UnknownNameError("output", name[:80], known)
    fallback = (given.parameters or {}).get("fallback")
    if fallback not in (None, "simulate"):
        raise UnknownNameError("fallback", str(fallback)[:80], ("simulate",))

    def work() -> tuple[dict[str, list[Any]], float]:
        answered = ask(desk, loaded, {one.name: _column(one) for one in given.inputs}, count, fallback)
        return answered.json_columns(), answered.level

    columns, level = await desk.heavy(work)
    outputs = [{"name": name, "shape": [count], "datatype": known[name], "data": columns[name]} for name in wanted]
    return json_told({"model_name": loaded.name, "model_version": loaded.version, "id": given.id, "parameters": {"level": level}, "outputs": outputs},
                     model=loaded.name, version=loaded.version, rows=count)


def _rows(one: InferInput) -> int:
    size = math.prod(one.shape)
    if len(one.shape) == 2 and one.shape[1] != 1:
        raise FormatError(f"inputs.{one.name[:80]}: expected the shape [n] or [n, 1], got {one.shape}")
    if size != len(one.data):
        raise FormatError(f"inputs.{one.name[:80]}: shape {one.shape} has {size} elements, data has {len(one.data)}")
    return size


def _column(one: InferInput) -> http_columns.Column:
    if one.datatype not in ("BYTES", *NUMERIC):
        raise UnknownNameError(f"datatype of {one.name[:80]}", one.datatype[:80], ("BYTES", *NUMERIC))
    found = http_columns.column(one.name, one.data)
    if isinstance(found, http_columns.Coded) != (one.datatype == "BYTES") and any(value is not None for value in one.data):
        raise InputError(f"inputs.{one.name[:80]}: datatype {one.datatype}, but data holds {'texts' if isinstance(found, http_columns.Coded) else 'numbers'}")
    return found


_MODEL = "/v2/models/{model}"
_VERSION = f"{_MODEL}/versions/{{version}}"
ROUTES: tuple[Route, ...] = (
    Route("GET", "/v2", server, Server, faults=(429,)),
    Route("GET", "/v2/health/live", live, Live, open=True),
    Route("GET", "/v2/health/ready", ready, ServerReady, open=True, faults=(503,)),
    Route("GET", _MODEL, metadata, ModelMetadata, faults=(404, 429, 503), also=(_VERSION,)),
    Route("GET", f"{_MODEL}/ready", model_ready, ModelReady, faults=(404, 429, 503), also=(f"{_VERSION}/ready",)),
    Route("POST", f"{_MODEL}/infer", infer, InferResponse, {JSON: InferRequest}, (404, 413, 415, 422, 429, 503), also=(f"{_VERSION}/infer",)),
)
