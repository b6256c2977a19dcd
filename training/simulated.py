"""A student of the reference simulator: whole networks, operator by operator, on any machine of processors with a shared memory (GPUs, CPUs, and others without
an array or a fabric), made-up ones included, which it knows by their figures alone.

It learns from kernels of sampled networks on the catalogue's machines and on ones sampled around them, inside networks (what fits in the last cache stays there)
as the simulator sees them. Its intervals come from what it is off on machines and networks held back.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..datasets import catalog
from ..datasets.catalog.drawn import DRAWN
from ..datasets.columns import OpColumns
from ..datasets.devices import sample_device
from ..datasets.families import FAMILIES, sample
from ..datasets.hardware import Hardware
from ..datasets.ops import COLLECTIVES, KIND_CODES, KIND_NAMES
from ..datasets.simulator import SIMULATOR_VERSION
from ..datasets.simulator import technology as tech
from ..datasets.simulator.kernels import Kernels, fuse
from ..datasets.simulator.machine import Machines
from ..datasets.simulator.memory_tiers import HARDWIRED
from ..datasets.simulator.power import capped
from ..datasets.simulator.throughput import throughput_costs
from ..datasets.table import GraphQuestions, OpQuestions
from ..features import FEATURE_VERSION
from ..surrogates import store
from ..surrogates.card import ModelCard
from ..surrogates.distilled import Distilled
from ..surrogates.prediction import Prediction
from ..surrogates.quick_networks import QuickNetworks
from ..surrogates.simulated import Simulated
from ..surrogates.student import Student, border
from ..surrogates.terms import Sizes
from .distilling import Lesson, said, teach
from .pipeline import own_version

TARGETS = ("latency_s", "energy_j")
#: networks sampled, and machines each is put on: about this many times twenty kernels are learned from
NETWORKS, MACHINES = 600, 10
#: rows shown while it learns
SHOWN = 8_000_000
LEVEL = 0.9


def learnable(device: Hardware) -> bool:
    """Whether the student answers for such a machine: processors with a shared memory, no array, no fabric, no memory that computes or is wired."""
    return device.array is None and device.fabric is None and device.kind != "pim" and not any(level.name == HARDWIRED for level in device.memory)


def lesson(networks: int = NETWORKS, machines: int = MACHINES, seed: int = 0) -> Lesson:
    """Kernels of sampled networks on machines of the catalogue (one in four) and sampled around them, answered by the simulator."""
    rng = np.random.default_rng(seed)
    real = [d for d in map(catalog.hardware, DRAWN) if learnable(d)]
    kinds = [d.kind for d in real]
    parts: list[tuple[Kernels, list[Hardware], np.ndarray, np.ndarray]] = []
    names = list(FAMILIES)
    for i in range(networks):
        unique = fuse(sample(names[i % len(names)], rng)).unique
        unique = unique.take(np.flatnonzero(~np.isin(unique.ops.kind, [KIND_CODES[k] for k in (*COLLECTIVES, "bound")])))
        on = [real[int(rng.integers(len(real)))] if rng.random() < 0.25 else sample_device(rng, kinds[int(rng.integers(len(kinds)))], real) for _ in range(machines)]
        columns = Machines.of(on)
        with np.errstate(all="ignore"):
            costs = capped(throughput_costs(unique, columns), columns)
        time = costs.time_s + columns.launch_s
        static = np.where(np.isfinite(columns.static_w), columns.static_w * time, tech.STATIC_OVER_DYNAMIC * costs.dynamic_j)
        parts.append((unique, on, time, costs.dynamic_j + static))
    return _joined(parts)


def _joined(parts: list[tuple[Kernels, list[Hardware], np.ndarray, np.ndarray]]) -> Lesson:
    """Every kernel on every machine of its part, one after another."""
    devices = [d for _, on, _, _ in parts for d in on]
    ops, extra, share, index, time, joules = [], [], [], [], [], []
    at = 0
    for kernels, on, t, e in parts:
        rows = np.repeat(np.arange(len(kernels)), len(on))
        ops.append(kernels.ops.take(rows))
        extra.append(kernels.extra_bytes[rows])
        share.append(border(kernels)[rows])
        index.append(at + np.tile(np.arange(len(on)), len(kernels)))
        time.append(t.ravel())
        joules.append(e.ravel())
        at += len(on)
    point = np.column_stack([np.concatenate(time), np.concatenate(joules)])
    good = np.isfinite(point).all(1) & (point > 0).all(1)
    joined = OpColumns.concat(ops)
    questions = OpQuestions(joined, tuple(d.key for d in devices), tuple(devices), np.concatenate(index), pd.DataFrame(index=range(len(joined))), pd.DataFrame(index=range(len(joined))))
    nothing = np.zeros_like(point)
    whole = Lesson(questions, Sizes.of(joined, np.concatenate(extra), np.concatenate(share)), TARGETS, point, nothing, np.zeros(len(joined), dtype=bool))
    return whole.take(np.flatnonzero(good))


def compile_simulator(out: str | Path, *, networks: int = NETWORKS, shown: int = SHOWN, hidden: int = 80, judged: int = 60, seed: int = 0, say: Callable[[str], None] = lambda text: None) -> ModelCard:
    """A model folder whose student answers whole networks in place of the simulator; the simulator itself answers for what it has not learned. `judged`: networks,
    never learned from, that its intervals come from."""
    learned = lesson(networks, seed=seed)
    say(f"the simulator answered {len(learned):,} (kernel, machine) pairs")
    student, told = teach(learned, parts=("tiles", "stream"), open_machines=True, shown=shown, hidden=hidden, seed=seed, conformal=LEVEL, say=say)
    told = {name: {k: v for k, v in one.items() if k != "by_device"} for name, one in told.items()}
    told["networks"] = on_networks(student, seed + 1, judged)
    card = ModelCard(Path(out).name, "", "graph", TARGETS, {"latency_s": "s", "energy_j": "J"}, FEATURE_VERSION, SIMULATOR_VERSION, f"simulated:{SIMULATOR_VERSION}", "", len(learned),
                     "networks and machines sampled anew", LEVEL, _domain(learned), {"student": told}, seed=seed, silicast_version=own_version(), extra={"student": said(told)})
    store.save(Distilled(Simulated(TARGETS), student), card, out)
    say(said(told))
    return card


def on_networks(student: Student, seed: int, networks: int = 60, machines: int = 6) -> dict[str, Any]:
    """What sums over whole networks never seen are off from the simulator, on machines sampled anew; the student's intervals become as wide as nine in ten of these
    need (`LEVEL`)."""
    rng = np.random.default_rng(seed)
    real = [d for d in map(catalog.hardware, DRAWN) if learnable(d)]
    names = list(FAMILIES)
    quick, exact = QuickNetworks(student, LEVEL, "", "", lambda q: Prediction.bare(TARGETS, np.full((len(q), len(TARGETS)), np.nan))), Simulated(TARGETS)
    off = []
    for i in range(networks):
        on = [real[int(rng.integers(len(real)))] if j % 2 else sample_device(rng, real[int(rng.integers(len(real)))].kind, real) for j in range(machines)]
        asked = GraphQuestions.cross(sample(names[i % len(names)], rng), on)
        with np.errstate(all="ignore"):
            off.append(np.abs(np.log(quick.predict(asked).point / exact.predict(asked).point)))
    apart = np.concatenate(off)
    apart = apart[np.isfinite(apart).all(1)]
    rank = min(int(np.ceil((len(apart) + 1) * LEVEL)), len(apart)) - 1
    student.arrays["width"][:] = np.sort(apart, axis=0)[rank][None, :]
    return {"questions": len(apart), **{f"{t}_median_apart": float(np.median(np.expm1(apart[:, j]))) for j, t in enumerate(TARGETS)},
            **{f"{t}_p90_apart": float(np.expm1(apart[:, j][np.argsort(apart[:, j])[rank]])) for j, t in enumerate(TARGETS)}}


def _domain(learned: Lesson) -> dict[str, Any]:
    """Nothing the guard of trained models knows: the simulator is right wherever it answers. What the student has seen is in its own weights."""
    q = learned.questions
    return {"shape": "simulated", "op_kinds": sorted({KIND_NAMES[c] for c in np.unique(q.ops.kind)}), "device_kinds": sorted({d.kind for d in q.devices if d is not None})}
