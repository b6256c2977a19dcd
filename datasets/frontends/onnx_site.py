"""What the rules that turn one ONNX node into one `Op` see and say: `Site` in, `Lowered` out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol

import numpy as np

from ..dtypes import BITS, dtype_pair
from ..errors import GraphError, UnsupportedOpError
from .onnx_node import Node, Value
from .onnx_order import clipped
from .recast import is_float

#: ONNX element type -> silicast dtype
DTYPES: dict[int, str] = {
    1: "float32", 2: "int8", 3: "int8", 4: "int16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64", 12: "int32",
    13: "int64", 16: "bfloat16", 17: "float8", 18: "float8", 19: "float8", 20: "float8", 21: "int4", 22: "int4", 23: "float4", 24: "float8", 25: "int2", 26: "int2",
}


class Tensors(Protocol):
    """What a rule may look up: the tensors by name, the opset, and what keeps a size unknown."""

    values: dict[str, Value]
    opset: int

    def blame(self, name: str) -> str:
        """Which operator's data the unknown shape of `name` goes back to, and what to do about it; "" when nothing is known."""


@dataclass(frozen=True)
class Lowered:
    """One op to be: its kind and sizes, which input's dtype it computes in (None: the output's), which input is its weight.

    Of several steps that one node takes, each reads the one before it and its own inputs `reads` (None: all of the node's);
    `makes` are outputs of the node made before the last step. `slots` are the inputs whose constants count as parameters
    (None: by the operator), `packed` the elements of a constant that is stored several to a byte, `stores` the weights' dtype
    when the file's element type does not tell it.
    """

    kind: str
    sizes: Mapping[str, int]
    compute: int | None = 0
    weight: int | None = None
    label: str = ""
    reads: tuple[int, ...] | None = None
    makes: tuple[int, ...] = ()
    slots: tuple[int, ...] | None = None
    packed: Mapping[int, int] = field(default_factory=dict)
    stores: str = ""


#: one op, or the steps a node takes one after the other
Lowering = Lowered | list[Lowered]


class Formats:
    """The dtype of every tensor in memory; `dtype` (a format or weight-only scheme) recasts the floating ones."""

    def __init__(self, flat: Tensors, dtype: str | None) -> None:
        self._flat = flat
        self._compute, self._weight = ("", "") if dtype is None else dtype_pair(dtype)
        self.override: dict[str, str] = {}

    def of(self, name: str, as_weight: bool = False) -> str:
        """The dtype tensor `name` is stored in. Raises UnsupportedOpError for text, complex numbers and the like."""
        if name in self.override:
            return self.override[name]
        value = self._flat.values[name]
        elem = value.stored or value.elem
        if elem not in DTYPES:
            raise UnsupportedOpError(f"tensor {name!r} has the ONNX element type {elem or 'unknown'}, which has no silicast dtype")
        stored = DTYPES[elem]
        if not self._compute or not is_float(stored):
            return stored
        return self._weight if as_weight and value.const else self._compute


class Site:
    """One node with its shapes at hand. Sizes are Python ints; a shape nobody could infer raises GraphError naming the tensor."""

    def __init__(self, node: Node, flat: Tensors, formats: Formats) -> None:
        self.node, self.flat, self.formats = node, flat, formats

    @property
    def reads(self) -> range:
        """Every input position."""
        return range(len(self.node.inputs))

    def attr(self, name: str, default: Any) -> Any:
        """An attribute of the node."""
        return self.node.attrs.get(name, default)

    def has(self, index: int) -> bool:
        """Whether input `index` is given."""
        return index < len(self.node.inputs) and bool(self.node.inputs[index])

    def is_const(self, index: int) -> bool:
        """Whether input `index` is a constant of the model."""
        return self.has(index) and self.flat.values[self.node.inputs[index]].const

    def data(self, index: int) -> np.ndarray | None:
        """The value of input `index`, None when it is absent or not known."""
        return self.flat.values[self.node.inputs[index]].data if self.has(index) else None

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = self.flat.values[name].shape if name else None
        if shape is None:
            told = ", ".join(self._told(n) for n in self.node.inputs[:6] if n)
            raise GraphError(f"{self.node.where}: the shape of {clipped(name) if name else 'an absent tensor'} cannot be inferred; "
                             f"{self.flat.blame(name) or 'it depends on data, or the inputs of the node do not fit'} ({told})")
        return shape

    def _told(self, name: str) -> str:
        shape = self.flat.values[name].shape
        return f"{clipped(name)}: {'unknown' if shape is None else 'x'.join(map(str, shape[:12])) or 'scalar'}"

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """The shape of input `index`."""
        if not self.has(index):
            raise GraphError(f"{self.node.where} lacks its input {index}")
        return self._shape(self.node.inputs[index])

    def size(self, index: int = 0) -> int:
        """Elements of input `index`."""
        return prod(self.shape(index))

    def elem(self, index: int) -> int:
        """The ONNX element type of input `index`, 0 when it is absent."""
        return self.flat.values[self.node.inputs[index]].elem if self.has(index) else 0

    def writes(self, index: int) -> bool:
        """Whether output `index` is asked for."""
        return index < len(self.node.outputs) and bool(self.node.outputs[index])

    def out_shape(self, index: int = 0) -> tuple[int, ...]:
        """The shape of output `index`."""
        return self._shape(self.node.outputs[index])

    def out_size(self) -> int:
        """Elements of the first output."""
        return prod(self.out_shape())

    def bits(self, index: int) -> int:
        """Bits of one stored element of input `index`."""
        return BITS[self.formats.of(self.node.reads[index])]


def fold_depth(sizes: tuple[int, ...] | list[int]) -> tuple[int, int]:
    """Spatial sizes of any rank as (h, w): 1-D has h = 1, deeper ones fold all but the last into h."""
    return prod(sizes[:-1]), (sizes[-1] if sizes else 1)
