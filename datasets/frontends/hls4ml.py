"""hls4ml projects from files: the YAML configuration and the Keras architecture or quantised ONNX file that it names, read into a workload and the settings of its layers
(`hls4ml_config`). Keras layers are built by `hls4ml_keras`, ONNX by `hls4ml_onnx`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ..errors import FormatError, GraphError, InputError, UnknownNameError, UnsupportedOpError
from ..ops import shown
from ..workload import Workload
from .hls4ml_config import Hls4mlConfig, Hls4mlProject, parse_config
from .hls4ml_keras import build
from .saying import saying

#: bytes of a YAML and of a JSON file, and nesting of a YAML, that are read
MOST_CONFIG, MOST_MODEL, MOST_DEPTH = 2**18, 8 * 2**20, 64
_NESTED = re.compile(rf"(?:[-?] ){{{MOST_DEPTH}}}")


def read_hls4ml(path: str | Path, batch: int = 1) -> Hls4mlProject:
    """The project of an hls4ml YAML configuration and the Keras JSON or quantised ONNX file that it names, which must lie in its folder or below.

    Raises FormatError for a missing, damaged or foreign file, UnsupportedOpError naming a layer that is not known.
    """
    with saying(path):
        return _project(Path(path), batch)


def _project(file: Path, batch: int) -> Hls4mlProject:
    document = _yaml(file)
    config = parse_config(document, str(file))
    key = "OnnxModel" if "OnnxModel" in document and "KerasJson" not in document else "KerasJson"
    named = document.get(key)
    if not isinstance(named, str) or not named:
        raise FormatError(f"{file}: {key}: expected the name of {'a Keras architecture (.json), or OnnxModel with that of an ONNX file' if key == 'KerasJson' else 'an ONNX file'}, got {shown(named)}")
    try:
        model = (file.parent / named).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise FormatError(f"{file}: {key}: {shown(named)} is no name of a file ({str(error)[:80]})") from None
    if not model.is_relative_to(file.parent.resolve()):
        raise FormatError(f"{file}: {key}: {shown(named)} leads out of the configuration's folder; put the model beside it")
    unknown = set(config.names) - {"Input"}
    try:
        project = _onnx(model, config, batch) if key == "OnnxModel" else read_keras(model, config, batch)
    except (FormatError, GraphError, UnsupportedOpError) as error:
        raise type(error)(f"{file}: {error}") from None
    unknown -= {name for layer in project.layers for name in (layer.name, *(project.workload.ops[i].name for i in layer.ops))}
    unknown -= set(_names(model)) if key == "KerasJson" else set()
    return replace(project, workload=replace(project.workload, notes=(*project.workload.notes, f"LayerName entries that name no layer: {', '.join(sorted(unknown)[:8])}"))) if unknown else project


def _onnx(model: Path, config: Hls4mlConfig, batch: int) -> Hls4mlProject:
    from .hls4ml_onnx import read_qonnx

    if batch != 1:
        raise InputError("dimension batch: an ONNX file names its own free dimensions; read the file itself to bind them")
    return read_qonnx(model, config)


def read_keras(path: str | Path, config: Hls4mlConfig | None = None, batch: int = 1) -> Hls4mlProject:
    """The project of a Keras architecture alone (`model.to_json()`); `config` None: hls4ml's defaults. Raises what `read_hls4ml` raises."""
    file, chosen = Path(path), config or Hls4mlConfig()
    with saying(file):
        workload, layers = build(_json(file), chosen, batch, str(file))
    return Hls4mlProject(workload, layers, chosen)


def read_hls4ml_workload(path: Path, dims: Mapping[str, int], unknown_ops: Literal["error", "bound"], dtype: str | None) -> Workload:
    """`read_hls4ml` or `read_keras`, by suffix, as a reader. `dims` may bind `batch`; the configuration says the formats, so `dtype` must be None."""
    odd = set(dims) - {"batch"}
    if odd:
        raise UnknownNameError("dimension", shown(sorted(odd)[0]), ("batch",), f"in {path}")
    if dtype is not None:
        raise InputError(f"{path}: dtype {dtype!r}: the precision of an hls4ml network is in its configuration")
    read = read_keras if path.suffix.lower() == ".json" else read_hls4ml
    return read(path, batch=dims.get("batch", 1)).workload


def _text(file: Path, most: int) -> str:
    try:
        if file.stat().st_size > most:
            raise FormatError(f"{file}: {file.stat().st_size} bytes; at most {most} are read")
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{file}: cannot be read as text ({str(error)[:120]})") from None


def _yaml(file: Path) -> Mapping[str, Any]:
    import yaml

    text = _text(file, MOST_CONFIG)
    if "&" in text and "*" in text and re.search(r"(^|[\s\[{,:-])\*\w", text):
        raise FormatError(f"{file}: aliases (*name) are not read; write the value out")
    if _depth(text) > MOST_DEPTH or _NESTED.search(text):
        raise FormatError(f"{file}: nested more than {MOST_DEPTH} deep; no configuration is")
    try:
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # the same safe subset, read by libyaml where it is there
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise FormatError(f"{file}: not readable as YAML ({' '.join(str(error).split())[:160]})") from None
    if not isinstance(document, Mapping) or not ({"HLSConfig", "KerasJson", "OnnxModel"} & set(document)):
        raise FormatError(f"{file}: expected an hls4ml configuration with HLSConfig and KerasJson or OnnxModel, got {shown(document)}")
    return document


def _depth(text: str) -> int:
    """Brackets open at once, or levels of indentation, at most (two blanks a level)."""
    deepest = max((len(line) - len(line.lstrip(" ")) for line in text.splitlines()), default=0) // 2
    now = 0
    for character in re.findall(r"[\[\]{}]", text):
        now += 1 if character in "[{" else -1
        deepest = max(deepest, now)
    return deepest


def _json(file: Path) -> Any:
    try:
        return json.loads(_text(file, MOST_MODEL))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{file}: not readable as JSON ({str(error)[:120]})") from None


def _names(file: Path) -> list[str]:
    layers = _json(file).get("config", {})
    layers = layers.get("layers", []) if isinstance(layers, Mapping) else layers
    return [str(entry.get("config", {}).get("name", entry.get("name"))) for entry in layers]
