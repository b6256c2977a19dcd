"""What was read nearby: against kriging by hand, own groups left out, and what is answered without neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from silicast.datasets import catalog
from silicast.datasets.columns import OpColumns
from silicast.datasets.errors import FormatError
from silicast.datasets.ops import Op
from silicast.datasets.table import OpQuestions, Table
from silicast.features.tabular import learn_vocabulary, tabular_features
from silicast.surrogates import store
from silicast.surrogates.boosted import Boosted
from silicast.surrogates.neighbours import Neighbours, _kriged, learned_near


def table(rows: int = 400, seed: int = 0, device: str = "a100_sxm") -> Table:
    """Products whose times lie off the reference by a smooth wave of n and k, in groups of one (n, k)."""
    rng = np.random.default_rng(seed)
    sizes = 2.0 ** rng.uniform(6, 12, (rows // 8, 2))
    n, k = (np.repeat(np.round(sizes[:, j] / 8) * 8, 8) for j in (0, 1))
    m = 2.0 ** rng.integers(4, 12, len(n))
    ops = OpColumns.from_ops([Op.of("o", "gemm", m=int(a), n=int(b), k=int(c)) for a, b, c in zip(m, n, k, strict=True)])
    context = pd.DataFrame({"framework": np.where(np.arange(len(n)) % 2, "a", "b")})
    questions = OpQuestions(ops, (device,), (catalog.hardware(device),), np.zeros(len(n), dtype=np.int64), context, pd.DataFrame(index=range(len(n))))
    reference = tabular_features(questions, learn_vocabulary(questions)).reference["latency_s"]
    truth = reference * np.exp(0.6 * np.sin(np.log2(n)) + 0.4 * np.cos(np.log2(k)) + 0.3 * (np.arange(len(n)) % 2))
    groups = np.array([f"{a:g} {b:g}" for a, b in zip(n, k, strict=True)], dtype=object)
    return Table(questions, {"latency_s": truth}, groups, pd.DataFrame({"kind": ["gemm"] * len(n)}), "made up")


def test_kriging_of_two_by_hand() -> None:
    # two readings at -1 and +1 of a point: the same weight each, so their mean; by symmetry the weights of ordinary kriging are a half each, whatever the covariance
    found = _kriged(np.array([[1.0, 1.0]]), np.array([[[-1.0], [1.0]]]), np.array([[[0.2], [0.6]]]), 0.05)
    assert found[0, 0] == pytest.approx(0.4, abs=1e-5)
    assert found[0, 1] == pytest.approx(0.2, abs=1e-5)  # both lie 0.2 from it
    assert found[0, 2] == pytest.approx(1.0)
    # at distances 0 and 2 with noise s: weights solve [[1+s, e], [e, 1+s]] w + mu = [1, e], w1 + w2 = 1 with e = exp(-2)
    e, s = np.exp(-2.0), 0.05
    first = 0.5 + 0.5 * (1.0 - e) / (1.0 + s - e)
    near = _kriged(np.array([[0.0, 2.0]]), np.array([[[0.0], [2.0]]]), np.array([[[1.0], [0.0]]]), s)
    assert near[0, 0] == pytest.approx(first, abs=1e-5)


def test_rows_do_not_see_their_own_group() -> None:
    one = table()
    near, seen = learned_near(one, learn_vocabulary(one.questions), ("latency_s",), 0)
    told = np.isfinite(seen.values[:, seen.names.index("near_latency_s")])
    assert 0.85 < told.mean() < 1.0  # a few are hidden, so that answers without neighbours are learned
    other = Table(one.questions, {"latency_s": one.targets["latency_s"] * np.where(one.groups == one.groups[0], 5.0, 1.0)}, one.groups, one.slices, "made up")
    other.questions.__dict__.pop("_left_out")
    groups = np.unique(one.groups.astype(str), return_inverse=True)[1]
    raised = Neighbours.of(tabular_features(one.questions, learn_vocabulary(one.questions)), one.questions, other.targets, groups, 0)
    same = Neighbours(near.dims, near.scales, near.noise, near.machines, near.cards, near.places, near.cell, raised.ratios, near.figures)
    mine = np.flatnonzero(one.groups == one.groups[0])
    before, after = (n._answers(near.places[mine], near.cell[mine], groups[mine], groups) for n in (near, same))
    np.testing.assert_array_equal(before, after)


def test_neighbours_halve_what_the_reference_misses() -> None:
    one, new = table(), table(80, seed=1)
    vocabulary = learn_vocabulary(one.questions)
    near, _ = learned_near(one, vocabulary, ("latency_s",), 0)
    plain = tabular_features(new.questions, vocabulary)
    moved = near.applied(plain, new.questions)
    off = [np.median(np.abs(np.log(new.targets["latency_s"] / f.reference["latency_s"]))) for f in (plain, moved)]
    assert off[1] < 0.5 * off[0]


def test_a_machine_never_seen_has_the_neighbours_of_its_kin_and_one_without_figures_none() -> None:
    one, new = table(), table(80, seed=1, device="t4")
    vocabulary = learn_vocabulary(one.questions)
    near, _ = learned_near(one, vocabulary, ("latency_s",), 0)
    plain = tabular_features(new.questions, vocabulary)
    moved = near.applied(plain, new.questions)
    known = table(80, seed=1)
    there = near.applied(tabular_features(known.questions, vocabulary), known.questions)
    np.testing.assert_array_equal(moved.values[:, -4:], there.values[:, -4:])
    lost = OpQuestions(new.questions.ops, ("mystery",), (None,), new.questions.device_index, new.questions.context, new.questions.extra)
    nothing = near.applied(tabular_features(lost, vocabulary), lost)
    assert np.isnan(nothing.values[:, -1]).all()
    np.testing.assert_array_equal(nothing.reference["latency_s"], tabular_features(lost, vocabulary).reference["latency_s"])
    answer = Boosted(targets=("latency_s",), columns="near", trees=20, threads=1).fit(one).predict(new.questions)
    assert np.isfinite(answer.point).all()


@pytest.mark.parametrize("name", ["boosted", "neural"])
def test_saved_and_loaded_members_answer_the_same(name: str) -> None:
    settings = {"trees": 20, "threads": 1} if name == "boosted" else {"hidden": 16, "blocks": 1, "samples": 2000}
    one, new = table(), table(40, seed=1)
    model = store.member(name)(targets=("latency_s",), columns="near", **settings).fit(one)
    spec, files = model.weights()
    back = store.member(name).from_weights(spec, files, Path("x"), store.member)
    first = model.predict(new.questions).point
    new.questions.__dict__.pop("_near")
    np.testing.assert_allclose(back.predict(new.questions).point, first, rtol=1e-6)
    with pytest.raises(FormatError, match="neighbours"):
        store.member(name).from_weights(spec, {k: v for k, v in files.items() if "neighbours" not in k}, Path("x"), store.member)
    with pytest.raises(FormatError, match="neighbours"):
        store.member(name).from_weights(spec, {**files, "neighbours.safetensors": b"no"}, Path("x"), store.member)


def test_what_neighbours_say_is_told_in_explanations() -> None:
    one, new = table(), table(8, seed=1)
    model = Boosted(targets=("latency_s",), columns="near", trees=20, threads=1).fit(one)
    told = model.contributions(new.questions, "latency_s")
    assert told is not None
    shap, scale, features = told
    np.testing.assert_allclose(shap.sum(1) + np.log(features.reference["latency_s"]), np.log(model.predict(new.questions).point[:, 0]), rtol=1e-4)
    assert scale == "ratio"


def test_rows_that_differ_in_nothing_but_circumstances_have_no_neighbours() -> None:
    one = table(80)
    same = one.questions.ops.take(np.zeros(len(one), dtype=np.int64))
    questions = OpQuestions(same, one.questions.device_names, one.questions.devices, one.questions.device_index, one.questions.context, one.questions.extra)
    flat = Table(questions, one.targets, one.groups, one.slices, "made up")
    near, seen = learned_near(flat, learn_vocabulary(questions), ("latency_s",), 0)
    assert near.dims == ()
    assert np.isnan(seen.values[:, -1]).all()
    assert np.isfinite(Boosted(targets=("latency_s",), columns="near", trees=5, threads=1).fit(flat).predict(questions).point).all()
