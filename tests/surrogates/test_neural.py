"""A network that goes on from weights takes fewer steps and is no worse; one whose columns mean something else begins anew."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.table import FeatureQuestions, Table
from silicast.surrogates.neural import Neural

pytest.importorskip("torch", reason="torch is not installed")


def table(rows: int, words: tuple[str, ...] = ("a", "b")) -> Table:
    rng = np.random.default_rng(rows)
    frame = pd.DataFrame({"x": np.exp(rng.normal(size=rows)), "word": rng.choice(words, rows)})
    truth = 1e-6 * frame["x"].to_numpy() ** 0.5 * np.where(frame["word"] == "a", 1.0, 2.0)
    return Table(FeatureQuestions(frame), {"latency_s": truth}, np.arange(rows).astype(object), pd.DataFrame(index=range(rows)), "made up")


def network(epochs: list[int]) -> Neural:
    def progress(epoch: int, of: int, loss: float) -> None:
        epochs.append(epoch)

    return Neural(targets=("latency_s",), samples=40_000, hidden=32, blocks=1, batch=64, progress=progress)


def off(found: Neural, asked: Table) -> float:
    return float(np.median(np.abs(found.predict(asked.questions).point[:, 0] / asked.targets["latency_s"] - 1.0)))


def test_going_on_takes_a_quarter_of_the_steps_and_is_no_worse() -> None:
    first, again = [], []
    begun = network(first).fit(table(500))
    onward = network(again).goes_on_from(begun).fit(table(500))
    assert len(again) == round(0.25 * len(first))
    assert off(onward, table(300)) <= 1.1 * off(begun, table(300)) < 0.05


@pytest.mark.parametrize("other", [table(500, ("a", "b", "c")), Table(FeatureQuestions(table(500).questions.frame.assign(y=np.arange(500.0))), table(500).targets, np.arange(500).astype(object),
                                                                      pd.DataFrame(index=range(500)), "made up")], ids=["another word", "another column"])
def test_what_means_something_else_is_learned_from_scratch(other: Table) -> None:
    first, again = [], []
    begun = network(first).fit(table(500))
    onward = network(again).goes_on_from(begun).fit(other)
    assert len(again) == len(first)
    np.testing.assert_array_equal(onward.predict(other.questions).point, network([]).fit(other).predict(other.questions).point)


def test_going_on_from_another_kind_of_network_is_beginning() -> None:
    first, again = [], []
    begun = Neural(targets=("latency_s",), samples=4_000, hidden=16, blocks=1).fit(table(500))
    network(again).goes_on_from(begun).fit(table(500))
    network(first).fit(table(500))
    assert len(again) == len(first)
