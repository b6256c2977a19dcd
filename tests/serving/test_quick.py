"""The student of a model: one question, columns and the model itself agree on who answers what, and the speeds on the answer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.catalog import hardware
from silicast.datasets.errors import InputError, TableError
from silicast.datasets.measured import read_measured
from silicast.features import FEATURE_VERSION, domain
from silicast.serving.predictor import Predictor
from silicast.surrogates import store
from silicast.surrogates.card import ModelCard

pytest.importorskip("torch")

#: rows of the parity test; SILICAST_PARITY_ROWS=100000 for all of it
ROWS = int(os.environ.get("SILICAST_PARITY_ROWS", "3000"))
SCHEMA: dict[str, Any] = {"op": "gemm", "columns": {"m": "m", "n": "n", "k": "k", "dtype": "dtype"}, "hardware": "hardware", "context": ["framework"],
                          "targets": {"latency_s": {"column": "t", "unit": "s"}}}
MACHINES = ("a100_sxm", "t4")


def rows(count: int, seed: int) -> pd.DataFrame:
    """Random products with a made-up time: a peak rate, a start and a machine's factor."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({d: np.floor(2.0 ** rng.uniform(4, 13, count)) for d in ("m", "n", "k")})
    frame = frame.assign(dtype=rng.choice(["float16", "int8"], count), hardware=rng.choice(MACHINES, count), framework=rng.choice(["x", "y"], count))
    slow = frame["hardware"].map({"a100_sxm": 1.0, "t4": 4.0}) * frame["framework"].map({"x": 1.0, "y": 1.2})
    return frame.assign(t=slow * 2.0 * frame["m"] * frame["n"] * frame["k"] / 2e14 + 5e-6)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    from silicast.training.distilling import compile_model

    folder = tmp_path_factory.mktemp("quick") / "gemm"
    table = read_measured(rows(1500, 1), SCHEMA)
    surrogate = store.member("conformal")(store.member("boosted")(targets=("latency_s",), trees=60, threads=1), 0.9).fit(table)
    surrogate.conformalize(read_measured(rows(300, 2), SCHEMA))
    card = ModelCard("gemm", "1", "op", ("latency_s",), {"latency_s": "s"}, FEATURE_VERSION, "", "made up", table.digest, len(table), "", 0.9, domain.describe(table), schema=SCHEMA)
    store.save(surrogate, card, folder)
    compile_model(folder, table=table, count=6000, shown=150_000, hidden=32)
    return Predictor.load(folder)


def test_one_question_and_columns_agree(compiled: Predictor) -> None:
    """On random rows, and on sizes at the edges of tiles, waves and of what was trained on."""
    rng = np.random.default_rng(7)
    edges = np.array([15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 1023, 1024, 1025, 4095, 4096, 4097, 8191])
    spans = {name: compiled.quick._spans[name] for name in ("m", "n", "k")}  # type: ignore[union-attr]
    sizes = {}
    for name, (least, most) in spans.items():
        border = np.array([np.ceil(least), np.ceil(least) + 1, np.floor(most) - 1, np.floor(most)])
        anywhere = np.floor(2.0 ** rng.uniform(4, 13, ROWS))
        sizes[name] = np.where(rng.random(ROWS) < 0.5, anywhere, rng.choice(np.concatenate([edges, border]), ROWS)).clip(np.ceil(least), np.floor(most))
    on, dtype, framework = rng.choice(MACHINES, ROWS), rng.choice(["float16", "int8"], ROWS), rng.choice(["x", "y"], ROWS)
    told = compiled.predict_columns(sizes["m"], sizes["n"], sizes["k"], on, dtype=dtype, framework=framework)
    assert told.quick.mean() > 0.5
    for i in np.flatnonzero(told.quick).tolist()[:20_000]:
        one = compiled.predict_op("gemm", {d: float(sizes[d][i]) for d in sizes}, str(on[i]), dtype=str(dtype[i]), framework=str(framework[i]))
        assert one.speed == "columns"
        for alone, column in ((one.point, told.point), (one.low, told.low), (one.high, told.high)):
            assert alone[0] == pytest.approx(column[i, 0], rel=1e-5)
        assert one.low[0] < one.point[0] < one.high[0]


def test_outside_the_model_itself_answers(compiled: Predictor) -> None:
    """Sizes beyond the trained ones, and machines it has not seen: the model's own answers and verdicts, word for word."""
    m = np.array([128.0, 10_000_000.0, 128.0])
    told = compiled.predict_columns(m, 256.0, 512.0, ["t4", "t4", "h100_sxm"], dtype="float16", framework="x")
    assert told.quick.tolist() == [True, False, False]
    assert told.speed == "mixed"
    assert not told.calibrated[1]
    frame = pd.DataFrame({"m": m, "n": 256, "k": 512, "dtype": "float16", "hardware": ["t4", "t4", "h100_sxm"], "framework": "x"})
    exact = compiled.predict_table(read_measured(frame, SCHEMA, need_targets=False).questions)
    assert told.point[1:, 0] == pytest.approx(exact.point[1:, 0])
    assert [told.verdicts[c] for c in told.codes[1:]] == list(exact.domain[1:])
    one = compiled.predict_op("gemm", {"m": 10_000_000, "n": 256, "k": 512}, "t4", framework="x")
    assert one.speed == "exact"
    assert one.domain.verdict == "extrapolating"
    assert one.point[0] == pytest.approx(exact.point[1, 0])


def test_a_machine_that_borrows_a_name_is_not_taken_for_it(compiled: Predictor) -> None:
    made_up = hardware("t4").at(clock_hz=0.5e9)
    assert compiled.predict_op("gemm", {"m": 128, "n": 256, "k": 512}, made_up, framework="x").speed == "exact"


def test_the_student_is_near_the_model(compiled: Predictor) -> None:
    table = read_measured(rows(400, 5), SCHEMA)
    exact = compiled.predict_table(table.questions)
    frame = rows(400, 5)
    told = compiled.predict_columns(frame["m"].to_numpy(), frame["n"].to_numpy(), frame["k"].to_numpy(), frame["hardware"].tolist(), dtype=frame["dtype"].tolist(),
                                    framework=frame["framework"].tolist())
    assert np.median(np.abs(told.point / exact.point - 1.0)) < 0.1  # a tiny student, taught for seconds
    assert "off the model" in compiled.card.extra["student"]


@pytest.mark.parametrize(("sizes", "words"), [({"m": 0, "n": 1, "k": 1}, "m of gemm"), ({"m": 1.5, "n": 1, "k": 1}, "whole number"), ({"m": 1, "n": 1}, "k of gemm"),
                                              ({"m": 1, "n": 1, "k": 1, "z": 1}, "z: no dimension"), ({"m": float("nan"), "n": 1, "k": 1}, "m of gemm")])
def test_sizes_that_are_none(compiled: Predictor, sizes: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        compiled.predict_op("gemm", sizes, "t4", framework="x")


def test_what_cannot_be_read(compiled: Predictor) -> None:
    with pytest.raises(InputError, match="different lengths"):
        compiled.predict_columns(np.ones(3), np.ones(4), 64, "t4", framework="x")
    with pytest.raises(InputError, match="whole numbers"):
        compiled.predict_columns(np.array([1.5, 2.0]), 64, 64, "t4", framework="x")
    with pytest.raises(InputError, match="framework"):
        compiled.predict_columns(64, 64, 64, "t4")
    with pytest.raises(InputError, match="colour"):
        compiled.predict_columns(64, 64, 64, "t4", framework="x", colour="red")
    with pytest.raises(InputError, match="nowhere"):
        compiled.predict_columns(64, 64, 64, "nowhere", framework="x")


def test_a_model_without_a_student_says_so(compiled: Predictor) -> None:
    plain = Predictor(compiled.surrogate.inner, compiled.card, "plain", "1", "")  # type: ignore[attr-defined]
    with pytest.raises(TableError, match="silicast compile"):
        plain.predict_columns(64, 64, 64, "t4")


def test_a_model_without_intervals_has_none(compiled: Predictor) -> None:
    """Its student does not make them up."""
    from dataclasses import replace

    bare = Predictor(compiled.surrogate, replace(compiled.card, level=0.0), "bare", "1", "")
    one = bare.predict_op("gemm", {"m": 128, "n": 256, "k": 512}, "t4", framework="x")
    assert one.speed == "columns"
    assert np.isnan(one.low[0])
    assert not one.calibrated
    assert np.isnan(bare.predict_columns(128.0, 256.0, np.array([512.0]), "t4", framework="x").high).all()


def test_a_damaged_student_is_refused(compiled: Predictor, tmp_path: Path) -> None:
    from silicast.datasets.errors import FormatError
    from silicast.surrogates.student import Student

    student = compiled.quick.student  # type: ignore[union-attr]
    spec, files = student.weights()
    assert np.array_equal(Student.from_weights(spec, files).arrays["first"], student.arrays["first"])
    with pytest.raises(FormatError, match=r"student\.npz"):
        Student.from_weights(spec, {"student.npz": files["student.npz"][:100]})
    with pytest.raises(FormatError, match=r"expected \(30, 64\)"):
        Student({**spec, "hidden": 64}, student.arrays)
    with pytest.raises(InputError, match="compile the model again"):
        Student({**spec, "terms": "0"}, student.arrays)


def test_a_few_questions_together_are_each_alone(compiled: Predictor) -> None:
    quick = compiled.quick
    assert quick is not None
    rng = np.random.default_rng(3)
    asked = [({d: int(2 ** rng.uniform(4, 13)) for d in ("m", "n", "k")}, MACHINES[i % 2], ("float16", "int8")[i % 3 == 0], {"framework": "xy"[i % 5 == 0]}) for i in range(400)]
    ready = [(one, quick.asked(*one)) for one in asked]
    inside = [(one, q) for one, q in ready if q is not None]
    assert len(inside) > 300
    for at in range(0, len(inside), 23):
        some = inside[at:at + 23]
        for (one, _), told in zip(some, quick.few([q for _, q in some]), strict=True):
            alone = quick.one("gemm", *one)
            np.testing.assert_allclose((*told.point, *told.low, *told.high), (*alone.point, *alone.low, *alone.high), rtol=1e-5)
            assert (told.targets, told.level, told.speed, told.version) == (alone.targets, alone.level, alone.speed, alone.version)


def test_where_it_is_not_sure_of_its_verdict_the_model_may_be_asked(compiled: Predictor) -> None:
    frame = rows(60, 9)
    given = (frame["m"], frame["n"], frame["k"], frame["hardware"].tolist())
    texts = {"dtype": frame["dtype"].tolist(), "framework": frame["framework"].tolist()}
    plain = compiled.predict_columns(*given, **texts)
    quick = compiled.quick
    assert quick is not None
    told = quick.card.metrics["student"]["verdict"]
    assert told["sure_beyond"] >= 0.0
    assert told["sure_same"] > 0.9
    kept = dict(told)
    try:
        told["sure_beyond"] = 2.0
        some = compiled.predict_columns(*given, sure=True, **texts)
        sure_alone = [compiled.predict_op("gemm", {d: int(r[d]) for d in "mnk"}, r["hardware"], dtype=r["dtype"], framework=r["framework"], sure=True).speed for _, r in frame.iterrows()]
        assert [one == "columns" for one in sure_alone] == some.quick.tolist()
        assert some.quick.sum() <= plain.quick.sum()
        told["sure_beyond"] = 1e9
        none = compiled.predict_columns(*given, sure=True, **texts)
        assert none.speed == "exact"
        np.testing.assert_allclose(some.point[~some.quick], none.point[~some.quick], rtol=1e-6)
        np.testing.assert_allclose(some.point[some.quick], plain.point[some.quick], rtol=1e-6)
        del told["sure_beyond"]
        with pytest.raises(TableError, match="compile the model again"):
            compiled.predict_columns(*given, sure=True, **texts)
    finally:
        told.update(kept)
