"""`silicast search`: table, JSON, CSV and pictures; one clear line for a mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from silicast.serving.cli import app

from .conftest import TINY


def run(*args: object) -> Any:
    return CliRunner().invoke(app, [str(a) for a in args])


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    return path


def test_a_front_in_every_form(space: Path, tmp_path: Path) -> None:
    done = run("search", space, "--budget", 4, "--out", tmp_path / "out", "--compare", "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["evaluated"] == 4
    assert told["regret"]["hypervolume"] == 0.0
    front = pd.read_csv(tmp_path / "out" / "front.csv")
    assert len(front) == len(told["front"])
    assert list(front["latency_s"]) == [row["latency_s"] for row in told["front"]]
    assert len(pd.read_csv(tmp_path / "out" / "evaluated.csv")) == 4
    assert (tmp_path / "out" / "front.png").read_bytes()[:4] == b"\x89PNG"
    assert b"<svg" in (tmp_path / "out" / "front.svg").read_bytes()[:600]
    assert json.loads((tmp_path / "out" / "front.json").read_text(encoding="utf-8"))["front"] == told["front"]
    assert run("search", space, "--budget", 2, "--out", tmp_path / "out", "--seed", 5).exit_code == 0  # over its own


def test_people_are_shown_units(space: Path) -> None:
    done = run("search", space, "--method", "all", "--compare")
    assert done.exit_code == 0, done.stderr
    for part in ("array.rows", " KiB", "energy_j", "simulated in", "hypervolume missed"):
        assert part in done.stdout


def test_a_model_searches_and_is_checked(space: Path, model_folder: Path, tmp_path: Path) -> None:
    done = run("search", space, "--method", "all", "--model", model_folder, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert "simulated again" in done.stdout
    assert (tmp_path / "out" / "verified" / "manifest.json").is_file()


def test_mistakes_are_one_line(space: Path, tmp_path: Path, model_folder: Path) -> None:
    (tmp_path / "bad.yaml").write_text("vary: {a: [1]}\nbild: {}\n", encoding="utf-8")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x", encoding="utf-8")
    cycles = tmp_path / "cycles.yaml"
    cycles.write_text(yaml.safe_dump({**TINY, "objectives": {"cycles": "min"}}), encoding="utf-8")
    for args, said in (((tmp_path / "none.yaml",), "cannot be read"), ((tmp_path / "bad.yaml",), "did you mean 'build'"), ((space, "--method", "magic"), "unknown search method"),
                       ((space, "--out", tmp_path / "full"), "holds something else"), ((space, "--budget", "0"), "budget"), ((cycles, "--model", model_folder), "does not answer cycles")):
        done = run("search", *args)
        assert done.exit_code == 2, said
        assert said in done.stderr
        assert "Traceback" not in done.stderr
