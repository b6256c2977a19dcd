"""Blocks that several families share, named as in the papers that introduced them."""

from __future__ import annotations

from ..layers import Net, Value


def residual(net: Net, x: Value, y: Value, stride: int, act: str = "relu") -> Value:
    """y plus x, x projected where shapes differ (He et al. 2015, option B)."""
    if x.shape != y.shape:
        x = net.conv_norm(x, y.shape[1], 1, stride, act="", name="shortcut")
    x = net.add(x, y)
    return net.activation(x, act) if act else x


def basic_block(net: Net, x: Value, width: int, stride: int = 1) -> Value:
    """Two 3x3 convolutions around a shortcut (ResNet-18)."""
    y = net.conv_norm(x, width, 3, stride)
    return residual(net, x, net.conv_norm(y, width, 3, act=""), stride)


def bottleneck(net: Net, x: Value, width: int, out: int, stride: int = 1, groups: int = 1) -> Value:
    """1x1, 3x3 (grouped: ResNeXt), 1x1 around a shortcut (ResNet-50 v1.5)."""
    y = net.conv_norm(x, width, 1)
    y = net.conv_norm(y, width, 3, stride, groups)
    return residual(net, x, net.conv_norm(y, out, 1, act=""), stride)


def separable(net: Net, x: Value, channels: int, kernel: int = 3, stride: int | tuple[int, int] = 1, act: str = "relu", squeeze: int = 0) -> Value:
    """Depthwise then pointwise convolution (MobileNetV1), with squeeze-and-excitation between when `squeeze` > 0."""
    x = net.conv_norm(x, x.shape[1], kernel, stride, groups=x.shape[1], act=act)
    if squeeze:
        x = net.se_block(x, squeeze, gate="hardsigmoid")
    return net.conv_norm(x, channels, 1, act=act)


def inverted_residual(net: Net, x: Value, channels: int, expand: int, kernel: int = 3, stride: int = 1, act: str = "clip",
                      squeeze: int = 0, gate: str = "sigmoid") -> Value:
    """Widen to `expand` channels, depthwise, project (MobileNetV2); squeeze-and-excitation makes it MobileNetV3 or EfficientNet."""
    y = x if expand == x.shape[1] else net.conv_norm(x, expand, 1, act=act)
    y = net.conv_norm(y, expand, kernel, stride, groups=expand, act=act)
    if squeeze:
        y = net.se_block(y, squeeze, act="relu" if gate == "hardsigmoid" else act, gate=gate)
    y = net.conv_norm(y, channels, 1, act="")
    return net.add(x, y) if x.shape == y.shape else y


def self_attention(net: Net, x: Value, heads: int, head_dim: int = 0, kv_heads: int = 0, causal: bool = False, kv_len: int = 0,
                   bias: bool = True, fused: bool = True, rope: bool = False) -> Value:
    """Projections, attention, output projection, without norm and shortcut; `fused` makes one product of q, k and v."""
    width = x.shape[-1]
    head_dim, kv_heads = head_dim or width // heads, kv_heads or heads
    own, shared = heads * head_dim, kv_heads * head_dim
    if fused:
        q, k, v = net.split(net.linear(x, own + 2 * shared, bias, name="qkv"), (own, shared, shared))
    else:
        q, k, v = net.linear(x, own, bias, name="q"), net.linear(x, shared, bias, name="k"), net.linear(x, shared, bias, name="v")
    if rope:
        q, k = net.rope(q, head_dim), net.rope(k, head_dim)
    return net.linear(net.attention(q, k, v, heads, kv_heads, causal, kv_len), width, bias, name="out")


def feed_forward(net: Net, x: Value, hidden: int, act: str = "gelu", gated: bool = False, bias: bool = True) -> Value:
    """Up, activation, down; `gated` multiplies the activated half by a second projection (SwiGLU)."""
    y = net.activation(net.linear(x, hidden, bias), act)
    if gated:
        y = net.mul(y, net.linear(x, hidden, bias))
    return net.linear(y, x.shape[-1], bias)


def encoder_block(net: Net, x: Value, heads: int, hidden: int, act: str = "gelu", pre_norm: bool = True, fused: bool = True) -> Value:
    """A transformer encoder block: pre-norm (ViT) or post-norm (BERT)."""
    if pre_norm:
        x = net.add(x, self_attention(net, net.layer_norm(x), heads, fused=fused))
        return net.add(x, feed_forward(net, net.layer_norm(x), hidden, act))
    x = net.layer_norm(net.add(x, self_attention(net, x, heads, fused=fused)))
    return net.layer_norm(net.add(x, feed_forward(net, x, hidden, act)))
