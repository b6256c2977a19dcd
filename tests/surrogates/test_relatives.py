"""Language models never seen: asked as those of the table, carried over by the power that the table shows, and only where that was better when models were held out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.measured import read_measured
from silicast.surrogates import relatives, store
from silicast.surrogates.blended import Blended

SIZES = {"acme/small-1b": 1.0, "acme/plain-3b": 3.0, "acme/other-8x1b": 8.0, "acme/wide-14b": 14.0, "Llama-2-7b-hf": 6.7, "Llama-2-13b-hf": 13.0, "Llama-2-70b-hf": 69.0}
SCHEMA = {"features": ["model", "batch"], "targets": {"latency_s": {"column": "s", "unit": "s"}}, "group": ["model", "batch"]}


def law(frame: pd.DataFrame) -> np.ndarray:
    """Seconds that go with the 0.8th power of the parameters that a token meets, whatever the batch does."""
    met = np.exp([np.log(relatives.active(m)) for m in frame["model"]]) / 1e9
    return np.asarray(met**0.8 * (1.0 + frame["batch"].to_numpy() / 16.0) * 1e-2)


def table(models: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame([(m, float(b)) for m in models for b in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)], columns=["model", "batch"])
    return frame.assign(s=law(frame) * np.exp(np.random.default_rng(0).normal(0, 0.02, len(frame))))


def test_the_power_is_the_tables_own() -> None:
    """Asked as model m, rows cost what m costs; what the row's own model costs beyond that is the power of their ratio: 0.8 by construction, drawn a little to the usual one."""
    frame = table([m for m in SIZES if "8x1b" not in m])
    told = relatives.known(frame, "model")
    assert len(told["names"]) == 6
    powers, kept = relatives.learn(frame, "model", told, frame[["s"]].to_numpy(), lambda f: law(f)[:, None], 0)
    assert powers == pytest.approx([0.8], abs=0.01)
    assert kept == [True]
    odd = frame["s"].to_numpy() * np.exp(frame["model"].map({m: (-1.0) ** i for i, m in enumerate(SIZES)}))  # every other model run in another way: no power says that
    assert relatives.learn(frame, "model", told, np.column_stack([odd]), lambda f: law(f)[:, None], 0)[1] == [False]
    assert relatives.learn(frame, "model", told, -frame[["s"]].to_numpy(), lambda f: law(f)[:, None], 0) == ([0.7], [False])
    assert relatives.known(table(["Llama-2-7b-hf", "Llama-2-13b-hf"]), "model") == {}  # two models are none to learn a power from


def test_rows_are_carried_over_by_the_ratio_of_the_parameters_a_token_meets() -> None:
    frame = table(["Llama-2-7b-hf", "Llama-2-13b-hf", "Llama-2-70b-hf"])
    told = relatives.known(frame, "model")
    new = frame.assign(model="new/thing-30b")
    assert relatives.answered(new, "model", told, [0.8], lambda f: law(f)[:, None])[:, 0] == pytest.approx(law(new), rel=1e-9)
    assert np.isnan(relatives.answered(frame.assign(model="nameless"), "model", told, [0.8], lambda f: law(f)[:, None])).all()


def test_a_model_never_seen_is_answered_by_its_relatives_and_its_interval_knows(tmp_path: Path) -> None:
    new = "Llama-2-70b-hf"
    asked = read_measured(table([new]), SCHEMA, need_targets=False).questions
    model = Blended(targets=("latency_s",)).fit(read_measured(table([m for m in SIZES if m != new and "8x1b" not in m]), SCHEMA))
    assert model._relatives["model"]["shares"]["latency_s"]["relatives"] > 0.5
    assert np.median(np.abs(model.predict(asked).point[:, 0] / law(table([new])) - 1.0)) < 0.05  # five times the largest of the table
    assert model.kinds(asked).tolist() == ["model"] * len(asked)
    assert (model.beyond(asked) == 1.0).all()
    nobody = read_measured(table([new]).assign(model="nobody knows"), SCHEMA, need_targets=False).questions
    assert (model.beyond(nobody) == 2.0).all()
    assert "model" in model.expected_far()[1]
    spec, files = model.weights()
    again = Blended.from_weights(json.loads(json.dumps(spec)), files, tmp_path, store.member)
    np.testing.assert_allclose(again.predict(asked).point, model.predict(asked).point, rtol=1e-9)
    known = read_measured(table(["acme/plain-3b"]), SCHEMA, need_targets=False).questions
    assert model.kinds(known).tolist() == [""] * len(known)


def test_where_models_keep_to_no_power_after_all_nobody_asks_relatives_and_no_width_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rehearsals said yes, all rows say no: what is remembered are errors of those who answer, or nothing where no target is left."""
    data = read_measured(table([m for m in SIZES if "70b" not in m and "8x1b" not in m]).assign(w=lambda f: f["s"] * 3.0), {**SCHEMA, "targets": {**SCHEMA["targets"], "power_w": {"column": "w", "unit": "W"}}})  # type: ignore[dict-item]
    learn, last, whole = relatives.learn, [True, False], len(data)

    def unsure(frame: pd.DataFrame, *rest: Any) -> tuple[list[float], list[bool]]:
        powers, kept = learn(frame, *rest)
        return powers, list(last) if len(frame) == whole else kept

    monkeypatch.setattr(relatives, "learn", unsure)
    model = Blended(targets=("latency_s", "power_w")).fit(data)
    assert "relatives" in model._relatives["model"]["shares"]["latency_s"]
    assert model._relatives["model"]["shares"]["power_w"] == {"usual": 1.0}
    latency, power = (float(np.quantile(np.abs(np.log(point / truth)), 0.9)) for truth, point in (model.rehearsed["model"][t] for t in ("latency_s", "power_w")))
    assert latency < power  # the same law: only who answers differs
    asked = read_measured(table(["Llama-2-70b-hf"]), SCHEMA, need_targets=False).questions
    assert set(model.kinds(asked)) == {"model"}
    last[0], model.rehearsed["model"] = False, {}
    model._settle_models(data, {"model": {name: np.ones((len(data), 2)) for name in ("usual", "relatives")}}, lambda f: np.column_stack([law(f), law(f)]))
    assert model._relatives == {}
    assert model.rehearsed["model"] == {}
    assert "model" not in set(model.kinds(asked))


def test_relatives_that_are_worse_about_models_held_out_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relatives, "answered", lambda frame, column, told, powers, ask: np.full((len(frame), len(powers)), 1e3))
    model = Blended(targets=("latency_s",)).fit(read_measured(table([m for m in SIZES if "70b" not in m and "8x1b" not in m]), SCHEMA))
    assert model._relatives == {}
    assert model.rehearsed["model"] == {}


def test_a_target_of_one_model_alone_teaches_no_power() -> None:
    """Beside the model there is no row of the target at all, neither where models are held out nor, as groups are models, in its fold."""
    frame = table([m for m in SIZES if "70b" not in m and "8x1b" not in m])
    data = read_measured(frame, {**SCHEMA, "group": ["model"]})
    data.targets["power_w"] = np.where(frame["model"] == "acme/plain-3b", frame["s"] * 3.0, np.nan)
    model = Blended(targets=("latency_s", "power_w")).fit(data)
    assert all(told["shares"]["power_w"] == {"usual": 1.0} for told in model._relatives.values())
    assert np.isfinite(model.predict(data.questions).point[:, 0]).all()


def test_two_columns_of_models_are_remembered_side_by_side() -> None:
    model = Blended(targets=("latency_s",))
    frame = table([m for m in SIZES if "70b" not in m and "8x1b" not in m]).assign(draft=lambda f: f["model"])
    data = read_measured(frame, {**SCHEMA, "features": ["model", "draft", "batch"]})
    said = {"usual": np.full((len(data), 1), np.nan), "relatives": np.full((len(data), 1), np.nan)}
    said["relatives"][:12] = data.targets["latency_s"][:12, None] * 1.1
    told = {**relatives.known(frame, "model"), "known": sorted(set(frame["model"])), "shares": {"latency_s": {"relatives": 1.0}}}
    model._language_models, model._relatives = ("model", "draft"), {"model": dict(told), "draft": dict(told)}
    wrong = {**said, "relatives": said["relatives"] * 2.0}
    model._settle_models(data, {"model": said, "draft": wrong}, lambda f: law(f)[:, None])
    truth, point = model.rehearsed["model"]["latency_s"]
    assert point / truth == pytest.approx([np.exp((np.log(1.1) + 2.0 * np.log(1.6)) / 3.0)] * 12 + [2.2] * 12)  # one model held out is no surer than models are
