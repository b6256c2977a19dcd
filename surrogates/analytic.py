"""The baseline that learns almost nothing: the analytic estimate times one factor per stratum (device kind, or device of an op table)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..datasets.errors import TableError
from ..datasets.table import Questions, Table
from ..features.tabular import table_vocabulary, tabular_features
from .prediction import Prediction, consistent
from .target_scale import answers, floor_share


class Analytic:
    """`targets` must have an analytic reference (`features.tabular`); its factor is the median of truth over estimate."""

    name = "analytic"

    def __init__(self, *, targets: Sequence[str] = ("latency_s", "power_w", "energy_j", "memory_bytes")) -> None:
        self.targets = tuple(targets)
        self.shape = ""
        self._factors: dict[str, dict[str, float]] = {}
        self._share: dict[str, float] = {}
        self._vocabulary: dict[str, tuple[str, ...]] = {}

    def fit(self, table: Table, valid: Table | None = None) -> Self:
        """The factors; raises TableError when a target has no analytic reference."""
        self.shape = table.questions.shape
        self._vocabulary = table_vocabulary(table)
        features = tabular_features(table.questions, self._vocabulary)
        strata = table.questions.strata.astype(str)
        for name in self.targets:
            if name not in features.reference:
                raise TableError(f"analytic: no analytic estimate of {name!r} for {self.shape} questions; there is: {', '.join(features.reference) or 'none'}")
            truth = answers(name, table.targets, features.reference)
            self._share[name] = floor_share(name, truth, features)
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.log(truth / features.reference[name])
            good = np.isfinite(ratio)
            if not good.any():
                raise TableError(f"analytic: no row has a positive answer for {name!r}")
            factors = {s: float(np.exp(np.median(ratio[good & (strata == s)]))) for s in np.unique(strata[good])}
            self._factors[name] = {**factors, "": float(np.exp(np.median(ratio[good])))}
        return self

    def predict(self, questions: Questions) -> Prediction:
        """(n, t) estimates times the stratum's factor; an unseen stratum takes the factor of all."""
        if questions.shape != self.shape:
            raise TableError(f"this model answers {self.shape} questions, got {questions.shape} ones")
        if not len(questions):
            return Prediction.nothing(self.targets)
        features = tabular_features(questions, self._vocabulary)
        strata = questions.strata.astype(str)
        points = {}
        for name in self.targets:
            factors = self._factors[name]
            points[name] = features.reference[name] * np.array([factors.get(s, factors[""]) for s in strata])
            if name in features.floor:
                points[name] = np.maximum(points[name], self._share[name] * features.floor[name])
        points = consistent(points)
        return Prediction.bare(self.targets, np.column_stack([points[t] for t in self.targets]))

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Factors, in JSON alone."""
        return {"targets": list(self.targets), "shape": self.shape, "factors": self._factors, "share": self._share, "vocabulary": self._vocabulary}, {}

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path, member: Callable[[str], Any]) -> Self:
        """The inverse of `weights`."""
        out = cls(targets=spec["targets"])
        out.shape, out._factors, out._share = spec["shape"], dict(spec["factors"]), dict(spec["share"])
        out._vocabulary = {k: tuple(v) for k, v in spec["vocabulary"].items()}
        return out
