"""Columns of a measured table that stand for whole networks -> `NetworkQuestions`; every different network is read once.

    workload: {column: arch_str, format: nas-bench-201}     # an encoding in one cell: text or JSON
    workload: {format: mnasnet}                              # the whole row is the encoding
    workload: {column: file, format: path}                   # a file any frontend reads, relative to the table or to where one stands
    workload: {column: kernel, format: "graphs/{}.gexf"}     # the same, by a pattern
    workload: {column: config, format: hf-config}            # a config.json: its path, its folder, or the document itself
    columns: {batch: batch_size, resolution: side, dtype: precision}    # and entries of the encoding that are called otherwise
    fixed: {batch: 1, resolution: 32, dtype: float16}

`batch`, `resolution` and `dtype` are arguments of an encoding; of a file `dtype`, `phase`, `point` (the pragmas of an HLS kernel) and any dimension that
it leaves free. What a network is on any machine (`networks.FIGURES`) and the entries of its encoding become columns of the feature table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from . import cells, hls_designs, nested
from .encodings import ENCODINGS, decode
from .encodings.fbnet import blocks_of
from .encodings.nas_bench_201 import cell_of
from .encodings.vector import opened
from .errors import FormatError, SilicastError, TableError
from .networks import FIGURES, NetworkBag, NetworkQuestions
from .schema import Schema
from .workload import Workload

#: the table columns that are an encoding's, where the whole row is
ENTRIES = {"nas-bench-201": r"arch_str|op[0-3]{2}", "fbnet": r"op\d\d?", "ofa": r"(ks|e|d)\d*|r|width", "mnasnet": r"block\d_(e|k|l|se)|e|k|l|se", "ecnas": r"adjacency|ops",
           "hat": r"(encoder|decoder)_\w+|task|part"}
_ARGUMENTS = ("batch", "resolution", "dtype")
#: encodings whose text becomes named positions
_POSITIONS: dict[str, Callable[[Any], dict[str, str]]] = {
    "nas-bench-201": lambda cell: {f"op{a}{b}": name for (a, b), name in cell_of(cell).items()},
    "fbnet": lambda cell: {f"op{i:02}": name for i, name in enumerate(blocks_of(cell))},
}


def network_questions(frame: pd.DataFrame, spec: Schema, where: str, folder: Path | None) -> tuple[NetworkQuestions, np.ndarray, str]:
    """(n questions, (n,) mask of rows whose network cannot be read, why the first cannot). Raises TableError or FormatError for a schema that does not fit the table."""
    assert spec.workload is not None
    column, format = spec.workload.column, spec.workload.format
    named = _named(frame, spec, where)
    taken = {spec.hardware, *(t.column for t in spec.targets.values())}
    entries = [c for c in frame.columns if c not in taken and re.fullmatch(ENTRIES[format], str(c))] if format in ENTRIES and not column else []
    if not column and not entries and not (set(named) - set(_ARGUMENTS)):
        raise TableError(f"{where}: workload: no column of the encoding {format} is there ({ENTRIES[format]}); name one with workload: {{column: ...}}, or its entries under columns")
    given = pd.DataFrame({**{c: frame[c] for c in entries}, **{f: frame[c] for f, c in named.items()}}, index=frame.index)
    if column:
        given.insert(0, "", cells.column(frame, column, where, "workload.column"))
    given = given.astype(object).where(given.notna(), None)  # a gap equals a gap
    constant = {k: v for k, v in spec.fixed.items() if k != "hardware"}
    read = _reader(format, where, folder, given)
    bag, index = NetworkBag(), np.full(len(frame), -1, dtype=np.int64)
    place: dict[tuple[Any, ...], int] = {}
    positions: list[dict[str, str]] = []
    bad, why = np.zeros(len(frame), dtype=bool), ""
    for row, values in enumerate(zip(*(given[c].tolist() for c in given.columns), strict=True)):
        at = place.get(values)
        if at is None:
            fields = constant | {name: value for name, value in zip(given.columns, values, strict=True) if not _missing(value)}
            try:
                workload, extra, position = read(fields)
                at = len(positions)
                bag.add(workload, extra)
                positions.append(position)
            except SilicastError as error:
                why, at = why or str(error), -1
            place[values] = at
        index[row], bad[row] = at, at < 0
    if not positions:
        raise TableError(f"{where}: workload: no row's network can be read as {format}: {why}")
    networks = bag.build()
    columns: dict[str, Any] = {}
    known = np.maximum(index, 0)
    for name in dict.fromkeys(name for position in positions for name in position):
        columns[name] = np.array([position.get(name, "") for position in positions], dtype=object)[known]
    given = given.infer_objects()
    if format not in _POSITIONS:
        columns |= _plain(nested.spread(given.drop(columns=[""], errors="ignore") if not column or format not in ENCODINGS else given.rename(columns={"": column})))
    for name in [*spec.features, *spec.context]:
        found = cells.column(frame, name, where, "features")
        columns[name] = found.to_numpy(dtype=np.float64, na_value=np.nan) if pd.api.types.is_numeric_dtype(found) and name not in spec.context else found.astype(str).to_numpy(dtype=object)
    for name in _ARGUMENTS:
        if name in named:
            columns.setdefault(name, _plain(given[[name]])[name])
    columns |= {f"network.{name}": values[known] for name, values in zip(FIGURES, networks.figures.T, strict=True)}
    columns |= {f"network.{name}": values[known] for name, values in networks.extra.items()}
    columns |= hls_designs.of_tools(columns, spec.features)
    machines: dict[str, Any] = {}
    written = _machines(frame, spec, where)
    if written is not None:
        names, device_index = np.unique(written.to_numpy(dtype=str), return_inverse=True)
        label = spec.hardware or "hardware"
        columns[label] = written.to_numpy(dtype=object)
        machines = {"device_names": tuple(map(str, names)), "devices": tuple(cells.machine(str(n)) for n in names), "device_index": device_index.astype(np.int64), "machine_column": label}
    return NetworkQuestions(pd.DataFrame(columns, index=range(len(frame))), networks=networks, index=known, **machines), bad, why


def _named(frame: pd.DataFrame, spec: Schema, where: str) -> dict[str, str]:
    """Field of the encoding -> table column, as the schema's `columns` says."""
    out = {}
    for name, ref in spec.columns.items():
        if not isinstance(ref, str):
            raise FormatError(f"{where}: columns.{name}: expected a column name, got {ref!r}")
        cells.column(frame, ref, where, f"columns.{name}")
        out[str(name)] = ref
    return out


def _machines(frame: pd.DataFrame, spec: Schema, where: str) -> pd.Series | None:
    if spec.hardware:
        return cells.machine_names(cells.column(frame, spec.hardware, where, "hardware"))
    return cells.machine_names(pd.Series([str(spec.fixed["hardware"])] * len(frame))) if "hardware" in spec.fixed else None


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _plain(frame: pd.DataFrame) -> dict[str, Any]:
    """Columns as numbers where they are numbers, else as words."""
    return {str(c): frame[c].to_numpy(dtype=np.float64, na_value=np.nan) if pd.api.types.is_numeric_dtype(frame[c]) else frame[c].astype(str).to_numpy(dtype=object) for c in frame.columns}


def _reader(format: str, where: str, folder: Path | None, given: pd.DataFrame) -> Callable[[dict[str, Any]], tuple[Workload, dict[str, float], dict[str, str]]]:
    """What makes (the network, figures of its own, named positions) of a row's fields."""
    if format in ENCODINGS:
        def decoded(fields: dict[str, Any]) -> tuple[Workload, dict[str, float], dict[str, str]]:
            batch, side = (_whole(fields.pop(name), name) if name in fields else usual for name, usual in (("batch", 1), ("resolution", 0)))
            dtype, cell = str(fields.pop("dtype", "float32")), fields.pop("", None)
            encoding: Any = fields if cell is None else cell
            if cell is not None and fields:
                opening = opened(cell, format)
                encoding = {**opening, **fields} if isinstance(opening, Mapping) else cell
            return decode(format, encoding, batch, side, dtype), {}, _POSITIONS[format](encoding) if format in _POSITIONS else {}

        return decoded
    pattern = format if "{}" in format else "{}"

    def from_file(fields: dict[str, Any]) -> tuple[Workload, dict[str, float], dict[str, str]]:
        from .frontends import read
        from .frontends.hf import read_hf

        cell, dtype, phase = str(fields.pop("")), fields.pop("dtype", None), fields.pop("phase", None)
        if format == "hf-config" and cell.lstrip().startswith("{"):
            try:
                document = json.loads(cell)
            except (ValueError, RecursionError) as error:
                raise FormatError(f"{where}: workload: not readable as JSON ({str(error)[:80]})") from None
            return read_hf(document, where, _dims(fields), dtype, phase), {}, {}
        path = _place(pattern.format(cell), folder)
        if format == "hf-config" and path.is_dir():
            path = path / "config.json"
        if path.suffix.lower() == ".gexf":
            design, figures = hls_designs.design_of(path, fields.pop("point", None), fields)
            return design.workload, figures, {}
        return read(path, dims=_dims(fields), dtype=dtype, phase=phase), {}, {}

    return from_file


def _place(text: str, folder: Path | None) -> Path:
    """The path as written, relative to the table where it is there."""
    return folder / text if folder is not None and not Path(text).is_absolute() and (folder / text).exists() else Path(text)


def _dims(fields: Mapping[str, Any]) -> dict[str, int]:
    return {name: _whole(value, name) for name, value in fields.items()}


def _whole(value: Any, name: str) -> int:
    try:
        whole = int(value)
        if whole != float(value):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise FormatError(f"workload: {name}: expected a whole number, got {value!r}") from None
    return whole

