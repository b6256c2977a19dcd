from __future__ import annotations

from typing import Any

import pytest

from silicast.datasets.errors import FormatError
from silicast.training.gate import Parity, may_promote


def test_gate_first_champion(make_card: Any) -> None:
    assert may_promote(make_card(), None) == (True, ("first champion; coverage holds",))
    allowed, reasons = may_promote(make_card(coverage=0.76), None)
    assert allowed
    assert reasons == ("flagged: latency_s: coverage 0.760 is outside 0.85..0.95",)


@pytest.mark.parametrize(("coverage", "said"), [(0.749, "latency_s: coverage 0.749 is outside 0.75..1.00"), (0.1, "outside"), (float("nan"), "no coverage on record")])
def test_gate_refuses_a_first_champion_whose_latency_intervals_do_not_hold(make_card: Any, coverage: float, said: str) -> None:
    allowed, reasons = may_promote(make_card(coverage=coverage), None)
    assert not allowed
    assert said in "; ".join(reasons)
    assert may_promote(make_card(coverage=0.75), None)[0]  # 0.9 - 0.15


def test_gate_only_flags_a_first_champion_for_other_targets(make_card: Any) -> None:
    allowed, reasons = may_promote(make_card(coverage=0.5, targets=("power_w",)), None)
    assert allowed
    assert reasons == ("flagged: power_w: coverage 0.500 is outside 0.85..0.95",)


def test_gate_does_not_judge_the_intervals_of_what_is_counted(make_card: Any) -> None:
    counted = {"all": {"latency_s": {"median_ape": 0.05, "coverage": 0.9}, "memory_bytes": {"median_ape": 0.0, "coverage": 1.0}}}
    new = make_card(targets=("latency_s", "memory_bytes"), metrics=counted)
    assert may_promote(new, None) == (True, ("first champion; coverage holds",))
    assert not any("coverage" in reason for reason in may_promote(new, make_card())[1])
    learned = {"all": {**counted["all"], "memory_bytes": {"median_ape": 0.02, "coverage": 1.0}}}
    assert "memory_bytes: coverage 1.000" in may_promote(make_card(targets=("latency_s", "memory_bytes"), metrics=learned), None)[1][0]


def sliced(make_card: Any, error: float, rows: int = 100, where: str = "kind=fpga") -> Any:
    return make_card(metrics={"all": {"latency_s": {"median_ape": 0.05, "coverage": 0.9}}, where: {"latency_s": {"median_ape": error, "rows": rows}}})


@pytest.mark.parametrize(("new", "old", "allowed"), [
    (0.1250, 0.10, True), (0.1251, 0.10, False),    # a quarter worse, and a little more
    (0.0150, 0.010, True), (0.0151, 0.010, False),  # 50 % worse, but half a percentage point, and a little more
    (0.0050, 0.000, True), (0.0051, 0.000, False), (0.01, 0.50, True)])
@pytest.mark.parametrize("where", ["kind=fpga", "family=mlp"])
def test_gate_compares_slices(make_card: Any, new: float, old: float, allowed: bool, where: str) -> None:
    got, reasons = may_promote(sliced(make_card, new, where=where), sliced(make_card, old, where=where))
    assert got is allowed
    assert allowed or f"latency_s where {where}: median APE {new:.4f} is more than 25% worse" in reasons[0]


def test_gate_compares_no_slice_that_is_small_missing_or_a_single_device(make_card: Any) -> None:
    old = sliced(make_card, 0.01)
    assert may_promote(sliced(make_card, 0.9, rows=99), old)[0]
    assert may_promote(sliced(make_card, 0.9), sliced(make_card, 0.01, rows=99))[0]
    assert may_promote(sliced(make_card, 0.9, where="kind=gpu"), old)[0]
    assert may_promote(sliced(make_card, 0.9, where="device=t4"), sliced(make_card, 0.01, where="device=t4"))[0]


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


def noisy(make_card: Any, error: float, rows: int, spread: float = 3.0) -> Any:
    """A slice with a 90th percentile `spread` times its median."""
    return make_card(metrics={"all": {"latency_s": {"median_ape": 0.05, "coverage": 0.9}}, "kind=gpu": {"latency_s": {"median_ape": error, "p90_ape": spread * error, "rows": rows}}})


@pytest.mark.parametrize(("rows", "allowed"), [
    # s = ln 3 / 1.2816 = 0.857; standard error of the difference of two logarithms of medians: 0.857 sqrt(pi / n); times 2.33
    (100, 0.25),     # exp(2.33 * 0.1519) - 1 = 0.425, held to 0.25
    (1000, 0.1185),  # exp(2.33 * 0.04804) - 1 = 0.1185
    (100_000, 0.05)])  # exp(2.33 * 0.004804) - 1 = 0.0113, never less than 0.05
def test_gate_lets_through_what_chance_explains(make_card: Any, rows: int, allowed: float) -> None:
    assert may_promote(noisy(make_card, 0.5 * (1 + allowed - 1e-3), rows), noisy(make_card, 0.5, rows))[0]
    refused, reasons = may_promote(noisy(make_card, 0.5 * (1 + allowed + 1e-3), rows), noisy(make_card, 0.5, rows))
    assert not refused
    assert "kind=gpu" in reasons[0]


def guarded(make_card: Any, error: float = 0.05, rows: int = 40, coverage: float = 0.9) -> Any:
    return make_card(metrics={"all": {"latency_s": {"median_ape": 0.05, "coverage": 0.9}}, "device=t4": {"latency_s": {"median_ape": error, "rows": rows, "coverage": coverage}}})


def test_gate_judges_protected_slices_by_error_coverage_and_presence(make_card: Any) -> None:
    old, named = guarded(make_card), ("device=t4",)
    assert may_promote(guarded(make_card, 0.5), old)[0]  # a single device is compared only where it is protected
    assert "device=t4: median APE 0.5000" in may_promote(guarded(make_card, 0.5), old, protected=named)[1][0]
    # 0.9 - 0.05 - 2.33 sqrt(0.09 / 40) = 0.7395
    assert may_promote(guarded(make_card, coverage=0.74), old, protected=named)[0]
    assert "(protected): coverage 0.739 is below 0.74" in may_promote(guarded(make_card, coverage=0.739), old, protected=named)[1][0]
    assert may_promote(guarded(make_card, coverage=0.6), guarded(make_card, coverage=0.6), protected=named)[0]  # no further off than the champion
    assert "fewer than 20 rows on record" in may_promote(make_card(), old, protected=named)[1][0]
    assert may_promote(make_card(), make_card(), protected=named)[0]  # the champion has no such rows either


def test_gate_asks_for_parity(make_card: Any) -> None:
    same, other = Parity("compiled", 2e-6, 100_000), Parity("compiled", 2e-5, 100_000)
    assert may_promote(make_card(), None, same) == (True, ("compiled: differs from the model by 2e-06 over 100,000 questions",))
    allowed, reasons = may_promote(make_card(), make_card(), other)
    assert (allowed, reasons[0]) == (False, "compiled: differs from the model by 2e-05 over 100,000 questions, more than 1e-05")
    assert not may_promote(make_card(), None, Parity("compiled", float("nan"), 1))[0]
    assert Parity.read(same.text()) == same
    assert Parity.read("no fast form") is None


def test_what_a_surrogate_says_of_its_fast_form(make_card: Any) -> None:
    class Says:
        def __init__(self, parity: Any) -> None:
            self.parity = parity

    class Form:
        form, worst, rows = "onnx", 3e-7, 10

    found = Parity("onnx", 3e-7, 10)
    assert Parity.of(object()) is None
    assert [Parity.of(Says(one)) for one in (None, found, lambda: found, Form(), Form)] == [None, found, found, found, found]
    for wrong in (7, "fast", Parity):
        with pytest.raises(FormatError, match="parity"):
            Parity.of(Says(wrong if wrong is not Parity else lambda: Parity("", 0.0, 1)))


def test_gate_judges_a_student(make_card: Any) -> None:
    def with_student(apart: float = 0.01, error: float = 0.051, coverage: float = 0.9) -> Any:
        told = {"latency_s": {"median_apart": apart, "p90_apart": 3 * apart, "questions": 900},
                "latency_s on real rows": {"student_median": error, "model_median": 0.05, "student_coverage": coverage, "rows": 400}}
        return make_card(metrics={"all": {"latency_s": {"median_ape": 0.05, "coverage": 0.9}}, "student": told})

    good = with_student()
    assert Parity.of(object(), good) == Parity("student", 0.01, 900, 0.05)
    assert may_promote(good, None, Parity.of(None, good))[0]
    for bad, said in ((with_student(apart=0.06), "student: differs from the model by 0.06"), (with_student(error=0.06), "more than 10% worse than the model's"),
                      (with_student(coverage=0.8), "student, latency_s on real rows: coverage 0.800")):
        allowed, reasons = may_promote(bad, None, Parity.of(None, bad))
        assert not allowed
        assert said in reasons[0]
