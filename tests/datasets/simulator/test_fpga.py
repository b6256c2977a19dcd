"""FPGA dataflow: a one-layer dense network by hand, and designs that do not fit."""

import dataclasses

import pytest

from silicast.datasets.hardware import Fabric, Hardware, MemoryLevel
from silicast.datasets.layers import Net
from silicast.datasets.ops import Op
from silicast.datasets.simulator import simulate
from silicast.datasets.workload import Workload

#: 8 inputs, 4 neurons, 16-bit: 32 products, 32 weights
DENSE = Workload("dense", (Op.of("a", "gemm", m=1, n=4, k=8, params=32),), ())


def board(lut: int = 100_000, dsp: int = 100, bram: int = 100, ff: int = 200_000, uram: int = 0) -> Hardware:
    return Hardware("toy", "Toy", "fpga", (MemoryLevel("ddr", 1e9, 1e10),), 100e6, fabric=Fabric(lut, ff, dsp, bram, uram))


def test_fully_parallel_by_hand():
    # R = 1: 32 multipliers, one DSP each (16 bits); a multiply, an adder tree of log2(8) = 3, two stages around: depth 6, then R = 1: 7 cycles
    answer = simulate(DENSE, board()).values
    assert (answer["dsp"], answer["cycles"], answer["interval_cycles"]) == (32, 7, 1)
    assert answer["latency_s"] == pytest.approx(70e-9)       # 7 cycles at 100 MHz
    assert answer["lut"] == 32 * 2 * 16                      # an accumulator of twice 16 bits per multiplier
    assert answer["ff"] == 32 * 32 + 2 * 16 * 32             # one per look-up table, two 16-bit registers per DSP
    assert answer["bram_18k"] == 0                           # constants in logic


def test_reuse_two_by_hand():
    # 16 DSP slices: R = 2, 16 multipliers, 6 + 2 = 8 cycles, a new input every 2. Weights come from block RAM: 16 x 16 bits at once over two
    # 36-bit ports: ceil(256 / 36 / 2) = 4 (32 weights x 16 bits alone would fit one)
    answer = simulate(DENSE, board(dsp=16)).values
    assert (answer["dsp"], answer["cycles"], answer["interval_cycles"]) == (16, 8, 2)
    assert answer["bram_18k"] == 4
    assert answer["lut"] == 16 * 32


def test_the_largest_reuse_by_hand():
    answer = simulate(DENSE, board(dsp=1)).values            # one multiplier, 32 turns: 6 + 32
    assert (answer["dsp"], answer["cycles"], answer["interval_cycles"]) == (1, 38, 32)


def test_eight_bits_use_no_dsp():
    # 8 x 8 bits: 64 look-up tables a product and 16 to add
    eight = Workload("dense", (Op.of("a", "gemm", m=1, n=4, k=8, params=32, dtype="int8"),), ())
    answer = simulate(eight, board(dsp=1)).values
    assert (answer["dsp"], answer["lut"]) == (0, 32 * (64 + 16))


def test_positions_stream_through():
    # 10 rows one after another, R = 1: the first after 7 cycles, nine more each a cycle later
    ten = Workload("dense", (Op.of("a", "gemm", m=10, n=4, k=8, params=32),), ())
    answer = simulate(ten, board()).values
    assert (answer["cycles"], answer["interval_cycles"]) == (16, 10)


@pytest.mark.parametrize(("have", "resource", "need"), [({"lut": 10}, "lut", "needs 32 of 10"), ({"ff": 8}, "ff", "needs 64 of 8")])
def test_what_does_not_fit_is_named_with_numbers(have, resource, need):
    # at R = 32 one multiplier is left: 32 look-up tables; flip-flops 32 + 2 * 16
    answer = simulate(DENSE, board(**have))
    assert answer.infeasible == f"{resource} overflows: {need} even at the largest reuse"
    assert answer.values == {}
    assert answer.measurement.infeasible == answer.infeasible


def test_weights_that_do_not_fit_block_ram_go_to_uram():
    # 512 x 512 weights of 16 bits = 4,194,304 bits = 228 block RAMs of 18,432 bits
    wide = Workload("dense", (Op.of("a", "gemm", m=1, n=512, k=512, params=512 * 512),), ())
    assert "bram_18k overflows: needs 228 of 100" in simulate(wide, board(dsp=64)).infeasible
    answer = simulate(wide, board(dsp=64, uram=20)).values
    assert answer["uram"] == 8                               # 128 blocks too many x 18,432 bits / 294,912 bits = 8
    assert answer["bram_18k"] <= 100


def test_an_op_without_a_block_is_named():
    net = Net("w")
    net.softmax(net.linear(net.input((1, 16)), 4))
    assert simulate(net.build(), board()).infeasible == ""
    attention = Workload("a", (Op.of("a", "attention", batch=1, heads=1, kv_heads=1, q_len=2, kv_len=2, head_dim=4, v_dim=4),), ())
    assert simulate(attention, board()).infeasible == "no dataflow block for attention"


def test_more_fabric_is_never_slower():
    net = Net("w")
    net.linear(net.relu(net.linear(net.input((1, 64)), 32)), 5)
    workload = net.build()
    cycles = [simulate(workload, board(dsp=dsp, lut=10**6, ff=10**7, bram=10**4)).values["cycles"] for dsp in (2, 10, 50, 300, 3000)]
    assert cycles == sorted(cycles, reverse=True)
    answer = simulate(workload, dataclasses.replace(board(dsp=3000, lut=10**6, ff=10**7), process_nm=16.0))
    assert answer.op_latency_s.sum() == pytest.approx(answer.values["latency_s"])
    assert answer.op_energy_j.sum() == pytest.approx(answer.values["energy_j"])
    assert answer.values["energy_j"] == pytest.approx(answer.values["power_w"] * answer.values["latency_s"])
