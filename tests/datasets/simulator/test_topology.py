"""Loads on the busiest link, counted by hand."""

from __future__ import annotations

import pytest

from silicast.datasets.cluster import NetworkLevel
from silicast.datasets.simulator.topology import PATTERNS, grid, hops, load, pair_load, steps


def level(topology: str, size: int, **rest: object) -> NetworkLevel:
    return NetworkLevel("link", size, topology, 1e9, **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_switch_never_slows_and_a_bus_is_shared(pattern: str) -> None:
    assert load(level("switch", 8), 8, pattern) == 1
    assert load(level("bus", 8), 8, pattern) == 8
    assert load(level("bus", 8), 1, pattern) == 1


def test_full_mesh_uses_the_links_to_those_present() -> None:
    assert load(level("full", 8), 8, "all") == 1
    assert load(level("full", 8), 2, "ring") == 7      # one of seven links
    assert pair_load(level("full", 8), 8, 4) == 7


def test_a_ring_of_eight_by_hand() -> None:
    ring = level("ring", 8)
    assert load(ring, 8, "ring") == 1                  # both directions
    assert load(ring, 4, "ring") == 2                  # a line has no way back
    # all to all: mean way (1+1+2+2+3+3+4)/7 = 16/7 links, of 2 links' worth of one device: 16/7
    assert load(ring, 8, "all") == pytest.approx(16 / 7)
    assert hops(ring, 8) == 4
    assert pair_load(ring, 8, 4) == 8                  # four pairs over the middle link, which has half a device's rate


def test_a_torus_fills_all_dimensions_and_a_mesh_half() -> None:
    torus, mesh = level("torus", 16, dims=(4, 4)), level("mesh", 16, dims=(4, 4))
    assert load(torus, 16, "bucket") == 1
    assert load(mesh, 16, "bucket") == 2
    assert load(torus, 16, "ring") == 2                # a Hamiltonian ring uses one of two dimensions' worth of links
    # bisection of a 4 x 4 torus: 8 links each way of a quarter of a device; 8 x 8/16 units cross: 4/(8/4) = 2 of S, over (n-1)/n S
    assert load(torus, 16, "all") == pytest.approx(2 * 16 / 15)
    assert load(mesh, 16, "all") == pytest.approx(2 * load(torus, 16, "all"))
    assert steps(torus, 16) == 6
    assert grid(torus, 8) == [(4, True), (2, False)]   # part of a dimension is a line


def test_fat_tree_and_dragonfly_share_what_leaves_a_leaf() -> None:
    tree, fly = level("fat_tree", 64, leaf=8, oversubscription=4.0), level("dragonfly", 64, leaf=8, oversubscription=4.0)
    assert load(tree, 8, "all") == 1                   # one leaf
    assert load(tree, 64, "ring") == 1                 # one flow in eight leaves, over a quarter of the rate
    assert load(tree, 64, "all") == pytest.approx(4 * 56 / 63)
    assert pair_load(tree, 64, 8) == 4
    assert pair_load(fly, 64, 8) == 8                  # a detour over a third group
    assert pair_load(fly, 64, 4) == 1


def test_an_unknown_pattern_is_refused() -> None:
    with pytest.raises(ValueError, match="ring, bucket, all"):
        load(level("switch", 8), 8, "star")
