"""Sampled workloads: ten families of networks whose ranges enclose the networks people run.

    workload = sample("cnn_residual", np.random.default_rng(7))

A family is a function that draws sizes and writes a network with `Net`; add one by writing that function and naming it here. Only the
given generator is random: the same seed gives the same workload. Every sample keeps `MAX_BYTES` (weights and live tensors) and `MAX_OPS`
(250 for `vit`, whose depth reaches 24).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import UnknownNameError
from ..workload import Workload
from .cells import nas_cell
from .cnn import cnn_plain, cnn_residual
from .draw import MAX_BYTES, MAX_OPS, capped
from .mlp import mlp
from .mobile import cnn_depthwise, cnn_ocr
from .sequence import seq
from .transformer import decode, prefill
from .vit import MAX_OPS_VIT, vit

__all__ = ["FAMILIES", "MAX_BYTES", "MAX_OPS", "MIX", "sample", "sample_mix"]

#: every family's sampler, by name
FAMILIES: dict[str, Callable[[np.random.Generator], Workload]] = {
    "cnn_plain": capped(cnn_plain),
    "cnn_residual": capped(cnn_residual),
    "cnn_depthwise": capped(cnn_depthwise),
    "nas_cell": capped(nas_cell),
    "cnn_ocr": capped(cnn_ocr),
    "vit": capped(vit, MAX_OPS_VIT),
    "prefill": capped(prefill),
    "decode": capped(decode),
    "mlp": capped(mlp),
    "seq": capped(seq),
}

#: share of each family in a generated table; adds up to 1
MIX: dict[str, float] = {
    "cnn_plain": 0.11, "cnn_residual": 0.13, "cnn_depthwise": 0.15, "nas_cell": 0.10, "cnn_ocr": 0.08, "vit": 0.10, "prefill": 0.10,
    "decode": 0.09, "mlp": 0.07, "seq": 0.07,
}


def sample(family: str, rng: np.random.Generator) -> Workload:
    """One workload of that family. Raises UnknownNameError naming the nearest family."""
    if family not in FAMILIES:
        raise UnknownNameError("workload family", family, FAMILIES)
    return FAMILIES[family](rng)


def sample_mix(rng: np.random.Generator) -> Workload:
    """One workload of a family drawn by `MIX`."""
    at = float(rng.random())
    for family, share in MIX.items():
        at -= share
        if at < 0:
            return FAMILIES[family](rng)
    return FAMILIES[next(reversed(MIX))](rng)
