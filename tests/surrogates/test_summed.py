"""Networks from single operators: widths by hand, between independent and all alike, and back from a folder."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from silicast.datasets import catalog
from silicast.datasets.columns import OpColumns
from silicast.datasets.errors import TableError
from silicast.datasets.ops import Op
from silicast.datasets.table import GraphQuestions, OpQuestions, Table
from silicast.datasets.workload import Workload, WorkloadBuilder
from silicast.features import FEATURE_VERSION
from silicast.surrogates import store
from silicast.surrogates.boosted import Boosted
from silicast.surrogates.card import ModelCard
from silicast.surrogates.conformal import Conformal
from silicast.surrogates.prediction import Prediction
from silicast.surrogates.summed import Summed

T4 = catalog.hardware("t4")


class Fixed:
    """An op model that answers 1 ms for a product and 3 ms for anything else, each within +-10 % in logarithms."""

    name, shape, targets = "fixed", "op", ("latency_s",)

    def predict(self, questions: Any) -> Prediction:
        point = np.where(questions.ops.kind == 0, 1e-3, 3e-3)[:, None]
        bare = Prediction.bare(self.targets, point)
        return Prediction(self.targets, point, point * math.exp(-0.1), point * math.exp(0.1), 0.9, bare.domain)


def network(products: int, others: int = 0) -> Workload:
    build = WorkloadBuilder("net")
    x = build.input("x", 64)
    for i in range(products):
        x = build.add(Op.of(f"fc{i}", "gemm", m=16 * (i + 1), n=64, k=64), [x])
    for i in range(others):
        x = build.add(Op.of(f"soft{i}", "softmax", rows=16 * (i + 1), cols=64), [x])
    return build.build()


def asked(*workloads: Workload) -> GraphQuestions:
    return GraphQuestions(workloads, (T4,), np.arange(len(workloads)), np.zeros(len(workloads), dtype=np.int64))


def rows(errors: np.ndarray, groups: np.ndarray) -> Table:
    """Products whose truth is 1 ms times exp(error)."""
    n = len(errors)
    ops = OpColumns.from_ops([Op.of("o", "gemm", m=16 + i, n=64, k=64) for i in range(n)])
    questions = OpQuestions(ops, ("t4",), (T4,), np.zeros(n, dtype=np.int64), pd.DataFrame(index=range(n)), pd.DataFrame(index=range(n)))
    return Table(questions, {"latency_s": 1e-3 * np.exp(errors)}, groups.astype(object), pd.DataFrame({"device": ["t4"] * n}), "made up")


def half(answer: Prediction) -> float:
    return float(np.log(answer.high[0, 0] / answer.point[0, 0]))


def test_widths_by_hand() -> None:
    model: Any = Summed(Fixed())  # type: ignore[arg-type]
    answer = model.predict(asked(network(4)))
    assert answer.point[0, 0] == pytest.approx(4e-3)
    assert half(answer) == pytest.approx(0.1)  # nothing learned yet: all alike
    model._correlation = {"": (0.0, 0.0)}
    assert half(model.predict(asked(network(4)))) == pytest.approx(0.1 / 2)  # four equal independent parts: a half
    model._correlation = {"": (0.5, 0.2)}
    assert half(model.predict(asked(network(4)))) == pytest.approx(0.1 * math.sqrt((4 + 12 * 0.5) / 16))
    # two kinds: shares 1/8, 1/8 and 3/8, 3/8 of 8 ms
    s = np.array([1, 1, 3, 3]) / 8
    r = np.where(np.eye(4) == 1, 1.0, np.array([[1, 0.5, 0.2, 0.2], [0.5, 1, 0.2, 0.2], [0.2, 0.2, 1, 0.5], [0.2, 0.2, 0.5, 1]]))
    assert half(model.predict(asked(network(2, 2)))) == pytest.approx(0.1 * math.sqrt(s @ r @ s))


def test_a_kernel_that_repeats_errs_alike() -> None:
    build = WorkloadBuilder("twice")
    x = build.input("x", 64)
    for i in range(2):
        x = build.add(Op.of(f"soft{i}", "softmax", rows=64, cols=64), [x])
    model: Any = Summed(Fixed())  # type: ignore[arg-type]
    model._correlation = {"": (0.0, 0.0)}
    middle = build.build()
    assert half(model.predict(asked(middle))) in (pytest.approx(0.1), pytest.approx(0.1 / math.sqrt(2)))  # alike unless a border tells them apart


@pytest.mark.parametrize(("shared", "expected"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_the_correlation_is_found(shared: float, expected: float) -> None:
    """Errors with a part that a network's operators share: the share of variance is the correlation."""
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(300), 8)
    errors = 0.05 * (math.sqrt(shared) * rng.normal(size=300)[groups] + math.sqrt(1 - shared) * rng.normal(size=2400))
    model = Summed(Fixed()).conformalize(rows(errors, groups))  # type: ignore[arg-type]
    same, other = model.correlation["t4"]
    assert same == pytest.approx(expected, abs=0.08)
    assert 0.0 <= other <= same <= 1.0


@pytest.mark.parametrize("shared", [0.0, 0.3, 0.9])
def test_sums_are_covered(shared: float) -> None:
    rng = np.random.default_rng(2)

    def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
        groups = np.repeat(np.arange(count), 8)
        return 0.06 * (math.sqrt(shared) * rng.normal(size=count)[groups] + math.sqrt(1 - shared) * rng.normal(size=8 * count)), groups

    model = Summed(Fixed()).conformalize(rows(*drawn(400)))  # type: ignore[arg-type]
    errors, groups = drawn(1500)
    width = half(model.predict(asked(network(8))))
    off = np.abs(np.log(np.bincount(groups, np.exp(errors)) / 8))
    assert float(np.mean(off <= width)) == pytest.approx(0.9, abs=0.035)
    assert width < 0.1 if shared < 0.5 else width > 0.07


def test_a_folder_answers_the_same(tmp_path: Path) -> None:
    data = rows(np.random.default_rng(0).normal(0, 0.05, 120), np.repeat(np.arange(40), 3))
    inner = Conformal(Boosted(targets=("latency_s",), trees=10, threads=1)).fit(data).conformalize(data)
    model = Summed(inner).conformalize(data)
    card = ModelCard("m", "1", "graph", ("latency_s",), {}, FEATURE_VERSION, "", "made up", "d", 120, "none", 0.9)
    again = store.load(store.save(model, card, tmp_path / "m"))[0]
    mine, theirs = (m.predict(asked(network(3), network(2, 1))) for m in (model, again))
    np.testing.assert_allclose(mine.point, theirs.point)
    np.testing.assert_allclose(mine.high, theirs.high)
    assert mine.level == 0.9


def test_what_it_cannot_do_is_said() -> None:
    model: Any = Summed(Fixed())  # type: ignore[arg-type]
    with pytest.raises(TableError, match="fit the model of single operators"):
        model.fit(rows(np.zeros(3), np.arange(3)))
    with pytest.raises(TableError, match="graph questions"):
        model.predict(rows(np.zeros(3), np.arange(3)).questions)
    assert len(model.predict(asked().take(np.zeros(0, dtype=np.int64)))) == 0
