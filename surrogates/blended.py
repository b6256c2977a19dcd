"""The default for plain feature tables: several surrogates, each judged on groups it did not see, blended by what they were worth there.

Candidates: boosted trees by absolute and by squared error, deep ones of all columns, and a Gaussian process (`kernel`). Every row is answered by members that learned
from other groups only; those answers choose the shares, per target, then every member worth a share learns from all rows. The answers
themselves stay in `out_of_fold` until the model is saved: they are what intervals and figures come from.

A machine never seen in a plain table is answered as those of the table were (`newcomer`): each held out in turn says how far off that is. So are numbers beyond all that
were learned from (`reach`): the largest held out choose who speaks there.

A target that is yes or no is learned as a score and answered as a calibrated probability (`classifier`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from ..datasets.errors import FormatError, TableError
from ..datasets.networks import NetworkQuestions
from ..datasets.splits import whole_groups
from ..datasets.table import FeatureQuestions, Questions, Table
from ..features import language_models, spelt_sizes
from ..features.network_table import widened
from . import beside_schedule, classifier, new_pairs, reach, relatives
from .boosted import Boosted
from .by_value import LEAST_ROWS, ByValue
from .factors import Factors
from .kernel import Kernel
from .outlying import Outlying
from .prediction import Prediction, apart, consistent
from .served import Served
from .shares import best_shares, from_means, is_counted, is_logarithmic, mixed, scaled
from .threads import one_blas_thread

#: folds by rows of the table: (rows up to which, folds). Of 25 rows in ten folds two of three rows of a machine are held out at once, and the width of all is that of those
_FOLDS = ((45, 45), (300, 10), (10_000, 5), (50_000, 3), (10**9, 5))
#: of a table with more rows one fold is held out and answered, not all: enough to choose shares by
_MOST_FOLDED = 50_000
#: folds, with so many rows or more, after which trees without a share in any answer are let go
_TRIED, _LEAST_TRIED = 2, 200
#: more rows than this and shares come from a sample of them
_MOST_JUDGED = 60_000
#: a member with a smaller share of every target is let go
_LEAST_SHARE = 0.05
#: trees of both kinds are grown for a table of so many rows at most
_MOST_TWICE = 100_000
#: tables with as many rows get larger trees; rows of a leaf, at least and at most, of small tables: as many as a group has
_MANY_ROWS, _LEAF = 5_000, (5, 30)
#: trees of few large steps, for tables whose groups have few rows
_DEEP: dict[str, Any] = {"trees": 300, "leaves": 63, "rate": 0.1, "min_leaf": 5, "column_share": 1.0}
#: fewer networks with all their designs do not tell which member orders those of another one: shares stay equal (assumption; of HLSyn's 34 kernels: 0.50 in place of 0.47)
_FEW_NETWORKS = 100
#: target -> the column of a table of networks that it is learned as a ratio to
_REFERENCES = dict.fromkeys(("cycles", "latency_s", "interval_cycles"), beside_schedule.SCHEDULE)
#: with fewer groups to a column than this the process' weights are learned anew for folds; rounds they are learned in (of plain tables twice as many brought nothing); for tables of so many rows at most
_GROUPS_PER_COLUMN, _TUNED_ROUNDS, _MOST_TUNED = 10, 30, 10_000
#: on logarithms an error beyond this counts as this much, when shares are chosen
_LOST = 1.0
#: where a saved spec keeps what is known of values never seen, beside the columns of machines
_OF_VALUES = "(values never seen)"
#: where the settings say which of those that a model may lack it has
_BESIDE = "(beside these)"
#: rows to a group from which groups are networks with all their designs
_LEAST_PER_GROUP = 5


class Blended(Outlying):
    """The blend. `seed` makes folds and members repeatable."""

    name = "blended"

    def __init__(self, *, targets: Sequence[str] = ("latency_s",), seed: int = 0, threads: int = 0) -> None:
        super().__init__()
        self.targets = tuple(targets)
        self.shape = "features"
        self._settings: dict[str, Any] = {"seed": seed, "threads": threads}
        self._members: dict[str, Any] = {}
        self._shares: dict[str, dict[str, float]] = {}
        self._probability: dict[str, dict[str, Any]] = {}
        self._counted: list[str] = []
        self._least_leaf = _LEAF[0]
        self._networks, self._machines = False, ""
        self._left_out: tuple[str, ...] = ()
        #: pragmas that every kernel of the table has
        self._choices: tuple[str, ...] | None = None  # of designs alone
        self._language_models: tuple[str, ...] = ()
        #: column of words -> places of the sizes that its names carry
        self._spelt: dict[str, list[str]] = {}
        #: target -> what is said of kernels never seen (`beside_schedule.learned`); names of those that were
        self._unseen: dict[str, dict[str, Any]] = {}
        self._kernels: list[str] = []
        #: after `fit`: (n,) fold of each row, and (n, t) answers by members that saw no row of its group; NaN where a row was not judged
        self.fold = np.zeros(0, dtype=np.int64)
        self.out_of_fold = Prediction.nothing(self.targets)

    @property
    def classes(self) -> tuple[str, ...]:
        """The targets answered as probabilities."""
        return tuple(self._probability)

    def fit(self, table: Table, valid: Table | None = None) -> Self:
        """Judges the candidates on groups held out, then learns from all rows. Rows of `valid` are learned from too: no member stops early by them.
        Raises TableError for an unusable target."""
        if table.questions.shape != "features":
            raise TableError(f"blended: answers rows of a plain feature table, not {table.questions.shape} questions")
        with one_blas_thread():  # matrices of few thousand rows: on two cores threads that wait for one another took twice the processor time
            return self._fit(table)

    def _fit(self, table: Table) -> Self:
        self._forget()
        self._networks = isinstance(table.questions, NetworkQuestions)
        self._machines = _measured_machines(table.questions) if isinstance(table.questions, NetworkQuestions) else ""
        self._left_out = _of_some_groups(table) if self._networks else ()
        self._choices = beside_schedule.of_designs(table.questions.frame, self._left_out) if self._networks and beside_schedule.SCHEDULE in widened(table.questions).frame else None
        self._unseen, self._kernels = {}, []
        self._language_models = () if self._networks else language_models.named(table.questions.frame)
        self._spelt = {} if self._networks else spelt_sizes.places(table.questions.frame, {*self._language_models, getattr(table.questions, "machine_column", "")})
        reached = {} if self._networks else reach.reach(table.questions.frame)
        self._written = tuple(map(str, table.questions.frame.columns))
        table = self._seen_table(table)
        whole = self._references_of(table.questions)
        table = replace(table, targets={t: v / whole[:, self.targets.index(t)] if t in self.targets else v for t, v in table.targets.items()})
        yes_no = [t for t in self.targets if t in table.targets and classifier.is_yes_no(table.targets[t])]
        self._counted = [t for t in self.targets if t in table.targets and t not in yes_no and is_counted(table.targets[t])]
        groups = len(np.unique(table.groups.astype(str)))
        self._least_leaf = int(np.clip(len(table) / groups, *_LEAF))
        count = min(next(k for rows, k in _FOLDS if len(table) <= rows), groups)
        self.fold = whole_groups(table.groups, count, int(self._settings["seed"]))
        candidates = self._candidates(len(table))
        learned: set[str] = set()

        def learn(names: Iterable[str]) -> None:  # from all rows: trees only where they are kept
            for name in sorted(set(names) - learned):
                candidates[name] = candidates[name].fit(table)
                learned.add(name)

        learn(candidates if self._networks else ["kernel"])
        answers = {name: np.full((len(table), len(self.targets)), np.nan) for name in candidates}
        judged = np.random.default_rng(int(self._settings["seed"])).permutation(len(table)) < _MOST_JUDGED
        processes = self._processes(table, candidates["kernel"], count, groups)
        for i in range(0 if count < 2 else 1 if len(table) > _MOST_FOLDED else count):
            self._answer_fold(table, i, judged, {**candidates, "kernel": processes[i]}, answers)
            seen = np.flatnonzero(judged & (self.fold < _TRIED))
            if i + 1 == _TRIED < count and len(seen) >= _LEAST_TRIED and not self._networks:  # trees that no answer of the first folds takes a share of go no further
                wanted = {"kernel", *(name for told in self._weigh(table.take(seen), {name: points[seen] for name, points in answers.items()}).values() for name in told)}
                candidates, answers = ({name: each for name, each in every.items() if name in wanted or name == "absolute"} for every in (candidates, answers))
        self._shares = self._weigh(table, answers)
        learn(name for shares in self._shares.values() for name in shares)
        self._rehearse(table, candidates)
        models = self._rehearse_models(table, candidates)
        if not self._networks and not yes_no:
            self._look_at_values(table)
        self._reach_out(table, reached, candidates, [t for t in self.targets if t not in yes_no])
        if not self._networks and not yes_no:
            self._rehearse_values(table, candidates)
        speaking = self._speaking(candidates)
        kept = [name for name in candidates if name in speaking or (name == "absolute" and self._asks_trees)]
        learn(kept)
        self._members = {name: candidates[name] for name in kept}
        self._settle_models(table, models, partial(self._asked_as, lambda q: self._blend(q)[0]))
        if not self._networks and not yes_no:
            self._widen_by_spread(table, partial(self._asked_as, lambda q: self._blend(q)[0]))
        points = mixed(answers, self._shares, self.targets, self._counted) if count > 1 else np.full((len(table), len(self.targets)), np.nan)
        points = self._rehearse_kernels(table, points, whole)
        if not self._networks and not yes_no:
            self._rehearse_missing(table, points)
            self._rehearse_rare(table, points)
        low, high = np.full_like(points, np.nan), np.full_like(points, np.nan)
        for t in yes_no:
            j = self.targets.index(t)
            self._probability[t] = classifier.calibrate(points[:, j], table.targets[t])
            for i in range(count):  # a fold is judged by a calibration that did not see it
                here = self.fold == i
                held = classifier.calibrate(points[~here, j], table.targets[t][~here])
                points[here, j], low[here, j], high[here, j] = classifier.probability(held, points[here, j])
        self.out_of_fold = replace(Prediction.bare(self.targets, points * whole), low=low * whole, high=high * whole)
        if len(speaking) > 1 and count > 1:  # as `predict` tells it
            self.out_of_fold = replace(self.out_of_fold, spread=apart([answers[name] for name in speaking]))
        return self

    def _speaking(self, names: Iterable[str]) -> list[str]:
        """Those members that answer usual questions, or ones about machines never seen or beyond the reach: how far they lie apart tells how unsure an answer is."""
        beyond = [s["shares"] for s in self._ends if s]
        every = [self._shares, *(s["shares"] for s in self._strangers.values()), *beyond]
        middle = {name for told in self._strangers.values() for name in told.get("middle", ())}
        if any(shares.get("process carried", 0.0) > 0 for told in beyond for shares in told.values()):
            middle.add("kernel")
        return [name for name in names if name in middle or any(shares[t].get(name, 0.0) > 0 for shares in every for t in self.targets)]

    def _seen(self, questions: Any) -> Any:
        """The rows as the members see them: of whole networks with their physics, names of language models with their figures."""
        if self._networks and not isinstance(questions, NetworkQuestions):
            raise TableError("this model answers tables of whole networks: it needs the columns its schema's workload names, as `silicast predict TABLE` reads them")
        if not isinstance(questions, NetworkQuestions):
            lost = [c for c in (*self._language_models, *self._spelt) if c not in questions.frame]
            if lost:
                raise TableError(f"feature table lacks the column {', '.join(lost)}; it has: {', '.join(map(str, questions.frame.columns))}")
            return replace(questions, frame=spelt_sizes.spelt(language_models.widened(questions.frame, self._language_models), self._spelt)) if self._language_models or self._spelt else questions
        wide = widened(questions)
        return replace(wide, frame=beside_schedule.with_columns(wide.frame, self._left_out, self._choices)) if self._left_out or self._choices else wide

    def _references_of(self, questions: Any) -> np.ndarray:
        """(n, t) what targets are learned as ratios to: cycles of a design to those of its schedule, which one of a kernel never seen has too; 1 for others."""
        out = np.ones((len(questions), len(self.targets)))
        for j, t in enumerate(self.targets):
            if t in _REFERENCES and _REFERENCES[t] in questions.frame:
                out[:, j] = questions.frame[_REFERENCES[t]].to_numpy(dtype=np.float64)
        return out

    def _rehearse_kernels(self, table: Table, points: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """(n, t) answers about rows held out, as kernels never seen are answered, which they were; learns how from them."""
        frame = table.questions.frame
        referred = [t for t in self.targets if t in _REFERENCES and _REFERENCES[t] in frame] if self._left_out else []
        if not referred:
            return points
        kernel = beside_schedule.kernels(frame)
        seen = pd.DataFrame({"kernel": kernel, "fold": self.fold}).groupby("kernel")["fold"].transform("nunique").to_numpy() > 1
        for t in referred:
            j = self.targets.index(t)
            told = beside_schedule.learned(whole[~seen, j], points[~seen, j], table.targets[t][~seen], kernel[~seen])
            if told:
                self._unseen[t], self._kernels = told, sorted(set(kernel.tolist()))
                points[~seen, j] = beside_schedule.said(points[~seen, j], told)
        return points

    def _seen_table(self, table: Table) -> Table:
        return replace(table, questions=self._seen(table.questions)) if self._networks or self._language_models or self._spelt else table

    def _processes(self, table: Table, whole: Kernel, count: int, groups: int) -> list[Kernel]:
        """The process that each fold's answers take their weights from. Weights of many columns can be fitted to what few groups have of their own, and then know the groups that are
        held out: there they are learned without them, half of the folds at a time. Elsewhere those of all rows do, and for networks, whose columns are their physics."""
        if count < 2 or self._networks or len(table) > _MOST_TUNED or groups >= _GROUPS_PER_COLUMN * len(whole.columns):
            return [whole] * max(count, 1)
        out = []
        for half in (np.arange(count // 2), np.arange(count // 2, count)):
            rest = table.take(~np.isin(self.fold, half))
            if any(len(np.unique(rest.targets[t][np.isfinite(rest.targets[t])])) < 2 for t in self.targets):
                return [whole] * count
            out += [self._process(self.targets).fit(rest)] * len(half)
        return out

    def _process(self, targets: Sequence[str]) -> Kernel:
        return Kernel(targets=targets, seed=int(self._settings["seed"]), **({} if self._networks else {"rounds": _TUNED_ROUNDS}))

    def _answer_fold(self, table: Table, fold: int, judged: np.ndarray, candidates: Mapping[str, Any], answers: Mapping[str, np.ndarray]) -> None:
        here = np.flatnonzero((self.fold == fold) & judged)
        rest = table.take(self.fold != fold)
        # a target that does not vary among the others is answered with the one value it has there
        told = {t: rest.targets[t][np.isfinite(rest.targets[t])] for t in self.targets}
        varied = [t for t in self.targets if len(told[t]) and np.ptp(told[t]) > 0]
        for name, member in candidates.items():
            for j, t in enumerate(self.targets):
                if t not in varied and len(told[t]):  # one that the others lack altogether is not judged here
                    answers[name][here, j] = told[t][0]
            if not varied or not len(here):
                continue
            whole = varied == list(self.targets)
            learned = member.sibling().learn_rows(rest) if name in ("kernel", "machines") and whole else self._candidates(len(rest), varied)[name].fit(rest)
            found = learned.predict(table.questions.take(here))
            for t in varied:
                answers[name][here, self.targets.index(t)] = found.point[:, found.column(t)]

    def _candidates(self, rows: int, targets: Sequence[str] = ()) -> dict[str, Any]:
        """The unfitted members for a table of so many rows."""
        wanted, seed = tuple(targets) or self.targets, int(self._settings["seed"])
        few = rows < _MANY_ROWS
        size: dict[str, Any] = {"trees": 400, "leaves": 15, "min_leaf": 5} if few else {"trees": 800, "leaves": 31}
        threads = 1 if rows < 2000 else int(self._settings["threads"])
        # unlike the other in more than what it minimises: all columns, larger steps, and no leaf that divides a group, whose rows are too much alike to be so many
        other: dict[str, Any] = {"trees": 300, "leaves": 31, "rate": 0.1, "column_share": 1.0, "min_leaf": self._least_leaf} if few and not self._networks else size
        made: dict[str, Any] = {"absolute": Boosted(targets=wanted, seed=seed, threads=threads, **other)}
        if rows <= _MOST_TWICE:
            made["squared"] = Boosted(targets=wanted, seed=seed, threads=threads, objective="regression", **size)
        if rows <= _MOST_TWICE and not self._networks and self._least_leaf <= _LEAF[0]:  # designs, whose many choices act together; rows of large groups are learned by heart
            made["deep"] = Boosted(targets=wanted, seed=seed, threads=threads, objective="regression", **_DEEP)
        if self._machines:
            made["machines"] = ByValue(column=self._machines, targets=wanted, seed=seed)
        if rows <= _MANY_ROWS and not self._networks:
            made["factors"] = Factors(targets=wanted)
        return {**made, "kernel": self._process(wanted)}

    def _weigh(self, table: Table, answers: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
        """Shares per target: a coordinate search for the least error on the blended scale."""
        names = list(answers)
        out: dict[str, dict[str, float]] = {}
        for j, t in enumerate(self.targets):
            truth = table.targets[t]
            points = [answers[name][:, j] for name in names]
            good = np.isfinite(truth) & np.all([np.isfinite(p) for p in points], axis=0)
            shares = np.full(len(names), 1.0 / len(names))
            if good.sum() >= 10 and not (self._left_out and len(np.unique(table.groups.astype(str))) < _FEW_NETWORKS):
                y = scaled(truth[good], truth)
                stack = np.stack([scaled(p[good], truth) for p in points])
                if self._left_out:  # what counts is the order of a network's designs: how far each is from their mean
                    y, stack = from_means(y[None], table.groups[good])[0], from_means(stack, table.groups[good])
                shares = best_shares(stack, y, _LOST if is_logarithmic(truth) and not self._left_out else np.inf)
            shares = np.where(shares < _LEAST_SHARE, 0.0, shares)
            out[t] = {name: float(w) for name, w in zip(names, shares / shares.sum(), strict=True) if w > 0}
        return out

    def predict(self, questions: Questions) -> Prediction:
        """(n, t) blended answers in SI; a yes or no is a probability with its low and high."""
        if questions.shape != self.shape:
            raise TableError(f"this model answers {self.shape} questions, got {questions.shape} ones")
        if not len(questions):
            return Prediction.nothing(self.targets)
        questions = self._seen(questions)
        blend, answers = self._blend(questions)
        for column, told in self._strangers.items():
            new = np.flatnonzero(~np.isin(questions.frame[column].astype(str).to_numpy(dtype=str), told["known"]))  # type: ignore[attr-defined]
            if not len(new):
                continue
            if "middle" in told:
                blend[new] = np.median([answers[name][new] for name in told["middle"]], axis=0)
                continue
            here = {name: points[new] for name, points in answers.items()}
            if any("newcomer" in shares for shares in told["shares"].values()):
                here["newcomer"] = self._as_known(questions.take(new), column, told["known"], lambda q: self._blend(q)[0], self.targets, told)
            blend[new] = mixed(here, told["shares"], self.targets, self._counted)
        kernel = beside_schedule.kernels(questions.frame) if self._unseen else np.full(len(blend), "")  # type: ignore[attr-defined]
        stranger = ~np.isin(kernel, self._kernels) if self._unseen else np.zeros(len(blend), dtype=bool)
        for t, kept in self._unseen.items():
            blend[stranger, self.targets.index(t)] = beside_schedule.said(blend[stranger, self.targets.index(t)], kept, kernel[stranger])
        blend = blend * self._references_of(questions)
        points = consistent({t: blend[:, j] for j, t in enumerate(self.targets)})
        bare = Prediction.bare(self.targets, np.column_stack([points[t] for t in self.targets]))
        speaking = self._speaking(answers)
        if len(speaking) > 1:
            bare = replace(bare, spread=apart([answers[name] for name in speaking]))
        if not self._probability:
            return bare
        low, high, point = bare.low.copy(), bare.high.copy(), bare.point.copy()
        for t, calibrated in self._probability.items():
            j = self.targets.index(t)
            point[:, j], low[:, j], high[:, j] = classifier.probability(calibrated, blend[:, j])
        return replace(bare, point=point, low=low, high=high)

    def _blend(self, questions: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """((n, t) answers as if machines were known, each member's); beyond the reach by those who speak there."""
        answers = {name: member.predict(questions).point for name, member in self._members.items()}
        def ask(frame: Any) -> np.ndarray:
            return self._plainly(self._members, self._shares, frame)

        blend = self._valued(questions, mixed(answers, self._shares, self.targets, self._counted), ask, partial(self._plainly, self._members, self._trees_alone))
        blend = self._paired(questions, blend, ask)
        for column, told in self._relatives.items():
            new = np.flatnonzero(~np.isin(questions.frame[column].astype(str).to_numpy(dtype=str), told["known"]))
            if len(new):
                frame, said = questions.frame.iloc[new].reset_index(drop=True), {"usual": blend[new]}
                if any("relatives" in shares for shares in told["shares"].values()):
                    said["relatives"] = relatives.answered(frame, column, told, told["powers"], partial(self._asked_as, lambda q: self._blend(q)[0]))
                if column in self._served:
                    said["served"] = self._served[column].answers(frame)
                blend[new] = mixed({name: np.where(np.isfinite(points), points, blend[new]) for name, points in said.items()}, told["shares"], self.targets, self._counted)
        process = (lambda f: self._members["kernel"].predict(FeatureQuestions(f)).point) if "kernel" in answers else None
        return self._reached(questions, blend, answers, ask, process), answers

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Shares and calibrations in JSON; every member with its files under its name."""
        spec: dict[str, Any] = {"targets": list(self.targets), "settings": self._settings, "shares": self._shares, "probability": self._probability,
                                "strangers": {**self._strangers, **({_OF_VALUES: self._values} if self._values else {})},
                                "counted": self._counted, "networks": self._networks, "members": {}}
        spec |= {name: list(columns) for name, columns in (("left_out", self._left_out), ("language_models", self._language_models)) if columns}
        spec |= {"spelt": self._spelt} if self._spelt else {}
        spec |= {"choices": list(self._choices)} if self._choices is not None else {}
        spec |= {name: told for name, told in (("reach", self._reach), ("relatives", self._relatives)) if told}
        spec["strangers"] |= {_BESIDE: here} if (here := sorted({"reach", "relatives"} & set(spec))) else {}
        spec |= {"unseen": self._unseen, "kernels": self._kernels} if self._unseen else {}
        files: dict[str, bytes] = {}
        for name, member in self._members.items():
            inner, content = member.weights()
            spec["members"][name] = {"member": member.name, "spec": inner, "files": sorted(content)}
            files |= {f"{name}.{file}": data for file, data in content.items()}
        for at, (column, served) in enumerate(sorted(self._served.items())):
            inner, content = served.weights()
            spec.setdefault("served", {})[column] = {"spec": inner, "files": sorted(content)}
            files |= {f"served{at}.{file}": data for file, data in content.items()}
        return spec, files

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path, member: Callable[[str], Any]) -> Self:
        """The inverse of `weights`."""
        out = cls(targets=spec["targets"], **spec["settings"])
        out._shares, out._probability = {t: dict(s) for t, s in spec["shares"].items()}, dict(spec["probability"])
        out._strangers = {c: dict(s) for c, s in spec["strangers"].items() if c not in (_OF_VALUES, _BESIDE)}
        lost = [name for name in spec["strangers"].get(_BESIDE, ()) if name not in spec]
        if lost:
            raise FormatError(f"{folder}: model.json lacks {', '.join(lost)}")
        out._values = dict(spec["strangers"].get(_OF_VALUES, {}))
        out._counted, out._networks, out._left_out = list(spec["counted"]), bool(spec["networks"]), tuple(spec.get("left_out", ()))
        out._choices = tuple(spec["choices"]) if "choices" in spec else None
        out._language_models, out._reach = tuple(spec.get("language_models", ())), dict(spec.get("reach", {}))
        out._spelt = {str(c): [str(place) for place in each] for c, each in spec.get("spelt", {}).items()}
        out._relatives = {c: dict(s) for c, s in spec.get("relatives", {}).items()}
        out._unseen, out._kernels = {t: dict(s) for t, s in spec.get("unseen", {}).items()}, list(spec.get("kernels", ()))
        for name, m in spec["members"].items():
            content = {file: files[f"{name}.{file}"] for file in m["files"] if f"{name}.{file}" in files}
            out._members[name] = member(m["member"]).from_weights(m["spec"], content, folder, member)
        for at, (column, m) in enumerate(sorted(spec.get("served", {}).items())):
            content = {file: files[f"served{at}.{file}"] for file in m["files"] if f"served{at}.{file}" in files}
            out._served[column] = Served.from_weights(m["spec"], content, folder, member)
        unsaid = [column for column, told in out._relatives.items() if any("served" in shares for shares in told["shares"].values()) and (column not in out._served or out._served[column].targets != out.targets)]
        column = str(out._reach.get("served", ""))
        beyond = any("served" in shares for shares in out._reach.get("shares", {}).values())
        unsaid += [column or "sizes beyond the table"] if (column or beyond) and (column not in out._served or out._served[column].targets != out.targets) else []
        if unsaid:
            raise FormatError(f"{folder}: what serving takes is missing of the models of {', '.join(unsaid)}")
        new_pairs.checked(out._values.get("pairs", ()), folder)
        if not all(isinstance(each, list) and [type(part) for part in each[:2]] == [str, str] and len(each) == 3 and isinstance(each[2], int | float) for each in _listed(out._values.get("rare", []), folder)):
            raise FormatError(f"{folder}: words of few rows: expected [column, word, width] each")
        return out


def _listed(told: Any, folder: Path) -> list[Any]:
    if not isinstance(told, list):
        raise FormatError(f"{folder}: words of few rows: expected a list, got {told!r}")
    return told


def _of_some_groups(table: Table) -> tuple[str, ...]:
    """The columns of a table of networks that whole groups of it lack: pragmas of one kernel, say. Where a group is a network with all its designs, such a column says
    something else of each, and nothing of one never seen, which its physics do."""
    labels, group = np.unique(table.groups.astype(str), return_inverse=True)
    if len(table) < _LEAST_PER_GROUP * len(labels):
        return ()
    frame = table.questions.frame
    told = {str(c): frame[c].notna().to_numpy() & (frame[c].astype(str) != "").to_numpy() for c in frame.columns}
    return tuple(c for c, there in told.items() if (np.bincount(group, there, minlength=len(labels)) == 0).any())


def _measured_machines(questions: NetworkQuestions) -> str:
    """The column of machines where each has rows enough for a process of its own in every fold, else ""."""
    counts = np.bincount(questions.device_index, minlength=1) if questions.device_names else np.zeros(1)
    return questions.machine_column if len(counts) > 1 and counts[counts > 0].min() >= 2 * LEAST_ROWS else ""
