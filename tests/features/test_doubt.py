"""Doubt and density: what is far is far, what was wrong nearby is doubted, and the scale is set by held-out rows alone."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import FormatError
from silicast.datasets.table import FeatureQuestions
from silicast.features import density, doubt
from silicast.features.doubt import Answered

NAMES = ["a", "b", "c"]


def cloud(n: int, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, (n, 3)).astype(np.float32)


def described(n: int = 400) -> dict[str, object]:
    rows = cloud(n)
    known: dict[str, object] = json.loads(json.dumps(density.describe(NAMES, rows, np.arange(n), [f"row {i}" for i in range(n)]), allow_nan=False))
    return known


def answers(n: int, seed: int, wild: np.ndarray | None = None) -> tuple[np.ndarray, Answered]:
    """Truth, and answers whose errors are 5 %, or 50 % where `wild`; members lie apart where it is wild."""
    rng = np.random.default_rng(seed)
    wild = np.zeros(n, dtype=bool) if wild is None else wild
    scale = np.where(wild, 0.5, 0.05)
    truth = np.full(n, 1e-3)
    point = truth * np.exp(scale * rng.normal(size=n))
    return truth, Answered("latency_s", point, np.full(n, 0.1), np.full(n, 1e-3), scale * np.exp(0.3 * rng.normal(size=n)))


def test_distances_are_those_of_the_nearest_rows() -> None:
    known, rows = described(), cloud(400)
    nearest, mean, at = density.distances(known, rows[:20])
    assert (nearest < 0.05).all()  # themselves, but for half precision
    assert list(at) == list(range(20))
    brute = np.sqrt((((rows[:20, None] - rows[None]) / rows.std(0)) ** 2).sum(2))
    np.testing.assert_allclose(mean, np.sort(brute, axis=1)[:, :density.NEIGHBOURS].mean(1), atol=0.03)
    far, *_ = density.distances(known, cloud(5, 1, 4.0))
    assert (far > float(known["usual"])).all()  # type: ignore[arg-type]
    assert density.worst(known, np.array([9.0, 0.0, 0.0]), 0) == "a"


def test_few_rows_or_one_group_have_no_usual_distance() -> None:
    assert density.describe(NAMES, cloud(1), np.zeros(1), ["only"])["usual"] is None
    assert density.describe(NAMES, cloud(50), np.zeros(50), ["x"] * 50)["usual"] is None


def test_missing_figures_and_constant_columns_do_no_harm() -> None:
    rows = cloud(60)
    rows[::3, 1], rows[:, 2] = np.nan, 7.0
    known = density.describe(NAMES, rows, np.arange(60), ["x"] * 60)
    assert np.isfinite(density.distances(known, rows)[0]).all()


def test_damaged_rows_are_a_format_error() -> None:
    with pytest.raises(FormatError, match="damaged"):
        density.distances({**described(), "rows": "###"}, cloud(2))


def test_one_held_out_row_in_twenty_lies_beyond_one() -> None:
    known = {"density": described()}
    values = cloud(300, 3)
    truth, answered = answers(300, 3)
    found = doubt.witness(known, values, np.arange(300), truth, answered)
    beyond = float(np.mean(doubt.novelty({**known, "doubt": found}, values, answered, np.zeros(300)) > 1.0))
    assert beyond == pytest.approx(0.05, abs=0.03)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_novelty_tells_wrong_answers_from_right_ones() -> None:
    """Half of the space is wild; neither the distance nor the estimate says so, but the members and errors nearby do."""
    known = {"density": described()}
    values, fresh = cloud(400, 4), cloud(400, 5)
    truth, answered = answers(400, 4, values[:, 0] > 0.8)
    known["doubt"] = doubt.witness(known, values, np.arange(400), truth, answered)
    truth, asked = answers(400, 5, fresh[:, 0] > 0.8)
    novelty = doubt.novelty(known, fresh, asked, np.zeros(400))
    wrong = np.abs(np.log(asked.point / truth)) > 2 * asked.half
    ranks = np.argsort(np.argsort(novelty))
    auroc = (ranks[wrong].mean() - (wrong.sum() - 1) / 2) / (~wrong).sum()
    assert auroc > 0.85


def test_a_value_never_trained_on_raises_it_and_a_wide_interval_lowers_it() -> None:
    known = {"density": described()}
    values = cloud(100, 6)
    truth, answered = answers(100, 6)
    known["doubt"] = doubt.witness(known, values, np.arange(100), truth, answered)
    plain = doubt.novelty(known, values, answered, np.zeros(100))
    assert (doubt.novelty(known, values, answered, np.ones(100)) > plain).all()
    wide = Answered("latency_s", answered.point, 4.0 * answered.half, answered.reference, answered.spread)
    assert (doubt.novelty(known, values, wide, np.zeros(100)) < plain).all()


def test_without_witnesses_there_is_no_novelty() -> None:
    known = {"density": described()}
    values = cloud(10, 7)
    truth, answered = answers(10, 7)
    assert doubt.witness(known, values, np.arange(10), truth, answered) == {}
    assert np.isnan(doubt.novelty(known, values, answered, np.zeros(10))).all()
    lone = Answered("power_w", answered.point, answered.half)
    assert np.isnan(doubt.novelty({**known, "doubt": {"target": "latency_s"}}, values, lone, np.zeros(10))).all()


def test_rows_held_out_by_folds_are_not_their_own_neighbours() -> None:
    """Inputs measured five times each: to the card's rows, themselves among them, every held-out row is no distance at all, and what lies between two of them would be infinitely novel."""
    a = np.repeat(np.arange(0.0, 150.0, 3.0), 5)
    rows = np.column_stack([a, a % 2, np.zeros(len(a))]).astype(np.float32)
    groups = a.astype(str)
    known: dict[str, object] = {"density": json.loads(json.dumps(density.describe(NAMES, rows, groups, [""] * len(a))))}
    truth, answered = answers(len(a), 1)
    between = np.array([[100.0, 1.0, 0.0], [99.0, 1.0, 0.0], [1000.0, 1.0, 0.0]], dtype=np.float32)
    told = Answered("latency_s", np.full(3, 1e-3), np.full(3, 0.1))
    bare = Answered("latency_s", answered.point, answered.half)
    held = doubt.novelty({**known, "doubt": doubt.witness(known, rows, groups, truth, bare, groups)}, between, told, np.zeros(3))
    assert (held[:2] < 1.0).all()
    assert held[2] > 3 * held[0]
    alone = doubt.witness(known, rows[:60], groups[:60], truth[:60], bare.take(np.arange(60)), np.full(len(a), groups[0]))  # no row of another group: the distance tells nothing
    assert np.isfinite(doubt.novelty({**known, "doubt": alone}, between, told, np.zeros(3))).all()


def test_words_have_places_and_a_card_without_them_goes_by_numbers() -> None:
    frame = pd.DataFrame({"size": np.tile([1.0, 2.0, 4.0, 8.0], 30), "kind": np.repeat(["a", "b", "c"], 40), "lost": [None, "x"] * 60})
    names, values = density.columns(FeatureQuestions(frame)) or ([], np.zeros((0, 0)))
    assert len(names) == 1 + 2 * 3
    assert np.unique(values[:, 1:4], axis=0).shape[0] == 3
    np.testing.assert_array_equal(values[40], (density.columns(FeatureQuestions(frame[40:41])) or ([], values))[1][0])  # a word stands where it stood, whatever is beside it
    known = density.describe(names, values, np.arange(120), [""] * 120)
    asked = FeatureQuestions(pd.DataFrame({"size": [2.0, 2.0], "kind": ["b", "never seen"], "lost": ["x", "x"]}))
    found = density.known_columns(asked, known)
    assert found is not None
    near, _, at = density.distances(known, found)
    assert near[0] < 0.01 < 1.0 < near[1]
    assert density.worst(known, found[1], int(at[1])) == "kind"
    old = density.describe(["size"], values[:, :1], np.arange(120), [""] * 120)
    assert (density.known_columns(asked, old) == values[[1, 1], :1]).all()  # type: ignore[union-attr]
    assert density.known_columns(FeatureQuestions(pd.DataFrame({"other": [1.0]})), old) is None


def test_words_stand_as_normal_numbers_do_wherever_they_come_from() -> None:
    """Box and Muller's numbers are normal and independent: means, variances and covariances of 20,000 words within five standard errors."""
    places = density._places([f"word {i}" for i in range(20_000)])
    assert np.abs(places.mean(0)).max() < 5 / np.sqrt(20_000)
    assert np.abs(np.cov(places.T) - np.eye(3)).max() < 5 * np.sqrt(2 / 20_000)
    assert np.abs((places**4).mean(0) - 3.0).max() < 5 * np.sqrt(96 / 20_000)
    assert np.isfinite(density._places(["", "\ud800"])).all()  # half a character, as JSON may hold
    assert density._places([]).shape == (0, 3)


def test_only_words_that_a_card_knows_are_placed(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"size": np.tile([1.0, 2.0, 4.0, 8.0], 30), "kind": np.repeat(["a", "b", "c"], 40)})
    names, values = density.columns(FeatureQuestions(frame)) or ([], np.zeros((0, 0)))
    both, old = density.describe(names, values, np.arange(120), [""] * 120), density.describe(["size"], values[:, :1], np.arange(120), [""] * 120)
    asked = FeatureQuestions(frame.assign(note=[f"note {i}" for i in range(120)])[["note", "kind", "size"]])
    placed: list[str] = []
    place = density._places
    monkeypatch.setattr(density, "_places", lambda words: (placed.extend(words), place(words))[1])
    np.testing.assert_array_equal(density.known_columns(asked, both), values)  # in another order, beside words nobody knew
    assert placed == ["a", "b", "c"]
    np.testing.assert_array_equal(density.known_columns(asked, old), values[:, :1])
    assert placed == ["a", "b", "c"]
