"""The graph network: every variant learns, answers the same from a folder and in any batch, and a training that was killed ends where it would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("torch_geometric")

from silicast.datasets import catalog
from silicast.datasets.errors import TableError, UnknownNameError
from silicast.datasets.families import sample
from silicast.datasets.table import GraphQuestions, Table
from silicast.features.graph_structure import STRUCTURE_FEATURES, depths, structure
from silicast.features.tabular import tabular_features
from silicast.surrogates.graph_training import Checkpoint, Plan
from silicast.surrogates.graphnet import GraphNet

TARGETS = ("latency_s", "power_w", "energy_j", "memory_bytes")
VARIANTS: dict[str, dict[str, Any]] = {"sage": {}, "pool": {"pool": "attention"}, "places": {"places": True}, "order": {"mixing": "order"},
                                       "transformer": {"mixing": "attention", "places": True, "pool": "attention"}, "pre-trained": {"pretrain": 1}}


def table(n: int = 6) -> Table:
    """Truth is the estimate times a factor of the machine."""
    workloads = tuple(sample(("cnn_plain", "mlp", "nas_cell")[i % 3], np.random.default_rng(i)) for i in range(n))
    devices = tuple(catalog.hardware(k) for k in ("t4", "a100_sxm", "xeon_8380"))
    questions = GraphQuestions(workloads, devices, np.repeat(np.arange(n), 3), np.tile(np.arange(3), n))
    reference = tabular_features(questions, {}).reference
    factor = np.array([1.0, 1.3, 0.8])[questions.device_index]
    latency, power = reference["latency_s"] * factor, reference["power_w"] * (2.0 - factor)
    targets = {"latency_s": latency, "power_w": power, "energy_j": latency * power, "memory_bytes": reference["memory_bytes"], "dram_bytes": reference["dram_bytes"] * factor}
    return Table(questions, targets, np.repeat(np.arange(n), 3).astype(str).astype(object), pd.DataFrame({"kind": ["any"] * 3 * n}), "made up")


DATA = table()


def small(**given: Any) -> GraphNet:
    return GraphNet(**{"targets": TARGETS, "hidden": 8, "layers": 1, "epochs": 3, "batch": 6, "pretrain": 0, **given})  # type: ignore[arg-type]


def again(model: GraphNet) -> GraphNet:
    spec, files = model.weights()
    return GraphNet.from_weights(spec, files, Path("made_up"), lambda name: GraphNet)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_answers_the_same_from_weights_and_in_any_batch(name: str) -> None:
    model = small(**VARIANTS[name]).fit(DATA, DATA)
    point = model.predict(DATA.questions).point
    assert np.isfinite(point).all()
    np.testing.assert_allclose(again(model).predict(DATA.questions).point, point, rtol=1e-5)
    alone = np.concatenate([model.predict(DATA.questions.take(np.array([i]))).point for i in range(4)])
    np.testing.assert_allclose(alone, point[:4], rtol=1e-4)
    np.testing.assert_allclose(small(**VARIANTS[name]).fit(DATA, DATA).predict(DATA.questions).point, point, rtol=1e-6)  # seeded
    shares = model.kernel_shares(DATA.questions)
    assert all(s.sum() == pytest.approx(1.0) for s in shares)


@pytest.mark.parametrize("name", ["order", "transformer", "pool"])
def test_variants_learn(name: str) -> None:
    model = small(**{**VARIANTS[name], "epochs": 60, "rate": 1e-2}).fit(DATA)
    error = np.abs(model.predict(DATA.questions).point[:, 0] / DATA.targets["latency_s"] - 1.0)
    assert float(np.median(error)) < 0.05  # it begins at 20 to 30 %


def test_traffic_is_a_head_of_its_own() -> None:
    model = small(targets=("latency_s", "dram_bytes"), epochs=60, rate=1e-2).fit(DATA)
    answer = model.predict(DATA.questions)
    assert float(np.median(np.abs(answer.point[:, 1] / DATA.targets["dram_bytes"] - 1.0))) < 0.1


class Killed(Exception):
    pass


def test_a_killed_training_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"epochs": 5, "pretrain": 2}
    whole = small(**settings).fit(DATA, DATA).predict(DATA.questions).point
    seen: list[int] = []

    def dies(at: int) -> Any:
        def progress(epoch: int, epochs: int, loss: float) -> None:
            seen.append(epoch)
            if len(seen) == at:
                raise Killed
        return progress

    for at in (2, 5):  # in pre-training, then in training; what the last epoch learned is lost, the ones before are not
        seen.clear()
        with pytest.raises(Killed):
            small(**settings, checkpoint=str(tmp_path), progress=dies(at)).fit(DATA, DATA)
    seen.clear()
    model = small(**settings, checkpoint=str(tmp_path), progress=dies(99)).fit(DATA, DATA)
    assert len(seen) < 7
    np.testing.assert_array_equal(model.predict(DATA.questions).point, whole)
    assert not list(tmp_path.rglob("*.safetensors"))  # done: nothing is left


def test_a_checkpoint_of_other_settings_or_damaged_is_not_used(tmp_path: Path) -> None:
    mine = Checkpoint(tmp_path, "a")
    mine.save({"epoch": 1, "step": 2, "best": 0.5, "rng": {}}, {"x": np.ones(3)})
    assert Checkpoint(tmp_path, "b").load() is None
    noted, arrays = mine.load() or ({}, {})
    assert noted["epoch"] == 1
    np.testing.assert_array_equal(arrays["x"], np.ones(3))
    (tmp_path / "epoch-1.safetensors").write_bytes(b"damaged")
    assert mine.load() is None
    assert Checkpoint.key_of({"a": 1}, np.ones(2)) != Checkpoint.key_of({"a": 2}, np.ones(2))


def test_the_pace_is_one_cycle() -> None:
    plan = Plan(epochs=1, batch=1, rate=1e-3, seed=0)
    rates = [plan.pace(step, 100)[0] for step in range(100)]
    assert max(rates) == pytest.approx(1e-3)
    assert int(np.argmax(rates)) == 10
    assert rates[-1] < 1e-6 < rates[0]


def test_pre_training_needs_no_answers_and_adapting_goes_on_from_there() -> None:
    model = small().pretrain(DATA.questions, epochs=2)
    some = DATA.take(np.arange(9))
    measured = Table(some.questions, {"latency_s": 1.5 * some.targets["latency_s"]}, some.groups, some.slices, "measured")
    before = np.abs(np.log(model.predict(some.questions).point[:, 0] / measured.targets["latency_s"])).mean()
    model.adapt(measured, epochs=40, rate=5e-3)
    assert np.abs(np.log(model.predict(some.questions).point[:, 0] / measured.targets["latency_s"])).mean() < 0.5 * before


def test_what_it_cannot_do_is_said() -> None:
    with pytest.raises(UnknownNameError, match="mixing"):
        GraphNet(mixing="sgae")
    with pytest.raises(UnknownNameError, match="pool"):
        GraphNet(pool="max")
    with pytest.raises(TableError, match="nothing to adapt"):
        GraphNet().adapt(DATA)
    with pytest.raises(TableError, match="none of latency_s"):
        small().fit(DATA).adapt(Table(DATA.questions, {"lut": np.ones(18)}, DATA.groups, DATA.slices, "made up"))


def test_a_model_saved_before_there_were_mixings_is_read() -> None:
    model = small().fit(DATA)
    spec, files = model.weights()
    old = {**spec, "settings": {k: v for k, v in spec["settings"].items() if k in ("hidden", "layers", "epochs", "batch", "rate", "seed")}}
    del old["places"]
    read = GraphNet.from_weights(old, files, Path("made_up"), lambda name: GraphNet)
    np.testing.assert_allclose(read.predict(DATA.questions).point, model.predict(DATA.questions).point, rtol=1e-5)


def test_structure_by_hand() -> None:
    edges = np.array([[0, 0, 1, 2], [1, 2, 3, 3]])  # a diamond
    assert list(depths(edges, 4)) == [0, 1, 1, 2]
    assert list(depths(edges[::-1], 4)) == [2, 1, 1, 0]
    assert list(depths(np.array([[0, 1], [1, 0]]), 2)) == [2, 2]  # a ring ends
    workload = sample("cnn_residual", np.random.default_rng(0))
    places = structure(workload)
    assert places.shape[1] == len(STRUCTURE_FEATURES)
    assert np.isfinite(places).all()
    assert (places[:, :2] >= 0).all()
    assert (places[:, :2] <= 1).all()
