"""CPU cores by name: `core("zen3")` gives one, every figure cited. They lie in the folder `cores/` beside this file, one YAML each.

    key: my_core
    name: My core
    isa: riscv
    sources: {ds: "My core, user manual rev. 2, 2025"}
    clock: {value: 1.5, unit: GHz, source: ds}
    pipeline: {dispatch_width: 2, window: 0, frontend_cycles: 6, source: ds}
    units:
      int: {count: 2, latency_cycles: 1, source: ds}
      ...
    caches:
      - {name: l1, capacity: {value: 32, unit: KiB, source: ds}, latency_cycles: 3, ways: 4, source: ds}
    memory: {bandwidth: {value: 12.8, unit: GB/s, source: ds}}

Figures with a dimension are `{value, unit, source}`, as of a device; counts and cycles, which have none, stand in one record with one source. `source` is a key of `sources`, or
`derived` with a note that shows the arithmetic.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ..core import UNITS, CacheLevel, Core, Unit
from ..errors import FormatError, InputError, UnknownNameError
from ..units import to_si
from . import normal

FOLDER = "cores"
UNIT = ("count", "latency_cycles", "interval_cycles", "vector_interval_cycles", "chain_cycles")
PIPELINE = ("dispatch_width", "window", "frontend_cycles", "history_branches", "vector_bits", "fp_pipes", "memory_ports", "prefetch_bytes", "line_bytes")
CACHE = ("latency_cycles", "ways", "fill_bytes_per_cycle", "outstanding")
WHOLE = frozenset({"count", "dispatch_width", "window", "history_branches", "vector_bits", "fp_pipes", "memory_ports", "prefetch_bytes", "line_bytes", "ways", "outstanding"})


def core(name: str | os.PathLike[str]) -> Core:
    """The core called `name`: a key, or a path ending in .yaml. Raises UnknownNameError naming the nearest keys; for a file, what `read_core` raises."""
    text = os.fspath(name)
    if text.lower().endswith((".yaml", ".yml")):
        try:
            return read_core(Path(text).read_text(encoding="utf-8"), text)
        except (OSError, UnicodeDecodeError) as error:
            raise FormatError(f"{text}: not a readable text file ({error})") from None
    for key in core_keys():
        if normal(key) == normal(text):
            return _core(key)
    raise UnknownNameError("core", text, core_keys(), "A core of your own: give the path of its .yaml file")


@cache
def core_keys() -> tuple[str, ...]:
    """Every key, sorted; no file is parsed."""
    from importlib.resources import files

    return tuple(sorted(e.name.removesuffix(".yaml") for e in (files(__package__) / FOLDER).iterdir() if e.name.endswith(".yaml")))


def read_core(text: str, where: str) -> Core:
    """A core from YAML `text`; `where` names it in messages. Raises FormatError, UnitError or InputError naming file and field."""
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise FormatError(f"{where}: not YAML: {str(error).splitlines()[0]}") from None
    return _CoreReader(where).core(data)


@cache
def _core(key: str) -> Core:
    from importlib.resources import files

    return read_core((files(__package__) / FOLDER / f"{key}.yaml").read_text(encoding="utf-8"), f"{FOLDER}/{key}.yaml")


class _CoreReader:
    """Reads one file; collects the citations on the way."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.sources: Mapping[str, Any] = {}
        self.cited: dict[str, str] = {}

    def core(self, data: Any) -> Core:
        top = self._mapping(data, "the file", ("key", "name", "isa", "year", "notes", "sources", "clock", "pipeline", "units", "caches", "memory"),
                            ("key", "name", "isa", "sources", "clock", "pipeline", "units", "caches", "memory"))
        self.sources = self._mapping(top["sources"], "sources")
        units = {name: Unit(**self._record(given, f"units.{name}", UNIT, ("count", "latency_cycles")))
                 for name, given in self._mapping(top["units"], "units", UNITS).items()}
        if not isinstance(top["caches"], list):
            raise self._fault("caches", top["caches"], "a list, innermost first")
        caches = []
        for i, given in enumerate(top["caches"]):
            level = dict(self._mapping(given, f"caches[{i}]", ("name", "capacity", "source", "note", *CACHE), ("name", "capacity")))
            name, capacity = str(level.pop("name")), self._figure(level.pop("capacity"), f"caches.{given['name']}.capacity", "bytes")
            caches.append(CacheLevel(name, capacity, **(self._record(level, f"caches.{name}", CACHE, ()) if set(level) & set(CACHE) else {})))
        memory = self._mapping(top["memory"], "memory", ("latency", "bandwidth"), ("bandwidth",))
        rest: dict[str, Any] = {"memory_bandwidth_bytes_per_s": self._figure(memory["bandwidth"], "memory.bandwidth", "bandwidth")}
        if "latency" in memory:
            rest["memory_latency_s"] = self._figure(memory["latency"], "memory.latency", "time")
        rest |= {"clock_hz": self._figure(top["clock"], "clock", "frequency"), **self._record(top["pipeline"], "pipeline", PIPELINE, ("dispatch_width", "window", "frontend_cycles"))}
        try:
            return Core(key=str(top["key"]), name=str(top["name"]), isa=str(top["isa"]), units=units, caches=tuple(caches), year=top.get("year"), notes=str(top.get("notes", "")),
                        cited=self.cited, **rest)
        except InputError as error:
            raise InputError(f"{self.where}: {error}") from None

    def _record(self, given: Any, path: str, fields: tuple[str, ...], required: tuple[str, ...]) -> dict[str, Any]:
        record = self._mapping(given, path, (*fields, "source", "note"), (*required, "source"))
        out: dict[str, Any] = {}
        for name in fields:
            if name in record:
                value = record[name]
                if isinstance(value, bool) or not isinstance(value, int if name in WHOLE else (int, float)):
                    raise self._fault(f"{path}.{name}", value, "a whole number" if name in WHOLE else "a number")
                out[name] = value
                self.cited[f"{path}.{name}"] = self._citation(record, path)
        return out

    def _figure(self, given: Any, path: str, quantity: str) -> float:
        figure = self._mapping(given, path, ("value", "unit", "source", "note"), ("value", "unit", "source"))
        self.cited[path] = self._citation(figure, path)
        return to_si(figure["value"], str(figure["unit"]), quantity, f"{self.where}: {path}")

    def _citation(self, record: Mapping[str, Any], path: str) -> str:
        source, note = record["source"], str(record.get("note", ""))
        if source == "derived" and note:
            return "; ".join([f"derived: {note}", *(f"{name}: {text}" for name, text in self.sources.items() if name in note.split() or f"({name})" in note)])
        if not isinstance(source, str) or source not in self.sources:
            raise self._fault(f"{path}.source", source, f"one of {', '.join(self.sources)}, or derived with a note")
        return f"{self.sources[source]} ({note})" if note else str(self.sources[source])

    def _mapping(self, value: Any, path: str, allowed: tuple[str, ...] = (), required: tuple[str, ...] = ()) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise self._fault(path, value, f"a mapping with {', '.join(required or allowed) or 'names'}")
        unknown = [str(k) for k in value if allowed and k not in allowed]
        missing = [name for name in required if name not in value]
        if unknown or missing:
            what = f"unknown field {', '.join(unknown)}" if unknown else f"missing {', '.join(missing)}"
            raise FormatError(f"{self.where}: {path}: {what}; expected {', '.join(allowed or required)}")
        return value

    def _fault(self, path: str, got: Any, expected: str) -> FormatError:
        return FormatError(f"{self.where}: {path}: expected {expected}, got {got!r}"[:400])
