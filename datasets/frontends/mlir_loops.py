"""Loop nests of affine and scf: how often each statement runs, and what arithmetic it does; arith and math on tensors; what tensor and memref cost.

A nest becomes one op per block with arithmetic. A multiply-and-add into a place that an inner loop does not move is a product (gemm) over the loops that
its places depend on; any other arithmetic is elementwise work, once for every time its block runs. Bounds that depend on outer loops (triangles) are counted
exactly, point by point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from xdsl.dialects import affine, arith, builtin, scf
from xdsl.ir import Block, BlockArgument, Operation, SSAValue
from xdsl.ir.affine import AffineMap

from ..errors import GraphError, UnsupportedOpError
from .mlir_graph import Held, Rule, Walk
from .mlir_linalg import ARITH, sides
from .mlir_text import name_of

#: values of outer loops that are enumerated for the bounds of inner ones
MOST_POINTS = 2**16


@dataclass(frozen=True)
class _Nest:
    """Where a walk through a nest stands: the loops around with their trips (-1: they vary), values of those that bounds depend on, times the place is met."""

    loops: tuple[tuple[SSAValue, int], ...]
    points: dict[SSAValue, np.ndarray]
    weight: np.ndarray  # of each point
    times: int          # of loops that nobody depends on


def _nest(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    written: dict[SSAValue, None] = {}
    _loop(w, op, _Nest((), {}, np.ones(1, dtype=np.int64), 1), written, op)
    if op.results:
        w.alias(op, next((w.values[b] for b in written if b in w.values), Held()))


def _loop(w: Walk, op: Operation, at: _Nest, written: dict[SSAValue, None], outer: Operation) -> None:
    if isinstance(op, affine.ForOp):
        low = _bound(w, op, op.lowerBoundMap.data, op.lowerBoundOperands, at, np.max)
        high = _bound(w, op, op.upperBoundMap.data, op.upperBoundOperands, at, np.min)
        step, body = int(op.step.value.data), op.body.block
    elif isinstance(op, scf.ForOp):
        low, high, step, body = _number(w, op, op.lb, at), _number(w, op, op.ub, at), int(_number(w, op, op.step, at)[0]), op.body.block
    else:
        raise UnsupportedOpError(f"{w.where(outer)}: {name_of(op)} in a nest is not counted; expected affine.for or scf.for")
    if step < 1:
        raise GraphError(f"{w.where(op)}: step: expected at least 1, got {step}")
    value = body.args[0]
    trips = np.maximum(-(-(high - low) // step), 0)
    if not _needed(body, value):
        same = int(trips[0]) if np.all(trips == trips[0]) else -1
        inner = _Nest((*at.loops, (value, same)), at.points, at.weight, at.times * same) if same >= 0 else _Nest(
            (*at.loops, (value, -1)), at.points, at.weight * np.broadcast_to(trips, at.weight.shape), at.times)
    else:
        full = np.broadcast_to(trips, at.weight.shape)
        if full.sum() > MOST_POINTS:
            raise GraphError(f"{w.where(op)}: bounds depend on loops of {int(full.sum())} steps together; expected at most {MOST_POINTS}")
        offset = np.arange(int(full.sum())) - np.repeat(np.cumsum(full) - full, full)
        points = {v: np.repeat(values, full) for v, values in at.points.items()}
        points[value] = np.repeat(np.broadcast_to(low, full.shape), full) + step * offset
        same = int(full[0]) if len(full) and np.all(full == full[0]) else -1
        inner = _Nest((*at.loops, (value, same)), points, np.repeat(at.weight, full), at.times)
    _body(w, body, inner, written, outer)


def _needed(body: Block, value: SSAValue) -> bool:
    """Whether bounds of an inner loop depend on this one."""
    return any(value in (*inner.lowerBoundOperands, *inner.upperBoundOperands) for inner in body.walk() if isinstance(inner, affine.ForOp)) or any(
        value in (inner.lb, inner.ub) for inner in body.walk() if isinstance(inner, scf.ForOp))


def _bound(w: Walk, op: Operation, m: AffineMap, operands: Any, at: _Nest, least: Any) -> np.ndarray:
    """(points,) values of a bound: the least or greatest of its map's results."""
    values = [_number(w, op, v, at) for v in operands]
    count = max([len(v) for v in values], default=1)
    columns = [np.broadcast_to(v, (count,)) for v in values]
    rows = np.array([m.eval([int(c[i]) for c in columns[:m.num_dims]], [int(c[i]) for c in columns[m.num_dims:]]) for i in range(count)], dtype=np.int64)
    return np.asarray(least(rows, axis=1))


def _number(w: Walk, op: Operation, value: SSAValue, at: _Nest) -> np.ndarray:
    if value in at.points:
        return at.points[value]
    if isinstance(value.owner, arith.ConstantOp) and isinstance(value.owner.value, builtin.IntegerAttr):
        return np.array([value.owner.value.value.data])
    known = w.values.get(value)
    if known is not None and known.number is not None:
        return np.array([int(known.number)])
    raise GraphError(f"{w.where(op)}: a bound depends on a value that is not known; expected constants and outer loops")


def _body(w: Walk, body: Block, at: _Nest, written: dict[SSAValue, None], outer: Operation) -> None:
    times = int(at.weight.sum()) * at.times
    if times == 0:
        return
    cost, loads, stores, calls = 0, list[Operation](), list[Operation](), list[Operation]()
    for op in body.ops:
        w.steps += 1
        name = name_of(op)
        if isinstance(op, (affine.ForOp, scf.ForOp)):
            _loop(w, op, at, written, outer)
        elif name in ("affine.load", "memref.load", "affine.vector_load"):
            loads.append(op)
        elif name in ("affine.store", "memref.store", "affine.vector_store"):
            stores.append(op)
        elif name.endswith((".yield", ".apply")) or name in ("arith.constant", "affine.min", "affine.max"):
            continue
        elif name.startswith(("arith.", "math.")):
            calls += [op] if ARITH.get(name.partition(".")[2], 1) and not isinstance(op.results[0].type, builtin.IndexType) else []
        else:
            raise UnsupportedOpError(f"{w.where(outer)}: {name} in a nest is not counted; expected loads, stores, arithmetic and loops")
    cost = sum(ARITH.get(name_of(op).partition(".")[2], 1) for op in calls)
    if not calls and not stores:
        return
    buffers = dict.fromkeys(op.operands[0] for op in loads)
    for buffer in buffers:
        _elements(w, buffer)
    reads = [w.values[b] for b in buffers if b in w.values]
    target = stores[0].operands[1] if stores else None
    where = target if target is not None else next(iter(buffers), None)
    if where is None:
        return
    _elements(w, where)
    product = _product(at, loads, stores, calls) if len(calls) == 2 else {}
    if product:
        left_right = [w.values[op.operands[0]] for op in loads if op.operands[0] is not target and op.operands[0] in w.values]
        _add(w, outer, "gemm", left_right, where, **product)
    elif not calls:
        _add(w, outer, "move", reads, where, elements=times)
    else:
        _add(w, outer, "elementwise", reads, where, elements=times, cost=max(cost, 1), extra_elements=max(len(loads) - 1, 0) * times)
    written[where] = None


def _elements(w: Walk, buffer: SSAValue) -> None:
    """A buffer that nobody wrote yet is memory of the nest's own: nothing to read."""
    w.values.setdefault(buffer, Held(-1, w.elements(buffer)))


def _add(w: Walk, op: Operation, kind: str, reads: list[Held], where: SSAValue, **sizes: int) -> None:
    kept: dict[SSAValue, Held] = {value: w.values[value] for value in op.results if value in w.values}
    w.add(op, kind, reads, where, name=kind, **sizes)
    w.values.update(kept)


def _product(at: _Nest, loads: list[Operation], stores: list[Operation], calls: list[Operation]) -> dict[str, int]:
    """The product that `c[..] += a[..] * b[..]` is, {} where the statement is something else or a loop's trips vary."""
    names = {name_of(op).partition(".")[2] for op in calls}
    if names not in ({"mulf", "addf"}, {"muli", "addi"}) or len(stores) != 1 or any(trips < 0 for _, trips in at.loops) or at.points:
        return {}
    target = stores[0].operands[1]
    factors = [op for op in loads if op.operands[0] is not target]
    if len(factors) != 2 or len(loads) not in (2, 3):
        return {}
    number = {value: i for i, (value, _) in enumerate(at.loops)}
    sizes = {i: trips for i, (_, trips) in enumerate(at.loops)}
    used = [_along(op, 1, number) for op in factors] + [_along(stores[0], 2, number)]
    form = sides(used, sizes)
    return form if math.prod(form.values()) == math.prod(sizes.values()) else {}


def _along(op: Operation, first: int, number: dict[SSAValue, int]) -> set[int]:
    """Loops that the place of a load or store depends on, through affine.apply too."""
    found, left = set[int](), list(op.operands[first:])
    while left:
        value = left.pop()
        if value in number:
            found.add(number[value])
        elif not isinstance(value, BlockArgument) and isinstance(value.owner, Operation):
            left += value.owner.operands
    return found


# -- outside of loops ---------------------------------------------------------------------------------------------------------------------

def _arith(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    if not isinstance(op.results[0].type, builtin.ShapedType):
        w.alias(op, Held())
    elif not (cost := ARITH.get(name_of(op).partition(".")[2], 1)):
        w.alias(op, ins[0] if ins else Held())
    else:
        w.elementwise(op, ins, cost)


def _constant(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    value, count = op.properties.get("value"), w.elements(op.results[0])
    if isinstance(value, builtin.DenseIntOrFPElementsAttr) and count > 1 and not value.is_splat():
        w.weights(op, count)
    else:
        w.alias(op, Held(number=float(value.value.data) if isinstance(value, builtin.IntegerAttr) else None))


def _nothing(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    w.alias(op, Held())


def _same(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    w.alias(op, ins[0] if ins else Held())


def _move(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    w.move(op, ins)


def _copy(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    w.add(op, "move", ins[:1], op.operands[1], elements=w.elements(op.operands[0]))


_OPS = {op.name for op in (*arith.Arith.operations,)}
RULES: dict[str, Rule] = {
    **dict.fromkeys(_OPS, _arith), **{f"math.{name}": _arith for name in (*ARITH, "absf", "absi", "floor", "ceil", "round", "roundeven", "trunc", "ctpop", "copysign", "rsqrt")},
    "arith.constant": _constant, "affine.for": _nest, "scf.for": _nest,
    **dict.fromkeys(("tensor.empty", "memref.alloc", "memref.alloca", "memref.dealloc", "memref.get_global", "memref.global", "tensor.dim", "memref.dim", "affine.apply"), _nothing),
    **dict.fromkeys(("tensor.cast", "tensor.collapse_shape", "tensor.expand_shape", "tensor.reshape", "memref.cast", "memref.collapse_shape", "memref.expand_shape", "memref.subview",
                     "memref.reinterpret_cast"), _same),
    **dict.fromkeys(("tensor.extract_slice", "tensor.concat", "tensor.insert_slice", "tensor.pad"), _move), "memref.copy": _copy,
}
