"""Truth for past predictions: kept, matched, judged. The binomial figures are computed by hand."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from silicast.datasets.catalog import hardware
from silicast.datasets.errors import FormatError, InputError, TableError, UnknownNameError
from silicast.serving.cli import app
from silicast.serving.drift import DriftStore, Predicted, Recorder, Truth
from silicast.serving.drift_report import DAY_S, report

from .conftest import gemms


def answer(name: str, low: float = 0.9, high: float = 1.1, verdict: str = "in_domain", on: str = "t4", version: str = "1") -> dict[str, Any]:
    return {"id": name, "hardware": on, "targets": {"latency_s": {"point": 1.0, "low": low, "high": high, "unit": "s"}}, "level": 0.9, "calibrated": verdict == "in_domain",
            "domain": {"verdict": verdict, "reason": ""}, "model": "m", "version": version}


def store_with(path: Path, truths: list[float], on: str = "t4", verdict: str = "in_domain", at: float = 1e9, stem: str = "p") -> DriftStore:
    """One prediction of [0.9, 1.1] at level 0.9 per truth, each of a question of its own."""
    store = DriftStore(path)
    names = [f"{stem}-{on}-{i}" for i in range(len(truths))]
    store.predicted([Predicted(at, answer(n, verdict=verdict, on=on), {"kind": "gemm", "m": 64 + i, "n": 8, "k": 8, "dtype": "float16", "hardware": hardware(on)}) for i, n in enumerate(names)])
    assert store.measured([Truth(n, "latency_s", v, at + i * DAY_S) for i, (n, v) in enumerate(zip(names, truths, strict=True))]) == 0
    return store


def test_an_interval_that_covers_is_not_flagged(tmp_path: Path) -> None:
    found = report(store_with(tmp_path / "d.db", [1.0] * 18 + [2.0] * 2).matched())
    (one,) = [s for s in found.slices if s.by == {"target": "latency_s"}]
    assert (one.rows, one.claimed, one.held, one.coverage, one.expected) == (20, 20, 18, 0.9, pytest.approx(0.9))
    # P(X <= 18), X ~ Binomial(20, 0.9) = 1 - 0.9^20 - 20 * 0.1 * 0.9^19 = 0.60825
    assert one.p_value == pytest.approx(1 - 0.9**20 - 20 * 0.1 * 0.9**19)
    assert not found.flagged


def test_an_interval_that_no_longer_covers_is_flagged_where_it_fails(tmp_path: Path) -> None:
    store_with(tmp_path / "d.db", [1.0] * 20)
    found = report(store_with(tmp_path / "d.db", [1.0] * 4 + [2.0] * 6, on="v100_sxm").matched(), window_s=7 * DAY_S)
    by_device = {s.by["hardware"]: s for s in found.slices if "hardware" in s.by}
    assert found.flagged
    assert [by_device[k].flagged for k in ("t4", "v100_sxm")] == [False, True]
    failing = by_device["v100_sxm"]
    assert failing.p_value == pytest.approx(sum(v * 0.9**k * 0.1 ** (10 - k) for k, v in enumerate((1, 10, 45, 120, 210))))
    assert failing.bias == pytest.approx(-0.5)  # predicted 1, measured 2: half too low
    assert sum(w.rows for w in failing.windows) == 10
    assert failing.windows[0].coverage > failing.windows[-1].coverage == 0.0


def test_few_truths_and_doubtful_answers_are_no_evidence(tmp_path: Path) -> None:
    few = report(store_with(tmp_path / "a.db", [2.0] * 7).matched())
    assert not few.flagged
    assert "least that are judged" in few.slices[0].note
    doubtful = report(store_with(tmp_path / "b.db", [2.0] * 50, verdict="extrapolating").matched())
    assert not doubtful.flagged
    assert (doubtful.slices[0].claimed, doubtful.slices[0].unclaimed_coverage) == (0, 0.0)
    assert json.loads(json.dumps(doubtful.to_json()))["slices"][0]["coverage"] is None


def test_repeats_of_one_question_are_one_draw(tmp_path: Path) -> None:
    store = DriftStore(tmp_path / "d.db")
    asked = {"workload": gemms(64, 2, 1), "hardware": hardware("t4")}
    store.predicted([Predicted(1e9, answer(f"p{i}"), asked) for i in range(30)])
    store.measured([Truth(f"p{i}", "latency_s", 2.0) for i in range(30)])
    found = report(store.matched())
    assert (found.truths, found.slices[0].rows, found.flagged) == (30, 1, False)


def test_a_true_interval_is_rarely_flagged(tmp_path: Path) -> None:
    """Of 200 reports on 5 machines x 40 truths held with probability 0.9, about 1 % may flag; 8 or more have a chance below 1e-3."""
    rng = np.random.default_rng(5)
    flags = 0
    for _ in range(200):
        held = rng.random(200) < 0.9
        frame = pd.DataFrame({"question": [str(i) for i in range(200)], "target": "latency_s", "truth": np.where(held, 1.0, 2.0), "at_s": 1e9, "point": 1.0, "low": 0.9, "high": 1.1,
                              "level": 0.9, "claimed": True, "model": "m", "version": "1", "hardware": [f"d{i % 5}" for i in range(200)], "kind": "gpu", "family": "", "verdict": "in_domain"})
        flags += report(frame).flagged
    assert flags < 8


def test_a_truth_without_its_prediction_is_kept_and_found_later(tmp_path: Path) -> None:
    store = DriftStore(tmp_path / "d.db")
    assert store.measured([Truth("late", "latency_s", 1.0)]) == 1
    assert store.counts() == {"predictions": 0, "truths": 1, "unmatched": 1}
    store.predicted([Predicted(1e9, answer("late"), {"kind": "gemm", "m": 1, "hardware": hardware("t4")})])
    assert (len(store.matched()), store.counts()["unmatched"]) == (1, 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, "1"])
def test_values_that_are_no_truth(value: Any) -> None:
    with pytest.raises(InputError, match="finite"):
        Truth("a", "latency_s", value)


def test_files_that_are_no_store(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database, whatever its name says" * 100, encoding="utf-8")
    with pytest.raises(FormatError, match="no drift store"):
        DriftStore(tmp_path / "text.db")
    with pytest.raises(FormatError, match="no such drift store"):
        DriftStore(tmp_path / "none.db", create=False)
    with sqlite3.connect(tmp_path / "other.db") as db:
        db.execute("CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        db.execute("INSERT INTO about VALUES ('format', 'other/9')")
    with pytest.raises(FormatError, match="other/9"):
        DriftStore(tmp_path / "other.db")
    with pytest.raises(UnknownNameError, match="facet"):
        report(pd.DataFrame(), by=["colour"])


def test_a_full_disk_loses_no_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(DriftStore(tmp_path / "d.db"))
    recorder.put(1e9, [answer("a"), answer("b")], [{}, {}])
    original = DriftStore.predicted

    def full(self: DriftStore, rows: Any) -> None:
        raise InputError("the disk is full")

    monkeypatch.setattr(DriftStore, "predicted", full)
    with pytest.raises(InputError, match="full"):
        recorder.flush()
    monkeypatch.setattr(DriftStore, "predicted", original)
    recorder.flush()
    assert recorder.store.counts()["predictions"] == 2


def test_a_killed_process_has_lost_no_truth_it_acknowledged(tmp_path: Path) -> None:
    code = ("import sys\nfrom silicast.serving.drift import DriftStore, Truth\nstore = DriftStore(sys.argv[1])\n"
            "for i in range(10**6):\n    store.measured([Truth(f'p{i}', 'latency_s', 1.0)])\n    print(i, flush=True)\n")
    with subprocess.Popen([sys.executable, "-P", "-c", code, str(tmp_path / "d.db")], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(20)]
        process.kill()
        said += process.stdout.readlines()
    acknowledged = sum(line.endswith("\n") for line in said)
    assert acknowledged >= 20
    assert DriftStore(tmp_path / "d.db").counts()["truths"] >= acknowledged


def test_the_measured_rows_go_out_as_a_table(tmp_path: Path) -> None:
    from silicast.datasets.measured import read_measured

    store = store_with(tmp_path / "d.db", [1.0, 2.0, 3.0])
    store.measured([Truth("p-t4-0", "latency_s", 1.2)])
    table, schema = store.export(tmp_path / "out")
    assert schema is not None
    read = read_measured(table, yaml.safe_load(schema.read_text(encoding="utf-8")))
    assert sorted(read.targets["latency_s"]) == [1.1, 2.0, 3.0]  # the median of two measurements of one question
    assert sorted(read.questions.ops.m) == [64, 65, 66]
    with pytest.raises(TableError, match="nothing to export"):
        store.export(tmp_path / "none", model="other")


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        app(list(words))
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out, said.err


def test_the_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "d.db")
    store = DriftStore(path)
    store.predicted([Predicted(1e9, answer(f"p{i}"), {"kind": "gemm", "m": i + 1, "n": 8, "k": 8, "hardware": hardware("t4")}) for i in range(12)])
    sheet = tmp_path / "truths.csv"
    pd.DataFrame({"id": [f"p{i}" for i in range(12)], "target": "latency_s", "value": 2000.0, "unit": "ms"}).to_csv(sheet, index=False)
    code, out, _ = run(capsys, "drift", "add", path, str(sheet), "--json")
    assert (code, json.loads(out)["accepted"]) == (0, 12)
    code, out, _ = run(capsys, "drift", "report", path, "--json")
    assert json.loads(out)["flagged"] is True
    code, out, _ = run(capsys, "drift", "report", path)
    assert "FLAGGED" in out
    assert "-50.0%" in out
    code, out, _ = run(capsys, "drift", "export", path, str(tmp_path / "out"), "--json")
    assert Path(json.loads(out)["table"]).is_file()
    pd.DataFrame({"id": ["p0", "p1"], "target": "latency_s", "value": [1.0, float("inf")]}).to_csv(sheet, index=False)
    code, _, err = run(capsys, "drift", "add", path, str(sheet))
    assert (code, "row 2" in err, len(err.splitlines())) == (2, True, 1)
    assert store.counts()["truths"] == 12  # all rows or none
    assert run(capsys, "drift", "report", str(tmp_path / "none.db"))[0] == 2
    assert run(capsys, "drift", "report", path, "--by", "colour")[0] == 2


def test_over_http(tmp_path: Path, predictor: Any) -> None:
    pytest.importorskip("fastapi", reason="needs the extra silicast[serve]")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastapi.testclient import TestClient
    from silicast.serving.http import create_app

    with TestClient(create_app(predictor, drift=tmp_path / "d.db")) as client:
        told = [client.post("/v1/predict", json={"workload": gemms(256, 4, b).to_json(), "hardware": ["t4", "v100_sxm"]}).json()["predictions"] for b in range(1, 9)]
        rows = [one for pair in told for one in pair]
        truths = [{"id": one["id"], "targets": {"latency_s": one["targets"]["latency_s"]["high"] * 2}} for one in rows]
        kept = client.post("/v1/truth", json={"truths": [*truths, {"id": "unknown", "targets": {"latency_s": 1}}, {"id": "x"}, 7, {"id": "x", "targets": {"latency_s": -1}}]}).json()
        assert (kept["accepted"], kept["unmatched"], [e["index"] for e in kept["errors"]]) == (17, 1, [17, 18, 19])
        found = client.get("/v1/drift?by=hardware").json()
        assert found["flagged"] is True
        assert {s["by"].get("hardware") for s in found["slices"]} == {None, "t4", "v100_sxm"}
        for query in ("by=colour", "days=x", "days=-1", "days=nan"):
            assert client.get(f"/v1/drift?{query}").status_code == 422
        bulk = client.post("/v1/predict/bulk", json={"items": [{"workload": gemms(256, 4, 3).to_json(), "hardware": "t4"}]}).json()["results"][0]
        assert client.post("/v1/truth", json={"truths": [{"id": bulk["id"], "targets": {"power_w": 50}}]}).json()["unmatched"] == 0
    table, _ = DriftStore(tmp_path / "d.db").export(tmp_path / "out")
    assert len(pd.read_csv(table)) == 17 - 1 + 1 - 1  # one question was asked twice
    with TestClient(create_app(predictor)) as client:
        assert client.post("/v1/truth", json={"truths": []}).status_code == 404
        assert client.get("/v1/drift").status_code == 404


def truths_of(store: DriftStore, answers: list[dict[str, Any]], factor: float) -> None:
    """Each target measured at `factor` times what was predicted."""
    store.measured([Truth(one["id"], name, factor * v["point"]) for one in answers for name, v in one["targets"].items()])


def test_measured_networks_correct_the_model_that_answered_them(tmp_path: Path, predictor: Any, model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way: answers kept, truth a fifth longer, export, calibrate; the corrected model is nearer."""
    store = DriftStore(tmp_path / "d.db")
    asked = [{"workload": gemms(w, 4, b), "hardware": hardware(d)} for w in (128, 256, 512) for b in (1, 16) for d in ("t4", "a100_sxm")]
    answers = [{"id": f"p{i}", "hardware": one["hardware"].key, **predictor.predict(one["workload"], one["hardware"]).answer(0)} for i, one in enumerate(asked)]
    for one in answers:
        one["targets"] = {name: one["targets"][name] for name in ("latency_s",)}
    store.predicted([Predicted(1e9, a, q) for a, q in zip(answers, asked, strict=True)])
    truths_of(store, answers, 1.2)
    table, schema = store.export(tmp_path / "measured")
    code, out, err = run(capsys, "calibrate", str(model_folder), str(table), "--schema", str(schema), "--out", str(tmp_path / "corrected"), "--json")
    assert code == 0, err
    said = json.loads(out)
    assert said["median_ape_before"]["latency_s"] == pytest.approx(0.2 / 1.2, rel=1e-3)
    assert said["median_ape_after"]["latency_s"] < 0.05
    code, out, err = run(capsys, "evaluate", str(tmp_path / "corrected"), str(table), "--schema", str(schema), "--json")
    assert code == 0, err


def test_measured_operators_correct_the_model_that_answered_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from silicast.datasets.measured import read_measured
    from silicast.features import FEATURE_VERSION, domain
    from silicast.serving.predictor import Predictor
    from silicast.surrogates import store as models
    from silicast.surrogates.card import ModelCard

    sheet = pd.DataFrame([{"m": m, "n": n, "k": 512, "dtype": "float16", "hardware": d, "framework": "trt", "t_ms": 1e-9 * m * n + 1e-3} for m in (64, 128, 256, 512, 1024) for n in (64, 256, 1024)
                          for d in ("t4", "a100_sxm")])
    meaning = {"op": "gemm", "columns": {"m": "m", "n": "n", "k": "k", "dtype": "dtype"}, "hardware": "hardware", "context": ["framework"], "targets": {"latency_s": {"column": "t_ms", "unit": "ms"}}}
    table = read_measured(sheet, meaning)
    fitted: Any = models.member("conformal")(models.member("boosted")(targets=("latency_s",), trees=30, threads=1), 0.9).fit(table)
    fitted.conformalize(table)
    card = ModelCard("ops", "1", "op", ("latency_s",), {"latency_s": "s"}, FEATURE_VERSION, "", table.source, table.digest, len(table), "none", 0.9, domain.describe(table), schema=meaning)
    folder = models.save(fitted, card, tmp_path / "ops")
    model = Predictor.load(folder)
    said = model.predict_table(table.questions)
    store = DriftStore(tmp_path / "d.db")
    asked = [{"kind": "gemm", "m": int(r.m), "n": int(r.n), "k": 512, "dtype": "float16", "framework": "trt", "hardware": hardware(r.hardware)} for r in sheet.itertuples()]
    answers = [{"id": f"p{i}", "hardware": q["hardware"].key, **said.answer(i)} for i, q in enumerate(asked)]
    store.predicted([Predicted(1e9, a, q) for a, q in zip(answers, asked, strict=True)])
    truths_of(store, answers, 1.5)
    exported, schema = store.export(tmp_path / "measured")
    code, out, err = run(capsys, "calibrate", str(folder), str(exported), "--schema", str(schema), "--out", str(tmp_path / "corrected"), "--json")
    assert code == 0, err
    assert json.loads(out)["median_ape_before"]["latency_s"] == pytest.approx(1 / 3, rel=1e-3)
    assert json.loads(out)["median_ape_after"]["latency_s"] < 0.1
