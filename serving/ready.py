"""Which ready-made model answers, where none was named. What a question left out is filled in by `circumstances`.

    a network file, or a table of networks        networks
    a table of operators                          gpu-kernels; gpu-power where power or energy is asked for
    a plain table                                 the one whose inputs are all there; else an error that says what each needs

A table of operators may name its columns as silicast does (`op`, `m`, `n`, `k`, `dtype`, `hardware`, ...) and needs no schema then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets.errors import InputError, TableError
from ..surrogates import ready
from ..surrogates.card import ModelCard

if TYPE_CHECKING:
    from .predictor import Predictor

#: who answers about whole networks, about operators, and about the power of operators
NETWORKS, KERNELS, POWER = "networks", "gpu-kernels", "gpu-power"
_OF_POWER = ("power_w", "energy_j")


def for_networks() -> Predictor:
    """The model of whole networks; an error of a missing or stale one says how to get it."""
    return _predictor(NETWORKS)


def for_table(path: Path, schema: Path | None, targets: Sequence[str]) -> Predictor:
    """The model for a table's questions, by the schema or, without one, by its columns. Raises InputError that says what each model needs."""
    from ..datasets.measured import Schema, read_frame

    if schema is not None:
        spec = Schema.read(schema)
        if spec.op:
            return _predictor(_of_operators(targets))
        if spec.workload:
            alike = [name for name in ready.names() if dict(ready.card(name).schema.get("workload") or {}).get("format") == spec.workload.format]
            if not alike:
                raise InputError(f"{path}: no ready-made model answers networks written as {spec.workload.format}; name one with --model, or ask {NETWORKS} with the columns workload and hardware")
            return _predictor(alike[0])
        columns = set(map(str, [*spec.features, *([spec.hardware] if spec.hardware else [])])) or set(map(str, read_frame(path).columns))
    else:
        columns = set(map(str, read_frame(path).columns))
        if {"workload", "hardware"} <= columns:
            return _predictor(NETWORKS)
        if "hardware" in columns and ("op" in columns or _kinds(columns)):
            return _predictor(_of_operators(targets))
    plain = {name: card for name in ready.names() if (card := ready.card(name)).shape == "features"}
    fitting = [name for name, card in plain.items() if needs(card) <= columns and set(targets) <= set(card.targets)]
    if not fitting:
        told = "; ".join(f"{name} needs {', '.join(sorted(needs(card)))}" for name, card in plain.items())
        raise InputError(f"{path}: no ready-made model answers a table with the columns {', '.join(sorted(columns)[:12])}; name one with --model, or ask one that came with silicast: "
                         f"{KERNELS} needs op, hardware, dtype and the operator's sizes (m, n, k of a gemm); {NETWORKS} needs workload, hardware{'; ' if told else ''}{told}")
    return _predictor(max(fitting, key=lambda name: len(needs(plain[name]))))


def needs(card: ModelCard) -> set[str]:
    """The columns a plain table must have for a model."""
    return {str(c) for c in [*card.schema.get("features", ()), card.schema.get("hardware"), dict(card.schema.get("workload") or {}).get("column")] if c}


def schema_of(path: Path, card: ModelCard) -> Mapping[str, Any] | None:
    """The schema of a table of operators that names its columns as silicast does, as far as they are there; None where the model has no such schema.

    Raises TableError where no kind of operator has all its sizes among them."""
    if "circumstances" not in card.extra:
        return None
    from ..datasets.measured import read_frame

    frame = read_frame(path)
    there = set(map(str, frame.columns))
    asked = set(frame["op"].astype(str)) if "op" in there else set(_kinds(there)[:1])
    known: Mapping[str, Mapping[str, str]] = card.schema["columns"]
    if not asked <= set(known):
        raise TableError(f"{path}: column op: {', '.join(sorted(asked - set(known)))}: model {card.name} answers {', '.join(known)}; give --schema YAML where the table calls them otherwise")
    columns = {kind: {field: column for field, column in of.items() if column in there} for kind, of in known.items() if kind in asked}
    spec = {**card.schema, "columns": columns, "context": [c for c in card.schema["context"] if c in there], "group": [], "targets": {}}
    return spec if "op" in there else {**spec, "op": next(iter(columns), None), "columns": next(iter(columns.values()), {})}


def _predictor(name: str) -> Predictor:
    from .predictor import Predictor

    return Predictor.load(f"{ready.PREFIX}{name}")


def _of_operators(targets: Sequence[str]) -> str:
    return POWER if set(targets) & set(_OF_POWER) else KERNELS


def _kinds(columns: set[str]) -> list[str]:
    """The kinds of operators all whose sizes are among the columns, those with most sizes first."""
    from ..datasets.ops import OP_KINDS

    whole = [kind for kind in ("attention", "grouped_gemm", "gemm", "elementwise") if set(OP_KINDS[kind].required) <= columns]
    return whole if "dtype" in columns else []
