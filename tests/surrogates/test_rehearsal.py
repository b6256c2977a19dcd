"""Shares chosen on parts held out: they add up, prefer who is right there, and keep a share for everybody."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.columns import OpColumns
from silicast.datasets.measured import read_measured
from silicast.datasets.ops import Op
from silicast.datasets.table import Table
from silicast.features.tabular import learn_vocabulary
from silicast.surrogates import rehearsal
from silicast.surrogates.boosted import Boosted
from silicast.surrogates.rehearsal import Rehearsal, _drawn, beyond, reach, shares, shares_by_kind

TRUTH = np.exp(np.random.default_rng(0).normal(size=300))


def part(*factors: float) -> Rehearsal:
    return Rehearsal({"t": TRUTH}, [{"t": TRUTH * f} for f in factors], np.full(300, "gemm", dtype=object))


def test_who_is_right_on_most_parts_gets_most() -> None:
    found = shares([part(1.0, 2.0, 3.0), part(1.1, 2.0, 3.0)], "t")
    assert sum(found) == pytest.approx(1.0)
    assert found[0] == max(found) > 0.6
    assert min(found) >= 0.25 / 3 - 1e-12  # drawn to equal: a few parts cannot tell finer


def test_likely_shares_keep_half_of_what_is_chosen() -> None:
    found = shares([part(1.0, 2.0, 3.0)], "t", [0.0, 0.5, 0.5])
    assert found == pytest.approx([0.5, 0.25, 0.25])
    assert shares([part(-1.0, 1.0)], "t", [0.3, 0.7]) == pytest.approx([0.3, 0.7])


def test_opposite_errors_are_joined() -> None:
    assert shares([part(1.5, 1 / 1.5)], "t") == [0.5, 0.5]


def test_a_member_that_answers_nothing_positive_is_no_reason_to_fail() -> None:
    assert shares([part(1.0, -1.0)], "t") == [0.5, 0.5]


def test_beyond_is_a_tenth_past_the_largest_size_seen() -> None:
    ops = OpColumns.from_ops([Op.of("o", "gemm", m=m, n=64, k=64) for m in (10, 100, 109, 111, 1000)])
    known = reach(ops.take(np.array([0, 1])))
    np.testing.assert_allclose(beyond(ops, known), [0.0, 0.0, 0.0, np.log2(1.11), np.log2(10.0)])
    assert not beyond(ops, {}).any()


def test_each_kind_of_operator_has_shares_of_its_own() -> None:
    kind = np.array(["gemm"] * 150 + ["norm"] * 150, dtype=object)
    right = np.where(kind == "gemm", 1.0, 2.0)
    both = Rehearsal({"t": TRUTH}, [{"t": TRUTH * right}, {"t": TRUTH * 3.0 / right / 1.5}], kind)
    found = shares_by_kind([both], "t")
    assert set(found) == {"", "gemm", "norm"}
    assert found["gemm"][0] > 0.8
    assert found["norm"][1] > 0.8


def test_reach_is_that_of_a_kind() -> None:
    """Products reach 4,096 rows, batched ones 64: a batched one of 256 is two octaves beyond; folders of before know sizes without kinds."""
    gemm, batched = (OpColumns.from_sizes("gemm", {"m": np.array([m]), "n": np.array([8]), "k": np.array([8]), "b": np.array([b])}, np.zeros(1, dtype=np.int16)) for m, b in ((4096, 1), (64, 16)))
    asked = OpColumns.from_sizes("gemm", {"m": np.array([256, 256]), "n": np.array([8, 8]), "k": np.array([8, 8]), "b": np.array([1, 16])}, np.zeros(2, dtype=np.int16))
    assert beyond(asked, reach(OpColumns.concat([gemm, batched]))) == pytest.approx([0.0, 2.0])
    assert beyond(asked, {"m": 128.0}) == pytest.approx([1.0, 1.0])


def test_rare_kinds_are_drawn_too() -> None:
    """By hand: 100 of 9,900 + 100 rows, by the roots of 99.5 and 10: 90 and 9, and the one left to the larger."""
    kind = np.array(["gemm"] * 9900 + ["softmax"] * 100, dtype=object)
    rows = _drawn(np.arange(10_000), kind, 100, np.random.default_rng(0))
    assert len(set(rows)) == 100
    assert 9 <= (kind[rows] == "softmax").sum() <= 10


def test_more_of_the_same_is_beyond_but_never_far() -> None:
    """Norms of up to 1,000 rows of 64: 1,050 rows are within, 64,000 beyond, though no row is longer; rows of 256 are two octaves beyond. Folders made before rows were counted know row lengths alone."""
    norms = OpColumns.from_ops([Op.of("o", "norm", rows=rows, cols=cols) for rows, cols in ((10, 64), (1000, 64), (1050, 64), (64_000, 64), (10, 256))])
    known = reach(norms.take(np.array([0, 1])))
    found = beyond(norms, known)
    assert found[[0, 1, 2, 4]] == pytest.approx([0.0, 0.0, 0.0, 2.0])
    assert 0.0 < found[3] < np.log2(1.25)  # the least that is rehearsed
    assert beyond(norms, {"norm/row": 64.0}) == pytest.approx([0.0, 0.0, 0.0, 0.0, 2.0])
    gemm = OpColumns.from_ops([Op.of("o", "gemm", m=m, n=n, k=64) for m, n in ((1, 4096), (4096, 1), (4096, 4096))])
    assert not beyond(gemm, reach(gemm.take(np.array([0, 1])))).any()  # products have sizes of their own


def test_of_a_large_table_general_members_learn_from_a_sample_with_every_word(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"m": rng.integers(1, 4096, 600), "n": 1024, "k": 512, "dtype": "bfloat16", "hardware": "a100_sxm", "kernel": ["rare"] + ["usual"] * 599, "ms": rng.uniform(0.1, 1.0, 600)})
    table = read_measured(frame, {"op": "gemm", "columns": {"m": "m", "n": "n", "k": "k", "dtype": "dtype"}, "hardware": "hardware", "context": ["kernel"], "targets": {"latency_s": {"column": "ms", "unit": "ms"}}})
    seen: dict[str, tuple[int, dict[str, tuple[str, ...]]]] = {}

    def learned(self: Boosted, table: Table, valid: Table | None = None) -> Boosted:
        features = next(iter(table.questions.__dict__["_features"].values()))
        seen[self.columns] = len(table), learn_vocabulary(table.questions)
        assert np.allclose(features.values[:, features.names.index("m")], np.log1p(table.questions.ops.m))  # columns of the same rows
        return self

    monkeypatch.setattr(rehearsal, "ENOUGH_ROWS", 100)
    monkeypatch.setattr(Boosted, "fit", learned)
    rehearsal.fitted([Boosted(targets=("latency_s",), columns=columns) for columns in ("near", "plain", "kin", "roofline")], table)
    assert seen["near"][0] == 600
    assert all(100 <= seen[columns][0] <= 102 for columns in ("plain", "kin", "roofline"))
    assert len({str(vocabulary) for _, vocabulary in seen.values()}) == 1
