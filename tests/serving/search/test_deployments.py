"""Deployments: the columns say what the simulator says one by one; costs are the caller's prices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from silicast.datasets.errors import FormatError, InputError
from silicast.serving.search import Problem, Space
from silicast.serving.search.deployment_table import tabulated
from silicast.serving.search.deployments import DeploymentDesign

BUILD: dict[str, Any] = {"prompt_tokens": 300, "output_tokens": 40, "prices": {"h100": 2.0, "t4": 0.3}, "link_bandwidth_bytes_per_s": {"h100": 450e9, "other": 32e9},
                         "link_latency_s": 1e-6, "handover_bandwidth_bytes_per_s": 25e9, "fixed": {"model": "llama3.2_1b"}}
VARY: dict[str, Any] = {"device": ["h100", "t4"], "tensor": [1, 2, 4], "pipeline": [1, 2], "batch": [1, 7, 40], "dtype": ["bfloat16", "int8"], "weight_dtype": ["", "int4"],
                        "schedule": ["static", "continuous", "chunked"], "split": [False, True], "power_limit": [0, 60], "prompt_device": ["", "h100"], "prompt_tensor": [0, 1]}


def design(vary: dict[str, Any], **more: Any) -> tuple[Space, DeploymentDesign]:
    space = Space.of(vary)
    return space, DeploymentDesign.of({**BUILD, **more}, space, "build.deployment")


@pytest.mark.parametrize(("prompt", "output"), [(300, 40), (9000, 2), (64, 1)])
def test_the_columns_are_the_simulators_answers(prompt: int, output: int) -> None:
    space, made = design(VARY, prompt_tokens=prompt, output_tokens=output)
    drawn = space.sample(14, np.random.default_rng(prompt))
    deployments = {i: made.deployment(c) for i, c in enumerate(drawn)}
    columns = tabulated(made, deployments)
    assert len(columns) >= 2
    assert all(d.schedule == "chunked" or output == 1 for i, d in deployments.items() if i not in columns)
    for i, (row, why) in columns.items():
        alone, said = made.one(deployments[i])
        assert {k: row[k] for k in alone} == pytest.approx(alone, rel=1e-9)
        assert bool(why) == bool(said)


def test_a_mixture_of_experts_too() -> None:
    space, made = design({"batch": [2], "tensor": [2], "device": ["h100"]}, fixed={"model": "mixtral_8x7b"})
    d = made.deployment(space.grid()[0])
    (row, why), (alone, said) = tabulated(made, {0: d})[0], made.one(d)
    assert row == pytest.approx(alone, rel=1e-9)
    assert bool(why) == bool(said)


def test_costs_are_prices_times_devices_over_tokens() -> None:
    space, made = design({"device": ["h100"], "tensor": [2], "batch": [8], "split": [False, True]})
    values = made.answers(space.grid()).values
    assert values["devices"].tolist() == [2, 4]
    assert values["cost_per_hour"].tolist() == [4.0, 8.0]
    assert values["cost_per_mtok"][0] == pytest.approx(4.0 / 3600 / values["throughput_tok_s"][0] * 1e6)


def test_what_does_not_fit_or_divide_says_so() -> None:
    space, made = design({"device": ["t4"], "tensor": [1, 3], "batch": [1]}, fixed={"model": "llama3_8b"})
    answers = made.answers(space.grid())
    assert "memory overflows on t4" in answers.why[0]
    assert "cannot be built" in answers.why[1]
    space, made = design({"device": ["t4"], "tensor": [2], "batch": [1]}, link_bandwidth_bytes_per_s={"h100": 1e9})
    assert "no link is given" in made.answers(space.grid()).why[0]
    with pytest.raises(InputError, match="answered by the simulator"):
        made.answers(space.grid(), by=object())


@pytest.mark.parametrize(("part", "said"), [
    ({"prices": {"h1000": 1}}, "h100"), ({"prices": {"h100": -1}}, "above 0"), ({"fixed": {"model": "gpt9"}}, "unknown"), ({"fixed": {"modle": "gpt2"}}, "did you mean 'model'"),
    ({"prompt_tokens": 0}, "prompt_tokens"), ({"fixed": {}}, "missing model"), ({"fixed": {"model": "gpt2", "schedule": "eager"}}, "static"), ({"fixed": {"model": "gpt2", "dtype": "int9"}}, "int8"),
    ({"fixed": {"model": "gpt2", "split": 1}}, "true or false"), ({"rate": 3}, "unknown key 'rate'")])
def test_what_is_wrong_is_named(part: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        design({"device": ["h100"], "batch": [1]}, **part)


def test_a_cost_without_prices_is_an_error_before_the_search() -> None:
    with pytest.raises(FormatError, match="prices are the caller's"):
        Problem.of({"vary": {"batch": [1, 2]}, "build": {"deployment": {"prompt_tokens": 8, "output_tokens": 8, "fixed": {"model": "gpt2", "device": "t4"}}}, "objectives": {"cost_per_mtok": "min"}})
