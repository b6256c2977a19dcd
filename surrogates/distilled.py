"""A model with a student beside it: the model answers as before, the student answers a thousand times as often (`student.py`).

The model itself, with its libraries, loads when it is first asked: whoever asks only the student never waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Self

from ..datasets.errors import TableError
from ..datasets.table import Questions, Table
from .base import Surrogate
from .prediction import Prediction
from .student import Student


class Distilled:
    """`inner`, and the `student` that has learned its answers. Answers are those of `inner`."""

    name = "distilled"

    def __init__(self, inner: Surrogate, student: Student) -> None:
        self.student = student
        self.targets = tuple(inner.targets)
        self.shape = inner.shape
        self._inner: Surrogate | None = inner
        self._load: Callable[[], Surrogate] | None = None
        self._lock = Lock()

    @property
    def inner(self) -> Surrogate:
        """The model itself."""
        if self._inner is None:
            with self._lock:
                if self._inner is None:
                    assert self._load is not None
                    self._inner, self._load = self._load(), None
        return self._inner

    def fit(self, table: Table, valid: Table | None = None) -> Self:
        """Raises TableError: a student learns from a fitted model (`silicast compile`), not from a table."""
        raise TableError("distilled: fit the model itself, then compile it; a student learns from a model's answers, not from a table")

    def predict(self, questions: Questions) -> Prediction:
        """The model's own answers."""
        return self.inner.predict(questions)

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """All of `inner`, and the student."""
        spec, files = self.inner.weights()
        student, more = self.student.weights()
        return {"inner": self.inner.name, "inner_spec": spec, "targets": list(self.targets), "shape": self.shape, "student": student}, {**files, **more}

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path, member: Callable[[str], Any]) -> Self:
        """The inverse of `weights`. The student is read now, the model when it is asked."""
        out = cls.__new__(cls)
        out.student = Student.from_weights(spec["student"], files)
        out.targets, out.shape = tuple(spec["targets"]), str(spec["shape"])
        kind, inner, rest = member(spec["inner"]), spec["inner_spec"], {name: content for name, content in files.items() if name != "student.npz"}
        out._inner, out._lock = None, Lock()
        out._load = lambda: kind.from_weights(inner, rest, folder, member)
        return out
