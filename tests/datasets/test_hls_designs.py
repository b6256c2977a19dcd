"""Designs of HLS kernels: pragmas set without reading the graph again, and figures that move the way schedules do."""

from __future__ import annotations

import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from silicast.datasets.errors import FormatError, UnknownNameError
from silicast.datasets.frontends.hls import HlsLoop, read_hls
from silicast.datasets.hls_designs import design_of, figures_of

DATA = Path(os.environ.get("SILICAST_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "data")
OUTER = HlsLoop("i", 1, 64.0, 64, 0, 1, 0, 1, 0, 64)
INNER = HlsLoop("j", 2, 32.0, 2048, 2, 1, 2, 0, 2080, 0, reduction=True)


def cycles(**inner: object) -> float:
    return figures_of([OUTER, replace(INNER, **inner)])["eager_cycles"]  # type: ignore[arg-type]


def test_more_copies_and_pipelines_are_never_slower() -> None:
    assert cycles(parallel=32) < cycles(parallel=4) < cycles()
    lazy = [figures_of([OUTER, replace(INNER, pipeline=p)])["lazy_cycles"] for p in ("off", "")]
    assert lazy[1] < lazy[0]
    flat = figures_of([replace(OUTER, pipeline="flatten"), INNER])
    assert flat["eager_cycles"] < cycles()
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
    assert refused["eager_cycles"] > cycles(varying=True)
    waiting = [figures_of([replace(OUTER, carried=True, parallel=p), INNER])["eager_cycles"] for p in (1, 8)]
    assert waiting[0] == waiting[1]
    assert figures_of([replace(OUTER, parallel=8), INNER])["eager_cycles"] < waiting[0]
    assert cycles(carried=True, reduction=False, parallel=8) == cycles(carried=True, reduction=False)
    assert cycles(carried=True, parallel=8) < cycles(carried=True)


def test_a_sum_of_rounds_waits_by_hand() -> None:
    """Rounds that add to one another start 12 cycles apart, 5 in the swift reading, and copies that are summed share the wait; a pipelined round of an own 13 cycles (two units of 5, access
    of 2, and one), and an own 2 of the outer loop."""
    assert cycles() == 64 * (2 + 31 * 12 + 13)
    assert cycles(parallel=4) == 64 * (2 + 7 * 12 + 13)
    assert cycles(reduction=False) == 64 * (2 + 31 + 13)
    swift = [figures_of([OUTER, replace(INNER, parallel=p)])["swift_cycles"] for p in (1, 4)]
    assert swift == [64 * (2 + 31 * 5 + 13), 64 * (2 + 7 + 13)]
    assert cycles(parallel=3) == 64 * (2 + (64 / 3 - 1) * 12 + 13)  # 3 does not divide 32: rounds take twice as long


def test_a_loop_with_loops_inside_is_not_pipelined() -> None:
    assert figures_of([replace(OUTER, pipeline=""), INNER])["eager_cycles"] == cycles()
    # all its inner rounds are copies: 63 rounds a cycle apart, one of 2 cycles with a chain of 13 and a tree of 5 levels
    assert figures_of([OUTER, replace(INNER, parallel=32)])["eager_cycles"] == 63 + 2 + 13 + 5 * 5
    assert figures_of([replace(OUTER, pipeline="flatten"), INNER])["eager_cycles"] == 63 + 2 + 13 + 5 * 5


def test_a_tile_inside_a_nest_is_brought_in_anew_by_hand() -> None:
    inner = replace(INNER, tile=4, span=64.0, resting=32.0, bursts=2.0, bursts_round=1.0)
    found = figures_of([OUTER, inner])
    assert found["reloaded"] == 2048 / 4 * (60 + 0.125 * (32 + 32 * 4 / 32))  # a bus of 64 bytes brings eight doubles in a cycle
    assert found["bursts"] == 2048 / 4 * 20 * (2 + 4 * 1)
    assert found["eager_cycles"] == cycles() + found["reloaded"] + found["bursts"]
    assert cycles(tile=16, span=64.0) < found["eager_cycles"]
    assert cycles(tile=32, span=64.0, bursts=2.0) == cycles()  # a tile of all rounds cuts nothing
    assert figures_of([replace(OUTER, parallel=2), inner])["bursts"] == 0.0  # the copies around it hold the data
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
