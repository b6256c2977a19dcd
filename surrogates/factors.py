"""A product of factors: one for each word of a row, and a power of each of its numbers.

Small tables are often such products: what a core costs is what its preset costs, times what its width and its chip do to it. Of a few dozen rows trees learn a level or two and a process hardly more, where a straight
line through logarithms has as many unknowns as there are words. Ridge regression (Hoerl and Kennard 1970), its one weight chosen by leave-one-out errors, which follow from one decomposition (Allen 1974).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from ..datasets.errors import FormatError, TableError
from ..datasets.table import FeatureQuestions, Questions, Table
from .prediction import Prediction
from .shares import is_logarithmic
from .target_scale import all_points, answers, learned_targets

#: words of a column that have a factor of their own, at most, those with the most rows
_MOST_WORDS = 100
#: penalties tried, in units of a column's variance
_PENALTIES = np.logspace(-3, 3, 19)
#: numbers beyond those learned from go on as a power for so many octaves, and no farther than they lay apart (assumption)
_OCTAVES = 3.0
#: numbers that vary by no more than this share of themselves are one number
_VARIES = 1e-9


class Factors:
    """The regression, one per target: of logarithms where answers are positive, of log1p where they are counts, else as they are."""

    name = "factors"
    shape = "features"

    def __init__(self, *, targets: Sequence[str] = ("latency_s",)) -> None:
        self.targets = tuple(targets)
        self._words: dict[str, list[str]] = {}
        self._numbers: dict[str, list[float]] = {}  # column -> whether by logarithms, middle value, spread, least and most
        self._fits: dict[str, dict[str, Any]] = {}
        self._asked: list[str] = []  # the columns that it was fitted with

    def fit(self, table: Table, valid: Table | None = None) -> Self:
        """Learns a factor of each word and a power of each number. Raises TableError for questions that are no rows of a plain table, and for a constant or unanswered target."""
        if not isinstance(table.questions, FeatureQuestions):
            raise TableError(f"factors: answers rows of a plain feature table, not {table.questions.shape} questions")
        frame = table.questions.frame
        self._words, self._numbers, self._fits, self._asked = {}, {}, {}, [str(c) for c in frame.columns]
        for column in map(str, frame.columns):
            if pd.api.types.is_numeric_dtype(frame[column]):
                values = frame[column].to_numpy(dtype=np.float64, na_value=np.nan)
                there = values[np.isfinite(values)]
                logs = bool((there >= 0).all())
                told = np.log1p(there) if logs else there
                if len(there) and np.ptp(told) > _VARIES * max(1.0, float(np.abs(told).max())):
                    self._numbers[column] = [float(logs), float(np.median(told)), float(told.std()), float(told.min()), float(told.max())]
            else:
                counts = frame[column].astype(str).value_counts()
                if len(counts) > 1:
                    self._words[column] = [str(word) for word in counts.index[:_MOST_WORDS]]
        x = self._columns(frame)
        for name in learned_targets(self.targets):
            truth = answers(name, table.targets, {})
            good = np.isfinite(truth)
            scale = "log" if (truth[good] > 0).all() else "log1p" if is_logarithmic(truth) else "plain"
            y = np.log(truth[good]) if scale == "log" else np.log1p(truth[good]) if scale == "log1p" else truth[good]
            middle, weights = _ridge(x[good], y)
            self._fits[name] = {"scale": scale, "middle": middle, "weights": [float(w) for w in weights], "reach": [float(y.min() - np.ptp(y)), float(y.max() + np.ptp(y))]}
        return self

    def _columns(self, frame: pd.DataFrame) -> np.ndarray:
        """(n, c) standardised logarithms of numbers, 0 where there is none, and whether there is; whether a row has a word."""
        parts = []
        for column, (logs, middle, spread, least, most) in self._numbers.items():
            values = frame[column].to_numpy(dtype=np.float64, na_value=np.nan)
            told = np.log1p(np.maximum(values, 0.0)) if logs else values
            room = min(_OCTAVES * np.log(2.0), most - least) if logs else most - least  # a time stamp that varied by an hour does not go on for months
            parts += [np.nan_to_num((np.clip(told, least - room, most + room) - middle) / spread), np.isfinite(values).astype(np.float64)]
        for column, words in self._words.items():
            values = frame[column].astype(str).to_numpy(dtype=object)
            parts += [(values == word).astype(np.float64) for word in words]
        return np.column_stack(parts) if parts else np.zeros((len(frame), 0))

    def predict(self, questions: Questions) -> Prediction:
        """(n, t) answers in SI. Raises TableError for questions of another shape."""
        if not isinstance(questions, FeatureQuestions):
            raise TableError(f"this model answers {self.shape} questions, got {questions.shape} ones")
        if not len(questions):
            return Prediction.nothing(self.targets)
        x, points = self._columns(self._checked(questions.frame)), {}
        for name, fit in self._fits.items():
            y = np.clip(fit["middle"] + (x * np.array(fit["weights"])).sum(1), *fit["reach"])  # row by row: a product of matrices would round each by how many there are
            points[name] = np.exp(y) if fit["scale"] == "log" else np.maximum(np.expm1(y), 0.0) if fit["scale"] == "log1p" else y
        return Prediction.bare(self.targets, all_points(points, self.targets))

    def _checked(self, frame: pd.DataFrame) -> pd.DataFrame:
        missing, unknown = ([c for c in one if c not in other] for one, other in ((self._asked, list(map(str, frame.columns))), (list(map(str, frame.columns)), self._asked)))
        if missing or unknown:
            raise TableError("feature table: " + "; ".join([*(["missing " + ", ".join(missing)] if missing else []), *(["unknown " + ", ".join(unknown)] if unknown else [])]) + f"; the model was fitted with {', '.join(self._asked)}")
        worded = [c for c in self._numbers if not pd.api.types.is_numeric_dtype(frame[c])]
        if worded:
            raise TableError(f"feature table: expected numbers in the column {', '.join(worded)}, as the model was fitted with; got text")
        return frame

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """All in JSON; no files."""
        return {"targets": list(self.targets), "words": self._words, "numbers": self._numbers, "fits": self._fits, "asked": self._asked}, {}

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path, member: Callable[[str], Any]) -> Self:
        """The inverse of `weights`; raises FormatError when weights are missing."""
        out = cls(targets=spec["targets"])
        out._words, out._numbers = {c: list(w) for c, w in spec["words"].items()}, {c: [float(v) for v in each] for c, each in spec["numbers"].items()}
        out._fits = {t: dict(each) for t, each in spec["fits"].items()}
        out._asked = [str(c) for c in spec["asked"]]
        count = 2 * len(out._numbers) + sum(map(len, out._words.values()))
        if set(out._fits) != set(learned_targets(out.targets)) or any(len(each["weights"]) != count for each in out._fits.values()) or any(len(each) != 5 for each in out._numbers.values()):
            raise FormatError(f"{folder}: factors: expected {count} weights of {', '.join(out.targets)}")
        return out


def _ridge(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """(intercept, (c,) weights) of ridge regression with the penalty that leaves the least mean absolute leave-one-out error."""
    means, middle = x.mean(0), float(y.mean())
    u, s, vt = np.linalg.svd(x - means, full_matrices=False)
    told, best = u.T @ (y - middle), (np.inf, 0.0)
    for penalty in _PENALTIES:
        keep = s**2 / (s**2 + penalty)
        left = (y - middle - u @ (keep * told)) / np.maximum(1.0 - 1.0 / len(y) - (u**2) @ keep, 1e-9)
        best = min(best, (float(np.abs(left).mean()), float(penalty)))
    weights = vt.T @ (s / (s**2 + best[1]) * told)
    return middle - float(means @ weights), weights
