"""Areas: hand sums of published cells, absent where nobody published one, below the die where the die is known."""

from dataclasses import replace

import pytest

from silicast.datasets import catalog
from silicast.datasets.hardware import Hardware, MemoryLevel, SpatialArray
from silicast.datasets.simulator.area import array_area, array_area_mm2, mac_mm2, sram_mm2


def npu(**changes) -> Hardware:
    given = {"process_nm": 45.0, "matrix_rate": {"int8": 1e9}, **changes}
    return Hardware("toy", "Toy", "npu", (MemoryLevel("sram", 2**20), MemoryLevel("ddr", 1e9, 1e9)), 1e9, array=SpatialArray(4, 4, "ws"), **given)


def test_a_multiplier_by_hand():
    # 8-bit multiplier 282 + 32-bit adder 137 um2 (Horowitz, ISSCC 2014) and 3 x 8 + 32 flip-flops of 4.522 um2 (NanGate 45 nm)
    assert mac_mm2("int8", 45.0) == pytest.approx((282 + 137 + 56 * 4.522) * 1e-6)
    assert mac_mm2("int8", 22.5) == pytest.approx(mac_mm2("int8", 45.0) / 4)
    assert mac_mm2("float8", 45.0) is None
    assert mac_mm2("int4", 45.0) < mac_mm2("int8", 45.0) < mac_mm2("int16", 45.0) < mac_mm2("int32", 45.0)


def test_a_megabyte_by_hand():
    # 2**23 cells of 0.346 um2 (Intel 45 nm, IEDM 2007), 60 % of the memory
    assert sram_mm2(2**20, 45.0) == pytest.approx(2**23 * 0.346e-6 / 0.6)
    assert sram_mm2(2**20, 130.0) is None
    assert sram_mm2(2**20, 7.0) < sram_mm2(2**20, 12.0) < sram_mm2(2**20, 16.0)
    # the same bytes in many little copies take more
    assert sram_mm2(2**20, 45.0, copies=1024) > sram_mm2(2**20, 45.0)


def test_an_array_is_its_parts():
    area = array_area(npu())
    assert area.parts == {"multipliers": pytest.approx(16 * mac_mm2("int8", 45.0)), "sram": pytest.approx(sram_mm2(2**20, 45.0))}
    assert array_area_mm2(npu()) == pytest.approx(sum(area.parts.values()))


@pytest.mark.parametrize(("changes", "missing"), [
    ({"process_nm": None}, ("process", "array.pe_area", "memory.sram.area")),
    ({"matrix_rate": {"float8": 1e9}}, ("array.pe_area",)),
    ({"matrix_rate": {}}, ("matrix_rate",)),
    ({"process_nm": 130.0}, ("memory.sram.area",)),
])
def test_what_nobody_published_is_absent_not_zero(changes, missing):
    assert array_area(npu(**changes)).missing == missing
    assert array_area_mm2(npu(**changes)) is None


def test_published_areas_stand():
    machine = npu(process_nm=None)
    told = replace(machine, array=replace(machine.array, pe_area_mm2=0.01), memory=(replace(machine.memory[0], area_mm2=2.0), machine.memory[1]))
    assert array_area(told).parts == {"multipliers": pytest.approx(0.16), "sram": 2.0}
    assert not array_area(replace(told, process_nm=45.0)).assumed


# TPU v1: at most 331 mm2, 24 % matrix unit, 29 % unified buffer (Jouppi et al., ISCA 2017, table 2 and figure 2); Eyeriss: core of 3.5 mm x 3.5 mm (JSSC 2017)
@pytest.mark.parametrize(("key", "die"), [("tpu_v1", 331.0), ("eyeriss", 12.25)])
def test_parts_lie_below_the_die(key, die):
    assert 0.1 * die < array_area_mm2(catalog.hardware(key)) < die


def test_a_machine_without_an_array():
    assert array_area_mm2(catalog.hardware("a100_sxm")) is None
