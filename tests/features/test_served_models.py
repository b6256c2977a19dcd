"""What serving a language model takes at the least: against arithmetic by hand, under the names that tables use."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from silicast.features import served_models
from silicast.features.served_models import COUNTED, ESTIMATES, SUMS, counted, estimates, roles, terms


def one(**changed: object) -> pd.DataFrame:
    return pd.DataFrame({"model": ["Llama-3.1-8B"], "hardware": ["h100_sxm"], "isl": [1000], "osl": [100], "batch_size": [1], "tp_size": [1], "precision": ["bf16"], **{k: [v] for k, v in changed.items()}})


def figures(frame: pd.DataFrame) -> dict[str, float]:
    return {name: float(v[0]) for name, v in estimates(frame, roles(frame, "model"))[0].items()}


@pytest.mark.parametrize(("columns", "expected"), [
    (("model", "hardware", "isl", "osl", "concurrency", "tp_size"), {"tokens_in": "isl", "tokens_out": "osl", "requests": "concurrency", "tensor": "tp_size"}),
    (("model", "GPU", "prompt_size", "token_size", "batch_size", "tensor_parallel"), {"tokens_in": "prompt_size", "tokens_out": "token_size", "requests": "batch_size", "tensor": "tensor_parallel"}),
    (("model", "hardware", "in_out_len", "batch_size", "num_devices"), {"tokens_in": "in_out_len", "tokens_out": "in_out_len", "requests": "batch_size", "all_devices": "num_devices"}),
    (("model", "hardware", "Input Length", "Output Length", "Batch Size"), {"tokens_in": "Input Length", "tokens_out": "Output Length", "requests": "Batch Size"}),
])
def test_columns_are_known_by_what_they_are_usually_called(columns: tuple[str, ...], expected: dict[str, str]) -> None:
    frame = pd.DataFrame({c: ["Llama-3.1-8B" if c == "model" else "h100_sxm"] if c in ("model", "hardware", "GPU") else [8] for c in columns})
    found = roles(frame, "model")
    assert {k: v for k, v in found.items() if k not in ("model", "machine", "usual")} == expected


def test_of_columns_that_say_the_same_the_surest_is_taken_in_any_order() -> None:
    wide = one(num_gpus=8, pp=2, dp=2, concurrency=16, num_prompts=1000, context_length=5, device=3)
    for frame in (wide, wide[wide.columns[::-1]]):
        found = roles(frame, "model")
        assert (found["tokens_in"], found["requests"], found["all_devices"]) == ("isl", "concurrency", "num_gpus")
        assert figures(frame)["step"] == pytest.approx(figures(one(tp_size=8, batch_size=16))["step"])  # eight GPUs in all: what they are cut into changes nothing


@pytest.mark.parametrize(("name", "expected"), [
    ("Qwen3-32B", (np.nan, np.nan)), ("QwQ-32B", (np.nan, np.nan)), ("DeepSeek-V3-0324", (np.nan, np.nan)), ("Qwen2.5-72B-Instruct-GPTQ-Int8", (1.0, 1.0)), ("Llama-3-70B-AWQ", (0.5, 2.0)),
    ("w4a16", (0.5, 2.0)), ("w4a8", (0.5, 1.0)), ("w8a16", (1.0, 2.0)), ("nvfp4", (0.5, 1.0)), ("float8_e4m3", (1.0, 1.0)), ("bfloat16", (2.0, 2.0)), ("fp32", (4.0, 4.0)), ("", (np.nan, np.nan)),
])
def test_sizes_and_dates_in_a_name_are_no_formats(name: str, expected: tuple[float, float]) -> None:
    assert served_models._format_of(name) == pytest.approx(expected, nan_ok=True)


def test_requests_that_are_not_told_are_no_single_one() -> None:
    frame = pd.concat([one(), one(batch_size=np.nan), one(isl=0)], ignore_index=True)
    assert np.isfinite(estimates(frame, roles(frame, "model"))[0]["whole"]).tolist() == [True, False, False]


def test_weights_alone_in_four_bits_are_multiplied_in_sixteen() -> None:
    long = {"isl": 100_000, "osl": 1}
    assert figures(one(precision="w4a16", **long))["prefill"] == pytest.approx(figures(one(**long))["prefill"], rel=0.01)
    assert figures(one(precision="fp8", **long))["prefill"] == pytest.approx(figures(one(**long))["prefill"] / 2, rel=0.01)


def test_a_table_without_machines_or_sizes_says_nothing() -> None:
    assert roles(one().drop(columns="hardware"), "model") == {}
    assert roles(one()[["model", "hardware", "precision"]], "model") == {}
    assert roles(one(hardware="a machine nobody knows"), "model") == {}


def test_a_dense_model_by_hand() -> None:
    # Llama 3.1 8B: 8.030 billion parameters, 32 layers, 8 key heads of 128: 65,536 numbers of cache a token; H100 SXM: 3.35 TB/s, 989.4 TFLOP/s in bfloat16
    found = figures(one())
    weights, cache, prompt = 2 * 8.030261e9 / 3.35e12, 1050 * 65536 * 2 / 3.35e12, 2 * 8.030261e9 * 1000 / 989.4e12
    step = weights + cache + 2 * 8.030261e9 / 989.4e12
    expected = {"step": step, "prefill": prompt + weights, "prefill_all": prompt + weights, "interleaved": step + prompt / 100, "whole": prompt + weights + 100 * step}
    assert found == pytest.approx(expected, rel=1e-3)
    assert tuple(found) == ESTIMATES


def test_devices_share_and_formats_shrink() -> None:
    base = figures(one())
    assert figures(one(tp_size=4))["step"] == pytest.approx(base["step"] / 4)
    assert figures(one(precision="fp8"))["step"] < 0.6 * base["step"]
    weights = 2 * 8.030261e9 / 3.35e12
    assert figures(one(batch_size=8))["prefill_all"] - weights == pytest.approx(8 * (base["prefill"] - weights), rel=1e-3)


def test_a_batch_meets_more_experts_and_never_more_than_all() -> None:
    frame = pd.concat([one(model="Mixtral-8x7B", batch_size=b, isl=1, osl=1) for b in (1, 4, 4096)], ignore_index=True)
    met = np.exp(estimates(frame, roles(frame, "model"))[1]["met"].to_numpy())
    assert met[0] == pytest.approx(12.88 / 46.70, rel=0.01)  # active over all parameters, as Mistral publishes them
    assert met[1] == pytest.approx(1 - (1 - met[0]) ** 4)
    assert met[2] == pytest.approx(1.0)


def test_a_format_not_told_is_the_usual_one_and_an_empty_cell_is_none() -> None:
    frame = pd.concat([one(precision=p) for p in ("fp8", "fp8", "bf16", None)], ignore_index=True)
    steps = estimates(frame, roles(frame, "model"))[0]["step"]
    assert steps[3] == steps[0] < steps[2]
    named = one(model="Llama-3.1-8B-FP8", precision="not told")
    assert figures(named)["step"] == pytest.approx(steps[0])


def test_a_model_nobody_knows_has_no_estimate() -> None:
    frame = pd.concat([one(), one(model="a model nobody knows")], ignore_index=True)
    found = estimates(frame, roles(frame, "model"))[0]["step"]
    assert np.isfinite(found).tolist() == [True, False]


def test_terms_add_up_to_what_is_estimated() -> None:
    frame = pd.concat([one(batch_size=8, tp_size=4), one(batch_size=8)], ignore_index=True)
    said = roles(frame, "model")
    found, made = terms(frame, said), estimates(frame, said)[0]
    assert {name: tuple(t.columns) for name, t in found.items()} == dict(SUMS)
    token, first, whole = found["token"], found["first"], found["whole"]
    np.testing.assert_allclose(token[["weights", "cache", "products"]].sum(axis=1), made["step"])
    np.testing.assert_allclose(token[["weights", "cache", "products", "prompts"]].sum(axis=1), made["interleaved"])
    np.testing.assert_allclose(first["prompt"] + first["read"], made["prefill"])
    np.testing.assert_allclose(whole[["weights", "cache", "products", "prompts"]].sum(axis=1) + first["read"], made["whole"])
    # 32 layers of width 4,096; ring over four devices: 2 x 3/4 of two bytes, twice a layer, for each of 1,000 tokens, at 3.35 TB/s; one device exchanges nothing
    assert first["exchanged"].tolist() == pytest.approx([1000 * 32 * 4096 * 2 * 2 * 2 * 0.75 / 3.35e12, 0.0], rel=1e-3)
    # seven matrices in each of 32 layers; two halves of 2 x 1,000^2 products over 32 heads of 128
    assert first["launched"].tolist() == [224.0, 224.0]
    assert first["seen"][1] == pytest.approx(2 * 1000**2 * 32 * 32 * 128 / 989.4e12, rel=1e-3)


def test_a_queue_of_few_long_answers_is_none_and_of_many_prompts_all_of_them() -> None:
    """Reiser and Lavenberg, 1980: one customer never waits; where service is the bottleneck R tends to N p - Z."""
    for requests, out in ((1, 10), (1, 1000), (512, 1)):
        frame = one(batch_size=requests, osl=out, isl=10_000)
        found, made = terms(frame, roles(frame, "model"))["first"].iloc[0], figures(frame)
        p, stay = found["prompt"], out * made["step"]
        expected = p if requests == 1 else requests * p - stay
        assert found["queue"] == pytest.approx(expected, rel=1e-6 if requests == 1 else 0.01)


def test_terms_of_models_nobody_measured() -> None:
    """A model that only its name tells of has the matrices of others of its size; one that nothing tells of has no terms."""
    frame = pd.concat([one(model=m) for m in ("Newcomer-70B", "Llama-3.1-70B", "a model nobody knows")], ignore_index=True)
    found = terms(frame, roles(frame, "model"))["token"]
    assert 0.5 < found["launched"][0] / found["launched"][1] < 2.0
    assert found["launched"][1] == 80 * 7
    assert found.iloc[2].drop("cache").isna().all()


def test_what_throughputs_count_is_a_batch_over_its_whole_answer() -> None:
    frame = one(batch_size=8, tp_size=4)
    said = roles(frame, "model")
    found, whole, token = counted(frame, said), float(terms(frame, said)["whole"].to_numpy().sum()), float(terms(frame, said)["token"].to_numpy().sum())
    assert set(found) == {"token", *COUNTED}
    sums = {name: float(t.to_numpy().sum()) for name, t in found.items()}
    assert sums == pytest.approx({"token": token, "request": whole / 8, "out": whole / 800, "all": whole / 8800, "request_device": whole / 2, "out_device": whole / 200, "all_device": whole / 2200})


def test_a_full_machine_serves_what_its_memory_has_room_for() -> None:
    # Llama 3.1 8B on an H100 SXM of 80 GiB: 0.9 of it less 16.06 GB of weights; 1,000 + 100 / 2 tokens of 65,536 numbers of two bytes
    frame = one().drop(columns="batch_size")
    said = roles(frame, "model")
    requests = (0.9 * 80 * 2**30 - 2 * 8.030261e9) / (1050 * 65536 * 2)
    assert served_models._costs(frame, said, full=True).batch == pytest.approx([requests], rel=1e-3)
    assert float(estimates(frame, said)[0]["step"][0]) == pytest.approx(figures(one())["step"])  # a time without a word of requests is that of one
    assert served_models._costs(one(model="Llama-3.1-405B").drop(columns="batch_size"), said, full=True).batch.tolist() == [1.0]  # it does not fit, and was measured all the same
    assert served_models._costs(one(batch_size=4), roles(one(), "model"), full=True).batch.tolist() == [4.0]
