"""What was trained, on what, and how it did: the MLflow runs.

This module and `registry` are the only ones that speak to MLflow, and always through a client bound to one store: no global
tracking URI is set, so a process may use several stores. The default store is SQLite in the working directory, `MLFLOW_TRACKING_URI`
names another. Artifacts of an SQLite store lie beside its file, in `mlartifacts/`.

Nothing leaves the machine: MLflow's telemetry is switched off before MLflow is imported.
"""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import pandas as pd

from ..datasets.errors import RegistryError, SilicastError
from ..datasets.table import Table
from .metrics import COUNTS, MEASURES

DEFAULT_URI = "sqlite:///mlflow.db"
#: measures logged for every single device; of other slices all are logged (the whole table is an artifact)
DEVICE_MEASURES = ("median_ape", "within_10", "coverage")
#: seconds a tracking server may take to accept a connection, and an SQLite store to be let go of by who writes it
CONNECT_S, LOCKED_S = 3.0, 15.0


def default_uri() -> str:
    """`MLFLOW_TRACKING_URI`, else SQLite in the working directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def sqlite_path(uri: str) -> Path | None:
    """The file of an SQLite store, None for another kind."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def connect(uri: str | None = None, create: bool = True) -> Any:
    """An `MlflowClient` on the store at `uri` (default: `default_uri()`), with MLflow quiet and its telemetry off.

    `create` makes an SQLite store that is not there. Raises RegistryError for a store that is missing, damaged or unreachable.
    """
    uri = uri or default_uri()
    _reachable(uri, create)
    if sqlite_path(uri) is not None:  # a kept connection would go on reading a file that was replaced, by a backup say
        os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    with quiet(), store_errors(uri):
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri, registry_uri=os.environ.get("MLFLOW_REGISTRY_URI") or uri)
        client.search_registered_models(max_results=1)  # opens the store; here, not half-way through
    return client


@contextmanager
def quiet() -> Iterator[None]:
    """MLflow says nothing but errors, sends nothing, and does not wait for minutes on a server that is gone."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    before = [logger.level for logger in loggers]
    try:
        import mlflow  # noqa: F401  its import sets the levels anew

        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Turns whatever a store throws into one RegistryError that says what to do; silicast's own errors pass."""
    try:
        yield
    except SilicastError:
        raise
    except Exception as error:  # MlflowException, SQLAlchemyError, OSError, requests' errors
        if type(error).__module__.split(".")[0] not in ("mlflow", "sqlalchemy", "sqlite3", "requests", "urllib3", "alembic") and not isinstance(error, OSError):
            raise
        said = " ".join(str(error).split("\n")[0].split())
        if "not a database" in said or "malformed" in said or "disk image" in said:
            todo = "the file is damaged or no MLflow store; restore it from a backup, or name another store with MLFLOW_TRACKING_URI"
        elif "schema" in said:
            todo = f"made by another MLflow version; run: mlflow db upgrade {uri}"
        elif "locked" in said:
            todo = "another process is writing; try again"
        elif "disk" in said or "No space" in said or "too large" in said:
            todo = "is the disk full? Nothing was registered; make room and try again"
        else:
            todo = "check the store named by MLFLOW_TRACKING_URI or tracking_uri"
        raise RegistryError(f"model store {uri}: {said}; {todo}") from error


def _reachable(uri: str, create: bool) -> None:
    path = sqlite_path(uri)
    if path is not None and not create and not path.exists():
        raise RegistryError(f"model store {uri}: no such file ({path.absolute()}); train a model first, or name the store with MLFLOW_TRACKING_URI")
    if path is not None and not path.absolute().parent.is_dir():
        raise RegistryError(f"model store {uri}: the folder {path.absolute().parent} does not exist")
    if path is not None and path.exists():
        with store_errors(uri), closing(sqlite3.connect(path, timeout=LOCKED_S)) as db:  # MLflow would try a locked or damaged file for minutes
            db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https"):
        try:
            with socket.create_connection((parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)), timeout=CONNECT_S):
                pass
        except OSError as error:
            raise RegistryError(f"model store {uri}: cannot be reached ({error}); start the tracking server, or unset MLFLOW_TRACKING_URI to use SQLite") from None


@lru_cache(maxsize=1)
def code_revision() -> str:
    """The git revision of silicast's own code, with `-dirty` when it was changed; "" where it is not in git."""
    here = Path(__file__).resolve()

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(here.parent), *words], capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", here.name) is None:  # installed inside somebody else's repository
        return ""
    revision = git("rev-parse", "--short=12", "HEAD") or ""
    return revision + ("-dirty" if revision and git("status", "--porcelain", "--untracked-files=no") else "")


@dataclass
class Run:
    """One MLflow run, open inside a `with`: it ends FINISHED, or FAILED when the block raises.

    `tags` gain the code revision. `parent` is the run this one belongs to. Raises RegistryError when the store fails.
    """

    name: str
    experiment: str = "silicast"
    uri: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    parent: Run | None = None
    client: Any = field(init=False, default=None, repr=False)
    run_id: str = field(init=False, default="")
    experiment_id: str = field(init=False, default="")

    def __enter__(self) -> Self:
        self.uri = self.uri or (self.parent.uri if self.parent else None) or default_uri()
        self.client = self.parent.client if self.parent else connect(self.uri)
        with self._safely():
            self.experiment_id = self._experiment_id()
            tags = {**self.tags, "mlflow.source.name": "silicast"}
            if code_revision():
                tags |= {"code_revision": code_revision(), "mlflow.source.git.commit": code_revision().removesuffix("-dirty")}
            if self.parent:
                tags["mlflow.parentRunId"] = self.parent.run_id
            self.run_id = self.client.create_run(self.experiment_id, run_name=self.name, tags=tags).info.run_id
            from mlflow.entities import Param

            self.client.log_batch(self.run_id, params=[Param(k, str(v)[:6000]) for k, v in self.params.items()])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._safely():
            self.client.set_terminated(self.run_id, "FINISHED" if kind is None else "FAILED")

    def log_metrics(self, values: Mapping[str, float], model_id: str | None = None) -> None:
        """Logs plain figures; those that are not finite are left out (MLflow has no place for them)."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(_key(k), float(v), now, 0, model_id=model_id) for k, v in values.items() if math.isfinite(v)]
        with self._safely():
            for start in range(0, len(metrics), 1000):  # MLflow takes 1,000 at a time
                self.client.log_batch(self.run_id, metrics=metrics[start:start + 1000])

    def log_slices(self, frame: pd.DataFrame, prefix: str = "test") -> None:
        """Logs `metrics.by_slice`: `PREFIX/TARGET/MEASURE` over all rows, `PREFIX/TARGET/MEASURE/COLUMN/VALUE` per slice."""
        values: dict[str, float] = {}
        for row in frame.to_dict("records"):
            tail = "" if row["slice"] == "all" else f"/{row['slice']}/{row['value']}"
            for name in DEVICE_MEASURES if row["slice"] == "device" else (*MEASURES, *COUNTS):
                values[f"{prefix}/{row['target']}/{name}{tail}"] = float(row[name])
        self.log_metrics(values)

    def log_dataset(self, table: Table, context: str) -> None:
        """Logs which data were used, by digest: `context` is train, valid, calibrate, test or unseen-devices."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        profile = {"num_rows": len(table), "num_groups": len(set(map(str, table.groups))), "targets": list(table.targets)}
        dataset = Dataset(f"silicast-{context}", table.digest, "local", json.dumps({"uri": table.source}), profile=json.dumps(profile))
        with self._safely():
            self.client.log_inputs(self.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])

    def log_artifacts(self, *paths: Path, under: str | None = None) -> None:
        """Copies files, or whole folders, to the run's artifacts, below `under`."""
        with self._safely():
            for path in paths:
                if path.is_dir():
                    self.client.log_artifacts(self.run_id, str(path), f"{under}/{path.name}" if under else path.name)
                else:
                    self.client.log_artifact(self.run_id, str(path), under)

    def set_tag(self, key: str, value: str) -> None:
        """One more tag."""
        with self._safely():
            self.client.set_tag(self.run_id, key, value)

    def _experiment_id(self) -> str:
        found = self.client.get_experiment_by_name(self.experiment)
        if found is not None:
            if found.lifecycle_stage != "active":
                self.client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
        path = sqlite_path(self.uri or "")
        beside = (path.absolute().parent / "mlartifacts").as_uri() if path else None
        return str(self.client.create_experiment(self.experiment, artifact_location=beside))

    @contextmanager
    def _safely(self) -> Iterator[None]:
        with quiet(), store_errors(self.uri or ""):
            yield


def _key(name: str) -> str:
    """A metric name MLflow takes: letters, digits and `_-. /`."""
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in name)[:250]
