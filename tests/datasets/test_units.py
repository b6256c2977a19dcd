"""Units: factors that everyone knows, and one clear error for the rest."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silicast.datasets.errors import UnitError
from silicast.datasets.measurement import TARGETS
from silicast.datasets.units import UNITS, to_si


@pytest.mark.parametrize(("value", "unit", "quantity", "si"), [
    (3, "ms", "time", 0.003), (2.5, "us", "time", 2.5e-6), (7, "ns", "time", 7e-9), (4, "pJ", "energy", 4e-12), (2, "kJ", "energy", 2000.0), (5, "mW", "power", 0.005),
    (1, "KiB", "bytes", 1024.0), (1, "kB", "bytes", 1000.0), (2, "GiB", "bytes", 2147483648.0), (8, "bit", "bytes", 1.0), (1, "Mb", "bytes", 125000.0),
    (1, "pJ/bit", "energy_per_byte", 8e-12), (12, "%", "fraction", 0.12), (3, "Top/s", "rate", 3e12), (7, "nm", "length", 7e-9), (0, "s", "time", 0.0),
    (-1, "J", "energy", -1.0), (2, "min", "time", 120.0), (1, "h", "time", 3600.0), (1, "kWh", "energy", 3.6e6), (5, "mWh", "energy", 18.0), (3, "TFLOPS", "rate", 3e12), (2, "GFLOP/s", "rate", 2e9),
    (1, "GiB/s", "bandwidth", 1073741824.0), (4, "count", "count", 4.0),
])
def test_known_factors(value, unit, quantity, si):
    assert to_si(value, unit, quantity, "here") == pytest.approx(si, rel=1e-15)


def test_a_unit_of_something_else_says_so():
    with pytest.raises(UnitError, match=r"^net.yaml: clock: unit 'ms' measures time; expected a unit of frequency: Hz, kHz, MHz, GHz$"):
        to_si(1, "ms", "frequency", "net.yaml: clock")
    with pytest.raises(UnitError, match="unit 'parsec' is unknown; expected a unit of time: s, ms, us, ns"):
        to_si(1, "parsec", "time", "x")


@pytest.mark.parametrize("value", [True, "5", None, math.nan, math.inf, [1]])
def test_a_value_that_is_no_finite_number(value):
    with pytest.raises(UnitError, match="expected a finite number of s, got"):
        to_si(value, "s", "time", "x")


def test_every_target_has_units_and_si_is_among_them():
    for target in TARGETS.values():
        assert UNITS[target.quantity][target.unit] == 1.0


@given(st.sampled_from(sorted(UNITS)).flatmap(lambda q: st.tuples(st.just(q), st.sampled_from(sorted(UNITS[q])), st.sampled_from(sorted(UNITS[q])))),
       st.floats(1e-6, 1e6))
def test_units_of_one_quantity_convert_both_ways(drawn, value):
    quantity, one, other = drawn
    there = to_si(value, one, quantity, "x") / UNITS[quantity][other]
    assert to_si(there, other, quantity, "x") == pytest.approx(to_si(value, one, quantity, "x"), rel=1e-12)
