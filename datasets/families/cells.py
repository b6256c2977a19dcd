"""Networks of repeated searched cells, after NAS-Bench-201 (Dong & Yang, ICLR 2020): four nodes, six edges, five operations per edge."""

from __future__ import annotations

from ..layers import Net, Value
from .blocks import residual
from .cnn import head
from .draw import MAX_PIXELS, WITH_INT8, Draw

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
#: the six edges (from, to), in the order of the benchmark's architecture strings
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
_OPS_OF = {"none": 0, "skip_connect": 0, "nor_conv_1x1": 3, "nor_conv_3x3": 3, "avg_pool_3x3": 1}

Cell = dict[tuple[int, int], str]


def live(cell: Cell) -> Cell:
    """The edges on a path from input to output that is not cut by `none`; an exporter drops the rest."""
    kept = {edge: op for edge, op in cell.items() if op != "none"}
    reached = {0}
    for node in (1, 2, 3):
        if any(a in reached for a, b in kept if b == node):
            reached.add(node)
    useful = {3}
    for node in (2, 1, 0):
        if any(b in useful for a, b in kept if a == node):
            useful.add(node)
    return {(a, b): op for (a, b), op in kept.items() if {a, b} <= reached & useful}


def draw_cell(draw: Draw) -> Cell:
    """A random cell that carries its input through: where nothing does, the direct edge becomes a skip."""
    cell = {edge: draw.pick(OPERATIONS) for edge in EDGES}
    return cell if live(cell) else {**cell, (0, 3): "skip_connect"}


def apply_cell(net: Net, x: Value, cell: Cell) -> Value:
    """The cell on (n, c, h, w), which keeps its shape; a convolution edge is ReLU, convolution, batch norm."""
    nodes: dict[int, Value] = {0: x}
    for (source, target), kind in sorted(live(cell).items(), key=lambda item: item[0][::-1]):
        y = nodes[source]
        if kind.startswith("nor_conv"):
            y = net.conv_norm(net.relu(y), x.shape[1], int(kind[-1]), act="")
        elif kind == "avg_pool_3x3":
            y = net.avg_pool(y, 3, 1, 1)
        nodes[target] = net.add(nodes[target], y) if target in nodes else y
    return nodes[3]


def reduction(net: Net, x: Value, channels: int) -> Value:
    """The residual block between stages: two 3x3 convolutions at stride 2, pool and 1x1 convolution on the shortcut."""
    y = net.conv_norm(net.relu(x), channels, 3, 2, act="")
    y = net.conv_norm(net.relu(y), channels, 3, act="")
    if min(x.shape[2:]) >= 2:
        x = net.avg_pool(x, 2, 2, padding=(x.shape[2] % 2, x.shape[3] % 2))
    return residual(net, net.conv(x, channels, 1), y, 1, act="")


def nas_cell(draw: Draw) -> Net:
    """Three stages of a random cell on small squares (the benchmark: 32 x 32, 16 channels, 5 cells) or on wide and large images."""
    net = Net("nas_cell", draw.pick(WITH_INT8, (0.35, 0.45, 0.05, 0.15)), family="nas_cell", fold_norm=draw.chance(0.4))
    if draw.chance(0.6):
        side = 32 if draw.chance(0.5) else draw.integer(16, 128, 8)
        height = width = side
    else:
        high = 1024 >> min(draw.shrink, 2)
        height, width = draw.pick(((48, 320), (32, 256), (draw.integer(32, high, 8), draw.integer(32, high, 8))), (0.2, 0.1, 0.7))
    x = net.image(draw.batch(max(1, min(256, MAX_PIXELS // (height * width)))), 3, height, width)
    channels = 16 if draw.chance(0.4) else draw.channels(8, 96)
    x = net.conv_norm(x, channels, 3, 1 if height * width < 200_000 else 2, act="", name="stem")
    cell = draw_cell(draw)
    per_cell = sum(_OPS_OF[op] - (net.fold_norm and _OPS_OF[op] == 3) + 1 for op in live(cell).values())
    cells = draw.integer(1, max(1, min(5, 165 // (3 * per_cell))))
    for stage in range(3):
        if stage:
            channels *= 2
            with net.scope(f"reduction{stage}"):
                x = reduction(net, x, channels)
        for i in range(cells):
            with net.scope(f"stage{stage}/cell{i}"):
                x = apply_cell(net, x, cell)
    with net.scope("head"):
        head(net, net.relu(net.batch_norm(x)), draw.pick((10, 100, 120, draw.classes())))
    return net
