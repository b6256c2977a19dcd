"""The story with fake surrogates: what it writes, registers and refuses. One store for the file (its migrations take seconds)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import InputError
from silicast.datasets.table import Table
from silicast.surrogates import store
from silicast.training import metrics, pipeline, registry
from silicast.training.config import Experiment


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


def experiment(uri: str, out: Path, **change: Any) -> Experiment:
    return Experiment.of({
        "name": "story", "data": {"generated": "unused"}, "hold_out_devices": ["other"], "targets": ["latency_s", "power_w"], "tracking_uri": uri, "out": str(out),
        "split": {"train": 0.4, "valid": 0.2, "calibrate": 0.2, "test": 0.2},
        "surrogates": [{"member": "boosted", "register_as": "good", "settings": {"factor": 1.03}}, {"member": "analytic", "register_as": "rough", "settings": {"factor": 1.5}}],
        **change})


def test_the_story(uri: str, fakes: None, table: Table, tmp_path: Path) -> None:
    said: list[str] = []
    story = pipeline.run(experiment(uri, tmp_path), said.append, table)
    good, rough = story.models
    # the fake answers the truth times 1.03 (1.5), within +-10 % of its answer: every truth is inside (outside)
    assert good.metrics["latency_s"]["median_ape"] == pytest.approx(0.03)
    assert good.unseen["power_w"]["mape"] == pytest.approx(0.03)
    assert good.metrics["latency_s"]["coverage"] == 1.0
    assert rough.metrics["latency_s"]["coverage"] == 0.0
    assert (good.version, good.champion) == ("1", True)
    assert all("flagged" in reason for reason in good.gate)  # coverage 1.0 is out of band, but there is no champion to protect
    assert registry.show("good", uri).champion == "1"
    assert any("good: latency_s median APE 3 %" in line for line in said)

    card = store.load(good.folder)[1]
    assert card == registry.card_of("models:/good@champion", uri)
    assert card.metrics["unseen devices"]["latency_s"]["rows"] == 60
    assert "unseen device=other" in card.metrics
    assert "kind=gpu" in card.metrics
    assert card.domain == {"devices": ["fast", "slow"]}
    assert "never trained on other" in card.split
    assert card.units == {"latency_s": "s", "power_w": "W"}

    page = story.report.read_text()
    for part in ("Devices that no model has seen", "hit rate", "flagged", card.data_digest, "good", "rough", "register_as: rough"):
        assert part in page
    # the fake guard flags every row of the held-out device and no other
    guard = page[page.index("Does the domain guard warn"):]
    assert "100 %" in guard
    csv = pd.read_csv(story.report.with_name("metrics.csv"))
    assert set(csv["model"]) == {"good", "rough"}
    assert set(csv["rows_of"]) == {"test", "unseen devices"}

    worse = experiment(uri, tmp_path, surrogates=[{"member": "boosted", "register_as": "good", "settings": {"factor": 1.2}}])
    again = pipeline.run(worse, table=table).models[0]
    assert (again.version, again.champion) == ("2", False)
    assert registry.show("good", uri).champion == "1"


def test_nothing_is_registered_when_it_breaks_off(uri: str, fakes: None, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "write", stop)
    before = registry.list_models(uri)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(experiment(uri, tmp_path, surrogates=[{"member": "boosted", "register_as": "never"}]), table=table)
    assert registry.list_models(uri) == before


def test_a_folder_that_answers_otherwise_is_refused(uri: str, fakes: None, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maker = store.MEMBERS["conformal"]()
    monkeypatch.setattr(maker, "weights", lambda self: ({"targets": list(self.targets)}, {"w.json": b'{"factor": 7.0}'}))
    with pytest.raises(InputError, match="answers otherwise"):
        pipeline.run(experiment(uri, tmp_path), table=table)


@pytest.mark.parametrize(("change", "said"), [
    ({"surrogates": [{"member": "boosted", "register_as": "b", "settings": {"facter": 2}}]}, "unknown setting of boosted 'facter'; nearest: factor"),
    ({"surrogates": [{"member": "boosted", "register_as": "b", "settings": {"factor": "2"}}]}, "settings.factor: expected float .such as 1.02., got '2'"),
    ({"hold_out_devices": ["othr"]}, "unknown device 'othr'; nearest: other"),
    ({"targets": ["lut"]}, "unknown target of this table 'lut'"),
])
def test_what_cannot_work_is_said_before_anything_is_learned(uri: str, fakes: None, table: Table, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        pipeline.run(experiment(uri, tmp_path, **change), table=table)
    assert not (tmp_path / "story").exists()


def test_the_parts_share_no_workload_and_no_held_out_device(fakes: None, table: Table, tmp_path: Path) -> None:
    parts = pipeline.cut(table, experiment("", tmp_path))
    named = parts.named
    assert sum(map(len, named.values())) == len(table)
    groups = {name: set(part.groups) for name, part in named.items() if name != "unseen-devices"}
    for a in groups:
        for b in groups:
            assert a == b or not groups[a] & groups[b]
    assert all("other" not in set(part.slices["device"]) for name, part in named.items() if name != "unseen-devices")
    assert parts.unseen is not None
    assert set(parts.unseen.slices["device"]) == {"other"}


def test_wrong_on_unseen_devices_means_beyond_the_test_rows_p90(fakes: None, table: Table) -> None:
    fake = store.member("conformal")(targets=("latency_s",), factor=1.1).fit(table)
    known = {"devices": ["fast"]}
    test = pipeline.judge(fake, table, known, 0.9)
    fake.factor = 1.3
    unseen = pipeline.judge(fake, table, known, 0.9, test)
    assert unseen.guard["latency_s"]["wrong"] == 1.0
    assert unseen.guard["latency_s"]["hit_rate"] == pytest.approx(2 / 3)  # two of three machines are unknown
    assert np.isclose(metrics.overall(test.frame)["latency_s"]["p90_ape"], 0.1)
