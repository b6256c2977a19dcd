"""A program graph out of a GEXF file (ProGraML with pragma nodes, as HLSyn publishes them), streamed and within limits.

Nodes carry `type` (0 instruction, 1 variable, 2 constant, 3 pragma), `block`, `function`, `text` and `full_text`; edges `flow` (0 control, 1 data,
2 call, 3 pragma) and `position` (Cummins et al., ICML 2021, section 3; Bai et al., NeurIPS 2023). A document type or an entity is refused before
anything is expanded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers import expat

from ..errors import FormatError

#: bytes of a file, nodes and edges of a graph, and characters of a text that are read: ten times the largest kernel published
MOST_BYTES, MOST_PARTS, MOST_TEXT, MOST_DEPTH = 12 * 2**20, 60_000, 4096, 32
INSTRUCTION, PRAGMA = 0, 3
CONTROL, DATA, CALL, PRAGMA_OF = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One node: what it is, where it stands, and its text."""

    key: str
    kind: int
    block: int
    function: int
    text: str


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """From one node to another, with its flow and position."""

    source: str
    target: str
    flow: int
    position: int


class _Refused(Exception):
    """What is wrong with the document."""


class _Reader:
    """Collects nodes and edges while expat walks the document."""

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, str]] = {}
        self.edges: list[dict[str, str]] = []
        self.titles: dict[tuple[str, str], str] = {}
        self._class, self._depth, self._parts = "", 0, 0
        self._now: dict[str, str] | None = None
        self._side = "node"

    def parser(self) -> Any:
        p = expat.ParserCreate(namespace_separator=" ")
        p.StartElementHandler, p.EndElementHandler = self._open, self._close
        p.StartDoctypeDeclHandler = p.EntityDeclHandler = p.ExternalEntityRefHandler = _forbidden
        return p

    def _open(self, name: str, given: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise _Refused(f"elements nest deeper than {MOST_DEPTH}")
        tag = name.rpartition(" ")[2]
        if tag == "attributes":
            self._class = given.get("class", "")
        elif tag == "attribute":
            self.titles[self._class, given.get("id", "")] = given.get("title", "")
        elif tag in ("node", "edge"):
            self._parts += 1
            if self._parts > MOST_PARTS:
                raise _Refused(f"more than {MOST_PARTS} nodes and edges")
            self._now, self._side = {}, tag
            if tag == "node":
                key = given.get("id")
                if key is None or key in self.nodes:
                    raise _Refused(f"node {len(self.nodes)} has no id or one that is taken ({str(key)[:40]!r})")
                self.nodes[key] = self._now
            else:
                self._now.update(source=given.get("source", ""), target=given.get("target", ""))
                self.edges.append(self._now)
        elif tag == "attvalue" and self._now is not None:
            title = self.titles.get((self._side, given.get("for", "")), "")
            value = given.get("value", "")
            if len(value) > MOST_TEXT:
                raise _Refused(f"a text of {len(value)} characters; at most {MOST_TEXT} are read")
            self._now[title] = value

    def _close(self, name: str) -> None:
        self._depth -= 1
        if name.rpartition(" ")[2] in ("node", "edge"):
            self._now = None


def _forbidden(*_: Any) -> int:
    raise _Refused("a document type or an entity, which a program graph has no use for")


def load_graph(path: Path) -> tuple[list[GraphNode], list[GraphEdge]]:
    """The nodes, in the file's order, and edges of a program graph. Raises FormatError naming the file and the place."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise FormatError(f"{path}: {size} bytes; a program graph of at most {MOST_BYTES} is read")
        data = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror})") from None
    reader = _Reader()
    try:
        reader.parser().Parse(data, True)
    except expat.ExpatError as error:
        raise FormatError(f"{path}: not a GEXF document, or truncated ({error})") from None
    except (_Refused, ValueError, LookupError) as error:  # LookupError: a text encoding that nobody knows
        raise FormatError(f"{path}: refused: {error}") from None
    nodes = [GraphNode(key, _whole(path, key, "type", n), _whole(path, key, "block", n), _whole(path, key, "function", n), n.get("full_text") or n.get("text", ""))
             for key, n in reader.nodes.items()]
    edges = [GraphEdge(e["source"], e["target"], _whole(path, f"{e['source']} -> {e['target']}", "flow", e), _whole(path, e["source"], "position", e, 0))
             for e in reader.edges]
    if not nodes:
        raise FormatError(f"{path}: expected a GEXF program graph, found no node")
    for edge in edges:
        if edge.source not in reader.nodes or edge.target not in reader.nodes:
            raise FormatError(f"{path}: an edge joins {edge.source[:40]!r} to {edge.target[:40]!r}, one of which is no node")
    return nodes, edges


def _whole(path: Path, key: str, title: str, given: dict[str, str], default: int | None = None) -> int:
    text = given.get(title)
    if text is None and default is not None:
        return default
    try:
        if text is None or len(text) > 18:
            raise ValueError
        return int(text)
    except ValueError:
        raise FormatError(f"{path}: {key[:80]!r}: {title}: expected a whole number, got {str(text)[:40]!r}") from None
