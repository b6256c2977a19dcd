"""What a mapping moves and how long it takes: accesses of every memory by operand, and the stalls of every port.

Accesses are counted as tiles times refills: a tile is read above and written below each time a loop outside it walks along its operand; sums
that leave unfinished come back. Time follows Mei et al., "A Uniform Latency Model for DNN Accelerators with Diverse Architectures and Dataflows",
DATE 2022: each transfer has a period, a window in which it may happen (all of it where two tiles fit, else after the last re-use), and a
real length; a port whose transfers do not fit their windows, or each other's, stalls the array; first tiles load before, last ones leave after.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .array_levels import ONE, PER_COL, PER_ROW, ArrayLevels
from .array_nest import INPUTS, OUTPUTS, WEIGHTS
from .array_search import Mapped, element_bytes_at

READ, WRITE = 0, 1
#: a register of the array has ports of its own outwards, beside those towards the multiplier
PORTS = (READ, WRITE, READ + 2, WRITE + 2)


@dataclass(frozen=True)
class Transfer:
    """One periodic movement through a port, (c,) each: cycles of its `period`, how often (`count`), cycles it takes (`real`) and has (`window`).

    `link` numbers the pair of memories it joins within the operand's chain, -1 towards the multipliers. `edge`: it is part of loading the first tile or
    taking away the last one. `bytes` in all, of one copy of the level.
    """

    level: int
    port: int
    operand: int
    link: int
    period: np.ndarray
    count: np.ndarray
    real: np.ndarray
    window: np.ndarray
    bytes: np.ndarray
    edge: bool


@dataclass(frozen=True)
class Cost:
    """(c,) of c mappings: cycles in all, of which `busy` computing, `stalls`, `onload` and `offload`; J; bytes to and from every level (levels, c).

    `windowed` is the sum of those parts, as the published model has it; it lets first tiles of different operands through one port at once, so `cycles` is never less
    than the busiest port needs for its bytes.
    """

    cycles: np.ndarray
    windowed: np.ndarray
    busy: np.ndarray
    stalls: np.ndarray
    onload: np.ndarray
    offload: np.ndarray
    energy_j: np.ndarray
    read_bytes: np.ndarray
    written_bytes: np.ndarray


def cost(mapped: Mapped, levels: ArrayLevels, mac_j: np.ndarray, travels: np.ndarray, pace: np.ndarray) -> Cost:
    """The cost of every mapping. `mac_j` (c,) J a multiply-add; `travels` (c,) share of inputs and outputs that moves to and from the outermost
    level, the rest stays from kernel to kernel; `pace` (c,) cycles a pass of the array takes: 1, more of a bit-serial one, less of one that skips zeros."""
    count = mapped.sizes.shape[1]
    busy = mapped.inner[-1] * pace
    transfers: list[Transfer] = []
    read, written = np.zeros((len(levels.levels), count)), np.zeros((len(levels.levels), count))
    double = _double(mapped, levels)
    for operand in range(3):
        chain = levels.chain(operand)
        for link in range(-1, len(chain) - 1):
            _link(mapped, levels, operand, chain, link, pace, travels, double, transfers, read, written)
    stalls = _stalls(transfers, levels, busy)
    on, off = _edges(mapped, transfers, levels, busy + stalls)
    nest = mapped.nest
    drain = nest.down.prod(1) - 1.0 + (nest.unrolled / nest.down).prod(1) - 1.0     # a cycle a unit along both sides
    energy = nest.size.prod(1) * mac_j
    for at, level in enumerate(levels.levels):
        energy = energy + read[at] * level.read_j + written[at] * level.write_j
    total = busy + stalls + on + off + drain
    return Cost(np.where(mapped.valid, np.maximum(total, _flow(transfers, levels, busy)), np.inf), total, busy, stalls, on, off, np.where(mapped.valid, energy, np.inf), read, written)


def _flow(transfers: list[Transfer], levels: ArrayLevels, busy: np.ndarray) -> np.ndarray:
    """(c,) cycles of the busiest port, were it never idle: nothing is faster, however the windows lie."""
    longest = np.zeros_like(busy)
    for at, level in enumerate(levels.levels):
        for port in PORTS:
            mine = [t for t in transfers if t.level == at and t.port == port]
            longest = np.maximum(longest, sum((t.bytes for t in mine), np.zeros_like(busy)) / (level.read if port % 2 == READ else level.write))
    return longest


def _copies(mapped: Mapped, spread: int) -> np.ndarray:
    """(c,) copies of a level that hold something."""
    nest = mapped.nest
    if spread == ONE:
        return np.ones(len(nest))
    down, across = nest.down.prod(1), (nest.unrolled / nest.down).prod(1)
    return across if spread == PER_COL else down if spread == PER_ROW else down * across


def _link(mapped: Mapped, levels: ArrayLevels, operand: int, chain: list[int], link: int, pace: np.ndarray, travels: np.ndarray,
          double: dict[tuple[int, int], np.ndarray], transfers: list[Transfer], read: np.ndarray, written: np.ndarray) -> None:
    """Adds the transfers between level `link` of a chain and the one above, and their bytes, to the lists."""
    zero = np.zeros(mapped.sizes.shape[1], dtype=np.int64)
    position = zero if link < 0 else mapped.ends[operand][link]
    if operand != OUTPUTS:
        position = mapped.at(mapped.hold[operand], position)
    period = mapped.at(mapped.inner, position)
    count = mapped.inner[-1] / period
    roomy = double.get((operand, link), np.zeros(len(zero), dtype=bool))
    window = np.where(roomy, period, period / mapped.at(mapped.reused[operand], position))
    again = count - mapped.at(mapped.distinct, position) if operand == OUTPUTS else count
    outer = chain[link + 1] == len(levels.levels) - 1
    gaps: np.ndarray | float = 1.0
    if operand == INPUTS and outer:  # from outside the whole input comes, what strides pass over and the offsets of taps with it
        nest = mapped.nest
        gaps = np.maximum(nest.size[:, 0] * nest.size[:, 2] * nest.in_w * nest.in_h / (mapped.at(mapped.elements[operand, ONE], position) * count), 1.0)
    sides = ([] if link < 0 else [(chain[link], False)]) + [(chain[link + 1], True)]
    for at, upper in sides:
        level = levels.levels[at]
        tile = mapped.at(mapped.elements[operand, level.spread], position)
        share = travels * gaps if outer and operand != WEIGHTS else 1.0
        copies = _copies(mapped, level.spread)
        wide = element_bytes_at(mapped, levels, operand, position, level.spread)
        finished = mapped.nest.output_b if level.spread == ONE else wide
        mean = wide + (1.0 - again / count) * (finished - wide)      # the last visit leaves finished
        # upper side: read down, write up; lower side: written from above, read to above
        moves = [(READ if upper else WRITE, again, wide)] + ([(WRITE if upper else READ, count, mean)] if operand == OUTPUTS else [])
        for port, times, each in moves:
            amount = tile * each * share
            words = np.maximum(amount, level.word * (np.asarray(share) > 0)) if level.word else amount
            (read if port == READ else written)[at] += words * times * copies
            speed = level.read if port % 2 == READ else level.write
            back = operand == OUTPUTS and port == moves[0][0]
            transfers.append(Transfer(at, (READ if level.shared_port else port) + (0 if upper or level.spread == ONE else 2), operand, link, period * pace, times, np.ceil(amount / speed - 1e-9), window * pace,
                                      amount * times, link >= 0 and not back))


def _double(mapped: Mapped, levels: ArrayLevels) -> dict[tuple[int, int], np.ndarray]:
    """(operand, place in its chain) -> (c,) whether the level holds the tile in use and the next one."""
    out = {}
    for at, level in enumerate(levels.levels[:-1]):
        part = {}
        for operand in range(3):
            if level.serves[operand]:
                place = levels.chain(operand).index(at)
                end = mapped.ends[operand][place]
                inside = mapped.ends[operand][place - 1] if place else np.zeros_like(end)
                tile = mapped.at(mapped.elements[operand, level.spread], end) * element_bytes_at(mapped, levels, operand, inside, level.spread)
                # of a tile walked through by this level's outermost loops only a piece is in use at a time
                walked = np.minimum(mapped.at(mapped.fresh[operand], end), mapped.at(mapped.inner, end) / mapped.at(mapped.inner, inside))
                part[operand, place] = tile / walked / level.capacity
        used = np.asarray(sum(part.values()))
        half = used <= 0.5
        for key, mine in part.items():
            out[key] = half | (mine <= 1.0 - used)
            used = np.where(out[key] & ~half, used + mine, used)
    return out


def _stalls(transfers: list[Transfer], levels: ArrayLevels, busy: np.ndarray) -> np.ndarray:
    """(c,) cycles the array waits: those of the worst port, ports working side by side."""
    worst = np.zeros_like(busy)
    for at in range(len(levels.levels)):
        for port in PORTS:
            mine = [t for t in transfers if t.level == at and t.port == port]
            if not mine:
                continue
            if len(mine) == 1:
                t = mine[0]
                worst = np.maximum(worst, (t.real - t.window) * np.maximum(t.count - 1.0, 0.0))
                continue
            late = idle = windows = np.zeros_like(busy)
            free = np.ones_like(busy)
            for t in mine:
                active = t.bytes > 0
                turns = np.where(active, np.maximum(t.count - 1.0, 0.0), 0.0)
                slack = (t.real - t.window) * turns
                late, idle, windows = late + np.maximum(slack, 0.0), idle + np.minimum(slack, 0.0), windows + t.window * turns
                free = free * np.where(active, 1.0 - t.window / t.period, 1.0)
            union = busy * (1.0 - free)
            worst = np.maximum(worst, late + np.maximum(0.0, idle + windows - union))
    return worst


def _edges(mapped: Mapped, transfers: list[Transfer], levels: ArrayLevels, running: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(c,) cycles before the first and after the last: an operand moved once moves while the array runs as far as its port has time to spare."""
    length: dict[tuple[int, int], np.ndarray] = {}
    for at, level in enumerate(levels.levels):
        for port in PORTS:
            mine = [t for t in transfers if t.level == at and t.port == port]
            if not mine:
                continue
            speed = level.read if port % 2 == READ else level.write
            taken = sum(np.where((t.count > 1.0) & (t.edge | (t.operand != OUTPUTS)), t.bytes / speed, 0.0) for t in mine)
            spare = np.maximum(running - np.asarray(taken), 0.0)
            ends = [t for t in mine if t.edge]
            if not ends:
                continue
            least = [np.minimum(np.ceil(_first(mapped, levels, t.operand) / speed - 1e-9), t.real) for t in ends]
            real = np.array([t.real for t in ends])
            once = np.array([t.count <= 1.0 for t in ends])
            for turn in np.argsort(-real, axis=0, kind="stable"):
                here = turn[None]
                mine_real = np.take_along_axis(real, here, 0)[0]
                can = np.where(np.take_along_axis(once, here, 0)[0], mine_real - np.take_along_axis(np.array(least), here, 0)[0], 0.0)
                cut = np.minimum(np.maximum(can, 0.0), spare)
                spare = spare - cut
                np.put_along_axis(real, here, (mine_real - cut)[None], 0)
            for t, left in zip(ends, real, strict=True):
                length[t.operand, t.link] = np.maximum(length.get((t.operand, t.link), 0.0), left)
    none = np.zeros_like(running)
    alone, shared = {WEIGHTS: none, INPUTS: none}, {WEIGHTS: none, INPUTS: none}
    off = none
    for (operand, link), cycles in length.items():
        if operand == OUTPUTS:
            off = off + cycles
            continue
        chain = levels.chain(operand)
        both = all(levels.levels[chain[i]].serves[WEIGHTS] and levels.levels[chain[i]].serves[INPUTS] for i in (link, link + 1))
        kind = shared if both else alone
        kind[operand] = kind[operand] + cycles
    # through ports they share, first tiles queue; else they arrive side by side
    first = shared[WEIGHTS] + np.maximum(shared[INPUTS] + alone[INPUTS], alone[WEIGHTS])
    second = shared[INPUTS] + np.maximum(shared[WEIGHTS] + alone[WEIGHTS], alone[INPUTS])
    return np.minimum(first, second), off


def _first(mapped: Mapped, levels: ArrayLevels, operand: int) -> np.ndarray:
    """(c,) bytes of the first tile of the innermost memory, of one copy: what must be there before anything starts."""
    level = levels.levels[levels.chain(operand)[0]]
    end = mapped.ends[operand][0]
    return mapped.at(mapped.elements[operand, level.spread], end) * element_bytes_at(mapped, levels, operand, np.zeros_like(end), level.spread)
