"""Readings that cannot be true, found before anything is learned from them. The rules, in order; a row is counted under the first that it breaks:

* **no reading**: a target of silicast's own (`measurement.TARGETS`) that is NaN, infinite or, being a time, an energy or a power, not positive. `read_measured`
  finds these; up to `MOST_UNREAD` of the rows are set aside, beyond that the table is refused, for then something else is wrong.
* **faster than light**: a latency that means more than `RUNNING_OVER` times the peak arithmetic rate of its machine, or DRAM traffic beyond what its last cache holds
  at more than that many times the data-sheet bandwidth. Machines run above published clocks, and rates of sparse operands get published as those of dense ones, hence so much; only machines whose figures are known are judged.
* **over the limit**: a power more than `OVER_LIMIT` times the machine's power limit.
* **disagreeing**: rows of equal inputs whose answers differ by more than `APART` from each other. Of three or more, those that far from their median go; of two
  nobody can tell which is right, and both go. A row that lacks a cell which most rows have (a column empty in fewer than `LACKING` of them) is equal to no other.

A rule that more than `MOST_BROKEN` of the rows break speaks against the schema or the machine's figures, not against the rows: they stay, and that is said.
Nothing is dropped in silence: every rule's rows are counted and the first is named, in what `fit` says and in the model's card.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from ..datasets.columns import work_left
from ..datasets.table import FeatureQuestions, OpQuestions, Table
from ..features.device import device_rows
from .leaks import leaks

MOST_UNREAD = 0.2
MOST_BROKEN = 0.05
RUNNING_OVER = 2.0
OVER_LIMIT = 1.2
APART = 1.5
LACKING = 0.5


def quarantine(data: Table, wanted: Collection[str] = ()) -> Table:
    """The table without the rows that break a rule, its notes with what was set aside and with the inputs that copy an answer (`leaks`). `wanted`: the targets that rows must agree about (none
    named: all)."""
    rules = [*_light(data), *_limit(data), *_disagreeing(data, {w.partition("=")[0] for w in wanted})]
    kept = np.ones(len(data), dtype=bool)
    notes = leaks(data)
    for broken, text in rules:
        new = broken & kept
        if new.sum() > MOST_BROKEN * len(data):
            notes.append(f"{int(new.sum())} of {len(data)} rows kept although {text}: so many speak against the schema (a column left out?) or the machine's figures")
        elif new.any():
            notes.append(f"{int(new.sum())} of {len(data)} rows set aside: {text} (first is usable row {int(np.flatnonzero(new)[0])}, counting from 0)")
            kept &= ~new
    if not notes:
        return data
    clean = data if kept.all() else data.take(kept)
    return Table(clean.questions, clean.targets, clean.groups, clean.slices, clean.source, (*data.notes, *notes))


def _light(data: Table) -> list[tuple[np.ndarray, str]]:
    if not isinstance(data.questions, OpQuestions) or "latency_s" not in data.targets:
        return []
    ops, latency = data.questions.ops, data.targets["latency_s"]
    devices = device_rows(data.questions.devices, data.questions.device_index)
    known = np.array([d is not None and d.fabric is None for d in data.questions.devices])[data.questions.device_index]
    rows = np.arange(len(ops))
    fastest = np.fmax(devices.matrix_rate[rows, ops.dtype], devices.vector_rate[rows, ops.dtype])
    grid = 2.0 * devices.array_rows * devices.array_cols * devices.array_count * devices.clock_hz
    # a library may multiply fewer numbers than the layer has (Winograd), and a sparse or banked machine has other peaks: only plain products are judged
    plain = known & (ops.window <= 1) & (ops.pattern == 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        arithmetic = plain & (ops.matrix_flops * work_left(ops, devices, paired=True) / np.fmax(fastest, grid) > RUNNING_OVER * latency)
        spilled = ops.total_bytes - np.where(np.isfinite(devices.cache_bytes), devices.cache_bytes, np.inf)
        traffic = known & (spilled / devices.dram_bandwidth > RUNNING_OVER * latency)
    return [(arithmetic, f"faster than {RUNNING_OVER:g} times the machine's peak arithmetic rate allows"),
            (traffic, f"moved more than the last cache holds faster than {RUNNING_OVER:g} times the memory's bandwidth allows")]


def _limit(data: Table) -> list[tuple[np.ndarray, str]]:
    if not isinstance(data.questions, OpQuestions) or "power_w" not in data.targets:
        return []
    limit = np.array([d.tdp_w if d is not None and d.tdp_w else np.inf for d in data.questions.devices])[data.questions.device_index]
    return [(data.targets["power_w"] > OVER_LIMIT * limit, f"power above {OVER_LIMIT:g} times the machine's limit")]


def _disagreeing(data: Table, wanted: Collection[str]) -> list[tuple[np.ndarray, str]]:
    same = _inputs(data)
    out = []
    for name, values in data.targets.items():
        if not (values > 0).all() or (wanted and name.partition("=")[0] not in wanted):
            continue
        groups = pd.Series(np.log(values)).groupby(same)
        count, middle = groups.transform("size").to_numpy(), groups.transform("median").to_numpy()
        spread = (groups.transform("max") - groups.transform("min")).to_numpy()
        off = np.abs(np.log(values) - middle)
        broken = (count > 1) & (spread > np.log(APART)) & ((off > np.log(APART)) | (count == 2))
        out.append((broken, f"{name} of equal inputs disagrees by more than {APART:g} times"))
    return out


def _inputs(data: Table) -> np.ndarray:
    """(n,) a number for each different set of inputs."""
    q = data.questions
    if isinstance(q, OpQuestions):
        parts = pd.DataFrame({**{f"op.{k}": v for k, v in vars(q.ops).items()}, "device": q.device_index})
        frame = pd.concat([parts, q.context.reset_index(drop=True).add_prefix("context."), q.extra.reset_index(drop=True).add_prefix("extra.")], axis=1)
    elif isinstance(q, FeatureQuestions):
        frame = q.frame.reset_index(drop=True)
    else:
        return np.arange(len(data))
    if not frame.shape[1]:
        return np.arange(len(data))
    empty = frame.isna()
    unknown = empty.loc[:, empty.mean() < LACKING].any(axis=1).to_numpy()
    same = pd.util.hash_pandas_object(frame, index=False).to_numpy().astype(object)
    same[unknown] = [f"row {row}" for row in np.flatnonzero(unknown)]
    return pd.factorize(same)[0]
