"""A kernel written down operator by operator, sizes by name: `Kernel` is to classical code what `Net` is to networks."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import GraphError
from ..ops import MAX_SIZE, Op, shown
from ..workload import Workload, WorkloadBuilder


class Kernel:
    """Adds operators of existing kinds to one workload; `dtype` is what they compute in unless an operator says otherwise."""

    def __init__(self, name: str, dtype: str) -> None:
        self.dtype = dtype
        self._builder = WorkloadBuilder(name, "classical")

    def input(self, name: str, elements: int, dtype: str = "") -> int:
        """A graph input; its tensor."""
        return self._builder.input(name, elements, dtype or self.dtype)

    def add(self, name: str, kind: str, inputs: Sequence[int], elements: int | None = None, dtype: str = "", weight_dtype: str = "", output_dtype: str = "",
            params: int = 0, **sizes: int) -> int:
        """One operator on tensors; its output tensor of `elements` (what the kind says unless given). Raises GraphError naming the operator."""
        op = Op.of(name, kind, dtype=dtype or self.dtype, weight_dtype=weight_dtype or dtype or self.dtype, output_dtype=output_dtype or dtype or self.dtype,
                   params=params, source="", sparsity="", **sizes)
        return self._builder.add(op, inputs, elements)

    def each(self, name: str, inputs: Sequence[int], count: int, cost: int = 1, extra: int = 0, dtype: str = "") -> int:
        """`cost` operations on each of `count` elements, reading `extra` more."""
        op = Op.of(name, "elementwise", dtype=dtype or self.dtype, elements=count, cost=cost, extra_elements=extra)
        return self._builder.add(op, inputs)

    def copy(self, name: str, inputs: Sequence[int], count: int) -> int:
        """`count` elements moved from one place to another."""
        return self._builder.add(Op.of(name, "move", dtype=self.dtype, elements=count), inputs)

    def build(self, *notes: str) -> Workload:
        """The workload."""
        self._builder.notes.extend(notes)
        return self._builder.build()


def positive(where: str, **sizes: int) -> None:
    """Raises GraphError naming the first size that is no whole number of at least 1."""
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MAX_SIZE:
            raise GraphError(f"{where}: {name}: expected a whole number of at least 1, got {shown(size)}")
