"""What a blend says of rows with a value that a column never had (`new_values`): rehearsed with values held out in turn, which says who speaks there and how far off that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ..datasets.assigned import assigned
from ..datasets.table import FeatureQuestions, Table
from ..features import language_models
from . import new_pairs, new_values, newcomer
from .shares import best_shares, is_logarithmic, mixed, of_those, scaled

#: values of a column held out in a rehearsal, fits of it in all, pairs of columns of which a block is, rows of the table that it looks at, and rows of a value asked about
_VALUES_REHEARSED, _MOST_FITS, _PAIRS_REHEARSED, _MOST_VALUED, _MOST_ASKED = 3, 8, 4, 1_000, 200
#: rows of a value held out that have nothing else new, from which they alone tell what the value does
LEAST_ALONE = 3
#: what asking as known values is given beforehand, of names of language models (whose figures members see), of other words, of numbers at either end of a column and between, crossing two values never seen together, and how much that counts against who was best (assumptions)
_ASKED: Mapping[str, Mapping[str, float]] = {"models": {"usual": 1.0}, "words": {"asked": 0.5, "trees": 0.5}, "ends": {"carried": 1.0}, "numbers": {"asked": 1.0},
                                                "pairs": {"usual": 0.5, "crossed": 0.5}}
_LIKELY = 0.5
#: errors remembered of a column, evenly from the least to the worst, some twice where there are fewer: enough for a width of its own
KEPT = 100
#: answers about values of which none could be held out may be off by this factor: of columns of words in open tables four in five have nine tenths of the rows of four in five pairs of words within it (`benchmarks/never_rehearsed.py`)
NEVER_REHEARSED = 6.0
#: and answers about two words that are known and were never together, of which none could be held out: four in five pairs of columns of words of open tables have nine tenths of the rows of four in five squares of two words by two
#: within it of the product of factors (the same benchmark)
_PAIR_OFF = 3.0
#: how many machines, models or words held out such a factor counts as beside those that were: a pair that happens to be alike says little of the next (assumption)
PRIOR = 2.0
#: why a row lies beyond what was learned from: a value never seen, and its column
_VALUE = "value "
#: a number between two known ones that lie no farther apart than was rehearsed, where that was rehearsed apart from one beyond them
_BETWEEN = " between"
#: a cell that is empty, of a column that others of the table have; rows that tell what that is worth, at least, and how much farther off (logarithms) than about other rows answers
#: must be to have a width of their own (assumptions)
_LACKS, _LEAST_LACKING, _MUCH_WORSE = " missing", 5, 1.5
#: words of a column that some rows are asked as, at most, and from how many on they tell how far the next may lie from them (assumptions)
_MOST_SPREAD, _LEAST_SPREAD = 24, 4
#: a word is rare that has fewer rows than this share of what its column's words have on average (as many as others, and what is hard and what is easy about them make up for one another); of so many words widths of their own are remembered (assumptions)
_RARE, _MOST_RARE = 1.0 / 3.0, 40


class Valued:
    """The part of a blend that answers for values never seen. What it needs of the blend: small members fitted to some rows, what fitted members say together, and what lies beyond its columns."""

    targets: tuple[str, ...]
    _settings: dict[str, Any]
    _shares: dict[str, dict[str, float]]
    _counted: list[str]
    _language_models: tuple[str, ...]
    _strangers: dict[str, dict[str, Any]]
    _relatives: dict[str, dict[str, Any]]
    _reach: dict[str, Any]
    #: columns as they were given, without figures that names bring
    _written: tuple[str, ...] = ()
    rehearsed: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]

    def _forget_values(self) -> None:
        """Nothing is known of an earlier table."""
        #: columns of few values (`new_values.learn`), and "shares": a key of `_ASKED` -> target -> how much each way of asking counts about a value never seen
        self._values: dict[str, Any] = {}
        #: the same while it is rehearsed: columns and their values
        self._looked_at: dict[str, Any] = {}

    def _small(self, rest: Table, targets: Sequence[str], candidates: Mapping[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def _mixed_of(self, fresh: Mapping[str, Any], shares: Mapping[str, Mapping[str, float]], questions: Any) -> np.ndarray:
        raise NotImplementedError

    @property
    def _few(self) -> dict[str, float]:
        raise NotImplementedError

    def _look_at_values(self, table: Table) -> None:
        """Which columns are looked at."""
        frame = table.questions.frame
        told_so = getattr(table.questions, "machine_column", "")
        machines = (*self._strangers, *((told_so,) if told_so in frame else newcomer.machine_columns(frame)))  # `newcomer` answers for those
        self._looked_at = new_values.learn(frame[[c for c in self._written if c in frame]], table.groups, machines)

    def _rehearse_values(self, table: Table, candidates: Mapping[str, Any]) -> None:
        """Who speaks about values that a column never had (`new_values`), with values held out in turn: as it is, or as known values are answered. What is remembered, column by column, are the errors about the value
        that was answered worst, and `NEVER_REHEARSED` off where none could be held out."""
        told, frame = self._looked_at, table.questions.frame
        if not told:
            return
        rng = np.random.default_rng(int(self._settings["seed"]))
        own = {c for each in self._strangers.values() for c in each.get("settled", {})}  # what a machine settles is no choice of its own; machines as words, those with most rows first
        few = {c: known["values"] for c, known in told["columns"].items() if c not in own} | {c: frame[c].astype(str).value_counts(sort=True).index.tolist() for c in self._strangers if c in frame}
        pairs = new_pairs.learn(frame, table.groups, few)
        table = table.take(np.sort(rng.permutation(len(table))[:_MOST_VALUED]))
        frame, fits = table.questions.frame, [(column, value) for place in range(_VALUES_REHEARSED) for column in told["columns"] for value in new_values.held(table.questions.frame, told, column)[place:place + 1]]
        found: dict[str, list[tuple[str, np.ndarray, dict[str, np.ndarray]]]] = {}
        gaps: dict[str, float] = {}
        done = 0
        for column, value in fits:
            if done == _MOST_FITS:
                break
            here = new_values.of(frame, told, column, value)
            asked, rest = table.take(np.sort(rng.permutation(np.flatnonzero(here))[:_MOST_ASKED])), table.take(~here)
            if any(np.isfinite(rest.targets[t]).sum() < 10 or np.ptp(rest.targets[t][np.isfinite(rest.targets[t])]) == 0 for t in self.targets):
                continue
            others, unknown = new_values.without(told, column, value, asked.questions.frame, rest.questions.frame), asked.questions.frame if column in self._language_models else new_values.as_new(asked.questions.frame, told, column)
            new = new_values.strange(unknown, others)
            alone = np.flatnonzero(new[:, [c != column for c in others["columns"]]].sum(1) == 0)
            if len(alone) < LEAST_ALONE:  # what else went with the value is not its doing
                continue
            done, asked, unknown, new = done + 1, asked.take(alone), unknown.iloc[alone].reset_index(drop=True), new[alone]
            fresh = self._small(rest, self.targets, candidates)
            ask, trees = (partial(self._plainly, fresh, shares) for shares in ({t: of_those(self._shares[t], fresh) for t in self.targets}, self._trees_alone))
            points = {"usual": ask(unknown), **new_values.answered(unknown, others, new, ask, asked.questions.frame), "trees": new_values.answered(unknown, others, new, trees, asked.questions.frame)["asked"]}
            sort = "ends" if new_values.beyond(unknown, others, new).any() else self._sort_of(told, column)
            if sort == "numbers":
                gaps[column] = max(gaps.get(column, 0.0), float(new_values.widest(unknown, others, column).max()))
            found.setdefault(column, []).append((sort, np.column_stack([asked.targets[t] for t in self.targets]), points))
        shares: dict[str, dict[str, dict[str, float]]] = {}
        for sort in self._sorts(told):
            each = [(y, p) for tries in found.values() for its, y, p in tries if its == sort != "models"]  # of models `relatives` knows who else to ask
            shares[sort] = {t: _who(_ASKED[sort], np.concatenate([y[:, j] for y, _ in each]), {name: np.concatenate([p[name][:, j] for _, p in each]) for name in each[0][1]}) if each else dict(_ASKED[sort])
                            for j, t in enumerate(self.targets)}
        self._values = {**told, "shares": shares}
        for column in told["columns"]:
            tries = found.get(column, [])
            if not tries and new_values.held(frame, told, column):  # no fit was left for it: as unsure as others of its sort
                tries = [tried for its in found.values() for tried in its if tried[0] == self._sort_of(told, column)]
            told["columns"][column]["off"] = self._remember_values(table, column, [(y, mixed(p, shares[sort], self.targets, self._counted)) for sort, y, p in tries])
            between = [(y, mixed(p, shares[sort], self.targets, self._counted)) for sort, y, p in tries if sort == "numbers"]
            if 2 <= len(between) < len(tries) and np.isfinite(gaps.get(column, np.inf)):  # to lie between known numbers is one thing, to lie beyond them another; one try tells too little
                told["columns"][column] |= {"between": self._remember_values(table, column + _BETWEEN, between), "gap": round(gaps[column], 6)}
        self._rehearse_pairs(table, candidates, pairs)

    def _widen_by_spread(self, table: Table, ask: Callable[[Any], np.ndarray]) -> None:
        """Makes what is remembered about words never seen of a column no less than known ones lie apart: three values at most were held out, and words may do anything from nothing to a thousandfold. Some rows are asked as each
        known word; how far a word's answers lie from the middle of the others' (nine tenths of the rows, four fifths of the words) is as much as the next one may be off."""
        rows = table.questions.frame.iloc[np.sort(np.random.default_rng(int(self._settings["seed"])).permutation(len(table))[:_MOST_ASKED])].reset_index(drop=True)
        for column, known in self._values.get("columns", {}).items():
            words = known["values"][:_MOST_SPREAD]
            if self._sort_of(self._values, column) != "words" or len(words) < _LEAST_SPREAD:
                continue
            points = np.stack([ask(assigned(rows, {column: word})) for word in words])
            for j, t in enumerate(self.targets):
                told = self.rehearsed.get(_VALUE + column, {}).get(t)
                if told is None or not (points[:, :, j] > 0).all() or not ((told[0] > 0) & (told[1] > 0)).all():
                    continue
                logs = np.log(points[:, :, j])
                apart = [np.quantile(np.abs(logs[at] - np.median(np.delete(logs, at, axis=0), axis=0)), 0.9) for at in range(len(words))]
                spread, off = float(np.quantile(apart, 0.8)), float(np.quantile(np.abs(np.log(told[1] / told[0])), 0.9))
                if spread > off > 0.0:
                    error = np.log(told[1] / told[0])
                    self.rehearsed[_VALUE + column][t] = (told[0], told[0] * np.exp(np.sign(error) * np.maximum(np.abs(error), np.minimum(np.abs(error) * (spread / off), spread))))
                    known["off"] = round(max(known["off"], spread), 6)

    def _rehearse_missing(self, table: Table, points: np.ndarray) -> None:
        """How far off answers were about rows that lack a cell of a column which other rows have, by answers (n, t) of members that saw none of their groups."""
        truth, off = np.column_stack([table.targets[t] for t in self.targets]), {}
        for column in (c for c in self._written if c in table.questions.frame):
            lacks = table.questions.frame[column].isna().to_numpy()
            known = lacks & np.isfinite(points).all(1) & np.isfinite(truth).any(1)
            if known.sum() >= _LEAST_LACKING and _by_chance(table.questions.frame, column, self._written) and self._much_worse(truth, points, known):
                off[column] = self._remember_values(table, column + _LACKS, [(truth[known], points[known])])
        if off:
            self._values = {"columns": {}, "joint": [], "shares": {}, **self._values, "lacking": off}

    def _rehearse_rare(self, table: Table, points: np.ndarray) -> None:
        """The same of words that few rows have, in columns of words of which others have more (twenty rows of a new kernel beside hundreds of an old one): among all rows' errors theirs are lost. Of less than `_LEAST_LACKING` rows
        half of what is expected of a word never seen."""
        truth, frame, off = np.column_stack([table.targets[t] for t in self.targets]), table.questions.frame, list[tuple[str, str, float]]()
        for column in (c for c in self._written if c in frame and frame[c].dtype.kind not in "fiub"):
            words = frame[column].astype(str)
            counts = words.value_counts()
            rare = counts.index[counts < _RARE * len(words) / len(counts)] if 1 < len(counts) <= newcomer.MOST_NAMED else ()
            codes = words.to_numpy(dtype=object)
            for word in rare:
                known = (codes == word) & np.isfinite(points).all(1) & np.isfinite(truth).any(1)
                if known.sum() >= _LEAST_LACKING and self._much_worse(truth, points, known):
                    off.append((column, str(word), self._remember_values(table, f"{column} = {word}", [(truth[known], points[known])])))
                elif counts[word] < _LEAST_LACKING:
                    half = self._half_as_new(column, f"{column} = {word}")
                    off += [(column, str(word), half)] if half > 0.0 else []
        kept = sorted(off, key=lambda each: -each[2])[:_MOST_RARE]
        for column, word, _ in (each for each in off if each not in kept):
            self.rehearsed.pop(f"{_VALUE}{column} = {word}")
        if kept:
            self._values = {"columns": {}, "joint": [], "shares": {}, **self._values, "rare": [list(each) for each in kept]}

    def _half_as_new(self, column: str, name: str) -> float:
        """Keeps as errors about a word of so few rows that they tell nothing half (logarithms) of those about a word, or a machine, never seen: it lies between that and known ones (assumption). The 90 % of it, of the target that
        was answered worst; 0 where nothing is known of words never seen."""
        never = self.rehearsed.get("machine" if column in self._strangers else _VALUE + column, {})
        kept = {t: (y, y * np.sqrt(p / y)) for t, (y, p) in never.items() if len(y) and ((y > 0) & (p > 0)).all()}
        if kept:
            self.rehearsed[_VALUE + name] = kept
        return round(max((float(np.quantile(np.abs(np.log(p / y)), 0.9)) for y, p in kept.values()), default=0.0), 6)

    def _rare(self, questions: Any) -> np.ndarray:
        """(n, words) whether a row has those words that few rows of the table had."""
        told = [each for each in self._values.get("rare", ()) if each[0] in questions.frame.columns]
        words = {column: questions.frame[column].astype(str).to_numpy(dtype=object) for column in {each[0] for each in told}}
        return np.column_stack([words[column] == word for column, word, _ in told]) if told else np.zeros((len(questions), 0), dtype=bool)

    def _much_worse(self, truth: np.ndarray, points: np.ndarray, here: np.ndarray) -> bool:
        """Whether answers (n, t) to some rows are off by `_MUCH_WORSE` times those to the others, or more, for some target (nine in ten of either)."""
        for j in range(truth.shape[1]):
            good = np.isfinite(truth[:, j]) & np.isfinite(points[:, j])
            off = np.abs(scaled(points[:, j], truth[:, j]) - scaled(truth[:, j], truth[:, j]))
            if (good & here).any() and (good & ~here).any() and np.quantile(off[good & here], 0.9) > _MUCH_WORSE * np.quantile(off[good & ~here], 0.9):
                return True
        return False

    def _lacking(self, questions: Any) -> np.ndarray:
        """(n, columns) whether a row lacks a cell of those columns that rows of the table lacked."""
        columns = [c for c in self._values.get("lacking", ()) if c in questions.frame.columns]
        return np.column_stack([questions.frame[c].isna().to_numpy() for c in columns]) if columns else np.zeros((len(questions), 0), dtype=bool)

    def _rehearse_pairs(self, table: Table, candidates: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]]) -> None:
        """Who speaks about two values never seen together (`new_pairs`), and how far off that is: of pairs of columns for which a block could be held out. Of others, two words (two machines and two
        frameworks, three of the four pairs known) are answered by both, as unsure as products of factors are (`_PAIR_OFF`); of numbers, and of targets that are not positive, the usual answers stay, as unsure as about
        a value never seen of the one column or of the other, whichever is surer."""
        rng, kept, tried = np.random.default_rng(int(self._settings["seed"])), [], 0
        for pair in pairs:
            here = new_pairs.held(table.questions.frame, pair, rng)
            asked, rest = table.take(np.sort(rng.permutation(np.flatnonzero(here))[:_MOST_ASKED])), table.take(~here)
            if not here.any() or tried == _PAIRS_REHEARSED or any(np.isfinite(rest.targets[t]).sum() < 10 or np.ptp(rest.targets[t][np.isfinite(rest.targets[t])]) == 0 for t in self.targets):
                column = min((c for c in pair["columns"] if c in self._values["columns"]), key=lambda c: self._values["columns"][c]["off"], default="")
                if column:
                    words = all(isinstance(values[0], str) for values in pair["values"]) and all((truth[np.isfinite(truth)] > 0).all() for truth in table.targets.values())
                    kept.append({**pair, "off": self._remember_values(table, new_pairs.name(pair), [], _PAIR_OFF), "shares": {t: dict(_ASKED["pairs"]) for t in self.targets}} if words else
                                {**pair, "off": self._values["columns"][column]["off"], "as": column})
                continue
            tried += 1
            fresh = self._small(rest, self.targets, candidates)
            ask = self._with_own(pair, partial(self._plainly, fresh, {t: of_those(self._shares[t], fresh) for t in self.targets}))
            frame, truth = asked.questions.frame, np.column_stack([asked.targets[t] for t in self.targets])
            points = {"usual": ask(frame)}
            points["crossed"] = _filled(new_pairs.crossed(frame, pair, new_pairs.lacking(pair, frame), ask), points["usual"])
            shares = {t: _who(_ASKED["pairs"], truth[:, j], {name: p[:, j] for name, p in points.items()}) for j, t in enumerate(self.targets)}
            off = self._remember_values(table, new_pairs.name(pair), [(truth, mixed(points, shares, self.targets, self._counted))])
            kept.append({**pair, "off": off, "shares": shares})
        if kept:
            self._values["pairs"] = kept

    def _with_own(self, pair: Mapping[str, Any], ask: Callable[[Any], np.ndarray]) -> Callable[[Any], np.ndarray]:
        """`ask`, machines of the pair bringing what is their own (`newcomer.settled`)."""
        settled = {c: self._strangers.get(c, {}).get("settled", {}) for c in pair["columns"]}

        def asked(frame: Any) -> np.ndarray:
            for column, own in settled.items():
                frame = assigned(frame, {c: frame[column].astype(str).map({m: np.nan if v is None else v for m, v in values.items()}) for c, values in own.items() if c in frame})
            return ask(frame)

        return asked if any(settled.values()) else ask

    def _paired(self, questions: Any, blend: np.ndarray, ask: Callable[[Any], np.ndarray]) -> np.ndarray:
        """The answers (n, t), those to rows with two values never seen together by who speaks there; of several pairs by the first."""
        apart = self._never_together(questions)
        left = apart.any(1) & ~self._strange(questions).any(1) if apart.any() else np.zeros(len(blend), dtype=bool)
        for at, pair in enumerate(self._values.get("pairs", ()) if left.any() else ()):
            rows = np.flatnonzero(left & apart[:, at])
            if len(rows) and any("crossed" in shares for shares in pair.get("shares", {}).values()):
                frame = questions.frame.iloc[rows].reset_index(drop=True)
                said = {"usual": blend[rows], "crossed": _filled(new_pairs.crossed(frame, pair, new_pairs.lacking(pair), self._with_own(pair, ask)), blend[rows])}
                blend[rows] = mixed(said, pair["shares"], self.targets, self._counted)
            left &= ~apart[:, at]
        return blend

    def _remember_values(self, table: Table, column: str, found: Sequence[tuple[np.ndarray, np.ndarray]], untried: float = NEVER_REHEARSED) -> float:
        """Keeps what answers about values of the column were off by, `untried` where none were tried; the 90 % of that of the target that was answered worst (logarithms)."""
        worst_off = 0.0
        for j, t in enumerate(self.targets):
            positive = bool((table.targets[t][np.isfinite(table.targets[t])] > 0).all())
            each = [(y[good, j], p[good, j]) for y, p in found for good in [np.isfinite(y[:, j]) & np.isfinite(p[:, j]) & ((p[:, j] > 0) | (not positive))] if good.any()]
            if not each:
                truth = table.targets[t][np.isfinite(table.targets[t])]
                truth = truth[truth != 0.0] if (truth != 0.0).any() else truth
                if len(truth):  # of a target that is sometimes zero in its own unit; from the least to the most, in whatever order the table has them
                    truth = np.sort(truth)[np.linspace(0, len(truth) - 1, KEPT).round().astype(np.int64)]
                    self.rehearsed.setdefault(_VALUE + column, {})[t] = (truth, truth + (untried - 1.0) * np.abs(truth))
                    worst_off = max(worst_off, float(np.log(untried)) if positive else 0.0)
                continue
            off = [np.abs(np.log(p / y) if positive else p - y) for y, p in each]
            worst = int(np.argmax([np.quantile(o, 0.9) for o in off]))
            if positive and column in self._language_models and language_models.of_images(table.questions.frame[column]):  # what it is told by its name is little: networks of as many multiply-adds are apart by more than language models
                each[worst] = no_surer(*each[worst], NEVER_REHEARSED, len(each))
                off[worst] = np.abs(np.log(each[worst][1] / each[worst][0]))
            kept = np.argsort(off[worst], kind="stable")[np.linspace(0, len(off[worst]) - 1, KEPT).round().astype(np.int64)]
            self.rehearsed.setdefault(_VALUE + column, {})[t] = (each[worst][0][kept], each[worst][1][kept])
            worst_off = max(worst_off, float(np.quantile(off[worst], 0.9)) if positive else 0.0)
        return round(worst_off, 6)

    def _sorts(self, told: Mapping[str, Any]) -> list[str]:
        """The keys of `_ASKED` that the columns are of."""
        there = {self._sort_of(told, column) for column in told["columns"]}
        return [sort for sort in _ASKED if sort in there or (sort == "ends" and "numbers" in there)]

    def _plainly(self, fresh: Mapping[str, Any], shares: Mapping[str, Mapping[str, float]], frame: Any) -> np.ndarray:
        """(n, t) what members say together of the rows of a frame whose words were changed: what a model's name brings with it."""
        used = {name: member for name, member in fresh.items() if any(name in shares[t] for t in self.targets)}
        return self._mixed_of(used, shares, FeatureQuestions(language_models.widened(frame, self._language_models)))

    @property
    def _trees_alone(self) -> dict[str, dict[str, float]]:
        """Shares of trees by absolute error alone: of words never seen they know no less than a process, whose words are as far from one another as they come."""
        return {t: {"absolute": 1.0} for t in self.targets}

    @property
    def _asks_trees(self) -> bool:
        """Whether trees alone have a share about some value never seen."""
        return any("trees" in shares for each in self._values.get("shares", {}).values() for shares in each.values())

    def _valued(self, questions: Any, blend: np.ndarray, ask: Callable[[Any], np.ndarray], trees: Callable[[Any], np.ndarray]) -> np.ndarray:
        """The answers (n, t), those to rows with a value never seen by who speaks there."""
        new = self._strange(questions)
        rows = np.flatnonzero(new.any(1))
        if not len(rows):
            return blend
        frame, new = questions.frame.iloc[rows].reset_index(drop=True), new[rows]
        sorts, ends = np.array([self._sort_of(self._values, column) for column in self._values["columns"]]), new_values.beyond(frame, self._values, new)
        left = np.ones(len(new), dtype=bool)
        for sort, shares in self._values["shares"].items():  # a row that is new in several ways is answered by the first
            mine = left & (ends if sort == "ends" else new[:, sorts == sort].any(1))
            left &= ~mine
            wanted = {name for each in shares.values() for name in each}
            if not mine.any() or wanted == {"usual"}:
                continue
            part = frame[mine].reset_index(drop=True)
            said = {"usual": blend[rows[mine]]}
            if wanted & {"asked", "carried"}:
                said |= new_values.answered(part, self._values, new[mine], ask)
            if "trees" in wanted:
                said["trees"] = new_values.answered(part, self._values, new[mine], trees)["asked"]
            points = mixed(said, shares, self.targets, self._counted)
            if sort == "ends":
                points = self._carried_on(points, said, shares, new_values.octaves_beyond(part, self._values, new[mine])[1])
            blend[rows[mine]] = points
        return blend

    def _carried_on(self, points: np.ndarray, said: Mapping[str, np.ndarray], shares: Mapping[str, Mapping[str, float]], farther: np.ndarray) -> np.ndarray:
        """Answers (n, t) beyond the ends of columns. A step beyond, who carries a cost on has the share that the rehearsal gave; of the way that is `farther` than a step ((n,) its share of all) all of it, for those who
        answer as at the end tell nothing of several steps."""
        if "carried" not in said or not farther.any():
            return points
        ratio = said["carried"] / np.where(said["asked"] > 0, said["asked"], np.nan)
        lacking = np.array([1.0 - shares[t].get("carried", 0.0) for t in self.targets])
        good = np.isfinite(ratio) & (ratio > 0) & (points > 0)
        return np.where(good, points * np.where(good, ratio, 1.0) ** (lacking * farther[:, None]), points)

    def _sort_of(self, told: Mapping[str, Any], column: str) -> str:
        return "models" if column in self._language_models else new_values.sort_of(told, column)

    def _strange(self, questions: Any) -> np.ndarray:
        """(n, columns) whether a row has a value never seen of a column of few values, above which nobody else speaks."""
        if not self._values or not all(c in questions.frame.columns for c in self._values["columns"]):
            return np.zeros((len(questions), 0), dtype=bool)
        return new_values.strange(questions.frame, self._values, {**self._reach.get("columns", {}), **self._few})

    def _values_new(self, questions: Any) -> np.ndarray:
        """(n,) in how many columns a row's value is new; names of models not among them where their relatives answer."""
        new = self._strange(questions)
        return np.asarray(new[:, [at for at, column in enumerate(self._values.get("columns", ())) if column not in self._relatives]].sum(1) if new.shape[1] else np.zeros(len(new), dtype=np.int64))

    def _beyond_ends(self, questions: Any) -> np.ndarray:
        """(n,) octaves that a row's new numbers lie beyond those of their columns and a step more."""
        return new_values.octaves_beyond(questions.frame, self._values, self._strange(questions))[0]

    def _kinds_of_values(self, questions: Any) -> np.ndarray:
        """(n,) why a row lies beyond what was learned from, by the column whose value is new, of several the one about which answers were farthest off; "" where none is."""
        new, columns = self._strange(questions), self._values.get("columns", {})
        kinds = np.full(len(questions), "", dtype=object)
        if new.any():
            within = new & ~new_values.beyond_each(questions.frame, self._values, new) & np.column_stack(
                [new_values.widest(questions.frame, self._values, column) <= known["gap"] + 1e-6 if "between" in known else np.zeros(len(new), dtype=bool) for column, known in columns.items()])
            off = np.where(within, [known.get("between", 0.0) for known in columns.values()], [known["off"] for known in columns.values()])
            worst = np.where(new, off, -1.0).argmax(1)
            names = np.array([[_VALUE + column, _VALUE + column + _BETWEEN] for column in columns], dtype=object)
            kinds = np.where(new.any(1), names[worst, within[np.arange(len(new)), worst].astype(np.int64)], "").astype(object)
        apart, pairs = self._never_together(questions), self._values.get("pairs", ())
        lacks, off_of = self._lacking(questions), self._values.get("lacking", {})
        if lacks.any():
            names = np.array([_VALUE + c + _LACKS for c in off_of if c in questions.frame.columns], dtype=object)
            kinds = np.where((kinds == "") & lacks.any(1), names[np.where(lacks, [off_of[c] for c in off_of if c in questions.frame.columns], -1.0).argmax(1)], kinds)
        if apart.any():
            kinds = self._kinds_of_pairs(kinds, apart, pairs)
        rare = self._rare(questions)
        if rare.any():
            told = [each for each in self._values["rare"] if each[0] in questions.frame.columns]
            names = np.array([f"{_VALUE}{column} = {word}" for column, word, _ in told], dtype=object)
            kinds = np.where((kinds == "") & rare.any(1), names[np.where(rare, [off for _, _, off in told], -1.0).argmax(1)], kinds)
        return kinds

    def _kinds_of_pairs(self, kinds: np.ndarray, apart: np.ndarray, pairs: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """The kinds, with those of rows with two values never seen together."""
        names, off = np.array([_VALUE + pair.get("as", new_pairs.name(pair)) for pair in pairs], dtype=object), np.array([pair["off"] for pair in pairs])
        return np.where((kinds == "") & apart.any(1), names[np.where(apart, off, -1.0).argmax(1)], kinds)

    def _never_together(self, questions: Any) -> np.ndarray:
        """(n, pairs) whether a row has two values that are known, but not together."""
        pairs = self._values.get("pairs", ())
        if not all(column in questions.frame.columns for pair in pairs for column in pair["columns"]):
            return np.zeros((len(questions), 0), dtype=bool)
        return new_pairs.missing(questions.frame, pairs)


def _by_chance(frame: Any, column: str, every: Sequence[str]) -> bool:
    """Whether cells of a column are empty by chance: most rows that lack one are like some that have it, in their words and in what else they lack. Where they are not, a row that lacks one is of another sort (a pragma that a
    kernel has not)."""
    lacks = frame[column].isna().to_numpy()
    others = [c for c in every if c in frame and c != column]
    keys = pd.DataFrame({c: frame[c].isna().to_numpy() if pd.api.types.is_numeric_dtype(frame[c]) else frame[c].astype(str).to_numpy() for c in others}, index=range(len(frame)))
    key = pd.util.hash_pandas_object(keys, index=False).to_numpy() if others else np.zeros(len(frame), dtype=np.uint64)
    return bool(lacks.mean() < 0.5 and np.isin(key[lacks], key[~lacks]).mean() >= 0.5)


def _filled(points: Any, usual: Any) -> np.ndarray:
    """(n, t) points, the usual ones where there are none."""
    return np.where(np.isfinite(points), points, usual)


def _who(likely: Mapping[str, float], truth: np.ndarray, points: Mapping[str, np.ndarray]) -> dict[str, float]:
    """How much each way of asking counts about a value never seen: `_LIKELY` of it is what is likely beforehand, the rest who came nearest to (n,) truths."""
    good = np.isfinite(truth) & np.all([np.isfinite(p) for p in points.values()], axis=0)
    if good.sum() < 10:
        return dict(likely)
    y = scaled(truth[good], truth)
    share = best_shares(np.stack([scaled(p[good], truth) for p in points.values()]), y, 1.0 if is_logarithmic(truth) else np.inf)
    out = {name: _LIKELY * likely.get(name, 0.0) + (1.0 - _LIKELY) * float(w) for name, w in zip(points, share, strict=True)}
    return {name: w for name, w in out.items() if w > 0.0}


def no_surer(truth: np.ndarray, point: np.ndarray, factor: float, held: int) -> tuple[np.ndarray, np.ndarray]:
    """(truth, answers) with errors (logarithms) larger by so much that nine tenths of them are within what those of so many `held` say together with a `factor` that counts as `PRIOR` of them; never smaller."""
    error = np.log(point / truth)
    width = float(np.quantile(np.abs(error), 0.9))
    more = (held * width + PRIOR * np.log(factor)) / (held + PRIOR) - width
    return (truth, truth * np.exp(error + np.where(error < 0.0, -more, more))) if more > 0.0 else (truth, point)
