"""Answers that are no quantities: whether a design synthesises, which kernel was chosen. Each becomes one or more columns of 0 and 1.

A column of true and false (or of 0 and 1 alone) is one answer under its own name. A column of words is one answer per word, `name=word`.
Where a yes-or-no answer is no, the row's other answers may be missing or zero: a design that failed has no cycles.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from .errors import TableError
from .measurement import TARGETS

#: more different words than this are labels, not classes
MOST_CLASSES = 20


def classes_of(name: str, column: pd.Series, where: str) -> dict[str, np.ndarray] | None:
    """`name=word` -> (n,) 0 or 1, NaN where the cell is empty; None for a column that does not hold words. Raises TableError for one answer or too many."""
    if pd.api.types.is_numeric_dtype(column) or name in TARGETS:
        return None
    if pd.to_numeric(column, errors="coerce").notna().any():
        return None  # numbers with a slip among them: told as such
    missing = column.isna().to_numpy()
    words = column.astype(str).to_numpy(dtype=object)
    truths = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
    different = sorted({w for w, m in zip(words, missing, strict=True) if not m})
    if different and all(w.lower() in truths for w in different):
        return {name: np.array([np.nan if m else truths[w.lower()] for w, m in zip(words, missing, strict=True)])}
    if len(different) > MOST_CLASSES:
        raise TableError(f"{where}: targets.{name}: {len(different)} different words are no classes ({MOST_CLASSES} at most); expected numbers, yes or no, or few words")
    return {f"{name}={w}": np.where(missing, np.nan, (words == w).astype(np.float64)) for w in different}


def is_yes_no(name: str, values: np.ndarray) -> bool:
    """Whether a target's (n,) answers are a classification: a name of the table's own, and 0 and 1 alone."""
    good = values[np.isfinite(values)]
    return name not in TARGETS and len(good) > 0 and bool(np.isin(good, (0.0, 1.0)).all())


def refused(targets: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n,) rows in which a yes-or-no answer is no: their other answers may be absent. Classes among words refuse nothing."""
    rows = len(next(iter(targets.values()))) if targets else 0
    out = np.zeros(rows, dtype=bool)
    for name, values in targets.items():
        if "=" not in name and is_yes_no(name, values):
            out |= values == 0.0
    return out
