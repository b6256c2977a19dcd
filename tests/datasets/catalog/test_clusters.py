"""The catalogue of clusters: every file reads, every figure is cited, a fault names file and field."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from silicast.datasets import catalog
from silicast.datasets.catalog.clusters import cluster, cluster_keys, read_cluster
from silicast.datasets.catalog.clusters.table import table
from silicast.datasets.errors import FormatError, InputError, UnknownNameError

MINE = """
key: mine
name: Mine
sources: {ra: "A reference architecture, 2025"}
devices:
  - {hardware: h100_sxm, count: {value: 16, source: ra}}
levels:
  - {name: nvlink, topology: switch, size: {value: 8, source: ra}, bandwidth: {value: 450, unit: GB/s, source: ra}}
  - {name: network, topology: fat_tree, size: {value: 2, source: ra}, bandwidth: {value: 50, unit: GB/s, source: ra}}
"""


def test_there_are_clusters_of_every_kind() -> None:
    assert len(cluster_keys()) >= 6
    assert {"switch", "fat_tree", "torus", "mesh", "dragonfly"} <= {level.topology for key in cluster_keys() for level in cluster(key).levels}


@pytest.mark.parametrize("key", cluster_keys())
def test_every_cluster_reads_and_cites_every_figure(key: str) -> None:
    found = cluster(key)
    assert found.key == key
    for level in found.levels:
        assert {f"levels.{level.name}.size", f"levels.{level.name}.bandwidth"} <= set(found.cited)
    assert all(len(text) > 20 for text in found.cited.values())
    assert all(cluster(alias) is found for alias in found.aliases)


def test_sizes_that_papers_name() -> None:
    sizes = {"selene": 3072, "frontier": 75264, "tpu_v3_pod": 1024, "tpu_v4_pod": 4096, "deepseek_v3": 2048, "megascale": 12288, "fred_wafer": 20}
    assert {key: catalog.cluster(key).devices for key in sizes} == sizes


def test_an_unknown_name_says_what_is_near() -> None:
    with pytest.raises(UnknownNameError, match="frontier"):
        cluster("fronteer")


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(MINE)
    assert cluster(path).devices == read_cluster(path).devices == 16


@pytest.mark.parametrize(("old", "new", "said"), [
    ("GB/s", "Gbit", "bandwidth"), ("value: 450", "value: 0", "levels.nvlink.bandwidth"), ("value: 16", "value: 15", "15 devices"), ("switch", "swich", "topology"),
    ("h100_sxm", "h100_sxmm", "unknown device"), ("source: ra}}\nlevels", "source: rb}}\nlevels", "source"), ("topology: switch, ", "", "topology"),
    ("name: Mine", "name: Mine\nspeed: 3", "speed"),
])
def test_a_fault_names_file_and_field(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(MINE.replace(old, new))
    with pytest.raises(InputError, match=said) as fault:
        read_cluster(path)
    assert "mine.yaml" in str(fault.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="readable cluster"):
        read_cluster(tmp_path / "none.yaml")


def test_the_page_of_the_docs_is_fresh_and_runs() -> None:
    page = Path(__file__).parents[3] / "docs" / "clusters.md"
    assert table() in page.read_text(encoding="utf-8"), "put what python -m silicast.datasets.catalog.clusters prints into docs/clusters.md"
    assert doctest.testfile(str(page), module_relative=False).failed == 0
