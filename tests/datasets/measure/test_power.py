"""Energy: a made-up RAPL folder, a counter that wraps, and a plain word where there is nothing."""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

import pytest

from silicast.datasets.measure import power
from silicast.datasets.measure.machine import State


def rapl(folder: Path, joules: float) -> Path:
    package = folder / "intel-rapl:0"
    package.mkdir(parents=True)
    (package / "energy_uj").write_text(f"{joules * 1e6:.0f}\n")
    (package / "max_energy_range_uj").write_text("262143328850\n")
    (folder / "intel-rapl:0:0").mkdir()  # a part of the package: not counted twice
    (folder / "intel-rapl:0:0" / "energy_uj").write_text("1\n")
    return folder


def test_rapl_is_read_in_joules_once_per_package(tmp_path: Path) -> None:
    meter = power._rapl(rapl(tmp_path, 12.5))
    assert meter.available
    assert meter.read is not None
    assert meter.read() == 12.5
    assert meter.wrap_j == pytest.approx(262143.32885)


def test_what_is_not_there_says_why(tmp_path: Path) -> None:
    assert "no RAPL driver" in power._rapl(tmp_path / "none").why
    assert "no package energy counter" in power._rapl(tmp_path).why
    assert power.drawn(power.Meter("", None, "not available"), lambda a, b: 0.0, 1.0) is None
    if not power.meter("cuda").available:
        assert power.meter("cuda").why.startswith("not available")


def test_power_is_joules_over_the_window_and_a_counter_may_wrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that steps by 0.25 s, 50 W, 20 calls in the window; the counter starts again at 100 J."""
    now = itertools.count(0.0, 0.25)
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    counter = iter([90.0, 90.0 + 50.0 * 1.5 - 100.0])
    made: list[int] = []
    found = power.drawn(power.Meter("made up", lambda: next(counter), wrap_j=100.0), lambda first, count: float(made.append(count) or 0), once_s=0.02)
    assert found is not None
    assert found.window_s >= power.WINDOW_S
    assert found.power_w * found.window_s == pytest.approx(75.0)
    assert found.energy_j == pytest.approx(75.0 / sum(made))


def test_a_window_ends_where_a_slow_counter_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A counter of 50 W that is renewed every 0.1 s, calls of 2 ms: read at any moment the window would be off by up to 5 J of 50."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def run(first: int, count: int) -> float:
        now[0] += 0.002 * count
        return 0.0

    for start in (0.0, 0.013, 0.055, 0.097):
        now[0] = start
        found = power.drawn(power.Meter("slow", lambda: 50.0 * int(now[0] / 0.1 + 1e-9) * 0.1, ticks_s=0.1), run, once_s=0.002)
        assert found is not None
        assert found.window_s >= power.WINDOW_S
        assert found.power_w == pytest.approx(50.0, rel=0.005)


class Nvml:
    """As much of pynvml as is asked, with a clock that it does not tell."""

    NVMLError = RuntimeError
    NVML_CLOCK_SM = NVML_TEMPERATURE_GPU = 0

    def __init__(self) -> None:
        self.asked: list[object] = []

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        self.asked.append(index)
        return 7

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        self.asked.append(uuid)
        return 7

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> float:
        return 1500.0 * (handle == 7)

    def nvmlDeviceGetClockInfo(self, handle: int, kind: int) -> int:
        raise RuntimeError("Not Supported")

    def nvmlDeviceGetTemperature(self, handle: int, kind: int) -> int:
        return 51


@pytest.mark.parametrize(("uuid", "visible", "asked"), [("", "", 0), ("", "3,1", 3), ("", "GPU-aa", "GPU-aa"), ("aa-bb", "3", "GPU-aa-bb"), ("MIG-c", "", "MIG-c")])
def test_the_gpu_that_computes_is_the_one_that_is_asked(monkeypatch: pytest.MonkeyPatch, uuid: str, visible: str, asked: object) -> None:
    nvml = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    meter = power.meter("cuda", uuid)
    assert nvml.asked == [asked]
    assert meter.read is not None
    assert meter.read() == 1.5
    assert meter.state is not None
    assert meter.state() == State(None, 51.0)
