"""Shares add up to one, are no worse than the best member on the held-out rows, and a row's answer is its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import TableError
from silicast.datasets.table import FeatureQuestions, Table
from silicast.surrogates.ensemble import Ensemble
from silicast.surrogates.neural import Neural
from silicast.surrogates.prediction import Prediction
from silicast.surrogates.rehearsal import Rehearsal


class Off:
    """Answers the truth (column `x`) times a factor per row, out of `exp(bias + noise * column)`; `shift` is added after."""

    name, shape = "analytic", "features"

    def __init__(self, bias: float, noise: str = "", shift: float = 0.0, targets: tuple[str, ...] = ("latency_s",)) -> None:
        self.bias, self.noise, self.shift, self.targets = bias, noise, shift, targets

    def fit(self, table: Table, valid: Table | None = None) -> Any:
        return self

    def predict(self, questions: FeatureQuestions) -> Prediction:
        frame = questions.frame
        noise = frame[self.noise].to_numpy() if self.noise else 0.0
        one = frame["x"].to_numpy() * np.exp(self.bias + noise) + self.shift
        return Prediction.bare(self.targets, np.column_stack([one] * len(self.targets)))

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        return {}, {}


def table(n: int = 200, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": np.exp(rng.normal(size=n)), "u": 0.3 * rng.normal(size=n), "v": 0.3 * rng.normal(size=n)})
    return Table(FeatureQuestions(frame), {"latency_s": frame["x"].to_numpy()}, np.arange(n).astype(object), pd.DataFrame(index=range(n)), "made up")


def error(model: Any, rows: Table) -> float:
    return float(np.median(np.abs(model.predict(rows.questions).point[:, 0] / rows.targets["latency_s"] - 1)))


@pytest.mark.parametrize("members", [
    [Off(0.0), Off(1.0)], [Off(1.0), Off(0.0)], [Off(0.2), Off(-0.2)], [Off(0.0, "u"), Off(0.0, "v")], [Off(0.5), Off(0.0, "u"), Off(-0.4, "v")],
    [Off(2.0), Off(2.0), Off(0.0)], [Off(0.0)]])
def test_no_worse_than_the_best_member(members: list[Any]) -> None:
    valid = table(seed=1)
    model = Ensemble(members).fit(table(), valid)
    weights = np.array(model.weights()[0]["weights"]["latency_s"])
    assert weights.sum() == pytest.approx(1.0)
    assert (weights >= 0).all()
    assert error(model, valid) <= min(error(m, valid) for m in members) + 1e-12


def test_opposite_errors_cancel() -> None:
    assert error(Ensemble([Off(0.2), Off(-0.2)]).fit(table(), table(seed=1)), table(seed=2)) < 1e-9


def test_without_held_out_rows_all_weigh_the_same() -> None:
    model = Ensemble([Off(0.2), Off(0.4)]).fit(table())
    np.testing.assert_allclose(model.predict(table().questions).point[:, 0], table().targets["latency_s"] * np.exp(0.3))


def test_a_rows_answer_does_not_hang_on_the_others() -> None:
    model, rows = Ensemble([Off(0.0), Off(0.3, shift=-0.5)]).fit(table()), table()  # the shift makes some answers negative
    together = model.predict(rows.questions).point
    alone = np.concatenate([model.predict(rows.questions.take(np.array([i]))).point for i in range(40)])
    np.testing.assert_allclose(alone, together[:40], rtol=1e-12)


def test_many_questions_are_answered_once_by_the_same_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("silicast.surrogates.ensemble._ROWS_FOR_LANES", 50)
    model, rows = Ensemble([Off(0.0), Off(0.3)]).fit(table()), table(seed=3)
    expected = model.predict(rows.questions).point
    few = np.concatenate([model.predict(rows.questions.take(np.arange(at, at + 40))).point for at in range(0, 200, 40)])
    np.testing.assert_array_equal(expected, few)
    asked = []
    monkeypatch.setattr(Off, "predict", lambda self, questions: asked.append(self))
    np.testing.assert_array_equal(model.predict(rows.questions).point, expected)  # what was said stays with the questions
    assert not asked
    monkeypatch.undo()
    monkeypatch.setattr("silicast.surrogates.ensemble._ROWS_FOR_LANES", 50)
    model.members[1].bias = 0.5  # as if it had learned something else
    assert model.fit(table()).predict(rows.questions).point == pytest.approx(few * np.exp(0.1))


@pytest.mark.parametrize(("rows", "quarters"), [(400, True), (4_000, False)])
def test_shares_over_folds_are_fine_where_rows_are_many(rows: int, quarters: bool) -> None:
    """A member with errors of a twentieth beside one with a half: by hand the best share of the first is near 0.99; in quarters, drawn to equal shares, 0.875."""
    rng = np.random.default_rng(0)
    truth = np.exp(rng.normal(size=rows))
    points = [{"latency_s": truth * np.exp(s * rng.normal(size=rows))} for s in (0.05, 0.5)]
    cuts = np.array_split(np.arange(rows), 5)
    parts = [Rehearsal({"latency_s": truth[at]}, [{"latency_s": p["latency_s"][at]} for p in points], np.full(len(at), "gemm"), at) for at in cuts]
    share = Ensemble([Off(0.0), Off(0.0)])._over_folds(parts, "latency_s")[0]
    assert share == pytest.approx(0.875) if quarters else share > 0.95


def test_members_must_agree_on_targets() -> None:
    for members in ([], [Off(0.0), Off(0.0, targets=("power_w",))]):
        with pytest.raises(TableError, match="same targets"):
            Ensemble(members)


def test_shares_before_anything_is_rehearsed() -> None:
    """A new machine's latency comes from its kin, its watts from who leans on no simulator."""
    members = [Off(0.0, targets=("latency_s", "power_w")) for _ in range(4)]
    assert Ensemble(members)._likely("power_w") == pytest.approx([0.25] * 4)
    members[1].columns, members[2].columns = "roofline", "kin"  # type: ignore[attr-defined]
    model = Ensemble(members)
    assert model._likely("latency_s") == pytest.approx([0.175, 0.175, 0.475, 0.175])  # 0.3 for kin, the rest in four
    assert model._likely("power_w") == pytest.approx([0.25 / 3, 0.75, 0.25 / 3, 0.25 / 3])


class Squared(Off):
    """Answers the square of the truth: half a share of it, with nothing beside, would be right, and is no mean."""

    def predict(self, questions: FeatureQuestions) -> Prediction:
        return Prediction.bare(self.targets, questions.frame[["x"]].to_numpy() ** 2)


def test_shares_add_up_when_one_member_has_it_all() -> None:
    model = Ensemble([Off(9.0), Squared(0.0)]).fit(table(), table(seed=1))
    assert sum(model.weights()[0]["weights"]["latency_s"]) == pytest.approx(1.0)


def test_what_learns_again_goes_on() -> None:
    """Networks take fewer epochs the second time."""
    pytest.importorskip("torch", reason="torch is not installed")
    epochs: list[int] = []

    def member() -> Any:
        return Neural(targets=("latency_s",), samples=40_000, hidden=16, blocks=1, batch=64, progress=lambda epoch, of, loss: epochs.append(of))

    rows = table(300)
    model = Ensemble([member(), Off(0.1)]).fit(rows)
    first, weights = len(epochs), model.weights()[0]["weights"]
    model.learn_again([member(), Off(0.1)], rows)
    assert len(epochs) - first == round(0.25 * first)
    assert model.weights()[0]["weights"] == weights
