"""How far the sizes of operators reach, each by itself and together.

A table may have products of 4,096 rows and products of 4,096 columns, and none with both: each size lies within what was measured, what is asked does not. Kept of a table are the operators that no other is
at least as large as in every size (the maximal ones of a partial order: Kung, Luccio and Preparata 1975, "On finding the maxima of a set of vectors"); an operator lies as many octaves beyond them as its sizes, all of them,
would have to shrink by until one of those were as large.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..datasets.columns import OpColumns
from ..datasets.ops import KIND_NAMES

#: sizes of an operator, and how much of it there is, of kinds without a matrix view (rows of a norm, elements)
SIZES = ("b", "m", "n", "k", "row", "window")
COUNT = "output_bytes"
#: octaves that a size may lie beyond: a tenth more is not beyond
STEP = float(np.log2(1.1))
#: operators kept of a kind; where more are maximal, sizes are rounded up to the first of these (octaves) that leaves so few
_MOST, _COARSER = 256, (0.0, 0.25, 0.5, 1.0, 2.0)
#: the share of a table's own rows that lie no farther beyond the others than is usual, and the rows that tell
_USUAL, _TOLD = 0.98, 1_500
#: operators compared at once
_CHUNK = 4096


def known(ops: OpColumns, groups: np.ndarray) -> dict[str, Any]:
    """Kind of operator -> its `sizes`, the `most` of each (log2), the maximal operators (`together`, log2), and how far beyond the others one of the table lies (`usual`, octaves), as plain JSON. `groups` (n,): rows of
    one are no news to each other."""
    return {kind: _of_kind(ops.take(rows), groups[rows]) for kind, rows in _by_kind(ops).items()}


def beyond(ops: OpColumns, reached: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Size -> (n,) octaves that operators lie beyond the largest of it; 0 within, and for kinds that nobody knows."""
    out = {size: np.zeros(len(ops)) for size in (*SIZES, COUNT)}
    for kind, rows in _by_kind(ops).items():
        for size, most in zip(reached[kind]["sizes"], reached[kind]["most"], strict=True) if kind in reached else ():
            over = _log2(getattr(ops, size)[rows]) - most
            out[size][rows] = np.where(over > STEP, over, 0.0)
    return {size: over for size, over in out.items() if any(size in each["sizes"] for each in reached.values())}


def together(ops: OpColumns, reached: Mapping[str, Any]) -> np.ndarray:
    """(n,) octaves that operators lie beyond all known ones together, though each of their sizes is within; 0 within."""
    out = np.zeros(len(ops))
    for kind, rows in _by_kind(ops).items():
        if kind in reached:
            told = reached[kind]
            asked = _logs(ops, rows, told["sizes"])
            over = np.where((asked - np.array(told["most"]) > STEP).any(1), 0.0, _apart(asked, np.array(told["together"])))
            out[rows] = np.where(over > STEP, over, 0.0)
    return out


def reasons(ops: OpColumns, reached: Mapping[str, Any]) -> list[str]:
    """For each of n operators what is unusual about its sizes together, in words: they lie farther beyond all known ones than those lie beyond one another. "" where nothing is."""
    out = [""] * len(ops)
    far = together(ops, reached)
    for kind, rows in _by_kind(ops).items():
        rows = rows[far[rows] > (reached[kind]["usual"] if kind in reached else np.inf)]
        if len(rows):
            sizes, largest = reached[kind]["sizes"], np.array(reached[kind]["together"])
            for i, asked in zip(rows, _logs(ops, rows, sizes), strict=True):
                nearest = largest[np.maximum(asked - largest, 0.0).max(1).argmin()]
                told = [j for j in range(len(sizes)) if largest[:, j].max() > 0.0]
                out[i] = f"never trained on together: {', '.join(f'{sizes[j]} = {2.0 ** asked[j]:.6g}' for j in told)}; the nearest that reaches far is {', '.join(f'{2.0 ** nearest[j]:.4g}' for j in told)}"
    return out


def _of_kind(ops: OpColumns, groups: np.ndarray) -> dict[str, Any]:
    sizes = [s for s in (*SIZES, *(() if (ops.m > 0).any() else (COUNT,))) if (getattr(ops, s) > 0).any()]
    logs = _logs(ops, np.arange(len(ops)), sizes)
    different = _different(np.round(logs, 6))
    for step in _COARSER:
        most = _maximal(_different(np.ceil(np.round(different / step, 6)) * step) if step else different)
        if most is not None:
            break
    else:
        most = logs.max(0, keepdims=True)
    return {"sizes": sizes, "most": [round(float(v), 4) for v in logs.max(0)[:len(sizes)]], "together": [[round(float(v), 4) for v in row] for row in np.minimum(most, logs.max(0))], "usual": _usual(logs, groups)}


def _different(rows: np.ndarray) -> np.ndarray:
    """The different ones of rows (n, d)."""
    code = np.zeros(len(rows), dtype=np.int64)
    for column in rows.T:
        values, at = np.unique(column, return_inverse=True)
        code = np.unique(code * len(values) + at, return_inverse=True)[1]
    return rows[np.unique(code, return_index=True)[1]]


def _maximal(rows: np.ndarray) -> np.ndarray | None:
    """Those of different rows (n, d) that no other is as large as throughout; None where they are too many."""
    rows, found = rows[np.argsort(-rows.sum(1), kind="stable")], list[np.ndarray]()
    while len(rows):
        if len(found) == _MOST:
            return None
        found.append(rows[0])
        rows = rows[(rows > rows[0]).any(1)]
    return np.array(found)


def _usual(logs: np.ndarray, groups: np.ndarray) -> float:
    """How far beyond those of other groups all but a few of the rows lie, octaves; never less than `STEP`."""
    some = np.unique(np.linspace(0, len(logs) - 1, min(len(logs), _TOLD)).astype(np.int64))
    mine, codes = logs[some], np.unique(groups[some].astype(str), return_inverse=True)[1]
    out = np.zeros(len(mine))
    for i in range(len(mine)):
        others = (mine >= mine[i]).all(1) & (codes != codes[i])
        if not others.any() and (codes != codes[i]).any():
            out[i] = np.maximum(mine[i] - mine[codes != codes[i]], 0.0).max(1).min()
    return max(float(np.quantile(out, _USUAL)), STEP)


def _apart(asked: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """(n,) octaves from (n, d) sizes down to the nearest of (p, d) ones."""
    out = np.zeros(len(asked))
    for at in range(0, len(asked), _CHUNK):
        over = np.zeros((len(asked[at:at + _CHUNK]), len(largest)))
        for one, other in zip(asked[at:at + _CHUNK].T, largest.T, strict=True):
            np.maximum(over, one[:, None] - other, out=over)
        out[at:at + _CHUNK] = over.min(1)
    return out


def _logs(ops: OpColumns, rows: np.ndarray, sizes: list[str]) -> np.ndarray:
    return np.column_stack([_log2(getattr(ops, size)[rows]) for size in sizes]) if sizes else np.zeros((len(rows), 1))


def _log2(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.log2(np.maximum(values, 1.0)))


def _by_kind(ops: OpColumns) -> dict[str, np.ndarray]:
    return {KIND_NAMES[code]: np.flatnonzero(ops.kind == code) for code in np.unique(ops.kind)}
