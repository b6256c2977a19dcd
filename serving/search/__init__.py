"""Searches over machines, networks and deployments: `Space`, `Problem`, `search`, and adapters for Optuna, pymoo and Gymnasium.

    from silicast.serving.search import Problem, search
    search(Problem.read("space.yaml"), budget=100).front.rows()
"""

from __future__ import annotations

from .ask_tell import Evolve, Scatter
from .linas import Linas
from .problem import Evaluations, Goal, Limit, Problem
from .run import METHODS, Result, search
from .space import Dimension, Space
from .verify import verify

__all__ = ["METHODS", "Dimension", "Evaluations", "Evolve", "Goal", "Limit", "Linas", "Problem", "Result", "Scatter", "Space", "search", "verify"]
