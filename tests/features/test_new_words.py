"""A label is no reason to doubt an answer; a word that says something, and a machine, are."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from silicast.datasets.table import FeatureQuestions, Table
from silicast.features.domain import check, describe, with_labels
from silicast.features.new_words import labels

ROWS = 40
FRAME = pd.DataFrame({"size": np.arange(ROWS) + 1.0, "name": [f"net {i}" for i in range(ROWS)], "mode": ["eager", "graph"] * (ROWS // 2),
                      "kernel": [f"kernel {i // 4}" for i in range(ROWS)], "gpu": np.repeat(["t4", "l4", "a10", "a30", "my chip"], 8)})
FOLD = np.arange(ROWS) // 8
EVERY = np.ones(ROWS, dtype=bool)


def test_labels_are_columns_whose_words_were_new_in_most_rows_held_out() -> None:
    questions = FeatureQuestions(FRAME)
    assert labels(questions, FOLD, EVERY) == ["name", "kernel"]  # kernels were held out whole; a machine is one however it was held out
    assert labels(questions, np.arange(ROWS) % 4, EVERY) == ["name"]  # every kernel was known from other folds
    assert labels(questions, FOLD, ~EVERY) == []
    some = FRAME.assign(name=[f"net {i}" if i < 19 else "net" for i in range(ROWS)])
    assert labels(FeatureQuestions(some), FOLD, EVERY) == ["kernel"]
    assert labels(FeatureQuestions(some), FOLD, FOLD < 2) == ["name", "kernel"]


def test_the_machine_column_of_a_schema_is_no_label() -> None:
    chips = FRAME.assign(gpu=[f"chip {i // 4}" for i in range(ROWS)])
    assert "gpu" in labels(FeatureQuestions(chips), FOLD, EVERY)
    assert "gpu" not in labels(FeatureQuestions(chips, "gpu"), FOLD, EVERY)


def test_a_new_label_is_no_reason_and_a_new_word_is() -> None:
    questions = FeatureQuestions(FRAME.drop(columns="gpu"))
    table = Table(questions, {"latency_s": np.ones(ROWS)}, FOLD.astype(str).astype(object), pd.DataFrame(index=range(ROWS)), "made up")
    known = json.loads(json.dumps(with_labels(describe(table), questions, np.arange(ROWS) % 4, EVERY)))
    asked = FeatureQuestions(questions.frame.iloc[[0, 0]].assign(name="a net never seen", mode=["eager", "turbo"]))
    first, second = check({**known, "density": None}, asked)
    assert first.verdict == "in_domain"
    assert second.reason == "mode 'turbo' was never trained on"
    before = {name: value for name, value in known.items() if name != "labels"}  # a card made before
    assert "name 'a net never seen' was never trained on" in check(before, asked)[0].reason


def test_a_word_of_five_is_no_label() -> None:
    """What five kernels, each held out once, were off promises nothing of nine in ten others."""
    few = FRAME.assign(kernel=[f"kernel {i // 8}" for i in range(ROWS)])
    assert "kernel" in labels(FeatureQuestions(FRAME), FOLD, EVERY)
    assert "kernel" not in labels(FeatureQuestions(few), FOLD, EVERY)
