"""Designs of HLS kernels: pragmas set without reading the graph again, and figures that move the way schedules do."""

from __future__ import annotations

import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from silicast.datasets.errors import FormatError, UnknownNameError
from silicast.datasets.frontends.hls import HlsLoop, read_hls
from silicast.datasets.hls_designs import design_of, figures_of, of_tools

DATA = Path(os.environ.get("SILICAST_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data")
OUTER = HlsLoop("i", 1, 64.0, 64, 0, 1, 0, 1, 0, 64)
INNER = HlsLoop("j", 2, 32.0, 2048, 2, 1, 2, 0, 2080, 0, reduction=True, carried=True)


def cycles(**inner: object) -> float:
    return figures_of([OUTER, replace(INNER, **inner)])["slow_adder_cycles"]  # type: ignore[arg-type]


def test_more_copies_and_pipelines_are_never_slower() -> None:
    assert cycles(parallel=32) < cycles(parallel=4) < cycles()
    lazy = [figures_of([OUTER, replace(INNER, carried=False, pipeline=p)])["lazy_cycles"] for p in ("off", "")]
    assert lazy[1] < lazy[0]
    flat = figures_of([replace(OUTER, pipeline="flatten"), INNER])
    assert flat["slow_adder_cycles"] < cycles()
    assert flat["flattened"] == 1.0
    assert flat["copies_most"] == 32.0


def test_figures_by_hand() -> None:
    found = figures_of([OUTER, replace(INNER, parallel=4)])
    assert found["work"] == 64 * 1 + 2048 * 2  # integer work where a loop has no other
    assert found["units"] == 1 + 4 * 2
    assert found["accesses"] == 64 + 2048 * 2
    assert found["copies_heaviest"] == 4.0
    assert found["trip_heaviest"] == 32.0
    assert figures_of([OUTER, INNER])["speedup"] == 1.0


def test_pragmas_that_take_no_effect_bring_nothing() -> None:
    """A loop whose bounds vary is not unrolled: `flatten` around it is refused, and nothing inside is pipelined. Copies of a loop whose rounds wait for one another bring nothing, but as a
    tree of sums."""
    refused = figures_of([replace(OUTER, pipeline="flatten"), replace(INNER, varying=True, carried=False)])
    assert refused["refused"] == 1.0
    assert figures_of([replace(OUTER, pipeline="flatten"), INNER])["refused"] == 0.0
    assert refused["slow_adder_cycles"] > cycles(varying=True, carried=False)
    waiting = [figures_of([replace(OUTER, carried=True, parallel=p), INNER])["slow_adder_cycles"] for p in (1, 8)]
    assert waiting[0] == waiting[1]
    assert figures_of([replace(OUTER, parallel=8), INNER])["slow_adder_cycles"] < waiting[0]
    assert cycles(reduction=False, parallel=8) == pytest.approx(64 * (2 + 31 * (13 + 0.25 * 3) + 13))  # and choosing among 8 pieces of memory takes three quarters of a cycle
    assert cycles(parallel=8) < cycles()
    for wrong in ({"mixed": True}, {"met": True}):  # asked to be summed, and cannot
        assert cycles(parallel=8, **wrong) == cycles(reduction=False, parallel=8)
    through = [figures_of([replace(OUTER, pipeline="flatten"), replace(INNER, mixed=mixed)])["slow_adder_cycles"] for mixed in (False, True)]
    assert through == [63 + 2 + 13 + 31 * 13, cycles()]


def test_copies_around_rounds_that_wait_for_an_element_bring_nothing() -> None:
    chained = replace(INNER, reduction=False, array_writes=1)
    alone, more = (figures_of([replace(OUTER, parallel=p), chained])["slow_adder_cycles"] for p in (1, 8))
    assert alone == more
    assert figures_of([replace(OUTER, parallel=8), replace(chained, array_writes=0)])["slow_adder_cycles"] < alone  # a variable is each copy's own
    assert figures_of([replace(OUTER, parallel=8), replace(INNER, array_writes=1)])["slow_adder_cycles"] < alone


def test_copies_of_a_loop_inside_another_send_its_rounds_to_memory_by_hand() -> None:
    """Copies of a loop around loops that stands inside another one: rounds start 60, 20 or 2 cycles apart, for they add to an array's element, to a variable, or to nothing; without such
    copies 13 and 1 (a tree of four sums is two additions of 13 deep)."""
    top = HlsLoop("t", 1, 4.0, 4, 0, 1, 0, 0, 0, 0)

    def rounds(middle: int, **inner: object) -> float:
        nest = [top, replace(OUTER, depth=2, iterations=256, parallel=middle), replace(INNER, depth=3, iterations=8192, **inner)]  # type: ignore[arg-type]
        return figures_of(nest)["slow_adder_cycles"]

    for wait, usual, inner in ((60, 7 * 13 + 2 * 13, {"array_writes": 1, "parallel": 4}), (20, 7 * 13 + 2 * 13, {"parallel": 4}), (2, 31, {"carried": False})):
        assert rounds(4, **inner) == 4 * (2 + 64 / 2 * (2 + 31 * wait + 13)), wait
        assert rounds(1, **inner) == 4 * (2 + 64 * (2 + usual + 13)), wait
    assert rounds(4, parallel=32) < rounds(1, parallel=32)  # no loop is left inside: copies as anywhere


def test_as_many_copies_as_rounds_of_a_loop_around_loops_bring_nothing() -> None:
    alone, some, full = (figures_of([replace(OUTER, parallel=p), INNER])["slow_adder_cycles"] for p in (1, 4, 64))
    assert some < alone == full
    unrolled = [figures_of([replace(OUTER, parallel=p), replace(INNER, parallel=32)])["slow_adder_cycles"] for p in (1, 64)]
    assert unrolled[1] < unrolled[0]  # no loop is left inside


def test_sums_that_nobody_asks_to_split_are_added_one_after_the_other() -> None:
    """Of 32 rounds unrolled 31 wait, 13 cycles each, 5 in the brief reading; with an own 13, and 63 rounds of the outer loop after the first, an own 2. So they do where an element is met
    again at another index, and under a `flatten` that no copies go with; copies that are asked to be summed are a tree of 5 levels."""
    for wait, name in ((13, "slow_adder_cycles"), (5, "quick_adder_cycles")):
        for unasked in ({"reduction": False}, {"reduction": False, "met": True}, {"met": True}):
            assert figures_of([OUTER, replace(INNER, parallel=32, **unasked)])[name] == 63 + 2 + 13 + 31 * wait  # type: ignore[arg-type]
        assert figures_of([replace(OUTER, pipeline="flatten"), INNER])[name] == 63 + 2 + 13 + 31 * wait
        assert figures_of([OUTER, replace(INNER, parallel=32)])[name] == 63 + 2 + 13 + 5 * wait


def test_a_short_loop_without_pragmas_is_unrolled_unasked() -> None:
    """32 rounds of two operations: 32 x 17 of a work of 8,192. One told to be cut, copied or pipelined is not, nor one of many rounds, of much work, or of bounds that vary."""
    bare = replace(INNER, carried=False, asked=())
    assert figures_of([OUTER, bare])["slow_adder_cycles"] == 63 + 2 + 13
    for other in ({"asked": ("tile",)}, {"trip_count": 65.0}, {"float_ops": 32}, {"varying": True}):
        assert figures_of([OUTER, replace(bare, **other)])["slow_adder_cycles"] > 1_000, other  # type: ignore[arg-type]
    outer = replace(OUTER, asked=("pipeline",))  # what is told to be no pipeline is none, but where a later tool makes it one, or copies or a tile are asked for
    assert figures_of([outer, bare])["slow_adder_cycles"] == 64 * (2 + 13)
    assert figures_of([outer, bare])["quick_adder_cycles"] == figures_of([replace(outer, pipeline=""), bare])["slow_adder_cycles"] == 63 + 2 + 13
    assert figures_of([replace(outer, parallel=2), bare])["slow_adder_cycles"] == 31 + 2 + 13


def test_copies_share_the_ports_of_an_array_whose_index_is_data() -> None:
    """One access in a round, two ports: four copies start a round every other cycle."""
    for parallel, found in ((1, 31 + 13), (4, 7 * 2 + 13)):
        assert cycles(carried=False, gathered=1, parallel=parallel) == 64 * (2 + found)
    assert figures_of([OUTER, replace(INNER, carried=False, asked=(), gathered=1)])["slow_adder_cycles"] == 63 * 16 + 2 + 13  # 32 accesses in each round of the loop around


def test_a_guarded_round_waits_for_the_one_before_it() -> None:
    """In the brief reading sums wait for nothing where every round adds; where only some do, each waits 5 cycles. Two rounds that 3 copies leave run by themselves."""
    for guarded, wait in ((False, 1), (True, 5)):
        brief = [figures_of([OUTER, replace(INNER, guarded=guarded, parallel=p)])["quick_adder_cycles"] for p in (1, 4)]
        assert brief == [64 * (2 + 31 * wait + 13), 64 * (2 + 7 * wait + 13 + 2 * 5)]
    left = figures_of([OUTER, replace(INNER, guarded=True, parallel=3)])["quick_adder_cycles"]
    assert left == pytest.approx(64 * (2 + 9 * 5 + 13 + 5 * np.log2(3) + 5 + 13))


def test_an_array_taken_apart_by_another_loop_is_waited_for() -> None:
    """`c[j]` of 32 elements is written by two loops: where one is unrolled, rounds that are left of the other choose among 32 elements, and copies of it wait in turn."""
    first, second = (replace(INNER, name=name, depth=1, iterations=32, carried=False, reduction=False, writing=("c",), moving=("c",)) for name in "ab")
    apart, one, both = (figures_of([replace(first, parallel=a), replace(second, parallel=b)])["slow_adder_cycles"] for a, b in ((4, 4), (32, 4), (32, 32)))
    assert both < apart < one
    assert apart == 2 * (7 + 13)
    assert one == 13 + 31 * (13 + 0.25 * 2) + 13


def test_a_sum_of_rounds_waits_by_hand() -> None:
    """Rounds that add to one another start 13 cycles apart, copies that are summed share the wait and are summed at the end; a pipelined round of an own 13 cycles (two units of 5, access of
    2, and one), and an own 2 of the outer loop."""
    assert cycles() == 64 * (2 + 31 * 13 + 13)
    assert cycles(parallel=4) == 64 * (2 + 7 * 13 + 13 + 2 * 13)
    assert cycles(carried=False) == 64 * (2 + 31 + 13)
    one = figures_of([OUTER, replace(INNER, reduction=False)])["quick_adder_cycles"]
    assert one == 64 * (2 + 31 * 5 + 13)
    assert figures_of([OUTER, replace(INNER, reduction=False, parallel=4)])["quick_adder_cycles"] == 64 * (2 + 31 * (8 + 0.25 * 2) + 13)  # copies add in turn
    assert cycles(parallel=3) == pytest.approx(64 * (2 + (64 / 3 - 1) * 13 + 13 + 13 * np.log2(3)))  # 3 does not divide 32: rounds take twice as long
    brief = figures_of([OUTER, replace(INNER, parallel=3)])["quick_adder_cycles"]
    assert brief == pytest.approx(64 * (2 + 9 + 13 + 5 * np.log2(3) + 2 * 3))  # but of a tree in the brief reading two are left, of 3 cycles each


def test_a_loop_with_loops_inside_is_not_pipelined() -> None:
    assert figures_of([replace(OUTER, pipeline=""), INNER])["slow_adder_cycles"] == cycles()


def test_a_tile_inside_a_nest_is_brought_in_anew_by_hand() -> None:
    inner = replace(INNER, tile=4, span=64.0, resting=32.0, bursts=2.0, bursts_round=1.0)
    found = figures_of([OUTER, inner])
    assert found["reloaded"] == 2048 / 4 * (100 + 0.125 * (32 + 32 * 4 / 32))  # a bus of 64 bytes brings eight doubles in a cycle
    assert found["bursts"] == 2048 / 4 * 20 * (2 + 4 * 1)
    assert found["slow_adder_cycles"] == cycles() + found["reloaded"] + found["bursts"]
    assert cycles(tile=16, span=64.0) < found["slow_adder_cycles"]
    assert cycles(tile=32, span=64.0, bursts=2.0) == cycles()  # a tile of all rounds cuts nothing
    assert figures_of([OUTER, replace(inner, parallel=2)])["reloaded"] == 2048 / 8 * (100 + 0.125 * (32 + 32 * 8 / 32))  # four rounds of each of two copies
    assert figures_of([OUTER, replace(inner, parallel=8)])["reloaded"] == 0.0
    assert figures_of([replace(OUTER, parallel=64), inner])["reloaded"] == found["reloaded"]  # copies that are dropped hold nothing
    assert [figures_of([replace(OUTER, parallel=2), inner])[name] for name in ("bursts", "reloaded")] == [0.0, 0.0]  # the copies around it hold the data
    kept = figures_of([replace(OUTER, parallel=2, carried=True), inner])  # its copies wait in turn: the data is on the chip, and comes element by element
    assert (kept["bursts"], kept["reloaded"]) == (0.0, 2048 / 4 * (100 + 32 + 32 * 4 / 32))
    shared = figures_of([OUTER, replace(inner, copied=40.0, copied_resting=8.0)])  # another nest uses 40 elements too
    assert (shared["bursts"], shared["reloaded"]) == (found["bursts"], found["reloaded"] + 2048 / 4 * (8 + 32 * 4 / 32))


def test_pragmas_in_vain_are_told() -> None:
    def told(outer: HlsLoop, inner: HlsLoop) -> list[float]:
        found = figures_of([outer, inner])
        return [found[name] for name in ("copies_waiting", "copies_uneven", "cut_innermost", "clashes")]

    assert told(OUTER, INNER) == [0.0, 0.0, 0.0, 0.0]
    assert told(replace(OUTER, carried=True, parallel=8), INNER) == [3.0, 0.0, 0.0, 0.0]
    assert told(OUTER, replace(INNER, parallel=3, tile=8)) == pytest.approx([0.0, 1.584963, 2.0, 0.0])
    shared = replace(OUTER, parallel=4, moving=("a", "b")), replace(INNER, parallel=32, moving=("a",))
    assert told(*shared)[3] == 1.0


def test_the_tool_says_how_long_sums_wait() -> None:
    long, brief = np.array([30.0, 30.0, 30.0, 30.0]), np.array([9.0, 9.0, 9.0, 9.0])
    columns = {"network.slow_adder_cycles": long, "network.quick_adder_cycles": brief}
    for words, expected in ((["v18", "v20", "V20.2", "nan"], [30, 9, 9, 30]), (["Vivado HLS 2018.3", "Vitis HLS 2020.2", "2019.1", "vitis_hls v2023.1"], [30, 9, 30, 9]),
                            (["v18", "v20", "board_7", "v20"], [30] * 4), (["1200", "20", "2", "3"], [30] * 4), (["v100", "v20x", "a100", "v2020"], [30] * 4)):
        assert of_tools({**columns, "tool": np.array(words, dtype=object)}, ["tool"])["network.design_cycles"].tolist() == expected, words
    assert of_tools(columns, [])["network.design_cycles"].tolist() == [30.0] * 4
    assert of_tools({**columns, "tool": np.array(["v18", "v20"] * 2, dtype=object)}, ["tool"])["network.brief_sums"].tolist() == [0.0, 1.0] * 2
    assert of_tools({**columns, "year": np.full(4, 2020.2)}, ["year"])["network.design_cycles"].tolist() == [30.0] * 4  # a number is no version
    assert of_tools({"tool": np.array(["v20"], dtype=object)}, ["tool"]) == {}


@pytest.mark.skipif(not (DATA / "hlsyn" / "graphs.tar.gz").exists(), reason="the open tables are not here")
def test_a_design_is_that_of_the_reader(tmp_path: Path) -> None:
    with tarfile.open(DATA / "hlsyn" / "graphs.tar.gz") as packed:
        packed.extract("graphs/gemm-ncubed_processed_result.gexf", tmp_path, filter="data")
    path = tmp_path / "graphs" / "gemm-ncubed_processed_result.gexf"
    for point in ({"__PARA__L2": 8, "__PIPE__L1": "flatten", "__TILE__L0": 1}, {"__PARA__L0": 4, "__PIPE__L0": "", "__TILE__L1": 4}):
        assert design_of(path, point, {})[0].digest == read_hls(path, point).digest
    assert design_of(path, None, {"__PARA__L2": 8.0})[0].digest == read_hls(path, {"__PARA__L2": 8}).digest
    with pytest.raises(UnknownNameError, match="unknown pragma or loop '__PARA__L9'"):
        design_of(path, {"__PARA__L9": 2}, {})
    with pytest.raises(FormatError, match="the design point is no JSON"):
        design_of(path, "{", {})
