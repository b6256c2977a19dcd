"""One CPU core, as interval analysis sees it: widths, units, window, caches, predictor. Cycles inside the core, SI outside it.

`Hardware` describes a whole machine; a `Core` is one processor of it, with the figures that decide how many instructions a cycle it completes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from .errors import InputError
from .loopnest import CLASSES

#: instruction sets, by what matters for counting: do loads fold into arithmetic, is there an index addressing mode, do predicates cover the rest of a vector loop
ISAS = ("x86", "arm", "sve", "riscv")
UNITS = (*CLASSES, "load", "store", "branch")
#: stand-ins for what nobody published; an answer names those it used
STAND_INS: dict[str, float] = {
    "history_branches": 16.0,           # branches of history that catch a loop's exit (assumption: a short global history)
    "outstanding": 16.0,                # misses in flight per level (assumption)
    "fill_bytes_per_cycle": math.inf,   # bytes a cycle from the next level: no bound
    "latency_ratio": 4.0,               # a cache's latency over that of the level inside it (assumption: 3 to 5 in the catalogue)
    "memory_latency_s": 100e-9,         # (assumption: 90 to 115 ns in the catalogue)
}


@dataclass(frozen=True, slots=True)
class Unit:
    """Functional units of one class: how many there are, after how many cycles a result can be used, and how many cycles one operation keeps its unit.

    `vector_interval_cycles`: the same for a full-width vector (0: as long as a scalar). `chain_cycles`: from one operation to the next that accumulates on it, where the
    addend is forwarded late (0: the latency).
    """

    count: int
    latency_cycles: float
    interval_cycles: float = 1.0
    vector_interval_cycles: float = 0.0
    chain_cycles: float = 0.0


@dataclass(frozen=True, slots=True)
class CacheLevel:
    """A data cache as one core sees it, innermost first: capacity, ways, cycles from load to use on a hit.

    `fill_bytes_per_cycle`: what it can take in from the next level (None: unpublished, no bound). `outstanding`: misses in flight.
    """

    name: str
    capacity_bytes: float
    latency_cycles: float | None = None
    ways: int | None = None
    fill_bytes_per_cycle: float | None = None
    outstanding: int | None = None


@dataclass(frozen=True)
class Core:
    """A core, valid at birth; a figure nobody published is None. Raises InputError naming the field.

    `dispatch_width` instructions enter per cycle, `window` of them may be in flight (0: in order). `units` by name (`UNITS`); a core without "fma" has
    none. `fp_pipes`: pipes that floating-point units share; `memory_ports`: loads and stores together a cycle (0: all units). `vector_bits`: 0 without vectors. `frontend_cycles`: refill after a mispredicted branch.
    `history_branches`: length of the history its predictor looks at. `prefetch_bytes`: reach of the stream prefetcher, a page (0: none).
    Memory latency in seconds beyond the last cache; bandwidth of what one core can draw.
    """

    key: str
    name: str
    isa: str
    dispatch_width: int
    window: int
    units: Mapping[str, Unit]
    caches: tuple[CacheLevel, ...]
    clock_hz: float
    memory_bandwidth_bytes_per_s: float
    frontend_cycles: float
    memory_latency_s: float | None = None
    line_bytes: int = 64
    vector_bits: int = 0
    fp_pipes: int = 1
    memory_ports: int = 0
    history_branches: int | None = None
    prefetch_bytes: int = 0
    year: int | None = None
    notes: str = field(default="", compare=False)
    cited: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        def fault(path: str, got: Any, expected: str) -> InputError:
            return InputError(f"core {self.key!r}: {path}: expected {expected}, got {got!r}")

        if self.isa not in ISAS:
            raise fault("isa", self.isa, f"one of {', '.join(ISAS)}")
        missing = [u for u in UNITS if u not in self.units and u != "fma"]
        if missing or set(self.units) - set(UNITS):
            raise fault("units", sorted(self.units), f"{', '.join(UNITS)} (fma may be absent)")
        if not self.caches:
            raise fault("caches", self.caches, "at least one level")
        figures: dict[str, float] = {f: getattr(self, f) for f in ("dispatch_width", "clock_hz", "memory_bandwidth_bytes_per_s", "frontend_cycles", "line_bytes", "fp_pipes")}
        figures |= {f"units.{n}.{f}": getattr(u, f) for n, u in self.units.items() for f in ("count", "latency_cycles", "interval_cycles")}
        figures |= {f"caches.{c.name}.{f}": v for c in self.caches for f in ("capacity_bytes", "latency_cycles", "fill_bytes_per_cycle", "outstanding", "ways")
                    if (v := getattr(c, f)) is not None}
        for path, value in figures.items():
            if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
                raise fault(path, value, "a finite number > 0")
        for path, value in (("window", self.window), ("vector_bits", self.vector_bits), ("memory_ports", self.memory_ports), ("prefetch_bytes", self.prefetch_bytes)):
            if value < 0:
                raise fault(path, value, "a number >= 0")
        latencies = self.latencies
        for inner, outer, fast, slow in zip(self.caches, self.caches[1:], latencies, latencies[1:], strict=False):
            if inner.capacity_bytes > outer.capacity_bytes or fast > slow:
                raise fault(f"caches.{outer.name}", (outer.capacity_bytes, slow), f"no smaller and no faster than {inner.name}")
        if latencies[-1] < latencies[-2]:
            raise fault("memory_latency_s", self.memory_latency_s, f"no shorter than the last cache's {latencies[-2]:g} cycles")

    @property
    def latencies(self) -> tuple[float, ...]:
        """Cycles from load to use at each cache, then at memory; stand-ins applied."""
        out: list[float] = []
        for c in self.caches:
            out.append(c.latency_cycles if c.latency_cycles is not None else out[-1] * STAND_INS["latency_ratio"] if out else self.units["load"].latency_cycles)
        return (*out, (STAND_INS["memory_latency_s"] if self.memory_latency_s is None else self.memory_latency_s) * self.clock_hz)

    @property
    def in_order(self) -> bool:
        """Whether instructions start in program order."""
        return self.window == 0

    @property
    def stood_in(self) -> tuple[str, ...]:
        """Unpublished figures that a stand-in replaces, by path."""
        out = [f for f in ("history_branches", "memory_latency_s") if getattr(self, f) is None]
        for c in self.caches:
            out += [f"caches.{c.name}.{f}" for f in ("latency_cycles", "fill_bytes_per_cycle", "outstanding") if getattr(c, f) is None]
        return tuple(out)

    @property
    def digest(self) -> str:
        """16 hex digits over every figure, names and citations left out."""
        figures = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("key", "name", "year", "notes", "cited")}
        return hashlib.sha256(repr({**figures, "units": sorted(self.units.items())}).encode()).hexdigest()[:16]

    def at(self, clock_hz: float) -> Core:
        """The core at another clock; memory's seconds stay."""
        return replace(self, clock_hz=clock_hz)


MAX_CACHES = 3


@dataclass(frozen=True)
class CoreColumns:
    """p cores as arrays, stand-ins applied; units (p, 8) in the order of `UNITS`, caches (p, 3), filled up outwards with the last level."""

    isa: np.ndarray               # (p,) int, index of `ISAS`
    dispatch: np.ndarray
    window: np.ndarray
    count: np.ndarray             # (p, 8)
    latency: np.ndarray           # (p, 8) cycles
    chain: np.ndarray             # (p, 8) cycles
    interval: np.ndarray          # (p, 8) cycles, of a scalar
    vector_interval: np.ndarray   # (p, 8) cycles
    has_fma: np.ndarray           # (p,) bool
    fp_pipes: np.ndarray
    memory_ports: np.ndarray
    vector_bytes: np.ndarray
    frontend: np.ndarray          # cycles
    history: np.ndarray           # branches
    prefetch: np.ndarray          # bytes
    line: np.ndarray              # bytes
    clock_hz: np.ndarray
    bytes_per_cycle: np.ndarray   # from memory
    capacity: np.ndarray          # (p, 3) bytes
    ways: np.ndarray              # (p,) of the innermost cache; infinite where unpublished
    hit: np.ndarray               # (p, 4) cycles of the caches and of memory
    fill: np.ndarray              # (p, 3) bytes per cycle that a level takes in
    outstanding: np.ndarray       # (p, 3)

    def __len__(self) -> int:
        return len(self.isa)

    def take(self, index: np.ndarray) -> CoreColumns:
        """The rows `index`."""
        return CoreColumns(**{name: value[index] for name, value in vars(self).items()})

    @classmethod
    def of(cls, cores: Sequence[Core]) -> CoreColumns:
        """The columns of a sequence of cores, in order. Raises InputError for more than three cache levels."""
        for c in cores:
            if len(c.caches) > MAX_CACHES:
                raise InputError(f"core {c.key!r}: {len(c.caches)} cache levels; at most {MAX_CACHES} are modelled")

        def col(values: Iterable[Any]) -> np.ndarray:
            return np.array(list(values), dtype=np.float64)

        def padded(values: Sequence[float]) -> list[float]:
            return [*values, *[values[-1]] * (MAX_CACHES - len(values))]

        def level(name: str, stand_in: float = math.nan) -> np.ndarray:
            return col(padded([stand_in if (v := getattr(x, name)) is None else v for x in c.caches]) for c in cores)

        units = [[c.units.get(name, c.units["mul"]) for name in UNITS] for c in cores]
        return cls(
            isa=np.array([ISAS.index(c.isa) for c in cores]), dispatch=col(c.dispatch_width for c in cores), window=col(c.window for c in cores),
            count=col([u.count for u in row] for row in units), latency=col([u.latency_cycles for u in row] for row in units),
            chain=col([u.chain_cycles or u.latency_cycles for u in row] for row in units), interval=col([u.interval_cycles for u in row] for row in units),
            vector_interval=col([u.vector_interval_cycles or u.interval_cycles for u in row] for row in units),
            has_fma=np.array(["fma" in c.units for c in cores]), fp_pipes=col(c.fp_pipes for c in cores),
            memory_ports=col(c.memory_ports or c.units["load"].count + c.units["store"].count for c in cores), vector_bytes=col(c.vector_bits / 8 for c in cores),
            frontend=col(c.frontend_cycles for c in cores),
            history=col(STAND_INS["history_branches"] if c.history_branches is None else c.history_branches for c in cores),
            prefetch=col(c.prefetch_bytes for c in cores), line=col(c.line_bytes for c in cores), clock_hz=col(c.clock_hz for c in cores),
            bytes_per_cycle=col(c.memory_bandwidth_bytes_per_s / c.clock_hz for c in cores), capacity=level("capacity_bytes"),
            ways=col(c.caches[0].ways or math.inf for c in cores),
            hit=col([*padded(c.latencies[:-1]), c.latencies[-1]] for c in cores), fill=level("fill_bytes_per_cycle", STAND_INS["fill_bytes_per_cycle"]),
            outstanding=level("outstanding", STAND_INS["outstanding"]))
