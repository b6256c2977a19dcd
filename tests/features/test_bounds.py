"""The speed of light holds: by hand for single operators, and against the simulator for every family on every machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from silicast.datasets import catalog
from silicast.datasets.catalog.drawn import DRAWN
from silicast.datasets.columns import DeviceColumns, OpColumns
from silicast.datasets.devices import sample_device
from silicast.datasets.dtypes import DTYPE_NAMES
from silicast.datasets.families import FAMILIES, sample
from silicast.datasets.hardware import Hardware, MemoryLevel, SpatialArray
from silicast.datasets.ops import COLLECTIVES, FLAGS, KIND_NAMES, OP_KINDS, Op
from silicast.datasets.simulator import simulate_many
from silicast.datasets.simulator.simulate import simulate_ops
from silicast.datasets.table import GraphQuestions
from silicast.features.bounds import Bounds, op_bounds
from silicast.features.tabular import device_rows, tabular_features


def machine(**given: Any) -> Hardware:
    """1 Top/s on matrices, 0.1 Top/s on vectors, 10 GB/s; no cache."""
    figures: dict[str, Any] = {"matrix_rate": {"float16": 1e12}, "vector_rate": {"float16": 1e11}, **given}
    return Hardware("m", "m", "gpu", (MemoryLevel("dram", 1e9, 1e10),), 1e9, **figures)


def bounds(op: Op, device: Hardware) -> Bounds:
    return op_bounds(OpColumns.from_ops([op]), DeviceColumns.from_devices([device]), in_graph=False)


def gemm(size: int) -> Op:
    return Op.of("g", "gemm", m=size, n=size, k=size)


def elementwise(cost: int) -> Op:
    return Op.of("e", "elementwise", elements=1_000_000, cost=cost)


# by hand: a product of s^3 is 2 s^3 operations and 3 s^2 elements of 2 bytes; an elementwise op reads and writes each element once
@pytest.mark.parametrize(("op", "device", "seconds"), [
    (gemm(100), machine(), 6e4 / 1e10),                                        # traffic: 6e4 bytes; arithmetic would take 2e6 / 1e12
    (gemm(1000), machine(), 2e9 / 1e12),                                       # arithmetic: 2e9 operations; traffic would take 6e6 / 1e10
    (gemm(1000), machine(vector_rate={"float16": 2.5e12}), 2e9 / 2.5e12),      # a product may run on vector units
    (elementwise(8), machine(), 4e6 / 1e10),                                   # traffic: 4e6 bytes; arithmetic would take 8e6 / 1e11
    (elementwise(100), machine(), 1e8 / 1e11),                                 # arithmetic
    (gemm(1000), machine(matrix_rate={"float16": 1e11}, array=SpatialArray(20, 20, "ws")), 2e9 / 8e11),  # 2 x 400 multipliers x 1 GHz: more than published
])
def test_by_hand(op: Op, device: Hardware, seconds: float) -> None:
    assert bounds(op, device).bound_s[0] == pytest.approx(seconds, rel=1e-12)


def machines() -> list[Hardware]:
    real = [catalog.hardware(key) for key in catalog.keys()]  # noqa: SIM118
    rng = np.random.default_rng(11)
    return real + [sample_device(rng, kind, [d for d in real if d.key in DRAWN]) for kind in ("gpu", "cpu", "npu", "fpga") for _ in range(6)]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_workload_beats_the_speed_of_light(family: str) -> None:
    every = machines()
    for seed in range(4):
        devices = every if seed == 0 else [d for d in every if d.key in DRAWN or d.key not in catalog.keys()]  # noqa: SIM118
        workload = sample(family, np.random.default_rng(seed))
        answers = simulate_many(workload, devices)
        features = tabular_features(GraphQuestions.cross(workload, devices), {})
        for i, answer in enumerate(answers):
            if answer.values:  # an FPGA it does not fit has none
                assert features.floor["latency_s"][i] <= answer.values["latency_s"], (workload.name, devices[i].key)
                assert features.reference["memory_bytes"][i] == pytest.approx(answer.values["memory_bytes"], rel=1e-12)
        reference = features.reference
        assert (reference["latency_s"] >= features.floor["latency_s"]).all()
        np.testing.assert_allclose(reference["energy_j"], reference["power_w"] * reference["latency_s"], rtol=1e-12)


def random_op(kind: str, rng: np.random.Generator) -> Op:
    """An op with log-uniform sizes, any dtype, weights of another one now and then."""
    few = {"kernel_h": 7, "kernel_w": 7, "gates": 4, "directions": 2, "cost": 20, "batch": 32, "heads": 32, "kv_heads": 32, "b": 32, "steps": 64}
    dims = {}
    for dim in OP_KINDS[kind].dims:
        top = 2.0**26 if dim.endswith("elements") else few.get(dim, 4096)
        dims[dim] = int(rng.integers(0, 2)) if dim in FLAGS else 1 if dim == "groups" and kind != "grouped_gemm" else int(np.exp(rng.uniform(0, np.log(top))))
    if kind == "conv" and rng.random() < 0.3:  # depthwise
        dims["groups"] = dims["out_channels"] = dims["in_channels"]
    return Op.of("o", kind, dtype=str(rng.choice(DTYPE_NAMES)), weight_dtype=str(rng.choice(DTYPE_NAMES)) if rng.random() < 0.3 else "", **dims)


@pytest.mark.parametrize("kind", [k for k in KIND_NAMES if k not in COLLECTIVES])
def test_no_lone_op_beats_the_speed_of_light(kind: str) -> None:
    rng = np.random.default_rng(KIND_NAMES.index(kind))
    rows = [random_op(kind, rng) for _ in range(25)]
    devices = [d for d in machines() if not d.fabric]
    ops, columns = OpColumns.from_ops(rows), DeviceColumns.from_devices(devices)
    truth = simulate_ops(ops, devices).time_s
    n, d = truth.shape
    found = op_bounds(ops.take(np.repeat(np.arange(n), d)), columns.take(np.tile(np.arange(d), n)), in_graph=False)
    beaten = np.argwhere(found.bound_s.reshape(n, d) > truth)
    assert not len(beaten), f"{rows[beaten[0][0]]} on {devices[beaten[0][1]].key}"
    assert (found.estimate_s >= found.bound_s).all()
    assert (found.bound_s > 0).all()
    assert np.isfinite(found.estimate_s + found.launch_s + found.dynamic_j).all()


def test_a_machine_no_catalogue_knows_gets_typical_figures() -> None:
    ops = OpColumns.from_ops([gemm(1000), elementwise(8)])
    for devices in ((None,), (None, catalog.hardware("a100_sxm"))):
        found = op_bounds(ops, device_rows(devices, np.zeros(2, dtype=np.int64)), in_graph=False)
        assert np.isfinite(found.estimate_s).all()
        assert (found.estimate_s >= found.bound_s).all()
        # by hand: 1.5 TB/s stands in for the bandwidth, so 4e6 bytes take 2.67 us
        assert found.bound_s[1] == pytest.approx(4e6 / 1.5e12)
