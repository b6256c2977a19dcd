"""Collectives against formulas by hand, and the laws that any cost must keep."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.datasets import catalog
from silicast.datasets.cluster import TOPOLOGIES, Cluster, Group, NetworkLevel
from silicast.datasets.errors import InputError, UnknownNameError
from silicast.datasets.simulator.collectives import ALGORITHMS, KINDS, bound_s, collective

S, B, A = 1e9, 100e9, 2e-6


def group(topology: str = "switch", n: int = 8, latency: float = A, bandwidth: float = B, **rest: object) -> Group:
    dims = {"dims": (n // 2, 2)} if topology in ("mesh", "torus") else {}
    level = NetworkLevel("link", n, topology, bandwidth, latency, **{**dims, **rest})  # type: ignore[arg-type]
    return Group(((level, n),))


def two_levels(**rest: object) -> Group:
    return Group(((NetworkLevel("in", 8, "switch", 8 * B, A / 2, **rest), 8), (NetworkLevel("out", 4, "fat_tree", B, A, **rest), 4)))  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "algorithm", "seconds"), [
    ("all_reduce", "ring", 14 * A + 2 * 7 / 8 * S / B), ("all_gather", "ring", 7 * A + 7 / 8 * S / B), ("reduce_scatter", "ring", 7 * A + 7 / 8 * S / B),
    ("all_reduce", "halving_doubling", 6 * A + 2 * 7 / 8 * S / B), ("all_gather", "halving_doubling", 3 * A + 7 / 8 * S / B),
    ("all_reduce", "direct", 2 * A + 2 * 7 / 8 * S / B), ("all_reduce", "one_shot", A + 7 * S / B), ("all_to_all", "direct", A + 7 / 8 * S / B), ("all_to_all", "bruck", 3 * A + 1.5 * S / B),
    ("broadcast", "tree", (math.sqrt(S / B) + math.sqrt(6 * A)) ** 2), ("broadcast", "scatter_gather", 10 * A + 2 * 7 / 8 * S / B), ("send", "direct", A + S / B),
    ("all_reduce", "tree", 2 * (math.sqrt(S / B) + math.sqrt(6 * A)) ** 2),
])
def test_one_switch_by_formula(kind: str, algorithm: str, seconds: float) -> None:
    assert collective(kind, S, group(), algorithm).time_s == pytest.approx(seconds, rel=1e-12)


def test_in_switch_sends_each_byte_once() -> None:
    cost = collective("all_reduce", S, group(reduces=True), "in_switch")
    assert (cost.time_s, cost.wire_bytes) == (pytest.approx(2 * A + S / B), S)


def test_a_power_of_two_is_not_needed() -> None:
    # 6 ranks: 4 halve and double, 2 hand over their data first and get it back
    assert collective("all_reduce", S, group(n=6), "halving_doubling").time_s == pytest.approx(2 * (2 * A + A) + 2 * (3 / 4 + 1) * S / B)


def test_a_torus_beats_a_mesh_and_its_own_ring() -> None:
    torus, mesh = group("torus", 16), group("mesh", 16)
    assert collective("all_reduce", S, torus, "bucket").time_s == pytest.approx(2 * 8 * A + 2 * 15 / 16 * S / B * 2)   # 8 x 2: the dimension of two does not wrap
    assert collective("all_reduce", S, torus).time_s <= collective("all_reduce", S, mesh).time_s


def test_levels_are_crossed_with_what_is_left() -> None:
    # scatter inside (7/8 S at 8B), all-reduce an eighth outside (2 * 3/4 S/8 at B), gather inside
    flat, best = collective("all_reduce", S, two_levels(), "ring").time_s, collective("all_reduce", S, two_levels(), "hierarchical").time_s
    assert best == pytest.approx(2 * 7 / 8 * S / (8 * B) + 2 * 3 / 4 * S / 8 / B + 2 * A / 2 + 2 * A, rel=1e-9)
    # a flat ring leaves a node through all eight ports
    assert flat == pytest.approx(2 * (28 * A / 2 + 3 * A) + 2 * 31 / 32 * S / (8 * B), rel=1e-9)


def test_nccl_counts_start_up_hops_and_memory() -> None:
    level = replace(catalog.cluster("dgx_h100_superpod").levels[0], reduces=False)
    # LL: 6.6 us and 14 hops of 0.6 us (NCCL tuning.cc), nothing else for a few bytes
    assert collective("all_reduce", 8.0, Group(((level, 8),))).time_s == pytest.approx(6.6e-6 + 14 * 0.6e-6, rel=1e-3)
    # bus bandwidth of a gigabyte comes near NCCL's 370 GB/s for 18 links of 20.6 GB/s, never above
    cost = collective("all_reduce", 4e9, Group(((level, 8),), 3.35e12))
    assert 340e9 < 4e9 * 2 * 7 / 8 / cost.time_s < 371e9


def test_one_rank_is_free_and_nothing_else_is() -> None:
    for kind in KINDS:
        assert collective(kind, S, Group(())).time_s == 0
        assert collective(kind, 1.0, group()).time_s > 0


def test_payloads_may_be_an_array() -> None:
    sizes = np.array([1e3, 1e6, 1e9])
    many = collective("all_reduce", sizes, two_levels(stack="nccl_net"))
    assert [collective("all_reduce", s, two_levels(stack="nccl_net")).time_s for s in sizes] == pytest.approx(list(many.time_s))
    assert many.algorithm.shape == many.wire_bytes.shape == (3,)


def test_energy_is_absent_where_a_level_has_none() -> None:
    assert collective("all_reduce", S, group()).energy_j is None
    cost = collective("all_reduce", S, group(energy_j_per_byte=1e-11), "ring")
    assert cost.energy_j == pytest.approx(8 * 2 * 7 / 8 * S * 1e-11)


def test_bad_questions_say_so() -> None:
    with pytest.raises(UnknownNameError, match="all_reduce"):
        collective("allreduce", S, group())
    with pytest.raises(UnknownNameError, match="halving_doubling"):
        collective("all_reduce", S, group(), "halving")
    with pytest.raises(InputError, match="'in_switch' does not run"):
        collective("all_reduce", S, group(), "in_switch")
    with pytest.raises(InputError, match=">= 0"):
        collective("all_reduce", -1.0, group())


payloads = st.floats(0, 1e13)
kinds, shapes = st.sampled_from(KINDS), st.sampled_from(sorted(TOPOLOGIES))


@settings(max_examples=150, deadline=None)
@given(kinds, shapes, payloads, st.integers(1, 64), st.floats(1.0, 1e3), st.sampled_from(["", "nccl_nvlink", "nccl_net", "nccl_pcie"]))
def test_laws(kind: str, topology: str, payload: float, half: int, factor: float, stack: str) -> None:
    n = 2 * half
    base = collective(kind, payload, group(topology, n, stack=stack)).time_s
    assert collective(kind, payload, group(topology, n, bandwidth=B * factor, stack=stack)).time_s <= base * (1 + 1e-9)
    assert collective(kind, payload, group(topology, n, latency=A * factor, stack=stack)).time_s >= base * (1 - 1e-9)
    assert collective(kind, payload * factor, group(topology, n, stack=stack)).time_s >= base * (1 - 1e-9)
    if kind != "all_reduce":  # whose switch sends each byte once
        floor = payload * {"send": 1.0, "broadcast": 1.0}.get(kind, (n - 1) / n) / B
        assert base >= floor * (1 - 1e-9) or kind in ("broadcast", "send")
    for name in ALGORITHMS[kind]:
        try:
            assert collective(kind, payload, group(topology, n), name).time_s >= collective(kind, payload, group(topology, n)).time_s * (1 - 1e-9)
        except InputError:
            continue


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["all_reduce", "all_gather", "reduce_scatter", "broadcast"]), payloads, st.integers(2, 512))
def test_switches_that_add_are_never_slower_than_a_ring_on_the_same_links(kind: str, payload: float, n: int) -> None:
    ring = "ring" if kind != "broadcast" else "tree"
    assert collective(kind, payload, group(n=n, reduces=True), "in_switch").time_s <= collective(kind, payload, group(n=n), ring).time_s * (1 + 1e-9)


def test_a_hundred_thousand_devices_and_a_trillion_parameters() -> None:
    whole = catalog.cluster("frontier")
    for kind in KINDS:
        cost = collective(kind, 4e12, whole.group(whole.devices))
        assert math.isfinite(cost.time_s)
        assert cost.time_s >= 4e12 / 200e9 / 10
    many = Cluster.of(catalog.hardware("h100_sxm"), 100_000, 50e9, 1e-6)
    assert math.isfinite(collective("all_reduce", 4e12, many.group(100_000)).time_s)


def test_the_roofline_is_the_bytes_at_full_rate() -> None:
    level = NetworkLevel("link", 8, "switch", B, A, efficiency=0.8)
    assert bound_s("all_reduce", S, level, 8) == pytest.approx(1.75 * S / B)
    assert bound_s("all_reduce", S, level, 8) < collective("all_reduce", S, Group(((level, 8),))).time_s
