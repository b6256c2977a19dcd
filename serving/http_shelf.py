"""The models a server answers with, and their exchange for newer ones while it answers.

A model that came from the registry by an alias is looked up again every few seconds. When the alias has moved, the new version is loaded
and asked once beside the old one, then takes its place; requests that hold the old one finish with it. A registry that is gone, slow or
damaged changes nothing but what `/readyz` says.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..datasets.errors import InputError, SilicastError, UnknownNameError
from .http_route import Refusal
from .predictor import Predictor
from .reply import one_line

#: a look-up of the registry that takes longer than this is called slow
SLOW_S = 10.0
#: seconds until a version that could not be loaded is tried again
_AGAIN_S = 60.0
_ALIAS = re.compile(r"models:/([^/@]+)(?:@([^/@]+)|/(latest))")


@dataclass(eq=False, frozen=True)
class Loaded:
    """One version of a model, ready to answer; requests hold on to it while they need it."""

    predictor: Predictor

    @property
    def name(self) -> str:
        """The model's name."""
        return self.predictor.name

    @property
    def version(self) -> str:
        """Its version."""
        return self.predictor.version


def version_now(source: str) -> str | None:
    """The version behind `models:/NAME@alias` or `/latest` at this moment; None where the reference names no alias. Raises RegistryError, UnknownNameError."""
    said = _ALIAS.fullmatch(source)
    if said is None:
        return None
    from ..training import registry

    name, alias, latest = said.groups()
    versions = registry.show(name).versions
    for one in versions:
        if latest or alias in one.aliases:
            return one.version
    raise UnknownNameError(f"alias of model {name}", alias or "latest", {a for v in versions for a in v.aliases} or {"(none)"})


class Shelf:
    """Models by name; the first answers where none is named. `load` and `look_up` are how a version is loaded and found (tests put others)."""

    def __init__(self, predictors: Sequence[Predictor], poll_s: float = 5.0, load: Callable[[str], Predictor] = Predictor.load,
                 look_up: Callable[[str], str | None] = version_now, heard: Callable[..., None] = lambda event, **fields: None) -> None:
        self._models: dict[str, Loaded] = {}
        for one in predictors:
            if one.name in self._models:
                raise InputError(f"serve: two models are called {one.name!r} ({self._models[one.name].predictor.source} and {one.source}); serve one of them")
            self._models[one.name] = Loaded(one)
        self.poll_s, self._load, self._look_up, self._heard = poll_s, load, look_up, heard
        self._refused: dict[str, tuple[str, float, str]] = {}  # model -> version, when, why
        self._gone_since: float | None = None
        self._error = ""
        self._began: float | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def get(self, name: str | None = None, version: str | None = None) -> Loaded:
        """The model of that name. Refuses with 404 for one that is not loaded, 503 where there is none at all."""
        if not self._models:
            raise Refusal(503, "no model is loaded yet", {"retry-after": "5"})
        if name is None:
            return next(iter(self._models.values()))
        found = self._models.get(name)
        if found is None:
            raise Refusal(404, str(UnknownNameError("model", name[:200], self._models)))
        if version is not None and version != found.version:
            raise Refusal(404, f"model {name} is loaded in version {found.version}, not {version[:80]!r}")
        return found

    def all(self) -> tuple[Loaded, ...]:
        """Every model, the default first."""
        return tuple(self._models.values())

    @property
    def watched(self) -> bool:
        """Whether any model came from the registry."""
        return any(one.predictor.source.startswith("models:") for one in self.all())

    def registry(self) -> dict[str, Any]:
        """What `/readyz` says of the registry."""
        refused = {f"{name} {version}": why for name, (version, _, why) in dict(self._refused).items()}
        began = self._began
        if not self.watched:
            return {"state": "unused", "since_s": None, "error": "", "refused": refused}
        if self._gone_since is not None:
            return {"state": "gone", "since_s": self._gone_since, "error": self._error, "refused": refused}
        if began is not None and time.time() - began > SLOW_S:
            return {"state": "slow", "since_s": began, "error": f"no answer for {time.time() - began:.0f} s", "refused": refused}
        return {"state": "reachable", "since_s": None, "error": "", "refused": refused}

    def start(self) -> None:
        """Begins to watch, in a thread that ends with the process."""
        if self.watched and self.poll_s > 0 and self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._watch, name="silicast-registry", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Watches no more; a look-up that hangs is left behind."""
        self._stop.set()
        self._thread = None

    def _watch(self) -> None:
        while not self._stop.wait(self.poll_s):
            self.check()

    def check(self) -> None:
        """Looks every alias up once, and changes what has moved. Never raises: the models that are there go on."""
        for name, loaded in list(self._models.items()):
            if loaded.predictor.source.startswith("models:"):
                self._check(name, loaded)

    def _check(self, name: str, loaded: Loaded) -> None:
        source = loaded.predictor.source
        self._began = time.time()
        try:
            version = self._look_up(source)
        except Exception as error:  # whatever a registry can throw: the server outlives it
            if self._gone_since is None:
                self._gone_since = time.time()
                self._heard("registry_gone", model=name, error=one_line(error))
            self._error = one_line(error)[:500]
            return
        finally:
            self._began = None
        if self._gone_since is not None:
            self._gone_since, self._error = None, ""
            self._heard("registry_back", model=name)
        if version is None or version == loaded.version:
            self._refused.pop(name, None)
            return
        before = self._refused.get(name)
        if before is not None and before[0] == version and time.time() - before[1] < _AGAIN_S:
            return
        try:
            fresh = self._load(source)
            if fresh.name != name or fresh.shape != loaded.predictor.shape:
                raise InputError(f"version {version} is model {fresh.name!r} of shape {fresh.shape}, not {name!r} of shape {loaded.predictor.shape}")
            warm(fresh)
        except (SilicastError, OSError, MemoryError, ValueError, KeyError, TypeError, RuntimeError) as error:
            self._refused[name] = (version, time.time(), one_line(error)[:500])
            self._heard("reload_refused", model=name, version=version, stays=loaded.version, error=one_line(error)[:500])
            return
        self._refused.pop(name, None)
        self._models[name] = Loaded(fresh)  # one assignment: a request sees the old one or the new one
        self._heard("reloaded", model=name, version=fresh.version, before=loaded.version)


def warm(predictor: Predictor) -> None:
    """Asks a model once, so that libraries are loaded and tables built before the first request. A question it cannot answer is no fault."""
    if predictor.quick is not None:  # what its student does not answer would wait for the model's libraries
        predictor.quick.warm()
    if predictor.shape != "graph":
        return
    from ..datasets.catalog import hardware
    from ..datasets.ops import Op
    from ..datasets.workload import WorkloadBuilder

    build = WorkloadBuilder("warm-up", "mlp")
    x = build.add(Op.of("fc", "gemm", m=8, n=64, k=64, params=4096), [build.input("x", 1024)])
    build.add(Op.of("act", "elementwise", elements=512), [x])
    predictor.predict(build.build(), hardware("t4"))
