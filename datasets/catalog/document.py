"""What a device file may say: the rules of the YAML, checked field by field.

Every figure is a mapping `{value, unit, source[, note]}`; a count (unit "1") may leave the unit out. `source` is a key
of the file's own `sources` (the full citation), or `derived` with a `note` that shows the arithmetic from cited
figures, or, in a user's file only, `user`. Anything else is an error that names the file and the field path.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from ..dtypes import dtype_name
from ..errors import FormatError, InputError, UnitError
from ..hardware import Fabric, Hardware, MemoryLevel, SpatialArray
from ..units import to_si

#: top-level figures: field of the file -> (field of Hardware, quantity)
FIGURES: dict[str, tuple[str, str]] = {
    "units": ("units", "count"), "clock": ("clock_hz", "frequency"), "tdp": ("tdp_w", "power"), "idle": ("idle_w", "power"),
    "process": ("process_nm", "length"), "launch_overhead": ("launch_overhead_s", "time"),
    "area": ("area_mm2", "area"),
}
RATES = ("matrix_rate", "vector_rate")
MEMORY: dict[str, tuple[str, str]] = {
    "capacity": ("capacity_bytes", "bytes"), "bandwidth": ("bandwidth_bytes_per_s", "bandwidth"),
    "read_energy": ("read_j_per_byte", "energy_per_byte"), "write_energy": ("write_j_per_byte", "energy_per_byte"),
    "write_bandwidth": ("write_bandwidth_bytes_per_s", "bandwidth"), "area": ("area_mm2", "area"), "instances": ("instances", "count"),
    "word": ("word_bytes", "bytes"),
}
ARRAY: dict[str, tuple[str, str]] = {
    "rows": ("rows", "count"), "cols": ("cols", "count"), "count": ("count", "count"), "mac_energy": ("mac_j", "energy"),
    "pe_area": ("pe_area_mm2", "area"),
}
#: words of an array beside its figures
ARRAY_WORDS = ("dataflow", "skips_zeros", "serial_bits")
FABRIC: dict[str, tuple[str, str]] = {name: (name, "count") for name in ("lut", "ff", "dsp", "bram_18k", "uram")}

_Made = TypeVar("_Made")

FIELDS = ("key", "name", "kind", "vendor", "year", "aliases", "notes", "sources", *FIGURES, *RATES, "sparsity", "memory", "backing", "array", "fabric")


def read_text(text: str, where: str, *, users: bool = True) -> Hardware:
    """A machine from YAML `text`; `where` names it in messages. `users=False` applies the catalogue's stricter rule on sources.

    Raises FormatError, UnitError or InputError, one line naming `where` and the field path.
    """
    return Reader(where, users).device(parsed(text, where, users))


def parsed(text: str, where: str, users: bool) -> Any:
    """What YAML `text` holds, read by a safe loader that refuses a key given twice. Raises FormatError naming `where` and the line."""
    import yaml

    try:
        return yaml.load(text, Loader=_loader(users))
    except yaml.YAMLError as error:
        raise FormatError(f"{where}: not YAML: {_one_line(error)}") from None
    except (RecursionError, ValueError) as error:
        raise FormatError(f"{where}: not YAML: {type(error).__name__}") from None


def read_json(text: str, where: str) -> Hardware:
    """A machine from JSON `text`: a `Hardware.to_json` document, or the catalogue's form written as JSON."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: not JSON: {error}") from None
    if not isinstance(data, Mapping) or "format" not in data:
        return Reader(where, True).device(data)
    try:
        return Hardware.from_json(data)
    except InputError as error:
        raise FormatError(f"{where}: {error}") from None


class Reader:
    """Reads one file of the catalogue by the rules above; collects the citations on the way. Readers of other documents extend it."""

    def __init__(self, where: str, users: bool) -> None:
        self.where, self.users = where, users
        self.sources: dict[str, str] = {}
        self.cited: dict[str, str] = {}

    def device(self, data: Any) -> Hardware:
        """The machine of a parsed file."""
        given = self._mapping(data, "", FIELDS, required=("key", "name", "kind", "clock", "memory"))
        self.sources = {str(name): self._words(text, f"sources.{name}") for name, text in self._mapping(given.get("sources", {}), "sources").items()}
        out: dict[str, Any] = {name: self._words(given[name], name) for name in ("key", "name", "kind", "vendor", "notes") if name in given}
        if "year" in given:
            if not isinstance(given["year"], int) or isinstance(given["year"], bool) or not 1900 <= given["year"] <= 2200:
                raise self._fault("year", given["year"], "a year such as 2024")
            out["year"] = given["year"]
        out["aliases"] = tuple(self._words(alias, f"aliases[{i}]") for i, alias in enumerate(self._list(given.get("aliases", []), "aliases")))
        out |= {f: self._figure(given[name], name, quantity) for name, (f, quantity) in FIGURES.items() if name in given}
        if "process_nm" in out:
            out["process_nm"] = round(out["process_nm"] * 1e9, 6)  # kept in nm, as it is marketed
        out |= {name: self._rates(given[name], name) for name in RATES if name in given}
        out |= {name: self._memory(given[name], name) for name in ("memory", "backing") if name in given}
        if "sparsity" in given:
            pattern = self._mapping(given["sparsity"], "sparsity", ("value", "source", "note"), required=("value", "source"))
            out["sparsity"] = self._words(pattern["value"], "sparsity.value")
            self.cited["sparsity"] = self._citation(pattern["source"], self._words(pattern["note"], "sparsity.note") if "note" in pattern else "", "sparsity")
        if "array" in given:
            array = self._mapping(given["array"], "array", (*ARRAY, *ARRAY_WORDS), required=("rows", "cols", "dataflow"))
            parts = {name: self._words(array[name], f"array.{name}") for name in ARRAY_WORDS if name in array} | self._figures(array, "array", ARRAY)
            out["array"] = self._valid(lambda: SpatialArray(**parts))
        if "fabric" in given:
            fabric = self._mapping(given["fabric"], "fabric", FABRIC, required=("lut", "ff", "dsp", "bram_18k"))
            out["fabric"] = Fabric(**self._figures(fabric, "fabric", FABRIC))
        return self._valid(lambda: Hardware(**out, cited=self.cited))

    def _valid(self, make: Callable[[], _Made]) -> _Made:
        """What `make` makes; its complaint gets the name of the file."""
        try:
            return make()
        except (FormatError, UnitError):
            raise
        except InputError as error:
            text = str(error)
            raise InputError(text if text.startswith(self.where) else f"{self.where}: {text}") from None

    def _memory(self, value: Any, path: str) -> tuple[MemoryLevel, ...]:
        levels: list[MemoryLevel] = []
        for i, entry in enumerate(self._list(value, path)):
            level = self._mapping(entry, f"{path}[{i}]", ("name", *MEMORY, "serves", "shared_port"), required=("name", "capacity"))
            name = self._words(level["name"], f"{path}[{i}].name")
            if name in (other.name for other in levels):
                raise FormatError(f"{self.where}: {path}[{i}].name: {name!r} names two levels; expected a name of its own")
            shared = level.get("shared_port", False)
            if not isinstance(shared, bool):
                raise self._fault(f"{path}.{name}.shared_port", shared, "true or false")
            serves = tuple(self._words(o, f"{path}.{name}.serves") for o in self._list(level.get("serves", []), f"{path}.{name}.serves"))
            figures = self._figures(level, f"{path}.{name}", MEMORY)
            levels.append(self._valid(lambda name=name, figures=figures, shared=shared, serves=serves: MemoryLevel(name, **figures, shared_port=shared, serves=serves)))  # type: ignore[misc]
        return tuple(levels)

    def _rates(self, value: Any, path: str) -> dict[str, float]:
        rates: dict[str, float] = {}
        for name, figure in self._mapping(value, path).items():
            try:
                dtype = dtype_name(str(name))
            except InputError as error:
                raise FormatError(f"{self.where}: {path}: {error}") from None
            if dtype in rates:
                raise FormatError(f"{self.where}: {path}.{name}: {dtype} is given twice; expected one rate per dtype")
            rates[dtype] = self._figure(figure, f"{path}.{dtype}", "rate")
        return rates

    def _figures(self, given: Mapping[str, Any], path: str, table: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
        return {f: self._figure(given[name], f"{path}.{name}", quantity) for name, (f, quantity) in table.items() if name in given}

    def _figure(self, given: Any, path: str, quantity: str) -> Any:
        count = quantity == "count"
        figure = self._mapping(given, path, ("value", "unit", "source", "note"), required=("value", "source") if count else ("value", "unit", "source"))
        unit, value = figure.get("unit", "1"), figure["value"]
        if not isinstance(unit, str) and unit != 1:
            raise self._fault(f"{path}.unit", unit, "text")
        if not isinstance(value, (int, float)) or abs(value) > 1e300:  # a longer integer is no float
            raise self._fault(path, value, f"a finite number of {unit}")
        si = to_si(value, str(unit), quantity, f"{self.where}: {path}")
        if si <= 0:
            raise InputError(f"{self.where}: {path}: expected a number > 0, got {value!r} (leave the figure out if it is not known)")
        if count and si != int(si):
            raise self._fault(path, value, "a whole number")
        note = self._words(figure["note"], f"{path}.note") if "note" in figure else ""
        self.cited[path] = self._citation(figure["source"], note, path)
        return int(si) if count else si

    def _citation(self, source: Any, note: str, path: str) -> str:
        if source in ("derived", "user") and source not in self.sources:
            if source == "derived" and not note:
                raise FormatError(f"{self.where}: {path}: source is 'derived' but there is no note; expected a note with the arithmetic")
            if source == "derived" or self.users:
                used = [f"{name}: {text}" for name, text in self.sources.items() if re.search(rf"\b{re.escape(name)}\b", note)]
                return "; ".join([f"{source}: {note}" if note else str(source), *used])
        if not isinstance(source, str) or source not in self.sources:
            allowed = ", ".join([*self.sources, "derived", *(["user"] if self.users else [])])
            raise self._fault(f"{path}.source", source, f"one of {allowed} (a key under 'sources')")
        return f"{self.sources[source]} ({note})" if note else self.sources[source]

    def _mapping(self, value: Any, path: str, allowed: Any = None, required: tuple[str, ...] = ()) -> Mapping[str, Any]:
        at = path or "the file"
        if not isinstance(value, Mapping):
            wanted = f"a mapping with {', '.join(required or allowed)}" if allowed else "a mapping"
            raise self._fault(at, value, wanted)
        unknown = [str(k) for k in value if allowed and k not in allowed]
        if unknown:
            raise FormatError(f"{self.where}: {at}: unknown field {', '.join(map(repr, unknown))}; expected {', '.join(allowed)}")
        missing = [name for name in required if name not in value]
        if missing:
            raise FormatError(f"{self.where}: {at}: missing {', '.join(missing)}; expected {', '.join(required)}")
        return value

    def _list(self, value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise self._fault(path, value, "a list")
        return value

    def _words(self, value: Any, path: str) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self._fault(path, value, "text (quote it if it looks like a number)")
        return value.strip()

    def _fault(self, path: str, got: Any, expected: str) -> FormatError:
        return FormatError(f"{self.where}: {path}: expected {expected}, got {reprlib.repr(got)}")  # bounded, whatever the file holds


@cache
def _loader(users: bool) -> Any:
    """The safe YAML loader that refuses a key given twice: YAML would keep the last, silently.

    Only our own files are read by the C parser: it is ten times faster, but deep nesting overflows its stack and ends the process.
    """
    import yaml

    base: Any = yaml.SafeLoader if users else getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key.value, str) and key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} is given twice", key.start_mark)
                seen |= {key.value} if isinstance(key.value, str) else set()
            return dict(super().construct_mapping(node, deep))

    return Loader


def _one_line(error: Any) -> str:
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    words = " ".join(str(problem or error).split())
    return f"{words} at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else words
