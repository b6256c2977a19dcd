"""Constant folding: the small arithmetic that ONNX exporters put between Shape and Reshape.

`EVALUATORS` maps an operator to a function of a `Call` (attributes, NumPy inputs, opset) that returns its outputs. Only
small constants are ever evaluated (`SMALL` elements); larger ones keep a shape and no value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: constants of more elements than this are never looked at
SMALL = 4096

#: operators whose output can be far larger than their inputs: their output shape is checked before they are evaluated
GROWING = frozenset({"ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize", "OneHot", "EyeLike"})


@dataclass(frozen=True)
class Call:
    """One node to evaluate: inputs are arrays (None: absent), attributes plain Python values."""

    attrs: Mapping[str, Any]
    inputs: Sequence[np.ndarray | None]
    opset: int

    def x(self, index: int = 0) -> np.ndarray:
        """Input `index`; raises ValueError when it is absent."""
        value = self.inputs[index]
        if value is None:
            raise ValueError("a required input is absent")
        return value

    def optional(self, index: int) -> np.ndarray | None:
        """Input `index`, None when it is absent."""
        return self.inputs[index] if index < len(self.inputs) else None

    def axes(self, index: int = 1) -> tuple[int, ...] | None:
        """Axes from input `index` (newer opsets) or the attribute (older)."""
        given = self.optional(index)
        if given is not None:
            return tuple(int(a) for a in given.reshape(-1))
        axes = self.attrs.get("axes")
        return None if axes is None else tuple(axes)


Evaluator = Callable[[Call], list[np.ndarray]]


def _unary(function: Callable[[np.ndarray], Any]) -> Evaluator:
    return lambda c: [np.asarray(function(c.x())).astype(c.x().dtype)]


def _binary(function: Callable[[np.ndarray, np.ndarray], Any]) -> Evaluator:
    return lambda c: [np.asarray(function(c.x(), c.x(1)))]


def _variadic(function: Callable[[np.ndarray, np.ndarray], Any]) -> Evaluator:
    def evaluate(c: Call) -> list[np.ndarray]:
        total = c.x()
        for index in range(1, len(c.inputs)):
            total = np.asarray(function(total, c.x(index)))
        return [total]
    return evaluate


def _divide(a: np.ndarray, b: np.ndarray) -> Any:
    if a.dtype.kind not in "iu":
        return a / b
    quotient = a // b  # ONNX truncates towards zero, NumPy floors
    return quotient + ((quotient < 0) & (quotient * b != a))


def _cast(c: Call) -> list[np.ndarray]:
    from onnx.helper import tensor_dtype_to_np_dtype

    return [c.x().astype(tensor_dtype_to_np_dtype(c.attrs["to"]))]


def _reshape(c: Call) -> list[np.ndarray]:
    shape = [int(s) for s in c.x(1).reshape(-1)] if len(c.inputs) > 1 else list(c.attrs["shape"])
    if not c.attrs.get("allowzero", 0):
        shape = [c.x().shape[i] if s == 0 else s for i, s in enumerate(shape)]
    return [c.x().reshape(shape)]


def _flatten(c: Call) -> list[np.ndarray]:
    axis = c.attrs.get("axis", 1)
    rows = int(np.prod(c.x().shape[:axis])) if axis >= 0 else int(np.prod(c.x().shape[: c.x().ndim + axis]))
    return [c.x().reshape(rows, -1)]


def _unsqueeze(c: Call) -> list[np.ndarray]:
    axes = c.axes() or ()
    return [np.expand_dims(c.x(), axes)]


def _slice(c: Call) -> list[np.ndarray]:
    x = c.x()
    if "starts" in c.attrs:
        starts, ends = list(c.attrs["starts"]), list(c.attrs["ends"])
        axes, steps = list(c.attrs.get("axes", range(len(starts)))), [1] * len(starts)
    else:
        starts, ends = c.x(1).tolist(), c.x(2).tolist()
        given, stepped = c.optional(3), c.optional(4)
        axes = list(range(len(starts))) if given is None else given.tolist()
        steps = [1] * len(starts) if stepped is None else stepped.tolist()
    index: list[slice] = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        stop = None if step < 0 and end < -x.shape[axis] else end
        index[axis] = slice(start, stop, step)
    return [x[tuple(index)]]


def _split(c: Call) -> list[np.ndarray]:
    axis = c.attrs.get("axis", 0)
    given = c.optional(1)
    sizes = c.attrs.get("split") if given is None else given.tolist()
    if sizes is None:
        raise ValueError("split sizes unstated")
    return np.split(c.x(), np.cumsum(sizes)[:-1], axis=axis)


def _range(c: Call) -> list[np.ndarray]:
    start, limit, delta = (c.x(i).reshape(()).item() for i in range(3))
    if (limit - start) / delta > SMALL:
        raise ValueError("too long to evaluate")
    return [np.arange(start, limit, delta, dtype=c.x().dtype)]


def _constant_of_shape(c: Call) -> list[np.ndarray]:
    value = c.attrs.get("value")
    fill = np.zeros(1, np.float32) if value is None else value
    return [np.full(tuple(c.x().tolist()), fill.reshape(-1)[0], dtype=fill.dtype)]


def _reducer(function: Callable[..., Any]) -> Evaluator:
    def evaluate(c: Call) -> list[np.ndarray]:
        axes = c.axes()
        if axes == () or (axes is None and c.attrs.get("noop_with_empty_axes", 0)):
            axes = () if c.attrs.get("noop_with_empty_axes", 0) else None
        return [np.asarray(function(c.x(), axis=axes, keepdims=bool(c.attrs.get("keepdims", 1)))).astype(c.x().dtype)]
    return evaluate


def _scatter_nd(c: Call) -> list[np.ndarray]:
    out = c.x().copy()
    out[tuple(np.moveaxis(c.x(1), -1, 0))] = c.x(2)
    return [out]


EVALUATORS: dict[str, Evaluator] = {
    "Identity": lambda c: [c.x()],
    "Abs": _unary(np.abs), "Neg": _unary(np.negative), "Sign": _unary(np.sign), "Floor": _unary(np.floor), "Ceil": _unary(np.ceil),
    "Round": _unary(np.round), "Sqrt": _unary(np.sqrt), "Exp": _unary(np.exp), "Log": _unary(np.log), "Reciprocal": _unary(np.reciprocal),
    "Not": _unary(np.logical_not),
    "Add": _binary(np.add), "Sub": _binary(np.subtract), "Mul": _binary(np.multiply), "Div": _binary(_divide),
    "Mod": lambda c: [np.asarray((np.fmod if c.attrs.get("fmod", 0) else np.mod)(c.x(), c.x(1)))],
    "Pow": lambda c: [np.asarray(np.power(c.x(), c.x(1))).astype(c.x().dtype)],
    "Max": _variadic(np.maximum), "Min": _variadic(np.minimum), "Sum": _variadic(np.add),
    "Equal": _binary(np.equal), "Less": _binary(np.less), "LessOrEqual": _binary(np.less_equal), "Greater": _binary(np.greater),
    "GreaterOrEqual": _binary(np.greater_equal), "And": _binary(np.logical_and), "Or": _binary(np.logical_or), "Xor": _binary(np.logical_xor),
    "Where": lambda c: [np.where(c.x(), c.x(1), c.x(2))],
    "Cast": _cast, "CastLike": lambda c: [c.x().astype(c.x(1).dtype)],
    "Reshape": _reshape, "Flatten": _flatten, "Unsqueeze": _unsqueeze, "Squeeze": lambda c: [np.squeeze(c.x(), c.axes())],
    "Transpose": lambda c: [np.transpose(c.x(), c.attrs.get("perm"))],
    "Concat": lambda c: [np.concatenate([c.x(i) for i in range(len(c.inputs))], axis=c.attrs.get("axis", 1))],
    "Gather": lambda c: [np.take(c.x(), c.x(1), axis=c.attrs.get("axis", 0))],
    "Slice": _slice, "Split": _split, "Range": _range, "ConstantOfShape": _constant_of_shape,
    "Expand": lambda c: [np.broadcast_to(c.x(), np.broadcast_shapes(c.x().shape, tuple(c.x(1).tolist())))],
    "Tile": lambda c: [np.tile(c.x(), c.x(1))],
    "CumSum": lambda c: [np.cumsum(c.x(), axis=int(c.x(1)), dtype=c.x().dtype)] if not c.attrs.get("reverse") and not c.attrs.get("exclusive") else [],
    "ReduceProd": _reducer(np.prod), "ReduceSum": _reducer(np.sum), "ReduceMax": _reducer(np.max), "ReduceMin": _reducer(np.min), "ReduceMean": _reducer(np.mean),
    "NonZero": lambda c: [np.array(np.nonzero(c.x()), dtype=np.int64)],
    "ScatterND": _scatter_nd,
}


def evaluate(op: str, call: Call) -> list[np.ndarray] | None:
    """The outputs of a constant node, or None when it is not known how (the caller then keeps only its shape)."""
    function = EVALUATORS.get(op)
    try:
        if function is None or _reach(op, call) > 16 * SMALL:  # two small constants can still make a big one
            return None
        with np.errstate(all="ignore"):
            out = function(call)
    except (ValueError, IndexError, TypeError, KeyError, ZeroDivisionError, OverflowError, AttributeError, MemoryError, np.exceptions.AxisError):
        return None
    return out or None


def _reach(op: str, call: Call) -> int:
    """Elements of the output at most; that of growing operators the caller has checked."""
    sizes = [v.size for v in call.inputs if v is not None]
    if op in GROWING or op == "Concat" or not sizes:
        return sum(sizes) if op == "Concat" else 0
    if op == "Gather":
        return call.x(1).size * (sizes[0] // max(1, call.x().shape[call.attrs.get("axis", 0)]))
    if len(sizes) > 1 and op not in ("Reshape", "Slice", "Split", "Squeeze", "Unsqueeze", "CumSum", "ScatterND", "CastLike") and not op.startswith("Reduce"):
        return int(np.prod(np.broadcast_shapes(*(v.shape for v in call.inputs if v is not None)), dtype=object))
    return sizes[0] * (max(1, call.x().ndim) if op == "NonZero" else 1)
