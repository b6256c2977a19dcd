"""Estimates for machines that are not throughput machines: spatial arrays and FPGA fabrics. Row-aligned, like `bounds`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..datasets.columns import DeviceColumns, OpColumns
from ..datasets.hardware import DATAFLOWS
from ..datasets.ops import KIND_CODES
from ..datasets.simulator import technology as tech
from ..datasets.simulator.fpga import BRAM_PORT_BITS, DSP_FROM_BITS, FABRIC_BITS, luts_per_multiplier
from ..datasets.simulator.spatial import flow_work


@dataclass(frozen=True)
class ArrayEstimate:
    """(n,) seconds on the array, DRAM bytes and scratchpad bytes; zero where the machine has no array or the op no matrix work."""

    compute_s: np.ndarray
    dram_bytes: np.ndarray
    sram_bytes: np.ndarray


def array_estimate(ops: OpColumns, devices: DeviceColumns, resident: np.ndarray, extra_bytes: np.ndarray | float) -> ArrayEstimate:
    """The array's own cycles under its dataflow, and the traffic of the simplest blocking: one operand is cut until its piece fits a quarter of
    the scratchpad, the other streams once per piece."""
    zero = np.zeros(len(ops))
    out = ArrayEstimate(zero, zero.copy(), zero.copy())
    at = np.flatnonzero((devices.dataflow >= 0) & (ops.matrix_flops > 0))
    if not len(at):
        return out
    o, d, keep = ops.take(at), devices.take(at), 1.0 - resident[at]
    extra = np.broadcast_to(extra_bytes, (len(ops),))[at]
    attention, recurrent = o.kind == KIND_CODES["attention"], o.kind == KIND_CODES["recurrent"]
    b = np.where(recurrent, 1.0, np.maximum(o.b, 1.0))

    def on_array(m: np.ndarray, n: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cycles, moved = flow_work(np.where(recurrent, 1.0, o.b), m, n, k, o.window, d.array_rows, d.array_cols, d.array_count)
        mine = [d.dataflow == DATAFLOWS.index(f) for f in cycles]
        return np.select(mine, list(cycles.values())) * np.where(recurrent, o.b, 1.0), np.select(mine, [moved[f] for f in cycles]) * np.where(recurrent, o.b, 1.0)

    cycles, moved = on_array(o.m, o.n, o.k)
    second, moved2 = on_array(o.m, o.k, o.n)
    seen = o.matrix_flops / np.maximum(4.0 * o.b * o.m * o.n * o.k, 1.0)  # share of pairs attended
    cycles, moved = np.where(attention, (cycles + second) * seen, cycles), np.where(attention, (moved + moved2) * seen, moved)
    scratch = np.where(np.isfinite(d.cache_bytes), d.cache_bytes, 1e6)
    a, w, result = o.input_bytes / b, o.weight_bytes / b, o.output_bytes / b
    quarter = scratch / 4.0
    fits = a + w + result <= scratch / 2.0
    stream_a = keep * a * _cuts(w / quarter, o.n) + w
    stream_w = keep * a + w * _cuts(a / quarter, o.m)
    # or a block of outputs stays, 4 bytes each in 90 % of half the scratchpad, its sides chosen so that both streams cost the same
    room = np.maximum(0.45 * scratch / 4.0, 1.0)
    tall = np.clip(np.sqrt(room * (w * o.m) / np.maximum(a * o.n, 1.0)), 1.0, np.maximum(o.m, 1.0))
    wide = np.clip(room / tall, 1.0, np.maximum(o.n, 1.0))
    tall = np.clip(room / wide, 1.0, np.maximum(o.m, 1.0))
    stream_both = keep * a * _cuts(o.n / wide, o.n) + w * _cuts(o.m / tall, o.m)
    dram = b * (np.where(fits, keep * a + w, np.minimum(np.minimum(stream_a, stream_w), stream_both)) + keep * result) + keep * extra
    block = np.clip(np.floor(scratch / 2.0 / (4.0 * o.n + o.input_bytes / np.maximum(o.b * o.m, 1.0))), 1.0, np.maximum(o.m, 1.0))
    passes = np.where(o.weight_bytes <= scratch / 2.0, 1.0, np.ceil(o.m / block))
    dram = np.where(attention, keep * (o.input_bytes + o.output_bytes + extra) + o.weight_bytes * passes, dram)
    element = np.clip((o.input_bytes + o.weight_bytes) / np.maximum(o.b * o.k * (o.m / np.maximum(o.window, 1.0) + o.n), 1.0), 0.5, 8.0)
    element = np.where(attention, o.input_bytes / np.maximum(o.b * o.m * o.k, 1.0), element)
    out.compute_s[at], out.dram_bytes[at], out.sram_bytes[at] = cycles / d.clock_hz, dram, moved * element
    return out


def _cuts(pieces: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Pieces rounded up to a power of two, at most one per element: how a mapping search cuts."""
    return np.minimum(2.0 ** np.ceil(np.log2(np.maximum(pieces, 1.0)) - 1e-9), np.maximum(most, 1.0))


def fabric_seconds(ops: OpColumns, devices: DeviceColumns) -> np.ndarray:
    """(n,) seconds an op takes when it has all multipliers of the fabric: as many as DSP slices, look-up tables and memory ports allow."""
    bits = FABRIC_BITS[ops.dtype]
    wide, luts = bits >= DSP_FROM_BITS, luts_per_multiplier(bits)
    multipliers = np.minimum(np.where(wide, devices.dsp, np.inf), np.minimum(devices.lut / luts, devices.ff / (luts + np.where(wide, 32.0, 0.0))))
    multipliers = np.where(np.isfinite(devices.dsp), np.minimum(multipliers, devices.bram_18k * 2.0 * BRAM_PORT_BITS / bits), 1.0)
    return np.maximum(ops.matrix_flops / 2.0 / np.maximum(multipliers, 1.0), 4.0) / devices.clock_hz


def fabric_dynamic_j(ops: OpColumns, mac_j: np.ndarray, local_j: np.ndarray) -> np.ndarray:
    """(n,) J: ASIC arithmetic times the FPGA's factor, and every operand once through on-chip memory."""
    return (ops.matrix_flops + ops.vector_flops) / 2.0 * mac_j * tech.FPGA_OVER_ASIC_POWER + ops.total_bytes * local_j
