"""Gradient-boosted trees (LightGBM) on tabular features: one booster per target, learning log(truth / analytic reference).

`target_scale` says how targets without a reference are learned. Energy follows from latency and power where both are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..datasets.errors import FormatError, TableError
from ..datasets.table import OpQuestions, Questions, Table
from ..features.tabular import Features, table_vocabulary, tabular_features
from .kin import Kin
from .neighbours import Neighbours, learned_near
from .prediction import Prediction
from .target_scale import all_points, answers, choose_scale, clipped, decode, encode, floor_share, learned_targets
from .threads import fair_share, lane_share, wait_asleep
from .tree_text import checked
from .trees import MAGIC, Trees

#: rows from which prediction uses more than one thread
_ROWS_FOR_THREADS = 2000
#: rows up to which a fitted booster is kept as it is, beside its table, in place of going through text and back: a fifth of a small fit
_ROWS_KEPT = 20_000
#: rows from which histograms are made column by column
_ROWS_BY_COLUMN = 50_000
#: rows that packed trees answer before LightGBM is worth loading (it takes longer than a thousand of them)
_ROWS_WITHOUT = 256


class Boosted:
    """Boosted trees.

    `trees`, `leaves`, `rate`: LightGBM's rounds, leaves and learning rate; fewer trees are kept when `valid` stops improving.
    `objective`: LightGBM's loss on the learned scale. `bins`: values of a column told apart. `columns`: "all", "plain" for sizes and figures without what physics makes of them, "roofline" for that and the roofline in place of the simulator, "portable" for what means the same on machines and at sizes never seen, "kin" for that and the machine's name (`kin`: one never seen answers
    as its kin would), or "near" for all and what was read nearby (`neighbours`; tables of operators). `full_tails`: whether a last tile that is full is told so (`Features.full_tails`).
    """

    name = "boosted"

    def __init__(self, *, targets: Sequence[str] = ("latency_s", "power_w", "energy_j", "memory_bytes"), trees: int = 800, leaves: int = 63,
                 rate: float = 0.06, min_leaf: int = 10, column_share: float = 0.6, objective: str = "regression_l1", bins: int = 255, columns: str = "all", full_tails: bool = False, seed: int = 0,
                 threads: int = 0) -> None:
        self.targets = tuple(targets)
        self.shape = ""
        self._settings: dict[str, Any] = {"trees": trees, "leaves": leaves, "rate": rate, "min_leaf": min_leaf, "column_share": column_share, "objective": objective,
                          "bins": bins, "columns": columns, "full_tails": full_tails, "seed": seed, "threads": threads}
        self._vocabulary: dict[str, tuple[str, ...]] = {}
        self._features: list[str] = []
        self._scale: dict[str, str] = {}
        self._least: dict[str, float] = {}
        self._share: dict[str, float] = {}
        self._kin: Kin | None = None
        self._near: Neighbours | None = None
        self._boosters: dict[str, Any] = {}

    @property
    def columns(self) -> str:
        """Which columns it sees: "all", "plain", "roofline", "portable", "kin" or "near"."""
        return str(self._settings["columns"])

    @property
    def near(self) -> Neighbours | None:
        """The readings that it sees each row's neighbours among; None where it sees none."""
        return self._near

    def seen(self, questions: Questions) -> Features:
        """The columns of questions with the words that were learned, without what was read nearby."""
        return tabular_features(questions, self._vocabulary)

    @property
    def general(self) -> bool:
        """Whether it sees what is the same everywhere, not a table's own readings: a sample of a large table teaches it as much."""
        return self._settings["columns"] in ("plain", "roofline", "portable", "kin")

    def fit(self, table: Table, valid: Table | None = None) -> Self:
        """Trains one booster per learned target. Raises TableError for a constant or unanswered target."""
        wait_asleep()
        import lightgbm

        self.shape = table.questions.shape
        self._vocabulary = table_vocabulary(table)
        self._kin = self._kinship(table)
        if self.columns == "near" and isinstance(table.questions, OpQuestions):
            self._near, features = learned_near(table, self._vocabulary, learned_targets(self.targets), int(self._settings["seed"]))
            features = features.full_tails() if self._settings["full_tails"] else features
        else:
            features = self._seen(table.questions)
        valid_features = self._seen(valid.questions) if valid is not None else None
        self._features = list(features.names)
        for name in learned_targets(self.targets):
            truth = answers(name, table.targets, features.reference)
            self._scale[name] = choose_scale(name, truth, features)
            self._share[name] = floor_share(name, truth, features)
            y = encode(name, truth, features, self._scale[name])
            good = np.isfinite(y)
            rows, self._least[name] = clipped(y[good])
            binning = {"max_bin": int(self._settings["bins"]), "verbosity": -1, "feature_pre_filter": False}
            train = lightgbm.Dataset(features.values[good], rows, feature_name=[f"f{i}" for i in range(len(self._features))],
                                     categorical_feature=list(features.categorical), params=binning)
            sets: list[Any] = []
            callbacks: list[Any] = []
            if valid is not None and valid_features is not None:
                v = encode(name, valid.targets.get(name, np.full(len(valid), np.nan)), valid_features, self._scale[name])
                ok = np.isfinite(v)
                if ok.sum() >= 20:
                    sets = [lightgbm.Dataset(valid_features.values[ok], v[ok], reference=train, params=binning)]
                    callbacks = [lightgbm.early_stopping(60, verbose=False)]
            self._boosters[name] = lightgbm.train(self._params(len(rows)), train, int(self._settings["trees"]), valid_sets=sets, callbacks=callbacks, keep_training_booster=len(rows) <= _ROWS_KEPT)
        return self

    def _kinship(self, table: Table) -> Kin | None:
        if self._settings["columns"] != "kin" or not isinstance(table.questions, OpQuestions):
            return None
        learned = {name: table.targets[name] for name in learned_targets(self.targets) if name in table.targets}
        return Kin.of(tabular_features(table.questions, self._vocabulary), table.questions, learned, int(self._settings["seed"]))

    def _seen(self, questions: Questions) -> Features:
        features = tabular_features(questions, self._vocabulary)
        if self._settings["columns"] == "near":
            features = self._near.applied(features, questions) if self._near and isinstance(questions, OpQuestions) else features
            return features.full_tails() if self._settings["full_tails"] else features
        if self._settings["columns"] in ("all", "plain", "roofline"):
            return {"all": features.full_tails if self._settings["full_tails"] else lambda: features, "plain": features.plain, "roofline": features.roofline}[self._settings["columns"]]()
        return self._kin.seen(features.portable(), questions) if self._kin and isinstance(questions, OpQuestions) else features.portable()

    def predict(self, questions: Questions) -> Prediction:
        """(n, t) answers in SI; never below the speed of light where one is known and was respected in training."""
        if questions.shape != self.shape:
            raise TableError(f"this model answers {self.shape} questions, got {questions.shape} ones")
        if not len(questions):
            return Prediction.nothing(self.targets)
        features = self._seen(questions).ordered(self._features)
        # a second thread costs more than it brings on few rows, and far more beside a busy neighbour
        threads = 1 if len(questions) < _ROWS_FOR_THREADS else int(self._settings["threads"]) or lane_share()
        points = {}
        for name in learned_targets(self.targets):
            booster = self._boosters[name]

            def raw(asked: Features, booster: Any = booster) -> np.ndarray:
                return np.asarray(booster.predict(asked.values, num_threads=threads), dtype=np.float64)

            y = self._kin.answer(features, questions, raw) if self._kin and isinstance(questions, OpQuestions) else raw(features)
            points[name] = decode(name, y, features, self._scale[name], self._least[name], self._share[name])
        return Prediction.bare(self.targets, all_points(points, self.targets))

    def importance(self, name: str) -> dict[str, float]:
        """Feature -> share of the total gain for one target."""
        gain = self._boosters[name].feature_importance("gain")
        return {f: float(g / max(gain.sum(), 1e-12)) for f, g in sorted(zip(self._features, gain, strict=True), key=lambda p: -p[1])}

    def contributions(self, questions: Questions, name: str) -> tuple[np.ndarray, str, Features] | None:
        """((n, d + 1) exact TreeSHAP of a learned target on its scale, the last column the average of the training rows; the scale; the columns). None where the
        trees answer as kin of a machine would, which is a mix."""
        if self._kin is not None:
            return None
        features = self._seen(questions).ordered(self._features)
        found = np.asarray(self._boosters[name].predict(features.values, pred_contrib=True), dtype=np.float64)
        if self._near is not None and name in self._near.ratios:  # what moves the reference is the neighbours' doing
            plain = tabular_features(questions, self._vocabulary).reference
            found[:, features.names.index(f"near_{name}")] += np.log(features.reference[name] / plain[name])
            features = replace(features, reference=plain)
        return found, self._scale[name], features

    def _params(self, rows: int) -> dict[str, Any]:
        s = self._settings
        return {"objective": s["objective"], "learning_rate": s["rate"], "num_leaves": min(int(s["leaves"]), max(3, rows // 8)),
                "min_data_in_leaf": min(int(s["min_leaf"]), max(1, rows // 20)), "feature_fraction": s["column_share"], "bagging_fraction": 0.9, "bagging_freq": 1,
                "min_data_per_group": 5, "cat_smooth": 2.0, "max_cat_to_onehot": 8, "verbosity": -1, "seed": s["seed"], "deterministic": True,
                # of many rows a share of the columns is read by columns, a sixth faster; the same trees either way
                "force_col_wise" if rows >= _ROWS_BY_COLUMN and s["column_share"] < 1.0 else "force_row_wise": True,
                "num_threads": s["threads"] or fair_share()}

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Settings in JSON, one LightGBM text file per target."""
        spec = {"targets": list(self.targets), "shape": self.shape, "settings": self._settings, "vocabulary": self._vocabulary, "features": self._features,
                "scale": self._scale, "least": self._least, "share": self._share, "kin": self._kin.to_json() if self._kin else None, **({"near": self._near.to_json()} if self._near else {})}
        files = {f"{name}.txt": booster.model_to_string(num_iteration=booster.best_iteration).encode() for name, booster in self._boosters.items()}
        return spec, files | (self._near.files() if self._near else {})

    @classmethod
    def from_weights(cls, spec: Mapping[str, Any], files: Mapping[str, bytes], folder: Path, member: Callable[[str], Any]) -> Self:
        """The inverse of `weights`, of packed trees in place of their text too; raises FormatError when a target's trees are missing."""
        out = cls(targets=spec["targets"], **spec["settings"])
        out.shape, out._features, out._scale = spec["shape"], list(spec["features"]), dict(spec["scale"])
        out._least, out._share = dict(spec["least"]), dict(spec["share"])
        out._vocabulary = {k: tuple(v) for k, v in spec["vocabulary"].items()}
        out._kin = Kin.from_json(spec["kin"]) if spec["kin"] else None
        out._near = Neighbours.from_weights(spec["near"], files, folder) if out._settings["columns"] == "near" and out.shape == "op" else None
        for name in learned_targets(out.targets):
            if f"{name}.txt" not in files:
                raise FormatError(f"{folder}: the trees of target {name!r} are missing ({name}.txt)")
            content = files[f"{name}.txt"]
            try:
                out._boosters[name] = Grown(Trees.unpack(content)) if content.startswith(MAGIC) else _booster(content.decode())
            except (FormatError, UnicodeDecodeError) as error:
                raise FormatError(f"{folder / name}.txt: {error}; the file is damaged or was altered") from None
        return out


class Grown:
    """Packed trees that answer as a LightGBM booster does: the first few rows without it, all that follow by it. Whatever else a booster can do, it does."""

    def __init__(self, trees: Trees) -> None:
        self.trees = trees
        self._answered = 0
        self._booster: Any = None

    def predict(self, values: np.ndarray, **given: Any) -> np.ndarray:
        """(n,) sums of n rows of features."""
        self._answered += len(values)
        if self._booster is None and self._answered <= _ROWS_WITHOUT and not set(given) - {"num_threads"}:
            return self.trees.predict(values)
        return self.booster.predict(values, **given)

    @property
    def booster(self) -> Any:
        """The same trees as a LightGBM booster, made when first needed."""
        if self._booster is None:
            self._booster = _booster(self.trees.text())
        return self._booster

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what copying and pickling ask for before there is a booster
            raise AttributeError(name)
        return getattr(self.booster, name)


def _booster(text: str) -> Any:
    wait_asleep()
    import lightgbm

    return lightgbm.Booster(model_str=checked(text))

