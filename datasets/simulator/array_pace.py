"""Cycles a pass of the array takes per dense, parallel one: bit-serial operands take more, skipped zeros save."""

from __future__ import annotations

import numpy as np

from ..columns import OpColumns
from ..dtypes import BITS, DTYPE_NAMES
from .array_levels import ArrayLevels

_BITS = np.array([BITS[name] for name in DTYPE_NAMES], dtype=np.float64)


def kept_share(ops: OpColumns, levels: ArrayLevels) -> np.ndarray:
    """(n,) share of the multiply-adds left where the array skips zero weights; 1 elsewhere. How many inputs are zero is not part of an operator:
    an array that skips only those skips nothing here."""
    return ops.density if levels.skips_zeros in ("weights", "both") else np.ones(len(ops))


def pace(ops: OpColumns, levels: ArrayLevels) -> np.ndarray:
    """(n,) cycles per dense pass.

    Serial operands enter a bit a cycle (Judd et al., "Stripes", MICRO 2016; both: the product of their bits, as in BISMO, Umuroglu et al., FPL 2018). Units
    that skip zeros wait for each other once an output, so the array goes at the pace of the fullest unit: the largest of rows x cols binomials,
    mean + sqrt(2 ln units) deviations (the Gaussian tail); N:M patterns are balanced by construction.
    """
    bits = np.ones(len(ops))
    if levels.serial_bits in ("weights", "both"):
        bits = bits * _BITS[ops.weight_dtype]
    if levels.serial_bits in ("inputs", "both"):
        bits = bits * _BITS[ops.dtype]
    share = kept_share(ops, levels)
    units = float(levels.rows * levels.cols)
    values = np.maximum(np.ceil(ops.k / levels.rows), 1.0)       # weights that a unit meets for one output
    spread = np.sqrt(2.0 * np.log(units) * share * (1.0 - share) / values) if units > 1 else np.zeros(len(ops))
    fullest = np.where(ops.pattern < 0, np.minimum(share + spread, 1.0), share)
    return bits * fullest
