"""Does the interval still cover? Coverage and error of past predictions by slice over time, from predictions and their measured truth.

An interval at level 0.9 should hold nine truths of ten. Of n truths, the number it holds is binomial if it still covers, so a slice is flagged
when so few (or fewer) would be held with a probability below `ALPHA`, divided by the number of slices looked at (Bonferroni), and counting only
answers for which the level was claimed (in the domain, with an interval). Truths of one question are one draw: their median counts, once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.errors import InputError, UnknownNameError

#: the probability of a flag on any slice while every interval covers
ALPHA = 0.01
#: fewer truths than this tell nothing: at level 0.9 not even three misses of three would be rare enough beside other slices
LEAST = 8
#: what slices are cut by
FACETS = ("target", "model", "version", "hardware", "kind", "family", "verdict")
DAY_S = 86_400.0


@dataclass(frozen=True)
class Window:
    """One stretch of time of a slice: from `begin_s`, `rows` questions with truth, the share that intervals held (NaN: none was claimed), median APE and bias."""

    begin_s: float
    rows: int
    coverage: float
    median_ape: float
    bias: float


@dataclass(frozen=True)
class Slice:
    """One slice of the truths. `by` names it.

    `rows` questions with truth; `claimed` of them had an interval with a level claimed, of which `held` were right; `expected` is that level (mean);
    `p_value` the chance of so few if the interval covered; `median_ape` |predicted / true - 1|; `bias` the median of predicted / true - 1;
    `unclaimed_coverage` of the rest, for information.
    """

    by: dict[str, str]
    rows: int
    claimed: int
    held: int
    coverage: float
    expected: float
    p_value: float
    flagged: bool
    median_ape: float
    bias: float
    unclaimed_coverage: float
    windows: tuple[Window, ...]
    note: str

    def to_json(self) -> dict[str, Any]:
        """A plain dict; what is NaN becomes null."""
        return dict(_plain(asdict(self)))


@dataclass(frozen=True)
class Report:
    """Every slice, the worst first; `flagged` when any is."""

    slices: tuple[Slice, ...]
    by: tuple[str, ...]
    truths: int
    unmatched: int
    alpha: float

    @property
    def flagged(self) -> bool:
        """Whether an interval no longer covers somewhere."""
        return any(s.flagged for s in self.slices)

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {"flagged": self.flagged, "alpha": self.alpha, "by": list(self.by), "truths": self.truths, "unmatched": self.unmatched,
                "slices": [s.to_json() for s in self.slices]}


def report(truths: pd.DataFrame, by: Sequence[str] = ("target", "hardware"), window_s: float = 7 * DAY_S, unmatched: int = 0, alpha: float = ALPHA) -> Report:
    """The report on truths as `DriftStore.matched` gives them; slices by `by` (of `FACETS`), and over all of each target.

    Raises UnknownNameError for a facet that is none, InputError for a window or alpha that makes no sense.
    """
    for name in by:
        if name not in FACETS:
            raise UnknownNameError("facet", name[:80], FACETS)
    if not (window_s > 0 and 0 < alpha < 1):
        raise InputError(f"drift: expected a window greater than 0 and alpha between 0 and 1, got {window_s} and {alpha}")
    facets = tuple(dict.fromkeys(("target", *by)))
    rows = one_draw_each(truths)
    cuts = [("target",), facets] if len(facets) > 1 else [facets]
    groups = [({name: str(value) for name, value in zip(cut, key, strict=True)}, group)
              for cut in cuts if len(rows) for key, group in rows.groupby(list(cut), sort=True, dropna=False)]
    tested = max(1, sum(int(g["claimed"].sum()) >= LEAST for _, g in groups))
    found = [_slice(name, group, alpha / tested, window_s) for name, group in groups]
    order = sorted(found, key=lambda s: (not s.flagged, s.p_value if math.isfinite(s.p_value) else 2.0, -s.rows))
    return Report(tuple(order), facets, len(truths), unmatched, alpha)


def one_draw_each(truths: pd.DataFrame) -> pd.DataFrame:
    """One row per question, target, model and version: repeats of a measurement are no new evidence. The median truth, the newest time."""
    if truths.empty:
        return truths.assign(held=pd.Series(dtype=bool), ratio=pd.Series(dtype=float))
    keys = ["question", "target", "model", "version", *[f for f in FACETS if f not in ("target", "model", "version")], "point", "low", "high", "level", "claimed"]
    rows = truths.groupby(keys, dropna=False, as_index=False, sort=False).agg(truth=("truth", "median"), at_s=("at_s", "max"))
    with np.errstate(all="ignore"):
        return rows.assign(held=(rows["low"] <= rows["truth"]) & (rows["truth"] <= rows["high"]), ratio=rows["point"] / rows["truth"] - 1)


def _slice(by: dict[str, str], rows: pd.DataFrame, alpha: float, window_s: float) -> Slice:
    from scipy.stats import binom

    claimed = rows[rows["claimed"].astype(bool)]
    n, held = len(claimed), int(claimed["held"].sum())
    expected = float(claimed["level"].mean()) if n else math.nan
    p_value = float(binom.cdf(held, n, expected)) if n else math.nan
    others = rows[~rows["claimed"].astype(bool) & np.isfinite(rows["low"]) & np.isfinite(rows["high"])]
    windows = tuple(Window(float(at) * window_s, len(g), _mean(g.loc[g["claimed"].astype(bool), "held"]), _median(g["ratio"].abs()), _median(g["ratio"]))
                    for at, g in rows.groupby(np.floor(rows["at_s"] / window_s), sort=True))
    return Slice(by, len(rows), n, held, held / n if n else math.nan, expected, p_value, n >= LEAST and p_value < alpha, _median(rows["ratio"].abs()), _median(rows["ratio"]),
                 _mean(others["held"]), windows, "" if n >= LEAST else f"{n} truths with a claimed interval; {LEAST} are the least that are judged")


def _median(values: pd.Series) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.median()) if len(finite) else math.nan


def _mean(values: pd.Series) -> float:
    return float(values.mean()) if len(values) else math.nan


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
