"""`silicast llm`: serving and training of language models from the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from silicast.serving.cli import app


def run(*args: Any) -> Any:
    return CliRunner().invoke(app, [str(a) for a in args])


def document(*args: Any) -> Any:
    result = run(*args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_model_served_by_a_cluster() -> None:
    told = document("llm", "serve", "llama2_7b", "--on", "dgx_h100_superpod", "--tensor", 2, "--batch", 4, "--prompt", 512, "--output", 64)
    values = told["values"]
    # the definition users expect: (end to end - first token) / (tokens - 1)
    assert values["tpot_s"] == pytest.approx((values["latency_s"] - values["ttft_s"]) / 63)
    assert values["energy_j"] == pytest.approx(values["power_w"] * values["latency_s"])
    assert told["devices"] == 2
    assert told["memory_bytes_per_device"]["weights"] == pytest.approx(6.738e9, rel=0.05)  # half of 13.5 GB
    assert not told["infeasible"]


def test_what_would_meet_a_time_per_token() -> None:
    told = document("llm", "serve", "llama2_7b", "--on", "a100", "--batch", 1, "--prompt", 128, "--output", 32, "--need-tpot-ms", 5)
    need = told["required"]
    assert not need["met"]
    # at least the weights of 13.5 GB in 5 ms
    assert need["bandwidth_bytes_per_s"] > 13.4e9 / 5e-3
    text = run("llm", "serve", "llama2_7b", "--on", "a100", "--need-tpot-ms", 500).stdout
    assert "met as it stands" in text


def test_a_model_too_large_is_told_with_its_shortfall() -> None:
    told = document("llm", "serve", "llama3_70b", "--on", "a100")
    assert "short" in told["infeasible"]
    assert told["max_batch"] == 0
    assert "DOES NOT FIT" in run("llm", "serve", "llama3_70b", "--on", "a100").stdout


def test_a_training_step_on_devices_joined_by_a_link() -> None:
    told = document("llm", "train", "llama2_7b", "--on", "a100", "--tensor", 2, "--data", 2, "--link-gb-s", 300, "--batch", 4, "--sequence", 512, "--zero", 1)
    assert told["step_s"] == pytest.approx(sum(told["parts_s"].values()))
    assert 0 < told["mfu"] < 1
    assert told["devices"] == 4
    assert "MFU" in run("llm", "train", "llama2_7b", "--on", "dgx_h100_superpod", "--tensor", 8, "--sequence", 512).stdout


def test_models_and_clusters_are_listed() -> None:
    assert any(m["key"] == "llama2_7b" and m["params"] == 6_738_415_616 for m in document("llm", "models")["models"])  # as its checkpoint has
    assert "deepseek_v3" in run("llm", "models").stdout
    assert any(c["key"] == "frontier" for c in document("hardware", "list")["clusters"])
    assert document("hardware", "show", "frontier")["levels"][-1]["topology"] == "dragonfly"
    assert "dragonfly" in run("hardware", "show", "frontier").stdout


@pytest.mark.parametrize(("args", "said"), [
    (("llm", "serve", "llama2_8b", "--on", "a100"), "unknown transformer 'llama2_8b'; nearest"),
    (("llm", "serve", "llama2_7b", "--on", "a1000"), "unknown device or cluster 'a1000'; nearest"),
    (("llm", "serve", "llama2_7b", "--on", "a100", "--tensor", 4), "takes 4 devices"),
    (("llm", "serve", "llama2_7b", "--on", "a100", "--tensor", 3, "--link-gb-s", 300), "32 heads do not divide into 3 parts"),
    (("llm", "train", "llama2_7b", "--on", "a100", "--data", 2), "needs 2 devices, got one"),
    (("llm", "serve", "bert_base", "--on", "a100"), "is an encoder"),
])
def test_mistakes_are_told_in_one_line(args: tuple[Any, ...], said: str) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
