"""ONNX files: what one computes and moves, as a `Workload`.

The story: load the file without its weights, bind free dimensions, flatten the graph, drop what nothing reads, fuse
quantise/dequantise pairs, lower each node that is left to one op. The rules are in docs/onnx.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any, Literal

from ..dtypes import BITS
from ..errors import FormatError, GraphError, SilicastError, UnsupportedOpError
from ..ops import Op
from ..workload import Tensor, Workload
from .onnx_dims import bind, stated_shape
from .onnx_graph import Flat
from .onnx_matrix import MATRIX
from .onnx_ops import PARAMETERS, RULES
from .onnx_order import check_text
from .onnx_quant import fuse
from .onnx_shapes import STANDARD, Node, Value
from .onnx_site import DTYPES, Formats, Lowered, Site

#: element types that hold indices, masks and text, never parameters
_NO_PARAMETER = frozenset({"int64", "int32", "bool"})


class UncountedError(UnsupportedOpError):
    """A node no rule counts; `node` is that node. The reader adds what to do about it."""

    def __init__(self, node: Node) -> None:
        super().__init__(f"{node.where} cannot be counted{_why(node)}")
        self.node = node


def read_onnx(path: str | Path, *, dims: Mapping[str, int] | None = None, unknown_ops: Literal["error", "bound"] = "error",
              dtype: str | None = None) -> Workload:
    """The workload of an ONNX file; the arguments are those of `frontends.read`.

    Weights are never loaded, external data never opened. Raises FormatError, GraphError or UnsupportedOpError; each
    message begins with the file and names the input, node or tensor.
    """
    path = Path(path)
    try:
        model = _load(path)
        flat, notes = _flatten(model, dims or {})
        formats = Formats(flat, dtype)
        nodes = _alive(fuse(_alive(flat.nodes, flat), flat, formats), flat)
        try:
            return _lower(path.stem, nodes, flat, formats, unknown_ops, notes)
        except UncountedError as error:
            raise UnsupportedOpError(f"{error}{_remedy(error.node, nodes, flat, formats)}") from None
    except SilicastError as error:
        if str(error).startswith(str(path)) or type(error).__init__ is not Exception.__init__:
            raise
        raise type(error)(f"{path}: {error}") from None
    except RecursionError:
        raise GraphError(f"{path}: subgraphs are nested too deeply") from None


def _load(path: Path) -> Any:
    """The ModelProto of a file. Raises FormatError for anything that is not one."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        if path.stat().st_size > 2**31 - 1:
            raise FormatError(f"{path}: {path.stat().st_size} bytes is more than a protobuf file can hold (2 GiB); keep the weights in external data")
        data = path.read_bytes()
    except FileNotFoundError:
        raise FormatError(f"{path}: no such file") from None
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error})") from None
    if not data:
        raise FormatError(f"{path}: the file is empty; expected an ONNX model")
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError:
        raise FormatError(f"{path}: not an ONNX model, or truncated ({len(data)} bytes do not parse)") from None
    if not model.HasField("graph") or not model.opset_import or not (model.graph.node or model.graph.output):
        raise FormatError(f"{path}: not a complete ONNX model: expected a graph with nodes and an opset; truncated, or another format")
    if model.functions:
        from onnx import inliner

        try:
            model = inliner.inline_local_functions(model, False)
        except Exception as error:  # a C++ exception of no fixed type
            raise GraphError(f"{path}: its local functions cannot be inlined ({error})") from None
    return model


def _flatten(model: Any, dims: Mapping[str, int]) -> tuple[Flat, list[str]]:
    graph = model.graph
    check_text(graph)
    constants = [*(t.name for t in graph.initializer), *(t.values.name for t in graph.sparse_initializer)]
    names = set(constants)
    inputs = [item for item in graph.input if item.name not in names]
    _unique(constants, "two initializers")
    _unique((item.name for item in graph.input), "two inputs")
    shapes = []
    for item in inputs:
        if item.type.WhichOneof("value") != "tensor_type":
            raise UnsupportedOpError(f"input {item.name!r} is no tensor but a {item.type.WhichOneof('value') or 'value of no type'}; it cannot be counted")
        shapes.append(stated_shape(item.name, item.type.tensor_type))
    bound, values = bind(shapes, dims)
    opsets = {"" if o.domain == "ai.onnx" else o.domain: int(o.version) for o in model.opset_import}
    declared = {v.name: (_declared(v.type.tensor_type, dims), v.type.tensor_type.elem_type) for v in (*graph.value_info, *graph.output)
                if v.type.HasField("tensor_type")}
    flat = Flat(opsets, declared)
    for item in shapes:
        flat.values[item.name] = Value(bound[item.name], item.elem)
        if item.name in values:
            flat.scalar(item.name, values[item.name])
        elif item.axes == ():
            flat.unbound.append(item.name)
    entered = flat.walk(graph, f"graph {graph.name!r}" if graph.name else "graph")
    flat.outputs = list(entered.values())
    return flat, [f"{name} = {value}" for name, value in dims.items()]


def _unique(names: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise GraphError(f"{what} have the name {name!r}; names must be unique")
        seen.add(name)


def _declared(tensor: Any, dims: Mapping[str, int]) -> tuple[int, ...] | None:
    """A shape the file states for an intermediate tensor, used only where inference has none (custom operators)."""
    if not tensor.HasField("shape"):
        return None
    sizes = [d.dim_value if d.HasField("dim_value") else dims.get(d.dim_param, -1) for d in tensor.shape.dim]
    return None if any(s < 0 for s in sizes) else tuple(sizes)


def _alive(nodes: list[Node], flat: Flat) -> list[Node]:
    """The nodes that an output depends on, in order."""
    needed = {flat.lives(name) for name in flat.outputs}
    kept: list[Node] = []
    for node in reversed(nodes):
        if any(name in needed for name in node.writes if name):
            kept.append(node)
            needed.update(name for name in node.reads if name)
    return kept[::-1]


def _lower(name: str, nodes: list[Node], flat: Flat, formats: Formats, unknown_ops: str, notes: list[str]) -> Workload:
    ops: list[Op] = []
    maker: dict[str, int] = {}
    readers: dict[str, list[int]] = {}
    claimed: set[str] = set()
    for node in nodes:
        try:
            op = _op(node, flat, formats, claimed, unknown_ops, notes)
        except SilicastError as error:
            if node.where in str(error):
                raise
            raise type(error)(f"{node.where}: {error}") from None
        except (IndexError, KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError, AttributeError) as error:
            raise GraphError(f"{node.where} is malformed: its inputs or attributes do not fit the operator ({type(error).__name__}: {error})") from None
        for made in node.writes:
            if made:
                maker[made] = len(ops)
        for read in dict.fromkeys(node.reads):
            if read and not flat.values[read].const:
                readers.setdefault(read, []).append(len(ops))
        ops.append(op)
    if not ops:
        raise GraphError("nothing is left to count: every node is a view or depends on constants only")
    kept = {flat.lives(output) for output in flat.outputs}
    tensors = [Tensor(n, _bytes(n, flat, formats), maker.get(n, -1), tuple(readers.get(n, ())))
               for n in dict.fromkeys((*readers, *maker)) if n in readers or n in kept]
    return Workload.of(name, ops, tensors, notes=notes)


def _bytes(name: str, flat: Flat, formats: Formats) -> int:
    shape = flat.values[name].shape
    if shape is None:
        raise GraphError(f"the shape of tensor {name!r} cannot be inferred")
    return (prod(shape) * BITS[formats.of(name)] + 7) // 8


def _op(node: Node, flat: Flat, formats: Formats, claimed: set[str], unknown_ops: str, notes: list[str]) -> Op:
    site = Site(node, flat, formats)
    rule = RULES.get(node.op) if node.domain in STANDARD else None
    if rule is None:
        if unknown_ops != "bound":
            raise UncountedError(node)
        lowered = _bounded(site)
        notes.append(f"{node.where} is only bounded by its traffic")
    else:
        lowered = rule(site)
    weight = formats.of(node.reads[lowered.weight], as_weight=True) if lowered.weight is not None else ""
    output = formats.of(next(n for n in node.writes if n))
    compute = output if lowered.compute is None or not node.reads else formats.of(node.reads[lowered.compute])
    sizes: dict[str, Any] = dict(lowered.sizes)
    return Op.of(node.name, lowered.kind, dtype=compute, weight_dtype=weight, output_dtype=output, params=_params(node, flat, claimed),
                 source=f"onnx {node.op} {node.name}", **sizes)


def _why(node: Node) -> str:
    if node.op in ("If", "Loop", "Scan", "SequenceMap"):
        return ": how control flow runs depends on data"
    if node.op in ("Range", "ConstantOfShape", "NonZero", "Unique", "Compress", "NonMaxSuppression"):
        return ": the size of its output depends on data, or its inputs do not fit"
    return "" if node.domain in STANDARD else ": silicast does not know operators of this domain"


def _remedy(node: Node, nodes: list[Node], flat: Flat, formats: Formats) -> str:
    """What the caller can do about a node that cannot be counted; only what works is promised."""
    told = [f"bind the scalar input {name!r} it depends on: --dim {name}={value}" for name, value in _scalars_behind(node, flat)]
    try:
        _lower("tried", nodes, flat, formats, "bound", [])
        told.append("--unknown-ops bound lets it through, bounded by its inputs and outputs")
    except (SilicastError, ArithmeticError, ValueError):  # what it lets through has no known shape, or another node fails
        pass
    if not told and node.domain not in STANDARD:
        told.append("to have it bounded by its inputs and outputs, state the shapes of its outputs in the file (value_info)")
    elif not told:
        told.append("export the network without it, or with fixed sizes")
    return "; " + "; or ".join(told)


def _scalars_behind(node: Node, flat: Flat) -> list[tuple[str, str]]:
    """(name, a value) of the scalar inputs without a value that `node` depends on; the value is one the file compares the input with, else VALUE."""
    makers = {name: n for n in flat.nodes for name in n.writes if name}
    found: list[tuple[str, str]] = []
    seen: set[str] = set()
    waiting = [name for name in node.reads[:1] if name] if node.op == "If" else [name for name in node.reads if name]
    while waiting:
        name = flat.lives(waiting.pop())
        if name in seen:
            continue
        seen.add(name)
        if name in flat.unbound:
            against = [flat.values[r].data for n in flat.nodes if n.op == "Equal" and name in n.reads for r in n.reads if r in flat.values]
            found.append((name, next((str(int(d)) for d in against if d is not None and d.size == 1 and d.dtype.kind in "iu"), "VALUE")))
        waiting += [read for read in makers[name].reads if read] if name in makers else []
    return found


def _bounded(site: Site) -> Lowered:
    node = site.node
    read = sum(site.size(i) for i in range(len(node.inputs)) if site.has(i))
    written = sum(prod(site.out_shape(i)) for i, name in enumerate(node.outputs) if name)
    return Lowered("bound", {"input_elements": max(1, read), "output_elements": max(1, written)},
                   next((i for i in range(len(node.inputs)) if site.has(i) and not site.is_const(i)), None))


def _params(node: Node, flat: Flat, claimed: set[str]) -> int:
    """Elements of the constants this node is the first to use as parameters."""
    total = 0
    slots = PARAMETERS.get(node.op, range(len(node.inputs))) if node.domain in STANDARD else range(len(node.inputs))
    for index in slots:
        name = node.inputs[index] if index < len(node.inputs) else ""
        value = flat.values[name] if name else None
        if value is None or not value.const or value.shape is None or value.origin in claimed:
            continue
        count = prod(value.shape)
        # one number beside an elementwise operator is a literal, not a parameter; a bias may come dequantised from int32
        literal = count <= 1 and node.op not in MATRIX and not node.op.endswith("Normalization")
        integer_bias = node.op == "QLinearConv" or (node.op in MATRIX and value.stored)
        if literal or (DTYPES.get(value.stored or value.elem, "bool") in _NO_PARAMETER and not integer_bias):
            continue
        claimed.add(value.origin)
        total += count
    return total
