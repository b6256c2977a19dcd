"""Trees through ONNX Runtime answer as LightGBM does, on both sides of every threshold too."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import lightgbm
import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="needs onnxruntime (extra measure)")

from silicast.surrogates.compiled_trees import CompiledTrees, single_below

ROWS = int(os.environ.get("SILICAST_PARITY_ROWS", "3000"))


@pytest.fixture(scope="module")
def booster() -> lightgbm.Booster:
    """Forty trees on numbers with gaps, numbers that are never missing, and categories."""
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=4000), rng.normal(size=4000), rng.integers(0, 30, 4000), rng.integers(0, 5, 4000)]).astype(np.float32)
    x[rng.random(4000) < 0.2, 0] = np.nan
    y = np.nan_to_num(x[:, 0]) ** 2 + x[:, 1] * (x[:, 2] % 7) + (x[:, 3] == 3) * 2.0
    data = lightgbm.Dataset(x, y, categorical_feature=[2, 3], params={"verbosity": -1})
    return lightgbm.train({"verbosity": -1, "num_leaves": 31, "seed": 0, "num_threads": 1, "max_cat_to_onehot": 4, "min_data_per_group": 5}, data, 40)


def test_same_as_lightgbm(booster: lightgbm.Booster) -> None:
    rng = np.random.default_rng(1)
    x = np.column_stack([rng.normal(size=ROWS), rng.normal(size=ROWS), rng.integers(0, 32, ROWS), rng.integers(0, 6, ROWS)]).astype(np.float32)
    x[rng.random(ROWS) < 0.2, 0] = np.nan
    thresholds = np.concatenate([[float(t) for t in tree.get("threshold", [])] for tree in _splits(booster, 1)] or [[0.0]])
    edges = rng.choice(thresholds, ROWS // 2).astype(np.float32)
    x[: ROWS // 2, 1] = np.where(rng.random(ROWS // 2) < 0.5, edges, np.nextafter(edges, np.float32(np.inf)))
    assert CompiledTrees(booster).predict(x) == pytest.approx(booster.predict(x, num_threads=1), rel=1e-5, abs=1e-5)


def test_one_row_at_a_time_from_several_threads(booster: lightgbm.Booster) -> None:
    """A row alone goes a way of its own, and no thread reads another's; an answer outlives the next."""
    rng = np.random.default_rng(2)
    x = np.column_stack([rng.normal(size=400), rng.normal(size=400), rng.integers(0, 32, 400), rng.integers(0, 6, 400)])  # double precision, too
    trees = CompiledTrees(booster)
    whole = trees.predict(x.astype(np.float32))
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda i: trees.predict(x[i:i + 1]), range(400)))
    assert np.concatenate(told) == pytest.approx(whole, rel=1e-6)
    assert told[0].dtype == np.float64
    with pytest.raises(Exception, match=r"(?i)dimension|shape|invalid"):
        trees.predict(x[:1, :3])


def test_missing_and_unseen_categories(booster: lightgbm.Booster) -> None:
    x = np.array([[np.nan, 0.5, 3, 1], [0.1, np.nan, 3, 1], [0.1, 0.5, np.nan, 1], [0.1, 0.5, 99, 1], [0.0, 0.0, 0, 0]], dtype=np.float32)
    assert CompiledTrees(booster).predict(x) == pytest.approx(booster.predict(x, num_threads=1), rel=1e-5, abs=1e-5)


def test_a_threshold_is_rounded_down() -> None:
    assert float(single_below(0.1)) <= 0.1 < float(np.nextafter(single_below(0.1), np.float32(1)))
    assert float(single_below(0.5)) == 0.5
    assert float(single_below(-0.1)) <= -0.1


def _splits(booster: lightgbm.Booster, feature: int) -> list[dict[str, list[float]]]:
    frame = booster.trees_to_dataframe()
    mine = frame[(frame["split_feature"] == booster.feature_name()[feature]) & (frame["decision_type"] == "<=")]
    return [{"threshold": mine["threshold"].tolist()}]


def test_a_model_with_its_trees_compiled() -> None:
    """Through wrappers, with the same answers and intervals."""
    import pandas as pd

    from silicast.datasets.measured import read_measured
    from silicast.surrogates.boosted import Boosted
    from silicast.surrogates.compiled_trees import compiled
    from silicast.surrogates.conformal import Conformal

    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"a": rng.integers(1, 64, 400), "b": rng.integers(8, 512, 400), "c": rng.choice(["x", "y"], 400)})
    frame["t"] = 1e-8 * frame["a"] * frame["b"] + 1e-6
    table = read_measured(frame, {"features": ["a", "b", "c"], "targets": {"latency_s": {"column": "t", "unit": "s"}}})
    model = Conformal(Boosted(targets=("latency_s",), trees=40, threads=1), 0.9).fit(table)
    model.conformalize(table)
    slow, fast = model.predict(table.questions), compiled(model).predict(table.questions)
    assert fast.point == pytest.approx(slow.point, rel=1e-5)
    assert fast.high == pytest.approx(slow.high, rel=1e-5)
