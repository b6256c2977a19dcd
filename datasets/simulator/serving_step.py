"""One step of a served model on its devices: every distinct layer simulated once and multiplied, the head, the collectives between, the host.

Steps are remembered by (model, machine, plan, shape): a search that varies one thing pays for that thing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from ..cluster import Cluster, Group
from ..dtypes import BITS
from ..errors import InputError
from ..hardware import Hardware
from ..transformer import Segment, Transformer
from ..transformer_layers import head_workload, hit_experts, layer_workload, step_workload
from .collectives import CollectiveCost, collective
from .machine import Machines
from .serving_plan import ServingPlan
from .simulate import simulate

#: a segment with a cache and at most so many new tokens is a decode (speculation verifies a few at once)
MOST_DECODE_TOKENS = 16


@dataclass(frozen=True, slots=True)
class StepCost:
    """One pass of one micro-batch through all layers. `time_s` = `device_s` + `exposed_s` + `host_s`; `stream_s`: what weights streamed from
    backing memory took (it holds `device_s` up when longer). Energy of all devices, in J; `matrix_flops` and `dram_bytes` of all devices."""

    time_s: float
    device_s: float
    exposed_s: float
    host_s: float
    stream_s: float
    energy_j: float
    dram_bytes: float
    matrix_flops: float


@dataclass(frozen=True, slots=True)
class MemorySplit:
    """Bytes on the fullest device: what holds them, and what it has (`budget` after `memory_share`)."""

    weights: float
    kv: float
    activations: float
    budget: float
    capacity: float
    streamed: float = 0.0

    @property
    def used(self) -> float:
        """Bytes resident on the device."""
        return self.weights - self.streamed + self.kv + self.activations

    @property
    def shortfall(self) -> float:
        """Bytes that do not fit; 0 when all do."""
        return max(self.used - self.budget, 0.0)


@dataclass(frozen=True)
class Rig:
    """A model on a machine under a plan: what every step of a deployment has in common. Raises InputError when the machine lacks the devices."""

    model: Transformer
    hardware: Hardware
    cluster: Cluster | None
    plan: ServingPlan

    def __post_init__(self) -> None:
        have = self.cluster.devices if self.cluster else 1
        if self.plan.devices > have:
            raise InputError(f"serving {self.model.key!r}: the plan takes {self.plan.devices} devices (tensor {self.plan.tensor}, expert {self.plan.expert}, pipeline "
                             f"{self.plan.pipeline}), {self.hardware.key!r} has {have}; give a Cluster of as many, Cluster.of(hardware, count, link_bandwidth_bytes_per_s)")
        if self.plan.pipeline > self.model.layers:
            raise InputError(f"serving {self.model.key!r}: {self.plan.pipeline} pipeline stages, it has {self.model.layers} layers")

    def step(self, segments: tuple[Segment, ...], logits: int) -> StepCost:
        """Cost of one pass; `logits` rows go through the head."""
        return _step(self, segments, logits)

    def prefill(self, batch: int, new_tokens: int, past_tokens: int = 0) -> StepCost:
        """`batch` prompts read at once."""
        return self.step((Segment(batch, new_tokens, past_tokens),), batch)

    def decode(self, batch: int, past_tokens: int, new_tokens: int = 1) -> StepCost:
        """One token (or a few) for each of `batch` sequences."""
        return self.step((Segment(batch, new_tokens, past_tokens),), batch * new_tokens)

    # -- memory -----------------------------------------------------------------------------------------------------------------------

    @property
    def weight_bytes(self) -> float:
        """Weights on the fullest device."""
        return _weights(self)

    @property
    def kv_bytes_per_sequence(self) -> float:
        """Cache of one sequence of one token on one device, before any window is full; times tokens where there is none."""
        return self.kv_bytes(1)

    def kv_bytes(self, tokens: float) -> float:
        """Cache of one sequence on one device: key heads are cut with the heads until one is left, a latent is not cut at all."""
        parts = 1 if self.model.latent else min(self.plan.tensor, self.model.kv_heads)
        stage = math.ceil(self.model.layers / self.plan.pipeline) / self.model.layers
        return self.model.kv_bytes(tokens, self.plan.cache_dtype) / parts * stage

    def memory(self, batch: int, tokens: int, step_tokens: int) -> MemorySplit:
        """The split with `batch` sequences of `tokens` each in flight (over all replicas), and steps of at most `step_tokens`."""
        capacity = self.hardware.dram.capacity_bytes
        held = math.ceil(batch / self.plan.replicas)
        split = MemorySplit(self.weight_bytes, held * self.kv_bytes(tokens), _activations(self, step_tokens), capacity * self.plan.memory_share, capacity)
        room = self.backing_bytes
        if split.shortfall and room and self.plan.offload:
            return MemorySplit(split.weights, split.kv, split.activations, split.budget, capacity, min(split.shortfall, split.weights, room))
        return split

    @property
    def backing_bytes(self) -> float:
        """What the memories behind a device hold."""
        return sum(m.capacity_bytes for m in self.hardware.backing)

    def max_batch(self, tokens: int, step_tokens: int) -> int:
        """Most sequences of `tokens` that fit over all replicas (0: not even one); with streamed weights, what fits beside their buffers."""
        free = self.hardware.dram.capacity_bytes * self.plan.memory_share - _activations(self, step_tokens)
        weights = self.weight_bytes
        if weights > free and self.backing_bytes and self.plan.offload:
            weights = max(weights - self.backing_bytes, 0.0)
        return max(0, int((free - weights) // max(self.kv_bytes(tokens), 1e-300))) * self.plan.replicas


def static_w(hardware: Hardware) -> float:
    """W a device draws while it waits; 0 where no power limit is published."""
    watts = float(Machines.of([hardware]).static_w[0])
    return watts if math.isfinite(watts) else 0.0


@lru_cache(maxsize=4096)
def _layer(model: Transformer, hardware: Hardware, plan: ServingPlan, segments: tuple[Segment, ...], phase: str, kind: str, window: int) -> tuple[float, ...]:
    work = step_workload(model, segments, phase, plan.tensor, plan.expert, layer=kind, window=window, **plan.formats)
    values = simulate(work, hardware).values
    return values["latency_s"], values["energy_j"], values["dram_bytes"], float(work.columns.matrix_flops.sum())


@lru_cache(maxsize=4096)
def _head(model: Transformer, hardware: Hardware, plan: ServingPlan, tokens: int, logits: int) -> tuple[float, ...]:
    work = head_workload(model, "prefill", tokens, 1, plan.tensor, plan.activation_dtype, logits=logits)
    values = simulate(work, hardware).values
    return values["latency_s"], values["energy_j"], values["dram_bytes"], float(work.columns.matrix_flops.sum())


@lru_cache(maxsize=16384)
def _step(rig: Rig, segments: tuple[Segment, ...], logits: int) -> StepCost:
    model, hw, plan = rig.model, rig.hardware, rig.plan
    tokens = sum(s.tokens for s in segments)
    decoding = all(s.past_tokens and s.new_tokens <= MOST_DECODE_TOKENS for s in segments)
    parts = [(b.count, _layer(model, hw, plan, segments, "decode" if decoding else "prefill", b.kind, b.window)) for b in model.blocks]
    parts.append((1, _head(model, hw, plan, tokens, logits)))
    device_s, energy, dram, flops = (sum(count * cost[i] for count, cost in parts) for i in range(4))
    stream_s = _stream(rig, segments, tokens)
    device = max(device_s, stream_s)
    wire_s, wire_j = _wires(rig, tokens, logits)
    exposed = wire_s * (1.0 - plan.overlap)
    waiting = exposed + plan.step_overhead_s + device - device_s
    energy = (energy + static_w(hw) * waiting) * plan.stage_devices + wire_j
    return StepCost(device + exposed + plan.step_overhead_s, device, exposed, plan.step_overhead_s, stream_s, energy,
                    dram * plan.stage_devices, flops * plan.stage_devices)


def _wires(rig: Rig, tokens: int, logits: int) -> tuple[float, float]:
    """(seconds, J) of the collectives of one pass. Two all-reduces a layer (Megatron-LM, 2019, section 3; one where attention and feed-forward
    stand side by side), an all-gather of logits; experts beyond the tensor group: an all-to-all there and one back; a send between stages."""
    model, plan, cluster = rig.model, rig.plan, rig.cluster
    if plan.devices == 1 or cluster is None:
        return 0.0, 0.0
    size = BITS[plan.activation_dtype] / 8
    rows = tokens * model.hidden * size
    bill: list[tuple[float, str, float, int, int]] = []
    spread = plan.replicas > 1
    if plan.tensor > 1:
        reduces = sum(b.count * ((1 if model.norms == 1 else 2) - (spread and b.kind == "moe")) for b in model.blocks)
        bill += [(reduces, "all_reduce", rows, plan.tensor, 1), (1, "all_gather", logits * model.vocab * size, plan.tensor, 1)]
    if spread:
        sent = rows * model.top_k / plan.tensor
        narrow = min(BITS[plan.dtype] / 8, size) / size  # tokens travel there as they are multiplied, and come back wide (DeepSeek-V3, section 3.2.2)
        bill += [(model.moe_layers, "all_to_all", sent * narrow, plan.expert, 1), (model.moe_layers, "all_to_all", sent, plan.expert, 1)]
    if plan.pipeline > 1:
        bill.append((plan.pipeline - 1, "send", rows, 2, plan.stage_devices))
    seconds = joules = 0.0
    for count, kind, payload, members, stride in bill:
        cost = _collective(kind, payload, cluster.group(members, stride), plan.algorithm if kind in ("all_reduce", "all_gather") else "auto")
        seconds += count * float(cost.time_s)
        joules += count * float(cost.energy_j or 0.0)
    return seconds, joules


def _collective(kind: str, payload: float, group: Group, algorithm: str) -> CollectiveCost:
    """Engines with all-reduce kernels of their own (a level's stack "custom") keep NCCL beside them for the rest and for large messages."""
    if all(level.stack != "custom" for level, _ in group.spans):
        return collective(kind, payload, group, algorithm)
    library = replace(group, spans=tuple((replace(level, stack="nccl_nvlink") if level.stack == "custom" else level, n) for level, n in group.spans))
    offers = [collective(kind, payload, g, algorithm) for g in ((library, group) if kind == "all_reduce" else (library,))]
    return min(offers, key=lambda cost: float(cost.time_s))


@lru_cache(maxsize=1024)
def _weights(rig: Rig) -> float:
    model, plan = rig.model, rig.plan
    layers = sum(b.count * step_workload(model, (Segment(1, 1, 1),), "prefill", plan.tensor, plan.expert, layer=b.kind, window=b.window, **plan.formats).weight_bytes
                 for b in model.blocks)
    head = head_workload(model, "prefill", 1, 1, plan.tensor, plan.activation_dtype).weight_bytes
    if plan.pipeline == 1:
        return layers + head
    return layers * math.ceil(model.layers / plan.pipeline) / model.layers + (head if model.tied else head / 2)  # embedding first, head last


@lru_cache(maxsize=4096)
def _activations(rig: Rig, step_tokens: int) -> float:
    """Peak of what flows through one layer; layers and steps use the same buffers."""
    model, plan = rig.model, rig.plan
    kind = model.blocks[-1].kind
    return layer_workload(model, "prefill", 1, step_tokens, 0, plan.tensor, plan.expert, layer=kind, **plan.formats).peak_activation_bytes


def touched_share(model: Transformer, tokens: int) -> float:
    """Share of a model's weights that a step of so many tokens reads: experts that no token is sent to are left alone."""
    if not model.experts:
        return 1.0
    idle = model.moe_layers * (model.experts - hit_experts(model, tokens, model.experts)) * model.ffn_params(model.moe_ffn)
    return 1.0 - idle / model.params


def _stream(rig: Rig, segments: tuple[Segment, ...], tokens: int) -> float:
    """Seconds in which the weights that do not fit come from the memories behind, layer after layer while the one before computes (FlexGen,
    Sheng et al., ICML 2023, algorithm 1); the nearest memory is filled first."""
    if not rig.hardware.backing or not rig.plan.offload:
        return 0.0
    context = max(s.new_tokens + s.past_tokens for s in segments)
    split = rig.memory(sum(s.batch for s in segments) * rig.plan.pipeline * rig.plan.replicas, context, tokens)
    left, seconds = split.streamed * touched_share(rig.model, tokens), 0.0
    for level in rig.hardware.backing:
        here = min(left, level.capacity_bytes)
        seconds += here / (level.bandwidth_bytes_per_s or math.inf)
        left -= here
    return seconds
