"""What one device does for one micro-batch: cut as the plan says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from silicast.datasets import catalog
from silicast.datasets.catalog.transformers import transformer
from silicast.datasets.cluster import Cluster
from silicast.datasets.simulator.parallel import ParallelPlan
from silicast.datasets.simulator.parallel_work import DeviceWork, Stage
from silicast.datasets.transformer_layers import layer_workload

H100 = catalog.hardware("h100_sxm")
MODEL = transformer("llama3_8b")


def work(plan: ParallelPlan, length: int = 8192, bandwidth: float = 50e9) -> DeviceWork:
    return DeviceWork(MODEL, Cluster.of(H100, plan.devices, bandwidth, 2e-6), plan, length, H100)


def test_a_ring_of_context_cuts_every_pair_evenly() -> None:
    cut = work(ParallelPlan(context=4))
    # 2048 queries see 3072 keys before them on average, and half of their own: 2048 x 8192 / 2 pairs, a quarter of the square
    assert (cut.new, cut.past) == (2048, 3072)
    whole = layer_workload(MODEL, "forward", new_tokens=8192).columns.matrix_flops.sum()
    mine = layer_workload(MODEL, "forward", new_tokens=cut.new, past_tokens=cut.past).columns.matrix_flops.sum()
    assert mine == pytest.approx(whole / 4, rel=1e-3)


def test_keys_go_round_under_the_attention_they_feed() -> None:
    # 3/4 of 8192 tokens' keys and values of 8 heads, 2 bytes, once round a ring of 4
    ring = work(ParallelPlan(context=4))
    assert ring.context_s(1) == pytest.approx(3 * 2e-6 + 3 / 4 * 8192 * 2 * 8 * 128 * 2 / 50e9)
    assert work(ParallelPlan(context=4), bandwidth=1e9).stage().context_s > work(ParallelPlan(context=4), bandwidth=1e15).stage().context_s


def test_tensor_parallel_traffic_is_two_all_reduces_a_layer() -> None:
    plain, cut = work(ParallelPlan(tensor=8)), work(ParallelPlan(tensor=8, sequence=True))
    payload = 8192 * MODEL.hidden * 2
    assert plain.tensor_s() == pytest.approx(2 * (2 * 7 / 8 * payload / 50e9), rel=0.01)
    assert cut.tensor_s() == pytest.approx(plain.tensor_s(), rel=0.01)
    assert plain.stage().tensor_s == pytest.approx(2 * MODEL.layers * plain.tensor_s())   # forward and backward
    assert work(ParallelPlan(tensor=8, recompute="full")).stage().tensor_s == pytest.approx(3 * MODEL.layers * plain.tensor_s())
    assert work(ParallelPlan(tensor=8, overlap_tensor=True)).stage().tensor_s < plain.stage().tensor_s
    assert cut.stage().forward_s < plain.stage().forward_s   # norms see an eighth of the tokens


def test_a_stage_has_its_share_of_the_layers() -> None:
    whole, half = work(ParallelPlan()).stage(), work(ParallelPlan(pipeline=2)).stage()
    assert half.forward_s == pytest.approx(whole.forward_s / 2)
    assert whole.backward_s > 1.5 * whole.forward_s


def test_stages_scale_and_take_the_head() -> None:
    stage, head = Stage(1.0, 2.0, 0.5, 0.25, energy_j=8.0), Stage(0.1, 0.2, energy_j=1.0)
    assert stage.total_s == 3.75
    assert stage.scaled(0.5).total_s == 1.875
    assert stage.plus(head).total_s == pytest.approx(4.05)
    assert stage.plus(head).energy_j == 9.0


def test_exposed_gradients_shrink_with_overlap() -> None:
    plan = ParallelPlan(data=8)
    stage = work(plan).stage()
    hidden, shown = work(plan).gradients_s(4, stage)[0], work(replace(plan, overlap_gradients=False)).gradients_s(4, stage)[0]
    assert shown == pytest.approx(2 * 7 / 8 * MODEL.params * 2 / 50e9, rel=0.01)
    assert 0 < hidden < shown
