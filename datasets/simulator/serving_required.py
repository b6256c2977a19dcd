"""The question turned round: what bandwidth, what arithmetic, how many devices would meet these times?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..errors import InputError
from ..hardware import Hardware
from ..transformer import Transformer
from .serving import Machine, ServingAnswer, rig_of, simulate_serving
from .serving_plan import ServingPlan

#: a figure is not raised beyond this factor: what a thousand times the machine does not reach, no figure of that kind does
MOST = 1024.0
#: relative width at which the search for a figure ends
CLOSE = 1e-3


@dataclass(frozen=True)
class Requirement:
    """What would meet the targets, each alone, the rest of the machine as it is: None where no figure of that kind does.

    `bandwidth_bytes_per_s` of main memory, `matrix_ops_per_s` at the plan's format (matrix, vector and on-chip rates scaled together), `devices` of a
    tensor group, `memory_bytes` per device that weights, cache and activations take. `met`: as the machine stands; `now`: its answer.
    """

    met: bool
    now: ServingAnswer
    bandwidth_bytes_per_s: float | None
    matrix_ops_per_s: float | None
    devices: int | None
    memory_bytes: float


def required(model: Transformer | str, machine: Machine, prompt_tokens: int, output_tokens: int, batch: int = 1, tpot_s: float | None = None,
             ttft_s: float | None = None, plan: ServingPlan | None = None) -> Requirement:
    """What the machine would need for TPOT <= `tpot_s` and TTFT <= `ttft_s` (either may be left out).

    By bisection, as more bandwidth or arithmetic is never slower. Devices are tried in powers of two that divide the heads, on the
    cluster given (a single device cannot be joined without a link: then None unless it meets them). Raises InputError without a target.
    """
    if tpot_s is None and ttft_s is None:
        raise InputError("required: expected tpot_s, ttft_s or both, got neither")
    for name, value in (("tpot_s", tpot_s), ("ttft_s", ttft_s)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"required: {name}: expected a finite number > 0, got {value!r}")
    plan = plan or ServingPlan()
    rig = rig_of(model, machine, plan)

    def ask(hardware: Hardware, sharded: ServingPlan) -> ServingAnswer:
        where: Machine = hardware if rig.cluster is None else replace(rig.cluster, parts=tuple((hardware, n) for _, n in rig.cluster.parts))
        return simulate_serving(rig.model, where, prompt_tokens, output_tokens, batch, plan=sharded)

    def meets(answer: ServingAnswer) -> bool:
        return (tpot_s is None or answer.tpot_s <= tpot_s) and (ttft_s is None or answer.ttft_s <= ttft_s)

    now = ask(rig.hardware, plan)
    bandwidth = _least(lambda x: meets(ask(faster_memory(rig.hardware, x), plan)))
    compute = _least(lambda x: meets(ask(faster_compute(rig.hardware, x), plan)))
    most = rig.cluster.devices if rig.cluster else 1
    sizes = [n for n in (2**i for i in range(most.bit_length())) if n <= most and _divides(rig.model, n)]
    devices = next((n for n in sizes if (a := ask(rig.hardware, replace(plan, tensor=n, pipeline=1, expert=1))).infeasible == "" and meets(a)), None)
    return Requirement(meets(now) and not now.infeasible, now, None if bandwidth is None else bandwidth * rig.hardware.dram_bandwidth,
                       None if compute is None else compute * rig.hardware.rate(plan.dtype), devices, now.memory.used + now.memory.streamed)


def _divides(model: Transformer, parts: int) -> bool:
    widths = [model.heads, *([model.ffn] if model.ffn else []), *([model.moe_ffn] if model.experts else [])]
    return all(w % parts == 0 for w in widths)


def _least(holds: Callable[[float], bool]) -> float | None:
    """The least factor from 1/MOST to MOST at which `holds`, which once true stays true; None when it never is."""
    if not holds(MOST):
        return None
    low, high = math.log(1.0 / MOST), math.log(MOST)
    if holds(math.exp(low)):
        return math.exp(low)
    while high - low > CLOSE:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(math.exp(middle)) else (middle, high)
    return math.exp(high)


def faster_memory(hardware: Hardware, factor: float) -> Hardware:
    """The machine with so many times the bandwidth of its main memory."""
    outer = hardware.memory[-1]
    written = None if outer.write_bandwidth_bytes_per_s is None else outer.write_bandwidth_bytes_per_s * factor
    return replace(hardware, memory=(*hardware.memory[:-1], replace(outer, bandwidth_bytes_per_s=hardware.dram_bandwidth * factor, write_bandwidth_bytes_per_s=written)))


def faster_compute(hardware: Hardware, factor: float) -> Hardware:
    """The machine with its clock, its rates and the bandwidths of its on-chip memories so many times as high, and no power limit to hold them."""
    inner = tuple(m if m.bandwidth_bytes_per_s is None else replace(m, bandwidth_bytes_per_s=m.bandwidth_bytes_per_s * factor,
                                                                    write_bandwidth_bytes_per_s=None if m.write_bandwidth_bytes_per_s is None else m.write_bandwidth_bytes_per_s * factor)
                  for m in hardware.memory[:-1])
    return replace(hardware, clock_hz=hardware.clock_hz * factor, matrix_rate={d: r * factor for d, r in hardware.matrix_rate.items()},
                   vector_rate={d: r * factor for d, r in hardware.vector_rate.items()}, memory=(*inner, hardware.memory[-1]),
                   tdp_w=None if hardware.tdp_w is None else hardware.tdp_w * max(factor, 1.0) ** 3)
