"""Columns: named once, with units, the same for one row as for many, whatever the order of machines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from silicast.datasets import catalog
from silicast.datasets.columns import OpColumns
from silicast.datasets.errors import TableError
from silicast.datasets.families import FAMILIES, sample
from silicast.datasets.ops import Op
from silicast.datasets.table import FeatureQuestions, GraphQuestions, OpQuestions
from silicast.features.device import DEVICE_FEATURES, device_vector
from silicast.features.matrix import codes
from silicast.features.op import OP_FEATURES, op_vector
from silicast.features.tabular import Features, learn_vocabulary, tabular_features

KEYS = ("a100_sxm", "xeon_8380", "tpu_v3", "zcu102", "mi300x")


def graph_questions() -> GraphQuestions:
    workloads = tuple(sample(family, np.random.default_rng(3)) for family in FAMILIES)
    devices = tuple(catalog.hardware(k) for k in KEYS)
    w, d = np.meshgrid(np.arange(len(workloads)), np.arange(len(devices)), indexing="ij")
    return GraphQuestions(workloads, devices, w.ravel(), d.ravel())


def op_questions(devices: tuple[Any, ...] = (catalog.hardware("t4"), None, catalog.hardware("tpu_v3"))) -> OpQuestions:
    ops = OpColumns.from_ops([Op.of("o", "gemm", m=2**i, n=100 + i, k=64) for i in range(9)])
    return OpQuestions(ops, tuple(f"d{i}" for i in range(len(devices))), devices, np.arange(9) % len(devices),
                       pd.DataFrame({"framework": ["x", "y", "x"] * 3}), pd.DataFrame({"load": np.linspace(0, 1, 9)}))


def plain_questions() -> FeatureQuestions:
    return FeatureQuestions(pd.DataFrame({"a": [1, 2, 3], "b": [0.5, np.nan, 2.0], "c": ["u", "v", "u"], "flag": [True, False, True]}))


EVERY = [graph_questions, op_questions, plain_questions]


def features_of(questions: Any) -> Features:
    return tabular_features(questions, learn_vocabulary(questions))


@pytest.mark.parametrize("ask", EVERY)
def test_names_units_and_columns_are_aligned(ask: Any) -> None:
    questions = ask()
    features = features_of(questions)
    assert len(set(features.names)) == len(features.names) == len(features.units)
    assert features.values.shape == (len(questions), len(features.names))
    assert features.values.dtype == np.float32
    assert not np.isinf(features.values).any()
    assert all(0 <= i < len(features.names) for i in features.categorical)
    for by_target in (features.reference, features.floor):
        for values in by_target.values():
            assert values.shape == (len(questions),)
            assert np.isfinite(values).all()
    if questions.shape != "features":
        assert all(unit for name, unit in zip(features.names, features.units, strict=True) if name != "load")  # the table's own column has none


def test_op_and_device_vectors_are_as_long_as_their_names() -> None:
    questions = graph_questions()
    assert op_vector(questions.workloads[0].columns).shape == (len(questions.workloads[0].ops), len(OP_FEATURES))
    assert device_vector(questions.device_columns).shape == (len(KEYS), len(DEVICE_FEATURES))
    for named in (OP_FEATURES, DEVICE_FEATURES):
        assert len({name for name, _ in named}) == len(named)
        assert all(unit for _, unit in named)


@pytest.mark.parametrize("ask", EVERY)
def test_one_row_alone_is_the_same_row(ask: Any) -> None:
    questions = ask()
    vocabulary = learn_vocabulary(questions)
    together = tabular_features(questions, vocabulary)
    for i in range(0, len(questions), 4):
        alone = tabular_features(questions.take(np.array([i])), vocabulary)
        assert alone.names == together.names
        np.testing.assert_allclose(alone.values[0], together.values[i], rtol=1e-6)
        for target, values in alone.reference.items():
            assert values[0] == pytest.approx(together.reference[target][i], rel=1e-12)


def test_order_of_machines_changes_nothing() -> None:
    questions, turned = graph_questions(), np.array([3, 0, 4, 2, 1])
    place = np.argsort(turned)
    other = replace(questions, devices=tuple(questions.devices[i] for i in turned), device_index=place[questions.device_index])
    np.testing.assert_array_equal(features_of(other).values, features_of(questions).values)
    ops = op_questions()
    swapped = replace(ops, devices=ops.devices[::-1], device_names=ops.device_names[::-1], device_index=2 - ops.device_index)
    np.testing.assert_array_equal(features_of(swapped).values, features_of(ops).values)


def test_known_and_unknown_machines_have_the_same_columns() -> None:
    known, unknown = op_questions((catalog.hardware("t4"),)), op_questions((None,))
    assert tabular_features(unknown, {}).names == tabular_features(known, {}).names
    assert np.isnan(tabular_features(unknown, {}).values[:, tabular_features(unknown, {}).names.index("log_tdp")]).all()


def test_a_users_column_named_like_ours_is_told_apart() -> None:
    questions = replace(op_questions(), extra=pd.DataFrame({"m": np.arange(9.0)}), context=pd.DataFrame({"kind": ["x"] * 9}))
    names = features_of(questions).names
    assert {"m", "table.m", "kind", "table.kind"} <= set(names)
    assert len(set(names)) == len(names)


def test_a_context_column_called_device_is_read() -> None:
    questions = replace(op_questions(), context=pd.DataFrame({"device": ["left", "right", "left"] * 3}))
    features = features_of(questions)
    np.testing.assert_array_equal(features.values[:, features.names.index("device")], [0, 1, 0] * 3)


def test_codes_follow_the_vocabulary_and_unseen_values_are_nan() -> None:
    features = tabular_features(plain_questions(), {"c": ("v", "w")})
    assert features.names == ("a", "b", "c", "flag")
    assert features.categorical == (2,)
    np.testing.assert_array_equal(features.values, np.array([[1, 0.5, np.nan, 1], [2, np.nan, 0, 0], [3, 2, np.nan, 1]], dtype=np.float32))


def test_ordered() -> None:
    features = features_of(plain_questions())
    turned = features.ordered(("c", "flag", "b", "a"))
    assert turned.categorical == (0,)
    np.testing.assert_array_equal(turned.values, features.values[:, [2, 3, 1, 0]])
    with pytest.raises(TableError, match="missing z, unknown flag"):
        features.ordered(("a", "b", "c", "z"))


def test_a_last_tile_that_is_full_stands_beside_nearly_full_ones() -> None:
    """By hand: 128 is whole tiles of 16, 129 has one of sixteen rows in its last one, 143 all but one."""
    ops = OpColumns.from_ops([Op.of("o", "gemm", m=m, n=64, k=64) for m in (128, 129, 143)])
    questions = OpQuestions(ops, ("h100_sxm",), (catalog.hardware("h100_sxm"),), np.zeros(3, dtype=np.int64), pd.DataFrame(index=range(3)), pd.DataFrame(index=range(3)))
    features = tabular_features(questions, {})
    at = features.names.index("m_tail_16")
    np.testing.assert_allclose(features.values[:, at], [0.0, 1 / 16, 15 / 16])
    full = features.full_tails()
    np.testing.assert_allclose(full.values[:, at], [1.0, 1 / 16, 15 / 16])
    others = [i for i, name in enumerate(features.names) if "_tail_" not in name]
    np.testing.assert_array_equal(full.values[:, others], features.values[:, others])
    np.testing.assert_array_equal(full.full_tails().values, full.values)


def test_the_roofline_knows_no_simulator() -> None:
    ops = OpColumns.from_ops([Op.of("o", "gemm", m=128, n=64, k=64)])
    questions = OpQuestions(ops, ("h100_sxm",), (catalog.hardware("h100_sxm"),), np.zeros(1, dtype=np.int64), pd.DataFrame(index=range(1)), pd.DataFrame(index=range(1)))
    features = tabular_features(questions, {})
    seen = features.roofline()
    assert set(seen.reference) == {"latency_s"}
    np.testing.assert_array_equal(seen.reference["latency_s"], features.floor["latency_s"])
    assert {"log_bound", "m", "log_tdp", "dtype"} <= set(seen.names)
    assert not {"log_simulated", "log_estimate", "best_waves", "m_tail_16"} & set(seen.names)


def test_missing_context_is_named() -> None:
    with pytest.raises(TableError, match="'site'"):
        tabular_features(op_questions(), {"site": ("s",)})
    with pytest.raises(TableError, match="lacks the column q"):
        tabular_features(plain_questions(), {"q": ("s",)})
    with pytest.raises(TableError, match="no features"):
        tabular_features(object(), {})


def test_sequences_heads_and_places_are_told_apart() -> None:
    """By hand: one sequence of 128 heads and 128 of one head are equal products; 8 queries share a key head; a convolution over 4 images has 10 x 10 places in each."""
    shapes = ({"batch": 1, "heads": 128, "kv_heads": 16}, {"batch": 128, "heads": 1, "kv_heads": 1})
    ops = [Op.of("a", "attention", q_len=64, kv_len=64, head_dim=128, v_dim=128, **s) for s in shapes]
    ops += [Op.of("c", "conv", batch=4, in_channels=8, in_h=10, in_w=10, out_channels=8, out_h=10, out_w=10, kernel_h=3, kernel_w=3), Op.of("g", "gemm", m=64, n=64, k=64)]
    columns = OpColumns.from_ops(ops)
    assert columns.b[0] == columns.b[1]
    questions = OpQuestions(columns, ("t4",), (catalog.hardware("t4"),), np.zeros(4, dtype=np.int64), pd.DataFrame(index=range(4)), pd.DataFrame(index=range(4)))
    features = tabular_features(questions, {})
    found = {name: np.expm1(features.values[:, features.names.index(name)]) for name in ("op_batch", "op_heads", "op_tokens", "op_places")}
    assert found["op_batch"] == pytest.approx([1, 128, 4, 0], rel=1e-5)
    assert found["op_heads"] == pytest.approx([128, 1, 0, 0], rel=1e-5)
    assert found["op_tokens"] == pytest.approx([64, 64 * 128, 0, 0], rel=1e-5)
    assert found["op_places"] == pytest.approx([0, 0, 100, 0], rel=1e-5)
    sharing = features.values[:, features.names.index("head_sharing")]
    assert sharing[0] - sharing[1] == pytest.approx(np.log(8.0), rel=1e-5)


def test_models_of_before_do_without_later_columns() -> None:
    features = tabular_features(op_questions(), {})
    before = [n for n in features.names if not n.startswith("op_") and n != "head_sharing"]
    assert list(features.ordered(before).names) == before
    with pytest.raises(TableError, match="unknown k"):
        features.ordered([n for n in before if n != "k"])


def test_a_window_is_told_whether_sequences_are_longer_than_it_or_not() -> None:
    """One query of 64 keys, and of 1,024, with a window of 128 and without: in reach are 64, 128, 64 and 1,024 of them."""
    sizes = {"batch": np.full(4, 2), "heads": np.full(4, 8), "kv_heads": np.full(4, 2), "q_len": np.full(4, 1), "kv_len": np.array([64, 1024] * 2), "head_dim": np.full(4, 64),
             "v_dim": np.full(4, 64), "causal": np.full(4, 1), "window": np.array([128, 128, 0, 0])}
    ops = OpColumns.from_sizes("attention", sizes, np.full(4, 3, dtype=np.int16))
    questions = OpQuestions(ops, ("d0",), (catalog.hardware("t4"),), np.zeros(4, dtype=np.int64), pd.DataFrame(index=range(4)), pd.DataFrame(index=range(4)))
    features = features_of(questions)
    found = {name: features.values[:, features.names.index(name)] for name in ("op_window", "op_keys", "windowed", "seen_share", "n")}
    assert np.expm1(found["op_window"]) == pytest.approx([128, 128, 0, 0], rel=1e-5)
    assert np.expm1(found["op_keys"]) == pytest.approx([64, 1024] * 2, rel=1e-5)
    assert np.expm1(found["n"]) == pytest.approx([64, 128, 64, 1024], rel=1e-5)  # the work is counted with the window done
    assert list(found["windowed"]) == [1.0, 1.0, 0.0, 0.0]
    assert found["seen_share"] == pytest.approx([0.0, np.log(1 / 8), 0.0, 0.0], abs=1e-6)
    old = [n for n in features.names if n not in ("op_window", "op_keys", "windowed", "seen_share")]  # models of before do without
    assert features.ordered(old).names == tuple(old)


def test_many_rows_in_parts_have_the_columns_they_have_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parted = op_questions(), op_questions()
    vocabulary = learn_vocabulary(whole)
    expected = tabular_features(whole, vocabulary)
    monkeypatch.setattr("silicast.features.op_table._ROWS_OF_PART", 4)
    found = tabular_features(parted, vocabulary)
    assert (found.names, found.categorical, found.roles, found.guessed) == (expected.names, expected.categorical, expected.roles, expected.guessed)
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.ceilings, expected.ceilings)
    for name in ("reference", "floor"):
        assert set(getattr(found, name)) == set(getattr(expected, name))
        for target, values in getattr(expected, name).items():
            np.testing.assert_array_equal(getattr(found, name)[target], values)


@pytest.mark.parametrize("values", [["a", "b", "z", None, "nan", float("nan")], ["a", None, "b"], [1, 2, 3], [True, False], [1.0, float("nan")]], ids=str)
@pytest.mark.parametrize("known", [("a", "b"), ("nan", "a"), ("1", "2"), ("True", "1.0"), ()], ids=str)
def test_a_category_has_one_place_whether_few_are_asked_or_many(values: list[Any], known: tuple[str, ...]) -> None:
    few = pd.Series(values, dtype=None if isinstance(values[0], str) and len(values) < 5 else object)
    many = pd.concat([few] * 40, ignore_index=True)
    np.testing.assert_array_equal(codes(few, known), codes(many, known)[: len(few)])
