"""Timing against a clock that is made up."""

from __future__ import annotations

import time

import pytest

from silicast.datasets.measure.timing import LEAST_SAMPLE_S, WARM_S, timed


def test_median_and_spread_by_hand() -> None:
    """Calls of 1, 2, 3, 4 and 100 s: the median is 3; the deviations 2, 1, 0, 1, 97 have the median 1."""
    took = iter([1.0, 1.0, 1.0, 2.0, 3.0, 4.0, 100.0])  # a call to warm up and one to see how long it takes come first

    def clock(call: object, first: int, count: int) -> float:
        time.sleep(WARM_S * (first == 0))
        return next(took)

    found = timed(lambda i: None, repeats=5, most_s=1e9, clock=clock)
    assert (found.median_s, found.mad_s, found.samples, found.inner) == (3.0, 1.0, 5, 1)
    assert found.p10_s == pytest.approx(1.4)
    assert found.p90_s == pytest.approx(4.0 + 0.6 * 96.0)


def test_short_calls_are_timed_together_and_take_the_next_buffer_each_time() -> None:
    seen: list[int] = []
    took = timed(seen.append, repeats=4)
    assert took.inner > 10
    assert took.median_s < LEAST_SAMPLE_S
    assert seen == list(range(len(seen)))


def test_a_long_call_stops_early_with_three_samples() -> None:
    assert timed(lambda i: None, repeats=50, most_s=0.0, clock=lambda call, first, count: 0.1).samples == 3
