"""What a model has seen, and whether a question lies inside it. Written into the model card at training, checked at every prediction.

Three checks, each with its reason in words: values no one trained on (a device, an op kind, a category); figures outside the trained range;
and distance: a machine or workload further from its nearest trained neighbour than trained ones are from theirs (95th, 99th percentile).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.columns import DeviceColumns, OpColumns
from ..datasets.dtypes import DTYPE_NAMES
from ..datasets.hardware import Hardware
from ..datasets.ops import KIND_NAMES
from ..datasets.table import FeatureQuestions, GraphQuestions, OpQuestions, Table
from ..datasets.workload import Workload
from .device import DEVICE_FEATURES, device_vector
from .verdict import Domain

#: a figure may leave the trained range by this share of its width before it is called outside
SLACK = 0.02
#: how many trained rows are kept to measure distances against
_KEPT = 1500
_OP_FIGURES = ("m", "n", "k", "b", "row", "matrix_flops", "vector_flops", "total_bytes")
_WORKLOAD_FIGURES: tuple[tuple[str, str], ...] = (
    ("log_flops", "log flop"), ("log_params", "log 1"), ("log_weight_bytes", "log B"), ("log_activation_bytes", "log B"), ("log_ops", "log 1"),
    ("log_largest_flops", "log flop"), ("weight_element_bytes", "B"),
)


def describe(table: Table) -> dict[str, Any]:
    """What the questions of a table span, as plain JSON."""
    q = table.questions
    if isinstance(q, GraphQuestions):
        shares = np.array([_kind_shares(w) for w in q.workloads])
        figures = np.array([_workload_figures(w) for w in q.workloads])
        return {"shape": "graph", "op_kinds": sorted({KIND_NAMES[k] for w in q.workloads for k in np.unique(w.columns.kind)}),
                "device_kinds": sorted({d.kind for d in q.devices}), "device": _neighbours(device_figures(q.devices), [d.key for d in q.devices], 0.95),
                "ranges": _ranges(figures, [n for n, _ in _WORKLOAD_FIGURES]),
                "workload": _neighbours(np.concatenate([figures, shares], axis=1), [w.name for w in q.workloads], 0.99),
                "families_on": {kind: sorted({str(f) for f in table.slices["family"][table.slices["kind"] == kind]}) for kind in sorted(set(table.slices["kind"]))}
                if {"family", "kind"} <= set(table.slices.columns) else {}}
    if isinstance(q, OpQuestions):
        known = [d for i, d in enumerate(q.devices) if d is not None and (q.device_index == i).any()]
        used = sorted({q.device_names[i] for i in np.unique(q.device_index)})
        return {"shape": "op", "op_kinds": [KIND_NAMES[k] for k in np.unique(q.ops.kind)], "dtypes": [DTYPE_NAMES[k] for k in np.unique(q.ops.dtype)],
                "devices": used, "context": {c: sorted(set(q.context[c].astype(str))) for c in q.context.columns},
                "ranges": _ranges(_op_figures(q.ops), list(_OP_FIGURES)), "device": _neighbours(device_figures(known), [d.key for d in known], 0.95)}
    frame = q.frame
    numeric = [c for c in frame.columns if pd.api.types.is_numeric_dtype(frame[c])]
    return {"shape": "features", "ranges": _ranges(frame[numeric].to_numpy(dtype=np.float64, na_value=np.nan), [str(c) for c in numeric]),
            "categories": {str(c): sorted(set(frame[c].astype(str))) for c in frame.columns if c not in numeric}}


def check(domain: Mapping[str, Any], questions: Any) -> tuple[Domain, ...]:
    """n verdicts. A card without a domain, or of another shape, gives `unchecked`."""
    if not domain or domain.get("shape") != getattr(questions, "shape", None):
        return (Domain("unchecked", "the model card describes no domain for such questions"),) * len(questions)
    if isinstance(questions, GraphQuestions):
        return _check_graphs(domain, questions)
    if isinstance(questions, OpQuestions):
        return _check_ops(domain, questions)
    return _check_rows(domain, questions)


def _check_graphs(domain: Mapping[str, Any], q: GraphQuestions) -> tuple[Domain, ...]:
    by_device = [_machine_reasons(domain, d) for d in q.devices]
    kinds = set(domain["op_kinds"])
    figures = np.array([_workload_figures(w) for w in q.workloads]).reshape(len(q.workloads), -1)
    outside = _outside(domain["ranges"], figures)
    spread = _distance(domain["workload"], np.concatenate([figures, np.array([_kind_shares(w) for w in q.workloads])], axis=1))
    by_workload: list[tuple[str, list[str]]] = []
    for i, w in enumerate(q.workloads):
        reasons = list(outside[i])
        if w.bounded_ops:
            by_workload.append(("unsupported", [f"operators only bounded, not modelled: {', '.join(w.bounded_ops[:4])}"]))
            continue
        new = sorted({KIND_NAMES[k] for k in np.unique(w.columns.kind)} - kinds)
        if new:
            reasons.append(f"operator kinds never trained on: {', '.join(new)}")
        ratio, nearest, _ = spread[i]
        if ratio > 1.0:
            reasons.append(f"unlike any trained workload: {ratio:.1f} x the usual distance from the nearest, {nearest}")
        by_workload.append(("extrapolating" if reasons else "in_domain", reasons))
    out = []
    for w_at, d_at in zip(q.workload_index, q.device_index, strict=True):
        verdict, reasons = by_workload[w_at]
        reasons = [*reasons, *by_device[d_at]]
        on = domain.get("families_on", {}).get(q.devices[d_at].kind)
        if on and on == ["mlp"] and q.workloads[w_at].family not in on and any(KIND_NAMES[k] not in ("gemm", "elementwise", "softmax", "reduce", "norm")
                                                                               for k in np.unique(q.workloads[w_at].columns.kind)):
            verdict, reasons = "unsupported", [*reasons, f"on {q.devices[d_at].kind} machines only {', '.join(on)} workloads were trained on"]
        out.append(Domain(verdict if verdict == "unsupported" or not reasons else "extrapolating", "; ".join(reasons)))
    return tuple(out)


def _machine_reasons(domain: Mapping[str, Any], device: Hardware) -> list[str]:
    if device.key in domain["device"]["keys"]:
        return []
    if device.kind not in domain["device_kinds"]:
        return [f"no machine of kind {device.kind} was trained on ({', '.join(domain['device_kinds'])} were)"]
    ratio, nearest, worst = _distance(domain["device"], device_figures([device]))[0]
    if ratio > 1.0:
        return [f"machine {device.key} was never seen and lies {ratio:.1f} x the usual distance from the nearest, {nearest} ({worst} differs most)"]
    return []


def _check_ops(domain: Mapping[str, Any], q: OpQuestions) -> tuple[Domain, ...]:
    reasons: list[list[str]] = [list(r) for r in _outside(domain["ranges"], _op_figures(q.ops))]
    unsupported = np.zeros(len(q), dtype=bool)
    for code in np.unique(q.ops.kind):
        if KIND_NAMES[code] not in domain["op_kinds"]:
            unsupported |= _note(reasons, q.ops.kind == code, f"operator kind {KIND_NAMES[code]} was never trained on")
    for code in np.unique(q.ops.dtype):
        if DTYPE_NAMES[code] not in domain["dtypes"]:
            _note(reasons, q.ops.dtype == code, f"dtype {DTYPE_NAMES[code]} was never trained on")
    for i in np.unique(q.device_index):
        name, device = q.device_names[i], q.devices[i]
        if name in domain["devices"]:
            continue
        if device is None or not domain["device"]["keys"]:
            _note(reasons, q.device_index == i, f"device {name!r} was never trained on and no catalogue knows its figures")
            continue
        ratio, nearest, worst = _distance(domain["device"], device_figures([device]))[0]
        # an op table has few machines: one that was not among them is outside, however near
        _note(reasons, q.device_index == i, f"device {name} was never trained on; nearest is {nearest} ({worst} differs most)")
    for column, known in domain["context"].items():
        if column in q.context.columns:
            values = q.context[column].astype(str)
            for value in sorted(set(values) - set(known)):
                _note(reasons, (values == value).to_numpy(), f"{column} {value!r} was never trained on")
    return tuple(Domain("unsupported" if u else "extrapolating" if r else "in_domain", "; ".join(r)) for r, u in zip(reasons, unsupported, strict=True))


def _check_rows(domain: Mapping[str, Any], q: FeatureQuestions) -> tuple[Domain, ...]:
    names = domain["ranges"]["names"]
    figures = np.column_stack([q.frame[n].to_numpy(dtype=np.float64, na_value=np.nan) for n in names]) if names else np.zeros((len(q), 0))
    reasons = [list(r) for r in _outside(domain["ranges"], figures)]
    for column, known in domain["categories"].items():
        values = q.frame[column].astype(str)
        for value in sorted(set(values) - set(known)):
            _note(reasons, (values == value).to_numpy(), f"{column} {value!r} was never trained on")
    return tuple(Domain("extrapolating" if r else "in_domain", "; ".join(r)) for r in reasons)


def device_figures(devices: Sequence[Hardware]) -> np.ndarray:
    """(D, d) machine figures with unknown ones as 0."""
    if not devices:
        return np.zeros((0, len(DEVICE_FEATURES)))
    return np.nan_to_num(device_vector(DeviceColumns.from_devices(list(devices))).astype(np.float64))


def _workload_figures(w: Workload) -> np.ndarray:
    c = w.columns
    return np.array([np.log1p(w.flops), np.log1p(w.params), np.log1p(w.weight_bytes), np.log1p(w.peak_activation_bytes), np.log(len(w.ops)),
                     np.log1p(c.matrix_flops.max()), w.weight_bytes / max(w.params, 1)])


def _kind_shares(w: Workload) -> np.ndarray:
    """Share of each op kind among the ops."""
    return np.bincount(w.columns.kind, minlength=len(KIND_NAMES)) / len(w.ops)


def _op_figures(ops: OpColumns) -> np.ndarray:
    return np.column_stack([np.log1p(getattr(ops, name)) for name in _OP_FIGURES])


def _ranges(figures: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    with np.errstate(all="ignore"):
        low = np.nanmin(figures, axis=0) if len(figures) and figures.shape[1] else np.zeros(len(names))
        high = np.nanmax(figures, axis=0) if len(figures) and figures.shape[1] else np.zeros(len(names))
    return {"names": list(names), "low": [float(x) for x in low], "high": [float(x) for x in high]}


def _outside(ranges: Mapping[str, Any], figures: np.ndarray) -> list[list[str]]:
    """Per row the figures that leave the trained range, in words."""
    reasons: list[list[str]] = [[] for _ in range(len(figures))]
    for j, (name, low, high) in enumerate(zip(ranges["names"], ranges["low"], ranges["high"], strict=True)):
        slack = SLACK * max(high - low, 1e-9)
        for i in np.flatnonzero((figures[:, j] < low - slack) | (figures[:, j] > high + slack)):
            reasons[i].append(f"{name} = {figures[i, j]:.4g} is outside the trained {low:.4g}..{high:.4g}")
    return reasons


def _neighbours(figures: np.ndarray, keys: Sequence[str], quantile: float) -> dict[str, Any]:
    """The trained points (at most `_KEPT`, evenly taken), their scale, and the usual distance between neighbours."""
    if len(figures) == 0:
        return {"keys": [], "mean": [], "std": [], "rows": [], "usual": 0.0}
    unique = np.unique(np.linspace(0, len(figures) - 1, min(len(figures), _KEPT)).astype(int))
    mean, std = figures.mean(0), figures.std(0)
    std = np.where(std > 1e-6, std, 1.0)
    rows = (figures[unique] - mean) / std
    usual = 1.0
    if len(rows) > 2:
        squared = np.maximum((rows**2).sum(1)[:, None] + (rows**2).sum(1)[None, :] - 2 * rows @ rows.T, 0.0)
        np.fill_diagonal(squared, np.inf)
        usual = float(np.quantile(np.sqrt(squared.min(1)), quantile))
    return {"keys": [keys[i] for i in unique], "mean": [float(x) for x in mean], "std": [float(x) for x in std],
            "rows": np.round(rows, 4).tolist(), "usual": max(usual, 1e-3)}


def _distance(points: Mapping[str, Any], figures: np.ndarray) -> list[tuple[float, str, str]]:
    """Per row: distance to the nearest trained point over the usual one, that point's key, and the figure that differs most."""
    rows = (figures - np.array(points["mean"])) / np.array(points["std"])
    trained = np.array(points["rows"])
    squared = np.maximum((rows**2).sum(1)[:, None] + (trained**2).sum(1)[None, :] - 2 * rows @ trained.T, 0.0)
    nearest = squared.argmin(1)
    names = [n for n, _ in DEVICE_FEATURES] if rows.shape[1] == len(DEVICE_FEATURES) else [n for n, _ in _WORKLOAD_FIGURES] + [f"share of {k}" for k in KIND_NAMES]
    return [(float(np.sqrt(squared[i, j])) / points["usual"], points["keys"][j], names[int(np.abs(rows[i] - trained[j]).argmax())]) for i, j in enumerate(nearest)]


def _note(reasons: list[list[str]], rows: np.ndarray, text: str) -> np.ndarray:
    for i in np.flatnonzero(rows):
        reasons[i].append(text)
    return rows
