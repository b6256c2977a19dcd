"""How far off are the answers? Error measures by their usual names, vectorised, with every left-out row counted.

With truth y and answer p (both (n,) in SI), over the rows that have both:

    APE            |p - y| / |y|, the absolute percentage error (a fraction, not a percentage); needs y != 0
    median_ape     its median;   mape  its mean;   p90_ape  its 90th percentile
    within_5       share of rows with APE <= 0.05;   within_10  <= 0.10
    rmspe          sqrt(mean(APE^2))
    r2_log         1 - sum((log y - log p)^2) / sum((log y - mean log y)^2), over y, p > 0
    spearman       rank correlation;   kendall  tau-b, the share of pairs in the right order less the wrong ones
    top1_regret    how much worse the best-looking candidate of a group is than the truly best one, mean over groups
    coverage       share of rows whose interval holds y
    log_width      mean of log(high / low): 0.1 is an interval of about +-5 %
    auroc, brier   of a yes or no answered by a probability, and then they alone: the chance that a yes is given more than a no;
                   mean((p - y)^2), 0 at best and 0.25 for a coin

A measure that cannot be computed (one row, no interval, a constant) is NaN, never 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.errors import TableError
from ..datasets.table import Table
from ..datasets.yes_no import is_yes_no
from ..surrogates.classifier import auroc
from ..surrogates.prediction import Prediction

#: the measures of one slice and target, in the order of a report
MEASURES = ("median_ape", "mape", "p90_ape", "within_5", "within_10", "rmspe", "r2_log", "spearman", "kendall", "top1_regret", "coverage", "log_width", "auroc", "brier")
#: the counts beside them: rows judged, rows without a true answer, rows the model gave no answer for, rows whose truth is zero (no APE)
COUNTS = ("rows", "no_truth", "no_answer", "zero_truth")
#: targets of which more is better; of all others less is
MORE_IS_BETTER = frozenset({"utilization", "throughput_tok_s"})
#: the slice columns of a table that reports show, where it has them
SLICE_COLUMNS = ("family", "kind", "device")


def ape(truth: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """(n,) absolute percentage errors as fractions; NaN where either is missing or the truth is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.abs(answer - truth) / np.abs(truth)
    return np.where(np.isfinite(error), error, np.nan)


def r2_log(truth: np.ndarray, answer: np.ndarray) -> float:
    """R2 of the logarithms over rows where both are positive; NaN for fewer than two rows or a constant truth."""
    use = (truth > 0) & (answer > 0)
    y, p = np.log(truth[use]), np.log(answer[use])
    spread = float(np.sum((y - y.mean()) ** 2)) if len(y) > 1 else 0.0
    return 1.0 - float(np.sum((y - p) ** 2)) / spread if spread > 0 else math.nan


def spearman(truth: np.ndarray, answer: np.ndarray) -> float:
    """Spearman's rank correlation; NaN for fewer than two rows or a constant."""
    if not _varies(truth, answer):
        return math.nan
    from scipy.stats import spearmanr

    return float(spearmanr(truth, answer).statistic)


def kendall(truth: np.ndarray, answer: np.ndarray) -> float:
    """Kendall's tau-b; NaN for fewer than two rows or a constant."""
    if not _varies(truth, answer):
        return math.nan
    from scipy.stats import kendalltau

    return float(kendalltau(truth, answer).statistic)


def top_k_regret(truth: np.ndarray, answer: np.ndarray, groups: np.ndarray, k: int = 1, more_is_better: bool = False) -> float:
    """What choosing by the answers costs: within each group of candidates take the k best by `answer`; the regret is
    (best truth among them) / (best truth of the group) - 1, or 1 - that ratio where more is better. Mean over the groups with more
    than k rows; NaN when there is none. Needs positive truths."""
    use = np.isfinite(truth) & np.isfinite(answer) & (truth > 0)
    labels, group = np.unique(groups[use].astype(str), return_inverse=True)
    if not len(labels):
        return math.nan
    sign = -1.0 if more_is_better else 1.0
    order = np.lexsort((sign * answer[use], group))
    group, value = group[order], sign * truth[use][order]
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    sizes = np.diff(np.r_[starts, len(group)])
    rank = np.arange(len(group)) - np.repeat(starts, sizes)
    picked = np.minimum.reduceat(np.where(rank < k, value, np.inf), starts)
    best = np.minimum.reduceat(value, starts)
    enough = sizes > k
    return float(np.mean(np.abs(picked[enough] / best[enough] - 1.0))) if enough.any() else math.nan


def coverage(truth: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Share of rows whose interval holds the truth, over rows that have both; NaN when none has."""
    use = np.isfinite(truth) & np.isfinite(low) & np.isfinite(high)
    return float(np.mean((low[use] <= truth[use]) & (truth[use] <= high[use]))) if use.any() else math.nan


def log_width(low: np.ndarray, high: np.ndarray) -> float:
    """Mean of log(high / low) over rows with a positive interval; NaN when none has one."""
    use = np.isfinite(low) & np.isfinite(high) & (low > 0)
    return float(np.mean(np.log(high[use] / low[use]))) if use.any() else math.nan


def measure(truth: np.ndarray, point: np.ndarray, low: np.ndarray, high: np.ndarray, groups: np.ndarray, more_is_better: bool = False,
            yes_no: bool = False) -> dict[str, float]:
    """Every one of `COUNTS` and `MEASURES` for one target; all arguments (n,). `yes_no`: the answers are probabilities."""
    have_truth, have_point = np.isfinite(truth), np.isfinite(point)
    use = have_truth & have_point
    y, p = truth[use], point[use]
    error = ape(y, p)
    error = error[np.isfinite(error)]
    out: dict[str, float] = {"rows": int(use.sum()), "no_truth": int((~have_truth).sum()), "no_answer": int((have_truth & ~have_point).sum()),
                             "zero_truth": int((y == 0).sum())}
    out["auroc"] = auroc(y, p) if yes_no else math.nan
    out["brier"] = float(np.mean((p - y) ** 2)) if yes_no and len(y) else math.nan
    if yes_no:
        return {**dict.fromkeys(MEASURES, math.nan), **out}
    some = len(error) > 0
    out["median_ape"] = float(np.median(error)) if some else math.nan
    out["mape"] = float(np.mean(error)) if some else math.nan
    out["p90_ape"] = float(np.quantile(error, 0.9)) if some else math.nan
    out["within_5"] = float(np.mean(error <= 0.05)) if some else math.nan
    out["within_10"] = float(np.mean(error <= 0.10)) if some else math.nan
    out["rmspe"] = float(np.sqrt(np.mean(error**2))) if some else math.nan
    out["r2_log"] = r2_log(y, p)
    out["spearman"], out["kendall"] = spearman(y, p), kendall(y, p)
    out["top1_regret"] = top_k_regret(y, p, groups[use], 1, more_is_better)
    out["coverage"] = coverage(y, low[use], high[use])
    out["log_width"] = log_width(low[use], high[use])
    return out


def by_slice(table: Table, prediction: Prediction, level: float | None = None, columns: tuple[str, ...] = SLICE_COLUMNS) -> pd.DataFrame:
    """How good the answers are, overall and by slice: one row per (slice, value, target), with `COUNTS` and `MEASURES`.

    The first rows have slice "all". Only targets that both sides have are judged. `level` is what the intervals claim; intervals
    of another level are refused. Raises TableError when lengths, levels or targets do not fit.
    """
    if len(table) != len(prediction):
        raise TableError(f"metrics: {len(prediction)} answers for {len(table)} rows")
    if level is not None and prediction.level and not math.isclose(level, prediction.level):
        raise TableError(f"metrics: expected intervals at level {level:g}, got {prediction.level:g}")
    targets = [name for name in prediction.targets if name in table.targets]
    if not targets:
        raise TableError(f"metrics: the model answers {', '.join(prediction.targets)}; the table has {', '.join(table.targets)}")
    groups = np.asarray(table.groups)
    parts: list[tuple[str, str, np.ndarray]] = [("all", "", np.arange(len(table)))]
    for column in columns:
        if column in table.slices.columns:
            labels, code = np.unique(table.slices[column].astype(str).to_numpy(dtype=object), return_inverse=True)
            rows = np.split(np.argsort(code, kind="stable"), np.cumsum(np.bincount(code, minlength=len(labels)))[:-1])
            parts += [(column, str(label), index) for label, index in zip(labels, rows, strict=True)]
    out: list[dict[str, Any]] = []
    for column, label, rows_of in parts:
        for name in targets:
            j = prediction.column(name)
            values = measure(np.asarray(table.targets[name], dtype=float)[rows_of], prediction.point[rows_of, j], prediction.low[rows_of, j],
                             prediction.high[rows_of, j], groups[rows_of], name in MORE_IS_BETTER, is_yes_no(name, np.asarray(table.targets[name], dtype=float)))
            out.append({"slice": column, "value": label, "target": name, **values})
    return pd.DataFrame(out, columns=["slice", "value", "target", *COUNTS, *MEASURES])


def overall(frame: pd.DataFrame) -> dict[str, dict[str, float]]:
    """target -> measure -> value of the slice "all" of `by_slice`."""
    return nested(frame)["all"]


def nested(frame: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """`by_slice` for a model card: "all" or "COLUMN=VALUE" -> target -> measure -> value; what is not finite is left out."""
    out: dict[str, dict[str, dict[str, float]]] = {}
    for row in frame.to_dict("records"):
        key = "all" if row["slice"] == "all" else f"{row['slice']}={row['value']}"
        values = {k: float(row[k]) for k in (*COUNTS, *MEASURES) if math.isfinite(row[k])}
        out.setdefault(key, {})[str(row["target"])] = {k: int(v) if k in COUNTS else v for k, v in values.items()}
    return out


def guard_measures(verdicts: np.ndarray, errors: np.ndarray, threshold: float) -> Mapping[str, float]:
    """Does the domain guard warn of the answers that are wrong?

    `verdicts` (n,) names, `errors` (n,) APE, `threshold`: the APE above which an answer counts as wrong (the p90 of the test rows).
    `flagged`: share not in domain. `wrong`: share above the threshold. `hit_rate`: share of the wrong ones that were flagged.
    `median_ape_flagged`, `median_ape_passed`: errors on either side. NaN where there is nothing to divide by.
    """
    known = np.isfinite(errors)
    flagged, wrong = (verdicts != "in_domain")[known], (errors > threshold)[known]
    error = errors[known]

    def share(mask: np.ndarray) -> float:
        return float(np.mean(mask)) if len(mask) else math.nan

    return {"rows": float(known.sum()), "flagged": share(flagged), "wrong": share(wrong), "hit_rate": share(flagged[wrong]),
            "median_ape_flagged": float(np.median(error[flagged])) if flagged.any() else math.nan,
            "median_ape_passed": float(np.median(error[~flagged])) if (~flagged).any() else math.nan}


def _varies(*columns: np.ndarray) -> bool:
    return all(len(c) > 1 and bool(np.any(c != c[0])) for c in columns)
