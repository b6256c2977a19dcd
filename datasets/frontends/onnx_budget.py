"""How many nodes an ONNX graph may unroll to: what keeps a small file from being endless work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import GraphError
from .onnx_node import Node, Value

#: nodes of the main graph at most, and of all branches and trips of loops together: what a few seconds read
MOST_NODES, MOST_INNER = 250_000, 40_000


class Budget:
    """The nodes that branches and loops may still unroll to; `values` tells the constant limits of loops in loops."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values, self._left = values, MOST_INNER

    def spend(self, graph: Any, path: str, inner: bool) -> None:
        """Takes the nodes of a graph off what is left. Raises GraphError when they are too many."""
        if inner:
            self._left -= len(graph.node)
        if self._left < 0 or len(graph.node) > MOST_NODES:
            what = f"its loops and branches unroll to more than {MOST_INNER} nodes; bind fewer trips" if self._left < 0 else \
                f"{len(graph.node)} nodes are more than the {MOST_NODES} that are read; export a part of the network"
            raise GraphError(f"{path[:300]}: {what}")

    def afford(self, node: Node, graph: Any, trips: int, chain: tuple[dict[str, str], ...]) -> None:
        """Raises GraphError, before a single trip, when so many trips through `graph`, and those of the loops in it, are too many nodes."""
        if trips * self._weight(graph, chain) > self._left:
            raise GraphError(f"{node.where}: {trips} trips through {len(graph.node)} nodes unroll to more than {MOST_INNER} nodes; bind fewer: --dim {node.name}.trips=VALUE")

    def _weight(self, graph: Any, chain: tuple[dict[str, str], ...]) -> int:
        """Nodes that one trip through a body is, as far as the limits of the loops in it are constants."""
        total = 1
        for proto in graph.node:
            total += 1
            bodies = [a.g for a in proto.attribute if a.type == 5]
            if bodies:
                name = next((scope[proto.input[0]] for scope in reversed(chain) if proto.op_type == "Loop" and proto.input and proto.input[0] in scope), "")
                data = self._values[name].data if name else None
                trips = int(data.reshape(())) if data is not None and data.size == 1 else 1
                total += max(1, min(trips, MOST_INNER + 1)) * max(self._weight(body, chain) for body in bodies)
            if total > MOST_INNER:
                break
        return total
