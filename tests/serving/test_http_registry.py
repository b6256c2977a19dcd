"""A real server that answers with a registered model while its registry is stopped, slow, damaged or gone, and while the champion moves. Real processes: `silicast serve`, and
`mlflow server` or an SQLite file."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from silicast.training import registry
from silicast.training.tracking import Run

from ..mlflow_server import MlflowServer, plain_folder
from .test_http_faults import ask, serving

pytestmark = pytest.mark.slow
pytest.importorskip("uvicorn", reason="needs the extra silicast[serve]")

QUESTION = json.dumps({"features": {"reuse": 4, "width": 100, "strategy": "latency"}}).encode()


def add(uri: str, folder: Path, name: str) -> str:
    with Run("test", uri=uri) as run:
        version = registry.register(folder, name, run)
    registry.promote(name, version, uri)
    return version


@contextlib.contextmanager
def served(uri: str, name: str, cache: Path) -> Iterator[int]:
    """The port of a server that follows the champion of `name`."""
    env = {"MLFLOW_TRACKING_URI": uri, "XDG_CACHE_HOME": str(cache)}
    with pytest.MonkeyPatch.context() as patch:
        for key, value in env.items():
            patch.setenv(key, value)
        with serving(f"models:/{name}@champion", "--poll-s", "0.3", start_s=240) as (port, _):
            yield port


def ready(port: int) -> dict[str, Any]:
    status, body = ask(port, "/readyz")
    assert status == 200
    return dict(json.loads(body))


def until(port: int, holds: Callable[[dict[str, Any]], bool], seconds: float = 120) -> dict[str, Any]:
    """What `/readyz` says once it says so."""
    limit = time.time() + seconds
    while True:
        said = ready(port)
        if holds(said):
            return said
        assert time.time() < limit, said
        time.sleep(0.2)


@dataclass
class Traffic:
    """Questions without a pause from three threads; every answer's status, version and value."""

    port: int
    seen: list[tuple[int, str, float]] = field(default_factory=list)

    def __enter__(self) -> Traffic:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(3)]
        for one in self._threads:
            one.start()
        return self

    def _ask(self) -> None:
        while not self._stop.is_set():
            status, body = ask(self.port, "/v1/predict", QUESTION)
            told = json.loads(body)["predictions"][0] if status == 200 else {"version": "", "targets": {"latency_s": {"point": 0.0}}}
            self.seen.append((status, told["version"], told["targets"]["latency_s"]["point"]))

    def __exit__(self, *ended: object) -> None:
        self._stop.set()
        for one in self._threads:
            one.join()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three models of one name that answer differently."""
    place = tmp_path_factory.mktemp("models")
    return [plain_folder(place / str(i), seed=i, trees=10 + 5 * i) for i in range(3)]


def all_the_faults(uri: str, name: str, cache: Path, folders: list[Path], slow: Callable[[], Any], steady: Callable[[], Any], gone: Callable[[], Any], back: Callable[[], Any],
                   damage: Callable[[Path], Any]) -> None:
    """One server through everything that can befall its registry; not one request fails or changes its answer without a version saying so."""
    first = add(uri, folders[0], name)
    with served(uri, name, cache) as port:
        assert ready(port)["registry"]["state"] == "reachable"
        with Traffic(port) as traffic:
            second = add(uri, folders[1], name)  # the champion moves under fire
            until(port, lambda said: said["version"] == second)
            slow()
            assert until(port, lambda said: said["registry"]["state"] in ("slow", "gone"))["version"] == second
            steady()
            until(port, lambda said: said["registry"]["state"] == "reachable", 200)
            gone()
            said = until(port, lambda said: said["registry"]["state"] == "gone")
            assert said["registry"]["error"]
            assert said["version"] == second
            before = len(traffic.seen)
            time.sleep(1.0)
            assert len(traffic.seen) > before  # it answers while nobody is there to be asked
            back()
            until(port, lambda said: said["registry"]["state"] == "reachable", 200)
            third = register_damaged(uri, folders[2], name, damage)  # a champion whose files are bad
            refused = until(port, lambda said: bool(said["registry"]["refused"]))
            assert refused["version"] == second
            assert f"plain {third}" in refused["registry"]["refused"]
            registry.rollback(name, uri)
            until(port, lambda said: not said["registry"]["refused"])
        assert {status for status, _, _ in traffic.seen} == {200}
        answers = {(version, value) for _, version, value in traffic.seen}
        assert {version for version, _ in answers} == {first, second}
        assert len(answers) == 2  # one answer a version, whatever happened around it


def register_damaged(uri: str, folder: Path, name: str, damage: Callable[[Path], Any]) -> str:
    """A version that becomes champion and whose stored files are damaged before a server reads them."""
    with Run("test", uri=uri) as run:
        version = registry.register(folder, name, run)
    damage(folder)
    client: Any = Run("alias", uri=uri)
    with client as run:
        run.client.set_registered_model_alias(name, "champion", version)
        run.client.set_registered_model_tag(name, registry.FORMER, json.dumps([str(int(version) - 1)]))
    return version


def flip(root: Path, digest: str) -> None:
    """One bit of the weights of every stored copy of a model folder with that model.json."""
    found = [p.parent for p in root.glob("**/model.json") if p.read_text(encoding="utf-8") == digest]
    assert found
    for place in found:
        weights = next(p for p in sorted(place.iterdir()) if p.suffix == ".txt")
        content = bytearray(weights.read_bytes())
        content[len(content) // 2] ^= 1
        weights.write_bytes(content)


def test_a_tracking_server(mlflow_server: MlflowServer, folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "ours"))
    all_the_faults(mlflow_server.url, "http-faults", tmp_path / "theirs", folders,
                   slow=lambda: mlflow_server.signal(signal.SIGSTOP), steady=lambda: mlflow_server.signal(signal.SIGCONT), gone=mlflow_server.stop, back=mlflow_server.start,
                   damage=lambda folder: flip(mlflow_server.artifacts, (folder / "model.json").read_text(encoding="utf-8")))


def test_an_sqlite_file(folders: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    held: list[sqlite3.Connection] = []

    def lock() -> None:
        held.append(sqlite3.connect(file, isolation_level=None, timeout=60))
        held[0].execute("BEGIN EXCLUSIVE")

    def corrupt() -> None:
        shutil.copy(file, tmp_path / "kept.db")
        file.write_bytes(os.urandom(200_000))

    all_the_faults(f"sqlite:///{file}", "file-faults", tmp_path / "cache", folders, slow=lock, steady=lambda: (held[0].execute("COMMIT"), held[0].close()), gone=corrupt,
                   back=lambda: os.replace(tmp_path / "kept.db", file),
                   damage=lambda folder: flip(tmp_path / "mlartifacts", (folder / "model.json").read_text(encoding="utf-8")))
