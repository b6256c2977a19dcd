"""FPGA dataflow in the manner of hls4ml: every layer is a hardware block of its own, weights on chip, inputs streamed through.

`design` builds the one design a plan describes (reuse factor, strategy, io, precision, clock); `fpga_design`, which `simulate` calls, searches the
reuse factors for the smallest initiation interval whose blocks fit the fabric together. What one block costs is in `fpga_blocks`.

Floating-point networks are taken as 16-bit fixed point, hls4ml's default precision, products and sums alike; integers keep their width and
accumulate without loss. A design that does not fit names each resource that overflows, with what it needs and what there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..hardware import Fabric, Hardware
from ..ops import KIND_CODES, KIND_NAMES
from ..workload import Workload
from . import technology as tech
from .fpga_blocks import (
    BRAM_BITS,
    BRAM_PORT_BITS,
    DSP_FROM_BITS,
    FABRIC_BITS,
    FABRIC_DTYPE,
    UNROLL_LIMIT,
    URAM_BITS,
    BlockCosts,
    Blocks,
    block_costs,
    luts_per_multiplier,
    valid_reuse,
)
from .kernels import Kernels, fuse
from .machine import Machines

__all__ = ["BRAM_PORT_BITS", "DSP_FROM_BITS", "FABRIC_BITS", "FABRIC_DTYPE", "STRATEGIES", "FpgaDesign", "FpgaPlan", "design", "fpga_design", "luts_per_multiplier"]

#: operators with a dataflow block; any other kind is infeasible and named
SUPPORTED = frozenset({"gemm", "conv", "recurrent", "elementwise", "norm", "softmax", "reduce", "pool", "move"})
STRATEGIES = ("latency", "resource")
#: reuse plans tried by the search
_SEARCHED = 128
#: activations of more bytes are streamed by the search (assumption: hls4ml advises io_parallel for small networks only)
_WIDEST_PARALLEL_BYTES = 4096.0
RESOURCES = ("lut", "ff", "dsp", "bram_18k")

Bits = int | tuple[int, ...]


@dataclass(frozen=True)
class FpgaPlan:
    """The settings of one design; a tuple gives a value per kernel (an op and the epilogues fused into it, in order), one number serves all.

    reuse: multiplications that share a multiplier. strategy, io: hls4ml's. weight_bits, data_bits, sum_bits: precision of weights, activations and
    accumulators, None for what the ops' dtypes say. clock_hz: None for the machine's. weight_limit: the largest |weight| where it is known (weights
    uniform within it, as at Glorot's initialisation), so that constants in logic can be counted; None counts every product as a general one.
    integer_bits: bits of a weight before the point, sign included. Raises InputError naming the impossible setting.
    """

    reuse: Bits = 1
    strategy: str | tuple[str, ...] = "latency"
    io: str = "parallel"
    weight_bits: Bits | None = None
    data_bits: Bits | None = None
    sum_bits: Bits | None = None
    clock_hz: float | None = None
    weight_limit: float | None = None
    integer_bits: int = 1

    def __post_init__(self) -> None:
        strategies = self.strategy if isinstance(self.strategy, tuple) else (self.strategy,)
        for name, value, known in (*(("strategy", given, STRATEGIES) for given in strategies), ("io", self.io, ("parallel", "stream"))):
            if value not in known:
                raise InputError(f"FPGA plan: {name}: expected {' or '.join(known)}, got {value!r}")
        for name, most in (("reuse", 2**62), ("weight_bits", 64), ("data_bits", 64), ("sum_bits", 128)):
            given = getattr(self, name)
            for value in given if isinstance(given, tuple) else (given,):
                if not (value is None and name != "reuse") and (not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most):
                    raise InputError(f"FPGA plan: {name}: expected whole numbers from 1 to {most if most < 2**62 else '2**62'}, got {value!r}")
        for name, figure in (("clock_hz", self.clock_hz), ("weight_limit", self.weight_limit)):
            if figure is not None and not (np.isfinite(figure) and figure > 0):
                raise InputError(f"FPGA plan: {name}: expected a finite number > 0, got {figure!r}")


@dataclass(frozen=True)
class FpgaDesign:
    """A graph on one fabric: cycles, resources, or the reason why it does not fit (the figures are then those that did not)."""

    latency_cycles: float
    interval_cycles: float
    lut: float
    ff: float
    dsp: float
    bram_18k: float
    uram: float
    reuse: np.ndarray        # (n,) reuse factor of each kernel
    cycles: np.ndarray       # (n,) cycles each kernel is busy
    dynamic_j: np.ndarray    # (n,)
    unrolled: float          # most products side by side in one block, which hls4ml limits
    infeasible: str = ""


def design(workload: Workload, hardware: Hardware, plan: FpgaPlan | None = None) -> FpgaDesign:
    """The design of `plan` (None: the defaults of FpgaPlan) for a workload on an FPGA; nothing is searched.

    Raises InputError for a machine without a fabric or a plan with another number of kernels.
    """
    if hardware.fabric is None:
        raise InputError(f"design: expected an FPGA, got {hardware.key!r} of kind {hardware.kind}, which has no fabric")
    plan = plan or FpgaPlan()
    graph = fuse(workload)
    kernels, machines = graph.kernels, Machines.of([hardware])
    names = [workload.ops[int(np.argmax(graph.kernel_of == i))].name for i in range(len(kernels))]
    blocks = _blocks(kernels, plan, plan.io == "stream")
    reuse = _spread("reuse", plan.reuse, len(kernels))
    if isinstance(plan.strategy, tuple) and len(plan.strategy) != len(kernels):
        raise InputError(f"FPGA plan: strategy: expected one or {len(kernels)}, one per kernel, got {len(plan.strategy)}")
    logic = np.full(len(kernels), plan.strategy == "latency") if isinstance(plan.strategy, str) else np.array(plan.strategy) == "latency"
    costs = block_costs(blocks, reuse, logic, plan.io == "stream", plan.clock_hz or hardware.clock_hz)
    need, uram = _totals(costs, hardware.fabric)
    wrong = _unsupported(kernels) or _too_unrolled(costs, names) or _overflow(need, hardware.fabric)
    return _design(blocks, costs, need, float(uram), np.clip(reuse, 1.0, blocks.products), _dynamic(kernels, machines, 0), wrong)


def fpga_design(kernels: Kernels, machines: Machines, index: int) -> FpgaDesign:
    """The fastest design of the kernels that fits machine `index`: reuse factors among those hls4ml accepts, one target interval for all."""
    d = machines.figures
    fabric = Fabric(**{name: int(getattr(d, name)[index]) for name in RESOURCES}, uram=int(np.nan_to_num(d.uram[index])))
    # what has several positions is streamed; a network of vectors passes from block to block whole
    stream = bool(((kernels.ops.matrix_flops > 0) & (kernels.ops.m > 1) & (kernels.ops.kind != KIND_CODES["recurrent"])).any()
                  or kernels.ops.output_bytes.max() > _WIDEST_PARALLEL_BYTES)
    blocks = _blocks(kernels, FpgaPlan(), stream)
    products = blocks.products
    intervals = np.unique(np.round(np.geomspace(blocks.positions.max(), max(float((blocks.positions * products).max()), float(blocks.positions.max()) + 1.0), _SEARCHED)))
    reuse = np.ones((len(intervals), len(kernels)))
    for i in np.flatnonzero(blocks.matrix):
        allowed = valid_reuse(int(blocks.inputs[i]), int(blocks.outputs[i]))
        reuse[:, i] = allowed[np.clip(np.searchsorted(allowed, intervals / blocks.positions[i], side="right") - 1, 0, None)]
    costs = block_costs(blocks, reuse, np.zeros(len(kernels), dtype=bool), stream, float(d.clock_hz[index]))
    need, uram = _totals(costs, fabric)
    have = np.array([getattr(fabric, name) for name in RESOURCES])
    fits = (need <= have).all(-1) & (costs.unrolled < UNROLL_LIMIT).all(-1)
    at = int(np.argmax(fits)) if fits.any() else int(np.argmin((need / have).max(-1) + 1e6 * (costs.unrolled >= UNROLL_LIMIT).any(-1)))
    chosen = BlockCosts(*(getattr(costs, name)[at] for name in BlockCosts.__dataclass_fields__))
    wrong = _unsupported(kernels)
    if not wrong and not fits.any():
        wrong = f"{_overflow(need[at], fabric)} even at the reuse that comes nearest"
    return _design(blocks, chosen, need[at], float(uram[at]), reuse[at], _dynamic(kernels, machines, index), wrong)


def _design(blocks: Blocks, costs: BlockCosts, need: np.ndarray, uram: float, reuse: np.ndarray, dynamic: np.ndarray, wrong: str) -> FpgaDesign:
    # every block hands on its first position after `first` cycles; the slowest then works through its other positions. The last register is the
    # caller's, so a design is one cycle shorter than its blocks, but one clock edge there is.
    step = costs.busy / blocks.positions
    latency = float(costs.first.sum() + (costs.busy - step).max() - 1.0)
    lut, ff, dsp, bram = (float(np.ceil(x)) for x in need)
    return FpgaDesign(max(latency, 1.0), float(costs.busy.max()), lut, ff, dsp, bram, float(np.ceil(uram)), reuse, costs.busy, dynamic, float(costs.unrolled.max()), wrong)


def _blocks(kernels: Kernels, plan: FpgaPlan, stream: bool) -> Blocks:
    ops, count = kernels.ops, len(kernels)
    data = FABRIC_BITS[ops.dtype] if plan.data_bits is None else _spread("data_bits", plan.data_bits, count)
    weight = FABRIC_BITS[ops.weight_dtype] if plan.weight_bits is None else _spread("weight_bits", plan.weight_bits, count)
    exact = data + weight + np.ceil(np.log2(np.maximum(ops.k, 1.0)))
    sums = np.where(np.maximum(data, weight) >= 16.0, np.maximum(data, weight), exact) if plan.sum_bits is None else _spread("sum_bits", plan.sum_bits, count)
    return Blocks.of(ops, weight, data, sums, stream, plan.weight_limit or 0.0, plan.integer_bits)


def _spread(name: str, given: Bits, count: int) -> np.ndarray:
    if isinstance(given, tuple) and len(given) != count:
        raise InputError(f"FPGA plan: {name}: expected one number or {count}, one per kernel, got {len(given)}")
    return np.full(count, float(given)) if isinstance(given, int) else np.array(given, dtype=np.float64)


def _totals(costs: BlockCosts, fabric: Fabric) -> tuple[np.ndarray, np.ndarray]:
    """((..., 4) resources in order of RESOURCES, (...) UltraRAMs): what block RAM cannot hold goes to UltraRAM while there is any."""
    lut, ff, dsp, bram = (np.asarray(getattr(costs, name).sum(-1)) for name in RESOURCES)
    uram = np.minimum(np.ceil(np.maximum(bram - fabric.bram_18k, 0.0) * BRAM_BITS / URAM_BITS), float(fabric.uram))
    return np.stack([lut, ff, dsp, np.maximum(bram - uram * URAM_BITS / BRAM_BITS, 0.0)], axis=-1), uram


def _overflow(need: np.ndarray, fabric: Fabric) -> str:
    over = [(name, n, getattr(fabric, name)) for name, n in zip(RESOURCES, need, strict=True) if n > getattr(fabric, name)]
    return "; ".join(f"{name} overflows: needs {n:,.0f} of {have:,.0f}" for name, n, have in sorted(over, key=lambda o: -o[1] / o[2]))


def _unsupported(kernels: Kernels) -> str:
    bad = sorted({KIND_NAMES[k] for k in kernels.ops.kind} - SUPPORTED)
    return f"no dataflow block for {', '.join(bad)}" if bad else ""


def _too_unrolled(costs: BlockCosts, names: Sequence[str]) -> str:
    worst = int(np.argmax(costs.unrolled))
    if costs.unrolled[worst] < UNROLL_LIMIT:
        return ""
    return f"{names[worst]}: {costs.unrolled[worst]:,.0f} products side by side, hls4ml unrolls fewer than {UNROLL_LIMIT:,.0f}: raise the reuse factor in the resource strategy"


def _dynamic(kernels: Kernels, machines: Machines, index: int) -> np.ndarray:
    ops = kernels.ops
    mac = machines.mac_j[index, FABRIC_DTYPE[ops.dtype]] * tech.FPGA_OVER_ASIC_POWER
    return (ops.matrix_flops + ops.vector_flops) / 2.0 * mac + ops.total_bytes * machines.local_j[index]
