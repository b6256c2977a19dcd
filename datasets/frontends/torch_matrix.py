"""ATen operators that run on a matrix unit, as canonical ops: products, convolutions, attention, recurrent cells."""

from __future__ import annotations

from math import prod

from ..errors import GraphError, UnsupportedOpError
from .torch_site import Rule, Step, TorchSite, fold


def _linear(s: TorchSite) -> Step:
    x, w = s.shape(0), s.shape(1)
    return Step("gemm", {"m": prod(x[:-1]), "n": w[0] if len(w) > 1 else 1, "k": x[-1], "bias": int(len(s.operands) > 2)}, 1, 0, (0, 1))


def _addmm(s: TorchSite) -> Step:
    a, b = s.shape(1), s.shape(2)
    if len(b) == 1:  # addmv
        b = (*b, 1)
    sizes = {"m": a[-2], "n": b[-1], "k": a[-1], "bias": int(s.size(0) == b[-1])}
    return Step("gemm", {**sizes, "b": prod(a[:-2])}, 2, 1, (1, 2))


def _matmul(s: TorchSite) -> Step:
    """NumPy's rule; a stack against one matrix is one tall product."""
    a, b = s.shape(0), s.shape(1)
    left, right = a if len(a) > 1 else (1, *a), b if len(b) > 1 else (*b, 1)
    m, k, n = left[-2], left[-1], right[-1]
    if prod(right[:-2]) == 1:
        return Step("gemm", {"m": prod(left[:-2]) * m, "n": n, "k": k}, 1, 0, (0, 1))
    if prod(left[:-2]) == 1:
        return Step("gemm", {"m": prod(right[:-2]) * n, "n": m, "k": k}, 0, 1, (0, 1))
    return Step("gemm", {"b": s.out_size() // (m * n), "m": m, "n": n, "k": k}, 1, 0, (0, 1))


def _conv(s: TorchSite) -> Step:
    general = s.name == "convolution"
    if (general and s.arg(6, "transposed", False)) or s.name.startswith("conv_transpose"):
        return _conv_transpose(s, general)
    x, w, out = s.shape(0), s.shape(1), s.out_shape()
    rank = len(w) - 2
    groups = s.arg(8 if general else 6, "groups", 1)
    batch = x[0] if len(x) == rank + 2 else 1
    (in_h, in_w), (out_h, out_w), (kernel_h, kernel_w) = (fold(d[-rank:], rank) for d in (x, out, w))
    stride_h, stride_w = fold(s.arg(3, "stride", 1), rank)
    return Step("conv", {"batch": batch, "in_channels": w[1] * groups, "in_h": in_h, "in_w": in_w, "out_channels": w[0], "out_h": out_h, "out_w": out_w, "kernel_h": kernel_h,
                         "kernel_w": kernel_w, "stride_h": stride_h, "stride_w": stride_w, "groups": groups, "bias": int(s.is_tensor(2, "bias"))}, 1, 0, (0, 1))


def _conv_transpose(s: TorchSite, general: bool) -> Step:
    x, w = s.shape(0), s.shape(1)
    rank = len(w) - 2
    groups = s.arg(8 if general else 6, "groups", 1)
    batch = x[0] if len(x) == rank + 2 else 1
    kind, sizes = spread(batch, w[0], x[-rank:], w[1] * groups, w[2:], s.arg(3, "stride", 1), groups)
    return Step(kind, {**sizes, "bias": int(s.is_tensor(2, "bias"))} if kind == "conv" else sizes, 1, 0, (0, 1))


def spread(batch: int, channels: int, shape: tuple[int, ...], out_channels: int, kernel: tuple[int, ...], stride: int | list[int] | tuple[int, ...],
           groups: int) -> tuple[str, dict[str, int]]:
    """(kind, sizes) of a transposed convolution: every input pixel meets every weight once.

    With the stride dividing the kernel it is exactly a convolution to stride-squared times the channels at the input's resolution (sub-pixel form); otherwise a
    product whose columns are folded back.
    """
    rank = len(kernel)
    steps = [stride] * rank if isinstance(stride, int) else list(stride) * (rank if len(stride) == 1 else 1)
    if all(k % t == 0 for k, t in zip(kernel, steps, strict=True)):
        h, w = fold(shape, rank)
        kernel_h, kernel_w = fold([k // t for k, t in zip(kernel, steps, strict=True)], rank)
        return "conv", {"batch": batch, "in_channels": channels, "in_h": h, "in_w": w, "out_channels": out_channels * prod(steps), "out_h": h, "out_w": w,
                        "kernel_h": kernel_h, "kernel_w": kernel_w, "groups": groups}
    return "gemm", {"b": groups, "m": batch * prod(shape), "n": out_channels // groups * prod(kernel), "k": channels // groups}


def _attention(s: TorchSite) -> Step:
    q, k, v = s.shape(0), s.shape(1), s.shape(2)
    masked = s.is_tensor(3, "attn_mask") and s.name == "scaled_dot_product_attention"
    causal = s.arg(5 if s.name == "scaled_dot_product_attention" else 4, "is_causal", False)
    if len(q) < 3:
        q, k, v = (1, *q), (1, *k), (1, *v)
    heads, kv_heads = (q[-3], k[-3]) if len(q) > 3 else (1, 1)
    batch = prod(q[:-3]) if len(q) > 3 else q[0]
    if heads % kv_heads:
        raise GraphError(f"{s.where}: {heads} heads of queries over {kv_heads} of keys")
    if causal and q[-2] > k[-2]:  # torch aligns the mask top left, so queries beyond the keys see all of them; counted as if none were hidden
        causal = False
    # torch aligns its mask top left, ours bottom right: they are one where queries and keys are as many; fewer queries see their own number of keys at most
    kv_len = q[-2] if causal else k[-2]
    keeps = (0, 1, 2, 3, -1) if masked else (0, 1, 2, -1)
    return Step("attention", {"batch": batch, "heads": heads, "kv_heads": kv_heads, "q_len": q[-2], "kv_len": kv_len, "head_dim": q[-1], "v_dim": v[-1], "causal": int(bool(causal))},
                None, 0, keeps, batch * heads * q[-2] * 4)


def _recurrent(s: TorchSite) -> list[Step]:
    """`lstm.input`, `gru.input`, `rnn_tanh.input`, `rnn_relu.input`: one op per layer."""
    if s.overload != "input":
        raise UnsupportedOpError(f"{s.where}: {s.name} over packed sequences cannot be counted, for their lengths are data; expected a padded batch")
    gates = {"lstm": 4, "gru": 3}.get(s.name, 1)
    x, states, weights = s.shape(0), s.arg(1, "hx"), s.arg(2, "params")
    biased, layers, two_ways, batch_first = s.arg(3, "has_biases"), s.arg(4, "num_layers"), s.arg(7, "bidirectional"), s.arg(8, "batch_first")
    ways = 1 + bool(two_ways)
    per = 4 if biased else 2
    if len(weights) != per * layers * ways:
        raise UnsupportedOpError(f"{s.where}: {s.name} with a projection of its state (proj_size) cannot be counted; expected {per * layers * ways} weights, got {len(weights)}")
    if len(x) == 2:
        x = (1, *x) if batch_first else (x[0], 1, x[1])
    steps, batch = (x[1], x[0]) if batch_first else (x[0], x[1])
    first = 1 + (len(states) if isinstance(states, (list, tuple)) else 1)  # operand number of the first weight
    hidden = weights[0].shape[0] // gates
    out = []
    for layer in range(layers):
        inputs = x[-1] if layer == 0 else ways * hidden
        own = tuple(range(first + layer * ways * per, first + (layer + 1) * ways * per))
        # kept: the gates after their functions, and the cell's state where it has one
        stats = ways * steps * batch * hidden * (gates + (gates == 4)) * s.bits(0) // 8 + (steps * batch * inputs * s.bits(0) // 8 if layer else 0)
        out.append(Step("recurrent", {"steps": steps, "batch": batch, "input": inputs, "hidden": hidden, "gates": gates, "directions": ways}, own[0], 0, (0,) if layer == 0 else (),
                        stats, label=f"layer{layer}" if layers > 1 else "", reads=(*range(first), *own) if layer == 0 else own))
    return out


def _bilinear(s: TorchSite) -> list[Step]:
    """y_o = a W_o b: one product of a with all the matrices, then one of every row with its b."""
    a, b, w = s.shape(0), s.shape(1), s.shape(2)
    rows = prod(a[:-1])
    return [Step("gemm", {"m": rows, "n": w[0] * w[2], "k": w[1]}, 2, 0, (0, 1, 2), label="left", reads=(0, 2)),
            Step("gemm", {"b": rows, "m": w[0], "n": 1, "k": b[-1]}, 1, 0, (), rows * w[0] * w[2] * s.bits(0) // 8, label="right", reads=(1, 3) if len(s.operands) > 3 else (1,))]


MATRIX: dict[str, Rule] = {
    "linear": _linear, "addmm": _addmm, "baddbmm": _addmm, "addmv": _addmm, "addbmm": _addmm, **dict.fromkeys(("mm", "bmm", "matmul", "mv", "dot", "vdot", "inner"), _matmul),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _conv),
    **dict.fromkeys(("scaled_dot_product_attention", "_scaled_dot_product_flash_attention", "_scaled_dot_product_flash_attention_for_cpu"), _attention),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent), "bilinear": _bilinear,
}
