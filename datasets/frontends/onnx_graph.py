"""An ONNX graph made plain: constants folded away, views aliased, constant branches inlined, every shape known.

`flatten` walks the nodes once in dependency order. What is left is a list of `Node`s that do or move something, and one
`Value` per tensor. Shapes come from onnx's own inference rules, node by node, fed with the constants found so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import FormatError, GraphError
from .onnx_dims import check_size
from .onnx_fold import GROWING, SMALL, Call, evaluate
from .onnx_order import captured, check_text, ordered
from .onnx_shapes import STANDARD, Inferred, Node, ShapeRules, Value

#: operators whose output is their first input under another shape: nothing is computed or moved
VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout"})

#: operators whose output a constant input does not make constant
RANDOM = frozenset({"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"})

#: constants computed from one constant that hold the same numbers: parameters are counted at the origin
SAME_NUMBERS = VIEWS | {"Transpose", "Cast", "DequantizeLinear", "QuantizeLinear"}


def attribute(proto: Any) -> Any:
    """The plain value of an attribute; graphs and tensors stay protobuf."""
    kind = proto.type
    if kind == 1:
        return proto.f
    if kind == 2:
        return proto.i
    if kind == 3:
        return proto.s.decode("utf-8", "replace")
    if kind == 6:
        return list(proto.floats)
    if kind == 7:
        return list(proto.ints)
    if kind == 8:
        return [s.decode("utf-8", "replace") for s in proto.strings]
    return {4: proto.t, 5: proto.g}.get(kind)


class Flat:
    """The walk: `nodes` that stay, `values` by name, `alias` from a view to where it lives, `outputs` of the graph,
    `unbound` scalar inputs: their value is not known, and could be given."""

    def __init__(self, opsets: Mapping[str, int], declared: Mapping[str, tuple[tuple[int, ...] | None, int]]) -> None:
        self.nodes: list[Node] = []
        self.values: dict[str, Value] = {}
        self.alias: dict[str, str] = {}
        self.outputs: list[str] = []
        self.unbound: list[str] = []
        self._shapes = ShapeRules(opsets.get("", 0), self.values)
        self.opset = self._shapes.opset
        self._declared = declared

    def lives(self, name: str) -> str:
        """The name of the tensor in memory behind a view."""
        return self.alias.get(name, name)

    def scalar(self, name: str, value: int) -> None:
        """Gives a scalar graph input a value: what depends on it alone folds away."""
        from onnx.helper import tensor_dtype_to_np_dtype

        known = self.values[name]
        self.values[name] = Value((), known.elem, True, np.asarray(value).astype(tensor_dtype_to_np_dtype(known.elem)), origin=name)

    def constant(self, name: str, tensor: Any) -> None:
        """Enters a TensorProto; its numbers are read only when they are few and present."""
        shape = tuple(tensor.dims)
        if any(d < 0 for d in shape):
            raise GraphError(f"initializer {name!r} has the impossible shape {shape}")
        count = check_size(f"initializer {name!r}", shape)
        self.values[name] = Value(shape, tensor.data_type, True, self._numbers(name, tensor) if count <= SMALL else None, origin=name)

    def _numbers(self, name: str, tensor: Any) -> np.ndarray | None:
        from onnx import numpy_helper

        if tensor.data_location == 1 or tensor.data_type == 8:  # external, or text
            return None
        filled = tensor.HasField("raw_data") or any(len(getattr(tensor, f)) for f in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data"))
        if not filled and 0 not in tensor.dims:
            return None
        try:
            return np.asarray(numpy_helper.to_array(tensor))
        except (ValueError, TypeError, KeyError) as error:
            raise FormatError(f"initializer {name!r}: its data do not fit its type {tensor.data_type} and shape {tuple(tensor.dims)} ({error})") from None

    def walk(self, graph: Any, path: str, scopes: tuple[dict[str, str], ...] = ()) -> dict[str, str]:
        """Enters a graph's constants and nodes; returns local name -> entered name. The main graph has no scopes."""
        local: dict[str, str] = {}
        inner = bool(scopes)
        if inner:
            check_text(graph)  # of the main graph the reader has done it
        prefix = f"{path}@{len(self.values)}:" if inner else ""  # unique even where sibling branches share names
        for tensor in graph.initializer:
            local[tensor.name] = prefix + tensor.name
            self.constant(prefix + tensor.name, tensor)
        for sparse in graph.sparse_initializer:
            local[sparse.values.name] = prefix + sparse.values.name
            self.values[prefix + sparse.values.name] = Value(tuple(sparse.dims), sparse.values.data_type, True, origin=prefix + sparse.values.name)
        if not inner:
            local.update((item.name, item.name) for item in graph.input)
        chain = (*scopes, local)

        def outer(name: str) -> bool:
            return any(name in scope for scope in scopes)

        def entered(name: str) -> str:
            for scope in reversed(chain):
                if name in scope:
                    return scope[name]
            return ""

        for index, proto in enumerate(ordered(graph.node, local, outer, path)):
            for name in proto.output:
                if name:
                    local[name] = prefix + name
            node = Node(proto.name or next((o for o in proto.output if o), f"{proto.op_type}_{index}"), proto.op_type, proto.domain, path,
                        {a.name: attribute(a) for a in proto.attribute}, [entered(n) if n else "" for n in proto.input],
                        [local[n] if n else "" for n in proto.output], proto=proto)
            try:
                self._enter(node, chain)
            except (IndexError, KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError, AttributeError) as error:
                raise GraphError(f"{node.where} is malformed: its inputs or attributes do not fit the operator ({type(error).__name__}: {error})") from None
        for item in graph.output:
            if not entered(item.name):
                raise GraphError(f"{path}: the output {item.name!r} is provided by no node, input or initializer")
        return {item.name: entered(item.name) for item in graph.output}

    def _enter(self, node: Node, chain: tuple[dict[str, str], ...]) -> None:
        if node.domain in STANDARD:
            if node.op == "If" and self._inlined(node, chain):
                return
            if self._folded(node):
                return
        inferred = self._shapes.infer(node) if node.domain in STANDARD else {}
        for name, local in zip(node.outputs, node.proto.output, strict=True):
            if name:
                shape, elem = inferred.get(local, (None, 0))
                if shape is None:  # what the file itself says, as a last resort
                    declared = self._declared.get(name, (None, 0))
                    shape, elem = declared[0], elem or declared[1]
                if shape is not None:
                    check_size(f"{node.where}: output {local!r}", shape)
                self.values[name] = Value(shape, elem)
        first = self.values[node.outputs[0]] if node.outputs and node.outputs[0] else None
        if node.domain in STANDARD and node.op in VIEWS and node.inputs and first is not None:
            if not first.elem:
                first.elem = self.values[node.inputs[0]].elem
            self.alias[node.outputs[0]] = self.lives(node.inputs[0])
            return
        if first is not None and first.shape is not None and 0 in first.shape and all(self.values[n].shape is None or 0 in (self.values[n].shape or ())
                                                                                    for n in node.outputs if n):
            for name in node.outputs:  # an empty tensor: nothing is computed
                if name:
                    self.values[name].const = True
                    self.values[name].origin = name
            return
        node.reads = [self.lives(n) if n else "" for n in node.inputs]
        node.writes = list(node.outputs)
        for name in captured(node.proto) if any(a.type in (5, 10) for a in node.proto.attribute) else ():
            real = next((scope[name] for scope in reversed(chain) if name in scope), "")
            if real:
                node.inputs.append(real)
                node.reads.append(self.lives(real))
        self.nodes.append(node)

    def _inlined(self, node: Node, chain: tuple[dict[str, str], ...]) -> bool:
        """Takes the branch of an If whose condition is a constant."""
        condition = self.values[node.inputs[0]].data if node.inputs and node.inputs[0] else None
        if condition is None or condition.size != 1:
            return False
        branch = "then_branch" if bool(condition.reshape(())) else "else_branch"
        graph = node.attrs.get(branch)
        if graph is None or len(graph.output) != len(node.outputs):
            raise GraphError(f"{node.where} has no {branch} with {len(node.outputs)} outputs")
        entered = self.walk(graph, f"{node.path}/{node.name}.{branch}", chain)
        for name, item in zip(node.outputs, graph.output, strict=True):
            if name:
                inner = entered[item.name]
                self.values[name] = self.values[inner]
                self.alias[name] = self.lives(inner)
        return True

    def _folded(self, node: Node) -> bool:
        """Enters the outputs as constants when they depend on constants and shapes only."""
        op, outputs = node.op, node.outputs
        if not outputs or not outputs[0]:
            return False
        if op == "Constant":
            return self._constant_node(node)
        if op in ("Shape", "Size") and node.inputs:
            shape = self.values[node.inputs[0]].shape
            if shape is None:
                return False
            dims = shape[slice(node.attrs.get("start", 0), node.attrs.get("end"))]
            data = np.array(dims, dtype=np.int64) if op == "Shape" else np.array(int(np.prod(shape, dtype=object)), dtype=np.int64)
            self.values[outputs[0]] = Value(data.shape, 7, True, data, origin=outputs[0])
            return True
        inputs = [self.values[n] if n else None for n in node.inputs]
        if op in RANDOM or (op != "EyeLike" and not all(v is None or v.const for v in inputs)) or any(a.type in (5, 10) for a in node.proto.attribute):
            return False
        known = all(v is None or v.data is not None for v in inputs) and op != "EyeLike"
        data_out: list[np.ndarray] | None = None
        if known and op not in GROWING:
            data_out = evaluate(op, self._call(node, inputs))
        inferred: Inferred = {}
        if data_out is None:
            inferred = self._shapes.infer(node)
            shape = inferred.get(node.proto.output[0], (None, 0))[0]
            # Range guards its own length; the others are evaluated only when their size is known to be small
            if known and op in GROWING and (op == "Range" if shape is None else check_size(f"{node.where}: output", shape) <= SMALL):
                data_out = evaluate(op, self._call(node, inputs))
        if data_out is None and not inferred:
            return False  # nothing knows this operator: let it be named
        source = inputs[0] if op in SAME_NUMBERS and inputs else None
        for index, (name, local) in enumerate(zip(outputs, node.proto.output, strict=True)):
            if not name:
                continue
            if data_out is not None and index < len(data_out):
                array = data_out[index]
                value = Value(array.shape, _elem(array), True, array if array.size <= SMALL else None, origin=name)
            else:
                shape, elem = inferred.get(local, (None, 0))
                value = Value(shape, elem, True, origin=name)
            if source is not None and index == 0:
                value.origin = source.origin
                if op == "DequantizeLinear" or source.stored:
                    value.stored = source.stored or source.elem
            self.values[name] = value
        return True

    def _constant_node(self, node: Node) -> bool:
        attrs, name = node.attrs, node.outputs[0]
        if "value" in attrs and hasattr(attrs["value"], "dims"):
            self.constant(name, attrs["value"])
            return True
        for key, dtype in (("value_int", np.int64), ("value_ints", np.int64), ("value_float", np.float32), ("value_floats", np.float32)):
            if key in attrs:
                array = np.asarray(attrs[key], dtype=dtype)
                self.values[name] = Value(array.shape, _elem(array), True, array, origin=name)
                return True
        inferred = self._shapes.infer(node).get(node.proto.output[0])
        if inferred is None:
            return False
        self.values[name] = Value(inferred[0], inferred[1], True, origin=name)
        return True

    def _call(self, node: Node, inputs: Sequence[Value | None]) -> Call:
        attrs = {k: self._numbers(node.name, v) if hasattr(v, "data_type") else v for k, v in node.attrs.items()}
        return Call(attrs, [None if v is None else v.data for v in inputs], self.opset)


def _elem(array: np.ndarray) -> int:
    from onnx.helper import np_dtype_to_tensor_dtype

    return int(np_dtype_to_tensor_dtype(array.dtype))
