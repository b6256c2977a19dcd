"""Processing in memory: products of weights and few vectors run in the banks that hold the weights; everything else on the processor beside them.

A machine of this style has a level of memory that serves weights only and is as large as the outermost one: the same DRAM, read inside the banks at
their own bandwidth. An in-bank unit multiplies what it reads and keeps nothing, so a matrix is read once for every vector (Lee et al., ISCA 2021, for
HBM-PIM; Wu et al., 2024, for PIM-GPT); units on the logic die under the DRAM can use a byte a few times (Yun et al., Duplex, MICRO 2024): `reuse`. Operands go
in and results come out over the memory's outer pins, before and after (not overlapped).

The split is per kernel and takes the better side by the search's objective, under the power limit: for latency a large batch or a prompt stays on the processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..columns import OpColumns, element_bytes
from ..hardware import Hardware, MemoryLevel
from ..ops import KIND_CODES
from . import technology as tech
from .costs import LIMITS, OpCosts
from .kernels import Kernels
from .machine import Machines
from .power import power_capped

#: kinds whose second operand lies in banks as it is used: weights of products, keys and values of attention
_IN_BANKS = tuple(KIND_CODES[k] for k in ("gemm", "grouped_gemm", "attention", "recurrent"))
#: energy of a byte read inside a bank, as a share of one brought out over the pins, where none is published: rows are opened all the same, the wires across the die
#: and the pins are spared (assumption)
IN_BANK_ENERGY = 0.5


def bank_level(hardware: Hardware) -> MemoryLevel | None:
    """The level whose banks compute; None where memory only stores."""
    return next((level for level in hardware.memory[:-1] if level.serves == ("weights",) and level.bandwidth_bytes_per_s
                 and level.capacity_bytes >= hardware.dram.capacity_bytes), None)


def in_bank_s(ops: OpColumns, bank_bandwidth: float, pin_bandwidth: float, reuse: float = 1.0, rate: np.ndarray | float = np.inf) -> np.ndarray:
    """(n,) seconds of n kernels in the banks; inf for a kind that cannot run there. Bandwidths in bytes per second, `rate` (n,) of the units in op/s.

    Operands go in and results come out over the pins; `reuse` as in `bank_reads`.
    """
    time = np.maximum(bank_reads(ops, reuse) / bank_bandwidth, ops.matrix_flops / rate) + (ops.input_bytes + ops.output_bytes) / pin_bandwidth
    return np.where(np.isin(ops.kind, _IN_BANKS) & (ops.weight_bytes > 0.0) & (ops.matrix_flops > 0.0), time, np.inf)


def bank_reads(ops: OpColumns, reuse: float = 1.0) -> np.ndarray:
    """(n,) bytes read inside the banks: the second operand, once for every `reuse` vectors (a bias makes a product's vectors a fraction: rounded)."""
    return ops.weight_bytes * np.maximum(np.ceil(np.round(_vectors(ops), 2) / reuse), 1.0)


def with_banks(costs: OpCosts, kernels: Kernels, machines: Machines, devices: Sequence[Hardware], reuse: float = 1.0, objective: str = "latency") -> OpCosts:
    """The (n, D) costs with kernels moved into the banks of the devices (the D machines) that have them, wherever that serves the objective better.

    `dram_bytes` counts what is read inside the banks as well as what crosses the pins.
    """
    banks = [bank_level(device) for device in devices]
    if not any(banks):
        return costs
    time, compute, energy, dram, limit = (getattr(costs, f).copy() for f in ("time_s", "compute_s", "dynamic_j", "dram_bytes", "limit"))
    parts = {f: getattr(costs, f).copy() for f in ("compute_j", "local_j", "cache_j", "dram_j")}
    ops = kernels.ops
    for at, level in enumerate(banks):
        if level is None:
            continue
        pins = float(machines.figures.dram_bandwidth[at]) * tech.DRAM_EFFICIENCY
        seconds = in_bank_s(ops, (level.bandwidth_bytes_per_s or 0.0) * tech.DRAM_EFFICIENCY, pins, reuse, machines.figures.matrix_rate[at, ops.dtype]) + machines.fill_s[at]
        seconds = seconds + ops.vector_flops / machines.figures.vector_rate[at, ops.dtype]  # epilogues and softmax: on the processor, after
        outside = ops.input_bytes + ops.output_bytes + kernels.extra_bytes
        read_j = level.read_j_per_byte if level.read_j_per_byte is not None else IN_BANK_ENERGY * machines.dram_read_j[at]
        arithmetic = machines.mac_j[at, ops.dtype] * (ops.matrix_flops + ops.vector_flops) / 2.0 * tech.PIPELINE_OVER_MAC["array"]
        dram_j = bank_reads(ops, reuse) * read_j + outside * machines.dram_read_j[at]
        nothing = np.zeros(len(ops))
        possible = np.isfinite(seconds)
        inside = _worth(objective, np.where(possible, seconds, 1.0), nothing, arithmetic + dram_j, dram_j, machines, at)
        fixed = np.where(np.isfinite(costs.dram_j[:, at]), costs.dram_j[:, at], 0.0)
        there = possible & (inside < _worth(objective, time[:, at], compute[:, at], energy[:, at], fixed, machines, at))
        for array, value in ((time, seconds), (compute, nothing), (energy, arithmetic + dram_j), (dram, bank_reads(ops, reuse) + outside), (limit, LIMITS.index("dram")),
                             (parts["compute_j"], arithmetic), (parts["local_j"], nothing), (parts["cache_j"], nothing), (parts["dram_j"], dram_j)):
            array[:, at] = np.where(there, value, array[:, at])
    return replace(costs, time_s=time, compute_s=compute, dynamic_j=energy, dram_bytes=dram, limit=limit, **parts)


def _worth(objective: str, time: np.ndarray, clocked: np.ndarray, dynamic_j: np.ndarray, fixed_j: np.ndarray, machines: Machines, at: int) -> np.ndarray:
    """(n,) what is minimised on machine `at` once the power limit has its say: seconds, joules with static ones, or their product."""
    static = machines.static_w[at]
    seconds, joules = power_capped(time, clocked, dynamic_j, static, machines.limit_w[at], fixed_j, machines.least_clock[at])
    if objective == "latency":
        return seconds
    spent = joules + (static * seconds if np.isfinite(static) else tech.STATIC_OVER_DYNAMIC * joules)
    return spent if objective == "energy" else spent * seconds


def _vectors(ops: OpColumns) -> np.ndarray:
    """(n,) vectors that meet the second operand: multiply-adds for each of its stored elements, at least one."""
    stored = ops.weight_bytes / np.maximum(element_bytes(ops.weight_dtype), 1e-9)
    return np.maximum(ops.matrix_flops / 2.0 * ops.density / np.maximum(stored, 1.0), 1.0)
