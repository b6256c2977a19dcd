"""One vector per machine: its figures, whatever runs on it; and one machine per row. A figure nobody published is NaN."""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache

import numpy as np

from ..datasets import catalog
from ..datasets.columns import DeviceColumns
from ..datasets.dtypes import DTYPE_CODES, DTYPE_NAMES
from ..datasets.hardware import DATAFLOWS, KINDS, Hardware

#: (name, unit) of each column; log is the natural logarithm
DEVICE_FEATURES: tuple[tuple[str, str], ...] = (
    ("log_matrix_rate_fp16", "log op/s"), ("log_matrix_rate_fp32", "log op/s"), ("log_matrix_rate_int8", "log op/s"), ("log_vector_rate_fp32", "log op/s"),
    ("log_units", "log 1"), ("log_clock", "log Hz"), ("log_dram_bandwidth", "log B/s"), ("log_dram_bytes", "log B"), ("log_cache_bytes", "log B"),
    ("log_local_bytes", "log B"), ("log_tdp", "log W"), ("idle_share", "1"), ("process_nm", "nm"), ("balance", "log op/B"), ("log_array_rows", "log 1"),
    ("log_array_cols", "log 1"), ("log_array_count", "log 1"), ("log_dsp", "log 1"), ("log_bram", "log 1"),
    *((f"on_{kind}", "0/1") for kind in KINDS), *((f"dataflow_{flow}", "0/1") for flow in DATAFLOWS),
)


def device_vector(devices: DeviceColumns) -> np.ndarray:
    """(D, len(DEVICE_FEATURES)) float32, NaN where nobody published a figure."""
    d = devices
    with np.errstate(divide="ignore", invalid="ignore"):
        fp16 = d.matrix_rate[:, DTYPE_CODES["float16"]]
        columns = [np.log(fp16), np.log(d.matrix_rate[:, DTYPE_CODES["float32"]]), np.log(d.matrix_rate[:, DTYPE_CODES["int8"]]),
                   np.log(d.vector_rate[:, DTYPE_CODES["float32"]]), np.log(d.units), np.log(d.clock_hz), np.log(d.dram_bandwidth), np.log(d.dram_bytes),
                   np.log(d.cache_bytes), np.log(d.local_bytes), np.log(d.tdp_w), d.idle_w / d.tdp_w, d.process_nm, np.log(fp16 / d.dram_bandwidth),
                   np.log(d.array_rows), np.log(d.array_cols), np.log(d.array_count), np.log(d.dsp), np.log(d.bram_18k)]
    columns += [(d.kind == code).astype(np.float64) for code in range(len(KINDS))]
    columns += [(d.dataflow == code).astype(np.float64) for code in range(len(DATAFLOWS))]
    return np.column_stack(columns).astype(np.float32)


def device_rows(devices: tuple[Hardware | None, ...], index: np.ndarray) -> DeviceColumns:
    """(n,) machine columns by index; a machine no catalogue knows has NaN figures (typical ones stand in, in the bounds)."""
    stand_in = next((d for d in devices if d is not None), None)
    known = DeviceColumns.from_devices([d or stand_in for d in devices]) if stand_in is not None else _nobody(len(devices))
    lost = np.array([d is None for d in devices])
    if lost.any() and stand_in is not None:
        blank = {name: np.where(lost if a.ndim == 1 else lost[:, None], np.nan, a) for name, a in vars(known).items() if a.dtype.kind == "f"}
        known = DeviceColumns(**{**vars(known), **blank, "kind": np.where(lost, 0, known.kind).astype(np.int16),
                                 "dataflow": np.where(lost, -1, known.dataflow).astype(np.int16)})
    return known.take(index)


def _nobody(count: int) -> DeviceColumns:
    rates = np.full((count, len(DTYPE_NAMES)), np.nan)
    given = {"kind": np.zeros(count, dtype=np.int16), "dataflow": np.full(count, -1, dtype=np.int16), "matrix_rate": rates, "vector_rate": rates.copy()}
    return DeviceColumns(**{f.name: given.get(f.name, np.full(count, np.nan)) for f in fields(DeviceColumns)})


@lru_cache(maxsize=4096)
def named_machine(word: str) -> Hardware | None:
    """The machine of the catalogue that a word of a table names; None for any other word. A path is no name: no file is opened for what stands in a table."""
    if "/" in word or word.lower().endswith(catalog.SUFFIXES):
        return None
    return catalog.find(word)
