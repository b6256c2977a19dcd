"""The shapes of what a node makes: onnx's own rule for its operator, fed with the shapes and small constants found so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import GraphError
from .onnx_guard import trusted
from .onnx_node import Node, Value
from .onnx_order import captured

#: operators for which some opsets state no shape rule: the output has the (broadcast) shape of the inputs; the second set makes booleans
SHAPED_ALIKE = frozenset({"GroupNormalization", "MeanVarianceNormalization", "InstanceNormalization", "BatchNormalization", "LRN", "LpNormalization", "Add",
                          "Sub", "Mul", "Div", "Pow", "Abs", "Neg", "Sum", "Mean", "Max", "Min", "Relu", "PRelu", "Clip", "Exp", "Log", "Sqrt", "Tanh",
                          "Sigmoid", "Reciprocal", "Floor", "Ceil", "Elu", "Selu", "LeakyRelu", "HardSigmoid", "Hardmax"})
COMPARING = frozenset({"GreaterOrEqual", "LessOrEqual", "Greater", "Less", "Equal", "And", "Or", "Xor"})

#: operators whose first input is a size
SIZED_BY_FIRST = frozenset({"Range", "ConstantOfShape", "HannWindow", "HammingWindow", "BlackmanWindow", "MelWeightMatrix"})

#: axes of a shape; None for one that depends on data
Axes = tuple[int | None, ...]
#: per output: its axes (None: not even their number is known) and its ONNX element type
Inferred = list[tuple[Axes | None, int]]


class ShapeRules:
    """The rules of one opset; `values` is the growing table of tensors that `infer` looks inputs up in."""

    def __init__(self, opset: int, values: Mapping[str, Value]) -> None:
        from onnx import defs, helper

        self.opset = min(opset, defs.onnx_opset_version())
        self._values = values
        self._opset_imports = [helper.make_opsetid("", self.opset)]
        self._types: dict[tuple[int, tuple[int, ...]], Any] = {}
        self._schemas: dict[str, Any] = {}
        self._known: dict[Any, Inferred] = {}

    def infer(self, node: Node) -> Inferred:
        """(axes or None, element type) of every output by onnx's rule for this operator; [] when there is none. Raises GraphError for an input that the operator
        needs and the node leaves empty: said of the first trip of a loop, not after thousands."""
        schema = self._schema(node.op)
        if schema is None:
            return []
        if "" in node.inputs:
            lacking = next((i for i, (formal, name) in enumerate(zip(schema.inputs, node.inputs, strict=False)) if not name and formal.option.name == "Single"), None)
            if lacking is not None:
                raise GraphError(f"{node.where}: its input {lacking} ({schema.inputs[lacking].name}) is empty; {node.op} needs it")
        if not schema.has_type_and_shape_inference_function and node.op in SHAPED_ALIKE | COMPARING:
            return self._shaped_alike(node)
        seen: list[Any] = []
        for position, name in enumerate(node.inputs):
            if not name:
                seen.append(None)
                continue
            value = self._values[name]
            if value.shape is None or not value.elem:
                return []
            sizes = value.elem in (6, 7) or node.op in ("Resize", "Upsample", "Range")
            told = value.data if sizes and (position or node.op in SIZED_BY_FIRST) else None
            seen.append((value.elem, value.shape, None if told is None else told.tobytes()))
        if not trusted(schema, node, seen, self._values):
            return []
        attributes = node.proto.attribute
        if any(a.type in (5, 10) for a in attributes):
            return self._ask(schema, node, seen)
        key = (node.op, tuple(seen), tuple(map(bool, node.outputs)), *(a.SerializeToString() for a in attributes))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._ask(schema, node, seen)
        return found

    def _schema(self, op: str) -> Any:
        """The operator in this opset, or the first later one (runtimes accept newer operators in older files); None: there is none."""
        from onnx import defs

        if op not in self._schemas:
            later = None if defs.has(op, self.opset, "") else next((v for v in range(self.opset + 1, defs.onnx_opset_version() + 1) if defs.has(op, v, "")), None)
            self._schemas[op] = defs.get_schema(op, later or self.opset, "") if later or defs.has(op, self.opset, "") else None
        return self._schemas[op]

    def _ask(self, schema: Any, node: Node, seen: list[Any]) -> Inferred:
        from onnx import numpy_helper, shape_inference

        types: dict[str, Any] = {}
        data: dict[str, Any] = {}
        for local, name, known in zip(node.proto.input, node.inputs, seen, strict=False):
            if known is not None:
                types[local] = self._type(known[0], known[1])
                told = self._values[name].data
                if known[2] is not None and told is not None:
                    data[local] = numpy_helper.from_array(told, local)
        for local in captured(node.proto) if any(a.type in (5, 10) for a in node.proto.attribute) else ():
            outside = self._values.get(local)
            if outside is not None and outside.shape is not None and outside.elem:
                types.setdefault(local, self._type(outside.elem, outside.shape))
        proto = node.proto
        if node.op == "STFT" and "onesided" not in node.attrs:  # onnx's rule takes the default 1 for 0; runtimes do not
            proto = type(proto)()
            proto.CopyFrom(node.proto)
            proto.attribute.add(name="onesided", type=2, i=1)
        try:
            found = shape_inference.infer_node_outputs(schema, proto, types, data, opset_imports=self._opset_imports)
        except Exception:  # whatever the C++ rule rejects has no inferred shape; who needs the shape says so, with the node
            return []
        out: Inferred = []
        for local in node.proto.output:
            made = found.get(local)
            if made is None or not made.HasField("tensor_type"):
                out.append((None, 0))
                continue
            tensor = made.tensor_type
            axes = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None for d in tensor.shape.dim) if tensor.HasField("shape") else None
            out.append((axes, tensor.elem_type))
        return out

    def _shaped_alike(self, node: Node) -> Inferred:
        first, shape = self._values[node.inputs[0]], self._values[node.inputs[0]].shape
        others = [self._values[n].shape for n in node.inputs[1:] if n] if self.opset >= 7 and not node.op.endswith("Normalization") else []
        if shape is not None:
            for other in others:  # before opset 7 the first input alone gives the shape
                shape = None if other is None or shape is None else np.broadcast_shapes(shape, other)
        return [(shape, 9 if node.op in COMPARING else first.elem)]

    def _type(self, elem: int, shape: tuple[int, ...]) -> Any:
        from onnx import helper

        key = (elem, shape)
        if key not in self._types:
            self._types[key] = helper.make_tensor_type_proto(elem, shape)
        return self._types[key]
