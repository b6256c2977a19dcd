"""The power limit: a kernel that would draw more runs at a lower clock, and takes longer."""

from __future__ import annotations

import numpy as np

#: the clock is not lowered below this share of its peak (assumption; GPUs idle far lower, but not under load)
LEAST_CLOCK = 0.4


def power_capped(time_s: np.ndarray, compute_s: np.ndarray, dynamic_j: np.ndarray, static_w: np.ndarray, limit_w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(time, dynamic energy) under the limit. Arrays broadcast; a limit of inf caps nothing, a static power of NaN counts as zero.

    Dynamic power falls with the cube of the clock (voltage follows frequency), so energy falls with its square, while `compute_s`,
    the part of the time the clock governs, grows. What still exceeds the limit is stretched until it holds.
    """
    room = limit_w - np.where(np.isfinite(static_w), static_w, 0.0)
    limited = np.isfinite(room)
    with np.errstate(divide="ignore", invalid="ignore"):
        clock = np.where(limited, np.clip(np.cbrt(room * time_s / np.maximum(dynamic_j, 1e-30)), LEAST_CLOCK, 1.0), 1.0)
    energy = dynamic_j * clock**2
    slower = np.maximum(time_s, compute_s / clock)
    return np.where(limited, np.maximum(slower, energy / np.maximum(room, 1e-9)), slower), energy
