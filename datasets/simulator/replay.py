"""What one rank's workload with collectives takes on a cluster: arithmetic on the device, messages on the network, both at once where nothing waits.

    replay(model.workload("prefill", tokens=2048, tensor=8, collectives=True), cluster("dgx_h100"))

Compute ops are priced by `simulate` on the cluster's (slowest) device, collectives by `collective` on the group of their ranks. An op starts when what it
waits for is done and its resource is free: the device, the network outwards (collectives and sends), the network inwards (receives). The other ranks
are taken to do the same at the same time, so a receive is as long as the message and nobody waits for a straggler.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..cluster import Cluster
from ..errors import InputError
from ..ops import COLLECTIVES, Op
from ..workload import Tensor, Workload
from .collectives import collective
from .simulate import simulate

#: what an op occupies
RESOURCES = ("device", "out", "in")


@dataclass(frozen=True)
class Replay:
    """When every op ran: (V,) `start_s`, `finish_s`, and the place in `RESOURCES` it occupied; `algorithms` of the collectives by op name; joules of
    arithmetic and links per rank, None where a link has no figure."""

    workload: Workload
    cluster: Cluster
    start_s: np.ndarray
    finish_s: np.ndarray
    resource: np.ndarray
    algorithms: dict[str, str]
    energy_j: float | None

    @property
    def latency_s(self) -> float:
        """When the last op is done."""
        return float(self.finish_s.max())

    @property
    def busy_s(self) -> dict[str, float]:
        """Seconds each resource worked."""
        took = self.finish_s - self.start_s
        return {name: float(took[self.resource == i].sum()) for i, name in enumerate(RESOURCES)}

    @property
    def exposed_s(self) -> float:
        """Seconds in which the device waited for the network."""
        return max(self.latency_s - self.busy_s["device"], 0.0)


def replay(workload: Workload, cluster: Cluster, strides: Mapping[int, int] | None = None, algorithm: str = "auto") -> Replay:
    """The workload of one rank on a cluster whose ranks all run it.

    Communicators of n ranks are neighbours, or `strides[n]` apart ({8: 1, 32: 8}: tensor groups inside nodes, data groups across). `algorithm` as in
    `collective`. Raises InputError for a group the cluster does not have or a device that cannot hold the workload.
    """
    if not isinstance(workload, Workload) or not isinstance(cluster, Cluster):
        raise InputError(f"replay: expected a Workload and a Cluster, got {type(workload).__name__} and {type(cluster).__name__}")
    took, joules = _compute(workload, cluster)
    algorithms: dict[str, str] = {}
    links: float | None = 0.0
    for at, op in enumerate(workload.ops):
        if op.kind not in COLLECTIVES:
            continue
        ranks = op.dims.get("ranks", min(2, cluster.devices))
        if ranks > cluster.devices:
            raise InputError(f"replay: op {op.name!r} ({op.kind}) has {ranks} ranks; cluster {cluster.key!r} has {cluster.devices} devices")
        cost = collective(op.kind, payload_bytes(op), cluster.group(ranks, (strides or {}).get(ranks, 1)), algorithm if op.kind != "send" else "auto")
        took[at] = cost.time_s
        algorithms[op.name] = cost.algorithm
        share = None if cost.energy_j is None else cost.energy_j / max(ranks, 1)
        links = None if links is None or share is None else links + share
    resource = np.array([_resource(op) for op in workload.ops])
    start = _schedule(workload, took, resource)
    return Replay(workload, cluster, start, start + took, resource, algorithms, None if links is None else joules + links)


def payload_bytes(op: Op) -> float:
    """The buffer `collective` asks for: what each rank holds at the end of an all_gather, at the start of the others."""
    return op.bytes_read * (op.dims["ranks"] if op.kind == "all_gather" else 1)


def _resource(op: Op) -> int:
    if op.kind not in COLLECTIVES:
        return 0
    return 2 if "RECV" in op.source else 1


def _compute(workload: Workload, cluster: Cluster) -> tuple[np.ndarray, float]:
    """(V,) seconds of the ops that are no collectives, and their joules. What a collective made is an input to the rest: nothing is fused across it."""
    took = np.zeros(len(workload.ops))
    own = [i for i, op in enumerate(workload.ops) if op.kind not in COLLECTIVES]
    if not own:
        return took, 0.0
    place = {at: i for i, at in enumerate(own)}
    tensors = [Tensor(t.name, t.bytes, place.get(t.producer, -1), tuple(place[c] for c in t.consumers if c in place)) for t in workload.tensors
               if t.producer in place or any(c in place for c in t.consumers)]
    answer = simulate(Workload(workload.name, tuple(workload.ops[i] for i in own), tuple(tensors), workload.family), cluster.hardware)
    if answer.infeasible:
        raise InputError(f"replay: {workload.name!r} on {cluster.hardware.key}: {answer.infeasible}")
    took[own] = answer.op_latency_s
    return took, float(answer.values["energy_j"])


def _schedule(workload: Workload, took: np.ndarray, resource: np.ndarray) -> np.ndarray:
    """(V,) starts: of the ops that are ready, a resource takes the one that was ready first, of equals the first in the graph."""
    count = len(workload.ops)
    waits = np.bincount(workload.edges[:, 1], minlength=count)
    readers: list[list[int]] = [[] for _ in range(count)]
    for producer, reader in workload.edges.tolist():
        readers[producer].append(reader)
    start, ready, free = np.zeros(count), np.zeros(count), [0.0] * len(RESOURCES)
    queue = [(0.0, i) for i in range(count) if waits[i] == 0]
    heapq.heapify(queue)
    while queue:
        at, op = heapq.heappop(queue)
        begin = max(at, free[resource[op]])
        start[op] = begin
        end = begin + took[op]
        free[resource[op]] = end
        for reader in readers[op]:
            ready[reader] = max(ready[reader], end)
            waits[reader] -= 1
            if waits[reader] == 0:
                heapq.heappush(queue, (float(ready[reader]), reader))
    return start
