"""Words of operator tables held out one by one: which, what is counted, and what is asked of a model that never heard them."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import FormatError
from silicast.datasets.measured import read_measured
from silicast.datasets.table import Table
from silicast.surrogates import store, word_rehearsal
from silicast.surrogates.conformal import Conformal
from silicast.surrogates.prediction import Prediction
from silicast.training.fitting import fit_table

SCHEMA: dict[str, Any] = {"op": "gemm", "columns": {c: c for c in ("m", "n", "k", "dtype")}, "hardware": "hardware", "context": ["library", "label"], "targets": {"latency_s": {"column": "s", "unit": "s"}}}
FACTOR = {"fast": 1.0, "usual": 2.0, "slow": 3.0, "new": 4.0}


def frame(libraries: tuple[str, ...] = ("fast", "usual", "slow"), values: tuple[int, ...] = (256, 512, 1024, 2048)) -> pd.DataFrame:
    """Products on an A100 by libraries that take one, two and three times as long; a label that goes with the library."""
    rows = pd.DataFrame(list(product(values, values, values, libraries)), columns=["m", "n", "k", "library"]).assign(dtype="bfloat16", hardware="a100_sxm")
    rows["label"] = "of " + rows["library"]
    rows["s"] = rows["m"] * rows["n"] * rows["k"] * rows["library"].map(FACTOR) * 1e-12 + 5e-6
    return rows


def known(table: Table) -> dict[str, list[str]]:
    """With every row a group of its own but for repeats of sizes."""
    return word_rehearsal.known(table.questions, np.array([f"{m} {n} {k}" for m, n, k in zip(table.questions.ops.m, table.questions.ops.n, table.questions.ops.k, strict=True)]))


class Quickest:
    """Answers as the quickest of the libraries it learned."""

    name, targets, shape, general = "plain", ("latency_s",), "op", False

    def fit(self, table: Table, valid: Table | None = None) -> Any:
        self.times = min(FACTOR[w] for w in table.questions.context["library"].astype(str).unique())
        return self

    def predict(self, questions: Any) -> Prediction:
        ops = questions.ops
        return Prediction.bare(self.targets, (ops.m * ops.n * ops.k * self.times * 1e-12 + 5e-6)[:, None])

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        return {}, {}


def test_each_word_is_held_out_and_columns_that_go_together_once() -> None:
    """By hand: without `fast` it is answered twice over, the others are answered as fast; a single number format cannot be held out."""
    asked = 0

    def fresh() -> list[Any]:
        nonlocal asked
        asked += 1
        return [Quickest()]

    found = word_rehearsal.tried(read_measured(frame(), SCHEMA), fresh, ("latency_s",), 0)
    assert (asked, sorted(found)) == (3, ["label", "library"])
    ratios = sorted(float(np.median(answer / truth)) for part in found["library"] for truth, answer in [part["latency_s"]])
    assert ratios == pytest.approx([1 / 3, 1 / 2, 2], rel=0.3)


def test_words_nobody_learned() -> None:
    learned = known(read_measured(frame(("fast", "usual")), SCHEMA))
    assert learned == {"dtype": ["bfloat16"], "weight_dtype": ["bfloat16"], "dtype_name": ["bfloat16"], "library": ["fast", "usual"], "label": ["of fast", "of usual"]}
    asked = frame(("fast", "slow")).assign(dtype="float16", label="of fast")
    heard = word_rehearsal.Heard(learned, {})
    new = heard.new(read_measured(asked, SCHEMA).questions)
    assert sorted(new) == ["dtype", "dtype_name", "library", "weight_dtype"]
    assert new["dtype"].all()
    assert new["library"].tolist() == (asked["library"] == "slow").tolist()
    alone = heard.new(read_measured(asked.iloc[[1]].assign(dtype="bfloat16"), SCHEMA).questions)  # a row by itself, whatever others there are
    assert list(alone) == ["library"]


def test_weights_in_a_format_never_learned_are_new() -> None:
    schema = {**SCHEMA, "columns": {**SCHEMA["columns"], "weight_dtype": "weights"}}
    heard = word_rehearsal.Heard(known(read_measured(frame().assign(weights="bfloat16"), schema)), {})
    assert list(heard.new(read_measured(frame().assign(weights="int4"), schema).questions)) == ["weight_dtype"]


def test_labels_are_no_words() -> None:
    """A layer in every row: rows held out had new ones, so intervals are those of new ones already."""
    named = frame().assign(label=lambda f: [f"layer {i}" for i in range(len(f))])
    table = read_measured(named, SCHEMA)
    assert sorted(known(table)) == ["dtype", "dtype_name", "library", "weight_dtype"]
    assert "label" not in word_rehearsal.tried(table, lambda: [Quickest()], ("latency_s",), 0)


def test_a_word_never_heard_is_as_wide_as_the_rehearsal_tells() -> None:
    """Widths by hand: of four words held out the worst was off by a factor of 3; of one alone, three quarters of the way (in logarithms) from its factor to 6; of a column without any, 6."""
    one = (np.full(20, 3.0), np.ones(20))
    table = read_measured(frame(), SCHEMA)
    model = Conformal(Quickest().fit(table), level=0.9, least=10)
    model.calibrate_from(table.questions.strata, {"latency_s": (np.full(len(table), 1.01), np.ones(len(table)))})
    model.expect_words(known(table), {"library": [{"latency_s": one}, *[{"latency_s": (np.full(20, 1.1), np.ones(20))}] * 3], "label": [{"latency_s": one}]})
    widths = model.weights()[0]["words"]["widths"]["latency_s"]
    assert {column: np.exp(w) for column, w in widths.items()} == pytest.approx({"dtype": 6.0, "weight_dtype": 6.0, "dtype_name": 6.0, "library": 3.0, "label": 3.0**0.25 * 6.0**0.75})
    rows = frame(("slow",)).iloc[:3].copy()
    rows["library"], rows["label"] = ["slow", "new", "new"], ["of slow", "of slow", "of new"]
    told = model.predict(read_measured(rows, SCHEMA).questions)
    assert (told.high / told.point)[:, 0] == pytest.approx([1.01, 3.0, 3.0**0.25 * 6.0**0.75])


def test_a_machine_and_a_word_never_together() -> None:
    """Two machines, the second without `slow`: pairs whose words stay known are held out, four at most; widths by hand: of two that were, the worse was off by 3, more than the root of 6."""
    both = pd.concat([frame(), frame(("fast", "usual")).assign(hardware="h100_sxm")], ignore_index=True)
    table = read_measured(both, SCHEMA)
    found = word_rehearsal.tried(table, lambda: [Quickest()], ("latency_s",), 0)
    assert len(found[word_rehearsal.TOGETHER]) == 4  # of both machines, fast and usual (and their labels); slow is on one alone
    learned = known(table)
    together = word_rehearsal.pairs(table.questions, learned)
    asked = read_measured(frame(("fast", "slow", "new")).assign(hardware="h100_sxm"), SCHEMA).questions
    heard = word_rehearsal.Heard(learned, together)
    assert heard.new(asked)[word_rehearsal.TOGETHER].tolist() == (asked.context["library"] == "slow").tolist()
    assert not heard.new(read_measured(frame().assign(hardware="l40s"), SCHEMA).questions)  # a machine never seen is another matter
    model = Conformal(Quickest().fit(table), level=0.9, least=10)
    model.calibrate_from(table.questions.strata, {"latency_s": (np.full(len(table), 1.01), np.ones(len(table)))})
    model.expect_words(learned, {word_rehearsal.TOGETHER: [{"latency_s": (np.full(20, off), np.ones(20))} for off in (2.0, 3.0)]}, together)
    told = model.predict(asked.take(np.flatnonzero(asked.context["library"] != "new")))
    slow = (asked.context["library"] == "slow").to_numpy()[(asked.context["library"] != "new").to_numpy()]
    assert (told.high / told.point)[:, 0] == pytest.approx(np.where(slow, 3.0, 1.01))


def test_a_fit_learns_it_and_the_folder_keeps_it(tmp_path: Path) -> None:
    fit_table(frame(), SCHEMA, (), tmp_path / "m")
    model, _ = store.load(tmp_path / "m")
    asked = read_measured(frame(("fast", "slow")).assign(label=lambda f: f["label"].where(f["library"] == "fast", "of new"), library=lambda f: f["library"].where(f["library"] == "fast", "new")), SCHEMA)
    told = model.predict(asked.questions)
    wide = np.log(told.high / told.low)[:, 0]
    new = (asked.questions.context["library"] == "new").to_numpy()
    assert wide[new].min() > 2 * np.log(2.0) > wide[~new].max()
    spec, _ = model.weights()
    with pytest.raises(FormatError, match="widths about words: expected learned"):
        Conformal.from_weights({**spec, "words": {"learned": {}, "widths": {}, "together": {}}}, {}, tmp_path, lambda name: type("Any", (), {"from_weights": lambda *a: None}))
