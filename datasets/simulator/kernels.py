"""What is launched: a workload's ops after fusion. An elementwise op whose main input is made by the op before it, and read by
nobody else, becomes that op's epilogue: its arithmetic stays, its reading and writing of that tensor go."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np

from ..columns import OpColumns
from ..ops import KIND_CODES
from ..workload import Workload

_FUSES_INTO = frozenset(KIND_CODES[k] for k in ("gemm", "conv", "grouped_gemm", "deform_conv", "elementwise", "norm", "softmax", "pool"))
#: share of the last-level cache that the activations of one kernel may fill and still be there for the next
RESIDENT_SHARE = 0.5


@dataclass(frozen=True)
class Kernels:
    """n kernels. `extra_bytes` (n,): further operands that fused epilogues read. `boundary_bytes` (n,): graph inputs and outputs among
    the activations. `in_graph`: activations of one kernel may stay in the cache for the next (a lone, cold op finds nothing there).
    `weight_sets`: a lone op run again and again, over so many sets of weights in turn, finds in the cache what fits; inf: never run before."""

    ops: OpColumns
    extra_bytes: np.ndarray
    boundary_bytes: np.ndarray
    in_graph: bool
    weight_sets: float = np.inf

    def __len__(self) -> int:
        return len(self.ops)

    def take(self, index: np.ndarray) -> Kernels:
        """The kernels `index`."""
        return Kernels(self.ops.take(index), self.extra_bytes[index], self.boundary_bytes[index], self.in_graph, self.weight_sets)

    def spilled(self, cache_bytes: np.ndarray) -> np.ndarray:
        """(n, D) share of the activations that travels through DRAM: all where they do not fit in a cache of that size (D,), else what enters
        or leaves the graph here."""
        live = (self.ops.input_bytes + self.ops.output_bytes + self.extra_bytes)[:, None]
        if not self.in_graph:
            return self.weights_spilled(cache_bytes)
        return np.where(live > RESIDENT_SHARE * cache_bytes, 1.0, np.minimum(self.boundary_bytes[:, None] / np.maximum(live, 1.0), 1.0))

    def weights_spilled(self, cache_bytes: np.ndarray) -> np.ndarray:
        """(n, D) share of the second operand that comes from DRAM: all of it, but where an op runs again and again: then none while everything it
        touches in a round fits in half the cache, all beyond the whole of it (a line in between: assumption)."""
        if not np.isfinite(self.weight_sets):
            return np.ones((len(self), len(cache_bytes)))
        touched = (self.weight_sets * self.ops.weight_bytes + self.ops.input_bytes + self.ops.output_bytes)[:, None]
        half = RESIDENT_SHARE * np.maximum(cache_bytes, 1.0)
        return np.clip((touched - half) / (cache_bytes - half + 1e-9), 0.0, 1.0)

    @classmethod
    def cold(cls, ops: OpColumns) -> Kernels:
        """Lone ops, each run by itself with operands in DRAM."""
        return cls(ops, np.zeros(len(ops)), np.zeros(len(ops)), in_graph=False)

    @classmethod
    def repeated(cls, ops: OpColumns, weight_sets: float = 1.0) -> Kernels:
        """Lone ops, each run again and again over so many sets of weights in turn, as micro-benchmarks do."""
        return cls(ops, np.zeros(len(ops)), np.zeros(len(ops)), in_graph=False, weight_sets=weight_sets)


@dataclass(frozen=True)
class FusedGraph:
    """The kernels of a workload. `kernel_of` (V,): which kernel each op went into. `unique`/`inverse`: equal kernels are computed once."""

    kernels: Kernels
    kernel_of: np.ndarray
    unique: Kernels
    inverse: np.ndarray


@lru_cache(maxsize=256)
def fuse(workload: Workload) -> FusedGraph:
    """The workload's kernels, in order."""
    columns = workload.columns
    count = len(columns)
    readers = np.zeros(count, dtype=np.int64)
    made_by: list[list[int]] = [[] for _ in range(count)]
    boundary = np.zeros(count)
    for tensor in workload.tensors:
        if tensor.producer < 0 or not tensor.consumers:
            boundary[tensor.consumers[0] if tensor.producer < 0 and tensor.consumers else max(tensor.producer, 0)] += tensor.bytes
        if tensor.producer >= 0:
            readers[tensor.producer] += len(tensor.consumers)
            for reader in tensor.consumers:
                made_by[reader].append(tensor.producer)
    elementwise = KIND_CODES["elementwise"]
    kernel_of = np.arange(count)
    vector, inputs, output, extra = columns.vector_flops.copy(), columns.input_bytes, columns.output_bytes.copy(), np.zeros(count)
    for op in range(count):
        if columns.kind[op] != elementwise:
            continue
        # the latest producer is the one whose result is still at hand
        for producer in sorted(made_by[op], reverse=True):
            root = kernel_of[producer]
            if readers[producer] == 1 and columns.kind[root] in _FUSES_INTO and output[root] >= 0.999 * min(columns.output_bytes[op], columns.input_bytes[op]):
                vector[root] += vector[op]
                extra[root] += max(inputs[op] - columns.output_bytes[producer], 0.0)
                output[root] = columns.output_bytes[op]
                kernel_of[op] = root
                break
    roots = np.flatnonzero(kernel_of == np.arange(count))
    place = np.zeros(count, dtype=np.int64)
    place[roots] = np.arange(len(roots))
    merged = replace(columns, vector_flops=vector, output_bytes=output).take(roots)
    at_border = np.bincount(place[kernel_of], weights=boundary, minlength=len(roots))
    kernels = Kernels(merged, extra[roots], at_border, in_graph=True)
    content = np.column_stack([getattr(merged, f.name).astype(np.float64) for f in fields(OpColumns)] + [kernels.extra_bytes, kernels.boundary_bytes])
    rows = np.ascontiguousarray(content).view(np.dtype((np.void, content.itemsize * content.shape[1]))).ravel()
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    return FusedGraph(kernels, place[kernel_of], kernels.take(first), inverse)
