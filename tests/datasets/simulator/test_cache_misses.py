"""Footprints and misses: counted by hand on small nests, against an LRU simulation, and their laws."""

from collections import OrderedDict
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.datasets.loopnest import LoopNest
from silicast.datasets.nest_columns import NestColumns
from silicast.datasets.nests import copy, jacobi, matmul, sample_nest, strided_sum, transpose
from silicast.datasets.simulator.cache_misses import lines_touched, misses

LINE = 64.0


def missed(nest: LoopNest, capacity: float, sets: float = 1.0, ways: float = np.inf) -> float:
    c = NestColumns.of([nest])
    lines, needs = lines_touched(c, np.array([LINE]), np.array([sets]))
    return float(misses(c, lines, np.array([LINE]), np.array([[capacity]]), needs, np.array([[ways]]))[0].sum())


def simulated(nest: LoopNest, sets: int, ways: int) -> int:
    """Misses of a set-associative LRU cache over the nest's addresses; arrays far apart, each at its own offset."""
    base = {a: i * 2**40 + i * 1344 for i, a in enumerate(sorted({a.array for s in nest.statements for a in s.accesses}))}
    cache: list[OrderedDict[int, None]] = [OrderedDict() for _ in range(sets)]
    count = 0
    (statement,) = nest.statements
    for at in product(*(range(loop.trips) for loop in nest.loops)):
        for a in statement.accesses:
            shifts = a.shifts or (0,) * len(at)
            line = (2**30 + base[a.array] + sum(s * (i + d) for s, i, d in zip(a.strides, at, shifts, strict=True))) // 64
            held = cache[line % sets]
            if line not in held:
                count += 1
                held[line] = None
                if len(held) > ways:
                    held.popitem(last=False)
            held.move_to_end(line)
    return count


def test_a_stream_loads_each_line_once():
    assert missed(copy(8000), 4096) == pytest.approx(2 * 1000, rel=2e-3)     # 8 doubles a line, two arrays


def test_a_stride_of_a_line_loads_one_an_access():
    assert missed(strided_sum(1000, step=8), 4096) == 1000
    assert missed(strided_sum(1000, step=64), 4096) == 1000


def test_a_repetition_costs_nothing_once_it_fits():
    assert missed(copy(1000).repeated(10), 32768) == pytest.approx(missed(copy(1000), 32768))
    assert missed(copy(10_000).repeated(10), 32768) == pytest.approx(10 * missed(copy(10_000), 32768))


def test_matmul_by_hand():
    n = 64  # B is 32 KiB: it fits in 64 KiB with a row of A and C, not in 16 KiB; its column of 64 lines (4 KiB) does
    compulsory = 3 * n * n / 8
    assert missed(matmul(n), 65536) == pytest.approx(compulsory, rel=0.15)
    assert missed(matmul(n), 16384) == pytest.approx(n * n * n / 8 + 2 * n * n / 8, rel=0.05)
    assert missed(matmul(n), 2048) == pytest.approx(n**3 + n**3 / 8, rel=0.1)


def test_a_column_at_a_power_of_two_meets_few_sets():
    # 128 doubles a row: 1024 bytes, every 16th line, 4 of 64 sets: 32 lines, and the column has 128
    n = 128
    assert missed(matmul(n), 32768, sets=64, ways=8) > n**3 * 0.99
    assert missed(matmul(n), 32768) < n**3 * 0.2


@pytest.mark.parametrize(("nest", "sets", "ways", "within"), [
    (matmul(20), 4, 8, 0.15), (matmul(30), 8, 8, 0.1), (matmul(32), 16, 4, 0.1), (matmul(24, "ikj"), 8, 8, 0.2), (matmul(32, "ikj", tile=8), 8, 8, 0.35),
    (transpose(60), 16, 8, 0.05), (transpose(64), 16, 8, 0.05), (jacobi(60), 16, 8, 0.05), (jacobi(40), 64, 8, 0.08), (copy(500).repeated(3), 32, 8, 0.05),
])
def test_beside_a_simulated_cache(nest, sets, ways, within):
    truth = simulated(nest, sets, ways)
    assert missed(nest, sets * ways * 64, sets, ways) == pytest.approx(truth, rel=within)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), capacity=st.floats(1e3, 1e8), factor=st.floats(1.0, 100.0))
def test_a_larger_cache_never_misses_more(seed, capacity, factor):
    nest = sample_nest(np.random.default_rng(seed))
    assert missed(nest, capacity * factor) <= missed(nest, capacity) * (1 + 1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), capacity=st.floats(1e3, 1e8), log_sets=st.integers(4, 10))
def test_misses_lie_between_each_line_once_and_each_access(seed, capacity, log_sets):
    nest = sample_nest(np.random.default_rng(seed))
    c = NestColumns.of([nest])
    once = missed(nest, 1e18)
    accesses = (c.executions * (c.loads + c.stores)).sum()
    assert once <= missed(nest, capacity, 2.0**log_sets, 8) * (1 + 1e-12)
    assert missed(nest, capacity, 2.0**log_sets, 8) <= max(accesses, once) * 2.0   # a group's edge lines count whole


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_outer_loops_touch_no_less(seed):
    c = NestColumns.of([sample_nest(np.random.default_rng(seed))])
    lines, needs = lines_touched(c, np.array([LINE]), np.array([64.0]))
    assert (np.diff(lines, axis=2) <= 1e-9).all()
    assert (needs >= 0).all()
