"""Ready-made models from their recipes: the same twice, a card that says whose data it was, clear words where data is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import FormatError, InputError, UnknownNameError
from silicast.datasets.simulator import SIMULATOR_VERSION
from silicast.features import FEATURE_VERSION
from silicast.surrogates import store
from silicast.training import ready, recipes


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A made-up folder of open data: 80 rows in the columns of LLM-Inference-Bench."""
    rng = np.random.default_rng(0)
    place = tmp_path / "data" / "llm_inference_bench"
    place.mkdir(parents=True)
    frame = pd.DataFrame({"hardware": rng.choice(["Nvidia A100 GPU", "Nvidia H100 GPU", "Habana Gaudi2"], 80), "num_devices": rng.choice([1, 2, 4], 80), "framework": rng.choice(["vLLM", "llama.cpp"], 80),
                          "model": rng.choice([f"maker/model-{s}b" for s in (1, 3, 7, 13, 34, 70)], 80), "in_out_len": rng.choice([128, 512, 2048], 80), "batch_size": rng.choice([1, 16, 64], 80)})
    size = frame["model"].str.extract(r"-(\d+)b")[0].astype(float)
    frame.assign(latency_s=0.01 * size * frame["in_out_len"] / frame["num_devices"] * 1e-2, throughput_tok_s=1.0).to_parquet(place / "throughput.parquet")
    return tmp_path / "data"


def test_the_same_data_makes_the_same_model(data: Path, tmp_path: Path) -> None:
    one, other = (ready.build("llm-inference", data, tmp_path / out) for out in ("one", "other"))
    assert one.card == other.card
    weights = [{p.name: p.read_bytes() for p in built.folder.iterdir()} for built in (one, other)]
    assert weights[0] == weights[1]
    assert one.card.version.startswith("0.1.0-")
    assert one.card.feature_version == FEATURE_VERSION
    assert one.card.simulator_version == ""  # a plain table knows no simulator
    assert "BSD-3-Clause" in one.card.data_licence
    assert "UChicago Argonne" in one.card.extra["attribution"]
    assert list(json.loads(one.card.extra["files"])) == ["llm_inference_bench/throughput.parquet"]
    assert "latency_s" in one.card.metrics["all"]
    assert one.size_bytes == sum(p.stat().st_size for p in one.folder.iterdir())


def test_a_simulated_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(recipes.RECIPES["networks"], count=240, settings={"trees": 8, "leaves": 7, "threads": 1})
    monkeypatch.setitem(recipes.RECIPES, "networks", small)
    built = ready.build("networks", out=tmp_path / "out", work=tmp_path / "work")
    assert built.card.simulator_version == SIMULATOR_VERSION
    assert {"all"} <= set(built.card.metrics)
    assert store.load(built.folder)[0].shape == "graph"


def test_missing_data_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SILICAST_DATA", raising=False)
    with pytest.raises(InputError, match="SILICAST_DATA"):
        ready.build("gpu-power")
    with pytest.raises(FormatError, match="no such folder"):
        ready.build("gpu-power", tmp_path / "nowhere")
    with pytest.raises(FormatError, match=r"power_gemm\.parquet: missing"):
        ready.build("gpu-power", tmp_path)
    with pytest.raises(UnknownNameError, match="gpu-kernels"):
        ready.build("gpu-kernel")
    with pytest.raises(InputError, match="share"):
        ready.build("networks", share=0.0)


def test_no_recipe_reads_share_alike_data() -> None:
    from silicast.datasets.sources import SOURCES

    assert "hlsyn" not in SOURCES
    for recipe in recipes.RECIPES.values():
        assert {name for name, _ in recipe.files} <= set(SOURCES)
        assert all(s.licence in ("Apache-2.0", "MIT", "BSD-3-Clause") for s in SOURCES.values())
        assert recipe.doubts
        assert recipe.asks


def test_circumstances_count_what_was_measured() -> None:
    frame = pd.DataFrame({"op": "gemm", "hardware": ["a", "a", "b"], "dtype": "fp8", "framework": ["x", "x", "y"]})
    assert recipes.circumstances(frame, ("framework",)) == [["gemm", "a", "fp8", "x", 2], ["gemm", "b", "fp8", "y", 1]]
