"""Two values that no row of a plain table had together, though it had either: a machine never measured with eight GPUs, the corner where two sizes are both large.

Each value being known, no single column tells that such a row is new, and rows held out group by group mostly have neighbours that share the pair. Looked at are pairs of columns of few values whose combinations were measured
for a good part, each in several groups: there what is missing is missing as a block, not by chance. Such a row is answered as it is, or as a product of factors is: what the one value takes with another partner, times what the other does, over those partners together
(Box, Hunter and Hunter, "Statistics for Experimenters", 2005: main effects without an interaction, on logarithms). Who speaks, and how far off that is, is rehearsed with a block like the missing one held out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.assigned import assigned
from ..datasets.errors import FormatError
from .new_values import near_known

#: of the combinations of two columns so many must have been measured, at least; groups that those belong to (the middle one), at least; pairs of columns that are kept, those that lack most (assumptions)
_MEASURED, _LEAST_GROUPS, _MOST_PAIRS = 0.3, 3, 30
#: other partners that a row is asked with
_MOST_CROSSED = 3
#: share of the combinations held out where every value of either column lacks some
_SCATTERED = 0.2
#: rows held out, at least, and their share of all, at most
_LEAST_ROWS, _MOST_HELD = 10, 0.5


def learn(frame: pd.DataFrame, groups: np.ndarray, columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Pairs of `columns` (column -> its values) that lack some combinations: "columns": (a, b), "values": theirs, "missing": places of those combinations. Those that lack most first."""
    names = pd.factorize(groups.astype(str))[0]
    places = {c: _places(frame[c], values) for c, values in columns.items() if len(values) > 1}
    found: list[dict[str, Any]] = []
    for i, a in enumerate(places):
        for b in list(places)[i + 1:]:
            shape = (len(columns[a]), len(columns[b]))
            cell = np.where((places[a] >= 0) & (places[b] >= 0), places[a] * shape[1] + places[b], -1)
            each = pd.Series(names[cell >= 0]).groupby(cell[cell >= 0]).nunique()
            missing = np.setdiff1d(np.arange(shape[0] * shape[1]), each.index.to_numpy())
            measured = np.zeros(shape, dtype=bool)
            measured.flat[each.index.to_numpy()] = True
            if measured.sum(0).max() < 2 or measured.sum(1).max() < 2:  # the one settles the other: no pair of choices
                continue
            if len(missing) and len(each) > _MEASURED * shape[0] * shape[1] and each.median() >= _LEAST_GROUPS:
                found.append({"columns": [a, b], "values": [list(columns[a]), list(columns[b])], "missing": [[int(m // shape[1]), int(m % shape[1])] for m in missing]})
    return sorted(found, key=lambda told: -len(told["missing"]) / (len(told["values"][0]) * len(told["values"][1])))[:_MOST_PAIRS]


def name(told: Mapping[str, Any]) -> str:
    """What a pair of columns is called."""
    return " with ".join(told["columns"])


def missing(frame: pd.DataFrame, told: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """(n, pairs) whether a row has two values that are known, but not together."""
    out = np.zeros((len(frame), len(told)), dtype=bool)
    places: dict[str, np.ndarray] = {}
    for at, pair in enumerate(told):
        for column, values in zip(pair["columns"], pair["values"], strict=True):
            if column not in places:
                places[column] = _places(frame[column], values)
        a, b = (places[column] for column in pair["columns"])
        out[:, at] = (a >= 0) & (b >= 0) & lacking(pair)[a, b]
    return out


def crossed(frame: pd.DataFrame, told: Mapping[str, Any], lacks: np.ndarray, ask: Callable[[pd.DataFrame], np.ndarray]) -> np.ndarray:
    """(n, t) answers in SI to rows whose two values were never seen together, by `ask` (rows of a frame -> (n, t)) with other partners, those nearest (of words: with the most rows): the middle of up to `_MOST_CROSSED`; NaN where
    no partners were measured together. `lacks`: (values of the one, of the other) combinations that were not measured. By logarithms where answers are positive, else by differences."""
    (a, b), values = told["columns"], told["values"]
    at = [_places(frame[c], v) for c, v in zip((a, b), values, strict=True)]
    out: np.ndarray | None = None
    for i, j in {*zip(*(each.tolist() for each in at), strict=True)}:
        others = [(x, y) for x in range(len(values[0])) for y in range(len(values[1])) if x != i and y != j and not (lacks[i, y] or lacks[x, j] or lacks[x, y])]
        rows = np.flatnonzero((at[0] == i) & (at[1] == j))
        near = sorted(others, key=lambda cell: (_steps(values[0], i, cell[0]) + _steps(values[1], j, cell[1]), cell))[:_MOST_CROSSED] if min(i, j) >= 0 else []
        part, each = frame.iloc[rows].reset_index(drop=True), []
        for x, y in near:
            one, other, both = (ask(assigned(part, {a: values[0][p], b: values[1][q]})) for p, q in ((i, y), (x, j), (x, y)))
            positive = (one > 0) & (other > 0) & (both > 0)
            each.append(np.where(positive, one * np.where(positive, other, 1.0) / np.where(positive, both, 1.0), one + other - both))
        if each:
            out = np.full((len(frame), each[0].shape[1]), np.nan) if out is None else out
            out[rows] = np.median(each, axis=0)
    return np.full((len(frame), 1), np.nan) if out is None else out


def lacking(told: Mapping[str, Any], frame: pd.DataFrame | None = None) -> np.ndarray:
    """(values of the one, of the other) combinations that were not measured; those of the rows of a `frame` as if they were not, either."""
    out = np.zeros((len(told["values"][0]), len(told["values"][1])), dtype=bool)
    out[tuple(np.transpose(told["missing"]))] = True
    if frame is not None:
        at = [_places(frame[c], v) for c, v in zip(told["columns"], told["values"], strict=True)]
        known = (at[0] >= 0) & (at[1] >= 0)
        out[at[0][known], at[1][known]] = True
    return out


def _steps(values: Sequence[Any], one: int, other: int) -> int:
    """How far a partner is: of numbers in places, of words by how many have more rows."""
    return other if isinstance(values[0], str) else abs(one - other)


def checked(told: Sequence[Mapping[str, Any]], where: object) -> None:
    """Raises FormatError where a saved pair is none: places that its values have not, or nothing missing."""
    for pair in told:
        sizes = [len(values) for values in pair["values"]]
        places = np.array(pair["missing"])
        if len(sizes) != 2 or len(pair["columns"]) != 2 or min(sizes) < 2 or places.ndim != 2 or places.shape[1] != 2 or (places < 0).any() or (places >= sizes).any() or not np.isfinite(pair["off"]):
            raise FormatError(f"{where}: values never seen together: expected two columns and places among their values, got {pair['columns']}")


def held(frame: pd.DataFrame, told: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
    """(n,) rows that a rehearsal holds out: what is missing of some values is held out of half of those that lack nothing, of numbers those next to them; where all lack something, a share of the
    combinations at random. None where that leaves too few rows on either side."""
    lacks = lacking(told)
    places = [_places(frame[column], values) for column, values in zip(told["columns"], told["values"], strict=True)]
    whole = [np.flatnonzero(~lacks.any(1)), np.flatnonzero(~lacks.any(0))]
    axis = int(len(whole[1]) * lacks.shape[0] > len(whole[0]) * lacks.shape[1])
    block = np.zeros_like(lacks)
    if len(whole[axis]):
        others, gaps = np.flatnonzero(lacks.any(axis)), np.flatnonzero(lacks.any(1 - axis))
        if isinstance(told["values"][axis][0], str):
            chosen = rng.permutation(whole[axis])
        else:
            chosen = whole[axis][np.argsort(np.abs(whole[axis] - gaps.mean()), kind="stable")]
        lines = chosen[:max(1, len(chosen) // 2)]
        block[np.ix_(lines, others) if axis == 0 else np.ix_(others, lines)] = True
    else:
        block = ~lacks & (rng.random(lacks.shape) < _SCATTERED)
    known = (places[0] >= 0) & (places[1] >= 0)
    here = np.asarray(known & block[places[0], places[1]])
    if any(np.setdiff1d(place[here], place[~here]).size for place in places):  # that would hold out a value, not a pair
        return np.zeros(len(frame), dtype=bool)
    return here if _LEAST_ROWS <= here.sum() <= _MOST_HELD * len(frame) else np.zeros(len(frame), dtype=bool)


def _places(column: pd.Series[Any], values: Sequence[Any]) -> np.ndarray:
    """(n,) which of the values a row has, -1 for none."""
    if isinstance(values[0], str):
        at = {word: i for i, word in enumerate(values)}
        return np.array([at.get(str(word), -1) for word in column.tolist()], dtype=np.int64)
    return near_known(column.to_numpy(dtype=np.float64, na_value=np.nan), np.array(values))
