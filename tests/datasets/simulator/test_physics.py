"""Physics that must hold for any op on any machine: as properties over random ops and devices, and over sampled networks."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.datasets import catalog
from silicast.datasets.catalog.drawn import DRAWN
from silicast.datasets.columns import OpColumns
from silicast.datasets.devices import sample_device
from silicast.datasets.families import FAMILIES, sample
from silicast.datasets.hardware import Hardware
from silicast.datasets.ops import Op
from silicast.datasets.simulator import simulate, simulate_many, simulate_ops

#: among mappings within 0.1 % of the fastest the one with the least traffic is taken (it saves energy), so an answer may lie that far
#: above the least; the power limit leaves that ratio as it is. Twice that for two answers
TIE = 2.1e-3
DEVICES = [catalog.hardware(key) for key in catalog.keys()]  # noqa: SIM118 (a module, not a dict)
MACHINES = [d for d in DEVICES if not d.fabric]
POOL = MACHINES + [sample_device(np.random.default_rng(i), kind, [d for d in MACHINES if d.key in DRAWN]) for kind in ("gpu", "cpu", "npu") for i in range(12)]


def size(most: int) -> st.SearchStrategy[int]:
    """Sizes spread over their logarithm."""
    return st.floats(0, float(np.log(most))).map(lambda x: max(1, round(float(np.exp(x)))))


@st.composite
def ops(draw: st.DrawFn) -> Op:
    kind = draw(st.sampled_from(["gemm", "conv", "attention", "recurrent", "elementwise", "norm", "softmax", "pool", "gather", "move", "grouped_gemm", "deform_conv",
                                 "scan", "route"]))
    dtype = draw(st.sampled_from(["float32", "float16", "bfloat16", "int8"]))
    if kind == "gemm":
        dims = {"b": draw(size(16)), "m": draw(size(8192)), "n": draw(size(8192)), "k": draw(size(8192))}
    elif kind == "grouped_gemm":
        dims = {"groups": draw(size(256)), "m": draw(size(8192)), "n": draw(size(8192)), "k": draw(size(8192))}
    elif kind == "scan":
        dims = {"batch": draw(size(16)), "length": draw(size(10**5)), "channels": draw(size(4096)), "state": draw(st.sampled_from([1, 16, 128]))}
    elif kind == "route":
        dims = {"tokens": draw(size(10**5)), "experts": draw(size(512)), "top_k": 1}
    elif kind in ("conv", "pool", "deform_conv"):
        side, window = draw(size(112)), draw(st.sampled_from([1, 3, 5]))
        channels = {"in_channels": draw(size(512)), "out_channels": draw(size(512))} if kind != "pool" else {"channels": draw(size(512))}
        dims = {"batch": draw(size(32)), "in_h": side, "in_w": side, "out_h": side, "out_w": side, "kernel_h": window, "kernel_w": window, **channels}
    elif kind == "attention":
        q, heads = draw(size(2048)), draw(size(32))
        dims = {"batch": draw(size(16)), "heads": heads, "kv_heads": heads, "q_len": q, "kv_len": q + draw(size(4096)), "head_dim": 64, "v_dim": 64,
                "causal": draw(st.integers(0, 1))}
    elif kind == "recurrent":
        dims = {"steps": draw(size(64)), "batch": draw(size(64)), "input": draw(size(1024)), "hidden": draw(size(1024)), "gates": draw(st.sampled_from([1, 3, 4]))}
    elif kind in ("elementwise", "move"):
        dims = {"elements": draw(size(10**8))}
    elif kind == "gather":
        dims = {"rows": draw(size(10**5)), "width": draw(size(4096))}
    else:
        dims = {"rows": draw(size(10**5)), "cols": draw(size(10**4))}
    return Op.of("x", kind, dtype=dtype, **dims)


machines = st.sampled_from(POOL)
examples = settings(max_examples=120, deadline=None, derandomize=True)


def seconds(op: Op, *devices: Hardware) -> np.ndarray:
    return simulate_ops(OpColumns.from_ops([op]), devices).time_s[0]


def faster_dram(d: Hardware, by: float) -> Hardware:
    return dataclasses.replace(d, memory=(*d.memory[:-1], dataclasses.replace(d.dram, bandwidth_bytes_per_s=d.dram_bandwidth * by)))


@given(ops(), machines, st.floats(1.01, 8))
@examples
def test_more_bandwidth_is_never_slower(op, device, by):
    before, after = seconds(op, device, faster_dram(device, by))
    assert after <= before * (1 + TIE)


@given(ops(), machines, st.floats(1.01, 8))
@examples
def test_a_higher_rate_is_never_slower(op, device, by):
    faster = dataclasses.replace(device, matrix_rate={d: r * by for d, r in device.matrix_rate.items()}, vector_rate={d: r * by for d, r in device.vector_rate.items()})
    before, after = seconds(op, device, faster)
    assert after <= before * (1 + TIE)


@given(ops(), machines, st.floats(1.01, 8))
@examples
def test_a_higher_power_limit_is_never_slower(op, device, by):
    more = dataclasses.replace(device, tdp_w=device.tdp_w and device.tdp_w * by)
    before, after = seconds(op, device, more)
    assert after <= before * (1 + TIE)


#: dimensions whose growth is more work of the same sort (more queries of a causal attention over the same keys attend to fewer each)
GROW = {"gemm": "bmnk", "conv": ("batch", "in_channels", "out_channels"), "attention": ("batch", "kv_len"), "recurrent": ("steps", "batch", "input", "hidden"),
        "elementwise": ("elements",), "move": ("elements",), "norm": ("rows",), "softmax": ("rows", "cols"), "pool": ("batch", "channels"), "gather": ("rows", "width"),
        "grouped_gemm": "mnk", "deform_conv": ("batch", "in_channels", "out_channels"), "scan": ("batch", "length", "channels", "state"), "route": ("tokens",)}


@given(ops(), machines, st.data())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_a_bigger_op_is_never_faster(op, device, data):
    dim = data.draw(st.sampled_from(GROW[op.kind]))
    by = data.draw(st.integers(1, 3) | st.integers(1, 4096))
    bigger = Op.of("x", op.kind, dtype=op.dtype, **{**op.dims, dim: op.dims[dim] + by})
    assert seconds(bigger, device)[0] >= seconds(op, device)[0] * (1 - TIE)


@given(ops(), machines)
@settings(max_examples=250, deadline=None, derandomize=True)
def test_no_answer_beats_the_roofline(op, device):
    answer = simulate_ops(OpColumns.from_ops([op]), [device])
    counts = op.counts
    peak = max(device.rate(op.dtype), device.rate(op.dtype, matrix=False))
    arithmetic = counts["matrix_flops"] / peak
    traffic = (op.bytes_read + op.bytes_written) / device.dram_bandwidth
    assert answer.time_s[0, 0] >= max(arithmetic, traffic) * (1 - 1e-9)
    if counts["matrix_flops"] == 0:
        assert answer.time_s[0, 0] >= counts["vector_flops"] / device.rate(op.dtype, matrix=False) * (1 - 1e-9)
    assert answer.dram_bytes[0, 0] >= (op.bytes_read + op.bytes_written) * (1 - 1e-9)   # a cold op reads everything once at least
    assert answer.dynamic_j[0, 0] > 0
    for figure in (answer.time_s, answer.dynamic_j, answer.dram_bytes, answer.cache_bytes):
        assert np.isfinite(figure).all()


@given(st.lists(ops(), min_size=1, max_size=5), st.lists(machines, min_size=1, max_size=5))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_batch_of_ops_and_devices_equals_one_by_one(some, devices):
    together = simulate_ops(OpColumns.from_ops(some), devices)
    for i, op in enumerate(some):
        for j, device in enumerate(devices):
            alone = simulate_ops(OpColumns.from_ops([op]), [device])
            for field in dataclasses.fields(alone):
                assert getattr(together, field.name)[i, j] == pytest.approx(getattr(alone, field.name)[0, 0], rel=1e-12), field.name


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_sampled_networks_on_every_machine(family):
    """15 networks of each family x the machines that draws choose from, 2 of them x the whole catalogue: finite, positive, and every answer agrees with itself."""
    for seed in range(15):
        workload = sample(family, np.random.default_rng(seed))
        devices = DEVICES if seed < 2 else [d for d in DEVICES if d.key in DRAWN]
        answers = simulate_many(workload, devices)
        assert [a.hardware.key for a in answers] == [d.key for d in devices]
        for answer in answers:
            where = f"{family} {seed} on {answer.hardware.key}"
            if answer.infeasible and answer.hardware.fabric:
                assert not answer.values, where
                continue
            v = answer.values
            assert all(np.isfinite(x) and x >= 0 for x in v.values()), where
            assert min(v[t] for t in ("latency_s", "energy_j", "power_w", "memory_bytes", "dram_bytes")) > 0, where
            assert v["energy_j"] == pytest.approx(v["power_w"] * v["latency_s"], rel=1e-12), where
            assert v["power_w"] <= (answer.hardware.tdp_w or np.inf) * (1 + 1e-9), where
            assert 0 <= v["utilization"] <= 1, where
            assert answer.op_latency_s.sum() == pytest.approx(v["latency_s"], rel=1e-9), where
            assert answer.op_energy_j.sum() == pytest.approx(v["energy_j"], rel=1e-9), where
            assert v["latency_s"] >= answer.op_latency_s.max() > 0, where
            assert len(answer.op_limit) == len(workload.ops), where
            if not answer.hardware.fabric:
                # weights of products come from DRAM once at least (of an embedding only the rows looked up)
                assert v["dram_bytes"] >= sum(op.weight_bytes for op in workload.ops if op.kind in ("gemm", "conv") and not op.dims["bias"]) * (1 - 1e-9), where
                assert answer.op_dram_bytes.sum() == pytest.approx(v["dram_bytes"], rel=1e-9), where
                assert v["latency_s"] >= workload.columns.matrix_flops.sum() / max(
                    max(answer.hardware.rate(op.dtype) for op in workload.ops), max(answer.hardware.rate(op.dtype, matrix=False) for op in workload.ops)) * (1 - 1e-9), where
        assert answers[0].measurement.values == answers[0].values
    assert answers[3].values == simulate(workload, devices[3]).values   # one by one


def test_memory_that_overflows_is_said_with_numbers():
    workload = sample("prefill", np.random.default_rng(0))
    small = dataclasses.replace(catalog.hardware("t4"), memory=(*catalog.hardware("t4").memory[:-1], dataclasses.replace(catalog.hardware("t4").dram, capacity_bytes=1e6)))
    answer = simulate(workload, small)
    assert answer.infeasible == f"memory overflows: needs {answer.values['memory_bytes']:,.0f} bytes of 1,000,000"
