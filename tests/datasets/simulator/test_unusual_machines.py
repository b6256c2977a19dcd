"""simulate() on machines of several memories: banks that compute, flash, memory behind memory, wires."""

from dataclasses import replace

import pytest

from silicast.datasets.catalog import hardware
from silicast.datasets.errors import InputError
from silicast.datasets.hardware import MemoryLevel
from silicast.datasets.layers import Net
from silicast.datasets.simulator import simulate


def chain(depth: int, width: int, dtype: str = "bfloat16", batch: int = 1):
    net = Net("chain", dtype)
    x = net.input((batch, width))
    for _ in range(depth):
        x = net.relu(net.linear(x, width, bias=False))
    return net.build()


def test_a_vector_meets_its_weights_in_the_banks_and_a_batch_outside():
    pim = hardware("aim_gddr6")
    plain = replace(pim, key="no_banks", memory=pim.memory[1:])
    one, many = chain(4, 4096), chain(4, 4096, batch=512)
    # 1.024 TB/s inside, 64 GB/s over the pins
    assert 8 < simulate(one, plain).values["latency_s"] / simulate(one, pim).values["latency_s"] < 16
    assert simulate(many, pim).values["latency_s"] <= simulate(many, plain).values["latency_s"]


def test_a_microcontroller_says_which_memory_overflows():
    mcu = hardware("stm32f746")
    assert simulate(chain(2, 512, "int8"), mcu).infeasible == ""
    assert simulate(chain(5, 512, "int8"), mcu).infeasible == "flash overflows by 262,144 bytes: weights need 1,310,720 of 1,048,576"
    assert "sram overflows by" in simulate(chain(1, 512, "int8", batch=1024), mcu).infeasible


def test_weights_behind_the_memory_stream_at_every_run():
    gpu = hardware("apple_m1_max")
    work = chain(4, 46341, "float32")  # 34 GB, and the same again half as wide a memory cannot hold
    small = replace(gpu, key="small", memory=(*gpu.memory[:-1], replace(gpu.dram, capacity_bytes=2e10)))
    fits, streams = simulate(work, gpu), simulate(work, small)
    behind = work.weight_bytes - (2e10 - work.peak_activation_bytes)
    assert fits.infeasible == streams.infeasible == ""
    assert streams.values["latency_s"] == pytest.approx(max(fits.values["latency_s"], behind / 6.44e9), rel=1e-6)
    assert streams.op_latency_s.sum() == pytest.approx(streams.values["latency_s"])
    assert streams.values["energy_j"] > fits.values["energy_j"]
    assert simulate(work, replace(small, key="none", backing=())).infeasible.startswith("memory overflows: needs ")


def test_wires_are_never_slower_and_move_no_weights():
    plain = hardware("groq_lpu_v1")
    wired = replace(plain, key="wired", memory=(MemoryLevel("hardwired", 1e9, serves=("weights",)), *plain.memory))
    work = chain(3, 4096, "float16")
    assert simulate(work, wired).values["dram_bytes"] < simulate(work, plain).values["dram_bytes"] / 100
    assert simulate(work, wired).values["latency_s"] <= simulate(work, plain).values["latency_s"]


def test_a_memory_below_one_tile_is_refused():
    tpu = hardware("tpu_v1")
    with pytest.raises(InputError, match=r"memory.sram.capacity: expected at least 512 bytes"):
        replace(tpu, memory=(*tpu.memory[:1], replace(tpu.memory[1], capacity_bytes=100.0), tpu.dram))
