"""A table with some of its columns set to other values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd


def assigned(frame: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
    """The frame with these columns (each a value for all n rows, or n of them) set or added, for columns of any name: `DataFrame.assign` cannot take one called "self". Raises ValueError, as pandas does, for another
    number of values than rows."""
    out = frame.copy(deep=False)
    for name, values in columns.items():
        out[name] = values
    return out
