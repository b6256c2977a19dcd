"""Sizes of operators held out one by one, and the corners where several are large: what answers beyond a table of few rows, or between its sizes, are worth.

A large table has its largest sizes held out at once (`rehearsal.sizes`), which a small one cannot spare. Here each size has its largest values held out in turn; and of every two sizes, the rows with much of both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..datasets.columns import OpColumns
from ..datasets.table import Table
from ..features import corners
from . import rehearsal
from .base import Surrogate

#: what widths about rows in a corner are called, beside those about each size
CORNER = "corner"
#: the largest values of a size are those that a share `_HELD` of a kind's rows have at least; no more than `_MOST_HELD` of all rows are held out, and no fewer than so many stand on either side
_HELD, _MOST_HELD, _LEAST_HELD, _LEAST_LEFT = 0.1, 0.7, 10, 20
#: a size is much in a corner that the first of these shares of a kind's rows reach which leaves so large a share in corners
_MUCH, _IN_CORNERS = (0.1, 0.2, 0.3, 0.4), 0.1


@dataclass(frozen=True)
class Tried:
    """Answers beyond a size, or in a corner: target -> (truth, answer), each (n,) in SI, and how many octaves the farthest rows lay beyond the rest."""

    scored: dict[str, tuple[np.ndarray, np.ndarray]]
    octaves: float


def cuts(ops: OpColumns, corner_alone: bool = False) -> dict[str, np.ndarray]:
    """Size, or `CORNER` -> (n,) the rows to hold out; without those that would leave too few rows on either side."""
    kinds = [np.flatnonzero(ops.kind == code) for code in np.unique(ops.kind)]
    out = {} if corner_alone else {size: _over_kinds(len(ops), kinds, lambda rows, size=size: _largest(getattr(ops, size)[rows], _HELD)) for size in corners.SIZES}  # type: ignore[misc]
    if not corner_alone:
        plain = [rows for rows in kinds if not (ops.m[rows] > 0).any()]
        out[corners.COUNT] = _over_kinds(len(ops), plain, lambda rows: _largest(ops.output_bytes[rows], _HELD))
    out[CORNER] = _over_kinds(len(ops), kinds, lambda rows: _corner(ops, rows))
    return {name: held for name, held in out.items() if held.sum() >= _LEAST_HELD and (~held).sum() >= max(_LEAST_LEFT, (1.0 - _MOST_HELD) * len(ops))}


def tried(table: Table, fresh: Callable[[], Sequence[Surrogate]], targets: Sequence[str], seed: int, corner_alone: bool = False) -> dict[str, Tried]:
    """Size, or `CORNER` -> how far off `fresh` members fitted to the rest are together (their mean in log space) about the rows held out. Of those count the ones that lie beyond what is left in that size, or in a corner of it."""
    ops = table.questions.ops
    found = {}
    for name, held in cuts(ops, corner_alone).items():
        out, rest = np.flatnonzero(held), np.flatnonzero(~held)
        reached = corners.known(ops.take(rest), table.groups[rest])
        over = corners.together(ops.take(out), reached) if name == CORNER else corners.beyond(ops.take(out), reached).get(name, np.zeros(len(out)))
        out = out[over > 0.0]
        if len(out) < _LEAST_HELD or not all(rehearsal.varied(table.targets[t][rest]) for t in targets):
            continue
        part = rehearsal.held(table, [(out, rest)], fresh, targets, np.random.default_rng(seed))[0]
        found[name] = Tried({t: (part.truth[t], mean_answer([p[t] for p in part.points])) for t in targets}, float(over.max()))
    return found


def mean_answer(points: Sequence[np.ndarray]) -> np.ndarray:
    """(n,) what members say together."""
    stack = np.stack(points)
    positive = (stack > 0).all(0)
    return np.where(positive, np.exp(np.log(np.where(positive, stack, 1.0)).mean(0)), stack.mean(0))


def _over_kinds(count: int, kinds: Sequence[np.ndarray], held: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    out = np.zeros(count, dtype=bool)
    for rows in kinds:
        out[rows] = held(rows)
    return out


def _largest(values: np.ndarray, share: float) -> np.ndarray:
    """(n,) whether a value is among the largest that a share of the rows have; none are where all are the same."""
    different, counts = np.unique(values, return_counts=True)
    least = max(share * len(values), _LEAST_HELD)
    at = int(np.flatnonzero(np.cumsum(counts[::-1]) >= least)[0]) if len(values) >= least else len(different)
    return np.asarray(values >= different[::-1][at]) if at < len(different) - 1 else np.zeros(len(values), dtype=bool)


def _corner(ops: OpColumns, rows: np.ndarray) -> np.ndarray:
    """(n,) whether a row of a kind has much of two sizes; sizes that go together have no corner."""
    out = np.zeros(len(rows), dtype=bool)
    for share in _MUCH:
        much = [held for size in corners.SIZES if (held := _largest(getattr(ops, size)[rows], share)).any()]
        pairs = [one & other for one, other in combinations(much, 2) if (one & other).sum() < min(one.sum(), other.sum())]
        out = np.logical_or.reduce(pairs) if pairs else out
        if out.sum() >= max(_IN_CORNERS * len(rows), _LEAST_HELD):
            break
    return out
