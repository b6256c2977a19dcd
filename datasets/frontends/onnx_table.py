"""What becomes of every operator of standard ONNX and of ONNX Runtime: the tables of docs/onnx.md, made from the rules themselves.

`python -m silicast.datasets.frontends.onnx_table docs/onnx.md` writes them between the marks of that file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from .onnx_contrib import ALIASES, FOREIGN
from .onnx_control import CONTROL
from .onnx_graph import VIEWS
from .onnx_ops import ELEMENTWISE, MOVES, POOLS, REDUCTIONS, REFUSED, RULES
from .onnx_sequence import SEQUENCES

#: the oldest opset of the table
OLDEST = 13
BEGIN, END = "<!-- made by python -m silicast.datasets.frontends.onnx_table docs/onnx.md -->", "<!-- end of what is made -->"

_SOFTMAX = "softmax; before opset 13 the axes from `axis` on are one row"
_NORM = "norm"
_CONDITIONAL = "resolved on the way; named and refused when what it holds depends on data"

#: operators whose treatment is not that of a whole group
OWN: dict[str, str] = {
    "Conv": "conv; 1-D has height 1, 3-D folds depth into height", "ConvInteger": "conv in integers", "QLinearConv": "conv in integers",
    "ConvTranspose": "conv when the stride divides the kernel, else gemm of the columns (an upper bound of the traffic)",
    "DeformConv": "deform_conv", "MatMul": "gemm; a stack against one matrix is one tall product", "Gemm": "gemm", "MatMulInteger": "gemm in integers",
    "QLinearMatMul": "gemm in integers", "Einsum": "gemm, reduce or move; refused: a diagonal, three operands, a sum over one of two",
    "LSTM": "recurrent, 4 gates", "GRU": "recurrent, 3 gates", "RNN": "recurrent, 1 gate",
    "Attention": "attention; past keys add to the length, both window sizes bound what a query sees",
    "LinearAttention": "scan of q_num_heads x d_v channels with d_k states: 9 operations a state, an upper bound of every update rule",
    "CausalConvWithState": "conv (depthwise), then the activation", "RotaryEmbedding": "elementwise, 3 operations",
    "Softmax": _SOFTMAX, "LogSoftmax": _SOFTMAX, "Hardmax": _SOFTMAX,
    "BatchNormalization": "elementwise, 2 operations: a scale and a shift, read from 2 C extra elements", "LRN": "elementwise, window + 16 operations",
    "TopK": "reduce over the axis", "ArgMax": "reduce", "ArgMin": "reduce",
    "Gather": "gather; by constant indices a slice (move)", "GatherND": "gather; by constant indices move", "GatherElements": "gather; by constant indices move",
    "Resize": "move (nearest), else elementwise, a multiply-add per tap (2 or 4 per resized axis)", "GridSample": "elementwise, a multiply-add per tap",
    "AffineGrid": "gemm: points by affine matrices", "RoiAlign": "elementwise, 8 operations per sampled point; 2 x 2 points a bin when the file leaves them open (assumption)",
    "MaxRoiPool": "elementwise, a region as large as the map (an upper bound)",
    "NonMaxSuppression": "elementwise, each box against each kept one, 16 operations; rows of the output: bind `NAME.0`, at most classes x kept boxes",
    "NonZero": "elementwise, 1 operation; its output: bind `NAME.1`, at most every element", "Compress": "elementwise, 1 operation; bind `NAME.AXIS`, at most all",
    "Unique": "elementwise, log2 n operations (a sort); bind `NAME.0`, at most all",
    "DFT": "elementwise, 5 n log2 n operations a transform, half for real input", "STFT": "elementwise, as DFT per frame, and the window",
    "HannWindow": "folded when the size is constant, else elementwise, 11 operations", "HammingWindow": "as HannWindow", "BlackmanWindow": "as HannWindow, two cosines",
    "MelWeightMatrix": "folded when constant, else elementwise, 6 operations", "Det": "elementwise, 2/3 n^3 operations a matrix",
    "SoftmaxCrossEntropyLoss": "softmax, elementwise (the picked logarithms), reduce", "NegativeLogLikelihoodLoss": "elementwise (the picked logarithms), reduce",
    "Multinomial": "softmax, elementwise (a binary search per draw)", "TfIdfVectorizer": "elementwise, 4 operations per place and n-gram",
    "Range": "folded when constant, else elementwise, 2 operations; its length: bind `NAME.0`", "ConstantOfShape": "folded when constant, else move; bind `NAME.0`, ...",
    "Constant": "nothing: folded", "Shape": "nothing: folded", "Size": "nothing: folded",
    "If": "the branch that a constant condition takes; on data the dearer one, said in the notes",
    "Loop": "unrolled: by its constant limit, until its condition folds to false, or `--dim NODE.trips=N`; with a limit and a condition on data all trips, said",
    "Scan": "unrolled over the slices; outputs stacked by a move; refused: opset 8's batched form",
    "SequenceMap": "unrolled over the items",
    "QuantizeLinear": "elementwise, 4 operations, or nothing (see number formats)", "DequantizeLinear": "elementwise, 2 operations, or nothing (see number formats)",
    "DynamicQuantizeLinear": "elementwise, 6 operations", "Pow": "elementwise, 10 operations; by 2, 3, 0.5 or -1 a product, a root or a division",
    **dict.fromkeys(("Sum", "Mean", "Max", "Min"), "elementwise, an operation per further operand"), "Mean": "elementwise, an operation per operand",
    "ScatterElements": "move of the whole tensor", "ScatterND": "move of the whole tensor", "TensorScatter": "move of the whole tensor",
    "BitCast": "move: the same bits under another type",
}


def standard_operators() -> dict[str, int]:
    """Every operator of standard ONNX that is in force in an opset from 13 to the newest installed -> the opset that last changed it."""
    from onnx import defs

    found: dict[str, list[tuple[int, bool]]] = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "":
            found.setdefault(schema.name, []).append((schema.since_version, schema.deprecated))
    out = {}
    for name, versions in sorted(found.items()):
        versions.sort()
        live = [since for index, (since, gone) in enumerate(versions) if not gone and (index + 1 == len(versions) or versions[index + 1][0] > OLDEST)]
        if live:
            out[name] = live[-1]
    return out


def treatment(op: str) -> str:
    """What becomes of a standard operator, in words; "" when nothing knows it."""
    if op in OWN and (op in RULES or op in CONTROL or op in ("Constant", "Shape", "Size")):
        return OWN[op]
    if op in VIEWS:
        return "nothing: another name for the same tensor"
    if op in SEQUENCES:
        return _CONDITIONAL
    if op in REFUSED:
        return f"named and refused: {REFUSED[op]}"
    if op not in RULES:
        return ""
    if op in ELEMENTWISE:
        return f"elementwise, {ELEMENTWISE[op]} operation{'s' if ELEMENTWISE[op] > 1 else ''}"
    for group, text in ((REDUCTIONS, "reduce, an operation per element read"), (MOVES, "move"), (POOLS, "pool")):
        if op in group:
            return text
    return _NORM if op.endswith("Normalization") else ""


def lines() -> Iterator[str]:
    """The tables, line by line."""
    operators = standard_operators()
    counted = sum(not treatment(op).startswith("named and refused") for op in operators)
    yield f"Standard ONNX, opsets {OLDEST} to {max(operators.values())}: {len(operators)} operators, {counted} modelled, {len(operators) - counted} named with the reason they are not."
    yield ""
    yield "| operator | last changed in opset | treatment |"
    yield "|---|---|---|"
    for op, since in operators.items():
        yield f"| {op} | {since} | {treatment(op)} |"
    yield ""
    yield "Operators of other domains:"
    yield ""
    yield "| domain | operator | treatment |"
    yield "|---|---|---|"
    for domain in sorted({*FOREIGN, *ALIASES}):
        for op in sorted({*FOREIGN.get(domain, {}), *ALIASES.get(domain, {})}):
            alias = ALIASES.get(domain, {}).get(op)
            text = (f"as {alias}" if alias != op else "as the standard operator") if alias else FOREIGN[domain][op].treatment
            yield f"| {domain or '(none)'} | {op} | {text} |"
    yield ""
    yield "Every other operator of these domains, and of any other, is refused by name, or bounded by its traffic with `--unknown-ops bound`."


def fresh(text: str) -> str:
    """The document with the tables between its marks made anew. Raises ValueError without the marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or not after:
        raise ValueError(f"expected the marks {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{chr(10).join(lines())}\n{END}{after}"


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(fresh(document.read_text(encoding="utf-8")), encoding="utf-8")
