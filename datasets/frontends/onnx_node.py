"""A node and a tensor of an ONNX graph, as the reader sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .onnx_order import clipped

#: names of the domain of standard operators
STANDARD = ("", "ai.onnx")


class Value:
    """One tensor: `shape` None when nothing could infer it; `stored` is the element type in memory when it differs from
    `elem` (a quantised weight read through DequantizeLinear); `origin` names the constant whose numbers it holds. A sequence
    has `items`, the names of its tensors; an optional that holds nothing is `absent`. `data` may be given as a function,
    which is asked when somebody looks: most biases and scales are never looked at."""

    __slots__ = ("_data", "absent", "const", "elem", "items", "origin", "shape", "stored")

    def __init__(self, shape: tuple[int, ...] | None, elem: int, const: bool = False, data: np.ndarray | Callable[[], np.ndarray | None] | None = None, stored: int = 0,
                 origin: str = "", items: tuple[str, ...] | None = None, absent: bool = False) -> None:
        self.shape, self.elem, self.const, self.stored, self.origin, self.items, self.absent = shape, elem, const, stored, origin, items, absent
        self._data = data

    @property
    def data(self) -> np.ndarray | None:
        """The numbers, None when they are not known."""
        if callable(self._data):
            self._data = self._data()
        return self._data

    @data.setter
    def data(self, numbers: np.ndarray | None) -> None:
        """Gives the tensor its numbers."""
        self._data = numbers


@dataclass(slots=True)
class Node:
    """A node that stays. `inputs`/`outputs` name values (for shapes; "" is absent); `reads`/`writes` name where they live;
    `reason` says why it could not be resolved on the way."""

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
    reason: str = ""

    @property
    def where(self) -> str:
        """The node in words, for messages."""
        domain = f" of domain {clipped(self.domain)}" if self.domain not in STANDARD else ""
        return f"node {clipped(self.name)} ({self.op[:60]}{domain}, in {self.path[-300:]})"


def origin(node: Node, index: int) -> str:
    """What a constant output is known by when parameters are counted: the same in every trip of a loop."""
    return node.outputs[index] if node.outputs[index] == node.proto.output[index] else f"{id(node.proto)}.{index}"


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
