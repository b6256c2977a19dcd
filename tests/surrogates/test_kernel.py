"""The process: exact where it can be, smooth, and aware of what does not matter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import TableError
from silicast.datasets.table import FeatureQuestions, Table
from silicast.surrogates.kernel import _CONSTANT, Kernel, _covariance, _inverse
from silicast.surrogates.smooth_columns import learn_columns, smooth


def table(n: int, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"size": rng.integers(16, 4096, n).astype(float), "noise": rng.normal(size=n), "how": rng.choice(["a", "b", "c"], n)})
    seconds = 1e-6 * frame["size"].to_numpy() ** 1.5 * frame["how"].map({"a": 1.0, "b": 2.0, "c": 5.0}).to_numpy()
    return Table(FeatureQuestions(frame), {"latency_s": seconds}, np.arange(n).astype(str).astype(object), pd.DataFrame(index=range(n)), "made")


def test_a_power_law_with_factors_is_learned_from_eighty_rows() -> None:
    model, asked = Kernel().fit(table(80)), table(300, 1)
    error = np.abs(model.predict(asked.questions).point[:, 0] / asked.targets["latency_s"] - 1.0)
    assert np.median(error) < 0.01


def test_it_goes_on_as_a_power_law_beyond_what_it_saw() -> None:
    rows = table(120)
    small = rows.take(rows.questions.frame["size"].to_numpy() < 1500)
    far = rows.take(rows.questions.frame["size"].to_numpy() > 2500)
    error = np.abs(Kernel().fit(small).predict(far.questions).point[:, 0] / far.targets["latency_s"] - 1.0)
    assert np.median(error) < 0.1


def test_many_rows_are_carried_by_a_part_of_them() -> None:
    model, asked = Kernel(exact=100, carriers=60, tuned_on=100).fit(table(400)), table(100, 1)
    assert np.median(np.abs(model.predict(asked.questions).point[:, 0] / asked.targets["latency_s"] - 1.0)) < 0.02


def test_other_questions_are_refused() -> None:
    with pytest.raises(TableError, match="missing size"):
        Kernel().fit(table(30)).predict(FeatureQuestions(table(3).questions.frame.drop(columns="size")))


def test_names_give_their_figures_away() -> None:
    frame = pd.DataFrame({"model": ["org/net-7b", "org/net-70B", "mix-8x7b"], "gpu": ["a100_sxm", "h100_sxm", "t4"], "n": [1.0, 8.0, 64.0]})
    columns = learn_columns(frame)
    assert {c["how"] for c in columns if c["source"] == "model"} == {"category", "parameters"}
    assert any(c["how"] == "figure" for c in columns if c["source"] == "gpu")
    x, part = smooth(frame, columns)
    at = next(i for i, c in enumerate(columns) if c["how"] == "parameters")
    sizes = x[:, part == at][:, 0] * columns[at]["std"] + columns[at]["mean"]
    assert np.allclose(np.exp(sizes), [7e9, 70e9, 56e9])


def test_covariances_are_those_of_the_formula_and_inverses_undo_the_factor() -> None:
    rng = np.random.default_rng(0)
    x, z, theta, part = rng.normal(size=(150, 3)), rng.normal(size=(70, 3)), np.array([0.2, -1.0, -0.5, 0.3, -2.0]), np.array([0, 1, 1])
    weight = np.exp(theta[[0, 1, 1]])
    apart = x[:, None] - z[None]
    wanted = np.exp(theta[-2]) * np.exp(-0.5 * (apart**2 * weight).sum(-1)) + np.exp(theta[-3]) * (x * weight) @ z.T + _CONSTANT
    assert np.allclose(_covariance(x, z, theta, part), wanted, rtol=1e-12, atol=1e-12)
    noisy = _covariance(x, x, theta, part) + 0.1 * np.eye(len(x))
    assert np.allclose(_inverse(np.linalg.cholesky(noisy)) @ noisy, np.eye(len(x)), atol=1e-8)
