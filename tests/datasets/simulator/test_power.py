"""The power limit, voltage and clock by hand."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.datasets import catalog
from silicast.datasets.columns import OpColumns
from silicast.datasets.ops import Op
from silicast.datasets.simulator import simulate_ops
from silicast.datasets.simulator.kernels import Kernels
from silicast.datasets.simulator.machine import VOLTAGE_FLOOR, Machines
from silicast.datasets.simulator.power import capped, power_capped
from silicast.datasets.simulator.throughput import throughput_costs


def at(time: float, compute: float, dynamic: float, static: float, limit: float, fixed: float = 0.0, least: float = 0.4) -> tuple[float, float]:
    seconds, joules = power_capped(*(np.array(x) for x in (time, compute, dynamic, static, limit, fixed, least)))
    return float(seconds), float(joules)


def test_a_kernel_that_computes():
    # 8 J in 1 s where 1 W is allowed: clock at the cube root of 1/8 = 0.5, energy 8 x 0.25 = 2 J over 2 s
    assert at(1.0, 1.0, 8.0, 0.0, 1.0) == pytest.approx((2.0, 2.0))
    # 1,000 J: the voltage stops at 0.4: 160 J, stretched to 160 s
    assert at(1.0, 1.0, 1000.0, 0.0, 1.0) == pytest.approx((160.0, 160.0))
    # 2 J more that the clock does not touch, 3 W: 8 f^3 + 2 f = 3 at f = 0.60583: 8 x 0.36703 + 2 = 4.93623 J over 1.65063 s
    seconds, joules = at(1.0, 1.0, 10.0, 0.0, 3.0, fixed=2.0)
    assert joules / seconds == pytest.approx(3.0)
    assert 8.0 / seconds**3 + 2.0 / seconds == pytest.approx(3.0)


def test_a_kernel_that_waits_for_memory_only_lowers_its_voltage():
    # 4 J on the chip and 1 J of DRAM in 1 s, 2 W allowed: (2 - 1) / 4 of the energy is left at half the voltage and clock; 0.4 s of arithmetic becomes 0.8 s
    assert at(1.0, 0.4, 5.0, 0.0, 2.0, fixed=1.0) == pytest.approx((1.0, 2.0))


def test_below_the_limit_nothing_changes():
    for limit in (100.0, np.inf):
        assert at(1.0, 1.0, 8.0, np.nan, limit) == (1.0, 8.0)


@given(*(st.floats(0.1, 10) for _ in range(2)), st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 3))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_limit_holds_and_more_room_is_never_slower(time, dynamic, compute, fixed, limit):
    seconds, joules = at(time, compute * time, dynamic, 0.0, limit, fixed * dynamic, VOLTAGE_FLOOR)
    assert joules <= seconds * limit * (1 + 1e-9)
    assert joules <= dynamic * (1 + 1e-12)
    assert seconds >= time
    assert at(time, compute * time, dynamic, 0.0, limit * 1.1, fixed * dynamic, VOLTAGE_FLOOR)[0] <= seconds * (1 + 1e-9)


def test_components_follow_the_cap_and_dram_does_not():
    a100 = catalog.hardware("a100_sxm")
    machines = Machines.of([dataclasses.replace(a100, tdp_w=150.0)])
    free = throughput_costs(Kernels.cold(OpColumns.from_ops([Op.of("x", "gemm", m=8192, n=8192, k=8192)])), machines)
    held = capped(free, machines)
    assert held.dram_j == free.dram_j
    assert held.compute_j < free.compute_j
    assert held.compute_j / free.compute_j == pytest.approx(held.cache_j / free.cache_j)
    assert held.dynamic_j == pytest.approx(held.compute_j + held.local_j + held.cache_j + held.dram_j)
    assert held.time_s > free.time_s


def test_a_lower_clock_takes_longer_and_less_energy():
    a100 = catalog.hardware("a100_sxm")
    ops = OpColumns.from_ops([Op.of("x", "gemm", m=8192, n=8192, k=8192)])
    clocks = [1410e6, 1200e6, 1000e6, 700e6]
    answer = simulate_ops(ops, [a100.at(clock_hz=c, power_limit_w=10_000.0) for c in clocks])
    assert list(answer.time_s[0]) == sorted(answer.time_s[0])
    # on the chip the voltage counts squared: 1000 of 1410 MHz is 0.7092; 700 lies below the floor of 0.65
    chip = (answer.compute_j + answer.local_j + answer.cache_j)[0]
    assert chip[2] / chip[0] == pytest.approx((1000 / 1410) ** 2, rel=1e-6)
    assert chip[3] / chip[0] == pytest.approx(0.65**2, rel=1e-6)
