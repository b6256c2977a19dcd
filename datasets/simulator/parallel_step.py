"""One training step on a cluster: seconds by part, MFU, tokens per second, memory per device, energy; or why it does not fit.

The story: one micro-batch through one layer is simulated on the device, forward and backward, kernel by kernel -> collectives of tensor, expert
and context parallelism beside it -> stages -> the pipeline's schedule -> reduction of gradients (what the schedule does not hide) -> optimizer.

    T = m max_i(f_i + b_i) + (sum_i(f_i + b_i) - max_i(f_i + b_i)) / v + exposed gradients + optimizer + offload

with m micro-batches, v chunks, f_i and b_i of stage i (Narayanan et al., SC 2021, section 2.2, for equal stages: (m + (p-1)/v) (f + b)).

MFU counts the model's own work, 6 N + 12 L H Q T per token (Chowdhery et al., PaLM, 2022, appendix B): no recomputation, attention as if not causal.
HFU adds what was recomputed (Korthikanti et al. 2022): with full recomputation a third of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..cluster import Cluster
from ..dtypes import BITS
from ..errors import InputError
from ..hardware import Hardware, MemoryLevel
from ..transformer import Transformer
from . import technology as tech
from .machine import static_w
from .memory_plan import MemoryPlan, shortfall, stage_params, training_memory
from .parallel import ParallelPlan
from .parallel_work import DeviceWork, Stage

#: a host's optimizer reads weight, moments and gradient and writes weight and moments in float32: 16 + 12 bytes per parameter over its memory
HOST_OPTIMIZER_BYTES = 28.0


@dataclass(frozen=True)
class TrainingStep:
    """One step of `batch` sequences of `sequence_length` tokens.

    `parts_s` adds up to `step_s`; its traffic is only what arithmetic does not hide. `energy_j` of all devices, None where the device has no
    power figures; `infeasible` says what overflows and by how many bytes ("" when all fits; the times then still say what it would take).
    """

    model: Transformer
    cluster: Cluster
    plan: ParallelPlan
    batch: int
    sequence_length: int
    step_s: float
    parts_s: dict[str, float]
    model_flops: float
    hardware_flops: float
    memory: MemoryPlan
    energy_j: float | None
    infeasible: str = ""
    notes: tuple[str, ...] = ()

    @property
    def tokens_per_s(self) -> float:
        """Tokens of the whole cluster per second."""
        return self.batch * self.sequence_length / self.step_s

    @property
    def _peak(self) -> float:
        return self.cluster.devices * self.cluster.hardware.rate(self.plan.dtype)

    @property
    def mfu(self) -> float:
        """Model FLOPs over what the devices' matrix units could do in the time."""
        return self.model_flops / (self.step_s * self._peak)

    @property
    def hfu(self) -> float:
        """The same with recomputed FLOPs counted."""
        return self.hardware_flops / (self.step_s * self._peak)

    @property
    def flops_per_device_s(self) -> float:
        """FLOP/s of a device as papers with full recomputation report them: hardware FLOPs over devices and time."""
        return self.hardware_flops / (self.step_s * self.cluster.devices)


def simulate_training(model: Transformer, cluster: Cluster, plan: ParallelPlan, batch: int, sequence_length: int, host: Sequence[MemoryLevel] = ()) -> TrainingStep:
    """One step of a global `batch` of sequences. `host` are the memories behind a device that offloading may use, per device (default: the
    hardware's own `backing`), found by name ("cpu" or "dram", "nvme").

    Raises InputError for what does not divide, an unknown name, or an offload target the device does not have.
    """
    if not isinstance(sequence_length, int) or isinstance(sequence_length, bool) or sequence_length < 1:
        raise InputError(f"simulate_training: sequence_length: expected a whole number of at least 1, got {sequence_length!r}")
    plan.check(model, cluster, sequence_length)
    count = plan.microbatches(batch)
    hardware = cluster.hardware
    work = DeviceWork(model, cluster, plan, sequence_length, hardware)
    stage, head = work.stage(), work.head()
    stage = replace(stage, backward_s=stage.backward_s + (accumulate_s(model, plan, hardware) if count > 1 else 0.0))
    memory = training_memory(model, plan, count, sequence_length, cluster.memory_bytes)
    backing = _backing(plan, hardware, host)
    offload = _offload_s(model, plan, count, backing)
    send = work.send_s() * plan.chunks * (0 if plan.pipeline == 1 else 1)
    send_busy = 0.0 if plan.overlap_pipeline else 2 * send
    share = 1.0   # of the fullest stage's layers in the last stage, which has the head too
    if plan.uneven and plan.pipeline > 1:
        share = max(0.0, model.layers / plan.stage_layers(model.layers) - (plan.pipeline - 1))
    last = stage.scaled(share).plus(head)
    slowest, other = (last, stage) if last.total_s >= stage.total_s else (stage, last)   # the slowest stage sets the pace, the others fill and drain
    ramp = ((plan.pipeline - 2) * stage.total_s + other.total_s + 2 * (plan.pipeline - 1) * send) / plan.chunks if plan.pipeline > 1 else 0.0
    exposed, gathered = work.gradients_s(count, stage)
    update = _optimizer_s(model, plan, hardware)
    parts = {
        "forward": count * slowest.forward_s, "backward": count * slowest.backward_s, "recompute": count * slowest.recompute_s, "tensor": count * slowest.tensor_s,
        "expert": count * slowest.expert_s, "context": count * slowest.context_s, "pipeline": count * send_busy, "bubble": ramp,
        "gradients": exposed, "weights": gathered, "optimizer": update, "offload": offload,
    }
    step = float(sum(parts.values()))
    flops = model_flops(model, batch, sequence_length)
    again = {"none": 0.0, "selective": 0.0 if plan.flash else attention_flops(model, batch, sequence_length), "full": flops / 3 - head_flops(model, batch, sequence_length)}[plan.recompute]
    notes = [*stage.notes]
    if len(cluster.parts) > 1:
        notes.append(f"{cluster.key} mixes devices: every device is taken as {hardware.key}, the slowest")
    energy = _energy(cluster, plan, hardware, count, stage, head, step)
    if energy is None:
        notes.append(f"{hardware.key} has no power figures: no energy")
    else:
        notes.append("energy of devices; that of links, switches and hosts is not counted")
    return TrainingStep(model, cluster, plan, batch, sequence_length, step, parts, flops, flops + again, memory, energy, shortfall(memory, backing), tuple(dict.fromkeys(notes)))


def model_flops(model: Transformer, batch: int, sequence_length: int) -> float:
    """FLOPs of one step, forward and backward: 6 per weight a token is multiplied with, and attention (three times its forward)."""
    tables = (1 if not model.tied else 0) * model.vocab * model.hidden + (model.positions + model.token_types) * model.hidden
    return 6.0 * (model.active_params - tables) * batch * sequence_length + 3 * attention_flops(model, batch, sequence_length)


def attention_flops(model: Transformer, batch: int, sequence_length: int) -> float:
    """FLOPs of the scores and their use, forward, every pair counted as publishers do: 4 L H Q T per token (a window bounds T)."""
    key, value = (model.nope_dim + model.rope_dim, model.v_dim) if model.latent else (model.head_dim, model.head_dim)
    seen = sum(b.count * (min(b.window, sequence_length) if b.window else sequence_length) for b in model.blocks)
    return 2.0 * (key + value) * model.heads * seen * batch * sequence_length


def head_flops(model: Transformer, batch: int, sequence_length: int) -> float:
    """FLOPs of the language-model head, forward; it is never recomputed."""
    return 2.0 * model.vocab * model.hidden * batch * sequence_length


def accumulate_s(model: Transformer, plan: ParallelPlan, hardware: Hardware) -> float:
    """Seconds a micro-batch spends on adding its gradients to those before it: the products that make them read and write the sum in its own
    format, where a lone micro-batch writes 16 bits once (Megatron-LM's fused accumulation)."""
    return sum(stage_params(model, plan)) * (2 * BITS[plan.gradient_dtype] / 8 - 2.0) / (hardware.dram_bandwidth * tech.DRAM_EFFICIENCY)


def _optimizer_s(model: Transformer, plan: ParallelPlan, hardware: Hardware) -> float:
    """Seconds of the update: gradient and state read, state and weight written, at the rate of the device's memory."""
    if plan.offload_optimizer:
        return 0.0
    dense, expert = stage_params(model, plan)
    mine = dense / (plan.replicas if plan.zero else 1) + expert / (plan.expert_replicas if plan.zero else 1)
    return mine * (BITS[plan.gradient_dtype] / 8 + 2 * plan.optimizer_bytes + 2.0) / (hardware.dram_bandwidth * tech.DRAM_EFFICIENCY)


def _backing(plan: ParallelPlan, hardware: Hardware, host: Sequence[MemoryLevel]) -> MemoryLevel | None:
    """The memory that offloaded state goes to; of two targets the farther."""
    target = "nvme" if "nvme" in (plan.offload_optimizer, plan.offload_weights) else "cpu" if plan.offload_optimizer or plan.offload_weights else ""
    if not target:
        return None
    names = {"cpu": ("cpu", "dram", "ddr", "host", "lpddr"), "nvme": ("nvme", "ssd", "flash")}[target]
    have = [*host, *hardware.backing]
    level = next((level for level in have if any(name in level.name.lower() for name in names)), None)
    if level is None or level.bandwidth_bytes_per_s is None:
        raise InputError(f"simulate_training: offload to {target!r}: {hardware.key!r} has no such memory with a bandwidth "
                         f"(it has {', '.join(m.name for m in have) or 'none behind it'}); give host=[MemoryLevel('{target}', capacity_bytes, bandwidth_bytes_per_s)]")
    return level


def _offload_s(model: Transformer, plan: ParallelPlan, count: int, level: MemoryLevel | None) -> float:
    """Seconds of offload traffic a step, not hidden: gradients out, the host's update, weights in; offloaded weights in for every pass
    (ZeRO-Infinity, Rajbhandari et al., SC 2021, section 4)."""
    if level is None:
        return 0.0
    assert level.bandwidth_bytes_per_s is not None
    dense, expert = stage_params(model, plan)
    mine = dense / (plan.replicas if plan.zero else 1) + expert / (plan.expert_replicas if plan.zero else 1)
    weight, moved = max(BITS[plan.dtype], 16) / 8, 0.0
    if plan.offload_optimizer:
        moved += mine * (BITS[plan.gradient_dtype] / 8 + weight + (2 * plan.optimizer_bytes if plan.offload_optimizer == "nvme" else 0.0))
    if plan.offload_weights:
        moved += mine * weight * (3 if plan.recompute == "full" else 2) * count
    return moved / level.bandwidth_bytes_per_s


def _energy(cluster: Cluster, plan: ParallelPlan, hardware: Hardware, count: int, stage: Stage, head: Stage, step_s: float) -> float | None:
    """Joules of all devices: what the kernels take, and static power while a device waits."""
    static = static_w(hardware)
    if math.isnan(static):
        return None
    busy = count * (stage.forward_s + stage.backward_s + stage.recompute_s)
    per_pipeline = count * (plan.pipeline * stage.energy_j + head.energy_j)
    return float(cluster.devices / plan.pipeline * per_pipeline + cluster.devices * static * max(0.0, step_s - busy))


def with_devices(plan: ParallelPlan, cluster: Cluster) -> ParallelPlan:
    """The plan with the data degree that fills the cluster. Raises InputError when the other degrees do not divide its devices."""
    rest = plan.tensor * plan.context * plan.pipeline
    if cluster.devices % rest:
        raise InputError(f"parallel plan: tensor x context x pipeline = {rest} does not divide the {cluster.devices} devices of {cluster.key!r}")
    return replace(plan, data=cluster.devices // rest)
