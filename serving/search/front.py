"""Pareto fronts: who is dominated, how much room a front covers, and how crowded it is. Objectives are minimised; arrays are (n, m)."""

from __future__ import annotations

import numpy as np


def nondominated(objectives: np.ndarray) -> np.ndarray:
    """(n,) bool: no other row is at least as good everywhere and better somewhere. Of equal rows all are kept; a row with NaN never is."""
    points = np.asarray(objectives, dtype=np.float64)
    kept: np.ndarray = np.asarray(np.isfinite(points).all(axis=1))
    rows = np.flatnonzero(kept)
    left = rows[np.lexsort(points[rows].T[::-1])] if len(rows) else rows  # who dominates a row stands before it
    kept[:] = False
    while len(left):
        best = points[left[0]]  # nobody left dominates the first
        kept[left[0]] = True
        left = left[1:]
        others = points[left]
        left = left[~((best <= others).all(axis=1) & (best < others).any(axis=1))]
    return kept


def ranks(objectives: np.ndarray) -> np.ndarray:
    """(n,) the layer a row lies in: 0 the front, 1 the front without those, ... (Deb et al., NSGA-II, IEEE TEC 2002)."""
    out = np.full(len(objectives), -1, dtype=np.int64)
    left, layer = np.flatnonzero(np.isfinite(objectives).all(axis=1)), 0
    while len(left):
        best = nondominated(objectives[left])
        out[left[best]] = layer
        left, layer = left[~best], layer + 1
    out[out < 0] = layer
    return out


def crowding(objectives: np.ndarray) -> np.ndarray:
    """(n,) crowding distance within one front (NSGA-II): inf at the ends, else the sum over objectives of the gap between the neighbours."""
    n, m = objectives.shape
    out = np.zeros(n)
    for j in range(m):
        order = np.argsort(objectives[:, j], kind="stable")
        values = objectives[order, j]
        span = max(values[-1] - values[0], 1e-300)
        out[order[[0, -1]]] = np.inf
        out[order[1:-1]] += (values[2:] - values[:-2]) / span
    return out


def hypervolume(objectives: np.ndarray, reference: np.ndarray) -> float:
    """Volume dominated by the rows and bounded by `reference` (m,), exact: a sweep in two dimensions, above by slices along the last (While et al., IEEE TEC 2012,
    discuss the cost; fronts here are small)."""
    points = np.asarray(objectives, dtype=np.float64)
    points = points[np.isfinite(points).all(axis=1) & (points < reference).all(axis=1)]
    if not len(points):
        return 0.0
    points = np.unique(points[nondominated(points)], axis=0)
    if points.shape[1] == 1:
        return float(reference[0] - points[:, 0].min())
    if points.shape[1] == 2:  # ascending in the first, descending in the second
        heights = np.concatenate([[reference[1]], points[:-1, 1]]) - points[:, 1]
        return float(((reference[0] - points[:, 0]) * heights).sum())
    order = points[np.argsort(points[:, -1], kind="stable")]
    edges = np.append(order[1:, -1], reference[-1])
    return float(sum(hypervolume(order[: i + 1, :-1], reference[:-1]) * (edge - row[-1]) for i, (row, edge) in enumerate(zip(order, edges, strict=True)) if edge > row[-1]))


def scaled(objectives: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Objectives on the scale where the front of `like` spans 0..1 in each (log where all of it is positive and spans more than a factor of 10)."""
    front = like[nondominated(like)]
    out = np.array(objectives, dtype=np.float64)
    for j in range(front.shape[1]):
        low, high = float(front[:, j].min()), float(front[:, j].max())
        if low > 0 and high > 10 * low:
            with np.errstate(divide="ignore", invalid="ignore"):
                out[:, j] = np.log(out[:, j])
            low, high = float(np.log(low)), float(np.log(high))
        out[:, j] = (out[:, j] - low) / (high - low if high > low else max(abs(low), 1e-300))
    return out


def covered(objectives: np.ndarray, like: np.ndarray) -> float:
    """Hypervolume on the scale of `scaled`, up to 1.1 in each objective: what fronts of one problem are compared by."""
    return hypervolume(scaled(objectives, like), np.full(like.shape[1], 1.1))
