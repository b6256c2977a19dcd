"""Where a machine's kernels settle: a start that every call costs, and the share of physics that large sizes reach.

`latency = start + body / share`, the body being the simulator's answer without launch and fill. Both are fitted, robustly and in logs, to each machine, then to
each kind and format on it, then to each circumstance, every fit drawn to the one above it: few rows move it little. Beyond the largest size measured the share
stays what it was; on a machine never seen both are those of its kin (`kin`). What is left is for other members to learn. Watts on machines whose power limits are known are
fitted alike, as what would be drawn without a limit (`target_scale`): `demand = start + body / share`, the body being the simulator's dynamic power. Of other targets a factor takes the place of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from ..datasets.assigned import assigned
from ..datasets.simulator import technology as tech
from ..datasets.table import OpQuestions
from ..features.matrix import Features
from ..features.words import distinct, likened
from .target_scale import demand_w, keeps_limits, limited_w

#: rows that a fit looks at, steps of it, residual (log) beyond which a row pulls no harder, and how far (log) a fit may stray from the one above it: of the start,
#: of the share (assumptions)
_ROWS, _STEPS, _HUBER, _STRAYS = 1500, 25, 0.3, (0.7, 0.3, 1.0)

#: W that stand beside dynamic power where a fit of watts begins (assumption)
_STATIC_W = 60.0


@dataclass(frozen=True)
class Anchor:
    """`fits`: target -> group -> (log start, log of the reciprocal share, log of the share of their geometric mean), or (log factor,). Groups: "" for all, "machine", "machine|kind|dtype", and that with the
    circumstances."""

    fits: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    @classmethod
    def of(cls, features: Features, questions: OpQuestions, targets: Mapping[str, np.ndarray], seed: int) -> Self:
        """Fitted to the positive answers of `targets` that have a reference."""
        rng = np.random.default_rng(seed)
        known, case = _cases(questions)
        levels = [[""] * len(known), *_levels(known, questions.device_names)]
        fits: dict[str, dict[str, list[float]]] = {}
        for name, truth in targets.items():
            if name not in features.reference:
                continue
            limit = _limits_w(questions) if name == "power_w" else None
            asked = limit is not None and keeps_limits(truth, limit)
            with np.errstate(invalid="ignore", divide="ignore"):
                y = np.log(demand_w(truth, limit) if asked and limit is not None else truth)
            good = np.isfinite(y)
            fixed, body = _watts(features, questions) if asked else _parts(features, name)
            found: dict[str, list[float]] = {}
            there = np.unique(case[good])
            for depth, labels in enumerate(levels):
                for group in sorted({labels[i] for i in there}):
                    mine = np.array([label == group for label in labels], dtype=bool)
                    rows = np.flatnonzero(mine[case] & good)
                    rows = rng.permutation(rows)[:_ROWS]
                    start = found[levels[depth - 1][case[rows[0]]]] if depth else None
                    found[group] = _fit(y[rows], fixed[rows] if fixed is not None else None, body[rows], start)
            fits[name] = found
        return cls(fits)

    def applied(self, features: Features, questions: OpQuestions, shares: Mapping[int, Mapping[str, float]]) -> Features:
        """`features` with references, and the ceilings of latency, moved to where the machines settle. `shares`: by number of a machine never seen, its kin."""
        reference, ceilings = dict(features.reference), features.ceilings
        known, case = _cases(self._likened(questions))
        names = questions.device_names
        kin = {names[i]: given for i, given in shares.items()}
        for name, found in self.fits.items():
            asked = name == "power_w" and len(found.get("", ())) > 1
            fixed, body = _watts(features, questions) if asked else _parts(features, name)
            settled = np.zeros((len(known), 3 if fixed is not None else 1))
            for i, one in enumerate(known):
                for other, share in kin.get(names[one[0]], {names[one[0]]: 1.0}).items():
                    settled[i] += share * np.array(_looked_up(found, [level[0] for level in _levels([one], {one[0]: other})]))
            values = settled[case]
            if fixed is None:
                reference[name] = body * np.exp(values[:, 0])
                continue
            start, slower, between = np.exp(values).T
            reference[name] = start + slower * body + between * np.sqrt(fixed * body)
            if asked:
                reference[name] = limited_w(reference[name], _limits_w(questions))
            if name == "latency_s" and ceilings is not None:
                ceilings = np.column_stack([ceilings[:, :-1] * slower[:, None], start])
        if "energy_j" in reference:
            reference["energy_j"] = reference["latency_s"] * reference["power_w"]
        return replace(features, reference=reference, ceilings=ceilings)

    def _likened(self, questions: OpQuestions) -> OpQuestions:
        """The questions, in words that fits were made for where theirs are like those."""
        context, told = questions.context, self._words
        if len(told) != context.shape[1] or all(distinct(context[c]) <= words for c, words in zip(context.columns, told, strict=True)):
            return questions
        return replace(questions, context=assigned(context, {str(c): likened(context[c], words) for c, words in zip(context.columns, told, strict=True)}))

    @cached_property
    def _words(self) -> list[set[str]]:
        """Of each circumstance the words that fits were made for; none where a word holds what parts them."""
        told = [label.split("|")[4:] for found in self.fits.values() for label in found if label.count("|") >= 4]
        return [set(words) for words in zip(*told, strict=True)] if len({len(t) for t in told}) == 1 else []

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {"fits": self.fits}

    @classmethod
    def from_json(cls, spec: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls({t: {g: [float(x) for x in v] for g, v in found.items()} for t, found in spec["fits"].items()})


def _parts(features: Features, name: str) -> tuple[np.ndarray | None, np.ndarray]:
    """(seconds of launch and fill, or None for what is no latency; what the factor applies to)."""
    reference = np.asarray(features.reference[name])
    if name != "latency_s" or features.ceilings is None:
        return None, reference
    fixed = np.minimum(features.ceilings[:, -1], 0.999 * reference)
    return fixed, reference - fixed


def _limits_w(questions: OpQuestions) -> np.ndarray:
    """(n,) power limits of the rows' machines, NaN where none is published."""
    return np.array([d.tdp_w if d is not None and d.tdp_w else np.nan for d in questions.devices], dtype=np.float64)[questions.device_index]


def _watts(features: Features, questions: OpQuestions) -> tuple[np.ndarray, np.ndarray]:
    """(W that a fit begins at, dynamic W as the simulator has them: the reference less what it takes to flow whatever runs)."""
    static = np.array([0.0 if d is None else d.idle_w or tech.STATIC_SHARE * (d.tdp_w or 0.0) for d in questions.devices])[questions.device_index]
    reference = np.asarray(features.reference["power_w"])
    return np.full(len(reference), _STATIC_W), np.maximum(reference - static, 1e-3 * reference)


#: a machine's number, codes of the kind of operator and of its two formats, and the circumstances in words
_Case = tuple[int, int, int, int, tuple[str, ...]]


def _cases(questions: OpQuestions) -> tuple[list[_Case], np.ndarray]:
    """(the different cases among the questions, (n,) which of them each row is)."""
    ops, context = questions.ops, [questions.context[c].astype(str) for c in questions.context.columns]
    case = questions.device_index.astype(np.int64)
    for codes in (ops.kind, ops.dtype, ops.weight_dtype, *(pd.factorize(words)[0] for words in context)):
        codes = np.asarray(codes, dtype=np.int64)
        case = pd.factorize(case * (int(codes.max(initial=0)) + 1) + codes)[0]
    _, first = np.unique(case, return_index=True)
    told = [words.iloc[first].tolist() for words in context]
    return [(int(questions.device_index[r]), int(ops.kind[r]), int(ops.dtype[r]), int(ops.weight_dtype[r]), tuple(w[i] for w in told)) for i, r in enumerate(first)], case


def _levels(cases: Sequence[_Case], machines: Sequence[str] | Mapping[int, str]) -> list[list[str]]:
    """Three times a label of each case, each finer than the one before. `machines`: number -> name."""
    first = [str(machines[c[0]]) for c in cases]
    second = [f"{label}|{c[1]}|{c[2]}" for label, c in zip(first, cases, strict=True)]
    return [first, second, ["|".join([label, str(c[3]), *c[4]]) for label, c in zip(second, cases, strict=True)]]


def _looked_up(found: Mapping[str, list[float]], labels: Sequence[str]) -> list[float]:
    """The fit of the finest of the labels that has one, the coarsest first among them."""
    return next((found[label] for label in reversed(labels) if label in found), found[""])


def _fit(y: np.ndarray, fixed: np.ndarray | None, body: np.ndarray, parent: list[float] | None) -> list[float]:
    """Gauss-Newton on log latency, rows beyond `_HUBER` weighed down."""
    if fixed is None:
        off = y - np.log(body)
        middle = float(np.median(off))
        return [middle] if parent is None else [parent[0] + (middle - parent[0]) * len(y) / (len(y) + (_HUBER / _STRAYS[1]) ** 2)]
    at = np.array(parent) if parent is not None else np.array([float(np.log(np.median(fixed) + 1e-12)), 0.0, 0.0])
    at[2] = max(at[2], -4.0)
    centre, hold = at.copy(), (_HUBER / np.array(_STRAYS)) ** 2 * (np.ones(3) if parent is not None else np.array([1e-3, 10.0, 1e-3]))
    at[2] = max(at[2], 0.0)  # a term that has vanished above must be able to come back
    terms = np.column_stack([np.ones(len(y)), body, np.sqrt(fixed * body)])
    for _ in range(_STEPS):
        parts = terms * np.exp(at)
        total = parts.sum(1)
        off = y - np.log(total)
        slope = parts / total[:, None]
        weight = np.minimum(1.0, _HUBER / np.maximum(np.abs(off), 1e-9))[:, None]
        step = np.linalg.solve((slope * weight).T @ slope + np.diag(hold), (slope * weight).T @ off - hold * (at - centre))
        at = at + np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-4:
            break
    return [float(x) for x in at]
