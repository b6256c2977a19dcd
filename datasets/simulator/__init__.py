"""The embedded reference simulator: analytical, with mapping search. `simulate(workload, hardware)` is the way in."""

from .simulate import SIMULATOR_VERSION, Simulation, simulate, simulate_many, simulate_ops

__all__ = ["SIMULATOR_VERSION", "Simulation", "simulate", "simulate_many", "simulate_ops"]
