"""Designs of kernels never seen: how much of what was learned beside their schedule is said of them.

A model of designs learns ratios of measured cycles to scheduled ones. Of a kernel that it knows, they are that kernel's; carried over to another one they can put its designs in a
worse order than the schedule has them in. Kernels held out in turn say which: a share of the ratio's logarithm is kept, the rest is the middle one of the kernels learned from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

#: the column of a table of designs that holds their scheduled cycles, and columns that are equal among the designs of one kernel
SCHEDULE, _OF_KERNEL = "network.design_cycles", ("network.ops", "network.depth", "network.flops", "network.bytes", "network.plain_cycles", "network.elements", "network.accesses")
#: shares that are tried, the most cautious first; kernels that must tell, and designs of each (assumptions)
_SHARES, _LEAST_KERNELS, _LEAST_DESIGNS = (0.0, 0.25, 0.5, 0.75, 1.0), 5, 10


def kernels(frame: pd.DataFrame) -> np.ndarray:
    """(n,) names of the kernels whose designs the rows are: what they have in common. All one where the frame tells no kernels."""
    here = [name for name in _OF_KERNEL if name in frame]
    return frame[here].map(lambda v: f"{v:.9g}").agg(" ".join, axis=1).to_numpy(dtype=str) if here else np.full(len(frame), "")


def learned(schedule: np.ndarray, ratios: np.ndarray, truth: np.ndarray, kernel: np.ndarray) -> dict[str, float]:
    """{"share", "ratio"} from (n,) scheduled cycles, ratios to them answered about kernels held out, and true ratios: the share whose answers order the designs of each kernel best, by
    the mean of Spearman's correlations, or the least whose mean is not further from that than a standard error (of the kernels' differences: the one-standard-error rule of Breiman et
    al., "Classification and Regression Trees", 1984), and the middle of the kernels' mean ratios. {} where too few kernels tell."""
    good = np.isfinite(ratios) & np.isfinite(truth) & (ratios > 0) & (truth > 0) & (schedule > 0)
    labels, place, rows = np.unique(kernel[good], return_inverse=True, return_counts=True)
    if not len(labels):
        return {}
    base, off, real = np.log(schedule[good]), np.log(ratios[good]), np.log(truth[good])
    middle = float(np.median(np.bincount(place, real) / rows))
    parts = [here for i in range(len(labels)) if rows[i] >= _LEAST_DESIGNS and np.ptp((base + real)[here := np.flatnonzero(place == i)]) > 0]
    if len(parts) < _LEAST_KERNELS:
        return {}

    orders = {share: np.array([_correlation((base + share * off)[here], (base + real)[here]) for here in parts]) for share in _SHARES}
    best = orders[max(_SHARES, key=lambda share: float(np.mean(orders[share])))]
    lost = {share: best - each for share, each in orders.items()}
    share = next(share for share in _SHARES if np.mean(lost[share]) <= np.std(lost[share], ddof=1) / math.sqrt(len(parts)))
    return {"share": share, "ratio": float(np.exp(middle))}


def said(ratios: np.ndarray, told: Mapping[str, Any]) -> np.ndarray:
    """(n,) ratios as they are said of kernels never seen."""
    share = float(told["share"])
    return np.where(ratios > 0, np.exp(share * np.log(np.where(ratios > 0, ratios, 1.0))) * float(told["ratio"]) ** (1.0 - share), ratios)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearmanr(a, b).statistic) if np.ptp(a) > 0 else 0.0
