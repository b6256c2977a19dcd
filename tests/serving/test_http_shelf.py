"""Models change while a server answers: nothing is dropped, nothing is wrong, and a registry that fails changes nothing."""

from __future__ import annotations

import json
import threading
import time
import warnings
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra silicast[serve]")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

from silicast.datasets.errors import FormatError, InputError, RegistryError
from silicast.serving import http_shelf
from silicast.serving.http import create_app
from silicast.serving.http_shelf import Shelf
from silicast.serving.predictor import Predictor

from .conftest import gemms

SOURCE = "models:/tiny@champion"


class Registry:
    """A registry that says which version is champion, and fails on demand."""

    def __init__(self, predictor: Predictor) -> None:
        self.model, self.version = replace(predictor, source=SOURCE), "7"
        self.fails: Exception | None = None
        self.damaged: tuple[str, ...] = ()
        self.slow_s = 0.0
        self.loads = 0

    def look_up(self, source: str) -> str:
        time.sleep(self.slow_s)
        if self.fails:
            raise self.fails
        return self.version

    def load(self, source: str) -> Predictor:
        self.loads += 1
        if self.version in self.damaged:
            raise FormatError("boosted.txt: its digest is not the one in model.json")
        return replace(self.model, version=self.version)

    def shelf(self, poll_s: float = 0.02) -> Shelf:
        return Shelf([self.model], poll_s, self.load, self.look_up)


@pytest.fixture
def registry(predictor: Predictor) -> Registry:
    return Registry(predictor)


def test_a_moved_alias_is_followed_and_no_request_is_dropped(registry: Registry) -> None:
    app = create_app(None, shelf=registry.shelf())
    body = json.dumps({"workload": gemms(256, 4, 16).to_json(), "hardware": "t4"}).encode()
    with TestClient(app) as client:
        seen: list[tuple[int, str]] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                told = client.post("/v1/predict", content=body, headers={"content-type": "application/json"})
                seen.append((told.status_code, told.json()["predictions"][0]["version"]))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for one in threads:
            one.start()
        for version in ("8", "9"):
            time.sleep(0.2)
            registry.version = version
            limit = time.time() + 20
            while client.get("/readyz").json()["version"] != version and time.time() < limit:
                time.sleep(0.02)
        time.sleep(0.2)
        stop.set()
        for one in threads:
            one.join()
        assert {status for status, _ in seen} == {200}
        assert {version for _, version in seen} == {"7", "8", "9"}
        assert 'silicast_reloads_total{outcome="reloaded"} 2' in client.get("/metrics").text


def test_a_registry_that_is_gone_is_told_and_nothing_else_changes(registry: Registry) -> None:
    shelf = registry.shelf()
    client = TestClient(create_app(None, shelf=shelf))
    assert client.get("/readyz").json()["registry"]["state"] == "reachable"
    registry.fails = RegistryError("model store http://registry: cannot be reached")
    shelf.check()
    told = client.get("/readyz")
    assert (told.status_code, told.json()["registry"]["state"]) == (200, "gone")
    assert "cannot be reached" in told.json()["registry"]["error"]
    assert client.post("/v1/predict", json={"workload": gemms(256, 4, 16).to_json(), "hardware": "t4"}).status_code == 200
    assert "silicast_registry_up 0" in client.get("/metrics").text
    registry.fails = None
    shelf.check()
    assert client.get("/readyz").json()["registry"] == {"state": "reachable", "since_s": None, "error": "", "refused": {}}


def test_a_registry_that_hangs_holds_nobody_up(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_shelf, "SLOW_S", 0.05)
    registry.slow_s = 1.0
    with TestClient(create_app(None, shelf=registry.shelf(0.01))) as client:
        time.sleep(0.3)
        begin = time.perf_counter()
        assert client.get("/readyz").json()["registry"]["state"] == "slow"
        assert client.post("/v1/predict", json={"workload": gemms(256, 4, 16).to_json(), "hardware": "t4"}).status_code == 200
        assert time.perf_counter() - begin < 0.9


def test_a_damaged_version_is_refused_and_the_one_before_goes_on(registry: Registry) -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    shelf = Shelf([registry.model], 0, registry.load, registry.look_up, lambda event, **fields: events.append((event, fields)))
    registry.version, registry.damaged = "8", ("8",)
    shelf.check()
    shelf.check()  # not loaded again at once
    assert (shelf.get().version, registry.loads) == ("7", 1)
    assert "digest" in shelf.registry()["refused"]["tiny 8"]
    assert [event for event, _ in events] == ["reload_refused"]
    registry.version = "9"
    shelf.check()
    assert (shelf.get().version, shelf.registry()["refused"]) == ("9", {})


def test_another_model_under_the_alias_is_refused(registry: Registry) -> None:
    shelf = registry.shelf()
    registry.version = "8"
    registry.model = replace(registry.model, name="another")
    shelf.check()
    assert "another" in shelf.registry()["refused"]["tiny 8"]


def test_two_models_of_one_name(predictor: Predictor) -> None:
    with pytest.raises(InputError, match="two models are called"):
        create_app([predictor, predictor])
