"""Plain ask and tell: a proposer says what to evaluate next, and is told what came out. Whoever evaluates, and where, is the caller's business.

    proposer = Evolve(problem, seed=1)
    for _ in range(10):
        asked = proposer.ask(16)
        proposer.tell(problem.evaluate(asked))
    proposer.told.front
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ...datasets.errors import InputError
from .front import crowding, ranks
from .problem import Evaluations, Problem
from .space import Candidate


class Proposer(Protocol):
    """Who says what to try. `told`: everything it was told, in order; None before."""

    problem: Problem
    told: Evaluations | None

    def ask(self, count: int) -> list[dict[str, Any]]:
        """`count` candidates that were neither asked nor told before; fewer when the space has no more."""
        ...

    def tell(self, evaluations: Evaluations) -> None:
        """What came out, of candidates asked for or not."""
        ...


class Scatter:
    """Random search: different candidates, uniformly."""

    def __init__(self, problem: Problem, seed: int | None = None) -> None:
        self.problem = problem
        self.told: Evaluations | None = None
        self.rng = np.random.default_rng(problem.seed if seed is None else seed)
        self.taken: set[Any] = set()

    def ask(self, count: int) -> list[dict[str, Any]]:
        """As `Proposer.ask`."""
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise InputError(f"ask: expected a whole number of at least 1, got {count!r}")
        return self._claimed(self._propose(count), count)

    def tell(self, evaluations: Evaluations) -> None:
        """As `Proposer.tell`."""
        self.taken |= {self.problem.space.key(c) for c in evaluations.candidates}
        self.told = evaluations if self.told is None else self.told.joined(evaluations)

    def _propose(self, count: int) -> list[dict[str, Any]]:
        return self.problem.space.sample(count, self.rng, self.taken)

    def _claimed(self, proposed: Sequence[Candidate], count: int) -> list[dict[str, Any]]:
        """The first `count` new ones, filled up at random, remembered."""
        out: list[dict[str, Any]] = []
        for candidate in proposed:
            key = self.problem.space.key(candidate)
            if key not in self.taken and len(out) < count:
                self.taken.add(key)
                out.append(dict(candidate))
        if len(out) < count:
            more = self.problem.space.sample(count - len(out), self.rng, self.taken)
            self.taken |= {self.problem.space.key(c) for c in more}
            out += more
        return out


class Evolve(Scatter):
    """Evolution in the manner of NSGA-II (Deb et al., 2002): parents by rank and crowding, children by uniform crossover and a change of one dimension in `d`."""

    def __init__(self, problem: Problem, seed: int | None = None, population: int = 32) -> None:
        super().__init__(problem, seed)
        self.population = population

    def _propose(self, count: int) -> list[dict[str, Any]]:
        if self.told is None or len(self.told) < min(self.population, 4 * count):
            return super()._propose(count)
        scores = fitness(self.told)
        best = np.argsort(scores, kind="stable")[: self.population]
        parents = self.problem.space.place([self.told.candidates[i] for i in best])
        return self.problem.space.at(children(parents, 4 * count, self.rng))


def fitness(told: Evaluations) -> np.ndarray:
    """(n,) smaller is better: feasible ones by rank, then by how alone they are; the others after them by violation."""
    out = np.full(len(told), np.inf)
    good = np.flatnonzero(told.feasible)
    layer = ranks(told.objectives[good]) if len(good) else np.zeros(0)
    for r in np.unique(layer):
        rows = good[layer == r]
        alone = crowding(told.objectives[rows])
        out[rows] = r + 0.5 / (1.0 + np.where(np.isfinite(alone), alone, 1e9))
    broken = ~told.feasible & np.isfinite(told.violation)
    out[broken] = len(told) + told.violation[broken]
    return out


def children(parents: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, d) points: two parents drawn from (p, d), the earlier more often; each coordinate from either, and on average one of them new: half of the time near the
    old value, half of the time anywhere."""
    p, d = parents.shape
    pick = np.minimum((p * rng.random((count, 2)) ** 2).astype(int), p - 1)
    out = np.where(rng.random((count, d)) < 0.5, parents[pick[:, 0]], parents[pick[:, 1]])
    fresh = rng.random((count, d)) < 1.0 / d
    near = np.clip(out + rng.normal(0.0, 0.15, (count, d)), 0.0, 1.0 - 1e-12)
    return np.where(fresh, np.where(rng.random((count, d)) < 0.5, near, rng.random((count, d))), out)
