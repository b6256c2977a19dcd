"""Throughput machines (GPU, CPU): many equal processors, each computing one tile at a time out of a shared memory hierarchy.

The rooms: `gemm` (products, convolutions, experts), `attention`, `recurrent`, `stream` (all the rest). Each scores its mappings at once, over
(operators x machines x mappings), and keeps the best under the power limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ..errors import UnknownNameError
from ..ops import KIND_CODES
from .attention import ATTENTION_MAPPINGS, attention_costs
from .costs import OBJECTIVES, OpCosts
from .gemm import GEMM_MAPPINGS, THIN, gemm_costs
from .kernels import Kernels
from .machine import Machines
from .recurrent import recurrent_costs
from .stream import busy_share, stream_costs

__all__ = ["ATTENTION_MAPPINGS", "GEMM_MAPPINGS", "THIN", "busy_share", "throughput_costs"]

#: room -> (kinds, model); kinds named nowhere are streams
_ROOMS: Mapping[str, tuple[tuple[str, ...], Callable[[Kernels, Machines, str], OpCosts]]] = {
    "gemm": (("gemm", "conv", "grouped_gemm", "deform_conv"), gemm_costs), "attention": (("attention",), attention_costs), "recurrent": (("recurrent",), recurrent_costs)}


def throughput_costs(kernels: Kernels, machines: Machines, objective: str = "latency") -> OpCosts:
    """(n, D) costs of n kernels on D throughput machines, before the power limit (`power.capped` applies it).

    `objective`: what the choice of a mapping minimises, one of `costs.OBJECTIVES`. Raises UnknownNameError for another.
    """
    if objective not in OBJECTIVES:
        raise UnknownNameError("objective", objective, OBJECTIVES)
    kinds = kernels.ops.kind
    rest = np.ones(len(kernels), dtype=bool)
    parts: list[tuple[np.ndarray, OpCosts]] = []
    for names, model in _ROOMS.values():
        rows = np.isin(kinds, [KIND_CODES[k] for k in names])
        rest &= ~rows
        if rows.any():
            parts.append((np.flatnonzero(rows), model(kernels.take(rows), machines, objective)))
    if rest.any():
        parts.append((np.flatnonzero(rest), stream_costs(kernels.take(rest), machines, objective)))
    return OpCosts.scatter((len(kernels), len(machines)), parts)
