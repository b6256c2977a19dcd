"""A machine never seen answers as its kin would.

How far a kernel stays behind physics hangs on the machine in ways its figures do not tell: clocks under load, the library's tuning. A model that knows the machine
by name learns that, and is at a loss with a new one. Here a new machine's rows are asked once as if it behaved like each machine that was trained on, all the
physics being its own, and those answers are joined, weighed by how near the machines' figures lie.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from ..datasets.columns import DeviceColumns
from ..datasets.hardware import Hardware
from ..datasets.table import OpQuestions
from ..features.device import DEVICE_FEATURES, device_vector
from ..features.matrix import Features
from .anchor import Anchor

#: how fast kinship fades, as a share of the distance to the nearest machine (assumption; at twice that distance a machine has 2 % of the nearest one's say)
_FADES = 0.6
#: shares below this are none: a question is asked once for each machine that has a say
_LEAST_SHARE = 0.02
_NODE = [name for name, _ in DEVICE_FEATURES].index("process_nm")
COLUMN = "on_machine"


@dataclass(frozen=True)
class Kin:
    """The machines trained on: `names` and their (D, f) `figures`, a row of NaN for one that no catalogue knows; `anchor`: where each settles; `full_tails`: whether columns are seen
    so (`Features.full_tails`; models made before it was there do not)."""

    names: tuple[str, ...]
    figures: np.ndarray
    anchor: Anchor = field(default_factory=Anchor)
    full_tails: bool = False

    @classmethod
    def of(cls, features: Features, questions: OpQuestions, targets: Mapping[str, np.ndarray], seed: int) -> Self:
        """The machines that the questions are about, anchored to the answers `targets`."""
        used = np.unique(questions.device_index)
        return cls(tuple(questions.device_names[i] for i in used), np.array([machine_figures(questions.devices[i]) for i in used]), Anchor.of(features, questions, targets, seed), True)

    def seen(self, features: Features, questions: OpQuestions) -> Features:
        """`features` from the anchor, with one more column: the code of the machine, NaN for one never seen."""
        strangers = [i for i in np.unique(questions.device_index) if questions.device_names[i] not in self.names]
        shares = {int(i): {n: float(s) for n, s in zip(self.names, self.shares(questions.devices[i]), strict=True) if s > 0.0} for i in strangers}
        features = self.anchor.applied(features.full_tails() if self.full_tails else features, questions, shares)
        place = {name: float(i) for i, name in enumerate(self.names)}
        code = np.array([place.get(name, np.nan) for name in questions.device_names], dtype=np.float32)[questions.device_index]
        return replace(features, names=(*features.names, COLUMN), units=(*features.units, "code"), values=np.column_stack([features.values, code]),
                       categorical=(*features.categorical, features.values.shape[1]), roles=(*features.roles, "context"))

    def shares(self, device: Hardware | None) -> np.ndarray:
        """(D,) shares of the machines trained on in what is said of another one: equal ones where figures are not known."""
        own = machine_figures(device)
        both = np.isfinite(self.figures) & np.isfinite(own)
        if not both.any():
            return np.full(len(self.names), 1.0 / len(self.names))
        apart = np.where(both, self.figures - own, 0.0)
        square = np.where(both.any(1), (apart**2).sum(1) / np.maximum(both.sum(1), 1), np.inf)
        weight = np.exp(-(square - square.min()) / (2.0 * _FADES**2 * max(square.min(), 1e-4)))
        weight = np.where(weight / weight.sum() < _LEAST_SHARE, 0.0, weight)
        return weight / weight.sum()

    def answer(self, features: Features, questions: OpQuestions, raw: Callable[[Features], np.ndarray]) -> np.ndarray:
        """(n, t) answers of `raw` on the learned scale: rows on machines never seen are asked for each of their kin, and joined."""
        at = features.names.index(COLUMN)
        strange = np.isnan(features.values[:, at])
        out = np.array(raw(features)) if not strange.all() else None
        for index in np.unique(questions.device_index[strange]):
            rows = np.flatnonzero(strange & (questions.device_index == index))
            mine = features.rows(rows)
            total: Any = 0.0
            for code, share in enumerate(self.shares(questions.devices[index])):
                if share > 0.0:
                    values = mine.values.copy()
                    values[:, at] = code
                    total = total + share * raw(replace(mine, values=values))
            out = np.zeros((len(features.values), *total.shape[1:])) if out is None else out
            out[rows] = total
        assert out is not None
        return out

    def to_json(self) -> dict[str, Any]:
        """A plain dict; a figure nobody published is null."""
        return {"names": list(self.names), "figures": [[float(x) if np.isfinite(x) else None for x in row] for row in self.figures],
                "anchor": self.anchor.to_json(), "full_tails": self.full_tails}

    @classmethod
    def from_json(cls, spec: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(tuple(spec["names"]), np.array([[np.nan if x is None else x for x in row] for row in spec["figures"]], dtype=np.float64), Anchor.from_json(spec["anchor"]),
                   bool(spec.get("full_tails", False)))


def machine_figures(device: Hardware | None) -> np.ndarray:
    """(f,) figures of a machine on scales that distances mean something on, NaN where nobody published any."""
    if device is None:
        return np.full(len(DEVICE_FEATURES), np.nan)
    row = device_vector(DeviceColumns.from_devices([device]))[0].astype(np.float64)
    row[_NODE] = np.log(row[_NODE])
    return row
