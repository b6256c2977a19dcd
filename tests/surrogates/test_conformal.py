"""Intervals cover as often as they say, for each stratum, and refuse what cannot be promised."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from silicast.datasets import catalog
from silicast.datasets.columns import OpColumns
from silicast.datasets.errors import TableError
from silicast.datasets.ops import Op
from silicast.datasets.table import FeatureQuestions, OpQuestions, Table
from silicast.surrogates.conformal import Conformal
from silicast.surrogates.prediction import Prediction


class Fixed:
    """Answers the column `x` of what it is asked, whatever the truth."""

    name, targets, shape = "analytic", ("latency_s",), "features"

    def fit(self, table: Table, valid: Table | None = None) -> Any:
        return self

    def predict(self, questions: Any) -> Prediction:
        frame = questions.frame if isinstance(questions, FeatureQuestions) else questions.extra
        return Prediction.bare(self.targets, frame[["x"]].to_numpy(dtype=np.float64))

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        return {}, {}


class FixedAsSaved(Fixed):
    @classmethod
    def from_weights(cls, spec: Any, files: Any, folder: Any, member: Any) -> Any:
        return cls()


class FixedOps(Fixed):
    shape = "op"


def plain(n: int, seed: int, noise: float = 0.3) -> Table:
    """Truth is the answer times a log-normal factor: exchangeable rows."""
    rng = np.random.default_rng(seed)
    x = np.exp(rng.normal(size=n))
    return Table(FeatureQuestions(pd.DataFrame({"x": x})), {"latency_s": x * np.exp(noise * rng.normal(size=n))}, np.arange(n).astype(object),
                 pd.DataFrame(index=range(n)), "made up")


def stratified(n: int, seed: int) -> Table:
    """Two machines, one with ten times the noise of the other, and a third with few rows."""
    rng = np.random.default_rng(seed)
    device = np.where(np.arange(n) < 20, 2, np.arange(n) % 2)
    x = np.exp(rng.normal(size=n))
    ops = OpColumns.from_ops([Op.of("o", "gemm", m=1, n=1, k=1)]).take(np.zeros(n, dtype=np.int64))
    q = OpQuestions(ops, ("calm", "wild", "rare"), (catalog.hardware("t4"), None, None), device, pd.DataFrame(index=range(n)), pd.DataFrame({"x": x}))
    noise = np.array([0.05, 0.5, 0.5])[device]
    return Table(q, {"latency_s": x * np.exp(noise * rng.normal(size=n))}, np.arange(n).astype(object), pd.DataFrame(index=range(n)), "made up")


def covered(model: Conformal, table: Table) -> np.ndarray:
    answer, truth = model.predict(table.questions), table.targets["latency_s"]
    return (answer.low[:, 0] <= truth) & (truth <= answer.high[:, 0])


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_coverage(level: float) -> None:
    # 2,000 rows to calibrate and 2,000 to judge: three standard deviations of the share are at most 4.8 points (at 0.5), 2.9 at 0.9
    share = covered(Conformal(Fixed(), level).conformalize(plain(2000, 0)), plain(2000, 1)).mean()
    assert abs(share - level) < 3.0 * np.sqrt(level * (1 - level) * 2 / 2000)


def test_coverage_in_each_stratum() -> None:
    model, test = Conformal(Fixed(), 0.9).conformalize(stratified(2000, 0)), stratified(2000, 1)
    hit, answer = covered(model, test), model.predict(test.questions)
    width = np.log(answer.high[:, 0] / answer.low[:, 0])
    for device in (0, 1):
        mine = test.questions.device_index == device
        assert abs(hit[mine].mean() - 0.9) < 0.04
    calm, wild, rare = (width[test.questions.device_index == d][0] for d in range(3))
    assert wild > 5 * calm
    assert calm < rare < wild  # 20 rows are too few for a width of their own: they take that of all
    unseen = replace(test.questions, device_names=("new", "newer", "newest"))
    assert np.allclose(np.log(model.predict(unseen).high / model.predict(unseen).low), rare)


def test_intervals_hold_their_points() -> None:
    answer = Conformal(Fixed(), 0.9).conformalize(plain(200, 0)).predict(plain(50, 1).questions)
    assert answer.level == 0.9
    assert ((answer.low <= answer.point) & (answer.point <= answer.high) & (answer.low > 0)).all()


def test_the_width_by_hand() -> None:
    # residuals |log(truth / x)| are 0.01, 0.02 .. 0.19; at 0.8 the ceil(20 x 0.8) = 16th of them is the width
    x = np.ones(19)
    table = Table(FeatureQuestions(pd.DataFrame({"x": x})), {"latency_s": np.exp(0.01 * np.arange(1, 20))}, np.arange(19).astype(object), pd.DataFrame(index=range(19)), "")
    answer = Conformal(Fixed(), 0.8).conformalize(table).predict(table.questions)
    assert answer.high[0, 0] == pytest.approx(np.exp(0.16))
    assert answer.low[0, 0] == pytest.approx(np.exp(-0.16))


def test_counts_never_reach_below_zero() -> None:
    table = plain(100, 0)
    truth = np.where(np.arange(100) % 3 == 0, 0.0, table.targets["latency_s"])
    answer = Conformal(Fixed(), 0.9).conformalize(replace(table, targets={"latency_s": truth})).predict(table.questions)
    assert (answer.low >= 0).all()
    signed = Conformal(Fixed(), 0.9).conformalize(replace(table, targets={"latency_s": truth - 1.0})).predict(table.questions)
    assert (signed.low < 0).any()


# ceil((n + 1) level) <= n, by hand: 9 rows at 0.9 (10 are the least of all), 19 at 0.95, 99 at 0.99
@pytest.mark.parametrize(("level", "least"), [(0.5, 10), (0.9, 10), (0.95, 19), (0.99, 99)])
def test_too_few_rows(level: float, least: int) -> None:
    with pytest.raises(TableError, match=f"{least - 1} answered rows of 'latency_s' are too few to calibrate at level {level:g}; {least}"):
        Conformal(Fixed(), level).conformalize(plain(least - 1, 0))
    Conformal(Fixed(), level).conformalize(plain(least, 0))


def test_a_stratum_too_small_for_the_level_takes_the_width_of_all() -> None:
    model = Conformal(Fixed(), 0.99, least=5).conformalize(stratified(400, 0))
    test = stratified(100, 1)
    answer = model.predict(test.questions)
    width = np.log(answer.high[:, 0] / answer.low[:, 0])
    assert width[test.questions.device_index == 2][0] > width[test.questions.device_index == 0][0]


def test_a_missing_target_is_an_error() -> None:
    with pytest.raises(TableError, match="0 answered rows"):
        Conformal(Fixed(), 0.9).conformalize(replace(plain(50, 0), targets={}))


@pytest.mark.parametrize("level", [0.0, 0.49, 1.0, 1.5, float("nan")])
def test_levels(level: float) -> None:
    with pytest.raises(TableError, match="level"):
        Conformal(Fixed(), level)


def test_uncalibrated_answers_carry_no_interval() -> None:
    answer = Conformal(Fixed(), 0.9).predict(plain(5, 0).questions)
    assert answer.level == 0.0
    assert np.isnan(answer.low).all()


def test_calibrating_from_given_answers_is_conformalizing() -> None:
    table = stratified(400, 0)
    truth, point = table.targets["latency_s"], Fixed().predict(table.questions).point[:, 0]
    one = Conformal(Fixed(), 0.9).conformalize(table).predict(table.questions)
    other = Conformal(Fixed(), 0.9).calibrate_from(table.questions.strata, {"latency_s": (truth, point)})
    answer = other.around(Prediction.bare(("latency_s",), point[:, None]), table.questions.strata)
    assert np.array_equal(one.low, answer.low)
    assert np.array_equal(one.high, other.predict(table.questions).high)


def test_answers_to_calibrate_from_that_do_not_do() -> None:
    truth = np.linspace(1.0, 2.0, 12)
    gaps = np.where(np.arange(12) < 3, np.nan, truth)
    model = Conformal(Fixed(), 0.9)
    with pytest.raises(TableError, match=r"9 answered rows of 'latency_s' are too few to calibrate at level 0.9; 10"):
        model.calibrate_from(np.full(12, "all"), {"latency_s": (truth, gaps)})
    with pytest.raises(TableError, match="no answers to calibrate 'latency_s' on; got power_w, expected latency_s"):
        model.calibrate_from(np.full(12, "all"), {"power_w": (truth, truth)})
    assert model.predict(plain(5, 0).questions).level == 0.0        # a refused calibration leaves nothing behind


def test_machines_never_seen_get_the_width_of_the_rehearsal() -> None:
    """Widths by hand: errors among known machines are 1 %, in the rehearsal a factor of 2 in one answer of ten and more."""
    names = np.array(["a"] * 60 + ["b"] * 60, dtype=object)
    known = Conformal(Fixed(), level=0.9, least=10)
    known.calibrate_from(names, {"latency_s": (np.full(120, 1.01), np.ones(120))})
    known.expect_strangers(["a", "b"], {"latency_s": (np.full(50, 2.0), np.ones(50))})
    bare = Prediction.bare(("latency_s",), np.ones((2, 1)))
    answer = known.around(bare, np.array(["a", "new"], dtype=object))
    assert answer.high[:, 0] == pytest.approx([1.01, 2.0])
    spec, _ = known.weights()
    assert spec["strangers"]["latency_s"] == pytest.approx(np.log(2.0))


def test_the_next_machine_may_be_as_odd_as_the_oddest() -> None:
    """By hand: nine machines in ten rows each off by 10 %, one by a factor of 2; all together the tenth would be cut off, told apart it is not."""
    names = np.array(["a"] * 120, dtype=object)
    held = np.repeat(np.arange(11), 20)
    scored = {"latency_s": (np.where(held == 3, 2.0, 1.1), np.ones(220))}
    widths = [Conformal(Fixed(), level=0.9, least=10).calibrate_from(names, {"latency_s": (np.full(120, 1.01), np.ones(120))}).expect_strangers(["a"], scored, labels).weights()[0]["strangers"]
              for labels in (None, held)]
    assert [w["latency_s"] for w in widths] == pytest.approx([np.log(1.1), np.log(2.0)])


def test_where_no_machine_could_be_held_out_the_next_is_twice_as_uncertain() -> None:
    names = np.array(["a"] * 120, dtype=object)
    known = Conformal(Fixed(), level=0.9, least=10).calibrate_from(names, {"latency_s": (np.full(120, 1.1), np.ones(120))}).expect_strangers(["a"], {})
    answer = known.around(Prediction.bare(("latency_s",), np.ones((2, 1))), np.array(["a", "new"], dtype=object))
    assert answer.high[:, 0] == pytest.approx([1.1, 1.1**2])
    spec, _ = known.weights()
    old = {k: v for k, v in spec.items() if k != "stretch"}
    for written, high in ((spec, 1.1**2), (old, 1.1)):  # folders made before this was told keep their widths
        back = Conformal.from_weights(written, {}, None, lambda name: FixedAsSaved)  # type: ignore[arg-type]
        assert back.around(Prediction.bare(("latency_s",), np.ones((1, 1))), np.array(["new"], dtype=object)).high[0, 0] == pytest.approx(high)


@pytest.mark.parametrize(("machines", "width"), [(1, 0.25 * np.log(1.1) + 0.75 * np.log(2.2)), (2, 0.5 * np.log(1.1) + 0.5 * np.log(2.2)), (4, np.log(1.1)), (6, np.log(1.1))])
def test_few_machines_held_out_tell_less_of_the_next(machines: int, width: float) -> None:
    """The widest of K machines holds the next one K times in K + 1: below four, part of the way to the factor that holds four pairs of machines in five."""
    known = Conformal(FixedOps(), level=0.9, least=10).calibrate_from(np.full(120, "a"), {"latency_s": (np.full(120, 1.01), np.ones(120))})
    known.expect_strangers(["a"], {"latency_s": (np.full(20 * machines, 1.1), np.ones(20 * machines))}, np.repeat(np.arange(machines), 20))
    assert known.weights()[0]["strangers"]["latency_s"] == pytest.approx(width)


def test_a_machine_of_few_rows_is_as_wide_as_its_own_errors() -> None:
    """Widths by hand: 1 % on two hundred rows of a; six rows of b are off by up to 30 %, six of c by as much as those of a, three of d (too few to tell) by a factor of 2."""
    names = np.array(["a"] * 200 + ["b"] * 6 + ["c"] * 6 + ["d"] * 3)
    truth = np.array([1.01] * 200 + [1.05, 1.3, 1.2, 1.1, 1.1, 1.1] + [1.01] * 6 + [2.0] * 3)
    known = Conformal(Fixed(), level=0.9).calibrate_from(names, {"latency_s": (truth, np.ones(215))})
    answer = known.around(Prediction.bare(("latency_s",), np.ones((4, 1))), np.array(["a", "b", "c", "d"]))
    assert answer.high[:, 0] == pytest.approx([1.01, 1.3, 1.01, 1.01])


def test_few_rows_widen_their_own_machine_alone() -> None:
    """Six rows of b are off by up to a factor of 3; about machines never seen, rehearsed to a tenth, nothing changes."""
    names, truth = np.array(["a"] * 200 + ["b"] * 6), np.array([1.01] * 200 + [1.05, 3.0, 1.2, 1.1, 1.1, 1.1])
    known = Conformal(FixedOps(), level=0.9).calibrate_from(names, {"latency_s": (truth, np.ones(206))})
    known.expect_strangers(["a", "b"], {"latency_s": (np.full(80, 1.1), np.ones(80))}, np.repeat(np.arange(4), 20))
    answer = known.around(Prediction.bare(("latency_s",), np.ones((3, 1))), np.array(["a", "b", "new"]))
    assert answer.high[:, 0] == pytest.approx([1.01, 3.0, 1.1])


@pytest.mark.parametrize("target", ["power_w", "tokens/s"])
def test_a_target_that_machines_held_out_had_not_is_as_unsure_as_if_none_were(target: str) -> None:
    """Four machines tell of times; watts (or whatever a target is called) of none: the factor of 2.2."""
    class Two(FixedOps):
        targets = ("latency_s", target)

    known = Conformal(Two(), level=0.9, least=10).calibrate_from(np.full(120, "a"), {t: (np.full(120, 1.01), np.ones(120)) for t in Two.targets})
    known.expect_strangers(["a"], {"latency_s": (np.full(80, 1.1), np.ones(80)), target: (np.full(80, np.nan), np.ones(80))}, np.repeat(np.arange(4), 20))
    assert known.weights()[0]["strangers"] == pytest.approx({"latency_s": np.log(1.1), target: np.log(2.2)})


def test_a_machine_nobody_knows_is_as_wide_as_such_machines_are() -> None:
    """No rehearsal with machines of figures speaks of one without: a factor of 5.4, where a T4 had one of 1.1."""
    known = Conformal(FixedOps(), level=0.9, least=10).calibrate_from(np.full(120, "t4"), {"latency_s": (np.full(120, 1.01), np.ones(120))})
    known.expect_strangers(["t4"], {"latency_s": (np.full(80, 1.1), np.ones(80))}, np.repeat(np.arange(4), 20))
    asked = Prediction.bare(("latency_s",), np.ones((3, 1)))
    answer = known.around(asked, np.array(["t4", "a100", "lab"]), unheard_of=np.array([False, False, True]))
    assert answer.high[:, 0] == pytest.approx([1.01, 1.1, 5.4])


def test_beyond_all_sizes_the_width_is_that_of_the_rehearsal_and_never_less() -> None:
    """Widths by hand: 1 % within, a factor of 2 beyond; on a machine never seen the wider of the two."""
    names = np.array(["a"] * 60 + ["b"] * 60, dtype=object)
    known = Conformal(Fixed(), level=0.9, least=10)
    known.calibrate_from(names, {"latency_s": (np.full(120, 1.01), np.ones(120))})
    known.expect_far({"latency_s": (np.full(50, 2.0), np.ones(50))})
    known.expect_strangers(["a", "b"], {"latency_s": (np.full(50, 3.0), np.ones(50))})
    answer = known.around(Prediction.bare(("latency_s",), np.ones((3, 1))), np.array(["a", "a", "new"], dtype=object), np.array([0.0, 1.0, 1.0]))
    assert answer.high[:, 0] == pytest.approx([1.01, 2.0, 3.0])
    assert known.weights()[0]["far"]["latency_s"] == pytest.approx(np.log(2.0))


def test_beyond_a_size_the_width_is_that_of_its_own_trial() -> None:
    """By hand: 1 % within; 450 rows beyond k and 50 beyond m that were off by e^0.4 and e^0.2. Of all 500 nine tenths lie within e^0.4, so m is as wide as e^sqrt(0.2 x 0.4); n was never tried, so it is as wide as all."""
    from silicast.features import corners
    from silicast.surrogates.size_rehearsal import Tried

    table = stratified(200, 1)
    known = Conformal(Fixed(), level=0.9, least=10)
    known.calibrate_from(np.array(["calm"] * 60, dtype=object), {"latency_s": (np.full(60, 1.01), np.ones(60))})
    known.expect_sizes(corners.known(table.questions.ops, table.groups), {size: Tried({"latency_s": (np.full(n, np.exp(off)), np.ones(n))}, 1.0) for size, n, off in (("k", 450, 0.4), ("m", 50, 0.2))})
    sizes = [{"m": 1, "n": 1, "k": 1}, {"m": 1, "n": 1, "k": 2}, {"m": 2, "n": 1, "k": 1}, {"m": 1, "n": 2, "k": 1}, {"m": 1, "n": 1, "k": 4}]
    q = OpQuestions(OpColumns.from_ops([Op.of("o", "gemm", **s) for s in sizes]), ("calm",), (None,), np.zeros(5, dtype=np.int64), pd.DataFrame(index=range(5)), pd.DataFrame({"x": np.ones(5)}))
    for model in (known, Conformal.from_weights(known.weights()[0], {}, None, lambda name: FixedAsSaved)):  # type: ignore[arg-type]
        wide = np.log(model.predict(q).high[:, 0])
        assert wide[[0, 1, 3]] == pytest.approx([np.log(1.01), 0.4, 0.4])
        assert wide[2] == pytest.approx(np.sqrt(0.2 * 0.4))
        assert wide[4] == pytest.approx(0.4 * 1.5)  # an octave beyond what was tried
    untried = Conformal(Fixed(), level=0.9, least=10)
    untried.calibrate_from(np.array(["calm"] * 60, dtype=object), {"latency_s": (np.full(60, 1.01), np.ones(60))})
    untried.expect_sizes(corners.known(table.questions.ops, table.groups), {})
    wide = np.log(untried.predict(q).high[:, 0]) / np.log(1.01)
    assert wide[0] == pytest.approx(1.0)
    assert (wide[1:] > 1.4).all()


def test_counts_of_which_some_are_none_are_as_wide_beyond_as_they_were_off_there() -> None:
    """By hand: off by 1 within, by 50 beyond; an interval of a count ends at zero."""
    known = Conformal(Fixed(), level=0.9, least=10)
    truth = np.array([0.0, 10.0] * 30)
    known.calibrate_from(np.array(["a"] * 60, dtype=object), {"latency_s": (truth, truth + 1.0)})
    known.expect_far({"latency_s": (np.full(50, 150.0), np.full(50, 100.0))})
    answer = known.around(Prediction.bare(("latency_s",), np.full((2, 1), 20.0)), np.array(["a", "a"], dtype=object), np.array([0.0, 1.0]))
    assert (answer.low[:, 0].tolist(), answer.high[:, 0].tolist()) == ([19.0, 0.0], [21.0, 70.0])


def test_a_kind_that_did_well_beyond_once_is_no_surer_than_half_way_to_all() -> None:
    """By hand: norms missed by e^0.1, products by e^0.4, so all by e^0.4: norms are as wide as e^sqrt(0.1 x 0.4) = e^0.2, products as they were."""
    known = Conformal(Fixed(), level=0.9, least=10)
    known.calibrate_from(np.array(["a"] * 60, dtype=object), {"latency_s": (np.full(60, 1.01), np.ones(60))})
    kinds = np.array(["norm"] * 100 + ["gemm"] * 200, dtype=object)
    known.expect_far({"latency_s": (np.exp(np.where(kinds == "norm", 0.1, 0.4)), np.ones(300))}, kinds)
    answer = known.around(Prediction.bare(("latency_s",), np.ones((2, 1))), np.array(["a", "a"], dtype=object), np.ones(2), np.array(["norm", "gemm"], dtype=object))
    assert np.log(answer.high[:, 0]) == pytest.approx([0.2, 0.4])


def test_few_rows_about_kin_are_not_told_the_width_of_strangers() -> None:
    """Five rows about machines of kin were off by e^0.1, a hundred about others by e^2: kin are as wide as e^0.1, although five rows have no width of their own."""
    known = Conformal(Fixed(), level=0.9, least=10)
    known.calibrate_from(np.array(["a"] * 60, dtype=object), {"latency_s": (np.full(60, 1.01), np.ones(60))})
    kinds = np.array(["machine"] * 5 + ["alien"] * 100, dtype=object)
    known.expect_far({"latency_s": (np.exp(np.where(kinds == "machine", 0.1, 2.0)), np.ones(105))}, kinds, ("alien",))
    answer = known.around(Prediction.bare(("latency_s",), np.ones((2, 1))), np.array(["a", "a"], dtype=object), np.ones(2), np.array(["machine", "alien"], dtype=object))
    assert np.log(answer.high[:, 0]) == pytest.approx([0.1, 2.0])


def test_where_members_disagree_intervals_are_wider() -> None:
    """Residuals as large as the spread: scaled intervals cover as many and are narrower; residuals that have nothing to do with it stay plain."""
    rng = np.random.default_rng(0)
    spread = np.exp(rng.normal(size=4000)) * 0.1
    truth = np.exp(spread * rng.normal(size=4000))
    names = np.full(4000, "a", dtype=object)
    scaled = Conformal(Fixed(), level=0.9).calibrate_from(names[:2000], {"latency_s": (truth[:2000], np.ones(2000))}, {"latency_s": spread[:2000]})
    plain = Conformal(Fixed(), level=0.9).calibrate_from(names[:2000], {"latency_s": (truth[:2000], np.ones(2000))})
    bare = replace(Prediction.bare(("latency_s",), np.ones((2000, 1))), spread=spread[2000:, None])
    wide, narrow = plain.around(bare, names[2000:]), scaled.around(bare, names[2000:])
    assert np.log(narrow.high / narrow.low).mean() < 0.9 * np.log(wide.high / wide.low).mean()
    assert np.mean((truth[2000:] >= narrow.low[:, 0]) & (truth[2000:] <= narrow.high[:, 0])) == pytest.approx(0.9, abs=0.03)
    assert "latency_s" in scaled.weights()[0]["base"]
    unrelated = np.exp(0.1 * rng.normal(size=4000))
    same = Conformal(Fixed(), level=0.9).calibrate_from(names, {"latency_s": (unrelated, np.ones(4000))}, {"latency_s": spread})
    assert not same.weights()[0]["base"]


def width_of(scores: np.ndarray, groups: np.ndarray, level: float = 0.8) -> float:
    model = Conformal(Fixed(), level).calibrate_from(np.zeros(len(scores), dtype=str), {"latency_s": (np.exp(scores), np.ones(len(scores)))}, groups=groups)
    return float(np.log(model.around(Prediction.bare(("latency_s",), np.ones((1, 1))), np.array([""])).high[0, 0]))


def test_rows_of_a_group_are_wrong_together() -> None:
    # 20 groups of 5 rows, each off by 0.01 .. 0.20 throughout: at 0.8 it is the 0.8 x 21 / 20 = 84 % quantile of rows, of 100 the 84th, in the 17th group
    each = np.repeat(np.arange(20), 5)
    assert width_of(0.01 * (each + 1), each) == pytest.approx(0.17)
    # rows of 4 groups: 0.8 x 5 / 4 is all of them, but 8 of a group's 9 ((9 + 1) x 0.8) are never further off than 0.08
    four = np.repeat(np.arange(4), 9)
    assert width_of(0.01 * np.tile(np.arange(1, 10), 4), four) == pytest.approx(0.08)
    # a group to each row is the usual rule: of 19 the 16th
    assert width_of(0.01 * np.arange(1, 20), np.arange(19)) == pytest.approx(0.16)


def test_groups_never_seen_are_covered() -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(300):
        scores = np.abs(np.repeat(rng.normal(size=16), 12) + 0.2 * rng.normal(size=16 * 12))
        groups = np.repeat(np.arange(16), 12)
        new = np.abs(rng.normal(size=50)[:, None] + 0.2 * rng.normal(size=(50, 12)))
        held.append((new <= width_of(scores, groups, 0.9)).mean())
    assert 0.89 < np.mean(held) < 0.95  # 16 of 17, were a group one reading


def test_a_stratum_of_few_groups_is_no_surer_than_all() -> None:
    rng = np.random.default_rng(0)
    groups = np.concatenate([np.repeat(np.arange(30), 10), np.repeat([30, 31], 100)])
    strata = np.where(groups < 30, "many", "few")
    scores = np.where(strata == "many", np.abs(rng.normal(size=500)), 0.01)
    model = Conformal(Fixed(), 0.9).calibrate_from(strata, {"latency_s": (np.exp(scores), np.ones(500))}, groups=groups)
    high = model.around(Prediction.bare(("latency_s",), np.ones((3, 1))), np.array(["many", "few", "other"])).high[:, 0]
    assert high[1] == high[2] < high[0]


def test_kinds_have_widths_of_their_own() -> None:
    """By hand: products are off by 1 % and softmaxes by 10 % on machine a; b has products alone, so its softmaxes are as wide as those of a. Beyond all sizes 20 and 50 %."""
    strata = np.array(["a"] * 240 + ["b"] * 120, dtype=object)
    kinds = np.array(["gemm"] * 120 + ["softmax"] * 120 + ["gemm"] * 120, dtype=object)
    truth = np.where(kinds == "gemm", 1.01, 1.1)
    known = Conformal(Fixed(), level=0.9, least=100).calibrate_from(strata, {"latency_s": (truth, np.ones(360))}, kinds=kinds)
    known.expect_far({"latency_s": (np.where(kinds == "gemm", 1.2, 1.5), np.ones(360))}, kinds)
    asked, of = np.array(["a", "a", "b", "b"], dtype=object), np.array(["gemm", "softmax"] * 2, dtype=object)
    bare = Prediction.bare(("latency_s",), np.ones((4, 1)))
    assert known.around(bare, asked, None, of).high[:, 0] == pytest.approx([1.01, 1.1, 1.01, 1.1])
    half_way = np.exp(np.sqrt(np.log(1.2) * np.log(1.5)))  # all were 1.5 beyond
    assert known.around(bare, asked, np.ones(4), of).high[:, 0] == pytest.approx([half_way, 1.5, half_way, 1.5])
    assert known.around(bare, asked).high[:, 0] == pytest.approx([1.1, 1.1, 1.01, 1.01])  # nobody says which kind: the machine's


def test_kinds_among_groups_are_as_wide_as_groups_ask() -> None:
    """Thirty rows of one kind beside 1,970 of the other: these are as unsure as all were, by groups that err together, and not as if every row were one of its own."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 100)
    truth = np.exp(rng.normal(size=20)[groups] + 0.1 * rng.normal(size=2000))
    kinds = np.where(np.arange(2000) % 67 == 0, "size", "").astype(object)
    scored = {"latency_s": (truth, np.ones(2000))}
    everywhere = np.full(2000, "all", dtype=object)
    by_group = Conformal(Fixed()).calibrate_from(everywhere, scored, groups=groups)._width["latency_s"]["all"]
    by_row = Conformal(Fixed()).calibrate_from(everywhere, scored)._width["latency_s"]["all"]
    by_kind = Conformal(Fixed()).calibrate_from(everywhere, scored, kinds=kinds, groups=groups)._width["latency_s"]["all / "]
    assert by_row < 0.97 * by_group
    assert by_kind == pytest.approx(by_group, rel=0.02)


def test_calibrating_anew_by_more_rows_keeps_what_was_rehearsed() -> None:
    one, more = stratified(300, 0), stratified(400, 1)
    groups = np.arange(700).astype(object)
    one, more = replace(one, groups=groups[:300]), replace(more, groups=groups[300:])
    once = Conformal(Fixed(), 0.9).conformalize(one).expect_strangers(["calm", "wild"], {"latency_s": (np.full(50, 20.0), np.ones(50))})
    twice = once.weights()[0]["strangers"]
    once.conformalize(one, more)
    rows = np.concatenate([one.questions.strata, more.questions.strata])
    x = np.concatenate([t.questions.extra["x"] for t in (one, more)])
    truth = np.concatenate([t.targets["latency_s"] for t in (one, more)])
    together = Conformal(Fixed(), 0.9).calibrate_from(rows, {"latency_s": (truth, x)}, groups=groups)
    assert once.weights()[0]["width"] == together.weights()[0]["width"]
    assert once.weights()[0]["strangers"] == twice == {"latency_s": pytest.approx(np.log(20.0))}
