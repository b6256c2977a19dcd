"""Layers of a chain side by side on one array: what is gained over one after another, and what a dataflow chosen layer by layer gains over one.

Consecutive layers share the array by columns, in proportion to their work, and pass tiles of the tensor between them through the scratchpad
(Garg et al., "PipeOrgan", 2024): the slowest layer sets the pace, the tensors between never leave the chip, and a pipe fills once. Which layers stand
together, and how finely the tensors are cut, is searched; one layer at a time is among the choices, so a plan is never slower than that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..columns import OpColumns
from ..errors import InputError
from ..hardware import DATAFLOWS, Hardware
from . import technology as tech
from .array_pace import pace
from .kernels import RESIDENT_SHARE
from .machine import Machines
from .spatial import flow_work

#: tiles that the tensors between layers may be cut into
TILES = 2.0 ** np.arange(10)


@dataclass(frozen=True)
class PipelinePlan:
    """A chain on an array. `segments`: (first, one past the last) layer of each group that runs together; `tiles` of each. Seconds and bytes of DRAM of the plan and of
    running layer by layer."""

    segments: tuple[tuple[int, int], ...]
    tiles: tuple[int, ...]
    latency_s: float
    dram_bytes: float
    layerwise_latency_s: float
    layerwise_dram_bytes: float

    @property
    def speedup(self) -> float:
        """Layer by layer over pipelined."""
        return self.layerwise_latency_s / self.latency_s


def pipeline(chain: OpColumns, hardware: Hardware, depth: int = 4, objective: str = "latency") -> PipelinePlan:
    """The best plan for a chain of matrix ops, each reading what the one before wrote; at most `depth` layers together.

    Objective latency, or "traffic": least DRAM bytes, then latency. Times are without launches. Raises InputError for a machine without an array, an empty chain or a depth below 1.
    """
    if hardware.array is None:
        raise InputError(f"pipeline: hardware {hardware.key!r}: expected a spatial array, got none")
    if not len(chain) or depth < 1:
        raise InputError(f"pipeline: expected at least one layer and a depth of at least 1, got {len(chain)} and {depth}")
    if objective not in ("latency", "traffic"):
        raise InputError(f"pipeline: objective: expected latency or traffic, got {objective!r}")
    machines = Machines.of([hardware])
    count = len(chain)
    resident = chain.input_bytes + chain.output_bytes <= RESIDENT_SHARE * machines.cache_bytes[0]
    found: dict[tuple[int, int], tuple[float, float, int]] = {}
    for together in range(1, min(depth, count) + 1):
        seconds, moved, tiles = _segments(chain, machines, together, resident)
        for start in range(len(seconds)):
            if np.isfinite(seconds[start]):
                found[start, start + together] = (float(seconds[start]), float(moved[start]), int(tiles[start]))
    best: list[tuple[tuple[float, float], tuple[int, ...]]] = [((0.0, 0.0), ())]
    for stop in range(1, count + 1):
        choices = []
        for start in range(max(0, stop - depth), stop):
            if (start, stop) in found:
                took, sent, _ = found[start, stop]
                cost = (took, sent) if objective == "latency" else (sent, took)
                before = best[start]
                choices.append(((before[0][0] + cost[0], before[0][1] + cost[1]), (*before[1], start)))
        best.append(min(choices))
    starts = best[count][1]
    segments = tuple(zip(starts, (*starts[1:], count), strict=True))
    return PipelinePlan(segments, tuple(found[s][2] for s in segments), sum(found[s][0] for s in segments), sum(found[s][1] for s in segments),
                        sum(found[i, i + 1][0] for i in range(count)), sum(found[i, i + 1][1] for i in range(count)))


def _segments(chain: OpColumns, machines: Machines, together: int, resident: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(s,) seconds, bytes and tiles of every run of `together` consecutive layers, inf where it does not fit. s = layers - together + 1."""
    d, levels = machines.figures, machines.arrays[0]
    at = np.arange(len(chain) - together + 1)[:, None] + np.arange(together)              # (s, together)
    rows, cols, count = d.array_rows[0], d.array_cols[0], d.array_count
    work = np.maximum(chain.matrix_flops, 1.0)[at]
    columns = np.maximum(np.floor(cols * work / work.sum(1, keepdims=True)), 1.0)
    columns[np.arange(len(at)), work.argmax(1)] += cols - columns.sum(1)                  # what rounding leaves goes to the largest
    fits = columns.min(1) >= 1.0
    flow = DATAFLOWS[d.dataflow[0]]
    tiles = TILES[:1] if together == 1 else TILES
    b, m, n, k, window = (np.maximum(x, 1.0)[at][..., None] for x in (chain.b, chain.m, chain.n, chain.k, chain.window))
    whole = np.ceil(m / tiles)                                                            # (s, together, tiles)
    cycles = flow_work(b, whole, n, k, window, rows, np.maximum(columns, 1.0)[..., None], count)[0][flow]
    cycles = np.broadcast_to(cycles, (*at.shape, len(tiles))) * pace(chain, levels)[at][..., None]
    useful = (tiles <= m).all(1)                                                          # (s, tiles): no tile is empty
    # a pipe: the slowest layer's tiles one after another, and one tile of every other layer to fill and drain
    steps = tiles * cycles.max(1) + cycles.sum(1) - cycles.max(1)
    first, last = at[:, 0], at[:, -1]
    stays = np.r_[False, resident[:-1] & resident[1:], False]                             # the tensor before each layer, and after the last
    outside = np.where(stays[first], 0.0, chain.input_bytes[first]) + np.where(stays[last + 1], 0.0, chain.output_bytes[last])
    moved = outside + chain.weight_bytes[at].sum(1)
    held = chain.weight_bytes[at].sum(1)[:, None] + 2.0 * (chain.input_bytes[at].sum(1) + chain.output_bytes[last])[:, None] / tiles
    room = (held <= machines.cache_bytes[0]) if together > 1 else np.ones((len(at), 1), dtype=bool)
    seconds = np.maximum(steps / d.clock_hz, (moved / (d.dram_bandwidth * tech.DRAM_EFFICIENCY))[:, None])
    seconds = np.where(room & useful & fits[:, None], seconds, np.inf) if together > 1 else seconds
    best = seconds.argmin(1)
    return seconds[np.arange(len(at)), best], moved, tiles[best]


@dataclass(frozen=True)
class DataflowChoice:
    """(n,) of n layers: the fastest dataflow of each, its cycles, and the cycles of every fixed one."""

    dataflow: tuple[str, ...]
    cycles: np.ndarray
    fixed: dict[str, np.ndarray]

    @property
    def speedup(self) -> float:
        """The best single dataflow for all layers over the best for each (as flexible arrays choose, such as FEATHER, Tong et al., ISCA 2024)."""
        return float(min(c.sum() for c in self.fixed.values()) / self.cycles.sum())


def dataflow_choice(ops: OpColumns, hardware: Hardware, flows: tuple[str, ...] = ("ws", "os", "is")) -> DataflowChoice:
    """What each layer gains from a dataflow of its own, on the array's cycles alone; `flows` it may take. Raises InputError for a machine without an array."""
    if hardware.array is None:
        raise InputError(f"dataflow_choice: hardware {hardware.key!r}: expected a spatial array, got none")
    a = hardware.array
    cycles = flow_work(ops.b, ops.m, ops.n, ops.k, ops.window, np.array(float(a.rows)), np.array(float(a.cols)), np.array(float(a.count)))[0]
    fixed = {f: np.broadcast_to(cycles[f], (len(ops),)) for f in flows}
    table = np.array(list(fixed.values()))
    return DataflowChoice(tuple(flows[i] for i in table.argmin(0)), table.min(0), fixed)
