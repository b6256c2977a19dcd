"""Operators on images, regions and selections, by hand."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto
from onnx.helper import make_node


def only(workload):
    assert len(workload.ops) == 1
    return workload.ops[0]


def test_deformable_convolution(net):
    # 6x6 places, 6 channels, 4 x 9 taps; 8 operations a tap and input channel for the sample between pixels
    op = only(net(make_node("DeformConv", ["x", "w", "o"], ["y"]), {"x": [1, 4, 8, 8], "o": [1, 18, 6, 6]}, ["y"], {"w": (6, 4, 3, 3)}, opset=19))
    assert (op.kind, op.macs, op.params, op.dims["mask"]) == ("deform_conv", 36 * 6 * 36, 216, 0)
    assert op.flops == 2 * op.macs + 8 * 36 * 9 * 4


def test_regions(net):
    op = only(net(make_node("RoiAlign", ["x", "r", "i"], ["y"], output_height=7, output_width=7, sampling_ratio=2), {"x": [1, 8, 16, 16], "r": [5, 4], "i": (TensorProto.INT64, [5])},
                  ["y"], opset=16))
    assert op.flops == 5 * 8 * 49 * 4 * 8
    assert only(net(make_node("MaxRoiPool", ["x", "r"], ["y"], pooled_shape=[2, 2]), {"x": [1, 8, 16, 16], "r": [5, 5]}, ["y"])).flops == 5 * 8 * 4 * 64


def test_affine_grid(net):
    # 2 x 20 points of 3 coordinates by 3 x 2 matrices
    op = only(net(make_node("AffineGrid", ["t", "size"], ["y"]), {"t": [2, 2, 3]}, ["y"], {"size": np.array([2, 3, 4, 5])}, opset=20))
    assert (op.kind, op.macs) == ("gemm", 2 * 20 * 2 * 3)


def test_selections(net):
    op = only(net(make_node("Compress", ["x", "c"], ["y"], axis=0), {"x": [6, 4], "c": (TensorProto.BOOL, [6])}, ["y"], dims={"y.0": 3}))
    assert (op.kind, op.dims["elements"]) == ("elementwise", 12)
    # sorting 16 numbers: 16 log2 16 comparisons
    assert only(net(make_node("Unique", ["x"], ["y"]), {"x": [16]}, ["y"], unknown_ops="bound")).flops == 64


def test_windowed_attention(net):
    # 6 causal queries that see 3 keys at most: 1 + 2 + 3 * 4 pairs, 4 heads of 8
    node = make_node("Attention", ["q", "k", "v"], ["y"], is_causal=1, left_window_size=2)
    op = only(net(node, {"q": [1, 4, 6, 8], "k": [1, 2, 6, 8], "v": [1, 2, 6, 8]}, ["y"], opset=25))
    assert (op.kind, op.macs) == ("attention", 4 * 15 * 16)
    # past keys add to the length: one query on 10 + 1
    node = make_node("Attention", ["q", "k", "v", "", "pk", "pv"], ["y", "nk", "nv"], is_causal=1)
    op = only(net(node, {"q": [1, 4, 1, 8], "k": [1, 2, 1, 8], "v": [1, 2, 1, 8], "pk": [1, 2, 10, 8], "pv": [1, 2, 10, 8]}, ["y"], opset=23))
    assert op.macs == 4 * 11 * 16
