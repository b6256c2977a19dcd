"""Verdicts as they go out: novelty and the nearest trained row where the model itself was asked, null where a student answered."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from silicast.features.verdict import Domain
from silicast.serving import http_answers
from silicast.serving.http_documents import Verdict
from silicast.serving.quick import DOUBTED, IN_DOMAIN, Columns
from silicast.surrogates.prediction import Prediction

MODEL: Any = SimpleNamespace(card=SimpleNamespace(units={"latency_s": "s"}), targets=("latency_s",), name="m", version="1")
ASKED = (Domain("in_domain", "", 0.5, "gemm on t4"), Domain("in_domain"), Domain("extrapolating", "far", 1.5, ""))
POINT = np.full((3, 1), 1e-3)


def columns() -> Columns:
    """Row 1 was asked of the model itself."""
    return Columns(("latency_s",), POINT, POINT / 2, POINT * 2, 0.9, np.array([0, 0, 1]), (IN_DOMAIN, DOUBTED), np.array([True, False, True]), "m", "1", {1: ASKED[0]})


def test_rows_tell_what_the_model_knows() -> None:
    told = [one["domain"] for one in http_answers.rows(Prediction(("latency_s",), POINT, POINT, POINT, 0.9, ASKED), MODEL.card.units)]
    assert told == [{"verdict": "in_domain", "reason": "", "novelty": 0.5, "nearest": "gemm on t4"}, {"verdict": "in_domain", "reason": "", "novelty": None, "nearest": None},
                    {"verdict": "extrapolating", "reason": "far", "novelty": 1.5, "nearest": None}]
    for one in told:
        Verdict.model_validate(one)


def test_a_student_tells_neither() -> None:
    told = http_answers.rows(columns(), MODEL.card.units)
    assert [one["domain"]["novelty"] for one in told] == [None, 0.5, None]
    assert [one["domain"]["nearest"] for one in told] == [None, "gemm on t4", None]
    assert [one["speed"] for one in told] == ["columns", "exact", "columns"]


def test_columns_stand_in_the_rows_that_could_be_asked() -> None:
    answered = http_answers.Answered(MODEL, columns(), np.array([True, False, True, True]), {1: "no"})
    told = answered.json_columns()
    assert told["novelty"] == [None, None, 0.5, None]
    assert told["nearest"] == [None, None, "gemm on t4", None]
    assert told["error"] == [None, "no", None, None]


def test_arrow_says_null() -> None:
    pa = pytest.importorskip("pyarrow")
    from silicast.serving import http_arrow

    answered = http_answers.Answered(MODEL, columns(), np.ones(3, dtype=bool), {})
    table = pa.ipc.open_stream(http_arrow.write(answered)).read_all()
    assert table.column("novelty").to_pylist() == [None, 0.5, None]
    assert table.column("nearest").to_pylist() == [None, "gemm on t4", None]
