"""What rows cost that are read more than once: norms, and softmax of rows that do not stay in registers.

A kernel that normalises rows reads each of them for every reduction and once more for its output. A row that one warp holds in registers is read once. A longer one is read again from where it
still lies: its next reading comes when every other row in flight has been read as far, so what passes between two readings is the rows in flight and what they write meanwhile. As much of that as
the last cache does not keep comes from DRAM again, the rest through the cache; a row's readings wait for one another, so either time adds to that of the first.

Sources: readings, and threads to a row, are those of PyTorch's kernels (aten/src/ATen/native: `softmax_warp_forward` up to 1,024 columns and 4 KiB, `cunn_SoftMaxForward` for the maximum, the sum and
the output, `vectorized_layer_norm_kernel` with 128 threads for statistics and output). The share that a cache with random replacement misses of a cyclic walk over w times its capacity solves
m = 1 - exp(-m w): a line survives each of the m w C replacements of a turn with probability 1 - 1/C.
"""

from __future__ import annotations

import numpy as np

from ..datasets.columns import DeviceColumns, OpColumns, element_bytes
from ..datasets.hardware import KINDS
from ..datasets.ops import KIND_CODES
from ..datasets.simulator import technology as tech
from .op_costs import OpCostRows

#: entry of a vocabulary, without values, of models whose reference of latency counts readings after the first; those fitted before lack it
MARK = "(rows read again)"
#: threads that a processor holds (CUDA C++ Programming Guide, technical specifications by compute capability: 2,048; 1,024 and 1,536 on some)
_THREADS = 2048.0
#: columns and bytes up to which a softmax row lies in a warp's registers
_WARP_COLUMNS, _WARP_BYTES = 1024.0, 4096.0
#: threads to a softmax row: a power of two, half a load of 16 bytes or more to each, least and most; and to a row of a norm
_STEP_BYTES, _LEAST_THREADS, _MOST_THREADS, _NORM_THREADS = 32.0, 32.0, 512.0, 128.0
#: a last cache larger than this is of two partitions that may both hold a line (NVIDIA A100 whitepaper, 2020: 40 MB so; the V100's 6 MB are not. Where between: assumption)
_ONE_PARTITION = 16.0 * 2**20
#: rounds in which the share missed settles (to 1e-3 but within a tenth of w = 1)
_ROUNDS = 60


def missed(walk: np.ndarray) -> np.ndarray:
    """(n,) share of a cyclic walk that a cache misses; `walk`: (n,) bytes between two readings over bytes of the cache. 0 up to 1, towards 1 beyond."""
    share = np.where(walk > 1.0, np.minimum(2.0 * (walk - 1.0), 1.0), 0.0)
    for _ in range(_ROUNDS if (walk > 1.0).any() else 0):
        share = -np.expm1(-share * walk)
    return share


def readings(ops: OpColumns) -> np.ndarray:
    """(n,) how often a kernel reads each of its rows, from wherever: 2 for norms, 3 for softmax of rows longer than registers hold, 1 for all else."""
    held = (ops.row <= _WARP_COLUMNS) & (ops.row * element_bytes(ops.dtype) <= _WARP_BYTES)
    return np.where(ops.kind == KIND_CODES["norm"], 2.0, np.where((ops.kind == KIND_CODES["softmax"]) & ~held, 3.0, 1.0))


def between(ops: OpColumns, units: np.ndarray) -> np.ndarray:
    """(n,) bytes that pass between two readings of a row: rows in flight on `units` (n,) processors, and the output that those write which are at their last reading."""
    row = np.maximum(ops.row * element_bytes(ops.dtype), 1.0)
    threads = np.clip(np.exp2(np.ceil(np.log2(row / _STEP_BYTES))), _LEAST_THREADS, _MOST_THREADS)
    in_flight = units * _THREADS / np.where(ops.kind == KIND_CODES["norm"], _NORM_THREADS, threads)
    return np.minimum(ops.output_bytes / row, in_flight) * row * (1.0 + 1.0 / readings(ops))


def again_s(ops: OpColumns, devices: DeviceColumns, costs: OpCostRows) -> np.ndarray:
    """(n,) seconds that readings after the first add to the simulator's cold answer `costs` to n operators on n machines; 0 where it has none, on machines that are no GPU, and for kinds that
    read their rows once."""
    often = readings(ops)
    rate = devices.dram_bandwidth * tech.DRAM_EFFICIENCY
    with np.errstate(invalid="ignore", divide="ignore"):
        cached = costs.cache_s / costs.cache_bytes
        good = (often > 1.0) & (devices.kind == KINDS.index("gpu")) & np.isfinite(costs.cold_s + cached + rate + devices.units + devices.cache_bytes) & (devices.cache_bytes > 0)
    out = np.zeros(len(ops))
    at = np.flatnonzero(good)
    if len(at):
        mine, often = ops.take(at), often[at]
        cache = devices.cache_bytes[at] * np.where(devices.cache_bytes[at] > _ONE_PARTITION, 0.5, 1.0)
        lost = missed(between(mine, devices.units[at]) / cache)
        more = (often - 1.0) * np.minimum(mine.input_bytes, mine.output_bytes)
        # of a kernel that DRAM does not hold back, what is read again there may still hide behind what does
        dram = (costs.dram_bytes[at] + lost * more) / rate[at] + costs.fill_s[at]
        out[at] = np.maximum(dram + (1.0 - lost) * more * cached[at] - costs.cold_s[at], 0.0)
    return out


def marks(ops: OpColumns) -> dict[str, tuple[str, ...]]:
    """`MARK` for a vocabulary, where there are rows that are read again; empty where there are none, and their models stay as they are."""
    return {MARK: ()} if (readings(ops) > 1.0).any() else {}
