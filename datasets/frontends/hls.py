"""HLS kernels: a program graph (`.gexf`, as HLSyn publishes them) and pragma choices become a workload with one operator per loop.

    design = read_hls("gemm.gexf", {"__PARA__L2": 8, "__PIPE__L1": "flatten"})
    design.workload        # what any model of silicast takes
    design.loops[0]        # trip count, iterations, work, pragma values of op 0
    design.columns()       # the same as numbers, (V, len(ATTRIBUTES))

What an operator stands for: the instructions whose innermost loop it is, over the whole run. It is `elementwise` with `elements` = iterations (trip
counts multiplied down the nest) and `cost` = arithmetic per iteration: floating point where the kernel has any (a division is 4, as everywhere),
integer arithmetic, addressing included, where it has none. It reads `extra_elements` more than one array element per iteration and writes one; how
often arrays are really read and written, and how many distinct elements that can touch at most, is in `HlsLoop`. Pragmas change no work, so they
are in `HlsLoop` and, as text, in the operator's `source`, not in its sizes; two designs of a kernel have equal workloads and unequal `HlsDesign.digest`.

An edge with bytes carries an array from the loop that writes it to one that reads it; an edge of no bytes joins a loop to those inside it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import FormatError, GraphError, UnknownNameError
from ..ops import MAX_SIZE, Op, shown
from ..workload import Tensor, Workload
from .hls_gexf import PRAGMA, PRAGMA_OF, load_graph
from .hls_instruction import DATA, Block
from .hls_program import Program, Region
from .recast import recast
from .saying import saying

#: `span`, `resting`, `bursts`, `bursts_round`, `copied`, `copied_resting` of a loop
_Touched = tuple[float, float, float, float, float, float]
#: how a loop may be pipelined, by number as `dims` gives it: not, itself, or with every loop inside unrolled
PIPELINE = ("off", "", "flatten")
#: columns of `HlsDesign.columns`
ATTRIBUTES = ("depth", "trip_count", "iterations", "float_ops", "int_ops", "array_reads", "array_writes", "distinct_reads", "distinct_writes",
              "pipeline", "parallel", "tile", "reduction")
_DTYPES = {"double": "float64", "float": "float32", "half": "float16", "i64": "int64", "i32": "int32", "i16": "int16", "i8": "int8", "i1": "bool"}
_PLACE = re.compile(r"auto\{(\w+)\}")
_NAMED = re.compile(r"reduction\s*=\s*\w")
_FACTOR = re.compile(r"FACTOR\s*=\s*(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class HlsLoop:
    """One loop of a kernel, or the straight code of a function (depth 0, one round per call).

    depth: loops around it, itself included. trip_count: rounds each time it is entered, a mean where they differ. iterations: rounds in all.
    float_ops, int_ops: arithmetic per iteration, divisions as 4. array_reads, array_writes: accesses per iteration. distinct_reads,
    distinct_writes: different elements touched in all, at most (the trip counts of the loops that the index moves with). pipeline: "off", "" or
    "flatten". parallel, tile: factors, 1 where there is none. reduction: the parallel copies are asked to be summed. varying: its bounds move with a loop around
    it, or with data. carried: some array is written in it, or in a loop inside it, at an index that does not move with its rounds, or is written and accessed at another index, or some
    variable is added to, so one round may wait for another. mixed: its copies are to be summed, of what is not said, and its body writes arrays that its index moves with. met: its
    body accesses an array it writes at an index of another expression, too. span: distinct elements that one run of it touches, loops inside included, of arrays that no other nest of
    the kernel uses; resting: those of them whose index does not move with its rounds. copied, copied_resting: the same of arrays that another nest uses too. Arrays whose index is data
    are in neither: which elements are touched is not known beforehand. bursts, bursts_round: pieces of memory without a gap, of the `span`, that some of its rounds touch, whatever
    their number, and those that each round adds.
    moving: arrays whose index in its own body moves with its rounds, so that copies of it divide them; writing: those of them that it writes. asked: the kinds of pragma that stand at it
    ("pipeline", "parallel", "tile"), whatever they are set to. gathered: accesses per iteration, at an index that is data, of the array that has most of them. guarded: part of its own body
    runs in some rounds only.
    """

    name: str
    depth: int
    trip_count: float
    iterations: int
    float_ops: int
    int_ops: int
    array_reads: int
    array_writes: int
    distinct_reads: int
    distinct_writes: int
    pipeline: str = "off"
    parallel: int = 1
    tile: int = 1
    reduction: bool = False
    varying: bool = False
    carried: bool = False
    span: float = 1.0
    resting: float = 0.0
    bursts: float = 0.0
    bursts_round: float = 0.0
    copied: float = 0.0
    copied_resting: float = 0.0
    moving: tuple[str, ...] = ()
    mixed: bool = False
    met: bool = False
    writing: tuple[str, ...] = ()
    asked: tuple[str, ...] = ("parallel",)
    gathered: int = 0
    guarded: bool = False

    def __post_init__(self) -> None:
        if self.pipeline not in PIPELINE:
            raise FormatError(f"{self.name}: pipeline: expected 'off', '' or 'flatten', got {self.pipeline!r}")
        for what, factor in (("parallel", self.parallel), ("tile", self.tile)):
            if not isinstance(factor, int) or isinstance(factor, bool) or not 1 <= factor <= MAX_SIZE:
                raise FormatError(f"{self.name}: {what}: expected a whole number of at least 1, got {shown(factor)}")

    @property
    def text(self) -> str:
        """What the operator's `source` says."""
        return (f"depth {self.depth}, trip count {self.trip_count:g}, iterations {self.iterations}, pipeline {self.pipeline or 'on'}, parallel {self.parallel}, "
                f"tile {self.tile}{', reduction' if self.reduction else ''}")


@dataclass(frozen=True)
class HlsDesign:
    """A kernel with its pragmas set: `loops[i]` is what op i of `workload` stands for."""

    workload: Workload
    loops: tuple[HlsLoop, ...]

    def columns(self) -> np.ndarray:
        """(V, len(ATTRIBUTES)) float64: the loops as numbers, pipeline by its place in `PIPELINE`."""
        return np.array([[PIPELINE.index(v) if isinstance(v, str) else float(v) for v in (getattr(loop, name) for name in ATTRIBUTES)] for loop in self.loops])

    @property
    def digest(self) -> str:
        """16 hex digits of the workload and its pragmas."""
        return hashlib.sha256(json.dumps([self.workload.digest, self.columns().tolist()]).encode()).hexdigest()[:16]


def read_hls(path: str | Path, point: Mapping[str, int | str] | str | None = None) -> HlsDesign:
    """The design of a program graph at a design point.

    `point` binds the placeholders of the graph's pragmas (`__PARA__L0`, `__TILE__L0`: a factor; `__PIPE__L0`: "off", "", "flatten" or its number
    in `PIPELINE`), as a mapping or as JSON text; what it does not name is left off. It also gives the trip count of a loop whose bound is data
    (`loop1`, in the order of the program). Raises FormatError for another or a damaged file or an impossible value, UnknownNameError for a name
    that the graph has not, GraphError for a bound that is not given.
    """
    file = Path(path)
    with saying(file):
        return _read(file, point)


def _read(file: Path, point: Mapping[str, int | str] | str | None) -> HlsDesign:
    nodes, edges = load_graph(file)
    choices = opened(point, file)
    try:
        program = Program(nodes, edges, {k: _count(k, v) for k, v in choices.items() if k.startswith("loop")}, str(file))
    except RecursionError:
        raise GraphError(f"{file}: values or calls follow one on another too deep") from None
    blocks: dict[str, Block] = {i.key: i.block for i in program.instructions}
    settings: dict[Block, dict[str, int | str | bool]] = {}
    names = {r.label for r in program.regions}
    for pragma in (n for n in nodes if n.kind == PRAGMA):
        words = pragma.text.removeprefix("#pragma").split()
        kind = next((w for w in ("PIPELINE", "PARALLEL", "TILE") if w in (x.upper() for x in words)), "")
        holders = [blocks[b] for e in edges if e.flow == PRAGMA_OF and pragma.key in (e.source, e.target) for b in (e.source, e.target) if b in blocks]
        if not kind or not holders:
            continue
        place, factor = _PLACE.search(pragma.text), _FACTOR.search(pragma.text)
        value: int | str = int(factor[1]) if factor else "" if kind == "PIPELINE" else 1
        if place:
            names.add(place[1])
            value = choices.get(place[1], "off" if kind == "PIPELINE" else 1)
        there = settings.setdefault(holders[0], {})
        there[kind.lower()] = _pipeline(place[1] if place else kind, value) if kind == "PIPELINE" else _count(place[1] if place else kind, value)
        if "reduction" in pragma.text:
            there |= {"reduction": True, "unnamed": _NAMED.search(pragma.text) is None}
    for name in choices:
        if name not in names:
            raise UnknownNameError("pragma or loop", name, names, f"in {file}")
    kept = [r for r in program.regions if r.iterations > 0 and (r.header is not None or r.float_ops or r.reads or r.writes)]
    if not kept:
        raise GraphError(f"{file}: no loop that runs and no array access in {len(program.instructions)} instructions")
    carried, spans = _carried(program.regions), _spans(program.regions)
    loops = tuple(_loop(r, settings.get(r.header, {}) if r.header else {}, id(r) in carried, spans.get(id(r), (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)), _is_guarded(r, program)) for r in kept)
    return HlsDesign(_workload(file, kept, loops, any(r.float_ops for r in program.regions)), loops)


def read_hls_workload(path: Path, dims: Mapping[str, int], unknown_ops: Literal["error", "bound"], dtype: str | None) -> Workload:
    """`read_hls` as a reader: `dims` are the design point, pipelines by number. Raises what `read_hls` raises."""
    workload = read_hls(path, dims).workload
    return recast(workload, dtype) if dtype else workload


def opened(point: Mapping[str, int | str] | str | None, file: Path) -> Mapping[str, int | str]:
    """A design point (a mapping of pragma names to values, its JSON text, or None) as a mapping. Raises FormatError for anything else."""
    if isinstance(point, str):
        try:
            point = json.loads(point)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{file}: the design point is no JSON ({str(error)[:80]})") from None
    if point is not None and not isinstance(point, Mapping):
        raise FormatError(f"{file}: expected a design point as a mapping of pragma names to values, got {shown(point)}")
    return point or {}


def _count(name: str, value: int | str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_SIZE:
        raise FormatError(f"{name}: expected a whole number of at least 1, got {shown(value)}")
    return value


def _pipeline(name: str, value: int | str) -> str:
    if value in PIPELINE:
        return str(value)
    if isinstance(value, int) and 0 <= value < len(PIPELINE):
        return PIPELINE[value]
    raise FormatError(f"{name}: expected 'off', '' or 'flatten' (or 0, 1, 2), got {shown(value)}")


def _distinct(region: Region, accesses: Mapping[str, list[frozenset[str]]]) -> dict[str, int]:
    """Array -> elements that its accesses touch at most: rounds of the loops around whose counters the index moves with."""
    out = {}
    for array, indices in accesses.items():
        most = 0.0
        for moving in set(indices):
            span, around = 1.0, region
            while around is not None and around.header is not None:
                span *= max(around.trip, 1.0) if around.variable in moving or not around.variable else 1.0
                around = around.parent  # type: ignore[assignment]
            most += span
        out[array] = max(1, round(min(most, sum(1 for _ in indices) * max(region.iterations, 1.0), float(MAX_SIZE))))
    return out


def _carried(regions: list[Region]) -> set[int]:
    """The loops (by `id`) in which some array is written at an index that does not move with them, or that hold a write of an array and an access of it at an index of another
    expression: whether the two ever meet is not asked, as a compiler that cannot rule it out does not ask."""
    out = set()
    written: dict[int, set[str]] = {}
    places: dict[int, dict[str, set[str]]] = {}
    loops: dict[int, Region] = {}
    sums: dict[int, set[str]] = {}
    sets: dict[int, set[str]] = {}
    for region in regions:
        around: Region | None = region
        while around is not None and around.header is not None:
            loops[id(around)] = around
            if any(around.variable not in moving for indices in region.writes.values() for moving in indices):
                out.add(id(around))
            written.setdefault(id(around), set()).update(region.writes)
            sums.setdefault(id(around), set()).update(region.sums)
            sets.setdefault(id(around), set()).update(region.sets)
            for array, texts in region.places.items():
                places.setdefault(id(around), {}).setdefault(array, set()).update(texts)
            around = around.parent
    return out | {loop for loop in loops if sums[loop] - sets[loop] or any(len(places[loop].get(array, ())) > 1 for array in written[loop])}


def _spans(regions: list[Region]) -> dict[int, _Touched]:
    """Loop (by `id`) -> `span`, `resting`, `bursts`, `bursts_round`, `copied` and `copied_resting` of `HlsLoop`: of each array the widest access, rounds multiplied of the loops inside
    that its index moves with; elements that lie side by side come in one burst."""
    touched: dict[int, dict[str, _Touched]] = {}
    nests: dict[str, set[int]] = {}
    for region in regions:
        for array in {*region.reads, *region.writes}:
            nests.setdefault(array, set()).add(id(_outermost(region)))
    for region in regions:
        for (array, moving), strides in region.strides.items():
            inside, steps, around = 1.0, list[tuple[float, float]](), region
            while around is not None and around.header is not None:
                moves = around.variable in moving or not around.variable
                step, rounds = abs(strides.get(around.variable, math.inf) * around.step), max(around.trip, 1.0) if moves else 1.0
                each = inside / _side_by_side(steps)
                goes_on = not moves or _side_by_side([*steps, (step, 2.0)]) > _side_by_side(steps)
                whole, rest = inside * rounds, 0.0 if moves else inside
                told: _Touched = (whole, rest, *((each, 0.0) if goes_on else (0.0, each)), 0.0, 0.0)
                if DATA in strides or len(nests[array]) > 1:
                    told = (0.0, 0.0, 0.0, 0.0, *((0.0, 0.0) if DATA in strides else (whole, rest)))
                widest = touched.setdefault(id(around), {})
                widest[array] = max(widest.get(array, told), told)
                inside, steps = inside * rounds, [*steps, (step, rounds)] if moves else steps
                around = around.parent  # type: ignore[assignment]
    return {loop: tuple(map(math.fsum, zip(*arrays.values(), strict=True))) for loop, arrays in touched.items()}  # type: ignore[misc]


def _outermost(region: Region) -> Region:
    while region.parent is not None and region.parent.header is not None:
        region = region.parent
    return region


def _side_by_side(steps: list[tuple[float, float]]) -> float:
    """Elements without a gap among those that nested loops touch; loops as (elements that a round moves by, rounds)."""
    run = 1.0
    for step, rounds in sorted(steps):
        if not 0 < step <= run:
            break
        run *= rounds
    return run


def _loop(region: Region, setting: Mapping[str, int | str | bool], carried: bool, span: _Touched, guarded: bool) -> HlsLoop:
    reads, writes = (sum(map(len, side.values())) for side in (region.reads, region.writes))
    writing = tuple(sorted(a for a, indices in region.writes.items() if region.header is not None and any(region.variable in moving for moving in indices)))
    return HlsLoop(
        region.label, region.depth, region.trip, _rounds(region), region.float_ops, region.int_ops, reads, writes,
        sum(_distinct(region, region.reads).values()), sum(_distinct(region, region.writes).values()),
        str(setting.get("pipeline", "off")), int(setting.get("parallel", 1)), int(setting.get("tile", 1)), bool(setting.get("reduction", False)),
        region.header is not None and (region.varying or not region.variable), carried, *span,
        tuple(sorted({array for side in (region.reads, region.writes) for array, indices in side.items() if region.header is not None and any(region.variable in moving for moving in indices)})),
        bool(writing) and bool(setting.get("unnamed", False)), region.header is not None and any(len(region.places.get(array, ())) > 1 for array in region.writes), writing,
        tuple(kind for kind in ("pipeline", "parallel", "tile") if kind in setting), _gathered(region), guarded)


def _gathered(region: Region) -> int:
    """`gathered` of `HlsLoop`."""
    counts: dict[str, int] = {}
    for side in (region.reads, region.writes):
        for array, indices in side.items():
            counts[array] = counts.get(array, 0) + sum(DATA in region.strides.get((array, moving), ()) for moving in indices)
    return max(counts.values(), default=0)


def _is_guarded(region: Region, program: Program) -> bool:
    """Whether some block of a region's own body has two successors inside it: one that leaves it is the test of its loop, or of a loop inside."""
    mine = (b for b in region.blocks if program.innermost[b] is region) if region.header is not None else ()
    return any(len(program.successors.get(b, set()) & region.blocks) > 1 for b in mine)


def _rounds(region: Region) -> int:
    if not region.iterations <= MAX_SIZE:
        raise GraphError(f"{region.label}: more than 2**62 iterations")
    return max(1, round(region.iterations))


def _workload(file: Path, regions: list[Region], loops: tuple[HlsLoop, ...], floating: bool) -> Workload:
    ops, tensors = [], []
    widths = {"float64": 8, "float32": 4, "float16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "bool": 1}
    written: dict[str, tuple[int, int]] = {}
    edges: dict[tuple[int, str], tuple[int, list[int]]] = {}
    inside: dict[int, list[int]] = {}
    place = {id(r): i for i, r in enumerate(regions)}
    for i, (region, loop) in enumerate(zip(regions, loops, strict=True)):
        dtype = _DTYPES.get(region.element, "float64" if floating else "int32")
        extra = max(loop.array_reads - 1, 0) * loop.iterations
        ops.append(Op.of(loop.name, "elementwise", dtype=dtype, source=loop.text, elements=loop.iterations, extra_elements=min(extra, MAX_SIZE),
                         cost=loop.float_ops if floating else loop.int_ops))
        around = region.parent
        while around is not None and id(around) not in place:
            around = around.parent
        if around is not None and place[id(around)] < i:
            inside.setdefault(place[id(around)], []).append(i)
        for array, elements in _distinct(region, region.reads).items():
            maker, size = written.get(array, (-1, elements * widths[dtype]))
            readers = edges.setdefault((maker, array), (size, []))[1]
            if i != maker:
                readers.append(i)
        for array, elements in _distinct(region, region.writes).items():
            written[array] = (i, elements * widths[dtype])
    tensors += [Tensor(array, size, maker, tuple(sorted(set(readers)))) for (maker, array), (size, readers) in edges.items() if readers]
    tensors += [Tensor(f"{loops[i].name} holds", 0, i, tuple(below)) for i, below in inside.items()]
    stem = file.name.removesuffix(file.suffix).removesuffix("_processed_result")
    return Workload.of(stem, ops, tensors, "hls", ["one operator per loop; bytes are of array accesses"])
