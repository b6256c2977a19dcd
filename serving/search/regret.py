"""How much a search missed: its front beside that of every candidate of the space, all simulated."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .front import covered
from .problem import Evaluations, Problem

#: candidates that are answered at once
CHUNK = 20_000


@dataclass(frozen=True)
class Regret:
    """`hypervolume`: share of the room under the true front that the found one does not cover. `best`: goal -> by what share the best found is worse than the best there
    is. `seconds`: what simulating all `candidates` took, of which `feasible` keep every limit; `front`: points of the true front."""

    hypervolume: float
    best: dict[str, float]
    candidates: int
    feasible: int
    front: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {"hypervolume": self.hypervolume, "best": dict(self.best), "candidates": self.candidates, "feasible": self.feasible, "front": self.front, "seconds": self.seconds}


def exhaustive(problem: Problem, say: Callable[[str], None] = lambda text: None) -> tuple[Evaluations, float]:
    """Every candidate by the simulator, and the seconds it took. Raises InputError when there are too many to list."""
    grid = problem.space.grid()
    say(f"simulating all {len(grid):,} candidates")
    begin = time.perf_counter()
    told: Evaluations | None = None
    for at in range(0, len(grid), CHUNK):
        found = problem.evaluate(grid[at:at + CHUNK])
        told = found if told is None else told.joined(found)
    assert told is not None
    return told, time.perf_counter() - begin


def regret(problem: Problem, front: Evaluations, everything: Evaluations, seconds: float) -> Regret:
    """Of a found front. Its points are judged by their true answers, whatever a model said of them; without a feasible one all is missed."""
    place = {problem.space.key(c): i for i, c in enumerate(everything.candidates)}
    found = everything.take([place[problem.space.key(c)] for c in front.candidates])
    good, true = found.objectives[found.feasible], everything.objectives[everything.front]
    if not len(true):
        return Regret(0.0, {}, len(everything), 0, 0, seconds)
    best = {}
    for j, goal in enumerate(problem.goals):
        least = float(true[:, j].min())
        best[goal.name] = float((good[:, j].min() - least) / max(abs(least), 1e-300)) if len(good) else float("inf")
    missed = 1.0 - covered(good, true) / covered(true, true) if len(good) else 1.0
    return Regret(float(np.clip(missed, 0.0, 1.0)), best, len(everything), int(everything.feasible.sum()), len(true), seconds)
