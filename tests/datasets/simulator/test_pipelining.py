"""Layers side by side: hand arithmetic of a pipe of two, and laws of plans."""

import numpy as np
import pytest

from silicast.datasets.columns import OpColumns
from silicast.datasets.errors import InputError
from silicast.datasets.hardware import Hardware, MemoryLevel, SpatialArray
from silicast.datasets.ops import Op
from silicast.datasets.simulator.pipelining import dataflow_choice, pipeline
from silicast.datasets.simulator.technology import DRAM_EFFICIENCY


def npu(scratchpad: float = 1e5, bandwidth: float = 1e12, dataflow: str = "os") -> Hardware:
    return Hardware("toy", "Toy", "npu", (MemoryLevel("sram", scratchpad), MemoryLevel("ddr", 1e9, bandwidth)), 1e9, array=SpatialArray(4, 8, dataflow))


def chain(*sizes: tuple[int, int, int]) -> OpColumns:
    return OpColumns.from_ops([Op.of("x", "gemm", dtype="int8", m=m, n=n, k=k) for m, n, k in sizes])


def test_two_equal_layers_by_hand():
    # two products of 64 x 4 x 64, output stationary on 4 x 8. Alone: 16 folds of 4 + 8 - 2 + 64 = 74 cycles, less 1: 1183; n = 4 leaves half the columns idle.
    # Together, four columns each: a tile of 4 rows is one fold of 4 + 4 - 2 + 64 = 70, less 1; 16 of them and one to fill: 17 x 69
    plan = pipeline(chain((64, 4, 64), (64, 64, 4)), npu())
    assert plan.layerwise_latency_s >= plan.latency_s
    plan = pipeline(chain((64, 4, 64), (64, 4, 64)), npu())
    assert plan.layerwise_latency_s == pytest.approx(2 * 1183e-9)
    assert plan.segments == ((0, 2),)
    assert plan.tiles == (16,)
    assert plan.latency_s == pytest.approx(17 * 69e-9)


def test_the_tensor_between_stays_on_the_chip():
    # 512 x 4 outputs of 2 kB between two layers, a scratchpad of 3 kB: alone they go out and come back. Weights 2 x 4 x 4 = 32 B
    hardware = npu(scratchpad=3000, bandwidth=1e8)
    plan = pipeline(chain((512, 4, 4), (512, 4, 4)), hardware, objective="traffic")
    assert plan.layerwise_dram_bytes == 4 * 2048 + 32
    assert plan.dram_bytes == 2 * 2048 + 32
    assert plan.latency_s == pytest.approx((2 * 2048 + 32) / (1e8 * DRAM_EFFICIENCY))


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("dataflow", ["ws", "os", "is", "rs", "flexible"])
def test_a_plan_covers_the_chain_and_is_never_slower(depth, dataflow):
    rng = np.random.default_rng(depth)
    layers = chain(*((int(m), int(n), int(k)) for m, n, k in rng.integers(1, 300, (7, 3))))
    plan = pipeline(layers, npu(dataflow=dataflow), depth=depth)
    assert [i for a, b in plan.segments for i in range(a, b)] == list(range(7))
    assert max(b - a for a, b in plan.segments) <= depth
    assert plan.speedup >= 1.0
    if depth == 1:
        assert plan.speedup == 1.0


def test_weights_that_do_not_fit_together_are_not_piped():
    plan = pipeline(chain((64, 256, 256), (64, 256, 256)), npu(scratchpad=1000))
    assert plan.segments == ((0, 1), (1, 2))


@pytest.mark.parametrize(("call", "said"), [
    (lambda: pipeline(chain(), npu()), "at least one layer"),
    (lambda: pipeline(chain((1, 1, 1)), npu(), depth=0), "depth"),
    (lambda: pipeline(chain((1, 1, 1)), npu(), objective="area"), "latency or traffic"),
    (lambda: pipeline(chain((1, 1, 1)), Hardware("x", "X", "npu", (MemoryLevel("ddr", 1e9, 1e9),), 1e9, {"int8": 1e9})), "spatial array"),
    (lambda: dataflow_choice(chain((1, 1, 1)), Hardware("x", "X", "npu", (MemoryLevel("ddr", 1e9, 1e9),), 1e9, {"int8": 1e9})), "spatial array"),
])
def test_bad_questions(call, said):
    with pytest.raises(InputError, match=said):
        call()


def test_a_dataflow_for_each_layer_by_hand():
    # 4 x 8 array. 4 x 8 x 1000: os one fold of 4 + 8 - 2 + 1000; ws 250 folds of 2 * 4 + 8 - 2 + 4. 1000 x 8 x 4: ws one fold of 14 + 1000; os 250 of 10 + 4
    found = dataflow_choice(chain((4, 8, 1000), (1000, 8, 4)), npu(dataflow="flexible"))
    assert found.dataflow == ("os", "ws")
    np.testing.assert_array_equal(found.cycles, [1009, 1013])
    assert found.speedup == pytest.approx((1009 + 250 * 14 - 1) / (1009 + 1013))
