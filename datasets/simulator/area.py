"""Silicon of a spatial array: its multipliers and its memories. Wires, control, links, pads and everything else of a chip are not in it, so it lies below the die.

An area that no source gives is absent, and said so; never zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..dtypes import BITS
from ..hardware import Hardware, MemoryLevel

#: dtype -> um2 at 45 nm of a multiplier and of the adder that accumulates it: the areas beside the energies of Horowitz, "Computing's Energy Problem", ISSCC 2014, as
#: tabulated by Sze et al., "Efficient Processing of Deep Neural Networks", Proc. IEEE 105(12), 2017 (8-bit multiplier 282, 32-bit 3495, 32-bit adder 137; FP16 1640 and
#: 1360; FP32 7700 and 4184). int16 and int4 lie on the power law through the 8- and 32-bit multipliers, bfloat16 is taken as float16 (assumptions)
_POWER = np.log(3495.0 / 282.0) / np.log(32.0 / 8.0)
MAC_UM2: dict[str, tuple[float, float]] = {
    "int4": (282.0 * 0.5**_POWER, 137.0), "int8": (282.0, 137.0), "int16": (282.0 * 2.0**_POWER, 137.0), "int32": (3495.0, 137.0),
    "float16": (1640.0, 1360.0), "bfloat16": (1640.0, 1360.0), "float32": (7700.0, 4184.0),
}
#: um2 of a flip-flop at 45 nm: DFF_X1 of the NanGate 45 nm Open Cell Library
FLIP_FLOP_UM2 = 4.522
MAC_NODE_NM, SUM_BITS = 45.0, 32

#: node in nm -> um2 of the densest published six-transistor SRAM cell
SRAM_CELL_UM2: dict[float, float] = {
    90.0: 1.0,       # Intel: Ghani et al., IEDM 2003
    65.0: 0.57,      # Intel: Bai et al., IEDM 2004
    45.0: 0.346,     # Intel: Mistry et al., IEDM 2007
    32.0: 0.171,     # Intel: Natarajan et al., IEDM 2008
    28.0: 0.127,     # TSMC: Wu et al., IEDM 2009
    22.0: 0.092,     # Intel: Auth et al., VLSI 2012
    16.0: 0.070,     # TSMC: Wu et al., IEDM 2013
    14.0: 0.0499,    # Intel: Karl et al., ISSCC 2015
    10.0: 0.0312,    # Intel: Auth et al., IEDM 2017
    7.0: 0.027,      # TSMC: Chang et al., ISSCC 2017
    5.0: 0.021,      # TSMC: Yeap et al., IEDM 2019
}
#: share of a memory that is cells; the rest decodes, senses and drives (assumption). Little ones, up to a few KiB a copy, are mostly periphery (assumption)
CELL_SHARE, LITTLE_CELL_SHARE, LITTLE_BYTES = 0.6, 0.2, 4096.0


@dataclass(frozen=True)
class ArrayArea:
    """mm2 by part; `total_mm2` is None while anything is `missing`, which names it. `assumed` says what was not published for the machine itself."""

    parts: dict[str, float]
    missing: tuple[str, ...]
    assumed: tuple[str, ...]

    @property
    def total_mm2(self) -> float | None:
        """The sum of the parts, mm2."""
        return None if self.missing or not self.parts else float(sum(self.parts.values()))


def sram_mm2(capacity_bytes: float, node_nm: float, copies: int = 1) -> float | None:
    """mm2 of an SRAM of that many bytes in so many copies; None outside the nodes of `SRAM_CELL_UM2`. Between nodes on a line in log over log."""
    nodes = np.array(sorted(SRAM_CELL_UM2))
    if not nodes[0] <= node_nm <= nodes[-1]:
        return None
    cell = float(np.exp(np.interp(np.log(node_nm), np.log(nodes), np.log([SRAM_CELL_UM2[n] for n in nodes]))))
    return capacity_bytes * 8.0 * cell * 1e-6 / (LITTLE_CELL_SHARE if capacity_bytes / copies <= LITTLE_BYTES else CELL_SHARE)


def mac_mm2(dtype: str, node_nm: float) -> float | None:
    """mm2 of one unit: multiplier, adder, and the registers of a systolic cell (the weight in use and the next, an input, a 32-bit sum: Jouppi et al., ISCA 2017);
    None for a dtype without a published area. Area goes with the square of the node's name (assumption: names of nodes below about 20 nm promise more than they
    shrink, so this lies low there)."""
    if dtype not in MAC_UM2:
        return None
    registers = (3 * BITS[dtype] + SUM_BITS) * FLIP_FLOP_UM2
    return float((sum(MAC_UM2[dtype]) + registers) * 1e-6 * (node_nm / MAC_NODE_NM) ** 2)


def array_area(hardware: Hardware) -> ArrayArea:
    """The area of a machine's spatial array and of its memories on the chip. A machine without an array has no parts."""
    array = hardware.array
    if array is None:
        return ArrayArea({}, ("array",), ())
    parts: dict[str, float] = {}
    missing: list[str] = []
    assumed: list[str] = []
    node = hardware.process_nm
    if node is None:
        missing.append("process")
    units = array.rows * array.cols * array.count
    dtype = max(hardware.matrix_rate, key=lambda d: (sum(MAC_UM2.get(d, (0.0,))), BITS[d]), default="")
    each = array.pe_area_mm2
    if each is None and node is not None:
        each = mac_mm2(dtype, node)
        assumed.append(f"multipliers as {dtype} multiply-add units and registers of 45 nm, scaled")
    if each is None:
        missing.append("array.pe_area" if node is None or dtype else "matrix_rate")
    else:
        parts["multipliers"] = each * units
    for level in hardware.memory[:-1]:
        area = level.area_mm2
        if area is None and node is not None:
            area = sram_mm2(level.capacity_bytes, node, _copies(level))
            assumed.append(f"{level.name} as SRAM of the densest cell of its node")
        if area is None:
            missing.append(f"memory.{level.name}.area")
        else:
            parts[level.name] = area
    return ArrayArea(parts, tuple(dict.fromkeys(missing)), tuple(assumed))


def array_area_mm2(hardware: Hardware) -> float | None:
    """mm2 of array and memories, None where a part is unknown (`array_area` says which)."""
    return array_area(hardware).total_mm2


def _copies(level: MemoryLevel) -> int:
    return level.instances or 1
