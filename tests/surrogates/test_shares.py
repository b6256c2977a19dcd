"""Shares of answers: found where the truth is, and mixed on the scale they are compared on."""

from __future__ import annotations

import numpy as np
import pytest

from silicast.surrogates.shares import best_shares, from_means, is_counted, mixed, of_those, scaled


def test_shares_are_those_the_truth_is_made_of() -> None:
    rng = np.random.default_rng(0)
    answers = rng.normal(size=(3, 400))
    assert best_shares(answers, 0.7 * answers[0] + 0.3 * answers[2]) == pytest.approx([0.7, 0.0, 0.3], abs=0.03)


def test_designs_are_judged_by_how_far_they_are_from_the_mean_of_their_kernel() -> None:
    away = from_means(np.array([[1.0, 3.0, 10.0, 30.0]]), np.array(["x", "x", "y", "y"]))
    assert away.tolist() == [[-1.0, 1.0, -10.0, 10.0]]


def test_positive_answers_are_mixed_by_logarithms_and_counts_below_half_are_none() -> None:
    answers = {"a": np.array([[1.0], [0.4], [-1.0]]), "b": np.array([[4.0], [0.2], [3.0]])}
    half = {"t": {"a": 0.5, "b": 0.5}}
    assert mixed(answers, half, ["t"], [])[:, 0] == pytest.approx([2.0, np.sqrt(0.08), 1.0])
    assert mixed(answers, half, ["t"], ["t"])[1, 0] == 0.0


def test_sizes_are_compared_by_logarithms_and_trees_stand_for_trees() -> None:
    assert scaled(np.array([np.e]), np.array([1.0, 2.0])) == pytest.approx([1.0])
    assert is_counted(np.array([0.0, 3.0]))
    assert not is_counted(np.array([0.5, 0.0]))
    assert of_those({"absolute": 0.2, "squared": 0.2, "kernel": 0.6}, {"absolute": 0, "kernel": 0}) == pytest.approx({"absolute": 0.4, "kernel": 0.6})
    assert of_those({"squared": 1.0}, {"kernel": 0}) == {"kernel": 1.0}
    assert of_those({"deep": 0.5, "squared": 0.1, "kernel": 0.4}, {"absolute": 0, "kernel": 0}) == pytest.approx({"absolute": 0.6, "kernel": 0.4})


def test_a_row_that_is_lost_does_not_choose() -> None:
    truth = np.zeros(11)
    usual = np.array([np.full(11, 0.1), np.r_[np.full(10, 0.01), 9.0]])  # right but for one row, lost altogether
    assert best_shares(usual, truth, most=1.0) == pytest.approx([0.0, 1.0], abs=0.1)
    assert best_shares(usual, truth)[0] > 0.5
