"""Throughput machines (GPU, CPU): many equal processors, each computing one tile at a time out of a shared memory hierarchy.

Per matrix operator, every (tile_m, tile_n, split_k) is scored at once and the fastest under the power limit kept:

* tile quantisation: edges of the matrix are padded to whole tiles;
* wave quantisation: ceil(tiles / processors) rounds;
* a processor's tile takes the longer of its arithmetic and the operands it must read from its local memory;
* the last-level cache carries every tile's operands, DRAM only what the cache cannot hold from one wave to the next;
* splitting k fills idle processors and costs a reduction.

Attention is computed in one pass (FlashAttention, Dao et al. 2022): scores never leave the processor; K and V are read again by every
block of queries, from cache when they fit.
"""

from __future__ import annotations

import numpy as np

from ..columns import OpColumns, element_bytes
from ..ops import KIND_CODES
from . import technology as tech
from .costs import OpCosts, pick
from .kernels import Kernels
from .machine import Machines
from .power import power_capped

_TILES = np.array([(tm, tn) for tm in (16, 32, 64, 128, 256) for tn in (16, 32, 64, 128, 256) if tm * tn <= 128 * 256], dtype=np.float64)
_SPLITS = np.array([1, 2, 4, 8, 16], dtype=np.float64)
#: (mappings, 3): tile_m, tile_n, split_k
GEMM_MAPPINGS = np.array([(tm, tn, s) for tm, tn in _TILES for s in _SPLITS])
#: (mappings, 2): block of queries, split of keys
ATTENTION_MAPPINGS = np.array([(tq, s) for tq in (16.0, 32.0, 64.0, 128.0) for s in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)])
#: a product this thin in one dimension may run on vector units instead of tiles (16: the smallest tile of a matrix unit)
THIN = 16.0
#: k-depth of one pipeline stage in bytes, and stages in flight: 64 bytes x 3, as tuned GEMM libraries use
_STAGE_BYTES, _STAGES = 64.0, 3.0
#: a part of a split reduction (k of a product, keys of an attention) is at least this deep: a shorter one costs as much
_LEAST_DEPTH = 64.0


def throughput_costs(kernels: Kernels, machines: Machines) -> OpCosts:
    """(n, D) costs of n kernels on D throughput machines."""
    ops = kernels.ops
    groups = {name: np.isin(ops.kind, [KIND_CODES[k] for k in kinds]) for name, kinds in
              (("gemm", ("gemm", "conv", "grouped_gemm", "deform_conv")), ("attention", ("attention",)), ("recurrent", ("recurrent",)))}
    groups["stream"] = ~(groups["gemm"] | groups["attention"] | groups["recurrent"])
    models = {"gemm": _gemm, "attention": _attention, "recurrent": _recurrent, "stream": _stream}
    parts = [(np.flatnonzero(rows), models[name](kernels.take(rows), machines)) for name, rows in groups.items() if rows.any()]
    return OpCosts.scatter((len(ops), len(machines)), parts)


def _column(x: np.ndarray) -> np.ndarray:
    return x[:, None, None]


def _row(x: np.ndarray) -> np.ndarray:
    return x[None, :, None]


def _rates(ops: OpColumns, machines: Machines) -> tuple[np.ndarray, np.ndarray]:
    """(n, D, 1) matrix and vector rates for each op's dtype."""
    d = machines.figures
    return (d.matrix_rate[:, ops.dtype].T[:, :, None] * tech.MATRIX_EFFICIENCY, d.vector_rate[:, ops.dtype].T[:, :, None])


def _gemm(kernels: Kernels, machines: Machines) -> OpCosts:
    d, ops = machines.figures, kernels.ops
    keep = kernels.spilled(machines.cache_bytes)[..., None]  # (n, D, 1): 0 where activations stay in the cache between kernels
    tm, tn, split = (GEMM_MAPPINGS[:, i][None, None, :] for i in range(3))
    b, m, n, k = (_column(getattr(ops, x)) for x in ("b", "m", "n", "k"))
    a_size = _column(ops.input_bytes / np.maximum(ops.b * ops.m * ops.k, 1.0))  # bytes per element of the matrix view: im2col re-use included
    b_size = _column(ops.weight_bytes / np.maximum(ops.b * ops.k * ops.n, 1.0))
    units = _row(d.units)
    matrix_rate, vector_rate = _rates(ops, machines)
    element = np.maximum(_column(element_bytes(ops.dtype)), 0.5)

    depth = np.ceil(k / split)
    padded_depth = np.where(split > 1.0, np.maximum(depth, _LEAST_DEPTH), depth)
    stage = _STAGES * (tm + tn) * _STAGE_BYTES
    fits = stage <= _row(machines.local_bytes_per_unit)
    tiles = b * np.ceil(m / tm) * np.ceil(n / tn) * split
    waves = np.ceil(tiles / units)
    tile_compute = 2.0 * tm * tn * padded_depth * units / matrix_rate
    tile_local = (tm + tn) * padded_depth * element / _row(machines.local_bandwidth_per_unit)
    tile_s = np.maximum(tile_compute, tile_local)
    compute_s = waves * tile_s

    # traffic: a wave of concurrent tiles covers a near-square block of the output; what it reads comes once from DRAM unless cached
    reduction = 8.0 * (split - 1.0) * b * m * n
    a_total, b_total = _column(ops.input_bytes), _column(ops.weight_bytes)
    out = _column(ops.output_bytes + kernels.extra_bytes)
    cache_traffic = tiles * depth * (np.minimum(tm, m) * a_size + np.minimum(tn, n) * b_size) + out + reduction
    concurrent = np.minimum(tiles, units)
    block_m = np.clip(np.sqrt(concurrent * tn / tm), 1.0, np.ceil(m / tm))
    block_n = np.clip(concurrent / block_m, 1.0, np.ceil(n / tn))
    a_reads = np.ceil(np.ceil(n / tn) / block_n)
    b_reads = np.ceil(np.ceil(m / tm) / block_m)
    cache = _row(machines.cache_bytes)
    a_dram = a_total * np.where(a_total <= 0.5 * cache, 1.0, a_reads)
    b_dram = b_total * np.where(b_total <= 0.5 * cache, 1.0, b_reads)
    spill = np.where(reduction <= 0.5 * cache, 0.0, reduction)
    dram = np.minimum(keep * a_dram + b_total, keep * a_total + b_dram) + keep * out + spill
    dram_s = dram / (_row(d.dram_bandwidth) * tech.DRAM_EFFICIENCY)
    cache_s = cache_traffic / _row(machines.cache_bandwidth)

    # the same work on vector units, where a tile would be mostly padding (depthwise convolutions, products with a vector)
    thin = np.minimum(np.minimum(m, n), k) < THIN
    vector_s = _column(ops.matrix_flops) / (vector_rate * tech.MATRIX_EFFICIENCY) * np.ceil(b * m * n / (64.0 * units)) * 64.0 * units / np.maximum(b * m * n, 1.0)
    vector_bytes = keep * (a_total + out) + b_total
    vector_time = np.maximum(vector_s, vector_bytes / (_row(d.dram_bandwidth) * tech.DRAM_EFFICIENCY))

    epilogue = _column(ops.vector_flops) / vector_rate
    fill = _row(machines.fill_s) * (1.0 + (split > 1.0))
    time = np.maximum(np.maximum(compute_s, dram_s), cache_s) + fill + epilogue
    time = np.where(fits, time, np.inf)
    time[..., 0] = np.where(np.isfinite(time).any(-1), time[..., 0], (np.maximum(compute_s, dram_s) + fill + epilogue)[..., 0])
    mac = machines.mac_j[:, ops.dtype].T[..., None]
    local = _column(ops.matrix_flops) * element / 64.0
    epilogue_j = _column(ops.vector_flops) * mac * tech.PIPELINE_OVER_MAC["vector"] / 2
    energy = (_column(ops.matrix_flops) / 2 * mac * tech.PIPELINE_OVER_MAC["matrix"] + epilogue_j
              + _memory_j(machines, dram, _column(ops.output_bytes), cache_traffic, local))
    vt = np.where(thin, vector_time + epilogue + _row(machines.fill_s), np.inf)
    vector_energy = (_column(ops.matrix_flops) / 2 * mac * tech.PIPELINE_OVER_MAC["vector"] + epilogue_j
                     + _memory_j(machines, vector_bytes, _column(ops.output_bytes), a_total + b_total + out, local))
    under_limit = _under_limit(time, compute_s, energy, machines)
    best = _least(under_limit, cache_traffic)
    t, c, ds, cs, dr, ct, limited, energy = pick(best, time, compute_s, dram_s, cache_s, dram, cache_traffic, under_limit, energy)
    on_vector = _under_limit(vt, vector_s, vector_energy, machines)[..., 0] < limited
    vt, base = vt[..., 0], vector_bytes[..., 0]
    energy = np.where(on_vector, vector_energy[..., 0], energy)
    t, c = np.where(on_vector, vt, t), np.where(on_vector, vector_s[..., 0], c)
    dr, ct = np.where(on_vector, base, dr), np.where(on_vector, (a_total + b_total + out)[..., 0], ct)
    ds = np.where(on_vector, base / (d.dram_bandwidth * tech.DRAM_EFFICIENCY), ds)
    limit = _limit([c, np.where(on_vector, c, 0.0) * 1.0001, np.zeros_like(c), np.where(on_vector, 0.0, cs), ds, np.broadcast_to(machines.fill_s, c.shape)])
    return OpCosts(t, c, energy, dr, ct, limit, np.where(on_vector, -1, best).astype(np.int32))


def _attention(kernels: Kernels, machines: Machines) -> OpCosts:
    d, ops = machines.figures, kernels.ops
    keep = kernels.spilled(machines.cache_bytes)[..., None]
    tq, split = (ATTENTION_MAPPINGS[:, i][None, None, :] for i in range(2))
    b, q, kv = (_column(getattr(ops, x)) for x in ("b", "m", "n"))
    units = _row(d.units)
    matrix_rate, vector_rate = _rates(ops, machines)
    flops, exps = _column(ops.matrix_flops), _column(ops.vector_flops)
    tiles = b * np.ceil(q / tq) * split
    waves = np.ceil(tiles / units)
    # one tile's share of the work, queries padded to the block and a part of the keys to the least depth
    share = np.ceil(q / tq) * tq / q * np.where(split > 1.0, np.maximum(split * _LEAST_DEPTH / kv, 1.0), 1.0) / tiles
    tile_s = np.maximum(flops * share * units / matrix_rate, exps * share * units / vector_rate)
    compute_s = waves * tile_s
    kv_bytes, q_bytes, out = _column(ops.weight_bytes), _column(ops.input_bytes), _column(ops.output_bytes + kernels.extra_bytes)
    reduction = 8.0 * (split - 1.0) * _column(ops.output_bytes)
    cache = _row(machines.cache_bytes)
    passes = np.ceil(q / tq)
    dram = keep * (q_bytes + out) + kv_bytes * np.where(kv_bytes <= 0.5 * cache, 1.0, np.maximum(passes / np.maximum(units / np.maximum(b, 1.0), 1.0), 1.0))
    cache_traffic = q_bytes + out + kv_bytes * passes + reduction
    dram_s = dram / (_row(d.dram_bandwidth) * tech.DRAM_EFFICIENCY)
    cache_s = cache_traffic / _row(machines.cache_bandwidth)
    fill = _row(machines.fill_s) * (2.0 + (split > 1.0))
    time = np.maximum(np.maximum(compute_s, dram_s), cache_s) + fill
    mac = machines.mac_j[:, ops.dtype].T[..., None]
    energy = (flops / 2 * mac * tech.PIPELINE_OVER_MAC["matrix"] + exps / 2 * mac * tech.PIPELINE_OVER_MAC["vector"]
              + _memory_j(machines, dram, _column(ops.output_bytes), cache_traffic, flops / 32.0))
    best = _least(_under_limit(time, compute_s, energy, machines), cache_traffic)
    t, c, ds, cs, dr, ct, energy = pick(best, time, compute_s, dram_s, cache_s, dram, cache_traffic, energy)
    limit = _limit([c, np.zeros_like(c), np.zeros_like(c), cs, ds, np.broadcast_to(machines.fill_s, c.shape)])
    return OpCosts(t, c, energy, dr, ct, limit, best.astype(np.int32))


def _recurrent(kernels: Kernels, machines: Machines) -> OpCosts:
    """Steps one after another: weights come from cache when they fit, else from DRAM at every step; each step pays a pipeline fill."""
    d, ops = machines.figures, kernels.ops
    keep = kernels.spilled(machines.cache_bytes)
    matrix_rate, vector_rate = (r[..., 0] for r in _rates(ops, machines))
    column = {x: getattr(ops, x)[:, None] for x in ("b", "m", "n", "k", "matrix_flops", "vector_flops", "input_bytes", "weight_bytes", "output_bytes")}
    # every step: blocks of 64 gate outputs, rows padded to 16, in waves over the processors
    waves = np.ceil(np.ceil(column["n"] / 64.0) / d.units)
    step_s = waves * 2.0 * np.ceil(column["m"] / 16.0) * 16.0 * 64.0 * column["k"] * d.units / matrix_rate
    compute_s = column["b"] * step_s + column["vector_flops"] / vector_rate
    cached = column["weight_bytes"] <= 0.5 * machines.cache_bytes
    step_weights = column["weight_bytes"] * np.maximum(column["b"], 1.0)
    dram = keep * (column["input_bytes"] + column["output_bytes"]) + np.where(cached, column["weight_bytes"], step_weights)
    dram_s = dram / (d.dram_bandwidth * tech.DRAM_EFFICIENCY)
    cache_s = step_weights / machines.cache_bandwidth
    steps = column["b"] * machines.fill_s
    time = np.maximum(np.maximum(compute_s, dram_s), cache_s) + steps
    limit = _limit([compute_s, np.zeros_like(time), np.zeros_like(time), cache_s, dram_s, steps])
    mac = machines.mac_j[:, ops.dtype].T
    energy = (column["matrix_flops"] / 2 * mac * tech.PIPELINE_OVER_MAC["matrix"] + column["vector_flops"] / 2 * mac * tech.PIPELINE_OVER_MAC["vector"]
              + _memory_j(machines, dram, column["output_bytes"], step_weights, column["matrix_flops"] / 32.0))
    return OpCosts(time, compute_s, energy, dram, step_weights, limit, np.zeros(time.shape, dtype=np.int32))


def _stream(kernels: Kernels, machines: Machines) -> OpCosts:
    """Elementwise, norms, pools, moves, look-ups: traffic, or vector work; a row too long for local memory is read twice."""
    d, ops = machines.figures, kernels.ops
    keep = kernels.spilled(machines.cache_bytes)
    _, vector_rate = (r[..., 0] for r in _rates(ops, machines))
    element = element_bytes(ops.dtype)[:, None]
    passes = np.where(ops.row[:, None] * element > machines.local_bytes_per_unit, 2.0, 1.0)
    moved = ops.input_bytes[:, None] * passes + (ops.output_bytes + kernels.extra_bytes)[:, None]
    traffic = moved + ops.weight_bytes[:, None]
    dram = keep * moved + ops.weight_bytes[:, None]
    share = busy_share(ops, d.units[None, :])
    compute_s = ops.vector_flops[:, None] / (vector_rate * share)
    dram_s = dram / (d.dram_bandwidth * tech.DRAM_EFFICIENCY)
    # every processor reads the scale and shift of a norm for itself; rows of a table are each read by one
    own = np.where((ops.kind == KIND_CODES["norm"])[:, None], 1.0 / d.units, share)
    cache_s = (moved / share + ops.weight_bytes[:, None] / own) / machines.cache_bandwidth
    time = np.maximum(np.maximum(compute_s, dram_s), cache_s) + machines.fill_s
    limit = _limit([np.zeros_like(time), compute_s, np.zeros_like(time), cache_s, dram_s, np.broadcast_to(machines.fill_s, time.shape)])
    mac = machines.mac_j[:, ops.dtype].T
    energy = ops.vector_flops[:, None] / 2 * mac * tech.PIPELINE_OVER_MAC["vector"] + _memory_j(machines, dram, keep * ops.output_bytes[:, None], traffic, traffic)
    return OpCosts(time, compute_s, energy, dram, np.broadcast_to(traffic, time.shape).copy(), limit, np.zeros(time.shape, dtype=np.int32))


#: (kinds,) whether a kind has as many outputs as inputs, one reduction a row
_KEEPS_ROWS = np.isin(np.arange(len(KIND_CODES)), [KIND_CODES["norm"], KIND_CODES["softmax"]])


def busy_share(ops: OpColumns, units: np.ndarray) -> np.ndarray:
    """(n, D) share of the processors (`units`, (1, D) or (n, 1)) that an op without matrix work can keep busy.

    A block of 256 threads takes 256 outputs, or up to 256 elements of one reduction.
    """
    outputs = ops.output_bytes / element_bytes(ops.dtype)
    keeps_rows = _KEEPS_ROWS[ops.kind]  # as many outputs as inputs: one reduction a row
    reductions = np.where(keeps_rows, outputs / np.maximum(ops.row, 1.0), outputs)
    extent = np.maximum(np.maximum(ops.row, ops.window), 1.0)
    blocks = np.maximum(reductions * np.minimum(extent, 256.0) / 256.0, 1.0)
    return np.minimum(blocks[:, None] / units, 1.0)


def _memory_j(machines: Machines, dram: np.ndarray, written: np.ndarray, cache: np.ndarray, local: np.ndarray) -> np.ndarray:
    """(n, D) or (n, D, mappings) J of data movement: DRAM reads and writes, cache and local memory."""
    read_j, write_j, cache_j, local_j = (x[:, None] if dram.ndim == 3 else x for x in (machines.dram_read_j, machines.dram_write_j, machines.cache_j, machines.local_j))
    reads = np.maximum(dram - written, 0.0)
    return reads * read_j + np.minimum(written, dram) * write_j + cache * cache_j + local * local_j


def _under_limit(time: np.ndarray, compute: np.ndarray, energy: np.ndarray, machines: Machines) -> np.ndarray:
    """(n, D, mappings) seconds once the power limit has its say: the fastest mapping at full clock may draw too much."""
    return power_capped(time, compute, energy, machines.static_w[:, None], machines.limit_w[:, None])[0]


def _least(time: np.ndarray, traffic: np.ndarray) -> np.ndarray:
    """(n, D) index of the fastest mapping; among those within 0.1 % of it the one with the least traffic."""
    near = time <= time.min(-1, keepdims=True) * 1.001
    return np.where(near, np.broadcast_to(traffic, time.shape), np.inf).argmin(-1)


def _limit(times: list[np.ndarray]) -> np.ndarray:
    return np.argmax(np.stack(np.broadcast_arrays(*times)), axis=0).astype(np.int8)
