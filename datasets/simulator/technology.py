"""Energy and overhead constants that are not figures of one device, each with its source.

Energies per operation and per access: Jouppi et al., "Ten Lessons From Three Generations Shaped Google's TPUv4i", ISCA 2021,
table 2, which gives them for 45 nm (after Horowitz, ISSCC 2014) and 7 nm. Other nodes are interpolated, and
extrapolated, on a line in log(energy) over log(node).
"""

from __future__ import annotations

import numpy as np

from ..dtypes import DTYPE_NAMES

#: dtype -> (pJ at 45 nm, pJ at 7 nm) of one multiply plus one add. bfloat16 at 45 nm is not in the table: float16 stands in.
#: int4, int2 scale from int8 by bit width squared (multiplier area; assumption). float64 from float32 by 4 (assumption). float8 and float4: the multiplier
#: of as wide an integer (0.2 and 0.07 pJ in 8 bits) and a float16 adder (0.40 and 0.16 pJ, same table), for sums are kept in floating point (assumption).
_MAC_PJ: dict[str, tuple[float, float]] = {
    "int8": (0.23, 0.077), "int32": (3.2, 1.51), "bfloat16": (1.5, 0.32), "float16": (1.5, 0.50), "float32": (4.6, 1.69),
    "tfloat32": (1.5, 0.50), "float64": (18.4, 6.76), "float8": (0.60, 0.23), "float4": (0.45, 0.1775), "int4": (0.0575, 0.01925),
    "int16": (0.92, 0.31), "int64": (12.8, 6.04), "bool": (0.03, 0.007),
    "int2": (0.014375, 0.0048125),
}

#: bytes of an SRAM -> (pJ at 45 nm, pJ at 7 nm) per 64-bit access
_SRAM_PJ_64B: tuple[tuple[float, float, float], ...] = ((8e3, 10.0, 7.5), (32e3, 20.0, 8.5), (1e6, 100.0, 14.0))

#: energy of a whole processor pipeline per arithmetic operation, over the bare arithmetic: fetch, schedule, register files, operand
#: transport, clock tree. From data sheets: power limit less static share, over peak rate and bare multiply-add, is 3.2 to 5.2 for float16 on matrix
#: units (H100, A100, V100, MI250) and 12 to 16 for FP32 on vector units (A100, V100, H100, P100), for data-centre GPUs are built to draw their limit in
#: dense products; cards with a small limit (P4, T4, L4) lie lower, since they cannot hold their clock. Arrays: assumption.
PIPELINE_OVER_MAC = {"matrix": 4.0, "vector": 12.0, "array": 1.5}
#: the same of a CPU core, over that of a GPU: fetch, rename, reorder and retire for few lanes. From data sheets in the same way, for a CPU's power limit is what it draws under load at
#: the base clock its rates are given for: 33 to 40 for FP32 with AVX-512 (Xeon 8380, Gold 6226, Gold 6240), 46 to 85 others; the least of them
CORE_OVER_GPU = 3.0
#: (nm, Hz) clocks of the GPUs whose data sheets `PIPELINE_OVER_MAC` was taken from: P100, V100, A100, H100 (its highest). A faster GPU of the same node needs a
#: higher voltage, in proportion as in `power`, and its energies grow with the square
NODE_CLOCK_HZ = ((16.0, 1.48e9), (12.0, 1.53e9), (7.0, 1.41e9), (4.0, 1.98e9))

#: dynamic power of an FPGA over an ASIC of the same node: Kuon and Rose, "Measuring the Gap Between FPGAs and ASICs", TCAD 2007
FPGA_OVER_ASIC_POWER = 14.0

#: static power under load as a share of the power limit where a device has no published idle power (assumption)
STATIC_SHARE = 0.2
#: power limit where none is published: a machine without one is not capped, and its static power is this times dynamic (assumption)
STATIC_OVER_DYNAMIC = 0.25
#: process node where none is published (assumption)
DEFAULT_NODE_NM = 16.0

#: share of the DRAM data-sheet bandwidth that a stream of long reads reaches; BabelStream on data-centre GPUs reaches 0.85 to 0.93
#: (Deakin et al., "Evaluating attainable memory bandwidth of parallel programming models via BabelStream", 2018)
DRAM_EFFICIENCY = 0.88
#: share of a last cache's data-sheet bandwidth that reads sustain: V100 2155 of 2820 GB/s (2048 B/clk; Jia et al., "Dissecting the NVIDIA Volta GPU Architecture
#: via Microbenchmarking", 2018, as remembered)
CACHE_EFFICIENCY = 0.75
#: bytes a clock and processor of the last cache where no bandwidth is published: A100 has 5120 over 108 SMs (NVIDIA A100 whitepaper)
CACHE_BYTES_PER_CLOCK = 48.0
#: share of the peak matrix rate that the inner loop of a tuned kernel sustains (assumption; instruction issue, barriers)
MATRIX_EFFICIENCY = 0.92

# Latencies and throughputs below are cited as remembered; the papers were not read again
#: seconds from one kernel's end to the next one's start, by device kind, where none is published. GPU: back-to-back launches in one stream add about 1 us
#: (Gray, "Getting Started with CUDA Graphs", NVIDIA developer blog, 2019: 3.8 us a kernel of 2.9 us; Zhang et al., "A Study of Single and Multi-device
#: Synchronization Methods in Nvidia GPUs", IPDPS 2020: 1.08 us); others: assumption
LAUNCH_S = {"gpu": 1.0e-6, "cpu": 1.0e-6, "npu": 0.5e-6, "fpga": 0.0, "mcu": 1.0e-6, "pim": 1.0e-6, "wafer": 0.5e-6, "asic": 0.5e-6}
#: clocks of one dependent trip to DRAM. GPU: microbenchmarks find 470 to 700 without load (Luo et al., "Benchmarking and Dissecting the Nvidia Hopper GPU
#: Architecture", 2024, for A100, RTX 4090 and H100; Jia et al., "Dissecting the NVIDIA Volta GPU Architecture", 2018); others: assumption
TRIP_CLOCKS = {"gpu": 700.0, "cpu": 300.0, "npu": 100.0, "fpga": 0.0, "mcu": 10.0, "pim": 100.0, "wafer": 1000.0, "asic": 10.0}
#: clocks from a kernel's start to its first results. GPU: three dependent trips (instructions, arguments, operands) and the blocks' start and drain
#: (assumption, set with the least readings of measured kernel tables in view: 1.7 to 3 us a kernel, its launch included); others: one trip
FILL_CLOCKS = {**TRIP_CLOCKS, "gpu": 2200.0}
#: bytes a clock between the last cache and one processor (NVIDIA: 64 B/clk to each SM, Jia et al. 2018; as much on others: assumption)
PORT_BYTES_PER_CLOCK = 64.0
#: exponentials a clock and processor of a GPU beside its other arithmetic (CUDA C++ Programming Guide, throughput of native arithmetic: 16 of compute
#: capability 7.x to 9.0; FlashAttention-3, Shah et al. 2024, section 3.1, on what it means for attention)
SPECIAL_PER_CLOCK = 16.0
#: clocks of one step of an accumulation that waits for the step before: a matrix instruction 32 bytes deep takes about 33 (Sun et al., "Dissecting Tensor
#: Cores via Microbenchmarks", TPDS 2022: 24.7 to 33 on A100); eight dependent FP32 multiply-adds of 4 clocks each take as long
CHAIN_CLOCKS, CHAIN_BYTES = 33.0, 32.0


def clock_voltage(clock_hz: np.ndarray | float, process_nm: np.ndarray | float, floor: float) -> np.ndarray:
    """(n,) voltages of GPUs at their published clocks, over that of the data-centre GPUs of their nodes: as the clock, down to `floor`."""
    nodes, clocks = (np.array(c) for c in zip(*sorted(NODE_CLOCK_HZ), strict=True))
    return np.asarray(np.maximum(clock_hz / np.interp(process_nm, nodes, clocks), floor))


def mac_j(process_nm: np.ndarray) -> np.ndarray:
    """(..., dtypes) J per multiply-add at each node (nm)."""
    table = np.array([_MAC_PJ[d] for d in DTYPE_NAMES])
    return _at_node(table[:, 0], table[:, 1], np.asarray(process_nm)[..., None]) * 1e-12


def sram_j_per_byte(capacity_bytes: np.ndarray, process_nm: np.ndarray) -> np.ndarray:
    """(...) J per byte read from an SRAM bank of that size (bytes, clipped to 8 kB..1 MB: larger ones are banked)."""
    sizes, old, new = (np.array(c) for c in zip(*_SRAM_PJ_64B, strict=True))
    at = np.log(np.clip(capacity_bytes, sizes[0], sizes[-1]))
    pj45 = np.exp(np.interp(at, np.log(sizes), np.log(old)))
    pj7 = np.exp(np.interp(at, np.log(sizes), np.log(new)))
    return _at_node(pj45, pj7, process_nm) * 1e-12 / 8


def _at_node(pj45: np.ndarray, pj7: np.ndarray, node_nm: np.ndarray) -> np.ndarray:
    share = (np.log(node_nm) - np.log(7.0)) / (np.log(45.0) - np.log(7.0))
    return np.exp(np.log(pj7) + share * (np.log(pj45) - np.log(pj7)))
