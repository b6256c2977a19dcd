"""Sampled cores: the design space around the catalogue, so that a model learns the axes and not the names.

    core = sample_core(np.random.default_rng(7), [catalog.cores.core(k) for k in core_keys()])

Widths, windows, cache sizes and memory are drawn apart; what belongs together stays together: units follow the width, a larger cache of a kind is no faster, latencies grow outwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .core import CacheLevel, Core, Unit
from .errors import InputError

#: smallest and largest of what is drawn anew (dispatch, window, vector bits), and factors on what follows the base
WIDTHS = (1, 2, 3, 4, 5, 6, 8)
WINDOWS = (16, 640)
VECTORS = (0, 128, 256, 512, 1024)
CAPACITY = (0.25, 4.0)
MEMORY = (0.4, 2.5)
CLOCK = (0.5, 1.6)
#: share of sampled cores that work in order
IN_ORDER = 0.2


def sample_core(rng: np.random.Generator, around: Sequence[Core]) -> Core:
    """A core around a random one of `around`; deterministic in `rng`. It cites nothing; its notes name the base. Raises InputError when `around` is empty."""
    if not around:
        raise InputError("no core to sample around: pass at least one")

    def factor(span: tuple[float, float]) -> float:
        return float(span[0] * (span[1] / span[0]) ** rng.random())

    base = around[int(rng.integers(len(around)))]
    in_order = bool(rng.random() < IN_ORDER)
    width = int(rng.choice(WIDTHS[:3] if in_order else WIDTHS))
    window = 0 if in_order else round(factor((max(WINDOWS[0], 8 * width), WINDOWS[1])))
    ratio = width / base.dispatch_width
    units = {name: _unit(unit, ratio, factor((0.75, 1.5))) for name, unit in base.units.items()}
    caches: list[CacheLevel] = []
    latency = 0.0
    for level, known in zip(base.caches, base.latencies, strict=False):
        size = 2.0 ** round(math.log2(factor(CAPACITY)))
        capacity = max(level.capacity_bytes * size, 2 * caches[-1].capacity_bytes if caches else 0.0)
        latency = max(float(round(known * size**0.25 * factor((0.8, 1.25)))), latency + 1.0)   # wires: with the side of the array, half of it seen (assumption)
        caches.append(replace(level, capacity_bytes=capacity, latency_cycles=latency,
                              outstanding=None if level.outstanding is None else max(1, round(level.outstanding * factor((0.5, 2.0))))))
    clock = base.clock_hz * factor(CLOCK)
    far = base.latencies[-1] / base.clock_hz * factor(MEMORY)
    bits = int(rng.choice(VECTORS)) if base.isa != "riscv" else 0
    core = replace(base, key="sampled", name="sampled core", dispatch_width=width, window=window, units=units, caches=tuple(caches), clock_hz=clock,
                   memory_latency_s=max(far, 1.5 * latency / clock), memory_bandwidth_bytes_per_s=base.memory_bandwidth_bytes_per_s * factor(MEMORY),
                   frontend_cycles=float(round(base.frontend_cycles * factor((0.6, 1.6)))), vector_bits=bits, fp_pipes=max(1, round(base.fp_pipes * ratio)),
                   memory_ports=max(1, round((base.memory_ports or base.units["load"].count + base.units["store"].count) * ratio)),
                   history_branches=round(factor((8, 256))), prefetch_bytes=int(rng.choice((0, 4096, 65536))), year=None, cited={},
                   notes=f"sampled around {base.key}; not a real core, no figure is published")
    return replace(core, key=f"sampled_{core.digest[:10]}")


def _unit(unit: Unit, ratio: float, slower: float) -> Unit:
    """More or fewer of them with the width; latency apart."""
    latency = max(1.0, float(round(unit.latency_cycles * slower)))
    return replace(unit, count=max(1, round(unit.count * ratio)), latency_cycles=latency, chain_cycles=min(unit.chain_cycles, latency))
