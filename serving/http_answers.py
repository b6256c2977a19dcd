"""Predictions as they go out: rows for JSON, columns for bulk."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..features.verdict import Domain
from .coded import Coded
from .predictor import Mixed, Predictor, select
from .quick import Columns


@dataclass(frozen=True)
class Answered:
    """n answers of one model; rows that could not be asked have a fault (row -> one line) and no figures.

    `prediction` holds the rows that were asked, `keep` (n,) says which these are; None when no row could be asked.
    """

    model: Predictor
    prediction: Any
    keep: np.ndarray
    faults: Mapping[int, str]

    def __len__(self) -> int:
        return len(self.keep)

    @property
    def level(self) -> float:
        """What the intervals hold for rows in the domain."""
        return float(self.prediction.level) if self.prediction is not None else 0.0

    def of(self, targets: Sequence[str] | None) -> Answered:
        """The same for these targets only."""
        return self if self.prediction is None or not targets else Answered(self.model, select(self.prediction, targets), self.keep, self.faults)

    @property
    def targets(self) -> tuple[str, ...]:
        """What is answered."""
        return self.prediction.targets if self.prediction is not None else self.model.targets

    @property
    def speed(self) -> str:
        """Who spoke: `columns` (the model's student), `exact` (the model itself), or `mixed`."""
        return self.prediction.speed if isinstance(self.prediction, Columns) else "exact"

    def coded(self) -> dict[str, np.ndarray | Coded]:
        """T, T_low, T_high, `novelty` (n,) float64, NaN where there is none; `domain`, `domain_reason`, `nearest`, `error` (n,) few different texts, "" where there is
        none; `calibrated` (n,) bool. A student tells neither `novelty` nor `nearest`."""
        n, out = len(self), dict[str, np.ndarray | Coded]()
        told, whole = self.prediction, bool(self.keep.all())
        for j, name in enumerate(self.targets):
            for ending, of in (("", "point"), ("_low", "low"), ("_high", "high")):
                values = np.full(n, np.nan)
                if told is not None:
                    values[slice(None) if whole else self.keep] = getattr(told, of)[:, j]
                out[name + ending] = values
        codes, verdicts = np.zeros(n, dtype=np.int64), [("", "")]
        calibrated, novelty, nearest = np.zeros(n, dtype=bool), np.full(n, np.nan), Coded.all("", n)
        if told is not None:
            where = slice(None) if whole else np.flatnonzero(self.keep)
            by_row = Coded(told.codes, told.verdicts) if isinstance(told, Columns) else Coded.of(told.domain)
            codes[where] = by_row.codes + 1
            verdicts += [(d.verdict, d.reason) for d in by_row.values]
            calibrated[where] = told.calibrated
            doubts = told.exact if isinstance(told, Columns) else dict(enumerate(told.domain))
            if doubts:
                rows_asked = np.flatnonzero(self.keep)[list(doubts)]
                novelty[rows_asked] = [d.novelty for d in doubts.values()]
                texts = np.full(n, "", dtype=object)
                texts[rows_asked] = [d.nearest if math.isfinite(d.novelty) else "" for d in doubts.values()]
                nearest = Coded.of(texts.tolist())
        errors = Coded.all("", n)
        if self.faults:
            texts = np.full(n, "", dtype=object)
            texts[list(self.faults)] = list(self.faults.values())
            errors = Coded.of(texts.tolist())
        return {**out, "domain": Coded(codes, tuple(v for v, _ in verdicts)), "domain_reason": Coded(codes, tuple(r for _, r in verdicts)), "calibrated": calibrated,
                "novelty": novelty, "nearest": nearest, "error": errors}

    def columns(self) -> dict[str, np.ndarray]:
        """The same with texts as (n,) objects."""
        return {name: np.array(values.values, dtype=object)[values.codes] if isinstance(values, Coded) else values for name, values in self.coded().items()}

    def json_columns(self) -> dict[str, list[Any]]:
        """The columns as lists; what is not there is null."""
        return {name: _listed(values) for name, values in self.columns().items()}

    def units(self) -> dict[str, str]:
        """Target -> its SI unit."""
        return {name: str(self.model.card.units.get(name, "")) for name in self.targets}


def _listed(values: np.ndarray) -> list[Any]:
    if values.dtype == np.float64:
        lost = np.flatnonzero(~np.isfinite(values)).tolist()
        if len(lost) == len(values):
            return [None] * len(lost)
        listed = values.tolist()
        for at in lost:
            listed[at] = None
        return listed
    return [one if one != "" else None for one in values.tolist()] if values.dtype == object else values.tolist()


def verdict(domain: Domain) -> dict[str, Any]:
    """A verdict as it goes out; `novelty` and `nearest` are None where nobody measured them: a student answered, or the card tells none."""
    told = math.isfinite(domain.novelty)
    return {"verdict": domain.verdict, "reason": domain.reason, "novelty": domain.novelty if told else None, "nearest": domain.nearest or None if told else None}


def rows(prediction: Any, units: Mapping[str, Any], targets: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Each row as `Prediction.answer` tells it, with units: all at once."""
    if targets:
        prediction = select(prediction, targets)
    told = list(zip(*([[{"point": p, "low": lo, "high": hi, "unit": str(units.get(name, ""))} for p, lo, hi in
                        zip(*(_listed(getattr(prediction, of)[:, j].astype(np.float64)) for of in ("point", "low", "high")), strict=True)]
                       for j, name in enumerate(prediction.targets)]), strict=True))
    calibrated = prediction.calibrated.tolist()
    stand_in = prediction.stand_in if isinstance(prediction, Mixed) else None
    quick = prediction.quick.tolist() if isinstance(prediction, Columns) else None
    out = []
    for i, domain in enumerate(prediction.domain):
        one = {"targets": dict(zip(prediction.targets, told[i], strict=True)), "level": prediction.level, "calibrated": calibrated[i],
               "domain": verdict(domain), "model": prediction.model, "version": prediction.version,
               "speed": "columns" if quick is not None and quick[i] else "exact"}
        if stand_in is not None and stand_in[i]:
            one |= {"level": 0.0, "model": "simulator", "version": prediction.simulator_version}
        out.append(one)
    return out
