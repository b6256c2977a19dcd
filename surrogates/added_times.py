"""A time as a sum of terms of known physics, whose weights a table teaches: they stay positive, and hang on what its columns of few words say (a machine, a framework, a number format).

    log time = log sum_k x_k exp(v_k + sum_c d_ck) + u_g

`x`: terms; `d`: what a word c adds to each weight; `u`: what a group of rows (a language model) has of its own, which one never seen has not. Least pseudo-Huber errors of logarithms with squares of `d`,
`u` and of how far `v` is from equal shares as penalties (a normal prior of each), by L-BFGS. Unlike trees a sum says of a model smaller or wider than any in the table what physics says of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from ..datasets.errors import FormatError

#: penalties of what words add, of a group's own, and of shares that are not equal; where errors (logarithms) begin to count linearly. Assumptions: looked at with models of one table of served ones held out in turn, where a third of each, or three times (of the last: half, or twice), changed the errors of the answer it is half of by a few hundredths
_WORDS, _OWN, _SHARES, _LINEAR = 3.0, 10.0, 0.1, 0.3
#: a column with more words says what rows are, not how they are run
_MOST_WORDS = 20
ROUNDS = 300
#: the least share of a term that is told
_LEAST = 1e-4


class AddedTimes:
    """A fitted sum. `names`: its terms; `words`: column -> the words whose weights are learned; another word adds nothing."""

    def __init__(self, names: Sequence[str], words: Mapping[str, Sequence[str]], scale: np.ndarray, weights: np.ndarray, loss: float = float("nan")) -> None:
        self.names, self.words = tuple(names), {c: tuple(w) for c, w in words.items()}
        self._scale, self._weights = scale, weights
        #: mean error of the rows it learned from
        self.loss = loss

    @classmethod
    def fit(cls, terms: pd.DataFrame, words: pd.DataFrame, truth: np.ndarray, groups: np.ndarray, rounds: int = ROUNDS) -> tuple[Self, np.ndarray]:
        """The sum learned from (n, k) terms, columns of words and (n,) positive times, and (n,) what each row's group has of its own, as a factor. Each group counts as the root of its rows. `rounds`: of the search, at most."""
        known = {str(c): tuple(sorted(words[c].astype(str).unique())) for c in words.columns if 1 < words[c].nunique() <= _MOST_WORDS}
        x = terms.to_numpy(dtype=np.float64)
        scale = np.array([np.median(v[v > 0.0]) if (v > 0.0).any() else 1.0 for v in x.T])
        x, y, design = x / scale, np.log(truth), _design(words, known)
        place, names = pd.factorize(groups)
        share = 1.0 / np.sqrt(np.bincount(place)[place])
        share *= len(y) / share.sum()
        size = (design.shape[1], x.shape[1])
        equal = float(np.median(y)) - np.log(x.shape[1])

        def cost(at: np.ndarray) -> tuple[float, np.ndarray]:
            weights, own = at[: size[0] * size[1]].reshape(size), at[size[0] * size[1]:]
            each = x * np.exp(np.clip(design @ weights, -40.0, 40.0))
            total = each.sum(1)
            off = np.log(total) + own[place] - y
            root = np.sqrt(1.0 + (off / _LINEAR) ** 2)
            value = (share * _LINEAR**2 * (root - 1.0)).sum() + _SHARES * ((weights[0] - equal) ** 2).sum() + _WORDS * (weights[1:] ** 2).sum() + _OWN * (own**2).sum()
            slope = share * off / root
            down = design.T @ (slope[:, None] * each / total[:, None])
            down[0] += 2.0 * _SHARES * (weights[0] - equal)
            down[1:] += 2.0 * _WORDS * weights[1:]
            return float(value), np.concatenate([down.ravel(), np.bincount(place, slope, minlength=len(names)) + 2.0 * _OWN * own])

        begin = np.zeros(size[0] * size[1] + len(names))
        begin[: size[1]] = equal
        found = minimize(cost, begin, jac=True, method="L-BFGS-B", options={"maxiter": rounds})
        return cls(list(map(str, terms.columns)), known, scale, found.x[: size[0] * size[1]].reshape(size), float(found.fun) / len(y)), np.exp(found.x[size[0] * size[1]:][place])

    def answers(self, terms: pd.DataFrame, words: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
        """((n,) times, NaN where a term is; logarithms of the (n, k) shares of its terms)."""
        each = terms[list(self.names)].to_numpy(dtype=np.float64) / self._scale * np.exp(np.clip(_design(words, self.words) @ self._weights, -40.0, 40.0))
        total = each.sum(1)
        return total, pd.DataFrame(np.log(np.maximum(each / total[:, None], _LEAST)), columns=list(self.names))

    def to_json(self) -> dict[str, Any]:
        """Plain lists."""
        return {"names": list(self.names), "words": {c: list(w) for c, w in self.words.items()}, "scale": self._scale.tolist(), "weights": self._weights.tolist()}

    @classmethod
    def from_json(cls, told: Mapping[str, Any], folder: Path) -> Self:
        """The inverse of `to_json`. Raises FormatError where sizes do not fit."""
        scale, weights = np.array(told["scale"], dtype=np.float64), np.array(told["weights"], dtype=np.float64)
        size = (1 + sum(len(w) for w in told["words"].values()), len(told["names"]))
        if weights.shape != size or scale.shape != size[1:] or not (scale > 0.0).all() or not np.isfinite(weights).all():
            raise FormatError(f"{folder}: a sum of times: expected {size[0]} x {size[1]} finite weights of terms with positive scales")
        return cls(told["names"], told["words"], scale, weights)


def _design(words: pd.DataFrame, known: Mapping[str, Sequence[str]]) -> np.ndarray:
    """(n, 1 + words) ones, and which word each column has."""
    return np.concatenate([np.ones((len(words), 1)), *((words[c].astype(str).to_numpy(dtype=object)[:, None] == np.array(w, dtype=object)[None]).astype(np.float64) for c, w in known.items())], axis=1)
