"""What is known of n candidates: quantities as columns, intervals where a model gave them, and why a candidate cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

SIMULATOR = "simulator"


@dataclass(frozen=True)
class Answers:
    """`values`: quantity -> (n,) in SI, NaN where a candidate has none. `low`, `high`: the same for the quantities with intervals at `level` (NaN where a row has
    none). `why`: n reasons a candidate cannot be, "" when it can. `source`: who answered. `notes`: what was assumed."""

    values: Mapping[str, np.ndarray]
    why: tuple[str, ...]
    source: str = SIMULATOR
    low: Mapping[str, np.ndarray] = field(default_factory=dict)
    high: Mapping[str, np.ndarray] = field(default_factory=dict)
    level: float = 0.0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.why)

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, float]], why: Sequence[str], **rest: Any) -> Answers:
        """From one mapping a candidate; what a row lacks is NaN."""
        names = dict.fromkeys(name for row in rows for name in row)
        return cls({n: np.array([row.get(n, np.nan) for row in rows], dtype=np.float64) for n in names}, tuple(why), **rest)

    def take(self, index: np.ndarray | Sequence[int]) -> Answers:
        """The rows `index`."""
        at = np.asarray(index, dtype=np.int64)
        values, low, high = ({k: v[at] for k, v in part.items()} for part in (self.values, self.low, self.high))
        return replace(self, why=tuple(self.why[i] for i in at), values=values, low=low, high=high)

    def joined(self, more: Answers) -> Answers:
        """These and `more`, one after another; quantities that one side lacks are NaN there."""
        def both(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {k: np.concatenate([a.get(k, np.full(len(self), np.nan)), b.get(k, np.full(len(more), np.nan))]) for k in dict.fromkeys((*a, *b))}

        source = self.source if self.source == more.source else f"{self.source}, {more.source}"
        return Answers(both(self.values, more.values), (*self.why, *more.why), source, both(self.low, more.low), both(self.high, more.high),
                       max(self.level, more.level), tuple(dict.fromkeys((*self.notes, *more.notes))))
