"""Rows of a plain feature table -> numbers on which distances mean something: what kernels and linear models see.

A size or a count goes in by its logarithm, another number as it is, a category as one column per value; a number of few values goes in both
ways. Names that carry figures give them away: a model called `...-70b` has 70e9 parameters, and a machine the catalogue knows brings its
rates along, so that a value never seen still has a place between those seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.columns import DeviceColumns
from ..datasets.errors import TableError
from ..features.device import DEVICE_FEATURES, device_vector, named_machine
from ..features.matrix import codes

#: a positive number that spans this ratio is a size: its logarithm is taken
_SPAN = 3.0
#: numbers of at most this many different values are told as categories too
_FEW = 6
#: categories with more values than this are told by their figures alone, and by the most frequent of them
_MOST_VALUES = 200
#: the figures of a machine that place it among few others: with a handful of machines more of them can be fitted to anything
_TOLD = ("log_matrix_rate_fp16", "log_dram_bandwidth", "log_tdp")
#: "70b", "8x7B", "350M" in a name: parameters
_PARAMETERS = re.compile(r"(?:(\d+)x)?(\d+(?:\.\d+)?)([bBmM])(?![a-zA-Z])")


def learn_columns(frame: pd.DataFrame, shown: np.ndarray | None = None) -> list[dict[str, Any]]:
    """How each column of n rows becomes numbers, as plain JSON: source, how, and what is needed to repeat it. Constant columns are left out.
    `shown` restricts nothing but the statistics: (n,) rows to take them from."""
    rows = frame if shown is None else frame.iloc[np.flatnonzero(shown)]
    out: list[dict[str, Any]] = []
    for name in map(str, frame.columns):
        if pd.api.types.is_numeric_dtype(frame[name]):
            out += _learn_numbers(name, rows[name].to_numpy(dtype=np.float64, na_value=np.nan))
        else:
            out += _learn_words(name, rows[name].astype(str))
    return out


def _learn_numbers(name: str, values: np.ndarray) -> list[dict[str, Any]]:
    good = values[np.isfinite(values)]
    different = np.unique(good)
    if len(different) < 2 and (len(different) == 0 or len(good) == len(values)):
        return []
    least, most = float(different[0]), float(different[-1])
    how = "number"
    if least > 0 and most / least >= _SPAN:
        how = "log"
    elif least == 0 and len(different) > 2 and most / float(different[different > 0][0]) >= 10.0:
        how = "log1p"
    out = [_scaled_as({"source": name, "how": how, "unit": float(different[different > 0][0]) if how == "log1p" else 1.0}, good)]
    if len(good) < len(values):
        out.append({"source": name, "how": "missing", "mean": 0.0, "std": 1.0})
    if 2 < len(different) <= _FEW:
        out.append({"source": name, "how": "level", "levels": [float(x) for x in different]})
    return out


def _learn_words(name: str, values: pd.Series) -> list[dict[str, Any]]:
    counts = values.value_counts()
    if len(counts) < 2:
        return []
    out: list[dict[str, Any]] = [{"source": name, "how": "category", "values": sorted(map(str, counts.index[:_MOST_VALUES]))}]
    words = [str(v) for v in counts.index]
    sizes = np.array([_parameters(v) for v in words])
    if np.isfinite(sizes).mean() >= 0.6 and len(np.unique(sizes[np.isfinite(sizes)])) > 1:
        out.append(_scaled_as({"source": name, "how": "parameters"}, sizes[np.isfinite(sizes)]))
    figures = _figures(words)
    known = np.isfinite(figures).any(axis=1)
    if known.sum() >= 2 and known.mean() >= 0.5:
        for j, (figure, _) in enumerate(DEVICE_FEATURES):
            if not figure.startswith(_TOLD):
                continue
            good = figures[known, j]
            if np.isfinite(good).all() and np.ptp(good) > 1e-6:
                out.append({"source": name, "how": "figure", "figure": figure, "mean": float(good.mean()), "std": float(good.std())})
    return out


def _scaled_as(column: dict[str, Any], values: np.ndarray) -> dict[str, Any]:
    raw = _raw(column, values)
    return {**column, "mean": float(raw.mean()), "std": float(max(raw.std(), 1e-9))}


def _raw(column: Mapping[str, Any], values: np.ndarray) -> np.ndarray:
    if column["how"] in ("log", "parameters"):
        return np.log(np.maximum(values, 1e-300))
    return np.log1p(np.maximum(values, 0.0) / column["unit"]) if column["how"] == "log1p" else values


def smooth(frame: pd.DataFrame, columns: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """((n, p) float64 of about unit spread, (p,) the learned column each belongs to). What is missing or never seen stands at the mean, a category
    never seen at zero throughout. Raises TableError for a column that is missing or holds text where numbers were learned."""
    parts: list[np.ndarray] = []
    part: list[int] = []
    given: dict[str, pd.Series] = {}  # a source is taken out once: of a single row that costs more than what is done with it
    for at, column in enumerate(columns):
        source = column["source"]
        if source not in given:
            if source not in frame.columns:
                raise TableError(f"feature table lacks the column {source}; it has: {', '.join(map(str, frame.columns))}")
            given[source] = frame[source]
        values = _values(given[source], column)
        parts.append(values)
        part += [at] * values.shape[1]
    return (np.concatenate(parts, axis=1) if parts else np.zeros((len(frame), 0))), np.array(part, dtype=np.int64)


def _values(given: pd.Series, column: Mapping[str, Any]) -> np.ndarray:
    how = column["how"]
    if how == "category":
        return (codes(given, tuple(column["values"]))[:, None] == np.arange(len(column["values"]))).astype(np.float64)
    if how in ("parameters", "figure"):
        words, inverse = np.unique(given.astype(str).to_numpy(dtype=str), return_inverse=True)
        if how == "parameters":
            raw = _raw(column, np.array([_parameters(str(w)) for w in words]))
        else:
            raw = _figures([str(w) for w in words])[:, [name for name, _ in DEVICE_FEATURES].index(column["figure"])]
        return np.nan_to_num((raw - column["mean"]) / column["std"])[inverse][:, None]
    if not pd.api.types.is_numeric_dtype(given):
        raise TableError(f"feature table: expected numbers in the column {column['source']}, as the model was fitted with; got text")
    numbers = given.to_numpy(dtype=np.float64, na_value=np.nan)
    if how == "level":
        return (numbers[:, None] == np.array(column["levels"])).astype(np.float64)
    if how == "missing":
        return (~np.isfinite(numbers)).astype(np.float64)[:, None]
    return np.clip(np.nan_to_num((_raw(column, numbers) - column["mean"]) / column["std"]), -20.0, 20.0)[:, None]


def _parameters(name: str) -> float:
    """Parameters that a model's name tells, NaN where it tells none; of experts all are counted."""
    found = _PARAMETERS.search(name)
    if found is None:
        return float("nan")
    experts, number, unit = found.groups()
    return float(experts or 1) * float(number) * (1e9 if unit in "bB" else 1e6)


def _figures(names: Sequence[str]) -> np.ndarray:
    """(names, d) figures of the machines the catalogue knows, NaN for the others."""
    out = np.full((len(names), len(DEVICE_FEATURES)), np.nan)
    for i, name in enumerate(names):
        machine = named_machine(name)
        if machine is not None:
            out[i] = device_vector(DeviceColumns.from_devices([machine]))[0]
    return out
