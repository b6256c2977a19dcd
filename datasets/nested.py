"""JSON in a cell becomes columns: what many published tables keep their design points and cell graphs in.

    point = {"__PARA__L0": 4, "__PIPE__L0": "off"}   ->  point[__PARA__L0] = 4, point[__PIPE__L0] = "off"
    adjacency = [[0, 1], [0, 0]]                     ->  adjacency[0.1] = 1, ...; places that are always the same stay out of no model's way
    ops = [-1, 2, 0, -2]                             ->  ops[0], ..., and how often each value stands there: ops[#2] = 1

A key that a row lacks is missing there (NaN, or "" among words): that is no fault. A schema may name the whole column or single keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

#: a list of at most so many different whole numbers has its values counted
_COUNTED = 12
#: cells looked at before a column is taken for JSON
_LOOKED_AT = 20
_NAMED = re.compile(r"(?s)(.+)\[([^\[\]]+)\]")


def is_nested(name: str) -> bool:
    """Whether a column's name is that of a key inside another column."""
    return _NAMED.fullmatch(name) is not None


def cell_of(name: str) -> str:
    """The column that a key's column is inside of; "" for a column that is inside none."""
    found = _NAMED.fullmatch(name)
    return found[1] if found else ""


def keys_of(frame: pd.DataFrame, name: str) -> list[str]:
    """The columns of a spread frame that hold keys of the column `name`."""
    return [str(c) for c in frame.columns if (found := _NAMED.fullmatch(str(c))) and found[1] == name]


def spread(frame: pd.DataFrame, wanted: Sequence[str] = (), keep: Sequence[str] = (), beside: Sequence[str] = ()) -> pd.DataFrame:
    """The frame with every column of JSON objects or lists replaced by its keys; `keep`: columns left as they are; `beside`: columns that stay beside
    their keys. Keys that `wanted` names and no row has are there, missing throughout."""
    out: dict[str, Any] = {}
    for name in frame.columns:
        cells = None if name in keep or pd.api.types.is_numeric_dtype(frame[name]) else _parsed(frame[name])
        if cells is None:
            out[name] = frame[name]
            continue
        if name in beside:
            out[name] = frame[name]
        flat = [_flat(cell) for cell in cells]
        keys = list(dict.fromkeys(key for row in flat for key in row))
        named = [m[2] for m in (_NAMED.fullmatch(w) for w in wanted) if m and m[1] == name]
        for key in sorted({*keys, *named}):
            out[f"{name}[{key}]"] = _column([row.get(key) for row in flat], counted=key.startswith("#"))
    return frame if list(out) == list(frame.columns) else pd.DataFrame(out, index=frame.index)


def _parsed(column: pd.Series) -> list[Any] | None:
    """The cells as JSON objects or lists; None when they are something else."""
    texts = [c for c in column if isinstance(c, str)]
    if not texts or not all(t.lstrip()[:1] in ("{", "[") for t in texts[:_LOOKED_AT]):
        return None
    made: dict[str, Any] = {}
    try:
        for text in dict.fromkeys(texts):
            made[text] = json.loads(text)
    except (ValueError, RecursionError):
        return None
    cells = [made.get(c) if isinstance(c, str) else None for c in column]
    return cells if all(isinstance(c, (dict, list)) for c in cells) else None


def _flat(cell: Any, prefix: str = "") -> dict[str, Any]:
    """Key path -> number or word; of a list of whole numbers also how often each stands there."""
    out: dict[str, Any] = {}
    pairs = cell.items() if isinstance(cell, Mapping) else enumerate(cell)
    for key, value in pairs:
        path = f"{prefix}{str(key).replace('[', '(').replace(']', ')')}"
        if isinstance(value, (dict, list)):
            out |= _flat(value, f"{path}.")
        else:
            out[path] = value
    if isinstance(cell, list) and cell and not prefix and all(isinstance(v, (int, str)) for v in cell) and len(set(cell)) <= _COUNTED:
        for value in cell:
            out[f"#{value}"] = out.get(f"#{value}", 0) + 1
    return out


def _column(values: list[Any], counted: bool) -> Any:
    if any(isinstance(v, str) for v in values):
        return np.array(["" if v is None else str(v) for v in values], dtype=object)
    return np.array([(0.0 if counted else np.nan) if v is None else float(v) for v in values])
