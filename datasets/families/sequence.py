"""Classifiers of audio, bytes, sensors and short text: 1-D convolutions, recurrent layers, averaged embeddings, transformer encoders."""

from __future__ import annotations

from ..layers import Net, Value
from .blocks import encoder_block
from .draw import FLOATS, MAX_TOKENS, Draw


def _convolutions(draw: Draw, net: Net, x: Value) -> Value:
    n, t, d = x.shape
    y = net.reshape(x, (n, d, 1, t))   # a transpose the first convolution absorbs
    width, separable = draw.channels(8, 256), draw.chance(0.3)
    for i in range(draw.depth(1, 10)):
        length = y.shape[3]
        kernel = min(draw.pick((3, 5, 7, 9, 25), (0.45, 0.2, 0.15, 0.15, 0.05)), 2 * length - 1)
        stride = draw.pick((1, 2, 4), (0.55, 0.35, 0.1)) if length >= 8 else 1
        with net.scope(f"layer{i}"):
            if separable:
                y = net.conv_norm(y, y.shape[1], (1, kernel), (1, stride), groups=y.shape[1])
                y = net.conv_norm(y, width, 1)
            else:
                y = net.conv_norm(y, width, (1, kernel), (1, stride))
            if y.shape[3] >= 8 and draw.chance(0.3):
                y = net.max_pool(y, (1, 2))
        width = min(2048, round(width * draw.pick((1.0, 1.5, 2.0), (0.6, 0.2, 0.2))))
    return net.global_avg_pool(y)


def _recurrent(draw: Draw, net: Net, x: Value) -> Value:
    cell, hidden, both = draw.pick(("lstm", "gru", "rnn"), (0.55, 0.35, 0.1)), draw.channels(8, 1024), draw.chance(0.35)
    for _ in range(draw.pick((1, 2, 3, 4), (0.45, 0.35, 0.15, 0.05))):
        x = net.recurrent(x, hidden, cell, both)
    return net.reshape(net.narrow(x, 1), (x.shape[0], x.shape[2]))


def _encoder(draw: Draw, net: Net, x: Value) -> Value:
    heads = draw.pick((12, 8, 4, 2, 1, 16), (0.3, 0.25, 0.2, 0.1, 0.05, 0.1))
    width = heads * draw.pick((64, 32, 16), (0.6, 0.25, 0.15))
    if x.shape[2] != width:
        x = net.linear(x, width, name="project")
    x = net.position_embedding(x)
    post, hidden, fused = draw.chance(0.5), width * draw.pick((4, 2)), draw.chance(0.5)
    for i in range(12 if draw.chance(0.15) and not draw.shrink else draw.depth(1, 15)):
        with net.scope(f"block{i}"):
            x = encoder_block(net, x, heads, hidden, draw.pick(("gelu", "relu"), (0.8, 0.2)), not post, fused)
    return net.mean(x, 1) if draw.chance(0.5) else net.reshape(net.narrow(x, 1), (x.shape[0], width))


def seq(draw: Draw) -> Net:
    """Tokens (vocabulary 32 to 50k; bytes often) or frames of 1 to 256 features, 8 to 8192 positions, in one of four styles."""
    net = Net("seq", draw.pick((*FLOATS, "int8"), (0.3, 0.45, 0.1, 0.15)), family="seq", fold_norm=draw.chance(0.5))
    style = draw.pick(("conv", "recurrent", "mean", "encoder"), (0.4, 0.22, 0.1, 0.28))
    high = {"conv": 8192, "recurrent": 1024, "mean": 4096, "encoder": 2048}[style] >> min(draw.shrink, 4)
    length = draw.integer(8, high, draw.pick((1, 8, 16)))
    batch = draw.batch(max(1, min(256, MAX_TOKENS // length)))
    if style == "mean" or draw.chance(0.5):
        rows = draw.pick((256, draw.integer(32, 50000)), (0.4, 0.6))
        width = draw.integer(4, 1024, draw.pick((8, 4, 16)))
        x = net.embedding(net.tokens(batch, length), rows, width)
    else:
        x = net.input((batch, length, draw.pick((1, draw.integer(2, 256)), (0.3, 0.7))))
    if style == "mean":
        y = net.mean(x, 1)
        for _ in range(draw.pick((1, 2, 3))):
            y = net.relu(net.linear(y, draw.channels(8, 1024)))
    else:
        y = {"conv": _convolutions, "recurrent": _recurrent, "encoder": _encoder}[style](draw, net, x)
    y = net.linear(y, draw.integer(2, 1000), name="classifier")
    if draw.chance(0.5):
        net.softmax(y)
    return net
