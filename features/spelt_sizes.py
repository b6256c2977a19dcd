"""Sizes that names carry at fixed places: "mobilenet-v1-precision_float-0.75-224" has a width and a resolution, "4096x2048x1024" three dims.

Tables often have one column that names what was run, sizes and all. A word never seen says nothing; the numbers in it do. A place is the text between the number before (or the beginning) and the number; it
counts where enough names of the column have a number there that varies. The numbers stand beside the words as columns of their own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from .device import named_machine

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
#: names of a column, places that vary, values at each, and the share of names that have it, from which names are taken to carry sizes (assumptions: of some 60 open tables of all sorts one had
#: such a column, and its names do carry sizes; a single place is a version or a series more often)
_LEAST_NAMES, _LEAST_PLACES, _LEAST_VALUES, _SHARE = 6, 2, 3, 0.5
#: a column that names so many machines of the catalogue names machines
_MACHINES = 2


def places(frame: pd.DataFrame, left_out: Collection[str] = ()) -> dict[str, list[str]]:
    """Column of words -> the places where its names carry sizes; of all columns but those `left_out` and those that name machines."""
    out = {}
    for column in map(str, frame.columns):
        if column in left_out or pd.api.types.is_numeric_dtype(frame[column]):
            continue
        words = [str(word) for word in frame[column].astype(str).unique()]
        if len(words) < _LEAST_NAMES or sum(named_machine(word) is not None for word in words) >= _MACHINES:
            continue
        found: dict[str, list[float]] = {}
        for word in words:
            for place, number in _numbers(word):
                found.setdefault(place, []).append(number)
        vary = sorted(place for place, numbers in found.items() if len(numbers) >= _SHARE * len(words) and len(set(numbers)) >= _LEAST_VALUES)
        if len(vary) >= _LEAST_PLACES:
            out[column] = vary
    return out


def spelt(frame: pd.DataFrame, told: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """`frame` with a column of numbers for each place `told`, NaN where a name has none there; columns of an earlier time are made anew."""
    parts: dict[str, np.ndarray] = {}
    for column, vary in told.items():
        words, inverse = np.unique(frame[column].astype(str).to_numpy(dtype=str), return_inverse=True)
        numbers = [dict(_numbers(str(word))) for word in words]
        parts |= {f"{column}: {place}#": np.array([each.get(place, np.nan) for each in numbers])[inverse] for place in vary}
    return pd.concat([frame.drop(columns=[c for c in parts if c in frame.columns]).reset_index(drop=True), pd.DataFrame(parts)], axis=1) if parts else frame


@lru_cache(maxsize=4096)
def _numbers(word: str) -> tuple[tuple[str, float], ...]:
    """(place, number) of each number in a word; a place met again has a mark more."""
    out: dict[str, float] = {}
    last = 0
    for match in _NUMBER.finditer(word):
        place = word[last:match.start()].lower()
        last = match.end()
        while place in out:
            place += "'"
        out[place] = float(match.group())
    return tuple(out.items())
