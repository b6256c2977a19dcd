"""The protocol of everything that can answer. Members and wrappers are told apart by nothing else.

    Boosted, GraphNet, Analytic        members
    Conformal(member)                  wrappers: a surrogate around a surrogate

A member is named in `store.MEMBERS`. `fit` gives the surrogate back, so that `Conformal(Boosted()).fit(t)` reads well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from ..datasets.table import Questions, Table
from .prediction import Prediction


@runtime_checkable
class Surrogate(Protocol):
    """Answers questions about cost after having seen a table.

    `name`: its key in `store.MEMBERS`. `targets`: what it answers, set by `fit`. `shape`: the shape of questions it takes
    (`graph`, `op`, `features`), set by `fit`.
    """

    name: str
    targets: tuple[str, ...]
    shape: str

    def fit(self, table: Table, valid: Table | None = None) -> Self:
        """Learns from `table`; `valid` (other groups) stops training early. Raises TableError for an unusable table."""
        ...

    def predict(self, questions: Questions) -> Prediction:
        """(n, t) answers in SI. Raises TableError for questions of another shape."""
        ...

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """(what goes into JSON, file name -> bytes): everything needed to answer again; never a pickle."""
        ...

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path, member: Callable[[str], Any]) -> Self:
        """The inverse of `weights`; `member` gives the class of a name, for wrappers. Raises VersionError or FormatError."""
        ...
