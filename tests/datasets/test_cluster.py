"""A cluster is valid at birth; groups cross the levels they should."""

from __future__ import annotations

from dataclasses import replace

import pytest

from silicast.datasets import catalog
from silicast.datasets.cluster import Cluster, NetworkLevel
from silicast.datasets.errors import InputError, UnknownNameError


@pytest.fixture
def pod() -> Cluster:
    levels = (NetworkLevel("nvlink", 8, "switch", 450e9), NetworkLevel("rail", 4, "switch", 50e9), NetworkLevel("spine", 2, "fat_tree", 50e9, leaf=1, oversubscription=2.0))
    return Cluster("pod", "pod", ((catalog.hardware("h100_sxm"), 64),), levels)


@pytest.mark.parametrize(("size", "stride", "spans"), [
    (1, 1, []), (4, 1, [("nvlink", 4)]), (8, 1, [("nvlink", 8)]), (16, 1, [("nvlink", 8), ("rail", 2)]), (64, 1, [("nvlink", 8), ("rail", 4), ("spine", 2)]),
    (8, 8, [("rail", 4), ("spine", 2)]), (4, 2, [("nvlink", 4)]), (8, 4, [("nvlink", 2), ("rail", 4)]), (2, 32, [("spine", 2)]),
])
def test_a_group_crosses_the_levels_its_ranks_lie_in(pod: Cluster, size: int, stride: int, spans: list[tuple[str, int]]) -> None:
    group = pod.group(size, stride)
    assert [(level.name, n) for level, n in group.spans] == spans
    assert group.size == size


@pytest.mark.parametrize(("size", "stride"), [(0, 1), (65, 1), (2, 64), (True, 1), (2, -1)])
def test_ranks_that_do_not_exist_are_refused(pod: Cluster, size: int, stride: int) -> None:
    with pytest.raises(InputError, match="'pod'"):
        pod.group(size, stride)


@pytest.mark.parametrize(("change", "said"), [
    ({"size": 0}, "size"), ({"bandwidth_bytes_per_s": 0.0}, "bandwidth"), ({"bandwidth_bytes_per_s": float("nan")}, "bandwidth"), ({"latency_s": -1.0}, "latency"), ({"efficiency": 1.5}, "efficiency"),
    ({"oversubscription": 0.5}, "oversubscription"), ({"topology": "torus"}, "dims"), ({"topology": "torus", "dims": (3, 2)}, "dims"), ({"dims": (8,)}, "dims"),
    ({"device_bandwidths": (1e9,)}, "device_bandwidths"), ({"energy_j_per_byte": 0.0}, "energy_per_byte"),
])
def test_an_impossible_level_names_its_field(change: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=f"level 'link': {said}"):
        replace(NetworkLevel("link", 8, "switch", 1e9), **change)


def test_unknown_topologies_and_stacks_name_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="dragonfly"):
        NetworkLevel("link", 8, "dragonfli", 1e9)
    with pytest.raises(UnknownNameError, match="nccl_net"):
        NetworkLevel("link", 8, "switch", 1e9, stack="nccl-net")


def test_devices_and_levels_must_agree(pod: Cluster) -> None:
    with pytest.raises(InputError, match="63 devices"):
        replace(pod, parts=((pod.hardware, 63),))
    with pytest.raises(InputError, match="name of its own"):
        replace(pod, levels=(pod.levels[0], replace(pod.levels[0], size=8)))


def test_the_slowest_device_and_link_set_the_pace() -> None:
    mixed = Cluster("mixed", "mixed", ((catalog.hardware("h100_sxm"), 2), (catalog.hardware("a100_sxm_40gb"), 2)),
                    (NetworkLevel("link", 4, "switch", 100e9, device_bandwidths=(100e9, 100e9, 100e9, 20e9)),))
    assert mixed.hardware.key == "a100_sxm_40gb"
    assert mixed.memory_bytes == 40 * 2**30
    assert mixed.levels[0].payload_bytes_per_s == 20e9


def test_a_part_of_a_cluster_is_whole_groups(pod: Cluster) -> None:
    assert [level.size for level in pod.take(16).levels] == [8, 2, 1]
    assert pod.take(4).devices == 4
    with pytest.raises(InputError, match="multiple"):
        pod.take(12)
    with pytest.raises(InputError, match="1 to 64"):
        pod.take(65)


def test_an_ad_hoc_grid_is_as_square_as_it_can_be() -> None:
    grid = Cluster.of(catalog.hardware("tpu_v3"), 32, 100e9, topology="torus")
    assert grid.levels[0].dims == (4, 8)
    assert grid.devices == 32
