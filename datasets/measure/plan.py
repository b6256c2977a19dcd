"""What a prepared plan may measure: all the points of a grid, and where to begin.

A grid holds the sizes that networks have (powers of two and the odd widths of known ones), small enough for the device: no point needs more memory than
`MOST_BYTES`, or, at a rate of `RATE` alone, more time than a caller gives one call.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from ..dtypes import BITS
from ..errors import UnknownNameError
from ..ops import count_columns

#: plan -> operator kind of its points ("network": whole modules)
PLANS: dict[str, str] = {"gemm-grid": "gemm", "conv-grid": "conv", "attention-grid": "attention", "softmax-grid": "softmax", "norm-grid": "norm", "elementwise-grid": "elementwise",
                         "networks": "network"}
#: formats measured on a device
DTYPES = {"cpu": ("float32",), "cuda": ("float16", "bfloat16", "float32")}
#: bounds of a grid by device (assumptions: rates that a machine of that sort reaches at least)
MOST_BYTES = {"cpu": 0.5e9, "cuda": 8e9}
RATE = {"cpu": 2e10, "cuda": 2e13}
#: most seconds of one call
MOST_S = 0.2


def points(plan: str, device: str, most_s: float = MOST_S) -> list[dict[str, Any]]:
    """Every point of a plan on a device as a row: sizes by name and dtype. Raises UnknownNameError for another plan."""
    if plan not in PLANS:
        raise UnknownNameError("plan", plan, PLANS)
    if plan == "networks":
        return networks()
    kind = PLANS[plan]
    grid = _GRIDS[kind]()
    counted = count_columns(kind, {dim: np.array([row[dim] for row in grid], dtype=np.float64) for dim in grid[0]})
    flops = counted["matrix_flops"] + counted["vector_flops"]
    elements = counted["input_elements"] + counted["weight_elements"] + counted["output_elements"]
    found = []
    for dtype in DTYPES[device]:
        fits = (flops < most_s * RATE[device]) & (elements * BITS[dtype] / 8 < MOST_BYTES[device])
        found += [{**grid[i], "dtype": dtype} for i in np.flatnonzero(fits)]
    return found


def _gemms() -> list[dict[str, int]]:
    m = (1, 2, 4, 8, 16, 32, 64, 100, 128, 196, 256, 384, 512, 1000, 1024, 2048, 3136, 4096, 8192)
    nk = (64, 96, 128, 192, 256, 384, 512, 768, 1000, 1024, 1536, 2048, 3072, 4096, 5120, 8192, 11008, 14336)
    return [{"b": 1, "m": a, "n": b, "k": c} for a, b, c in product(m, nk, nk)] + \
           [{"b": b, "m": s, "n": t, "k": k} for b, s, t, k in product((8, 16, 32, 64, 128), (32, 64, 128, 256, 512), (64, 128, 512), (32, 64, 128))]


def _convs() -> list[dict[str, int]]:
    out = []
    for batch, size, (c_in, c_out), (kernel, stride), deep in product((1, 4, 16), (7, 14, 28, 56, 112), ((3, 32), (16, 32), (32, 64), (64, 64), (64, 256), (128, 128), (256, 256), (256, 512),
                                                                     (512, 512), (512, 2048)), ((1, 1), (3, 1), (3, 2), (5, 1), (7, 2)), (False, True)):
        if deep and (kernel == 1 or c_in != c_out):
            continue
        side = -(-size // stride)
        out.append({"batch": batch, "in_channels": c_in, "in_h": size, "in_w": size, "out_channels": c_out, "out_h": side, "out_w": side, "kernel_h": kernel, "kernel_w": kernel,
                    "stride_h": stride, "stride_w": stride, "groups": c_in if deep else 1})
    return out


def _attentions() -> list[dict[str, int]]:
    out = []
    for batch, (heads, kv_heads), dim, length, keys, causal in product((1, 2, 4, 8, 16, 32), ((4, 4), (8, 8), (12, 12), (16, 16), (32, 8), (32, 32)), (32, 64, 128), (1, 16, 64, 128, 197, 512, 1024, 2048, 4096),
                                                                        (0, 512, 2048, 8192), (0, 1)):
        if (keys and length != 1) or (causal and length == 1):
            continue  # decoding reads a cache, prefill its own keys
        out.append({"batch": batch, "heads": heads, "kv_heads": kv_heads, "q_len": length, "kv_len": keys or length, "head_dim": dim, "v_dim": dim, "causal": causal})
    return out


def _rows() -> list[dict[str, int]]:
    return [{"rows": r, "cols": c} for r, c in product((1, 8, 32, 128, 197, 512, 1024, 2048, 4096, 16384, 65536), (32, 64, 128, 197, 256, 512, 768, 1024, 1500, 2048, 4096, 8192, 16384, 32000, 50257))]


def _elements() -> list[dict[str, int]]:
    return [{"elements": round(2.0**float(p)), "cost": 1, "extra_elements": extra * round(2.0**float(p))} for p in np.arange(8, 28, 0.25) for extra in (0, 1)]


_GRIDS = {"gemm": _gemms, "conv": _convs, "attention": _attentions, "softmax": _rows, "norm": _rows, "elementwise": _elements}


def networks() -> list[dict[str, Any]]:
    """Small networks by name, width, depth and batch; what they are is in `torch_networks`."""
    return [{"network": name, "width": width, "depth": depth, "batch": batch, "dtype": "float32"} for name, width, depth, batch in
            product(("mlp", "cnn", "depthwise", "encoder"), (32, 64, 128, 256, 512), (1, 2, 4, 8), (1, 2, 4, 8, 16, 32)) if not (name in ("cnn", "depthwise") and width * batch > 2048)]


def coordinates(rows: list[dict[str, Any]]) -> np.ndarray:
    """(n, d) points of a plan in a cube of side 1: logarithms of sizes, a column of zeros and ones per word."""
    columns = []
    for name in rows[0]:
        values = [row[name] for row in rows]
        if isinstance(values[0], str):
            columns += [np.array([float(v == word) for v in values]) for word in sorted(set(values))]
        else:
            columns.append(np.log1p(np.array(values, dtype=np.float64)))
    cube = np.stack(columns, axis=1)
    low, high = cube.min(axis=0), cube.max(axis=0)
    return np.asarray((cube - low) / np.where(high > low, high - low, 1.0))


def spread_out(cube: np.ndarray, count: int, taken: np.ndarray, rng: np.random.Generator) -> list[int]:
    """`count` rows of (n, d) `cube`, each as far as can be from all before and from the rows `taken` (Gonzalez, Theoretical Computer Science 38, 1985)."""
    chosen: list[int] = []
    far = np.full(len(cube), np.inf)
    for i in taken:
        far = np.minimum(far, ((cube - cube[i]) ** 2).sum(axis=1))
    for _ in range(min(count, len(cube) - len(set(taken.tolist())))):
        pick = int(rng.integers(len(cube))) if np.isinf(far).all() else int(np.argmax(far))
        chosen.append(pick)
        far = np.minimum(far, ((cube - cube[pick]) ** 2).sum(axis=1))
    return chosen
