"""Columns: rows taken and joined, devices as figures, NaN where nobody published one."""

import dataclasses

import numpy as np
import pytest

from silicast.datasets import catalog
from silicast.datasets.columns import DeviceColumns, OpColumns, element_bytes, work_left
from silicast.datasets.dtypes import DTYPE_CODES, DTYPE_NAMES
from silicast.datasets.errors import GraphError
from silicast.datasets.hardware import DATAFLOWS, KINDS, Hardware, MemoryLevel, SpatialArray
from silicast.datasets.ops import Op

OPS = [Op.of("a", "gemm", m=2, n=3, k=4, params=12), Op.of("b", "softmax", rows=2, cols=3, dtype="float32"), Op.of("c", "move", elements=5, dtype="int8")]


def test_take_and_concat_are_inverse():
    columns = OpColumns.from_ops(OPS)
    parts = [columns.take(np.array([i])) for i in range(3)]
    joined = OpColumns.concat(parts)
    for field in dataclasses.fields(OpColumns):
        assert (getattr(joined, field.name) == getattr(columns, field.name)).all()
    assert len(columns.take(np.array([True, False, True]))) == 2
    assert len(OpColumns.from_ops([])) == 0


def test_parameters_and_bytes():
    columns = OpColumns.from_ops(OPS)
    assert columns.param_bytes.tolist() == [24.0, 0.0, 0.0]       # 12 x 2 B
    assert columns.total_bytes.tolist() == [(8 + 12 + 6) * 2.0, 12 * 4.0, 10.0]
    assert element_bytes(np.array([DTYPE_CODES["int4"], DTYPE_CODES["float64"]])).tolist() == [0.5, 8.0]


def test_a_table_of_sizes_broadcasts_fixed_values_and_counts_weights_as_parameters():
    dtype = np.full(3, DTYPE_CODES["float16"], dtype=np.int16)
    columns = OpColumns.from_sizes("gemm", {"m": np.array([1.0, 2.0, 3.0]), "n": 4, "k": 5}, dtype, np.full(3, DTYPE_CODES["int8"], dtype=np.int16))
    assert columns.matrix_flops.tolist() == [40.0, 80.0, 120.0]
    assert columns.param_bytes.tolist() == [20.0] * 3            # 4 x 5 at 1 B
    with pytest.raises(GraphError, match="missing: k"):
        OpColumns.from_sizes("gemm", {"m": 1, "n": 1}, dtype)


def test_devices_as_figures():
    a100, tpu = catalog.hardware("a100_sxm"), catalog.hardware("tpu_like")
    bare = Hardware("bare", "Bare", "cpu", (MemoryLevel("dram", 1e9, 1e9),), 1e9, {"float32": 1e9})
    columns = DeviceColumns.from_devices([a100, tpu, bare])
    assert columns.units[0] == 108
    assert columns.tdp_w[0] == 400
    assert columns.matrix_rate[0, DTYPE_CODES["float16"]] == 312e12
    assert columns.matrix_rate.shape == (3, len(DTYPE_NAMES))
    assert columns.dataflow.tolist() == [-1, DATAFLOWS.index("ws"), -1]
    assert [KINDS[k] for k in columns.kind] == ["gpu", "npu", "cpu"]
    assert columns.cache_bytes[1] == 2 * 2**20                   # the last level before DRAM
    assert np.isnan([columns.cache_bytes[2], columns.local_bytes[2], columns.tdp_w[2], columns.lut[0], columns.array_rows[0], columns.launch_s[2]]).all()
    assert len(columns.take(np.array([2, 0, 0]))) == 3
    assert columns.take(np.array([2, 0])).units.tolist() == [1.0, 108.0]


def test_the_work_left_when_weights_of_zero_are_skipped():
    memory = (MemoryLevel("dram", 1e9, 1e9),)
    two_of_four = Hardware("a", "A", "gpu", memory, 1e9, {"float16": 1e12}, sparsity="2:4")
    plain = Hardware("b", "B", "gpu", memory, 1e9, {"float16": 1e12})
    skipping = Hardware("c", "C", "npu", memory, 1e9, array=SpatialArray(8, 8, "ws", skips_zeros="weights"))
    ops = OpColumns.from_ops([Op.of("x", "gemm", m=1, n=8, k=8, sparsity=s) for s in ("", "2:4", "1:4", "2:8", "4:8", "1:2", "0.1")])
    left = work_left(ops, DeviceColumns.from_devices([two_of_four, plain, skipping]))
    # 2:8 holds at most two in any four; 4:8 may hold four; 1:2 holds two in four
    assert left[:, 0].tolist() == [1.0, 0.5, 0.5, 0.5, 1.0, 0.5, 1.0]
    assert (left[:, 1] == 1.0).all()
    assert left[:, 2].tolist() == [1.0, 0.5, 0.25, 0.25, 0.5, 0.5, 0.1]
