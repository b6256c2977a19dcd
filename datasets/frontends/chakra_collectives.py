"""Collective algorithms written out as Chakra traces, one per rank: who sends how much to whom, and what waits for what.

    for rank, trace in enumerate(ring_all_reduce(8, 2**20)):
        Path(f"ring.{rank}.et").write_bytes(trace.to_bytes())
"""

from __future__ import annotations

from ..errors import InputError
from .chakra_schema import Attribute, Node, Trace


def ring_all_reduce(ranks: int, nbytes: int, element_bytes: int = 2) -> list[Trace]:
    """The ring (Patarasuk and Yuan, JPDC 2009): n - 1 steps that send one n-th of the buffer on and add what comes, n - 1 that pass the sums round.

    In step s of the first half rank r sends part r - s to rank r + 1 and adds the part r - s - 1 that rank r - 1 sends; in the second it sends the part it
    summed last and keeps what comes. Raises InputError for fewer than two ranks or a buffer that does not divide into ranks x elements.
    """
    for name, value in (("ranks", ranks), ("element_bytes", element_bytes)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1 + (name == "ranks"):
            raise InputError(f"ring all-reduce: {name}: expected a whole number of at least {1 + (name == 'ranks')}, got {value!r}")
    if not isinstance(nbytes, int) or isinstance(nbytes, bool) or nbytes < 1 or nbytes % (ranks * element_bytes):
        raise InputError(f"ring all-reduce: nbytes: expected a multiple of {ranks} ranks x {element_bytes} bytes, got {nbytes!r}")
    return [_ring(rank, ranks, nbytes // ranks, element_bytes) for rank in range(ranks)]


def _ring(rank: int, ranks: int, part: int, element_bytes: int) -> Trace:
    nodes: list[Node] = []
    after, right, left = (), (rank + 1) % ranks, (rank - 1) % ranks
    ready: tuple[int, ...] = after
    for step in range(2 * (ranks - 1)):
        adds = step < ranks - 1
        sent, came = ((rank - step) % ranks, (rank - step - 1) % ranks) if adds else ((rank - step + ranks) % ranks, (rank - step - 1 + ranks) % ranks)
        at = len(nodes)
        # what goes out is what the last step made; a buffer for what comes is free when that step is over
        nodes.append(_message(at, f"send part {sent}", "COMM_SEND_NODE", ready, part, rank, right, step))
        nodes.append(_message(at + 1, f"receive part {came}", "COMM_RECV_NODE", ready, part, left, rank, step))
        ready = (at + 1,)
        if adds:
            count = Attribute("num_ops", "int64", part // element_bytes)
            moved = Attribute("tensor_size", "uint64", 3 * part)  # both summands read, the sum written
            nodes.append(Node(at + 2, f"add part {came}", "COMP_NODE", ready, (), (Attribute("is_cpu_op", "bool", False), count, moved)))
            ready = (at + 2,)
    return Trace(tuple(nodes), attributes=(Attribute("rank", "int32", rank),))


def _message(number: int, name: str, kind: str, deps: tuple[int, ...], nbytes: int, source: int, target: int, tag: int) -> Node:
    ends = (Attribute("comm_src", "int32", source), Attribute("comm_dst", "int32", target), Attribute("comm_tag", "int32", tag))
    return Node(number, name, kind, deps, (), (Attribute("is_cpu_op", "bool", False), Attribute("comm_size", "int64", nbytes), *ends))
