"""Tables of few rows or groups: nothing can be spared, so every row is answered by a model that did not see its group.

Those answers give figures and intervals, and the model that is kept learns from all rows. Where even that promises nothing (one group, too few rows for the level) the model
answers without intervals, and says so. A table of operators with rows enough has an ensemble whose weights are chosen on groups held out, by small copies of its members.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..datasets.splits import whole_groups
from ..datasets.table import Table
from ..features import corners, own_sizes
from ..features import domain as domains
from ..surrogates import rehearsal, size_rehearsal, store
from ..surrogates.prediction import Prediction
from ..surrogates.trust import witnessed
from . import metrics
from .members import Say, expect_words, networks_help, op_members, rehearse, small_members, small_trees, smooth_helps

#: rows of a machine, and of all others, from which a small table is rehearsed with it held out
LEAST_ROWS_OF_MACHINE = 30
#: folds, where there are as many groups; with an ensemble
FOLDS, FOLDS_OF_ENSEMBLE = 10, 5
#: rows of a table of operators, and its groups, from which an ensemble learns it
LEAST_ROWS_OF_ENSEMBLE, LEAST_GROUPS_OF_ENSEMBLE = 600, 3
#: rows of a table of operators from which trees have a Gaussian process beside them
LEAST_ROWS_OF_PAIR = 12
#: with fewer groups than this, figures and intervals say little about the next group, and the card says so
_FEW_GROUPS = 10


@dataclass(frozen=True)
class Fitted:
    """A surrogate ready to be saved, and what its card says of it. `level` is 0 where there are no intervals; `rows`: trained on."""

    surrogate: Any
    domain: dict[str, Any]
    metrics: dict[str, Any]
    rows: int
    split: str
    level: float
    notes: list[str] = field(default_factory=list)


def fit_folds(data: Table, wanted: Sequence[str], by: str, seed: int, level: float, say: Say, networks: bool = True) -> Fitted:
    """All rows learned from; figures and intervals from out-of-fold answers."""
    groups = len(np.unique(data.groups.astype(str)))
    plain = data.questions.shape == "features"
    if data.questions.shape == "op" and groups >= LEAST_GROUPS_OF_ENSEMBLE and all(np.isfinite(data.targets[t]).all() for t in wanted):
        if len(data) >= LEAST_ROWS_OF_ENSEMBLE:
            return _fit_ensemble(data, wanted, by, seed, level, say, networks)
        if len(data) >= LEAST_ROWS_OF_PAIR:
            return _fit_pair(data, wanted, by, seed, level, say)
    surrogate = store.member("conformal")(store.member("blended")(targets=wanted, seed=seed) if plain else small_trees(wanted, data, seed), level=level)
    surrogate.fit(data)
    known = domains.describe(data)
    if groups < 2 or len(data) < 3:
        why = f"{len(data)} rows in {groups} group{'s' if groups > 1 else ''} (by {by}): no rows are left to judge on; no figures and no intervals (3 rows in 2 groups are the least)"
        return Fitted(surrogate, known, {}, len(data), f"none: all rows trained on, by {by}", 0.0, [why])
    notes = [f"only {groups} groups (by {by}): figures and intervals say little about a group unlike them"] if groups < _FEW_GROUPS else []
    fold = surrogate.inner.fold if plain else whole_groups(data.groups, min(FOLDS, groups), seed)  # a blend has held its own folds out already
    folds = int(fold.max()) + 1
    say(f"few rows or groups: {folds}-fold cross-validation by {by}, then a fit to all rows")
    point = surrogate.inner.out_of_fold.point if plain else _out_of_fold(data, wanted, fold, seed)
    strata = data.questions.strata
    apart = surrogate.inner.out_of_fold.spread if plain else None

    def told(rows: np.ndarray) -> dict[str, Any]:
        return {"spread": {} if apart is None else {t: apart[rows, j] for j, t in enumerate(wanted)}, "groups": data.groups[rows]} if plain else {}

    def scored(rows: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {t: (data.targets[t][rows], point[rows, j]) for j, t in enumerate(wanted)}

    def enough(rows: np.ndarray) -> bool:
        return all(int(np.isfinite(p).sum()) >= surrogate.needed for _, p in scored(rows).values())

    every = np.ones(len(data), dtype=bool)
    low, high = np.full_like(point, np.nan), np.full_like(point, np.nan)
    for i in range(folds):  # a fold's own residuals must not widen the intervals it is judged by
        here = fold == i
        if enough(~here):
            widths = store.member("conformal")(surrogate.inner, level=level).calibrate_from(strata[~here], scored(~here), **told(~here))
            bare = Prediction.bare(wanted, point[here])
            judged = widths.around(bare if apart is None else replace(bare, spread=apart[here]), strata[here])
            low[here], high[here] = judged.low, judged.high
    bare = Prediction.bare(wanted, point)
    prediction = Prediction(bare.targets, point, low, high, level if np.isfinite(low).any() else 0.0, bare.domain)
    asked = Table(data.questions, {t: data.targets[t] for t in wanted}, data.groups, data.slices, data.source)
    figures = metrics.nested(metrics.by_slice(asked, prediction, level))
    split = f"{folds}-fold by {by}; "
    if not enough(every):
        notes.append(f"{len(data)} rows are too few to promise intervals at level {level:g} ({surrogate.needed} answered rows are the least): the model answers without")
        return Fitted(surrogate, known, figures, len(data), f"{split}no intervals", 0.0, notes)
    surrogate.calibrate_from(strata, scored(every), **told(every))
    known = domains.with_labels(known, data.questions, fold, np.isfinite(point).any(axis=1))
    if plain:
        surrogate.expect_far(*surrogate.inner.expected_far())
    elif data.questions.shape == "op":
        surrogate.expect_strangers(sorted(set(strata.astype(str))), *_machines_out(data, wanted, seed))
        surrogate.expect_sizes(corners.known(data.questions.ops, data.groups), size_rehearsal.tried(data, lambda: [small_trees(wanted, data, seed)], wanted, seed), own=own_sizes.known(data.questions.ops, own_sizes.labels(data.questions)))
        expect_words(surrogate, data, wanted, seed)
    known = witnessed(known, asked, prediction, data)
    return Fitted(surrogate, known, figures, len(data), f"{split}intervals from out-of-fold residuals", level, notes)


def _fit_ensemble(data: Table, wanted: Sequence[str], by: str, seed: int, level: float, say: Say, networks: bool) -> Fitted:
    """An ensemble that learns from all rows; its weights, figures and intervals come from small copies of its members, asked about groups they never saw."""
    learned = networks and networks_help(len(data))
    fold = whole_groups(data.groups, min(FOLDS_OF_ENSEMBLE, len(np.unique(data.groups.astype(str)))), seed)
    say(f"few groups: {int(fold.max()) + 1} folds by {by} are answered by small models that saw none of their groups, then a fit to all rows")
    inner = store.member("ensemble")(op_members(wanted, seed, len(data), networks=learned, near=networks, smooth=smooth_helps(len(data)))).fit(data)

    def fresh() -> Sequence[Any]:
        return op_members(wanted, seed, small=True, taught=True, networks=learned, near=networks, smooth=smooth_helps(len(data)))

    return _judged(inner, data, wanted, by, seed, level, fold, fresh, lambda surrogate: rehearse(surrogate, data, wanted, seed, say, networks), "small copies")


def _fit_pair(data: Table, wanted: Sequence[str], by: str, seed: int, level: float, say: Say) -> Fitted:
    """Few operators: trees and a Gaussian process learn from all rows; shares, figures and intervals come from the same two, asked about groups they never saw."""
    fold = whole_groups(data.groups, min(FOLDS, len(np.unique(data.groups.astype(str)))), seed)
    say(f"few rows or groups: {int(fold.max()) + 1}-fold cross-validation by {by}, then a fit to all rows")
    inner = store.member("ensemble")(small_members(wanted, data, seed), strangers=0).fit(data)

    def rest(surrogate: Any) -> None:
        surrogate.expect_strangers(sorted(set(data.questions.strata.astype(str))), *_machines_out(data, wanted, seed))
        surrogate.expect_sizes(corners.known(data.questions.ops, data.groups), size_rehearsal.tried(data, lambda: small_members(wanted, data, seed), wanted, seed),
                               own=own_sizes.known(data.questions.ops, own_sizes.labels(data.questions)))
        expect_words(surrogate, data, wanted, seed)

    return _judged(inner, data, wanted, by, seed, level, fold, lambda: small_members(wanted, data, seed), rest, "")


def _judged(inner: Any, data: Table, wanted: Sequence[str], by: str, seed: int, level: float, fold: np.ndarray, fresh: Callable[[], Sequence[Any]], rehearsed: Callable[[Any], None],
            copies: str) -> Fitted:
    """An ensemble that learned from all rows, judged by `fresh` members asked about folds that they did not see; `rehearsed` gives it its widths about what was never seen. `copies`: what the fresh ones
    are, where they are less than the members."""
    tried = inner.rehearse_folds(data, fresh, fold, seed)
    rows = np.flatnonzero(np.isfinite(tried.point).all(axis=1))
    tried_fold = fold
    asked, point, spread, fold = data.take(rows), tried.point[rows], np.asarray(tried.spread)[rows], fold[rows]
    strata, kinds = asked.questions.strata, inner.kinds(asked.questions)
    surrogate = store.member("conformal")(inner, level=level)
    split = f"{len(np.unique(fold))}-fold by {by}; "
    groups = len(np.unique(data.groups.astype(str)))
    notes = [f"only {groups} groups (by {by}): figures and intervals say little about a group unlike them"] if groups < _FEW_GROUPS else []

    def calibrated(use: np.ndarray, widths: Any) -> Any:
        scored = {t: (asked.targets[t][use], point[use, j]) for j, t in enumerate(wanted)}
        # of two members the one may not answer where the other does: how far they are apart tells little
        return widths.calibrate_from(strata[use], scored, {t: spread[use, j] for j, t in enumerate(wanted)} if copies else {}, kinds[use])

    low, high = np.full_like(point, np.nan), np.full_like(point, np.nan)
    for i in np.unique(fold):  # a fold's own residuals must not widen the intervals it is judged by
        here = fold == i
        if (~here).sum() >= surrogate.needed:
            widths = calibrated(~here, store.member("conformal")(inner, level=level))
            judged = widths.around(replace(Prediction.bare(wanted, point[here]), spread=spread[here]), strata[here], None, kinds[here])
            low[here], high[here] = judged.low, judged.high
    promised = len(rows) >= surrogate.needed
    prediction = replace(Prediction.bare(wanted, point), low=low, high=high, level=level if np.isfinite(low).any() else 0.0)
    figures = metrics.nested(metrics.by_slice(asked, prediction, level)) if len(rows) else {}
    known = domains.describe(data)
    if not promised:
        notes.append(f"{len(rows)} rows answered by models that saw none of their group are too few to promise intervals at level {level:g} ({surrogate.needed} answered rows are the least): the model answers without")
        return Fitted(surrogate, known, figures, len(data), f"{split}no intervals", 0.0, notes)
    calibrated(np.ones(len(rows), dtype=bool), surrogate)
    known = known if copies else domains.with_labels(known, data.questions, tried_fold, np.isfinite(tried.point).any(axis=1))
    rehearsed(surrogate)
    if copies:
        notes.append(f"figures are those of {copies}, on groups they never saw: the model itself learned from all rows")
    return Fitted(surrogate, witnessed(known, asked, prediction, data), figures, len(data), f"{split}intervals from out-of-fold residuals{f' of {copies}' if copies else ''}", level, notes)


def _out_of_fold(data: Table, wanted: Sequence[str], fold: np.ndarray, seed: int) -> np.ndarray:
    """(n, t) points in SI, each by trees that saw no row of its fold. A target that does not vary in the rows of the other folds is
    answered with the one value it has there, as trees would."""
    point = np.full((len(data), len(wanted)), np.nan)
    for i in range(int(fold.max()) + 1):
        here = np.flatnonzero(fold == i)
        train = data.take(fold != i)
        varied = tuple(t for t in wanted if np.ptp(train.targets[t]) > 0)
        for j, name in enumerate(wanted):
            point[here, j] = train.targets[name][0]
        if varied:
            found = small_trees(varied, train, seed).fit(train).predict(data.questions.take(here))
            for name in varied:
                point[here, wanted.index(name)] = found.point[:, found.column(name)]
    return point


def _machines_out(data: Table, wanted: Sequence[str], seed: int) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], np.ndarray]:
    """(each target's (n,) truth and answer in SI on machines held out in turn, (n,) number of the machine); nothing where machines or rows are too few."""
    parts = rehearsal.machines(data, lambda: [small_trees(wanted, data, seed)], wanted, seed, least=LEAST_ROWS_OF_MACHINE)
    scored = {t: (np.concatenate([p.truth[t] for p in parts]), np.concatenate([p.points[0][t] for p in parts])) for t in wanted} if parts else {}
    return scored, np.repeat(np.arange(len(parts)), [len(p.kind) for p in parts])


