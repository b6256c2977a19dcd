"""Cell graphs of EC-NAS (Bakhtiarifard et al., 2022), which are those of NAS-Bench-101 (Ying et al., ICML 2019, section 2): nine cells of up to
seven vertices, an operation on each vertex.

    {"adjacency": [[0, 1, 1, 0], ...], "ops": [-1, 2, 2, -2]}

Operations by number: 0 conv3x3, 1 conv1x1, 2 maxpool3x3, -1 the input, -2 the output; or by name. Vertices that lie on no path from input to
output are dropped, as the benchmark drops them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import FormatError, UnknownNameError
from ..layers import Net, Value
from ..ops import shown
from ..workload import Workload
from .vector import Encoding, member, number, opened

OPERATIONS = ("conv3x3", "conv1x1", "maxpool3x3")
#: NAS-Bench-101's and the short names
NAMES = {"conv3x3-bn-relu": 0, "conv1x1-bn-relu": 1, **{name: i for i, name in enumerate(OPERATIONS)}, "input": -1, "output": -2}
STACKS, CELLS, STEM, MOST_VERTICES = 3, 3, 128, 16
WHERE = "ecnas"


def graph_of(encoding: Encoding) -> tuple[list[list[bool]], list[int]]:
    """(edges, operations) of a row with `adjacency` and `ops`, dead vertices dropped; an edge leads from a lower to a higher vertex.

    Raises FormatError, or UnknownNameError for an operation outside the space.
    """
    row = opened(encoding, WHERE)
    edges, ops = (_list(opened(member(row, name, WHERE), f"{WHERE}, {name}"), name) for name in ("adjacency", "ops"))
    count = len(ops)
    if not 2 <= count <= MOST_VERTICES or len(edges) != count or any(len(_list(line, "adjacency")) != count for line in edges):
        raise FormatError(f"{WHERE}: expected a square adjacency of 2 to {MOST_VERTICES} vertices, as many as ops, got {len(edges)} rows and {count} ops")
    matrix = [[bool(number(cell, 0, 1, f"{WHERE}, adjacency[{i}][{j}]")) for j, cell in enumerate(line)] for i, line in enumerate(edges)]
    if any(matrix[i][j] for i in range(count) for j in range(i + 1)):
        raise FormatError(f"{WHERE}: expected an upper triangular adjacency: an edge leads from a lower to a higher vertex")
    kinds = [_operation(op, i) for i, op in enumerate(ops)]
    if kinds[0] != -1 or kinds[-1] != -2 or min(kinds[1:-1], default=0) < 0:
        raise FormatError(f"{WHERE}: expected ops that begin with the input (-1), end with the output (-2) and have neither between, got {shown(ops)}")
    reached, useful = {0}, {count - 1}
    for v in range(count):
        reached |= {w for w in range(v, count) if v in reached and matrix[v][w]}
        back = count - 1 - v
        useful |= {w for w in range(back) if back in useful and matrix[w][back]}
    kept = sorted(reached & useful)
    if 0 not in kept or count - 1 not in kept:
        raise FormatError(f"{WHERE}: no path leads from the input to the output")
    return [[matrix[i][j] for j in kept] for i in kept], [kinds[i] for i in kept]


def _list(value: Any, name: str) -> list[Any]:
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise FormatError(f"{WHERE}: {name}: expected a list, got {shown(value)}")
    return list(value)


def _operation(value: Any, at: int) -> int:
    if isinstance(value, str):
        if value not in NAMES:
            raise UnknownNameError("operation", shown(value), NAMES, f"in {WHERE}, vertex {at}")
        return NAMES[value]
    return number(value, -2, len(OPERATIONS) - 1, f"{WHERE}, vertex {at}")


def channels_of(edges: Sequence[Sequence[bool]], width: int, out: int) -> list[int]:
    """Channels of every vertex of a cell that takes `width` and gives `out`: those before the output share `out` evenly, the first ones one
    more where it does not divide; any other has the most of those it feeds (NAS-Bench-101, section 2.2)."""
    count = len(edges)
    channels = [0] * count
    channels[0], channels[-1] = width, out
    last = [v for v in range(1, count - 1) if edges[v][-1]]
    for place, v in enumerate(last):
        channels[v] = out // len(last) + (place < out % len(last))
    for v in range(count - 2, 0, -1):
        if not edges[v][-1]:
            channels[v] = max(channels[w] for w in range(v + 1, count - 1) if edges[v][w])
    return channels


def _cell(net: Net, x: Value, edges: Sequence[Sequence[bool]], ops: Sequence[int], out: int) -> Value:
    channels, last = channels_of(edges, x.shape[1], out), len(ops) - 1
    vertices: dict[int, Value] = {}
    for v in range(1, last):
        y = net.conv_norm(x, channels[v], 1) if edges[0][v] else None  # the cell's input is projected, other inputs truncated
        for source in range(1, v):
            if edges[source][v]:
                part = net.narrow(vertices[source], channels[v])
                y = part if y is None else net.add(y, part)
        assert y is not None  # every vertex left has an input
        vertices[v] = net.max_pool(y, 3, 1, 1) if ops[v] == 2 else net.conv_norm(y, channels[v], 3 if ops[v] == 0 else 1)
    ends = [vertices[v] for v in range(1, last) if edges[v][last]]
    joined = net.concat(ends) if len(ends) > 1 else ends[0] if ends else None
    if not edges[0][last]:
        assert joined is not None
        return joined
    across = net.conv_norm(x, out, 1)
    return across if joined is None else net.add(joined, across)


def ecnas(encoding: Encoding, batch: int = 1, resolution: int = 0, dtype: str = "float32", classes: int = 10) -> Workload:
    """The network of a cell graph: 3x3 stem of 128 channels, three stacks of three cells, channels doubled and sides halved between, one dense layer.

    `resolution` 0 is 32. Raises what `graph_of` raises.
    """
    edges, ops = graph_of(encoding)
    side = resolution or 32
    net = Net("ecnas", dtype, family="nas_cell")
    x, channels = net.conv_norm(net.image(batch, 3, side, side), STEM, name="stem"), STEM
    for stack in range(STACKS):
        if stack:
            x, channels = net.max_pool(x, 2), 2 * channels
        for cell in range(CELLS):
            with net.scope(f"stack{stack}/cell{cell}"):
                x = _cell(net, x, edges, ops, channels)
    with net.scope("head"):
        net.linear(net.global_avg_pool(x), classes, name="classifier")
    return net.build()
