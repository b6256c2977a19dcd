"""How a target is brought onto a scale that can be learned, and back: as log ratio to its analytic reference where there is one.

Watts of an operator on machines whose power limits are known are learned as a demand. A limit is a setting, no property of the silicon: below it a machine draws what the work asks for, whatever the limit, and
near it the limit is what it draws. So neither watts nor shares of the limit mean the same on two machines, but what would be drawn if there were no limit does:

    demand = limit s / (1 - s^p)^(1/p),   power = demand / (1 + (demand / limit)^p)^(1/p)

with s the share of the limit that was read. p, how sharply a limit cuts, is from training jobs run under several power limits (`_CUT`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..datasets.errors import TableError
from ..features.tabular import Features

#: `ratio`: log(truth / reference); `demand`: log(watts, were there no power limit); `log`: all positive; `log1p`: some zeros; `plain`: some negative
SCALES = ("ratio", "demand", "log", "log1p", "plain")
#: how sharply a power limit cuts: of 4, 6, 8, 12, 16 and a sharp edge the one with the least median error where watts below a limit are told from those under the highest one (Zeus: A40, P100, Quadro RTX 6000)
_CUT = 6.0
#: the share of the limit beyond which a reading says no more about what was asked for, and the one that hardly a reading may exceed where limits are to be believed (assumptions)
_AT_LIMIT, _BELIEVED = 0.995, 1.01


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
    # of single operators: of a whole job a limit says little
    if name == "power_w" and (values > 0).all() and "weight_dtype" in features.names and keeps_limits(truth, _limit_w(features)):
        return "demand"
    if name in features.reference and name not in features.guessed and (values > 0).all():
        return "ratio"
    return "log" if (values > 0).all() else "log1p" if (values >= 0).all() else "plain"


def encode(name: str, truth: np.ndarray, features: Features, scale: str) -> np.ndarray:
    """(n,) truth in SI -> learned scale; NaN stays NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if scale == "ratio":
            return np.log(truth / features.reference[name])
        if scale == "demand":
            return np.log(demand_w(truth, _limit_w(features)))
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
    if scale == "demand":
        return limited_w(np.exp(np.clip(y, -80.0, 80.0)), _limit_w(features))
    return np.exp(np.clip(y, -80.0, 80.0)) if scale == "log" else np.maximum(np.expm1(np.clip(y, -1.0, 80.0)), 0.0) if scale == "log1p" else y


def demand_w(watts: np.ndarray, limit_w: np.ndarray) -> np.ndarray:
    """(n,) W that would be drawn were there no power limit, from those that are; NaN stays NaN, and the same where the limit is not known (NaN)."""
    share = np.clip(watts / limit_w, 0.0, _AT_LIMIT)
    return np.where(np.isfinite(limit_w), limit_w * share / (1.0 - share**_CUT) ** (1.0 / _CUT), watts)


def limited_w(demand: np.ndarray, limit_w: np.ndarray) -> np.ndarray:
    """(n,) W drawn under a power limit, from what would be drawn without: the inverse of `demand_w`."""
    share = np.minimum(demand / limit_w, 1e6)
    return np.where(np.isfinite(limit_w), limit_w * share / (1.0 + share**_CUT) ** (1.0 / _CUT), demand)


def _limit_w(features: Features) -> np.ndarray:
    """(n,) power limits, NaN where none is published or no column tells."""
    if "log_tdp" not in features.names:
        return np.full(len(features.values), np.nan)
    return np.exp(features.values[:, features.names.index("log_tdp")].astype(np.float64))


def keeps_limits(watts: np.ndarray, limit_w: np.ndarray) -> bool:
    """Whether all of (n,) machines have power limits and (n,) watts keep them; those of several machines do not."""
    good = np.isfinite(watts)
    return bool(good.any()) and bool(np.isfinite(limit_w).all()) and float(np.quantile(watts[good] / limit_w[good], 0.995)) <= _BELIEVED


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
