"""Verified points: the simulator's own answers, joined to a table and read back as a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from silicast.datasets.errors import FormatError, InputError
from silicast.datasets.generate import read_generated
from silicast.datasets.table import Table
from silicast.serving.search import Problem, verify
from silicast.serving.search.verify import as_table, joined, write_dataset


def test_errors_and_coverage_are_of_the_models_answers(tiny: Problem) -> None:
    truth = tiny.evaluate(tiny.space.grid())
    a = truth.answers
    told = replace(a, values={**a.values, "latency_s": 1.1 * a.values["latency_s"]}, low={"latency_s": 1.05 * a.values["latency_s"], "energy_j": 0.9 * a.values["energy_j"]},
                   high={"latency_s": 1.2 * a.values["latency_s"], "energy_j": 1.1 * a.values["energy_j"]}, level=0.9, source="model 1")
    found = replace(truth, answers=told)
    checked = verify(tiny, found)
    assert checked.errors["latency_s"] == pytest.approx(np.full(4, 0.1))
    assert checked.inside == 0.5
    assert np.array_equal(checked.truth.objectives, truth.objectives)
    assert (found.optimistic < found.objectives).all()


def test_points_join_a_table_and_are_read_back(tiny: Problem, labelled: Table, tmp_path: Path) -> None:
    checked = verify(tiny, tiny.evaluate(tiny.space.grid()))
    more = joined(labelled, checked.measurements)
    assert len(more) == len(labelled) + 4
    assert more.targets["latency_s"][-4:] == pytest.approx(checked.truth.answers.values["latency_s"])
    assert more.take(np.arange(len(more) - 4, len(more))).questions.devices[0].array is not None
    again = read_generated(write_dataset(checked.measurements, tmp_path / "verified"))
    assert sorted(again.targets["energy_j"]) == pytest.approx(sorted(checked.truth.answers.values["energy_j"]))
    write_dataset(checked.measurements[:2], tmp_path / "verified")  # written again over itself
    assert len(read_generated(tmp_path / "verified")) == 2


def test_nothing_and_foreign_folders_are_refused(tmp_path: Path, tiny: Problem) -> None:
    with pytest.raises(InputError, match="at least one"):
        as_table([])
    (tmp_path / "mine.txt").write_text("x", encoding="utf-8")
    with pytest.raises(FormatError, match="something else"):
        write_dataset(verify(tiny, tiny.evaluate(tiny.space.grid()[:1])).measurements, tmp_path)
