"""Words that were measured, and never together: told by their names, and not where pairs never repeat."""

from __future__ import annotations

import numpy as np
import pandas as pd

from silicast.datasets import catalog
from silicast.datasets.columns import OpColumns
from silicast.datasets.ops import Op
from silicast.datasets.table import OpQuestions
from silicast.features.word_pairs import joined, known, new, reasons


def questions(rows: list[tuple[str, str, str]]) -> OpQuestions:
    """Products of a machine, a format and a library."""
    machines = sorted({machine for machine, _, _ in rows})
    ops = OpColumns.from_ops([Op.of("g", "gemm", m=64, n=64, k=64, dtype=dtype) for _, dtype, _ in rows])
    return OpQuestions(ops, tuple(machines), tuple(catalog.hardware(m) for m in machines), np.array([machines.index(m) for m, _, _ in rows]), pd.DataFrame({"library": [word for _, _, word in rows]}),
                       pd.DataFrame(index=range(len(rows))))


KNOWN = [("h100_sxm", "float16", "one"), ("h100_sxm", "float16", "other"), ("h100_sxm", "float8", "one"), ("a100_sxm", "float16", "one"), ("a100_sxm", "float16", "other")]


def test_a_format_and_a_library_that_never_met_are_told() -> None:
    told = known(questions(KNOWN * 3), np.tile(np.array(["x", "y", "z"], dtype=object), len(KNOWN)))
    asked = questions([("h100_sxm", "float8", "other"), ("h100_sxm", "float8", "one"), ("a100_sxm", "float8", "one"), ("h100_sxm", "int8", "one")])
    assert reasons(asked, told) == ["dtype 'float8' and library 'other' were never trained on together", "", "machine 'a100_sxm' and dtype 'float8' were never trained on together", ""]  # a new word is another matter
    assert sum(apart.sum() for _, apart in new(asked, told)) == 2
    assert new(questions(KNOWN), told) == []


def test_columns_whose_pairs_never_repeat_tell_nothing() -> None:
    """Each group has a library of its own: rows held out had new pairs, too."""
    rows = [("h100_sxm", "float16" if i % 2 else "float8", f"library {i // 2}") for i in range(20)]
    told = known(questions(rows), np.array([str(i // 2) for i in range(20)], dtype=object))
    assert all("library" not in each["columns"] for each in told)


def test_what_was_measured_since_is_no_news() -> None:
    """Shots of one machine and one pair of words: none of the columns varies in them."""
    told = known(questions(KNOWN * 3), np.tile(np.array(["x", "y", "z"], dtype=object), len(KNOWN)))
    shots = questions([("h100_sxm", "float8", "other")] * 4)
    assert reasons(shots, told)[0]
    more = joined(told, shots)
    assert reasons(shots, more) == [""] * 4
    assert reasons(questions([("a100_sxm", "float8", "one")]), more) == ["machine 'a100_sxm' and dtype 'float8' were never trained on together"]


def test_columns_that_say_the_same_have_no_pairs() -> None:
    rows = [("h100_sxm", dtype, {"float16": "half", "float8": "eighth"}[dtype]) for dtype in ("float16", "float8") for _ in range(3)]
    assert known(questions(rows), np.array(["x", "y", "z"] * 2, dtype=object)) == []
