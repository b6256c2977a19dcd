"""Today's answers of the simulator, kept so that a change is seen and explained: `python tests/golden/write.py` writes them anew.

They prove nothing about the world (the checks against other tools, papers and measurements do); they only say that an answer moved. Then
`SIMULATOR_VERSION` must move too, and the CHANGELOG say why.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from silicast.datasets import catalog
from silicast.datasets.families import FAMILIES, sample
from silicast.datasets.simulator.simulate import SIMULATOR_VERSION, simulate_many

FILE = Path(__file__).parent / "simulator.json"
#: one machine of every manner of computing
DEVICES = ("a100_sxm", "h100_sxm", "t4", "mi300x", "xeon_8380", "raspberry_pi_4", "tpu_v1", "tpu_v4", "tpu_like", "eyeriss", "ethos_u55_256", "alveo_u250", "zcu104")


def answers() -> dict[str, Any]:
    """{"version", "values": {family: {device: {target: value} or the reason why it cannot}}}: one sampled network of every family, seed 0."""
    devices = [catalog.hardware(key) for key in DEVICES]
    values = {family: {d.key: answer.values or answer.infeasible for d, answer in zip(devices, simulate_many(sample(family, np.random.default_rng(0)), devices), strict=True)}
              for family in FAMILIES}
    return {"version": SIMULATOR_VERSION, "values": values}


if __name__ == "__main__":
    FILE.write_text(json.dumps(answers(), indent=1) + "\n", encoding="utf-8")
