"""Whole networks on machines, operator by operator, by a student of the simulator: one machine in a fraction of a millisecond, ten thousand in a fraction of a
second.

A network's kernels are found once (by its digest) and equal ones are asked once; a machine's figures are computed once for all kernels of a kind. The answer is
the sum over kernels; the width of its interval is what such sums were off on networks never seen. What the machine cannot hold is the simulator's question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..datasets.dtypes import DTYPE_NAMES
from ..datasets.hardware import Hardware
from ..datasets.ops import KIND_NAMES
from ..datasets.simulator.kernels import Kernels, fuse
from ..datasets.simulator.memory_tiers import HARDWIRED
from ..datasets.table import GraphQuestions
from ..datasets.workload import Workload
from ..features.verdict import Domain
from .prediction import Prediction
from .student import Lanes, Student, border
from .terms import Sizes

#: networks whose kernels are remembered
_MOST = 256
IN_DOMAIN = Domain("in_domain")


@dataclass(frozen=True)
class _Group:
    """Different kernels of one kind and number format: their sizes, and how often each occurs."""

    said: tuple[int, int, int]  # codes of kind, dtype, weight dtype
    sizes: Sizes
    count: np.ndarray


@dataclass(frozen=True)
class _Network:
    """A network's kernels. `strange`: why the student does not answer, "" where it does."""

    groups: tuple[_Group, ...]
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
    _machines: dict[tuple[str, ...], _Machines] = field(default_factory=dict)

    def predict(self, questions: GraphQuestions) -> Prediction:
        """n answers in order; the simulator's own (level 0, no intervals) where the student has not learned such operators or machines."""
        targets, n = self.student.targets, len(questions)
        point, low, high = (np.full((n, len(targets)), np.nan) for _ in range(3))
        domain: list[Domain] = [IN_DOMAIN] * n
        slow = np.zeros(n, dtype=bool)
        for w in np.unique(questions.workload_index).tolist():
            rows = np.flatnonzero(questions.workload_index == w) if len(questions.workloads) > 1 else np.arange(n)
            network = self._network(questions.workloads[w])
            if network.strange:
                slow[rows] = True
                continue
            index = questions.device_index[rows]
            devices = questions.devices if len(rows) == len(questions.devices) and (index == np.arange(len(rows))).all() else tuple(questions.devices[i] for i in index)
            machines = self._known(devices)
            here = np.flatnonzero(machines.able & (network.needs_bytes <= machines.holds))
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
                return _Network((), 0.0, f"{which} {', '.join(new)}")
        if (ops.density < 1.0).any() or (ops.pattern != 0).any():
            return _Network((), 0.0, "sparse weights")
        share = border(kernels)
        groups = []
        told = np.column_stack([ops.kind, ops.dtype, ops.weight_dtype])
        for said in np.unique(told, axis=0):
            rows = np.flatnonzero((told == said).all(1))
            groups.append(_Group(tuple(said.tolist()), Sizes.of(ops.take(rows), kernels.extra_bytes[rows], share[rows]), count[rows]))
        return _Network(tuple(groups), float(workload.weight_bytes + workload.peak_activation_bytes), "")

    def _known(self, devices: Sequence[Hardware]) -> _Machines:
        """The machines with what has been computed of them; the last few lists of them are kept."""
        key = tuple(map(id, devices))  # the lists are kept alive below, so their ids stay theirs
        found = self._machines.get(key)
        if found is None:
            if len(self._machines) >= 16:
                self._machines.pop(next(iter(self._machines)))
            able = np.array([d.array is None and d.fabric is None and d.kind != "pim" and not any(level.name == HARDWIRED for level in d.memory) for d in devices], dtype=bool)
            found = self._machines[key] = _Machines(tuple(devices), able, np.array([d.dram.capacity_bytes for d in devices], dtype=np.float64), {})
        return found

    def _sum(self, network: _Network, machines: _Machines) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """((D, t) points, lows, highs of a network on D machines, (D,) whether any kernel lies outside what was learned)."""
        count = len(machines.devices)
        total = np.zeros((3, count, len(self.student.targets)))
        outside = np.zeros(count, dtype=bool)
        for group in network.groups:
            lanes = machines.lanes.get(group.said)
            if lanes is None:
                lanes = machines.lanes[group.said] = self.student.machine_lanes(*group.said, machines.devices)
            kernels = len(group.count)
            rows = np.repeat(np.arange(kernels), count)
            index = np.tile(np.arange(count), kernels)
            points, far = self.student.columns(lanes, index, lambda part, g=group, r=rows: Sizes(*(x[r[part]] if isinstance(x, np.ndarray) else x for x in g.sizes)))  # type: ignore[misc]
            each = points.reshape(kernels, count, -1)
            summed = np.tensordot(group.count, each, 1)
            total += np.stack([summed, summed * np.exp(-lanes.down), summed * np.exp(lanes.up)])
            outside |= far.reshape(kernels, count).any(0) | lanes.outside
        return total[0], total[1], total[2], outside


@dataclass(frozen=True)
class _Machines:
    """A list of machines: whether the student answers for each, what each holds, and their lanes by kind and number format."""

    devices: tuple[Hardware, ...]
    able: np.ndarray
    holds: np.ndarray
    lanes: dict[tuple[int, int, int], Lanes]
