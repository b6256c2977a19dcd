"""A value that a column of a plain table never had: a backend, a precision, a bit width that no row was measured with.

Members answer it as chance has it: trees send a word they never saw down the branch of whatever was set apart least, a process puts it as far from every known word as from any other, and a width between
two known ones drifts towards the mean. What is known is asked instead: the same row with each value of the table, and the median of those; of a number, the two it lies between, joined by where it
lies, and beyond the ends also carried on by the power that the last two show. Who speaks, and how far off that is, is rehearsed with values held out in turn.

Columns of few values that groups do not settle are looked at: where a value is a group of its own, holding groups out has held values out already; where it has two, a twin was always left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.assigned import assigned
from .newcomer import KIN, named_alike, weighted_median

#: columns of words that are looked at, the first ones; new numbers of one row that are joined or carried on together, for asking doubles with each (assumptions)
_MOST_WORDED, _MOST_CARRIED = 8, 3
#: rows that are asked about at once: each is asked with every value
_ROWS_AT_ONCE = 2_500
#: values of a column of words, of one of numbers, at most; rows to a value, on average, from which a number is one of few values (assumptions)
_MOST_WORDS, _MOST_NUMBERS, _ROWS_PER_NUMBER = 60, 24, 12
#: numbers of a table that are looked at; where more have few values most are counters, not choices: those whose values rows that are otherwise equal were measured with, so many of them (assumptions)
_MOST_COLUMNS, _CROSSED = 8, 1.5
#: groups that the rows of a value belong to, at least (the middle value); rows that are looked at for that
_LEAST_GROUPS, _MOST_ROWS = 2, 20_000
#: values that a row is asked with, those with the most rows; combinations of values of several columns kept for rows that are new in more than one
_MOST_ASKED, _MOST_JOINT = 8, 40
#: a number so near to a known one is no new value: this share of it, and of the gap between those that it lies between (assumption)
_NEAR = 0.1
#: rows of a value held out, at least, and its share of all, at most; a word that no table has
_LEAST_ROWS, _MOST_HELD, _NOBODYS = 10, 0.7, "(none of those)"
#: powers that costs go with, at most
_POWERS = (-1.0, 3.0)
#: values, of which the larger is so many times the smaller, that a power is read off (assumption: a quarter of an octave); none goes on where all lie nearer
_APART = 2.0**0.25

Ask = Callable[[pd.DataFrame], np.ndarray]


def learn(frame: pd.DataFrame, groups: np.ndarray, left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """What must be known to ask: "columns": column -> its values (words with the most rows first, numbers in order) and square roots of their rows; "joint": frequent rows of those of words; "alike": that words whose
    names share parts count more for one another, powers are read off numbers that lie apart, and intervals grow beyond the ends (models saved before lack it).
    Empty where no column has few values. `left_out`: columns that somebody else answers for."""
    some = np.sort(np.random.default_rng(0).permutation(len(frame))[:_MOST_ROWS])
    names = pd.factorize(groups[some].astype(str))[0]
    words: dict[str, dict[str, Any]] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for column in (c for c in map(str, frame.columns) if c not in left_out):
        if pd.api.types.is_bool_dtype(frame[column]):
            continue
        told = pd.api.types.is_numeric_dtype(frame[column])
        values = pd.Series(frame[column].to_numpy(dtype=np.float64, na_value=np.nan) if told else frame[column].astype(str).to_numpy(dtype=object))
        counts = values.value_counts()
        if not (1 <= len(counts) <= (_MOST_NUMBERS if told else _MOST_WORDS)) or (told and (len(values) < _ROWS_PER_NUMBER * len(counts) or values.isna().any())):
            continue
        if not told and len(words) == _MOST_WORDED:
            continue
        if np.median(pd.Series(names).groupby(values.to_numpy()[some]).nunique()) < _LEAST_GROUPS:
            continue
        counts = counts.sort_index() if told else counts
        (numbers if told else words)[column] = {"values": [float(v) if told else str(v) for v in counts.index], "worth": [round(float(np.sqrt(n)), 4) for n in counts]}
    constant = {c: known for c, known in numbers.items() if len(known["values"]) == 1}  # no row tells what another value does, however many such columns there are
    numbers = {c: known for c, known in numbers.items() if c not in constant}
    if len(numbers) > _MOST_COLUMNS:
        crossed = _crossed(frame, list(numbers))
        numbers = {c: numbers[c] for c in sorted(numbers, key=lambda c: -crossed[c])[:_MOST_COLUMNS] if crossed[c] >= _CROSSED}
    numbers |= constant
    columns = {**words, **numbers}
    if not columns:
        return {}
    joint = frame[list(words)].astype(str).value_counts().index[:_MOST_JOINT] if words else ()
    return {"columns": columns, "joint": [[str(v) for v in row] for row in joint], "alike": True}


def _crossed(frame: pd.DataFrame, columns: list[str]) -> dict[str, float]:
    """Column -> how many of its values rows that are equal in all others were measured with, on average."""
    each = {str(c): pd.util.hash_array(pd.factorize(frame[c])[0]) for c in frame.columns}
    whole = np.asarray(np.sum([h * np.uint64(2 * at + 1) for at, h in enumerate(each.values())], axis=0, dtype=np.uint64))
    rows = len(pd.unique(whole))
    return {c: rows / len(pd.unique(whole - each[c] * np.uint64(2 * list(each).index(c) + 1))) for c in columns}


def strange(frame: pd.DataFrame, told: Mapping[str, Any], largest: Mapping[str, float] | None = None) -> np.ndarray:
    """(n, columns) whether a row has a value that the column never had. Not those above `largest` (column -> value), for which somebody else speaks; a number within a
    tenth of a known one is known, if that is no more than a tenth of the way to the next."""
    columns = told.get("columns", {})
    out = np.zeros((len(frame), len(columns)), dtype=bool)
    for at, (column, known) in enumerate(columns.items()):
        if isinstance(known["values"][0], str):
            words = set(known["values"])
            out[:, at] = [str(word) not in words for word in frame[column].tolist()]  # of a single row a tenth of what pandas takes
            continue
        values, told_of = frame[column].to_numpy(dtype=np.float64, na_value=np.nan), np.array(known["values"])
        out[:, at] = np.isfinite(values) & (near_known(values, told_of) < 0) & (values <= (largest or {}).get(column, np.inf))
    return out


def near_known(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(n,) places of the `known` numbers (in order) that (n,) values are as good as: within a tenth of one, if that is no more than a tenth of the way to the next; -1 for others."""
    above = np.searchsorted(known, values)
    sides = np.maximum(above - 1, 0), np.minimum(above, len(known) - 1)
    below, beyond = known[sides[0]], known[sides[1]]
    gap = np.where(beyond > below, beyond - below, np.inf)
    off = [np.where(np.abs(values - side) <= _NEAR * np.minimum(np.abs(side), gap), np.abs(values - side), np.inf) for side in (below, beyond)]
    return np.where(np.isfinite(np.fmin(*off)), np.where(off[0] < off[1], *sides), -1)


def held(frame: pd.DataFrame, told: Mapping[str, Any], column: str) -> list[Any]:
    """The values of a column that a rehearsal may hold out, in order: words with the most rows first, of numbers the one most in the middle, the lowest, one a quarter up, others. None that has most
    of the rows, or hardly any."""
    values = told["columns"][column]["values"]
    enough = [v for v in values if _LEAST_ROWS <= of(frame, told, column, v).sum() <= _MOST_HELD * len(frame)]
    if isinstance(values[0], str) or len(values) < 2:
        return enough if len(values) > 1 else []
    inner = sorted((v for v in enough if values[0] < v < values[-1]), key=lambda v: abs(values.index(v) - len(values) // 2))
    return [*inner[:1], *(v for v in enough if v == values[0]), *sorted(inner[1:], key=lambda v: abs(values.index(v) - len(values) // 4))]


def of(frame: pd.DataFrame, told: Mapping[str, Any], column: str, value: Any) -> np.ndarray:
    """(n,) whether a row has the value."""
    return np.asarray((frame[column].astype(str) if isinstance(value, str) else frame[column]).to_numpy() == value)


def without(told: Mapping[str, Any], column: str, value: Any, asked: pd.DataFrame, rest: pd.DataFrame) -> dict[str, Any]:
    """What is known where no row has the value. What only the rows `asked` have, none of the `rest`, went with it: a version that one backend alone has, the widths of a network. A column of which nothing is left is gone."""
    columns: dict[str, Any] = {}
    for name, known in told["columns"].items():
        mine, theirs = (set(f[name].astype(str) if sort_of(told, name) == "words" else f[name]) for f in (asked, rest))
        kept = [(v, w) for v, w in zip(known["values"], known["worth"], strict=True) if not (v in mine and v not in theirs) and not (name == column and v == value)]
        if kept:
            columns[name] = {"values": [v for v, _ in kept], "worth": [w for _, w in kept]}
    words = _words(told)
    left = [at for at, name in enumerate(words) if name in columns]
    joint = [[row[at] for at in left] for row in told["joint"] if all(row[at] in columns[words[at]]["values"] for at in left)]
    return {**told, "columns": columns, "joint": joint}


def as_new(frame: pd.DataFrame, told: Mapping[str, Any], column: str) -> pd.DataFrame:
    """The rows with a word in the column that nobody knows; numbers as they are."""
    return assigned(frame, {column: _NOBODYS}) if isinstance(told["columns"][column]["values"][0], str) else frame


def beyond(frame: pd.DataFrame, told: Mapping[str, Any], new: np.ndarray) -> np.ndarray:
    """(n,) whether a row is new by a number below the lowest or above the largest of its column. `new`: (n, columns), as `strange` says."""
    return np.asarray(beyond_each(frame, told, new).any(1))


def beyond_each(frame: pd.DataFrame, told: Mapping[str, Any], new: np.ndarray) -> np.ndarray:
    """(n, columns) the same, column by column."""
    out = np.zeros_like(new)
    for at, (column, known) in enumerate(told["columns"].items()):
        if not isinstance(known["values"][0], str):
            values = frame[column].to_numpy(dtype=np.float64, na_value=np.nan)
            out[:, at] = new[:, at] & ((values < known["values"][0]) | (values > known["values"][-1]))
    return out


def octaves_beyond(frame: pd.DataFrame, told: Mapping[str, Any], new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """((n,) how many octaves farther than the last step between known numbers a row's new number lies beyond them, the farthest of its columns, (n,) what share that is of all the way beyond them); 0 within, and
    for numbers that are not positive. `new`: (n, columns), as `strange` says."""
    out, share = np.zeros(len(frame)), np.zeros(len(frame))
    if not told.get("alike"):
        return out, share
    beyond = beyond_each(frame, told, new)
    for at, (column, known) in enumerate(told["columns"].items()):
        values = known["values"]
        if isinstance(values[0], str) or not beyond[:, at].any() or values[0] <= 0 or len(values) < 2:
            continue
        x = frame[column].to_numpy(dtype=np.float64, na_value=np.nan)
        x = np.where(beyond[:, at] & (x > 0), x, values[0])
        for way, step in ((np.log2(x / values[-1]), np.log2(values[-1] / values[-2])), (np.log2(values[0] / x), np.log2(values[1] / values[0]))):
            farther = way - step > out
            out, share = np.where(farther, way - step, out), np.where(farther, (way - step) / np.where(farther, way, 1.0), share)
    return out, share


def widest(frame: pd.DataFrame, told: Mapping[str, Any], column: str) -> np.ndarray:
    """(n,) logarithm of the ratio of the two known numbers that a row's lies between; infinite beyond them, and where they are not positive."""
    values, known = frame[column].to_numpy(dtype=np.float64, na_value=np.nan), np.array(told["columns"][column]["values"])
    above = np.searchsorted(known, values)
    low, high = known[np.maximum(above - 1, 0)], known[np.minimum(above, len(known) - 1)]
    inside = (above > 0) & (above < len(known)) & (low > 0)
    return np.where(inside, np.log(np.where(inside, high, 1.0) / np.where(inside, low, 1.0)), np.inf)


def sort_of(told: Mapping[str, Any], column: str) -> str:
    """"words" or "numbers"."""
    return "words" if isinstance(told["columns"][column]["values"][0], str) else "numbers"


def answered(frame: pd.DataFrame, told: Mapping[str, Any], new: np.ndarray, ask: Ask, names: pd.DataFrame | None = None) -> dict[str, np.ndarray]:
    """{"asked", "carried"} -> (n, t) answers in SI of `ask` (rows of a frame -> (n, t)) to rows `new` ((n, columns), each row somewhere) as if they had values of the table. Each row by itself, whatever stands beside it.
    `names`: the same rows as they were written, where the frame has a word that nobody knows in place of theirs."""
    out: dict[str, np.ndarray] = {}
    written = frame if names is None else names
    for pattern in np.unique(new, axis=0):
        numbers = [c for c, is_new in zip(told["columns"], pattern, strict=True) if is_new and sort_of(told, c) == "numbers"]
        words = [c for c, is_new in zip(told["columns"], pattern, strict=True) if is_new and sort_of(told, c) == "words"]
        mine = np.flatnonzero((new == pattern).all(1))
        called = list(map(tuple, written[words].iloc[mine].astype(str).to_numpy().tolist())) if told.get("alike") else [()] * len(mine)
        given = {names_of: list(_given(told, words, names_of)) for names_of in dict.fromkeys(called)}
        counts = np.array([len(given[names_of]) for names_of in called])
        for rows, most in ((part, int(count)) for count in np.unique(counts) for same in [np.flatnonzero(counts == count)] for part in np.array_split(same, -(-len(same) // _ROWS_AT_ONCE))):
            each = [given[called[i]] for i in rows]
            part = frame.iloc[mine[rows]].reset_index(drop=True)
            asked = pd.concat([assigned(part, {c: [own[k][0][c] for own in each] for c in words}) for k in range(most)], ignore_index=True)
            worth = np.array([[own[k][1] for own in each] for k in range(most)])
            for name, points in _of_numbers(asked, told, numbers, ask).items():
                found = points.reshape(most, len(rows), -1)
                kept = out.setdefault(name, np.full((len(frame), found.shape[2]), np.nan))
                for j in range(found.shape[2]):
                    positive = (found[:, :, j] > 0).all(0)
                    kept[mine[rows], j] = np.where(positive, np.exp(weighted_median(np.log(np.where(positive, found[:, :, j], 1.0)), worth)), weighted_median(found[:, :, j], worth))
    return out


def _words(told: Mapping[str, Any]) -> list[str]:
    return [c for c in told["columns"] if sort_of(told, c) == "words"]


def _given(told: Mapping[str, Any], words: list[str], called: Sequence[str]) -> Iterator[tuple[dict[str, str], float]]:
    """The words to ask with in place of the new ones `called`, and what each counts: those whose names are alike more, where that was rehearsed. Nothing to replace where numbers alone are new."""
    every = _words(told)
    if not words:
        yield {}, 1.0
        return
    if len(words) == 1:
        known = told["columns"][words[0]]
        rows, worth = [(v,) for v in known["values"]], np.array(known["worth"])
    else:
        at = [every.index(c) for c in words]
        rows = list(dict.fromkeys(tuple(r[i] for i in at) for r in told["joint"]))
        rows = rows or [tuple(told["columns"][c]["values"][0] for c in words)]
        worth = np.ones(len(rows))
    if told.get("alike"):
        for at_word, word in enumerate(called):
            worth = worth * KIN ** named_alike(word, [row[at_word] for row in rows])
    for i in np.argsort(-worth, kind="stable")[:_MOST_ASKED]:
        yield dict(zip(words, rows[i], strict=True)), float(worth[i])


def _of_numbers(part: pd.DataFrame, told: Mapping[str, Any], numbers: list[str], ask: Ask) -> dict[str, np.ndarray]:
    """Answers to rows new in these columns of numbers: asked at the values each lies between, and beyond the ends carried on; of more than `_MOST_CARRIED` the others at the nearest."""
    for column in numbers[_MOST_CARRIED:]:
        known = np.array(told["columns"][column]["values"])
        part = assigned(part, {column: known[np.abs(part[column].to_numpy(dtype=np.float64)[:, None] - known).argmin(1)]})
    if not numbers:
        found = ask(part)
        return {"asked": found, "carried": found}
    column, others = numbers[0], numbers[1:_MOST_CARRIED]
    values, x = np.array(told["columns"][column]["values"]), part[column].to_numpy(dtype=np.float64)
    if len(values) == 1:
        return _of_numbers(assigned(part, {column: values[0]}), told, others, ask)
    above = np.clip(np.searchsorted(values, x), 1, len(values) - 1)
    below, beyond = values[above - 1], values[above]
    if values[0] > 0 and told.get("alike"):  # a power is read off values that lie apart, where any do: what two near ones differ by may be chance
        below = np.where(x > values[-1], values[max(np.searchsorted(values, values[-1] / _APART, side="right") - 1, 0)], below)
        beyond = np.where(x < values[0], values[min(np.searchsorted(values, values[0] * _APART), len(values) - 1)], beyond)
    low, high = (_of_numbers(assigned(part, {column: v}), told, others, ask) for v in (below, beyond))
    log = (values[0] > 0) & (x > 0)
    safe = [np.where(log, v, other) for v, other in ((x, 1.0), (below, 1.0), (beyond, 2.0))]
    share = np.where(log, np.log(safe[0] / safe[1]) / np.log(safe[2] / safe[1]), (x - below) / (beyond - below))[:, None]
    over = np.where(log, np.log(np.minimum(safe[0] / np.where(log, values[0], 1.0), 1.0)) + np.log(np.maximum(safe[0] / np.where(log, values[-1], 1.0), 1.0)), 0.0)[:, None]
    asked = _joined(low["asked"], high["asked"], np.clip(share, 0.0, 1.0))[0]
    carried, ratio = _joined(low["carried"], high["carried"], np.clip(share, 0.0, 1.0))
    power = np.clip(ratio / np.where(log, np.log(safe[2] / safe[1]), 1.0)[:, None], *_POWERS) * (values[-1] >= _APART * values[0] or not told.get("alike"))
    return {"asked": asked, "carried": np.where(log[:, None], carried * np.exp(power * over), carried)}


def _joined(low: np.ndarray, high: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """((n, t) from one to the other by (n, 1) shares, in logarithms where both are positive; logarithms of their ratio, 0 where not)."""
    positive = (low > 0) & (high > 0)
    logs = [np.log(np.where(positive, v, 1.0)) for v in (low, high)]
    return np.where(positive, np.exp((1.0 - share) * logs[0] + share * logs[1]), (1.0 - share) * low + share * high), logs[1] - logs[0]
