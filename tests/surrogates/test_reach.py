"""Numbers beyond all that a plain table holds: carried on by the power they go with, who speaks there chosen on the largest held out, intervals as wide as that was off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import TableError
from silicast.datasets.measured import read_measured
from silicast.surrogates import store
from silicast.surrogates.blended import Blended
from silicast.surrogates.reach import at_most, carried, few, floor, largest, octaves, reach, settled, turned
from silicast.training.fitting import evaluate_table, fit_table

SCHEMA: dict[str, Any] = {"features": ["bytes", "how"], "targets": {"latency_s": {"column": "s", "unit": "s"}}}


def transfers(rows: int, most: float, seed: int = 0) -> pd.DataFrame:
    """A link of 1 and one of 4 GB/s behind a start of 20 us: what a transfer of so many bytes takes, 2 % noise."""
    rng = np.random.default_rng(seed)
    size = np.exp(rng.uniform(np.log(1e3), np.log(most), rows)).round()
    how = rng.choice(["one", "four"], rows)
    return pd.DataFrame({"bytes": size, "how": how, "s": (2e-5 + size / np.where(how == "one", 1e9, 4e9)) * np.exp(0.02 * rng.normal(size=rows))})


def test_what_has_a_reach() -> None:
    frame = pd.DataFrame({"bytes": [1.0, 2.0, 4.0, 8.0, 16.0], "flag": [0, 1, 0, 1, 1], "close": [10.0, 11.0, 12.0, 13.0, 14.0], "signed": [-1.0, 2.0, 4.0, 8.0, 16.0], "how": list("abcde")})
    assert reach(frame) == {"bytes": 16.0}
    asked = pd.DataFrame({"bytes": [4.0, 17.0, 64.0]})
    assert octaves(asked, {"bytes": 16.0}) == pytest.approx([0.0, 0.0, 2.0])  # a tenth more is not beyond


def test_the_largest_are_held_out_octaves_beyond_the_rest() -> None:
    """Of 400 sizes 1 to 400 an eighth are at most 50: too few to learn from; a quarter is enough."""
    frame = pd.DataFrame({"n": np.arange(1.0, 401.0)})
    held, beyond = largest(frame, {"n": 400.0})
    assert (beyond, held.sum()) == (2.0, 300)
    assert largest(frame.iloc[:50], {"n": 50.0})[0].sum() == 25  # of a small table a half
    assert largest(frame.iloc[:30], {"n": 30.0})[0].sum() == 15
    assert not largest(frame.iloc[:10], {"n": 10.0})[0].any()  # few rows: nothing is held out


def test_a_law_of_powers_is_carried_on() -> None:
    """y = x^2 z, known up to x = 8 and z = 4: by hand 16^2 x 8 at (16, 8)."""
    frame = pd.DataFrame({"x": [16.0, 4.0], "z": [8.0, 2.0]})
    out = carried(frame, {"x": 8.0, "z": 4.0}, lambda f: (f["x"].to_numpy() ** 2 * f["z"].to_numpy())[:, None])
    assert out[:, 0] == pytest.approx([2048.0, 32.0])


def test_a_launch_and_so_much_for_each_is_carried_on_along_its_line() -> None:
    """By hand: 5 + 3 x known up to 8 is 53 at 16; 12 / x + 1 (Amdahl: a part in parallel, a part not) is 1.75 at 16, and a throughput x / (6 + x / 2), which saturates at 2, is 16 / 14 there. Exact where a power is not."""
    asked = pd.DataFrame({"x": [16.0, 4.0]})

    def law(f: pd.DataFrame) -> np.ndarray:
        x = f["x"].to_numpy()
        return np.column_stack([5.0 + 3.0 * x, 12.0 / x + 1.0, x / (6.0 + x / 2.0), 1.0 / x**2])

    rates = np.array([False, False, True, False])
    out = settled(asked, {"x": 8.0}, law, rates)
    assert out[0, :3] == pytest.approx([53.0, 1.75, 16.0 / 14.0])
    assert out[0, 3] == pytest.approx(1.0 / 64.0 / 2.0)  # falls no faster than the reciprocal
    assert out[1] == pytest.approx(law(asked)[1])
    assert settled(asked, {"x": 8.0}, law, rates, {"x": (2.0, 1.0)})[0, :3] == pytest.approx([53.0, 1.75, 16.0 / 14.0])
    assert settled(asked, {"x": 8.0}, law, rates, {"x": (8.0, 1.0)}) == pytest.approx(law(asked.clip(upper=8.0)))  # no step to go by


def test_columns_of_few_values_go_on_from_their_last_step() -> None:
    """GPUs 2, 4 and 8: the power between 4 and 8; of 1 and 4 nine tenths of the one power there is. By hand: 100 at 8 falls by 2 a doubling to 50 at 16; of half the power, 10 at 4 falls by sqrt 2 a doubling."""
    frame = pd.DataFrame({"gpus": [2, 4, 8, 8], "nodes": [1, 4, 1, 4], "flag": [0, 1, 0, 1], "close": [10, 12, 10, 12], "many": [1.0, 2.0, 4.0, 8.0], "same": 3})
    known = few(frame)
    assert known == {"gpus": [4.0, 8.0, 1.0], "nodes": [1.0, 4.0, 0.9], "many": [4.0, 8.0, 1.0]}
    out = carried(pd.DataFrame({"gpus": [16.0, 8.0]}), {"gpus": 8.0}, lambda f: 800.0 / f["gpus"].to_numpy()[:, None], {"gpus": (4.0, 1.0)})
    assert out[:, 0] == pytest.approx([50.0, 100.0])
    out = carried(pd.DataFrame({"nodes": [8.0]}), {"nodes": 4.0}, lambda f: 40.0 / f["nodes"].to_numpy()[:, None], {"nodes": (1.0, 0.5)})
    assert out[:, 0] == pytest.approx([10.0 / np.sqrt(2.0)])
    assert carried(pd.DataFrame({"nodes": [8.0]}), {"nodes": 4.0}, lambda f: 40.0 / f["nodes"].to_numpy()[:, None], {"nodes": (4.0, 1.0)})[0, 0] == pytest.approx(10.0)  # no step: as at the reach


def test_the_largest_of_few_values_are_held_out_where_enough_is_left() -> None:
    frame = pd.DataFrame({"gpus": np.repeat([2.0, 4.0, 8.0], 60), "nodes": np.tile([1.0, 2.0], 90)})
    held, over = at_most(frame, few(frame))
    assert (held.sum(), over) == (120, 1.0)  # those with eight GPUs, and half of the others: 60 of 180 are left
    assert not at_most(frame.iloc[::16], few(frame))[0].any()


def test_four_devices_where_one_and_two_were_measured(tmp_path: Path) -> None:
    """A process that saw two values drifts to its mean beyond them, whatever the work; a step that goes on by half is off by its half."""
    def work(rows: int, devices: list[int], seed: int) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame({"devices": rng.choice(devices, rows), "elements": 2.0 ** rng.integers(4, 20, rows)})
        return frame.assign(s=1e-6 * frame["elements"] / frame["devices"] ** 0.7 * np.exp(0.02 * rng.normal(size=rows)))

    schema = {"features": ["devices", "elements"], "targets": {"latency_s": {"column": "s", "unit": "s"}}, "group": ["elements", "devices"]}
    fit_table(work(400, [1, 2], 0), schema, (), tmp_path / "m")
    whole = evaluate_table(tmp_path / "m", work(200, [4], 1)).frame.iloc[0]
    assert whole["median_ape"] < 2.0 ** 0.35 - 1.0 + 0.05
    assert whole["coverage"] > 0.8
    surrogate, _ = store.load(tmp_path / "m")
    assert set(surrogate.inner.kinds(read_measured(work(50, [4], 2), schema).questions)) == {"step"}


def test_a_size_and_a_column_of_few_values_each_have_their_own_width() -> None:
    """Transfers over one and two links, a key of which some rows lack: what lies beyond two links is as far beyond as one step was, whatever was rehearsed of bytes."""
    rows = transfers(600, 1e6)
    links = np.random.default_rng(3).choice([1.0, 2.0, np.nan], len(rows))
    rows = rows.assign(links=links, s=rows["s"] / np.nan_to_num(links, nan=1.0) ** 0.5)
    nested = rows.drop(columns="links").assign(design=[json.dumps({"links": x, "fan": 1.0} if np.isfinite(x) else {"fan": 1.0}) for x in links])
    schema = {**SCHEMA, "features": ["bytes", "how", "design"]}
    known = read_measured(nested, schema)
    assert known.questions.frame["design[links]"].isna().any()
    model = Blended(targets=("latency_s",)).fit(known)
    assert (model._reach["few"]["octaves"], model._reach["octaves"] > 1.0) == (1.0, True)

    def asked(size: float, links: float) -> pd.DataFrame:
        return nested.iloc[:20].assign(bytes=size, design=json.dumps({"links": links, "fan": 1.0}))

    larger, wider = (read_measured(asked(*what), schema).questions for what in ((8e6, 2.0), (1e4, 16.0)))
    assert (set(model.kinds(larger)), set(model.kinds(wider))) == ({"size"}, {"step"})
    assert model.beyond(wider) == pytest.approx(2.0 - 2.0 ** -2.0)  # three octaves beyond two, one of them rehearsed
    assert {"size", "step"} <= set(model.expected_far()[1])
    again = model.fit(read_measured(transfers(200, 1e6), SCHEMA))
    assert "few" not in again._reach


def test_transfers_eight_times_as_large(tmp_path: Path) -> None:
    """Trees alone answer the largest they know: off by up to 8; a launch and so much for each byte is carried on to some percent, and nine of ten lie in their intervals: of three tables together, for one's are all wide enough or not."""
    covered = []
    for seed in (0, 2, 4):
        known, larger = transfers(400, 1e6, seed), transfers(600, 8e6, seed + 1)
        larger = larger[larger["bytes"] > 1.2e6].reset_index(drop=True)
        card = fit_table(known, SCHEMA, (), tmp_path / str(seed))
        found = evaluate_table(tmp_path / str(seed), larger).frame
        whole = found[(found["slice"] == "all") & (found["target"] == "latency_s")].iloc[0]
        assert whole["median_ape"] < 0.05
        assert whole["log_width"] < 0.5
        covered.append(whole["coverage"])
    assert np.mean(covered) > 0.8
    assert card.level == 0.9
    surrogate, _ = store.load(tmp_path / "4")
    questions = read_measured(larger, SCHEMA).questions
    assert set(surrogate.inner.kinds(questions)) == {"size"}
    assert (surrogate.inner.beyond(questions) >= 1.0).all()
    assert not surrogate.inner.beyond(read_measured(known, SCHEMA).questions).any()


def test_a_model_without_a_reach_answers_as_it_did() -> None:
    """Folders made before sizes were rehearsed lack the key."""
    rows = read_measured(transfers(200, 1e6), SCHEMA)
    model = Blended(targets=("latency_s",)).fit(rows)
    spec, files = model.weights()
    older = {k: v for k, v in spec.items() if k != "reach"}
    older["strangers"] = {k: v for k, v in spec["strangers"].items() if k != "(beside these)"}
    old = Blended.from_weights(older, files, Path(), store.member)
    assert np.allclose(old.predict(rows.questions).point, model.predict(rows.questions).point)
    assert not old.beyond(read_measured(transfers(50, 1e9, 2), SCHEMA).questions).any()


def test_a_word_where_a_number_was_learned_is_told(tmp_path: Path) -> None:
    fit_table(transfers(200, 1e6), SCHEMA, (), tmp_path / "m")
    with pytest.raises(TableError, match="bytes"):
        evaluate_table(tmp_path / "m", transfers(20, 1e6).assign(bytes="large"))


def test_what_is_at_its_largest_in_most_rows_keeps_no_other_from_being_held_out() -> None:
    """A batch of 1024 in nearly all rows; sizes 1 to 400."""
    frame = pd.DataFrame({"n": np.arange(1.0, 401.0), "batch": np.where(np.arange(400) % 20 == 0, 64.0, 1024.0)})
    held, beyond = largest(frame, {"n": 400.0, "batch": 1024.0})
    assert (beyond, held.sum()) == (2.0, 300)


def test_a_sweep_with_few_rows_at_every_size_has_a_reach_too() -> None:
    """Four machines, messages of 8 bytes to 16 MB in octaves: three octaves are twelve rows, too few of 88; the last four are the first that are enough."""
    frame = pd.DataFrame({"bytes": np.repeat(2.0 ** np.arange(3, 25), 4)})
    held, beyond = largest(frame, {"bytes": 2.0**24})
    assert (beyond, held.sum(), frame["bytes"][~held].max()) == (4.0, 16, 2.0**20)


def test_the_least_of_columns_that_are_never_zero() -> None:
    frame = pd.DataFrame({"n": [4.0, 2.0, np.nan], "zero": [0.0, 1.0, 2.0], "none": [np.nan] * 3})
    assert floor(frame, {"n": 4.0, "zero": 2.0, "none": 1.0}) == {"n": 2.0}
    back = turned(turned(frame, ["n"]), ["n"])["n"]
    assert back.to_numpy() == pytest.approx([4.0, 2.0, np.nan], nan_ok=True)


def test_a_clock_below_the_least_is_carried_down(tmp_path: Path) -> None:
    """Kernels that go with the clock: at a half and a quarter of the least known they take twice and four times as long; trees alone answer the least."""
    rng = np.random.default_rng(0)

    def work(clocks: np.ndarray) -> pd.DataFrame:
        size = 2.0 ** rng.integers(4, 20, len(clocks))
        return pd.DataFrame({"clock_mhz": clocks, "elements": size, "s": 1e-3 * size**0.5 / clocks * np.exp(0.02 * rng.normal(size=len(clocks)))})

    schema = {"features": ["clock_mhz", "elements"], "targets": {"latency_s": {"column": "s", "unit": "s"}}}
    fit_table(work(rng.uniform(400, 3000, 400).round()), schema, (), tmp_path / "m")
    surrogate, _ = store.load(tmp_path / "m")
    low = work(rng.uniform(150, 350, 100).round())
    questions = read_measured(low, schema).questions
    assert set(surrogate.inner.kinds(questions)) == {"small"}
    assert (surrogate.inner.beyond(questions) >= 1.0).all()
    whole = evaluate_table(tmp_path / "m", low).frame.iloc[0]
    assert whole["median_ape"] < 0.1
    assert whole["coverage"] > 0.8
    zero = read_measured(low.assign(clock_mhz=0.0), schema).questions  # nobody knows what that is; no narrower than what is far below
    assert (surrogate.inner.beyond(zero) >= surrogate.inner.beyond(questions).max() - 1e-9).all()
    assert np.isfinite(surrogate.predict(zero).point).all()
    inside = read_measured(work(rng.uniform(500, 2500, 20).round()), schema).questions
    assert not surrogate.inner.beyond(inside).any()
