"""What an ensemble missed of readings nearby: kriging by hand, a habit that it does not bend to, and that folders keep it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from silicast.datasets import catalog
from silicast.datasets.columns import OpColumns
from silicast.datasets.errors import FormatError
from silicast.datasets.ops import Op
from silicast.datasets.table import OpQuestions, Table
from silicast.features.tabular import learn_vocabulary, tabular_features
from silicast.surrogates import store
from silicast.surrogates.boosted import Boosted
from silicast.surrogates.ensemble import Ensemble
from silicast.surrogates.missed import Missed, _simple
from silicast.surrogates.neighbours import Neighbours


def table(rows: int, seed: int) -> Table:
    """Products whose times lie off the reference by a smooth wave of n and k, in groups of one (n, k)."""
    rng = np.random.default_rng(seed)
    sizes = 2.0 ** rng.uniform(6, 12, (rows // 8, 2))
    n, k = (np.repeat(np.round(sizes[:, j] / 8) * 8, 8) for j in (0, 1))
    m = 2.0 ** rng.integers(4, 12, len(n))
    ops = OpColumns.from_ops([Op.of("o", "gemm", m=int(a), n=int(b), k=int(c)) for a, b, c in zip(m, n, k, strict=True)])
    questions = OpQuestions(ops, ("a100_sxm",), (catalog.hardware("a100_sxm"),), np.zeros(len(n), dtype=np.int64), pd.DataFrame(index=range(len(n))), pd.DataFrame(index=range(len(n))))
    truth = tabular_features(questions, learn_vocabulary(questions)).reference["latency_s"] * np.exp(0.6 * np.sin(np.log2(n)) + 0.4 * np.cos(np.log2(k)))
    groups = np.array([f"{a:g} {b:g}" for a, b in zip(n, k, strict=True)], dtype=object)
    return Table(questions, {"latency_s": truth}, groups, pd.DataFrame({"kind": ["gemm"] * len(n)}), "made up")


def test_kriging_of_one_reading_by_hand() -> None:
    """One reading at distance 1, off by 0.4: exp(-1) / (1 + noise) of it; far away nothing."""
    found = _simple(np.array([[1.0], [50.0]], dtype=np.float32), np.zeros((2, 1, 1), dtype=np.float32), np.full((2, 1, 1), 0.4, dtype=np.float32), 0.05)
    assert found[:, 0] == pytest.approx([0.4 * np.exp(-1.0) / 1.05, 0.0], abs=1e-6)


def test_errors_on_readings_are_carried_to_rows_held_out(tmp_path: Path) -> None:
    """Answers that are the reference itself miss by the wave of the table, whose rows nearby tell of it."""
    learned, held = table(4_000, 0), table(1_600, 1)
    vocabulary = learn_vocabulary(learned.questions)
    features, asked = (tabular_features(t.questions, vocabulary) for t in (learned, held))
    near = Neighbours.of(features, learned.questions, learned.targets, np.unique(learned.groups.astype(str), return_inverse=True)[1], 0)
    rows = np.arange(len(learned))
    off = {"latency_s": np.log(learned.targets["latency_s"] / features.reference["latency_s"])}
    points = {"latency_s": asked.reference["latency_s"]}
    made = Missed.learn(near, rows, off, held, points, asked)
    assert made is not None
    other = table(800, 2)
    told = tabular_features(other.questions, vocabulary)
    before = np.abs(np.log(other.targets["latency_s"] / told.reference["latency_s"]))
    after = np.abs(np.log(other.targets["latency_s"] / told.reference["latency_s"]) - made.added(other.questions, told, "latency_s"))
    assert np.median(after) < 0.6 * np.median(before)
    spec, files = made.weights()
    again = Missed.from_weights(spec, files, tmp_path)
    other.questions.__dict__.pop("_missed")
    assert again.added(other.questions, told, "latency_s") == pytest.approx(made.added(other.questions, told, "latency_s"), abs=1e-6)
    assert not made.added(other.questions, told, "power_w").any()
    with pytest.raises(FormatError, match="errors on readings: expected shares of latency_s"):
        Missed.from_weights({**spec, "gains": {"energy_j": {"": 1.0}}}, files, tmp_path)


def test_nothing_is_added_where_neighbours_tell_nothing() -> None:
    learned, held = table(1_600, 0), table(1_600, 1)
    vocabulary = learn_vocabulary(learned.questions)
    features, asked = (tabular_features(t.questions, vocabulary) for t in (learned, held))
    near = Neighbours.of(features, learned.questions, learned.targets, np.unique(learned.groups.astype(str), return_inverse=True)[1], 0)
    rng = np.random.default_rng(5)
    for off in (0.0, 0.1):  # answers that are right, and answers that are off by chance
        noise = {"latency_s": 0.1 * rng.normal(size=len(learned))}
        points = {"latency_s": held.targets["latency_s"] * np.exp(off * rng.normal(size=len(held)))}
        assert Missed.learn(near, np.arange(len(learned)), noise, held, points, asked) is None


def test_an_ensemble_keeps_what_it_missed(tmp_path: Path) -> None:
    learned, held = table(3_200, 0), table(1_600, 1)
    members = [Boosted(targets=["latency_s"], trees=5, leaves=4, columns=columns, seed=0) for columns in ("near", "plain")]
    made = Ensemble(members).fit(learned, held)
    made._weights = {"latency_s": [0.0, 1.0]}  # five trees of four leaves, which see no neighbours, bend to little
    made._missed = None
    bare = made.predict(held.questions).point[:, 0]
    sees = made._sees_readings()
    off, rows = made._off(learned, 3_200)
    made._missed = Missed.learn(sees.near, rows, off, held, {"latency_s": bare}, sees.seen(held.questions))
    asked = table(400, 2)
    with_it = made.predict(asked.questions).point[:, 0]
    spec, files = made.weights()
    again = Ensemble.from_weights(spec, files, tmp_path, store.member)
    assert again.predict(table(400, 2).questions).point[:, 0] == pytest.approx(with_it, rel=1e-5)
    made._missed = None
    without = made.predict(table(400, 2).questions).point[:, 0]
    truth = asked.targets["latency_s"]
    assert np.median(np.abs(with_it / truth - 1.0)) < 0.7 * np.median(np.abs(without / truth - 1.0))
