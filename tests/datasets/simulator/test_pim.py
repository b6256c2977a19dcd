"""Products in the banks: traffic by hand; who gets the faster side; energy is the sum of its parts."""

import itertools

import numpy as np
import pytest

from silicast.datasets.catalog import hardware
from silicast.datasets.columns import OpColumns
from silicast.datasets.ops import Op
from silicast.datasets.simulator.kernels import Kernels
from silicast.datasets.simulator.machine import Machines
from silicast.datasets.simulator.pim import bank_level, bank_reads, in_bank_s, with_banks
from silicast.datasets.simulator.simulate import simulate_ops
from silicast.datasets.simulator.throughput import throughput_costs


def products(*rows: int, dtype: str = "bfloat16") -> OpColumns:
    return OpColumns.from_ops([Op.of(f"m{m}", "gemm", m=m, n=4096, k=4096, params=4096 * 4096, dtype=dtype) for m in rows])


def test_a_matrix_is_read_once_for_every_vector():
    ops = products(1, 8)
    assert bank_reads(ops).tolist() == [4096 * 4096 * 2, 8 * 4096 * 4096 * 2]
    assert bank_reads(ops, reuse=4).tolist() == [4096 * 4096 * 2, 2 * 4096 * 4096 * 2]
    # 32 MiB at 4.096 TB/s and 16 KiB over 256 GB/s of pins
    assert in_bank_s(ops, 4.096e12, 256e9)[0] == pytest.approx(33554432 / 4.096e12 + 16384 / 256e9)


def test_units_no_faster_than_their_rate():
    # 8-bit weights come twice as many a second as the 16-bit units multiply
    narrow = OpColumns.from_ops([Op.of("w", "gemm", m=1, n=4096, k=4096, params=4096 * 4096, dtype="int8")])
    assert in_bank_s(narrow, 1e12, 1e15)[0] == pytest.approx(4096 * 4096 / 1e12, rel=1e-3)
    assert in_bank_s(narrow, 1e12, 1e15, rate=1e12)[0] == pytest.approx(2 * 4096 * 4096 / 1e12, rel=1e-3)


def test_grouped_queries_share_a_cache_and_read_it_for_each():
    attention = OpColumns.from_ops([Op.of("a", "attention", batch=2, heads=8, kv_heads=2, q_len=1, kv_len=1000, head_dim=64, v_dim=64, dtype="bfloat16")])
    assert bank_reads(attention)[0] == 4 * (2 * 2 * 1000 * 128 * 2)


def test_what_banks_cannot_do_is_not_offered_to_them():
    ops = OpColumns.from_ops([Op.of("e", "elementwise", elements=100), Op.of("n", "norm", rows=2, cols=64)])
    assert np.isinf(in_bank_s(ops, 1e12, 1e11)).all()
    assert bank_level(hardware("h100_sxm")) is None
    assert bank_level(hardware("stm32f746")) is None
    level = bank_level(hardware("aim_gddr6"))
    assert level is not None
    assert level.name == "bank"


def test_each_kernel_runs_on_the_faster_side():
    devices = [hardware("aim_gddr6"), hardware("h100_sxm")]
    kernels, machines = Kernels.cold(products(1, 16, 4096)), Machines.of(devices)
    plain = throughput_costs(kernels, machines)
    split = with_banks(plain, kernels, machines, devices)
    assert (split.time_s <= plain.time_s).all()
    assert split.time_s[0, 0] < plain.time_s[0, 0] / 8, "a vector: 1.024 TB/s in the banks, 64 GB/s over the pins"
    for name in ("time_s", "dynamic_j", "dram_bytes"):
        assert (getattr(split, name)[:, 1] == getattr(plain, name)[:, 1]).all(), "a machine without banks is as it was"
    assert split.dram_bytes[0, 0] == 4096 * 4096 * 2 + 2 * 4096 * 2
    parts = split.compute_j + split.local_j + split.cache_j + split.dram_j
    assert parts[0, 0] == pytest.approx(split.dynamic_j[0, 0])


def test_a_wafer_multiplies_where_its_weights_lie():
    wafer = [hardware("wse_2")]
    kernels, machines = Kernels.cold(products(1, dtype="float16")), Machines.of(wafer)
    split = with_banks(throughput_costs(kernels, machines), kernels, machines, wafer)
    # 32 MiB at 20 PB/s are 1.7 ns: what is left is the fill
    assert split.time_s[0, 0] == pytest.approx(float(machines.fill_s[0]), rel=0.1)


def test_units_that_use_a_byte_more_often_are_never_slower():
    ops = products(1, 3, 64)
    times = [in_bank_s(ops, 1e12, 1e11, reuse) for reuse in (1, 2, 8, 64)]
    for slow, fast in itertools.pairwise(times):
        assert (fast <= slow).all()


@pytest.mark.parametrize("key", ["aim_gddr6", "hbm_pim", "pim_gpt"])
def test_the_side_follows_the_objective(key):
    """Of the two sides of the split the one with less energy, or the faster one."""
    device = hardware(key)
    for m, n, k in ((1, 4096, 4096), (216, 2585, 230), (633, 3360, 22)):
        ops = OpColumns.from_ops([Op.of("g", "gemm", m=m, n=n, k=k, dtype="bfloat16")])
        fast, frugal, both = (simulate_ops(ops, [device], objective) for objective in ("latency", "energy", "edp"))
        static = Machines.of([device]).static_w[0]

        def joules(answer, static=static):
            total = answer.dynamic_j[0, 0]
            return total + static * answer.time_s[0, 0] if np.isfinite(static) else total * 1.25

        assert fast.time_s[0, 0] <= frugal.time_s[0, 0] * (1 + 1e-3)
        assert joules(frugal) <= joules(fast) * (1 + 1e-3)
        assert joules(both) * both.time_s[0, 0] <= min(joules(a) * a.time_s[0, 0] for a in (fast, frugal)) * (1 + 2e-3)
