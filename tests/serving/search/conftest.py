"""Problems that are answered in microseconds: two figures of three dimensions, by formulas on paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from silicast.serving.search import Goal, Limit, Problem, Space
from silicast.serving.search.answers import Answers


@dataclass
class Toy:
    """Time falls with width and rises with depth, energy is width x depth; odd widths of 5 cannot be. `asked` counts."""

    asked: list[int] = field(default_factory=list)

    def answers(self, candidates: Sequence[Any], by: Any = None) -> Answers:
        self.asked.append(len(candidates))
        w, d = (np.array([c[n] for c in candidates], dtype=float) for n in ("width", "depth"))
        slow = np.array([2.0 if c["flow"] == "is" else 1.0 for c in candidates])
        time, energy = slow * (d + 30.0 / w), w * d * slow
        return Answers({"latency_s": time, "energy_j": energy, "power_w": energy / time}, tuple("width 5 cannot be" if c["width"] == 5 else "" for c in candidates))


@pytest.fixture
def toy() -> Problem:
    space = Space.of({"width": [1, 2, 3, 5, 8, 13, 21, 34], "depth": {"int": [1, 12]}, "flow": ["ws", "os", "is"]})
    return Problem("toy", space, Toy(), (Goal("latency_s"), Goal("energy_j")), (Limit("power_w", at_most=30.0),), seed=3)


#: a space of four machines that the simulator answers in milliseconds
TINY = {"name": "tiny", "vary": {"array.rows": [8, 16], "memory.sram.capacity": {"choices": [64, 256], "unit": "KiB"}},
        "build": {"hardware": {"base": "tpu_like", "fields": {"array.cols": "array.rows"}, "workloads": {"block": {"transformer": "gpt2", "new_tokens": 16, "dtype": "int8"}}}},
        "objectives": {"latency_s": "min", "energy_j": "min"}}


@pytest.fixture
def tiny() -> Problem:
    return Problem.of(TINY)
