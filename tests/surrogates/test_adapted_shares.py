"""How ways are mixed: by errors of shots left out, gently where they are few."""

from __future__ import annotations

import numpy as np
import pytest

from silicast.surrogates import adapted_shares

EVERY = np.ones(10, dtype=bool)


def test_shots_without_an_error_leave_the_answer_as_it_was() -> None:
    truth = np.linspace(0.0, 3.0, 10)
    wrong = truth + np.where(np.arange(10) % 2, 0.2, -0.2)
    shares, found = adapted_shares.shares(truth, adapted_shares.ways(truth, truth, wrong, EVERY), EVERY)
    assert shares.sum() == pytest.approx(1.0)
    assert shares[2] < 1e-6
    assert np.abs(found - truth).max() < 1e-3


def test_a_whole_correction_that_is_right_is_taken() -> None:
    truth = np.linspace(0.0, 3.0, 10)
    points = adapted_shares.ways(truth, 0.5 * truth, truth + 0.01, EVERY)
    assert adapted_shares.shares(truth, points, EVERY)[0][2] > 0.99


def test_errors_weigh_by_half_a_power_for_each_shot() -> None:
    # by hand: errors 0.1, 0.1 and 0.2 of four shots: 2, 1 and 3 x 2^-2
    off = np.array([0.1, 0.1, 0.2])[:, None] * np.array([1.0, -1.0, 1.0, -1.0])
    shares, _ = adapted_shares.shares(np.zeros(4), off, np.ones(4, dtype=bool))
    np.testing.assert_allclose(shares, np.array([2.0, 1.0, 0.75]) / 3.75)


def test_more_shots_tell_ways_apart_more_sharply() -> None:
    def taken(shots: int) -> float:
        off = np.array([0.1, 0.12, 0.08])[:, None] * np.where(np.arange(shots) % 2, 1.0, -1.0)
        return float(adapted_shares.shares(np.zeros(shots), off, np.ones(shots, dtype=bool))[0][2])

    assert 0.3 < taken(4) < taken(20) < taken(100)
    assert taken(100) > 0.99


def test_slips_do_not_count() -> None:
    residual, counted = np.r_[np.full(9, 0.1), -5.0], np.arange(10) < 9
    assert adapted_shares.level(residual, counted) == pytest.approx(0.1)
    assert adapted_shares.ways(residual, np.zeros(10), np.zeros(10), counted)[1] == pytest.approx(0.1)


def test_a_shot_is_answered_by_the_median_of_the_others() -> None:
    truth = np.array([0.0, 1.0, 2.0, 10.0])
    assert adapted_shares.ways(truth, np.zeros(4), np.zeros(4), np.ones(4, dtype=bool))[1].tolist() == [2.0, 2.0, 1.0, 1.0]


def test_a_width_is_promised_from_nine_shots_on() -> None:
    assert adapted_shares.width(np.arange(8.0), 0.9) is None
    assert adapted_shares.width(np.arange(9.0), 0.9) == 8.0
    assert adapted_shares.width(np.arange(19.0), 0.9) == 17.0
