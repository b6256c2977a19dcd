from __future__ import annotations

from typing import Any

import pytest

from silicast.training.gate import may_promote


def test_gate_first_champion(make_card: Any) -> None:
    assert may_promote(make_card(), None) == (True, ("first champion; coverage holds",))
    allowed, reasons = may_promote(make_card(coverage=0.7), None)
    assert allowed
    assert reasons == ("flagged: latency_s: coverage 0.700 is outside 0.85..0.95",)


@pytest.mark.parametrize(("new", "allowed", "said"), [
    ({"error": 0.055}, True, "0.0550, champion 0.0500"),          # exactly 10 % worse
    ({"error": 0.0551}, False, "more than 10% worse"),
    ({"error": 0.001}, True, "champion 0.0500"),
    ({"coverage": 0.849}, False, "outside 0.85..0.95"),
    ({"coverage": 0.951}, False, "outside 0.85..0.95"),
    ({"coverage": 0.85}, True, "champion"),
    ({"coverage": float("nan")}, False, "no coverage on record"),
    ({"error": float("nan")}, False, "no median APE on record"),
    ({"targets": ("power_w",)}, False, "no longer answers latency_s"),
    ({"targets": ("latency_s", "power_w")}, True, "champion"),
    ({"data_digest": "other"}, True, "judged on other rows"),
    ({"extra": {"test_digest": "t"}}, True, "digests t and d"),
])
def test_gate_against_a_champion(make_card: Any, new: dict[str, Any], allowed: bool, said: str) -> None:
    got, reasons = may_promote(make_card(**new), make_card())
    assert got is allowed
    assert said in "; ".join(reasons)


def test_gate_is_not_locked_by_a_flagged_champion(make_card: Any) -> None:
    old = make_card(coverage=0.80)
    allowed, reasons = may_promote(make_card(coverage=0.82), old)
    assert allowed
    assert reasons[0] == "flagged: latency_s: coverage 0.820 is outside 0.85..0.95"
    assert may_promote(make_card(coverage=0.80), old)[0]
    assert not may_promote(make_card(coverage=0.79), old)[0]
    assert not may_promote(make_card(coverage=float("nan")), old)[0]


def test_gate_names_every_target_that_fell_back(make_card: Any) -> None:
    both = ("latency_s", "power_w")
    _, reasons = may_promote(make_card(error=0.2, targets=both), make_card(targets=both))
    assert [r.split(":")[0] for r in reasons] == list(both)
