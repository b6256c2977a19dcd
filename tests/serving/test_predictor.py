"""The predictor: what it answers, what it says about itself, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from silicast.datasets.catalog import hardware
from silicast.datasets.errors import FormatError, InputError, TableError, UnknownNameError, VersionError
from silicast.datasets.measurement import Query
from silicast.datasets.simulator import SIMULATOR_VERSION, simulate
from silicast.datasets.table import FeatureQuestions, GraphQuestions, Table
from silicast.serving import predictor as module
from silicast.serving.predictor import Predictor, select
from silicast.surrogates.prediction import Prediction

from .conftest import TARGETS, bounded, gemms, machines


def test_one_answer_is_signed_finite_and_holds_its_point(predictor: Predictor) -> None:
    answer = predictor.predict(gemms(256, 4, 16), hardware("a100_sxm"))
    assert len(answer) == 1
    assert answer.targets == TARGETS
    assert (answer.model, answer.version, answer.level) == ("tiny", "7", 0.9)
    assert np.isfinite(answer.point).all()
    assert (answer.low <= answer.point).all()
    assert (answer.point <= answer.high).all()
    assert answer.domain[0].verdict == "in_domain", answer.domain[0].reason


def test_energy_is_power_times_latency(predictor: Predictor) -> None:
    told = predictor.predict(gemms(512, 4, 16), hardware("t4")).answer(0)["targets"]
    assert told["energy_j"]["point"] == pytest.approx(told["latency_s"]["point"] * told["power_w"]["point"], rel=1e-9)


def test_a_trained_row_comes_back_near_its_label(predictor: Predictor, labelled: Table) -> None:
    answer = predictor.predict_table(labelled.questions)
    error = np.abs(answer.point[:, 0] / labelled.targets["latency_s"] - 1.0)
    assert np.median(error) < 0.1


def test_many_answers_are_the_single_ones_in_order(predictor: Predictor) -> None:
    queries = [Query(gemms(w, 2, b), m) for w, b in ((512, 16), (128, 1), (512, 16)) for m in machines()[:2]]
    together = predictor.predict_many(queries)
    alone = [predictor.predict(q.workload, q.hardware).point[0] for q in queries]
    np.testing.assert_allclose(together.point, np.array(alone), rtol=1e-6)


def test_a_machine_may_be_named(predictor: Predictor) -> None:
    workload = gemms(256, 4, 16)
    by_name, given = predictor.predict(workload, "T4"), predictor.predict(workload, hardware("t4"))
    np.testing.assert_array_equal(by_name.point, given.point)
    many = predictor.predict_many([Query(workload, "t4"), Query(workload, hardware("a100_sxm"))])  # type: ignore[arg-type]
    np.testing.assert_array_equal(many.point[0], given.point[0])
    with pytest.raises(UnknownNameError, match="nearest: h100"):
        predictor.predict(workload, "h1000")


@pytest.mark.parametrize("wrong", [None, 4, {"key": "t4"}, b"t4", ["t4"]])
def test_what_is_no_question_is_an_input_error(predictor: Predictor, wrong: Any) -> None:
    workload = gemms(256, 4, 16)
    with pytest.raises(InputError, match="expected a Hardware or a name from the catalogue"):
        predictor.predict(workload, wrong)
    with pytest.raises(InputError, match="expected a Workload"):
        predictor.predict(wrong, hardware("t4"))
    with pytest.raises(InputError, match="query 1: expected Query"):
        predictor.predict_many([Query(workload, hardware("t4")), wrong])
    with pytest.raises(InputError, match="expected"):
        predictor.predict_many(wrong)


def test_only_rows_in_the_domain_are_called_calibrated(predictor: Predictor, guardless: Predictor) -> None:
    queries = [Query(gemms(256, 4, 16), hardware("t4")), Query(gemms(8192, 2, 16), hardware("t4"))]
    assert list(predictor.predict_many(queries).frame()["calibrated"]) == [True, False]
    assert list(guardless.predict_many(queries).calibrated) == [True, True]
    assert not predictor.predict_many(queries, fallback="simulate").answer(1)["calibrated"]


def test_no_queries_no_answers(predictor: Predictor) -> None:
    assert len(predictor.predict_many([])) == 0


def test_a_larger_machine_kind_or_workload_is_extrapolating_with_the_reason(predictor: Predictor) -> None:
    far = predictor.predict_many([Query(gemms(8192, 2, 16), hardware("a100_sxm")), Query(gemms(256, 4, 16), hardware("xeon_8480"))])
    assert [d.verdict for d in far.domain] == ["extrapolating", "extrapolating"]
    assert all(d.reason for d in far.domain)


def test_bounded_ops_are_unsupported_by_name(predictor: Predictor, guardless: Predictor) -> None:
    for model in (predictor, guardless):
        told = model.predict(bounded(), hardware("a100_sxm")).domain[0]
        assert told.verdict == "unsupported"
        assert "mystery" in told.reason


def test_a_workload_beyond_the_memory_is_unsupported(guardless: Predictor) -> None:
    # 5 x 65536 x 65536 float16 weights = 42.9 GB; a T4 has 16 GiB
    told = guardless.predict(gemms(65536, 5, 1), hardware("t4")).domain[0]
    assert told.verdict == "unsupported"
    assert "does not fit" in told.reason
    assert "t4" in told.reason


def test_without_a_domain_in_the_card_nothing_is_called_safe(guardless: Predictor) -> None:
    assert guardless.predict(gemms(256, 4, 16), hardware("t4")).domain[0].verdict == "unchecked"


def test_a_damaged_domain_is_an_error(predictor: Predictor) -> None:
    with pytest.raises(FormatError, match="domain is damaged"):
        replace(predictor, card=replace(predictor.card, domain={"shape": "graph"})).predict(gemms(256, 4, 16), hardware("t4"))


def test_the_simulator_stands_in_and_signs(predictor: Predictor) -> None:
    workload, machine = gemms(8192, 2, 16), hardware("a100_sxm")
    answer = predictor.predict(workload, machine, fallback="simulate")
    assert (answer.model, answer.version, answer.level) == ("simulator", SIMULATOR_VERSION, 0.0)
    assert answer.point[0, 0] == simulate(workload, machine).values["latency_s"]
    assert np.isnan(answer.low).all()
    assert "simulator answers instead" in answer.domain[0].reason


def test_mixed_answers_say_row_by_row_who_spoke(predictor: Predictor) -> None:
    queries = [Query(gemms(256, 4, 16), hardware("t4")), Query(gemms(8192, 2, 16), hardware("t4"))]
    answer = predictor.predict_many(queries, fallback="simulate")
    assert [answer.answer(i)["model"] for i in range(2)] == ["tiny", "simulator"]
    assert [answer.answer(i)["level"] for i in range(2)] == [0.9, 0.0]
    assert list(answer.frame()["model"]) == ["tiny", "simulator"]
    chosen = select(answer, ["energy_j"])
    assert chosen.answer(1)["model"] == "simulator"
    assert list(chosen.answer(1)["targets"]) == ["energy_j"]


def test_inside_the_domain_the_fallback_changes_nothing(predictor: Predictor) -> None:
    asked = GraphQuestions.cross(gemms(256, 4, 16), machines())
    np.testing.assert_array_equal(predictor.predict_many(asked, fallback="simulate").point, predictor.predict_many(asked).point)


def test_an_unknown_fallback_is_refused(predictor: Predictor) -> None:
    with pytest.raises(UnknownNameError, match="simulate"):
        predictor.predict(gemms(256, 4, 16), hardware("t4"), fallback="guess")  # type: ignore[arg-type]


class _Broken:
    """A surrogate whose first answer is infinite and whose second is not a number."""

    name, targets, shape = "broken", ("latency_s", "power_w"), "graph"

    def predict(self, questions: Any) -> Prediction:
        point = np.array([[np.inf, 5.0], [1.0, np.nan]])
        return Prediction(self.targets, point, point * 0.5, point * 2.0, 0.9, Prediction.bare(self.targets, point).domain)


def test_nothing_infinite_leaves_unmarked(predictor: Predictor) -> None:
    broken = replace(predictor, surrogate=_Broken())
    answer = broken.predict_many([Query(gemms(256, 4, 16), m) for m in machines()[:2]])
    assert not np.isinf(answer.point).any()
    assert not np.isinf(answer.high).any()
    assert [d.verdict for d in answer.domain] == ["unsupported", "unsupported"]
    assert "latency_s" in answer.domain[0].reason
    assert "power_w" in answer.domain[1].reason
    told = answer.answer(0)
    assert told["targets"]["latency_s"]["point"] is None
    json.dumps(told, allow_nan=False)


def test_other_shapes_are_refused(predictor: Predictor) -> None:
    import pandas as pd

    with pytest.raises(TableError, match="features"):
        predictor.predict_table(FeatureQuestions(pd.DataFrame({"a": [1.0]})))
    with pytest.raises(TableError, match="operators"):
        replace(predictor, surrogate=type("OpModel", (_Broken,), {"shape": "op"})()).predict(gemms(256, 4, 16), hardware("t4"))


def test_select_keeps_the_order_asked_for(predictor: Predictor) -> None:
    answer = select(predictor.predict(gemms(256, 4, 16), hardware("t4")), ["energy_j", "latency_s"])
    assert answer.targets == ("energy_j", "latency_s")
    with pytest.raises(UnknownNameError, match="latency_s"):
        module.known_targets(predictor, ["latency"])
    with pytest.raises(InputError, match="once"):
        module.known_targets(predictor, ["latency_s", "latency_s"])


def test_a_folder_without_a_version_is_known_by_its_content(model_folder: Path, tmp_path: Path, predictor: Predictor) -> None:
    from silicast.surrogates import store

    place = store.save(predictor.surrogate, replace(predictor.card, version=""), tmp_path / "m")
    assert Predictor.load(place).version.startswith("sha256:")


def test_missing_altered_and_outdated_folders(model_folder: Path, tmp_path: Path) -> None:
    import shutil

    with pytest.raises(FormatError, match="no such file"):
        Predictor.load(tmp_path / "nowhere")
    altered = shutil.copytree(model_folder, tmp_path / "altered")
    (altered / "latency_s.txt").write_text("tree", encoding="utf-8")
    with pytest.raises(FormatError, match="digest"):
        Predictor.load(altered)
    old = shutil.copytree(model_folder, tmp_path / "old")
    document = json.loads((old / "model.json").read_text(encoding="utf-8"))
    (old / "model.json").write_text(json.dumps(document | {"feature_version": "0"}), encoding="utf-8")
    with pytest.raises(VersionError, match="feature version"):
        Predictor.load(old)


def test_an_alias_is_resolved_to_its_version_first(monkeypatch: pytest.MonkeyPatch, model_folder: Path) -> None:
    from silicast.training import registry

    asked: list[str] = []
    versions = (registry.Version("tiny", "4", (), 0.0, "", {}), registry.Version("tiny", "3", ("champion",), 0.0, "", {}))
    monkeypatch.setattr(registry, "show", lambda name, uri=None: registry.Registered(name, versions, "3", ()))
    monkeypatch.setattr(registry, "resolve", lambda ref, uri=None: (asked.append(ref), model_folder)[1])
    assert Predictor.load("models:/tiny@champion").version == "3"
    assert Predictor.load("models:/tiny/latest").version == "4"
    assert Predictor.load("models:/tiny/2").version == "2"
    assert asked == ["models:/tiny/3", "models:/tiny/4", "models:/tiny/2"]
