"""Time of a call: warmed up, repeated, the median with its spread. Calls too short for the clock are timed several at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

#: a sample is at least so long; shorter calls are timed in loops (the clock's own call is tens of nanoseconds)
LEAST_SAMPLE_S = 200e-6
#: warm-up lasts so long, and at least a call
WARM_S = 0.05

Call = Callable[[int], Any]
Clock = Callable[[Call, int, int], float]


@dataclass(frozen=True)
class Timing:
    """Seconds of one call over `samples` samples of `inner` calls each. `mad_s`: median absolute deviation from the median."""

    median_s: float
    mad_s: float
    p10_s: float
    p90_s: float
    samples: int
    inner: int

    @property
    def columns(self) -> dict[str, float]:
        """As a measured table writes it."""
        return {"latency_s": self.median_s, "latency_mad_s": self.mad_s, "latency_p10_s": self.p10_s, "latency_p90_s": self.p90_s, "samples": self.samples, "calls_per_sample": self.inner}


def wall_clock(call: Call, first: int, count: int) -> float:
    """Seconds that calls number `first` to `first + count - 1` take, one after the other."""
    begin = time.perf_counter()
    for i in range(first, first + count):
        call(i)
    return time.perf_counter() - begin


def timed(call: Call, *, repeats: int = 30, most_s: float = 3.0, clock: Clock = wall_clock) -> Timing:
    """Times `call(i)`, i counting up so that it may take another buffer each time. Stops at `repeats` samples, or after `most_s` seconds with three."""
    done, begin = 0, time.perf_counter()
    while done < 1 or (time.perf_counter() - begin < WARM_S and done < 1000):
        clock(call, done, 1)
        done += 1
    once = clock(call, done, 1)
    inner = max(1, min(10_000, int(np.ceil(LEAST_SAMPLE_S / max(once, 1e-8)))))
    done += 1
    samples: list[float] = []
    begin = time.perf_counter()
    while len(samples) < repeats and (len(samples) < 3 or time.perf_counter() - begin < most_s):
        samples.append(clock(call, done, inner) / inner)
        done += inner
    seen = np.array(samples)
    middle = float(np.median(seen))
    return Timing(middle, float(np.median(np.abs(seen - middle))), float(np.quantile(seen, 0.1)), float(np.quantile(seen, 0.9)), len(seen), inner)
