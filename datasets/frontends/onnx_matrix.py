"""ONNX operators that run on a matrix unit, as canonical ops: convolution, matrix product, recurrence, attention."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from ..errors import GraphError, UnsupportedOpError
from .onnx_site import Lowered, Site, fold_depth

#: op -> (input index of the activation, of the weight, of the bias)
OPERANDS: dict[str, tuple[int, int, int]] = {
    "Conv": (0, 1, 2), "ConvTranspose": (0, 1, 2), "ConvInteger": (0, 1, 99), "QLinearConv": (0, 3, 8),
    "MatMul": (0, 1, 99), "MatMulInteger": (0, 1, 99), "QLinearMatMul": (0, 3, 99), "Gemm": (0, 1, 2), "Einsum": (0, 1, 99),
}


def _conv(s: Site) -> Lowered:
    a, w, b = OPERANDS[s.node.op]
    x, weight, out = s.shape(a), s.shape(w), s.out_shape()
    in_h, in_w = fold_depth(x[2:])
    out_h, out_w = fold_depth(out[2:])
    kernel_h, kernel_w = fold_depth(weight[2:])
    stride_h, stride_w = fold_depth(s.attr("strides", [1] * (len(x) - 2)))
    groups = s.attr("group", 1)
    if x[1] != weight[1] * groups or out[1] != weight[0]:
        raise GraphError(f"{s.node.where}: weights of shape {weight} in {groups} groups do not fit an input of shape {x}")
    return Lowered("conv", {"batch": x[0], "in_channels": x[1], "in_h": in_h, "in_w": in_w, "out_channels": out[1], "out_h": out_h, "out_w": out_w,
                            "kernel_h": kernel_h, "kernel_w": kernel_w, "stride_h": stride_h, "stride_w": stride_w, "groups": groups,
                            "bias": int(s.has(b))}, a, w)


def _conv_transpose(s: Site) -> Lowered:
    """Every input pixel meets every weight once. With the stride dividing the kernel this is exactly a convolution to
    stride-squared times the channels at the input's resolution (sub-pixel form); otherwise a product whose columns are folded back."""
    x, weight = s.shape(0), s.shape(1)
    groups = s.attr("group", 1)
    strides = list(s.attr("strides", [1] * (len(x) - 2)))
    kernel = weight[2:]
    if x[1] != weight[0]:
        raise GraphError(f"{s.node.where}: weights of shape {weight} do not fit an input of shape {x}")
    if all(k % t == 0 for k, t in zip(kernel, strides, strict=True)):
        in_h, in_w = fold_depth(x[2:])
        kernel_h, kernel_w = fold_depth([k // t for k, t in zip(kernel, strides, strict=True)])
        return Lowered("conv", {"batch": x[0], "in_channels": x[1], "in_h": in_h, "in_w": in_w, "out_channels": weight[1] * groups * prod(strides),
                                "out_h": in_h, "out_w": in_w, "kernel_h": kernel_h, "kernel_w": kernel_w, "groups": groups, "bias": int(s.has(2))}, 0, 1)
    return Lowered("gemm", {"b": groups, "m": x[0] * prod(x[2:]), "n": weight[1] * prod(kernel), "k": x[1] // groups}, 0, 1)


def product(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[dict[str, int], bool]:
    """(gemm sizes, operands swapped) of NumPy's matmul rule. A stack against one matrix is one tall product."""
    left = a if len(a) > 1 else (1, *a)
    right = b if len(b) > 1 else (*b, 1)
    m, k, n = left[-2], left[-1], right[-1]
    if right[-2] != k:
        raise GraphError(f"cannot multiply shapes {a} and {b}")
    rank = max(len(left), len(right)) - 2
    stack_a = (1,) * (rank - len(left) + 2) + left[:-2]
    stack_b = (1,) * (rank - len(right) + 2) + right[:-2]
    stacks = [max(p, q) if min(p, q) else 0 for p, q in zip(stack_a, stack_b, strict=True)]
    if prod(stack_b) == 1:
        return {"b": 1, "m": prod(stacks) * m, "n": n, "k": k}, False
    if prod(stack_a) == 1:
        return {"b": 1, "m": prod(stacks) * n, "n": m, "k": k}, True
    return {"b": prod(stacks), "m": m, "n": n, "k": k}, False


def _matmul(s: Site) -> Lowered:
    a, w, _ = OPERANDS[s.node.op]
    sizes, swapped = product(s.shape(a), s.shape(w))
    if sizes["b"] == 1 and s.is_const(a) and not swapped:  # the constant is the weight, on whichever side it stands
        sizes, swapped = {"b": 1, "m": sizes["n"], "n": sizes["m"], "k": sizes["k"]}, True
    return Lowered("gemm", sizes, w if swapped else a, a if swapped else w)


def _gemm(s: Site) -> Lowered:
    a, b = s.shape(0), s.shape(1)
    if len(a) != 2 or len(b) != 2:
        raise GraphError(f"{s.node.where}: expected two matrices, got shapes {a} and {b}")
    m, k = a[::-1] if s.attr("transA", 0) else a
    inner, n = b[::-1] if s.attr("transB", 0) else b
    if inner != k:
        raise GraphError(f"{s.node.where}: cannot multiply {m}x{k} by {inner}x{n}")
    return Lowered("gemm", {"m": m, "n": n, "k": k, "bias": int(s.has(2))}, 0, 1)


def _einsum(s: Site) -> Lowered:
    """Two operands: letters in both and in the output are batch, in both only are contracted, in one are its rows or columns."""
    text = s.attr("equation", "").replace(" ", "")
    left, arrow, result = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(s.node.inputs):
        raise GraphError(f"{s.node.where}: equation {text!r} has {len(terms)} operands, the node {len(s.node.inputs)}")
    sizes: dict[str, int] = {}
    letters: list[str] = []
    for index, term in enumerate(terms):
        shape = s.shape(index)
        if "..." in term:  # the dots stand for leading letters that no equation can hold
            dots = len(shape) - (len(term) - 3)
            term = term.replace("...", "".join(chr(0x100 + dots - 1 - i) for i in range(dots)))
        if len(term) != len(shape) or len(set(term)) != len(term):
            raise UnsupportedOpError(f"{s.node.where}: equation {text!r} takes a diagonal or does not fit shape {shape}; it cannot be counted")
        letters.append(term)
        for letter, size in zip(term, shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    every = "".join(letters)
    out = set(result.replace("...", "")) | {c for c in every if ord(c) >= 0x100} if arrow else {c for c in every if every.count(c) == 1}

    def extent(chosen: set[str]) -> int:
        return prod(sizes[c] for c in chosen)

    if len(letters) == 1:
        summed = extent(set(every) - out)
        return Lowered("reduce", {"rows": extent(out), "cols": summed}) if summed > 1 else Lowered("move", {"elements": extent(out)})
    if len(letters) != 2:
        raise UnsupportedOpError(f"{s.node.where}: equation {text!r} has {len(letters)} operands; only one or two can be counted")
    a, b = set(letters[0]), set(letters[1])
    alone = (a ^ b) - out
    if alone:
        raise UnsupportedOpError(f"{s.node.where}: equation {text!r} sums {', '.join(sorted(alone))} over one operand alone; it cannot be counted")
    gemm = {"b": extent(a & b & out), "m": extent(a - b), "n": extent(b - a), "k": extent((a & b) - out)}
    if s.is_const(0) and not s.is_const(1):
        return Lowered("gemm", {**gemm, "m": gemm["n"], "n": gemm["m"]}, 1, 0)
    return Lowered("gemm", gemm, 0, 1)


def _recurrent(gates: int) -> Callable[[Site], Lowered]:
    def lower(s: Site) -> Lowered:
        x, weight, back = s.shape(0), s.shape(1), s.shape(2)
        steps, batch = (x[1], x[0]) if s.attr("layout", 0) else (x[0], x[1])
        if weight[1] != gates * back[2] or weight[2] != x[2]:
            raise GraphError(f"{s.node.where}: weights of shapes {weight} and {back} do not fit {gates} gates and an input of shape {x}")
        return Lowered("recurrent", {"steps": steps, "batch": batch, "input": x[2], "hidden": back[2], "gates": gates, "directions": weight[0]}, 0, 1)
    return lower


def _attention(s: Site) -> Lowered:
    q, k, v = s.shape(0), s.shape(1), s.shape(2)
    past = s.shape(4)[2] if s.has(4) else 0
    if len(q) == 4:
        batch, heads, q_len, head_dim = q
        kv_heads, kv_len, v_dim = k[1], k[2], v[3]
    else:
        heads, kv_heads = s.attr("q_num_heads", 0), s.attr("kv_num_heads", 0)
        if not heads or not kv_heads:
            raise GraphError(f"{s.node.where}: inputs of rank 3 need q_num_heads and kv_num_heads")
        batch, q_len, head_dim = q[0], q[1], q[2] // heads
        kv_len, v_dim = k[1], v[2] // kv_heads
    causal = bool(s.attr("is_causal", 0))
    left, right = s.attr("left_window_size", -1), 0 if causal else s.attr("right_window_size", -1)  # negative: as far as there are keys
    return Lowered("attention", {"batch": batch, "heads": heads, "kv_heads": kv_heads, "q_len": q_len, "kv_len": kv_len + past, "head_dim": head_dim,
                                 "v_dim": v_dim, "causal": int(causal or right == 0), "window": left + 1 + right if left >= 0 and right >= 0 else 0}, 0, 1)


MATRIX: dict[str, Callable[[Site], Lowered]] = {
    "Conv": _conv, "ConvInteger": _conv, "QLinearConv": _conv, "ConvTranspose": _conv_transpose, "MatMul": _matmul, "MatMulInteger": _matmul,
    "QLinearMatMul": _matmul, "Gemm": _gemm, "Einsum": _einsum, "LSTM": _recurrent(4), "GRU": _recurrent(3), "RNN": _recurrent(1),
    "Attention": _attention,
}
