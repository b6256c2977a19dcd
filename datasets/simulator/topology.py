"""How much slower flows get where they meet: the load on the busiest link of a level, for the patterns that collectives make.

`load` multiplies the time of a byte at a device's full injection rate. It is the rate that is offered to the busiest link over the rate the
link has, when every device of the group sends at once:

* switch 1; bus n (one port for all); full (size - 1) / (links in use), as nobody forwards.
* ring, mesh, torus: each of the 2D links of a device has a 1/2D share of its bandwidth. Neighbour rings through all dimensions at once fill
  every link of a torus (Sack and Gropp, "Collective algorithms for multiported torus networks", ACM TOPC 2015) and half of them on a
  mesh, whose lines have no way back; a Hamiltonian ring uses two links. Uniform all-to-all over a line of d that wraps loads its links d/8 per
  unit sent each way, twice that without wrap-around (bisection; Dally and Towles, "Principles and Practices of Interconnection Networks", ch. 3).
* fat tree (Leiserson 1985): flows that leave their leaf share its thinner uplinks.
* dragonfly (Kim, Dally, Scott and Abts, ISCA 2008): flows that leave their group share its global links; a pattern in which a whole group
  talks to one other group goes over a random third one (Valiant) and takes twice the global bandwidth.
"""

from __future__ import annotations

import math

from ..cluster import NetworkLevel

#: what the devices of a group do at once: pass to the next of a ring; all dimensions' rings at once; everyone to everyone
PATTERNS = ("ring", "bucket", "all")


def load(level: NetworkLevel, members: int, pattern: str) -> float:
    """Offered over available rate on the busiest link (>= 1) when `members` of the level's groups run `pattern`; ValueError for another."""
    if pattern not in PATTERNS:
        raise ValueError(f"load: expected one of {', '.join(PATTERNS)}, got {pattern!r}")
    if members <= 1 or level.topology == "switch":
        return 1.0
    if level.topology == "bus":
        return float(members)
    if level.topology == "full":
        return (level.size - 1.0) / (members - 1.0)
    if level.topology in ("ring", "mesh", "torus"):
        return _grid_load(level, members, pattern)
    leaf = level.leaf or 1
    if members <= leaf:
        return 1.0
    crossing = 1.0 / leaf if pattern != "all" else 1.0 - (leaf - 1.0) / (members - 1.0)   # share of a leaf's traffic that leaves it
    detour = 2.0 if level.topology == "dragonfly" and pattern != "all" else 1.0
    return max(1.0, level.oversubscription * detour * crossing)


def pair_load(level: NetworkLevel, members: int, distance: int) -> float:
    """The same when everyone exchanges with the one partner at `distance` in the order of ranks (halving and doubling)."""
    if members <= 1 or level.topology == "switch":
        return 1.0
    if level.topology == "bus":
        return float(members)
    if level.topology == "full":
        return level.size - 1.0
    if level.topology in ("ring", "mesh", "torus"):
        dims, links = grid(level, members), 2.0 * max(1, len(level.dims))
        for d, _ in dims:
            if distance < d:
                return links * distance    # `distance` pairs pass over the link in the middle, each by one of the sender's links
            distance = max(1, distance // d)
        return links
    leaf = level.leaf or 1
    if distance < leaf:
        return 1.0
    return max(1.0, level.oversubscription * (2.0 if level.topology == "dragonfly" else 1.0))


def steps(level: NetworkLevel, members: int) -> int:
    """Messages one after another that pass data to all: n - 1 round a ring, the sum over the dimensions through a grid."""
    return sum(d - 1 for d, _ in grid(level, members)) if level.topology in ("mesh", "torus") else members - 1


def hops(level: NetworkLevel, members: int) -> float:
    """Links between the two that are farthest apart; one switch counts as one."""
    if members <= 1 or level.topology not in ("ring", "mesh", "torus"):
        return 1.0
    return float(max(1, sum(d // 2 if wraps else d - 1 for d, wraps in grid(level, members))))


def grid(level: NetworkLevel, members: int) -> list[tuple[int, bool]]:
    """(length, wraps around) of each dimension that `members` neighbours fill, innermost first: part of a torus' dimension is a line."""
    if level.topology == "ring":
        return [(members, members == level.size and members > 2)]
    out, left = [], members
    for d in level.dims:
        here = min(d, left)
        if here > 1:
            out.append((here, level.topology == "torus" and here == d and d > 2))
        left = math.ceil(left / here)
    return out


def _grid_load(level: NetworkLevel, members: int, pattern: str) -> float:
    dims, total = grid(level, members), max(1, len(level.dims))
    if pattern == "all":
        per_dim = [d / 4.0 * total * (1.0 if wraps else 2.0) for d, wraps in dims]
        return max(1.0, max(per_dim) * members / (members - 1.0))
    used = len(dims) if pattern == "bucket" else 1
    closed = all(wraps for _, wraps in dims) if pattern == "bucket" else dims[0][1] or len(dims) > 1   # a Hamiltonian cycle closes on a grid of two dimensions
    return total / used * (1.0 if closed else 2.0)
