"""Whole networks as rows of a measured table: every different network once, as the operators it is made of.

A table of 15,000 architectures on 20 machines has few different operators (27 in NAS-Bench-201). `Networks` keeps those once as columns and, per
network, how many of each it has; whatever is summed over operators is then one matrix product, for one machine or for twenty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from .assigned import assigned
from .columns import OpColumns
from .hardware import Hardware
from .ops import Op
from .table import FeatureQuestions
from .workload import Workload

#: columns of `Networks.figures`: what a network is on any machine
FIGURES = ("ops", "depth", "flops", "bytes", "params", "activation_bytes")


@dataclass(frozen=True)
class Networks:
    """W networks over U different operators. `counts` (W, U): how many of each; `depth` (W,): operators on the longest path; `activation_bytes` (W,): most
    that live at once; `params` (U,): parameters of each operator; `extra`: further figures of each network, (W,) by name."""

    ops: OpColumns
    counts: np.ndarray
    depth: np.ndarray
    activation_bytes: np.ndarray
    params: np.ndarray
    extra: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.counts)

    def total(self, each: np.ndarray) -> np.ndarray:
        """(W,) or (W, d) sums over a network's operators of (U,) or (U, d) values."""
        return np.asarray(self.counts @ each, dtype=np.float64)

    @cached_property
    def figures(self) -> np.ndarray:
        """(W, len(FIGURES)): operators, depth, operations (2 per multiply-add), bytes with every operand moved once, parameters, bytes alive at most."""
        o = self.ops
        sums = self.total(np.column_stack([np.ones(len(o)), o.flops, o.total_bytes, self.params]))
        return np.column_stack([sums[:, 0], self.depth, sums[:, 1:], self.activation_bytes])

    @cached_property
    def kept(self) -> dict[str, np.ndarray]:
        """What was computed of these networks for a machine, by its digest: (W, d) columns."""
        return {}


class NetworkBag:
    """Collects networks one by one, so that none has to be kept whole."""

    def __init__(self) -> None:
        self._place: dict[tuple[object, ...], int] = {}
        self._ops: list[Op] = []
        self._counts: list[Counter[int]] = []
        self._depth: list[int] = []
        self._alive: list[float] = []
        self._extra: list[dict[str, float]] = []

    def add(self, workload: Workload, extra: dict[str, float] | None = None) -> None:
        """One network more; `extra`: figures of its own."""
        counts: Counter[int] = Counter()
        for op in workload.ops:
            key = (op.kind, op.sizes, op.dtype, op.weight_dtype, op.output_dtype, op.params, op.sparsity)
            at = self._place.get(key)
            if at is None:
                at = self._place[key] = len(self._ops)
                self._ops.append(op)
            counts[at] += 1
        self._counts.append(counts)
        level = [1] * len(workload.ops)
        for tensor in sorted(workload.tensors, key=lambda t: t.producer):  # producers before their readers
            if tensor.producer >= 0:
                above = level[tensor.producer] + 1
                for reader in tensor.consumers:
                    if level[reader] < above:
                        level[reader] = above
        self._depth.append(max(level))
        self._alive.append(workload.peak_activation_bytes)
        self._extra.append(extra or {})

    def build(self) -> Networks:
        """All of them, in the order they came."""
        counts = np.zeros((len(self._counts), len(self._ops)), dtype=np.float32)
        for row, found in enumerate(self._counts):
            counts[row, list(found)] = list(found.values())
        names = list(dict.fromkeys(name for row in self._extra for name in row))
        return Networks(OpColumns.from_ops(self._ops), counts, np.array(self._depth, dtype=np.float64), np.array(self._alive), np.array([op.params for op in self._ops], dtype=np.float64),
                        {name: np.array([row.get(name, np.nan) for row in self._extra]) for name in names})


@dataclass(frozen=True)
class NetworkQuestions(FeatureQuestions):
    """n rows of a table of whole networks: a feature table (`frame`: encoding, figures, circumstances, the machine's name) that knows its networks.

    `index` (n,): each row's network. `device_names`, `devices`, `device_index`: the machines as the table names them, None where no catalogue knows one;
    no machines at all where the schema names no hardware. `machine_column`: the column of `frame` that holds their names.
    """

    networks: Networks = field(kw_only=True)
    index: np.ndarray = field(kw_only=True)
    device_names: tuple[str, ...] = field(default=(), kw_only=True)
    devices: tuple[Hardware | None, ...] = field(default=(), kw_only=True)
    device_index: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64), kw_only=True)
    machine_column: str = field(default="", kw_only=True)

    @property
    def strata(self) -> np.ndarray:
        """(n,) names of the machines: a table of networks has few, and each its own noise."""
        return np.array(self.device_names, dtype=object)[self.device_index] if self.device_names else np.full(len(self), "all", dtype=object)

    def take(self, index: np.ndarray) -> NetworkQuestions:
        """The rows `index`; networks and machines stay as they are."""
        rows = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64, copy=False)
        return self.over(self.frame.iloc[rows].reset_index(drop=True), self.index[rows], self.device_names, self.devices, self.device_index[rows] if len(self.device_index) else self.device_index)

    def over(self, frame: pd.DataFrame, index: np.ndarray, names: Sequence[str], devices: Sequence[Hardware | None], device_index: np.ndarray) -> NetworkQuestions:
        """Other rows about the same networks."""
        return NetworkQuestions(frame, networks=self.networks, index=index, device_names=tuple(names), devices=tuple(devices), device_index=device_index, machine_column=self.machine_column)

    def on(self, name: str, device: Hardware | None) -> NetworkQuestions:
        """The same rows on one machine."""
        frame = assigned(self.frame, {self.machine_column: name}) if self.machine_column else self.frame
        return self.over(frame, self.index, (name,), (device,), np.zeros(len(self), dtype=np.int64))
