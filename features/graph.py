"""(Workload, machine) pairs as graphs of kernels: what graph networks see.

Nodes are kernels (ops after fusion) in the order they run; edges are the tensors between them. A node carries its op vector and its
analytic parts on the machine at hand; the machine itself is one vector per graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..datasets.simulator.kernels import FusedGraph, fuse
from ..datasets.table import GraphQuestions
from ..datasets.workload import Workload
from .bounds import CANONICAL_TILES
from .device import DEVICE_FEATURES, device_vector
from .op import OP_FEATURES, op_vector
from .pairs import kernel_rows
from .tabular import tabular_features

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
    numbers, `node_start` and `edge_start` (n + 1,) where each graph begins, `reference` target -> (n,) analytic estimates, `floor_s` (n,).
    """

    nodes: np.ndarray
    machine: np.ndarray
    estimate_s: np.ndarray
    edges: np.ndarray
    node_start: np.ndarray
    edge_start: np.ndarray
    reference: dict[str, np.ndarray]
    floor_s: np.ndarray

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

    def data(self, index: int) -> Any:
        """One graph as a `torch_geometric.data.Data`: x, edge_index, machine (1, d), estimate_s."""
        import torch
        from torch_geometric.data import Data

        nodes, edges, _, estimate, machine = self.batch(np.array([index]))
        return Data(x=torch.from_numpy(nodes), edge_index=torch.from_numpy(edges), machine=torch.from_numpy(machine), estimate_s=torch.from_numpy(estimate))


def kernel_edges(workload: Workload, graph: FusedGraph) -> np.ndarray:
    """(2, E) producer and consumer kernels, each pair once, no loops."""
    pairs = graph.kernel_of[workload.edges]
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    return np.unique(pairs, axis=0).T if len(pairs) else np.zeros((2, 0), dtype=np.int64)


def graphs_of(questions: GraphQuestions) -> Graphs:
    """The questions as graphs, in order. Computed in chunks; V x 50 float32 in memory."""
    fused = [fuse(w) for w in questions.workloads]
    edges_of = [kernel_edges(w, g) for w, g in zip(questions.workloads, fused, strict=True)]
    edge_counts = np.array([e.shape[1] for e in edges_of], dtype=np.int64)
    all_edges = np.concatenate(edges_of, axis=1) if edges_of else np.zeros((2, 0), dtype=np.int64)
    edge_offset = np.concatenate([[0], np.cumsum(edge_counts)])
    w = questions.workload_index
    edges = all_edges[:, _ranges(edge_offset[w], edge_counts[w])]
    node_counts = np.array([len(g.kernels) for g in fused], dtype=np.int64)[w]
    nodes, estimates = [], []
    for _, rows in kernel_rows(questions, unique=False):
        b = rows.bounds
        each = b.estimate_s + b.launch_s
        parts = [np.log(each), *(x / each for x in (b.compute_s, b.dram_s, b.vector_s, b.cache_s, b.launch_s, b.uncapped_s)), b.resident,
                 np.log1p(b.waves), np.log1p(rows.extra_bytes), *(np.minimum(b.tiles_s[:, i] / each, 20.0) for i in range(len(CANONICAL_TILES)))]
        nodes.append(np.concatenate([op_vector(rows.ops), np.column_stack(parts).astype(np.float32)], axis=1))
        estimates.append(each.astype(np.float32))
    machine = device_vector(questions.device_columns)
    known = np.isfinite(machine)
    machine = np.concatenate([np.where(known, machine, 0.0), known], axis=1).astype(np.float32)[questions.device_index]
    features = tabular_features(questions, {})
    return Graphs(np.concatenate(nodes), machine, np.concatenate(estimates), edges, np.concatenate([[0], np.cumsum(node_counts)]),
                  np.concatenate([[0], np.cumsum(edge_counts[w])]), dict(features.reference), features.floor["latency_s"])


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """start, start + 1, ... of each run, one run after another."""
    total = int(counts.sum())
    return np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(starts, counts)
