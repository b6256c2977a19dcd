"""The answer: a point, an interval, and whether the question was inside what the model knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..datasets.errors import InputError
from ..features.verdict import VERDICTS, Domain

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["UNCHECKED", "VERDICTS", "Domain", "Prediction", "apart", "consistent"]

UNCHECKED = Domain("unchecked", "no domain guard was asked")
#: verdicts under which the level of an interval holds: elsewhere nobody has checked it, however narrow the interval looks
_LEVEL_HOLDS = ("in_domain", "unchecked")


@dataclass(frozen=True)
class Prediction:
    """n answers for t targets, in original SI units.

    `point`, `low`, `high`: (n, t) arrays; `low` and `high` are NaN where there is no interval, then `level` is 0.
    `level` is what intervals hold for rows in the domain; `calibrated` says for which rows that is claimed.
    `domain`: n verdicts. `model`, `version`: who answered. `spread`: (n, t) how far apart the members of an ensemble are, in nats; None where there are none.
    Raises InputError when shapes disagree or low <= point <= high does not hold.
    """

    targets: tuple[str, ...]
    point: np.ndarray
    low: np.ndarray
    high: np.ndarray
    level: float
    domain: tuple[Domain, ...]
    model: str = ""
    version: str = ""
    spread: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = (len(self.domain), len(self.targets))
        for name in ("point", "low", "high"):
            if getattr(self, name).shape != shape:
                raise InputError(f"prediction: {name} has shape {getattr(self, name).shape}, expected (n, t) = {shape}")
        if self.spread is not None and self.spread.shape != shape:
            raise InputError(f"prediction: spread has shape {self.spread.shape}, expected (n, t) = {shape}")
        closed = np.isfinite(self.low) & np.isfinite(self.high)
        if np.any(closed & ~((self.low <= self.point) & (self.point <= self.high))):
            raise InputError("prediction: an interval does not hold its point")

    def __len__(self) -> int:
        return len(self.domain)

    @property
    def calibrated(self) -> np.ndarray:
        """(n,) bool: every interval of the row is finite and holds at `level`. Never so for a row that is extrapolating or unsupported."""
        return self._calibrated(range(len(self)))

    def _calibrated(self, rows: Sequence[int]) -> np.ndarray:
        at = np.asarray(rows, dtype=np.int64)
        closed = (np.isfinite(self.low[at]) & np.isfinite(self.high[at])).all(axis=1)
        return closed & np.array([self.level > 0 and self.domain[row].verdict in _LEVEL_HOLDS for row in rows], dtype=bool)

    @classmethod
    def bare(cls, targets: Sequence[str], point: np.ndarray, model: str = "", version: str = "") -> Prediction:
        """Points (n, t) alone: no interval, level 0, domain unchecked."""
        nothing = np.full_like(point, np.nan)
        return cls(tuple(targets), point, nothing, nothing.copy(), 0.0, (UNCHECKED,) * len(point), model, version)

    @classmethod
    def nothing(cls, targets: Sequence[str]) -> Prediction:
        """The answer to no questions: zero rows."""
        return cls.bare(targets, np.zeros((0, len(targets))))

    def with_domain(self, domain: Sequence[Domain]) -> Prediction:
        """The same answers with the guard's verdicts."""
        return replace(self, domain=tuple(domain))

    def signed(self, model: str, version: str) -> Prediction:
        """The same answers, saying who spoke."""
        return replace(self, model=model, version=version)

    def column(self, name: str) -> int:
        """The position of a target; raises InputError naming those there are."""
        if name not in self.targets:
            raise InputError(f"prediction has no target {name!r}; it has: {', '.join(self.targets)}")
        return self.targets.index(name)

    def answer(self, row: int) -> dict[str, Any]:
        """One row as a plain dict: target -> {point, low, high}, level, calibrated, domain, model, version. `domain` tells `novelty` and
        the `nearest` trained row where the card tells any."""
        def value(x: float) -> float | None:
            return float(x) if np.isfinite(x) else None

        targets = {name: {"point": value(self.point[row, j]), "low": value(self.low[row, j]), "high": value(self.high[row, j])}
                   for j, name in enumerate(self.targets)}
        of = self.domain[row]
        domain: dict[str, Any] = {"verdict": of.verdict, "reason": of.reason}
        if np.isfinite(of.novelty):
            domain |= {"novelty": of.novelty, "nearest": of.nearest}
        return {"targets": targets, "level": self.level, "calibrated": bool(self._calibrated([row])[0]), "domain": domain, "model": self.model, "version": self.version}

    def frame(self) -> pd.DataFrame:
        """n rows: `T`, `T_low`, `T_high` per target, then `domain`, `domain_reason` and `calibrated`, and `novelty` where the card tells any."""
        import pandas as pd

        data: dict[str, Any] = {}
        for j, name in enumerate(self.targets):
            data |= {name: self.point[:, j], f"{name}_low": self.low[:, j], f"{name}_high": self.high[:, j]}
        data |= {"domain": [d.verdict for d in self.domain], "domain_reason": [d.reason for d in self.domain], "calibrated": self.calibrated}
        novelty = np.array([d.novelty for d in self.domain])
        if np.isfinite(novelty).any():
            data["novelty"] = novelty
        return pd.DataFrame(data)


def consistent(points: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Target -> (n,) points with energy = power x latency restored: energy follows from the other two."""
    out = dict(points)
    if {"latency_s", "power_w", "energy_j"} <= set(out):
        out["energy_j"] = out["latency_s"] * out["power_w"]
    return out


def apart(points: Sequence[np.ndarray]) -> np.ndarray:
    """(n, t) how far (n, t) answers of several members lie apart, in nats: log of the largest over the smallest. NaN where one is not positive."""
    stack = np.stack(points)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.where(stack > 0, stack, np.nan))
    return np.asarray(logs.max(0) - logs.min(0))
