"""Words of operator tables held out one by one: what answers about a framework, a kernel or a number format never seen are worth.

The reference knows what a number format ought to cost, and nothing of a library; what trees make of a word they never saw is what they make of the others. So the words with most rows of every
column are held out in turn, and quick trees that learned from the rest are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..datasets.dtypes import DTYPE_NAMES
from ..datasets.table import OpQuestions, Table
from . import rehearsal
from .base import Surrogate
from .size_rehearsal import mean_answer

#: words of a column held out at most, rows that stand on either side at least, and rows of a table that are drawn for it
WORDS, _LEAST_HELD, _LEAST_LEFT, _ROWS = 4, 10, 20, 2_000


def words(questions: OpQuestions) -> dict[str, np.ndarray]:
    """Column -> (n,) words: the number format, that of the weights where it is another in some row, and the columns of context."""
    names, ops = np.array(DTYPE_NAMES), questions.ops
    formats = {"dtype": names[ops.dtype], **({"weight_dtype": names[ops.weight_dtype]} if (ops.weight_dtype != ops.dtype).any() else {})}
    return formats | {str(column): questions.context[column].astype(object).fillna("").to_numpy(dtype=object).astype(str) for column in questions.context.columns}


def known(questions: OpQuestions) -> dict[str, list[str]]:
    """Column -> its words; formats of weights are those of the activations where no row tells of others."""
    return {column: sorted(set(values.tolist())) for column, values in words(questions).items()}


def unheard_of(questions: OpQuestions, learned: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """Column -> (n,) whether its word is none of those `learned` (`known`); without columns that have none such."""
    out = {}
    for column, values in words(questions).items():
        new = ~np.isin(values, learned.get(column, learned["dtype"] if column == "weight_dtype" else values))
        if new.any():
            out[column] = new
    return out


def tried(table: Table, fresh: Callable[[], Sequence[Surrogate]], targets: Sequence[str], seed: int) -> dict[str, list[dict[str, tuple[np.ndarray, np.ndarray]]]]:
    """Column -> for each word held out, target -> (truth, answer), each (n,) in SI: how far off `fresh` members fitted to the other words are (their mean in log space)."""
    rng = np.random.default_rng(seed)
    table = table.take(np.sort(rng.permutation(len(table))[:_ROWS]))
    if not isinstance(table.questions, OpQuestions):
        return {}
    parts: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}  # columns that go together (a format, and its name in context) are held out together, once
    columns: dict[str, list[bytes]] = {}
    for column, values in words(table.questions).items():
        names, counts = np.unique(values, return_counts=True)
        for name in names[np.argsort(-counts, kind="stable")][:WORDS]:
            held = values == name
            out, rest = np.flatnonzero(held), np.flatnonzero(~held)
            if len(out) >= _LEAST_HELD and len(rest) >= _LEAST_LEFT and all(rehearsal.varied(table.targets[t][rest]) for t in targets):
                parts[held.tobytes()] = out, rest
                columns.setdefault(column, []).append(held.tobytes())
    answered = dict(zip(parts, rehearsal.held(table, list(parts.values()), fresh, targets, rng), strict=True)) if parts else {}
    off = {key: {t: (part.truth[t], mean_answer([p[t] for p in part.points])) for t in targets} for key, part in answered.items()}
    return {column: [off[key] for key in keys] for column, keys in columns.items()}
