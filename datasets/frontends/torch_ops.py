"""Every ATen operator that can be counted, by its name without overload and trailing underscore: functions, norms, reductions, pools, look-ups, copies, losses."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2, prod

from ..ops import ELEMENTWISE_COST as COST
from .torch_matrix import MATRIX
from .torch_site import Rule, Step, TorchSite, fold

#: name -> (vector operations per element, what is kept for the derivative, vector operations of the derivative). Kept: "x" the operands, "y" the result, "" nothing
#: (autograd's formulas, derivatives.yaml of PyTorch).
FUNCTIONS: dict[str, tuple[int, str, int]] = {
    **dict.fromkeys(("add", "sub", "rsub"), (1, "", 0)),  # 0: the gradient passes as it is (a sign is taken by whoever adds it up)
    **dict.fromkeys(("neg", "logical_not", "logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor",
                     "bitwise_not", "eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf", "isfinite", "sign", "floor", "ceil", "round", "trunc", "positive", "heaviside"), (1, "", 1)),
    **dict.fromkeys(("mul", "square", "maximum", "minimum", "max", "min", "fmax", "fmin", "abs"), (1, "x", 1)),
    "relu": (COST["relu"], "y", 1), "threshold": (COST["relu"], "x", 1), "relu6": (COST["clip"], "x", 1), "hardtanh": (COST["clip"], "x", 1), "clamp": (COST["clip"], "x", 1),
    "clamp_min": (1, "x", 1), "clamp_max": (1, "x", 1), "where": (COST["where"], "", 1), "masked_fill": (COST["where"], "", 1), "lerp": (3, "x", 2), "addcmul": (3, "x", 2),
    "addcdiv": (2 + COST["div"], "x", 3), "div": (COST["div"], "x", COST["div"]), "true_divide": (COST["div"], "x", COST["div"]), "floor_divide": (COST["div"], "", 1),
    "remainder": (COST["div"] + 2, "", 1), "fmod": (COST["div"] + 2, "", 1), "reciprocal": (COST["div"], "y", 2), "sqrt": (COST["sqrt"], "y", COST["div"]),
    "rsqrt": (COST["rsqrt"], "y", 3), "pow": (COST["pow"], "x", COST["pow"]), "exp": (COST["exp"], "y", 1), "exp2": (COST["exp"], "y", 2), "expm1": (COST["exp"] + 1, "y", 2),
    **dict.fromkeys(("log", "log2", "log10", "log1p"), (COST["log"], "x", COST["div"])), "sigmoid": (COST["sigmoid"], "y", 3), "tanh": (COST["tanh"], "y", 3),
    "log_sigmoid": (COST["sigmoid"] + COST["log"], "x", COST["sigmoid"]), "softplus": (COST["exp"] + COST["log"], "x", COST["sigmoid"]), "erf": (COST["erf"], "x", COST["exp"] + 2),
    "gelu": (COST["gelu"], "x", COST["gelu"] + 4), "silu": (COST["silu"], "x", COST["silu"] + 4), "mish": (COST["mish"], "x", COST["mish"] + 4),
    "hardswish": (COST["hardswish"], "x", 3), "hardsigmoid": (COST["hardsigmoid"], "x", 2), "leaky_relu": (COST["leakyrelu"], "x", 2), "prelu": (COST["leakyrelu"], "x", 3),
    **dict.fromkeys(("elu", "celu", "selu"), (COST["exp"] + 3, "y", 3)), **dict.fromkeys(("sin", "cos"), (COST["sin"], "x", COST["sin"] + 1)),
    **dict.fromkeys(("tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "atan2", "erfc", "erfinv", "lgamma"), (COST["erf"], "x", COST["erf"])),
    **dict.fromkeys(("to", "_to_copy", "type_as", "type"), (COST["cast"], "", 1)), "rand_like": (COST["other"], "", 0), "randn_like": (COST["other"], "", 0), "bernoulli": (COST["other"], "", 0),
    "rrelu_with_noise": (COST["other"], "x", 2), "cumsum": (1, "", 1), "cumprod": (1, "x", 3), "logcumsumexp": (COST["exp"] + COST["log"], "x", COST["exp"]),
    "tril": (1, "", 1), "triu": (1, "", 1), "softshrink": (2, "x", 1), "hardshrink": (2, "x", 1), "tanhshrink": (COST["tanh"] + 1, "x", 3), "softsign": (COST["div"] + 2, "x", COST["div"]),
    **dict.fromkeys(("bitwise_left_shift", "bitwise_right_shift", "__and__", "__or__", "__xor__", "__lshift__", "__rshift__"), (1, "", 1)),
}
#: functions that keep nothing when their second operand is a number, for then the derivative is a number too
_LINEAR = frozenset({"mul", "div", "true_divide"})
#: results that are new memory without arithmetic
MOVES = ("clone", "copy", "contiguous", "reshape", "flatten", "_reshape_copy", "cat", "concat", "stack", "hstack", "vstack", "repeat", "repeat_interleave", "roll", "flip", "pad",
         "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "fill",
         "zero", "tile", "im2col", "unfold_copy", "slice_scatter", "select_scatter", "expand_copy", "permute_copy", "view_copy", "meshgrid", "one_hot", "nonzero", "masked_select",
         "zeros", "ones", "full", "empty", "zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty", "scalar_tensor", "eye",
         "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact2d", "diag_embed", "lift_fresh_copy", "tensor_split_copy", "_unsafe_view")
REDUCTIONS = ("sum", "mean", "amax", "amin", "prod", "any", "all", "logsumexp", "norm", "linalg_vector_norm", "var", "std", "var_mean", "std_mean", "argmax", "argmin", "max_dim",
              "min_dim", "count_nonzero", "topk", "sort", "argsort", "median", "aminmax", "trace")


def _keeps(kept: str, operands: int) -> tuple[int, ...]:
    return tuple(range(operands)) if kept == "x" else (-1,) if kept == "y" else ()


def _function(s: TorchSite) -> Step:
    cost, kept, back = FUNCTIONS[s.name]
    if s.name in ("max", "min") and len(s.operands) == 1:
        return _reduction(s)
    if s.name == "pow" and not s.is_tensor(1, "exponent"):  # squares and roots are not computed through a logarithm
        cost = {2: 1, 3: 2, 0.5: COST["sqrt"], -1: COST["div"], -0.5: COST["rsqrt"], 1: 1}.get(s.arg(1, "exponent"), cost)
        back = cost + 2
    keeps = _keeps(kept, len(s.operands)) if not (s.name in _LINEAR and len(s.operands) == 1) else ()
    if s.name in ("where", "masked_fill"):  # the condition, a byte each
        keeps = (0,) if s.name == "where" else (1,)
    return elementwise(s, cost, keeps, back)


def elementwise(s: TorchSite, cost: int, keeps: tuple[int, ...] = (), back: int = 1) -> Step:
    """One output per element; operands beyond the first are further traffic, in units of the output's elements."""
    elements = s.out_size()
    read = sum(s.size(i) * s.bits(i) for i in range(len(s.operands)))
    return Step("elementwise", {"elements": elements, "cost": cost, "extra_elements": max(0, read // s.bits(-1) - elements)}, None, None, keeps, 0, back)


def _batch_norm(s: TorchSite) -> Step:
    x = s.shape(0)
    training = bool(s.arg(5, "training", False)) or s.name == "instance_norm"
    if not training:  # a multiply and an add with folded statistics
        return Step("elementwise", {"elements": prod(x), "cost": 2, "extra_elements": 2 * x[1]}, 1 if len(s.operands) > 1 else None, 0, (0,), 0, 3)
    rows = x[1] * (x[0] if s.name == "instance_norm" else 1)
    return Step("norm", {"rows": rows, "cols": prod(x) // rows}, 1 if len(s.operands) > 1 else None, 0, (0,), rows * 8)


def _norm(s: TorchSite) -> Step:
    x = s.shape(0)
    if s.name in ("group_norm", "native_group_norm"):
        rows = x[0] * (s.arg(1, "num_groups") if s.name == "group_norm" else s.arg(6, "group"))
    else:
        normal = s.arg(1, "normalized_shape")
        rows = prod(x[: len(x) - len(normal)])
    means = 1 if s.name in ("rms_norm", "_fused_rms_norm") else 2
    return Step("norm", {"rows": rows, "cols": prod(x) // rows}, 1 if len(s.operands) > 1 else None, 0, (0,), rows * 4 * means)


def _weight_norm(s: TorchSite) -> Step:
    """A direction times a length: the norm of every row of the weights (Salimans and Kingma, NeurIPS 2016)."""
    rows = s.size(1)
    return Step("norm", {"rows": rows, "cols": max(1, s.size(0) // rows)}, None, 0, (0, 1), rows * 4)


def _softmax(s: TorchSite) -> Step:
    x = s.shape(0) or (1,)
    cols = x[s.arg(1, "dim", -1)]
    return Step("softmax", {"rows": prod(x) // cols, "cols": cols}, None, 0, (-1,))


def _reduction(s: TorchSite) -> Step:
    rows = s.out_size()
    size = s.size(0)
    if s.name in ("topk", "sort", "argsort"):
        cols = (s.shape(0) or (1,))[s.arg(2 if s.name == "topk" else 1, "dim", -1)]
        # sorted by comparisons: n log2 n; the k greatest by one look at each
        cost = 1 if s.name == "topk" else max(1, ceil(log2(max(2, cols))))
        return Step("reduce", {"rows": size // cols, "cols": cols}, None, 0, (), 8 * rows) if cost == 1 else Step("elementwise", {"elements": size, "cost": cost}, None, 0, (), 8 * rows)
    keeps = (0, -1) if s.name in ("prod", "logsumexp", "norm", "linalg_vector_norm", "amax", "amin") else (0,) if s.name in ("var", "std", "var_mean", "std_mean") else ()
    stats = 8 * rows if len(s.outputs) > 1 and s.name in ("max", "min", "median") else 0
    return Step("reduce", {"rows": rows, "cols": max(1, size // rows)}, None, 0, keeps, stats)


def _pool(s: TorchSite) -> Step:
    rank = int(s.name.removesuffix("_with_indices")[-2])
    x, out = s.shape(0), s.out_shape()
    channels, batch = x[-rank - 1], prod(x[:-rank - 1])
    spatial, result = x[-rank:], out[-rank:]
    if "adaptive" in s.name:
        kernel: Sequence[int] = [ceil(a / b) for a, b in zip(spatial, result, strict=True)]
        stride: Sequence[int] = [max(1, a // b) for a, b in zip(spatial, result, strict=True)]
    else:
        given, step = s.arg(1, "kernel_size"), s.arg(2, "stride", None)
        kernel = given
        stride = step or given
    if prod(result) == 1 and tuple(fold(kernel, rank)) == tuple(fold(spatial, rank)):
        return Step("reduce", {"rows": batch * channels, "cols": prod(spatial)}, None, 0, (0,) if "max" in s.name else ())
    (in_h, in_w), (out_h, out_w), (kernel_h, kernel_w), (stride_h, stride_w) = (fold(d, rank) for d in (spatial, result, kernel, stride))
    # autograd keeps the input of every pool but the adaptive one that a mean stands in for; the places of the maxima are 64-bit
    return Step("pool", {"batch": batch, "channels": channels, "in_h": in_h, "in_w": in_w, "out_h": out_h, "out_w": out_w, "kernel_h": kernel_h, "kernel_w": kernel_w,
                         "stride_h": stride_h, "stride_w": stride_w}, None, 0, (0,), 8 * s.out_size() if "max" in s.name else 0)


def _gather(s: TorchSite) -> Step:
    table = s.shape(0)
    if s.name == "embedding":
        return Step("gather", {"rows": s.size(1), "width": table[1], "table_rows": table[0]}, 0, -1, (1,))
    if s.name == "index_select":
        width = prod(table) // table[s.arg(1, "dim")]
        return Step("gather", {"rows": s.out_size(), "width": 1, "table_rows": prod(table)} if s.arg(1, "dim") else {"rows": s.size(1), "width": width, "table_rows": table[0]}, 0, 0, (1,))
    if s.name == "gather" or len(s.operands) < 2:
        return Step("gather", {"rows": s.out_size(), "width": 1, "table_rows": prod(table)}, 0, 0, tuple(range(1, len(s.operands))))
    indexed = s.arg(1, "indices")
    lead = len([i for i in indexed if i is not None]) if indexed and indexed[0] is not None else 0
    width = prod(table[lead:]) if lead else 1
    return Step("gather", {"rows": max(1, s.out_size() // max(1, width)), "width": max(1, width), "table_rows": max(1, prod(table) // max(1, width))}, 0, 0, tuple(range(1, len(s.operands))))


def _embedding_bag(s: TorchSite) -> list[Step]:
    table, ids = s.shape(0), s.size(1)
    return [Step("gather", {"rows": ids, "width": table[1], "table_rows": table[0]}, 0, -1, (1,), label="look-up"),
            Step("elementwise", {"elements": ids * table[1]}, None, None, (), label="sum", reads=())]


def _scatter(s: TorchSite) -> Step:
    """What is put somewhere is added or written once; the rest stays where it is."""
    source = s.size(len(s.operands) - 1) if len(s.operands) > 1 else s.out_size()
    return Step("elementwise", {"elements": max(1, source), "extra_elements": source, "cost": 1}, None, None, tuple(range(1, len(s.operands) - 1)))


def _move(s: TorchSite) -> Step:
    return Step("move", {"elements": max(1, sum(s.out_size(i) for i in range(len(s.outputs))))})


def _dropout(s: TorchSite) -> Step:
    """In training: a random number, a comparison, a scaled product; the mask is kept, a byte per element."""
    return Step("elementwise", {"elements": s.out_size(), "cost": COST["other"] + 2}, None, None, (), s.out_size(), 1)


def _glu(s: TorchSite) -> Step:
    return Step("elementwise", {"elements": s.out_size(), "cost": COST["sigmoid"] + 1, "extra_elements": s.out_size()}, None, None, (0,), 0, COST["sigmoid"] + 4)


def _arange(s: TorchSite) -> Step:
    return Step("elementwise", {"elements": max(1, s.out_size()), "cost": 2})


def _interpolate(s: TorchSite) -> Step:
    # linear between 2, 4 or 8 neighbours, cubic between 16: a product and a sum each
    taps = 16 if "bicubic" in s.name else 2 ** (3 if "trilinear" in s.name else 2 if "bilinear" in s.name else 1)
    return Step("elementwise", {"elements": s.out_size(), "cost": 2 * taps}, None, None, (), 0, 2 * taps)


def _cross_entropy(s: TorchSite) -> list[Step]:
    """A log-softmax, the targets picked, and their sum."""
    x, target = s.shape(0), s.size(1)
    classes = x[1] if len(x) > 1 else x[0]
    rows = prod(x) // classes
    whole = target == prod(x)  # class probabilities: every logarithm is used
    return [Step("softmax", {"rows": rows, "cols": classes}, None, 0, (), prod(x) * s.bits(0) // 8 + target * s.bits(1) // 8, label="log_softmax", reads=(0,)),
            Step("reduce", {"rows": 1, "cols": prod(x) if whole else rows}, None, 0, (), 0, label="loss", reads=tuple(range(1, len(s.operands))))]


def _nll(s: TorchSite) -> Step:
    return Step("reduce", {"rows": s.out_size(), "cols": max(1, s.size(1) // s.out_size())}, None, 0, (0, 1))


def _pair_loss(cost: int) -> Rule:
    def rule(s: TorchSite) -> list[Step]:
        size = s.size(0)
        steps = [Step("elementwise", {"elements": size, "cost": cost, "extra_elements": s.size(1)}, None, 0, (0, 1), 0, cost, label="terms" if s.out_size() < size else "")]
        return steps if s.out_size() == size else [*steps, Step("reduce", {"rows": 1, "cols": size}, None, 0, (), label="loss", reads=())]
    return rule


RULES: dict[str, Rule] = {
    **dict.fromkeys(FUNCTIONS, _function), **dict.fromkeys(MOVES, _move), **dict.fromkeys(REDUCTIONS, _reduction), **MATRIX,
    **dict.fromkeys(("batch_norm", "native_batch_norm", "_native_batch_norm_legit", "instance_norm"), _batch_norm),
    **dict.fromkeys(("layer_norm", "native_layer_norm", "group_norm", "rms_norm", "_fused_rms_norm"), _norm),
    **dict.fromkeys(("_weight_norm", "_weight_norm_interface"), _weight_norm),
    **dict.fromkeys(("softmax", "_softmax", "log_softmax", "_log_softmax"), _softmax),
    **{f"{kind}_pool{n}d": _pool for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for n in (1, 2, 3)}, "max_pool2d_with_indices": _pool, "_adaptive_avg_pool2d": _pool,
    **dict.fromkeys(("embedding", "index_select", "gather", "index", "take", "take_along_dim", "_unsafe_index"), _gather), "embedding_bag": _embedding_bag, "_embedding_bag": _embedding_bag,
    **dict.fromkeys(("scatter", "scatter_add", "scatter_reduce", "index_add", "index_put", "index_copy", "index_fill", "masked_scatter"), _scatter),
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout", "native_dropout"), _dropout), "glu": _glu, "arange": _arange, "linspace": _arange,
    **dict.fromkeys(("rand", "randn", "randint", "normal", "multinomial", "randperm"), _arange),
    **dict.fromkeys(("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d", "_upsample_bilinear2d_aa", "grid_sampler", "grid_sampler_2d"), _interpolate),
    "cross_entropy_loss": _cross_entropy, **dict.fromkeys(("nll_loss", "nll_loss_nd", "nll_loss2d"), _nll), "mse_loss": _pair_loss(2), "l1_loss": _pair_loss(2),
    "smooth_l1_loss": _pair_loss(4), "huber_loss": _pair_loss(4), "binary_cross_entropy": _pair_loss(2 * COST["log"] + 4), "kl_div": _pair_loss(COST["log"] + 2),
    "binary_cross_entropy_with_logits": _pair_loss(COST["exp"] + COST["log"] + 5),
}
