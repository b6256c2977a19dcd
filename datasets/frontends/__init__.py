"""Files that describe a network: `read(path)` gives the `Workload` in one.

`READERS` names what is read, by suffix. Heavy libraries load only when a file needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from ..errors import FormatError, UnknownNameError
from ..workload import Workload

UnknownOps = Literal["error", "bound"]
Reader = Callable[[Path, Mapping[str, int], UnknownOps, str | None], Workload]


def _read_onnx(path: Path, dims: Mapping[str, int], unknown_ops: UnknownOps, dtype: str | None) -> Workload:
    from .onnx import read_onnx

    return read_onnx(path, dims=dims, unknown_ops=unknown_ops, dtype=dtype)


def _read_document(path: Path, dims: Mapping[str, int], unknown_ops: UnknownOps, dtype: str | None) -> Workload:
    if dims:
        raise UnknownNameError("dimension", next(iter(dims)), (), f"{path}: a workload document has no free dimensions to bind")
    workload = Workload.load(path)
    if dtype is None:
        return workload
    from .recast import recast

    return recast(workload, dtype)


#: suffix -> reader; a plain dict names what is read
READERS: dict[str, Reader] = {".onnx": _read_onnx, ".json": _read_document}


def read(path: str | Path, *, dims: Mapping[str, int] | None = None, unknown_ops: UnknownOps = "error", dtype: str | None = None) -> Workload:
    """The workload a file describes.

    `dims` binds free dimensions: `{"batch": 8}` by symbolic name, `{"x.0": 8}` by input and axis. `unknown_ops="bound"`
    lets operators through that cannot be counted, bounded by their traffic and named in `Workload.notes`. `dtype`
    recasts every floating-point operand ("float16", or a weight-only scheme such as "int4_wo"): what if it ran in that
    precision. Raises FormatError for a missing, unknown or damaged file, GraphError for an impossible graph or an
    unbound dimension, UnsupportedOpError naming the node.
    """
    file = Path(path)
    if unknown_ops not in ("error", "bound"):
        raise UnknownNameError("treatment of unknown ops", str(unknown_ops), ("error", "bound"))
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        raise FormatError(f"{file}: cannot read a file ending in {file.suffix!r}; expected one of {', '.join(READERS)}")
    if not file.exists():
        raise FormatError(f"{file}: no such file")
    if not file.is_file():
        raise FormatError(f"{file}: not a regular file")
    return reader(file, dims or {}, unknown_ops, dtype)
