"""Once-for-all vectors (Cai et al., ICLR 2020, section 3; MobileNetV3 space): kernel and expansion of 5 x 4 blocks, depth of five stages.

    {"ks": [20 numbers], "e": [20 numbers], "d": [5 numbers], "r": 224, "width": 1.2}

Entries of blocks beyond a stage's depth are there and do nothing. An expansion may be any number (MobileNetV3's own 2.5 is), so hand-made
networks of the space can be written too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..errors import FormatError
from ..families.blocks import inverted_residual
from ..layers import Net
from ..ops import shown
from ..workload import Workload
from .vector import Encoding, divisible, listed, number, opened

#: channels, stride, activation, squeeze-and-excitation of the five stages
STAGES = ((24, 2, "relu", False), (40, 2, "relu", True), (80, 2, "hardswish", False), (112, 1, "hardswish", True), (160, 2, "hardswish", True))
MOST_BLOCKS = 4
#: the public networks of the open latency tables are `ofa_mbv3_d234_e346_k357_w1.2`
WIDTH = 1.2
WHERE = "ofa"


def ofa(encoding: Encoding, batch: int = 1, resolution: int = 0, dtype: str = "float32", classes: int = 1000) -> Workload:
    """The sub-network of a row: `ks`, `e`, `d` as lists or as columns `ks0`.., `e0`.., `d0`..; `r` the image side unless `resolution` says
    it (neither: 224); `width` the channel multiplier (1.2). Raises FormatError naming the entry."""
    row = opened(encoding, WHERE)
    if not isinstance(row, Mapping):
        raise FormatError(f"{WHERE}: expected a row with ks, e, d (and r, width), got {shown(row)}")
    kernels = [number(k, 1, 99, f"{WHERE}, ks{i}") for i, k in enumerate(listed(row, "ks", 20, WHERE))]
    expands = [_factor(e, f"{WHERE}, e{i}") for i, e in enumerate(listed(row, "e", 20, WHERE))]
    depths = [number(d, 1, MOST_BLOCKS, f"{WHERE}, d{i}") for i, d in enumerate(listed(row, "d", 5, WHERE))]
    width, side = _factor(row.get("width", WIDTH), f"{WHERE}, width"), resolution or number(row.get("r", 224), 1, 2**16, f"{WHERE}, r")

    net = Net("ofa", dtype, family="cnn_depthwise")
    first = divisible(16 * width)
    x = net.conv_norm(net.image(batch, 3, side, side), first, 3, 2, act="hardswish", name="stem")
    with net.scope("first"):
        x = inverted_residual(net, x, first, first, act="relu")
    for stage, (channels, stride, act, gated) in enumerate(STAGES):
        for block in range(depths[stage]):
            at = stage * MOST_BLOCKS + block
            with net.scope(f"stage{stage}/block{block}"):
                wide = divisible(round(x.shape[1] * expands[at]))
                x = inverted_residual(net, x, divisible(channels * width), wide, kernels[at], stride if block == 0 else 1, act,
                                      divisible(wide // 4) if gated else 0, "hardsigmoid")
    with net.scope("head"):
        x = net.conv_norm(x, divisible(960 * width), 1, act="hardswish")
        mixed = net.activation(net.linear(net.global_avg_pool(x), divisible(1280 * max(width, 1.0)), bias=False, name="mix"), "hardswish")
        net.linear(mixed, classes, name="classifier")
    return net.build()


def _factor(value: object, where: str) -> float:
    """A finite number above zero, at most 64."""
    try:
        factor = float(value) if isinstance(value, int | float) or hasattr(value, "__float__") else math.nan
    except OverflowError:  # a whole number of hundreds of digits
        factor = math.inf
    if not 0.0 < factor <= 64.0:
        raise FormatError(f"{where}: expected a number above 0, at most 64, got {shown(value)}")
    return factor
