"""What a collective costs on a group of devices: the cheapest of the known algorithms, by start-up and bytes, links shared where flows meet.

With n ranks, S payload bytes, a = latency of a hop, B = payload rate of a device (s per byte b = 1/B, times `topology.load`):

    ring               2(n-1) a + 2 (n-1)/n S b         Patarasuk and Yuan, JPDC 2009 (bandwidth-optimal); half of each for gather or scatter
    halving_doubling   2 log2(n) a + 2 (n-1)/n S b      Rabenseifner, ICCS 2004; Thakur, Rabenseifner and Gropp, IJHPCA 2005; each step by its distance
    tree               2 (sqrt(S b) + sqrt(2 a log2 n))^2   two binary trees: Sanders, Speck and Traeff, Parallel Computing 2009; one broadcast is half
    direct             2 a + 2 (n-1)/n S b              everyone to everyone at once, scatter then gather
    one_shot           a + (n-1) S b                    everyone reads everything
    bucket             2 sum(d_i - 1) a + 2 (n-1)/n S b all dimensions of a grid at once: Sack and Gropp, ACM TOPC 2015
    in_switch          2 a + S b                        switches add and multicast: Graham et al. (SHARP), COMHPC 2016; FRED, Rashidi et al. 2024
    hierarchical       scatter inside, the rest between, gather inside; each level by its own best algorithm
    scatter_gather     broadcast as scatter and all-gather: van de Geijn, in Thakur et al. 2005
    direct, bruck      all-to-all: pairwise (n-1)/n S b; log2(n) a + log2(n) S/2 b

S is the buffer each rank holds at the end (all_gather) or at the start (the others), so `bus bandwidth` of NCCL's tests is S/t times
2(n-1)/n for all_reduce and (n-1)/n for all_gather, reduce_scatter and all_to_all (nccl-tests, doc/PERFORMANCE.md).

Software costs more than the wire. A level whose `stack` is NCCL counts the start-up, hop latency and share of bandwidth that NCCL's own
cost model has for each of its protocols (`STACK_PROTOCOLS`), the best protocol chosen, and the passes of the payload through memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cluster import Group, NetworkLevel
from ..errors import InputError, UnknownNameError
from .topology import hops, load, pair_load, steps

KINDS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "send")


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a library moves bytes: seconds before anything moves, seconds per hop beside the wire's, share of the rate, most bytes/s."""

    launch_s: float
    hop_s: float
    share: float
    most_bytes_per_s: float = math.inf


#: NCCL, src/graph/tuning.cc and topo.h (v2.20 to v2.27): base latency and hardware latency of rings over NVLink, PCIe and network; LL carries
#: 4 bytes of flag for 4 of data, LL128 8 for 120; LL's most bytes/s is that of one node of Ampere or Hopper. `custom` is one kernel that
#: reads its peers' memory (vLLM, SGLang, TensorRT-LLM): a launch inside a CUDA graph and two flag round trips of about 1 us (assumption).
STACK_PROTOCOLS: dict[str, dict[str, Protocol]] = {
    "nccl_nvlink": {"ll": Protocol(6.6e-6, 0.6e-6, 0.5, 87.7e9), "ll128": Protocol(14.0e-6, 1.9e-6, 120 / 128), "simple": Protocol(8.4e-6, 3.4e-6, 1.0)},
    "nccl_pcie": {"ll": Protocol(6.6e-6, 1.0e-6, 0.5, 87.7e9), "simple": Protocol(8.4e-6, 5.7e-6, 1.0)},
    "nccl_net": {"ll": Protocol(6.6e-6, 2.7e-6, 0.5, 19.0e9), "ll128": Protocol(14.0e-6, 4.0e-6, 120 / 128), "simple": Protocol(8.4e-6, 14.0e-6, 1.0)},
    "custom": {"simple": Protocol(2.5e-6, 1.0e-6, 1.0)},
}
#: what a library has of the algorithms (with `auto`; asked for by name, any is priced): NCCL rings, trees, NVLS, since 2.23 PAT, a gather in
#: log2(n) steps over the network; levels one after another as NVLS trees and two-level exchanges do. Custom kernels read or multicast.
_NCCL = {"all_reduce": ("ring", "tree", "in_switch", "hierarchical"), "all_gather": ("ring", "in_switch", "hierarchical"),
         "reduce_scatter": ("ring", "in_switch", "hierarchical"), "all_to_all": ("direct", "hierarchical"), "broadcast": ("tree", "in_switch", "hierarchical"), "send": ("direct",)}
_PAT = {kind: (*_NCCL[kind], "halving_doubling") for kind in ("all_gather", "reduce_scatter")}
STACK_ALGORITHMS: dict[str, dict[str, tuple[str, ...]]] = {
    "nccl_nvlink": _NCCL, "nccl_pcie": _NCCL, "nccl_net": {**_NCCL, **_PAT},
    "custom": {"all_reduce": ("one_shot", "direct", "in_switch", "hierarchical")},
}
#: NVLink SHARP begins with a multicast handshake: NCCL tuning.cc, hardware latency of NVLS within a node
NVLS_START_S = 25e-6
#: one more peer of a direct exchange delays the last message by so much: NCCL tuning.cc, "arity serialization latency"
PEER_GAP_S = 0.4e-6
#: passes of a rank's own chunk through memory that no link hides: read own, read received, write (a reducing step of a ring;
#: assumption, also for steps that only copy)
MEMORY_PASSES = 3.0


@dataclass(frozen=True, slots=True)
class CollectiveCost:
    """The answer: seconds, the algorithm's name, bytes a device sends, joules of the links (None where a level has no figure).

    Of an array of payloads (n,): arrays, `algorithm` too.
    """

    time_s: Any
    algorithm: Any
    wire_bytes: Any
    energy_j: Any


@dataclass(frozen=True, slots=True)
class _Wire:
    """A group under one protocol: per span hop latency (s), s per byte of one device, members, members inside; and what it starts with."""

    group: Group
    launch: float
    hop: tuple[float, ...]
    beta: tuple[float, ...]
    software: bool

    @property
    def n(self) -> int:
        return self.group.size

    @property
    def counts(self) -> list[int]:
        return [n for _, n in self.group.spans]

    @property
    def inner(self) -> list[int]:
        """Ranks inside one member of each span."""
        return [math.prod(self.counts[:i]) for i in range(len(self.counts))]

    def ring_beta(self, pattern: str = "ring") -> float:
        """s per byte of rings through all levels: every rank inside a member has a port out of it, and all of them are used."""
        return max(b * load(level, n, pattern) / m for b, (level, n), m in zip(self.beta, self.group.spans, self.inner, strict=True))

    def ring_hops(self) -> float:
        """Seconds of n - 1 hops: most are inside, the fewest between the outermost."""
        return sum(h * (n - 1) * math.prod(self.counts[i + 1:]) for i, (h, n) in enumerate(zip(self.hop, self.counts, strict=True)))

    def far(self) -> float:
        """Seconds of one message between the two ranks farthest apart."""
        return max(h * hops(level, n) for h, (level, n) in zip(self.hop, self.group.spans, strict=True))

    def depth(self) -> float:
        """Seconds from the root of a binary tree over all levels to its leaves; NCCL's trees are chains inside a node (tuning.cc)."""
        chain = ("nccl_nvlink", "nccl_pcie")
        return sum(h * (n - 1 if level.stack in chain else math.ceil(math.log2(n))) for h, (level, n) in zip(self.hop, self.group.spans, strict=True))

    def gaps(self) -> float:
        return PEER_GAP_S * (self.n - 2) if self.software else 0.0

    def local(self, nbytes: np.ndarray) -> np.ndarray:
        """Seconds of a rank's own bytes through memory."""
        return nbytes * (MEMORY_PASSES / self.group.memory_bytes_per_s if self.software else 0.0)

    def one(self, i: int) -> _Wire:
        """Span i alone."""
        return _Wire(Group((self.group.spans[i],), self.group.memory_bytes_per_s), 0.0, (self.hop[i],), (self.beta[i],), self.software)


def collective(kind: str, payload_bytes: Any, group: Group, algorithm: str = "auto") -> CollectiveCost:
    """Cost of one collective of `payload_bytes` (a number or an array) on `group`; `auto` takes the fastest algorithm for each payload.

    A `send` goes between the two ranks that are farthest apart. One rank alone has nothing to send: zero, algorithm "none".
    Raises UnknownNameError for a kind or algorithm, InputError for an algorithm the group cannot run or a payload below zero.
    """
    if kind not in KINDS:
        raise UnknownNameError("collective", kind, KINDS)
    known = {"auto", *(name for of_kind in ALGORITHMS.values() for name in of_kind)}
    if algorithm not in known:
        raise UnknownNameError("collective algorithm", algorithm, known)
    payload = np.atleast_1d(np.asarray(payload_bytes, dtype=np.float64))
    if not np.all(np.isfinite(payload)) or np.any(payload < 0):
        raise InputError(f"collective {kind}: expected payloads that are finite and >= 0, got {payload_bytes!r}")
    scalar = np.ndim(payload_bytes) == 0
    if group.size <= 1:
        return _shaped(np.zeros_like(payload), np.full(payload.shape, "none", dtype="<U16"), np.zeros_like(payload), np.zeros_like(payload), scalar)
    time, names, sent = _best(kind, payload, group, algorithm)
    if not names:
        raise InputError(f"collective {kind}: {algorithm!r} does not run on {' x '.join(f'{n} ({level.topology})' for level, n in group.spans)}; "
                         f"expected one of {', '.join(ALGORITHMS[kind])} where the switches and shape allow it, or auto")
    at = np.argmin(time, axis=0)
    rows = np.arange(len(payload))
    chosen = sent[at, rows]
    price = [level.energy_j_per_byte for level, _ in group.spans]
    energy = None if None in price else group.size * chosen @ np.array(price, dtype=np.float64)
    return _shaped(time[at, rows], np.array(names)[at], chosen.sum(axis=1), energy, scalar)


def _shaped(time: np.ndarray, names: np.ndarray, sent: np.ndarray, energy: np.ndarray | None, scalar: bool) -> CollectiveCost:
    if scalar:
        return CollectiveCost(float(time[0]), str(names[0]), float(sent[0]), None if energy is None else float(energy[0]))
    return CollectiveCost(time, names, sent, energy)


def _best(kind: str, payload: np.ndarray, group: Group, algorithm: str) -> tuple[np.ndarray, list[str], np.ndarray]:
    """(candidates, p) seconds, their names, (candidates, p, spans) bytes a device sends at each level."""
    times, names, sent = [], [], []
    for wire in _wires(group):
        for name, cost in ALGORITHMS[kind].items():
            if (algorithm == name or (algorithm == "auto" and _has(wire, kind, name))) and (priced := cost(wire, payload)) is not None:
                seconds, nbytes = priced
                times.append(wire.launch + seconds)
                names.append(name)
                sent.append(np.broadcast_to(np.stack(nbytes, axis=-1), (len(payload), len(group.spans))))
    return np.array(times), names, np.array(sent)


def _has(wire: _Wire, kind: str, name: str) -> bool:
    """Whether the libraries of all levels have that algorithm."""
    return all(not level.stack or name in STACK_ALGORITHMS[level.stack].get(kind, ()) for level, _ in wire.group.spans)


def _wires(group: Group) -> list[_Wire]:
    """The group under every protocol that all of its levels have; a level without a stack goes with any."""
    tables = [STACK_PROTOCOLS[level.stack] if level.stack else None for level, _ in group.spans]
    common = [name for name in ("ll", "ll128", "simple") if all(t is None or name in t for t in tables)] if any(tables) else [""]
    out = []
    for name in common:
        each = [t[name] if t else Protocol(0.0, 0.0, 1.0) for t in tables]
        beta = tuple(1.0 / min(level.payload_bytes_per_s * p.share, p.most_bytes_per_s) for p, (level, _) in zip(each, group.spans, strict=True))
        hop = tuple(p.hop_s + level.latency_s for p, (level, _) in zip(each, group.spans, strict=True))
        out.append(_Wire(group, max(p.launch_s for p in each), hop, beta, any(t is not None for t in tables)))
    return out


_Priced = tuple[np.ndarray, list[np.ndarray]] | None
_Cost = Callable[[_Wire, np.ndarray], _Priced]


def _flat_bytes(wire: _Wire, total: np.ndarray) -> list[np.ndarray]:
    """`total` bytes of each rank, spread over the levels as a ring's hops are."""
    edges = [(n - 1) * math.prod(wire.counts[i + 1:]) for i, n in enumerate(wire.counts)]
    return [total * e / sum(edges) for e in edges]


def _ring(rounds: int, pattern: str = "ring") -> _Cost:
    def cost(wire: _Wire, s: np.ndarray) -> _Priced:
        if pattern == "bucket" and (len(wire.counts) > 1 or wire.group.spans[0][0].topology not in ("mesh", "torus")):
            return None
        moved = rounds * (wire.n - 1) / wire.n * s
        start = wire.hop[0] * steps(*wire.group.spans[0]) if pattern == "bucket" else wire.ring_hops()
        return rounds * start + moved * wire.ring_beta(pattern) + wire.local(s / wire.n), _flat_bytes(wire, moved)
    return cost


def _halving(rounds: int) -> _Cost:
    def cost(wire: _Wire, s: np.ndarray) -> _Priced:
        if len(wire.counts) > 1:
            return None   # between levels `hierarchical` halves and doubles in each
        (level, n), left = wire.group.spans[0], 1.0
        even = 2 ** int(math.log2(n))
        per_byte = start = 0.0
        for i in range(int(math.log2(even))):   # the largest share to the nearest partner
            left /= 2
            per_byte += left * pair_load(level, n, 2**i)
            start += wire.hop[0] * hops(level, min(n, 2 ** (i + 1)))
        extra = 0.0 if even == n else 1.0      # ranks beyond the power of two hand their data to a partner first and get it back
        moved = rounds * ((even - 1) / even + extra) * s
        seconds = rounds * (start + extra * wire.hop[0]) + rounds * s * wire.beta[0] * (per_byte + extra * pair_load(level, n, 1))
        return seconds + wire.local(s / n), [moved]
    return cost


def _direct(rounds: int) -> _Cost:
    def cost(wire: _Wire, s: np.ndarray) -> _Priced:
        n = wire.n
        # through the ports of a level goes what is for ranks outside its members
        share = [(n - m) / n for m in wire.inner]
        per_byte = max(f * b * load(level, k, "all") for f, b, (level, k) in zip(share, wire.beta, wire.group.spans, strict=True))
        crossing = [f - g for f, g in zip(share, [*share[1:], 0.0], strict=True)]
        return rounds * (wire.far() + wire.gaps() + s * per_byte) + wire.local(s / n), [rounds * s * c for c in crossing]
    return cost


def _one_shot(wire: _Wire, s: np.ndarray) -> _Priced:
    if len(wire.counts) > 1:
        return None
    level, n = wire.group.spans[0]
    return wire.far() + wire.gaps() + (n - 1) * s * wire.beta[0] * load(level, n, "all"), [(n - 1) * s]


def _tree(rounds: int) -> _Cost:
    def cost(wire: _Wire, s: np.ndarray) -> _Priced:
        once = (np.sqrt(s * wire.ring_beta()) + math.sqrt(2.0 * wire.depth())) ** 2
        return rounds * once, _flat_bytes(wire, rounds * s * (wire.n - 1) / wire.n)
    return cost


def _in_switch(kind: str) -> _Cost:
    def cost(wire: _Wire, s: np.ndarray) -> _Priced:
        level, n = wire.group.spans[0]
        if len(wire.counts) > 1 or not level.reduces or n < 2:
            return None
        beta, start = wire.beta[0] / level.reduce_efficiency, 0.0
        moved = s if kind in ("all_reduce", "broadcast") else s * (n - 1) / n
        if level.stack == "nccl_nvlink":
            # NVLink SHARP: each GPU pulls its own sum through the switch, then multicasts it: its port also carries the 1/n it asked for
            start = NVLS_START_S
            moved = s * (1 + 1 / n) if kind == "all_reduce" else moved
        return start + (2 if kind == "all_reduce" else 1) * wire.hop[0] + moved * beta + wire.local(s / n), [moved]
    return cost


def _hierarchical(kind: str) -> _Cost:
    def cost(wire: _Wire, s: np.ndarray) -> _Priced:
        if len(wire.counts) < 2:
            return None
        total, sent = np.zeros_like(s), []
        for i, m in enumerate(wire.inner):
            stages = [kind] if kind != "all_reduce" or i == len(wire.counts) - 1 else ["reduce_scatter", "all_gather"]
            payload = s if kind in ("all_to_all", "broadcast") else s / m
            here = np.zeros_like(s)
            for stage in stages:
                seconds, nbytes = _cheapest(stage, wire.one(i), payload)
                total, here = total + seconds, here + nbytes
            sent.append(here)
        return total, sent
    return cost


def _cheapest(kind: str, wire: _Wire, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Seconds and bytes of the best algorithm of one level."""
    priced = [p for p in (cost(wire, s) for name, cost in ALGORITHMS[kind].items() if _has(wire, kind, name)) if p is not None]
    times = np.array([np.broadcast_to(t, s.shape) for t, _ in priced])
    at = np.argmin(times, axis=0)
    rows = np.arange(len(s))
    return times[at, rows], np.array([np.broadcast_to(b[0], s.shape) for _, b in priced])[at, rows]


def _bruck(wire: _Wire, s: np.ndarray) -> _Priced:
    if len(wire.counts) > 1:
        return None
    level, n = wire.group.spans[0]
    rounds = math.ceil(math.log2(n))
    start = sum(wire.hop[0] * hops(level, min(n, 2 ** (i + 1))) for i in range(rounds))
    per_byte = sum(pair_load(level, n, 2**i) for i in range(rounds)) / 2
    return start + s * wire.beta[0] * per_byte + wire.local(s), [s * rounds / 2]


def _scatter_gather(wire: _Wire, s: np.ndarray) -> _Priced:
    moved = 2 * (wire.n - 1) / wire.n * s
    return wire.depth() + wire.ring_hops() + moved * wire.ring_beta(), _flat_bytes(wire, moved)


def _send(wire: _Wire, s: np.ndarray) -> _Priced:
    far = max(range(len(wire.counts)), key=lambda i: wire.beta[i])
    level, n = wire.group.spans[-1]
    alone = {"full": level.size - 1.0, "ring": 2.0, "mesh": 2.0 * len(level.dims), "torus": 2.0 * len(level.dims)}.get(level.topology, 1.0)   # one of its links
    return wire.far() + s * max(wire.beta[far], wire.beta[-1] * min(alone, n if n > 2 else alone)), [s if i == len(wire.counts) - 1 else 0.0 * s for i in range(len(wire.counts))]


#: kind -> algorithm -> its cost; each gives None on a group it cannot run on
ALGORITHMS: dict[str, dict[str, _Cost]] = {
    "all_reduce": {"ring": _ring(2), "halving_doubling": _halving(2), "tree": _tree(2), "direct": _direct(2), "one_shot": _one_shot,
                   "bucket": _ring(2, "bucket"), "in_switch": _in_switch("all_reduce"), "hierarchical": _hierarchical("all_reduce")},
    **{kind: {"ring": _ring(1), "halving_doubling": _halving(1), "direct": _direct(1), "bucket": _ring(1, "bucket"),
              "in_switch": _in_switch(kind), "hierarchical": _hierarchical(kind)} for kind in ("all_gather", "reduce_scatter")},
    "all_to_all": {"direct": _direct(1), "bruck": _bruck, "hierarchical": _hierarchical("all_to_all")},
    "broadcast": {"tree": _tree(1), "scatter_gather": _scatter_gather, "in_switch": _in_switch("broadcast"), "hierarchical": _hierarchical("broadcast")},
    "send": {"direct": _send},
}


def bound_s(kind: str, payload_bytes: Any, level: NetworkLevel, members: int) -> Any:
    """Seconds of the bandwidth alone at the level's full rate: what a roofline says (bus-bandwidth factors of nccl-tests)."""
    factor = {"all_reduce": 2 * (members - 1) / members, "broadcast": 1.0, "send": 1.0}.get(kind, (members - 1) / members)
    return np.asarray(payload_bytes, dtype=np.float64) * factor / level.bandwidth_bytes_per_s
