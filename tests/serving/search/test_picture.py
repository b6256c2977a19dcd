"""The picture of a search, for one, two and three objectives."""

from __future__ import annotations

from dataclasses import replace

import pytest

from silicast.datasets.errors import InputError
from silicast.serving.search import Goal, Problem, search
from silicast.serving.search.picture import front_picture


@pytest.mark.parametrize("goals", [("latency_s",), ("latency_s", "energy_j"), ("latency_s", "energy_j", "power_w")])
def test_it_draws(toy: Problem, goals: tuple[str, ...]) -> None:
    found = search(replace(toy, goals=tuple(Goal(g, g == "power_w") for g in goals)), 20)
    assert front_picture(found.evaluated, found.front, "toy")[:4] == b"\x89PNG"
    drawn = front_picture(found.evaluated, found.front, form="svg")
    assert drawn.startswith(b"<?xml")
    with pytest.raises(InputError, match="png, svg"):
        front_picture(found.evaluated, found.front, form="pdf")
