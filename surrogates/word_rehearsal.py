"""Words of operator tables held out one by one: what answers about a framework, a kernel or a number format never seen are worth.

The reference knows what a number format ought to cost, and nothing of a library; what trees make of a word they never saw is what they make of the others. So the words with most rows of every
column are held out in turn, and quick trees that learned from the rest are asked; and so are words on one machine alone, which others have (a format that is new there only).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest

import numpy as np

from ..datasets.dtypes import DTYPE_NAMES
from ..datasets.table import OpQuestions, Table
from . import rehearsal
from .base import Surrogate
from .size_rehearsal import mean_answer

#: what widths about a machine and a word never seen together are called, beside those about the words of each column
TOGETHER = "machine and word"
#: words of a column, and pairs of a machine and a word, held out at most, rows that stand on either side at least, and rows of a table that are drawn for it
WORDS, _LEAST_HELD, _LEAST_LEFT, _ROWS = 4, 10, 20, 2_000
#: between the machine and the word of a pair
_BETWEEN = "\x1f"


def words(questions: OpQuestions) -> dict[str, np.ndarray]:
    """Column -> (n,) words: the number format, that of the weights where it is another in some row, and the columns of context."""
    names, ops = np.array(DTYPE_NAMES), questions.ops
    formats = {"dtype": names[ops.dtype], **({"weight_dtype": names[ops.weight_dtype]} if (ops.weight_dtype != ops.dtype).any() else {})}
    return formats | {str(column): questions.context[column].astype(object).fillna("").to_numpy(dtype=object).astype(str) for column in questions.context.columns}


def known(questions: OpQuestions) -> dict[str, list[str]]:
    """Column -> its words; formats of weights are those of the activations where no row tells of others."""
    return {column: sorted(set(values.tolist())) for column, values in words(questions).items()}


def pairs(questions: OpQuestions) -> dict[str, list[str]]:
    """Column -> pairs of a machine and a word that it has there, as one text."""
    return {column: sorted(set(values.tolist())) for column, values in _pairs(questions).items()}


def _pairs(questions: OpQuestions) -> dict[str, np.ndarray]:
    """Column -> (n,) machine and word."""
    machine = np.char.add(questions.strata.astype(str), _BETWEEN)
    return {column: np.char.add(machine, values) for column, values in words(questions).items()}


def never_together(questions: OpQuestions, learned: Mapping[str, Sequence[str]], together: Mapping[str, Sequence[str]]) -> np.ndarray:
    """(n,) whether a machine and a word were each `learned` (`known`), and never `together` (`pairs`)."""
    new, machine = np.zeros(len(questions), dtype=bool), questions.strata.astype(str)
    for column, values in words(questions).items():
        if column in together:
            machines = sorted({pair.split(_BETWEEN)[0] for pair in together[column]})
            new |= np.isin(values, learned.get(column, ())) & np.isin(machine, machines) & ~np.isin(np.char.add(np.char.add(machine, _BETWEEN), values), together[column])
    return new


def unheard_of(questions: OpQuestions, learned: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """Column -> (n,) whether its word is none of those `learned` (`known`); without columns that have none such."""
    out = {}
    for column, values in words(questions).items():
        new = ~np.isin(values, learned.get(column, learned["dtype"] if column == "weight_dtype" else values))
        if new.any():
            out[column] = new
    return out


def tried(table: Table, fresh: Callable[[], Sequence[Surrogate]], targets: Sequence[str], seed: int) -> dict[str, list[dict[str, tuple[np.ndarray, np.ndarray]]]]:
    """Column, or `TOGETHER` -> for each word, or pair, held out, target -> (truth, answer), each (n,) in SI: how far off `fresh` members fitted to the rest are (their mean in log space)."""
    rng = np.random.default_rng(seed)
    table = table.take(np.sort(rng.permutation(len(table))[:_ROWS]))
    if not isinstance(table.questions, OpQuestions):
        return {}
    parts: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}  # columns that go together (a format, and its name in context) are held out together, once
    columns: dict[str, list[bytes]] = {}

    def hold_out(held: np.ndarray, column: str) -> bool:
        out, rest = np.flatnonzero(held), np.flatnonzero(~held)
        if min(len(out) - _LEAST_HELD, len(rest) - _LEAST_LEFT) < 0 or not all(rehearsal.varied(table.targets[t][rest]) for t in targets):
            return False
        parts[held.tobytes()] = out, rest
        if held.tobytes() not in columns.setdefault(column, []):
            columns[column].append(held.tobytes())
        return True

    each, machine = words(table.questions), table.questions.strata.astype(str)
    for column, values in each.items():
        for name in _by_rows(values)[:WORDS]:
            hold_out(values == name, column)
    rounds = [[values == pair for pair in _by_rows(values)] for values in _pairs(table.questions).values()]
    for held in (held for turn in zip_longest(*rounds) for held in turn if held is not None):  # the pair with most rows of every column, then the next of each
        if len(columns.get(TOGETHER, ())) < WORDS and all(np.isin(values[held], values[~held]).all() for values in (machine, *each.values())):
            hold_out(held, TOGETHER)
    answered = dict(zip(parts, rehearsal.held(table, list(parts.values()), fresh, targets, rng), strict=True)) if parts else {}
    off = {key: {t: (part.truth[t], mean_answer([p[t] for p in part.points])) for t in targets} for key, part in answered.items()}
    return {column: [off[key] for key in keys] for column, keys in columns.items()}


def _by_rows(values: np.ndarray) -> list[str]:
    """The different words of (n,), those with most rows first."""
    names, counts = np.unique(values, return_counts=True)
    return [str(name) for name in names[np.argsort(-counts, kind="stable")]]
