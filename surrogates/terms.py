"""What an operator on a machine costs at a glance: a few dozen terms, quick to compute, that a student network (`student.py`) learns from.

The physics is that of the reference simulator, with eight tiles in place of its search: how long each takes with whole waves, operands once or again through
memory and the last cache; how far sizes fill tiles, waves and the sides of an array; what alignment allows. All terms but a few shares are logarithms, the
times over one reference time, so that what is learned is a ratio.

The same lines serve one question (floats) and columns of them ((n,) arrays): what is learned from the second holds for the first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from ..datasets.columns import DeviceColumns, OpColumns, element_bytes
from ..datasets.dtypes import DTYPE_CODES
from ..datasets.hardware import KINDS, Hardware
from ..datasets.simulator import technology as tech
from ..datasets.simulator.kernels import RESIDENT_SHARE
from ..datasets.simulator.machine import Machines

#: changes whenever a term does: a student learned from other terms is refused
TERMS_VERSION = "1"
#: tiles of GEMM libraries; (tile_m, tile_n)
TILES: tuple[tuple[int, int], ...] = ((16, 64), (32, 64), (64, 64), (64, 128), (128, 64), (128, 128), (128, 256), (256, 128))
_TM, _TN = (np.array(side, dtype=np.float64)[:, None] for side in zip(*TILES, strict=True))
_TILE_FLOATS = tuple((float(tm), float(tn)) for tm, tn in TILES)
#: the same by height, in order: (tile_m, places of its widths among the widths there are)
_WIDTHS = tuple(sorted({tn for _, tn in _TILE_FLOATS}))
_HEIGHTS = tuple((tm, tuple(_WIDTHS.index(tn) for _, tn in same)) for tm, same in ((tm, list(same)) for tm, same in groupby(_TILE_FLOATS, key=itemgetter(0))))
#: parts of a split reduction, and its least depth, as in the simulator
_MOST_SPLIT, _LEAST_DEPTH = 16.0, 64.0
#: a term is not told beyond this factor of the reference
_WIDEST = 30.0


class Sizes(NamedTuple):
    """One operator (floats), or columns of them ((n,) float64): the fields of `OpColumns` that the terms need."""

    b: Any
    m: Any
    n: Any
    k: Any
    matrix_flops: Any
    vector_flops: Any
    input_bytes: Any
    weight_bytes: Any
    output_bytes: Any
    row: Any
    window: Any
    border: Any = 1.0     # share of the activations that travels to memory even where all fit in the last cache: 1 of an operator alone

    @classmethod
    def of(cls, ops: OpColumns, extra_bytes: Any = 0.0, border: Any = 1.0) -> Sizes:
        """n operators; `extra_bytes`: further operands of what is fused into them."""
        found = {name: getattr(ops, name) for name in cls._fields if name != "border"}
        return cls(**{**found, "output_bytes": found["output_bytes"] + extra_bytes}, border=border)


def gemm_sizes(b: Any, m: Any, n: Any, k: Any, element: Any, weight_element: Any) -> Sizes:
    """A product without bias, as `OpColumns.from_sizes` counts it: `element`, `weight_element` are bytes of one."""
    outputs = b * m * n
    return Sizes(b, m, n, k, 2.0 * outputs * k, 0.0, b * m * k * element, b * k * n * weight_element, outputs * element, 0.0, 1.0)


class Figures(NamedTuple):
    """What the terms need of a machine and a number format (floats, or columns of them). SI."""

    units: Any
    mac_s: Any            # of one processor, per multiply-add, sustained
    local_s_per_byte: Any  # of one processor
    port_s_per_byte: Any
    dram_s_per_byte: Any
    cache_s_per_byte: Any
    half_cache: Any       # bytes
    fill_s: Any
    launch_s: Any
    vector_s: Any         # of the whole machine, per operation
    element: Any          # bytes
    trip_s: Any
    chain_s: Any          # of one byte of a chain of dependent sums
    rows: Any             # of an array; 0 where there is none
    cols: Any
    arrays_s: Any         # one cycle over how many arrays share it
    limit_w: Any          # 0 where none is published
    mac_j: Any
    dram_j: Any


#: stands in for a machine that no catalogue knows (assumption): what is learned of it is learned with its name
_STAND_IN = "a100_sxm"


def figures(device: Hardware | None, dtype: int, _known: dict[tuple[str, str, int], Figures] = {}) -> Figures:  # noqa: B006 -- kept between calls
    """The figures of a machine in a dtype (by code)."""
    if device is None:
        from ..datasets.catalog import hardware

        device = hardware(_STAND_IN)
    key = (device.key, device.digest, dtype)
    if key not in _known:
        if len(_known) > 200_000:
            _known.clear()
        columns = figure_columns([device], np.array([0]), np.array([dtype]))
        _known[key] = Figures(*(float(x[0]) for x in columns))
    return _known[key]


def figure_columns(devices: Sequence[Hardware], device_index: np.ndarray, dtype: np.ndarray, machines: Machines | None = None) -> Figures:
    """(n,) figures of machine `devices[device_index[i]]` in the dtype with code `dtype[i]`. `machines`: the devices as
    such, where they are at hand."""
    m = machines if machines is not None else Machines.of(devices)
    d: DeviceColumns = m.figures
    at = device_index
    rate = d.matrix_rate[at, dtype] * tech.MATRIX_EFFICIENCY
    vector = d.vector_rate[at, dtype]
    is_array = np.isfinite(d.array_rows)

    def each(values: np.ndarray) -> np.ndarray:
        return values[at]

    return Figures(
        each(d.units), 2.0 * each(d.units) / rate, 1.0 / each(m.local_bandwidth_per_unit), 1.0 / each(m.port_bandwidth), 1.0 / (each(d.dram_bandwidth) * tech.DRAM_EFFICIENCY),
        1.0 / each(m.cache_bandwidth), RESIDENT_SHARE * each(np.maximum(m.cache_bytes, 1.0)), each(m.fill_s), each(m.launch_s), 1.0 / vector, element_bytes(dtype), each(m.trip_s),
        each(m.clock_s) * (tech.CHAIN_CLOCKS / tech.CHAIN_BYTES), each(np.where(is_array, d.array_rows, 0.0)), each(np.where(is_array, d.array_cols, 0.0)),
        each(m.clock_s / np.where(is_array, d.array_count, 1.0)), each(np.where(np.isfinite(m.limit_w), m.limit_w, 0.0)), m.mac_j[at, dtype], each(m.dram_read_j))


def machine_terms(f: Figures, kind: Any) -> np.ndarray:
    """(m, n) float32: a machine's own figures on a logarithmic scale, and its kind (code of `hardware.KINDS`)."""
    logs = [np.log(np.maximum(np.asarray(x, dtype=np.float64), 1e-300)) for x in f[:13]]
    more = [np.log1p(np.asarray(x, dtype=np.float64)) for x in (f.rows, f.cols)] + [np.log(f.arrays_s), np.log1p(f.limit_w), np.log(f.mac_j), np.log(f.dram_j)]
    kinds = [(np.asarray(kind) == code) * 1.0 for code in range(len(KINDS))]
    return np.array(np.broadcast_arrays(*logs, *more, *kinds), dtype=np.float32)


class _One:
    """The few functions that differ: for floats."""

    columns = False
    ceil, floor, log2, maximum, minimum = math.ceil, math.floor, math.log2, max, min

    @staticmethod
    def where(which: Any, yes: Any, no: Any) -> Any:
        return yes if which else no

    @staticmethod
    def low_bit(x: Any) -> Any:
        whole = int(x)
        low = whole & -whole
        return (low if low < 4096 else 4096.0) if low else 1.0


class _Columns:
    """And for columns."""

    columns = True
    ceil, floor, log2, maximum, minimum, where = np.ceil, np.floor, np.log2, np.maximum, np.minimum, np.where

    @staticmethod
    def low_bit(x: Any) -> Any:
        whole = np.maximum(np.asarray(x), 1.0).astype(np.int64)
        return np.minimum(whole & -whole, 4096)


#: parts of the terms that a student may leave out
PARTS = ("tiles", "folds", "stream")
_SHAPE = ("compute", "memory", "vector", "fixed", "m", "n", "k", "b", "bytes_over_cache", "weight_over_cache", "align_m", "align_n", "align_k", "size")
_SHARES = ("tail_m_64", "tail_n_64", "tail_k_64", "tail_m_128", "tail_n_128", "hot")
_STREAM = ("row", "window", "share", "cache", "travels")
_FOLDS = ("os", "ws", "is")


def names(parts: Sequence[str]) -> tuple[str, ...]:
    """The terms, in order: logarithms first, then shares."""
    return (*_SHAPE, *(_STREAM if "stream" in parts else ()), *(_FOLDS if "folds" in parts else ()),
            *((*(f"tile_{m}x{n}" for m, n in TILES), "waves") if "tiles" in parts else ()), *_SHARES, *(("fill",) if "tiles" in parts else ()))


def terms(op: Sizes, f: Figures, parts: Sequence[str] = PARTS) -> tuple[np.ndarray, Any]:
    """((terms,) or (terms, n) float32, reference seconds as float or (n,)) of one operator or n.

    Whatever is an array must have length n; the rest are floats.
    """
    columns = isinstance(op.m, np.ndarray) or isinstance(f.units, np.ndarray)
    logs, tiles, waves, shares, reference = _told(op, f, parts, columns)
    if not columns:
        told, count = _joined(logs, tiles, waves, shares, reference)
        one = np.array(told, dtype=np.float32)
        np.log(one[:count], out=one[:count])
        return one, reference
    count = len(logs) + (len(TILES) + 1 if tiles is not None else 0)
    out = np.empty((count + len(shares), len(reference)), dtype=np.float32)
    for i, x in enumerate(logs):
        out[i] = x
    if tiles is not None:
        tiles *= 1.0 / reference
        np.minimum(tiles, _WIDEST, out=out[len(logs):count - 1], casting="same_kind")
        out[count - 1] = waves
    np.log(out[:count], out=out[:count])
    for i, x in enumerate(shares):
        out[count + i] = x
    return out, reference


def few_terms(ops: Sequence[Sizes], machines: Sequence[Figures], parts: Sequence[str] = PARTS) -> tuple[np.ndarray, list[float]]:
    """((n, terms) float32, reference seconds of each) of a few operators (floats), each on its own machine: fewer than are worth columns."""
    told, references, count = [], [], 0
    for op, f in zip(ops, machines, strict=True):
        logs, tiles, waves, shares, reference = _told(op, f, parts, False)
        one, count = _joined(logs, tiles, waves, shares, reference)
        told.append(one)
        references.append(reference)
    out = np.array(told, dtype=np.float32)
    np.log(out[:, :count], out=out[:, :count])
    return out, references


def _joined(logs: list[Any], tiles: Any, waves: float, shares: list[Any], reference: float) -> tuple[list[float], int]:
    """(the terms of one operator in their order, how many of the first want their logarithm)."""
    if tiles is None:
        return logs + shares, len(logs)
    over, most = 1.0 / reference, _WIDEST * reference
    logs += [t * over if t < most else _WIDEST for t in tiles]
    logs.append(waves)
    return logs + shares, len(logs)


def _told(op: Sizes, f: Figures, parts: Sequence[str], columns: bool) -> tuple[list[Any], Any, Any, list[Any], Any]:
    """(what is told as logarithms, seconds in each tile (None: no tiles), waves of the widest tile, what is told as shares, reference seconds)."""
    xp: Any = _Columns if columns else _One
    b, m, n, k = op.b, op.m, op.n, op.k
    if "stream" in parts:  # operators without matrix work have no sizes of a product
        b, m, n, k = xp.maximum(b, 1.0), xp.maximum(m, 1.0), xp.maximum(n, 1.0), xp.maximum(k, 1.0)
    moved = op.input_bytes + op.output_bytes + op.weight_bytes
    kept = 1.0
    if "stream" in parts:  # inside a network, what fits in the cache stays there
        kept = xp.where(op.input_bytes + op.output_bytes > f.half_cache, 1.0, op.border)
    memory = moved * f.dram_s_per_byte
    compute = (0.5 * op.matrix_flops) * f.mac_s / f.units
    vector = op.vector_flops * f.vector_s
    start = f.fill_s + f.launch_s
    mn = xp.ceil(m * (1.0 / 128.0)) * xp.ceil(n * (1.0 / 128.0)) * b
    waves128 = mn / f.units
    # what the product reads again when a wave's block of the output leaves the cache
    side = 128.0 * xp.minimum(mn, f.units) ** 0.5
    again_a = xp.where(op.input_bytes <= f.half_cache, 1.0, xp.ceil(n / side))
    again_w = xp.where(op.weight_bytes <= f.half_cache, 1.0, xp.ceil(m / side))
    into = kept * op.input_bytes
    dram = (xp.minimum(into * again_a + op.weight_bytes, into + op.weight_bytes * again_w) + kept * op.output_bytes) * f.dram_s_per_byte
    longest = xp.maximum(dram, vector)
    folds: list[Any] = []
    if "folds" in parts:
        r, c = xp.maximum(f.rows, 1.0), xp.maximum(f.cols, 1.0)
        mr, nc, kr, mc = xp.ceil(m / r), xp.ceil(n / c), xp.ceil(k / r), xp.ceil(m / c)
        each = [mr * nc * (k + c) * b * f.arrays_s, kr * nc * (m + r) * b * f.arrays_s, kr * mc * (n + r) * b * f.arrays_s]
        folds = [xp.where(f.rows > 0, x, 1e-30) for x in each]
        longest = xp.maximum(longest, xp.minimum(xp.minimum(folds[0], folds[1]), folds[2]))
    tiles: Any = None
    if "tiles" in parts:
        tiles = _tile_columns(op, f, b, m, n, k) if columns else _tile_each(op, f, b, m, n, k)
        best = tiles.min(axis=0) if columns else min(tiles)
        if "folds" in parts:
            best = xp.where(f.rows > 0, 1e-30, best)
        longest = xp.maximum(longest, xp.where(op.matrix_flops > 0, best, 1e-30) if "stream" in parts else best)
    stream: list[Any] = []
    if "stream" in parts:
        outputs = op.output_bytes / f.element
        blocks = xp.maximum(outputs * xp.minimum(xp.maximum(xp.maximum(op.row, op.window), 1.0), 256.0) / xp.maximum(op.row, 1.0) / 256.0, 1.0)
        share = xp.minimum(blocks / f.units, 1.0)
        cache = moved * f.cache_s_per_byte / share
        longest = xp.where(op.matrix_flops > 0, longest, xp.maximum(xp.maximum(longest, vector / share), cache))
        stream = [1.0 + op.row, xp.maximum(op.window, 1.0), share, cache, dram]
    reference = longest + start
    over = 1.0 / reference
    least = 1e-13 * reference
    logs = [(compute + least) * over, memory * over, (vector + least) * over, start * over, m, n, k, b, moved / f.half_cache, (op.weight_bytes + 1.0) / f.half_cache, xp.low_bit(m), xp.low_bit(n), xp.low_bit(k), reference]
    if stream:
        stream[3], stream[4] = stream[3] * over, (dram + least) * over
        logs += stream
    if folds:
        logs += [t * over for t in folds]
    m64, n64, k64, m128, n128 = m * (1.0 / 64.0), n * (1.0 / 64.0), k * (1.0 / 64.0), m * (1.0 / 128.0), n * (1.0 / 128.0)
    hot = moved / f.half_cache
    shares = [xp.ceil(m64) - m64, xp.ceil(n64) - n64, xp.ceil(k64) - k64, xp.ceil(m128) - m128, xp.ceil(n128) - n128, xp.minimum(xp.maximum(hot - 1.0, 0.0), 1.0)]
    if tiles is not None:
        shares.append(waves128 / xp.ceil(waves128))
    return logs, tiles, waves128, shares, reference


def _tile_each(op: Sizes, f: Figures, b: Any, m: Any, n: Any, k: Any) -> list[float]:
    """Seconds of one product in each tile: whole waves of tiles, or all tiles' operands through the last cache. Tiles of one height stand together, and share what it decides."""
    units, port, cache = f.units, f.port_s_per_byte, f.cache_s_per_byte
    a_size, w_size, again = op.input_bytes / (b * m * k), op.weight_bytes / (b * n * k), f.fill_s + f.launch_s
    most = k / _LEAST_DEPTH
    most = 1.0 if most < 1.0 else most if most < _MOST_SPLIT else _MOST_SPLIT
    ceil, out, steps = math.ceil, [], _steps(f.mac_s, f.element * f.local_s_per_byte)
    wide = [(ceil(n / tn), (tn if tn < n else n) * w_size) for tn in _WIDTHS]
    at = 0
    for tm, widths in _HEIGHTS:
        down, tall = ceil(m / tm) * b, (tm if tm < m else m) * a_size
        for which in widths:
            across, broad = wide[which]
            tiles = down * across
            depth, start = k, 0.0
            if tiles < units:  # splitting k fills idle processors
                split = units / tiles
                split = float(int(split)) if split < most else float(int(most))
                if split > 1.0:
                    depth, tiles, start = k / split, tiles * split, again
            drawn = (tall + broad) * depth
            each, beside = steps[at] * depth, drawn * port
            each = (each if each > beside else beside) * ceil(tiles / units)
            beside = drawn * tiles * cache
            out.append((each if each > beside else beside) + start)
            at += 1
    return out


@lru_cache(4096)
def _steps(mac_s: float, local_s: float) -> tuple[float, ...]:
    """Seconds of one processor for a step along k of each tile: its multiply-adds, or its operands through registers."""
    return tuple(max(tm * tn * mac_s, (tm + tn) * local_s) for tm, tn in _TILE_FLOATS)


def _tile_columns(op: Sizes, f: Figures, b: Any, m: Any, n: Any, k: Any) -> np.ndarray:
    """The same of n products: (tiles, n)."""
    tm, tn = _TM, _TN
    tiles = np.ceil(m / tm)
    tiles = tiles * np.ceil(n / tn)
    tiles *= b
    split = f.units / tiles
    np.minimum(split, np.minimum(np.maximum(k / _LEAST_DEPTH, 1.0), _MOST_SPLIT), out=split)
    np.maximum(split, 1.0, out=split)
    np.floor(split, out=split)
    depth = k / split
    tiles = np.multiply(tiles, split, out=tiles if tiles.shape == split.shape else None)  # one size on many machines: until here there was one column
    drawn = np.minimum(tm, m) * (op.input_bytes / (b * m * k)) + np.minimum(tn, n) * (op.weight_bytes / (b * n * k))
    drawn = drawn * depth
    each = np.maximum(tm * tn * f.mac_s, (tm + tn) * (f.element * f.local_s_per_byte)) * depth
    np.maximum(each, drawn * f.port_s_per_byte, out=each)
    waves = np.ceil(tiles / f.units)
    waves *= each
    drawn *= tiles
    drawn *= f.cache_s_per_byte
    np.maximum(waves, drawn, out=waves)
    split -= 1.0
    np.minimum(split, 1.0, out=split)
    split *= f.fill_s + f.launch_s
    waves += split
    return waves


#: code of the dtype that stands where none is told
DEFAULT_DTYPE = DTYPE_CODES["float16"]
