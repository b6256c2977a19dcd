"""What to try next, when answers have intervals: the lower bound, and expected improvement.

An interval [low, high] at `level` around a point is read as a normal distribution of the logarithm (answers are positive and their errors are ratios): its middle
the point, its width that of the interval. Objectives are minimised.
"""

from __future__ import annotations

import math

import numpy as np

from ...datasets.errors import InputError

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
