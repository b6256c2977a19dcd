"""The documents that travel over HTTP, as the OpenAPI document describes them. SI throughout."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

#: machines in one request
MOST_MACHINES = 1024

Machine = str | dict[str, Any]
Targets = Annotated[list[str] | None, Field(description="which targets to answer, in this order; default: all the model has")]
Fallback = Annotated[Literal["simulate"] | None, Field(description="'simulate': the reference simulator answers what lies outside the model's domain")]
Speed = Annotated[Literal["exact", "columns"] | None, Field(description="'exact': the model itself answers, not its student; default: the student where it has learned")]
_Strict = ConfigDict(extra="forbid", strict=True, protected_namespaces=())
_WORKLOAD = "a silicast workload document (format silicast-workload/1), or the digest of one this server has read"
_MACHINE = "a catalogue key or alias, or a hardware document (silicast-hardware/1, or the catalogue's form as JSON)"


class Item(BaseModel):
    """One question in a list: a workload, an operator or a row of features, as the model takes, on one machine."""

    model_config = _Strict
    workload: dict[str, Any] | str | None = Field(default=None, description=_WORKLOAD)
    op: dict[str, Any] | None = Field(default=None, description="one operator: kind, its dimensions by name, dtype")
    features: dict[str, Any] | None = Field(default=None, description="one row of a plain feature table")
    context: dict[str, str] = Field(default={}, description="categorical circumstances, such as framework")
    hardware: Machine | None = Field(default=None, description=_MACHINE)


class PredictRequest(BaseModel):
    """One question, on one machine or several."""

    model_config = _Strict
    workload: dict[str, Any] | str | None = Field(default=None, description=_WORKLOAD)
    op: dict[str, Any] | None = Field(default=None, description="one operator: kind, its dimensions by name, dtype")
    features: dict[str, Any] | None = Field(default=None, description="one row of a plain feature table")
    context: dict[str, str] = Field(default={}, description="categorical circumstances, such as framework")
    hardware: Annotated[list[Machine], Field(min_length=1, max_length=MOST_MACHINES)] | Machine | None = Field(default=None, description=f"{_MACHINE}, or a list of these")
    targets: Targets = None
    fallback: Fallback = None
    model: str | None = Field(default=None, description="a model this server has loaded; default: the first")
    speed: Speed = None


class BulkRequest(BaseModel):
    """Many questions: `items` one by one, or `columns` of equal length (a model of operators or of plain features, or workload digests)."""

    model_config = _Strict
    items: list[Any] | None = Field(default=None, description="each as `Item`; one that cannot be read gets an error of its own")
    columns: dict[str, list[Any]] | None = Field(default=None, description="column name -> n values")
    targets: Targets = None
    fallback: Fallback = None
    model: str | None = None
    speed: Speed = None


class SimulateRequest(BaseModel):
    """A workload on machines, for the reference simulator."""

    model_config = _Strict
    workload: dict[str, Any] | str = Field(description=_WORKLOAD)
    hardware: Annotated[list[Machine], Field(min_length=1, max_length=MOST_MACHINES)] | Machine = Field(description=f"{_MACHINE}, or a list of these")
    objective: Literal["latency", "energy", "edp"] = "latency"
    clock_hz: float | None = Field(default=None, gt=0, description="what if the machines ran at this clock")
    power_limit_w: float | None = Field(default=None, gt=0, description="what if they were capped at this power")
    ops: bool = Field(default=False, description="every operator's share as well")


class TruthItem(BaseModel):
    """What was measured for a prediction made before."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())
    id: Annotated[str, Field(min_length=1, max_length=100)]
    targets: Annotated[dict[str, float], Field(min_length=1)] = Field(description="target -> measured value in SI")
    measured_at_s: float | None = Field(default=None, description="seconds since 1970; default: now")


class TruthRequest(BaseModel):
    """Measured truth for past predictions."""

    model_config = _Strict
    truths: list[Any] = Field(description="each as `TruthItem`; one that cannot be read gets an error of its own")


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
    novelty: float | None = Field(description="how much the answer is to be doubted: one in twenty rows held out of training lay beyond 1; null where a student answered or the card tells none")
    nearest: str | None = Field(description="the trained row most like the question; null where `novelty` is, or the card names none")


class Answer(BaseModel):
    """The answer for one machine. `level` is the share of answers the intervals hold for rows in the domain, 0 where there is none;
    `calibrated` is false where that is not claimed for this answer: it is outside the domain, or lacks an interval. `id` names this
    answer when its measured truth is sent later."""

    id: str
    hardware: str
    targets: dict[str, Value]
    level: float
    calibrated: bool
    domain: Verdict
    model: str
    version: str
    speed: Literal["columns", "exact"] = Field(description="who spoke: the model's student (columns) or the model itself")


class PredictResponse(BaseModel):
    """One answer per machine asked about, in order. `workload` and its digest are "" for a question that is none."""

    workload: str
    workload_digest: str
    predictions: list[Answer]


class BulkResponse(BaseModel):
    """Per item an answer or `{"error": ...}`, in order; or the columns T, T_low, T_high, domain, domain_reason, calibrated, novelty, nearest, error."""

    model_config = ConfigDict(protected_namespaces=())
    model: str
    version: str
    level: float
    units: dict[str, str]
    rows: int
    failed: int
    speed: Literal["columns", "exact", "mixed"] = Field(description="who spoke: the model's student (columns), the model itself, or each for some rows")
    results: list[dict[str, Any]] | None = None
    columns: dict[str, list[Any]] | None = None


class SimulateResponse(BaseModel):
    """One answer of the reference simulator per machine, in order."""

    model_config = ConfigDict(protected_namespaces=())
    workload: str
    workload_digest: str
    model: Literal["simulator"]
    version: str
    units: dict[str, str]
    answers: list[dict[str, Any]]


class WorkloadResponse(BaseModel):
    """What was found in an uploaded file. `digest` may stand for the workload in later questions, while this process remembers it."""

    digest: str
    summary: dict[str, Any]
    document: dict[str, Any] | None = None


class HardwareList(BaseModel):
    """The catalogue."""

    devices: list[dict[str, Any]]


class HardwareOne(BaseModel):
    """One machine with the source of every figure."""

    model_config = ConfigDict(extra="allow")
    key: str
    digest: str


class LoadedModel(BaseModel):
    """A model this server answers with."""

    name: str
    version: str
    source: str
    shape: Literal["graph", "op", "features"]
    targets: list[str]
    units: dict[str, str]
    level: float


class ModelList(BaseModel):
    """The models loaded; the first answers where no other is named."""

    models: list[LoadedModel]


class Health(BaseModel):
    """The process runs."""

    status: Literal["ok"]
    silicast: str


class Registry(BaseModel):
    """Where the loaded models came from: `unused` (folders), `reachable`, `slow` or `gone` since when, and what it said."""

    state: Literal["unused", "reachable", "slow", "gone"]
    since_s: float | None
    error: str
    refused: dict[str, str] = Field(description="versions an alias moved to that could not be loaded -> why; the model before goes on")


class Ready(BaseModel):
    """A model is loaded and answers, whether or not the registry does."""

    status: Literal["ready"]
    model: str
    version: str
    targets: list[str]
    models: dict[str, str]
    registry: Registry


class TruthResponse(BaseModel):
    """`accepted` truths are on disk; `unmatched` of them name a prediction this store does not know (yet), and are kept all the same."""

    accepted: int
    unmatched: int
    errors: list[dict[str, Any]]


class DriftResponse(BaseModel):
    """Coverage and error by slice over time; `flagged` where the interval no longer covers."""

    model_config = ConfigDict(extra="allow")
    flagged: bool
    slices: list[dict[str, Any]]


class Fault(BaseModel):
    """What went wrong, in one line: got, expected, where, what to do."""

    error: str
