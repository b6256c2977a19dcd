"""What one operator costs on one machine: the common answer of every machine model, as (n ops, D machines) arrays."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

#: what holds an operator back, by code
LIMITS = ("compute", "vector", "local memory", "cache", "dram", "latency")
#: what a mapping search may minimise
OBJECTIVES = ("latency", "energy", "edp")


@dataclass(frozen=True)
class OpCosts:
    """(n, D) arrays. Times exclude launch overhead. `mapping` describes the chosen mapping by code of the machine model.

    `dynamic_j` is the sum of its components: arithmetic, local memory, caches and DRAM; these are NaN where a machine model does not tell them
    apart (leave them out).
    """

    time_s: np.ndarray
    compute_s: np.ndarray       # time that the clock governs at its peak (what a lower clock stretches)
    dynamic_j: np.ndarray
    dram_bytes: np.ndarray
    cache_bytes: np.ndarray
    limit: np.ndarray           # int8, code of LIMITS
    mapping: np.ndarray         # int32
    compute_j: np.ndarray = None  # type: ignore[assignment]
    local_j: np.ndarray = None  # type: ignore[assignment]
    cache_j: np.ndarray = None  # type: ignore[assignment]
    dram_j: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        for name in ("compute_j", "local_j", "cache_j", "dram_j"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.full(np.shape(self.time_s), np.nan))

    @staticmethod
    def scatter(shape: tuple[int, int], parts: list[tuple[np.ndarray, OpCosts]]) -> OpCosts:
        """One (n, D) answer from parts, each with the row numbers it covers."""
        out = {f.name: np.zeros(shape, dtype=getattr(parts[0][1], f.name).dtype) for f in fields(OpCosts)}
        for rows, part in parts:
            for name, array in out.items():
                array[rows] = getattr(part, name)
        return OpCosts(**out)

    @staticmethod
    def stack(parts: list[OpCosts]) -> OpCosts:
        """The parts' kernels one after another, on the same machines."""
        return OpCosts(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(OpCosts)})


def pick(best: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """From (n, D, mappings) arrays the entries `best` (n, D); arrays that do not vary by mapping may have a last axis of 1."""
    index = best[..., None]
    return tuple(np.take_along_axis(np.broadcast_to(a, (*best.shape, a.shape[-1])), index if a.shape[-1] > 1 else np.zeros_like(index), axis=-1)[..., 0]
                 for a in arrays)
