"""Figures as people read them: 0.00123 s is "1.23 ms". The one place where SI goes out to a human."""

from __future__ import annotations

import math

#: SI unit -> [(factor, name)], largest first; a figure takes the largest that leaves it at least 1
SCALES: dict[str, tuple[tuple[float, str], ...]] = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")),
    "J": ((1e3, "kJ"), (1.0, "J"), (1e-3, "mJ"), (1e-6, "uJ"), (1e-9, "nJ"), (1e-12, "pJ")),
    "W": ((1e3, "kW"), (1.0, "W"), (1e-3, "mW"), (1e-6, "uW")),
    "B": ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")),
    "B/s": ((1e12, "TB/s"), (1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s"), (1.0, "B/s")),
    "op/s": ((1e15, "Pop/s"), (1e12, "Top/s"), (1e9, "Gop/s"), (1e6, "Mop/s"), (1.0, "op/s")),
    "flop": ((1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"), (1e3, "kFLOP"), (1.0, "FLOP")),
    "Hz": ((1e9, "GHz"), (1e6, "MHz"), (1e3, "kHz"), (1.0, "Hz")),
}


def scale(value: float, unit: str) -> tuple[float, str]:
    """(factor, name) of the unit that shows `value` (in SI `unit`) with one to three digits before the point."""
    for factor, name in SCALES.get(unit, ()):
        if abs(value) >= factor * 0.9995:  # 0.9996 ms would be printed as 1000 us
            return factor, name
    return SCALES[unit][-1] if unit in SCALES and value != 0 else (1.0, "" if unit == "1" else unit)


def number(value: float) -> str:
    """Three significant digits; whole numbers from 1000 on with separators."""
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def quantity(value: float | None, unit: str) -> str:
    """`value` in SI `unit` as text: "1.23 ms", "512 MB", "1,234"; "-" where there is none."""
    if value is None or not math.isfinite(value):
        return "-"
    factor, name = scale(value, unit)
    return f"{number(value / factor)} {name}".rstrip()


def interval(point: float | None, low: float | None, high: float | None, unit: str) -> str:
    """A point with its interval in one unit: "1.23 ms [1.10, 1.38]"; the point alone where there is no interval, "-" without a point."""
    if point is None or low is None or high is None or not (math.isfinite(low) and math.isfinite(high) and math.isfinite(point)):
        return quantity(point, unit)
    factor, name = scale(point, unit)
    return f"{f'{_three(point / factor)} {name}'.rstrip()} [{_three(low / factor)}, {_three(high / factor)}]"


def _three(value: float) -> str:
    """Three significant digits with trailing zeros kept, so that the ends of an interval line up: 1.10, not 1.1."""
    if value == 0 or abs(value) >= 999.5:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 6)}f}"
