"""Designs of HLS kernels as rows of a table: a program graph read once, its pragmas set per row, and what they mean for the schedule as figures.

The schedule is the usual one of high-level synthesis: a pipelined loop starts a round every initiation interval, a loop that is not runs its rounds one after the
other, PARALLEL and `flatten` copy the body. Where a round needs what the one before it has written, the interval is the latency of that sum (AMD, "Vitis High-Level Synthesis User
Guide", UG1399, on loop-carried dependencies): copies that are summed share it, other copies wait in turn, and so do copies of a loop around such rounds. Not every pragma takes
effect: a loop whose bounds vary cannot be unrolled, so no `flatten` goes through it (UG1399 on `pragma HLS unroll` and variable loop bounds); nor through one whose copies are to be
summed, of what is not said, beside other writes; a loop around others that are left as loops is not pipelined; copies of a loop left as a loop bring nothing where others take an array
it writes apart into all its elements, for no partition serves both; as many copies as rounds of a loop left around others bring nothing, for none of those is unrolled with it. Copies of
a loop inside another one that have loops of their own bring nothing either, and no buffer of theirs is shared: their rounds go to memory, and where a round adds to an array element,
it is read and written there. A TILE of all rounds cuts nothing, a shorter one has what it works on brought in anew, tile by tile, each piece of memory without a gap as a burst of its
own, unless copies of a loop around it hold that already; from the chip comes, element by element, what another nest of the kernel uses too, or what copies around that wait in turn hold;
an array whose index is data stays whole, so all copies share the two ports of its memory. A loop with no pragma of its own, of few rounds of little work, is unrolled unasked, and one that
is told to be neither pipelined, copied nor cut is not pipelined, unless the tool does so by itself; a loop is cut by the product of its TILE and its copies, and as many copies of a loop
around others as it has rounds are dropped (the Merlin compiler, github.com/Xilinx/merlin-compiler: auto_parallel_insertion.cpp, loop_tiling.cpp, coarse_parallel.cpp). Sums that nobody asked
to be split are added one after the other when a loop is unrolled (UG1399 on unsafe math optimizations). How long an addition takes is a matter of the tool: figures say both, and where a
column tells the tool's version, `of_tools` says which. Latencies of units and of memory are round numbers at 250 MHz (assumptions); figures made of them order designs, they are no forecasts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .errors import FormatError
from .frontends.hls import PIPELINE, HlsDesign, HlsLoop, opened, read_hls

#: cycles of a floating-point unit, and of bringing in one element; cycles between rounds that add to one another, with reading and writing the sum (of open designs, by what twice as many
#: copies save: 12.5 to 13.1 with Vivado HLS 2018.3, 5.3 to 5.9 with Vitis HLS 2020.2)
_UNIT_CYCLES, _ACCESS_CYCLES, _WAIT_CYCLES, _SHORT_WAIT = 5.0, 2.0, 13.0, 5.0
#: the same of copies that add in turn where a sum of one copy waits briefly, of whole numbers, and what choosing among twice as many copies' pieces of memory adds (assumptions)
_CHAIN_WAIT, _WHOLE_WAIT, _CHOICE_CYCLES = 8.0, 2.0, 0.25
#: cycles that an element takes from memory (eight bytes of a bus of 512 bits), that starting a tile takes and each burst of it (assumptions)
_ELEMENT_CYCLES, _TILE_CYCLES, _BURST_CYCLES = 0.125, 100.0, 20.0
#: cycles that an element takes from one piece of the chip's memory to another (one port); cycles between rounds that go to memory: that add to an array's element, to a variable, to
#: nothing (assumptions)
_COPY_CYCLES, _AWAY_SUM, _AWAY_VARIABLE, _AWAY = 1.0, 60.0, 20.0, 2.0
#: copies of a loop with loops inside bring this power of their number, for they share the memory; rounds of a factor that does not divide the trip count take so much longer (assumptions)
_SHARED, _UNEVEN = 0.5, 2.0
#: cycles that each round left by such a factor adds to a tree of sums, where sums wait briefly (assumption)
_LEFT_CYCLES = 3.0
#: loops that are unrolled unasked: so many rounds at most, and so much work in all of them, an operation of floating point counting 8 (TRIPCOUNT_LIMIT, HARDWARE_LIMIT and PENALTY_FLT_ADD_MUL
#: of auto_parallel_insertion.cpp); accesses that a piece of the chip's memory takes in a cycle
_UNASKED_ROUNDS, _UNASKED_WORK, _OPERATION, _PORTS = 64, 8192.0, 8.0, 2.0
#: levels of the heaviest nest that are told one by one
_LEVELS = 3
#: a tool's version as its year: `v20`, `2020.2`, `Vitis HLS 2020.1`; the first year of tools whose sums wait briefly (Vitis HLS, which came for Vivado HLS with 2020.1: AMD, UG1391)
_VERSION, _BRIEF_SINCE = re.compile(r"(?:\bv|\b20|v20)(\d\d)(?:\.\d{1,2}){0,2}(?![\d.])", re.IGNORECASE), 20
_UNSAID = ("", "nan", "None", "<NA>")
#: values a pragma is tried with, to see which loop it stands at
_PROBES: tuple[int | str, ...] = (977, "flatten")


def design_of(path: Path, point: Any, fields: Mapping[str, Any]) -> tuple[HlsDesign, dict[str, float]]:
    """The design of a program graph at a design point (a mapping, JSON text, or None) and `fields`, single pragmas of their own columns; with the figures
    of `figures_of`. Raises what `read_hls` raises."""
    choices = {str(k): _choice(v) for k, v in {**opened(point, path), **fields}.items()}
    bounds = tuple(sorted((k, int(v)) for k, v in choices.items() if k.startswith("loop") and isinstance(v, int)))
    design = _base(path, bounds)
    loops = list(design.loops)
    for name, value in choices.items():
        if (name, value) in bounds:
            continue
        place = _place(path, bounds, name)
        if place is None:
            continue
        at, what = place
        given: Any = PIPELINE[value] if what == "pipeline" and isinstance(value, int) and 0 <= value < len(PIPELINE) else value
        loops[at] = replace(loops[at], **{what: given})
    return HlsDesign(design.workload, tuple(loops)), figures_of(loops)


def of_tools(columns: Mapping[str, np.ndarray], words: Sequence[str]) -> dict[str, np.ndarray]:
    """{"network.design_cycles": (n,) cycles of designs as the tool that made each would schedule them, "network.brief_sums": (n,) 1 where its sums wait briefly, else 0}: `columns` hold `network.` figures of `figures_of`; those of `words` that say
    nothing but versions (`v20`, `2018.3`, `Vitis HLS 2020.2`) tell the tool. Sums wait long where none is told. {} for columns that hold no designs."""
    long, brief = (columns.get(f"network.{name}") for name in ("slow_adder_cycles", "quick_adder_cycles"))
    if long is None or brief is None:
        return {}
    late = np.zeros(len(long), dtype=bool)
    for name in words:
        told, place = np.unique(np.asarray(columns[name]).astype(str), return_inverse=True)
        years = [_VERSION.search(text) for text in told]
        if columns[name].dtype == object and len(told) and all(year or text in _UNSAID for year, text in zip(years, told, strict=True)):
            late |= np.array([year is not None and int(year[1]) >= _BRIEF_SINCE for year in years])[place]
    return {"network.design_cycles": np.where(late, brief, long), "network.brief_sums": late.astype(np.float64)}


def _plain(loops: list[HlsLoop]) -> list[HlsLoop]:
    return [replace(loop, pipeline="off", parallel=1, tile=1) for loop in loops]


def _choice(value: Any) -> int | str:
    return int(value) if isinstance(value, float) and value == int(value) else value  # a column of whole numbers with gaps comes as floats


@lru_cache(maxsize=128)
def _base(path: Path, bounds: tuple[tuple[str, int], ...]) -> HlsDesign:
    return read_hls(path, dict(bounds))


@lru_cache(maxsize=4096)
def _place(path: Path, bounds: tuple[tuple[str, int], ...], name: str) -> tuple[int, str] | None:
    """(loop, which of its settings) that a pragma's placeholder sets; None where it sets none. Raises UnknownNameError for a name the graph has not."""
    for probe in _PROBES:
        try:
            tried = read_hls(path, {**dict(bounds), name: probe})
        except FormatError:
            continue
        for at, (old, new) in enumerate(zip(_base(path, bounds).loops, tried.loops, strict=True)):
            for what in ("pipeline", "parallel", "tile"):
                if getattr(old, what) != getattr(new, what):
                    return at, what
    return None


def figures_of(loops: list[HlsLoop]) -> dict[str, float]:
    """A design as figures: cycles of the schedule in three readings (sums that wait long, the same with innermost loops pipelined only where asked, sums that wait briefly), with nothing set, units and ports
    that copies ask for, how much is pipelined, unrolled and tiled."""
    parent, children = _tree(loops)
    plain = _plain(loops)
    copies, flat = _copies(loops, parent)
    heaviest = max(range(len(loops)), key=lambda i: loops[i].iterations * (1 + loops[i].float_ops + loops[i].int_ops))
    work = sum(loop.iterations * (loop.float_ops or loop.int_ops) for loop in loops)
    units = sum(c * (loop.float_ops or loop.int_ops) for c, loop in zip(copies, loops, strict=True))
    asked = {kind: sum(loop.pipeline == kind for loop in loops) for kind in ("", "flatten")}
    long, lazy, brief, bare = (_total(some, children, parent, *how) for some, how in ((loops, ()), (loops, (False,)), (loops, (True, True)), (plain, ())))
    granted = _Granted.of(loops, parent, children)
    elements, bursts = _reloaded(loops, parent)
    return {
        "slow_adder_cycles": long, "lazy_cycles": lazy, "quick_adder_cycles": brief, "plain_cycles": bare, "speedup": bare / max(long, 1.0), "work": float(work), "units": units,
        "work_per_unit": work / max(units, 1.0),
        "ports": sum(c * (loop.array_reads + loop.array_writes) for c, loop in zip(copies, loops, strict=True)), "copies_most": max(copies), "copies_heaviest": copies[heaviest],
        "copies_outer": max((loop.parallel for loop in loops if loop.depth == 1), default=1.0), "flattened": float(sum(flat)), "pipelined": float(asked[""]), "flatten_asked": float(asked["flatten"]),
        "tile_most": float(max(_asked_tile(loop) for loop in loops)), "depth_most": float(max(loop.depth for loop in loops)), "loops": float(len(loops)),
        "trip_heaviest": loops[heaviest].trip_count, "pipelined_above_heaviest": float(_above(heaviest, loops, parent)), "reduction_heaviest": float(loops[heaviest].reduction),
        **_levels(heaviest, loops, parent),
        "reloaded": elements, "bursts": bursts, "refused": float(sum(loop.pipeline == "flatten" and any(loops[j].varying for j in _below(i, children)) for i, loop in enumerate(loops))),
        **_in_vain(loops, granted), "clashes": _clashes(loops),
        "elements": float(sum(loop.distinct_reads + loop.distinct_writes for loop in loops)), "accesses": float(sum(loop.iterations * (loop.array_reads + loop.array_writes) for loop in loops)),
    }


def _asked_tile(loop: HlsLoop) -> int:
    return loop.tile if loop.tile < loop.trip_count else 1


def _tile(loop: HlsLoop) -> int:
    """Rounds of a tile: those of each copy; 1 where nothing is cut, for a tile of all rounds cuts nothing."""
    rounds = loop.tile * (loop.parallel if loop.parallel < loop.trip_count else 1) if loop.tile > 1 else 1
    return rounds if rounds < loop.trip_count else 1


def _tree_of(loop: HlsLoop) -> bool:
    """Whether copies of a loop are summed as a tree: they are asked to be, and nothing else in it is in the way."""
    return loop.carried and loop.reduction and not loop.mixed and not loop.met


def _in_vain(loops: list[HlsLoop], granted: _Granted) -> dict[str, float]:
    """Powers of two of copies of rounds that wait for one another, of copies that do not divide the rounds, and of cuts of loops that are left with no loop inside: what
    has been seen to cost rather than to bring."""
    left = [i for i in range(len(loops)) if not granted.gone[i]]
    return {"copies_waiting": sum(math.log2(loops[i].parallel) for i in left if granted.waits[i]), "copies_uneven": sum(math.log2(loops[i].parallel) for i in left if granted.uneven[i]),
            "cut_innermost": sum(math.log2(loops[i].trip_count / _asked_tile(loops[i])) for i in left if granted.innermost[i] and _asked_tile(loops[i]) > 1)}


def _clashes(loops: list[HlsLoop]) -> float:
    """Arrays that copies of one loop take apart into all their elements, copies of another only into some: no partition of an array serves both."""
    whole = {a for loop in loops if 1 < loop.trip_count <= loop.parallel for a in loop.moving}
    return float(len({a for loop in loops if 1 < loop.parallel < loop.trip_count for a in loop.moving if a in whole}))


def _levels(heaviest: int, loops: list[HlsLoop], parent: list[int]) -> dict[str, float]:
    """The nest that does most of the work, level by level from its innermost loop outwards, `_LEVELS` at most."""
    out: dict[str, float] = {}
    at = heaviest
    for level in range(_LEVELS):
        loop = loops[at] if at >= 0 else None
        out |= {f"level{level}_trip": loop.trip_count if loop else 1.0, f"level{level}_parallel": float(loop.parallel) if loop else 1.0,
                f"level{level}_tile": float(_asked_tile(loop)) if loop else 1.0, f"level{level}_pipeline": float(PIPELINE.index(loop.pipeline)) if loop else 0.0}
        at = parent[at] if at >= 0 else -1
    return out


def _tree(loops: list[HlsLoop]) -> tuple[list[int], list[list[int]]]:
    """(the loop around each, -1 where none; the loops inside each), from their depths in program order."""
    parent, children, stack = [], [[] for _ in loops], []  # type: ignore[var-annotated]
    for i, loop in enumerate(loops):
        while stack and loops[stack[-1]].depth >= loop.depth:
            stack.pop()
        parent.append(stack[-1] if stack else -1)
        if stack:
            children[stack[-1]].append(i)
        stack.append(i)
    return parent, children


def _copies(loops: list[HlsLoop], parent: list[int]) -> tuple[list[float], list[bool]]:
    """(copies of each loop's body, whether a loop around it unrolls it)."""
    copies, flat = [1.0] * len(loops), [False] * len(loops)
    for i, loop in enumerate(loops):
        up = parent[i]
        flat[i] = up >= 0 and (flat[up] or loops[up].pipeline == "flatten")
        copies[i] = (copies[up] if up >= 0 else 1.0) * (max(loop.trip_count, 1.0) if flat[i] else min(loop.parallel, max(loop.trip_count, 1.0)))
    return copies, flat


@dataclass(frozen=True)
class _Granted:
    """What of a design's pragmas takes effect, loop by loop: whether it is no loop any more, for it or one around it unrolls it; whether it is left with no loop inside; copies that bring
    something; whether its copies wait for one another, or do not divide its rounds; whether a refused `flatten` around it keeps it from being pipelined; whether an array it writes is
    taken apart into all its elements by another, so that a round's element is chosen among all of them; whether it is inside copies, of a loop inside another one, that make its rounds
    go to memory."""

    gone: list[bool]
    innermost: list[bool]
    factor: list[float]
    waits: list[bool]
    uneven: list[bool]
    stalled: list[bool]
    spread: list[bool]
    away: list[bool]

    @classmethod
    def of(cls, loops: list[HlsLoop], parent: list[int], children: list[list[int]]) -> _Granted:
        below = [_below(i, children) for i in range(len(loops))]
        refused = [loop.pipeline == "flatten" and any(loops[j].varying for j in below[i]) for i, loop in enumerate(loops)]
        flat, stalled, gone = ([False] * len(loops) for _ in range(3))
        for i, up in enumerate(parent):
            stalled[i] = refused[i] or (up >= 0 and stalled[up])
            flat[i] = up >= 0 and (flat[up] or (loops[up].pipeline == "flatten" and not refused[up] and not any(loops[j].mixed for j in below[up])))
        for i in reversed(range(len(loops))):
            gone[i] = flat[i] or _unasked(i, loops, below[i], gone) or (not loops[i].varying and 1 < loops[i].trip_count <= loops[i].parallel and all(gone[j] for j in below[i]))
        innermost = [not gone[i] and all(gone[j] for j in below[i]) for i in range(len(loops))]
        whole = {a for i, loop in enumerate(loops) if gone[i] for a in loop.writing}
        spread = [innermost[i] and loop.parallel < loop.trip_count and any(a in whole for a in loop.writing) for i, loop in enumerate(loops)]
        chained = [loop.carried and not (_tree_of(loop) and innermost[i]) for i, loop in enumerate(loops)]
        waits = [chained[i] or spread[i] for i in range(len(loops))]
        around = [not innermost[i] and any(innermost[j] and chained[j] and loops[j].array_writes > 0 for j in below[i]) for i in range(len(loops))]
        copies = [1.0 if waits[i] or around[i] else float(min(loop.parallel, max(loop.trip_count, 1.0))) for i, loop in enumerate(loops)]
        factor = [c if innermost[i] else 1.0 if c >= loops[i].trip_count else c**_SHARED for i, c in enumerate(copies)]
        coarse = [not (gone[i] or innermost[i] or loop.carried) and 1 < loop.parallel < loop.trip_count and parent[i] >= 0 and loops[parent[i]].depth > 0 for i, loop in enumerate(loops)]
        away = [False] * len(loops)
        for i, up in enumerate(parent):
            away[i] = up >= 0 and (away[up] or coarse[up])
        return cls(gone, innermost, factor, waits, [1 < loop.parallel < loop.trip_count and loop.trip_count % loop.parallel > 0 for loop in loops], stalled, spread, away)


def _total(loops: list[HlsLoop], children: list[list[int]], parent: list[int], auto: bool = True, brief: bool = False) -> float:
    """Cycles of a design. auto: whether innermost loops are pipelined unasked; brief: whether sums wait briefly, and not at all as a tree of copies."""
    granted = _Granted.of(loops, parent, children)
    return max(1.0, sum(_cycles(i, loops, children, granted, auto, brief) for i in range(len(loops)) if parent[i] < 0) + sum(_reloaded(loops, parent)))


def _reloaded(loops: list[HlsLoop], parent: list[int]) -> tuple[float, float]:
    """Cycles that tiles take to be brought in over the whole run: (for their elements and starts, for their bursts)."""
    elements, bursts = 0.0, 0.0
    for i, loop in enumerate(loops):
        tile, up = _tile(loop), parent[i]
        if tile <= 1:
            continue
        tiles = loop.iterations / tile
        held = kept = False
        while up >= 0:
            copied = 1 < loops[up].parallel < loops[up].trip_count
            held, kept, up = held or (copied and not loops[up].carried), kept or copied, parent[up]
        if held:  # its copies hold what the tile would bring in
            continue
        share = tile / loop.trip_count
        brought, copied_in = loop.resting + (loop.span - loop.resting) * share, loop.copied_resting + (loop.copied - loop.copied_resting) * share
        elements += tiles * (_TILE_CYCLES + (_COPY_CYCLES if kept else _ELEMENT_CYCLES) * brought + _COPY_CYCLES * copied_in)
        bursts += 0.0 if kept else tiles * _BURST_CYCLES * (loop.bursts + tile * loop.bursts_round)
    return elements, bursts


def _cycles(i: int, loops: list[HlsLoop], children: list[list[int]], granted: _Granted, auto: bool, brief: bool) -> float:
    """Cycles of one run of loop i."""
    loop, trip = loops[i], max(loops[i].trip_count, 1.0)
    own = 1.0 + (_UNIT_CYCLES * min(loop.float_ops, 4) if loop.float_ops else float(min(loop.int_ops, 4))) + (_ACCESS_CYCLES if loop.array_reads else 0.0)
    body = own + sum(_cycles(c, loops, children, granted, auto, brief) for c in children[i])
    step = _SHORT_WAIT if brief else _WAIT_CYCLES
    floating = loop.float_ops or any(loops[j].float_ops for j in _below(i, children))
    tree = _tree_of(loop) and bool(loop.float_ops)
    if granted.gone[i]:  # no loop any more: a tree where copies are asked to be summed, one after the other where they wait, side by side else
        if not loop.float_ops:
            return body + (_WHOLE_WAIT * (trip - 1.0) if loop.carried else 0.0)
        return body + (step * math.log2(max(trip, 2.0)) if tree and loop.parallel > 1 else step * (trip - 1.0) if loop.carried else 0.0)

    rounds, left = _rounds(loop, granted.factor[i], granted.uneven[i], granted.innermost[i], brief, tree, step, body)
    stopped = bool(children[i]) and "pipeline" in loop.asked and loop.pipeline == "off" and loop.parallel == 1 and _tile(loop) == 1 and not brief
    if not granted.innermost[i] or granted.stalled[i] or stopped or not (auto or loop.pipeline != "off"):
        return rounds * body
    wait = _wait(loop, granted.spread[i], bool(floating), brief, step)
    if granted.waits[i] and loop.parallel > 1 and floating:
        wait += _CHOICE_CYCLES * math.log2(loop.parallel)
    gathered = sum(loops[j].gathered * loops[j].iterations for j in (i, *_below(i, children))) / max(loop.iterations, 1)
    wait = max(wait, gathered * min(granted.factor[i], trip) / _PORTS)
    if granted.away[i]:
        rounds, wait = trip, max(wait, _AWAY if not loop.carried else _AWAY_SUM if loop.array_writes else _AWAY_VARIABLE)
    elif tree and 1.0 < granted.factor[i] < trip:  # what its copies have summed is summed
        body += step * math.log2(granted.factor[i])
    return max(rounds - 1.0, 0.0) * wait + body + left


def _rounds(loop: HlsLoop, factor: float, uneven: bool, innermost: bool, brief: bool, tree: bool, step: float, body: float) -> tuple[float, float]:
    """(rounds that are left of a loop, cycles of those that its copies leave over)."""
    trip = max(loop.trip_count, 1.0)
    if not (uneven and factor > 1.0):
        return trip / factor, 0.0
    if innermost and tree and loop.guarded:  # they run by themselves
        return math.floor(trip / factor), (trip % factor - 1.0) * step + body
    if innermost and tree and brief:  # they add one after the other
        return math.floor(trip / factor), _LEFT_CYCLES * (trip % factor)
    return trip / factor * _UNEVEN, 0.0


def _wait(loop: HlsLoop, spread: bool, floating: bool, brief: bool, step: float) -> float:
    """Cycles between the rounds of a pipelined loop."""
    if not (loop.carried or spread):
        return 1.0
    if brief and _tree_of(loop):  # later tools keep as many partial sums as an addition takes, where every round adds
        return step if loop.guarded else 1.0
    if not floating:
        return _WHOLE_WAIT
    return _CHAIN_WAIT if brief and loop.parallel > 1 else step


def _unasked(i: int, loops: list[HlsLoop], below: list[int], gone: list[bool]) -> bool:
    """Whether a loop with no pragma is unrolled all the same."""
    loop = loops[i]
    if loop.asked or loop.depth == 0 or loop.varying or not loop.trip_count <= _UNASKED_ROUNDS or not all(gone[j] for j in below):
        return False
    work = sum((1.0 + _OPERATION * loops[j].float_ops) * loops[j].iterations for j in (i, *below)) / max(loop.iterations, 1)
    return bool(work * loop.trip_count <= _UNASKED_WORK)


def _below(i: int, children: list[list[int]]) -> list[int]:
    return [j for c in children[i] for j in (c, *_below(c, children))]


def _above(i: int, loops: list[HlsLoop], parent: list[int]) -> int:
    """Levels above (or at) loop i at which the nearest pipelined loop stands; 9 where none is."""
    level = 0
    while i >= 0:
        if loops[i].pipeline != "off":
            return level
        i, level = parent[i], level + 1
    return 9
