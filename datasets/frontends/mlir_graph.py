"""A module walked as it runs: calls inlined, counted loops unrolled, scalars folded, every operation that does work made an op.

`RULES` of the dialects (`mlir_hlo.py`, `mlir_linalg.py`, `mlir_loops.py`) say what work an operation is. What only renames elements or repeats them
(reshape, broadcast, constants that are one number, scalars) is no op: its readers read what is behind it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xdsl.dialects import builtin, func
from xdsl.ir import Block, Operation, SSAValue

from ..errors import GraphError, UnsupportedOpError
from ..ops import Op
from ..workload import Workload, WorkloadBuilder
from .mlir_text import name_of, said_of

#: operations met, calls within calls, elements of a tensor: beyond these a file means to hurt
MOST_STEPS, MOST_CALLS, MOST_ELEMENTS = 20_000, 48, 2**50
#: element type as MLIR prints it -> dtype; others by their width
DTYPES = {"f64": "float64", "f32": "float32", "tf32": "tfloat32", "bf16": "bfloat16", "f16": "float16", "index": "int64", "i1": "bool", "i2": "int2", "i4": "int4", "i8": "int8",
          "i16": "int16", "i32": "int32", "i64": "int64", "complex<f32>": "float64"}


@dataclass(frozen=True, slots=True)
class Held:
    """What a value holds: the tensor that carries it (-1: none, it costs nothing to read), its distinct elements, a known scalar, the constant it stands for."""

    tensor: int = -1
    elements: int = 0
    number: float | None = None
    constant: int = -1


Rule = Callable[["Walk", Operation, dict[str, Any], list[Held]], None]


class Walk:
    """One walk through a module. `rules` by operation name; `bound`: what no rule knows is bounded by its traffic. `trips`: of loops that do not say."""

    def __init__(self, name: str, module: builtin.ModuleOp, rules: Mapping[str, Rule], bound: bool, trips: int) -> None:
        self.builder = WorkloadBuilder(name, "mlir")
        self.rules, self.bound, self.trips = rules, bound, trips
        self.values: dict[SSAValue, Held] = {}
        self.functions = {f.sym_name.data: f for f in module.walk() if isinstance(f, func.FuncOp)}
        self.constants: list[int] = []
        self.path: list[str] = []
        self.steps = 0
        self.notes: dict[str, None] = {}
        self._numbers: dict[str, int] = {}
        self._shapes: dict[SSAValue, tuple[int, ...]] = {}  # of values met before: a loop meets them on every trip
        self._dtypes: dict[SSAValue, str] = {}

    def workload(self) -> Workload:
        """The workload of the public function, `main` if there is one. Raises GraphError when there is none or it does nothing."""
        bodies = {key: f for key, f in self.functions.items() if f.body.blocks}
        public = [key for key, f in bodies.items() if f.sym_visibility is None or f.sym_visibility.data == "public"]
        entry = "main" if "main" in bodies else public[0] if len(public) == 1 else ""
        if not entry:
            raise GraphError(f"expected one public function or one called main, got {', '.join(public) or 'none with a body'}")
        block = bodies[entry].body.block
        held = []
        for i, value in enumerate(block.args):
            elements = self.elements(value) if isinstance(value.type, builtin.ShapedType) else 0
            held.append(Held(self.builder.input(f"arg{i}", elements, self.dtype(value)), elements) if elements else Held())
        self.path.append(entry)
        self.run(block, held)
        self.builder.notes.extend(self.notes)
        return self.builder.build()

    # -- running ----------------------------------------------------------------------------------------------------------------------

    def run(self, block: Block, arguments: Sequence[Held]) -> list[Held]:
        """Runs a block on what its arguments hold; what its terminator hands out. Raises UnsupportedOpError naming an operation without a rule."""
        self.values.update(zip(block.args, arguments, strict=True))
        for op in block.ops:
            self.steps += 1
            if self.steps > MOST_STEPS:
                raise GraphError(f"{self.where(op)}: more than {MOST_STEPS} operations once calls are inlined and loops unrolled")
            name = name_of(op)
            missing = [value for value in op.operands if value not in self.values]
            if missing:
                raise GraphError(f"{self.where(op)}: reads a value of type {missing[0].type} that nothing has made before it; a cycle, or an operation that is not read")
            ins = [self.values[value] for value in op.operands]
            if name.endswith((".return", ".yield")):
                return ins
            rule = self.rules.get(name)
            if rule is None:
                self._unknown(op, ins)
            else:
                rule(self, op, said_of(op), ins)
        return []

    def call(self, name: str, ins: Sequence[Held]) -> list[Held]:
        """Runs a function in place of its call."""
        target = self.functions.get(name)
        if target is None or not target.body.blocks:
            raise UnsupportedOpError(f"{'/'.join(self.path)}: a call of {name!r}, which has no body here")
        if len(self.path) > MOST_CALLS:
            raise GraphError(f"{'/'.join(self.path[:4])}/...: calls nested more than {MOST_CALLS} deep")
        self.path.append(name)
        out = self.run(target.body.block, ins)
        self.path.pop()
        return out

    def _unknown(self, op: Operation, ins: list[Held]) -> None:
        if all(self.elements(v) <= 1 for v in op.results if isinstance(v.type, builtin.ShapedType)) and not op.regions and name_of(op).startswith(("arith.", "math.")):
            self.alias(op, Held())  # scalars and indices
            return
        if not self.bound:
            raise UnsupportedOpError(f"{self.where(op)}: is not counted; --unknown-ops bound bounds it by its traffic")
        read, written = sum(h.elements for h in ins), sum(self.elements(v) for v in op.results if isinstance(v.type, builtin.ShapedType))
        self.add(op, "bound", ins, input_elements=max(read, 1), output_elements=max(written, 1))

    # -- what things are --------------------------------------------------------------------------------------------------------------

    def where(self, op: Operation) -> str:
        """The place of an operation, for messages."""
        return f"{'/'.join(self.path)}: {name_of(op)}"

    def shape(self, value: SSAValue) -> tuple[int, ...]:
        """Sizes of a tensor, memref or vector; () of a scalar. Raises GraphError for sizes that are not known."""
        known = self._shapes.get(value)
        if known is None:
            known = self._shapes[value] = self._shape(value)
        return known

    def _shape(self, value: SSAValue) -> tuple[int, ...]:
        if not isinstance(value.type, builtin.ShapedType):
            return ()
        sizes = tuple(value.type.get_shape())
        if any(size < 0 for size in sizes):
            raise GraphError(f"{'/'.join(self.path) or 'a function'}: a value of type {value.type} has sizes that are not known; export with fixed sizes")
        if math.prod(sizes) > MOST_ELEMENTS:
            raise GraphError(f"{'/'.join(self.path) or 'a function'}: a tensor of {' x '.join(map(str, sizes))} elements; expected at most 2**50")
        return sizes

    def elements(self, value: SSAValue) -> int:
        """How many elements a value has."""
        return math.prod(self.shape(value))

    def dtype(self, value: SSAValue) -> str:
        """The dtype of a value's elements. Raises UnsupportedOpError for a type that is no number."""
        known = self._dtypes.get(value)
        if known is None:
            known = self._dtypes[value] = self._dtype(value)
        return known

    def _dtype(self, value: SSAValue) -> str:
        kind = value.type.get_element_type() if isinstance(value.type, builtin.ContainerType) else value.type
        text = str(kind).replace("ui", "i").replace("si", "i").lower()
        if text not in DTYPES and text.startswith("f8"):
            return "float8"
        if text not in DTYPES:
            raise UnsupportedOpError(f"{'/'.join(self.path) or 'a function'}: elements of type {kind}; expected one of {', '.join(DTYPES)}")
        return DTYPES[text]

    # -- adding -----------------------------------------------------------------------------------------------------------------------

    def add(self, op: Operation, kind: str, ins: Sequence[Held], result: SSAValue | None = None, name: str = "", **sizes: int) -> None:
        """Adds an op that reads `ins`; it holds the constants among them that no op holds yet. `result` (default: the first of the operation) and the other
        results hold what it makes."""
        out = result if result is not None else op.results[0] if op.results else None
        stem = "/".join([*self.path[1:], name or name_of(op).partition(".")[2] or name_of(op)])
        number = self._numbers.get(stem, 0)
        self._numbers[stem] = number + 1
        read = [h for h in ins if h.tensor >= 0]
        params = 0
        for h in ins:
            if h.constant >= 0:
                params += self.constants[h.constant]
                self.constants[h.constant] = 0
        choice = name_of(op).endswith("select")  # computed in what it picks, not in the mask
        first = next((v for v in (reversed(op.operands) if choice else op.operands) if isinstance(v.type, builtin.ShapedType)), None)
        typed = first if first is not None else out
        dtype = self.dtype(typed) if typed is not None else "float32"
        made = self.dtype(out) if out is not None else dtype
        shape: dict[str, Any] = dict(sizes)
        made_op = Op.of(f"{stem}{number}", kind, dtype=dtype, output_dtype=made, params=params, source=name_of(op), **shape)
        elements = self.elements(out) if out is not None else None
        held = Held(self.builder.add(made_op, [h.tensor for h in read], elements), elements or 0)
        if result is not None:
            self.values[result] = held
        for value in op.results:
            self.values[value] = held if value is out else replace(held, elements=self.elements(value) if isinstance(value.type, builtin.ShapedType) else 0)

    def elementwise(self, op: Operation, ins: Sequence[Held], cost: int, result: SSAValue | None = None) -> None:
        """An operation of `cost` on each element of its result; scalars are free."""
        out = result if result is not None else op.results[0]
        elements = self.elements(out)
        if elements <= 1 and not self.shape(out):
            self.alias(op, Held())
            return
        self.add(op, "elementwise", ins, result, elements=elements, cost=cost, extra_elements=max(sum({h.tensor: h.elements for h in ins if h.tensor >= 0}.values()) + sum(
            h.elements for h in ins if h.tensor < 0 and h.constant >= 0) - elements, 0))

    def move(self, op: Operation, ins: Sequence[Held], elements: int | None = None) -> None:
        """A copy of the result, or of so many elements."""
        count = self.elements(op.results[0]) if elements is None else elements
        if count:
            self.add(op, "move", ins, elements=count)

    def alias(self, op: Operation, held: Held) -> None:
        """All results hold what is there already."""
        for value in op.results:
            self.values[value] = held

    def weights(self, op: Operation, elements: int) -> None:
        """A constant with elements of its own: parameters of the op that first reads it."""
        self.constants.append(elements)
        self.alias(op, Held(-1, elements, None, len(self.constants) - 1))


def costs_inside(op: Operation, costs: Mapping[str, int]) -> tuple[int, list[str]]:
    """(operations on each element, their names) in the region of a reduction or a generic operation."""
    names = [name_of(inner) for inner in _inside(op) if not name_of(inner).endswith((".yield", ".return", ".constant", ".index"))]
    return sum(costs.get(name.partition(".")[2], 1) for name in names), names


def _inside(op: Operation) -> Iterator[Operation]:
    for region in op.regions:
        for block in region.blocks:
            yield from block.ops
