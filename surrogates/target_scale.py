"""How a target is brought onto a scale that can be learned, and back: as log ratio to its analytic reference where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..datasets.errors import TableError
from ..features.tabular import Features

#: `ratio`: log(truth / reference); `log`: all positive; `log1p`: some zeros; `plain`: some negative
SCALES = ("ratio", "log", "log1p", "plain")


def choose_scale(name: str, truth: np.ndarray, features: Features) -> str:
    """The scale for a target; raises TableError when no row has an answer or all have the same one."""
    values = truth[np.isfinite(truth)]
    if not len(values):
        raise TableError(f"no row has an answer for {name!r}")
    if name in features.reference and (values > 0).all():
        return "ratio"
    if np.ptp(values) == 0:
        raise TableError(f"target {name!r} has the same value, {values[0]:g}, in all {len(values)} rows; there is nothing to learn")
    return "log" if (values > 0).all() else "log1p" if (values >= 0).all() else "plain"


def encode(name: str, truth: np.ndarray, features: Features, scale: str) -> np.ndarray:
    """(n,) truth in SI -> learned scale; NaN stays NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if scale == "ratio":
            return np.log(truth / features.reference[name])
        return np.log(truth) if scale == "log" else np.log1p(truth) if scale == "log1p" else np.asarray(truth, dtype=np.float64)


def decode(name: str, y: np.ndarray, features: Features, scale: str, least: float) -> np.ndarray:
    """(n,) learned scale -> SI. A ratio never falls below `least`, the smallest one seen; nor the answer below the speed of light where
    the training rows respected it."""
    if scale == "ratio":
        out = np.exp(np.clip(y, least, 20.0)) * features.reference[name]
        floor = features.floor.get(name)
        return out if floor is None or least < -1.0 else np.maximum(out, floor * np.exp(min(least, 0.0)))
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
