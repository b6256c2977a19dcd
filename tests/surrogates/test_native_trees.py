"""Trees as machine code answer as LightGBM does; without lleaves one clear error says what to install."""

from __future__ import annotations

import importlib.util
import os
import sys

import lightgbm
import numpy as np
import pytest

from silicast.datasets.errors import InputError, UnknownNameError
from silicast.surrogates.compiled_trees import compiled
from silicast.surrogates.native_trees import NativeTrees

ROWS = int(os.environ.get("SILICAST_PARITY_ROWS", "3000"))
here = pytest.mark.skipif(importlib.util.find_spec("lleaves") is None, reason="needs lleaves (extra compiled)")


@pytest.fixture(scope="module")
def booster() -> lightgbm.Booster:
    """Twelve small trees on numbers with gaps, and categories."""
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=2000), rng.normal(size=2000), rng.integers(0, 30, 2000), rng.integers(0, 5, 2000)])
    x[rng.random(2000) < 0.2, 0] = np.nan
    y = np.nan_to_num(x[:, 0]) ** 2 + x[:, 1] * (x[:, 2] % 7) + (x[:, 3] == 3) * 2.0
    data = lightgbm.Dataset(x, y, categorical_feature=[2, 3], params={"verbosity": -1})
    return lightgbm.train({"verbosity": -1, "num_leaves": 15, "seed": 0, "num_threads": 1, "max_cat_to_onehot": 4, "min_data_per_group": 5}, data, 12)


@here
def test_same_as_lightgbm(booster: lightgbm.Booster) -> None:
    """On random rows, on both sides of thresholds, with gaps, and with categories never seen."""
    rng = np.random.default_rng(1)
    x = np.column_stack([rng.normal(size=ROWS), rng.normal(size=ROWS), rng.integers(0, 34, ROWS), rng.integers(0, 7, ROWS)])
    x[rng.random(x.shape) < 0.05] = np.nan
    frame = booster.trees_to_dataframe()
    mine = frame[(frame["split_feature"] == booster.feature_name()[1]) & (frame["decision_type"] == "<=")]
    edges = rng.choice(mine["threshold"].astype(float).to_numpy(), ROWS // 2)
    x[: ROWS // 2, 1] = np.where(rng.random(ROWS // 2) < 0.5, edges, np.nextafter(edges, np.inf))
    trees = NativeTrees(booster)
    truth = booster.predict(x, num_threads=1)
    assert trees.predict(x) == pytest.approx(truth, rel=1e-12, abs=1e-12)
    alone = np.concatenate([trees.predict(x[i:i + 1].astype(np.float32)) for i in range(200)])
    assert alone == pytest.approx(trees.predict(x[:200].astype(np.float32)), rel=1e-12)
    with pytest.raises(ValueError, match="dimension"):
        trees.predict(x[:1, :3])


def test_what_is_not_there_is_said(booster: lightgbm.Booster, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="back end"):
        compiled(object(), "treelite")
    monkeypatch.setitem(sys.modules, "lleaves", None)
    with pytest.raises(InputError, match=r"silicast\[compiled\]"):
        NativeTrees(booster)
