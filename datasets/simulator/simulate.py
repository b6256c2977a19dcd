"""The reference answer: a workload on machines, per op and per graph.

The story of one call: fuse -> cost of every kernel on every machine (mapping search) -> power limit -> sum over the graph ->
measurements. Nothing is random; `SIMULATOR_VERSION` is part of every measurement and changes when an answer does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .. import catalog
from ..columns import OpColumns
from ..dtypes import BITS
from ..errors import InputError, UnknownNameError
from ..hardware import Hardware
from ..measurement import Measurement, Query
from ..ops import COLLECTIVES, KIND_CODES
from ..workload import Workload
from . import technology as tech
from .area import array_area
from .costs import LIMITS, OBJECTIVES, OpCosts
from .fpga import fpga_design
from .kernels import FusedGraph, Kernels, fuse
from .machine import Machines
from .memory_tiers import HARDWIRED, placement, streamed_latency_s, without_weight_traffic
from .pim import with_banks
from .power import capped
from .spatial import ARRAY_MAPPINGS, spatial_costs
from .throughput import GEMM_MAPPINGS, throughput_costs

SIMULATOR_VERSION = "5"
#: kernels x machines x mappings scored at once; a search holds about 30 float64 arrays of this many cells (16 MB)
SEARCH_CELLS = 2**16


@dataclass(frozen=True)
class Simulation:
    """One workload on one machine: graph totals in `values` (target -> SI), and per op (V,) arrays.

    `op_latency_s` and `op_energy_j` sum to the totals; a fused op's share is zero, its kernel carries it. `op_limit` names what held
    each kernel back. `infeasible` says why the machine cannot run it ("" when it can). `energy_parts_j`: joules of arithmetic, of each kind of memory, and
    static, which sum to the energy; empty where the machine model does not tell them apart.
    """

    workload: Workload
    hardware: Hardware
    values: dict[str, float]
    op_latency_s: np.ndarray
    op_energy_j: np.ndarray
    op_dram_bytes: np.ndarray
    op_limit: tuple[str, ...]
    infeasible: str = ""
    energy_parts_j: dict[str, float] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """What stood in for figures the machine does not have, in words."""
        key, out = self.hardware.key, []
        for dtype in sorted({op.dtype for op in self.workload.ops if op.counts["matrix_flops"] > 0}):
            priced = self.hardware.computed_in(dtype)
            if BITS[priced] < BITS[dtype]:
                out.append(f"{key} has no {dtype} arithmetic: priced at its {priced} rate")
        if self.hardware.idle_w is None:
            share = f"{tech.STATIC_SHARE:g} of the power limit" if self.hardware.tdp_w else f"{tech.STATIC_OVER_DYNAMIC:g} of dynamic power (no power limit is published either)"
            out.append(f"{key} has no published idle power: static power is taken as {share}")
        if self.hardware.array and self.hardware.area_mm2 is None:
            area = array_area(self.hardware)
            said = f"is not known: nothing is published for {', '.join(area.missing)}" if area.missing else f"is a sum of parts: {'; '.join(area.assumed)}" if area.assumed else ""
            out += [f"the area of {key} {said}"] * bool(said)
        return tuple(out)

    @property
    def measurement(self) -> Measurement:
        """The answer as a measurement; the simulator's version is its source."""
        return Measurement(Query(self.workload, self.hardware), self.values, f"simulated:{SIMULATOR_VERSION}", infeasible=self.infeasible)


def simulate(workload: Workload, hardware: Hardware | str, objective: str = "latency") -> Simulation:
    """The reference simulator's answer for one workload on one machine (a catalogue name will do).

    `objective`: what the search for mappings minimises: latency, energy, or edp (their product). Raises InputError for anything else,
    UnknownNameError for an unknown name.
    """
    if isinstance(hardware, str):
        hardware = catalog.hardware(hardware)
    if not isinstance(workload, Workload) or not isinstance(hardware, Hardware):
        raise InputError(f"simulate: expected a Workload and a Hardware or its name, got {type(workload).__name__} and {type(hardware).__name__}")
    return simulate_many(workload, [hardware], objective)[0]


def simulate_many(workload: Workload, devices: Sequence[Hardware], objective: str = "latency") -> list[Simulation]:
    """One workload on each of the machines, in order; machines of one style are computed at once. `objective` as in `simulate`."""
    if objective not in OBJECTIVES:
        raise UnknownNameError("objective", objective, OBJECTIVES)
    between = next((op for op in workload.ops if op.kind in COLLECTIVES), None)
    if between is not None:
        raise InputError(f"simulate: {workload.name!r}: op {between.name!r} is a collective ({between.kind}); expected work of one machine, since a collective's cost is "
                         "that of a cluster's network (see collective)")
    graph = fuse(workload)
    answers: dict[int, Simulation] = {}
    for style, members in _by_style(devices).items():
        machines = Machines.of([devices[i] for i in members])
        if style == "fabric":
            answers |= {i: _on_fabric(workload, devices[i], graph, machines, at) for at, i in enumerate(members)}
            continue
        here = [devices[i] for i in members]
        kernels = without_weight_traffic(graph.unique) if style.endswith(HARDWIRED) else graph.unique
        costs = capped(with_banks(_costs(style, kernels, machines, objective), kernels, machines, here, objective=objective), machines)
        answers |= {i: _total(workload, devices[i], graph, costs, machines, at) for at, i in enumerate(members)}
    return [answers[i] for i in range(len(devices))]


def simulate_ops(ops: OpColumns, devices: Sequence[Hardware], objective: str = "latency") -> OpCosts:
    """(n, D) costs of lone, cold ops, each launched by itself (launch overhead included in `time_s`).

    For tables of single kernels. Machines with a fabric are not supported here (a lone op is not an FPGA design): ValueError.
    """
    if np.isin(ops.kind, [KIND_CODES[k] for k in COLLECTIVES]).any():
        raise ValueError("simulate_ops: a collective's cost is that of a cluster's network, not of one machine")
    kernels = Kernels.cold(ops)
    parts: list[tuple[list[int], OpCosts]] = []
    for style, members in _by_style(devices).items():
        if style == "fabric":
            raise ValueError("simulate_ops: an FPGA fabric runs whole designs; use simulate()")
        machines = Machines.of([devices[i] for i in members])
        here = [devices[i] for i in members]
        asked = without_weight_traffic(kernels) if style.endswith(HARDWIRED) else kernels
        costs = capped(with_banks(_costs(style, asked, machines, objective), asked, machines, here, objective=objective), machines)
        parts.append((members, replace(costs, time_s=costs.time_s + machines.launch_s)))
    order = np.argsort(np.concatenate([m for m, _ in parts]))
    return OpCosts(**{name: np.concatenate([getattr(c, name) for _, c in parts], axis=1)[:, order] for name in OpCosts.__dataclass_fields__})


def _by_style(devices: Sequence[Hardware]) -> dict[str, list[int]]:
    styles: dict[str, list[int]] = {}
    for i, device in enumerate(devices):
        wired = HARDWIRED if any(level.name == HARDWIRED for level in device.memory) else ""
        styles.setdefault("fabric" if device.fabric else ("array" if device.array else "throughput") + wired, []).append(i)
    return styles


def _costs(style: str, kernels: Kernels, machines: Machines, objective: str) -> OpCosts:
    """Kernels in slices, so that the (kernels, machines, mappings) arrays of a search stay small whatever is asked."""
    model, mappings = (spatial_costs, len(ARRAY_MAPPINGS)) if style.startswith("array") else (throughput_costs, len(GEMM_MAPPINGS))
    rows = max(1, SEARCH_CELLS // (mappings * len(machines)))
    if len(kernels) <= rows:
        return model(kernels, machines, objective)
    return OpCosts.stack([model(kernels.take(np.arange(at, min(at + rows, len(kernels)))), machines, objective) for at in range(0, len(kernels), rows)])


def _total(workload: Workload, hardware: Hardware, graph: FusedGraph, costs: OpCosts, machines: Machines, at: int) -> Simulation:
    times = costs.time_s[graph.inverse, at] + machines.launch_s[at]
    dynamic = costs.dynamic_j[graph.inverse, at]
    home = placement(workload.weight_bytes, workload.peak_activation_bytes, hardware)
    latency = streamed_latency_s(float(times.sum()), home)  # weights from behind the memory come beside the work
    dynamic = dynamic + home.streamed_j * times / times.sum()
    times = times * (latency / times.sum())
    static = machines.static_w[at]
    static_j = static * latency if np.isfinite(static) else tech.STATIC_OVER_DYNAMIC * float(dynamic.sum())
    energy = float(dynamic.sum()) + float(static_j)
    memory = workload.weight_bytes + workload.peak_activation_bytes
    ideal = float((graph.kernels.ops.matrix_flops / machines.figures.matrix_rate[at, graph.kernels.ops.dtype]).sum())
    values = {"latency_s": latency, "energy_j": energy, "power_w": energy / latency, "memory_bytes": memory,
              "dram_bytes": float(costs.dram_bytes[graph.inverse, at].sum()), "utilization": min(ideal / latency, 1.0)}
    if hardware.array:
        values["cycles"] = latency * hardware.clock_hz
    area = hardware.area_mm2 or (array_area(hardware).total_mm2 if hardware.array else None)
    if area is not None:
        values["area_mm2"] = area
    joules = {name: float(getattr(costs, f"{name}_j")[graph.inverse, at].sum()) for name in ("compute", "local", "cache", "dram")}
    parts = {name: j for name, j in joules.items() if np.isfinite(j)} | ({"backing": home.streamed_j} if home.streamed_j else {}) | {"static": float(static_j)}
    values = {name: float(v) for name, v in values.items()}
    limit = [LIMITS[code] for code in costs.limit[graph.inverse, at]]
    return Simulation(workload, hardware, values, _spread(workload, graph, times), _spread(workload, graph, dynamic + static_j * times / latency),
                      _spread(workload, graph, costs.dram_bytes[graph.inverse, at]), tuple(limit[k] for k in graph.kernel_of), home.infeasible, parts)


def _on_fabric(workload: Workload, hardware: Hardware, graph: FusedGraph, machines: Machines, at: int) -> Simulation:
    design = fpga_design(graph.kernels, machines, at)
    nothing = np.zeros(len(graph.kernels))
    if design.infeasible:
        return Simulation(workload, hardware, {}, _spread(workload, graph, nothing), _spread(workload, graph, nothing), _spread(workload, graph, nothing),
                          ("does not fit",) * len(workload.ops), design.infeasible)
    latency = design.latency_cycles / hardware.clock_hz
    dynamic = float(design.dynamic_j.sum())
    static = machines.static_w[at]
    energy = dynamic + (static * latency if np.isfinite(static) else tech.STATIC_OVER_DYNAMIC * dynamic)
    ideal = float(graph.kernels.ops.matrix_flops.sum()) / hardware.rate("int8")
    values = {"latency_s": latency, "energy_j": energy, "power_w": energy / latency, "memory_bytes": workload.weight_bytes + workload.peak_activation_bytes,
              "dram_bytes": float(sum(t.bytes for t in workload.tensors if t.producer < 0 or not t.consumers)), "utilization": min(ideal / latency, 1.0),
              "cycles": design.latency_cycles, "interval_cycles": design.interval_cycles, "lut": design.lut, "ff": design.ff, "dsp": design.dsp,
              "bram_18k": design.bram_18k, "uram": design.uram}
    share = design.cycles / design.cycles.sum()
    values = {name: float(v) for name, v in values.items()}
    return Simulation(workload, hardware, values, _spread(workload, graph, latency * share), _spread(workload, graph, energy * share),
                      _spread(workload, graph, nothing), ("compute",) * len(workload.ops))


def _spread(workload: Workload, graph: FusedGraph, per_kernel: np.ndarray) -> np.ndarray:
    """(V,) per op: a kernel's figure stands at its first op, the fused ones after it have zero."""
    out = np.zeros(len(workload.ops))
    first = np.zeros(len(per_kernel), dtype=np.int64)
    first[graph.kernel_of[::-1]] = np.arange(len(workload.ops))[::-1]
    out[first] = per_kernel
    return out
