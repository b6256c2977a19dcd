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


def test_errors_weigh_by_three_quarters_of_a_power_for_each_shot() -> None:
    # by hand: errors of none, half a factor, a factor, half and whole of four shots are 0.1, 0.1, 0.1, 0.15 and 0.2, so 6, 1/2, 1/2, 3 x 1.5^-3 and 3 x 2^-3
    off = np.array([0.1, 0.1, 0.2])[:, None] * np.array([1.0, -1.0, 1.0, -1.0])
    shares, _ = adapted_shares.shares(np.zeros(4), off, np.ones(4, dtype=bool))
    half, whole = 3.0 / 1.5**3, 3.0 / 2.0**3
    total = 7.0 + half + whole
    np.testing.assert_allclose(shares, np.array([6.0 + 0.25 + half / 2.0, 0.25 + 0.5, half / 2.0 + whole]) / total)


def test_shots_that_ask_for_too_much_are_met_half_way() -> None:
    off = np.where(np.arange(40) % 2, 1.0, -1.0)
    points = np.stack([0.5 * off, 0.5 * off, -0.5 * off])  # half of the way is right
    assert adapted_shares.shares(np.zeros(40), points, np.ones(40, dtype=bool))[0] == pytest.approx([0.5, 0.0, 0.5], abs=1e-6)


@pytest.mark.parametrize("shots", [10, 20])
def test_a_wild_shot_in_ten_does_not_carry_what_the_others_say(shots: int) -> None:
    """One reading of a kernel of its own, thirty times slower, that the process answers, and the others worse for it."""
    wild = np.arange(shots) % 10 == 0
    start, whole = np.where(wild, 3.4, 0.2), np.where(wild, 1.7, 0.5)
    shares, _ = adapted_shares.shares(np.zeros(shots), np.stack([start, start, whole]), np.ones(shots, dtype=bool))
    assert shares[2] < 0.1


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


def test_a_correction_of_a_plain_table_is_believed_sooner() -> None:
    # by hand, with the errors above: 1, 0.3, 0.3, 3 x 1.5^-3 and 12 x 2^-3
    off = np.array([0.1, 0.1, 0.2])[:, None] * np.array([1.0, -1.0, 1.0, -1.0])
    shares, _ = adapted_shares.shares(np.zeros(4), off, np.ones(4, dtype=bool), adapted_shares.BEFORE_IN_PLAIN_TABLES)
    half, whole = 3.0 / 1.5**3, 12.0 / 2.0**3
    np.testing.assert_allclose(shares, np.array([1.0 + 0.15 + half / 2.0, 0.15 + 0.3, half / 2.0 + whole]) / (1.6 + half + whole))


def test_the_cautious_correct_nothing_that_shots_left_out_do_not_ask_for() -> None:
    rng = np.random.default_rng(0)
    truth, counted = rng.normal(0.0, 0.1, 12), np.ones(12, dtype=bool)
    start, helpful, useless = np.full(12, 0.3), truth + 0.02, truth + np.where(np.arange(12) % 2, 0.9, -0.9)
    for whole, helps in ((helpful, True), (useless, False)):
        points = np.stack([start if helps else truth + 0.1, np.full(12, 0.9), whole])
        taken, found = adapted_shares.shares(truth, points, counted, cautious=True)
        plain, mixed = adapted_shares.shares(truth, points, counted)
        if helps:
            assert np.array_equal(taken, plain)
            assert np.array_equal(found, mixed)
        else:
            assert taken.tolist() == [1.0, 0.0, 0.0]
            assert np.array_equal(found, points[0])
            assert plain[0] < 1.0


def test_one_shot_cannot_tell_that_a_correction_is_of_no_use() -> None:
    points = np.array([[0.3], [0.3], [0.3]])
    assert adapted_shares.shares(np.zeros(1), points, np.ones(1, dtype=bool), cautious=True)[0][0] < 1.0


def test_fifteen_shots_are_mixed_as_they_tell() -> None:
    rng = np.random.default_rng(0)
    truth, counted = rng.normal(0.0, 0.1, 15), np.ones(15, dtype=bool)
    points = np.stack([truth + 0.1, np.full(15, 0.9), truth + np.where(np.arange(15) % 2, 0.9, -0.9)])
    assert np.array_equal(adapted_shares.shares(truth, points, counted, cautious=True)[0], adapted_shares.shares(truth, points, counted)[0])
