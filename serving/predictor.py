"""The one way to ask a model: load it once, ask it often.

    p = Predictor.load("models:/silicast-boosted@champion")     # or a model folder
    p.predict(workload, hardware).answer(0)
    p.predict_many([Query(w, h) for h in machines])

Every answer is in SI, says which model and version gave it, and carries the guard's verdict. No infinity and no NaN leaves without
one. A predictor that is loaded needs neither registry nor disk any more.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..datasets.errors import InputError, TableError, UnknownNameError
from ..datasets.hardware import Hardware
from ..datasets.measurement import Query
from ..datasets.table import GraphQuestions
from ..datasets.workload import Workload
from ..surrogates.base import Surrogate
from ..surrogates.card import ModelCard
from ..surrogates.prediction import Domain, Prediction
from . import guard
from .circumstances import completed

if TYPE_CHECKING:
    import pandas as pd

    from ..surrogates.quick_networks import QuickNetworks
    from .quick import Columns, OpAnswer, Quick

DEFAULT_MODEL = "models:/silicast-boosted@champion"
SIMULATOR = "simulator"
#: what stands in for answers outside the domain; None: nothing, they are only flagged
Fallback = Literal["simulate"] | None
#: verdicts after which the fallback answers
DOUBTED = ("extrapolating", "unsupported")


@dataclass(frozen=True)
class Mixed(Prediction):
    """A prediction in which the simulator stands in for some rows.

    `stand_in`: (n,) bool, True where the simulator answered; such a row names the simulator and has no interval.
    """

    stand_in: tuple[bool, ...] = ()
    simulator_version: str = ""

    def answer(self, row: int) -> dict[str, Any]:
        """As `Prediction.answer`; a row the simulator answered says so, at level 0."""
        told = super().answer(row)
        return {**told, "level": 0.0, "model": SIMULATOR, "version": self.simulator_version} if self.stand_in[row] else told

    def frame(self) -> pd.DataFrame:
        """As `Prediction.frame`, with the column `model`: who answered each row."""
        return super().frame().assign(model=[SIMULATOR if s else self.model for s in self.stand_in])


@dataclass(frozen=True)
class Predictor:
    """A loaded model. `name` and `version` are stamped on every answer; `source` is where it was loaded from."""

    surrogate: Surrogate
    card: ModelCard
    name: str
    version: str
    source: str

    @classmethod
    def load(cls, ref: str | Path = DEFAULT_MODEL) -> Predictor:
        """The model in a folder, behind `models:/NAME@alias` or `models:/NAME/VERSION` in the registry, or one that came with silicast: `ready:NAME`.

        A folder's version is what its card says, else `sha256:` and the first digits of its content's digest. Raises FormatError for a
        damaged folder, VersionError for one made by another feature version, UnknownNameError for an unknown model, RegistryError
        when the registry cannot be reached.
        """
        from ..surrogates import ready, store

        text = str(ref)
        if text.startswith("models:"):
            folder, version = registered(text)
        else:
            folder, version = ready.folder(text) if text.startswith(ready.PREFIX) else Path(text), ""
        surrogate, card = ready.load(text) if text.startswith(ready.PREFIX) else store.load(folder)
        name = card.name or folder.name
        if not version:
            version = card.version or f"sha256:{hashlib.sha256((folder / 'model.json').read_bytes()).hexdigest()[:12]}"
        return cls(surrogate, card, name, version, text)

    @classmethod
    def ready(cls, name: str = "networks") -> Predictor:
        """A model that came with silicast; `surrogates.ready.names()` names them."""
        return cls.load(f"ready:{name}")

    @property
    def targets(self) -> tuple[str, ...]:
        """What it answers."""
        return tuple(self.surrogate.targets)

    @property
    def shape(self) -> str:
        """The shape of questions it takes: graph (whole workloads), op (single operators) or features (rows of a plain table)."""
        return self.surrogate.shape

    @cached_property
    def quick(self) -> Quick | None:
        """The model's student, for questions about single operators in microseconds; None for a model without one (`silicast compile` adds it)."""
        student = getattr(self.surrogate, "student", None)
        if student is None or self.shape != "op":
            return None
        from .quick import Quick

        return Quick(student, self.card, self.name, self.version, self.predict_table)

    @cached_property
    def quick_networks(self) -> QuickNetworks | None:
        """The student of the simulator for whole networks, of a model that has one (`silicast compile simulator`); else None."""
        student = getattr(self.surrogate, "student", None)
        if student is None or self.shape != "graph":
            return None
        from ..surrogates.quick_networks import QuickNetworks

        return QuickNetworks(student, self.card.level, self.name, self.version, self._exact)

    def _exact(self, questions: Any) -> Prediction:
        """What the simulator itself says; nothing checks it but what is always checked."""
        with np.errstate(all="ignore"):
            answered = self.surrogate.predict(questions)
        return answered.with_domain(guard.verdicts({}, questions))

    def compiled(self, backend: str = "onnxruntime") -> Predictor:
        """The same model with its trees in ONNX Runtime (extra `measure`), or as machine code of this processor (`backend="lleaves"`, extra `compiled`; making it takes a minute or more):
        the same answers, sooner for few rows. Raises UnknownNameError for another back end, InputError for one that is not installed."""
        from ..surrogates.compiled_trees import compiled

        return replace(self, surrogate=compiled(self.surrogate, backend))

    def _quick(self) -> Quick:
        if self.quick is None:
            raise TableError(f"model {self.name!r} has no student; `silicast compile` gives one to a model of single operators. Without one ask predict_table")
        return self.quick

    def predict_op(self, kind: str, sizes: Mapping[str, float], hardware: Hardware | str, *, dtype: str = "float16", sure: bool = False, **context: str) -> OpAnswer:
        """The answer for one operator on one machine, in microseconds: `predict_op("gemm", {"m": 128, "n": 4096, "k": 4096}, "h100_sxm", framework="vllm")`.

        `context`: the circumstances in the model's card. `sure`: where the student is not sure of its verdict, the model itself answers. Raises TableError for a model without a student,
        InputError for what cannot be read.
        """
        return self._quick().one(kind, sizes, hardware, dtype, context, sure)

    def predict_columns(self, m: Any, n: Any, k: Any, hardware: Any, *, dtype: Any = "float16", b: Any = 1.0, threads: int = 0, sure: bool = False,
                        **context: Any) -> Columns:
        """N products of matrices at once: `predict_columns(m, n, k, "h100_sxm")`. Sizes are (N,) arrays or one number for all; `hardware`, `dtype` and
        circumstances are one value for all or N of them. `sure`: where the student is not sure of its verdict, the model itself answers (slowly).

        Raises TableError for a model without a student, InputError for what cannot be read.
        """
        return self._quick().gemms(m, n, k, hardware, dtype, context, b, threads, sure)

    def predict(self, workload: Workload, hardware: Hardware | str, *, fallback: Fallback = None) -> Prediction:
        """The answer for one workload on one machine (n = 1), given as such or by its name in the catalogue.

        Raises TableError when the model does not take whole workloads, UnknownNameError for an unknown machine, InputError for anything else.
        """
        workload, machine = _resolved("predict", workload, hardware)
        return self.predict_many(GraphQuestions.cross(workload, [machine]), fallback=fallback)

    def predict_many(self, queries: Sequence[Query] | GraphQuestions, *, fallback: Fallback = None) -> Prediction:
        """n answers, in order; a query may name its machine by key or alias. `fallback="simulate"` lets the simulator answer what lies outside
        the domain, labelled so. Raises InputError for what is no query."""
        questions = queries if isinstance(queries, GraphQuestions) else GraphQuestions.of(_queries(queries))
        if self.shape != "graph":
            raise TableError(f"model {self.name!r} answers {'single operators' if self.shape == 'op' else 'rows of a feature table'}, not whole workloads; "
                             "give it a table and its schema, or choose a model of whole workloads")
        return self.predict_table(questions, fallback=fallback)

    def predict_table(self, questions: Any, *, fallback: Fallback = None) -> Prediction:
        """n answers to questions of the shape the model takes, in order. Raises TableError for another shape."""
        if fallback not in (None, "simulate"):
            raise UnknownNameError("fallback", str(fallback), ("simulate",))
        if questions.shape != self.shape:
            raise TableError(f"model {self.name!r} takes {self.shape} questions, got {questions.shape} ones")
        if fallback and self.shape != "graph":
            raise TableError("fallback: the simulator answers whole workloads only; ask without it")
        if not len(questions):
            nothing = np.empty((0, len(self.targets)))
            return Prediction(self.targets, nothing, nothing, nothing, 0.0, (), self.name, self.version)
        if self.quick_networks is not None:
            told = guard.finite(self.quick_networks.predict(questions))
            return _stand_in(told, questions) if fallback else told
        questions = completed(questions, self.card)[0]
        with np.errstate(all="ignore"):  # an overflow is not lost: whatever is not finite is flagged below
            answered = self.surrogate.predict(questions)
            domain = guard.verdicts(self.card.domain, questions, answered)
        answered = guard.finite(answered.with_domain(domain).signed(self.name, self.version))
        return _stand_in(answered, questions) if fallback else answered


def _queries(given: Iterable[Query]) -> list[Query]:
    """The same queries with machines in place of their names. Raises InputError for what is no query, naming the first."""
    if isinstance(given, (str, bytes, Query)) or not isinstance(given, Iterable):
        raise InputError(f"predict_many: expected a sequence of Query(workload, hardware), got {type(given).__name__}")
    out = []
    for i, query in enumerate(given):
        if not isinstance(query, Query):
            raise InputError(f"query {i}: expected Query(workload, hardware), got {type(query).__name__}")
        _, machine = _resolved(f"query {i}", query.workload, query.hardware)
        out.append(query if machine is query.hardware else replace(query, hardware=machine))
    return out


def _resolved(where: str, workload: object, machine: object) -> tuple[Workload, Hardware]:
    """The two, a machine given by name looked up. Raises InputError for anything else, UnknownNameError for an unknown name."""
    if not isinstance(workload, Workload):
        raise InputError(f"{where}: expected a Workload (silicast.read gives one from a file), got {type(workload).__name__}")
    if isinstance(machine, (str, PathLike)):
        from ..datasets.catalog import hardware

        return workload, hardware(machine)
    if not isinstance(machine, Hardware):
        raise InputError(f"{where}: expected a Hardware or a name from the catalogue, got {type(machine).__name__}")
    return workload, machine


def registered(reference: str) -> tuple[Path, str]:
    """(folder, version) of a registered model; an alias is resolved to its version first, so that the two belong together."""
    from ..training import registry

    said = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/latest)", reference)
    if said is not None:
        name, alias = said.groups()
        versions = registry.show(name).versions
        found = next((v.version for v in versions if alias is None or alias in v.aliases), None)
        if found is not None:
            reference = f"models:/{name}/{found}"
    folder = registry.resolve(reference)
    return Path(folder), reference.rpartition("/")[2]


def known_targets(model: Predictor, targets: Sequence[str] | None) -> None:
    """Raises UnknownNameError for a target the model does not answer, InputError for one named twice; before it is asked anything."""
    for name in targets or ():
        if name not in model.targets:
            raise UnknownNameError(f"target of model {model.name}", name[:200], model.targets)
    if len(set(targets or ())) != len(targets or ()):
        raise InputError(f"targets: each at most once, got {', '.join(targets or ())}")


def select(prediction: Prediction, targets: Sequence[str] | None) -> Prediction:
    """The same answers for `targets` only, in that order (None or none: all). Raises InputError for one that is not there."""
    if not targets:
        return prediction
    at = [prediction.column(name) for name in targets]
    return replace(prediction, targets=tuple(targets), point=prediction.point[:, at], low=prediction.low[:, at], high=prediction.high[:, at])


def _stand_in(prediction: Prediction, questions: GraphQuestions) -> Prediction:
    """`prediction` with doubted rows answered by the simulator. What it cannot answer either is NaN, flagged, with the reason."""
    from ..datasets.simulator import SIMULATOR_VERSION, simulate_many

    rows = [i for i, d in enumerate(prediction.domain) if d.verdict in DOUBTED]
    if not rows:
        return prediction
    point, low, high = prediction.point.copy(), prediction.low.copy(), prediction.high.copy()
    domain = list(prediction.domain)
    of_workload: dict[int, list[int]] = {}
    for row in rows:
        of_workload.setdefault(int(questions.workload_index[row]), []).append(row)
    for w, asked in of_workload.items():
        with np.errstate(all="ignore"):
            answers = simulate_many(questions.workloads[w], [questions.devices[questions.device_index[row]] for row in asked])
        for row, answer in zip(asked, answers, strict=True):
            point[row] = [answer.values.get(name, np.nan) for name in prediction.targets]
            low[row] = high[row] = np.nan
            said = f"{domain[row].reason}; the simulator answers instead" + (f" ({answer.infeasible})" if answer.infeasible else "")
            domain[row] = Domain(domain[row].verdict, said)
    if len(rows) == len(prediction):
        return guard.finite(Prediction(prediction.targets, point, low, high, 0.0, tuple(domain), SIMULATOR, SIMULATOR_VERSION))
    clean = guard.finite(replace(prediction, point=point, low=low, high=high, domain=tuple(domain)))
    return Mixed(**vars(clean), stand_in=tuple(i in set(rows) for i in range(len(prediction))), simulator_version=SIMULATOR_VERSION)
