"""Replays against sums by hand and the laws of overlap."""

from __future__ import annotations

from itertools import pairwise

import pytest

from silicast.datasets import catalog
from silicast.datasets.cluster import Cluster
from silicast.datasets.errors import InputError
from silicast.datasets.frontends.chakra import to_workload
from silicast.datasets.frontends.chakra_collectives import ring_all_reduce
from silicast.datasets.frontends.hf import read_config
from silicast.datasets.ops import Op
from silicast.datasets.simulator.collectives import collective
from silicast.datasets.simulator.replay import replay
from silicast.datasets.simulator.simulate import simulate
from silicast.datasets.workload import WorkloadBuilder

NODE = Cluster.of(catalog.hardware("h100_sxm"), 8, 450e9, latency_s=1e-6)
GPT2 = {"model_type": "gpt2", "n_embd": 768, "n_layer": 4, "n_head": 12, "n_positions": 1024, "vocab_size": 50257}


def test_a_ring_written_out_costs_what_the_formula_says():
    size = 2**26
    written = replay(to_workload(ring_all_reduce(8, size)[0]), NODE)
    ring = collective("all_reduce", size, NODE.group(8), "ring").time_s
    adds = written.busy_s["device"]
    assert written.latency_s == pytest.approx(ring + adds, rel=1e-9)  # 2 (n - 1) steps of a hop and an eighth of the buffer, with an addition between
    assert ring == pytest.approx(14 * (1e-6 + size / 8 / 450e9), rel=1e-9)
    assert written.busy_s["out"] == pytest.approx(written.busy_s["in"])


def test_without_collectives_it_is_simulate():
    w = read_config(GPT2).workload("prefill", tokens=64)
    assert replay(w, NODE).latency_s == pytest.approx(simulate(w, "h100_sxm").values["latency_s"], rel=1e-9)


def test_what_does_not_wait_runs_beside():
    b = WorkloadBuilder("two")
    x = b.input("x", 2**24)
    b.add(Op.of("product", "gemm", m=4096, n=4096, k=4096), [x])
    gathered = b.add(Op.of("gather", "all_gather", elements=2**24, ranks=8), [x])
    apart = replay(b.build(), NODE)
    assert apart.latency_s == pytest.approx(max(apart.busy_s["device"], apart.busy_s["out"]))
    assert apart.busy_s["out"] == pytest.approx(collective("all_gather", 2**25 * 8, NODE.group(8)).time_s)
    b.add(Op.of("after", "gemm", m=4096, n=4096, k=4096), [gathered])
    behind = replay(b.build(), NODE)
    assert behind.latency_s > apart.latency_s
    assert behind.start_s[2] >= behind.finish_s[1]


@pytest.mark.parametrize("phase", ["prefill", "train"])
def test_laws_of_a_sharded_model(phase):
    w = read_config(GPT2).workload(phase, batch=4, tokens=512, tensor=4, collectives=True, dtype="bfloat16")
    answer = replay(w, NODE)
    busy = answer.busy_s
    assert max(busy.values()) <= answer.latency_s <= sum(busy.values()) * (1 + 1e-12)
    assert all(answer.start_s[reader] >= answer.finish_s[producer] - 1e-15 for producer, reader in w.edges)
    for resource in range(3):
        order = sorted((s, f) for s, f, r in zip(answer.start_s, answer.finish_s, answer.resource, strict=True) if r == resource)
        assert all(f <= s + 1e-15 for (_, f), (s, _) in pairwise(order))
    assert answer.exposed_s > 0
    slower = replay(w, Cluster.of(catalog.hardware("h100_sxm"), 8, 45e9, latency_s=1e-6))
    assert slower.latency_s > answer.latency_s
    assert slower.busy_s["device"] == pytest.approx(busy["device"])


def test_groups_across_nodes():
    from silicast.datasets.cluster import NetworkLevel

    machine = catalog.hardware("h100_sxm")
    pod = Cluster("pod", "4 nodes", ((machine, 32),), (NetworkLevel("nvlink", 8, "switch", 450e9), NetworkLevel("ib", 4, "switch", 50e9)))
    b = WorkloadBuilder("gradients")
    b.add(Op.of("sum", "all_reduce", elements=2**24, ranks=4), [b.input("x", 2**24)])
    near, far = replay(b.build(), pod), replay(b.build(), pod, strides={4: 8})
    assert far.latency_s == pytest.approx(near.latency_s * 9)


def test_what_does_not_fit_is_refused():
    b = WorkloadBuilder("w")
    b.add(Op.of("sum", "all_reduce", elements=16, ranks=64), [b.input("x", 16)])
    with pytest.raises(InputError, match=r"'sum'.*64 ranks.*8 devices"):
        replay(b.build(), NODE)
    with pytest.raises(InputError, match="Cluster"):
        replay(b.build(), "h100_sxm")
