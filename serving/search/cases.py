"""Workloads on machines: what hardware and network searches ask of the simulator or of a predictor, for all candidates at once.

A candidate makes one or more cases (`label`: workload on machine). Each quantity of a case is there as `latency_s@label`; without a label stand the sums of time
and energy over the cases, the largest memory, and power as energy over time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...datasets.errors import InputError
from ...datasets.hardware import Hardware
from ...datasets.measurement import Measurement, Query
from ...datasets.simulator import simulate_many
from ...datasets.simulator.area import array_area_mm2
from ...datasets.simulator.simulate import Simulation
from ...datasets.table import GraphQuestions
from ...datasets.workload import Workload
from .answers import Answers

#: how a quantity of several cases is one of the candidate; `power_w` follows from energy and latency
_JOINED: dict[str, Callable[[list[float]], Any]] = {"latency_s": np.sum, "energy_j": np.sum, "dram_bytes": np.sum, "cycles": np.sum, "interval_cycles": np.sum, "memory_bytes": np.max, "area_mm2": np.max,
           "lut": np.max, "ff": np.max, "dsp": np.max, "bram_18k": np.max, "uram": np.max, "params": np.max, "flops": np.max}
#: verdicts of the guard under which a prediction is no answer
_NO_ANSWER = ("unsupported",)


@dataclass(frozen=True)
class Case:
    """One workload on one machine."""

    label: str
    workload: Workload
    hardware: Hardware


def simulations(cases: Sequence[Case]) -> list[Simulation]:
    """The simulator's answers, in order: every distinct pair once, all machines of a workload at once."""
    found: dict[tuple[str, str], Simulation] = {}
    asked: dict[str, tuple[Workload, dict[str, Hardware]]] = {}
    for case in cases:
        asked.setdefault(case.workload.digest, (case.workload, {}))[1].setdefault(case.hardware.digest, case.hardware)
    for digest, (workload, machines) in asked.items():
        found |= {(digest, machine): answer for machine, answer in zip(machines, simulate_many(workload, list(machines.values())), strict=True)}
    return [found[case.workload.digest, case.hardware.digest] for case in cases]


def measurements(cases: Sequence[Case]) -> list[Measurement]:
    """The simulator's answers as measurements: what a training set holds."""
    return [Measurement(Query(case.workload, case.hardware), answer.measurement.values, answer.measurement.source, infeasible=answer.infeasible)
            for case, answer in zip(cases, simulations(cases), strict=True)]


def simulated(groups: Sequence[Sequence[Case]], why: Sequence[str]) -> Answers:
    """n candidates' cases answered by the simulator; `why` names those that could not be built (and have no cases)."""
    answers = simulations([case for group in groups for case in group])
    rows, said, at = [], [], 0
    for group, fault in zip(groups, why, strict=True):
        own = answers[at:at + len(group)]
        at += len(group)
        rows.append(_row([{**a.values, **_counts(case)} for case, a in zip(group, own, strict=True)], group))
        said.append(fault or "; ".join(dict.fromkeys(f"{case.label}: {a.infeasible}" for case, a in zip(group, own, strict=True) if a.infeasible)))
    notes = tuple(dict.fromkeys(note.replace(answers[0].hardware.key, "the machine") for a in answers[:1] for note in a.notes))
    return Answers.of_rows(rows, said, notes=notes)


def predicted(groups: Sequence[Sequence[Case]], why: Sequence[str], predictor: Any) -> Answers:
    """The same from a `Predictor`, with its intervals. Of sums the ends of the intervals are added: wider than the truth, never narrower.

    Raises TableError when the model does not take whole workloads, InputError when it is no predictor.
    """
    if not hasattr(predictor, "predict_many"):
        raise InputError(f"search: expected a Predictor or None (the simulator), got {type(predictor).__name__}")
    flat = [case for group in groups for case in group]
    if not flat:
        return Answers.of_rows([{} for _ in groups], why, source=str(getattr(predictor, "name", "")))
    prediction = predictor.predict_many(GraphQuestions.of([Query(c.workload, c.hardware) for c in flat]))
    area = {machine: machine.area_mm2 or array_area_mm2(machine) or float("nan") for machine in {c.hardware for c in flat}}
    parts: dict[str, list[dict[str, float]]] = {"point": [], "low": [], "high": []}
    said, at = [], 0
    for group, fault in zip(groups, why, strict=True):
        index = range(at, at + len(group))
        at += len(group)
        for part, rows in parts.items():
            own = [{name: float(getattr(prediction, part)[i, j]) for j, name in enumerate(prediction.targets)} for i in index]
            if part == "point":
                own = [{**row, **_counts(case), "area_mm2": area[case.hardware]} for row, case in zip(own, group, strict=True)]
            rows.append(_row(own, group))
        said.append(fault or "; ".join(f"{flat[i].label}: {prediction.domain[i].reason}" for i in index if prediction.domain[i].verdict in _NO_ANSWER))
    low, high = (Answers.of_rows(parts[p], said).values for p in ("low", "high"))
    outside = sum(d.verdict == "extrapolating" for d in prediction.domain)
    notes = (f"{outside} of {len(flat)} answers lie outside what the model has learned",) * bool(outside)
    return Answers(Answers.of_rows(parts["point"], said).values, tuple(said), f"{prediction.model} {prediction.version}".strip(), low, high, prediction.level, notes)


def _counts(case: Case) -> dict[str, float]:
    return {"params": float(case.workload.params), "flops": float(case.workload.flops)}


def _row(own: Sequence[Mapping[str, float]], group: Sequence[Case]) -> dict[str, float]:
    """One candidate's quantities out of its cases'."""
    if not own:
        return {}
    out = {name: float(join([row[name] for row in own])) for name, join in _JOINED.items() if all(name in row for row in own)}
    if "latency_s" in out and "energy_j" in out:
        out["power_w"] = out["energy_j"] / out["latency_s"]
    elif len(own) == 1 and "power_w" in own[0]:
        out["power_w"] = own[0]["power_w"]
    if len(own) == 1 and "utilization" in own[0]:
        out["utilization"] = own[0]["utilization"]
    return out | {f"{name}@{case.label}": value for row, case in zip(own, group, strict=True) for name, value in row.items()} if len(own) > 1 else out
