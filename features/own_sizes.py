"""Sizes that one machine was never measured at, though others of the table were.

A machine that has small sizes alone, in a table of all sizes, lies within everything that was measured: what its large sizes cost is as unknown as sizes beyond the table are. Whether its sizes end, or few rows happened to
be small, the other machines tell: with a share p of their rows beyond its largest, n rows drawn as theirs all stay below with probability (1 - p)^n.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..datasets.columns import OpColumns
from ..datasets.ops import KIND_NAMES
from .corners import COUNT, SIZES, STEP

#: the probability below which a machine's sizes are taken to end, and its rows of a kind that tell
_CHANCE, _LEAST_ROWS = 0.01, 5


def known(ops: OpColumns, machines: np.ndarray) -> dict[str, Any]:
    """Machine -> kind of operator -> size -> log2 of the largest that the machine was measured at, where others go on; plain JSON. `machines` (n,): names. Empty where there are none such."""
    out: dict[str, Any] = {}
    names, mine = np.unique(machines.astype(str), return_inverse=True)
    for code in np.unique(ops.kind) if len(names) > 1 else ():
        rows = np.flatnonzero(ops.kind == code)
        sizes = (COUNT,) if not (ops.m[rows] > 0).any() else SIZES
        for size in sizes:
            values, at = _log2(getattr(ops, size)[rows]), mine[rows]
            for i in np.unique(at):
                own, others = values[at == i], values[at != i]
                if len(own) < _LEAST_ROWS or not len(others):
                    continue
                beyond = float((others > own.max() + STEP).mean())
                if (1.0 - beyond) ** len(own) < _CHANCE:
                    out.setdefault(str(names[i]), {}).setdefault(KIND_NAMES[code], {})[size] = round(float(own.max()), 4)
    return out


def beyond(ops: OpColumns, machines: np.ndarray, told: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Size -> (n,) octaves that operators lie beyond what their machine was measured at; 0 within, and where its sizes do not end."""
    out: dict[str, np.ndarray] = {}
    for name in told:
        rows = np.flatnonzero(machines == name)
        for kind, sizes in told[name].items() if len(rows) else ():
            of_kind = rows[ops.kind[rows] == KIND_NAMES.index(kind)]
            for size, most in sizes.items() if len(of_kind) else ():
                over = _log2(getattr(ops, size)[of_kind]) - most
                out.setdefault(size, np.zeros(len(ops)))[of_kind] = np.where(over > STEP, over, 0.0)
    return out


def reasons(ops: OpColumns, machines: np.ndarray, told: Mapping[str, Any]) -> list[str]:
    """For each of n operators which of its sizes its machine was never measured at, in words; "" where there is none."""
    out: list[list[str]] = [[] for _ in range(len(ops))]
    for size, over in beyond(ops, machines, told).items():
        for i in np.flatnonzero(over > 0.0):
            value = float(getattr(ops, size)[i])
            out[i].append(f"{size} = {value:.6g}, while {machines[i]} was measured up to {value / 2.0 ** over[i]:.4g}")
    return ["; ".join(each) for each in out]


def merged(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Size -> (n,) the larger of two accounts of how far beyond it operators lie."""
    return {size: np.maximum(one[size], other[size]) if size in one and size in other else one[size] if size in one else other[size] for size in (*one, *(s for s in other if s not in one))}


def _log2(values: Sequence[float] | np.ndarray) -> np.ndarray:
    return np.asarray(np.log2(np.maximum(values, 1.0)))
