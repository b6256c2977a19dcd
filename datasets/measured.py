"""Measured tables: Parquet or CSV plus a small YAML schema that says what the columns mean -> `Table`.

    op: gemm                                  # or {column: op, map: {linear: gemm, bmm: gemm}}; absent: a plain feature table
    columns: {m: m, n: n, k: k, dtype: dtype} # op field: table column, or [columns] whose product it is; by op name when ops differ:
                                              #   columns: {linear: {m: m, ...}, softmax: {rows: [b, h], cols: n}}
    hardware: hardware                        # column of catalogue keys or aliases
    context: [framework, kernel_source]       # categorical circumstances
    workload: {column: arch, format: fbnet}   # whole networks in place of op; see `network_cells`
    features: [a, b]                          # plain feature table: its inputs (default: every column but the targets and a lone group column)
    fixed: {dtype: float32}                   # one value for all rows
    where: {op: [linear, bmm]}                # keep only these rows
    targets: {latency_s: {column: latency_ms, unit: ms}}
    units: {period: ns}                       # plain feature table: what an input's numbers are in, where its cells carry units
    group: [n, k]                             # rows that must not be split apart

A machine goes by its catalogue key here, however the table writes it (an alias, other case); one that no catalogue knows keeps its name.

Inputs of a plain feature table: a single `group` column says which rows belong together (a run, a kernel, a site: numbers or words) and, by
default, is no input, for a label tells nothing about a group never seen. Several group columns (n, k) are the sizes that make a site and
stay inputs. `features` overrules both. Questions (no targets) need no group column unless it is an input.

A target whose name is not silicast's own (`measurement.TARGETS`) may be anything finite and stays in its unit, which must be empty or a
known one; a name that is nearly one of silicast's is taken for a slip and refused.

Cells that carry their unit ("4622 ns") are numbers where the whole column is so; see `unit_cells`.

Values become SI here. A row that cannot be used (a missing or non-positive size, a target that is NaN, infinite or not positive) is an
error that says which and how many; asked to skip, `read_measured` sets such rows aside and says so in the table's notes. An empty cell in a plain table's column of words is the word "(empty)", one in
a column of numbers a number that is not known: models take it as that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from . import catalog, cells, nested, unit_cells, yes_no
from .columns import OpColumns
from .dtypes import ALIASES, BITS, DTYPE_CODES, SCHEMES, dtype_pair
from .errors import FormatError, TableError, UnitError, UnknownNameError
from .measurement import TARGETS
from .network_cells import network_questions
from .networks import NetworkQuestions
from .ops import OP_KINDS
from .schema import OpColumn, Schema
from .table import FeatureQuestions, OpQuestions, Table

__all__ = ["EMPTY", "Schema", "read_frame", "read_measured", "worded"]

#: the word that an empty cell among words is taken as
EMPTY = "(empty)"


def read_frame(path: str | Path) -> pd.DataFrame:
    """A CSV or Parquet file as it is. Raises FormatError naming the file."""
    place = Path(path)
    if not place.exists():
        raise FormatError(f"{place}: no such file")
    suffix = place.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise FormatError(f"{place}: expected a .csv or .parquet table, got {suffix or 'no suffix'!r}")
    try:
        return pd.read_csv(place) if suffix == ".csv" else pd.read_parquet(place)
    except Exception as error:
        raise FormatError(f"{place}: not a readable {suffix[1:]} table ({(str(error).splitlines() or [type(error).__name__])[0][:120]})") from None


def read_measured(table: str | Path | pd.DataFrame, schema: str | Path | Mapping[str, Any] | Schema, *, skip_bad_rows: bool = False, need_targets: bool = True,
                  unread: float = 0.0, words: Collection[str] | None = None, wanted: Collection[str] = ()) -> Table:
    """The measured table as questions and answers in SI.

    `need_targets=False` (for prediction): target and group columns may be missing or hold NaN, and every row is kept, in order,
    as a group of its own. `words`: columns that a model knows as words, with these, machines among them (None: no model was fitted yet). `unread`: rows without a usable target are set aside, and told in the notes, while they are no larger a share than this. `wanted`: the targets that
    every row must have (none named: all of the schema); one that a row may lack is NaN there, and one whose column is missing or holds text is left out.
    Raises FormatError, UnitError, UnknownNameError or TableError, each naming file, column and row.
    """
    frame = table if isinstance(table, pd.DataFrame) else read_frame(table)
    where = "table" if isinstance(table, pd.DataFrame) else str(table)
    spec = schema if isinstance(schema, Schema) else Schema.read(schema)
    if frame.empty:
        raise TableError(f"{where}: the table has no rows; at least one is needed, and two to fit a model")
    if not frame.columns.is_unique:
        raise TableError(f"{where}: two columns are called {frame.columns[frame.columns.duplicated()][0]!r}")
    frame = frame.reset_index(drop=True)
    for column, kept in spec.where.items():
        frame = frame[cells.column(frame, column, where, "where").isin(kept)]
        if frame.empty:
            raise TableError(f"{where}: no row has {column} in {kept}")
    notes: list[str] = []
    input_units: dict[str, str] = {}
    if not spec.op and not spec.workload:
        frame = nested.spread(frame, spec.features, keep=[*(c.column for c in spec.targets.values()), *([spec.hardware] if spec.hardware else [])], beside=spec.group)
        inputs = [name for name in _feature_names(frame, spec, where) if name != spec.hardware]
        frame, input_units, units_told = unit_cells.inputs_as_numbers(frame, [n for n in inputs if not nested.is_nested(n) and n not in spec.context], spec.units, None if need_targets and words is None else words or (), where)
        frame, notes = _empty_words(frame, inputs, words or ())
        notes = [*units_told, *notes]
        if words is not None or not need_targets:  # a column of nothing but empty cells has no kind of its own
            frame = without_kind(frame, inputs)
        notes += [f"{name} is empty in {int(lost.sum())} of {len(frame)} rows: not known there" for name in inputs if not nested.is_nested(name) and pd.api.types.is_numeric_dtype(frame[name])
                  for lost in [frame[name].isna()] if need_targets and lost.any()]
    elif spec.op:
        notes = [f"{name} is empty in {int(lost.sum())} of {len(frame)} rows: taken as the word {EMPTY}" for name in spec.context for lost in [cells.column(frame, name, where, "context").isna()] if lost.any()]
    row_of = np.asarray(frame.index)  # as the file counts them, from 0; kept until every cell has been looked at
    if need_targets and not spec.targets:
        raise TableError(f"{where}: the schema names no targets")
    targets: dict[str, np.ndarray] = {}
    needed = {name for name in spec.targets if need_targets and (not wanted or name in {w.partition("=")[0] for w in wanted})}
    for name, c in spec.targets.items():
        if name in needed or c.column in frame.columns:
            try:
                written, units_told = unit_cells.target_as_numbers(cells.column(frame, c.column, where, f"targets.{name}"), name, c.unit, where)
                classes = yes_no.classes_of(name, written, where)
                targets |= {name: cells.numbers(written.to_frame(), c.column, where, f"targets.{name}") * spec.factor(name)} if classes is None else classes
                notes += units_told
            except (TableError, UnitError):
                if name in needed or not wanted:
                    raise
    faults: list[tuple[np.ndarray, str]] = []
    if need_targets:
        failed = yes_no.refused(targets)
        for name, values in targets.items():
            if failed.any() and not yes_no.is_yes_no(name, values):
                targets[name] = values = np.where(failed & ~(values > 0), np.nan, values)
            # a resource may be zero; a time, an energy or a power may not
            least_ok = values >= 0 if name in TARGETS and TARGETS[name].quantity in ("count", "bytes", "fraction") else values > 0
            usable = np.isfinite(values) if name not in TARGETS else np.isfinite(values) & least_ok
            absent = failed & np.isnan(values) & (not yes_no.is_yes_no(name, values))
            if wanted and name not in wanted and name.partition("=")[0] not in wanted:
                targets[name] = np.where(usable, values, np.nan)
                continue
            faults.append((~usable & ~absent, f"{spec.targets[name.partition('=')[0]].column} is NaN, infinite or not positive"))
    readings = len(faults)
    networks: Any = None
    if spec.workload:
        networks, unreadable, why = network_questions(frame, spec, where, None if isinstance(table, pd.DataFrame) else Path(table).parent)
        faults.append((unreadable, f"the network cannot be read ({why})"))
        faults += _missing_inputs(networks.frame, [c for c in networks.frame.columns if not nested.is_nested(c) and c not in spec.features])
        faults += _missing_inputs(frame, spec.features)
        if spec.hardware:
            faults.append((frame[spec.hardware].isna().to_numpy(), f"{spec.hardware} is missing"))
    else:
        faults += _faulty_inputs(frame, spec, where, need_targets and words is None)
    bad = np.logical_or.reduce([f for f, _ in faults]) if faults else np.zeros(len(frame), dtype=bool)
    if bad.any():
        told = "; ".join(f"{text}: {int(rows.sum())} rows, first is row {row_of[np.flatnonzero(rows)[0]]}, counting from 0" for rows, text in faults if rows.any())
        lost = np.logical_or.reduce([f for f, _ in faults[:readings]]) if readings else np.zeros(len(frame), dtype=bool)
        if not skip_bad_rows and (bool((bad & ~lost).any()) or lost.mean() > unread):
            alone = bool(readings > 1 and lost.any() and min(int(rows.sum()) for rows, _ in faults[:readings]) < lost.sum())
            raise TableError(f"{where}: {int(bad.sum())} of {len(frame)} rows cannot be used ({told}); mend them, or skip them with --skip-bad-rows"
                             + (", which leaves out a row that lacks any target: fit each by itself with --target to keep what it has" if alone else ""))
        if bad.all():
            raise TableError(f"{where}: no row can be used ({told})")
        notes.append(f"{int(bad.sum())} of {len(frame)} rows set aside: {told}")
        frame, targets = frame[~bad], {k: v[~bad] for k, v in targets.items()}
        networks = None if networks is None else networks.take(~bad)
    frame = frame.reset_index(drop=True)
    questions: Any = _op_questions(frame, spec, where, words) if spec.op else networks if spec.workload else _feature_questions(frame, spec, where, input_units, words)
    slices = pd.DataFrame(index=range(len(frame)))
    if spec.hardware:
        slices["device"] = cells.machine_names(cells.column(frame, spec.hardware, where, "hardware"), _machines_known(words, spec))
    if isinstance(spec.op, OpColumn):
        slices["op"] = _said(frame[spec.op.column])
    for column in spec.context:
        slices[column] = _said(cells.column(frame, column, where, "context"))
    groups = _groups(frame, spec, where, questions) if need_targets else np.arange(len(frame)).astype(str).astype(object)
    return Table(questions, targets, groups, slices, f"measured:{Path(where).name}", tuple(notes))


def _op_parts(frame: pd.DataFrame, spec: Schema, where: str) -> list[tuple[str, np.ndarray, dict[str, Any]]]:
    """(kind, row numbers, op field -> column reference) for every op of the table."""
    if isinstance(spec.op, str):
        return [(spec.op, np.arange(len(frame)), spec.columns)]
    assert spec.op is not None
    values = _said(cells.column(frame, spec.op.column, where, "op"))
    parts = []
    for value in values.unique():
        kind = spec.op.map.get(value, value)
        if kind not in OP_KINDS:
            raise UnknownNameError("operator kind", kind, OP_KINDS, f"in {where}, column {spec.op.column}; name it in op.map, or leave such rows out with where")
        nested = {k: v for k, v in spec.columns.items() if isinstance(v, Mapping)}
        if nested and value not in nested:
            raise TableError(f"{where}: columns: nothing for the op {value!r}; there is: {', '.join(nested)}")
        parts.append((kind, np.flatnonzero(values == value), dict(nested[value]) if nested else spec.columns))
    return parts


def _sizes(frame: pd.DataFrame, columns: Mapping[str, Any], spec: Schema, kind: str, where: str) -> dict[str, np.ndarray]:
    known = OP_KINDS[kind].dims
    sizes: dict[str, np.ndarray] = {}
    for field, ref in columns.items():
        if field in ("dtype", "weight_dtype"):
            continue
        if field not in known:
            raise UnknownNameError(f"field of {kind}", field, known, f"in the schema's columns ({where})")
        names = [ref] if isinstance(ref, str) else ref
        if not isinstance(names, list) or not names:
            raise FormatError(f"{where}: columns.{field}: expected a column name or a list of them, got {ref!r}")
        sizes[field] = np.prod([cells.numbers(frame, n, where, f"columns.{field}") for n in names], axis=0)
    for field, value in spec.fixed.items():
        if field in known and field not in sizes:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise FormatError(f"{where}: fixed.{field}: expected a number, got {value!r}")
            sizes[field] = np.full(len(frame), float(value))
    missing = [d for d in OP_KINDS[kind].required if d not in sizes]
    if missing:
        raise TableError(f"{where}: {kind} needs {', '.join(OP_KINDS[kind].required)}; the schema's columns and fixed lack {', '.join(missing)}")
    return sizes


def _faulty_inputs(frame: pd.DataFrame, spec: Schema, where: str, to_learn: bool) -> list[tuple[np.ndarray, str]]:
    faults: list[tuple[np.ndarray, str]] = []
    if spec.op:
        for kind, rows, columns in _op_parts(frame, spec, where):
            part = frame.iloc[rows]
            for field, sizes in _sizes(part, columns, spec, kind, where).items():
                least, most = OP_KINDS[kind].span(field)
                wrong = np.zeros(len(frame), dtype=bool)
                wrong[rows] = ~(np.isfinite(sizes) & (sizes >= least) & (sizes <= most))
                faults.append((wrong, f"{kind} {field} is missing or less than {least}" + (f" or more than {most}" if most == 1 else "")))
            for field in ("dtype", "weight_dtype"):
                if isinstance(columns.get(field), str):
                    wrong = np.zeros(len(frame), dtype=bool)
                    wrong[rows] = cells.column(part, columns[field], where, f"columns.{field}").isna()
                    faults.append((wrong, f"{columns[field]} is missing"))
        if spec.hardware:
            faults.append((cells.column(frame, spec.hardware, where, "hardware").isna().to_numpy(), f"{spec.hardware} is missing"))
        for name in spec.features:
            faults.append((~np.isfinite(cells.numbers(frame, name, where, "features")), f"{name} is NaN or infinite"))
        return faults
    names = [name for name in _feature_names(frame, spec, where) if not nested.is_nested(name)]
    machine = [(cells.column(frame, spec.hardware, where, "hardware").isna().to_numpy(), f"{spec.hardware} is missing")] if spec.hardware else []
    names = [name for name in names if name != spec.hardware]
    numbers = {name: cells.numbers(frame, name, where, "features") for name in names if pd.api.types.is_numeric_dtype(frame[name])}
    empty = [name for name in numbers if to_learn and np.isnan(numbers[name]).all()]
    return [*machine, *_missing_inputs(frame, [name for name in names if name not in numbers or name in empty]),  # a number that a row lacks is missing, as a key is, and not wrong
            *((np.isinf(values), f"{name} is infinite") for name, values in numbers.items())]


def without_kind(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The table with columns of nothing but empty cells as numbers that are not known."""
    lost = [name for name in names if frame[name].dtype.kind == "O" and frame[name].isna().all()]
    frame = frame.copy(deep=False) if lost else frame
    for name in lost:
        frame[name] = np.nan
    return frame


def worded(frame: pd.DataFrame, words: Collection[str]) -> pd.DataFrame:
    """Questions to a model of a plain table that come without its schema: columns it learned as `words` hold words, an empty cell the word `EMPTY`, a number its digits; the others numbers, of which
    none may be known."""
    frame = _empty_words(frame, [str(c) for c in frame.columns if c in words], words)[0]
    return without_kind(frame, [str(c) for c in frame.columns if c not in words])


def _said(written: pd.Series) -> pd.Series:
    """A column of circumstances as words, an empty cell the word `EMPTY`."""
    return written.astype(object).where(written.notna(), EMPTY).astype(str)


def _empty_words(frame: pd.DataFrame, names: Sequence[str], words: Collection[str]) -> tuple[pd.DataFrame, list[str]]:
    """(the table, what to tell): where a column of words has empty cells they are a word of its own, for what was not said (a precision, an option) is often what a run went without. `words`: columns
    known to be words, of which a table may hold nothing but empty cells, or nothing but numbers."""
    empty: dict[str, pd.Series] = {}
    numbers: dict[str, Any] = {}
    for name in names:
        lost = frame[name].isna()
        # a file with a hole in a column of yes and no holds objects, one without holds booleans
        flags = frame[name].dtype.kind == "b" or (frame[name].dtype.kind == "O" and not lost.all() and all(isinstance(cell, (bool, np.bool_)) for cell in frame.loc[~lost, name]))
        if name in words and flags:
            numbers[name] = frame[name].astype(object).map(str, na_action="ignore")
        elif name in words and pd.api.types.is_numeric_dtype(frame[name]):
            numbers[name] = frame[name].map(lambda cell: str(int(cell)) if float(cell).is_integer() else str(cell), na_action="ignore")
        elif flags and frame[name].dtype.kind == "O":
            numbers[name] = frame[name].astype(np.float64)  # yes, no or not known
            continue
        if nested.is_nested(name) or not lost.any():
            continue
        if name in words or (not lost.all() and not pd.api.types.is_numeric_dtype(frame[name]) and all(isinstance(cell, str) for cell in frame.loc[~lost, name])):
            empty[name] = lost
    if numbers or empty:
        frame = frame.copy(deep=False)
    for name, told in numbers.items():
        frame[name] = told
    for name, lost in empty.items():
        frame[name] = frame[name].astype(object).where(~lost, EMPTY)
    return (frame,
            [f"{name} is empty in {int(lost.sum())} of {len(frame)} rows: taken as the word {EMPTY}" for name, lost in empty.items()])


def _missing_inputs(frame: pd.DataFrame, names: Sequence[str]) -> list[tuple[np.ndarray, str]]:
    faults = []
    for name in names:
        values = frame[name]
        lost = values.isna().to_numpy()
        if pd.api.types.is_numeric_dtype(values):
            lost = lost | ~np.isfinite(values.to_numpy(dtype=np.float64, na_value=np.nan))  # pandas lends its array read-only
        said = "NaN or infinite" if pd.api.types.is_numeric_dtype(values) else "missing"
        faults.append((lost, f"{name} is {said}" if not values.isna().all() else f"{name} is empty in every row: leave it out of the features"))
    return faults


def _check_fixed(spec: Schema, where: str) -> None:
    """Raises UnknownNameError for a fixed field that no op of the schema has: it would change nothing."""
    if not isinstance(spec.op, str) and spec.op and not spec.op.map:
        kinds: Iterable[str] = OP_KINDS  # the table says which
    else:
        kinds = [spec.op] if isinstance(spec.op, str) else [*spec.op.map.values(), *(c for c in spec.columns if c in OP_KINDS)] if spec.op else []
    known = {"dtype", "weight_dtype", "hardware", *(d for kind in kinds for d in OP_KINDS[kind].dims)}
    for field in spec.fixed:
        if field not in known:
            raise UnknownNameError("fixed field", field, known, f"in the schema of {where}")


def _machines_known(words: Collection[str] | None, spec: Schema) -> Collection[str]:
    """The names that a model knows machines by, of the words that it knows."""
    return words.get(spec.hardware or "hardware", ()) if isinstance(words, Mapping) else ()


def _op_questions(frame: pd.DataFrame, spec: Schema, where: str, words: Collection[str] | None) -> OpQuestions:
    _check_fixed(spec, where)
    pieces, order, context = [], [], pd.DataFrame(index=range(len(frame)))
    for kind, rows, columns in _op_parts(frame, spec, where):
        part = frame.iloc[rows]
        dtype, weight = _dtypes(part, columns, spec, where)
        pieces.append(OpColumns.from_sizes(kind, _sizes(part, columns, spec, kind, where), dtype, weight))
        order.append(rows)
    ops = OpColumns.concat(pieces).take(np.argsort(np.concatenate(order), kind="stable"))
    if isinstance(spec.op, OpColumn):
        context["op"] = _said(frame[spec.op.column])
    ref = next((c.get("dtype") for _, _, c in _op_parts(frame, spec, where) if c.get("dtype")), None)
    if isinstance(ref, str):
        context["dtype_name"] = cells.column(frame, ref, where, "columns.dtype").astype(str)
    for column in spec.context:
        context[column] = _said(cells.column(frame, column, where, "context"))
    extra = frame[spec.features].astype(np.float64) if spec.features else pd.DataFrame(index=range(len(frame)))
    known = _machines_known(words, spec)
    if spec.hardware:
        written = cells.machine_names(cells.column(frame, spec.hardware, where, "hardware"), known)
    elif "hardware" in spec.fixed:
        written = cells.machine_names(pd.Series([str(spec.fixed["hardware"])] * len(frame)), known)
    else:
        raise TableError(f"{where}: an op table needs the schema's hardware: a column of device names (or fixed: {{hardware: NAME}})")
    names, index = np.unique(written.to_numpy(dtype=str), return_inverse=True)
    # a name that a model knows and which is no key of the catalogue was not in the catalogue of its day: the model learned it without figures
    keys = catalog.keys()
    devices = (None if n in known and n not in keys and not n.lower().endswith(catalog.SUFFIXES) else cells.machine(n) for n in map(str, names))
    return OpQuestions(ops, tuple(str(n) for n in names), tuple(devices), index.astype(np.int64), context, extra)


def _dtypes(frame: pd.DataFrame, columns: Mapping[str, Any], spec: Schema, where: str) -> tuple[np.ndarray, np.ndarray]:
    compute, weight = _dtype_codes(frame, columns, spec, "dtype", where), _dtype_codes(frame, columns, spec, "weight_dtype", where)
    if compute is None:
        raise TableError(f"{where}: an op table needs a dtype: columns: {{dtype: COLUMN}} or fixed: {{dtype: NAME}}")
    return compute[:, 0], compute[:, 1] if weight is None else weight[:, 0]


def _dtype_codes(frame: pd.DataFrame, columns: Mapping[str, Any], spec: Schema, field: str, where: str) -> np.ndarray | None:
    """(n, 2) codes of the compute and the weight dtype that a column or a fixed value names; None where the schema names neither."""
    ref = columns.get(field)
    if ref is None and field not in spec.fixed:
        return None
    if ref is not None and not isinstance(ref, str):
        raise FormatError(f"{where}: columns.{field}: expected a column name, got {ref!r}")
    written = [str(spec.fixed[field])] * len(frame) if ref is None else cells.column(frame, ref, where, f"columns.{field}").astype(str).tolist()
    pairs: dict[str, tuple[int, int]] = {}
    for value in dict.fromkeys(written):
        try:
            a, w = dtype_pair(value)
        except UnknownNameError:
            raise UnknownNameError("dtype", value, [*BITS, *ALIASES, *SCHEMES], f"in {where}, {f'column {ref}' if ref else f'fixed.{field}'}") from None
        pairs[value] = DTYPE_CODES[a], DTYPE_CODES[w]
    return np.array([pairs[value] for value in written], dtype=np.int16).reshape(-1, 2)


def _feature_names(frame: pd.DataFrame, spec: Schema, where: str) -> list[str]:
    if spec.features:
        named: list[str] = []
        for name in spec.features:
            keys = nested.keys_of(frame, name)
            if not keys:
                cells.column(frame, name, where, "features")
            named += keys or [name]
        for name in spec.context:
            cells.column(frame, name, where, "context")
        return named + [c for c in spec.context if c not in named]
    used = {c.column for c in spec.targets.values()}
    if len(spec.group) == 1 and spec.group[0] not in (*spec.context, spec.hardware):  # a label, not a size; see the module's docstring
        used.add(spec.group[0])
    return [str(c) for c in frame.columns if c not in used and not (c in spec.group and nested.keys_of(frame, str(c)))]


def _feature_questions(frame: pd.DataFrame, spec: Schema, where: str, units: Mapping[str, str], words: Collection[str] | None) -> FeatureQuestions:
    names = _feature_names(frame, spec, where)
    if spec.hardware and spec.hardware not in names:
        names.append(spec.hardware)
    if not names:
        raise TableError(f"{where}: no column is left to be an input: all of {', '.join(map(str, frame.columns))} are targets or the group; add columns that say what was measured")
    known = _machines_known(words, spec)
    numbered = isinstance(words, Mapping) and spec.hardware not in words and spec.hardware in frame and pd.api.types.is_numeric_dtype(frame[spec.hardware])  # a model made when such names were numbers
    columns = {n: cells.machine_names(frame[n], known) if n == spec.hardware and not numbered else pd.Series(frame[n].to_numpy(dtype=np.float64, na_value=np.nan)) if pd.api.types.is_numeric_dtype(frame[n]) else frame[n].astype(str)
               for n in names}
    return FeatureQuestions(pd.DataFrame(columns), spec.hardware or "", units)


def _groups(frame: pd.DataFrame, spec: Schema, where: str, questions: Any) -> np.ndarray:
    """(n,) labels: the schema's group columns; without them, rows with the same inputs (or of the same network) stand together."""
    columns = spec.group
    if not columns and spec.workload and isinstance(questions, NetworkQuestions):
        return np.array([f"network {i}" for i in questions.index], dtype=object)
    if not columns:
        refs = [c for c in spec.columns.values() if isinstance(c, (str, list))] + [c for v in spec.columns.values() if isinstance(v, Mapping) for c in v.values()]
        columns = list(dict.fromkeys(n for ref in refs for n in ([ref] if isinstance(ref, str) else ref))) if spec.op else _feature_names(frame, spec, where)
    if not columns:
        return np.arange(len(frame)).astype(str).astype(object)
    parts = [cells.column(frame, name, where, "group") for name in columns]
    # an empty cell is a value like any other: ops of one table have different sizes
    parts = [cells.machine_names(part) if name == spec.hardware else part.astype(object).where(part.notna(), "").astype(str) for name, part in zip(columns, parts, strict=True)]
    joined = parts[0]
    for part in parts[1:]:
        joined = joined + "|" + part
    return joined.to_numpy(dtype=object)
