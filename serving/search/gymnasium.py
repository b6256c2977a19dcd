"""A search problem as a Gymnasium environment (extra `search`), in the manner of ArchGym (Krishnan et al., ISCA 2023): an action is a whole candidate.

    env = environment(problem, steps=64)
    observation, info = env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())

The observation is where the last candidate stands (d), the logarithm of its objectives over those of a reference (m), and whether it is feasible. The reward is how
much better than the reference it is: minus the weighted mean of those logarithms; for one that is not feasible, -1 less how far it exceeds limits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...datasets.errors import InputError
from .problem import Evaluations, Problem

#: values a continuous dimension is cut into
LEVELS = 32
#: objectives are told within a factor e^so much of the reference
MOST_LOG = 20.0


def environment(problem: Problem, steps: int = 64, weights: tuple[float, ...] | None = None, by: Any = None) -> Any:
    """The environment: an episode has `steps` candidates. `weights` of the objectives (default: equal). Raises InputError for weights that are not one a goal."""
    try:
        import gymnasium
    except ImportError:
        raise InputError("this search needs Gymnasium, which is not installed; run: pip install 'silicast[search]'") from None
    share = np.asarray(weights if weights is not None else np.ones(len(problem.goals)), dtype=np.float64)
    if share.shape != (len(problem.goals),) or not (share >= 0).all() or share.sum() <= 0:
        raise InputError(f"environment: weights: expected one number of at least 0 for each of the {len(problem.goals)} goals, got {weights!r}")
    share = share / share.sum()
    counts = np.array([min(int(d.size), LEVELS) if np.isfinite(d.size) else LEVELS for d in problem.space.dimensions])
    width = len(counts) + len(problem.goals) + 1

    class Design(gymnasium.Env):
        metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

        def __init__(self) -> None:
            self.action_space = gymnasium.spaces.MultiDiscrete(counts)
            self.observation_space = gymnasium.spaces.Box(-MOST_LOG, MOST_LOG, (width,), np.float64)
            self.reference: np.ndarray | None = None
            self.step_number = 0
            self.told: Evaluations | None = None

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
            super().reset(seed=seed)
            self.step_number = 0
            if self.reference is None:  # the same for every episode
                found = problem.evaluate(problem.space.sample(16, np.random.default_rng(problem.seed)), by)
                good = found.feasible if found.feasible.any() else np.isfinite(found.objectives).all(axis=1)
                if not good.any():
                    raise InputError(f"environment: none of 16 candidates can be: {found.answers.why[0]}")
                self.reference = np.median(np.abs(found.objectives[good]), axis=0)
            return np.zeros(width), {}

        def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            if self.reference is None:
                raise InputError("environment: step before reset")
            point = (np.asarray(action, dtype=np.float64) + 0.5) / counts
            found = problem.evaluate(problem.space.at(point), by)
            self.told = found if self.told is None else self.told.joined(found)
            objectives = found.objectives[0]
            sign = np.array([-1.0 if g.maximise else 1.0 for g in problem.goals])
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.clip(np.nan_to_num(sign * np.log(np.abs(objectives) / self.reference), nan=MOST_LOG), -MOST_LOG, MOST_LOG)
            good = bool(found.feasible[0])
            reward = -float(share @ ratio) if good else -1.0 - float(min(found.violation[0], 10.0))
            self.step_number += 1
            return np.concatenate([point, ratio, [float(good)]]), reward, False, self.step_number >= steps, {"evaluation": found.rows()[0]}

    return Design()
