"""The instructions of a program graph: LLVM text taken apart, and what each costs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .hls_gexf import INSTRUCTION, GraphNode

#: (function, number)
Block = tuple[int, int]
#: what an index that is data, not a counter, is said to grow with
DATA = "[data]"
_TEXT = re.compile(r"(?:(%[\w.$-]+) = )?(?:(?:tail |musttail |notail )?)(\w+)\b(.*)", re.DOTALL)
_NAME = re.compile(r"[%@][\w.$-]+")
#: the whole number that ends an instruction, attributes aside
LAST_NUMBER = re.compile(r"(?<![\w-])(-?\d{1,18})(?=\s*(?:$|,\s*!|,\s*align))")
#: the type of one element that is loaded or stored
ELEMENT = re.compile(r"\b(double|float|half|i\d+)\b")
CASTS = frozenset({"sext", "zext", "trunc", "bitcast"})
FLOAT_OPS = {"fadd": 1, "fsub": 1, "fmul": 1, "fneg": 1, "fdiv": 4, "frem": 4}
INT_OPS = frozenset({"add", "sub", "mul", "sdiv", "udiv", "srem", "urem", "shl", "lshr", "ashr", "and", "or", "xor"})
#: functions of <math.h> that stand for arithmetic: name -> vector operations (as in `ELEMENTWISE_COST`)
MATH = {"sqrt": 4, "sqrtf": 4, "fabs": 1, "fabsf": 1, "exp": 8, "expf": 8, "log": 8, "pow": 10, "llvm.fabs.f64": 1, "llvm.sqrt.f64": 4, "llvm.fmuladd.f64": 2, "llvm.fmuladd.f32": 2}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: `result = opcode rest`."""

    key: str
    order: int
    block: Block
    result: str
    opcode: str
    rest: str
    #: names of values and globals in it, types left out
    operands: tuple[str, ...]


def parsed(nodes: list[GraphNode]) -> list[Instruction]:
    """The instructions of a graph in program order."""
    found = []
    for order, node in enumerate(n for n in nodes if n.kind == INSTRUCTION):
        match = _TEXT.match(node.text)
        if match:
            operands = tuple(n for n in _NAME.findall(match[3]) if not n.startswith(("%struct.", "%union.")))
            found.append(Instruction(node.key, order, (node.function, node.block), match[1] or "", match[2], match[3], operands))
    return found
