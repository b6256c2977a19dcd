"""The models that come with silicast: where they lie, what they are called, and whether they still fit the silicast that would answer with them.

    folder("networks")        a model folder inside the package
    load("networks")          the surrogate and its card; VersionError for one made by other features or another simulator

Their references are `ready:NAME`. `SILICAST_READY` names another folder of ready-made models in place of the package's.
"""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..datasets.errors import FormatError, InputError, UnknownNameError, VersionError
from . import store
from .base import Surrogate
from .card import ModelCard

PREFIX = "ready:"
VARIABLE = "SILICAST_READY"


def home() -> Path:
    """The folder whose folders are the ready-made models."""
    given = os.environ.get(VARIABLE)
    return Path(given) if given else Path(str(files(__package__))) / "ready_models"


def names() -> tuple[str, ...]:
    """Every ready-made model, sorted; none where the folder is missing."""
    place = home()
    return tuple(sorted(p.name for p in place.iterdir() if (p / "model.json").is_file())) if place.is_dir() else ()


def folder(name: str) -> Path:
    """The model folder of that name, with or without `ready:` before it. Raises UnknownNameError naming the nearest, InputError where there are none."""
    name = name.removeprefix(PREFIX)
    known = names()
    if not known:
        raise InputError(f"ready:{name}: no ready-made model is installed (looked in {home()}); make them with `silicast models build all --data FOLDER`")
    if name not in known:
        raise UnknownNameError("ready-made model", name, known)
    return home() / name


def card(name: str) -> ModelCard:
    """Its card alone, whatever version made it. Raises FormatError for a damaged one."""
    place = folder(name) / "card.json"
    try:
        document: Any = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatError(f"{place}: not a readable model card ({error})") from None
    return ModelCard.from_json(document)


def load(name: str) -> tuple[Surrogate, ModelCard]:
    """The surrogate and its card. Raises VersionError for a stale one: it would answer wrongly, so it does not answer."""
    place = folder(name)
    stale = staleness(card(name))
    if stale:
        raise VersionError(f"ready-made model {place.name!r} is stale: {stale}. It would answer wrongly, so it does not answer; "
                           f"rebuild it (`silicast models build {place.name}`), or name another model with --model")
    return store.load(place)


def staleness(card: ModelCard) -> str:
    """Why a model no longer fits this silicast, "" where it does: it sees other features, or learned from (or through) another simulator."""
    from ..features import FEATURE_VERSION

    if card.feature_version != FEATURE_VERSION:
        return f"it was made with feature version {card.feature_version}, this silicast computes {FEATURE_VERSION}"
    if card.simulator_version:
        from ..datasets.simulator import SIMULATOR_VERSION

        if card.simulator_version != SIMULATOR_VERSION:
            return f"it was made with simulator version {card.simulator_version}, this silicast has {SIMULATOR_VERSION}"
    return ""
