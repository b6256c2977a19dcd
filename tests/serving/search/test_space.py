"""Spaces: read strictly, listed, drawn from, placed in the unit cube and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from silicast.datasets.errors import InputError
from silicast.serving.search import Space

SPACE = Space.of({"rows": [8, 16, 64], "flow": ["ws", "os"], "gate": [False, True], "batch": {"int": [1, 256], "log": True}, "share": {"float": [0.1, 0.9]},
                  "sram": {"choices": [1, 4], "unit": "MiB"}, "bandwidth": {"float": [1, 16], "unit": "GB/s", "log": True, "levels": 5}, "far": {"int": [1, 1_000_000], "step": 7}})


@given(st.lists(st.floats(0, 1), min_size=8, max_size=8))
def test_a_point_is_a_candidate_and_back(point: list[float]) -> None:
    candidate = SPACE.at(np.array([point]))[0]
    again = SPACE.at(SPACE.place([candidate]))[0]
    assert {k: v for k, v in again.items() if k != "share"} == {k: v for k, v in candidate.items() if k != "share"}
    assert again["share"] == pytest.approx(candidate["share"])


def test_values_are_si_and_ranges_hold() -> None:
    assert SPACE.dimensions[5].levels == (2.0**20, 4 * 2.0**20)
    assert SPACE.dimensions[6].levels == pytest.approx((1e9, 2e9, 4e9, 8e9, 16e9))
    assert len(SPACE.dimensions[3].levels) == 256
    assert SPACE.dimensions[7].at(1.0) == 1_000_000 - (999_999 % 7)
    assert SPACE.size == float("inf")


def test_a_grid_has_every_candidate_once_and_a_sample_has_no_twins() -> None:
    space = Space.of({"a": [1, 2, 3], "b": {"int": [0, 3]}, "c": [True, False]})
    grid = space.grid()
    assert len(grid) == space.size == 24
    assert len({space.key(c) for c in grid}) == 24
    drawn = space.sample(20, np.random.default_rng(0), {space.key(grid[0])})
    assert len({space.key(c) for c in drawn}) == 20
    assert grid[0] not in drawn
    assert len(space.sample(99, np.random.default_rng(0))) == 24
    with pytest.raises(InputError, match="too many to list"):
        SPACE.grid()


def test_features_are_numbers_of_numbers_and_columns_of_names() -> None:
    found = SPACE.features([{"rows": 8, "flow": "ws", "gate": True, "batch": 16, "share": 0.5, "sram": 2.0**20, "bandwidth": 4e9, "far": 8}])
    assert found.shape == (1, 1 + 2 + 2 + 1 + 1 + 1 + 1 + 1)
    assert found[0, :6] == pytest.approx([0.0, 1.0, 0.0, 0.0, 1.0, 0.5])  # 16 lies halfway between 1 and 256 in log


@pytest.mark.parametrize(("given_", "said"), [
    ({"a": {"choice": [1]}}, "did you mean 'choices'"), ({"a": {"choices": [1, 1]}}, "distinct"), ({"a": {"int": [1, 2], "float": [1, 2]}}, "exactly one"),
    ({"a": {"int": [1.5, 2]}}, "whole numbers"), ({"a": {"float": [0, 2], "log": True}}, "above 0"), ({"a": {"float": [2, 1]}}, r"\[low, high\]"),
    ({"a": {"choices": [1], "unit": "furlong"}}, "unknown unit"), ({"a": {"choices": [1], "step": 2}}, "step belongs to int"), ({"a": "ws"}, "vary.a"), ({}, "mapping of what varies"),
    ({"a": {"float": [1, float("nan")]}}, "numbers"), ({"a": [[1]]}, "distinct numbers, names"), ({"a": {"int": [1, 9], "step": 0}}, "at least 1"), ([1], "mapping"),
    ({"a": {"choices": ["__import__('os')"], "unit": "B"}}, "finite number")])
def test_what_is_wrong_is_named(given_: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Space.of(given_)


def test_a_candidate_of_another_space_is_refused() -> None:
    space = Space.of({"a": [1, 2], "b": [True, False]})
    for wrong, said in (({"a": 1}, "expected the dimensions"), ({"a": 3, "b": True}, "one of 1, 2"), ({"a": 1, "b": 1}, "one of True, False"), ({"a": [1], "b": True}, "one of 1, 2")):
        with pytest.raises(InputError, match=said):
            space.place([wrong])
