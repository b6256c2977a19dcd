"""The least that can be learned of an op table: where each machine settles (`anchor`), and nothing else. A few parameters a kernel: right about sizes far beyond
those measured and about machines never seen where members that know more are lost, and wrong by what they know within."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..datasets.errors import TableError
from ..datasets.table import OpQuestions, Questions, Table
from ..features.tabular import table_vocabulary, tabular_features
from .kin import Kin
from .prediction import Prediction
from .target_scale import all_points, answers, floor_share, learned_targets


class Anchored:
    """References moved to where the machines settle. A target without a reference is answered with its median."""

    name = "anchored"

    def __init__(self, *, targets: Sequence[str] = ("latency_s",), seed: int = 0) -> None:
        self.targets = tuple(targets)
        self.shape = ""
        self._seed = seed
        self._kin: Kin | None = None
        self._vocabulary: dict[str, tuple[str, ...]] = {}
        self._share: dict[str, float] = {}
        self._middle: dict[str, float] = {}

    def fit(self, table: Table, valid: Table | None = None) -> Self:
        """Raises TableError for a table of other questions than single operators, and for a target without answers."""
        if not isinstance(table.questions, OpQuestions):
            raise TableError(f"anchored: learns from single operators, got {table.questions.shape} questions")
        self.shape = table.questions.shape
        self._vocabulary = table_vocabulary(table)
        features = tabular_features(table.questions, self._vocabulary)
        moved = {}
        for name in learned_targets(self.targets):
            truth = answers(name, table.targets, features.reference)
            good = truth[np.isfinite(truth)]
            if name in features.reference and (good > 0).all():  # a guessed reference too: what each machine settles at makes up for a guess
                moved[name], self._share[name] = truth, floor_share(name, truth, features)
            else:
                self._middle[name] = float(np.nanmedian(truth))
        self._kin = Kin.of(features, table.questions, moved, self._seed)
        return self

    def predict(self, questions: Questions) -> Prediction:
        """(n, t) answers in SI, never below the speed of light where training rows kept it."""
        if not isinstance(questions, OpQuestions) or self._kin is None:
            raise TableError(f"this model answers {self.shape or 'no'} questions, got {questions.shape} ones")
        if not len(questions):
            return Prediction.nothing(self.targets)
        features = self._kin.seen(tabular_features(questions, self._vocabulary), questions)
        points = {}
        for name in learned_targets(self.targets):
            point = features.reference[name] if name in self._share else np.full(len(questions), self._middle[name])
            points[name] = np.maximum(point, self._share[name] * features.floor[name]) if name in self._share and name in features.floor else point
        return Prediction.bare(self.targets, all_points(points, self.targets))

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """All in JSON."""
        return {"targets": list(self.targets), "seed": self._seed, "vocabulary": self._vocabulary, "kin": self._kin.to_json() if self._kin else None, "share": self._share,
                "middle": self._middle}, {}

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path, member: Callable[[str], Any]) -> Self:
        """The inverse of `weights`."""
        out = cls(targets=spec["targets"], seed=spec["seed"])
        out.shape, out._kin = OpQuestions.shape, Kin.from_json(spec["kin"]) if spec["kin"] else None
        out._vocabulary, out._share, out._middle = {k: tuple(v) for k, v in spec["vocabulary"].items()}, dict(spec["share"]), dict(spec["middle"])
        return out
