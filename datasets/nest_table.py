"""Sampled loop nests on sampled cores, labelled by interval analysis: a plain feature table that `silicast fit` learns from.

    generate_nests(10_000, seed=0).to_parquet("nests.parquet")       # with NEST_SCHEMA beside it as YAML

One row per (nest, core): what the nest does per turn and in all, the core's figures, then the targets. Rows of one nest share `nest`, the group that must not be split.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .catalog.cores import core, core_keys
from .core import ISAS, UNITS, Core, CoreColumns
from .core_space import sample_core
from .errors import InputError
from .loopnest import CLASSES, LoopNest
from .nest_columns import NestColumns
from .nests import sample_nest
from .simulator.cache_misses import lines_touched
from .simulator.interval import Interval, interval

#: cores each sampled nest is put on
CORES_PER_NEST = 4
#: share of the cores that are the catalogue's own
CATALOGUED = 0.1
NEST_TARGETS = ("instructions", "ipc", "cycles", "latency_s")
#: the schema of the table, as `silicast fit --schema` wants it (see docs/measured.md)
NEST_SCHEMA: dict[str, Any] = {"targets": {"instructions": {"column": "instructions"}, "ipc": {"column": "ipc"}, "cycles": {"column": "cycles"},
                                           "latency_s": {"column": "latency_s", "unit": "s"}}, "group": ["nest"]}


def generate_nests(count: int, seed: int = 0) -> pd.DataFrame:
    """`count` rows: features, `NEST_TARGETS` and the group `nest`; deterministic in `seed`. Raises InputError for a count that is not positive."""
    if count < 1:
        raise InputError(f"generate_nests: count must be at least 1, got {count}")
    rng = np.random.default_rng(seed)
    known = [core(key) for key in core_keys()]
    nests = [sample_nest(rng) for _ in range(-(-count // CORES_PER_NEST))]
    cores = [known[int(rng.integers(len(known)))] if rng.random() < CATALOGUED else sample_core(rng, known) for _ in range(count)]
    which = np.arange(count) // CORES_PER_NEST
    columns, machine = NestColumns.of(nests).take(which), CoreColumns.of(cores)
    answer = interval(columns, machine)
    frame = pd.concat([nest_features(nests, columns, which), core_features(cores)], axis=1)
    return pd.concat([frame, _together(frame), _answers(answer), pd.DataFrame({"nest": [nests[i].digest for i in which]})], axis=1)


def nest_features(nests: Sequence[LoopNest], columns: NestColumns, which: np.ndarray) -> pd.DataFrame:
    """What a model sees of row i's nest, `nests[which[i]]` (`columns` holds it in row i): counts per innermost turn, turns, footprints by loop level, vector and chain facts."""
    turns, wide = columns.iterations, np.full(len(columns), 64.0)
    lines, _ = lines_touched(columns, wide, np.ones(len(columns)))
    footprint = lines.sum(axis=1) * 64.0                                        # (p, L + 1), in lines of 64 bytes
    inner = columns.ops[:, -1]
    out: dict[str, Any] = {"turns": turns, "inner_trips": columns.trips[:, -1], "chain_trips": columns.chain_trips, "carried": columns.carried, "loads": columns.loads[:, -1],
                           "stores": columns.stores[:, -1], "streams": columns.streams[:, -1], "pointers": columns.strides[:, -1]}
    out |= {f"turn_{c}": inner[:, i] for i, c in enumerate(CLASSES)}
    out |= {"outer_loads_per_turn": (columns.executions * columns.loads)[:, :-1].sum(axis=1) / turns, "outer_stores_per_turn": (columns.executions * columns.stores)[:, :-1].sum(axis=1) / turns,
            "mispredicted_per_turn": (columns.executions * columns.missed).sum(axis=1) / turns, "branches": columns.branches[:, -1],
            "vectorizable": columns.vectorizable + 0.0, "element_bytes": columns.element}
    depth = footprint.shape[1]
    for back in range(min(depth, 8)):                                           # from the innermost outwards; a nest of fewer loops repeats its whole
        out[f"footprint_{back}"] = footprint[:, depth - 1 - back]
        if back:
            out[f"trips_{back}"] = columns.trips[:, depth - 1 - back]
    out["footprint"] = footprint[:, 0]
    out["dirty_bytes"] = (lines[:, :, 0] * columns.group_written).sum(axis=1) * 64.0
    nearest = np.where(columns.valid & (columns.group_strides[:, :, -1] > 0), columns.group_strides[:, :, -1], 0.0)
    out |= {"widest_stride": nearest.max(axis=1), "mean_stride": nearest.sum(axis=1) / np.maximum(columns.valid.sum(axis=1), 1)}
    return pd.DataFrame(out).assign(family=[nests[i].family for i in which])


def core_features(cores: Sequence[Core]) -> pd.DataFrame:
    """What a model sees of each core: every figure of `CoreColumns`, stand-ins applied; infinite ones (no bound) as 0."""
    c = CoreColumns.of(cores)
    out: dict[str, Any] = {"isa": np.array(ISAS, dtype=object)[c.isa], "dispatch": c.dispatch, "window": c.window, "has_fma": c.has_fma + 0.0}
    out |= {f"{u}_{what}": values[:, i] for i, u in enumerate(UNITS) for what, values in (("count", c.count), ("ready", c.latency), ("interval", c.interval))}
    out |= {name: getattr(c, name) for name in ("fp_pipes", "memory_ports", "vector_bytes", "frontend", "history", "prefetch", "line", "clock_hz", "bytes_per_cycle")}
    out |= {f"{what}_{i + 1}": values[:, i] for what, values in (("capacity", c.capacity), ("hit", c.hit), ("fill", c.fill), ("outstanding", c.outstanding)) for i in range(values.shape[1])}
    return pd.DataFrame(out).replace(np.inf, 0.0).infer_objects()


def _together(frame: pd.DataFrame) -> pd.DataFrame:
    """What neither says alone: lanes of a vector, turns of the vector loop, the share of each cache that the data and the innermost loop's data need."""
    width = np.maximum(np.floor(frame["vector_bytes"] / frame["element_bytes"]), 1.0)
    can = (frame["vectorizable"] > 0) & (frame["inner_trips"] >= width)
    lanes = pd.Series(np.where(can, width, 1.0), index=frame.index)
    out = {"lanes": lanes, "vector_turns": frame["turns"] / lanes, "turns_in_window": frame["window"] / frame[["loads", "stores", *(f"turn_{c}" for c in CLASSES)]].sum(axis=1).add(2.0)}
    out |= {f"fill_{what}_{i}": frame[what] / frame[f"capacity_{i}"] for what in ("footprint", "footprint_1", "footprint_2") for i in (1, 2, 3)}
    return pd.DataFrame(out)


def _answers(answer: Interval) -> pd.DataFrame:
    return pd.DataFrame({name: getattr(answer, name) for name in NEST_TARGETS})
