"""Problems: read strictly, evaluated, judged against limits; the caller's own table."""

from __future__ import annotations

import copy
import doctest
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from silicast.datasets.errors import FormatError, InputError
from silicast.serving.search import Limit, Problem

from .conftest import TINY

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"


def changed(**parts: Any) -> dict[str, Any]:
    return {**copy.deepcopy(TINY), **parts}


@pytest.mark.parametrize("name", ["accelerator", "nas", "deployment"])
def test_the_examples_are_read(name: str) -> None:
    problem = Problem.read(EXAMPLES / f"search_{name}.yaml")
    assert problem.space.size <= 3000
    assert problem.goals


@pytest.mark.parametrize(("document", "said"), [
    (changed(objetives={"latency_s": "min"}), "did you mean 'objectives'"), (changed(objectives={"latency_s": "small"}), "objectives.latency_s: expected min or max"),
    (changed(objectives={"latency": "min"}), "objectives.latency: unknown quantity 'latency'"), (changed(constraints={"power_w": {"atmost": 3}}), "constraints.power_w: unknown key 'atmost'"),
    (changed(constraints={"price": {"at_most": 3}}), "constraints.price"), (changed(build={"hardwear": {}}), "did you mean 'hardware'"), (changed(seed=-1), "seed"),
    (changed(vary={"array.row": [8]}), "did you mean 'array.rows'"), (changed(vary={"memory.sram.capacity": {"choices": [1], "unit": "GB/s"}}), "measures bandwidth"),
    (changed(build={"hardware": {"base": "tpu_lik", "workloads": {"a": {"network": "resnet"}}}}), "tpu_like"),
    (changed(build={"hardware": {"base": "tpu_like", "workloads": {"a": {"network": "resnet", "depth": 3}}}}), "unknown key 'depth'"),
    (changed(build={"hardware": {"base": "tpu_like", "workloads": {"a": {"file": "nothing.onnx"}}}}), "workloads.a"),
    (changed(build={"hardware": {"base": "tpu_like", "workloads": {}}}), "workloads"), ([1], "expected a mapping"), (changed(given={"file": "x.csv", "columns": ["y"]}), "given.file")])
def test_what_is_wrong_is_named(document: Any, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        Problem.of(document)


def test_a_file_that_is_not_there_or_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be read"):
        Problem.read(tmp_path / "none.yaml")
    (tmp_path / "twice.yaml").write_text("vary: {a: [1]}\nvary: {a: [2]}\n", encoding="utf-8")
    with pytest.raises(FormatError, match="given twice"):
        Problem.read(tmp_path / "twice.yaml")
    (tmp_path / "code.yaml").write_text("vary: !!python/object/apply:os.system ['true']\n", encoding="utf-8")
    with pytest.raises(FormatError, match="not YAML"):
        Problem.read(tmp_path / "code.yaml")


def test_limits_and_what_cannot_be(toy: Problem) -> None:
    found = toy.evaluate([{"width": 1, "depth": 1, "flow": "ws"}, {"width": 5, "depth": 1, "flow": "ws"}, {"width": 34, "depth": 12, "flow": "ws"}])
    assert found.feasible.tolist() == [True, False, False]
    assert np.isinf(found.violation[1])
    assert found.violation[2] == pytest.approx((34 * 12 / (12 + 30 / 34) - 30) / 30)
    assert [row["why"] for row in found.rows()] == ["", "width 5 cannot be", "power_w is 31.67, at most 30 allowed"]
    with pytest.raises(InputError, match="expected one of"):
        toy.evaluate([{"width": 4, "depth": 1, "flow": "ws"}])


def test_the_callers_table_joins_and_its_gaps_are_said(tmp_path: Path) -> None:
    (tmp_path / "accuracy.csv").write_text("array.rows,accuracy\n8,0.71\n16.0,0.74\n", encoding="utf-8")
    problem = Problem.of(changed(given={"file": "accuracy.csv", "columns": ["accuracy"]}, objectives={"accuracy": "max", "latency_s": "min"}), beside=tmp_path)
    found = problem.evaluate(problem.space.grid())
    assert found.answers.values["accuracy"].tolist() == [0.71, 0.71, 0.74, 0.74]
    assert found.objectives[:, 0].tolist() == [-0.71, -0.71, -0.74, -0.74]
    (tmp_path / "accuracy.csv").write_text("array.rows,accuracy\n8,0.71\n", encoding="utf-8")
    problem = Problem.of(changed(given={"file": "accuracy.csv", "columns": ["accuracy"]}, objectives={"accuracy": "max"}), beside=tmp_path)
    assert "no row for array.rows=16" in problem.evaluate(problem.space.grid()).rows()[3]["why"]
    (tmp_path / "accuracy.csv").write_text("array.rows,accuracy\n8,good\n", encoding="utf-8")
    with pytest.raises(FormatError, match="row 1: expected numbers"):
        Problem.of(changed(given={"file": "accuracy.csv", "columns": ["accuracy"]}), beside=tmp_path)


def test_a_limit_from_below(toy: Problem) -> None:
    from dataclasses import replace

    found = replace(toy, limits=(Limit("power_w", at_least=1.0),)).evaluate([{"width": 1, "depth": 1, "flow": "ws"}])
    assert not found.feasible[0]
    assert "at least 1 wanted" in found.rows()[0]["why"]


def test_an_fpga_has_a_budget(tmp_path: Path) -> None:
    from ..conftest import gemms

    (tmp_path / "mlp.json").write_text(json.dumps(gemms(16, 2, 1).to_json()), encoding="utf-8")
    problem = Problem.of({"vary": {"base": ["pynq_z2", "zcu102"], "clock": {"choices": [100, 200], "unit": "MHz"}},
                          "build": {"hardware": {"workloads": {"mlp": {"file": "mlp.json", "dtype": "int8"}}}}, "objectives": {"latency_s": "min", "dsp": "min"},
                          "constraints": {"lut": {"at_most": 1e6}, "power_w": {"at_most": 100}}}, beside=tmp_path)
    found = problem.evaluate(problem.space.grid())
    assert any(found.feasible)
    values = found.answers.values
    slow, fast = values["latency_s"][0], values["latency_s"][1]
    assert found.feasible[:2].all() <= (fast < slow)


def test_the_page_runs_as_it_stands() -> None:
    result = doctest.testfile(str(EXAMPLES.parent / "search.md"), module_relative=False)
    assert result.attempted > 5
    assert result.failed == 0
