"""Chakra traces for the contract of frontends: binary, and as JSON."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

Maker = Callable[[Path], Path]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, body: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _attribute(name: str, value: int) -> bytes:
    """An int64."""
    return _field(10, _field(1, name.encode()) + b"\x48" + _varint(value))


def _node(number: int, kind: int, *attributes: bytes, deps: tuple[int, ...] = ()) -> bytes:
    return b"\x08" + _varint(number) + _field(2, b"n%d" % number) + b"\x18" + _varint(kind) + _field(5, b"".join(map(_varint, deps))) + b"".join(attributes)


def _trace(*nodes: bytes) -> bytes:
    return b"".join(_varint(len(m)) + m for m in (_field(1, b"0.0.4"), *nodes))


def _file(data: bytes, name: str = "rank.et") -> Maker:
    def maker(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name
    return maker


#: a load, a product of 4096 operations (16 x 16 x 8), a sum over ranks
_GOOD = (_node(1, 2, _attribute("tensor_size", 512)), _node(2, 4, _attribute("num_ops", 4096), _attribute("tensor_size", 1024), deps=(1,)),
         _node(3, 7, _attribute("comm_type", 0), _attribute("comm_size", 512), deps=(2,)))
_CHAIN = [_node(i, 2, _attribute("tensor_size", 1), deps=(i + 1,)) for i in range(3000)]


def _unknown(folder: Path) -> tuple[Path, str]:
    return _file(_trace(_GOOD[0], _node(5, 9)))(folder), r"node 5 .*BATCH_NODE.*not counted"


def _json(*nodes: object, head: object = None) -> Maker:
    return _file(json.dumps({"metadata": head or {"version": "0.0.4"}, "nodes": nodes}).encode(), "rank.json")


_LOAD = {"id": "1", "name": "load", "type": "MEM_LOAD_NODE", "attr": [{"name": "tensor_size", "int64Val": "512"}]}
_WORK = {"id": 2, "type": 4, "dataDeps": ["1"], "attr": [{"name": "num_ops", "int64_val": 4096}, {"name": "tensor_size", "uint64Val": "1024"}]}


CASES = [{
    "suffix": ".et", "good": _file(_trace(*_GOOD)), "flops": 4096, "arguments": {"dims": {"ranks": 4}}, "unknown": _unknown,
    "hostile": {
        "empty": _file(b""), "metadata alone": _file(_trace()), "a message of exabytes": _file(b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), "endless number": _file(b"\xff" * 10**6),
        "a field of exabytes": _file(_trace(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f")), "no protobuf": _file(b"\x05hello" * 1000), "groups": _file(_trace(b"\x0b" * 10**6)),
        "a cycle": _file(_trace(_node(1, 2, _attribute("tensor_size", 1), deps=(2,)), _node(2, 2, _attribute("tensor_size", 1), deps=(1,)))),
        "a long cycle": _file(_trace(*_CHAIN, _node(3000, 2, _attribute("tensor_size", 1), deps=(0,)))), "waits for itself": _file(_trace(_node(1, 2, _attribute("tensor_size", 1), deps=(1,)))),
        "a bomb": _file(gzip.compress(bytes(2**29), 1)), "half a gzip": _file(gzip.compress(_trace(*_GOOD))[:-20]), "a damaged gzip": _file(gzip.compress(_trace(*_GOOD))[:10] + b"\xff" * 40), "declared exabytes": _file(_trace(_node(1, 2, _attribute("tensor_size", 2**63)))),
        "metadata in a circle": _file(_trace(*(_node(i, 1, deps=((i + 1) % 2000,)) for i in range(2000)), *(_node(2000 + i, 2, deps=(0,)) for i in range(2000)))),
        "ours and not": _file(_varint(73) + _field(1, b"0") + _field(2, _field(1, b"silicast.workload") + b"\xea\x01" + _varint(45) + b"[" * 45) + _trace(*_GOOD)[8:]),
    },
    "harmless": {"packed": _file(gzip.compress(_trace(*_GOOD))), "a long chain": _file(_trace(*_CHAIN, _node(3000, 2, _attribute("tensor_size", 1))))},
}, {
    "suffix": ".json", "good": _json(_LOAD, _WORK), "flops": 4096,
    "unknown": lambda folder: (_json(_LOAD, {"id": 5, "type": "BATCH_NODE"})(folder), "node 5 .*not counted"),
    "hostile": {
        "deep": _file(b'{"nodes": ' + b"[" * 10**5, "rank.json"), "a node that is a list": _json([1]), "an endless id": _json({"id": "9" * 10**5, "type": 2}), "no nodes": _json(),
        "no number": _json({**_LOAD, "attr": [{"name": "tensor_size", "int64Val": {"a": 1}}]}), "no kind": _json({"id": 1, "type": "NAP_NODE"}), "endless list": _json({"id": 1, "type": 2, "attr": "x" * 10**6}),
        "not base64": _json({"id": 1, "type": 2, "attr": [{"name": "b", "bytesVal": "a"}]}), "two workloads": _file(b'{"format": "silicast-workload/1"} [1]', "rank.json"),
    },
    "harmless": {"one after another": _file(b'{"version": "0"}\n' + json.dumps(_LOAD).encode() + b"\n" + json.dumps(_WORK).encode(), "rank.json")},
}]
