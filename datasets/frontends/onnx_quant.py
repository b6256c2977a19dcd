"""QuantizeLinear/DequantizeLinear pairs: which are only notation, and which are work.

A quantised file writes `DequantizeLinear -> op -> QuantizeLinear` for one integer operator. `fuse` recognises it: a
convolution or product whose data and weights both come through DequantizeLinear reads the integers; a QuantizeLinear
that alone reads such an operator (or an activation after it) makes it write integers; elementwise operators,
pools, moves and softmax join when all they read is dequantised and all that reads them is one QuantizeLinear. Pairs left over stay operators of their own.
"""

from __future__ import annotations

from .onnx_graph import Flat
from .onnx_node import STANDARD, Node
from .onnx_ops import ACTIVATIONS, ELEMENTWISE, MOVES, POOLS
from .onnx_site import DTYPES, Formats

_MATRIX = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_JOINING = {*ELEMENTWISE, *MOVES, *POOLS, "Softmax", "Resize", "Gather"}  # normalisations and recurrences compute in floating point
_QUANTISED = {"int8", "int4", "int2", "int16", "float8", "float4"}


def fuse(nodes: list[Node], flat: Flat, formats: Formats) -> list[Node]:
    """The nodes without the fused pairs; `reads`, `writes` and `formats.override` of the others tell what is stored as integers."""
    if not any(node.op in ("DequantizeLinear", "QuantizeLinear") for node in nodes):
        return nodes
    maker = {name: node for node in nodes for name in node.writes if name}
    readers: dict[str, int] = {}
    for node in nodes:
        for name in dict.fromkeys(node.reads):
            readers[name] = readers.get(name, 0) + 1
    for name in flat.outputs:
        readers[flat.lives(name)] = readers.get(flat.lives(name), 0) + 1

    def behind(name: str) -> str:
        """The stored integers that `name` is the dequantised view of, or ""."""
        value = flat.values.get(name)
        if value is not None and value.const:
            return name if value.stored and DTYPES.get(value.stored) in _QUANTISED else ""
        made = maker.get(name)
        return made.reads[0] if made is not None and made.op == "DequantizeLinear" and made.domain in STANDARD else ""

    integer: set[int] = set()  # id of nodes that read integers only
    for node in nodes:
        if node.domain in STANDARD and node.op in _MATRIX and len(node.reads) > 1 and behind(node.reads[0]) and behind(node.reads[1]):
            node.reads[:2] = [behind(r) for r in node.reads[:2]]
            integer.add(id(node))
    gone: set[int] = set()
    for quantise in nodes:
        if quantise.op != "QuantizeLinear" or quantise.domain not in STANDARD or not quantise.reads[0]:
            continue
        made = maker.get(quantise.reads[0])
        if made is None or readers[quantise.reads[0]] != 1 or id(made) in gone or made.op in ("DequantizeLinear", "QuantizeLinear"):
            continue
        chain = [made]
        while chain[-1].op in ACTIVATIONS and id(chain[-1]) not in integer:
            before = maker.get(chain[-1].reads[0])
            if before is None or before.op == "DequantizeLinear" or readers[chain[-1].reads[0]] != 1:
                break
            chain.append(before)
        first = chain[-1]
        if id(first) not in integer:
            live = [i for i, r in enumerate(first.reads) if r and not flat.values[r].const]
            if len(chain) > 1 or first.op not in _JOINING or first.domain not in STANDARD:
                continue
            if not live or not all(behind(first.reads[i]) for i in live):
                continue
            for i in live:
                first.reads[i] = behind(first.reads[i])
            integer.add(id(first))
        stored = formats.of(quantise.writes[0])
        for node in chain:
            for name in node.writes:
                if name:
                    formats.override[name] = stored
        made.writes = [quantise.writes[0], *made.writes[1:]]
        maker[quantise.writes[0]] = made
        gone.add(id(quantise))
    return [node for node in nodes if id(node) not in gone]
