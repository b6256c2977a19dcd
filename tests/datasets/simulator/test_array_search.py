"""The loop-nest search: replayed loop by loop, by hand on a machine of four multipliers, against ZigZag's table, and the laws of its answers."""

import csv
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.datasets import catalog
from silicast.datasets.columns import OpColumns
from silicast.datasets.errors import InputError
from silicast.datasets.hardware import Hardware, MemoryLevel, SpatialArray
from silicast.datasets.ops import Op
from silicast.datasets.simulator.array_costs import array_costs
from silicast.datasets.simulator.array_levels import ONE, PER_COL, PER_UNIT, array_levels
from silicast.datasets.simulator.array_nest import RELEVANT, factors, nests, orders
from silicast.datasets.simulator.array_search import columns
from silicast.datasets.simulator.array_traffic import cost
from silicast.datasets.simulator.simulate import simulate_ops


def machine(sram: float = 64.0, register: float = 8.0, bandwidth: float = 4e9, dataflow: str = "ws", count: int = 1, **array: str) -> Hardware:
    """2 x 2 multipliers at 1 GHz: a weight register each, one 32-bit sum register each, a scratchpad for inputs and outputs, DRAM through one port."""
    return Hardware("toy", "Toy", "npu", (
        MemoryLevel("weights", 4 * register * count, 4e9 * count, 1e-12, 1e-12, serves=("weights",), instances=4 * count),
        MemoryLevel("sums", 16 * count, 16e9 * count, 1e-12, 1e-12, 16e9 * count, serves=("outputs",), instances=4 * count),
        MemoryLevel("sram", sram * count, 64e9 * count, 2e-12, 3e-12, serves=("inputs", "outputs")),
        MemoryLevel("ddr", 1e9, bandwidth, 100e-12, 200e-12, shared_port=True)), 1e9, array=SpatialArray(2, 2, dataflow, count, 1e-12, **array))


def gemm(m: int, n: int, k: int, b: int = 1, **rest: str) -> OpColumns:
    return OpColumns.from_ops([Op.of("x", "gemm", dtype="int8", b=b, m=m, n=n, k=k, **rest)])


def best(ops: OpColumns, hardware: Hardware, objective: str = "latency", **rest):
    return array_costs(ops, array_levels(hardware), np.full(len(ops), hardware.array.mac_j), objective=objective, **rest)


def test_the_loops_of_a_convolution():
    op = Op.of("x", "conv", dtype="int8", batch=1, in_channels=12, in_h=57, in_w=57, out_channels=10, out_h=28, out_w=28, kernel_h=3, kernel_w=3, stride_h=2, stride_w=2, groups=2)
    nest = nests(OpColumns.from_ops([op]), 4, 4, "ws")
    assert nest.size.tolist() == [[2, 5, 6, 28, 28, 3, 3]]
    assert nest.temporal.tolist() == [[2, 2, 2, 28, 28, 3, 3]]      # 5 filters over 4 columns, 6 channels over 4 rows: two passes each
    assert nest.unrolled.tolist() == [[1, 2.5, 3, 1, 1, 1, 1]]
    assert (nest.stride[0], nest.in_w[0]) == (2, pytest.approx(57))
    # filter rows down, and as many channels as still fit (4 / 3: one); output rows across
    assert nests(OpColumns.from_ops([op]), 4, 4, "rs").unrolled.tolist() == [[1, 1, 1, 1, 4, 1, 3]]


def test_prime_factors_and_their_orders():
    assert factors((1, 2, 1, 7, 1, 3, 1), 6) == ((1, 2), (3, 7), (5, 3))
    assert factors((1, 1, 1, 4, 4, 1, 1), 3) == ((4, 4), (3, 2), (3, 2))
    # 56 = 2 2 2 7 and 56: eight pieces; the longer loop gives its two smallest until six are left
    assert sorted(factors((1, 1, 1, 56, 56, 1, 1), 6)) == [(3, 2), (3, 4), (3, 7), (4, 2), (4, 4), (4, 7)]
    assert factors((1,) * 7, 6) == ((0, 1),)
    assert len(factors((2, 3, 5, 7, 11, 13, 17), 3)) == 7          # never fewer than the loops
    assert len(orders((0, 1, 2, 3))) == 24
    assert len(orders((0, 1, 0, 0))) == 4                           # three equal pieces: only where the other one stands matters


def test_levels_of_a_machine():
    levels = array_levels(catalog.hardware("tpu_like"))
    assert [(x.name, x.spread, x.capacity) for x in levels.levels[:-1]] == [("rf_out", PER_UNIT, 2), ("rf", PER_UNIT, 128), ("sram", ONE, 2 * 2**20)]
    assert levels.levels[-1].read == levels.levels[-1].write == 8
    assert levels.levels[-1].shared_port
    assert levels.sum_bytes == 2
    two = array_levels(replace(machine(count=2), array=SpatialArray(2, 2, "ws", 2)))
    assert [x.capacity for x in two.levels] == [8, 4, 64, np.inf]
    assert two.levels[-1].read == 2                                  # the outermost port is shared
    per_column = replace(machine(), memory=(replace(machine().memory[0], instances=2), *machine().memory[1:]))
    assert array_levels(per_column).levels[0].spread == PER_COL


def test_a_product_by_hand():
    # 4 x 2 x 2 on 2 x 2: one pass for n and k, four for m: 4 cycles. Before: 4 B of weights take a cycle of DRAM, 8 B of inputs two, side by side. After: the last sums
    # go to the scratchpad, a cycle; of the two cycles that 8 B of outputs take to DRAM one hides, for a last transfer must follow the last result. A cycle a unit drains
    # both sides: 4 + 2 + 2 + (2 - 1) + (2 - 1)
    found = best(gemm(4, 2, 2), machine())
    assert (found.busy[0], found.stalls[0], found.edges[0], found.cycles[0]) == (4, 0, 4, 10)
    assert found.outer_bytes[0] == 4 + 8 + 8
    # joules: 16 multiply-adds. Weights: 4 B into registers, read once for all four passes. Sums of 4 B: into a register and out of it 16 times. Scratchpad: 8 B of inputs in
    # and out, 8 B of finished outputs in and out. DRAM: 12 B out, 8 B in
    assert found.mac_j[0] == pytest.approx(16e-12)
    assert found.chip_j[0] == pytest.approx((4 + 4 + 16 * 4 + 16 * 4 + 2 * 8 * 3 + 2 * 8 * 2) * 1e-12)
    assert found.outer_j[0] == pytest.approx((12 * 100 + 8 * 200) * 1e-12)


def replay(sizes, loops, end, operand) -> tuple[int, int]:
    """(changes of an operand's tile, different tiles) when the loops outside `end` run, by running them."""
    outside = [(s, RELEVANT[operand][d]) for s, d in zip(sizes[end:], loops[end:], strict=True)]
    seen, changes, last = set(), 0, None
    for index in np.ndindex(*[int(s) for s, _ in reversed(outside)]):
        tile = tuple(i for i, (_, walks) in zip(reversed(index), outside, strict=True) if walks)
        changes += tile != last
        last = tile
        seen.add(tile)
    return changes, len(seen)


def test_refills_are_those_of_the_running_loops():
    ops = OpColumns.from_ops([Op.of("x", "conv", dtype="int8", batch=1, in_channels=4, in_h=4, in_w=4, out_channels=6, out_h=4, out_w=4, kernel_h=3, kernel_w=3)])
    levels = array_levels(machine(sram=100.0, register=3.0))
    ((owner, mapped),) = columns(nests(ops, 2, 2, "ws"), levels)
    found = cost(mapped, levels, np.zeros(len(owner)), np.ones(len(owner)), np.ones(len(owner)))
    checked = 0
    for c in np.flatnonzero(mapped.valid)[::7]:
        sizes, loops = mapped.sizes[:, c], mapped.loops[:, c]
        end = mapped.ends[0][0][c]
        refills, _ = replay(sizes, loops, end, 0)
        assert found.written_bytes[0, c] == pytest.approx(refills * 4 * np.prod(sizes[:end][RELEVANT[0][loops[:end]]]))
        end = mapped.ends[2][0][c]
        visits, tiles = replay(sizes, loops, end, 2)
        # four registers of 4 B: read at every pass but the first of each output, and once a visit to leave; what left unfinished is written again when it comes back
        outputs, tile = np.prod(sizes[RELEVANT[2][loops]]), np.prod(sizes[:end][RELEVANT[2][loops[:end]]])
        assert found.read_bytes[1, c] == pytest.approx(16 * (np.prod(sizes) - outputs + visits * tile))
        assert found.written_bytes[1, c] == pytest.approx(16 * (np.prod(sizes) + (visits - tiles) * tile))
        checked += 1
    assert checked > 20


def zigzag_table() -> Path | None:
    data = Path(os.environ.get("SILICAST_DATA", Path(__file__).resolve().parents[3].parent / "shared" / "data"))
    place = data.parent / "peers" / "zigzag_tpu_like.csv"
    return place if place.exists() else None


def test_zigzag_agrees_within_a_tenth():
    place = zigzag_table()
    if place is None:
        pytest.skip("no table of ZigZag's answers: set SILICAST_DATA to the data folder that has ../peers beside it")
    with place.open() as file:
        rows = list(csv.DictReader(file))
    hardware = catalog.hardware("tpu_like")
    for objective in ("latency", "energy"):
        some = [r for r in rows if r["objective"] == objective]
        ops = OpColumns.from_ops([convolution(*(int(r[c]) for c in ("in_channels", "out_channels", "height_width", "kernel", "stride"))) for r in some])
        found = best(ops, hardware, objective)
        np.testing.assert_allclose(found.cycles, [float(r["latency_cycles"]) for r in some], rtol=0.1)
        np.testing.assert_allclose(found.energy_j * 1e12, [float(r["energy_pj"]) for r in some], rtol=0.1)


def convolution(channels: int, filters: int, side: int, kernel: int, stride: int) -> Op:
    out = (side + 2 * (kernel // 2) - kernel) // stride + 1
    return Op.of("x", "conv", dtype="int8", batch=1, in_channels=channels, in_h=side, in_w=side, out_channels=filters, out_h=out, out_w=out, kernel_h=kernel, kernel_w=kernel,
                 stride_h=stride, stride_w=stride)


sizes = st.integers(1, 40)


@given(sizes, sizes, sizes, st.sampled_from(("ws", "os", "is", "rs", "flexible")))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_laws(m, n, k, dataflow):
    ops = gemm(m, n, k)
    found = {o: best(ops, machine(1e4, dataflow=dataflow), o) for o in ("latency", "energy", "edp")}
    a = found["latency"]
    # each objective is best at its own, and nothing beats the multipliers or the port
    assert a.cycles[0] <= min(x.cycles[0] for x in found.values())
    assert found["energy"].energy_j[0] <= min(x.energy_j[0] for x in found.values()) * (1 + 1e-12)
    assert found["edp"].energy_j[0] * found["edp"].cycles[0] <= min(x.energy_j[0] * x.cycles[0] for x in found.values()) * (1 + 1e-12)
    assert a.cycles[0] >= max(m * n * k / 4, (m * k + k * n + m * n) / 4) * (1 - 1e-9)
    assert a.outer_bytes[0] >= m * k + k * n + m * n - 1e-6
    # a faster DRAM is never slower; tiles that need not fill their memory are never slower
    assert best(ops, machine(1e4, bandwidth=8e9, dataflow=dataflow)).cycles[0] <= a.cycles[0]
    assert best(ops, machine(1e4, dataflow=dataflow), shares=(1.0, 0.25)).cycles[0] <= a.cycles[0]


def test_a_flexible_array_is_as_fast_as_the_best_dataflow():
    for shape in ((64, 2, 2), (2, 64, 2), (2, 2, 64)):
        fixed = [best(gemm(*shape), machine(1e4, dataflow=f)).cycles[0] for f in ("ws", "os", "is")]
        assert best(gemm(*shape), machine(1e4, dataflow="flexible")).cycles[0] == min(fixed)


def test_cores_share_what_can_be_shared():
    # four products over four cores, each with its own memories and a quarter of a four times faster port: as long as one on one
    alone = best(gemm(4, 4, 4), machine())
    together = best(gemm(4, 4, 4, b=4), machine(bandwidth=16e9, count=4))
    assert together.cycles[0] == alone.cycles[0]
    assert together.energy_j[0] == pytest.approx(4 * alone.energy_j[0])
    # one product of many rows or columns is cut along them
    for shape in ((64, 2, 4), (2, 64, 4)):
        assert best(gemm(*shape), machine(bandwidth=16e9, count=4)).busy[0] == best(gemm(*shape), machine()).busy[0] / 4


def test_serial_operands_take_their_bits():
    dense = best(gemm(8, 8, 8), machine(1e4, bandwidth=1e12)).busy[0]
    assert best(gemm(8, 8, 8), machine(1e4, bandwidth=1e12, serial_bits="weights")).busy[0] == 8 * dense
    assert best(gemm(8, 8, 8, weight_dtype="int4"), machine(1e4, bandwidth=1e12, serial_bits="weights")).busy[0] == 4 * dense
    assert best(gemm(8, 8, 8, weight_dtype="int4"), machine(1e4, bandwidth=1e12, serial_bits="both")).busy[0] == 32 * dense


def test_zeros_are_skipped_at_the_pace_of_the_fullest_unit():
    dense, skipping = machine(1e4, bandwidth=1e12), machine(1e4, bandwidth=1e12, skips_zeros="weights")
    sparse, balanced = gemm(64, 64, 4000, sparsity="0.1"), gemm(64, 64, 4000, sparsity="2:4")
    whole = best(gemm(64, 64, 4000), dense)
    assert best(sparse, dense).busy[0] == whole.busy[0]                                   # nothing skips them
    assert best(balanced, skipping).busy[0] == whole.busy[0] / 2
    # a unit meets 2000 weights an output, 4 units: 0.1 + sqrt(2 ln 4 x 0.1 x 0.9 / 2000)
    assert best(sparse, skipping).busy[0] == pytest.approx(whole.busy[0] * (0.1 + np.sqrt(2 * np.log(4) * 0.09 / 2000)))
    assert best(sparse, skipping).mac_j[0] == pytest.approx(whole.mac_j[0] * 0.1)
    assert best(gemm(64, 64, 4000), skipping).busy[0] == whole.busy[0]


def test_what_fits_no_memory_is_said():
    with pytest.raises(InputError, match=r"memory\.sram\.capacity: expected at least 4 bytes, what one tile of operands takes"):
        machine(sram=0.5)
    assert best(gemm(8, 8, 8), machine()).valid.all()


def test_memory_is_bounded():
    rng = np.random.default_rng(0)
    ops = OpColumns.from_ops([convolution(int(c), int(k), 28, 3, 1) for c, k in rng.integers(32, 512, (60, 2))])
    tracemalloc.start()
    best(ops, catalog.hardware("tpu_like"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500e6, f"{peak / 1e6:.0f} MB"


def test_larger_registers_are_never_slower():
    """A register for sums keeps the word its file gives it, however many words it holds."""
    machine = catalog.hardware("tpu_like")
    ops = OpColumns.from_ops([Op.of("c", "conv", batch=1, in_channels=64, in_h=14, in_w=14, out_channels=96, out_h=14, out_w=14, kernel_h=3, kernel_w=3, dtype="int8"),
                              Op.of("g", "gemm", m=196, n=232, k=274, dtype="int8")])
    before = simulate_ops(ops, [machine]).time_s
    for at in (0, 1):
        for by in (1.3, 2.0, 4.0):
            memory = tuple(replace(level, capacity_bytes=level.capacity_bytes * (by if i == at else 1.0)) for i, level in enumerate(machine.memory))
            assert (simulate_ops(ops, [replace(machine, memory=memory)]).time_s <= before * (1 + 1e-2)).all(), (at, by)
