"""Probabilities that hold."""

from __future__ import annotations

import numpy as np

from silicast.surrogates import classifier


def test_auroc_by_hand() -> None:
    # pairs (yes, no): (0.8, 0.1) and (0.8, 0.5) are in order, (0.5, 0.1) is, (0.5, 0.5) is a tie: 3.5 of 4
    assert classifier.auroc(np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.8, 0.5, 0.1, 0.5])) == 0.875
    assert np.isnan(classifier.auroc(np.ones(3), np.arange(3.0)))


def test_venn_abers_of_three_rows_by_hand() -> None:
    # scores 1, 2, 3 with truths 0, 1, 1; asked at 2. As a no: 0, {1, 0}, 1 -> 1/2 there. As a yes: 0, {1, 1}, 1 -> 1
    found = classifier.calibrate(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 1.0]))
    point, low, high = classifier.probability(found, np.array([2.0]))
    assert (round(float(low[0]), 12), round(float(high[0]), 12)) == (0.5, 1.0)
    assert abs(point[0] - 1.0 / 1.5) < 1e-5  # p1 / (1 - p0 + p1)


def test_probabilities_match_frequencies() -> None:
    rng = np.random.default_rng(0)
    score = rng.normal(size=6000)
    truth = (rng.random(6000) < 1.0 / (1.0 + np.exp(-3.0 * score))).astype(float)
    found = classifier.calibrate(score[:3000], truth[:3000])
    point, low, high = classifier.probability(found, score[3000:])
    assert ((low <= point) & (point <= high)).all()
    for least in (0.0, 0.2, 0.4, 0.6, 0.8):
        here = (point >= least) & (point < least + 0.2)
        assert abs(truth[3000:][here].mean() - point[here].mean()) < 0.06
