"""Designs of machines: what was asked is set, what hangs on it follows, the rest stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from silicast.datasets.catalog import hardware
from silicast.datasets.errors import InputError
from silicast.datasets.simulator import simulate
from silicast.serving.search import Problem, Space
from silicast.serving.search.machines import MachineDesign, designed

from .conftest import TINY


def test_rates_follow_the_array_and_the_clock_and_registers_the_array() -> None:
    base = hardware("tpu_v1")
    found = designed(base, (("array.rows", 128), ("array.dataflow", "os"), ("clock", 350e6)))
    assert (found.array.rows, found.array.cols, found.array.dataflow) == (128, 256, "os")  # type: ignore[union-attr]
    assert found.matrix_rate["int8"] == pytest.approx(base.matrix_rate["int8"] / 4)
    assert found.memory[1].bandwidth_bytes_per_s == pytest.approx(base.memory[1].bandwidth_bytes_per_s / 2)  # type: ignore[operator]
    assert found.memory[2] == base.memory[2]
    assert found.tdp_w is None  # 75 W are those of the whole TPU
    like = hardware("tpu_like")
    small = designed(like, (("array.rows", 16),))
    assert small.memory[0].instances == 512
    assert small.memory[0].capacity_bytes == like.memory[0].capacity_bytes / 2


def test_a_machine_of_its_own_figures_is_the_base() -> None:
    base = hardware("tpu_v1")
    assert designed(base, (("array.rows", 256), ("memory.dram.bandwidth", 34e9))).digest == base.digest
    assert designed(hardware("h100"), (("power_limit", 350.0),)).tdp_w == 350.0
    assert designed(hardware("h100"), (("units", 66),)).matrix_rate["float16"] == pytest.approx(hardware("h100").matrix_rate["float16"] / 2)


def test_the_answers_are_the_simulators(tiny: Problem) -> None:
    candidate = {"array.rows": 8, "memory.sram.capacity": 65536.0}
    machine = tiny.design.machine(candidate)
    assert (machine.array.rows, machine.array.cols) == (8, 8)
    assert next(m for m in machine.memory if m.name == "sram").capacity_bytes == 65536
    found = tiny.evaluate([candidate]).answers.values
    alone = simulate(tiny.design.workloads[0][1], machine).values
    assert {k: float(found[k][0]) for k in alone} == pytest.approx(alone)


def test_two_workloads_add_up() -> None:
    works = {"a": {"transformer": "gpt2", "new_tokens": 16, "dtype": "int8"}, "b": {"transformer": "gpt2", "new_tokens": 8, "dtype": "int8"}}
    problem = Problem.of({**TINY, "build": {"hardware": {**TINY["build"]["hardware"], "workloads": works}}})  # type: ignore[index]
    v = {k: float(x[0]) for k, x in problem.evaluate(problem.space.grid()[:1]).answers.values.items()}
    assert v["latency_s"] == pytest.approx(v["latency_s@a"] + v["latency_s@b"])
    assert v["power_w"] == pytest.approx(v["energy_j"] / v["latency_s"])
    assert v["memory_bytes"] == max(v["memory_bytes@a"], v["memory_bytes@b"])


def test_what_cannot_be_built_says_why() -> None:
    space = Space.of({"memory.sram.capacity": {"choices": [16, 65536], "unit": "B"}})
    design = MachineDesign.of({"base": "tpu_like", "workloads": {"a": {"transformer": "gpt2", "dtype": "int8"}}}, space, "build.hardware")
    answers = design.answers(space.grid())
    assert "cannot be built" in answers.why[0]
    assert "sram" in answers.why[0]
    assert answers.why[1] == ""


def test_a_base_may_vary() -> None:
    problem = Problem.of({"vary": {"base": ["t4", "a100_sxm"]}, "build": {"hardware": {"workloads": {"a": {"transformer": "gpt2", "new_tokens": 64}}}}, "objectives": {"latency_s": "min"}})
    found = problem.evaluate(problem.space.grid())
    assert found.objectives[1, 0] < found.objectives[0, 0]
    assert replace(found).front.tolist() == [1]


def test_a_predictor_is_no_simulator(tiny: Problem) -> None:
    with pytest.raises(InputError, match="expected a Predictor"):
        tiny.evaluate(tiny.space.grid(), by="champion")
