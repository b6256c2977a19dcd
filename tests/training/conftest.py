"""A tiny world for the training room: machines whose truth is a formula, a surrogate that almost knows it, a guard that counts ops."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.hardware import Hardware, MemoryLevel
from silicast.datasets.measurement import Query
from silicast.datasets.ops import Op
from silicast.datasets.table import GraphQuestions, Table
from silicast.datasets.workload import WorkloadBuilder
from silicast.surrogates import store
from silicast.surrogates.card import ModelCard
from silicast.surrogates.prediction import Domain, Prediction


def machine(key: str, kind: str, rate: float) -> Hardware:
    return Hardware(key, key, kind, (MemoryLevel("dram", 1e9, 1e10),), 1e9, matrix_rate={"float16": rate})


def workload(i: int) -> Any:
    build = WorkloadBuilder(f"net{i}", "small" if i % 2 else "large")
    build.add(Op.of("fc", "gemm", m=8 + i, n=64, k=64), [build.input("x", (8 + i) * 64)])
    return build.build()


def formula(questions: GraphQuestions) -> dict[str, np.ndarray]:
    """latency = flops / rate, power = 1e-10 W per FLOP/s of the machine, energy their product."""
    flops = np.array([w.flops for w in questions.workloads], dtype=float)[questions.workload_index]
    rate = np.array([d.matrix_rate["float16"] for d in questions.devices])[questions.device_index]
    return {"latency_s": flops / rate, "power_w": rate * 1e-10, "energy_j": flops * 1e-10}


class Fake:
    """Answers the formula times `factor`; its intervals, once calibrated, are +-`width`."""

    name = "conformal"  # what `store` saves it as: the wrapper and its member are one here

    def __init__(self, inner: Any = None, *, targets: Any = ("latency_s",), factor: float = 1.02, width: float = 0.1, level: float = 0.9, seed: int = 0) -> None:
        self.inner, self.level = inner, level
        self.targets, self.factor, self.width = (inner.targets, inner.factor, inner.width) if inner else (tuple(targets), factor, width)
        self.shape = "graph"
        self.calibrated = False

    def fit(self, table: Table, valid: Table | None = None) -> Fake:
        return self

    def conformalize(self, table: Table) -> Fake:
        self.calibrated = True
        return self

    def predict(self, questions: GraphQuestions) -> Prediction:
        truth = formula(questions)
        point = np.stack([truth[t] * self.factor for t in self.targets], axis=1)
        bare = Prediction.bare(self.targets, point)
        return Prediction(bare.targets, point, point * (1 - self.width), point * (1 + self.width), self.level, bare.domain) if self.calibrated else bare

    def weights(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        return {"targets": list(self.targets)}, {"w.json": json.dumps({"factor": self.factor, "width": self.width, "level": self.level}).encode()}

    @classmethod
    def from_weights(cls, spec: Any, files: Any, folder: Any, member: Any) -> Fake:
        made = cls(targets=spec["targets"], **json.loads(files["w.json"]))
        made.calibrated = True
        return made


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The surrogates and the domain guard of this room's tests, in place of the real ones."""
    for name in ("analytic", "boosted", "conformal"):
        monkeypatch.setitem(store.MEMBERS, name, lambda: Fake)
    import silicast.features

    domain = ModuleType("silicast.features.domain")
    domain.describe = lambda table: {"devices": sorted(d.key for d in table.questions.devices)}  # type: ignore[attr-defined]
    domain.witness = lambda known, table, answered, trained=None: known  # type: ignore[attr-defined]
    domain.check = lambda known, questions, answered=None, compute=True: tuple(  # type: ignore[attr-defined]
        Domain("in_domain") if questions.devices[i].key in known["devices"] else Domain("extrapolating", "another device") for i in questions.device_index)
    monkeypatch.setitem(sys.modules, "silicast.features.domain", domain)
    monkeypatch.setattr(silicast.features, "domain", domain, raising=False)


@pytest.fixture
def table() -> Table:
    """60 workloads on three machines: 180 rows, grouped by workload."""
    machines = [machine("slow", "cpu", 1e10), machine("fast", "gpu", 1e12), machine("other", "gpu", 3e12)]
    queries = [Query(workload(i), m) for i in range(60) for m in machines]
    questions = GraphQuestions.of(queries)
    slices = pd.DataFrame({"family": [q.workload.family for q in queries], "device": [q.hardware.key for q in queries], "kind": [q.hardware.kind for q in queries]})
    return Table(questions, formula(questions), np.array([q.workload.digest for q in queries], dtype=object), slices, "simulated:test")


def card(error: float = 0.05, coverage: float = 0.9, targets: tuple[str, ...] = ("latency_s",), **other: Any) -> ModelCard:
    """A card whose figures are given."""
    given = {"name": "m", "version": "", "shape": "graph", "units": {}, "feature_version": "1", "simulator_version": "1", "data_source": "made up", "data_digest": "d",
             "data_rows": 7, "split": "", "level": 0.9, "metrics": {"all": {t: {"median_ape": error, "coverage": coverage} for t in targets}}, **other}
    return ModelCard(targets=targets, **given)


@pytest.fixture
def make_card() -> Any:
    """`card` above, for test files."""
    return card


@pytest.fixture
def make_model(tmp_path: Any, fakes: None) -> Any:
    """A function that saves a fake model folder with a given card and gives back its path."""
    def make(name: str = "folder", factor: float = 1.02, **figures: Any) -> Any:
        fake = Fake(targets=("latency_s",), factor=factor)
        return store.save(fake, card(**figures), tmp_path / name)

    return make
