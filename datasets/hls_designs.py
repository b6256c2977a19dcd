"""Designs of HLS kernels as rows of a table: a program graph read once, its pragmas set per row, and what they mean for the schedule as figures.

The schedule is the usual one of high-level synthesis: a pipelined loop starts a round every initiation interval, a loop that is not runs its rounds one after the
other, PARALLEL and `flatten` copy the body, copies share the ports of the arrays they read. Not every pragma takes effect: a loop whose bounds vary cannot be unrolled, so no
`flatten` goes through it (AMD, "Vitis High-Level Synthesis User Guide", UG1399, on `pragma HLS unroll` and variable loop bounds); copies of a loop whose rounds wait for one another
bring nothing, unless they are summed as a tree; a TILE inside another loop has what it works on brought in anew, tile by tile. Latencies of units are round numbers of Vitis HLS at
250 MHz (assumption: add and multiply 5 cycles each, two ports per array); figures made of them order designs, they are no forecasts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import FormatError
from .frontends.hls import PIPELINE, HlsDesign, HlsLoop, opened, read_hls

#: cycles of a floating-point unit, and words an array gives per cycle (assumptions)
_UNIT_CYCLES, _PORTS = 5.0, 2.0
#: cycles that an element takes from memory (eight bytes of a bus of 512 bits), and of a tile of an outermost loop, whose arrays are cut with it (assumption: a twelfth of that)
_ELEMENT_CYCLES, _OUTERMOST = 0.125, 1.0 / 12.0
#: copies of a loop with loops inside bring this power of their number, for they share the memory; rounds of a factor that does not divide the trip count take so much longer (assumptions)
_SHARED, _UNEVEN = 0.5, 1.5
#: levels of the heaviest nest that are told one by one
_LEVELS = 3
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
    """A design as figures: cycles of the schedule in two readings (whether innermost loops are pipelined unasked), the same with nothing set, units and ports
    that copies ask for, how much is pipelined, unrolled and tiled."""
    parent, children = _tree(loops)
    plain = [replace(loop, pipeline="off", parallel=1, tile=1) for loop in loops]
    copies, flat = _copies(loops, parent)
    heaviest = max(range(len(loops)), key=lambda i: loops[i].iterations * (1 + loops[i].float_ops + loops[i].int_ops))
    work = sum(loop.iterations * (loop.float_ops or loop.int_ops) for loop in loops)
    units = sum(c * (loop.float_ops or loop.int_ops) for c, loop in zip(copies, loops, strict=True))
    asked = {kind: sum(loop.pipeline == kind for loop in loops) for kind in ("", "flatten")}
    eager, lazy, bare = (_total(some, children, parent, auto) for some, auto in ((loops, True), (loops, False), (plain, True)))
    return {
        "schedule_cycles": eager, "lazy_cycles": lazy, "plain_cycles": bare, "speedup": bare / max(eager, 1.0), "work": float(work), "units": units, "work_per_unit": work / max(units, 1.0),
        "ports": sum(c * (loop.array_reads + loop.array_writes) for c, loop in zip(copies, loops, strict=True)), "copies_most": max(copies), "copies_heaviest": copies[heaviest],
        "copies_outer": max((loop.parallel for loop in loops if loop.depth == 1), default=1.0), "flattened": float(sum(flat)), "pipelined": float(asked[""]), "flatten_asked": float(asked["flatten"]),
        "tile_most": float(max(loop.tile for loop in loops)), "depth_most": float(max(loop.depth for loop in loops)), "loops": float(len(loops)),
        "trip_heaviest": loops[heaviest].trip_count, "pipelined_above_heaviest": float(_above(heaviest, loops, parent)), "reduction_heaviest": float(loops[heaviest].reduction),
        **_levels(heaviest, loops, parent),
        "reloaded": _reloaded(loops), "refused": float(sum(loop.pipeline == "flatten" and any(loops[j].varying for j in _below(i, children)) for i, loop in enumerate(loops))),
        "elements": float(sum(loop.distinct_reads + loop.distinct_writes for loop in loops)), "accesses": float(sum(loop.iterations * (loop.array_reads + loop.array_writes) for loop in loops)),
    }


def _levels(heaviest: int, loops: list[HlsLoop], parent: list[int]) -> dict[str, float]:
    """The nest that does most of the work, level by level from its innermost loop outwards, `_LEVELS` at most."""
    out: dict[str, float] = {}
    at = heaviest
    for level in range(_LEVELS):
        loop = loops[at] if at >= 0 else None
        out |= {f"level{level}_trip": loop.trip_count if loop else 1.0, f"level{level}_parallel": float(loop.parallel) if loop else 1.0,
                f"level{level}_tile": float(loop.tile) if loop else 1.0, f"level{level}_pipeline": float(PIPELINE.index(loop.pipeline)) if loop else 0.0}
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
    """What of a design's pragmas takes effect, loop by loop: pipeline; copies that bring something; whether it is no loop any more, for one around it unrolls it; whether it has
    as many copies as rounds; whether a refused `flatten` around it keeps it from being pipelined."""

    pipeline: list[str]
    factor: list[float]
    flat: list[bool]
    full: list[bool]
    stalled: list[bool]

    @classmethod
    def of(cls, loops: list[HlsLoop], parent: list[int], children: list[list[int]]) -> _Granted:
        pipeline, factor, flat, full, stalled = [], [], [], [], []  # type: ignore[var-annotated]
        for i, loop in enumerate(loops):
            up, copies = parent[i], min(loop.parallel, max(loop.trip_count, 1.0))
            refused = loop.pipeline == "flatten" and any(loops[j].varying for j in _below(i, children))
            pipeline.append("off" if refused else loop.pipeline)
            stalled.append(refused or (up >= 0 and stalled[up]))
            flat.append(up >= 0 and (flat[up] or pipeline[up] == "flatten"))
            waits = loop.carried and (bool(children[i]) or not loop.reduction)
            factor.append(1.0 if waits else copies**_SHARED if children[i] else copies)
            full.append(not loop.varying and loop.parallel >= loop.trip_count)
        return cls(pipeline, factor, flat, full, stalled)


def _total(loops: list[HlsLoop], children: list[list[int]], parent: list[int], auto: bool) -> float:
    granted = _Granted.of(loops, parent, children)
    copies, _ = _copies(loops, parent)
    return max(1.0, sum(_cycles(i, loops, children, granted, copies, auto) for i in range(len(loops)) if parent[i] < 0) + _reloaded(loops))


def _reloaded(loops: list[HlsLoop]) -> float:
    """Cycles that tiles take to be brought in, over the whole run."""
    return sum(_ELEMENT_CYCLES * loop.iterations / loop.tile * loop.span * (_OUTERMOST if loop.depth <= 1 else 1.0) for loop in loops if loop.tile > 1)


def _cycles(i: int, loops: list[HlsLoop], children: list[list[int]], granted: _Granted, copies: list[float], auto: bool) -> float:
    """Cycles of one run of loop i."""
    loop, pipeline = loops[i], granted.pipeline[i]
    own = 1.0 + (_UNIT_CYCLES * min(loop.float_ops, 4) if loop.float_ops else float(min(loop.int_ops, 4))) + (1.0 if loop.array_reads else 0.0)
    inside = [_cycles(c, loops, children, granted, copies, auto) for c in children[i]]
    if granted.flat[i]:  # no loop any more: a tree where copies are summed, side by side else, chained where neither is said
        return own * (math.log2(max(loop.trip_count, 2.0)) if loop.reduction else 1.0) + sum(inside)
    uneven = loop.parallel > 1 and not granted.full[i] and loop.trip_count % loop.parallel > 0
    rounds = math.ceil(max(loop.trip_count, 1.0) / granted.factor[i] * (_UNEVEN if uneven else 1.0))
    body = own + sum(inside)
    below = _below(i, children)
    innermost = all(granted.flat[j] or granted.full[j] for j in below)  # with none inside, or all of them unrolled
    if not granted.stalled[i] and (pipeline == "flatten" or (innermost and (pipeline == "" or auto))):
        ports = sum((loops[j].array_reads + loops[j].array_writes) * copies[j] / max(copies[i] / min(loop.parallel, max(loop.trip_count, 1.0)), 1.0) for j in [i, *below])
        waits = _UNIT_CYCLES if loop.float_ops and loop.reduction and loop.parallel == 1 and not below else 1.0
        return rounds * max(waits, min(ports / (_PORTS * max(copies[j] for j in [i, *below])), ports)) + body
    if pipeline == "" and inside and not granted.stalled[i] and not loop.carried:  # coarse-grained: the longest stage sets the pace
        return rounds * max(own, *inside) + body
    return rounds * body


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
