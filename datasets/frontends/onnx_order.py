"""The names in an ONNX graph: that they are text and point nowhere else, the dependency order they give, what subgraphs read from outside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..errors import FormatError, GraphError


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
                raise GraphError(f"{where}: the name {clipped(name)} is given to two tensors, once by {_called(node)}; names must be unique")
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
                    raise GraphError(f"{where}: {_called(node)} reads {clipped(name)}, which no node, input or initializer provides")
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


def check_text(graph: Any) -> None:
    """Raises FormatError for a name that is not UTF-8 text (protobuf hands such names out as bytes)."""
    for text in _texts(graph):
        if not isinstance(text, str):
            raise FormatError(f"a name in the graph is not UTF-8 text: {text[:40]!r}; the file is damaged")


def check_location(name: str, tensor: Any) -> None:
    """Raises FormatError for external data that would lie outside the model's folder. They are never opened here, but a file that
    points there is made to make others open it."""
    for entry in tensor.external_data:
        if not isinstance(entry.value, str) or not isinstance(entry.key, str):
            raise FormatError(f"initializer {name!r}: the place of its external data is not UTF-8 text: {entry.value[:40]!r}; the file is damaged")
        place = entry.value.replace("\\", "/")
        if entry.key == "location" and (place.startswith("/") or ".." in place.split("/") or place[1:2] == ":"):
            raise FormatError(f"initializer {name!r}: its external data lie outside the folder of the model ({entry.value[:120]!r}); expected a path inside it")


def _texts(graph: Any) -> Iterator[Any]:
    yield graph.name
    for info in (*graph.input, *graph.output, *graph.value_info):
        yield info.name
        for dim in info.type.tensor_type.shape.dim:
            yield dim.dim_param
    for tensor in graph.initializer:
        yield tensor.name
    for sparse in graph.sparse_initializer:
        yield sparse.values.name
    for entry in graph.quantization_annotation:
        yield entry.tensor_name
        yield from (text for item in entry.quant_parameter_tensor_names for text in (item.key, item.value))
    for node in graph.node:
        yield node.name
        yield node.op_type
        yield node.domain
        yield from node.input
        yield from node.output
        for attr in node.attribute:
            yield attr.name


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
    return f"node {clipped(node.name or '/'.join(node.output[:4]))} ({node.op_type[:60]})"


def clipped(name: str, most: int = 120) -> str:
    """A name for a message, quoted, however long it is."""
    return repr(name) if len(name) <= most else f"{name[:most]!r}..."
