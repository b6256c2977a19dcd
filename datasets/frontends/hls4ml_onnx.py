"""A quantised ONNX network (QONNX, as Brevitas and QKeras write it) as hls4ml takes it: a workload, and each layer's bits, reuse and strategy.

    project = read_qonnx("net.onnx")                  # hls4ml's defaults: reuse 1, latency
    project = read_hls4ml("hls4ml_config.yml")        # names the file under OnnxModel; its entries are by the names of nodes
    design(project.workload, hardware, project.plan())

The file says bits of weights and of data, the configuration reuse and strategy; an entry under LayerName overrules the file's bits. Data that no quantiser
gives a width are of the model's precision, and sums that nobody gives one are kept exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ..dtypes import BITS
from ..ops import Op
from .hls4ml_config import DEFAULT_BITS, Hls4mlConfig, Hls4mlProject, LayerPlan, Setting
from .saying import saying

#: op kind -> the Keras class whose entry under LayerType holds for it
_CLASSES = {"gemm": "Dense", "conv": "Conv2D", "pool": "Pooling2D", "elementwise": "Activation", "softmax": "Softmax", "recurrent": "LSTM", "norm": "BatchNormalization"}


def read_qonnx(path: str | Path, config: Hls4mlConfig | None = None, dims: Mapping[str, int] | None = None, unknown_ops: Literal["error", "bound"] = "error") -> Hls4mlProject:
    """The project of a quantised ONNX file; `config` None: hls4ml's defaults; `dims` as of `read`. Raises what `read` raises of an ONNX file."""
    from .onnx import read_quantised

    chosen = config or Hls4mlConfig()
    with saying(path):
        workload, widths = read_quantised(path, dims, unknown_ops)
    layers = []
    for index, (op, (data, weight)) in enumerate(zip(workload.ops, widths, strict=True)):
        said = chosen.of(op.name, _CLASSES.get(op.kind, op.kind), Setting(weight.bits if weight else None))
        reads = data.bits if data else BITS[op.dtype] if op.dtype.startswith("int") else chosen.model.result_bits or DEFAULT_BITS
        bits = said.weight_bits or DEFAULT_BITS
        layers.append(LayerPlan(op.name, (index,), bits, reads, min(said.sum_bits or bits + reads + math.ceil(math.log2(max(_deep(op), 2))), 128),
                                said.reuse or 1, said.strategy or "latency"))
    return Hls4mlProject(workload, tuple(layers), chosen)


def _deep(op: Op) -> int:
    """Products that one sum adds up."""
    d = op.dims
    if op.kind == "conv":
        return int(d["in_channels"] // d.get("groups", 1) * d["kernel_h"] * d["kernel_w"])
    return int(d["input"] + d["hidden"]) if op.kind == "recurrent" else int(d.get("k", 1))
