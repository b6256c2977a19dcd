"""Energy and power while something runs: NVML for NVIDIA GPUs, RAPL for processors, or a plain word on why neither is to be had.

Counters are read before and after a window of at least `WINDOW_S`: RAPL's counter moves about every millisecond and covers the whole package, idle cores and all
(Intel SDM vol. 3, 15.10); NVML's total energy counts in millijoules and is renewed about ten times a second on data-centre GPUs (NVML API reference;
Yang et al., "Part-time power measurements", SC 2024).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .machine import State

#: shortest window that is believed
WINDOW_S = 1.0
_RAPL = Path("/sys/class/powercap")
#: NVML renews its energy about so often (Yang et al., cited above)
_NVML_TICKS_S = 0.1


@dataclass(frozen=True)
class Meter:
    """A counter of joules: `read()` gives the joules so far (`wrap_j`: where it starts again; `ticks_s`: how seldom it is renewed, 0: always); None with
    the reason `why` where there is none."""

    name: str
    read: Callable[[], float] | None
    why: str = ""
    wrap_j: float = 0.0
    state: Callable[[], State] | None = None
    ticks_s: float = 0.0

    @property
    def available(self) -> bool:
        """Whether energy can be read."""
        return self.read is not None


@dataclass(frozen=True)
class Drawn:
    """Joules of one call and mean watts over a window of `window_s` seconds and `calls` calls."""

    energy_j: float
    power_w: float
    window_s: float
    calls: int


def meter(device: str, uuid: str = "") -> Meter:
    """The energy counter of "cpu" or "cuda" on this machine; `uuid` names the GPU that computes, else it is the first one that CUDA_VISIBLE_DEVICES shows."""
    return _nvml(uuid) if device.startswith("cuda") else _rapl()


def _rapl(root: Path = _RAPL) -> Meter:
    if not root.is_dir():
        return Meter("", None, f"not available: this system has no {root} (a virtual machine, or no RAPL driver)")
    packages = [p for p in sorted(root.glob("*rapl:*")) if p.name.count(":") == 1 and "mmio" not in p.name and (p / "energy_uj").exists()]
    if not packages:
        return Meter("", None, f"not available: no package energy counter below {root}")
    try:
        ranges = [float((p / "max_energy_range_uj").read_text(encoding="ascii")) / 1e6 for p in packages]
        read = lambda: sum(float((p / "energy_uj").read_text(encoding="ascii")) for p in packages) / 1e6  # noqa: E731
        read()
    except PermissionError:
        return Meter("", None, f"not available: {packages[0] / 'energy_uj'} may be read by root only")
    except (OSError, ValueError) as error:
        return Meter("", None, f"not available: {error}")
    # several packages wrap at different times: only one may wrap within a window, so the smallest range is what comes back
    return Meter(f"RAPL, {len(packages)} package{'s' * (len(packages) > 1)}", read, "", min(ranges))


def _nvml(uuid: str = "") -> Meter:
    try:
        import pynvml
    except ImportError:
        return Meter("", None, "not available: NVML's Python module is not installed (pip install nvidia-ml-py)")
    try:
        pynvml.nvmlInit()
        handle = _gpu(pynvml, uuid or os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip())
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        return Meter("", None, f"not available: NVML says {error}")

    def told(ask: Callable[[], float]) -> float | None:
        try:
            return float(ask())
        except pynvml.NVMLError:
            return None

    def state() -> State:
        clock = told(lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM))
        return State(None if clock is None else 1e6 * clock, told(lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)))

    return Meter("NVML total energy", lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3, state=state, ticks_s=_NVML_TICKS_S)


def _gpu(nvml: Any, name: str) -> Any:
    """NVML's handle of a GPU by its UUID (with or without `GPU-`, as torch says it), its number, or the first one. NVML numbers by PCI bus, CUDA by speed
    unless CUDA_DEVICE_ORDER says otherwise, so a number is only trusted where nobody gives a UUID."""
    if name.isdigit() or not name:
        return nvml.nvmlDeviceGetHandleByIndex(int(name or 0))
    return nvml.nvmlDeviceGetHandleByUUID(name if name.startswith(("GPU-", "MIG-")) else f"GPU-{name}")


def drawn(counter: Meter, run: Callable[[int, int], float], once_s: float, window_s: float = WINDOW_S) -> Drawn | None:
    """Energy of a call from a window of at least `window_s` (never less than `WINDOW_S`); None where there is no counter.

    `run(first, count)` makes so many calls and waits for them; `once_s`: about how long one takes.
    """
    if counter.read is None:
        return None
    window_s = max(window_s, WINDOW_S)
    batch = max(1, int(0.1 * window_s / max(once_s, 1e-7)))
    if counter.ticks_s:  # the window begins and ends where the counter has just been renewed
        _until_it_moves(counter, run, once_s)
    calls, before, begin = 0, counter.read(), time.perf_counter()
    while (spent := time.perf_counter() - begin) < window_s:
        run(calls, batch)
        calls += batch
    if counter.ticks_s:
        calls += _until_it_moves(counter, run, once_s)
    joules = counter.read() - before
    spent = time.perf_counter() - begin
    if joules < 0.0:
        joules += counter.wrap_j
    return Drawn(joules / calls, joules / spent, spent, calls) if joules > 0.0 else None


def _until_it_moves(counter: Meter, run: Callable[[int, int], float], once_s: float) -> int:
    """Calls made until the counter shows another number, or twice its period is over."""
    assert counter.read is not None
    seen, begin, calls = counter.read(), time.perf_counter(), 0
    some = max(1, int(0.02 * counter.ticks_s / max(once_s, 1e-7)))
    while counter.read() == seen and time.perf_counter() - begin < 2.0 * counter.ticks_s:
        run(calls, some)
        calls += some
    return calls
