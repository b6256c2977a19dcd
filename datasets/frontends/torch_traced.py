"""The forward graph of a torch module while it is being built: what each op read and wrote, so that its backward pass can be written from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..ops import Op
from ..workload import WorkloadBuilder
from .torch_site import Step


class Recorder(WorkloadBuilder):
    """A builder whose last op may write a second tensor: what is kept for the backward pass beside the result."""

    def also(self, name: str, size: int) -> int:
        """A further result of the op added last, of `size` bytes; returns its tensor id."""
        self._tensors.append((name, size, len(self._ops) - 1, []))
        return len(self._tensors) - 1


@dataclass
class Memory:
    """A block of memory that views share: its newest tensor in the graph, its size, and whether gradients flow into it."""

    tensor: int
    elements: int
    dtype: str
    parameter: str = ""
    grad: bool = False


@dataclass
class Ran:
    """One op of the forward pass as the backward pass needs it: the op, its step, what it read (whole or in part) and wrote."""

    op: Op
    step: Step
    reads: tuple[tuple[Memory, int, int], ...]  # memory, its tensor at the time, elements seen
    weight: int | None                          # which of them is the second operand
    writes: tuple[Memory, ...]
    made: int = -1                              # the tensor it wrote
    kept: tuple[tuple[int, int], ...] = ()      # (position in reads, -1 for the result; tensor id) of what its derivative needs
    stats: int = -1                             # the tensor of further kept bytes
    grad: bool = False


@dataclass
class Traced:
    """The forward graph while it is being built."""

    builder: Recorder
    memories: dict[Any, Memory] = field(default_factory=dict)   # (graph, node name, part) -> memory
    ran: list[Ran] = field(default_factory=list)
    claimed: set[str] = field(default_factory=set)
    names: dict[str, int] = field(default_factory=dict)
    outputs: list[Memory] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)        # parameter -> the one it is tied to
