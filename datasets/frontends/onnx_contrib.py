"""Operators that ONNX Runtime adds to ONNX: which are standard ones under another name, what shapes the others make, how they are lowered.

`FOREIGN` maps domain and operator to a `Foreign`; `ALIASES` names the standard operator that one is. Their definitions are in
ONNX Runtime's docs/ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from ..errors import GraphError
from ..ops import ELEMENTWISE_COST as COST
from .onnx_contrib_attention import ATTENTION
from .onnx_contrib_conv import CONVOLUTIONS
from .onnx_contrib_quant import QUANTISED
from .onnx_foreign import MICROSOFT, Foreign, Outputs, alike, elementwise
from .onnx_matrix import product
from .onnx_node import Node
from .onnx_qonnx import DOMAINS, QONNX
from .onnx_shapes import Inferred
from .onnx_site import Formats, Lowered, Site, Tensors

#: domain -> operator -> the standard operator that it is
ALIASES: dict[str, dict[str, str]] = {
    "": {"SimplifiedLayerNormalization": "RMSNormalization"},  # ONNX Runtime writes it without a domain
    MICROSOFT: {name: name for name in ("Gelu", "QuantizeLinear", "DequantizeLinear", "GatherND", "GridSample", "Trilu", "Range", "Pad", "Unique")},
}


def rename(node: Node) -> None:
    """Makes the node the standard operator that it is an alias of."""
    from onnx import NodeProto

    fresh = NodeProto()
    fresh.CopyFrom(node.proto)
    fresh.op_type, fresh.domain = ALIASES[node.domain][node.op], ""
    node.op, node.domain, node.proto = fresh.op_type, "", fresh


def _turned(shape: tuple[int, ...], trans: int, batch: int = 0) -> tuple[int, ...]:
    if batch and len(shape) > 2:  # the batch axes move behind the rows
        shape = (*shape[1:-1], shape[0], shape[-1])
    return (*shape[:-2], shape[-1], shape[-2]) if trans and len(shape) > 1 else shape


def _operands(s: Site) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return (_turned(s.shape(0), s.attr("transA", 0), s.attr("transBatchA", 0)), _turned(s.shape(1), s.attr("transB", 0), s.attr("transBatchB", 0)))


def product_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of NumPy's matmul."""
    import numpy as np

    left, right = a if len(a) > 1 else (1, *a), b if len(b) > 1 else (*b, 1)
    stack = tuple(int(d) for d in np.broadcast_shapes(left[:-2], right[:-2]))
    return (*stack, *((left[-2],) if len(a) > 1 else ()), *((right[-1],) if len(b) > 1 else ()))


def _product_shapes(s: Site) -> Outputs:
    return [(product_shape(*_operands(s)), s.elem(0))]


def _product(s: Site) -> Lowered:
    sizes, swapped = product(*_operands(s))
    return Lowered("gemm", sizes, int(swapped), int(not swapped), slots=(0, 1))


def _activated(s: Site) -> Lowered | list[Lowered]:
    """A product with a bias, then an activation."""
    sizes, _ = product(*_operands(s))
    first = Lowered("gemm", {**sizes, "bias": int(s.has(2))}, 0, 1, "product", (0, 1, 2), slots=(0, 1, 2))
    name = "gelu" if s.node.op == "GemmFastGelu" else str(s.attr("activation", "")).lower()
    return [first, elementwise(name, s.out_size())] if name else first


def _skip_norm(s: Site) -> list[Lowered]:
    """Skip: a sum, then the normalisation. The sum is an output of its own when asked for."""
    shape = s.shape()
    bias_at = 4 if s.node.op == "SkipLayerNormalization" else 3
    bias = s.size(bias_at) if s.has(bias_at) else 0
    total = prod(shape)
    makes = (3,) if s.writes(3) else ()
    scale = (2, 3) if bias_at == 4 else (2,)
    return [Lowered("elementwise", {"elements": total, "cost": 1 + bool(bias), "extra_elements": s.size(1) + bias}, 0, None, "sum", (0, 1, bias_at), makes,
                    slots=(bias_at,)),
            Lowered("norm", {"rows": total // shape[-1], "cols": shape[-1]}, 0, 2, "norm", scale, slots=scale)]


def _skip_shapes(s: Site) -> Outputs:
    shape = s.shape()
    return [(shape, s.elem(0)), ((*shape[:-1], 1), 1), ((*shape[:-1], 1), 1), (shape, s.elem(0))]


def _embed_shapes(s: Site) -> Outputs:
    shape, table = s.shape(0), 2
    out = (*shape, s.shape(table)[1])
    return [(out, s.elem(table)), ((shape[0],), 6), (out, s.elem(table))]


def _embed_norm(s: Site) -> list[Lowered]:
    """Word, position and segment rows, summed and normalised."""
    width, rows = s.shape(2)[1], s.size(0)
    tables = [t for t in (2, 3, 4) if s.has(t)]
    steps = [Lowered("gather", {"rows": rows, "width": width, "table_rows": s.shape(t)[0]}, t, t, label, (t, *((0,) if t == 2 else (1,) if t == 4 and s.has(1) else ())), slots=(t,))
             for t, label in zip(tables, ("words", "positions", "segments"), strict=False)]
    steps.append(Lowered("elementwise", {"elements": rows * width, "cost": len(tables) - 1, "extra_elements": (len(tables) - 1) * rows * width}, 2, None, "sum", (),
                         (2,) if s.writes(2) else (), slots=()))
    return [*steps, Lowered("norm", {"rows": rows, "cols": width}, 2, 5, "norm", (5, 6), slots=(5, 6))]


def _group_norm(s: Site) -> list[Lowered]:
    """GroupNorm over channels-last images; SkipGroupNorm adds a second one first."""
    shape, groups = s.shape(), s.attr("groups", 1)
    total, skip = prod(shape), s.node.op == "SkipGroupNorm"
    rows = shape[0] * groups
    steps = [Lowered("norm", {"rows": rows, "cols": total // rows}, 0, 1, "norm", (1, 2) if skip else (0, 1, 2), slots=(1, 2))]
    if skip:
        extra = s.size(3) + (s.size(4) if s.has(4) else 0)
        steps.insert(0, Lowered("elementwise", {"elements": total, "cost": 1 + s.has(4), "extra_elements": extra}, 0, None, "sum", (0, 3, 4), (1,) if s.writes(1) else (), slots=(4,)))
    return [*steps, elementwise("silu", total)] if s.attr("activation", 0) else steps


def _biased(cost: int) -> Callable[[Site], Lowered]:
    def rule(s: Site) -> Lowered:
        more = [i for i in s.reads if i and s.has(i)]
        return Lowered("elementwise", {"elements": s.out_size(), "cost": cost + len(more), "extra_elements": sum(s.size(i) for i in more)}, slots=(1,))
    return rule


def _split_gelu_shapes(s: Site) -> Outputs:
    shape = s.shape()
    return [((*shape[:-1], shape[-1] // 2), s.elem(0))]


def _split_gelu(s: Site) -> Lowered:
    # per output: two sums with the bias, a gelu, a product; twice as much is read
    out = s.out_size()
    return Lowered("elementwise", {"elements": out, "cost": COST["gelu"] + 3, "extra_elements": out + s.size(1)}, slots=(1,))


def _bias_softmax(s: Site) -> list[Lowered]:
    shape = s.shape()
    cols = prod(shape[s.attr("axis", 1):]) if s.attr("axis", 1) >= 0 else prod(shape[len(shape) + s.attr("axis", 1):])
    total = prod(shape)
    return [Lowered("elementwise", {"elements": total, "extra_elements": s.size(1)}, 0, None, "bias", slots=(1,)),
            Lowered("softmax", {"rows": total // cols, "cols": cols}, 0, None, "softmax", (), slots=())]


def _distances_shapes(s: Site) -> Outputs:
    return [((s.shape(0)[0], s.shape(1)[0]), s.elem(0))]


def _distances(s: Site) -> list[Lowered]:
    """Euclidean distances of all pairs: |a|^2 + |b|^2 - 2ab is one product and a few operations per pair."""
    (m, k), (n, other) = s.shape(0), s.shape(1)
    if k != other:
        raise GraphError(f"{s.node.where}: points of {k} and {other} coordinates")
    root = COST["sqrt"] if s.attr("metric", "sqeuclidean") == "euclidean" else 0
    return [Lowered("gemm", {"m": m, "n": n, "k": k}, 0, 1, "product", (0, 1), slots=(0, 1)),
            Lowered("elementwise", {"elements": m * n, "cost": 3 + root, "extra_elements": m + n}, 0, None, "distance", (), slots=())]


def _complex_product(s: Site) -> Lowered:
    # four products and two sums for two numbers
    return Lowered("elementwise", {"elements": s.out_size(), "cost": 3, "extra_elements": s.size(1)}, slots=(1,))


def _inverse(s: Site) -> Lowered:
    n = s.shape()[-1]  # Gauss-Jordan: 2 n^3 operations for n^2 numbers
    return Lowered("elementwise", {"elements": s.out_size(), "cost": 2 * n}, slots=())


FOREIGN: dict[str, dict[str, Foreign]] = {
    MICROSOFT: {
        **dict.fromkeys(("FusedMatMul", "TransposeMatMul"), Foreign(_product_shapes, _product, "gemm")),
        **dict.fromkeys(("FusedGemm", "GemmFastGelu", "FusedMatMulActivation"), Foreign(_product_shapes, _activated, "gemm, then the activation")),
        **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), Foreign(_skip_shapes, _skip_norm, "elementwise (the sum), norm")),
        "EmbedLayerNormalization": Foreign(_embed_shapes, _embed_norm, "gather per table, elementwise (the sum), norm"),
        **dict.fromkeys(("GroupNorm", "SkipGroupNorm"), Foreign(alike, _group_norm, "(sum,) norm, silu when activation = 1")),
        "BiasGelu": Foreign(alike, _biased(COST["gelu"]), "elementwise"), "FastGelu": Foreign(alike, _biased(COST["gelu"]), "elementwise"),
        "QuickGelu": Foreign(alike, _biased(COST["silu"] + 1), "elementwise"), "BiasAdd": Foreign(alike, _biased(0), "elementwise"),
        "BiasDropout": Foreign(alike, _biased(0), "elementwise: at inference the dropout is nothing"),
        "BiasSplitGelu": Foreign(_split_gelu_shapes, _split_gelu, "elementwise"), "BiasSoftmax": Foreign(alike, _bias_softmax, "elementwise, softmax"),
        "CDist": Foreign(_distances_shapes, _distances, "gemm, elementwise"),
        **dict.fromkeys(("ComplexMul", "ComplexMulConj"), Foreign(alike, _complex_product, "elementwise, 6 operations per complex number")),
        "Inverse": Foreign(alike, _inverse, "elementwise, 2 n^3 operations per matrix"),
        **ATTENTION, **QUANTISED, **CONVOLUTIONS,
    },
    "ai.onnx.preview": {"FlexAttention": ATTENTION["FlexAttention"]},
    **dict.fromkeys(DOMAINS, QONNX),
}
del FOREIGN[MICROSOFT]["FlexAttention"]


def foreign_shapes(node: Node, tensors: Tensors) -> Inferred:
    """(axes, element type) of each output of an operator of another domain; [] when it is not known or an input's shape is not."""
    entry = FOREIGN.get(node.domain, {}).get(node.op)
    if entry is None:
        return []
    try:
        return list(entry.shapes(Site(node, tensors, Formats(tensors, None))))
    except (GraphError, ValueError, IndexError, ZeroDivisionError):
        return []  # who needs the shape says so, with the node
