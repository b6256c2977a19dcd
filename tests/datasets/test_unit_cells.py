"""Cells that carry their unit are numbers; which unit they become, and what is no such column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import FormatError, TableError, UnitError, UnknownNameError
from silicast.datasets.measured import read_measured
from silicast.datasets.unit_cells import quantity_of

SCHEMA: dict[str, Any] = {"features": ["size", "period"], "targets": {"latency_s": {"column": "Latency", "unit": "ns"}}}


def table(**columns: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({"size": [1, 2, 3], "period": ["4 ns", "8 ns", "16ns"], "Latency": ["4622 ns", "540 ns", "1.2e3ns"], **columns})


def test_targets_and_inputs_are_numbers() -> None:
    found = read_measured(table(), SCHEMA)
    assert found.targets["latency_s"] == pytest.approx([4622e-9, 540e-9, 1200e-9], rel=1e-15)
    assert found.questions.frame["period"].tolist() == [4.0, 8.0, 16.0]
    assert found.questions.units == {"period": "ns"}
    assert found.questions.take(np.array([1])).units == {"period": "ns"}
    assert any("period: cells carry their unit (ns): read as numbers in ns" in note for note in found.notes)


@pytest.mark.parametrize(("cells", "told"), [(["4.622 us", "0.54 µs", "1.2us"], "us"), (["4622 ns", "0.54 us", "0.0012 ms"], "ns, us, ms")])
def test_the_unit_of_a_cell_wins_over_that_of_the_schema(cells: list[str], told: str) -> None:
    found = read_measured(table(Latency=cells), SCHEMA)
    assert found.targets["latency_s"] == pytest.approx([4622e-9, 540e-9, 1200e-9])
    assert any(f"cells of Latency are in {told}, not in ns as the schema says" in note for note in found.notes)


def test_another_quantity_is_an_error() -> None:
    with pytest.raises(UnitError, match=r"targets.latency_s: column 'Latency': cells in W measure power; expected time: s, ms, us, ns"):
        read_measured(table(Latency=["1 W", "2 W", "3 W"]), SCHEMA)
    with pytest.raises(UnitError, match="column 'period': cells in W measure power; expected time"):
        read_measured(table(period=["4 ns", "8 ns", "2 W"]), SCHEMA)
    with pytest.raises(UnitError, match=r"units.period: 'parsec' is unknown"):
        read_measured(table(), {**SCHEMA, "units": {"period": "parsec"}})
    with pytest.raises(UnknownNameError, match="unknown input 'perod'; nearest: period"):
        read_measured(table(), {**SCHEMA, "units": {"perod": "ns"}})
    with pytest.raises(FormatError, match="only inputs of a plain feature table"):
        read_measured(table(), {"op": "gemm", "units": {"period": "ns"}})


def test_a_target_with_a_bare_number_among_units_is_placed() -> None:
    with pytest.raises(TableError, match="row 1, counting from 0, is '540', without a unit"):
        read_measured(table(Latency=["4622 ns", "540", "1200 ns"]), SCHEMA)
    with pytest.raises(TableError, match="must hold numbers"):
        read_measured(table(Latency=["4622 ns", "fails", "1200 ns"]), SCHEMA)


@pytest.mark.parametrize("period", [["4 ns", "8", "16 ns"], ["4 ns", "slow", "16 ns"], ["7B", "13B", "70B"], ["4bit", "8bit", "4bit"], ["4 parsec", "8 parsec", "1 parsec"], ["80GB x", "1 GB", "2 GB"]])
def test_words_remain_words(period: list[str]) -> None:
    found = read_measured(table(period=period), SCHEMA)
    assert found.questions.frame["period"].tolist() == period
    assert found.questions.units == {}


@pytest.mark.parametrize(("cell", "told"), [("-", "19 of 20 cells are numbers, row 19, counting from 0, is '-'"), ("20", "some cells carry a unit and others none")])
def test_a_column_that_is_nearly_numbers_is_told(cell: str, told: str) -> None:
    frame = pd.DataFrame({"size": np.arange(20), "period": [f"{i} ns" for i in range(1, 20)] + [cell], "Latency": np.arange(1.0, 21.0)})
    assert any(told in note for note in read_measured(frame, SCHEMA).notes)
    names = [f"{i}b" for i in range(1, 15)] + ["base"] * 6  # names with a number are names
    assert not any("period" in note for note in read_measured(frame.assign(period=names), SCHEMA).notes)


def test_an_empty_cell_is_a_number_that_is_not_known() -> None:
    found = read_measured(table(period=["4 GHz", None, "500 MHz"]), SCHEMA)
    assert found.questions.frame["period"].tolist() == pytest.approx([4.0, np.nan, 0.5], nan_ok=True)


def test_a_free_target_without_a_unit_is_read_in_si() -> None:
    schema = {"features": ["size"], "targets": {"period": {"column": "period"}}}
    found = read_measured(table(), schema)
    assert found.targets["period"] == pytest.approx([4e-9, 8e-9, 16e-9])
    assert any("period: cells of period are in ns: read in s" in note for note in found.notes)
    assert read_measured(table(), {**schema, "targets": {"period": {"column": "period", "unit": "us"}}}).targets["period"] == pytest.approx([4e-3, 8e-3, 16e-3])
    assert read_measured(table(period=["50 %", "25%", "5 %"]), schema).targets["period"] == pytest.approx([0.5, 0.25, 0.05])


def test_questions_are_read_in_the_unit_of_the_model() -> None:
    """What was learned as numbers in ns is asked so, in whatever unit of time; words and bare numbers of a model stay what they are."""
    told = {**SCHEMA, "units": {"period": "ns"}}
    asked = read_measured(table(period=["0.004 us", "8", "1 ns"]).drop(columns="Latency"), told, need_targets=False, words=()).questions
    assert asked.frame["period"].tolist() == pytest.approx([4.0, 8.0, 1.0])
    assert read_measured(table(period=[4, 8, 1]), told, words=()).questions.frame["period"].tolist() == [4.0, 8.0, 1.0]
    assert read_measured(table(), SCHEMA, need_targets=False, words=("period",)).questions.frame["period"].tolist() == ["4 ns", "8 ns", "16ns"]
    assert read_measured(table(), SCHEMA, need_targets=False, words=()).questions.frame["period"].tolist() == ["4 ns", "8 ns", "16ns"]


def test_machines_and_circumstances_stay_words() -> None:
    schema = {"features": ["size"], "context": ["mode"], "hardware": "gpu", "targets": SCHEMA["targets"]}
    found = read_measured(table(mode=["15W", "30W", "15W"], gpu=["80 GB", "40 GB", "80 GB"]), schema)
    assert found.questions.frame["mode"].tolist() == ["15W", "30W", "15W"]
    assert found.questions.frame["gpu"].tolist() == ["80 GB", "40 GB", "80 GB"]


def test_quantities() -> None:
    assert [quantity_of(unit) for unit in ("ns", "GB/s", "pJ/bit", "%", "1", "parsec")] == ["time", "bandwidth", "energy_per_byte", "fraction", None, None]


def test_numbers_with_true_and_false_among_them_are_words_without_a_word() -> None:
    cells = pd.Series([*range(2, 40), True, False], dtype=object)
    frame = pd.DataFrame({"size": np.arange(40), "period": cells, "Latency": np.arange(1.0, 41.0)})
    assert not any("cells are numbers" in note for note in read_measured(frame, {**SCHEMA, "targets": {"latency_s": {"column": "Latency", "unit": "s"}}}).notes)
