"""Readings that cannot be true are set aside by rule, counted, and named; a rule that too many rows break speaks against the schema."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import TableError
from silicast.datasets.measured import read_measured
from silicast.training.quarantine import quarantine

SCHEMA: dict[str, Any] = {"op": "gemm", "columns": {"m": "m", "n": "n", "k": "k"}, "fixed": {"dtype": "float16"}, "hardware": "gpu", "group": ["n", "k"],
                          "targets": {"latency_s": {"column": "ms", "unit": "ms"}, "power_w": {"column": "w", "unit": "W"}}}


def rows(count: int = 100) -> pd.DataFrame:
    """Products of 1024 x 1024 x (64 i) on a T4, by hand at half its published 65 Top/s, at 60 of its 70 W."""
    m = 64 * (1 + np.arange(count))
    return pd.DataFrame({"m": m, "n": 1024, "k": 1024, "gpu": "t4", "ms": 0.05 + 2e3 * m * 1024 * 1024 / 32.5e12, "w": 60.0})


def kept(frame: pd.DataFrame) -> tuple[int, str]:
    table = quarantine(read_measured(frame, SCHEMA))
    return len(table), "; ".join(table.notes)


def test_good_rows_stay() -> None:
    assert kept(rows()) == (100, "")


@pytest.mark.parametrize(("column", "value", "told"), [("ms", 1e-3, "faster than 2 times"), ("w", 90.0, "power above 1.2 times")])
def test_what_cannot_be_is_set_aside_and_named(column: str, value: float, told: str) -> None:
    frame = rows()
    frame.loc[70, column] = value
    count, notes = kept(frame)
    assert count == 99
    assert told in notes
    assert "usable row 70" in notes


def test_duplicates_that_disagree() -> None:
    frame = pd.concat([rows(), rows().iloc[[3, 5, 5, 7]]], ignore_index=True)
    frame.loc[100, "ms"] *= 2.0   # of two nobody can tell which is right
    frame.loc[101, "ms"] *= 2.0   # of three the odd one goes
    count, notes = kept(frame)    # row 7 and its equal agree
    assert count == 104 - 2 - 1
    assert "3 of 104 rows set aside: latency_s of equal inputs disagrees" in notes


def test_rows_that_lack_a_cell_are_equal_to_no_other() -> None:
    frame = pd.DataFrame({"size": np.arange(1.0, 41.0), "unroll": [np.nan, np.nan, *[4.0] * 38], "ms": np.arange(1.0, 41.0)})
    frame.loc[1, "size"] = 1.0                                      # rows 0 and 1: twice the time, and the unrolling of neither is known
    frame.loc[3, ["size", "ms"]] = [3.0, 9.0]                       # rows 2 and 3: equal in all that is known, three times the time
    table = quarantine(read_measured(frame, {"features": ["size", "unroll"], "targets": {"latency_s": {"column": "ms", "unit": "ms"}}}))
    assert len(table) == 38
    assert any("2 of 40 rows set aside: latency_s of equal inputs disagrees" in note and "row 2," in note for note in table.notes)


def test_a_rule_that_many_rows_break_speaks_against_the_schema() -> None:
    frame = rows()
    frame.loc[:9, "w"] = 200.0
    count, notes = kept(frame)
    assert count == 100
    assert "10 of 100 rows kept although power above" in notes


def test_a_machine_without_figures_is_not_judged() -> None:
    frame = rows().assign(gpu="mystery", ms=1e-6)
    assert kept(frame)[0] == 100


def test_few_rows_without_a_reading_are_set_aside_and_many_are_refused() -> None:
    frame = rows()
    frame.loc[:4, "ms"] = [np.nan, 0.0, -1.0, np.inf, np.nan]
    table = read_measured(frame, SCHEMA, unread=0.2)
    assert len(table) == 95
    assert "5 of 100 rows set aside: ms is NaN, infinite or not positive" in table.notes[0]
    frame.loc[:40, "ms"] = np.nan
    with pytest.raises(TableError, match="41 of 100 rows cannot be used"):
        read_measured(frame, SCHEMA, unread=0.2)
