"""Targets that are no quantities."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from silicast.datasets import yes_no
from silicast.datasets.errors import TableError
from silicast.datasets.measured import read_measured


def test_a_design_that_failed_has_no_cycles() -> None:
    frame = pd.DataFrame({"d": [1, 2, 3, 4], "ok": [True, False, False, True], "cycles": [5.0, 0.0, np.nan, 7.0]})
    table = read_measured(frame, {"features": ["d"], "targets": {"works": {"column": "ok"}, "cycles": {"column": "cycles"}}})
    assert table.targets["works"].tolist() == [1.0, 0.0, 0.0, 1.0]
    assert np.array_equal(table.targets["cycles"], [5.0, np.nan, np.nan, 7.0], equal_nan=True)


def test_one_that_worked_must_have_them() -> None:
    frame = pd.DataFrame({"d": [1, 2], "ok": [True, True], "cycles": [5.0, np.nan]})
    with pytest.raises(TableError, match="cycles is NaN"):
        read_measured(frame, {"features": ["d"], "targets": {"works": {"column": "ok"}, "cycles": {"column": "cycles"}}})


def test_words_are_one_answer_each() -> None:
    frame = pd.DataFrame({"d": [1, 2, 3], "algo": ["fft", "direct", "fft"]})
    table = read_measured(frame, {"features": ["d"], "targets": {"algorithm": {"column": "algo"}}})
    assert {k: v.tolist() for k, v in table.targets.items()} == {"algorithm=direct": [0.0, 1.0, 0.0], "algorithm=fft": [1.0, 0.0, 1.0]}


def test_yes_and_no_in_words_are_one_answer_and_labels_are_none() -> None:
    assert yes_no.classes_of("fits", pd.Series(["yes", "no", None]), "t")["fits"].tolist()[:2] == [1.0, 0.0]  # type: ignore[index]
    with pytest.raises(TableError, match="different words"):
        yes_no.classes_of("name", pd.Series([f"run{i}x" for i in range(30)]), "t")
