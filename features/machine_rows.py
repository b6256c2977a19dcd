"""n machines, one for each operator, with what nobody published filled in as the simulator fills it: what the bounds compute on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..datasets.columns import DeviceColumns
from ..datasets.dram import DRAM_J_PER_BYTE
from ..datasets.dtypes import DTYPE_CODES
from ..datasets.hardware import KINDS
from ..datasets.simulator import technology as tech
from ..datasets.simulator.machine import VOLTAGE_FLOOR

#: stands in for a figure nobody published, in the geometric middle of the catalogue's GPUs; the domain flag says so
TYPICAL: Mapping[str, float] = {
    "units": 100.0, "clock_hz": 1.7e9, "dram_bandwidth": 1.5e12, "dram_bytes": 4e10, "cache_bytes": 3e7, "local_bytes": 1.5e7,
    "tdp_w": 300.0, "process_nm": 7.0, "array_count": 1.0, "array_rows": 1.0, "array_cols": 1.0,
}
_TYPICAL_MATRIX_RATE, _TYPICAL_VECTOR_RATE = 2e14, 2e13
_FLOAT16, _FLOAT32 = DTYPE_CODES["float16"], DTYPE_CODES["float32"]
_GPU, _CPU = KINDS.index("gpu"), KINDS.index("cpu")


@dataclass(frozen=True)
class MachineRows:
    """(n,) figures of the machine under each of n operators; rates are those of the operator's own number format. No NaN but `static_w`'s."""

    kind: np.ndarray
    units: np.ndarray
    clock_hz: np.ndarray
    matrix_rate: np.ndarray
    vector_rate: np.ndarray
    float32_rate: np.ndarray       # of vector units
    special_rate: np.ndarray       # exponentials a second beside other vector work; inf: they are vector work
    dram_bandwidth: np.ndarray     # of the data sheet
    cache_bytes: np.ndarray
    cache_bandwidth: np.ndarray    # sustained
    port_bandwidth: np.ndarray     # that one processor draws from the last cache
    local_bytes: np.ndarray        # of one processor
    local_bandwidth: np.ndarray    # of one processor
    launch_s: np.ndarray
    fill_s: np.ndarray
    trip_s: np.ndarray
    matrix_j: np.ndarray           # J per operation on matrix units, in the operator's format
    vector_j: np.ndarray
    float32_j: np.ndarray          # J per operation of vector work in FP32
    mac_j: np.ndarray              # of the bare multiply-add
    dram_j: np.ndarray             # J/B
    cache_j: np.ndarray
    local_j: np.ndarray
    static_w: np.ndarray
    limit_w: np.ndarray            # inf where none is published

    @classmethod
    def of(cls, devices: DeviceColumns, dtype: np.ndarray, element: np.ndarray, computed: np.ndarray) -> MachineRows:
        """From n machines; `dtype` (n,) codes of the operators' formats, `element` (n,) their bytes, `computed` (n,) codes that arithmetic is done in."""
        d = {name: filled(getattr(devices, name), value) for name, value in TYPICAL.items()}
        rows = np.arange(len(dtype))
        gpu, cpu, plain = devices.kind == _GPU, devices.kind == _CPU, devices.dataflow < 0
        units, clock = d["units"], d["clock_hz"]
        matrix_rate, vector_rate = filled(devices.matrix_rate[rows, dtype], _TYPICAL_MATRIX_RATE), filled(devices.vector_rate[rows, dtype], _TYPICAL_VECTOR_RATE)
        cache = np.where(np.isfinite(devices.cache_bytes), devices.cache_bytes, np.where(np.isfinite(devices.tdp_w), 0.0, TYPICAL["cache_bytes"]))
        guess = np.maximum(units * clock * tech.CACHE_BYTES_PER_CLOCK, 2.0 * d["dram_bandwidth"])
        cache_bandwidth = np.where(np.isfinite(devices.cache_bandwidth), devices.cache_bandwidth, guess) * np.where(gpu, tech.CACHE_EFFICIENCY, 1.0)
        local_bytes = np.where(np.isfinite(devices.local_bytes), devices.local_bytes / units, 64e3)
        local_bandwidth = filled(devices.local_bandwidth / units, 0.0)
        # energies: of the node, at the voltage that the published clock asks for, and of a core's pipeline (`simulator.machine`)
        node = filled(devices.process_nm, tech.DEFAULT_NODE_NM)
        voltage = np.where(gpu & plain, _voltage(clock, node), 1.0)
        macs = tech.mac_j(node) * (np.where(cpu & plain, tech.CORE_OVER_GPU, 1.0) * voltage**2)[:, None]
        mac = np.where(np.isfinite(devices.mac_j), devices.mac_j, macs[rows, computed])
        half = np.where(np.isfinite(devices.mac_j), devices.mac_j, macs[:, _FLOAT16])
        on_matrix = mac / 2.0 + (tech.PIPELINE_OVER_MAC["matrix"] - 1.0) * half / 2.0 * (element / 2.0)
        on_vector = mac / 2.0 * tech.PIPELINE_OVER_MAC["vector"]
        own = matrix_rate > 1.01 * vector_rate
        return cls(
            kind=devices.kind, units=units, clock_hz=clock, matrix_rate=matrix_rate, vector_rate=vector_rate, float32_rate=filled(devices.vector_rate[:, _FLOAT32], _TYPICAL_VECTOR_RATE),
            special_rate=np.where(gpu, units * clock * tech.SPECIAL_PER_CLOCK, np.inf), dram_bandwidth=d["dram_bandwidth"], cache_bytes=cache, cache_bandwidth=cache_bandwidth,
            port_bandwidth=np.maximum(tech.PORT_BYTES_PER_CLOCK * clock, cache_bandwidth / units), local_bytes=local_bytes,
            local_bandwidth=np.where(local_bandwidth > 0, local_bandwidth, 128.0 * clock),
            launch_s=np.where(np.isfinite(devices.launch_s), devices.launch_s, np.array([tech.LAUNCH_S[k] for k in KINDS])[devices.kind]),
            fill_s=np.array([tech.FILL_CLOCKS[k] for k in KINDS])[devices.kind] / clock, trip_s=np.array([tech.TRIP_CLOCKS[k] for k in KINDS])[devices.kind] / clock,
            matrix_j=np.where(own, on_matrix, on_vector), vector_j=on_vector, float32_j=macs[:, _FLOAT32] / 2.0 * tech.PIPELINE_OVER_MAC["vector"], mac_j=mac,
            dram_j=filled(devices.dram_j_per_byte, DRAM_J_PER_BYTE["hbm"]), cache_j=tech.sram_j_per_byte(np.full(len(dtype), 1e6), node) * voltage**2,
            local_j=tech.sram_j_per_byte(local_bytes, node) * voltage**2, static_w=np.where(np.isfinite(devices.idle_w), devices.idle_w, tech.STATIC_SHARE * filled(devices.tdp_w, 0.0)),
            limit_w=np.where(np.isfinite(devices.tdp_w), devices.tdp_w, np.inf))

    def take(self, index: np.ndarray) -> MachineRows:
        """The rows `index`."""
        return MachineRows(**{name: values[index] for name, values in vars(self).items()})


def filled(values: np.ndarray, typical: float | np.ndarray) -> np.ndarray:
    """(n,) values with `typical` where there is none."""
    return np.where(np.isfinite(values), values, typical)


def _voltage(clock_hz: np.ndarray, node_nm: np.ndarray) -> np.ndarray:
    """`technology.clock_voltage` of n machines."""
    nodes, clocks = (np.array(c) for c in zip(*sorted(tech.NODE_CLOCK_HZ), strict=True))
    return np.maximum(clock_hz / np.interp(node_nm, nodes, clocks), VOLTAGE_FLOOR)
