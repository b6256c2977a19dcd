"""What to try next, when answers have intervals: the lower bound, and expected improvement; and which doubted answers the simulator should see.

An interval [low, high] at `level` around a point is read as a normal distribution of the logarithm (answers are positive and their errors are ratios): its middle
the point, its width that of the interval. Objectives are minimised.
"""

from __future__ import annotations

import math

import numpy as np

from ...datasets.errors import InputError
from .front import nondominated, ranks
from .problem import Evaluations

#: where the normal's cumulative distribution reaches (1 + level) / 2 is found to this width
_STEPS = 60


def z_of(level: float) -> float:
    """Half width, in standard deviations, of the normal's central interval of that probability: z(0.9) = 1.645."""
    if not 0.0 < level < 1.0:
        raise InputError(f"level: expected a share between 0 and 1, got {level!r}")
    low, high = 0.0, 10.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle / math.sqrt(2)) < level else (low, middle)
    return low


def spread(low: np.ndarray, high: np.ndarray, level: float) -> np.ndarray:
    """(n,) standard deviation of the logarithm that an interval stands for; 0 where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        out = (np.log(high) - np.log(low)) / (2.0 * z_of(level)) if level else np.zeros(np.shape(low))
    return np.where(np.isfinite(out), np.maximum(out, 0.0), 0.0)


def lower_bound(point: np.ndarray, low: np.ndarray, high: np.ndarray, level: float, weight: float = 1.0) -> np.ndarray:
    """(n,) the optimistic answer: the lower end of the interval (`weight` times its half width below the point), the point where there is none."""
    return np.asarray(point * np.exp(-weight * z_of(level) * spread(low, high, level)) if level else point, dtype=np.float64)


def normal_improvement(mean: np.ndarray, deviation: np.ndarray, best: float | np.ndarray) -> np.ndarray:
    """(n,) E[max(best - X, 0)] of X ~ N(mean, deviation^2) (Jones, Schonlau and Welch, J. Global Optimization 13, 1998, equation 15); its limit where the deviation is 0."""
    gap = best - np.asarray(mean, dtype=np.float64)
    sigma = np.maximum(np.asarray(deviation, dtype=np.float64), 1e-12)
    z = gap / sigma
    density = np.exp(-0.5 * np.minimum(z * z, 1400.0)) / math.sqrt(2 * math.pi)
    below = 0.5 * (1.0 + np.vectorize(math.erf, otypes=[float])(np.clip(z, -40, 40) / math.sqrt(2)))
    return np.asarray(np.maximum(gap * below + sigma * density, 0.0))


def expected_improvement(point: np.ndarray, low: np.ndarray, high: np.ndarray, level: float, best: float) -> np.ndarray:
    """(n,) expected improvement of the logarithm over `best` > 0: 0.1 means that a tenth less is to be expected. Where there is no interval, what the point
    alone gains."""
    if not best > 0:
        raise InputError(f"expected_improvement: best: expected a positive answer, got {best!r}")
    with np.errstate(divide="ignore"):
        return normal_improvement(np.log(point), spread(low, high, level), math.log(best))


def doubted(found: Evaluations, count: int, acquisition: str = "expected_improvement", seed: int = 0) -> np.ndarray:
    """Indices of at most `count` answers that are not on the front but, by their intervals, might be: by `lower_bound` those whose better ends come first in rank, by
    `expected_improvement` those that gain most on a randomly weighted worst logarithm of the objectives. None where nothing has an interval.

    Candidates that cannot be are left out; of limits, those that an interval still allows are taken as kept.
    """
    rows = np.flatnonzero(_hopeful(found))
    rows = rows[~np.isin(rows, found.front)]
    good = found.objectives[found.front]
    if not len(rows) or not len(good) or not count or not np.any(found.optimistic[rows] < found.objectives[rows]):
        return rows[:0]
    if acquisition == "lower_bound":
        better = found.optimistic[rows]
        beyond = np.array([nondominated(np.vstack([good, row]))[-1] for row in better])
        rows, better = rows[beyond], better[beyond]
        return rows[np.argsort(ranks(better), kind="stable")][:count]
    rng, picked, left = np.random.default_rng(seed), list[int](), np.ones(len(rows), dtype=bool)
    mean, known = (np.column_stack([_log(found, x, j) for j in range(len(found.goals))]) for x in (found.objectives[rows], good))
    low, width = known.min(axis=0), np.maximum(np.ptp(known, axis=0), 1e-12)
    sigma = np.column_stack([spread(*(found.answers.low.get(g.name, np.full(len(found), np.nan))[rows], found.answers.high.get(g.name, np.full(len(found), np.nan))[rows]), found.answers.level)
                             for g in found.goals]) / width
    mean, known = (mean - low) / width, (known - low) / width
    for _ in range(min(count, len(rows))):
        weight = rng.dirichlet(np.ones(len(width)))
        worst = np.argmax(weight * mean, axis=1)
        gain = normal_improvement((weight * mean).max(axis=1), (weight * sigma)[np.arange(len(rows)), worst], float((weight * known).max(axis=1).min()))
        at = int(np.argmax(np.where(left, gain, -1.0)))
        if gain[at] > 0.0:
            left[at] = False
            picked.append(at)
    return rows[np.array(picked, dtype=np.int64)]


def _log(found: Evaluations, objectives: np.ndarray, j: int) -> np.ndarray:
    """Objective j as a logarithm, still to be minimised."""
    sign = -1.0 if found.goals[j].maximise else 1.0
    return np.asarray(sign * np.log(np.maximum(sign * objectives[:, j], 1e-300)))


def _hopeful(found: Evaluations) -> np.ndarray:
    """(n,) bool: it can be, and no limit is broken by the whole of an interval."""
    out = np.array([not w for w in found.answers.why], dtype=bool) & np.isfinite(found.objectives).all(axis=1)
    for limit in found.limits:
        value = found.answers.values.get(limit.name, np.full(len(found), np.nan))
        low, high = (np.where(np.isfinite(end), end, value) for end in (found.answers.low.get(limit.name, value), found.answers.high.get(limit.name, value)))
        out &= (low <= limit.at_most) & (high >= limit.at_least)
    return out
