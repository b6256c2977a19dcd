"""`silicast fit` on any table: few rows are judged by folds, what they cannot promise is said, and what cannot be learned is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import TableError
from silicast.datasets.measured import read_measured
from silicast.datasets.splits import split_by_group, whole_groups
from silicast.surrogates import store
from silicast.surrogates.boosted import Boosted
from silicast.surrogates.card import ModelCard
from silicast.surrogates.conformal import Conformal
from silicast.training import fitting, folds, members
from silicast.training.fitting import evaluate_table, fit_table

GEMM: dict[str, Any] = {"op": "gemm", "columns": {"m": "m", "n": "n", "k": "k"}, "fixed": {"dtype": "float16"}, "hardware": "gpu", "group": ["n", "k"],
                        "targets": {"latency_s": {"column": "ms", "unit": "ms"}}}
PLAIN: dict[str, Any] = {"targets": {"lut": {"column": "lut"}}, "group": ["site"]}


def gemms(rows: int, sites: int, seed: int = 0) -> pd.DataFrame:
    """Rows of `sites` (n, k) sites on a T4, a time that follows the work with a tenth of noise."""
    rng = np.random.default_rng(seed)
    size = rng.integers(64, 4096, (sites, 2))[np.arange(rows) % sites]
    m = rng.integers(1, 4096, rows)
    ms = 0.02 + 8e-11 * m * size[:, 0] * size[:, 1] * np.exp(0.1 * rng.normal(size=rows))
    return pd.DataFrame({"m": m, "n": size[:, 0], "k": size[:, 1], "gpu": "t4", "ms": ms})


def plain(rows: int, sites: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    width = rng.integers(1, 64, rows)
    return pd.DataFrame({"width": width, "style": rng.choice(["a", "b"], rows), "site": np.arange(rows) % sites, "lut": 10.0 * width + rng.integers(0, 9, rows)})


@pytest.fixture
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed: what is tested here is the way a table is cut, not how well trees do."""
    for module in (folds, members):
        monkeypatch.setattr(module, "small_trees", lambda targets, train, seed: store.member("boosted")(targets=targets, seed=seed, trees=20, threads=1))


def fit(frame: pd.DataFrame, schema: dict[str, Any], out: Path, **rest: Any) -> tuple[ModelCard, list[str], Any]:
    """(card, what was said, answers of the saved model to its own table)."""
    said: list[str] = []
    card = fit_table(frame, schema, rest.pop("targets", ()), out, say=said.append, **rest)
    surrogate, saved = store.load(out)
    assert saved == card
    return card, said, surrogate.predict(read_measured(frame, dict(card.schema), need_targets=False).questions)


@pytest.mark.usefixtures("few_trees")
def test_few_rows_about_a_machine_never_seen(tmp_path: Path) -> None:
    """One of two machines runs three times slower than the simulator can know: intervals about a third are as wide as that. Of one machine alone they are twice the usual, and 2.2 at the least."""
    two = pd.concat([gemms(60, 20), gemms(60, 20, 1).assign(gpu="a100_sxm", ms=lambda frame: 3.0 * frame["ms"])])
    for frame, named in ((two, "a100_sxm"), (gemms(100, 20), "t4")):
        fit(frame, GEMM, tmp_path / named)
        surrogate, _ = store.load(tmp_path / named)
        asked = pd.concat([gemms(5, 5, 2).assign(gpu=gpu) for gpu in ("t4", "h100_sxm")])
        answer = surrogate.predict(read_measured(asked, GEMM, need_targets=False).questions)
        widths = np.log(answer.high[:, 0] / answer.point[:, 0])
        assert widths[5] == pytest.approx(max(2.0 * widths[0], np.log(2.2))) if named == "t4" else widths[5] > max(widths[0], np.log(3.0))


@pytest.mark.usefixtures("few_trees")
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("rows", "sites", "folds"), [(15, 5, 5), (60, 60, 10), (100, 12, 10)])
def test_few_rows_are_judged_by_folds(tmp_path: Path, rows: int, sites: int, folds: int, seed: int) -> None:
    card, _, answer = fit(gemms(rows, sites, seed), GEMM, tmp_path / "m", seed=seed)
    assert card.split == f"{folds}-fold by n x k; intervals from out-of-fold residuals"
    assert (card.level, answer.level, card.data_rows) == (0.9, 0.9, rows)
    assert card.metrics["all"]["latency_s"]["rows"] == rows
    assert np.isfinite(answer.low).all()
    assert evaluate_table(tmp_path / "m", gemms(rows, sites, seed)).rows == rows


def test_no_row_is_judged_by_a_model_that_saw_its_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[set[Any]] = []

    class Spy(Boosted):
        def fit(self, table: Any, valid: Any = None) -> Any:
            trained.append(set(table.groups))
            return super().fit(table, valid)

    monkeypatch.setattr(members, "small_trees", lambda targets, train, seed: Spy(targets=targets, seed=seed, trees=5, threads=1))
    fit_table(gemms(60, 20), GEMM, (), tmp_path / "m")
    every = set(read_measured(gemms(60, 20), GEMM).groups)
    assert trained[0] == every                                       # the model that is kept
    held = [every - t for t in trained[1:11]]                        # what follows are rehearsals of sizes, which judge nothing
    assert sum(len(h) for h in held) == len(every)
    assert set().union(*held) == every


def test_folds_are_whole_even_and_never_empty() -> None:
    groups = np.array(["big"] * 50 + [f"g{i}" for i in range(50)], dtype=object)
    fold = whole_groups(groups, 10, 3)
    assert len(set(fold[:50])) == 1
    assert sorted(np.bincount(fold)) == [5] * 4 + [6] * 5 + [50]     # 50 lone rows over the nine others
    assert set(whole_groups(groups[49:52], 3, 0)) == {0, 1, 2}


@pytest.mark.parametrize(("rows", "sites", "split", "told"), [
    (2, 2, "none: all rows trained on, by n x k", "2 rows in 2 groups .*no figures and no intervals"),
    (60, 1, "none: all rows trained on, by n x k", "60 rows in 1 group .*no figures and no intervals"),
    (8, 8, "8-fold by n x k; no intervals", r"8 rows are too few to promise intervals at level 0.9 \(10 answered rows are the least\)"),
])
@pytest.mark.usefixtures("few_trees")
def test_what_cannot_be_promised_is_said(tmp_path: Path, rows: int, sites: int, split: str, told: str) -> None:
    card, said, answer = fit(gemms(rows, sites), GEMM, tmp_path / "m")
    assert card.split == split
    assert (card.level, answer.level) == (0.0, 0.0)
    assert np.isnan(answer.low).all()
    assert np.isfinite(answer.point).all()
    assert bool(card.metrics) == (rows == 8)
    assert re.search(told, card.extra["notes"])
    assert any(text in card.extra["notes"] for text in said)


@pytest.mark.usefixtures("few_trees")
def test_a_high_level_needs_more_rows(tmp_path: Path) -> None:
    card, _, answer = fit(gemms(60, 60), GEMM, tmp_path / "m", level=0.99)
    assert (card.level, answer.level) == (0.0, 0.0)
    assert "99 answered rows are the least" in card.extra["notes"]   # ceil(0.99 / 0.01), by hand
    card, _, answer = fit(gemms(120, 60), GEMM, tmp_path / "n", level=0.99)
    assert (card.level, answer.level) == (0.99, 0.99)


def test_coverage_is_not_of_the_rows_that_made_the_intervals(tmp_path: Path) -> None:
    # Ten groups of two rows, one of them thirty times slower than its work. By hand: its two residuals are the largest; judged by the 18
    # others' (rank ceil(19 x 0.9) = 18, their largest) both are missed, and nobody else is: 18 of 20. Its own among them, 19 of 20 would hold.
    frame = gemms(20, 10)
    odd = (frame["n"] == frame["n"][0]) & (frame["k"] == frame["k"][0])
    frame.loc[odd, "ms"] *= 30
    card, _, _ = fit(frame, GEMM, tmp_path / "m")
    assert card.metrics["all"]["latency_s"]["coverage"] == pytest.approx(0.9)


def test_large_tables_are_cut_in_four(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "best_trees", lambda targets, seed: store.member("boosted")(targets=targets, seed=seed, trees=20, threads=1))
    card, _, _ = fit(gemms(1200, 300), GEMM, tmp_path / "m", again=False)
    assert card.split == "train 0.72, valid 0.08, calibrate 0.1, test 0.1 by n x k, seed 0"
    assert card.data_rows < 1000


@pytest.mark.parametrize("again", [False, True])
def test_what_judged_calibrates_afterwards_unless_somebody_judges_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool) -> None:
    parts: list[int] = []
    conformalize = Conformal.conformalize
    monkeypatch.setattr(Conformal, "conformalize", lambda self, *tables: parts.append(len(tables)) or conformalize(self, *tables))
    card, _, _ = fit(gemms(1200, 300), GEMM, tmp_path / "m", networks=False, again=again)
    assert parts == ([1, 2] if again else [1])
    assert ("the part that judged" in card.extra.get("notes", "")) == again


def test_what_judged_a_model_is_learned_from_afterwards(tmp_path: Path) -> None:
    """All but the part that members stop by, nine in ten rows for seven: figures and intervals stay those of the first time, and the card says so."""
    frame = gemms(1200, 300)
    once, _, before = fit(frame, GEMM, tmp_path / "once", networks=False, again=False)
    twice, said, after = fit(frame, GEMM, tmp_path / "twice", networks=False)
    assert once.data_rows < 1000 < twice.data_rows < 1200
    assert once.metrics == twice.metrics
    assert any(f"learned again from {twice.data_rows:,}" in text for text in said)
    assert not np.array_equal(before.point, after.point)


@pytest.mark.parametrize(("frame", "needed"), [
    (gemms(1, 1), "1 usable row; at least two with different answers are needed"),
    (plain(30, 6).assign(lut=5), "'lut' has the same value, 5, in all 30 rows.*at least two different values are needed, or leave it out with --target"),
    (gemms(5, 5).iloc[:0], "the table has no rows; at least one is needed, and two to fit a model"),
])
def test_what_cannot_be_learned_is_refused(tmp_path: Path, frame: pd.DataFrame, needed: str) -> None:
    with pytest.raises(TableError, match=needed):
        fit_table(frame, PLAIN if "lut" in frame else GEMM, (), tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.usefixtures("few_trees")
def test_a_target_constant_in_all_folds_but_one(tmp_path: Path) -> None:
    frame = plain(30, 6).assign(uram=lambda f: np.where(f["site"] == 0, f["width"], 0))
    card, _, answer = fit(frame, {"group": ["site"], "targets": {"lut": {"column": "lut"}, "uram": {"column": "uram"}}}, tmp_path / "m")
    assert card.metrics["all"]["uram"]["rows"] == 30
    assert answer.level == 0.9


@pytest.mark.usefixtures("few_trees")
def test_inputs_are_told_and_a_later_table_needs_only_those(tmp_path: Path) -> None:
    card, said, _ = fit(plain(30, 6), PLAIN, tmp_path / "m")
    assert "inputs: width, style" in said
    assert not [text for text in said if text.startswith("warning")]
    later = plain(4, 2).drop(columns=["site", "lut"]).assign(remark="new")
    surrogate, _ = store.load(tmp_path / "m")
    assert len(surrogate.predict(read_measured(later, dict(card.schema), need_targets=False).questions)) == 4
    _, said, _ = fit(gemms(20, 20), {**GEMM, "columns": {**GEMM["columns"], "m": ["m", "k"]}}, tmp_path / "n")
    assert "inputs: m, k, n, gpu" in said


def test_a_name_of_its_own_in_every_row_is_no_reason_to_doubt(tmp_path: Path) -> None:
    """Every row held out had a new name, so the intervals are those of new names; a style that never was is a reason."""
    named = [plain(90, 90, seed).assign(name=[f"run {seed} {i}" for i in range(90)]) for seed in (0, 1)]
    schema = {**PLAIN, "features": ["width", "style", "name"], "group": []}
    card, _, _ = fit(named[0], schema, tmp_path / "m")
    assert card.domain["labels"] == ["name"]
    found = evaluate_table(tmp_path / "m", named[1])
    assert found.flagged < 0.2
    assert evaluate_table(tmp_path / "m", named[1].assign(style="c")).flagged == 1.0
    parts = [read_measured(frame, schema) for frame in named]  # a large table: the part that calibrates tells
    assert fitting._described({"train": parts[0], "calibrate": parts[1]})["labels"] == ["name"]
    assert "labels" not in fitting._described({"train": parts[0], "calibrate": parts[0]})


def test_cells_with_units_are_fitted_and_asked_in_any_unit(tmp_path: Path) -> None:
    frame = plain(80, 20).assign(ns=lambda f: [f"{10 * w} ns" for w in f["width"]], clock=[f"{c} MHz" for c in np.tile([500, 1000], 40)])
    schema = {"features": ["width", "clock"], "targets": {"latency_s": {"column": "ns", "unit": "us"}}, "group": ["site"]}
    card, said, first = fit(frame, schema, tmp_path / "m")
    assert card.schema["units"] == {"clock": "MHz"}
    assert any("cells of ns are in ns, not in us" in text for text in said)
    assert np.median(first.point[:, 0] / (1e-8 * frame["width"])) == pytest.approx(1.0, rel=0.1)
    surrogate, _ = store.load(tmp_path / "m")
    for clock in ([f"{c / 1000} GHz" for c in np.tile([500, 1000], 40)], np.tile([500, 1000], 40)):
        asked = read_measured(frame.assign(clock=clock), dict(card.schema), need_targets=False, words=card.domain["categories"]).questions
        np.testing.assert_allclose(surrogate.predict(asked).point, first.point)


@pytest.mark.usefixtures("few_trees")
@pytest.mark.parametrize(("slips", "warned"), [(1, True), (0, False), (20, False)])
def test_a_number_column_with_a_slip_is_told(tmp_path: Path, slips: int, warned: bool) -> None:
    width = [str(x) for x in range(30)]
    width[:slips] = ["sixteen"] * slips
    _, said, _ = fit(plain(30, 6).assign(width=width), PLAIN, tmp_path / "m")
    told = [text for text in said if text.startswith("warning: width: ") and "cells are numbers" in text]
    assert bool(told) == warned
    assert not told or "96.7% of its cells are numbers, the others are words, the first 'sixteen'" in told[0]


@pytest.mark.usefixtures("few_trees")
@pytest.mark.parametrize(("name", "warned"), [("lat_us", True), ("latency_ms", True), ("lut", True), ("power_w", True), ("RunTime", True), ("t_ns", True), ("energyTotal", True),
                                              ("kernel_w", False), ("stride_s", False), ("flat", False), ("platform", False), ("items", False)])
def test_an_input_that_looks_like_an_answer(tmp_path: Path, name: str, warned: bool) -> None:
    frame = plain(12, 3).rename(columns={"lut": "score"}).assign(**{name: 1.5})
    _, said, _ = fit(frame, {"group": ["site"], "targets": {"score": {"column": "score"}}}, tmp_path / "m")
    assert any(text.startswith(f"warning: {name} looks like an answer") for text in said) == warned


@pytest.mark.usefixtures("few_trees")
@pytest.mark.parametrize("targets", [("latency_s", "power_w", "energy_j"), ("latency_s", "energy_j"), ("power_w", "energy_j")])
def test_energy_is_power_times_latency_where_all_three_are_fitted(tmp_path: Path, targets: tuple[str, ...]) -> None:
    frame = gemms(40, 40).assign(w=lambda f: 20.0 + f["m"] / 100, mj=lambda f: 2.0 * f["ms"] * f["w"])   # twice the product: another meter
    schema = {**GEMM, "targets": {**GEMM["targets"], "power_w": {"column": "w", "unit": "W"}, "energy_j": {"column": "mj", "unit": "mJ"}}}
    card, said, answer = fit(frame, schema, tmp_path / "m", targets=targets)
    energy = answer.point[:, answer.column("energy_j")]
    if len(targets) == 3:
        assert np.allclose(energy, answer.point[:, 0] * answer.point[:, 1])
        assert "energy_j is answered as power x latency; the table's own differs from that by 50% (median)" in said
        assert "differs" in card.extra["notes"]
    else:                                                            # learned from its own column
        assert np.median(energy / (frame["mj"].to_numpy() / 1e3)) == pytest.approx(1.0, abs=0.3)
        assert not card.extra


def test_many_rows_and_groups_leave_more_to_learn_from() -> None:
    """By hand: 10 % of the rows calibrate and as many judge; of 50,000 rows in 1,000 groups 4 % are 2,000 rows and 40 groups; of 400,000 so many that 290,000 are learned from."""
    shares = [fitting.fractions(read_measured(gemms(rows, sites), GEMM)) for rows, sites in ((2_000, 100), (50_000, 1_000))]
    assert [round(s["test"], 4) for s in shares] == [0.1, 0.04]
    assert all(sum(s.values()) == pytest.approx(1.0) for s in shares)


def test_groups_held_out_by_the_same_hash_and_seed_leave_no_part_empty() -> None:
    """Whoever judges a model holds groups out first, maybe by `split_by_group` and the same seed: what is left is cut by another hash."""
    data = read_measured(gemms(3_000, 120), GEMM)
    rest = split_by_group(data, {"rest": 0.8, "held": 0.2}, 0)["rest"]
    with pytest.raises(TableError, match="empty"):
        split_by_group(rest, fitting.fractions(rest), 0)
    parts = fitting.parts_of(rest, 0)
    assert list(parts) == ["train", "valid", "calibrate", "test"]
    assert all(len(part) for part in parts.values())


def test_few_groups_of_many_rows_are_learned_by_an_ensemble(tmp_path: Path) -> None:
    """Eight groups cannot be cut in four: the ensemble learns from every row, and its intervals come from groups it was rehearsed on."""
    frame = gemms(700, 8)
    card, said, answer = fit(frame, GEMM, tmp_path / "m", networks=False)
    surrogate, _ = store.load(tmp_path / "m")
    assert (surrogate.inner.name, card.data_rows, card.level) == ("ensemble", 700, 0.9)
    assert card.split == "5-fold by n x k; intervals from out-of-fold residuals of small copies"
    assert any("few groups: 5 folds" in text for text in said)
    inside = (frame["ms"] * 1e-3 >= answer.low[:, 0]) & (frame["ms"] * 1e-3 <= answer.high[:, 0])
    assert inside.mean() > 0.8


def test_few_groups_and_a_level_that_their_rows_cannot_promise(tmp_path: Path) -> None:
    """Of 700 rows none can say what 999 of 1,000 stay below: an ensemble without intervals, with figures, and a note that names what is needed."""
    card, said, answer = fit(gemms(700, 8), GEMM, tmp_path / "m", networks=False, level=0.999)
    assert (card.level, card.split) == (0.0, "5-fold by n x k; no intervals")
    assert np.isnan(answer.low).all()
    assert card.metrics["all"]["latency_s"]["median_ape"] < 0.3
    assert any("too few to promise intervals at level 0.999 (999 answered rows are the least)" in text for text in said)
