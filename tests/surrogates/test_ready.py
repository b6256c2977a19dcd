"""The models that come with silicast: they are there, small, fit this silicast, and say whose data they learned from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.catalog import hardware
from silicast.datasets.columns import OpColumns
from silicast.datasets.errors import InputError, UnknownNameError, VersionError
from silicast.datasets.ops import Op
from silicast.datasets.table import GraphQuestions, OpQuestions
from silicast.datasets.workload import WorkloadBuilder
from silicast.surrogates import ready

#: what comes with the package
SHIPPED = ("fpga-hls4ml", "gpu-kernels", "gpu-power", "llm-inference", "llm-serving", "nas-few-shot", "networks", "networks-graph")
every = pytest.mark.parametrize("name", SHIPPED)


@pytest.fixture(autouse=True)
def _the_shipped_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ready.VARIABLE, raising=False)


def test_they_come_with_the_package_and_are_small() -> None:
    assert set(SHIPPED) <= set(ready.names())
    assert sum(p.stat().st_size for p in ready.home().rglob("*") if p.is_file()) <= 25e6


@every
def test_the_card_says_whose_data_and_how_good(name: str) -> None:
    card = ready.card(name)
    assert card.name == name
    assert card.version.startswith("0.")
    assert ready.staleness(card) == ""
    assert card.data_licence
    assert card.split
    assert card.domain
    assert card.data_rows > 100
    for key in ("about", "asks", "doubts", "rebuild"):
        assert card.extra[key], key
    if card.data_source.startswith("measured"):
        assert card.extra["attribution"]
        digests = json.loads(card.extra["files"])
        assert digests
        assert all(len(digest) == 64 for digest in digests.values())
        assert not any("hlsyn" in file for file in digests)  # share-alike
    told = card.metrics["all"]
    assert set(told) == set(card.targets)
    for target, of in told.items():
        assert {"median_ape", "coverage"} & set(of) or "auroc" in of, target
    assert any("=" in slice_ for slice_ in card.metrics) or card.shape == "features"


@every
def test_it_loads_and_answers_what_its_card_says(name: str) -> None:
    surrogate, card = ready.load(name)
    assert surrogate.targets == card.targets
    assert surrogate.shape == card.shape


def _copy(name: str, home: Path, **changed: str) -> None:
    shutil.copytree(ready.folder(name), home / name)
    place = home / name / "card.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), **changed}))


@pytest.mark.parametrize("changed", [{"feature_version": "0"}, {"simulator_version": "0"}])
def test_a_stale_one_says_so_and_does_not_answer(changed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _copy("networks", tmp_path, **changed)
    monkeypatch.setenv(ready.VARIABLE, str(tmp_path))
    with pytest.raises(VersionError, match=r"stale.*silicast models build networks"):
        ready.load("ready:networks")


def test_an_unknown_name_and_an_empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="networks"):
        ready.folder("ready:netwrks")
    monkeypatch.setenv(ready.VARIABLE, str(tmp_path))
    assert ready.names() == ()
    with pytest.raises(InputError, match="silicast models build all"):
        ready.load("networks")


GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "ready.json"


def answers() -> dict[str, Any]:
    """Model -> its version and its latencies for a few questions: a small network on machines of four kinds; operators in circumstances it knows."""
    build = WorkloadBuilder("golden", "mlp")
    x = build.input("x", 64 * 1024)
    for i in range(4):
        x = build.add(Op.of(f"fc{i}", "gemm", m=64, n=1024, k=1024, params=1024 * 1024), [x])
        x = build.add(Op.of(f"act{i}", "elementwise", elements=64 * 1024), [x])
    network = GraphQuestions.cross(build.build(), [hardware(key) for key in ("h100_sxm", "t4", "xeon_8480", "tpu_v4")])
    ops = OpColumns.from_ops([Op.of("o", "gemm", m=256, n=4096, k=4096, dtype="bfloat16"), Op.of("o", "softmax", rows=4096, cols=1024, dtype="float32")])
    context = pd.DataFrame({"op": ["gemm", "softmax"], "dtype_name": ["bfloat16", "float32"], "framework": ["vllm", "pytorch"], "kernel_source": ["torch.nn.functional.linear", ""], "variant": ["", "softmax"]})
    kernels = OpQuestions(ops, ("h100_sxm", "t4"), (hardware("h100_sxm"), hardware("t4")), np.arange(2), context, pd.DataFrame(index=range(2)))
    return {name: {"version": ready.card(name).version, "latency_s": ready.load(name)[0].predict(questions).point[:, 0].tolist()} for name, questions in (("networks", network), ("gpu-kernels", kernels))}


def test_they_answer_as_they_did_when_they_were_made() -> None:
    """A feature or a machine's figure that moved without its version moves these: then build the models anew, and `python tests/surrogates/test_ready.py`."""
    kept, now = json.loads(GOLDEN.read_text()), answers()
    for name, told in kept.items():
        assert now[name]["version"] == told["version"], name
        np.testing.assert_allclose(now[name]["latency_s"], told["latency_s"], rtol=1e-3, err_msg=name)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(answers(), indent=1) + "\n", encoding="utf-8")
