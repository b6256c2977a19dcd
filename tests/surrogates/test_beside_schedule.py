"""Designs of kernels never seen: pragmas of other names neither stop an answer nor say anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import TableError
from silicast.datasets.measured import read_measured
from silicast.datasets.table import Table
from silicast.features import domain as domains
from silicast.surrogates import beside_schedule
from silicast.surrogates.blended import Blended

from ..contracts.frontends.hls import graph

FACTORS = (1, 2, 4, 5, 10, 20)


def kernels(folder: Path, names: str) -> Table:
    """A table of designs: one loop each, whose PARALLEL pragma has the name of its kernel."""
    rows = []
    for name in names:
        made = graph(lambda text, name=name: text.replace("__PARA__L0", f"__PARA__{name}"))(folder)  # type: ignore[misc]
        made.rename(folder / f"{name}.gexf")
        rows += [{"kernel": str(folder / f"{name}.gexf"), "point": f'{{"__PARA__{name}": {factor}}}', "cycles": 1000.0 / factor} for factor in FACTORS]
    schema = {"workload": {"column": "kernel", "format": "{}"}, "columns": {"point": "point"}, "targets": {"cycles": {"column": "cycles"}}, "group": ["kernel"]}
    return read_measured(pd.DataFrame(rows), schema)


def test_a_kernel_with_pragmas_of_other_names_is_a_question(tmp_path: Path) -> None:
    known, asked = kernels(tmp_path, "abc"), kernels(tmp_path, "xy")
    assert "point[__PARA__x]" in asked.questions.frame
    assert len(domains.check(domains.describe(known), asked.questions)) == len(asked)
    model = Blended(targets=("cycles",), threads=1)
    model._networks, model._left_out, model._choices = True, tuple(f"point[__PARA__{n}]" for n in "abc"), ()
    assert list(model._seen(asked.questions).frame.columns) == list(model._seen(known.questions).frame.columns)


def test_a_table_of_one_kernel_answers_for_another(tmp_path: Path) -> None:
    """Its pragmas are those of all rows, so none was left out; the other kernel's say nothing. A table without any pragma at all is told of."""
    known, asked = kernels(tmp_path, "a"), kernels(tmp_path, "x")
    model = Blended(targets=("cycles",), threads=1).fit(known)
    assert np.isfinite(model.predict(asked.questions).point).all()
    bare = replace(known.questions, frame=known.questions.frame.drop(columns=["point[__PARA__a]"]))
    with pytest.raises(TableError, match="lacks the column point"):
        domains.check(domains.describe(known), bare)


def test_pragmas_that_all_kernels_have_are_kept() -> None:
    frame = pd.DataFrame({"point[a]": [1.0, np.nan], "point[all]": [2.0, 4.0], "tool": ["v18", "v20"], "other[x]": [0.0, 1.0]})
    assert beside_schedule.of_designs(frame, ["point[a]"]) == ("point[all]", "other[x]")
    asked = beside_schedule.with_columns(frame.rename(columns={"point[all]": "point[new]"}), ["point[a]"], ["point[all]", "gone[y]"])  # nothing of `gone` is there: that is told elsewhere
    assert list(asked.columns) == ["tool", "other[x]", "point[all]"]
    assert asked["point[all]"].isna().all()
