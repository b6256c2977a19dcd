"""Scales: there and back, and what cannot be learned is an error."""

from __future__ import annotations

import numpy as np
import pytest

from silicast.datasets.errors import TableError
from silicast.features.tabular import Features
from silicast.surrogates.target_scale import SCALES, all_points, answers, choose_scale, clipped, decode, encode, floor_share, learned_targets

BARE = Features(("a",), ("1",), np.zeros((4, 1), dtype=np.float32))
WITH = Features(("a",), ("1",), np.zeros((4, 1), dtype=np.float32), reference={"t": np.array([1.0, 2.0, 4.0, 8.0])}, floor={"t": np.array([0.5, 1.0, 2.0, 4.0])})


@pytest.mark.parametrize(("truth", "features", "scale"), [
    ([1.0, 3.0, 5.0, 6.0], WITH, "ratio"), ([1.0, 3.0, 5.0, 6.0], BARE, "log"), ([0.0, 3.0, 5.0, 6.0], BARE, "log1p"), ([-1.0, 3.0, 5.0, 6.0], BARE, "plain")])
def test_there_and_back(truth: list[float], features: Features, scale: str) -> None:
    given = np.array(truth)
    assert choose_scale("t", given, features) == scale
    assert scale in SCALES
    np.testing.assert_allclose(decode("t", encode("t", given, features, scale), features, scale, least=-1e9), given, rtol=1e-12, atol=1e-12)


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
