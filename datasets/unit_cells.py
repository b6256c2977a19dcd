"""Cells that carry their unit: "4622 ns", "0.797 W". A column of nothing else is a column of numbers.

A target becomes what its schema's unit says; where the cells name another unit of the same quantity they are believed, and it is told. An input becomes a number in the unit that
the schema's `units` names, or else in that of its first cell; `fit` writes it into the model's schema, so that later tables may use other units of the quantity.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .assigned import assigned
from .errors import TableError, UnitError, UnknownNameError
from .measurement import TARGETS
from .units import UNITS

__all__ = ["inputs_as_numbers", "quantity_of", "target_as_numbers"]

_CELL = re.compile(r"\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\s\d.+-]\S*)?\s*")
#: units that, alone in a column of inputs, are more often something else: billions and millions of parameters, heads, number formats
_UNSURE = frozenset({"B", "m", "h", "bit"})
#: a column of words this share of whose cells are numbers was meant as one of numbers, as like as not
MOSTLY = 0.8


def quantity_of(unit: str) -> str | None:
    """The quantity that a unit measures; None for an unknown one, and for "1", which measures several."""
    found = [quantity for quantity, units in UNITS.items() if unit in units]
    return found[0] if len(found) == 1 else None


def target_as_numbers(column: pd.Series, name: str, unit: str, where: str) -> tuple[pd.Series, list[str]]:
    """(the target's column as numbers in the schema's `unit`, SI where it names none; what to tell). A column without such cells comes back as it is.

    Raises UnitError where the cells measure another quantity than the target, TableError where some cells carry a unit and others none.
    """
    told = _parsed(column)
    if told is None or not any(told[1]):
        return column, []
    numbers, units, at = told
    _unit_everywhere(units, column, at, f"{where}: targets.{name}: column {str(column.name)!r}")
    wanted = TARGETS[name].quantity if name in TARGETS else quantity_of(unit) if unit else None
    quantity = _one_quantity(units, f"{where}: targets.{name}: column {str(column.name)!r}", wanted)
    factors = UNITS[quantity]
    used = list(dict.fromkeys(units))
    into = factors.get(unit, 1.0)
    notes = [f"{name}: cells of {column.name} are in {', '.join(used)}, not in {unit} as the schema says: each is read in its own unit"] if unit and used != [unit] else []
    if not unit and name not in TARGETS:
        notes = [f"{name}: cells of {column.name} are in {', '.join(used)}: read in {next(u for u, factor in factors.items() if factor == 1.0)}"]
    return _filled(column, at, [n if u == unit else n * factors[u] / into for n, u in zip(numbers, units, strict=True)]), notes


def inputs_as_numbers(frame: pd.DataFrame, names: Sequence[str], units: Mapping[str, str], words: Collection[str] | None, where: str) -> tuple[pd.DataFrame, dict[str, str], list[str]]:
    """(the table with input columns of such cells as numbers, column -> the unit these are in, what to tell).

    `units`: what the schema says; a number without a unit is in it. `words`: the columns that a fitted model knows as words, which stay so, as do its numbers whose unit nobody said (None: no
    model yet). Raises UnitError where cells measure another quantity than the schema says, or two quantities, UnknownNameError for a unit of what is no input of numbers.
    """
    for name in units:
        if name not in names:
            raise UnknownNameError("input", name, names, f"units in the schema of {where}")
    used = dict(units)
    numbers: dict[str, pd.Series] = {}
    notes = []
    for name in names:
        if (name not in units and words is not None) or (words is not None and name in words):
            continue
        told = _parsed(frame[name])
        if told is None and words is None:
            notes += _nearly_numbers(frame[name], name)
        elif told is not None and words is None and name not in units and any(told[1]) and not all(told[1]):
            notes.append(f"{name}: some cells carry a unit and others none: taken as words; for numbers name the unit of the others under units in the schema")
        if told is None or not any(told[1]) or (name not in units and not all(told[1])):
            continue
        values, found, at = told
        place = f"{where}: column {name!r}"
        if name not in units and set(found) <= _UNSURE:
            continue
        quantity = _one_quantity([u for u in found if u], place, quantity_of(units[name]) if name in units else None)
        into = used.setdefault(name, found[0])
        factors = UNITS[quantity]
        numbers[name] = _filled(frame[name], at, [n if u in ("", into) else n * factors[u] / factors[into] for n, u in zip(values, found, strict=True)])
        notes.append(f"{name}: cells carry their unit ({', '.join(dict.fromkeys(u for u in found if u))}): read as numbers in {into}")
    return (assigned(frame, numbers) if numbers else frame), used, notes


def _parsed(column: pd.Series) -> tuple[list[float], list[str], list[Any]] | None:
    """(numbers, their units, "" for none, and the positions) of the cells that are not empty, all of them a finite number, alone or with a known unit; None for any other column."""
    if pd.api.types.is_numeric_dtype(column) or (isinstance(column.dtype, pd.CategoricalDtype) and pd.api.types.is_numeric_dtype(column.cat.categories)):
        return None
    at = np.flatnonzero(column.notna().to_numpy())
    read: dict[Any, tuple[float, str]] = {}
    numbers, units = list[float](), list[str]()
    for cell in column.iloc[at]:
        try:
            known = read.get(cell)
        except TypeError:  # a list or a mapping
            return None
        if known is None:
            parsed = _cell(cell)
            if parsed is None:
                return None
            known = read[cell] = parsed
        numbers.append(known[0])
        units.append(known[1])
    return (numbers, units, list(at)) if units else None


def _nearly_numbers(column: pd.Series, name: str) -> list[str]:
    """What to tell of an input column nearly all of whose cells are numbers, alone or with a known unit, and which is one of words for the sake of a few others."""
    if pd.api.types.is_numeric_dtype(column):
        return []
    there = column[column.notna().to_numpy()]
    if any(isinstance(cell, (list, dict, bool, np.bool_)) for cell in there):
        return []
    words = there.astype(str)
    counts = words.value_counts()
    told = np.array([_cell(word) is not None for word in counts.index], dtype=bool)
    numbers, lost = int(counts[told].sum()), int(counts[~told].sum())
    if not lost or numbers < MOSTLY * (numbers + lost) or told.sum() < 3:
        return []
    first = words.index[words.isin(counts.index[~told]).to_numpy()][0]
    return [f"{name}: {numbers} of {numbers + lost} cells are numbers, row {first}, counting from 0, is {words.loc[first]!r}: taken as words; for numbers leave such cells empty"]


def _cell(cell: Any) -> tuple[float, str] | None:
    if isinstance(cell, (int, float, np.integer, np.floating)) and not isinstance(cell, bool):
        return (float(cell), "") if math.isfinite(cell) else None
    found = _CELL.fullmatch(cell) if isinstance(cell, str) else None
    if found is None:
        return None
    unit = (found[2] or "").replace("µ", "u").replace("μ", "u")
    number = float(found[1])
    return (number, unit) if math.isfinite(number) and (not unit or quantity_of(unit)) else None


def _unit_everywhere(units: Sequence[str], column: pd.Series, at: Sequence[Any], place: str) -> None:
    bare = [row for row, unit in zip(at, units, strict=True) if not unit]
    if bare:
        raise TableError(f"{place}: row {column.index[bare[0]]}, counting from 0, is {column.iloc[bare[0]]!r}, without a unit, where others carry one: write it with each cell or with none")


def _one_quantity(units: Sequence[str], place: str, wanted: str | None) -> str:
    """The quantity that all the units measure. Raises UnitError where it is not the one wanted, or where there are two."""
    for unit in dict.fromkeys(units):
        quantity = quantity_of(unit)
        assert quantity is not None
        if wanted is not None and quantity != wanted:
            raise UnitError(f"{place}: cells in {unit} measure {quantity}; expected {wanted}: {', '.join(UNITS[wanted])}")
        wanted = quantity
    assert wanted is not None
    return wanted


def _filled(column: pd.Series, at: Sequence[Any], numbers: Sequence[float]) -> pd.Series:
    """The column with these numbers at these positions, NaN elsewhere."""
    values = np.full(len(column), np.nan)
    values[np.asarray(at, dtype=np.int64)] = numbers
    return pd.Series(values, index=column.index, name=column.name)
