"""An operator of a workload as the loop nest a plain C programmer would write: what a core without a tuned library runs.

    nest_of_op(Op.of("fc", "gemm", m=64, n=64, k=64, dtype="float32"))            # naive, in the order i k j
    nest_of_op(op, tile=32)                                                       # gemm: all three loops cut in blocks

Reductions may be reassociated (-ffast-math), as inference code is compiled. Formats without arithmetic of their own on a core (bfloat16, int4, float8, ...) are an error, not a guess.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .dtypes import BITS
from .errors import UnsupportedOpError
from .loopnest import Access, Loop, LoopNest, Statement
from .ops import Op

#: formats every core of the catalogue computes, lane by lane
FORMATS = ("float64", "float32", "int32", "int64")


def nest_of_op(op: Op, tile: int = 0) -> LoopNest:
    """The nest of an op; `tile` cuts the loops of a gemm (0: naive; other kinds ignore it). Bias and fused functions are left out.

    Raises UnsupportedOpError for a kind or a format that has no such nest, naming those that have.
    """
    if op.kind not in NESTS:
        raise UnsupportedOpError(f"op {op.name!r}: a {op.kind} has no plain loop nest; those that have: {', '.join(NESTS)}")
    if op.dtype not in FORMATS:
        raise UnsupportedOpError(f"op {op.name!r}: {op.dtype} is not computed lane by lane by the cores modelled; expected {', '.join(FORMATS)}")
    return NESTS[op.kind](op, BITS[op.dtype] // 8, tile)


def _arithmetic(op: Op, **ops: int) -> dict[str, Any]:
    """The counts of a statement; integer formats on integer units."""
    return {"int_ops": sum(n * (2 if name == "fma" else 1) for name, n in ops.items())} if op.dtype.startswith("int") else ops


def _reduction(op: Op) -> dict[str, Any]:
    return {"carried": "int" if op.dtype.startswith("int") else "fma", "reassociable": True}


def _gemm(op: Op, size: int, tile: int) -> LoopNest:
    d = op.dims
    lengths = {"b": d["b"], "i": d["m"], "k": d["k"], "j": d["n"]}
    m, n, k = d["m"], d["n"], d["k"]
    steps = {"A": {"b": m * k, "i": k, "k": 1, "j": 0}, "B": {"b": k * n, "i": 0, "k": n, "j": 1}, "C": {"b": m * n, "i": n, "k": 0, "j": 1}}
    turns = [("b", d["b"], 1)]
    if tile:
        turns += [(o.upper(), -(-lengths[o] // tile), tile) for o in "ikj"]
    turns += [(o, min(tile, lengths[o]) if tile else lengths[o], 1) for o in "ikj"]
    acc = tuple(Access(a, tuple(steps[a][o.lower()] * by * size for o, _, by in turns), w, size) for a, w in (("A", False), ("B", False), ("C", False), ("C", True)))
    return LoopNest(op.name, tuple(Loop(o, t) for o, t, _ in turns), (Statement(len(turns), acc, **_arithmetic(op, fma=1)),), family="gemm")


def _conv(op: Op, size: int, tile: int) -> LoopNest:
    d = op.dims
    groups, cin, cout = d["groups"], d["in_channels"] // d["groups"], d["out_channels"] // d["groups"]
    plane, out, window = d["in_h"] * d["in_w"], d["out_h"] * d["out_w"], d["kernel_h"] * d["kernel_w"]
    loops = (("n", d["batch"]), ("g", groups), ("co", cout), ("oh", d["out_h"]), ("ow", d["out_w"]), ("ci", cin), ("kh", d["kernel_h"]), ("kw", d["kernel_w"]))
    x = (groups * cin * plane, cin * plane, 0, d["stride_h"] * d["in_w"], d["stride_w"], plane, d["in_w"], 1)
    w = (0, cout * cin * window, cin * window, 0, 0, window, d["kernel_w"], 1)
    y = (groups * cout * out, cout * out, out, d["out_w"], 1, 0, 0, 0)
    acc = tuple(Access(a, tuple(s * size for s in steps), write, size) for a, steps, write in (("x", x, False), ("w", w, False), ("y", y, True)))
    statement = Statement(8, acc, **_arithmetic(op, fma=1), **_reduction(op))
    return LoopNest(op.name, tuple(Loop(a, t) for a, t in loops), (statement,), family="conv")


def _elementwise(op: Op, size: int, tile: int) -> LoopNest:
    d = op.dims
    acc = [Access("x", (size,), False, size), Access("y", (size,), True, size)]
    if d["extra_elements"] >= d["elements"]:
        acc.insert(1, Access("z", (size,), False, size))
    return LoopNest(op.name, (Loop("i", d["elements"]),), (Statement(1, tuple(acc), **_arithmetic(op, add=d["cost"])),), family="elementwise")


def _move(op: Op, size: int, tile: int) -> LoopNest:
    acc = (Access("x", (size,), False, size), Access("y", (size,), True, size))
    return LoopNest(op.name, (Loop("i", op.dims["elements"]),), (Statement(1, acc),), family="move")


def _reduce(op: Op, size: int, tile: int) -> LoopNest:
    d = op.dims
    acc = (Access("x", (d["cols"] * size, size), False, size), Access("y", (size, 0), True, size))
    carried = "int" if op.dtype.startswith("int") else "add"
    return LoopNest(op.name, (Loop("r", d["rows"]), Loop("c", d["cols"])), (Statement(2, acc, **_arithmetic(op, add=1), carried=carried, reassociable=True),), family="reduce")


def _pool(op: Op, size: int, tile: int) -> LoopNest:
    d = op.dims
    plane, out = d["in_h"] * d["in_w"], d["out_h"] * d["out_w"]
    loops = (("n", d["batch"]), ("c", d["channels"]), ("oh", d["out_h"]), ("ow", d["out_w"]), ("kh", d["kernel_h"]), ("kw", d["kernel_w"]))
    x = (d["channels"] * plane, plane, d["stride_h"] * d["in_w"], d["stride_w"], d["in_w"], 1)
    y = (d["channels"] * out, out, d["out_w"], 1, 0, 0)
    acc = tuple(Access(a, tuple(s * size for s in steps), write, size) for a, steps, write in (("x", x, False), ("y", y, True)))
    carried = "int" if op.dtype.startswith("int") else "add"
    return LoopNest(op.name, tuple(Loop(a, t) for a, t in loops), (Statement(6, acc, **_arithmetic(op, add=1), carried=carried, reassociable=True),), family="pool")


#: kind -> its nest; the others need exponentials, gathers or several passes
NESTS: dict[str, Callable[[Op, int, int], LoopNest]] = {"gemm": _gemm, "conv": _conv, "elementwise": _elementwise, "move": _move, "reduce": _reduce, "pool": _pool}
