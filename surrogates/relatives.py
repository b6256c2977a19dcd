"""A language model never seen in a plain table is answered as those of the table, by the power of the parameters that a token meets.

Models of a table are few, and members that see their figures as columns draw what they like between and beyond them. What carries over is asked instead, as for machines (`newcomer`): the same row as if
about models of the table (of the 24 with the most rows, the eight nearest in size), brought to the new one by the ratio of the parameters a token meets (`language_models`), and the weighted median of those. The power that costs go with is the table's own:
every model is asked about the rows of every other, and what it misses them by is set beside their ratio, in logarithms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.assigned import assigned
from ..features import language_models
from .newcomer import MOST_ASKED, weighted_median

#: a table with fewer models whose parameters are known teaches no power; rows that a model is asked about by the others, at least; rows asked about, at most
_LEAST_MODELS, _LEAST_ROWS, _MOST_ROWS = 3, 5, 600
#: models that are asked, those with the most rows
_MOST_MODELS = 24
#: how far (log) models may be from what the power says of them, root mean square over pairs: beyond that they were run in ways that differ by more than their size (assumption: a quarter)
_CONSISTENT = 0.25
#: the power where nothing tells it, with the weight of one pair of models an e-fold apart; what it may be (assumption: reading weights bounds a cost from below, so it is near 1 and not above by much)
_USUAL, _LEAST, _MOST = 0.7, 0.0, 1.2
_ACTIVE = language_models.FIGURES.index("active_params")

#: n rows of a frame as it was written -> (n, t) answers in SI
Ask = Callable[[pd.DataFrame], np.ndarray]


def known(frame: pd.DataFrame, column: str) -> dict[str, Any]:
    """The models of a column that may be asked: names, in order, and square roots of their rows; empty unless at least `_LEAST_MODELS` different sizes are known."""
    counts = frame[column].astype(str).value_counts()
    names = sorted([str(n) for n in counts.index if np.isfinite(active(str(n)))][:_MOST_MODELS])
    if len({active(n) for n in names}) < _LEAST_MODELS:
        return {}
    return {"names": names, "worth": [round(float(np.sqrt(counts[n])), 6) for n in names]}


def learn(frame: pd.DataFrame, column: str, told: Mapping[str, Any], truth: np.ndarray, ask: Ask, seed: int) -> tuple[list[float], list[bool]]:
    """(per target the power that costs go with, whether the models keep to it) from n rows and their (n, t) truths in SI; the usual one, and no, of a target that is not positive throughout."""
    some = np.sort(np.random.default_rng(seed).permutation(len(frame))[:_MOST_ROWS])
    part, truth = frame.iloc[some].reset_index(drop=True), truth[some]
    on = part[column].astype(str).to_numpy(dtype=object)
    asked = [m for m in told["names"] if (on == m).sum() >= _LEAST_ROWS]
    sizes = np.array([np.log(active(m)) for m in told["names"]])
    answers = np.stack([ask(assigned(part, {column: m})) for m in told["names"]])
    powers, kept = [], []
    for j in range(truth.shape[1]):
        pairs: list[tuple[float, np.ndarray, np.ndarray]] = []
        positive = (answers[:, :, j] > 0).all(0) & (truth[:, j] > 0)
        if not (positive | ~np.isfinite(truth[:, j])).all():
            powers.append(_USUAL)
            kept.append(False)
            continue
        for m in asked:
            rows = (on == m) & positive
            if rows.any():
                pairs.append((float(np.sqrt(rows.sum())), np.log(active(m)) - sizes, np.median(np.log(truth[rows, j]) - np.log(answers[:, rows, j]), axis=1)))
        above, across = _USUAL + sum(w * float(apart @ off) for w, apart, off in pairs), 1.0 + sum(w * float(apart @ apart) for w, apart, _ in pairs)
        power = float(np.clip(above / across, _LEAST, _MOST))
        others = [(w, (off - power * apart)[apart != 0.0]) for w, apart, off in pairs]
        weight = sum(w * len(off) for w, off in others)
        powers.append(power)
        kept.append(weight > 0 and float(np.sqrt(sum(w * float(off @ off) for w, off in others) / weight)) < _CONSISTENT)
    return powers, kept


def answered(frame: pd.DataFrame, column: str, told: Mapping[str, Any], powers: Sequence[float], ask: Ask) -> np.ndarray:
    """(n, t) answers in SI to rows about models never seen; NaN where the model's parameters are not known, or an answer is not positive."""
    written = frame[column].astype(str).to_numpy(dtype=object)
    out = np.full((len(frame), len(powers)), np.nan)
    sizes = np.array([np.log(active(m)) for m in told["names"]])
    for name in np.unique(written):
        apart = np.log(active(str(name))) - sizes
        if not np.isfinite(apart).all():
            continue
        nearest = np.argsort(np.abs(apart), kind="stable")[:MOST_ASKED]
        rows = np.flatnonzero(written == name)
        part = frame.iloc[rows].reset_index(drop=True)
        answers = np.stack([ask(assigned(part, {column: told["names"][i]})) for i in nearest])
        weight = np.array(told["worth"])[nearest] * np.exp(-np.abs(apart[nearest]))
        for j, power in enumerate(powers):
            if (answers[:, :, j] > 0).all():
                out[rows, j] = np.exp(weighted_median(np.log(answers[:, :, j]) + power * apart[nearest, None], weight))
    return out


def active(name: str) -> float:
    """Parameters that a token meets (of a network for images, multiply-adds of an image), NaN where nobody knows."""
    return float(language_models.told(name)[_ACTIVE])
