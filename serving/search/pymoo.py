"""A search problem as a pymoo `Problem` (extra `search`), vectorised: a population is answered at once.

    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.optimize import minimize
    result = minimize(as_pymoo(problem), NSGA2(pop_size=32), ("n_eval", 320))

Variables are the unit cube (`Space.at` turns them into candidates), objectives are minimised, and one inequality constraint says how far limits are exceeded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...datasets.errors import InputError
from .problem import Evaluations, Problem

#: what a candidate that cannot be scores: its constraint is what counts
WORST = 1e30


def as_pymoo(problem: Problem, by: Any = None) -> Any:
    """A `pymoo.core.problem.Problem`; `told` on it are all evaluations so far (None before the first)."""
    try:
        from pymoo.core.problem import Problem as Theirs
    except ImportError:
        raise InputError("this search needs pymoo, which is not installed; run: pip install 'silicast[search]'") from None

    class Vectorised(Theirs):
        told: Evaluations | None = None

        def __init__(self) -> None:
            super().__init__(n_var=len(problem.space), n_obj=len(problem.goals), n_ieq_constr=1, xl=0.0, xu=1.0)

        def _evaluate(self, x: np.ndarray, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            found = problem.evaluate(problem.space.at(x), by)
            self.told = found if self.told is None else self.told.joined(found)
            out["F"] = np.nan_to_num(found.objectives, nan=WORST)
            out["G"] = np.minimum(found.violation, 1e9)[:, None]

    return Vectorised()


def optimise(problem: Problem, budget: int, batch: int = 32, by: Any = None, seed: int | None = None) -> Evaluations:
    """NSGA-II with a population of `batch` until `budget` candidates were evaluated; all of them, in order."""
    wrapped = as_pymoo(problem, by)
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.optimize import minimize

    minimize(wrapped, NSGA2(pop_size=min(batch, budget)), ("n_eval", budget), seed=problem.seed if seed is None else seed, verbose=False)
    told: Evaluations = wrapped.told
    return told if len(told) <= budget else told.take(range(budget))
