"""The machine that measures: what it is, how fast and warm it runs at the moment, and which versions measured."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from ..errors import InputError

#: last-level cache taken where the system does not tell one (assumption: larger than that of most CPUs with few cores)
UNKNOWN_CACHE_BYTES = 64 * 2**20
_VERSIONS = ("silicast", "torch", "onnxruntime", "onnx", "numpy", "nvidia-ml-py")


@dataclass(frozen=True)
class State:
    """How the machine runs at a moment; None where it does not tell. `clock_hz`: mean over cores, or the GPU's SM clock."""

    clock_hz: float | None
    temperature_c: float | None


def cpu_model() -> str:
    """The name of this machine's processor."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine() or "unknown processor"


def last_level_cache_bytes() -> int | None:
    """Bytes of the largest cache a core of this machine sees; None where the system does not tell."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        with suppress(OSError, ValueError):
            text = path.read_text(encoding="ascii").strip()
            sizes.append(int(text.rstrip("KMG")) * {"K": 2**10, "M": 2**20, "G": 2**30}.get(text[-1], 1))
    return max(sizes, default=None)


def cpu_state() -> State:
    """Clock and temperature of the processor now, from /proc/cpuinfo and /sys."""
    clocks: list[float] = []
    with suppress(OSError, ValueError):
        clocks = [float(line.partition(":")[2]) * 1e6 for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines() if line.startswith("cpu MHz")]
    degrees = []
    for path in (*Path("/sys/class/thermal").glob("thermal_zone*/temp"), *Path("/sys/class/hwmon").glob("hwmon*/temp*_input")):
        with suppress(OSError, ValueError):
            degrees.append(int(path.read_text(encoding="ascii")) / 1000.0)
    return State(sum(clocks) / len(clocks) if clocks else None, max(degrees, default=None))


def usable_threads() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """The process on its first `threads` cores, and back afterwards. Raises InputError for more threads than cores."""
    if not 1 <= threads <= usable_threads():
        raise InputError(f"--threads {threads}: expected 1 to {usable_threads()}, the cores this process may use")
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(before)[:threads]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def provenance(device: str, hardware: str, threads: int, **more: Any) -> dict[str, Any]:
    """Where a measurement comes from: machine, versions, date, revision of the code, threads."""
    versions = {}
    for name in _VERSIONS:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {"device": device, "hardware": hardware, "cpu": cpu_model(), "cores": os.cpu_count(), "threads": threads, "last_level_cache_bytes": last_level_cache_bytes(),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}", "python": platform.python_version(), "versions": versions,
            "date": datetime.now(UTC).isoformat(timespec="seconds"), "revision": revision(), **more}


def revision() -> str:
    """The revision of the code beside this file, "" outside a checkout."""
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=Path(__file__).resolve().parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
