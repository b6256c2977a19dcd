"""Clusters by name: `cluster("dgx_h100_superpod")` gives devices and network, every figure cited.

A cluster is one YAML file in this folder, named by its key, in the manner of a device's: each figure `{value, unit, source[, note]}`.

    key: my_pod
    name: My pod
    sources:
      ra: "My vendor, reference architecture, 2025"
    devices:
      - {hardware: h100_sxm, count: {value: 64, source: ra}}
    levels:                              # innermost first
      - name: nvlink
        topology: switch                 # datasets/cluster.py lists them
        size: {value: 8, source: ra}
        bandwidth: {value: 450, unit: GB/s, source: ra}     # what one device sends, one way
      - name: infiniband
        topology: fat_tree
        size: {value: 8, source: ra}
        bandwidth: {value: 50, unit: GB/s, source: ra}
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from ...cluster import Cluster, NetworkLevel
from ...errors import FormatError, InputError, UnknownNameError
from ...hardware import Hardware
from .. import hardware, normal
from ..document import Reader, parsed

__all__ = ["cluster", "cluster_keys", "read_cluster"]

_Made = TypeVar("_Made")

FIELDS = ("key", "name", "year", "aliases", "notes", "sources", "devices", "levels")
LEVEL_WORDS = ("name", "topology", "stack")
#: field of the file -> (field of NetworkLevel, quantity)
LEVEL: dict[str, tuple[str, str]] = {
    "size": ("size", "count"), "bandwidth": ("bandwidth_bytes_per_s", "bandwidth"), "latency": ("latency_s", "time"), "efficiency": ("efficiency", "fraction"),
    "leaf": ("leaf", "count"), "oversubscription": ("oversubscription", "fraction"), "reduce_efficiency": ("reduce_efficiency", "fraction"),
    "energy": ("energy_j_per_byte", "energy_per_byte"),
}
LEVEL_LISTS: dict[str, tuple[str, str]] = {"dims": ("dims", "count"), "device_bandwidths": ("device_bandwidths", "bandwidth")}


def cluster(name: str | os.PathLike[str]) -> Cluster:
    """The cluster called `name`: a key, an alias, or a path ending in .yaml or .yml. Raises UnknownNameError naming the nearest, FormatError."""
    text = os.fspath(name)
    if text.lower().endswith((".yaml", ".yml")):
        return read_cluster(text)
    wanted = normal(text)
    found = next((key for key in cluster_keys() if wanted == normal(key)), None)
    if found is None:   # only now are files parsed that nobody named by key
        found = next((key for key in cluster_keys() if wanted in map(normal, _named(key).aliases)), None)
    if found is not None:
        return _named(found)
    raise UnknownNameError("cluster", text, cluster_keys(), "A cluster of your own: give the path of its .yaml file, or Cluster.of(hardware, count, bandwidth)")


@cache
def cluster_keys() -> tuple[str, ...]:
    """Every key of the catalogue, sorted; no file is parsed."""
    from importlib.resources import files

    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in files(__name__).iterdir() if entry.name.endswith(".yaml")))


def read_cluster(path: str | os.PathLike[str]) -> Cluster:
    """A cluster from a user's YAML file. Raises FormatError, UnitError or InputError in one line that names the file and the field."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: expected a readable cluster in YAML ({error})") from None
    return _read(text, str(path), users=True)


@cache
def _named(key: str) -> Cluster:
    from importlib.resources import files

    return _read((files(__name__) / f"{key}.yaml").read_text(encoding="utf-8"), f"{key}.yaml", users=False)


def _read(text: str, where: str, users: bool) -> Cluster:
    return _ClusterReader(where, users).cluster(parsed(text, where, users))


class _ClusterReader(Reader):
    """Reads a cluster's file by the rules of a device's."""

    def cluster(self, data: Any) -> Cluster:
        given = self._mapping(data, "", FIELDS, required=("key", "name", "devices", "levels"))
        self.sources = {str(name): self._words(text, f"sources.{name}") for name, text in self._mapping(given.get("sources", {}), "sources").items()}
        out: dict[str, Any] = {name: self._words(given[name], name) for name in ("key", "name", "notes") if name in given}
        if "year" in given:
            if not isinstance(given["year"], int) or isinstance(given["year"], bool):
                raise self._fault("year", given["year"], "a year such as 2024")
            out["year"] = given["year"]
        out["aliases"] = tuple(self._words(alias, f"aliases[{i}]") for i, alias in enumerate(self._list(given.get("aliases", []), "aliases")))
        levels = [self._level(entry, i) for i, entry in enumerate(self._list(given["levels"], "levels"))]
        parts = [self._part(entry, i) for i, entry in enumerate(self._list(given["devices"], "devices"))]
        return self._valid(Cluster, parts=tuple(parts), levels=tuple(levels), cited=self.cited, **out)

    def _part(self, entry: Any, i: int) -> tuple[Hardware, int]:
        part = self._mapping(entry, f"devices[{i}]", ("hardware", "count"), required=("hardware", "count"))
        machine = self._valid(hardware, self._words(part["hardware"], f"devices[{i}].hardware"))
        return machine, self._figure(part["count"], f"devices[{i}].count", "count")

    def _level(self, entry: Any, i: int) -> NetworkLevel:
        level = self._mapping(entry, f"levels[{i}]", (*LEVEL_WORDS, "reduces", *LEVEL, *LEVEL_LISTS), required=("name", "topology", "size", "bandwidth"))
        words = {name: self._words(level[name], f"levels[{i}].{name}") for name in LEVEL_WORDS if name in level}
        path = f"levels.{words['name']}"
        if not isinstance(level.get("reduces", False), bool):
            raise self._fault(f"{path}.reduces", level["reduces"], "true or false")
        lists = {f: tuple(self._figure(one, f"{path}.{name}[{j}]", quantity) for j, one in enumerate(self._list(level[name], f"{path}.{name}")))
                 for name, (f, quantity) in LEVEL_LISTS.items() if name in level}
        return self._valid(NetworkLevel, **words, reduces=level.get("reduces", False), **self._figures(level, path, LEVEL), **lists)

    def _valid(self, make: Callable[..., _Made], *args: Any, **fields: Any) -> _Made:
        """What `make` gives; its complaint begins with the file."""
        try:
            return make(*args, **fields)
        except InputError as error:
            raise InputError(f"{self.where}: {error}") from None
