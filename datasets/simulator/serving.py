"""Serving a language model: time to first token, time per token, throughput, energy, memory, and the largest batch that fits.

    answer = simulate_serving("llama3_70b", cluster("dgx_h100"), 1024, 256, batch=32, plan=ServingPlan(tensor=8, kv_dtype="float8"))
    answer.ttft_s, answer.tpot_s, answer.throughput_tok_s, answer.memory, answer.max_batch

TPOT is (E2E - TTFT) / (output tokens - 1). The schedules:

* static: a batch of equal requests arrives at once; prefills take turns of at most `prefill_tokens`, then all decode to the end together. TTFT is
  the mean over the batch, and who is read early waits for the rest, which counts in TPOT. A closed loop of clients whose requests are equally long
  stays in step like this, wave after wave.
* continuous: so many requests are always in flight; whoever ends is replaced, and its successor's prefill holds up all others once. In the
  life of one request each of the others does one prefill (steady state), so life = prefill + (B - 1) prefills of others + its own decodes.
* chunked: a step carries every decode and a chunk of one prompt; nobody waits for a whole prefill.
* with a `rate` of arrivals the number in flight is what Little's law says: rate x life.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from .. import catalog
from ..catalog.transformers import transformer as catalogue_transformer
from ..cluster import Cluster
from ..errors import InputError, UnknownNameError
from ..hardware import Hardware
from ..transformer import Segment, Transformer
from .serving_plan import ServingPlan
from .serving_step import MemorySplit, Rig, StepCost

Machine = Hardware | Cluster | str
#: where a mean over a span is taken: (1 -+ 1/sqrt(3)) / 2
GAUSS = (0.21132486540518713, 0.7886751345948129)


@dataclass(frozen=True)
class ServingAnswer:
    """What one deployment does. Seconds, J, W, bytes. `throughput_tok_s` counts output tokens of the whole deployment, `request_rate_per_s`
    whole requests; `energy_per_token_j` is per output token, prefill included. `infeasible` says what does not fit and by how much ("" when it
    runs; the times are then those it would have). `notes` say what was assumed."""

    model: Transformer
    hardware: Hardware
    plan: ServingPlan
    prompt_tokens: int
    output_tokens: int
    batch: int
    ttft_s: float
    tpot_s: float
    e2e_s: float
    throughput_tok_s: float
    energy_per_token_j: float
    power_w: float
    prefill_s: float
    decode_step_s: float
    exposed_share: float
    utilization: float
    memory: MemorySplit
    max_batch: int
    infeasible: str = ""
    notes: tuple[str, ...] = ()

    @property
    def devices(self) -> int:
        """Devices of the deployment."""
        return self.plan.devices

    @property
    def request_rate_per_s(self) -> float:
        """Whole requests per second."""
        return self.throughput_tok_s / self.output_tokens

    @property
    def values(self) -> dict[str, float]:
        """The answer as targets (`datasets/measurement.py`): energy = power x latency, of one batch from end to end."""
        return {"ttft_s": self.ttft_s, "tpot_s": self.tpot_s, "throughput_tok_s": self.throughput_tok_s, "latency_s": self.e2e_s, "power_w": self.power_w,
                "energy_j": self.power_w * self.e2e_s, "memory_bytes": self.memory.used, "utilization": self.utilization}


def simulate_serving(model: Transformer | str, machine: Machine, prompt_tokens: int, output_tokens: int, batch: int | None = None,
                     rate_per_s: float | None = None, plan: ServingPlan | None = None) -> ServingAnswer:
    """The answer for equal requests of so many tokens, `batch` of them in flight, or arriving at `rate_per_s` (then the plan must be continuous or chunked).

    `machine`: one device, a cluster, or a catalogue name of either. Raises InputError for a plan the machine has no devices for, an
    encoder, or sizes that are not positive; UnknownNameError for an unknown name.
    """
    rig = rig_of(model, machine, plan or ServingPlan())
    for name, value in (("prompt_tokens", prompt_tokens), ("output_tokens", output_tokens), ("batch", 1 if batch is None else batch)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"simulate_serving: {name}: expected a whole number of at least 1, got {value!r}")
    if (batch is None) == (rate_per_s is None):
        raise InputError("simulate_serving: expected either batch or rate_per_s")
    if rig.plan.cached_tokens >= prompt_tokens:
        raise InputError(f"simulate_serving: cached_tokens ({rig.plan.cached_tokens}) must be fewer than prompt_tokens ({prompt_tokens}): the last one is always read")
    if rate_per_s is not None:
        return _at_rate(rig, prompt_tokens, output_tokens, rate_per_s)
    assert batch is not None
    return _answer(rig, prompt_tokens, output_tokens, batch)


def rig_of(model: Transformer | str, machine: Machine, plan: ServingPlan) -> Rig:
    """Model, machine and plan joined, names looked up."""
    if isinstance(model, str):
        model = catalogue_transformer(model)
    if isinstance(machine, str):
        machine = _machine(machine)
    if not isinstance(model, Transformer) or not isinstance(machine, (Hardware, Cluster)):
        raise InputError(f"simulate_serving: expected a Transformer and a Hardware, a Cluster or a name, got {type(model).__name__} and {type(machine).__name__}")
    if model.encoder:
        raise InputError(f"transformer {model.key!r} is an encoder: it generates no tokens; simulate its layer_workload instead")
    return Rig(model, machine, None, plan) if isinstance(machine, Hardware) else Rig(model, machine.hardware, machine, plan)


def _machine(name: str) -> Hardware | Cluster:
    try:
        return catalog.hardware(name)
    except UnknownNameError:
        look_up: Callable[[str], Cluster] | None = getattr(catalog, "cluster", None)
        if look_up is None:
            raise
        try:
            return look_up(name)
        except UnknownNameError:
            pass
        raise


@lru_cache(maxsize=4096)
def _answer(rig: Rig, prompt: int, output: int, batch: int) -> ServingAnswer:
    schedule = {"static": _static, "continuous": _continuous, "chunked": _chunked}[rig.plan.schedule]
    run = schedule(rig, prompt, output, batch)
    plan, tokens = rig.plan, prompt + output
    step_tokens = min(plan.chunk_tokens if plan.schedule == "chunked" else plan.prefill_tokens, prompt * batch) if prompt < plan.prefill_tokens else prompt
    memory, most = rig.memory(batch, tokens, step_tokens), rig.max_batch(tokens, step_tokens)
    span = run.span_s
    power = run.energy_j / span
    peak = rig.hardware.rate(plan.dtype) * plan.devices
    return ServingAnswer(rig.model, rig.hardware, plan, prompt, output, batch, run.ttft_s, run.tpot_s, run.ttft_s + run.tpot_s * (output - 1), run.tokens / span,
                         run.energy_j / run.tokens, power, run.prefill_s, run.decode_s, run.exposed_s / span, run.matrix_flops / peak / span,
                         memory, most, _misfit(rig, memory, most, batch), _notes(rig, memory, tokens))


def _misfit(rig: Rig, memory: MemorySplit, most: int, batch: int) -> str:
    if memory.shortfall > 0:
        return (f"memory overflows on {rig.hardware.key}: {memory.used / 1e9:,.2f} GB needed (weights {memory.weights / 1e9:,.2f}, KV cache {memory.kv / 1e9:,.2f}, activations "
                f"{memory.activations / 1e9:,.2f}), {memory.budget / 1e9:,.2f} GB to use: {memory.shortfall / 1e9:,.2f} GB short; the largest batch that fits is {most}, asked for {batch}")
    return ""


def _notes(rig: Rig, memory: MemorySplit, tokens: int) -> tuple[str, ...]:
    out = []
    if 0 < rig.model.max_tokens < tokens:
        out.append(f"{rig.model.key} was published for {rig.model.max_tokens:,} tokens of context, asked for {tokens:,}")
    if memory.streamed:
        out.append(f"{memory.streamed / 1e9:,.2f} GB of weights per device stream from {', '.join(m.name for m in rig.hardware.backing)} every step, under the computation of other layers")
    if rig.model.experts:
        out.append("experts are taken as evenly loaded")
    if rig.plan.draft:
        out.append(f"every drafted token is accepted with probability {rig.plan.draft.acceptance:g}, independently")
    return tuple(out)


# -- schedules --------------------------------------------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class _Run:
    """A span of time in which `tokens` leave: a whole static batch, or one life of a request at steady state."""

    ttft_s: float
    tpot_s: float
    span_s: float
    tokens: float
    energy_j: float
    exposed_s: float
    matrix_flops: float
    prefill_s: float
    decode_s: float


def mean_decode(rig: Rig, batch: int, prompt: int, output: int) -> StepCost:
    """A decode step averaged over the contexts from `prompt` to `prompt + output` (two points of Gauss and Legendre: the cost is nearly linear
    in the context, and exact up to the cube). With a draft, the cost per token: `tokens` drafts and one verification over the tokens that they yield.
    """
    if output <= 2:
        return _decode(rig, batch, prompt + 1)
    return _weighted([(0.5, _decode(rig, batch, prompt + round(output * place))) for place in GAUSS])


def _decode(rig: Rig, batch: int, past: int) -> StepCost:
    draft = rig.plan.draft
    if draft is None:
        return rig.decode(batch, past)
    small = Rig(draft.model, rig.hardware, rig.cluster, replace(rig.plan, draft=None, expert=1, tensor=math.gcd(rig.plan.tensor, draft.model.heads)))
    per = 1.0 / draft.tokens_per_step
    return _weighted([(draft.tokens * per, small.decode(batch, past)), (per, rig.decode(batch, past, draft.tokens + 1))])


def _weighted(parts: list[tuple[float, StepCost]]) -> StepCost:
    return StepCost(*(sum(w * getattr(c, f) for w, c in parts) for f in StepCost.__slots__))


def _in_flight(rig: Rig, batch: int) -> int:
    """Sequences in one micro-batch of one replica: every pipeline stage has one of its own to work on."""
    return math.ceil(batch / rig.plan.replicas / rig.plan.pipeline)


def prefill_batches(rig: Rig, prompt: int, batch: int) -> tuple[int, int, StepCost]:
    """(batches, prompts in each, cost of one) of reading `batch` prompts, each batch within `prefill_tokens`."""
    new = prompt - rig.plan.cached_tokens
    held = math.ceil(batch / rig.plan.replicas)
    width = max(1, min(held, rig.plan.prefill_tokens // new))
    return math.ceil(held / width), width, rig.prefill(width, new, rig.plan.cached_tokens)


def _pipelined(rig: Rig, batches: int, cost: StepCost) -> float:
    """Seconds until the last of `batches` has passed all stages, each starting as soon as the first stage is free."""
    return cost.time_s * (1.0 + (batches - 1.0) / rig.plan.pipeline)


def _static(rig: Rig, prompt: int, output: int, batch: int) -> _Run:
    batches, width, one = prefill_batches(rig, prompt, batch)
    prefill_s = _pipelined(rig, batches, one)
    held = math.ceil(batch / rig.plan.replicas)
    full = batches * width / held  # the last batch is rarely full: its cost counts by its share
    micro = _in_flight(rig, batch)
    step = mean_decode(rig, micro, prompt, output)
    stages = min(rig.plan.pipeline, held)
    decode_s, steps = step.time_s, output - 1
    prefill_s = prefill_s / full if rig.plan.pipeline == 1 else prefill_s
    span = prefill_s + steps * decode_s
    energy = batches / full * one.energy_j + steps * stages * step.energy_j
    exposed = batches / full * one.exposed_s + steps * step.exposed_s
    flops = batches / full * one.matrix_flops + steps * stages * step.matrix_flops
    first = prefill_s * (batches + 1) / (2 * batches)  # the mean over batches that end one after another
    return _Run(first, (span - first) / steps if steps else 0.0, span, batch * output, energy, exposed, flops, prefill_s, decode_s)


def _continuous(rig: Rig, prompt: int, output: int, batch: int) -> _Run:
    one = rig.prefill(1, prompt - rig.plan.cached_tokens, rig.plan.cached_tokens)
    stages = min(rig.plan.pipeline, batch)
    step = mean_decode(rig, _in_flight(rig, batch), prompt, output)
    held = math.ceil(batch / rig.plan.replicas)
    steps = output - 1
    turn = one.time_s / rig.plan.pipeline  # prefills follow one another through the stages
    waiting = (held - 1) * turn
    life = one.time_s + waiting + steps * step.time_s
    # a request arrives at any moment of a step and waits for its end
    ttft = one.time_s + 0.5 * step.time_s * (held > 1)
    tpot = step.time_s + waiting / steps if steps else 0.0
    energy = held * one.energy_j + steps * stages * step.energy_j
    return _Run(ttft, tpot, life, batch * output, energy, held * one.exposed_s + steps * step.exposed_s, held * one.matrix_flops + steps * stages * step.matrix_flops,
                one.time_s, step.time_s)


def _chunked(rig: Rig, prompt: int, output: int, batch: int) -> _Run:
    """Every step has all decodes and, in the share of steps in which a prompt is being read, a chunk of it. With n chunks a prompt and steps
    taken one prompt at a time, B requests of a life need B n chunks; when those outnumber the steps of a life, reading is the bottleneck and
    requests wait for their turn."""
    new, cached = prompt - rig.plan.cached_tokens, rig.plan.cached_tokens
    held = math.ceil(batch / rig.plan.replicas)
    chunk = max(1, min(new, rig.plan.chunk_tokens - (held - 1)))
    chunks = math.ceil(new / chunk)
    decodes = output - 1
    steps = max(chunks + decodes, held * chunks)        # steps of a life
    reading = held * chunks / steps                      # share of steps with a chunk
    decoding = max(1, min(held, math.ceil(held * decodes / steps))) if decodes else 0
    micro = math.ceil(decoding / rig.plan.pipeline)
    context = prompt + output // 2

    def mixed(past: int) -> StepCost:
        part = (Segment(1, chunk, past),)
        return rig.step((*part, Segment(micro, 1, context)), 1 + micro) if micro else rig.step(part, 1)

    last = cached + (chunks - 1) * chunk
    busy = _weighted([(1 / 6, mixed(cached)), (4 / 6, mixed((cached + last) // 2)), (1 / 6, mixed(last))]) if chunks > 2 else _weighted(
        [(0.5, mixed(cached)), (0.5, mixed(last))]) if chunks == 2 else mixed(cached)
    plain = mean_decode(rig, max(micro, 1), prompt, output)
    step = _weighted([(reading, busy), (1.0 - reading, plain)])
    queue = (steps - chunks - decodes) * step.time_s     # turns of others
    ttft = queue + chunks * busy.time_s
    life = steps * step.time_s
    return _Run(ttft, step.time_s if decodes else 0.0, life, batch * output, steps * step.energy_j * min(rig.plan.pipeline, held), steps * step.exposed_s,
                steps * step.matrix_flops * min(rig.plan.pipeline, held), chunks * busy.time_s, plain.time_s)


def _at_rate(rig: Rig, prompt: int, output: int, rate_per_s: float) -> ServingAnswer:
    """The fewest requests in flight that keep up with the arrivals."""
    if not (isinstance(rate_per_s, (int, float)) and math.isfinite(rate_per_s) and rate_per_s > 0):
        raise InputError(f"simulate_serving: rate_per_s: expected a finite number > 0, got {rate_per_s!r}")
    if rig.plan.schedule == "static":
        raise InputError("simulate_serving: a rate of arrivals needs the schedule 'continuous' or 'chunked'")
    most = max(1, _answer(rig, prompt, output, 1).max_batch)
    top = min(most, 4096)
    best = _answer(rig, prompt, output, top)
    if best.request_rate_per_s < rate_per_s:
        said = f"{rate_per_s:g} requests/s arrive, at most {best.request_rate_per_s:.4g}/s are served with {top} in flight ({'all that fit' if top == most else 'the most looked at'})"
        return replace(best, infeasible="; ".join(filter(None, (best.infeasible, said))))
    low, high = 0, top
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _answer(rig, prompt, output, middle).request_rate_per_s >= rate_per_s else (middle, high)
    return _answer(rig, prompt, output, high)
