"""Acquisition: quantiles from a table of the normal, improvement against its integral."""

from __future__ import annotations

import math

import numpy as np
import pytest

from silicast.datasets.errors import InputError
from silicast.serving.search import Evaluations, Goal, Limit
from silicast.serving.search.acquisition import doubted, expected_improvement, lower_bound, normal_improvement, spread, z_of
from silicast.serving.search.answers import Answers


def test_quantiles_of_the_normal() -> None:
    assert [round(z_of(level), 3) for level in (0.6827, 0.9, 0.95, 0.99)] == [1.0, 1.645, 1.96, 2.576]  # any table of the normal distribution
    with pytest.raises(InputError, match="level"):
        z_of(1.0)


def test_an_interval_is_a_spread_of_the_logarithm() -> None:
    low, high = np.array([1.0, np.nan, 2.0]), np.array([math.exp(2 * z_of(0.9)), np.nan, 2.0])
    assert spread(low, high, 0.9) == pytest.approx([1.0, 0.0, 0.0])
    point = np.array([math.exp(z_of(0.9)), 3.0, 2.0])
    assert lower_bound(point, low, high, 0.9) == pytest.approx([1.0, 3.0, 2.0])
    assert lower_bound(point, low, high, 0.0).tolist() == point.tolist()


def test_improvement_is_the_integral() -> None:
    draws = np.random.default_rng(0).normal(0.3, 0.5, 400_000)
    assert normal_improvement(np.array([0.3]), np.array([0.5]), 0.1)[0] == pytest.approx(np.maximum(0.1 - draws, 0).mean(), rel=0.01)
    assert normal_improvement(np.array([0.3, 0.0]), np.zeros(2), 0.1) == pytest.approx([0.0, 0.1], abs=1e-9)


def test_doubt_is_worth_a_try_and_certainty_is_not() -> None:
    point = np.array([2.0, 2.0, 0.5])
    gain = expected_improvement(point, np.array([1.9, 0.5, np.nan]), np.array([2.1, 8.0, np.nan]), 0.9, best=1.0)
    assert gain[0] < 1e-6 < gain[1]
    assert gain[2] == pytest.approx(math.log(2.0))
    with pytest.raises(InputError, match="positive"):
        expected_improvement(point, point, point, 0.9, best=0.0)


@pytest.mark.parametrize("acquisition", ["expected_improvement", "lower_bound"])
def test_what_might_be_on_the_front_is_doubted(acquisition: str) -> None:
    time, energy = np.array([1.0, 4.0, 1.1, 4.5, 9.0, 0.5]), np.array([4.0, 1.0, 4.4, 4.5, 9.0, 0.5])
    narrow, wide = 1.001, 2.0
    width = np.array([narrow, narrow, wide, narrow, narrow, wide])
    answers = Answers({"latency_s": time, "energy_j": energy, "power_w": energy / time}, ("",) * 5 + ("cannot be",), "model",
                      {"latency_s": time / width, "energy_j": energy / width}, {"latency_s": time * width, "energy_j": energy * width}, 0.9)
    found = Evaluations((Goal("latency_s"), Goal("energy_j")), (Limit("power_w", at_most=10.0),), tuple({"i": i} for i in range(6)), answers)
    assert found.front.tolist() == [0, 1]
    assert doubted(found, 1, acquisition).tolist() == [2]
    assert len(doubted(found, 0, acquisition)) == 0
    bare = Evaluations(found.goals, found.limits, found.candidates, Answers(answers.values, answers.why, "simulator"))
    assert len(doubted(bare, 5, acquisition)) == 0
