"""Tables of whole networks: what a cell, a row or a file stands for, and what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.encodings import decode
from silicast.datasets.errors import FormatError, TableError
from silicast.datasets.measured import read_measured
from silicast.datasets.networks import FIGURES, NetworkQuestions

CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|{}~0|nor_conv_3x3~1|nor_conv_3x3~2|"
TARGETS = {"latency_s": {"column": "ms", "unit": "ms"}}


def cells() -> pd.DataFrame:
    return pd.DataFrame({"arch": [CELL.format(op) for op in ("skip_connect", "nor_conv_3x3", "skip_connect", "none")], "gpu": ["h100", "h100", "my board", "my board"],
                         "batch": [1, 1, 4, 4], "ms": [1.0, 2.0, 3.0, 4.0], "other": [9, 9, 9, 9]})


def schema(**changes: object) -> dict[str, object]:
    return {"workload": {"column": "arch", "format": "nas-bench-201"}, "hardware": "gpu", "targets": TARGETS, **changes}


def test_every_different_network_is_read_once_and_stands_beside_its_rows() -> None:
    table = read_measured(cells(), schema())
    q = table.questions
    assert isinstance(q, NetworkQuestions)
    assert len(q.networks) == 3
    assert q.index.tolist() == [0, 1, 0, 2]
    assert q.device_names == ("h100_sxm", "my board")
    assert [d is None for d in q.devices] == [False, True]
    # published: 220.12 M multiply-adds and 1.531546 M parameters of the cell of 3x3 convolutions alone
    figures = dict(zip(FIGURES, q.networks.figures[1], strict=True))
    assert figures["params"] == 1_531_546
    whole = decode("nas-bench-201", cells()["arch"][1])
    assert figures["flops"] == pytest.approx(whole.flops, rel=1e-6)
    assert figures["ops"] == len(whole.ops)
    assert figures["activation_bytes"] == whole.peak_activation_bytes
    assert q.frame["op03"].tolist() == ["skip_connect", "nor_conv_3x3", "skip_connect", "none"]
    assert "other" not in q.frame
    assert table.groups.tolist() == ["network 0", "network 1", "network 0", "network 2"]


def test_batch_and_resolution_come_from_columns_or_are_fixed() -> None:
    one, many = read_measured(cells(), schema()).questions, read_measured(cells(), schema(columns={"batch": "batch"}, fixed={"resolution": 16})).questions
    assert len(many.networks) == 4
    flops = dict(zip(many.frame["batch"], many.frame["network.flops"], strict=True))
    assert flops[4.0] > 3 * flops[1.0]
    assert (many.frame["network.flops"][:2] < 0.3 * one.frame["network.flops"][:2]).all()


def test_the_whole_row_may_be_the_encoding() -> None:
    row = {"block0_e": 1, "block0_k": 3, "block0_l": 1, "block0_se": False} | {f"block{i}_{n}": v for i in range(1, 7) for n, v in (("e", 6), ("k", 5), ("l", 2), ("se", True))}
    frame = pd.DataFrame([{**row, "ms": 1.0}, {**row, "block3_l": 3, "ms": 2.0}])
    q = read_measured(frame, {"workload": {"format": "mnasnet"}, "targets": TARGETS}).questions
    assert q.frame["network.params"].tolist() == [decode("mnasnet", {**row, "block3_l": layers}).params for layers in (2, 3)]
    assert q.frame["block3_l"].tolist() == [2, 3]
    with pytest.raises(TableError, match="no column of the encoding mnasnet is there"):
        read_measured(frame[["ms"]], {"workload": {"format": "mnasnet"}, "targets": TARGETS})


def test_a_list_in_text_and_columns_called_otherwise() -> None:
    blocks = [0, 3, 8, 8, 8, 7, 8, 8, 8, 3, 3, 8, 8, 2, 2, 2, 2, 7, 7, 7, 7, 7]
    text = pd.DataFrame({"blocks": [",".join(map(str, blocks))], "ms": [1.0]})
    named = pd.DataFrame([{**{f"layer{i}": b for i, b in enumerate(blocks)}, "ms": 1.0}])
    schemas = ({"workload": {"column": "blocks", "format": "fbnet"}}, {"workload": {"format": "fbnet"}, "columns": {f"op{i:02}": f"layer{i}" for i in range(22)}})
    first, second = (read_measured(frame, {**s, "fixed": {"resolution": 32}, "targets": TARGETS}).questions.frame for frame, s in zip((text, named), schemas, strict=True))
    assert first["op01"].tolist() == second["op01"].tolist() == ["k3_e6"]
    assert first["network.flops"].tolist() == second["network.flops"].tolist()


def test_files_are_found_beside_the_table_and_by_a_pattern(tmp_path: Path) -> None:
    for i, op in enumerate(("skip_connect", "none")):
        (tmp_path / f"net{i}.json").write_text(json.dumps(decode("nas-bench-201", CELL.format(op)).to_json()))
    frame = pd.DataFrame({"net": ["net0", "net1"], "file": ["net0.json", "net1.json"], "ms": [1.0, 2.0]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    found = [read_measured(tmp_path / "t.csv", {"workload": {"column": c, "format": f}, "targets": TARGETS}).questions for c, f in (("file", "path"), ("net", f"{tmp_path}/{{}}.json"))]
    assert found[0].frame["network.flops"].tolist() == found[1].frame["network.flops"].tolist()
    assert len(found[0].networks) == 2


def test_a_network_that_cannot_be_read_is_named_or_set_aside() -> None:
    frame = cells()
    frame.loc[2, "arch"] = "|nor_conv_9x9~0|"
    with pytest.raises(TableError, match=r"1 of 4 rows cannot be used \(the network cannot be read \(.*row 2, counting from 0"):
        read_measured(frame, schema())
    table = read_measured(frame, schema(), skip_bad_rows=True)
    assert len(table) == 3
    assert table.questions.index.tolist() == [0, 1, 2]
    with pytest.raises(TableError, match="no row's network can be read as nas-bench-201"):
        read_measured(frame.iloc[[2]], schema())
    with pytest.raises(FormatError, match=r"columns\.batch: expected a column name"):
        read_measured(cells(), schema(columns={"batch": ["batch"]}))


def test_rows_and_machines_can_be_taken_and_changed() -> None:
    q = read_measured(cells(), schema()).questions
    some = q.take(np.array([False, False, True, True]))
    assert some.index.tolist() == [0, 2]
    assert some.strata.tolist() == ["my board", "my board"]
    other = some.on("a100", None)
    assert other.frame["gpu"].tolist() == ["a100", "a100"]
    assert other.networks is q.networks
