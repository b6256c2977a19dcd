"""Loop nests: valid at birth, counted by hand, vectorised only where a compiler would."""

import numpy as np
import pytest

from silicast.datasets.errors import GraphError, UnknownNameError, UnsupportedOpError
from silicast.datasets.loopnest import Access, Loop, LoopNest, Statement
from silicast.datasets.nest_columns import NestColumns
from silicast.datasets.nest_of_op import NESTS, nest_of_op
from silicast.datasets.nests import KERNELS, dot, jacobi, kernel, matmul, positive_sum, sample_nest, transpose, triad
from silicast.datasets.ops import Op


@pytest.mark.parametrize(("change", "says"), [
    ({"loops": ()}, "1 to 12 loops"),
    ({"loops": (Loop("i", 0),)}, "trips"),
    ({"statements": (Statement(0, ()),)}, "innermost"),
    ({"statements": (Statement(1, (Access("a", (8, 8)),)),)}, "strides"),
    ({"statements": (Statement(1, (), carried="add"),)}, "carried"),
    ({"statements": (Statement(1, (), branches=1, taken=1.5),)}, "taken"),
    ({"statements": (Statement(1, (Access("a", (8,), bytes_each=3),)),)}, "bytes_each"),
    ({"statements": (Statement(1, (), add=1, path=(("add", 2),)),)}, "path"),
])
def test_an_impossible_nest_names_its_fault(change, says):
    given = {"loops": (Loop("i", 4),), "statements": (Statement(1, ()),), **change}
    with pytest.raises(GraphError, match=says):
        LoopNest("bad", **given)


def test_counts_by_hand():
    nest = matmul(10)
    assert nest.iterations == 1000
    assert nest.flops == 2000
    assert nest.repeated(3).flops == 6000
    assert matmul(10, tile=4).iterations == 12**3  # three blocks of four for ten turns: rounded up


def test_vectors_only_where_a_compiler_finds_them():
    assert triad(100).vectorizable
    assert not dot(100).vectorizable                    # the sum's order is kept
    assert dot(100, reassociable=True).vectorizable
    assert not positive_sum(100).vectorizable           # a branch
    assert not transpose(10).vectorizable               # one side strides
    assert matmul(10, "ikj").vectorizable
    assert not matmul(10, "ijk").vectorizable
    assert not matmul(10, "ijk", reassociable=True).vectorizable  # B strides


def test_columns_hold_registers_out_of_the_innermost_loop():
    c = NestColumns.of([triad(5), matmul(10, "ijk")])
    assert c.trips.tolist() == [[1, 1, 5], [10, 10, 10]]
    assert c.loads[0].tolist() == [0, 0, 0, 2]
    assert c.stores[0].tolist() == [0, 0, 0, 1]
    assert c.loads[1].tolist() == [0, 0, 1, 2]          # C is loaded and stored once per (i, j)
    assert c.stores[1].tolist() == [0, 0, 1, 0]
    assert c.chain_trips.tolist() == [1, 10]
    assert c.executions[1].tolist() == [1, 10, 100, 1000]


def test_neighbours_of_a_stencil_are_one_group():
    c = NestColumns.of([jacobi(10)])
    assert c.valid.sum() == 2
    assert c.group_spans[0, 0].tolist() == [2, 2]
    assert c.loads[0, -1] == 5


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_stands_at_small_and_large_sizes(name):
    assert kernel(name, 8).iterations >= 1
    assert kernel(name, 1000).iterations > kernel(name, 8).iterations


def test_unknown_kernels_name_the_nearest():
    with pytest.raises(UnknownNameError, match="triad"):
        kernel("triadd", 5)


def test_sampled_nests_repeat():
    first, again = ([sample_nest(np.random.default_rng(s)) for s in range(50)] for _ in range(2))
    assert first == again
    assert len({n.digest for n in first}) > 45


@pytest.mark.parametrize(("op", "flops"), [
    (Op.of("g", "gemm", b=2, m=3, n=4, k=5, dtype="float32"), 2 * 2 * 60),
    (Op.of("c", "conv", batch=1, in_channels=4, in_h=6, in_w=6, out_channels=8, out_h=4, out_w=4, kernel_h=3, kernel_w=3, groups=2, dtype="float32"), 2 * 16 * 8 * 2 * 9),
    (Op.of("e", "elementwise", elements=7, cost=3, dtype="float64"), 21),
    (Op.of("r", "reduce", rows=3, cols=4, dtype="float32"), 12),
    (Op.of("p", "pool", batch=1, channels=2, in_h=4, in_w=4, out_h=2, out_w=2, kernel_h=2, kernel_w=2, stride_h=2, stride_w=2, dtype="float32"), 32),
    (Op.of("m", "move", elements=9, dtype="float32"), 0),
])
def test_an_op_becomes_a_nest_of_as_many_flops(op, flops):
    assert nest_of_op(op).flops == flops
    assert op.kind in NESTS


def test_tiles_of_a_gemm_cover_it():
    op = Op.of("g", "gemm", m=64, n=64, k=64, dtype="float32")
    assert nest_of_op(op, tile=16).iterations == nest_of_op(op).iterations == 64**3


def test_what_has_no_nest_says_so():
    with pytest.raises(UnsupportedOpError, match="softmax has no plain loop nest"):
        nest_of_op(Op.of("s", "softmax", rows=2, cols=3, dtype="float32"))
    with pytest.raises(UnsupportedOpError, match="bfloat16"):
        nest_of_op(Op.of("g", "gemm", m=2, n=2, k=2, dtype="bfloat16"))
