"""Sizes that one machine, or one kernel or format, was never measured at, though others of the table were.

A machine (or what goes by one word) that has small sizes alone, in a table of all sizes, lies within everything that was measured: what its large sizes cost is as unknown as sizes beyond the table are. Whether its sizes end, or few rows happened to
be small, the others tell: with a share p of their rows beyond its largest, n rows drawn as theirs all stay below with probability (1 - p)^n.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.columns import OpColumns
from ..datasets.dtypes import DTYPE_NAMES
from ..datasets.ops import KIND_NAMES
from ..datasets.table import OpQuestions
from .corners import COUNT, SIZES, STEP
from .word_pairs import numbered

#: the probability below which a machine's sizes are taken to end, and its rows of a kind that tell
_CHANCE, _LEAST_ROWS = 0.01, 5


def labels(questions: OpQuestions) -> tuple[np.ndarray, ...]:
    """Each (n,): the machines by name, then number formats and words of the columns of context, with the column's name before them."""
    out = [questions.strata.astype(str), np.array([f"dtype {name}" for name in DTYPE_NAMES])[questions.ops.dtype]]
    for column in questions.context.columns:
        codes, names = numbered(questions.context[column])
        out.append(np.array([f"{column} {name}" for name in names])[codes])
    return tuple(out)


def known(ops: OpColumns, labelled: Sequence[np.ndarray]) -> dict[str, Any]:
    """Label -> kind of operator -> size -> log2 of the largest that what is so labelled was measured at, where others go on; plain JSON. `labelled`: (n,) names each, such as `labels` gives. Empty where there are none such."""
    out: dict[str, Any] = {}
    for labels_of in labelled:
        mine, names = pd.factorize(labels_of.astype(str))
        for code in np.unique(ops.kind) if len(names) > 1 else ():
            rows = np.flatnonzero(ops.kind == code)
            sizes = (COUNT,) if not (ops.m[rows] > 0).any() else SIZES
            for size in sizes:
                values, at = _log2(getattr(ops, size)[rows]), mine[rows]
                order = np.sort(values)
                for i in np.unique(at):
                    own = values[at == i]
                    if len(own) < _LEAST_ROWS or len(own) == len(values):
                        continue
                    beyond = float(len(order) - np.searchsorted(order, own.max() + STEP, side="right")) / (len(values) - len(own))
                    if (1.0 - beyond) ** len(own) < _CHANCE:
                        out.setdefault(str(names[i]), {}).setdefault(KIND_NAMES[code], {})[size] = round(float(own.max()), 4)
    return out


def beyond(ops: OpColumns, labelled: Sequence[np.ndarray], told: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Size -> (n,) octaves that operators lie beyond what their machine, format or word was measured at, the farthest of these; 0 within, and where its sizes do not end."""
    out: dict[str, np.ndarray] = {}
    for _, size, rows, over in _over(ops, labelled, told):
        there = out.setdefault(size, np.zeros(len(ops)))
        there[rows] = np.maximum(there[rows], over)
    return out


def _over(ops: OpColumns, labelled: Sequence[np.ndarray], told: Mapping[str, Any]) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """(label, size, row numbers, octaves beyond) of the rows beyond what their label was measured at."""
    for labels_of in labelled if told else ():
        for name in told.keys() & set(np.unique(labels_of.astype(str)).tolist()):
            mine = np.flatnonzero(labels_of == name)
            for kind, sizes in told[name].items():
                rows = mine[ops.kind[mine] == KIND_NAMES.index(kind)]
                for size, most in sizes.items() if len(rows) else ():
                    over = _log2(getattr(ops, size)[rows]) - most
                    if (over > STEP).any():
                        yield name, size, rows[over > STEP], over[over > STEP]


def extended(told: Mapping[str, Any], ops: OpColumns, labelled: Sequence[np.ndarray]) -> dict[str, Any]:
    """What is told of ends, moved to where operators measured since lie beyond them."""
    out = {name: {kind: dict(sizes) for kind, sizes in kinds.items()} for name, kinds in told.items()}
    for name, size, rows, _ in _over(ops, labelled, told):
        for code in np.unique(ops.kind[rows]):
            sizes = out[name][KIND_NAMES[code]]
            sizes[size] = max(sizes[size], round(float(_log2(getattr(ops, size)[rows[ops.kind[rows] == code]]).max()), 4))
    return out


def reasons(ops: OpColumns, labelled: Sequence[np.ndarray], told: Mapping[str, Any]) -> list[str]:
    """For each of n operators which of its sizes its machine, format or word was never measured at, in words; "" where there is none."""
    out: list[list[str]] = [[] for _ in range(len(ops))]
    for name, size, rows, over in sorted(_over(ops, labelled, told), key=lambda each: each[:2]):
        for i, far in zip(rows, over, strict=True):
            value = float(getattr(ops, size)[i])
            out[i].append(f"{size} = {value:.6g}, while {name} was measured up to {value / 2.0 ** far:.4g}")
    return ["; ".join(each) for each in out]


def merged(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Size -> (n,) the larger of two accounts of how far beyond it operators lie."""
    return {size: np.maximum(one[size], other[size]) if size in one and size in other else one[size] if size in one else other[size] for size in (*one, *(s for s in other if s not in one))}


def _log2(values: Sequence[float] | np.ndarray) -> np.ndarray:
    return np.asarray(np.log2(np.maximum(values, 1.0)))
