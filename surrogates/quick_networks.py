"""Whole networks on machines, operator by operator, by a student of the simulator: one machine in a fraction of a millisecond, ten thousand in a fraction of a
second.

A network's kernels are found once (by its digest) and equal ones are asked once; a machine's figures are computed once for all kernels of a kind. The answer is
the sum over kernels; the width of its interval is what such sums were off on networks never seen. What the machine cannot hold is the simulator's question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..datasets.dtypes import DTYPE_NAMES
from ..datasets.hardware import Hardware
from ..datasets.ops import KIND_NAMES
from ..datasets.simulator.kernels import Kernels, fuse
from ..datasets.simulator.machine import Machines
from ..datasets.simulator.memory_tiers import HARDWIRED
from ..datasets.table import GraphQuestions
from ..datasets.workload import Workload
from ..features.verdict import Domain
from .prediction import Prediction
from .student import Lanes, Student, border
from .terms import Sizes

#: networks whose kernels are remembered; lists of machines, and machines in all of them
_MOST, _MOST_LISTS, _MOST_MACHINES = 256, 2048, 50_000
#: machines from which on a kernel is computed for all of them at once
_MANY = 512
IN_DOMAIN = Domain("in_domain")


@dataclass(frozen=True)
class _Network:
    """A network's K different kernels: their `sizes`, how often each occurs, and which of `said` (codes of kind, dtype, weight dtype) each is. `strange`: why the
    student does not answer, "" where it does."""

    said: tuple[tuple[int, int, int], ...]
    sizes: Sizes
    group: np.ndarray
    count: np.ndarray
    needs_bytes: float
    strange: str


@dataclass
class QuickNetworks:
    """The student of the simulator, and the simulator for what the student does not answer (`exact`)."""

    student: Student
    level: float
    name: str
    version: str
    exact: Callable[[GraphQuestions], Prediction]
    _networks: dict[str, _Network] = field(default_factory=dict)
    _machines: dict[tuple[int, ...], _Machines] = field(default_factory=dict)
    _again: dict[int, _Machines] = field(default_factory=dict)

    def predict(self, questions: GraphQuestions) -> Prediction:
        """n answers in order; the simulator's own (level 0, no intervals) where the student has not learned such operators or machines."""
        targets, n = self.student.targets, len(questions)
        point, low, high = (np.full((n, len(targets)), np.nan) for _ in range(3))
        domain: list[Domain] = [IN_DOMAIN] * n
        slow = np.zeros(n, dtype=bool)
        for w in range(len(questions.workloads)):
            rows = np.flatnonzero(questions.workload_index == w) if len(questions.workloads) > 1 else np.arange(n)
            if not len(rows):
                continue
            network = self._network(questions.workloads[w])
            if network.strange:
                slow[rows] = True
                continue
            index = questions.device_index[rows]
            devices = questions.devices if len(rows) == len(questions.devices) and (index == np.arange(len(rows))).all() else tuple(questions.devices[i] for i in index)
            machines = self._known(devices)
            here = np.flatnonzero(machines.able & (network.needs_bytes <= machines.holds))
            if len(here) < len(rows):
                slow[np.setdiff1d(rows, rows[here], assume_unique=True)] = True
            if not len(here):
                continue
            some = machines if len(here) == len(rows) else self._known(tuple(devices[i] for i in here))
            p, lo, hi, outside = self._sum(network, some)
            at = rows[here]
            point[at], low[at], high[at] = p, lo, hi
            for i in np.flatnonzero(outside).tolist():
                domain[at[i]] = Domain("extrapolating", f"{some.devices[i].key} or an operator on it lies outside what the simulator's student has learned from")
        if not slow.any():
            return Prediction(targets, point, low, high, self.level, tuple(domain), self.name, self.version)
        rest = np.flatnonzero(slow)
        told = self.exact(questions.take(rest))
        point[rest] = told.point
        for i, row in enumerate(rest.tolist()):
            domain[row] = told.domain[i]
        return Prediction(targets, point, low, high, self.level if len(rest) < n else 0.0, tuple(domain), self.name, self.version)

    def _network(self, workload: Workload) -> _Network:
        found = self._networks.get(workload.digest)
        if found is None:
            if len(self._networks) >= _MOST:
                self._networks.pop(next(iter(self._networks)))
            found = self._networks[workload.digest] = self._grouped(workload)
        return found

    def _grouped(self, workload: Workload) -> _Network:
        graph = fuse(workload)
        kernels: Kernels = graph.unique
        ops, count = kernels.ops, np.bincount(graph.inverse, minlength=len(kernels)).astype(np.float64)
        known = self.student.known
        for codes, names, which in ((ops.kind, KIND_NAMES, "kind"), (ops.dtype, DTYPE_NAMES, "dtype"), (ops.weight_dtype, DTYPE_NAMES, "weight_dtype")):
            new = sorted({names[c] for c in np.unique(codes)} - set(known[which]))
            if new:
                return _unknown(f"{which} {', '.join(new)}")
        if (ops.density < 1.0).any() or (ops.pattern != 0).any():
            return _unknown("sparse weights")
        said, group = np.unique(np.column_stack([ops.kind, ops.dtype, ops.weight_dtype]), axis=0, return_inverse=True)
        return _Network(tuple(tuple(one) for one in said.tolist()), Sizes.of(ops, kernels.extra_bytes, border(kernels)), group.ravel().astype(np.int64), count,
                        float(workload.weight_bytes + workload.peak_activation_bytes), "")

    def _known(self, devices: Sequence[Hardware]) -> _Machines:
        """The machines with what has been computed of them; the last few lists of them are kept."""
        found = self._again.get(id(devices))
        if found is not None and found.devices is devices:  # the very list as before
            return found
        key = tuple(map(id, devices))  # the lists are kept alive below, so their ids stay theirs
        found = self._machines.get(key)
        if found is None:
            while self._machines and (len(self._machines) >= _MOST_LISTS or sum(len(one.devices) for one in self._machines.values()) > _MOST_MACHINES):
                self._again.pop(id(self._machines.pop(next(iter(self._machines))).devices), None)
            able = np.array([d.array is None and d.fabric is None and d.kind != "pim" and not any(level.name == HARDWIRED for level in d.memory) for d in devices], dtype=bool)
            found = self._machines[key] = _Machines(tuple(devices), able, np.array([d.dram.capacity_bytes for d in devices], dtype=np.float64), {})
            self._again[id(found.devices)] = found
        return found

    def _sum(self, network: _Network, machines: _Machines) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """((D, t) points, lows, highs of a network on D machines, (D,) whether any kernel lies outside what was learned)."""
        lanes = machines.lanes.get(network.said)
        if lanes is None:
            figures = machines.figures
            lanes = machines.lanes[network.said] = Lanes.joined([self.student.machine_lanes(*one, machines.devices, figures) for one in network.said])
        count, kernels = len(machines.devices), len(network.count)
        if count == 1:
            points, _, far = self.student.columns(lanes, network.group, network.sizes)
        elif count >= _MANY:
            points, far = self.student.crossed(lanes, network.group, network.sizes, count)
        else:
            rows, on = np.repeat(np.arange(kernels), count), np.tile(np.arange(count), kernels)
            points, _, far = self.student.columns(lanes, network.group[rows] * count + on,
                                               lambda part: Sizes(*(x[rows[part]] if isinstance(x, np.ndarray) else x for x in network.sizes)))
        point = np.tensordot(network.count, points.reshape(kernels, count, -1), 1)
        outside = far.reshape(kernels, count).any(0) | lanes.outside.reshape(-1, count).any(0)
        return point, point * np.exp(-lanes.width[:count]), point * np.exp(lanes.width[:count]), outside


def _unknown(why: str) -> _Network:
    return _Network((), Sizes(*(0.0,) * len(Sizes._fields)), np.zeros(0, dtype=np.int64), np.zeros(0), 0.0, why)


@dataclass(frozen=True)
class _Machines:
    """A list of machines: whether the student answers for each, what each holds, and their lanes: those of all kinds of a network's kernels, one after another."""

    devices: tuple[Hardware, ...]
    able: np.ndarray
    holds: np.ndarray
    lanes: dict[tuple[tuple[int, int, int], ...], Lanes]

    @cached_property
    def figures(self) -> Machines:
        """The machines as the simulator sees them: put together once for all lanes."""
        return Machines.of(self.devices)
