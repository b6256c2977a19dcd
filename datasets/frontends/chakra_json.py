"""Chakra traces as JSON: the protobuf JSON mapping of the same messages (https://protobuf.dev/programming-guides/json).

Read: the documents one after another that Chakra's jsonizer writes (metadata, then nodes), or one document `{"metadata": ..., "nodes": [...]}`, which
is what is written. Field names in camelCase or as in the schema, 64-bit numbers as text or numbers, enums by name or number.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import FormatError, InputError
from ..ops import shown
from .chakra_schema import NODE_TYPES, VALUE_FIELDS, Attribute, Node, Trace


def is_trace(documents: Sequence[Any]) -> bool:
    """Whether JSON documents are a trace: several, of which the second is a node, or one with nodes."""
    if len(documents) == 1:
        return isinstance(documents[0], Mapping) and isinstance(documents[0].get("nodes"), list) and "format" not in documents[0]
    return len(documents) > 1 and all(isinstance(d, Mapping) for d in documents[:2]) and ("type" in documents[1] or "id" in documents[1])


def documents(data: bytes) -> list[Any]:
    """The JSON documents that follow one another. Raises FormatError."""
    out, at = [], 0
    try:
        text = data.decode().strip()
        decoder = json.JSONDecoder()
        while at < len(text):
            value, at = decoder.raw_decode(text, at)
            out.append(value)
            while at < len(text) and text[at].isspace():
                at += 1
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not a readable JSON document ({error})") from None
    if not out:
        raise FormatError("not a readable JSON document (it is empty)")
    return out


def to_json(trace: Trace) -> str:
    """One document; `from_json` gives back an equal trace. Fields the schema does not name are not kept: InputError when there are some."""
    if any(n.rest for n in trace.nodes):
        raise InputError("a node has storage details or fields of another schema, which JSON does not keep here; write .et")
    head = {"version": trace.version, "attr": [_attribute(a) for a in trace.attributes]}
    return json.dumps({"metadata": head, "nodes": [_node(n) for n in trace.nodes]}, indent=1)


def from_json(documents: Sequence[Any]) -> Trace:
    """The trace of one document or of several. Raises FormatError naming node and field."""
    head, nodes = (documents[0].get("metadata", {}), documents[0]["nodes"]) if len(documents) == 1 else (documents[0], documents[1:])
    if not isinstance(head, Mapping):
        raise FormatError(f"metadata: expected a mapping, got {shown(head)}")
    try:
        read = [_read_node(n) for n in nodes]
        attributes = [_read_attribute(a, "metadata") for a in _all(head, "attr", "metadata")]
        if not read:
            raise FormatError("expected at least one node, got none")
        return Trace(tuple(read), str(head.get("version", "")), tuple(attributes))
    except InputError as error:
        raise FormatError(str(error)) from None


def _attribute(a: Attribute) -> dict[str, Any]:
    def one(value: Any) -> Any:
        if a.kind == "bytes":
            return base64.b64encode(value).decode()
        return str(value) if a.kind.endswith("64") else value

    out: dict[str, Any] = {"name": a.name}
    if a.doc:
        out["docString"] = a.doc
    out[f"{a.kind}List" if a.many else f"{a.kind}Val"] = {"values": [one(v) for v in a.value]} if a.many else one(a.value)
    return out


def _node(n: Node) -> dict[str, Any]:
    def io(texts: tuple[str, str, str]) -> dict[str, str]:
        return {name: text for name, text in zip(("values", "shapes", "types"), texts, strict=True) if text}

    out = {"id": str(n.id), "name": n.name, "type": n.type, "ctrlDeps": [str(d) for d in n.ctrl_deps], "dataDeps": [str(d) for d in n.data_deps],
           "startTimeMicros": str(n.start_micros or ""), "durationMicros": str(n.duration_micros or ""), "inputs": io(n.inputs), "outputs": io(n.outputs),
           "attr": [_attribute(a) for a in n.attributes]}
    return {key: value for key, value in out.items() if value}


def _all(data: Mapping[str, Any], key: str, where: str) -> list[Any]:
    found = _get(data, key, [])
    if not isinstance(found, list):
        raise FormatError(f"{where}: {key}: expected a list, got {shown(found)}")
    return found


def _get(data: Mapping[str, Any], key: str, default: Any) -> Any:
    """A field by the name of the schema or in camelCase."""
    first, *others = key.split("_")
    return data.get(key, data.get(first + "".join(word.capitalize() for word in others), default))


def _whole(value: Any, where: str) -> int:
    try:
        if isinstance(value, (int, str)) and not isinstance(value, bool) and len(str(value)) <= 20:
            return int(value)
    except ValueError:
        pass
    raise FormatError(f"{where}: expected a whole number of at most 64 bits, got {shown(value)}")


def _read_attribute(data: Any, where: str) -> Attribute:
    if not isinstance(data, Mapping) or not isinstance(data.get("name", ""), str):
        raise FormatError(f"{where}: attr: expected mappings with a name and a value, got {shown(data)}")
    name = data.get("name", "")
    for kind in VALUE_FIELDS:
        for many in (False, True):
            value = _get(data, f"{kind}_{'list' if many else 'val'}", None)
            if value is None:
                continue
            at = f"{where}: attr {name!r}"
            values = value.get("values", []) if many and isinstance(value, Mapping) else [value]
            if not isinstance(values, list):
                raise FormatError(f"{at}: expected a list of values, got {shown(values)}")
            read = tuple(_value(kind, v, at) for v in values)
            return Attribute(name, kind, read if many else read[0], many, str(_get(data, "doc_string", "")))
    raise FormatError(f"{where}: attr {name!r} has no value; expected one of {', '.join(f'{k}Val' for k in VALUE_FIELDS)} or a list")


def _value(kind: str, value: Any, where: str) -> Any:
    if "int" in kind or "fixed" in kind:
        return _whole(value, where)
    if kind in ("double", "float"):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif kind == "bytes":
        try:
            return base64.b64decode(value if isinstance(value, str) else ".", validate=True)
        except ValueError:
            pass
    elif isinstance(value, bool if kind == "bool" else str):
        return value
    raise FormatError(f"{where}: expected a {kind}, got {shown(value)}")


def _read_node(data: Any) -> Node:
    if not isinstance(data, Mapping):
        raise FormatError(f"nodes: expected mappings, got {shown(data)}")
    number = _whole(data.get("id", 0), "node: id")
    where, kind = f"node {number}", data.get("type", 0)
    if isinstance(kind, int) and 0 <= kind < len(NODE_TYPES):
        kind = NODE_TYPES[kind]
    if kind not in NODE_TYPES:
        raise FormatError(f"{where}: type: expected one of {', '.join(NODE_TYPES)}, got {shown(kind)}")

    def io(key: str) -> tuple[str, str, str]:
        texts = data.get(key) or {}
        return tuple(str(texts.get(name, "")) for name in ("values", "shapes", "types")) if isinstance(texts, Mapping) else ("", "", "")  # type: ignore[return-value]

    deps = {key: tuple(_whole(d, f"{where}: {key}") for d in _all(data, key, where)) for key in ("data_deps", "ctrl_deps")}
    return Node(number, str(data.get("name", "")), kind, deps["data_deps"], deps["ctrl_deps"], tuple(_read_attribute(a, where) for a in _all(data, "attr", where)),
                _whole(_get(data, "start_time_micros", 0), where), _whole(_get(data, "duration_micros", 0), where), io("inputs"), io("outputs"))
