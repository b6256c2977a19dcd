"""FINN-like folding: the published cycle formula by hand, the published designs within a band, and the laws of folding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.datasets.errors import InputError
from silicast.datasets.hardware import Fabric, Hardware, MemoryLevel
from silicast.datasets.layers import Net
from silicast.datasets.ops import Op
from silicast.datasets.simulator.finn import Folding, finn_design
from silicast.datasets.workload import Workload


def board(lut: int = 218_600, bram: int = 1090, uram: int = 0) -> Hardware:
    """As large as the XC7Z045 of a ZC706 (DS190)."""
    return Hardware("toy", "Toy", "fpga", (MemoryLevel("ddr", 1e9, 1e10),), 200e6, fabric=Fabric(lut, 2 * lut, 900, bram, uram))


def mlp(width: int, inputs: int = 784) -> Workload:
    net = Net("mlp")
    x = net.input((1, inputs))
    for _ in range(3):
        x = net.linear(x, width)
    net.linear(x, 10)
    return net.build()


def one_conv() -> Workload:
    net = Net("conv")
    net.conv(net.image(1, 64, 30, 30), 64, 3, 1, 0)
    return net.build()


def test_cycles_by_hand():
    # 28 x 28 output pixels x (64 / 32) x (576 / 64) = 784 x 2 x 9 (FINN-R, section 4.1)
    answer = finn_design(one_conv(), board(), Folding((32,), (64,)))
    assert answer.interval_cycles == 784 * 2 * 9
    assert answer.images_per_s == pytest.approx(200e6 / 14112)


def test_memory_by_hand():
    # 64 x 576 / (32 x 64) = 18 words deep: look-up tables. With PE 1 and SIMD 36: 1,024 words of 36 bits, 18 bits a block RAM: 2; the window keeps 64
    # channels x 28 pixels x (3 + 1) rows, one bit each: 7,168 bits, 1 block RAM
    assert finn_design(one_conv(), board(), Folding((32,), (64,)), first_data_bits=1).bram_18k == 1
    assert finn_design(one_conv(), board(), Folding((1,), (36,)), first_data_bits=1).bram_18k == 2 + 1


def test_an_engine_of_single_bits_by_hand():
    # PE 1, SIMD 8: 8 XNOR, a population count of 15, an accumulator of 1 + log2(16) = 5, one threshold of 5 bits stored and compared:
    # 300 + 1.1 x (8 + 15 + 5 + 10); weights 8 bits x 1, FIFO 20 + 1
    tiny = Workload("d", (Op.of("fc", "gemm", m=1, n=2, k=16, params=32),), ())
    assert finn_design(tiny, board(), Folding((1,), (8,)), first_data_bits=1).lut == np.ceil(300 + 1.1 * 38 + 8 + 21)


@pytest.mark.parametrize(("width", "interval", "luts"), [(256, 16, 91131)])
def test_the_published_binary_network_within_a_tenth(width, interval, luts):
    # SFC-max, 12.3 M images/s at 200 MHz: a word every 16 cycles on 91,131 LUT (Umuroglu et al., FPGA 2017)
    answer = finn_design(mlp(width), board(), first_data_bits=1, interval_cycles=interval)
    assert answer.images_per_s == pytest.approx(12.3e6, rel=0.1)
    assert answer.lut == pytest.approx(luts, rel=0.1)


def test_what_overflows_is_named():
    answer = finn_design(one_conv(), board(lut=1000), Folding((32,), (64,)), first_data_bits=1)
    assert answer.infeasible.startswith("lut overflows: needs ")
    assert " of 1,000" in answer.infeasible
    assert "interval overflows: needs 784 cycles of 100 even fully unfolded" in finn_design(one_conv(), board(lut=10**9), interval_cycles=100).infeasible
    softmax = Workload("s", (Op.of("fc", "gemm", m=1, n=2, k=4, params=8), Op.of("s", "softmax", rows=1, cols=2)), ())
    assert finn_design(softmax, board()).infeasible == "no streaming engine for softmax"


@pytest.mark.parametrize(("call", "message"), [
    (lambda: Folding((0,), (1,)), "one whole PE and one SIMD >= 1"), (lambda: Folding((1, 2), (1,)), "one whole PE and one SIMD"),
    (lambda: finn_design(one_conv(), board(), Folding((3,), (64,))), "does not divide the layers .*: 64 x 576"),
    (lambda: finn_design(one_conv(), board(), weight_bits=0), "bits >= 1"),
    (lambda: finn_design(one_conv(), Hardware("c", "C", "cpu", (MemoryLevel("ddr", 1e9, 1e10),), 1e9, {"float32": 1e9})), "no fabric"),
    (lambda: finn_design(Workload("p", (Op.of("r", "elementwise", elements=4),), ()), board()), "no layer with weights")])
def test_bad_input_is_told(call, message):
    with pytest.raises(InputError, match=message):
        call()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([16, 48, 64, 100]), st.integers(1, 4), st.sampled_from([(20_000, 50), (60_000, 200)]))
def test_a_bigger_fabric_is_never_slower_and_fewer_bits_never_cost_more(width, bits, size):
    small, big = (finn_design(mlp(width, 64), board(size[0] * s, size[1] * s), weight_bits=bits, data_bits=bits) for s in (1, 2))
    assert small.infeasible or (not big.infeasible and big.interval_cycles <= small.interval_cycles)
    narrow, wide = (finn_design(mlp(width, 64), board(10**7), Folding((2, 2, 2, 2), (4, 4, 4, 4)), weight_bits=b, data_bits=2) for b in (bits, bits + 1))
    assert narrow.lut <= wide.lut
