"""A search problem as an Optuna study (extra `search`): an objective for `study.optimize`, or batches by ask and tell.

    study = create_study(problem)
    study.optimize(objective(problem), n_trials=50)      # one at a time
    optimise(problem, budget=200, batch=16)              # batches, answered at once

Directions and constraints are the problem's; a candidate that cannot be is a failed trial.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...datasets.errors import InputError
from .problem import Evaluations, Problem
from .space import Space

VIOLATION = "violation"


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise InputError("this search needs Optuna, which is not installed; run: pip install 'silicast[search]'") from None
    return optuna


def distributions(space: Space) -> dict[str, Any]:
    """Dimension -> Optuna distribution: even steps of whole numbers and continuous ranges as numbers, other lists as categories."""
    found = _optuna().distributions
    out: dict[str, Any] = {}
    for d in space.dimensions:
        gaps = {b - a for a, b in zip(d.levels, d.levels[1:], strict=False)} if d.numeric else set()
        if d.levels and d.numeric and len(gaps) == 1 and all(isinstance(v, int) for v in d.levels) and min(gaps) > 0:
            out[d.name] = found.IntDistribution(d.levels[0], d.levels[-1], step=min(gaps))
        elif d.levels:
            out[d.name] = found.CategoricalDistribution(d.levels)
        elif d.whole:
            last = int(d.low + d.step * (d.size - 1))
            out[d.name] = found.IntDistribution(int(d.low), last, log=d.log and d.step == 1, step=d.step)
        else:
            out[d.name] = found.FloatDistribution(d.low, d.high, log=d.log)
    return out


def create_study(problem: Problem, seed: int | None = None, sampler: Any = None) -> Any:
    """A study with the problem's directions; the sampler (default: TPE with the problem's seed) minds its constraints."""
    optuna = _optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if sampler is None:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "experimental" arguments
            sampler = optuna.samplers.TPESampler(seed=problem.seed if seed is None else seed, constraints_func=constraints)
    return optuna.create_study(directions=["maximize" if g.maximise else "minimize" for g in problem.goals], sampler=sampler, study_name=problem.name)


def constraints(trial: Any) -> Sequence[float]:
    """How far limits are exceeded; at most 0 is feasible, as Optuna wants it."""
    return (float(trial.user_attrs.get(VIOLATION, 1e9)),)


def objective(problem: Problem, by: Any = None) -> Callable[[Any], tuple[float, ...]]:
    """The objective of `study.optimize`: one candidate a trial. A candidate that cannot be is pruned."""
    spread = distributions(problem.space)

    def value(trial: Any) -> tuple[float, ...]:
        candidate = {name: trial._suggest(name, kind) for name, kind in spread.items()}
        found = problem.evaluate([candidate], by)
        trial.set_user_attr(VIOLATION, float(min(found.violation[0], 1e9)))
        values = _values(found)[0]
        if not np.isfinite(values).all():
            raise _optuna().TrialPruned(found.answers.why[0])
        return tuple(float(v) for v in values)

    return value


def optimise(problem: Problem, budget: int, batch: int = 8, by: Any = None, study: Any = None, seed: int | None = None) -> Evaluations:
    """`budget` candidates in batches: Optuna is asked for a batch, the problem answers it at once, Optuna is told. All that was evaluated, in order."""
    optuna = _optuna()
    study = study if study is not None else create_study(problem, seed)
    spread = distributions(problem.space)
    told: Evaluations | None = None
    while told is None or len(told) < budget:
        trials = [study.ask(spread) for _ in range(min(batch, budget - (len(told) if told else 0)))]
        found = problem.evaluate([{n: t.params[n] for n in problem.space.names} for t in trials], by)
        for i, (trial, values) in enumerate(zip(trials, _values(found), strict=True)):
            trial.set_user_attr(VIOLATION, float(min(found.violation[i], 1e9)))
            if np.isfinite(values).all():
                study.tell(trial, [float(v) for v in values])
            else:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
        told = found if told is None else told.joined(found)
    return told


def _values(found: Evaluations) -> np.ndarray:
    """(n, m) in the goals' own sense: maximised quantities with their own sign."""
    return found.objectives * np.array([-1.0 if g.maximise else 1.0 for g in found.goals])
