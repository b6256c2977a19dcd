"""Documents changed in structure: trees (JSON), words and lines (text), fields (protobuf), bytes. Used by `fuzz.py`.

Every mutator takes a document, others of its kind to take parts from, and a `random.Random`; the same draw gives the same mutant.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

#: numbers at the edges of formats, and what is no number where one is expected
NUMBERS: list[Any] = [0, 1, -1, 2, 3, 7, 64, 255, 4096, 2**31 - 1, 2**31, -(2**31), 2**53, 2**62, 2**63 - 1, 2**63, 2**64, -(2**63), 10**40, 0.5, -0.0, 1e-320, 1e300, float("inf"), float("nan")]
THINGS: list[Any] = [True, False, None, "", "x", "0", "none", "same", "valid", "relu", [], {}, [1], [1, 1], [0, -1], [[]], {"a": 1}, "9" * 40, "9" * 5000, "\n", "\ud800", "../x", "é" * 300]
WORDS = ["0", "-1", "1", "2147483648", "9223372036854775808", "1e308", "nan", "true", "auto", "none", "[", "]", "{", "}", "(", ")", "<", ">", '"', "'", ",", ":", "::", "->", "=", "x", "?", "*", "&", "%0", "%i",
         "#map", "@main", "f32", "i1", "i64", "index", "\n", "\t", "\\", "//", "dense", "array<i64: 0>", "tensor<0xf32>", "tensor<?xf32>", "icmp", "br", "store", "load", "add", "getelementptr", "slt", "eq", "</node>", "\x00", "é"]


def tree(data: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """One to three places of a JSON document changed, dropped, doubled, renamed, wrapped, or taken from another document."""
    try:
        value, other = json.loads(data), json.loads(draw.choice(others))
    except ValueError:
        return text(data, others, draw)
    for _ in range(draw.choice([1, 1, 2])):
        at, path = value, list[Any]()
        while isinstance(at, dict | list) and at:
            key = draw.choice(list(at) if isinstance(at, dict) else range(len(at)))
            path.append(key)
            if not isinstance(at[key], dict | list) or not at[key] or draw.random() < 0.15:
                break
            at = at[key]
        if not path:
            value = draw.choice(THINGS)
            continue
        key, act = path[-1], draw.random()
        if act < 0.12:
            del at[key]
        elif act < 0.22 and isinstance(at, list):
            at.insert(key, _copy(draw.choice([at[key], _part(other, draw)])))
        elif act < 0.22:
            at[draw.choice(list(_keys(other)) or ["x"])] = at.pop(key)
        elif act < 0.42:
            at[key] = _copy(_same_key(other, key, draw))
        elif act < 0.48:
            at[key] = draw.choice([[at[key]], {"a": at[key]}, [at[key]] * draw.choice([2, 40]), str(at[key])[:200]])
        elif isinstance(at[key], int) and not isinstance(at[key], bool) and act < 0.75:
            at[key] = draw.choice([at[key] + 1, at[key] - 1, -at[key], at[key] * 2, at[key] // 2, at[key] * 3, 0])
        else:
            at[key] = _copy(draw.choice(NUMBERS if draw.random() < 0.6 else THINGS))
    out = json.dumps(value)
    return out.encode("utf-8", "surrogatepass")


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _part(value: Any, draw: random.Random) -> Any:
    while isinstance(value, dict | list) and value and draw.random() < 0.7:
        value = draw.choice(list(value.values()) if isinstance(value, dict) else value)
    return value


def _keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(_keys(v) for v in value.values()))
    return set().union(*(_keys(v) for v in value)) if isinstance(value, list) else set()


def _same_key(value: Any, key: Any, draw: random.Random) -> Any:
    """What another document has under the same key, else any part of it."""
    found: list[Any] = []

    def look(at: Any) -> None:
        if isinstance(at, dict):
            if key in at:
                found.append(at[key])
            for v in at.values():
                look(v)
        elif isinstance(at, list):
            for v in at:
                look(v)

    look(value)
    return draw.choice(found) if found else _part(value, draw)


_WORD = re.compile(r"[\w.+%@#-]+|[^\w\s]")


def text(data: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """One to four words or lines changed, dropped, doubled, moved, or taken from another document."""
    now, other = data.decode("utf-8", "replace"), draw.choice(others).decode("utf-8", "replace")
    for _ in range(draw.choice([1, 1, 2, 3])):
        if draw.random() < 0.3:
            lines = now.split("\n")
            a, b = draw.randrange(len(lines)), draw.randrange(len(lines))
            act = draw.randrange(4)
            if act == 0:
                del lines[a]
            elif act == 1:
                lines.insert(b, lines[a])
            elif act == 2:
                lines[a], lines[b] = lines[b], lines[a]
            else:
                lines.insert(a, draw.choice(other.split("\n")))
            now = "\n".join(lines)
            continue
        start = draw.randrange(len(now) + 1)
        match = _WORD.search(now, start) or _WORD.search(now)
        if match is None:
            return now.encode("utf-8", "replace")
        taken = _WORD.search(other, draw.randrange(len(other) + 1)) or _WORD.search(other)
        word = match[0]
        options = ["", word * 2, draw.choice(WORDS), draw.choice(WORDS) + word, taken[0] if taken else "", taken[0] if taken else "", word + " " + word]
        if re.fullmatch(r"-?\d{1,30}", word):
            options += [str(int(word) + draw.choice([1, -1, 10])), str(-int(word)), str(int(word) * draw.choice([0, 2, 1000, 10**9])), str(draw.choice(NUMBERS))]
        now = now[:match.start()] + draw.choice(options) + now[match.end():]
        now = now[:400_000]
    return now.encode("utf-8", "replace")


_QUOTED = re.compile(rb'="([^"]*)"')


def xml(data: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """One to three attributes of an XML document mutated as text, or elements dropped, doubled, moved."""
    now = data
    for _ in range(draw.choice([1, 1, 2, 3])):
        if draw.random() < 0.25:
            parts = re.split(rb"(?=<(?:node|edge|attribute) )", now)
            a, b = draw.randrange(len(parts)), draw.randrange(len(parts))
            parts[b:b] = [parts[a]]
            if draw.random() < 0.6:
                del parts[a + (a >= b)]
            now = b"".join(parts)
            continue
        spots, theirs = list(_QUOTED.finditer(now)), _QUOTED.findall(draw.choice(others)) or [b""]
        if not spots:
            return text(now, others, draw)
        spoken = [spot for spot in spots if len(spot[1]) > 8]  # text rather than numbers and names, most of the time
        spot = draw.choice(spoken if spoken and draw.random() < 0.8 else spots)
        value = spot[1].replace(b"&lt;", b"<").replace(b"&gt;", b">").replace(b"&amp;", b"&")
        value = draw.choice(theirs) if draw.random() < 0.3 else text(value, theirs, draw)
        value = value.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b'"', b"&quot;")
        now = now[:spot.start(1)] + value + now[spot.end(1):]
    return now


def raw(data: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """Bytes flipped, cut, doubled, or taken from another document."""
    now = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        if not now:
            break
        at, act = draw.randrange(len(now)), draw.randrange(5)
        if act == 0:
            now[at] = draw.randrange(256)
        elif act == 1:
            now[at] ^= 1 << draw.randrange(8)
        elif act == 2:
            del now[at:at + draw.choice([1, 2, 8, 100])]
        elif act == 3:
            now[at:at] = now[at:at + draw.choice([1, 4, 64])]
        else:
            other = draw.choice(others)
            start = draw.randrange(len(other) + 1)
            now[at:at] = other[start:start + draw.choice([1, 8, 100])]
    return bytes(now if draw.random() < 0.9 else now[:draw.randrange(len(now) + 1)])


Field = list[Any]  # [number, wire type, int | bytes | list of fields]


def _varint(value: int) -> bytes:
    out = bytearray()
    value &= 2**64 - 1
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _read(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[at]
        at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value, at
    raise IndexError


def _fields(data: bytes, depth: int = 0) -> list[Field] | None:
    """The fields of a message, those that look like messages opened; None when it is none."""
    out, at = list[Field](), 0
    try:
        while at < len(data):
            key, at = _read(data, at)
            number, kind = key >> 3, key & 7
            if not 0 < number < 2000:
                return None
            if kind == 0:
                value, at = _read(data, at)
                out.append([number, 0, value])
                continue
            length, at = _read(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            if at + length > len(data):
                return None
            body = data[at:at + length]
            at += length
            inner = _fields(body, depth + 1) if kind == 2 and length > 1 and depth < 12 else None
            out.append([number, kind, body if inner is None or (depth and body.isascii() and body.decode().isprintable()) else inner])
    except (IndexError, KeyError):
        return None
    return out


def _bytes(fields: list[Field]) -> bytes:
    out = []
    for number, kind, value in fields:
        body = _bytes(value) if isinstance(value, list) else value
        out.append(_varint(number << 3 | kind) + (_varint(body) if kind == 0 else (_varint(len(body)) if kind == 2 else b"") + body))
    return b"".join(out)


def _all(fields: list[Field], into: list[tuple[list[Field], int]]) -> list[tuple[list[Field], int]]:
    for index, field in enumerate(fields):
        into.append((fields, index))
        if isinstance(field[2], list):
            _all(field[2], into)
    return into


def _changed(fields: list[Field], other: list[Field], draw: random.Random) -> None:
    spots, theirs = _all(fields, []), _all(other, [])
    for _ in range(draw.choice([1, 1, 2, 3])):
        if not spots:
            return
        holder, index = draw.choice(spots)
        if index >= len(holder):
            continue
        field, act = holder[index], draw.random()
        alike = [f[i] for f, i in theirs if i < len(f) and f[i][:2] == field[:2]]
        if act < 0.08:
            del holder[index]
        elif act < 0.16:
            holder.insert(draw.randrange(len(holder) + 1), [*field])
        elif act < 0.2:
            field[0] = draw.choice([field[0] + 1, max(1, field[0] - 1), draw.randint(1, 30)])
        elif act < 0.5 and alike:
            field[2] = draw.choice(alike)[2]
        elif field[1] == 0:
            field[2] = draw.choice([field[2] + 1, field[2] - 1, draw.randrange(20), draw.choice([n for n in NUMBERS if isinstance(n, int)]) & (2**64 - 1)])
        elif isinstance(field[2], bytes):
            field[2] = raw(field[2], [f[i][2] for f, i in theirs if i < len(f) and isinstance(f[i][2], bytes)] or [b""], draw)
            if field[1] != 2:
                field[2] = (field[2] + bytes(8))[:8 if field[1] == 1 else 4]
        else:
            draw.shuffle(field[2])


def wire(data: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """Fields of a protobuf message changed, dropped, doubled, renumbered, or taken from another."""
    fields, other = _fields(data), _fields(draw.choice(others)) or []
    if fields is None:
        return raw(data, others, draw)
    fields = [[*f] for f in fields]
    _changed(fields, other, draw)
    out = _bytes(fields)
    return out if draw.random() < 0.95 else raw(out, others, draw)


def messages(data: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """The same for a file of messages that each state their length."""
    def split(file: bytes) -> list[bytes]:
        at, out = 0, []
        try:
            while at < len(file):
                length, at = _read(file, at)
                out.append(file[at:at + length])
                at += length
        except IndexError:
            pass
        return out

    parts, theirs = split(data), split(draw.choice(others)) or [b""]
    if not parts or data[:2] == b"\x1f\x8b":
        return raw(data, others, draw)
    for _ in range(draw.randint(1, 2)):
        at, act = draw.randrange(len(parts)), draw.random()
        if act < 0.1 and len(parts) > 1:
            del parts[at]
        elif act < 0.2:
            parts.insert(at, draw.choice([*parts, *theirs]))
        else:
            parts[at] = wire(parts[at], theirs, draw)
    return b"".join(_varint(len(p)) + p for p in parts)


#: kind of document -> its mutators, the structured one first
MUTATORS: dict[str, tuple[Callable[[bytes, Sequence[bytes], random.Random], bytes], ...]] = {"tree": (tree, text), "text": (text, raw), "xml": (xml, text), "wire": (wire, raw), "messages": (messages, raw)}
