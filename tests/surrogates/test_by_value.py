"""A process per machine: each by its own rows, a machine never seen by the mean of all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import TableError
from silicast.datasets.table import FeatureQuestions, Table
from silicast.surrogates import store
from silicast.surrogates.by_value import ByValue

POWERS = {"one": 1.0, "two": -0.5, "three": 0.3}


def table(machines: tuple[str, ...] = tuple(POWERS), n: int = 60, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    frame = pd.concat([pd.DataFrame({"width": rng.integers(8, 512, n).astype(float), "machine": m}) for m in machines], ignore_index=True)
    power = frame["machine"].map(POWERS).fillna(0.2).to_numpy()
    return Table(FeatureQuestions(frame), {"latency_s": 1e-6 * frame["width"].to_numpy() ** power}, np.arange(len(frame)).astype(str).astype(object), pd.DataFrame(index=range(len(frame))), "made")


def test_each_machine_follows_its_own_law_and_a_folder_keeps_it() -> None:
    model, asked = ByValue(column="machine").fit(table()), table(seed=1)
    found = model.predict(asked.questions).point[:, 0]
    assert np.median(np.abs(found / asked.targets["latency_s"] - 1.0)) < 0.005
    spec, files = model.weights()
    again = ByValue.from_weights(spec, files, Path("m"), store.member)
    assert np.array_equal(again.predict(asked.questions).point[:, 0], found)


def test_a_machine_never_seen_is_the_mean_of_all_in_logarithms() -> None:
    model = ByValue(column="machine").fit(table())
    asked = table(("new",), 30, 2)
    means = np.exp(np.mean([p * np.log(asked.questions.frame["width"]) for p in POWERS.values()], axis=0)) * 1e-6
    assert np.allclose(model.predict(asked.questions).point[:, 0], means, rtol=0.02)


def test_other_rows_keep_columns_and_weights() -> None:
    model, few = ByValue(column="machine").fit(table()), table(n=30, seed=3)
    other = model.sibling().learn_rows(few)
    asked = table(seed=1)
    assert np.median(np.abs(other.predict(asked.questions).point[:, 0] / asked.targets["latency_s"] - 1.0)) < 0.02


def test_too_few_rows_of_each_machine_are_refused() -> None:
    with pytest.raises(TableError, match="no machine has 40 rows"):
        ByValue(column="machine").fit(table(n=20))
