"""One numerical thread for every test: two threads on a busy machine wait for each other longer than they compute. And one MLflow server for those who need one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from .mlflow_server import MlflowServer

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """One `mlflow server` for every test that needs one: it takes long to start."""
    server = MlflowServer(tmp_path_factory.mktemp("mlflow-server")).start()
    yield server
    server.stop()
