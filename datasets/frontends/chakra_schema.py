"""A Chakra execution trace as a noun: metadata, nodes, attributes; from bytes to values and back without loss.

Field numbers, enums and types are those of `schema/protobuf/et_def.proto` in the public repository mlcommons/chakra (package ChakraProtoMsg, proto3,
as of 2025). A trace is one file per rank: a GlobalMetadata message and then Nodes, each with its length before it (`src/third_party/utils/protolib.py`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from ..errors import FormatError, InputError
from .chakra_wire import BYTES, FIXED32, FIXED64, VARINT, Value, field, fields, messages, packed, read_varint, signed, unzigzag, varint, zigzag

#: enum NodeType
NODE_TYPES = ("INVALID_NODE", "METADATA_NODE", "MEM_LOAD_NODE", "MEM_STORE_NODE", "COMP_NODE", "COMM_SEND_NODE", "COMM_RECV_NODE", "COMM_COLL_NODE", "STORAGE_NODE",
              "BATCH_NODE", "CHECKPOINT_NODE")
#: enum CollectiveCommType
COMM_TYPES = ("ALL_REDUCE", "REDUCE", "ALL_GATHER", "GATHER", "SCATTER", "BROADCAST", "ALL_TO_ALL", "REDUCE_SCATTER", "REDUCE_SCATTER_BLOCK", "BARRIER")
#: the oneof of AttributeProto: type -> (field number of one value, of a list of them); how it is stored: a varint, or a `struct` code
VALUE_FIELDS: dict[str, tuple[int, str]] = {
    "double": (3, "d"), "float": (5, "f"), "int32": (7, ""), "int64": (9, ""), "uint32": (11, ""), "uint64": (13, ""), "sint32": (15, ""), "sint64": (17, ""),
    "fixed32": (19, "I"), "fixed64": (21, "Q"), "sfixed32": (23, "i"), "sfixed64": (25, "q"), "bool": (27, ""), "string": (29, "s"), "bytes": (31, "b"),
}
_BY_NUMBER = {number + many: (kind, bool(many), code) for kind, (number, code) in VALUE_FIELDS.items() for many in (0, 1)}


@dataclass(frozen=True, slots=True)
class Attribute:
    """A named value; `kind` is a key of `VALUE_FIELDS`, `many` a list (a tuple here). Raises InputError for an unknown kind."""

    name: str
    kind: str
    value: Any
    many: bool = False
    doc: str = ""

    def __post_init__(self) -> None:
        if self.kind not in VALUE_FIELDS:
            raise InputError(f"attribute {self.name!r}: kind: expected one of {', '.join(VALUE_FIELDS)}, got {self.kind!r}")


@dataclass(frozen=True, slots=True)
class Node:
    """One event of a rank: `type` of `NODE_TYPES`, what it waits for, its attributes; `inputs` and `outputs` are (values, shapes, types) as text.

    `rest` keeps fields that this version of the schema does not name (storage details), as they were.
    """

    id: int
    name: str
    type: str
    data_deps: tuple[int, ...] = ()
    ctrl_deps: tuple[int, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    start_micros: int = 0
    duration_micros: int = 0
    inputs: tuple[str, str, str] = ("", "", "")
    outputs: tuple[str, str, str] = ("", "", "")
    rest: bytes = b""

    def __post_init__(self) -> None:
        if self.type not in NODE_TYPES:
            raise InputError(f"node {self.id}: type: expected one of {', '.join(NODE_TYPES)}, got {self.type!r}")

    def get(self, name: str, default: Any = None) -> Any:
        """The value of an attribute, or the default."""
        return next((a.value for a in self.attributes if a.name == name), default)


@dataclass(frozen=True, slots=True)
class Trace:
    """What one rank does: schema version, attributes of the whole, nodes in the order of the file."""

    nodes: tuple[Node, ...]
    version: str = "0.0.4"
    attributes: tuple[Attribute, ...] = ()

    def get(self, name: str, default: Any = None) -> Any:
        """The value of an attribute of the whole, or the default."""
        return next((a.value for a in self.attributes if a.name == name), default)

    def to_bytes(self) -> bytes:
        """The `.et` file; `Trace.from_bytes` gives back an equal trace."""
        head = _text(1, self.version) + b"".join(field(2, BYTES, _attribute(a)) for a in self.attributes)
        return b"".join(varint(len(m)) + m for m in (head, *map(_node, self.nodes)))

    @classmethod
    def from_bytes(cls, data: bytes) -> Trace:
        """Reads a `.et` file. Raises FormatError naming the message and the byte."""
        version, attributes, nodes = "", [], []
        for number, message in enumerate(messages(data)):
            try:
                if number == 0:
                    for at, kind, value in fields(message):
                        if at == 1:
                            version = _string(value)
                        elif at == 2:
                            attributes.append(_read_attribute(_body(value, kind)))
                else:
                    nodes.append(_read_node(message))
            except (FormatError, InputError) as error:
                raise FormatError(f"message {number} ({'the metadata' if number == 0 else 'a node'}): {error}") from None
        if not nodes:
            raise FormatError("expected a metadata message and at least one node, got an empty trace")
        return cls(tuple(nodes), version, tuple(attributes))


# -- values to bytes ----------------------------------------------------------------------------------------------------------------------

def _text(number: int, text: str) -> bytes:
    return field(number, BYTES, text.encode()) if text else b""


def _scalar(kind: str, code: str, value: Any) -> tuple[int, Value]:
    """(wire type, stored value) of one value."""
    if code in ("s", "b"):
        return BYTES, value.encode() if code == "s" else value
    if code:
        return (FIXED64 if code in "dQq" else FIXED32), struct.pack(f"<{code}", value)
    return VARINT, zigzag(value) if kind.startswith("sint") else int(value)


def _attribute(a: Attribute) -> bytes:
    number, code = VALUE_FIELDS[a.kind]
    out = _text(1, a.name) + _text(2, a.doc)
    try:
        if not a.many:
            return out + field(number, *_scalar(a.kind, code, a.value))
        stored = [_scalar(a.kind, code, v) for v in a.value]
        if code in ("s", "b"):
            inside = b"".join(field(1, BYTES, v) for _, v in stored)
        else:  # numbers are packed
            words = b"".join(varint(v) if isinstance(v, int) else v for _, v in stored)
            inside = field(1, BYTES, words) if words else b""
        return out + field(number + 1, BYTES, inside)
    except (struct.error, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"attribute {a.name!r}: {a.value!r} is no {a.kind} ({error})") from None


def _node(n: Node) -> bytes:
    def list_of(number: int, values: tuple[int, ...]) -> bytes:
        return field(number, BYTES, b"".join(map(varint, values))) if values else b""

    def io(number: int, texts: tuple[str, str, str]) -> bytes:
        return field(number, BYTES, b"".join(_text(i + 1, t) for i, t in enumerate(texts))) if any(texts) else b""

    numbers = ((1, n.id), (3, NODE_TYPES.index(n.type)), (6, n.start_micros), (7, n.duration_micros))
    at = {number: field(number, VARINT, value) if value else b"" for number, value in numbers}
    return (at[1] + _text(2, n.name) + at[3] + list_of(4, n.ctrl_deps) + list_of(5, n.data_deps) + at[6] + at[7] + io(8, n.inputs) + io(9, n.outputs)
            + b"".join(field(10, BYTES, _attribute(a)) for a in n.attributes) + n.rest)


# -- bytes to values ----------------------------------------------------------------------------------------------------------------------

def _body(value: Value, kind: int) -> bytes:
    if kind != BYTES or not isinstance(value, bytes):
        raise FormatError("a number where a message should be")
    return value


def _string(value: Value) -> str:
    try:
        return value.decode() if isinstance(value, bytes) else _string(_body(value, VARINT))
    except UnicodeDecodeError:
        raise FormatError("text that is not UTF-8") from None


def _from_scalar(kind: str, code: str, value: Value) -> Any:
    if isinstance(value, bytes):
        if code in ("s", "b"):
            return _string(value) if code == "s" else value
        if not code:
            raise FormatError(f"bytes where a {kind} should be")
        return packed(code, value)[0] if value else 0
    if code:
        raise FormatError(f"a number where a {kind} should be")
    return _number(kind, value)


def _number(kind: str, value: int) -> Any:
    if kind == "bool":
        return bool(value)
    if kind.startswith("sint"):
        return unzigzag(value)
    if kind.startswith("int"):
        return signed(value, int(kind[3:]))
    return value & (2**32 - 1) if kind == "uint32" else value


def _numbers(data: Value, kind: int) -> list[int]:
    """A repeated varint field: one number, or many packed."""
    if isinstance(data, int):
        return [data]
    at, out = 0, []
    while at < len(_body(data, kind)):
        value, at = read_varint(data, at, len(data))
        out.append(value)
    return out


def _read_attribute(data: bytes) -> Attribute:
    name = doc = ""
    found: tuple[str, bool, Any] | None = None
    for number, kind, value in fields(data):
        if number == 1:
            name = _string(value)
        elif number == 2:
            doc = _string(value)
        elif number in _BY_NUMBER:
            of, many, code = _BY_NUMBER[number]
            found = (of, many, _list(of, code, _body(value, kind)) if many else _from_scalar(of, code, value))
    if found is None:
        raise FormatError(f"attribute {name!r} has no value")
    return Attribute(name, found[0], found[2], found[1], doc)


def _list(kind: str, code: str, data: bytes) -> tuple[Any, ...]:
    out: list[Any] = []
    for number, wire, value in fields(data):
        if number != 1:
            continue
        if code in ("s", "b") or (code and wire != BYTES):
            out.append(_from_scalar(kind, code, value))
        elif code:
            out += packed(code, _body(value, wire))
        else:
            out += [_number(kind, v) for v in _numbers(value, wire)]
    return tuple(out)


def _read_io(data: bytes) -> tuple[str, str, str]:
    texts = {number: _string(value) for number, _, value in fields(data) if number in (1, 2, 3)}
    return texts.get(1, ""), texts.get(2, ""), texts.get(3, "")


def _read_node(data: bytes) -> Node:
    numbers = {1: 0, 3: 0, 6: 0, 7: 0}
    name, io, deps, attributes, rest = "", {8: ("", "", ""), 9: ("", "", "")}, {4: list[int](), 5: list[int]()}, [], b""
    for at, kind, value in fields(data):
        if at in numbers:
            if not isinstance(value, int):
                raise FormatError(f"field {at} of a node: expected a number")
            numbers[at] = value
        elif at == 2:
            name = _string(value)
        elif at in deps:
            deps[at] += _numbers(value, kind)
        elif at in io:
            io[at] = _read_io(_body(value, kind))
        elif at == 10:
            attributes.append(_read_attribute(_body(value, kind)))
        else:
            rest += field(at, kind, value)
    if numbers[3] >= len(NODE_TYPES):
        raise FormatError(f"node {numbers[1]} ({name!r}): type {numbers[3]}; the schema has 0 to {len(NODE_TYPES) - 1}")
    return Node(numbers[1], name, NODE_TYPES[numbers[3]], tuple(deps[5]), tuple(deps[4]), tuple(attributes), numbers[6], numbers[7], io[8], io[9], rest)
