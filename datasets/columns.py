"""Operators and machines as columns: what the physics and the features compute on.

`OpColumns` holds n operators, `DeviceColumns` n machines, both as float64 arrays of length n. A graph's ops, a sampled
batch and a measured table of 400,000 rows all become the same columns, so each formula is written once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np

from .dram import dram_j_per_byte
from .dtypes import BITS, DTYPE_CODES, DTYPE_NAMES
from .hardware import DATAFLOWS, KINDS, Hardware, stand_in
from .ops import COUNTS, KIND_CODES, Op, count_columns, kind_of, sparsity_of

#: up to so many machines their columns are kept one by one; of more they are computed all at once
FEW_MACHINES = 64
_BITS_BY_CODE = np.array([BITS[name] for name in DTYPE_NAMES], dtype=np.float64)


def element_bytes(dtype: np.ndarray) -> np.ndarray:
    """(n,) bytes of one stored element, from dtype codes."""
    return _BITS_BY_CODE[dtype] / 8


@lru_cache(maxsize=256)
def _kept(sparsity: str) -> tuple[float, int, float]:
    return sparsity_of(sparsity, "sparsity")


@dataclass(frozen=True)
class OpColumns:
    """n operators as arrays of shape (n,). FLOPs count 2 per multiply-add; the rest is elements or bytes."""

    kind: np.ndarray           # int16, code of `KIND_NAMES`
    dtype: np.ndarray          # int16, code of `DTYPE_NAMES`: what it computes in
    weight_dtype: np.ndarray   # int16
    b: np.ndarray
    m: np.ndarray
    n: np.ndarray
    k: np.ndarray
    matrix_flops: np.ndarray
    vector_flops: np.ndarray
    window: np.ndarray
    row: np.ndarray
    batch: np.ndarray          # sequences or images, 0 for kinds that have none
    reach: np.ndarray          # keys that an attention's window lets a query see, 0 for none; its work and traffic are counted with it already
    keys: np.ndarray           # keys that an attention holds, in reach or not
    input_bytes: np.ndarray
    weight_bytes: np.ndarray   # bytes of the second operand, parameters or not
    output_bytes: np.ndarray
    param_bytes: np.ndarray    # bytes of parameters that live with the op
    density: np.ndarray        # kept share of the second operand; its bytes are those of what is kept and of the indices, flops count it dense
    pattern: np.ndarray        # int16: 0 dense, N of N:M, -1 kept anywhere

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def total_bytes(self) -> np.ndarray:
        """Compulsory traffic: every operand once, (n,) bytes."""
        return self.input_bytes + self.weight_bytes + self.output_bytes

    @property
    def flops(self) -> np.ndarray:
        """(n,) operations on matrix and vector units."""
        return self.matrix_flops + self.vector_flops

    def take(self, index: np.ndarray) -> OpColumns:
        """The rows `index` (or a boolean mask)."""
        return OpColumns(**{name: values[index] for name, values in vars(self).items()})

    @staticmethod
    def concat(parts: Sequence[OpColumns]) -> OpColumns:
        """The parts one after another."""
        if len(parts) == 1:
            return parts[0]
        return OpColumns(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(OpColumns)})

    @classmethod
    def from_ops(cls, ops: Iterable[Op]) -> OpColumns:
        """The columns of a sequence of ops, in order."""
        rows = list(ops)
        counts = np.array([[c[name] for name in COUNTS] for c in (count_columns(op.kind, op.dims) for op in rows)], dtype=np.float64).reshape(-1, len(COUNTS))
        codes = np.array([(KIND_CODES[op.kind], DTYPE_CODES[op.dtype], DTYPE_CODES[op.weight_dtype], DTYPE_CODES[op.output_dtype])
                          for op in rows], dtype=np.int16).reshape(-1, 4)
        return cls._from_counts(dict(zip(COUNTS, counts.T, strict=True)), codes[:, 0], codes[:, 1], codes[:, 2], codes[:, 3],
                                np.array([op.params for op in rows], dtype=np.float64), [op.sparsity for op in rows])

    @classmethod
    def from_sizes(cls, kind: str, sizes: Mapping[str, Any], dtype: np.ndarray, weight_dtype: np.ndarray | None = None, sparsity: str = "") -> OpColumns:
        """n operators of one kind from arrays of their dimensions; dtypes are codes. No Python per row.

        The second operand of a gemm or conv counts as parameters; `sparsity` is its (see `Op`). Raises GraphError when a dimension is missing.
        """
        length = len(dtype)
        counted = count_columns(kind, sizes)
        counts = {name: np.broadcast_to(np.asarray(counted[name], dtype=np.float64), (length,)).copy() for name in COUNTS}
        weight = dtype if weight_dtype is None else weight_dtype
        params = counts["weight_elements"] if kind in ("gemm", "conv", "recurrent", "norm", "grouped_gemm", "deform_conv", "scan") else np.zeros(length)
        return cls._from_counts(counts, np.full(length, KIND_CODES[kind_of(kind).name], dtype=np.int16), dtype.astype(np.int16), weight.astype(np.int16),
                                dtype.astype(np.int16), params, [sparsity])

    @classmethod
    def _from_counts(cls, counts: Mapping[str, np.ndarray], kind: np.ndarray, dtype: np.ndarray, weight_dtype: np.ndarray,
                     output_dtype: np.ndarray, params: np.ndarray, sparsity: Sequence[str]) -> OpColumns:
        kept = np.broadcast_to(np.array([_kept(text) for text in sparsity], dtype=np.float64).reshape(-1, 3), (len(kind), 3))
        weight_size = (kept[:, 0] * _BITS_BY_CODE[weight_dtype] + kept[:, 2]) / 8
        return cls(kind=kind, dtype=dtype, weight_dtype=weight_dtype,
                   **{name: counts[name] for name in ("b", "m", "n", "k", "matrix_flops", "vector_flops", "window", "row", "batch", "reach", "keys")},
                   input_bytes=counts["input_elements"] * _BITS_BY_CODE[dtype] / 8, weight_bytes=counts["weight_elements"] * weight_size,
                   output_bytes=counts["output_elements"] * _BITS_BY_CODE[output_dtype] / 8, param_bytes=params * weight_size,
                   density=kept[:, 0].copy(), pattern=kept[:, 1].astype(np.int16))


@dataclass(frozen=True)
class DeviceColumns:
    """D machines as arrays: (D,) figures in SI, NaN where nobody published one, and (D, dtypes) rate tables."""

    kind: np.ndarray              # int16, code of `hardware.KINDS`
    matrix_rate: np.ndarray       # (D, dtypes) op/s of the whole machine, stand-ins applied
    vector_rate: np.ndarray       # (D, dtypes) op/s
    units: np.ndarray
    clock_hz: np.ndarray
    dram_bandwidth: np.ndarray    # B/s
    dram_bytes: np.ndarray
    cache_bytes: np.ndarray       # last level before the outermost memory, NaN when there is none
    cache_bandwidth: np.ndarray
    local_bytes: np.ndarray       # innermost level (shared memory, L1, scratchpad), whole machine
    local_bandwidth: np.ndarray
    tdp_w: np.ndarray
    idle_w: np.ndarray
    process_nm: np.ndarray
    launch_s: np.ndarray
    dram_j_per_byte: np.ndarray   # published, or of its memory technology
    mac_j: np.ndarray             # J per multiply-add, where published
    array_rows: np.ndarray
    array_cols: np.ndarray
    array_count: np.ndarray
    dataflow: np.ndarray          # int16, code of `hardware.DATAFLOWS`, -1 when there is no array
    lut: np.ndarray
    ff: np.ndarray
    dsp: np.ndarray
    bram_18k: np.ndarray
    uram: np.ndarray
    sparse_kept: np.ndarray       # N of the N:M weights that the matrix units run faster, NaN where none
    sparse_of: np.ndarray         # M
    skips_weights: np.ndarray     # 1 where the array spends no cycle on a weight of zero, wherever it is
    serial_weights: np.ndarray    # 1 where weights enter the array bit by bit
    serial_inputs: np.ndarray     # 1 where inputs do
    weights_apart: np.ndarray     # 1 where the outermost memory keeps weights alone: activations live in the level before it

    def __len__(self) -> int:
        return len(self.kind)

    def take(self, index: np.ndarray) -> DeviceColumns:
        """The machines `index`, in that order."""
        return DeviceColumns(**{name: values[index] for name, values in vars(self).items()})

    @staticmethod
    def concat(parts: Sequence[DeviceColumns]) -> DeviceColumns:
        """The parts one after another."""
        if len(parts) == 1:
            return parts[0]
        return DeviceColumns(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(DeviceColumns)})

    @classmethod
    def from_devices(cls, devices: Sequence[Hardware]) -> DeviceColumns:
        """The columns of a sequence of machines, in order; of a few machines each row is computed once and kept."""
        return cls.concat([_device_row(h) for h in devices]) if len(devices) <= FEW_MACHINES else _device_columns(devices)


@lru_cache(maxsize=65536)
def _device_row(h: Hardware) -> DeviceColumns:
    row = _device_columns((h,))
    for values in vars(row).values():
        values.setflags(write=False)
    return row


def _device_columns(devices: Sequence[Hardware]) -> DeviceColumns:
    """All at once: a design space shows thousands of machines that nobody asks about again."""
    figures = np.array([_figures(h) for h in devices], dtype=np.float64).reshape(len(devices), len(_FIGURES)).T
    matrix, vector = (np.array(rates, dtype=np.float64).reshape(len(devices), len(DTYPE_NAMES)) for rates in zip(*map(_rates, devices), strict=True))
    kind = np.array([KINDS.index(h.kind) for h in devices], dtype=np.int16)
    dataflow = np.array([DATAFLOWS.index(h.array.dataflow) if h.array else -1 for h in devices], dtype=np.int16)
    return DeviceColumns(kind=kind, matrix_rate=matrix, vector_rate=vector, dataflow=dataflow, **{name: np.ascontiguousarray(x) for name, x in zip(_FIGURES, figures, strict=True)})


#: the figures of `_figures`, in order
_FIGURES = tuple(f.name for f in fields(DeviceColumns) if f.name not in ("kind", "matrix_rate", "vector_rate", "dataflow"))
_NOTHING = (None,) * 5


def _figures(h: Hardware) -> tuple[float | None, ...]:
    """`_FIGURES` of one machine, None for what nobody published or a part the machine lacks."""
    caches = [level for level in h.memory[:-1] if level.serves != ("weights",)]  # banks that compute and wires are no caches
    cache = (caches[-1].capacity_bytes, caches[-1].bandwidth_bytes_per_s) if caches else (None, None)
    local = (caches[0].capacity_bytes, caches[0].bandwidth_bytes_per_s) if caches else (None, None)
    array, fabric, dram = h.array, h.fabric, h.dram
    kept, every = h.sparsity_pattern or (None, None)
    skips, serial = (array.skips_zeros, array.serial_bits) if array else ("", "")
    return (h.units, h.clock_hz, h.dram_bandwidth, dram.capacity_bytes, *cache, *local, h.tdp_w, h.idle_w, h.process_nm, h.launch_overhead_s,
            dram.read_j_per_byte or dram_j_per_byte(dram.name), *((array.mac_j, array.rows, array.cols, array.count) if array else _NOTHING[:4]),
            *((fabric.lut, fabric.ff, fabric.dsp, fabric.bram_18k, fabric.uram) if fabric else _NOTHING), kept, every,
            skips in ("weights", "both"), serial in ("weights", "both"), serial in ("inputs", "both"), dram.serves == ("weights",))


def _rates(h: Hardware) -> tuple[list[float], list[float]]:
    """(matrix, vector) op/s in every format, as `Hardware.rate` says."""
    if h.array and not h.matrix_rate:
        return [h.rate(d) for d in DTYPE_NAMES], [h.rate(d, matrix=False) for d in DTYPE_NAMES]
    tables = h.matrix_rate, h.vector_rate
    at = _rated(tuple(h.matrix_rate), tuple(h.vector_rate))
    matrix, vector = ([h.rate(d, matrix=first) if name is None else float(tables[table][name]) for d, (table, name) in zip(DTYPE_NAMES, which, strict=True)]
                      for first, which in ((True, at[0]), (False, at[1])))
    return matrix, vector


@lru_cache(maxsize=1024)
def _rated(matrix: tuple[str, ...], vector: tuple[str, ...]) -> tuple[list[tuple[int, str | None]], list[tuple[int, str | None]]]:
    """Per format which table (0 matrix, 1 vector) and which of its formats gives the rate, None where no table does: the same for all machines that publish the same
    formats."""
    def of(tables: Sequence[tuple[int, tuple[str, ...]]]) -> list[tuple[int, str | None]]:
        return [next(((i, name) for i, table in tables if (name := stand_in(d, table)) is not None), (0, None)) for d in DTYPE_NAMES]

    return of(((0, matrix), (1, vector))), of(((1, vector),))


def work_left(ops: OpColumns, devices: DeviceColumns, paired: bool = False) -> np.ndarray:
    """(n, D) share of the dense matrix work that is left where the machine skips weights of zero; 1 where it cannot. `paired`: (n,), op i
    on machine i.

    Weights of N:M run on units made for n:m where no m neighbours hold more than n values: N <= n with M >= m, or whole groups of M in m.
    """
    across = (lambda x: x) if paired else (lambda x: x[:, None])
    n = across(ops.pattern.astype(np.float64))
    m = np.round(n / across(ops.density))
    kept, every = devices.sparse_kept, devices.sparse_of
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = (n <= kept) & (m >= every)
        whole = (every % m == 0) & (n * every / m <= kept)
        left = np.where((n > 0) & (inside | whole), kept / every, 1.0)
    return np.where(devices.skips_weights > 0, across(ops.density), left)
