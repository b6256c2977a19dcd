"""Machines that no catalogue knows, priced on one that it does: the stand-in whose times go most alike.

An operator's time is launches, memory and arithmetic, and which of them holds it back hangs on the machine's figures. Where nobody published any, the rows of the machine tell: of all GPUs and CPUs of
the catalogue the one is taken whose estimated times, up to a factor that all rows share, are nearest to those measured; or none, where typical figures go as well. That factor is kept beside it: it is the reference that is learned from, not a
claim about the machine. A name tips the scale between those that go nearly alike ("MI308X": `mi300x`). A machine of few rows or none is priced on its namesake, without one on the middling machine of the
table. No figure of a stand-in is told as one of the machine: what is learned of other machines by their figures does not hold for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from ..datasets import catalog
from ..datasets.cluster import Cluster
from ..datasets.columns import DeviceColumns
from ..datasets.hardware import Hardware
from ..datasets.ops import COLLECTIVES, KIND_CODES
from ..datasets.table import OpQuestions
from .bounds import op_bounds
from .device import device_rows

#: entry of a vocabulary: one word for each machine that has a stand-in, "key factor name" (`factor`: its times over those of the stand-in); a name of nothing is any other unknown machine
MARK = "(stand-ins)"
#: in place of a key: typical figures, where no machine's go as well
_NOBODY = "-"
#: rows from which a machine has a stand-in of its own, and rows by which it is chosen
_LEAST_ROWS, _ROWS = 6, 200
#: how much a nat of the shared factor counts beside one of the spread about it (assumption: rows decide, and of those alike the nearest is taken)
_LEVEL = 0.1
#: nats of spread that a namesake may be off by more than a stranger, and the share of a name that makes a namesake (assumptions)
_NAMED, _NAMESAKE = 0.15, 0.75
#: nats of spread that typical figures may be off by more than a machine's (assumption)
_NOBODY_FIRST = 0.05
#: parts of a name: letters, and digits; those that tell by themselves
_PARTS, _TELLING = re.compile(r"[a-z]+|[0-9]+"), re.compile(r"[a-z]{2,}|[0-9]{3,}")
_KINDS = ("gpu", "cpu")


def chosen(questions: OpQuestions, latency: np.ndarray) -> dict[str, tuple[str, ...]]:
    """`MARK` for a vocabulary, from n operators and their `latency` (n,) in seconds; empty where every machine is known, or no rows tell."""
    good = np.isfinite(latency) & (latency > 0.0) & ~np.isin(questions.ops.kind, [KIND_CODES[k] for k in COLLECTIVES])
    rng, told, levels = np.random.default_rng(0), [], []
    for at, (name, device) in enumerate(zip(questions.device_names, questions.devices, strict=True)):
        rows = np.flatnonzero(good & (questions.device_index == at))
        if len(rows) < _LEAST_ROWS:
            continue
        rows = np.sort(rng.choice(rows, _ROWS, replace=False)) if len(rows) > _ROWS else rows
        mine, truth = questions.ops.take(rows), np.log(latency[rows])
        typical = op_bounds(mine, device_rows((None,), np.zeros(len(rows), dtype=np.int64)), in_graph=False)
        plain = truth - np.log(typical.estimate_s + typical.launch_s)
        level = float(np.median(plain))
        if device is not None:
            levels.append((level, device.key, 1.0))
            continue
        able = _able()
        many = mine.take(np.tile(np.arange(len(rows)), len(able)))
        b = op_bounds(many, _columns(able, np.repeat(np.arange(len(able)), len(rows))), in_graph=False)
        off = np.vstack([truth - np.log(b.estimate_s + b.launch_s).reshape(len(able), len(rows)), plain])
        factor = np.median(off, axis=1)
        best = int(np.argmin(np.abs(off - factor[:, None]).mean(axis=1) + _LEVEL * np.abs(factor) - _NAMED * np.append(_likeness(name), _NOBODY_FIRST / _NAMED)))
        told.append((able[best].key if best < len(able) else _NOBODY, float(np.exp(factor[best])), name))
        levels.append((level, *told[-1][:2]))
    if levels:
        told.append((*sorted(levels)[len(levels) // 2][1:], ""))
    return {MARK: tuple(f"{key} {factor:.6g} {name}" for key, factor, name in told)} if told else {}


def stood_in(questions: OpQuestions, vocabulary: Mapping[str, tuple[str, ...]]) -> tuple[tuple[Hardware | None, ...], np.ndarray]:
    """(the machines of the questions with stand-ins for those nobody knows, (n,) factors of their times)."""
    if MARK not in vocabulary or all(d is not None for d in questions.devices):
        return questions.devices, np.ones(len(questions))
    told = {name: (key, float(factor)) for key, factor, name in (word.split(" ", 2) for word in vocabulary[MARK])}
    devices, factors = list(questions.devices), np.ones(len(devices := list(questions.devices)))
    for at, (name, device) in enumerate(zip(questions.device_names, questions.devices, strict=True)):
        if device is None:
            key, factors[at] = told.get(name) or _namesake(name) or told.get("") or (_NOBODY, 1.0)
            devices[at] = None if key == _NOBODY else catalog.find(key)
    return tuple(devices), factors[questions.device_index]


def _namesake(name: str) -> tuple[str, float] | None:
    """(key of the machine that has nearly all of a name, 1); None where none has, or where the name has no number: a vendor and a kind ("Intel CPU") are no machine."""
    like = _likeness(name) if any(letter.isdigit() for letter in name) else np.zeros(len(_able()))
    best = int(np.argmax(like))
    return (_able()[best].key, 1.0) if like[best] >= _NAMESAKE else None


@lru_cache(maxsize=4096)
def _likeness(name: str) -> np.ndarray:
    """(len(_able()),) how much of a name each machine's key shares, 0 to 1: of the parts that any key has, the rarer the more; a part of a letter or two digits tells nothing alone. Of those that share
    alike the one counts more, by next to nothing, whose number is nearest."""
    keys = [set(_PARTS.findall(d.key)) for d in _able()]
    own = set(_PARTS.findall(name.lower()))
    counts = {part: sum(part in each for each in keys) for part in own}
    weight = {part: float(np.log((len(keys) + 1.0) / count)) for part, count in counts.items() if count}
    if not any(_TELLING.fullmatch(part) for part in weight):
        return np.zeros(len(keys))
    shared = np.array([sum(w for part, w in weight.items() if part in each) if any(part in each and _TELLING.fullmatch(part) for part in weight) else 0.0 for each in keys])
    number = max((int(part) for part in own if part.isdigit()), default=0)
    apart = np.array([abs(np.log1p(max((int(part) for part in each if part.isdigit()), default=0)) - np.log1p(number)) for each in keys])
    return np.asarray(shared / sum(weight.values()) - 1e-3 * np.minimum(apart, 10.0) * (shared > 0.0))


@lru_cache(maxsize=1)
def _able() -> tuple[Hardware, ...]:
    """GPUs and CPUs of the catalogue whose rate and bandwidth are published."""
    names = catalog.keys()
    every = [d for d in map(catalog.hardware, names) if not isinstance(d, Cluster)]
    figures = DeviceColumns.from_devices(every)
    known = np.isfinite(figures.dram_bandwidth) & np.isfinite(figures.vector_rate).any(axis=1)
    return tuple(d for d, ok in zip(every, known, strict=True) if ok and d.kind in _KINDS)


def _columns(devices: tuple[Hardware, ...], index: np.ndarray) -> DeviceColumns:
    return DeviceColumns.from_devices(list(devices)).take(index)
