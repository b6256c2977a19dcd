"""A machine never seen: who its kin are, what is brought over, and what a table of few machines says of another."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from silicast.datasets import catalog
from silicast.datasets.catalog.drawn import DRAWN
from silicast.datasets.table import FeatureQuestions, Table
from silicast.surrogates import newcomer, outlying, store
from silicast.surrogates.blended import Blended


def test_kin_are_of_one_vendor_and_kind_and_shares_sum_to_one() -> None:
    share = newcomer.shares("h100_sxm", ["a100_sxm", "mi250", "gaudi2"])
    assert share.sum() == pytest.approx(1.0)
    assert share[0] > 0.6  # NVIDIA's, as it is
    assert newcomer.shares("nobody knows it", ["a100_sxm", "mi250"]) == pytest.approx([0.5, 0.5])
    assert np.count_nonzero(newcomer.shares("h100_sxm", DRAWN[:30])) == newcomer.MOST_ASKED


def test_rates_are_brought_over_among_kin() -> None:
    new, old = catalog.hardware("h100_sxm"), catalog.hardware("a100_sxm")
    ratio = (new.dram_bandwidth / old.dram_bandwidth * new.rate("float32", matrix=False) / old.rate("float32", matrix=False)) ** 0.35
    time, speed = newcomer.factors("h100_sxm", ["a100_sxm"], "latency_s")[0], newcomer.factors("h100_sxm", ["a100_sxm"], "throughput_tok_s")[0]
    assert np.exp(speed) == pytest.approx(ratio, rel=0.02)
    assert time == -speed
    assert np.exp(newcomer.factors("h100_sxm", ["a100_sxm"], "power_w")[0]) == pytest.approx(700.0 / 400.0)
    assert newcomer.factors("h100_sxm", ["a100_sxm"], "lut")[0] == 0.0
    assert newcomer.factors("h100_sxm", ["mi250"], "latency_s")[0] == 0.0  # another vendor's, of like rates


def test_a_free_name_tells_its_quantity_by_how_it_ends() -> None:
    assert [newcomer.quantity(t) for t in ("epoch_s", "tokens_per_s", "board_w", "value", "latency_s")] == ["time", "throughput", "power", "", "time"]


def test_a_median_of_one_answer_is_that_answer_and_one_bad_machine_does_not_move_it() -> None:
    one = np.array([[2.0, 3.0]])
    assert newcomer.joined("nobody", ["x"], "value", one) == pytest.approx([2.0, 3.0])
    three = np.array([[2.0, 3.0], [2.0, 3.0], [900.0, 900.0]])
    assert newcomer.joined("nobody", ["x", "y", "z"], "value", three) == pytest.approx([2.0, 3.0])


def table(machines: dict[str, float]) -> Table:
    rng = np.random.default_rng(0)
    frame = pd.concat([pd.DataFrame({"batch": 2.0 ** rng.integers(0, 8, 40), "gpu": name}) for name in machines], ignore_index=True)
    seconds = 1e-3 * frame["batch"].to_numpy() ** 0.7 * frame["gpu"].map(machines).to_numpy()
    return Table(FeatureQuestions(frame), {"latency_s": seconds}, np.arange(len(frame)).astype(str).astype(object), pd.DataFrame(index=range(len(frame))), "made")


def test_a_machine_beside_a_single_one_is_faster_by_its_rates_and_its_interval_is_wide() -> None:
    rows = table({"a100_sxm": 1.0})
    model = store.member("conformal")(Blended(targets=("latency_s",), threads=1)).fit(rows)
    point = model.inner.out_of_fold.point
    model.calibrate_from(rows.questions.strata, {"latency_s": (rows.targets["latency_s"], point[:, 0])}).expect_far(*model.inner.expected_far())
    asked = FeatureQuestions(pd.DataFrame({"batch": [16.0, 64.0, 64.0, 64.0], "gpu": ["a100_sxm", "h100_sxm", "mi250", "a board of ours"]}))
    found = model.predict(asked)
    faster = np.exp(newcomer.factors("h100_sxm", ["a100_sxm"], "latency_s")[0])
    assert found.point[:2, 0] == pytest.approx([1e-3 * 16**0.7, 1e-3 * 64**0.7 * faster], rel=0.1)
    width = np.log(found.high[:, 0] / found.low[:, 0])
    assert width[0] < 0.5
    assert width[1:] == pytest.approx(2.0 * np.log([3.9, 15.0, 15.0]))  # of one vendor and kind, of another, and of which nobody knows


def test_a_machine_of_another_kind_is_as_unsure_as_those_were_or_more_than_the_kin_that_was_held_out() -> None:
    asked = FeatureQuestions(pd.DataFrame({"batch": [64.0, 64.0], "gpu": ["v100_sxm", "gaudi2"]}))

    def widths(rows: Table) -> np.ndarray:
        model = store.member("conformal")(Blended(targets=("latency_s",), threads=1)).fit(rows)
        point = model.inner.out_of_fold.point
        found = model.calibrate_from(rows.questions.strata, {"latency_s": (rows.targets["latency_s"], point[:, 0])}).expect_far(*model.inner.expected_far()).predict(asked)
        assert model.inner.kinds(asked).tolist() == ["machine", "machine of another kind"]
        return np.log(found.high[:, 0] / found.point[:, 0])

    kin = widths(table({"a100_sxm": 1.0, "h100_sxm": 0.5, "l40s": 1.1}))
    assert kin[0] < np.log(3.5)
    assert kin[1] == pytest.approx(np.log(15.0))
    others = widths(table({"a100_sxm": 1.0, "mi250": 1.6, "tpu_v4": 0.8}))
    assert others[0] < np.log(3.5) < others[1] < np.log(15.0)  # three that are alike by chance count beside what pairs of such machines are
    both = widths(table({"a100_sxm": 1.0, "h100_sxm": 0.6, "mi250": 2.0, "intel_max_1550": 40.0}))
    assert both[0] < np.log(3.5) < both[1]


def test_machines_held_out_in_turn_say_how_wide_intervals_are(tmp_path: object) -> None:
    rows = table({"a100_sxm": 1.0, "h100_sxm": 0.5, "mi250": 1.5})
    model = Blended(targets=("latency_s",), threads=1).fit(rows)
    truth, point = model.rehearsed["machine"]["latency_s"]
    assert len(truth) == 40  # the machine that was answered worst
    assert np.quantile(np.abs(np.log(point / truth)), 0.9) > 0.05
    spec, files = model.weights()
    asked = FeatureQuestions(pd.DataFrame({"batch": [16.0], "gpu": ["v100_sxm"]}))
    again = Blended.from_weights(spec, files, tmp_path, store.member)  # type: ignore[arg-type]
    assert again.predict(asked).point == pytest.approx(model.predict(asked).point, rel=1e-6)
    assert model.beyond(asked).tolist() == [1.0]
    # an A100 is slower than an H100 and a V100 slower still, by what is published
    assert model.predict(asked).point[0, 0] > 1e-3 * 16**0.7


def test_machines_that_miss_the_others_and_those_read_a_few_times_are_worth_less() -> None:
    apart = np.log(np.array([[1.0, 1.1, 1.2], [0.9, 1.0, 0.5], [9.0, 11.0, 1.0]]))
    worth = newcomer.worth(np.array([400.0, 400.0, 400.0]), apart)
    assert worth[0] == pytest.approx(20.0 / ((np.log(1.1) + np.log(1.2)) / 2.0 + 0.2))
    assert worth[0] > worth[1] > 3.0 * worth[2]
    fewer = newcomer.worth(np.array([400.0, 400.0, 4.0]), np.zeros((3, 3)))
    assert fewer / fewer.sum() == pytest.approx(np.array([20.0, 20.0, 2.0]) / 42.0)
    assert newcomer.worth(np.array([9.0]), np.full((1, 1), np.nan)) == pytest.approx([15.0])  # alone: nothing to miss
    # software that leaves nine tenths of its rates unused does not drag the middle
    three = np.array([[1.0], [1.0], [10.0]])
    assert newcomer.joined("nobody", ["x", "y", "z"], "value", three, worth)[0] < 1.5


def test_a_machine_unlike_the_others_counts_less_for_the_next(tmp_path: object) -> None:
    rows = table({"a100_sxm": 1.0, "h100_sxm": 0.7, "mi250": 1.1, "intel_max_1550": 20.0})
    model = Blended(targets=("latency_s",), threads=1).fit(rows)
    asked = FeatureQuestions(pd.DataFrame({"batch": [16.0], "gpu": ["gaudi2"]}))
    assert model.predict(asked).point[0, 0] < 2.0 * 1e-3 * 16**0.7
    spec, files = model.weights()
    worth = dict(zip(spec["strangers"]["gpu"]["known"], spec["strangers"]["gpu"]["worth"]["latency_s"], strict=True))
    assert worth["intel_max_1550"] < 0.6 * min(w for name, w in worth.items() if name != "intel_max_1550")
    assert Blended.from_weights(spec, files, tmp_path, store.member).predict(asked).point == pytest.approx(model.predict(asked).point, rel=1e-6)  # type: ignore[arg-type]


def test_machines_that_the_schema_names_are_machines_though_no_catalogue_knows_them() -> None:
    """Boards up to three times apart: a fifth is as unsure as they lie apart, and answered as the middle of them. A column that no schema calls machines holds words as any other."""
    seconds = {"board 1": 1.0, "board 2": 1.6, "board 3": 2.0, "board 4": 3.0}
    rows = table(seconds)
    rows = Table(FeatureQuestions(rows.questions.frame, "gpu"), rows.targets, rows.groups, rows.slices, rows.source)
    model = store.member("conformal")(Blended(targets=("latency_s",), threads=1)).fit(rows)
    point = model.inner.out_of_fold.point
    model.calibrate_from(rows.questions.strata, {"latency_s": (rows.targets["latency_s"], point[:, 0])}).expect_far(*model.inner.expected_far())
    asked = FeatureQuestions(pd.DataFrame({"batch": [64.0, 64.0], "gpu": ["board 2", "board 5"]}), "gpu")
    found = model.predict(asked)
    assert model.inner.beyond(asked).tolist() == [0.0, 1.0]
    assert found.point[1, 0] / 64**0.7 == pytest.approx(1.8e-3, rel=0.15)
    assert found.low[1, 0] < 1.0e-3 * 64**0.7
    assert found.high[1, 0] > 3.0e-3 * 64**0.7
    assert np.log(found.high[0, 0] / found.low[0, 0]) < 0.5
    assert Blended(targets=("latency_s",), threads=1).fit(table(seconds)).kinds(asked).tolist() == ["", "value gpu"]  # a word as any other


def test_names_that_share_words_are_alike_the_rarer_the_word() -> None:
    known = ["Dragonfly 820", "Dragonfly 660", "Karin 970", "Board 77 24GB", "Board 77 24GB * 2"]
    alike = newcomer.named_alike("Dragonfly 835", known)
    assert alike[0] == alike[1] == 1.0  # of its words the table has one
    assert not alike[2:].any()
    two = newcomer.named_alike("board 77 * 4", known)
    assert two[3] == pytest.approx(1.0)
    assert not two[:3].any()
    assert newcomer.shares("Dragonfly 835", known)[:2] == pytest.approx(newcomer.KIN / (2.0 * newcomer.KIN + 3.0))
    assert newcomer.named_alike("Dragonfly Elite", known)[0] == pytest.approx(np.log(3.0) / (np.log(3.0) + np.log(6.0)))
    assert not newcomer.named_alike("nobody", known).any()


def test_of_many_machines_nobody_knows_not_those_are_asked_whose_names_come_first() -> None:
    known = [f"board {chr(97 + i)}" for i in range(16)]
    asked = np.flatnonzero(newcomer.shares("another", known) > 0)
    assert len(asked) == newcomer.MOST_ASKED
    assert asked.max() > 8


def test_columns_that_a_machine_settles_are_its_own() -> None:
    frame = pd.DataFrame({"gpu": np.repeat(["a", "b", "c"], 6), "cores": np.repeat([80, 108, 132], 6), "maker": np.repeat(["x", "x", None], 6), "batch": np.tile([1, 2, 4], 6), "same": 1})
    assert newcomer.settled(frame, "gpu") == {"cores": {"a": 80.0, "b": 108.0, "c": 132.0}, "maker": {"a": "x", "b": "x", "c": None}}
    assert newcomer.settled(frame.iloc[::3], "gpu") == {}  # two rows of each tell nothing
    run = frame.assign(**{"num_gpus": frame["cores"], "Batch Size": frame["cores"], "framework": frame["gpu"], "tp": frame["cores"]}).drop(columns=["cores", "maker"])
    assert newcomer.settled(run, "gpu") == {}  # how work is run is no machine's own
    near = newcomer.nearness({"cores": 80.0, "maker": "x"}, newcomer.settled(frame, "gpu"), ["a", "b", "c"])
    assert near == pytest.approx([1.0, 80 / 108, 80 / 132])


def test_a_machine_asked_in_place_of_another_brings_what_is_its_own(tmp_path: object) -> None:
    """Cores beside three machines nobody knows: one of half as many cores is neither a size below the least nor a machine with cores it has not; it is answered as the others are, the nearest counting most."""
    cores, seconds = {"board a": 80.0, "board b": 108.0, "board c": 132.0}, {"board a": 1.3, "board b": 1.1, "board c": 0.9}
    rows = table(seconds)
    frame = rows.questions.frame.assign(cores=rows.questions.frame["gpu"].map(cores))
    rows = Table(FeatureQuestions(frame, "gpu"), rows.targets, rows.groups, rows.slices, rows.source)
    model = Blended(targets=("latency_s",), threads=1).fit(rows)
    asked = FeatureQuestions(pd.DataFrame({"batch": [16.0], "gpu": ["board z"], "cores": [40.0]}))
    assert model.predict(asked).point[0, 0] == pytest.approx(1e-3 * 16**0.7 * 1.2, rel=0.15)
    assert model.beyond(asked).tolist() == [1.0]
    assert model.kinds(asked).tolist() == ["machine of another kind"]
    spec, files = model.weights()
    again = Blended.from_weights(spec, files, tmp_path, store.member)  # type: ignore[arg-type]
    assert again.predict(asked).point == pytest.approx(model.predict(asked).point, rel=1e-6)
    both = FeatureQuestions(pd.DataFrame({"batch": [16.0, 16.0], "gpu": ["board z"] * 2, "cores": [40.0, 4000.0]}))
    alone = [model.predict(both.take(np.array([i]))).point[0, 0] for i in (0, 1)]
    assert model.predict(both).point[:, 0].tolist() == alone  # whatever another row says of that name


def test_a_launch_goes_with_no_rate() -> None:
    """Kernels of 7 us or more on machines of which the new one has half of the rates: by hand 7 us stay 7, and of 107 us the 100 become longer by its rates alone."""
    rng = np.random.default_rng(0)
    times = np.concatenate([np.full(40, 7e-6), np.geomspace(2e-5, 1e-3, 40)]) * np.exp(0.02 * rng.normal(size=80))
    machines = np.where(np.arange(80) % 2, "rtx_3090", "rtx_4090")
    floor = newcomer.floors(times, machines, "latency_s")
    assert list(floor) == ["rtx_3090", "rtx_4090"]
    assert list(floor.values()) == pytest.approx([7e-6, 7e-6], rel=0.03)
    assert newcomer.floors(np.geomspace(1e-5, 1e-3, 80), machines, "latency_s") == {}   # times of all sizes
    assert newcomer.floors(np.geomspace(1e-5, 1.4e-5, 80), machines, "latency_s") == {}  # times of one size
    assert newcomer.floors(times, machines, "power_w") == {}
    plain, launched = (newcomer.joined("rtx_3080", ["rtx_3090"], "latency_s", np.array([[7e-6, 107e-6]]), floor=f) for f in (None, {"rtx_3090": 7e-6}))
    slower = plain[1] / 107e-6
    assert slower > 1.0
    assert launched == pytest.approx([7e-6, 7e-6 + slower * 100e-6])


def test_of_machines_with_as_many_rows_chance_says_which_are_held_out() -> None:
    """Sixty names in order, the first twenty of one vendor: four of them all told would all be of that vendor."""
    held = outlying._most_of(np.full(60, 3), np.zeros(60, dtype=bool), 4)
    assert len(set(held)) == 4
    assert (held >= 20).any()
    assert list(outlying._most_of(np.array([1, 5, 9, 3]), np.zeros(4, dtype=bool), 2)) == [2, 1]


def test_what_machines_say_of_one_another_draws_the_powers_of_their_rates() -> None:
    """Machines whose times go with the full reciprocal of their bandwidth, and ones that are all alike: the powers are drawn towards 1 and 0, and nowhere beyond; of one machine, or of none the catalogue knows, the usual."""
    known = ["a100_sxm", "h100_sxm", "h200_sxm", "l40s"]
    bandwidth = np.array([newcomer._figures(name)[newcomer._BANDWIDTH] for name in known])
    follows, alike = -bandwidth[:, None] + bandwidth[None, :], np.zeros((4, 4))
    usual = newcomer.powers(["a100_sxm"], "latency_s", np.zeros((1, 1)))
    assert usual == newcomer.powers(["x", "y"], "latency_s", np.zeros((2, 2))) == newcomer.powers(known, "lut", follows) == newcomer.powers(known, "latency_s", np.full((4, 4), np.nan)) == [0.35, 0.35]
    drawn, still = newcomer.powers(known, "latency_s", follows), newcomer.powers(known, "latency_s", alike)
    assert 0.7 < drawn[0] <= 1.0
    assert 0.0 <= still[0] < 0.2
    assert newcomer.powers(known, "throughput_tok_s", -follows) == pytest.approx(drawn)
    assert newcomer.powers(known, "power_w", alike)[0] < 0.5 < newcomer.powers(["x", "y"], "power_w", alike[:2, :2])[0] == 1.0  # limits of 350 to 700 W say little
    told = newcomer.learned(known, np.array([9, 9, 9, 9]), {"latency_s": follows})
    assert told["powers"]["latency_s"] == pytest.approx(drawn, abs=1e-6)
    assert len(told["worth"]["latency_s"]) == 4
    assert not newcomer.learned(known[:2], np.array([9, 9]), {"latency_s": follows[:2, :2]})["worth"]
    faster = [np.exp(newcomer.factors("b200_sxm", ["h100_sxm"], "latency_s", p)[0]) for p in (drawn, usual, still)]
    assert faster[0] < faster[1] < faster[2] <= 1.0
