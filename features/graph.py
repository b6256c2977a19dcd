"""(Workload, machine) pairs as graphs of kernels: what graph networks see.

Nodes are kernels (ops after fusion) in the order they run; edges are the tensors between them. A node carries its op vector and its
analytic parts on the machine at hand; the machine itself is one vector per graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..datasets.simulator.kernels import fuse
from ..datasets.table import GraphQuestions
from ..datasets.workload import Workload
from .bounds import CANONICAL_TILES
from .device import DEVICE_FEATURES, device_vector
from .graph_structure import STRUCTURE_FEATURES, kernel_edges, structure
from .op import OP_FEATURES, op_vector
from .pairs import kernel_rows
from .tabular import tabular_features

__all__ = ["GLOBAL_FEATURES", "NODE_FEATURES", "STRUCTURE_FEATURES", "Graphs", "graphs_of", "kernel_edges"]

#: (name, unit) of each node column
NODE_FEATURES: tuple[tuple[str, str], ...] = (
    *OP_FEATURES, ("log_estimate", "log s"), ("compute_over_estimate", "1"), ("dram_over_estimate", "1"), ("vector_over_estimate", "1"), ("cache_over_estimate", "1"),
    ("launch_over_estimate", "1"), ("uncapped_over_estimate", "1"), ("resident", "0/1"), ("log_waves", "log 1"), ("log_extra_bytes", "log B"),
    *((f"tile_{m}x{n}_over_estimate", "1") for m, n in CANONICAL_TILES),
)
#: (name, unit) of each graph column: the machine's figures, zero where unknown, then whether they are known
GLOBAL_FEATURES: tuple[tuple[str, str], ...] = (*DEVICE_FEATURES, *((f"{name}_known", "0/1") for name, _ in DEVICE_FEATURES))


@dataclass(frozen=True)
class Graphs:
    """n graphs laid end to end: V nodes and E edges in all.

    `nodes` (V, NODE_FEATURES), `machine` (n, GLOBAL_FEATURES), `estimate_s` (V,) analytic seconds per node, launch included, `edges` (2, E) local node
    numbers, `node_start` and `edge_start` (n + 1,) where each graph begins, `reference` target -> (n,) analytic estimates, `floor_s` (n,),
    `workloads` (n,) the workload of each graph.
    """

    nodes: np.ndarray
    machine: np.ndarray
    estimate_s: np.ndarray
    edges: np.ndarray
    node_start: np.ndarray
    edge_start: np.ndarray
    reference: dict[str, np.ndarray]
    floor_s: np.ndarray
    workloads: tuple[Workload, ...]

    def __len__(self) -> int:
        return len(self.machine)

    def batch(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Graphs `index` as one: (nodes, edges with shifted numbers, graph number of each node, node estimates, machine rows)."""
        counts = self.node_start[index + 1] - self.node_start[index]
        at = _ranges(self.node_start[index], counts)
        edge_counts = self.edge_start[index + 1] - self.edge_start[index]
        shift = np.repeat(np.cumsum(counts) - counts, edge_counts)
        edges = self.edges[:, _ranges(self.edge_start[index], edge_counts)] + shift
        return self.nodes[at], edges, np.repeat(np.arange(len(index)), counts), self.estimate_s[at], self.machine[index]

    def places(self, index: np.ndarray) -> np.ndarray:
        """(nodes, STRUCTURE_FEATURES) where the kernels of the graphs `index` stand, in the order of `batch`."""
        return np.concatenate([structure(self.workloads[i]) for i in index])

    def data(self, index: int) -> Any:
        """One graph as a `torch_geometric.data.Data`: x, edge_index, machine (1, d), estimate_s."""
        import torch
        from torch_geometric.data import Data

        nodes, edges, _, estimate, machine = self.batch(np.array([index]))
        return Data(x=torch.from_numpy(nodes), edge_index=torch.from_numpy(edges), machine=torch.from_numpy(machine), estimate_s=torch.from_numpy(estimate))


def graphs_of(questions: GraphQuestions) -> Graphs:
    """The questions as graphs, in order. Equal kernels of a workload are computed once; in chunks, V x 70 float32 in memory."""
    fused = [fuse(w) for w in questions.workloads]
    edges_of = [kernel_edges(w) for w in questions.workloads]
    edge_counts = np.array([e.shape[1] for e in edges_of], dtype=np.int64)
    all_edges = np.concatenate(edges_of, axis=1) if edges_of else np.zeros((2, 0), dtype=np.int64)
    edge_offset = np.concatenate([[0], np.cumsum(edge_counts)])
    w = questions.workload_index
    edges = all_edges[:, _ranges(edge_offset[w], edge_counts[w])]
    node_counts = np.array([len(g.kernels) for g in fused], dtype=np.int64)[w]
    nodes, estimates = [], []
    inverse = np.concatenate([g.inverse for g in fused]) if fused else np.zeros(0, dtype=np.int64)
    inverse_start = np.concatenate([[0], np.cumsum([len(g.inverse) for g in fused])]).astype(np.int64)
    different = np.array([len(g.unique) for g in fused], dtype=np.int64)
    for pairs, rows in kernel_rows(questions, unique=True):
        b = rows.bounds
        each = b.estimate_s + b.launch_s
        parts = [np.log(each), *(x / each for x in (b.compute_s, b.dram_s, b.vector_s, b.cache_s, b.launch_s, b.uncapped_s)), b.resident,
                 np.log1p(b.waves), np.log1p(rows.extra_bytes), *(np.minimum(b.tiles_s[:, i] / each, 20.0) for i in range(len(CANONICAL_TILES)))]
        counts, own = node_counts[pairs], different[w[pairs]]
        at = inverse[_ranges(inverse_start[w[pairs]], counts)] + np.repeat(np.cumsum(own) - own, counts)
        nodes.append(np.concatenate([_op_vector_of(questions.workloads[0]) if len(questions) == len(questions.workloads) == 1 else op_vector(rows.ops), np.column_stack(parts).astype(np.float32)], axis=1)[at])
        estimates.append(each.astype(np.float32)[at])
    machine = device_vector(questions.device_columns)
    known = np.isfinite(machine)
    machine = np.concatenate([np.where(known, machine, 0.0), known], axis=1).astype(np.float32)[questions.device_index]
    features = tabular_features(questions, {})
    return Graphs(np.concatenate(nodes), machine, np.concatenate(estimates), edges, np.concatenate([[0], np.cumsum(node_counts)]),
                  np.concatenate([[0], np.cumsum(edge_counts[w])]), dict(features.reference), features.floor["latency_s"],
                  tuple(questions.workloads[i] for i in w))


@lru_cache(maxsize=256)
def _op_vector_of(workload: Workload) -> np.ndarray:
    """`op_vector` of a workload's different kernels."""
    return op_vector(fuse(workload).unique.ops)


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """start, start + 1, ... of each run, one run after another."""
    total = int(counts.sum())
    return np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(starts, counts)
