"""Loop nests as columns: what the cache model and interval analysis compute on.

Loops are aligned at the innermost: the last of L columns is every nest's innermost loop, missing outer ones turn once. Accesses (A) and re-use groups (G: accesses
of one array with equal strides) are padded, with `times` 0 and `valid` False where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .loopnest import CLASSES, Access, LoopNest

N_CLASSES = len(CLASSES)


@dataclass(frozen=True)
class NestColumns:
    """n nests as arrays; strides in bytes, counts as float64. Depth axis d: 0 outside all loops .. L under the innermost."""

    trips: np.ndarray          # (n, L)
    ops: np.ndarray            # (n, L + 1, 5) arithmetic per execution at each depth
    path: np.ndarray           # (n, 5) longest chain of one innermost turn
    carried: np.ndarray        # (n,) index of `CLASSES` that carries a chain over innermost turns, -1 none
    chain_trips: np.ndarray    # (n,) length of that chain
    branches: np.ndarray       # (n, L + 1) data-dependent branches per execution
    missed: np.ndarray         # (n, L + 1) of those, expected mispredicted at best
    vectorizable: np.ndarray   # (n,) bool
    element: np.ndarray        # (n,) bytes of the widest element under the innermost loop
    loads: np.ndarray          # (n, L + 1) loads that move with that loop (executed once per its step)
    stores: np.ndarray         # (n, L + 1)
    strides: np.ndarray        # (n, L + 1) distinct non-zero strides of what moves at that loop: pointer increments with an index register
    streams: np.ndarray        # (n, L + 1) address streams moving at that loop: pointer increments without
    group_strides: np.ndarray  # (n, G, L) bytes, absolute
    group_spans: np.ndarray    # (n, G, L) extra steps that a group's shifts reach
    group_element: np.ndarray  # (n, G) bytes
    group_written: np.ndarray  # (n, G) bool
    group_read: np.ndarray     # (n, G) bool
    valid: np.ndarray          # (n, G) bool

    def __len__(self) -> int:
        return len(self.trips)

    @property
    def iterations(self) -> np.ndarray:
        """(n,) innermost turns."""
        return self.trips.prod(axis=1)

    @property
    def executions(self) -> np.ndarray:
        """(n, L + 1) how often a statement at each depth runs."""
        return np.concatenate([np.ones((len(self), 1)), np.cumprod(self.trips, axis=1)], axis=1)

    def take(self, index: np.ndarray) -> NestColumns:
        """The rows `index`."""
        return NestColumns(**{name: value[index] for name, value in vars(self).items()})

    @classmethod
    def of(cls, nests: Sequence[LoopNest]) -> NestColumns:
        """The columns of a sequence of nests, in order."""
        n, most = len(nests), max((len(x.loops) for x in nests), default=1)
        grouped = [_groups(x) for x in nests]
        wide = max((len(g) for g in grouped), default=1) or 1
        out = cls(trips=np.ones((n, most)), ops=np.zeros((n, most + 1, N_CLASSES)), path=np.zeros((n, N_CLASSES)), carried=np.full(n, -1),
                  chain_trips=np.ones(n), branches=np.zeros((n, most + 1)), missed=np.zeros((n, most + 1)),
                  vectorizable=np.array([x.vectorizable for x in nests], dtype=bool), element=np.full(n, 8.0),
                  loads=np.zeros((n, most + 1)), stores=np.zeros((n, most + 1)), strides=np.zeros((n, most + 1)), streams=np.zeros((n, most + 1)),
                  group_strides=np.zeros((n, wide, most)), group_spans=np.zeros((n, wide, most)), group_element=np.ones((n, wide)),
                  group_written=np.zeros((n, wide), dtype=bool), group_read=np.zeros((n, wide), dtype=bool), valid=np.zeros((n, wide), dtype=bool))
        for row, (nest, groups) in enumerate(zip(nests, grouped, strict=True)):
            out._fill(row, nest, groups)
        return out

    def _fill(self, row: int, nest: LoopNest, groups: list[list[Access]]) -> None:
        depth = len(nest.loops)
        off = self.trips.shape[1] - depth
        self.trips[row, off:] = [loop.trips for loop in nest.loops]
        for s in nest.statements:
            self.ops[row, s.depth + off] += s.ops
            self.branches[row, s.depth + off] += s.branches
            self.missed[row, s.depth + off] += s.branches * min(s.taken, 1.0 - s.taken)
        inner = nest.inner
        self.path[row] = np.max([[dict(s.path).get(c, 0) for c in CLASSES] if s.path else s.ops for s in inner], axis=0)
        self.element[row] = max((a.bytes_each for s in inner for a in s.accesses), default=8)
        for s in inner:
            if s.carried:
                self.carried[row] = CLASSES.index(s.carried)
                # the chain goes on through every loop that does not move what is written
                still = [a.moves_at for a in s.accesses if a.write] or [0]
                self.chain_trips[row] = float(np.prod([loop.trips for loop in nest.loops[max(still):]]))
        for g, members in enumerate(groups):
            first = members[0]
            level = first.moves_at
            at = level + off
            self.loads[row, at] += len({a.shifts for a in members if not a.write})
            self.stores[row, at] += len({a.shifts for a in members if a.write})
            here = slice(off, off + len(first.strides))
            self.group_strides[row, g, here] = np.abs(first.strides)
            if any(a.shifts for a in members):
                shifts = np.array([a.shifts or (0,) * len(first.strides) for a in members])
                self.group_spans[row, g, here] = shifts.max(axis=0) - shifts.min(axis=0)
            self.group_element[row, g] = first.bytes_each
            self.group_written[row, g] = any(a.write for a in members)
            self.group_read[row, g] = any(not a.write for a in members)
            self.valid[row, g] = True
        moving = [m[0] for m in groups]
        for level in range(depth + 1):
            steps = [a.strides[level - 1] for a in moving if level and len(a.strides) >= level and a.strides[level - 1]]
            self.strides[row, level + off] = len(set(steps))
            self.streams[row, level + off] = len(steps)


def _groups(nest: LoopNest) -> list[list[Access]]:
    found: dict[tuple[object, ...], list[Access]] = {}
    for s in nest.statements:
        for a in s.accesses:
            found.setdefault((a.array, a.strides, a.bytes_each), []).append(a)
    return list(found.values())
