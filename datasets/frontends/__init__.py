"""Files that describe a network: `read(path)` gives the `Workload` in one.

`READERS` names what is read, by suffix. Heavy libraries load only when a file needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from ..errors import FormatError, UnknownNameError
from ..workload import Workload
from .saying import saying

UnknownOps = Literal["error", "bound"]
Reader = Callable[[Path, Mapping[str, int], UnknownOps, str | None], Workload]


def _read_onnx(path: Path, dims: Mapping[str, int], unknown_ops: UnknownOps, dtype: str | None) -> Workload:
    from .onnx import read_onnx

    return read_onnx(path, dims=dims, unknown_ops=unknown_ops, dtype=dtype)


def _read_document(path: Path, dims: Mapping[str, int], unknown_ops: UnknownOps, dtype: str | None, phase: str | None = None) -> Workload:
    from .chakra_json import documents, is_trace
    from .hf_config import is_config
    from .hls4ml_keras import is_keras

    try:
        found = documents(path.read_bytes())
    except (OSError, FormatError) as error:
        raise FormatError(f"{path}: {error}") from None
    data = found[0]
    if is_trace(found):
        if phase is not None:
            raise UnknownNameError("phase", phase, (), f"{path}: a trace is of one phase")
        return _read_chakra(path, dims, unknown_ops, dtype)
    if len(found) > 1:
        raise FormatError(f"{path}: {len(found)} JSON documents after one another, which is what a Chakra trace is, and the second is no node of one")
    if is_config(data):
        from .hf import read_hf

        return read_hf(data, str(path), dims, dtype, phase)
    if is_keras(data):
        if phase is not None:
            raise UnknownNameError("phase", phase, (), f"{path}: a Keras architecture has none")
        return _read_hls4ml(path, dims, unknown_ops, dtype)
    if dims:
        raise UnknownNameError("dimension", next(iter(dims)), (), f"{path}: a workload document has no free dimensions to bind")
    if phase is not None:
        raise UnknownNameError("phase", phase, (), f"{path}: a workload document is of one phase")
    try:
        workload = Workload.from_json(data)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None
    if dtype is None:
        return workload
    from .recast import recast

    return recast(workload, dtype)


def _read_chakra(path: Path, dims: Mapping[str, int], unknown_ops: UnknownOps, dtype: str | None) -> Workload:
    from .chakra import read_chakra

    workload = read_chakra(path, dims, unknown_ops)
    if dtype is None:
        return workload
    from .recast import recast

    return recast(workload, dtype)


def _read_mlir(path: Path, dims: Mapping[str, int], unknown_ops: UnknownOps, dtype: str | None) -> Workload:
    try:
        from .mlir import read_mlir
    except ModuleNotFoundError as error:
        raise FormatError(f"{path}: MLIR is parsed by the package {error.name}, which is not installed; pip install 'silicast[mlir]'") from None

    return read_mlir(path, dims, unknown_ops, dtype)


def _read_hls(path: Path, dims: Mapping[str, int], unknown_ops: UnknownOps, dtype: str | None) -> Workload:
    from .hls import read_hls_workload

    return read_hls_workload(path, dims, unknown_ops, dtype)


def _read_hls4ml(path: Path, dims: Mapping[str, int], unknown_ops: UnknownOps, dtype: str | None) -> Workload:
    from .hls4ml import read_hls4ml_workload

    return read_hls4ml_workload(path, dims, unknown_ops, dtype)


#: suffix -> reader; a plain dict names what is read. `.json`: a workload document, a model's config.json, a Chakra trace or a Keras architecture
READERS: dict[str, Reader] = {".onnx": _read_onnx, ".json": _read_document, ".et": _read_chakra, ".mlir": _read_mlir, ".stablehlo": _read_mlir,
                              ".gexf": _read_hls, ".yml": _read_hls4ml}


def read(path: Any, example_inputs: Any = None, *, dims: Mapping[str, int] | None = None, unknown_ops: UnknownOps = "error", dtype: str | None = None,
         phase: str | None = None, training: str = "") -> Workload:
    """The workload a file describes, or a torch module on `example_inputs` (a tensor, a tuple of them, a mapping of keywords; see `torch_graph`).

    `training` of a torch module: "" for inference, "sgd", "momentum" or "adam" for a step of training.

    `dims` binds free dimensions: `{"batch": 8}` by symbolic name, `{"x.0": 8}` by input and axis. `unknown_ops="bound"`
    lets operators through that cannot be counted, bounded by their traffic and named in `Workload.notes`. `dtype`
    recasts every floating-point operand ("float16", or a weight-only scheme such as "int4_wo"): what if it ran in that
    precision. `phase` of a model's `config.json`: prefill, decode, forward, backward or train, with the dimensions batch,
    tokens, past, tensor, expert (see `hf.DIMS`). Raises FormatError for a missing, unknown or damaged file, GraphError for an impossible graph or an
    unbound dimension, UnsupportedOpError naming the node.
    """
    if unknown_ops not in ("error", "bound"):
        raise UnknownNameError("treatment of unknown ops", str(unknown_ops), ("error", "bound"))
    if callable(getattr(path, "named_parameters", None)):
        if phase is not None:
            raise UnknownNameError("phase", phase, (), "a torch module has none; training='adam' asks for a step of training")
        from .torch_graph import read_torch

        return read_torch(path, example_inputs, dims=dims, unknown_ops=unknown_ops, dtype=dtype, training=training)
    if not isinstance(path, (str, Path)):
        raise FormatError(f"cannot read a {type(path).__name__}; expected the path of a file or a torch module")
    file = Path(path)
    if example_inputs is not None or training:
        raise FormatError(f"{file}: example_inputs and training belong to a torch module, not to a file")
    if file.suffix.lower() in (".pt2", ".pt", ".pth", ".pkl", ".bin", ".ckpt"):
        raise FormatError(f"{file}: silicast loads no torch file, for loading one can run code that it holds; build the module in Python and pass it: "
                          "silicast.read(module, example_inputs)")
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        raise FormatError(f"{file}: cannot read a file ending in {file.suffix!r}; expected one of {', '.join(READERS)}")
    if not file.exists():
        raise FormatError(f"{file}: no such file")
    if not file.is_file():
        raise FormatError(f"{file}: not a regular file")
    with saying(file):
        if phase is not None:
            if reader is not _read_document:
                raise UnknownNameError("phase", phase, (), f"{file}: only a model's config.json has phases")
            return _read_document(file, dims or {}, unknown_ops, dtype, phase)
        return reader(file, dims or {}, unknown_ops, dtype)
