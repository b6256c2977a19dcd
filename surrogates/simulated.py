"""The reference simulator as a model: what a student of it is held against, and who answers where the student has not learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..datasets.errors import TableError
from ..datasets.table import GraphQuestions, Questions, Table
from .prediction import Prediction


class Simulated:
    """The simulator. It learns nothing and has no intervals."""

    name = "simulated"
    shape = "graph"

    def __init__(self, targets: Sequence[str] = ("latency_s", "energy_j")) -> None:
        self.targets = tuple(targets)

    def fit(self, table: Table, valid: Table | None = None) -> Self:
        """Nothing to learn."""
        return self

    def predict(self, questions: Questions) -> Prediction:
        """(n, t) answers in SI, NaN where the simulator has none. Raises TableError for questions that are no whole networks."""
        from ..datasets.simulator import simulate_many

        if not isinstance(questions, GraphQuestions):
            raise TableError(f"the simulator as a model answers graph questions, got {questions.shape} ones")
        point = np.full((len(questions), len(self.targets)), np.nan)
        for w in np.unique(questions.workload_index):
            rows = np.flatnonzero(questions.workload_index == w)
            for row, told in zip(rows, simulate_many(questions.workloads[w], [questions.devices[questions.device_index[i]] for i in rows]), strict=True):
                point[row] = [told.values.get(t, np.nan) for t in self.targets]
        return Prediction.bare(self.targets, point)

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """The targets."""
        return {"targets": list(self.targets)}, {}

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path, member: Callable[[str], Any]) -> Self:
        """The inverse of `weights`."""
        return cls(spec["targets"])
