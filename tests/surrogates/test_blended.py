"""The blend: shares by groups held out, and a yes or no as a probability."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.catalog.transformers import transformer
from silicast.datasets.errors import TableError
from silicast.datasets.splits import whole_groups
from silicast.datasets.table import FeatureQuestions, Table
from silicast.surrogates import beside_schedule
from silicast.surrogates.blended import Blended, _of_some_groups
from silicast.surrogates.boosted import Boosted
from silicast.surrogates.kernel import Kernel
from silicast.surrogates.store import member


def table(n: int = 150, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"width": rng.integers(8, 512, n).astype(float), "reuse": rng.choice([1.0, 2.0, 4.0, 8.0], n)})
    seconds = 1e-6 * frame["width"].to_numpy() * frame["reuse"].to_numpy() ** 0.5
    works = (frame["width"] / frame["reuse"] < 80).to_numpy().astype(float)
    return Table(FeatureQuestions(frame), {"latency_s": np.where(works > 0, seconds, np.nan), "works": works}, frame["width"].astype(str).to_numpy(dtype=object),
                 pd.DataFrame(index=range(n)), "made")


def test_shares_follow_what_members_are_worth_and_classes_are_probabilities() -> None:
    rows, asked = table(), table(200, 1)
    model = Blended(targets=("latency_s", "works"), threads=1).fit(rows)
    assert model._shares["latency_s"].get("kernel", 0.0) > 0.5  # a power law: trees can only bin it
    assert model.classes == ("works",)
    found = model.predict(asked.questions)
    have = np.isfinite(asked.targets["latency_s"])
    assert np.median(np.abs(found.point[have, 0] / asked.targets["latency_s"][have] - 1.0)) < 0.01
    chance = found.point[:, 1]
    assert ((chance >= 0) & (chance <= 1)).all()
    assert np.mean((chance > 0.5) == (asked.targets["works"] > 0.5)) > 0.93
    assert ((found.low[:, 1] <= chance) & (chance <= found.high[:, 1])).all()


def test_rows_are_answered_out_of_fold_by_whole_groups() -> None:
    rows = table(90)
    model = Blended(targets=("works",), threads=1).fit(rows)
    assert np.isfinite(model.out_of_fold.point).all()
    assert all(len(set(model.fold[rows.groups == g])) == 1 for g in set(rows.groups))


def test_folds_are_even_and_never_empty() -> None:
    fold = whole_groups(np.array(["a"] * 50 + ["b"] * 5 + ["c"] * 5 + ["d"] * 2), 3, 0)
    assert set(fold) == {0, 1, 2}


def test_columns_that_only_some_kernels_have_are_left_out_where_whole_kernels_are_held_out() -> None:
    frame = pd.DataFrame({"a": [1.0] * 10 + [np.nan] * 10, "b": [""] * 10 + ["off"] * 10, "c": np.arange(20.0)})
    rows = Table(FeatureQuestions(frame), {"cycles": np.arange(20.0)}, np.repeat(["one", "two"], 10).astype(object), pd.DataFrame(index=range(20)), "made")
    assert _of_some_groups(rows) == ("a", "b")
    assert _of_some_groups(Table(rows.questions, rows.targets, np.arange(20).astype(str).astype(object), rows.slices, "made")) == ()


def test_a_language_model_never_seen_is_known_by_its_figures(tmp_path: Path) -> None:
    """Latencies that go with the parameters a token meets: the names alone say nothing about one that is left out."""
    names = ["llama2-7b", "llama2-13b", "llama3_8b", "opt-30b", "falcon-40b", "llama2-70b", "opt-13b", "mistral-7b"]
    frame = pd.DataFrame({"model": np.repeat(names, 12), "batch": np.tile([1.0, 2.0, 4.0, 8.0], 24), "run": np.tile(np.arange(12.0), 8)})
    seconds = np.array([transformer(n).active_params for n in frame["model"]]) * 1e-12 * (1.0 + 0.1 * frame["batch"].to_numpy())
    new = (frame["model"] == "opt-30b").to_numpy()
    rows = Table(FeatureQuestions(frame[~new].reset_index(drop=True)), {"latency_s": seconds[~new]}, frame["model"][~new].to_numpy(dtype=object), pd.DataFrame(index=range(84)), "made")
    model = Blended(targets=("latency_s",), threads=1).fit(rows)
    asked = FeatureQuestions(frame[new].reset_index(drop=True))
    found = model.predict(asked)
    assert np.median(np.abs(found.point[:, 0] / seconds[new] - 1.0)) < 0.15
    spec, files = model.weights()
    again = Blended.from_weights(json.loads(json.dumps(spec)), files, tmp_path, member)
    np.testing.assert_allclose(again.predict(asked).point, found.point, rtol=1e-6)
    with pytest.raises(TableError, match="lacks the column model"):
        model.predict(FeatureQuestions(asked.frame.drop(columns=["model"])))


def test_weights_of_many_columns_do_not_know_the_groups_that_are_held_out() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(20), 6)
    frame = pd.DataFrame({f"count_{i}": np.exp(3.0 * rng.normal(size=20))[group] for i in range(8)} | {"clock": np.tile(np.arange(1.0, 7.0), 20)})
    own = rng.normal(size=20)[group]  # nothing in the columns tells it
    rows = Table(FeatureQuestions(frame), {"latency_s": np.exp(own) / frame["clock"].to_numpy()}, group.astype(str).astype(object), pd.DataFrame(index=range(120)), "made")
    model = Blended(targets=("latency_s",), threads=1)
    model.fold = whole_groups(rows.groups, 5, 0)
    whole = Kernel(targets=("latency_s",)).fit(rows)
    each = model._processes(rows, whole, 5, 20)
    assert each[0] is each[1] is not each[2] is each[4]
    assert whole not in each
    assert model._processes(rows, whole, 5, 200) == [whole] * 5  # groups enough to a column


def test_deep_trees_learn_plain_tables_of_small_groups_and_no_networks() -> None:
    model = Blended(targets=("latency_s",), threads=1)
    assert list(model._candidates(1_000)) == ["absolute", "squared", "deep", "factors", "kernel"]
    assert list(model._candidates(200_000)) == ["absolute", "kernel"]
    model._networks = True
    assert list(model._candidates(1_000)) == ["absolute", "squared", "kernel"]
    model._networks, model._least_leaf = False, 6  # as `fit` sets it where groups have six rows
    assert list(model._candidates(1_000)) == ["absolute", "squared", "factors", "kernel"]


def test_trees_that_the_first_folds_have_no_use_for_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A power law, 600 rows in five folds: the process has it, so no kind of trees is grown six times but the one that rehearses."""
    grown: list[str] = []
    fit = Boosted.fit
    monkeypatch.setattr(Boosted, "fit", lambda self, *given: grown.append(f"{self._settings['objective']}/{self._settings['leaves']}") or fit(self, *given))
    rows = table(600)
    model = Blended(targets=("size_s",), threads=1).fit(replace(rows, targets={"size_s": 1e-6 * rows.questions.frame["width"].to_numpy() * rows.questions.frame["reuse"].to_numpy() ** 0.5}))
    counts = pd.Series(grown).value_counts()
    assert model._shares["size_s"]["kernel"] > 0.9
    assert counts["regression/15"] == 2  # two folds, no third, and not all rows
    assert set(model._members) <= {"kernel", "absolute"}


def test_few_networks_do_not_tell_which_member_orders_another_ones_designs() -> None:
    rows = table(90)
    answers = {"absolute": rows.targets["works"][:, None], "kernel": 1.0 - rows.targets["works"][:, None]}
    model = Blended(targets=("works",), threads=1)
    assert model._weigh(rows, answers)["works"] == {"absolute": 1.0}
    model._left_out = ("pragma",)
    assert model._weigh(rows, answers)["works"] == {"absolute": 0.5, "kernel": 0.5}


def designs(kinds: int = 8, each: int = 20) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]:
    """(columns, scheduled cycles, ratios answered, true ratios) of designs whose schedules order them and whose answered ratios are noise."""
    rng = np.random.default_rng(3)
    kernel = np.repeat(np.arange(kinds), each)
    schedule = np.exp(rng.uniform(3.0, 9.0, kinds * each))
    frame = pd.DataFrame({"network.ops": kernel + 1.0, "network.plain_cycles": 1e5 * (kernel + 1.0), "network.design_cycles": schedule})
    return frame, schedule, np.exp(rng.normal(size=len(kernel))), np.exp(0.7 + 0.1 * rng.normal(size=len(kernel)))


def test_designs_of_kernels_never_seen_are_said_by_their_schedule_where_that_orders_others() -> None:
    frame, schedule, noise, real = designs()
    kernel = beside_schedule.kernels(frame)
    assert len(np.unique(kernel)) == 8
    told = beside_schedule.learned(schedule, noise, real, kernel)
    assert told["share"] == 0.0
    assert told["ratio"] == pytest.approx(np.exp(0.7), rel=0.05)
    assert np.ptp(beside_schedule.said(noise, told)) == pytest.approx(0.0)
    assert beside_schedule.learned(np.ones(160), real, real, kernel)["share"] > 0.0  # a schedule that says nothing
    assert beside_schedule.learned(schedule, noise, real, np.repeat(["a", "b"], 80)) == {}  # two kernels do not tell
    assert beside_schedule.learned(schedule, np.full(160, np.nan), real, kernel) == {}
    np.testing.assert_array_equal(beside_schedule.said(noise, {"share": 1.0, "ratio": 5.0}), noise)


def test_a_kernel_known_by_other_tools_alone_keeps_its_level_and_takes_the_order_of_its_schedule() -> None:
    frame, schedule, noise, real = designs()
    real = real * np.where(np.arange(160) < 20, 7.0, 1.0)
    old, new = (beside_schedule.kernels(frame.assign(**{"network.brief_sums": tool})) for tool in (0.0, 1.0))
    assert not np.isin(new, old).any()
    told = json.loads(json.dumps(beside_schedule.learned(schedule, noise, real, old)))
    level = beside_schedule.said(noise, told, new)
    assert level[:20] == pytest.approx(np.full(20, 7.0 * np.exp(0.7)), rel=0.1)
    assert level[20:] == pytest.approx(np.full(140, np.exp(0.7)), rel=0.1)
    assert beside_schedule.said(noise, told, np.array(["another one"] * 160)) == pytest.approx(beside_schedule.said(noise, told))
    earlier = {"share": told["share"], "ratio": told["ratio"]}  # as it was saved before
    assert beside_schedule.said(noise, earlier, new) == pytest.approx(beside_schedule.said(noise, earlier))


def test_a_share_that_one_kernel_alone_asks_for_is_not_kept() -> None:
    """Of eight kernels one is in the wrong order by its schedule: the gain is its standard error, so nothing is kept of what was learned; two are more than chance."""
    kernel, schedule = np.repeat([f"k{i}" for i in range(8)], 20), np.tile(np.linspace(1.0, 2.0, 20), 8)
    shares = []
    for wrong in (1, 2):
        ratios = np.where(np.arange(160) < 20 * wrong, schedule**-3.0, 1.0)
        shares.append(beside_schedule.learned(schedule, ratios, ratios, kernel)["share"])
    assert shares[0] == 0.0 < shares[1]


def test_kernels_that_were_seen_are_answered_as_learned(tmp_path: Path) -> None:
    frame, schedule, noise, real = designs()
    kernel = beside_schedule.kernels(frame)
    rows = Table(FeatureQuestions(frame), {"cycles": real}, kernel.astype(object), pd.DataFrame(index=range(160)), "made")
    model = Blended(targets=("cycles",), threads=1)
    model._left_out, model.fold = ("pragma",), np.arange(160) // 20 % 4
    held = model._rehearse_kernels(rows, noise[:, None].copy(), schedule[:, None])
    assert np.ptp(held) == pytest.approx(0.0)
    assert model._kernels == sorted(set(kernel))
    model.fold = np.arange(160) % 4  # every kernel is seen by every fold: what they say is no stranger's
    model._unseen, model._kernels = {}, []
    np.testing.assert_array_equal(model._rehearse_kernels(rows, noise[:, None].copy(), schedule[:, None])[:, 0], noise)
    assert model._unseen == {}
    plain = Blended(targets=("cycles",), threads=1).fit(replace(rows, questions=FeatureQuestions(frame)))
    usual = plain.predict(rows.questions).point
    plain._unseen, plain._kernels = {"cycles": {"share": 0.0, "ratio": 2.0}}, kernel[:20].tolist()
    spec, files = plain.weights()
    again = Blended.from_weights(json.loads(json.dumps(spec)), files, tmp_path, member).predict(rows.questions).point
    np.testing.assert_allclose(again[:20], usual[:20])
    np.testing.assert_allclose(again[20:, 0], 2.0 * schedule[20:])
