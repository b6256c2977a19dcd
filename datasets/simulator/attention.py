"""Attention on throughput machines, in one pass (FlashAttention, Dao et al. 2022; FlashAttention-2, Dao 2023): scores never leave the processor.

A block of rows (queries, and with shared keys the query heads of a group side by side) walks over blocks of keys. Each block of keys costs
two products and a softmax that follow each other: exponentials on the special-function units where a machine counts them apart, the rest on vector units in
FP32. Blocks on the diagonal of a causal mask, and at the edge of a sliding window, are computed whole. Keys may be split over processors
(FlashDecoding, Dao et al. 2023), which costs a second kernel that joins the parts. K and V are read again by every block of rows, from cache
when the heads in flight fit.
"""

from __future__ import annotations

import numpy as np

from ..columns import element_bytes
from ..dtypes import DTYPE_CODES
from ..ops import ELEMENTWISE_COST
from . import technology as tech
from .costs import OpCosts, pick
from .gemm import column, matrix_rate, row
from .joules import Joules, arithmetic_j, float32_vector_j, least, limit_code, worth
from .kernels import RESIDENT_SHARE, Kernels
from .machine import Machines

#: (mappings, 2): rows of a block, parts of the keys. Kernels for many queries have tall blocks; those for a few pack the heads of a group
ATTENTION_MAPPINGS = np.array([(tq, s) for tq in (16.0, 32.0, 64.0, 128.0) for s in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)])
#: keys of a block
_KEYS = 64.0
#: vector operations a pair of query and key costs (`datasets/ops.py`), of which the exponential
_PER_PAIR, _EXP = ELEMENTWISE_COST["exp"] + 4.0, float(ELEMENTWISE_COST["exp"])
#: clocks from one block of keys to the next that nothing hides within a block of rows: the latencies of two products, of a maximum and a sum over
#: a row (five exchanges between lanes each) and of an exponential (assumption, from instruction latencies of about 25 to 35 clocks)
_STEP_CLOCKS = 600.0
#: trips to memory that follow each other in a block: its sequence's length, the table of its pages, queries and keys, values, results (PagedAttention, Kwon et
#: al. 2023; counted: assumption)
_TRIPS = 5.0
#: queries up to which a block packs the query heads that share keys, and the least rows of a block with more
_FEW, _LEAST_ROWS = 16.0, 64.0
_FLOAT32 = DTYPE_CODES["float32"]


def attention_costs(kernels: Kernels, machines: Machines, objective: str) -> OpCosts:
    """(n, D) costs of n attentions on D machines, `objective` of `costs.OBJECTIVES` minimised."""
    d, ops = machines.figures, kernels.ops
    keep, held = kernels.spilled(machines.cache_bytes)[..., None], kernels.weights_spilled(machines.cache_bytes)[..., None]
    tq, split = (ATTENTION_MAPPINGS[:, i][None, None, :] for i in range(2))
    b, q, kv = (column(np.maximum(getattr(ops, x), 1.0)) for x in ("b", "m", "n"))
    units, rate = row(d.units), matrix_rate(ops, machines)
    pairs = column(ops.vector_flops / _PER_PAIR) / b                  # a head
    dims = column(ops.matrix_flops) / (2.0 * np.maximum(b * pairs, 1.0))  # of keys and values together
    kv_bytes, q_bytes, out = column(ops.weight_bytes), column(ops.input_bytes), column(ops.output_bytes + kernels.extra_bytes)
    stored = np.maximum(column(element_bytes(ops.weight_dtype)), 0.5)
    group = np.clip(np.round(b * kv * dims * stored / kv_bytes), 1.0, b)  # query heads that share keys

    few = q <= _FEW
    packed = np.where(few, group, 1.0)  # query heads side by side in a block
    tq = np.where(few, tq, np.maximum(tq, _LEAST_ROWS))
    blocks = np.ceil(q * packed / tq)
    heads = b / packed
    tiles = heads * blocks * split
    waves = np.ceil(tiles / units)
    # keys a block of rows walks over on average: those its queries see, and what the mask wastes on the diagonal
    queries = np.maximum(tq / packed, 1.0)
    walked = np.minimum(np.ceil(np.minimum(pairs / q + np.where(pairs < 0.999 * q * kv, (queries - 1.0) / 2.0, 0.0), kv) / _KEYS) * _KEYS, np.ceil(kv / _KEYS) * _KEYS)
    part = np.maximum(np.ceil(walked / split / _KEYS) * _KEYS, _KEYS)
    vector = row(d.vector_rate[:, _FLOAT32])
    special = row(machines.special_rate)
    counted = np.isfinite(special)  # exponentials on units of their own; two slots of a multiply-add for each other operation
    softmax = np.where(counted, 1.0 / special + 2.0 * (_PER_PAIR - _EXP) / vector, _PER_PAIR / vector) * units
    tile_compute = tq * part * (2.0 * dims * units / rate + softmax)
    tile_port = (part * dims * stored + tq * dims * column(element_bytes(ops.dtype))) / row(machines.port_bandwidth)
    # one block at a time on a processor (its operands fill the local memory): keys stream in behind the products, but nothing is computed while its
    # queries come, nor while its results go
    steps = waves * part / _KEYS * (_STEP_CLOCKS * row(machines.clock_s))
    compute_s = np.maximum(waves * np.maximum(tile_compute, tile_port), steps)
    alone_s = waves * (_TRIPS * row(machines.trip_s))

    reduction = (8.0 * (split > 1.0) * split) * column(ops.output_bytes / np.maximum(element_bytes(ops.dtype), 0.5))
    half = RESIDENT_SHARE * row(machines.cache_bytes)
    in_flight = kv_bytes / heads * np.clip(units / (blocks * split), 1.0, heads)  # of the heads at work at once
    kv_dram = held * kv_bytes * np.where((kv_bytes <= half) | (in_flight <= half), 1.0, np.maximum(blocks * split / units, 1.0))
    own_dram = keep * (q_bytes + out)
    kv_cache, own_cache = kv_bytes * blocks * np.minimum(walked / kv, 1.0), q_bytes + out + reduction
    dram, cache_traffic = own_dram + kv_dram, own_cache + kv_cache
    sustained, cache_rate = row(d.dram_bandwidth) * tech.DRAM_EFFICIENCY, row(machines.cache_bandwidth)
    dram_s, cache_s = dram / sustained, cache_traffic / cache_rate
    own_s = np.maximum(own_dram / sustained, own_cache / cache_rate)
    # a second kernel where keys are split
    fill = row(machines.fill_s) + (split > 1.0) * row(machines.launch_s + machines.fill_s)
    time = np.maximum(np.maximum(compute_s, kv_dram / sustained), kv_cache / cache_rate) + own_s + alone_s + fill

    per_matrix, per_vector = arithmetic_j(ops, machines)[0][..., None], row(float32_vector_j(machines))
    work = heads * blocks * tq * np.maximum(walked, 1.0)
    joules = Joules.of(machines, work * (2.0 * dims * per_matrix + _PER_PAIR * per_vector), dram, column(ops.output_bytes), cache_traffic, work * dims / 16.0)
    best = least(worth(objective, time, compute_s + alone_s, joules, machines), cache_traffic)
    t, c, ds, cs, dr, ct, *parts = pick(best, time, compute_s + alone_s, dram_s, cache_s, dram, cache_traffic, joules.compute, joules.local, joules.cache, joules.dram)
    limit = limit_code([c, np.zeros_like(c), np.zeros_like(c), cs, ds, np.broadcast_to(machines.fill_s, c.shape)])
    return OpCosts(t, np.minimum(np.maximum(c, cs), t), np.sum(parts, axis=0), dr, ct, limit, best.astype(np.int32), *parts)
