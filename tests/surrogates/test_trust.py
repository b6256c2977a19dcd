"""The guard beside a fitted model: novelty on every answer, the nearest trained row in words, and nothing computed for models that are fast."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from silicast.datasets import catalog
from silicast.datasets.columns import OpColumns
from silicast.datasets.ops import Op
from silicast.datasets.table import OpQuestions, Table
from silicast.features import domain
from silicast.features.tabular import tabular_features
from silicast.surrogates.boosted import Boosted
from silicast.surrogates.conformal import Conformal
from silicast.surrogates.ensemble import Ensemble
from silicast.surrogates.prediction import Prediction, apart
from silicast.surrogates.trust import guarded, witnessed


def gemms(n: int, seed: int) -> Table:
    rng = np.random.default_rng(seed)
    ops = OpColumns.from_ops([Op.of("o", "gemm", dtype="float16", m=int(2 ** rng.uniform(4, 12)), n=int(2 ** rng.uniform(6, 12)), k=int(2 ** rng.uniform(6, 12))) for _ in range(n)])
    questions = OpQuestions(ops, ("t4",), (catalog.hardware("t4"),), np.zeros(n, dtype=np.int64), pd.DataFrame({"framework": ["x"] * n}), pd.DataFrame(index=range(n)))
    reference = tabular_features(questions, {"framework": ("x",)}).reference["latency_s"]
    noise = rng.normal(0.0, np.where(ops.m > 1024, 0.3, 0.02))
    return Table(questions, {"latency_s": reference * np.exp(noise)}, np.arange(n).astype(str).astype(object), pd.DataFrame({"device": ["t4"] * n}), "made up")


@pytest.fixture(scope="module")
def model() -> tuple[Any, dict[str, Any]]:
    train, held = gemms(300, 0), gemms(120, 1)
    both = Ensemble([Boosted(targets=("latency_s",), trees=40, threads=1), Boosted(targets=("latency_s",), trees=40, seed=1, threads=1)])
    fitted = Conformal(both).fit(train).conformalize(held)
    return fitted, witnessed(domain.describe(train), held, fitted.predict(held.questions))


def test_novelty_and_nearest_row(model: tuple[Any, dict[str, Any]]) -> None:
    fitted, known = model
    fresh = gemms(150, 2)
    answer = guarded(known, fresh.questions, fitted.predict(fresh.questions))
    novelty = np.array([d.novelty for d in answer.domain])
    assert np.isfinite(novelty).all()
    assert float(np.mean(novelty > 1.0)) < 0.15
    noisy = fresh.questions.ops.m > 1024
    assert np.median(novelty[noisy]) > np.median(novelty[~noisy])  # errors nearby were large
    assert all(d.nearest.startswith("gemm ") and d.nearest.endswith("on t4") for d in answer.domain)
    for one in answer.domain:
        assert (one.verdict == "in_domain") == (not one.reason)
        if one.novelty > 1.0:
            assert one.verdict == "extrapolating"


def test_models_that_leave_no_columns_are_not_slowed(model: tuple[Any, dict[str, Any]]) -> None:
    _, known = model
    fresh = gemms(5, 3).questions
    fresh.__dict__.pop("_features", None)
    quick = Prediction.bare(("latency_s",), np.full((5, 1), 1e-3))
    answer = guarded(known, fresh, quick)
    assert "_features" not in fresh.__dict__
    assert {d.verdict for d in answer.domain} <= {"in_domain", "extrapolating"}
    assert np.isnan([d.novelty for d in answer.domain]).all()


def test_members_apart() -> None:
    one, other = np.array([[1.0, 2.0]]), np.array([[np.e, -1.0]])
    found = apart([one, other])
    assert found[0, 0] == pytest.approx(1.0)
    assert np.isnan(found[0, 1])
