"""The machines of one simulation as columns, with what nobody published filled in from `technology`, once per machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from ..columns import DeviceColumns
from ..hardware import Hardware
from . import technology as tech
from .array_levels import array_levels
from .kernels import RESIDENT_SHARE

#: share of the clock its figures were published for below which a machine's voltage no longer falls (assumption; GPUs under load run from about 0.7 V
#: to 1.05 V)
VOLTAGE_FLOOR = 0.65


@dataclass(frozen=True)
class Machines:
    """D machines ready to be simulated: published figures in `figures`, everything else complete (no NaN). Arrays are (D,) unless said."""

    figures: DeviceColumns
    launch_s: np.ndarray
    fill_s: np.ndarray            # from a kernel's start to its first results
    trip_s: np.ndarray            # one dependent trip to memory
    clock_s: np.ndarray           # one cycle
    port_bandwidth: np.ndarray    # B/s that one processor can draw from the last cache
    special_rate: np.ndarray      # exponentials per second beside other vector work; inf: they are vector work
    cache_bytes: np.ndarray
    cache_bandwidth: np.ndarray   # sustained
    local_bytes_per_unit: np.ndarray
    local_bandwidth_per_unit: np.ndarray
    least_clock: np.ndarray       # share of the present clock where the voltage reaches its floor
    mac_j: np.ndarray             # (D, dtypes) multiply-add at the voltage of the present clock; of a CPU core with what its pipeline takes more than a GPU's
    cache_j: np.ndarray           # J/B
    local_j: np.ndarray           # J/B
    dram_read_j: np.ndarray       # J/B
    dram_write_j: np.ndarray
    static_w: np.ndarray          # NaN: no power limit is known, static power follows dynamic
    limit_w: np.ndarray           # inf where none is published
    arrays: np.ndarray            # objects: `ArrayLevels` of one core of a machine with a spatial array, else None

    def __len__(self) -> int:
        return len(self.launch_s)

    def take(self, index: np.ndarray) -> Machines:
        """The machines `index`, in that order."""
        return Machines(figures=self.figures.take(index), **{f.name: getattr(self, f.name)[index] for f in fields(self) if f.name != "figures"})

    @classmethod
    def of(cls, devices: Sequence[Hardware]) -> Machines:
        """The machines as columns, in order."""
        parts = [_one(d) for d in devices]
        joined = {f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls) if f.name != "figures"}
        return cls(figures=DeviceColumns.concat([p.figures for p in parts]), **joined)


def static_w(h: Hardware) -> float:
    """W that flow whatever runs: the published idle power, or a share of the published power limit, at most half of the limit set (`Hardware.at`); NaN
    where neither is known."""
    if h.idle_w is not None:
        return h.idle_w
    if not h.tdp_w:
        return float("nan")
    return min(tech.STATIC_SHARE * (h.full_tdp_w or h.tdp_w), 0.5 * h.tdp_w)


@lru_cache(maxsize=65536)
def _one(h: Hardware) -> Machines:
    d = DeviceColumns.from_devices([h])
    node = np.array([h.process_nm or tech.DEFAULT_NODE_NM])
    units = d.units
    cache_bandwidth = np.where(np.isfinite(d.cache_bandwidth), d.cache_bandwidth, np.maximum(units * d.clock_hz * tech.CACHE_BYTES_PER_CLOCK, 2.0 * d.dram_bandwidth))
    cache_bandwidth = cache_bandwidth * (tech.CACHE_EFFICIENCY if h.kind == "gpu" else 1.0)
    # 128 B per clock and processor from shared memory or L1: NVIDIA Volta to Hopper whitepapers; two 64-byte loads on AVX-512 cores
    local_bandwidth = np.where(np.isfinite(d.local_bandwidth), d.local_bandwidth / units, d.clock_hz * 128.0)
    cache = np.where(np.isfinite(d.cache_bytes), d.cache_bytes, 0.0)
    if h.dram.serves == ("weights",):
        cache = cache / RESIDENT_SHARE  # activations have nowhere else to go: all of the level before holds them
    local = np.where(np.isfinite(d.local_bytes), d.local_bytes / units, 64e3)
    mac = tech.mac_j(node)
    if h.array and h.array.mac_j:
        mac = np.full_like(mac, h.array.mac_j)
    dram_j = float(d.dram_j_per_byte[0])
    inner = h.memory[:-1]

    def level_energy(level: int, bank_bytes: np.ndarray) -> np.ndarray:
        given = inner[level].read_j_per_byte if inner else None
        return np.array([given]) if given is not None else tech.sram_j_per_byte(bank_bytes, node)

    # what a lower clock than the published one does to the voltage: squared, to every energy on the chip
    share = min(h.clock_hz / h.peak_clock_hz, 1.0) if h.peak_clock_hz else 1.0
    voltage = max(share, VOLTAGE_FLOOR)
    # and what its published clock says of its voltage, or its kind of what each operation costs beside the arithmetic
    published = tech.clock_voltage(h.peak_clock_hz or h.clock_hz, float(node[0]), VOLTAGE_FLOOR) if h.kind == "gpu" and not h.array else 1.0
    core = tech.CORE_OVER_GPU if h.kind == "cpu" and not h.array else 1.0
    return Machines(
        figures=d, launch_s=np.where(np.isfinite(d.launch_s), d.launch_s, tech.LAUNCH_S[h.kind]), fill_s=tech.FILL_CLOCKS[h.kind] / d.clock_hz,
        trip_s=tech.TRIP_CLOCKS[h.kind] / d.clock_hz, clock_s=1.0 / d.clock_hz,
        port_bandwidth=np.maximum(tech.PORT_BYTES_PER_CLOCK * d.clock_hz, cache_bandwidth / units),
        special_rate=units * d.clock_hz * tech.SPECIAL_PER_CLOCK if h.kind == "gpu" else np.array([np.inf]),
        least_clock=np.array([VOLTAGE_FLOOR / voltage]),
        cache_bytes=cache, cache_bandwidth=cache_bandwidth, local_bytes_per_unit=local, local_bandwidth_per_unit=local_bandwidth,
        mac_j=mac * core * (voltage * published) ** 2, cache_j=level_energy(-1, np.maximum(cache, 1e6)) * (voltage * published) ** 2,
        local_j=level_energy(0, local) * (voltage * published) ** 2,
        dram_read_j=np.array([dram_j]), dram_write_j=np.array([h.dram.write_j_per_byte or dram_j]),
        static_w=np.array([static_w(h)], dtype=np.float64), limit_w=np.array([h.tdp_w if h.tdp_w else np.inf]),
        arrays=np.array([array_levels(h, voltage**2) if h.array else None], dtype=object))
