"""Which ready-made model answers, where none was named; and what it needs to be told that the question left out.

    a network file, or a table of networks        networks
    a table of operators                          gpu-kernels; gpu-power where power or energy is asked for
    a plain table                                 the one whose inputs are all there; else an error that says what each needs

A table of operators may name its columns as silicast does (`op`, `m`, `n`, `k`, `dtype`, `hardware`, ...) and needs no schema then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets.errors import InputError, TableError
from ..surrogates import ready
from ..surrogates.card import ModelCard

if TYPE_CHECKING:
    import numpy as np

    from .predictor import Predictor

#: who answers about whole networks, about operators, and about the power of operators
NETWORKS, KERNELS, POWER = "networks", "gpu-kernels", "gpu-power"
_OF_POWER = ("power_w", "energy_j")
#: circumstances a user seldom tells: their column -> how much agreement in it counts when the most likely ones are looked up
_WEIGHTS = {"hardware": 4.0, "dtype": 2.0}
#: formats of 16 bits run at one rate on every GPU that has both; where only one was measured, it stands for the other
_SAME_RATE = {"float16": "bfloat16", "bfloat16": "float16"}


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


def completed(questions: Any, card: ModelCard) -> tuple[Any, list[str]]:
    """(questions with every circumstance the model was trained with, notes on what was taken for granted). What is not told is taken as the most frequent among
    the measured rows that agree with what is told."""
    if "circumstances" not in card.extra or questions.shape != "op" or not len(questions) or "_completed" in questions.__dict__:
        return questions, []
    import numpy as np
    import pandas as pd

    from ..datasets.dtypes import DTYPE_CODES, DTYPE_NAMES
    from ..datasets.ops import KIND_NAMES

    told = json.loads(card.extra["circumstances"])
    names: list[str] = told["context"]
    measured = pd.DataFrame(told["rows"], columns=["op", "hardware", "dtype", *names, "rows"])
    q, context, notes = questions, questions.context.copy(), []
    kinds = np.array(KIND_NAMES, dtype=object)[q.ops.kind]
    machine = np.array(q.device_names, dtype=object)[q.device_index]
    plain = np.array(DTYPE_NAMES, dtype=object)[q.ops.dtype]
    dtype = context["dtype_name"].astype(str).to_numpy(dtype=object) if "dtype_name" in context else plain
    dtype = np.where(np.isin(dtype, measured["dtype"].unique()), dtype, plain)
    missing = [name for name in names if name not in context]
    if "variant" in missing:
        context["variant"] = _phase(kinds, q.ops)
    rows = pd.DataFrame({"op": kinds, "hardware": machine, "dtype": dtype, **{n: context[n].astype(str) if n in context else "" for n in names}})
    found = rows.drop_duplicates().reset_index(drop=True)
    asked: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in found.to_dict("records")]
    taken = [_likeliest(measured, row, [n for n in names if n not in missing or n == "variant"]) for row in asked]
    at = rows.merge(found.assign(at=np.arange(len(found))), how="left", on=list(rows.columns))["at"].to_numpy()
    for name in missing:
        context[name] = np.array([t[name] if name != "variant" or not row["variant"] else row["variant"] for t, row in zip(taken, asked, strict=True)], dtype=object)[at]
    named = np.array([t["dtype"] if t["hardware"] == row["hardware"] else "" for t, row in zip(taken, asked, strict=True)], dtype=object)[at]
    swapped = np.array([_SAME_RATE.get(str(d)) == t for d, t in zip(dtype, named, strict=True)], dtype=bool)
    dtype = np.where(swapped, named, dtype)
    codes = np.where(swapped, [DTYPE_CODES.get(str(d), 0) for d in dtype], q.ops.dtype).astype(q.ops.dtype.dtype)
    context["op"], context["dtype_name"] = kinds, dtype
    silent = [n for n in missing if n != "variant"]
    if silent:
        some = dict.fromkeys(f"{t['op']} on {t['hardware']}: {' / '.join(t[n] or 'not told' for n in silent)}" for t in taken)
        notes.append(f"{', '.join(silent)} not told: taken as measured most often ({'; '.join(list(some)[:3])}{f'; and {len(some) - 3} more' if len(some) > 3 else ''})")
    if swapped.any():
        notes.append(f"{int(swapped.sum())} rows of 16 bits are answered for {', '.join(sorted(set(named[swapped])))}, which was measured there and runs at the same rate")
    whole = replace(q, ops=replace(q.ops, dtype=codes), context=context)
    whole.__dict__["_completed"] = True
    return whole, notes


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


def _phase(kinds: np.ndarray, ops: Any) -> Any:
    """(n,) the phase of attention as the tables call it, "" for other kinds: one query is generation, keys of 576 are latent ones."""
    import numpy as np

    one, latent = ops.m <= 1, np.where(ops.m <= 1, ops.k == 576, ops.k == 192)
    named = np.where(latent, np.where(one, "latent_generation", "latent_context"), np.where(one, "generation", "context"))
    return np.where(kinds == "attention", named, "").astype(object)


def _likeliest(measured: Any, row: Mapping[str, Any], told: Sequence[str]) -> dict[str, Any]:
    """The measured circumstances of this operator that agree best with what is told, the most frequent of them."""
    mine = measured[measured["op"] == row["op"]]
    if mine.empty:
        return {**row, **{n: "" for n in measured.columns if n not in row}}
    score = sum(weight * (mine[c] == row[c]) for c, weight in _WEIGHTS.items()) + 1.5 * (mine["dtype"] == _SAME_RATE.get(row["dtype"], "")) + sum(8.0 * (mine[n] == row[n]) for n in told if row[n])
    return {str(k): v for k, v in mine.loc[(score + mine["rows"] / (1.0 + mine["rows"].max())).idxmax()].items()}
