"""Sequences and optionals of tensors in an ONNX graph: which tensor is meant is found out on the way, so most cost nothing.

A sequence is a `Value` with `items`; its length and positions must not depend on data, except that a tensor taken from an
unknown place counts as the largest one.
"""

from __future__ import annotations

from math import prod

import numpy as np

from ..errors import GraphError
from .onnx_control import Walk, rename, stack
from .onnx_node import Node, Value

SEQUENCES = frozenset({"SequenceConstruct", "SequenceEmpty", "SequenceInsert", "SequenceErase", "SequenceAt", "SequenceLength", "ConcatFromSequence",
                       "SplitToSequence", "Optional", "OptionalGetElement", "OptionalHasElement"})

#: tensors of a sequence
_MOST_ITEMS = 20_000


def sequence(flat: Walk, node: Node) -> bool:
    """Enters what the operator makes; False when it is another operator, or (with the reason in the node) what is meant depends on data."""
    op, out = node.op, node.outputs[0] if node.outputs else ""
    given = [flat.values[n] if n else None for n in node.inputs]
    first = given[0] if given else None
    if op == "Identity" and first is not None:
        rename(flat, out, node.inputs[0])
    elif op == "SequenceEmpty":
        flat.values[out] = Value(None, 0, True, items=())
    elif op == "SequenceConstruct":
        flat.values[out] = Value(None, 0, items=tuple(node.inputs))
    elif op == "Optional":
        if first is None:
            flat.values[out] = Value(None, 0, True, absent=True)
        else:
            rename(flat, out, node.inputs[0])
    elif op == "OptionalHasElement":
        flat.values[out] = Value((), 9, True, np.asarray(first is not None and not first.absent), origin=out)
    elif op == "OptionalGetElement" and first is not None:
        if first.absent:
            raise GraphError(f"{node.where} takes the element of an optional that holds none")
        rename(flat, out, node.inputs[0])
    elif op == "SplitToSequence":
        return _split(flat, node)
    elif first is None or first.items is None:
        node.reason = "the length of its sequence depends on data"
        return False
    else:
        return _of_items(flat, node, list(first.items))
    return True


def _of_items(flat: Walk, node: Node, items: list[str]) -> bool:
    op, out = node.op, node.outputs[0]
    if op == "SequenceLength":
        flat.values[out] = Value((), 7, True, np.asarray(len(items), dtype=np.int64), origin=out)
    elif op == "SequenceInsert":
        place = _place(flat, node, 2, len(items), default=len(items))
        items.insert(len(items) if place is None else place, node.inputs[1])
        flat.values[out] = Value(None, 0, items=tuple(items))
    elif op in ("SequenceErase", "SequenceAt"):
        place = _place(flat, node, 1, len(items), default=len(items) - 1)
        if not items or (place is not None and not 0 <= place < len(items)):
            raise GraphError(f"{node.where}: position {place} in a sequence of {len(items)}")
        if place is None:
            sizes = [prod(flat.values[i].shape or (1,)) for i in items]
            place = sizes.index(max(sizes) if op == "SequenceAt" else min(sizes))
            flat.notes.append(f"{node.where}: which item is meant depends on data; the {'largest' if op == 'SequenceAt' else 'smallest'} is assumed")
        if op == "SequenceAt":
            rename(flat, out, items[place])
        else:
            flat.values[out] = Value(None, 0, items=tuple(i for n, i in enumerate(items) if n != place))
    elif op == "ConcatFromSequence":
        axis = int(node.attrs.get("axis", 0))
        if not items:
            raise GraphError(f"{node.where}: nothing to concatenate: its sequence is empty")
        stack(flat, node, out, items, axis if node.attrs.get("new_axis", 0) else None, axis)
    else:
        node.reason = "the operator takes no sequence"
        return False
    return True


def _place(flat: Walk, node: Node, index: int, length: int, default: int) -> int | None:
    """A position given as input `index`; None when it depends on data."""
    if index >= len(node.inputs) or not node.inputs[index]:
        return default
    data = flat.values[node.inputs[index]].data
    if data is None:
        return None
    at = int(data.reshape(()))
    return at + length if at < 0 else at


def _split(flat: Walk, node: Node) -> bool:
    value, out = flat.values[node.inputs[0]], node.outputs[0]
    if value.shape is None:
        node.reason = "the shape of what it splits depends on data"
        return False
    axis = int(node.attrs.get("axis", 0)) % len(value.shape)
    size, keep = value.shape[axis], bool(node.attrs.get("keepdims", 1))
    split = flat.values[node.inputs[1]] if len(node.inputs) > 1 and node.inputs[1] else None
    single = 1 if split is None else max(1, int(split.data)) if split.data is not None and split.data.ndim == 0 else size  # items of this size, but for the last
    if -(-size // max(single, 1)) > _MOST_ITEMS:
        raise GraphError(f"{node.where}: a sequence of {-(-size // single)} tensors; at most {_MOST_ITEMS} are read")
    if split is None:
        parts = [1] * size
    elif split.data is None:
        node.reason = f"into how many parts it splits depends on data: give --dim {node.inputs[1]}=VALUE"
        return False
    elif split.data.size == 1 and split.data.ndim == 0:
        part = max(1, int(split.data))
        parts = [min(part, size - at) for at in range(0, size, part)]
    else:
        parts = [int(p) for p in split.data.reshape(-1)]
    if len(parts) > _MOST_ITEMS:
        raise GraphError(f"{node.where}: a sequence of {len(parts)} tensors; at most {_MOST_ITEMS} are read")
    names = [f"{out}[{i}]" for i in range(len(parts))]
    for name, part in zip(names, parts, strict=True):
        shape = (*value.shape[:axis], part, *value.shape[axis + 1:]) if keep or split is not None else (*value.shape[:axis], *value.shape[axis + 1:])
        flat.values[name] = Value(shape, value.elem, value.const, origin=name)
    flat.values[out] = Value(None, 0, items=tuple(names))
    if not value.const:
        made = Node(node.name, "Split", "", node.path, {}, list(node.inputs[:1]), names)
        made.reads, made.writes = [flat.lives(node.inputs[0])], list(names)
        flat.nodes.append(made)
    return True
