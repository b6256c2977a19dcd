"""Estimates of a handful of mappings against the simulator's search over all of them, kind by kind; and laws that both must keep."""

from __future__ import annotations

import numpy as np
import pytest

from silicast.datasets import catalog
from silicast.datasets.columns import DeviceColumns, OpColumns
from silicast.datasets.ops import Op
from silicast.datasets.simulator.simulate import simulate_ops
from silicast.features.bounds import op_bounds

GPUS = ("a100_sxm", "h100_sxm", "l40s", "v100_sxm", "t4")
CPUS = ("xeon_8380", "epyc_7763")


def ops(kind: str, seed: int = 0, count: int = 40) -> OpColumns:
    """Operators of everyday sizes."""
    rng = np.random.default_rng(seed)

    def size(low: int, high: int) -> int:
        return int(2.0 ** rng.uniform(np.log2(low), np.log2(high)))

    made = {
        "gemm": lambda: {"m": size(16, 8192), "n": size(128, 8192), "k": size(128, 8192)},
        "attention": lambda: {"batch": size(1, 16), "heads": 32, "kv_heads": 8, "q_len": (s := size(64, 4096)), "kv_len": s, "head_dim": 128, "v_dim": 128, "causal": 1},
        "softmax": lambda: {"rows": size(64, 65536), "cols": size(64, 8192)}, "norm": lambda: {"rows": size(64, 65536), "cols": size(64, 8192)},
        "elementwise": lambda: {"elements": size(1024, 2**26)},
    }[kind]
    return OpColumns.from_ops([Op.of("o", kind, dtype="float16", **made()) for _ in range(count)])





@pytest.mark.parametrize(("kind", "worst"), [("gemm", 0.03), ("attention", 0.001), ("softmax", 0.001), ("norm", 0.001), ("elementwise", 0.001)])
@pytest.mark.parametrize("keys", [GPUS, CPUS])
def test_a_few_mappings_come_close_to_all(kind: str, worst: float, keys: tuple[str, ...]) -> None:
    devices, rows = [catalog.hardware(k) for k in keys], ops(kind)
    truth = simulate_ops(rows, devices)
    n, d = truth.time_s.shape
    columns = DeviceColumns.from_devices(devices)
    found = op_bounds(rows.take(np.repeat(np.arange(n), d)), columns.take(np.tile(np.arange(d), n)), in_graph=False)
    off = np.abs(np.log((found.estimate_s + found.launch_s).reshape(n, d) / truth.time_s))
    spent = np.abs(np.log(found.dynamic_j.reshape(n, d) / truth.dynamic_j))
    assert np.median(off) <= worst
    assert np.quantile(off, 0.9) <= 0.25
    assert np.median(spent) <= 0.05


def test_an_unsplit_product_by_hand() -> None:
    """256 x 256 x 65536 on an A100: four tiles of 128 x 128 leave 104 of 108 processors idle, so the reduction is split, and the estimate is below
    what the four tiles would take: 2 x 128 x 128 x 65536 operations each at 312e12 / 108 x 0.92 op/s, 808 us."""
    a100 = DeviceColumns.from_devices([catalog.hardware("a100_sxm")])
    op = OpColumns.from_ops([Op.of("o", "gemm", dtype="float16", m=256, n=256, k=65536)])
    assert op_bounds(op, a100, in_graph=False).estimate_s[0] < 2 * 128 * 128 * 65536 / (312e12 / 108 * 0.92)


def test_a_higher_clock_costs_more_energy_and_no_more_time() -> None:
    h100 = DeviceColumns.from_devices([catalog.hardware("h100_sxm")])
    slow = op_bounds(ops("softmax"), h100.take(np.zeros(40, dtype=np.int64)), in_graph=False)
    faster = DeviceColumns(**{**vars(h100), "clock_hz": 1.2 * h100.clock_hz, "vector_rate": 1.2 * h100.vector_rate, "matrix_rate": 1.2 * h100.matrix_rate})
    fast = op_bounds(ops("softmax"), faster.take(np.zeros(40, dtype=np.int64)), in_graph=False)
    assert (fast.uncapped_s <= slow.uncapped_s).all()
    assert (fast.dynamic_j >= slow.dynamic_j).all()
