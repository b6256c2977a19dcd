"""Intervals that cover: split conformal prediction around any surrogate.

Residuals |log(truth / point)| of rows the inner surrogate never saw give, per target and stratum, the quantile that a new row's
residual stays below with probability `level` (Vovk; Lei et al. 2018; per stratum: Mondrian). A stratum with fewer than `least`
rows takes the quantile of all. Kinds of operator that `inner` tells apart have widths of their own, within a stratum, about machines never seen and beyond all sizes, where there are rows enough. Where the members of an ensemble disagree more, answers are less sure: residuals over (a base + how far the members lie apart) are tried
beside plain ones, and kept where that makes intervals narrower at equal coverage. Rows that share a workload are not independent; the split keeps workloads whole, and coverage is
measured on unseen workloads. Where the groups of rows are told, it is K groups that answers were tried on, not n rows: the quantile is that at level (K + 1) / K of the rows
(Dunn, Wasserman and Ramdas 2023, on two layers of sampling), but never wider than what would have held `level` of every group's rows; a stratum of fewer groups than `level`
asks for is as wide as all are, or wider.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..datasets.errors import FormatError, TableError
from ..datasets.table import OpQuestions, Questions, Table
from ..features import corners, own_sizes, word_pairs
from ..features.device import named_machine
from . import word_rehearsal
from .base import Surrogate
from .prediction import Prediction
from .size_rehearsal import CORNER, Tried

#: multiples of the median spread that are tried as base, how narrow intervals must become, and rows below which plain residuals do
_BASES, _NARROWER, _LEAST_TO_SCALE = (0.25, 0.5, 1.0, 2.0, 4.0), 0.97, 200
#: between the names of a stratum and a kind, and rows of a kind from which a rehearsal tells its width
_BETWEEN, _LEAST_OF_KIND = " / ", 50
#: widths about machines never seen where none could be held out, over those about known ones (assumption); and the least of them (logarithm): of pairs of machines in open tables of operators, fitted on the one and asked about
#: the other, four in five have nine tenths of their rows within that factor (`benchmarks/never_rehearsed.py --operators`)
_NEVER_REHEARSED, _LEAST_NEVER_REHEARSED = 2.0, math.log(2.2)
#: the widest of K machines held out holds the next one K times in K + 1: from so many on as often as the factor above does, four times in five; with fewer the width lies between the two
_ENOUGH_MACHINES = 4
#: least width about a machine no catalogue knows where all that were learned have figures, so that no rehearsal speaks of it (logarithm): of pairs of machines that nobody's catalogue knows four in five have
#: nine tenths of their rows within that factor (`benchmarks/never_rehearsed.py`, "machines, nobody's")
_NOBODY = math.log(5.4)
#: least width about a word never seen where none of its column could be held out (logarithm): over columns of words of open tables, four in five have nine tenths of the rows of four pairs in five within that
#: factor (`benchmarks/never_rehearsed.py`, "words"); where fewer than so many were held out the width lies between the two, as about machines
_NEVER_HEARD, _ENOUGH_WORDS = math.log(6.0), 4
#: and about a machine and a word never seen together, where no pair could be held out: half of it (assumption)
_NEVER_TOGETHER = 0.5 * _NEVER_HEARD
#: rows from which a small stratum's own errors may make it wider, and how many times the usual width they must ask for (assumptions)
_LEAST_OF_FEW, _MUCH_WORSE = 4, 1.5
#: widths beyond a size, and in a corner, that could not be held out, over those within, at least: of cuts of small open tables of operators, the largest values of one size held out, or the corners, nine tenths of the rows of four in
#: five lie within so many times the usual width (`benchmarks/never_rehearsed.py --sizes`); and octaves beyond up to which that holds (assumption)
_NEVER_BEYOND, _NEVER_CORNERED, _USUAL_OCTAVES = 1.6, 2.0, 1.0
#: rows of one size held out that tell half of its width (assumption)
_HALF_TOLD = 50


class Conformal:
    """`inner` with calibrated intervals at `level`. Uncalibrated, it answers like `inner`, with level 0."""

    name = "conformal"

    def __init__(self, inner: Surrogate, level: float = 0.9, least: int = 100) -> None:
        if not 0.5 <= level < 1.0:
            raise TableError(f"conformal: level must be in [0.5, 1), got {level}")
        self.inner, self.level, self.least = inner, level, least
        self._width: dict[str, dict[str, float]] = {}
        self._known: tuple[str, ...] = ()
        self._strangers: dict[str, float] = {}
        self._stretch = 1.0  # of the widths about machines never seen
        self._far: dict[str, float] = {}
        self._sizes: dict[str, Any] = {}  # what sizes of operators were reached, and the widths beyond each and in their corners
        self._few: dict[str, dict[str, float]] = {}  # least widths of strata of few rows
        self._words: dict[str, Any] = {}  # words of operators' columns that were learned, and the widths about others
        self._heard: word_rehearsal.Heard | None = None  # the same, to look at questions by
        self._base: dict[str, float] = {}  # of targets whose widths are factors of (base + spread)
        self._scale: dict[str, str] = {}
        self._expected: dict[str, Callable[[], Any]] = {}  # what rehearsals told: widths follow from it and from those about what is known

    @property
    def targets(self) -> tuple[str, ...]:
        """What `inner` answers."""
        return self.inner.targets

    @property
    def shape(self) -> str:
        """The shape of questions `inner` takes."""
        return self.inner.shape

    def fit(self, table: Table, valid: Table | None = None) -> Self:
        """Fits `inner`; intervals come from `conformalize`."""
        self.inner = self.inner.fit(table, valid)
        return self

    def conformalize(self, *tables: Table) -> Self:
        """Calibrates on rows of `tables` that `inner` has not seen; raises TableError with fewer answered rows than `level` needs (9 for 0.9, 99 for 0.99;
        never fewer than 10): no finite width covers with that probability then."""
        parts = [self.inner.predict(table.questions) for table in tables]
        names = list(enumerate(self.targets))
        truth = {name: np.concatenate([table.targets.get(name, np.full(len(table), np.nan)) for table in tables]) for name in self.targets}
        spread = {} if any(p.spread is None for p in parts) else {name: np.concatenate([np.asarray(p.spread)[:, j] for p in parts]) for j, name in names}
        kinds = [k for table in tables if (k := self._kinds(table.questions)) is not None]
        return self.calibrate_from(np.concatenate([table.questions.strata for table in tables]), {name: (truth[name], np.concatenate([p.point[:, j] for p in parts])) for j, name in names}, spread,
                                   np.concatenate(kinds) if len(kinds) == len(tables) else None, np.concatenate([table.groups for table in tables]) if self.shape == "features" else None)

    def _kinds(self, questions: Questions) -> np.ndarray | None:
        return self.inner.kinds(questions) if hasattr(self.inner, "kinds") else None

    def calibrate_from(self, strata: np.ndarray, scored: Mapping[str, tuple[np.ndarray, np.ndarray]], spread: Mapping[str, np.ndarray] | None = None,
                       kinds: np.ndarray | None = None, groups: np.ndarray | None = None) -> Self:
        """Calibrates on answers given elsewhere: out-of-fold ones, say, of models fitted as `inner` was.

        `strata`: (n,) labels. `scored`: each target of `inner` -> its (n,) truth and (n,) point in SI, NaN where there is none; the points
        must come from models that never saw those rows. `spread`: how far the members that gave them lie apart, (n,) in nats. `kinds`: (n,) labels of what widths may differ by
        within a stratum. `groups`: (n,) labels of rows that are right or wrong together. Raises TableError as `conformalize` does, and for a target left out.
        """
        missing = [name for name in self.targets if name not in scored and name not in self.classes]
        if missing:
            raise TableError(f"conformal: no answers to calibrate {missing[0]!r} on; got {', '.join(scored) or 'none'}, expected {', '.join(self.targets)}")
        labels = np.asarray(strata).astype(str)
        needed = self.needed
        finer = None if kinds is None or len(np.unique(kinds)) < 2 else _pairs(labels, kinds)
        width: dict[str, dict[str, float]] = {}
        few: dict[str, dict[str, float]] = {}
        scale: dict[str, str] = {}
        base: dict[str, float] = {}
        for name in self.targets:
            if name in self.classes:  # a probability brings its own low and high
                continue
            truth, point = scored[name]
            good = np.isfinite(truth) & np.isfinite(point)
            if good.sum() < needed:
                raise TableError(f"conformal: {int(good.sum())} answered rows of {name!r} are too few to calibrate at level {self.level:g}; {needed} are the least")
            scale[name] = "log" if (truth[good] > 0).all() and (point[good] > 0).all() else "count" if (truth[good] >= 0).all() else "plain"
            score = np.abs(np.log(truth[good] / point[good])) if scale[name] == "log" else np.abs(truth[good] - point[good])
            of_group = None if groups is None else np.asarray(groups).astype(str)[good]
            if scale[name] == "log" and spread is not None and name in spread:
                found = self._helps(score, spread[name][good], labels[good], of_group)
                if found is not None:
                    base[name] = found
                    score = score / (found + spread[name][good])
            width[name] = self._widths(score, labels[good], of_group)
            few[name] = self._of_few(width[name][""], score, labels[good])
            if finer is not None and kinds is not None:
                of_kind = _pairs(np.full(len(labels), "", dtype=object), kinds)
                width[name] |= {k: w for each in (of_kind, finer) for k, w in self._widths(score, each[good], of_group).items() if k}
        self._width, self._scale, self._base, self._few = width, scale, base, {name: each for name, each in few.items() if each}
        for expect in list(self._expected.values()):
            expect()
        return self

    def _widths(self, score: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> dict[str, float]:
        rows = {s: labels == s for s in np.unique(labels)}
        rows = {s: r for s, r in rows.items() if r.sum() >= max(self.least, self.needed)}
        if groups is None:
            return {"": self._quantile(score), **{s: self._quantile(score[r]) for s, r in rows.items()}}
        every = self._of_groups(score, groups)
        return {"": every, **{s: self._of_groups(score[r], groups[r]) if len(np.unique(groups[r])) >= self.needed else max(every, self._quantile(score[r])) for s, r in rows.items()}}

    def _of_few(self, every: float, score: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Least widths of strata of too few rows for one of their own that are off by much more than all are (`every`): what held their own rows (of less than `needed`, every one of them)."""
        names, count = np.unique(labels, return_counts=True)
        out = {}
        for name in names[(count >= _LEAST_OF_FEW) & (count < max(self.least, self.needed))]:
            own = score[labels == name]
            asked = self._quantile(own) if len(own) >= self.needed else float(own.max())
            if asked > _MUCH_WORSE * every:
                out[str(name)] = asked
        return out

    def _of_groups(self, score: np.ndarray, groups: np.ndarray) -> float:
        """The width for a row of a group never seen, from (n,) scores of rows of K groups."""
        _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        rank = math.ceil(round(len(score) * min(self.level * (len(sizes) + 1) / len(sizes), 1.0), 9))
        if len(sizes) == len(score):
            return float(np.sort(score)[rank - 1])
        order = np.lexsort((score, group))
        enough = np.minimum(np.ceil(np.round((sizes + 1) * self.level, 9)).astype(np.int64), sizes)
        return float(min(np.sort(score)[rank - 1], max(score[order[np.cumsum(sizes) - sizes + enough - 1]].max(), self._quantile(score))))

    def _helps(self, score: np.ndarray, spread: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> float | None:
        """The base that makes intervals narrowest on one half when set by the other, at least `_NARROWER` than plain ones; None where none does."""
        if len(score) < _LEAST_TO_SCALE or not np.isfinite(spread).all():
            return None
        _, whole = np.unique(np.arange(len(score)) if groups is None else groups, return_inverse=True)
        first = (np.random.default_rng(0).random(int(whole.max()) + 1) < 0.5)[whole]
        if min(first.sum(), (~first).sum()) < self.needed:
            return None

        def wide(unit: np.ndarray) -> float:
            each = []
            for one, other in ((first, ~first), (~first, first)):
                widths = self._widths((score / unit)[one], labels[one], None if groups is None else groups[one])
                each.append(np.array([widths.get(s, widths[""]) for s in labels[other]]) * unit[other])
            return float(np.mean(np.concatenate(each)))

        tried = {base: wide(base + spread) for base in np.median(spread) * np.array(_BASES)}
        best = min(tried, key=lambda b: tried[b])
        return float(best) if best > 0 and tried[best] < _NARROWER * wide(np.ones(len(score))) else None

    def expect_strangers(self, known: Sequence[str], scored: Mapping[str, tuple[np.ndarray, np.ndarray]], held: np.ndarray | None = None, kinds: np.ndarray | None = None) -> Self:
        """Widths for strata not in `known` (machines never trained on), from a rehearsal with strata held out: each target -> its (n,) truth
        and (n,) point in SI; `held`: (n,) labels of what was held out, and the widest of their widths counts: the next machine may be as odd as the oddest. `kinds`: (n,) labels; those with
        rows enough have widths of their own. Nothing rehearsed: twice the
        widths about what is known, and no less than `_LEAST_NEVER_REHEARSED` of operators; of fewer than `_ENOUGH_MACHINES` machines, the fewer the nearer to that. Of a target whose truth is not positive throughout they are in its own unit, as all of its widths are."""
        self._expected["strangers"] = partial(self.expect_strangers, known, scored, held, kinds)
        self._known = tuple(known)
        each = [self._rehearsed({t: (truth[at], point[at]) for t, (truth, point) in scored.items()}, None if kinds is None else kinds[at])
                for label in np.unique(held) for at in [held == label]] if held is not None else []
        self._strangers = {t: max([width, *(e[t] for e in each if t in e)]) for t, width in self._rehearsed(scored, kinds).items()}
        self._stretch = 1.0 if scored else _NEVER_REHEARSED
        if self.shape == "op":
            # without `held` nobody says of how many machines `scored` is: then it is taken as it is
            logs = [name for name, scale in self._scale.items() if scale == "log" and (held is not None or not scored)]
            untold = {name: max(1.0 - sum(name in e for e in each) / _ENOUGH_MACHINES, 0.0) for name in logs}
            found = {name: _LEAST_NEVER_REHEARSED for name in logs if untold[name] > 0.0} | self._strangers
            self._strangers = {key: width + untold.get(self._target_of(key), 0.0) * max(_LEAST_NEVER_REHEARSED - width, 0.0) for key, width in found.items()}
        return self

    def expect_far(self, scored: Mapping[str, tuple[np.ndarray, np.ndarray]], kinds: np.ndarray | None = None, apart: Sequence[str] = ()) -> Self:
        """Widths for questions that `inner.beyond` says lie beyond all it was trained on (larger sizes), from a rehearsal with the largest ones held out: as
        for `expect_strangers`. What lies beyond was tried once only, one cut of one table: a kind that did well there is as unsure as half way (in logarithms) from its own width to that of all. Kinds `apart` have
        no part in that of all, where there are others."""
        self._expected["far"] = partial(self.expect_far, scored, kinds, apart)
        found = self._rehearsed(scored, kinds)
        if kinds is not None and len(apart) and not (own := np.isin(kinds.astype(str), apart)).all():
            found |= self._rehearsed({t: self._enough(truth[~own], point[~own]) for t, (truth, point) in scored.items()})
        self._far = {key: max(width, math.sqrt(width * found[name])) for name in scored for key, width in found.items() if key == name or key.startswith(f"{name}/")}
        return self

    def _enough(self, truth: np.ndarray, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Answers and what they should have been, each as often as it takes for a width; no fewer rows than are given."""
        good = np.flatnonzero(np.isfinite(truth) & np.isfinite(point))
        good = good[np.linspace(0, len(good) - 1, max(len(good), self.needed)).round().astype(np.int64)] if len(good) else good
        return truth[good], point[good]

    def expect_sizes(self, reached: Mapping[str, Any], tried: Mapping[str, Tried], corner_alone: bool = False, own: Mapping[str, Any] | None = None) -> Self:
        """Widths for operators beyond what was `reached` (`corners.known`) in one size, or in several together (`corner_alone`: in several together alone), from rehearsals with the largest values of each size held out, and with
        the corners. The fewer rows a size was tried on, the more its width is that of all (in logarithms); one that could not be held out is as unsure as all are, and no less than `_NEVER_BEYOND` times (a corner `_NEVER_CORNERED`) what is known. `own`: sizes at which
        single machines end (`own_sizes.known`): beyond them all is as beyond the table's."""
        self._expected["sizes"] = partial(self.expect_sizes, reached, tried, corner_alone, own)
        widths: dict[str, dict[str, float]] = {}
        for name in self._scale:
            scores = {sort: score for sort, each in tried.items() if (score := self._scores(name, *each.scored[name])) is not None}
            least = self._least(name)
            every = max(self._quantile(np.concatenate(list(scores.values()))), least) if scores else 0.0
            told = {sort: len(score) / (len(score) + _HALF_TOLD) for sort, score in scores.items()}
            widths[name] = {"": every, **{sort: max(float(np.quantile(score, self.level)), least) ** told[sort] * every ** (1.0 - told[sort]) for sort, score in scores.items()}}
        self._sizes = {"reached": dict(reached), "widths": widths, "octaves": {sort: each.octaves for sort, each in tried.items()}, "corner_alone": corner_alone, **({"own": dict(own)} if own else {})}
        return self

    def expect_words(self, learned: Mapping[str, Sequence[str]], tried: Mapping[str, Sequence[Mapping[str, tuple[np.ndarray, np.ndarray]]]], together: Mapping[str, Sequence[str]] | None = None,
                     met: Sequence[Mapping[str, Any]] = ()) -> Self:
        """Widths for operators with a word that none of those `learned` is (column -> words, `word_rehearsal.known`), or whose word and machine were never `together` (`word_rehearsal.pairs`), nor two of its words (`met`: `word_pairs.known`), from rehearsals with words and
        pairs of machine and word held out: the widest of a column's counts. Of fewer than `_ENOUGH_WORDS`, the fewer the nearer to `_NEVER_HEARD` (pairs: `_NEVER_TOGETHER`)."""
        self._expected["words"] = partial(self.expect_words, learned, tried, together, met)
        widths: dict[str, dict[str, float]] = {}
        for name, scale in self._scale.items():
            for column in (*learned, *([word_rehearsal.TOGETHER] if together else ())) if scale == "log" else ():
                each = [self._quantile(score) for part in tried.get(column, ()) if (score := self._scores(name, *part[name])) is not None]
                width, untold = max(each, default=0.0), max(1.0 - len(each) / _ENOUGH_WORDS, 0.0)
                never = _NEVER_TOGETHER if column == word_rehearsal.TOGETHER else _NEVER_HEARD
                widths.setdefault(name, {})[column] = width + untold * max(never - width, 0.0)
        self._words = {"learned": {column: list(each) for column, each in learned.items()}, "widths": widths, "together": {column: list(each) for column, each in (together or {}).items()}, **({"met": [dict(each) for each in met]} if met else {})}
        self._heard = word_rehearsal.Heard(learned, together or {})
        return self

    def beyond_sizes(self, questions: Questions) -> dict[str, np.ndarray]:
        """Size, or corner -> (n,) octaves that operators lie beyond what was reached; without those that none lies beyond."""
        if not self._sizes or not isinstance(questions, OpQuestions):
            return {}
        reached = self._sizes["reached"]
        over = {CORNER: corners.together(questions.ops, reached), **({} if self._sizes["corner_alone"] else corners.beyond(questions.ops, reached))}
        over = own_sizes.merged(over, own_sizes.beyond(questions.ops, own_sizes.labels(questions) if self._sizes.get("own") else (), self._sizes.get("own", {})))
        return {sort: far for sort, far in over.items() if far.any()}

    def _widened(self, name: str, width: np.ndarray, beyond: Mapping[str, np.ndarray]) -> np.ndarray:
        """(n,) widths beyond the sizes reached, by the size that makes them widest: up to the octaves rehearsed with their root, as a random walk goes astray, and beyond these what was learned counts half as much with every octave (assumptions)."""
        told, out = self._sizes["widths"].get(name), width
        for sort, far in beyond.items() if told else ():
            tried = self._sizes["octaves"].get(sort, _USUAL_OCTAVES)
            there = np.maximum(width, told[sort]) if sort in told else np.maximum(width * (_NEVER_CORNERED if sort == CORNER else _NEVER_BEYOND), told[""])
            grown = (width + np.sqrt(np.minimum(far / tried, 1.0)) * (there - width)) * (2.0 - 2.0 ** -np.maximum(far - tried, 0.0))
            out = np.where(far > 0.0, np.maximum(out, grown), out)
        return out

    def _rehearsed(self, scored: Mapping[str, tuple[np.ndarray, np.ndarray]], kinds: np.ndarray | None = None) -> dict[str, float]:
        """Target -> width, and "target/kind" -> width for kinds with rows enough."""
        out = {}
        for name, (truth, point) in scored.items():
            score = self._scores(name, truth, point)
            if score is not None:
                out[name] = max(self._quantile(score), self._least(name))
                labels = kinds[np.isfinite(truth) & np.isfinite(point)].astype(str) if kinds is not None else np.zeros(0, dtype=str)
                for kind in np.unique(labels) if len(np.unique(labels)) > 1 else ():
                    if (labels == kind).sum() >= max(_LEAST_OF_KIND, self.needed):
                        own = 0.0 if name in self._base else max([w for k, w in self._width[name].items() if k.endswith(_BETWEEN + kind)], default=0.0)
                        out[f"{name}/{kind}"] = max(self._quantile(score[labels == kind]), own)
        return out

    def _scores(self, name: str, truth: np.ndarray, point: np.ndarray) -> np.ndarray | None:
        """How far off answers with a truth were, as widths are told; None where they are too few, or not positive as they should be."""
        good = np.isfinite(truth) & np.isfinite(point)
        log = self._scale.get(name) == "log"
        if name not in self._scale or good.sum() < self.needed or (log and not ((truth[good] > 0).all() and (point[good] > 0).all())):
            return None
        return np.abs(np.log(truth[good] / point[good])) if log else np.abs(truth[good] - point[good])

    def _target_of(self, key: str) -> str:
        """The target of a key that is a target's name, or one and "/" and a kind."""
        return max((name for name in self._scale if key == name or key.startswith(f"{name}/")), key=len)

    def _least(self, name: str) -> float:
        """The width that rehearsals never fall below: that among what is known."""
        return 0.0 if name in self._base else max(w for k, w in self._width[name].items() if _BETWEEN not in k)

    @property
    def classes(self) -> tuple[str, ...]:
        """The targets `inner` answers as probabilities: they keep the low and high it gives them."""
        return tuple(getattr(self.inner, "classes", ()))

    @property
    def needed(self) -> int:
        """The least rows to calibrate on: those with ceil((rows + 1) level) <= rows, and never fewer than 10."""
        return max(10, math.ceil(round(self.level / (1.0 - self.level), 9)))

    def _quantile(self, score: np.ndarray) -> float:
        rank = math.ceil(round((len(score) + 1) * self.level, 9))  # rounded: 0.7 x 10 is not 7.000000000000001
        return float(np.sort(score)[rank - 1])

    def predict(self, questions: Questions) -> Prediction:
        """`inner`'s points with low and high at `level`."""
        bare = self.inner.predict(questions)  # says what is wrong with the questions, before anything else looks at them
        far = self.inner.beyond(questions) if self._far and hasattr(self.inner, "beyond") else None
        return self.around(bare, questions.strata, far, self._kinds(questions), self.beyond_sizes(questions), self._unheard_of(questions), self._new_words(questions))

    def _new_words(self, questions: Questions) -> dict[str, np.ndarray]:
        if self._heard is None or not isinstance(questions, OpQuestions):
            return {}
        out = self._heard.new(questions)
        for _, apart in word_pairs.new(questions, self._words.get("met", ())):
            out[word_rehearsal.TOGETHER] = apart | out.get(word_rehearsal.TOGETHER, np.zeros(len(questions), dtype=bool))
        return out

    def _unheard_of(self, questions: Questions) -> np.ndarray | None:
        """(n,) whether a machine has no figures, where machines that were learned have them; None where there is no such row."""
        if not isinstance(questions, OpQuestions) or all(device is not None for device in questions.devices) or not any(named_machine(name) for name in self._known):
            return None
        return np.array([device is None for device in questions.devices])[questions.device_index]

    def around(self, bare: Prediction, strata: np.ndarray, far: np.ndarray | None = None, kinds: np.ndarray | None = None, beyond: Mapping[str, np.ndarray] | None = None,
               unheard_of: np.ndarray | None = None, words: Mapping[str, np.ndarray] | None = None) -> Prediction:
        """n answers of `inner`'s targets with low and high at `level`; `strata`: (n,) labels; `far`: (n,) how far they lie beyond all that was
        trained on: 0 within, 1 where that was rehearsed, more beyond, as factors of the width; `kinds`: (n,) labels, as calibrated with; `beyond`: as `beyond_sizes` tells; `unheard_of`: (n,) whether nobody's catalogue knows
        the machine, while those learned are known; `words`: column -> (n,) whether its word was never learned. Uncalibrated, they come back as they are."""
        if not self._width and not self.classes:
            return bare
        strata = np.asarray(strata).astype(str)
        low, high = bare.point.copy(), bare.point.copy()
        for j, name in enumerate(self.targets):
            if name not in self._width:
                low[:, j], high[:, j] = bare.low[:, j], bare.high[:, j]
                continue
            widths = self._width[name]
            stranger = self._of_kind(self._strangers, name, kinds, len(strata))
            width, few = np.array([widths.get(s, widths[""]) for s in strata], dtype=np.float64), self._few.get(name)
            if kinds is not None and any(_BETWEEN in k for k in widths):
                # a kind of which a stratum has too few rows is as unsure as it is elsewhere, or as the stratum
                width = np.array([widths.get(pair, max(w, widths.get(f"{_BETWEEN}{k}", 0.0))) for pair, k, w in zip(_pairs(strata, kinds), kinds, width, strict=True)], dtype=np.float64)
            if few:
                width = np.maximum(width, [few.get(s, 0.0) for s in strata])
            if name in self._base:
                # an answer without a spread (no members, or one that is not positive) is as unsure as they come
                width = width * (self._base[name] + _told(bare.spread[:, j] if bare.spread is not None else np.full(len(strata), np.nan)))
            if stranger is not None or self._stretch > 1.0:
                width = np.where(np.isin(strata, self._known), width, np.maximum(width * self._stretch, 0.0 if stranger is None else stranger))
            if unheard_of is not None and self._scale[name] == "log":
                width = np.where(unheard_of & ~np.isin(strata, self._known), np.maximum(width, _NOBODY), width)
            for column, new in (words or {}).items():
                width = np.where(new, np.maximum(width, self._words["widths"].get(name, {}).get(column, 0.0)), width)
            reached = self._of_kind(self._far, name, kinds, len(strata))
            if far is not None and reached is not None:
                width = np.where(far > 0.0, np.maximum(width, reached) * np.maximum(far, 1.0), width)
            if beyond:
                width = self._widened(name, width, beyond)
            if self._scale[name] == "log":
                low[:, j], high[:, j] = bare.point[:, j] * np.exp(-width), bare.point[:, j] * np.exp(width)
            else:
                low[:, j], high[:, j] = bare.point[:, j] - width, bare.point[:, j] + width
                if self._scale[name] == "count":  # never negative in calibration: no interval reaches below zero
                    low[:, j] = np.minimum(np.maximum(low[:, j], 0.0), bare.point[:, j])
        return replace(bare, low=low, high=high, level=self.level)

    def _of_kind(self, widths: Mapping[str, float], name: str, kinds: np.ndarray | None, count: int) -> np.ndarray | None:
        """(n,) the width of each row's kind, or of all; None where the target has none."""
        if name not in widths:
            return None
        return np.array([widths.get(f"{name}/{k}", widths[name]) for k in kinds] if kinds is not None else [widths[name]] * count, dtype=np.float64)

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """The widths, and all of `inner`."""
        spec, files = self.inner.weights()
        return {"inner": self.inner.name, "inner_spec": spec, "level": self.level, "least": self.least, "width": self._width, "scale": self._scale,
                "known": list(self._known), "strangers": self._strangers, "far": self._far, "base": self._base, **({"stretch": self._stretch} if self._stretch != 1.0 else {}), **({"sizes": self._sizes} if self._sizes else {}),
                **({"words": self._words} if self._words else {}), **({"few": self._few} if self._few else {})}, files

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path, member: Callable[[str], Any]) -> Self:
        """The inverse of `weights`."""
        out = cls(member(spec["inner"]).from_weights(spec["inner_spec"], files, folder, member), spec["level"], spec["least"])
        out._width = {t: dict(w) for t, w in spec["width"].items()}
        out._known, out._strangers, out._far = tuple(spec["known"]), dict(spec["strangers"]), dict(spec["far"])
        out._scale, out._base, out._stretch = dict(spec["scale"]), dict(spec["base"]), float(spec.get("stretch", 1.0))
        out._sizes = dict(spec.get("sizes", {}))
        if out._sizes and not (set(out._sizes) - {"own"} == {"reached", "widths", "octaves", "corner_alone"} and all(isinstance(out._sizes[part], dict) for part in ("reached", "widths", "octaves"))):
            raise FormatError(f"{folder}: widths beyond sizes: expected reached, widths, octaves and corner_alone, got {', '.join(out._sizes)}")
        out._words = dict(spec.get("words", {}))
        if out._words and not (set(out._words) - {"met"} == {"learned", "widths", "together"} and all(isinstance(part, list if name == "met" else dict) for name, part in out._words.items()) and "dtype" in out._words["learned"]):
            raise FormatError(f"{folder}: widths about words: expected learned (with dtype), widths and together, got {', '.join(out._words)}")
        out._heard = word_rehearsal.Heard(out._words["learned"], out._words["together"]) if out._words else None
        out._few = {name: dict(each) for name, each in spec.get("few", {}).items()}
        return out


def _pairs(strata: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """(n,) names of a stratum and a kind together."""
    return np.array([f"{s}{_BETWEEN}{k}" for s, k in zip(strata, kinds, strict=True)], dtype=object)


def _told(spread: np.ndarray) -> np.ndarray:
    """(n,) spreads, a nat where there is none: each row by itself, whatever its neighbours are."""
    return np.where(np.isfinite(spread), spread, 1.0)
