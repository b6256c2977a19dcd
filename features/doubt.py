"""How much an answer is to be doubted: one number, `novelty`, learned from rows held out of training.

Four signs that an error will be larger than its interval says, each over what is usual among held-out rows (their geometric mean is the novelty, so that none
decides alone, and none can be silenced but by being small):

    distance    from the nearest trained rows, in the physics the model sees (`density`)
    departure   of the answer from the analytic estimate: what is learned beyond physics is what can be wrong
    spread      between the members of an ensemble, where there are members
    nearby      the errors of the nearest held-out rows

all measured against the width of the interval, and raised by every value nobody trained on. It is scaled so that one held-out row in twenty exceeds 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import density

#: held-out rows looked at; those kept to ask about errors nearby, and how many of them are asked
MOST_ROWS, _KEPT, _NEARBY = 6000, 1200, 15
#: the share of held-out rows whose novelty stays below 1
_BELOW = 0.95
#: fewer held-out rows than this and there is nothing to learn a doubt from
LEAST_ROWS = 40
#: a sign smaller than this share of its usual size is no smaller (it enters as a logarithm)
_LEAST = 0.01
#: what a value never trained on (of a category, or a machine) adds to the mean logarithm (assumption; chosen once, on GEMMs of one GPU held out)
_UNSEEN = 0.25


@dataclass(frozen=True)
class Answered:
    """n answers of one target, as the guard sees them: `point` in SI, `half` the logarithmic half width of the interval (NaN where there is none),
    `reference` the analytic estimate in SI (None: there is none), `spread` how far apart the members of an ensemble are in nats (None: no members)."""

    target: str
    point: np.ndarray
    half: np.ndarray
    reference: np.ndarray | None = None
    spread: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Answered:
        """The answers `rows`."""
        return Answered(self.target, self.point[rows], self.half[rows], None if self.reference is None else self.reference[rows], None if self.spread is None else self.spread[rows])


def witness(known: Mapping[str, Any], values: np.ndarray, groups: np.ndarray, truth: np.ndarray, answered: Answered, trained: np.ndarray | None = None) -> dict[str, Any]:
    """What rows held out of training say about doubt, for `known["doubt"]` (plain JSON); empty where they are too few. `values` (n, d): the columns of
    `density`. Rows of one group say nothing about each other. `trained` (kept,): the groups of the rows that `density` keeps, where those held out are among them (answers by folds)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.abs(np.log(answered.point / truth))
    rows = np.flatnonzero(np.isfinite(error))
    if len(rows) < LEAST_ROWS or known["density"]["usual"] is None:
        return {}
    kept = rows[density.some(len(rows), _KEPT)]
    at = density.projected(known["density"], values)
    every = np.concatenate([np.asarray(groups).astype(str), np.asarray([] if trained is None else trained).astype(str)])
    codes = np.unique(every, return_inverse=True)[1]
    labels, others = codes[:len(groups)], None if trained is None else codes[len(groups):]
    trials: dict[str, Any] = {"target": answered.target, "rows": density.packed(at[kept]), "errors": [round(float(e), 5) for e in error[kept]]}
    signs = _signs(known, trials, values, answered, labels, labels[kept], others)
    with np.errstate(divide="ignore"):
        trials["usual"] = {name: max(float(np.median(sign[rows][np.isfinite(sign[rows])])), 1e-4) for name, sign in signs.items() if np.isfinite(sign[rows]).any()}
    trials["limit"] = 1.0
    trials["limit"] = float(np.quantile(_joined(trials, signs)[rows], _BELOW))
    return trials


def novelty(known: Mapping[str, Any], values: np.ndarray, answered: Answered, unseen: np.ndarray) -> np.ndarray:
    """(n,) how much each answer is to be doubted, 1 where one in twenty of the held-out rows lay beyond; NaN where the card tells nothing to judge by.
    `unseen` (n,): how many values of the question nobody trained on."""
    trials = known.get("doubt") or {}
    if trials.get("target") != answered.target:
        return np.full(len(values), np.nan)
    signs = _signs(known, trials, values, answered)
    return _joined(trials, signs) * np.exp(_UNSEEN * unseen)


def _joined(trials: Mapping[str, Any], signs: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n,) geometric mean of the signs over their usual sizes, over the width of the interval over its own, over the limit."""
    told = [name for name in trials["usual"] if name in signs and name != "half"]
    count = len(next(iter(signs.values())))
    logs = [np.log(np.maximum(np.nan_to_num(signs[name] / trials["usual"][name], nan=1.0), _LEAST)) for name in told]
    mean = np.sum(logs, axis=0) / len(told) if told else np.zeros(count)
    if "half" in trials["usual"] and "half" in signs:
        mean = mean - np.nan_to_num(np.log(np.maximum(signs["half"], 1e-6) / trials["usual"]["half"])) / len(told)
    return np.asarray(np.exp(mean) / trials["limit"])


def _signs(known: Mapping[str, Any], trials: Mapping[str, Any], values: np.ndarray, answered: Answered, own: np.ndarray | None = None,
           theirs: np.ndarray | None = None, trained: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Sign -> (n,). `own` (n,), `theirs` (kept,): groups, where the questions are the held-out rows themselves; `trained`: those of the rows that `density` keeps, where they are among these."""
    far = density.distances(known["density"], values, own if trained is not None else None, trained)[1]
    found = {"distance": np.where(np.isfinite(far), far, np.nan), "nearby": _nearby(known, trials, values, own, theirs), "half": answered.half}
    if answered.spread is not None:
        found["spread"] = answered.spread
    if answered.reference is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            found["departure"] = np.abs(np.log(answered.point / answered.reference))
    return found


def _nearby(known: Mapping[str, Any], trials: Mapping[str, Any], values: np.ndarray, own: np.ndarray | None, theirs: np.ndarray | None) -> np.ndarray:
    """(n,) mean error of the nearest held-out rows of other groups."""
    at, kept, errors = density.projected(known["density"], values), density.unpacked(trials["rows"], known["density"]["count"]), np.array(trials["errors"])
    count = min(_NEARBY, len(kept))
    out = np.empty(len(at))
    for i in range(0, len(at), 4096):
        part = at[i:i + 4096]
        squared = (part**2).sum(1)[:, None] + (kept**2).sum(1)[None, :] - 2.0 * part @ kept.T
        if own is not None and theirs is not None:
            squared[own[i:i + 4096, None] == theirs[None, :]] = np.inf
        nearest = np.argpartition(squared, count - 1, axis=1)[:, :count]
        out[i:i + 4096] = errors[nearest].mean(1)
    return out
