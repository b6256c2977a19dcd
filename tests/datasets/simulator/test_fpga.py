"""FPGA dataflow: one-layer networks by hand, designs that do not fit, and the laws every design obeys."""

import dataclasses
import doctest
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.datasets.errors import InputError
from silicast.datasets.hardware import Fabric, Hardware, MemoryLevel
from silicast.datasets.layers import Net
from silicast.datasets.ops import Op
from silicast.datasets.simulator import simulate
from silicast.datasets.simulator.fpga import FpgaPlan, design
from silicast.datasets.workload import Workload


def dense(k: int = 8, n: int = 4, m: int = 1, dtype: str = "float16") -> Workload:
    return Workload("dense", (Op.of("fc", "gemm", m=m, n=n, k=k, params=n * k, dtype=dtype),), ())


def board(lut: int = 100_000, dsp: int = 100, bram: int = 100, ff: int = 200_000, uram: int = 0, clock: float = 100e6) -> Hardware:
    return Hardware("toy", "Toy", "fpga", (MemoryLevel("ddr", 1e9, 1e10),), clock, fabric=Fabric(lut, ff, dsp, bram, uram))


def test_fully_parallel_by_hand():
    # R = 1: 8 x 4 = 32 products of 16 x 16 bits, one DSP each, weights in logic. At 100 MHz a product (2 ns) and three levels of adders (0.75 ns)
    # fit in one clock: one cycle. 32 adders of 16 bits and 1.5 x 16 for each of 4 outputs: 512 + 96 LUT; 4 registers of 16 bits.
    answer = simulate(dense(), board()).values
    assert (answer["dsp"], answer["cycles"], answer["interval_cycles"], answer["bram_18k"]) == (32, 1, 1, 0)
    assert (answer["lut"], answer["ff"]) == (512 + 96, 64)
    assert answer["latency_s"] == pytest.approx(10e-9)


def test_reuse_two_by_hand():
    # 16 multipliers, two turns, then fetch, multiply, add four products, accumulate: 2 + 4 cycles less the last register. A memory of 2 words of 16 x 16 bits is below
    # 1,024 bits: LUT. Four inputs are read at once, each through a 2:1 multiplexer (half a LUT a bit): 4 x 8; adders 16 x 16; outputs 96.
    answer = design(dense(), board(), FpgaPlan(reuse=2, strategy="resource"))
    assert (answer.dsp, answer.latency_cycles, answer.interval_cycles, answer.bram_18k, answer.lut) == (16, 5, 2, 0, 32 + 256 + 96)


def test_weights_lie_in_block_ram_as_wide_as_the_multipliers_read():
    # 64 x 64 at R = 64: 64 multipliers of 16 bits read 1,024 bits a turn: 29 block RAMs of 36 bits (UG573); at 128: 32 of 512 bits: 15; and
    # at 1,024 words a block RAM is 18 bits wide: 4 multipliers, 64 bits: 4, and one more for the 1,024 x 4 bits that say which of 16 outputs is meant
    brams = [design(dense(64, 64), board(), FpgaPlan(reuse=r, strategy="resource")).bram_18k for r in (64, 128, 1024)]
    assert brams == [29, 15, 5]


def test_narrow_products_are_look_up_tables():
    # 8 x 8 = 16 bits is below the 22 of a DSP slice: 7 rows of 8 adder bits each, sums of 8 + 8 + 3 bits
    answer = simulate(dense(dtype="int8"), board()).values
    assert (answer["dsp"], answer["lut"]) == (0, np.ceil(32 * (19 + 8 * 7) + 4 * 19 * 1.5))
    # 16 x 6 bits is a DSP slice, 16 x 5 is not
    assert [design(dense(), board(), FpgaPlan(weight_bits=b, data_bits=16, sum_bits=16)).dsp for b in (6, 5)] == [32, 0]


def test_constants_of_few_digits_need_no_multiplier():
    # weights of 3 bits in +-0.25, steps of 1/4: half become -1/4, half 0: 16 adders of 16 bits, no multiplier, outputs 96
    answer = design(dense(), board(), FpgaPlan(weight_bits=3, data_bits=16, sum_bits=16, weight_limit=0.25))
    assert (answer.dsp, answer.lut) == (0, 16 * 16 + 96)


def test_latency_strategy_shares_dsp_slices():
    # the reuse factor bounds the slices: 32 products on ceil(32 / 8) = 4 slices take 8 turns; the block is not pipelined
    answer = design(dense(), board(), FpgaPlan(reuse=8, strategy="latency"))
    assert answer.dsp == 4
    assert answer.latency_cycles == 8 + 6 - 1
    assert answer.interval_cycles == 8 + 6


def test_positions_stream_through():
    # 10 rows one after another at R = 1: a cycle each, and 2 more to read and to write the streams
    answer = simulate(dense(m=10), board()).values
    assert (answer["cycles"], answer["interval_cycles"]) == (1 + 2 - 1 + 9, 10)


def test_a_streamed_convolution_takes_every_input_pixel():
    # 8 x 8 pixels in, 6 x 6 out: hls4ml's line buffer shifts once a pixel that comes in, so 64 turns and not 36; side by side positions need no buffer
    net = Net("c")
    net.conv(net.image(1, 2, 8, 8), 3, 3, 1, 0)
    workload = net.build()
    assert design(workload, board(), FpgaPlan(io="stream")).interval_cycles == 64
    assert design(workload, board(), FpgaPlan(reuse=3, strategy="resource", io="stream")).interval_cycles == 3 * 64
    assert design(workload, board()).interval_cycles == 36
    # a FIFO of 3 channels of 16 bits, 6 deep: 48 shift registers; two rows of 8 pixels x 2 channels x 16 bits: 64
    plain, streamed = (design(workload, board(), FpgaPlan(io=io)) for io in ("parallel", "stream"))
    assert streamed.lut - plain.lut == 48 + 64
    assert streamed.ff - plain.ff == 48


def test_rows_too_long_for_shift_registers_are_block_ram():
    # rows of 100 pixels x 1 channel x 2 rows x 16 bits = 3,200 bits: 1 block RAM; a pooling of 2 x 2 keeps 1 row of 98 pixels x 4 channels: 64 bits, 2;
    # FIFOs behind them of 98 and of 49 positions: 4 x 16 bits, 2; and shift registers
    net = Net("c")
    net.max_pool(net.conv(net.image(1, 1, 100, 100), 4, 3, 1, 0), 2, 2)
    answer = design(net.build(), board(), FpgaPlan(io="stream"))
    assert answer.bram_18k == 1 + 2 + 2
    assert answer.interval_cycles == 100 * 100


def test_functions_are_tables_in_block_ram():
    # a sigmoid beside each of 4 outputs: a table of 1,024 x 18 bits serves two at a time; a ReLU costs none
    nets = []
    for act in ("sigmoid", "relu"):
        net = Net(act)
        net.activation(net.linear(net.input((1, 8)), 4), act)
        nets.append(design(net.build(), board(), FpgaPlan()).bram_18k)
    assert nets == [2, 0]


def test_a_recurrent_layer_waits_for_itself():
    cell = Workload("lstm", (Op.of("l", "recurrent", steps=10, batch=1, input=4, hidden=4, gates=4, params=160),), ())
    answer = design(cell, board(), FpgaPlan(reuse=4, strategy="resource"))
    assert answer.dsp == 8 * 16 / 4
    assert answer.interval_cycles == 10 * (4 + 3 + 1 + 2)    # turns, stages of the loop, an adder, tables of sigmoid and tanh: nothing overlaps


@pytest.mark.parametrize(("have", "message"), [({"lut": 10}, "lut overflows: needs"), ({"ff": 8}, "ff overflows: needs")])
def test_what_does_not_fit_is_named_with_numbers(have, message):
    answer = simulate(dense(), board(**have))
    assert message in answer.infeasible
    assert answer.infeasible.endswith("even at the reuse that comes nearest")
    assert f"of {next(iter(have.values()))}" in answer.infeasible
    assert answer.values == {}
    assert answer.measurement.infeasible == answer.infeasible


def test_a_plan_that_does_not_fit_names_every_resource():
    answer = design(dense(), board(lut=100, dsp=4), FpgaPlan())
    assert answer.infeasible == "dsp overflows: needs 32 of 4; lut overflows: needs 608 of 100"


def test_hls4ml_unrolls_fewer_than_4096():
    assert design(dense(63, 65), board(lut=10**7, dsp=10**4, ff=10**7)).infeasible == ""
    answer = design(dense(64, 64), board(lut=10**7, dsp=10**4, ff=10**7), FpgaPlan(reuse=16))
    assert answer.infeasible.startswith("fc: 4,096 products side by side, hls4ml unrolls fewer than 4,096")
    assert design(dense(64, 64), board(), FpgaPlan(reuse=64, strategy="resource")).infeasible == ""


def test_weights_that_do_not_fit_block_ram_go_to_uram():
    # 512 x 512 weights at R = 4096: 64 multipliers of 16 bits, 4,096 words 4 bits wide a block RAM: 256, and 1 for 4,096 x 3 bits of which output
    wide = dense(512, 512)
    plan = FpgaPlan(reuse=4096, strategy="resource")
    assert "bram_18k overflows: needs 257 of 100" in design(wide, board(lut=10**6), plan).infeasible
    answer = design(wide, board(lut=10**6, uram=20), plan)
    assert answer.uram == np.ceil(157 * 18432 / 294912)
    assert answer.infeasible == ""


def test_a_layer_of_absurd_size_is_an_answer_not_a_crash():
    assert "bram_18k overflows" in simulate(dense(2**40 + 15, 2**20), board()).infeasible


def test_an_op_without_a_block_is_named():
    net = Net("w")
    net.softmax(net.linear(net.input((1, 16)), 4))
    assert simulate(net.build(), board()).infeasible == ""
    attention = Workload("a", (Op.of("a", "attention", batch=1, heads=1, kv_heads=1, q_len=2, kv_len=2, head_dim=4, v_dim=4),), ())
    assert simulate(attention, board()).infeasible == "no dataflow block for attention"


@pytest.mark.parametrize(("bad", "message"), [({"reuse": 0}, "reuse: expected whole numbers from 1"), ({"strategy": "fast"}, "strategy: expected latency or resource, got 'fast'"),
                                              ({"clock_hz": 0.0}, "clock_hz: expected a finite number > 0, got 0.0"), ({"weight_bits": 65}, "from 1 to 64, got 65")])
def test_impossible_plans_are_told(bad, message):
    with pytest.raises(InputError, match=message):
        FpgaPlan(**bad)


def test_a_plan_has_one_value_per_kernel_and_a_fabric_to_go_to():
    with pytest.raises(InputError, match=r"reuse: expected one number or 1, one per kernel, got 2"):
        design(dense(), board(), FpgaPlan(reuse=(1, 2)))
    with pytest.raises(InputError, match="no fabric"):
        design(dense(), Hardware("c", "C", "cpu", (MemoryLevel("ddr", 1e9, 1e10),), 1e9, {"float32": 1e9}), FpgaPlan())


def test_more_fabric_is_never_slower():
    net = Net("w")
    net.linear(net.relu(net.linear(net.input((1, 64)), 32)), 5)
    workload = net.build()
    answers = [simulate(workload, board(dsp=dsp, lut=10**6, ff=10**7, bram=10**4)).values for dsp in (2, 10, 50, 300, 3000)]
    for what in ("cycles", "interval_cycles"):
        assert [a[what] for a in answers] == sorted((a[what] for a in answers), reverse=True)
    answer = simulate(workload, dataclasses.replace(board(dsp=3000, lut=10**6, ff=10**7), process_nm=16.0))
    assert answer.op_latency_s.sum() == pytest.approx(answer.values["latency_s"])
    assert answer.op_energy_j.sum() == pytest.approx(answer.values["energy_j"])
    assert answer.values["energy_j"] == pytest.approx(answer.values["power_w"] * answer.values["latency_s"])


HUGE = board(lut=10**9, dsp=10**7, bram=10**7, ff=10**9)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 300), st.integers(1, 300), st.sampled_from(["latency", "resource"]), st.integers(2, 18))
def test_more_reuse_never_more_dsp_never_fewer_cycles(k, n, strategy, bits):
    answers = [design(dense(k, n), HUGE, FpgaPlan(r, strategy, weight_bits=bits)) for r in (2, 3, 8, 64, 511, 4096)]
    assert all(a.dsp >= b.dsp and a.latency_cycles <= b.latency_cycles and a.interval_cycles <= b.interval_cycles for a, b in pairwise(answers))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 300), st.integers(1, 300), st.integers(1, 600), st.sampled_from(["latency", "resource"]))
def test_fewer_bits_never_more_of_anything(k, n, reuse, strategy):
    # among widths on one side of the choice between DSP slice and look-up table: crossing it trades one for the other
    for widths in ((1, 2, 4, 5), (6, 8, 12, 16)):
        answers = [design(dense(k, n), HUGE, FpgaPlan(reuse, strategy, weight_bits=b, data_bits=16, sum_bits=16)) for b in widths]
        assert all(getattr(a, what) <= getattr(b, what) for what in ("lut", "ff", "dsp", "bram_18k") for a, b in pairwise(answers))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 200), st.integers(1, 100), st.integers(20, 2000))
def test_what_fits_fits_on_a_bigger_fabric(k, n, dsp):
    small, big = (simulate(dense(k, n), board(lut=400 * s * dsp, dsp=dsp * s, ff=800 * s * dsp, bram=100 * s)) for s in (1, 3))
    assert small.infeasible or (not big.infeasible and big.values["interval_cycles"] <= small.values["interval_cycles"])


def test_the_page_runs():
    page = Path(__file__).parents[3] / "docs" / "fpga.md"
    assert doctest.testfile(str(page), module_relative=False).failed == 0
