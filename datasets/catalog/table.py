"""The catalogue as one markdown table, for docs/hardware.md."""

from __future__ import annotations

from collections.abc import Iterable

from ..hardware import Hardware

#: dtypes shown, widest first, and how the table abbreviates them
SHOWN = {"float64": "fp64", "float32": "fp32", "tfloat32": "tf32", "bfloat16": "bf16", "float16": "fp16", "float8": "fp8", "float4": "fp4",
         "int16": "int16", "int8": "int8", "int4": "int4"}

HEAD = ("key", "device", "kind", "year", "units", "clock", "peak matrix rate, Top/s", "memory", "power limit")


def markdown(devices: Iterable[Hardware]) -> str:
    """A markdown table, one row per device in the order given; a figure nobody published is an empty cell."""
    rows = [HEAD, ("---",) * len(HEAD), *(_row(d) for d in devices)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _row(d: Hardware) -> tuple[str, ...]:
    rates = ", ".join(f"{short} {d.matrix_rate[name] / 1e12:.5g}" for name, short in SHOWN.items() if name in d.matrix_rate)
    if d.array:
        rates += f"{'; ' if rates else ''}{d.array.count} x {d.array.rows} x {d.array.cols} MACs ({d.array.dataflow})"
    if d.fabric:
        rates += f"{'; ' if rates else ''}{d.fabric.dsp} DSP, {d.fabric.lut} LUT"
    memory = f"{_bytes(d.dram.capacity_bytes)}, {d.dram_bandwidth / 1e9:.4g} GB/s"
    return (f"`{d.key}`", d.name, d.kind, str(d.year or ""), str(d.units), f"{d.clock_hz / 1e6:.4g} MHz", rates, memory,
            f"{d.tdp_w:.4g} W" if d.tdp_w else "")


def _bytes(size: float) -> str:
    for unit, factor in (("TiB", 2.0**40), ("GiB", 2.0**30), ("MiB", 2.0**20)):
        if size >= factor:
            return f"{size / factor:.4g} {unit}"
    return f"{size / 2.0**10:.4g} KiB"
