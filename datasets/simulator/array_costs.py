"""Costs of matrix work on an array whose memories are written in detail: the best mapping of each layer, over dataflows and cores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from ..columns import OpColumns
from .array_levels import ONE, ArrayLevels
from .array_nest import CHOICES, nests
from .array_pace import kept_share, pace
from .array_search import MOST_LOOPS, columns
from .array_traffic import cost

#: how a layer is cut over several arrays: by independent products, rows or columns of the output
SPLITS = ("b", "m", "n")


@dataclass(frozen=True)
class ArrayCost:
    """(n,) of n layers, of their best mappings, all cores together. Cycles, J, bytes; `choice` codes dataflow and split, `order` the order of the loops."""

    cycles: np.ndarray
    windowed: np.ndarray          # without the floor of the busiest port: see `Cost`
    busy: np.ndarray
    stalls: np.ndarray
    edges: np.ndarray             # loading the first and taking away the last tiles
    mac_j: np.ndarray
    chip_j: np.ndarray            # memories on the chip
    outer_j: np.ndarray           # the outermost memory
    chip_bytes: np.ndarray        # to and from the memories that the whole array shares
    outer_bytes: np.ndarray
    choice: np.ndarray
    order: np.ndarray

    @property
    def energy_j(self) -> np.ndarray:
        """(n,) dynamic energy."""
        return self.mac_j + self.chip_j + self.outer_j

    @property
    def valid(self) -> np.ndarray:
        """(n,) whether any mapping fits the memories."""
        return np.isfinite(self.cycles)


def rank(objective: str, cycles: np.ndarray, energy_j: np.ndarray, static_j: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """(first, second) keys to minimise: what the objective names, and what decides between equals. `static_j` joules a cycle of static power.

    Raises KeyError for an objective other than latency, energy, edp.
    """
    known = np.isfinite(cycles)
    total = np.where(known, np.where(known, energy_j, 0.0) + static_j * np.where(known, cycles, 0.0), np.inf)
    product = np.where(known, np.where(known, total, 0.0) * np.where(known, cycles, 0.0), np.inf)
    return {"latency": (cycles, total), "energy": (total, cycles), "edp": (product, cycles)}[objective]


def array_costs(ops: OpColumns, levels: ArrayLevels, mac_j: np.ndarray, travels: np.ndarray | None = None, objective: str = "latency", static_j: float = 0.0,
                shares: Sequence[float] = (1.0,), most: int = MOST_LOOPS) -> ArrayCost:
    """The best mapping of n matrix ops. `mac_j` (n,) J a multiply-add; `travels` (n,): see `cost`; `shares` of each memory that tiles may fill, all tried;
    `most` temporal loops. A layer that nothing fits has infinite cycles."""
    count = len(ops)
    travels = np.ones(count) if travels is None else travels
    flows = CHOICES.get(levels.dataflow, (levels.dataflow,))
    best: ArrayCost | None = None
    for split in SPLITS if levels.cores > 1 else ("",):
        part, cores = _part(ops, split, levels.cores)
        slow, joules = pace(part, levels), mac_j * kept_share(part, levels)
        for at, flow in enumerate(flows):
            nest = nests(part, levels.rows, levels.cols, flow)
            code = at + len(flows) * (SPLITS.index(split) if split else 0)
            for share in shares:
                for owner, mapped in columns(nest, levels, share, most):
                    found = cost(mapped, levels, joules[owner], travels[owner], slow[owner])
                    first, second = rank(objective, found.cycles, found.energy_j * cores[owner], static_j)
                    order = np.lexsort((second, first, owner))
                    chosen = order[np.r_[True, owner[order][1:] != owner[order][:-1]]]
                    here = owner[chosen]
                    moved = (found.read_bytes + found.written_bytes)[:, chosen] * cores[here]
                    joined = np.array([found.read_bytes[i, chosen] * v.read_j + found.written_bytes[i, chosen] * v.write_j for i, v in enumerate(levels.levels)]) * cores[here]
                    shared = [i for i, v in enumerate(levels.levels[:-1]) if v.spread == ONE]
                    new = ArrayCost(found.cycles[chosen], found.windowed[chosen], found.busy[chosen], found.stalls[chosen], (found.onload + found.offload)[chosen],
                                    nest.size[here].prod(1) * joules[here] * cores[here], joined[:-1].sum(0), joined[-1], moved[shared].sum(0), moved[-1],
                                    np.full(len(here), code), chosen - np.searchsorted(owner, here))
                    best = _better(best, new, here, count, objective, static_j)
    assert best is not None
    return best


def _better(best: ArrayCost | None, new: ArrayCost, at: np.ndarray, count: int, objective: str, static_j: float) -> ArrayCost:
    if best is None:
        best = ArrayCost(**{f.name: np.full(count, np.inf if f.name == "cycles" else 0.0) for f in fields(ArrayCost)})
    old = rank(objective, best.cycles[at], best.energy_j[at], static_j)
    fresh = rank(objective, new.cycles, new.energy_j, static_j)
    unknown = ~np.isfinite(best.cycles[at])
    wins = np.isfinite(new.cycles) & (unknown | (fresh[0] < old[0]) | ((fresh[0] == old[0]) & (fresh[1] < old[1])))
    out = {}
    for f in fields(ArrayCost):
        column = getattr(best, f.name).copy()
        column[at[wins]] = getattr(new, f.name)[wins]
        out[f.name] = column
    return ArrayCost(**out)


def _part(ops: OpColumns, split: str, cores: int) -> tuple[OpColumns, np.ndarray]:
    """(the largest piece of each op on one core, cores at work). An operand that every core needs is read by each; halos of inputs are not counted twice
    (assumption)."""
    if not split:
        return ops, np.ones(len(ops))
    whole = np.maximum(getattr(ops, split), 1.0)
    piece = np.ceil(whole / cores)
    share = piece / whole
    bytes_of = {"b": ("input_bytes", "weight_bytes", "output_bytes"), "m": ("input_bytes", "output_bytes"), "n": ("weight_bytes", "output_bytes")}[split]
    changed = {name: getattr(ops, name) * share for name in bytes_of}
    return replace(ops, **{split: piece}, **changed), 1.0 / share
