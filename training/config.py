"""What an experiment is: one YAML file, read into a frozen, typed value. The help text stands beside each field.

    name: first-light
    seed: 7
    data: {generate: {out: data/first-light, count: 2000}}
    hold_out_devices: [jetson_agx_orin]
    targets: [latency_s, power_w, energy_j]
    surrogates:
      - {member: boosted, register_as: cost-boosted, settings: {trees: 400}}

An unknown key or a wrong type is an error that names the file, the field and what is allowed; nothing is guessed. Paths are
relative to the working directory, as is the default registry `sqlite:///mlflow.db`.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from ..datasets.errors import FormatError, UnknownNameError
from ..datasets.measurement import target
from ..surrogates.store import MEMBERS

#: the parts a table is cut into: learn, stop early, calibrate intervals, judge
PARTS = ("train", "valid", "calibrate", "test")

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=120)]
Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Generate(_Part):
    """How much labelled data to make with the reference simulator, and where to put it."""

    out: Path = Field(description="folder the sharded table is written to; complete shards that are there are kept")
    count: int = Field(gt=0, description="labelled rows (workload x machine)")
    devices: tuple[str, ...] | None = Field(default=None, description="catalogue keys to sample from; default: every device of the catalogue")
    sampled_devices: int | None = Field(default=None, ge=0, description="made-up machines drawn around those, per kind of device; default: the generator's")
    per_workload: int | None = Field(default=None, gt=0, description="machines that each workload meets; default: the generator's")
    workers: int | None = Field(default=None, gt=0, description="processes; default: one per core. The rows are the same whatever it is")
    families: tuple[str, ...] | None = Field(default=None, description="workload families to sample from; default: all")


class Data(_Part):
    """Where the labelled table comes from: exactly one of the two."""

    generated: Path | None = Field(default=None, description="folder of a table that was generated before")
    generate: Generate | None = Field(default=None, description="generate a table first")

    @model_validator(mode="after")
    def _one_source(self) -> Data:
        if (self.generated is None) == (self.generate is None):
            raise ValueError("expected exactly one of 'generated: PATH' or 'generate: {out, count, ...}'")
        return self


class Split(_Part):
    """Fractions of the workload groups (not rows): a workload never stands on both sides."""

    train: Fraction = Field(default=0.7, description="what the surrogates learn from")
    valid: Fraction = Field(default=0.1, description="stops training early")
    calibrate: Fraction = Field(default=0.1, description="sets the width of the intervals")
    test: Fraction = Field(default=0.1, description="judges; nothing else ever sees it")

    @model_validator(mode="after")
    def _whole(self) -> Split:
        total = sum(self.fractions.values())
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"{' + '.join(PARTS)} must be 1, got {total:g}")
        return self

    @property
    def fractions(self) -> dict[str, float]:
        """Part -> fraction, in the order of `PARTS`."""
        return {part: getattr(self, part) for part in PARTS}


class SurrogateSpec(_Part):
    """One model to train."""

    member: str = Field(description="a surrogate of surrogates.store.MEMBERS: analytic, boosted, graphnet")
    register_as: Name = Field(description="its name in the model registry: letters, digits, '_', '.', '-'")
    settings: dict[str, Any] = Field(default_factory=dict, description="keyword settings of that member, such as trees or epochs")

    @model_validator(mode="after")
    def _known(self) -> SurrogateSpec:
        known = [name for name in MEMBERS if name != "conformal"]  # every model is wrapped in it anyway
        if self.member not in known:
            raise ValueError(str(UnknownNameError("surrogate", self.member, known)))
        taken = {"targets", "seed"} & set(self.settings)
        if taken:
            raise ValueError(f"settings: {', '.join(sorted(taken))} belongs at the top of the experiment, not here")
        return self


class Experiment(_Part):
    """Everything that decides how models are made; the same file and seed give the same models.

    `Experiment.load(path)` reads YAML. Raises FormatError with one line naming file, field and what is allowed.
    """

    name: Name = Field(description="name of the experiment, also its run's name")
    seed: int = Field(default=0, ge=0, description="seed of sampling, splitting and training")
    data: Data = Field(description="where the labelled table comes from")
    hold_out_devices: tuple[str, ...] = Field(default=(), description="device keys never trained on: how well do models do on hardware they have not seen?")
    split: Split = Field(default_factory=Split, description="fractions of train, valid, calibrate, test")
    targets: tuple[str, ...] = Field(default=("latency_s", "power_w", "energy_j"), min_length=1, description="what to forecast, by target name")
    surrogates: tuple[SurrogateSpec, ...] = Field(min_length=1, description="the models to train")
    level: float = Field(default=0.9, gt=0.5, lt=1.0, description="share of answers the intervals should hold")
    tracking_uri: str | None = Field(default=None, description="MLflow store; default: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db in the working directory")
    experiment: str = Field(default="silicast", min_length=1, description="name of the MLflow experiment that runs are filed under")
    out: Path = Field(default=Path("out"), description="folder for model folders, pictures and the report; NAME is appended")

    @model_validator(mode="after")
    def _agrees(self) -> Experiment:
        for name in self.targets:
            try:
                target(name)
            except UnknownNameError as error:
                raise ValueError(f"targets: {error}") from None
        for what, names in (("targets", self.targets), ("hold_out_devices", self.hold_out_devices),
                            ("surrogates: register_as", tuple(s.register_as for s in self.surrogates))):
            twice = sorted({n for n in names if names.count(n) > 1})
            if twice:
                raise ValueError(f"{what}: {', '.join(twice)} is named more than once")
        return self

    @property
    def folder(self) -> Path:
        """Where this experiment writes: `out/NAME`."""
        return self.out / self.name

    @classmethod
    def load(cls, path: str | Path) -> Experiment:
        """The experiment in a YAML file. Raises FormatError."""
        try:
            document = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_OnceLoader)
        except FileNotFoundError:
            raise FormatError(f"{path}: no such file; expected an experiment in YAML (docs/experiment.yaml is an example)") from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
            raise FormatError(f"{path}: not readable YAML: {' '.join(str(error).split())}") from None
        return cls.of(document, str(path))

    @classmethod
    def of(cls, document: Any, where: str = "experiment") -> Experiment:
        """The experiment in a plain dict; `where` is named in errors. Raises FormatError."""
        if not isinstance(document, dict):
            raise FormatError(f"{where}: expected a mapping with the keys {', '.join(cls.model_fields)}, got {type(document).__name__}")
        try:
            text = json.dumps(document, default=str)  # through JSON: its strict types still let a list be a tuple and a string a path
        except (TypeError, ValueError, RecursionError) as error:
            raise FormatError(f"{where}: not a plain document ({error})") from None
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            faults = [_fault(d) for d in error.errors() if not (d["type"] == "too_short" and d["input"])]  # an echo of faults within
            raise FormatError(f"{where}: {'; '.join(faults[:4])}" + (f"; and {len(faults) - 4} more" if len(faults) > 4 else "")) from None

    def to_json(self) -> dict[str, Any]:
        """A plain dict; `Experiment.of` gives back an equal experiment."""
        out: dict[str, Any] = self.model_dump(mode="json")
        out["data"] = {k: v for k, v in out["data"].items() if v is not None}
        return out


class _OnceLoader(yaml.SafeLoader):
    """YAML in which a key given twice is an error; plain YAML lets the last one win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(k) for k in keys if keys.count(k) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"the key {', '.join(sorted(twice))} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _fault(detail: ErrorDetails) -> str:
    """One fault in words: field path, what was got, what is allowed."""
    *above, last = detail["loc"] or ("experiment",)
    path = ".".join(map(str, detail["loc"])) or "experiment"
    if detail["type"] == "extra_forbidden":
        allowed = list(_fields_at(above))
        near = difflib.get_close_matches(str(last), allowed, n=1)
        return f"{path}: unknown key" + (f"; did you mean {near[0]!r}?" if near else "") + f" (allowed: {', '.join(allowed)})"
    if detail["type"] == "missing":
        field = _fields_at(above).get(str(last))
        return f"{path}: missing" + (f"; expected {field.description}" if field is not None else "")
    if detail["type"] == "value_error":
        return ("" if not detail["loc"] else f"{path}: ") + str(detail["ctx"]["error"])
    got = repr(detail["input"])
    wanted = "at least one entry" if detail["type"] == "too_short" else detail["msg"].removeprefix("Input should be ").replace("String should", "text that should")
    return f"{path}: expected {wanted}, got {got if len(got) <= 60 else got[:57] + '...'}"


def _fields_at(path: list[int | str]) -> dict[str, Any]:
    """The fields of the part of the experiment that `path` leads to."""
    part: type[BaseModel] = Experiment
    for step in path:
        if isinstance(step, str) and step in part.model_fields:
            kinds = [part.model_fields[step].annotation]
            while kinds and not (isinstance(kinds[0], type) and issubclass(kinds[0], BaseModel)):
                kinds = [*get_args(kinds[0]), *kinds[1:]]
            part = kinds[0] if kinds else part  # type: ignore[assignment]
    return part.model_fields
