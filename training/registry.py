"""Which model answers: the MLflow registry, one name per model, numbered versions, and the alias `champion`.

    version = register(folder, "cost-boosted", run)      # a whole model folder, or nothing
    promote("cost-boosted", version)                     # moves @champion, if the gate lets it
    folder = resolve("models:/cost-boosted@champion")    # a model folder on this disk
    rollback("cost-boosted")                             # the champion before

`champion` moves only through the gate (`gate.may_promote`); why is kept in tags of the version. The champions before are kept in the
tag `silicast.former_champions` of the model, so that a rollback needs nobody's memory. Every function takes the store as `uri`
(default: `MLFLOW_TRACKING_URI`, else SQLite in the working directory) and raises RegistryError when it is missing, damaged or
unreachable.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from ..datasets.errors import FormatError, InputError, RegistryError, UnknownNameError
from ..surrogates.card import ModelCard
from . import pyfunc
from .gate import may_promote
from .tracking import Run, connect, default_uri, quiet, sqlite_path, store_errors

CHAMPION = "champion"
FORMER = "silicast.former_champions"
REFERENCE = re.compile(r"^models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[^/@]+))$")


@dataclass(frozen=True)
class Version:
    """One registered version of a model."""

    name: str
    version: str
    aliases: tuple[str, ...]
    created_s: float
    run_id: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Registered:
    """A registered model: its versions, newest first, which one is champion (None: none), and the champions before, latest last."""

    name: str
    versions: tuple[Version, ...]
    champion: str | None
    former: tuple[str, ...]


class RefusedError(InputError):
    """The gate did not let a version become champion; `reasons` in words."""

    def __init__(self, message: str, reasons: tuple[str, ...]) -> None:
        super().__init__(message)
        self.reasons = reasons


@dataclass(frozen=True)
class Promotion:
    """What a promotion or rollback did: `version` is champion now, `previous` was (None: nobody); `reasons` in words."""

    name: str
    version: str
    previous: str | None
    reasons: tuple[str, ...]


def register(folder: str | Path, name: str, run: Run) -> str:
    """Registers a complete model folder as the next version of `name`, inside an open run; gives back the version.

    The folder is loaded once first: a damaged one is refused (FormatError, VersionError) before the registry hears of it.
    The version appears only after all its files are stored, so a process killed half-way leaves no version.
    """
    from ..surrogates.store import load

    place = Path(folder)
    _, card = load(place)
    uri = run.uri or default_uri()
    with quiet(), store_errors(uri), tempfile.TemporaryDirectory(prefix="silicast-register-") as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice on type hints and integer columns; none concerns this model
        import mlflow.pyfunc
        from mlflow.entities import LoggedModelOutput

        script, built = Path(scratch) / "silicast_model.py", Path(scratch) / "mlflow_model"
        script.write_text(pyfunc.SCRIPT, encoding="utf-8")
        mlflow.pyfunc.save_model(str(built), python_model=str(script), artifacts={pyfunc.ARTIFACT: str(place.absolute())},
                                 signature=pyfunc.signature(card), input_example=pyfunc.example(card.shape),
                                 pip_requirements=[f"silicast=={card.silicast_version}" if card.silicast_version else "silicast"])
        tags = {"shape": card.shape, "targets": ",".join(card.targets), "data_digest": card.data_digest, "split": card.split[:500],
                "silicast_version": card.silicast_version, "code_revision": card.code_revision, "model_digest": _digest(place)}
        logged = run.client.create_logged_model(run.experiment_id, name=name, source_run_id=run.run_id, tags=tags, model_type="silicast-surrogate")
        run.client.log_model_artifacts(logged.model_id, str(built))
        run.client.finalize_logged_model(logged.model_id, "READY")
        run.client.log_outputs(run.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        run.log_metrics({f"{target}/{k}": v for target, of in card.metrics.get("all", {}).items() for k, v in of.items()}, model_id=logged.model_id)
        if not run.client.search_registered_models(filter_string=f"name = '{_plain(name)}'"):
            run.client.create_registered_model(name, description=f"silicast surrogate of {', '.join(card.targets)}")
        # a server resolves models:/ID itself; with a file store MLflow would look for the id in the process-wide store
        source = logged.artifact_location if sqlite_path(uri) else f"models:/{logged.model_id}"
        made = run.client.create_model_version(name, source, run_id=run.run_id, tags=tags, model_id=logged.model_id,
                                               description=f"{card.data_rows} rows of {card.data_source}")
    return str(made.version)


def promote(name: str, version: str | int, uri: str | None = None, force: bool = False) -> Promotion:
    """Makes `version` the champion of `name`, if the gate lets it (or `force`); its reasons go into the version's tags.

    Raises RefusedError with the gate's reasons when it is refused, UnknownNameError for an unknown model or version.
    """
    client, uri = connect(uri, create=False), uri or default_uri()
    model = _find(client, name, uri)
    number = _known_version(model, str(version)).version
    if number == model.champion:
        return Promotion(name, number, number, ("is champion already",))
    new = card_of(f"models:/{name}/{number}", uri)
    old = card_of(f"models:/{name}/{model.champion}", uri) if model.champion else None
    allowed, reasons = may_promote(new, old)
    with quiet(), store_errors(uri):
        verdict = ("flagged" if any(r.startswith("flagged") for r in reasons) else "passed") if allowed else "forced" if force else "refused"
        _tag(client, model, number, gate=verdict, gate_reasons="; ".join(reasons))
        if not allowed and not force:
            raise RefusedError(f"version {number} of {name} was not promoted: {'; '.join(reasons)}. {f'The champion stays {model.champion}' if model.champion else 'There is no champion yet'}; "
                               "train a better one, or promote with force", reasons)
        if model.champion:
            _remember(client, name, (*model.former, model.champion))
        client.set_registered_model_alias(name, CHAMPION, number)
        _tag(client, model, number, promoted_at=_now())
    return Promotion(name, number, model.champion, reasons)


def rollback(name: str, uri: str | None = None) -> Promotion:
    """Makes the champion before the present one champion again. Raises InputError when there was none."""
    client, uri = connect(uri, create=False), uri or default_uri()
    model = _find(client, name, uri)
    there = {v.version for v in model.versions}
    former = [v for v in model.former if v in there]
    while former and former[-1] == model.champion:  # a promotion or rollback was cut short after its first half
        former.pop()
    if not former:
        raise InputError(f"model {name} has no earlier champion to go back to (champion now: {model.champion or 'none'})")
    with quiet(), store_errors(uri):
        client.set_registered_model_alias(name, CHAMPION, former[-1])
        _remember(client, name, tuple(former[:-1]))
        if model.champion:
            _tag(client, model, model.champion, rolled_back_at=_now())
    return Promotion(name, former[-1], model.champion, (f"rolled back from version {model.champion}",))


def list_models(uri: str | None = None) -> tuple[Registered, ...]:
    """Every registered model, by name."""
    client, uri = connect(uri, create=False), uri or default_uri()
    with quiet(), store_errors(uri):
        return tuple(_registered(client, m) for m in sorted(_all(client), key=lambda m: str(m.name)))


def show(name: str, uri: str | None = None) -> Registered:
    """One registered model. Raises UnknownNameError naming the nearest."""
    client, uri = connect(uri, create=False), uri or default_uri()
    return _find(client, name, uri)


def resolve(reference: str, uri: str | None = None) -> Path:
    """The model folder behind `models:/NAME@alias` or `models:/NAME/3` (or `/latest`).

    A path into the store where that is on this disk (nothing is copied); else a copy in the user's cache folder, made once.
    Raises FormatError for another kind of reference, UnknownNameError for an unknown model, alias or version.
    """
    said = REFERENCE.match(reference)
    if said is None:
        raise FormatError(f"model reference: expected models:/NAME@alias or models:/NAME/VERSION, got {reference!r}")
    client, uri = connect(uri, create=False), uri or default_uri()
    name, alias, version = said["name"], said["alias"], said["version"]
    with quiet(), store_errors(uri):
        from mlflow.exceptions import MlflowException

        try:
            if alias:
                version = str(client.get_model_version_by_alias(name, alias).version)
            if version == "latest":
                version = _find(client, name, uri).versions[0].version
            location = client.get_model_version_download_uri(name, version)
        except (MlflowException, IndexError):
            model = _find(client, name, uri)  # names the nearest model, if that is what is wrong
            if alias and not any(alias in v.aliases for v in model.versions):
                raise UnknownNameError(f"alias of model {name}", alias, {a for v in model.versions for a in v.aliases} or {"(none)"},
                                       f"versions: {', '.join(v.version for v in model.versions)}") from None
            _known_version(model, version or "latest")
            raise
        return _local(location, uri, name, version)


def card_of(reference: str, uri: str | None = None) -> ModelCard:
    """The card of a registered model, without loading its weights. Raises as `resolve` does, RegistryError for a damaged card."""
    path = resolve(reference, uri) / "card.json"
    try:
        return ModelCard.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, FormatError) as error:
        raise RegistryError(f"{reference}: its card {path} is not readable ({error}); the store's files are damaged") from None


def _local(location: str, uri: str, name: str, version: str) -> Path:
    parts = urlsplit(location)
    root = Path(unquote(parts.path)) if parts.scheme in ("", "file") else _cached(location, uri, name, version)
    try:
        flavour = yaml.safe_load((root / "MLmodel").read_text(encoding="utf-8"))["flavors"]["python_function"]
        inside = str(flavour["artifacts"][pyfunc.ARTIFACT]["path"])
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise RegistryError(f"models:/{name}/{version}: {root} holds no silicast model ({type(error).__name__}: {error}); "
                            "its files were moved or deleted, or another program registered it") from None
    if not (root / inside / "model.json").is_file():
        raise RegistryError(f"models:/{name}/{version}: {root / inside} is incomplete; the store's files were moved or deleted")
    return root / inside


def _cached(location: str, uri: str, name: str, version: str) -> Path:
    """A copy of a remote version; versions never change, so one that is there is good."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "silicast" / "models"
    place = base / f"{_plain(name)}-{version}-{hashlib.sha256(f'{uri} {location}'.encode()).hexdigest()[:12]}"
    if not place.exists():
        from mlflow.artifacts import download_artifacts

        base.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=".", dir=base))
        try:
            got = download_artifacts(artifact_uri=location, dst_path=str(building), tracking_uri=uri)
            os.replace(got, place)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return place


def _all(client: Any) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = client.search_registered_models(page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _find(client: Any, name: str, uri: str) -> Registered:
    with quiet(), store_errors(uri):
        from mlflow.exceptions import MlflowException

        try:
            return _registered(client, client.get_registered_model(name))
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            known = [str(m.name) for m in _all(client)]
        if not known:
            raise InputError(f"unknown model {name!r}: nothing is registered in {uri}; train a model first, or name another store with MLFLOW_TRACKING_URI")
        raise UnknownNameError("model", name, known, f"store: {uri}")


def _registered(client: Any, model: Any) -> Registered:
    of: dict[str, list[str]] = {}
    for alias, number in model.aliases.items():
        of.setdefault(str(number), []).append(alias)
    versions = sorted(client.search_model_versions(f"name = '{_plain(model.name)}'"), key=lambda v: -int(v.version))
    listed = tuple(Version(str(v.name), str(v.version), tuple(sorted(of.get(str(v.version), ()))), v.creation_timestamp / 1000.0, str(v.run_id or ""), dict(v.tags))
                   for v in versions)
    try:
        former = tuple(str(v) for v in json.loads(model.tags.get(FORMER, "[]")))
    except (ValueError, TypeError):
        former = ()
    champion = model.aliases.get(CHAMPION)
    return Registered(str(model.name), listed, None if champion is None else str(champion), former)


def _known_version(model: Registered, version: str) -> Version:
    for known in model.versions:
        if known.version == version:
            return known
    raise UnknownNameError(f"version of model {model.name}", version, [v.version for v in model.versions] or ["(none)"])


def _remember(client: Any, name: str, former: tuple[str, ...]) -> None:
    client.set_registered_model_tag(name, FORMER, json.dumps(former[-100:]))


def _tag(client: Any, model: Registered, version: str, **tags: str) -> None:
    for key, value in tags.items():
        client.set_model_version_tag(model.name, version, key, value[:4900])


def _plain(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.\- ]+", name):
        raise InputError(f"model name: expected letters, digits, '_', '.', '-', got {name!r}")
    return name


def _digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model.json").read_bytes()).hexdigest()[:16]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
