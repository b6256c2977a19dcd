"""Operators of each kind by what learned them; and the guard, which keeps them apart too."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.catalog import hardware
from silicast.datasets.columns import OpColumns
from silicast.datasets.errors import TableError
from silicast.datasets.ops import Op
from silicast.datasets.table import OpQuestions, Table
from silicast.features import domain
from silicast.features.kinds import parts, rows
from silicast.surrogates.boosted import Boosted
from silicast.surrogates.by_kind import ByKind
from silicast.surrogates.conformal import Conformal


def _questions(count: int, kinds: tuple[str, ...] = ("gemm", "softmax")) -> OpQuestions:
    rng = np.random.default_rng(count)
    ops = [Op.of("o", "gemm", m=int(rng.integers(8, 512)), n=256, k=256) if kinds[i % len(kinds)] == "gemm" else Op.of("o", kinds[i % len(kinds)], rows=int(rng.integers(8, 512)), cols=64)
           for i in range(count)]
    return OpQuestions(OpColumns.from_ops(ops), ("a100_sxm",), (hardware("a100_sxm"),), np.zeros(count, dtype=np.int64), pd.DataFrame(index=range(count)), pd.DataFrame(index=range(count)))


def _table(count: int) -> Table:
    q = _questions(count)
    truth = np.where(q.ops.kind == q.ops.kind[0], 1e-6, 1e-3) * (1.0 + q.ops.total_bytes / 2e5)
    return Table(q, {"latency_s": truth}, np.arange(count).astype(str).astype(object), pd.DataFrame(index=range(count)), "made up")


def _model() -> ByKind:
    return ByKind({kind: Conformal(Boosted(targets=("latency_s",), trees=20, leaves=7, threads=1), 0.9) for kind in ("gemm", "softmax+norm")})


def test_each_kind_is_answered_by_its_own() -> None:
    table = _table(200)
    model = _model().fit(table)
    point = model.predict(table.questions).point[:, 0]
    assert np.median(np.abs(point / table.targets["latency_s"] - 1)) < 0.1
    gemms = rows(table.questions, "gemm")
    np.testing.assert_array_equal(model.members["gemm"].predict(table.questions.take(gemms)).point[:, 0], point[gemms])


def test_a_kind_nobody_learned_has_no_answer_and_one_without_rows_is_an_error() -> None:
    model = _model().fit(_table(200))
    assert np.isnan(model.predict(_questions(4, ("reduce",))).point).all()
    with pytest.raises(TableError, match="grouped_gemm"):
        ByKind({"gemm": Boosted(targets=("latency_s",)), "grouped_gemm": Boosted(targets=("latency_s",))}).fit(_table(50))
    with pytest.raises(TableError, match="no kind of operator"):
        ByKind({"matmul": Boosted(targets=("latency_s",))})


def test_the_guard_asks_each_kinds_own_domain() -> None:
    table = _table(200)
    known = {**domain.describe(table), "by_kind": {name: domain.describe(table.take(mine)) for name, (mine, _) in parts(table.questions, ("gemm", "softmax")).items()}}
    assert {d.verdict for d in domain.check(known, table.questions)} == {"in_domain"}
    far = _questions(2, ("reduce", "gemm"))
    told = domain.check(known, far)
    assert told[0].verdict == "unsupported"
    assert "reduce was never trained on" in told[0].reason
