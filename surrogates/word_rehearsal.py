"""Words of operator tables held out one by one: what answers about a framework, a kernel or a number format never seen are worth.

The reference knows what a number format ought to cost, and nothing of a library; what trees make of a word they never saw is what they make of the others. So the words with most rows of every
column are held out in turn, and quick trees that learned from the rest are asked; and so are words on one machine alone, which others have (a format that is new there only).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest

import numpy as np
import pandas as pd

from ..datasets.dtypes import DTYPE_NAMES
from ..datasets.table import OpQuestions, Table
from ..features.word_pairs import numbered
from . import rehearsal
from .base import Surrogate
from .size_rehearsal import mean_answer

#: what widths about a machine and a word never seen together are called, beside those about the words of each column
TOGETHER = "machine and word"
#: words of a column, and pairs of a machine and a word, held out at most, rows that stand on either side at least, and rows of a table that are drawn for it
WORDS, _LEAST_HELD, _LEAST_LEFT, _ROWS = 4, 10, 20, 2_000
#: between the machine and the word of a pair
_BETWEEN = "\x1f"
#: columns of number formats: never labels
_FORMATS = ("dtype", "weight_dtype")


def words(questions: OpQuestions) -> dict[str, np.ndarray]:
    """Column -> (n,) words: number formats, of the operands and of the weights, and the columns of context (empty cells are "")."""
    return {column: names[codes] for column, (codes, names) in _coded(questions).items()}


def _coded(questions: OpQuestions) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Column -> ((n,) number of each word, the words): to look at each word once, not at each row."""
    formats, ops = np.array(DTYPE_NAMES, dtype=str), questions.ops
    out: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for column in questions.context.columns:
        codes, names = numbered(questions.context[column])
        out[str(column)] = codes, names.astype(str)
    return out | {"dtype": (ops.dtype, formats), "weight_dtype": (ops.weight_dtype, formats)}


def known(questions: OpQuestions, groups: np.ndarray) -> dict[str, list[str]]:
    """Column -> its words, but for columns of labels: those most of whose rows have a word that is their group's alone ((n,) `groups`). Rows held out had new ones, and intervals are those of such."""
    out = {}
    group = pd.factorize(groups.astype(str))[0]
    for column, values in words(questions).items():
        code, names = pd.factorize(values)
        pairs = np.unique(np.stack([code, group]), axis=1)
        alone = np.bincount(pairs[0], minlength=len(names)) == 1
        if column in _FORMATS or group.max(initial=0) == 0 or alone[code].mean() <= 0.5:
            out[column] = sorted(set(names.tolist()))
    return out


def pairs(questions: OpQuestions, columns: Iterable[str]) -> dict[str, list[str]]:
    """Each of the columns -> pairs of a machine and a word that it has there, as one text."""
    every = _pairs(questions)
    return {column: sorted(set(every[column].tolist())) for column in columns}


def _pairs(questions: OpQuestions) -> dict[str, np.ndarray]:
    """Column -> (n,) machine and word."""
    machine = np.char.add(questions.strata.astype(str), _BETWEEN)
    return {column: np.char.add(machine, values) for column, values in words(questions).items()}


class Heard:
    """What was learned of words: `learned` (`known`) and `together` (`pairs`), for looking at many questions."""

    def __init__(self, learned: Mapping[str, Iterable[str]], together: Mapping[str, Iterable[str]]) -> None:
        self._learned = {column: frozenset(each) for column, each in learned.items()}
        self._together = {column: frozenset(each) for column, each in together.items()}
        self._machines = frozenset(pair.split(_BETWEEN)[0] for each in self._together.values() for pair in each)

    def new(self, questions: OpQuestions) -> dict[str, np.ndarray]:
        """Column -> (n,) whether its word was never learned, and `TOGETHER` -> whether a word and the machine were each learned, and never together; without those that hold for no row."""
        out: dict[str, np.ndarray] = {}
        apart = np.zeros(len(questions), dtype=bool)
        machines = [str(name) for name in questions.device_names]
        for column, (codes, names) in _coded(questions).items():
            if column not in self._learned:
                continue
            new = np.array([name not in self._learned[column] for name in names.tolist()], dtype=bool)
            if new[codes].any():
                out[column] = new[codes]
            if column in self._together:
                met, back = np.unique(questions.device_index.astype(np.int64) * len(names) + codes, return_inverse=True)
                lone = [machines[at] in self._machines and not new[word] and f"{machines[at]}{_BETWEEN}{names[word]}" not in self._together[column] for at, word in zip(met // len(names), met % len(names), strict=True)]
                apart |= np.array(lone, dtype=bool)[back]
        return out | ({TOGETHER: apart} if apart.any() else {})


def tried(table: Table, fresh: Callable[[], Sequence[Surrogate]], targets: Sequence[str], seed: int) -> dict[str, list[dict[str, tuple[np.ndarray, np.ndarray]]]]:
    """Column, or `TOGETHER` -> for each word, or pair, held out, target -> (truth, answer), each (n,) in SI: how far off `fresh` members fitted to the rest are (their mean in log space)."""
    rng = np.random.default_rng(seed)
    table = table.take(np.sort(rng.permutation(len(table))[:_ROWS]))
    if not isinstance(table.questions, OpQuestions):
        return {}
    columns_of = known(table.questions, table.groups)
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

    each, machine = {column: values for column, values in words(table.questions).items() if column in columns_of}, table.questions.strata.astype(str)
    for column, values in each.items():
        for name in _by_rows(values, _LEAST_HELD)[:WORDS]:
            hold_out(values == name, column)
    rounds = [[values == pair for pair in _by_rows(values, _LEAST_HELD)] for column, values in _pairs(table.questions).items() if column in columns_of]
    for held in (held for turn in zip_longest(*rounds) for held in turn if held is not None):  # the pair with most rows of every column, then the next of each
        if len(columns.get(TOGETHER, ())) < WORDS and all(np.isin(values[held], values[~held]).all() for values in (machine, *each.values())):
            hold_out(held, TOGETHER)
    answered = dict(zip(parts, rehearsal.held(table, list(parts.values()), fresh, targets, rng), strict=True)) if parts else {}
    off = {key: {t: (part.truth[t], mean_answer([p[t] for p in part.points])) for t in targets} for key, part in answered.items()}
    return {column: [off[key] for key in keys] for column, keys in columns.items()}


def _by_rows(values: np.ndarray, least: int) -> list[str]:
    """The different words of (n,) that have so many rows at least, those with most first."""
    names, counts = np.unique(values, return_counts=True)
    return [str(names[at]) for at in np.argsort(-counts, kind="stable") if counts[at] >= least]
