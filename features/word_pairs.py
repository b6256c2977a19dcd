"""Two words of an operator table that were each measured, and never together: a number format in a library that had others, a kernel on a machine that ran the rest.

What either costs is known; what they cost together is not (a library that is fast in one format may fall back in another). Columns whose pairs hardly ever repeat from group to group tell nothing so: rows
that were held out had new pairs, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.dtypes import DTYPE_NAMES
from ..datasets.table import OpQuestions

#: what the column of machines is called beside the columns of words
MACHINE = "machine"
#: share of rows whose pair is their group's alone, from which a new pair is what was calibrated on
_ALONE = 0.5
#: pairs of two columns that are kept, at most: where there are more, what is missing is missing by chance (assumption)
_MOST_PAIRS = 2_000


def known(questions: OpQuestions, groups: np.ndarray) -> list[dict[str, Any]]:
    """Of every two columns of words (the machine and the number format among them): `columns`, and the `pairs` that the table has; plain JSON. `groups` (n,): rows of one were held out together."""
    group, out = pd.factorize(groups.astype(str))[0], []
    columns = {name: (codes, words) for name, (codes, words) in _coded(questions).items() if len(np.unique(codes)) > 1}
    for one, other in combinations(columns, 2):
        (a, words), (b, others) = columns[one], columns[other]
        pair, row = np.unique(a.astype(np.int64) * len(others) + b, return_inverse=True)
        if len(pair) > _MOST_PAIRS or len(pair) == len(np.unique(a)) == len(np.unique(b)):  # or each word of the one has its own of the other
            continue
        alone = np.bincount(np.unique(row.astype(np.int64) * (group.max(initial=0) + 1) + group) // (group.max(initial=0) + 1), minlength=len(pair)) == 1
        if group.max(initial=0) > 0 and alone[row].mean() > _ALONE:
            continue
        out.append({"columns": [one, other], "pairs": [[str(words[p // len(others)]), str(others[p % len(others)])] for p in pair.tolist()]})
    return out


def new(questions: OpQuestions, told: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], np.ndarray]]:
    """Those of the pairs of columns `told` that some row has new words of, each measured and never together; and which rows, (n,)."""
    columns, out = _coded(questions) if told else {}, []
    for each in told:
        one, other = each["columns"]
        if one not in columns or other not in columns:
            continue
        (a, words), (b, others) = columns[one], columns[other]
        had = {(first, second) for first, second in each["pairs"]}
        firsts, seconds = {first for first, _ in had}, {second for _, second in had}
        pair, row = np.unique(a.astype(np.int64) * len(others) + b, return_inverse=True)
        met = [(str(words[p // len(others)]), str(others[p % len(others)])) for p in pair.tolist()]
        apart = np.array([first in firsts and second in seconds and (first, second) not in had for first, second in met], dtype=bool)
        if apart.any():
            out.append((each, apart[row]))
    return out


def joined(told: Sequence[Mapping[str, Any]], questions: OpQuestions) -> list[dict[str, Any]]:
    """What is told of pairs, and with it those that operators measured since have."""
    columns, out = _coded(questions), []
    for each in told:
        one, other = each["columns"]
        more = []
        if one in columns and other in columns:
            (a, words), (b, others) = columns[one], columns[other]
            had = {(first, second) for first, second in each["pairs"]}
            met = {(str(words[i]), str(others[j])) for i, j in zip(a.tolist(), b.tolist(), strict=True)}
            more = [[first, second] for first, second in sorted(met - had)]
        out.append({**each, "pairs": [*each["pairs"], *more]})
    return out


def reasons(questions: OpQuestions, told: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each of n operators which of its words were never trained on together; "" where all were."""
    out: list[list[str]] = [[] for _ in range(len(questions))]
    columns = _coded(questions)
    for each, apart in new(questions, told):
        (a, words), (b, others) = (columns[name] for name in each["columns"])
        one, other = each["columns"]
        for i in np.flatnonzero(apart):
            out[i].append(f"{one} {str(words[a[i]])!r} and {other} {str(others[b[i]])!r} were never trained on together")
    return ["; ".join(each) for each in out]


def numbered(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """((n,) number of each cell's word, the words as text, "" for an empty cell): to look at each word once."""
    codes, names = pd.factorize(column.to_numpy(dtype=object), use_na_sentinel=False)
    return codes.astype(np.int64), np.array(["" if pd.isna(name) else str(name) for name in names], dtype=object)


def _coded(questions: OpQuestions) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Column -> ((n,) number of each word, the words): to look at each word once, not at each row. An empty cell is ""."""
    out = {MACHINE: (np.asarray(questions.device_index, dtype=np.int64), np.array([str(name) for name in questions.device_names], dtype=object)),
           "dtype": (np.asarray(questions.ops.dtype, dtype=np.int64), np.array(DTYPE_NAMES, dtype=object))}
    for column in questions.context.columns:
        out[str(column) if str(column) not in out else f"{column} (of the table)"] = numbered(questions.context[column])
    return out
