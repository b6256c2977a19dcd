"""What a measured table's cells hold: columns by name, numbers, names of machines; a slip is named with its row."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from . import catalog
from .errors import TableError, UnknownNameError


def column(frame: pd.DataFrame, name: str, where: str, field: str) -> pd.Series:
    """The column of that name. Raises TableError naming the schema's field and the nearest columns."""
    if name not in frame.columns:
        columns = [str(c) for c in frame.columns]
        alike = [c for c in columns if c.strip().casefold() == name.strip().casefold()]  # blanks around it, capitals
        near = alike or difflib.get_close_matches(name, columns, n=3, cutoff=0.4)
        told = [repr(c) if c != c.strip() or alike else c for c in near or columns]
        raise TableError(f"{where}: {field}: no column {name!r}; " + (f"nearest: {', '.join(told)}" if near else f"there are: {', '.join(told)}"))
    return frame[name]


def numbers(frame: pd.DataFrame, name: str, where: str, field: str) -> np.ndarray:
    """A column as (n,) float64, NaN where it is empty. Raises TableError naming the first cell that is not a number."""
    found = column(frame, name, where, field)
    try:
        return found.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        wrong = found[pd.to_numeric(found, errors="coerce").isna() & found.notna()]
        shown = f"row {wrong.index[0]}, counting from 0, is {wrong.iloc[0]!r}" if len(wrong) else f"it holds {found.dtype}"
        if len(wrong) and re.fullmatch(r"\s*[+-]?\d{1,3}(,\d{3})+(\.\d*)?\s*", str(wrong.iloc[0])):
            shown += f": write it without the commas, {str(wrong.iloc[0]).strip().replace(',', '')}"
        raise TableError(f"{where}: {field}: column {name!r} must hold numbers; {shown}") from None


def machine(name: str) -> Any:
    """The catalogue's machine of that name, None where it knows none."""
    try:
        return catalog.hardware(name)
    except UnknownNameError:
        return None


def machine_names(written: pd.Series, known: Collection[str] = ()) -> pd.Series:
    """The column with catalogue keys where the catalogue knows the name, so that one machine is one device. A file's path and a name
    that nobody knows stay as written, and so do those that a fitted model knows as they are (`known`)."""
    words = written.map(lambda number: f"{number:.15g}").astype(str) if pd.api.types.is_numeric_dtype(written) else written.astype(str)  # "3090" is a name, too
    names = {}
    for name in words.unique():
        found = None if name.lower().endswith(catalog.SUFFIXES) or name in known else machine(name)
        names[name] = name if found is None else found.key
    return words.map(names)
