"""Interval analysis: each term by hand on a core of round figures, then its laws."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.datasets.catalog.cores import core, core_keys
from silicast.datasets.core import CacheLevel, Core, Unit
from silicast.datasets.core_space import sample_core
from silicast.datasets.errors import InputError
from silicast.datasets.loopnest import Access, Loop, LoopNest, Statement
from silicast.datasets.nests import copy, dot, horner, matmul, positive_sum, sample_nest, strided_sum, triad
from silicast.datasets.simulator.interval import Interval, run_nests

# figures made up for the test: round ones
UNITS = {"int": Unit(4, 1), "add": Unit(2, 4), "mul": Unit(2, 4), "fma": Unit(2, 4), "div": Unit(1, 20, 10), "load": Unit(2, 5), "store": Unit(1, 1), "branch": Unit(1, 1)}
CORE = Core("made_up", "made up", "x86", 4, 200, UNITS, (CacheLevel("l1", 32768, 5, None, None, 10), CacheLevel("l2", 2**20, 15, None, None, 10)), 1e9, 1e12, 15,
            memory_latency_s=100e-9, fp_pipes=2, history_branches=32)
WARM = 10_000  # repetitions that make the first, cold one vanish


def one(nest: LoopNest, on: Core = CORE) -> Interval:
    return run_nests([nest], [on])


def scalar(nest: LoopNest) -> LoopNest:
    return LoopNest(nest.name, nest.loops, nest.statements, False)


def per_turn(nest: LoopNest, on: Core = CORE) -> float:
    """Cycles of an innermost turn, caches warm, by difference: what the loop around costs cancels."""
    a, b = one(nest.repeated(WARM), on), one(nest.repeated(2 * WARM), on)
    return float((b.cycles - a.cycles)[0]) / WARM / nest.iterations


def test_instructions_by_hand():
    """x86 triad: load c, fma with b from memory, store, add, compare, branch."""
    assert one(scalar(triad(1000))).instructions[0] == pytest.approx(6 * 1000, rel=1e-3)
    assert one(scalar(copy(1000))).instructions[0] == pytest.approx(5 * 1000, rel=1e-3)
    assert one(scalar(triad(1000)), replace(CORE, isa="arm")).instructions[0] == pytest.approx(7 * 1000, rel=1e-3)     # no memory operand
    assert one(scalar(triad(1000)), replace(CORE, isa="riscv")).instructions[0] == pytest.approx(8 * 1000, rel=1e-3)   # three pointers, compare-and-branch
    lone = {name: unit for name, unit in UNITS.items() if name != "fma"}
    assert one(scalar(triad(1000)), replace(CORE, units=lone)).instructions[0] == pytest.approx(6 * 1000, rel=1e-3)    # one more operation, one more operand folded


def test_vectors_divide_instructions():
    wide = replace(CORE, vector_bits=256)
    assert one(triad(1000), wide).instructions[0] == pytest.approx(6 * 250, rel=0.01)
    assert one(triad(1003), wide).instructions[0] == pytest.approx(6 * 253, rel=0.01)                                   # the rest runs scalar
    assert one(triad(1003), replace(wide, isa="sve")).instructions[0] == pytest.approx(7 * 251, rel=0.01)              # or under a predicate
    assert one(dot(1000), wide).instructions[0] == one(dot(1000)).instructions[0]                                      # a sum in order stays scalar


def test_dispatch_bounds_a_loop_of_independent_turns():
    assert per_turn(scalar(triad(1000))) == pytest.approx(6 / 4, rel=0.02)


def test_units_bound():
    assert per_turn(scalar(horner(1000))) == pytest.approx(8 / 2, rel=0.02)                   # eight multiply-adds on two pipes
    divide = LoopNest("d", (Loop("i", 1000),), (Statement(1, (Access("a", (8,)), Access("b", (8,), True)), div=1),), vectorize=False)
    assert per_turn(divide) == pytest.approx(10, rel=0.02)                                    # one divider, ten cycles each
    assert per_turn(scalar(copy(1000)), replace(CORE, units={**UNITS, "store": Unit(1, 1, 3)})) == pytest.approx(3, rel=0.02)


def test_a_sum_waits_for_itself():
    assert per_turn(dot(5000)) == pytest.approx(4, rel=0.02)
    forwarded = replace(CORE, units={**UNITS, "fma": Unit(2, 4, 1, chain_cycles=2)})
    assert per_turn(dot(5000), forwarded) == pytest.approx(2, rel=0.02)


def test_short_sums_overlap_within_the_window():
    """Sums of 20 turns on a window of 200 instructions, 5 each: 40 turns behind the oldest, so (9 + 4 x 19) / (20 + 40) cycles a turn, below the dispatch bound of 5 / 4."""
    assert per_turn(matmul(20), replace(CORE, window=40, dispatch_width=8)) > per_turn(matmul(20), replace(CORE, window=200, dispatch_width=8))
    nest = LoopNest("rows", (Loop("r", 500), Loop("c", 100)), (Statement(2, (Access("a", (0, 8)), Access("y", (8, 0), True)), add=1, carried="add"),), vectorize=False)
    turn = 4 + 0.0  # load folded into the add: add, pointer, compare, branch
    path, chain, behind = 5 + 4, 4, 200 / turn
    assert float(one(nest, replace(CORE, dispatch_width=8)).base[0]) / 50_000 == pytest.approx((path + chain * 99) / (100 + behind), rel=0.02)


def test_in_order_a_turn_waits_for_its_own_loads():
    slow = replace(CORE, window=0, dispatch_width=1)
    assert per_turn(scalar(horner(1000)), slow) == pytest.approx(5 + 8 * 4, rel=0.02)         # load, then a chain of eight, until the store
    assert per_turn(dot(1500), slow) == pytest.approx(5, rel=0.02)                            # load to use; the sum of the last turn is ready by then


def test_mispredicted_branches():
    """Half of 1000 random branches are missed: each costs 15 to refill, 1 + 5 to know."""
    answer = one(positive_sum(1000))
    assert answer.branch[0] == pytest.approx(500 * (15 + 1 + 5) + 16, rel=1e-6)               # and the loop's exit, beyond a history of 32
    assert one(positive_sum(1000, taken=0.1)).branch[0] == pytest.approx(100 * 21 + 16, rel=1e-6)
    assert one(positive_sum(1000, taken=1.0)).branch[0] == pytest.approx(16)
    assert one(scalar(copy(30))).mispredictions[0] == 0                                       # 30 turns are within the history


def test_long_misses_overlap_within_the_window():
    """A new line every turn, no prefetcher: 200 / 4 = 50 turns in flight, but ten miss buffers: memory's 100 cycles, less the 5 of a hit, over ten."""
    nest = strided_sum(100_000, step=64)
    answer = one(nest)
    assert answer.cache_misses[0].tolist() == [100_000] * 3
    assert answer.long_miss[0] == pytest.approx(100_000 * 95 / 10, rel=1e-3)
    assert one(nest, replace(CORE, window=8)).long_miss[0] == pytest.approx(100_000 * 95 / 3, rel=1e-3)   # 1 + 8 / 4 turns
    assert one(nest, replace(CORE, window=0)).long_miss[0] == pytest.approx(100_000 * 95, rel=1e-3)
    # 64 lines a page, the first two unforeseen: 2 / 65 of the misses, but those stand almost alone: 1.57 at a time
    led = one(strided_sum(100_000), replace(CORE, prefetch_bytes=4096))
    assert led.long_miss[0] == pytest.approx(100_000 * 2 / 65 * 95 / (2 / 65 * 51), rel=0.02)


def test_bandwidth_bounds():
    narrow = replace(CORE, memory_bandwidth_bytes_per_s=1e9, prefetch_bytes=4096)             # a byte a cycle
    answer = one(copy(1_000_000), narrow)
    assert answer.dram_bytes[0] == pytest.approx(3 * 8e6, rel=1e-3)                           # read, read for ownership, write back
    assert answer.cycles[0] == pytest.approx(3 * 8e6, rel=1e-3)
    filled = replace(CORE, prefetch_bytes=4096, caches=(replace(CORE.caches[0], fill_bytes_per_cycle=4, outstanding=1000), CORE.caches[1]))
    assert per_turn(scalar(copy(10_000)), filled) == pytest.approx(16 / 4, rel=0.02)          # from L2, four bytes a cycle


def test_one_stands_for_many_and_lengths_must_fit():
    both = run_nests([copy(10), dot(10)], [CORE])
    assert both.cycles.tolist() == [one(copy(10)).cycles[0], one(dot(10)).cycles[0]]
    assert len(run_nests([copy(10)], [core(k) for k in core_keys()]).cycles) == len(core_keys())
    with pytest.raises(InputError, match="2 nests and 3 cores"):
        run_nests([copy(1), copy(2)], [CORE, CORE, CORE])


KNOWN = [core(key) for key in core_keys()]
pairs = given(seed=st.integers(0, 10**6))


def drawn(seed: int) -> tuple[LoopNest, Core]:
    rng = np.random.default_rng(seed)
    return sample_nest(rng), sample_core(rng, KNOWN)


def no_slower(a: Interval, b: Interval) -> bool:
    return bool(a.cycles[0] <= b.cycles[0] * (1 + 1e-9))


@settings(max_examples=40, deadline=None)
@pairs
def test_laws_of_an_answer(seed):
    nest, on = drawn(seed)
    answer = one(nest, on)
    assert 0 < answer.ipc[0] <= on.dispatch_width * (1 + 1e-9)
    assert answer.cycles[0] * answer.ipc[0] == pytest.approx(answer.instructions[0])
    assert answer.latency_s[0] == pytest.approx(answer.cycles[0] / on.clock_hz)
    assert answer.cycles[0] == pytest.approx(max(answer.base[0] + answer.branch[0] + answer.long_miss[0], answer.memory_bound[0]))
    assert (np.diff(answer.cache_misses[0]) <= 1e-6 * answer.cache_misses[0, 0]).all() or on.caches[0].ways is not None
    assert answer.dram_bytes[0] / answer.latency_s[0] <= on.memory_bandwidth_bytes_per_s * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@pairs
def test_better_cores_are_no_slower(seed):
    nest, on = drawn(seed)
    base = one(nest, on)
    assert no_slower(one(nest, replace(on, dispatch_width=on.dispatch_width + 2)), base)
    assert no_slower(one(nest, replace(on, frontend_cycles=on.frontend_cycles / 2)), base)
    assert no_slower(one(nest, replace(on, memory_bandwidth_bytes_per_s=on.memory_bandwidth_bytes_per_s * 2)), base)
    assert no_slower(one(nest, replace(on, history_branches=(on.history_branches or 16) * 4)), base)
    assert no_slower(one(nest, replace(on, units={n: replace(u, count=u.count * 2) for n, u in on.units.items()})), base)
    if on.window:
        assert no_slower(one(nest, replace(on, window=on.window * 2)), base)


@settings(max_examples=40, deadline=None)
@pairs
def test_more_work_is_no_faster(seed):
    nest, on = drawn(seed)
    assert no_slower(one(nest, on), one(nest.repeated(3), on))


def test_many_rows_at_once_are_each_alone():
    rng = np.random.default_rng(5)
    nests, cores = [sample_nest(rng) for _ in range(40)], [sample_core(rng, KNOWN) for _ in range(40)]
    together = run_nests(nests, cores)
    alone = [one(n, c) for n, c in zip(nests, cores, strict=True)]
    assert together.cycles == pytest.approx([float(a.cycles[0]) for a in alone])
    assert together.instructions == pytest.approx([float(a.instructions[0]) for a in alone])
