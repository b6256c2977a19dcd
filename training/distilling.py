"""From a slow model to its student: what `silicast compile` does.

The story of `compile_model`: load -> draw questions inside the model's domain -> ask the model -> teach a small dense network -> judge it on questions
it never saw, and, where the table is at hand, on real rows beside the model itself -> save both in one folder. The student's intervals are the model's,
widened by what the student is off: the root of the sum of squares of the two (assumption: they are independent).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.catalog import hardware
from ..datasets.columns import OpColumns
from ..datasets.dtypes import DTYPE_CODES, DTYPE_NAMES, dtype_pair
from ..datasets.errors import SilicastError, TableError
from ..datasets.hardware import KINDS
from ..datasets.ops import KIND_NAMES
from ..datasets.table import OpQuestions, Table
from ..surrogates import store
from ..surrogates.card import ModelCard
from ..surrogates.distilled import Distilled
from ..surrogates.student import OWN, Student
from ..surrogates.terms import TERMS_VERSION, Sizes, figure_columns, machine_terms, terms
from ..surrogates.trust import guarded

Say = Callable[[str], None]
#: questions asked of the model, hidden units and layers of the student, rows shown while it learns
QUESTIONS, HIDDEN, LAYERS, SHOWN = 160_000, 96, 2, 5_000_000
#: rows of a step, and the highest rate it is taken at: of 256 and 512, 4e-3 to 1.6e-2 the pair that left students of two teachers (GEMMs, the simulator) least off on rows held back
BATCH, RATE = 256, 8e-3
#: questions the model is asked at once
_PIECE = 8_000
#: share of the questions that judge
_HELD = 0.06
#: share of questions whose sizes are anywhere inside the range; the others lie around real rows
_ANYWHERE = 0.5
_DIMS = ("b", "m", "n", "k")
#: share of verdicts that are the guard's where a student calls itself sure
SURE = 0.99
#: weight of learning the guard's verdict beside learning answers
_DOUBT = 0.1


@dataclass(frozen=True)
class Lesson:
    """n questions and what the model said: `point` and `half` (n, t), the second the logarithmic half widths of intervals (0 where there are none).
    `sizes`: what the terms see of the operators (with what a network around them changes). `doubted` (n,): the model's guard says that an answer is
    outside what it knows."""

    questions: OpQuestions
    sizes: Sizes
    targets: tuple[str, ...]
    point: np.ndarray
    half: np.ndarray
    doubted: np.ndarray

    def __len__(self) -> int:
        return len(self.questions)

    def take(self, index: np.ndarray) -> Lesson:
        """The questions `index`."""
        sizes = Sizes(*(x[index] if isinstance(x, np.ndarray) else x for x in self.sizes))
        return Lesson(self.questions.take(index), sizes, self.targets, self.point[index], self.half[index], self.doubted[index])


def compile_model(folder: str | Path, out: str | Path | None = None, *, table: Table | None = None, count: int = QUESTIONS, shown: int = SHOWN, hidden: int = HIDDEN, seed: int = 0,
                  say: Say = lambda text: None) -> ModelCard:
    """The model in `folder` with a student beside it, saved to `out` (the same folder where none is named).

    `table`: rows like those it learned from; then questions are drawn around them, and the student is judged on them too. Raises TableError for a model
    that answers no single products of matrices, or whose answers are not positive; FormatError when `out` is in the way.
    """
    surrogate, card = store.load(folder)
    inner: Any = surrogate.inner if isinstance(surrogate, Distilled) else surrogate
    if inner.shape != "op" or "gemm" not in card.domain.get("op_kinds", ()):
        raise TableError(f"{folder}: answers {'whole workloads' if inner.shape == 'graph' else 'rows of a feature table' if inner.shape == 'features' else ', '.join(card.domain.get('op_kinds', ()))}; "
                         "a student learns products of matrices (op: gemm)")
    rng = np.random.default_rng(seed)
    begin = time.perf_counter()
    lesson = ask(inner, card.domain, draw(card.domain, count, rng, table.questions if table is not None else None))
    say(f"asked the model {len(lesson):,} questions in {time.perf_counter() - begin:.0f} s")
    student, told = teach(lesson, shown=shown, hidden=hidden, seed=seed, say=say)
    if table is not None:
        told |= on_rows(inner, student, table, rng)
    say(said(told))
    made = replace(card, extra={**card.extra, "student": said(told)}, metrics={**card.metrics, "student": told})
    store.save(Distilled(inner, student), made, out or folder)
    return made


def draw(domain: Mapping[str, Any], count: int, rng: np.random.Generator, real: OpQuestions | None = None) -> OpQuestions:
    """`count` products of matrices inside a model's domain: sizes log-uniform, most of them multiples of a power of two, half of them around those of
    `real` rows where there are any. Machines, formats and circumstances are those of real rows, else any that the model has seen."""
    spans = {name: (np.expm1(low), np.expm1(high)) for name, low, high in zip(*(domain["ranges"][key] for key in ("names", "low", "high")), strict=True)}
    gemms = np.flatnonzero(real.ops.kind == KIND_NAMES.index("gemm")) if real is not None else np.zeros(0, dtype=np.int64)
    count = int(count)
    sizes = {}
    for dim in _DIMS:
        low, high = (max(round(x), 1) for x in spans.get(dim, (1.0, 1.0)))
        sizes[dim] = _aligned(np.exp(rng.uniform(np.log(low), np.log(high + 0.999), count)), low, high, rng)
    if real is not None and len(gemms):
        rows = rng.choice(gemms, count)
        near = rng.random(count) >= _ANYWHERE
        for dim in _DIMS:
            low, high = (max(round(x), 1) for x in spans.get(dim, (1.0, 1.0)))
            given = getattr(real.ops, dim)[rows]
            moved = _aligned(given * np.exp(rng.normal(0.0, 0.35, count)), low, high, rng)
            sizes[dim] = np.where(near, np.where(rng.random(count) < 0.5, given, moved), sizes[dim])
        dtype, weight = real.ops.dtype[rows], real.ops.weight_dtype[rows]
        names, devices, index = real.device_names, real.devices, real.device_index[rows]
        context = real.context.iloc[rows].reset_index(drop=True)
        if real.extra.shape[1]:
            raise TableError("a student cannot learn from a table with further numeric inputs beside an operator's sizes: " + ", ".join(map(str, real.extra.columns)))
    else:
        told = {name: np.array(values, dtype=object)[rng.integers(len(values), size=count)] for name, values in domain["context"].items()}
        if "dtype_name" in told:
            pairs = {name: dtype_pair(name) for name in domain["context"]["dtype_name"]}
            dtype = np.array([DTYPE_CODES[pairs[x][0]] for x in told["dtype_name"]], dtype=np.int16)
            weight = np.array([DTYPE_CODES[pairs[x][1]] for x in told["dtype_name"]], dtype=np.int16)
        else:
            dtype = weight = np.array([DTYPE_CODES[x] for x in domain["dtypes"]], dtype=np.int16)[rng.integers(len(domain["dtypes"]), size=count)]
        names = tuple(domain["devices"])
        devices = tuple(_known(name) for name in names)
        index = rng.integers(len(names), size=count)
        context = pd.DataFrame(told, index=range(count))
    ops = OpColumns.from_sizes("gemm", {**sizes, "bias": np.zeros(count)}, dtype, weight)
    inside = np.ones(count, dtype=bool)
    for name, (low, high) in spans.items():
        inside &= (getattr(ops, name) >= 0.97 * low) & (getattr(ops, name) <= 1.03 * high)
    questions = OpQuestions(ops, names, devices, index, context, pd.DataFrame(index=range(count)))
    return questions.take(np.flatnonzero(inside))


def _known(name: str) -> Any:
    try:
        return hardware(name)
    except SilicastError:
        return None


def _aligned(sizes: np.ndarray, low: float, high: float, rng: np.random.Generator) -> np.ndarray:
    """Whole sizes in low .. high; three in four a multiple of some power of two, as real ones are."""
    step = np.where(rng.random(len(sizes)) < 0.25, 1.0, 2.0 ** rng.integers(0, 9, len(sizes)))
    return np.clip(np.floor(np.maximum(np.round(sizes / step), 1.0) * step), low, high)


def ask(model: Any, domain: Mapping[str, Any], questions: OpQuestions) -> Lesson:
    """What the model and its guard say, piece by piece. Raises TableError for answers that are not positive."""
    parts = []
    for at in range(0, len(questions), _PIECE):
        piece = questions.take(np.arange(at, min(at + _PIECE, len(questions))))
        parts.append(guarded(domain, piece, model.predict(piece)))
    doubted = np.array([d.verdict not in ("in_domain", "unchecked") for p in parts for d in p.domain])
    point, low, high = (np.concatenate([getattr(p, of) for p in parts]) for of in ("point", "low", "high"))
    if not (np.isfinite(point) & (point > 0)).all():
        raise TableError("the model answers zero, less, or nothing somewhere inside its domain; a student learns logarithms of positive answers")
    with np.errstate(invalid="ignore", divide="ignore"):
        up, down = np.log(high / point), np.log(point / low)
    if np.isfinite(high).any() and not np.isfinite(up + down).all():
        raise TableError("the model's intervals reach zero or are open somewhere inside its domain; a student keeps intervals that are factors")
    return Lesson(questions, Sizes.of(questions.ops), tuple(model.targets), point, np.nan_to_num(np.maximum(up, down)), doubted)


def teach(lesson: Lesson, *, parts: Sequence[str] = ("tiles",), open_machines: bool = False, shown: int = SHOWN, hidden: int = HIDDEN, layers: int = LAYERS, seed: int = 0,
          batch: int = BATCH, rate: float = RATE, conformal: float = 0.0, say: Say = lambda text: None) -> tuple[Student, dict[str, Any]]:
    """(a student of the lesson, what it is off on the share of it that was held back). `shown`: rows shown in all. `conformal`: the level of intervals made from
    what it is off, where the lesson has none. Deterministic in `seed` on one machine."""
    from ..surrogates.threads import wait_asleep

    wait_asleep()
    import torch

    q = lesson.questions
    n = len(q)
    spec = _spec(lesson, parts, open_machines, hidden, layers)
    learned = [t for t in lesson.targets if not ({"latency_s", "power_w", "energy_j"} <= set(lesson.targets) and t == "energy_j")]
    f = figure_columns([d if d is not None else hardware("a100_sxm") for d in q.devices], q.device_index, q.ops.dtype.astype(np.int64))
    x, reference = terms(lesson.sizes, f, parts)
    points = np.column_stack([np.log(lesson.point[:, lesson.targets.index(t)] / (reference if t in ("latency_s", "energy_j") else 1.0)) for t in learned])
    y = np.column_stack([points, np.log(np.maximum(lesson.half, 1e-4))] if spec["widths"] else [points]).astype(np.float32)
    machine = machine_terms(f, np.array([KINDS.index(d.kind) if d is not None else 0 for d in q.devices])[q.device_index]) if open_machines else np.zeros((0, n), dtype=np.float32)
    codes = np.column_stack([_codes(lesson, name, spec["known"][name]) for name in spec["known"]])
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    held, train = order[: max(int(_HELD * n), 1)], order[max(int(_HELD * n), 1):]
    both = np.concatenate([x, machine]).T
    mean, spread = both[train].mean(0), both[train].std(0)
    spread = np.where(spread > 1e-3, spread, np.inf).astype(np.float32)  # what does not vary is not told
    y_mean, y_std = y[train].mean(0), y[train].std(0) + 1e-6
    doubt = torch.from_numpy(lesson.doubted.astype(np.float32))
    doubts = bool(lesson.doubted[train].any())
    torch.manual_seed(seed)
    inputs, answers, circumstances = torch.from_numpy(np.ascontiguousarray((both - mean) / spread)), torch.from_numpy((y - y_mean) / y_std), torch.from_numpy(codes)
    net = _network(both.shape[1], [len(v) + 1 for v in spec["known"].values()], hidden, layers, y.shape[1] + 1)
    steps = max(shown // batch, 1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    shuffled, at = rng.permutation(train), 0
    stranger = len(spec["known"]["device"])
    device_column = OWN.index("device")
    for step in range(steps):
        if at + batch > len(shuffled):
            shuffled, at = rng.permutation(train), 0
        rows = torch.from_numpy(shuffled[at:at + batch])
        at += batch
        shows = circumstances[rows]
        if open_machines:  # most are known by their figures alone, so that new ones are answered too
            shows[:, device_column] = stranger
        out = net(inputs[rows], shows)
        loss = torch.nn.functional.smooth_l1_loss(out[:, :-1], answers[rows], beta=0.03)
        if doubts:
            loss = loss + _DOUBT * torch.nn.functional.binary_cross_entropy_with_logits(out[:, -1], doubt[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % max(steps // 5, 1) == 0:
            say(f"student: {step / steps:.0%}, loss {float(loss.detach()):.4f}")
    arrays = _folded(net, spec, mean, spread, np.append(y_mean, 0.0), np.append(y_std, 1.0 if doubts else 0.0), x.shape[0])
    arrays["least"], arrays["most"] = np.append(y[train].min(0), -30.0), np.append(y[train].max(0), 30.0)
    if open_machines:  # what was seen, a little slack on either side
        for name, part in (("", slice(0, x.shape[0])), ("machine_", slice(x.shape[0], None))):
            low, high = both[train, part].min(0), both[train, part].max(0)
            arrays |= {f"{name}low": low - 0.02 * (high - low) - 1e-3, f"{name}high": high + 0.02 * (high - low) + 1e-3}
    if not doubts:
        arrays["last_bias"][-1] = -30.0
    names = spec["known"]["device"]
    arrays["width"] = np.zeros((len(names) + 1, len(lesson.targets)), dtype=np.float32)
    student = Student(spec, arrays)
    logits = np.empty(len(held), dtype=np.float32)
    told_points, _, doubted = answer(student, lesson.take(held), logits)
    off = np.abs(np.log(told_points / lesson.point[held]))
    arrays["width"] = _widths(lesson, held, off, names, conformal)
    told = _fidelity(lesson, held, off)
    return Student(spec, arrays), {**told, "verdict": {"same": float(np.mean(doubted == lesson.doubted[held])), "doubted": float(lesson.doubted.mean()), "questions": len(held),
                                                    **_sure(logits, doubted == lesson.doubted[held])}}


def _sure(doubt: np.ndarray, same: np.ndarray) -> dict[str, float]:
    """Where the student's verdict is sure: beyond which distance of its doubt from zero 99 in 100 (`SURE`) of its verdicts were the guard's, by every second question; the share of the
    other half that lies beyond, and how many verdicts are the guard's there."""
    far = np.abs(doubt)
    order = np.argsort(-far[::2], kind="stable")
    good = np.flatnonzero(np.cumsum(same[::2][order]) >= SURE * np.arange(1, len(order) + 1))
    count = int(good[-1]) + 1 if len(good) else 0
    beyond = 0.0 if count == len(order) else float(far[::2][order[count]])
    kept = far[1::2] > beyond
    return {"sure_beyond": beyond, "sure_share": float(kept.mean()) if len(kept) else 0.0, "sure_same": float(same[1::2][kept].mean()) if kept.any() else 1.0}


def _spec(lesson: Lesson, parts: Sequence[str], open_machines: bool, hidden: int, layers: int) -> dict[str, Any]:
    q = lesson.questions
    names = sorted({q.device_names[i] for i in np.unique(q.device_index)})
    known = {"kind": [KIND_NAMES[c] for c in np.unique(q.ops.kind)], "dtype": [DTYPE_NAMES[c] for c in np.unique(q.ops.dtype)],
             "weight_dtype": [DTYPE_NAMES[c] for c in np.unique(q.ops.weight_dtype)], "device": [] if open_machines else names,
             **{c: sorted(set(q.context[c].astype(str))) for c in q.context.columns}}
    return {"terms": TERMS_VERSION, "targets": list(lesson.targets), "parts": list(parts), "known": known, "open_machines": open_machines, "widths": bool(lesson.half.any()), "hidden": hidden, "layers": layers}


def _codes(lesson: Lesson, name: str, values: Sequence[str]) -> np.ndarray:
    """(n,) place of each question's circumstance among the known ones."""
    q = lesson.questions
    place = {value: i for i, value in enumerate(values)}
    if name == "device":
        return np.array([place.get(d, len(values)) for d in q.device_names], dtype=np.int64)[q.device_index]
    if name == "kind":
        return np.array([place.get(d, len(values)) for d in KIND_NAMES], dtype=np.int64)[q.ops.kind]
    if name in ("dtype", "weight_dtype"):
        return np.array([place.get(d, len(values)) for d in DTYPE_NAMES], dtype=np.int64)[getattr(q.ops, name)]
    return q.context[name].astype(str).map(place).fillna(len(values)).to_numpy(dtype=np.int64)


def _network(inputs: int, cards: Sequence[int], hidden: int, layers: int, outputs: int) -> Any:
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(inputs, hidden)
            self.known = nn.ModuleList(nn.Embedding(c, hidden) for c in cards)
            for weights in self.known.parameters():
                nn.init.normal_(weights, 0.0, 0.1)
            self.hidden = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers - 1))
            self.last = nn.Linear(hidden, outputs)

        def forward(self, x: Any, codes: Any) -> Any:
            """(n, outputs)."""
            h = self.first(x)
            for j, table in enumerate(self.known):
                h = h + table(codes[:, j])
            h = torch.relu(h)
            for layer in self.hidden:
                h = torch.relu(layer(h))
            return self.last(h)

    return Network()


def _folded(net: Any, spec: Mapping[str, Any], mean: np.ndarray, spread: np.ndarray, y_mean: np.ndarray, y_std: np.ndarray, terms_count: int) -> dict[str, np.ndarray]:
    """The network's weights with the scales of inputs and outputs folded in."""
    a = {k: v.detach().numpy().astype(np.float64) for k, v in net.state_dict().items()}
    first = a["first.weight"].T / spread[:, None]
    out = {"first": first[:terms_count], "first_bias": a["first.bias"], "centre": mean[:terms_count], "last": a["last.weight"].T * y_std, "last_bias": a["last.bias"] * y_std + y_mean}
    if spec["open_machines"]:
        out |= {"machine": first[terms_count:], "machine_centre": mean[terms_count:]}
    for i in range(int(spec["layers"]) - 1):
        out |= {f"hidden.{i}": a[f"hidden.{i}.weight"].T, f"hidden.{i}.bias": a[f"hidden.{i}.bias"]}
    for j, name in enumerate(spec["known"]):
        out[f"known.{name}"] = a[f"known.{j}.weight"]
    return {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in out.items()}


def answer(student: Student, lesson: Lesson, doubt: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """((n, t) what the student says of a lesson's questions, (n, t) half widths, (n,) where it doubts). `doubt` (n,) is filled with how much."""
    from ..surrogates.lanes import lanes_of

    lanes, index = lanes_of(student, lesson.questions)
    return student.columns(lanes, index, lesson.sizes, doubt=doubt)


def _widths(lesson: Lesson, held: np.ndarray, off: np.ndarray, names: Sequence[str], conformal: float) -> np.ndarray:
    """(devices + 1, t) half widths of the student's intervals that are its own: what it is off from the model in nine of ten questions; without intervals to learn,
    what it is off in `conformal` of them."""
    q = lesson.questions
    on = np.array(q.device_names, dtype=object)[q.device_index]
    out = np.zeros((len(names) + 1, len(lesson.targets)), dtype=np.float32)
    told = bool(lesson.half.any())
    for i, name in enumerate([*names, None]):
        mine = on[held] == name if name is not None else np.ones(len(held), dtype=bool)
        mine = mine if mine.sum() >= 20 else np.ones(len(held), dtype=bool)
        for j in range(len(lesson.targets)):
            if told:
                out[i, j] = np.quantile(off[mine, j], 0.9)
            elif conformal:
                rank = min(int(np.ceil((mine.sum() + 1) * conformal)), int(mine.sum()))
                out[i, j] = np.sort(off[mine, j])[rank - 1]
    return out


def _fidelity(lesson: Lesson, held: np.ndarray, off: np.ndarray) -> dict[str, Any]:
    """What the student is off from the model on questions it never saw: median and 90th percentile of |student / model - 1|, per target and machine."""
    on = np.array(lesson.questions.device_names, dtype=object)[lesson.questions.device_index[held]]
    apart = np.expm1(off)
    out: dict[str, Any] = {}
    for j, name in enumerate(lesson.targets):
        by = {d: float(np.median(apart[on == d, j])) for d in sorted(set(on))}
        out[name] = {"median_apart": float(np.median(apart[:, j])), "p90_apart": float(np.quantile(apart[:, j], 0.9)), "questions": len(held), **({"by_device": by} if len(by) <= 64 else {})}
    return out


def on_rows(model: Any, student: Student, table: Table, rng: np.random.Generator, most: int = 6000) -> dict[str, Any]:
    """On real rows: errors to the truth of model and student side by side, and how often their intervals hold it."""
    kept = np.flatnonzero(table.questions.ops.kind == KIND_NAMES.index("gemm"))
    part = table.take(rng.permutation(kept)[:most])
    told = model.predict(part.questions)
    from ..surrogates.lanes import lanes_of

    lanes, index = lanes_of(student, part.questions)
    point, half, _ = student.columns(lanes, index, Sizes.of(part.questions.ops))
    out: dict[str, Any] = {}
    for j, name in enumerate(student.targets):
        truth = part.targets.get(name)
        if truth is None:
            continue
        good = np.isfinite(truth)
        slow, fast = (np.abs(p[good] / truth[good] - 1.0) for p in (told.point[:, j], point[:, j]))
        low, high = point[:, j] * np.exp(-half[:, j]), point[:, j] * np.exp(half[:, j])
        out[f"{name} on real rows"] = {"model_median": float(np.median(slow)), "student_median": float(np.median(fast)), "model_p90": float(np.quantile(slow, 0.9)),
                                       "student_p90": float(np.quantile(fast, 0.9)), "median_apart": float(np.median(np.abs(point[:, j] / told.point[:, j] - 1.0))),
                                       "student_coverage": float(np.mean(((low <= truth) & (truth <= high))[good])), "rows": int(good.sum())}
    return out


def said(told: Mapping[str, Any]) -> str:
    """The fidelity in words."""
    parts = []
    for name, one in told.items():
        if "median_apart" in one and "p90_apart" in one:
            parts.append(f"{name}: off the model by {one['median_apart']:.1%} (median), {one['p90_apart']:.1%} (p90) on {one['questions']:,} questions it never saw")
        elif name == "networks":
            parts.append(f"whole networks never seen: latency off by {one['latency_s_median_apart']:.1%} (median), {one['latency_s_p90_apart']:.1%} (p90), {one['questions']:,} questions")
        elif name == "verdict":
            sure = f" ({one['sure_same']:.1%} where it is sure, {one['sure_share']:.0%} of them)" if "sure_share" in one else ""
            parts.append(f"the guard's verdict the same on {one['same']:.1%}{sure}")
        elif "model_median" in one:
            parts.append(f"{name}: median error {one['student_median']:.1%} (the model: {one['model_median']:.1%}), p90 {one['student_p90']:.1%} ({one['model_p90']:.1%}), "
                         f"coverage {one['student_coverage']:.0%}, {one['rows']:,} rows")
    return "student: " + "; ".join(parts)
