"""Measuring from end to end in small: a plan with a budget of three seconds, resumed; an ONNX model; the tables then learned from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from silicast.datasets.errors import GraphError, InputError, UnknownNameError
from silicast.training import measuring
from silicast.training.fitting import fit_table

onnx = pytest.importorskip("onnx")


def test_a_plan_within_its_budget_goes_on_and_is_learned_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(measuring, "FIRST", 6)
    out = tmp_path / "softmax"
    said: list[str] = []
    budget_s = 3.0
    while (first := measuring.profile("softmax-grid", out, budget_s=budget_s, repeats=3, threads=1, say=said.append))["measured"] <= 6 and budget_s < 20.0:
        shutil.rmtree(out)  # others keep the cores busy: once more, with more time
        budget_s *= 3.0
    again = measuring.profile("softmax-grid", out, budget_s=0.5, repeats=3, threads=1, say=said.append)
    assert first["measured"] > 6
    assert first["committees"] > 0
    assert first["seconds"] < budget_s + 17.0
    assert again["rows"] == first["rows"] + again["measured"]
    assert f"{first['rows']:,} measured before" in said[-1]
    rows = [json.loads(line)["row"] for line in (out / "rows.jsonl").read_text().splitlines()]
    assert len({(r["rows"], r["cols"]) for r in rows}) == len(rows)  # no point twice
    assert any(r["spread"] > 0.0 for r in rows)
    runs = json.loads((out / "provenance.json").read_text())["runs"]
    assert [r["threads"] for r in runs] == [1, 1]
    card = fit_table(out / "table.parquet", out / "schema.yaml", (), tmp_path / "model")
    assert card.targets[0] == "latency_s"


def model(path: Path) -> Path:
    from onnx import TensorProto, helper

    graph = helper.make_graph([helper.make_node("Gemm", ["x", "w"], ["y"], name="fc")], "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 32])],
                              [helper.make_tensor("w", TensorProto.FLOAT, [64, 32], [0.1] * 2048)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_an_onnx_model(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    net = model(tmp_path / "net.onnx")
    for batch in (4, 8):
        told = measuring.measure_file(net, tmp_path / "out", dims={"batch": batch}, repeats=5, threads=1)
    assert told["rows"] == 2
    assert 0.0 < told["latency_p10_s"] <= told["latency_s"] <= told["latency_p90_s"]
    assert told["power_w"] is not None or told["energy"].startswith("not available")
    rows = [json.loads(line)["row"] for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert [r["flops"] for r in rows] == [2 * 4 * 64 * 32, 2 * 8 * 64 * 32]
    with pytest.raises(GraphError, match="batch"):
        measuring.measure_file(net, tmp_path / "out", dims={}, repeats=5, threads=1)


def test_wrong_wishes_are_told(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="gemm-grid"):
        measuring.profile("gem-grid", tmp_path / "a")
    with pytest.raises(InputError, match="more than 0"):
        measuring.profile("gemm-grid", tmp_path / "a", budget_s=0.0)
    with pytest.raises(InputError, match="--threads"):
        measuring.profile("gemm-grid", tmp_path / "a", budget_s=1.0, threads=10_000)
