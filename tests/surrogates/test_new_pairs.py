"""Values never seen together: which pairs of columns are looked at, which rows are new by them, what a rehearsal holds out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import FormatError
from silicast.datasets.table import FeatureQuestions, Table
from silicast.surrogates import new_pairs
from silicast.surrogates.blended import Blended

WIDTHS, MACHINES = (1.0, 2.0, 4.0, 8.0), ("a", "b", "c")
COLUMNS = {"m": list(WIDTHS), "n": list(WIDTHS), "machine": list(MACHINES)}


def frame() -> pd.DataFrame:
    """All sizes on all machines, but for those that are large both ways; machine c ran no n of 8."""
    every = pd.DataFrame([(m, n, c, r) for m in WIDTHS for n in WIDTHS for c in MACHINES for r in range(4)], columns=["m", "n", "machine", "run"])
    return every[~((every["m"] > 2) & (every["n"] > 2)) & ~((every["machine"] == "c") & (every["n"] == 8))].reset_index(drop=True)


def test_pairs_that_lack_a_block_and_rows_that_lie_in_it() -> None:
    rows = frame()
    told = new_pairs.learn(rows, np.arange(len(rows)), COLUMNS)
    assert [new_pairs.name(t) for t in told] == ["m with n", "n with machine"]
    assert told[0]["missing"] == [[2, 2], [2, 3], [3, 2], [3, 3]]
    asked = pd.DataFrame({"m": [4.0, 4.0, 1.0, 3.0], "n": [8.0, 1.0, 8.0, 8.0], "machine": ["a", "c", "c", "z"]})
    assert new_pairs.missing(asked, told).tolist() == [[True, False], [False, False], [False, True], [False, False]]  # what is no known value is not a pair's matter
    assert new_pairs.missing(asked, []).shape == (4, 0)


def test_pairs_that_groups_hold_out_already_or_that_are_mostly_missing_are_not_looked_at() -> None:
    rows = frame()
    assert new_pairs.learn(rows, (rows["m"] * 100 + rows["n"]).to_numpy(), {"m": list(WIDTHS), "n": list(WIDTHS)}) == []
    few = rows[rows["m"] == rows["n"]].reset_index(drop=True)
    assert new_pairs.learn(few, np.arange(len(few)), {"m": [1.0, 2.0, 4.0, 8.0], "n": [1.0, 2.0, 4.0, 8.0]}) == []


def test_two_columns_that_say_the_same_lack_nothing() -> None:
    rows = pd.DataFrame({"machine": ["a", "b"] * 50, "memory": [40.0, 80.0] * 50})
    assert new_pairs.learn(rows, np.arange(100), {"machine": ["a", "b"], "memory": [40.0, 80.0]}) == []


def test_a_damaged_pair_is_told_when_it_is_loaded() -> None:
    rows = frame()
    told = [{**t, "off": 0.1} for t in new_pairs.learn(rows, np.arange(len(rows)), COLUMNS)]
    new_pairs.checked(told, "here")
    for missing in ([[99, 0]], [], [[0, -1]]):
        with pytest.raises(FormatError, match="here: values never seen together"):
            new_pairs.checked([{**told[0], "missing": missing}], "here")


def test_a_block_like_the_missing_one_is_held_out() -> None:
    rows = frame()
    told = new_pairs.learn(rows, np.arange(len(rows)), COLUMNS)
    held = rows[new_pairs.held(rows, told[0], np.random.default_rng(0))]
    assert set(held["m"]) == {2.0}
    assert set(held["n"]) == {4.0, 8.0}
    assert not new_pairs.held(rows[(rows["n"] > 2) | (rows["m"] != 2)].reset_index(drop=True), told[0], np.random.default_rng(0)).any()  # m of 2 would have no row left
    scattered = new_pairs.held(rows, {**told[0], "missing": [[i, i] for i in range(4)]}, np.random.default_rng(0))
    assert 0 < scattered.sum() < len(rows) / 2


def test_intervals_of_a_blend_are_as_wide_as_the_block_was_missed_by() -> None:
    rows = frame().drop(columns="machine")
    cost = 1e-3 * (1.0 + np.maximum(0.0, rows["m"] - 1.0) * (rows["n"] - 1.0)) * (1.0 + 0.01 * rows["run"])
    table = Table(FeatureQuestions(rows), {"latency_s": cost.to_numpy()}, np.arange(len(rows)).astype(str).astype(object), pd.DataFrame(index=range(len(rows))), "test")
    model = Blended(targets=("latency_s",), seed=0).fit(table)
    assert "value m with n" in model.rehearsed
    asked = FeatureQuestions(pd.DataFrame({"m": [8.0, 2.0], "n": [8.0, 2.0], "run": [1, 1]}))
    assert model.kinds(asked).tolist() == ["value m with n", ""]
    assert model.beyond(asked).tolist() == pytest.approx([1.0, 0.0])


def test_the_fourth_of_two_words_by_two() -> None:
    """Two machines, two frameworks, three of the four pairs read: no block can be held out; the product of factors has its half, and intervals are as wide as products of factors miss elsewhere."""
    every = pd.DataFrame([(gpu, how, n) for gpu in ("one", "two") for how in ("slow", "fast") for n in range(1, 13)], columns=["gpu", "how", "n"])
    cost = 1e-3 * every["n"] * np.where(every["gpu"] == "one", 1.0, 10.0) * np.where(every["how"] == "slow", 8.0, 1.0)
    known = ((every["gpu"] == "one") | (every["how"] == "slow")).to_numpy()
    rows = every[known].reset_index(drop=True)
    model = Blended(targets=("latency_s",), seed=0).fit(Table(FeatureQuestions(rows), {"latency_s": cost[known].to_numpy()}, np.arange(len(rows)).astype(str).astype(object), pd.DataFrame(index=range(len(rows))), "test"))
    asked = FeatureQuestions(every[~known].reset_index(drop=True))
    assert set(model.kinds(asked)) == {"value gpu with how"}
    truth, said = model.rehearsed["value gpu with how"]["latency_s"]
    assert np.abs(np.log(said / truth)).max() == pytest.approx(np.log(3.0))
    assert np.median(np.abs(np.log(model.predict(asked).point[:, 0] / cost[~known]))) < np.log(3.0)


def test_partners_measured_together_say_what_a_pair_takes() -> None:
    """Costs that are a product of factors: by hand 8 x 8 where m of 2 and 4 took n of 8, and so on; with a gap in the partners the next are asked; where none was measured, nobody says."""
    rows = frame().drop(columns="machine")
    told = new_pairs.learn(rows, np.arange(len(rows)), {"m": list(WIDTHS), "n": list(WIDTHS)})[0]
    asked = pd.DataFrame({"m": [8.0, 4.0], "n": [8.0, 4.0], "run": [1, 1]})

    def ask(f: pd.DataFrame) -> np.ndarray:
        known = ~((f["m"] > 2) & (f["n"] > 2))
        return np.where(known, f["m"] ** 2 * f["n"], np.nan)[:, None]

    assert new_pairs.crossed(asked, told, new_pairs.lacking(told), ask)[:, 0] == pytest.approx([512.0, 64.0])
    assert new_pairs.crossed(asked, told, new_pairs.lacking(told, rows[rows["m"] < 4]), ask).shape == (2, 1)
    assert not np.isfinite(new_pairs.crossed(asked, told, np.ones((4, 4), dtype=bool), ask)).any()
    below = new_pairs.crossed(asked, told, new_pairs.lacking(told), lambda f: (f["m"] - f["n"]).to_numpy()[:, None] - 100.0)  # not positive: by differences
    assert below[:, 0] == pytest.approx([-100.0, -100.0])
