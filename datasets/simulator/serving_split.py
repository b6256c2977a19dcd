"""Prompt and token phases on different machines (Splitwise, Patel et al., ISCA 2024; DistServe, Zhong et al., OSDI 2024).

Prompt machines read prompts and hand the cache over a link; token machines decode. Neither phase disturbs the other, and each may run on the
machine, the clock or the power limit that suits it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import InputError
from ..transformer import Transformer
from .serving import Machine, mean_decode, rig_of
from .serving_plan import ServingPlan
from .serving_step import Rig, static_w


@dataclass(frozen=True)
class SplitAnswer:
    """A split deployment at its highest rate. `transfer_s` is the hand-over of one cache, of which `exposed_transfer_s` is not hidden under the
    prefill; it delays the second token, so it counts in TPOT. `prompt_busy`, `token_busy`: shares of time the machines work."""

    model: Transformer
    ttft_s: float
    tpot_s: float
    e2e_s: float
    request_rate_per_s: float
    throughput_tok_s: float
    transfer_s: float
    exposed_transfer_s: float
    prompt_busy: float
    token_busy: float
    power_w: float
    energy_per_token_j: float
    batch: int
    infeasible: str = ""


def simulate_split(model: Transformer | str, prompt_machine: Machine, token_machine: Machine, prompt_tokens: int, output_tokens: int, batch: int,
                   link_bandwidth_bytes_per_s: float, prompt_machines: int = 1, token_machines: int = 1, prompt_plan: ServingPlan | None = None,
                   token_plan: ServingPlan | None = None, by_layer: bool = True) -> SplitAnswer:
    """`prompt_machines` read prompts one by one for `token_machines` with `batch` sequences in flight each; the slower side sets the rate.

    A cache goes over `link_bandwidth_bytes_per_s` per deployment of the plan; `by_layer`: layer after layer while the next ones compute
    (Splitwise, section 4.2), so that only what exceeds the prefill, and the last layer, is waited for. Raises InputError for sizes that
    are not positive or fewer than two output tokens (then there is nothing to split).
    """
    for name, value in (("prompt_tokens", prompt_tokens), ("output_tokens", output_tokens - 1), ("batch", batch), ("prompt_machines", prompt_machines), ("token_machines", token_machines)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"simulate_split: {name}: expected a whole number of at least {1 + (name == 'output_tokens')}, got {value + (name == 'output_tokens')!r}")
    if not (math.isfinite(link_bandwidth_bytes_per_s) and link_bandwidth_bytes_per_s > 0):
        raise InputError(f"simulate_split: link_bandwidth_bytes_per_s: expected a finite number > 0, got {link_bandwidth_bytes_per_s!r}")
    reader, writer = rig_of(model, prompt_machine, prompt_plan or ServingPlan()), rig_of(model, token_machine, token_plan or ServingPlan())
    read = reader.prefill(1, prompt_tokens - reader.plan.cached_tokens, reader.plan.cached_tokens)
    step = mean_decode(writer, math.ceil(batch / writer.plan.replicas / writer.plan.pipeline), prompt_tokens, output_tokens)
    transfer = reader.model.kv_bytes(prompt_tokens, reader.plan.cache_dtype) / link_bandwidth_bytes_per_s
    exposed = max(transfer - read.time_s, 0.0) + transfer / reader.model.layers if by_layer else transfer
    steps = output_tokens - 1
    can_read = prompt_machines * reader.plan.pipeline / read.time_s
    can_write = token_machines * batch / (steps * step.time_s + exposed)
    rate = min(can_read, can_write)
    prompt_busy, token_busy = rate / can_read, rate / can_write
    power = (prompt_machines * _power(reader, read.energy_j * reader.plan.pipeline, read.time_s, prompt_busy)
             + token_machines * _power(writer, step.energy_j * min(writer.plan.pipeline, batch), step.time_s, token_busy))
    memory = writer.memory(batch, prompt_tokens + output_tokens, batch)
    short = f"memory overflows on {writer.hardware.key}: {memory.shortfall / 1e9:,.2f} GB short for a batch of {batch}" if memory.shortfall else ""
    held = reader.memory(1, prompt_tokens, prompt_tokens)
    short = short or (f"memory overflows on {reader.hardware.key}: {held.shortfall / 1e9:,.2f} GB short for one prompt" if held.shortfall else "")
    return SplitAnswer(reader.model, read.time_s, step.time_s + exposed / steps, read.time_s + exposed + steps * step.time_s, rate, rate * output_tokens, transfer, exposed,
                       prompt_busy, token_busy, power, power / (rate * output_tokens), batch, short)


def _power(rig: Rig, busy_j: float, busy_s: float, share: float) -> float:
    """Mean W of one deployment that works `share` of the time and waits the rest."""
    return share * busy_j / busy_s + (1.0 - share) * static_w(rig.hardware) * rig.plan.devices

