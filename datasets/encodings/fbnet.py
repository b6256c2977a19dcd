"""FBNet vectors (Wu et al., CVPR 2019, tables 1 and 2): 22 layers, each one of nine blocks.

Blocks by number, as HW-NAS-Bench (Li et al., ICLR 2021) and the tables after it count them: 0 k3_e1, 1 k3_e1_g2, 2 k3_e3, 3 k3_e6, 4 k5_e1,
5 k5_e1_g2, 6 k5_e3, 7 k5_e6, 8 skip. An image of 64 or less takes the form for CIFAR of HW-NAS-Bench: stem and second stage keep the
size, 1,504 channels before the classifier. The authors' FBNet-A has those 1,504 at full size too: a row says so with `head`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import FormatError, UnknownNameError
from ..layers import Net, Value
from ..ops import shown
from ..workload import Workload
from .vector import Encoding, listed, number, opened, words

BLOCKS = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")
#: (layers, channels) of the seven stages
STAGES = ((1, 16), (4, 24), (4, 32), (4, 64), (4, 112), (4, 184), (1, 352))
LAYERS = sum(layers for layers, _ in STAGES)
IMAGENET_STRIDES, CIFAR_STRIDES = (1, 2, 2, 2, 1, 2, 1), (1, 1, 2, 2, 1, 2, 1)
#: image sides up to this one take the CIFAR form
CIFAR_SIDE = 64
WHERE = "fbnet"


def blocks_of(encoding: Encoding) -> list[str]:
    """22 block names from a list of numbers or names (`ir_` before them is dropped), such text, or a row with `op00` to `op21`.

    Raises FormatError, or UnknownNameError for a block outside the space.
    """
    row = opened(encoding, WHERE)
    listing = words(row)
    values = listing if listing is not None else listed(row, "op", LAYERS, WHERE, first="00")
    if len(values) != LAYERS:
        raise FormatError(f"{WHERE}: expected {LAYERS} blocks, got {len(values)}")
    names = []
    for i, value in enumerate(values):
        if isinstance(value, str) and not value.isdigit():
            name = value.removeprefix("ir_")
            if name not in BLOCKS:
                raise UnknownNameError("block", shown(value), BLOCKS, f"in {WHERE}, layer {i}")
        else:
            name = BLOCKS[number(int(value) if isinstance(value, str) else value, 0, len(BLOCKS) - 1, f"{WHERE}, layer {i}")]
        names.append(name)
    return names


def _block(net: Net, x: Value, name: str, channels: int, stride: int) -> Value:
    if name == "skip":  # nothing, or a projection where shapes change
        return x if stride == 1 and x.shape[1] == channels else net.conv_norm(x, channels, 1, stride)
    kernel, expand, *grouped = (int(part[1:]) for part in name.split("_"))
    groups, wide = (grouped or [1])[0], x.shape[1] * expand
    y = net.conv_norm(x, wide, 1, groups=groups)
    if groups > 1:
        y = net.channel_shuffle(y)
    y = net.conv_norm(y, wide, kernel, stride, groups=wide)
    y = net.conv_norm(y, channels, 1, groups=groups, act="")
    return net.add(x, y) if x.shape == y.shape else y


def fbnet(encoding: Encoding, batch: int = 1, resolution: int = 0, dtype: str = "float32", classes: int = 0) -> Workload:
    """The network of 22 blocks. `resolution` 0 is 224; `classes` 0 is 1000, 100 in the CIFAR form. A row may have `head`, the channels before the
    classifier. Raises what `blocks_of` raises, FormatError for an impossible head."""
    names, side = iter(blocks_of(encoding)), resolution or 224
    row = opened(encoding, WHERE)
    head = number(row["head"], 1, 2**20, f"{WHERE}, head") if isinstance(row, Mapping) and "head" in row else 0
    small = side <= CIFAR_SIDE
    net = Net("fbnet", dtype, family="cnn_depthwise")
    x = net.conv_norm(net.image(batch, 3, side, side), STAGES[0][1], 3, 1 if small else 2, name="stem")
    for stage, ((layers, channels), stride) in enumerate(zip(STAGES, CIFAR_STRIDES if small else IMAGENET_STRIDES, strict=True)):
        for i in range(layers):
            with net.scope(f"stage{stage}/layer{i}"):
                x = _block(net, x, next(names), channels, stride if i == 0 else 1)
    with net.scope("head"):
        x = net.conv_norm(x, head or (1504 if small else 1984), 1)
        net.linear(net.global_avg_pool(x), classes or (100 if small else 1000), name="classifier")
    return net.build()
