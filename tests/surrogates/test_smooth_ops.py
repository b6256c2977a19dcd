"""The process over operators: what few rows teach it, how it goes on beyond them, and that it is saved whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import TableError
from silicast.datasets.measured import read_measured
from silicast.datasets.table import Table
from silicast.features.tabular import learn_vocabulary, tabular_features
from silicast.surrogates import store
from silicast.surrogates.smooth_ops import SmoothOps


def table(rows: int, seed: int, most: int = 2048) -> Table:
    """GEMMs whose times are the reference x a power of k x a factor of the library."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({c: (2 ** rng.uniform(5, np.log2(most), rows)).astype(int) for c in "mnk"})
    frame["library"], frame["dtype"], frame["hardware"], frame["s"] = rng.choice(["one", "two"], rows), "float16", "a100_sxm", 1.0
    schema = {"op": "gemm", "columns": {c: c for c in ("m", "n", "k", "dtype")}, "hardware": "hardware", "context": ["library"], "targets": {"latency_s": {"column": "s", "unit": "s"}}}
    plain = read_measured(frame, schema)
    reference = tabular_features(plain.questions, learn_vocabulary(plain.questions)).reference["latency_s"]
    frame["s"] = 2.0 * reference * (frame["k"] / 256.0) ** 0.2 * np.where(frame["library"] == "one", 1.0, 1.8)
    return read_measured(frame, schema)


def off(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.median(np.abs(found / truth - 1.0)))


def test_thirty_rows_teach_what_trees_need_hundreds_for() -> None:
    few, asked = table(30, 0), table(200, 1)
    smooth = SmoothOps().fit(few).predict(asked.questions).point[:, 0]
    trees = store.member("boosted")(targets=("latency_s",), trees=300, leaves=15, full_tails=True).fit(few).predict(asked.questions).point[:, 0]
    truth = asked.targets["latency_s"]
    assert off(smooth, truth) < 0.03
    assert off(smooth, truth) < 0.3 * off(trees, truth)


def test_beyond_its_rows_physics_goes_on() -> None:
    small, large = table(60, 0, 512), table(100, 1, 8192)
    assert off(SmoothOps().fit(small).predict(large.questions).point[:, 0], large.targets["latency_s"]) < 0.15


def test_a_number_of_the_table_stays_within_what_was_learned() -> None:
    """A time stamp of one hour, asked about a month later: as if asked at the end of the hour."""
    few, asked = table(60, 0), table(100, 1)
    stamp = 1.76e9 + np.random.default_rng(1).uniform(0, 3600, 60)
    noisy = {"latency_s": few.targets["latency_s"] * np.exp(0.02 * np.random.default_rng(2).normal(size=60))}
    model = SmoothOps().fit(replace(few, questions=replace(few.questions, extra=pd.DataFrame({"stamp": stamp})), targets=noisy))
    later = replace(asked.questions, extra=pd.DataFrame({"stamp": np.full(100, stamp.max() + 30 * 86400.0)}))
    end = replace(asked.questions, extra=pd.DataFrame({"stamp": np.full(100, stamp.max())}))
    assert model.predict(later).point == pytest.approx(model.predict(end).point)


def test_it_is_saved_whole_and_repeats_itself() -> None:
    few, asked = table(40, 0), table(20, 1)
    model = SmoothOps(seed=3).fit(few)
    spec, files = model.weights()
    again = SmoothOps.from_weights(spec, files, Path("model"), store.member).predict(asked.questions).point
    np.testing.assert_array_equal(again, model.predict(asked.questions).point)
    np.testing.assert_array_equal(SmoothOps(seed=3).fit(few).predict(asked.questions).point, again)


def test_other_questions_are_refused() -> None:
    plain = read_measured(pd.DataFrame({"a": [1.0, 2.0, 3.0], "s": [1.0, 2.0, 3.0]}), {"features": ["a"], "targets": {"latency_s": {"column": "s", "unit": "s"}}})
    with pytest.raises(TableError, match="not features questions"):
        SmoothOps().fit(plain)
    with pytest.raises(TableError, match="answers op questions"):
        SmoothOps().fit(table(20, 0)).predict(plain.questions)
