"""Tracking and registry on one SQLite store (made once: its migrations take seconds) with fake model folders."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import FormatError, InputError, RegistryError, UnknownNameError
from silicast.surrogates import store
from silicast.training import metrics, registry, tracking
from silicast.training.tracking import Run


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("store")
    before = os.environ.get("MLFLOW_TRACKING_URI"), os.getcwd()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    yield f"sqlite:///{folder / 'mlflow.db'}"
    assert os.environ.get("MLFLOW_TRACKING_URI") == before[0], "the process-wide store was changed"
    left = list(Path.cwd().iterdir())
    os.chdir(before[1])
    assert left == [], "something was written to the working directory"


def add(uri: str, folder: Path, name: str) -> str:
    with Run("test", uri=uri) as run:
        return registry.register(folder, name, run)


def test_the_life_of_a_champion(uri: str, make_model: Any, capfd: pytest.CaptureFixture[str]) -> None:
    first = add(uri, make_model("one"), "life")
    assert registry.show("life", uri).champion is None
    assert registry.promote("life", first, uri) == registry.Promotion("life", first, None, ("first champion; coverage holds",))
    assert registry.promote("life", first, uri).reasons == ("is champion already",)

    second = add(uri, make_model("two", error=0.054), "life")  # 8 % worse: lets it
    moved = registry.promote("life", second, uri)
    assert (moved.version, moved.previous) == (second, first)

    third = add(uri, make_model("three", error=0.08), "life")
    with pytest.raises(InputError, match=rf"version {third} of life was not promoted.*0\.0800 is more than 10% worse.*stays {second}"):
        registry.promote("life", third, uri)
    assert registry.show("life", uri).champion == second
    forced = registry.promote("life", third, uri, force=True)
    assert forced.version == third

    model = registry.show("life", uri)
    assert [v.version for v in model.versions] == [third, second, first]
    assert (model.champion, model.former) == (third, (first, second))
    assert model.versions[0].aliases == ("champion",)
    assert model.versions[0].tags["gate"] == "forced"
    assert "10% worse" in model.versions[0].tags["gate_reasons"]
    assert model.versions[1].tags["gate"] == "passed"

    assert registry.rollback("life", uri).version == second
    assert registry.rollback("life", uri).version == first
    assert "rolled_back_at" in registry.show("life", uri).versions[0].tags
    with pytest.raises(InputError, match="no earlier champion"):
        registry.rollback("life", uri)
    assert [m.name for m in registry.list_models(uri)] == ["life"]
    assert capfd.readouterr() == ("", "")  # MLflow is silent


def test_resolve_gives_the_folder_in_the_store(uri: str, make_model: Any) -> None:
    made = make_model("resolved", factor=1.5)
    version = add(uri, made, "resolved")
    folder = registry.resolve(f"models:/resolved/{version}", uri)
    assert folder.is_relative_to(Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts")
    assert folder == registry.resolve("models:/resolved/latest", uri)
    surrogate, card = store.load(folder)
    assert surrogate.factor == 1.5
    assert card == registry.card_of(f"models:/resolved/{version}", uri) == store.load(made)[1]
    assert not [p for p in folder.parent.parent.rglob("*") if p.suffix in (".pkl", ".pickle")]
    shutil.rmtree(folder)
    with pytest.raises(RegistryError, match="incomplete; the store's files were moved or deleted"):
        registry.resolve(f"models:/resolved/{version}", uri)


def test_unknown_names_say_what_is_near(uri: str, make_model: Any) -> None:
    version = add(uri, make_model("near"), "cost-near")
    with pytest.raises(UnknownNameError, match="unknown model 'cost-neer'; nearest: cost-near"):
        registry.resolve("models:/cost-neer@champion", uri)
    with pytest.raises(UnknownNameError, match="unknown alias of model cost-near 'champoin'"):
        registry.resolve("models:/cost-near@champoin", uri)
    with pytest.raises(UnknownNameError, match="unknown version of model cost-near '99'"):
        registry.resolve("models:/cost-near/99", uri)
    with pytest.raises(UnknownNameError, match="unknown version of model cost-near 'x'"):
        registry.resolve("models:/cost-near/x", uri)
    for action in (registry.show, registry.rollback):
        with pytest.raises(UnknownNameError, match="cost-near"):
            action("cost-nea", uri)
    with pytest.raises(UnknownNameError, match=f"unknown version of model cost-near '7'.*{version}"):
        registry.promote("cost-near", 7, uri)
    for reference in ("cost-near", "models:/", "models:/a/b/c", "runs:/x/model", "models:/m-123"):
        with pytest.raises(FormatError, match="expected models:/NAME@alias"):
            registry.resolve(reference, uri)


def test_a_damaged_folder_is_not_registered(uri: str, make_model: Any) -> None:
    folder = make_model("damaged")
    (folder / "w.json").write_text("{}")
    with pytest.raises(FormatError, match="damaged or was altered"):
        add(uri, folder, "damaged")
    assert "damaged" not in [m.name for m in registry.list_models(uri)]


def test_mlflow_itself_can_load_and_ask_the_model(uri: str, make_model: Any) -> None:
    from silicast.training import pyfunc

    version = add(uri, make_model("asked", domain={"devices": ["toy"]}), "asked")
    with tracking.quiet():
        import mlflow

        folder = registry.resolve(f"models:/asked/{version}", uri).parent.parent
        loaded = mlflow.pyfunc.load_model(str(folder))
    _, card = store.load(registry.resolve(f"models:/asked/{version}", uri))
    toy = pyfunc.example(card)
    assert toy is not None
    machine = {"format": "silicast-hardware/1", "key": "toy", "name": "toy", "kind": "npu", "clock_hz": 1e9, "matrix_rate": {"float16": 1e12},
               "memory": [{"name": "dram", "capacity_bytes": 1e9, "bandwidth_bytes_per_s": 1e10}]}
    toy["hardware"] = json.dumps(machine)
    answers = loaded.predict(toy)
    assert list(answers.columns) == ["latency_s", "latency_s_low", "latency_s_high", "domain", "domain_reason", "calibrated"]
    # one matrix product of 64 x 256 x 256: 2 * 64 * 256 * 256 flops at 1e12 per second, times the fake's 1.02
    assert answers["latency_s"][0] == pytest.approx(1.02 * 2 * 64 * 256 * 256 / 1e12)
    assert answers["domain"][0] == "in_domain"
    assert loaded.metadata.signature.inputs.input_names() == ["workload_json", "hardware"]
    with pytest.raises(InputError, match=r"row 0: .*hardware"):
        pyfunc.questions_of(toy.assign(hardware="/etc/device.yaml"), "graph")
    with pytest.raises(InputError, match="missing column hardware"):
        pyfunc.questions_of(toy[["workload_json"]], "graph")


def test_a_run_holds_metrics_datasets_artifacts_and_its_end(uri: str, fakes: None, table: Any, tmp_path: Path) -> None:
    from silicast.surrogates.prediction import Prediction

    truth = np.stack([table.targets[t] for t in ("latency_s", "power_w")], axis=1)
    frame = metrics.by_slice(table, Prediction.bare(["latency_s", "power_w"], truth * 1.1))
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "p.png").write_bytes(b"p")
    with Run("whole", "exp", uri, {"seed": 3}, {"k": "v"}) as run:
        run.log_slices(frame)
        run.log_dataset(table, "train")
        run.log_artifacts(tmp_path / "a.txt", tmp_path / "pics")
        with Run("inner", "exp", parent=run) as inner:
            inner.log_metrics({"x": 1.0, "nan": float("nan")})
        with pytest.raises(ZeroDivisionError), Run("bad", "exp", parent=run) as bad:
            _ = 1 / 0
    found = run.client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.metrics["test/latency_s/median_ape"] == pytest.approx(0.1)
    assert found.data.metrics["test/power_w/median_ape/kind/gpu"] == pytest.approx(0.1)
    assert "test/latency_s/kendall/device/slow" not in found.data.metrics
    assert found.data.params == {"seed": "3"}
    assert found.data.tags["k"] == "v"
    assert found.inputs.dataset_inputs[0].dataset.digest == table.digest
    assert {a.path for a in run.client.list_artifacts(run.run_id)} == {"a.txt", "pics"}
    nested = run.client.get_run(inner.run_id)
    assert nested.data.tags["mlflow.parentRunId"] == run.run_id
    assert nested.data.metrics == {"x": 1.0}
    assert run.client.get_run(bad.run_id).info.status == "FAILED"


def test_a_store_that_is_missing_damaged_or_away(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"no such file .*train a model first"):
        registry.list_models(f"sqlite:///{tmp_path / 'none.db'}")
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(RegistryError, match="does not exist"):
        tracking.connect(f"sqlite:///{tmp_path / 'no' / 'none.db'}")
    (tmp_path / "bad.db").write_bytes(b"this is not a database " * 100)
    with pytest.raises(RegistryError, match="damaged or no MLflow store"):
        registry.list_models(f"sqlite:///{tmp_path / 'bad.db'}")
    with pytest.raises(RegistryError, match="cannot be reached"):
        registry.resolve("models:/a@champion", "http://127.0.0.1:9")


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking.default_uri() == "sqlite:///mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there")
    assert tracking.default_uri() == "http://there"
    with tracking.quiet():
        assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
        assert logging.getLogger("mlflow").level == logging.ERROR


def test_frames_of_features_pass_through() -> None:
    from silicast.training import pyfunc

    frame = pd.DataFrame({"a": [1.0, 2.0]}, index=[7, 9])
    assert len(pyfunc.questions_of(frame, "features")) == 2
    with pytest.raises(InputError, match="'op' questions and its card has no schema"):
        pyfunc.questions_of(frame, "op")


def test_a_first_champion_whose_intervals_do_not_hold_is_refused(uri: str, make_model: Any) -> None:
    version = add(uri, make_model("wide", coverage=0.5), "first-refused")
    with pytest.raises(InputError, match=r"coverage 0\.500 is outside 0\.75\.\.1\.00\. There is no champion yet"):
        registry.promote("first-refused", version, uri)
    assert registry.show("first-refused", uri).champion is None
    assert registry.show("first-refused", uri).versions[0].tags["gate"] == "refused"
