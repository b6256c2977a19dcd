"""What stands in for figures nobody published, by hand."""

import dataclasses

import numpy as np
import pytest

from silicast.datasets.catalog import hardware, keys
from silicast.datasets.columns import FEW_MACHINES, DeviceColumns
from silicast.datasets.dtypes import DTYPE_CODES, DTYPE_NAMES
from silicast.datasets.simulator import technology as tech
from silicast.datasets.simulator.machine import Machines, static_w

HALF = DTYPE_CODES["float16"]


def mac(key: str, **changed: object) -> float:
    return float(Machines.of([dataclasses.replace(hardware(key), **changed)]).mac_j[0, HALF])  # type: ignore[arg-type]


def test_a_card_with_a_faster_clock_spends_more_on_the_same_product():
    bare = tech.mac_j(np.array([4.0]))[0, HALF]
    assert mac("l40s") == pytest.approx(bare * (2.52 / 1.98) ** 2, rel=1e-6)
    assert mac("h100_sxm") == pytest.approx(bare, rel=1e-6)
    assert mac("a100_sxm") == pytest.approx(tech.mac_j(np.array([7.0]))[0, HALF], rel=1e-6)


def test_a_lower_clock_than_published_lowers_the_voltage_to_a_floor():
    card = hardware("l40s")
    full, slow, crawl = (Machines.of([card.at(clock_hz=card.clock_hz * share)]).mac_j[0, HALF] for share in (1.0, 0.8, 0.1))
    assert slow / full == pytest.approx(0.64)
    assert crawl / full == pytest.approx(0.65**2)


def test_a_core_spends_more_than_a_gpu_and_other_machines_as_their_arrays_say():
    assert mac("xeon_8380") == pytest.approx(tech.mac_j(np.array([10.0]))[0, HALF] * tech.CORE_OVER_GPU)
    assert mac("tpu_like") == pytest.approx(0.04e-12)


def test_dense_products_of_a_core_near_its_power_limit():
    """A CPU's power limit is what it draws at its base clock: vector work at the full rate comes to within a third of it, and never beyond."""
    for key in ("xeon_8380", "xeon_gold_6226", "xeon_gold_6240"):
        machine = hardware(key)
        joules = Machines.of([machine]).mac_j[0, DTYPE_CODES["float32"]] / 2 * tech.PIPELINE_OVER_MAC["vector"]
        watts = joules * machine.rate("float32", matrix=False) + static_w(machine)
        assert 0.67 < watts / machine.tdp_w < 1.15, key


def test_static_power():
    assert static_w(hardware("a100_sxm")) == pytest.approx(0.2 * 400)
    assert static_w(hardware("a100_sxm").at(power_limit_w=100.0)) == pytest.approx(50.0)
    assert np.isnan(static_w(hardware("stm32f746"))) == (hardware("stm32f746").tdp_w is None and hardware("stm32f746").idle_w is None)


def test_many_machines_at_once_are_as_one_by_one():
    every = [hardware(key) for key in keys()]
    every += [card.at(clock_hz=0.8 * card.clock_hz) for card in every if card.kind == "gpu"]
    assert len(every) > FEW_MACHINES
    together, alone = Machines.of(every), [Machines.of([card]) for card in every]
    for many, single in ((together, alone), (together.figures, [one.figures for one in alone])):
        for name, values in vars(many).items():
            if name == "figures":
                continue
            expected = np.concatenate([getattr(one, name) for one in single])
            assert values.dtype == expected.dtype, name
            assert all(values == expected) if values.dtype == object else np.array_equal(values, expected, equal_nan=True), name


def test_rates_are_those_of_the_machine():
    every = [hardware(key) for key in keys()]
    columns = DeviceColumns.from_devices(every)
    assert columns.matrix_rate.tolist() == [[card.rate(d) for d in DTYPE_NAMES] for card in every]
    assert columns.vector_rate.tolist() == [[card.rate(d, matrix=False) for d in DTYPE_NAMES] for card in every]
