"""Designs of kernels never seen: how much of what was learned beside their schedule is said of them.

A model of designs learns ratios of measured cycles to scheduled ones. Of a kernel that it knows, they are that kernel's; carried over to another one they can put its designs in a
worse order than the schedule has them in. Kernels held out in turn say which: a share of the ratio's logarithm is kept, the rest is the middle one of the kernels learned from. A kernel
that was known by another generation of tools alone is one never seen, but for the rest: there it is the middle of its own (of 34 such pairs of HLSyn, 17 kernels, designs are ordered by 0.72
as their schedule has them, 0.63 as the model learned them from the other tool, and the middle error of a level of their own is 0.46 of a logarithm, of all kernels' level 0.90).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from ..datasets import nested
from ..datasets.assigned import assigned

#: the column of a table of designs that holds their scheduled cycles, and columns that are equal among the designs of one kernel
SCHEDULE, _OF_KERNEL = "network.design_cycles", ("network.ops", "network.depth", "network.flops", "network.bytes", "network.plain_cycles", "network.elements", "network.accesses")
#: the column that tells the generation of tools
_TOOL = "network.brief_sums"
#: shares that are tried, the most cautious first; kernels that must tell, and designs of each (assumptions)
_SHARES, _LEAST_KERNELS, _LEAST_DESIGNS = (0.0, 0.25, 0.5, 0.75, 1.0), 5, 10


def kernels(frame: pd.DataFrame) -> np.ndarray:
    """(n,) names of the kernels whose designs the rows are: what they have in common, and the generation of tools. All one where the frame tells no kernels."""
    here = [name for name in _OF_KERNEL if name in frame]
    if not here:
        return np.full(len(frame), "")
    tool = frame[_TOOL] if _TOOL in frame else pd.Series(0.0, frame.index)
    return frame[here].assign(tool=tool).map(lambda v: f"{v:.9g}").agg(" ".join, axis=1).to_numpy(dtype=str)


def of_designs(frame: pd.DataFrame, left_out: Sequence[str]) -> tuple[str, ...]:
    """The columns of a frame that are fields of cells (`point[__PARA__L0]`), and not among those left out."""
    return tuple(c for c in map(str, frame.columns) if nested.is_nested(c) and c not in left_out)


def with_columns(frame: pd.DataFrame, left_out: Sequence[str], kept: Sequence[str] | None) -> pd.DataFrame:
    """A frame of designs with the columns that a model knows: pragmas that no kernel of its table had say nothing to it and are dropped, those `kept` that no kernel asked about has are
    empty where its cell is there. None kept (models that know of none): those left out are dropped, and nothing else."""
    cells = {nested.cell_of(c) for c in (*(kept or ()), *left_out) if nested.is_nested(c)}
    there = {nested.cell_of(c) for c in map(str, frame.columns) if nested.is_nested(c)}
    others = [] if kept is None else [c for c in of_designs(frame, left_out) if nested.cell_of(c) in cells and c not in kept]
    return assigned(frame.drop(columns=[*left_out, *others], errors="ignore"), {c: np.nan for c in kept or () if c not in frame and nested.cell_of(c) in there})


def learned(schedule: np.ndarray, ratios: np.ndarray, truth: np.ndarray, kernel: np.ndarray) -> dict[str, Any]:
    """{"share", "ratio", "own"} from (n,) scheduled cycles, ratios to them answered about kernels held out, and true ratios: the share whose answers order the designs of each kernel best, by
    the mean of Spearman's correlations, or the least whose mean is not further from that than a standard error (of the kernels' differences: the one-standard-error rule of Breiman et
    al., "Classification and Regression Trees", 1984), the middle of the kernels' mean ratios, and each kernel's middle one by its name without the tool. {} where too few kernels tell."""
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
    bare = np.array([_without_tool(name) for name in labels])
    own = {str(name): float(np.exp(np.median(real[bare[place] == name]))) for name in np.unique(bare)}
    return {"share": share, "ratio": float(np.exp(middle)), "own": own}


def said(ratios: np.ndarray, told: Mapping[str, Any], kernel: np.ndarray | None = None) -> np.ndarray:
    """(n,) ratios as they are said of kernels never seen; of those (n,) names that were known by other tools alone, about their own middle."""
    share, own = float(told["share"]), told.get("own", {})
    level = np.array([float(own.get(_without_tool(name), told["ratio"])) for name in kernel.tolist()]) if kernel is not None and own else float(told["ratio"])
    return np.where(ratios > 0, np.exp(share * np.log(np.where(ratios > 0, ratios, 1.0))) * level ** (1.0 - share), ratios)


def _without_tool(name: str) -> str:
    return name.rpartition(" ")[0]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearmanr(a, b).statistic) if np.ptp(a) > 0 else 0.0
