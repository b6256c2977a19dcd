"""Covariates of few shots: words nobody knew are told apart."""

from __future__ import annotations

import numpy as np
import pandas as pd

from silicast.datasets.measured import read_measured
from silicast.datasets.table import Table
from silicast.features.tabular import learn_vocabulary, tabular_features
from silicast.surrogates import adapted_blocks
from silicast.surrogates.adapted_blocks import Blocks

SCHEMA = {"op": "gemm", "columns": {"m": "m", "n": "n", "k": "k"}, "fixed": {"dtype": "float16"}, "hardware": "gpu", "context": ["kernel"],
          "targets": {"latency_s": {"column": "ms", "unit": "ms"}}}


def products() -> Table:
    rng = np.random.default_rng(0)
    sizes = {c: 2 ** rng.integers(4, 12, 20) for c in "mnk"}
    return read_measured(pd.DataFrame(sizes).assign(gpu="l40s", kernel=["old", "new"] * 10, ms=1.0), SCHEMA)


def told(known: dict[str, list[str]] | None) -> tuple[Blocks, dict[str, np.ndarray]]:
    shots, stats = products(), {}
    words = learn_vocabulary(shots.questions)
    made = adapted_blocks.blocks(shots.questions, tabular_features(shots.questions, words), words, np.zeros((1, len(shots), 1)), stats, True, known)
    return made, stats


def test_a_kernel_that_was_not_fitted_with_has_a_factor_of_its_own() -> None:
    made, stats = told({"kernel": ["old"]})
    new = np.array([0.0, 1.0] * 10)
    grams = made.grams(made, 0)
    assert np.array_equal(grams["strange"], np.outer(new, new))
    assert np.array_equal(grams["strangely"], np.outer(new, new) * grams["smooth"])
    assert stats["kinds.new"].sum() == 1
    kept = Blocks.of(made.arrays())
    assert list(kept.grams(kept, 0)) == list(grams)  # variances are kept by the order of blocks


def test_nothing_is_strange_where_all_words_are_known_or_none_are_told() -> None:
    for known in ({"kernel": ["old", "new"]}, {}, None):
        made, _ = told(known)
        assert not {"strange", "strangely"} & set(made.grams(made, 0))


def test_what_holds_an_operator_back_and_its_sizes_are_places_of_their_own() -> None:
    made, _ = told(None)
    grams = made.grams(made, 0)
    same = np.equal.outer(np.arange(20) % 2, np.arange(20) % 2)
    for name in ("regime", "close"):
        assert np.allclose(np.diag(grams[name]), 1.0)
        assert np.allclose(grams[f"own {name}"], grams[name] * same)
        assert np.linalg.eigvalsh(grams[f"own {name}"]).min() > -1e-8  # a covariance
    kept = Blocks.of(made.arrays())
    assert list(kept.grams(kept, 0)) == list(grams)


def test_shots_kept_before_there_were_such_places_do_without() -> None:
    shots = products()
    words = learn_vocabulary(shots.questions)
    made, stats = told(None)
    then = Blocks(made.linear, made.smooth)
    earlier = {k: v for k, v in stats.items() if not k.startswith("close.")}
    asked = adapted_blocks.blocks(shots.questions, tabular_features(shots.questions, words), words, np.zeros((1, len(shots), 1)), earlier, False)
    assert list(asked.grams(then, 0)) == list(then.grams(then, 0)) == list(asked.grams(asked, 0))
    assert not {"regime", "close"} & set(asked.grams(then, 0))


def test_repeated_measurements_of_one_operator_have_no_places_and_can_be_taken_apart() -> None:
    made = Blocks({}, np.zeros((3, 0)), np.zeros((3, 3)), np.zeros((3, 0)))
    some = made.take(np.array([True, False, True]))
    grams = some.grams(some, 0)
    assert len(some) == 2
    assert "close" not in grams  # it would be a second level
    assert all(gram.shape == (2, 2) for gram in grams.values())
