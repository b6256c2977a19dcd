"""Chakra execution traces and workloads: `read_chakra`, `write_chakra`, and the two ways between `Trace` and `Workload`.

What silicast writes carries each op whole in an attribute of its own (`silicast.op`) beside those that other simulators read (num_ops, tensor_size,
comm_type, comm_size), so it comes back equal. Of a stranger's trace:

    COMP_NODE                 a product with its num_ops, shaped so that it moves about tensor_size bytes
    MEM_LOAD_NODE, MEM_STORE_NODE     a move of tensor_size bytes
    COMM_COLL_NODE            the collective of comm_type over `ranks`; comm_size is what one rank hands in
    COMM_SEND_NODE, COMM_RECV_NODE    a send of comm_size bytes; `source` says which
    METADATA_NODE             no op: who waits for it waits for what it waits for
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np

from ..errors import FormatError, GraphError, InputError, UnknownNameError, UnsupportedOpError
from ..ops import COLLECTIVES, MAX_SIZE, Op, shown
from ..workload import Tensor, Workload
from .chakra_json import documents, from_json, to_json
from .chakra_schema import COMM_TYPES, Attribute, Node, Trace

#: bytes of a trace, unpacked: a file that says more means to hurt
MOST_BYTES = 2**28
#: dependencies followed, those through metadata nodes once for every node behind them
MOST_STEPS = 10**6
#: collective of Chakra -> op kind. A reduction to one rank is a broadcast backwards; a barrier the sum of one element
COLLECTIVE_OF: dict[str, str] = {"ALL_REDUCE": "all_reduce", "ALL_GATHER": "all_gather", "REDUCE_SCATTER": "reduce_scatter", "REDUCE_SCATTER_BLOCK": "reduce_scatter",
                                 "ALL_TO_ALL": "all_to_all", "BROADCAST": "broadcast", "REDUCE": "broadcast", "BARRIER": "all_reduce"}
RECEIVED = "chakra COMM_RECV_NODE"


def read_trace(path: str | Path) -> Trace:
    """The trace in a `.et` file (also packed by gzip) or a `.json` one. Raises FormatError naming the file."""
    try:
        data = Path(path).read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.GzipFile(fileobj=BytesIO(data)).read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(f"{path}: not a readable file ({error})") from None
    if len(data) > MOST_BYTES:
        raise FormatError(f"{path}: more than {MOST_BYTES} bytes of trace; expected one rank's")
    try:
        return from_json(documents(data)) if str(path).lower().endswith(".json") else Trace.from_bytes(data)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None


def read_chakra(path: str | Path, dims: Mapping[str, int] | None = None, unknown_ops: str = "error") -> Workload:
    """The workload of one rank's trace. `dims`: `{"ranks": 8}`, how many take part in collectives that do not say. `unknown_ops="bound"` lets compute nodes
    without num_ops through, bounded by their tensor_size. Raises FormatError, GraphError (a cycle), UnsupportedOpError naming file and node."""
    unknown = set(dims or {}) - {"ranks"}
    if unknown:
        raise UnknownNameError("dimension", unknown.pop(), ("ranks",), f"{path}: a trace has the dimension ranks")
    try:
        return to_workload(read_trace(path), Path(path).name.split(".")[0], (dims or {}).get("ranks", 0), unknown_ops)
    except (FormatError, GraphError, UnsupportedOpError) as error:
        raise (error if str(path) in str(error) else type(error)(f"{path}: {error}")) from None


def write_chakra(workload: Workload, path: str | Path) -> None:
    """Writes the workload as one rank's trace: `.json`, or anything else as `.et`."""
    trace = to_trace(workload)
    Path(path).write_bytes(to_json(trace).encode() if str(path).lower().endswith(".json") else trace.to_bytes())


# -- workload to trace --------------------------------------------------------------------------------------------------------------------

def to_trace(workload: Workload) -> Trace:
    """One node per op with id = its place, one dependency per edge; `to_workload` gives back an equal workload."""
    waits: list[dict[int, None]] = [{} for _ in workload.ops]
    for tensor in workload.tensors:
        for reader in tensor.consumers:
            if tensor.producer >= 0:
                waits[reader][tensor.producer] = None
    nodes = tuple(Node(i, op.name, _type(op), tuple(sorted(waits[i])), (), _attributes(op)) for i, op in enumerate(workload.ops))
    tensors = [[t.name, t.bytes, t.producer, list(t.consumers)] for t in workload.tensors]
    whole = {"name": workload.name, "family": workload.family, "notes": list(workload.notes), "tensors": tensors}
    return Trace(nodes, attributes=(Attribute("silicast.workload", "string", json.dumps(whole)),))


def _type(op: Op) -> str:
    if op.kind == "send":
        return "COMM_RECV_NODE" if op.source.startswith(RECEIVED) else "COMM_SEND_NODE"
    return "COMM_COLL_NODE" if op.kind in COLLECTIVES else "COMP_NODE"


def _attributes(op: Op) -> tuple[Attribute, ...]:
    own = {key: value for key, value in op.to_json().items() if key != "name"}
    out = [Attribute("is_cpu_op", "bool", False), Attribute("silicast.op", "string", json.dumps(own))]
    if op.kind in COLLECTIVES:
        handed = Attribute("comm_size", "int64", round(op.bytes_read))
        if op.kind == "send":
            return (*out, handed)
        kind = next(name for name, own_kind in COLLECTIVE_OF.items() if own_kind == op.kind)
        return (*out, Attribute("comm_type", "int64", COMM_TYPES.index(kind)), handed, Attribute("silicast.ranks", "int64", op.dims["ranks"]))
    moved = min(round(op.bytes_read + op.bytes_written), 2**63 - 1)
    return (*out, Attribute("num_ops", "int64", min(round(op.flops), 2**63 - 1)), Attribute("tensor_size", "uint64", moved))


# -- trace to workload --------------------------------------------------------------------------------------------------------------------

def to_workload(trace: Trace, name: str = "trace", ranks: int = 0, unknown_ops: str = "error") -> Workload:
    """See `read_chakra`. Raises FormatError for a dependency on nobody or a trace that was changed after silicast wrote it."""
    whole = trace.get("silicast.workload")
    if isinstance(whole, str):
        return _own(trace, whole)
    waits = _waits(trace.nodes)
    kept = [node for node in trace.nodes if node.type != "METADATA_NODE"]
    if not kept:
        raise FormatError("expected at least one node that does something, got metadata alone")
    notes: dict[str, None] = {}
    ops = [_op(node, ranks, unknown_ops, notes) for node in kept]
    place = {node.id: i for i, node in enumerate(kept)}
    readers: list[list[int]] = [[] for _ in kept]
    for i, node in enumerate(kept):
        for dep in waits[node.id]:
            readers[place[dep]].append(i)
    tensors = [Tensor(node.name or str(node.id), min(round(op.bytes_written), MAX_SIZE), i, tuple(sorted(set(readers[i])))) for i, (node, op) in enumerate(zip(kept, ops, strict=True))]
    timed = sum(node.duration_micros for node in kept)
    said = [*notes, *([f"{timed} us of durations were recorded; they are not part of the workload"] if timed else [])]
    return Workload.of(name, ops, tensors, "trace", said)


def _own(trace: Trace, text: str) -> Workload:
    """A workload that silicast wrote, if nobody changed it since."""
    changed = "the nodes do not fit the attribute 'silicast.workload'; remove it to read the trace as a stranger's"
    try:
        whole = json.loads(text)
        ops = [Op.from_json({"name": n.name, **json.loads(n.get("silicast.op"))}) for n in trace.nodes]
        tensors = tuple(Tensor(label, size, producer, tuple(consumers)) for label, size, producer, consumers in whole["tensors"])
        workload = Workload(whole["name"], tuple(ops), tensors, whole["family"], tuple(whole["notes"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, InputError) as error:
        raise FormatError(f"{changed} ({str(error)[:200]})") from None
    again = to_trace(workload)
    if [(n.id, n.type, set(n.data_deps), n.get("comm_size"), n.get("num_ops")) for n in trace.nodes] != [
            (n.id, n.type, set(n.data_deps), n.get("comm_size"), n.get("num_ops")) for n in again.nodes]:
        raise FormatError(changed)
    return workload


def _waits(nodes: Sequence[Node]) -> dict[int, set[int]]:
    """Node id -> ids of the nodes it waits for, metadata seen through. Raises FormatError for an id given twice or a dependency on nobody."""
    known: dict[int, Node] = {}
    for node in nodes:
        if node.id in known:
            raise FormatError(f"node {node.id} ({shown(node.name)}): this id is given twice")
        known[node.id] = node
    waits: dict[int, set[int]] = {}
    steps = 0
    for node in nodes:
        if node.type == "METADATA_NODE":
            continue
        left, seen, found = [*node.data_deps, *node.ctrl_deps], set[int](), set[int]()
        while left:
            dep = left.pop()
            steps += 1
            if steps > MOST_STEPS:
                raise FormatError(f"node {node.id} ({shown(node.name)}): dependencies through metadata nodes go on for more than {MOST_STEPS} steps")
            if dep not in known:
                raise FormatError(f"node {node.id} ({shown(node.name)}): waits for node {dep}, which is not in the trace")
            if known[dep].type == "METADATA_NODE":
                if dep not in seen:
                    left += [*known[dep].data_deps, *known[dep].ctrl_deps]
                seen.add(dep)
            else:
                found.add(dep)
        waits[node.id] = found
    return waits


def _op(node: Node, ranks: int, unknown_ops: str, notes: dict[str, None]) -> Op:
    where, source = f"node {node.id} ({shown(node.name)}, {node.type})", f"chakra {node.type}"
    label = node.name or f"node{node.id}"

    def amount(name: str, least: int = 0) -> int | None:
        value = node.get(name)
        if value is None:
            return None
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= MAX_SIZE:
            raise FormatError(f"{where}: {name}: expected a number from {least} to 2**62, got {shown(value)}")
        return int(value)

    if node.type in ("MEM_LOAD_NODE", "MEM_STORE_NODE"):
        size = amount("tensor_size", 1)
        if size is None:
            raise UnsupportedOpError(f"{where}: has no tensor_size, so it cannot be counted")
        return Op.of(label, "move", elements=size, dtype="int8", source=source)
    if node.type in ("COMM_SEND_NODE", "COMM_RECV_NODE", "COMM_COLL_NODE"):
        size = amount("comm_size", 1 if node.get("comm_type") != COMM_TYPES.index("BARRIER") else 0)
        if size is None:
            raise UnsupportedOpError(f"{where}: has no comm_size, so it cannot be counted")
        if node.type != "COMM_COLL_NODE":
            return Op.of(label, "send", elements=size, dtype="int8", source=source)
        code = amount("comm_type")
        kind = COMM_TYPES[code] if code is not None and code < len(COMM_TYPES) else None
        if kind not in COLLECTIVE_OF:
            raise UnsupportedOpError(f"{where}: comm_type {shown(code)}{f' ({kind})' if kind else ''} is not counted; expected {', '.join(COLLECTIVE_OF)}")
        members = amount("silicast.ranks", 1) or ranks
        if members < 1:
            raise UnsupportedOpError(f"{where}: a trace does not say how many ranks take part; give it: --dim ranks=8")
        if kind in ("REDUCE", "BARRIER", "REDUCE_SCATTER_BLOCK"):
            notes[f"{kind} is counted as {COLLECTIVE_OF[kind]}"] = None
        return Op.of(label, COLLECTIVE_OF[kind], elements=max(size, 1), ranks=members, dtype="int8", source=source)
    if node.type != "COMP_NODE":
        raise UnsupportedOpError(f"{where}: is not counted; expected compute, memory, communication or metadata nodes")
    flops, size = amount("num_ops"), amount("tensor_size")
    if flops is None or (size is None and not flops):
        if unknown_ops == "bound" and size:
            return Op.of(label, "bound", input_elements=size, output_elements=1, dtype="int8", source=source)
        raise UnsupportedOpError(f"{where}: has no num_ops, so it cannot be counted; --unknown-ops bound takes its tensor_size, where it has one")
    if flops < 2:
        return Op.of(label, "move", elements=max(size or 1, 1), dtype="int8", source=source)
    notes["compute nodes say how much they compute and move, not what: each is taken as a float16 product of that size"] = None
    m, n, k = product_of(flops, size or 0)
    return Op.of(label, "gemm", m=m, n=n, k=k, dtype="float16", source=source)


@lru_cache(maxsize=4096)
def product_of(flops: int, nbytes: int) -> tuple[int, int, int]:
    """(m, n, k) of a float16 product of about `flops` operations (equal wherever 2 m n k can be) that moves about `nbytes`; without bytes, a cube."""
    macs = max(flops // 2, 1)
    m = max(round(macs ** (1 / 3)), 1)
    if nbytes:
        # weights n k are read once and n = k: 2 (n^2 + 2 m n) bytes for m n^2 multiply-adds; m small means much traffic
        heights = np.geomspace(1, m, 64).round()
        side = np.sqrt(macs / heights)
        m = int(heights[np.argmin(np.abs(np.log(2 * (side * side + 2 * heights * side) / nbytes)))])
    near = np.arange(max(m - 4, 1), m + 5, dtype=np.int64)[:, None]  # the height and side nearby that divide best
    middle = max(math.isqrt(macs // m), 1)
    sides = np.arange(max(middle - 128, 1), middle + 129, dtype=np.int64)[None, :]
    depth = macs // near // sides
    at = np.unravel_index(int(np.argmin(np.where(depth > 0, macs - near * sides * depth, MAX_SIZE))), depth.shape)
    return int(near[at[0], 0]), int(sides[0, at[1]]), max(int(depth[at]), 1)
