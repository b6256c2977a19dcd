"""Several surrogates as one: a weighted mean of their answers in log space, the weights chosen on held-out groups.

A machine nobody trained on is another matter: there all members weigh the same (weights chosen by holding out machines were tried on the five
GPUs of the NeuSight tables, and were no better than chance), and `rehearse` measures how far off such answers are, for the intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..datasets.errors import TableError
from ..datasets.table import Questions, Table
from .base import Surrogate
from .prediction import Prediction, consistent

#: the shares of the first of two members that are tried; more members start from equal shares
_STEPS = np.linspace(0.0, 1.0, 11)
#: strata held out in a rehearsal, rows learned from and questions asked each time
_REHEARSED, _REHEARSAL_ROWS, _REHEARSAL_QUESTIONS = 4, 8000, 2000


class Ensemble:
    """`members` answer the same targets. After fitting each, the weights that give the least median error on `valid` are kept, per
    target; without `valid` all weigh the same. Strata (machines of an op table) never trained on get equal weights."""

    name = "ensemble"

    def __init__(self, members: Sequence[Surrogate]) -> None:
        if not members or any(m.targets != members[0].targets for m in members):
            raise TableError("ensemble: needs members that answer the same targets")
        self.members = list(members)
        self._weights: dict[str, list[float]] = {}
        self._known: tuple[str, ...] = ()

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
        self.members = [m.fit(table, valid) for m in self.members]
        equal = [1.0 / len(self.members)] * len(self.members)
        self._weights = {t: list(equal) for t in self.targets}
        self._known = tuple(sorted(set(table.questions.strata.astype(str))))
        if valid is not None and len(self.members) > 1:
            points = [m.predict(valid.questions).point for m in self.members]
            for j, name in enumerate(self.targets):
                truth = valid.targets.get(name)
                if truth is not None and np.isfinite(truth).sum() >= 20:
                    self._weights[name] = self._best([p[:, j] for p in points], truth)
        return self

    def rehearse(self, table: Table, fresh: Callable[[], Sequence[Surrogate]], seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Target -> (truth, answer) on strata held out: what answers about machines never seen are worth.

        Each of at most four strata is held out in turn; `fresh` members are fitted to at most 8,000 rows of the rest and asked about 2,000 of it.
        Empty with fewer than three strata.
        """
        strata = table.questions.strata.astype(str)
        names, counts = np.unique(strata, return_counts=True)
        if len(names) < 3:
            return {}
        rng = np.random.default_rng(seed)
        truths: dict[str, list[np.ndarray]] = {t: [] for t in self.targets}
        points: list[dict[str, list[np.ndarray]]] = [{t: [] for t in self.targets} for _ in self.members]
        for held in names[np.argsort(-counts)][:_REHEARSED]:
            rest = rng.permutation(np.flatnonzero(strata != held))[:_REHEARSAL_ROWS]
            asked = table.take(rng.permutation(np.flatnonzero(strata == held))[:_REHEARSAL_QUESTIONS])
            for m, member in enumerate(fresh()):
                answer = member.fit(table.take(rest)).predict(asked.questions).point
                for j, target in enumerate(self.targets):
                    points[m][target].append(answer[:, j])
            for target in self.targets:
                truths[target].append(asked.targets[target])
        out = {}
        for target in self.targets:
            truth, each = np.concatenate(truths[target]), [np.concatenate(p[target]) for p in points]
            out[target] = (truth, _mean(each, np.full(len(each), 1.0 / len(each))))
        return out

    def _best(self, points: Sequence[np.ndarray], truth: np.ndarray) -> list[float]:
        """Coordinate search over shares: each member in turn takes the share that lowers the median error most."""
        weights = np.full(len(points), 1.0 / len(points))
        good = np.isfinite(truth)

        def error(w: np.ndarray) -> float:
            mean = _mean(points, w)[good]
            scale = np.abs(truth[good])
            return float(np.median(np.abs(mean - truth[good]) / np.where(scale > 0, scale, 1.0)))

        for i in range(len(points)):
            others = np.delete(weights, i)
            others = others / others.sum() if others.sum() > 0 else np.full(len(others), 1.0 / max(len(others), 1))
            tries = [np.insert(others * (1 - s), i, s) for s in _STEPS]
            tries.append(weights)
            weights = min(tries, key=error)
        return [float(w) for w in weights]

    def predict(self, questions: Questions) -> Prediction:
        """(n, t) weighted answers in SI."""
        parts = [m.predict(questions).point for m in self.members]
        points = {name: _mean([p[:, j] for p in parts], np.array(self._weights[name])) for j, name in enumerate(self.targets)}
        new = ~np.isin(questions.strata.astype(str), self._known) if self.shape == "op" else np.zeros(len(questions), dtype=bool)
        if new.any():
            equal = np.full(len(parts), 1.0 / len(parts))
            points = {name: np.where(new, _mean([p[:, j] for p in parts], equal), points[name]) for j, name in enumerate(self.targets)}
        points = consistent(points)
        return Prediction.bare(self.targets, np.column_stack([points[t] for t in self.targets]))

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """The shares, and every member with its files under its number."""
        spec: dict[str, Any] = {"weights": self._weights, "known": list(self._known), "members": []}
        files: dict[str, bytes] = {}
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
        out._known = tuple(spec["known"])
        return out


def _mean(points: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """(n,) means in log space; a row that any member answers with zero or less takes the plain mean, whatever the other rows are."""
    stack = np.stack(points)
    positive = (stack > 0).all(0)
    logs = np.log(np.where(positive, stack, 1.0))
    return np.where(positive, np.exp(np.tensordot(weights, logs, 1)), np.tensordot(weights, stack, 1))
