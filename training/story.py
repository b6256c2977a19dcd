"""What passes between the steps of the story (`training.pipeline`), and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ..datasets.table import Table
from ..surrogates.card import ModelCard
from ..surrogates.prediction import Prediction
from .config import SurrogateSpec


@dataclass(frozen=True)
class Parts:
    """The table, cut: four parts by workload, and the rows of devices nobody trains on (None: no device was held out)."""

    train: Table
    valid: Table
    calibrate: Table
    test: Table
    unseen: Table | None

    @property
    def named(self) -> dict[str, Table]:
        """Name -> part, the unseen devices last."""
        parts = {"train": self.train, "valid": self.valid, "calibrate": self.calibrate, "test": self.test}
        return parts | ({"unseen-devices": self.unseen} if self.unseen is not None else {})


@dataclass(frozen=True)
class Judgement:
    """How a model did on one table: its answers, the measures by slice, and whether the domain guard warned of the wrong ones."""

    table: Table
    prediction: Prediction
    frame: pd.DataFrame
    guard: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """A fitted, calibrated, judged model in its folder."""

    spec: SurrogateSpec
    surrogate: Any
    card: ModelCard
    test: Judgement
    unseen: Judgement | None
    folder: Path
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class StoryModel:
    """One model of a story. `metrics`: target -> measure -> value on the test rows; `unseen` the same on unseen devices.
    `champion`: whether it is one now; `gate`: why, in words."""

    name: str
    version: str
    folder: Path
    metrics: Mapping[str, Mapping[str, float]]
    unseen: Mapping[str, Mapping[str, float]]
    champion: bool
    gate: tuple[str, ...]


@dataclass(frozen=True)
class Story:
    """What came of an experiment. `timings` in seconds by step."""

    name: str
    models: tuple[StoryModel, ...]
    report: Path
    tracking_uri: str
    run_id: str
    timings: Mapping[str, float]
