"""Cycles and instructions of loop nests on cores, by interval analysis.

A balanced core dispatches at its full rate until a miss event, then loses a known time: execution is a row of intervals between mispredicted branches and long-latency
loads (Karkhanis and Smith, "A first-order superscalar processor model", ISCA 2004; Eyerman, Eeckhout, Karkhanis and Smith, "A mechanistic performance model for superscalar
out-of-order processors", TOCS 27(2), 2009):

    cycles = turns x max(instructions / width, units, chains in the window, short misses)
           + mispredictions x (front-end refill + resolution)
           + misses of the last cache x memory latency / misses that overlap within the window

and never less than any port of the memory hierarchy needs for what passes it. The window holds W / I turns of I instructions: so many chains and
misses overlap (Little's law). In order (W = 0) a turn waits for its own. Instruction fetch always hits, translation too; see `cache_misses` for what its caches leave out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core import ISAS, UNITS, Core, CoreColumns
from ..errors import InputError
from ..loopnest import CLASSES, LoopNest
from ..nest_columns import NestColumns
from .cache_misses import lines_touched, misses

#: misses that teach a stream prefetcher a stream, once a page (assumption: two addresses make a direction)
TRAINING = 2.0
#: instructions that enter a vector loop and leave it: trip checks, remainder count (assumption: what gcc emits)
VECTOR_ENTRY = 8.0
_INT, _ADD, _MUL, _FMA, _DIV = range(len(CLASSES))
_LOAD, _STORE, _BRANCH = (UNITS.index(u) for u in ("load", "store", "branch"))


@dataclass(frozen=True)
class Interval:
    """p answers: arrays of length p, cycles unless the name says otherwise. `instructions` / `cycles` = `ipc`; `latency_s` = cycles / clock."""

    instructions: np.ndarray
    cycles: np.ndarray
    latency_s: np.ndarray
    base: np.ndarray          # dispatch, units, chains, short misses
    branch: np.ndarray        # refill and resolution of mispredicted branches
    long_miss: np.ndarray     # what misses of the last cache add
    memory_bound: np.ndarray  # least cycles any port of the hierarchy needs; the answer where it is the largest
    mispredictions: np.ndarray
    cache_misses: np.ndarray  # (p, 3) lines loaded into each level (levels a core lacks repeat its last)
    dram_bytes: np.ndarray    # loads and write-backs

    @property
    def ipc(self) -> np.ndarray:
        """(p,) instructions per cycle."""
        return self.instructions / self.cycles


def run_nests(nests: Sequence[LoopNest], cores: Sequence[Core]) -> Interval:
    """Nest i on core i. One core may stand for all nests, one nest for all cores. Raises InputError for lengths that do not fit."""
    p = max(len(nests), len(cores))
    if not nests or not cores or not {len(nests), len(cores)} <= {1, p}:
        raise InputError(f"run_nests: got {len(nests)} nests and {len(cores)} cores; expected as many of both, or one of either")
    at = np.arange(p)
    return interval(NestColumns.of(nests).take(at if len(nests) == p else at * 0), CoreColumns.of(cores).take(at if len(cores) == p else at * 0))


def interval(nests: NestColumns, cores: CoreColumns) -> Interval:
    """Row i of `nests` on row i of `cores`, p rows at once: see the module. Overflow-safe: float64 throughout."""
    turns = _turns(nests, cores)
    # outer caches are indexed by physical or hashed addresses: their sets do not follow the strides
    sets = np.where(np.isfinite(cores.ways), np.maximum(np.round(cores.capacity[:, 0] / (cores.ways * cores.line)), 1.0), 1.0)
    lines, needs = lines_touched(nests, cores.line, sets)
    ways = np.full(cores.capacity.shape, np.inf)
    ways[:, 0] = cores.ways
    loaded, pace = misses(nests, lines, cores.line, cores.capacity, needs, ways)       # (p, 3, G)
    waited = _waited(nests, cores)[:, None, :]
    return _account(nests, cores, turns, loaded, (loaded * waited).sum(axis=2), (pace * waited).sum(axis=2))


@dataclass(frozen=True)
class _Turns:
    """Per depth: instructions, dispatch and unit cycles of one execution (p, L + 1); the innermost column is of one turn, scalar or vector."""

    instructions: np.ndarray
    cycles: np.ndarray
    executions: np.ndarray      # (p, L + 1); innermost: turns in all, vector ones and the scalar rest
    lanes: np.ndarray           # (p,) elements of a turn of the vector loop, 1 without
    inner_turns: np.ndarray     # (p,) turns of the innermost loop each time it is entered
    entry: np.ndarray           # (p,) instructions at each entry of a vector loop


def _turns(nests: NestColumns, cores: CoreColumns) -> _Turns:
    x86, sve, riscv = (cores.isa == ISAS.index(name) for name in ("x86", "sve", "riscv"))
    ops = nests.ops.copy()
    lone = ~cores.has_fma
    ops[lone, :, _ADD] += ops[lone][:, :, _FMA]
    ops[lone, :, _MUL] += ops[lone][:, :, _FMA]
    ops[lone, :, _FMA] = 0.0
    loads, stores = nests.loads, nests.stores
    last = nests.trips.shape[1]
    # loop control: pointer increments, compare, branch; loops that turn once are straight code
    turns = np.concatenate([np.zeros((len(nests), 1)), nests.trips > 1], axis=1)
    inner = np.arange(last + 1) == last
    pointers = np.where(riscv[:, None] | ~inner, nests.streams, nests.strides)
    control = turns * (np.maximum(pointers, 1.0) + np.where(riscv, 1.0, 2.0)[:, None] + ~inner)
    arithmetic = ops.sum(axis=2)
    folded = np.where(x86[:, None], np.minimum(loads, arithmetic), 0.0)                # a memory operand saves the load instruction
    instructions = arithmetic + loads + stores - folded + control + 2.0 * nests.branches
    # lanes of the innermost loop
    width = np.where(nests.vectorizable, np.floor(cores.vector_bytes / nests.element), 1.0)
    trips = nests.trips[:, -1]
    lanes = np.where((width >= 2) & (trips >= width), width, 1.0)
    whole = np.where(sve, np.ceil(trips / lanes), np.floor(trips / lanes))
    inner_turns = np.where(lanes > 1, whole + np.where(sve, 0.0, trips - whole * lanes), trips)
    reduced = np.where(nests.carried >= 0, 2.0 * np.log2(lanes), 0.0)                  # the lanes of a sum are added up at the end
    entry = np.where(lanes > 1, VECTOR_ENTRY + reduced, 0.0)
    executions = nests.executions
    executions[:, -1] = executions[:, -2] * inner_turns
    # units
    vector = (inner & (lanes > 1)[:, None])[:, :, None]
    share = np.where(vector, cores.vector_interval[:, None, :], cores.interval[:, None, :]) / cores.count[:, None, :]      # (p, L + 1, 8) cycles an operation
    busy = [ops[:, :, c] * share[:, :, c] for c in (_ADD, _MUL, _FMA, _DIV)]
    busy.append((ops[:, :, _INT] + np.maximum(control - turns, 0.0) + nests.branches) * share[:, :, _INT])
    busy.append((ops[:, :, _ADD:_DIV] * share[:, :, _ADD:_DIV] * cores.count[:, None, _ADD:_DIV]).sum(axis=2) / cores.fp_pipes[:, None])
    busy += [loads * share[:, :, _LOAD], stores * share[:, :, _STORE], (turns + nests.branches) * share[:, :, _BRANCH]]
    busy.append((loads + stores) / cores.memory_ports[:, None])
    cycles = np.maximum(instructions / cores.dispatch[:, None], np.max(busy, axis=0))
    return _Turns(instructions, cycles, executions, lanes, inner_turns, entry)


def _waited(nests: NestColumns, cores: CoreColumns) -> np.ndarray:
    """(p, G) share of a group's misses whose latency is waited for: of groups that are read, where no stream prefetcher runs ahead.

    A prefetcher follows a stream to the end of its page and must learn it anew in the next; a stride beyond a page it does not follow.
    """
    strides, trips = nests.group_strides, nests.trips[:, None, :]
    wide = cores.line[:, None]
    run = np.zeros(strides.shape[:2])                                                  # bytes walked in order before a jump
    step = np.zeros(strides.shape[:2])
    open_ = np.ones(strides.shape[:2], dtype=bool)
    for at in range(strides.shape[2] - 1, -1, -1):
        s, t = strides[:, :, at], np.broadcast_to(trips[:, :, at], strides.shape[:2])
        moves = (s > 0) & (t > 1)
        first = moves & (step == 0)
        follows = moves & ~first & open_ & (s <= run + np.maximum(step, wide))
        run = np.where(first | follows, run + s * (t - 1), run)
        step = np.where(first, s, step)
        open_ &= ~moves | first | follows
    page = cores.prefetch[:, None]
    followed = np.minimum(run, page) / np.maximum(step, wide) + 1.0                    # lines of a page's worth of stream
    share = np.where((step < page) & (step > 0), np.minimum(1.0, TRAINING / followed), 1.0)
    return share * nests.group_read


def _account(nests: NestColumns, cores: CoreColumns, t: _Turns, loaded: np.ndarray, exposed: np.ndarray, pace: np.ndarray) -> Interval:
    """The parts and their sum. `loaded` (p, 3, G) misses, `exposed` (p, 3) of those waited for, `pace` (p, 3) of those a turn while they come."""
    total = loaded.sum(axis=2)
    instructions = (t.executions * t.instructions).sum(axis=1) + t.executions[:, -2] * t.entry
    in_flight = 1.0 + cores.window / np.maximum(t.instructions[:, -1], 1.0)            # turns under way: the oldest and those behind it in the window
    turns = t.executions[:, -1]

    # chains: within a turn, and from turn to turn; over all turns in the window at once
    latency, chain = cores.latency[:, :5].copy(), np.where(nests.carried >= 0, np.take_along_axis(cores.chain, np.maximum(nests.carried, 0)[:, None], axis=1)[:, 0], 0.0)
    lone = ~cores.has_fma
    latency[lone, _FMA] = latency[lone, _ADD] + latency[lone, _MUL]
    chain = np.where(lone & (nests.carried == _FMA), cores.latency[:, _ADD], chain)    # the sum alone is carried
    load = np.where(nests.loads[:, -1] > 0, cores.latency[:, _LOAD], 0.0)
    arithmetic = (nests.path * latency).sum(axis=1)
    ends = np.where(nests.carried >= 0, np.take_along_axis(latency, np.maximum(nests.carried, 0)[:, None], axis=1)[:, 0], (latency * (nests.path > 0)).max(axis=1))
    hidden = np.where((cores.window == 0) & (nests.stores[:, -1] == 0), np.minimum(ends, arithmetic), 0.0)   # in order, only the start of the last operation is waited for
    path = np.maximum(load + arithmetic - hidden, chain)
    # the window slides over chains of `length` turns: as one ends, the next is already under way in it
    length = np.maximum(nests.chain_trips / t.lanes, 1.0)
    chained = np.where(cores.window == 0, path, (path + chain * (length - 1.0)) / (length - 1.0 + in_flight))

    # short misses overlap as far as the window and the miss buffers reach
    beyond = np.concatenate([exposed[:, 1:], np.zeros((len(nests), 1))], axis=1)
    found = np.maximum(exposed - beyond, 0.0)                                          # (p, 3) answered by the next level
    overlap = np.maximum(1.0, np.minimum(pace * in_flight[:, None], cores.outstanding[:, :1]))
    steps = np.maximum(np.diff(cores.hit, axis=1), 0.0)
    extra = np.cumsum(steps, axis=1)                                                   # beyond the first level's hit
    waits = path / in_flight + (found[:, :2] / turns[:, None] * extra[:, :2] / overlap[:, :2]).sum(axis=1)
    inner = np.max([t.cycles[:, -1], chained, waits], axis=0)                         # loads are not on the chain between turns
    base = (t.executions[:, :-1] * t.cycles[:, :-1]).sum(axis=1) + turns * inner + t.executions[:, -2] * t.entry / cores.dispatch

    # long misses: each stands at the head of the window until memory answers, with those behind it in the window
    long_miss = found[:, 2] * extra[:, 2] / overlap[:, 2]

    data = (nests.executions * nests.missed).sum(axis=1)
    exits = _missed_exits(nests, cores, t)
    resolve = cores.frontend + cores.latency[:, _INT]
    branch = data * (resolve + load) + exits * resolve

    written = (loaded * nests.group_written[:, None, :]).sum(axis=2)
    dram = (total[:, -1] + written[:, -1]) * cores.line
    ports = [dram / cores.bytes_per_cycle]
    for level in range(total.shape[1]):
        ports += [total[:, level] * cores.line / cores.fill[:, level], total[:, level] * cores.hit[:, level + 1] / cores.outstanding[:, level]]
    memory_bound = np.max(ports, axis=0)
    cycles = np.maximum(base + branch + long_miss, memory_bound)
    return Interval(instructions, cycles, cycles / cores.clock_hz, base, branch, long_miss, memory_bound, data + exits, total, dram)


def _missed_exits(nests: NestColumns, cores: CoreColumns, t: _Turns) -> np.ndarray:
    """(p,) loop exits that the branch history is too short to foresee: those with more turns, inner loops' turns included, than branches in the history."""
    trips = nests.trips.copy()
    trips[:, -1] = t.inner_turns
    seen = np.cumprod(trips[:, ::-1], axis=1)[:, ::-1]                                 # branches from a loop's entry to its exit, at least
    entered = nests.executions[:, :-1]
    return (entered * ((trips > 1) & (seen > cores.history[:, None]))).sum(axis=1)
