"""A training step keeps the laws of its parts; plans that do not fit say so."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from silicast.datasets import catalog
from silicast.datasets.catalog.transformers import transformer
from silicast.datasets.cluster import Cluster
from silicast.datasets.errors import InputError
from silicast.datasets.hardware import MemoryLevel
from silicast.datasets.simulator.parallel import ParallelPlan
from silicast.datasets.simulator.parallel_step import TrainingStep, accumulate_s, model_flops, simulate_training, with_devices
from silicast.datasets.transformer import Transformer

H100 = catalog.hardware("h100_sxm")
MODEL, SMALL = transformer("llama3_8b"), transformer("gpt2")


def step(plan: ParallelPlan, bandwidth: float = 50e9, latency: float = 2e-6, batch: int = 64, model: Transformer = MODEL, length: int = 2048) -> TrainingStep:
    return simulate_training(model, Cluster.of(H100, plan.devices, bandwidth, latency), plan, batch, length)


PLANS = [ParallelPlan(tensor=8), ParallelPlan(data=8, zero=1), ParallelPlan(data=8, zero=3), ParallelPlan(pipeline=8), ParallelPlan(pipeline=4, chunks=2, schedule="interleaved", data=2),
         ParallelPlan(pipeline=4, chunks=2, schedule="breadth_first", data=2), ParallelPlan(tensor=2, context=2, data=2, sequence=True, recompute="full"), ParallelPlan(tensor=2, pipeline=2, schedule="gpipe")]


@pytest.mark.parametrize("plan", PLANS, ids=lambda p: f"t{p.tensor}p{p.pipeline}d{p.data}c{p.context}{p.schedule}z{p.zero}")
def test_laws(plan: ParallelPlan) -> None:
    base = step(plan)
    assert sum(base.parts_s.values()) == pytest.approx(base.step_s)
    assert all(math.isfinite(t) and t >= 0 for t in base.parts_s.values())
    assert 0 < base.mfu < 1
    assert base.hfu >= base.mfu
    assert base.tokens_per_s == pytest.approx(64 * 2048 / base.step_s)
    assert step(plan, bandwidth=400e9).step_s <= base.step_s * (1 + 1e-9)
    assert step(plan, latency=2e-5).step_s >= base.step_s * (1 - 1e-9)
    assert step(plan, batch=128).step_s > base.step_s
    assert base.energy_j is not None
    # devices draw no more than their limit
    assert 0 < base.energy_j / base.step_s <= plan.devices * H100.tdp_w * (1 + 1e-6)  # type: ignore[operator]


def test_one_device_has_no_traffic() -> None:
    parts = step(ParallelPlan(), model=SMALL, length=1024).parts_s
    assert {name for name, seconds in parts.items() if seconds} == {"forward", "backward", "optimizer"}


def test_model_flops_of_the_paper() -> None:
    # Narayanan et al. 2021, equation 3, without recomputation: 72 B s l h^2 (1 + s / 6h + V / 12 l h)
    model, b, s = transformer("megatron_145b"), 2, 2048
    layers, h = model.layers, model.hidden
    assert model_flops(model, b, s) == pytest.approx(72 * b * s * layers * h**2 * (1 + s / (6 * h) + 51200 / (12 * layers * h)), rel=2e-3)


def test_full_recomputation_costs_a_forward_pass() -> None:
    none, full = step(ParallelPlan()), step(ParallelPlan(recompute="full"))
    assert full.parts_s["recompute"] < none.parts_s["forward"]   # the head is not recomputed
    assert full.step_s - none.step_s == pytest.approx(full.parts_s["recompute"])
    assert full.mfu < none.mfu
    assert full.hardware_flops < full.model_flops * 4 / 3


def test_gradients_of_many_micro_batches_are_added_up() -> None:
    # read and write 4 bytes a parameter in place of writing 2, at 88 % of the memory's rate
    assert accumulate_s(MODEL, ParallelPlan(gradient_dtype="float32"), H100) == pytest.approx(MODEL.params * 6 / (3.35e12 * 0.88))
    one, four = (step(ParallelPlan(), model=SMALL, length=1024, batch=n).parts_s["backward"] for n in (1, 4))
    assert four > 4 * one


def test_a_pipeline_idles_by_its_formula() -> None:
    whole = step(ParallelPlan(pipeline=8), bandwidth=1e15, latency=0.0, batch=256)
    looped = step(ParallelPlan(pipeline=8, chunks=4, schedule="interleaved"), bandwidth=1e15, latency=0.0, batch=256)
    work = {name: t for name, t in whole.parts_s.items() if name in ("forward", "backward")}
    assert whole.parts_s["bubble"] <= 7 / 256 * sum(work.values())
    assert looped.parts_s["bubble"] == pytest.approx(whole.parts_s["bubble"] / 4, rel=1e-4)


def test_breadth_first_hides_more_of_the_gradients() -> None:
    plan = ParallelPlan(pipeline=4, chunks=8, schedule="interleaved", data=8)
    looped, breadth = (step(replace(plan, schedule=s), bandwidth=5e9) for s in ("interleaved", "breadth_first"))
    assert breadth.parts_s["gradients"] < looped.parts_s["gradients"]


def test_offload_needs_a_memory_and_costs_traffic() -> None:
    plan, host = ParallelPlan(data=8, zero=3, offload_optimizer="cpu"), [MemoryLevel("dram", 1e12, 20e9)]
    with pytest.raises(InputError, match="host="):
        step(replace(plan, offload_optimizer="nvme"))
    cluster = Cluster.of(H100, 8, 50e9)
    off = simulate_training(MODEL, cluster, plan, 64, 2048, host)
    assert off.memory.optimizer_bytes == 0
    # gradients out, weights in, 2 bytes each of an eighth of the model
    assert off.parts_s["offload"] == pytest.approx(MODEL.params / 8 * 4 / 20e9)
    assert simulate_training(MODEL, cluster, replace(plan, offload_optimizer="nvme"), 64, 2048, [MemoryLevel("nvme", 1e13, 20e9)]).parts_s["offload"] > off.parts_s["offload"]
    tight = simulate_training(MODEL, cluster, plan, 64, 2048, [MemoryLevel("dram", 1e9, 20e9)])
    assert "dram overflows by" in tight.infeasible


def test_what_does_not_fit_says_by_how_much() -> None:
    short = step(ParallelPlan(tensor=8), model=transformer("megatron_1t"), length=2048)
    assert f"{short.memory.shortfall_bytes:,.0f} bytes" in short.infeasible
    assert step(ParallelPlan(tensor=8, zero=0)).infeasible == ""


def test_a_trillion_parameters_on_a_hundred_thousand_devices() -> None:
    cluster = Cluster.of(H100, 102_400, 50e9, 2e-6)
    found = simulate_training(transformer("megatron_1t"), cluster, ParallelPlan(tensor=8, pipeline=64, data=200, zero=3), 12_800, 2048)
    assert math.isfinite(found.step_s)
    assert found.step_s > 0
    assert 0 < found.mfu < 1
    assert found.energy_j is not None
    assert math.isfinite(found.energy_j)


def test_experts_exchange_tokens() -> None:
    model = transformer("mixtral_8x7b")
    alone, spread = step(ParallelPlan(data=8), model=model), step(ParallelPlan(data=8, expert=8), model=model)
    assert alone.parts_s["expert"] == 0
    assert spread.parts_s["expert"] > 0
    assert spread.memory.weights_bytes < alone.memory.weights_bytes
    assert step(ParallelPlan(data=8, expert=8, overlap_expert=True), model=model).parts_s["expert"] < spread.parts_s["expert"]


def test_routing_to_few_nodes_saves_the_network() -> None:
    model, cluster = transformer("deepseek_v3"), catalog.cluster("deepseek_v3").take(64)
    plan = ParallelPlan(data=64, expert=64)
    anywhere, few = (simulate_training(model, cluster, replace(plan, expert_nodes=n), 64, 4096).parts_s["expert"] for n in (0, 4))
    assert few < anywhere


def test_scores_written_out_cost_more_than_flash() -> None:
    kept = step(ParallelPlan(flash=False, dropout=True), model=SMALL, length=1024)
    assert kept.step_s > step(ParallelPlan(), model=SMALL, length=1024).step_s
    assert kept.memory.activations_bytes > step(ParallelPlan(), model=SMALL, length=1024).memory.activations_bytes


def test_the_degree_that_fills_a_cluster() -> None:
    cluster = catalog.cluster("selene")
    assert with_devices(ParallelPlan(tensor=8, pipeline=64), cluster).data == 6
    with pytest.raises(InputError, match="does not divide"):
        with_devices(ParallelPlan(tensor=8, pipeline=7), cluster)
    with pytest.raises(InputError, match="sequence_length"):
        simulate_training(SMALL, cluster, ParallelPlan(data=3072), 3072, 0)
