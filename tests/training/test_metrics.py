"""Goldens are computed by hand; the arithmetic stands beside each."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import TableError
from silicast.datasets.table import FeatureQuestions, Table
from silicast.surrogates.prediction import UNCHECKED, Prediction
from silicast.training import metrics

NAN = math.nan


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)


def test_ape_and_its_summaries() -> None:
    truth, answer = array(10, 10, 10, 10, 10), array(10, 10.4, 11, 8, 15)
    # APE 0, .04, .1, .2, .5: median .1, mean .84/5, p90 at position 3.6: .2 + .6 * .3 = .38, rmspe sqrt((.0016+.01+.04+.25)/5)
    got = metrics.measure(truth, answer, answer * 0.9, answer * 1.1, np.arange(5))
    assert got["median_ape"] == pytest.approx(0.1)
    assert got["mape"] == pytest.approx(0.168)
    assert got["p90_ape"] == pytest.approx(0.38)
    assert got["within_5"] == pytest.approx(0.4)
    assert got["within_10"] == pytest.approx(0.6)
    assert got["rmspe"] == pytest.approx(math.sqrt(0.3016 / 5))
    # intervals 9..11, 9.36..11.44, 9.9..12.1, 7.2..8.8, 13.5..16.5: the first three hold 10
    assert got["coverage"] == pytest.approx(0.6)
    assert got["log_width"] == pytest.approx(math.log(1.1 / 0.9))


def test_rows_left_out_are_counted() -> None:
    truth, answer = array(1, NAN, 2, 0, 4), array(1, 1, NAN, 3, 4)
    got = metrics.measure(truth, answer, answer, answer, np.arange(5))
    # truth and answer: rows 0, 3, 4; row 1 has no truth, row 2 no answer, row 3 a truth of zero (no percentage error)
    assert (got["rows"], got["no_truth"], got["no_answer"], got["zero_truth"]) == (3, 1, 1, 1)
    assert got["mape"] == 0.0


def test_r2_of_logs() -> None:
    # logs of truth 0, 1, 2 (mean 1, spread 2); answers off by .5 in one: 1 - .25/2
    assert metrics.r2_log(np.exp(array(0, 1, 2)), np.exp(array(0, 1.5, 2))) == pytest.approx(0.875)
    assert math.isnan(metrics.r2_log(array(3, 3), array(1, 2)))
    assert math.isnan(metrics.r2_log(array(3), array(1)))


def test_rank_measures() -> None:
    # 1 2 3 4 ranked as 1 2 4 3: d^2 = 2, rho = 1 - 6*2/(4*15) = .8; five pairs right, one wrong: tau = 4/6
    assert metrics.spearman(array(1, 2, 3, 4), array(10, 20, 40, 30)) == pytest.approx(0.8)
    assert metrics.kendall(array(1, 2, 3, 4), array(10, 20, 40, 30)) == pytest.approx(4 / 6)
    assert math.isnan(metrics.spearman(array(1, 2), array(5, 5)))
    assert math.isnan(metrics.kendall(array(1), array(5)))


def test_top_k_regret() -> None:
    truth, answer = array(2, 3, 4, 10, 5, 7), array(3, 1, 2, 1, 2, 9)
    groups = np.array(["a", "a", "a", "b", "b", "c"])
    # a: looks best 3, is best 2: .5; b: looks best 10, is best 5: 1; c has one candidate
    assert metrics.top_k_regret(truth, answer, groups, 1) == pytest.approx(0.75)
    # two picks: a takes 3 and 4: .5; b has no more than two candidates
    assert metrics.top_k_regret(truth, answer, groups, 2) == pytest.approx(0.5)
    # more is better: a takes truth 2 of best 4: .5; b takes 5 of best 10: .5
    assert metrics.top_k_regret(truth, answer, groups, 1, more_is_better=True) == pytest.approx(0.5)
    assert math.isnan(metrics.top_k_regret(truth, answer, np.arange(6), 1))
    assert math.isnan(metrics.top_k_regret(array(NAN), array(1), np.arange(1)))


def test_coverage_needs_intervals() -> None:
    assert math.isnan(metrics.coverage(array(1, 2), array(NAN, NAN), array(NAN, NAN)))
    assert metrics.coverage(array(1, 2, 3), array(1, 2.5, NAN), array(1, 3, NAN)) == pytest.approx(0.5)
    assert math.isnan(metrics.log_width(array(0), array(1)))


def three_rows() -> tuple[Table, Prediction]:
    slices = pd.DataFrame({"family": ["a", "a", "b"], "device": ["x", "y", "x"], "kind": ["gpu", "cpu", "gpu"]})
    table = Table(FeatureQuestions(pd.DataFrame({"f": [1, 2, 3]})), {"latency_s": array(1, 2, NAN), "power_w": array(1, 1, 1)}, np.array([0, 0, 1]), slices, "made up")
    point = np.stack([array(1.1, 2.0, 3.0), array(1, 1, 2)], axis=1)
    return table, Prediction(("latency_s", "power_w"), point, point / 2, point * 2, 0.9, (UNCHECKED,) * 3)


def test_by_slice_has_all_and_every_value_of_every_slice() -> None:
    table, prediction = three_rows()
    frame = metrics.by_slice(table, prediction, 0.9)
    keys = set(zip(frame["slice"], frame["value"], frame["target"], strict=True))
    slices = [("all", ""), ("family", "a"), ("family", "b"), ("kind", "cpu"), ("kind", "gpu"), ("device", "x"), ("device", "y")]
    assert keys == {(s, v, t) for s, v in slices for t in ("latency_s", "power_w")}
    at = frame.set_index(["slice", "value", "target"])
    assert at.loc[("all", "", "latency_s"), "mape"] == pytest.approx(0.05)
    assert at.loc[("family", "b", "power_w"), "mape"] == pytest.approx(1.0)
    assert at.loc[("device", "x", "latency_s"), "rows"] == 1
    assert at.loc[("device", "x", "latency_s"), "no_truth"] == 1
    assert math.isnan(at.loc[("family", "b", "latency_s"), "mape"])
    nested = metrics.nested(frame)
    assert "mape" not in nested["family=b"]["latency_s"]
    assert nested["all"]["power_w"]["rows"] == 3
    assert metrics.overall(frame) == nested["all"]


def test_by_slice_refuses_what_does_not_fit() -> None:
    table, prediction = three_rows()
    with pytest.raises(TableError, match=r"level 0\.8, got 0\.9"):
        metrics.by_slice(table, prediction, 0.8)
    with pytest.raises(TableError, match="3 answers for 2 rows"):
        metrics.by_slice(table.take(np.arange(2)), prediction)
    with pytest.raises(TableError, match="answers lut; the table has latency_s, power_w"):
        metrics.by_slice(table, Prediction.bare(["lut"], np.ones((3, 1))))


def test_guard_measures() -> None:
    verdicts = np.array(["in_domain", "extrapolating", "unsupported", "in_domain", "in_domain"], dtype=object)
    got = metrics.guard_measures(verdicts, array(0.01, 0.5, 0.02, 0.6, NAN), 0.1)
    # of the four known rows two are flagged, two wrong (.5, .6), one of the wrong ones flagged
    assert (got["rows"], got["flagged"], got["wrong"], got["hit_rate"]) == (4, 0.5, 0.5, 0.5)
    assert got["median_ape_flagged"] == pytest.approx(0.26)
    assert got["median_ape_passed"] == pytest.approx(0.305)
    assert math.isnan(metrics.guard_measures(verdicts[:1], array(0.01), 0.1)["hit_rate"])
