"""What the reference simulator says of every row of an op table: each different operator is simulated once on its machine.

Two answers: `cold`, operands in DRAM, and `hot`, run again and again over the same operands, as micro-benchmarks do. The first is the reference that
surrogates learn the ratio to; how far the second lies below it says what the last cache may do. Rows on machines without figures, on fabrics, and
collectives have none (NaN): the bounds stand in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from ..datasets.columns import OpColumns
from ..datasets.hardware import Hardware
from ..datasets.ops import COLLECTIVES, KIND_CODES
from ..datasets.simulator.costs import OpCosts
from ..datasets.simulator.gemm import GEMM_MAPPINGS
from ..datasets.simulator.kernels import Kernels
from ..datasets.simulator.machine import Machines
from ..datasets.simulator.power import capped
from ..datasets.simulator.simulate import simulate_ops
from ..datasets.simulator.throughput import throughput_costs
from ..datasets.table import OpQuestions

#: operators in one mapping search: its arrays stay in the processor's cache
_SLICE = 500
_COLLECTIVE = [KIND_CODES[k] for k in COLLECTIVES]
_TILED = [KIND_CODES[k] for k in ("gemm", "conv", "grouped_gemm", "deform_conv")]


@dataclass(frozen=True)
class OpCostRows:
    """(n,) arrays, NaN where nothing was simulated. Seconds hold no launch overhead."""

    cold_s: np.ndarray
    hot_s: np.ndarray
    compute_s: np.ndarray     # the part the clock governs: tiles and waves included
    dram_bytes: np.ndarray
    cache_bytes: np.ndarray
    cache_s: np.ndarray       # the traffic of the last cache at its bandwidth
    fill_s: np.ndarray
    launch_s: np.ndarray
    dynamic_j: np.ndarray
    limit: np.ndarray         # code of `costs.LIMITS`
    tile_m: np.ndarray        # of the mapping chosen, where there are tiles
    tile_n: np.ndarray
    split: np.ndarray


def op_costs(questions: OpQuestions) -> OpCostRows:
    """The simulator's answers to n questions."""
    n = len(questions)
    out = {f.name: np.full(n, np.nan) for f in fields(OpCostRows)}
    able = ~np.isin(questions.ops.kind, _COLLECTIVE)
    for at, device in enumerate(questions.devices):
        rows = np.flatnonzero((questions.device_index == at) & able)
        if device is None or device.fabric is not None or not len(rows):
            continue
        first, inverse = _different(questions.ops, rows)
        for name, values in _on(device, questions.ops.take(rows[first])).items():
            out[name][rows] = values[inverse]
    return OpCostRows(**out)


def _different(ops: OpColumns, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(positions in `rows` of the first of each different operator, number of each row's): told apart by 64-bit hashes of all they are."""
    if len(rows) == 1:  # one question: nothing to tell apart
        return np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
    content = pd.DataFrame({f.name: getattr(ops, f.name)[rows] for f in fields(OpColumns)})
    _, first, inverse = np.unique(pd.util.hash_pandas_object(content, index=False).to_numpy(), return_index=True, return_inverse=True)
    return first, inverse


def _on(device: Hardware, ops: OpColumns) -> dict[str, np.ndarray]:
    """field of `OpCostRows` -> (n,) for n operators on one machine."""
    machine = Machines.of([device])
    if device.array is not None:
        cold = hot = simulate_ops(ops, [device])
        launch = machine.launch_s[0]
        cold_s = hot_s = np.maximum(cold.time_s[:, 0] - launch, 1e-12)
    else:
        cold, hot = (_searched(ops, machine, sets) for sets in (np.inf, 1.0))
        cold_s, hot_s = cold.time_s[:, 0], hot.time_s[:, 0]
    tiled = np.isin(ops.kind, _TILED) & (device.array is None) & (cold.mapping[:, 0] >= 0)
    tiles = np.where(tiled[:, None], GEMM_MAPPINGS[np.clip(cold.mapping[:, 0], 0, len(GEMM_MAPPINGS) - 1)], np.nan)
    full = np.ones(len(ops))
    return {"cold_s": cold_s, "hot_s": hot_s, "compute_s": cold.compute_s[:, 0], "dram_bytes": cold.dram_bytes[:, 0], "cache_bytes": cold.cache_bytes[:, 0],
            "cache_s": cold.cache_bytes[:, 0] / machine.cache_bandwidth[0], "fill_s": machine.fill_s[0] * full, "launch_s": machine.launch_s[0] * full,
            "dynamic_j": cold.dynamic_j[:, 0], "limit": cold.limit[:, 0].astype(np.float64), "tile_m": tiles[:, 0], "tile_n": tiles[:, 1], "split": tiles[:, 2]}


def _searched(ops: OpColumns, machine: Machines, sets: float) -> OpCosts:
    kernels = Kernels.repeated(ops, sets)
    parts: Sequence[np.ndarray] = [np.arange(at, min(at + _SLICE, len(ops))) for at in range(0, len(ops), _SLICE)]
    costs = [capped(throughput_costs(kernels.take(part), machine), machine) for part in parts]
    return OpCosts.stack(costs)
