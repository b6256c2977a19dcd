"""Quantise/dequantise pairs: integer operators where they are notation, work where they are not."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto
from onnx.helper import make_node

S, Z = {"s": np.float32(0.1)}, {"z": np.int8(0)}


def q(x, y):
    return make_node("QuantizeLinear", [x, "s", "z"], [y])


def dq(x, y):
    return make_node("DequantizeLinear", [x, "s", "z"], [y])


def shape_of(workload):
    return [(op.kind, op.dtype, op.weight_dtype, op.output_dtype) for op in workload.ops]


def test_conv_between_pairs_is_an_integer_conv(net):
    nodes = [q("x", "xq"), dq("xq", "xd"), dq("w", "wd"), make_node("Conv", ["xd", "wd", "b"], ["c"], pads=[1, 1, 1, 1]), q("c", "cq"), dq("cq", "cd"),
             dq("v", "vd"), make_node("Conv", ["cd", "vd"], ["y"])]
    workload = net(nodes, {"x": [1, 3, 8, 8]}, ["y"], {**S, **Z, "w": np.zeros((4, 3, 3, 3), np.int8), "v": np.zeros((5, 4, 1, 1), np.int8), "b": (4,)})
    assert shape_of(workload) == [("elementwise", "float32", "float32", "int8"), ("conv", "int8", "int8", "int8"), ("conv", "int8", "int8", "float32")]
    # 8x8 of 3 channels: 768 bytes as float, 192 as int8; 4 channels 256 as int8; 5 channels 1280 as float
    assert {t.name: t.bytes for t in workload.tensors} == {"x": 768, "xq": 192, "cq": 256, "y": 1280}
    assert [op.params for op in workload.ops] == [0, 108 + 4, 20]
    assert workload.ops[1].weight_bytes == 112


def test_activation_before_the_pair_joins(net):
    nodes = [dq("x", "xd"), dq("w", "wd"), make_node("Conv", ["xd", "wd"], ["c"]), make_node("Relu", ["c"], ["r"]), q("r", "rq"), dq("rq", "y")]
    workload = net(nodes, {"x": (TensorProto.INT8, [1, 3, 8, 8])}, ["y"], {**S, **Z, "w": np.zeros((4, 3, 1, 1), np.int8)})
    assert shape_of(workload)[:2] == [("conv", "int8", "int8", "int8"), ("elementwise", "int8", "int8", "int8")]
    assert shape_of(workload)[2] == ("elementwise", "int8", "int8", "float32")  # the caller reads floats: real work


def test_other_operators_between_pairs(net):
    nodes = [dq("x", "xd"), dq("u", "ud"), make_node("Add", ["xd", "ud"], ["a"]), q("a", "aq"), dq("aq", "ad"),
             make_node("MaxPool", ["ad"], ["p"], kernel_shape=[2, 2]), q("p", "y")]
    inputs = {"x": (TensorProto.INT8, [1, 3, 8, 8]), "u": (TensorProto.INT8, [1, 3, 8, 8])}
    workload = net(nodes, inputs, ["y"], {**S, **Z})
    assert shape_of(workload) == [("elementwise", "int8", "int8", "int8"), ("pool", "int8", "int8", "int8")]
    assert workload.ops[0].bytes_read == 2 * 192


def test_relu_between_pairs(net):
    nodes = [dq("x", "xd"), make_node("Relu", ["xd"], ["r"]), q("r", "y")]
    assert shape_of(net(nodes, {"x": (TensorProto.INT8, [4])}, ["y"], {**S, **Z})) == [("elementwise", "int8", "int8", "int8")]


def test_float_neighbour_keeps_the_dequantise(net):
    # the sum reads a float as well: the dequantise is work; so is the quantise after it
    nodes = [dq("x", "xd"), make_node("Add", ["xd", "f"], ["a"]), q("a", "y")]
    workload = net(nodes, {"x": (TensorProto.INT8, [4]), "f": [4]}, ["y"], {**S, **Z})
    assert [(op.dtype, op.output_dtype) for op in workload.ops] == [("int8", "float32"), ("float32", "float32"), ("float32", "int8")]
    assert [op.dims["cost"] for op in workload.ops] == [2, 1, 4]


def test_weight_only(net):
    workload = net([dq("w", "wd"), make_node("MatMul", ["x", "wd"], ["y"])], {"x": [2, 8]}, ["y"], {**S, **Z, "w": np.zeros((8, 4), np.int8)})
    assert shape_of(workload) == [("gemm", "float32", "int8", "float32")]
    assert (workload.params, workload.weight_bytes) == (32, 32)


def test_dynamic_quantisation_is_work(net):
    nodes = [make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]), make_node("MatMulInteger", ["xq", "w", "xz"], ["i"]),
             make_node("Cast", ["i"], ["f"], to=1), make_node("Mul", ["f", "xs"], ["y"])]
    workload = net(nodes, {"x": [2, 8]}, ["y"], {"w": np.zeros((8, 4), np.int8)})
    assert [op.kind for op in workload.ops] == ["elementwise", "gemm", "elementwise", "elementwise"]
    assert (workload.ops[1].dtype, workload.ops[1].output_dtype, workload.params) == ("int8", "int32", 32)
