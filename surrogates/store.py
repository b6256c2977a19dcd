"""A model as a folder: `card.json`, `model.json` and weight files, with a digest beside each. No pickle anywhere, so loading a
model from a stranger runs no code.

    my_model/
      card.json       the model card
      model.json      which member, its settings, feature version, and the SHA-256 of every other file
      *.txt, *.safetensors
      *.txt.xz, *.safetensors.xz      of a folder saved small, such as those that come with the package

Small: trees as packed columns (`trees`), networks in half precision, everything compressed. The answers are the same but for rounding.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..datasets.errors import FormatError, SilicastError, UnknownNameError, VersionError
from ..features import FEATURE_VERSION
from .base import Surrogate
from .card import ModelCard

FORMAT = "silicast-surrogate/1"
#: a compressed file, and the most it may hold: a stranger's megabyte must not become a terabyte
_XZ, _MOST_BYTES = ".xz", 1 << 29


def _analytic() -> Any:
    from .analytic import Analytic

    return Analytic


def _anchored() -> Any:
    from .anchored import Anchored

    return Anchored


def _smooth_ops() -> Any:
    from .smooth_ops import SmoothOps

    return SmoothOps


def _boosted() -> Any:
    from .boosted import Boosted

    return Boosted


def _graphnet() -> Any:
    from .graphnet import GraphNet

    return GraphNet


def _neural() -> Any:
    from .neural import Neural

    return Neural


def _ensemble() -> Any:
    from .ensemble import Ensemble

    return Ensemble


def _conformal() -> Any:
    from .conformal import Conformal

    return Conformal


def _kernel() -> Any:
    from .kernel import Kernel

    return Kernel


def _blended() -> Any:
    from .blended import Blended

    return Blended


def _simulated() -> Any:
    from .simulated import Simulated

    return Simulated


def _distilled() -> Any:
    from .distilled import Distilled

    return Distilled


def _by_value() -> Any:
    from .by_value import ByValue

    return ByValue


def _factors() -> Any:
    from .factors import Factors

    return Factors


def _adapted() -> Any:
    from .adapted import Adapted

    return Adapted


def _by_kind() -> Any:
    from .by_kind import ByKind

    return ByKind


def _summed() -> Any:
    from .summed import Summed

    return Summed


#: every surrogate that can be saved, by name; a heavy library loads when its member is asked for
MEMBERS: dict[str, Callable[[], Any]] = {"analytic": _analytic, "anchored": _anchored, "boosted": _boosted, "neural": _neural, "graphnet": _graphnet,
                                         "ensemble": _ensemble, "conformal": _conformal, "kernel": _kernel, "smooth_ops": _smooth_ops, "blended": _blended, "by_value": _by_value, "factors": _factors, "adapted": _adapted, "by_kind": _by_kind, "distilled": _distilled, "simulated": _simulated, "summed": _summed}


def member(name: str) -> Any:
    """The surrogate class of that name; raises UnknownNameError naming the nearest."""
    if name not in MEMBERS:
        raise UnknownNameError("surrogate", name, MEMBERS)
    return MEMBERS[name]()


def save(surrogate: Surrogate, card: ModelCard, folder: str | Path, *, small: bool = False, halved: bool = True) -> Path:
    """Writes the model folder whole or not at all: built beside its place, then moved in. Replaces a model folder that is
    there; raises FormatError when something else is in the way. `small`: packed and compressed, a tenth of the size; `halved`: with its networks in half precision."""
    place = Path(folder)
    if place.exists() and not _replaceable(place):
        raise FormatError(f"{place}: exists and is not a model folder; choose another --out")
    spec, files = surrogate.weights()
    place.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    try:
        (building / "card.json").write_text(json.dumps(card.to_json(), indent=1, sort_keys=True), encoding="utf-8")
        for name, content in (shrunk(files, halved) if small else files).items():
            (building / name).write_bytes(content)
        digests = {p.name: _sha256(p.read_bytes()) for p in sorted(building.iterdir())}
        document = {"format": FORMAT, "member": surrogate.name, "feature_version": FEATURE_VERSION, "spec": spec, "files": digests}
        (building / "model.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
        building.chmod(0o755)
        if place.exists():
            shutil.rmtree(place)
        os.replace(building, place)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return place


def load(folder: str | Path) -> tuple[Surrogate, ModelCard]:
    """The surrogate and its card. Raises FormatError for a missing, truncated or altered folder, VersionError for one made by
    another feature version."""
    place = Path(folder)
    document = _json(place / "model.json")
    if document.get("format") != FORMAT:
        raise FormatError(f"{place / 'model.json'}: expected format {FORMAT!r}, got {document.get('format')!r}")
    if document.get("feature_version") != FEATURE_VERSION:
        raise VersionError(f"{place}: made with feature version {document.get('feature_version')!r}, this silicast has {FEATURE_VERSION!r}; "
                           "train it again, or install the silicast that made it")
    listed, spec = document.get("files"), document.get("spec")
    if not isinstance(listed, dict) or not isinstance(spec, dict):
        raise FormatError(f"{place / 'model.json'}: expected objects under 'files' and 'spec'")
    files: dict[str, bytes] = {}
    for name, digest in listed.items():
        if Path(name).name != name or name == ".." or "\\" in name or "\0" in name:
            raise FormatError(f"{place / 'model.json'}: names a file outside the folder: {name!r}")
        try:
            files[name] = (place / name).read_bytes()
        except OSError:
            raise FormatError(f"{place / name}: missing; the model folder is incomplete") from None
        if _sha256(files[name]) != digest:
            raise FormatError(f"{place / name}: content does not match its digest in model.json; the file is damaged or was altered")
    card = ModelCard.from_json(_json(place / "card.json"))
    files = {name.removesuffix(_XZ): _grown(content, place / name) if name.endswith(_XZ) else content for name, content in files.items()}
    made = member(str(document.get("member")))
    try:
        surrogate: Surrogate = made.from_weights(spec, files, place, member)
    except SilicastError:
        raise
    except Exception as error:  # whatever a damaged spec or weight file makes a library say
        raise FormatError(f"{place}: the model's settings or weights are damaged ({type(error).__name__}: {error}); train it again") from None
    return surrogate, card


def shrunk(files: Mapping[str, bytes], halved: bool = True) -> dict[str, bytes]:
    """The weight files of a model, small: LightGBM's text as packed trees, networks (not statistics) in half precision if wanted, compressed."""
    from .trees import Trees

    out = {}
    for name, content in files.items():
        if name.endswith(".txt") and content.startswith(b"tree\n"):
            content = Trees.of_text(content.decode()).pack()
        elif halved and name.endswith(("neural.safetensors", "network.safetensors")):
            content = _halved(content)
        out[f"{name}{_XZ}"] = lzma.compress(content, preset=6)
    return out


def _halved(content: bytes) -> bytes:
    """The same arrays, the matrices among them in half precision: a network's answers move by a ten-thousandth."""
    from safetensors.numpy import load, save

    return bytes(save({name: a.astype("float16") if a.ndim == 2 and abs(a).max(initial=0.0) < 1e4 else a for name, a in load(content).items()}))


def _grown(content: bytes, place: Path) -> bytes:
    """What a compressed file holds; raises FormatError for one that is damaged or too large."""
    reader = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=1 << 28)
    try:
        whole = reader.decompress(content, _MOST_BYTES)
    except lzma.LZMAError as error:
        raise FormatError(f"{place}: not what a compressed file should be ({error})") from None
    if not reader.eof:
        raise FormatError(f"{place}: the compressed file is cut short, or holds more than {_MOST_BYTES >> 20} MiB")
    return whole


def _replaceable(place: Path) -> bool:
    """Whether saving may remove what is there: an empty folder, or one that holds a model and nothing else."""
    if not place.is_dir():
        return False
    inside = {p.name for p in place.iterdir()}
    if not inside:
        return True
    try:
        document = _json(place / "model.json")
    except FormatError:
        return False
    return document.get("format") == FORMAT and inside <= {"model.json", *document.get("files", {})}


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FormatError(f"{path}: no such file; expected a model folder with card.json and model.json") from None
    except (OSError, ValueError, RecursionError) as error:  # ValueError: bad UTF-8, bad JSON, a number of 5,000 digits
        raise FormatError(f"{path}: not a readable JSON document ({error})") from None
    if not isinstance(data, dict):
        raise FormatError(f"{path}: expected a JSON object, got {type(data).__name__}")
    return data


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
