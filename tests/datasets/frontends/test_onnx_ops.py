"""One tiny model per operator family; FLOPs, parameters and sizes by hand (a multiply-add counts 2)."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto
from onnx.helper import make_node

from silicast.datasets.errors import GraphError, UnsupportedOpError

I8, U8, I32, I64, F16 = TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64, TensorProto.FLOAT16


def only(workload):
    assert len(workload.ops) == 1, [op.source for op in workload.ops]
    return workload.ops[0]


class TestConvolution:
    def test_conv_with_bias(self, net):
        # out 4x4; MACs 16 * 8 * (3*9) = 3456; bias 16*8 = 128; params 8*3*9 + 8 = 224
        op = only(net(make_node("Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1], strides=[2, 2]), {"x": [1, 3, 8, 8]}, ["y"], {"w": (8, 3, 3, 3), "b": (8,)}))
        assert (op.kind, op.macs, op.flops, op.params) == ("conv", 3456, 2 * 3456 + 128, 224)
        assert (op.dims["out_h"], op.dims["stride_h"], op.dims["bias"]) == (4, 2, 1)
        assert (op.dtype, op.weight_dtype, op.source) == ("float32", "float32", "onnx Conv y")

    def test_depthwise(self, net):
        # 8x8 outputs, 6 channels, one input channel each: 64 * 6 * 9 = 3456
        op = only(net(make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1], group=6), {"x": [1, 6, 8, 8]}, ["y"], {"w": (6, 1, 3, 3)}))
        assert (op.macs, op.params, op.dims["groups"]) == (3456, 54, 6)

    def test_one_and_three_dimensions(self, net):
        # 1-D: out 10-3+1 = 8; 8 * 4 * (2*3) = 192
        op = only(net(make_node("Conv", ["x", "w"], ["y"]), {"x": [1, 2, 10]}, ["y"], {"w": (4, 2, 3)}))
        assert (op.macs, op.dims["in_h"], op.dims["in_w"], op.dims["kernel_w"]) == (192, 1, 10, 3)
        # 3-D: out 2x3x4 (kernel 3 over 4x5x6); 24 * 5 * (2*27) = 6480
        op = only(net(make_node("Conv", ["x", "w"], ["y"]), {"x": [1, 2, 4, 5, 6]}, ["y"], {"w": (5, 2, 3, 3, 3)}))
        assert (op.macs, op.dims["in_h"], op.dims["out_h"], op.dims["kernel_h"]) == (6480, 20, 6, 9)

    @pytest.mark.parametrize(("kernel", "kind", "written"), [(2, "conv", 8 * 8 * 5), (4, "conv", 8 * 8 * 5), (3, "gemm", 16 * 5 * 9)])
    def test_transposed(self, net, kernel, kind, written):
        # every one of the 4x4 input pixels meets 3 * 5 * kernel^2 weights once, whatever the stride
        op = only(net(make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], pads=[kernel // 2 - 1] * 4 if kernel != 3 else [1, 1, 1, 1],
                                output_padding=[1, 1] if kernel == 3 else [0, 0]), {"x": [1, 3, 4, 4]}, ["y"], {"w": (3, 5, kernel, kernel)}))
        assert (op.kind, op.macs, op.params) == (kind, 16 * 3 * 5 * kernel**2, 15 * kernel**2)
        assert op.counts["output_elements"] == written

    def test_integer(self, net):
        # 6x6 outputs: 36 * 4 * (3*9) = 3888; int8 in, int32 accumulators out
        op = only(net(make_node("ConvInteger", ["x", "w"], ["y"]), {"x": (U8, [1, 3, 8, 8])}, ["y"], {"w": np.zeros((4, 3, 3, 3), np.int8)}, opset=10))
        assert (op.macs, op.dtype, op.weight_dtype, op.output_dtype, op.params) == (3888, "int8", "int8", "int32", 108)

    def test_qlinear(self, net):
        scale, zero = np.float32(0.1), np.uint8(0)
        op = only(net(make_node("QLinearConv", ["x", "s", "z", "w", "s", "z", "s", "z", "b"], ["y"]), {"x": (U8, [1, 3, 8, 8])}, ["y"],
                      {"w": np.zeros((4, 3, 3, 3), np.uint8), "b": np.zeros(4, np.int32), "s": scale, "z": zero}))
        assert (op.macs, op.dtype, op.output_dtype, op.params, op.dims["bias"]) == (3888, "int8", "int8", 108 + 4, 1)

    def test_weights_that_do_not_fit(self, net):
        with pytest.raises(GraphError, match=r"node 'c' \(Conv.*weights of shape \(8, 4, 3, 3\)"):
            net(make_node("Conv", ["x", "w"], ["y"], name="c"), {"x": [1, 3, 8, 8]}, ["y"], {"w": (8, 4, 3, 3)})


class TestProduct:
    def test_gemm(self, net):
        # 5 x 7 by 7 x 3: 105 MACs; bias 15; params 21 + 3
        op = only(net(make_node("Gemm", ["x", "w", "b"], ["y"], transB=1), {"x": [5, 7]}, ["y"], {"w": (3, 7), "b": (3,)}))
        assert (op.kind, op.macs, op.flops, op.params) == ("gemm", 105, 225, 24)

    def test_stack_against_one_matrix_is_one_product(self, net):
        op = only(net(make_node("MatMul", ["x", "w"], ["y"]), {"x": [2, 6, 4]}, ["y"], {"w": (4, 5)}))
        assert (op.dims["b"], op.dims["m"], op.dims["n"], op.dims["k"], op.params) == (1, 12, 5, 4, 20)

    def test_stack_against_stack(self, net):
        op = only(net(make_node("MatMul", ["q", "k"], ["y"]), {"q": [2, 3, 8, 4], "k": [2, 1, 4, 8]}, ["y"]))
        assert (op.dims["b"], op.macs, op.params) == (6, 6 * 8 * 8 * 4, 0)

    def test_constant_on_the_left_is_the_weight(self, net):
        # W (5x4) times x (4x7): 140 MACs, the weight operand has 20 elements
        op = only(net(make_node("MatMul", ["w", "x"], ["y"]), {"x": [4, 7]}, ["y"], {"w": (5, 4)}))
        assert (op.macs, op.params, op.counts["weight_elements"]) == (140, 20, 20)
        # against a stack of 3 it is one product of 3*7 columns
        op = only(net(make_node("MatMul", ["w", "x"], ["y"]), {"x": [3, 4, 7]}, ["y"], {"w": (5, 4)}))
        assert (op.macs, op.dims["b"], op.counts["weight_elements"]) == (420, 1, 20)

    def test_vectors(self, net):
        assert only(net(make_node("MatMul", ["x", "w"], ["y"]), {"x": [4]}, ["y"], {"w": (4, 7)})).macs == 28
        assert only(net(make_node("MatMul", ["x", "w"], ["y"]), {"x": [7, 4]}, ["y"], {"w": (4,)})).macs == 28

    def test_integer(self, net):
        op = only(net(make_node("MatMulInteger", ["x", "w"], ["y"]), {"x": (U8, [5, 4])}, ["y"], {"w": np.zeros((4, 7), np.uint8)}, opset=10))
        assert (op.macs, op.dtype, op.output_dtype, op.params) == (140, "int8", "int32", 28)
        z = np.uint8(0)
        op = only(net(make_node("QLinearMatMul", ["x", "s", "z", "w", "s", "z", "s", "z"], ["y"]), {"x": (U8, [5, 4])}, ["y"],
                      {"w": np.zeros((4, 7), np.uint8), "s": np.float32(1), "z": z}))
        assert (op.macs, op.dtype, op.output_dtype, op.params) == (140, "int8", "int8", 28)

    @pytest.mark.parametrize(("equation", "a", "b", "macs", "batch"), [
        ("bhqd,bhkd->bhqk", [2, 3, 8, 4], [2, 3, 6, 4], 2 * 3 * 8 * 6 * 4, 6),
        ("ij,jk", [5, 6], [6, 7], 210, 1),
        ("...ij,...jk->...ik", [2, 5, 6], [2, 6, 7], 420, 2),
        ("abc,cd->abd", [2, 3, 4], [4, 5], 120, 1),
    ])
    def test_einsum(self, net, equation, a, b, macs, batch):
        op = only(net(make_node("Einsum", ["x", "y"], ["z"], equation=equation), {"x": a, "y": b}, ["z"]))
        assert (op.kind, op.macs, op.dims["b"]) == ("gemm", macs, batch)

    def test_einsum_that_cannot_be_counted(self, net):
        with pytest.raises(UnsupportedOpError, match="diagonal"):
            net(make_node("Einsum", ["x", "y"], ["z"], equation="ii,ij->j"), {"x": [4, 4], "y": [4, 5]}, ["z"])
        with pytest.raises(UnsupportedOpError, match="3 operands"):
            net(make_node("Einsum", ["x", "x", "x"], ["z"], equation="ij,jk,kl->il"), {"x": [4, 4]}, ["z"])


@pytest.mark.parametrize(("op_type", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent(net, op_type, gates):
    # 7 steps, batch 2, input 5, hidden 3, both directions: 2 * 7 * 2 * (5+3) * 3*gates MACs
    op = only(net(make_node(op_type, ["x", "w", "r", "b"], ["y"], hidden_size=3, direction="bidirectional"), {"x": [7, 2, 5]}, ["y"],
                  {"w": (2, 3 * gates, 5), "r": (2, 3 * gates, 3), "b": (2, 6 * gates)}))
    assert (op.kind, op.macs) == ("recurrent", 2 * 7 * 2 * 8 * 3 * gates)
    assert op.params == 2 * 3 * gates * (5 + 3 + 2)


def test_attention_operator(net):
    # 4 heads of 8, 2 key heads, 6 queries on 10 keys: 4 * 6*10 * (8+8) MACs
    op = only(net(make_node("Attention", ["q", "k", "v"], ["y"]), {"q": [1, 4, 6, 8], "k": [1, 2, 10, 8], "v": [1, 2, 10, 8]}, ["y"], opset=23))
    assert (op.kind, op.macs, op.dims["kv_heads"]) == ("attention", 3840, 2)


class TestVector:
    @pytest.mark.parametrize(("op_type", "cost"), [("Relu", 1), ("Sigmoid", 10), ("Tanh", 12), ("Erf", 12), ("Sqrt", 4), ("HardSwish", 4), ("Exp", 8)])
    def test_unary(self, net, op_type, cost):
        op = only(net(make_node(op_type, ["x"], ["y"]), {"x": [2, 3, 4]}, ["y"]))
        assert (op.kind, op.flops, op.counts["input_elements"], op.counts["output_elements"]) == ("elementwise", 24 * cost, 24, 24)

    def test_binary_reads_both(self, net):
        op = only(net(make_node("Add", ["x", "y"], ["z"]), {"x": [2, 3, 4], "y": [4]}, ["z"]))
        assert (op.flops, op.counts["input_elements"], op.params) == (24, 24 + 4, 0)

    def test_bias_is_a_parameter_and_a_literal_is_not(self, net):
        assert only(net(make_node("Add", ["x", "b"], ["z"]), {"x": [2, 3, 4]}, ["z"], {"b": (4,)})).params == 4
        op = only(net(make_node("Mul", ["x", "b"], ["z"]), {"x": [2, 3, 4]}, ["z"], {"b": np.float32(2)}))
        assert (op.params, op.counts["input_elements"]) == (0, 24)

    def test_square_reads_once(self, net):
        assert only(net(make_node("Mul", ["x", "x"], ["z"]), {"x": [24]}, ["z"])).counts["input_elements"] == 24

    def test_pow_by_two_is_a_multiplication(self, net):
        assert only(net(make_node("Pow", ["x", "p"], ["z"]), {"x": [24]}, ["z"], {"p": np.float32(2)})).flops == 24
        assert only(net(make_node("Pow", ["x", "p"], ["z"]), {"x": [24]}, ["z"], {"p": np.float32(1.7)})).flops == 240

    def test_where_and_compare(self, net):
        # the condition's 24 bytes weigh as 6 float32 elements: 24 + 24 + 6 read
        op = only(net(make_node("Where", ["c", "x", "y"], ["z"]), {"c": (TensorProto.BOOL, [24]), "x": [24], "y": [24]}, ["z"]))
        assert (op.dtype, op.counts["input_elements"]) == ("float32", 54)
        op = only(net(make_node("Greater", ["x", "y"], ["z"]), {"x": [24], "y": [24]}, ["z"]))
        assert (op.dtype, op.output_dtype, op.bytes_written) == ("float32", "bool", 24)

    def test_cast(self, net):
        op = only(net(make_node("Cast", ["x"], ["z"], to=F16), {"x": [24]}, ["z"]))
        assert (op.dtype, op.output_dtype, op.bytes_read, op.bytes_written) == ("float32", "float16", 96, 48)

    def test_sum_of_three(self, net):
        assert only(net(make_node("Sum", ["x", "y", "z"], ["o"]), {"x": [24], "y": [24], "z": [24]}, ["o"])).flops == 48

    def test_batch_norm(self, net):
        # a scale and a shift per element; scale and bias are parameters, running statistics are not
        op = only(net(make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"]), {"x": [1, 6, 4, 4]}, ["y"], dict.fromkeys("sbmv", (6,))))
        assert (op.kind, op.flops, op.params, op.dims["extra_elements"]) == ("elementwise", 2 * 96, 12, 12)

    def test_lrn(self, net):
        # square 1, window of 5: 4 sums, scale and bias 2, power 10, division 4 = 21 each
        assert only(net(make_node("LRN", ["x"], ["y"], size=5), {"x": [1, 6, 4, 4]}, ["y"])).flops == 96 * 21

    def test_prelu_slope(self, net):
        op = only(net(make_node("PRelu", ["x", "a"], ["y"]), {"x": [1, 6, 4, 4]}, ["y"], {"a": (6, 1, 1)}))
        assert (op.flops, op.params) == (192, 6)


class TestRows:
    def test_softmax_new_and_old(self, net):
        node = make_node("Softmax", ["x"], ["y"])
        op = only(net(node, {"x": [2, 3, 4]}, ["y"], opset=13))
        assert (op.kind, op.dims["rows"], op.dims["cols"]) == ("softmax", 6, 4)
        op = only(net(node, {"x": [2, 3, 4]}, ["y"], opset=11))  # axis 1: flattened to 2 x 12
        assert (op.dims["rows"], op.dims["cols"]) == (2, 12)

    @pytest.mark.parametrize(("node", "opset", "rows", "cols", "params"), [
        (make_node("LayerNormalization", ["x", "s", "b"], ["y"], axis=-1), 17, 2 * 6 * 4, 6, 12),
        (make_node("InstanceNormalization", ["x", "s", "b"], ["y"]), 17, 12, 24, 12),
        (make_node("GroupNormalization", ["x", "s", "b"], ["y"], num_groups=3), 21, 6, 48, 12),
        (make_node("RMSNormalization", ["x", "s"], ["y"]), 23, 48, 6, 6),
    ])
    def test_norms(self, net, node, opset, rows, cols, params):
        op = only(net(node, {"x": [2, 6, 4, 6]}, ["y"], dict.fromkeys(node.input[1:], (6,)), opset=opset))
        assert (op.kind, op.dims["rows"], op.dims["cols"], op.params) == ("norm", rows, cols, params)

    def test_reductions(self, net):
        op = only(net(make_node("ReduceMean", ["x"], ["y"], axes=[1, 2]), {"x": [2, 3, 4]}, ["y"]))
        assert (op.kind, op.dims["rows"], op.dims["cols"], op.flops) == ("reduce", 2, 12, 24)
        op = only(net(make_node("ReduceSum", ["x", "a"], ["y"]), {"x": [2, 3, 4]}, ["y"], {"a": np.array([-1])}))
        assert (op.dims["rows"], op.dims["cols"]) == (6, 4)
        op = only(net(make_node("ArgMax", ["x"], ["y"], axis=2), {"x": [2, 3, 4]}, ["y"]))
        assert (op.dims["rows"], op.output_dtype) == (6, "int64")

    def test_top_k(self, net):
        workload = net(make_node("TopK", ["x", "k"], ["v", "i"]), {"x": [2, 50]}, ["v", "i"], {"k": np.array([5])})
        assert only(workload).flops == 100
        assert {t.name: t.bytes for t in workload.tensors} == {"x": 400, "v": 40, "i": 80}

    def test_pools(self, net):
        # 4x4 outputs of 3x3 windows on 6 channels
        op = only(net(make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), {"x": [1, 6, 8, 8]}, ["y"]))
        assert (op.kind, op.flops, op.dims["stride_w"]) == ("pool", 16 * 6 * 9, 2)
        assert only(net(make_node("GlobalAveragePool", ["x"], ["y"]), {"x": [1, 6, 8, 8]}, ["y"])).flops == 384


class TestMovement:
    def test_embedding(self, net):
        op = only(net(make_node("Gather", ["w", "i"], ["y"]), {"i": (I64, [2, 5])}, ["y"], {"w": (100, 8)}))
        assert (op.kind, op.dims["rows"], op.dims["width"], op.dims["table_rows"], op.params) == ("gather", 10, 8, 100, 800)

    def test_fixed_selection_is_a_slice(self, net):
        op = only(net(make_node("Gather", ["x", "i"], ["y"], axis=1), {"x": [2, 5, 8]}, ["y"], {"i": np.array(0)}))
        assert (op.kind, op.dims["elements"], op.params) == ("move", 16, 0)

    @pytest.mark.parametrize(("node", "weights", "elements"), [
        (make_node("Transpose", ["x"], ["y"], perm=[1, 0, 2]), {}, 48),
        (make_node("Concat", ["x", "x"], ["y"], axis=0), {}, 96),
        (make_node("Slice", ["x", "a", "b"], ["y"]), {"a": np.array([0]), "b": np.array([1])}, 24),
        (make_node("Expand", ["x", "a"], ["y"]), {"a": np.array([3, 2, 6, 4])}, 144),
        (make_node("Tile", ["x", "a"], ["y"]), {"a": np.array([1, 1, 2])}, 96),
        (make_node("Pad", ["x", "a"], ["y"]), {"a": np.array([0, 0, 0, 0, 0, 1])}, 60),
    ])
    def test_moves(self, net, node, weights, elements):
        op = only(net(node, {"x": [2, 6, 4]}, ["y"], weights))
        assert (op.kind, op.dims["elements"], op.flops, op.params) == ("move", elements, 0, 0)

    def test_split_makes_two_tensors(self, net):
        workload = net(make_node("Split", ["x"], ["a", "b"], axis=1), {"x": [2, 6]}, ["a", "b"], opset=13)
        assert only(workload).dims["elements"] == 12
        assert [t.bytes for t in workload.tensors] == [48, 24, 24]

    def test_resize(self, net):
        scales = {"s": np.array([1, 1, 2, 2], np.float32)}
        op = only(net(make_node("Resize", ["x", "", "s"], ["y"], mode="nearest"), {"x": [1, 3, 4, 4]}, ["y"], scales))
        assert (op.kind, op.dims["elements"]) == ("move", 192)
        # bilinear: four taps of a multiply-add
        op = only(net(make_node("Resize", ["x", "", "s"], ["y"], mode="linear"), {"x": [1, 3, 4, 4]}, ["y"], scales))
        assert (op.flops, op.params) == (192 * 8, 0)

    def test_scatter(self, net):
        op = only(net(make_node("ScatterND", ["x", "i", "u"], ["y"]), {"x": [8, 4], "i": (I64, [2, 1]), "u": [2, 4]}, ["y"]))
        assert (op.kind, op.dims["elements"]) == ("move", 32)


def test_views_cost_nothing(net):
    workload = net([make_node("Relu", ["x"], ["a"]), make_node("Reshape", ["a", "s"], ["b"]), make_node("Unsqueeze", ["b", "z"], ["c"]),
                    make_node("Dropout", ["c"], ["d"]), make_node("Flatten", ["d"], ["e"]), make_node("Identity", ["e"], ["f"]), make_node("Relu", ["f"], ["y"])],
                   {"x": [2, 3, 4]}, ["y"], {"s": np.array([6, -1]), "z": np.array([0])})
    assert [op.name for op in workload.ops] == ["a", "y"]
    assert [(t.name, t.producer, t.consumers) for t in workload.tensors] == [("x", -1, (0,)), ("a", 0, (1,)), ("y", 1, ())]


def test_shared_weights_count_once(net):
    workload = net([make_node("MatMul", ["x", "w"], ["a"]), make_node("Transpose", ["w"], ["t"]), make_node("MatMul", ["a", "t"], ["y"])],
                   {"x": [2, 3]}, ["y"], {"w": (3, 4)})
    assert [op.params for op in workload.ops] == [12, 0]


def test_weights_from_nodes(net):
    workload = net([make_node("ConstantOfShape", ["s"], ["w"]), make_node("MatMul", ["x", "w"], ["y"])], {"x": [2, 300]}, ["y"], {"s": np.array([300, 400])})
    assert only(workload).params == 120_000


def test_decomposed_attention_stays_decomposed(net):
    workload = net([make_node("MatMul", ["q", "k"], ["s"]), make_node("Softmax", ["s"], ["p"]), make_node("MatMul", ["p", "v"], ["y"])],
                   {"q": [1, 4, 8, 16], "k": [1, 4, 16, 8], "v": [1, 4, 8, 16]}, ["y"])
    assert [op.kind for op in workload.ops] == ["gemm", "softmax", "gemm"]
    assert workload.macs == 2 * 4 * 8 * 8 * 16
