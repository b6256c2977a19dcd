"""How a training run is spread over a cluster: degrees, schedule, sharding of state, recomputation; valid against model and cluster.

Ranks are laid out tensor first (neighbours), then context, then data, pipeline outermost, as Megatron-LM does, so that what talks most is nearest.
A pipeline of p stages with v chunks each takes m micro-batches of the global batch:

    gpipe           all forward, then all backward: idle (p-1)/m of the work, m micro-batches kept       Huang et al., NeurIPS 2019
    1f1b            the same idle share, at most p micro-batches kept                                    Narayanan et al. (PipeDream-flush), ICML 2021
    interleaved     v chunks a device: idle (p-1)/(v m), p (1 + (p-1)/(p v)) kept, v times the messages  Narayanan et al., SC 2021, section 2.2
    breadth_first   looped like that, but all micro-batches through a chunk before the next: a chunk's gradients are whole early,
                    their reduction hides under the rest of the backward pass; m micro-batches kept      Lamy-Poirier, MLSys 2023
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from ..cluster import Cluster
from ..dtypes import dtype_name
from ..errors import InputError, UnknownNameError
from ..transformer import Transformer

SCHEDULES = ("gpipe", "1f1b", "interleaved", "breadth_first")
RECOMPUTE = ("none", "selective", "full")
OFFLOAD = ("", "cpu", "nvme")


@dataclass(frozen=True, slots=True)
class ParallelPlan:
    """Degrees of parallelism and what else decides a training step; InputError names an impossible field.

    `tensor` x `context` x `data` x `pipeline` devices. `expert`: the experts of a layer are spread over so many of the devices of a stage
    (tensor ranks first). `sequence`: norms and dropouts are cut along the sequence by the tensor group (Korthikanti et al. 2022). `context`
    cuts the sequence for everything, keys and values go round a ring (Liu et al., Ring Attention, 2023). `chunks` of layers per stage;
    `uneven`: the layers need not divide, the fullest stage counts. `zero`: 1 shards the optimizer's state, 2 gradients too, 3 weights too
    (Rajbhandari et al., SC 2020). `offload_optimizer` and `offload_weights` keep that state in "cpu" or "nvme" memory (ZeRO-Infinity, SC 2021).
    `recompute` activations: "selective" those of attention, "full" all but the layers' inputs. `flash`: attention never stores its scores.
    `dropout`: masks are kept. `overlap_gradients`, `overlap_tensor`, `overlap_pipeline`, `overlap_expert`: that traffic runs beside arithmetic where it can.
    `expert_nodes`: a token's experts are sought in so many nodes at most (0: anywhere), and a copy goes to each only once.
    `optimizer_bytes` per parameter: 12 is Adam in float32 with a master copy.
    """

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    context: int = 1
    expert: int = 1
    microbatch: int = 1
    sequence: bool = False
    schedule: str = "1f1b"
    chunks: int = 1
    uneven: bool = False
    zero: int = 0
    offload_optimizer: str = ""
    offload_weights: str = ""
    recompute: str = "none"
    flash: bool = True
    dropout: bool = False
    overlap_gradients: bool = True
    overlap_tensor: bool = False
    overlap_pipeline: bool = False
    overlap_expert: bool = False
    expert_nodes: int = 0
    dtype: str = "bfloat16"
    gradient_dtype: str = "bfloat16"
    optimizer_bytes: float = 12.0

    def __post_init__(self) -> None:
        for name in ("tensor", "pipeline", "data", "context", "expert", "microbatch", "chunks"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"parallel plan: {name}: expected a whole number of at least 1, got {value!r}")
        if not isinstance(self.expert_nodes, int) or isinstance(self.expert_nodes, bool) or self.expert_nodes < 0:
            raise InputError(f"parallel plan: expert_nodes: expected a whole number of at least 0, got {self.expert_nodes!r}")
        for name, value, known in (("schedule", self.schedule, SCHEDULES), ("recomputation", self.recompute, RECOMPUTE),
                                   ("offload target", self.offload_optimizer, OFFLOAD), ("offload target", self.offload_weights, OFFLOAD)):
            if value not in known:
                raise UnknownNameError(name, value, known, "in a parallel plan")
        if self.zero not in (0, 1, 2, 3) or isinstance(self.zero, bool):
            raise InputError(f"parallel plan: zero: expected 0, 1, 2 or 3, got {self.zero!r}")
        if not (math.isfinite(self.optimizer_bytes) and self.optimizer_bytes >= 0):
            raise InputError(f"parallel plan: optimizer_bytes: expected a finite number >= 0, got {self.optimizer_bytes!r}")
        if self.chunks > 1 and self.schedule not in ("interleaved", "breadth_first"):
            raise InputError(f"parallel plan: {self.chunks} chunks a stage need the schedule 'interleaved' or 'breadth_first', got {self.schedule!r}")
        if self.offload_weights and self.zero < 3:
            raise InputError(f"parallel plan: weights are offloaded under ZeRO stage 3, got zero={self.zero}")
        small, large = sorted((self.expert, self.tensor))
        if large % small or (self.tensor * self.context * self.data) % self.expert:
            raise InputError(f"parallel plan: expert {self.expert} does not divide the {self.tensor} x {self.context} x {self.data} (tensor x context x data) devices of a stage, "
                             "or does not nest with tensor")
        object.__setattr__(self, "dtype", dtype_name(self.dtype))
        object.__setattr__(self, "gradient_dtype", dtype_name(self.gradient_dtype))

    @property
    def devices(self) -> int:
        """Product of the degrees."""
        return self.tensor * self.context * self.data * self.pipeline

    @property
    def replicas(self) -> int:
        """Devices that hold the same dense weights of a stage: what ZeRO shards over."""
        return self.data * self.context

    @property
    def expert_replicas(self) -> int:
        """Devices that hold the same experts."""
        return self.tensor * self.context * self.data // max(self.expert, self.tensor)

    def microbatches(self, batch: int) -> int:
        """Micro-batches a pipeline takes of a global batch of sequences. Raises InputError when it does not divide."""
        if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1 or batch % (self.data * self.microbatch):
            raise InputError(f"parallel plan: a batch of {batch!r} sequences does not divide by data {self.data} x microbatch {self.microbatch}")
        count = batch // (self.data * self.microbatch)
        if self.schedule == "interleaved" and self.chunks > 1 and count % self.pipeline:
            raise InputError(f"parallel plan: the interleaved schedule takes micro-batches in rounds of pipeline {self.pipeline}, got {count}")
        return count

    def stage_layers(self, layers: int) -> int:
        """Layers of the fullest stage. Raises InputError when they do not divide and `uneven` is not set."""
        slots = self.pipeline * self.chunks
        if layers % slots and not self.uneven:
            raise InputError(f"parallel plan: {layers} layers do not divide by pipeline {self.pipeline} x chunks {self.chunks}; set uneven=True to let stages differ")
        return -(-layers // slots) * self.chunks if layers % slots else layers // self.pipeline

    def check(self, model: Transformer, cluster: Cluster, sequence_length: int) -> None:
        """Raises InputError naming the first thing of model, cluster or sequence that this plan does not divide."""
        if self.devices != cluster.devices:
            degrees = " x ".join(f"{getattr(self, f.name)} ({f.name})" for f in fields(self) if f.name in ("tensor", "context", "data", "pipeline"))
            raise InputError(f"parallel plan: {degrees} = {self.devices} devices, cluster {cluster.key!r} has {cluster.devices} (Cluster.take gives a part of one)")
        for what, size, parts, name in (("heads", model.heads, self.tensor, "tensor"), ("feed-forward columns", model.ffn, self.tensor, "tensor"),
                                        ("tokens of a sequence", sequence_length, self.context * (self.tensor if self.sequence else 1), "context x tensor" if self.sequence else "context"),
                                        ("experts", model.experts, self.expert, "expert")):
            if size and size % parts:
                raise InputError(f"parallel plan: {size} {what} of {model.key!r} do not divide by {name} {parts}")
        if self.expert > 1 and not model.experts:
            raise InputError(f"parallel plan: expert {self.expert}, but {model.key!r} has no experts")
        self.stage_layers(model.layers)

    def idle_share(self, microbatches: int) -> float:
        """Time of a pipeline's fill and drain over the time of its work: (p - 1) / (v m)."""
        return (self.pipeline - 1) / (self.chunks * microbatches)

    def kept_microbatches(self, microbatches: int) -> float:
        """Micro-batches whose activations the first stage keeps at its fullest, counted in whole stages."""
        p = self.pipeline
        if self.schedule in ("gpipe", "breadth_first"):
            return float(microbatches)
        most = p * (1 + (p - 1) / (p * self.chunks)) if self.chunks > 1 else float(p)
        return min(most, float(microbatches))
