"""What the columns of a measured table mean: the small YAML document beside it, checked.

`datasets/measured.py` tells its fields and reads tables by it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from .errors import FormatError, UnitError, UnknownNameError
from .measurement import TARGETS
from .ops import kind_of
from .units import UNITS

ColumnRef = str | list[str]


class TargetColumn(BaseModel):
    """Where a target stands and in which unit."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    column: str
    unit: str = ""

    @field_validator("unit", mode="before")
    @classmethod
    def _one_is_a_unit(cls, unit: Any) -> Any:
        """YAML reads `unit: 1` as a number."""
        return "1" if isinstance(unit, int) and not isinstance(unit, bool) and unit == 1 else unit


class OpColumn(BaseModel):
    """Ops that vary by row: the column, and what its values are called here."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    column: str
    map: dict[str, str] = Field(default_factory=dict)


class WorkloadColumn(BaseModel):
    """Whole networks: the column they stand in (none: the row is the encoding), and how they are written; see `datasets/network_cells.py`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: str
    column: str | None = None


class Schema(BaseModel):
    """What the columns of a measured table mean; see `datasets/measured.py`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    op: str | OpColumn | None = None
    columns: dict[str, Any] = Field(default_factory=dict)
    hardware: str | None = None
    context: list[str] = Field(default_factory=list)
    features: list[str] = Field(default_factory=list)
    fixed: dict[str, Any] = Field(default_factory=dict)
    where: dict[str, list[Any]] = Field(default_factory=dict)
    targets: dict[str, TargetColumn] = Field(default_factory=dict)
    group: list[str] = Field(default_factory=list)
    workload: WorkloadColumn | None = None
    units: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def read(cls, source: str | Path | Mapping[str, Any]) -> Schema:
        """A schema from a YAML file or a mapping. Raises FormatError naming file and field."""
        where = "schema" if isinstance(source, Mapping) else str(source)
        data: Any = source
        if not isinstance(source, Mapping):
            try:
                data = yaml.safe_load(Path(source).read_text(encoding="utf-8"))
            except FileNotFoundError:
                raise FormatError(f"{source}: no such schema file") from None
            except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
                raise FormatError(f"{source}: not readable as YAML ({str(error).splitlines()[0]})") from None
        if not isinstance(data, Mapping):
            raise FormatError(f"{where}: expected a mapping with op, columns, hardware, targets, ...; got {type(data).__name__}")
        data = {name: [value] if name in ("group", "features") and isinstance(value, str) else value for name, value in data.items()}  # one column needs no list
        try:
            schema = cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            path = ".".join(map(str, first["loc"]))
            said = first["msg"]
            if first["type"] == "extra_forbidden":
                near = difflib.get_close_matches(path, cls.model_fields, n=1)
                said = f"no such field{f' (did you mean {near[0]}?)' if near else ''}"
            raise FormatError(f"{where}: {path}: {said}; known fields: {', '.join(cls.model_fields)}") from None
        if schema.workload:
            _check_workload(schema, where)
        for name, column in schema.targets.items():
            if name in TARGETS:
                quantity = TARGETS[name].quantity
                if column.unit and column.unit not in UNITS[quantity]:
                    raise UnitError(f"{where}: targets.{name}.unit: {column.unit!r} does not measure {quantity}; expected one of {', '.join(UNITS[quantity])}")
                if not column.unit and quantity not in ("count", "fraction"):
                    raise UnitError(f"{where}: targets.{name}.unit: missing; expected one of {', '.join(UNITS[quantity])}")
            else:
                _check_free_target(name, column.unit, where)
        if schema.units and (schema.op or schema.workload):
            raise FormatError(f"{where}: units: only inputs of a plain feature table have units of their own; here they have those of op, columns and workload")
        for column_name, unit in schema.units.items():
            if not any(unit in units for units in UNITS.values()):
                raise UnitError(f"{where}: units.{column_name}: {unit!r} is unknown; expected one of {', '.join(dict.fromkeys(u for units in UNITS.values() for u in units))}")
        for kind in ([schema.op] if isinstance(schema.op, str) else list(schema.op.map.values()) if schema.op else []):
            kind_of(kind)
        return schema

    def factor(self, name: str) -> float:
        """From the column's unit to SI."""
        unit = self.targets[name].unit
        return UNITS[TARGETS[name].quantity][unit] if name in TARGETS and unit else 1.0


def _check_workload(schema: Schema, where: str) -> None:
    """Raises FormatError for a schema of operators and networks at once or without the column a file's path stands in, UnknownNameError for an unknown format."""
    from .encodings import ENCODINGS
    from .frontends import READERS

    assert schema.workload is not None
    format = schema.workload.format
    if schema.op:
        raise FormatError(f"{where}: expected op or workload, got both: rows are single operators or whole networks")
    if format not in ENCODINGS and format not in ("path", "hf-config") and "{}" not in format and f".{format.lstrip('.')}" not in READERS:
        raise UnknownNameError("workload format", format, [*ENCODINGS, "path", "hf-config", *(suffix[1:] for suffix in READERS)], f"in {where}; or a path with {{}} for the cell")
    if format not in ENCODINGS and schema.workload.column is None:
        raise FormatError(f"{where}: workload.column: missing; expected the column that holds {'the config' if format == 'hf-config' else 'the path of a file'}")


def _check_free_target(name: str, unit: str, where: str) -> None:
    """Raises UnknownNameError for a near miss of a target's name, which would silently lose its unit and physics, and UnitError for an unknown unit."""
    near = difflib.get_close_matches(name.lower(), TARGETS, n=1, cutoff=0.8)
    if near:
        known = UNITS[TARGETS[near[0]].quantity]
        tail = name.lower().rsplit("_", 1)[-1]
        meant = unit if unit in known else next((u for u in known if u.lower() == tail), TARGETS[near[0]].unit)
        ask = f"{near[0]} with unit: {meant}" if set(known) - {"1", "count"} else near[0]
        raise UnknownNameError("target", name, TARGETS, f"{where}: targets.{name}: did you mean {ask}? Something else needs a name less alike")
    if unit and not any(unit in units for units in UNITS.values()):
        every = dict.fromkeys(u for units in UNITS.values() for u in units)
        raise UnitError(f"{where}: targets.{name}.unit: {unit!r} is unknown; expected none, or one of {', '.join(every)}")
