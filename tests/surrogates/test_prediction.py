"""An answer is whole or it is an error: shapes agree, intervals hold their points, verdicts are known words."""

from __future__ import annotations

import json

import numpy as np
import pytest

from silicast.datasets.errors import FormatError, InputError
from silicast.surrogates.card import ModelCard
from silicast.surrogates.prediction import Domain, Prediction, consistent


def answer() -> Prediction:
    point = np.array([[2.0, 10.0], [4.0, np.nan]])
    return Prediction(("latency_s", "power_w"), point, point * 0.9, point * 1.1, 0.9, (Domain("in_domain"), Domain("extrapolating", "far")), "m", "1")


def test_answers_as_documents_and_tables() -> None:
    both = answer()
    assert len(both) == 2
    second = both.answer(1)
    assert second["targets"]["latency_s"] == {"point": 4.0, "low": pytest.approx(3.6), "high": pytest.approx(4.4)}
    assert second["targets"]["power_w"] == {"point": None, "low": None, "high": None}
    assert second["domain"] == {"verdict": "extrapolating", "reason": "far"}
    json.dumps(second, allow_nan=False)
    assert list(both.frame().columns) == ["latency_s", "latency_s_low", "latency_s_high", "power_w", "power_w_low", "power_w_high", "domain", "domain_reason", "calibrated"]
    assert both.signed("n", "2").version == "2"
    assert both.with_domain([Domain("unchecked")] * 2).domain[0].verdict == "unchecked"


@pytest.mark.parametrize(("verdict", "level", "high", "holds"), [
    ("in_domain", 0.9, 2.0, True), ("unchecked", 0.9, 2.0, True), ("extrapolating", 0.9, 2.0, False), ("unsupported", 0.9, 2.0, False),
    ("in_domain", 0.9, np.nan, False), ("in_domain", 0.9, np.inf, False), ("in_domain", 0.0, 2.0, False), ("unchecked", 0.0, 2.0, False),
])
def test_an_interval_is_sold_as_calibrated_only_where_it_is(verdict: str, level: float, high: float, holds: bool) -> None:
    point = np.array([[1.0, 1.0]])
    one = Prediction(("a", "b"), point, point * 0.5, np.array([[2.0, high]]), level, (Domain(verdict),))
    assert one.answer(0)["calibrated"] is holds
    assert one.calibrated.tolist() == [holds]
    assert one.frame()["calibrated"].tolist() == [holds]
    json.dumps(one.answer(0), allow_nan=False)


def test_no_answers() -> None:
    nothing = Prediction.nothing(("a", "b"))
    assert (len(nothing), nothing.point.shape) == (0, (0, 2))
    assert nothing.frame().empty
    assert nothing.calibrated.shape == (0,)


def test_what_is_not_an_answer() -> None:
    point = np.array([[1.0]])
    with pytest.raises(InputError, match="shape"):
        Prediction(("a", "b"), point, point, point, 0.9, (Domain("in_domain"),))
    with pytest.raises(InputError, match="does not hold"):
        Prediction(("a",), point, point + 1, point + 2, 0.9, (Domain("in_domain"),))
    with pytest.raises(InputError, match="verdict"):
        Domain("fine")
    with pytest.raises(InputError, match="no target 'x'"):
        answer().column("x")


def test_consistent() -> None:
    points = {"latency_s": np.array([2.0]), "power_w": np.array([5.0]), "energy_j": np.array([1.0])}
    assert consistent(points)["energy_j"][0] == 10.0
    assert consistent({"energy_j": np.array([1.0])})["energy_j"][0] == 1.0


def test_card_round_trip() -> None:
    card = ModelCard("m", "1", "graph", ("latency_s",), {"latency_s": "s"}, "1", "1", "made up", "d", 3, "none", 0.9, {"shape": "graph"}, {"all": {}})
    assert ModelCard.from_json(json.loads(json.dumps(card.to_json()))) == card
    for wrong in (None, [], {}, {**card.to_json(), "format": "x"}, {k: v for k, v in card.to_json().items() if k != "units"}):
        with pytest.raises(FormatError):
            ModelCard.from_json(wrong)  # type: ignore[arg-type]
