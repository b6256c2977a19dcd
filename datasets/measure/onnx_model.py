"""A whole ONNX model run by ONNX Runtime: inputs drawn once, several sets of them in turn, threads as asked."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError, GraphError, InputError, UnsupportedOpError
from .timing import Call

#: ONNX Runtime's name of an element type -> NumPy's
_TYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16", "tensor(int64)": "int64", "tensor(int32)": "int32", "tensor(int16)": "int16",
          "tensor(int8)": "int8", "tensor(uint8)": "uint8", "tensor(bool)": "bool", "tensor(uint16)": "uint16", "tensor(uint32)": "uint32", "tensor(uint64)": "uint64"}
#: input sets at most
MOST_SETS = 64


def onnx_call(path: Path, dims: Mapping[str, int], threads: int, device: str, rotate_bytes: int, seed: int = 0) -> Call:
    """A call that runs the model once. Integer inputs are zeros (the first row of every table), others uniform in -1..1.

    Raises InputError where ONNX Runtime or its CUDA provider is missing, FormatError for a model it refuses, GraphError for a free dimension.
    """
    try:
        import onnxruntime as ort
    except ImportError:
        raise InputError("measuring an ONNX model needs ONNX Runtime; run: pip install onnxruntime") from None
    provider = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
    if provider not in ort.get_available_providers():
        raise InputError(f"--device {device}: this ONNX Runtime has no {provider}; it has: {', '.join(ort.get_available_providers())}")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    try:
        session = ort.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:  # whatever the runtime says of a file
        raise FormatError(f"{path}: ONNX Runtime cannot load it: {str(error).splitlines()[0][:200]}") from None
    if provider not in session.get_providers():  # where its libraries are missing, ONNX Runtime goes on with the CPU and only logs it
        raise InputError(f"--device {device}: ONNX Runtime could not start its {provider} (CUDA or cuDNN of the version that it wants is missing) and would run on "
                         f"{', '.join(session.get_providers())}")
    rng = np.random.default_rng(seed)
    shapes = {i.name: (_shape(i, dims, path), _dtype(i, path)) for i in session.get_inputs()}
    size = sum(prod(shape) * np.dtype(kind).itemsize for shape, kind in shapes.values())
    sets = max(1, min(MOST_SETS, -(-rotate_bytes // max(1, size))))
    feeds = [{name: rng.uniform(-1, 1, shape).astype(kind) if np.dtype(kind).kind == "f" else np.zeros(shape, kind) for name, (shape, kind) in shapes.items()} for _ in range(sets)]

    def call(i: int) -> Any:
        return session.run(None, feeds[i % sets])

    try:
        call(0)
    except Exception as error:
        raise FormatError(f"{path}: ONNX Runtime cannot run it on inputs of {', '.join(f'{n} {s}' for n, (s, _) in shapes.items())}: {str(error).splitlines()[0][:200]}") from None
    return call


def _shape(value: Any, dims: Mapping[str, int], path: Path) -> tuple[int, ...]:
    out = []
    for axis, size in enumerate(value.shape):
        known = size if isinstance(size, int) and size > 0 else dims.get(f"{value.name}.{axis}", dims.get(str(size), 0))
        if not known:
            raise GraphError(f"{path}: input {value.name!r} has the free dimension {size!r} on axis {axis}; give it with --dim {size or f'{value.name}.{axis}'}=N")
        out.append(known)
    return tuple(out)


def _dtype(value: Any, path: Path) -> str:
    if value.type not in _TYPES:
        raise UnsupportedOpError(f"{path}: input {value.name!r} is a {value.type}; expected one of {', '.join(_TYPES)}")
    return _TYPES[value.type]
