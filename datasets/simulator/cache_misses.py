"""Misses of an affine loop nest in caches of given sizes, by footprints: no trace is walked.

A cache holds what a nest re-uses if everything touched between two uses fits into it. Between two turns of a loop lies the footprint of what that loop encloses;
so the outermost loop whose body fits keeps its re-use, and all loops outside of it load their data anew (Ferrante, Sarkar and Thrash, "On estimating and enhancing
cache effectiveness", LCPC 1991; re-use by groups of equal strides: Wolf and Lam, "A data locality optimizing algorithm", PLDI 1991):

    misses = lines of a group over the innermost loops whose enclosed footprint fits  x  turns of the loops outside

Caches start cold, replace the least recently used and allocate on writes. A group walked at a stride of many lines meets only some of the sets, and fits only if those have ways
enough for it; different groups are taken not to collide. No sharing, no inclusion between levels; instruction and translation misses are not counted.
"""

from __future__ import annotations

import numpy as np

from ..nest_columns import NestColumns


def lines_touched(nests: NestColumns, line: np.ndarray, sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(p, G, L + 1) distinct cache lines each group touches in one run of the loops l .. L - 1 (l = L: one innermost turn), and how many ways of its sets those need.

    `line`: (p,) bytes. `sets`: (p,) of the cache whose sets the address picks by its low bits, a whole number (1: fully associative). A set of steps grows from the smallest stride up: a stride within the run (or the line) so far lengthens the run; one that continues the
    lattice of the stride below it lengthens the lattice; any other repeats what there is. A run of e bytes at any alignment touches (e - element) / line + 1 lines on average.
    """
    p, groups, loops = nests.group_strides.shape
    trips = nests.trips[:, None, :] + nests.group_spans                      # (p, G, L)
    order = np.argsort(nests.group_strides, axis=2, kind="stable")
    strides = np.take_along_axis(nests.group_strides, order, axis=2)
    wide = line[:, None].astype(np.float64)
    element = nests.group_element
    out, ways = np.empty((p, groups, loops + 1)), np.empty((p, groups, loops + 1))
    many = np.broadcast_to(sets[:, None], (p, groups)).astype(np.int64)

    def met(pitch: np.ndarray, count: np.ndarray) -> np.ndarray:
        """Sets that `count` lines at a pitch start in."""
        apart = np.where(pitch % wide == 0, pitch / wide, 1.0).clip(1, 2.0**62).astype(np.int64)
        return np.minimum(count, many / np.gcd(apart, many))

    for level in range(loops, -1, -1):
        inside = np.where(np.arange(loops) >= level, trips, 1.0 + nests.group_spans)
        inside = np.take_along_axis(inside, order, axis=2)
        extent, blocks = element.copy(), np.ones((p, groups))
        pitch, count, closed = np.ones((p, groups)), np.ones((p, groups)), np.ones((p, groups))
        for at in range(loops):
            s, t = strides[:, :, at], inside[:, :, at]
            moves = (s > 0) & (t > 1)
            run = moves & (count == 1) & (s <= np.maximum(extent, wide))
            joins = moves & (count > 1) & (s <= pitch * count)
            opens = moves & ~run & ~joins
            extent = np.where(run, extent + s * (t - 1), extent)
            blocks = np.where(opens, blocks * count, blocks)
            closed = np.where(opens, closed * np.where(count > 1, met(pitch, count), 1.0), closed)
            count = np.where(joins, count + np.maximum(s / pitch, 1.0) * (t - 1), np.where(opens, t, count))
            pitch = np.where(opens, s, pitch)
        run_lines = (extent - element) / wide + 1.0
        raw = blocks * count * run_lines
        ways[:, :, level] = raw / np.clip(closed * np.where(count > 1, met(pitch, count), 1.0) * np.ceil(run_lines), 1.0, np.maximum(many, 1))
        if level == loops:
            out[:, :, level] = raw
        else:  # never fewer than one turn touches, never more than all turns touch apart
            out[:, :, level] = np.clip(raw, out[:, :, level + 1], out[:, :, level + 1] * nests.trips[:, None, level])
    return np.where(nests.valid[:, :, None], out, 0.0), ways


def misses(nests: NestColumns, lines: np.ndarray, line: np.ndarray, capacity: np.ndarray, needs: np.ndarray | None = None,
           ways: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(p, C, G) lines each group loads into each of C caches of (p, C) `capacity` bytes, and how many a turn while it does so; `lines` of `lines_touched`.

    `needs`: its ways needed (p, G, L + 1), held against (p, C) `ways` (infinite where the sets are no affair of the address). Never fewer in a smaller cache; at least the lines
    touched at all, at most one per execution of the group.
    """
    loops = nests.trips.shape[1]
    outside = np.concatenate([np.ones((len(nests), 1)), np.cumprod(nests.trips, axis=1)], axis=1)   # (p, L + 1) turns of the loops above l
    loaded = lines * outside[:, None, :]                                     # (p, G, L + 1) if re-use is kept inside l only
    here = np.broadcast_to(lines[:, None, :, :], (*capacity.shape, *lines.shape[1:]))
    if needs is not None and ways is not None:                               # a group leaves alone the sets it does not meet
        here = here * np.minimum(1.0, ways[:, :, None, None] / needs[:, None, :, :])
    fits = (here.sum(axis=2) * line[:, None, None] <= capacity[:, :, None])[:, :, None, :]   # (p, C, 1, L + 1)
    if needs is not None and ways is not None:
        fits = fits & (needs[:, None, :, :] <= ways[:, :, None, None])       # (p, C, G, L + 1)
    outermost = np.where(fits.any(axis=3), fits.argmax(axis=3), loops)       # outermost l whose loops' data fit
    kept = np.maximum(outermost - 1, 0)                                      # then the loop around keeps its re-use, too
    kept = np.broadcast_to(kept, (*capacity.shape, lines.shape[1]))
    def at(values: np.ndarray, level: np.ndarray) -> np.ndarray:
        return np.take_along_axis(np.broadcast_to(values[:, None, :, :], (*capacity.shape, *values.shape[1:])), level[..., None], axis=3)[..., 0]

    # a loop that brings nothing new (a repetition) does not thin them out: they stand in the first of its turns
    pace = lines.copy()
    inside = nests.iterations[:, None]
    for level in range(loops - 1, -1, -1):
        pace[:, :, level] = np.where(lines[:, :, level] > lines[:, :, level + 1], loaded[:, :, level] / inside, pace[:, :, level + 1])
    return at(loaded, kept), at(pace, kept)
