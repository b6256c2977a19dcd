"""Fusion, and what stays in the cache, by hand."""

import numpy as np
import pytest

from silicast.datasets.columns import OpColumns
from silicast.datasets.layers import Net
from silicast.datasets.ops import KIND_NAMES, Op
from silicast.datasets.simulator.kernels import RESIDENT_SHARE, Kernels, fuse


def chain(*steps: str):
    net = Net("w", dtype="float16")
    x = net.input((64, 128))
    for step in steps:
        x = net.linear(x, 128, bias=False) if step == "linear" else net.relu(x)
    return net.build()


def test_an_elementwise_op_becomes_the_epilogue_of_what_made_its_input():
    graph = fuse(chain("linear", "relu", "relu", "linear"))
    assert [KIND_NAMES[k] for k in graph.kernels.ops.kind] == ["gemm", "gemm"]
    assert graph.kernel_of.tolist() == [0, 0, 0, 1]
    # 64 x 128 comparisons each
    assert graph.kernels.ops.vector_flops.tolist() == [2 * 64 * 128, 0]


def test_a_result_that_others_read_too_is_written():
    net = Net("w", dtype="float16")
    x = net.linear(net.input((64, 128)), 128, bias=False)
    net.add(net.relu(x), x)
    graph = fuse(net.build())
    assert graph.kernel_of[1] != graph.kernel_of[0]


def test_equal_kernels_are_computed_once():
    # the first reads the input of the graph and the last writes its output, of the same size: equal, and so are the two between
    graph = fuse(chain("linear", "linear", "linear", "linear"))
    assert len(graph.unique) == 2
    assert graph.inverse[0] == graph.inverse[3] != graph.inverse[1] == graph.inverse[2]


def test_activations_stay_while_they_fit():
    ops = OpColumns.from_ops([Op.of("x", "gemm", m=1024, n=1024, k=1024)])
    live = 2 * 1024 * 1024 * 2.0   # read and written, 2 B each
    small, large = np.array([live / RESIDENT_SHARE * 0.99]), np.array([live / RESIDENT_SHARE * 1.01])
    inner, border = (Kernels(ops, np.zeros(1), np.array([b]), in_graph=True) for b in (0.0, live / 4))
    assert inner.spilled(small) == 1.0
    assert inner.spilled(large) == 0.0
    assert border.spilled(large) == pytest.approx(0.25)
    assert Kernels.cold(ops).spilled(large) == 1.0
    assert inner.weights_spilled(large) == 1.0   # weights of a network are of another layer every time


def test_repeated_operands_stay_while_all_of_a_round_fits():
    ops = OpColumns.from_ops([Op.of("x", "gemm", m=1024, n=1024, k=1024)])
    megabytes = 2 * 1024 * 1024.0
    # six sets of weights, input and output: 16.8 MB. Half of 33.6 MB holds them; of 22.4 MB half of the other half overflows; of 16.8 MB all does
    for cache, share in ((33.6, 0.0), (22.4, 0.5), (16.8, 1.0)):
        kernels = Kernels.repeated(ops, 6.0)
        assert kernels.weights_spilled(np.array([8 * megabytes * cache / 16.8]))[0, 0] == pytest.approx(share, abs=1e-6)
        assert kernels.spilled(np.array([8 * megabytes * cache / 16.8]))[0, 0] == pytest.approx(share, abs=1e-6)
