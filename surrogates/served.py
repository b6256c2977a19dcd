"""How a language model never seen is served: trees that learned what real systems take over what the machine needs at the least.

Members of a blend see a model's figures as columns, and draw what they like beyond those of the table. Here a target is learned as a ratio to one estimate of `served_models` after the
other, and as it is, from columns that mean the same for every model; the answer is the geometric mean, for no single estimate says what a queue and a scheduler make of it. Half of it is what a sum of
terms says whose weights the table teaches (`added_times`): by itself, and with what trees make of its ratio to the truth.
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
#: small trees: a table has few models, and each is one example of what is learned
_TREES: Mapping[str, Any] = {"trees": 120, "leaves": 15, "rate": 0.1, "min_leaf": 15, "column_share": 0.7, "objective": "regression", "threads": 1}
#: rounds after which it is told which sum a target is
_ROUNDS_TRIED = 30

#: what columns begin with that estimates are made of
_MADE = "served."
#: targets that are times, by their names
_TIME = re.compile(r"(?<!tok)(?<!token)(?<!tokens)(?<!req)(?<!requests)(?<!samples)(?<!images)(?<!per)_s$")


class Served:
    """Answers in SI to rows of a plain table with a column of language models, about those targets that are times. `said`: what its columns say (`served_models.roles`); `names`: every
    column of models, none of which is seen but through the estimates."""

    def __init__(self, targets: Sequence[str], said: Mapping[str, str], names: Sequence[str], seed: int) -> None:
        self.targets, self._said, self._names, self._seed = tuple(targets), dict(said), tuple(names), seed
        self.times = tuple(t for t in targets if _TIME.search(t))
        self._members: dict[str, Boosted] = {}
        #: target -> which terms it is a sum of, that sum, and trees that learned the ratio to it; empty in a model saved before there were any
        self._sums: dict[str, tuple[str, AddedTimes, Boosted]] = {}

    @classmethod
    def of(cls, table: Table, column: str, names: Sequence[str], targets: Sequence[str], seed: int) -> Self | None:
        """The unfitted one for a table, None where its columns do not say how models are served, no target is a time, or one is not positive throughout."""
        out = cls(targets, served_models.roles(table.questions.frame, column), names, seed)
        return out if out._said and out.times and all((table.targets[t][np.isfinite(table.targets[t])] > 0).all() for t in out.times) else None

    def fit(self, table: Table) -> Self:
        """Learns from the rows whose model and machine are known."""
        made, parts = served_models.estimates(table.questions.frame, self._said)
        known = np.all([np.isfinite(v) for v in made.values()], axis=0)
        if known.sum() < 2 * int(_TREES["min_leaf"]):
            return self
        part = table.take(known)
        seen = self._seen(part.questions.frame, parts[known])
        for name in _LEARNED:
            over = made[name][known] if name else 1.0
            rows = replace(part, questions=FeatureQuestions(seen), targets={t: part.targets[t] / over for t in self.times})
            if all(len(np.unique(v[np.isfinite(v)])) > 1 for v in rows.targets.values()):
                self._members[name] = Boosted(targets=self.times, seed=self._seed, **_TREES).fit(rows)
        for target in self.times:
            self._sum(part.take(np.isfinite(part.targets[target])), target)
        return self

    def _sum(self, part: Table, target: str) -> None:
        """Learns the target as the sum that its rows follow best: of a token, of the first one, or of a whole answer."""
        frame, truth = part.questions.frame, part.targets[target]
        own, groups = self._own(frame), frame[self._said["model"]].astype(str).to_numpy(dtype=object)
        if len(np.unique(truth)) < 2:
            return
        every, words = served_models.terms(frame, self._said), own.select_dtypes(exclude="number")
        name = min(every, key=lambda n: AddedTimes.fit(every[n], words, truth, groups, _ROUNDS_TRIED)[0].loss)
        terms = every[name]
        added, factors = AddedTimes.fit(terms, words, truth, groups)
        base, shares = added.answers(terms, own)
        rows = replace(part, questions=FeatureQuestions(self._with_shares(own, shares)), targets={target: truth / base / factors})
        self._sums[target] = name, added, Boosted(targets=(target,), seed=self._seed, **_TREES).fit(rows)

    def answers(self, frame: pd.DataFrame) -> np.ndarray:
        """(n, t) in SI; NaN where the model or the machine is not known, nothing could be learned, and of targets that are no times. Raises TableError for a column that is missing."""
        lost = [c for role, c in self._said.items() if role != "usual" and c not in frame]
        if lost:
            raise TableError(f"feature table lacks the column {', '.join(lost)}; it has: {', '.join(map(str, frame.columns))}")
        out = np.full((len(frame), len(self.targets)), np.nan)
        made, parts = served_models.estimates(frame, self._said)
        asked = FeatureQuestions(self._seen(frame, parts))
        logs = [np.log(member.predict(asked).point) + (np.log(made[name])[:, None] if name else np.zeros((len(frame), 1))) for name, member in self._members.items()]
        if logs:
            out[:, [self.targets.index(t) for t in self.times]] = np.exp(np.mean(logs, axis=0))
        own, terms = self._own(frame), served_models.terms(frame, self._said) if self._sums else {}
        for target, (name, added, trees) in self._sums.items():
            base, shares = added.answers(terms[name], own)
            ratio = trees.predict(FeatureQuestions(self._with_shares(own, shares))).point[:, 0]
            out[:, self.targets.index(target)] = np.sqrt(out[:, self.targets.index(target)] * base * np.sqrt(ratio))
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
        if not all(isinstance(out._said.get(role), str) for role in ("model", "machine", "usual")) or out._said["model"] not in out._names or not out.times:
            raise FormatError(f"{folder}: what serving takes: expected the columns of models and machines among {sorted(out._said)}, and targets that are times")
        for at, (name, m) in enumerate(spec["members"].items()):
            out._members[name] = Boosted.from_weights(m["spec"], {file: files[f"{at}.{file}"] for file in m["files"]}, folder, member)
        for at, (target, m) in enumerate(spec.get("sums", {}).items()):
            added = AddedTimes.from_json(m["sum"], folder)
            if target not in out.times or m["terms"] not in served_models.SUMS or not set(added.names) <= set(served_models.SUMS[m["terms"]]):
                raise FormatError(f"{folder}: what serving takes: expected a target that is a time, and terms of {', '.join(served_models.SUMS)}")
            out._sums[target] = m["terms"], added, Boosted.from_weights(m["spec"], {file: files[f"sum{at}.{file}"] for file in m["files"]}, folder, member)
        return out
