"""Serving: bounds by hand, the laws an answer obeys, what does not fit, speculation's formula, the question turned round."""

from __future__ import annotations

import doctest
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.datasets import catalog
from silicast.datasets.catalog.transformers import transformer
from silicast.datasets.cluster import Cluster
from silicast.datasets.errors import InputError, UnknownNameError
from silicast.datasets.hardware import MemoryLevel
from silicast.datasets.simulator.serving import ServingAnswer, rig_of, simulate_serving
from silicast.datasets.simulator.serving_plan import Draft, ServingPlan
from silicast.datasets.simulator.serving_required import faster_compute, faster_memory, required
from silicast.datasets.simulator.serving_split import simulate_split
from silicast.datasets.simulator.serving_step import touched_share

H100 = catalog.hardware("h100_sxm")
NODE = Cluster.of(H100, 8, 450e9, 1e-6)
SCHEDULES = ("static", "continuous", "chunked")


def consistent(a: ServingAnswer) -> None:
    assert a.e2e_s == pytest.approx(a.ttft_s + a.tpot_s * (a.output_tokens - 1))
    assert a.values["energy_j"] == pytest.approx(a.values["power_w"] * a.values["latency_s"])
    assert 0 < a.utilization < 1
    assert a.throughput_tok_s > 0
    assert a.energy_per_token_j == pytest.approx(a.power_w / a.throughput_tok_s)


@settings(max_examples=12, deadline=None)
@given(batch=st.sampled_from([1, 7, 64]), prompt=st.sampled_from([64, 1000]), output=st.sampled_from([1, 2, 100]), schedule=st.sampled_from(SCHEDULES), tensor=st.sampled_from([1, 4]))
def test_answers_agree_with_themselves_and_beat_no_roofline(batch: int, prompt: int, output: int, schedule: str, tensor: int) -> None:
    a = simulate_serving("llama3_8b", NODE, prompt, output, batch, plan=ServingPlan(tensor=tensor, schedule=schedule))
    consistent(a)
    assert a.decode_step_s * tensor >= (a.model.params - a.model.vocab * a.model.hidden) * 2 / H100.dram_bandwidth  # every weight but the embedding is read once
    assert a.throughput_tok_s * 2 * (a.model.params - a.model.vocab * a.model.hidden) * (output + prompt - 1) / output <= H100.rate("bfloat16") * tensor * (1 + 1e-9) or prompt == 1
    assert a.ttft_s * tensor >= 2 * prompt * 7e9 / H100.rate("bfloat16")


@settings(max_examples=10, deadline=None)
@given(factor=st.floats(1.1, 8), batch=st.sampled_from([1, 32]), schedule=st.sampled_from(SCHEDULES))
def test_more_of_anything_is_never_slower(factor: float, batch: int, schedule: str) -> None:
    plan = ServingPlan(schedule=schedule)
    free = replace(H100, tdp_w=None, idle_w=None)
    base = simulate_serving("llama3_8b", free, 512, 64, batch, plan=plan)
    for better in (faster_memory(free, factor), faster_compute(free, factor)):
        a = simulate_serving("llama3_8b", better, 512, 64, batch, plan=plan)
        assert a.ttft_s <= base.ttft_s * 1.001
        assert a.tpot_s <= base.tpot_s * 1.001


def test_longer_and_larger_is_never_faster() -> None:
    def ask(batch: int, prompt: int) -> ServingAnswer:
        return simulate_serving("llama3_8b", H100, prompt, 64, batch)

    assert ask(1, 256).ttft_s < ask(1, 2048).ttft_s
    assert ask(1, 256).tpot_s < ask(1, 8192).tpot_s
    assert ask(1, 256).decode_step_s <= ask(64, 256).decode_step_s
    assert ask(1, 256).throughput_tok_s < ask(64, 256).throughput_tok_s


def test_narrow_weights_and_cache_quicken_decoding() -> None:
    plain, w4, kv8 = (simulate_serving("llama2_13b", H100, 4096, 64, 8, plan=p) for p in (ServingPlan(), ServingPlan(weight_dtype="int4"), ServingPlan(kv_dtype="float8")))
    assert w4.tpot_s < plain.tpot_s
    assert kv8.tpot_s < plain.tpot_s
    assert w4.max_batch > plain.max_batch
    assert kv8.memory.kv == pytest.approx(plain.memory.kv / 2)
    # the linear layers shrink to a quarter, embeddings and head stay
    assert w4.memory.weights == pytest.approx(transformer("llama2_13b").weight_bytes("int4"), rel=0.001)


def test_the_largest_batch_is_where_memory_ends() -> None:
    plan = ServingPlan(prefill_tokens=2048)
    most = simulate_serving("llama2_7b", H100, 1024, 1024, 8, plan=plan).max_batch
    # by hand: (0.9 x 80 GiB - 13.48 GB) / (2048 tokens x 0.5 MiB), a little less for activations
    assert most == pytest.approx((0.9 * 80 * 2**30 - 13.48e9) / (2048 * 2**19), rel=0.02)
    assert simulate_serving("llama2_7b", H100, 1024, 1024, most, plan=plan).infeasible == ""
    over = simulate_serving("llama2_7b", H100, 1024, 1024, most + 1, plan=plan)
    assert "GB short" in over.infeasible
    assert f"largest batch that fits is {most}" in over.infeasible


def test_what_does_not_fit_streams_from_the_memory_behind() -> None:
    small = replace(H100, backing=(MemoryLevel("ddr", 512e9, 64e9),))
    assert simulate_serving("llama3_70b", H100, 128, 32, 1).infeasible
    a = simulate_serving("llama3_70b", small, 128, 32, 1)
    assert a.infeasible == ""
    assert a.decode_step_s == pytest.approx(a.memory.streamed / 64e9, rel=0.01)
    assert "stream from ddr" in " ".join(a.notes)
    assert simulate_serving("llama3_70b", small, 128, 32, 1, plan=ServingPlan(offload=False)).infeasible


def test_experts_not_chosen_are_not_read() -> None:
    model = transformer("mixtral_8x7b")
    assert touched_share(model, 1) == pytest.approx(model.active_params / model.params)
    assert touched_share(model, 1000) == 1.0
    one, many = (simulate_serving(model, NODE, 128, 32, b, plan=ServingPlan(tensor=2)) for b in (1, 64))
    assert many.decode_step_s > 2 * one.decode_step_s


def test_speculation_is_leviathans_formula() -> None:
    # equation 1: (1 - 0.8^5) / 0.2
    assert Draft(transformer("gpt2"), 4, 0.8).tokens_per_step == pytest.approx(3.3616)
    assert Draft(transformer("gpt2"), 4, 1.0).tokens_per_step == 5
    draft = Draft(transformer("llama3_8b"), 4, 0.8)
    plain, quick = (simulate_serving("llama3_70b", NODE, 256, 64, 1, plan=ServingPlan(tensor=8, draft=d)) for d in (None, draft))
    assert 1.0 < plain.tpot_s / quick.tpot_s < 3.3616
    useless = simulate_serving("llama3_70b", NODE, 256, 64, 1, plan=ServingPlan(tensor=8, draft=replace(draft, acceptance=0.0)))
    assert useless.tpot_s > plain.tpot_s


def test_chunks_spare_the_others_the_wait() -> None:
    whole, cut = (simulate_serving("llama3_8b", H100, 4096, 128, 16, plan=ServingPlan(schedule=s)) for s in ("continuous", "chunked"))
    rig = rig_of("llama3_8b", H100, ServingPlan())
    assert cut.tpot_s < whole.decode_step_s + rig.prefill(1, 4096).time_s  # no gap as long as a whole prompt
    assert cut.ttft_s > whole.ttft_s


def test_arrivals_are_served_or_said_to_be_too_many() -> None:
    plan = ServingPlan(schedule="continuous")
    a = simulate_serving("llama3_8b", H100, 512, 128, rate_per_s=5.0, plan=plan)
    assert a.request_rate_per_s >= 5.0
    assert simulate_serving("llama3_8b", H100, 512, 128, a.batch - 1, plan=plan).request_rate_per_s < 5.0
    assert "requests/s arrive" in simulate_serving("llama3_8b", H100, 512, 128, rate_per_s=1e4, plan=plan).infeasible


def test_pipelines_keep_all_stages_busy() -> None:
    flat, piped = (simulate_serving("llama3_70b", NODE, 512, 64, 64, plan=p) for p in (ServingPlan(tensor=4), ServingPlan(tensor=4, pipeline=2)))
    assert piped.throughput_tok_s > flat.throughput_tok_s
    assert piped.memory.weights == pytest.approx(flat.memory.weights / 2, rel=0.02)


def test_split_phases_do_not_disturb_each_other() -> None:
    plan = ServingPlan(tensor=8)
    a = simulate_split("llama2_70b", NODE, NODE, 1024, 128, 32, 50e9, prompt_plan=plan, token_plan=plan)
    assert a.transfer_s == pytest.approx(transformer("llama2_70b").kv_bytes(1024) / 50e9)
    assert max(a.prompt_busy, a.token_busy) == pytest.approx(1.0)
    assert a.e2e_s == pytest.approx(a.ttft_s + a.tpot_s * 127)
    mixed = simulate_serving("llama2_70b", NODE, 1024, 128, 32, plan=replace(plan, schedule="continuous"))
    assert a.tpot_s < mixed.tpot_s
    late = simulate_split("llama2_70b", NODE, NODE, 1024, 128, 32, 50e9, prompt_plan=plan, token_plan=plan, by_layer=False)
    assert late.exposed_transfer_s > a.exposed_transfer_s


def test_what_would_meet_a_target_meets_it() -> None:
    r = required("llama3_8b", H100, 512, 128, 1, tpot_s=0.003)
    assert not r.met
    assert r.bandwidth_bytes_per_s is not None
    better = faster_memory(H100, r.bandwidth_bytes_per_s / H100.dram_bandwidth)
    assert simulate_serving("llama3_8b", better, 512, 128, 1).tpot_s <= 0.003
    # by hand: 7.5e9 weights of 2 bytes in 3 ms are 5 TB/s; launches and fills come on top
    assert r.bandwidth_bytes_per_s > 15e9 / 0.003
    assert required("llama3_8b", H100, 512, 128, 1, ttft_s=1.0).met
    assert required("llama3_70b", NODE, 512, 128, 1, tpot_s=0.03, plan=ServingPlan(tensor=8)).devices in (2, 4, 8)


def test_a_trillion_parameters_do_not_overflow() -> None:
    huge = Cluster.of(H100, 100_000, 50e9, 1e-6)
    a = simulate_serving("megatron_1t", huge, 1024, 1024, 10**6, plan=ServingPlan(tensor=32, pipeline=128))
    consistent(a)
    assert a.infeasible


def test_bad_questions_are_one_clear_error() -> None:
    with pytest.raises(InputError, match=r"takes 4 devices .* has 1"):
        simulate_serving("llama3_8b", H100, 10, 10, 1, plan=ServingPlan(tensor=4))
    with pytest.raises(InputError, match="either batch or rate"):
        simulate_serving("llama3_8b", H100, 10, 10)
    with pytest.raises(InputError, match="prompt_tokens"):
        simulate_serving("llama3_8b", H100, 0, 10, 1)
    with pytest.raises(InputError, match="encoder"):
        simulate_serving("bert_base", H100, 10, 10, 1)
    with pytest.raises(InputError, match="continuous"):
        simulate_serving("llama3_8b", H100, 10, 10, rate_per_s=1.0)
    with pytest.raises(UnknownNameError, match="schedule"):
        ServingPlan(schedule="orca")
    with pytest.raises(UnknownNameError, match="device"):
        simulate_serving("llama3_8b", "h1000", 10, 10, 1)
    with pytest.raises(InputError, match="memory_share"):
        ServingPlan(memory_share=0.0)
    with pytest.raises(InputError, match="acceptance"):
        Draft(transformer("gpt2"), 4, 1.5)


def test_the_page_runs_as_it_stands() -> None:
    page = Path(__file__).parents[3] / "docs" / "llm.md"
    assert doctest.testfile(str(page), module_relative=False).failed == 0
