"""From a model and shots to a corrected model, by way of folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import TableError
from silicast.datasets.measured import read_measured
from silicast.surrogates import store
from silicast.training.calibrating import calibrate_table, suggest
from silicast.training.fitting import fit_table

SCHEMA = {"hardware": "machine", "features": ["compute", "move"], "targets": {"latency_s": {"column": "ms", "unit": "ms"}}}


def frame(machines: dict[str, tuple[float, float]], n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    out = pd.concat([pd.DataFrame({"compute": rng.integers(1, 100, n), "move": rng.integers(1, 100, n), "machine": m}) for m in machines], ignore_index=True)
    return out.assign(ms=out["machine"].map({k: v[0] for k, v in machines.items()}) * out["compute"] + out["machine"].map({k: v[1] for k, v in machines.items()}) * out["move"])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models") / "old"
    fit_table(frame({"m1": (1.0, 0.2), "m2": (2.0, 1.0), "m3": (0.7, 3.0)}, 40), SCHEMA, (), place)
    return place


def test_shots_make_a_new_machine_known(model: Path, tmp_path: Path) -> None:
    new = frame({"m4": (1.2, 2.0)}, 150, 1)
    done = calibrate_table(model, new, tmp_path / "new", shots=15)
    assert done.shots == 15
    assert done.judged == "135 rows held out"
    assert done.after["latency_s"] < 0.5 * done.before["latency_s"]
    assert done.after["latency_s"] < 0.1
    surrogate, card = store.load(tmp_path / "new")
    assert "m4" in card.domain["categories"]["machine"]
    assert "15 shots" in card.extra["notes"]
    asked = read_measured(new, SCHEMA)
    found = surrogate.predict(asked.questions)
    assert np.median(np.abs(found.point[:, 0] / asked.targets["latency_s"] - 1.0)) < 0.1
    assert np.isfinite(found.low).all()


def test_few_shots_are_flagged(model: Path, tmp_path: Path) -> None:
    told: list[str] = []
    done = calibrate_table(model, frame({"m4": (1.2, 2.0)}, 4, 1), tmp_path / "new", say=told.append)
    assert done.judged == "4 shots left out one by one"
    assert any("too few to promise intervals" in t for t in told)


def test_what_to_measure_next(model: Path) -> None:
    rows = suggest(model, frame({"m4": (1.2, 2.0)}, 50, 2).drop(columns="ms"), 5)
    assert len(rows) == 5
    assert rows["row"].is_unique
    assert list(rows.columns) == ["compute", "move", "machine", "row"]
    with pytest.raises(TableError, match="at least 1"):
        suggest(model, frame({"m4": (1.2, 2.0)}, 5), 0)
