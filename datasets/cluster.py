"""A cluster: devices and the levels of network that join them.

A level joins `size` groups of the level below it (innermost first, the first joins single devices), so a cluster has the product of the
sizes as its devices, and device r stands at the mixed-radix digits of r. Bandwidths are what one *device* can send while it receives as much
(full duplex), over all of its links of that level: a node with 8 GPUs and 8 network cards of 50 GB/s has 50 GB/s, one with 4 such cards 25 GB/s.

    nvlink = NetworkLevel("nvlink", 8, "switch", 450e9, latency_s=1e-6)
    fabric = NetworkLevel("infiniband", 32, "fat_tree", 50e9, latency_s=4e-6)
    pod = Cluster("pod", "32 nodes of 8", ((hardware("h100"), 256),), (nvlink, fabric))
    pod.group(16)              # 8 of a node, in 2 nodes
    pod.group(32, stride=8)    # one device in every node
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .errors import InputError, UnknownNameError
from .hardware import Hardware

#: how the members of a level are joined, and what that means for flows that meet (`simulator/topology.py` has the factors)
TOPOLOGIES: dict[str, str] = {
    "switch": "one non-blocking switch (NVSwitch, a wafer's crossbar): any pattern at full rate",
    "bus": "one shared medium or host bridge: the members divide one port's rate",
    "full": "a link of its own between any two members; nobody forwards",
    "ring": "two neighbours; longer ways pass through the members between",
    "mesh": "a grid of `dims`, neighbours only, no wrap-around",
    "torus": "a grid of `dims` with wrap-around links",
    "fat_tree": "leaf switches of `leaf` members under a core that carries 1/`oversubscription` of their rate",
    "dragonfly": "groups of `leaf` members, any two groups joined by global links that carry 1/`oversubscription` of the rate",
}
#: software that runs the collectives of a level: "" prices the wire alone (alpha and beta as given); see `simulator/collectives.py`
STACKS = ("", "nccl_nvlink", "nccl_pcie", "nccl_net", "custom")


@dataclass(frozen=True, slots=True)
class NetworkLevel:
    """One level of a network; valid at birth, InputError naming level and field.

    `size` groups of the level below are joined. `bandwidth_bytes_per_s` is what one device sends, one way, over all its links here;
    `device_bandwidths` the same for each member group where they differ (heterogeneous links: a synchronous collective goes at the pace of
    the slowest). `latency_s` is one message between two members, wire and switches, without software. `efficiency` is the share of the
    bandwidth that payload reaches. `reduces`: switches add and multicast (SHARP, NVLS, FRED) at `reduce_efficiency` of the payload rate.
    `dims` is the grid of a mesh or torus, `leaf` the members under one leaf switch (fat tree) or in one group (dragonfly),
    `oversubscription` >= 1 the rate offered over the rate the core carries. `stack` names the software whose overheads count.
    """

    name: str
    size: int
    topology: str
    bandwidth_bytes_per_s: float
    latency_s: float = 0.0
    efficiency: float = 1.0
    dims: tuple[int, ...] = ()
    leaf: int = 0
    oversubscription: float = 1.0
    reduces: bool = False
    reduce_efficiency: float = 1.0
    stack: str = ""
    energy_j_per_byte: float | None = None
    device_bandwidths: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        def fault(name: str, got: Any, expected: str) -> InputError:
            return InputError(f"network level {self.name!r}: {name}: expected {expected}, got {got!r}")

        if self.topology not in TOPOLOGIES:
            raise UnknownNameError("topology", self.topology, TOPOLOGIES, f"in network level {self.name!r}")
        if self.stack not in STACKS:
            raise UnknownNameError("collective stack", self.stack, STACKS, f"in network level {self.name!r}")
        for name, count, least in (("size", self.size, 1), ("leaf", self.leaf, 0), *(("dims", d, 1) for d in self.dims)):
            if not isinstance(count, int) or isinstance(count, bool) or count < least:
                raise fault(name, count, f"a whole number of at least {least}")
        for name, value in (("bandwidth", self.bandwidth_bytes_per_s), ("energy_per_byte", self.energy_j_per_byte), *(("device_bandwidths", b) for b in self.device_bandwidths)):
            if value is not None and not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
                raise fault(name, value, "a finite number > 0")
        for name, share in (("efficiency", self.efficiency), ("reduce_efficiency", self.reduce_efficiency)):
            if not 0 < share <= 1:
                raise fault(name, share, "a share above 0, at most 1")
        if not (math.isfinite(self.latency_s) and self.latency_s >= 0):
            raise fault("latency", self.latency_s, "a finite number >= 0")
        if not (math.isfinite(self.oversubscription) and self.oversubscription >= 1):
            raise fault("oversubscription", self.oversubscription, "a number >= 1 (1 is a full bisection)")
        if (self.topology in ("mesh", "torus")) != bool(self.dims) or (self.dims and math.prod(self.dims) != self.size):
            raise fault("dims", self.dims, f"the grid of a mesh or torus, its product the size ({self.size})")
        if self.device_bandwidths and len(self.device_bandwidths) != self.size:
            raise fault("device_bandwidths", self.device_bandwidths, f"one figure for each of the {self.size} members")

    @property
    def payload_bytes_per_s(self) -> float:
        """What a device of the slowest member can send, after `efficiency`."""
        return min((self.bandwidth_bytes_per_s, *self.device_bandwidths)) * self.efficiency


@dataclass(frozen=True, slots=True)
class Group:
    """The part of a network that one communicator crosses: `spans` of (level, members there), innermost first, only levels with more
    than one member. `memory_bytes_per_s` is the memory bandwidth of a device (a reduction passes through it); inf where it is to be free."""

    spans: tuple[tuple[NetworkLevel, int], ...]
    memory_bytes_per_s: float = math.inf

    @property
    def size(self) -> int:
        """Ranks in the communicator."""
        return math.prod(n for _, n in self.spans)


@dataclass(frozen=True)
class Cluster:
    """Devices joined by `levels`, innermost first. `parts` are (machine, how many), in the order of the ranks; their counts sum to the
    product of the levels' sizes. Raises InputError naming what does not fit."""

    key: str
    name: str
    parts: tuple[tuple[Hardware, int], ...]
    levels: tuple[NetworkLevel, ...]
    aliases: tuple[str, ...] = ()
    year: int | None = None
    notes: str = field(default="", compare=False)
    cited: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not self.parts or not self.levels:
            raise InputError(f"cluster {self.key!r}: expected devices and at least one network level, got {len(self.parts)} and {len(self.levels)}")
        for machine, count in self.parts:
            if not isinstance(machine, Hardware) or not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise InputError(f"cluster {self.key!r}: parts: expected (Hardware, whole number >= 1), got ({getattr(machine, 'key', machine)!r}, {count!r})")
        names = [level.name for level in self.levels]
        if len(set(names)) < len(names):
            raise InputError(f"cluster {self.key!r}: levels: expected a name of its own for each, got {', '.join(names)}")
        if sum(count for _, count in self.parts) != self.devices:
            shape = " x ".join(f"{level.size} ({level.name})" for level in self.levels)
            raise InputError(f"cluster {self.key!r}: its parts have {sum(c for _, c in self.parts)} devices, its levels {shape} = {self.devices}")

    @property
    def devices(self) -> int:
        """How many devices."""
        return math.prod(level.size for level in self.levels)

    @property
    def hardware(self) -> Hardware:
        """The device; of a mixed cluster the one that is slowest at float16 matrix work, whose pace a synchronous step has."""
        return min((machine for machine, _ in self.parts), key=lambda machine: machine.rate("float16"))

    @property
    def memory_bytes(self) -> float:
        """Memory of the device that has least."""
        return min(machine.dram.capacity_bytes for machine, _ in self.parts)

    def group(self, size: int, stride: int = 1) -> Group:
        """What a communicator of the ranks 0, stride, 2 stride, ... crosses. Every other communicator of that shape may run at the same
        time: each device has its own ports. Ranks that fill no whole group of a level are rounded up to one that does. Raises InputError when the ranks do not exist."""
        if not all(isinstance(v, int) and not isinstance(v, bool) and v >= 1 for v in (size, stride)) or size * stride > max(self.devices, size):
            raise InputError(f"cluster {self.key!r}: a group of {size!r} ranks with stride {stride!r} needs {size!r} x {stride!r} devices, it has {self.devices}")
        if size > self.devices:
            raise InputError(f"cluster {self.key!r}: a group of {size} ranks; it has {self.devices} devices")
        spans, inner, left = [], 1, size
        for level in self.levels:
            step = max(1, stride // inner)   # members of this level between two ranks
            here = min(left, max(1, -(-level.size // step)))
            if here > 1:
                spans.append((level, here))
            left = -(-left // here)
            inner *= level.size
        memory = min(machine.dram_bandwidth for machine, _ in self.parts)
        return Group(tuple(spans), memory)

    def take(self, devices: int) -> Cluster:
        """The first `devices` of it, as a cluster: whole groups of the inner levels. Raises InputError when they would be cut."""
        if not isinstance(devices, int) or isinstance(devices, bool) or not 1 <= devices <= self.devices:
            raise InputError(f"cluster {self.key!r}: expected 1 to {self.devices} devices, got {devices!r}")
        levels, left = [], devices
        for level in self.levels:
            here = min(left, level.size)
            if left % here:
                raise InputError(f"cluster {self.key!r}: {devices} devices are not whole groups of {level.size} ({level.name}); expected a multiple")
            cut = level if here == level.size else replace(level, size=here, dims=_shrunk(level.dims, here), device_bandwidths=level.device_bandwidths[:here])
            levels.append(cut)
            left //= here
        parts, wanted = [], devices
        for machine, count in self.parts:
            if wanted > 0:
                parts.append((machine, min(count, wanted)))
            wanted -= count
        return replace(self, parts=tuple(parts), levels=tuple(levels))

    @classmethod
    def of(cls, hardware: Hardware, count: int, link_bandwidth_bytes_per_s: float, latency_s: float = 0.0, topology: str = "switch", **rest: Any) -> Cluster:
        """An ad-hoc cluster of one level: `count` devices, each sending at most `link_bandwidth_bytes_per_s` one way; `rest` are further
        fields of `NetworkLevel`. Overheads of software are not counted. A mesh or torus without `dims` is as square as it can be."""
        if topology in ("mesh", "torus") and "dims" not in rest and isinstance(count, int) and count >= 1:
            side = next(d for d in range(math.isqrt(count), 0, -1) if count % d == 0)
            rest["dims"] = (side, count // side)
        level = NetworkLevel("link", count, topology, link_bandwidth_bytes_per_s, latency_s, **rest)
        return cls(f"{hardware.key}_x{count}", f"{count} x {hardware.name}", ((hardware, count),), (level,))


def _shrunk(dims: tuple[int, ...], members: int) -> tuple[int, ...]:
    """A sub-grid of `members`: the last dimensions are cut first; what no sub-grid holds becomes one line."""
    out, left = [], members
    for d in dims:
        here = math.gcd(d, left) if left % d else d
        out.append(here)
        left //= here
    return tuple(out) if left == 1 else ((members,) if dims else ())
