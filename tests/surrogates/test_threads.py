"""One thread per product of matrices inside, and as many as before after the last has left."""

from __future__ import annotations

import os
from threading import current_thread
from time import sleep

import numpy as np
import pandas as pd
import pytest
import threadpoolctl

from silicast.datasets.measure.machine import usable_threads
from silicast.datasets.table import FeatureQuestions, Table
from silicast.surrogates import rehearsal
from silicast.surrogates.boosted import Boosted
from silicast.surrogates.neural import Neural
from silicast.surrogates.threads import fair_share, in_two_lanes, one_blas_thread, side_by_side


def threads() -> list[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    return [one["num_threads"] for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"]


def test_the_last_to_leave_restores() -> None:
    before = threads()
    first, second = one_blas_thread(), one_blas_thread()
    first.__enter__()
    second.__enter__()
    assert set(threads()) <= {1}
    first.__exit__(None, None, None)
    assert set(threads()) <= {1}
    second.__exit__(None, None, None)
    assert threads() == (before if (os.cpu_count() or 1) > 2 else [1] * len(before))  # on two cores nobody restores


def test_tasks_side_by_side_keep_their_order_and_share_the_cores() -> None:
    shares = []

    def task(i: int) -> int:
        shares.append(fair_share())
        return i

    assert side_by_side([lambda i=i: task(i) for i in range(3)]) == [0, 1, 2]  # type: ignore[misc]
    assert all(share >= 1 for share in shares) or usable_threads() < 2
    assert fair_share() == (1 if usable_threads() <= 2 else 0)  # nobody's lane outlives its task


def test_an_error_in_any_lane_is_raised_after_all_have_ended() -> None:
    ended = []

    def fails() -> None:
        raise ValueError("the second")

    with pytest.raises(ValueError, match="the second"):
        side_by_side([lambda: ended.append(1), fails, lambda: ended.append(3)])
    assert sorted(ended) == [1, 3]


def test_two_lanes_do_all_tasks_once_those_apart_one_after_the_other() -> None:
    inside, most = [], []

    def apart(i: int) -> int:
        inside.append(i)
        most.append(len(inside))
        sleep(0.02)
        inside.remove(i)
        return i

    tasks = [lambda i=i: apart(i) if i in (1, 4) else i for i in range(6)]  # type: ignore[misc]
    assert in_two_lanes(tasks, (1, 4)) == [0, 1, 2, 3, 4, 5]
    assert most == [1, 1]
    assert in_two_lanes([lambda: 7]) == [7]
    assert in_two_lanes([lambda: 7], (0,)) == [7]


def test_lanes_within_a_lane_of_one_core_are_one_after_the_other() -> None:
    if usable_threads() != 2:
        pytest.skip("on more cores a lane has more than one")
    inner: list[list[str]] = []

    def task() -> None:
        inner.append(side_by_side([lambda: current_thread().name] * 3))

    side_by_side([task, task])
    assert all(len(set(names)) == 1 for names in inner)


def test_members_learn_the_same_side_by_side_and_one_after_the_other() -> None:
    """Trees in one lane, networks in the other."""
    pytest.importorskip("torch", reason="torch is not installed")
    x = np.exp(np.random.default_rng(0).normal(size=300))
    table = Table(FeatureQuestions(pd.DataFrame({"x": x})), {"latency_s": x * 1e-6}, np.arange(300).astype(object), pd.DataFrame(index=range(300)), "made up")
    made = [lambda: [Boosted(targets=("latency_s",), trees=20), Neural(targets=("latency_s",), samples=3000, hidden=16, blocks=1)] for _ in range(2)]
    beside = rehearsal.fitted(made[0](), table)
    after = [m.fit(table) for m in made[1]()]
    for one, other in zip(beside, after, strict=True):
        np.testing.assert_allclose(one.predict(table.questions).point, other.predict(table.questions).point, rtol=1e-4)
