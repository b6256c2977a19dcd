"""What one device runs of a `Transformer`: one layer's operators, forward and backward, and the embedding and head around them.

    layer_workload(transformer("llama3_70b"), "decode", batch=32, past_tokens=2048, tensor=8, weight_dtype="int4")

A layer is asked for one at a time because layers repeat: simulate each distinct one (`Transformer.blocks`) once and multiply. Collectives are not part of
a layer's workload; who shards it adds them (`datasets/simulator/serving.py`).

Serving engines fuse what these graphs fuse: query, key and value are one product, so are the two halves of a gated feed-forward; rotary
positions write keys and values to the cache; scores never leave attention.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .dtypes import BITS
from .errors import InputError, UnknownNameError
from .ops import ELEMENTWISE_COST, Op
from .transformer import LAYERS, PHASES, Segment, Transformer
from .transformer_chain import ROPE_COST, Chain, Formats, finish
from .workload import Workload


def layer_workload(model: Transformer, /, phase: str = "prefill", batch: int = 1, new_tokens: int = 1, past_tokens: int = 0, tensor: int = 1, expert: int = 1,
                   dtype: str = "bfloat16", weight_dtype: str | None = None, kv_dtype: str | None = None, layer: str = "",
                   window: int | None = None, sparsity: str = "") -> Workload:
    """What ONE device runs for ONE layer, without the collectives.

    `tensor`: attention heads and feed-forward columns are cut into so many parts (Megatron: two all-reduces a layer follow); key heads fewer
    than that are repeated. `expert`: experts are spread over so many devices; beyond `tensor`, attention is repeated expert/tensor times and
    `batch` is that of one replica. Routing is taken as even. `dtype` is what products compute in; below 16 bits the rest (attention, norms,
    activations between) stays in bfloat16, as serving engines keep it. `layer` "dense" or "moe" (default: moe if the model has experts),
    `window` as in `Block` (default: the model's). `sparsity` of the weights as in `Op`.
    Phases: "prefill", "decode" (MLA with absorbed projections), "forward", "backward" (recomputes scores as FlashAttention-2 does), "train" (both).
    Raises InputError naming what does not divide or is not known.
    """
    if phase == "decode" and model.encoder:
        raise InputError(f"transformer {model.key!r} is an encoder: it has no decode phase")
    return step_workload(model, [Segment(batch, new_tokens, past_tokens)], phase, tensor, expert, dtype, weight_dtype, kv_dtype, layer, window, sparsity)


def step_workload(model: Transformer, /, segments: Sequence[Segment], phase: str = "prefill", tensor: int = 1, expert: int = 1, dtype: str = "bfloat16",
                  weight_dtype: str | None = None, kv_dtype: str | None = None, layer: str = "", window: int | None = None, sparsity: str = "") -> Workload:
    """`layer_workload` for several groups of sequences in one step, as chunked prefill mixes them: linear layers see all tokens at once,
    attention each group by itself."""
    if phase not in PHASES:
        raise UnknownNameError("phase", phase, PHASES)
    kind = layer or ("moe" if model.experts else "dense")
    if kind not in LAYERS or (kind == "moe") > bool(model.experts) or (kind == "dense" and not model.ffn):
        raise InputError(f"transformer {model.key!r}: layer: expected {' or '.join(sorted({b.kind for b in model.blocks}))}, got {layer!r}")
    formats = Formats.of(dtype, weight_dtype, kv_dtype, sparsity)
    return _layer_graph(model, tuple(segments), phase, tensor, expert, formats, kind, model.window if window is None else window)


def head_workload(model: Transformer, /, phase: str = "prefill", batch: int = 1, new_tokens: int = 1, tensor: int = 1, dtype: str = "bfloat16",
                  weight_dtype: str | None = None, logits: int | None = None) -> Workload:
    """Embedding of batch x new_tokens tokens, final norm and the language-model head on ONE device, the vocabulary cut into `tensor` parts.

    `logits`: rows the head computes (default: one per sequence in prefill, every token otherwise). Embeddings and head stay in 16 bits
    whatever `dtype`, as published quantised checkpoints leave them, unless `weight_dtype` says otherwise.
    """
    if phase not in PHASES:
        raise UnknownNameError("phase", phase, PHASES)
    segment = Segment(batch, new_tokens)
    rows = logits if logits is not None else (batch if phase == "prefill" else segment.tokens)
    return _head_graph(model, segment, phase, tensor, Formats.of(dtype, weight_dtype, None), rows)


def share(t: Transformer, what: str, size: int, parts: int) -> int:
    """`size` over `parts`. Raises InputError when it does not divide."""
    if not isinstance(parts, int) or isinstance(parts, bool) or parts < 1:
        raise InputError(f"transformer {t.key!r}: {what}: expected a whole number of parts of at least 1, got {parts!r}")
    if size % parts:
        raise InputError(f"transformer {t.key!r}: {size} {what} do not divide into {parts} parts; choose a divisor")
    return size // parts


def _layer_graph(t: Transformer, segments: tuple[Segment, ...], phase: str, tensor: int, expert: int, formats: Formats, kind: str, window: int) -> Workload:
    """One layer on one device; see `layer_workload`."""
    if not segments:
        raise InputError(f"transformer {t.key!r}: a step needs at least one segment of sequences")
    chain = Chain(f"{t.key}/{phase}/{kind}", formats)
    x = chain.input("x", sum(s.tokens for s in segments) * t.hidden)
    add_layer(chain, t, x, segments, phase, tensor, expert, kind, window)
    return finish(chain, phase)


def add_layer(chain: Chain, t: Transformer, x: int, segments: tuple[Segment, ...], phase: str, tensor: int, expert: int, kind: str, window: int,
              collectives: bool = False) -> int:
    """Adds one layer that reads `x`; returns its output. `collectives`: what the devices of a tensor or expert group exchange too (Megatron-LM: a sum
    after attention and after the feed-forward; experts: tokens sent and brought back)."""
    tokens = sum(s.tokens for s in segments)

    def joined(name: str, y: int) -> int:
        return chain.vector(name, "all_reduce", [y], elements=tokens * t.hidden, ranks=tensor) if collectives and tensor > 1 else y

    y = chain.norm("attention_norm", x, tokens, t, t.hidden)
    attend = _latent_attention if t.latent else _attention
    y = joined("attention_sum", attend(chain, t, y, segments, phase, tensor, window))
    x = chain.elementwise("attention_add", [y, x], tokens * t.hidden, ELEMENTWISE_COST["add"], tokens * t.hidden)
    for i in range(max(t.norms - 2, 0)):  # norms after attention and after the feed-forward, where a model has them
        x = chain.norm(f"post_norm{i}", x, tokens, t, t.hidden)
    z = chain.norm("ffn_norm", x, tokens, t, t.hidden) if t.norms > 1 else x
    if kind == "moe":
        y = _mixture(chain, t, z, tokens, tensor, expert, collectives)
    else:
        y = add_feed_forward(chain, t, "ffn", z, tokens, share(t, "ffn columns", t.ffn, tensor))
    y = joined("ffn_sum", y)
    return chain.elementwise("ffn_add", [y, x], tokens * t.hidden, ELEMENTWISE_COST["add"], tokens * t.hidden)


def _attention(chain: Chain, t: Transformer, x: int, segments: tuple[Segment, ...], phase: str, tensor: int, window: int) -> int:
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
    return Op.of("out", "gemm", m=tokens, n=t.hidden, k=k, bias=int(t.bias or t.out_bias), dtype=f.product, weight_dtype=f.weight, output_dtype=f.vector, sparsity=f.sparsity,
                 params=(k + (t.bias or t.out_bias)) * t.hidden)


def _latent_attention(chain: Chain, t: Transformer, x: int, segments: tuple[Segment, ...], phase: str, tensor: int, window: int) -> int:
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


def add_feed_forward(chain: Chain, t: Transformer, name: str, x: int, tokens: int, width: int) -> int:
    """Adds a feed-forward of that width that reads `x`; returns its output."""
    bias = t.bias or t.ffn_bias
    x = chain.product(f"{name}_up", x, tokens, width * (2 if t.gated else 1), t.hidden, bias)
    x = chain.elementwise(f"{name}_act", [x], tokens * width, ELEMENTWISE_COST[t.act] + t.gated, tokens * width * t.gated)
    return chain.product(f"{name}_down", x, tokens, t.hidden, width, bias)


def hit_experts(t: Transformer, tokens: int, held: int) -> int:
    """Experts of `held` that at least one of so many tokens is sent to, when routing is even and independent: held (1 - (1 - k/E)^tokens)."""
    return max(1, min(held, round(held * -math.expm1(tokens * math.log1p(-t.top_k / t.experts))))) if t.top_k < t.experts else held


def _mixture(chain: Chain, t: Transformer, x: int, tokens: int, tensor: int, expert: int, collectives: bool = False) -> int:
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
    back = max(1, math.ceil(tokens * t.top_k / max(expert // replicas, 1)))  # rows of this device's own tokens
    if collectives and expert > 1:
        sent = chain.vector("experts_send", "all_to_all", [sent], elements=back * t.hidden, ranks=expert)
    groups = min(hit_experts(t, everywhere, held), rows)
    y = chain.experts("experts_up", sent, groups, rows, width * (2 if t.gated else 1), t.hidden, t.bias, held)
    y = chain.elementwise("experts_act", [y], rows * width, ELEMENTWISE_COST[t.act] + t.gated, rows * width * t.gated)
    y = chain.experts("experts_down", y, groups, rows, t.hidden, width, t.bias, held)
    if collectives and expert > 1:
        y = chain.vector("experts_return", "all_to_all", [y], elements=back * t.hidden, ranks=expert)
    y = chain.vector("combine", "reduce", [y, route], rows=tokens * t.hidden, cols=max(1, round(back / tokens)))
    if t.shared_experts:
        if t.shared_gate:
            chain.product("shared_gate", x, tokens, 1, t.hidden)
        own = add_feed_forward(chain, t, "shared", x, tokens, share(t, "shared expert columns", t.shared_experts * t.moe_ffn, tensor))
        y = chain.elementwise("shared_add", [y, own], tokens * t.hidden, ELEMENTWISE_COST["add"], tokens * t.hidden)
    return y


def _head_graph(t: Transformer, segment: Segment, phase: str, tensor: int, formats: Formats, rows: int) -> Workload:
    """Embedding, final norm and head; see `head_workload`. A tied head reads the table once more but holds it once."""
    weight = formats.weight if BITS[formats.weight] != BITS[formats.product] and BITS[formats.product] >= 16 else formats.vector
    chain = Chain(f"{t.key}/{phase}/head", Formats(formats.vector, weight, formats.vector, formats.kv))
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
    return finish(chain, phase)
