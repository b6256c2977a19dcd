"""Language models never seen in a table of served ones: answered by what serving them takes at the least, where that was the better with models held out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import FormatError
from silicast.datasets.measured import read_measured
from silicast.features import served_models
from silicast.surrogates import store
from silicast.surrogates.blended import Blended
from silicast.surrogates.served import Served

MODELS = ("Llama-2-7b-hf", "Llama-2-13b-hf", "Llama-3.1-8B", "Llama-3.1-70B", "Mixtral-8x7B", "Qwen3-32B", "gpt-oss-120b")
SCHEMA = {"hardware": "hardware", "features": ["model", "isl", "osl", "concurrency", "tp_size", "backend"], "targets": {"tpot_s": {"column": "tpot", "unit": "s"}}, "group": ["model"]}


def table(models: tuple[str, ...]) -> pd.DataFrame:
    """Steps that take twice the least on one backend and three times on the other, give or take two percent."""
    frame = pd.DataFrame([("h100_sxm", m, i, o, c, t, b) for m in models for i, o in ((128, 512), (1024, 256), (4096, 1024)) for c in (1, 8, 64) for t in (1, 4) for b in ("one", "other")],
                         columns=["hardware", "model", "isl", "osl", "concurrency", "tp_size", "backend"])
    least = served_models.estimates(frame, served_models.roles(frame, "model"))[0]["step"]
    return frame.assign(tpot=least * np.where(frame["backend"] == "one", 2.0, 3.0) * np.exp(np.random.default_rng(0).normal(0, 0.02, len(frame))))


@pytest.mark.parametrize("new", ["gpt-oss-120b", "Llama-2-7b-hf"])  # unlike the others; those that lie among them the usual blend answers as well
def test_a_model_never_seen_is_answered_by_what_it_takes_and_survives_saving(new: str, tmp_path: Path) -> None:
    truth = table((new,))
    asked = read_measured(truth, SCHEMA, need_targets=False).questions
    model = Blended(targets=("tpot_s",)).fit(read_measured(table(tuple(m for m in MODELS if m != new)), SCHEMA))
    shares = model._relatives["model"]["shares"]["tpot_s"]
    assert shares["served"] > 0.3
    off = np.median(np.abs(np.log(model.predict(asked).point[:, 0] / truth["tpot"].to_numpy())))
    usual = Blended.from_weights(*model.weights(), tmp_path, store.member)
    usual._relatives = {}
    assert off < 0.75 * np.median(np.abs(np.log(usual.predict(asked).point[:, 0] / truth["tpot"].to_numpy())))
    assert model.kinds(asked).tolist() == ["model"] * len(asked)
    spec, files = model.weights()
    again = Blended.from_weights(json.loads(json.dumps(spec)), files, tmp_path, store.member)
    np.testing.assert_allclose(again.predict(asked).point, model.predict(asked).point, rtol=1e-9)


def test_a_damaged_folder_is_told_when_it_is_loaded(tmp_path: Path) -> None:
    data = read_measured(table(MODELS[:5]), SCHEMA)
    member = Served.of(data, "model", ("model",), ("tpot_s",), 0)
    assert member is not None
    spec, files = member.fit(data).weights()
    for said in ({}, {**spec["said"], "model": "nope"}, {k: v for k, v in spec["said"].items() if k != "machine"}):
        with pytest.raises(FormatError, match="what serving takes"):
            Served.from_weights({**spec, "said": said}, files, tmp_path, store.member)
    for wrong in ({"terms": "nope"}, {"sum": {**spec["sums"]["tpot_s"]["sum"], "scale": []}}, {"sum": {**spec["sums"]["tpot_s"]["sum"], "names": ["nope"] * len(spec["sums"]["tpot_s"]["sum"]["names"])}}):
        with pytest.raises(FormatError, match=r"what serving takes|a sum of times"):
            Served.from_weights({**spec, "sums": {"tpot_s": {**spec["sums"]["tpot_s"], **wrong}}}, files, tmp_path, store.member)


def test_a_token_is_a_sum_of_its_own_terms_and_a_model_saved_without_sums_answers_as_it_did(tmp_path: Path) -> None:
    data = read_measured(table(MODELS[:5]), SCHEMA)
    member = Served.of(data, "model", ("model",), ("tpot_s",), 0)
    assert member is not None
    spec, files = member.fit(data).weights()
    assert spec["sums"]["tpot_s"]["terms"] == "token"
    older = {name: told for name, told in spec.items() if name != "sums"}
    before = Served.from_weights(older, {name: content for name, content in files.items() if not name.startswith("sum")}, tmp_path, store.member)
    member._sums = {}
    np.testing.assert_allclose(before.answers(data.questions.frame), member.answers(data.questions.frame), rtol=1e-9)
    assert not np.allclose(before.answers(data.questions.frame), Served.from_weights(spec, files, tmp_path, store.member).answers(data.questions.frame))


def test_a_table_may_call_its_columns_as_the_estimates_are_called() -> None:
    data = read_measured(table(MODELS[:4]).assign(**{"served.met": 1.0}), {**SCHEMA, "features": [*SCHEMA["features"], "served.met"]})  # type: ignore[misc]
    member = Served.of(data, "model", ("model",), ("tpot_s",), 0)
    assert member is not None
    assert np.isfinite(member.fit(data).answers(data.questions.frame)).all()


def test_models_or_machines_nobody_knows_are_not_answered() -> None:
    data = read_measured(table(MODELS[:4]), SCHEMA)
    member = Served.of(data, "model", ("model",), ("tpot_s",), 0)
    assert member is not None
    frame = pd.concat([data.questions.frame.head(2), data.questions.frame.head(2).assign(model="nobody knows"), data.questions.frame.head(2).assign(hardware="nor this")], ignore_index=True)
    assert np.isfinite(member.fit(data).answers(frame)[:, 0]).tolist() == [True, True, False, False, False, False]


def test_a_table_that_is_not_about_serving_or_not_positive_has_none() -> None:
    data = read_measured(table(MODELS[:4]), SCHEMA)
    assert Served.of(data.take(np.arange(4)), "model", ("model",), ("tpot_s",), 0) is not None
    assert Served.of(replace(data, targets={"tpot_s": data.targets["tpot_s"] - 0.01}), "model", ("model",), ("tpot_s",), 0) is None
    fast = replace(data, targets={"watts_w": 1.0 / data.targets["tpot_s"], "tpot_s": data.targets["tpot_s"]})
    assert Served.of(fast, "model", ("model",), ("watts_w",), 0) is None
    member = Served.of(fast, "model", ("model",), ("watts_w", "tpot_s"), 0)
    assert member is not None
    assert np.isfinite(member.fit(fast).answers(data.questions.frame)).all(0).tolist() == [False, True]
    plain = {**SCHEMA, "features": ["model", "backend"]}
    assert Served.of(read_measured(table(MODELS[:4]), plain), "model", ("model",), ("tpot_s",), 0) is None


RATES = {**SCHEMA, "features": ["model", "isl", "osl", "tp_size", "backend"], "targets": {"throughput_tok_s": {"column": "tok_s", "unit": "tok/s"}}}


def rates(models: tuple[str, ...]) -> pd.DataFrame:
    """Tokens out per second of full machines: six tenths of the most on one backend, three on the other."""
    frame = table(models).drop(columns=["tpot", "concurrency"]).drop_duplicates(ignore_index=True)
    least = served_models.counted(frame, served_models.roles(frame, "model"))["out"][["weights", "cache", "products", "prompts"]].sum(axis=1, skipna=False)
    frame = frame.assign(tok_s=np.where(frame["backend"] == "one", 0.6, 0.3) / least * np.exp(np.random.default_rng(0).normal(0, 0.02, len(frame))))
    return frame[np.isfinite(frame["tok_s"])].reset_index(drop=True)


def test_a_throughput_is_a_count_over_a_time(tmp_path: Path) -> None:
    data, asked = read_measured(rates(tuple(m for m in MODELS if m != "Qwen3-32B")), RATES), rates(("Qwen3-32B",))
    member = Served.of(data, "model", ("model",), ("throughput_tok_s",), 0)
    assert member is not None
    frame = read_measured(asked, RATES, need_targets=False).questions.frame
    found = member.fit(data).answers(frame)
    assert np.median(np.abs(np.log(found[:, 0] / asked["tok_s"]))) < 0.25
    spec, files = member.weights()
    assert set(spec["members"]) == {"1/", "1/token", "1/request", "1/out"}
    assert spec["sums"]["throughput_tok_s"]["terms"] in served_models.COUNTED
    again = Served.from_weights(json.loads(json.dumps(spec)), files, tmp_path, store.member)
    np.testing.assert_allclose(again.answers(frame), found, rtol=1e-9)
    with pytest.raises(FormatError, match="what serving takes"):
        Served.from_weights({**spec, "sums": {"throughput_tok_s": {**spec["sums"]["throughput_tok_s"], "terms": "first"}}}, files, tmp_path, store.member)


def test_times_and_throughputs_of_one_table_are_learned_apart() -> None:
    data = read_measured(table(MODELS[:5]), SCHEMA)
    both = replace(data, targets={"tpot_s": data.targets["tpot_s"], "tok_s": 1.0 / data.targets["tpot_s"]})
    alone, member = (Served.of(t, "model", ("model",), tuple(t.targets), 0) for t in (data, both))
    assert alone is not None
    assert member is not None
    found = member.fit(both).answers(data.questions.frame)
    np.testing.assert_allclose(found[:, 0], alone.fit(data).answers(data.questions.frame)[:, 0])
    assert member.weights()[0]["sums"]["tok_s"]["terms"] == "token"
    assert np.median(np.abs(np.log(found[:, 1] * data.targets["tpot_s"]))) < 0.1


def test_a_throughput_that_is_not_positive_is_left_and_the_times_beside_it_are_not() -> None:
    data = read_measured(table(MODELS[:4]), SCHEMA)
    one, other = 1.0 / data.targets["tpot_s"], 2.0 / data.targets["tpot_s"]
    mixed = replace(data, targets={"tpot_s": data.targets["tpot_s"], "tok_s": np.where(np.arange(len(one)) == 0, 0.0, one), "req_s": other})
    member = Served.of(mixed, "model", ("model",), tuple(mixed.targets), 0)
    assert member is not None
    spec, files = member.fit(mixed).weights()
    found = Served.from_weights(json.loads(json.dumps(spec)), files, Path(), store.member).answers(data.questions.frame)
    assert np.isfinite(found).all(0).tolist() == [True, False, True]
    assert Served.of(replace(mixed, targets={"tok_s": mixed.targets["tok_s"]}), "model", ("model",), ("tok_s",), 0) is None


def test_prompts_longer_than_any_of_a_known_model_are_asked_of_what_serving_takes_too(tmp_path: Path) -> None:
    """First tokens of prompts up to 4096 tokens, thrice the least; asked of 20,000. Physics knows that attention grows with the square of them."""
    def rows(lengths: tuple[int, ...]) -> pd.DataFrame:
        frame = pd.DataFrame([("h100_sxm", m, i, 256, c, t, "one") for m in MODELS for i in lengths for c in (1, 8) for t in (1, 4)], columns=["hardware", "model", "isl", "osl", "concurrency", "tp_size", "backend"])
        least = served_models.estimates(frame, served_models.roles(frame, "model"))[0]["prefill"]
        return frame.assign(ttft=3.0 * least * np.exp(np.random.default_rng(0).normal(0, 0.02, len(frame))))

    schema = {**SCHEMA, "targets": {"ttft_s": {"column": "ttft", "unit": "s"}}}
    model = Blended(targets=("ttft_s",)).fit(read_measured(rows((128, 256, 512, 1024, 2048, 4096)), schema))
    assert "served" in model._reach["shares"]["ttft_s"]
    truth = rows((20_000,))
    asked = read_measured(truth, schema, need_targets=False).questions
    assert np.median(np.abs(np.log(model.predict(asked).point[:, 0] / truth["ttft"].to_numpy()))) < 0.15
    spec, files = model.weights()
    np.testing.assert_allclose(Blended.from_weights(json.loads(json.dumps(spec)), files, tmp_path, store.member).predict(asked).point, model.predict(asked).point, rtol=1e-9)
    with pytest.raises(FormatError, match="what serving takes is missing"):
        Blended.from_weights(json.loads(json.dumps({**spec, "served": {}})), files, tmp_path, store.member)


@pytest.mark.parametrize(("name", "sort"), [("throughput_tok_s", "rates"), ("tok_s", "rates"), ("req_s", "rates"), ("tokens_per_s", "rates"), ("request_per_s", "rates"), ("ttft_s", "times"), ("time_per_request_s", "times"),
                                            ("time_per_output_token_s", "times"), ("seconds_per_sample_s", "times"), ("throughput_latency_s", "times"), ("power_w", "")])
def test_names_of_times_and_of_throughputs(name: str, sort: str) -> None:
    member = Served((name,), {"model": "m", "machine": "h", "usual": "f"}, ("m",), 0)
    assert [kind for kind in ("rates", "times") if name in getattr(member, kind)] == ([sort] if sort else [])


def test_a_throughput_that_is_zero_somewhere_leaves_the_usual_answer_beyond_the_sizes(tmp_path: Path) -> None:
    frame = pd.DataFrame([("h100_sxm", m, i, 256, c, 1, "one") for m in MODELS[:3] for i in (128, 256, 512, 1024, 2048, 4096) for c in (1, 8, 64)], columns=["hardware", "model", "isl", "osl", "concurrency", "tp_size", "backend"])
    least = served_models.estimates(frame, served_models.roles(frame, "model"))[0]["whole"]
    frame["rate"] = frame["concurrency"] / (3.0 * least)
    frame.loc[frame.index[frame["isl"] == 4096][0], "rate"] = 0.0
    schema = {**SCHEMA, "targets": {"req_s": {"column": "rate", "unit": ""}}}
    model = Blended(targets=("req_s",)).fit(read_measured(frame, schema))
    assert not any("served" in shares for shares in model._reach.get("shares", {}).values())
    assert np.isfinite(model.predict(read_measured(frame.head(3).assign(isl=20_000), schema, need_targets=False).questions).point).all()
    spec, files = model.weights()
    damaged = json.loads(json.dumps(spec))
    damaged.setdefault("reach", {}).setdefault("shares", {})["req_s"] = {"served": 1.0}
    with pytest.raises(FormatError, match="what serving takes is missing"):
        Blended.from_weights(damaged, files, tmp_path, store.member)
    for rare in ([["k", "a"]], 5):
        damaged = json.loads(json.dumps(spec))
        damaged["strangers"].setdefault("(values never seen)", {"columns": {}, "joint": [], "shares": {}})["rare"] = rare
        with pytest.raises(FormatError, match="words of few rows"):
            Blended.from_weights(damaged, files, tmp_path, store.member)
