"""Measured tables of whole networks for models that take graphs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from silicast.datasets.errors import TableError
from silicast.datasets.ops import Op
from silicast.datasets.schema import Schema
from silicast.datasets.workload import WorkloadBuilder
from silicast.training.graph_shots import measured_for

MEANING: dict[str, Any] = {"workload": {"column": "net", "format": "path"}, "hardware": "on", "targets": {"latency_s": {"column": "ms", "unit": "ms"}}}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for width in (64, 128):
        build = WorkloadBuilder(f"w{width}", "mlp")
        build.add(Op.of("fc", "gemm", m=8, n=width, k=64, params=64 * width), [build.input("x", 512)])
        (tmp_path / f"w{width}.json").write_text(json.dumps(build.build().to_json()), encoding="utf-8")
    pd.DataFrame({"net": ["w64.json", "w128.json", "w64.json"], "on": ["t4", "t4", "NVIDIA A100-SXM4-80GB"], "ms": [1.0, 2.0, 3.0]}).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def test_rows_become_graphs_on_machines(table: Path) -> None:
    data = measured_for("graph", table, Schema.read(MEANING))
    assert data.questions.shape == "graph"
    assert [w.name for w in data.questions.workloads] == ["w128", "w64"]
    assert data.targets["latency_s"].tolist() == [1e-3, 2e-3, 3e-3]
    assert data.slices["kind"].tolist() == ["gpu"] * 3
    assert data.groups[0] == data.groups[2] != data.groups[1]  # one network stays on one side


def test_other_models_read_the_table_as_before(table: Path) -> None:
    assert measured_for("features", table, Schema.read(MEANING)).questions.shape == "features"


def test_tables_that_name_no_files_or_machines(table: Path) -> None:
    with pytest.raises(TableError, match="must name their files"):
        measured_for("graph", table, Schema.read({**MEANING, "hardware": None}))
    frame = pd.read_csv(table)
    frame.loc[0, "on"] = "no such machine"
    frame.to_csv(table, index=False)
    with pytest.raises(TableError, match="no such machine"):
        measured_for("graph", table, Schema.read(MEANING))
