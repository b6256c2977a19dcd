"""ONNX Runtime's attention operators, rotary and position biases, and mixtures of experts, as steps of canonical ops."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from ..errors import GraphError, UnsupportedOpError
from ..ops import ELEMENTWISE_COST as COST
from .onnx_foreign import Foreign, Outputs, alike, elementwise
from .onnx_site import Lowered, Site

#: bits of a packed weight -> the dtype that stores it
PACKED = {4: "int4", 8: "int8"}


def stored(s: Site, bits: int) -> str:
    """The dtype of weights of so many bits. Raises UnsupportedOpError for one silicast has not."""
    if bits not in PACKED:
        raise UnsupportedOpError(f"{s.node.where}: weights of {bits} bits have no silicast dtype; expected {' or '.join(map(str, PACKED))}")
    return PACKED[bits]


def _heads(s: Site, name: str = "num_heads") -> int:
    heads = s.attr(name, 0)
    if heads < 1:
        raise GraphError(f"{s.node.where}: {name} is {heads}; expected a positive number")
    return int(heads)


def _attend(sizes: Mapping[str, int], reads: tuple[int, ...] = (), compute: int | None = None) -> Lowered:
    return Lowered("attention", sizes, compute, None, "attention", reads, slots=())


# Attention, QAttention, PackedAttention, LongformerAttention: the projection inside

def _widths(s: Site) -> tuple[int, int, int]:
    total = s.shape(1)[-1]
    q, k, v = s.attr("qkv_hidden_sizes", None) or [total // 3] * 3
    return q, k, v


def _past(s: Site) -> int:
    at = {"Attention": 4, "QAttention": 8, "DecoderMaskedSelfAttention": 4}.get(s.node.op)
    return s.shape(at)[3] if at is not None and s.has(at) else 0


def _seen(s: Site) -> int:
    """Keys in all; a cache that is a buffer of its greatest length holds them already."""
    past, new = _past(s), s.shape(0)[1]
    return past if s.attr("past_present_share_buffer", 0) and past else past + new


def _projected_shapes(s: Site) -> Outputs:
    shape, (q, _, v) = s.shape(0), _widths(s)
    float_elem = s.elem(3) if s.node.op == "QAttention" else s.elem(0)
    if len(shape) == 2:
        return [((shape[0], v), float_elem)]
    return [((*shape[:2], v), float_elem), ((2, shape[0], _heads(s), _seen(s), q // _heads(s)), float_elem)]


def _projected(s: Site) -> list[Lowered]:
    shape, (q, k, v), heads = s.shape(0), _widths(s), _heads(s)
    quantised, packed = s.node.op == "QAttention", len(shape) == 2
    batch, length = s.shape(3) if packed else shape[:2]
    kept = {"batch": batch, "heads": heads, "kv_heads": heads, "q_len": length, "kv_len": length if packed else _seen(s), "head_dim": q // heads,
            "v_dim": v // heads, "causal": int(bool(s.attr("unidirectional", 0))), "window": 2 * s.attr("window", 0) + 1 if s.node.op == "LongformerAttention" else 0}
    makes = (1,) if s.writes(1) else ()
    first = Lowered("gemm", {"m": prod(shape[:-1]), "n": q + k + v, "k": shape[-1], "bias": int(s.has(2))}, 0, 1, "projection", tuple(i for i in s.reads if i < 3 or quantised), makes,
                    slots=(1, 2))
    return [first, _attend(kept, tuple(i for i in s.reads if i >= 3) if not quantised else ())]


# MultiHeadAttention and its relatives: projected before

def _multi_head(s: Site) -> dict[str, int]:
    q, op = s.shape(0), s.node.op
    heads = _heads(s)
    past_at = 5 if op == "DecoderMaskedMultiHeadAttention" else 6
    if op == "PackedMultiHeadAttention":
        batch, length = s.shape(4)
        width = q[-1] if len(q) == 2 else heads * q[-1]
        return {"batch": batch, "heads": heads, "kv_heads": heads, "q_len": length, "kv_len": length, "head_dim": width // heads,
                "v_dim": s.shape(2)[-1] // heads if s.has(2) else width // heads}
    batch, length = q[0], q[1]
    dim = q[-1] if len(q) == 5 else q[2] // heads
    past = s.shape(past_at)[2] if s.has(past_at) else 0
    new, v_dim = length, dim
    if s.has(1) and len(s.shape(1)) == 4:  # keys of another network, heads apart
        new, v_dim = s.shape(1)[2], s.shape(2)[3]
    elif s.has(1):
        new, v_dim = s.shape(1)[1], (s.shape(2)[2] // heads if s.has(2) else dim)
    seen = past if past and s.attr("past_present_share_buffer", 0) else past + new
    return {"batch": batch, "heads": heads, "kv_heads": heads, "q_len": length, "kv_len": seen, "head_dim": dim, "v_dim": v_dim,
            "causal": int(bool(s.attr("unidirectional", 0)))}


def _multi_head_shapes(s: Site) -> Outputs:
    d, elem = _multi_head(s), s.elem(0)
    cache = (d["batch"], d["heads"], d["kv_len"])
    out = (s.shape(0)[0], d["heads"] * d["v_dim"]) if s.node.op == "PackedMultiHeadAttention" else (d["batch"], d["q_len"], d["heads"] * d["v_dim"])
    return [(out, elem), ((*cache, d["head_dim"]), elem), ((*cache, d["v_dim"]), elem), ((*cache[:2], d["q_len"], d["kv_len"]), elem)]


def _multi_head_rule(s: Site) -> Lowered | list[Lowered]:
    d = _multi_head(s)
    bias_at = {"MultiHeadAttention": 3, "PackedMultiHeadAttention": 3, "DecoderMaskedMultiHeadAttention": 10}[s.node.op]
    if not s.has(bias_at):
        return Lowered("attention", d, 0, 1 if s.has(1) else None, slots=())
    elements = d["batch"] * d["heads"] * (d["q_len"] * d["head_dim"] + d["kv_len"] * (d["head_dim"] + d["v_dim"]))
    return [Lowered("elementwise", {"elements": elements, "extra_elements": s.size(bias_at)}, 0, None, "bias", tuple(i for i in (0, 1, 2, bias_at) if s.has(i)), slots=(bias_at,)),
            _attend(d, tuple(i for i in s.reads if i > 2 and i != bias_at))]


# GroupQueryAttention, SparseAttention: heads of keys shared, rotation inside

def _grouped(s: Site) -> dict[str, int]:
    q = s.shape(0)
    heads, kv_heads = _heads(s), _heads(s, "kv_num_heads")
    dim = q[2] // heads if s.has(1) else q[2] // (heads + 2 * kv_heads)
    past = s.shape(3)[2] if s.has(3) else 0
    at = 7 if s.node.op == "SparseAttention" else 6
    total = s.data(at)
    seen = int(total.reshape(())) if total is not None and total.size == 1 else past + q[1]
    window = s.attr("local_window_size", -1)
    return {"batch": q[0], "heads": heads, "kv_heads": kv_heads, "q_len": q[1], "kv_len": max(seen, q[1]), "head_dim": dim, "v_dim": dim,
            "causal": int(bool(s.attr("causal", 1))), "window": max(0, window)}


def _grouped_shapes(s: Site) -> Outputs:
    d, elem = _grouped(s), s.elem(0)
    held = max(d["kv_len"], s.shape(3)[2] if s.has(3) else 0)
    cache = (d["batch"], d["kv_heads"], held, d["head_dim"])
    return [((d["batch"], d["q_len"], d["heads"] * d["head_dim"]), elem), (cache, s.elem(3) or elem), (cache, s.elem(4) or elem)]


def _grouped_rule(s: Site) -> Lowered | list[Lowered]:
    d = _grouped(s)
    if not s.attr("do_rotary", 0):
        return Lowered("attention", d, 0, 1 if s.has(1) else None, slots=())
    cos = (9, 10) if s.node.op == "SparseAttention" else (7, 8)
    turned = d["batch"] * d["q_len"] * (d["heads"] + d["kv_heads"]) * d["head_dim"]
    first = (0, *(i for i in (1,) if s.has(i)), *(i for i in cos if s.has(i)))
    return [Lowered("elementwise", {"elements": turned, "cost": 3, "extra_elements": d["q_len"] * d["head_dim"]}, 0, None, "rotation", first, slots=()),
            _attend(d, tuple(i for i in s.reads if i not in first), 0)]


def _flex_shapes(s: Site) -> Outputs:
    return [((*s.shape(0)[:3], s.shape(2)[3]), s.elem(0))]


def _flex(s: Site) -> Lowered:
    if s.attr("score_mod", None) is not None or s.attr("prob_mod", None) is not None:
        raise UnsupportedOpError(f"{s.node.where}: what score_mod and prob_mod compute is not counted; write the attention out, or export without them")
    q, k, v = s.shape(0), s.shape(1), s.shape(2)
    return Lowered("attention", {"batch": q[0], "heads": q[1], "kv_heads": k[1], "q_len": q[2], "kv_len": k[2], "head_dim": q[3], "v_dim": v[3]}, 0, 1, slots=())


# around attention

def _rotary(s: Site) -> Lowered:
    return Lowered("elementwise", {"elements": s.out_size(), "cost": 3, "extra_elements": sum(min(s.size(i), s.out_size()) for i in (2, 3) if s.has(i))}, slots=())


def _position_bias_shapes(s: Site) -> Outputs:
    lengths = [s.data(i) for i in (1, 2)]
    told = [int(n.reshape(())) if n is not None and n.size == 1 else None for n in lengths]
    return [((1, s.shape(0)[1], *told), s.elem(0))]


def _position_bias(s: Site) -> Lowered:
    return Lowered("gather", {"rows": s.out_size(), "width": 1, "table_rows": s.size(0)}, 0, 0, slots=(0,))


def _gated_bias_shapes(s: Site) -> Outputs:
    return [((s.shape(0)[0], *s.shape(2)[1:]), s.elem(0))]


def _gated_bias(s: Site) -> list[Lowered]:
    """A small product per query and head gives two gates; the bias of every pair is scaled by them."""
    rows = s.size(0) // s.shape(3)[0]
    return [Lowered("gemm", {"m": rows, "n": s.shape(3)[1], "k": s.shape(3)[0], "bias": 1}, 0, 3, "gates", (0, 1, 3, 4), slots=(1, 3, 4)),
            Lowered("elementwise", {"elements": 2 * rows, "cost": COST["sigmoid"] + 4, "extra_elements": 0}, None, None, "sigmoid", (5,), slots=(5,)),
            Lowered("elementwise", {"elements": s.out_size(), "extra_elements": s.size(2)}, None, None, "scale", (2,), slots=())]


# mixtures of experts

def _experts(s: Site) -> list[Lowered]:
    """Route, first product of every row with its experts, activation, second product, weighted sum."""
    quantised = s.node.op == "QMoE"
    fc1, fc2, fc3 = (2, 5, 8) if quantised else (2, 4, 6)
    tokens, experts, k = s.size(0) // s.shape(0)[-1], s.shape(1)[-1], s.attr("k", 1)
    hidden, wide, inner = s.shape(0)[-1], s.shape(fc1)[1], s.shape(fc2)[2]
    bits = s.attr("expert_weight_bits", 4) if quantised else 0
    if quantised and s.attr("quant_type", "int") == "int":
        inner = inner * 8 // bits
    integers = quantised and s.attr("quant_type", "int") == "int"
    rows = tokens * k
    groups = min(experts, rows)

    def product(at: int, n: int, inner: int, label: str) -> Lowered:
        own = s.attr(f"fc{(2, 5, 8).index(at) + 1}_expert_weight_bits", bits) if quantised else 0
        packed = {at: experts * n * inner} if integers else {}
        bias_at = at + 2 if quantised else at + 1
        return Lowered("grouped_gemm", {"groups": groups, "m": rows, "n": n, "k": inner, "bias": int(s.has(bias_at))}, 0, at, label,
                       tuple(i for i in range(at, bias_at + 1) if s.has(i)), slots=(at, bias_at), packed=packed, stores=stored(s, own) if integers else "")

    activation = str(s.attr("activation_type", "relu")).lower()
    gated = s.has(fc3) or wide == 2 * inner
    act = elementwise(activation, rows * inner)
    if gated:  # the gate times the other half
        act = Lowered("elementwise", {"elements": rows * inner, "cost": int(act.sizes["cost"]) + 1, "extra_elements": rows * inner}, None, None, activation, (), slots=())
    return [Lowered("route", {"tokens": tokens, "experts": experts, "top_k": k}, 1, None, "route", (0, 1), slots=()), product(fc1, wide, hidden, "fc1"),
            *([product(fc3, s.shape(fc3)[1], hidden, "fc3")] if s.has(fc3) else []), act, product(fc2, hidden, inner, "fc2"),
            Lowered("elementwise", {"elements": tokens * hidden, "cost": 2 * k, "extra_elements": (k - 1) * tokens * hidden}, None, None, "combine", (), slots=())]


ATTENTION: dict[str, Foreign] = {
    **dict.fromkeys(("Attention", "QAttention", "PackedAttention", "DecoderMaskedSelfAttention"),
                    Foreign(_projected_shapes, _projected, "gemm (the projection), attention; past keys add to the length")),
    "LongformerAttention": Foreign(_projected_shapes, _projected, "gemm, attention over a window of 2 w + 1 keys; the global tokens' own projection is not counted"),
    **dict.fromkeys(("MultiHeadAttention", "PackedMultiHeadAttention", "DecoderMaskedMultiHeadAttention"),
                    Foreign(_multi_head_shapes, _multi_head_rule, "(bias,) attention; past keys add to the length; packed batches as if padded")),
    "GroupQueryAttention": Foreign(_grouped_shapes, _grouped_rule, "(rotation,) attention with shared key heads, causal, window = local_window_size; "
                                                                   "keys: total_sequence_length when constant, else past + new"),
    "SparseAttention": Foreign(_grouped_shapes, _grouped_rule, "as GroupQueryAttention: all causal blocks, an upper bound"),
    "FlexAttention": Foreign(_flex_shapes, _flex, "attention; refused with score_mod or prob_mod"),
    "RotaryEmbedding": Foreign(alike, _rotary, "elementwise, 3 operations"),
    "RelativePositionBias": Foreign(_position_bias_shapes, _position_bias, "gather, one number per pair"),
    "GatedRelativePositionBias": Foreign(_gated_bias_shapes, _gated_bias, "gemm, elementwise"),
    "MoE": Foreign(alike, _experts, "route, grouped_gemm, activation, grouped_gemm, elementwise; rows spread evenly over experts"),
    "QMoE": Foreign(alike, _experts, "as MoE, weights stored in 4 or 8 bits"),
}
