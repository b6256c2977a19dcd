"""The catalogue's machines, listed and shown: what `silicast hardware` and `GET /v1/hardware` answer."""

from __future__ import annotations

from dataclasses import asdict

from . import show
from .reply import Reply


def hardware_list() -> Reply:
    """Every device and cluster of the catalogue."""
    from ..datasets.catalog import hardware, keys
    from ..datasets.catalog.clusters import cluster, cluster_keys

    devices = [hardware(key) for key in keys()]
    clusters = [cluster(key) for key in cluster_keys()]
    document = {"devices": [{"key": d.key, "name": d.name, "kind": d.kind, "vendor": d.vendor, "year": d.year, "tdp_w": d.tdp_w,
                             "memory_bytes": d.dram.capacity_bytes, "bandwidth_bytes_per_s": d.dram_bandwidth, "aliases": d.aliases} for d in devices],
                "clusters": [{"key": c.key, "name": c.name, "year": c.year, "devices": c.devices, "hardware": [m.key for m, _ in c.parts],
                              "levels": [level.name for level in c.levels], "aliases": c.aliases} for c in clusters]}
    return Reply(document, lambda console: show.devices(console, devices, clusters))


def hardware_show(name: str) -> Reply:
    """One device or cluster with the source of every figure."""
    from ..datasets.catalog import hardware, normal
    from ..datasets.catalog.clusters import cluster, cluster_keys

    if normal(name) in map(normal, cluster_keys()):
        found = cluster(name)
        document = {"key": found.key, "name": found.name, "year": found.year, "devices": found.devices, "parts": [{"hardware": m.key, "count": n} for m, n in found.parts],
                    "levels": [asdict(level) for level in found.levels], "aliases": found.aliases, "notes": found.notes, "cited": dict(found.cited)}
        return Reply(document, lambda console: show.cluster(console, found))
    device = hardware(name)
    return Reply({**device.to_json(), "digest": device.digest}, lambda console: show.device(console, device))
