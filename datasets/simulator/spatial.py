"""Spatial arrays: a grid of multiply-accumulate units fed from one scratchpad.

Cycles are those of SCALE-Sim (Samajdar et al., ISPASS 2020), whose analytical mode has a closed form; they agree with its output on
every row tried. What the tool leaves to its user, the mapping search here decides: how a layer is cut into blocks that fit the
scratchpad twice (double buffering), and which operand stays while the others stream, so that the slower of array and DRAM is
as fast as it can be (or as frugal: `objective`).

Machines whose file says whom each memory serves get the full search over loop orders and memories instead (`array_costs`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..columns import OpColumns, work_left
from ..hardware import DATAFLOWS
from ..ops import KIND_CODES
from . import technology as tech
from .array_costs import array_costs
from .array_pace import kept_share, pace
from .costs import OBJECTIVES, OpCosts, pick
from .kernels import Kernels
from .machine import Machines
from .power import power_capped

#: parts of each shared memory that the tiles of a detailed array may fill, all tried: tiles that fill it are moved least, smaller ones load sooner and behind the work
SHARES = tuple(0.25**i for i in range(5))
#: kinds whose products are loop nests
_NESTED = ("gemm", "conv", "grouped_gemm", "deform_conv")
_CUTS = tuple(2.0**i for i in range(8))
#: one dimension may be much longer than the others (rows of a batched convolution, a vocabulary): finer cuts along it, few along the rest
_FINE_CUTS = tuple(2.0**i for i in range(9, 18, 2))
_FEW_CUTS = (1.0, 4.0, 16.0, 64.0)
_CUT_TRIPLES = (*((pm, pn, pk) for pm in _CUTS for pn in _CUTS for pk in _CUTS if pm * pn * pk <= 2**14),
                *((pm, pn, pk) for pm in _FINE_CUTS for pn in _CUTS for pk in _CUTS if pn * pk <= 2**10),
                *((pm, pn, pk) for pm in _FEW_CUTS for pn in _FINE_CUTS for pk in _FEW_CUTS), *((pm, pn, pk) for pm in _FEW_CUTS for pn in _FEW_CUTS for pk in _FINE_CUTS))
#: (mappings, 4): blocks along m, n, k, and which operand stays: 0 outputs, 1 weights, 2 inputs
ARRAY_MAPPINGS = np.array([(pm, pn, pk, stays) for pm, pn, pk in _CUT_TRIPLES for stays in (0.0, 1.0, 2.0) if stays == 0 or pk > 1 or (pm, pn) == (1, 1)])
#: the finest even cut: what is left where nothing fits
_FINEST = int(np.where((ARRAY_MAPPINGS[:, :3] <= _CUTS[-1]).all(1), ARRAY_MAPPINGS[:, :3].prod(1), 0.0).argmax())


def systolic_cycles(m: np.ndarray, n: np.ndarray, k: np.ndarray, rows: np.ndarray, cols: np.ndarray, dataflow: str) -> np.ndarray:
    """Cycles of an (m x k)(k x n) product on a rows x cols systolic array, no stalls. Arrays broadcast.

    Each fold streams the third dimension through the array after filling it: SCALE-Sim's 2 rows + cols + stream - 2 (operands
    preloaded, ws and is) or rows + cols + k - 2 plus draining (os); its count starts at zero.
    Raises KeyError for a dataflow other than ws, os, is.
    """
    folds, stream = _folds(m, n, k, rows, cols, dataflow)
    fill = rows + cols - 2.0 if dataflow == "os" else 2.0 * rows + cols - 2.0
    return folds * (fill + stream) - 1.0


def _folds(m: np.ndarray, n: np.ndarray, k: np.ndarray, rows: np.ndarray, cols: np.ndarray, dataflow: str) -> tuple[np.ndarray, np.ndarray]:
    down, across, stream = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}[dataflow]
    return np.ceil(down / rows) * np.ceil(across / cols), stream


def _splits(count: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Ways to cut a product over `count` arrays: (pieces along b, m, n). All along one, or two powers of two near the root along two of them; never along k, whose
    partial sums would have to meet."""
    one = np.ones_like(count)
    if not (np.asarray(count) > 1).any():
        return [(one, one, one)]
    low = 2.0 ** np.floor(np.log2(np.maximum(count, 1.0)) / 2.0)
    high = np.floor(count / low)
    return [(count, one, one), (one, count, one), (one, one, count),
            (low, high, one), (high, low, one), (low, one, high), (high, one, low), (one, low, high), (one, high, low)]


def flow_work(b: np.ndarray, m: np.ndarray, n: np.ndarray, k: np.ndarray, window: np.ndarray, rows: np.ndarray, cols: np.ndarray,
              count: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(dataflow -> cycles, dataflow -> scratchpad elements moved) of b products on `count` arrays, for every dataflow. Arrays broadcast."""
    cycles: dict[str, np.ndarray] = {}
    height = np.minimum(np.round(np.sqrt(np.maximum(window, 1.0))), rows)
    for over_b, over_m, over_n in _splits(count):
        b1, m1, n1 = np.ceil(b / over_b), np.ceil(m / over_m), np.ceil(n / over_n)
        for flow in ("ws", "os", "is"):
            folds, stream = _folds(m1, n1, k, rows, cols, flow)
            fill = rows + cols - 2.0 if flow == "os" else 2.0 * rows + cols - 2.0
            cycles[flow] = np.minimum(b1 * folds * (fill + stream) - 1.0, cycles.get(flow, np.inf))
        # row stationary (Chen et al., ISCA 2016): filter rows stand in columns of kernel-height groups, output rows across; the array breaks
        # into whole groups down and whole strips across
        busy = np.floor(rows / height) * height * (m1 / np.ceil(m1 / cols))
        cycles["rs"] = np.minimum(np.ceil(b1 * m1 * n1 * k / busy) + rows + cols, cycles.get("rs", np.inf))
    moved = {"ws": b * (m * k * np.ceil(n / cols) + k * n + 2.0 * m * n * np.ceil(k / rows)),
             "os": b * (m * k * np.ceil(n / cols) + k * n * np.ceil(m / rows) + m * n),
             "is": b * (m * k + k * n * np.ceil(m / cols) + 2.0 * m * n * np.ceil(k / rows))}
    moved["rs"] = b * (m * k / height + k * n * np.maximum(np.ceil(m / cols) / 16.0, 1.0) + m * n)
    cycles["flexible"] = np.minimum(np.minimum(cycles["ws"], cycles["os"]), cycles["is"])
    moved["flexible"] = np.minimum(np.minimum(moved["ws"], moved["os"]), moved["is"])
    return cycles, moved


def _pace(ops: OpColumns, machines: Machines) -> tuple[np.ndarray, np.ndarray]:
    """((n, D) cycles per dense, parallel cycle, (n, D) share of the multiply-adds that are done): bit-serial arrays, skipped zeros, N:M units."""
    by_array = {a: (pace(ops, a), kept_share(ops, a)) for a in set(machines.arrays)}
    slow, kept = (np.column_stack([by_array[a][i] for a in machines.arrays]) for i in (0, 1))
    left = work_left(ops, machines.figures)
    return np.minimum(slow, left * slow / np.maximum(kept, 1e-12)), np.minimum(kept, left)


def _array_cycles(kernels: Kernels, machines: Machines, m: np.ndarray, n: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """((n, D) cycles of b products, (n, D) local bytes moved per operand byte width) under each machine's dataflow."""
    d, ops = machines.figures, kernels.ops
    b, m, n, k, window = (x[:, None] for x in (ops.b, m, n, k, ops.window))
    by_flow, local = flow_work(b, m, n, k, window, d.array_rows, d.array_cols, d.array_count)
    shape = (len(ops), len(d.array_rows))
    cycles, moved = np.empty(shape), np.empty(shape)
    for code in np.unique(d.dataflow):
        at = d.dataflow == code
        cycles[:, at], moved[:, at] = by_flow[DATAFLOWS[code]][:, at], local[DATAFLOWS[code]][:, at]
    return cycles * _pace(ops, machines)[0], moved


def spatial_costs(kernels: Kernels, machines: Machines, objective: str = "latency") -> OpCosts:
    """(n, D) costs of n kernels on D spatial arrays, each layer mapped for the objective: latency, energy or edp. Raises KeyError for another one."""
    if objective not in OBJECTIVES:
        raise KeyError(objective)
    kind = kernels.ops.kind
    matrix = np.isin(kind, [KIND_CODES[k] for k in (*_NESTED, "recurrent")])
    attention = kind == KIND_CODES["attention"]
    parts = []
    for rows, model in ((matrix, _products), (attention, _attention), (~(matrix | attention), _vector)):
        if rows.any():
            parts.append((np.flatnonzero(rows), model(kernels.take(np.flatnonzero(rows)), machines, objective)))
    return OpCosts.scatter((len(kernels), len(machines)), parts)


def _products(kernels: Kernels, machines: Machines, objective: str) -> OpCosts:
    """Machines without detail together; those with, one at a time, but for recurrent layers, whose steps wait for each other."""
    nested = np.isin(kernels.ops.kind, [KIND_CODES[k] for k in _NESTED])
    detail = np.array([a.detailed for a in machines.arrays])
    if not (detail.any() and nested.any()):
        return _matrix(kernels, machines, objective)
    simple, full = np.flatnonzero(~detail), np.flatnonzero(detail)
    out = [_matrix(kernels, machines.take(simple), objective)] if len(simple) else []
    rows, steps = np.flatnonzero(nested), np.flatnonzero(~nested)
    for d in full:
        one = machines.take(np.array([d]))
        parts = [(rows, _nested(kernels.take(rows), one, objective))]
        if len(steps):
            parts.append((steps, _matrix(kernels.take(steps), one, objective)))
        out.append(OpCosts.scatter((len(kernels), 1), parts))
    order = np.argsort(np.concatenate([simple, full]))
    return OpCosts(**{name: np.concatenate([getattr(c, name) for c in out], axis=1)[:, order] for name in OpCosts.__dataclass_fields__})


def _nested(kernels: Kernels, machines: Machines, objective: str) -> OpCosts:
    """(n, 1) costs on one machine by the loop-nest search. Ports are used as its file writes them: no share of the bandwidth is taken off."""
    d, ops, levels = machines.figures, kernels.ops, machines.arrays[0]
    mac = machines.mac_j[0, ops.dtype]
    static = machines.static_w[0] / d.clock_hz[0] if np.isfinite(machines.static_w[0]) else 0.0
    keep = kernels.spilled(machines.cache_bytes)[:, 0]
    found = array_costs(ops, levels, mac, keep, objective, static, SHARES)
    extra = keep * kernels.extra_bytes
    outer = levels.levels[-1]
    vector_s = ops.vector_flops / d.vector_rate[0, ops.dtype]
    dram = found.outer_bytes + extra
    compute_s, stalls_s, edges_s = (x / d.clock_hz for x in (found.busy, found.stalls, found.edges))
    time = np.maximum((np.where(found.valid, found.cycles, 0.0) + extra / outer.read) / d.clock_hz, vector_s)
    compute_j, dram_j = found.mac_j + ops.vector_flops / 2 * tech.PIPELINE_OVER_MAC["vector"] * mac, found.outer_j + extra * outer.read_j
    waits = dram / outer.read / d.clock_hz >= stalls_s   # whether the outermost memory is what it waits for, or one on the chip
    limit = np.argmax(np.stack([compute_s, vector_s, 0.0 * time, np.where(waits, 0.0, stalls_s), np.where(waits, stalls_s, 0.0), edges_s]), axis=0)
    costs = OpCosts(*(x[:, None] for x in (time, compute_s, compute_j + found.chip_j + dram_j, dram, found.chip_bytes, limit.astype(np.int8),
                                           (found.choice * 720 + found.order).astype(np.int32), compute_j, 0.0 * time, found.chip_j, dram_j)))
    if found.valid.all():
        return costs
    # no memory of the chip holds even one tile: the two-level search tells of the traffic
    fallback = _matrix(kernels, machines, objective)
    return OpCosts(**{name: np.where(found.valid[:, None], getattr(costs, name), getattr(fallback, name)) for name in OpCosts.__dataclass_fields__})


def _matrix(kernels: Kernels, machines: Machines, objective: str = "latency") -> OpCosts:
    d, ops = machines.figures, kernels.ops
    cycles, moved = _array_cycles(kernels, machines, ops.m, ops.n, ops.k)
    recurrent = (ops.kind == KIND_CODES["recurrent"])[:, None]
    if recurrent.any():  # steps cannot run side by side
        step, _ = _array_cycles(replace(kernels, ops=replace(ops, b=np.ones(len(ops)))), machines, ops.m, ops.n, ops.k)
        cycles = np.where(recurrent, step * ops.b[:, None], cycles)
    compute_s = cycles / d.clock_hz

    pm, pn, pk, stays = (ARRAY_MAPPINGS[:, i][None, None, :] for i in range(4))
    b = np.where(recurrent[:, 0], 1.0, np.maximum(ops.b, 1.0))[:, None, None]  # independent products, one after another
    a = ops.input_bytes[:, None, None] / b
    w = ops.weight_bytes[:, None, None] / b
    o = ops.output_bytes[:, None, None] / b
    half = (machines.cache_bytes / 2.0)[None, :, None]
    # partial sums are kept at 4 bytes while they accumulate
    sums = (ops.m * ops.n * 4.0)[:, None, None]
    fits = a / (pm * pk) + w / (pn * pk) + np.where(pk > 1, sums, o) / (pm * pn) <= half
    worth = (pm <= np.maximum(ops.m, 1.0)[:, None, None]) & (pn <= np.maximum(ops.n, 1.0)[:, None, None]) & (pk <= np.maximum(ops.k, 1.0)[:, None, None])
    a_reads = np.where(stays == 2, 1.0, np.minimum(pn, np.maximum(ops.n, 1.0)[:, None, None]))
    w_reads = np.where(stays == 1, 1.0, np.minimum(pm, np.maximum(ops.m, 1.0)[:, None, None]))
    o_moves = np.where((stays == 0) | (pk == 1), o, o + 2.0 * (pk - 1.0) * sums)
    keep = kernels.spilled(machines.cache_bytes)[..., None]
    # an operand that stays in the scratchpad from the kernel before, whole, is not read again however often it streams
    dram = b * (keep * a * a_reads + w * w_reads + keep * o_moves) + keep * kernels.extra_bytes[:, None, None]
    bandwidth = (d.dram_bandwidth * tech.DRAM_EFFICIENCY)[None, :, None]
    first = (keep * a / (pm * pk) + w / (pn * pk)) / bandwidth
    dram_s = dram / bandwidth
    allowed = fits & worth
    allowed[..., _FINEST] |= ~allowed.any(-1)  # nothing fits: the finest cut, whose traffic tells the story
    time = np.where(allowed, np.maximum(compute_s[..., None], dram_s) + first, np.inf)
    element = ((ops.input_bytes + ops.weight_bytes) / np.maximum(ops.b * ops.k * (ops.m / np.maximum(ops.window, 1.0) + ops.n), 1.0))[:, None]
    sram_bytes = moved * np.clip(element, 0.5, 8.0)
    arithmetic, scratch, outer = _joules(kernels, machines, dram, sram_bytes[..., None])
    energy = arithmetic + scratch + outer
    under_limit = power_capped(time, compute_s[..., None], energy, machines.static_w[:, None], machines.limit_w[:, None])[0]
    if objective == "latency":
        near = under_limit <= under_limit.min(-1, keepdims=True) * 1.001
        best = np.where(near, np.broadcast_to(dram, time.shape), np.inf).argmin(-1)
    else:
        static = np.where(np.isfinite(machines.static_w), machines.static_w, 0.0)[:, None]
        seconds = np.where(allowed, under_limit, 1.0)
        joules = energy + static * seconds
        best = np.where(allowed, joules if objective == "energy" else joules * seconds, np.inf).argmin(-1)
    dr, fs, ds = pick(best, dram, first, dram_s)
    sram_s = sram_bytes / machines.cache_bandwidth
    vector_s = ops.vector_flops[:, None] / d.vector_rate[:, ops.dtype].T
    time = np.maximum(np.maximum(compute_s, ds), np.where(np.isfinite(d.cache_bandwidth), sram_s, 0.0)) + fs
    time = np.maximum(time, vector_s)
    limit = np.argmax(np.stack(np.broadcast_arrays(compute_s, vector_s, 0.0 * ds, np.where(np.isfinite(d.cache_bandwidth), sram_s, 0.0), ds, fs)), axis=0)
    return _answer(kernels, machines, time, compute_s, dr, sram_bytes, limit, best)


def _attention(kernels: Kernels, machines: Machines, objective: str) -> OpCosts:
    """Scores and weighted sum as two products on the array; scores stay on chip row block by row block (FLAT, Kao et al. 2023)."""
    d, ops = machines.figures, kernels.ops
    seen = ops.matrix_flops / np.maximum(4.0 * ops.b * ops.m * ops.n * ops.k, 1.0)  # share of pairs attended (causal), at equal head dims
    first, moved1 = _array_cycles(kernels, machines, ops.m, ops.n, ops.k)
    second, moved2 = _array_cycles(kernels, machines, ops.m, ops.k, ops.n)
    compute_s = (first + second) * seen[:, None] / d.clock_hz
    keep = kernels.spilled(machines.cache_bytes)
    kv = ops.weight_bytes[:, None]
    # a block of queries and its scores must fit half the scratchpad; every block streams K and V again
    per_query = 4.0 * ops.n[:, None] + (ops.input_bytes / np.maximum(ops.b * ops.m, 1.0))[:, None]
    block = np.clip(np.floor(machines.cache_bytes / 2.0 / per_query), 1.0, ops.m[:, None])
    passes = np.where(kv <= machines.cache_bytes / 2.0, 1.0, np.ceil(ops.m[:, None] / block))
    dram = keep * (ops.input_bytes + ops.output_bytes + kernels.extra_bytes)[:, None] + kv * passes
    dram_s = dram / (d.dram_bandwidth * tech.DRAM_EFFICIENCY)
    vector_s = ops.vector_flops[:, None] / d.vector_rate[:, ops.dtype].T
    time = np.maximum(np.maximum(compute_s, dram_s), vector_s)
    sram = (moved1 + moved2) * seen[:, None] * (ops.input_bytes / np.maximum(ops.b * ops.m * ops.k, 1.0))[:, None]
    limit = np.argmax(np.stack(np.broadcast_arrays(compute_s, vector_s, 0.0 * time, 0.0 * time, dram_s)), axis=0)
    return _answer(kernels, machines, time, compute_s, dram, sram, limit)


def _vector(kernels: Kernels, machines: Machines, objective: str) -> OpCosts:
    d, ops = machines.figures, kernels.ops
    keep = kernels.spilled(machines.cache_bytes)
    moved = (ops.input_bytes + ops.output_bytes + kernels.extra_bytes)[:, None]
    dram = keep * moved + ops.weight_bytes[:, None]
    sram = moved + ops.weight_bytes[:, None] + 0.0 * dram
    vector_s = ops.vector_flops[:, None] / d.vector_rate[:, ops.dtype].T
    dram_s = dram / (d.dram_bandwidth * tech.DRAM_EFFICIENCY)
    sram_s = np.where(np.isfinite(d.cache_bandwidth), sram / machines.cache_bandwidth, 0.0)
    time = np.maximum(np.maximum(vector_s, dram_s), sram_s) + machines.fill_s
    limit = np.argmax(np.stack(np.broadcast_arrays(0.0 * time, vector_s, 0.0 * time, sram_s, dram_s, machines.fill_s)), axis=0)
    return _answer(kernels, machines, time, vector_s, dram, sram, limit)


def _joules(kernels: Kernels, machines: Machines, dram: np.ndarray, sram: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """J of arithmetic, of the scratchpad and of DRAM, shaped like `dram`: (n, D) or (n, D, mappings)."""
    ops = kernels.ops
    extra = dram.ndim - 2  # a last axis of mappings, or none

    def machine(x: np.ndarray) -> np.ndarray:
        return x.reshape(-1, *[1] * extra)

    def op(x: np.ndarray) -> np.ndarray:
        return x.reshape(-1, 1, *[1] * extra)

    mac = machines.mac_j[:, ops.dtype].T.reshape(len(ops), -1, *[1] * extra)
    done = _pace(ops, machines)[1].reshape(len(ops), -1, *[1] * extra)
    written = np.minimum(op(ops.output_bytes), dram)
    arithmetic = (op(ops.matrix_flops) / 2 * done * tech.PIPELINE_OVER_MAC["array"] + op(ops.vector_flops) / 2 * tech.PIPELINE_OVER_MAC["vector"]) * mac
    return arithmetic, sram * machine(machines.cache_j), (dram - written) * machine(machines.dram_read_j) + written * machine(machines.dram_write_j)


def _answer(kernels: Kernels, machines: Machines, time: np.ndarray, compute: np.ndarray, dram: np.ndarray, sram: np.ndarray, limit: np.ndarray,
            mapping: np.ndarray | None = None) -> OpCosts:
    arithmetic, cache, outer = (np.broadcast_to(x, time.shape) for x in _joules(kernels, machines, dram, sram))
    mapping = np.zeros(time.shape, dtype=np.int32) if mapping is None else mapping
    return OpCosts(time, compute, arithmetic + cache + outer, dram, sram, limit.astype(np.int8), mapping.astype(np.int32), arithmetic, np.zeros(time.shape), cache, outer)
