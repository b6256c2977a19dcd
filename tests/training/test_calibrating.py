"""From a model and shots to a corrected model, by way of folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import TableError
from silicast.datasets.measured import Schema, read_measured
from silicast.features import domain as domains
from silicast.surrogates import store
from silicast.training.calibrating import adapter, calibrate_table, suggest
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
    new = frame({"box4": (1.2, 2.0)}, 150, 1)
    done = calibrate_table(model, new, tmp_path / "new", shots=15)
    assert done.shots == 15
    assert done.judged == "135 rows held out"
    assert done.after["latency_s"] < 0.5 * done.before["latency_s"]
    assert done.after["latency_s"] < 0.1
    surrogate, card = store.load(tmp_path / "new")
    assert "box4" in card.domain["categories"]["machine"]
    assert len(card.domain["density"]["keys"]) == len(store.load(model)[1].domain["density"]["keys"]) + 15
    assert "15 shots" in card.extra["notes"]
    asked = read_measured(new, SCHEMA)
    found = surrogate.predict(asked.questions)
    assert np.median(np.abs(found.point[:, 0] / asked.targets["latency_s"] - 1.0)) < 0.1
    assert np.isfinite(found.low).all()


def test_a_corrected_model_is_corrected_again(model: Path, tmp_path: Path) -> None:
    """A second new machine, and a third: each folder is read, and what was learned of the first is kept."""
    place = model
    new = {"box4": (1.2, 2.0), "box5": (3.0, 1.0), "box6": (0.5, 0.5)}
    for seed, (name, cost) in enumerate(new.items()):
        calibrate_table(place, frame({name: cost}, 25, seed), tmp_path / name)
        place = tmp_path / name
    surrogate, card = store.load(place)
    assert set(new) <= set(card.domain["categories"]["machine"])
    for name, cost in new.items():
        asked = read_measured(frame({name: cost}, 100, 9), SCHEMA)
        assert np.median(np.abs(surrogate.predict(asked.questions).point[:, 0] / asked.targets["latency_s"] - 1.0)) < 0.12, name


def test_few_shots_are_flagged(model: Path, tmp_path: Path) -> None:
    told: list[str] = []
    done = calibrate_table(model, frame({"box4": (1.2, 2.0)}, 4, 1), tmp_path / "new", say=told.append)
    assert done.judged == "4 shots left out one by one"
    assert any("too few to promise intervals" in t for t in told)
    asked = read_measured(frame({"box4": (1.2, 2.0)}, 50, 9), SCHEMA).questions
    (before, _), (after, card) = store.load(model), store.load(tmp_path / "new")
    was, now = before.predict(asked), after.predict(asked)
    assert np.log(now.high / now.point) == pytest.approx(np.log(was.high / was.point))  # as wide as before, about answers that know the shots
    assert not np.allclose(now.point, was.point)
    assert {d.verdict for d in domains.check(card.domain, asked)} == {"extrapolating"}  # and told as a machine that nothing was calibrated on


def test_a_row_that_the_model_doubts_stays_wider_after_shots(model: Path, tmp_path: Path) -> None:
    """Ten shots of a new machine, all within the sizes that were learned: a row far beyond them keeps more than the width of the shots."""
    calibrate_table(model, frame({"box4": (1.2, 2.0)}, 12, 1), tmp_path / "new")
    surrogate, _ = store.load(tmp_path / "new")
    asked = frame({"box4": (1.2, 2.0)}, 20, 2)
    usual = surrogate.predict(read_measured(asked, SCHEMA).questions)
    beyond = surrogate.predict(read_measured(asked.assign(compute=asked["compute"] * 1e3), SCHEMA).questions)
    widths = [float(np.median(np.log(p.high / p.point))) for p in (usual, beyond)]
    assert widths[1] > 1.2 * widths[0]


def test_what_to_measure_next(model: Path) -> None:
    rows = suggest(model, frame({"box4": (1.2, 2.0)}, 50, 2).drop(columns="ms"), 5)
    assert len(rows) == 5
    assert rows["row"].is_unique
    assert list(rows.columns) == ["compute", "move", "machine", "row"]
    with pytest.raises(TableError, match="at least 1"):
        suggest(model, frame({"box4": (1.2, 2.0)}, 5), 0)


def test_what_to_measure_of_a_second_machine_is_not_told_by_the_first(model: Path, tmp_path: Path) -> None:
    """Of a machine that was corrected its shots are known; one that was not is as new to the corrected model as to the one below."""
    calibrate_table(model, frame({"box4": (1.2, 2.0)}, 25), tmp_path / "box4")
    loaded, card = store.load(tmp_path / "box4")
    again, other = frame({"box4": (1.2, 2.0)}, 50, 2).drop(columns="ms"), frame({"box5": (3.0, 1.0)}, 50, 3).drop(columns="ms")
    asked = {name: read_measured(table, SCHEMA, need_targets=False) for name, table in (("box4", again), ("box5", other))}
    assert suggest(tmp_path / "box4", again, 5)["row"].tolist() == loaded.most_telling(asked["box4"].questions, 5).tolist()
    assert suggest(tmp_path / "box4", other, 5)["row"].tolist() == adapter(loaded, card, asked["box5"]).most_telling(asked["box5"].questions, 5).tolist()
    calibrate_table(tmp_path / "box4", frame({"box5": (3.0, 1.0)}, 25, 4), tmp_path / "box5")
    twice, _ = store.load(tmp_path / "box5")
    assert suggest(tmp_path / "box5", again, 5)["row"].tolist() == twice.inner.most_telling(asked["box4"].questions, 5).tolist()


def test_on_a_new_machine_words_known_before_are_asked_about_without_a_shot(model: Path) -> None:
    surrogate, card = store.load(model)
    known = replace(card, domain={**card.domain, "categories": {"machine": ["old", "older"], "stack": ["a", "b"]}})

    def scope(machine: str, stack: str) -> dict[str, tuple[str, ...]]:
        shots = read_measured(frame({machine: (1.2, 2.0)}, 3).assign(stack=stack), {**SCHEMA, "features": ["compute", "move", "stack"]})
        return dict(adapter(surrogate, known, shots).scope)

    assert scope("box4", "c") == {"machine": ("box4",), "stack": ("a", "b", "c")}
    assert scope("box4", "a") == {"machine": ("box4",)}
    assert scope("old", "c") == {"machine": ("old",), "stack": ("c",)}


def test_a_table_of_networks_is_fitted_asked_and_corrected(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    names = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    cost = {"m1": (0.1, 0.2, 1.0, 3.0, 0.8), "m2": (0.1, 0.1, 2.0, 2.5, 2.0), "m3": (0.4, 0.5, 1.0, 6.0, 0.5), "new": (0.2, 0.2, 2.1, 4.0, 1.5)}
    picks = rng.integers(0, 5, (45, 6))
    rows = [{"arch": "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*(names[p] for p in pick)), "gpu": gpu, "ms": 1.0 + sum(c[p] for p in pick)} for pick in picks for gpu, c in cost.items()]
    table, schema = pd.DataFrame(rows), {"workload": {"column": "arch", "format": "nas-bench-201"}, "hardware": "gpu", "targets": {"latency_s": {"column": "ms", "unit": "ms"}}}
    told: list[str] = []
    card = fit_table(table[table["gpu"] != "new"], schema, (), tmp_path / "old", say=told.append)
    assert any("45 different networks of" in t for t in told)
    assert card.metrics["all"]["latency_s"]["median_ape"] < 0.15
    new = table[table["gpu"] == "new"]
    done = calibrate_table(tmp_path / "old", new.iloc[:12], tmp_path / "new")
    assert done.after["latency_s"] < done.before["latency_s"]
    surrogate, kept = store.load(tmp_path / "new")
    asked = read_measured(new.iloc[12:], Schema.read(kept.schema))
    found = surrogate.predict(asked.questions).point[:, 0]
    assert np.corrcoef(found, asked.targets["latency_s"])[0, 1] > 0.9
