"""What varies: named dimensions, each a list of choices or a range, and the candidates they make.

    vary:
      array.rows: [16, 32, 64, 128]                                # choices
      memory.sram.capacity: {choices: [1, 4, 16], unit: MiB}       # choices with a unit: SI inside
      batch: {int: [1, 256], log: true}                            # whole numbers, every one (`step`: every so many)
      memory.hbm.bandwidth: {float: [0.4, 3.2], unit: TB/s, log: true, levels: 8}

A candidate is a plain dict, dimension -> value. Algorithms that want numbers see it as a point of the unit cube (`at`, `place`); models that want
features see numbers as numbers and names as one column each (`features`). A float range with `levels` has so many values, without it all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from ...datasets.errors import FormatError, InputError
from ...datasets.units import UNITS, to_si
from .document import keyed, shown

Candidate = Mapping[str, Any]
#: most candidates that are written out one by one
MOST_LISTED = 200_000
#: most values of one dimension that are kept as a list; a longer range of whole numbers is a range
MOST_LEVELS = 4096


@dataclass(frozen=True)
class Dimension:
    """One thing that varies. `levels`: its values in order (numbers ascending as given; names); empty where it is a range from `low` to `high` (then `whole`
    says integers of step `step`, `log` that ratios matter). `quantity`: what its unit measures, "" without one."""

    name: str
    levels: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    step: int = 1
    log: bool = False
    quantity: str = ""
    unit: str = ""

    @property
    def size(self) -> float:
        """How many values; inf for a continuous range."""
        return len(self.levels) or ((self.high - self.low) // self.step + 1 if self.whole else math.inf)

    @cached_property
    def numeric(self) -> bool:
        """Whether its values are numbers."""
        return not self.levels or all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in self.levels)

    @cached_property
    def _index(self) -> dict[tuple[bool, Any], int]:
        return {(isinstance(v, bool), v): i for i, v in enumerate(self.levels)}  # True is no 1

    def at(self, u: float) -> Any:
        """The value at `u` of the unit interval."""
        u = min(max(float(u), 0.0), 1.0)
        if self.levels:
            return self.levels[min(int(u * len(self.levels)), len(self.levels) - 1)]
        value = self.low * (self.high / self.low) ** u if self.log else self.low + u * (self.high - self.low)
        if self.whole:
            return int(min(self.low + self.step * round((value - self.low) / self.step), self.low + self.step * (self.size - 1)))
        return min(max(value, self.low), self.high)

    def place(self, value: Any) -> float:
        """Where a value stands in the unit interval; `at(place(v)) == v`. Raises InputError for one that is not of the dimension."""
        if self.levels:
            index = self._index.get((isinstance(value, bool), value)) if isinstance(value, (bool, int, float, str)) else None
            if index is None:
                raise InputError(f"{self.name}: expected one of {', '.join(map(str, self.levels[:12]))}, got {shown(value)}")
            return (index + 0.5) / len(self.levels)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not self.low <= value <= self.high * (1 + 1e-12):
            raise InputError(f"{self.name}: expected a number from {self.low:g} to {self.high:g}, got {shown(value)}")
        if self.low == self.high:
            return 0.0
        return math.log(value / self.low) / math.log(self.high / self.low) if self.log else (value - self.low) / (self.high - self.low)

    def features(self, values: Sequence[Any]) -> np.ndarray:
        """(n, f): numbers scaled to 0..1, in log where they are positive and span more than a factor of 4; names as one column each."""
        if not self.numeric:
            return np.array([[float(v == level) for level in self.levels] for v in values]).reshape(len(values), len(self.levels))
        span = np.array(self.levels if self.levels else (self.low, self.high), dtype=np.float64)
        x, low, high = np.array(values, dtype=np.float64), span.min(), span.max()
        if low > 0 and (self.log or high > 4 * low):
            x, low, high = np.log(x), np.log(low), np.log(high)
        return ((x - low) / max(high - low, 1e-300))[:, None]

    @classmethod
    def of(cls, name: str, given: Any, where: str) -> Dimension:
        """The dimension that a document says. Raises FormatError naming `where` and the field."""
        if isinstance(given, list):
            given = {"choices": given}
        row = keyed(given, where, ("choices", "int", "float", "unit", "log", "step", "levels"))
        kinds = [k for k in ("choices", "int", "float") if k in row]
        if len(kinds) != 1:
            raise FormatError(f"{where}: expected exactly one of choices, int or float, got {', '.join(kinds) or 'none'}")
        kind, unit = kinds[0], row.get("unit", "")
        for field, kinds_of in (("step", ("int",)), ("levels", ("float",)), ("log", ("int", "float"))):
            if field in row and kind not in kinds_of:
                raise FormatError(f"{where}: {field} belongs to {' or '.join(kinds_of)}, not to {kind}")
        quantity = next((q for q, units in UNITS.items() if unit in units), "") if unit else ""
        if unit and not quantity:
            raise FormatError(f"{where}.unit: unknown unit {shown(unit)}; known: {', '.join(sorted({u for of in UNITS.values() for u in of} - {'1'}))}")

        def si(value: Any) -> Any:
            return to_si(value, unit, quantity, where) if unit else value

        values, log = row[kind], row.get("log", False)
        if not isinstance(values, list) or not values or not isinstance(log, bool):
            raise FormatError(f"{where}.{kind}: expected a list of values{' and log: true or false' if not isinstance(log, bool) else ''}, got {shown(values)}")
        if kind == "choices":
            if any(isinstance(v, (list, dict)) or v is None for v in values) or len(set(map(repr, values))) < len(values):
                raise FormatError(f"{where}.choices: expected distinct numbers, names or true/false, got {shown(values)}")
            return cls(name, tuple(si(v) for v in values), quantity=quantity, unit=unit)
        number = int if kind == "int" else (int, float)
        if len(values) != 2 or any(isinstance(v, bool) or not isinstance(v, number) or not math.isfinite(v) for v in values) or values[0] > values[1]:
            raise FormatError(f"{where}.{kind}: expected [low, high] of two {'whole ' if kind == 'int' else ''}numbers, got {shown(values)}")
        if log and values[0] <= 0:
            raise FormatError(f"{where}: log: expected a range above 0, got {shown(values)}")
        low, high = si(values[0]), si(values[1])
        count = row.get("step", 1) if kind == "int" else row.get("levels", 0)
        if not isinstance(count, int) or isinstance(count, bool) or count < (kind == "int") or (kind == "float" and count == 1):
            raise FormatError(f"{where}.{'step' if kind == 'int' else 'levels'}: expected a whole number of at least {1 if kind == 'int' else 2}, got {shown(count)}")
        if kind == "int" and not unit and (high - low) // count + 1 <= MOST_LEVELS:
            return cls(name, tuple(range(low, high + 1, count)), log=log)
        if kind == "int":
            return cls(name, (), low, high, not unit, count, log, quantity, unit)
        if count:
            line = np.geomspace(low, high, count) if log else np.linspace(low, high, count)
            return cls(name, tuple(float(v) for v in line), log=log, quantity=quantity, unit=unit)
        return cls(name, (), float(low), float(high), log=log, quantity=quantity, unit=unit)


@dataclass(frozen=True)
class Space:
    """All candidates: the product of the dimensions. `Space.of({"rows": [8, 16], "kib": {"int": [64, 1024], "log": True}})`."""

    dimensions: tuple[Dimension, ...]

    @classmethod
    def of(cls, document: Any, where: str = "vary") -> Space:
        """The space of a `vary` part. Raises FormatError naming the field at fault."""
        if not isinstance(document, Mapping) or not document:
            raise FormatError(f"{where}: expected a mapping of what varies, such as 'array.rows: [16, 32]', got {shown(document)}")
        odd = next((k for k in document if not isinstance(k, str)), None)
        if odd is not None:
            raise FormatError(f"{where}: expected names, got {shown(odd)}")
        return cls(tuple(Dimension.of(name, given, f"{where}.{name}") for name, given in document.items()))

    def __len__(self) -> int:
        return len(self.dimensions)

    @property
    def names(self) -> tuple[str, ...]:
        """The dimensions, in order."""
        return tuple(d.name for d in self.dimensions)

    @property
    def size(self) -> float:
        """How many candidates; inf when a dimension is continuous."""
        return math.prod(d.size for d in self.dimensions)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self.size > MOST_LISTED:
            raise InputError(f"space: {self.size:,.0f} candidates are too many to list (at most {MOST_LISTED:,}); give ranges `levels` or a larger `step`")
        for values in product(*(d.levels or tuple(d.at(u) for u in np.linspace(0, 1, int(d.size))) for d in self.dimensions)):
            yield dict(zip(self.names, values, strict=True))

    def grid(self) -> list[dict[str, Any]]:
        """Every candidate. Raises InputError when they are more than `MOST_LISTED`."""
        return list(self)

    def at(self, points: np.ndarray) -> list[dict[str, Any]]:
        """The candidates at (n, d) points of the unit cube."""
        return [{d.name: d.at(u) for d, u in zip(self.dimensions, row, strict=True)} for row in np.asarray(points, dtype=np.float64).reshape(-1, len(self))]

    def check(self, candidates: Sequence[Candidate]) -> None:
        """Raises InputError for a candidate that is not of the space."""
        names = set(self.names)
        odd = next((c for c in candidates if c.keys() != names), None)
        if odd is not None:
            raise InputError(f"candidate: expected the dimensions {', '.join(self.names)}, got {', '.join(map(str, odd))}")
        for d in self.dimensions:
            for _, value in {(type(c[d.name]), c[d.name]) for c in candidates} if all(c[d.name].__hash__ for c in candidates) else [(0, c[d.name]) for c in candidates]:
                d.place(value)

    def place(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """(n, d) points of the unit cube. Raises InputError for a candidate that is not of the space."""
        self.check(candidates)
        return np.array([[d.place(c[d.name]) for d in self.dimensions] for c in candidates], dtype=np.float64).reshape(-1, len(self))

    def features(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """(n, f) for a model."""
        return np.concatenate([d.features([c[d.name] for c in candidates]) for d in self.dimensions], axis=1)

    def key(self, candidate: Candidate) -> tuple[Any, ...]:
        """What tells candidates apart."""
        return tuple((type(candidate[n]).__name__, candidate[n]) for n in self.names)

    def sample(self, count: int, rng: np.random.Generator, taken: frozenset[Any] | set[Any] = frozenset()) -> list[dict[str, Any]]:
        """`count` different candidates outside `taken` (keys), uniformly; fewer when the space has no more."""
        out: list[dict[str, Any]] = []
        seen = set(taken)
        if self.size <= MOST_LISTED and self.size < 4 * (count + len(seen)):
            left = [c for c in self if self.key(c) not in seen]
            return [left[i] for i in rng.permutation(len(left))[:count]]
        for _ in range(64):
            for candidate in self.at(rng.random((2 * count, len(self)))):
                key = self.key(candidate)
                if key not in seen and len(out) < count:
                    seen.add(key)
                    out.append(candidate)
            if len(out) >= count:
                break
        return out
