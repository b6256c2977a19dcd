"""Tables in, tables out: questions in CSV or Parquet, answers in a file that is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets.errors import FormatError, InputError, SilicastError, TableError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ..surrogates.prediction import Prediction

SUFFIXES = (".csv", ".parquet")


def is_sheet(path: Path) -> bool:
    """Whether a file is read as a table, by its suffix."""
    return path.suffix.lower() in SUFFIXES


def writable(out: Path, *inputs: Path) -> None:
    """Raises FormatError or InputError when a table cannot be written to `out`: known before an hour of work, not after."""
    if not is_sheet(out):
        raise FormatError(f"--out {out}: expected a file ending in {', '.join(SUFFIXES)}")
    if not out.parent.is_dir():
        raise FormatError(f"--out {out}: the folder {out.parent} does not exist")
    if out.is_dir():
        raise FormatError(f"--out {out}: is a folder; expected a file")
    if any(out.exists() and path.exists() and out.samefile(path) for path in inputs):
        raise InputError(f"--out {out}: would overwrite the table that is read; choose another name")
    if not os.access(out.parent, os.W_OK):
        raise FormatError(f"--out {out}: the folder {out.parent} cannot be written to")


def write_sheet(frame: pd.DataFrame, out: Path) -> Path:
    """Writes CSV or Parquet by suffix, beside its place first and then moved in. Raises FormatError when the disk refuses."""
    building = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        if out.suffix.lower() == ".csv":
            frame.to_csv(building, index=False)
        else:
            frame.to_parquet(building, index=False)
        os.replace(building, out)
    except OSError as error:
        raise FormatError(f"{out}: cannot be written ({error})") from None
    finally:
        with contextlib.suppress(OSError):
            building.unlink()
    return out


def questions(path: Path, schema: Path | Mapping[str, Any] | None, model: Any) -> tuple[Any, np.ndarray]:
    """(the questions of a table, which of its n rows ask them): by the schema given, or else by the one in the model's card.

    A model of whole networks needs no schema (`network_questions`). Every row must be answerable, but for those the schema's `where`
    leaves out. Raises FormatError, TableError or InputError naming file, column and row.
    """
    import numpy as np

    from ..datasets.measured import Schema, read_frame, read_measured
    from ..features.domain import known_words

    frame = read_frame(path)
    if schema is None and not model.card.schema and model.shape == "graph":
        return network_questions(frame, path), np.ones(len(frame), dtype=bool)
    if schema is None and not model.card.schema:
        raise InputError(f"{path}: model {model.name!r} keeps no schema in its card, so the columns mean nothing to it; give --schema YAML")
    spec = Schema.read(schema if schema is not None else dict(model.card.schema))
    try:
        asked = read_measured(path, spec, need_targets=False, words=known_words(model.card.domain, spec.hardware or "")).questions
    except (ValueError, TypeError) as error:  # text in a column of figures
        raise TableError(f"{path}: a column does not hold the figures its schema says ({error})") from None
    kept = np.ones(len(frame), dtype=bool)
    for column, values in spec.where.items():
        kept &= frame[column].isin(values).to_numpy()
    if int(kept.sum()) != len(asked):
        raise TableError(f"{path}: {len(asked)} of {int(kept.sum())} rows can be asked; every row must be, or the answers would stand beside the wrong rows")
    return asked, kept


def spread(prediction: Prediction, kept: np.ndarray) -> Prediction:
    """The answers at the rows that asked (`kept`, n bools); the other rows have none, and say why."""
    import numpy as np

    from ..surrogates.prediction import Domain, Prediction

    if kept.all():
        return prediction
    at = np.cumsum(kept) - 1
    nobody = Domain("unsupported", "not asked: the schema's `where` leaves this row out")

    def grown(values: np.ndarray) -> np.ndarray:
        out = np.full((len(kept), values.shape[1]), np.nan)
        out[kept] = values
        return out

    domain = tuple(prediction.domain[at[row]] if asked else nobody for row, asked in enumerate(kept))
    return Prediction(prediction.targets, grown(prediction.point), grown(prediction.low), grown(prediction.high), prediction.level, domain,
                      prediction.model, prediction.version)


def network_questions(frame: pd.DataFrame, path: Path) -> Any:
    """Questions about whole networks from a table with the columns `workload` (a file any frontend reads, relative to the table; or a
    workload document) and `hardware` (a catalogue key, alias or YAML path). Raises TableError or InputError naming the row."""
    from ..datasets.catalog import hardware
    from ..datasets.measurement import Query
    from ..datasets.table import GraphQuestions

    missing = [c for c in ("workload", "hardware") if c not in frame.columns]
    if missing:
        raise TableError(f"{path}: lacks the column {', '.join(missing)}; a table of whole networks has workload and hardware, it has: "
                         f"{', '.join(map(str, frame.columns))}. A table of operators needs a model that was fitted to one")
    if frame.empty:
        raise TableError(f"{path}: the table has no rows")
    workloads: dict[str, Any] = {}
    machines: dict[str, Any] = {}
    queries = []
    for row, (asked, machine) in enumerate(zip(frame["workload"].astype(str), frame["hardware"].astype(str), strict=True), start=1):
        try:
            if asked not in workloads:
                workloads[asked] = _workload(asked, path.parent)
            if machine not in machines:
                machines[machine] = hardware(machine)
        except SilicastError as error:
            raise InputError(f"{path}: row {row}: {error}") from None
        queries.append(Query(workloads[asked], machines[machine]))
    return GraphQuestions.of(queries)


def _workload(text: str, folder: Path) -> Any:
    from ..datasets.frontends import read

    if text.lstrip().startswith("{"):
        import json

        from ..datasets.workload import Workload

        try:
            return Workload.from_json(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise FormatError(f"workload: not a JSON document ({error})") from None
    return read(folder / text)
