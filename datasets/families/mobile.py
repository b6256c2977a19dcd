"""Networks of depthwise and grouped convolutions: MobileNet, MNASNet, EfficientNet, ShuffleNet; and text detectors and readers on them."""

from __future__ import annotations

from ..layers import Net, Value
from .blocks import encoder_block, inverted_residual, separable
from .cnn import head, shares
from .draw import MAX_PIXELS, WITH_INT8, Draw


def rounded(channels: float, multiple: int = 8) -> int:
    """The nearest multiple, never below it (as width multipliers are rounded)."""
    return max(multiple, round(channels / multiple) * multiple)


def _shuffle_unit(net: Net, x: Value, channels: int, stride: int) -> Value:
    """A ShuffleNetV2 unit: half of the channels pass by; at stride 2 both branches are computed on all of them."""
    half = channels // 2
    if stride == 1:
        keep, y = net.split(x, (half, x.shape[1] - half), 1)
    else:
        keep = net.conv_norm(net.conv_norm(x, x.shape[1], 3, 2, x.shape[1], act=""), half, 1)
        y = x
    y = net.conv_norm(y, channels - half, 1)
    y = net.conv_norm(y, channels - half, 3, stride, channels - half, act="")
    y = net.conv_norm(y, channels - half, 1)
    return net.channel_shuffle(net.concat((keep, y)))


def cnn_depthwise(draw: Draw) -> Net:
    """MobileNetV1 to V3, MNASNet, EfficientNet and ShuffleNet around their published widths and depths."""
    net = Net("cnn_depthwise", draw.pick(WITH_INT8, (0.3, 0.3, 0.1, 0.3)), family="cnn_depthwise", fold_norm=draw.chance(0.6))
    x = draw.image(net)
    style = draw.pick(("v1", "v2", "v3", "shuffle"), (0.2, 0.35, 0.3, 0.15))
    act = {"v1": "relu", "v2": "clip", "v3": draw.pick(("hardswish", "silu"))}.get(style, "relu")
    width = draw.log(8, 48)
    x = net.conv_norm(x, rounded(width), 3, 2, act=act, name="stem")
    stages = draw.pick((4, 5, 6, 7), (0.2, 0.3, 0.25, 0.25))
    norms = 0 if net.fold_norm else 1
    per_block = {"v1": 4 + 2 * norms, "v2": 6 + 3 * norms, "v3": 12 + 3 * norms, "shuffle": 10 + 5 * norms}[style]
    most = min(24, 184 // per_block)
    growth = draw.log(1.35, 2.0)
    for stage, blocks in enumerate(shares(draw, draw.integer(stages, max(stages, most)), stages)):
        width = min(width * growth, 1280.0)
        stride = 2 if min(x.shape[2:]) > 4 and draw.chance(0.7) else 1
        expand = draw.pick((6, 4, 3, 1), (0.5, 0.2, 0.2, 0.1))
        kernel = draw.pick((3, 5, 7), (0.6, 0.35, 0.05))
        gated = draw.chance(0.7)
        channels = rounded(width) if draw.chance(0.93) else max(8, int(width))
        for block in range(blocks):
            step = stride if block == 0 else 1
            with net.scope(f"stage{stage}/block{block}"):
                if style == "v1":
                    x = separable(net, x, channels, kernel, step, act)
                elif style == "shuffle":
                    x = _shuffle_unit(net, x, 2 * (channels // 2), step if x.shape[1] == 2 * (channels // 2) else 2)
                else:
                    squeeze = max(4, x.shape[1] // 4) if style == "v3" and gated else 0
                    x = inverted_residual(net, x, channels, expand * x.shape[1], kernel, step, act, squeeze,
                                          "hardsigmoid" if act == "hardswish" else "sigmoid")
    with net.scope("head"):
        if draw.chance(0.7):
            x = net.conv_norm(x, draw.integer(320, 2048, 32), 1, act=act)
        head(net, x, draw.classes(), (draw.integer(256, 2048, 64),) if draw.chance(0.2) else (), act)
    return net


def cnn_ocr(draw: Draw) -> Net:
    """Text detection (depthwise backbone, feature pyramid, high-resolution maps) or text reading (a strip of 32 or 48 lines, sequence head)."""
    net = Net("cnn_ocr", draw.pick(WITH_INT8, (0.35, 0.4, 0.1, 0.15)), family="cnn_ocr", fold_norm=draw.chance(0.75))
    return _detector(draw, net) if draw.chance(0.5) else _recogniser(draw, net)


def _detector(draw: Draw, net: Net) -> Net:
    high = 1280 >> min(draw.shrink, 2)
    height = 640 if draw.chance(0.2) and high >= 640 else draw.integer(160, high, 32)
    width = height if draw.chance(0.5) else draw.integer(160, high, 32)
    x = net.image(draw.batch(max(1, min(64, MAX_PIXELS // (height * width)))), 3, height, width)
    channels = rounded(draw.log(8, 64))
    act = draw.pick(("hardswish", "relu"))
    x = net.conv_norm(x, channels, 3, 2, act=act, name="stem")
    levels: list[Value] = []
    for stage, blocks in enumerate(shares(draw, draw.integer(5, 14), 4)):
        channels = rounded(channels * draw.pick((2.0, 1.5), (0.7, 0.3)))
        for block in range(blocks):
            with net.scope(f"stage{stage}/block{block}"):
                x = separable(net, x, channels, 3 if stage < 2 else 5, 2 if block == 0 else 1, act, channels // 4 if stage == 3 and draw.chance(0.5) else 0)
        levels.append(x)
    inner = draw.integer(24, 256, 8)
    with net.scope("neck"):
        tops = [net.conv(level, inner, 1) for level in levels]
        for i in (2, 1, 0):
            tops[i] = net.add(tops[i], net.upsample(tops[i + 1]))
        maps = [net.conv(top, inner // 4, 3) for top in tops]
        x = net.concat([maps[0], *(net.upsample(m, 2 ** (i + 1)) for i, m in enumerate(maps[1:]))])
    for branch in range(draw.pick((1, 2), (0.7, 0.3))):   # probability map, and in training the threshold map
        with net.scope(f"head{branch}"):
            y = net.conv_norm(x, max(4, inner // 4), 3)
            y = net.relu(net.conv_transpose(y, max(4, inner // 4)))
            net.activation(net.conv_transpose(y, 1), "sigmoid")
    return net


def _recogniser(draw: Draw, net: Net) -> Net:
    height = draw.pick((48, 32, 64), (0.5, 0.4, 0.1))
    width = 320 if draw.chance(0.3) else draw.integer(64, 1600 >> min(draw.shrink, 3), draw.pick((8, 32)))
    x = net.image(draw.batch(), draw.pick((3, 1), (0.8, 0.2)), height, width)
    act = draw.pick(("hardswish", "relu"))
    channels = rounded(draw.log(8, 48))
    x = net.conv_norm(x, channels, 3, 2, act=act, name="stem")
    plain = draw.chance(0.25)   # CRNN: full convolutions
    for stage, blocks in enumerate(shares(draw, draw.integer(4, 12), 4)):
        channels = min(rounded(channels * draw.pick((2.0, 1.5, 1.0), (0.5, 0.3, 0.2))), 512)
        for block in range(blocks):
            stride = ((2, 2) if stage == 0 else (2, 1)) if block == 0 and x.shape[2] > 1 else 1
            with net.scope(f"stage{stage}/block{block}"):
                x = net.conv_norm(x, channels, 3, stride, act=act) if plain else separable(net, x, channels, draw.pick((3, 5)), stride, act)
    if x.shape[2] > 1:
        x = net.avg_pool(x, (x.shape[2], draw.pick((1, 2)) if x.shape[3] > 8 else 1))
    y = net.to_sequence(x)
    with net.scope("sequence"):
        if draw.chance(0.5):
            hidden = draw.integer(32, 512, 16)
            for _ in range(draw.pick((1, 2))):
                y = net.recurrent(y, hidden, draw.pick(("lstm", "gru"), (0.8, 0.2)), bidirectional=draw.chance(0.8))
        else:
            heads = draw.pick((2, 4, 8))
            y = net.linear(y, heads * draw.pick((15, 16, 32, 64)))
            for i in range(draw.pick((1, 2, 3, 6), (0.3, 0.4, 0.2, 0.1))):
                with net.scope(f"block{i}"):
                    y = encoder_block(net, y, heads, 2 * y.shape[2], draw.pick(("silu", "gelu")))
    net.softmax(net.linear(y, draw.integer(11, 18500), name="characters"))
    return net
