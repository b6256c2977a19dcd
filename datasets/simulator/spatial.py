"""Spatial arrays: a grid of multiply-accumulate units fed from one scratchpad.

Cycles are those of SCALE-Sim (Samajdar et al., ISPASS 2020), whose analytical mode has a closed form; they agree with its output on
every row tried. What the tool leaves to its user, the mapping search here decides: how a layer is cut into blocks that fit the
scratchpad twice (double buffering), and which operand stays while the others stream, so that the slower of array and DRAM is
as fast as it can be.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..hardware import DATAFLOWS
from ..ops import KIND_CODES
from . import technology as tech
from .costs import OpCosts, pick
from .kernels import Kernels
from .machine import Machines
from .power import power_capped

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


def flow_work(b: np.ndarray, m: np.ndarray, n: np.ndarray, k: np.ndarray, window: np.ndarray, rows: np.ndarray, cols: np.ndarray,
              count: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(dataflow -> cycles, dataflow -> scratchpad elements moved) of b products on `count` arrays, for every dataflow. Arrays broadcast."""
    cycles: dict[str, np.ndarray] = {}
    for flow in ("ws", "os", "is"):
        folds, stream = _folds(m, n, k, rows, cols, flow)
        fill = rows + cols - 2.0 if flow == "os" else 2.0 * rows + cols - 2.0
        cycles[flow] = np.ceil(b * folds / count) * (fill + stream) - 1.0
    moved = {"ws": b * (m * k * np.ceil(n / cols) + k * n + 2.0 * m * n * np.ceil(k / rows)),
             "os": b * (m * k * np.ceil(n / cols) + k * n * np.ceil(m / rows) + m * n),
             "is": b * (m * k + k * n * np.ceil(m / cols) + 2.0 * m * n * np.ceil(k / rows))}
    # row stationary (Chen et al., ISCA 2016): filter rows stand in columns of kernel-height groups, output rows across; the array breaks
    # into whole groups down and whole strips across
    height = np.minimum(np.round(np.sqrt(np.maximum(window, 1.0))), rows)
    strips = np.ceil(m / cols)
    busy = np.floor(rows / height) * height * (m / strips)
    cycles["rs"] = np.ceil(b * m * n * k / (busy * count)) + rows + cols
    moved["rs"] = b * (m * k / height + k * n * np.maximum(strips / 16.0, 1.0) + m * n)
    cycles["flexible"] = np.minimum(np.minimum(cycles["ws"], cycles["os"]), cycles["is"])
    moved["flexible"] = np.minimum(np.minimum(moved["ws"], moved["os"]), moved["is"])
    return cycles, moved


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
    return cycles, moved


def spatial_costs(kernels: Kernels, machines: Machines) -> OpCosts:
    """(n, D) costs of n kernels on D spatial arrays."""
    kind = kernels.ops.kind
    matrix = np.isin(kind, [KIND_CODES[k] for k in ("gemm", "conv", "recurrent", "grouped_gemm", "deform_conv")])
    attention = kind == KIND_CODES["attention"]
    parts = []
    for rows, model in ((matrix, _matrix), (attention, _attention), (~(matrix | attention), _vector)):
        if rows.any():
            parts.append((np.flatnonzero(rows), model(kernels.take(np.flatnonzero(rows)), machines)))
    return OpCosts.scatter((len(kernels), len(machines)), parts)


def _matrix(kernels: Kernels, machines: Machines) -> OpCosts:
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
    energy = _energy(kernels, machines, dram, sram_bytes[..., None])
    under_limit = power_capped(time, compute_s[..., None], energy, machines.static_w[:, None], machines.limit_w[:, None])[0]
    near = under_limit <= under_limit.min(-1, keepdims=True) * 1.001
    best = np.where(near, np.broadcast_to(dram, time.shape), np.inf).argmin(-1)
    t, dr, fs, ds, energy = pick(best, time, dram, first, dram_s, energy)
    sram_s = sram_bytes / machines.cache_bandwidth
    vector_s = ops.vector_flops[:, None] / d.vector_rate[:, ops.dtype].T
    time = np.maximum(np.maximum(compute_s, ds), np.where(np.isfinite(d.cache_bandwidth), sram_s, 0.0)) + fs
    time = np.maximum(time, vector_s)
    limit = np.argmax(np.stack(np.broadcast_arrays(compute_s, vector_s, 0.0 * t, np.where(np.isfinite(d.cache_bandwidth), sram_s, 0.0), ds, fs)), axis=0)
    return OpCosts(time, compute_s, energy, dr, sram_bytes, limit.astype(np.int8), best.astype(np.int32))


def _attention(kernels: Kernels, machines: Machines) -> OpCosts:
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
    return OpCosts(time, compute_s, _energy(kernels, machines, dram, sram), dram, sram, limit.astype(np.int8), np.zeros(time.shape, dtype=np.int32))


def _vector(kernels: Kernels, machines: Machines) -> OpCosts:
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
    return OpCosts(time, vector_s, _energy(kernels, machines, dram, sram), dram, sram, limit.astype(np.int8), np.zeros(time.shape, dtype=np.int32))


def _energy(kernels: Kernels, machines: Machines, dram: np.ndarray, sram: np.ndarray) -> np.ndarray:
    ops = kernels.ops
    extra = dram.ndim - 2  # a last axis of mappings, or none

    def machine(x: np.ndarray) -> np.ndarray:
        return x.reshape(-1, *[1] * extra)

    def op(x: np.ndarray) -> np.ndarray:
        return x.reshape(-1, 1, *[1] * extra)

    mac = machines.mac_j[:, ops.dtype].T.reshape(len(ops), -1, *[1] * extra)
    written = np.minimum(op(ops.output_bytes), dram)
    arithmetic = (op(ops.matrix_flops) / 2 * tech.PIPELINE_OVER_MAC["array"] + op(ops.vector_flops) / 2 * tech.PIPELINE_OVER_MAC["vector"]) * mac
    return arithmetic + (dram - written) * machine(machines.dram_read_j) + written * machine(machines.dram_write_j) + sram * machine(machines.cache_j)
