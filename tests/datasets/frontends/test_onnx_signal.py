"""Operators on signals and states, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto
from onnx.helper import make_node

from silicast.datasets.errors import GraphError


def kinds(workload):
    return [op.kind for op in workload.ops]


def test_fourier_transform(net):
    # 2 real signals of 16 points: 2.5 * 16 * log2 16 operations each
    workload = net(make_node("DFT", ["x", "", "axis"], ["y"]), {"x": [2, 16, 1]}, ["y"], {"axis": np.array(1)}, opset=20)
    assert (kinds(workload), workload.flops) == (["elementwise"], 2 * 2.5 * 16 * 4)
    # complex ones take twice that
    assert net(make_node("DFT", ["x", "", "axis"], ["y"]), {"x": [2, 16, 2]}, ["y"], {"axis": np.array(1)}, opset=20).flops == 2 * 5 * 16 * 4


def test_fourier_transform_along_an_axis_on_data(net):
    with pytest.raises(GraphError, match=r"its axis depends on data: give --dim a=VALUE"):
        net(make_node("DFT", ["x", "", "a"], ["y"]), {"x": [2, 16, 1], "a": (TensorProto.INT64, [])}, ["y"], opset=20)
    assert net(make_node("DFT", ["x", "", "a"], ["y"]), {"x": [2, 16, 1], "a": (TensorProto.INT64, [])}, ["y"], opset=20, dims={"a": 1}).flops == 320


def test_short_time_transform(net):
    # 7 frames of 32 points, windowed: 7 * (2.5 * 32 * 5 + 32), rounded up to whole operations per output (7 frames x 17 bins x 2)
    workload = net(make_node("STFT", ["x", "step", "w"], ["y"]), {"x": [1, 128, 1]}, ["y"], {"step": np.array(16), "w": np.zeros(32, np.float32)})
    assert 3024 <= workload.flops < 3024 + 238
    assert workload.ops[0].dims["elements"] == 238


@pytest.mark.parametrize("op", ["HannWindow", "HammingWindow", "BlackmanWindow"])
def test_windows_of_a_constant_size_are_folded(net, op):
    nodes = [make_node(op, ["n"], ["w"]), make_node("Mul", ["x", "w"], ["y"])]
    assert kinds(net(nodes, {"x": [3, 16]}, ["y"], {"n": np.array(16)})) == ["elementwise"]


def test_determinant(net):
    # 2/3 n^3 a matrix of 4 x 4: 42.7 operations, 3 to an element
    assert net(make_node("Det", ["x"], ["y"]), {"x": [2, 4, 4]}, ["y"]).flops == 96


def test_linear_attention(net):
    # 6 tokens, 4 heads of 8 values with 8 states each, 9 operations a state
    workload = net(make_node("LinearAttention", ["q", "k", "v"], ["y", "s"], q_num_heads=4, kv_num_heads=2, update_rule="linear"),
                   {"q": [1, 6, 32], "k": [1, 6, 16], "v": [1, 6, 16]}, ["y"], opset=27)
    assert (kinds(workload), workload.flops) == (["scan"], 9 * 6 * 32 * 8)


def test_causal_convolution(net):
    # 2 x 10 places, 4 channels, 3 taps each; the activation is a step of its own
    workload = net(make_node("CausalConvWithState", ["x", "w"], ["y", "s"], activation="silu"), {"x": [2, 4, 10]}, ["y"], {"w": (4, 1, 3)}, opset=27)
    assert (kinds(workload), workload.macs, workload.params) == (["conv", "elementwise"], 240, 12)


def test_losses(net):
    targets = {"x": [6, 10], "t": (TensorProto.INT64, [6])}
    assert net(make_node("NegativeLogLikelihoodLoss", ["x", "t"], ["y"]), targets, ["y"], opset=13).flops == 6 + 6
    workload = net(make_node("SoftmaxCrossEntropyLoss", ["x", "t"], ["y", "logs"]), targets, ["y", "logs"], opset=13)
    assert (kinds(workload), workload.flops) == (["softmax", "elementwise", "reduce"], 12 * 60 + 6 + 6)
    assert {t.name: t.producer for t in workload.tensors if t.name in ("y", "logs")} == {"logs": 0, "y": 2}


def test_draws(net):
    # a softmax over 2 x 8, then 10 draws: a random number and a search among 8
    assert net(make_node("Multinomial", ["x"], ["y"], sample_size=5), {"x": [2, 8]}, ["y"]).flops == 12 * 16 + 10 * (3 + 4)
