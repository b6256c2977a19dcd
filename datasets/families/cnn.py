"""Convolutional classifiers without depthwise layers: plain (AlexNet, ZF, VGG) and residual or dense (ResNet, ResNeXt, WRN, DenseNet)."""

from __future__ import annotations

from ..layers import Net, Value
from .blocks import basic_block, bottleneck
from .draw import WITH_INT8, Draw


def shares(draw: Draw, total: int, parts: int) -> list[int]:
    """`total` cut into `parts` whole numbers of at least 1, unevenly."""
    weights = [draw.log(0.4, 2.5) for _ in range(parts)]
    scale = (total - parts) / sum(weights)
    return [1 + int(w * scale) for w in weights]


def head(net: Net, x: Value, classes: int, hidden: tuple[int, ...] = (), act: str = "relu") -> Value:
    """Global average, hidden dense layers, logits."""
    x = net.global_avg_pool(x)
    for width in hidden:
        x = net.activation(net.linear(x, width), act)
    return net.linear(x, classes, name="classifier")


def cnn_plain(draw: Draw) -> Net:
    """Stages of convolutions with pools between them and a dense head: AlexNet, ZFNet, VGG-11..19 and small edge networks."""
    net = Net("cnn_plain", draw.pick(WITH_INT8, (0.35, 0.35, 0.1, 0.2)), family="cnn_plain", fold_norm=draw.chance(0.5))
    x = draw.image(net)
    stages = draw.depth(1, 6)
    width = draw.channels(8, 96)
    act = draw.pick(("relu", "leakyrelu", "clip", "silu"), (0.8, 0.1, 0.05, 0.05))
    first = draw.pick((3, 5, 7, 11), (0.55, 0.15, 0.15, 0.15))
    normed = draw.chance(0.5)
    for stage in range(stages):
        if min(x.shape[2:]) < 3:
            break
        with net.scope(f"stage{stage}"):
            kernel = first if stage == 0 else draw.pick((3, 5, 1, 7), (0.75, 0.13, 0.07, 0.05))
            for i in range(draw.integer(1, 4)):
                stride = draw.pick((1, 2, 4), (0.2, 0.5, 0.3)) if stage == 0 == i and kernel > 3 and min(x.shape[2:]) > 32 else 1
                x = net.conv(x, width, kernel, stride, bias=net.fold_norm or not normed)
                if normed and not net.fold_norm:
                    x = net.batch_norm(x)
                x = net.activation(x, act)
            if min(x.shape[2:]) >= 4 and draw.chance(0.85):
                x = net.max_pool(x, 2) if draw.chance(0.7) else net.max_pool(x, 3, 2)
        width = min(round(width * draw.pick((2, 1, 1.5), (0.6, 0.2, 0.2))), 2048)
    hidden = tuple(draw.integer(64, 4096, 32) for _ in range(draw.pick((0, 1, 2), (0.4, 0.2, 0.4))))
    with net.scope("head"):
        if hidden or draw.chance(0.3):
            side = min(draw.pick((7, 6, 4, 1)), *x.shape[2:])
            if max(x.shape[2:]) > side:   # adaptive pool to side x side
                x = net.avg_pool(x, (x.shape[2] // side, x.shape[3] // side))
            x = net.flatten(x)
            for features in hidden:
                x = net.activation(net.linear(x, features), act)
            net.linear(x, draw.classes(), name="classifier")
        else:
            head(net, x, draw.classes())
    return net


def _stem(draw: Draw, net: Net, x: Value, width: int) -> Value:
    with net.scope("stem"):
        if min(x.shape[2:]) <= 64 and draw.chance(0.7):
            return net.conv_norm(x, width, 3)
        kernel = draw.pick((7, 3, 5), (0.7, 0.2, 0.1))
        x = net.conv_norm(x, width, kernel, 2)
        return net.max_pool(x, 3, 2, 1) if draw.chance(0.8) or min(x.shape[2:]) > 128 else x


def _dense_stages(draw: Draw, net: Net, x: Value) -> Value:
    growth = draw.integer(8, 48, draw.pick((8, 4, 1), (0.6, 0.2, 0.2)))
    layers = draw.integer(3, 25)
    for stage, count in enumerate(shares(draw, layers, draw.pick((3, 4), (0.5, 0.5)) if layers >= 4 else 1)):
        for i in range(min(count, 25)):
            with net.scope(f"dense{stage}/layer{i}"):
                y = net.relu(net.batch_norm(x))
                y = net.conv_norm(y, 4 * growth, 1)
                x = net.concat((x, net.conv(y, growth, 3)))
        if min(x.shape[2:]) >= 2:
            with net.scope(f"transition{stage}"):
                x = net.avg_pool(net.conv(net.relu(net.batch_norm(x)), x.shape[1] // 2, 1), 2)
    return x


def cnn_residual(draw: Draw) -> Net:
    """ResNet with basic or bottleneck blocks, wide ResNet, ResNeXt, DenseNet; up to two dozen blocks."""
    net = Net("cnn_residual", draw.pick(WITH_INT8, (0.35, 0.35, 0.1, 0.2)), family="cnn_residual", fold_norm=draw.chance(0.5))
    x = draw.image(net)
    style = draw.pick(("basic", "bottleneck", "next", "dense"), (0.32, 0.36, 0.17, 0.15))
    base = 64 if draw.chance(0.35) else draw.channels(8, 160)
    x = _stem(draw, net, x, base)
    if style == "dense":
        head(net, _dense_stages(draw, net, x), draw.classes())
        return net
    stages = draw.pick((2, 3, 4, 5), (0.1, 0.25, 0.55, 0.1))
    per_block = (5 if net.fold_norm else 7) if style == "basic" else (7 if net.fold_norm else 10)
    most = max(stages, min(27, (186 - 2 * stages) // per_block))
    widen = draw.pick((1.0, 2.0, draw.log(0.5, 4)), (0.6, 0.15, 0.25)) if style != "next" else 2.0
    groups = draw.pick((32, 16, 8, 4)) if style == "next" else 1
    width = base
    for stage, blocks in enumerate(shares(draw, draw.integer(stages, most), stages)):
        stride = 2 if stage and min(x.shape[2:]) > 1 else 1
        inner = max(groups, round(width * widen / groups) * groups)
        for block in range(blocks):
            with net.scope(f"stage{stage + 1}/block{block}"):
                if style == "basic":
                    x = basic_block(net, x, inner, stride if block == 0 else 1)
                else:
                    x = bottleneck(net, x, inner, 4 * width, stride if block == 0 else 1, groups)
        width = min(2 * width, 1024)
    head(net, x, draw.classes())
    return net
