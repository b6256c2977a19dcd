"""Analytic bounds: what physics says before anything is learned. Row-aligned: n operators, each with its own machine.

`bound_s` is the speed of light (arithmetic at the peak rate, or every operand once at the DRAM data-sheet rate); no answer may
beat it. `estimate_s` adds what is cheap to know without searching mappings (`kernel_bounds`): tile and wave quantisation for a handful of canonical
tiles, sustained instead of peak bandwidth, cache residency, pipeline fill, the power limit. Surrogates learn the ratio of the truth to the estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..datasets.columns import DeviceColumns, OpColumns, element_bytes, work_left
from ..datasets.dtypes import DTYPE_NAMES
from ..datasets.hardware import KINDS, Hardware
from ..datasets.ops import KIND_CODES
from ..datasets.simulator import technology as tech
from ..datasets.simulator.fpga import FABRIC_DTYPE
from ..datasets.simulator.kernels import RESIDENT_SHARE
from ..datasets.simulator.power import power_capped
from .array_bounds import array_estimate, fabric_dynamic_j, fabric_seconds
from .kernel_bounds import CANONICAL_TILES, kernel_estimate
from .machine_rows import TYPICAL, MachineRows

__all__ = ["CANONICAL_TILES", "TYPICAL", "Bounds", "op_bounds"]

#: (kinds,) whether a kind code is work for matrix units
_MATRIX = np.isin(np.arange(len(KIND_CODES)), [KIND_CODES[k] for k in ("gemm", "conv", "attention", "recurrent", "grouped_gemm", "deform_conv")])


@dataclass(frozen=True)
class Bounds:
    """(n,) arrays, seconds and joules, for n operators each on its machine; launch overhead apart."""

    compute_s: np.ndarray       # arithmetic at peak rate
    dram_s: np.ndarray          # every operand once at the data-sheet bandwidth
    vector_s: np.ndarray        # the part only vector units can do
    bound_s: np.ndarray         # the speed of light
    tiles_s: np.ndarray         # (n, tiles) arithmetic under each canonical tile, waves included
    cache_s: np.ndarray         # operands of the best canonical tile through the last cache
    estimate_s: np.ndarray      # best canonical mapping, power limit applied
    uncapped_s: np.ndarray      # the same without the power limit
    launch_s: np.ndarray
    dynamic_j: np.ndarray       # energy of the estimate, static power apart
    static_w: np.ndarray
    limit_w: np.ndarray
    waves: np.ndarray           # tiles of 128 x 128 per processor
    resident: np.ndarray        # share of the activations that stays in the last cache


def computed_dtype(devices: DeviceColumns, dtype: np.ndarray) -> np.ndarray:
    """(n,) codes of the formats that n machines compute the formats `dtype` (n,) in."""
    return np.where(np.isfinite(devices.dsp), FABRIC_DTYPE[dtype], dtype).astype(np.int64)


@lru_cache(maxsize=4096)
def rows_of_machine(device: Hardware) -> MachineRows:
    """One machine as `MachineRows`, a row for each number format; for reading only."""
    dtype = np.arange(len(DTYPE_NAMES))
    rows = DeviceColumns.from_devices([device]).take(np.zeros(len(dtype), dtype=np.int64))
    return MachineRows.of(rows, dtype, element_bytes(dtype), computed_dtype(rows, dtype))


def op_bounds(ops: OpColumns, devices: DeviceColumns, in_graph: bool, extra_bytes: np.ndarray | float = 0.0,
              boundary_bytes: np.ndarray | float = 0.0, machines: MachineRows | None = None) -> Bounds:
    """Bounds of n operators on n machines (row i of each belong together).

    `in_graph`: activations that fit in the last cache need not travel to DRAM. `extra_bytes`: operands of fused epilogues.
    `boundary_bytes`: graph inputs and outputs among the activations, which travel all the same. `machines`: the same devices as `MachineRows`, where they are at hand.
    """
    is_array, is_fabric = devices.dataflow >= 0, np.isfinite(devices.dsp)
    d = machines if machines is not None else MachineRows.of(devices, ops.dtype, element_bytes(ops.dtype), computed_dtype(devices, ops.dtype))
    matrix = _MATRIX[ops.kind]
    out = ops.output_bytes + extra_bytes
    live = ops.input_bytes + out
    # where the outermost memory keeps weights alone, all of the level before it holds activations
    room = np.where(devices.weights_apart > 0, 1.0, RESIDENT_SHARE) * d.cache_bytes
    resident = ((live <= room) & in_graph) * (1.0 - np.minimum(boundary_bytes / np.maximum(live, 1.0), 1.0))
    left = work_left(ops, devices, paired=True)
    compute_s = np.where(matrix, ops.matrix_flops * left / d.matrix_rate, 0.0)
    vector_s = ops.vector_flops / d.vector_rate
    # banks that compute hold the second operand: it need not travel
    travels = np.where(devices.kind == KINDS.index("pim"), 0.0, ops.weight_bytes)
    dram_s = (travels + (1.0 - resident) * live) / d.dram_bandwidth
    # published rates are rounded, so an array may do a little more; and a product may run on vector units
    grid = np.where(is_array, 2.0 * devices.array_rows * devices.array_cols * devices.array_count * d.clock_hz, 0.0)
    peak = np.maximum(np.maximum(d.matrix_rate, d.vector_rate), grid)
    bound_s = np.maximum(np.maximum(ops.matrix_flops * left / peak * matrix, vector_s * ~matrix), dram_s)

    kernel = kernel_estimate(ops, d, matrix, 1.0 - resident, left, out)
    estimate, bytes_moved, cache_s = kernel.seconds, kernel.dram_bytes, kernel.cache_bytes / d.cache_bandwidth
    core_j, busy = kernel.core_j, kernel.clocked_s
    array = array_estimate(ops, devices, resident, extra_bytes)
    array_bytes = np.where(matrix, array.dram_bytes, ops.weight_bytes + (1.0 - resident) * live)
    scratch_s = np.where(np.isfinite(devices.cache_bandwidth), np.where(matrix, array.sram_bytes, ops.total_bytes + extra_bytes) / d.cache_bandwidth, 0.0)
    array_s = np.maximum(np.maximum(np.where(matrix, array.compute_s, vector_s), array_bytes / (d.dram_bandwidth * tech.DRAM_EFFICIENCY)), np.maximum(vector_s, scratch_s))
    array_s = array_s + np.where(matrix, 0.0, d.fill_s)
    sram_bytes = np.where(matrix, array.sram_bytes, ops.total_bytes)
    array_j = (ops.matrix_flops * tech.PIPELINE_OVER_MAC["array"] + ops.vector_flops * tech.PIPELINE_OVER_MAC["vector"]) / 2.0 * d.mac_j + sram_bytes * d.cache_j
    estimate = np.where(is_array, array_s, np.where(is_fabric, fabric_seconds(ops, devices), estimate))
    bytes_moved, core_j = np.where(is_array, array_bytes, bytes_moved), np.where(is_array, array_j, core_j)
    bound_s = np.where(is_fabric, 0.0, bound_s)

    dram_j = np.where(is_fabric, 0.0, bytes_moved * d.dram_j)
    dynamic = np.where(is_fabric, fabric_dynamic_j(ops, d.mac_j, d.cache_j), core_j + dram_j)
    busy = np.where(is_array & matrix, array.compute_s, busy)
    capped, dynamic = power_capped(estimate, np.minimum(busy, estimate), dynamic, d.static_w, d.limit_w, dram_j)
    waves = np.maximum(ops.b, 1.0) * np.ceil(np.maximum(ops.m, 1.0) / 128) * np.ceil(np.maximum(ops.n, 1.0) / 128) / d.units
    return Bounds(compute_s, dram_s, vector_s, bound_s, kernel.tiles_s, cache_s, np.maximum(capped, bound_s), estimate, d.launch_s, dynamic, d.static_w, d.limit_w, waves, resident)
