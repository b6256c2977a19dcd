"""The protobuf wire format, as much of it as Chakra traces use: varints, fixed words, length-prefixed bytes.

From the public description of the encoding (https://protobuf.dev/programming-guides/encoding). Nothing is read beyond the end that a length states,
and a length beyond the end of what is there is an error before anything is taken.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ..errors import FormatError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
Value = int | bytes


def read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """(number, place behind it) of an unsigned varint. Raises FormatError when it is cut off or longer than 64 bits."""
    value = shift = 0
    while True:
        if at >= end:
            raise FormatError(f"byte {at}: a number is cut off; the file is truncated")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
        if shift > 63:
            raise FormatError(f"byte {at}: a number of more than ten bytes; this is no protobuf")
    return value & (2**64 - 1), at


def varint(value: int) -> bytes:
    """An integer as a varint; a negative one as the 64 bits of its two's complement."""
    value &= 2**64 - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def fields(data: bytes, at: int = 0, end: int | None = None) -> Iterator[tuple[int, int, Value]]:
    """(number, wire type, value) of every field of a message in data[at:end]: an int of a varint, the raw bytes of the others. Raises FormatError."""
    end = len(data) if end is None else end
    while at < end:
        key, at = read_varint(data, at, end)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise FormatError(f"byte {at}: a field numbered 0; this is no protobuf")
        if kind == VARINT:
            value, at = read_varint(data, at, end)
            yield number, kind, value
            continue
        if kind == BYTES:
            length, at = read_varint(data, at, end)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        else:
            raise FormatError(f"byte {at}: wire type {kind} in field {number}; expected 0, 1, 2 or 5")
        if length > end - at:
            raise FormatError(f"byte {at}: field {number} states {length} bytes, {end - at} are left; the file is truncated or no protobuf")
        yield number, kind, data[at:at + length]
        at += length


def messages(data: bytes) -> Iterator[bytes]:
    """The length-prefixed messages of a file, one after another. Raises FormatError."""
    at = 0
    while at < len(data):
        length, at = read_varint(data, at, len(data))
        if length > len(data) - at:
            raise FormatError(f"byte {at}: a message states {length} bytes, {len(data) - at} are left; the file is truncated or no Chakra trace")
        yield data[at:at + length]
        at += length


def field(number: int, kind: int, value: Value) -> bytes:
    """One field: its key, for bytes the length, the value."""
    if isinstance(value, int):
        return varint(number << 3 | kind) + varint(value)
    return varint(number << 3 | kind) + (varint(len(value)) if kind == BYTES else b"") + value


def zigzag(value: int) -> int:
    """A signed integer as sint32 and sint64 store it."""
    return value << 1 if value >= 0 else (-value << 1) - 1


def unzigzag(value: int) -> int:
    """The signed integer of a stored sint."""
    return value >> 1 if not value & 1 else -(value >> 1) - 1


def signed(value: int, bits: int) -> int:
    """Of an unsigned number, the signed one with the same low bits."""
    value &= 2**bits - 1
    return value - 2**bits if value >> (bits - 1) else value


def packed(code: str, data: bytes) -> tuple[float | int, ...]:
    """The words of a packed list of fixed-size values (a `struct` code). Raises FormatError when they do not fill it."""
    size = struct.calcsize(f"<{code}")
    if len(data) % size:
        raise FormatError(f"a packed list of {len(data)} bytes; expected a multiple of {size}")
    return struct.unpack(f"<{len(data) // size}{code}", data)
