"""`silicast explain` and `sc.explain`: sums, pictures, exit codes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from typer.testing import CliRunner

import silicast as sc
from silicast.datasets.errors import InputError, UnknownNameError
from silicast.serving.cli import app
from silicast.serving.explaining import bars
from silicast.serving.predictor import Predictor

from .conftest import gemms, plain_rows


def run(*args: Any) -> Any:
    return CliRunner().invoke(app, [str(a) for a in args])


def test_from_python(predictor: Predictor) -> None:
    found = sc.explain(predictor, gemms(256, 4, 16), "t4")
    assert found.target == "latency_s"
    assert found.point == pytest.approx(predictor.predict(gemms(256, 4, 16), "t4").point[0, 0])
    assert math.fsum(p.amount for p in found.parts) == pytest.approx(found.point, rel=1e-6)
    assert math.fsum(t.contribution for t in found.terms) == pytest.approx(math.log(found.point), abs=1e-6)
    assert "held back by" in found.words
    assert sc.explain(predictor, gemms(256, 4, 16), "t4") == found
    with pytest.raises(UnknownNameError, match="lut"):
        sc.explain(predictor, gemms(256, 4, 16), "t4", target="lut")
    with pytest.raises(InputError, match="expected a workload and a machine"):
        sc.explain(predictor, "net.onnx")


def test_command_line(workload_file: Path, model_folder: Path, tmp_path: Path) -> None:
    svg = tmp_path / "shares.svg"
    done = run("explain", workload_file, "--on", "t4", "--model", model_folder, "--svg", svg, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert math.fsum(p["share"] for p in told["parts"]) == pytest.approx(1.0, abs=1e-9)
    assert math.fsum(told["by_kind"].values()) == pytest.approx(1.0, abs=1e-9)
    assert math.prod(t["factor"] for t in told["terms"]) == pytest.approx(told["point"], rel=1e-6)
    ElementTree.fromstring(svg.read_text(encoding="utf-8"))
    text = run("explain", workload_file, "--on", "t4", "--model", model_folder, "--top", 2).stdout
    assert "held back by" in text
    assert "others" in text


def test_a_row_of_a_table(table_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    plain_rows(5).drop(columns=["lut_used", "t_us"]).to_csv(path, index=False)
    told = json.loads(run("explain", path, "--row", 3, "--target", "lut", "--model", table_model, "--json").stdout)
    names = {t["name"]: t["value"] for t in told["terms"]}
    row = pd.read_csv(path).iloc[2]
    assert names["strategy"] == row["strategy"]
    assert names["reuse"] == row["reuse"]
    assert math.prod(t["factor"] for t in told["terms"]) == pytest.approx(told["point"], rel=1e-6)
    assert run("explain", path, "--row", 9, "--model", table_model).exit_code == 2


def test_wrong_questions(workload_file: Path, model_folder: Path, tmp_path: Path) -> None:
    for args, said in ((["--model", model_folder], "on which device"), (["--on", "t4,h100", "--model", model_folder], "one device at a time"),
                       (["--on", "t4", "--model", model_folder, "--svg", tmp_path / "a.png"], "ending in .svg"), (["--on", "t4", "--model", model_folder, "--target", "lut"], "lut")):
        done = run("explain", workload_file, *args)
        assert done.exit_code == 2
        assert said in done.stderr


def test_the_picture_holds_names_that_xml_does_not(predictor: Predictor) -> None:
    found = sc.explain(predictor, gemms(256, 8, 16), "t4")
    ElementTree.fromstring(bars(found, 'a <b> & "c" \x00', "s"))
    only_terms = bars(type(found)(found.target, found.point, found.scale, found.terms), "no kernels", "s")
    ElementTree.fromstring(only_terms)
