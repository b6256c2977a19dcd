"""Control flow in an ONNX graph, made plain: branches chosen, loops unrolled.

An `If` on a constant takes its branch, one on data the dearer of the two. A `Loop` runs as often as its constants say, or
as the caller says (`--dim NODE.trips=VALUE`); a `Scan` once per slice, a `SequenceMap` once per item. `CONTROL` maps each
operator to a function that enters what it does into the walk, or returns False and leaves the reason in the node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ..errors import GraphError
from .onnx_budget import Budget
from .onnx_node import Node, Value

#: a Loop whose limit is above this has none: exporters write "as long as the condition holds" so
ENDLESS = 2**31
#: a Loop without a limit is followed for so many nodes
ENDLESS_NODES = 5000

Chain = tuple[dict[str, str], ...]


class Walk(Protocol):
    """What control flow needs of the walk through the graph (`onnx_graph.Flat`)."""

    values: dict[str, Value]
    nodes: list[Node]
    alias: dict[str, str]
    notes: list[str]
    used: set[str]
    budget: Budget

    @property
    def dims(self) -> Mapping[str, int]:
        """What the caller binds."""

    @property
    def price(self) -> Callable[[list[Node], Sequence[str]], tuple[float, ...]]:
        """What nodes cost."""

    def lives(self, name: str) -> str:
        """The tensor in memory behind a view."""

    def walk(self, graph: Any, path: str, scopes: Chain = (), given: Mapping[str, str] | None = None) -> dict[str, str]:
        """Enters a graph."""


def rename(flat: Walk, name: str, inner: str) -> None:
    """Output `name` is the tensor `inner`."""
    if name and name != inner:
        flat.values[name] = flat.values[inner]
        flat.alias[name] = flat.lives(inner)


def stack(flat: Walk, node: Node, name: str, pieces: list[str], new_axis: int | None = 0, at: int = 0) -> None:
    """Output `name` is the pieces one behind the other along axis `at`, which is new when `new_axis` is given: a copy."""
    if not name:
        return
    values = [flat.values[p] for p in pieces]
    shapes = [v.shape for v in values]
    if any(s is None for s in shapes) or not values:
        flat.values[name] = Value(None if values else (0,), values[0].elem if values else 1, not values, origin=name)
        if not values:
            return
    else:
        known: list[tuple[int, ...]] = [s for s in shapes if s is not None]
        if new_axis is not None:
            axis = new_axis % (len(known[0]) + 1)
            if len(set(known)) > 1:
                raise GraphError(f"{node.where}: output {name!r} stacks tensors of different shapes: {known[0]} and {next(s for s in known if s != known[0])}")
            shape = (*known[0][:axis], len(known), *known[0][axis:])
        else:
            axis = at % len(known[0])
            shape = (*known[0][:axis], sum(s[axis] for s in known), *known[0][axis + 1:])
        data = [v.data for v in values]
        small = [d for d in data if d is not None]
        flat.values[name] = Value(shape, values[0].elem, all(v.const for v in values), origin=name)
        if len(small) == len(data) and int(np.prod(shape, dtype=object)) <= 4096:
            flat.values[name].data = np.stack(small, axis) if new_axis is not None else np.concatenate(small, axis)
        if flat.values[name].const:
            return
        if len(pieces) == 1:  # one piece under another shape
            flat.alias[name] = flat.lives(pieces[0])
            return
    made = Node(f"{node.name}/{name.rpartition(':')[2]}", "Concat", "", node.path, {}, list(pieces), [name])
    made.reads, made.writes = [flat.lives(p) for p in pieces], [name]
    flat.nodes.append(made)


def _number(flat: Walk, name: str) -> int | None:
    data = flat.values[name].data if name else None
    return int(data.reshape(())) if data is not None and data.size == 1 else None


def choose(flat: Walk, node: Node, chain: Chain) -> bool:
    """If: the branch a constant condition takes; on data both are walked and the dearer stays, which `notes` tells."""
    graphs = {key: node.attrs.get(key) for key in ("then_branch", "else_branch")}
    for key, graph in graphs.items():
        if graph is None or len(graph.output) != len(node.outputs):
            raise GraphError(f"{node.where} has no {key} with {len(node.outputs)} outputs")
    known = _number(flat, node.inputs[0])
    if known is not None:
        key = "then_branch" if known else "else_branch"
        made = _branch(flat, node, key, chain)
    else:
        start, told, tried = len(flat.nodes), len(flat.notes), {}
        for key in graphs:
            outputs = _branch(flat, node, key, chain)
            tried[key] = (flat.price(flat.nodes[start:], outputs), flat.nodes[start:], outputs, flat.notes[told:])
            del flat.nodes[start:], flat.notes[told:]
        key = max(tried, key=lambda k: tried[k][0])
        _, nodes, made, notes = tried[key]
        flat.nodes.extend(nodes)
        flat.notes.extend(notes)
        why = "as the shapes do not fit the other one" if min(t[0] for t in tried.values())[0] < 0 else "the dearer one"
        flat.notes.append(f"{node.where}: its condition depends on data; {key} is counted, {why}")
    for name, inner in zip(node.outputs, made, strict=True):
        rename(flat, name, inner)
    return True


def _branch(flat: Walk, node: Node, key: str, chain: Chain) -> list[str]:
    entered = flat.walk(node.attrs[key], f"{node.path}/{node.name}.{key}", chain)
    return [entered[item.name] for item in node.attrs[key].output]


def loop(flat: Walk, node: Node, chain: Chain) -> bool:
    """Loop: unrolled. How often: what the caller says, the constant limit, or until the condition folds to false."""
    body = node.attrs["body"]
    carried = list(node.inputs[2:])
    if len(body.input) != 2 + len(carried) or len(body.output) < 1 + len(carried) or len(node.outputs) > len(body.output) - 1:
        raise GraphError(f"{node.where}: its body has {len(body.input)} inputs and {len(body.output)} outputs; they do not fit the node")
    key = f"{node.name}.trips"
    told = flat.dims.get(key)
    if told is not None:
        flat.used.add(key)
        if told < 0:
            raise GraphError(f"--dim {key}={told}: expected a number of trips")
    limit = told if told is not None else _number(flat, node.inputs[0])
    if limit is not None and limit > ENDLESS and told is None:
        limit = None
    condition = node.inputs[1] if len(node.inputs) > 1 else ""
    if limit is not None:
        if not condition or _number(flat, condition) != 0:
            flat.budget.afford(node, body, limit, chain)
    else:
        endless = not node.inputs[0] or _number(flat, node.inputs[0]) is not None  # the condition alone ends it
        if not (endless and condition and _number(flat, condition) is not None):
            node.reason = f"{'nothing says how often it runs' if endless and not condition else 'how often it runs depends on data'}: give --dim {key}=VALUE"
            return False
    start, scans, trip, guessed = len(flat.nodes), [list[str]() for _ in body.output[1 + len(carried):]], 0, False
    while limit is None or trip < limit:
        going = _number(flat, condition) if condition and told is None else 1
        if going == 0:
            break
        if going is None and limit is None:
            del flat.nodes[start:]
            node.reason = f"how often it runs depends on data: give --dim {key}=VALUE"
            return False
        if limit is None and trip * (len(body.node) + 1) > ENDLESS_NODES:
            raise GraphError(f"{node.where}: its condition still holds after {trip} trips: give --dim {key}=VALUE")
        guessed |= going is None
        counter = f"{node.path}/{node.name}@{len(flat.values)}#{trip}"
        flat.values[counter] = Value((), 7, True, np.asarray(trip, dtype=np.int64), origin=counter)
        names = [item.name for item in body.input]
        given = {names[0]: counter, names[1]: condition or _true(flat), **dict(zip(names[2:], carried, strict=True))}
        entered = flat.walk(body, f"{node.path}/{node.name}.body", chain, given)
        made = [entered[item.name] for item in body.output]
        condition, carried = (made[0] if condition else ""), made[1: 1 + len(carried)]  # without a condition the body's is ignored
        for pieces, name in zip(scans, made[1 + len(carried):], strict=True):
            pieces.append(name)
        trip += 1
    if guessed:
        flat.notes.append(f"{node.where}: when it stops depends on data; all {trip} trips that its limit allows are counted")
    for name, inner in zip(node.outputs, carried, strict=False):
        rename(flat, name, inner)
    for name, pieces in zip(node.outputs[len(carried):], scans, strict=False):
        stack(flat, node, name, pieces)
    return True


def _true(flat: Walk) -> str:
    flat.values.setdefault("@true", Value((), 9, True, np.asarray(True), origin="@true"))
    return "@true"


def scan(flat: Walk, node: Node, chain: Chain) -> bool:
    """Scan: unrolled over the slices of its inputs; a slice is read where it lies, the outputs are stacked by a copy."""
    body, count = node.attrs["body"], node.attrs["num_scan_inputs"]
    batched = len(node.inputs) == len(body.input) + 1  # opset 8: sequence lengths first, a batch axis everywhere
    if batched:
        node.reason = "the Scan of opset 8 has a batch axis of its own; export with opset 9 or later"
        return False
    if len(node.inputs) != len(body.input) or not 0 < count <= len(node.inputs) or len(node.outputs) > len(body.output):
        raise GraphError(f"{node.where}: {len(node.inputs)} inputs of which {count} are scanned do not fit a body with {len(body.input)}")
    states = list(node.inputs[: len(node.inputs) - count])
    scanned = list(node.inputs[len(states):])
    axes = node.attrs.get("scan_input_axes", [0] * count)
    shapes = [flat.values[n].shape for n in scanned]
    if any(s is None for s in shapes):
        node.reason = "the shape of what it scans depends on data"
        return False
    lengths = {s[a] for s, a in zip(shapes, axes, strict=True) if s is not None}
    if len(lengths) != 1:
        raise GraphError(f"{node.where}: its scanned inputs have different lengths {sorted(lengths)}")
    trips = lengths.pop()
    flat.budget.afford(node, body, trips, chain)
    outs: list[list[str]] = [[] for _ in body.output[len(states):]]
    backwards = node.attrs.get("scan_input_directions", [0] * count)
    for trip in range(trips):
        pieces = [_slice(flat, n, a % len(s or ()), trips - 1 - trip if back else trip)
                  for n, a, s, back in zip(scanned, axes, shapes, backwards, strict=True)]
        entered = flat.walk(body, f"{node.path}/{node.name}.body", chain, dict(zip((i.name for i in body.input), [*states, *pieces], strict=True)))
        made = [entered[item.name] for item in body.output]
        states = made[: len(states)]
        for kept, name in zip(outs, made[len(states):], strict=True):
            kept.append(name)
    for name, inner in zip(node.outputs, states, strict=False):
        rename(flat, name, inner)
    out_axes = node.attrs.get("scan_output_axes", [0] * len(outs))
    for name, kept, axis in zip(node.outputs[len(states):], outs, out_axes, strict=False):
        stack(flat, node, name, kept, axis)
    return True


def _slice(flat: Walk, name: str, axis: int, index: int) -> str:
    whole = flat.values[name]
    shape = whole.shape or ()
    made = f"{name}[{index}]@{len(flat.values)}"
    flat.values[made] = Value((*shape[:axis], *shape[axis + 1:]), whole.elem, whole.const, None if whole.data is None else np.take(whole.data, index, axis),
                              whole.stored, whole.origin)
    flat.alias[made] = flat.lives(name)
    return made


def sequence_map(flat: Walk, node: Node, chain: Chain) -> bool:
    """SequenceMap: the body once per item of its sequences; single tensors are handed to each."""
    body = node.attrs["body"]
    items = [flat.values[n].items for n in node.inputs]
    if not items or items[0] is None:
        node.reason = "the length of its sequence depends on data"
        return False
    trips = len(items[0])
    flat.budget.afford(node, body, trips, chain)
    outs: list[list[str]] = [[] for _ in node.outputs]
    for trip in range(trips):
        given = {item.name: name if held is None else held[trip] for item, name, held in zip(body.input, node.inputs, items, strict=True)}
        entered = flat.walk(body, f"{node.path}/{node.name}.body", chain, given)
        for kept, item in zip(outs, body.output, strict=True):
            kept.append(entered[item.name])
    for name, kept in zip(node.outputs, outs, strict=True):
        if name:
            flat.values[name] = Value(None, 0, items=tuple(kept))
    return True


CONTROL: dict[str, Callable[[Any, Node, Chain], bool]] = {"If": choose, "Loop": loop, "Scan": scan, "SequenceMap": sequence_map}
