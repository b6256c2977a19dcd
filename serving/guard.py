"""May this answer be believed? One verdict per question, with the reason in words.

`in_domain`      the question lies where the model has learned
`extrapolating`  it lies outside: which feature, how far
`unsupported`    an operator was only bounded, the machine cannot hold the workload, or no finite answer came out
`unchecked`      the model's card describes no domain

What the model has seen is in its card (`features.domain` writes and checks it); what no model can answer is looked at here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..datasets.errors import FormatError
from ..datasets.table import GraphQuestions, OpQuestions
from ..surrogates.prediction import Domain, Prediction
from .quantities import quantity

#: shape of the domain of a model that adds kernels up and tells verdicts itself (`surrogates.summed`)
KERNELS = "kernels"
NO_DOMAIN = Domain("unchecked", "the model's card describes no domain; nothing says where it may be believed")


def verdicts(domain: Mapping[str, Any], questions: Any, prediction: Prediction | None = None) -> tuple[Domain, ...]:
    """The n verdicts on `questions` for a model whose card has this `domain`; with its answers the novelty of each, too, where the card tells any. Raises
    FormatError when the card's domain is damaged."""
    found = [NO_DOMAIN] * len(questions)
    if domain.get("shape") == KERNELS and prediction is not None:
        found = list(prediction.domain)
    elif domain and len(questions):
        from ..features import domain as seen
        from ..surrogates.trust import guarded

        try:
            found = list(seen.check(dict(domain), questions) if prediction is None else guarded(domain, questions, prediction).domain)
        except (KeyError, TypeError, IndexError) as error:
            raise FormatError(f"model card: its domain is damaged ({type(error).__name__}: {error}); train the model again") from None
    for row, reason in only_bounded(questions).items():
        if found[row].verdict != "unsupported":  # the card's check names them too
            found[row] = _unsupported(reason, found[row])
    for row, reason in too_large(questions).items():
        found[row] = _unsupported(reason, found[row])
    return tuple(found)


def only_bounded(questions: Any) -> dict[int, str]:
    """Row -> which of its operators are unknown and only bounded by their traffic."""
    if isinstance(questions, OpQuestions):
        from ..datasets.ops import KIND_CODES

        return {int(row): "the operator is unknown and only bounded by its traffic" for row in np.flatnonzero(questions.ops.kind == KIND_CODES["bound"])}
    if not isinstance(questions, GraphQuestions):
        return {}
    of_workload = [bounded(w.bounded_ops) for w in questions.workloads]
    return {row: of_workload[w] for row, w in enumerate(questions.workload_index) if of_workload[w]}


def too_large(questions: Any) -> dict[int, str]:
    """Row -> by how much parameters and live activations overflow the machine's memory."""
    if not isinstance(questions, GraphQuestions):
        return {}
    needs = [float(w.weight_bytes + w.peak_activation_bytes) for w in questions.workloads]
    holds = [d.dram.capacity_bytes for d in questions.devices]
    pairs = enumerate(zip(questions.workload_index, questions.device_index, strict=True))
    return {row: f"does not fit: needs {quantity(needs[w], 'B')} of memory, {questions.devices[d].key} has {quantity(holds[d], 'B')}"
            for row, (w, d) in pairs if needs[w] > holds[d]}


def _unsupported(reason: str, before: Domain) -> Domain:
    return Domain("unsupported", f"{reason}; {before.reason}" if before.reason and before.verdict != "unchecked" else reason, before.novelty, before.nearest)


def bounded(names: Sequence[str]) -> str:
    """The reason for operators that are only bounded, "" when there is none."""
    if not names:
        return ""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"unknown operators, only bounded by their traffic: {', '.join(names[:4])}{more}"


def finite(prediction: Prediction) -> Prediction:
    """The same answers with every infinity as NaN, and each row that lacks a finite point flagged `unsupported`, naming the targets."""
    lost = ~np.isfinite(prediction.point)
    open_ended = ~(np.isfinite(prediction.low) & np.isfinite(prediction.high)) | lost
    domain = list(prediction.domain)
    for row in np.flatnonzero(lost.any(axis=1)):
        names = ", ".join(t for t, gone in zip(prediction.targets, lost[row], strict=True) if gone)
        said = f"{domain[row].reason}; " if domain[row].reason and domain[row].verdict != "unchecked" else ""
        domain[row] = Domain("unsupported", f"{said}no finite answer for {names}")
    return Prediction(prediction.targets, np.where(lost, np.nan, prediction.point), np.where(open_ended, np.nan, prediction.low),
                      np.where(open_ended, np.nan, prediction.high), prediction.level, tuple(domain), prediction.model, prediction.version)
