"""The average over guesses: the right one is found, a slip is seen, and what is left out is left out."""

from __future__ import annotations

import numpy as np

from silicast.surrogates import adapted_process

RNG = np.random.default_rng(0)


def case(shots: int = 12, noise: float = 0.01) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """((s,) truths, (k, s) guesses, covariances, (k, n) guesses elsewhere): the third guess is right up to a factor."""
    places = RNG.normal(size=(shots + 50, 2))
    every = np.stack([places @ w for w in ((1.0, 0.0), (0.2, 0.9), (-0.6, 0.5), (0.4, -0.8))])
    truth = every[2, :shots] + 3.0 + noise * RNG.normal(size=shots)
    return truth, every[:, :shots], {"level": np.ones((shots, shots))}, every[:, shots:]


def test_the_right_guess_takes_the_weight_and_carries_the_answer() -> None:
    truth, curves, grams, elsewhere = case()
    process, left_out, _ = adapted_process.learn(truth, curves, grams, np.zeros(len(truth)))
    assert process.weight[process.curve.astype(int) == 2].sum() > 0.99
    found = process.answer(elsewhere, curves, {"level": np.ones((elsewhere.shape[1], len(truth)))})
    assert np.abs(found - elsewhere[2] - 3.0).max() < 0.05
    assert np.abs(left_out - truth).mean() < 0.05


def test_left_out_answers_are_those_of_processes_without_that_shot() -> None:
    truth, curves, grams, _ = case(8)
    theta = np.array([4.0, 0.03, 0.002])
    stack = adapted_process._stack(grams, curves[0], np.ones(8))
    residual, nothing = truth - curves[0], np.zeros(8)
    _, alpha, inverse = adapted_process._evidence(stack, theta, residual, nothing)
    k = np.tensordot(theta, stack, 1) + 1e-9 * np.eye(8)
    for i in range(8):
        rest = np.arange(8) != i
        by_hand = k[i, rest] @ np.linalg.solve(k[np.ix_(rest, rest)], residual[rest])
        assert np.isclose(residual[i] - alpha[i] / inverse[i, i], by_hand)


def test_a_slip_is_found_and_an_honest_table_has_none() -> None:
    truth, curves, grams, elsewhere = case(10)
    assert not adapted_process.slips(truth, curves, grams).any()
    spoilt = truth.copy()
    spoilt[4] -= 5.0  # a reading near zero
    noisy = adapted_process.slips(spoilt, curves, grams)
    assert np.flatnonzero(noisy).tolist() == [4]
    process, *_ = adapted_process.learn(spoilt, curves, grams, noisy)
    assert np.abs(process.answer(elsewhere, curves, {"level": np.ones((50, 10))}) - elsewhere[2] - 3.0).max() < 0.2


def test_a_few_wild_shots_carry_little() -> None:
    # two of twenty a third too slow, nothing else to correct: less than the mean of all would say
    rng = np.random.default_rng(1)
    off = 0.02 * rng.normal(size=20) + np.where(np.arange(20) < 2, 0.3, 0.0)
    curves = rng.normal(size=(1, 20))
    process, _, _ = adapted_process.learn(curves[0] + off, curves, {"level": np.ones((20, 20))}, np.zeros(20))
    found = process.answer(np.zeros((1, 1)), curves, {"level": np.ones((1, 20))})
    assert abs(found[0]) < 0.6 * off.mean()


def test_folds_left_out_are_answered_without_them() -> None:
    truth, curves, grams, _ = case(12)
    _, _, best = adapted_process.learn(truth, curves, grams, np.zeros(12))
    before = adapted_process.without_folds(truth, curves, grams, np.zeros(12), best, 12)
    for i in (0, 7):  # a fold of one: its own measurement is nothing to its answer
        changed = truth.copy()
        changed[i] += 1.0
        after = adapted_process.without_folds(changed, curves, grams, np.zeros(12), best, 12)
        assert np.isclose(before[i], after[i])
        assert not np.allclose(np.delete(before, i), np.delete(after, i))


def test_many_shots_are_learned_from_a_part() -> None:
    truth, curves, grams, elsewhere = case(400)
    process, left_out, best = adapted_process.learn(truth, curves, grams, np.zeros(400))
    assert len(best) <= 4
    assert process.alpha.shape[1] == 400
    assert np.abs(process.answer(elsewhere, curves, {"level": np.ones((50, 400))}) - elsewhere[2] - 3.0).max() < 0.02
    assert np.abs(left_out - truth).mean() < 0.02


def test_a_machine_far_from_all_that_was_expected_is_followed_all_the_same() -> None:
    # a factor of twenty, where variances learned from other machines expect an eighth
    truth, curves, grams, elsewhere = case(10)
    process, _, _ = adapted_process.learn(truth, curves, grams, np.zeros(10), prior=adapted_process.ROWS)
    assert np.abs(process.answer(elsewhere, curves, {"level": np.ones((50, 10))}) - elsewhere[2] - 3.0).max() < 0.1


def test_a_shot_of_a_kernel_that_nobody_knew_is_no_slip() -> None:
    truth, curves, grams, _ = case(10)
    truth[[2, 7]] += [3.0, 0.2]
    assert np.flatnonzero(adapted_process.slips(truth, curves, grams)).tolist() == [2]
    new = np.outer(np.isin(np.arange(10), (2, 7)), np.isin(np.arange(10), (2, 7))).astype(float)
    told = {**grams, "strange": new, "strangely": new * np.where(np.eye(10), 1.0, 0.3)}
    assert not adapted_process.slips(truth, curves, told).any()


def test_what_is_known_beforehand_bounds_the_correction() -> None:
    """Three shots a tenth too slow: by hand the level takes n v / (n v + noise) of them, nearly all where v may be large, hardly any where it is held at 1e-6 beside a noise of 0.01."""
    curves = np.random.default_rng(2).normal(size=(1, 3))
    found = {}
    for name, level in (("free", (1.0, 0.1)), ("held", (1e-6, 0.1))):
        prior = {"level": level, "answer": (1e-9, 0.1), "noise": (0.01, 0.1)}
        process, *_ = adapted_process.learn(curves[0] + 0.1, curves, {"level": np.ones((3, 3))}, np.zeros(3), prior=prior)
        found[name] = float(process.answer(np.zeros((1, 1)), curves, {"level": np.ones((1, 3))})[0])
    assert abs(found["held"]) < 0.01
    assert found["free"] > 5.0 * abs(found["held"])
