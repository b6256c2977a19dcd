"""Sizes held out one by one: which rows, what is counted, and tables too small for it."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.measured import read_measured
from silicast.datasets.table import Table
from silicast.surrogates import size_rehearsal
from silicast.surrogates.prediction import Prediction
from silicast.surrogates.size_rehearsal import CORNER


class Proportional:
    """Answers so many times the product of the sizes; and of k beyond all it learned, half."""

    name, targets, shape, general = "plain", ("latency_s",), "op", False

    def __init__(self, times: float) -> None:
        self.times = times

    def fit(self, table: Table, valid: Table | None = None) -> Any:
        self.most = table.questions.ops.k.max()
        return self

    def predict(self, questions: Any) -> Prediction:
        ops = questions.ops
        return Prediction.bare(self.targets, (self.times * ops.m * ops.n * ops.k * np.where(ops.k > self.most, 0.5, 1.0))[:, None])


def grid(values: tuple[int, ...] = (256, 512, 1024, 2048)) -> Table:
    frame = pd.DataFrame(list(product(values, repeat=3)), columns=["m", "n", "k"]).assign(dtype="bfloat16", hardware="a100_sxm")
    frame["s"] = (frame["m"] * frame["n"] * frame["k"]).astype(float)
    return read_measured(frame, {"op": "gemm", "columns": {c: c for c in ("m", "n", "k", "dtype")}, "hardware": "hardware", "targets": {"latency_s": {"column": "s", "unit": "s"}}})


def test_the_largest_of_each_size_and_the_corners() -> None:
    table = grid()
    held = size_rehearsal.cuts(table.questions.ops)
    assert set(held) == {"m", "n", "k", CORNER}  # every b is one
    assert np.array_equal(held["k"], table.questions.ops.k == 2048)
    large = np.column_stack([getattr(table.questions.ops, s) == 2048 for s in ("m", "n", "k")])
    assert np.array_equal(held[CORNER], large.sum(1) >= 2)
    assert set(size_rehearsal.cuts(table.questions.ops, corner_alone=True)) == {CORNER}


def test_what_is_beyond_is_told_by_size() -> None:
    """By hand: k beyond is answered by half, all else as it is; two members, the one twice and the other half the truth, are right together."""
    found = size_rehearsal.tried(grid(), lambda: [Proportional(2.0), Proportional(0.5)], ("latency_s",), 0)
    off = {name: np.unique(np.round(each.scored["latency_s"][1] / each.scored["latency_s"][0], 9)).tolist() for name, each in found.items()}
    assert off == {"m": [1.0], "n": [1.0], "k": [0.5], CORNER: [1.0]}
    assert {name: each.octaves for name, each in found.items()} == pytest.approx({"m": 1.0, "n": 1.0, "k": 1.0, CORNER: 1.0})


def test_a_table_too_small_is_not_tried() -> None:
    table = grid()
    assert size_rehearsal.tried(table.take(np.arange(12)), lambda: [Proportional(1.0)], ("latency_s",), 0) == {}
