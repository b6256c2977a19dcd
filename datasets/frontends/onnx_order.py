"""Dependency order of an ONNX graph's nodes, and what its subgraphs read from outside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import GraphError


def ordered(nodes: Sequence[Any], known: Iterable[str], outer: Any, where: str) -> list[Any]:
    """The nodes in dependency order (the given order when it already is one).

    `known` are names that exist before the first node, `outer` tells whether an enclosing graph has a name. Raises
    GraphError for a name made twice, a name nothing makes, or a cycle.
    """
    maker: dict[str, int] = {}
    have = set(known)
    for index, node in enumerate(nodes):
        for name in node.output:
            if not name:
                continue
            if name in maker or name in have:
                raise GraphError(f"{where}: the name {name!r} is given to two tensors, once by {_called(node)}; names must be unique")
            maker[name] = index
    waiting = [0] * len(nodes)
    readers: list[list[int]] = [[] for _ in nodes]
    in_order = True
    for index, node in enumerate(nodes):
        for name in {*node.input, *captured(node)}:
            if not name or name in have:
                continue
            made = maker.get(name)
            if made is None:
                if not outer(name):
                    raise GraphError(f"{where}: {_called(node)} reads {name!r}, which no node, input or initializer provides")
                continue
            in_order &= made < index
            waiting[index] += 1
            readers[made].append(index)
    if in_order:
        return list(nodes)
    ready = [i for i, w in enumerate(waiting) if w == 0]
    for index in ready:  # grows while it is walked
        for reader in readers[index]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                ready.append(reader)
    if len(ready) < len(nodes):
        stuck = [_called(n) for n, w in zip(nodes, waiting, strict=True) if w > 0]
        raise GraphError(f"{where} has a cycle: {len(stuck)} nodes wait for each other, among them {', '.join(stuck[:4])}")
    return [nodes[i] for i in ready]


def captured(node: Any) -> set[str]:
    """Names of enclosing graphs that the subgraphs of a control-flow node read."""
    out: set[str] = set()
    for attr in node.attribute:
        for graph in ([attr.g] if attr.type == 5 else attr.graphs):
            own = {i.name for i in graph.input} | {i.name for i in graph.initializer} | {name for n in graph.node for name in n.output}
            read = {name for n in graph.node for name in (*n.input, *captured(n)) if name} | {o.name for o in graph.output}
            out |= read - own
    return out


def _called(node: Any) -> str:
    return f"node {node.name or '/'.join(node.output)!r} ({node.op_type})"
