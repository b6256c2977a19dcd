"""Fronts and volumes, worked by hand and against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from silicast.serving.search.front import covered, crowding, hypervolume, nondominated, ranks

POINTS = np.array([[1.0, 4.0], [2.0, 2.0], [4.0, 1.0], [3.0, 3.0], [2.0, 2.0], [np.nan, 0.0]])


def test_who_is_on_the_front() -> None:
    assert nondominated(POINTS).tolist() == [True, True, True, False, True, False]
    assert ranks(POINTS).tolist() == [0, 0, 0, 1, 0, 2]


@given(arrays(float, (12, 3), elements=st.integers(0, 5).map(float)))
def test_the_front_is_what_the_definition_says(points: np.ndarray) -> None:
    said = [not any((o <= p).all() and (o < p).any() for o in points) for p in points]
    assert nondominated(points).tolist() == said


def test_volumes_by_hand() -> None:
    # under (5, 5): 1 x 1 + 2 x 3 - overlap = strips (2-1) x (5-4) + (4-2) x (5-2) + (5-4) x (5-1)
    assert hypervolume(POINTS, np.array([5.0, 5.0])) == pytest.approx(1 * 1 + 2 * 3 + 1 * 4)
    assert hypervolume(np.array([[1.0, 1.0, 1.0], [0.0, 2.0, 2.0]]), np.full(3, 3.0)) == pytest.approx(8 + 3 * 1 * 1 - 2 * 1 * 1)
    assert hypervolume(np.array([[2.0], [1.5]]), np.array([3.0])) == 1.5
    assert hypervolume(np.array([[9.0, 9.0]]), np.array([5.0, 5.0])) == 0.0


@given(arrays(float, (6, 3), elements=st.floats(0, 1)))
def test_volume_agrees_with_counting_random_points(points: np.ndarray) -> None:
    drawn = np.random.default_rng(0).random((4000, 3))
    inside = np.zeros(len(drawn), dtype=bool)
    for p in points:
        inside |= (drawn >= p).all(axis=1)
    assert hypervolume(points, np.ones(3)) == pytest.approx(inside.mean(), abs=0.04)


def test_ends_are_alone_and_a_part_covers_less() -> None:
    spread = crowding(POINTS[:3])
    assert np.isinf(spread[[0, 2]]).all()
    assert spread[1] == pytest.approx(2.0)
    assert covered(POINTS[:2], POINTS) < covered(POINTS[:4], POINTS) == covered(POINTS, POINTS)
