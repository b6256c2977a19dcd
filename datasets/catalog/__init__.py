"""Devices by name: `hardware("h100")` gives the machine, every figure cited.

A device is one YAML file beside this module, named by its key; `document.py` holds the rules such a file obeys, and a
user's own file obeys the same. A canonical key costs one file read; an alias ("NVIDIA A100-SXM4-80GB") one glance at
every file and a parse of those that mention it. A name that is neither is looked up once more as tables and tools write it
("NVIDIA RTX3090", "3090 24GB"; `written_names`).
"""

from __future__ import annotations

import os
from functools import cache, lru_cache
from pathlib import Path

from ..cluster import Cluster
from ..errors import FormatError, InputError, UnknownNameError
from ..hardware import Hardware
from .document import read_json, read_text
from .written_names import WrittenNames

__all__ = ["cluster", "find", "hardware", "keys", "normal", "read_device", "read_text"]

SUFFIXES = (".yaml", ".yml", ".json")


def hardware(name: str | os.PathLike[str]) -> Hardware:
    """The machine called `name`: a key, an alias, or a path ending in .yaml, .yml or .json.

    Keys and aliases are compared without regard to case, spaces, '-' and '_'; makers' words and a size of memory that is the
    machine's own may stand beside them, as long as one entry alone is meant (`written_names`). Raises UnknownNameError naming the
    nearest keys and aliases; for a file, what `read_device` raises, and InputError when it gives other figures under a
    key of the catalogue: two machines of one name cannot be told apart in an answer.
    """
    text = os.fspath(name)
    if text.lower().endswith(SUFFIXES):
        return _not_a_namesake(read_device(text), text)
    device = find(text)
    if device is not None:
        return device
    known = [*keys(), *(alias for key in keys() for alias in _device(key).aliases)]
    raise UnknownNameError("device", text, known, "A device of your own: give the path of its .yaml file")


def find(name: str) -> Hardware | None:
    """The machine of the catalogue called `name`, as `hardware` looks names up; None where it has none, and no time is spent on the nearest."""
    wanted = normal(name)
    for key in keys():
        if normal(key) == wanted:
            return _device(key)
    # Most files need no parse: an alias that does not occur in the text cannot be in the list.
    for key in keys():
        if wanted and wanted in _normal_text(key) and wanted in map(normal, _device(key).aliases):
            return _device(key)
    named = _written(name)
    return None if named is None else _device(named)


def cluster(name: str | os.PathLike[str]) -> Cluster:
    """The cluster called `name`: a key or alias of `clusters/`, or a path of a YAML file; see there for what is raised."""
    from .clusters import cluster as find

    return find(name)


@cache
def keys() -> tuple[str, ...]:
    """Every key of the catalogue, sorted; no file is parsed."""
    from importlib.resources import files

    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in files(__name__).iterdir() if entry.name.endswith(".yaml")))


def read_device(path: str | os.PathLike[str]) -> Hardware:
    """A machine from a user's file: YAML in the catalogue's form, or JSON in that form or as `Hardware.to_json` writes it.

    Raises FormatError, UnitError or InputError in one line that names the file and the field.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FormatError(f"{path}: no such file; expected a device in YAML or JSON") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: not a readable text file ({error})") from None
    if os.fspath(path).lower().endswith(".json"):
        return read_json(text, str(path))
    return read_text(text, str(path))


def _not_a_namesake(device: Hardware, path: str) -> Hardware:
    key = next((key for key in keys() if normal(key) == normal(device.key)), None)
    if key is None or device.digest == _device(key).digest:
        return device
    ours, theirs = _device(key).to_json(), device.to_json()
    other = [name for name in theirs if theirs[name] != ours[name] and name not in ("key", "name", "aliases", "vendor", "year", "notes", "cited")]
    raise InputError(f"{path}: its key {device.key!r} ({device.name}) is that of {_device(key).name} in the catalogue, whose figures differ ({', '.join(other)}); "
                     "give the device a key of its own")


def normal(name: str) -> str:
    """`name` as names are compared: lower case, without spaces, '-' and '_'."""
    return name.casefold().translate(_DROPPED)


_DROPPED = str.maketrans("", "", " \t_-")


@lru_cache(maxsize=4096)
def _written(name: str) -> str | None:
    """The key of the machine that a name means as tables and tools write it; None where no entry or several could be meant."""
    return _written_names().key(name)


@cache
def _written_names() -> WrittenNames:
    return WrittenNames([_device(key) for key in keys()])


@cache
def _text(key: str) -> str:
    from importlib.resources import files

    return (files(__name__) / f"{key}.yaml").read_text(encoding="utf-8")


@cache
def _normal_text(key: str) -> str:
    return normal(_text(key))


@cache
def _device(key: str) -> Hardware:
    return read_text(_text(key), f"{key}.yaml", users=False)
