"""What the arguments of the command line name: models, machines, sizes, workloads.

Every heavy import stands inside what needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..datasets.errors import InputError, UnknownNameError


def predictor(model: str | None) -> Any:
    """The model asked for; without one the champion of the store here, or else the model of whole networks that came with silicast."""
    from .predictor import DEFAULT_MODEL, Predictor

    if model is None:
        from . import ready

        try:
            store_exists()
            return Predictor.load(DEFAULT_MODEL)
        except InputError as champion:
            try:
                return ready.for_networks()
            except InputError as error:
                raise InputError(f"no model given, and {DEFAULT_MODEL} is not to be had: {champion}; nor is the one that comes with silicast: {error}. Make one with `silicast demo` or "
                                 "`silicast train EXPERIMENT`, or give --model REF-or-DIR") from None
    if model.startswith("models:"):
        store_exists()
    return Predictor.load(model)


def predictor_of(table: Path, schema: Path | None, targets: Sequence[str]) -> Any:
    """The ready-made model for a table's questions; of networks the champion of the store here, where there is one."""
    from . import ready

    found = ready.for_table(table, schema, targets)
    return predictor(None) if found.shape == "graph" else found


def model_folder(model: str) -> Path:
    """The folder of a model given as one, as `models:/...` or as `ready:NAME`."""
    if model.startswith("ready:"):
        from ..surrogates import ready

        return ready.folder(model)
    if not model.startswith("models:"):
        return Path(model)
    from ..training import registry

    store_exists()
    return registry.resolve(model)


def store_exists() -> None:
    """Raises InputError where the default store is an SQLite file that is not there."""
    from ..training.tracking import default_uri, sqlite_path

    path = sqlite_path(default_uri())
    if path is not None and not path.exists():
        raise InputError(f"there is no model store here (no file {path}); go to the folder that has it, or name it with MLFLOW_TRACKING_URI")


def names(given: Sequence[str]) -> list[str]:
    """`["a,b", "c"]` as a, b, c; empty parts are dropped."""
    return [part.strip() for one in given for part in one.split(",") if part.strip()]


def machines(on: Sequence[str]) -> list[Any]:
    """The devices of `--on`: catalogue keys, aliases and YAML paths, comma-separated or repeated. Each once, in order."""
    from ..datasets.catalog import hardware

    found: list[Any] = []
    for name in [part for one in on for part in ([one] if Path(one).is_file() else names([one]))]:
        device = hardware(name)
        if not any(d.key == device.key and d.digest == device.digest for d in found):
            found.append(device)
    if not found:
        raise InputError("--on: expected at least one device; `silicast hardware list` names them")
    return found


def dimensions(given: Sequence[str]) -> dict[str, int]:
    """`["batch=8"]` as {"batch": 8}. Raises InputError for anything that is not NAME=N with N >= 0."""
    out: dict[str, int] = {}
    for text in given:
        name, equals, size = text.rpartition("=")
        if not equals or not name or not size.isdecimal() or len(size) > 19 or not 0 <= int(size) <= 2**62:
            raise InputError(f"--dim {text[:80]}: expected NAME=N with N a whole number of at least 0, such as --dim batch=8")
        if out.get(name, int(size)) != int(size):
            raise InputError(f"--dim {name}: given twice, as {out[name]} and {size}")
        out[name] = int(size)
    return out


def read_workload(file: Path, dims: Sequence[str], unknown_ops: str, dtype: str | None, phase: str | None = None) -> Any:
    """The workload of a file, with `--dim` and `--unknown-ops` as given; an error names the file."""
    from ..datasets.frontends import read

    if unknown_ops not in ("error", "bound"):
        raise UnknownNameError("treatment of unknown ops", unknown_ops, ("error", "bound"))
    bound = dimensions(dims)
    try:
        return read(file, dims=bound, unknown_ops=unknown_ops, dtype=dtype, phase=phase)  # type: ignore[arg-type]
    except InputError as error:
        if str(file) in str(error):
            raise
        raise InputError(f"{file}: {error}") from None
