"""Scales: there and back, and what cannot be learned is an error."""

from __future__ import annotations

import numpy as np
import pytest

from silicast.datasets.errors import TableError
from silicast.features.tabular import Features
from silicast.surrogates.target_scale import (
    SCALES,
    all_points,
    answers,
    choose_scale,
    clipped,
    decode,
    demand_w,
    encode,
    floor_share,
    learned_targets,
    limited_w,
)

BARE = Features(("a",), ("1",), np.zeros((4, 1), dtype=np.float32))
WITH = Features(("a",), ("1",), np.zeros((4, 1), dtype=np.float32), reference={"t": np.array([1.0, 2.0, 4.0, 8.0])}, floor={"t": np.array([0.5, 1.0, 2.0, 4.0])})


@pytest.mark.parametrize(("truth", "features", "scale"), [
    ([1.0, 3.0, 5.0, 6.0], WITH, "ratio"), ([1.0, 3.0, 5.0, 6.0], BARE, "log"), ([0.0, 3.0, 5.0, 6.0], BARE, "log1p"), ([-1.0, 3.0, 5.0, 6.0], BARE, "plain")])
def test_there_and_back(truth: list[float], features: Features, scale: str) -> None:
    given = np.array(truth)
    assert choose_scale("t", given, features) == scale
    assert scale in SCALES
    np.testing.assert_allclose(decode("t", encode("t", given, features, scale), features, scale, least=-1e9), given, rtol=1e-12, atol=1e-12)


def _limited(limit_w: list[float], **more: np.ndarray) -> Features:
    values = np.column_stack([np.log(limit_w), np.zeros(len(limit_w))]).astype(np.float32)
    return Features(("log_tdp", "weight_dtype"), ("log W", "code"), values, reference=more)


def test_watts_are_learned_as_what_would_be_drawn_without_a_limit() -> None:
    low, high = _limited([1000.0] * 4), _limited([1200.0] * 4)
    watts = np.array([250.0, 500.0, 850.0, 985.0])
    assert choose_scale("power_w", watts, low) == "demand"
    y = encode("power_w", watts, low, "demand")
    np.testing.assert_allclose(decode("power_w", y, low, "demand", least=0.0), watts, rtol=1e-5)
    on_other = decode("power_w", y, high, "demand", least=0.0)
    np.testing.assert_allclose(on_other[:2], watts[:2], rtol=0.01)  # far below a limit it makes no difference
    assert 1.1 * watts[3] < on_other[3] < 1.2 * watts[3]  # near it the limit is what is drawn
    assert (decode("power_w", y, _limited([100.0] * 4), "demand", least=0.0) <= 100.0 * (1.0 + 1e-6)).all()  # the column of limits is float32


def test_demand_is_for_single_operators_whose_limits_are_known_and_kept() -> None:
    watts = np.array([250.0, 500.0, 850.0, 985.0])
    told = {"power_w": np.full(4, 300.0)}
    assert choose_scale("power_w", watts, _limited([1000.0] * 4, **told)) == "demand"
    assert choose_scale("power_w", 2.0 * watts, _limited([1000.0] * 4, **told)) == "ratio"  # of several machines
    assert choose_scale("power_w", np.array([250.0, 500.0, 1040.0, 1050.0]), _limited([1000.0] * 4, **told)) == "ratio"  # its own limit lies above the published one
    assert choose_scale("power_w", watts, _limited([1000.0, np.nan, 1000.0, 1000.0], **told)) == "ratio"
    assert choose_scale("latency_s", watts, _limited([1000.0] * 4)) == "log"
    job = Features(("log_tdp",), ("log W",), _limited([1000.0] * 4).values[:, :1])
    assert choose_scale("power_w", watts, job) == "log"


def test_a_limit_that_nobody_published_cuts_nothing() -> None:
    unknown = np.full(3, np.nan)
    watts = np.array([1.0, np.nan, 300.0])
    np.testing.assert_array_equal(demand_w(watts, unknown), watts)
    np.testing.assert_array_equal(limited_w(watts, unknown), watts)
    # a reading at the limit, or above it, says no more than that as much was asked for
    over = demand_w(np.array([298.6, 300.0, 310.0]), np.full(3, 300.0))
    assert np.isfinite(over).all()
    assert over[1] == over[2]
    np.testing.assert_allclose(limited_w(np.array([1e30]), np.array([300.0])), 300.0)


def test_nothing_beats_the_speed_of_light_the_rows_respected() -> None:
    floor = WITH.floor["t"]
    assert floor_share("t", np.array([0.5, 1.5, 2.0, 9.0]), WITH) == 1.0
    np.testing.assert_array_equal(decode("t", np.full(4, -5.0), WITH, "ratio", least=-9.0, share=1.0), floor)  # however far the ratios went
    np.testing.assert_array_equal(decode("t", np.full(4, -5.0), WITH, "ratio", least=0.0, share=1.0), [1.0, 2.0, 4.0, 8.0])
    # a machine that runs a quarter above its published figures: the floor is where its rows put it
    assert floor_share("t", 0.8 * floor, WITH) == pytest.approx(0.8)
    np.testing.assert_allclose(decode("t", np.full(4, -5.0), WITH, "ratio", least=-9.0, share=0.8), 0.8 * floor)
    assert floor_share("t", np.full(4, np.nan), BARE) == 0.0


def test_one_network_on_many_machines_may_need_the_same_memory_everywhere() -> None:
    same = {"memory_bytes": np.full(4, 7.0)}
    assert len(answers("memory_bytes", same, {"memory_bytes": np.full(4, 5.0)})) == 4
    for reference in ({}, {"memory_bytes": np.array([1.0, 2.0, 3.0, 4.0])}):
        with pytest.raises(TableError, match="same value, 7, in all 4 rows"):
            answers("memory_bytes", same, reference)


def test_no_answers() -> None:
    for targets in ({}, {"t": np.full(4, np.nan)}):
        with pytest.raises(TableError, match="no row has an answer for 't'"):
            answers("t", targets, {})


def test_a_corrupt_row_pulls_only_so_far() -> None:
    y = np.concatenate([np.linspace(0, 1, 10_000), [1e6]])
    drawn, least = clipped(y)
    assert drawn.max() < 2.0
    assert -0.1 < least < 0.0


def test_energy_follows_from_latency_and_power() -> None:
    assert learned_targets(("latency_s", "power_w", "energy_j")) == ("latency_s", "power_w")
    assert learned_targets(("latency_s", "energy_j")) == ("latency_s", "energy_j")
    points = all_points({"latency_s": np.array([2.0]), "power_w": np.array([3.0])}, ("energy_j", "power_w", "latency_s"))
    np.testing.assert_array_equal(points, [[6.0, 3.0, 2.0]])
