"""Few shots: what they correct, what they leave, and what they would be spent on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import TableError
from silicast.datasets.table import FeatureQuestions, Table
from silicast.surrogates.adapted import Adapted
from silicast.surrogates.kernel import Kernel

MACHINES = {"one": (1.0, 0.2), "two": (2.0, 1.0), "three": (0.7, 3.0), "four": (1.5, 0.5), "new": (1.2, 2.0)}


def table(machines: tuple[str, ...], n: int = 60, seed: int = 0) -> Table:
    """Work that computes and moves, on machines fast at one or the other."""
    rng = np.random.default_rng(seed)
    frame = pd.concat([pd.DataFrame({"compute": rng.integers(1, 100, n).astype(float), "move": rng.integers(1, 100, n).astype(float), "machine": name}) for name in machines], ignore_index=True)
    a, b = (frame["machine"].map({k: v[i] for k, v in MACHINES.items()}).to_numpy() for i in (0, 1))
    return Table(FeatureQuestions(frame), {"latency_s": 1e-3 * (a * frame["compute"].to_numpy() + b * frame["move"].to_numpy())}, np.arange(len(frame)).astype(str).astype(object),
                 pd.DataFrame(index=range(len(frame))), "made")


def learned() -> Kernel:
    return Kernel(tuned_on=250).fit(table(("one", "two", "three", "four")))


def error(model: object, asked: Table) -> float:
    return float(np.median(np.abs(model.predict(asked.questions).point[:, 0] / asked.targets["latency_s"] - 1.0)))  # type: ignore[attr-defined]


def test_ten_shots_of_a_new_machine_are_a_mix_of_the_known_ones() -> None:
    model, asked = learned(), table(("new",), 200, 3)
    others = [("machine", m) for m in ("one", "two", "three", "four")]
    adapted = Adapted(model, scope={"machine": ["new"]}, others=others).adapt(table(("new",), 10, 7))
    assert error(adapted, asked) < 0.06 < error(model, asked)
    prediction = adapted.predict(asked.questions)
    assert prediction.level == 0.9
    assert np.isfinite(prediction.low).all()
    assert np.mean((prediction.low[:, 0] <= asked.targets["latency_s"]) & (asked.targets["latency_s"] <= prediction.high[:, 0])) >= 0.8


def test_machines_the_shots_say_nothing_about_are_answered_as_before() -> None:
    model = learned()
    adapted = Adapted(model, scope={"machine": ["new"]}, others=[("machine", "one"), ("machine", "two")]).adapt(table(("new",), 10))
    old = table(("two",), 20, 5)
    assert np.array_equal(adapted.predict(old.questions).point, model.predict(old.questions).point)


def test_too_few_shots_promise_no_interval() -> None:
    adapted = Adapted(learned(), scope={"machine": ["new"]}).adapt(table(("new",), 5))
    prediction = adapted.predict(table(("new",), 8, 2).questions)
    assert np.isnan(prediction.low).all()
    assert not prediction.calibrated.any()


def test_shots_that_agree_change_little() -> None:
    model, asked = learned(), table(("one",), 100, 4)
    assert error(Adapted(model).adapt(table(("one",), 20, 9)), asked) <= error(model, asked) + 0.01


def test_the_most_telling_rows_are_spread_and_their_count_is_kept() -> None:
    candidates = table(("new",), 80, 2).questions
    rows = Adapted(learned(), scope={"machine": ["new"]}, others=[("machine", m) for m in ("one", "two", "three")]).most_telling(candidates, 6)
    assert len(set(rows.tolist())) == 6
    picked = candidates.frame.iloc[rows]
    ratio = np.log(picked["compute"] / picked["move"])
    assert ratio.max() > 1.0
    assert ratio.min() < -1.0


def test_shots_without_an_answer_are_refused() -> None:
    rows = table(("new",), 5)
    with pytest.raises(TableError, match="no row has a positive answer"):
        Adapted(learned()).adapt(Table(rows.questions, {"power_w": np.ones(5)}, rows.groups, rows.slices, "made"))
