"""Classical kernels: operations and bytes counted by hand, laws of scaling, what is refused; every one runs through the simulator."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.datasets import catalog
from silicast.datasets.classical import CLASSICAL
from silicast.datasets.errors import GraphError, UnknownNameError
from silicast.datasets.simulator.simulate import simulate


def kinds(workload) -> list[str]:
    return [op.kind for op in workload.ops]


def test_svm_by_hand():
    w = CLASSICAL["svm"](rows=10, features=20, vectors=300, classes=3)
    # 10 x 300 products over 20 features, 11 operations per kernel value, 10 x 3 sums over 300, 30 biases
    assert w.flops == 2 * 10 * 300 * 20 + 11 * 10 * 300 + 2 * 10 * 3 * 300 + 30
    assert w.params == 300 * 20 + (300 + 1) * 3
    assert w.ops[0].bytes_read == 4 * (10 * 20 + 20 * 300)
    linear = CLASSICAL["svm"](rows=10, features=20, classes=3, kernel="linear")
    assert linear.flops == 2 * 10 * 20 * 3 + 30
    with pytest.raises(UnknownNameError, match="rbf"):
        CLASSICAL["svm"](kernel="poly")


def test_knn_by_hand():
    w = CLASSICAL["knn"](queries=4, points=1000, features=32, neighbours=5)
    assert w.flops == 2 * 4 * 1000 * 32 + 2 * 4 * 1000 + 4 * 1000
    assert w.ops[0].bytes_read == 4 * (4 * 32 + 32 * 1000)
    assert w.tensors[-1].bytes == 4 * 2 * 4 * 5  # five distances and five numbers for each query


def test_kmeans_by_hand():
    w = CLASSICAL["kmeans_step"](points=500, features=8, centres=10)
    assert w.flops == 2 * 500 * 10 * 8 + 2 * 500 * 10 + 500 * 10 + 500 * 8 + 4 * 10 * 8
    assert w.params == 0


def test_random_forest_by_hand():
    w = CLASSICAL["random_forest"](rows=100, trees=20, depth=6, outputs=2)
    assert w.flops == 100 * 20 * 6 + 100 * 20 * 2
    assert w.params == sum(20 * 2**level * 4 for level in range(6)) + 20 * 2**6 * 2
    assert kinds(w).count("gather") == 2 * 6 + 1
    order = [op.name for op in w.ops]
    assert order.index("level3/node") > order.index("level2/compare")


def test_ivf_pq_by_hand():
    w = CLASSICAL["ivf_pq"](queries=2, vectors=8000, features=64, lists=80, probes=4, parts=8, bits=8, nearest=10)
    per_list = 100
    assert w.flops == 2 * 80 * (2 * 64 + 2 + 1) + 2 * 4 * 64 + 2 * 2 * 4 * 256 * 64 + 2 * 4 * per_list * (8 + 1)
    assert w.params == 80 * 64 + 256 * 64
    scan = next(op for op in w.ops if op.name == "scan/look_up")
    assert scan.bytes_read == 2 * 4 * per_list * 8 * (1 + 4)  # a code of one byte and a table entry of four
    with pytest.raises(GraphError, match="parts"):
        CLASSICAL["ivf_pq"](features=100, parts=16)
    with pytest.raises(GraphError, match="probes"):
        CLASSICAL["ivf_pq"](lists=8, probes=9)


def test_graph_layers_by_hand():
    n, d, f, w = 1000, 7, 32, 16
    assert CLASSICAL["spmm"](rows=n, degree=d, width=w).flops == 2 * n * d * w
    assert CLASSICAL["gcn"](nodes=n, degree=d, features=f, width=w).flops == 2 * n * f * w + 2 * n * d * w + n * w
    assert CLASSICAL["sage"](nodes=n, degree=d, features=f, width=w).flops == n * d * f + 4 * n * f + 4 * n * f * w + n * w
    assert CLASSICAL["gat"](nodes=n, degree=d, features=f, width=w, heads=2).flops == (
        2 * n * f * 2 * w + 4 * n * 2 * w + 3 * n * d * 2 + 12 * n * d * 2 + 2 * n * d * 2 * w + 9 * n * 2 * w)
    product = CLASSICAL["spmm"](rows=n, columns=500, degree=d, width=w)
    fetch, sums = product.ops
    assert fetch.bytes_read == 4 * 2 * n * d  # column numbers and values
    assert (sums.bytes_read, sums.bytes_written) == (4 * 500 * w, 4 * n * w)


@pytest.mark.parametrize(("length", "log"), [(2, 1), (8, 3), (4096, 12), (1 << 20, 20)])
def test_fft_has_the_textbook_count(length, log):
    w = CLASSICAL["fft"](length=length, batch=3)
    assert w.flops == 3 * 5 * length * log
    assert len(w.ops) == 2 * -(-log // 12)
    with pytest.raises(GraphError, match="power of two"):
        CLASSICAL["fft"](length=100)


def test_stencil_by_hand():
    w = CLASSICAL["stencil"](height=100, width=50, points=5, sweeps=4)
    assert w.flops == 4 * 9 * 100 * 50
    assert w.ops[0].bytes_read == w.ops[0].bytes_written == 8 * 100 * 50
    assert CLASSICAL["stencil"](height=10, width=10, depth=10, points=7).flops == 13 * 1000


@pytest.mark.parametrize("name", CLASSICAL)
def test_every_kernel_has_a_cost(name):
    w = CLASSICAL[name]()
    assert w.bounded_ops == ()
    for key in ("h100_sxm", "xeon_8380"):
        answer = simulate(w, catalog.hardware(key))
        assert answer.values["latency_s"] > w.flops / 1e18
        assert answer.values["energy_j"] > 0


@pytest.mark.parametrize("name", CLASSICAL)
def test_sizes_must_be_whole_and_positive(name):
    for argument in (p for p, v in inspect.signature(CLASSICAL[name]).parameters.items() if isinstance(v.default, int) and p != "columns"):
        for bad in (0, -1, 2.5, True, 2**63):
            with pytest.raises(GraphError, match=argument):
                CLASSICAL[name](**{argument: bad})


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["svm", "knn", "kmeans_step", "gcn", "sage", "gat", "spmm"]), st.integers(1, 4))
def test_twice_the_rows_is_twice_the_work(name, factor):
    argument = {"svm": "rows", "knn": "queries", "spmm": "rows"}.get(name, "points" if name == "kmeans_step" else "nodes")
    small, large = (CLASSICAL[name](**{argument: 100 * f}) for f in (1, factor))
    fixed = 4 * 64 * 100 if name == "kmeans_step" else 0  # the means of 64 centres
    assert large.flops - fixed == factor * (small.flops - fixed)
