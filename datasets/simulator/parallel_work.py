"""What one device does for one micro-batch in training, and the traffic around it: a stage's layers simulated kernel by kernel, its collectives.

Attention that keeps its scores (`flash` off) is priced as the kernels it was: product, softmax, dropout, product, each over the whole square of
scores (Megatron-LM before FlashAttention). What serving fuses into a product runs by itself: the backward pass needs the product's own output, and
an all-reduce stands between it and the residual addition (Megatron-LM's bias-GeLU and bias-dropout-add kernels). Exchanges of experts whose routing is bounded to a few nodes carry a token to a node once and
spread it there (DeepSeek-V3 technical report, 2024, sections 2.1.2 and 3.2.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..cluster import Cluster, Group
from ..dtypes import BITS
from ..hardware import Hardware
from ..ops import ELEMENTWISE_COST, Op
from ..transformer import Transformer
from ..transformer_chain import backward_of
from ..transformer_layers import head_workload, layer_workload
from ..workload import WorkloadBuilder
from .collectives import collective
from .memory_plan import stage_params
from .parallel import ParallelPlan
from .simulate import Simulation, simulate


@dataclass(frozen=True, slots=True)
class Stage:
    """Seconds of one micro-batch in one stage (or in the head), and joules of the device."""

    forward_s: float
    backward_s: float
    recompute_s: float = 0.0
    tensor_s: float = 0.0
    expert_s: float = 0.0
    context_s: float = 0.0
    energy_j: float = 0.0
    notes: tuple[str, ...] = ()

    def scaled(self, share: float) -> Stage:
        """A stage with so much of its layers."""
        return Stage(share * self.forward_s, share * self.backward_s, share * self.recompute_s, share * self.tensor_s, share * self.expert_s, share * self.context_s,
                     share * self.energy_j, self.notes)

    def plus(self, head: Stage) -> Stage:
        """This stage with the head behind it."""
        return Stage(self.forward_s + head.forward_s, self.backward_s + head.backward_s, self.recompute_s, self.tensor_s, self.expert_s, self.context_s,
                     self.energy_j + head.energy_j, self.notes)

    @property
    def total_s(self) -> float:
        """Seconds of one micro-batch, forward and backward, with what traffic shows."""
        return self.forward_s + self.backward_s + self.recompute_s + self.tensor_s + self.expert_s + self.context_s


class DeviceWork:
    """What one device does for one micro-batch, and the traffic around it."""

    def __init__(self, model: Transformer, cluster: Cluster, plan: ParallelPlan, sequence_length: int, hardware: Hardware) -> None:
        self.model, self.cluster, self.plan, self.hardware = model, cluster, plan, hardware
        self.new = sequence_length // plan.context
        # in a balanced ring every device attends on average to half of what the others hold
        self.past = (sequence_length - self.new) // 2
        self.bytes_per = max(BITS[plan.dtype], 16) / 8
        self.act_bytes = plan.microbatch * self.new * model.hidden * self.bytes_per
        self.stride_data = plan.tensor * plan.context   # of ranks with the same place in another replica, before `context` is added

    def _layer(self, phase: str, kind: str, window: int) -> Simulation:
        p = self.plan
        return simulate(layer_workload(self.model, phase, batch=p.microbatch, new_tokens=self.new, past_tokens=self.past, tensor=p.tensor, expert=p.expert,
                                                  dtype=p.dtype, layer=kind, window=window), self.hardware)

    def stage(self) -> Stage:
        """The fullest stage: its share of every kind of layer, as the model mixes them."""
        plan, sums = self.plan, np.zeros(7)
        share = plan.stage_layers(self.model.layers) / self.model.layers
        notes: list[str] = []
        for block in self.model.blocks:
            forward, backward = self._layer("forward", block.kind, block.window), self._layer("backward", block.kind, block.window)
            (f_apart, f_joules), (b_apart, b_joules) = self._apart(forward), self._apart(backward)
            f, b, attention = _seconds(forward, plan, f_apart), _seconds(backward, plan, b_apart), _of_attention(forward)
            joules = (forward.values["energy_j"] + f_joules) * (2 if plan.recompute == "full" else 1) + backward.values["energy_j"] + b_joules
            if not plan.flash:
                kept, back = self._scores()
                (k_apart, k_joules), (r_apart, r_joules) = self._apart(kept), self._apart(back)
                stored, returned = float(kept.op_latency_s.sum() + k_apart.sum()), float(back.op_latency_s.sum() + r_apart.sum())
                f, b, attention = f - attention + stored, b - _of_attention(backward) + returned, stored
                # the joules of the fused kernels that these replace stay in: they are few
                joules += (kept.values["energy_j"] + k_joules) * (2 if plan.recompute != "none" else 1) + back.values["energy_j"] + r_joules
            again = {"none": 0.0, "selective": 0.0 if plan.flash else attention, "full": f}[plan.recompute]
            tensor = self.tensor_s()
            passes = 3 if plan.recompute == "full" else 2
            tensor_s = tensor * passes
            if plan.overlap_tensor:   # hidden under the products it waits for or feeds, except the first and last piece of an eighth (assumption)
                tensor_s = max(tensor_s - (f + b + again), tensor_s / 8)
            expert = self.expert_s() * passes if block.kind == "moe" else 0.0
            if plan.overlap_expert:
                expert = max(expert - (f + b + again), 0.0)
            ring = sum(max(0.0, self.context_s(2 if back else 1) - (2 if back else 1) * attention) for back in (False, True))
            sums += block.count * share * np.array([f, b, again, tensor_s, expert, ring, joules])
            notes += [*forward.notes]
        f, b, again, tensor_s, expert, ring, joules = (float(v) for v in sums)
        return Stage(f, b, again, tensor_s, expert, ring, joules, tuple(notes))

    def _apart(self, run: Simulation) -> tuple[np.ndarray, float]:
        """(V,) seconds, and joules in all, of the elementwise kernels that the simulator fused into a product, each by itself; residual additions
        with their dropout mask."""
        out, joules = np.zeros(len(run.workload.ops)), 0.0
        for i, op in enumerate(run.workload.ops):
            if op.kind != "elementwise" or run.op_latency_s[i] > 0:
                continue
            if self.plan.dropout and op.name.endswith("_add"):
                d = op.dims   # one byte a mask: half an element of 16 bits
                op = Op.of(op.name, "elementwise", dtype=op.dtype, elements=d["elements"], cost=d["cost"] + 2, extra_elements=d["extra_elements"] + d["elements"] // 2)
            builder = WorkloadBuilder(op.name, "transformer")
            builder.add(op, [builder.input("x", int(op.counts["input_elements"]), op.dtype)])
            alone = simulate(builder.build(), self.hardware).values
            out[i], joules = alone["latency_s"], joules + alone["energy_j"]
        return out, joules

    def _scores(self) -> tuple[Simulation, Simulation]:
        """Attention whose scores are written out, forward and backward."""
        plan, model = self.plan, self.model
        key, value = (model.nope_dim + model.rope_dim, model.v_dim) if model.latent else (model.head_dim, model.head_dim)
        b, q, kv = plan.microbatch * model.heads // plan.tensor, self.new, self.new + self.past
        drop = ELEMENTWISE_COST["compare"] + ELEMENTWISE_COST["mul"]
        ops = [Op.of("scores", "gemm", b=b, m=q, n=kv, k=key, dtype=plan.dtype), Op.of("softmax", "softmax", rows=b * q, cols=kv, dtype=plan.dtype),
               *([Op.of("dropout", "elementwise", elements=b * q * kv, cost=drop, extra_elements=b * q * kv // 2, dtype=plan.dtype)] if plan.dropout else []),
               Op.of("context", "gemm", b=b, m=q, n=value, k=kv, dtype=plan.dtype)]
        # both operands of these products have gradients, though neither is a weight
        back = [kernel for op in reversed(ops) for kernel in (*backward_of(op), *([Op.of(f"{op.name}.other", "gemm", b=b, m=op.dims["k"], n=op.dims["n"], k=q, dtype=plan.dtype)]
                                                                                if op.kind == "gemm" else []))]
        out = []
        for name, kernels in (("forward", ops), ("backward", back)):
            builder = WorkloadBuilder(f"{model.key}/scores/{name}", "transformer")
            at = builder.input("x", int(kernels[0].counts["input_elements"]), plan.dtype)
            for op in kernels:
                at = builder.add(op, [at])
            out.append(simulate(builder.build(), self.hardware))
        return out[0], out[1]

    def head(self) -> Stage:
        """Embedding, final norm, head and loss, of the first and last stage together."""
        runs = [simulate(head_workload(self.model, phase, batch=self.plan.microbatch, new_tokens=self.new, tensor=self.plan.tensor, dtype=self.plan.dtype), self.hardware)
                for phase in ("forward", "backward")]
        return Stage(runs[0].values["latency_s"], runs[1].values["latency_s"], energy_j=sum(r.values["energy_j"] for r in runs))

    def tensor_s(self) -> float:
        """Seconds of a layer's two all-reduces in one pass (as reduce-scatter and all-gather when the sequence is cut too: the same bytes)."""
        if self.plan.tensor == 1:
            return 0.0
        group = self.cluster.group(self.plan.tensor)
        kinds = ("reduce_scatter", "all_gather") if self.plan.sequence else ("all_reduce",)
        return 2 * float(sum(collective(kind, self.act_bytes, group).time_s for kind in kinds))

    def expert_s(self) -> float:
        """Seconds of a mixture's two exchanges (dispatch and combine) in one pass: each token goes to its top_k experts."""
        plan = self.plan
        if plan.expert == 1:
            return 0.0
        mine = self.act_bytes / (plan.tensor if plan.sequence else 1)
        group = self.cluster.group(plan.expert)
        if not plan.expert_nodes or len(group.spans) < 2:
            return 2 * float(collective("all_to_all", mine * self.model.top_k, group).time_s)
        inside, between = Group(group.spans[:1], group.memory_bytes_per_s), Group(group.spans[1:], group.memory_bytes_per_s)
        copies = min(self.model.top_k, plan.expert_nodes)   # a copy for every node, spread inside it while the next arrive
        return 2 * max(float(collective("all_to_all", mine * self.model.top_k, inside).time_s), float(collective("all_to_all", mine * copies, between).time_s))

    def context_s(self, times: int) -> float:
        """Seconds of keys and values (and in the backward pass their gradients) once round the ring of the context group."""
        plan = self.plan
        if plan.context == 1:
            return 0.0
        mine = plan.microbatch * self.new * self.model.kv_elements_per_layer / min(plan.tensor, self.model.kv_heads) * self.bytes_per
        return float(collective("all_gather", mine * plan.context * times, self.cluster.group(plan.context, plan.tensor), "ring").time_s)

    def send_s(self) -> float:
        """Seconds of one micro-batch's activations to the next stage; each tensor rank sends its share (Narayanan et al. 2021, section 4.1)."""
        plan = self.plan
        if plan.pipeline == 1:
            return 0.0
        group = self.cluster.group(2, plan.tensor * plan.context * plan.data)
        scatter = float(collective("all_gather", self.act_bytes, self.cluster.group(plan.tensor)).time_s) if plan.tensor > 1 and not plan.sequence else 0.0
        return float(collective("send", self.act_bytes / plan.tensor, group).time_s) + scatter

    def gradients_s(self, count: int, stage: Stage) -> tuple[float, float]:
        """(exposed seconds of gradient reduction, exposed seconds of gathering weights) of one step."""
        plan = self.plan
        dense, expert = stage_params(self.model, plan)
        grad, weight = BITS[plan.gradient_dtype] / 8, self.bytes_per
        groups = [(dense, plan.replicas, plan.tensor), (expert, plan.expert_replicas, max(plan.expert, plan.tensor))]
        reduce = gather = 0.0
        for params, ranks, stride in groups:
            if params and ranks > 1:
                group = self.cluster.group(ranks, stride)
                reduce += float(collective("all_reduce" if plan.zero == 0 else "reduce_scatter", params * grad, group).time_s)
                gather += float(collective("all_gather", params * weight, group).time_s) if plan.zero else 0.0
        if not plan.overlap_gradients:
            return reduce, gather * (2 * count if plan.zero == 3 else 1)
        layers = plan.stage_layers(self.model.layers)
        backward = stage.backward_s + stage.recompute_s
        if plan.schedule == "breadth_first":   # a chunk's gradients are whole when all micro-batches passed it: the first chunk's alone find no cover
            tail, cover = 1 / plan.chunks, backward * count * (1 - 1 / plan.chunks)
        else:                                  # whole only in the last micro-batch, layer by layer
            tail, cover = 1 / layers, backward * (1 - 1 / layers)
        if plan.zero >= 2 and plan.pipeline == 1 and plan.schedule != "breadth_first":   # sharded gradients are reduced after every micro-batch
            exposed = count * max(reduce - cover, reduce * tail)
        else:
            exposed = max(reduce - cover, reduce * tail)
        if plan.zero == 3:   # gathered for the forward and again for the backward pass of every micro-batch (breadth-first: once each), a layer ahead
            rounds = 1 if plan.schedule == "breadth_first" else count
            each = count if plan.schedule == "breadth_first" else 1
            gathered = rounds * sum(max(gather - each * beside * (1 - 1 / layers), gather / layers) for beside in (stage.forward_s, backward))
        else:                # ZeRO 1 and 2 gather the new weights after the update, under the next step's first forward pass
            gathered = max(gather - stage.forward_s, gather / layers) if plan.zero else 0.0
        return exposed, gathered


def _seconds(run: Simulation, plan: ParallelPlan, apart: np.ndarray) -> float:
    """Latency of a layer; with sequence parallelism norms and residual additions see only their share of the tokens."""
    each = run.op_latency_s + apart
    if plan.sequence and plan.tensor > 1:
        cut = np.array([op.name.split(".")[0] in ("attention_norm", "ffn_norm", "attention_add", "ffn_add") for op in run.workload.ops])
        each = np.where(cut, each / plan.tensor, each)
    return float(each.sum())


def _of_attention(run: Simulation) -> float:
    """Seconds of the attention kernels of a layer."""
    return math.fsum(t for op, t in zip(run.workload.ops, run.op_latency_s, strict=True) if op.kind == "attention")
