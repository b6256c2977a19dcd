"""Recurrent layers on throughput machines: steps one after another."""

from __future__ import annotations

import numpy as np

from . import technology as tech
from .costs import OpCosts
from .gemm import matrix_rate, vector_rate
from .joules import Joules, arithmetic_j, limit_code
from .kernels import RESIDENT_SHARE, Kernels
from .machine import Machines


def recurrent_costs(kernels: Kernels, machines: Machines, objective: str) -> OpCosts:
    """(n, D) costs: weights come from cache when they fit, else from DRAM at every step; each step waits for the one before, one trip to memory.
    There is one mapping, whatever the objective."""
    d, ops = machines.figures, kernels.ops
    keep = kernels.spilled(machines.cache_bytes)
    rate, lanes = matrix_rate(ops, machines)[..., 0], vector_rate(ops, machines)[..., 0]
    column = {x: getattr(ops, x)[:, None] for x in ("b", "m", "n", "k", "matrix_flops", "vector_flops", "input_bytes", "weight_bytes", "output_bytes")}
    # every step: blocks of 64 gate outputs, rows padded to 16, in waves over the processors
    waves = np.ceil(np.ceil(column["n"] / 64.0) / d.units)
    step_s = waves * 2.0 * np.ceil(column["m"] / 16.0) * 16.0 * 64.0 * column["k"] * d.units / rate
    compute_s = column["b"] * step_s + column["vector_flops"] / lanes
    cached = column["weight_bytes"] <= RESIDENT_SHARE * machines.cache_bytes
    step_weights = column["weight_bytes"] * np.maximum(column["b"], 1.0)
    dram = keep * (column["input_bytes"] + column["output_bytes"]) + np.where(cached, column["weight_bytes"], step_weights)
    dram_s = dram / (d.dram_bandwidth * tech.DRAM_EFFICIENCY)
    cache_s = step_weights / machines.cache_bandwidth
    steps = column["b"] * machines.trip_s
    time = np.maximum(np.maximum(compute_s, dram_s), cache_s) + steps + machines.fill_s
    limit = limit_code([compute_s, np.zeros_like(time), np.zeros_like(time), cache_s, dram_s, steps])
    per_matrix, per_vector = arithmetic_j(ops, machines)
    j = Joules.of(machines, column["matrix_flops"] * per_matrix + column["vector_flops"] * per_vector, dram, column["output_bytes"], step_weights, column["matrix_flops"] / 32.0)
    parts = [np.broadcast_to(x, time.shape).copy() for x in (j.compute, j.local, j.cache, j.dram)]
    return OpCosts(time, compute_s, np.broadcast_to(j.total, time.shape).copy(), dram, np.broadcast_to(step_weights, time.shape).copy(), limit, np.zeros(time.shape, dtype=np.int32), *parts)
