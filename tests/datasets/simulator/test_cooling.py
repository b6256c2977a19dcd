"""Cooling overheads against the figures of the papers that use them."""

import pytest

from silicast.datasets.errors import InputError
from silicast.datasets.simulator.cooling import cooling_overhead, sfq_switching_j, wall_plug_j


def test_known_temperatures():
    assert cooling_overhead(77.0) == pytest.approx(9.65)
    assert cooling_overhead(4.0) == pytest.approx(400.0)
    assert cooling_overhead(300.0) == cooling_overhead(350.0) == 0.0
    assert wall_plug_j(2.0, 77.0) == pytest.approx(2.0 * 10.65)


def test_carnot_bounds_it_and_colder_costs_more():
    kelvins = [2.0, 4.0, 10.0, 20.0, 77.0, 150.0, 290.0]
    overheads = [cooling_overhead(k) for k in kelvins]
    assert overheads == sorted(overheads, reverse=True)
    for k, overhead in zip(kelvins, overheads, strict=True):
        assert overhead > (300.0 - k) / k


def test_a_junction_of_a_tenth_of_a_milliampere_spends_two_tenths_of_an_attojoule():
    assert sfq_switching_j(1e-4) == pytest.approx(2.07e-19, rel=1e-3)
    assert sfq_switching_j(1e-4, 10) == pytest.approx(2.07e-18, rel=1e-3)


@pytest.mark.parametrize("kelvin", [0.0, -4.0, 0.5, float("nan")])
def test_impossible_temperatures(kelvin):
    with pytest.raises(InputError, match="at least 1 K"):
        cooling_overhead(kelvin)
    with pytest.raises(InputError, match="critical current"):
        sfq_switching_j(0.0)
