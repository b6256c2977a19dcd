"""Operators of each kind answered by the surrogate that learned them: a matrix product and a softmax share too little to share trees.

Each member has its own intervals, so they are as wide as that kind of operator needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..datasets.errors import TableError
from ..datasets.ops import KIND_CODES, KIND_NAMES
from ..datasets.table import OpQuestions, Questions, Table
from ..features.kinds import parts, rows
from .base import Surrogate
from .prediction import Prediction


class ByKind:
    """`members`: operator kind -> the surrogate for it, or several kinds joined by "+" (`softmax+norm`); all answer the same targets. A kind without
    one has no answer."""

    name = "by_kind"
    shape = "op"

    def __init__(self, members: Mapping[str, Surrogate]) -> None:
        every = list(members.values())
        if not every or any(m.targets != every[0].targets for m in every):
            raise TableError("by kind: needs members that answer the same targets")
        self.members = dict(members)
        unknown = [kind for name in self.members for kind in name.split("+") if kind not in KIND_CODES]
        if unknown:
            raise TableError(f"by kind: {unknown[0]!r} is no kind of operator; there are: {', '.join(KIND_NAMES)}")

    @property
    def targets(self) -> tuple[str, ...]:
        """What every member answers."""
        return next(iter(self.members.values())).targets

    def fit(self, table: Table, valid: Table | None = None) -> Self:
        """Fits every member to the rows of its kinds. Raises TableError for a member without rows."""
        for name in self.members:
            mine, theirs = rows(table.questions, name), np.zeros(0, dtype=np.int64) if valid is None else rows(valid.questions, name)
            if not len(mine):
                raise TableError(f"by kind: no row of kind {name.replace('+', ' or ')} to learn from")
            self.members[name] = self.members[name].fit(table.take(mine), valid.take(theirs) if valid is not None and len(theirs) else None)
        return self

    def predict(self, questions: Questions) -> Prediction:
        """(n, t) answers in SI, each by its kind's member; NaN for a kind nobody learned."""
        if not isinstance(questions, OpQuestions):
            raise TableError(f"this model answers op questions, got {questions.shape} ones")
        shape, level = (len(questions), len(self.targets)), 0.0
        point, low, high, spread = (np.full(shape, np.nan) for _ in range(4))
        for name, (mine, part) in parts(questions, list(self.members)).items():
            found = self.members[name].predict(part)
            point[mine], low[mine], high[mine] = found.point, found.low, found.high
            spread[mine] = np.nan if found.spread is None else found.spread
            level = max(level, found.level)
        return replace(Prediction.bare(self.targets, point), low=low, high=high, level=level, spread=None if np.isnan(spread).all() else spread)

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Every member with its files under its name."""
        spec: dict[str, Any] = {"members": {}}
        files: dict[str, bytes] = {}
        for name, m in self.members.items():
            inner, content = m.weights()
            spec["members"][name] = {"member": m.name, "spec": inner, "files": sorted(content)}
            files |= {f"{name}.{file}": data for file, data in content.items()}
        return spec, files

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path, member: Callable[[str], Any]) -> Self:
        """The inverse of `weights`."""
        members = {}
        for name, m in spec["members"].items():
            content = {file: files[f"{name}.{file}"] for file in m["files"] if f"{name}.{file}" in files}
            members[name] = member(m["member"]).from_weights(m["spec"], content, folder, member)
        return cls(members)
