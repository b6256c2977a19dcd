"""Where a workload lives on a machine of several memories, and what that costs: weights in flash and activations in SRAM (microcontrollers), weights
beyond the main memory (flash behind an NPU, DDR behind HBM), everything on the chip (wafer-scale), weights that are wires.

    home = placement(workload.weight_bytes, workload.peak_activation_bytes, hardware)
    home.infeasible            # "sram overflows by 1,024 bytes: activations need ..." or ""
    home.streamed_s            # seconds a run waits for what streams in from behind, at least

A level of memory says which operands it `serves`; the outermost one that serves an operand is that operand's home. A level named "hardwired" that serves
weights holds them in the wiring: they cost no traffic. `backing` levels hold what the weights' home cannot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ..dram import dram_j_per_byte
from ..errors import InputError
from ..hardware import Hardware, MemoryLevel
from ..workload import Workload
from . import technology as tech
from .kernels import Kernels

#: the level whose weights are wires
HARDWIRED = "hardwired"


@dataclass(frozen=True)
class Placement:
    """Where weights and activations live. Bytes; bandwidths in bytes per second.

    `backed_bytes`: weights held by each backing level, nearest first; they come through every nearer level's link at each run. `infeasible` names the
    level that overflows and by how much ("" when all fits).
    """

    weights: str
    activations: str
    backed_bytes: tuple[float, ...] = ()
    backing: tuple[MemoryLevel, ...] = ()
    infeasible: str = ""

    @property
    def hardwired(self) -> bool:
        """Whether weights are wires, which nothing reads."""
        return self.weights == HARDWIRED

    @property
    def streamed_bytes(self) -> float:
        """Weights that must come from behind at each run."""
        return float(sum(self.backed_bytes))

    @property
    def streamed_s(self) -> float:
        """Seconds the slowest link from behind is busy at each run: what lives farther out passes through the nearer links too."""
        carried, slowest = 0.0, 0.0
        for held, level in zip(reversed(self.backed_bytes), reversed(self.backing), strict=True):
            carried += held
            slowest = max(slowest, carried / _bandwidth(level))
        return slowest

    @property
    def streamed_j(self) -> float:
        """Joules of that: every link passed is one read at its level's energy; where none is published, that of the memory technology in its name (DDR for others,
        flash among them: assumption)."""
        carried, total = 0.0, 0.0
        for held, level in zip(reversed(self.backed_bytes), reversed(self.backing), strict=True):
            carried += held
            total += carried * (level.read_j_per_byte if level.read_j_per_byte is not None else dram_j_per_byte(level.name))
        return total


def placement(weight_bytes: float, activation_bytes: float, hardware: Hardware) -> Placement:
    """Where so many bytes of weights and (peak) activations live on the machine.

    Activations never leave the machine's own memory; weights that do not fit beside them move to the backing levels, nearest first.
    """
    if any(level.name == HARDWIRED and level.serves == ("weights",) for level in hardware.memory):
        wires = next(level for level in hardware.memory if level.name == HARDWIRED)
        said = [] if weight_bytes <= wires.capacity_bytes else [_overflow(HARDWIRED, "weights", weight_bytes, wires.capacity_bytes)]
        home = _home(hardware, "outputs")
        said += [] if activation_bytes <= home.capacity_bytes else [_overflow(home.name, "activations", activation_bytes, home.capacity_bytes)]
        return Placement(HARDWIRED, home.name, infeasible="; ".join(said))
    w, a = _home(hardware, "weights"), _home(hardware, "outputs")
    said = []
    if w is not a and activation_bytes > a.capacity_bytes:
        said.append(_overflow(a.name, "activations", activation_bytes, a.capacity_bytes))
    room = w.capacity_bytes - (activation_bytes if w is a else 0.0)
    rest = max(weight_bytes - max(room, 0.0), 0.0)
    backed = []
    for level in hardware.backing:
        backed.append(min(rest, level.capacity_bytes))
        rest -= backed[-1]
    if w is a and (room < 0.0 or rest > 0.0):
        if hardware.backing and room >= 0.0:
            behind = " and ".join(level.name for level in hardware.backing)
            said.append(f"memory overflows by {rest:,.0f} bytes: weights need {weight_bytes:,.0f}, which {w.name} beside {activation_bytes:,.0f} of activations and {behind} cannot hold")
        else:
            said.append(f"memory overflows: needs {weight_bytes + activation_bytes:,.0f} bytes of {w.capacity_bytes:,.0f}")
    elif rest > 0.0:
        said.append(_overflow(w.name, "weights", weight_bytes, w.capacity_bytes + sum(level.capacity_bytes for level in hardware.backing)))
    return Placement(w.name, a.name, tuple(backed), hardware.backing, "; ".join(said))


def streamed_latency_s(latency_s: float, home: Placement) -> float:
    """Seconds of a run whose weights stream in beside the work: the longer of the two (the next layer's weights come while this one computes)."""
    return max(latency_s, home.streamed_s)


def without_weight_traffic(kernels: Kernels) -> Kernels:
    """The kernels of a machine whose weights are wires: parameters cost no bytes; keys, values and other activations still do."""
    ops = kernels.ops
    kept = np.where(ops.param_bytes > 0.0, 0.0, ops.weight_bytes)
    return replace(kernels, ops=replace(ops, weight_bytes=kept))


def switch_s(weight_bytes: float, hardware: Hardware, source: int = 0) -> float:
    """Seconds to bring another model's weights from backing level `source` into the machine's memory: through the slowest link on the way.

    Raises InputError when the machine has no such backing level.
    """
    if not 0 <= source < len(hardware.backing):
        names = ", ".join(level.name for level in hardware.backing) or "none"
        raise InputError(f"switch_s: {hardware.key!r} has the backing levels {names}; expected one number {source}; give the machine a `backing` level")
    links = [_bandwidth(level) for level in hardware.backing[: source + 1]]
    into = hardware.dram.write_bandwidth_bytes_per_s or hardware.dram_bandwidth
    return weight_bytes / min(*links, into)


def switching_share(switch: float, run: float, miss_rate: float = 1.0) -> float:
    """Share of the time lost to switching when a request runs for `run` seconds and in `miss_rate` of cases finds its model not loaded."""
    lost = switch * miss_rate
    return lost / (lost + run) if lost + run > 0.0 else 0.0


def fused_s(workload: Workload, hardware: Hardware) -> float:
    """Seconds of the workload as one streaming pipeline: every operator has processors of its own, activations flow between them on the chip, only weights
    and the graph's own inputs and outputs come from memory, and there is one launch (Prabhakar et al., MICRO 2024, section 3).

    Processors are given out in proportion to work, so arithmetic takes the sum of the operators' times on the whole machine.
    """
    ops = workload.columns
    matrix = sum(f / (hardware.rate(op.dtype) * tech.MATRIX_EFFICIENCY) for op, f in zip(workload.ops, ops.matrix_flops, strict=True))
    vector = sum(f / hardware.rate(op.dtype, matrix=False) for op, f in zip(workload.ops, ops.vector_flops, strict=True))
    border = sum(t.bytes for t in workload.tensors if t.producer < 0 or not t.consumers)
    # second operands that are no parameters (keys, values) flow on the chip, or are graph inputs (a cache) and counted as such
    moved = 0.0 if placement(workload.weight_bytes, 0.0, hardware).hardwired else float(ops.weight_bytes[ops.param_bytes > 0.0].sum())
    launch = hardware.launch_overhead_s if hardware.launch_overhead_s is not None else tech.LAUNCH_S[hardware.kind]
    return max(float(matrix + vector), (moved + border) / (hardware.dram_bandwidth * tech.DRAM_EFFICIENCY)) + launch


def _home(hardware: Hardware, operand: str) -> MemoryLevel:
    """The outermost level that serves an operand; the outermost of all where none says it does."""
    return next((level for level in reversed(hardware.memory) if not level.serves or operand in level.serves), hardware.dram)


def _overflow(level: str, what: str, need: float, have: float) -> str:
    return f"{level} overflows by {need - have:,.0f} bytes: {what} need {need:,.0f} of {have:,.0f}"


def _bandwidth(level: MemoryLevel) -> float:
    return level.bandwidth_bytes_per_s if level.bandwidth_bytes_per_s is not None else math.inf
