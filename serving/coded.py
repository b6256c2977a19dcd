"""A column of few different values: texts, machines, documents, told once each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Coded:
    """(n,) codes into `values`, -1 where there is none."""

    codes: np.ndarray
    values: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def of(cls, given: Sequence[Any], key: Callable[[Any], Any] = lambda one: one) -> Coded:
        """The column of a list of n values (None: none); `key` tells them apart."""
        seen: dict[Any, int] = {}
        values: list[Any] = []
        codes = np.empty(len(given), dtype=np.int64)
        for i, one in enumerate(given):
            if one is None:
                codes[i] = -1
                continue
            told = key(one)
            at = seen.get(told)
            if at is None:
                at = seen[told] = len(values)
                values.append(one)
            codes[i] = at
        return cls(codes, tuple(values))

    @classmethod
    def all(cls, value: Any, count: int) -> Coded:
        """The same value n times."""
        return cls(np.zeros(count, dtype=np.int64), (value,))

    def take(self, keep: Any) -> Coded:
        """The rows `keep` (a slice, a mask or row numbers)."""
        return Coded(self.codes[keep], self.values)
