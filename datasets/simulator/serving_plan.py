"""How a language model is served: formats, sharding, scheduling, and the host's share. A typed, frozen value; every default stands beside its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..dtypes import BITS, dtype_name
from ..errors import InputError, UnknownNameError
from ..transformer import Transformer

#: who runs when: a batch that starts and ends together; requests that come and go with prefills of their own (Orca, OSDI 2022; vLLM, SOSP 2023);
#: prefills cut into chunks that ride along with decodes (Sarathi-Serve, OSDI 2024)
SCHEDULES = ("static", "continuous", "chunked")


@dataclass(frozen=True)
class Draft:
    """Speculative decoding (Leviathan et al., ICML 2023): `model` proposes `tokens`, each accepted with probability `acceptance`."""

    model: Transformer
    tokens: int = 4
    acceptance: float = 0.8

    def __post_init__(self) -> None:
        if not isinstance(self.tokens, int) or self.tokens < 1:
            raise InputError(f"draft: tokens: expected a whole number of at least 1, got {self.tokens!r}")
        if not 0.0 <= self.acceptance <= 1.0:
            raise InputError(f"draft: acceptance: expected a share from 0 to 1, got {self.acceptance!r}")

    @property
    def tokens_per_step(self) -> float:
        """Expected tokens one verification yields: (1 - a^(g+1)) / (1 - a), equation 1 there."""
        a, g = self.acceptance, self.tokens
        return g + 1.0 if a == 1.0 else (1.0 - a ** (g + 1)) / (1.0 - a)


@dataclass(frozen=True)
class ServingPlan:
    """Options of one deployment; InputError naming the field of an impossible one.

    Formats: products in `dtype` ("bfloat16", "int8" for W8A8, "float8", ...), weights stored in `weight_dtype` (default: the same), the cache in
    `kv_dtype` (default: the 16-bit activations). `sparsity` of the weights as in `Op`.
    Sharding: `tensor` x `pipeline` devices, `expert`: experts over so many (more than `tensor`: attention is repeated expert/tensor times and
    each replica serves its share of the batch).
    """

    dtype: str = "bfloat16"
    weight_dtype: str = ""
    kv_dtype: str = ""
    sparsity: str = ""
    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    schedule: str = "static"
    #: tokens of one chunk, decodes included (Sarathi-Serve, section 4.3: 512 for strict latency targets)
    chunk_tokens: int = 512
    #: most prompt tokens in one prefill (vLLM and TensorRT-LLM default max_num_tokens: 8192)
    prefill_tokens: int = 8192
    #: prompt tokens already in the cache (a shared prefix)
    cached_tokens: int = 0
    draft: Draft | None = None
    #: share of device memory the engine may fill (vLLM: gpu_memory_utilization = 0.9)
    memory_share: float = 0.9
    #: host seconds between steps that the device waits for (0: hidden; measured engines need more, see docs/llm.md)
    step_overhead_s: float = 0.0
    #: share of collectives hidden behind computation (0: none, as in engines without overlap)
    overlap: float = 0.0
    #: algorithm of all-reduces and all-gathers (`collectives.ALGORITHMS`; auto: the fastest for each payload)
    algorithm: str = "auto"
    #: whether weights that do not fit may stream from `Hardware.backing`
    offload: bool = True

    def __post_init__(self) -> None:
        def fault(name: str, expected: str) -> InputError:
            return InputError(f"serving plan: {name}: expected {expected}, got {getattr(self, name)!r}")

        for name in ("dtype", "weight_dtype", "kv_dtype"):
            if getattr(self, name):
                object.__setattr__(self, name, dtype_name(getattr(self, name)))
        for name, least in (("tensor", 1), ("pipeline", 1), ("expert", 1), ("chunk_tokens", 1), ("prefill_tokens", 1), ("cached_tokens", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise fault(name, f"a whole number of at least {least}")
        if self.schedule not in SCHEDULES:
            raise UnknownNameError("schedule", self.schedule, SCHEDULES)
        if not 0.0 < self.memory_share <= 1.0:
            raise fault("memory_share", "a share above 0, at most 1")
        if not 0.0 <= self.overlap <= 1.0:
            raise fault("overlap", "a share from 0 to 1")
        if not (isinstance(self.step_overhead_s, (int, float)) and math.isfinite(self.step_overhead_s) and self.step_overhead_s >= 0):
            raise fault("step_overhead_s", "a finite number >= 0")

    @property
    def stage_devices(self) -> int:
        """Devices of one pipeline stage."""
        return max(self.tensor, self.expert)

    @property
    def devices(self) -> int:
        """Devices in all."""
        return self.stage_devices * self.pipeline

    @property
    def replicas(self) -> int:
        """How often attention is repeated: each replica serves its share of the sequences."""
        return max(1, self.expert // self.tensor)

    @property
    def formats(self) -> dict[str, Any]:
        """The arguments of `layer_workload` that say number formats."""
        return {"dtype": self.dtype, "weight_dtype": self.weight_dtype or None, "kv_dtype": self.kv_dtype or None, "sparsity": self.sparsity}

    @property
    def cache_dtype(self) -> str:
        """The format of the cache."""
        return self.kv_dtype or self.activation_dtype

    @property
    def activation_dtype(self) -> str:
        """The format of what flows between layers and devices."""
        return self.dtype if BITS[self.dtype] >= 16 else "bfloat16"
