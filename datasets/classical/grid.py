"""Fourier transforms and stencils on regular grids."""

from __future__ import annotations

from ..errors import GraphError
from ..workload import Workload
from .kernel import Kernel, positive


def fft(length: int = 4096, batch: int = 1, stages_on_chip: int = 12, dtype: str = "float32") -> Workload:
    """Complex transforms of a power of two by radix-2 butterflies (Cooley and Tukey 1965): 5 n log2(n) operations each, in passes over memory of `stages_on_chip` stages.

    Each stage multiplies half the values by a root of unity (6 operations a product, 3 for each of n real numbers) and takes sums and differences (1 for each of 2 n).
    `dtype` is that of a real part. Raises GraphError for a length that is no power of two, or 1.
    """
    positive("fft", length=length, batch=batch, stages_on_chip=stages_on_chip)
    if length < 2 or length & (length - 1):
        raise GraphError(f"fft: length: expected a power of two of at least 2, got {length}")
    k, left, at = Kernel("fft", dtype), length.bit_length() - 1, 0
    x = k.input("x", 2 * batch * length)
    while left:
        stages = min(left, stages_on_chip)
        turned = k.each(f"pass{at}/twiddle", [x], batch * length, 3 * stages, length)
        x = k.each(f"pass{at}/butterfly", [turned, x], 2 * batch * length, stages)
        left, at = left - stages, at + 1
    return k.build()


def stencil(height: int = 1024, width: int = 1024, depth: int = 1, points: int = 5, sweeps: int = 1, fields: int = 1, dtype: str = "float64") -> Workload:
    """`sweeps` Jacobi sweeps over a grid: every cell a weighted sum of `points` neighbours, 2 p - 1 operations; the grid read and written once a sweep.

    A `pool` per sweep with that many operations in its window; the border is computed like the rest (assumption: it is small). `depth` folds into the height.
    """
    positive("stencil", height=height, width=width, depth=depth, points=points, sweeps=sweeps, fields=fields)
    k = Kernel("stencil", dtype)
    x = k.input("grid", fields * depth * height * width)
    for sweep in range(sweeps):
        x = k.add(f"sweep{sweep}", "pool", [x], batch=1, channels=fields, in_h=depth * height, in_w=width, out_h=depth * height, out_w=width, kernel_h=2 * points - 1, kernel_w=1)
    return k.build()
