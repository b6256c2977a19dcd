"""Optuna, pymoo and Gymnasium see the same problem."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from silicast.datasets.errors import InputError
from silicast.serving.search import Problem, Space
from silicast.serving.search import gymnasium as gym
from silicast.serving.search import optuna as tpe
from silicast.serving.search import pymoo as moo


def test_an_optuna_objective_and_batches(toy: Problem) -> None:
    pytest.importorskip("optuna")
    study = tpe.create_study(toy)
    study.optimize(tpe.objective(toy), n_trials=12)
    assert len(study.trials) == 12
    assert any(t.state.name == "PRUNED" for t in study.trials) == any(t.params["width"] == 5 for t in study.trials)
    assert all(t.values[0] > 0 for t in study.best_trials)
    told = tpe.optimise(toy, 20, batch=8, seed=1)
    assert len(told) == 20
    assert toy.design.asked[-3:] == [8, 8, 4]


def test_optuna_sees_ranges_as_numbers() -> None:
    optuna = pytest.importorskip("optuna")
    found = tpe.distributions(Space.of({"a": {"int": [2, 20], "step": 2}, "b": [1, 2, 4], "c": {"float": [0.1, 10], "log": True}, "d": ["x", "y"], "e": {"int": [1, 10**6]}, "f": [True, False]}))
    kinds = optuna.distributions
    assert found["a"] == kinds.IntDistribution(2, 20, step=2)
    assert found["b"] == kinds.CategoricalDistribution((1, 2, 4))
    assert found["c"] == kinds.FloatDistribution(0.1, 10.0, log=True)
    assert found["e"] == kinds.IntDistribution(1, 10**6)
    assert isinstance(found["f"], kinds.CategoricalDistribution)


def test_pymoo_is_answered_a_population_at_a_time(toy: Problem) -> None:
    pytest.importorskip("pymoo")
    wrapped = moo.as_pymoo(toy)
    points = toy.space.place([{"width": 1, "depth": 2, "flow": "ws"}, {"width": 5, "depth": 2, "flow": "ws"}])
    out = wrapped.evaluate(points, return_values_of=["F", "G"])
    assert out[0][0].tolist() == [32.0, 2.0]
    assert out[1][:, 0].tolist() == [0.0, 1e9]
    assert toy.design.asked == [2]
    assert len(moo.optimise(toy, 48, batch=16)) == 48


def test_a_gymnasium_environment_passes_its_checker(toy: Problem) -> None:
    pytest.importorskip("gymnasium")
    from gymnasium.utils.env_checker import check_env

    env = gym.environment(toy, steps=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(env, skip_render_check=True)
    env.reset(seed=0)
    done, rewards = False, []
    while not done:
        _, reward, _, done, info = env.step(env.action_space.sample())
        rewards.append(reward)
        assert set(info["evaluation"]) >= {"width", "latency_s", "feasible"}
    assert len(rewards) == 5
    _, small, *_ = env.step(np.array([0, 0, 0]))    # width 1, depth 1: the least energy
    _, broken, *_ = env.step(np.array([3, 0, 0]))   # width 5 cannot be
    assert small > broken == -11.0
    for weights in ((1.0,), (-1.0, 2.0), (0.0, 0.0)):
        with pytest.raises(InputError, match="weights"):
            gym.environment(toy, weights=weights)
