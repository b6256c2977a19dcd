"""What a model has seen, and whether a question lies inside it. Written into the model card at training, checked at every prediction.

One verdict, each reason in words: values no one trained on (a device kind, an op kind, a category, but not a label: `new_words`); figures outside the trained range, and sizes of an operator that were never so large together (`corners`); distance: a machine
further from the nearest trained one of its kind than six in ten of the catalogue's are from theirs, a question further from the nearest trained rows in the
physics the model sees than 98 % of those are from other groups (`density`); and doubt: an answer that rows held out of training say is likely to lie
outside its interval (`doubt`). docs/trust.md has what these flags are worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from ..datasets import nested
from ..datasets.assigned import assigned
from ..datasets.columns import DeviceColumns, OpColumns
from ..datasets.dtypes import BITS, DTYPE_NAMES
from ..datasets.errors import TableError
from ..datasets.hardware import Hardware
from ..datasets.networks import NetworkQuestions
from ..datasets.ops import KIND_NAMES
from ..datasets.simulator.kernels import fuse
from ..datasets.table import FeatureQuestions, GraphQuestions, OpQuestions, Table
from ..datasets.workload import Workload
from . import corners, density, doubt, kinds, new_words, own_sizes, word_pairs
from .device import DEVICE_FEATURES, device_vector
from .doubt import Answered
from .verdict import Domain

#: a figure may leave the trained range by this share of its width before it is called outside
SLACK = 0.02
#: the share of trained machines' distances that count as usual
_MACHINE_QUANTILE = 0.6
#: machines nearer than this (nats, over all figures) are never told apart; it also stands in where too few machines tell what is usual
_LEAST_MACHINE_DISTANCE, _FALLBACK_MACHINE_DISTANCE = 0.25, 1.0
#: a figure published for one machine and not for the other counts as this far apart (nats)
_UNPUBLISHED = 1.0
_OP_FIGURES = ("m", "n", "k", "b", "row", "matrix_flops", "vector_flops", "total_bytes")
_WORKLOAD_FIGURES: tuple[tuple[str, str], ...] = (
    ("log_flops", "log flop"), ("log_params", "log 1"), ("log_weight_bytes", "log B"), ("log_activation_bytes", "log B"), ("log_kernels", "log 1"),
    ("log_largest_flops", "log flop"), ("weight_element_bytes", "B"),
)


def describe(table: Table) -> dict[str, Any]:
    """What the questions of a table span, as plain JSON."""
    q = table.questions
    found = _spanned(table)
    kept = density.some(len(q), density.KEPT)
    columns = density.columns(q, rows=kept)
    if columns is not None and columns[1].shape[1] and len(q):
        found["density"] = density.describe(*columns, (q.workload_index if isinstance(q, GraphQuestions) else table.groups)[kept], _labels(q.take(kept)))
    return found


def witness(known: Mapping[str, Any], table: Table, answered: Answered, trained: Table | None = None) -> dict[str, Any]:
    """`known` with what rows held out of training say about doubt: `answered` are the model's answers to `table`, which it never saw. Unchanged where the
    table lacks the target or has too few rows. `trained`: the table that `known` describes, where rows of `table` are among its own (answers by folds)."""
    if "density" not in known or answered.target not in table.targets or len(table) < doubt.LEAST_ROWS:
        return dict(known)
    rows = density.some(len(table), doubt.MOST_ROWS)
    columns = density.known_columns(table.questions, known["density"], rows=rows)
    if columns is None:
        return dict(known)
    truth = np.asarray(table.targets[answered.target], dtype=np.float64)[rows]
    found = doubt.witness(known, columns, np.asarray(table.groups)[rows], truth, answered.take(rows),
                          None if trained is None else np.asarray(trained.groups)[density.some(len(trained), density.KEPT)])
    return {**known, "doubt": found} if found else dict(known)


def with_labels(known: Mapping[str, Any], questions: Any, fold: np.ndarray, held_out: np.ndarray) -> dict[str, Any]:
    """`known` with the columns whose word was new in most of the rows that intervals were calibrated on (`new_words.labels`): a new one is no reason there."""
    found = new_words.labels(questions, fold, held_out)
    return {**known, "labels": found} if found else dict(known)


def _spanned(table: Table) -> dict[str, Any]:
    q = table.questions
    if isinstance(q, GraphQuestions):
        figures = np.array([_workload_figures(w) for w in q.workloads])
        on = table.slices
        return {"shape": "graph", "op_kinds": sorted({KIND_NAMES[k] for w in q.workloads for k in np.unique(w.columns.kind)}),
                "device_kinds": sorted({d.kind for d in q.devices}), "device": _machines(q.devices),
                "ranges": _ranges(figures, [n for n, _ in _WORKLOAD_FIGURES]),
                "op_kinds_on": _op_kinds_on(q), "families_on": {kind: sorted({str(f) for f in on["family"][on["kind"] == kind]}) for kind in sorted(set(on["kind"]))}
                if {"family", "kind"} <= set(on.columns) else {}}
    if isinstance(q, OpQuestions):
        known = [d for i, d in enumerate(q.devices) if d is not None and (q.device_index == i).any()]
        used = sorted({q.device_names[i] for i in np.unique(q.device_index)})
        return {"shape": "op", "op_kinds": [KIND_NAMES[k] for k in np.unique(q.ops.kind)], "dtypes": [DTYPE_NAMES[k] for k in np.unique(q.ops.dtype)],
                "devices": used, "context": {c: sorted(set(q.context[c].astype(str))) for c in q.context.columns},
                "ranges": _ranges(_op_figures(q.ops), list(_OP_FIGURES)), "device": _machines(known), "corners": corners.known(q.ops, table.groups),
                "own_sizes": own_sizes.known(q.ops, own_sizes.labels(q)), "word_pairs": word_pairs.known(q, table.groups)}
    frame = q.frame
    numeric = [c for c in frame.columns if pd.api.types.is_numeric_dtype(frame[c])]
    return {"shape": "features", "ranges": _ranges(frame[numeric].to_numpy(dtype=np.float64, na_value=np.nan), [str(c) for c in numeric]),
            "missing": [str(c) for c in numeric if frame[c].isna().any()],
            "categories": {str(c): sorted(set(frame[c].astype(str))) for c in frame.columns if c not in numeric}}


def check(domain: Mapping[str, Any], questions: Any, answered: Answered | None = None, compute: bool = True) -> tuple[Domain, ...]:
    """n verdicts. A card without a domain, or of another shape, gives `unchecked`. With the model's answers the novelty of each is told, too, and what
    is beyond 1 is extrapolating. `compute`: False leaves out what needs columns that no model has left with the questions."""
    if not domain or domain.get("shape") != getattr(questions, "shape", None):
        return (Domain("unchecked", "the model card describes no domain for such questions"),) * len(questions)
    if not len(questions):
        return ()
    if "by_kind" in domain and isinstance(questions, OpQuestions):
        return _check_by_kind(domain["by_kind"], questions, answered, compute)
    columns = density.known_columns(questions, domain["density"], compute) if domain.get("density") else None
    far, nearest = _far(domain, columns) if columns is not None else ([""] * len(questions), [""] * len(questions))
    unseen = np.zeros(len(questions))
    if isinstance(questions, GraphQuestions):
        found = _check_graphs(domain, questions, far)
    elif isinstance(questions, OpQuestions):
        found = _check_ops(domain, questions, far, unseen)
    else:
        found = _check_rows(domain, questions, far, unseen)
    if columns is None:
        return found
    novelty = doubt.novelty(domain, columns, answered, unseen) if answered is not None else np.full(len(found), np.nan)
    return tuple(_doubted(one, float(n), near) for one, n, near in zip(found, novelty, nearest, strict=True))


def _check_by_kind(known: Mapping[str, Any], q: OpQuestions, answered: Answered | None, compute: bool) -> tuple[Domain, ...]:
    """The verdicts of a model that keeps operators of different kinds apart (`surrogates.by_kind`): each kind's own domain speaks for its rows."""
    found = [Domain("unsupported", f"operator kind {KIND_NAMES[code]} was never trained on") for code in q.ops.kind]
    for name, (mine, part) in kinds.parts(q, list(known)).items():
        told = None if answered is None else answered.take(mine)
        features = next(iter(part.__dict__.get("_features", {}).values()), None)
        if told is not None and features is not None:
            told = replace(told, reference=features.reference.get(told.target))
        for row, verdict in zip(mine, check(known[name], part, told, compute), strict=True):
            found[row] = verdict
    return tuple(found)


def _doubted(found: Domain, novelty: float, nearest: str) -> Domain:
    """The verdict with its novelty; one that was in the domain and is novel is no longer."""
    if novelty > 1.0 and found.verdict == "in_domain":
        said = f"the answer is to be doubted: novelty {novelty:.2g} (one in twenty held-out rows lies beyond 1)" + (f"; nearest trained row: {nearest}" if nearest else "")
        return Domain("extrapolating", said, novelty, nearest)
    return Domain(found.verdict, found.reason, novelty, nearest)


def _far(domain: Mapping[str, Any], columns: np.ndarray) -> tuple[list[str], list[str]]:
    """Per row why it is unlike any trained one ("" where it is not), and the nearest trained row."""
    known = domain["density"]
    distance, _, at = density.distances(known, columns)
    nearest = [known["keys"][i] for i in at]
    usual = known["usual"]
    if usual is None:
        return [""] * len(distance), nearest
    reasons = [""] * len(distance)
    for i in np.flatnonzero(distance > usual):
        reasons[i] = f"unlike anything trained on: {_usual(distance[i] / usual)} from the nearest, {nearest[i]} ({density.worst(known, columns[i], int(at[i]))} differs most)"
    return reasons, nearest


def _labels(q: Any) -> list[str]:
    """Each row in words."""
    if isinstance(q, GraphQuestions):
        return [f"{q.workloads[w].name} on {q.devices[d].key}" for w, d in zip(q.workload_index, q.device_index, strict=True)]
    if isinstance(q, OpQuestions):
        told = {name: np.char.mod(f"{name}=%.6g", np.asarray(getattr(q.ops, name), dtype=np.float64)) for name in ("b", "m", "n", "k", "row", "total_bytes")}
        kinds, dtypes, names = np.array(KIND_NAMES)[q.ops.kind], np.array(DTYPE_NAMES)[q.ops.dtype], np.array(q.device_names)[q.device_index]
        shown = [("b", "m", "n", "k") if m > 0 else ("row", "total_bytes") if row > 0 else ("total_bytes",) for m, row in zip(q.ops.m, q.ops.row, strict=True)]
        return [f"{kinds[i]} {' '.join(told[name][i] for name in which)} {dtypes[i]} on {names[i]}" for i, which in enumerate(shown)]
    return [", ".join(f"{c}={v:.4g}" if isinstance(v, float) else f"{c}={v}" for c, v in zip(q.frame.columns, row, strict=True))[:160] for row in q.frame.itertuples(index=False, name=None)]


def _check_graphs(domain: Mapping[str, Any], q: GraphQuestions, far: Sequence[str]) -> tuple[Domain, ...]:
    by_device = [_machine_reasons(domain, d) for d in q.devices]
    kinds = set(domain["op_kinds"])
    outside = _outside(domain["ranges"], np.array([_workload_figures(w) for w in q.workloads]), _workload_told)
    by_workload: list[tuple[str, list[str]]] = []
    for i, w in enumerate(q.workloads):
        reasons = list(outside[i])
        if w.bounded_ops:
            by_workload.append(("unsupported", [f"operators only bounded, not modelled: {', '.join(w.bounded_ops[:4])}"]))
            continue
        new = sorted({KIND_NAMES[k] for k in np.unique(w.columns.kind)} - kinds)
        if new:
            reasons.append(f"operator kinds never trained on: {', '.join(new)}")
        by_workload.append(("extrapolating" if reasons else "in_domain", reasons))
    foreign = {(w_at, kind): _foreign(domain, q.workloads[w_at], kind) for w_at in range(len(q.workloads)) for kind in {d.kind for d in q.devices}}
    matrix_dtypes = [[DTYPE_NAMES[code] for code in np.unique(w.columns.dtype[w.columns.matrix_flops > 0])] for w in q.workloads]
    out = []
    for w_at, d_at, unlike in zip(q.workload_index, q.device_index, far, strict=True):
        verdict, reasons = by_workload[w_at]
        device = q.devices[d_at]
        reasons = [*reasons, *by_device[d_at], *([unlike] if unlike else []), *_narrowed(matrix_dtypes[w_at], device)]
        strange = foreign[w_at, device.kind]
        if strange:
            verdict, reasons = "unsupported", [*reasons, strange]
        out.append(Domain(verdict if verdict == "unsupported" or not reasons else "extrapolating", "; ".join(reasons)))
    return tuple(out)


def _op_kinds_on(q: GraphQuestions) -> dict[str, list[str]]:
    """Kind of machine -> the operator kinds it was seen with."""
    codes = [set(np.unique(w.columns.kind).tolist()) for w in q.workloads]
    found: dict[str, set[int]] = {}
    for w_at, d_at in set(zip(q.workload_index.tolist(), q.device_index.tolist(), strict=True)):
        found.setdefault(q.devices[d_at].kind, set()).update(codes[w_at])
    return {kind: sorted(KIND_NAMES[k] for k in seen) for kind, seen in sorted(found.items())}


def _foreign(domain: Mapping[str, Any], workload: Workload, kind: str) -> str:
    """Why a workload of a family never trained on this kind of machine is no question for the model, "" where it is one: it has operators known
    from other kinds of machine only. An FPGA is trained on small dense networks; what a convolution costs on a GPU says nothing about one there."""
    on, seen = (domain.get(name, {}).get(kind) for name in ("families_on", "op_kinds_on"))
    if not on or not seen or workload.family in on:
        return ""
    elsewhere = sorted(({KIND_NAMES[k] for k in np.unique(workload.columns.kind)} & set(domain["op_kinds"])) - set(seen))
    more = f" and {len(on) - 6} more" if len(on) > 6 else ""
    return f"on {kind} machines only {', '.join(on[:6])}{more} workloads were trained on, none with {', '.join(elsewhere)}" if elsewhere else ""


def _narrowed(dtypes: Sequence[str], device: Hardware) -> list[str]:
    """The formats of matrix work that the machine cannot compute in, and what stands in for them: then the answer is a price, not a forecast."""
    priced = [(dtype, device.computed_in(dtype)) for dtype in dtypes]
    return [f"{device.key} has no {dtype} arithmetic: priced at its {other} rate" for dtype, other in priced if BITS[other] < BITS[dtype]]


def _usual(ratio: float) -> str:
    """How far beyond the usual distance, in words; 1.04 would be printed as 1.0 x."""
    return "just beyond the usual distance" if ratio < 1.05 else f"{ratio:.1f} x the usual distance"


def _machine_reasons(domain: Mapping[str, Any], device: Hardware) -> list[str]:
    if device.kind not in domain["device_kinds"]:
        return [f"no machine of kind {device.kind} was trained on ({', '.join(domain['device_kinds'])} were)"]
    distance, nearest, worst = _nearest_machine(domain["device"], device)
    usual = domain["device"]["usual"]
    if distance > usual:
        return [f"machine {device.key} was never seen and lies {_usual(distance / usual)} from the nearest, {nearest} ({worst} differs most)"]
    return []


def _check_ops(domain: Mapping[str, Any], q: OpQuestions, far: Sequence[str], unseen: np.ndarray) -> tuple[Domain, ...]:
    reasons: list[list[str]] = [list(r) for r in _outside(domain["ranges"], _op_figures(q.ops), _op_told)]
    unsupported = np.zeros(len(q), dtype=bool)
    for code in np.unique(q.ops.kind):
        if KIND_NAMES[code] == "bound":
            unsupported |= _note(reasons, q.ops.kind == code, "the operator is unknown and only bounded by its traffic")
        elif KIND_NAMES[code] not in domain["op_kinds"]:
            unsupported |= _note(reasons, q.ops.kind == code, f"operator kind {KIND_NAMES[code]} was never trained on")
    for code in np.unique(q.ops.dtype):
        if DTYPE_NAMES[code] not in domain["dtypes"]:
            unseen += _note(reasons, q.ops.dtype == code, f"dtype {DTYPE_NAMES[code]} was never trained on")
    for i in np.unique(q.device_index):
        name, device = q.device_names[i], q.devices[i]
        if name in domain["devices"]:
            continue
        if device is None or not domain["device"]["keys"]:
            unseen += _note(reasons, q.device_index == i, f"device {name!r} was never trained on and no catalogue knows its figures")
            continue
        _, nearest, worst = _nearest_machine(domain["device"], device)
        # an op table has few machines: one that was not among them is outside, however near
        _note(reasons, q.device_index == i, f"device {name} was never trained on; nearest is {nearest} ({worst} differs most)")
    for column, known in domain["context"].items():
        if column in q.context.columns:
            values = q.context[column].astype(str)
            for value in sorted(set(values) - set(known)):
                unseen += _note(reasons, (values == value).to_numpy(), f"{column} {value!r} was never trained on")
    _add(reasons, corners.reasons(q.ops, domain.get("corners", {})))
    if domain.get("own_sizes"):
        _add(reasons, own_sizes.reasons(q.ops, own_sizes.labels(q), domain["own_sizes"]))
    if domain.get("word_pairs"):
        _add(reasons, word_pairs.reasons(q, domain["word_pairs"]))
    _add(reasons, far)
    return tuple(Domain("unsupported" if u else "extrapolating" if r else "in_domain", "; ".join(r)) for r, u in zip(reasons, unsupported, strict=True))


def _check_rows(domain: Mapping[str, Any], q: FeatureQuestions, far: Sequence[str], unseen: np.ndarray) -> tuple[Domain, ...]:
    names = domain["ranges"]["names"]
    if isinstance(q, NetworkQuestions):  # choices that none of the networks asked about has, such as pragmas of other kernels, are empty
        cells = {nested.cell_of(c) for c in map(str, q.frame.columns)} - {""}
        q = replace(q, frame=assigned(q.frame, {c: np.nan for c in (*names, *domain["categories"]) if nested.cell_of(c) in cells and c not in q.frame}))
    lost = [c for c in (*names, *domain["categories"]) if c not in q.frame.columns]
    worded = [n for n in names if n not in lost and not pd.api.types.is_numeric_dtype(q.frame[n])]
    if lost or worded:
        raise TableError(f"feature table: lacks the column {', '.join(lost)}" if lost else f"feature table: expected numbers in the column {', '.join(worded)}")
    figures = np.column_stack([q.frame[n].to_numpy(dtype=np.float64, na_value=np.nan) for n in names]) if names else np.zeros((len(q), 0))
    reasons = [list(r) for r in _outside(domain["ranges"], figures)]
    for j, name in enumerate(names):
        if name not in domain["missing"]:
            _note(reasons, np.isnan(figures[:, j]), f"{name} is missing; it never was in training")
    for column, known in domain["categories"].items():
        if column in domain.get("labels", ()):
            continue
        values = q.frame[column].astype(str)
        for value in sorted(set(values) - set(known)):
            unseen += _note(reasons, (values == value).to_numpy(), f"{column} {value!r} was never trained on")
    _add(reasons, far)
    return tuple(Domain("extrapolating" if r else "in_domain", "; ".join(r)) for r in reasons)


def device_figures(devices: Sequence[Hardware]) -> np.ndarray:
    """(D, d) machine figures on scales where 1 is a factor of e, NaN where nobody published one."""
    if not devices:
        return np.zeros((0, len(DEVICE_FEATURES)))
    figures = device_vector(DeviceColumns.from_devices(list(devices))).astype(np.float64)
    node = [name for name, _ in DEVICE_FEATURES].index("process_nm")
    figures[:, node] = np.log(figures[:, node])
    return figures


def _workload_figures(w: Workload) -> np.ndarray:
    """Taken once, and kept with the workload: a cache here would keep the workloads, too."""
    kept: np.ndarray | None = w.__dict__.get("_domain_figures")
    if kept is None:
        kept = w.__dict__["_domain_figures"] = np.array([np.log1p(w.flops), np.log1p(w.params), np.log1p(w.weight_bytes), np.log1p(w.peak_activation_bytes), np.log(len(fuse(w).kernels)),
                                                         np.log1p(w.columns.matrix_flops.max()), w.weight_bytes / max(w.params, 1)])
    return kept


def known_words(domain: Mapping[str, Any], machine_column: str) -> dict[str, Any]:
    """Column -> the words that a model knows of it, those of machines under `machine_column` ("hardware" where it is empty), by the domain in its card."""
    return {**domain.get("categories", {}), **({machine_column or "hardware": domain["devices"]} if "devices" in domain else {})}


def _op_figures(ops: OpColumns) -> np.ndarray:
    return np.column_stack([np.log1p(getattr(ops, name)) for name in _OP_FIGURES])


def _ranges(figures: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    finite = np.isfinite(figures)
    low = np.where(finite, figures, np.inf).min(axis=0, initial=np.inf)
    high = np.where(finite, figures, -np.inf).max(axis=0, initial=-np.inf)
    told = [j for j in range(len(names)) if np.isfinite(low[j])]  # a column without a single figure has no range
    return {"names": [names[j] for j in told], "low": [float(low[j]) for j in told], "high": [float(high[j]) for j in told]}


def _op_told(name: str, figure: float) -> tuple[str, float]:
    """A figure of `_op_figures` as it is told: a size, not its logarithm."""
    return name, float(np.expm1(figure))


def _workload_told(name: str, figure: float) -> tuple[str, float]:
    """A figure of `_workload_figures` as it is told."""
    plain = name.removeprefix("log_")
    return plain, float(figure if plain == name else np.exp(figure) if plain == "kernels" else np.expm1(figure))


def _outside(ranges: Mapping[str, Any], figures: np.ndarray, told: Callable[[str, float], tuple[str, float]] = lambda name, figure: (name, figure)) -> list[list[str]]:
    """Per row the figures that leave the trained range, in words. `told`: a figure's name and value as they are said."""
    reasons: list[list[str]] = [[] for _ in range(len(figures))]
    for j, (name, low, high) in enumerate(zip(ranges["names"], ranges["low"], ranges["high"], strict=True)):
        slack = SLACK * max(high - low, 1e-9)
        for i in np.flatnonzero((figures[:, j] < low - slack) | (figures[:, j] > high + slack)):
            (said, value), (_, least), (_, most) = (told(name, v) for v in (figures[i, j], low, high))
            digits = next((n for n in range(4, 16) if len({f"{v:.{n}g}" for v in (value, least, most)}) == len({value, least, most})), 16)  # as many as tell them apart
            reasons[i].append(f"{said} = {value:.{digits}g} is outside the trained {least:.{digits}g}..{most:.{digits}g}")
    return reasons


def _machines(devices: Sequence[Hardware]) -> dict[str, Any]:
    """The trained machines and the usual distance of one of the catalogue from its nearest of the same kind, sampled ones included."""
    figures = device_figures(devices)
    kinds = np.array([d.kind for d in devices])
    nearest = []
    for i, device in enumerate(devices):
        others = (kinds == device.kind) & (np.arange(len(devices)) != i)
        if not device.key.startswith("sampled_") and others.any():
            nearest.append(float(_apart(figures[others], figures[i])[0].min()))
    usual = float(np.quantile(nearest, _MACHINE_QUANTILE)) if len(nearest) >= 4 else _FALLBACK_MACHINE_DISTANCE
    rows = [[None if np.isnan(x) else round(float(x), 4) for x in row] for row in figures]
    return {"keys": [d.key for d in devices], "kinds": [str(k) for k in kinds], "rows": rows, "usual": max(usual, _LEAST_MACHINE_DISTANCE)}


def _nearest_machine(machines: Mapping[str, Any], device: Hardware) -> tuple[float, str, str]:
    """(distance in nats to the nearest trained machine, of the same kind where there is one; its key; the figure that differs most)."""
    same = [i for i, kind in enumerate(machines["kinds"]) if kind == device.kind] or list(range(len(machines["keys"])))
    distance, apart = _apart(_machine_rows(machines["rows"])[same], _figures_of(device))
    at = int(distance.argmin())
    return float(distance[at]), machines["keys"][same[at]], DEVICE_FEATURES[int(apart[at].argmax())][0]


#: figures of the machines of cards asked lately, by the identity of their list: turning them into numbers takes longer than comparing them
_MACHINE_ROWS: dict[int, tuple[Any, np.ndarray]] = {}


def _machine_rows(rows: Any) -> np.ndarray:
    """(D, d) figures of a card's machines, NaN for those nobody published."""
    kept = _MACHINE_ROWS.get(id(rows))
    if kept is None or kept[0] is not rows or len(kept[1]) != len(rows):
        if len(_MACHINE_ROWS) >= 16:
            _MACHINE_ROWS.clear()
        kept = _MACHINE_ROWS[id(rows)] = (rows, np.array([[np.nan if x is None else x for x in row] for row in rows], dtype=np.float64).reshape(len(rows), -1))
    return kept[1]


@lru_cache(maxsize=4096)
def _figures_of(device: Hardware) -> np.ndarray:
    return device_figures([device])[0]


def _apart(rows: np.ndarray, figures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """((D,) Euclidean distances, (D, d) differences per figure) of one machine from others."""
    apart = np.where(np.isnan(rows) != np.isnan(figures), _UNPUBLISHED, np.nan_to_num(np.abs(rows - figures)))
    return np.sqrt((apart**2).sum(1)), apart


def _add(reasons: list[list[str]], far: Sequence[str]) -> None:
    for row, unlike in zip(reasons, far, strict=True):
        row += [unlike] if unlike else []


def _note(reasons: list[list[str]], rows: np.ndarray, text: str) -> np.ndarray:
    for i in np.flatnonzero(rows):
        reasons[i].append(text)
    return rows
