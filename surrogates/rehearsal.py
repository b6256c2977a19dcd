"""Rehearsals: how members do where nothing was measured, tried on what was.

A machine never seen and a size never reached are other worlds than a new site among known ones, so the shares that members of an ensemble get there
are chosen there: each of a few machines is held out in turn, and so are the largest sizes. Small copies of the members learn from the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from ..datasets.columns import OpColumns
from ..datasets.ops import KIND_NAMES
from ..datasets.table import OpQuestions, Table
from ..features.tabular import table_vocabulary, tabular_features
from .base import Surrogate
from .threads import in_two_lanes

#: rows of a table from which members that see what is the same everywhere learn, at most (assumption; of 400,000 GEMM rows none of them had a share about known machines and sizes)
ENOUGH_ROWS = 120_000
#: machines held out at most, rows learned from and questions asked each time
MACHINES, ROWS, QUESTIONS = 4, 8_000, 2_000
#: sizes of an operator that have a reach
DIMS = ("b", "m", "n", "k", "row", "window")
#: how much of it there is, of kinds without a matrix view (rows of a norm, elements): beyond it more of the same is done, which is not as far as a longer row. Of NeuSight's training rows
#: sixteen times the elements, and the rows, learned from: elementwise 22.7 % off (median) without such a reach, 9.3 with; norms 36.9 and 13.6, softmax 19.0 and 9.4
COUNT = "output_bytes"
#: a size beyond so many times the largest is beyond it
_BEYOND = 1.1
#: octaves that more of the same counts as: beyond, and never beyond what was rehearsed
_MORE = 0.15
#: the largest sizes are those beyond the largest of all over the first of these that leaves a share `_LEFT` of the rows to learn from: what lies beyond a table lies
#: octaves beyond, not a step; a size has a reach where it has at least `_LEAST_VALUES` different values
_OVER, _LEFT, _LEAST_VALUES = (8.0, 4.0, 2.0, 1.25), 0.1, 5
#: fewer rows than this on either side and nothing is rehearsed
_LEAST_ROWS = 200
#: the word for products of many small matrices: libraries run other kernels for them
BATCHED = "batched gemm"
#: rows of a kind of operator from which it has shares of its own
_LEAST_OF_KIND = 100
#: shares tried: multiples of 1 / _STEPS; three quarters of what is chosen, one of equal shares (few parts cannot tell finer); half and half where shares were given that
#: are likely beforehand
_STEPS, _CHOSEN, _CHOSEN_OVER_LIKELY = 4, 0.75, 0.5
#: a relative error beyond this counts as this much: one lost operator is not a lost machine
_WORST = 1.5


@dataclass(frozen=True)
class Rehearsal:
    """One part held out. `truth` and `points`: target -> (n,) and per member (n,), in SI. `kind`: (n,) names of the kinds of operator. `rows`: (n,) where they
    stand in the table."""

    truth: dict[str, np.ndarray]
    points: list[dict[str, np.ndarray]]
    kind: np.ndarray
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


def fitted(members: Sequence[Surrogate], table: Table, valid: Table | None = None) -> list[Any]:
    """The members, fitted to the same table, `general` ones to a sample of a large one: networks beside all others, which whoever is done first goes on with."""
    _columns_kept(table)
    some = _sample(table) if any(getattr(m, "general", False) for m in members) else table
    return in_two_lanes([partial(member.fit, some if getattr(member, "general", False) else table, valid) for member in members], _networks(members))


def _sample(table: Table) -> Table:
    """`ENOUGH_ROWS` of a table of operators with more, and beside them the first row of every machine and of every word, so that the columns are the same: they are taken along."""
    questions = table.questions
    if len(table) <= ENOUGH_ROWS or not isinstance(questions, OpQuestions):
        return table
    first = [np.unique(values, return_index=True)[1] for values in (questions.device_index, *(questions.context[c].astype(str).to_numpy() for c in questions.context.columns))]
    rows = np.unique(np.concatenate([_drawn(np.arange(len(table)), kinds(questions.ops), ENOUGH_ROWS, np.random.default_rng(0)), *first]))
    sampled = table.take(rows)
    sampled.questions.__dict__["_features"] = {key: features.rows(rows) for key, features in questions.__dict__["_features"].items()}
    return sampled


def _columns_kept(table: Table, *others: Table) -> None:
    """Computed once, for all members: they stay with the questions, of the others with the words of the first."""
    if isinstance(table.questions, OpQuestions):
        vocabulary = table_vocabulary(table)
        for each in (table, *others):
            tabular_features(each.questions, vocabulary)


def _networks(members: Sequence[Surrogate]) -> list[int]:
    """Positions of those that learn one after the other: they draw from one generator."""
    return [i for i, member in enumerate(members) if member.name == "neural"]


def held(table: Table, parts: Sequence[tuple[np.ndarray, np.ndarray]], fresh: Callable[[], Sequence[Surrogate]], targets: Sequence[str], rng: np.random.Generator) -> list[Rehearsal]:
    """For each part (row numbers held out, row numbers of the rest): fresh members fitted to a sample of the rest, asked about a sample of those held out. All members of all parts learn side by side."""
    kind = kinds(table.questions.ops)
    rows = [(_drawn(out, kind, QUESTIONS, rng), _drawn(rest, kind, ROWS, rng)) for out, rest in parts]
    asked, learned = [table.take(out) for out, _ in rows], [table.take(rest) for _, rest in rows]
    in_two_lanes([partial(_columns_kept, *each) for each in zip(learned, asked, strict=True)])
    members = [(i, member) for i in range(len(parts)) for member in fresh()]

    def answer(i: int, member: Surrogate) -> dict[str, np.ndarray]:
        point = member.fit(learned[i], None).predict(asked[i].questions).point
        return {t: point[:, j] for j, t in enumerate(targets)}

    points = in_two_lanes([partial(answer, i, member) for i, member in members], _networks([member for _, member in members]))
    return [Rehearsal({t: np.asarray(asked[i].targets[t]) for t in targets}, [p for p, (j, _) in zip(points, members, strict=True) if j == i], kinds(asked[i].questions.ops), rows[i][0])
            for i in range(len(parts))]


def _drawn(rows: np.ndarray, kind: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """So many of the row numbers, of each kind of operator in proportion to the root of its rows: a kind of which there are few is rehearsed, too."""
    order = rng.permutation(rows)
    if len(order) <= count:
        return order
    names, which, counts = np.unique(kind[order].astype(str), return_inverse=True, return_counts=True)
    taken = np.zeros(len(names), dtype=np.int64)
    while (left := count - int(taken.sum())) > 0:  # what a rare kind cannot fill goes to the others
        wanted = np.where(taken < counts, np.sqrt(counts), 0.0)
        more = np.minimum(counts - taken, np.floor(left * wanted / wanted.sum()).astype(np.int64))
        if not more.any():
            most = np.argmax(counts - taken)
            more[most] = min(left, counts[most] - taken[most])
        taken += more
    place = np.zeros(len(order), dtype=np.int64)
    for i in range(len(names)):
        place[which == i] = np.arange(counts[i])
    return order[place < taken[which]]


def machines(table: Table, fresh: Callable[[], Sequence[Surrogate]], targets: Sequence[str], seed: int, least: int = _LEAST_ROWS) -> list[Rehearsal]:
    """Each of the machines with most rows held out in turn, where at least `least` rows stand on either side and every target varies in the rest; empty with a single machine."""
    strata = table.questions.strata.astype(str)
    names, counts = np.unique(strata, return_counts=True)
    rng = np.random.default_rng(seed)
    every = [(np.flatnonzero(strata == name), np.flatnonzero(strata != name)) for name in names[np.argsort(-counts, kind="stable")][:MACHINES]] if len(names) >= 2 else []
    return held(table, [(out, rest) for out, rest in every if min(len(out), len(rest)) >= least and all(varied(table.targets[t][rest]) for t in targets)], fresh, targets, rng)


def folds(table: Table, fresh: Callable[[], Sequence[Surrogate]], targets: Sequence[str], fold: np.ndarray, seed: int) -> list[Rehearsal]:
    """Each fold held out in turn; `fold`: (n,) numbers. Those whose rest does not vary in every target are left out."""
    parts = [(np.flatnonzero(fold == i), np.flatnonzero(fold != i)) for i in np.unique(fold) if all(varied(table.targets[t][fold != i]) for t in targets)]
    return held(table, parts, fresh, targets, np.random.default_rng(seed))


def varied(truth: np.ndarray) -> bool:
    """Whether (n,) answers, NaN where there is none, are not all the same."""
    good = truth[np.isfinite(truth)]
    return len(good) > 1 and bool(np.ptp(good) > 0)


def sizes(table: Table, fresh: Callable[[], Sequence[Surrogate]], targets: Sequence[str], seed: int) -> tuple[list[Rehearsal], dict[str, float]]:
    """(the largest sizes held out, kind of operator -> how many octaves they reach beyond the rest); empty where no size has values enough."""
    large = np.zeros(len(table), dtype=bool)
    octaves: dict[str, float] = {}
    ops = table.questions.ops
    for kind, rows in _rows_by_kind(ops):
        sizes = [v for dim in _dims(ops, rows) if len(np.unique(v := getattr(ops, dim)[rows])) >= _LEAST_VALUES]
        for over in _OVER if sizes else ():
            out, octaves[kind] = np.logical_or.reduce([v > v.max() / over for v in sizes]), float(np.log2(over))
            if (~out).sum() >= _LEFT * len(rows):
                break
        if sizes:
            large[rows[out]] = True
    out, rest = np.flatnonzero(large), np.flatnonzero(~large)
    if min(len(out), len(rest)) < _LEAST_ROWS:
        return [], {}
    return held(table, [(out, rest)], fresh, targets, np.random.default_rng(seed)), octaves


def reach(ops: OpColumns) -> dict[str, float]:
    """The largest value of each size of each kind of operator, by "kind/size"."""
    return {f"{kind}/{dim}": float(np.max(getattr(ops, dim)[rows], initial=0.0)) for kind, rows in _rows_by_kind(ops) for dim in _dims(ops, rows)}


def beyond(ops: OpColumns, known: dict[str, float]) -> np.ndarray:
    """(n,) octaves that an operator's sizes lie beyond a known reach, the farthest of them; 0 within (a tenth more is not beyond) and for a kind that has no reach.
    A size without a kind before it is that of all kinds (folders made before they were told apart)."""
    over, more = np.zeros(len(ops)), np.zeros(len(ops), dtype=bool)
    for kind, rows in _rows_by_kind(ops) if known else ():
        for dim in (*DIMS, COUNT):
            most = known.get(f"{kind}/{dim}", known.get(dim))
            if most is None:
                continue
            there = getattr(ops, dim)[rows] / max(most, 1.0)
            if dim == COUNT:
                more[rows] = there > _BEYOND
            else:
                over[rows] = np.maximum(over[rows], there)
    return np.maximum(np.where(over > _BEYOND, np.log2(np.maximum(over, 1.0)), 0.0), np.where(more, _MORE, 0.0))


def _dims(ops: OpColumns, rows: np.ndarray) -> tuple[str, ...]:
    """`DIMS`, and `COUNT` for a kind without a matrix view."""
    return DIMS if (ops.m[rows] > 0).any() else (*DIMS, COUNT)


def _rows_by_kind(ops: OpColumns) -> list[tuple[str, np.ndarray]]:
    names, which = np.unique(kinds(ops).astype(str), return_inverse=True)
    return [(str(name), np.flatnonzero(which == i)) for i, name in enumerate(names)]


def kinds(ops: OpColumns) -> np.ndarray:
    """(n,) names of the kinds of operator; products of many matrices are a kind beside products of one."""
    names = np.array(KIND_NAMES, dtype=object)[ops.kind]
    return np.where((names == "gemm") & (ops.b > 1.0), BATCHED, names)


def shares_by_kind(rehearsals: Sequence[Rehearsal], name: str, likely: Sequence[float] | None = None) -> dict[str, list[float]]:
    """`shares` of each kind of operator that has rows enough, and of all (the name "")."""
    out = {"": shares(rehearsals, name, likely)}
    every = np.concatenate([r.kind for r in rehearsals])
    for kind in np.unique(every.astype(str)):
        if _LEAST_OF_KIND <= (every == kind).sum() < len(every):
            parts = [Rehearsal({name: r.truth[name][at]}, [{name: p[name][at]} for p in r.points], r.kind[at]) for r in rehearsals if (at := r.kind == kind).any()]
            out[str(kind)] = shares(parts, name, likely)
    return out


def shares(rehearsals: Sequence[Rehearsal], name: str, likely: Sequence[float] | None = None) -> list[float]:
    """Shares of the members that do best over the parts held out, each part counting alike, drawn to equal shares, or more to those that were `likely` beforehand."""
    count = len(rehearsals[0].points)
    equal = np.full(count, 1.0 / count)
    prior, chosen = (equal, _CHOSEN) if likely is None else (np.array(likely), _CHOSEN_OVER_LIKELY)
    logs: list[tuple[np.ndarray, Any]] = []
    for part in rehearsals:
        stack = np.stack([p[name] for p in part.points])
        good = np.isfinite(part.truth[name]) & (part.truth[name] > 0) & (stack > 0).all(0)
        if good.any():
            logs.append((np.log(part.truth[name][good]), np.log(stack[:, good])))
    if not logs or count == 1:
        return [float(w) for w in prior]
    tried = [np.array(w) / _STEPS for w in product(range(_STEPS + 1), repeat=count) if sum(w) == _STEPS]

    def error(weights: np.ndarray) -> float:
        off = [np.minimum(np.abs(np.expm1(weights @ points - truth)), _WORST) for truth, points in logs]
        return float(np.mean([np.median(o) + np.mean(o) for o in off]))

    best = min([equal, *tried], key=error)
    return [float(w) for w in chosen * best + (1.0 - chosen) * prior]
