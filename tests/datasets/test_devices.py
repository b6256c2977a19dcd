"""Sampled machines: near their base, consistent in themselves, the same for the same seed."""

import numpy as np
import pytest

from silicast.datasets.devices import SCALE, sample_device
from silicast.datasets.errors import InputError, UnknownNameError
from silicast.datasets.hardware import Fabric, Hardware, MemoryLevel, SpatialArray

# figures made up for the test; no real device
GPU = Hardware("g", "G", "gpu", (MemoryLevel("l1", 2e7, 3e13), MemoryLevel("l2", 5e7, 5e12), MemoryLevel("hbm", 8e10, 2e12)), 1.5e9,
               {"float16": 3e14, "float32": 2e13}, {"float32": 2e13}, units=108, tdp_w=400.0, idle_w=50.0, launch_overhead_s=4e-6, process_nm=7,
               aliases=("gg",), vendor="V", year=2020, notes="made up", cited={"clock": "x"})
CPU = Hardware("c", "C", "cpu", (MemoryLevel("l2", 1e6), MemoryLevel("l3", 4e7, 1e12), MemoryLevel("ddr", 1e11, 1e11)), 3e9, {"float32": 2e12}, units=20, tdp_w=200.0)
NPU = Hardware("n", "N", "npu", (MemoryLevel("sram", 1e5, 1e11, 1e-12, 1e-12), MemoryLevel("dram", 1e9, 1e10)), 2e8, {"int8": 2 * 168 * 2e8},
               array=SpatialArray(12, 14, "rs", mac_j=1e-12))
FLEX = Hardware("f", "F", "npu", (MemoryLevel("sram", 1e6, 1e12), MemoryLevel("dram", 1e9, 1e10)), 1e9, array=SpatialArray(128, 128, "flexible", count=4), units=4)
FPGA = Hardware("z", "Z", "fpga", (MemoryLevel("bram", 4e6), MemoryLevel("ddr", 4e9, 2e10)), 2e8, fabric=Fabric(230000, 460000, 1728, 624, 96), tdp_w=30.0)
ALL = (GPU, CPU, NPU, FLEX, FPGA)


def many(kind: str, around=ALL, count: int = 60) -> list[Hardware]:
    return [sample_device(np.random.default_rng(seed), kind, around) for seed in range(count)]


@pytest.mark.parametrize("kind", ["gpu", "cpu", "npu", "fpga"])
def test_devices_are_valid_distinct_and_repeat(kind):
    devices = many(kind)
    assert many(kind) == devices
    assert len({d.digest for d in devices}) == len({d.key for d in devices}) == len(devices)
    for d in devices:
        assert d.kind == kind
        assert d.key == f"sampled_{kind}_{d.digest[:10]}"
        assert not d.cited
        assert not d.aliases
        assert d.vendor == ""
        assert d.year is None
        assert "sampled around" in d.notes
        assert Hardware.from_json(d.to_json()) == d
        assert d.memory[-1].capacity_bytes >= d.memory[0].capacity_bytes


def test_rates_follow_units_and_clock():
    for d in many("gpu"):
        expected = (d.units / GPU.units) * (d.clock_hz / GPU.clock_hz)
        for dtype, rate in GPU.matrix_rate.items():
            assert d.matrix_rate[dtype] / rate == pytest.approx(expected)
        assert d.vector_rate["float32"] / GPU.vector_rate["float32"] == pytest.approx(expected)


def test_an_array_keeps_its_rate():
    flows = set()
    for d in many("npu", [NPU]):
        assert d.matrix_rate["int8"] == pytest.approx(2 * d.array.rows * d.array.cols * d.array.count * d.clock_hz)
        for side in (d.array.rows, d.array.cols):
            assert side % 4 == 0 or side & (side - 1) == 0
        assert d.array.mac_j == 1e-12
        flows.add(d.array.dataflow)
    assert flows == {"ws", "os", "is", "rs"}
    assert {d.array.dataflow for d in many("npu", [FLEX])} >= {"ws", "os", "is", "rs", "flexible"}
    for d in many("npu", [FLEX]):
        assert d.units == d.array.count


def test_figures_stay_near_the_base():
    low, high = SCALE
    devices = many("gpu")
    for figure in (lambda d: d.clock_hz, lambda d: d.tdp_w, lambda d: d.memory[-1].bandwidth_bytes_per_s, lambda d: d.memory[-1].capacity_bytes):
        ratios = np.array([figure(d) / figure(GPU) for d in devices])
        assert low * 0.999 <= ratios.min() < 0.6
        assert 1.7 < ratios.max() <= high * 1.001
    for d in devices:
        assert d.idle_w / d.tdp_w == pytest.approx(GPU.idle_w / GPU.tdp_w)
        assert d.process_nm == 7
        bandwidths = [m.bandwidth_bytes_per_s for m in d.memory]
        assert bandwidths == sorted(bandwidths, reverse=True)
        capacities = [m.capacity_bytes for m in d.memory]
        assert capacities == sorted(capacities)


def test_unknown_figures_stay_unknown():
    for d in many("cpu"):
        assert d.memory[0].bandwidth_bytes_per_s is None
        assert d.idle_w is None
        assert d.launch_overhead_s is None
    for d in many("fpga"):
        assert not d.matrix_rate
        assert d.fabric.uram > 0
        assert d.fabric.lut / FPGA.fabric.lut == pytest.approx(d.fabric.dsp / FPGA.fabric.dsp, rel=0.6)


def test_what_cannot_be_sampled_is_an_error():
    with pytest.raises(UnknownNameError, match="gpu"):
        sample_device(np.random.default_rng(0), "gpus", ALL)
    with pytest.raises(InputError, match=r"no mcu to sample around: got 5 devices of the kinds cpu, fpga, gpu, npu"):
        sample_device(np.random.default_rng(0), "mcu", ALL)
