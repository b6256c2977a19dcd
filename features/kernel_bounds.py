"""What one kernel takes on a throughput machine, by the simulator's own formulas for a handful of mappings in place of all of them. Row-aligned, like `bounds`.

Products: `CANONICAL_TILES`, each with its reduction whole or split to fill idle processors. Attention: three heights of a block of queries, keys whole or
split. Recurrent layers and streams have one mapping. Where a formula comes from stands in `datasets/simulator` (`gemm`, `attention`, `recurrent`, `stream`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..datasets.columns import OpColumns, element_bytes
from ..datasets.ops import KIND_CODES
from ..datasets.simulator import attention as attn
from ..datasets.simulator import gemm, stream
from ..datasets.simulator import technology as tech
from ..datasets.simulator.kernels import RESIDENT_SHARE
from .machine_rows import MachineRows

#: tiles every GEMM library has; (tile_m, tile_n)
CANONICAL_TILES: tuple[tuple[int, int], ...] = ((16, 32), (16, 128), (32, 64), (64, 64), (64, 128), (128, 64), (128, 128), (128, 256), (256, 128))
_SPLIT_MOST = 16.0


@dataclass(frozen=True)
class KernelEstimate:
    """(n,) seconds without launch and before the power limit, seconds that the clock governs, bytes through DRAM and the last cache, and J outside DRAM; (n, tiles)
    seconds of arithmetic under each canonical tile."""

    seconds: np.ndarray
    clocked_s: np.ndarray
    dram_bytes: np.ndarray
    cache_bytes: np.ndarray
    core_j: np.ndarray
    tiles_s: np.ndarray


def kernel_estimate(ops: OpColumns, machines: MachineRows, matrix: np.ndarray, keep: np.ndarray, left: np.ndarray, out: np.ndarray) -> KernelEstimate:
    """n kernels on n machines. `matrix`: (n,) whether it is work for matrix units. `keep`: share of the activations that travels through DRAM; `left`:
    share of dense matrix work that is left; `out`: bytes of results and fused operands."""
    attention, recurrent = ops.kind == KIND_CODES["attention"], ops.kind == KIND_CODES["recurrent"]
    product = matrix & ~attention & ~recurrent
    parts = {name: np.zeros(len(ops)) for name in ("seconds", "clocked_s", "dram_bytes", "cache_bytes", "core_j")}
    tiles_s = np.zeros((len(ops), len(CANONICAL_TILES)))
    for mask, model in ((product, _product), (attention, _attention), (recurrent, _recurrent), (~matrix, _stream)):
        at = np.flatnonzero(mask)
        if len(at):
            *found, tiles = model(ops.take(at), machines.take(at), keep[at], left[at], out[at])
            for name, values in zip(parts, found, strict=True):
                parts[name][at] = values
            if tiles is not None:
                tiles_s[at] = tiles
    return KernelEstimate(**parts, tiles_s=tiles_s)


_Found = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]


def _product(ops: OpColumns, d: MachineRows, keep: np.ndarray, left: np.ndarray, out: np.ndarray) -> _Found:
    tm, tn = (np.array(t, dtype=np.float64)[None, :] for t in zip(*CANONICAL_TILES, strict=True))
    b, m, n, k = (np.maximum(getattr(ops, x), 1.0)[:, None] for x in ("b", "m", "n", "k"))
    units, element = d.units[:, None], np.maximum(element_bytes(ops.dtype), 0.5)[:, None]
    stage = gemm._STAGES * (tm + tn) * gemm._STAGE_BYTES
    local = d.local_bytes[:, None]
    fits = (stage <= local) & (4.0 * tm * tn <= local)
    fits[:, 0] |= ~fits.any(1)
    resident = np.clip(np.floor(local / stage), 1.0, gemm.MOST_RESIDENT)
    plain = b * np.ceil(m / tm) * np.ceil(n / tn)
    fill_up = 2.0 ** np.floor(np.log2(np.clip(units / plain, 1.0, np.clip(k / gemm.LEAST_DEPTH, 1.0, _SPLIT_MOST))))
    a_size = (ops.input_bytes / np.maximum(ops.b * ops.m * ops.k, 1.0))[:, None]
    b_size = (ops.weight_bytes / np.maximum(ops.b * ops.k * ops.n, 1.0))[:, None]
    operands = np.minimum(tm, m) * a_size + np.minimum(tn, n) * b_size
    per_depth = np.maximum(np.maximum(2.0 * tm * tn * (left * d.units / (d.matrix_rate * tech.MATRIX_EFFICIENCY))[:, None], (tm + tn) * (element / d.local_bandwidth[:, None])),
                           operands / d.port_bandwidth[:, None])
    sustained, cache_rate = (d.dram_bandwidth * tech.DRAM_EFFICIENCY)[:, None], d.cache_bandwidth[:, None]
    a, w, kept, gone = ops.input_bytes[:, None], ops.weight_bytes[:, None], keep[:, None], out[:, None]
    half = RESIDENT_SHARE * d.cache_bytes[:, None]
    link = element * (tech.CHAIN_CLOCKS / tech.CHAIN_BYTES) / d.clock_hz[:, None]
    again = (d.launch_s + d.fill_s)[:, None]

    def computing(split: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        tiles = plain * split
        waves = np.ceil(tiles / units)
        depth = np.where(split > 1.0, np.maximum(np.ceil(k / split), gemm.LEAST_DEPTH), k)
        return np.maximum(waves * (per_depth * depth), np.ceil(waves / resident) * (2.0 * d.trip_s[:, None] + depth * link)), tiles, waves

    compute, tiles, waves = computing(np.ones_like(fill_up))
    split = np.ones_like(fill_up)
    if (fill_up > 1.0).any():  # worth a second kernel and the partial sums?
        cut, cut_tiles, cut_waves = computing(fill_up)
        worth = compute - cut > again + 8.0 * (fill_up - 1.0) * b * m * n / cache_rate
        split, compute, tiles, waves = (np.where(worth, new, old) for new, old in ((fill_up, split), (cut, compute), (cut_tiles, tiles), (cut_waves, waves)))
    reduction = 8.0 * (split - 1.0) * b * m * n
    through = tiles * np.ceil(k / split) * operands + gone + reduction
    concurrent = np.minimum(tiles, units)
    rows, columns = np.ceil(m / tm), np.ceil(n / tn)
    block_m = np.clip(np.sqrt(concurrent * (tn / tm)), 1.0, rows)
    block_n = np.clip(concurrent / block_m, 1.0, columns)
    a_dram = a * np.where(a <= half, 1.0, np.ceil(columns / block_n))
    w_dram = w * np.where(w <= half, 1.0, np.ceil(rows / block_m))
    dram = np.minimum(kept * a_dram + w, kept * a + w_dram) + kept * gone + np.where(reduction <= half, 0.0, reduction)
    going = np.maximum(kept * gone / sustained, (gone + reduction) / cache_rate) / np.minimum(resident, np.maximum(waves, 1.0))
    cache_s = through / cache_rate
    time = np.maximum(np.maximum(compute, np.maximum(dram / sustained, cache_s) - going), going) + going + (split > 1.0) * again
    time, clocked = np.where(fits, time, np.inf), np.maximum(compute, cache_s)
    at = (np.arange(len(ops)), time.argmin(1))
    # a product thin in one dimension on vector units, an output each lane
    outputs = ops.b * ops.m * ops.n
    lanes = np.ceil(outputs / (64.0 * d.units)) * 64.0 * d.units / np.maximum(outputs, 1.0)
    vector_s = np.maximum(ops.matrix_flops / (d.vector_rate * tech.MATRIX_EFFICIENCY) * lanes, ops.k * link[:, 0])
    moved = keep * (ops.input_bytes + out) + ops.weight_bytes
    thin = np.minimum(np.minimum(ops.m, ops.n), ops.k) < gemm.THIN
    on_vector = np.where(thin, np.maximum(vector_s, moved / sustained[:, 0]), np.inf)
    vector = on_vector < time[at]
    epilogue = ops.vector_flops / d.vector_rate
    seconds = np.minimum(on_vector, time[at]) + d.fill_s + epilogue
    through_best = np.where(vector, ops.input_bytes + ops.weight_bytes + out, through[at])
    core = ops.matrix_flops * np.where(vector, d.vector_j, d.matrix_j * left) + ops.vector_flops * d.vector_j + through_best * d.cache_j + ops.matrix_flops * element[:, 0] / 64.0 * d.local_j
    return seconds, np.where(vector, vector_s, clocked[at]), np.where(vector, moved, dram[at]), through_best, core, compute


def _attention(ops: OpColumns, d: MachineRows, keep: np.ndarray, left: np.ndarray, out: np.ndarray) -> _Found:
    b, q, kv = (np.maximum(getattr(ops, x), 1.0) for x in ("b", "m", "n"))
    pairs = ops.vector_flops / attn._PER_PAIR / b
    dims = ops.matrix_flops / (2.0 * np.maximum(b * pairs, 1.0))
    stored, element = np.maximum(element_bytes(ops.weight_dtype), 0.5), element_bytes(ops.dtype)
    group = np.clip(np.round(b * kv * dims * stored / np.maximum(ops.weight_bytes, 1.0)), 1.0, b)
    few = q <= attn._FEW
    packed = np.where(few, group, 1.0)
    heads = b / packed
    other = attn._PER_PAIR - attn._EXP
    softmax = np.where(np.isfinite(d.special_rate), 1.0 / d.special_rate + 2.0 * other / d.float32_rate, attn._PER_PAIR / d.float32_rate) * d.units
    sustained = d.dram_bandwidth * tech.DRAM_EFFICIENCY
    half = RESIDENT_SHARE * d.cache_bytes
    own_dram = keep * (ops.input_bytes + out)
    best: tuple[np.ndarray, ...] | None = None
    for height in (16.0, 64.0, 128.0):
        tq = np.where(few, height, max(height, attn._LEAST_ROWS))
        blocks = np.ceil(q * packed / tq)
        queries = np.maximum(tq / packed, 1.0)
        masked = np.where(pairs < 0.999 * q * kv, (queries - 1.0) / 2.0, 0.0)
        walked = np.minimum(np.ceil(np.minimum(pairs / q + masked, kv) / attn._KEYS), np.ceil(kv / attn._KEYS)) * attn._KEYS
        fill_up = np.clip(2.0 ** np.floor(np.log2(np.maximum(d.units / (heads * blocks), 1.0))), 1.0, np.clip(kv / attn._KEYS, 1.0, 64.0))
        for split in (np.ones_like(fill_up), fill_up):
            waves = np.ceil(heads * blocks * split / d.units)
            part = np.maximum(np.ceil(walked / split / attn._KEYS) * attn._KEYS, attn._KEYS)
            tile = tq * part * (2.0 * dims * d.units / (d.matrix_rate * tech.MATRIX_EFFICIENCY) + softmax)
            port = (part * dims * stored + tq * dims * element) / d.port_bandwidth
            compute = np.maximum(waves * np.maximum(tile, port), waves * part / attn._KEYS * (attn._STEP_CLOCKS / d.clock_hz))
            alone = waves * attn._TRIPS * d.trip_s
            reduction = 8.0 * (split > 1.0) * split * ops.output_bytes / np.maximum(element, 0.5)
            in_flight = ops.weight_bytes / heads * np.clip(d.units / (blocks * split), 1.0, heads)
            kv_dram = ops.weight_bytes * np.where((ops.weight_bytes <= half) | (in_flight <= half), 1.0, np.maximum(blocks * split / d.units, 1.0))
            kv_cache, own_cache = ops.weight_bytes * blocks * np.minimum(walked / kv, 1.0), ops.input_bytes + out + reduction
            own_s = np.maximum(own_dram / sustained, own_cache / d.cache_bandwidth)
            fill = d.fill_s + (split > 1.0) * (d.launch_s + d.fill_s)
            time = np.maximum(np.maximum(compute, kv_dram / sustained), kv_cache / d.cache_bandwidth) + own_s + alone + fill
            work = heads * blocks * tq * np.maximum(walked, 1.0)
            cache = own_cache + kv_cache
            core = work * (2.0 * dims * d.matrix_j + attn._PER_PAIR * d.float32_j) + cache * d.cache_j + work * dims / 16.0 * d.local_j
            found = (time, np.maximum(compute + alone, cache / d.cache_bandwidth), own_dram + kv_dram, cache, core)
            best = found if best is None else tuple(np.where(time < best[0], new, old) for new, old in zip(found, best, strict=True))
    assert best is not None
    time, clocked, dram, cache, core = best
    return time, clocked, dram, cache, core, None


def _recurrent(ops: OpColumns, d: MachineRows, keep: np.ndarray, left: np.ndarray, out: np.ndarray) -> _Found:
    waves = np.ceil(np.ceil(ops.n / 64.0) / d.units)
    step = waves * 2.0 * np.ceil(ops.m / 16.0) * 16.0 * 64.0 * ops.k * d.units / (d.matrix_rate * tech.MATRIX_EFFICIENCY)
    compute = ops.b * step + ops.vector_flops / d.vector_rate
    every = ops.weight_bytes * np.maximum(ops.b, 1.0)
    dram = keep * (ops.input_bytes + ops.output_bytes) + np.where(ops.weight_bytes <= RESIDENT_SHARE * d.cache_bytes, ops.weight_bytes, every)
    time = np.maximum(np.maximum(compute, dram / (d.dram_bandwidth * tech.DRAM_EFFICIENCY)), every / d.cache_bandwidth) + ops.b * d.trip_s + d.fill_s
    core = ops.matrix_flops * d.matrix_j + ops.vector_flops * d.vector_j + every * d.cache_j + ops.matrix_flops / 32.0 * d.local_j
    return time, compute, dram, every, core, None


def _stream(ops: OpColumns, d: MachineRows, keep: np.ndarray, left: np.ndarray, out: np.ndarray) -> _Found:
    element, scan = element_bytes(ops.dtype), ops.kind == KIND_CODES["scan"]
    passes = np.where((ops.row * element > d.local_bytes) & ~scan, 2.0, 1.0)
    moved = ops.input_bytes * passes + out
    traffic = moved + ops.weight_bytes
    dram = keep * moved + ops.weight_bytes
    share = stream.busy_share(ops, d.units[:, None])[:, 0]
    compute = ops.vector_flops / (d.vector_rate * share)
    own = np.where(ops.kind == KIND_CODES["norm"], 1.0 / d.units, share)
    shared = np.where(scan, np.maximum(ops.input_bytes - 2.0 * ops.output_bytes, 0.0), 0.0)
    cache_s = ((moved - shared) / share + shared * d.units + ops.weight_bytes / own) / d.cache_bandwidth
    trips = np.where(stream._REDUCES[ops.kind], passes, 0.0) + np.where(scan, np.ceil(ops.row / stream._SCAN_CHUNK), 0.0)
    time = np.maximum(np.maximum(compute, dram / (d.dram_bandwidth * tech.DRAM_EFFICIENCY)), cache_s) + d.fill_s + trips * d.trip_s
    core = ops.vector_flops * d.vector_j + traffic * (d.cache_j + d.local_j)
    return time, np.maximum(compute, cache_s), dram, traffic, core, None
