"""How far the numbers of a plain table reach, up and down, and what is said of rows beyond them.

Trees answer a size beyond the largest they saw as they answer the largest, and a process drifts back to its mean. What a cost does with a size it mostly goes on doing: beyond its reach a
row is asked at the reach, and the power of the size that the model itself shows over the last octaves carries it on. How far that may be trusted, beside the members' own answers, is
rehearsed with the largest sizes held out; and so below the least of a number that is never zero (clocks, power limits, batches) with the smallest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, product
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.assigned import assigned

#: a column has a reach where it is a number with at least so many different values, none below zero, the largest so many times the smallest above zero (assumption)
_LEAST_VALUES, _LEAST_RATIO = 5, 4.0
#: the last octaves: from this share of the reach up to it; and the last one alone, for costs settle (a clock beyond what the power limit allows): the rehearsal tells
_LAST, LAST_OCTAVE = 0.25, 0.5
#: a number of fewer different values, all above zero, goes on from its largest as from the one before to that, if they lie so far apart (assumption)
_LEAST_STEP = 1.5
#: of a power that a single step tells, this share goes on (assumption, chosen by looking: of 66 steps of eleven tables the next power was 1.16 of the one before at the median, a quarter were below 0.91)
_OF_ONE_STEP = 0.9
#: powers that costs go with: none falls or grows faster (assumption: no cost of a size is more than its cube)
_LEAST_POWER, _MOST_POWER = -1.0, 3.0
#: the largest sizes are those beyond the reach over the first of these that leaves a share `_LEFT` of the rows to learn from, and so many rows to ask about
_OVER, _LEFT, _LEAST_ROWS = (8.0, 4.0, 2.0, 1.25), 0.25, 40
#: or, of a sweep with a few rows at every size (messages of 8 bytes to 16 GB), the first of these
_OF_SWEEPS = (16.0, 32.0, 64.0, 128.0, 256.0)
#: of small tables as few as a sixth of the rows, and no fewer than so many (assumptions)
_SIXTH, _FEWEST_ROWS = 6, 6


def values_of(column: pd.Series[Any]) -> np.ndarray:
    """The different finite values of a column of numbers, in order."""
    values = np.unique(column.to_numpy(dtype=np.float64, na_value=np.nan))
    return np.asarray(values[np.isfinite(values)])


def reach(frame: pd.DataFrame) -> dict[str, float]:
    """Column -> the largest value of it, for columns that have a reach."""
    out = {}
    for name, column in frame.items():
        if column.dtype.kind not in "iuf":
            continue
        values = values_of(column)
        if len(values) >= _LEAST_VALUES and values[0] >= 0.0 and values[-1] >= _LEAST_RATIO * values[values > 0][0]:
            out[str(name)] = float(values[-1])
    return out


def floor(frame: pd.DataFrame, known: Mapping[str, float]) -> dict[str, float]:
    """Column -> the least value of it, for columns with a reach `known` that are never zero."""
    each = {name: values_of(frame[name]) for name in known}
    return {name: float(values[0]) for name, values in each.items() if len(values) and values[0] > 0.0}


def turned(frame: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """The frame with these columns' reciprocals: below the least is beyond the largest of those. What is not positive has none."""
    each = {name: frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in columns}
    return assigned(frame, {name: np.where(values > 0, 1.0 / np.where(values > 0, values, 1.0), np.nan) for name, values in each.items()})


def never_positive(frame: pd.DataFrame, columns: Iterable[str]) -> np.ndarray:
    """(n,) whether a row has zero or less where a column never had: infinitely far below, with no power that leads there."""
    return np.logical_or.reduce([frame[name].to_numpy(dtype=np.float64, na_value=np.nan) <= 0.0 for name in columns]) if columns else np.zeros(len(frame), dtype=bool)


def octaves(frame: pd.DataFrame, known: Mapping[str, float]) -> np.ndarray:
    """(n,) octaves that a row lies beyond the reach, its farthest column; 0 within (a tenth more is not beyond)."""
    over = np.ones(len(frame))
    for name, most in known.items():
        over = np.fmax(over, frame[name].to_numpy(dtype=np.float64, na_value=np.nan) / most)
    return np.where(over > 1.1, np.log2(over), 0.0)


def least_rows(count: int) -> int:
    """Rows that a rehearsal of a table of `count` must have on either side."""
    return min(_LEAST_ROWS, max(count // _SIXTH, _FEWEST_ROWS))


def largest(frame: pd.DataFrame, known: Mapping[str, float]) -> tuple[np.ndarray, float]:
    """((n,) whether a row is among the largest sizes, how many octaves they reach beyond the rest); none where too few rows would be left on either side. A column that is at its largest in most rows tells nothing;
    where the largest of all columns are too many, those of as many columns as leave rows enough, columns with the fewest such rows first."""
    values = {name: frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in known}
    least = least_rows(len(frame))
    enough = max(_LEFT * len(frame), least)
    told = [name for name, most in known.items() if (~(values[name] > most / _OVER[-1])).sum() >= enough]
    for all_of_them, over in chain(product((True, False), _OVER), product((True, False), _OF_SWEEPS)):
        held = np.zeros(len(frame), dtype=bool)
        top = {name: values[name] > known[name] / over for name in told}
        for name in sorted(top, key=lambda n: int(top[n].sum())):
            if all_of_them or (~(held | top[name])).sum() >= enough:
                held |= top[name]
        if held.sum() >= least and (~held).sum() >= enough:
            return held, float(np.log2(over))
    return np.zeros(len(frame), dtype=bool), 0.0


def few(frame: pd.DataFrame) -> dict[str, list[float]]:
    """Column -> [the largest value but one, the largest, the share of the power between them that goes on], for columns of two values or more that are too few for a reach (GPUs: 2, 4, 8)."""
    out = {}
    for name, column in frame.items():
        if column.dtype.kind not in "iuf":
            continue
        values = values_of(column)
        if 2 <= len(values) < _LEAST_VALUES and values[0] > 0.0 and values[-1] >= _LEAST_STEP * values[-2]:
            out[str(name)] = [float(values[-2]), float(values[-1]), _OF_ONE_STEP if len(values) == 2 else 1.0]
    return out


def at_most(frame: pd.DataFrame, known: Mapping[str, list[float]]) -> tuple[np.ndarray, float]:
    """((n,) whether a row has the largest value of columns of few values, how many octaves that lies beyond the one before); as many columns as leave rows enough on either side, those
    with the fewest such rows first."""
    top = {name: frame[name].to_numpy(dtype=np.float64, na_value=np.nan) > before for name, (before, _, _) in known.items()}
    held, over, least = np.zeros(len(frame), dtype=bool), 0.0, least_rows(len(frame))
    for name in sorted(top, key=lambda n: int(top[n].sum())):
        if (~(held | top[name])).sum() >= max(_LEFT * len(frame), least):
            held, over = held | top[name], max(over, float(np.log2(known[name][1] / known[name][0])))
    return (held, over) if held.sum() >= least else (np.zeros(len(frame), dtype=bool), 0.0)


def carried(frame: pd.DataFrame, known: Mapping[str, float], ask: Callable[[pd.DataFrame], np.ndarray], since: Mapping[str, Sequence[float]] | None = None,
            last: float = _LAST) -> np.ndarray:
    """(n, t) answers of `ask` (n rows of a frame -> (n, t) in SI) at the reach, carried on by the power of each size over its last octaves (from the share `last` of the reach), or where `since` tells of it
    (a value, a share) by that share of its power from the value on (from the reach itself: not carried on); as `ask` says them where they are not positive."""
    at = assigned(frame, {name: np.minimum(frame[name].to_numpy(dtype=np.float64, na_value=np.nan), most) for name, most in known.items()})
    point = ask(at)
    out = point.copy()
    for name, most in known.items():
        rows = np.flatnonzero(frame[name].to_numpy(dtype=np.float64, na_value=np.nan) > most)
        start, share = (since or {}).get(name, (most * last, 1.0))
        if not len(rows) or start >= most:
            continue
        there = at.iloc[rows]
        before = ask(assigned(there, {name: start}))
        good = (before > 0) & (point[rows] > 0)
        power = share * np.clip(np.log(np.where(good, point[rows] / np.where(good, before, 1.0), 1.0)) / np.log(most / start), _LEAST_POWER, _MOST_POWER)
        out[rows] *= np.where(good, (frame[name].to_numpy(dtype=np.float64, na_value=np.nan)[rows] / most)[:, None] ** power, 1.0)
    return out


def settled(frame: pd.DataFrame, known: Mapping[str, float], ask: Callable[[pd.DataFrame], np.ndarray], rates: np.ndarray, since: Mapping[str, Sequence[float]] | None = None) -> np.ndarray:
    """(n, t) answers of `ask` at the reach, carried on by what a cost has beside its size: where it grew over the last octave (or since the value that `since` tells) it goes on along that straight line, a launch and
    so much for each; where it fell it settles, a part that goes with the reciprocal of the size beside one that stays (Amdahl 1967). `rates`: (t,) whether a target is a rate, whose reciprocal is such a cost."""
    at = assigned(frame, {name: np.minimum(frame[name].to_numpy(dtype=np.float64, na_value=np.nan), most) for name, most in known.items()})
    point = ask(at)
    out = point.copy()
    for name, most in known.items():
        values = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
        rows = np.flatnonzero(values > most)
        start = float((since or {}).get(name, (most * LAST_OCTAVE,))[0])
        if not len(rows) or start >= most:
            continue
        before, over, part = ask(assigned(at.iloc[rows], {name: start})), (values[rows] / most)[:, None], start / most
        good = (before > 0) & (point[rows] > 0)
        grown = np.where(good, point[rows] / np.where(good, before, 1.0), 1.0)
        grown = np.where(rates, 1.0 / grown, grown)
        further = np.where(grown >= 1.0, _along(grown, over, part), _along(np.maximum(grown / part, 1.0), over, part) / over)
        out[rows] *= np.where(good, np.where(rates, 1.0 / further, further), 1.0)
    return out


def _along(grown: np.ndarray, over: np.ndarray, part: float) -> np.ndarray:
    """What a straight line comes to at `over` times its end, over what it is at the end, where it grew to `grown` times what it was at the share `part` of that."""
    return np.asarray(1.0 + (over - 1.0) * (1.0 - 1.0 / grown) / (1.0 - part))
