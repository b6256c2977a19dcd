"""One Gaussian process per machine: for tables in which the same work was measured on many.

Machines differ in what is cheap and in how noisy they are, so each gets columns, weights and noise of its own (`kernel`). A machine without rows of its own is
answered with the mean over all in logarithms, which is what `adapted` starts from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..datasets.errors import TableError
from ..datasets.table import FeatureQuestions, Questions, Table
from .kernel import Kernel
from .prediction import Prediction

#: rows below which a machine gets no process
LEAST_ROWS = 40


class ByValue:
    """The processes. `column`: whose values each get one. Deterministic in `seed`."""

    name = "by_value"

    def __init__(self, *, column: str, targets: Sequence[str] = ("latency_s",), seed: int = 0) -> None:
        self.column, self.targets = column, tuple(targets)
        self.shape = "features"
        self._seed = seed
        self._members: dict[str, Kernel] = {}

    def fit(self, table: Table, valid: Table | None = None) -> Self:
        """Learns a process for each value with rows enough. Raises TableError when there is none."""
        self._members = {}
        for value, rows in self._parts(table.questions):
            part = table.take(rows)
            if len(rows) >= LEAST_ROWS and all(np.isfinite(part.targets[t]).sum() >= LEAST_ROWS and np.ptp(part.targets[t][np.isfinite(part.targets[t])]) > 0 for t in self.targets):
                self._members[value] = self._fresh().fit(self._bare(part))
        if not self._members:
            raise TableError(f"by_value: no {self.column} has {LEAST_ROWS} rows with different answers")
        return self

    def learn_rows(self, table: Table) -> Self:
        """The same columns and weights on other rows; a value that has too few keeps none."""
        parts = dict(self._parts(table.questions))
        self._members = {v: m.learn_rows(self._bare(table.take(parts[v]))) for v, m in self._members.items() if v in parts and len(parts[v]) >= LEAST_ROWS // 2}
        return self

    def sibling(self) -> ByValue:
        """Other processes with the same columns and weights, and no rows yet."""
        other = ByValue(column=self.column, targets=self.targets, seed=self._seed)
        other._members = {v: m.sibling() for v, m in self._members.items()}
        return other

    def _fresh(self) -> Kernel:
        return Kernel(targets=self.targets, seed=self._seed, tuned_on=200, exact=1200, carriers=800, rounds=30)

    def _parts(self, questions: Any) -> list[tuple[str, np.ndarray]]:
        values = questions.frame[self.column].astype(str).to_numpy(dtype=str)
        return [(str(v), np.flatnonzero(values == v)) for v in np.unique(values)]

    def _bare(self, table: Table) -> Table:
        return Table(self._without(table.questions), {t: table.targets[t] for t in self.targets}, table.groups, table.slices, table.source)

    def _without(self, questions: Any) -> FeatureQuestions:
        return FeatureQuestions(questions.frame.drop(columns=[self.column]))

    def predict(self, questions: Questions) -> Prediction:
        """(n, t) answers in SI. Raises TableError for questions of another shape."""
        if questions.shape != self.shape:
            raise TableError(f"this model answers {self.shape} questions, got {questions.shape} ones")
        if not len(questions):
            return Prediction.nothing(self.targets)
        point = np.full((len(questions), len(self.targets)), np.nan)
        for value, rows in self._parts(questions):
            asked = self._without(questions.take(rows))
            if value in self._members:
                point[rows] = self._members[value].predict(asked).point
                continue
            known = np.stack([m.predict(asked).point for m in self._members.values()])
            positive = (known > 0).all(0)
            point[rows] = np.where(positive, np.exp(np.log(np.where(positive, known, 1.0)).mean(0)), known.mean(0))
        return Prediction.bare(self.targets, point)

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Each process with its files under its number."""
        spec: dict[str, Any] = {"column": self.column, "targets": list(self.targets), "seed": self._seed, "values": {}}
        files: dict[str, bytes] = {}
        for i, (value, member) in enumerate(self._members.items()):
            inner, content = member.weights()
            spec["values"][value] = {"spec": inner, "files": sorted(content)}
            files |= {f"{i}.{name}": data for name, data in content.items()}
        return spec, files

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path, member: Callable[[str], Any]) -> Self:
        """The inverse of `weights`; raises FormatError when a process is missing or damaged."""
        out = cls(column=spec["column"], targets=spec["targets"], seed=spec["seed"])
        for i, (value, told) in enumerate(spec["values"].items()):
            out._members[value] = Kernel.from_weights(told["spec"], {name: files[f"{i}.{name}"] for name in told["files"] if f"{i}.{name}" in files}, folder, member)
        return out
