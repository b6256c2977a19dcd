"""Which model answers: the MLflow registry, one name per model, numbered versions, and the alias `champion`.

    version = register(folder, "cost-boosted", run)      # a whole model folder, or nothing
    promote("cost-boosted", version)                     # moves @champion, if the gate lets it
    folder = resolve("models:/cost-boosted@champion")    # a model folder on this disk
    rollback("cost-boosted")                             # the champion before

`champion` moves only through the gate (`gate.may_promote`); why is kept in tags of the version, where it comes from as well (`lineage`). The champions before are
kept in the tag `silicast.former_champions` of the model, so that a rollback needs nobody's memory. Every function takes the store as `uri` (default:
`MLFLOW_TRACKING_URI`, else SQLite in the working directory) and raises RegistryError when it is missing, damaged or unreachable. Writers take turns (`registry_lock`).
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
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from ..datasets.errors import FormatError, InputError, RegistryError, UnknownNameError
from ..surrogates.card import ModelCard
from . import lineage, pyfunc
from .gate import Parity, may_promote
from .registry_lock import held, patiently
from .tracking import Run, connect, default_uri, quiet, sqlite_path, store_errors

CHAMPION = "champion"
FORMER = "silicast.former_champions"
PROTECTED = "silicast.protected_slices"
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
    """A registered model: its versions, newest first, which one is champion (None: none), the champions before, latest last, and the slices the gate protects."""

    name: str
    versions: tuple[Version, ...]
    champion: str | None
    former: tuple[str, ...]
    protected: tuple[str, ...] = ()


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

    The folder is loaded once first: a damaged one is refused (FormatError, VersionError) before the registry hears of it. The version appears only after all its files are
    stored: a process killed half-way leaves no version, and one that fails (a full disk, a server that goes) takes back what it had stored. Raises RegistryError.
    """
    from ..surrogates.store import load

    place = Path(folder)
    surrogate, card = load(place)
    uri = run.uri or default_uri()
    _plain(name)
    with quiet(), store_errors(uri), tempfile.TemporaryDirectory(prefix="silicast-register-") as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice on type hints and integer columns; none concerns this model
        tags = lineage.tags_of(card, place, Parity.of(surrogate, card))
        built = Path(scratch) / "mlflow_model"
        pyfunc.build(built, place, card)
        with held(uri):
            logged = patiently(lambda: run.client.create_logged_model(run.experiment_id, name=name, source_run_id=run.run_id, tags=tags, model_type="silicast-surrogate"))
            try:
                return _stored(run, uri, name, built, card, tags, logged)
            except BaseException:
                _taken_back(run.client, logged)
                raise


def _stored(run: Run, uri: str, name: str, built: Path, card: ModelCard, tags: dict[str, str], logged: Any) -> str:
    """The version, made last of all."""
    from mlflow.entities import LoggedModelOutput

    client = run.client
    client.log_model_artifacts(logged.model_id, str(built))
    patiently(lambda: client.finalize_logged_model(logged.model_id, "READY"))
    patiently(lambda: client.log_outputs(run.run_id, [LoggedModelOutput(logged.model_id, step=0)]))
    run.log_metrics({f"{target}/{k}": v for target, of in card.metrics.get("all", {}).items() for k, v in of.items()}, model_id=logged.model_id)
    _named(client, name, card)
    # a server resolves models:/ID itself; with a file store MLflow would look for the id in the process-wide store
    source = logged.artifact_location if sqlite_path(uri) else f"models:/{logged.model_id}"
    made = patiently(lambda: client.create_model_version(name, source, run_id=run.run_id, tags=tags, model_id=logged.model_id, description=f"{card.data_rows} rows of {card.data_source}"))
    return str(made.version)


def _named(client: Any, name: str, card: ModelCard) -> None:
    """Makes the model, unless it is there or somebody else makes it at this moment."""
    from mlflow.exceptions import MlflowException

    if client.search_registered_models(filter_string=f"name = '{name}'"):
        return
    try:
        patiently(lambda: client.create_registered_model(name, description=f"silicast surrogate of {', '.join(card.targets)}"))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _taken_back(client: Any, logged: Any) -> None:
    """Removes what a registration that failed had stored; what cannot be removed now is marked deleted, for `mlflow gc`."""
    with suppress(Exception):
        client.delete_logged_model(logged.model_id)
    parts = urlsplit(str(logged.artifact_location))
    if parts.scheme in ("", "file"):
        shutil.rmtree(unquote(parts.path), ignore_errors=True)


def promote(name: str, version: str | int, uri: str | None = None, force: bool = False) -> Promotion:
    """Makes `version` the champion of `name`, if the gate lets it (or `force`); its reasons go into the version's tags.

    Raises RefusedError with the gate's reasons when it is refused, UnknownNameError for an unknown model or version.
    """
    client, uri = connect(uri, create=False), uri or default_uri()
    with held(uri):
        while True:
            model = _find(client, name, uri)
            known = _known_version(model, str(version))
            number = known.version
            if number == model.champion:
                return Promotion(name, number, number, ("is champion already",))
            new = card_of(f"models:/{name}/{number}", uri)
            old = card_of(f"models:/{name}/{model.champion}", uri) if model.champion else None
            allowed, reasons = may_promote(new, old, Parity.read(known.tags.get("parity", "")), model.protected)
            if _find(client, name, uri).champion == model.champion:  # nobody moved it while the cards were read
                break
        with quiet(), store_errors(uri):
            verdict = ("flagged" if any(r.startswith("flagged") for r in reasons) else "passed") if allowed else "forced" if force else "refused"
            _tag(client, model, number, gate=verdict, gate_reasons="; ".join(reasons), gate_against=model.champion or "nobody")
            if not allowed and not force:
                raise RefusedError(f"version {number} of {name} was not promoted: {'; '.join(reasons)}. {f'The champion stays {model.champion}' if model.champion else 'There is no champion yet'}; "
                                   "train a better one, or promote with force", reasons)
            if model.champion:
                _remember(client, name, (*model.former, model.champion))
            patiently(lambda: client.set_registered_model_alias(name, CHAMPION, number))
            _tag(client, model, number, promoted_at=_now())
    return Promotion(name, number, model.champion, reasons)


def protect(name: str, slices: Sequence[str], uri: str | None = None) -> tuple[str, ...]:
    """Names the slices ("device=h100_sxm", "family=mlp") in which no later champion of `name` may be worse beyond chance; none: no slice but those the gate always compares.

    Gives back what was named before. Raises InputError for what is no COLUMN=VALUE, UnknownNameError for an unknown model.
    """
    for one in slices:
        if not re.fullmatch(r"(family|kind|device)=[^=\s]+", one):
            raise InputError(f"protected slice: expected family=..., kind=... or device=..., got {one!r}")
    client, uri = connect(uri, create=False), uri or default_uri()
    model = _find(client, name, uri)
    with quiet(), store_errors(uri), held(uri):
        patiently(lambda: client.set_registered_model_tag(name, PROTECTED, json.dumps(list(dict.fromkeys(slices)))))
    return model.protected


def rollback(name: str, uri: str | None = None) -> Promotion:
    """Makes the champion before the present one champion again. Raises InputError when there was none."""
    client, uri = connect(uri, create=False), uri or default_uri()
    with held(uri):
        model = _find(client, name, uri)
        there = {v.version for v in model.versions}
        former = [v for v in model.former if v in there]
        while former and former[-1] == model.champion:  # a promotion or rollback was cut short after its first half
            former.pop()
        if not former:
            raise InputError(f"model {name} has no earlier champion to go back to (champion now: {model.champion or 'none'})")
        with quiet(), store_errors(uri):
            patiently(lambda: client.set_registered_model_alias(name, CHAMPION, former[-1]))
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
            said_digest = str(client.get_model_version(name, version).tags.get("model_digest", ""))
        except (MlflowException, IndexError):
            model = _find(client, name, uri)  # names the nearest model, if that is what is wrong
            if alias and not any(alias in v.aliases for v in model.versions):
                raise UnknownNameError(f"alias of model {name}", alias, {a for v in model.versions for a in v.aliases} or {"(none)"},
                                       f"versions: {', '.join(v.version for v in model.versions)}") from None
            _known_version(model, version or "latest")
            raise
        return _local(location, uri, name, version, said_digest)


def card_of(reference: str, uri: str | None = None) -> ModelCard:
    """The card of a registered model, without loading its weights. Raises as `resolve` does, RegistryError for a damaged card."""
    path = resolve(reference, uri) / "card.json"
    try:
        return ModelCard.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, FormatError) as error:
        raise RegistryError(f"{reference}: its card {path} is not readable ({error}); the store's files are damaged") from None


def _local(location: str, uri: str, name: str, version: str, digest: str) -> Path:
    """The model folder at `location`, fetched if need be. One that is not what was registered (`digest`) is an error, a copy that went bad is fetched again."""
    parts = urlsplit(location)
    if parts.scheme in ("", "file"):
        folder = _inside(Path(unquote(parts.path)), name, version)
    else:
        place = _copy_of(location, uri, name, version)
        with suppress(RegistryError):
            copy = _inside(place, name, version)
            if lineage.whole(copy) and digest in ("", lineage.digest(copy)):
                return copy
        shutil.rmtree(place, ignore_errors=True)
        folder = _inside(_fetched(location, uri, place), name, version)
    if digest and lineage.digest(folder) != digest:
        raise RegistryError(f"models:/{name}/{version}: the files in {folder} are not those that were registered (digest {lineage.digest(folder)}, expected {digest}); "
                            "restore them, or roll back to another version")
    return folder


def _inside(root: Path, name: str, version: str) -> Path:
    """The model folder in an MLflow model."""
    try:
        flavour = yaml.safe_load((root / "MLmodel").read_text(encoding="utf-8"))["flavors"]["python_function"]
        inside = str(flavour["artifacts"][pyfunc.ARTIFACT]["path"])
    except (OSError, KeyError, TypeError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RegistryError(f"models:/{name}/{version}: {root} holds no silicast model ({type(error).__name__}: {error}); "
                            "its files were moved or deleted, or another program registered it") from None
    if not (root / inside).resolve().is_relative_to(root.resolve()):
        raise RegistryError(f"models:/{name}/{version}: {root} names a folder outside itself ({inside!r}); it is no silicast model")
    if not (root / inside / "model.json").is_file():
        raise RegistryError(f"models:/{name}/{version}: {root / inside} is incomplete; the store's files were moved or deleted")
    return root / inside


def _copy_of(location: str, uri: str, name: str, version: str) -> Path:
    """Where the copy of a remote version lies; versions never change, so one that is whole is good."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "silicast" / "models"
    return base / f"{_plain(name)}-{version}-{hashlib.sha256(f'{uri} {location}'.encode()).hexdigest()[:12]}"


def _fetched(location: str, uri: str, place: Path) -> Path:
    """The copy, made beside its place and moved in; where another process was quicker, that one's."""
    from mlflow.artifacts import download_artifacts

    place.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=".", dir=place.parent))
    try:
        got = download_artifacts(artifact_uri=location, dst_path=str(building), tracking_uri=uri)
        try:
            os.replace(got, place)
        except OSError:
            if not place.is_dir():
                raise
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
    champion = model.aliases.get(CHAMPION)
    return Registered(str(model.name), listed, None if champion is None else str(champion), _texts(model.tags.get(FORMER, "[]")), _texts(model.tags.get(PROTECTED, "[]")))


def _texts(tag: str) -> tuple[str, ...]:
    """The list in a tag; empty where somebody else wrote something else into it."""
    try:
        return tuple(str(v) for v in json.loads(tag))
    except (ValueError, TypeError):
        return ()


def _known_version(model: Registered, version: str) -> Version:
    for known in model.versions:
        if known.version == version:
            return known
    raise UnknownNameError(f"version of model {model.name}", version, [v.version for v in model.versions] or ["(none)"])


def _remember(client: Any, name: str, former: tuple[str, ...]) -> None:
    patiently(lambda: client.set_registered_model_tag(name, FORMER, json.dumps(former[-100:])))


def _tag(client: Any, model: Registered, version: str, **tags: str) -> None:
    for key, value in tags.items():
        patiently(lambda key=key, value=value: client.set_model_version_tag(model.name, version, key, value[:lineage.MOST]))  # type: ignore[misc]


def _plain(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.\- ]+", name):
        raise InputError(f"model name: expected letters, digits, '_', '.', '-', got {name!r}")
    return name


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
