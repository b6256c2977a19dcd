"""The memories of an array as the loop-nest search sees them: copies, capacity of one, ports in bytes a cycle, who is served."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..dram import dram_j_per_byte
from ..errors import InputError
from ..hardware import OPERANDS, Hardware, MemoryLevel
from . import technology as tech

#: where the copies of a level stand: one, one a row, one a column, one at every multiplier
ONE, PER_ROW, PER_COL, PER_UNIT = range(4)
#: bytes of a partial sum while it accumulates, unless the register made for it has a narrower word, or holds less (assumption: 32-bit sums)
SUM_BYTES = 4.0
#: weights that are wires are no memory to map to (`memory_tiers`)
HARDWIRED = "hardwired"


@dataclass(frozen=True)
class ArrayLevel:
    """One memory. Figures are of one copy: `capacity` in bytes, `read` and `write` in bytes a cycle (inf where unknown), J per byte.

    `word`: bytes that the smallest access moves.
    """

    name: str
    spread: int
    capacity: float
    read: float
    write: float
    shared_port: bool
    word: float
    read_j: float
    write_j: float
    serves: tuple[bool, bool, bool]


@dataclass(frozen=True)
class ArrayLevels:
    """One of `cores` equal arrays and its memories, innermost first; the last one serves every operand. `detailed`: the machine's file says whom its memories
    serve, which the loop-nest search needs."""

    rows: int
    cols: int
    cores: int
    dataflow: str
    skips_zeros: str
    serial_bits: str
    levels: tuple[ArrayLevel, ...]
    sum_bytes: float
    detailed: bool

    def chain(self, operand: int) -> list[int]:
        """The levels that serve an operand, innermost first."""
        return [i for i, level in enumerate(self.levels) if level.serves[operand]]


def array_levels(hardware: Hardware, voltage_square: float = 1.0) -> ArrayLevels:
    """The memories of one core: its share of every level and of the bandwidths (the outermost keeps its capacity).

    A level whose copies (`MemoryLevel.instances`, of one core) equal rows x cols, cols or rows stands at every multiplier, column or row. Energies on the chip
    are times `voltage_square`. Raises InputError for a machine without an array.
    """
    array = hardware.array
    if array is None:
        raise InputError(f"hardware {hardware.key!r}: array: expected a spatial array, got none")
    levels = []
    for at, memory in enumerate(hardware.memory):
        outer = at == len(hardware.memory) - 1
        spread = ONE if outer else _spread((memory.instances or 1) // array.count, array.rows, array.cols)
        copies = array.count * {ONE: 1, PER_UNIT: array.rows * array.cols, PER_COL: array.cols, PER_ROW: array.rows}[spread]
        read = memory.bandwidth_bytes_per_s / hardware.clock_hz / copies if memory.bandwidth_bytes_per_s else np.inf
        write = memory.write_bandwidth_bytes_per_s / hardware.clock_hz / copies if memory.write_bandwidth_bytes_per_s else read
        read_j = memory.read_j_per_byte if memory.read_j_per_byte is not None else _energy(hardware, memory, copies, outer)
        volts = 1.0 if outer else voltage_square
        levels.append(ArrayLevel(memory.name, spread, np.inf if outer else memory.capacity_bytes / copies, read, write, memory.shared_port, memory.word_bytes or 0.0,
                                 read_j * volts, (memory.write_j_per_byte or read_j) * volts,
                                 tuple(outer or not memory.serves or o in memory.serves for o in OPERANDS)))  # type: ignore[arg-type]
    sums = next((level.word or level.capacity for level in levels if level.serves == (False, False, True)), SUM_BYTES)
    return ArrayLevels(array.rows, array.cols, array.count, array.dataflow, array.skips_zeros, array.serial_bits, tuple(levels), min(SUM_BYTES, sums),
                       any(level.serves and level.name != HARDWIRED for level in hardware.memory[:-1]))


def _spread(copies: int, rows: int, cols: int) -> int:
    if copies == rows * cols > 1:
        return PER_UNIT
    return PER_COL if copies == cols > 1 else PER_ROW if copies == rows > 1 else ONE


def _energy(hardware: Hardware, memory: MemoryLevel, copies: int, outer: bool) -> float:
    if outer:
        return float(dram_j_per_byte(memory.name))
    return float(tech.sram_j_per_byte(np.array(memory.capacity_bytes / copies), np.array(hardware.process_nm or tech.DEFAULT_NODE_NM)))
