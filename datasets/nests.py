"""Loop nests by name: the kernels of numerical code, as one would write them in C, row-major, double precision unless said otherwise.

    KERNELS["matmul_ijk"](64)     # one size; see `sample_nest` for the sizes they are drawn in

`n` counts elements of a side (a vector for the one-dimensional, a matrix or a cube for the others).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .errors import UnknownNameError
from .loopnest import Access, Loop, LoopNest, Statement

DOUBLE = 8


def _vector(name: str, n: int, reads: str, writes: str = "", size: int = DOUBLE, **ops: object) -> LoopNest:
    accesses = (*(Access(a, (size,), bytes_each=size) for a in reads), *(Access(a, (size,), True, size) for a in writes))
    return LoopNest(name, (Loop("i", n),), (Statement(1, accesses, **ops),), family=name)  # type: ignore[arg-type]


def copy(n: int, size: int = DOUBLE) -> LoopNest:
    """a[i] = b[i]"""
    return _vector("copy", n, "b", "a", size)


def triad(n: int, size: int = DOUBLE) -> LoopNest:
    """a[i] = b[i] + s c[i]"""
    return _vector("triad", n, "bc", "a", size, fma=1)


def dot(n: int, size: int = DOUBLE, reassociable: bool = False) -> LoopNest:
    """s += a[i] b[i]"""
    return _vector("dot", n, "ab", "", size, fma=1, carried="fma", reassociable=reassociable)


def divide(n: int, size: int = DOUBLE) -> LoopNest:
    """a[i] = b[i] / c[i]"""
    return _vector("divide", n, "bc", "a", size, div=1)


def horner(n: int, size: int = DOUBLE) -> LoopNest:
    """a[i] = a polynomial of degree 8 in b[i]: a chain of eight multiply-adds"""
    return _vector("horner", n, "b", "a", size, fma=8)


def positive_sum(n: int, size: int = DOUBLE, taken: float = 0.5) -> LoopNest:
    """if (a[i] > 0) s += a[i]: a branch that depends on the data"""
    return _vector("positive_sum", n, "a", "", size, add=1, carried="add", branches=1, taken=taken)


def strided_sum(n: int, step: int = 8, size: int = DOUBLE) -> LoopNest:
    """s += a[i * step]"""
    return LoopNest("strided_sum", (Loop("i", n),), (Statement(1, (Access("a", (size * step,), bytes_each=size),), add=1, carried="add"),), family="strided_sum")


def transpose(n: int, size: int = DOUBLE) -> LoopNest:
    """a[i][j] = b[j][i]"""
    row = n * size
    return LoopNest("transpose", (Loop("i", n), Loop("j", n)), (Statement(2, (Access("b", (size, row), bytes_each=size), Access("a", (row, size), True, size))),), family="transpose")


def matvec(n: int, size: int = DOUBLE, reassociable: bool = False) -> LoopNest:
    """y[i] += A[i][j] x[j]"""
    acc = (Access("A", (n * size, size), bytes_each=size), Access("x", (0, size), bytes_each=size), Access("y", (size, 0), True, size))
    return LoopNest("matvec", (Loop("i", n), Loop("j", n)), (Statement(2, acc, fma=1, carried="fma", reassociable=reassociable),), family="matvec")


def matmul(n: int, order: str = "ijk", size: int = DOUBLE, reassociable: bool = False, tile: int = 0, m: int = 0, k: int = 0) -> LoopNest:
    """C[i][j] += A[i][k] B[k][j], C m x n, in an order of the loops; with `tile`, each loop cut in blocks of that many turns (the last may be smaller: rounded up)."""
    sizes = {"i": m or n, "j": n, "k": k or n}
    inner = sizes["k"]
    steps = {"C": {"i": n * size, "j": size, "k": 0}, "A": {"i": inner * size, "j": 0, "k": size}, "B": {"i": 0, "j": size, "k": n * size}}
    if tile:
        turns = [(o.upper(), -(-sizes[o] // tile), tile) for o in order] + [(o, min(tile, sizes[o]), 1) for o in order]
    else:
        turns = [(o, sizes[o], 1) for o in order]
    loops = tuple(Loop(name, trips) for name, trips, _ in turns)
    acc = tuple(Access(a, tuple(steps[a][name.lower()] * by for name, _, by in turns), w, size) for a, w in (("A", False), ("B", False), ("C", False), ("C", True)))
    carried = "fma" if order[-1] == "k" else ""
    name = f"matmul_{order}" + ("_tiled" if tile else "")
    return LoopNest(name, loops, (Statement(len(loops), acc, fma=1, carried=carried, reassociable=reassociable and bool(carried)),), family=name)


def jacobi(n: int, size: int = DOUBLE) -> LoopNest:
    """b[i][j] = s (a[i][j] + its four neighbours)"""
    row = n * size
    around = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
    acc = (*(Access("a", (row, size), bytes_each=size, shifts=s) for s in around), Access("b", (row, size), True, size))
    return LoopNest("jacobi", (Loop("i", max(n - 2, 1)), Loop("j", max(n - 2, 1))), (Statement(2, acc, add=4, mul=1),), family="jacobi")


def stencil3d(n: int, size: int = DOUBLE) -> LoopNest:
    """b = c0 a + c1 (a's six neighbours), in a cube"""
    plane, row, inside = n * n * size, n * size, max(n - 2, 1)
    around = ((0, 0, 0), *(tuple(d if j == i else 0 for j in range(3)) for i in range(3) for d in (-1, 1)))
    acc = (*(Access("a", (plane, row, size), bytes_each=size, shifts=s) for s in around), Access("b", (plane, row, size), True, size))
    return LoopNest("stencil3d", tuple(Loop(x, inside) for x in "ijk"), (Statement(3, acc, add=5, mul=1, fma=1),), family="stencil3d")


def conv2d(n: int, window: int = 3, size: int = DOUBLE, reassociable: bool = False) -> LoopNest:
    """out[i][j] += in[i + y][j + x] w[y][x] over a square window"""
    row, out = n * size, max(n - window + 1, 1)
    acc = (Access("in", (row, size, row, size), bytes_each=size), Access("w", (0, 0, window * size, size), bytes_each=size), Access("out", (out * size, size, 0, 0), True, size))
    loops = (Loop("i", out), Loop("j", out), Loop("y", window), Loop("x", window))
    return LoopNest("conv2d", loops, (Statement(4, acc, fma=1, carried="fma", reassociable=reassociable),), family="conv2d")


#: kernel -> the nest of size n; and the range of n it is sampled in
KERNELS: dict[str, Callable[..., LoopNest]] = {
    "copy": copy, "triad": triad, "dot": dot, "divide": divide, "horner": horner, "positive_sum": positive_sum, "strided_sum": strided_sum, "transpose": transpose,
    "matvec": matvec, "matmul_ijk": matmul, "jacobi": jacobi, "stencil3d": stencil3d, "conv2d": conv2d,
}
SPANS: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("copy", "triad", "dot", "divide", "horner", "positive_sum", "strided_sum"), (64, 4_000_000)),
    "transpose": (16, 3000), "matvec": (16, 3000), "matmul_ijk": (8, 700), "jacobi": (16, 3000), "stencil3d": (8, 200), "conv2d": (8, 1500),
}


def kernel(name: str, n: int) -> LoopNest:
    """The kernel of that name at size n; raises UnknownNameError naming the nearest."""
    if name not in KERNELS:
        raise UnknownNameError("kernel", name, KERNELS)
    return KERNELS[name](n)


def sample_nest(rng: np.random.Generator) -> LoopNest:
    """A random kernel, size, element, loop order, tile, number of repetitions and build (scalar or vector, strict or fast arithmetic); deterministic in `rng`."""
    name = str(rng.choice(list(KERNELS)))
    low, high = SPANS[name]
    n = round(low * (high / low) ** rng.random())
    given: dict[str, object] = {"size": int(rng.choice((4, 8)))}
    fast, vectorize, times = bool(rng.random() < 0.5), bool(rng.random() < 0.6), round(100 ** rng.random())
    if name in ("dot", "matvec", "matmul_ijk", "conv2d"):
        given["reassociable"] = fast
    if name == "matmul_ijk":
        given |= {"order": str(rng.choice(("ijk", "ikj", "jik", "jki", "kij", "kji"))), "tile": int(rng.choice((0, 0, 16, 32, 64))),
                  "m": round(8 * 60 ** rng.random()), "k": round(8 * 60 ** rng.random())}
    if name == "conv2d":
        given["window"] = int(rng.choice((1, 3, 5, 7)))
    if name == "strided_sum":
        given["step"] = int(rng.choice((2, 4, 8, 16, 64, 512)))
    if name == "positive_sum":
        given["taken"] = float(np.round(rng.random(), 3))
    nest = KERNELS[name](n, **given)
    nest = LoopNest(nest.name, nest.loops, nest.statements, vectorize, nest.family)
    return nest.repeated(times) if times > 1 else nest
