"""StableHLO and CHLO (https://openxla.org/stablehlo/spec): what work each operation is."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from xdsl.dialects import builtin
from xdsl.ir import Operation

from ..errors import GraphError, UnsupportedOpError
from ..ops import ELEMENTWISE_COST
from .mlir_graph import Held, Rule, Walk, costs_inside
from .mlir_text import name_of

_E = ELEMENTWISE_COST
#: elementwise operation -> operations on each element
COSTS: dict[str, int] = {
    **dict.fromkeys(("add", "subtract", "multiply", "maximum", "minimum", "and", "or", "xor", "not", "negate", "abs", "sign", "shift_left", "shift_right_logical",
                     "shift_right_arithmetic", "floor", "ceil", "round_nearest_afz", "round_nearest_even", "is_finite", "popcnt", "count_leading_zeros", "real", "imag", "complex",
                     "compare", "select", "convert", "square", "is_inf", "is_pos_inf", "is_neg_inf", "conj", "reduce_precision"), 1),
    **dict.fromkeys(("divide", "remainder", "sqrt", "rsqrt", "cbrt"), _E["div"]), **dict.fromkeys(("exponential", "exponential_minus_one", "log", "log_plus_one"), _E["exp"]),
    **dict.fromkeys(("sine", "cosine"), _E["sin"]), "clamp": _E["clip"], "logistic": _E["sigmoid"], "tanh": _E["tanh"], "erf": _E["erf"], "power": _E["pow"],
    **dict.fromkeys(("tan", "atan2", "erf_inv", "erfc", "lgamma", "digamma", "sinh", "cosh", "asin", "acos", "atan", "asinh", "acosh", "atanh"), _E["tanh"]),
    # random bits: Threefry-2x32 runs twenty rounds of an addition, a rotation and an exclusive or on each word (Salmon et al., SC 2011, section 3.2)
    **dict.fromkeys(("rng", "rng_bit_generator"), 60),
}
_FOLD: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b, "subtract": lambda a, b: a - b, "multiply": lambda a, b: a * b, "divide": lambda a, b: int(a / b) if b else 0, "remainder": lambda a, b: math.fmod(a, b) if b else 0,
    "maximum": max, "minimum": min, "and": lambda a, b: int(a) & int(b), "or": lambda a, b: int(a) | int(b), "not": lambda a: 1 - a, "negate": lambda a: -a, "convert": lambda a: a,
    "select": lambda c, a, b: a if c else b,
}
_COMPARE: dict[str, Callable[[float, float], bool]] = {"LT": lambda a, b: a < b, "LE": lambda a, b: a <= b, "GT": lambda a, b: a > b, "GE": lambda a, b: a >= b,
                                                       "EQ": lambda a, b: a == b, "NE": lambda a, b: a != b}
#: calls out of the compiler that only mark
MARKS = ("Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape", "annotate_device_placement", "LayoutConstraint")


def _elementwise(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    short = name_of(op).partition(".")[2]
    numbers = [h.number for h in ins if h.number is not None]
    if not w.shape(op.results[0]) and len(numbers) == len(ins) and (short in _FOLD or short == "compare"):
        fold = _COMPARE[_direction(said)] if short == "compare" else _FOLD[short]
        w.alias(op, Held(number=float(fold(*numbers))))
        return
    w.elementwise(op, ins, COSTS[short])


def _direction(said: dict[str, Any]) -> str:
    words = said.get("words") or re.findall(r"\b[A-Z]{2}\b", str(said.get("comparison_direction")))
    return next((word for word in words if word in _COMPARE), "EQ")


def _constant(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    value, count = op.properties.get("value", op.attributes.get("value")), w.elements(op.results[0])
    splat = not isinstance(value, builtin.DenseIntOrFPElementsAttr) or value.is_splat()
    if count > 1 and not splat:
        w.weights(op, count)
        return
    number = None
    if isinstance(value, builtin.DenseIntOrFPElementsAttr) and count == 1 and isinstance(value.get_element_type(), (builtin.IntegerType, builtin.IndexType)):
        number = float(next(iter(value.get_values())))
    elif isinstance(value, builtin.IntegerAttr):
        number = float(value.value.data)
    w.alias(op, Held(number=number))


def _alias(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    w.alias(op, ins[0] if ins else Held())


def _transpose(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    if ins[0].constant >= 0 or ins[0].tensor < 0:
        w.alias(op, ins[0])  # stored the other way round
    else:
        w.move(op, ins)


def _move(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    w.move(op, ins)


def _update(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    w.move(op, ins, w.elements(op.operands[1]))


def _dot(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    left, right = (w.shape(v) for v in op.operands[:2])
    if "dot_dimension_numbers" in said:
        text = str(said["dot_dimension_numbers"])

        def numbers(key: str) -> list[int]:
            found = re.search(rf"{key}\s*=\s*\[([\d,\s]*)\]", text)
            return [int(n) for n in found.group(1).split(",") if n.strip()] if found else []

        batch, depth = (numbers("lhs_batching_dimensions"), numbers("rhs_batching_dimensions")), (numbers("lhs_contracting_dimensions"), numbers("rhs_contracting_dimensions"))
    else:
        batch, depth = said.get("batching_dims", [[], []]), said.get("contracting_dims", [[], []] if name_of(op).endswith("general") else [[len(left) - 1], [0]])
    try:
        b, k = math.prod(left[i] for i in batch[0]), math.prod(left[i] for i in depth[0])
        fits = [left[i] for i in (*batch[0], *depth[0])] == [right[i] for i in (*batch[1], *depth[1])]
    except (IndexError, TypeError):
        fits = False
    if not fits:
        raise GraphError(f"{w.where(op)}: {left} and {right} do not contract over {depth} with batches {batch}")
    w.add(op, "gemm", ins, b=b, m=math.prod(left) // max(b * k, 1), n=math.prod(right) // max(b * k, 1), k=k)


def _convolution(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    numbers = said.get("dim_numbers")
    if not isinstance(numbers, list):
        numbers = [re.split(r"\s*,\s*", part) for part in re.findall(r"\[([^\]]*)\]", str(said.get("dimension_numbers", "")))]
    if len(numbers) != 3:
        raise GraphError(f"{w.where(op)}: dim_numbers: expected three lists, got {numbers!r}")
    shapes = [dict(zip(map(str, names), w.shape(v), strict=False)) for names, v in zip(numbers, (*op.operands[:2], op.results[0]), strict=True)]
    x, kernel, out = shapes
    groups = int(said.get("feature_group_count", 1))
    space = sorted(d for d in x if d.isdigit())
    slid = said.get("window")
    window: dict[str, Any] = slid if isinstance(slid, dict) else {}
    dilated = window.get("lhs_dilate") or said.get("lhs_dilation") or []
    if not space or not {"b", "f"} <= set(x) or not {"i", "o"} <= set(kernel) or groups < 1:
        raise GraphError(f"{w.where(op)}: dim_numbers {numbers!r} do not name batch, features and space")
    taps = math.prod(kernel[d] for d in space)
    if isinstance(dilated, list) and any(d != 1 for d in dilated):  # a transposed convolution: every pixel of the input meets every weight once
        w.add(op, "gemm", ins, b=groups, m=x["b"] * math.prod(x[d] for d in space), n=taps * kernel["o"] // groups, k=kernel["i"])
        return
    *deep, wide = space
    steps = window.get("stride") or said.get("window_strides")
    steps = [int(n) for n in steps] if isinstance(steps, list) and len(steps) == len(space) else [1] * len(space)
    w.add(op, "conv", ins, batch=x["b"], in_channels=x["f"], in_h=math.prod(x[d] for d in deep), in_w=x[wide], out_channels=kernel["o"], out_h=math.prod(out[d] for d in deep),
          out_w=out[wide], kernel_h=math.prod(kernel[d] for d in deep), kernel_w=kernel[wide], groups=groups, stride_h=max(steps[-2] if deep else 1, 1),
          stride_w=max(steps[-1], 1))


def _reduce(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    taken, count = w.elements(op.operands[0]), w.elements(op.results[0])
    cost = 1 if "applies" in said else costs_inside(op, COSTS)[0]
    if cost == 1 and taken % max(count, 1) == 0:
        w.add(op, "reduce", ins, rows=count, cols=taken // count)
    else:
        w.add(op, "elementwise", ins, elements=taken, cost=max(cost, 1))


def _reduce_window(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    x, out = w.shape(op.operands[0]), w.shape(op.results[0])
    window = said.get("window_dimensions")
    if not isinstance(window, list) or len(window) != len(x):
        raise GraphError(f"{w.where(op)}: window_dimensions: expected one size for each of {len(x)} axes, got {window!r}")
    slid = [i for i, size in enumerate(window) if size > 1]
    if len(slid) > 2:
        w.add(op, "elementwise", ins, elements=math.prod(out), cost=math.prod(window))
        return
    h, v = ([-1, -1, *slid])[-2:]
    steps = said.get("window_strides")
    steps = steps if isinstance(steps, list) and len(steps) == len(x) else [1] * len(x)
    size = {-1: (1, 1, 1, 1), **{i: (x[i], out[i], window[i], int(steps[i])) for i in slid}}
    w.add(op, "pool", ins, batch=1, channels=math.prod(n for i, n in enumerate(x) if i not in slid), in_h=size[h][0], in_w=size[v][0], out_h=size[h][1], out_w=size[v][1],
          kernel_h=size[h][2], kernel_w=size[v][2], stride_h=size[h][3], stride_w=size[v][3])


def _gather(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    width = math.prod(int(n) for n in said.get("slice_sizes") or [1])
    total = w.elements(op.results[0])
    w.add(op, "gather", ins, rows=max(total // max(width, 1), 1), width=max(width, 1), table_rows=max(w.elements(op.operands[0]) // max(width, 1), 1))


def _scatter(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    count = w.elements(op.operands[-1])
    cost = costs_inside(op, COSTS)[0]
    if cost:
        w.add(op, "elementwise", ins, elements=count, cost=cost, extra_elements=count)
    else:
        w.move(op, ins, count)


def _sort(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    shape = w.shape(op.operands[0])
    axis = said.get("dimension", -1)
    length = shape[axis] if shape and isinstance(axis, int) and -len(shape) <= axis < len(shape) else 1
    w.add(op, "elementwise", ins, elements=math.prod(shape), cost=max(math.ceil(math.log2(max(length, 2))), 1))  # n log2(n) comparisons


def _call(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    for value, held in zip(op.results, w.call(str(said.get("callee", "")).removeprefix("@"), ins), strict=True):
        w.values[value] = held


def _composite(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    for value, held in zip(op.results, w.call(str(said.get("decomposition", "")).removeprefix("@"), ins), strict=True):
        w.values[value] = held


def _custom_call(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    target = str(said.get("symbol") or said.get("call_target_name") or "")
    if target in MARKS:
        w.alias(op, ins[0] if ins else Held())
    elif target in ("mhlo.erf", "chlo.erf", "mhlo.tan", "mhlo.topk", "chlo.top_k"):
        w.elementwise(op, ins, _E["erf"]) if "top" not in target else _sort(w, op, said, ins)
    elif not w.bound:
        raise UnsupportedOpError(f"{w.where(op)}: {target!r} is code outside the module and not counted; --unknown-ops bound bounds it by its traffic")
    else:
        w.add(op, "bound", ins, name=f"custom_call.{target}", input_elements=max(sum(h.elements for h in ins), 1), output_elements=max(sum(map(w.elements, op.results)), 1))


def _while(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    cond, body = (region.block for region in op.regions)
    held, left = list(ins), w.trips
    while True:
        (go,) = w.run(cond, held) or [Held()]
        if go.number is None:
            if left <= 0:
                if w.trips:
                    break
                raise GraphError(f"{w.where(op)}: how often it runs depends on data; give it: --dim trips=10")
            left -= 1
        elif not go.number:
            break
        held = w.run(body, held)
        if len(held) != len(ins):
            raise GraphError(f"{w.where(op)}: its body hands out {len(held)} values of {len(ins)}")
    for value, h in zip(op.results, held, strict=True):
        w.values[value] = h


def _branch(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    if ins[0].number is None:
        raise UnsupportedOpError(f"{w.where(op)}: which branch runs depends on data; it is not counted")
    at = int(ins[0].number) if name_of(op).endswith("case") else int(not ins[0].number)
    region = op.regions[min(max(at, 0), len(op.regions) - 1)]
    for value, held in zip(op.results, w.run(region.block, []), strict=True):
        w.values[value] = held


def _collective(kind: str) -> Rule:
    def rule(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
        if kind == "send":
            w.add(op, kind, ins, elements=w.elements(op.operands[0]))
            return
        groups = said.get("replica_groups")
        ranks = list(groups.type.get_shape())[-1] if isinstance(groups, builtin.DenseIntOrFPElementsAttr) else 0
        if ranks < 1:
            raise GraphError(f"{w.where(op)}: replica_groups: expected a table of ranks, got {groups!r}")
        w.add(op, kind, ins, elements=w.elements(op.operands[0]), ranks=ranks)
    return rule


def _nothing(w: Walk, op: Operation, said: dict[str, Any], ins: list[Held]) -> None:
    w.alias(op, Held())


#: short name -> rule, the same in both dialects
_SHORT: dict[str, Rule] = {
    **dict.fromkeys(COSTS, _elementwise), "constant": _constant, "iota": _nothing, "create_token": _nothing, "after_all": _nothing, "partition_id": _nothing, "replica_id": _nothing,
    **dict.fromkeys(("reshape", "broadcast_in_dim", "broadcast", "bitcast_convert", "optimization_barrier", "get_tuple_element", "tuple"), _alias),
    "transpose": _transpose, **dict.fromkeys(("slice", "concatenate", "pad", "reverse", "dynamic_slice", "real_dynamic_slice"), _move), "dynamic_update_slice": _update,
    "dot_general": _dot, "dot": _dot, "convolution": _convolution, "reduce": _reduce, "reduce_window": _reduce_window, "gather": _gather, "torch_index_select": _gather,
    "scatter": _scatter, "select_and_scatter": _scatter, "sort": _sort, "top_k": _sort, "custom_call": _custom_call, "composite": _composite, "while": _while, "if": _branch, "case": _branch,
    "all_reduce": _collective("all_reduce"), "all_gather": _collective("all_gather"), "reduce_scatter": _collective("reduce_scatter"), "all_to_all": _collective("all_to_all"),
    "collective_broadcast": _collective("broadcast"), "collective_permute": _collective("send"),
}
RULES: dict[str, Rule] = {f"{dialect}.{short}": rule for dialect in ("stablehlo", "chlo", "mhlo") for short, rule in _SHORT.items()} | {"func.call": _call, "sdy.sharding_constraint": _alias}
