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
    return figures_of([OUTER, replace(INNER, **inner)])["schedule_cycles"]  # type: ignore[arg-type]


def test_more_copies_and_pipelines_are_never_slower() -> None:
    assert cycles(parallel=32) < cycles(parallel=4) < cycles()
    lazy = [figures_of([OUTER, replace(INNER, pipeline=p)])["lazy_cycles"] for p in ("off", "")]
    assert lazy[1] < lazy[0]
    flat = figures_of([replace(OUTER, pipeline="flatten"), INNER])
    assert flat["schedule_cycles"] < cycles()
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
    assert refused["schedule_cycles"] > cycles(varying=True)
    waiting = [figures_of([replace(OUTER, carried=True, parallel=p), INNER])["schedule_cycles"] for p in (1, 8)]
    assert waiting[0] == waiting[1]
    assert figures_of([replace(OUTER, parallel=8), INNER])["schedule_cycles"] < waiting[0]
    assert cycles(carried=True, reduction=False, parallel=8) == cycles(carried=True, reduction=False)
    assert cycles(carried=True, parallel=8) < cycles(carried=True)


def test_a_tile_inside_a_nest_is_brought_in_anew_by_hand() -> None:
    found = figures_of([OUTER, replace(INNER, tile=4, span=64.0)])
    assert found["reloaded"] == 0.125 * (2048 / 4) * 64  # a bus of 64 bytes brings eight doubles in a cycle
    assert found["schedule_cycles"] == cycles() + found["reloaded"]
    assert cycles(tile=16, span=64.0) < found["schedule_cycles"]


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
