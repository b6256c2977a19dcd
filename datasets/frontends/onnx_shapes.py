"""The shapes of what a node makes: onnx's own rule for its operator, fed with the shapes and small constants found so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .onnx_order import captured

STANDARD = ("", "ai.onnx")

#: operators for which some opsets state no shape rule: the output has the (broadcast) shape of the inputs; the second set makes booleans
SHAPED_ALIKE = frozenset({"GroupNormalization", "MeanVarianceNormalization", "InstanceNormalization", "BatchNormalization", "LRN", "LpNormalization", "Add",
                          "Sub", "Mul", "Div", "Pow", "Abs", "Neg", "Sum", "Mean", "Max", "Min", "Relu", "PRelu", "Clip", "Exp", "Log", "Sqrt", "Tanh",
                          "Sigmoid", "Reciprocal", "Floor", "Ceil", "Elu", "Selu", "LeakyRelu", "HardSigmoid", "Hardmax"})
COMPARING = frozenset({"GreaterOrEqual", "LessOrEqual", "Greater", "Less", "Equal", "And", "Or", "Xor"})

#: output name -> (shape, or None when it depends on data; ONNX element type)
Inferred = dict[str, tuple[tuple[int, ...] | None, int]]


@dataclass(slots=True)
class Value:
    """One tensor: `shape` None when nothing could infer it; `stored` is the element type in memory when it differs from
    `elem` (a quantised weight read through DequantizeLinear); `origin` names the constant whose numbers it holds."""

    shape: tuple[int, ...] | None
    elem: int
    const: bool = False
    data: np.ndarray | None = None
    stored: int = 0
    origin: str = ""


@dataclass(slots=True)
class Node:
    """A node that stays. `inputs`/`outputs` name values (for shapes; "" is absent); `reads`/`writes` name where they live."""

    name: str
    op: str
    domain: str
    path: str
    attrs: Mapping[str, Any]
    inputs: list[str]
    outputs: list[str]
    reads: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    proto: Any = None

    @property
    def where(self) -> str:
        """The node in words, for messages."""
        return f"node {self.name!r} ({self.op}{f' of domain {self.domain!r}' if self.domain not in STANDARD else ''}, in {self.path})"


class ShapeRules:
    """The rules of one opset; `values` is the growing table of tensors that `infer` looks inputs up in."""

    def __init__(self, opset: int, values: Mapping[str, Value]) -> None:
        from onnx import defs, helper

        self.opset = min(opset, defs.onnx_opset_version())
        self._values = values
        self._opset_imports = [helper.make_opsetid("", self.opset)]
        self._types: dict[tuple[int, tuple[int, ...]], Any] = {}
        self._schemas: dict[str, Any] = {}

    def infer(self, node: Node) -> Inferred:
        """Local output name -> (shape or None, element type) by onnx's rule for this operator; {} when there is none."""
        from onnx import defs, numpy_helper, shape_inference

        schema = self._schemas.get(node.op)
        if schema is None:
            if not defs.has(node.op, self.opset, ""):
                return {}
            schema = self._schemas[node.op] = defs.get_schema(node.op, self.opset, "")
        if not schema.has_type_and_shape_inference_function and node.op in SHAPED_ALIKE | COMPARING:
            return self._shaped_alike(node)
        types: dict[str, Any] = {}
        data: dict[str, Any] = {}
        for position, (local, name) in enumerate(zip(node.proto.input, node.inputs, strict=True)):
            if not local:
                continue
            value = self._values[name]
            if value.shape is None or not value.elem:
                return {}
            types[local] = self._type(value.elem, value.shape)
            sizes = value.elem in (6, 7) or node.op in ("Resize", "Upsample", "Range")
            if value.data is not None and sizes and (position or node.op in ("Range", "ConstantOfShape")):
                data[local] = numpy_helper.from_array(value.data, local)
        for local in captured(node.proto) if any(a.type in (5, 10) for a in node.proto.attribute) else ():
            seen = self._values.get(local)
            if seen is not None and seen.shape is not None and seen.elem:
                types.setdefault(local, self._type(seen.elem, seen.shape))
        try:
            found = shape_inference.infer_node_outputs(schema, node.proto, types, data, opset_imports=self._opset_imports)
        except Exception:  # whatever the C++ rule rejects has no inferred shape; who needs the shape says so, with the node
            return {}
        out: Inferred = {}
        for local, proto in found.items():
            tensor = proto.tensor_type
            known = tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim)
            out[local] = (tuple(d.dim_value for d in tensor.shape.dim) if known else None, tensor.elem_type)
        return out

    def _shaped_alike(self, node: Node) -> Inferred:
        first, shape = self._values[node.inputs[0]], self._values[node.inputs[0]].shape
        others = [self._values[n].shape for n in node.inputs[1:] if n] if self.opset >= 7 and not node.op.endswith("Normalization") else []
        if shape is not None:
            for other in others:  # before opset 7 the first input alone gives the shape
                shape = None if other is None or shape is None else np.broadcast_shapes(shape, other)
        return {node.proto.output[0]: (shape, 9 if node.op in COMPARING else first.elem)}

    def _type(self, elem: int, shape: tuple[int, ...]) -> Any:
        from onnx import helper

        key = (elem, shape)
        if key not in self._types:
            self._types[key] = helper.make_tensor_type_proto(elem, shape)
        return self._types[key]
