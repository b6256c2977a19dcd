"""What an ensemble missed of the readings nearby: its own errors on the rows it learned from, carried over to rows like them.

An ensemble of some hundred trees and two networks does not bend to every habit of every kernel: of a large table it is off by as much on rows that it learned from as on rows beside them, and off to the same
side. Those errors (logarithms of truth over answer) are answered for a new row by simple kriging with mean zero (Cressie 1993, ch. 3) from the nearest readings under the same circumstances, with the scales
of `neighbours`; how far they reach, how noisy they are and how much of them counts is chosen on groups held out, by kind of operator. Far from every reading nothing is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..datasets.errors import FormatError
from ..datasets.table import OpQuestions, Table
from ..features.matrix import Features
from . import rehearsal
from .neighbours import Neighbours

#: readings kept, at most (they are drawn): each is a row of the model's files, and is answered once more in training
MOST = 60_000
#: rows held out that choose, at most, and at least
_ASKED, _LEAST = 3_000, 200
#: how many times nearer than to `neighbours` readings must lie, shares of the covariance at no distance that are noise, and shares of what is found, that are tried
_FACTORS, _NOISES, _GAINS = (1.0, 2.0, 4.0), (0.05, 0.15, 0.5), (0.0, 0.25, 0.5, 0.75, 1.0)
#: rows of a kind of operator held out from which it has a share of its own
_LEAST_OF_KIND = 100
#: of the error without: what is added must lower it to this, or nothing is added
_BETTER = 0.99
#: relative error beyond which a row counts no more
_WORST = 1.5
_CHUNK = 2_000


@dataclass(frozen=True, eq=False)
class Missed:
    """`readings`: where, and how far off answers were (their `ratios`: target -> (n,) log(truth / answer)). `factor`: how many times nearer than to the neighbours they were made of. `gains`: target -> kind of
    operator, "" for all -> how much counts of what readings nearby were off by."""

    readings: Neighbours
    factor: float
    gains: Mapping[str, Mapping[str, float]]

    @classmethod
    def learn(cls, near: Neighbours, rows: np.ndarray, off: Mapping[str, np.ndarray], valid: Table, points: Mapping[str, np.ndarray], features: Features) -> Self | None:
        """From errors `off` (target -> (r,) log(truth / answer), NaN where there is none) on readings `rows` (r,) of `near`, and from `points`, each target's (v,) answers in SI to rows `valid` held out,
        whose columns are `features`; None where nothing is gained."""
        assert isinstance(valid.questions, OpQuestions)
        some = np.random.default_rng(0).permutation(len(valid))[:_ASKED]
        kinds, places, cell = rehearsal.kinds(valid.questions.ops)[some], near.placed(features)[some], near.cells(features, valid.questions)[some]
        truth = {name: valid.targets[name][some] for name in off if name in valid.targets and name in points}
        good = {name: np.isfinite(y) & (y > 0) & (points[name][some] > 0) for name, y in truth.items()}
        good = {name: ok for name, ok in good.items() if ok.sum() >= _LEAST}
        best: tuple[float, Self | None] = (_BETTER, None)
        for factor in _FACTORS if good else ():
            for noise in _NOISES:
                made = _made(near, rows, {name: off[name] for name in good}, factor, noise)
                found = _kriged(made, (places * np.float32(factor)).astype(np.float32), cell)
                each = [_chosen(np.log(truth[name][ok] / points[name][some][ok]), found[ok, j], kinds[ok]) for j, (name, ok) in enumerate(good.items())]
                error = float(np.mean([e for e, _ in each]))
                if error < best[0]:
                    best = error, cls(made, factor, {name: gains for name, (_, gains) in zip(good, each, strict=True)})
        return best[1]

    def again(self, near: Neighbours, rows: np.ndarray, off: Mapping[str, np.ndarray]) -> Self:
        """The same of an ensemble that learned anew from the table that `near` holds; what was chosen stays."""
        return replace(self, readings=_made(near, rows, {name: off[name] for name in self.gains}, self.factor, self.readings.noise))

    def added(self, questions: OpQuestions, features: Features, name: str) -> np.ndarray:
        """(n,) what is added to the logarithm of an answer; 0 far from every reading."""
        if name not in self.gains:
            return np.zeros(len(questions))
        kept = questions.__dict__.get("_missed")
        if kept is None or kept[0] is not self:
            kept = questions.__dict__["_missed"] = (self, _kriged(self.readings, self.readings.placed(features), self.readings.cells(features, questions)))
        return kept[1][:, list(self.gains).index(name)].astype(np.float64) * _of_kind(self.gains[name], rehearsal.kinds(questions.ops))

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """What was chosen, and the readings as safetensors."""
        return {"factor": self.factor, "gains": {name: dict(each) for name, each in self.gains.items()}, "readings": self.readings.to_json()}, self.readings.files()

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path) -> Self:
        """The inverse of `weights`; raises FormatError when readings are missing or of another shape."""
        readings = Neighbours.from_weights(spec["readings"], files, folder)
        gains = {str(name): {str(kind): float(g) for kind, g in each.items()} for name, each in spec["gains"].items()}
        if list(gains) != list(readings.ratios) or any("" not in each for each in gains.values()):
            raise FormatError(f"{folder}: errors on readings: expected shares of {', '.join(readings.ratios)}, got {', '.join(gains)}")
        return cls(readings, float(spec["factor"]), gains)


def _made(near: Neighbours, rows: np.ndarray, off: Mapping[str, np.ndarray], factor: float, noise: float) -> Neighbours:
    return replace(near, scales=near.scales * factor, noise=noise, places=near.places[rows] * np.float32(factor), cell=near.cell[rows],
                   ratios={name: each.astype(np.float32) for name, each in off.items()}, key="", _trees={})


def _kriged(readings: Neighbours, places: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """(n, t) errors that the nearest readings tell of rows at scaled `places` (n, d); 0 where there are none."""
    out = np.zeros((len(places), len(readings.ratios)), dtype=np.float32)
    stack = np.column_stack(list(readings.ratios.values()))
    for code in np.unique(cell[cell >= 0]):
        asked = np.flatnonzero(cell == code)
        for at in np.split(asked, range(_CHUNK, len(asked), _CHUNK)):
            found = readings.nearest(int(code), places[at])
            if found is not None:
                out[at] = _simple(found[0], readings.places[found[1]], stack[found[1]], readings.noise)
    return out


def _simple(distance: np.ndarray, there: np.ndarray, off: np.ndarray, noise: float) -> np.ndarray:
    """(q, t) answers of simple kriging with mean zero and an exponential covariance from (q, k) distances to readings at (q, k, d) that were off by (q, k, t)."""
    square = (there * there).sum(2)
    apart = square[:, :, None] + square[:, None, :] - 2.0 * (there @ there.transpose(0, 2, 1))
    cov = np.exp(-np.sqrt(np.maximum(apart, 0.0)))
    k = distance.shape[1]
    cov[:, np.arange(k), np.arange(k)] = 1.0 + noise
    weight = np.linalg.solve(cov.astype(np.float32), np.exp(-distance).astype(np.float32)[:, :, None])
    return (weight * np.nan_to_num(off)).sum(1)


def _chosen(off: np.ndarray, found: np.ndarray, kinds: np.ndarray) -> tuple[float, dict[str, float]]:
    """(error over that without, kind -> share) from (n,) errors and what readings nearby tell of them: the shares that leave the least, the usual error and the mean one alike."""

    def error(rows: np.ndarray, gain: float) -> float:
        left = np.minimum(np.abs(np.expm1(gain * found[rows] - off[rows])), _WORST)
        return float(np.median(left) + left.mean())

    every = np.ones(len(off), dtype=bool)
    out = {"": min(_GAINS, key=lambda g: error(every, g))}
    names, counts = np.unique(kinds.astype(str), return_counts=True)
    for kind in names[counts >= _LEAST_OF_KIND] if len(names) > 1 else ():
        out[str(kind)] = min(_GAINS, key=lambda g: error(kinds == kind, g))
    left, without = np.minimum(np.abs(np.expm1(_of_kind(out, kinds) * found - off)), _WORST), error(every, 0.0)
    return float(np.median(left) + left.mean()) / without if without > 0.0 else 1.0, out


def _of_kind(gains: Mapping[str, float], kinds: np.ndarray) -> np.ndarray:
    """(n,) the share of each row's kind, or of all."""
    return np.array([gains.get(kind, gains[""]) for kind in kinds.astype(str)])
