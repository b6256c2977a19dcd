"""A layer as a loop nest on an array: its seven loops, what is unrolled over the array, and the orders the rest may run in.

The loops are those of Timeloop, ZigZag and SCALE-Sim: B (independent products: groups), K (outputs), C (reduction), OX and OY (output
positions), FX and FY (filter taps). Columns of an operator give b, m, n, k and the window; the square of positions and taps is derived:
the two factors of m nearest each other, a window that is a square number (or 1 x window), and a stride from the size of the input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import permutations

import numpy as np

from ..columns import OpColumns, element_bytes

LOOPS = ("B", "K", "C", "OX", "OY", "FX", "FY")
B, K, C, OX, OY, FX, FY = range(len(LOOPS))
#: operand -> loops that walk along it; the others re-use it
RELEVANT = np.zeros((3, len(LOOPS)), dtype=bool)
for _operand, _loops in enumerate(((B, K, C, FX, FY), (B, C, OX, OY, FX, FY), (B, K, OX, OY))):
    RELEVANT[_operand, list(_loops)] = True
WEIGHTS, INPUTS, OUTPUTS = range(3)
#: loops that a sum runs over
REDUCTION = ~RELEVANT[OUTPUTS]
#: dataflow -> (loops unrolled down the rows, across the columns), each filled in turn until the side is full
UNROLLED: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "ws": ((C,), (K,)), "os": ((OX, OY), (K,)), "is": ((C,), (OX, OY)),
    "rs": ((FY, C), (OY, K)),  # filter rows down, output rows across (Chen et al., ISCA 2016); channels and filters fill what is left
}
#: what an array whose dataflow is free may choose from, layer by layer
CHOICES = {"flexible": ("ws", "os", "is")}


@dataclass(frozen=True)
class Nests:
    """n layers. `size` (n, 7) loop extents; `unrolled` (n, 7) units of each on the array (the mean over its passes); `temporal` (n, 7) passes.

    `stride`, `in_w`, `in_h` (n,) of the input; `weight_b`, `input_b`, `output_b` (n,) bytes of an element.
    """

    size: np.ndarray
    unrolled: np.ndarray
    down: np.ndarray              # (n, 7) the part of `unrolled` that lies along the rows; the rest lies across the columns
    temporal: np.ndarray
    stride: np.ndarray
    in_w: np.ndarray
    in_h: np.ndarray
    weight_b: np.ndarray
    input_b: np.ndarray
    output_b: np.ndarray

    def __len__(self) -> int:
        return len(self.size)

    @property
    def cycles(self) -> np.ndarray:
        """(n,) passes of the array: cycles without a stall."""
        return np.asarray(self.temporal.prod(1))

    def take(self, index: np.ndarray) -> Nests:
        """The layers `index`."""
        return Nests(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


def nests(ops: OpColumns, rows: int, cols: int, dataflow: str) -> Nests:
    """The matrix ops as loop nests on a rows x cols array. Raises KeyError for a dataflow that is not in `UNROLLED`."""
    b, m, n = (np.maximum(np.round(x), 1.0) for x in (ops.b, ops.m, ops.n))
    window = np.maximum(np.round(ops.window), 1.0)
    c = np.maximum(np.round(ops.k / window), 1.0)
    side = np.round(np.sqrt(window))
    square = side**2 == window
    fx, fy = np.where(square, side, window), np.where(square, side, 1.0)
    oy = np.array([_near_root(int(x)) for x in m], dtype=np.float64)
    ox = m / oy
    size = np.column_stack([b, n, c, ox, oy, fx, fy])
    bytes_in = ops.input_bytes / (b * c)                       # of all positions of one channel
    width = element_bytes(ops.dtype)
    shrink = np.sqrt(np.maximum(bytes_in / width / m, 1e-9))   # input positions over output positions, along one side
    # a stride is a whole number: the input of a strided layer is that many times longer, give or take the border
    stride = np.maximum(np.round(shrink), 1.0)
    down = _fill(size, UNROLLED[dataflow][0], rows)
    left = np.ceil(size / down)
    across = _fill(left, UNROLLED[dataflow][1], cols)
    temporal = np.ceil(left / across)
    unrolled = size / temporal
    return Nests(size, unrolled, np.minimum(down, unrolled), temporal, stride, np.maximum(ox * shrink, 1.0), np.maximum(oy * shrink, 1.0),
                 ops.weight_bytes / (b * n * ops.k), width, ops.output_bytes / np.maximum(b * m * n, 1.0))


def _fill(size: np.ndarray, loops: tuple[int, ...], units: int) -> np.ndarray:
    """(n, 7) how many of each loop lie side by side on `units` units, the first named loop first."""
    out = np.ones_like(size)
    left = np.full(len(size), float(units))
    for loop in loops:
        out[:, loop] = np.minimum(size[:, loop], np.floor(left))
        left = left / out[:, loop]
    return out


@lru_cache(maxsize=65536)
def _near_root(m: int) -> int:
    """The largest divisor of m that is at most its square root (searched near the root: a prime far from it gives 1)."""
    root = math.isqrt(m)
    return next((d for d in range(root, max(root - 4096, 0), -1) if m % d == 0), 1)


@lru_cache(maxsize=65536)
def factors(passes: tuple[int, ...], most: int) -> tuple[tuple[int, int], ...]:
    """(loop, size) pieces of the temporal loops: prime factors, multiplied together again until at most `most` are left.

    The loop with the most pieces gives its two smallest first, of equals the outer one as programs write them (the loop prime factors of Symons et al., "LOMA", AICAS 2021). Never fewer
    pieces than loops.
    """
    pieces = {loop: _primes(passes[loop]) for loop in (B, K, C, OY, OX, FY, FX) if passes[loop] > 1}
    while sum(map(len, pieces.values())) > max(most, len(pieces)):
        loop = max(pieces, key=lambda x: len(pieces[x]))
        pieces[loop] = sorted([pieces[loop][0] * pieces[loop][1], *pieces[loop][2:]])
    return tuple((loop, n) for loop, many in pieces.items() for n in many) or ((B, 1),)


def _primes(n: int) -> list[int]:
    out, p = [], 2
    while p * p <= n and p < 65536:
        while n % p == 0:
            out.append(p)
            n //= p
        p += 1 if p == 2 else 2
    return [*out, n] if n > 1 else out


@lru_cache(maxsize=256)
def orders(alike: tuple[int, ...]) -> np.ndarray:
    """(orders, L) every different order of L pieces, innermost first; `alike` gives equal pieces equal numbers, whose swaps change nothing."""
    pairs = [(i, j) for j in range(len(alike)) for i in range(j) if alike[i] == alike[j]]
    table = np.array(list(permutations(range(len(alike)))), dtype=np.int8)
    place = table.argsort(1)
    return table[np.logical_and.reduce([place[:, i] < place[:, j] for i, j in pairs])] if pairs else table
