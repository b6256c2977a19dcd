"""What is brought from a known machine to one never seen beside its rates: what served models need there, and the software they ran with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from silicast.datasets import catalog
from silicast.datasets.table import FeatureQuestions, Table
from silicast.surrogates import brought_over, newcomer, store, valued
from silicast.surrogates.blended import Blended


def served(machines: list[str], frameworks: dict[str, list[str]]) -> pd.DataFrame:
    """Rows of two language models on each machine, with each of its frameworks, at a few lengths and batches."""
    rows = [(m, f, model, n, batch) for m in machines for f in frameworks[m] for model in ("meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-70b-hf") for n in (128, 512, 2048) for batch in (1, 8, 64)]
    return pd.DataFrame(rows, columns=["device", "framework", "model", "in_out_len", "batch_size"])


def test_half_of_what_is_brought_over_among_kin_is_what_served_models_need() -> None:
    frame = served(["a100_sxm"], {"a100_sxm": ["x"]})
    step = 0.05 + frame["in_out_len"].to_numpy() * 1e-3
    told = brought_over.served(frame, "device", ["model"], {"latency_s": step, "power_w": step, "throughput_tok_s": 1.0 / step})
    assert set(told["by"]) == {"latency_s", "throughput_tok_s"}
    told["by"]["latency_s"] = "step"
    here, there = (brought_over.needed(told, frame.assign(device=name), ["latency_s", "power_w", "throughput_tok_s"]) for name in ("h100_sxm", "a100_sxm"))
    less = here - there
    assert (less[:, 0] < 0).all()
    assert np.isnan(less[:, 1]).all()
    assert (less[:, 2] > 0).all()
    bandwidth = np.log(catalog.hardware("h100_sxm").dram_bandwidth / catalog.hardware("a100_sxm").dram_bandwidth)
    single = frame["batch_size"].to_numpy() == 1
    assert -less[single, 0] == pytest.approx(bandwidth, abs=0.05)  # one request reads its weights
    answers = np.ones((1, len(frame)))
    plain = newcomer.joined("h100_sxm", ["a100_sxm"], "latency_s", answers)
    both = newcomer.joined("h100_sxm", ["a100_sxm"], "latency_s", answers, needed=brought_over.POWER * less[None, :, 0], counts=brought_over.SHARE)
    assert np.log(both) == pytest.approx((np.log(plain) + brought_over.POWER * less[:, 0]) / 2.0)
    assert newcomer.joined("h100_sxm", ["a100_sxm"], "latency_s", answers, needed=np.full((1, len(frame)), np.nan), counts=0.5) == pytest.approx(plain)  # nobody knows
    other = np.full((1, len(frame)), -1.0)
    assert newcomer.joined("h100_sxm", ["mi250"], "latency_s", answers, needed=other, counts=0.5) == pytest.approx(newcomer.joined("h100_sxm", ["mi250"], "latency_s", answers))  # another vendor's
    assert brought_over.served(frame.drop(columns=["in_out_len", "batch_size"]), "device", ["model"], {"latency_s": step}) == {}


def test_software_is_known_by_the_name_of_its_column_and_the_best_is_by_quantity() -> None:
    frame = served(["a100_sxm", "mi250"], {"a100_sxm": ["fast", "slow"], "mi250": ["slow"]})
    assert brought_over.software(frame, "device", list(map(str, frame.columns))) == {"framework": {"a100_sxm": ["fast", "slow"], "mi250": ["slow"]}}
    assert brought_over.software(frame.rename(columns={"framework": "colour"}), "device", ["colour", "model"]) == {}
    two = np.array([[1.0, 4.0], [3.0, 2.0]])
    assert brought_over.best("latency_s", two).tolist() == [1.0, 2.0]
    assert brought_over.best("throughput_tok_s", two).tolist() == [3.0, 4.0]
    assert brought_over.best("power_w", two).tolist() == [2.0, 3.0]


def test_a_machine_of_no_kin_with_software_of_its_own_is_answered_by_the_best_of_the_known(tmp_path: Path) -> None:
    runs = {"a100_sxm": ["fast", "slow"], "h100_sxm": ["fast", "slow"], "mi250": ["slow"]}
    frame = served(list(runs), runs)
    seconds = (0.1 + frame["in_out_len"].to_numpy() * frame["batch_size"].to_numpy() * 1e-4) * np.where(frame["framework"] == "slow", 4.0, 1.0)
    table = Table(FeatureQuestions(frame), {"latency_s": seconds}, np.arange(len(frame)).astype(str), pd.DataFrame(index=frame.index), "test")
    model = Blended(targets=("latency_s",), threads=1).fit(table)
    asked = frame[(frame["device"] == "a100_sxm") & (frame["framework"] == "fast")].reset_index(drop=True)

    def both(device: str) -> tuple[np.ndarray, np.ndarray]:
        """Answers with the software, and without what is known of it."""
        kept, questions = model._strangers["device"]["software"], FeatureQuestions(asked.assign(device=device, framework="its own"))
        found = model.predict(questions).point[:, 0]
        model._strangers["device"]["software"] = {}
        usual = model.predict(questions).point[:, 0]
        model._strangers["device"]["software"] = kept
        return found, usual

    found, usual = both("gaudi2")
    assert (found < usual * 1.001).all()
    assert np.median(found / usual) < 0.9
    kin, usual = both("a100_sxm_40gb")  # beside machines of kin another word is one among theirs
    assert kin == pytest.approx(usual)
    spec, files = model.weights()
    again = Blended.from_weights(json.loads(json.dumps(spec)), files, tmp_path, store.member)
    questions = FeatureQuestions(asked.assign(device="gaudi2", framework="its own"))
    assert again.predict(questions).point == pytest.approx(model.predict(questions).point, rel=1e-6)


def test_few_machines_or_models_held_out_are_no_surer_than_pairs_of_them_are() -> None:
    truth = np.ones(100)
    near = np.exp(np.linspace(-0.1, 0.1, 100))
    _, point = valued.no_surer(truth, near, 3.9, 2)
    assert np.quantile(np.abs(np.log(point)), 0.9) == pytest.approx((2.0 * np.quantile(np.abs(np.log(near)), 0.9) + 2.0 * np.log(3.9)) / 4.0)
    assert np.sign(np.log(point)) == pytest.approx(np.sign(np.log(near)))
    assert np.array_equal(valued.no_surer(truth, near**100.0, 3.9, 2)[1], near**100.0)  # never narrower
    assert valued.no_surer(truth, truth, 16.0, 2)[1] == pytest.approx(4.0)
