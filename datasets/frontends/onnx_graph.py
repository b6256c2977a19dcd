"""An ONNX graph made plain: constants folded away, views aliased, constant branches inlined, every shape known.

`flatten` walks the nodes once in dependency order. What is left is a list of `Node`s that do or move something, and one
`Value` per tensor. Shapes come from onnx's own inference rules, node by node, fed with the constants found so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np

from ..errors import FormatError, GraphError
from .onnx_budget import Budget
from .onnx_contrib import ALIASES, foreign_shapes, rename
from .onnx_control import CONTROL
from .onnx_dims import MAX_ELEMENTS, check_size
from .onnx_fold import GROWING, SMALL, Call, evaluate
from .onnx_node import STANDARD, Node, Value, attribute, origin
from .onnx_order import captured, check_location, check_text, ordered
from .onnx_qonnx import Width, annotated_tensors, folded, is_quantiser
from .onnx_sequence import SEQUENCES, sequence
from .onnx_shapes import Axes, Inferred, ShapeRules
from .onnx_sizes import upper_bound

#: operators whose output is their first input under another shape: nothing is computed or moved
VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout"})

#: operators whose output a constant input does not make constant
RANDOM = frozenset({"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"})

#: constants computed from one constant that hold the same numbers: parameters are counted at the origin
SAME_NUMBERS = VIEWS | {"Transpose", "Cast", "DequantizeLinear", "QuantizeLinear"}

#: nodes, names of what they are for -> what that costs; dearer is greater
Price = Callable[[list[Node], Sequence[str]], tuple[float, ...]]


class Flat:
    """The walk: `nodes` that stay, `values` by name, `alias` from a view to where it lives, `outputs` of the graph, `unbound`
    scalar inputs: their value is not known, and could be given; `notes` on what was decided on the way; `widths` of tensors (and of
    constants by their origin) that a quantiser or an annotation gives a number of bits.

    `declared` holds what the file states of tensors, `dims` what the caller binds; with `bounded` a size that depends on data
    takes its upper bound; `price` tells what nodes cost (an `If` on data takes the dearer branch).
    """

    def __init__(self, opsets: Mapping[str, int], declared: Mapping[str, tuple[tuple[int | str | None, ...] | None, int]],
                 dims: Mapping[str, int], bounded: bool, price: Price) -> None:
        from onnx import numpy_helper

        self._to_array = numpy_helper.to_array
        self.nodes: list[Node] = []
        self.values: dict[str, Value] = {}
        self.alias: dict[str, str] = {}
        self.outputs: list[str] = []
        self.unbound: list[str] = []
        self.notes: list[str] = []
        self.widths: dict[str, Width] = {}
        self.dims, self.used, self.price = dims, set[str](), price
        self._shapes = ShapeRules(opsets.get("", 0), self.values)
        self.opset = self._shapes.opset
        self._declared, self._bounded = declared, bounded
        self._open: dict[str, str] = {}
        self._orders: dict[int, tuple[Any, list[Any]]] = {}
        self.budget = Budget(self.values)

    def lives(self, name: str) -> str:
        """The name of the tensor in memory behind a view."""
        return self.alias.get(name, name)

    def lived(self, names: Iterable[str]) -> set[str]:
        """The tensors in memory behind names."""
        return {self.lives(name) for name in names}

    def give(self, name: str, numbers: Sequence[int]) -> None:
        """Gives a tensor its numbers: what depends on it alone folds away."""
        from onnx.helper import tensor_dtype_to_np_dtype

        known = self.values[name]
        self.values[name] = Value(known.shape, known.elem, True, np.asarray(numbers).reshape(known.shape or ()).astype(tensor_dtype_to_np_dtype(known.elem)), origin=name)

    def constant(self, name: str, tensor: Any, origin: str = "") -> None:
        """Enters a TensorProto; its numbers are read only when they are few and present. `origin` is the same for every trip of a loop."""
        shape = tuple(tensor.dims)
        if tensor.data_location == 1:
            check_location(name, tensor)
        if any(d < 0 for d in shape):
            raise GraphError(f"initializer {name!r} has the impossible shape {shape}")
        count = check_size(f"initializer {name!r}", shape)
        data: Any = None
        if count <= SMALL:
            data = partial(self._numbers, name, tensor) if _sound(tensor, count) else self._numbers(name, tensor)
        self.values[name] = Value(shape, tensor.data_type, True, data, origin=origin or name)

    def _numbers(self, name: str, tensor: Any) -> np.ndarray | None:
        if tensor.data_location == 1 or tensor.data_type == 8:  # external, or text
            return None
        filled = tensor.HasField("raw_data") or any(len(getattr(tensor, f)) for f in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data"))
        if not filled and 0 not in tensor.dims:
            return None
        try:
            return np.asarray(self._to_array(tensor))
        except (ValueError, TypeError, KeyError) as error:
            raise FormatError(f"initializer {name!r}: its data do not fit its type {tensor.data_type} and shape {tuple(tensor.dims)} ({error})") from None

    def walk(self, graph: Any, path: str, scopes: tuple[dict[str, str], ...] = (), given: Mapping[str, str] | None = None) -> dict[str, str]:
        """Enters a graph's constants and nodes; returns local name -> entered name. The main graph has no scopes; `given` are the
        inputs of an inner one. Raises GraphError when inner graphs, unrolled, are too many nodes."""
        local: dict[str, str] = dict(given or {})
        inner = bool(scopes)
        self.budget.spend(graph, path, inner)
        prefix = f"{path}@{len(self.values)}:" if inner else ""  # unique even where sibling branches share names
        for tensor in graph.initializer:
            local[tensor.name] = prefix + tensor.name
            self.constant(prefix + tensor.name, tensor, f"{id(graph)}:{tensor.name}" if inner else "")
        for sparse in graph.sparse_initializer:
            name = local[sparse.values.name] = prefix + sparse.values.name
            check_size(f"sparse initializer {sparse.values.name!r}", sparse.dims)
            self.values[name] = Value(tuple(sparse.dims), sparse.values.data_type, True, origin=name)
        if not inner:
            local.update((item.name, item.name) for item in graph.input)
            for name, width in annotated_tensors(graph, self.values).items():
                if self.values[name].const:
                    self.values[name].stored, self.widths[self.values[name].origin] = width.elem, width
        chain = (*scopes, local)

        def entered(name: str) -> str:
            for scope in reversed(chain):
                if name in scope:
                    return scope[name]
            return ""

        for index, proto in enumerate(self._order(graph, local, scopes, path)):
            for name in proto.output:
                if name:
                    local[name] = prefix + name
            node = Node(proto.name or next((o for o in proto.output if o), f"{proto.op_type}_{index}"), proto.op_type, proto.domain, path,
                        {a.name: attribute(a) for a in proto.attribute}, [entered(n) if n else "" for n in proto.input],
                        [local[n] if n else "" for n in proto.output], proto=proto)
            try:
                self._enter(node, chain)
            except (IndexError, KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError, AttributeError) as error:
                raise GraphError(f"{node.where} is malformed: its inputs or attributes do not fit the operator ({type(error).__name__}: {' '.join(str(error).split())[:200]})") from None
        for item in graph.output:
            if not entered(item.name):
                raise GraphError(f"{path}: the output {item.name!r} is provided by no node, input or initializer")
        return {item.name: entered(item.name) for item in graph.output}

    def _order(self, graph: Any, local: Mapping[str, str], scopes: tuple[dict[str, str], ...], path: str) -> list[Any]:
        """The nodes in dependency order, found once for the body of a loop."""
        known = self._orders.get(id(graph))
        if known is None or known[0] is not graph:
            if scopes:
                check_text(graph)  # of the main graph the reader has done it
            known = self._orders[id(graph)] = (graph, ordered(graph.node, local, lambda name: any(name in scope for scope in scopes), path))
        return known[1]

    def _enter(self, node: Node, chain: tuple[dict[str, str], ...]) -> None:
        if ALIASES.get(node.domain, {}).get(node.op):
            rename(node)
        standard = node.domain in STANDARD
        if standard and node.op in CONTROL:
            if CONTROL[node.op](self, node, chain):
                return self._all_made(node)
        elif standard and (node.op in SEQUENCES or any(n and self.values[n].items is not None for n in node.inputs)):
            if sequence(self, node):
                return self._all_made(node)
        elif (standard and self._folded(node)) or (is_quantiser(node) and folded(node, self.values, self.widths)):
            return
        inferred = self._shapes.infer(node) if standard else foreign_shapes(node, self)
        for index, (name, local) in enumerate(zip(node.outputs, node.proto.output, strict=True)):
            if name:
                self._state(node, index, name, local, *(inferred[index] if index < len(inferred) else (None, 0)))
                if not inferred and standard and all(self.values[n].shape is not None for n in node.inputs if n):
                    self._open.pop(name, None)  # no data are missing: the inputs do not fit the operator
        first = self.values[node.outputs[0]] if node.outputs and node.outputs[0] else None
        if standard and node.op in VIEWS and node.inputs and first is not None:
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

    def _all_made(self, node: Node) -> None:
        lacking = next((name for name in node.outputs if name and name not in self.values), "")
        if lacking:
            raise GraphError(f"{node.where}: its attributes and body leave the output {lacking!r} without a value")

    def _state(self, node: Node, index: int, name: str, local: str, axes: Axes | None, elem: int) -> None:
        """Enters output `index` with what is inferred, what the file states, what the caller binds, or its upper bound."""
        stated, its_elem = self._declared.get(name, (None, 0))
        value = self.values[name] = Value(None, elem or its_elem)
        if axes is None or None in axes:
            axes = self._bound(node, index, name, local, axes, stated)
        if axes is not None and None not in axes:
            value.shape = axes  # type: ignore[assignment]
            if prod(axes) > MAX_ELEMENTS or (axes and min(axes) < 0):  # type: ignore[arg-type, type-var, operator]
                check_size(f"{node.where}: output {local!r}", value.shape or ())
        if local in self.dims and value.elem in (6, 7, 9, 12, 13) and value.shape is not None and all(a == 1 for a in value.shape):
            self.used.add(local)
            self.give(name, [self.dims[local]])

    def _bound(self, node: Node, index: int, name: str, local: str, axes: Axes | None, stated: tuple[int | str | None, ...] | None) -> Axes | None:
        dims = self.dims
        if axes is None and stated is None:
            rank = next(r for r in range(len(dims) + 1) if f"{local}.{r}" not in dims)
            most = upper_bound(node, index, self)
            axes = (None,) * (rank or len(most or ())) if rank or most is not None else None
        else:
            most = upper_bound(node, index, self)
        rank = len(axes) if axes is not None else len(stated or ())
        if axes is None and stated is None:
            self._open[name] = f"it depends on the data {node.where} reads: give --dim {local}.0=VALUE and so on for each of its axes"
            return None
        found: list[int | None] = list(axes) if axes is not None else [None] * rank
        for axis in range(rank):
            said = stated[axis] if stated is not None and len(stated) == rank else None
            key = f"{local}.{axis}" if f"{local}.{axis}" in dims else said if isinstance(said, str) and said in dims else None
            if found[axis] is None and key is not None:
                found[axis] = dims[key]
                self.used.add(key)
            elif found[axis] is None and isinstance(said, int):
                found[axis] = said
            elif found[axis] is None and self._bounded and most is not None and len(most) == rank:
                found[axis] = most[axis]
                self.notes.append(f"{node.where}: axis {axis} of {local!r} depends on data; its upper bound {most[axis]} was taken")
        missing = [axis for axis, size in enumerate(found) if size is None]
        if missing:
            limit = f", at most {most[missing[0]]} (--unknown-ops bound takes that)" if most is not None and len(most) == rank else ""
            flags = " ".join(f"--dim {local}.{axis}=VALUE" for axis in missing[:6])
            self._open[name] = f"it depends on the data {node.where} reads: give {flags}{limit}"
        return tuple(found)

    def blame(self, name: str) -> str:
        """Which node's data the unknown shape of `name` goes back to, and the flag that settles it; "" when no data is behind it."""
        makers = {made: node for node in self.nodes for made in node.outputs if made}
        waiting, seen = [name], set[str]()
        while waiting:
            at = waiting.pop(0)
            if at in seen:
                continue
            seen.add(at)
            if at in makers:
                waiting += [n for n in makers[at].inputs if n and self.values[n].shape is None]
            if at in self.alias and self.values[self.alias[at]].shape is None:
                waiting.append(self.alias[at])
            elif at in self._open and not (at in makers and any(n and self.values[n].shape is None for n in makers[at].inputs)):
                return self._open[at]
        return ""

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
        if op == "ConstantOfShape" and self._filled(node, inputs[0]):
            return True
        known = all(v is None or v.data is not None for v in inputs) and op != "EyeLike"
        data_out: list[np.ndarray] | None = None
        if known and op not in GROWING:
            data_out = evaluate(op, self._call(node, inputs))
        inferred: Inferred = []
        if data_out is None:
            inferred = self._shapes.infer(node)
            shape = closed(inferred, 0)
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
                value = Value(array.shape, _elem(array), True, array if array.size <= SMALL else None, origin=origin(node, index))
            else:
                shape = closed(inferred, index)
                if shape is not None:
                    check_size(f"{node.where}: output {local!r}", shape)
                value = Value(shape, inferred[index][1] if index < len(inferred) else 0, True, origin=origin(node, index))
            if source is not None and index == 0:
                value.origin = source.origin
                if op == "DequantizeLinear" or source.stored:
                    value.stored = source.stored or source.elem
            self.values[name] = value
        return True

    def _filled(self, node: Node, sizes: Value | None) -> bool:
        """Enters one floating-point number that fills a shape: its numbers are made when somebody looks."""
        fill, data = node.attrs.get("value"), sizes.data if sizes is not None else None
        if data is None or data.dtype != np.int64 or data.ndim != 1 or not (fill is None or (list(fill.dims) in ([], [1]) and _sound(fill, 1))):
            return False
        shape, name = tuple(data.tolist()), node.outputs[0]
        count = prod(shape)
        if shape and min(shape) < 0:
            return False
        if count > MAX_ELEMENTS:
            check_size(f"{node.where}: output", shape)
        made: Any = None
        if count <= SMALL:
            def made() -> np.ndarray:
                number = np.zeros(1, np.float32) if fill is None else self._to_array(fill)
                return np.full(shape, number.reshape(-1)[0], number.dtype)
        self.values[name] = Value(shape, fill.data_type if fill is not None else 1, True, made, origin=origin(node, 0))
        return True

    def _constant_node(self, node: Node) -> bool:
        attrs, name = node.attrs, node.outputs[0]
        if "value" in attrs and hasattr(attrs["value"], "dims"):
            self.constant(name, attrs["value"], origin(node, 0))
            return True
        for key, dtype in (("value_int", np.int64), ("value_ints", np.int64), ("value_float", np.float32), ("value_floats", np.float32)):
            if key in attrs:
                array = np.asarray(attrs[key], dtype=dtype)
                self.values[name] = Value(array.shape, _elem(array), True, array, origin=origin(node, 0))
                return True
        inferred = self._shapes.infer(node)
        if not inferred:
            return False
        self.values[name] = Value(closed(inferred, 0), inferred[0][1], True, origin=origin(node, 0))
        return True

    def _call(self, node: Node, inputs: Sequence[Value | None]) -> Call:
        attrs = {k: self._numbers(node.name, v) if hasattr(v, "data_type") else v for k, v in node.attrs.items()}
        return Call(attrs, [None if v is None else v.data for v in inputs], self.opset)


def _sound(tensor: Any, count: int) -> bool:
    """Whether a tensor plainly holds `count` floating-point numbers, so that they need not be looked at to know that they are there."""
    size = {1: 4, 10: 2, 11: 8}.get(tensor.data_type)
    return size is not None and tensor.data_location != 1 and (len(tensor.raw_data) == size * count > 0 or (tensor.data_type == 1 and not tensor.HasField("raw_data") and len(tensor.float_data) == count > 0))


def closed(inferred: Inferred, index: int) -> tuple[int, ...] | None:
    """The shape of output `index` when all of it is known."""
    axes = inferred[index][0] if index < len(inferred) else None
    return None if axes is None or None in axes else axes  # type: ignore[return-value]


def _elem(array: np.ndarray) -> int:
    from onnx.helper import np_dtype_to_tensor_dtype

    return int(np_dtype_to_tensor_dtype(array.dtype))
