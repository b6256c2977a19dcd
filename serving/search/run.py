"""The story of a search: propose, evaluate, tell, until the budget is spent; the front; the simulator's word on it; what was missed.

    result = search(Problem.read("space.yaml"), budget=100)
    result.front.rows()
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...datasets.errors import InputError, UnknownNameError
from .acquisition import doubted
from .ask_tell import Evolve, Scatter
from .linas import Linas
from .problem import Evaluations, Problem
from .regret import Regret, exhaustive, regret
from .verify import Verified, verify

#: name -> what it does
METHODS = {"linas": "a quick model refitted every round on all evaluations proposes the next", "evolve": "evolution in the manner of NSGA-II", "random": "different random candidates",
           "nsga2": "pymoo's NSGA-II", "tpe": "Optuna's TPE", "all": "every candidate, whatever the budget"}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """`evaluated`: everything that was asked, in order; `front`: its best (by the simulator's word when a model searched). `seconds`: evaluating and proposing;
    `evaluating_s` the part of the evaluations. `verified`: the simulator on a model's front, None when the simulator searched."""

    problem: Problem
    method: str
    evaluated: Evaluations
    front: Evaluations
    seconds: float
    evaluating_s: float
    verified: Verified | None = None
    regret: Regret | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain document: the front's rows, how it was found, how far it can be trusted."""
        answers = self.evaluated.answers
        out: dict[str, Any] = {
            "name": self.problem.name, "method": self.method, "model": answers.source, "space": {"candidates": self.problem.space.size, "dimensions": {d.name: d.unit for d in self.problem.space.dimensions}},
            "objectives": {g.name: "max" if g.maximise else "min" for g in self.problem.goals},
            "constraints": {m.name: {k: v for k, v in (("at_most", m.at_most), ("at_least", m.at_least)) if np.isfinite(v)} for m in self.problem.limits},
            "evaluated": len(self.evaluated), "feasible": int(self.evaluated.feasible.sum()), "seconds": self.seconds, "evaluating_s": self.evaluating_s,
            "front": self.front.rows(), "notes": list(answers.notes)}
        if self.verified is not None:
            out["verified"] = {"points": len(self.verified.truth), "feasible": int(self.verified.truth.feasible.sum()), "inside_interval": self.verified.inside,
                               "median_ape": {k: float(np.nanmedian(np.abs(v))) for k, v in self.verified.errors.items() if np.isfinite(v).any()},
                               "measurements": len(self.verified.measurements)}
        if self.regret is not None:
            out["regret"] = self.regret.to_json()
        return out


def search(problem: Problem, budget: int = 100, by: Any = None, method: str = "linas", batch: int = 0, seed: int | None = None, acquisition: str = "expected_improvement",
           doubts: int = 8, compare: bool = False, say: Say = lambda text: None) -> Result:
    """Spends `budget` evaluations by the simulator (`by` None) or by a `Predictor`, `batch` at a time (default: a tenth), and gives the front.

    A predictor's front is asked again of the simulator, with `doubts` more points that its intervals leave a chance, and the front is drawn from the simulator's answers. `compare`: simulates the whole space too, and says what was
    missed. Raises UnknownNameError for a method, InputError for a budget that is no whole number of at least 1 or a space too large to compare with.
    """
    if method not in METHODS:
        raise UnknownNameError("search method", method, METHODS)
    if not isinstance(budget, int) or isinstance(budget, bool) or budget < 1:
        raise InputError(f"search: budget: expected a whole number of at least 1, got {budget!r}")
    clock = _Timed(problem, by)
    size = batch or max(1, budget // 10)
    begin = time.perf_counter()
    if method == "all":
        told = clock.evaluate(problem.space.grid())
    elif method in ("nsga2", "tpe"):
        told = _borrowed(method, clock, budget, batch, seed)
    else:
        told = _proposed(_proposer(problem, method, budget, seed, acquisition), clock, budget, size, say)
    seconds = time.perf_counter() - begin
    front, verified = told.take(told.front), None
    say(f"{len(told):,} candidates evaluated in {seconds:.2f} s, {int(told.feasible.sum()):,} feasible, {len(front)} on the front")
    if by is not None and len(front):
        more = doubted(told, doubts, acquisition, problem.seed)
        verified = verify(problem, told.take([*told.front, *more]))
        front = verified.truth.take(verified.truth.front)
        say(f"the simulator confirms {len(front)} of {len(verified.truth)} points")
    missed = None
    if compare:
        everything, spent = exhaustive(problem, say)
        missed = regret(problem, front, everything, spent)
    return Result(problem, method, told, front, seconds, clock.seconds, verified, missed)


class _Timed:
    """The problem by one who answers, with a clock on the answers."""

    def __init__(self, problem: Problem, by: Any) -> None:
        self.problem, self.by, self.seconds = problem, by, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.problem, name)

    def evaluate(self, candidates: Any, by: Any = None) -> Evaluations:
        begin = time.perf_counter()
        found = self.problem.evaluate(candidates, self.by)
        self.seconds += time.perf_counter() - begin
        return found


def _proposer(problem: Problem, method: str, budget: int, seed: int | None, acquisition: str) -> Scatter:
    if method == "linas":
        return Linas(problem, seed, acquisition, start=min(max(8, 2 * len(problem.space)), max(4, budget // 3)))
    return Evolve(problem, seed, population=max(8, min(32, budget // 5))) if method == "evolve" else Scatter(problem, seed)


def _proposed(proposer: Scatter, clock: _Timed, budget: int, batch: int, say: Say) -> Evaluations:
    while proposer.told is None or len(proposer.told) < budget:
        done = len(proposer.told) if proposer.told is not None else 0
        first = getattr(proposer, "start", batch) if not done else batch
        asked = proposer.ask(min(max(first, 1), budget - done))
        if not asked:
            break  # the space has no more
        proposer.tell(clock.evaluate(asked))
        if proposer.told is not None and len(proposer.told) * 4 // budget > done * 4 // budget:
            say(f"{len(proposer.told):,} of {budget:,} evaluated, {len(proposer.told.front)} on the front")
    assert proposer.told is not None
    return proposer.told


def _borrowed(method: str, clock: Any, budget: int, batch: int, seed: int | None) -> Evaluations:
    from . import optuna, pymoo

    if method == "tpe":
        return optuna.optimise(clock, budget, batch or 8, seed=seed)
    return pymoo.optimise(clock, budget, batch or max(8, min(32, budget // 5)), seed=seed)
