"""Splits: no group on both sides, stable under growth, fractions honoured."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.datasets.errors import TableError
from silicast.datasets.splits import hold_out, split_by_group
from silicast.datasets.table import FeatureQuestions, Table

THREE = {"train": 0.8, "calibration": 0.1, "test": 0.1}


def table(groups) -> Table:
    n = len(groups)
    return Table(FeatureQuestions(pd.DataFrame({"row": np.arange(n)})), {"latency_s": np.ones(n)}, np.array(groups, dtype=object),
                 pd.DataFrame({"device": [str(g)[-1:] for g in groups]}), "measured:me")


@given(st.lists(st.integers(0, 60), min_size=200, max_size=300), st.integers(0, 5))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_no_group_on_both_sides_and_no_row_lost(groups, seed):
    try:
        parts = split_by_group(table(groups), {"train": 0.6, "test": 0.4}, seed)
    except TableError:
        return
    train, test = (set(p.groups) for p in parts.values())
    assert not train & test
    rows = sorted(r for p in parts.values() for r in p.questions.frame["row"])
    assert rows == list(range(len(groups)))


def test_growth_moves_no_group():
    few, many = [f"g{i}" for i in range(300)], [f"g{i}" for i in range(900)]
    before = {g: name for name, part in split_by_group(table(few), THREE, 3).items() for g in part.groups}
    after = {g: name for name, part in split_by_group(table(many * 2), THREE, 3).items() for g in part.groups}
    assert all(after[g] == place for g, place in before.items())
    other = {g: name for name, part in split_by_group(table(few), THREE, 4).items() for g in part.groups}
    assert other != before


def test_fractions_are_honoured():
    parts = split_by_group(table([f"group {i}" for i in range(20_000)]), THREE)
    assert list(parts) == list(THREE)
    for name, share in THREE.items():
        # a binomial count of 20,000: four standard deviations are below 0.012
        assert len(parts[name]) / 20_000 == pytest.approx(share, abs=0.012)


@pytest.mark.parametrize("fractions", [{"a": 0.5, "b": 0.6}, {"a": 1.2, "b": -0.2}, {"a": 1.0, "b": 0.0}, {}, {"a": float("nan"), "b": 0.5}])
def test_fractions_that_cannot_be(fractions):
    with pytest.raises(TableError, match="positive and sum to 1"):
        split_by_group(table(list(range(50))), fractions)


def test_too_few_groups():
    with pytest.raises(TableError, match=r"part '\w+' is empty; 1 groups are too few"):
        split_by_group(table(["only"] * 40), THREE)


def test_hold_out():
    rest, held = hold_out(table(["a1", "b2", "c1", "d3"]), "device", ("1",))
    assert held.groups.tolist() == ["a1", "c1"]
    assert rest.groups.tolist() == ["b2", "d3"]
    with pytest.raises(TableError, match="no slice 'colour'; the table has: device"):
        hold_out(table(["a1"]), "colour", ("1",))
    for values in (("9",), ("1", "2", "3")):
        with pytest.raises(TableError, match="of 4 rows; both sides need rows"):
            hold_out(table(["a1", "b2", "c1", "d3"]), "device", values)
