"""ONNX operators that run on vector units or only move data, as canonical ops, and which of their constants are parameters.

`RULES` maps an operator to the function that lowers it; what is not in it is unsupported, never free.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, log2, prod

from ..dtypes import BITS
from ..errors import GraphError
from ..ops import ELEMENTWISE_COST as COST
from .onnx_matrix import MATRIX
from .onnx_signal import SIGNAL
from .onnx_site import Lowered, Lowering, Site, fold_depth
from .onnx_vision import VISION

#: elementwise operator -> vector operations per output element (per further operand for Sum, Mean, Max, Min)
ELEMENTWISE: dict[str, int] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean", "Relu", "Neg", "Abs", "Cast", "CastLike", "Where", "And", "Or", "Xor", "Not",
                     "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "IsNaN", "IsInf", "Sign", "Floor", "Ceil", "Round", "BitShift",
                     "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "Trilu", "OneHot", "CumSum", "CumProd"), 1),
    **dict.fromkeys(("Clip", "LeakyRelu", "PRelu", "ThresholdedRelu", "Shrink", "DequantizeLinear"), 2),
    "Div": COST["div"], "Reciprocal": COST["div"], "Mod": COST["div"] + 2, "Sqrt": COST["sqrt"], "Pow": COST["pow"], "Exp": COST["exp"], "Log": COST["log"],
    "Sigmoid": COST["sigmoid"], "Tanh": COST["tanh"], "Erf": COST["erf"], "Gelu": COST["gelu"], "Swish": COST["silu"], "Mish": COST["mish"],
    "HardSwish": COST["hardswish"], "HardSigmoid": COST["hardsigmoid"], "Softplus": COST["exp"] + COST["log"], "Softsign": COST["div"] + 2,
    "Elu": COST["exp"] + 2, "Selu": COST["exp"] + 3, "Celu": COST["exp"] + 3,
    **dict.fromkeys(("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh"), COST["sin"]),
    "QuantizeLinear": COST["quantize"], "DynamicQuantizeLinear": COST["quantize"] + 2,
    **dict.fromkeys(("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli"), COST["other"]),
    "BatchNormalization": 2, "RotaryEmbedding": 3, "SwiGLU": COST["silu"] + 1,
}

#: activations that a quantised runtime applies inside the operator before them
ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Elu", "Gelu", "Swish", "Mish"})

REDUCTIONS = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp")
POOLS = ("MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool")
MOVES = ("Transpose", "Concat", "Split", "Slice", "Pad", "Expand", "Tile", "DepthToSpace", "SpaceToDepth", "ReverseSequence", "ScatterND", "ScatterElements",
         "Scatter", "TensorScatter", "CenterCropPad", "Col2Im", "MaxUnpool", "EyeLike", "BitCast")

#: inputs that may be parameters, where not every one may: running statistics, initial states, scales and sizes are none
PARAMETERS: dict[str, tuple[int, ...]] = {
    "Conv": (1, 2), "ConvTranspose": (1, 2), "ConvInteger": (1,), "QLinearConv": (3, 8), "QLinearMatMul": (0, 3), "Gemm": (0, 1, 2),
    "LSTM": (1, 2, 3, 7), "GRU": (1, 2, 3), "RNN": (1, 2, 3), "BatchNormalization": (1, 2), "Gather": (0,), "GatherND": (0,), "GatherElements": (0,),
    **dict.fromkeys(("MatMul", "MatMulInteger", "Einsum"), (0, 1)),
    **dict.fromkeys(("LayerNormalization", "GroupNormalization", "InstanceNormalization", "RMSNormalization"), (1, 2)),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "Resize", "Upsample", "Clip", "Pad", "OneHot", "Attention", "CumSum", "CumProd",
                     "NonZero", "Compress", "Unique", "TfIdfVectorizer", "Range"), ()),
}


def _elementwise(s: Site) -> Lowered:
    op, elements = s.node.op, s.out_size()
    cost = ELEMENTWISE[op]
    if op in ("Sum", "Mean", "Max", "Min"):
        cost = max(1, len(s.node.inputs) - 1 + (op == "Mean"))
    if op == "Pow":
        power = s.data(1)
        if power is not None and power.size == 1:  # squares and roots are not computed through a logarithm
            cost = {2.0: 1, 3.0: 2, 0.5: COST["sqrt"], -1.0: COST["div"], 1.0: 1}.get(float(power.reshape(())), cost)
    if op == "BatchNormalization":
        return Lowered("elementwise", {"elements": elements, "cost": cost, "extra_elements": 2 * s.shape(0)[1]}, 0, 1)
    if op.startswith("Random"):
        return Lowered("elementwise", {"elements": elements, "cost": cost}, None)
    compute: int | None = None if op == "Where" else next((i for i in range(len(s.node.inputs)) if s.has(i) and not s.is_const(i)), 0)
    out_bits = BITS[s.formats.of(s.node.writes[0])] if compute is None else s.bits(compute)
    read = {s.node.reads[i]: s.size(i) * s.bits(i) for i in range(len(s.node.inputs)) if s.has(i) and (s.size(i) > 1 or not s.is_const(i))}
    extra = sum(read.values()) // out_bits - elements
    return Lowered("elementwise", {"elements": elements, "cost": cost, "extra_elements": max(0, extra)}, compute)


def _lrn(s: Site) -> Lowered:
    # a square, the running sum over the window, scale and bias, a power, a division
    return Lowered("elementwise", {"elements": s.out_size(), "cost": 1 + (s.attr("size", 1) - 1) + 2 + COST["pow"] + COST["div"]})


def _reduction(s: Site) -> Lowered:
    rows = s.out_size()
    return Lowered("reduce", {"rows": rows, "cols": max(1, s.size() // rows)})


def _top_k(s: Site) -> Lowered:
    shape = s.shape(0)
    cols = shape[s.attr("axis", -1)]
    return Lowered("reduce", {"rows": prod(shape) // cols, "cols": cols})


def _softmax(s: Site) -> Lowered:
    shape = s.shape(0)
    if s.flat.opset >= 13:
        cols = shape[s.attr("axis", -1)]
    else:  # older opsets flatten to a matrix at the axis
        axis = s.attr("axis", 1)
        cols = prod(shape[axis:] if axis >= 0 else shape[len(shape) + axis:])
    return Lowered("softmax", {"rows": prod(shape) // cols, "cols": cols})


def _norm(s: Site) -> Lowered:
    shape, op = s.shape(0), s.node.op
    total = prod(shape)
    if op == "InstanceNormalization":
        rows = shape[0] * shape[1]
    elif op == "GroupNormalization":
        rows = shape[0] * s.attr("num_groups", 1)
    elif op == "LpNormalization":
        rows = total // shape[s.attr("axis", -1)]
    elif op == "MeanVarianceNormalization":
        rows = total // prod(shape[a] for a in s.attr("axes", [0, 2, 3]))
    else:
        rows = prod(shape[: s.attr("axis", -1)])
    return Lowered("norm", {"rows": rows, "cols": total // rows}, 0, 1 if s.has(1) else None)


def _pool(s: Site) -> Lowered:
    x, out = s.shape(0), s.out_shape()
    kernel = list(x[2:]) if s.node.op.startswith("Global") else s.attr("kernel_shape", None)
    if kernel is None or len(x) < 3:
        raise GraphError(f"{s.node.where}: expected a kernel_shape and an input of rank 3 or more, got shape {x}")
    in_h, in_w = fold_depth(x[2:])
    out_h, out_w = fold_depth(out[2:])
    kernel_h, kernel_w = fold_depth(kernel)
    stride_h, stride_w = fold_depth(s.attr("strides", [1] * len(kernel)))
    return Lowered("pool", {"batch": x[0], "channels": x[1], "in_h": in_h, "in_w": in_w, "out_h": out_h, "out_w": out_w, "kernel_h": kernel_h,
                            "kernel_w": kernel_w, "stride_h": stride_h, "stride_w": stride_w})


def _gather(s: Site) -> Lowered:
    table, op = s.shape(0), s.node.op
    if s.is_const(1) and not s.is_const(0):  # a fixed selection is a slice
        return Lowered("move", {"elements": s.out_size()})
    if op == "Gather":
        axis = s.attr("axis", 0) % len(table)
        width, outer = prod(table[axis + 1:]), prod(table[:axis])
        rows = outer * s.size(1)
    elif op == "GatherND":
        width = prod(table[s.attr("batch_dims", 0) + s.shape(1)[-1]:])
        rows = s.out_size() // width
    else:
        width, rows = 1, s.out_size()
    return Lowered("gather", {"rows": rows, "width": width, "table_rows": prod(table) // width}, 0, 0)


def _move(s: Site) -> Lowered:
    elements = sum(prod(s.out_shape(i)) for i, name in enumerate(s.node.outputs) if name) if s.node.op == "Split" else s.out_size()
    return Lowered("move", {"elements": elements}, None)


def _selected(s: Site) -> Lowered:
    # every element (of the condition, for Compress) is looked at once; what is kept is written
    seen = s.size(1 if s.node.op == "Compress" else 0)
    out = s.out_size()
    return Lowered("elementwise", {"elements": max(seen, out), "extra_elements": s.size(0) if s.node.op == "Compress" else 0}, 0)


def _unique(s: Site) -> Lowered:
    size = s.size(0)  # sorted by comparisons: n log2 n
    return Lowered("elementwise", {"elements": size, "cost": max(1, ceil(log2(max(2, size))))}, 0)


def _made(s: Site) -> Lowered:
    # Range: a product and a sum per number; ConstantOfShape only writes
    return Lowered("elementwise", {"elements": s.out_size(), "cost": 2}, None) if s.node.op == "Range" else Lowered("move", {"elements": s.out_size()}, None)


def _multinomial(s: Site) -> list[Lowered]:
    rows, cols = s.shape(0)
    return [Lowered("softmax", {"rows": rows, "cols": cols}, 0, None, "softmax", slots=()),
            Lowered("elementwise", {"elements": s.out_size(), "cost": max(1, ceil(log2(max(2, cols)))) + COST["other"]}, None, None, "draw", (), slots=())]


def _loss(s: Site) -> Lowered | list[Lowered]:
    """A log-softmax (unless the input holds logarithms already), one number per target, weighted, and their sum."""
    shape, targets = s.shape(0), s.size(1)
    weighted = int(s.has(2))
    extra = targets + (s.size(2) if weighted else 0)
    own = s.node.op == "NegativeLogLikelihoodLoss"
    softmax = [] if own else [Lowered("softmax", {"rows": targets, "cols": shape[1]}, 0, None, "softmax", (0,), (1,) if s.writes(1) else (), slots=())]
    picked = Lowered("elementwise", {"elements": targets, "cost": 1 + weighted, "extra_elements": extra}, 0, None, "pick", (0, 1, 2) if own else (1, 2), slots=())
    if s.attr("reduction", "mean") == "none":
        return [*softmax, picked] if softmax else picked
    return [*softmax, picked, Lowered("reduce", {"rows": 1, "cols": targets}, None, None, "sum", (), slots=())]


def _tf_idf(s: Site) -> Lowered:
    # per place and per (length, skip): one look-up, at the price of another function
    grams = s.attr("max_gram_length", 1) * (1 + s.attr("max_skip_count", 0))
    return Lowered("elementwise", {"elements": s.size(0), "cost": COST["other"] * grams, "extra_elements": 0}, 0)


Rule = Callable[[Site], Lowering]
#: every ONNX operator that can be counted
RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise), **dict.fromkeys(REDUCTIONS, _reduction), **dict.fromkeys(MOVES, _move), **MATRIX,
    **dict.fromkeys(("ArgMax", "ArgMin"), _reduction), "TopK": _top_k, "LRN": _lrn,
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), _softmax),
    **dict.fromkeys(("LayerNormalization", "GroupNormalization", "InstanceNormalization", "RMSNormalization", "LpNormalization",
                     "MeanVarianceNormalization"), _norm),
    **dict.fromkeys(POOLS, _pool),
    **dict.fromkeys(("Gather", "GatherND", "GatherElements"), _gather), **VISION, **SIGNAL,
    **dict.fromkeys(("NonZero", "Compress"), _selected), "Unique": _unique, **dict.fromkeys(("Range", "ConstantOfShape"), _made), "Multinomial": _multinomial,
    **dict.fromkeys(("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"), _loss), "TfIdfVectorizer": _tf_idf,
}

#: standard operators that are refused wherever an output depends on them, and why
REFUSED: dict[str, str] = {
    **dict.fromkeys(("StringConcat", "StringNormalizer", "StringSplit", "RegexFullMatch"), "text has no size in bytes that a shape tells"),
    "ImageDecoder": "the size of its output is in the data of the image",
    **dict.fromkeys(("ConcatFromSequence", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength", "SplitToSequence",
                     "Optional", "OptionalGetElement", "OptionalHasElement"), "what its sequence or optional holds depends on data"),
    **dict.fromkeys(("If", "Loop", "Scan", "SequenceMap"), "how control flow runs depends on data"),
    **dict.fromkeys(("Shape", "Size"), "the shape it asks for depends on data"), "Constant": "it holds text or nothing",
}
