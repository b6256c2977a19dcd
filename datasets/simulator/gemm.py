"""Matrix products and convolutions on throughput machines: every (tile_m, tile_n, split_k) is scored at once, the best under the power limit kept.

* Tile quantisation: edges of the matrix are padded to whole tiles. Wave quantisation: ceil(tiles / processors) rounds.
* A processor's tile takes the longest of its arithmetic, the operands it reads from its local memory, and those it draws through its port from
  the last cache; of a few deep tiles nothing hides that each step of an accumulation waits for the one before.
* The last cache carries every tile's operands, DRAM only what the cache cannot hold from one wave to the next.
* Splitting k fills idle processors and costs the traffic of the partial sums and a second kernel that adds them up.
* A product thin in one dimension may run on vector units, an output each lane, where a tile would be mostly padding (depthwise convolutions).
"""

from __future__ import annotations

import numpy as np

from ..columns import OpColumns, element_bytes, work_left
from ..ops import KIND_CODES
from . import technology as tech
from .costs import OpCosts, pick
from .joules import Joules, arithmetic_j, least, limit_code, worth
from .kernels import RESIDENT_SHARE, Kernels
from .machine import Machines

_TILES = np.array([(tm, tn) for tm in (16, 32, 64, 128, 256) for tn in (16, 32, 64, 128, 256) if tm * tn <= 256 * 256], dtype=np.float64)
_SPLITS = np.array([1, 2, 4, 8, 16], dtype=np.float64)
#: (mappings, 3): tile_m, tile_n, split_k
GEMM_MAPPINGS = np.array([(tm, tn, s) for tm, tn in _TILES for s in _SPLITS])
#: a product this thin in one dimension may run on vector units instead of tiles (16: the smallest tile of a matrix unit)
THIN = 16.0
#: k-depth of one pipeline stage in bytes, and stages in flight: 64 bytes x 3, as tuned GEMM libraries use
_STAGE_BYTES, _STAGES = 64.0, 3.0
#: a part of a split reduction (k of a product) is at least this deep: a shorter one costs as much
LEAST_DEPTH = 64.0
#: blocks resident on one processor at most (assumption; registers and threads allow a few of a tile this large)
MOST_RESIDENT = 4.0


def column(x: np.ndarray) -> np.ndarray:
    """(n,) as (n, 1, 1): operators of an (operators, machines, mappings) array."""
    return x[:, None, None]


def row(x: np.ndarray) -> np.ndarray:
    """(D,) as (1, D, 1): machines."""
    return x[None, :, None]


def matrix_rate(ops: OpColumns, machines: Machines) -> np.ndarray:
    """(n, D, 1) sustained matrix op/s in each op's dtype, dense."""
    return machines.figures.matrix_rate[:, ops.dtype].T[:, :, None] * tech.MATRIX_EFFICIENCY


def vector_rate(ops: OpColumns, machines: Machines) -> np.ndarray:
    """(n, D, 1) vector op/s in each op's dtype."""
    return machines.figures.vector_rate[:, ops.dtype].T[:, :, None]


def gemm_costs(kernels: Kernels, machines: Machines, objective: str) -> OpCosts:
    """(n, D) costs of n products on D machines, `objective` of `costs.OBJECTIVES` minimised."""
    d, ops = machines.figures, kernels.ops
    keep = kernels.spilled(machines.cache_bytes)[..., None]  # (n, D, 1): 0 where activations stay in the cache between kernels
    tm, tn, split = (GEMM_MAPPINGS[:, i][None, None, :] for i in range(3))
    b, m, n, k = (column(getattr(ops, x)) for x in ("b", "m", "n", "k"))
    a_size = column(ops.input_bytes / np.maximum(ops.b * ops.m * ops.k, 1.0))  # bytes per element of the matrix view: im2col re-use included
    b_size = column(ops.weight_bytes / np.maximum(ops.b * ops.k * ops.n, 1.0))
    units, element = row(d.units), np.maximum(column(element_bytes(ops.dtype)), 0.5)
    left = work_left(ops, d)[..., None]  # weights of N:M run faster where the matrix units skip them
    rate, lanes = matrix_rate(ops, machines), vector_rate(ops, machines)

    depth = np.ceil(k / split)
    padded_depth = np.where(split > 1.0, np.maximum(depth, LEAST_DEPTH), depth)
    stage = _STAGES * (tm + tn) * _STAGE_BYTES
    local_bytes = row(machines.local_bytes_per_unit)
    fits = (stage <= local_bytes) & (4.0 * tm * tn <= local_bytes)  # sums lie in registers, of which a processor has about as many bytes as local memory
    tiles = b * (np.ceil(m / tm) * np.ceil(n / tn)) * split
    waves = np.ceil(tiles / units)
    tile_compute = (2.0 * tm * tn) * padded_depth * (left * units / rate)
    tile_local = ((tm + tn) / row(machines.local_bandwidth_per_unit)) * (padded_depth * element)
    drawn = depth * (np.minimum(tm, m) * a_size + np.minimum(tn, n) * b_size)
    tile_port = drawn / row(machines.port_bandwidth)
    resident = np.clip(np.floor(local_bytes / stage), 1.0, MOST_RESIDENT)
    rounds = np.ceil(waves / resident)
    chain = rounds * (2.0 * row(machines.trip_s) + padded_depth * element * (row(machines.clock_s) * (tech.CHAIN_CLOCKS / tech.CHAIN_BYTES)))
    compute_s = np.maximum(waves * np.maximum(np.maximum(tile_compute, tile_local), tile_port), chain)

    # traffic: a wave of concurrent tiles covers a near-square block of the output; what it reads comes once from DRAM unless cached
    reduction = (8.0 * (split - 1.0)) * (b * m * n)
    a_total, b_total = column(ops.input_bytes), column(ops.weight_bytes)
    out = column(ops.output_bytes + kernels.extra_bytes)
    # a deformable convolution samples between four pixels, each tap for itself (8 operations a sample: datasets/ops.py)
    sampled = column(np.where(ops.kind == KIND_CODES["deform_conv"], ops.vector_flops / 8.0 * 4.0 * element_bytes(ops.dtype), 0.0))
    cache_traffic = tiles * drawn + out + reduction + sampled
    concurrent = np.minimum(tiles, units)
    rows, columns = np.ceil(m / tm), np.ceil(n / tn)
    block_m = np.clip(np.sqrt(concurrent * (tn / tm)), 1.0, rows)
    block_n = np.clip(concurrent / block_m, 1.0, columns)
    half = RESIDENT_SHARE * row(machines.cache_bytes)
    a_dram = a_total * np.where(a_total <= half, 1.0, np.ceil(columns / block_n))
    b_dram = b_total * np.where(b_total <= half, 1.0, np.ceil(rows / block_m))
    held = kernels.weights_spilled(machines.cache_bytes)[..., None]
    spill = np.where(reduction <= half, 0.0, reduction)
    dram = np.minimum(keep * a_dram + held * b_total, keep * a_total + held * b_dram) + keep * out + spill
    dram_s = dram / (row(d.dram_bandwidth) * tech.DRAM_EFFICIENCY)
    cache_s = cache_traffic / row(machines.cache_bandwidth)

    epilogue = column(ops.vector_flops) / lanes
    again = row(machines.launch_s + machines.fill_s)
    fill = row(machines.fill_s) + (split > 1.0) * again
    # a tile's results go when its products are done: other tiles on the same processor hide that
    going = np.maximum(keep * out / (row(d.dram_bandwidth) * tech.DRAM_EFFICIENCY), (out + reduction) / row(machines.cache_bandwidth)) / np.minimum(resident, np.maximum(waves, 1.0))
    time = np.maximum(np.maximum(compute_s, np.maximum(dram_s, cache_s) - going), going) + going + fill + epilogue
    time = np.where(fits, time, np.inf)
    time[..., 0] = np.where(np.isfinite(time).any(-1), time[..., 0], (np.maximum(compute_s, dram_s) + fill + epilogue)[..., 0])
    per_matrix, per_vector = arithmetic_j(ops, machines)
    epilogue_j = ops.vector_flops[:, None] * per_vector
    local = column(ops.matrix_flops) * element / 64.0
    written = column(ops.output_bytes)
    joules = Joules.of(machines, (ops.matrix_flops[:, None] * per_matrix * left[..., 0] + epilogue_j)[..., None], dram, written, cache_traffic, local)
    value = worth(objective, time, np.maximum(compute_s, cache_s), joules, machines)
    best = least(value, cache_traffic)
    t, c, ds, cs, dr, ct, value, cache_j, dram_j = pick(best, time, compute_s, dram_s, cache_s, dram, cache_traffic, value, joules.cache, joules.dram)
    compute_j, local_j = joules.compute[..., 0], np.broadcast_to(joules.local[..., 0], t.shape)

    # the same work on vector units, an output each lane
    thin = np.minimum(np.minimum(ops.m, ops.n), ops.k)[:, None] < THIN
    mapping = best.astype(np.int32)
    vector_code = np.zeros_like(t)
    if thin.any():
        outputs = (ops.b * ops.m * ops.n)[:, None]
        round_up = np.ceil(outputs / (64.0 * d.units)) * 64.0 * d.units / np.maximum(outputs, 1.0)
        vector_s = ops.matrix_flops[:, None] / (lanes[..., 0] * tech.MATRIX_EFFICIENCY) * round_up
        # a lane adds up its k products one after another
        vector_s = np.maximum(vector_s, ops.k[:, None] * element[:, 0] * machines.clock_s * (tech.CHAIN_CLOCKS / tech.CHAIN_BYTES))
        keep2, held2, total = keep[..., 0], held[..., 0], (a_total + b_total + out + sampled)[..., 0]
        moved = keep2 * (a_total + out)[..., 0] + held2 * b_total[..., 0]
        vector_ds = moved / (d.dram_bandwidth * tech.DRAM_EFFICIENCY)
        vt = np.where(thin, np.maximum(vector_s, vector_ds) + epilogue[..., 0] + machines.fill_s, np.inf)
        vj = Joules.of(machines, ops.matrix_flops[:, None] * per_vector + epilogue_j, moved, written[..., 0], np.broadcast_to(total, vt.shape), local[..., 0])
        vj3 = Joules(*(np.broadcast_to(x, vt.shape)[..., None] for x in (vj.compute, vj.local, vj.cache, vj.dram)))
        on_vector = worth(objective, vt[..., None], vector_s[..., None], vj3, machines)[..., 0] < value
        t, c, ds, dr = (np.where(on_vector, new, old) for new, old in ((vt, t), (vector_s, c), (vector_ds, ds), (moved, dr)))
        ct, cs = np.where(on_vector, total, ct), np.where(on_vector, 0.0, cs)
        compute_j, cache_j, dram_j = (np.where(on_vector, new, old) for new, old in ((vj.compute, compute_j), (vj.cache, cache_j), (vj.dram, dram_j)))
        mapping, vector_code = np.where(on_vector, -1, mapping).astype(np.int32), np.where(on_vector, c * 1.0001, 0.0)
    limit = limit_code([c, vector_code, np.zeros_like(c), cs, ds, np.broadcast_to(machines.fill_s, c.shape)])
    total_j = compute_j + local_j + cache_j + dram_j
    return OpCosts(t, np.minimum(np.maximum(c, cs), t), total_j, dr, ct, limit, mapping, compute_j, local_j.copy(), cache_j, dram_j)
