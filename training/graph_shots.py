"""Measured rows of whole networks for a model that takes them as graphs: what `silicast drift export` writes of such a model's questions, and any table whose schema names files.

    workload: {column: workload, format: path}
    hardware: hardware
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.catalog import hardware
from ..datasets.errors import SilicastError, TableError
from ..datasets.frontends import read
from ..datasets.measured import read_frame, read_measured
from ..datasets.schema import Schema
from ..datasets.table import GraphQuestions, Table


def measured_for(shape: str, table: str | Path | pd.DataFrame, schema: Schema, **how: Any) -> Table:
    """`read_measured`, with graphs as questions where the model's `shape` is graph. Raises its errors, and TableError for a table that names no files and machines."""
    data = read_measured(table, schema, **how)
    if shape != "graph" or data.questions.shape == "graph":
        return data
    if schema.workload is None or schema.workload.format != "path" or schema.workload.column is None or schema.hardware is None:
        raise TableError("this model answers whole networks as graphs: the schema must name their files (workload: {column: ..., format: path}) and the machines (hardware: COLUMN)")
    frame = (table if isinstance(table, pd.DataFrame) else read_frame(table)).reset_index(drop=True)
    if len(frame) != len(data):
        raise TableError(f"{len(frame) - len(data)} of {len(frame)} rows cannot be used; mend the table, or leave them out of it")
    base = Path.cwd() if isinstance(table, pd.DataFrame) else Path(table).absolute().parent
    names, w = np.unique(frame[schema.workload.column].astype(str).to_numpy(dtype=object), return_inverse=True)
    keys, d = np.unique(frame[schema.hardware].astype(str).to_numpy(dtype=object), return_inverse=True)
    try:
        workloads = tuple(read(base / name if (base / name).is_file() else Path(name)) for name in names)
        devices = tuple(hardware(key) for key in keys)
    except SilicastError as error:
        raise TableError(f"a row of the table cannot be asked of this model: {error}") from None
    slices = pd.DataFrame({"family": [workloads[i].family for i in w], "device": [devices[i].key for i in d], "kind": [devices[i].kind for i in d]})
    return Table(GraphQuestions(workloads, devices, w, d), data.targets, np.array([workloads[i].digest for i in w], dtype=object), slices, data.source, data.notes)
