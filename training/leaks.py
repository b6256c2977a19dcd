"""Inputs that copy an answer: cycles beside the time at one clock, an energy in another unit, a score made from the target.

A model that is given one forecasts nothing, and no figure of it shows that: rows held out have the copy, too. So `fit` tells of them; it drops none, for work on a single machine may order its
rows just as honestly. What is told:

* an input **equal** or **proportional** to a target (the ratio's logarithm varies by less than `ALIKE`), over all rows or for each value of one other input (cycles, where the clock is a column);
* an input of more than `LEAST_VALUES` values that **orders** the rows as a target does (|Spearman| above `ORDERED`), where it is not the only input that varies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from ..datasets.table import FeatureQuestions, OpQuestions, Table

#: standard deviation of a copy's log ratio: digits that were cut off, no noise of a measurement (assumption)
ALIKE = 5e-4
ORDERED, LEAST_VALUES = 0.999, 50
#: different values from which an exact copy is no chance; values of the other input, and rows of each, that are looked at one by one
_LEAST_COPIED, _MOST_OTHERS, _LEAST_EACH = 5, 64, 5
#: rows looked at
_MOST_ROWS = 20_000


def leaks(data: Table) -> list[str]:
    """What to tell of a table's inputs that copy one of its targets, a line for each. All targets of the schema are looked at, those that a model is not asked for (`--target`) too: a copy of one of them is
    known only after a run as well."""
    frame = data.questions.frame if isinstance(data.questions, FeatureQuestions) else data.questions.extra if isinstance(data.questions, OpQuestions) else pd.DataFrame()
    rows = np.unique(np.linspace(0, max(len(data) - 1, 0), min(len(data), _MOST_ROWS)).astype(np.int64))
    frame = frame.iloc[rows].reset_index(drop=True)
    labels = {str(c): pd.factorize(frame[c], use_na_sentinel=False)[0] for c in frame.columns}
    varied = [c for c, codes in labels.items() if codes.max(initial=0) > 0]
    others = {c: (codes, np.flatnonzero(codes == 0)) for c in varied if (codes := labels[c]).max() < _MOST_OTHERS}
    lone = len(varied) < 2 and not isinstance(data.questions, OpQuestions)
    out = []
    for name in varied:
        if not pd.api.types.is_numeric_dtype(frame[name]) or frame[name].dtype.kind == "b":
            continue
        values = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
        for target, truth in data.targets.items():
            how = next(_copies(values, np.asarray(truth, dtype=np.float64)[rows], target, {c: told for c, told in others.items() if c != name}, lone), "")
            if how:
                out.append(f"warning: {name} {how}: a copy of the answer, or an answer itself? If it is known only after a run, leave it out (name the inputs with features); "
                           "if it is known beforehand, all is well")
    return out


def _copies(values: np.ndarray, truth: np.ndarray, target: str, others: Mapping[str, tuple[np.ndarray, np.ndarray]], lone: bool) -> Iterator[str]:
    """How the values (n,) copy the truth (n,) of a target, in words; nothing where they do not. `others`: other inputs of few values, as (n,) codes and the rows of the first; `lone`: no other input varies."""
    good = np.isfinite(values) & np.isfinite(truth)
    count = min(len(np.unique(values[good])), len(np.unique(truth[good])))
    if count < _LEAST_COPIED:
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(np.abs(truth / values))
    there = good & np.isfinite(ratio) & (truth * values > 0)
    if there.sum() >= 0.99 * good.sum():
        ratio = np.where(there, ratio, np.nan)
        if np.nanstd(ratio) < ALIKE:
            yield f"equals {target}" if np.nanmax(np.abs(ratio)) < ALIKE else f"is proportional to {target}"
        for other, (labels, first) in others.items():
            told = ratio[first][there[first]]
            if len(told) and (len(told) < _LEAST_EACH or told.std(ddof=1) >= ALIKE):  # one value tells it of nearly all inputs, and in a moment
                continue
            by = pd.DataFrame({"ratio": ratio, "value": values, "by": labels}).dropna().groupby("by")
            if (by["value"].nunique() >= _LEAST_EACH).all() and (by["ratio"].std() < ALIKE).all():
                yield f"is proportional to {target} for each {other}"
    if count > LEAST_VALUES and not lone:
        order = float(np.corrcoef(pd.Series(values[good]).rank(), pd.Series(truth[good]).rank())[0, 1])
        if abs(order) > ORDERED:
            yield f"orders the rows {'as' if order > 0 else 'in the reverse of'} {target} (Spearman {order:.4f})"
