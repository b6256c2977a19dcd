"""Splits that do not leak: rows of one group (a workload, an (n, k) site, a device) stay on one side."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from .errors import TableError
from .table import Table


def split_by_group(table: Table, fractions: Mapping[str, float], seed: int = 0, salt: str = "") -> dict[str, Table]:
    """`table` cut into named parts by its groups, each group whole.

    A group's place depends only on its label, the seed and the `salt` (a hash), so adding rows or groups moves no other group. A part of a table that is cut once more needs a salt of its own: the
    same hash would leave some parts of it empty.
    Raises TableError when fractions do not sum to 1 or a part would be empty.
    """
    if not abs(sum(fractions.values()) - 1.0) <= 1e-9 or not all(f > 0 for f in fractions.values()):
        raise TableError(f"split fractions must be positive and sum to 1, got {dict(fractions)}")
    labels, inverse = np.unique(table.groups.astype(str), return_inverse=True)
    place = np.array([_unit_hash(f"{salt}{seed}:{label}") for label in labels])
    edges = np.cumsum(list(fractions.values()))
    part_of_group = np.searchsorted(edges[:-1], place, side="right")
    parts: dict[str, Table] = {}
    for i, name in enumerate(fractions):
        rows = part_of_group[inverse] == i
        if not rows.any():
            raise TableError(f"split: part {name!r} is empty; {len(labels)} groups are too few for the fractions {dict(fractions)}")
        parts[name] = table.take(rows)
    return parts


def whole_groups(groups: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(n,) fold of each row, 0 .. count - 1: groups whole, folds of about equal rows, none empty."""
    labels, inverse, sizes = np.unique(groups.astype(str), return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    place, filled = np.zeros(len(labels), dtype=np.int64), np.zeros(count, dtype=np.int64)
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        place[group] = int(np.argmin(filled))
        filled[place[group]] += sizes[group]
    return place[inverse]


def hold_out(table: Table, column: str, values: tuple[str, ...]) -> tuple[Table, Table]:
    """(rest, held out): rows whose slice `column` is one of `values` are held out. Raises TableError when either is empty."""
    if column not in table.slices.columns:
        raise TableError(f"hold-out: no slice {column!r}; the table has: {', '.join(map(str, table.slices.columns))}")
    held = table.slices[column].astype(str).isin(values).to_numpy()
    if not held.any() or held.all():
        raise TableError(f"hold-out of {column} in {values}: {int(held.sum())} of {len(table)} rows; both sides need rows")
    return table.take(~held), table.take(held)


def _unit_hash(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2.0**64
