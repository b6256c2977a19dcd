"""What a byte of the outermost memory costs, by memory technology.

Jouppi et al., "Ten Lessons From Three Generations Shaped Google's TPUv4i", ISCA 2021, table 2 (per 64 bits: DDR3/4 1300 pJ, HBM2 250 to
450 pJ, GDDR6 350 to 480 pJ; midpoints here; 1 MB of SRAM at 7 nm 14 pJ, for machines whose outermost memory is on the chip).
"""

from __future__ import annotations

#: memory technology -> J per byte. LPDDR is taken as half of DDR (assumption).
DRAM_J_PER_BYTE: dict[str, float] = {"hbm": 350e-12 / 8, "gddr": 415e-12 / 8, "lpddr": 650e-12 / 8, "ddr": 1300e-12 / 8, "sram": 14e-12 / 8}
#: a memory whose name says nothing is taken as DDR
DEFAULT_DRAM_J_PER_BYTE = DRAM_J_PER_BYTE["ddr"]


def dram_j_per_byte(level_name: str) -> float:
    """J per byte of the outermost memory from the technology in its name."""
    name = level_name.lower()
    for word in ("lpddr", "gddr", "hbm", "ddr", "sram"):
        if word in name:
            return DRAM_J_PER_BYTE[word]
    return DEFAULT_DRAM_J_PER_BYTE
