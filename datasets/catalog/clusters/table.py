"""The clusters as a markdown table, made from the YAML: a row per cluster, its network level by level, its citations."""

from __future__ import annotations

from ...cluster import Cluster, NetworkLevel
from . import cluster, cluster_keys

HEAD = ("key", "cluster", "devices", "network, innermost first (rates one way, per device)", "sources")


def table() -> str:
    """The whole table, in the order of the keys."""
    rows = [HEAD, ("---",) * len(HEAD), *(_row(cluster(key)) for key in cluster_keys())]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _row(c: Cluster) -> tuple[str, ...]:
    devices = " + ".join(f"{count:,} `{machine.key}`" for machine, count in c.parts)
    # a citation may carry a note of its figure in parentheses at the end; each source is named once
    cited = dict.fromkeys(text.replace("|", "\\|") for text in _sources(c.key).values())
    return f"`{c.key}`", c.name, devices, "<br>".join(map(_level, c.levels)), "<br>".join(cited)


def _level(level: NetworkLevel) -> str:
    shape = " x ".join(map(str, level.dims)) if level.dims else f"{level.size:,}"
    more = [*([f"{level.efficiency:.3g} of it reached"] if level.efficiency < 1 else []), *([f"oversubscribed {level.oversubscription:.3g} : 1"] if level.oversubscription > 1 else []),
            *(["adds in its switches"] if level.reduces else [])]
    return f"{level.name}: {level.topology.replace('_', ' ')} of {shape}, {level.bandwidth_bytes_per_s / 1e9:,.4g} GB/s" + (f" ({', '.join(more)})" if more else "")


def _sources(key: str) -> dict[str, str]:
    from importlib.resources import files

    import yaml

    return dict(yaml.safe_load((files(__package__ or "") / f"{key}.yaml").read_text(encoding="utf-8"))["sources"])
