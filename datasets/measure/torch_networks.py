"""Small networks of the plan `networks` as torch modules: run to be timed, read to be counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UnknownNameError
from ..frontends.torch_graph import read_torch
from .torch_ops import Runnable, cache_bytes, clock_of, exact

#: input sets at most
MOST_SETS = 64


def network(row: Mapping[str, Any]) -> tuple[Any, tuple[int, ...]]:
    """(module, shape of its input) of a row of `plan.networks`. Raises UnknownNameError for another name."""
    from torch import nn

    width, depth, batch = row["width"], row["depth"], row["batch"]
    if row["network"] == "mlp":
        return nn.Sequential(nn.Linear(256, width), nn.ReLU(), *(m for _ in range(depth) for m in (nn.Linear(width, width), nn.ReLU())), nn.Linear(width, 10)), (batch, 256)
    if row["network"] in ("cnn", "depthwise"):
        deep = row["network"] == "depthwise"
        body = [m for _ in range(depth) for m in (nn.Conv2d(width, width, 3, padding=1, groups=width if deep else 1, bias=False), *([nn.Conv2d(width, width, 1, bias=False)] if deep else []),
                                                  nn.BatchNorm2d(width), nn.ReLU())]
        return nn.Sequential(nn.Conv2d(3, width, 3, stride=2, padding=1), nn.ReLU(), *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)), (batch, 3, 32, 32)
    if row["network"] == "encoder":
        layer = nn.TransformerEncoderLayer(width, max(1, width // 32), 4 * width, dropout=0.0, batch_first=True, activation="gelu")
        return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False), (batch, 64, width)
    raise UnknownNameError("network", str(row["network"]), ("mlp", "cnn", "depthwise", "encoder"))


def runnable_network(row: Mapping[str, Any], device: str) -> tuple[Runnable, dict[str, Any]]:
    """A network ready to be timed in evaluation mode, and its counts: digest, FLOPs, bytes, parameters, operators."""
    import torch

    exact(device)
    module, shape = network(row)
    workload = read_torch(module, (torch.zeros(shape),), name=row["network"])
    module = module.eval().to(device)
    size = 4
    for n in shape:
        size *= n
    sets = max(1, min(MOST_SETS, -(-2 * cache_bytes(device) // size)))
    inputs = [torch.empty(shape, device=device).uniform_(-1.0, 1.0) for _ in range(sets)]

    def call(i: int) -> Any:
        with torch.inference_mode():
            return module(inputs[i % sets])

    counts = {"digest": workload.digest, "flops": workload.flops, "bytes_read": workload.bytes_read, "bytes_written": workload.bytes_written, "params": workload.params, "ops": len(workload.ops)}
    return Runnable(call, clock_of(device), sets * size + workload.weight_bytes > cache_bytes(device)), counts
