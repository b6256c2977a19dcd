"""Operators of a table told apart by kind: which rows are of which, and the questions of each, kept so that model and guard ask the same ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..datasets.ops import KIND_CODES
from ..datasets.table import OpQuestions


def rows(questions: OpQuestions, kinds: str) -> np.ndarray:
    """The rows of a kind, or of several joined by "+"."""
    return np.flatnonzero(np.isin(questions.ops.kind, [KIND_CODES[kind] for kind in kinds.split("+")]))


def parts(questions: OpQuestions, names: Sequence[str]) -> dict[str, tuple[np.ndarray, OpQuestions]]:
    """Kinds -> (their rows, the questions of these); kinds without rows are left out. Kept with the questions, as their columns are."""
    kept = questions.__dict__.setdefault("_by_kind", {})
    for name in names:
        if name not in kept:
            mine = rows(questions, name)
            kept[name] = (mine, questions.take(mine)) if len(mine) else None
    return {name: kept[name] for name in names if kept[name] is not None}
