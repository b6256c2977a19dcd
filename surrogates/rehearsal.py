"""Rehearsals: how members do where nothing was measured, tried on what was.

A machine never seen and a size never reached are other worlds than a new site among known ones, so the shares that members of an ensemble get there
are chosen there: each of a few machines is held out in turn, and so are the largest sizes. Small copies of the members learn from the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from ..datasets.columns import OpColumns
from ..datasets.table import Table
from .base import Surrogate

#: machines held out at most, rows learned from and questions asked each time
MACHINES, ROWS, QUESTIONS = 4, 8_000, 2_000
#: sizes of an operator that have a reach
DIMS = ("b", "m", "n", "k", "row", "window")
#: the largest sizes are those above this quantile of a size's different values, where it has at least `_LEAST_VALUES`
_TOP, _LEAST_VALUES = 0.8, 5
#: fewer rows than this on either side and nothing is rehearsed
_LEAST_ROWS = 200
#: shares tried: multiples of 1 / _STEPS; three quarters of what is chosen, one of equal shares (few machines cannot tell finer)
_STEPS, _CHOSEN = 4, 0.75
#: an error beyond this (log ratio) counts as this much: one lost operator is not a lost machine
_WORST = 1.5


@dataclass(frozen=True)
class Rehearsal:
    """One part held out. `truth` and `points`: target -> (n,) and per member (n,), in SI."""

    truth: dict[str, np.ndarray]
    points: list[dict[str, np.ndarray]]


def hold(table: Table, held: np.ndarray, rest: np.ndarray, fresh: Callable[[], Sequence[Surrogate]], targets: Sequence[str], rng: np.random.Generator) -> Rehearsal:
    """Fresh members fitted to a sample of the rows `rest`, asked about a sample of the rows `held` (row numbers)."""
    asked = table.take(rng.permutation(held)[:QUESTIONS])
    learned = table.take(rng.permutation(rest)[:ROWS])
    answers = [member.fit(learned).predict(asked.questions).point for member in fresh()]
    return Rehearsal({t: np.asarray(asked.targets[t]) for t in targets}, [{t: a[:, j] for j, t in enumerate(targets)} for a in answers])


def machines(table: Table, fresh: Callable[[], Sequence[Surrogate]], targets: Sequence[str], seed: int) -> list[Rehearsal]:
    """Each of the machines with most rows held out in turn; empty with fewer than three machines."""
    strata = table.questions.strata.astype(str)
    names, counts = np.unique(strata, return_counts=True)
    rng = np.random.default_rng(seed)
    every = [(np.flatnonzero(strata == name), np.flatnonzero(strata != name)) for name in names[np.argsort(-counts, kind="stable")][:MACHINES]] if len(names) >= 3 else []
    return [hold(table, held, rest, fresh, targets, rng) for held, rest in every if min(len(held), len(rest)) >= _LEAST_ROWS]


def sizes(table: Table, fresh: Callable[[], Sequence[Surrogate]], targets: Sequence[str], seed: int) -> list[Rehearsal]:
    """The largest sizes held out; empty where no size has values enough."""
    large = np.zeros(len(table), dtype=bool)
    for dim in DIMS:
        values = getattr(table.questions.ops, dim)
        different = np.unique(values)
        if len(different) >= _LEAST_VALUES:
            large |= values > np.quantile(different, _TOP)
    held, rest = np.flatnonzero(large), np.flatnonzero(~large)
    return [hold(table, held, rest, fresh, targets, np.random.default_rng(seed))] if min(len(held), len(rest)) >= _LEAST_ROWS else []


def reach(ops: OpColumns) -> dict[str, float]:
    """The largest value of each size."""
    return {dim: float(np.max(getattr(ops, dim), initial=0.0)) for dim in DIMS}


def beyond(ops: OpColumns, known: dict[str, float]) -> np.ndarray:
    """(n,) whether an operator has a size beyond a known reach (a tenth more is not beyond)."""
    return np.logical_or.reduce([getattr(ops, dim) > 1.1 * most for dim, most in known.items()]) if known else np.zeros(len(ops), dtype=bool)


def shares(rehearsals: Sequence[Rehearsal], name: str) -> list[float]:
    """Shares of the members that do best over the parts held out, each part counting alike, drawn to equal shares."""
    count = len(rehearsals[0].points)
    equal = np.full(count, 1.0 / count)
    logs: list[tuple[np.ndarray, Any]] = []
    for part in rehearsals:
        stack = np.stack([p[name] for p in part.points])
        good = np.isfinite(part.truth[name]) & (part.truth[name] > 0) & (stack > 0).all(0)
        if good.any():
            logs.append((np.log(part.truth[name][good]), np.log(stack[:, good])))
    if not logs or count == 1:
        return [float(w) for w in equal]
    tried = [np.array(w) / _STEPS for w in product(range(_STEPS + 1), repeat=count) if sum(w) == _STEPS]

    def error(weights: np.ndarray) -> float:
        off = [np.minimum(np.abs(weights @ points - truth), _WORST) for truth, points in logs]
        return float(np.mean([np.median(o) + np.mean(o) for o in off]))

    best = min([equal, *tried], key=error)
    return [float(w) for w in _CHOSEN * best + (1.0 - _CHOSEN) * equal]
