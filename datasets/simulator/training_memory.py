"""Memory of training on the device: what must be kept from the forward pass, gradients on their way back, and what may stay in flash.

    memory = training_memory(net.build(), updates={"head": 1.0, "stage4/conv2": 0.25}, optimizer="sgd")
    memory.peak_bytes, memory.frozen_bytes

Only what the update needs is kept. Sparse update (Lin et al., On-Device Training Under 256KB Memory, NeurIPS 2022, section 2.2): an operator that is not in `updates`
keeps no input; one updated in part keeps that share of its input channels; one with share 0 updates its bias only and keeps nothing; nothing before the first
updated operator runs backward at all. In place (its section 3.3, operator reordering): a weight's gradient is applied as soon as it is known, so only one lives
at a time. An elementwise operator writes over its operand where nothing else needs that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..dtypes import BITS
from ..errors import InputError, UnknownNameError
from ..workload import Tensor, Workload

#: optimizer -> float32 numbers of state per updated parameter
OPTIMIZERS = {"sgd": 0, "momentum": 1, "adam": 2}
#: kinds whose weight gradient needs their input
_LEARNS = ("gemm", "conv", "recurrent", "grouped_gemm", "deform_conv", "scan")
#: share of its input that the backward pass of an operator without updated weights needs. Products of two activations, norms and softmax need theirs whole;
#: additions, pooling by average, reductions and copies nothing; an elementwise function of cost 1 or 2 with one operand (a rectifier) its sign, one bit; other
#: elementwise functions their input. An elementwise product of two operands is counted with the additions (assumption: the graph does not tell them apart).
_NEEDS_ALL = ("attention", "norm", "softmax", "gemm", "grouped_gemm", "scan")


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of one training step. `peak_bytes` is what must be in RAM at once: updated weights, optimizer state, activations and gradients at the worst moment.

    `saved_bytes`: activations kept for the backward pass, at its start. `frozen_bytes`: weights that are never written and may live in flash.
    """

    peak_bytes: float
    saved_bytes: float
    updated_bytes: float
    optimizer_bytes: float
    frozen_bytes: float
    forward_peak_bytes: float


def training_memory(workload: Workload, updates: Mapping[str, float] | None = None, optimizer: str = "sgd", in_place: bool = True) -> TrainingMemory:
    """Memory of one training step of the workload (its tensors are one batch).

    `updates`: operator name -> share of its input channels whose weights are updated, 0 for the bias alone; None: every weight. Raises InputError for a share outside
    0..1 or an operator without weights, UnknownNameError for another name or optimizer.
    """
    share = _shares(workload, updates)
    if optimizer not in OPTIMIZERS:
        raise UnknownNameError("optimizer", optimizer, OPTIMIZERS)
    count = len(workload.ops)
    back = _backward(workload, share)
    # steps 0..V-1 forward, V..2V-1 backward (operator i at 2V-1-i)
    live = np.zeros(2 * count + 1)
    saved = 0.0
    for tensor in workload.tensors:
        made = max(tensor.producer, 0)
        readers = tensor.consumers or (count - 1,)
        overwritten = _overwritten(workload, tensor, share, back)
        _hold(live, made, max(readers) - overwritten, tensor.bytes)
        kept = {i: _need(workload, i, share, back) for i in tensor.consumers}
        need = max(kept.values(), default=0.0)
        if need > 0.0:  # kept until the backward step of the first operator that needs it; beyond its forward life only that share
            _hold(live, max(readers) + 1, 2 * count - 1 - min(i for i, k in kept.items() if k > 0.0), tensor.bytes * need)
            saved += tensor.bytes * need
        if tensor.producer >= 0 and back[tensor.producer]:
            _hold(live, 2 * count - 1 - max(readers) + overwritten, 2 * count - 1 - tensor.producer, tensor.bytes)  # its gradient
    updated = 0.0
    for i, op in enumerate(workload.ops):
        if share[i] is None or not op.params:
            continue
        gradient = _updated(workload, i, share) * BITS[op.dtype] / 8
        updated += _updated(workload, i, share) * BITS[op.weight_dtype] / 8
        at = 2 * count - 1 - i
        _hold(live, at, at if in_place else 2 * count - 1, gradient)
    totals = np.cumsum(live)[:-1]
    state = 4.0 * OPTIMIZERS[optimizer] * sum(_updated(workload, i, share) for i in range(count))
    return TrainingMemory(peak_bytes=float(totals.max(initial=0.0)) + updated + state, saved_bytes=saved, updated_bytes=updated, optimizer_bytes=state,
                          frozen_bytes=workload.weight_bytes - updated, forward_peak_bytes=float(totals[:count].max(initial=0.0)))


def training_macs(workload: Workload, updates: Mapping[str, float] | None = None) -> float:
    """Multiply-adds of one step: forward, then the gradient of the input of every operator that backward passes through, and of the weights updated."""
    share = _shares(workload, updates)
    back = _backward(workload, share)
    feeds_back = {c for t in workload.tensors if t.producer >= 0 and back[t.producer] for c in t.consumers}
    macs = workload.columns.matrix_flops / 2.0
    total = float(macs.sum())
    for i, op in enumerate(workload.ops):
        total += float(macs[i]) * (i in feeds_back)
        if op.params and op.kind in _LEARNS:
            total += float(macs[i]) * (share[i] or 0.0)
        elif not op.params and back[i]:
            total += float(macs[i])  # a product of activations: a gradient for each operand
    return total


def _shares(workload: Workload, updates: Mapping[str, float] | None) -> list[float | None]:
    """Per operator: None where nothing is updated, else the share of its weights."""
    if updates is None:
        return [1.0 if op.params else None for op in workload.ops]
    named = {op.name: op for op in workload.ops}
    for name, value in updates.items():
        if name not in named:
            raise UnknownNameError("operator", name, named, f"in the updates of {workload.name!r}")
        if not named[name].params:
            raise InputError(f"updates[{name!r}]: {workload.name!r} has no weights there; expected an operator with parameters")
        if not 0.0 <= value <= 1.0:
            raise InputError(f"updates[{name!r}]: expected a share from 0 to 1, got {value!r}")
    return [updates.get(op.name) for op in workload.ops]


def _updated(workload: Workload, i: int, share: list[float | None]) -> float:
    """Parameters of an operator that are written; share 0 is its bias, one per output channel (the second operand's columns)."""
    op, part = workload.ops[i], share[i]
    if part is None or not op.params:
        return 0.0
    columns = workload.columns
    bias = min(float(columns.n[i] * columns.b[i]) if op.kind == "conv" else float(columns.n[i]), float(op.params))
    return max(part * op.params, bias)


def _backward(workload: Workload, share: list[float | None]) -> list[bool]:
    """Per operator: whether gradients reach its output: it, or one before it, is updated."""
    reached = [part is not None for part in share]
    feeds: list[list[int]] = [[] for _ in workload.ops]
    for tensor in workload.tensors:
        if tensor.producer >= 0:
            for reader in tensor.consumers:
                feeds[reader].append(tensor.producer)
    for i in range(len(reached)):
        reached[i] = reached[i] or any(reached[p] for p in feeds[i])
    return reached


def _need(workload: Workload, i: int, share: list[float | None], back: list[bool]) -> float:
    """Share of an input of operator i that is kept for the backward pass."""
    op = workload.ops[i]
    if not back[i]:
        return 0.0
    if op.params and op.kind in _LEARNS:
        return share[i] or 0.0
    if op.kind in _NEEDS_ALL:
        return 1.0
    if op.kind == "elementwise":
        if op.dims["extra_elements"]:
            return 0.0
        return 1.0 / BITS[op.dtype] if op.dims["cost"] <= 2 else 1.0
    return 0.0


def _overwritten(workload: Workload, tensor: Tensor, share: list[float | None], back: list[bool]) -> bool:
    """Whether a tensor's only reader is an elementwise operator that may write its result over it (and its gradient likewise)."""
    if tensor.producer < 0 or len(tensor.consumers) != 1:
        return False
    reader = tensor.consumers[0]
    return workload.ops[reader].kind == "elementwise" and _need(workload, reader, share, back) < 1.0


def _hold(live: np.ndarray, first: int, last: int, amount: float) -> None:
    """Adds `amount` to the steps first..last of a difference array."""
    if last >= first:
        live[first] += amount
        live[last + 1] -= amount
