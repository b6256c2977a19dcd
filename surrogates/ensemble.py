"""Several surrogates as one: a weighted mean of their answers in log space, the weights chosen on held-out groups.

A machine nobody trained on is another matter, and so is a size beyond all that were measured: members that see only what is the same everywhere do
better there. `rehearse` chooses the weights for either by holding out machines and the largest sizes (`rehearsal`), and measures how far off
answers about new machines are, for the intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..datasets.errors import TableError
from ..datasets.table import OpQuestions, Questions, Table
from . import rehearsal
from .base import Surrogate
from .missed import MOST, Missed
from .neighbours import left_out
from .prediction import Prediction, apart, consistent
from .threads import in_two_lanes

#: the shares of a member that are tried, rounds of trying, how much of what is chosen is kept, and the relative error beyond which a row counts no more
_STEPS, _ROUNDS, _CHOSEN, _WORST = np.linspace(0.0, 1.0, 11), 3, 2.0 / 3.0, 1.5
#: share of the kin trees in the latency of a machine never seen. Each machine of three tables held out in turn, median + mean error with shares chosen on the others (half of them), and with
#: these: NeuSight 45.9 and 43.3, GEMM 46.8 and 45.7, generation attention 62.4 and 60.3 %
_KIN = 0.3
#: rows answered by small copies from which shares are chosen as finely as on held-out rows (sequences of attention held out, 10,600 rows: 3.8 / 13.6 % in quarters, 3.2 / 11.2 % so; head shapes alike)
_ROWS_TO_WEIGH = 2_000
#: questions from which members answer side by side
_ROWS_FOR_LANES = 4_000
#: share of the members that know the roofline alone in the watts of a machine never seen, before anything is rehearsed (assumption)
_WATTS = 0.75


@dataclass(frozen=True)
class Rehearsed:
    """Target -> (truth, answer), each (n,) in SI, on machines held out and on the largest sizes held out: what answers there are worth. Empty where there was
    nothing to hold out (a single machine, too few sizes). `machine`: (n,) number of the machine held out. `kind`, `size_kind`: (n,) kinds of operator of the
    rows of either."""

    machines: dict[str, tuple[np.ndarray, np.ndarray]]
    sizes: dict[str, tuple[np.ndarray, np.ndarray]]
    machine: np.ndarray
    kind: np.ndarray
    size_kind: np.ndarray


class Ensemble:
    """`members` answer the same targets. After fitting each, the weights that give the least median error on `valid` are kept, per
    target; without `valid` all weigh the same. Machines never trained on and sizes beyond those trained on have weights of their own:
    likely ones until `rehearse`, and of latencies on machines never trained on for good. `strangers`: the member that alone answers for those."""

    name = "ensemble"

    def __init__(self, members: Sequence[Surrogate], strangers: int | None = None) -> None:
        if not members or any(m.targets != members[0].targets for m in members):
            raise TableError("ensemble: needs members that answer the same targets")
        self.members = list(members)
        self._strangers = strangers
        self._era = object()  # of what members have learned: answers kept with questions are those of one
        self._weights: dict[str, list[float]] = {}
        self._known: tuple[str, ...] = ()
        self._reach: dict[str, float] = {}
        self._strange: dict[str, dict[str, list[float]]] = {}  # target -> kind of operator, "" for all -> shares
        self._far: dict[str, dict[str, list[float]]] = {}
        self._missed: Missed | None = None  # what the members together missed of readings nearby
        self._octaves: dict[str, float] = {}  # kind of operator, "" for all -> how far beyond the rest the sizes lay that were rehearsed

    @property
    def targets(self) -> tuple[str, ...]:
        """What every member answers."""
        return self.members[0].targets

    @property
    def shape(self) -> str:
        """The shape of questions the members take."""
        return self.members[0].shape

    def fit(self, table: Table, valid: Table | None = None) -> Self:
        """Fits every member, then the weights."""
        self.members, self._era = rehearsal.fitted(self.members, table, valid), object()
        equal = [1.0 / len(self.members)] * len(self.members)
        self._weights = {t: list(equal) for t in self.targets}
        self._known = tuple(sorted(set(table.questions.strata.astype(str))))
        self._reach = rehearsal.reach(table.questions.ops) if self.shape == "op" else {}
        self._strange, self._far, self._missed = {t: {"": self._likely(t)} for t in self.targets}, {}, None
        if valid is not None and len(self.members) > 1:
            points = self._answers(valid.questions)
            for j, name in enumerate(self.targets):
                truth = valid.targets.get(name)
                if truth is not None and np.isfinite(truth).sum() >= 20:
                    self._weights[name] = self._best([p[:, j] for p in points], truth)
            sees = self._sees_readings()
            if sees is not None:
                off, rows = self._off(table, MOST)
                usual = {t: _mean([p[:, j] for p in points], np.array(self._weights[t])) for j, t in enumerate(self.targets)}
                self._missed = Missed.learn(sees.near, rows, off, valid, usual, sees.seen(valid.questions))
        return self

    def _sees_readings(self) -> Any:
        """The member that sees what was read nearby; None where there is none."""
        return next((m for m in self.members if getattr(m, "near", None) is not None), None)

    def _off(self, table: Table, most: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """(target -> (r,) log(truth / answer) on rows learned from, NaN where there is none; (r,) the rows, so many at most, drawn): of answers that know what others than a row's own group told."""
        rows = np.sort(np.random.default_rng(0).permutation(len(table))[:most])
        points, off = self._answers(left_out(table, rows)), {}
        for j, name in enumerate(self.targets):
            if name in table.targets:
                truth, point = table.targets[name][rows], _mean([p[:, j] for p in points], np.array(self._weights[name]))
                ok = np.isfinite(truth) & (truth > 0) & (point > 0)
                off[name] = np.where(ok, np.log(np.where(ok, truth, 1.0) / np.where(ok, point, 1.0)), np.nan)
        return off, rows

    def learn_again(self, members: Sequence[Surrogate], table: Table, valid: Table | None = None) -> Self:
        """Fresh `members`, as those it has, fitted to a larger table, networks from the weights they have; every weight stays as it was chosen."""
        for fresh, fitted in zip(members, self.members, strict=True):
            if fresh.name == "neural":
                fresh.goes_on_from(fitted)  # type: ignore[attr-defined]
        self.members, self._era = rehearsal.fitted(members, table, valid), object()
        sees = self._sees_readings()
        if self._missed is not None and sees is not None:
            off, rows = self._off(table, MOST)
            self._missed = self._missed.again(sees.near, rows, off)
        self._known = tuple(sorted({*self._known, *table.questions.strata.astype(str)}))
        self._reach = rehearsal.reach(table.questions.ops) if self.shape == "op" else {}
        return self

    def rehearse(self, table: Table, fresh: Callable[[], Sequence[Surrogate]], seed: int = 0) -> Rehearsed:
        """Chooses the weights for sizes beyond those seen, and for all but latencies on machines never seen, with small `fresh` members, and says what answers are worth there."""
        far, self._octaves = rehearsal.sizes(table, fresh, self.targets, seed)
        plain = self._of("plain")  # beyond the table it keeps the last ratio to physics that was measured
        self._far = {t: rehearsal.shares_by_kind(far, t, plain / plain.sum() if plain.any() else None) for t in self.targets} if far else {}
        parts = rehearsal.machines(table, fresh, self.targets, seed)
        if parts:
            self._strange = {t: {"": self._likely(t)} if t == "latency_s" else rehearsal.shares_by_kind(parts, t, self._likely(t)) for t in self.targets}
        return Rehearsed(self._scored(parts, self._strange), self._scored(far, self._far), np.repeat(np.arange(len(parts)), [len(p.kind) for p in parts]), _kinds_of(parts), _kinds_of(far))

    def rehearse_folds(self, table: Table, fresh: Callable[[], Sequence[Surrogate]], fold: np.ndarray, seed: int = 0) -> Prediction:
        """Chooses the usual weights by holding out folds of groups in turn, with small `fresh` members, for a table that has no groups to spare. The small ones' answers to all rows of the
        table: NaN for rows that were not asked about; intervals are not theirs to give."""
        parts = rehearsal.folds(table, fresh, self.targets, fold, seed)
        point, spread = np.full((len(table), len(self.targets)), np.nan), np.full((len(table), len(self.targets)), np.nan)
        if parts:
            self._weights = {t: self._over_folds(parts, t) for t in self.targets}
            settled = [m.name == "anchored" for m in self.members]
            for part in parts:
                others = [p for p in parts if p is not part]  # figures and widths of a fold are by shares that the others chose
                shares = {t: self._over_folds(others, t) if len(others) > 1 else self._weights[t] for t in self.targets}
                point[part.rows] = np.column_stack([_mean([p[t] for p in part.points], np.array(shares[t])) for t in self.targets])
                spread[part.rows] = apart([np.column_stack([p[t] for t in self.targets]) for p, other in zip(part.points, settled, strict=True) if not other])
        bare = Prediction.bare(self.targets, point)
        return replace(bare, spread=spread)

    def _over_folds(self, parts: Sequence[rehearsal.Rehearsal], name: str) -> list[float]:
        """Shares by what small copies answered about groups held out: as fine as those on held-out rows where there are so many of them, in quarters where there are few."""
        truth, points = np.concatenate([p.truth[name] for p in parts]), [np.concatenate([p.points[i][name] for p in parts]) for i in range(len(self.members))]
        return self._best(points, truth) if np.isfinite(truth).sum() >= _ROWS_TO_WEIGH else rehearsal.shares(parts, name)

    def kinds(self, questions: Questions) -> np.ndarray | None:
        """(n,) the kinds of operator by which widths of intervals may differ; None for questions of another shape."""
        return rehearsal.kinds(questions.ops) if isinstance(questions, OpQuestions) else None

    def _of(self, columns: str) -> np.ndarray:
        """(members,) which of the trees see these columns."""
        return np.array([getattr(m, "columns", "") == columns for m in self.members])

    def _likely(self, target: str) -> list[float]:
        """Shares about machines never seen: `_KIN` for those made for it, who answer as the kin of a machine would, the rest equal ones. Of latencies they are kept, whatever the rehearsal says:
        what was best for four machines is not for the fifth. Of answers that are no latency, before anything is rehearsed, three quarters of those who know the roofline alone: the others all lean on the simulator's watts, which are as far off on the next machine as they like."""
        if self._strangers is not None:
            return [float(i == self._strangers) for i in range(len(self.members))]
        made, share = (self._of("kin"), _KIN) if target == "latency_s" else (self._of("roofline"), _WATTS)
        others = np.array([m.name != "smooth_ops" for m in self.members])  # it knows a machine by its name alone
        if made.all() or not made.any():
            return [float(w) for w in others / max(others.sum(), 1)]
        rest = others / others.sum() if target == "latency_s" else (others & ~made) / (others & ~made).sum()
        return [float(w) for w in share * made / made.sum() + (1.0 - share) * rest]

    def _scored(self, parts: Sequence[rehearsal.Rehearsal], shares: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {t: (np.concatenate([p.truth[t] for p in parts]), np.concatenate([_mean([m[t] for m in p.points], _by_kind(shares[t], p.kind).T) for p in parts]))
                for t in self.targets} if parts else {}

    def beyond(self, questions: Questions) -> np.ndarray:
        """(n,) how far sizes lie beyond all that were trained on: 0 within, 1 up to where they were rehearsed, towards 2 from there: what was learned
        counts half as much with every octave (assumption)."""
        if not isinstance(questions, OpQuestions):
            return np.zeros(len(questions))
        octaves = rehearsal.beyond(questions.ops, self._reach)
        rehearsed = np.array([self._octaves.get(kind, self._octaves.get("", 0.0)) for kind in rehearsal.kinds(questions.ops)])
        return np.where(octaves > 0.0, 2.0 - 2.0 ** -np.maximum(octaves - rehearsed, 0.0), 0.0)

    def _best(self, points: Sequence[np.ndarray], truth: np.ndarray) -> list[float]:
        """Rounds of coordinate search over shares: each member in turn takes the share that lowers the error most, the usual error and the mean one alike. Few held-out rows tell
        no finer than so: a third is shared by how right each member is alone, where that costs no more than a standard error, and less than the best member alone."""
        count, good = len(points), np.isfinite(truth)
        scale = np.where(np.abs(truth[good]) > 0, np.abs(truth[good]), 1.0)

        def far_off(w: np.ndarray) -> np.ndarray:
            return np.minimum(np.abs(_mean(points, w)[good] - truth[good]) / scale, _WORST)

        def error(w: np.ndarray) -> float:
            off = far_off(w)
            return float(np.median(off) + np.mean(off))

        weights = np.full(count, 1.0 / count)
        for i in [*range(count)] * _ROUNDS:
            others = np.delete(weights, i)
            others = others / others.sum() if others.sum() > 0 else np.full(len(others), 1.0 / max(len(others), 1))
            weights = min([weights, *(np.insert(others * (1.0 - s), i, s) for s in _STEPS)], key=error)
        alone = np.array([error(w) for w in np.eye(count)])
        right = 1.0 / np.maximum(alone, 1e-9) ** 2
        drawn = _CHOSEN * weights + (1.0 - _CHOSEN) * right / right.sum()
        most = min(alone.min(), error(weights) + float(np.std(far_off(weights))) / np.sqrt(good.sum()))
        return [float(w) for w in (drawn if error(drawn) <= most else weights)]

    def predict(self, questions: Questions) -> Prediction:
        """(n, t) weighted answers in SI."""
        parts = self._answers(questions)
        points = {name: _mean([p[:, j] for p in parts], self.shares(questions, name).T) for j, name in enumerate(self.targets)}
        self._with_missed(points, questions)
        points = consistent(points)
        bare = Prediction.bare(self.targets, np.column_stack([points[t] for t in self.targets]))
        learned = [p for p, m in zip(parts, self.members, strict=True) if m.name != "anchored"]  # it is apart from the others because it knows less
        return replace(bare, spread=apart(learned)) if len(learned) > 1 else bare

    def _with_missed(self, points: dict[str, np.ndarray], questions: Questions) -> None:
        """Adds what was missed of readings nearby to (n,) `points` of machines that are known, and within the sizes that are."""
        sees = self._sees_readings() if self._missed is not None else None
        if self._missed is None or sees is None or not isinstance(questions, OpQuestions) or not len(questions):
            return
        usual, features = np.isin(questions.strata.astype(str), self._known) & (self.beyond(questions) <= 0.0), sees.seen(questions)
        for name, point in points.items():
            points[name] = np.where(usual & (point > 0), point * np.exp(self._missed.added(questions, features, name)), point)

    def _answers(self, questions: Questions) -> list[np.ndarray]:
        """(n, t) of each member; of many questions members answer side by side, the first (which leaves columns with the questions that others take) before all others, and what they said
        stays with the questions: rows that calibrate are asked again once machines and sizes are rehearsed."""
        if len(questions) < _ROWS_FOR_LANES:
            return [m.predict(questions).point for m in self.members]
        kept = questions.__dict__.get("_answered")
        if kept is None or kept[0] is not self._era:
            first = self.members[0].predict(questions).point
            said = [first, *in_two_lanes([partial(lambda m: m.predict(questions).point, m) for m in self.members[1:]])]
            for point in said:
                point.setflags(write=False)
            kept = questions.__dict__["_answered"] = (self._era, said)
        return list(kept[1])

    def shares(self, questions: Questions, name: str) -> np.ndarray:
        """(n, members) how much each member counts in the answers for a target: by what is asked, within the table's machines and sizes, beyond its sizes
        (fading towards the anchor beyond what was rehearsed), or of a machine never seen."""
        out = np.tile(np.array(self._weights[name]), (len(questions), 1))
        if isinstance(questions, OpQuestions):
            new, far = ~np.isin(questions.strata.astype(str), self._known), self.beyond(questions)
            for rows, weights in (((far > 0.0) & ~new, self._far), (new, self._strange)):
                if rows.any() and weights:
                    out[rows] = _by_kind(weights[name], rehearsal.kinds(questions.ops)[rows])
            settled = [m.name for m in self.members].index("anchored") if any(m.name == "anchored" for m in self.members) else None
            if settled is not None and self._far and (far > 1.0).any():
                fade = np.maximum(far - 1.0, 0.0)
                out *= 1.0 - fade[:, None]
                out[:, settled] += fade
        return out

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """The shares, and every member with its files under its number."""
        spec: dict[str, Any] = {"weights": self._weights, "known": list(self._known), "reach": self._reach, "strange": self._strange, "far": self._far, "octaves": self._octaves,
                                "members": []}
        files: dict[str, bytes] = {}
        if self._missed is not None:
            spec["missed"], content = self._missed.weights()
            files |= {f"missed.{name}": data for name, data in content.items()}
        for i, m in enumerate(self.members):
            inner, content = m.weights()
            spec["members"].append({"member": m.name, "spec": inner, "files": sorted(content)})
            files |= {f"{i}.{name}": data for name, data in content.items()}
        return spec, files

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path, member: Callable[[str], Any]) -> Self:
        """The inverse of `weights`."""
        members = []
        for i, m in enumerate(spec["members"]):
            content = {name: files[f"{i}.{name}"] for name in m["files"] if f"{i}.{name}" in files}
            members.append(member(m["member"]).from_weights(m["spec"], content, folder, member))
        out = cls(members)
        out._weights = {t: list(w) for t, w in spec["weights"].items()}
        if "missed" in spec:
            content = {name.removeprefix("missed."): data for name, data in files.items() if name.startswith("missed.")}
            out._missed = Missed.from_weights(spec["missed"], content, folder)
        out._known, out._reach = tuple(spec["known"]), dict(spec["reach"])
        out._octaves = dict(spec["octaves"]) if isinstance(spec["octaves"], Mapping) else {"": float(spec["octaves"])}  # a number in folders made before kinds were told apart
        out._strange, out._far = ({t: {k: list(w) for k, w in each.items()} for t, each in spec[name].items()} for name in ("strange", "far"))
        return out


def _by_kind(shares: Mapping[str, Sequence[float]], kind: np.ndarray) -> np.ndarray:
    """(n, members) the shares of each row's kind, or of all."""
    out = np.tile(np.array(shares[""]), (len(kind), 1))
    for name, weights in shares.items():
        if name:
            out[(kind == name) | ((kind == rehearsal.BATCHED) & (name == "gemm") & (rehearsal.BATCHED not in shares))] = weights
    return out


def _kinds_of(parts: Sequence[rehearsal.Rehearsal]) -> np.ndarray:
    return np.concatenate([p.kind for p in parts]) if parts else np.zeros(0, dtype=object)


def _mean(points: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """(n,) means in log space, by (members,) or (members, n) weights; a row that any member answers with zero or less takes the plain mean, whatever the
    other rows are."""
    weights = weights if weights.ndim == 2 else weights[:, None]
    stack = np.stack(points)
    positive = (stack > 0).all(0)
    logs = np.log(np.where(positive, stack, 1.0))
    return np.where(positive, np.exp((weights * logs).sum(0)), (weights * stack).sum(0))
