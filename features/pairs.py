"""From (workload, machine) pairs to aligned rows: every kernel of a workload beside the machine it runs on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..datasets.columns import DeviceColumns, OpColumns
from ..datasets.simulator.kernels import fuse
from ..datasets.table import GraphQuestions
from .bounds import Bounds, op_bounds, rows_of_machine


@dataclass(frozen=True)
class KernelRows:
    """N kernel rows of n pairs. `pair` (N,): which pair a row belongs to, ascending. `weight` (N,): how many equal kernels it stands for."""

    ops: OpColumns
    devices: DeviceColumns
    extra_bytes: np.ndarray
    pair: np.ndarray
    weight: np.ndarray
    bounds: Bounds

    def total(self, values: np.ndarray, n: int) -> np.ndarray:
        """(n,) weighted sums of (N,) values over each pair."""
        return np.bincount(self.pair, weights=values * self.weight, minlength=n)


#: kernel rows that are kept with their questions: models, the guard and explanations ask for the same ones
_KEPT_ROWS = 20_000


def kernel_rows(questions: GraphQuestions, unique: bool, most: int = 100_000) -> Iterator[tuple[np.ndarray, KernelRows]]:
    """Chunks of at most about `most` kernel rows: (numbers of the pairs in the chunk, their rows). `pair` counts from 0 in each chunk.

    `unique`: equal kernels of a workload are one row with a weight; otherwise kernels stand in order, each with weight 1. Few rows are computed once.
    """
    if unique and "_kernel_rows" in questions.__dict__:
        return iter(questions.__dict__["_kernel_rows"])
    counts = np.array([len(g.unique) for g in map(fuse, questions.workloads)], dtype=np.int64)
    if unique and counts[questions.workload_index].sum() <= min(_KEPT_ROWS, most):
        kept = questions.__dict__["_kernel_rows"] = list(_computed(questions, unique, most))
        return iter(kept)
    return _computed(questions, unique, most)


def _computed(questions: GraphQuestions, unique: bool, most: int) -> Iterator[tuple[np.ndarray, KernelRows]]:
    graphs = [fuse(w) for w in questions.workloads]
    kernels = [g.unique if unique else g.kernels for g in graphs]
    weights = [np.bincount(g.inverse, minlength=len(g.unique)).astype(np.float64) if unique else np.ones(len(g.kernels)) for g in graphs]
    sizes = np.array([len(k) for k in kernels], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    ops = OpColumns.concat([k.ops for k in kernels])
    extra = np.concatenate([k.extra_bytes for k in kernels])
    boundary = np.concatenate([k.boundary_bytes for k in kernels])
    weight = np.concatenate(weights)
    per_pair = sizes[questions.workload_index]
    chunk = np.cumsum(per_pair) // most if len(per_pair) else np.array([], dtype=np.int64)
    for c in np.unique(chunk):
        pairs = np.flatnonzero(chunk == c)
        counts = per_pair[pairs]
        pair = np.repeat(np.arange(len(pairs)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        at = starts[questions.workload_index[pairs]][pair] + within
        alone = len(questions) == 1 and len(questions.devices) == 1 and len(ops) == len(at)  # one network on one machine: its kernels as they are
        rows_ops = ops if alone else ops.take(at)
        rows_devices = questions.device_columns.take(questions.device_index[pairs][pair])
        bounds = op_bounds(rows_ops, rows_devices, in_graph=True, extra_bytes=extra[at], boundary_bytes=boundary[at],
                           machines=rows_of_machine(questions.devices[0]).take(rows_ops.dtype) if alone else None)
        yield pairs, KernelRows(rows_ops, rows_devices, extra[at], pair, weight[at], bounds)
