"""The mapping search of a spatial array: every order of a layer's loops, cut to the memories, counted and timed at once.

An order says how the temporal loops nest. Each memory then takes, from the innermost outwards, as many loops of every operand it serves
as fit; where operands share one, the division that leaves the fewest accesses to the level above wins (loop-order-based memory allocation:
Symons et al., "LOMA: Fast Auto-Scheduling on DNN Accelerators through Loop-Order-based Memory Allocation", AICAS 2021). `share` below
one keeps tiles smaller than what fits, which loads the first of them sooner. All mappings of all layers are columns of the same arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from .array_levels import ONE, PER_COL, PER_ROW, PER_UNIT, ArrayLevel, ArrayLevels
from .array_nest import FX, FY, INPUTS, OUTPUTS, OX, OY, REDUCTION, RELEVANT, WEIGHTS, Nests, factors, orders

#: temporal loops at most: 720 orders a layer
MOST_LOOPS = 6
#: mappings scored at once: some 300 float64 arrays of this many cells, 40 MB
SLICE = 2**14


@dataclass(frozen=True)
class Mapped:
    """The mappings of a slice: c columns. `ends[operand]` (levels of its chain, c): loops inside each level, `valid` (c,): all of it fits."""

    nest: Nests                        # one row per column
    sizes: np.ndarray                  # (L, c) loop extents, innermost first
    loops: np.ndarray                  # (L, c) which loop
    inner: np.ndarray                  # (L + 1, c) cycles of all loops inside a position
    elements: dict[tuple[int, int], np.ndarray]  # (operand, spread) -> (L + 1, c) elements of one copy's tile
    hold: tuple[np.ndarray, ...]       # operand -> (L + 1, c) position past the loops that re-use the tile
    reused: tuple[np.ndarray, ...]     # operand -> (L + 1, c) product of the re-using loops just inside a position
    fresh: tuple[np.ndarray, ...]      # operand -> (L + 1, c) product of the loops that walk along it just inside a position
    partial: np.ndarray                # (L + 1, c) whether sums are unfinished at a position
    distinct: np.ndarray               # (L + 1, c) tiles of the output outside a position, each counted once
    ends: tuple[tuple[np.ndarray, ...], ...]
    valid: np.ndarray

    def at(self, table: np.ndarray, position: np.ndarray) -> np.ndarray:
        """(c,) of an (L + 1, c) table at each column's own position."""
        return np.asarray(np.take_along_axis(table, position[None], 0)[0])


def columns(nest: Nests, levels: ArrayLevels, share: float = 1.0, most: int = MOST_LOOPS) -> list[tuple[np.ndarray, Mapped]]:
    """[(layer of each column, mappings)]: every order of every layer, in slices of about `SLICE` columns."""
    pieces = [factors(tuple(int(x) for x in row), most) for row in nest.temporal]
    alike = [tuple(p.index(piece) for piece in p) for p in pieces]
    out = []
    for pattern in sorted(set(alike)):
        order, length = orders(pattern), len(pattern)
        rows = np.array([i for i, p in enumerate(alike) if p == pattern])
        for at in range(0, len(rows), max(1, SLICE // len(order))):
            layers = rows[at:at + max(1, SLICE // len(order))]
            for begin in range(0, len(order), SLICE):
                part = order[begin:begin + SLICE].astype(np.int64)
                table = np.array([pieces[i] for i in layers])            # (layers, L, 2)
                cells = table[:, part]                                   # (layers, orders, L, 2)
                owner = np.repeat(layers, len(part))
                loops, sizes = cells[..., 0].reshape(-1, length).T, cells[..., 1].reshape(-1, length).T.astype(np.float64)
                out.append((owner, _allocate(nest.take(owner), levels, loops, sizes, share)))
    return out


def _allocate(nest: Nests, levels: ArrayLevels, loops: np.ndarray, sizes: np.ndarray, share: float) -> Mapped:
    length, count = sizes.shape
    extent = np.ones((7, length + 1, count))
    for loop in range(7):
        np.cumprod(np.where(loops == loop, sizes, 1.0), axis=0, out=extent[loop, 1:])
    inner = np.vstack([np.ones((1, count)), np.cumprod(sizes, axis=0)])
    hold, reused, fresh = _runs(loops, sizes)
    partial, distinct = _sums(extent)
    mapped = Mapped(nest, sizes, loops, inner, _elements(nest, levels, extent), hold, reused, fresh, partial, distinct, (), np.ones(count, dtype=bool))
    current = [np.zeros(count, dtype=np.int64) for _ in range(3)]
    ends: list[list[np.ndarray]] = [[], [], []]
    valid = mapped.valid.copy()
    for at, level in enumerate(levels.levels):
        served = [o for o in range(3) if level.serves[o]]
        if at == len(levels.levels) - 1:
            for o in served:
                ends[o].append(np.full(count, length))
            break
        tile = {o: mapped.elements[o, level.spread] * element_bytes_at(mapped, levels, o, current[o], level.spread) for o in served}
        room = _room(level, share)
        best = np.full(count, np.inf)
        chosen = [c.copy() for c in current]
        inside = {o: np.arange(length + 1)[:, None] >= current[o] for o in served}
        above = {o: np.where(inside[o] & (tile[o] <= level.capacity), tile[o] / inner, np.inf) for o in served}
        found = np.zeros(count, dtype=bool)
        for ends_here in product(range(length + 1), repeat=len(served)):
            need = sum(tile[o][j] for o, j in zip(served, ends_here, strict=True))
            accesses = sum(above[o][j] for o, j in zip(served, ends_here, strict=True))
            better = (accesses <= best) & (need <= room) & np.isfinite(accesses)
            if better.any():
                best = np.where(better, accesses, best)
                found |= better
                for o, j in zip(served, ends_here, strict=True):
                    chosen[o] = np.where(better, j, chosen[o])
        for o in served:
            # what a tile cannot be made to fit keeps its size: such a mapping is not valid
            current[o] = np.where(found, np.maximum(chosen[o], current[o]), current[o])
            current[o] = mapped.at(mapped.hold[o], current[o]) if o != OUTPUTS else current[o]
            ends[o].append(current[o])
        fits = sum(mapped.at(tile[o], current[o]) for o in served) <= level.capacity
        valid &= np.asarray(fits)
    return replace(mapped, ends=tuple(tuple(e) for e in ends), valid=valid)


def element_bytes_at(mapped: Mapped, levels: ArrayLevels, operand: int, position: np.ndarray, spread: int) -> np.ndarray:
    """(c,) bytes of an element of the operand in a level entered at a position: sums are wide until they are finished, and so are the registers of the array, where
    they meet."""
    nest = mapped.nest
    if operand != OUTPUTS:
        return nest.weight_b if operand == WEIGHTS else nest.input_b
    if spread != ONE:
        return np.full_like(nest.output_b, levels.sum_bytes)
    return np.where(mapped.at(mapped.partial, position), np.maximum(levels.sum_bytes, nest.output_b), nest.output_b)


def _room(level: ArrayLevel, share: float) -> float:
    """Bytes that tiles may fill: all, or `share` of four times the largest power of four bytes inside, so that a larger memory is offered the tiles of a smaller one, too."""
    if level.spread != ONE or share >= 1.0 or not np.isfinite(level.capacity):
        return level.capacity
    return float(4.0 ** (np.floor(np.log2(level.capacity) / 2.0) + 1.0) * share)


def _elements(nest: Nests, levels: ArrayLevels, extent: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    out = {}
    wide = nest.unrolled / nest.down
    beside = {ONE: nest.unrolled, PER_COL: nest.down, PER_ROW: wide, PER_UNIT: np.ones_like(wide)}
    for spread in {level.spread for level in levels.levels}:
        full = extent * beside[spread].T[:, None, :]
        across, down = _side(nest, full, OX, FX, nest.in_w), _side(nest, full, OY, FY, nest.in_h)
        out[WEIGHTS, spread] = full[RELEVANT[WEIGHTS]].prod(0)
        out[INPUTS, spread] = full[0] * full[2] * across * down
        out[OUTPUTS, spread] = full[RELEVANT[OUTPUTS]].prod(0)
    return out


def _side(nest: Nests, full: np.ndarray, positions: int, taps: int, whole: np.ndarray) -> np.ndarray:
    """(L + 1, c) side of an input tile: what its taps reach, within the input."""
    return np.asarray(np.minimum((full[positions] - 1.0) * nest.stride + full[taps], np.maximum(whole, full[taps])))


def _runs(loops: np.ndarray, sizes: np.ndarray) -> tuple[tuple[np.ndarray, ...], ...]:
    """(hold, reused, fresh) of `Mapped`, by operand."""
    length, count = sizes.shape
    hold, reused, fresh = [], [], []
    for operand in range(3):
        walks = RELEVANT[operand][loops]
        past = np.empty((length + 1, count), dtype=np.int64)
        again, new = np.ones((length + 1, count)), np.ones((length + 1, count))
        past[length] = length
        for j in range(length):
            again[j + 1] = np.where(walks[j], 1.0, again[j] * sizes[j])
            new[j + 1] = np.where(walks[j], new[j] * sizes[j], 1.0)
        for j in range(length - 1, -1, -1):
            past[j] = np.where(walks[j], j, past[j + 1])
        hold.append(past)
        reused.append(again)
        fresh.append(new)
    return tuple(hold), tuple(reused), tuple(fresh)


def _sums(extent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(partial, distinct) of `Mapped`."""
    reduction, outputs = extent[REDUCTION].prod(0), extent[RELEVANT[OUTPUTS]].prod(0)
    return reduction < reduction[-1] * 0.999, outputs[-1] / outputs
