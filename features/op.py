"""One vector per operator: what it is, whatever the machine."""

from __future__ import annotations

import numpy as np

from ..datasets.columns import OpColumns, element_bytes
from ..datasets.ops import KIND_NAMES

#: (name, unit) of each column; log is the natural logarithm of 1 + x
OP_FEATURES: tuple[tuple[str, str], ...] = (
    ("log_matrix_flops", "log flop"), ("log_vector_flops", "log flop"), ("log_input_bytes", "log B"), ("log_weight_bytes", "log B"),
    ("log_output_bytes", "log B"), ("log_b", "log 1"), ("log_m", "log 1"), ("log_n", "log 1"), ("log_k", "log 1"), ("log_row", "log 1"),
    ("log_window", "log 1"), ("log_intensity", "log flop/B"), ("element_bytes", "B"), ("weight_element_bytes", "B"),
    *((f"is_{kind}", "0/1") for kind in KIND_NAMES),
)


def op_vector(ops: OpColumns) -> np.ndarray:
    """(n, len(OP_FEATURES)) float32."""
    flops = ops.matrix_flops + ops.vector_flops
    columns = [np.log1p(x) for x in (ops.matrix_flops, ops.vector_flops, ops.input_bytes, ops.weight_bytes, ops.output_bytes, ops.b, ops.m, ops.n, ops.k,
                                     ops.row, ops.window, flops / np.maximum(ops.total_bytes, 1.0))]
    columns += [element_bytes(ops.dtype), element_bytes(ops.weight_dtype)]
    columns += [(ops.kind == code).astype(np.float64) for code in range(len(KIND_NAMES))]
    return np.column_stack(columns).astype(np.float32)
