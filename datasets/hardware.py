"""The machine: one parametric type from a microcontroller to a cluster node.

What a machine is, is data: compute rates per number format, a memory hierarchy, power, technology, and (where it has
one) a spatial array or a reconfigurable fabric. `kind` names the family for people and for slices of a report; the
simulator looks at the parts, not at the name.

A device is written in YAML with its unit and its source beside every figure:

    key: my_npu
    name: My NPU
    kind: npu
    sources:
      ds: "My NPU data sheet, rev. 3, 2025"
    clock: {value: 800, unit: MHz, source: ds}
    matrix_rate: {int8: {value: 4, unit: Top/s, source: ds}}
    memory:
      - {name: sram, capacity: {value: 1, unit: MiB, source: ds}, bandwidth: {value: 200, unit: GB/s, source: ds}}
      - {name: dram, capacity: {value: 1, unit: GB, source: ds}, bandwidth: {value: 12.8, unit: GB/s, source: ds}}
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from .dtypes import BITS, NARROWER, STAND_INS
from .errors import FormatError, InputError, UnknownNameError

FORMAT = "silicast-hardware/1"
KINDS = ("gpu", "cpu", "npu", "fpga", "mcu", "pim", "wafer", "asic")
#: operands of a product, and which of them a memory level may serve or an array may skip zeros of or take bit by bit
OPERANDS = ("weights", "inputs", "outputs")
SKIPS = ("", "weights", "inputs", "both")
#: no figure of a machine in SI units is larger, nor its inverse: beyond it a unit or an exponent is wrong, and products of figures overflow
IMPOSSIBLE = 1e24
DATAFLOWS = ("ws", "os", "is", "rs", "flexible")


@dataclass(frozen=True, slots=True)
class MemoryLevel:
    """One level of the memory hierarchy, innermost first.

    `capacity_bytes` of the whole machine; `bandwidth_bytes_per_s` of the whole machine, None where nobody published
    it. Energies per byte are None where unknown: then the technology model stands in, labelled so. `serves`: the operands kept here, all
    when empty; the others pass it by. Writes have `write_bandwidth_bytes_per_s`, or that of reads; `shared_port`: both through one port.
    `instances`: the capacity lies in so many equal copies: one at every multiplier (rows x cols), column or row of an array; one memory when None.
    `word_bytes`: the least that one access of a copy moves.
    """

    name: str
    capacity_bytes: float
    bandwidth_bytes_per_s: float | None = None
    read_j_per_byte: float | None = None
    write_j_per_byte: float | None = None
    write_bandwidth_bytes_per_s: float | None = None
    shared_port: bool = False
    serves: tuple[str, ...] = ()
    area_mm2: float | None = None
    instances: int | None = None
    word_bytes: float | None = None

    def __post_init__(self) -> None:
        if self.write_bandwidth_bytes_per_s is not None and self.bandwidth_bytes_per_s is None:
            raise InputError(f"memory.{self.name}.write_bandwidth: expected a read bandwidth beside it, got none")
        object.__setattr__(self, "serves", tuple(self.serves))
        odd = [o for o in self.serves if o not in OPERANDS]
        if odd:
            raise InputError(f"memory.{self.name}.serves: expected some of {', '.join(OPERANDS)}, got {', '.join(map(repr, odd))}")


@dataclass(frozen=True, slots=True)
class SpatialArray:
    """A grid of multiply-accumulate units: rows x cols, `count` of them, with a fixed or flexible dataflow.

    `skips_zeros` of "weights", "inputs" or "both" ("" none); `serial_bits`: the operand that enters bit by bit, one bit a cycle ("" none).
    """

    rows: int
    cols: int
    dataflow: str
    count: int = 1
    mac_j: float | None = None
    skips_zeros: str = ""
    serial_bits: str = ""
    pe_area_mm2: float | None = None

    def __post_init__(self) -> None:
        for name in ("skips_zeros", "serial_bits"):
            if getattr(self, name) not in SKIPS:
                raise InputError(f"array.{name}: expected one of {', '.join(map(repr, SKIPS))}, got {getattr(self, name)!r}")


@dataclass(frozen=True, slots=True)
class Fabric:
    """Resources of an FPGA: look-up tables, flip-flops, DSP slices, 18-kbit block RAMs, UltraRAMs."""

    lut: int
    ff: int
    dsp: int
    bram_18k: int
    uram: int = 0


@dataclass(frozen=True)
class Hardware:
    """A machine, valid at birth. All figures SI; a figure nobody published is None, never zero.

    `matrix_rate` and `vector_rate` map a dtype to operations per second of the whole machine (2 per multiply-add, dense).
    `units` is the number of processors that work is cut up for (SMs, CUs, cores, arrays).
    `backing` are memories beyond the outermost level (DDR behind HBM, flash, NVMe), nearest first: what does not fit may live there.
    `sparsity`: the N:M weights that the matrix units run M/N times faster ("2:4"). `peak_clock_hz` and `full_tdp_w` are set by `at`: clock and power limit as published.
    `cited` maps a figure's path (`memory.hbm.capacity`) to its source.
    Raises InputError naming the field of an impossible figure.
    """

    key: str
    name: str
    kind: str
    memory: tuple[MemoryLevel, ...]
    clock_hz: float
    matrix_rate: Mapping[str, float] = field(default_factory=dict)
    vector_rate: Mapping[str, float] = field(default_factory=dict)
    units: int = 1
    tdp_w: float | None = None
    idle_w: float | None = None
    process_nm: float | None = None
    launch_overhead_s: float | None = None
    array: SpatialArray | None = None
    fabric: Fabric | None = None
    sparsity: str = ""
    area_mm2: float | None = None
    peak_clock_hz: float | None = None
    full_tdp_w: float | None = None
    backing: tuple[MemoryLevel, ...] = ()
    aliases: tuple[str, ...] = ()
    vendor: str = ""
    year: int | None = None
    notes: str = field(default="", compare=False)
    cited: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        def fault(path: str, got: Any, expected: str) -> InputError:
            return InputError(f"hardware {self.key!r}: {path}: expected {expected}, got {got!r}")

        if not self.key or not all(c.isalnum() or c in "_-." for c in self.key):
            raise fault("key", self.key, "letters, digits, '_', '-' or '.'")
        if self.kind not in KINDS:
            raise fault("kind", self.kind, f"one of {', '.join(KINDS)}")
        if not self.memory:
            raise fault("memory", self.memory, "at least one level")
        figures: dict[str, Any] = {"clock": self.clock_hz, "units": self.units}
        figures |= {f"{what}.{d}": r for what in ("matrix_rate", "vector_rate") for d, r in getattr(self, what).items()}
        figures |= {name: getattr(self, f) for name, f in (("tdp", "tdp_w"), ("idle", "idle_w"), ("process", "process_nm"),
                                                                 ("launch_overhead", "launch_overhead_s"), ("area", "area_mm2"), ("peak_clock", "peak_clock_hz"), ("full_tdp", "full_tdp_w"))}
        for where, level in (*(("memory", m) for m in self.memory), *(("backing", m) for m in self.backing)):
            figures[f"{where}.{level.name}.capacity"] = level.capacity_bytes
            figures |= {f"{where}.{level.name}.{f}": getattr(level, a) for f, a in
                        (("bandwidth", "bandwidth_bytes_per_s"), ("write_bandwidth", "write_bandwidth_bytes_per_s"), ("read_energy", "read_j_per_byte"),
                         ("write_energy", "write_j_per_byte"), ("area", "area_mm2"), ("instances", "instances"), ("word", "word_bytes"))}
        if self.array:
            figures |= {f"array.{f}": getattr(self.array, f) for f in ("rows", "cols", "count", "mac_j", "pe_area_mm2")}
            if self.array.dataflow not in DATAFLOWS:
                raise fault("array.dataflow", self.array.dataflow, f"one of {', '.join(DATAFLOWS)}")
        if self.fabric:
            figures |= {f"fabric.{f}": getattr(self.fabric, f) for f in ("lut", "ff", "dsp", "bram_18k")}
            if self.fabric.uram < 0:
                raise fault("fabric.uram", self.fabric.uram, "a number >= 0")
        for path, value in figures.items():
            if value is not None and not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
                raise fault(path, value, "a finite number > 0 (leave it out if unknown)")
            if value is not None and not 1.0 / IMPOSSIBLE < value < IMPOSSIBLE:
                raise fault(path, value, f"a figure between {1 / IMPOSSIBLE:g} and {IMPOSSIBLE:g} in SI units (a unit or an exponent is wrong)")
        for d in (*self.matrix_rate, *self.vector_rate):
            if d not in BITS:
                raise UnknownNameError("dtype", d, BITS, f"in hardware {self.key!r}, matrix_rate or vector_rate")
        if self.memory[-1].bandwidth_bytes_per_s is None:
            raise fault(f"memory.{self.memory[-1].name}.bandwidth", None, "the bandwidth of the outermost level")
        # one row and one column of one-byte operands: of every array, or of the smallest (16 x 16) tile on every processor
        least = (self.array.rows + self.array.cols) * self.array.count if self.array else 32 * self.units
        small = next((m for m in self.memory if m.capacity_bytes < least), None)
        if small is not None:
            raise fault(f"memory.{small.name}.capacity", small.capacity_bytes, f"at least {least} bytes, what one tile of operands takes")
        slow = next((m.name for m in self.backing if m.bandwidth_bytes_per_s is None), None)
        if slow is not None:
            raise fault(f"backing.{slow}.bandwidth", None, "the bandwidth to the next memory inwards")
        if self.sparsity and self.sparsity_pattern is None:
            raise fault("sparsity", self.sparsity, "N:M such as '2:4'")
        if not (self.matrix_rate or self.vector_rate or self.array or self.fabric):
            raise fault("matrix_rate", None, "a compute rate, an array or a fabric")
        if self.idle_w and self.tdp_w and self.idle_w >= self.tdp_w:
            raise fault("idle", self.idle_w, f"less than tdp ({self.tdp_w} W)")

    def rate(self, dtype: str, matrix: bool = True) -> float:
        """Peak operations per second for work in `dtype`, at the rate of the format it is computed in (`computed_in`).

        A vector rate nobody published is a sixteenth of the matrix rate; a matrix rate, the array's multipliers, the vector rate or the DSPs.
        """
        if matrix and self.array and not self.matrix_rate:
            return 2.0 * self.array.rows * self.array.cols * self.array.count * self.clock_hz
        for table in ((self.matrix_rate, self.vector_rate) if matrix else (self.vector_rate,)):
            name = stand_in(dtype, table)
            if name is not None:
                return float(table[name])
        if matrix:
            return 2.0 * (self.fabric.dsp if self.fabric else 1) * self.clock_hz
        return self.rate(dtype) / VECTOR_SHARE

    def computed_in(self, dtype: str) -> str:
        """The format matrix work in `dtype` is priced in: itself, or the next wider one the machine has, or, where it has none as wide, a
        narrower one; then the answer is a price, not a forecast, and says so. A fabric computes in any width."""
        if self.fabric:
            return dtype
        for table in (self.matrix_rate, self.vector_rate):
            name = stand_in(dtype, table)
            if name is not None:
                return name
        return dtype

    @property
    def sparsity_pattern(self) -> tuple[int, int] | None:
        """(N, M) of `sparsity`; None where the matrix units skip nothing."""
        kept, _, of = self.sparsity.partition(":")
        if kept.isdigit() and of.isdigit() and 0 < int(kept) < int(of) <= 1024:
            return int(kept), int(of)
        return None

    def at(self, *, clock_hz: float | None = None, power_limit_w: float | None = None, memory_clock_share: float = 1.0) -> Hardware:
        """The same machine set to another clock, power limit or memory clock (a share of the published one).

        Rates and the bandwidths of on-chip levels follow the clock, the outermost memory its own; the key says what was set. The simulator lowers the
        voltage with the clock. Raises InputError for a figure that is not a positive number.
        """
        for name, value in (("clock_hz", clock_hz), ("power_limit_w", power_limit_w), ("memory_clock_share", memory_clock_share)):
            if value is not None and not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
                raise InputError(f"hardware {self.key!r}: at({name}): expected a finite number > 0, got {value!r}")
        share = 1.0 if clock_hz is None else clock_hz / self.clock_hz

        def level(m: MemoryLevel, by: float) -> MemoryLevel:
            given = ("bandwidth_bytes_per_s", "write_bandwidth_bytes_per_s")
            return replace(m, **{f: getattr(m, f) * by for f in given if getattr(m, f) is not None})

        said = [f"{clock_hz / 1e6:g}mhz"] if clock_hz is not None else []
        said += [f"{power_limit_w:g}w"] if power_limit_w is not None else []
        said += [f"mem{memory_clock_share:g}"] if memory_clock_share != 1.0 else []
        inner, outer = self.memory[:-1], self.memory[-1]
        idle = self.idle_w if power_limit_w is None or self.idle_w is None or self.idle_w < power_limit_w else None
        return replace(self, key="_".join([self.key, *said]), aliases=(), clock_hz=clock_hz or self.clock_hz, peak_clock_hz=self.peak_clock_hz or self.clock_hz,
                       matrix_rate={d: r * share for d, r in self.matrix_rate.items()}, vector_rate={d: r * share for d, r in self.vector_rate.items()},
                       memory=(*(level(m, share) for m in inner), level(outer, memory_clock_share)), tdp_w=power_limit_w or self.tdp_w, full_tdp_w=self.full_tdp_w or self.tdp_w,
                       idle_w=idle)

    @property
    def dram(self) -> MemoryLevel:
        """The outermost memory."""
        return self.memory[-1]

    @property
    def dram_bandwidth(self) -> float:
        """Bytes per second of the outermost memory."""
        assert self.dram.bandwidth_bytes_per_s is not None
        return self.dram.bandwidth_bytes_per_s

    @cached_property
    def digest(self) -> str:
        """16 hex digits of the figures that matter; names, citations and notes do not."""
        data = self.to_json()
        content = {k: v for k, v in data.items() if k not in ("key", "name", "aliases", "vendor", "year", "notes", "cited", "digest", "format")}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def __hash__(self) -> int:
        return hash(self.digest)

    def to_json(self) -> dict[str, Any]:
        """A plain dict in SI; `Hardware.from_json` gives back an equal machine."""
        out = {"format": FORMAT, **{f.name: getattr(self, f.name) for f in fields(self)}}
        out |= {"memory": [asdict(m) for m in self.memory], "matrix_rate": dict(self.matrix_rate), "vector_rate": dict(self.vector_rate),
                "backing": [asdict(m) for m in self.backing],
                "array": asdict(self.array) if self.array else None, "fabric": asdict(self.fabric) if self.fabric else None,
                "aliases": list(self.aliases), "cited": dict(self.cited)}
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Hardware:
        """Reads `to_json`. Raises FormatError for another document or an unknown key, InputError for impossible figures."""
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            got = data.get("format") if isinstance(data, Mapping) else type(data).__name__
            raise FormatError(f"expected a hardware document with format {FORMAT!r}, got {got!r}")
        rest = {k: v for k, v in data.items() if k not in ("format", "digest")}
        unknown = set(rest) - {f.name for f in fields(cls)}
        if unknown:
            raise FormatError(f"hardware document: unknown key {', '.join(sorted(unknown))}")
        try:
            rest["memory"] = tuple(MemoryLevel(**m) for m in rest["memory"])
            rest["backing"] = tuple(MemoryLevel(**m) for m in rest.get("backing", ()))
            rest["array"] = SpatialArray(**rest["array"]) if rest.get("array") else None
            rest["fabric"] = Fabric(**rest["fabric"]) if rest.get("fabric") else None
            rest["aliases"] = tuple(rest.get("aliases", ()))
            return cls(**rest)
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise FormatError(f"hardware document: {type(error).__name__}: {error}") from None


def stand_in(dtype: str, table: Container[str]) -> str | None:
    """The format of `table` that work in `dtype` is computed in; None when the table is empty of any."""
    return next((name for name in (dtype, *STAND_INS[dtype], *NARROWER.get(dtype, ())) if name in table), None)


#: a machine whose vector rate nobody published is taken to have one vector lane operation per so many matrix operations
VECTOR_SHARE = 16.0
