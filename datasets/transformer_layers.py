"""The graphs behind `Transformer`: one layer's operators on one device, forward and backward, and the embedding and head around them.

Serving engines fuse what these graphs fuse: query, key and value are one product, so are the two halves of a gated feed-forward; rotary
positions write keys and values to the cache; scores never leave attention.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .dtypes import BITS, dtype_name
from .errors import InputError
from .ops import ELEMENTWISE_COST, Op
from .transformer import Segment, Transformer
from .workload import Workload, WorkloadBuilder

#: multiply, multiply, add per element of a rotated head
ROPE_COST = 2 * ELEMENTWISE_COST["mul"] + ELEMENTWISE_COST["add"]


@dataclass(frozen=True, slots=True)
class Formats:
    """Number formats of a layer: products in `product` with weights in `weight`, everything between in `vector`, the cache in `kv`."""

    product: str
    weight: str
    vector: str
    kv: str
    sparsity: str = ""

    @classmethod
    def of(cls, dtype: str, weight_dtype: str | None = None, kv_dtype: str | None = None, sparsity: str = "") -> Formats:
        """Defaults filled in: weights as products, the cache as activations, activations never below 16 bits."""
        product = dtype_name(dtype)
        vector = product if BITS[product] >= 16 else "bfloat16"
        return cls(product, dtype_name(weight_dtype or product), vector, dtype_name(kv_dtype or vector), sparsity)


class _Chain:
    """Adds ops to a builder and remembers what each read, so that a backward pass can be written from it."""

    def __init__(self, name: str, formats: Formats) -> None:
        self.builder, self.formats = WorkloadBuilder(name, "transformer"), formats
        self.steps: list[tuple[Op, list[int], int]] = []
        self.sizes: dict[int, int] = {}

    def input(self, name: str, elements: int, dtype: str = "") -> int:
        tensor = self.builder.input(name, elements, dtype or self.formats.vector)
        self.sizes[tensor] = elements
        return tensor

    def add(self, op: Op, inputs: Sequence[int]) -> int:
        tensor = self.builder.add(op, inputs)
        self.sizes[tensor] = int(op.counts["output_elements"])
        self.steps.append((op, list(inputs), tensor))
        return tensor

    def product(self, name: str, x: int, m: int, n: int, k: int, bias: bool = False, b: int = 1, params: int | None = None) -> int:
        f, own = self.formats, b * k * n + bias * b * n
        return self.add(Op.of(name, "gemm", m=m, n=n, k=k, b=b, bias=int(bias), dtype=f.product, weight_dtype=f.weight, output_dtype=f.vector,
                              sparsity=f.sparsity, params=own if params is None else params), [x])

    def experts(self, name: str, x: int, groups: int, m: int, n: int, k: int, bias: bool, held: int) -> int:
        f = self.formats
        return self.add(Op.of(name, "grouped_gemm", groups=groups, m=m, n=n, k=k, bias=int(bias), dtype=f.product, weight_dtype=f.weight, output_dtype=f.vector,
                              sparsity=f.sparsity, params=held * (k * n + bias * n)), [x])

    def vector(self, name: str, kind: str, inputs: Sequence[int], params: int = 0, **sizes: Any) -> int:
        return self.add(Op.of(name, kind, dtype=self.formats.vector, params=params, **sizes), inputs)

    def elementwise(self, name: str, inputs: Sequence[int], elements: int, cost: int, extra: int = 0, params: int = 0) -> int:
        return self.vector(name, "elementwise", inputs, params, elements=elements, cost=cost, extra_elements=extra)

    def norm(self, name: str, x: int, rows: int, t: Transformer, width: int) -> int:
        return self.vector(name, "norm", [x], t.norm_params(width), rows=rows, cols=width)


def share(t: Transformer, what: str, size: int, parts: int) -> int:
    """`size` over `parts`. Raises InputError when it does not divide."""
    if not isinstance(parts, int) or isinstance(parts, bool) or parts < 1:
        raise InputError(f"transformer {t.key!r}: {what}: expected a whole number of parts of at least 1, got {parts!r}")
    if size % parts:
        raise InputError(f"transformer {t.key!r}: {size} {what} do not divide into {parts} parts; choose a divisor")
    return size // parts


def layer_graph(t: Transformer, segments: tuple[Segment, ...], phase: str, tensor: int, expert: int, formats: Formats, kind: str, window: int) -> Workload:
    """One layer on one device; see `Transformer.layer_workload`."""
    if not segments:
        raise InputError(f"transformer {t.key!r}: a step needs at least one segment of sequences")
    chain = _Chain(f"{t.key}/{phase}/{kind}", formats)
    tokens = sum(s.tokens for s in segments)
    x = chain.input("x", tokens * t.hidden)
    y = chain.norm("attention_norm", x, tokens, t, t.hidden)
    attend = _latent_attention if t.latent else _attention
    y = attend(chain, t, y, segments, phase, tensor, window)
    x = chain.elementwise("attention_add", [y, x], tokens * t.hidden, ELEMENTWISE_COST["add"], tokens * t.hidden)
    for i in range(max(t.norms - 2, 0)):  # norms after attention and after the feed-forward, where a model has them
        x = chain.norm(f"post_norm{i}", x, tokens, t, t.hidden)
    z = chain.norm("ffn_norm", x, tokens, t, t.hidden) if t.norms > 1 else x
    y = _mixture(chain, t, z, tokens, tensor, expert) if kind == "moe" else _feed_forward(chain, t, "ffn", z, tokens, share(t, "ffn columns", t.ffn, tensor))
    chain.elementwise("ffn_add", [y, x], tokens * t.hidden, ELEMENTWISE_COST["add"], tokens * t.hidden)
    return _phase(chain, phase)


def _attention(chain: _Chain, t: Transformer, x: int, segments: tuple[Segment, ...], phase: str, tensor: int, window: int) -> int:
    tokens, hd = sum(s.tokens for s in segments), t.head_dim
    heads, kv_heads = share(t, "heads", t.heads, tensor), max(t.kv_heads // tensor, 1)
    own, shared = heads * hd, kv_heads * hd
    x = chain.product("qkv", x, tokens, own + 2 * shared, t.hidden, t.bias or t.qkv_bias)
    if t.qk_norm:
        x = chain.vector("qk_norm", "norm", [x], 2 * t.norm_params(hd), rows=tokens * (heads + kv_heads), cols=hd)
    cached = phase in ("prefill", "decode") and not t.encoder
    if t.rope:
        x = chain.elementwise("rope", [x], tokens * (own + (2 if cached else 1) * shared), ROPE_COST, 2 * tokens * hd)
    elif cached:
        x = chain.vector("cache_write", "move", [x], elements=tokens * 2 * shared)
    parts: list[int] = []
    for i, s in enumerate(segments):
        read = [x] if not s.past_tokens else [x, chain.input(f"kv{i}", s.batch * (min(s.past_tokens, window) if window else s.past_tokens) * 2 * shared, chain.formats.kv)]
        parts.append(chain.add(Op.of(f"attention{i}", "attention", batch=s.batch, heads=heads, kv_heads=kv_heads, q_len=s.new_tokens,
                                     kv_len=s.new_tokens + s.past_tokens, head_dim=hd, v_dim=hd, causal=int(not t.encoder), window=window,
                                     dtype=chain.formats.vector, weight_dtype=chain.formats.kv), read))
    return chain.add(_out(t, chain.formats, tokens, heads * hd), parts)


def _out(t: Transformer, f: Formats, tokens: int, k: int) -> Op:
    return Op.of("out", "gemm", m=tokens, n=t.hidden, k=k, bias=int(t.bias), dtype=f.product, weight_dtype=f.weight, output_dtype=f.vector, sparsity=f.sparsity,
                 params=k * t.hidden + t.bias * t.hidden)


def _latent_attention(chain: _Chain, t: Transformer, x: int, segments: tuple[Segment, ...], phase: str, tensor: int, window: int) -> int:
    """MLA. Many new tokens: the latent is widened to keys and values per head. One or few: the widening matrices are absorbed into the query
    and the output, and all heads read the latent itself as one key head (DeepSeek-V2, 2024, section 2.1.2 and appendix C)."""
    tokens, heads, f = sum(s.tokens for s in segments), share(t, "heads", t.heads, tensor), chain.formats
    query, latent = t.nope_dim + t.rope_dim, t.kv_rank + t.rope_dim
    down = chain.product("down", x, tokens, t.q_rank + latent, t.hidden)
    q_params, kv_params = t.norm_params(t.q_rank) if t.q_rank else 0, t.norm_params(t.kv_rank)
    kv = chain.vector("kv_norm", "norm", [down], kv_params, rows=tokens, cols=t.kv_rank)
    if t.q_rank:
        q = chain.product("q_up", chain.vector("q_norm", "norm", [down], q_params, rows=tokens, cols=t.q_rank), tokens, heads * query, t.q_rank)
    else:
        q = chain.product("q", x, tokens, heads * query, t.hidden)
    q = chain.elementwise("rope", [q, down], tokens * (heads + 1) * t.rope_dim, ROPE_COST, 2 * tokens * t.rope_dim)
    widen = t.kv_rank * heads * (t.nope_dim + t.v_dim)
    parts: list[int] = []
    absorbed_any = False
    for i, s in enumerate(segments):
        read = [kv] if not s.past_tokens else [kv, chain.input(f"kv{i}", s.batch * s.past_tokens * latent, f.kv)]
        kv_len = s.new_tokens + s.past_tokens
        held = 0 if absorbed_any or parts else widen
        sizes: dict[str, Any] = {"batch": s.batch, "heads": heads, "q_len": s.new_tokens, "kv_len": kv_len, "causal": 1, "window": window}
        if phase == "decode" or (s.past_tokens and s.new_tokens < t.nope_dim):  # few new tokens: widening the whole cache would cost more
            absorbed_any = True
            a = chain.product(f"absorb_q{i}", q, s.tokens, t.kv_rank, t.nope_dim, b=heads, params=held and t.kv_rank * heads * t.nope_dim)
            a = chain.add(Op.of(f"attention{i}", "attention", kv_heads=1, head_dim=latent, v_dim=t.kv_rank, latent=1, dtype=f.vector, weight_dtype=f.kv, **sizes), [a, *read])
            parts.append(chain.product(f"absorb_v{i}", a, s.tokens, t.v_dim, t.kv_rank, b=heads, params=held and t.kv_rank * heads * t.v_dim))
        else:
            seen = s.batch * kv_len
            wide = chain.add(Op.of(f"kv_up{i}", "gemm", m=seen, n=heads * (t.nope_dim + t.v_dim), k=t.kv_rank, dtype=f.product, weight_dtype=f.weight,
                                   output_dtype=f.vector, sparsity=f.sparsity, params=held), read)
            parts.append(chain.add(Op.of(f"attention{i}", "attention", kv_heads=heads, head_dim=query, v_dim=t.v_dim, dtype=f.vector, **sizes), [q, wide]))
    return chain.add(_out(t, f, tokens, heads * t.v_dim), parts)


def _feed_forward(chain: _Chain, t: Transformer, name: str, x: int, tokens: int, width: int) -> int:
    x = chain.product(f"{name}_up", x, tokens, width * (2 if t.gated else 1), t.hidden, t.bias)
    x = chain.elementwise(f"{name}_act", [x], tokens * width, ELEMENTWISE_COST[t.act] + t.gated, tokens * width * t.gated)
    return chain.product(f"{name}_down", x, tokens, t.hidden, width, t.bias)


def hit_experts(t: Transformer, tokens: int, held: int) -> int:
    """Experts of `held` that at least one of so many tokens is sent to, when routing is even and independent: held (1 - (1 - k/E)^tokens)."""
    return max(1, min(held, round(held * -math.expm1(tokens * math.log1p(-t.top_k / t.experts))))) if t.top_k < t.experts else held


def _mixture(chain: _Chain, t: Transformer, x: int, tokens: int, tensor: int, expert: int) -> int:
    replicas = max(expert // tensor, 1)
    width = share(t, "expert columns", t.moe_ffn, max(tensor // expert, 1))
    held = share(t, "experts", t.experts, expert)
    if max(expert, tensor) % min(expert, tensor):
        raise InputError(f"transformer {t.key!r}: expert {expert} and tensor {tensor}: expected one to divide the other")
    everywhere = tokens * replicas
    rows = max(1, math.ceil(everywhere * t.top_k / expert))
    scores = chain.product("router", x, tokens, t.experts, t.hidden, t.bias)
    route = chain.vector("route", "route", [scores], tokens=tokens, experts=t.experts, top_k=t.top_k)
    sent = chain.vector("dispatch", "move", [x, route], elements=rows * t.hidden)
    groups = min(hit_experts(t, everywhere, held), rows)
    y = chain.experts("experts_up", sent, groups, rows, width * (2 if t.gated else 1), t.hidden, t.bias, held)
    y = chain.elementwise("experts_act", [y], rows * width, ELEMENTWISE_COST[t.act] + t.gated, rows * width * t.gated)
    y = chain.experts("experts_down", y, groups, rows, t.hidden, width, t.bias, held)
    back = max(1, math.ceil(tokens * t.top_k / max(expert // replicas, 1)))  # rows of this device's own tokens
    y = chain.vector("combine", "reduce", [y, route], rows=tokens * t.hidden, cols=max(1, round(back / tokens)))
    if t.shared_experts:
        own = _feed_forward(chain, t, "shared", x, tokens, share(t, "shared expert columns", t.shared_experts * t.moe_ffn, tensor))
        y = chain.elementwise("shared_add", [y, own], tokens * t.hidden, ELEMENTWISE_COST["add"], tokens * t.hidden)
    return y


def head_graph(t: Transformer, segment: Segment, phase: str, tensor: int, formats: Formats, rows: int) -> Workload:
    """Embedding, final norm and head; see `Transformer.head_workload`. A tied head reads the table once more but holds it once."""
    weight = formats.weight if BITS[formats.weight] != BITS[formats.product] and BITS[formats.product] >= 16 else formats.vector
    chain = _Chain(f"{t.key}/{phase}/head", Formats(formats.vector, weight, formats.vector, formats.kv))
    tokens, columns = segment.tokens, -(-t.vocab // tensor)
    ids = chain.builder.input("ids", tokens, "int32")
    chain.sizes[ids] = tokens
    table = columns * t.hidden
    x = chain.add(Op.of("embedding", "gather", rows=tokens, width=t.hidden, table_rows=columns, dtype=formats.vector, weight_dtype=weight, params=table), [ids])
    if t.positions or t.token_types:
        x = chain.elementwise("positions", [x], tokens * t.hidden, ELEMENTWISE_COST["add"], segment.new_tokens * t.hidden, (t.positions + t.token_types) * t.hidden)
    if t.embed_norm:
        x = chain.norm("embed_norm", x, tokens, t, t.hidden)
    x = chain.norm("final_norm", x, tokens, t, t.hidden)
    chain.product("head", x, rows, columns, t.hidden, t.head_bias, params=(0 if t.tied else table) + t.head_bias * columns)
    return _phase(chain, phase)


# -- backward ---------------------------------------------------------------------------------------------------------------------------

def _phase(chain: _Chain, phase: str) -> Workload:
    if phase not in ("backward", "train"):
        return chain.builder.build()
    forward = list(chain.steps)
    target = chain if phase == "train" else _Chain(chain.builder.name, chain.formats)
    saved: dict[int, int] = {}

    def kept(tensor: int) -> int:
        if target is chain:
            return tensor
        if tensor not in saved:
            saved[tensor] = target.input(f"saved{tensor}", chain.sizes[tensor])
        return saved[tensor]

    gradient = target.input("gradient", chain.sizes[forward[-1][2]])
    for op, inputs, _ in reversed(forward):
        for back in backward_of(op):
            out = target.add(back, [gradient, *map(kept, inputs)])
            if not back.name.endswith(".wgrad"):
                gradient = out
    return target.builder.build()


def backward_of(op: Op) -> list[Op]:
    """The kernels of an op's backward pass: `.dgrad` towards its inputs, `.wgrad` towards its weights. They hold no parameters of their own.

    A product has two products of its size. Attention has five in place of two (scores, dV, dP, dQ, dK: FlashAttention-2, Dao 2023, algorithm
    2), written as one attention three times as wide in keys and twice in values. Elementwise work reads the gradient beside its input.
    """
    d: dict[str, Any] = op.dims
    dtype = op.output_dtype
    if op.kind == "gemm":
        flipped = [Op.of(f"{op.name}.dgrad", "gemm", m=d["m"], n=d["k"], k=d["n"], b=d["b"], dtype=dtype, weight_dtype=op.weight_dtype)]
        return [*flipped, Op.of(f"{op.name}.wgrad", "gemm", m=d["n"], n=d["k"], k=d["m"], b=d["b"], dtype=dtype)] if op.params else flipped
    if op.kind == "grouped_gemm":
        return [Op.of(f"{op.name}.dgrad", "grouped_gemm", groups=d["groups"], m=d["m"], n=d["k"], k=d["n"], dtype=dtype, weight_dtype=op.weight_dtype),
                Op.of(f"{op.name}.wgrad", "gemm", b=d["groups"], m=d["n"], n=d["k"], k=max(1, d["m"] // d["groups"]), dtype=dtype)]
    if op.kind == "attention":
        return [Op.of(f"{op.name}.dgrad", "attention", dtype=dtype, **{**d, "head_dim": 3 * d["head_dim"], "v_dim": 2 * d["v_dim"], "latent": 0})]
    if op.kind == "elementwise":
        return [Op.of(f"{op.name}.dgrad", "elementwise", dtype=dtype, **{**d, "extra_elements": d["extra_elements"] + d["elements"]})]
    if op.kind == "norm":  # dx needs two row sums of gradient and input; the scale's gradient is a sum over rows
        return [Op.of(f"{op.name}.dgrad", "norm", dtype=dtype, **d), Op.of(f"{op.name}.wgrad", "elementwise", elements=d["rows"] * d["cols"], cost=2, dtype=dtype)]
    if op.kind == "gather":
        return [Op.of(f"{op.name}.wgrad", "move", elements=d["rows"] * d["width"], dtype=dtype)]
    if op.kind == "reduce":
        return [Op.of(f"{op.name}.dgrad", "elementwise", elements=d["rows"] * d["cols"], cost=1, dtype=dtype)]
    return [Op(f"{op.name}.dgrad", op.kind, op.sizes, op.dtype)]
