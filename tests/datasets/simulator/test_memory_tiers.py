"""Where weights and activations live: by hand, and against what the papers of the machines report."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silicast.datasets.catalog import hardware
from silicast.datasets.columns import OpColumns
from silicast.datasets.errors import InputError
from silicast.datasets.hardware import Hardware, MemoryLevel
from silicast.datasets.layers import Net
from silicast.datasets.ops import Op
from silicast.datasets.simulator.kernels import Kernels
from silicast.datasets.simulator.memory_tiers import fused_s, placement, streamed_latency_s, switch_s, switching_share, without_weight_traffic


def npu(*memory: MemoryLevel, backing: tuple[MemoryLevel, ...] = ()) -> Hardware:
    return Hardware("toy", "Toy", "npu", memory, clock_hz=1e9, matrix_rate={"int8": 1e12}, vector_rate={"int8": 1e11}, backing=backing)


DRAM = MemoryLevel("lpddr", 1000.0, 100.0)


def test_a_microcontroller_keeps_weights_in_flash_and_activations_in_sram():
    mcu = hardware("stm32f746")
    home = placement(900e3, 300e3, mcu)
    assert (home.weights, home.activations, home.infeasible) == ("flash", "sram", "")
    assert placement(1024 * 1024 + 10, 300e3, mcu).infeasible == "flash overflows by 10 bytes: weights need 1,048,586 of 1,048,576"
    assert placement(1.0, 320 * 1024 + 1, mcu).infeasible == "sram overflows by 1 bytes: activations need 327,681 of 327,680"
    both = placement(2 * 1024**2, 1024**2, mcu).infeasible
    assert "sram overflows by 720,896" in both
    assert "flash overflows by 1,048,576" in both


def test_one_memory_holds_both():
    assert placement(600.0, 400.0, npu(DRAM)).infeasible == ""
    assert placement(600.0, 401.0, npu(DRAM)).infeasible == "memory overflows: needs 1,001 bytes of 1,000"


def test_what_memory_cannot_hold_streams_from_behind_through_every_link():
    # 1000 B of memory, 200 of activations: 800 B of 2000 stay, 500 in ddr (50 B/s), 700 in flash (10 B/s) that pass the ddr link too
    machine = npu(DRAM, backing=(MemoryLevel("ddr", 500.0, 50.0), MemoryLevel("flash", 1e4, 10.0)))
    home = placement(2000.0, 200.0, machine)
    assert home.backed_bytes == (500.0, 700.0)
    assert home.streamed_bytes == 1200.0
    assert home.streamed_s == pytest.approx(max(1200 / 50, 700 / 10))
    assert home.infeasible == ""
    assert streamed_latency_s(3.0, home) == 70.0
    assert home.streamed_j == pytest.approx(1200 * 1300e-12 / 8 + 700 * 1300e-12 / 8), "DDR's energy on both links: neither publishes its own"
    paid = replace(machine, backing=(replace(machine.backing[0], read_j_per_byte=1e-12), replace(machine.backing[1], read_j_per_byte=5e-12)))
    assert placement(2000.0, 200.0, paid).streamed_j == pytest.approx(1200e-12 + 3500e-12)
    assert streamed_latency_s(100.0, home) == 100.0
    assert "memory overflows by 300 bytes: weights need 11,600" in placement(11600.0, 200.0, machine).infeasible
    assert "memory overflows" in placement(1.0, 1001.0, machine).infeasible, "activations never leave the machine"


def test_a_model_larger_than_the_wafer_does_not_run():
    assert placement(39e9, 1e9, hardware("wse_2")).infeasible == ""
    assert placement(40e9, 1e9, hardware("wse_2")).infeasible.startswith("memory overflows: needs 41,000,000,000 bytes of 40,000,000,000")
    assert placement(14e9, 1e6, hardware("groq_lpu_v1")).infeasible, "a 7B model needs many LPUs"


def test_hardwired_weights_cost_no_traffic_and_have_a_capacity():
    wired = npu(MemoryLevel("hardwired", 500.0, serves=("weights",)), DRAM)
    home = placement(500.0, 1000.0, wired)
    assert home.hardwired
    assert home.infeasible == ""
    assert home.streamed_s == 0.0
    assert placement(501.0, 10.0, wired).infeasible == "hardwired overflows by 1 bytes: weights need 501 of 500"
    net = Net("one", "int8")
    net.linear(net.input((1, 4096)), 4096, bias=False)
    work = net.build()
    plain, free = npu(DRAM), npu(MemoryLevel("hardwired", 1e9, serves=("weights",)), DRAM)
    assert fused_s(work, free) < fused_s(work, plain) / 1000


def test_wires_take_parameters_out_of_the_traffic_and_leave_caches_in():
    ops = OpColumns.from_ops([Op.of("w", "gemm", m=1, n=8, k=8, params=64, dtype="int8"),
                              Op.of("a", "attention", batch=1, heads=1, kv_heads=1, q_len=1, kv_len=10, head_dim=4, v_dim=4, dtype="int8")])
    wired = without_weight_traffic(Kernels.cold(ops)).ops
    assert wired.weight_bytes.tolist() == [0.0, 80.0]
    assert wired.matrix_flops.tolist() == ops.matrix_flops.tolist()


def test_switching_a_model_takes_what_the_maker_says():
    # Hot Chips 2024: 0.01 s for llama3.1 8B on 16 sockets; each socket brings a sixteenth of 8.03e9 bfloat16 parameters
    assert switch_s(8.03e9 * 2 / 16, hardware("sn40l")) == pytest.approx(0.01, rel=0.05)
    assert switching_share(1.0, 3.0) == 0.25
    assert switching_share(1.0, 3.0, miss_rate=0.5) == pytest.approx(0.5 / 3.5)
    assert switching_share(0.0, 0.0) == 0.0
    with pytest.raises(InputError, match="'h100_sxm' has the backing levels none"):
        switch_s(1e9, hardware("h100_sxm"))


def test_fused_is_one_launch_and_no_activations():
    net = Net("two", "bfloat16")
    x = net.input((8, 1024))
    for _ in range(2):
        x = net.relu(net.linear(x, 1024, bias=False))
    machine = replace(hardware("sn40l"), launch_overhead_s=1e-9)
    moved = (2 * 1024 * 1024 + 2 * 8 * 1024) * 2  # two weights, graph input and output
    assert fused_s(net.build(), machine) == pytest.approx(moved / (1.6e12 * 0.88), rel=1e-2)


@given(weights=st.floats(0, 1e6), activations=st.floats(0, 1e3), faster=st.floats(1.0, 100.0))
def test_more_bandwidth_behind_is_never_slower_and_nothing_is_lost(weights, activations, faster):
    def machine(speed: float) -> Hardware:
        return npu(DRAM, backing=(MemoryLevel("ddr", 1e4, 50.0 * speed), MemoryLevel("flash", 1e7, 10.0 * speed)))

    slow, fast = placement(weights, activations, machine(1.0)), placement(weights, activations, machine(faster))
    assert fast.streamed_s <= slow.streamed_s
    if not slow.infeasible:
        assert slow.streamed_bytes == pytest.approx(max(weights - (1000.0 - activations), 0.0), abs=1e-6)
