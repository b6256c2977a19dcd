"""Today's answers are kept: one that moves is seen, and explained by a new version."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

GOLDEN = Path(__file__).parents[2] / "golden"
ADVICE = "raise SIMULATOR_VERSION, say why in CHANGELOG.md, and run: python tests/golden/write.py"


def written() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_write", GOLDEN / "write.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_answer_moves_unseen() -> None:
    kept, now = json.loads((GOLDEN / "simulator.json").read_text(encoding="utf-8")), written().answers()
    assert kept["version"] == now["version"], f"the kept answers are of version {kept['version']}, the simulator is {now['version']}; run: python tests/golden/write.py"
    moved = []
    for family, by_device in now["values"].items():
        for device, values in by_device.items():
            old = kept["values"].get(family, {}).get(device)
            if isinstance(values, str) or isinstance(old, str) or old is None:
                moved += [f"{family} on {device}: {old!r} became {values!r}"] * (old != values)
            else:
                moved += [f"{family} on {device}: {t} {old.get(t)} became {v}" for t, v in values.items() if v != pytest.approx(old.get(t), rel=1e-9)]
    assert not moved, f"{len(moved)} answers moved, such as {moved[0]}; {ADVICE}"
