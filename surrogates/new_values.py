"""A value that a column of a plain table never had: a backend, a precision, a bit width that no row was measured with.

Members answer it as chance has it: trees send a word they never saw down the branch of whatever was set apart least, a process puts it as far from every known word as from any other, and a width between
two known ones drifts towards the mean. What is known is asked instead: the same row with each value of the table, and the median of those; of a number, the two it lies between, joined by where it
lies, and below the lowest also carried on by the power that the lowest two show. Who speaks, and how far off that is, is rehearsed with values held out in turn.

Columns of few values that groups do not settle are looked at: where a value is a group of its own, holding groups out has held values out already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from .newcomer import weighted_median

#: values of a column of words, of one of numbers, at most; rows to a value, on average, from which a number is one of few values (assumptions)
_MOST_WORDS, _MOST_NUMBERS, _ROWS_PER_NUMBER = 60, 24, 12
#: numbers of a table that are looked at; where more have few values most are counters, not choices: those whose values rows that are otherwise equal were measured with, so many of them (assumptions)
_MOST_COLUMNS, _CROSSED = 8, 1.5
#: groups that the rows of a value belong to, at least (the middle value); rows that are looked at for that
_LEAST_GROUPS, _MOST_ROWS = 4, 20_000
#: values that a row is asked with, those with the most rows; combinations of values of several columns kept for rows that are new in more than one
_MOST_ASKED, _MOST_JOINT = 8, 40
#: a number so near (ratio) to a known one is no new value
_NEAR = 1.1
#: rows of a value held out, at least, and its share of all, at most; a word that no table has
_LEAST_ROWS, _MOST_HELD, _NOBODYS = 10, 0.7, "(none of those)"
#: powers that costs go with, at most
_POWERS = (-1.0, 3.0)

Ask = Callable[[pd.DataFrame], np.ndarray]


def learn(frame: pd.DataFrame, groups: np.ndarray, left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """What must be known to ask: "columns": column -> its values (words with the most rows first, numbers in order) and square roots of their rows; "joint": frequent rows of those of words.
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
        if np.median(pd.Series(names).groupby(values.to_numpy()[some]).nunique()) < _LEAST_GROUPS:
            continue
        counts = counts.sort_index() if told else counts
        (numbers if told else words)[column] = {"values": [float(v) if told else str(v) for v in counts.index], "worth": [round(float(np.sqrt(n)), 4) for n in counts]}
    if len(numbers) > _MOST_COLUMNS:
        crossed = _crossed(frame, list(numbers))
        numbers = {c: numbers[c] for c in sorted(numbers, key=lambda c: -crossed[c])[:_MOST_COLUMNS] if crossed[c] >= _CROSSED}
    columns = {**words, **numbers}
    if not columns:
        return {}
    joint = frame[list(words)].astype(str).value_counts().index[:_MOST_JOINT] if words else ()
    return {"columns": columns, "joint": [[str(v) for v in row] for row in joint]}


def _crossed(frame: pd.DataFrame, columns: list[str]) -> dict[str, float]:
    """Column -> how many of its values rows that are equal in all others were measured with, on average."""
    each = {str(c): pd.util.hash_array(pd.factorize(frame[c])[0]) for c in frame.columns}
    whole = np.asarray(np.sum([h * np.uint64(2 * at + 1) for at, h in enumerate(each.values())], axis=0, dtype=np.uint64))
    rows = len(pd.unique(whole))
    return {c: rows / len(pd.unique(whole - each[c] * np.uint64(2 * list(each).index(c) + 1))) for c in columns}


def strange(frame: pd.DataFrame, told: Mapping[str, Any], largest: Mapping[str, float] | None = None) -> np.ndarray:
    """(n, columns) whether a row has a value that the column never had. Not those above `largest` (column -> value), for which somebody else speaks; a number within a tenth of a known one is known."""
    columns = told.get("columns", {})
    out = np.zeros((len(frame), len(columns)), dtype=bool)
    for at, (column, known) in enumerate(columns.items()):
        if isinstance(known["values"][0], str):
            out[:, at] = ~np.isin(frame[column].astype(str).to_numpy(dtype=str), known["values"])
            continue
        values = frame[column].to_numpy(dtype=np.float64, na_value=np.nan)
        near = np.zeros(len(values), dtype=bool)
        for v in known["values"]:
            near |= (np.abs(values - v) <= (_NEAR - 1.0) * abs(v))
        out[:, at] = np.isfinite(values) & ~near & (values <= (largest or {}).get(column, np.inf))
    return out


def held(frame: pd.DataFrame, told: Mapping[str, Any], column: str) -> list[Any]:
    """The values of a column that a rehearsal may hold out, in order: words with the most rows first, of numbers one between others, the lowest, the next. None that has most of the rows, or hardly any."""
    values = told["columns"][column]["values"]
    if not isinstance(values[0], str):
        middle = len(values) // 2
        values = list(dict.fromkeys([values[middle], values[0], *values[1:-1]])) if len(values) > 2 else values[:1] if len(values) > 1 else []
    return [v for v in values if _LEAST_ROWS <= of(frame, told, column, v).sum() <= _MOST_HELD * len(frame)]


def of(frame: pd.DataFrame, told: Mapping[str, Any], column: str, value: Any) -> np.ndarray:
    """(n,) whether a row has the value."""
    return np.asarray((frame[column].astype(str) if isinstance(value, str) else frame[column]).to_numpy() == value)


def without(told: Mapping[str, Any], column: str, value: Any) -> dict[str, Any]:
    """What is known where no row has the value."""
    columns, words = dict(told["columns"]), _words(told)
    kept = [(v, w) for v, w in zip(columns[column]["values"], columns[column]["worth"], strict=True) if v != value]
    return {"columns": {**columns, column: {"values": [v for v, _ in kept], "worth": [w for _, w in kept]}}, "joint": [row for row in told["joint"] if column not in words or row[words.index(column)] != value]}


def as_new(frame: pd.DataFrame, told: Mapping[str, Any], column: str) -> pd.DataFrame:
    """The rows with a word in the column that nobody knows; numbers as they are."""
    return frame.assign(**{column: _NOBODYS}) if isinstance(told["columns"][column]["values"][0], str) else frame


def beyond(frame: pd.DataFrame, told: Mapping[str, Any], new: np.ndarray) -> np.ndarray:
    """(n,) whether a row is new by a number below the lowest or above the largest of its column. `new`: (n, columns), as `strange` says."""
    out = np.zeros(len(frame), dtype=bool)
    for at, (column, known) in enumerate(told["columns"].items()):
        if not isinstance(known["values"][0], str):
            values = frame[column].to_numpy(dtype=np.float64, na_value=np.nan)
            out |= new[:, at] & ((values < known["values"][0]) | (values > known["values"][-1]))
    return out


def sort_of(told: Mapping[str, Any], column: str) -> str:
    """"words" or "numbers"."""
    return "words" if isinstance(told["columns"][column]["values"][0], str) else "numbers"


def answered(frame: pd.DataFrame, told: Mapping[str, Any], new: np.ndarray, ask: Ask) -> dict[str, np.ndarray]:
    """{"asked", "carried"} -> (n, t) answers in SI of `ask` (rows of a frame -> (n, t)) to rows `new` ((n, columns), each row somewhere) as if they had values of the table."""
    out: dict[str, np.ndarray] = {}
    for pattern in np.unique(new, axis=0):
        rows = np.flatnonzero((new == pattern).all(1))
        part = frame.iloc[rows].reset_index(drop=True)
        each, worth = zip(*((_of_numbers(part.assign(**given), told, [c for c, is_new in zip(told["columns"], pattern, strict=True) if is_new and c not in given], ask), w)
                            for given, w in _given(told, pattern)), strict=True)
        for name in ("asked", "carried"):
            found = np.stack([e[name] for e in each])
            kept = out.setdefault(name, np.full((len(frame), found.shape[2]), np.nan))
            for j in range(found.shape[2]):
                positive = (found[:, :, j] > 0).all()
                kept[rows, j] = np.exp(weighted_median(np.log(found[:, :, j]), np.array(worth))) if positive else weighted_median(found[:, :, j], np.array(worth))
    return out


def _words(told: Mapping[str, Any]) -> list[str]:
    return [c for c in told["columns"] if sort_of(told, c) == "words"]


def _given(told: Mapping[str, Any], pattern: np.ndarray) -> Iterator[tuple[dict[str, str], float]]:
    """The words to ask with in place of those that are new, and what each counts; nothing to replace where numbers alone are."""
    every = _words(told)
    words = [c for c, is_new in zip(told["columns"], pattern, strict=True) if is_new and c in every]
    if len(words) == 1:
        known = told["columns"][words[0]]
        yield from ((({words[0]: v}, w)) for v, w in list(zip(known["values"], known["worth"], strict=True))[:_MOST_ASKED])
    elif words:
        at = [every.index(c) for c in words]
        yield from ((dict(zip(words, row, strict=True)), 1.0) for row in list(dict.fromkeys(tuple(r[i] for i in at) for r in told["joint"]))[:_MOST_ASKED])
    else:
        yield {}, 1.0


def _of_numbers(part: pd.DataFrame, told: Mapping[str, Any], numbers: list[str], ask: Ask) -> dict[str, np.ndarray]:
    """Answers to rows new in these columns of numbers: the first asked at the values it lies between, the others at the nearest."""
    if not numbers:
        found = ask(part)
        return {"asked": found, "carried": found}
    for column in numbers[1:]:
        values = np.array(told["columns"][column]["values"])
        part = part.assign(**{column: values[np.abs(part[column].to_numpy(dtype=np.float64)[:, None] - values).argmin(1)]})
    if len(told["columns"][numbers[0]]["values"]) == 1:
        found = ask(part.assign(**{numbers[0]: told["columns"][numbers[0]]["values"][0]}))
        return {"asked": found, "carried": found}
    values, x = np.array(told["columns"][numbers[0]]["values"]), part[numbers[0]].to_numpy(dtype=np.float64)
    above = np.clip(np.searchsorted(values, x), 1, len(values) - 1)
    low, high = (ask(part.assign(**{numbers[0]: v})) for v in (values[above - 1], values[above]))
    log = values[0] > 0 and (x > 0).all()
    place = (lambda v: np.log(v)) if log else (lambda v: v)
    share = ((place(x) - place(values[above - 1])) / (place(values[above]) - place(values[above - 1])))[:, None]

    def joined(w: np.ndarray) -> np.ndarray:
        positive = (low > 0) & (high > 0)
        safe = [np.log(np.where(positive, v, 1.0)) for v in (low, high)]
        return np.where(positive, np.exp((1.0 - w) * safe[0] + w * safe[1]), (1.0 - w) * low + w * high)

    asked = joined(np.clip(share, 0.0, 1.0))
    if not log:
        return {"asked": asked, "carried": asked}
    positive = (low > 0) & (high > 0)
    ratio = np.where(positive, np.log(np.where(positive, high, 1.0) / np.where(positive, low, 1.0)), 0.0) / np.log(values[above] / values[above - 1])[:, None]
    beyond = np.log(np.clip(x / values[0], 0.0, 1.0))[:, None] + np.log(np.maximum(x / values[-1], 1.0))[:, None]
    return {"asked": asked, "carried": asked * np.exp(np.clip(ratio, *_POWERS) * beyond)}
