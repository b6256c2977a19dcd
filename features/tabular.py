"""Questions -> named columns and analytic references: what boosted trees see.

`tabular_features` serves all three shapes of questions. The references are analytic estimates of each target; a surrogate learns
the logarithm of truth over reference. `floor` is the speed of light, where there is one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..datasets.columns import element_bytes
from ..datasets.errors import TableError
from ..datasets.ops import KIND_CODES, KIND_NAMES
from ..datasets.table import FeatureQuestions, GraphQuestions, OpQuestions, Table
from ..datasets.workload import Workload
from . import stand_ins
from .bounds import CANONICAL_TILES
from .device import DEVICE_FEATURES, device_rows, device_vector
from .matrix import Features, Vocabulary, codes
from .op_table import op_features
from .pairs import KernelRows, kernel_rows
from .row_passes import marks

__all__ = ["Features", "Vocabulary", "device_rows", "learn_vocabulary", "table_vocabulary", "tabular_features"]


def learn_vocabulary(questions: Any) -> dict[str, tuple[str, ...]]:
    """The values of every category column of the questions, sorted."""
    if isinstance(questions, OpQuestions):
        columns = {name: questions.context[name].astype(str) for name in questions.context.columns}
        vocabulary = {name: tuple(sorted(set(values.unique()))) for name, values in columns.items()}
        if any(d is None for d in questions.devices):
            used = {questions.device_names[i] for i in np.unique(questions.device_index)}
            vocabulary.setdefault("device", tuple(sorted(used)))  # a context column of that name tells the same
        return {**vocabulary, **marks(questions.ops)}
    if isinstance(questions, FeatureQuestions):
        frame = questions.frame
        return {name: tuple(sorted(set(frame[name].astype(str).unique()))) for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])}
    return {}


def table_vocabulary(table: Table) -> dict[str, tuple[str, ...]]:
    """The same, and what stands in for machines of operators that no catalogue knows, by the latencies of the table."""
    questions = table.questions
    if not isinstance(questions, OpQuestions) or "latency_s" not in table.targets:
        return learn_vocabulary(questions)
    found = questions.__dict__.get("_stand_ins")
    if found is None:  # every member of a model asks
        found = questions.__dict__["_stand_ins"] = stand_ins.chosen(questions, table.targets["latency_s"])
    return {**learn_vocabulary(questions), **found}


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
        return op_features(questions, vocabulary)
    if isinstance(questions, FeatureQuestions):
        return _plain_features(questions, vocabulary)
    raise TableError(f"no features for questions of type {type(questions).__name__}")


def _plain_features(questions: FeatureQuestions, vocabulary: Vocabulary) -> Features:
    frame = questions.frame
    missing = [c for c in vocabulary if c not in frame.columns]
    if missing:
        raise TableError(f"feature table lacks the column {', '.join(missing)}; it has: {', '.join(map(str, frame.columns))}")
    worded = [str(c) for c in frame.columns if c not in vocabulary and not pd.api.types.is_numeric_dtype(frame[c])]
    if worded:
        raise TableError(f"feature table: expected numbers in the column {', '.join(worded)}, as the model was fitted with; got text")
    columns = [codes(frame[c], vocabulary[c]) if c in vocabulary else frame[c].to_numpy(dtype=np.float32, na_value=np.nan) for c in frame.columns]
    values = np.column_stack(columns) if columns else np.zeros((len(frame), 0), dtype=np.float32)
    return Features(tuple(map(str, frame.columns)), ("",) * len(columns), values.astype(np.float32),
                    tuple(i for i, c in enumerate(frame.columns) if c in vocabulary))


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
    figures_of = np.array([_workload_figures(x) for x in w])
    for i, (name, unit) in enumerate((("log_flops", "log flop"), ("log_params", "log 1"), ("log_weight_bytes", "log B"), ("log_activation_bytes", "log B"))):
        columns[name] = (unit, figures_of[questions.workload_index, i])
    memory = figures_of[questions.workload_index, 4]
    columns["memory_over_dram"] = ("log 1", np.log(np.maximum(memory, 1.0) / questions.device_columns.dram_bytes[questions.device_index]))
    references["memory_bytes"] = np.maximum(memory, 1.0)
    figures = device_vector(questions.device_columns)[questions.device_index]
    names = (*columns, *(name for name, _ in DEVICE_FEATURES))
    units = (*(unit for unit, _ in columns.values()), *(unit for _, unit in DEVICE_FEATURES))
    values_array = np.column_stack([v for _, v in columns.values()]).astype(np.float32)
    return Features(names, units, np.concatenate([values_array, figures], axis=1), (), references, {"latency_s": floor, "memory_bytes": references["memory_bytes"] * 0.999})



def _workload_figures(w: Workload) -> tuple[float, float, float, float, float]:
    """Logarithms of FLOPs, parameters, bytes of weights and of live activations; bytes of both. Sums over thousands of operators, taken once and kept with the workload:
    a cache of them here would keep every workload that a server was ever asked about."""
    kept: tuple[float, float, float, float, float] | None = w.__dict__.get("_tabular_figures")
    if kept is None:
        weights, activations = float(w.weight_bytes), float(w.peak_activation_bytes)
        kept = w.__dict__["_tabular_figures"] = (float(np.log1p(w.flops)), float(np.log1p(w.params)), float(np.log1p(weights)), float(np.log1p(activations)), weights + activations)
    return kept


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
