"""Yes or no, as a probability that holds: will this design synthesise, does it fit in memory?

Any score that ranks (boosted trees, a process on 0 and 1) becomes a probability by Venn-Abers prediction (Vovk and Petej 2014, "Venn-Abers
predictors"): isotonic regressions through the calibration scores and the new one, taken once as a no and once as a yes, give two
probabilities p0 <= p1 that are valid together whatever the data are. The answer is p1 / (1 - p0 + p1); p0 and p1 are its low and high.
They are computed once over a grid of scores (the inductive predictor, with the calibration scores binned).
"""

from __future__ import annotations

from typing import Any

import numpy as np

#: places between which a probability is interpolated: the calibration scores, or quantiles of them where they are more
_PLACES = 64


def is_yes_no(values: np.ndarray) -> bool:
    """Whether (n,) answers are a classification: every finite one is 0 or 1, and both occur or could (at least one does)."""
    good = values[np.isfinite(values)]
    return len(good) > 0 and bool(np.isin(good, (0.0, 1.0)).all())


def calibrate(score: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Scores (n,) of rows the model never saw and their truths (0 or 1) -> {score, low, high}: p0 and p1 at places in rising order, as plain JSON."""
    good = np.isfinite(score) & np.isfinite(truth)
    s, y = score[good].astype(np.float64), truth[good].astype(np.float64)
    order = np.argsort(s, kind="stable")
    s, y = s[order], y[order]
    values, start = np.unique(s, return_index=True)
    places = (values if len(values) <= _PLACES else np.unique(np.quantile(s, np.linspace(0.0, 1.0, _PLACES)))) if len(s) else np.zeros(1)
    count = np.diff(np.r_[start, len(s)]).astype(np.float64)
    total = np.add.reduceat(y, start) if len(s) else np.zeros(0)
    low, high = (np.array([_with_one_more(values, total, count, float(p), label) for p in places]) for label in (0.0, 1.0))
    return {"score": [float(p) for p in places], "low": [float(p) for p in np.maximum.accumulate(low)], "high": [float(p) for p in np.maximum.accumulate(high)]}


def probability(calibrated: dict[str, Any], score: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n,) probabilities with their low and high for (n,) scores; between places by interpolation, beyond them as at the last."""
    low = np.interp(score, calibrated["score"], calibrated["low"])
    high = np.maximum(np.interp(score, calibrated["score"], calibrated["high"]), low)
    # the score itself breaks ties between rows of one step, so that rows keep the order the model gave them
    tie = 1e-6 * np.tanh(score - np.median(calibrated["score"]))
    point = np.clip(high / (1.0 - low + high) + tie, low, high)
    return point, low, high


def auroc(truth: np.ndarray, score: np.ndarray) -> float:
    """The chance that a yes scores above a no, ties counting half (Mann-Whitney); NaN where one of them is missing."""
    good = np.isfinite(truth) & np.isfinite(score)
    y, s = truth[good] > 0.5, score[good]
    yes, no = int(y.sum()), int((~y).sum())
    if not yes or not no:
        return float("nan")
    from scipy.stats import rankdata

    return float((rankdata(s)[y].sum() - yes * (yes + 1) / 2.0) / (yes * no))


def _with_one_more(values: np.ndarray, total: np.ndarray, count: np.ndarray, place: float, label: float) -> float:
    """The isotonic fit at `place` through (values, total / count) and one more row there with `label`."""
    at = int(np.searchsorted(values, place))
    if at < len(values) and values[at] == place:
        t, c = total.copy(), count.copy()
        t[at] += label
        c[at] += 1.0
    else:
        t, c = np.insert(total, at, label), np.insert(count, at, 1.0)
    return _isotonic(t, c, at)


def _isotonic(total: np.ndarray, count: np.ndarray, at: int) -> float:
    """The value at position `at` of the rising least-squares fit (pool adjacent violators)."""
    blocks: list[list[float]] = []
    for i in range(len(total)):
        blocks.append([float(total[i]), float(count[i]), float(i)])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            last = blocks.pop()
            blocks[-1] = [blocks[-1][0] + last[0], blocks[-1][1] + last[1], last[2]]
    for sum_, weight, end in blocks:
        if at <= end:
            return sum_ / weight
    return float("nan")
