"""ONNX files: what one computes and moves, as a `Workload`.

The story: load the file without its weights, bind free dimensions, flatten the graph, drop what nothing reads, fuse
quantise/dequantise pairs, lower each node that is left to one op. The rules are in docs/onnx.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Literal

from ..dtypes import BITS
from ..errors import FormatError, GraphError, SilicastError, UnsupportedOpError
from ..ops import Op
from ..workload import Tensor, Workload
from .onnx_contrib import FOREIGN
from .onnx_dims import bind, stated_axes, stated_inputs
from .onnx_graph import Flat
from .onnx_load import load
from .onnx_node import STANDARD, Node, Value
from .onnx_ops import PARAMETERS, REFUSED, RULES
from .onnx_order import check_text
from .onnx_qonnx import Width, annotated_tensors, fuse_quantisers, rounded
from .onnx_quant import fuse
from .onnx_site import DTYPES, Formats, Lowered, Lowering, Site

#: element types that hold indices, masks and text, never parameters
_NO_PARAMETER = frozenset({"int64", "int32", "bool"})


#: what quantisers say of the data and of the weights that an op reads; None where none says anything
Widths = tuple[Width | None, Width | None]


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
    return read_quantised(path, dims, unknown_ops, dtype)[0]


def read_quantised(path: str | Path, dims: Mapping[str, int] | None = None, unknown_ops: Literal["error", "bound"] = "error",
                   dtype: str | None = None) -> tuple[Workload, tuple[Widths, ...]]:
    """`read_onnx`, and for every op what quantisers of QONNX say of its data and of its weights (None: nothing)."""
    path = Path(path)
    try:
        model = load(path)
        flat = _flatten(model, dims or {}, unknown_ops == "bound", dtype)
        formats = Formats(flat, dtype)
        kept = flat.lived(flat.outputs)
        nodes = _alive(fuse(_alive(flat.nodes, kept), flat, formats), kept)
        nodes = fuse_quantisers(nodes, flat.values, flat.widths, formats, sorted(kept))
        notes = [f"{name} = {value}" for name, value in (dims or {}).items()] + list(dict.fromkeys(flat.notes)) + rounded(flat.widths)
        widths: list[Widths] = []
        try:
            workload = _lower(path.stem, nodes, flat, formats, unknown_ops, notes, widths)
        except UncountedError as error:
            raise UnsupportedOpError(f"{error}{_remedy(error.node, nodes, flat, formats)}") from None
        _all_used(flat)
        return workload, tuple(widths)
    except SilicastError as error:
        if str(error).startswith(str(path)) or type(error).__init__ is not Exception.__init__:
            raise
        raise type(error)(f"{path}: {error}") from None
    except RecursionError:
        raise GraphError(f"{path}: subgraphs are nested too deeply") from None


def _flatten(model: Any, dims: Mapping[str, int], bounded: bool, dtype: str | None) -> Flat:
    graph = model.graph
    check_text(graph)
    constants = [*(t.name for t in graph.initializer), *(t.values.name for t in graph.sparse_initializer)]
    names = set(constants)
    inputs = [item for item in graph.input if item.name not in names]
    _unique(constants, "two initializers")
    _unique((item.name for item in graph.input), "two inputs")
    shapes, sequences, notes = stated_inputs(inputs, dims)
    declared = {v.name: (stated_axes(v.type.tensor_type), v.type.tensor_type.elem_type) for v in (*graph.value_info, *graph.output)
                if v.type.HasField("tensor_type")}
    bound, values, used = bind(shapes, dims, lambda key: _names_inside(graph, key, declared) or key in sequences.values())
    opsets = {"" if o.domain == "ai.onnx" else o.domain: int(o.version) for o in model.opset_import}
    opset = opsets.setdefault("", 1)
    if not 0 < opset < 2**31:
        raise FormatError(f"the opset is {opset}; expected a positive version")
    flat = Flat(opsets, declared, dims, bounded, lambda nodes, outputs: _price(nodes, outputs, flat, dtype))
    flat.notes += notes
    if opset > flat.opset:
        flat.notes.append(f"opset {opset} is newer than the installed onnx; read by the rules of opset {flat.opset}")
    flat.used |= used | set(sequences.values())
    for item in shapes:
        flat.values[item.name] = Value(bound[item.name], item.elem, bound[item.name] is not None and 0 in bound[item.name], origin=item.name)
        if item.name in values:
            flat.give(item.name, values[item.name])
        elif item.axes == ():
            flat.unbound.append(item.name)
    for name, key in sequences.items():
        flat.values[name] = Value(None, 0, items=tuple(f"{name}[{i}]" for i in range(dims[key])))
    entered = flat.walk(graph, f"graph {graph.name[:80]!r}" if graph.name else "graph")
    for name in entered.values():
        items = flat.values[name].items
        flat.outputs += [name] if items is None else items
    for name, width in annotated_tensors(graph, flat.values).items():
        flat.widths.setdefault(flat.lives(name), width)
    return flat


def _names_inside(graph: Any, key: str, declared: Mapping[str, Any]) -> bool:
    """Whether a key of `dims` may bind something made inside the graph: a tensor, its axis, a size's name, the trips of a loop."""
    def inside(nodes: Any, depth: int = 0) -> bool:
        return depth < 100 and any(key in node.output or key.rpartition(".")[0] in node.output or (key.endswith(".trips") and key[:-6] in (node.name, *node.output[:1]))
                                   or any(inside(g.node, depth + 1) for a in node.attribute for g in ([a.g] if a.type == 5 else a.graphs)) for node in nodes)

    return any(axes is not None and key in axes for axes, _ in declared.values()) or inside(graph.node)


def _all_used(flat: Flat) -> None:
    for key in flat.dims:
        if key not in flat.used:
            raise GraphError(f"--dim {key}={flat.dims[key]} binds nothing: what it names is known from the file, or is not read")


def _price(nodes: list[Node], outputs: Sequence[str], flat: Flat, dtype: str | None) -> tuple[float, ...]:
    """(operations, bytes, elements handed on) of nodes. An operator that no rule counts is dearest, so that it is named; what does
    not fit its shapes cannot run: -1."""
    formats = Formats(flat, dtype)
    work = traffic = 0.0
    for node in _alive(nodes, flat.lived(outputs)):
        try:
            for op, _ in _ops(node, flat, formats, set(), "error", []):
                work, traffic = work + op.flops, traffic + op.bytes_read + op.bytes_written
        except UnsupportedOpError:
            work = float("inf")
        except (SilicastError, ArithmeticError, ValueError, LookupError, TypeError, AttributeError):
            return -1.0, 0.0, 0.0
    return work, traffic, float(sum(prod(flat.values[o].shape or ()) for o in outputs))


def _unique(names: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise GraphError(f"{what} have the name {name!r}; names must be unique")
        seen.add(name)


def _alive(nodes: list[Node], needed: set[str]) -> list[Node]:
    """The nodes that one of `needed` depends on, in order."""
    needed = set(needed)
    kept: list[Node] = []
    for node in reversed(nodes):
        if any(name in needed for name in node.writes if name):
            kept.append(node)
            needed.update(name for name in node.reads if name)
    return kept[::-1]


def _lower(name: str, nodes: list[Node], flat: Flat, formats: Formats, unknown_ops: str, notes: list[str], widths: list[Widths] | None = None) -> Workload:
    ops: list[Op] = []
    maker: dict[str, int] = {}
    readers: dict[str, list[int]] = {}
    between: list[Tensor] = []
    claimed: set[str] = set()
    for node in nodes:
        try:
            steps = _ops(node, flat, formats, claimed, unknown_ops, notes)
        except SilicastError as error:
            if node.where in str(error):
                raise
            raise type(error)(f"{node.where}: {error}") from None
        except (IndexError, KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError, AttributeError) as error:
            raise GraphError(f"{node.where} is malformed: its inputs or attributes do not fit the operator ({type(error).__name__}: {' '.join(str(error).split())[:200]})") from None
        early = {i for _, lowered in steps[:-1] for i in lowered.makes}
        for at, (op, lowered) in enumerate(steps):
            made = [i for i in range(len(node.writes)) if i not in early] if at == len(steps) - 1 else lowered.makes
            for written in (node.writes[i] for i in made if i < len(node.writes)):
                if written:
                    maker[written] = len(ops)
            reads = node.reads if lowered.reads is None else [node.reads[i] for i in lowered.reads if i < len(node.reads)]
            for read in dict.fromkeys(reads):
                if read and not flat.values[read].const:
                    readers.setdefault(read, []).append(len(ops))
            if at:
                before = steps[at - 1][0]
                elements = int(before.counts["output_elements"])
                between.append(Tensor(before.name, (elements * BITS[before.output_dtype] + 7) // 8, len(ops) - 1, (len(ops),)))
            ops.append(op)
            if widths is not None:
                widths.append(_widths(node, lowered, flat))
    if not ops:
        empty = next((n for n, v in flat.values.items() if v.shape is not None and 0 in v.shape), "")
        raise GraphError("nothing is left to count: every node is a view or depends on constants only" + (f"; tensor {empty!r} is empty" if empty else ""))
    kept = flat.lived(flat.outputs)
    tensors = [Tensor(n, _bytes(n, flat, formats), maker.get(n, -1), tuple(readers.get(n, ())))
               for n in dict.fromkeys((*readers, *maker)) if n in readers or n in kept]
    return Workload.of(name, ops, [*tensors, *between], notes=notes)


def _widths(node: Node, step: Lowered, flat: Flat) -> Widths:
    def of(index: int | None) -> Width | None:
        name = node.reads[index] if index is not None and index < len(node.reads) else ""
        return flat.widths.get(name) or flat.widths.get(flat.values[name].origin) if name else None

    data, weight = of(step.compute), of(step.weight)
    return data if data is None or step.compute != step.weight else None, weight


def _bytes(name: str, flat: Flat, formats: Formats) -> int:
    shape = flat.values[name].shape
    if shape is None:
        raise GraphError(f"the shape of tensor {name!r} cannot be inferred{'; ' if flat.blame(name) else ''}{flat.blame(name)}")
    return (prod(shape) * BITS[formats.of(name)] + 7) // 8


def rule_of(node: Node) -> Callable[[Site], Lowering] | None:
    """How a node is lowered; None for one that cannot be counted."""
    if node.domain in STANDARD:
        return RULES.get(node.op)
    entry = FOREIGN.get(node.domain, {}).get(node.op)
    return None if entry is None else entry.rule


def _ops(node: Node, flat: Flat, formats: Formats, claimed: set[str], unknown_ops: str, notes: list[str]) -> list[tuple[Op, Lowered]]:
    site, rule = Site(node, flat, formats), rule_of(node)
    if rule is None:
        if unknown_ops != "bound":
            raise UncountedError(node)
        lowering: Lowering = _bounded(site)
        notes.append(f"{node.where} is only bounded by its traffic")
    else:
        lowering = rule(site)
    steps = lowering if isinstance(lowering, list) else [lowering]
    output = formats.of(next(n for n in node.writes if n))
    made = []
    for step in steps:
        weight = "" if step.weight is None else step.stores or formats.of(node.reads[step.weight], as_weight=True)
        compute = output if step.compute is None or not node.reads else formats.of(node.reads[step.compute])
        name = node.name if len(steps) == 1 else f"{node.name}/{step.label}"
        sizes: dict[str, Any] = dict(step.sizes)
        made.append((Op.of(name, step.kind, dtype=compute, weight_dtype=weight, output_dtype=output, params=_params(node, flat, claimed, step),
                           source=f"onnx {node.op} {node.name}", **sizes), step))
    return made


def _why(node: Node) -> str:
    if node.reason:
        return f": {node.reason}"
    if node.domain in STANDARD:
        return f": {REFUSED[node.op]}" if node.op in REFUSED else ""
    return ": silicast does not know this operator of the domain" if node.domain in FOREIGN else ": silicast does not know operators of this domain"


def _remedy(node: Node, nodes: list[Node], flat: Flat, formats: Formats) -> str:
    """What the caller can do about a node that cannot be counted; only what works is promised."""
    told = [] if "--dim" in node.reason else [f"bind the scalar input {name!r} it depends on: --dim {name}={value}" for name, value in _scalars_behind(node, flat)]
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


def _params(node: Node, flat: Flat, claimed: set[str], step: Lowered) -> int:
    """Elements of the constants this step is the first to use as parameters."""
    total = 0
    slots: Iterable[int] = range(len(node.inputs))
    if step.slots is not None:
        slots = step.slots
    elif node.domain in STANDARD:
        slots = PARAMETERS.get(node.op, range(len(node.inputs)))
    for index in slots:
        name = node.inputs[index] if index < len(node.inputs) else ""
        value = flat.values[name] if name else None
        if value is None or not value.const or value.shape is None or value.origin in claimed:
            continue
        count = step.packed.get(index, prod(value.shape))
        # one number beside an elementwise operator is a literal, not a parameter; a bias may come dequantised from int32
        literal = count <= 1 and step.kind not in ("gemm", "conv", "norm", "grouped_gemm", "deform_conv", "recurrent")
        integer_bias = node.op == "QLinearConv" or (step.kind in ("gemm", "conv") and (value.stored or node.domain not in STANDARD))
        # numbers stored as integers that the network reads as floating ones are parameters of it
        if literal or (DTYPES.get(value.elem, "bool") in _NO_PARAMETER and not integer_bias):
            continue
        claimed.add(value.origin)
        total += count
    return total
