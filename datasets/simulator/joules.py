"""Dynamic energy of kernels by component, and the choice of a mapping by what it is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..columns import OpColumns, element_bytes
from ..dtypes import DTYPE_CODES
from . import technology as tech
from .machine import Machines
from .power import power_capped

_FLOAT16, _FLOAT32 = DTYPE_CODES["float16"], DTYPE_CODES["float32"]


@dataclass(frozen=True)
class Joules:
    """J of arithmetic, local memory, caches and DRAM; arrays that broadcast against each other, (n, D) or (n, D, mappings)."""

    compute: np.ndarray
    local: np.ndarray
    cache: np.ndarray
    dram: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Their sum."""
        return self.compute + self.local + self.cache + self.dram

    @classmethod
    def of(cls, machines: Machines, compute: np.ndarray, dram: np.ndarray, written: np.ndarray, cache: np.ndarray, local: np.ndarray) -> Joules:
        """From J of arithmetic and bytes through each level; `written` of the DRAM bytes are writes. Machines lie on axis 1."""
        read_j, write_j, cache_j, local_j = (x[:, None] if dram.ndim == 3 else x for x in (machines.dram_read_j, machines.dram_write_j, machines.cache_j, machines.local_j))
        return cls(compute, local * local_j, cache * cache_j, np.maximum(dram - written, 0.0) * read_j + np.minimum(written, dram) * write_j)


def float32_vector_j(machines: Machines) -> np.ndarray:
    """(D,) J per operation of vector work in FP32: what a softmax is computed in, whatever its operands."""
    return machines.mac_j[:, _FLOAT32] / 2 * tech.PIPELINE_OVER_MAC["vector"]


def arithmetic_j(ops: OpColumns, machines: Machines) -> tuple[np.ndarray, np.ndarray]:
    """(n, D) J per operation of matrix and of vector work in each op's dtype.

    A matrix unit spends the bare multiply-add, and on moving operands what it spends for 16-bit ones (`PIPELINE_OVER_MAC`) by their width. Where a format
    has no matrix unit of its own (its matrix rate is the vector rate: FP32 on most GPUs), a product costs what vector work costs.
    """
    mac = machines.mac_j[:, ops.dtype].T / 2
    half = machines.mac_j[:, _FLOAT16][None, :] / 2
    matrix = mac + (tech.PIPELINE_OVER_MAC["matrix"] - 1.0) * half * (element_bytes(ops.dtype) / 2.0)[:, None]
    vector = mac * tech.PIPELINE_OVER_MAC["vector"]
    d = machines.figures
    own = d.matrix_rate[:, ops.dtype].T > 1.01 * d.vector_rate[:, ops.dtype].T
    return np.where(own, matrix, vector), vector


def worth(objective: str, time: np.ndarray, clocked: np.ndarray, joules: Joules, machines: Machines) -> np.ndarray:
    """(n, D, mappings) what is minimised, once the power limit has its say: seconds, joules (static ones too), or their product.

    The fastest mapping at full clock may draw too much, so the limit belongs into the search. `clocked`: seconds that the clock governs.
    """
    total, static = joules.total, machines.static_w[:, None]
    capped, energy = power_capped(time, np.minimum(clocked, time), total, static, machines.limit_w[:, None], joules.dram, machines.least_clock[:, None])
    if objective == "latency":
        return capped
    spent = energy + np.where(np.isfinite(static), static * capped, tech.STATIC_OVER_DYNAMIC * energy)
    return spent if objective == "energy" else spent * capped


def least(value: np.ndarray, traffic: np.ndarray) -> np.ndarray:
    """(n, D) index of the least value; among those within 0.1 % of it the one with the least traffic."""
    near = value <= value.min(-1, keepdims=True) * 1.001
    return np.where(near, np.broadcast_to(traffic, value.shape), np.inf).argmin(-1)


def limit_code(times: list[np.ndarray]) -> np.ndarray:
    """int8 code of `costs.LIMITS` of the longest of the times, given in that order."""
    return np.argmax(np.stack(np.broadcast_arrays(*times)), axis=0).astype(np.int8)
