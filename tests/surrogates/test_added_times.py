"""Times as sums of terms: weights are learned, words change them, and what one group has of its own is not taken for physics."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import FormatError
from silicast.surrogates.added_times import AddedTimes


def table(rows: int = 600) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray, np.ndarray]:
    """3 a + 0.5 b, twice that under the word "slow"; one of six groups takes 1.5 times as long."""
    rng = np.random.default_rng(0)
    terms = pd.DataFrame({"a": np.exp(rng.uniform(-3, 3, rows)), "b": np.exp(rng.uniform(-3, 3, rows)), "none": np.zeros(rows)})
    words = pd.DataFrame({"how": rng.choice(["fast", "slow"], rows), "same": ["x"] * rows})
    groups = rng.integers(0, 6, rows).astype(str).astype(object)
    truth = (3.0 * terms["a"] + 0.5 * terms["b"]).to_numpy() * np.where(words["how"] == "slow", 2.0, 1.0) * np.where(groups == "0", 1.5, 1.0)
    return terms, words, truth, groups


def test_weights_are_found_and_hold_far_outside_the_table() -> None:
    terms, words, truth, groups = table()
    found, own = AddedTimes.fit(terms, words, truth, groups)
    assert np.median(own[groups == "0"]) / np.median(own[groups == "1"]) == pytest.approx(1.5, rel=0.15)
    far = pd.DataFrame({"a": [100.0, 0.001, 100.0], "b": [0.001, 100.0, 0.001], "none": [0.0, 0.0, 0.0]})
    total, shares = found.answers(far, pd.DataFrame({"how": ["fast", "fast", "slow"], "same": ["x"] * 3}))
    assert total == pytest.approx([300.0, 50.0, 600.0], rel=0.15)
    assert shares["a"].iloc[0] == pytest.approx(0.0, abs=1e-3)
    assert np.isfinite(shares.to_numpy()).all()


def test_a_word_never_seen_adds_nothing_and_a_lost_term_is_not_answered() -> None:
    terms, words, truth, groups = table()
    found, _ = AddedTimes.fit(terms, words, truth, groups)
    assert found.words == {"how": ("fast", "slow")}
    row = terms.head(3).assign(a=[1.0, 1.0, np.nan])
    row[["b", "none"]] = 0.0
    total, _ = found.answers(row, pd.DataFrame({"how": ["fast", "new", "fast"], "same": ["x"] * 3}))
    assert total[0] < total[1] < 2.0 * total[0]
    assert np.isnan(total[2])


def test_it_survives_json_and_damage_is_told(tmp_path: Path) -> None:
    terms, words, truth, groups = table(200)
    found, _ = AddedTimes.fit(terms, words, truth, groups)
    told = json.loads(json.dumps(found.to_json()))
    np.testing.assert_array_equal(AddedTimes.from_json(told, tmp_path).answers(terms, words)[0], found.answers(terms, words)[0])
    for wrong in ({"scale": told["scale"][1:]}, {"weights": told["weights"][1:]}, {"scale": [-1.0, 1.0, 1.0]}, {"names": ["a"]}):
        with pytest.raises(FormatError, match="a sum of times"):
            AddedTimes.from_json({**told, **wrong}, tmp_path)
