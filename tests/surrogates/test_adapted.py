"""Few shots: what they correct, what they leave, and what they would be spent on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load, save

from silicast.datasets import catalog
from silicast.datasets.columns import OpColumns
from silicast.datasets.errors import TableError
from silicast.datasets.families import sample
from silicast.datasets.ops import Op
from silicast.datasets.table import FeatureQuestions, GraphQuestions, OpQuestions, Table
from silicast.surrogates import adapted, adapted_process, adapted_shares, store
from silicast.surrogates.adapted import Adapted
from silicast.surrogates.kernel import Kernel

MACHINES = {"one": (1.0, 0.2), "two": (2.0, 1.0), "three": (0.7, 3.0), "four": (1.5, 0.5), "new": (1.2, 2.0)}


def table(machines: tuple[str, ...], n: int = 60, seed: int = 0) -> Table:
    """Work that computes and moves, on machines fast at one or the other."""
    rng = np.random.default_rng(seed)
    frame = pd.concat([pd.DataFrame({"compute": rng.integers(1, 100, n).astype(float), "move": rng.integers(1, 100, n).astype(float), "machine": name}) for name in machines], ignore_index=True)
    a, b = (frame["machine"].map({k: v[i] for k, v in MACHINES.items()}).to_numpy() for i in (0, 1))
    return Table(FeatureQuestions(frame), {"latency_s": 1e-3 * (a * frame["compute"].to_numpy() + b * frame["move"].to_numpy())}, np.arange(len(frame)).astype(str).astype(object),
                 pd.DataFrame(index=range(len(frame))), "made")


def learned() -> Kernel:
    return Kernel(tuned_on=250).fit(table(("one", "two", "three", "four")))


def error(model: object, asked: Table) -> float:
    return float(np.median(np.abs(model.predict(asked.questions).point[:, 0] / asked.targets["latency_s"] - 1.0)))  # type: ignore[attr-defined]


def test_ten_shots_of_a_new_machine_are_a_mix_of_the_known_ones() -> None:
    model, asked = learned(), table(("new",), 200, 3)
    others = [("machine", m) for m in ("one", "two", "three", "four")]
    adapted = Adapted(model, scope={"machine": ["new"]}, others=others).adapt(table(("new",), 10, 7))
    assert error(adapted, asked) < 0.06 < error(model, asked)
    prediction = adapted.predict(asked.questions)
    assert prediction.level == 0.9
    assert np.isfinite(prediction.low).all()
    assert np.mean((prediction.low[:, 0] <= asked.targets["latency_s"]) & (asked.targets["latency_s"] <= prediction.high[:, 0])) >= 0.8


def test_machines_the_shots_say_nothing_about_are_answered_as_before() -> None:
    model = learned()
    adapted = Adapted(model, scope={"machine": ["new"]}, others=[("machine", "one"), ("machine", "two")]).adapt(table(("new",), 10))
    old = table(("two",), 20, 5)
    assert np.array_equal(adapted.predict(old.questions).point, model.predict(old.questions).point)


def test_too_few_shots_promise_no_interval() -> None:
    adapted = Adapted(learned(), scope={"machine": ["new"]}).adapt(table(("new",), 5))
    prediction = adapted.predict(table(("new",), 8, 2).questions)
    assert np.isnan(prediction.low).all()
    assert not prediction.calibrated.any()


def test_shots_that_agree_change_little() -> None:
    model, asked = learned(), table(("one",), 100, 4)
    assert error(Adapted(model).adapt(table(("one",), 20, 9)), asked) <= error(model, asked) + 0.01


def test_the_most_telling_rows_are_spread_and_their_count_is_kept() -> None:
    candidates = table(("new",), 80, 2).questions
    rows = Adapted(learned(), scope={"machine": ["new"]}, others=[("machine", m) for m in ("one", "two", "three")]).most_telling(candidates, 6)
    assert len(set(rows.tolist())) == 6
    picked = candidates.frame.iloc[rows]
    ratio = np.log(picked["compute"] / picked["move"])
    assert ratio.max() > 1.0
    assert ratio.min() < -1.0


@pytest.mark.parametrize("count", [10, 20])
def test_what_was_right_before_is_no_worse_on_average(count: int) -> None:
    # a known machine measured with noise of a tenth: there is nothing to learn
    model, asked, rng = learned(), table(("one",), 100, 4), np.random.default_rng(0)
    others = [("machine", m) for m in ("two", "three", "four")]
    errors = []
    for draw in range(6):
        shots = table(("one",), count, 30 + draw)
        noisy = {"latency_s": shots.targets["latency_s"] * np.exp(0.1 * rng.normal(size=count))}
        errors.append(error(Adapted(model, others=others).adapt(Table(shots.questions, noisy, shots.groups, shots.slices, "made")), asked))
    assert np.mean(errors) < error(model, asked) + 0.035  # the mean of ten such shots is off by 0.03 itself


def test_intervals_cover_what_was_not_measured() -> None:
    model, asked, rng = learned(), table(("new",), 200, 3), np.random.default_rng(0)
    others, held = [("machine", m) for m in ("one", "two", "three", "four")], []
    truth = asked.targets["latency_s"] * np.exp(0.1 * rng.normal(size=200))
    for draw in range(6):
        shots = table(("new",), 20, 50 + draw)
        noisy = {"latency_s": shots.targets["latency_s"] * np.exp(0.1 * rng.normal(size=20))}
        found = Adapted(model, others=others).adapt(Table(shots.questions, noisy, shots.groups, shots.slices, "made")).predict(asked.questions)
        held.append(np.mean((found.low[:, 0] <= truth) & (truth <= found.high[:, 0])))
    assert 0.85 <= np.mean(held) <= 0.99


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("way", ["none", "level", "full"])
def test_a_folder_of_one_way_is_still_read(way: str, mixed: bool) -> None:
    # as they were written before ways were mixed: one way, a share of the whole correction, no shorter blocks
    known = [("machine", m) for m in ("one", "two")]
    model, asked = learned(), table(("new",), 30, 3).questions
    adapted = Adapted(model, scope={"machine": ["new"]}, others=known if mixed else []).adapt(table(("new",), 12, 7))
    spec, files = adapted.weights()
    arrays = load(files["adapted.safetensors"])
    columns = len(arrays["latency_s.process.theta"][0])
    rough = columns - 3  # before the slope and the noise
    arrays["latency_s.process.theta"] = np.delete(arrays["latency_s.process.theta"], rough, axis=1)
    arrays["latency_s.share"] = np.array([0.75])
    for name in ("shares", "start", "reach"):
        del arrays[f"latency_s.{name}"]
    again = Adapted.from_weights({**spec, "way": {"latency_s": way}}, {**files, "adapted.safetensors": save(arrays)}, Path("old"), store.member)
    own = model.predict(asked).point[:, 0]
    base = np.exp(np.mean([np.log(model.predict(FeatureQuestions(asked.frame.assign(machine=m))).point[:, 0]) for _, m in known], axis=0)) if mixed else own
    found = again.predict(asked).point[:, 0]
    if way == "none":
        np.testing.assert_allclose(found, base)
    elif way == "level":
        np.testing.assert_allclose(found, base * np.exp(arrays["latency_s.level"][0]))
    else:
        assert np.isfinite(found).all()
        assert not np.allclose(found, base)


def test_shots_without_an_answer_are_refused() -> None:
    rows = table(("new",), 5)
    with pytest.raises(TableError, match="no row has a positive answer"):
        Adapted(learned()).adapt(Table(rows.questions, {"power_w": np.ones(5)}, rows.groups, rows.slices, "made"))


def test_who_answers_says_what_is_known_beforehand() -> None:
    """Plain tables believe the whole correction sooner than operators do, and networks may be off by far more than rows are."""
    plain = FeatureQuestions(pd.DataFrame({"a": [1.0]}))
    ops = OpQuestions(OpColumns.from_ops([Op.of("o", "gemm", m=8, n=8, k=8)]), ("t4",), (catalog.hardware("t4"),), np.zeros(1, dtype=np.int64))
    graphs = GraphQuestions.cross(sample("cnn_plain", np.random.default_rng(0)), [catalog.hardware("t4")])
    assert (adapted._prior(plain), adapted._prior(ops)) == (adapted_process.ROWS, adapted_process.ROWS)
    assert (adapted._before(plain), adapted._before(ops)) == (adapted_shares.BEFORE_IN_PLAIN_TABLES, adapted_shares.BEFORE)
    assert (adapted._prior(graphs), adapted._before(graphs)) == (adapted_process.NETWORKS, adapted_shares.BEFORE)
