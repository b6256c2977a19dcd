"""The loop: budgets are kept, nothing is asked twice, the quick model finds what luck does not, regret is what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from silicast.datasets.errors import InputError, UnknownNameError
from silicast.serving.predictor import Predictor
from silicast.serving.search import METHODS, Evolve, Linas, Problem, Scatter, search
from silicast.serving.search.quick import Quick
from silicast.serving.search.regret import exhaustive, regret

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"


def missed(problem: Problem, method: str, seeds: int = 5, budget: int = 45) -> float:
    everything, seconds = exhaustive(problem)
    return float(np.median([regret(problem, search(problem, budget, method=method, seed=s).front, everything, seconds).hypervolume for s in range(seeds)]))


@pytest.mark.parametrize("proposer", [Scatter, Evolve, Linas])
def test_nothing_is_asked_twice_and_the_whole_space_is_found(toy: Problem, proposer: Any) -> None:
    made, keys = proposer(toy, seed=1), []
    while asked := made.ask(37):
        keys += [toy.space.key(c) for c in asked]
        made.tell(toy.evaluate(asked))
    assert len(keys) == len(set(keys)) == toy.space.size == 288
    assert made.told is not None
    assert len(made.told) == 288
    with pytest.raises(InputError, match="at least 1"):
        made.ask(0)


@pytest.mark.parametrize("method", ["linas", "evolve", "random", "nsga2", "tpe"])
def test_budgets_are_kept_and_seeds_repeat(toy: Problem, method: str) -> None:
    one, two = (search(toy, 30, method=method, seed=4) for _ in range(2))
    assert len(one.evaluated) == 30
    assert one.evaluated.candidates == two.evaluated.candidates
    assert one.front.feasible.all()
    assert set(METHODS) == {"linas", "evolve", "random", "nsga2", "tpe", "all"}


def test_a_refitted_model_beats_luck(toy: Problem) -> None:
    assert missed(toy, "linas") < 0.5 * missed(toy, "random")
    assert missed(toy, "linas") < 0.05


def test_either_acquisition_finds_the_front(toy: Problem) -> None:
    everything, seconds = exhaustive(toy)
    found = search(toy, 60, acquisition="lower_bound", seed=1)
    assert regret(toy, found.front, everything, seconds).hypervolume < 0.1


def test_everything_leaves_no_regret(toy: Problem) -> None:
    found = search(toy, 1, method="all", compare=True)
    assert found.regret is not None
    assert found.regret.hypervolume == 0.0
    assert found.regret.best == {"latency_s": 0.0, "energy_j": 0.0}
    assert found.regret.candidates == 288
    assert found.to_json()["regret"]["front"] == len(found.front)


def test_a_large_space_is_searched_too(toy: Problem) -> None:
    from dataclasses import replace

    from silicast.serving.search import Space

    wide = replace(toy, space=Space.of({"width": {"float": [1, 40], "log": True}, "depth": {"int": [1, 100_000]}, "flow": ["ws", "is"]}), limits=())
    found = search(wide, 60, seed=2)
    assert len(found.evaluated) == 60
    assert found.front.objectives[:, 0].min() < 3.0  # a depth of few among 100,000
    with pytest.raises(InputError, match="too many to list"):
        exhaustive(wide)


def test_mistakes_are_named(toy: Problem) -> None:
    with pytest.raises(UnknownNameError, match="linas"):
        search(toy, 10, method="lina")
    with pytest.raises(InputError, match="budget"):
        search(toy, 0)
    with pytest.raises(UnknownNameError, match="lower_bound"):
        search(toy, 10, acquisition="lower_bond")


def test_the_quick_model_goes_through_its_rows_and_knows_where_it_does_not_know() -> None:
    x = np.linspace(0, 1, 9)[:, None]
    model = Quick.fit(x, np.exp(np.sin(5 * x[:, 0])))
    mean, deviation = model.predict(np.array([[0.0], [0.06], [3.0]]))
    assert model.log
    assert mean[:2] == pytest.approx(np.sin([0.0, 0.3]), abs=0.02)
    assert deviation[0] < deviation[1] < deviation[2]
    assert not Quick.fit(x, np.sin(7 * x[:, 0])).log


def small(name: str, **vary: Any) -> Problem:
    """An example with most of its dimensions at one value."""
    from silicast.datasets.catalog.document import parsed

    document = parsed((EXAMPLES / f"search_{name}.yaml").read_text(encoding="utf-8"), name, True)
    document["vary"] |= vary
    return Problem.of(document, name)


@pytest.mark.parametrize(("name", "vary", "budget"), [
    ("nas", {"block1_k": [3], "block2_k": [5], "block4_se": [False], "block5_l": [1, 3], "resolution": [160, 192]}, 12),
    ("accelerator", {"array.rows": [32, 128], "array.cols": [32, 128], "memory.sram.capacity": {"choices": [2, 8], "unit": "MiB"}, "memory.dram.bandwidth": {"choices": [34, 100], "unit": "GB/s"}}, 24),
    ("deployment", {"model": ["llama3_8b"], "tensor": [1, 2], "batch": [1, 16]}, 60)])
def test_the_worked_examples_in_small(name: str, vary: dict[str, Any], budget: int) -> None:
    found = search(small(name, **vary), budget, compare=True)
    assert found.regret is not None
    assert found.regret.candidates > budget
    assert found.regret.hypervolume < 0.25
    assert found.front.feasible.all()


def test_a_predictor_searches_and_the_simulator_has_the_last_word(tiny: Problem, predictor: Predictor) -> None:
    found = search(tiny, 4, predictor, method="all", compare=True)
    assert found.evaluated.answers.source.startswith("tiny")
    assert found.verified is not None
    assert len(found.verified.measurements) == len(found.verified.truth)
    assert found.front.answers.source == "simulator"
    assert "verified" in found.to_json()
