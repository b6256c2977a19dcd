"""Sampled machines: devices that do not exist, around ones that do, so that a model learns the axes and not the names.

    device = sample_device(np.random.default_rng(7), "gpu", catalogue_devices)

A machine of the kind is picked and scaled. What belongs together stays together: rates follow units x clock, the array's rate its
multipliers x clock, on-chip bandwidth the rates; what is bought separately (outer memory, power) is scaled on its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from .errors import InputError, UnknownNameError
from .hardware import KINDS, Fabric, Hardware, MemoryLevel, SpatialArray

#: smallest and largest factor on any figure that is scaled freely
SCALE = (0.4, 2.5)
#: scatter of a figure around the one it follows
JITTER = (0.8, 1.25)
FIXED_DATAFLOWS = ("ws", "os", "is", "rs")


class Factor(Protocol):
    """Draws a log-uniform factor within a span."""

    def __call__(self, span: tuple[float, float] = SCALE) -> float: ...


def sample_device(rng: np.random.Generator, family: str, around: Sequence[Hardware]) -> Hardware:
    """A machine of kind `family` (one of `KINDS`) around a random one of `around`; deterministic in `rng`.

    Its key is `sampled_<kind>_<digits of its digest>`, it cites nothing and its notes name the base. Figures the base lacks stay unknown.
    Raises UnknownNameError for another kind, InputError when `around` holds no machine of the kind.
    """
    if family not in KINDS:
        raise UnknownNameError("device kind", family, KINDS)
    bases = [hardware for hardware in around if hardware.kind == family]
    if not bases:
        kinds = sorted({hardware.kind for hardware in around})
        raise InputError(f"no {family} to sample around: got {len(around)} devices of the kinds {', '.join(kinds) or 'none'}; pass at least one {family}")
    base = bases[int(rng.integers(len(bases)))]

    def factor(span: tuple[float, float] = SCALE) -> float:
        return float(span[0] * (span[1] / span[0]) ** rng.random())

    clock = factor()
    units, units_ratio = _scaled_count(base.units, factor())
    array, fabric = base.array, base.fabric
    compute = units_ratio
    if array:
        count = array.count
        array, compute = _scaled_array(rng, array, units_ratio, factor)
        units = _follow(base.units, array.count / count)
    if fabric:
        fabric, fabric_ratio = _scaled_fabric(fabric, factor)
        compute = compute if array else fabric_ratio
        units = units if array else base.units
    rate = compute * clock
    power = factor()
    device = replace(
        base, key="sampled", name=f"sampled {family}", units=units, clock_hz=base.clock_hz * clock,
        matrix_rate={d: r * rate for d, r in base.matrix_rate.items()}, vector_rate={d: r * rate for d, r in base.vector_rate.items()},
        memory=_in_copies(_scaled_memory(base.memory, rate, factor), base, array), array=array, fabric=fabric,
        tdp_w=base.tdp_w and base.tdp_w * power, idle_w=base.idle_w and base.idle_w * power,
        launch_overhead_s=base.launch_overhead_s and base.launch_overhead_s * factor((0.5, 2.0)),
        area_mm2=None, aliases=(), vendor="", year=None, cited={}, notes=f"sampled around {base.key}; not a real device, no figure is published",
    )
    return replace(device, key=f"sampled_{family}_{device.digest[:10]}")


def _scaled_count(count: int, by: float) -> tuple[int, float]:
    """A whole number near count x by, at least 1, and the ratio it really makes."""
    scaled = max(1, round(count * by))
    return scaled, scaled / count


def _follow(count: int, ratio: float) -> int:
    return max(1, round(count * ratio))


def _side(rng: np.random.Generator, side: int, by: float) -> int:
    """A side of an array near side x by: a power of two, or a multiple of 4."""
    wanted = max(1.0, side * by)
    if wanted < 4 or rng.random() < 0.5:
        return int(2 ** round(math.log2(wanted)))
    return max(4, 4 * round(wanted / 4))


def _scaled_array(rng: np.random.Generator, array: SpatialArray, count_ratio: float, factor: Factor) -> tuple[SpatialArray, float]:
    """Another array and the ratio of its multipliers to the base's."""
    rows = _side(rng, array.rows, factor())
    cols = rows if array.rows == array.cols and rng.random() < 0.5 else _side(rng, array.cols, factor())
    count = _follow(array.count, count_ratio)
    flows = (*FIXED_DATAFLOWS, "flexible") if array.dataflow == "flexible" else FIXED_DATAFLOWS
    scaled = replace(array, rows=rows, cols=cols, count=count, dataflow=flows[int(rng.integers(len(flows)))])
    return scaled, rows * cols * count / (array.rows * array.cols * array.count)


def _scaled_fabric(fabric: Fabric, factor: Factor) -> tuple[Fabric, float]:
    """A larger or smaller device of the series: all resources by about one factor; and the ratio of its DSP slices."""
    size = factor()
    scaled = Fabric(lut=_follow(fabric.lut, size * factor(JITTER)), ff=_follow(fabric.ff, size * factor(JITTER)),
                    dsp=_follow(fabric.dsp, size * factor(JITTER)), bram_18k=_follow(fabric.bram_18k, size * factor(JITTER)),
                    uram=_follow(fabric.uram, size * factor(JITTER)) if fabric.uram else 0)
    return scaled, scaled.dsp / fabric.dsp


def _in_copies(levels: tuple[MemoryLevel, ...], base: Hardware, array: SpatialArray | None) -> tuple[MemoryLevel, ...]:
    """Levels that stand at every multiplier, row or column of the base's array stand so on the new one, each copy as large as the base's."""
    old = base.array
    if old is None or array is None:
        return levels
    copies = {old.rows * old.cols * old.count: array.rows * array.cols * array.count, old.rows * old.count: array.rows * array.count, old.cols * old.count: array.cols * array.count}
    return tuple(replace(level, instances=copies[given.instances], capacity_bytes=given.capacity_bytes / given.instances * copies[given.instances])
                 if given.instances in copies else level for level, given in zip(levels, base.memory, strict=True))


def _scaled_memory(levels: tuple[MemoryLevel, ...], rate: float, factor: Factor) -> tuple[MemoryLevel, ...]:
    """On-chip capacities by about one factor, on-chip bandwidths with the rate; the outermost level on its own.

    Where the base's levels grow outwards in capacity, or slow down, the sampled ones do too.
    """
    chip = factor()
    scaled: list[MemoryLevel] = []
    for at, level in enumerate(levels):
        outermost = at == len(levels) - 1
        capacity = level.capacity_bytes * (factor() if outermost else chip * factor(JITTER))
        bandwidth = level.bandwidth_bytes_per_s
        if bandwidth is not None:
            bandwidth *= factor() if outermost else rate * factor(JITTER)
        if at:
            inner, inner_base = scaled[-1], levels[at - 1]
            if level.capacity_bytes >= inner_base.capacity_bytes:
                capacity = max(capacity, inner.capacity_bytes)
            if bandwidth is not None and inner.bandwidth_bytes_per_s is not None and inner_base.bandwidth_bytes_per_s is not None \
                    and (level.bandwidth_bytes_per_s or 0.0) <= inner_base.bandwidth_bytes_per_s:
                bandwidth = min(bandwidth, inner.bandwidth_bytes_per_s)
        write = level.write_bandwidth_bytes_per_s
        if write is not None and bandwidth is not None and level.bandwidth_bytes_per_s is not None:
            write *= bandwidth / level.bandwidth_bytes_per_s
        scaled.append(replace(level, capacity_bytes=capacity, bandwidth_bytes_per_s=bandwidth, write_bandwidth_bytes_per_s=write, area_mm2=None))
    return tuple(scaled)
