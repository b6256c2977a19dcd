"""A registered model by MLflow's own tools: signature and example for every shape, answers as silicast gives them, and `mlflow models serve` as a real process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from silicast.datasets.errors import InputError
from silicast.surrogates import store
from silicast.training import pyfunc, registry, tracking
from silicast.training.tracking import Run

from ..mlflow_server import plain_folder

OP = {"op": "gemm", "columns": {"m": "m", "n": "n", "k": "k", "dtype": "dtype"}, "hardware": "hardware", "context": ["framework"], "targets": {"latency_s": {"column": "t", "unit": "s"}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plain_folder(tmp_path_factory.mktemp("models") / "plain")


@pytest.fixture(scope="module")
def operators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of matrix products, analytic: its answers are the simulator's."""
    from silicast.datasets.measured import read_measured
    from silicast.features import FEATURE_VERSION, domain
    from silicast.surrogates.card import ModelCard

    frame = pd.DataFrame([{"m": m, "n": 512, "k": k, "dtype": "float16", "hardware": d, "framework": "trt", "t": 1e-9 * m * k} for m in (64, 256) for k in (128, 512) for d in ("t4", "a100_sxm")])
    table = read_measured(frame, OP)
    model: Any = store.member("analytic")(targets=("latency_s",)).fit(table)
    card = ModelCard("ops", "1", "op", ("latency_s",), {"latency_s": "s"}, FEATURE_VERSION, "", table.source, table.digest, len(table), "none", 0.9, domain.describe(table), schema=OP,
                     silicast_version="0.1.0")
    return store.save(model, card, tmp_path_factory.mktemp("models") / "ops")


def test_operators_have_a_signature_and_an_example_that_is_answered(operators: Path, tmp_path: Path) -> None:
    surrogate, card = store.load(operators)
    tried = pyfunc.example(card)
    assert tried is not None
    assert tried.to_dict("records") == [{"m": 64, "n": 64, "k": 64, "dtype": "float16", "hardware": "a100_sxm", "framework": "trt"}]
    with tracking.quiet():
        import mlflow

        pyfunc.build(tmp_path / "built", operators, card)
        loaded = mlflow.pyfunc.load_model(str(tmp_path / "built"))
        said = loaded.predict(tried)
    assert loaded.metadata.signature.inputs.input_names() == list(tried.columns)
    assert said["latency_s"][0] == surrogate.predict(pyfunc.questions_of(tried, "op", card.schema)).point[0, 0]
    assert pyfunc.requirements(operators, card) == ["silicast==0.1.0"]
    with pytest.raises(InputError, match="no schema"):
        pyfunc.questions_of(tried, "op")


def test_a_plain_table_has_a_signature_and_an_example(folder: Path) -> None:
    _, card = store.load(folder)
    tried = pyfunc.example(card)
    assert tried is not None
    assert list(tried.columns) == ["reuse", "width", "strategy"]
    with tracking.quiet():
        inputs = pyfunc.signature(card).inputs
    assert [(c.name, c.type.name) for c in inputs] == [("reuse", "double"), ("width", "double"), ("strategy", "string")]


def test_an_example_nobody_can_make_is_none() -> None:
    from types import SimpleNamespace

    nested: Any = SimpleNamespace(shape="op", schema={"op": {"column": "kind"}}, domain={"devices": ["t4"]})
    assert pyfunc.example(nested) is None


@pytest.mark.slow
def test_mlflow_models_serve(folder: Path, tmp_path: Path) -> None:
    """The registered champion served by MLflow: its example is answered as silicast answers it, and a wrong column is no 5xx."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with Run("test", uri=uri) as run:
        version = registry.register(folder, "served", run)
    registry.promote("served", version, uri)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = int(s.getsockname()[1])
    command = [str(Path(sys.executable).with_name("mlflow")), "models", "serve", "-m", "models:/served@champion", "-p", str(port), "--env-manager", "local", "--workers", "1"]
    env = {**os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=tmp_path, start_new_session=True)
    try:
        limit = time.time() + 240
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5) as reply:
                assert reply.status == 200
                break
            assert process.poll() is None, (tmp_path / "log").read_text(encoding="utf-8", errors="replace")[-2000:]
            assert time.time() < limit
            time.sleep(0.3)
        root = registry.resolve("models:/served@champion", uri).parent.parent
        sent = json.loads((root / "serving_input_example.json").read_text(encoding="utf-8"))
        request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", json.dumps(sent).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            told = json.loads(reply.read())["predictions"][0]
        surrogate, card = store.load(folder)
        tried = pyfunc.example(card)
        assert tried is not None
        assert told["latency_s"] == pytest.approx(surrogate.predict(pyfunc.questions_of(tried, "features")).point[0, 0], rel=1e-12)
        assert told["domain"] == "in_domain"
        wrong = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", b'{"dataframe_records": [{"reuse": 4}]}', {"content-type": "application/json"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(wrong, timeout=60)
        refused.value.close()
        assert refused.value.code == 400
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def test_an_empty_cell_among_words_is_the_word_that_fit_took_it_for() -> None:
    asked = pyfunc.questions_of(pd.DataFrame({"precision": [None, "fp8", 8.0], "machine": ["H100", "mine", "mine"], "n": [1, 2, 3]}), "features", {"hardware": "machine"}, ("precision", "machine"))
    assert list(asked.frame["precision"]) == ["(empty)", "fp8", 8.0]
    assert list(asked.frame["machine"]) == ["h100_sxm", "mine", "mine"]
    none, number = (pyfunc.questions_of(pd.DataFrame({"precision": cells}), "features", {}, ("precision",)).frame["precision"] for cells in ([None, None], [8.0, None]))
    assert list(none) == ["(empty)", "(empty)"]
    assert list(number) == ["8", "(empty)"]
    unknown = pyfunc.questions_of(pd.DataFrame({"precision": ["fp8"], "n": [None]}), "features", {}, ("precision",)).frame["n"]
    assert unknown.dtype == np.float64  # as `silicast predict` reads a column of empty cells
    assert unknown.isna().all()
    with pytest.raises(InputError, match="row 1: machine is missing"):
        pyfunc.questions_of(pd.DataFrame({"machine": ["mine", None]}), "features", {"hardware": "machine"}, ("machine",))
