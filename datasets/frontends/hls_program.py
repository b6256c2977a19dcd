"""Loops, trip counts and work per iteration of a kernel, read off its unoptimised LLVM instructions.

Every local variable of the C source is an `alloca` there, so a loop is the block that compares one with its bound, and its trip count follows from the
store before it and the addition in it. A bound that moves with an outer loop (a triangle) gives the mean over that loop; one that depends on data has
no trip count, and the caller must say it. Both sides of a branch count as taken.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..errors import GraphError
from .hls_gexf import CALL, CONTROL, GraphEdge, GraphNode
from .hls_instruction import CASTS, DATA, ELEMENT, FLOAT_OPS, INT_OPS, LAST_NUMBER, MATH, Block, Instruction, parsed

#: steps of an outer loop that a triangle is summed over; beyond it the mean of the ends stands in
_MOST_STEPS = 1 << 16
#: loops, blocks, blocks of all loops together, and variables one value depends on, beyond which a graph is no kernel
MOST_LOOPS, MOST_BLOCKS, MOST_INSIDE, MOST_VARIABLES = 1000, 20_000, 400_000, 1000
_NUMBER = re.compile(r"(?<![\w%.-])(-?\d{1,18})(?![\w.])")
_REGISTER = re.compile(r"%[\w.]+")
_SIZES = re.compile(r"\[(\d{1,18}) x ")
#: characters of an index that are compared
_MOST_TEXT = 2000
_RELATIONS = {"slt": np.less, "ult": np.less, "sle": np.less_equal, "ule": np.less_equal, "sgt": np.greater, "ugt": np.greater,
              "sge": np.greater_equal, "uge": np.greater_equal, "ne": np.not_equal}
_SWAPPED = {"slt": "sgt", "ult": "ugt", "sle": "sge", "ule": "uge", "sgt": "slt", "ugt": "ult", "sge": "sle", "uge": "ule", "ne": "ne"}

#: a value as (variable or None, offset)
Linear = tuple[str | None, int]


@dataclass(slots=True)
class Region:
    """A loop, or the straight code of a function (`header` None): what runs each time round."""

    function: int
    header: Block | None
    blocks: frozenset[Block]
    label: str
    parent: Region | None = None
    start: int = 0
    trip: float = 1.0
    iterations: float = 1.0
    variable: str = ""
    first: float = 0.0
    step: int = 1
    varying: bool = False
    float_ops: int = 0
    int_ops: int = 0
    element: str = ""
    reads: dict[str, list[frozenset[str]]] = field(default_factory=dict)
    writes: dict[str, list[frozenset[str]]] = field(default_factory=dict)
    #: array -> its accesses, each as the expression of its index: equal text is the same element of a round
    places: dict[str, set[str]] = field(default_factory=dict)
    #: (array, variables) of an access -> elements that it moves by when a variable grows by one; variables of no constant step are left out
    strides: dict[tuple[str, frozenset[str]], dict[str, float]] = field(default_factory=dict)
    #: floating-point scalars that it stores: those it adds to what they were, and those it sets to something else
    sums: set[str] = field(default_factory=set)
    sets: set[str] = field(default_factory=set)

    @property
    def depth(self) -> int:
        """Loops around it, itself included."""
        return (self.header is not None) + (self.parent.depth if self.parent else 0)


class Program:
    """The regions of a kernel with their trip counts and work; `trips` says the trip counts of loops whose bounds are data, by label."""

    def __init__(self, nodes: list[GraphNode], edges: list[GraphEdge], trips: Mapping[str, int], where: str) -> None:
        self.where, self._trips, self._edges = where, trips, edges
        self.instructions = parsed(nodes)
        if not self.instructions:
            raise GraphError(f"{where}: no instruction among {len(nodes)} nodes; expected LLVM text in full_text")
        self._by_key = {i.key: i for i in self.instructions}
        self._defined = {(i.block[0], i.result): i for i in self.instructions if i.result}
        self._stores: dict[tuple[int, str], list[Instruction]] = defaultdict(list)
        for i in self.instructions:
            if i.opcode == "store" and i.operands:
                self._stores[i.block[0], i.operands[-1]].append(i)
        self._sources: dict[tuple[int, str], frozenset[str]] = {}
        self._told: dict[tuple[int, str], str] = {}
        self._grown: dict[tuple[int, str], dict[str, float] | None] = {}
        self.regions = self._regions()
        self._label_work()
        self._count_rounds()

    # -- structure ------------------------------------------------------------------------------------------------------------------

    @cached_property
    def successors(self) -> dict[Block, set[Block]]:
        """Block -> the blocks that it branches to."""
        out: dict[Block, set[Block]] = defaultdict(set)
        for e in self._edges:
            a, b = self._by_key.get(e.source), self._by_key.get(e.target)
            if e.flow == CONTROL and a and b and a.block[0] == b.block[0] and a.opcode in ("br", "switch"):
                out[a.block].add(b.block)
        return out

    @cached_property
    def _compares(self) -> dict[Block, list[Instruction]]:
        out: dict[Block, list[Instruction]] = defaultdict(list)
        for i in self.instructions:
            if i.opcode == "icmp":
                out[i.block].append(i)
        return out

    def _regions(self) -> list[Region]:
        first: dict[Block, int] = {}
        for i in self.instructions:
            first.setdefault(i.block, i.order)
        before: dict[Block, set[Block]] = defaultdict(set)
        for a, targets in self.successors.items():
            for b in targets:
                before[b].add(a)
        bodies: dict[Block, set[Block]] = {}
        back = self._back_edges(sorted(first, key=first.__getitem__))
        if len(back) > MOST_LOOPS or len(first) > MOST_BLOCKS:
            raise GraphError(f"{self.where}: {len(back)} loops in {len(first)} blocks; a kernel of at most {MOST_LOOPS} in {MOST_BLOCKS} is read")
        for tail, header in back:
            body = bodies.setdefault(header, {header})
            if sum(map(len, bodies.values())) > MOST_INSIDE:
                raise GraphError(f"{self.where}: loops nest too deep: more than {MOST_INSIDE} blocks, each counted in every loop around it")
            waiting = [tail]
            while waiting:
                block = waiting.pop()
                if block not in body:
                    body.add(block)
                    waiting += before[block]
        functions = sorted({i.block[0] for i in self.instructions})
        straight = {f: Region(f, None, frozenset(b for b in first if b[0] == f), f"function{f}", start=min(o for b, o in first.items() if b[0] == f)) for f in functions}
        loops = [Region(h[0], h, frozenset(body), "", start=first[h]) for h, body in bodies.items()]
        for loop in loops:
            around = [o for o in loops if o is not loop and loop.header in o.blocks and len(o.blocks) > len(loop.blocks)]
            loop.parent = min(around, key=lambda o: len(o.blocks)) if around else straight[loop.function]
        ordered = sorted([*straight.values(), *loops], key=lambda r: (r.start, r.header is not None))
        counter = 0
        for region in ordered:
            if region.header is not None:
                region.label, counter = f"loop{counter}", counter + 1
        return ordered

    def _back_edges(self, blocks: list[Block]) -> list[tuple[Block, Block]]:
        found, state = [], dict[Block, int]()
        for root in blocks:
            stack = [(root, iter(sorted(self.successors[root])))] if root not in state else []
            state.setdefault(root, 1)
            while stack:
                block, rest = stack[-1]
                for target in rest:
                    if state.get(target) == 1:
                        found.append((block, target))
                    elif target not in state:
                        state[target] = 1
                        stack.append((target, iter(sorted(self.successors[target]))))
                        break
                else:
                    state[block] = 2
                    stack.pop()
        return found

    @cached_property
    def innermost(self) -> dict[Block, Region]:
        """Block -> the smallest region that holds it."""
        out: dict[Block, Region] = {}
        for region in sorted(self.regions, key=lambda r: -len(r.blocks) - (r.header is None)):
            for block in region.blocks:
                out[block] = region
        return out

    # -- values ---------------------------------------------------------------------------------------------------------------------

    def _linear(self, function: int, name: str, depth: int = 0) -> Linear | None:
        made = self._defined.get((function, name))
        if made is None or depth > 16:
            return None
        operands = made.operands
        if made.opcode == "load" and operands and self._is_scalar(function, operands[-1]):
            return operands[-1], 0
        if made.opcode in CASTS and operands:
            return self._linear(function, operands[0], depth + 1)
        if made.opcode in ("add", "sub") and len(operands) == 1:
            at, number = self._linear(function, operands[0], depth + 1), LAST_NUMBER.search(made.rest)
            if at and number:
                return at[0], at[1] + (int(number[1]) if made.opcode == "add" else -int(number[1]))
        return None

    def _is_scalar(self, function: int, name: str) -> bool:
        made = self._defined.get((function, name))
        return made is not None and made.opcode == "alloca" and "[" not in made.rest

    def _stored(self, store: Instruction) -> Linear | None:
        operands = store.operands
        if len(operands) == 2:
            return self._linear(store.block[0], operands[0])
        number = re.match(r"\s*\w+ (-?\d{1,18})\s*,", store.rest)
        return (None, int(number[1])) if number else None

    @cached_property
    def _counters(self) -> set[tuple[int, str]]:
        """The scalars that add to themselves and that a loop asks when it may end."""
        asked = {(r.function, at[0]) for r in self.regions if r.header for i in self._compares.get(r.header, ()) for o in i.operands if (at := self._linear(r.function, o)) and at[0]}
        return {key for key in asked if any((at := self._stored(store)) is not None and at[0] == key[1] for store in self._stores[key])}

    def _variables(self, function: int, name: str) -> frozenset[str]:
        """Scalar variables that a value depends on, through other scalars too; of a loop's counter no others: where it starts does not move an index."""
        key = (function, name)
        if key not in self._sources:
            self._sources[key] = frozenset()  # while it is being found: a variable that depends on itself
            made = self._defined.get(key)
            found: set[str] = set()
            if made is not None and made.opcode == "alloca":
                if self._is_scalar(function, name):
                    found.add(name)
                    for store in () if key in self._counters else self._stores[key]:
                        found |= self._variables(function, store.operands[0]) if len(store.operands) == 2 else frozenset()
            elif made is not None:
                for operand in made.operands:
                    found |= self._variables(function, operand)
            if len(found) > MOST_VARIABLES:
                raise GraphError(f"{self.where}: {name} depends on more than {MOST_VARIABLES} variables; no kernel does")
            self._sources[key] = frozenset(found)
        return self._sources[key]

    def _array(self, function: int, name: str, depth: int = 0) -> tuple[str, frozenset[str]] | None:
        """(array, variables its index depends on) of a pointer into an array; None for a scalar's."""
        made = self._defined.get((function, name))
        if made is None:
            return (name, frozenset()) if name.startswith("@") else None
        if depth > 16 or made.opcode not in ("getelementptr", "load", "bitcast"):
            return (name, frozenset()) if made.opcode == "alloca" and "[" in made.rest else None
        operands = made.operands
        if not operands:
            return None
        if made.opcode == "load":  # a parameter: its address was kept in a variable
            return operands[-1].removesuffix(".addr"), frozenset()
        base = self._array(function, operands[0], depth + 1) or (operands[0], frozenset())
        index: frozenset[str] = frozenset().union(*(self._variables(function, o) for o in operands[1:]))
        return base[0], base[1] | index

    def _expression(self, function: int, name: str, depth: int = 0) -> str:
        """A value as text, through the scalars that are set once; of one that nests too deep its name."""
        key = (function, name)
        if key in self._told:
            return self._told[key]
        made = self._defined.get(key)
        if made is None or depth > 16:
            return name
        self._told[key] = name  # while it is being found: a variable that depends on itself
        stores = self._stores[key]
        if made.opcode == "alloca":
            text = self._expression(function, stores[0].operands[0], depth + 1) if len(stores) == 1 and len(stores[0].operands) == 2 and self._is_scalar(function, name) else name
        elif made.opcode in CASTS or made.opcode == "load":
            text = self._expression(function, made.operands[0], depth + 1) if made.operands else name
        else:
            # numbers with their places among the operands; what follows "!" belongs to the instruction, not to the value
            text = f"{made.opcode}({','.join(self._expression(function, o, depth + 1) for o in made.operands)};{_REGISTER.sub('%', made.rest.partition('!')[0]).strip(' ,')})"
        self._told[key] = text if len(text) <= _MOST_TEXT else name
        return self._told[key]

    def _strides(self, function: int, name: str, depth: int = 0) -> dict[str, float] | None:
        """Variable -> what a value, or a place in an array counted in elements, grows by with it; None where that is no constant."""
        key = (function, name)
        if key not in self._grown:
            self._grown[key] = None  # while it is being found: a variable that depends on itself
            self._grown[key] = self._grows(function, name, depth)
        return self._grown[key]

    def _grows(self, function: int, name: str, depth: int) -> dict[str, float] | None:
        made = self._defined.get((function, name))
        if made is None or depth > 16:
            return {} if made is None else None
        parts = [self._strides(function, o, depth + 1) for o in made.operands] if made.opcode != "alloca" else []
        number = _NUMBER.search(made.rest)
        if made.opcode == "alloca":
            stores = self._stores[function, name]
            once = len(stores) == 1 and len(stores[0].operands) == 2 and self._is_scalar(function, name)
            inside = self._strides(function, stores[0].operands[0], depth + 1) if once else None
            return inside or {name: 1.0}
        if made.opcode == "load" or made.opcode in CASTS:
            if made.opcode == "load" and made.operands and not self._is_scalar(function, made.operands[-1]):
                return {DATA: 1.0}
            return parts[0] if parts else None
        if made.opcode == "getelementptr" and made.operands:
            sizes = [int(n) for n in _SIZES.findall(made.rest.split("*")[0].split(",")[0])]
            steps = [math.prod(map(float, sizes[k:])) for k in range(len(sizes) + 1)]
            base = self._defined.get((function, made.operands[0]))
            whole = parts[0] if base is not None and base.opcode == "getelementptr" else {}
            indices = [k for k, text in enumerate(made.rest.split(",")[2:]) if "%" in text]  # those that are no numbers
            return _together([whole, *parts[1:]], [1.0, *(steps[k] if k < len(steps) else 1.0 for k in indices)])
        leads = "%" in made.rest.split(",")[0]  # else a number stands before it, as in 10 - i
        if made.opcode in ("add", "sub") and parts:
            sign = 1.0 if made.opcode == "add" else -1.0
            return _together(parts, [1.0 if leads else sign, sign][:len(parts)])
        if made.opcode in ("mul", "shl") and len(parts) == 1 and number and (leads or made.opcode == "mul"):
            return _together(parts, [float(int(number[1]) if made.opcode == "mul" else 2 ** min(int(number[1]), 62))])
        return None

    # -- work and rounds ------------------------------------------------------------------------------------------------------------

    def _label_work(self) -> None:
        for i in self.instructions:
            region, function = self.innermost[i.block], i.block[0]
            called = next((n[1:] for n in i.operands if n.startswith("@")), "") if i.opcode == "call" else ""
            region.float_ops += FLOAT_OPS.get(i.opcode, MATH.get(called, 0))
            region.int_ops += i.opcode in INT_OPS
            if i.opcode in ("load", "store") and i.operands:
                pointer = self._defined.get((function, i.operands[-1]))
                into = self._array(function, i.operands[-1]) if pointer is None or pointer.opcode in ("getelementptr", "load") else None
                element = ELEMENT.match(i.rest.strip())
                if into and element:
                    array = into[0].lstrip("%@")
                    (region.reads if i.opcode == "load" else region.writes).setdefault(array, []).append(into[1])
                    region.places.setdefault(array, set()).add(self._expression(function, i.operands[-1]))
                    region.strides.setdefault((array, into[1]), self._strides(function, i.operands[-1]) or {})
                    if not region.element or element[1] in ("double", "float"):
                        region.element = element[1]
                elif i.opcode == "store" and element and element[1] in ("double", "float", "half"):
                    scalar = i.operands[-1]
                    (region.sums if len(i.operands) == 2 and self._reads_on(function, i.operands[0], scalar) else region.sets).add(scalar)

    def _reads_on(self, function: int, name: str, scalar: str, depth: int = 0) -> bool:
        """Whether a value is computed from what a scalar variable holds, other variables left out."""
        made = self._defined.get((function, name))
        if made is None or depth > 16 or made.opcode == "alloca":
            return False
        return scalar in made.operands if made.opcode == "load" else any(self._reads_on(function, o, scalar, depth + 1) for o in made.operands)

    def _count_rounds(self) -> None:
        calls: dict[int, list[Instruction]] = defaultdict(list)
        for e in self._edges:
            a, b = self._by_key.get(e.source), self._by_key.get(e.target)
            if e.flow == CALL and a and b and a.opcode == "call" and a.block[0] != b.block[0] and a not in calls[b.block[0]]:
                calls[b.block[0]].append(a)
        done: set[int] = set()
        for region in sorted(self.regions, key=lambda r: r.depth):
            if region.header is not None:
                self._trip(region)
        ordered = [r for r in self.regions if r.header is None]

        def settle(function: int, within: tuple[int, ...]) -> None:
            if function in within:
                raise GraphError(f"{self.where}: function {function} calls itself; a kernel for hardware cannot")
            if function in done:
                return
            for site in calls[function]:
                settle(site.block[0], (*within, function))
            mine = sorted((r for r in self.regions if r.function == function), key=lambda r: r.depth)
            for region in mine:
                if region.parent is None:
                    region.iterations = sum(self.innermost[s.block].iterations for s in calls[function]) if calls[function] else 1.0
                else:
                    region.iterations = region.parent.iterations * region.trip
            done.add(function)

        for region in ordered:
            settle(region.function, ())

    def _trip(self, loop: Region) -> None:
        """Sets variable, first value, step and (mean) trip count. Raises GraphError for a bound that is data and was not given."""
        given = self._trips.get(loop.label)
        found = None
        for i in sorted((i for b in loop.blocks for i in self._compares.get(b, ())), key=lambda i: i.order):
            if any(target not in loop.blocks for target in self.successors[i.block]):
                found = self._rounds(i, loop)
                if found is not None:
                    break
        if given is not None:
            loop.trip = float(given)
        elif found is None:
            at = next((i.result for i in self.instructions if i.block == loop.header and i.opcode == "icmp"), "")
            raise GraphError(f"{self.where}: {loop.label} (at {at or loop.header}) has a bound that depends on data; say its trip count: dims={{'{loop.label}': ...}}")
        else:
            loop.trip = found

    def _rounds(self, compare: Instruction, loop: Region) -> float | None:
        relation, sides = (compare.rest.split(maxsplit=1) or [""])[0], compare.operands
        left, right = self._linear(loop.function, sides[0]) if sides else None, None
        if len(sides) == 2:
            right = self._linear(loop.function, sides[1])
            if right and right[0] and self._steps(right[0], loop):
                left, right, relation = right, left, _SWAPPED.get(relation, relation)
        else:
            number = LAST_NUMBER.search(compare.rest)
            right = (None, int(number[1])) if number else None
        if left is None or left[0] is None or right is None or relation not in _RELATIONS:
            return None
        steps = self._steps(left[0], loop)
        starts = [s for s in self._stores[loop.function, left[0]] if s.block not in loop.blocks and s.order < loop.start]
        first = self._stored(starts[-1]) if starts else None
        if len(steps) != 1 or first is None or steps[0] == 0:
            return None
        outer = {name for name in (first[0], right[0]) if name}
        if len(outer) > 1:
            return None
        values = self._values(next(iter(outer)), loop) if outer else np.zeros(1)
        if values is None:
            return None
        begin = first[1] + (values if first[0] else 0.0) + left[1]
        end = right[1] + (values if right[0] else 0.0)
        loop.variable, loop.step, loop.first, loop.varying = left[0], steps[0], float(np.mean(begin)) - left[1], bool(outer)
        return _mean_rounds(begin, end, steps[0], relation)

    def _steps(self, variable: str, loop: Region) -> list[int]:
        """What is added to the variable round by round: one number, or none or several where it is no counter."""
        changes = [self._stored(s) for s in self._stores[loop.function, variable] if s.block in loop.blocks]
        return [c[1] for c in changes if c is not None and c[0] == variable] if all(c is not None and c[0] == variable for c in changes) else []

    def _values(self, variable: str, loop: Region) -> np.ndarray | None:
        """The values that an outer loop's counter takes."""
        around = loop.parent
        while around is not None and around.variable != variable:
            around = around.parent
        if around is None:
            return None
        count = round(around.trip)
        if count > _MOST_STEPS:
            return np.array([around.first + around.step * (count - 1) / 2])
        return around.first + around.step * np.arange(max(count, 1), dtype=np.float64)


def _together(parts: Sequence[dict[str, float] | None], factors: Sequence[float]) -> dict[str, float] | None:
    """The sum of so many times each; None where one is not known."""
    out: dict[str, float] = {}
    for part, factor in zip(parts, factors, strict=False):
        if part is None:
            return None
        for variable, step in part.items():
            out[variable] = out.get(variable, 0.0) + factor * step
    return out


def _mean_rounds(begin: np.ndarray | float, end: np.ndarray | float, step: int, relation: str) -> float | None:
    """Mean over the outer loop of the rounds for which `begin + t * step` stands in `relation` to `end`; None where it never stops."""
    gap = (np.asarray(end, dtype=np.float64) - begin) / step  # rounds until the counter meets its bound
    if relation == "ne":
        rounds = gap if np.all(gap >= 0) else None
    elif (relation[1:] in ("lt", "le")) != (step > 0):
        rounds = None
    else:
        rounds = np.ceil(gap) if relation[1:] in ("lt", "gt") else np.floor(gap) + 1.0
    return None if rounds is None else float(np.mean(np.maximum(rounds, 0.0)))
