"""A plan is valid at birth and against model and cluster; pipelines idle and keep what the papers say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from silicast.datasets import catalog
from silicast.datasets.catalog.transformers import transformer
from silicast.datasets.errors import InputError, UnknownNameError
from silicast.datasets.simulator.parallel import ParallelPlan


@pytest.mark.parametrize(("fields", "said"), [
    ({"tensor": 0}, "tensor"), ({"microbatch": True}, "microbatch"), ({"zero": 4}, "zero"), ({"chunks": 2}, "interleaved"), ({"offload_weights": "cpu"}, "stage 3"), ({"expert": 3, "data": 4}, "expert 3"),
    ({"tensor": 4, "expert": 6, "data": 6}, "nest"), ({"optimizer_bytes": -1.0}, "optimizer_bytes"), ({"expert_nodes": -1}, "expert_nodes"),
])
def test_an_impossible_plan_names_its_field(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ParallelPlan(**fields)  # type: ignore[arg-type]


def test_unknown_words_name_the_nearest() -> None:
    for field, word in (("schedule", "1f1"), ("recompute", "ful"), ("offload_optimizer", "ssd")):
        with pytest.raises(UnknownNameError):
            ParallelPlan(**{field: word})  # type: ignore[arg-type]


@pytest.mark.parametrize(("plan", "said"), [
    (ParallelPlan(tensor=8, data=4), "= 32 devices.*has 64"), (ParallelPlan(tensor=64), "ffn|heads|feed-forward|96 heads"), (ParallelPlan(tensor=8, pipeline=8, schedule="interleaved", chunks=5), "96 layers"),
    (ParallelPlan(expert=8, data=64), "has no experts"), (ParallelPlan(context=64, data=1), "2000 tokens"),
])
def test_what_does_not_divide_is_named(plan: ParallelPlan, said: str) -> None:
    with pytest.raises(InputError, match=said):
        plan.check(transformer("gpt3_175b"), catalog.cluster("selene").take(64), 2000)


def test_batches_divide() -> None:
    plan = ParallelPlan(data=4, microbatch=2, pipeline=4, schedule="interleaved", chunks=2)
    assert plan.microbatches(64) == 8
    with pytest.raises(InputError, match="data 4 x microbatch 2"):
        plan.microbatches(60)
    with pytest.raises(InputError, match="rounds of pipeline 4"):
        plan.microbatches(48)


def test_uneven_stages_are_asked_for() -> None:
    with pytest.raises(InputError, match="uneven"):
        ParallelPlan(pipeline=16).stage_layers(61)
    assert ParallelPlan(pipeline=16, uneven=True).stage_layers(61) == 4
    assert ParallelPlan(pipeline=4, chunks=2, schedule="interleaved").stage_layers(64) == 16


def test_idle_shares_and_kept_micro_batches_of_the_papers() -> None:
    # Narayanan et al. 2021: (p - 1) / m, and over v when interleaved; Korthikanti et al. 2022: 1 + (p - 1) / (p v) of a stage's worth kept
    assert ParallelPlan(pipeline=8).idle_share(64) == 7 / 64
    looped = ParallelPlan(pipeline=8, chunks=4, schedule="interleaved")
    assert looped.idle_share(64) == 7 / 256
    assert looped.kept_microbatches(64) == pytest.approx(8 * (1 + 7 / 32))
    assert ParallelPlan(pipeline=8).kept_microbatches(64) == 8
    assert ParallelPlan(pipeline=8).kept_microbatches(3) == 3
    assert ParallelPlan(pipeline=8, schedule="gpipe").kept_microbatches(64) == 64
    assert replace(looped, schedule="breadth_first").kept_microbatches(64) == 64


def test_replicas() -> None:
    plan = ParallelPlan(tensor=2, context=2, data=8, expert=8)
    assert (plan.devices, plan.replicas, plan.expert_replicas) == (32, 16, 4)
