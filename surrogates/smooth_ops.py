"""A Gaussian process over operators: how the ratio to physics goes smoothly with sizes and circumstances, where a few dozen rows are all there is.

Trees cut sizes into steps and need rows on either side of each; of a small table they learn little but a level. The process (`kernel`) is handed what its length scales can tell apart: sizes by their
logarithms, how the reference is held back, alignments, the table's own numbers, and words. What it learns is the logarithm of truth over reference. Beyond the sizes of its rows the ratio stays as it was
at the last of them: physics goes on, and no slope of a few rows (24 cuts of tables nobody here had tried, by hand: with slopes 11.8 % in the geometric mean of medians, without 11.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from ..datasets.errors import TableError
from ..datasets.table import FeatureQuestions, OpQuestions, Questions, Table
from ..features.tabular import Features, table_vocabulary, tabular_features
from .kernel import Kernel
from .prediction import Prediction
from .target_scale import all_points, answers, choose_scale, decode, encode, floor_share, learned_targets

#: the columns of operators that the process is told; those that do not vary are left out
_TOLD = ("m", "n", "k", "b", "row", "window", "op_batch", "op_heads", "op_keys", "head_sharing", "windowed", "log_bytes", "log_simulated", "compute_over_dram", "fixed_share",
         "bytes_over_cache", "m_alignment", "n_alignment", "k_alignment")
#: rows and rounds that weights are learned in: a table is learned as many times as it has folds
_TUNED_ON, _ROUNDS = 400, 40
_WORDS = ("kind", "dtype", "weight_dtype")


class SmoothOps:
    """The process, one per target. Deterministic in `seed`."""

    name = "smooth_ops"
    shape = "op"

    def __init__(self, *, targets: Sequence[str] = ("latency_s",), seed: int = 0) -> None:
        self.targets = tuple(targets)
        self._seed = seed
        self._vocabulary: dict[str, tuple[str, ...]] = {}
        self._scale: dict[str, str] = {}
        self._share: dict[str, float] = {}
        self._range: dict[str, list[float]] = {}
        self._kernel = Kernel(targets=learned_targets(self.targets), seed=seed, tuned_on=_TUNED_ON, rounds=_ROUNDS)

    def fit(self, table: Table, valid: Table | None = None) -> Self:
        """Learns weights and rows. Raises TableError for questions that are no operators, and for an unusable target."""
        if not isinstance(table.questions, OpQuestions):
            raise TableError(f"smooth_ops: answers operators, not {table.questions.shape} questions")
        self._vocabulary = table_vocabulary(table)
        features = tabular_features(table.questions, self._vocabulary)
        ratios = {}
        for name in learned_targets(self.targets):
            truth = answers(name, table.targets, features.reference)
            self._scale[name], self._share[name] = choose_scale(name, truth, features), floor_share(name, truth, features)
            ratios[name] = np.exp(encode(name, truth, features, self._scale[name]))
        told = _told(table.questions, features, {})
        numbers = [name for name in told.frame.columns if pd.api.types.is_numeric_dtype(told.frame[name]) and told.frame[name].notna().any()]  # the table's own, too: a column that varied by an hour does not go on for months
        self._range = {name: [float(told.frame[name].min()), float(told.frame[name].max())] for name in numbers}
        self._kernel.fit(replace(table, questions=told, targets=ratios))
        return self

    def predict(self, questions: Questions) -> Prediction:
        """(n, t) answers in SI. Raises TableError for questions of another shape."""
        if not isinstance(questions, OpQuestions):
            raise TableError(f"this model answers op questions, got {questions.shape} ones")
        if not len(questions):
            return Prediction.nothing(self.targets)
        features = tabular_features(questions, self._vocabulary)
        found = self._kernel.predict(_told(questions, features, self._range))
        points = {name: decode(name, np.log(found.point[:, found.column(name)]), features, self._scale[name], -np.inf, self._share[name]) for name in learned_targets(self.targets)}
        return Prediction.bare(self.targets, all_points(points, self.targets))

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Settings in JSON, and the files of the process."""
        spec, files = self._kernel.weights()
        return {"targets": list(self.targets), "seed": self._seed, "vocabulary": self._vocabulary, "scale": self._scale, "share": self._share, "range": self._range, "kernel": spec}, files

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path, member: Callable[[str], Any]) -> Self:
        """The inverse of `weights`; raises FormatError when arrays of the process are missing or do not fit together."""
        out = cls(targets=spec["targets"], seed=spec["seed"])
        out._vocabulary = {k: tuple(v) for k, v in spec["vocabulary"].items()}
        out._scale, out._share, out._range = dict(spec["scale"]), dict(spec["share"]), {k: list(v) for k, v in spec["range"].items()}
        out._kernel = Kernel.from_weights(spec["kernel"], files, folder, member)
        return out


def _told(questions: OpQuestions, features: Features, within: Mapping[str, Sequence[float]]) -> FeatureQuestions:
    """Operators as rows of a plain table: numbers, kept `within` (name -> least, most) what was learned from, and words as such."""
    at = {name: i for i, name in enumerate(features.names)}
    frame = pd.DataFrame({name: features.values[:, at[name]].astype(np.float64) for name in _TOLD})
    for name in _WORDS:
        frame[f"({name})"] = features.values[:, at[name]].astype(int).astype(str)
    frame["(machine)"] = questions.strata.astype(str)
    for name in questions.extra.columns:
        frame[f"({name})"] = questions.extra[name].to_numpy(dtype=np.float64, na_value=np.nan)
    for name in questions.context.columns:
        frame[f"({name})"] = questions.context[name].astype(str).to_numpy(dtype=object)
    for name, (least, most) in within.items():
        frame[name] = frame[name].clip(least, most)
    return FeatureQuestions(frame)
