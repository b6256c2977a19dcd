"""Multi-layer perceptrons: jet tagging and tabular networks of tens of neurons, and wide dense stacks."""

from __future__ import annotations

from ..layers import Net
from .draw import WITH_INT8, Draw


def mlp(draw: Draw) -> Net:
    """1 to 8 hidden layers of 8 to 512 neurons, in three draws of ten of 512 to 8192; batch 1 to 256."""
    net = Net("mlp", draw.pick(WITH_INT8, (0.3, 0.35, 0.1, 0.25)), family="mlp", fold_norm=draw.chance(0.5))
    wide = draw.chance(0.3)
    width = draw.channels(512, 8192) if wide else draw.channels(4, 512)
    x = net.input((draw.batch(), draw.integer(2, 4096 if wide else 1024)))
    act = draw.pick(("relu", "gelu", "tanh", "silu", "sigmoid", "leakyrelu"), (0.6, 0.1, 0.1, 0.08, 0.06, 0.06))
    normed, residual = draw.chance(0.25), draw.chance(0.15)
    taper = draw.pick((1.0, 0.5, draw.log(0.4, 1.5)), (0.5, 0.25, 0.25))
    for i in range(draw.depth(1, 8)):
        with net.scope(f"layer{i}"):
            y = net.linear(x, width)
            if normed:
                y = net.batch_norm(y)
            y = net.activation(y, act)
            x = net.add(x, y) if residual and x.shape == y.shape else y
        width = min(8192, max(4, round(width * taper)))
    x = net.linear(x, draw.integer(1, 1000) if wide else draw.integer(1, 64), name="out")
    if draw.chance(0.4):
        net.activation(x, "sigmoid") if x.shape[1] == 1 else net.softmax(x)
    return net
