"""`silicast measure` at the command line: what does not go together is one clear line. What it measures is tested in tests/training/test_measuring.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from silicast.serving.cli import app


def run(*args: Any) -> Any:
    return CliRunner().invoke(app, [str(a) for a in args])


@pytest.mark.parametrize(("args", "said"), [
    ((), "--plan NAME"), (("net.onnx", "--plan", "gemm-grid", "--out", "x"), "not both"), (("--plan", "gemm-grid"), "--out DIR"),
    (("net.onnx", "--out", "x", "--on", "h100"), "this machine only"), (("net.json", "--out", "x"), ".onnx"), (("--plan", "gem-grid", "--out", "x"), "gemm-grid"),
    (("--plan", "gemm-grid", "--out", "x", "--device", "tpu"), "cpu or cuda"), (("--plan", "gemm-grid", "--out", "x", "--dim", "n=2"), "--dim belongs"),
    (("nowhere.onnx", "--out", "x"), "no such file")])
def test_wrong_wishes_are_told(args: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("measure", *args)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""
    assert not list(tmp_path.iterdir())


def test_a_plan_at_the_command_line(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    result = run("measure", "--plan", "elementwise-grid", "--budget-s", 0.5, "--threads", 1, "--repeats", 3, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["measured"] >= 1
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"rows.jsonl", "table.parquet", "schema.yaml", "provenance.json"}
    assert run("measure", "--plan", "elementwise-grid", "--budget-s", 0.1, "--threads", 1, "--repeats", 3, "--out", tmp_path / "out").exit_code == 0
