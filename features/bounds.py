"""Analytic bounds: what physics says before anything is learned. Row-aligned: n operators, each with its own machine.

`bound_s` is the speed of light (arithmetic at the peak rate, or every operand once at the DRAM data-sheet rate); no answer may
beat it. `estimate_s` adds what is cheap to know without searching mappings: tile and wave quantisation for a handful of
canonical tiles, sustained instead of peak bandwidth, cache residency, pipeline fill, the power limit. Surrogates learn the ratio of
the truth to the estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..datasets.columns import DeviceColumns, OpColumns, element_bytes, work_left
from ..datasets.dram import DRAM_J_PER_BYTE
from ..datasets.hardware import KINDS
from ..datasets.ops import KIND_CODES
from ..datasets.simulator import technology as tech
from ..datasets.simulator.fpga import FABRIC_DTYPE
from ..datasets.simulator.kernels import RESIDENT_SHARE
from ..datasets.simulator.power import power_capped
from ..datasets.simulator.throughput import THIN, busy_share
from .array_bounds import array_estimate, fabric_dynamic_j, fabric_seconds

#: tiles every GEMM library has; (tile_m, tile_n)
CANONICAL_TILES: tuple[tuple[int, int], ...] = ((16, 32), (32, 64), (64, 64), (64, 128), (128, 128), (128, 256))
#: stands in for a figure nobody published, in the geometric middle of the catalogue's GPUs; the domain flag says so
TYPICAL: Mapping[str, float] = {
    "units": 100.0, "clock_hz": 1.7e9, "dram_bandwidth": 1.5e12, "dram_bytes": 4e10, "cache_bytes": 3e7, "local_bytes": 1.5e7,
    "tdp_w": 300.0, "process_nm": 7.0, "array_count": 1.0, "array_rows": 1.0, "array_cols": 1.0,
}
_TYPICAL_MATRIX_RATE, _TYPICAL_VECTOR_RATE = 2e14, 2e13
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


def op_bounds(ops: OpColumns, devices: DeviceColumns, in_graph: bool, extra_bytes: np.ndarray | float = 0.0,
              boundary_bytes: np.ndarray | float = 0.0) -> Bounds:
    """Bounds of n operators on n machines (row i of each belong together).

    `in_graph`: activations that fit in the last cache need not travel to DRAM. `extra_bytes`: operands of fused epilogues.
    `boundary_bytes`: graph inputs and outputs among the activations, which travel all the same.
    """
    d = {name: _filled(getattr(devices, name), value) for name, value in TYPICAL.items()}
    rows = np.arange(len(ops))
    matrix_rate = _filled(devices.matrix_rate[rows, ops.dtype], _TYPICAL_MATRIX_RATE)
    vector_rate = _filled(devices.vector_rate[rows, ops.dtype], _TYPICAL_VECTOR_RATE)
    units, cache = d["units"], np.where(np.isfinite(devices.cache_bytes), devices.cache_bytes, np.where(np.isfinite(devices.tdp_w), 0.0, TYPICAL["cache_bytes"]))
    is_array = devices.dataflow >= 0
    is_fabric = np.isfinite(devices.dsp)
    matrix = _MATRIX[ops.kind]
    out = ops.output_bytes + extra_bytes
    live = ops.input_bytes + out
    # where the outermost memory keeps weights alone, all of the level before it holds activations
    room = np.where(devices.weights_apart > 0, 1.0, RESIDENT_SHARE) * cache
    resident = ((live <= room) & in_graph) * (1.0 - np.minimum(boundary_bytes / np.maximum(live, 1.0), 1.0))
    left = work_left(ops, devices, paired=True)
    compute_s = np.where(matrix, ops.matrix_flops * left / matrix_rate, 0.0)
    vector_s = ops.vector_flops / vector_rate
    # banks that compute hold the second operand: it need not travel
    travels = np.where(devices.kind == KINDS.index("pim"), 0.0, ops.weight_bytes)
    dram_s = (travels + (1.0 - resident) * live) / d["dram_bandwidth"]
    # published rates are rounded, so an array may do a little more; and a product may run on vector units
    grid = np.where(is_array, 2.0 * devices.array_rows * devices.array_cols * devices.array_count * d["clock_hz"], 0.0)
    peak = np.maximum(np.maximum(matrix_rate, vector_rate), grid)
    bound_s = np.maximum(np.maximum(ops.matrix_flops * left / peak * matrix, vector_s * ~matrix), dram_s)

    tile_s, cache_tile_s, traffic, waves = _tiles(ops, units, cache, matrix_rate * tech.MATRIX_EFFICIENCY, devices, d, resident, out)
    sustained = d["dram_bandwidth"] * tech.DRAM_EFFICIENCY
    each = np.maximum(np.maximum(tile_s, cache_tile_s), traffic / sustained[:, None])
    best = each.argmin(1)
    pick = (rows, best)
    thin = np.minimum(np.minimum(ops.m, ops.n), ops.k) < THIN
    on_vector = np.where(thin, ops.matrix_flops / (vector_rate * tech.MATRIX_EFFICIENCY), np.inf)
    share_busy = busy_share(ops, units[:, None])[:, 0]
    work = ops.vector_flops / (vector_rate * share_busy)
    cache_rate = np.where(np.isfinite(devices.cache_bandwidth), devices.cache_bandwidth, np.maximum(units * d["clock_hz"] * 48.0, 2.0 * d["dram_bandwidth"]))
    gemm = np.minimum(each[pick], np.maximum(on_vector, dram_s / tech.DRAM_EFFICIENCY)) + vector_s
    stream = np.maximum(np.maximum(work, dram_s / tech.DRAM_EFFICIENCY), (ops.total_bytes + extra_bytes) / (cache_rate * share_busy))
    estimate = np.where(matrix, gemm, stream)
    fill = np.array([tech.FILL_CLOCKS[k] for k in KINDS])[devices.kind] / d["clock_hz"]
    attention = ops.kind == KIND_CODES["attention"]
    recurrent = ops.kind == KIND_CODES["recurrent"]
    share = np.minimum(np.ceil(np.maximum(ops.n, 1.0) / 64.0) / units, 1.0)
    estimate = np.where(attention, _attention_s(ops, units, matrix_rate * tech.MATRIX_EFFICIENCY, vector_rate, sustained, resident, out), estimate)
    step_compute = ops.matrix_flops * np.ceil(np.maximum(ops.m, 1.0) / 16) * 16 / np.maximum(ops.m, 1.0) / (matrix_rate * tech.MATRIX_EFFICIENCY * share) + vector_s
    step_bytes = np.where(ops.weight_bytes <= 0.5 * cache, ops.weight_bytes, ops.weight_bytes * np.maximum(ops.b, 1.0)) + (1 - resident) * live
    estimate = np.where(recurrent, np.maximum(step_compute, step_bytes / sustained) + ops.b * fill, estimate)
    estimate = estimate + fill * np.where(attention, 2.0, np.where(recurrent, 0.0, 1.0))
    bytes_moved = np.where(matrix & ~attention & ~recurrent, traffic[pick], ops.weight_bytes + (1 - resident) * live)

    array = array_estimate(ops, devices, resident, extra_bytes)
    array_bytes = np.where(matrix, array.dram_bytes, ops.weight_bytes + (1.0 - resident) * live)
    scratch_s = np.where(np.isfinite(devices.cache_bandwidth), np.where(matrix, array.sram_bytes, ops.total_bytes + extra_bytes) / cache_rate, 0.0)
    array_s = np.maximum(np.maximum(np.where(matrix, array.compute_s, vector_s), array_bytes / sustained), np.maximum(vector_s, scratch_s)) + np.where(matrix, 0.0, fill)
    estimate = np.where(is_array, array_s, np.where(is_fabric, fabric_seconds(ops, devices), estimate))
    bytes_moved = np.where(is_array, array_bytes, bytes_moved)
    bound_s = np.where(is_fabric, 0.0, bound_s)

    computed = np.where(is_fabric, FABRIC_DTYPE[ops.dtype], ops.dtype)
    mac = np.take_along_axis(tech.mac_j(d["process_nm"]), computed[:, None].astype(np.int64), 1)[:, 0]
    mac = np.where(np.isfinite(devices.mac_j), devices.mac_j, mac)
    dram_j = _filled(devices.dram_j_per_byte, DRAM_J_PER_BYTE["hbm"])
    style = np.where(is_array, tech.PIPELINE_OVER_MAC["array"], tech.PIPELINE_OVER_MAC["matrix"])
    sram = tech.sram_j_per_byte(np.full(len(ops), 1e6), d["process_nm"])
    sram_bytes = np.where(is_array & matrix, array.sram_bytes, np.where(is_array, 1.0, 2.0) * ops.total_bytes)
    dynamic = (ops.matrix_flops / 2 * style + ops.vector_flops / 2 * tech.PIPELINE_OVER_MAC["vector"]) * mac + bytes_moved * dram_j + sram_bytes * sram
    dynamic = np.where(is_fabric, fabric_dynamic_j(ops, mac, sram), dynamic)
    static = np.where(np.isfinite(devices.idle_w), devices.idle_w, tech.STATIC_SHARE * _filled(devices.tdp_w, 0.0))
    limit = np.where(np.isfinite(devices.tdp_w), devices.tdp_w, np.inf)
    busy = np.where(is_array & matrix, array.compute_s, np.where(matrix, tile_s[pick], work))
    capped, dynamic = power_capped(estimate, np.minimum(busy, estimate), dynamic, static, limit)
    launch = np.where(np.isfinite(devices.launch_s), devices.launch_s, np.array([tech.LAUNCH_S[k] for k in KINDS])[devices.kind])
    return Bounds(compute_s, dram_s, vector_s, bound_s, tile_s, cache_tile_s[pick], np.maximum(capped, bound_s), estimate, launch, dynamic, static, limit, waves, resident)


def _tiles(ops: OpColumns, units: np.ndarray, cache: np.ndarray, rate: np.ndarray, devices: DeviceColumns, d: Mapping[str, np.ndarray],
           resident: np.ndarray, out: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """((n, tiles) seconds of arithmetic, seconds through the cache, bytes of DRAM, (n,) waves of the 128 x 128 tile)."""
    tm, tn = (np.array(t, dtype=np.float64)[None, :] for t in zip(*CANONICAL_TILES, strict=True))
    b, m, n, k = (np.maximum(getattr(ops, x), 1.0)[:, None] for x in ("b", "m", "n", "k"))
    unit = units[:, None]
    tiles = b * np.ceil(m / tm) * np.ceil(n / tn)
    # splitting k by up to 16 fills idle processors
    split = np.clip(np.floor(unit / tiles), 1.0, np.minimum(16.0, np.maximum(k / 64.0, 1.0)))
    split = 2.0 ** np.floor(np.log2(split))
    waves = np.ceil(tiles * split / unit)
    element = element_bytes(ops.dtype)[:, None]
    local = _filled(devices.local_bandwidth / devices.units, 0.0)
    local = np.where(local > 0, local, 128.0 * d["clock_hz"])[:, None]
    depth = np.ceil(k / split)
    seconds = waves * np.maximum(2.0 * tm * tn * depth * unit / rate[:, None], (tm + tn) * depth * element / local)
    a_size = (ops.input_bytes / np.maximum(ops.b * ops.m * ops.k, 1.0))[:, None]
    b_size = (ops.weight_bytes / np.maximum(ops.b * ops.k * ops.n, 1.0))[:, None]
    bandwidth = np.where(np.isfinite(devices.cache_bandwidth), devices.cache_bandwidth, np.maximum(units * d["clock_hz"] * 48.0, 2.0 * d["dram_bandwidth"]))[:, None]
    through = tiles * split * depth * (np.minimum(tm, m) * a_size + np.minimum(tn, n) * b_size) + out[:, None] + 8.0 * (split - 1) * b * m * n
    concurrent = np.minimum(tiles * split, unit)
    block_m = np.clip(np.sqrt(concurrent * tn / tm), 1.0, np.ceil(m / tm))
    block_n = np.clip(concurrent / block_m, 1.0, np.ceil(n / tn))
    a, w, half = ops.input_bytes[:, None], ops.weight_bytes[:, None], 0.5 * cache[:, None]
    keep = 1.0 - resident[:, None]
    a_dram = keep * a * np.where(a <= half, 1.0, np.ceil(np.ceil(n / tn) / block_n))
    w_dram = w * np.where(w <= half, 1.0, np.ceil(np.ceil(m / tm) / block_m))
    dram = np.minimum(a_dram + w, keep * a + w_dram) + keep * out[:, None]
    return seconds, through / bandwidth, dram, (b * np.ceil(m / 128) * np.ceil(n / 128))[:, 0] / units


def _attention_s(ops: OpColumns, units: np.ndarray, rate: np.ndarray, vector_rate: np.ndarray, sustained: np.ndarray, resident: np.ndarray, out: np.ndarray) -> np.ndarray:
    q, kv, b = (np.maximum(getattr(ops, x), 1.0) for x in ("m", "n", "b"))
    best = np.full(len(ops), np.inf)
    for block in (16.0, 64.0, 128.0):
        tiles = b * np.ceil(q / block)
        split = np.clip(2.0 ** np.floor(np.log2(np.maximum(units / tiles, 1.0))), 1.0, np.clip(kv / 64.0, 1.0, 32.0))
        waves = np.ceil(tiles * split / units)
        tile = np.maximum(ops.matrix_flops * np.ceil(q / block) * block / q / (tiles * split) * units / rate, ops.vector_flops / (tiles * split) * units / vector_rate)
        best = np.minimum(best, waves * tile)
    return np.maximum(best, (ops.weight_bytes + (1 - resident) * (ops.input_bytes + out)) / sustained)


def _filled(values: np.ndarray, typical: float) -> np.ndarray:
    return np.where(np.isfinite(values), values, typical)
