"""Memory of training against the formulas and tables of the papers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from silicast.datasets.catalog.transformers import transformer
from silicast.datasets.hardware import MemoryLevel
from silicast.datasets.simulator.memory_plan import MemoryPlan, layer_activation_bytes, model_states, shortfall, stage_params, training_memory
from silicast.datasets.simulator.parallel import ParallelPlan

GPT3 = transformer("gpt3_175b")
KEPT = ParallelPlan(flash=False, dropout=True)


@pytest.mark.parametrize(("stage", "gigabytes"), [(0, 120.0), (1, 31.4), (2, 16.6), (3, 1.88)])
def test_zero_table(stage: int, gigabytes: float) -> None:
    # Rajbhandari et al., SC 2020, figure 1: 7.5 B parameters, 64 devices
    assert sum(model_states(7.5e9, stage, 64)) / 1e9 == pytest.approx(gigabytes, rel=5e-3)


@pytest.mark.parametrize(("plan", "per_sbh"), [
    # Korthikanti et al. 2022, table 2, with a = 96, h = 12288, s = 2048: 5 a s / h = 80
    (KEPT, 34 + 80), (replace(KEPT, tensor=8), 10 + 24 / 8 + 80 / 8), (replace(KEPT, tensor=8, sequence=True), 34 / 8 + 80 / 8), (replace(KEPT, tensor=8, sequence=True, recompute="selective"), 34 / 8),
    (replace(KEPT, recompute="full"), 2), (replace(KEPT, microbatch=3, context=2), 1.5 * (34 + 80)),
])
def test_activations_of_the_papers_layer(plan: ParallelPlan, per_sbh: float) -> None:
    assert layer_activation_bytes(GPT3, plan, 2048) == pytest.approx(2048 * 12288 * per_sbh, rel=1e-12)


def test_gated_grouped_layers_count_as_they_are() -> None:
    # Llama 3 8B, no dropout, flash: 2 norms, attention in, Q, K, V, out in, ffn in (h each 2 bytes; K, V of 8 of 32 heads), 3 x 14336 of the gated feed-forward
    model = transformer("llama3_8b")
    assert layer_activation_bytes(model, ParallelPlan(), 4096) == pytest.approx(4096 * 2 * (2 * 4096 + 4096 + (4096 + 2 * 1024 + 4096) + 4096 + 3 * 14336))


def test_a_stage_holds_its_layers_and_a_table() -> None:
    dense, expert = stage_params(GPT3, ParallelPlan(tensor=8, pipeline=8))
    assert expert == 0
    assert dense == pytest.approx((12 * GPT3.layer_params("dense") + GPT3.vocab * GPT3.hidden) / 8)
    assert stage_params(GPT3, ParallelPlan())[0] == GPT3.params


def test_experts_are_spread_and_counted_once() -> None:
    model = transformer("mixtral_8x7b")
    dense, expert = stage_params(model, ParallelPlan())
    assert dense + expert == model.params
    assert stage_params(model, ParallelPlan(expert=8, data=8))[1] == expert / 8


def test_memory_falls_with_every_stage_of_zero() -> None:
    totals = [training_memory(GPT3, ParallelPlan(data=64, zero=stage), 1, 2048, 80e9) for stage in range(4)]
    assert all(a.total_bytes > b.total_bytes for a, b in pairwise(totals))
    assert totals[0].kv_cache_bytes == 0


def test_recomputation_and_fewer_kept_micro_batches_save_activations() -> None:
    plan = ParallelPlan(pipeline=8, flash=False)
    sizes = [training_memory(GPT3, replace(plan, recompute=how), 64, 2048, 80e9).activations_bytes for how in ("none", "selective", "full")]
    assert sizes == sorted(sizes, reverse=True)
    assert training_memory(GPT3, plan, 64, 2048, 80e9).activations_bytes < training_memory(GPT3, replace(plan, schedule="gpipe"), 64, 2048, 80e9).activations_bytes


def test_offloaded_state_leaves_the_device() -> None:
    kept, gone = (training_memory(GPT3, ParallelPlan(data=64, zero=3, offload_optimizer=to), 1, 2048, 80e9) for to in ("", "cpu"))
    assert gone.optimizer_bytes == 0
    assert gone.host_bytes == pytest.approx(kept.optimizer_bytes)
    assert gone.host_bytes == pytest.approx(12 * GPT3.params / 64)


def test_a_shortfall_is_said_in_bytes() -> None:
    short = MemoryPlan(60.0, 30.0, 20.0, 10.0, 0.0, 100.0, host_bytes=50.0)
    assert short.shortfall_bytes == 20
    said = shortfall(short, MemoryLevel("dram", 40.0, 1.0))
    assert "overflows by 20 bytes" in said
    assert "dram overflows by 10 bytes" in said
    assert shortfall(replace(short, capacity_bytes=200.0, host_bytes=0.0), None) == ""
