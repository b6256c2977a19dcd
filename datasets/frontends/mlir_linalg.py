"""linalg (https://mlir.llvm.org/docs/Dialects/Linalg): named operations by their names and shapes, generic ones by maps and body."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from xdsl.dialects import builtin
from xdsl.ir import Operation, SSAValue
from xdsl.ir.affine import AffineDimExpr, AffineMap

from ..errors import GraphError
from ..ops import ELEMENTWISE_COST
from .mlir_graph import Held, Rule, Walk, costs_inside
from .mlir_text import name_of

_E = ELEMENTWISE_COST
#: arithmetic of arith and math -> operations on each element; a name that is not here counts one
ARITH: dict[str, int] = {
    **dict.fromkeys(("divf", "divsi", "divui", "remf", "remsi", "remui", "sqrt", "rsqrt", "cbrt"), _E["div"]), **dict.fromkeys(("exp", "exp2", "expm1", "log", "log2", "log10", "log1p"), _E["exp"]),
    **dict.fromkeys(("sin", "cos"), _E["sin"]), "tanh": _E["tanh"], "erf": _E["erf"], "powf": _E["pow"], "fpowi": _E["pow"], **dict.fromkeys(("tan", "atan", "atan2"), _E["tanh"]), "fma": 2,
    "index_cast": 0, "index_castui": 0, "bitcast": 0, "constant": 0,
}
#: named elementwise operations of linalg -> operations on each element
NAMED: dict[str, int] = {
    **dict.fromkeys(("add", "sub", "mul", "max", "min", "abs", "negf", "ceil", "floor", "round", "square", "select", "map"), 1), **dict.fromkeys(("div", "div_unsigned", "sqrt", "rsqrt", "reciprocal"), _E["div"]),
    **dict.fromkeys(("exp", "log"), _E["exp"]), "tanh": _E["tanh"], "erf": _E["erf"], "powf": _E["pow"],
}
PRODUCTS = ("matmul", "quantized_matmul", "batch_matmul", "quantized_batch_matmul", "matvec", "batch_matvec", "vecmat", "batch_vecmat", "dot", "matmul_transpose_a", "matmul_transpose_b",
            "batch_matmul_transpose_a", "batch_matmul_transpose_b", "batch_reduce_matmul")


def _outs(w: Walk, op: Operation, at: int = -1) -> SSAValue:
    """Where the operation writes: its result, or the buffer it is given."""
    return op.results[0] if op.results else op.operands[at]


def _write(op: Operation) -> SSAValue | None:
    return None if op.results else op.operands[-1]


def product(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    """A named product: b, m, n and k follow from how many elements its three matrices have."""
    a, b, c = (w.elements(v) for v in (*op.operands[:2], _outs(w, op)))
    name = name_of(op)
    batch = w.shape(op.operands[0])[0] if "batch_" in name and "reduce" not in name else 1
    k = a // max(w.shape(_outs(w, op))[0], 1) if "batch_reduce" in name else math.isqrt(a * b // max(c * batch, 1))
    m, n = a // max(batch * k, 1), b // max(batch * k, 1)
    if min(batch, m, n, k) < 1 or batch * m * k != a or batch * n * k != b or batch * m * n != c:
        raise GraphError(f"{w.where(op)}: {w.shape(op.operands[0])}, {w.shape(op.operands[1])} and {w.shape(_outs(w, op))} are no product")
    w.add(op, "gemm", ins[:2], _write(op), b=batch, m=m, n=n, k=k)


def _convolution(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    name = name_of(op).partition(".")[2]
    x, kernel, out = (w.shape(v) for v in (*op.operands[:2], _outs(w, op)))
    layouts = re.findall(r"_([nchwdgf]+)(?=_|$)", re.sub(r"_q$", "", name))
    plain_rank = len(x)
    letters = layouts if len(layouts) == 2 else ["hw"[-plain_rank:] if plain_rank <= 2 else "dhw"] * 2
    if len(letters[0]) != len(x) or len(letters[1]) != len(kernel):
        raise GraphError(f"{w.where(op)}: an input of shape {x} and a kernel of {kernel} do not fit the layout {'_'.join(letters)}")
    image, taps, made = dict(zip(letters[0], x, strict=True)), dict(zip(letters[1], kernel, strict=True)), dict(zip(letters[0], out[:len(x)], strict=False))
    own = name.startswith("depthwise")
    groups = image.get("c", 1) if own else image.get("g", 1)
    made_all = math.prod(out)
    batch = image.get("n", 1)
    space = {d: (image[d], made[d], taps[d]) for d in "dhw" if d in image}
    channels = made_all // max(batch * math.prod(s[1] for s in space.values()), 1)
    deep = [space[d] for d in "dh" if d in space]
    wide = space.get("w", (1, 1, 1))
    strides = said.get("strides")
    steps = [int(n) for n in strides.get_values()] if isinstance(strides, builtin.DenseIntOrFPElementsAttr) else strides if isinstance(strides, list) else []
    step = int(steps[-1]) if steps else 1
    w.add(op, "conv", ins[:2], _write(op), batch=batch, in_channels=image.get("c", 1) * image.get("g", 1), in_h=math.prod(s[0] for s in deep), in_w=wide[0], out_channels=channels,
          out_h=math.prod(s[1] for s in deep), out_w=wide[1], kernel_h=math.prod(s[2] for s in deep), kernel_w=wide[2], groups=groups, stride_h=step, stride_w=step)


def _pool(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    x, window, out = (w.shape(v) for v in (*op.operands[:2], _outs(w, op)))
    found = re.search(r"pooling_([nchwd]+)_", name_of(op))
    letters = found.group(1) if found else ""
    if len(letters) != len(x) or len(x) != len(out):
        raise GraphError(f"{w.where(op)}: an input of shape {x} does not fit the layout {letters!r}")
    image, made = dict(zip(letters, x, strict=True)), dict(zip(letters, out, strict=True))
    space = [d for d in "dhw" if d in image]
    *deep, wide = space
    w.add(op, "pool", ins[:1], _write(op), batch=image.get("n", 1), channels=image.get("c", 1), in_h=math.prod(image[d] for d in deep), in_w=image[wide],
          out_h=math.prod(made[d] for d in deep), out_w=made[wide], kernel_h=math.prod(window[:-1]), kernel_w=window[-1])


def _elementwise(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    w.elementwise(op, ins[:-1], NAMED[name_of(op).partition(".")[2]], _outs(w, op))


def _move(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    w.add(op, "move", ins[:1], _write(op), elements=w.elements(_outs(w, op)))


def _source(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    if op.results:
        w.alias(op, ins[0] if ins else Held())


def _fill(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    if op.results:
        w.alias(op, Held())
    else:
        w.values[op.operands[-1]] = Held()


def _reduce(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    taken, made = w.elements(op.operands[0]), w.elements(_outs(w, op))
    w.add(op, "reduce", ins[:1], _write(op), rows=made, cols=max(taken // max(made, 1), 1))


# -- generic ------------------------------------------------------------------------------------------------------------------------------

def sides(maps: Sequence[set[int]], sizes: Mapping[int, int]) -> dict[str, int]:
    """b, m, n and k of a contraction whose two operands and result run along these dimensions (sets of their numbers) of these sizes."""
    left, right, made = maps

    def extent(dims: set[int]) -> int:
        return math.prod(sizes[d] for d in dims)

    return {"b": extent(left & right & made), "m": extent((left - right) & made), "n": extent((right - left) & made), "k": extent((left & right) - made)}


def _generic(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    maps = [a.data for a in op.properties["indexing_maps"].data]  # type: ignore[attr-defined]
    kinds = [str(a.data) for a in op.properties["iterator_types"].data]  # type: ignore[attr-defined]
    sizes = _extents(w, op, maps)
    made = w.elements(_outs(w, op))
    total = math.prod(sizes.values())
    cost, names = costs_inside(op, ARITH)
    count = len(op.operands) - (len(op.results) or 1)
    out = None if op.results else op.operands[-1]
    reads = ins[:count]
    if {name.partition(".")[2] for name in names} <= {"mulf", "addf", "muli", "addi", "extf", "extsi", "extui", "truncf", "sitofp", "fma"} and count == 2 and "reduction" in kinds and any(
            "mul" in name or "fma" in name for name in names) and (form := _contraction(maps, sizes, total, kinds)):
        w.add(op, "gemm", reads, out, "", **form)
    elif cost == 0:
        w.add(op, "move", reads, out, elements=total)
    elif cost == 1 and "reduction" in kinds and total % made == 0:
        w.add(op, "reduce", reads, out, rows=made, cols=total // made)
    else:
        extra = max(sum(h.elements for h in reads) - total, 0)
        w.add(op, "elementwise", reads, out, elements=total, cost=cost, extra_elements=extra)


def _contraction(maps: Sequence[AffineMap], sizes: Mapping[int, int], total: int, kinds: Sequence[str]) -> dict[str, int]:
    """The product a multiply-and-add over these maps is; windows (d0 + d3) fold their offsets into k as an unrolled convolution does. {} where it is none."""
    used = [{d for d in sizes if any(expr.is_function_of_dim(AffineDimExpr(d)) if hasattr(expr, "is_function_of_dim") else _mentions(expr, d) for expr in m.results)} for m in maps[:3]]
    plain_form = sides(used, sizes)
    if math.prod(plain_form.values()) == total:
        return plain_form
    inside = math.prod(n for d, n in sizes.items() if kinds[d] == "reduction")
    columns = math.prod(n for d, n in sizes.items() if kinds[d] != "reduction" and d in used[1] and d not in used[0])
    return {"b": 1, "m": total // (inside * columns), "n": columns, "k": inside}


def _mentions(expr: Any, dim: int) -> bool:
    return any(isinstance(e, AffineDimExpr) and e.position == dim for e in expr.dfs())


def _extents(w: Walk, op: Operation, maps: Sequence[AffineMap]) -> dict[int, int]:
    """Sizes of the loops: each is the size of an axis that a map indexes by it alone. Raises GraphError when one is given nowhere or twice."""
    sizes: dict[int, int] = {}
    for m, value in zip(maps, op.operands, strict=True):
        shape = w.shape(value)
        if len(shape) != len(m.results) and shape:
            raise GraphError(f"{w.where(op)}: a map with {len(m.results)} results for an operand of shape {shape}")
        for expr, size in zip(m.results, shape, strict=False):
            if isinstance(expr, AffineDimExpr) and sizes.setdefault(expr.position, size) != size:
                raise GraphError(f"{w.where(op)}: loop d{expr.position} has {sizes[expr.position]} and {size} steps")
    missing = set(range(maps[0].num_dims)) - set(sizes)
    if missing:
        raise GraphError(f"{w.where(op)}: loops {', '.join(f'd{d}' for d in sorted(missing))} have no size: no operand is indexed by them alone")
    return dict(sorted(sizes.items()))


_CONVOLUTIONS = [f"{own}conv_{n}d{layout}{q}" for own in ("", "depthwise_") for n, layouts in {
    1: ("", "_ncw_fcw", "_nwc_wcf", "_nwc_wc", "_ncw_cw", "_nwc_wcm"), 2: ("", "_nchw_fchw", "_nhwc_hwcf", "_nhwc_fhwc", "_ngchw_fgchw", "_ngchw_gfchw", "_nhwgc_gfhwc", "_nhwc_hwc", "_nchw_chw", "_nhwc_hwcm"),
    3: ("", "_ncdhw_fcdhw", "_ndhwc_dhwcf", "_ndhwc_dhwc", "_ncdhw_cdhw", "_ndhwc_dhwcm")}.items() for layout in layouts for q in ("", "_q")]
_POOLS = [f"pooling_{layout}_{how}" for layout in ("nhwc", "nchw", "nwc", "ncw", "ndhwc") for how in ("sum", "max", "min", "max_unsigned", "min_unsigned")]
RULES: dict[str, Rule] = {f"linalg.{name}": rule for names, rule in ((PRODUCTS, product), (_CONVOLUTIONS, _convolution), (_POOLS, _pool), (NAMED, _elementwise), (("copy", "transpose"), _move),
                                                                     (("broadcast",), _source), (("fill", "fill_rng_2d"), _fill), (("reduce",), _reduce), (("generic",), _generic)) for name in names}
