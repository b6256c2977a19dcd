"""ONNX Runtime's operators: multiply-adds and parameters by hand, output sizes as the runtime itself makes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from silicast.datasets.errors import UnsupportedOpError
from silicast.datasets.frontends import read

F, I32, U8, I8 = np.float32, np.int32, np.uint8, np.int8


@dataclass(frozen=True)
class Given:
    """One node: its inputs in order (None absent; an array is a constant; a tuple is a float input of that shape), and what it must count."""

    op: str
    inputs: list[Any]
    macs: float
    params: int = 0
    kinds: str = ""
    outputs: int = 1
    attrs: dict[str, Any] = field(default_factory=dict)
    feeds: dict[int, Any] = field(default_factory=dict)
    runs: bool = True
    domain: str = "com.microsoft"


def w(*shape: int, dtype: Any = F) -> np.ndarray:
    return np.zeros(shape, dtype)


def scalar(value: float, dtype: Any = F) -> np.ndarray:
    return np.asarray(value, dtype)


S, Z = scalar(0.1), scalar(0, U8)
CASES = [
    # (2 x 6 by 6 x 5) twice over, both turned: 2 * 4 * 6 * 5
    Given("FusedMatMul", [(2, 6, 4), (2, 5, 6)], 2 * 4 * 6 * 5, 0, "gemm", 1, {"transA": 1, "transB": 1}),
    Given("FusedGemm", [(3, 4), w(4, 5), w(5)], 60, 25, "gemm elementwise", 1, {"activation": "Relu"}),
    Given("FusedConv", [(1, 3, 8, 8), w(4, 3, 3, 3), w(4)], 36 * 4 * 27, 112, "conv elementwise", 1, {"activation": "Relu"}),
    Given("NhwcConv", [(1, 8, 8, 3), w(4, 3, 3, 3)], 64 * 4 * 27, 108, "conv", 1, {"pads": [1, 1, 1, 1]}, runs=False),
    Given("BiasGelu", [(2, 3, 8), w(8)], 0, 8, "elementwise"),
    Given("FastGelu", [(2, 3, 8)], 0, 0, "elementwise"),
    Given("QuickGelu", [(2, 3, 8)], 0, 0, "elementwise"),
    Given("SkipLayerNormalization", [(2, 3, 8), (2, 3, 8), w(8), w(8), w(8)], 0, 24, "elementwise norm"),
    Given("SkipSimplifiedLayerNormalization", [(2, 3, 8), (2, 3, 8), w(8)], 0, 8, "elementwise norm", 4),
    Given("EmbedLayerNormalization", [w(2, 3, dtype=I32) + 1, w(2, 3, dtype=I32), w(50, 8), w(16, 8), w(2, 8), w(8), w(8)], 0, 8 * (50 + 16 + 2 + 2),
          "gather gather gather elementwise norm", 2, feeds={0: I32, 1: I32}),
    # 3 heads of 4: the projection 2*5 rows of 7 by 36, then 2*3 * 5*5 * 8
    Given("Attention", [(2, 5, 7), w(7, 36), w(36)], 10 * 7 * 36 + 6 * 25 * 8, 7 * 36 + 36, "gemm attention", 1, {"num_heads": 3}),
    # 6 past keys: 5 queries on 11
    Given("Attention", [(2, 5, 7), w(7, 36), w(36), None, (2, 2, 3, 6, 4)], 10 * 7 * 36 + 6 * 5 * 11 * 8, 7 * 36 + 36, "gemm attention", 2, {"num_heads": 3}),
    Given("QAttention", [w(2, 5, 8, dtype=U8), w(8, 36, dtype=I8), w(36), S, S, None, Z, scalar(0, I8)], 10 * 8 * 36 + 6 * 25 * 8, 8 * 36 + 36, "gemm attention", 1,
          {"num_heads": 3}, feeds={0: U8}),
    Given("MultiHeadAttention", [(2, 5, 12), (2, 7, 12), (2, 7, 12)], 6 * 5 * 7 * 8, 0, "attention", 1, {"num_heads": 3}),
    Given("MultiHeadAttention", [(2, 5, 12), (2, 7, 12), (2, 7, 12), w(36)], 6 * 5 * 7 * 8, 36, "elementwise attention", 1, {"num_heads": 3}),
    Given("MultiHeadAttention", [(2, 1, 12), (2, 1, 12), (2, 1, 12), None, None, None, (2, 3, 6, 4), (2, 3, 6, 4)], 6 * 7 * 8, 0, "attention", 3, {"num_heads": 3}),
    # 4 query heads on 2 key heads of 8, one token after 10: 4 * 11 * 16
    Given("GroupQueryAttention", [(1, 1, 32), (1, 1, 16), (1, 1, 16), (1, 2, 10, 8), (1, 2, 10, 8), scalar(10, I32).reshape(1), scalar(11, I32)], 4 * 11 * 16, 0, "attention", 3,
          {"num_heads": 4, "kv_num_heads": 2}),
    # the prompt: 6 tokens, causal: 21 pairs, of which a window of 3 keeps 1 + 2 + 4 * 3
    Given("GroupQueryAttention", [(1, 6, 32), (1, 6, 16), (1, 6, 16), None, None, scalar(5, I32).reshape(1), scalar(6, I32)], 4 * 21 * 16, 0, "attention", 3,
          {"num_heads": 4, "kv_num_heads": 2}),
    Given("GroupQueryAttention", [(1, 6, 32), (1, 6, 16), (1, 6, 16), None, None, scalar(5, I32).reshape(1), scalar(6, I32)], 4 * 15 * 16, 0, "attention", 3,
          {"num_heads": 4, "kv_num_heads": 2, "local_window_size": 3}),
    # packed, with the rotation inside
    Given("GroupQueryAttention", [(1, 6, 128), None, None, None, None, scalar(5, I32).reshape(1), scalar(6, I32), w(16, 8), w(16, 8)], 4 * 21 * 32, 0, "elementwise attention", 3,
          {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1}),
    Given("RotaryEmbedding", [(1, 6, 32), w(1, 6, dtype=np.int64), w(16, 4), w(16, 4)], 0, 0, "elementwise", 1, {"num_heads": 4}, feeds={1: np.int64}),
    Given("RelativePositionBias", [w(32, 4), scalar(6, np.int64), scalar(6, np.int64)], 0, 128, "gather", 1, {"max_distance": 128}, runs=False),
    # 6 tokens, 2 of 4 experts each, 8 wide, 16 inside: 12 rows of 8 by 16 and of 16 by 8
    Given("MoE", [(6, 8), (6, 4), w(4, 16, 8), w(4, 16), w(4, 8, 16), w(4, 8)], 2 * 12 * 8 * 16, 4 * (2 * 8 * 16 + 16 + 8), "route grouped_gemm elementwise grouped_gemm elementwise", 1,
          {"k": 2, "activation_type": "gelu"}),
    # 4 bits: two weights to a byte
    Given("QMoE", [(6, 32), (6, 4), w(4, 64, 16, dtype=U8), w(4, 64), None, w(4, 32, 32, dtype=U8), w(4, 32)], 2 * 12 * 32 * 64, 4 * 2 * 32 * 64,
          "route grouped_gemm elementwise grouped_gemm elementwise", 1, {"k": 2, "activation_type": "relu", "expert_weight_bits": 4}, runs=False),
    # 32 x 64 weights of 4 bits, 2 blocks of 32 to a row
    Given("MatMulNBits", [(3, 64), w(32, 2, 16, dtype=U8), w(32, 2)], 3 * 64 * 32, 32 * 64, "gemm", 1, {"K": 64, "N": 32, "bits": 4, "block_size": 32}),
    Given("MatMulNBits", [(3, 64), w(32, 2, 32, dtype=U8), w(32, 2)], 3 * 64 * 32, 32 * 64, "gemm", 1, {"K": 64, "N": 32, "bits": 8, "block_size": 32}),
    Given("MatMulBnb4", [(3, 64), w(1024, dtype=U8), w(64)], 3 * 64 * 32, 32 * 64, "gemm", 1, {"K": 64, "N": 32, "block_size": 32, "quant_type": 1}),
    Given("MatMulIntegerToFloat", [w(3, 4, dtype=U8), w(4, 5, dtype=U8), S, S, Z, Z, w(5)], 60, 25, "gemm", feeds={0: U8}),
    Given("DynamicQuantizeMatMul", [(3, 4), w(4, 5, dtype=U8), S, Z], 60, 20, "elementwise gemm"),
    Given("QGemm", [w(3, 4, dtype=U8), S, Z, w(4, 5, dtype=U8), S, Z, w(5, dtype=I32), S, Z], 60, 25, "gemm", feeds={0: U8}),
    Given("DynamicQuantizeLSTM", [(7, 2, 8), w(1, 8, 12, dtype=U8), w(1, 3, 12, dtype=U8), None, None, None, None, None, S.reshape(1), Z.reshape(1), S.reshape(1), Z.reshape(1)],
          7 * 2 * (8 + 3) * 12, 8 * 12 + 3 * 12, "recurrent", 1, {"hidden_size": 3}),
    Given("GatherBlockQuantized", [w(50, 16, dtype=U8), w(3, dtype=np.int64), w(50, 1)], 0, 50 * 32, "gather elementwise", 1,
          {"block_size": 32, "bits": 4, "gather_axis": 0, "quantize_axis": 1}, feeds={1: np.int64}),
    Given("QLinearAdd", [w(2, 8, dtype=U8), S, Z, w(8, dtype=U8), S, Z, S, Z], 0, 0, "elementwise", feeds={0: U8, 3: U8}),
    Given("QLinearMul", [w(2, 8, dtype=U8), S, Z, w(2, 8, dtype=U8), S, Z, S, Z], 0, 0, "elementwise", feeds={0: U8, 3: U8}),
    Given("QLinearLeakyRelu", [w(2, 8, dtype=U8), S, Z, S, Z], 0, 0, "elementwise", feeds={0: U8}),
    Given("QLinearSigmoid", [w(2, 8, dtype=U8), S, Z, S, Z], 0, 0, "elementwise", feeds={0: U8}),
    Given("QLinearSoftmax", [w(2, 8, dtype=U8), S, Z, S, Z], 0, 0, "softmax", 1, {"axis": -1, "opset": 13}, feeds={0: U8}),
    Given("QLinearGlobalAveragePool", [w(1, 4, 6, 6, dtype=U8), S, Z, S, Z], 0, 0, "pool", feeds={0: U8}),
    Given("QLinearAveragePool", [w(1, 4, 6, 6, dtype=U8), S, Z, S, Z], 0, 0, "pool", 1, {"kernel_shape": [2, 2], "strides": [2, 2]}, feeds={0: U8}),
    Given("QLinearConcat", [S, Z, w(1, 4, dtype=U8), S, Z, w(1, 6, dtype=U8), S, Z], 0, 0, "move", 1, {"axis": 1}, feeds={2: U8, 5: U8}),
    Given("QLinearReduceMean", [w(1, 4, 6, dtype=U8), S, Z, S, Z], 0, 0, "reduce", 1, {"axes": [2]}, feeds={0: U8}, runs=False),
    Given("QLinearConv", [w(1, 8, 8, 3, dtype=U8), S, Z, w(4, 3, 3, 3, dtype=U8), S, Z, S, Z], 36 * 4 * 27, 108, "conv", 1, {"channels_last": 1}, feeds={0: U8}),
    Given("BiasSplitGelu", [(2, 3, 16), w(16)], 0, 16, "elementwise", runs=False),
    Given("GroupNorm", [(1, 4, 4, 8), w(8), w(8)], 0, 16, "norm elementwise", 1, {"groups": 2, "activation": 1}, runs=False),
    Given("CDist", [(5, 3), (7, 3)], 105, 0, "gemm elementwise", 1, {"metric": "sqeuclidean"}),
    Given("Inverse", [(2, 3, 3)], 0, 0, "elementwise", feeds={0: "eye"}),
    Given("Gelu", [(2, 8)], 0, 0, "elementwise"),
    Given("LongformerAttention", [(1, 8, 6), w(6, 18), w(18), (1, 8), w(6, 18), w(18), w(1, 8, dtype=I32)], 8 * 6 * 18 + 2 * 8 * 5 * 6, 6 * 18 + 18, "gemm attention", 1,
          {"num_heads": 2, "window": 2}, runs=False),
]


def write(given: Given, path: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """The model of one node, and zeros to feed it."""
    names, infos, constants, feeds = [], [], [], {}
    for index, item in enumerate(given.inputs):
        name = f"i{index}" if item is not None else ""
        names.append(name)
        if item is None:
            continue
        if isinstance(item, tuple) or index in given.feeds:
            array = np.zeros(item, F) if isinstance(item, tuple) else item
            if given.feeds.get(index) == "eye":
                array = np.broadcast_to(np.eye(array.shape[-1], dtype=F), array.shape).copy()
            feeds[name] = array
            infos.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape))
        else:
            constants.append(numpy_helper.from_array(item, name))
    outputs = [f"o{i}" for i in range(given.outputs)]
    node = helper.make_node(given.op, names, outputs, name="n", domain=given.domain, **given.attrs)
    graph = helper.make_graph([node], "g", infos, [helper.make_empty_tensor_value_info(o) for o in outputs], constants)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    for info in model.graph.output:
        info.type.tensor_type.elem_type = TensorProto.FLOAT
    onnx.save(model, path)
    return model, feeds


@pytest.mark.parametrize("given", CASES, ids=[f"{i}-{c.op}" for i, c in enumerate(CASES)])
def test_counts_by_hand(given, tmp_path):
    write(given, tmp_path / "net.onnx")
    workload = read(tmp_path / "net.onnx")
    assert [op.kind for op in workload.ops] == given.kinds.split()
    assert (workload.macs, workload.params) == (given.macs, given.params)


@pytest.mark.parametrize("given", [c for c in CASES if c.runs], ids=[f"{i}-{c.op}" for i, c in enumerate(CASES) if c.runs])
def test_makes_what_the_runtime_makes(given, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    model, feeds = write(given, tmp_path / "net.onnx")
    for info in model.graph.output:  # the runtime finds the types itself
        info.ClearField("type")
    runtime.set_default_logger_severity(4)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    made = dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))
    tensors = {t.name: t.bytes for t in read(tmp_path / "net.onnx").tensors}
    assert {name: tensors[name] for name in made} == {name: array.nbytes for name, array in made.items()}


def test_weights_that_no_dtype_holds(tmp_path):
    write(Given("MatMulNBits", [(3, 64), w(32, 2, 8, dtype=U8), w(32, 2)], 0, attrs={"K": 64, "N": 32, "bits": 2, "block_size": 32}), tmp_path / "net.onnx")
    with pytest.raises(UnsupportedOpError, match=r"node 'n' \(MatMulNBits.*weights of 2 bits have no silicast dtype"):
        read(tmp_path / "net.onnx")


def test_stored_weights_are_small(tmp_path):
    write(CASES[[c.op for c in CASES].index("MatMulNBits")], tmp_path / "net.onnx")
    op = read(tmp_path / "net.onnx").ops[0]
    assert (op.dtype, op.weight_dtype, op.weight_bytes) == ("float32", "int4", 32 * 64 / 2)


def test_an_operator_the_domain_has_not(tmp_path):
    write(Given("BeamSearch", [(3, 64)], 0), tmp_path / "net.onnx")
    with pytest.raises(UnsupportedOpError, match="does not know this operator of the domain"):
        read(tmp_path / "net.onnx")
