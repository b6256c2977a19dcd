"""What if a workload ran in another precision: every floating-point operand recast, integers left alone."""

from __future__ import annotations

from dataclasses import replace

from ..dtypes import BITS, dtype_pair
from ..workload import Tensor, Workload


def is_float(dtype: str) -> bool:
    """Whether the canonical dtype is a floating-point format."""
    return "float" in dtype


def recast(workload: Workload, dtype: str) -> Workload:
    """The same graph with every floating-point dtype replaced by `dtype` (or a weight-only scheme such as "int4_wo").

    Integer operands (indices, quantised weights) keep their formats. Raises UnknownNameError for an unknown dtype.
    """
    compute, weight = dtype_pair(dtype)
    ops = tuple(replace(op, dtype=compute if is_float(op.dtype) else op.dtype,
                        weight_dtype=(weight if op.params else compute) if is_float(op.weight_dtype) else op.weight_dtype,
                        output_dtype=compute if is_float(op.output_dtype) else op.output_dtype) for op in workload.ops)

    def scaled(tensor: Tensor) -> Tensor:
        reader = workload.ops[tensor.consumers[0]].dtype if tensor.consumers else ""
        old = workload.ops[tensor.producer].output_dtype if tensor.producer >= 0 else reader  # a graph input has its first reader's format
        return replace(tensor, bytes=-(-tensor.bytes * BITS[compute] // BITS[old])) if old and is_float(old) else tensor

    return Workload(workload.name, ops, tuple(scaled(t) for t in workload.tensors), workload.family, workload.notes)
