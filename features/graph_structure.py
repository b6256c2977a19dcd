"""Where a kernel stands in its graph: how deep, how many neighbours, how a random walk from it fares, and the slowest waves over the graph.

What message passing cannot tell apart and attention does not know: positional and structural encodings (Dwivedi et al., "Graph neural networks with
learnable structural and positional representations", ICLR 2022: random-walk return probabilities and Laplacian eigenvectors; Thost and Chen, "Directed
acyclic graph neural networks", ICLR 2021: depth in topological order). Of the workload alone, so computed once per workload.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..datasets.simulator.kernels import fuse
from ..datasets.workload import Workload

_WALKS = (2, 4, 8)
_WAVES = 4
#: larger graphs get no Laplacian waves and no walks (zeros): both need a dense matrix of the graph
_MOST_DENSE = 768
#: (name, unit) of each column
STRUCTURE_FEATURES: tuple[tuple[str, str], ...] = (
    ("depth_from_inputs", "1"), ("depth_from_outputs", "1"), ("log_producers", "log 1"), ("log_consumers", "log 1"),
    *((f"walk_returns_{k}", "1") for k in _WALKS), *((f"laplacian_{i + 1}", "1") for i in range(_WAVES)),
)


@lru_cache(maxsize=4096)
def kernel_edges(workload: Workload) -> np.ndarray:
    """(2, E) producer and consumer kernels, each pair once, no loops; for reading only."""
    pairs = fuse(workload).kernel_of[workload.edges]
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    edges = np.unique(pairs, axis=0).T if len(pairs) else np.zeros((2, 0), dtype=np.int64)
    edges.setflags(write=False)
    return edges


def depths(edges: np.ndarray, count: int) -> np.ndarray:
    """(count,) longest path from an input to each of `count` nodes, in edges; at most `count` where kernels wait for each other in a ring."""
    depth = np.zeros(count, dtype=np.int64)
    for _ in range(count):
        deeper = depth.copy()
        np.maximum.at(deeper, edges[1], depth[edges[0]] + 1)
        if (deeper == depth).all():
            break
        depth = deeper
    return depth


@lru_cache(maxsize=4096)
def structure(workload: Workload) -> np.ndarray:
    """(V, STRUCTURE_FEATURES) float32 of a workload's V kernels. A wave's sign is chosen so that its largest component is positive."""
    count, edges = len(fuse(workload).kernels), kernel_edges(workload)
    down, up = depths(edges, count), depths(edges[::-1], count)
    deepest = max(int(down.max(initial=0)), 1)
    into, out_of = np.bincount(edges[1], minlength=count), np.bincount(edges[0], minlength=count)
    columns = [down / deepest, up / deepest, np.log1p(into), np.log1p(out_of)]
    if count > _MOST_DENSE:
        rest = np.zeros((count, len(_WALKS) + _WAVES))
        return np.column_stack([*columns, rest]).astype(np.float32)
    joined = np.zeros((count, count))
    joined[edges[0], edges[1]] = joined[edges[1], edges[0]] = 1.0
    degree = np.maximum(joined.sum(1), 1.0)
    walk = joined / degree[:, None]
    for _ in _WALKS:  # two steps, four, eight
        walk = walk @ walk
        columns.append(np.diag(walk))
    root = 1.0 / np.sqrt(degree)
    _, waves = np.linalg.eigh(np.eye(count) - joined * root[:, None] * root[None, :])
    kept = np.zeros((count, _WAVES))
    kept[:, :min(_WAVES, max(count - 1, 0))] = waves[:, 1:1 + _WAVES]
    sign = np.where(kept[np.abs(kept).argmax(0), np.arange(_WAVES)] < 0, -1.0, 1.0)
    return np.column_stack([*columns, kept * sign * np.sqrt(count)]).astype(np.float32)
