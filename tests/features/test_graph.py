"""Graphs of kernels: edges by hand, batches as concatenations, the shapes a graph network expects."""

from __future__ import annotations

import numpy as np
import pytest

from silicast.datasets import catalog
from silicast.datasets.families import sample
from silicast.datasets.ops import Op
from silicast.datasets.simulator.kernels import fuse
from silicast.datasets.table import GraphQuestions
from silicast.datasets.workload import Workload, WorkloadBuilder
from silicast.features.graph import GLOBAL_FEATURES, NODE_FEATURES, graphs_of, kernel_edges
from silicast.features.tabular import tabular_features


def branchy() -> Workload:
    """stem -> relu -> (left, right) -> add: relu runs in the stem's kernel, add in the later branch's."""
    build = WorkloadBuilder("branchy")
    stem = build.add(Op.of("stem", "gemm", m=32, n=64, k=16), [build.input("x", 32 * 16)])
    relu = build.add(Op.of("relu", "elementwise", elements=32 * 64), [stem])
    left = build.add(Op.of("left", "gemm", m=32, n=64, k=64), [relu])
    right = build.add(Op.of("right", "gemm", m=32, n=64, k=64), [relu])
    build.add(Op.of("add", "elementwise", elements=32 * 64, extra_elements=32 * 64), [left, right])
    return build.build()


def lone() -> Workload:
    build = WorkloadBuilder("lone")
    build.add(Op.of("only", "softmax", rows=8, cols=8), [build.input("x", 64)])
    return build.build()


def questions() -> GraphQuestions:
    workloads = (branchy(), lone(), sample("cnn_residual", np.random.default_rng(0)))
    return GraphQuestions(workloads, tuple(catalog.hardware(k) for k in ("t4", "tpu_v3", "zcu102")), np.array([0, 1, 2, 2, 0, 1]), np.array([0, 1, 2, 0, 1, 2]))


def test_kernel_edges_by_hand() -> None:
    workload = branchy()
    graph = fuse(workload)
    assert list(graph.kernel_of) == [0, 0, 1, 2, 2]  # stem+relu, left, right+add
    assert sorted(map(tuple, kernel_edges(workload).T)) == [(0, 1), (0, 2), (1, 2)]


def test_a_lone_kernel_has_no_edges() -> None:
    assert kernel_edges(lone()).shape == (2, 0)


def test_batch_is_the_singles_one_after_another() -> None:
    graphs = graphs_of(questions())
    index = np.array([4, 1, 3, 3])
    nodes, edges, graph, estimate, machine = graphs.batch(index)
    parts = [graphs.batch(np.array([i])) for i in index]
    counts = [len(p[0]) for p in parts]
    starts = np.cumsum([0, *counts])
    np.testing.assert_array_equal(nodes, np.concatenate([p[0] for p in parts]))
    np.testing.assert_array_equal(edges, np.concatenate([p[1] + s for p, s in zip(parts, starts, strict=False)], axis=1))
    np.testing.assert_array_equal(graph, np.repeat(np.arange(4), counts))
    np.testing.assert_array_equal(estimate, np.concatenate([p[3] for p in parts]))
    np.testing.assert_array_equal(machine, np.concatenate([p[4] for p in parts]))
    for part in parts:  # edges stay within their graph
        assert part[1].size == 0 or part[1].max() < len(part[0])


def test_shapes_and_finite_figures() -> None:
    asked = questions()
    graphs = graphs_of(asked)
    assert len(graphs) == 6
    kernels = [len(fuse(asked.workloads[i]).kernels) for i in asked.workload_index]
    assert list(np.diff(graphs.node_start)) == kernels
    assert graphs.nodes.shape == (sum(kernels), len(NODE_FEATURES))
    assert graphs.machine.shape == (6, len(GLOBAL_FEATURES))
    assert graphs.nodes.dtype == graphs.machine.dtype == np.float32
    for array in (graphs.nodes, graphs.machine, graphs.estimate_s, graphs.floor_s):
        assert np.isfinite(array).all()
    for named in (NODE_FEATURES, GLOBAL_FEATURES):
        assert len({name for name, _ in named}) == len(named)


def test_node_estimates_add_up_to_the_tabular_one() -> None:
    asked = questions()
    graphs = graphs_of(asked)
    for i in (0, 1, 3, 4):  # not on a fabric, whose kernels overlap
        total = graphs.estimate_s[graphs.node_start[i]:graphs.node_start[i + 1]].sum()
        assert total == pytest.approx(tabular_features(asked.take(np.array([i])), {}).reference["latency_s"][0], rel=1e-5)


def test_order_of_machines_changes_nothing() -> None:
    asked = questions()
    turned = GraphQuestions(asked.workloads, asked.devices[::-1], asked.workload_index, 2 - asked.device_index)
    mine, other = graphs_of(asked), graphs_of(turned)
    np.testing.assert_array_equal(mine.nodes, other.nodes)
    np.testing.assert_array_equal(mine.machine, other.machine)


def test_data_has_the_shapes_of_pytorch_geometric() -> None:
    pytest.importorskip("torch_geometric")
    data = graphs_of(questions()).data(0)
    assert data.x.shape == (3, len(NODE_FEATURES))
    assert data.edge_index.shape == (2, 3)
    assert str(data.edge_index.dtype) == "torch.int64"
    assert data.machine.shape == (1, len(GLOBAL_FEATURES))
    assert data.estimate_s.shape == (3,)
    assert data.validate()
