"""The table of questions and answers that a surrogate learns from and is judged on.

Questions come in three shapes, all columnar, all answering `len()` and `take(index)`:

* `GraphQuestions`: whole workloads on machines;
* `OpQuestions`: single operators on machines, in circumstances (framework, kernel source);
* `FeatureQuestions`: rows of a plain feature table.

A `Table` adds the answers (targets in SI), the groups that must not be split apart, and the slices errors are reported by.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np

from .columns import DeviceColumns, OpColumns
from .errors import TableError, UnknownNameError
from .hardware import Hardware
from .measurement import Query, target
from .workload import Workload

if TYPE_CHECKING:
    import pandas as pd


def _no_columns() -> pd.DataFrame:
    """A frame without columns. Pandas loads when there is a frame to be made: questions about whole networks have none, and a cold process answers one sooner."""
    import pandas as pd

    return pd.DataFrame()


@runtime_checkable
class Questions(Protocol):
    """n questions of one shape."""

    shape: str

    def __len__(self) -> int: ...

    def take(self, index: np.ndarray) -> Self:
        """The questions `index` (integers or a boolean mask of length n)."""
        ...

    @property
    def strata(self) -> np.ndarray:
        """(n,) labels within which intervals are calibrated separately (device kind; one label where there is none)."""
        ...


@dataclass(frozen=True)
class GraphQuestions:
    """n (workload, machine) pairs: unique workloads and machines, and an index into each per row."""

    workloads: tuple[Workload, ...]
    devices: tuple[Hardware, ...]
    workload_index: np.ndarray  # (n,) int64
    device_index: np.ndarray    # (n,) int64
    shape = "graph"

    def __len__(self) -> int:
        return len(self.workload_index)

    def take(self, index: np.ndarray) -> GraphQuestions:
        """The pairs `index`; workloads and machines nobody asks about any more are let go."""
        rows_w, rows_d = self.workload_index[index], self.device_index[index]
        used_w, new_w = np.unique(rows_w, return_inverse=True)
        used_d, new_d = np.unique(rows_d, return_inverse=True)
        return GraphQuestions(tuple(self.workloads[i] for i in used_w), tuple(self.devices[i] for i in used_d), new_w.astype(np.int64), new_d.astype(np.int64))

    @property
    def strata(self) -> np.ndarray:
        """(n,) device kinds."""
        return np.array([d.kind for d in self.devices], dtype=object)[self.device_index] if len(self) else np.array([], dtype=object)

    @cached_property
    def device_columns(self) -> DeviceColumns:
        """The unique machines as columns."""
        return DeviceColumns.from_devices(self.devices)

    @classmethod
    def of(cls, queries: Sequence[Query]) -> GraphQuestions:
        """Queries as columns; equal workloads and machines are kept once."""
        workloads: dict[str, int] = {}
        devices: dict[tuple[str, str], int] = {}
        w_index = [workloads.setdefault(q.workload.digest, len(workloads)) for q in queries]
        d_index = [devices.setdefault((q.hardware.key, q.hardware.digest), len(devices)) for q in queries]
        by_w = {q.workload.digest: q.workload for q in reversed(queries)}
        by_d = {(q.hardware.key, q.hardware.digest): q.hardware for q in reversed(queries)}
        return cls(tuple(by_w[d] for d in workloads), tuple(by_d[d] for d in devices), np.array(w_index, dtype=np.int64), np.array(d_index, dtype=np.int64))

    @classmethod
    def cross(cls, workload: Workload, devices: Sequence[Hardware]) -> GraphQuestions:
        """One workload on each of the machines, in order."""
        return cls((workload,), tuple(devices), np.zeros(len(devices), dtype=np.int64), np.arange(len(devices)))


@dataclass(frozen=True)
class OpQuestions:
    """n operators on machines. `device_names` are as the table writes them; `devices` holds None for one that no catalogue
    knows (it is known only by its rows). `context` holds categorical circumstances, one column each, n rows."""

    ops: OpColumns
    device_names: tuple[str, ...]
    devices: tuple[Hardware | None, ...]
    device_index: np.ndarray  # (n,) int64
    context: pd.DataFrame = field(default_factory=_no_columns)
    extra: pd.DataFrame = field(default_factory=_no_columns)  # further numeric inputs, n rows
    shape = "op"

    def __len__(self) -> int:
        return len(self.ops)

    def take(self, index: np.ndarray) -> OpQuestions:
        """The rows `index`; the list of machines stays as it is."""
        return OpQuestions(self.ops.take(index), self.device_names, self.devices, self.device_index[index],
                           self.context.iloc[_positions(index)].reset_index(drop=True), self.extra.iloc[_positions(index)].reset_index(drop=True))

    @property
    def strata(self) -> np.ndarray:
        """(n,) device names: op tables have few machines and many rows of each."""
        return np.array(self.device_names, dtype=object)[self.device_index]


@dataclass(frozen=True)
class FeatureQuestions:
    """n rows of a plain feature table: numeric columns and categorical (object or category) ones. `machine_column`: the one that its schema says names machines, "" without.
    `units`: what numbers are in, of columns whose cells carried a unit."""

    frame: pd.DataFrame
    machine_column: str = ""
    units: Mapping[str, str] = field(default_factory=dict)
    shape = "features"

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, index: np.ndarray) -> FeatureQuestions:
        """The rows `index`."""
        return FeatureQuestions(self.frame.iloc[_positions(index)].reset_index(drop=True), self.machine_column, self.units)

    @property
    def strata(self) -> np.ndarray:
        """One stratum."""
        return np.full(len(self), "all", dtype=object)


def _positions(index: np.ndarray) -> np.ndarray:
    return np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64, copy=False)


@dataclass(frozen=True)
class Table:
    """Questions with their answers.

    `targets`: target name -> (n,) float64 in SI, NaN where that row has no such answer.
    `groups`: (n,) labels; rows of one group never stand on both sides of a split.
    `slices`: DataFrame of n rows whose columns name slices for reports (family, device, kind).
    `source`: where the answers come from; `digest` identifies the content.
    Raises TableError when lengths disagree.
    """

    questions: Any
    targets: Mapping[str, np.ndarray]
    groups: np.ndarray
    slices: pd.DataFrame
    source: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.questions)
        for name, values in self.targets.items():
            if len(values) != n:
                raise TableError(f"table: target {name} has {len(values)} rows, the questions {n}")
        if len(self.groups) != n or len(self.slices) != n:
            raise TableError(f"table: {len(self.groups)} groups and {len(self.slices)} slice rows for {n} questions")

    def __len__(self) -> int:
        return len(self.questions)

    def take(self, index: np.ndarray) -> Table:
        """The rows `index` (integers or a boolean mask)."""
        asked = np.asarray(index)
        if asked.dtype == bool and len(asked) != len(self):
            raise TableError(f"table: a mask of {len(asked)} rows for a table of {len(self)}")
        rows = _positions(asked)
        return Table(self.questions.take(rows), {k: v[rows] for k, v in self.targets.items()}, self.groups[rows],
                     self.slices.iloc[rows].reset_index(drop=True), self.source, self.notes)

    def answered(self, name: str) -> Table:
        """Only the rows that have an answer for `name`; raises TableError when there is none."""
        if name not in self.targets:
            raise TableError(f"table from {self.source} has no target {name!r}; it has: {', '.join(self.targets)}")
        have = np.isfinite(self.targets[name])
        if not have.any():
            raise TableError(f"table from {self.source}: no row has an answer for {name!r}")
        return self if have.all() else self.take(have)

    @cached_property
    def digest(self) -> str:
        """16 hex digits over groups and answers, row order included."""
        sha = hashlib.sha256()
        sha.update("\n".join(map(str, self.groups)).encode())
        for name in sorted(self.targets):
            sha.update(name.encode())
            sha.update(np.ascontiguousarray(self.targets[name], dtype=np.float64).tobytes())
        return sha.hexdigest()[:16]


def target_unit(name: str) -> str:
    """The SI unit of a target; free target names of plain feature tables carry none."""
    try:
        return target(name).unit
    except UnknownNameError:
        return ""
