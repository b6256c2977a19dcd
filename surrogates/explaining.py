"""Why this answer? Every operator's share of a network's latency, every column's factor in a boosted answer, and what holds the machine back.

Operators: the graph network adds kernels up, so its readout is the attribution; other models of networks are shared out as the analytic estimate shares the
time. Columns: exact TreeSHAP (Lundberg et al., "From local explanations to global understanding with explainable AI for trees", Nature Machine Intelligence
2, 2020), LightGBM's own; contributions to a logarithm are factors. What members without trees say, and what blending and limits change, is a term of its
own: terms always sum to the answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..datasets.errors import InputError
from ..datasets.simulator import simulate_many
from ..datasets.simulator.costs import LIMITS
from ..datasets.simulator.kernels import fuse
from ..datasets.table import FeatureQuestions, GraphQuestions
from ..features.pairs import kernel_rows
from ..features.tabular import Features
from .prediction import Prediction
from .target_scale import decode

#: what held a kernel back, in words
LIMIT_WORDS: Mapping[str, str] = {"compute": "arithmetic", "vector": "vector arithmetic", "local memory": "local memory", "cache": "cache bandwidth", "dram": "DRAM bandwidth",
                                  "latency": "start-up latency", "launch": "launches"}
_ESTIMATE, _AVERAGE = "analytic estimate", "average of the training rows"


@dataclass(frozen=True)
class OpShare:
    """One kernel's part of an answer. `ops`: the operators in it, the first names it; `seconds` (or joules) and `share` of the whole; `limit`: what holds it
    back, one of `LIMIT_WORDS`; `launch`: the share of its time that is launch overhead."""

    name: str
    kind: str
    ops: tuple[str, ...]
    amount: float
    share: float
    limit: str
    launch: float


@dataclass(frozen=True)
class Term:
    """What one column (or member, or the analytic estimate) adds on the scale of an explanation; `value`: the column's, None where there is none."""

    name: str
    value: float | str | None
    contribution: float


@dataclass(frozen=True)
class Explanation:
    """Why one answer is what it is.

    `point`: the answer in SI. `terms` sum to `scaled(point)`: its logarithm (`scale` "log": contributions are factors), log(1 + x) ("log1p") or itself ("plain").
    `parts`, of a network: kernels whose amounts sum to `point`; `by`: who shared it out. `limits`: what held back -> share of the time. `words`: all of it
    in a sentence or two.
    """

    target: str
    point: float
    scale: str
    terms: tuple[Term, ...]
    parts: tuple[OpShare, ...] = ()
    by: str = ""
    limits: Mapping[str, float] = field(default_factory=dict)
    words: str = ""

    def by_kind(self) -> dict[str, float]:
        """Operator kind -> its kernels' share, largest first."""
        found: dict[str, float] = {}
        for part in self.parts:
            found[part.kind] = found.get(part.kind, 0.0) + part.share
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return {"target": self.target, "point": self.point, "scale": self.scale, "words": self.words, "by": self.by, "limits": dict(self.limits), "by_kind": self.by_kind(),
                "parts": [{"name": p.name, "kind": p.kind, "ops": list(p.ops), "amount": p.amount, "share": p.share, "limit": p.limit, "launch": p.launch} for p in self.parts],
                "terms": [{"name": t.name, "value": t.value, "contribution": t.contribution, **({"factor": math.exp(t.contribution)} if self.scale == "log" else {})} for t in self.terms]}


def explain(surrogate: Any, questions: Any, prediction: Prediction, target: str = "") -> Explanation:
    """Why `surrogate` gave `prediction` to the one question in `questions`, for a target (default: its first). Raises InputError for several questions, an
    unknown target, or an answer that is not finite."""
    if len(questions) != 1:
        raise InputError(f"explain: one question at a time, got {len(questions)}")
    name = target or prediction.targets[0]
    point = float(prediction.point[0, prediction.column(name)])
    if not math.isfinite(point):
        raise InputError(f"explain: there is no finite answer for {name} to explain ({prediction.domain[0].reason})")
    scale, terms = _terms(surrogate, questions, name, point)
    if not isinstance(questions, GraphQuestions):
        held = _limits_of_row(questions)
        return Explanation(name, point, scale, terms, limits=held, words=_sentence(scale, terms, held, ()))
    parts, by = _parts(surrogate, questions, name, point)
    limits = _limits(parts) if name == "latency_s" else {}
    return Explanation(name, point, scale, terms, parts, by, limits, _sentence(scale, terms, limits, parts))


def _terms(surrogate: Any, questions: Any, name: str, point: float) -> tuple[str, tuple[Term, ...]]:
    found, scale, features = _contributions(surrogate, questions, name)
    whole = math.log(max(point, 1e-300)) if scale == "log" else math.log1p(point) if scale == "log1p" else point
    values = dict(zip(features.names, features.values[0], strict=True)) if features is not None else {}
    coded = {features.names[i] for i in features.categorical} if features is not None else set()
    frame = questions.frame if isinstance(questions, FeatureQuestions) else getattr(questions, "context", None)

    def value(column: str) -> float | str | None:
        if column in coded:
            return str(frame[column].iloc[0]) if frame is not None and column in frame.columns else None
        said = values.get(column)
        return None if said is None or not math.isfinite(said) else float(said)

    terms = [Term(column, value(column), float(c)) for column, c in sorted(found.items(), key=lambda item: (item[0] not in (_ESTIMATE, _AVERAGE), -abs(item[1]), item[0]))]
    rest = whole - math.fsum(t.contribution for t in terms)
    return scale, (*terms, Term("the rest: other members, blending, limits", None, rest))


def _contributions(model: Any, questions: Any, name: str) -> tuple[dict[str, float], str, Features | None]:
    """(column -> contribution, scale, the columns) of one question; whatever is not trees gives what it gives by name."""
    if model.name in ("conformal", "distilled"):
        return _contributions(model.inner, questions, name)
    if model.name == "adapted":
        found, scale, features = _contributions(model.inner, questions, name)
        before, after = (float(m.predict(questions).point[0, m.targets.index(name)]) for m in (model.inner, model))
        return ({**found, "correction by the shots": math.log(after / before)} if scale == "log" and before > 0 < after else found), scale, features
    if model.name in ("ensemble", "blended", "boosted"):
        if name == "energy_j" and {"latency_s", "power_w"} <= set(model.targets):  # power x latency: logarithms add
            one, other = (_contributions(model, questions, n) for n in ("latency_s", "power_w"))
            return {c: one[0].get(c, 0.0) + other[0].get(c, 0.0) for c in {**one[0], **other[0]}}, one[1], one[2]
        return _of_trees(model, questions, name) if model.name == "boosted" else _of_members(model, questions, name)
    point = float(model.predict(questions).point[0, model.targets.index(name)])
    return _as_one(model.name, point, _reference(questions, name)), "log" if point > 0 else "plain", None


def _as_one(member: str, point: float, reference: float | None) -> dict[str, float]:
    """A model without columns to tell apart: the analytic estimate, and the factor it puts on it."""
    if point <= 0:
        return {member: point}
    return {_ESTIMATE: math.log(reference), f"learned by {member}": math.log(point / reference)} if reference else {f"learned by {member}": math.log(point)}


def _of_members(model: Any, questions: Any, name: str) -> tuple[dict[str, float], str, Features | None]:
    members = list(model.members) if model.name == "ensemble" else list(model._members.values())
    shares = model.shares(questions, name)[0] if model.name == "ensemble" else [model._shares[name].get(key, 0.0) for key in model._members]
    told = [(share, _contributions(member, questions, name)) for share, member in zip(shares, members, strict=True) if share > 0]
    scale = next((t[1] for _, t in told if t[1] != "log"), "log")
    out: dict[str, float] = {}
    for share, (found, its, _) in told:
        if its == scale:
            for column, c in found.items():
                out[column] = out.get(column, 0.0) + share * c
    return out, scale, next((t[2] for _, t in told if t[2] is not None), None)


def _of_trees(model: Any, questions: Any, name: str) -> tuple[dict[str, float], str, Features | None]:
    """Exact TreeSHAP of one learned target; trees that answer as the kin of a machine do are one term."""
    told = model.contributions(questions, name)
    if told is None:
        point = float(model.predict(questions).point[0, model.targets.index(name)])
        return _as_one("trees that mix kin", point, _reference(questions, name)), "log", None
    shap, scale, features = told[0][0], told[1], told[2]
    found = {column: float(c) for column, c in zip(features.names, shap[:-1], strict=True) if c}
    found[_AVERAGE] = float(shap[-1])
    if scale == "ratio":
        found[_ESTIMATE] = math.log(float(features.reference[name][0]))
    elif scale == "demand":
        asked = math.fsum(found.values())
        found["the power limit"] = math.log(float(decode(name, np.array([asked]), features.rows(np.array([0])), scale, 0.0)[0])) - asked
    return found, "log" if scale in ("ratio", "demand", "log") else scale, features


def _reference(questions: Any, name: str) -> float | None:
    kept = questions.__dict__.get("_features")
    features = next(iter(kept.values()), None) if isinstance(kept, dict) else kept
    reference = features.reference.get(name) if isinstance(features, Features) else None
    return None if reference is None else float(reference[0])


def _parts(surrogate: Any, questions: GraphQuestions, name: str, point: float) -> tuple[tuple[OpShare, ...], str]:
    """Kernels with their amounts, which sum to the point, and who shared it out; none for what kernels do not add up to."""
    if name not in ("latency_s", "energy_j"):
        return (), ""
    workload, device = questions.workloads[questions.workload_index[0]], questions.devices[questions.device_index[0]]
    graph = fuse(workload)
    [(_, rows)] = list(kernel_rows(questions, unique=False))
    each = rows.bounds.estimate_s + rows.bounds.launch_s
    net = _graph_network(surrogate)
    simulated = simulate_many(workload, [device])[0]
    first = np.zeros(len(each), dtype=np.int64)
    first[graph.kernel_of[::-1]] = np.arange(len(workload.ops))[::-1]
    if name == "energy_j":
        weight, by = rows.bounds.dynamic_j + rows.bounds.static_w * each if not simulated.values else simulated.op_energy_j[first], "the simulator's energies" if simulated.values else "the analytic estimate"
    else:
        weight, by = (net.kernel_shares(questions)[0], "the graph network's readout") if net is not None else (each, "the analytic estimate")
    share = weight / weight.sum()
    share = share / math.fsum(share)
    limit = [simulated.op_limit[i] for i in first] if simulated.values else _bound_limits(rows.bounds)
    launch = rows.bounds.launch_s / each
    inside: list[list[str]] = [[] for _ in each]
    for op, kernel in zip(workload.ops, graph.kernel_of, strict=True):
        inside[kernel].append(op.name)
    parts = [OpShare(inside[k][0], workload.ops[first[k]].kind, tuple(inside[k]), point * float(share[k]), float(share[k]), limit[k] if limit[k] in LIMIT_WORDS else "compute", float(launch[k]))
             for k in range(len(each))]
    return tuple(parts), by


def _graph_network(model: Any) -> Any:
    """The graph network in a wrapper or among members, None where there is none."""
    if model.name == "graphnet":
        return model
    inner = [model.inner] if model.name in ("conformal", "adapted", "distilled") else list(model.members) if model.name == "ensemble" else []
    return next((found for m in inner if (found := _graph_network(m)) is not None), None)


def _bound_limits(b: Any) -> list[str]:
    """What the analytic bounds say holds each kernel back, where the simulator has no answer."""
    names = ("compute", "dram", "vector", "cache", "launch")
    stack = np.stack([b.compute_s, b.dram_s, b.vector_s, b.cache_s, b.launch_s])
    return [names[i] for i in stack.argmax(0)]


def _limits(parts: tuple[OpShare, ...]) -> dict[str, float]:
    """What held back -> share of the time, launches apart."""
    found: dict[str, float] = {}
    for part in parts:
        for limit, share in ((part.limit, part.share * (1.0 - part.launch)), ("launch", part.share * part.launch)):
            found[limit] = found.get(limit, 0.0) + share
    return dict(sorted(((k, v) for k, v in found.items() if v > 0), key=lambda item: -item[1]))


def _limits_of_row(questions: Any) -> dict[str, float]:
    """What holds a single operator back, as the simulator says among the columns; empty where it said nothing."""
    kept = questions.__dict__.get("_features")
    features = next(iter(kept.values()), None) if isinstance(kept, dict) and not isinstance(questions, FeatureQuestions) else None
    if features is None:
        return {}
    row = dict(zip(features.names, features.values[0], strict=True))
    held = [limit for limit in LIMITS if row.get(f"held_by_{limit.replace(' ', '_')}") == 1.0]
    fixed = min(math.exp(row["fixed_share"]), 1.0) if math.isfinite(row.get("fixed_share", math.nan)) else 0.0
    return {held[0]: 1.0 - fixed, **({"launch": fixed} if fixed > 0 else {})} if held else {}


def _sentence(scale: str, terms: tuple[Term, ...], limits: Mapping[str, float], parts: tuple[OpShare, ...]) -> str:
    said = []
    if limits:
        named = []
        for limit, share in list(limits.items())[:3]:
            own = [p.name for p in sorted(parts, key=lambda p: -p.share) if p.limit == limit][:3]
            named.append(f"{LIMIT_WORDS[limit]} {100 * share:.0f} % of the time" + (f" ({', '.join(own)}{', ...' if sum(p.limit == limit for p in parts) > 3 else ''})" if own else ""))
        said.append("held back by " + ", by ".join(named))
    if parts:
        order = sorted((p.share for p in parts), reverse=True)
        half = int(np.searchsorted(np.cumsum(order), 0.5)) + 1
        said.append(f"half of it goes to {half} of {len(parts)} kernels")
    if scale == "log":
        moved = [t for t in terms if t.name not in (_ESTIMATE, _AVERAGE) and abs(t.contribution) > 0.01][:3]
        base = next((t for t in terms if t.name == _ESTIMATE), None)
        if moved:
            said.append(("beyond the analytic estimate, " if base else "") + "what moves the answer most: " + ", ".join(f"{t.name} (x {math.exp(t.contribution):.2f})" for t in moved))
    return "; ".join(said)
