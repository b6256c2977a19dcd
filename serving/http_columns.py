"""Columns from outside -> questions for a model: operators on machines, rows of a feature table, or networks on machines.

A row that cannot be read gets a fault of its own and the others are answered; nothing runs Python per row but the unpacking of lists.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..datasets.catalog import SUFFIXES, hardware
from ..datasets.columns import OpColumns
from ..datasets.dtypes import DTYPE_CODES, dtype_pair
from ..datasets.errors import FormatError, InputError, TableError, UnknownNameError
from ..datasets.hardware import Hardware
from ..datasets.ops import OP_KINDS, kind_of
from ..datasets.table import FeatureQuestions, GraphQuestions, OpQuestions
from ..datasets.workload import Workload
from .coded import Coded
from .http_route import encode, guarded

#: columns of an operator beside its dimensions
_OP_FIELDS = ("kind", "dtype", "hardware")
_DEFAULT_DTYPE = "float16"


Column = np.ndarray | Coded


def _told_apart(one: Any) -> Any:
    """What tells values apart: documents by their content."""
    return one if isinstance(one, (str, int, float, Hardware, Workload)) else encode(one)


def column(name: str, given: Sequence[Any]) -> Column:
    """A list from JSON as a column: numbers (null: NaN) or texts (null: none). Raises FormatError for a mixture."""
    kinds = {type(one) for one in given} - {type(None)}
    if kinds <= {int, float}:
        try:
            return np.array([math.nan if one is None else one for one in given], dtype=np.float64)
        except (OverflowError, ValueError):
            raise FormatError(f"column {name[:80]}: a number is larger than any machine counts") from None
    if kinds <= {str, dict, Hardware, Workload}:
        return Coded.of(given, _told_apart)
    raise FormatError(f"column {name[:80]}: expected numbers or texts, got {', '.join(sorted(k.__name__ for k in kinds))}")


@dataclass(frozen=True)
class Batch:
    """Questions of the rows that could be read: `keep` (n,) bool, and why each other row could not (row -> one line)."""

    questions: Any
    keep: np.ndarray
    faults: Mapping[int, str]


def machine(given: str | dict[str, Any] | Hardware) -> Hardware:
    """A machine by key, alias or document; a path would read files of the machine that serves."""
    if isinstance(given, Hardware):
        return given
    if isinstance(given, str):
        if given.lower().endswith(SUFFIXES) or "/" in given or "\\" in given:
            raise FormatError(f"expected a catalogue key, an alias or a hardware document, got {given[:200]!r}; files are not read over HTTP")
        found = _MACHINES.get(given)
        if found is None:
            found = hardware(given[:200])
            if len(_MACHINES) < 4096:
                _MACHINES[given] = found
        return found
    import json

    from ..datasets.catalog.document import read_json

    return read_json(json.dumps(given), "document")


_MACHINES: dict[str, Hardware] = {}


class _Sheet:
    """n rows of columns, and the faults found so far."""

    def __init__(self, columns: Mapping[str, Column], rows: int) -> None:
        self.columns, self.rows = dict(columns), rows
        self.faults: dict[int, str] = {}
        for name, one in self.columns.items():
            length = len(one.codes) if isinstance(one, Coded) else len(one)
            if length != rows:
                raise TableError(f"column {name[:80]}: has {length} values, the others have {rows}")

    def blame(self, rows: np.ndarray, why: str) -> None:
        """The same fault for all of `rows` (indices) that have none yet."""
        for row in rows.tolist():
            self.faults.setdefault(row, why)

    def known_only(self, known: Sequence[str]) -> None:
        """Raises UnknownNameError for a column that means nothing here."""
        for name in self.columns:
            if name not in known:
                raise UnknownNameError("column", name[:80], known)

    def texts(self, name: str, default: str | None = None) -> Coded:
        """A column of texts; where it is absent or empty the default. Raises TableError without either."""
        found = self.columns.get(name)
        if found is None:
            if default is None:
                raise TableError(f"lacks the column {name}; it has: {', '.join(self.columns)[:200] or 'none'}")
            return Coded(np.zeros(self.rows, dtype=np.int64), (default,))
        if not isinstance(found, Coded):
            if not np.isnan(found).all():
                raise TableError(f"column {name}: expected texts, got numbers")
            found = Coded(np.full(self.rows, -1), ())
        if (found.codes < 0).any():
            if default is None:
                self.blame(np.flatnonzero(found.codes < 0), f"{name} is missing")
            else:
                found = Coded(np.where(found.codes < 0, len(found.values), found.codes), (*found.values, default))
        return found

    def numbers(self, name: str, default: float = math.nan) -> np.ndarray:
        """A column of numbers; where it is absent or empty the default."""
        found = self.columns.get(name)
        if found is None:
            return np.full(self.rows, float(default))
        if isinstance(found, Coded):
            if len(found.values):
                raise TableError(f"column {name}: expected numbers, got texts")
            return np.full(self.rows, float(default))
        return np.where(np.isnan(found), default, found) if not math.isnan(default) else found

    def each(self, coded: Coded, where: str, read: Callable[[Any], Any]) -> list[Any]:
        """`read` of every different value, None where it fails: its rows are blamed."""
        out: list[Any] = []
        for at, value in enumerate(coded.values):
            try:
                out.append(guarded(where, read, value))
            except InputError as error:
                out.append(None)
                self.blame(np.flatnonzero(coded.codes == at), str(error))
        return out

    @property
    def keep(self) -> np.ndarray:
        """(n,) bool: the rows without a fault."""
        keep = np.ones(self.rows, dtype=bool)
        keep[list(self.faults)] = False
        return keep


def questions(model: Any, columns: Mapping[str, Column], rows: int, workload: Callable[[Any], Workload]) -> Batch:
    """The questions of n rows for a model, in the shape it takes. `workload` reads a network's document or digest.

    Raises TableError or UnknownNameError for a column that is missing or unknown; the fault of a single row is in the batch.
    """
    sheet = _Sheet(columns, rows)
    return {"graph": _graphs, "op": _ops, "features": _features}[model.shape](model, sheet, workload)


def fields(model: Any) -> dict[str, str]:
    """Column -> "BYTES" (text) or "FP64" (number): what a model's questions are made of. Of an operator, the dimensions of the kinds it knows."""
    if model.shape == "graph":
        return {"workload": "BYTES", "hardware": "BYTES"}
    domain = model.card.domain
    if model.shape == "features":
        numeric, worded = _feature_names(model)
        return {**dict.fromkeys(numeric, "FP64"), **dict.fromkeys(worded, "BYTES")}
    dims = {d: "FP64" for kind in _kinds(model) for d in OP_KINDS[kind].dims}
    return {**dict.fromkeys(_OP_FIELDS, "BYTES"), **dims, **dict.fromkeys(domain.get("context", {}), "BYTES"), **dict.fromkeys(_extra(model), "FP64")}


def known(model: Any) -> tuple[str, ...]:
    """Every column that means something to a model; of an operator, the dimensions of every kind."""
    if model.shape != "op":
        return tuple(fields(model))
    return (*_OP_FIELDS, *sorted({d for kind in OP_KINDS.values() for d in kind.dims}), *model.card.domain.get("context", {}), *_extra(model))


def _kinds(model: Any) -> tuple[str, ...]:
    return tuple(k for k in model.card.domain.get("op_kinds", ()) if k in OP_KINDS) or tuple(OP_KINDS)


def _extra(model: Any) -> list[str]:
    schema = model.card.schema or {}
    return [str(name) for name in schema.get("features") or ()] if schema.get("op") else []


def _feature_names(model: Any) -> tuple[list[str], list[str]]:
    domain = model.card.domain
    if "ranges" in domain:
        return list(domain["ranges"]["names"]), list(domain.get("categories", ()))
    raise TableError(f"model {model.name!r}: its card describes no domain, so nobody knows its columns; train it again")


def _graphs(model: Any, sheet: _Sheet, workload: Callable[[Any], Workload]) -> Batch:
    sheet.known_only(known(model))
    asked, on = sheet.texts("workload"), sheet.texts("hardware")
    networks, machines = sheet.each(asked, "workload", workload), sheet.each(on, "hardware", machine)
    keep = sheet.keep
    used_w, w = np.unique(asked.codes[keep], return_inverse=True)
    used_d, d = np.unique(on.codes[keep], return_inverse=True)
    return Batch(GraphQuestions(tuple(networks[i] for i in used_w), tuple(machines[i] for i in used_d), w.astype(np.int64), d.astype(np.int64)), keep, sheet.faults)


@dataclass(frozen=True)
class _OpRows:
    """n rows that ask for operators, read. `names`: kind of each value of `asked` (None: unknown); `sizes`: kind's code -> dimension -> (n,), right where rows have the kind."""

    asked: Coded
    names: list[Any]
    written: Coded
    pairs: np.ndarray
    on: Coded
    machines: list[Any]
    sizes: dict[int, dict[str, np.ndarray]]
    told: dict[str, Coded]
    figures: dict[str, np.ndarray]


def _op_rows(model: Any, sheet: _Sheet) -> _OpRows:
    context, extra = model.card.domain.get("context", {}), _extra(model)
    sheet.known_only(known(model))
    kinds = _kinds(model)
    asked = sheet.texts("kind", kinds[0] if len(kinds) == 1 else None)
    names = sheet.each(asked, "kind", lambda name: kind_of(name).name)
    written = sheet.texts("dtype", _DEFAULT_DTYPE)
    pairs = np.array([(0, 0) if p is None else (DTYPE_CODES[p[0]], DTYPE_CODES[p[1]]) for p in sheet.each(written, "dtype", dtype_pair)], dtype=np.int16).reshape(-1, 2)
    on = sheet.texts("hardware")
    seen = {str(name) for name in model.card.domain.get("devices", ())}
    machines = sheet.each(on, "hardware", lambda one: _known_machine(one, seen))
    sizes: dict[int, dict[str, np.ndarray]] = {}
    for code, kind in enumerate(names):
        rows = np.flatnonzero(asked.codes == code)
        if kind is not None and len(rows):
            sizes[code] = _sizes(sheet, kind, rows)
    free = "circumstances" in model.card.extra  # what is not told, the predictor takes as it was measured most often (`circumstances.completed`)
    told = {name: written if name == "dtype_name" and name not in sheet.columns else sheet.texts(name, _only(values)) for name, values in context.items()
            if not free or name in sheet.columns or name == "dtype_name"}
    figures = {name: sheet.numbers(name) for name in extra}
    return _OpRows(asked, names, written, pairs, on, machines, sizes, told, figures)


@dataclass(frozen=True)
class OpSheet:
    """Products of matrices: (n,) `sizes` b, m, n, k and columns of text (hardware, dtype and circumstances) of n rows. What cannot be read is at fault."""

    sizes: dict[str, np.ndarray]
    told: dict[str, Coded]
    keep: np.ndarray
    faults: Mapping[int, str]


def op_sheet(model: Any, columns: Mapping[str, Column], rows: int) -> OpSheet | None:
    """The rows as products of matrices; None where some ask for something else. Raises as `questions` does."""
    sheet = _Sheet(columns, rows)
    read = _op_rows(model, sheet)
    if any(name not in ("gemm", None) for name in read.names) or read.figures or len(read.sizes) != 1:
        return None
    found = next(iter(read.sizes.values()))
    keep = sheet.keep
    if any((found[name][keep] != 0).any() for name in found if name not in ("b", "m", "n", "k")):
        return None
    return OpSheet({name: found[name] for name in ("b", "m", "n", "k")}, {"hardware": read.on, "dtype": read.written, **read.told}, keep, sheet.faults)


def _ops(model: Any, sheet: _Sheet, workload: Callable[[Any], Workload]) -> Batch:
    import pandas as pd

    read = _op_rows(model, sheet)
    asked, names, written, pairs, on, machines, told, figures = read.asked, read.names, read.written, read.pairs, read.on, read.machines, read.told, read.figures
    keep = sheet.keep
    parts, order = [], []
    for code, found in read.sizes.items():
        rows = np.flatnonzero((asked.codes == code) & keep)
        if len(rows):
            at = written.codes[rows]
            parts.append(OpColumns.from_sizes(str(names[code]), {name: values[rows] for name, values in found.items()}, pairs[at, 0], pairs[at, 1]))
            order.append(rows)
    if not parts:
        return Batch(None, keep, sheet.faults)
    ops = parts[0] if len(parts) == 1 else OpColumns.concat(parts).take(np.argsort(np.concatenate(order), kind="stable"))
    used, index = np.unique(on.codes[keep], return_inverse=True)
    frame = pd.DataFrame({name: np.array(one.values, dtype=object)[one.codes[keep]] for name, one in told.items()}, index=range(len(ops))) if told else _no_columns(len(ops))
    more = pd.DataFrame({name: values[keep] for name, values in figures.items()}, index=range(len(ops))) if figures else _no_columns(len(ops))
    return Batch(OpQuestions(ops, tuple(machines[i][0] for i in used), tuple(machines[i][1] for i in used), index.astype(np.int64), frame, more), keep, sheet.faults)


@lru_cache(maxsize=64)
def _no_columns(rows: int) -> Any:
    """A frame of n rows and no columns: making one costs more than reading a question."""
    import pandas as pd

    return pd.DataFrame(index=range(rows))


def _sizes(sheet: _Sheet, kind: str, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Dimension -> (n,) sizes, right at `rows`; rows with an impossible one are blamed."""
    spec, out = OP_KINDS[kind], {}
    for name in spec.dims:
        values = sheet.numbers(name, spec.optional.get(name, math.nan))
        here = values[rows]
        least, most = spec.span(name)
        with np.errstate(invalid="ignore"):
            bad = ~((here >= least) & (here <= most) & (here == np.floor(here)))
        if bad.any():
            first = here[bad][0]
            said = "nothing" if math.isnan(first) else f"{first:g}"
            sheet.blame(rows[bad], f"{name} of {kind}: expected a whole number of at least {least}, got {said}")
        out[name] = values
    return out


def _only(values: Sequence[str]) -> str | None:
    """The circumstance that stands in where none is told: the only one the model has seen, else none."""
    return str(values[0]) if len(values) == 1 else None


def _known_machine(given: Any, known: set[str]) -> tuple[str, Hardware | None]:
    """(name as the model's table has it, the machine): one that no catalogue knows may still be known by its rows."""
    if isinstance(given, str) and given in known:
        try:
            return given, machine(given)
        except InputError:
            return given, None
    found = machine(given)
    return found.key, found


def _features(model: Any, sheet: _Sheet, workload: Callable[[Any], Workload]) -> Batch:
    import pandas as pd

    from ..datasets.cells import machine_names
    from ..datasets.measured import EMPTY

    numeric, worded = _feature_names(model)
    machines = (model.card.schema or {}).get("hardware")
    sheet.known_only(known(model))
    missing = [name for name in (*numeric, *worded) if name not in sheet.columns]
    if missing:
        raise TableError(f"lacks the column {', '.join(missing)[:200]}; the model was fitted with: {', '.join((*numeric, *worded))[:300]}")
    figures = {name: sheet.numbers(name) for name in numeric}
    for name, values in figures.items():
        sheet.blame(np.flatnonzero(np.isinf(values)), f"{name}: expected a finite number")
    texts = {name: sheet.texts(name, None if name == machines else EMPTY) for name in worded}  # as `silicast predict` takes an empty cell
    if machines in texts:
        texts[machines] = Coded(texts[machines].codes, tuple(machine_names(pd.Series(texts[machines].values, dtype=object))))
    keep = sheet.keep
    frame = pd.DataFrame({**{name: values[keep] for name, values in figures.items()},
                          **{name: np.array(one.values, dtype=object)[one.codes[keep]] for name, one in texts.items()}}, index=range(int(keep.sum())))
    return Batch(FeatureQuestions(frame), keep, sheet.faults)
