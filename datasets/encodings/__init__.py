"""Vectors of architecture search, as tables hold them: `decode(format, encoding)` gives the whole network one stands for.

    workload = decode("nas-bench-201", "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|", batch=32)

`ENCODINGS` names the formats, as a measured table's schema does (`workload: {column: arch_str, format: nas-bench-201}`). Every network is written
with `Net`, stem to classifier, batch norms unfolded, as it was built and measured in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import UnknownNameError
from ..frontends.saying import saying
from ..ops import shown
from ..workload import Workload
from .ecnas import ecnas
from .fbnet import fbnet
from .hat import hat
from .mnasnet import mnasnet
from .nas_bench_201 import nas_bench_201
from .ofa import ofa
from .vector import Encoding

__all__ = ["ENCODINGS", "decode"]

#: format -> (encoding, batch, resolution, dtype) -> the network; a plain dict names what is decoded
ENCODINGS: dict[str, Callable[[Encoding, int, int, str], Workload]] = {
    "nas-bench-201": nas_bench_201, "fbnet": fbnet, "ofa": ofa, "mnasnet": mnasnet, "ecnas": ecnas, "hat": hat,
}


def decode(format: str, encoding: Encoding, batch: int = 1, resolution: int = 0, dtype: str = "float32") -> Workload:
    """The network that an encoding stands for, on `batch` inputs of `resolution` (image side, words of a sentence; 0: the space's own).

    `encoding` is a string, a list, or a row of columns (a mapping or a pandas Series; columns that are none of the architecture are left alone).
    Raises UnknownNameError for a format or an operation nobody knows, FormatError naming the entry that is wrong, GraphError for an image too small.
    """
    if format not in ENCODINGS:
        raise UnknownNameError("encoding", shown(format), ENCODINGS)
    with saying():
        return ENCODINGS[format](encoding, batch, resolution, dtype)
