"""Decoder-only language models in their two phases: prefill (many tokens, compute) and decode (one token, a long cache, memory)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..layers import Net, Value
from .blocks import feed_forward, self_attention
from .draw import FLOATS, MAX_TOKENS, Draw


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a decoder-only model."""

    heads: int
    kv_heads: int
    head_dim: int
    width: int
    hidden: int
    layers: int
    vocabulary: int
    gated: bool
    rms: bool
    rope: bool
    bias: bool
    fused: bool
    act: str


def draw_shape(draw: Draw) -> Shape:
    """GPT-2 small to a 70B Llama in width; 1 to 8 layers, since layers repeat."""
    heads = draw.pick((12, 16, 20, 25, 32, 40, 48, 64, 8, 4), (0.15, 0.15, 0.05, 0.05, 0.2, 0.1, 0.05, 0.1, 0.1, 0.05))
    head_dim = draw.pick((64, 128, 80, 96, 256), (0.45, 0.4, 0.05, 0.05, 0.05)) if heads <= 32 else 128
    width = heads * head_dim if draw.chance(0.85) else draw.integer(256, 8192, 64)
    modern = draw.chance(0.6)
    gated = modern and draw.chance(0.9)
    grouped = draw.chance(0.5) if modern else draw.chance(0.1)
    share = draw.pick([g for g in (2, 4, 8, heads) if heads % g == 0]) if grouped else 1
    ratio = draw.pick((8 / 3, 3.5, draw.log(2, 5.5)), (0.4, 0.3, 0.3)) if gated else draw.pick((4.0, draw.log(2, 5)), (0.8, 0.2))
    hidden = max(64, round(width * ratio / 64) * 64)
    vocabulary = draw.pick((50257, 32000, 128256, 151936, draw.integer(256, 256000)), (0.15, 0.25, 0.15, 0.1, 0.35))
    return Shape(heads, heads // share, head_dim, width, hidden, draw.depth(1, 8), vocabulary, gated, modern, modern or draw.chance(0.2),
                 not modern or draw.chance(0.1), draw.chance(0.6), "silu" if gated and draw.chance(0.9) else "gelu")


def decoder(net: Net, ids: Value, shape: Shape, kv_len: int, head_tokens: int) -> None:
    """Embedding, `layers` pre-norm blocks seeing `kv_len` positions, final norm, logits of the first `head_tokens` positions."""
    norm = net.rms_norm if shape.rms else net.layer_norm
    x = net.embedding(ids, shape.vocabulary, shape.width, name="embedding")
    if not shape.rope:
        x = net.position_embedding(x, kv_len)
    for i in range(shape.layers):
        with net.scope(f"layer{i}"):
            x = net.add(x, self_attention(net, norm(x), shape.heads, shape.head_dim, shape.kv_heads, True, kv_len, shape.bias, shape.fused, shape.rope))
            x = net.add(x, feed_forward(net, norm(x), shape.hidden, shape.act, shape.gated, shape.bias))
    x = norm(x)
    if head_tokens:
        net.linear(net.narrow(x, head_tokens), shape.vocabulary, bias=False, name="head")


def _net(draw: Draw, family: str) -> Net:
    dtype = draw.pick(FLOATS, (0.5, 0.15, 0.35))
    return Net(family, dtype, draw.pick((dtype, "int8", "int4"), (0.85, 0.09, 0.06)), family)


def prefill(draw: Draw) -> Net:
    """16 to 8192 new tokens per sequence, logits of the last; one in seven times after a cached prefix."""
    net, shape = _net(draw, "prefill"), draw_shape(draw)
    length = draw.integer(16, 8192 >> draw.shrink, draw.pick((1, 16, 128), (0.3, 0.4, 0.3)))
    if draw.chance(0.4):
        length = 1 << round(math.log2(length))
    batch = draw.batch(max(1, min(128, MAX_TOKENS // length // 4)))
    past = draw.integer(16, 8192) if draw.chance(0.15) else 0
    decoder(net, net.tokens(batch, length), shape, length + past, draw.pick((1, 0, length), (0.85, 0.1, 0.05)))
    return net


def decode(draw: Draw) -> Net:
    """One new token per sequence (a few when speculating) against a cache of 64 to 32768 positions; batch 1 to 128."""
    net, shape = _net(draw, "decode"), draw_shape(draw)
    kv_len = draw.integer(64, 32768 >> min(draw.shrink, 8), draw.pick((1, 16, 128), (0.4, 0.3, 0.3)))
    new = 1 if draw.chance(0.92) else draw.integer(2, 8)
    batch = draw.batch(128)
    decoder(net, net.tokens(batch, new), shape, kv_len + new, new)
    return net
