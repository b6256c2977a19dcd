"""Accelerator design: a base machine with some of its figures varied, and what hangs on them following.

    build:
      hardware:
        base: tpu_v1
        fields: {array.cols: array.rows, memory.dram.capacity: 8.0e9}       # as another dimension, or a figure of its own
        workloads: {resnet50: {network: resnet, dtype: int8}}

Fields are named as in a device's YAML: `array.rows`, `memory.sram.capacity`, `memory.dram.bandwidth`, `clock`, `power_limit`, ... A dimension of that name sets it;
`fields` sets others. What belongs together stays together: matrix rates follow the multipliers and the clock, vector rates and on-chip bandwidths the clock, and
memories that stand at every multiplier, row or column follow the array. Power limit, idle power and area that were published for the base are not those of other
silicon: where the array, the processors or on-chip memory change they are unknown (give `tdp` and `idle` as fields to set them). `base` itself may vary: a dimension
`base` of catalogue keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ...datasets.catalog import hardware as catalogue
from ...datasets.errors import FormatError, InputError
from ...datasets.hardware import Hardware, MemoryLevel
from ...datasets.workload import Workload
from .answers import Answers
from .cases import Case, predicted, simulated
from .document import keyed, shown, words
from .networks import workload
from .space import Candidate, Space

#: field -> (part, attribute, quantity its unit must measure)
_PLAIN = {"clock": ("", "clock_hz", "frequency"), "tdp": ("", "tdp_w", "power"), "idle": ("", "idle_w", "power"), "units": ("", "units", ""), "process": ("", "process_nm", ""),
          "power_limit": ("at", "power_limit_w", "power"),
          **{f"array.{a}": ("array", a, "") for a in ("rows", "cols", "count", "dataflow", "skips_zeros", "serial_bits")},
          **{f"fabric.{a}": ("fabric", a, "") for a in ("lut", "ff", "dsp", "bram_18k", "uram")}}
_LEVEL = {"capacity": ("capacity_bytes", "bytes"), "bandwidth": ("bandwidth_bytes_per_s", "bandwidth"), "write_bandwidth": ("write_bandwidth_bytes_per_s", "bandwidth")}


@dataclass(frozen=True)
class MachineDesign:
    """Candidates that are machines. `workloads`: label -> what runs on them; `fields`: field -> dimension or constant."""

    base: str
    fields: tuple[tuple[str, Any], ...]
    workloads: tuple[tuple[str, Workload], ...]
    names: tuple[str, ...]

    kind = "hardware"
    keys = ("base", "fields", "workloads")

    @classmethod
    def of(cls, given: Any, space: Space, where: str) -> MachineDesign:
        """From a `build: hardware:` part. Raises FormatError naming a field the base does not have."""
        row = keyed(given, where, cls.keys, ("workloads",) if "base" in space.names else ("base", "workloads"))
        works = row["workloads"]
        if not isinstance(works, Mapping) or not works:
            raise FormatError(f"{where}.workloads: expected a mapping of names to workloads, got {shown(works)}")
        fields = keyed(row.get("fields", {}), f"{where}.fields", tuple(row.get("fields", {})))
        bases = next((d.levels for d in space.dimensions if d.name == "base"), None) or (words(row["base"], f"{where}.base"),)
        out = cls(str(bases[0]), tuple(fields.items()), tuple((str(k), workload(v, f"{where}.workloads.{k}")) for k, v in works.items()), space.names)
        free = {"base", *(v for v in fields.values() if isinstance(v, str))}  # dimensions that need not be fields themselves
        for machine in (catalogue(words(base, f"{where}.base")) for base in bases):
            for dimension in space.dimensions:
                if dimension.name in free and dimension.name not in _known(machine):
                    continue
                wanted = _field(machine, dimension.name, f"vary.{dimension.name}")
                if dimension.quantity and dimension.quantity != wanted:
                    raise FormatError(f"vary.{dimension.name}.unit: {dimension.unit!r} measures {dimension.quantity}; expected {f'a unit of {wanted}' if wanted else 'a plain number'}")
            for name in fields:
                _field(machine, name, f"{where}.fields.{name}")
                if name in space.names:
                    raise FormatError(f"{where}.fields.{name}: it varies already (vary.{name})")
        return out

    def machine(self, candidate: Candidate) -> Hardware:
        """The machine of a candidate. Raises InputError when it cannot be (an SRAM smaller than one tile of the array)."""
        base = _base(str(candidate.get("base", self.base)))
        known = set(_known(base))
        values = {name: candidate.get(value, value) if isinstance(value, str) else value for name, value in self.fields}
        return designed(base, tuple({**values, **{name: value for name, value in candidate.items() if name in known}}.items()))

    def cases(self, candidate: Candidate) -> list[Case]:
        """What is asked of a candidate. Raises InputError as `machine`."""
        machine = self.machine(candidate)
        return [Case(label, work, machine) for label, work in self.workloads]

    def answers(self, candidates: Sequence[Candidate], by: Any = None) -> Answers:
        """n candidates answered by the simulator, or by a predictor."""
        groups, why = grouped(self, candidates)
        return simulated(groups, why) if by is None else predicted(groups, why, by)


def grouped(design: Any, candidates: Sequence[Candidate]) -> tuple[list[list[Case]], list[str]]:
    """(cases of each candidate, why it has none): a candidate that cannot be built is no error, it is infeasible, with the reason."""
    groups: list[list[Case]] = []
    why: list[str] = []
    for candidate in candidates:
        try:
            groups.append(design.cases(candidate))
            why.append("")
        except InputError as error:
            groups.append([])
            why.append(f"cannot be built: {error}")
    return groups, why


@lru_cache(maxsize=64)
def _base(name: str) -> Hardware:
    return catalogue(name)


def _known(machine: Hardware) -> tuple[str, ...]:
    parts = ("", "at", *(["array"] * bool(machine.array)), *(["fabric"] * bool(machine.fabric)))
    return (*(f for f, (part, _, _) in _PLAIN.items() if part in parts), *(f"memory.{level.name}.{a}" for level in machine.memory for a in _LEVEL))


def _field(machine: Hardware, name: str, where: str) -> str:
    """The quantity of a field; FormatError when the machine has no such field."""
    keyed({name: 0}, f"{where} (of {machine.key})", _known(machine))
    return _PLAIN[name][2] if name in _PLAIN else _LEVEL[name.split(".")[2]][1]


@lru_cache(maxsize=65536)
def designed(base: Hardware, values: tuple[tuple[str, Any], ...]) -> Hardware:
    """`base` with these fields set and what hangs on them following; its key tells the digest. Raises InputError for an impossible machine."""
    given = dict(values)
    plain = {_PLAIN[f][1]: v for f, v in given.items() if f in _PLAIN and _PLAIN[f][0] == ""}
    machine = base
    array = replace(base.array, **{_PLAIN[f][1]: v for f, v in given.items() if f.startswith("array.")}) if base.array else None
    fabric = replace(base.fabric, **{_PLAIN[f][1]: v for f, v in given.items() if f.startswith("fabric.")}) if base.fabric else None
    clock = plain.get("clock_hz", base.clock_hz) / base.clock_hz
    work = 1.0
    copies: dict[int, int] = {}
    if array and base.array:
        old, work = base.array, array.rows * array.cols * array.count / (base.array.rows * base.array.cols * base.array.count)
        copies = {old.rows * old.cols * old.count: array.rows * array.cols * array.count, old.rows * old.count: array.rows * array.count, old.cols * old.count: array.cols * array.count}
    elif "units" in plain:
        work = plain["units"] / base.units
    levels: list[MemoryLevel] = []
    for at, level in enumerate(base.memory):
        own = {a: given[f"memory.{level.name}.{f}"] for f, (a, _) in _LEVEL.items() if f"memory.{level.name}.{f}" in given}
        if at < len(base.memory) - 1:
            grown = copies.get(level.instances or 0, 0) / (level.instances or 1) if level.instances in copies else 1.0
            if grown != 1.0:
                own = {"instances": copies[level.instances or 0], "capacity_bytes": level.capacity_bytes * grown, **own}
            own = {**{a: getattr(level, a) * clock * grown for a in ("bandwidth_bytes_per_s", "write_bandwidth_bytes_per_s") if getattr(level, a) is not None}, **own}
            own = {**own, "area_mm2": None} if "capacity_bytes" in own else own
        levels.append(replace(level, **own))
    chip = array != base.array or fabric != base.fabric or "units" in plain or any(m.capacity_bytes != b.capacity_bytes for m, b in zip(levels[:-1], base.memory[:-1], strict=True))
    measured = {"idle_w": None, "tdp_w": None, "area_mm2": None} if chip else {}  # of the base's silicon, not of this
    machine = replace(base, **{"key": "design", "name": f"{base.name}, redesigned", "array": array, "fabric": fabric, "memory": tuple(levels), "aliases": (), "cited": {},
                               "matrix_rate": {d: r * work * clock for d, r in base.matrix_rate.items()},
                               "vector_rate": {d: r * clock * (1.0 if array else work) for d, r in base.vector_rate.items()}, **measured, **plain})
    if "power_limit" in given:
        machine = machine.at(power_limit_w=given["power_limit"])
    return replace(machine, key=f"{base.key}_{machine.digest[:10]}", notes=f"designed from {base.key}: {', '.join(f'{k}={v}' for k, v in given.items())}; not a real device")
