"""The iterated loop: evaluate a few, refit a quick model on everything so far, let it look at very many, evaluate the best of those, and again (in the manner of LINAS:
Cummings et al., A Hardware-Aware Framework for Accelerating Neural Architecture Search Across Modalities, 2022).

What is worth a look is judged by acquisition: expected improvement of a randomly weighted worst objective (Knowles, ParEGO, IEEE TEC 2006), or its lower bound; times
the chance that all limits hold.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...datasets.errors import UnknownNameError
from .acquisition import normal_improvement
from .ask_tell import Scatter, children, fitness
from .problem import Evaluations, Problem
from .quick import Quick

ACQUISITIONS = ("expected_improvement", "lower_bound")
#: candidates the quick model looks at in one round
POOL = 4096
#: how far below the mean the lower bound lies, in deviations
BOUND = 1.0
#: augments the worst objective, so that of equal worsts the better rest wins (ParEGO, equation 2)
RHO = 0.05


class Linas(Scatter):
    """A proposer with a quick model. `start`: random candidates before the first fit (default: two a dimension, at least 8)."""

    def __init__(self, problem: Problem, seed: int | None = None, acquisition: str = "expected_improvement", start: int = 0) -> None:
        super().__init__(problem, seed)
        if acquisition not in ACQUISITIONS:
            raise UnknownNameError("acquisition", acquisition, ACQUISITIONS)
        self.acquisition = acquisition
        self.start = start or max(8, 2 * len(problem.space))

    def _propose(self, count: int) -> list[dict[str, Any]]:
        told = self.told
        if told is None or len(told) < self.start or int(np.isfinite(told.objectives).all(axis=1).sum()) < 4:
            return super()._propose(count)
        pool = self._pool(told)
        if not pool:
            return super()._propose(count)
        space = self.problem.space
        seen, asked = space.features(told.candidates), space.features(pool)
        means, deviations, scales = self._objectives(told, seen, asked)
        likely = self._likely(told, seen, asked)
        return [pool[i] for i in self._picked(told, means, deviations, scales, likely, count)]

    def _pool(self, told: Evaluations) -> list[dict[str, Any]]:
        """Candidates not seen yet: all of a small space, else random ones and children of the best."""
        space = self.problem.space
        if space.size <= POOL:
            return [c for c in space if space.key(c) not in self.taken]
        best = np.argsort(fitness(told), kind="stable")[:32]
        bred = space.at(children(space.place([told.candidates[i] for i in best]), POOL // 2, self.rng))
        out = {space.key(c): c for c in bred if space.key(c) not in self.taken}
        return [*out.values(), *space.sample(POOL // 2, self.rng, self.taken | set(out))]

    def _objectives(self, told: Evaluations, seen: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[tuple[bool, float, float]]]:
        """(p, m) means and deviations on the scale where what was told spans 0..1, and that scale."""
        means, deviations, scales = [], [], []
        for j, goal in enumerate(self.problem.goals):
            sign = -1.0 if goal.maximise else 1.0
            value = sign * told.objectives[:, j]
            good = np.isfinite(value)
            model = Quick.fit(seen[good], value[good])
            mean, deviation = model.predict(asked)
            truth = sign * (np.log(value[good]) if model.log else value[good])
            low, high = float(truth.min()), float(truth.max())
            width = max(high - low, 1e-12)
            means.append((sign * mean - low) / width)
            deviations.append(deviation / width)
            scales.append((model.log, low, width))
        return np.column_stack(means), np.column_stack(deviations), scales

    def _likely(self, told: Evaluations, seen: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """(p,) chance that a candidate can be and keeps every limit."""
        out = np.ones(len(asked))
        for limit in self.problem.limits:
            value = told.answers.values.get(limit.name, np.full(len(told), np.nan))
            good = np.isfinite(value)
            if good.sum() < 4:
                continue
            model = Quick.fit(seen[good], value[good])
            mean, deviation = model.predict(asked)
            for bound, side in ((limit.at_most, 1.0), (limit.at_least, -1.0)):
                if np.isfinite(bound) and not (model.log and bound <= 0):
                    z = side * ((math.log(bound) if model.log else bound) - mean) / np.maximum(deviation, 1e-12)
                    out *= _below(z)
        able = np.array([not w for w in told.answers.why], dtype=np.float64)
        if able.min() < able.max():
            mean, deviation = Quick.fit(seen, np.where(able > 0, 1.0, -1.0)).predict(asked)
            out *= _below(mean / np.maximum(deviation, 1e-12))
        return out

    def _picked(self, told: Evaluations, means: np.ndarray, deviations: np.ndarray, scales: list[tuple[bool, float, float]], likely: np.ndarray, count: int) -> list[int]:
        """One candidate a draw of weights, each once."""
        good = told.feasible if told.feasible.any() else np.isfinite(told.objectives).all(axis=1)
        known = np.column_stack([(self._scale(told.objectives[good, j], j, scales[j][0]) - scales[j][1]) / scales[j][2] for j in range(len(scales))])
        picked: list[int] = []
        left = np.ones(len(means), dtype=bool)
        for _ in range(min(count, len(means))):
            weight = self.rng.dirichlet(np.ones(means.shape[1])) if means.shape[1] > 1 else np.ones(1)
            worst = np.argmax(weight * means, axis=1)
            mean = (weight * means).max(axis=1) + RHO * (weight * means).sum(axis=1)
            deviation = (weight * deviations)[np.arange(len(means)), worst]
            best = float(((weight * known).max(axis=1) + RHO * (weight * known).sum(axis=1)).min())
            if self.acquisition == "lower_bound":
                score = mean - BOUND * deviation + np.where(likely > 0.5, 0.0, 1.0 + (1.0 - likely))
            else:
                score = -normal_improvement(mean, deviation, best) * likely
                if not np.any(score[left] < -1e-15):  # nothing promises anything: the likeliest good ones
                    score = mean + 10.0 * (1.0 - likely)
            at = int(np.flatnonzero(left)[np.argmin(score[left])])
            left[at] = False
            picked.append(at)
        return picked

    def _scale(self, objective: np.ndarray, j: int, log: bool) -> np.ndarray:
        sign = -1.0 if self.problem.goals[j].maximise else 1.0
        value = sign * objective
        return sign * (np.log(np.maximum(value, 1e-300)) if log else value)


def _below(z: np.ndarray) -> np.ndarray:
    """The normal's cumulative distribution."""
    return np.asarray(0.5 * (1.0 + np.vectorize(math.erf, otypes=[float])(np.clip(z, -40, 40) / math.sqrt(2))))
