"""One vector per machine: its figures, whatever runs on it. A figure nobody published is NaN."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..datasets import catalog
from ..datasets.columns import DeviceColumns
from ..datasets.dtypes import DTYPE_CODES
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


@lru_cache(maxsize=4096)
def named_machine(word: str) -> Hardware | None:
    """The machine of the catalogue that a word of a table names; None for any other word. A path is no name: no file is opened for what stands in a table."""
    if "/" in word or word.lower().endswith(catalog.SUFFIXES):
        return None
    return catalog.find(word)
