"""Words that say nothing about a row: columns whose word was new in most of the rows held out, so that intervals were calibrated on new ones.

The guard takes a word nobody trained on for a reason to doubt an answer. A name of its own in nearly every row (a run, a layer, a network with its figures beside it) is none: rows held out had new
words, too, and errors and intervals are those of such rows. A machine remains a reason: its figures decide, and few of them are ever held out. So does a word of few: what five kernels say of one another promises
nothing of nine in ten others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..datasets.networks import NetworkQuestions
from ..datasets.table import FeatureQuestions
from . import language_models
from .device import named_machine

#: share of the rows held out whose word was new, from which new words are what was calibrated on
_MOST = 0.5
#: different words, from which the next may be promised to lie where nine in ten of those held out did (the least number of which a tenth is one)
_LEAST_WORDS = 10
#: different words of a column that are looked up in the catalogue
_LOOKED_UP = 100


def labels(questions: Any, fold: np.ndarray, held_out: np.ndarray) -> list[str]:
    """The columns of words of a plain table whose word stands in no other fold in more than half of the rows held out; none for other questions, nor
    a column of fewer than `_LEAST_WORDS` words.

    `fold` (n,): rows of one were held out together; `held_out` (n,) bool: the rows that were answered by a model that saw none of their fold.
    A column of machines (the schema's, or one most of whose words the catalogue knows) is never among them, nor is one of language models.
    """
    if not isinstance(questions, FeatureQuestions) or isinstance(questions, NetworkQuestions) or not held_out.any():
        return []
    named = language_models.named(questions.frame)
    found = []
    for name, cells in questions.frame.items():
        if pd.api.types.is_numeric_dtype(cells) or name == questions.machine_column or name in named:
            continue
        words = cells.astype(str)
        new = pd.Series(fold).groupby(words.to_numpy()).transform("nunique").to_numpy() == 1
        if float(new[held_out].mean()) > _MOST and words.nunique() >= _LEAST_WORDS and not _machines(words):
            found.append(str(name))
    return found


def _machines(words: pd.Series) -> bool:
    different = words.unique()[:_LOOKED_UP]
    return bool(np.mean([named_machine(word) is not None for word in different]) >= 0.5)
