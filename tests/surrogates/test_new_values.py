"""Values that a column never had: which columns are looked at, what is new, and what is asked in their place."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from silicast.surrogates import new_values

BACKENDS, BITS, SIZES = ("a", "b", "c"), (2, 4, 8, 16), tuple(2**i for i in range(10))


def table() -> pd.DataFrame:
    """Every backend with every width and size; a label that no two rows share, and one that never varies."""
    frame = pd.DataFrame([(b, w, s) for b in BACKENDS for w in BITS for s in SIZES], columns=["backend", "bits", "size"])
    return frame.assign(label=[f"row {i}" for i in range(len(frame))], site="here")


def law(frame: pd.DataFrame) -> np.ndarray:
    """Backends cost 1, 2 and 3, and the square root of the width."""
    return np.asarray(frame["backend"].map({"a": 1.0, "b": 2.0, "c": 3.0}).to_numpy() * np.sqrt(frame["bits"].to_numpy(dtype=np.float64)))[:, None]


def test_columns_of_few_values_that_groups_do_not_settle() -> None:
    frame = table()
    rows = np.arange(len(frame))
    told = new_values.learn(frame, rows)
    assert list(told["columns"]) == ["backend", "site", "bits", "size"]
    assert told["columns"]["bits"]["values"] == [2.0, 4.0, 8.0, 16.0]
    assert list(new_values.learn(frame, rows, ("backend",))["columns"]) == ["site", "bits", "size"]
    assert "backend" not in new_values.learn(frame, frame["backend"].to_numpy()).get("columns", {})  # whoever holds groups out holds backends out
    assert new_values.learn(frame[["label"]], rows) == {}
    assert new_values.held(frame, told, "site") == []


def test_what_is_new() -> None:
    frame = table()
    told = new_values.learn(frame.drop(columns="site"), np.arange(len(frame)))
    asked = frame.head(6).assign(backend=["a", "z", "a", "a", "a", "z"], bits=[2.0, 4.0, 3.0, 4.1, 64.0, 1.0])
    assert new_values.strange(asked, told)[:, :2].tolist() == [[False, False], [True, False], [False, True], [False, False], [False, True], [True, True]]
    assert not new_values.strange(asked, told, {"bits": 16.0})[4].any()  # of what lies above somebody else speaks
    assert new_values.strange(asked, {}).shape == (6, 0)
    assert new_values.beyond(asked, told, new_values.strange(asked, told)).tolist() == [False, False, False, False, True, True]


def test_a_word_is_asked_as_the_middle_of_those_known_and_a_number_between_its_neighbours() -> None:
    frame = table()
    told = new_values.learn(frame.drop(columns="site"), np.arange(len(frame)))
    asked = frame.head(4).assign(backend=["z", "a", "z", "a"], bits=[4.0, 5.0, 32.0, 1.0])
    found = new_values.answered(asked, told, new_values.strange(asked, told), law)
    assert found["asked"][:, 0] == pytest.approx([2.0 * 2.0, np.sqrt(5.0), 2.0 * 4.0, np.sqrt(2.0)])
    assert found["carried"][:, 0] == pytest.approx([2.0 * 2.0, np.sqrt(5.0), 2.0 * np.sqrt(32.0), 1.0])  # a power goes on


def test_several_words_at_once_are_asked_as_rows_had_them_together() -> None:
    frame = table().assign(version=lambda f: f["backend"].map({"a": "1", "b": "2", "c": "3"}))
    told = new_values.learn(frame, np.arange(len(frame)))
    pairs: list[tuple[str, str]] = []

    def ask(part: pd.DataFrame) -> np.ndarray:
        pairs.extend(zip(part["backend"], part["version"], strict=True))
        return law(part)

    asked = frame.head(1).assign(backend="z", version="9")
    new_values.answered(asked, told, new_values.strange(asked, told), ask)
    assert set(pairs) == {("a", "1"), ("b", "2"), ("c", "3")}


def test_what_a_rehearsal_holds_out() -> None:
    frame = pd.concat([table(), table().query("backend == 'a'"), table().query("backend == 'a'")] * 3, ignore_index=True)
    told = new_values.learn(frame, np.arange(len(frame)))
    assert new_values.held(frame, told, "backend") == ["a", "b", "c"]
    assert new_values.held(frame, told, "bits")[:2] == [8.0, 2.0]  # one between others, the lowest; never the largest, of which `reach` speaks
    assert 16.0 not in new_values.held(frame, told, "bits")
    assert new_values.held(frame[(frame["backend"] == "a") | (frame.index < 45)], told, "backend") == []  # one has nearly all rows, the others hardly any
    rest = new_values.without(told, "backend", "a", frame[frame["backend"] == "a"], frame[frame["backend"] != "a"])
    assert rest["columns"]["backend"]["values"] == ["b", "c"]
    assert all(row[0] != "a" for row in rest["joint"])


def test_of_many_numbers_those_that_otherwise_equal_rows_differ_by_are_choices() -> None:
    """Ten counters that a program settles, and a clock that every program ran at."""
    programs = np.random.default_rng(0).integers(0, 5, (40, 10))
    frame = pd.DataFrame([(clock, *counts) for counts in programs for clock in (500, 600, 700, 800)], columns=["clock", *(f"count {i}" for i in range(10))])
    assert list(new_values.learn(frame, np.arange(len(frame)))["columns"]) == ["clock"]


def test_what_a_value_alone_had_goes_with_it() -> None:
    frame = table().assign(version=lambda f: f["backend"].map({"a": "1", "b": "2", "c": "3"}))
    told = new_values.learn(frame, np.arange(len(frame)))
    here = (frame["backend"] == "a").to_numpy()
    rest = new_values.without(told, "backend", "a", frame[here], frame[~here])
    assert rest["columns"]["version"]["values"] == ["2", "3"]
    assert new_values.strange(frame[here], rest)[:, [list(rest["columns"]).index(c) for c in ("backend", "version")]].all()
    assert len(rest["joint"]) == 2


def test_several_numbers_at_once_are_each_carried_on_and_every_row_by_itself() -> None:
    frame = pd.DataFrame([(a, b) for a in (2.0, 4.0, 8.0) for b in (16.0, 32.0, 64.0)] * 12, columns=["a", "b"])
    told = new_values.learn(frame, np.arange(len(frame)))

    def product(part: pd.DataFrame) -> np.ndarray:
        return (part["a"] * part["b"]).to_numpy(dtype=np.float64)[:, None]

    asked = pd.DataFrame({"a": [3.0, 3.0, 1.0, -1.0, 16.0], "b": [2.0, 48.0, 8.0, 24.0, 128.0]})
    found = new_values.answered(asked, told, new_values.strange(asked, told), product)["carried"][:, 0]
    assert found[[0, 1, 2, 4]] == pytest.approx([6.0, 144.0, 8.0, 16.0 * 128.0])
    alone = [new_values.answered(asked.iloc[[i]].reset_index(drop=True), told, new_values.strange(asked.iloc[[i]], told), product)["carried"][0, 0] for i in range(5)]
    assert found == pytest.approx(alone)


def test_a_number_near_a_known_one_is_new_where_known_ones_lie_closer_together() -> None:
    known = np.array([512.0, 640.0, 800.0])
    assert new_values.near_known(np.array([512.0, 520.0, 768.0, 800.0, 870.0, 900.0, np.nan]), known).tolist() == [0, 0, -1, 2, 2, -1, -1]
    assert new_values.near_known(np.array([3505.0, 3600.0, 810.0]), np.array([3505.0])).tolist() == [0, 0, -1]


def test_a_number_that_never_varies_is_looked_at_however_many_columns_there_are() -> None:
    frame = table().drop(columns=["label", "site"]).assign(**{f"count{i}": [(j * (i + 3)) % 4 for j in range(len(table()))] for i in range(9)}, clock=3505.0)
    told = new_values.learn(frame, np.arange(len(frame)))
    assert told["columns"]["clock"]["values"] == [3505.0]
    assert new_values.strange(frame.head(2).assign(clock=[810.0, 3505.0]), told)[:, list(told["columns"]).index("clock")].tolist() == [True, False]


def test_the_middle_is_held_out_first_and_the_gap_of_a_number_is_known() -> None:
    frame = pd.DataFrame({"x": np.repeat([1.0, 2.0, 4.0, 8.0, 16.0], 20)})
    told = {"columns": {"x": {"values": [1.0, 2.0, 4.0, 8.0, 16.0], "worth": [1.0] * 5}}, "joint": []}
    assert new_values.held(frame, told, "x") == [4.0, 1.0, 2.0, 8.0]
    gaps = new_values.widest(pd.DataFrame({"x": [3.0, 0.5, 32.0]}), told, "x")
    assert gaps == pytest.approx([np.log(2.0), np.inf, np.inf])


def test_words_whose_names_share_parts_count_more_and_every_row_by_itself() -> None:
    """A backend called alike costs alike; names with odd letters are names, too, and what stands beside a row is nothing to it."""
    frame = table().assign(backend=lambda f: f["backend"].map({"a": "one fast", "b": "one slow", "c": "two"}))
    told = new_values.learn(frame.drop(columns=["site", "label"]), np.arange(len(frame)))
    cost = {"one fast": 1.0, "one slow": 2.0, "two": 30.0}

    def ask(f: pd.DataFrame) -> np.ndarray:
        return f["backend"].map(cost).to_numpy(dtype=np.float64)[:, None]

    asked = frame.head(5).assign(backend=["two times", "one faster", "two\ntimes", "nothing like it", ""])
    new = new_values.strange(asked, told)
    together = new_values.answered(asked, told, new, ask)["asked"][:, 0]
    alone = [new_values.answered(asked.iloc[[i]].reset_index(drop=True), told, new[[i]], ask)["asked"][0, 0] for i in range(5)]
    assert together.tolist() == alone
    assert together[0] > together[3] > together[1]
    old = {key: value for key, value in told.items() if key != "alike"}  # a model saved before
    assert len(set(new_values.answered(asked, old, new, ask)["asked"][:, 0])) == 1
    assert not new_values.octaves_beyond(asked.assign(bits=1e6), old, np.ones((5, 3), dtype=bool))[0].any()


def test_a_power_is_read_off_numbers_that_lie_apart_and_intervals_grow_with_octaves_beyond() -> None:
    """Known at 100, 852 and 864: what the last two differ by is chance; 512 is some way below the least of 1,000 to 4,000."""
    told = {"columns": {"blocks": {"values": [100.0, 852.0, 864.0], "worth": [1.0] * 3}}, "joint": [], "alike": True}
    asked = pd.DataFrame({"blocks": [1728.0, 3456.0, 50.0]})
    new = new_values.strange(asked, told)
    found = new_values.answered(asked, told, new, lambda f: np.where(f["blocks"] == 852.0, 0.5, f["blocks"].to_numpy() / 864.0)[:, None])["carried"][:, 0]
    assert found[:2] == pytest.approx([2.0, 4.0], rel=0.01)
    farther, share = new_values.octaves_beyond(asked, told, new)
    step = np.log2(864 / 852)
    assert farther == pytest.approx([1.0 - step, 2.0 - step, 0.0])
    assert share == pytest.approx([1.0 - step, 1.0 - step / 2.0, 0.0])
