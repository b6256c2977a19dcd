"""Clock, voltage and the power limit: a kernel that would draw more than the limit runs at a lower clock, and takes longer.

Dynamic energy of everything on the chip falls with the square of the voltage, and the voltage follows the clock down to a floor (Guerreiro et
al., "GPGPU Power Modeling for Multi-Domain Voltage-Frequency Scaling", HPCA 2018: flat at low clocks, rising above). Memory outside has its own
clock: its energy stays. Below the floor only duty falls: the same energy over a longer time.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .costs import OpCosts
from .machine import VOLTAGE_FLOOR, Machines


def power_capped(time_s: np.ndarray, compute_s: np.ndarray, dynamic_j: np.ndarray, static_w: np.ndarray, limit_w: np.ndarray,
                 fixed_j: np.ndarray | float = 0.0, least_clock: np.ndarray | float = VOLTAGE_FLOOR) -> tuple[np.ndarray, np.ndarray]:
    """(time, dynamic energy) under the limit. Arrays broadcast; a limit of inf caps nothing, a static power of NaN counts as zero.

    `compute_s`: the part of the time that the clock governs. `fixed_j`: the part of `dynamic_j` that it does not (DRAM). `least_clock`: the share
    of the present clock where the voltage reaches its floor. The clock f is the highest at which energy over time holds: (core f^2 + fixed) over the longer
    of `time_s` and `compute_s` / f.
    """
    time, compute, dynamic, static, limit, fixed, least = np.broadcast_arrays(time_s, compute_s, dynamic_j, static_w, limit_w, fixed_j, least_clock)
    room = np.maximum(limit - np.where(np.isfinite(static), static, 0.0), 1e-9)
    with np.errstate(invalid="ignore"):
        over = dynamic > room * time
    slower, energy = time.astype(np.float64), dynamic.astype(np.float64)
    if over.any():
        t, c, e, w, fix, floor = (x[over] for x in (time, compute, dynamic, room, np.minimum(fixed, dynamic), least))
        core = np.maximum(e - fix, 1e-30)
        # a kernel that waits for memory: the voltage falls, the time stays
        waiting = np.sqrt(np.maximum(w * t - fix, 0.0) / core)
        # one that computes: core f^3 + fixed f = room x compute, by Cardano
        p, q = fix / core / 3.0, w * c / core / 2.0
        root = np.sqrt(q * q + p * p * p)
        bound = np.cbrt(q + root) + np.cbrt(q - root)
        clock = np.clip(np.where(c <= waiting * t, waiting, bound), floor, 1.0)
        spent = core * clock**2 + fix
        slower[over] = np.maximum(np.maximum(t, c / clock), spent / w)
        energy[over] = spent
    return slower, energy


def capped(costs: OpCosts, machines: Machines) -> OpCosts:
    """The costs under each machine's power limit; every component of the energy but DRAM's falls with the voltage."""
    fixed = np.where(np.isfinite(costs.dram_j), costs.dram_j, 0.0)
    time, energy = power_capped(costs.time_s, costs.compute_s, costs.dynamic_j, machines.static_w, machines.limit_w, fixed, machines.least_clock)
    share = (energy - fixed) / np.maximum(costs.dynamic_j - fixed, 1e-300)
    return replace(costs, time_s=time, dynamic_j=energy, compute_j=costs.compute_j * share, local_j=costs.local_j * share, cache_j=costs.cache_j * share)
