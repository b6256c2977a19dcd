"""How much of a correction is taken, and how far off what is taken will be: both from shots that were answered without themselves.

Three ways to answer what is new: as before, by one factor for all, and by the whole process; and half-way from the first to each of the others, for a few shots that lie far apart ask
for too much (half of what ten of a machine with kernels of its own ask for is right more often than all of it). None is picked: each counts by how right it was about shots left out
(a mean error d counts with d^(-3s/4) for s shots), so that few shots mix what they cannot tell apart and many leave the best alone. That is pseudo-Bayesian model averaging with errors
that follow Laplace's law (Yao et al. 2018, "Using stacking to average Bayesian predictive distributions"), less sharp, for the shots also chose what is judged by them.
About operators, whose answers have physics behind them, a dozen shots correct nothing unless that brings answers nearer to shots left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

#: the ways to correct, plainest first
WAYS = ("none", "level", "full")
#: what is weighed: shares of the ways, and how probable each is beforehand (assumptions, as all below, chosen on tables that `benchmarks/accuracy.py` measures: what
#: was answered before is worth twice a correction, for one that does harm is worse than none that helps)
_MIXES = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [0.0, 0.0, 1.0]])
BEFORE = (6.0, 0.5, 0.5, 3.0, 3.0)
#: in plain tables, where no physics stands behind the answers about a machine never seen: the whole correction by ten shots was better than none in 92 % of draws (Zeus,
#: LLM-Inference-Bench, Splitwise; with these the error is a tenth smaller than with those above), of operators in 61 %: six to ten draws for each of eleven pairs of plain table and machine and of ten of operators,
#: measured once, by hand, on one seed; no benchmark repeats it
BEFORE_IN_PLAIN_TABLES = (1.0, 0.3, 0.3, 3.0, 12.0)
#: how sharply errors of shots left out tell them apart, per shot, and multiples of the largest of the ways' median errors at which one counts no more (assumptions)
_SHARPNESS, _WORST = 0.75, 2.0
#: shots that tell whether a correction helps at all, and those from which it is trusted to (assumptions: of 72 draws each ten shots did harm in 25 without that question and in 12 with it, twenty in 12 and 4, at errors
#: a fiftieth larger on average)
_LEAST_TOLD, _MOST_TOLD = 3, 15
#: the least error (log) that tells ways apart
_LEAST = 1e-6


def ways(truth: np.ndarray, start: np.ndarray, whole: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """(3, s) logarithms by each of `WAYS`, every shot left out: `start` as before, `whole` by the process; `counted` (s,) which shots count."""
    residual = truth - start
    return np.stack([start, start + _medians_left_out(residual, counted), whole])


def level(residual: np.ndarray, counted: np.ndarray) -> float:
    """The logarithm of the one factor: the median of residuals that count, of one or two the mean."""
    told = residual[counted] if counted.any() else residual
    return float(np.median(told)) if len(residual) > 2 else float(told.mean())


def shares(truth: np.ndarray, points: np.ndarray, counted: np.ndarray, before: Sequence[float] = BEFORE, cautious: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """((3,) share of each way, (s,) logarithms of their mixtures, each shot's by the shares that the others alone would give). `before`: how probable each of `_MIXES` is beforehand.
    `cautious`: by fewer than `_MOST_TOLD` shots nothing is corrected where the mixture was no nearer to shots left out (mean error) than the answer as before."""
    off = np.abs(truth - _MIXES @ points)
    off = np.minimum(off, _WORST * np.median(np.abs(truth - points), axis=1).max() + _LEAST) * counted
    total, count = off.sum(1, keepdims=True), float(counted.sum())
    less = _weigh((total - off) / np.maximum(count - counted, 1.0), count, before)
    found = np.asarray((_MIXES.T @ less * points).sum(0))
    if cautious and _LEAST_TOLD <= count < _MOST_TOLD and np.abs(truth - found)[counted].sum() >= np.abs(truth - points[0])[counted].sum():
        return np.eye(len(WAYS))[0], points[0].copy()
    return _MIXES.T @ _weigh(total / max(count, 1.0), count, before)[:, 0], found


def width(error: np.ndarray, level: float) -> float | None:
    """The half width (log) that holds a next error with probability `level`, from (s,) errors of shots left out; None where they are too few."""
    rank = math.ceil(round((len(error) + 1) * level, 9))
    return float(np.sort(error)[rank - 1]) if rank <= len(error) else None


def _weigh(error: np.ndarray, count: float, before: Sequence[float]) -> np.ndarray:
    """(5, n) shares of `_MIXES` from their (5, n) mean errors."""
    logs = np.log(np.array(before))[:, None] - _SHARPNESS * count * np.log(np.maximum(error, _LEAST))
    raised = np.exp(logs - logs.max(0))
    return np.asarray(raised / raised.sum(0))


def _medians_left_out(residual: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """(s,) median of the other residuals that count."""
    others = [residual[counted & (np.arange(len(residual)) != i)] for i in range(len(residual))]
    return np.array([float(np.median(o)) if len(o) else 0.0 for o in others])
