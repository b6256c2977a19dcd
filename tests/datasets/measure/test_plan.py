"""Grids: every point is an operator, none is too large, and the beginning is spread out."""

from __future__ import annotations

import numpy as np
import pytest

from silicast.datasets.errors import UnknownNameError
from silicast.datasets.measure.plan import DTYPES, MOST_BYTES, PLANS, coordinates, points, spread_out
from silicast.datasets.ops import Op


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("plan", [p for p in PLANS if p != "networks"])
def test_points_are_operators_that_fit(plan: str, device: str) -> None:
    grid = points(plan, device)
    assert len(grid) > 50
    assert len({tuple(sorted(row.items())) for row in grid}) == len(grid)
    for row in grid[:: max(1, len(grid) // 50)]:
        op = Op.of("point", PLANS[plan], **row)
        assert op.bytes_read + op.bytes_written < MOST_BYTES[device]
        assert op.dtype in DTYPES[device]


def test_the_profile_of_a_gpu_has_points_enough() -> None:
    assert sum(len(points(plan, "cuda")) for plan in PLANS if plan != "networks") > 3000


def test_a_smaller_budget_takes_smaller_points() -> None:
    assert len(points("gemm-grid", "cpu", 0.001)) < len(points("gemm-grid", "cpu"))
    with pytest.raises(UnknownNameError, match="gemm-grid"):
        points("gem-grid", "cpu")


def test_the_first_points_are_apart() -> None:
    cube = coordinates([{"m": m, "dtype": "a"} for m in (1, 2, 4, 8, 16)])
    assert cube[:, 0].min() == 0.0
    assert cube[:, 0].max() == 1.0
    chosen = spread_out(cube, 2, np.array([0]), np.random.default_rng(0))
    assert chosen[0] == 4  # farthest from the first
    assert len(spread_out(cube, 9, np.array([0]), np.random.default_rng(0))) == 4
