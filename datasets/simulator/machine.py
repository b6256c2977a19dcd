"""The machines of one simulation as columns, with what nobody published filled in from `technology`, once per machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from ..columns import FEW_MACHINES, DeviceColumns
from ..hardware import KINDS, Hardware
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
        """The machines as columns, in order; a few of them are kept one by one."""
        if len(devices) > FEW_MACHINES:
            return _machines(devices)
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
    return _machines((h,))


#: by code of `hardware.KINDS`
_LAUNCH_S, _FILL_CLOCKS, _TRIP_CLOCKS = (np.array([table[kind] for kind in KINDS]) for table in (tech.LAUNCH_S, tech.FILL_CLOCKS, tech.TRIP_CLOCKS))
_GPU, _CPU = KINDS.index("gpu"), KINDS.index("cpu")


def _machines(devices: Sequence[Hardware]) -> Machines:
    """All at once: a design space shows thousands of machines that nobody asks about again."""
    d = DeviceColumns.from_devices(devices)
    gpu, cpu, plain = d.kind == _GPU, d.kind == _CPU, np.array([not h.array for h in devices], dtype=bool)
    node = np.array([h.process_nm or tech.DEFAULT_NODE_NM for h in devices], dtype=np.float64)
    units = d.units
    cache_bandwidth = np.where(np.isfinite(d.cache_bandwidth), d.cache_bandwidth, np.maximum(units * d.clock_hz * tech.CACHE_BYTES_PER_CLOCK, 2.0 * d.dram_bandwidth))
    cache_bandwidth = cache_bandwidth * np.where(gpu, tech.CACHE_EFFICIENCY, 1.0)
    # 128 B per clock and processor from shared memory or L1: NVIDIA Volta to Hopper whitepapers; two 64-byte loads on AVX-512 cores
    local_bandwidth = np.where(np.isfinite(d.local_bandwidth), d.local_bandwidth / units, d.clock_hz * 128.0)
    cache = np.where(np.isfinite(d.cache_bytes), d.cache_bytes, 0.0)
    cache = np.where(d.weights_apart > 0, cache / RESIDENT_SHARE, cache)  # activations have nowhere else to go: all of the level before holds them
    local = np.where(np.isfinite(d.local_bytes), d.local_bytes / units, 64e3)
    mac = np.where(d.mac_j[:, None] > 0, d.mac_j[:, None], tech.mac_j(node))
    inner = [h.memory[:-1] for h in devices]

    def level_energy(level: int, bank_bytes: np.ndarray) -> np.ndarray:
        given = np.array([levels[level].read_j_per_byte if levels else None for levels in inner], dtype=np.float64)
        return np.where(np.isnan(given), tech.sram_j_per_byte(bank_bytes, node), given)

    # what a lower clock than the published one does to the voltage: squared, to every energy on the chip
    peak = np.array([h.peak_clock_hz or h.clock_hz for h in devices], dtype=np.float64)
    voltage = np.maximum(np.minimum(d.clock_hz / peak, 1.0), VOLTAGE_FLOOR)
    # and what its published clock says of its voltage, or its kind of what each operation costs beside the arithmetic
    published = np.where(gpu & plain, tech.clock_voltage(peak, node, VOLTAGE_FLOOR), 1.0)
    core = np.where(cpu & plain, tech.CORE_OVER_GPU, 1.0)
    square = (voltage * published) ** 2
    arrays = np.empty(len(devices), dtype=object)
    for i in np.flatnonzero(~plain).tolist():
        arrays[i] = array_levels(devices[i], float(voltage[i]) ** 2)
    return Machines(
        figures=d, launch_s=np.where(np.isfinite(d.launch_s), d.launch_s, _LAUNCH_S[d.kind]), fill_s=_FILL_CLOCKS[d.kind] / d.clock_hz,
        trip_s=_TRIP_CLOCKS[d.kind] / d.clock_hz, clock_s=1.0 / d.clock_hz, port_bandwidth=np.maximum(tech.PORT_BYTES_PER_CLOCK * d.clock_hz, cache_bandwidth / units),
        special_rate=np.where(gpu, units * d.clock_hz * tech.SPECIAL_PER_CLOCK, np.inf), least_clock=VOLTAGE_FLOOR / voltage,
        cache_bytes=cache, cache_bandwidth=cache_bandwidth, local_bytes_per_unit=local, local_bandwidth_per_unit=local_bandwidth,
        mac_j=mac * core[:, None] * square[:, None], cache_j=level_energy(-1, np.maximum(cache, 1e6)) * square, local_j=level_energy(0, local) * square,
        dram_read_j=d.dram_j_per_byte.copy(), dram_write_j=np.array([h.dram.write_j_per_byte or read for h, read in zip(devices, d.dram_j_per_byte.tolist(), strict=True)], dtype=np.float64),
        static_w=np.array([static_w(h) for h in devices], dtype=np.float64), limit_w=np.array([h.tdp_w if h.tdp_w else np.inf for h in devices], dtype=np.float64), arrays=arrays)
