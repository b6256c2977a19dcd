"""A front that a model found, asked of the simulator: what holds, how far off the model was, and measurements that join the training set.

    checked = verify(problem, front)                   # by the simulator
    write_dataset(checked.measurements, "out/verified")       # an experiment's `data: {generated: out/verified}`, or
    joined(read_generated("data/set"), checked.measurements)  # a table for `training.pipeline.run(experiment, table=...)`
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ...datasets.errors import FormatError, InputError
from ...datasets.generate import FORMAT, GENERATED_TARGETS
from ...datasets.measurement import Measurement
from ...datasets.simulator import SIMULATOR_VERSION
from ...datasets.table import GraphQuestions, Table
from .cases import measurements
from .machines import grouped
from .problem import Evaluations, Problem

#: file names of the one shard of a data set written here
_SHARD = ("shards/00000.graphs.parquet", "shards/00000.rows.parquet")


@dataclass(frozen=True)
class Verified:
    """`truth`: the same candidates by the simulator. `errors`: quantity -> (n,) share by which the model was off (model / truth - 1). `inside`: share of true values in
    the model's intervals (None without). `measurements`: (workload, machine) pairs with their answers; none for deployments, which are no such pair."""

    truth: Evaluations
    errors: dict[str, np.ndarray]
    inside: float | None
    measurements: tuple[Measurement, ...]


def verify(problem: Problem, found: Evaluations) -> Verified:
    """`found` asked again of the simulator."""
    truth = problem.evaluate(found.candidates)
    errors, hits = {}, []
    for name in problem.wanted:
        said, true = found.answers.values.get(name), truth.answers.values.get(name)
        if said is None or true is None:
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            errors[name] = said / true - 1.0
        if name in found.answers.low:
            low, high = found.answers.low[name], found.answers.high[name]
            closed = np.isfinite(low) & np.isfinite(high) & np.isfinite(true)
            hits += list(((low <= true) & (true <= high))[closed])
    own: tuple[Measurement, ...] = ()
    if hasattr(problem.design, "cases"):
        groups, _ = grouped(problem.design, found.candidates)
        own = tuple(measurements([case for group in groups for case in group]))
    return Verified(truth, errors, float(np.mean(hits)) if hits else None, own)


def as_table(given: Sequence[Measurement]) -> Table:
    """Measurements as a table to learn from: graph questions, grouped by workload; what does not fit has NaN targets. Raises InputError for none."""
    if not given:
        raise InputError("no measurements: expected at least one")
    questions = GraphQuestions.of([m.query for m in given])
    targets = {t: np.array([m.values.get(t, np.nan) if not m.infeasible else np.nan for m in given]) for t in GENERATED_TARGETS}
    slices = pd.DataFrame({"family": [m.query.workload.family for m in given], "device": [m.query.hardware.key for m in given], "kind": [m.query.hardware.kind for m in given]})
    return Table(questions, targets, np.array([m.query.workload.digest for m in given], dtype=object), slices, ", ".join(sorted({m.source for m in given})))


def joined(table: Table, given: Sequence[Measurement]) -> Table:
    """A table of whole workloads with measurements added at its end. Raises InputError for a table of another shape."""
    if table.questions.shape != "graph":
        raise InputError(f"verified points are whole workloads; expected a table of graph questions, got {table.questions.shape} ones")
    more, own = as_table(given), table.questions
    other = more.questions
    questions = GraphQuestions((*own.workloads, *other.workloads), (*own.devices, *other.devices),
                               np.concatenate([own.workload_index, other.workload_index + len(own.workloads)]), np.concatenate([own.device_index, other.device_index + len(own.devices)]))
    targets = {t: np.concatenate([table.targets.get(t, np.full(len(table), np.nan)), more.targets.get(t, np.full(len(more), np.nan))]) for t in dict.fromkeys((*table.targets, *more.targets))}
    return Table(questions, targets, np.concatenate([table.groups, more.groups]), pd.concat([table.slices, more.slices], ignore_index=True), f"{table.source} and {len(more)} verified points ({more.source})")


def write_dataset(given: Sequence[Measurement], folder: str | Path) -> Path:
    """Measurements as a data set that `read_generated` reads. The folder must be new, empty, or one written here before. Raises FormatError otherwise, InputError for none."""
    place = Path(folder)
    if not given:
        raise InputError("no measurements: expected at least one")
    if place.exists() and (not place.is_dir() or any(p.name not in ("plan.json", "manifest.json", "shards") for p in place.iterdir())):
        raise FormatError(f"{place}: exists and holds something else; expected a new folder")
    (place / "shards").mkdir(parents=True, exist_ok=True)
    one = {(m.query.workload.digest, m.query.hardware.key): m for m in given}.values()
    works, machines = {m.query.workload.digest: m.query.workload for m in one}, {m.query.hardware.key: m.query.hardware for m in one}
    graphs = pd.DataFrame({"workload": list(works), "json": [json.dumps(w.to_json(), separators=(",", ":")) for w in works.values()]})
    rows = pd.DataFrame([{"workload": m.query.workload.digest, "family": m.query.workload.family, "hardware": m.query.hardware.key, "hardware_digest": m.query.hardware.digest,
                          "kind": m.query.hardware.kind, **{t: m.values.get(t, np.nan) for t in GENERATED_TARGETS}, "infeasible": m.infeasible} for m in one])
    plan = {"format": FORMAT, "seed": 0, "count": len(rows), "per_workload": 1, "families": sorted(set(rows["family"])), "devices": [], "sampled": 0, "unrelated": [],
            "simulator_version": SIMULATOR_VERSION, "pool": [h.to_json() for h in machines.values()]}
    (place / "plan.json").write_text(json.dumps(plan, indent=1), encoding="utf-8")
    for name, frame in zip(_SHARD, (graphs, rows), strict=True):
        frame.to_parquet(place / name, compression="zstd", index=False)
    files = {name: hashlib.sha256((place / name).read_bytes()).hexdigest() for name in ("plan.json", *_SHARD)}
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]
    manifest = {"format": FORMAT, "rows": len(rows), "feasible": int((rows["infeasible"] == "").sum()), "digest": digest, "simulator_version": SIMULATOR_VERSION, "files": files}
    (place / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return place
