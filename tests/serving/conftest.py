"""A small labelled table and models fitted to it: four networks on four machines, answered by the simulator."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.catalog import hardware
from silicast.datasets.hardware import Hardware
from silicast.datasets.ops import Op
from silicast.datasets.simulator import SIMULATOR_VERSION, simulate_many
from silicast.datasets.table import GraphQuestions, Table
from silicast.datasets.workload import Workload, WorkloadBuilder
from silicast.features import FEATURE_VERSION, domain
from silicast.serving.predictor import Predictor
from silicast.surrogates import store
from silicast.surrogates.boosted import Boosted
from silicast.surrogates.card import ModelCard
from silicast.surrogates.conformal import Conformal

TARGETS = ("latency_s", "power_w", "energy_j", "memory_bytes")




def gemms(width: int, depth: int, batch: int, name: str = "") -> Workload:
    build = WorkloadBuilder(name or f"gemms{width}x{depth}b{batch}", "mlp")
    x = build.input("x", batch * width)
    for i in range(depth):
        x = build.add(Op.of(f"fc{i}", "gemm", m=batch, n=width, k=width, params=width * width), [x])
        x = build.add(Op.of(f"relu{i}", "elementwise", elements=batch * width), [x])
    return build.build()


def bounded() -> Workload:
    build = WorkloadBuilder("odd")
    x = build.add(Op.of("fc", "gemm", m=8, n=256, k=256, params=256 * 256), [build.input("x", 2048)])
    build.add(Op.of("mystery", "bound", input_elements=2048, output_elements=2048), [x])
    return build.build()


def machines() -> list[Hardware]:
    return [hardware(key) for key in ("a100_sxm", "h100_sxm", "t4", "v100_sxm")]


@pytest.fixture(scope="session")
def labelled() -> Table:
    workloads = tuple(gemms(w, d, b) for w in (128, 256, 512, 1024) for d in (2, 4, 8) for b in (1, 16, 128))
    devices = tuple(machines())
    w, d = np.meshgrid(np.arange(len(workloads)), np.arange(len(devices)), indexing="ij")
    questions = GraphQuestions(workloads, devices, w.ravel(), d.ravel())
    values = [answer.values for workload in workloads for answer in simulate_many(workload, devices)]
    slices = pd.DataFrame({"family": ["mlp"] * len(values), "device": [devices[i].key for i in d.ravel()], "kind": ["gpu"] * len(values)})
    groups = np.array([workloads[i].digest for i in w.ravel()], dtype=object)
    return Table(questions, {t: np.array([v[t] for v in values]) for t in TARGETS}, groups, slices, f"simulated:{SIMULATOR_VERSION}")


@pytest.fixture(scope="session")
def model_folder(labelled: Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, for reading only."""
    surrogate = Conformal(Boosted(targets=TARGETS, trees=40, threads=1), 0.9).fit(labelled)
    surrogate.conformalize(labelled)
    card = ModelCard("tiny", "7", "graph", TARGETS, {"latency_s": "s", "power_w": "W", "energy_j": "J", "memory_bytes": "B"}, FEATURE_VERSION, SIMULATOR_VERSION,
                     labelled.source, labelled.digest, len(labelled), "none", 0.9, domain.describe(labelled))
    return store.save(surrogate, card, tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def predictor(model_folder: Path) -> Predictor:
    return Predictor.load(model_folder)


@pytest.fixture(scope="session")
def guardless(predictor: Predictor) -> Predictor:
    """The same model with a card that describes no domain."""
    return replace(predictor, card=replace(predictor.card, domain={}))


@pytest.fixture
def workload_file(tmp_path: Path) -> Path:
    path = tmp_path / "net.json"
    path.write_text(json.dumps(gemms(256, 4, 16).to_json()), encoding="utf-8")
    return path


def plain_rows(count: int, seed: int = 0) -> pd.DataFrame:
    """A plain feature table: look-up tables and microseconds by reuse factor and width."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"reuse": rng.integers(1, 64, count), "width": rng.integers(8, 512, count), "strategy": rng.choice(["latency", "resource"], count)})
    return frame.assign(lut_used=40.0 * frame["width"] / frame["reuse"] + 100.0, t_us=0.01 * frame["reuse"] * frame["width"] + 1.0)


SCHEMA = {"features": ["reuse", "width", "strategy"], "targets": {"lut": {"column": "lut_used"}, "latency_s": {"column": "t_us", "unit": "us"}}}


@pytest.fixture(scope="session")
def table_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder fitted to `plain_rows`, its schema in its card."""
    from silicast.datasets.measured import read_measured

    table = read_measured(plain_rows(300), SCHEMA)
    surrogate = Conformal(Boosted(targets=("lut", "latency_s"), trees=30, threads=1), 0.9).fit(table)
    surrogate.conformalize(table)
    card = ModelCard("plain", "1", "features", ("lut", "latency_s"), {"lut": "1", "latency_s": "s"}, FEATURE_VERSION, "", table.source, table.digest, len(table),
                     "none", 0.9, domain.describe(table), schema=SCHEMA)
    return store.save(surrogate, card, tmp_path_factory.mktemp("models") / "plain")
