"""How a target is brought onto a scale that can be learned, and back: as log ratio to its analytic reference where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..datasets.errors import TableError
from ..features.tabular import Features

#: `ratio`: log(truth / reference); `log`: all positive; `log1p`: some zeros; `plain`: some negative
SCALES = ("ratio", "log", "log1p", "plain")


def answers(name: str, targets: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n,) truth of a target, NaN where a row has none. Raises TableError when no row has an answer, or all have the same one although
    their analytic references differ or there are none."""
    truth = targets.get(name)
    good = np.isfinite(truth) if truth is not None else np.zeros(0, dtype=bool)
    if truth is None or not good.any():
        raise TableError(f"no row has an answer for {name!r}; the table has: {', '.join(targets) or 'none'}")
    values = truth[good]
    # one network on many machines needs the same memory on each, and the reference says so
    if np.ptp(values) == 0 and (name not in reference or np.ptp(reference[name][good]) > 0):
        raise TableError(f"target {name!r} has the same value, {values[0]:g}, in all {len(values)} rows; there is nothing to learn")
    return truth


def choose_scale(name: str, truth: np.ndarray, features: Features) -> str:
    """The scale for a target whose `answers` are `truth`."""
    values = truth[np.isfinite(truth)]
    if name in features.reference and name not in features.guessed and (values > 0).all():
        return "ratio"
    return "log" if (values > 0).all() else "log1p" if (values >= 0).all() else "plain"


def encode(name: str, truth: np.ndarray, features: Features, scale: str) -> np.ndarray:
    """(n,) truth in SI -> learned scale; NaN stays NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if scale == "ratio":
            return np.log(truth / features.reference[name])
        return np.log(truth) if scale == "log" else np.log1p(truth) if scale == "log1p" else np.asarray(truth, dtype=np.float64)


def floor_share(name: str, truth: np.ndarray, features: Features) -> float:
    """How much of the speed of light the answers kept: 1 when none beat it, as every simulated one does; otherwise the ratio all but half a
    percent of them kept (a machine that runs above its published figures, a corrupt row); 0 where no floor is known."""
    if name not in features.floor:
        return 0.0
    ratio = truth / features.floor[name].clip(min=1e-300)
    return min(float(np.quantile(ratio[np.isfinite(ratio)], 0.005)), 1.0) if (ratio < 1.0).any() else 1.0


def decode(name: str, y: np.ndarray, features: Features, scale: str, least: float, share: float = 1.0) -> np.ndarray:
    """(n,) learned scale -> SI. A ratio never falls below `least`, the smallest one seen; nor the answer below `share` of the speed of light
    (`floor_share` of the training rows)."""
    if scale == "ratio":
        out = np.exp(np.clip(y, least, 20.0)) * features.reference[name]
        return np.maximum(out, share * features.floor[name]) if name in features.floor else out
    return np.exp(np.clip(y, -80.0, 80.0)) if scale == "log" else np.maximum(np.expm1(np.clip(y, -1.0, 80.0)), 0.0) if scale == "log1p" else y


def clipped(y: np.ndarray) -> tuple[np.ndarray, float]:
    """(y with corrupt tails drawn in, the least value answers may take): a corrupt row pulls, but not without limit."""
    low, high = np.quantile(y, [0.0005, 0.9995])
    width = max(high - low, 1e-9)
    return np.clip(y, low - 0.5 * width, high + 0.5 * width), float(low - 0.05 * width)


def learned_targets(targets: Sequence[str]) -> tuple[str, ...]:
    """What is learned: energy follows from latency and power where all three are asked for."""
    if {"latency_s", "power_w", "energy_j"} <= set(targets):
        return tuple(t for t in targets if t != "energy_j")
    return tuple(targets)


def all_points(points: Mapping[str, np.ndarray], targets: Sequence[str]) -> np.ndarray:
    """(n, t) points in the order of `targets`, energy = power x latency."""
    out = dict(points)
    if {"latency_s", "power_w"} <= set(out) and "energy_j" in targets:
        out["energy_j"] = out["latency_s"] * out["power_w"]
    return np.column_stack([out[t] for t in targets])
