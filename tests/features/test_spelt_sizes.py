"""Sizes that names carry: which columns have them, what is read, and what is left alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from silicast.features.spelt_sizes import places, spelt

NETS = [f"net-v{v}-{width}-{size}" for v in (1, 2) for width in (0.25, 0.5, 0.75, 1.0) for size in (128, 160, 192, 224)]


def test_places_of_numbers_that_vary_are_read() -> None:
    frame = pd.DataFrame({"net": [*NETS, "other"], "ms": 1.0})
    told = places(frame)
    assert list(told) == ["net"]
    assert len(told["net"]) == 2  # width and size; two versions are too few
    wide = spelt(frame, told)
    numbers = wide[[c for c in wide.columns if c not in frame.columns]]
    assert sorted(numbers.iloc[0]) == [0.25, 128.0]
    assert numbers.iloc[-1].isna().all()
    pd.testing.assert_frame_equal(spelt(wide, told), wide)  # made anew, not twice


def test_a_shape_in_one_word_is_three_numbers() -> None:
    words = [f"{m}x{n}x{k}" for m in (64, 128, 256) for n in (64, 512, 1024) for k in (32, 96, 224)]
    told = places(pd.DataFrame({"shape": words}))
    asked = spelt(pd.DataFrame({"shape": ["4096x2048x1024"]}), told)
    assert sorted(asked.drop(columns="shape").iloc[0]) == [1024.0, 2048.0, 4096.0]


@pytest.mark.parametrize("words", [
    ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "vgg16", "vgg19"],  # one place alone
    ["NVIDIA A100 80GB", "NVIDIA H100 80GB", "Tesla V100 16GB", "Tesla T4 16GB", "RTX 3090 24GB", "RTX 4090 24GB"],  # machines
    ["a-1-1", "a-2-2", "a-3-3"],  # too few names
])
def test_series_machines_and_few_names_are_left_alone(words: list[str]) -> None:
    assert places(pd.DataFrame({"name": words})) == {}


def test_columns_left_out_and_numbers_are_not_read() -> None:
    assert places(pd.DataFrame({"net": NETS, "batch": np.arange(len(NETS))}), {"net"}) == {}
