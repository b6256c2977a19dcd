"""Upper bounds of output sizes that depend on data: what `NonZero`, `Unique` and the like make at most."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from ..errors import GraphError
from .onnx_node import STANDARD, Node
from .onnx_site import Formats, Site, Tensors

Most = Callable[[Site], list[tuple[int, ...]]]


def _nonzero(s: Site) -> list[tuple[int, ...]]:
    return [(max(1, len(s.shape())), s.size())]


def _compress(s: Site) -> list[tuple[int, ...]]:
    shape, axis = s.shape(), s.attr("axis", None)
    if axis is None:
        return [(min(prod(shape), s.size(1)),)]
    axis %= len(shape)
    return [(*shape[:axis], min(shape[axis], s.size(1)), *shape[axis + 1:])]


def _unique(s: Site) -> list[tuple[int, ...]]:
    shape, axis = s.shape(), s.attr("axis", None)
    count = prod(shape) if axis is None else shape[axis]
    return [(count,) if axis is None else shape, (count,), (count,), (count,)]


def boxes_kept(s: Site) -> int:
    """Boxes that non-maximum suppression keeps of one class of one image, at most."""
    most = s.data(2)
    return min(s.shape(0)[1], int(most.reshape(())) if most is not None and most.size == 1 else s.shape(0)[1])


def _boxes(s: Site) -> list[tuple[int, ...]]:
    batch, classes = s.shape(1)[:2]
    return [(batch * classes * boxes_kept(s), 3)]


def _like_input(s: Site) -> list[tuple[int, ...]]:
    return [s.shape()] * max(1, len(s.node.outputs))


#: operator -> the greatest shape of each output
MOST: dict[str, Most] = {"NonZero": _nonzero, "Compress": _compress, "Unique": _unique, "NonMaxSuppression": _boxes,
                         **dict.fromkeys(("Slice", "Split", "TopK"), _like_input)}


def upper_bound(node: Node, index: int, tensors: Tensors) -> tuple[int, ...] | None:
    """The greatest shape that output `index` can have; None when the inputs do not bound it."""
    rule = MOST.get(node.op) if node.domain in STANDARD else None
    if rule is None:
        return None
    try:
        shapes = rule(Site(node, tensors, Formats(tensors, None)))
    except (GraphError, ValueError, IndexError):
        return None
    return shapes[index] if index < len(shapes) else None
