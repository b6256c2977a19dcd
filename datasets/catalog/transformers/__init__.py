"""Language models by name: `transformer("llama3_70b")` or by the name of its repository, `transformer("meta-llama/Meta-Llama-3-70B")`.

A model is one YAML file here, named by its key: the fields of `Transformer`, with `source`, the published config or paper its sizes are from. A
user's own file obeys the same.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from ...errors import FormatError, InputError, UnknownNameError
from ...transformer import Transformer

__all__ = ["keys", "read_transformer", "transformer"]


@cache
def keys() -> tuple[str, ...]:
    """Every key, sorted; no file is parsed."""
    from importlib.resources import files

    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in files(__name__).iterdir() if entry.name.endswith(".yaml")))


@cache
def transformer(name: str | os.PathLike[str]) -> Transformer:
    """The model called `name`: a key, an alias, or a path ending in .yaml or .yml; compared without regard to case, spaces, '-' and '_'.

    Raises UnknownNameError naming the nearest; for a file, what `read_transformer` raises.
    """
    text = os.fspath(name)
    if text.lower().endswith((".yaml", ".yml")):
        return read_transformer(text)
    wanted = _normal(text)
    for key in keys():
        if _normal(key) == wanted:
            return _model(key)
    known = {alias: key for key in keys() for alias in _model(key).aliases}
    for alias, key in known.items():
        if _normal(alias) == wanted:
            return _model(key)
    raise UnknownNameError("transformer", text, [*keys(), *known], "A model of your own: give the path of its .yaml file")


def read_transformer(path: str | os.PathLike[str]) -> Transformer:
    """A model from a user's YAML file. Raises FormatError or InputError naming the file and the field."""
    try:
        return _parsed(Path(path).read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise FormatError(f"{path}: no such file; expected a transformer in YAML") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: not a readable text file ({error})") from None


def _normal(name: str) -> str:
    return name.casefold().translate(str.maketrans("", "", " \t_-"))


@cache
def _model(key: str) -> Transformer:
    from importlib.resources import files

    return _parsed((files(__name__) / f"{key}.yaml").read_text(encoding="utf-8"), f"transformers/{key}.yaml")


def _parsed(text: str, where: str) -> Transformer:
    import yaml

    try:
        data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader) if where.startswith("transformers/") else yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FormatError(f"{where}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, Mapping) or not all(isinstance(k, str) for k in data):
        raise FormatError(f"{where}: expected a mapping of the fields of a transformer, got {type(data).__name__}")
    if not isinstance(data.get("source"), str) or not data["source"].strip():
        raise FormatError(f"{where}: source: expected the published config or paper the sizes are from, got {data.get('source')!r}")
    try:
        return Transformer.from_json(data)
    except InputError as error:
        raise FormatError(f"{where}: {error}") from None
