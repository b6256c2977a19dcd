"""Questions -> named columns and analytic references: what boosted trees see.

`tabular_features` serves all three shapes of questions. The references are analytic estimates of each target; a surrogate learns
the logarithm of truth over reference. `floor` is the speed of light, where there is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.columns import DeviceColumns, element_bytes
from ..datasets.dtypes import DTYPE_NAMES
from ..datasets.errors import TableError
from ..datasets.hardware import Hardware
from ..datasets.ops import KIND_CODES, KIND_NAMES
from ..datasets.table import FeatureQuestions, GraphQuestions, OpQuestions
from .bounds import CANONICAL_TILES, op_bounds
from .device import DEVICE_FEATURES, device_vector
from .pairs import KernelRows, kernel_rows

#: category column -> its known values, learned when a model is fitted and saved with it
Vocabulary = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Features:
    """n rows of d named columns. `categorical`: positions of columns that hold category codes (NaN: a value never seen).

    `reference`: target -> (n,) analytic estimate in SI. `floor`: target -> (n,) what no answer may go below.
    `guessed`: targets whose reference rests on figures nobody published; they are not learned as a ratio to it.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    values: np.ndarray  # (n, d) float32
    categorical: tuple[int, ...] = ()
    reference: Mapping[str, np.ndarray] = field(default_factory=dict)
    floor: Mapping[str, np.ndarray] = field(default_factory=dict)
    guessed: frozenset[str] = frozenset()

    def ordered(self, names: Sequence[str]) -> Features:
        """The same rows with their columns in the order of `names`; raises TableError when the columns are not the same ones."""
        if self.names == tuple(names):
            return self
        lost, new = sorted(set(names) - set(self.names)), sorted(set(self.names) - set(names))
        if lost or new:
            raise TableError(f"the questions' columns differ from those the model was fitted with: missing {', '.join(lost) or 'none'}, unknown {', '.join(new) or 'none'}")
        at = [self.names.index(name) for name in names]
        return replace(self, names=tuple(names), units=tuple(self.units[i] for i in at), values=self.values[:, at],
                       categorical=tuple(j for j, i in enumerate(at) if i in self.categorical))


def learn_vocabulary(questions: Any) -> dict[str, tuple[str, ...]]:
    """The values of every category column of the questions, sorted."""
    if isinstance(questions, OpQuestions):
        columns = {name: questions.context[name].astype(str) for name in questions.context.columns}
        vocabulary = {name: tuple(sorted(set(values))) for name, values in columns.items()}
        if any(d is None for d in questions.devices):
            used = {questions.device_names[i] for i in np.unique(questions.device_index)}
            vocabulary.setdefault("device", tuple(sorted(used)))  # a context column of that name tells the same
        return vocabulary
    if isinstance(questions, FeatureQuestions):
        frame = questions.frame
        return {name: tuple(sorted(set(frame[name].astype(str)))) for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])}
    return {}


def tabular_features(questions: Any, vocabulary: Vocabulary) -> Features:
    """The columns of n questions. Raises TableError when a column of the vocabulary is missing."""
    if isinstance(questions, GraphQuestions):
        # kept with the questions: a model, its neighbours in an ensemble and the domain guard ask for the same columns
        kept = questions.__dict__.get("_features")
        if kept is None:
            kept = questions.__dict__["_features"] = _graph_features(questions)
            kept.values.setflags(write=False)
        return kept
    if isinstance(questions, OpQuestions):
        return _op_features(questions, vocabulary)
    if isinstance(questions, FeatureQuestions):
        return _plain_features(questions, vocabulary)
    raise TableError(f"no features for questions of type {type(questions).__name__}")


def _codes(values: pd.Series, known: tuple[str, ...]) -> np.ndarray:
    codes = pd.Categorical(values.astype(str), categories=list(known)).codes.astype(np.float32)
    return np.where(codes < 0, np.nan, codes).astype(np.float32)


def _plain_features(questions: FeatureQuestions, vocabulary: Vocabulary) -> Features:
    frame = questions.frame
    missing = [c for c in vocabulary if c not in frame.columns]
    if missing:
        raise TableError(f"feature table lacks the column {', '.join(missing)}; it has: {', '.join(map(str, frame.columns))}")
    worded = [str(c) for c in frame.columns if c not in vocabulary and not pd.api.types.is_numeric_dtype(frame[c])]
    if worded:
        raise TableError(f"feature table: expected numbers in the column {', '.join(worded)}, as the model was fitted with; got text")
    columns = [_codes(frame[c], vocabulary[c]) if c in vocabulary else frame[c].to_numpy(dtype=np.float32, na_value=np.nan) for c in frame.columns]
    values = np.column_stack(columns) if columns else np.zeros((len(frame), 0), dtype=np.float32)
    return Features(tuple(map(str, frame.columns)), ("",) * len(columns), values.astype(np.float32),
                    tuple(i for i, c in enumerate(frame.columns) if c in vocabulary))


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


def _op_features(questions: OpQuestions, vocabulary: Vocabulary) -> Features:
    ops = questions.ops
    devices = device_rows(questions.devices, questions.device_index)
    b = op_bounds(ops, devices, in_graph=False)
    latency = b.estimate_s + b.launch_s
    units = np.where(np.isfinite(devices.units), devices.units, 1.0)
    tiles = b.tiles_s / np.maximum(b.compute_s, 1e-12)[:, None]
    total = ops.total_bytes
    columns: list[tuple[str, str, np.ndarray]] = [
        ("log_estimate", "log s", np.log(latency)), ("log_bound", "log s", np.log(np.maximum(b.bound_s, 1e-12))),
        ("bound_over_estimate", "1", b.bound_s / latency), ("compute_over_estimate", "1", b.compute_s / latency), ("dram_over_estimate", "1", b.dram_s / latency),
        ("vector_over_estimate", "1", b.vector_s / latency), ("cache_over_estimate", "1", b.cache_s / latency), ("launch_over_estimate", "1", b.launch_s / latency),
        ("compute_over_dram", "log 1", np.log(np.maximum(b.compute_s, 1e-12) / np.maximum(b.dram_s, 1e-12))),
        *_waves(ops.b, ops.m, ops.n, units),
        *((f"{dim}_alignment", "log2 1", _alignment(getattr(ops, dim))) for dim in ("m", "n", "k")), ("power_over_limit", "1", b.dynamic_j / np.maximum(b.uncapped_s, 1e-12) / b.limit_w),
        *((f"tile_{m}x{n}", "1", tiles[:, i]) for i, (m, n) in enumerate(CANONICAL_TILES)),
        ("bytes_over_cache", "log 1", np.log(total / np.where(devices.cache_bytes > 0, devices.cache_bytes, np.nan))),
        ("weight_over_cache", "log 1", np.log1p(ops.weight_bytes / np.where(devices.cache_bytes > 0, devices.cache_bytes, np.nan))),
        ("outputs_per_unit", "log 1", np.log1p(ops.b * ops.m * ops.n / units)),
        *((f"{dim}_tail_{size}", "1", (getattr(ops, dim) % size) / size) for dim, sizes in (("m", (16, 64, 128)), ("n", (16, 64, 128)), ("k", (16, 64, 128))) for size in sizes),
        *((name, "log 1", np.log1p(values)) for name, values in (("m", ops.m), ("n", ops.n), ("k", ops.k), ("b", ops.b), ("row", ops.row), ("window", ops.window))),
        ("log_matrix_flops", "log flop", np.log1p(ops.matrix_flops)), ("log_bytes", "log B", np.log1p(total)), ("log_input_bytes", "log B", np.log1p(ops.input_bytes)),
        ("log_weight_bytes", "log B", np.log1p(ops.weight_bytes)), ("log_output_bytes", "log B", np.log1p(ops.output_bytes)),
        ("log_vector_flops", "log flop", np.log1p(ops.vector_flops)),
    ]
    figures = device_vector(devices)
    columns += [(name, unit, figures[:, i]) for i, (name, unit) in enumerate(DEVICE_FEATURES)]
    taken = {name for name, _, _ in columns} | {"kind", "dtype", "weight_dtype"}
    columns += [(_fresh(str(c), taken), "", questions.extra[c].to_numpy(dtype=np.float64, na_value=np.nan)) for c in questions.extra.columns]
    categories: list[tuple[str, str, np.ndarray]] = [("kind", "code", ops.kind.astype(np.float32)), ("dtype", "code", ops.dtype.astype(np.float32)),
                                                     ("weight_dtype", "code", ops.weight_dtype.astype(np.float32))]
    for name, known in vocabulary.items():
        if name in questions.context.columns:
            values = questions.context[name]
        elif name == "device":
            values = pd.Series(np.array(questions.device_names, dtype=object)[questions.device_index])
        else:
            raise TableError(f"op table lacks the context column {name!r} the model was fitted with; it has: {', '.join(questions.context.columns) or 'none'}")
        categories.append((_fresh(name, taken), "code", _codes(values, known)))
    every = [*columns, *categories]
    values_array = np.column_stack([v for _, _, v in every]).astype(np.float32)
    power = np.where(np.isfinite(b.limit_w), np.minimum(b.dynamic_j / latency + b.static_w, b.limit_w), b.dynamic_j / latency + b.static_w)
    return Features(tuple(n for n, _, _ in every), tuple(u for _, u, _ in every), values_array, tuple(range(len(columns), len(every))),
                    {"latency_s": latency, "power_w": np.maximum(power, 1e-3), "energy_j": np.maximum(power, 1e-3) * latency, "dram_bytes": total}, {"latency_s": b.bound_s}, frozenset({"power_w", "energy_j"} if any(d is None or not d.tdp_w for d in questions.devices) else ()))


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


#: op kinds a graph's time is broken down by
_GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("gemm", ("gemm",)), ("conv", ("conv",)), ("attention", ("attention",)), ("recurrent", ("recurrent",)), ("elementwise", ("elementwise",)),
    ("reduction", ("norm", "softmax", "reduce", "pool", "route")), ("movement", ("gather", "move", "bound")),
)


def _graph_features(questions: GraphQuestions) -> Features:
    n = len(questions)
    parts: list[tuple[np.ndarray, dict[str, tuple[str, np.ndarray]], dict[str, np.ndarray], np.ndarray]] = []
    for pairs, rows in kernel_rows(questions, unique=True):
        parts.append((pairs, *_summary(rows, len(pairs))))
    if not parts:
        raise TableError("no questions to compute features for")
    first = parts[0][1]
    columns = {name: (unit, np.empty(n)) for name, (unit, _) in first.items()}
    references = {name: np.empty(n) for name in parts[0][2]}
    floor = np.empty(n)
    for pairs, summary, reference, low in parts:
        for name, (_, values) in summary.items():
            columns[name][1][pairs] = values
        for name, values in reference.items():
            references[name][pairs] = values
        floor[pairs] = low
    w = questions.workloads
    by_workload = {
        "log_flops": ("log flop", [np.log1p(x.flops) for x in w]), "log_params": ("log 1", [np.log1p(x.params) for x in w]),
        "log_weight_bytes": ("log B", [np.log1p(x.weight_bytes) for x in w]), "log_activation_bytes": ("log B", [np.log1p(x.peak_activation_bytes) for x in w]),
    }
    for name, (unit, each) in by_workload.items():
        columns[name] = (unit, np.array(each)[questions.workload_index])
    memory = np.array([x.weight_bytes + x.peak_activation_bytes for x in w])[questions.workload_index]
    columns["memory_over_dram"] = ("log 1", np.log(np.maximum(memory, 1.0) / questions.device_columns.dram_bytes[questions.device_index]))
    references["memory_bytes"] = np.maximum(memory, 1.0)
    figures = device_vector(questions.device_columns)[questions.device_index]
    names = (*columns, *(name for name, _ in DEVICE_FEATURES))
    units = (*(unit for unit, _ in columns.values()), *(unit for _, unit in DEVICE_FEATURES))
    values_array = np.column_stack([v for _, v in columns.values()]).astype(np.float32)
    return Features(names, units, np.concatenate([values_array, figures], axis=1), (), references, {"latency_s": floor, "memory_bytes": references["memory_bytes"] * 0.999})

#: group -> (kinds,) whether each kind code belongs to it
_IN_GROUP = {name: np.isin(np.arange(len(KIND_NAMES)), [KIND_CODES[k] for k in kinds]) for name, kinds in _GROUPS}


def _summary(rows: KernelRows, n: int) -> tuple[dict[str, tuple[str, np.ndarray]], dict[str, np.ndarray], np.ndarray]:
    """Columns, references and speed of light of n pairs from their kernel rows."""
    b, ops = rows.bounds, rows.ops
    each = b.estimate_s + b.launch_s
    latency = rows.total(each, n)
    dynamic = rows.total(b.dynamic_j, n)
    limit = np.zeros(n)
    limit[rows.pair] = b.limit_w
    static = np.zeros(n)
    static[rows.pair] = b.static_w
    fabric = np.zeros(n, dtype=bool)
    fabric[rows.pair] = np.isfinite(rows.devices.dsp)
    latency, slowest = _pipelined(rows, latency, fabric, n)
    power = np.minimum(np.where(np.isfinite(limit), limit, np.inf), dynamic / latency + np.where(static > 0, static, 0.25 * dynamic / latency))
    out: dict[str, tuple[str, np.ndarray]] = {"log_estimate": ("log s", np.log(latency))}
    for name, values in (("bound", b.bound_s), ("compute", b.compute_s), ("dram", b.dram_s), ("vector", b.vector_s), ("cache", b.cache_s), ("launch", b.launch_s), ("uncapped", b.uncapped_s)):
        out[f"{name}_share"] = ("1", rows.total(values, n) / latency)
    for i, (m, k) in enumerate(CANONICAL_TILES):
        worst = np.maximum(b.tiles_s[:, i], 0.0) * (ops.matrix_flops > 0)
        out[f"tile_{m}x{k}_share"] = ("1", rows.total(worst, n) / latency)
    for name in _IN_GROUP:
        mine = _IN_GROUP[name][ops.kind]
        out[f"{name}_share"] = ("1", rows.total(each * mine, n) / latency)
    thin = (ops.kind == KIND_CODES["conv"]) & (ops.n * ops.k < 64)
    held = b.compute_s > b.dram_s
    kernels = rows.total(np.ones(len(each)), n)
    out |= {
        "depthwise_share": ("1", rows.total(each * thin, n) / latency), "compute_bound_share": ("1", rows.total(each * held, n) / latency),
        "resident_share": ("1", rows.total(each * b.resident, n) / latency), "few_waves_share": ("1", rows.total(each * (b.waves < 1.0) * (ops.matrix_flops > 0), n) / latency),
        "capped_share": ("1", rows.total(each * (b.estimate_s > 1.001 * b.uncapped_s), n) / latency), "log_kernels": ("log 1", np.log(kernels)),
        "estimate_per_kernel": ("log s", np.log(latency / kernels)), "log_power": ("log W", np.log(power)), "power_over_limit": ("1", power / np.where(np.isfinite(limit), limit, np.nan)),
        "static_share": ("1", np.minimum(static / power, 1.0)), "slowest_share": ("1", slowest / latency), "split_share": ("1", rows.total(each * (b.waves < 0.5), n) / latency),
        "mean_element_bytes": ("B", rows.total(element_bytes(ops.dtype), n) / kernels),
    }
    return out, {"latency_s": latency, "power_w": power, "energy_j": power * latency, "dram_bytes": rows.total(ops.total_bytes + rows.extra_bytes, n)}, rows.total(b.bound_s, n)


def _pipelined(rows: KernelRows, latency: np.ndarray, fabric: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """On a fabric kernels overlap as a pipeline: positions of the busiest one, or all multiply-adds over all DSPs, whichever is longer."""
    slowest = np.zeros(n)
    np.maximum.at(slowest, rows.pair, rows.bounds.estimate_s)
    if fabric.any():
        clock = rows.devices.clock_hz
        positions = np.zeros(n)
        np.maximum.at(positions, rows.pair, np.where(rows.ops.matrix_flops > 0, np.maximum(rows.ops.m, 1.0), rows.ops.output_bytes / 64.0) / clock)
        depth = rows.total((5.0 + np.log2(np.maximum(rows.ops.k, 2.0))) / clock, n)
        latency = np.where(fabric, np.maximum(rows.total(rows.bounds.estimate_s, n), positions) + depth, latency)
    return latency, slowest
