"""Memory of one device in training: weights, gradients, optimizer state, activations, cache; and what it lacks, in bytes.

Model state: Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", SC 2020, figure 1: with Psi parameters
in 16 bits and Adam in mixed precision 2 Psi + 2 Psi + 12 Psi bytes, each part over the replicas from its stage on.

Activations: Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models", MLSys 2023, equations 1 to 4, term by term, so
that gated, grouped-query and mixture layers count as they are; for the paper's layer (4h wide, dropout, scores kept) it is s b h (34 + 5 a s / h),
s b h (10 + 24/t + 5 a s / (h t)) under tensor parallelism, s b h / t (34 + 5 a s / h) with sequence parallelism too, and 2 s b h fully recomputed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..dtypes import BITS
from ..hardware import MemoryLevel
from ..transformer import Transformer
from .parallel import ParallelPlan


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes on the fullest device, by what they are; `host_bytes` is what was offloaded, per device. `capacity_bytes` of the device's main memory."""

    weights_bytes: float
    gradients_bytes: float
    optimizer_bytes: float
    activations_bytes: float
    kv_cache_bytes: float
    capacity_bytes: float
    host_bytes: float = 0.0

    @property
    def total_bytes(self) -> float:
        """Bytes on the device."""
        return self.weights_bytes + self.gradients_bytes + self.optimizer_bytes + self.activations_bytes + self.kv_cache_bytes

    @property
    def shortfall_bytes(self) -> float:
        """Bytes the device lacks; 0 when all fits."""
        return max(0.0, self.total_bytes - self.capacity_bytes)


def model_states(params: float, zero: int, replicas: int, weight_bytes: float = 2.0, gradient_bytes: float = 2.0, optimizer_bytes: float = 12.0) -> tuple[float, float, float]:
    """(weights, gradients, optimizer) bytes on a device that holds `params` parameters with `replicas` like it, under ZeRO stage `zero`."""
    return (params * weight_bytes / (replicas if zero >= 3 else 1), params * gradient_bytes / (replicas if zero >= 2 else 1),
            params * optimizer_bytes / (replicas if zero >= 1 else 1))


def stage_params(model: Transformer, plan: ParallelPlan) -> tuple[float, float]:
    """(dense, expert) parameters on one device of the fullest stage, before ZeRO."""
    layers = plan.stage_layers(model.layers)
    moe = min(model.moe_layers, layers)   # a stage of mixtures is the heaviest
    routed = model.experts * model.ffn_params(model.moe_ffn) if moe else 0
    own = moe * (model.layer_params("moe") - routed) if moe else 0
    dense = own + (layers - moe) * (model.layer_params("dense") if layers > moe else 0)
    # the first stage of several holds the embedding, the last the head: one table each
    outer = model.outer_params if plan.pipeline == 1 else model.vocab * model.hidden
    return (dense + outer) / plan.tensor, moe * routed / max(plan.expert, plan.tensor)


def layer_activation_bytes(model: Transformer, plan: ParallelPlan, sequence_length: int, kind: str = "dense") -> float:
    """Bytes one layer keeps for its backward pass, of one micro-batch, on one device."""
    e = max(BITS[plan.dtype], 16) / 8
    tokens, t = plan.microbatch * sequence_length / plan.context, plan.tensor
    spread = t if plan.sequence else 1
    h, heads = model.hidden, model.heads
    if plan.recompute == "full":
        return tokens * e * h / spread
    mask = 1.0 if plan.dropout else 0.0
    key = model.nope_dim + model.rope_dim if model.latent else model.head_dim
    value, kv_heads = (model.v_dim, heads) if model.latent else (model.head_dim, model.kv_heads)
    whole = 2 * e * h + e * h + mask * h          # inputs of both norms, input of attention, dropout mask
    cut = e * (heads * key + kv_heads * (key + value) + heads * value)      # Q, K and V, input of the output projection
    scores = 0.0 if plan.flash or plan.recompute == "selective" else (e + (mask and 1.0 + e)) * heads * sequence_length
    whole += e * h + mask * h                     # input of the feed-forward, dropout mask
    ups = 2 if model.gated else 1
    if kind == "moe":
        cut_ffn = model.top_k * (e * h + (ups + 1) * e * model.moe_ffn) / max(1, t // plan.expert) + model.shared_experts * (ups + 1) * e * model.moe_ffn / t
    else:
        cut_ffn = (ups + 1) * e * model.ffn / t
    return tokens * (whole / spread + (cut + scores) / t + cut_ffn)


def training_memory(model: Transformer, plan: ParallelPlan, microbatches: int, sequence_length: int, capacity_bytes: float) -> MemoryPlan:
    """What training holds on the fullest device of the fullest stage."""
    weight, gradient = max(BITS[plan.dtype], 16) / 8, BITS[plan.gradient_dtype] / 8
    dense, expert = stage_params(model, plan)
    parts = [model_states(p, plan.zero, n, weight, gradient, plan.optimizer_bytes) for p, n in ((dense, plan.replicas), (expert, plan.expert_replicas))]
    weights, gradients, optimizer = (sum(column) for column in zip(*parts, strict=True))
    layers = plan.stage_layers(model.layers)
    heaviest = "moe" if model.experts else "dense"
    host = 0.0
    if plan.offload_optimizer:
        host, optimizer = host + optimizer, 0.0
    if plan.offload_weights:
        host, weights = host + weights, 0.0
    if plan.zero == 3 and plan.replicas > 1:
        weights += 2 * weight * (dense + expert) / layers   # the layer at work and the next, gathered whole
    one = layer_activation_bytes(model, plan, sequence_length, heaviest)
    kept = plan.kept_microbatches(microbatches) * layers * one
    if plan.recompute == "full":   # the layer being recomputed is whole once
        kept += layer_activation_bytes(model, replace(plan, recompute="none"), sequence_length, heaviest)
    # the head's inputs and float32 logits; the last of several stages keeps one micro-batch only
    logits = plan.microbatch * sequence_length / plan.context * (4.0 * model.vocab / plan.tensor + weight * model.hidden)
    last = kept if plan.pipeline == 1 else kept / max(1.0, plan.kept_microbatches(microbatches))
    return MemoryPlan(weights, gradients, optimizer, max(kept, last + logits), 0.0, capacity_bytes, host)


def shortfall(memory: MemoryPlan, host: MemoryLevel | None) -> str:
    """Why it does not fit, with the bytes that are lacking; "" when it does."""
    said = []
    if memory.shortfall_bytes > 0:
        parts = {"weights": memory.weights_bytes, "gradients": memory.gradients_bytes, "optimizer": memory.optimizer_bytes, "activations": memory.activations_bytes,
                 "KV cache": memory.kv_cache_bytes}
        shown = ", ".join(f"{name} {size:,.0f}" for name, size in parts.items() if size)
        said.append(f"device memory overflows by {memory.shortfall_bytes:,.0f} bytes: needs {memory.total_bytes:,.0f} of {memory.capacity_bytes:,.0f} ({shown})")
    if host is not None and memory.host_bytes > host.capacity_bytes:
        said.append(f"{host.name} overflows by {memory.host_bytes - host.capacity_bytes:,.0f} bytes a device: needs {memory.host_bytes:,.0f} of {host.capacity_bytes:,.0f}")
    return "; ".join(said)
