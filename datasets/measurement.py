"""What is asked and what is known: targets with their units, the query, and the measurement that answers it."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import FormatError, InputError, UnknownNameError
from .hardware import Hardware
from .workload import Workload


@dataclass(frozen=True, slots=True)
class Target:
    """A quantity that can be forecast: its name everywhere (column, JSON key, label), its SI unit, what it is, and the
    `quantity` of `units.UNITS` its columns may be given in."""

    name: str
    unit: str
    quantity: str
    meaning: str


_LARGEST = sys.float_info.max
#: every target, by name
TARGETS: dict[str, Target] = {t.name: t for t in (
    Target("latency_s", "s", "time", "time of one run"),
    Target("energy_j", "J", "energy", "energy of one run; always power x latency"),
    Target("power_w", "W", "power", "mean power over the run"),
    Target("memory_bytes", "B", "bytes", "peak memory on the device: parameters and live activations"),
    Target("dram_bytes", "B", "bytes", "traffic to and from the outermost memory"),
    Target("utilization", "1", "fraction", "achieved fraction of the peak compute rate"),
    Target("cycles", "1", "count", "clock cycles of one run"),
    Target("instructions", "1", "count", "instructions retired in one run"),
    Target("ipc", "1", "count", "instructions per clock cycle"),
    Target("interval_cycles", "1", "count", "clock cycles between two inputs of a pipeline"),
    Target("lut", "1", "count", "look-up tables"),
    Target("ff", "1", "count", "flip-flops"),
    Target("dsp", "1", "count", "DSP slices"),
    Target("bram_18k", "1", "count", "18-kbit block RAMs"),
    Target("uram", "1", "count", "UltraRAM blocks"),
    Target("area_mm2", "mm2", "area", "silicon area"),
    Target("ttft_s", "s", "time", "time to the first token"),
    Target("tpot_s", "s", "time", "time per output token after the first"),
    Target("throughput_tok_s", "tok/s", "throughput", "tokens per second"),
)}


def target(name: str) -> Target:
    """The target of that name; raises UnknownNameError naming the nearest."""
    if name not in TARGETS:
        raise UnknownNameError("target", name, TARGETS)
    return TARGETS[name]


@dataclass(frozen=True)
class Query:
    """The only question there is: what does this workload cost on this machine, in these circumstances?

    `context` holds categorical circumstances such as framework or kernel source.
    """

    workload: Workload
    hardware: Hardware
    context: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A plain dict; `Query.from_json` gives back an equal query."""
        return {"workload": self.workload.to_json(), "hardware": self.hardware.to_json(), "context": dict(self.context)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Query:
        """Reads `to_json`; raises FormatError when a part is missing."""
        if not isinstance(data, Mapping) or not {"workload", "hardware"} <= set(data):
            raise FormatError("query document: expected the keys workload, hardware (and context)")
        context = data.get("context", {})
        if not isinstance(context, Mapping) or not all(isinstance(v, str) for v in context.values()):
            raise FormatError("query document: expected a mapping of texts under 'context'")
        return cls(Workload.from_json(data["workload"]), Hardware.from_json(data["hardware"]), dict(context))


@dataclass(frozen=True)
class Measurement:
    """A query with its answer: target values in SI, their spread (relative standard deviation, where known), and the source:
    `simulated:VERSION` or `measured:WHO`.

    `infeasible` says why the query has no answer on this machine (what overflows); then `values` may lack targets.
    Raises InputError for a value that is not finite and non-negative, or when energy is not power x latency.
    """

    query: Query
    values: Mapping[str, float]
    source: str
    spread: Mapping[str, float] = field(default_factory=dict)
    infeasible: str = ""

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            target(name)
            if not (isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _LARGEST):
                raise InputError(f"measurement of {self.query.workload.name!r}: {name} must be finite and non-negative, got {value!r}")
        if {"latency_s", "power_w", "energy_j"} <= set(self.values):
            product = self.values["latency_s"] * self.values["power_w"]
            if not math.isclose(product, self.values["energy_j"], rel_tol=1e-6):
                raise InputError(f"measurement of {self.query.workload.name!r}: energy_j = {self.values['energy_j']:.6g} is not power x latency = {product:.6g}")

    def to_json(self) -> dict[str, Any]:
        """A plain dict; `Measurement.from_json` gives back an equal measurement."""
        return {"query": self.query.to_json(), "values": dict(self.values), "source": self.source, "spread": dict(self.spread),
                "infeasible": self.infeasible}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measurement:
        """Reads `to_json`; raises FormatError when a part is missing."""
        if not isinstance(data, Mapping) or not {"query", "values", "source"} <= set(data):
            raise FormatError("measurement document: expected the keys query, values, source")
        if not isinstance(data["values"], Mapping) or not isinstance(data.get("spread", {}), Mapping):
            raise FormatError("measurement document: expected mappings under 'values' and 'spread'")
        return cls(Query.from_json(data["query"]), dict(data["values"]), str(data["source"]), dict(data.get("spread", {})), str(data.get("infeasible", "")))
