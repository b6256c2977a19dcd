"""`silicast compile`: what it makes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="needs torch to teach a student")

from silicast.serving.cli import app
from silicast.serving.predictor import Predictor

from .test_quick import compiled as compiled


def run(*args: Any) -> Any:
    return CliRunner().invoke(app, [str(a) for a in args])


def test_a_model_is_compiled_into_a_folder_of_its_own(compiled: Predictor, tmp_path: Path) -> None:
    out = tmp_path / "fast"
    done = run("compile", compiled.source, "--out", out, "--questions", 2000, "--shown", 20_000, "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["folder"] == str(out)
    assert told["student"]["latency_s"]["median_apart"] > 0
    assert 0.5 < told["student"]["verdict"]["same"] <= 1.0
    again = Predictor.load(out)
    assert again.predict_op("gemm", {"m": 128, "n": 256, "k": 512}, "t4", framework="x").speed == "columns"


def test_a_model_of_networks_has_no_such_student(model_folder: Path, tmp_path: Path) -> None:
    done = run("compile", model_folder, "--out", tmp_path / "x")
    assert done.exit_code == 2
    assert "products of matrices" in done.stderr
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("args", [("simulator",), ("simulator", "--out", "x", "--questions", "2000"), ("no_such_folder",)])
def test_mistakes_are_one_line(args: tuple[str, ...]) -> None:
    done = run("compile", *args)
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1
