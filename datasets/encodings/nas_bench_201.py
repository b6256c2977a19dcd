"""NAS-Bench-201 strings (Dong and Yang, ICLR 2020, section 2): a cell of four nodes and six edges, fifteen times, for 32 x 32 images.

    |nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|

Edges that `none` cuts off from the output are still there: the benchmark counts and PyTorch runs them (an exporter would drop them).
"""

from __future__ import annotations

import re

from ..errors import FormatError, UnknownNameError
from ..families.cells import EDGES, OPERATIONS, Cell, reduction
from ..layers import Net, Value
from ..ops import shown
from ..workload import Workload
from .vector import Encoding, member, opened, words

#: cells of a stage, channels of the three stages
CELLS, CHANNELS = 5, (16, 32, 64)
_PART = re.compile(r"\|?([a-z0-9_]+)~([012])\|?")
WHERE = "nas-bench-201"


def cell_of(encoding: Encoding) -> Cell:
    """Edge (from, to) -> operation, from an architecture string, a row with `arch_str` or `op01`, `op02`, `op12`, `op03`, `op13`, `op23`, or a
    list of six names in that order. Raises FormatError, or UnknownNameError for an operation outside the space."""
    row = opened(encoding, WHERE)
    if isinstance(row, dict) and "arch_str" in row:
        row = opened(row["arch_str"], WHERE)
    if isinstance(row, str) and "~" in row:
        nodes = [_PART.findall(node) for node in row.split("+")]
        if [[int(source) for _, source in node] for node in nodes] != [[0], [0, 1], [0, 1, 2]]:
            raise FormatError(f"{WHERE}: expected |op~0|+|op~0|op~1|+|op~0|op~1|op~2|, got {shown(row)}")
        names = [name for node in nodes for name, _ in node]
    else:
        listed = words(row)
        names = listed if listed is not None else [member(row, f"op{a}{b}", WHERE) for a, b in EDGES]
    if len(names) != len(EDGES):
        raise FormatError(f"{WHERE}: expected six operations, got {len(names)}")
    for name in names:
        if name not in OPERATIONS:
            raise UnknownNameError("operation", shown(name), OPERATIONS, f"in {WHERE}")
    return dict(zip(EDGES, names, strict=True))


def whole_cell(net: Net, x: Value, cell: Cell) -> Value:
    """The cell with every edge: a node sums its edges, `none` multiplies by zero."""
    nodes: dict[int, Value] = {0: x}
    for (source, target), kind in cell.items():
        y = nodes[source]
        if kind.startswith("nor_conv"):
            y = net.conv_norm(net.relu(y), x.shape[1], int(kind[-1]), act="")
        elif kind == "avg_pool_3x3":
            y = net.avg_pool(y, 3, 1, 1)
        elif kind == "none":
            y = net.activation(y, "mul")
        nodes[target] = net.add(nodes[target], y) if target in nodes else y
    return nodes[3]


def nas_bench_201(encoding: Encoding, batch: int = 1, resolution: int = 0, dtype: str = "float32", classes: int = 10) -> Workload:
    """The network of an architecture string: 3x3 stem, five cells at 16, 32 and 64 channels with residual blocks between, one dense layer.

    `resolution` 0 is 32 (CIFAR); ImageNet16-120 is 16 with 120 classes. Raises what `cell_of` raises.
    """
    cell, side = cell_of(encoding), resolution or 32
    net = Net("nas-bench-201", dtype, family="nas_cell")
    x = net.conv_norm(net.image(batch, 3, side, side), CHANNELS[0], act="", name="stem")
    for stage, channels in enumerate(CHANNELS):
        if stage:
            with net.scope(f"reduction{stage}"):
                x = reduction(net, x, channels)
        for i in range(CELLS):
            with net.scope(f"stage{stage}/cell{i}"):
                x = whole_cell(net, x, cell)
    with net.scope("head"):
        net.linear(net.global_avg_pool(net.relu(net.batch_norm(x))), classes, name="classifier")
    return net.build()
