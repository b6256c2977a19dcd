"""Work without matrix products on throughput machines: elementwise, norms, softmax, pools, moves, look-ups, routing, scans."""

from __future__ import annotations

import numpy as np

from ..columns import OpColumns, element_bytes
from ..ops import KIND_CODES
from . import technology as tech
from .costs import OpCosts
from .gemm import vector_rate
from .joules import Joules, arithmetic_j, limit_code
from .kernels import Kernels
from .machine import Machines

#: (kinds,) whether a kind has as many outputs as inputs, one reduction a row
_KEEPS_ROWS = np.isin(np.arange(len(KIND_CODES)), [KIND_CODES["norm"], KIND_CODES["softmax"]])
#: kinds whose rows are reduced: a result waits for its whole row
_REDUCES = np.isin(np.arange(len(KIND_CODES)), [KIND_CODES[k] for k in ("norm", "softmax", "reduce", "route")])
#: steps of a scan that a block takes at once, in parallel within (Gu and Dao, "Mamba", 2023, section 3.3.2; the chunk of its published kernel: assumption)
_SCAN_CHUNK = 2048.0


def stream_costs(kernels: Kernels, machines: Machines, objective: str) -> OpCosts:
    """(n, D) costs: traffic, or vector work; a row too long for local memory is read twice, one that is reduced waits one more trip, and a scan goes
    chunk after chunk. There is one mapping, whatever the objective."""
    d, ops = machines.figures, kernels.ops
    keep, held = kernels.spilled(machines.cache_bytes), kernels.weights_spilled(machines.cache_bytes)
    lanes = vector_rate(ops, machines)[..., 0]
    element = element_bytes(ops.dtype)[:, None]
    scan = (ops.kind == KIND_CODES["scan"])[:, None]
    passes = np.where((ops.row[:, None] * element > machines.local_bytes_per_unit) & ~scan, 2.0, 1.0)
    moved = ops.input_bytes[:, None] * passes + (ops.output_bytes + kernels.extra_bytes)[:, None]
    traffic = moved + ops.weight_bytes[:, None]
    dram = keep * moved + held * ops.weight_bytes[:, None]
    share = busy_share(ops, d.units[None, :])
    compute_s = ops.vector_flops[:, None] / (lanes * share)
    dram_s = dram / (d.dram_bandwidth * tech.DRAM_EFFICIENCY)
    # every processor reads the scale and shift of a norm for itself; rows of a table are each read by one
    own = np.where((ops.kind == KIND_CODES["norm"])[:, None], 1.0 / d.units, share)
    # and the projections of a scan that its channels share (inputs beyond two a result)
    shared = np.where(scan, np.maximum(ops.input_bytes - 2.0 * ops.output_bytes, 0.0)[:, None], 0.0)
    cache_s = ((moved - shared) / share + shared * d.units + ops.weight_bytes[:, None] / own) / machines.cache_bandwidth
    trips = np.where(_REDUCES[ops.kind][:, None], passes, 0.0) + np.where(scan, np.ceil(ops.row[:, None] / _SCAN_CHUNK), 0.0)
    time = np.maximum(np.maximum(compute_s, dram_s), cache_s) + machines.fill_s + trips * machines.trip_s
    limit = limit_code([np.zeros_like(time), compute_s, np.zeros_like(time), cache_s, dram_s, np.broadcast_to(machines.fill_s, time.shape)])
    _, per_vector = arithmetic_j(ops, machines)
    traffic = np.broadcast_to(traffic, time.shape)
    j = Joules.of(machines, ops.vector_flops[:, None] * per_vector, dram, keep * ops.output_bytes[:, None], traffic, traffic)
    parts = [np.broadcast_to(x, time.shape).copy() for x in (j.compute, j.local, j.cache, j.dram)]
    return OpCosts(time, np.minimum(np.maximum(compute_s, cache_s), time), np.broadcast_to(j.total, time.shape).copy(), dram, traffic.copy(), limit, np.zeros(time.shape, dtype=np.int32), *parts)


def busy_share(ops: OpColumns, units: np.ndarray) -> np.ndarray:
    """(n, D) share of the processors (`units`, (1, D) or (n, 1)) that an op without matrix work can keep busy.

    A block of 256 threads takes 256 outputs, or up to 256 elements of one reduction; of a scan, one channel of one sequence.
    """
    outputs = ops.output_bytes / element_bytes(ops.dtype)
    keeps_rows = _KEEPS_ROWS[ops.kind]  # as many outputs as inputs: one reduction a row
    reductions = np.where(keeps_rows, outputs / np.maximum(ops.row, 1.0), outputs)
    extent = np.maximum(np.maximum(ops.row, ops.window), 1.0)
    blocks = np.maximum(reductions * np.minimum(extent, 256.0) / 256.0, 1.0)
    blocks = np.where(ops.kind == KIND_CODES["scan"], np.maximum(outputs / np.maximum(ops.row, 1.0), 1.0), blocks)
    return np.minimum(blocks[:, None] / units, 1.0)
