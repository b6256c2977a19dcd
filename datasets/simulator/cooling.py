"""Cold machines: what cooling adds to a joule spent at a low temperature, and what a superconducting gate spends.

A chip's own energy is the simulator's answer for it; the wall plug pays `wall_plug_j`.
"""

from __future__ import annotations

import numpy as np

from ..errors import InputError

#: temperature of the room, K
ROOM_K = 300.0
#: temperature (K) -> watts of cooling per watt removed. 77 K: 9.65, 30 % of Carnot (Iwasa, Case Studies in Superconducting Magnets, as used by Min et al.,
#: CryoCache, ASPLOS 2020, and Byun et al., CryoCore, ISCA 2020). 4 K: 400 (Holmes, Ripple and Manheimer, IEEE Trans. Applied Superconductivity 23(3), 2013, give
#: 395 at 4.2 K for large plants; Ishida et al., SuperNPU, MICRO 2020, use 400).
OVERHEAD = {77.0: 9.65, 4.0: 400.0}
#: magnetic flux quantum, Wb (h / 2e, exact in the SI of 2019, rounded)
FLUX_QUANTUM_WB = 2.067833848e-15


def cooling_overhead(kelvin: float) -> float:
    """Watts of cooling per watt that a chip gives off at `kelvin`; 0 at room temperature and above.

    Between and beyond the known temperatures the cooler's share of Carnot's (T_room - T) / T is interpolated in log T and held at the ends (assumption).
    Raises InputError below 1 K, where other machines (dilution refrigerators) are at work.
    """
    if not kelvin >= 1.0:
        raise InputError(f"cooling_overhead: expected a temperature of at least 1 K, got {kelvin!r}")
    if kelvin >= ROOM_K:
        return 0.0
    known = sorted(OVERHEAD)
    efficiency = [_carnot(t) / OVERHEAD[t] for t in known]
    return _carnot(kelvin) / float(np.interp(np.log(kelvin), np.log(known), efficiency))


def wall_plug_j(chip_j: float, kelvin: float) -> float:
    """Joules drawn in all when a chip at `kelvin` spends `chip_j`."""
    return chip_j * (1.0 + cooling_overhead(kelvin))


def sfq_switching_j(critical_current_a: float, switches: float = 1.0) -> float:
    """Joules of so many 2-pi phase slips of a Josephson junction: I_c x flux quantum each (Likharev and Semenov, IEEE Trans. Applied Superconductivity 1(1), 1991).

    Bias resistors of RSFQ logic dissipate beside it; energy-efficient forms (ERSFQ) spend about this much again (assumption: not counted here).
    """
    if not critical_current_a > 0.0 or not switches >= 0.0:
        raise InputError(f"sfq_switching_j: expected a critical current > 0 A and a count >= 0, got {critical_current_a!r} and {switches!r}")
    return critical_current_a * FLUX_QUANTUM_WB * switches


def _carnot(kelvin: float) -> float:
    return (ROOM_K - kelvin) / kelvin
