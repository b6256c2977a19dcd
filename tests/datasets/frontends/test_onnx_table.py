"""Every operator of the standard has a treatment, and the documentation says it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from silicast.datasets.frontends.onnx_contrib import FOREIGN
from silicast.datasets.frontends.onnx_ops import REFUSED, RULES
from silicast.datasets.frontends.onnx_table import OWN, fresh, standard_operators, treatment

DOCUMENT = Path(__file__).parents[3] / "docs" / "onnx.md"


NEWEST = 28  # the newest opset of the onnx release in constraints.txt


def test_every_standard_operator_has_a_treatment():
    assert [op for op in standard_operators() if not treatment(op)] == []
    assert not set(REFUSED) & set(RULES)


def test_nothing_is_treated_that_there_is_not():
    if onnx.defs.onnx_opset_version() < NEWEST:
        pytest.skip("an older onnx")
    assert set(OWN) <= set(standard_operators())


def test_every_foreign_operator_exists():
    runtime = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")
    known = {(schema.domain, schema.name) for schema in runtime.get_all_operator_schema()}
    assert {("com.microsoft", op) for op in FOREIGN["com.microsoft"]} <= known


def test_documentation_is_fresh():
    if onnx.defs.onnx_opset_version() != NEWEST:
        pytest.skip(f"the tables are of opset {NEWEST}")
    text = DOCUMENT.read_text(encoding="utf-8")
    assert fresh(text) == text, "run: python -m silicast.datasets.frontends.onnx_table docs/onnx.md"
