"""Products of factors: a made-up table that is one is learned from few rows, by leave-one-out errors checked against fits without the row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import FormatError
from silicast.datasets.table import FeatureQuestions, Table
from silicast.surrogates import store
from silicast.surrogates.factors import Factors, _ridge


def table(rows: int, seed: int = 0) -> Table:
    """Twice as much in "b" as in "a", three times on "big", with the square of a size."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"word": rng.choice(["a", "b"], rows), "chip": rng.choice(["small", "big", "middle"], rows), "size": 2.0 ** rng.integers(4, 12, rows) - 1.0})
    truth = frame["word"].map({"a": 1.0, "b": 2.0}) * frame["chip"].map({"small": 1.0, "middle": 1.7, "big": 3.0}) * (frame["size"] + 1.0) ** 2
    return Table(FeatureQuestions(frame), {"lut": truth.to_numpy() * 1e-3}, np.arange(rows).astype(str).astype(object), pd.DataFrame(index=range(rows)), "made up")


def test_a_product_is_learned_from_two_dozen_rows(tmp_path: Path) -> None:
    made = Factors(targets=["lut"]).fit(table(24))
    asked = table(200, 1)
    point = made.predict(asked.questions).point[:, 0]
    assert np.median(np.abs(point / asked.targets["lut"] - 1.0)) < 0.01
    spec, files = made.weights()
    again = Factors.from_weights(spec, files, tmp_path, store.member)
    assert again.predict(asked.questions).point[:, 0] == pytest.approx(point)
    with pytest.raises(FormatError, match="factors: expected 7 weights of lut"):
        Factors.from_weights({**spec, "fits": {"lut": {**spec["fits"]["lut"], "weights": [1.0]}}}, files, tmp_path, store.member)


def test_a_word_never_seen_and_an_empty_cell_are_answered() -> None:
    made = Factors(targets=["lut"]).fit(table(60))
    asked = pd.DataFrame({"word": ["c", "a"], "chip": ["small", "small"], "size": [255.0, np.nan]})
    point = made.predict(FeatureQuestions(asked)).point[:, 0]
    known = made.predict(FeatureQuestions(asked.assign(word=["a", "b"], size=255.0))).point[:, 0]
    assert known[0] < point[0] < known[1]  # between the words that are known
    assert np.isfinite(point[1])


def test_a_time_stamp_goes_on_no_farther_than_it_varied() -> None:
    """Rows measured within an hour, asked about a month later; and numbers so large that their logarithms do not vary."""
    rows = table(60)
    hour = rows.questions.frame.assign(stamp=1.76e9 + np.random.default_rng(1).uniform(0, 3600, 60), run=1e17 + 16.0 * np.arange(60))
    noisy = {"lut": rows.targets["lut"] * np.exp(0.02 * np.random.default_rng(2).normal(size=60))}
    made = Factors(targets=["lut"]).fit(Table(FeatureQuestions(hour), noisy, rows.groups, rows.slices, rows.source))
    later = made.predict(FeatureQuestions(hour.assign(stamp=hour["stamp"] + 30 * 86400.0, run=9e17))).point[:, 0]
    assert np.abs(later / rows.targets["lut"] - 1.0).max() < 0.2


def test_the_penalty_is_the_one_with_the_least_errors_of_rows_left_out() -> None:
    """By hand: for every penalty each row left out and the rest fitted anew, with means of its own."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(12, 4))
    y = x @ np.array([1.0, 0.0, 0.0, 0.5]) + 0.4 * rng.normal(size=12)

    def fitted(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
        c = x - x.mean(0)
        w = np.linalg.solve(c.T @ c + penalty * np.eye(4), c.T @ (y - y.mean()))
        return float(y.mean() - x.mean(0) @ w), w

    def left_out(penalty: float) -> float:
        errors = []
        for i in range(12):
            rest = np.arange(12) != i
            middle, w = fitted(x[rest], y[rest], penalty)
            errors.append(abs(y[i] - middle - x[i] @ w))
        return float(np.mean(errors))

    best = min(np.logspace(-3, 3, 19), key=left_out)
    middle, weights = _ridge(x, y)
    assert middle == pytest.approx(fitted(x, y, best)[0], abs=1e-9)
    assert weights == pytest.approx(fitted(x, y, best)[1], abs=1e-9)
