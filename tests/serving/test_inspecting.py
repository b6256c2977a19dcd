"""`silicast inspect`: counts per operator, the graph as a picture, the roofline; what cannot be drawn is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from silicast.datasets.catalog import hardware
from silicast.datasets.errors import InputError
from silicast.datasets.layers import Net
from silicast.datasets.workload import Workload
from silicast.serving.cli import app
from silicast.serving.drawing import MOST, Stretch, _repeats, fold, graph_svg
from silicast.serving.inspecting import under_roof


def run(*args: Any) -> Any:
    return CliRunner().invoke(app, [str(a) for a in args])


def blocks(times: int, width: int = 64) -> Workload:
    """A stem, `times` residual blocks of four operators, a head."""
    net = Net("blocks & <co>", dtype="float16")
    x = net.linear(net.input((8, 32)), width)
    for i in range(times):
        with net.scope(f"block{i}"):
            x = net.add(x, net.linear(net.relu(net.layer_norm(x)), width))
    return net.build() if times < 0 else _headed(net, x)


def _headed(net: Net, x: Any) -> Workload:
    net.linear(x, 10)
    return net.build()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.json"
    path.write_text(json.dumps(blocks(2).to_json()))
    return path


def texts(svg: str) -> list[str]:
    """Every text of an SVG, which must be well-formed XML."""
    return [e.text or "" for e in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_what_repeats_is_drawn_once() -> None:
    workload = blocks(100)
    assert fold(workload) == [Stretch(0, 1, 1), Stretch(1, 4, 100), Stretch(401, 1, 1)]
    told = texts(graph_svg(workload))
    assert "100 times" in told
    assert len([t for t in told if t.startswith("block0/")]) == 4
    assert told[0].startswith("blocks & <co>: 402 ops")


def test_small_graphs_are_drawn_whole() -> None:
    assert all(s.times == 1 for s in fold(blocks(3)))
    svg = graph_svg(blocks(3))
    assert svg.count("<path") == len(blocks(3).edges)


def test_ten_thousand_operators_fold_and_ten_thousand_different_ones_are_refused() -> None:
    assert len(texts(graph_svg(blocks(2500)))) < 40
    net = Net("odd")
    x = net.input((4, 8))
    for i in range(MOST + 1):
        x = net.linear(x, 8 + i)
    with pytest.raises(InputError, match="too many for a picture"):
        graph_svg(net.build())


def test_the_repetition_that_saves_most() -> None:
    assert _repeats(np.array([9, 1, 2, 3, 1, 2, 3, 1, 2, 3, 8])) == (1, 3, 3)
    assert _repeats(np.arange(50)) is None


def test_every_operator_by_hand(file: Path) -> None:
    told = json.loads(run("inspect", file, "--ops", "--json").stdout)
    first = told["op_list"][0]
    # (8 x 32)(32 x 64) and a bias, halves: 8*32 + 32*64 + 64 read, 8*64 written
    assert (first["flops"], first["bytes_read"], first["bytes_written"]) == (2 * 8 * 32 * 64 + 8 * 64, 2 * (8 * 32 + 32 * 64 + 64), 2 * 8 * 64)
    assert first["intensity"] == first["flops"] / (first["bytes_read"] + first["bytes_written"])
    assert sum(op["flops"] for op in told["op_list"]) == told["flops"]
    assert "FLOP/byte" in run("inspect", file, "--ops").stdout


def test_nothing_stands_above_the_roof() -> None:
    found = under_roof(blocks(4, 1024), hardware("t4"))
    assert found["ridge_flops_per_byte"] == pytest.approx(max(found["roofs_flops_per_s"].values()) / 320e9)
    for op in found["ops"]:
        assert op["flops_per_s"] <= op["roof_flops_per_s"] * 1.001
    assert sum(op["share"] for op in found["ops"]) <= 1.0 + 1e-9


def test_pictures_are_written(file: Path, tmp_path: Path) -> None:
    for plot in ("roof.png", "roof.svg"):
        result = run("inspect", file, "--svg", tmp_path / "graph.svg", "--roofline", "t4", "--plot", tmp_path / plot)
        assert result.exit_code == 0, result.stderr
        assert (tmp_path / plot).read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")
    ElementTree.parse(tmp_path / "graph.svg")


def test_wrong_wishes_are_told(file: Path, tmp_path: Path) -> None:
    for args, said in ((("--svg", tmp_path / "graph.pdf"), ".svg"), (("--plot", tmp_path / "roof.png"), "--roofline"), (("--roofline", "t4", "--plot", "no/where.png"), "no folder"),
                       (("--roofline", "tea4"), "t4")):
        result = run("inspect", file, *args)
        assert result.exit_code == 2
        assert said in result.stderr
