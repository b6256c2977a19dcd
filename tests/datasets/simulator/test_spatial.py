"""Spatial arrays: SCALE-Sim's cycles on every row of its table, and hand arithmetic on a made-up array."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from silicast.datasets import catalog
from silicast.datasets.columns import OpColumns
from silicast.datasets.hardware import Hardware, MemoryLevel, SpatialArray
from silicast.datasets.ops import Op
from silicast.datasets.simulator import simulate_ops
from silicast.datasets.simulator.costs import OBJECTIVES
from silicast.datasets.simulator.kernels import Kernels
from silicast.datasets.simulator.machine import Machines
from silicast.datasets.simulator.spatial import ARRAY_MAPPINGS, spatial_costs, systolic_cycles

LAUNCH = 0.5e-6  # technology.LAUNCH_S["npu"]


def peers() -> Path | None:
    """The folder of other tools' answers, beside the measured data."""
    data = Path(os.environ.get("SILICAST_DATA", Path(__file__).resolve().parents[3].parent / "shared" / "data"))
    place = data.parent / "peers" / "scalesim_gemm.csv"
    return place if place.exists() else None


def npu(scratchpad: float = 1e6, dataflow: str = "ws", bandwidth: float = 1e9, count: int = 1) -> Hardware:
    """4 x 4 multipliers at 1 GHz, one scratchpad, 1 GB/s of DRAM."""
    return Hardware("toy", "Toy", "npu", (MemoryLevel("sram", scratchpad), MemoryLevel("ddr", 1e9, bandwidth)), 1e9, array=SpatialArray(4, 4, dataflow, count))


def cost(hardware: Hardware, kind: str = "gemm", dtype: str = "int8", **sizes: int):
    return simulate_ops(OpColumns.from_ops([Op.of("x", kind, dtype=dtype, **sizes)]), [hardware])


def test_scalesim_agrees_on_every_row():
    place = peers()
    if place is None:
        pytest.skip("no table of SCALE-Sim answers: set SILICAST_DATA to the data folder that has ../peers beside it")
    table = pd.read_csv(place)
    assert len(table) > 50
    for flow, rows in table.groupby("dataflow"):
        ours = systolic_cycles(*(rows[c].to_numpy(float) for c in ("m", "n", "k", "array_rows", "array_cols")), str(flow))
        np.testing.assert_array_equal(ours, rows["compute_cycles"])


# 10 x 20 x 30 on 4 rows x 8 columns (Samajdar et al., ISPASS 2020: folds x (fill + stream), the count starting at zero)
@pytest.mark.parametrize(("flow", "cycles"), [
    ("ws", 575),   # weights 30 x 20: ceil(30/4) * ceil(20/8) = 8 * 3 = 24 folds; fill 2*4 + 8 - 2 = 14, stream m = 10: 24 * 24 - 1
    ("os", 359),   # outputs 10 x 20: 3 * 3 = 9 folds; fill 4 + 8 - 2 = 10, stream k = 30: 9 * 40 - 1
    ("is", 543),   # inputs 30 x 10: 8 * 2 = 16 folds; fill 14, stream n = 20: 16 * 34 - 1
])
def test_cycles_by_hand(flow, cycles):
    assert systolic_cycles(np.array(10.0), np.array(20.0), np.array(30.0), np.array(4.0), np.array(8.0), flow) == cycles


def test_an_unknown_dataflow():
    with pytest.raises(KeyError):
        systolic_cycles(np.ones(1), np.ones(1), np.ones(1), np.ones(1), np.ones(1), "rs")


def test_a_layer_that_fits_moves_every_operand_once():
    # 8 x 8 x 8 in int8: 64 + 64 + 64 = 192 B at 0.88 GB/s = 218.2 ns, more than 4 folds x (8 + 4 - 2 + 8) - 1 = 71 cycles of the array.
    # Cut in eight along k the first block, (64 + 64) / 8 = 16 B, is loaded before anything starts
    answer = cost(npu(), m=8, n=8, k=8)
    assert answer.dram_bytes[0, 0] == 192
    assert answer.compute_s[0, 0] == pytest.approx(71e-9)
    assert answer.time_s[0, 0] == pytest.approx((192 + 16) / 0.88e9 + LAUNCH, rel=1e-9)


def test_a_layer_that_does_not_fit_reads_an_operand_again():
    # half of 300 B holds blocks: 192 B whole do not fit. Cut in two along m: 32 + 64 + 32 = 128 B fit, and the 64 B of weights are read
    # twice (or, along n, the inputs): 64 + 2 * 64 + 64 = 256 B. Nothing that fits moves less: k alone leaves 4-byte sums of 256 B
    assert cost(npu(300.0), m=8, n=8, k=8).dram_bytes[0, 0] == 256
    # the smaller the scratchpad, the more is moved (DRAM slow enough to decide)
    moved = [cost(npu(size, bandwidth=1e8), m=64, n=64, k=64).dram_bytes[0, 0] for size in (1e6, 1e4, 4e3, 1e3, 300.0)]
    assert moved[0] == 3 * 64 * 64
    assert moved == sorted(moved)
    assert moved[-1] > moved[0]


def test_a_batch_costs_no_more_per_image_than_one():
    """A batch can always be run image by image: cuts along the rows are fine enough for it."""
    eyeriss = catalog.hardware("eyeriss")

    def conv_s(batch: int) -> float:
        answer = cost(eyeriss, "conv", "int16", batch=batch, in_channels=64, in_h=112, in_w=112, out_channels=64, out_h=112, out_w=112, kernel_h=3, kernel_w=3)
        return float(answer.time_s[0, 0]) / batch

    assert conv_s(64) <= conv_s(1) * 1.05


def test_a_vector_times_a_matrix_that_never_fits_reads_its_weights_once():
    # one row has no blocks along m to cut into: 512 * 4096 weights once, whatever the scratchpad
    answer = cost(npu(64.0), m=1, n=512, k=4096)
    assert answer.dram_bytes[0, 0] < 512 * 4096 * 1.5


@pytest.mark.parametrize(("flow", "cycles"), [("ws", 71), ("os", 4 * (6 + 8) - 1), ("is", 71), ("flexible", 55)])
def test_each_dataflow_on_the_machine(flow, cycles):
    assert cost(npu(dataflow=flow), m=8, n=8, k=8).compute_s[0, 0] == pytest.approx(cycles * 1e-9)


def test_row_stationary_by_hand():
    # 4 rows hold one group of a 3-high filter (3 rows used), 4 columns: 16 output rows make whole strips: 12 multipliers busy.
    # 64 positions x 8 x (8 x 9) products / 12 + 4 + 4
    answer = cost(npu(dataflow="rs"), "conv", batch=1, in_channels=8, in_h=8, in_w=8, out_channels=8, out_h=8, out_w=8, kernel_h=3, kernel_w=3)
    assert answer.compute_s[0, 0] == pytest.approx((64 * 8 * 72 / 12 + 8) * 1e-9)


def test_arrays_side_by_side_share_products_but_not_steps():
    # four products on four arrays take as long as one on one
    assert cost(npu(count=4), b=4, m=8, n=8, k=8).compute_s[0, 0] == pytest.approx(71e-9)
    # steps of a recurrent layer wait for each other: each is one product of 1 x 16 x 8, ceil(8/4) * ceil(16/4) = 8 folds over four arrays
    # = 2 rounds x (2*4 + 4 - 2 + 1) - 1 = 21 cycles
    sizes = {"batch": 1, "input": 4, "hidden": 4, "gates": 4}
    for steps in (1, 4, 5, 8):
        assert cost(npu(count=4), "recurrent", steps=steps, **sizes).compute_s[0, 0] == pytest.approx(steps * 21e-9)


def test_causal_attention_costs_about_half():
    sizes = {"batch": 1, "heads": 2, "kv_heads": 2, "q_len": 64, "kv_len": 64, "head_dim": 16, "v_dim": 16}
    full, half = (cost(npu(), "attention", **sizes, causal=c).compute_s[0, 0] for c in (0, 1))
    assert half / full == pytest.approx(65 / 128)            # 64 * 65 / 2 pairs of 64 * 64


def product_cost(hardware: Hardware, objective: str = "latency", **sizes):
    kernels = Kernels.cold(OpColumns.from_ops([Op.of("x", "gemm", dtype="int8", **sizes)]))
    return spatial_costs(kernels, Machines.of([hardware]), objective)


@pytest.mark.parametrize("key", ["tpu_v1", "tpu_v4", "tpu_like"])
def test_each_objective_is_best_at_its_own(key):
    found = {o: product_cost(catalog.hardware(key), o, m=300, n=900, k=5000) for o in OBJECTIVES}
    time, energy = ({o: getattr(c, f)[0, 0] for o, c in found.items()} for f in ("time_s", "dynamic_j"))
    assert time["latency"] <= min(time.values()) * 1.002            # equals within a thousandth are chosen by traffic
    static = 28.0 if key == "tpu_v1" else 0.0                        # ISCA 2017: idle power
    if key != "tpu_v4":
        assert energy["energy"] + static * time["energy"] <= min(energy[o] + static * time[o] for o in found) * 1.002
    with pytest.raises(KeyError):
        product_cost(catalog.hardware(key), "area", m=1, n=1, k=1)


def test_parts_of_the_energy_make_the_whole():
    for key in ("tpu_v1", "eyeriss", "tpu_like"):
        found = product_cost(catalog.hardware(key), m=64, n=64, k=64)
        assert (found.compute_j + found.local_j + found.cache_j + found.dram_j)[0, 0] == pytest.approx(found.dynamic_j[0, 0])


def test_cores_cut_a_product_along_its_best_dimension():
    # 4 x 4 arrays, ws. 64 x 4 x 4 is one fold: over four arrays 16 rows each, 10 + 16 + 0 - 1 cycles; 4 x 64 x 4 is 16 folds, four each
    assert cost(npu(count=4), m=64, n=4, k=4).compute_s[0, 0] == pytest.approx((10 + 16 - 1) * 1e-9)
    assert cost(npu(count=4), m=4, n=64, k=4).compute_s[0, 0] == pytest.approx((4 * (10 + 4) - 1) * 1e-9)
    # both: 64 x 8 x 4 has two folds of 64 rows; two by two beats four along the rows, 2 x (10 + 16) - 1
    assert cost(npu(count=4), m=64, n=8, k=4).compute_s[0, 0] == pytest.approx((10 + 32 - 1) * 1e-9)


def test_serial_and_skipping_arrays_without_detail():
    def cycles(hardware: Hardware, **rest: str) -> float:
        return float(simulate_ops(OpColumns.from_ops([Op.of("x", "gemm", dtype="int8", m=8, n=8, k=800, **rest)]), [hardware]).compute_s[0, 0] * 1e9)

    plain = npu()
    serial, skipping = (replace(plain, array=replace(plain.array, **{field: "weights"})) for field in ("serial_bits", "skips_zeros"))
    units = replace(plain, sparsity="2:4")                                                # N:M units as a GPU has them
    dense = cycles(plain)
    assert cycles(serial) == pytest.approx(8 * dense)
    assert cycles(serial, weight_dtype="int4") == pytest.approx(4 * dense)
    assert cycles(skipping, sparsity="2:4") == pytest.approx(dense / 2)
    assert cycles(units, sparsity="2:4") == pytest.approx(dense / 2)
    assert dense / 2 < cycles(skipping, sparsity="0.5") < dense                            # the fullest unit sets the pace
    assert cycles(units, sparsity="0.5") == cycles(plain, sparsity="0.5") == dense


def test_mappings_are_few_and_distinct():
    assert len(np.unique(ARRAY_MAPPINGS, axis=0)) == len(ARRAY_MAPPINGS) < 4000
