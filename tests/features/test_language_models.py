"""Names of language models become figures: the catalogue's where it knows them, else what the name tells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.catalog.transformers import keys, transformer
from silicast.features.language_models import COSTS, FIGURES, figures, find, named, shape, widened


@pytest.mark.parametrize(("name", "key"), [
    ("meta-llama/Llama-3.1-8B-Instruct", "llama3_8b"), ("meta-llama/Llama-2-7b-hf", "llama2_7b"), ("nvidia/Qwen3-32B-NVFP4", "qwen3_32b"), ("Qwen/Qwen3-235B-A22B-FP8", "qwen3_235b_a22b"),
    ("mistralai/Mixtral-8x7B-v0.1", "mixtral_8x7b"), ("llama2-70b", "llama2_70b"), ("deepseek-ai/DeepSeek-R1", "deepseek_v3"), ("resnet50", None), ("", None), ("-instruct", None),
])
def test_a_name_in_any_dress(name: str, key: str | None) -> None:
    found = find(name)
    assert (found.key if found else None) == key


def test_every_model_of_the_catalogue_is_found_by_its_key() -> None:
    assert all(find(key) is not None and find(key).key == key for key in keys())


def test_published_sizes() -> None:
    """Llama 3 70B: 80 layers of width 8,192, 8 key and value heads of 128: 163,840 numbers a token (arXiv:2407.21783, table 3). DeepSeek-V3: 37e9 of 671e9 parameters, a latent of
    512 + 64 per layer (arXiv:2412.19437, section 4.2)."""
    told = dict(zip(FIGURES, figures("meta-llama/Llama-3.1-70B"), strict=True))
    assert (told["cache_numbers"], told["layers"], told["hidden"]) == (163_840.0, 80.0, 8192.0)
    assert told["params"] == told["active_params"] == pytest.approx(70.6e9, rel=0.005)
    told = dict(zip(FIGURES, figures("deepseek-ai/DeepSeek-V3"), strict=True))
    assert (told["params"], told["active_params"]) == (pytest.approx(671e9, rel=0.005), pytest.approx(37e9, rel=0.03))
    assert told["cache_numbers"] == 61 * 576


@pytest.mark.parametrize(("name", "params", "active"), [("a/Newcomer-397B-A17B", 397e9, 17e9), ("somebody-350M", 350e6, 350e6), ("mixture-8x11B", 88e9, np.nan), ("v2.5-turbo", np.nan, np.nan)])
def test_what_a_name_tells_of_a_model_nobody_knows(name: str, params: float, active: float) -> None:
    np.testing.assert_equal(figures(name), (params, active, np.nan, np.nan, np.nan))


def test_only_columns_of_language_models_are_widened() -> None:
    frame = pd.DataFrame({"model": ["llama2-70b", "bloom-176b", "odd"], "gpu": ["h100", "a100", "board"], "kernel": ["gemm", "2mm", "bert"], "batch": [1, 2, 3]})
    assert named(frame) == ("model",)
    wide = widened(frame, named(frame))
    assert list(wide.columns) == [*frame.columns, *(f"model.{name}" for name in (*FIGURES, *COSTS))]
    # 2 B of 69e9 parameters at 3.35 TB/s (H100 SXM data sheet): 41 ms
    assert wide["model.read_s"][0] == pytest.approx(2 * transformer("llama2_70b").active_params / 3.35e12, rel=0.01)
    assert wide.loc[2, [f"model.{name}" for name in (*FIGURES, *COSTS)]].isna().all()
    assert widened(frame, ()).equals(frame)
    moved = widened(wide.assign(gpu="a100"), ("model",))  # an earlier widening is made anew
    assert list(moved.columns) == list(wide.columns)
    assert (moved["model.read_s"][:2] >= wide["model.read_s"][:2]).all()


def test_models_named_by_their_size_alone_are_models() -> None:
    frame = pd.DataFrame({"model": ["760m", "7b", "70b"], "board": ["7b", "gpu", "70b"], "one": "7b"})
    assert named(frame) == ("model",)
    assert list(widened(frame, ("model",))["model.params"]) == pytest.approx([760e6, 7e9, 70e9])


def test_sizes_alone_are_read_in_every_unit_of_them() -> None:
    frame = pd.DataFrame({"message": ["64k", "1M", "16M", "1G"], "length": ["1k", "4k", "16k", "64k"]})
    assert named(frame) == ("message",)  # thousands alone are lengths
    assert list(widened(frame, ("message",))["message.params"]) == pytest.approx([64e3, 1e6, 16e6, 1e9])


def test_networks_for_images_bring_theirs() -> None:
    frame = pd.DataFrame({"network": ["ResNet-50", "vgg16", "own"], "gpu": ["h100", "h100", "h100"]})
    assert named(frame) == ("network",)
    wide = widened(frame, named(frame))
    assert wide["network.params"][1] == pytest.approx(138.4e6, rel=1e-3)  # Simonyan and Zisserman 2014, Table 2: 138 million
    # 4.089e9 multiply-adds of two operations each, dense FP16 of an H100 SXM 989.5e12 (data sheet); all parameters read once at two bytes, 3.35e12 B/s
    assert wide["network.compute_s"][0] == pytest.approx(2 * 4.089e9 / 989.5e12, rel=1e-2)
    assert wide["network.read_s"][1] == pytest.approx(2 * 138.4e6 / 3.35e12, rel=1e-2)
    assert wide["network.cache_numbers"].isna().all()
    assert wide.loc[2, "network.params"] != wide.loc[2, "network.params"]


@pytest.mark.parametrize(("name", "expected"), [
    ("meta-llama/Llama-3.1-8B", (32 * 7, 32 * 4096, 32 * 32 * 128)),
    # DeepSeek-V3: five matrices of latent attention; three dense layers, 58 with a router, an expert and a shared one; heads of 192 (query and key) and 128 (value)
    ("deepseek-ai/DeepSeek-V3", (61 * 5 + 3 * 3 + 58 * 7, 61 * 7168, 61 * 128 * 160)),
    # every second layer sees 128 tokens alone; a router and an expert
    ("openai/gpt-oss-120b", (36 * 8, 36 * 2880, 18 * 64 * 64)),
])
def test_how_a_model_is_built(name: str, expected: tuple[float, ...]) -> None:
    assert shape(name) == expected


def test_a_model_only_its_name_tells_of_is_built_as_others_of_its_size() -> None:
    small, large = np.array(shape("a/Newcomer-8B")), np.array(shape("a/Newcomer-70B"))
    assert (small < large).all()
    assert ((small / shape("Llama-3.1-8B") > 0.5) & (small / shape("Llama-3.1-8B") < 2.0)).all()
    assert np.isfinite(shape("mixture-8x11B")).all()
    assert np.isnan(shape("v2.5-turbo")).all()
