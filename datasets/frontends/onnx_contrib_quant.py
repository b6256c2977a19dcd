"""ONNX Runtime's quantised operators: products with packed or dynamically quantised operands, and the QLinear family."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from ..errors import GraphError
from ..ops import ELEMENTWISE_COST as COST
from .onnx_contrib_attention import stored
from .onnx_foreign import Foreign, Outputs
from .onnx_matrix import product
from .onnx_site import Lowered, Site


def _to_float(s: Site) -> Outputs:
    a, b = s.shape(0), s.shape(1)
    scale = 1 if s.node.op == "DynamicQuantizeMatMul" else 2
    elem = 6 if s.node.op == "MatMulInteger16" else s.elem(0) if s.node.op == "DynamicQuantizeMatMul" else s.elem(scale)
    return [((*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1]), elem)]


def _integer_product(s: Site) -> Lowered | list[Lowered]:
    """An integer product; DynamicQuantizeMatMul finds the range of its input and quantises it first."""
    dynamic = s.node.op == "DynamicQuantizeMatMul"
    bias = {"DynamicQuantizeMatMul": 4, "MatMulIntegerToFloat": 6}.get(s.node.op, 99)
    sizes, _ = product(s.shape(0), s.shape(1))
    main = Lowered("gemm", {**sizes, "bias": int(s.has(bias))}, 1 if dynamic else 0, 1, "product", tuple(i for i in s.reads if i or not dynamic), slots=(1, bias))
    return [Lowered("elementwise", {"elements": s.size(0), "cost": COST["quantize"] + 2}, 0, None, "quantise", (0,), slots=()), main] if dynamic else main


def _packed_shapes(s: Site) -> Outputs:
    return [((*s.shape(0)[:-1], s.attr("N", 0)), s.elem(0))]


def _packed(s: Site) -> Lowered:
    """Weights of N x K numbers, several to a byte: computed in the activations' format."""
    shape, n, k = s.shape(0), s.attr("N", 0), s.attr("K", 0)
    if shape[-1] != k or n < 1:
        raise GraphError(f"{s.node.where}: weights of N x K = {n} x {k} do not fit an input of shape {shape}")
    bias = 5 if s.node.op == "MatMulNBits" else 99
    dtype = "float4" if s.node.op == "MatMulBnb4" and s.attr("quant_type", 1) == 0 else stored(s, s.attr("bits", 4))
    return Lowered("gemm", {"m": prod(shape[:-1]), "n": n, "k": k, "bias": int(s.has(bias))}, 0, 1, slots=(1, bias), packed={1: n * k}, stores=dtype)


def _shared_shapes(s: Site) -> Outputs:
    lead, elem = s.shape(0)[:-1], s.elem(0)
    if s.node.op == "MatMulNBitsMlp":
        return [((*lead, s.attr("N", 0)), elem), (s.shape(0), elem)]
    return [((*lead, s.attr("Nq", 0)), elem), ((*lead, s.attr("Nkv", 0)), elem), ((*lead, s.attr("Nkv", 0)), elem), (s.shape(0), elem)]


def _shared(s: Site) -> list[Lowered]:
    """(Skip,) norm, then products that read the same rows: counted as one with the columns of all; the MLP's gate and product follow."""
    mlp, k = s.node.op == "MatMulNBitsMlp", s.attr("K", 0)
    rows, weights = s.size(0) // k, (3, 6) if mlp else (3, 6, 9)
    columns = [s.attr("N", 0)] * 2 if mlp else [s.attr("Nq", 0), s.attr("Nkv", 0), s.attr("Nkv", 0)]
    steps = []
    if s.has(1):
        steps.append(Lowered("elementwise", {"elements": rows * k, "extra_elements": rows * k}, 0, None, "sum", (0, 1), slots=()))
    if s.has(2):
        steps.append(Lowered("norm", {"rows": rows, "cols": k}, 0, 2, "norm", (2,) if steps else (0, 2), slots=(2,)))
    reads = tuple(i for i in range(3, len(s.node.inputs)) if s.has(i))
    steps.append(Lowered("gemm", {"m": rows, "n": sum(columns), "k": k, "bias": int(s.has(5))}, 0, 3, "product", reads if steps else (0, *reads),
                         () if mlp else tuple(i for i in (0, 1) if s.writes(i)), slots=(*weights, *(w + 2 for w in weights)),
                         packed={w: n * k for w, n in zip(weights, columns, strict=True)}, stores=stored(s, s.attr("bits", 4))))
    if mlp:
        steps.append(Lowered("elementwise", {"elements": rows * columns[0], "cost": COST.get(str(s.attr("activation", "silu")).lower(), COST["other"]) + 1,
                                             "extra_elements": rows * columns[0]}, None, None, "gate", (), slots=()))
    return steps


def _gemm_shapes(s: Site) -> Outputs:
    a, b = s.shape(0), s.shape(3 if s.node.op == "QGemm" else 1)
    m, n = a[-1 if s.attr("transA", 0) else -2], b[-2 if s.attr("transB", 0) else -1]
    return [((*a[:-2], m, n), (s.elem(8) or 1) if s.node.op == "QGemm" else s.attr("dtype", 1))]


def _gemm(s: Site) -> Lowered:
    w = 3 if s.node.op == "QGemm" else 1
    a, out = s.shape(0), s.out_shape()
    bias = 6 if s.node.op == "QGemm" else 2
    return Lowered("gemm", {"m": prod(out[:-1]), "n": out[-1], "k": a[-2 if s.attr("transA", 0) else -1], "bias": int(s.has(bias))}, 0, w, slots=(w, bias))


def _rows_shapes(s: Site) -> Outputs:
    data, axis = s.shape(0), s.attr("gather_axis", 0) % len(s.shape(0))
    apart = 8 // s.attr("bits", 4) if s.elem(0) == 2 else 1  # uint8 holds several numbers
    full = (*data[:-1], data[-1] * apart)
    return [((*full[:axis], *s.shape(1), *full[axis + 1:]), s.elem(2))]


def _rows(s: Site) -> list[Lowered]:
    data, axis = s.shape(0), s.attr("gather_axis", 0) % len(s.shape(0))
    bits = s.attr("bits", 4) if s.elem(0) == 2 else s.bits(0)
    count = prod(data) * (8 // bits if s.elem(0) == 2 else 1)
    width = s.out_size() // max(1, s.size(1) * prod(data[:axis]))
    rows = s.out_size() // width
    return [Lowered("gather", {"rows": rows, "width": width, "table_rows": count // width}, 0, 0, "rows", (0, 1), slots=(0,), packed={0: count},
                    stores=stored(s, bits) if s.elem(0) in (2, 3, 21, 22) else ""),
            Lowered("elementwise", {"elements": s.out_size(), "cost": COST["dequantize"]}, None, None, "dequantise", (2, 3), slots=())]


def _lstm_shapes(s: Site) -> Outputs:
    (steps, batch, _), (ways, hidden) = s.shape(0), s.shape(2)[:2]
    return [((steps, ways, batch, hidden), s.elem(0)), ((ways, batch, hidden), s.elem(0)), ((ways, batch, hidden), s.elem(0))]


def _lstm(s: Site) -> Lowered:
    (steps, batch, width), (ways, hidden) = s.shape(0), s.shape(2)[:2]  # W is (directions, input, 4 hidden), R (directions, hidden, 4 hidden)
    return Lowered("recurrent", {"steps": steps, "batch": batch, "input": width, "hidden": hidden, "gates": 4, "directions": ways}, 0, 1, slots=(1, 2, 3, 7))


# the QLinear family: each operand with its scale and zero point; costs as of the fused pairs of QuantizeLinear and DequantizeLinear

def _operands(s: Site) -> list[int]:
    op = s.node.op
    if op == "QLinearConcat":
        return list(range(2, len(s.node.inputs), 3))
    return {"QLinearAdd": [0, 3], "QLinearMul": [0, 3], "QLinearWhere": [0, 1, 4]}.get(op, [0])


def _broadcast(s: Site) -> Outputs:
    held = _operands(s)
    return [(tuple(int(d) for d in np.broadcast_shapes(*(s.shape(i) for i in held))), s.elem(held[-1]))]


def _concat_shapes(s: Site) -> Outputs:
    shapes = [s.shape(i) for i in _operands(s)]
    axis = s.attr("axis", 0) % len(shapes[0])
    return [((*shapes[0][:axis], sum(x[axis] for x in shapes), *shapes[0][axis + 1:]), s.elem(2))]


def _mean_shapes(s: Site) -> Outputs:
    shape = s.shape(0)
    axes = {a % len(shape) for a in s.attr("axes", None) or range(len(shape))}
    keep = s.attr("keepdims", 1)
    return [(tuple(1 if a in axes else d for a, d in enumerate(shape) if keep or a not in axes), s.elem(4) or s.elem(0))]


def _integer(cost: int) -> Callable[[Site], Lowered]:
    def rule(s: Site) -> Lowered:
        held = _operands(s)
        extra = sum(s.size(i) for i in held) - s.out_size()
        return Lowered("elementwise", {"elements": s.out_size(), "cost": cost, "extra_elements": max(0, extra)}, held[-1], slots=tuple(held))
    return rule


def _concat(s: Site) -> Lowered:
    return Lowered("move", {"elements": s.out_size()}, None, slots=())


def _mean(s: Site) -> Lowered:
    return Lowered("reduce", {"rows": s.out_size(), "cols": max(1, s.size(0) // s.out_size())}, slots=())


def _softmax(s: Site) -> Lowered:
    shape, axis = s.shape(0), s.attr("axis", -1)
    cols = prod(shape[axis:] if axis >= 0 else shape[len(shape) + axis:]) if s.attr("opset", 13) < 13 else shape[axis]
    return Lowered("softmax", {"rows": prod(shape) // cols, "cols": cols}, slots=())


def _first(s: Site) -> Outputs:
    return [(s.shape(0), s.elem(4) or s.elem(0))]


QUANTISED: dict[str, Foreign] = {
    **dict.fromkeys(("MatMulIntegerToFloat", "MatMulInteger16"), Foreign(_to_float, _integer_product, "gemm in the stored integers")),
    "DynamicQuantizeMatMul": Foreign(_to_float, _integer_product, "elementwise (the quantisation), gemm in the weights' integers"),
    **dict.fromkeys(("MatMulNBits", "MatMulBnb4"), Foreign(_packed_shapes, _packed, "gemm in the activations' format, weights stored in 4 or 8 bits; other widths are refused")),
    **dict.fromkeys(("MatMulNBitsMlp", "MatMulNBitsQkv"), Foreign(_shared_shapes, _shared, "(sum,) norm, one gemm of all columns(, gate)")),
    "QGemm": Foreign(_gemm_shapes, _gemm, "gemm in the stored integers"), "GemmFloat8": Foreign(_gemm_shapes, _gemm, "gemm in the stored format"),
    "GatherBlockQuantized": Foreign(_rows_shapes, _rows, "gather from packed rows, elementwise (dequantise)"),
    "DynamicQuantizeLSTM": Foreign(_lstm_shapes, _lstm, "recurrent, weights stored in integers"),
    "QLinearAdd": Foreign(_broadcast, _integer(COST["add"]), "elementwise in the stored integers"),
    "QLinearMul": Foreign(_broadcast, _integer(COST["mul"]), "elementwise in the stored integers"),
    "QLinearWhere": Foreign(_broadcast, _integer(COST["where"]), "elementwise in the stored integers"),
    "QLinearSigmoid": Foreign(_first, _integer(COST["sigmoid"]), "elementwise in the stored integers"),
    "QLinearLeakyRelu": Foreign(_first, _integer(COST["leakyrelu"]), "elementwise in the stored integers"),
    "QLinearSoftmax": Foreign(_first, _softmax, "softmax"), "QLinearReduceMean": Foreign(_mean_shapes, _mean, "reduce"),
    "QLinearConcat": Foreign(_concat_shapes, _concat, "move"),
}
