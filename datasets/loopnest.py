"""A loop nest: what a CPU core is asked to run, before any core is named.

    nest = LoopNest("dot", (Loop("i", 1000),), (Statement(1, (Access("a", (8,)), Access("b", (8,))), fma=1, carried="fma"),))

Perfect nest of counted loops, outermost first; statements stand at a depth (under that many loops). An access walks its array by so many
bytes per step of each enclosing loop (affine). Arithmetic is counted per execution and scalar; whether it runs in vectors is the core's and the compiler's
affair (`vectorizable`). Values that do not move with the innermost loops are held in registers, as compilers hold them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from .errors import GraphError

#: arithmetic a statement counts, in the order of `LoopNest` columns: integer, floating add, multiply, fused multiply-add, divide (or square root)
CLASSES = ("int", "add", "mul", "fma", "div")
#: most loops of a nest: a tiled convolution has 10
MAX_LOOPS = 12
MAX_TRIPS = 2**40


@dataclass(frozen=True, slots=True)
class Loop:
    """A counted loop: its name and how often it turns each time it is entered."""

    name: str
    trips: int


@dataclass(frozen=True, slots=True)
class Access:
    """One load or store of a statement, executed with it.

    `strides`: bytes that the address moves per step of each enclosing loop, outermost first. `shifts`: constant offsets in steps of each loop (a stencil's
    neighbours; empty: none): accesses of one array with equal strides and different shifts re-use each other's lines ("uniformly generated",
    Wolf and Lam, PLDI 1991). `bytes_each`: size of the element.
    """

    array: str
    strides: tuple[int, ...]
    write: bool = False
    bytes_each: int = 8
    shifts: tuple[int, ...] = ()

    @property
    def moves_at(self) -> int:
        """Number of enclosing loops down to the last one that moves it: it is executed once per step of that loop, and held in a register inside."""
        return max((i + 1 for i, s in enumerate(self.strides) if s), default=0)


@dataclass(frozen=True, slots=True)
class Statement:
    """What one execution does, under the first `depth` loops.

    `int_ops`, `add`, `mul`, `fma`, `div`: arithmetic, counted scalar. `path`: the arithmetic on its longest chain, by class (empty: all of it in series, as C's
    rules of evaluation leave it). `carried`: class of the operation by which one turn of the innermost loop waits for the last
    (a reduction), "" for none; `reassociable` lets the compiler split that chain (-ffast-math). `branches`: data-dependent branches, each
    taken with probability `taken`, independently (no predictor misses fewer than min(p, 1 - p) of those).
    """

    depth: int
    accesses: tuple[Access, ...]
    int_ops: int = 0
    add: int = 0
    mul: int = 0
    fma: int = 0
    div: int = 0
    carried: str = ""
    reassociable: bool = False
    branches: int = 0
    taken: float = 0.5
    path: tuple[tuple[str, int], ...] = ()

    @property
    def ops(self) -> tuple[int, ...]:
        """Arithmetic in the order of `CLASSES`."""
        return (self.int_ops, self.add, self.mul, self.fma, self.div)


@dataclass(frozen=True)
class LoopNest:
    """Loops, outermost first, and the statements in them; valid at birth. Raises GraphError naming what is wrong.

    `vectorize`: whether the compiler may (-O3); what stands in the way otherwise is in `vectorizable`.
    """

    name: str
    loops: tuple[Loop, ...]
    statements: tuple[Statement, ...]
    vectorize: bool = True
    family: str = "other"

    def __post_init__(self) -> None:
        def fault(what: str) -> GraphError:
            return GraphError(f"loop nest {self.name!r}: {what}")

        if not 1 <= len(self.loops) <= MAX_LOOPS:
            raise fault(f"expected 1 to {MAX_LOOPS} loops, got {len(self.loops)}")
        for loop in self.loops:
            if not isinstance(loop.trips, int) or isinstance(loop.trips, bool) or not 1 <= loop.trips <= MAX_TRIPS:
                raise fault(f"loop {loop.name!r}: trips must be an integer from 1 to 2**40, got {loop.trips!r}")
        if not self.statements or max(s.depth for s in self.statements) != len(self.loops):
            raise fault("expected a statement under the innermost loop")
        for at, s in enumerate(self.statements):
            where = f"statement {at}"
            if not 0 <= s.depth <= len(self.loops):
                raise fault(f"{where}: depth must be 0 to {len(self.loops)}, got {s.depth}")
            if any(n < 0 for n in (*s.ops, s.branches)) or not 0.0 <= s.taken <= 1.0:
                raise fault(f"{where}: counts must not be negative and taken must be 0 to 1, got {s.ops}, {s.branches} branches, taken {s.taken}")
            if s.carried and (s.carried not in CLASSES or not s.ops[CLASSES.index(s.carried)]):
                raise fault(f"{where}: carried {s.carried!r} must be one of its own operations ({', '.join(CLASSES)})")
            for name, count in s.path:
                if name not in CLASSES or not 0 <= count <= s.ops[CLASSES.index(name)]:
                    raise fault(f"{where}: path: {count} x {name!r} is not among its operations")
            for a in s.accesses:
                if len(a.strides) != s.depth or (a.shifts and len(a.shifts) != s.depth):
                    raise fault(f"{where}: access to {a.array!r}: expected {s.depth} strides (and shifts), one per enclosing loop, got {len(a.strides)}")
                if a.bytes_each not in (1, 2, 4, 8, 16):
                    raise fault(f"{where}: access to {a.array!r}: bytes_each must be 1, 2, 4, 8 or 16, got {a.bytes_each!r}")

    @cached_property
    def iterations(self) -> int:
        """Turns of the innermost loop in all."""
        total = 1
        for loop in self.loops:
            total *= loop.trips
        return total

    @property
    def inner(self) -> tuple[Statement, ...]:
        """The statements under the innermost loop."""
        return tuple(s for s in self.statements if s.depth == len(self.loops))

    @property
    def vectorizable(self) -> bool:
        """Whether a compiler turns the innermost loop into vectors: every access there contiguous or still, no data-dependent branch, no chain that it must keep."""
        return self.vectorize and all(
            not s.branches and (not s.carried or s.reassociable)
            and all(a.strides[-1] == 0 or abs(a.strides[-1]) == a.bytes_each for a in s.accesses) for s in self.inner)

    @property
    def flops(self) -> int:
        """Floating-point operations, 2 per multiply-add."""
        total = 0
        for s in self.statements:
            times = 1
            for loop in self.loops[:s.depth]:
                times *= loop.trips
            total += times * (s.add + s.mul + 2 * s.fma + s.div)
        return total

    @cached_property
    def digest(self) -> str:
        """16 hex digits over everything but the name."""
        return hashlib.sha256(repr(([loop.trips for loop in self.loops], self.statements, self.vectorize)).encode()).hexdigest()[:16]

    def repeated(self, times: int) -> LoopNest:
        """The nest inside a loop that only repeats it: caches are warm from the second time on."""
        def outer(a: Access) -> Access:
            return Access(a.array, (0, *a.strides), a.write, a.bytes_each, (0, *a.shifts) if a.shifts else ())

        statements = tuple(_with(s, s.depth + 1, (outer(a) for a in s.accesses)) for s in self.statements)
        return LoopNest(self.name, (Loop("repeat", times), *self.loops), statements, self.vectorize, self.family)


def _with(s: Statement, depth: int, accesses: Iterable[Access]) -> Statement:
    return Statement(depth, tuple(accesses), s.int_ops, s.add, s.mul, s.fma, s.div, s.carried, s.reassociable, s.branches, s.taken, s.path)
