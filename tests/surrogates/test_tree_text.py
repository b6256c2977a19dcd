"""Texts that LightGBM wrote pass; every way of cutting or altering one is an error here, not the end of the process there."""

from __future__ import annotations

import numpy as np
import pytest

from silicast.datasets.errors import FormatError
from silicast.surrogates.tree_text import checked
from silicast.surrogates.trees import Trees


@pytest.fixture(scope="module")
def text() -> str:
    import lightgbm

    rng = np.random.default_rng(0)
    x = np.column_stack([rng.random((400, 2)), rng.integers(0, 40, 400)])
    data = lightgbm.Dataset(x, x[:, 0] * (x[:, 2] % 3), categorical_feature=[2], params={"verbosity": -1})
    return str(lightgbm.train({"verbosity": -1, "num_threads": 1, "min_data_in_leaf": 5, "num_leaves": 8}, data, 5).model_to_string())


def test_what_lightgbm_wrote_passes(text: str) -> None:
    assert checked(text) is text
    assert "cat_threshold" in text
    without = Trees.of_text(text).text()  # ours, without tree_sizes
    assert checked(without) is without


def test_a_tree_that_is_one_leaf_passes() -> None:
    import lightgbm

    data = lightgbm.Dataset(np.zeros((60, 1)), np.ones(60), params={"verbosity": -1})
    one = str(lightgbm.train({"verbosity": -1, "num_threads": 1}, data, 2).model_to_string())
    assert "num_leaves=1\n" in one
    assert checked(one) is one


def test_every_cut_is_found(text: str) -> None:
    end = text.index("end of trees") + len("end of trees")
    for at in range(0, end, 97):
        with pytest.raises(FormatError):
            checked(text[:at])


@pytest.mark.parametrize(("old", "new"), [
    ("split_feature=", "split_feature=9 "), ("left_child=1 ", "left_child=0 "), ("left_child=1 ", "left_child=99999999 "), ("left_child=1 ", "left_child=-99999999 "),
    ("num_leaves=8", "num_leaves=999999999"), ("num_leaves=8", "num_leaves=9"), ("max_feature_idx=2", "max_feature_idx=-1"), ("max_feature_idx=2", "max_feature_idx=0"),
    ("cat_boundaries=0", "cat_boundaries=7"), ("cat_threshold=", "cat_threshold=1 "), ("leaf_value=", "leaf_value=x"), ("threshold=", "threshold=1e5 "), ("num_cat=", "num_cat=7"),
    ("Tree=1\n", "Tree=7\n"), ("is_linear=0", "is_linear=1"), ("num_tree_per_iteration=1", "num_tree_per_iteration=0"), ("max_feature_idx=2\n", "\n")])
def test_every_altered_index_is_found(text: str, old: str, new: str) -> None:
    assert old in text
    whole = "\n".join(line for line in text.splitlines() if not line.startswith("tree_sizes="))  # as a stranger would: no size gives it away
    with pytest.raises(FormatError):
        checked(whole.replace(old, new, 1))
    with pytest.raises(FormatError):
        checked(text.replace(old, new, 1))
