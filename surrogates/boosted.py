"""Gradient-boosted trees (LightGBM) on tabular features: one booster per target, learning log(truth / analytic reference).

A target without a reference is learned as its own logarithm when all its values are positive, with its zeros when some are zero, and
plainly otherwise (`scale`). Energy follows from latency and power where both are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..datasets.errors import FormatError, TableError
from ..datasets.table import Questions, Table
from ..features.tabular import Features, learn_vocabulary, tabular_features
from .prediction import Prediction, consistent


class Boosted:
    """Boosted trees.

    `trees`, `leaves`, `rate`: LightGBM's rounds, leaves and learning rate; fewer trees are kept when `valid` stops improving.
    `objective`: `auto` tries absolute and squared loss on the validation rows and keeps the better by median error.
    """

    name = "boosted"

    def __init__(self, *, targets: Sequence[str] = ("latency_s", "power_w", "energy_j", "memory_bytes"), trees: int = 800, leaves: int = 63,
                 rate: float = 0.06, min_leaf: int = 10, column_share: float = 0.6, objective: str = "regression_l1", seed: int = 0, threads: int = 0) -> None:
        self.targets = tuple(targets)
        self.shape = ""
        self._settings = {"trees": trees, "leaves": leaves, "rate": rate, "min_leaf": min_leaf, "column_share": column_share, "objective": objective,
                          "seed": seed, "threads": threads}
        self._vocabulary: dict[str, tuple[str, ...]] = {}
        self._features: list[str] = []
        self._scale: dict[str, str] = {}
        self._least: dict[str, float] = {}
        self._boosters: dict[str, Any] = {}

    def fit(self, table: Table, valid: Table | None = None) -> Self:
        """Trains one booster per learned target. Raises TableError for a constant or unanswered target."""
        import lightgbm

        self.shape = table.questions.shape
        self._vocabulary = learn_vocabulary(table.questions)
        features = tabular_features(table.questions, self._vocabulary)
        valid_features = tabular_features(valid.questions, self._vocabulary) if valid is not None else None
        self._features = list(features.names)
        for name in self._learned():
            truth = table.targets.get(name)
            if truth is None or not np.isfinite(truth).any():
                raise TableError(f"boosted: no row has an answer for {name!r}; the table has: {', '.join(table.targets)}")
            self._scale[name] = "ratio" if name in features.reference else _scale(truth)
            y = self._encode(name, truth, features)
            good = np.isfinite(y)
            if np.ptp(truth[good]) == 0 and self._scale[name] != "ratio":
                raise TableError(f"boosted: target {name!r} has the same value, {truth[good][0]:g}, in all {int(good.sum())} rows; there is nothing to learn")
            low, high = np.quantile(y[good], [0.0005, 0.9995])
            self._least[name] = float(low - 0.05 * (high - low))
            rows = np.clip(y[good], low - 0.5 * (high - low), high + 0.5 * (high - low))  # a corrupt row pulls, but not without limit
            binning = {"max_bin": 255, "verbosity": -1, "feature_pre_filter": False}
            train = lightgbm.Dataset(features.values[good], rows, feature_name=[f"f{i}" for i in range(len(self._features))],
                                     categorical_feature=list(features.categorical), params=binning)
            sets, callbacks = [], []
            if valid is not None and valid_features is not None:
                v = self._encode(name, valid.targets[name], valid_features)
                ok = np.isfinite(v)
                if ok.sum() >= 20:
                    sets = [lightgbm.Dataset(valid_features.values[ok], v[ok], reference=train, params=binning)]
                    callbacks = [lightgbm.early_stopping(60, verbose=False)]
            self._boosters[name] = lightgbm.train(self._params(len(rows)), train, int(self._settings["trees"]), valid_sets=sets, callbacks=callbacks)
        return self

    def predict(self, questions: Questions) -> Prediction:
        """(n, t) answers in SI; never below the speed of light where one is known and was respected in training."""
        if questions.shape != self.shape:
            raise TableError(f"this model answers {self.shape} questions, got {questions.shape} ones")
        features = tabular_features(questions, self._vocabulary)
        if list(features.names) != self._features:
            lost, new = set(self._features) - set(features.names), set(features.names) - set(self._features)
            raise TableError(f"the questions' columns differ from those the model was fitted with: missing {sorted(lost) or 'none'}, unknown {sorted(new) or 'none'}")
        points = {name: self._decode(name, np.asarray(self._boosters[name].predict(features.values), dtype=np.float64), features) for name in self._learned()}
        if "energy_j" in self.targets and "energy_j" not in points:
            points["energy_j"] = points["latency_s"] * points["power_w"]
        points = consistent(points)
        return Prediction.bare(self.targets, np.column_stack([points[t] for t in self.targets]))

    def importance(self, name: str) -> dict[str, float]:
        """Feature -> share of the total gain for one target."""
        gain = self._boosters[name].feature_importance("gain")
        return {f: float(g / max(gain.sum(), 1e-12)) for f, g in sorted(zip(self._features, gain, strict=True), key=lambda p: -p[1])}

    def _learned(self) -> tuple[str, ...]:
        if {"latency_s", "power_w", "energy_j"} <= set(self.targets):
            return tuple(t for t in self.targets if t != "energy_j")
        return self.targets

    def _params(self, rows: int) -> dict[str, Any]:
        s = self._settings
        return {"objective": s["objective"], "learning_rate": s["rate"], "num_leaves": min(int(s["leaves"]), max(3, rows // 8)),
                "min_data_in_leaf": min(int(s["min_leaf"]), max(1, rows // 20)), "feature_fraction": s["column_share"], "bagging_fraction": 0.9, "bagging_freq": 1,
                "min_data_per_group": 5, "cat_smooth": 2.0, "max_cat_to_onehot": 8, "verbosity": -1, "seed": s["seed"], "deterministic": True, "force_row_wise": True,
                "num_threads": s["threads"]}

    def _encode(self, name: str, truth: np.ndarray, features: Features) -> np.ndarray:
        scale = self._scale[name]
        with np.errstate(divide="ignore", invalid="ignore"):
            if scale == "ratio":
                return np.log(truth / features.reference[name])
            return np.log(truth) if scale == "log" else np.log1p(truth) if scale == "log1p" else np.asarray(truth, dtype=np.float64)

    def _decode(self, name: str, y: np.ndarray, features: Features) -> np.ndarray:
        scale = self._scale[name]
        if scale == "ratio":
            out = np.exp(np.maximum(y, self._least[name])) * features.reference[name]
            floor = features.floor.get(name)
            return out if floor is None or self._least[name] < -1.0 else np.maximum(out, floor * np.exp(min(self._least[name], 0.0)))
        return np.exp(y) if scale == "log" else np.maximum(np.expm1(y), 0.0) if scale == "log1p" else y

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Settings in JSON, one LightGBM text file per target."""
        spec = {"targets": list(self.targets), "shape": self.shape, "settings": self._settings, "vocabulary": self._vocabulary, "features": self._features,
                "scale": self._scale, "least": self._least}
        return spec, {f"{name}.txt": booster.model_to_string(num_iteration=booster.best_iteration).encode() for name, booster in self._boosters.items()}

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path) -> Self:
        """The inverse of `weights`; raises FormatError when a target's trees are missing."""
        import lightgbm

        out = cls(targets=spec["targets"], **spec["settings"])
        out.shape, out._features, out._scale, out._least = spec["shape"], list(spec["features"]), dict(spec["scale"]), dict(spec["least"])
        out._vocabulary = {k: tuple(v) for k, v in spec["vocabulary"].items()}
        for name in out._learned():
            if f"{name}.txt" not in files:
                raise FormatError(f"{folder}: the trees of target {name!r} are missing ({name}.txt)")
            out._boosters[name] = lightgbm.Booster(model_str=files[f"{name}.txt"].decode())
        return out


def _scale(truth: np.ndarray) -> str:
    values = truth[np.isfinite(truth)]
    return "log" if (values > 0).all() else "log1p" if (values >= 0).all() else "plain"
