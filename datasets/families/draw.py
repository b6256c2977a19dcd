"""Random sizes as networks have them, and the caps that every sampled workload keeps.

A `Draw` wraps the caller's generator; nothing else is random, so a seed gives the same workload. Sizes are log-uniform; a draw that
breaks a cap is made again with `shrink` one higher, which halves the large end of batch, length, side and depth: at most a few times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from ..dtypes import BITS
from ..errors import GraphError
from ..layers import Net, Value
from ..workload import Workload

T = TypeVar("T")
#: operators of one sampled graph, and bytes of its weights and live tensors together
MAX_OPS = 200
MAX_BYTES = 16e9
#: batch x pixels of one image input: 256 images of 224 x 224
MAX_PIXELS = 256 * 224 * 224
#: batch x positions of one sequence input
MAX_TOKENS = 2**18

FLOATS = ("float16", "float32", "bfloat16")
WITH_INT8 = (*FLOATS, "int8")


class Draw:
    """Draws sizes from `rng`; `shrink` (0, 1, 2, ...) lowers the large ends of what makes a workload big."""

    def __init__(self, rng: np.random.Generator, shrink: int = 0) -> None:
        self._uniform = rng.random
        self.shrink = shrink

    def chance(self, share: float) -> bool:
        """True in that share of draws."""
        return bool(self._uniform() < share)

    def pick(self, options: Sequence[T], weights: Sequence[float] = ()) -> T:
        """One of the options, evenly or by weights that add up to 1."""
        at = self._uniform()
        if not weights:
            return options[int(at * len(options))]
        for option, weight in zip(options, weights, strict=True):
            at -= weight
            if at < 0:
                return option
        return options[-1]

    def log(self, low: float, high: float) -> float:
        """A log-uniform real between low and high."""
        return low * (high / low) ** float(self._uniform())

    def integer(self, low: int, high: int, multiple: int = 1) -> int:
        """A log-uniform integer of low..high, rounded to a multiple (never below it)."""
        value = self.log(low, high + (1.0 if multiple == 1 else 0.0))
        whole = int(value) if multiple == 1 else round(value / multiple)
        return max(whole * multiple, low if multiple == 1 else multiple)

    def channels(self, low: int, high: int) -> int:
        """A channel count: mostly a multiple of 8, of 16 or 32 often, one in eight times anything."""
        return self.integer(low, high, self.pick((8, 16, 32, 1), (0.4, 0.25, 0.225, 0.125)))

    def batch(self, limit: int = 256) -> int:
        """1 in 40 % of draws, else log-uniform to `limit`, powers of two mostly."""
        if limit <= 1 or self.chance(0.4):
            return 1
        value = self.log(1, limit)
        if self.chance(0.7):
            value = 2.0 ** round(math.log2(value))
        return max(1, min(limit, int(value)) >> self.shrink)

    def classes(self) -> int:
        """Classes of a classifier: 1000 often."""
        return 1000 if self.chance(0.4) else self.integer(2, 2000)

    def depth(self, low: int, high: int) -> int:
        """A log-uniform depth."""
        return self.integer(low, max(low, high >> self.shrink))

    def image(self, net: Net, low: int = 24, high: int = 1024, multiple: int = 0, channels: int = 0) -> Value:
        """An image input: 224 often, else log-uniform sides, square in two of three draws; batch within `MAX_PIXELS`."""
        multiple = multiple or self.pick((32, 16, 8, 1), (0.5, 0.2, 0.15, 0.15))
        high >>= min(self.shrink, 2)
        height = 224 if low <= 224 <= high and self.chance(0.2) else self.integer(low, max(low, high), multiple)
        width = height if self.chance(0.66) else self.integer(low, max(low, high), multiple)
        batch = self.batch(max(1, min(256, MAX_PIXELS // (height * width))))
        return net.image(batch, channels or self.pick((3, 1, 4, 12), (0.85, 0.1, 0.03, 0.02)), height, width)


def capped(build: Callable[[Draw], Net], max_ops: int = MAX_OPS) -> Callable[[np.random.Generator], Workload]:
    """A family's sampler out of its `build`: drawn again, smaller, until the caps hold."""

    def sample(rng: np.random.Generator) -> Workload:
        for shrink in range(12):
            net = build(Draw(rng, shrink))
            if net.op_count > max_ops or net.params * BITS[net.weight_dtype] / 8 > MAX_BYTES:
                continue
            workload = net.build()
            if net.params * BITS[net.weight_dtype] / 8 + workload.peak_activation_bytes <= MAX_BYTES:
                return workload
        raise GraphError(f"family {net.name!r}: twelve draws, each smaller, stayed above {max_ops} ops or {MAX_BYTES / 1e9:.0f} GB; its ranges are too wide")

    return sample
