"""FPGA dataflow in the manner of hls4ml: every layer is a hardware block of its own, weights on chip, inputs streamed through.

The reuse factor R of a layer says how many multiplications share one multiplier: multipliers = products per position / R, one position
every R cycles (Duarte et al., JINST 2018, "Fast inference of deep neural networks in FPGAs for particle physics"). The
search takes the smallest initiation interval whose blocks fit the fabric together; when none fits, it names the resource that
overflows.

Floating-point networks are taken as 16-bit fixed point, hls4ml's default precision; int8 as 8 bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..columns import element_bytes
from ..dtypes import DTYPE_CODES, DTYPE_NAMES
from ..ops import KIND_CODES, KIND_NAMES
from . import technology as tech
from .kernels import Kernels
from .machine import Machines

_UNSUPPORTED = ("attention", "recurrent", "gather", "route", "bound")
#: dtype code -> bits a fabric computes it in
FABRIC_BITS = np.array([{"int8": 8.0, "int4": 4.0, "float8": 8.0, "float4": 4.0, "bool": 1.0}.get(d, 16.0) for d in DTYPE_NAMES])
#: dtype code -> code of the format a fabric computes it in: floating point becomes 16-bit fixed point
FABRIC_DTYPE = np.array([DTYPE_CODES[d if d.startswith("int") or d == "bool" or b < 16 else "int16"] for d, b in zip(DTYPE_NAMES, FABRIC_BITS, strict=True)])
#: a product narrower than this goes to look-up tables, not to a DSP slice (Vivado HLS default behaviour; hls4ml documentation)
DSP_FROM_BITS = 10.0
#: look-up tables of a w x w bit multiplier over w squared, and of one accumulator bit (assumptions; array multiplier and ripple adder)
_LUT_PER_PRODUCT_BIT2, _LUT_PER_SUM_BIT = 1.0, 1.0
#: flip-flops per look-up table of a pipelined block (assumption)
_FF_PER_LUT = 1.0
_BRAM_BITS, BRAM_PORT_BITS, _URAM_BITS = 18432.0, 36.0, 294912.0
_LOOKUP_BRAM = 4.0  #: 18-kbit blocks of the exponential table of a softmax (assumption: 4,096 entries of 18 bits)


def luts_per_multiplier(bits: np.ndarray) -> np.ndarray:
    """Look-up tables of one multiplier and its accumulator of twice the width; a wide product is a DSP slice and leaves only the accumulator."""
    return np.where(bits >= DSP_FROM_BITS, 0.0, _LUT_PER_PRODUCT_BIT2 * bits * bits) + _LUT_PER_SUM_BIT * 2.0 * bits


@dataclass(frozen=True)
class FpgaDesign:
    """A graph on one fabric: cycles, resources, or the reason why it does not fit."""

    latency_cycles: float
    interval_cycles: float
    lut: float
    ff: float
    dsp: float
    bram_18k: float
    uram: float
    reuse: np.ndarray        # (n,) reuse factor of each kernel
    cycles: np.ndarray       # (n,) cycles each kernel is busy
    dynamic_j: np.ndarray    # (n,)
    infeasible: str = ""


def fpga_design(kernels: Kernels, machines: Machines, index: int) -> FpgaDesign:
    """The fastest design of the kernels that fits machine `index`."""
    ops, d = kernels.ops, machines.figures
    bits = FABRIC_BITS[ops.dtype]
    matrix = ops.matrix_flops > 0
    products = np.where(matrix, np.maximum(ops.b * ops.n * ops.k, 1.0), 0.0)  # products per position; a grouped layer computes all groups
    positions = np.where(matrix, np.maximum(ops.m, 1.0), np.maximum(np.ceil(ops.output_bytes / 64.0), 1.0))
    depth = np.where(matrix, 3.0 + np.ceil(np.log2(np.maximum(ops.k, 2.0))), 2.0)  # multiply, adder tree, round
    weight_bits = np.where(matrix, ops.param_bytes * 8.0, 0.0) * bits / np.maximum(8.0 * element_bytes(ops.weight_dtype), 1.0)

    bad = sorted({KIND_NAMES[k] for k in ops.kind if KIND_NAMES[k] in _UNSUPPORTED})
    least = float(np.max(positions))
    most = float(np.max(positions * np.maximum(products, 1.0)))
    intervals = np.unique(np.round(np.geomspace(least, max(most, least + 1), 128)))[:, None]  # (T, 1)
    reuse = np.clip(np.floor(intervals / positions), 1.0, np.maximum(products, 1.0))          # (T, n)
    parallel = np.ceil(products / reuse)
    on_dsp = bits >= DSP_FROM_BITS
    dsp = np.where(on_dsp, parallel, 0.0).sum(-1)
    lut_layers = np.where(matrix, parallel * luts_per_multiplier(bits),
                          np.minimum(ops.vector_flops / np.maximum(positions, 1.0), 4096.0) * bits)
    lut = lut_layers.sum(-1)
    # weights are constants in logic at full parallelism, otherwise in block RAM, as many as the multipliers need to read at once
    bram_layers = np.where(reuse > 1, np.maximum(np.ceil(weight_bits / _BRAM_BITS), np.ceil(parallel * bits / BRAM_PORT_BITS / 2.0)), 0.0)
    bram = bram_layers.sum(-1) + _LOOKUP_BRAM * float((ops.kind == KIND_CODES["softmax"]).sum())
    # line buffers of convolutions: kernel height rows of the input
    line = np.where(ops.window > 1, np.ceil(ops.input_bytes * 8.0 / np.maximum(np.sqrt(ops.m), 1.0) * np.sqrt(ops.window) / _BRAM_BITS), 0.0).sum()
    bram = bram + line
    spare_uram = np.maximum(d.uram[index], 0.0) if np.isfinite(d.uram[index]) else 0.0
    uram = np.minimum(np.ceil(np.maximum(bram - d.bram_18k[index], 0.0) * _BRAM_BITS / _URAM_BITS), spare_uram)
    bram = bram - uram * _URAM_BITS / _BRAM_BITS
    ff = lut * _FF_PER_LUT + 2.0 * dsp * 16.0
    need = np.stack([lut, ff, dsp, bram])
    have = np.array([d.lut[index], d.ff[index], d.dsp[index], d.bram_18k[index]])[:, None]
    fits = (need <= have).all(0)
    at = int(np.argmax(fits)) if fits.any() else len(intervals) - 1
    busy = positions * reuse[at]
    # every layer hands on its first position after depth + R cycles; the slowest then works through its other positions
    latency = float((depth + reuse[at]).sum() + (busy - reuse[at]).max())
    mac = machines.mac_j[index, FABRIC_DTYPE[ops.dtype]] * tech.FPGA_OVER_ASIC_POWER
    dynamic = (ops.matrix_flops + ops.vector_flops) / 2.0 * mac + ops.total_bytes * machines.local_j[index]
    reason = ""
    if bad:
        reason = f"no dataflow block for {', '.join(bad)}"
    elif not fits.any():
        over = int(np.argmax(need[:, at] / have[:, 0]))
        reason = f"{('lut', 'ff', 'dsp', 'bram_18k')[over]} overflows: needs {need[over, at]:,.0f} of {have[over, 0]:,.0f} even at the largest reuse"
    return FpgaDesign(latency, float(busy.max()), float(np.ceil(lut[at])), float(np.ceil(ff[at])), float(dsp[at]), float(np.ceil(bram[at])), float(uram[at]),
                      reuse[at], busy, dynamic, reason)

