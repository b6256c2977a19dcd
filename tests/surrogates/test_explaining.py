"""Explanations: what they say sums to the answer, and says the same twice."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from silicast.datasets import catalog
from silicast.datasets.columns import OpColumns
from silicast.datasets.errors import InputError
from silicast.datasets.families import sample
from silicast.datasets.ops import Op
from silicast.datasets.table import FeatureQuestions, GraphQuestions, OpQuestions, Table
from silicast.features.tabular import tabular_features
from silicast.surrogates.adapted import Adapted
from silicast.surrogates.analytic import Analytic
from silicast.surrogates.blended import Blended
from silicast.surrogates.boosted import Boosted
from silicast.surrogates.conformal import Conformal
from silicast.surrogates.ensemble import Ensemble
from silicast.surrogates.explaining import LIMIT_WORDS, Explanation, explain

TARGETS = ("latency_s", "power_w", "energy_j")


def table(questions: Any, **targets: np.ndarray) -> Table:
    n = len(questions)
    return Table(questions, targets, np.arange(n).astype(str).astype(object), pd.DataFrame({"kind": ["any"] * n}), "made up")


def ops(n: int = 80) -> Table:
    """Latency is the analytic estimate times a factor that hangs on m alone: the explanation must find it."""
    rng = np.random.default_rng(0)
    columns = OpColumns.from_ops([Op.of("o", "gemm", dtype="float16", m=int(2 ** rng.integers(4, 12)), n=int(rng.integers(64, 4096)), k=int(rng.integers(64, 4096))) for _ in range(n)])
    questions = OpQuestions(columns, ("t4", "a100_sxm"), (catalog.hardware("t4"), catalog.hardware("a100_sxm")), np.arange(n) % 2, pd.DataFrame({"framework": ["x"] * n}), pd.DataFrame(index=range(n)))
    reference = tabular_features(questions, {"framework": ("x",)}).reference
    latency, power = reference["latency_s"] * np.where(columns.m > 256, 2.0, 1.0), reference["power_w"] * 0.8 * (1.0 + 0.1 * (columns.n > 1000))
    return table(questions, latency_s=latency, power_w=power, energy_j=latency * power)


def networks(n: int = 8) -> Table:
    workloads = tuple(sample(("cnn_plain", "mlp")[i % 2], np.random.default_rng(i)) for i in range(n))
    devices = tuple(catalog.hardware(k) for k in ("t4", "a100_sxm", "xeon_8380"))
    questions = GraphQuestions(workloads, devices, np.repeat(np.arange(n), 3), np.tile(np.arange(3), n))
    reference = tabular_features(questions, {}).reference
    latency, power = reference["latency_s"] * (1.0 + 0.2 * (questions.device_index == 1)), reference["power_w"] * (0.9 + 0.1 * questions.device_index)
    return table(questions, latency_s=latency, power_w=power, energy_j=latency * power)


def scaled(found: Explanation) -> float:
    return math.log(found.point) if found.scale == "log" else math.log1p(found.point) if found.scale == "log1p" else found.point


def explained(model: Any, data: Table, row: int, target: str) -> Explanation:
    asked = data.questions.take(np.array([row]))
    return explain(model, asked, model.predict(asked), target)


@pytest.fixture(scope="module")
def trees() -> tuple[Boosted, Table]:
    data = ops()
    return Boosted(targets=TARGETS, trees=60, threads=1).fit(data), data


@pytest.mark.parametrize("target", TARGETS)
def test_terms_sum_to_the_answer(trees: tuple[Boosted, Table], target: str) -> None:
    model, data = trees
    for row in (0, 7):
        found = explained(model, data, row, target)
        assert math.fsum(t.contribution for t in found.terms) == pytest.approx(scaled(found), abs=1e-6)
        assert abs(found.terms[-1].contribution) < 1e-6  # trees alone: nothing is left unexplained
        assert found.terms[0].name in ("analytic estimate", "average of the training rows")
        assert explained(model, data, row, target) == found


def test_the_column_that_matters_comes_first(trees: tuple[Boosted, Table]) -> None:
    model, data = trees
    found = explained(model, data, int(np.argmax(data.questions.ops.m)), "latency_s")
    told = [t for t in found.terms if t.name not in ("analytic estimate", "average of the training rows")]
    assert told[0].contribution > 0.05
    assert set(found.limits) <= set(LIMIT_WORDS)
    assert found.words


def test_wrappers_and_mixtures_leave_a_rest_that_is_told(trees: tuple[Boosted, Table]) -> None:
    model, data = trees
    other = Boosted(targets=TARGETS, trees=30, seed=1, threads=1)
    both = Ensemble([Boosted(targets=TARGETS, trees=60, threads=1), other]).fit(data)
    adapted = Adapted(model).adapt(data.take(np.arange(10)))
    for wrapped in (Conformal(model).conformalize(data), both, adapted):
        found = explained(wrapped, data, 3, "latency_s")
        assert math.fsum(t.contribution for t in found.terms) == pytest.approx(scaled(found), abs=1e-6)
    found = explained(both, data, 3, "latency_s")
    assert abs(found.terms[-1].contribution) < 1e-6  # a weighted mean of logarithms: contributions add


def test_plain_tables() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"width": rng.integers(8, 512, 60), "strategy": rng.choice(["latency", "resource"], 60)}).astype({"strategy": object})
    data = table(FeatureQuestions(frame), lut=40.0 * frame["width"].to_numpy(dtype=float) * np.where(frame["strategy"] == "latency", 3.0, 1.0))
    model = Boosted(targets=("lut",), trees=80, threads=1).fit(data)
    found = explained(model, data, 5, "lut")
    assert math.fsum(t.contribution for t in found.terms) == pytest.approx(scaled(found), abs=1e-6)
    assert {t.name: t.value for t in found.terms}["strategy"] == frame["strategy"].iloc[5]
    blend = Blended(targets=("lut",), threads=1).fit(data)
    found = explained(blend, data, 5, "lut")
    assert math.fsum(t.contribution for t in found.terms) == pytest.approx(scaled(found), abs=1e-6)


def test_operators_sum_to_the_answer() -> None:
    data = networks()
    for model, by in ((Analytic(targets=TARGETS).fit(data), "the analytic estimate"), (Boosted(targets=TARGETS, trees=20, threads=1).fit(data), "the analytic estimate")):
        for target in ("latency_s", "energy_j"):
            found = explained(model, data, 4, target)
            assert math.fsum(p.amount for p in found.parts) == pytest.approx(found.point, rel=1e-6)
            assert math.fsum(p.share for p in found.parts) == pytest.approx(1.0, abs=1e-9)
            assert math.fsum(found.by_kind().values()) == pytest.approx(1.0, abs=1e-9)
            assert math.fsum(t.contribution for t in found.terms) == pytest.approx(scaled(found), abs=1e-6)
            if target == "latency_s":
                assert found.by == by
                assert math.fsum(found.limits.values()) == pytest.approx(1.0, abs=1e-9)
                assert "held back by" in found.words
        assert {op for p in found.parts for op in p.ops} == {op.name for op in data.questions.workloads[1].ops}
        assert not explained(model, data, 4, "power_w").parts


def test_a_graph_network_shares_out_by_its_own_readout() -> None:
    pytest.importorskip("torch_geometric")
    from silicast.surrogates.graphnet import GraphNet

    data = networks(4)
    model = Conformal(GraphNet(targets=TARGETS, hidden=8, layers=1, epochs=2, batch=4).fit(data))
    found = explained(model, data, 2, "latency_s")
    assert found.by == "the graph network's readout"
    assert math.fsum(p.amount for p in found.parts) == pytest.approx(found.point, rel=1e-6)


def test_what_cannot_be_explained_is_said(trees: tuple[Boosted, Table]) -> None:
    model, data = trees
    with pytest.raises(InputError, match="one question at a time"):
        explain(model, data.questions, model.predict(data.questions))
    asked = data.questions.take(np.array([0]))
    with pytest.raises(InputError, match="no target 'lut'"):
        explain(model, asked, model.predict(asked), "lut")
