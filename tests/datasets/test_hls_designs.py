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
    return figures_of([OUTER, replace(INNER, **inner)])["long_wait_cycles"]  # type: ignore[arg-type]


def test_more_copies_and_pipelines_are_never_slower() -> None:
    assert cycles(parallel=32) < cycles(parallel=4) < cycles()
    lazy = [figures_of([OUTER, replace(INNER, pipeline=p)])["lazy_cycles"] for p in ("off", "")]
    assert lazy[1] < lazy[0]
    flat = figures_of([replace(OUTER, pipeline="flatten"), INNER])
    assert flat["long_wait_cycles"] < cycles()
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
    refused = figures_of([replace(OUTER, pipeline="flatten"), replace(INNER, varying=True)])
    assert refused["refused"] == 1.0
    assert figures_of([replace(OUTER, pipeline="flatten"), INNER])["refused"] == 0.0
    assert refused["long_wait_cycles"] > cycles(varying=True)
    waiting = [figures_of([replace(OUTER, carried=True, parallel=p), INNER])["long_wait_cycles"] for p in (1, 8)]
    assert waiting[0] == waiting[1]
    assert figures_of([replace(OUTER, parallel=8), INNER])["long_wait_cycles"] < waiting[0]
    assert cycles(reduction=False, parallel=8) == pytest.approx(64 * (2 + 31 * (12 + 0.25 * 3) + 13))  # and choosing among 8 pieces of memory takes three quarters of a cycle
    assert cycles(parallel=8) < cycles()
    for wrong in ({"mixed": True}, {"met": True}):  # asked to be summed, and cannot
        assert cycles(parallel=8, **wrong) == cycles(reduction=False, parallel=8)
    through = [figures_of([replace(OUTER, pipeline="flatten"), replace(INNER, mixed=mixed)])["long_wait_cycles"] for mixed in (False, True)]
    assert through == [63 + 2 + 13 + 5 * 5, cycles()]


def test_copies_around_rounds_that_wait_for_an_element_bring_nothing() -> None:
    chained = replace(INNER, reduction=False, array_writes=1)
    alone, more = (figures_of([replace(OUTER, parallel=p), chained])["long_wait_cycles"] for p in (1, 8))
    assert alone == more
    assert figures_of([replace(OUTER, parallel=8), replace(chained, array_writes=0)])["long_wait_cycles"] < alone  # a variable is each copy's own
    assert figures_of([replace(OUTER, parallel=8), replace(INNER, array_writes=1)])["long_wait_cycles"] < alone


def test_an_array_taken_apart_by_another_loop_is_waited_for() -> None:
    """`c[j]` of 32 elements is written by two loops: where one is unrolled, rounds that are left of the other choose among 32 elements, and copies of it wait in turn."""
    first, second = (replace(INNER, name=name, depth=1, iterations=32, carried=False, reduction=False, writing=("c",), moving=("c",)) for name in "ab")
    apart, one, both = (figures_of([replace(first, parallel=a), replace(second, parallel=b)])["long_wait_cycles"] for a, b in ((4, 4), (32, 4), (32, 32)))
    assert both < apart < one
    assert apart == 2 * (7 + 13)
    assert one == 13 + 31 * (12 + 0.25 * 2) + 13


def test_a_sum_of_rounds_waits_by_hand() -> None:
    """Rounds that add to one another start 12 cycles apart, 5 in the brief reading, and copies that are summed share the wait; a pipelined round of an own 13 cycles (two units of 5, access
    of 2, and one), and an own 2 of the outer loop."""
    assert cycles() == 64 * (2 + 31 * 12 + 13)
    assert cycles(parallel=4) == 64 * (2 + 7 * 12 + 13)
    assert cycles(carried=False) == 64 * (2 + 31 + 13)
    assert figures_of([OUTER, replace(INNER, reduction=False, parallel=4)])["short_wait_cycles"] == 64 * (2 + 31 * (8 + 0.25 * 2) + 13)  # copies add in turn
    brief = [figures_of([OUTER, replace(INNER, parallel=p)])["short_wait_cycles"] for p in (1, 4)]
    assert brief == [64 * (2 + 31 * 5 + 13), 64 * (2 + 7 + 13)]
    assert cycles(parallel=3) == 64 * (2 + (64 / 3 - 1) * 12 + 13)  # 3 does not divide 32: rounds take twice as long


def test_a_loop_with_loops_inside_is_not_pipelined() -> None:
    assert figures_of([replace(OUTER, pipeline=""), INNER])["long_wait_cycles"] == cycles()
    # all its inner rounds are copies: 63 rounds a cycle apart, one of 2 cycles with a chain of 13 and a tree of 5 levels
    assert figures_of([OUTER, replace(INNER, parallel=32)])["long_wait_cycles"] == 63 + 2 + 13 + 5 * 5
    assert figures_of([replace(OUTER, pipeline="flatten"), INNER])["long_wait_cycles"] == 63 + 2 + 13 + 5 * 5


def test_a_tile_inside_a_nest_is_brought_in_anew_by_hand() -> None:
    inner = replace(INNER, tile=4, span=64.0, resting=32.0, bursts=2.0, bursts_round=1.0)
    found = figures_of([OUTER, inner])
    assert found["reloaded"] == 2048 / 4 * (60 + 0.125 * (32 + 32 * 4 / 32))  # a bus of 64 bytes brings eight doubles in a cycle
    assert found["bursts"] == 2048 / 4 * 20 * (2 + 4 * 1)
    assert found["long_wait_cycles"] == cycles() + found["reloaded"] + found["bursts"]
    assert cycles(tile=16, span=64.0) < found["long_wait_cycles"]
    assert cycles(tile=32, span=64.0, bursts=2.0) == cycles()  # a tile of all rounds cuts nothing
    assert [figures_of([replace(OUTER, parallel=2), inner])[name] for name in ("bursts", "reloaded")] == [0.0, 0.0]  # the copies around it hold the data
    assert figures_of([replace(OUTER, parallel=2, carried=True), inner])["bursts"] == found["bursts"]  # no copies: its rounds wait


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
    columns = {"network.long_wait_cycles": long, "network.short_wait_cycles": brief}
    for words, expected in ((["v18", "v20", "V20.2", "nan"], [30, 9, 9, 30]), (["Vivado HLS 2018.3", "Vitis HLS 2020.2", "2019.1", "vitis_hls v2023.1"], [30, 9, 30, 9]),
                            (["v18", "v20", "board_7", "v20"], [30] * 4), (["1200", "20", "2", "3"], [30] * 4), (["v100", "v20x", "a100", "v2020"], [30] * 4)):
        assert of_tools({**columns, "tool": np.array(words, dtype=object)}, ["tool"])["network.design_cycles"].tolist() == expected, words
    assert of_tools(columns, [])["network.design_cycles"].tolist() == [30.0] * 4
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
