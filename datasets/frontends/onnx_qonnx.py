"""QONNX: quantisers that networks for FPGAs carry (Brevitas, QKeras, FINN), of any number of bits over tensors that the file calls float32.

A quantiser says what is stored, so it is no work where an operator can write the format itself: `fuse_quantisers` gives the tensor its format and lets the
operator that makes it (and activations, scales and batch norms between) write it. On a constant it is the constant's own format. Left over, on an input
of the network or where several read the unquantised tensor, it is an elementwise operator. Formats are the nearest that silicast has at least as wide;
the bits themselves are in `Flat.widths`. Operators: the QONNX documentation, "Operator Schemas"; MultiThreshold: FINN-R, arXiv:1809.04570, section 3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..dtypes import BITS
from ..errors import GraphError
from ..ops import ELEMENTWISE_COST as COST
from .onnx_foreign import Foreign, alike
from .onnx_node import STANDARD, Node, Value
from .onnx_site import Formats, Lowered, Site

#: the domains that the operators were written under over time
DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")
#: operator -> the inputs whose sum is its number of bits (from the end when negative); none: by an attribute or by its name
QUANTISERS: dict[str, tuple[int, ...]] = {"Quant": (3,), "IntQuant": (3,), "Trunc": (-1,), "FloatQuant": (2, 3), "BipolarQuant": (), "MultiThreshold": ()}
#: (most bits, format, its ONNX element type)
_INTEGERS = ((2, "int2", 26), (4, "int4", 22), (8, "int8", 3), (16, "int16", 5), (32, "int32", 6))
_FLOATS = ((4, "float4", 23), (8, "float8", 17), (16, "float16", 10), (32, "float32", 1))
#: what a dataflow block of its own applies to its sums before it writes them; those with two operands when one is constant
_APPLIED = frozenset({"Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Elu", "Gelu", "Swish", "Mish", "BatchNormalization", "Add", "Sub", "Mul", "Div"})
#: operators that hand on the numbers they read, and in which format
_KEEPING = frozenset({"Transpose", "Concat", "Split", "Slice", "Pad", "Expand", "Tile", "DepthToSpace", "SpaceToDepth", "Gather", "GatherND", "GatherElements", "MaxPool",
                      "GlobalMaxPool", "MaxUnpool", "Relu", "Max", "Min"})
_DATATYPE = re.compile(r"(U?)INT(\d{1,4})|FIXED<(\d{1,4}),-?\d{1,4}>|(BIPOLAR|BINARY)|(TERNARY)")


@dataclass(frozen=True, slots=True)
class Width:
    """What a quantiser stores: bits of one number, the format that stands for it with its ONNX element type, whether it has a sign and leaves the lowest number out."""

    bits: int
    dtype: str
    elem: int
    signed: bool = True
    narrow: bool = False

    @classmethod
    def of(cls, bits: float, where: str, floating: bool = False, signed: bool = True, narrow: bool = False) -> Width:
        """The width of `bits`, a part of one counted as whole. Raises GraphError naming `where`."""
        whole = int(np.ceil(bits)) if np.isfinite(bits) and 0 < bits <= 1024 else 0
        for most, dtype, elem in _FLOATS if floating else _INTEGERS:
            if 0 < whole <= most:
                return cls(whole, dtype, elem, signed, narrow)
        raise GraphError(f"{where}: quantises to {float(bits):.6g} bits; expected more than 0, at most 32")


def is_quantiser(node: Node) -> bool:
    """Whether the node is one of QONNX's quantisers."""
    return node.domain in DOMAINS and node.op in QUANTISERS


def width(node: Node, values: Mapping[str, Value]) -> Width:
    """What a quantiser stores; of bits per channel the most. Raises GraphError when the bits are no constants of the file, or impossible."""
    if node.op == "BipolarQuant":
        return Width.of(1, node.where)
    if node.op == "MultiThreshold":
        return annotated(str(node.attrs.get("out_dtype", "")), node.where)
    places = [i if i >= 0 else len(node.inputs) + i for i in QUANTISERS[node.op]]
    data = [values[node.inputs[i]].data if 0 < i < len(node.inputs) and node.inputs[i] else None for i in places]
    if any(d is None or not d.size or d.dtype.kind not in "iuf" for d in data):
        raise GraphError(f"{node.where}: its number of bits is no constant of the file; expected a number in input {' and '.join(map(str, places))}")
    with np.errstate(all="ignore"):
        bits = [float(np.max(d.astype(np.float64))) for d in data if d is not None]
    floating = node.op == "FloatQuant"
    return Width.of(sum(bits) + floating, node.where, floating, bool(node.attrs.get("signed", 1)), bool(node.attrs.get("narrow", 0)))  # a float has a sign beside the two


def annotated(name: str, where: str) -> Width:
    """The width of a datatype as FINN names it: INT4, UINT3, FIXED<8,4>, BIPOLAR, BINARY, TERNARY. Raises GraphError naming `where`."""
    match = _DATATYPE.fullmatch(name)
    if match is None:
        raise GraphError(f"{where}: expected a datatype such as INT4, UINT4, FIXED<8,4>, BIPOLAR, BINARY or TERNARY, got {name[:40]!r}")
    unsigned, integer, fixed, single, _ = match.groups()
    return Width.of(int(integer or fixed or (1 if single else 2)), where, signed=not unsigned and name != "BINARY")


def annotated_tensors(graph: Any, known: Mapping[str, Value]) -> dict[str, Width]:
    """Widths of tensors that FINN annotates (`finn_datatype`); names that are no tensor, and what is float32, are left out."""
    found = {}
    for entry in graph.quantization_annotation:
        for item in entry.quant_parameter_tensor_names:
            if item.key == "finn_datatype" and entry.tensor_name in known and item.value != "FLOAT32":
                found[entry.tensor_name] = annotated(item.value, f"annotation of tensor {entry.tensor_name[:120]!r}")
    return found


def folded(node: Node, values: dict[str, Value], widths: dict[str, Width]) -> bool:
    """Of a quantised constant: enters the output as the same constant in its own format."""
    source = values[node.inputs[0]] if node.inputs and node.inputs[0] else None
    if source is None or not source.const or source.shape is None or not node.outputs or not node.outputs[0]:
        return False
    made = width(node, values)
    values[node.outputs[0]] = Value(source.shape, source.elem, True, None, made.elem, source.origin)
    widths[node.outputs[0]] = widths[source.origin] = made
    return True


def fuse_quantisers(nodes: list[Node], values: Mapping[str, Value], widths: dict[str, Width], formats: Formats, outputs: Sequence[str]) -> list[Node]:
    """The nodes without the quantisers that the operator before them can apply; tells `formats` and `widths` what every tensor is stored as."""
    for name, known in widths.items():
        if name in values and not values[name].const:
            formats.override[name] = known.dtype
    if not any(is_quantiser(node) for node in nodes) and not formats.override:
        return nodes
    maker = {name: node for node in nodes for name in node.writes if name}
    readers: dict[str, int] = dict.fromkeys(outputs, 1)
    for node in nodes:
        for name in dict.fromkeys(node.reads):
            readers[name] = readers.get(name, 0) + 1
    kept = []
    for node in nodes:
        if not is_quantiser(node):
            _hand_on(node, values, widths, formats)
            kept.append(node)
            continue
        made, at = width(node, values), node.reads[0]
        before = maker.get(at)
        chain, between = list[Node](), list[str]()
        while before is not None and readers[at] == 1 and not is_quantiser(before) and before.domain in STANDARD and not (chain and at in widths):
            chain.append(before)
            between.append(at)
            live = [r for r in before.reads if r and not values[r].const]
            if before.op not in _APPLIED or len(live) != 1:
                break
            at = live[0]
            before = maker.get(at)
        if not chain:  # of an input, of a quantiser, or of what others read too
            kept.append(node)
            formats.override[node.writes[0]], widths[node.writes[0]] = made.dtype, made
            continue
        chain[0].writes = [node.writes[0] if w == node.reads[0] else w for w in chain[0].writes]
        maker[node.writes[0]] = chain[0]
        for name in (node.writes[0], *between[1:]):
            formats.override[name], widths[name] = made.dtype, made
    return kept


def _hand_on(node: Node, values: Mapping[str, Value], widths: dict[str, Width], formats: Formats) -> None:
    """What only moves or picks quantised numbers writes them as they are; of several formats the widest."""
    if node.domain not in STANDARD or node.op not in _KEEPING or not node.writes or node.writes[0] in widths:
        return
    read = [r for r in (node.reads if node.op in ("Concat", "Max", "Min") else node.reads[:1]) if r and not values[r].const]
    if not read or any(r not in widths for r in read):
        return
    widest = max((widths[r] for r in read), key=lambda w: w.bits)
    for name in node.writes if node.op == "Split" else node.writes[:1]:
        if name:
            formats.override[name], widths[name] = widest.dtype, widest


def rounded(widths: Mapping[str, Width]) -> list[str]:
    """For the notes of a workload: which bits have no format of their own, and what stands for them."""
    odd: dict[tuple[int, str], int] = {}
    for known in {id(w): w for w in widths.values()}.values():
        if BITS[known.dtype] != known.bits:
            odd[known.bits, known.dtype] = odd.get((known.bits, known.dtype), 0) + 1
    return [f"{bits} bit{'s' if bits > 1 else ''} of {count} quantiser{'s' if count > 1 else ''} counted as {dtype}, the narrowest format that holds them"
            for (bits, dtype), count in sorted(odd.items())]


def _left(s: Site) -> Lowered:
    """A quantiser of its own: scaled, rounded, clamped; of thresholds, as many comparisons as there are."""
    cost = max(1, s.shape(1)[-1]) if s.node.op == "MultiThreshold" else COST["quantize"]
    return Lowered("elementwise", {"elements": s.out_size(), "cost": cost}, 0, slots=())


QONNX: dict[str, Foreign] = {
    name: Foreign(alike, _left, "the format of what it reads or of what is before it; left over, elementwise, " + ("an operation per threshold" if name == "MultiThreshold" else "4 operations"))
    for name in QUANTISERS}
