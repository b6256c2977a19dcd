"""What a blend says of rows beyond all that it learned from: machines never seen, and numbers larger than any of the table.

Either is rehearsed: machines, and the largest sizes, are held out in turn, which says who speaks there (`newcomer`, `reach`, the members themselves) and how far off that is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.assigned import assigned
from ..datasets.table import FeatureQuestions, Questions, Table
from ..features import language_models, served_models
from ..features.device import named_machine
from . import brought_over, newcomer, relatives
from .boosted import Boosted
from .factors import Factors
from .kernel import Kernel
from .reaching import SIZE, SMALL, STEP, Reaching
from .served import Served
from .shares import best_shares, mixed, of_those
from .valued import KEPT, LEAST_ALONE, NEVER_REHEARSED, no_surer

#: of a table with more rows no machine is held out
MOST_FOLDED = 50_000
#: machines held out in a rehearsal
_REHEARSED = 4
#: with fewer machines than this a rehearsal cannot tell which member carries over to another one (assumption: eight). Then the machines themselves are asked (`newcomer`);
#: of networks, priced on the machine itself, the middle one of all answers counts
_FEW_MACHINES = 8
#: share that asking known machines is given beforehand where there are more (assumption: half)
_KNOWN = 0.5
#: rows on which machines are compared
_MOST_COMPARED = 1_500
#: where none could be held out: how far off (factor) answers about a machine of a vendor and kind that the table has may be, those about its power, and answers about one of another vendor or kind (and, an assumption, of which no catalogue
#: knows either). Of pairs of machines in open tables, each brought over to the other by what both are rated at, four in five have nine tenths of their rows within such a factor (`benchmarks/never_rehearsed.py`)
_KIN_OFF, _KIN_POWER_OFF, _ALIEN_OFF = 3.9, 2.0, 15.0
#: the factor of machines of another vendor or kind beside some that were held out: that of nine in ten pairs, for those held out tell what is usual
_ALIEN_NEXT = 36.0
#: how far off (factor) answers about a language model never seen may be, which counts so against those held out (assumption)
_MODEL_OFF = 1.6
#: language models held out in a rehearsal, and the rows of one at least; who asks their relatives only where errors were less than this share of the usual ones (assumption)
_MODELS_REHEARSED, _LEAST_OF_MODEL, _BETTER = 4, 10, 0.9
#: how much wider than about models held out, whose figures are known, intervals are about one that nobody knows (assumption)
_NAMELESS = 2.0
#: why a row lies beyond all that was learned from: of a machine or a language model never seen; and a machine none of whose vendor and kind the table has, whose widths say nothing of the others
_MACHINE, _MODEL, _ALIEN = "machine", "model", "machine of another kind"


class Outlying(Reaching):
    """The part of a blend that rehearses. What it needs of the blend: members for a table of so many rows, shares by answers, answers about known machines."""

    targets: tuple[str, ...]
    _settings: dict[str, Any]
    _shares: dict[str, dict[str, float]]
    _counted: list[str]
    _language_models: tuple[str, ...]
    _networks: bool

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        """Nothing is known of an earlier table."""
        self._strangers: dict[str, dict[str, Any]] = {}
        #: column of language models -> those of the table, the powers that costs go with, and how much their relatives count about one never seen
        self._relatives: dict[str, dict[str, Any]] = {}
        #: column of language models -> what serving one never seen takes
        self._served: dict[str, Served] = {}
        self._forget_values()
        self._forget_reach()
        #: after `fit`: why -> target -> (truth, answer), in SI, of rows on machines held out in turn, on language models so held out, of those with the largest sizes, with the largest of few values, and with the smallest sizes;
        #: empty where none could be
        self.rehearsed: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {_MACHINE: {}, _ALIEN: {}, _MODEL: {}, SIZE: {}, STEP: {}, SMALL: {}}

    def _candidates(self, rows: int, targets: Sequence[str] = ()) -> dict[str, Any]:
        raise NotImplementedError

    def _weigh(self, table: Table, answers: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
        raise NotImplementedError

    def _rehearse(self, table: Table, candidates: Mapping[str, Any]) -> None:
        """Shares for machines never seen: those that did best when machines were held out, one after the other; and how far off answers were. Machines are the
        values of the column that the schema says names them, or else of those most of whose values the catalogue knows (a host's processor is a word like any other beside the schema's)."""
        frame, told_so = table.questions.frame, getattr(table.questions, "machine_column", "")
        named = [told_so] if told_so in frame and frame[told_so].dtype.kind not in "fiub" and not self._networks and frame[told_so].nunique() <= newcomer.MOST_NAMED else []
        for column in named or (newcomer.machine_columns(frame) if self._networks or told_so not in frame else ()):
            values = table.questions.frame[column].astype(str).to_numpy(dtype=str)
            names, counts = np.unique(values, return_counts=True)
            few = len(names) < _FEW_MACHINES
            told: dict[str, Any] = {"known": [str(n) for n in names], "shares": {t: {"newcomer": 1.0} for t in self.targets}}
            own = newcomer.settled(frame[[c for c in self._written if c in frame and c not in self._language_models]], column) if not self._networks and column in self._written else {}
            told |= {"settled": own} if own else {}
            times = {t: newcomer.floors(table.targets[t], values, t) for t in self.targets}
            told |= {"floors": times} if any(times.values()) else {}
            if not self._networks:
                served = brought_over.served(frame, column, self._language_models, {t: table.targets[t] for t in self.targets})
                runs = brought_over.software(frame, column, [c for c in self._written if c in frame and c not in self._language_models and c not in own])
                told |= {name: each for name, each in (("served", served), ("software", runs)) if each}
            if (self._networks or not few) and (len(names) < 3 or len(table) > MOST_FOLDED):
                continue
            self._strangers[column] = told
            apart = self._machines_apart(table, column, values, [str(n) for n in names], candidates) if not self._networks else {}
            if apart:
                told |= {name: each for name, each in newcomer.learned(told["known"], counts, apart).items() if each}
            answers: dict[str, np.ndarray] = {}
            alien = newcomer.aliens([str(n) for n in names])
            for held in names[_most_of(counts, alien, _REHEARSED)] if len(names) > 1 and len(table) <= MOST_FOLDED else ():
                here, other = values == held, names != held
                self._answer_stranger(table, column, here, candidates, few, answers, newcomer.learned([str(n) for n in names[other]], counts[other], {t: a[np.ix_(other, other)] for t, a in apart.items()}))
            self._judge_machines_alone(table, column, values, answers)
            if self._networks or (not few and answers):
                told["shares"] = self._weigh(table, answers)
                if "newcomer" in answers:  # a few machines, as unlike one another as they may be, do not tell who is right about the next
                    told["shares"] = {t: {name: (1.0 - _KNOWN) * each.get(name, 0.0) + _KNOWN * (name == "newcomer") for name in {**each, "newcomer": 0.0}} for t, each in told["shares"].items()}
            if self._networks and few:
                told["middle"] = list(candidates)
            self._remember(table, values, answers, told, few, np.isin(values, names[alien]))

    def _rehearse_models(self, table: Table, candidates: Mapping[str, Any]) -> dict[str, dict[str, np.ndarray]]:
        """Who speaks about language models never seen: the usual blend, their relatives (`relatives`), or what serving them takes at the least (`served`); chosen with models held out in turn.
        Column -> who -> (n, t) answers about those, NaN for other rows; of columns where others than the usual blend were the better for some target."""
        out: dict[str, dict[str, np.ndarray]] = {}
        for column in self._language_models if len(table) <= MOST_FOLDED else ():
            told = relatives.known(table.questions.frame, column)
            names = table.questions.frame[column].astype(str).to_numpy(dtype=object)
            held = [m for m, rows in table.questions.frame[column].astype(str).value_counts().items() if rows >= _LEAST_OF_MODEL and m in told.get("names", ())][:_MODELS_REHEARSED]
            served = Served.of(table, column, self._language_models, self.targets, int(self._settings["seed"]))
            answers = {name: np.full((len(table), len(self.targets)), np.nan) for name in ("usual", "relatives", *(("served",) if served else ()))}
            for model in held if len(held) > 1 else ():
                here = names == model
                rest, asked = table.take(~here), table.questions.take(np.flatnonzero(here))
                others = relatives.known(rest.questions.frame, column)
                if not others or any(len(np.unique(rest.targets[t][np.isfinite(rest.targets[t])])) < 2 for t in self.targets):
                    continue
                fresh = self._small(rest, self.targets, candidates)
                usual = {t: of_those(self._shares[t], fresh) for t in self.targets}
                ask = partial(self._asked_as, partial(self._mixed_of, fresh, usual))
                powers, kept = relatives.learn(rest.questions.frame, column, others, np.column_stack([rest.targets[t] for t in self.targets]), ask, int(self._settings["seed"]))
                answers["usual"][here] = ask(asked.frame)
                answers["relatives"][here] = np.where(kept, relatives.answered(asked.frame, column, others, powers, ask), answers["usual"][here])
                if served:
                    answers["served"][here] = _or(Served.of(rest, column, self._language_models, self.targets, int(self._settings["seed"])), rest, asked.frame, answers["usual"][here])
            shares = {t: self._worth_asking(table, answers, t, "relatives") for t in self.targets}
            without = {t: self._worth_asking(table, answers, t, "served") if served and t in served.answered else {"usual": 1.0} for t in self.targets}
            if any(set(each) != {"usual"} for each in (*shares.values(), *without.values())):
                self._relatives[column], out[column] = {**told, "known": sorted(set(names)), "shares": shares, "without": without}, answers
        return out

    def _settle_models(self, table: Table, rehearsed: Mapping[str, Mapping[str, np.ndarray]], ask: Callable[[Any], np.ndarray]) -> None:
        """The powers of all rows, by the members that were kept (`ask`); of targets whose models keep to none what serving takes is asked in place of relatives, if it was worth it. What is
        remembered are the errors of those who will answer; of two columns of models, of both."""
        for column, answers in rehearsed.items():
            told = self._relatives[column]
            told["powers"], sure = relatives.learn(table.questions.frame, column, told, np.column_stack([table.targets[t] for t in self.targets]), ask, int(self._settings["seed"]))
            without = told.pop("without", {})
            told["shares"] = {t: told["shares"][t] if keep else without.get(t, {"usual": 1.0}) for t, keep in zip(self.targets, sure, strict=True)}
            if all(set(shares) == {"usual"} for shares in told["shares"].values()):
                del self._relatives[column]
                continue
            if any("served" in shares for shares in told["shares"].values()):
                self._served[column] = Served(self.targets, served_models.roles(table.questions.frame, column), self._language_models, int(self._settings["seed"])).fit(table)
            points = mixed(answers, told["shares"], self.targets, self._counted)
            for j, t in enumerate(self.targets):
                good = np.isfinite(table.targets[t]) & np.isfinite(points[:, j]) & (table.targets[t] > 0) & (points[:, j] > 0)
                if good.any():
                    before = self.rehearsed[_MODEL].get(t, (np.zeros(0), np.zeros(0)))
                    truth, said = no_surer(table.targets[t][good], points[good, j], NEVER_REHEARSED if language_models.of_images(table.questions.frame[column]) else _MODEL_OFF, table.questions.frame[column][good].nunique())
                    self.rehearsed[_MODEL][t] = (np.r_[before[0], truth], np.r_[before[1], said])

    def _worth_asking(self, table: Table, answers: Mapping[str, np.ndarray], target: str, other: str) -> dict[str, float]:
        """Shares of the usual blend and of the `other`, by their answers about models held out."""
        j, truth, both = self.targets.index(target), table.targets[target], {name: answers[name] for name in ("usual", other)}
        good = np.isfinite(truth) & (truth > 0) & np.all([p[:, j] > 0 for p in both.values()], axis=0)
        if good.sum() < 2 * _LEAST_OF_MODEL:
            return {"usual": 1.0}
        stack, y = np.log(np.stack([p[good, j] for p in both.values()])), np.log(truth[good])
        share, better = best_shares(stack, y, 1.0), _BETTER
        if other == "served":  # physics that holds for every model: what few of them happened to like best is half of what counts, the other half is that it alone speaks
            share, better = (share + np.array([0.0, 1.0])) / 2.0, 1.0
        off = [float(np.minimum(np.abs(x - y), 1.0).mean()) for x in (share @ stack, stack[0])]
        return {name: float(w) for name, w in zip(both, share, strict=True) if w > 0} if off[0] < better * off[1] else {"usual": 1.0}

    def _mixed_of(self, fresh: Mapping[str, Any], shares: Mapping[str, Mapping[str, float]], questions: Any) -> np.ndarray:
        """(n, t) what fitted members say together."""
        return mixed({name: member.predict(questions).point for name, member in fresh.items()}, shares, self.targets, self._counted)

    def _asked_as(self, ask: Callable[[Any], np.ndarray], frame: Any) -> np.ndarray:
        """(n, t) answers to a frame whose models' names were changed: their figures with them."""
        return ask(FeatureQuestions(language_models.widened(frame, self._language_models)))

    def _machines_apart(self, table: Table, column: str, values: np.ndarray, names: Sequence[str], candidates: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Target -> (D, D) log of what machine s, asked in place of machine o, says of its rows, over their truth (medians). Empty with one machine, or too many to compare; NaN where truths are not positive."""
        if not 2 <= len(names) <= newcomer.MOST_COMPARED:
            return {}
        some = np.sort(np.random.default_rng(int(self._settings["seed"])).permutation(len(table))[:_MOST_COMPARED])
        asked, on = table.questions.take(some), values[some]
        used = {name: m for name, m in candidates.items() if any(name in self._shares[t] for t in self.targets)}
        points = np.stack([mixed({name: m.predict(self._moved(asked, column, machine)).point for name, m in used.items()}, self._shares, self.targets, self._counted) for machine in names])
        out: dict[str, np.ndarray] = {}
        for j, t in enumerate(self.targets):
            truth, out[t] = table.targets[t][some], np.full((len(names), len(names)), np.nan)
            for i, o in enumerate(names):
                good = (on == o) & (truth > 0) & (points[:, :, j] > 0).all(0)
                if good.any():
                    out[t][:, i] = np.median(np.log(points[:, good, j] / truth[good]), axis=1)
        return out

    def _moved(self, questions: Any, column: str, machine: str) -> Any:
        """The same rows on another machine, with what is its own (`newcomer.settled`)."""
        its = {c: values[machine] for c, values in self._strangers.get(column, {}).get("settled", {}).items() if machine in values}
        changed = assigned(questions.frame, {column: machine, **{c: np.nan if v is None else v for c, v in its.items()}})
        return replace(questions, frame=language_models.widened(changed, self._language_models))

    def _settled_as_known(self, questions: Any) -> Any:
        """The rows, those about machines never seen with what is settled of a known one: what differs there is the machine, not a size or a value of its own."""
        for column, told in self._strangers.items():
            if told.get("settled") and column in questions.frame.columns:
                new = ~np.isin(questions.frame[column].astype(str).to_numpy(dtype=str), told["known"])
                its = {c: values.get(told["known"][0]) for c, values in told["settled"].items() if c in questions.frame.columns}
                if new.any():
                    questions = replace(questions, frame=assigned(questions.frame, {c: questions.frame[c].astype(object).where(~new, np.nan if v is None else v).infer_objects() for c, v in its.items()}))
        return questions

    def _answer_stranger(self, table: Table, column: str, here: np.ndarray, candidates: Mapping[str, Any], few: bool, answers: dict[str, np.ndarray], learned: Mapping[str, Any]) -> None:
        """Into `answers`: what each member, and `newcomer`, says of the rows `here`, a machine that no one saw."""
        rest, asked = table.take(~here), table.questions.take(np.flatnonzero(here))
        varied = [t for t in self.targets if np.isfinite(rest.targets[t]).sum() >= 10 and np.ptp(rest.targets[t][np.isfinite(rest.targets[t])]) > 0]
        if not varied:
            return
        fresh = {name: member.fit(rest) for name, member in self._candidates(len(rest), varied).items()} if self._networks else self._small(rest, varied, candidates)

        def put(name: str, points: np.ndarray) -> None:
            kept = answers.setdefault(name, np.full((len(table), len(self.targets)), np.nan))
            kept[np.ix_(here, np.array([self.targets.index(t) for t in varied]))] = points

        if self._networks or not few:
            for name, member in fresh.items():
                put(name, member.predict(asked).point)
        if not self._networks:
            known = sorted(set(rest.questions.frame[column].astype(str)))
            usual = {t: of_those(self._shares[t], fresh) for t in varied}
            put("newcomer", self._as_known(asked, column, known, lambda q: mixed({name: m.predict(q).point for name, m in fresh.items()}, usual, varied, self._counted), varied, learned))

    def _judge_machines_alone(self, table: Table, column: str, values: np.ndarray, answers: Mapping[str, np.ndarray]) -> None:
        """Takes out of `answers` ((n, t), NaN where there is none) rows of a machine with words that it alone has, in columns most of whose words several machines share: a network that ran nowhere else. What is new
        about them is not the machine alone. Where hardly any of a machine's rows would be left, all stay."""
        frame, alone = table.questions.frame, np.zeros(len(table), dtype=bool)
        for other in (c for c in self._written if c in frame and c != column and frame[c].dtype.kind not in "fiub"):
            on = pd.Series(values).groupby(frame[other].astype(str).to_numpy()).nunique()
            if (on > 1).mean() > 0.5:
                alone |= (frame[other].astype(str).map(on) == 1).to_numpy()
        for name in np.unique(values) if alone.any() else ():
            here = values == name
            if (here & ~alone).sum() >= LEAST_ALONE:
                for points in answers.values():
                    points[here & alone] = np.nan

    def _small(self, rest: Table, targets: Sequence[str], candidates: Mapping[str, Any]) -> dict[str, Any]:
        """Members that rehearse, fitted: trees by half, and the process with the weights it has."""
        seed, answering = int(self._settings["seed"]), {name for shares in self._shares.values() for name in shares}
        return {"absolute": Boosted(targets=tuple(targets), trees=150, leaves=15, min_leaf=5, seed=seed, threads=1).fit(rest),
                **({"factors": Factors(targets=tuple(targets)).fit(rest)} if "factors" in answering else {}),
                "kernel": candidates["kernel"].sibling().learn_rows(rest) if list(targets) == list(self.targets) else Kernel(targets=tuple(targets), seed=seed).fit(rest)}

    def expected_far(self) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], np.ndarray, tuple[str, ...]]:
        """After `fit`: (target -> (truth, answer) in SI of rows that lay beyond all the members had learned from, NaN where there is none; (n,) what they are, as `kinds` says; kinds that say
        nothing of the others: each column's values never seen are a matter of their own)."""
        parts = [(kind, told) for kind, told in self.rehearsed.items() if told]
        rows = [max(len(truth) for truth, _ in told.values()) for _, told in parts]
        out = {}
        for t in self.targets:
            if any(t in told for _, told in parts):
                each = [np.pad(np.stack(told.get(t, (np.zeros(0), np.zeros(0)))), ((0, 0), (0, n - len(told.get(t, ([],))[0]))), constant_values=np.nan) for n, (_, told) in zip(rows, parts, strict=True)]
                out[t] = (np.concatenate([e[0] for e in each]), np.concatenate([e[1] for e in each]))
        return out, np.repeat(np.array([kind for kind, _ in parts], dtype=object), rows), tuple(kind for kind, _ in parts if kind not in (_MACHINE, _MODEL, SIZE, STEP))

    def _as_known(self, questions: Any, column: str, known: Sequence[str], ask: Callable[[Any], np.ndarray], targets: Sequence[str], learned: Mapping[str, Any]) -> np.ndarray:
        """(n, t) answers to rows on machines never seen: asked on those of the table, and brought over by what each is rated at. `learned`: as `newcomer.learned`, of `known`."""
        out = np.full((len(questions), len(targets)), np.nan)
        written = questions.frame[column].astype(str).to_numpy(dtype=str)
        told = self._strangers[column]
        own, served, runs = told.get("settled", {}), told.get("served", {}), told.get("software", {})
        figures = [tuple(row) for row in questions.frame[[c for c in own if c in questions.frame]].astype(str).to_numpy().tolist()]  # each row by itself, whatever another of that name says
        alike = pd.factorize(pd.Series(list(zip(written.tolist(), figures, strict=True)), dtype=object))[0]
        for rows in (np.flatnonzero(alike == place) for place in range(int(alike.max(initial=-1)) + 1)):
            name = str(written[rows[0]])
            counts = newcomer.shares(name, known) > 0
            every, needs = (np.full((len(known), len(rows), len(targets)), np.nan) for _ in range(2))
            mine = questions.take(rows)
            near = newcomer.nearness({c: mine.frame[c].iloc[0] for c in own if c in mine.frame}, own, known) if own and named_machine(name) is None else np.ones(len(known))
            needed = brought_over.needed(served, mine.frame, targets)
            alien = not newcomer.of_kin(name, known).any()
            for at, machine in enumerate(known):
                if counts[at]:
                    there = self._moved(mine, column, machine)
                    every[at] = self._with_its_software(there, machine, known, runs, ask, targets) if alien and runs else ask(there)
                    needs[at] = brought_over.POWER * (needed - brought_over.needed(served, there.frame, targets))
            for j, t in enumerate(targets):
                out[rows, j] = newcomer.joined(name, known, t, every[:, :, j], near * learned.get("worth", {}).get(t, 1.0), told.get("floors", {}).get(t), needs[:, :, j], brought_over.SHARE,
                                                learned.get("powers", {}).get(t))
        return out

    def _with_its_software(self, there: Any, machine: str, known: Sequence[str], runs: Mapping[str, Mapping[str, Sequence[str]]], ask: Callable[[Any], np.ndarray], targets: Sequence[str]) -> np.ndarray:
        """(n, t) answers to rows on a known machine; those with software that no known machine ran, by the best that this one was measured with (`brought_over.best`)."""
        out = ask(there)
        for c, words in runs.items():
            rows = np.flatnonzero(~np.isin(there.frame[c].astype(str).to_numpy(dtype=str), [*brought_over.EMPTY, *(w for each in known for w in words.get(each, ()))])) if c in there.frame else np.zeros(0, dtype=np.int64)
            if len(rows) and words.get(machine):
                part = there.take(rows)
                tried = np.stack([ask(replace(part, frame=assigned(part.frame, {c: word}))) for word in words[machine]])
                out[rows] = np.column_stack([brought_over.best(t, tried[:, :, j]) for j, t in enumerate(targets)])
        return out

    def _remember(self, table: Table, values: np.ndarray, answers: Mapping[str, np.ndarray], told: Mapping[str, Any], few: bool, alien: np.ndarray) -> None:
        """What is expected of answers about machines never seen, per target: the rehearsed ones, of machines of whose vendor and kind others were left apart from those that are `alien` ((n,) rows); where machines are few,
        those of the machine that was answered worst, and as K of them say little about the next, its errors (logarithms) taken 1 + 1 / K times; where none was held out, `_KIN_OFF` and `_ALIEN_OFF` off,
        but about kin no farther than about aliens, and about aliens no less than about kin. Of plain tables what was held out counts beside what pairs of machines are elsewhere (`no_surer`)."""
        point = np.full((len(table), len(self.targets)), np.nan)
        if answers:
            point = np.median(list(answers.values()), axis=0) if "middle" in told else mixed(answers, told["shares"], self.targets, self._counted)
        for j, t in enumerate(self.targets):
            truth = table.targets[t]
            good = np.isfinite(truth) & np.isfinite(point[:, j]) & (truth > 0) & (point[:, j] > 0)
            off = np.abs(np.log(np.where(good, point[:, j], 1.0) / np.where(good, truth, 1.0)))
            found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
            factors = {_MACHINE: _KIN_POWER_OFF if newcomer.quantity(t) == "power" else _KIN_OFF, _ALIEN: _ALIEN_OFF}
            count = dict.fromkeys(factors, 0)
            for kind, rows in ((_MACHINE, good & ~alien), (_ALIEN, good & alien)):
                held = np.unique(values[rows])
                count[kind] = len(held)
                if few and len(held):
                    rows &= values == held[np.argmax([np.quantile(off[rows & (values == name)], 0.9) for name in held])]
                    point[rows, j] *= (point[rows, j] / truth[rows]) ** (1.0 / len(held))
                if rows.any():
                    found[kind] = truth[rows], point[rows, j]
            tried = next(iter(found.values()), None)
            if not self._networks:
                next_off = {_MACHINE: factors[_MACHINE], _ALIEN: _ALIEN_NEXT}
                found = {kind: no_surer(*each, next_off[kind], count[kind]) for kind, each in found.items()}
            if len(found) < 2 and (truth[np.isfinite(truth)] > 0).all():
                for kind, factor in factors.items():
                    if kind not in found:
                        worse = tried is not None and np.quantile(np.abs(np.log(tried[1] / tried[0])), 0.9) > np.log(factor)
                        alike = tried is not None and worse == (kind == _ALIEN)
                        found[kind] = (tried if self._networks else no_surer(*tried, factor, sum(count.values()))) if tried is not None and alike else (truth, truth * factor)
            elif _ALIEN in found and _MACHINE not in found:
                found[_MACHINE] = found[_ALIEN]
            if _ALIEN in found:  # enough of them for a width of their own
                every = np.argsort(np.abs(np.log(found[_ALIEN][1] / found[_ALIEN][0])), kind="stable")
                some = every[np.linspace(0, len(every) - 1, max(len(every), KEPT)).round().astype(np.int64)]
                found[_ALIEN] = found[_ALIEN][0][some], found[_ALIEN][1][some]
            for kind, (y, said) in found.items():
                if len(y) and (y > 0).all() and (said > 0).all():  # no farther than nine in ten machines lie from one another that have nothing in common: one odd machine held out tells no more of the next
                    said = y * np.clip(said / y, 1.0 / _ALIEN_NEXT, _ALIEN_NEXT)
                self.rehearsed[kind][t] = y, said

    def beyond(self, questions: Questions) -> np.ndarray:
        """(n,) how far rows lie beyond all that was learned from: 0 within, 1 about a machine never trained on or as far beyond the reach as was rehearsed, towards 2 from there (what was
        learned counts half as much with every octave, an assumption) or where both are so. Intervals are as wide there as errors were in the rehearsals, times this."""
        new, model = self._new(questions), self._new_model(questions)
        questions = self._settled_as_known(questions)
        out = np.where(model, np.where(self._nameless(questions), _NAMELESS, 1.0), 0.0) if model.any() else np.zeros(len(questions))
        for over, told in zip(self._overs(questions), self._ends, strict=True):
            out = np.fmax(out, np.where(over > 0.0, 2.0 - 2.0 ** -np.maximum(over - told.get("octaves", 0.0), 0.0), 0.0))
        values = self._values_new(questions)
        out = np.where((out > 0.0) & (values > 0), np.minimum(np.fmax(out, 1.0) + 0.5 * values, 2.0), np.fmax(out, np.where(values > 0, np.minimum(0.5 + 0.5 * values, 2.0), 0.0)))
        if (values > 0).any():  # what a step beyond the ends told says less of several
            over = self._beyond_ends(questions)
            out = np.where(over > 0.0, np.minimum(out + 1.0 - 2.0**-over, 2.0), out)
        out = np.where(self._never_together(questions).any(1) | self._lacking(questions).any(1), np.fmax(out, 1.0), out)
        out = np.where(new, np.maximum(1.0, np.where(out > 0.0, 1.0 + out / 2.0, 0.0)), out)
        return np.where((out == 0.0) & self._rare(questions).any(1), 1.0, out)

    def kinds(self, questions: Questions) -> np.ndarray:
        """(n,) why a row lies beyond all that was learned from; "" for one that does not."""
        new, questions = self._new(questions), self._settled_as_known(questions)
        size, step, small = (over > 0.0 for over in self._overs(questions))
        known = np.select([new & self._alien(questions), new, self._new_model(questions), size, step, small], [_ALIEN, _MACHINE, _MODEL, SIZE, STEP, SMALL], "").astype(object)
        return np.where(known == "", self._kinds_of_values(questions), known)

    def _new_model(self, questions: Any) -> np.ndarray:
        """(n,) whether a row is about a language model never trained on, where that was rehearsed."""
        out = np.zeros(len(questions), dtype=bool)
        for column, told in self._relatives.items():
            if column in questions.frame.columns:
                out |= ~np.isin(questions.frame[column].astype(str).to_numpy(dtype=str), told["known"])
        return out

    def _nameless(self, questions: Any) -> np.ndarray:
        """(n,) whether a row is about a language model of which not even the size is known: those held out were."""
        out = np.zeros(len(questions), dtype=bool)
        for column in self._relatives:
            if column in questions.frame.columns:
                out |= [not np.isfinite(relatives.active(str(word))) for word in questions.frame[column].tolist()]
        return out

    def _new(self, questions: Any) -> np.ndarray:
        """(n,) whether a row is about a machine never trained on."""
        out = np.zeros(len(questions), dtype=bool)
        for column, told in self._strangers.items():
            if column in questions.frame.columns:  # else `predict` says so
                out |= ~np.isin(questions.frame[column].astype(str).to_numpy(dtype=str), told["known"])
        return out

    def _alien(self, questions: Any) -> np.ndarray:
        """(n,) whether a row is about a machine never trained on, none of whose vendor and kind were."""
        out = np.zeros(len(questions), dtype=bool)
        for column, told in self._strangers.items():
            if column in questions.frame.columns:
                words = questions.frame[column].astype(str).to_numpy(dtype=str)
                new = [word for word in np.unique(words) if word not in told["known"]]
                out |= np.isin(words, [word for word in new if not newcomer.of_kin(str(word), told["known"]).any()])
        return out


def _most_of(counts: np.ndarray, alien: np.ndarray, most: int) -> np.ndarray:
    """Places of those with most rows, so many at most, of equals by chance (names in order are of one vendor); the last is of the other sort (alien or not) where those before it are all of one."""
    order = np.lexsort((np.random.default_rng(0).random(len(counts)), -counts))
    if len(order) > most and len(np.unique(alien[order[:most]])) < len(np.unique(alien)):
        order[most - 1] = next(at for at in order[most:] if alien[at] != alien[order[0]])
    return order[:most]



def _or(member: Served | None, table: Table, frame: Any, usual: np.ndarray) -> np.ndarray:
    """(n, t) answers of a member once it learned from `table`, the usual ones where it has none."""
    points = member.fit(table).answers(frame) if member else usual
    return np.where(np.isfinite(points), points, usual)
