"""`silicast sum`: a model of operators answers whole networks, doubts what its operators doubt, and refuses what it cannot add up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from silicast.datasets.measured import read_measured
from silicast.datasets.ops import Op
from silicast.datasets.workload import Workload, WorkloadBuilder
from silicast.features import FEATURE_VERSION, domain
from silicast.serving.cli import app
from silicast.serving.predictor import Predictor
from silicast.surrogates import store
from silicast.surrogates.card import ModelCard

SCHEMA: dict[str, Any] = {"op": "gemm", "columns": {"m": "m", "n": "n", "k": "k", "dtype": "dtype"}, "hardware": "hardware", "context": ["framework"],
                          "targets": {"latency_s": {"column": "t", "unit": "s"}}}


def rows(count: int, seed: int) -> pd.DataFrame:
    """Products in a made-up time."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({d: 16.0 * np.floor(2.0 ** rng.uniform(0, 8, count)) for d in ("m", "n", "k")})
    frame = frame.assign(dtype=rng.choice(["float16", "int8"], count), hardware="t4", framework=rng.choice(["x", "y"], count))
    return frame.assign(t=2.0 * frame["m"] * frame["n"] * frame["k"] / 5e13 + 5e-6)


@pytest.fixture(scope="module")
def operators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = read_measured(rows(800, 1), SCHEMA)
    surrogate = store.member("conformal")(store.member("boosted")(targets=("latency_s",), trees=60, threads=1), 0.9).fit(table)
    surrogate.conformalize(read_measured(rows(200, 2), SCHEMA))
    card = ModelCard("gemm", "1", "op", ("latency_s",), {"latency_s": "s"}, FEATURE_VERSION, "", "made up", table.digest, len(table), "", 0.9, domain.describe(table), schema=SCHEMA)
    return store.save(surrogate, card, tmp_path_factory.mktemp("sums") / "gemm")


def run(*args: Any) -> Any:
    return CliRunner().invoke(app, [str(a) for a in args])


def network(*kinds: str) -> Workload:
    build = WorkloadBuilder("net")
    x = build.input("x", 128 * 256)
    for i, kind in enumerate(kinds):
        x = build.add(Op.of(f"o{i}", "gemm", m=128, n=256, k=256, dtype="float16") if kind == "gemm" else Op.of(f"o{i}", "softmax", rows=128, cols=256, dtype="float16"), [x])
    return build.build()


def test_a_network_is_the_sum_of_its_kernels(operators: Path, tmp_path: Path) -> None:
    rows(200, 3).to_csv(tmp_path / "rows.csv", index=False)
    done = run("sum", operators, "--out", tmp_path / "nets", "--context", "framework=y", "--table", tmp_path / "rows.csv", "--json")
    assert done.exit_code == 0, done.stderr
    assert "calibration rows" in json.loads(done.stdout)["summed"]
    nets, ops = Predictor.load(tmp_path / "nets"), Predictor.load(operators)
    one = read_measured(pd.DataFrame({"m": [128], "n": [256], "k": [256], "dtype": ["float16"], "hardware": ["t4"], "framework": ["y"]}), SCHEMA, need_targets=False).questions
    answer, single = nets.predict(network("gemm", "gemm", "gemm"), "t4"), ops.predict_table(one)
    assert answer.point[0, 0] == pytest.approx(3.0 * single.point[0, 0], rel=0.3)  # in a network bytes may stay in the cache
    assert answer.low[0, 0] < answer.point[0, 0] < answer.high[0, 0]
    assert (answer.domain[0].verdict, answer.level) == ("in_domain", 0.9)


def test_kernels_that_are_doubted_make_the_network_doubted(operators: Path, tmp_path: Path) -> None:
    assert run("sum", operators, "--out", tmp_path / "nets", "--context", "framework=x").exit_code == 0
    nets = Predictor.load(tmp_path / "nets")
    strange = nets.predict(network("gemm", "softmax"), "t4").domain[0]
    assert (strange.verdict, "softmax" in strange.reason) == ("unsupported", True)
    far = nets.predict(network("gemm"), "h100_sxm").domain[0]
    assert (far.verdict, "never trained on" in far.reason) == ("extrapolating", True)


@pytest.mark.parametrize(("args", "said"), [(("--out", "x"), "--context framework=x"), (("--out", "x", "--context", "framework=z"), "framework"), (("--out", "x", "--context", "colour=red"), "colour"),
                                            (("--out", "x", "--context", "framework"), "NAME=VALUE")])
def test_mistakes_are_one_line(operators: Path, args: tuple[str, ...], said: str) -> None:
    done = run("sum", operators, *args)
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert said in done.stderr


def test_only_single_operators_add_up(model_folder: Path, tmp_path: Path) -> None:
    done = run("sum", model_folder, "--out", tmp_path / "x")
    assert done.exit_code == 2
    assert "single operators" in done.stderr
