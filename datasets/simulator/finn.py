"""FINN-like streaming dataflow: one engine per layer, folded by processing elements (PE) and lanes (SIMD), weights on chip, thresholds for activations.

After Umuroglu et al., "FINN", FPGA 2017, and Blott et al., "FINN-R", ACM TRETS 11(3), 2018. A layer with `rows` outputs and `cols` inputs per output
pixel, folded by PE (a divisor of rows) and SIMD (a divisor of cols), is busy for

    pixels x (rows / PE) x (cols / SIMD)

cycles per image (FINN-R, section 4.1); the slowest layer sets the interval. Each PE multiplies SIMD pairs of W x A bits, adds them in a tree,
accumulates and compares with 2^A - 1 thresholds; its weights are a memory of rows x cols / (PE x SIMD) words of SIMD x W bits (FINN-R, section 4.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..columns import OpColumns
from ..errors import InputError
from ..hardware import Hardware
from ..ops import KIND_CODES, KIND_NAMES
from ..workload import Workload
from .fpga_blocks import BRAM_BITS, URAM_BITS, block_rams, divisors
from .kernels import fuse

#: kinds with an engine; the rest is infeasible and named. An addition is a stream adder, a move a wire.
_ENGINES = frozenset({"gemm", "conv", "pool", "elementwise", "norm", "move", "reduce"})
#: LUT of the control of one matrix-vector engine, and of everything over the bare counts (FINN-R, table 2: the two constants of its cost model)
_ENGINE_LUT, _LUT_OVERHEAD = 300.0, 1.1
#: activations of more bits are not made by thresholds but requantised; priced as so many (assumption)
_MOST_THRESHOLD_BITS = 4.0
#: LUT of a sliding-window unit beside its memory, and of a FIFO beside its storage (assumptions)
_WINDOW_LUT, _FIFO_LUT = 200.0, 20.0
#: flip-flops of an engine per LUT (assumption: pipeline registers at every level)
_FF_PER_LUT = 1.0
#: cycles from the last word of an engine's input to its first result (assumption)
_ENGINE_DEPTH = 8.0
#: intervals tried by the search
_SEARCHED = 256


@dataclass(frozen=True)
class Folding:
    """How the layers with weights are folded, in order: PE divides the outputs, SIMD the inputs per output. Raises InputError for numbers below 1."""

    pe: tuple[int, ...]
    simd: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.pe) != len(self.simd) or any(not isinstance(f, int) or f < 1 for f in (*self.pe, *self.simd)):
            raise InputError(f"folding: expected one whole PE and one SIMD >= 1 per layer, got pe={self.pe} and simd={self.simd}")


@dataclass(frozen=True)
class StreamingDesign:
    """A folded network on a fabric. `cycles` (n,) per layer with weights, in order; `infeasible` names what overflows ("" when all fits)."""

    folding: Folding
    latency_cycles: float
    interval_cycles: float
    lut: float
    ff: float
    dsp: float
    bram_18k: float
    uram: float
    cycles: np.ndarray
    clock_hz: float
    infeasible: str = ""

    @property
    def images_per_s(self) -> float:
        """Inputs per second at the design's clock."""
        return self.clock_hz / self.interval_cycles


@dataclass(frozen=True)
class _Layers:
    """The matrix layers of a network, (n,): output pixels, rows (outputs), cols (inputs per output), kernel area, output pixels in a row."""

    pixels: np.ndarray
    rows: np.ndarray
    cols: np.ndarray
    window: np.ndarray
    row_pixels: np.ndarray


def finn_design(workload: Workload, hardware: Hardware, folding: Folding | None = None, *, weight_bits: int = 1, data_bits: int = 1, first_data_bits: int = 8,
                interval_cycles: float | None = None, clock_hz: float | None = None, on_dsp: bool = False, lut_budget: float | None = None) -> StreamingDesign:
    """The network as FINN would stream it: with the given folding, or the smallest that keeps `interval_cycles`, or the fastest that fits the fabric.

    weight_bits and data_bits: of weights and of the activations between layers; first_data_bits: of the network's input. on_dsp puts products
    on DSP slices (FINN's choice for more than about 4 bits) instead of look-up tables. lut_budget: LUT the search may use, when fewer than the fabric's.
    Raises InputError for a machine without a fabric, a folding that does not divide a layer, or bits below 1.
    """
    if hardware.fabric is None:
        raise InputError(f"finn_design: expected an FPGA, got {hardware.key!r} of kind {hardware.kind}, which has no fabric")
    if min(weight_bits, data_bits, first_data_bits) < 1:
        raise InputError(f"finn_design: expected bits >= 1, got weights {weight_bits}, data {data_bits}, input {first_data_bits}")
    ops = fuse(workload).kernels.ops
    bad = sorted({KIND_NAMES[k] for k in ops.kind} - _ENGINES)
    layers = _layers(ops)
    if not len(layers.rows):
        raise InputError(f"finn_design: {workload.name!r} has no layer with weights to fold")
    fabric, clock = hardware.fabric, clock_hz or hardware.clock_hz
    bits = np.concatenate([[float(first_data_bits)], np.full(len(layers.rows) - 1, float(data_bits))])
    if folding is not None:
        pe, simd = (np.array(f, dtype=np.float64) for f in (folding.pe, folding.simd))
        if len(pe) != len(layers.rows) or (layers.rows % pe).any() or (layers.cols % simd).any():
            wanted = ", ".join(f"{r:g} x {c:g}" for r, c in zip(layers.rows, layers.cols, strict=True))
            raise InputError(f"finn_design: folding pe={folding.pe} simd={folding.simd} does not divide the layers (outputs x inputs): {wanted}")
        pe, simd = pe[None], simd[None]
    else:
        fewest, most = float(layers.pixels.max()), float((layers.pixels * layers.rows * layers.cols).max())
        targets = np.array([interval_cycles]) if interval_cycles else np.unique(np.ceil(np.geomspace(fewest, max(most, fewest + 1.0), _SEARCHED)))
        pe, simd = _fold(layers, targets, float(weight_bits), bits, float(data_bits), on_dsp)
    need = _resources(layers, pe, simd, float(weight_bits), bits, float(data_bits), on_dsp)
    uram = np.minimum(np.ceil(np.maximum(need["bram_18k"] - fabric.bram_18k, 0.0) * BRAM_BITS / URAM_BITS), float(fabric.uram))
    need["bram_18k"] = np.maximum(need["bram_18k"] - uram * URAM_BITS / BRAM_BITS, 0.0)
    have = {name: float(getattr(fabric, name)) for name in need}
    if lut_budget is not None:
        have["lut"] = min(have["lut"], lut_budget)
    fits = np.all([need[name] <= have[name] for name in need], axis=0)
    at = int(np.argmax(fits)) if fits.any() else len(pe) - 1
    cycles = layers.pixels * (layers.rows / pe[at]) * (layers.cols / simd[at])
    over = "; ".join(f"{name} overflows: needs {need[name][at]:,.0f} of {have[name]:,.0f}" for name in need if need[name][at] > have[name])
    late = f"interval overflows: needs {cycles.max():,.0f} cycles of {interval_cycles:,.0f} even fully unfolded" if interval_cycles and cycles.max() > interval_cycles else ""
    reason = f"no streaming engine for {', '.join(bad)}" if bad else over or late
    chosen = Folding(tuple(int(p) for p in pe[at]), tuple(int(s) for s in simd[at]))
    used = {name: float(np.ceil(need[name][at])) for name in need}
    return StreamingDesign(folding=chosen, latency_cycles=_latency(layers, cycles), interval_cycles=float(cycles.max()), lut=used["lut"], ff=used["ff"], dsp=used["dsp"],
                           bram_18k=used["bram_18k"], uram=float(uram[at]), cycles=cycles, clock_hz=clock, infeasible=reason)


def _layers(ops: OpColumns) -> _Layers:
    at = np.flatnonzero(np.isin(ops.kind, [KIND_CODES["gemm"], KIND_CODES["conv"]]))
    o = ops.take(at)
    return _Layers(np.maximum(o.m, 1.0), np.maximum(o.b * o.n, 1.0), np.maximum(o.k, 1.0), o.window, np.sqrt(np.maximum(o.m, 1.0)))


@lru_cache(maxsize=4096)
def _foldings(rows: int, cols: int) -> tuple[np.ndarray, np.ndarray]:
    """Every (PE, SIMD) of a layer: divisors of its outputs times divisors of its inputs."""
    pe, simd = np.meshgrid(divisors(rows), divisors(cols), indexing="ij")
    return pe.ravel(), simd.ravel()


def _fold(layers: _Layers, targets: np.ndarray, weight_bits: float, data_bits: np.ndarray, out_bits: float, on_dsp: bool) -> tuple[np.ndarray, np.ndarray]:
    """((T, n) PE, (T, n) SIMD): for every target interval and layer the folding of fewest LUT that keeps it (fully unfolded where none does)."""
    pe, simd = np.ones((len(targets), len(layers.rows))), np.ones((len(targets), len(layers.rows)))
    for i, (rows, cols) in enumerate(zip(layers.rows, layers.cols, strict=True)):
        p, s = _foldings(int(rows), int(cols))
        cycles = layers.pixels[i] * (rows / p) * (cols / s)
        cost = _engine_luts(p, s, rows, cols, weight_bits, float(data_bits[i]), out_bits, on_dsp) + 1e-3 * block_rams(rows * cols / (p * s), s * weight_bits) * p
        order = np.lexsort((cycles, cost))
        keeps = cycles[order][None, :] <= targets[:, None] + 0.5
        chosen = np.where(keeps.any(1), order[np.argmax(keeps, axis=1)], int(np.argmin(cycles)))
        pe[:, i], simd[:, i] = p[chosen], s[chosen]
    return pe, simd


def _engine_luts(pe: np.ndarray, simd: np.ndarray, rows: float | np.ndarray, cols: float | np.ndarray, w: float, a: float | np.ndarray, out_bits: float, on_dsp: bool) -> np.ndarray:
    """LUT of matrix-vector engines (FINN-R, section 4.2): per PE the products, the adder tree, the accumulator, thresholds and comparators.

    A product has W + A bits; of two single bits it is an XNOR, one bit, and the tree a population count.
    """
    bits = np.where((w == 1.0) & (a == 1.0), 1.0, w + a)
    product = np.zeros_like(simd) if on_dsp else simd * (2.0 * np.ceil((w + a) / 6.0) - 1.0) * bits
    total = bits + np.ceil(np.log2(np.maximum(cols, 2.0)))
    levels = 2.0 ** min(out_bits, _MOST_THRESHOLD_BITS) - 1.0
    each = product + bits * (2.0 * simd - 1.0) + total + levels * total * (np.ceil(rows / pe / 64.0) + 1.0)
    return np.asarray(_ENGINE_LUT + _LUT_OVERHEAD * pe * each)


def _resources(layers: _Layers, pe: np.ndarray, simd: np.ndarray, w: float, bits: np.ndarray, out_bits: float, on_dsp: bool) -> dict[str, np.ndarray]:
    """LUT, FF, DSP and block RAMs of (T, n) foldings, summed over the layers: (T,) each."""
    luts = _engine_luts(pe, simd, layers.rows, layers.cols, w, bits, out_bits, on_dsp)
    depth = layers.rows * layers.cols / (pe * simd)
    banks = block_rams(depth, simd * w)
    # a memory block RAM would leave mostly empty is built of look-up tables: 64 bits each (distributed RAM, UG574)
    in_luts = depth <= 64.0
    memory_luts = np.where(in_luts | (banks == 0), pe * simd * w * np.ceil(depth / 64.0), 0.0)
    brams = np.where(in_luts, 0.0, banks) * pe
    sliding = layers.window > 1
    side = np.sqrt(layers.window)
    channels = layers.cols / layers.window
    window_bits = np.where(sliding, channels * bits * layers.row_pixels * (side + 1.0), 0.0)      # FINN-R: the kernel's rows and one being filled
    window_ram = np.where(sliding & (window_bits > 4096.0), np.ceil(window_bits / BRAM_BITS), 0.0)
    window_luts = np.where(sliding, _WINDOW_LUT + np.where(window_ram > 0, 0.0, window_bits / 32.0), 0.0)
    fifo_luts = _FIFO_LUT + pe * out_bits
    lut = (luts + memory_luts + window_luts + fifo_luts).sum(-1)
    dsp = (pe * simd).sum(-1) if on_dsp else np.zeros(len(pe))
    return {"lut": lut, "ff": lut * _FF_PER_LUT, "dsp": dsp, "bram_18k": (brams + window_ram).sum(-1)}


def _latency(layers: _Layers, cycles: np.ndarray) -> float:
    """Cycles from the first word in to the last word out: every layer starts when its first window is there, the slowest sets the pace to the end.

    A dense layer needs all of its input before its last column, but works on each word as it comes; it ends one pass over its rows later.
    """
    side = np.sqrt(layers.window)
    per_pixel = cycles / layers.pixels
    first = np.where(layers.pixels > 1, per_pixel * ((side - 1.0) * layers.row_pixels + side), per_pixel)
    return float(first.sum() + (cycles - per_pixel).max() + _ENGINE_DEPTH * len(cycles))
