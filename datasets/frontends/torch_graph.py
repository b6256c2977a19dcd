"""A torch module as a `Workload`: exported to its ATen graph, then every call lowered to canonical ops.

    sc.read(module, (torch.zeros(8, 3, 224, 224),))
    with torch.device("meta"): module = Llama(...)      # no memory is needed: shapes are enough

`torch.export` runs the module's Python once on shapes; weights and data are never touched. Inference is exported in evaluation mode (the module's modes are put
back). A view costs nothing; one that had to be copied is a `move`. Parameters are those of the module, each counted once however often it is used, at the op that
first reads it; buffers are inputs of the graph. Names are module paths and the operator: `encoder.layers.0.linear1/linear`.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from ..errors import GraphError, UnsupportedOpError
from ..ops import Op, kind_of
from ..workload import Workload
from .torch_export import SILENT, VIEWS, export
from .torch_ops import RULES
from .torch_site import Step, TorchSite
from .torch_traced import Memory, Ran, Recorder, Traced
from .torch_training import check_optimizer, train

_DROPOUTS = ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")


def read_torch(module: Any, example_inputs: Any, *, dims: Mapping[str, int] | None = None, unknown_ops: str = "error", dtype: str | None = None,
               training: str = "", name: str = "") -> Workload:
    """The workload of a torch module on inputs shaped like `example_inputs` (a tensor, a tuple of them, or a mapping of keywords).

    `dims` gives sizes that depend on data their value, by torch's name for them (`u0`; the message tells). `training`: "" for inference, "sgd", "momentum" or "adam"
    for a step of training: forward, backward, update. Raises FormatError when torch cannot export the module, UnsupportedOpError naming an operator with its module
    path, GraphError for an unbound size.
    """
    check_optimizer(training)
    program = export(module, example_inputs, bool(training), name or type(module).__name__)
    traced, notes = _trace(program, module, name or type(module).__name__, dims or {}, unknown_ops, bool(training))
    if training:
        notes += train(traced, training)
    traced.builder.notes.extend(notes)
    workload = traced.builder.build()
    if dtype is None:
        return workload
    from .recast import recast

    return recast(workload, dtype)


def _trace(program: Any, module: Any, name: str, dims: Mapping[str, int], unknown_ops: str, training: bool) -> tuple[Traced, list[str]]:
    traced = Traced(Recorder(name, "torch"))
    signature = program.graph_signature
    parameters = dict(signature.inputs_to_parameters)
    same: dict[int, str] = {}
    for path, parameter in module.named_parameters(remove_duplicate=False):
        traced.aliases[path] = same.setdefault(id(parameter), path)
    wants = {path: p.requires_grad for path, p in module.named_parameters(remove_duplicate=False)}
    shared: dict[str, Memory] = {}
    for node in program.graph.nodes:
        if node.op != "placeholder":
            continue
        value = node.meta.get("val")
        if not hasattr(value, "shape"):
            continue
        site = TorchSite(f"input {node.name}", "input", "", (), {}, [value], [value], dims)
        elements, kind = site.size(), site.dtype()
        if node.name in parameters:
            path = traced.aliases.get(str(parameters[node.name]), str(parameters[node.name]))
            memory = shared.setdefault(path, Memory(-1, elements, kind, path, training and wants.get(path, True)))
        else:
            tensor = traced.builder.input(node.name, elements, kind) if node.users else -1
            memory = Memory(tensor, elements, kind, "", False)
        traced.memories[program.graph, node.name, 0] = memory
    _walk(traced, program.graph, program.graph_module, dims, unknown_ops, training)
    notes = []
    idle = [p for p in shared if p not in traced.claimed]
    if idle:
        notes.append(f"parameters that no counted operator reads: {', '.join(sorted(idle)[:6])} ({sum(shared[p].elements for p in idle):,} elements); they are not counted")
    bounded = [r.op.name for r in traced.ran if r.op.kind == "bound"]
    if bounded:
        notes.append(f"unknown operators, bounded by their traffic: {', '.join(bounded[:12])}")
    if not traced.ran:
        raise GraphError(f"{name}: the module computes nothing that can be counted")
    return traced, notes


def _walk(traced: Traced, graph: Any, holder: Any, dims: Mapping[str, int], unknown_ops: str, training: bool) -> None:
    """Every call of a graph in the order they run."""
    for node in graph.nodes:
        if node.op == "output":
            traced.outputs = [m for part in _nodes(node.args) if (m := traced.memories.get((graph, part.name, 0))) is not None]
        elif node.op == "get_attr":
            value = node.meta.get("val", None)
            if hasattr(value, "shape"):
                site = TorchSite(f"constant {node.name}", "constant", "", (), {}, [value], [value], dims)
                tensor = traced.builder.input(node.name, site.size(), site.dtype())
                traced.memories[graph, node.name, 0] = Memory(tensor, site.size(), site.dtype(), "", False)
        elif node.op == "call_function":
            _call(traced, graph, holder, node, dims, unknown_ops, training)


def _call(traced: Traced, graph: Any, holder: Any, node: Any, dims: Mapping[str, int], unknown_ops: str, training: bool) -> None:
    if node.target is operator.getitem:
        source, part = node.args
        found = traced.memories.get((graph, source.name, part)) or traced.memories.get((graph, source.name, 0))
        if found is not None:
            traced.memories[graph, node.name, 0] = found
        return
    where = f"{path_of(node)}/{node.name}".lstrip("/")
    if not hasattr(node.target, "_schema"):
        if hasattr(node.target, "namespace") or "higher_order" in str(type(node.target)):
            _nested(traced, graph, holder, node, where, dims, unknown_ops, training)
        return  # arithmetic on sizes, a Python function of the tracer
    plain = node.target._schema.name.split("::")[-1]
    bare = plain.rstrip("_") or plain
    if bare in SILENT or plain in SILENT:
        return
    operands = [n for n in _nodes((node.args, node.kwargs)) if (graph, n.name, 0) in traced.memories]
    outputs = _outputs(node)
    memories = [traced.memories[graph, n.name, 0] for n in operands]
    if not outputs:
        return
    if plain in ("dropout_", "feature_dropout_", "alpha_dropout_") and not _drops(node):
        traced.memories[graph, node.name, 0] = memories[0]
        return
    own = node.target._schema.is_mutable and plain.endswith("_") and bool(memories)
    if not own and memories and (bare in VIEWS or _shares(outputs[0], operands[0])):
        for part in range(len(outputs)):
            # cut off from the gradients, the same memory all the same
            traced.memories[graph, node.name, part] = replace(memories[0], grad=False) if bare == "detach" else memories[0]
        return
    if bare in VIEWS and not memories:
        return
    if bare in _DROPOUTS and not own and not _drops(node):
        traced.memories[graph, node.name, 0] = memories[0]
        return
    site = TorchSite(where, bare, node.target._schema.overload_name, tuple(_values(node.args)), _values(node.kwargs), [n.meta["val"] for n in operands], outputs, dims)
    rule = RULES.get(bare)
    if rule is None or node.target.namespace not in ("aten", "torchvision"):
        if unknown_ops != "bound":
            raise UnsupportedOpError(f"{where}: the operator {node.target} has no rule; unknown_ops='bound' lets it through, bounded by its traffic")
        made = sum(site.out_size(i) for i in range(len(outputs)))
        steps = [Step("bound", {"input_elements": max(1, sum(site.size(i) for i in range(len(operands)))), "output_elements": max(1, made)}, None, None, tuple(range(len(operands))))]
    else:
        if any(prod(site.out_shape(i)) == 0 for i in range(len(outputs))):
            raise GraphError(f"{where}: {node.target} makes an empty tensor of shape {site.out_shape()}; expected sizes of at least 1 (is an example input empty?)")
        told = rule(site)
        steps = told if isinstance(told, list) else [told]
    _add(traced, graph, node, site, steps, memories, own, training)


def _add(traced: Traced, graph: Any, node: Any, site: TorchSite, steps: list[Step], memories: list[Memory], own: bool, training: bool) -> None:
    source = str(node.target)
    before: Memory | None = None
    for i, step in enumerate(steps):
        last = i == len(steps) - 1
        picked = list(range(len(memories))) if step.reads is None else [r for r in step.reads if r < len(memories)]
        reads = [(memories[r], memories[r].tensor, site.size(r)) for r in picked]
        place = picked.index(step.weight) if step.weight in picked else None
        if before is not None:
            reads = [(before, before.tensor, before.elements), *reads]
            place = None if place is None else place + 1
        fresh = [m for m, _, _ in reads if m.parameter and m.parameter not in traced.claimed]
        params = sum(m.elements for m in {m.parameter: m for m in fresh}.values())
        traced.claimed |= {m.parameter for m in fresh}
        out_type = site.dtype(-1) if last else (before.dtype if before else site.dtype(0))
        compute = out_type if step.compute is None or step.compute < 0 else site.dtype(step.compute)
        if kind_of(step.kind).matrix and last and "float" in out_type:
            compute = out_type  # under autocast operands of another format are cast on their way in
        weight_type = reads[place][0].dtype if place is not None else compute
        label = _label(traced, path_of(node), f"{site.name}/{step.label}" if step.label and len(steps) > 1 else site.name)
        sizes: dict[str, Any] = dict(step.sizes)
        op = Op.of(label, step.kind, dtype=compute, weight_dtype=weight_type, output_dtype=out_type, params=params, source=source, **sizes)
        elements = sum(site.out_size(k) for k in range(len(site.outputs))) if last else int(op.counts["output_elements"])
        target = memories[0] if own and last else None
        if target is not None:
            elements = target.elements
        tensor = traced.builder.add(op, [t for _, t, _ in reads if t >= 0], elements)
        grad = training and any(m.grad for m, _, _ in reads) and "float" in out_type
        if target is not None and not target.parameter:
            target.tensor, target.grad, made = tensor, target.grad or grad, target
        else:
            made = Memory(tensor, elements, out_type, "", grad)
        shift = 0 if before is None else 1
        at = {k: picked.index(k) + shift for k in step.keeps if k in picked}
        kept = tuple((-1, tensor) if k < 0 else (at[k], reads[at[k]][1]) for k in step.keeps if k < 0 or k in at)
        stats = traced.builder.also(f"{label}/kept", step.stats) if grad and step.stats else -1
        traced.ran.append(Ran(op, step, tuple(reads), place, (made,), tensor, kept, stats, grad))
        before = made
    assert before is not None
    for part in range(max(1, len(site.outputs))):
        traced.memories[graph, node.name, part] = before


def _nested(traced: Traced, graph: Any, holder: Any, node: Any, where: str, dims: Mapping[str, int], unknown_ops: str, training: bool) -> None:
    """A graph inside the graph: a region under another mode is walked; a branch, a loop or a kernel of the user's is not counted as if it were nothing."""
    name = str(getattr(node.target, "__name__", node.target))
    inner = next((a for a in node.args if getattr(a, "op", "") == "get_attr"), None)
    if name.startswith("wrap") and inner is not None:
        body = getattr(holder, inner.target)
        given = [a for a in node.args[node.args.index(inner) + 1:] if hasattr(a, "name")]
        places = [n for n in body.graph.nodes if n.op == "placeholder"]
        for place, value in zip(places, given, strict=True):
            if (graph, value.name, 0) in traced.memories:
                traced.memories[body.graph, place.name, 0] = traced.memories[graph, value.name, 0]
        graded = not ("grad" in name and node.args[0] is False)
        _walk(traced, body.graph, body, dims, unknown_ops, training and graded)
        for part, memory in enumerate(traced.outputs):
            traced.memories[graph, node.name, part] = memory
        return
    raise UnsupportedOpError(f"{where}: {name} runs Python or a graph that depends on data and cannot be counted; export the branch or the unrolled loop that is meant")


def _drops(node: Any) -> bool:
    """Whether a dropout drops anything: in evaluation, or with probability 0, it is the identity."""
    given = {"p": 0.5, "train": True, **dict(zip(("input", "p", "train"), node.args, strict=False)), **node.kwargs}
    return bool(given["train"]) and bool(given["p"])


def path_of(node: Any) -> str:
    """The path of the module a call stands in, as `named_modules` writes it."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def _label(traced: Traced, path: str, name: str) -> str:
    label = f"{path}/{name}" if path else name
    seen = traced.names[label] = traced.names.get(label, 0) + 1
    return label if seen == 1 else f"{label}_{seen}"


def _nodes(value: Any) -> list[Any]:
    """The nodes in nested arguments, in order."""
    if hasattr(value, "op") and hasattr(value, "meta"):
        return [value]
    if isinstance(value, Mapping):
        return [n for part in value.values() for n in _nodes(part)]
    return [n for part in value for n in _nodes(part)] if isinstance(value, (tuple, list)) else []


def _values(value: Any) -> Any:
    """Arguments with every node replaced by the value it stands for."""
    if hasattr(value, "op") and hasattr(value, "meta"):
        return value.meta.get("val")
    if isinstance(value, Mapping):
        return {k: _values(v) for k, v in value.items()}
    return [_values(v) for v in value] if isinstance(value, (tuple, list)) else value


def _outputs(node: Any) -> list[Any]:
    value = node.meta.get("val")
    parts: Sequence[Any] = value if isinstance(value, (tuple, list)) else (value,)
    return [v for v in parts if hasattr(v, "shape")]


def _shares(value: Any, operand: Any) -> bool:
    """Whether a result lies in its first operand's memory."""
    try:
        return bool(value.untyped_storage()._cdata == operand.meta["val"].untyped_storage()._cdata)
    except (AttributeError, KeyError, NotImplementedError, RuntimeError):
        return False
