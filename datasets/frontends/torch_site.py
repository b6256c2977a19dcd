"""What the rules that turn one ATen call into ops see and say: `TorchSite` in, `Step`s out. Nothing here loads torch: calls are looked at, not run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from ..dtypes import BITS
from ..errors import GraphError, UnsupportedOpError

#: torch's name of an element type, where `dtype_name` does not know it
_DTYPES = {"uint8": "int8", "float8_e4m3fn": "float8", "float8_e5m2": "float8", "float8_e4m3fnuz": "float8", "float8_e5m2fnuz": "float8",
           "uint16": "int16", "uint32": "int32", "uint64": "int64", "qint8": "int8", "quint8": "int8", "float4_e2m1fn_x2": "float4"}


@dataclass(frozen=True)
class Step:
    """One op to be: its kind and sizes, and what its derivative needs.

    `weight`: which tensor operand is the second one of the kind (weights, keys, tables; None: there is none). `compute`: the operand whose dtype it
    computes in (None: the output's). `keeps`: what autograd keeps of this step for the backward pass: operand positions, -1 for the output. `stats`: further bytes
    it keeps (a mask, indices, mean and deviation). `back`: vector operations per element of the gradient, for kinds whose name does not tell. `reads`: the operands
    this step reads of a call that takes several steps (None: all of them); each step reads the one before it.
    """

    kind: str
    sizes: Mapping[str, int]
    weight: int | None = None
    compute: int | None = None
    keeps: tuple[int, ...] = ()
    stats: int = 0
    back: int = 1
    label: str = ""
    reads: tuple[int, ...] | None = None


class TorchSite:
    """One call of an ATen operator with its shapes at hand. Operands are its tensor arguments, flattened in order; sizes are Python ints.

    A size that depends on data raises GraphError that names it; the caller may bind it by that name.
    """

    def __init__(self, where: str, name: str, overload: str, args: tuple[Any, ...], options: Mapping[str, Any], operands: list[Any], outputs: list[Any],
                 sizes: Mapping[str, int]) -> None:
        self.where, self.name, self.overload = where, name, overload
        self.args, self.options, self.operands, self.outputs = args, options, operands, outputs
        self._bound = sizes

    def arg(self, at: int, name: str, default: Any = None) -> Any:
        """Argument number `at`, also by name; `default` where neither is given."""
        return self.args[at] if at < len(self.args) else self.options.get(name, default)

    def number(self, size: Any) -> int:
        """A size as a Python int. Raises GraphError for one that depends on data and was not bound."""
        if isinstance(size, int):
            return size
        text = str(size)
        for known, value in self._bound.items():
            if text == known:
                return value
        try:
            free = {str(s): self._bound[str(s)] for s in size.node.expr.free_symbols}
            return int(size.node.expr.subs({s: free[str(s)] for s in size.node.expr.free_symbols}))
        except (AttributeError, KeyError, TypeError):
            raise GraphError(f"{self.where}: the size {text} depends on data; bind it: dims={{{text!r}: N}}") from None

    def _shape(self, value: Any) -> tuple[int, ...]:
        return tuple(self.number(s) for s in value.shape)

    def shape(self, at: int = 0) -> tuple[int, ...]:
        """The shape of operand `at`."""
        if at >= len(self.operands):
            raise GraphError(f"{self.where}: lacks its tensor operand {at}")
        return self._shape(self.operands[at])

    def size(self, at: int = 0) -> int:
        """Elements of operand `at`."""
        return prod(self.shape(at))

    def out_shape(self, at: int = 0) -> tuple[int, ...]:
        """The shape of output `at`."""
        return self._shape(self.outputs[at])

    def out_size(self, at: int = 0) -> int:
        """Elements of output `at`."""
        return prod(self.out_shape(at))

    def dtype(self, at: int = 0) -> str:
        """The dtype of operand `at`; -1: of the first output."""
        return dtype_of(self.outputs[0] if at < 0 else self.operands[at], self.where)

    def bits(self, at: int = 0) -> int:
        """Bits of one stored element of operand `at`; -1: of the first output."""
        return BITS[self.dtype(at)]

    def is_tensor(self, at: int, name: str = "") -> bool:
        """Whether argument `at` (or `name`) is given and holds a tensor."""
        return hasattr(self.arg(at, name), "shape")


Rule = Callable[[TorchSite], "Step | list[Step]"]


def dtype_of(value: Any, where: str) -> str:
    """The silicast dtype of a torch tensor. Raises UnsupportedOpError for complex numbers and the like."""
    name = str(value.dtype).removeprefix("torch.")
    name = _DTYPES.get(name, name)
    if name not in BITS:
        raise UnsupportedOpError(f"{where}: a tensor of type {value.dtype} has no silicast dtype; expected one of {', '.join(BITS)}")
    return name


def fold(window: Any, rank: int) -> tuple[int, int]:
    """(h, w) of up to three spatial sizes: one is (1, w), three fold depth into h. A single number serves every axis."""
    sizes = [window] * rank if isinstance(window, int) else list(window) * (rank if len(window) == 1 else 1)
    return (prod(sizes[:-1]), sizes[-1])
