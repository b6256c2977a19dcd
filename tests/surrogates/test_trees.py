"""Packed trees against LightGBM itself: the same answers, categories and missing values included."""

from __future__ import annotations

import numpy as np
import pytest

from silicast.datasets.errors import FormatError
from silicast.surrogates.boosted import Grown
from silicast.surrogates.trees import MAGIC, Trees


def _questions(rows: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 6)).astype(np.float32)
    x[:, 3] = rng.integers(-2, 50, rows)
    x[:, 4] = rng.integers(0, 4, rows)
    x[rng.random((rows, 6)) < 0.05] = np.nan
    return x


@pytest.fixture(scope="module")
def booster() -> object:
    import lightgbm

    x = _questions(3000, 0)
    x[:, 3] = np.clip(x[:, 3], 0, 39)
    known = np.nan_to_num(x)
    y = known[:, 0] + np.sin(3 * known[:, 1]) + known[:, 3] % 7 + (known[:, 5] > 0)
    return lightgbm.train({"num_leaves": 31, "verbosity": -1, "num_threads": 1, "min_data_per_group": 5, "cat_smooth": 2.0}, lightgbm.Dataset(x, y, categorical_feature=[3, 4]), 40)


def test_the_same_answers_before_and_after_the_text_is_written_again(booster: object) -> None:
    import lightgbm

    trees = Trees.unpack(Trees.of_text(booster.model_to_string()).pack())  # type: ignore[attr-defined]
    asked = np.concatenate([_questions(300, 1), np.full((2, 6), np.nan, dtype=np.float32)])
    truth = booster.predict(asked)  # type: ignore[attr-defined]
    again = lightgbm.Booster(model_str=trees.text())
    np.testing.assert_allclose(trees.predict(asked), truth, rtol=0, atol=5e-5)
    np.testing.assert_allclose(again.predict(asked), truth, rtol=0, atol=5e-5)
    np.testing.assert_allclose(again.predict(asked[:5], pred_contrib=True), booster.predict(asked[:5], pred_contrib=True), atol=2e-4)  # type: ignore[attr-defined]


def test_packed_trees_are_a_quarter_of_their_text(booster: object) -> None:
    text = booster.model_to_string()  # type: ignore[attr-defined]
    assert len(Trees.of_text(text).pack()) < 0.3 * len(text)


def test_many_rows_are_handed_to_lightgbm(booster: object) -> None:
    grown = Grown(Trees.of_text(booster.model_to_string()))  # type: ignore[attr-defined]
    few = grown.predict(_questions(10, 2), num_threads=1)
    assert grown._booster is None
    many = grown.predict(_questions(1000, 2), num_threads=1)
    assert grown._booster is not None
    assert len(few) == 10
    assert len(many) == 1000
    assert grown.num_trees() == 40


def test_a_tree_that_is_one_leaf() -> None:
    import lightgbm

    x = np.zeros((50, 2), dtype=np.float32)
    stump = lightgbm.train({"verbosity": -1, "num_threads": 1}, lightgbm.Dataset(x, np.full(50, 3.0)), 2)
    trees = Trees.unpack(Trees.of_text(stump.model_to_string()).pack())
    np.testing.assert_allclose(trees.predict(x[:3]), stump.predict(x[:3]))
    np.testing.assert_allclose(lightgbm.Booster(model_str=trees.text()).predict(x[:3]), stump.predict(x[:3]))


def test_damaged_bytes_are_refused(booster: object) -> None:
    packed = Trees.of_text(booster.model_to_string()).pack()  # type: ignore[attr-defined]
    for damaged in (b"", b"tree\n", packed[:-40], packed[:200], MAGIC + b"\xff\xff\xff\x7f{}", packed.replace(b'"left": ["<i2"', b'"left": ["|O8"')):
        with pytest.raises(FormatError):
            Trees.unpack(damaged)
    trees = Trees.unpack(packed)
    loop = trees.left.copy()
    loop[0] = 0
    with pytest.raises(FormatError, match="nowhere"):
        Trees(**{**{k: v for k, v in vars(trees).items() if not k.startswith("_")}, "left": loop})
