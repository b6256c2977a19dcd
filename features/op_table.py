"""Rows of op tables -> named columns: analytic bounds, the simulator's answer, tiles, waves and alignment, sizes, the machine's figures.

Every column has a role (`matrix.ROLES`): `physics` columns are ratios, so a machine or a size never seen lies among those seen, where its product name and
its figures do not. The reference of latency is the simulator's cold answer (`op_costs`), or the bounds' estimate where it has none; where the vocabulary has `row_passes.MARK`, with what
rows cost that are read more than once. A machine that no catalogue knows is priced on a stand-in, where a model has chosen one (`stand_ins`). The columns are the same either way.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd

from ..datasets.columns import DeviceColumns, element_bytes
from ..datasets.errors import TableError
from ..datasets.ops import KIND_CODES
from ..datasets.simulator.costs import LIMITS
from ..datasets.table import OpQuestions
from .bounds import CANONICAL_TILES, Bounds, op_bounds
from .device import DEVICE_FEATURES, device_rows, device_vector
from .matrix import Features, Vocabulary, codes
from .op_costs import OpCostRows, op_costs
from .row_passes import MARK, again_s
from .stand_ins import MARK as STAND_INS
from .stand_ins import stood_in
from .words import likened

#: rows whose columns are made at once
_ROWS_OF_PART = 25_000
#: name, unit, role, (n,) values
_Column = tuple[str, str, str, np.ndarray]


def op_features(questions: OpQuestions, vocabulary: Vocabulary) -> Features:
    """The columns of n operators on machines; kept with the questions. Raises TableError when a context column of the vocabulary is missing."""
    kept = questions.__dict__.setdefault("_features", {})
    key = tuple((name, tuple(known)) for name, known in vocabulary.items())
    found: Features | None = kept.get(key)
    if found is None:
        found = _op_features(questions, vocabulary) if len(questions) <= _ROWS_OF_PART else _in_parts(questions, vocabulary)
        found.values.setflags(write=False)
        kept.clear()  # one set of columns at a time: they are most of the memory of a fit
        kept[key] = found
    return found


def _in_parts(questions: OpQuestions, vocabulary: Vocabulary) -> Features:
    """The columns of many rows, in parts that two threads make: rows know nothing of one another, and what lies between sizes and columns is never there for all of them."""
    parts = np.array_split(np.arange(len(questions)), -(-len(questions) // _ROWS_OF_PART))
    with ThreadPoolExecutor(2) as pool:
        return Features.stack(list(pool.map(lambda at: _op_features(questions.take(at), vocabulary), parts)))


def _op_features(questions: OpQuestions, vocabulary: Vocabulary) -> Features:
    ops = questions.ops
    priced_on, factor = stood_in(questions, vocabulary)
    devices = device_rows(priced_on, questions.device_index)
    b, s = op_bounds(ops, devices, in_graph=False), op_costs(questions if priced_on is questions.devices else replace(questions, devices=priced_on))
    simulated = np.isfinite(s.cold_s)
    latency = np.where(simulated, s.cold_s + s.launch_s, b.estimate_s + b.launch_s)
    columns = [*_bound_columns(questions, devices, b, latency), *_simulated_columns(questions, devices, s, latency), *_shape_columns(questions, devices)]
    figures = device_vector(devices if priced_on is questions.devices else device_rows(questions.devices, questions.device_index))
    columns += [(name, unit, "device", figures[:, i]) for i, (name, unit) in enumerate(DEVICE_FEATURES)]
    taken = {name for name, *_ in columns} | {"kind", "dtype", "weight_dtype"}
    columns += [(_fresh(str(c), taken), "", "own", questions.extra[c].to_numpy(dtype=np.float64, na_value=np.nan)) for c in questions.extra.columns]
    categories: list[_Column] = [(name, "code", "context", getattr(ops, name).astype(np.float32)) for name in ("kind", "dtype", "weight_dtype")]
    for name, known in vocabulary.items():
        if name in (MARK, STAND_INS):
            continue
        if name in questions.context.columns:
            values = likened(questions.context[name], known)
        elif name == "device":
            values = pd.Series(np.array(questions.device_names, dtype=object)[questions.device_index])
        else:
            raise TableError(f"op table lacks the context column {name!r} the model was fitted with; it has: {', '.join(questions.context.columns) or 'none'}")
        categories.append((_fresh(name, taken), "code", "context", codes(values, known)))
    every = [*columns, *categories]
    values_array = np.empty((len(ops), len(every)), dtype=np.float32)
    for i, (*_, each) in enumerate(every):
        values_array[:, i] = each
    if MARK in vocabulary:
        latency = latency + again_s(ops, devices, s)
    dynamic = np.where(simulated, s.dynamic_j, b.dynamic_j)
    power = np.where(np.isfinite(b.limit_w), np.minimum(dynamic / latency + b.static_w, b.limit_w), dynamic / latency + b.static_w)
    power = np.maximum(power, 1e-3)
    latency = latency * factor
    fixed = np.where(simulated, s.fill_s + s.launch_s, b.launch_s)
    ceilings = np.column_stack([np.where(simulated, s.compute_s, b.compute_s + b.vector_s), b.dram_s, np.where(simulated, s.cache_s, b.cache_s), fixed])
    return Features(tuple(n for n, *_ in every), tuple(u for _, u, *_ in every), values_array, tuple(range(len(columns), len(every))),
                    {"latency_s": latency, "power_w": power, "energy_j": power * latency, "dram_bytes": ops.total_bytes}, {"latency_s": b.bound_s * factor},
                    frozenset({"power_w", "energy_j"} if any(d is None or not d.tdp_w for d in questions.devices) else ()), tuple(r for _, _, r, _ in every),
                    np.maximum(ceilings * factor[:, None], 1e-12))


def _log(x: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(x, 1e-12))


def _bound_columns(questions: OpQuestions, devices: DeviceColumns, b: Bounds, latency: np.ndarray) -> list[_Column]:
    """What the analytic bounds say, over the reference."""
    ops, estimate = questions.ops, b.estimate_s + b.launch_s
    tiles = b.tiles_s / np.maximum(b.compute_s, 1e-12)[:, None]
    units = np.where(np.isfinite(devices.units), devices.units, 1.0)
    cache = np.where(devices.cache_bytes > 0, devices.cache_bytes, np.nan)
    return [
        ("log_estimate", "log s", "size", np.log(estimate)), ("log_bound", "log s", "size", _log(b.bound_s)), ("estimate_over_reference", "log 1", "physics", np.log(estimate / latency)),
        ("bound_over_estimate", "1", "physics", b.bound_s / estimate), ("compute_over_estimate", "1", "physics", b.compute_s / estimate),
        ("dram_over_estimate", "1", "physics", b.dram_s / estimate), ("vector_over_estimate", "1", "physics", b.vector_s / estimate),
        ("cache_over_estimate", "1", "physics", b.cache_s / estimate), ("launch_over_estimate", "1", "physics", b.launch_s / estimate),
        ("compute_over_dram", "log 1", "physics", _log(b.compute_s) - _log(b.dram_s)), ("power_over_limit", "1", "physics", b.dynamic_j / np.maximum(b.uncapped_s, 1e-12) / b.limit_w),
        *((f"tile_{m}x{n}", "1", "physics", tiles[:, i]) for i, (m, n) in enumerate(CANONICAL_TILES)),
        ("bytes_over_cache", "log 1", "physics", np.log(ops.total_bytes / cache)), ("weight_over_cache", "log 1", "physics", np.log1p(ops.weight_bytes / cache)),
        ("outputs_per_unit", "log 1", "physics", np.log1p(ops.b * ops.m * ops.n / units)),
    ]


def _simulated_columns(questions: OpQuestions, devices: DeviceColumns, s: OpCostRows, latency: np.ndarray) -> list[_Column]:
    """What the simulator says: how long, held back by what, in which tiles; NaN where it says nothing."""
    ops, total = questions.ops, np.maximum(questions.ops.total_bytes, 1.0)
    units = np.where(np.isfinite(devices.units), devices.units, 1.0)
    waves = np.maximum(ops.b * np.ceil(ops.m / s.tile_m) * np.ceil(ops.n / s.tile_n) * s.split / units, 1e-9)
    limits = [(f"held_by_{name.replace(' ', '_')}", "0/1", "physics", (s.limit == code).astype(np.float64)) for code, name in enumerate(LIMITS)]
    return [
        ("log_simulated", "log s", "size", np.log(latency)), ("hot_over_cold", "log 1", "physics", np.log((s.hot_s + s.launch_s) / latency)),
        ("compute_share", "log 1", "physics", _log(s.compute_s) - np.log(latency)), ("cache_share", "log 1", "physics", _log(s.cache_s) - np.log(latency)),
        ("fixed_share", "log 1", "physics", np.log((s.fill_s + s.launch_s) / latency)), ("reread", "log 1", "physics", np.log(np.maximum(s.dram_bytes, 1.0) / total)),
        ("through_cache", "log 1", "physics", np.log(np.maximum(s.cache_bytes, 1.0) / total)),
        ("memory_share", "1", "physics", s.dram_bytes / devices.dram_bandwidth / latency), ("power_share", "1", "physics", s.dynamic_j / latency / devices.tdp_w),
        ("best_tile_m", "log2 1", "physics", np.log2(s.tile_m)), ("best_tile_n", "log2 1", "physics", np.log2(s.tile_n)), ("best_split", "log2 1", "physics", np.log2(s.split)),
        ("best_waves", "log 1", "physics", np.log(waves)), ("best_wave_fill", "1", "physics", waves / np.ceil(waves)), *limits,
    ]


def _shape_columns(questions: OpQuestions, devices: DeviceColumns) -> list[_Column]:
    """Waves, tails and alignment (of sizes to a machine, or to powers of two), and sizes alone."""
    ops = questions.ops
    units = np.where(np.isfinite(devices.units), devices.units, 1.0)
    # the widest load that both operands' rows allow, in bytes, at most 16: kernels are chosen by it
    wide = np.minimum(np.exp2(np.minimum(_alignment(ops.n), _alignment(ops.k))) * element_bytes(ops.dtype), 16.0)
    return [
        *((name, unit, "physics", each) for name, unit, each in _waves(ops.b, ops.m, ops.n, units)),
        *((f"{dim}_alignment", "log2 1", "physics", _alignment(getattr(ops, dim))) for dim in ("m", "n", "k")), ("load_width", "log2 B", "physics", np.log2(wide)),
        *((f"{dim}_tail_{size}", "1", "physics", (getattr(ops, dim) % size) / size) for dim in ("m", "n", "k") for size in (16, 64, 128)),
        *((name, "log 1", "size", np.log1p(values)) for name, values in (("m", ops.m), ("n", ops.n), ("k", ops.k), ("b", ops.b), ("row", ops.row), ("window", ops.window))),
        ("log_matrix_flops", "log flop", "size", np.log1p(ops.matrix_flops)), ("log_bytes", "log B", "size", np.log1p(ops.total_bytes)),
        ("log_input_bytes", "log B", "size", np.log1p(ops.input_bytes)), ("log_weight_bytes", "log B", "size", np.log1p(ops.weight_bytes)),
        ("log_output_bytes", "log B", "size", np.log1p(ops.output_bytes)), ("log_vector_flops", "log flop", "size", np.log1p(ops.vector_flops)),
        *_batch_columns(questions),
    ]


def _batch_columns(questions: OpQuestions) -> list[_Column]:
    """What the matrix view multiplies away (`matrix.LATER`): sequences and heads, tokens of all sequences, places of one image, queries that share a key head; 0 for kinds without.
    And what it takes as done: a sliding window, for which libraries run other kernels (queries that share a key head one by one, keys out of reach walked past) whether a sequence is
    longer than it or not; 0 where there is none."""
    ops = questions.ops
    attends = (ops.kind == KIND_CODES["attention"]) & (ops.batch > 0)
    inputs = np.maximum(ops.batch, 1.0)
    keys = ops.weight_bytes / np.maximum(ops.b * ops.n * ops.k * element_bytes(ops.weight_dtype), 1e-12)
    given = (("op_batch", ops.batch), ("op_heads", np.where(attends, ops.b / inputs, 0.0)), ("op_tokens", np.where(attends, ops.m * inputs, 0.0)),
             ("op_places", np.where(attends | (ops.batch <= 0), 0.0, ops.m / inputs)), ("op_window", ops.reach), ("op_keys", ops.keys))
    return [*((name, "log 1", "size", np.log1p(values)) for name, values in given), ("head_sharing", "log 1", "physics", np.where(attends, -_log(keys), 0.0)),
            ("windowed", "0/1", "physics", (ops.reach > 0.0).astype(np.float64)), ("seen_share", "log 1", "physics", np.where(attends, _log(ops.n) - _log(np.maximum(ops.keys, 1.0)), 0.0))]


def _fresh(name: str, taken: set[str]) -> str:
    """`name`, or `table.name` where a column of ours is called so already."""
    name = f"table.{name}" if name in taken else name
    taken.add(name)
    return name


#: output tiles whose waves an op vector tells: (tile_m, tile_n)
_WAVE_TILES: tuple[tuple[int, int], ...] = ((64, 64), (128, 64), (64, 128), (128, 128), (64, 256), (256, 128), (128, 256))


def _waves(b: np.ndarray, m: np.ndarray, n: np.ndarray, units: np.ndarray) -> list[tuple[str, str, np.ndarray]]:
    """Tiles per processor, and how full the last wave is, for each of `_WAVE_TILES`."""
    out = []
    for tm, tn in _WAVE_TILES:
        waves = np.maximum(b * np.ceil(m / tm) * np.ceil(n / tn) / units, 1e-9)
        out += [(f"log_waves_{tm}x{tn}", "log 1", np.log(waves)), (f"wave_fill_{tm}x{tn}", "1", waves / np.ceil(waves))]
    return out


def _alignment(sizes: np.ndarray) -> np.ndarray:
    """(n,) log2 of the largest power of two that divides each size, at most 12: what vector loads and kernel choice hang on."""
    whole = np.clip(sizes, 1, 2**62).astype(np.int64)
    return np.log2(np.minimum(whole & -whole, 4096).astype(np.float64))
