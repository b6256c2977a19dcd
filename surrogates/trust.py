"""Answers with the guard's verdict: what a model's card says of the questions, and of the answers themselves.

The guard (`features.domain`) knows questions; how far an answer departs from physics, how wide its interval is and how far the members of an ensemble lie
apart is known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..datasets.table import GraphQuestions, OpQuestions, Table
from ..features.doubt import Answered
from .prediction import Prediction


def guarded(known: Mapping[str, Any], questions: Any, prediction: Prediction) -> Prediction:
    """The same answers with n verdicts, each with its novelty where the card tells any. What needs columns that no model has left with the questions is left
    out: a model that answers without them is fast, and its guard is, too."""
    from ..features import domain

    return prediction.with_domain(domain.check(known, questions, answered(questions, prediction), compute=False))


def witnessed(known: Mapping[str, Any], table: Table, prediction: Prediction, trained: Table | None = None) -> dict[str, Any]:
    """`known` with what the answers to rows held out of training say about doubt. `trained`: the table that `known` describes, where they were held out of it by folds."""
    from ..features import domain

    told = answered(table.questions, prediction)
    return domain.witness(known, table, told, trained) if told is not None else dict(known)


def answered(questions: Any, prediction: Prediction) -> Answered | None:
    """The answers of the first target as the guard sees them; None without any."""
    if not prediction.targets or not len(prediction):
        return None
    name, point = prediction.targets[0], prediction.point[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        half = np.log(prediction.high[:, 0] / point)
    spread = prediction.spread[:, 0] if prediction.spread is not None else None
    return Answered(name, point, np.where(np.isfinite(half), half, np.nan), _reference(questions, name), spread)


def _reference(questions: Any, name: str) -> np.ndarray | None:
    """(n,) analytic estimates, where a model has left them with the questions."""
    kept = questions.__dict__.get("_features") if isinstance(questions, (GraphQuestions, OpQuestions)) else None
    features = next(iter(kept.values()), None) if isinstance(kept, dict) else kept
    return features.reference.get(name) if features is not None else None
