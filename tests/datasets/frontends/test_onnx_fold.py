"""Constant folding against values worked out by hand from the ONNX operator definitions."""

from __future__ import annotations

import numpy as np
import pytest

from silicast.datasets.frontends.onnx_fold import SMALL, Call, evaluate


def a(*values):
    return np.array(values)


@pytest.mark.parametrize(("op", "attrs", "inputs", "expected"), [
    ("Div", {}, [a(7, -7, 6), a(2, 2, 3)], [3, -3, 2]),              # integers truncate towards zero
    ("Div", {}, [a(7.0), a(2.0)], [3.5]),
    ("Mod", {}, [a(-7), a(3)], [2]),                                  # sign of the divisor
    ("Mod", {"fmod": 1}, [a(-7), a(3)], [-1]),                        # sign of the dividend
    ("Slice", {"starts": [1], "ends": [3]}, [a(5, 6, 7, 8)], [6, 7]),
    ("Slice", {}, [a(5, 6, 7, 8), a(-2), a(2**62)], [7, 8]),
    ("Slice", {}, [a(5, 6, 7, 8), a(3), a(-(2**62)), a(0), a(-1)], [8, 7, 6, 5]),
    ("Gather", {}, [a(5, 6, 7), a(2, 0)], [7, 5]),
    ("Concat", {"axis": 0}, [a(1), a(2, 3)], [1, 2, 3]),
    ("Range", {}, [np.array(0), np.array(6), np.array(2)], [0, 2, 4]),
    ("Where", {}, [a(True, False), a(1, 2), a(3, 4)], [1, 4]),
    ("Reshape", {}, [a(1, 2, 3, 4), a(-1)], [1, 2, 3, 4]),
    ("Expand", {}, [a(1), a(3)], [1, 1, 1]),
    ("Tile", {}, [a(1, 2), a(2)], [1, 2, 1, 2]),
    ("ReduceProd", {"axes": [0], "keepdims": 0}, [a(2, 3, 4)], 24),
    ("ReduceSum", {"keepdims": 1}, [a(2, 3, 4)], [9]),
    ("CumSum", {}, [a(1, 2, 3), np.array(0)], [1, 3, 6]),
    ("Split", {"axis": 0}, [a(1, 2, 3), a(1, 2)], [1]),
    ("ScatterND", {}, [a(1, 2, 3), np.array([[1]]), a(9)], [1, 9, 3]),
    ("NonZero", {}, [a(0, 5, 6)], [[1, 2]]),
    ("Max", {}, [a(1, 5), a(3), a(0, 9)], [3, 9]),
    ("Floor", {}, [a(1.7)], [1.0]),
    ("ConstantOfShape", {"value": np.array([7])}, [a(2)], [7, 7]),
])
def test_values(op, attrs, inputs, expected):
    out = evaluate(op, Call(attrs, inputs, 17))
    assert out is not None
    np.testing.assert_array_equal(out[0], expected)


def test_zero_in_reshape_copies_the_axis():
    out = evaluate("Reshape", Call({}, [np.zeros((2, 3, 4)), a(0, -1)], 17))
    assert out is not None
    assert out[0].shape == (2, 12)


@pytest.mark.parametrize(("op", "inputs"), [
    ("Reshape", [a(1, 2, 3), a(2, 2)]), ("Concat", [a(1), np.zeros((2, 2))]), ("Gather", [a(1), a(5)]), ("Mystery", [a(1)]),
    ("Range", [np.array(0), np.array(10**12), np.array(1)]), ("Range", [np.array(0), np.array(1), np.array(0)]),
    ("Add", [np.zeros((SMALL, 1)), np.zeros((1, SMALL))]),
])
def test_what_does_not_fit_or_grows_is_left_alone(op, inputs):
    assert evaluate(op, Call({}, inputs, 17)) is None
