"""The machines of one simulation as columns, with what nobody published filled in from `technology`, once per machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from ..columns import DeviceColumns
from ..hardware import Hardware
from . import technology as tech


@dataclass(frozen=True)
class Machines:
    """D machines ready to be simulated: published figures in `figures`, everything else complete (no NaN). Arrays are (D,) unless said."""

    figures: DeviceColumns
    launch_s: np.ndarray
    fill_s: np.ndarray
    cache_bytes: np.ndarray
    cache_bandwidth: np.ndarray
    local_bytes_per_unit: np.ndarray
    local_bandwidth_per_unit: np.ndarray
    mac_j: np.ndarray             # (D, dtypes) bare multiply-add
    cache_j: np.ndarray           # J/B
    local_j: np.ndarray           # J/B
    dram_read_j: np.ndarray       # J/B
    dram_write_j: np.ndarray
    static_w: np.ndarray          # NaN: no power limit is known, static power follows dynamic
    limit_w: np.ndarray           # inf where none is published

    def __len__(self) -> int:
        return len(self.launch_s)

    @classmethod
    def of(cls, devices: Sequence[Hardware]) -> Machines:
        """The machines as columns, in order."""
        parts = [_one(d) for d in devices]
        joined = {f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls) if f.name != "figures"}
        return cls(figures=DeviceColumns.concat([p.figures for p in parts]), **joined)


@lru_cache(maxsize=65536)
def _one(h: Hardware) -> Machines:
    d = DeviceColumns.from_devices([h])
    node = np.array([h.process_nm or tech.DEFAULT_NODE_NM])
    units = d.units
    # 48 B per clock and processor between the last cache and the processors: NVIDIA A100 whitepaper (5120 B/clk over 108 SMs)
    cache_bandwidth = np.where(np.isfinite(d.cache_bandwidth), d.cache_bandwidth, np.maximum(units * d.clock_hz * 48.0, 2.0 * d.dram_bandwidth))
    # 128 B per clock and processor from shared memory or L1: NVIDIA Volta to Hopper whitepapers; two 64-byte loads on AVX-512 cores
    local_bandwidth = np.where(np.isfinite(d.local_bandwidth), d.local_bandwidth / units, d.clock_hz * 128.0)
    cache = np.where(np.isfinite(d.cache_bytes), d.cache_bytes, 0.0)
    local = np.where(np.isfinite(d.local_bytes), d.local_bytes / units, 64e3)
    mac = tech.mac_j(node)
    if h.array and h.array.mac_j:
        mac = np.full_like(mac, h.array.mac_j)
    dram_j = float(d.dram_j_per_byte[0])
    inner = h.memory[:-1]

    def level_energy(level: int, bank_bytes: np.ndarray) -> np.ndarray:
        given = inner[level].read_j_per_byte if inner else None
        return np.array([given]) if given is not None else tech.sram_j_per_byte(bank_bytes, node)

    static = h.idle_w if h.idle_w is not None else (tech.STATIC_SHARE * h.tdp_w if h.tdp_w else np.nan)
    return Machines(
        figures=d, launch_s=np.where(np.isfinite(d.launch_s), d.launch_s, tech.LAUNCH_S[h.kind]), fill_s=tech.FILL_CLOCKS[h.kind] / d.clock_hz,
        cache_bytes=cache, cache_bandwidth=cache_bandwidth, local_bytes_per_unit=local, local_bandwidth_per_unit=local_bandwidth,
        mac_j=mac, cache_j=level_energy(-1, np.maximum(cache, 1e6)), local_j=level_energy(0, local),
        dram_read_j=np.array([dram_j]), dram_write_j=np.array([h.dram.write_j_per_byte or dram_j]),
        static_w=np.array([static], dtype=np.float64), limit_w=np.array([h.tdp_w if h.tdp_w else np.inf]))
