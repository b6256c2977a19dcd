"""Energies by hand from the cited table; what a clock above those of a node's data-centre GPUs costs."""

import numpy as np
import pytest

from silicast.datasets.dtypes import DTYPE_CODES
from silicast.datasets.simulator import technology as tech


def test_energies_of_the_cited_table():
    at_7, at_45 = (tech.mac_j(np.array([node]))[0] * 1e12 for node in (7.0, 45.0))
    assert at_7[DTYPE_CODES["float32"]] == pytest.approx(1.31 + 0.38)
    assert at_45[DTYPE_CODES["float16"]] == pytest.approx(1.1 + 0.4)
    # eight bits: an integer's multiplier, sums in floating point
    assert at_7[DTYPE_CODES["float8"]] == pytest.approx(0.07 + 0.16)
    assert at_45[DTYPE_CODES["float8"]] == pytest.approx(0.2 + 0.4)
    assert (at_7 < at_45).all()


def test_a_narrower_format_costs_no_more():
    mac = tech.mac_j(np.array([45.0, 16.0, 7.0, 4.0]))
    for narrow, wide in (("float4", "float8"), ("float8", "float16"), ("float16", "float32"), ("float32", "float64"), ("int2", "int4"), ("int4", "int8"), ("int8", "int16"), ("int16", "int32")):
        assert (mac[:, DTYPE_CODES[narrow]] <= mac[:, DTYPE_CODES[wide]]).all(), (narrow, wide)


def test_a_byte_of_a_larger_memory_costs_no_less():
    sizes = np.array([1e3, 8e3, 32e3, 200e3, 1e6, 1e9])
    joules = tech.sram_j_per_byte(sizes, np.full(6, 7.0))
    assert (np.diff(joules) >= 0).all()
    assert joules[1] == pytest.approx(7.5e-12 / 8)


def test_voltage_follows_the_clock_of_a_node():
    assert tech.clock_voltage(1.41e9, 7.0, 0.65) == pytest.approx(1.0)      # A100
    assert tech.clock_voltage(2.82e9, 7.0, 0.65) == pytest.approx(2.0)
    assert tech.clock_voltage(0.3e9, 7.0, 0.65) == 0.65                     # no lower
    assert tech.clock_voltage(1.695e9, 5.5, 0.65) == pytest.approx(1.0)      # half-way from 7 nm to 4 nm
    assert tech.clock_voltage(1.48e9, 28.0, 0.65) == pytest.approx(1.0)     # older nodes: as the oldest
