"""MnasNet vectors (Tan et al., CVPR 2019; the space of Accel-NASBench, Ahmad et al., DAC 2024): expansion, kernel, layers and
squeeze-and-excitation of seven stages.

    {"block0_e": 6, "block0_k": 3, "block0_l": 1, "block0_se": false, ..., "block6_se": false}

Widths and strides are those with which every parameter count of Accel-NASBench comes out to the last digit. Its `macs` are those of a
counter that adds four per element of a batch norm and the window of a mean to the multiply-adds of convolutions and dense layers, which are ours.
"""

from __future__ import annotations

from ..families.blocks import inverted_residual
from ..layers import Net
from ..workload import Workload
from .vector import Encoding, listed, member, number, opened

#: (channels, stride) of the seven stages
STAGES = ((16, 1), (24, 2), (40, 2), (80, 2), (112, 1), (192, 2), (320, 1))
STEM, HEAD = 32, 1280
WHERE = "mnasnet"


def mnasnet(encoding: Encoding, batch: int = 1, resolution: int = 0, dtype: str = "float32", classes: int = 1000) -> Workload:
    """The network of a row with `block0_e`, `block0_k`, `block0_l`, `block0_se` to `block6_se`, or of four lists of seven: `e`, `k`, `l`, `se`.

    `resolution` 0 is 224. Raises FormatError naming the column.
    """
    row, side = opened(encoding, WHERE), resolution or 224
    net = Net("mnasnet", dtype, family="cnn_depthwise")
    x = net.conv_norm(net.image(batch, 3, side, side), STEM, 3, 2, name="stem")
    for stage, (channels, stride) in enumerate(STAGES):
        expand, kernel, layers, gated = (
            number(listed(row, name, len(STAGES), WHERE)[stage] if name in row else member(row, f"block{stage}_{name}", WHERE), least, most, f"{WHERE}, block{stage}_{name}")
            for name, least, most in (("e", 1, 64), ("k", 1, 99), ("l", 1, 64), ("se", 0, 1)))
        for layer in range(layers):
            with net.scope(f"stage{stage}/layer{layer}"):
                x = inverted_residual(net, x, channels, x.shape[1] * expand, kernel, stride if layer == 0 else 1, "relu", x.shape[1] // 4 if gated else 0)
    with net.scope("head"):
        net.linear(net.global_avg_pool(net.conv_norm(x, HEAD, 1)), classes, name="classifier")
    return net.build()
