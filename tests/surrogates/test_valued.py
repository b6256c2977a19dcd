"""Values never seen, in a fitted blend: answered as known ones are, as unsure as when values were held out, and the same from a folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.measured import read_measured
from silicast.surrogates import store
from silicast.surrogates.blended import Blended
from silicast.training.folds import fit_folds

COST = {"one": 1.0, "two": 1.5, "three": 2.2, "four": 1.2, "new": 1.6}
SCHEMA = {"features": ["backend", "bits", "size"], "targets": {"latency_s": {"column": "s", "unit": "s"}}}


def table(backends: list[str], bits: tuple[int, ...] = (2, 4, 8, 16)) -> pd.DataFrame:
    """Backends differ by up to 2.2 times, widths by their square root, sizes by themselves."""
    frame = pd.DataFrame([(b, w, 2.0**s) for b in backends for w in bits for s in range(12)], columns=["backend", "bits", "size"])
    law = frame["backend"].map(COST) * np.sqrt(frame["bits"]) * (1.0 + frame["size"] / 64.0) * 1e-3
    return frame.assign(s=law * np.exp(np.random.default_rng(0).normal(0, 0.01, len(frame))))


def test_a_value_never_seen_is_as_unsure_as_values_held_out_were(tmp_path: Path) -> None:
    known = [b for b in COST if b != "new"]
    data = read_measured(table(known, (2, 4, 16)), SCHEMA)
    model = fit_folds(data, ("latency_s",), "row", 0, 0.9, lambda text: None).surrogate
    inner = model.inner
    word, number, seen = (read_measured(f, SCHEMA) for f in (table(["new"], (2, 4, 16)), table(known, (8,)), table(known, (4,))))
    assert set(inner.kinds(word.questions)) == {"value backend"}
    assert set(inner.kinds(number.questions)) == {"value bits"}
    assert set(inner.kinds(seen.questions)) == {""}
    assert (inner.beyond(word.questions) == 1.0).all()
    for asked, off in ((word, 0.6), (number, 0.15)):
        found = model.predict(asked.questions)
        truth = asked.targets["latency_s"]
        assert np.median(np.abs(np.log(found.point[:, 0] / truth))) < off
        assert np.mean((found.low[:, 0] <= truth) & (truth <= found.high[:, 0])) >= 0.8
    usual = model.predict(seen.questions)
    assert np.median(np.log(usual.high / usual.low)) < 0.5 * np.median(np.log(model.predict(word.questions).high / model.predict(word.questions).low))
    spec, files = inner.weights()
    again = Blended.from_weights(json.loads(json.dumps(spec)), files, tmp_path, store.member)
    assert np.array_equal(again.predict(word.questions).point, inner.predict(word.questions).point)
    assert list(again.kinds(word.questions)) == list(inner.kinds(word.questions))


def test_folders_made_before_know_no_columns_of_few_values(tmp_path: Path) -> None:
    data = read_measured(table(["one", "two", "three"]), SCHEMA)
    model = Blended(targets=("latency_s",)).fit(data)
    spec, files = model.weights()
    spec["strangers"].pop("(values never seen)")
    old = Blended.from_weights(spec, files, tmp_path, store.member)
    word = read_measured(table(["new"]), SCHEMA).questions
    assert (old.beyond(word) == 0.0).all()
    assert set(old.kinds(word)) == {""}
    assert np.isfinite(old.predict(word).point).all()
    assert "(values never seen)" not in Blended(targets=("latency_s",)).fit(read_measured(table(["one"], (4,)).drop(columns=["backend", "bits"]), {**SCHEMA, "features": ["size"]})).weights()[0]["strangers"]


def test_what_could_not_be_held_out_may_be_six_times_as_much() -> None:
    frame = pd.concat([table(["one"])] * 4 + [table(["two"]).head(9)], ignore_index=True)  # one backend has nearly all rows
    model = Blended(targets=("latency_s",)).fit(read_measured(frame, {**SCHEMA, "features": ["backend", "size"]}))
    truth, point = model.rehearsed["value backend"]["latency_s"]
    assert np.allclose(point, 6.0 * truth)


def test_a_value_of_few_rows_has_a_width_of_its_own_all_the_same() -> None:
    rows = pd.concat([table(["one", "two"])] * 3 + [table(["three"]).head(20)], ignore_index=True)
    model = fit_folds(read_measured(rows, {**SCHEMA, "features": ["backend", "size"]}), ("latency_s",), "row", 0, 0.9, lambda text: None).surrogate
    assert "latency_s/value backend" in model.weights()[0]["far"]


def test_beyond_in_size_and_new_in_a_word_is_less_sure_than_either() -> None:
    model = Blended(targets=("latency_s",)).fit(read_measured(table(["one", "two", "three"]), SCHEMA))
    larger = table(["one", "new"], (4,)).assign(size=2.0**13)
    known, new = (read_measured(part, SCHEMA).questions for _, part in sorted(larger.groupby(larger["backend"] == "new")))
    assert (model.beyond(new) > model.beyond(known)).all()
    assert (model.beyond(new) <= 2.0).all()


def test_a_number_alone_asks_no_trees_and_its_row_is_answered_as_it_is_alone() -> None:
    model = Blended(targets=("latency_s",)).fit(read_measured(table(["one"]), {**SCHEMA, "features": ["bits", "size"]}))
    assert set(model._values["shares"]) == {"numbers", "ends"}
    assert not model._asks_trees
    asked = table(["one"], (3,)).head(4).assign(bits=[1.0, 3.0, 0.5, 12.0])
    together = model.predict(read_measured(asked, {**SCHEMA, "features": ["bits", "size"]}).questions).point
    alone = [model.predict(read_measured(asked.iloc[[i]], {**SCHEMA, "features": ["bits", "size"]}).questions).point[0] for i in range(4)]
    assert np.allclose(together, alone)


def test_a_number_between_known_ones_is_a_matter_of_its_own_where_two_were_held_out() -> None:
    data = read_measured(table([b for b in COST if b != "new"], (2, 4, 8, 16)), SCHEMA)
    model = Blended(targets=("latency_s",)).fit(data)
    between, wider = (read_measured(table(["one"], (bits,)), SCHEMA).questions for bits in (6, 1))
    assert set(model.kinds(between)) == {"value bits between"}
    assert set(model.kinds(wider)) == {"value bits"}


def test_what_nobody_rehearsed_is_told_by_all_of_a_target_that_is_sometimes_zero() -> None:
    """A clock that never varied; the first half of the rows are zero, as a sorted table has them."""
    frame = pd.DataFrame({"size": 2.0 ** (np.arange(240) % 8), "run": np.arange(240), "clock": 5.0})
    frame["bram_18k"] = np.where(frame["run"] < 120, 0.0, frame["size"] * 3.0)
    model = Blended(targets=("bram_18k",)).fit(read_measured(frame, {"features": ["size", "run", "clock"], "targets": {"bram_18k": {"column": "bram_18k", "unit": "1"}}}))
    truth, point = model.rehearsed["value clock"]["bram_18k"]
    assert (np.abs(point - truth) == 5.0 * truth).all()
    assert truth.min() == 3.0
    assert truth.max() == 3.0 * 128


def test_an_empty_cell_that_others_fill_is_as_unsure_as_such_rows_were() -> None:
    """Bits set the time; one row in eight does not tell them. In a second table all rows of one backend lack them: they are of another sort, and no less sure for it."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": 2.0 ** rng.integers(4, 20, 400), "bits": rng.choice([1.0, 2.0, 4.0, 8.0], 400), "backend": rng.choice(["one", "two"], 400)})
    frame["s"] = 1e-6 * frame["size"] ** 0.5 * frame["bits"]
    schema = {"features": ["size", "bits", "backend"], "targets": {"latency_s": {"column": "s", "unit": "s"}}}
    by_chance = frame.assign(bits=frame["bits"].where(np.arange(400) % 8 > 0))
    surrogate = fit_folds(read_measured(by_chance, schema), ("latency_s",), "row", 0, 0.9, lambda text: None).surrogate
    asked = read_measured(frame.head(61).assign(bits=np.where(np.arange(61) < 60, np.nan, 4.0)), schema)
    assert surrogate.inner.kinds(asked.questions).tolist() == ["value bits missing"] * 60 + [""]
    found = surrogate.predict(asked.questions)
    assert np.mean((found.low[:, 0] <= asked.targets["latency_s"]) & (asked.targets["latency_s"] <= found.high[:, 0])) > 0.8
    assert set(surrogate.inner.kinds(read_measured(frame.head(60), schema).questions)) == {""}
    other = frame.assign(bits=frame["bits"].where(frame["backend"] == "one"))
    other["s"] = np.where(other["backend"] == "one", other["s"], other["s"] * np.exp(rng.normal(size=400)))
    model = Blended(targets=("latency_s",)).fit(read_measured(other, schema))
    assert "value bits missing" not in model.rehearsed


def test_a_word_of_few_rows_is_as_unsure_as_its_rows_were() -> None:
    """Twenty rows of one kernel, of which nothing tells the time, beside four hundred of another that is all but exact: the errors of the twenty are lost among the others'."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": 2.0 ** rng.integers(4, 20, 420), "kernel": ["old"] * 400 + ["new"] * 20})
    frame["s"] = 1e-6 * frame["size"] ** 0.5 * np.where(frame["kernel"] == "old", 1.0, np.exp(0.5 * rng.normal(size=420)))
    schema = {"features": ["size", "kernel"], "targets": {"latency_s": {"column": "s", "unit": "s"}}}
    surrogate = fit_folds(read_measured(frame, schema), ("latency_s",), "row", 0, 0.9, lambda text: None).surrogate
    asked = read_measured(frame.iloc[[0, 405]], schema).questions
    assert surrogate.inner.kinds(asked).tolist() == ["", "value kernel = new"]
    found = surrogate.predict(asked)
    old, new = np.log(found.high[:, 0] / found.low[:, 0]) / 2.0
    assert old < 0.1
    assert 0.5 < new < 2.0  # nine in ten of the twenty lie within 0.82 of the truth


def test_a_word_of_four_rows_lies_half_way_to_one_never_seen() -> None:
    """Four rows tell nothing of how far off the next is: half (logarithms) of what is expected of a word never seen, and no less than what is known."""
    frame = pd.concat([table(["one", "two", "three", "four"]), table(["new"]).iloc[[3, 18, 29, 40]]], ignore_index=True)
    surrogate = fit_folds(read_measured(frame, SCHEMA), ("latency_s",), "row", 0, 0.9, lambda text: None).surrogate
    rows = pd.concat([frame.iloc[[60]], frame.iloc[[-2]], frame.iloc[[60]].assign(backend="never seen")], ignore_index=True)
    asked = read_measured(rows, SCHEMA).questions
    assert surrogate.inner.kinds(asked).tolist() == ["", "value backend = new", "value backend"]
    found = surrogate.predict(asked)
    known, few, never = np.log(found.high[:, 0] / found.low[:, 0]) / 2.0
    assert known < few < never
    (truth, answer), (half_truth, half) = (surrogate.inner.rehearsed[kind]["latency_s"] for kind in ("value backend", "value backend = new"))
    assert np.log(half / half_truth) == pytest.approx(np.log(answer / truth) / 2.0)


def test_words_that_lie_far_apart_leave_the_next_one_as_unsure() -> None:
    """Eight models whose times lie fourfold apart: held out are at most three, those with the most rows, which lie near one another. What the others do is known all the same."""
    rng = np.random.default_rng(0)
    models = [f"net {word}" for word in ("aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh")]
    of = rng.choice(8, 400, p=[0.2, 0.2, 0.2, 0.08, 0.08, 0.08, 0.08, 0.08])
    frame = pd.DataFrame({"size": 2.0 ** rng.integers(4, 12, 400), "name": np.array(models, dtype=object)[of], "run": np.arange(400) // 4})
    frame["s"] = 1e-6 * frame["size"] * np.array([1.0, 1.1, 1.2, 4.0, 16.0, 64.0, 0.25, 0.06])[of] * np.exp(0.02 * rng.normal(size=400))
    model = Blended(targets=("latency_s",)).fit(read_measured(frame, {"features": ["size", "name"], "group": ["run"], "targets": {"latency_s": {"column": "s", "unit": "s"}}}))
    truth, point = model.rehearsed["value name"]["latency_s"]
    assert np.quantile(np.abs(np.log(point / truth)), 0.9) > np.log(8.0)
