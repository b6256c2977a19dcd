"""How a language model never seen is served: trees that learned what real systems take over what the machine needs at the least.

Members of a blend see a model's figures as columns, and draw what they like beyond those of the table. Here a target is learned as a ratio to one estimate of `served_models` after the
other, and as it is, from columns that mean the same for every model; the answer is the geometric mean, for no single estimate says what a queue and a scheduler make of it. Half of it is what a sum of
terms says whose weights the table teaches (`added_times`): by itself, and with what trees make of its ratio to the truth. A throughput is learned as its reciprocal, the time that one of what it
counts takes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from ..datasets.errors import FormatError, TableError
from ..datasets.table import FeatureQuestions, Table
from ..features import served_models
from .added_times import AddedTimes
from .boosted import Boosted

#: the estimates that a target is learned as a ratio to; "" for the target as it is
_LEARNED = ("", "step", "prefill", "whole")
#: of throughputs: what their reciprocal is learned as a ratio to (`served_models.counted`), and the terms of it that are seconds without any weight
_COUNTS, _SECONDS = ("", "token", "request", "out"), ("weights", "cache", "products", "prompts")
#: names of members about throughputs begin so
_OVER = "1/"
#: small trees: a table has few models, and each is one example of what is learned
_TREES: Mapping[str, Any] = {"trees": 120, "leaves": 15, "rate": 0.1, "min_leaf": 15, "column_share": 0.7, "objective": "regression", "threads": 1}
#: rounds after which it is told which sum a target is
_ROUNDS_TRIED = 30

#: what columns begin with that estimates are made of
_MADE = "served."
#: targets that are times, by their names
_TIME = re.compile(r"(?<!tok)(?<!token)(?<!tokens)(?<!req)(?<!requests)(?<!samples)(?<!images)(?<!per)_s$")
#: targets that count requests or tokens per second
_RATE = re.compile(r"(tok|tokens|req|requests|samples)(_per)?_s$|(token|request|sample)_per_s$|throughput")
#: names that say they are times, whatever they end in ("time_per_output_token_s", "seconds_per_request_s")
_SAID_TIME = re.compile(r"(time|latency|seconds).*_s$|(^|_)per_(output_)?(token|request|sample)_s$")


class Served:
    """Answers in SI to rows of a plain table with a column of language models, about those targets that are times or throughputs. `said`: what its columns say (`served_models.roles`); `names`: every
    column of models, none of which is seen but through the estimates."""

    def __init__(self, targets: Sequence[str], said: Mapping[str, str], names: Sequence[str], seed: int) -> None:
        self.targets, self._said, self._names, self._seed = tuple(targets), dict(said), tuple(names), seed
        self.rates = tuple(t for t in targets if _RATE.search(t) and not _SAID_TIME.search(t))
        self.times = tuple(t for t in targets if (_TIME.search(t) or _SAID_TIME.search(t)) and t not in self.rates)
        #: those it answers
        self.answered = tuple(t for t in targets if t in (*self.times, *self.rates))
        self._members: dict[str, Boosted] = {}
        #: target -> which terms it is a sum of, that sum, and trees that learned the ratio to it; empty in a model saved before there were any
        self._sums: dict[str, tuple[str, AddedTimes, Boosted]] = {}

    @classmethod
    def of(cls, table: Table, column: str, names: Sequence[str], targets: Sequence[str], seed: int) -> Self | None:
        """The unfitted one for a table, None where its columns do not say how models are served, a time is not positive throughout, or no target is a time or a throughput that is."""
        out = cls(targets, served_models.roles(table.questions.frame, column), names, seed)
        return out if out._said and out.answered and set(out.times) <= (positive := _positive(table, out.answered)) and positive else None

    def fit(self, table: Table) -> Self:
        """Learns from the rows whose model and machine are known."""
        self._learn(table, self.times, False)
        self._learn(table, self.rates, True)
        return self

    def _learn(self, table: Table, targets: tuple[str, ...], over: bool) -> None:
        """Times, or throughputs (`over`), those that are positive throughout."""
        targets = tuple(t for t in targets if t in _positive(table, targets))
        if not targets:
            return
        made, parts = self._made(table.questions.frame, over)
        known = np.all([np.isfinite(v) for v in made.values()], axis=0)
        if known.sum() < 2 * int(_TREES["min_leaf"]):
            return
        part = table.take(known)
        part = replace(part, targets={t: 1.0 / part.targets[t] if over else part.targets[t] for t in targets})
        seen = self._seen(part.questions.frame, parts[known])
        for name in _COUNTS if over else _LEARNED:
            rows = replace(part, questions=FeatureQuestions(seen), targets={t: part.targets[t] / (made[name][known] if name else 1.0) for t in targets})
            if all(len(np.unique(v[np.isfinite(v)])) > 1 for v in rows.targets.values()):
                self._members[_OVER * over + name] = Boosted(targets=targets, seed=self._seed, **_TREES).fit(rows)
        for target in targets:
            self._sum(part.take(np.isfinite(part.targets[target])), target)

    def _made(self, frame: pd.DataFrame, over: bool) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
        """Estimates of times, or of reciprocals of throughputs, and what they are made of."""
        made, parts = served_models.estimates(frame, self._said, over)
        return ({n: t[list(_SECONDS)].sum(axis=1, skipna=False).to_numpy() for n, t in served_models.counted(frame, self._said).items()} if over else made), parts

    def _every(self, frame: pd.DataFrame, target: str) -> dict[str, pd.DataFrame]:
        """The sums that a target, or its reciprocal, may be."""
        return served_models.counted(frame, self._said) if target in self.rates else served_models.terms(frame, self._said)

    def _sum(self, part: Table, target: str) -> None:
        """Learns the target as the sum that its rows follow best: of a token, of the first one, or of a whole answer, or of what a throughput counts."""
        frame, truth = part.questions.frame, part.targets[target]
        own, groups = self._own(frame), frame[self._said["model"]].astype(str).to_numpy(dtype=object)
        if len(np.unique(truth)) < 2:
            return
        every, words = self._every(frame, target), own.select_dtypes(exclude="number")
        name = min(every, key=lambda n: AddedTimes.fit(every[n], words, truth, groups, _ROUNDS_TRIED)[0].loss)
        terms = every[name]
        added, factors = AddedTimes.fit(terms, words, truth, groups)
        base, shares = added.answers(terms, own)
        rows = replace(part, questions=FeatureQuestions(self._with_shares(own, shares)), targets={target: truth / base / factors})
        self._sums[target] = name, added, Boosted(targets=(target,), seed=self._seed, **_TREES).fit(rows)

    def answers(self, frame: pd.DataFrame) -> np.ndarray:
        """(n, t) in SI; NaN where the model or the machine is not known, nothing could be learned, and of targets that are neither times nor throughputs. Raises TableError for a column that is missing."""
        lost = [c for role, c in self._said.items() if role != "usual" and c not in frame]
        if lost:
            raise TableError(f"feature table lacks the column {', '.join(lost)}; it has: {', '.join(map(str, frame.columns))}")
        out = np.full((len(frame), len(self.targets)), np.nan)
        for over in (False, True):
            names = [name for name in self._members if name.startswith(_OVER) == over]
            if not names:
                continue
            made, parts = self._made(frame, over)
            asked = FeatureQuestions(self._seen(frame, parts))
            logs = [np.log(self._members[name].predict(asked).point) + (np.log(made[name.removeprefix(_OVER)])[:, None] if name.removeprefix(_OVER) else 0.0) for name in names]
            out[:, [self.targets.index(t) for t in self._members[names[0]].targets]] = np.where(np.all([np.isfinite(v) for v in made.values()], axis=0)[:, None], np.exp(np.mean(logs, axis=0)), np.nan)
        own = self._own(frame)
        for target, (name, added, trees) in self._sums.items():
            base, shares = added.answers(self._every(frame, target)[name], own)
            ratio = trees.predict(FeatureQuestions(self._with_shares(own, shares))).point[:, 0]
            out[:, self.targets.index(target)] = np.sqrt(out[:, self.targets.index(target)] * base * np.sqrt(ratio))
        for target in self.rates:
            out[:, self.targets.index(target)] **= -1.0
        return out

    def _own(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The table's own columns but for models and their figures."""
        return frame[[c for c in map(str, frame.columns) if c not in self._names and not any(c.startswith(f"{n}.") for n in (*self._names, _MADE[:-1]))]].reset_index(drop=True)

    def _seen(self, frame: pd.DataFrame, parts: pd.DataFrame) -> pd.DataFrame:
        """The table's own columns, and `parts`, what the estimates are made of."""
        return pd.concat([self._own(frame), parts.reset_index(drop=True).add_prefix(_MADE)], axis=1)

    def _with_shares(self, own: pd.DataFrame, shares: pd.DataFrame) -> pd.DataFrame:
        """The table's own columns, and the shares of the terms of a sum."""
        return pd.concat([own, shares.add_prefix(_MADE)], axis=1)

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """What it says and how it was learned in JSON; trees with their files, numbered."""
        spec: dict[str, Any] = {"targets": list(self.targets), "said": self._said, "names": list(self._names), "seed": self._seed, "members": {}}
        files: dict[str, bytes] = {}
        for at, (name, member) in enumerate(self._members.items()):
            inner, content = member.weights()
            spec["members"][name] = {"spec": inner, "files": sorted(content)}
            files |= {f"{at}.{file}": data for file, data in content.items()}
        for at, (target, (terms, added, trees)) in enumerate(self._sums.items()):
            inner, content = trees.weights()
            spec.setdefault("sums", {})[target] = {"terms": terms, "sum": added.to_json(), "spec": inner, "files": sorted(content)}
            files |= {f"sum{at}.{file}": data for file, data in content.items()}
        return spec, files

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path, member: Callable[[str], Any]) -> Self:
        """The inverse of `weights`. Raises FormatError where what columns say cannot be."""
        out = cls(spec["targets"], spec["said"], spec["names"], int(spec["seed"]))
        if not all(isinstance(out._said.get(role), str) for role in ("model", "machine", "usual")) or out._said["model"] not in out._names or not out.answered:
            raise FormatError(f"{folder}: what serving takes: expected the columns of models and machines among {sorted(out._said)}, and targets that are times or throughputs")
        if not {name.removeprefix(_OVER) for name in spec["members"]} <= {*_LEARNED, *_COUNTS}:
            raise FormatError(f"{folder}: what serving takes: expected members called {', '.join((*_LEARNED, *_COUNTS))}, got {', '.join(spec['members'])}")
        for at, (name, m) in enumerate(spec["members"].items()):
            out._members[name] = Boosted.from_weights(m["spec"], {file: files[f"{at}.{file}"] for file in m["files"]}, folder, member)
        for at, (target, m) in enumerate(spec.get("sums", {}).items()):
            added = AddedTimes.from_json(m["sum"], folder)
            sums = served_models.SUMS if target in out.times else {"token": served_models.SUMS["token"]} | dict.fromkeys(served_models.COUNTED, served_models.SUMS["whole"])
            if target not in out.answered or m["terms"] not in sums or not set(added.names) <= set(sums[m["terms"]]):
                raise FormatError(f"{folder}: what serving takes: expected a target that is a time or throughput, and terms of {', '.join(sums)}")
            out._sums[target] = m["terms"], added, Boosted.from_weights(m["spec"], {file: files[f"sum{at}.{file}"] for file in m["files"]}, folder, member)
        return out


def _positive(table: Table, targets: Sequence[str]) -> set[str]:
    """Those of the targets that are positive throughout."""
    return {t for t in targets if (table.targets[t][np.isfinite(table.targets[t])] > 0).all()}
