"""Units at the border: the one place where a figure with a unit becomes SI, or leaves it.

Inside silicast every quantity is SI and carries its unit in its name. The table is deliberately small: a unit that is
not here is an error, not a guess. Decimal prefixes are powers of ten (GB = 1e9 B), binary ones powers of two (GiB).
"""

from __future__ import annotations

import math
from typing import Any

from .errors import UnitError

#: quantity -> {unit: factor to SI}
UNITS: dict[str, dict[str, float]] = {
    "time": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0},
    "energy": {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "nJ": 1e-9, "pJ": 1e-12, "kJ": 1e3, "MJ": 1e6, "mWh": 3.6, "Wh": 3.6e3, "kWh": 3.6e6},
    "power": {"W": 1.0, "mW": 1e-3, "kW": 1e3},
    "bytes": {
        "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
        "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "bit": 0.125, "Mb": 1.25e5,
    },
    "bandwidth": {"B/s": 1.0, "kB/s": 1e3, "MB/s": 1e6, "GB/s": 1e9, "TB/s": 1e12, "KiB/s": 2.0**10, "MiB/s": 2.0**20, "GiB/s": 2.0**30},
    "rate": {"op/s": 1.0, "Gop/s": 1e9, "Top/s": 1e12, "Pop/s": 1e15,
             **{f"{prefix}{name}": factor for prefix, factor in (("M", 1e6), ("G", 1e9), ("T", 1e12), ("P", 1e15)) for name in ("FLOPS", "FLOP/s", "OPS")}},
    "frequency": {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9},
    "energy_per_byte": {"J/B": 1.0, "pJ/B": 1e-12, "pJ/bit": 8e-12},
    "length": {"m": 1.0, "nm": 1e-9},
    "area": {"mm2": 1.0, "um2": 1e-6},
    "count": {"1": 1.0, "count": 1.0},
    "fraction": {"1": 1.0, "%": 0.01},
    "throughput": dict.fromkeys(("tok/s", "1/s", "req/s", "samples/s", "images/s", "img/s", "inf/s", "fps", "FPS"), 1.0),
}


def to_si(value: Any, unit: str, quantity: str, where: str) -> float:
    """`value` in `unit` as a float in the SI unit of `quantity`.

    Raises UnitError (naming `where`, a file and field path) when the unit does not measure the quantity or the value
    is not a finite number.
    """
    known = UNITS[quantity]
    if unit not in known:
        others = [q for q, units in UNITS.items() if unit in units]
        measures = f" measures {others[0]}" if others else " is unknown"
        raise UnitError(f"{where}: unit {unit!r}{measures}; expected a unit of {quantity}: {', '.join(known)}")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UnitError(f"{where}: expected a finite number of {unit}, got {value!r}")
    return float(value) * known[unit]
