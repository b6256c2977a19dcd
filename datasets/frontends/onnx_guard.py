"""What a node must keep before onnx's own shape rules, which are C++ and trust their input, are asked about it.

Each rule here answers a file that made the library read beyond its memory, divide by zero or abort.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .onnx_node import Node, Value

#: (element type, shape, bytes of the data if told) of each input, None for an absent one
Seen = Sequence[Any]

#: attributes that must hold positive numbers
_POSITIVE = ("strides", "dilations", "kernel_shape", "group", "num_outputs", "blocksize", "num_groups", "output_height", "output_width", "pooled_shape", "hidden_size")


def _split(node: Node, seen: Seen, values: Mapping[str, Value]) -> bool:
    made = len(node.outputs)
    if len(node.inputs) > 1 and node.inputs[1]:
        data = values[node.inputs[1]].data
        return data is None or data.size == made
    sizes = node.attrs.get("split")
    return node.attrs.get("num_outputs", made) == made if sizes is None else len(sizes) == made


#: operator -> what must hold
CHECKS: dict[str, Callable[[Node, Seen, Mapping[str, Value]], bool]] = {"Split": _split}


def trusted(schema: Any, node: Node, seen: Seen, values: Mapping[str, Value]) -> bool:
    """Whether the node may be handed to onnx's rule: as many inputs and outputs as the operator has, sizes above zero, and its own check."""
    if not (schema.min_input <= len(node.inputs) <= schema.max_input and schema.min_output <= len(node.outputs) <= schema.max_output):
        return False
    for name in _POSITIVE:
        given = node.attrs.get(name)
        if given is not None and not all(isinstance(g, int) and 0 < g < 2**31 for g in (given if isinstance(given, list) else [given])):
            return False
    check = CHECKS.get(node.op)
    return check is None or check(node, seen, values)
