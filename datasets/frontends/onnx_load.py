"""An ONNX file as a protobuf message without its weights, refused when it is none, damaged, or made to exhaust the reader.

A file is mapped, not read: numbers of large tensors are stepped over, so a gigabyte of weights costs neither time nor memory.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

from ..errors import FormatError, GraphError

#: bytes of one field above which it is looked into, or left out when it is the numbers of a tensor
LARGE = 64 * 1024
#: bytes besides weights that are parsed at most, and fields that are stepped over: a hundred times what the largest networks have
MOST_BYTES, MOST_FIELDS = 64 * 2**20, 600_000
#: nodes that local functions may expand to
MOST_EXPANDED = 100_000

#: message -> {field number: message} that is looked into; True: numbers of a tensor, left out when large (onnx.proto)
_TENSOR: dict[int, Any] = {4: True, 5: True, 7: True, 9: True, 10: True, 11: True}
_SPARSE: dict[int, Any] = {1: _TENSOR, 2: _TENSOR}
_GRAPH: dict[int, Any] = {}
_ATTRIBUTE: dict[int, Any] = {4: True, 5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE}
_NODE: dict[int, Any] = {5: _ATTRIBUTE}
_GRAPH.update({1: _NODE, 5: _TENSOR, 15: _SPARSE})
_MODEL: dict[int, Any] = {7: _GRAPH, 25: {7: _NODE}}


def load(path: Path) -> Any:
    """The ModelProto of a file, local functions inlined. Raises FormatError for anything that is not one, GraphError for functions
    that cannot be inlined."""
    import onnx
    from google.protobuf.message import DecodeError

    data = _skimmed(path)
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError:
        raise FormatError(f"{path}: not an ONNX model, or truncated ({len(data)} bytes do not parse)") from None
    if not model.HasField("graph") or not model.opset_import or not (model.graph.node or model.graph.output):
        raise FormatError(f"{path}: not a complete ONNX model: expected a graph with nodes and an opset; truncated, or another format")
    if model.functions:
        from onnx import inliner

        _check_functions(model)
        try:
            model = inliner.inline_local_functions(model, False)
        except Exception as error:  # a C++ exception of no fixed type
            raise GraphError(f"{path}: its local functions cannot be inlined ({' '.join(str(error).split())[:300]})") from None
    return model


def _skimmed(path: Path) -> bytes:
    """The bytes of the file without the numbers of large tensors."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size == 0:
                raise FormatError(f"{path}: the file is empty; expected an ONNX model")
            if size <= LARGE:
                file.seek(0)
                return file.read()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
                try:
                    return _Skim(view).message(0, size, _MODEL)
                except _Malformed:
                    raise FormatError(f"{path}: not an ONNX model, or truncated ({size} bytes do not parse)") from None
                except _TooMuch:
                    raise FormatError(f"{path}: more than {MOST_BYTES >> 20} MiB or {MOST_FIELDS} fields besides the weights; no network needs that much") from None
    except FileNotFoundError:
        raise FormatError(f"{path}: no such file") from None
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error})") from None


class _Malformed(Exception):
    """The bytes are no protobuf message."""


class _TooMuch(Exception):
    """More bytes than are parsed."""


class _Skim:
    """Copies a message without the large numbers in it."""

    def __init__(self, view: memoryview) -> None:
        self._view, self._left, self._fields = view, MOST_BYTES, MOST_FIELDS

    def message(self, at: int, end: int, known: dict[int, Any], depth: int = 0) -> bytes:
        """The message from `at` to `end`; runs of small fields go through as they are."""
        parts, start = list[bytes](), at
        while at < end:
            tag_at = at
            tag, at = self._varint(at, end)
            kind = tag & 7
            self._fields -= 1
            if self._fields < 0:
                raise _TooMuch
            if tag < 8:  # there is no field 0
                raise _Malformed
            if kind == 2:
                length, body = self._varint(at, end)
                at = body + length
                inside = known.get(tag >> 3) if length > LARGE and at <= end else None
                if inside is not None:
                    parts.append(self._take(start, tag_at))
                    start = at
                    if depth > 100:
                        raise _Malformed
                    inner = _STUB if inside is True else self.message(body, at, inside, depth + 1)
                    parts.append(_encoded(tag) + _encoded(len(inner)) + inner)
            elif kind == 0:
                _, at = self._varint(at, end)
            elif kind in (1, 5):
                at += 8 if kind == 1 else 4
            else:
                raise _Malformed
            if at > end:
                raise _Malformed
        if not parts:
            return self._take(start, end)
        return b"".join((*parts, self._take(start, end)))

    def _take(self, start: int, end: int) -> bytes:
        self._left -= end - start
        if self._left < 0:
            raise _TooMuch
        return bytes(self._view[start:end])

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """(value, position behind it)."""
        view, value, shift = self._view, 0, 0
        while at < end and shift < 64:
            byte = view[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
            shift += 7
        raise _Malformed


#: stands for numbers left out: two floats, one double, eight integers; a tensor small enough to be looked at has other data
_STUB = bytes(8)


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _check_functions(model: Any) -> None:
    """Raises GraphError for local functions that call themselves or expand to more nodes than are read."""
    bodies = {(f.domain, f.name): f for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(nodes: Any, calling: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in nodes:
            called = (node.domain, node.op_type)
            if called in calling:
                raise GraphError(f"local function {called[1]!r} of domain {called[0]!r} calls itself")
            if called in bodies:
                if len(calling) > 100:
                    raise GraphError(f"local functions call each other more than 100 deep, at {called[1]!r}")
                if called not in sizes:
                    sizes[called] = size(bodies[called].node, (*calling, called))
                total += sizes[called]
            else:
                total += 1 + sum(size(g.node, calling) for a in node.attribute for g in ([a.g] if a.type == 5 else a.graphs))
            if total > MOST_EXPANDED:
                raise GraphError(f"its local functions expand to more than {MOST_EXPANDED} nodes; the last one counted is {called[1]!r}")
        return total

    size(model.graph.node, ())
