"""Throughput machines against hand arithmetic on a made-up GPU."""

import dataclasses

import numpy as np
import pytest

from silicast.datasets import catalog
from silicast.datasets.columns import OpColumns
from silicast.datasets.dtypes import DTYPE_CODES
from silicast.datasets.errors import UnknownNameError
from silicast.datasets.hardware import Hardware, MemoryLevel
from silicast.datasets.layers import Net
from silicast.datasets.ops import Op
from silicast.datasets.simulator import simulate, simulate_ops
from silicast.datasets.simulator.costs import LIMITS, OBJECTIVES
from silicast.datasets.simulator.kernels import Kernels
from silicast.datasets.simulator.machine import Machines
from silicast.datasets.simulator.power import capped
from silicast.datasets.simulator.throughput import throughput_costs

#: at 1 GHz, 2200 clocks from a kernel's start to its first results, 700 a trip to memory; 1 us to launch: technology.FILL_CLOCKS, TRIP_CLOCKS, LAUNCH_S
FILL, TRIP, LAUNCH = 2.2e-6, 0.7e-6, 1.0e-6


def gpu(rate: float = 8e12, bandwidth: float = 1e12, **changes: object) -> Hardware:
    """Four processors at 1 GHz, a cache and local memories too fast to matter, no power limit."""
    memory = (MemoryLevel("smem", 4 * 256e3, 1e15), MemoryLevel("l2", 10e6, 1e15), MemoryLevel("hbm", 1e11, bandwidth))
    given = {"key": "toy", "name": "Toy", "kind": "gpu", "memory": memory, "clock_hz": 1e9, "matrix_rate": {"float16": rate}, "units": 4, "process_nm": 7.0}
    return Hardware(**{**given, **changes})  # type: ignore[arg-type]


def cost(hardware: Hardware, kind: str, **sizes: int):
    return simulate_ops(OpColumns.from_ops([Op.of("x", kind, **sizes)]), [hardware])


def gemm_s(hardware: Hardware, m: int, n: int, k: int) -> float:
    return float(cost(hardware, "gemm", m=m, n=n, k=k).time_s[0, 0])


def test_one_wave_and_two():
    # 256 x 256 is four tiles of 128 x 128, one per processor, each at 8e12 / 4 x 0.92 op/s: 2*128*128*1024 / 1.84e12 = 18.2361 us
    wave = 2 * 128 * 128 * 1024 / 1.84e12
    assert gemm_s(gpu(), 256, 256, 1024) == pytest.approx(wave + FILL + LAUNCH, rel=2e-3)
    # twice as wide: eight tiles, two waves
    assert gemm_s(gpu(), 256, 512, 1024) == pytest.approx(2 * wave + FILL + LAUNCH, rel=2e-3)
    # one more column does not fit in two waves of full tiles: edges are padded to whole tiles
    assert gemm_s(gpu(), 256, 513, 1024) > 2 * wave * 1.02 + FILL + LAUNCH


def test_wave_quantisation_is_a_staircase():
    # k = 64 cannot be split with profit; one 16 x 16 tile on one processor: 2*16*16*64 / (8e9 / 4 * 0.92) = 17.8087 us.
    # m = 16..64 is one wave of the four processors, 65..128 two (as 16 x 16 twice, or 32 x 16 once), 129..192 three
    slow, step = gpu(rate=8e9), 2 * 16 * 16 * 64 / 1.84e9
    for m, waves in ((1, 1), (16, 1), (64, 1), (65, 2), (80, 2), (128, 2), (129, 3), (192, 3), (193, 4)):
        assert gemm_s(slow, m, 16, 64) == pytest.approx(waves * step + FILL + LAUNCH, rel=2e-3), m


def test_a_matrix_vector_product_waits_for_its_weights():
    # 4096 x 4096 weights of 2 B = 33,554,432 B, vector in and out 2 x 8,192 B; 33,570,816 B / (1e11 x 0.88) = 381.486 us
    answer = cost(gpu(bandwidth=1e11), "gemm", m=1, n=4096, k=4096)
    assert answer.time_s[0, 0] == pytest.approx(33_570_816 / 0.88e11 + FILL + LAUNCH, rel=1e-9)
    assert answer.dram_bytes[0, 0] == 33_570_816
    assert LIMITS[answer.limit[0, 0]] == "dram"


def test_an_elementwise_op_reads_and_writes_once():
    # 1,000,000 x 2 B in and out: 4e6 B / 0.88e11 = 45.4545 us
    assert cost(gpu(bandwidth=1e11), "elementwise", elements=1_000_000).time_s[0, 0] == pytest.approx(4e6 / 0.88e11 + FILL + LAUNCH, rel=1e-9)


def test_splitting_k_fills_idle_processors():
    # 16 x 16 x 65536 is one tile: alone 2*16*16*65536 / 1.84e9 = 18.236 ms. In four parts, one per processor, 4.559 ms (more parts only
    # make whole waves of the same work). A second kernel adds the parts up
    alone = 2 * 16 * 16 * 65536 / 1.84e9
    assert gemm_s(gpu(rate=8e9), 16, 16, 65536) == pytest.approx(alone / 4 + 2 * (FILL + LAUNCH), rel=2e-3)


def test_one_deep_tile_waits_for_its_own_sums():
    # a rate that takes no time: 64 x 64 x 4096 in 16 parts of 256, each 2 trips and 256 x 2 B / 32 B = 16 steps of 33 clocks: 1.928 us; the parts'
    # sums (8 x 15 x 4096 B) pass a cache too fast to matter. Unsplit, 4096 deep, 2 trips and 256 steps of 33 clocks take 9.848 us
    fast = gpu(rate=1e18, bandwidth=1e15)
    assert gemm_s(fast, 64, 64, 4096) == pytest.approx(2 * TRIP + 16 * 33e-9 + 2 * (FILL + LAUNCH), rel=2e-3)
    # where splitting does not pay, 1024 deep: 2 trips and 64 steps
    assert gemm_s(fast, 64, 64, 1024) == pytest.approx(2 * TRIP + 64 * 33e-9 + FILL + LAUNCH, rel=2e-3)


def test_two_of_four_weights_run_twice_as_fast():
    dense, sparse = (Op.of("x", "gemm", m=4096, n=4096, k=4096, sparsity=s) for s in ("", "2:4"))
    times = simulate_ops(OpColumns.from_ops([dense, sparse]), [gpu(), gpu(sparsity="2:4")]).compute_s
    assert times[0, 1] == times[0, 0] == times[1, 0]
    # 2 trips a round lie beside the products of a tile
    assert times[1, 1] / times[0, 1] == pytest.approx(0.5, rel=1e-6)


def test_causal_attention_costs_about_half():
    sizes = {"batch": 4, "heads": 8, "kv_heads": 8, "q_len": 2048, "kv_len": 2048, "head_dim": 128, "v_dim": 128}
    slow = gpu(rate=1e11, vector_rate={"float32": 1e12})
    full, half = cost(slow, "attention", **sizes), cost(slow, "attention", **sizes, causal=1)
    # a block of 64 or 128 queries walks over (2048 + 1) / 2 keys on average, and half a block more on the diagonal, in blocks of 64: 1088 of 2048
    assert half.compute_s[0, 0] / full.compute_s[0, 0] == pytest.approx(1088 / 2048, rel=1e-3)
    assert half.time_s[0, 0] / full.time_s[0, 0] == pytest.approx(1088 / 2048, rel=1e-3)
    # products 4 * 32 * 2048 * 2048 * 128 op at 1e11 x 0.92; 32 * 2048 * 2048 exponentials at 16 a clock on 4 processors; 4 other operations each, two
    # slots of 1e12; 5 trips for each of 512 blocks of 128 queries, on 4 processors
    pairs = 32 * 2048 * 2048
    expected = 4 * pairs * 128 / 0.92e11 + pairs / 64e9 + 8 * pairs / 1e12 + 512 / 4 * 5 * TRIP
    assert full.compute_s[0, 0] == pytest.approx(expected, rel=1e-6)


def test_shared_keys_are_read_once():
    sizes = {"batch": 64, "heads": 32, "q_len": 1, "kv_len": 8192, "head_dim": 128, "v_dim": 128}
    own, shared = (cost(gpu(), "attention", kv_heads=h, **sizes) for h in (32, 8))
    # one query: K and V of 8192 x 256 x 2 B a head and sequence, queries and results of 32 x 128 x 2 B
    for answer, heads in ((own, 32), (shared, 8)):
        assert answer.dram_bytes[0, 0] == 64 * heads * 8192 * 256 * 2 + 2 * 64 * 32 * 128 * 2
    assert own.time_s[0, 0] > 3.9 * shared.time_s[0, 0]


def test_a_window_bounds_what_is_read_and_computed():
    sizes = {"batch": 1, "heads": 8, "kv_heads": 8, "q_len": 8192, "kv_len": 8192, "head_dim": 128, "v_dim": 128, "causal": 1}
    whole, short = cost(gpu(), "attention", **sizes), cost(gpu(), "attention", window=512, **sizes)
    # 512 keys a query, half a block on the edge, in blocks of 64: at most 640 of the 4160 walked without a window
    assert 512 / 4160 <= short.compute_s[0, 0] / whole.compute_s[0, 0] <= 640 / 4160 * 1.05


def test_recurrent_steps_follow_each_other():
    # 10 steps of batch 16, k = 64 + 64, 4*64 = 256 gate outputs: four blocks of 64, one per processor, one wave: 10 * 2*16*64*128 / (8e9/4*0.92);
    # vector work 8*10*16*256 at 8e9/16; a trip to memory per step
    step = 2 * 16 * 64 * 128 / 1.84e9
    expected = 10 * step + 8 * 10 * 16 * 256 / 5e8 + 10 * TRIP + FILL + LAUNCH
    assert cost(gpu(rate=8e9), "recurrent", steps=10, batch=16, input=64, hidden=64, gates=4).time_s[0, 0] == pytest.approx(expected, rel=1e-9)


def test_a_scan_goes_chunk_after_chunk():
    # 4096 steps are two chunks of 2048: two trips beside the start
    sizes = {"batch": 1, "length": 4096, "channels": 1, "state": 1}
    fast = gpu(rate=1e18, bandwidth=1e15)
    assert cost(fast, "scan", **sizes).time_s[0, 0] == pytest.approx(2 * TRIP + FILL + LAUNCH, rel=1e-3)


def test_experts_read_each_matrix_once():
    answer = cost(gpu(bandwidth=1e11), "grouped_gemm", groups=8, m=64, n=1024, k=1024)
    # 8 matrices of 1024 x 1024 x 2 B, 64 rows in and out
    assert answer.dram_bytes[0, 0] == 8 * 1024 * 1024 * 2 + 2 * 64 * 1024 * 2


def test_an_objective_is_minimised():
    rng = np.random.default_rng(2)
    ops = OpColumns.from_sizes("gemm", {d: np.floor(np.exp(rng.uniform(2, 9, 50))) for d in "mnk"}, np.zeros(50, dtype=np.int16) + DTYPE_CODES["float16"])
    machines = Machines.of([catalog.hardware("a100_sxm")])
    answers = {o: capped(throughput_costs(Kernels.cold(ops), machines, o), machines) for o in OBJECTIVES}
    joules = {o: a.dynamic_j + machines.static_w * a.time_s for o, a in answers.items()}
    for o in OBJECTIVES:
        assert (answers["latency"].time_s <= answers[o].time_s * 1.0011).all()
        assert (joules["energy"] <= joules[o] * 1.0011).all()
        assert (joules["edp"] * answers["edp"].time_s <= joules[o] * answers[o].time_s * 1.0011).all()
    assert (joules["energy"] < joules["latency"] * 0.999).any()
    with pytest.raises(UnknownNameError, match="objective"):
        throughput_costs(Kernels.cold(ops), machines, "speed")


def test_energy_is_the_sum_of_its_parts():
    ops = OpColumns.from_ops([Op.of("a", "gemm", m=512, n=512, k=512), Op.of("b", "norm", rows=100, cols=1000), Op.of("c", "gemm", b=64, m=256, n=1, k=9),
                              Op.of("d", "attention", batch=1, heads=2, kv_heads=1, q_len=9, kv_len=99, head_dim=64, v_dim=64)])
    answer = throughput_costs(Kernels.cold(ops), Machines.of([gpu(), catalog.hardware("t4")]))
    np.testing.assert_allclose(answer.dynamic_j, answer.compute_j + answer.local_j + answer.cache_j + answer.dram_j, rtol=1e-12)


def test_what_is_run_again_is_found_in_the_cache():
    ops = OpColumns.from_ops([Op.of("x", "gemm", m=16, n=1024, k=1024)])
    machines = Machines.of([gpu()])
    # 2 MB of weights in a cache of 10 MB: one set stays, six do not
    assert throughput_costs(Kernels.repeated(ops, 1.0), machines).dram_bytes[0, 0] == 0.0
    assert throughput_costs(Kernels.repeated(ops, 6.0), machines).dram_bytes[0, 0] == throughput_costs(Kernels.cold(ops), machines).dram_bytes[0, 0]


def test_half_the_power_limit_is_slower_and_keeps_it():
    net = Net("w", dtype="float16")
    net.linear(net.relu(net.linear(net.input((4096, 4096)), 4096)), 4096)
    workload = net.build()
    a100 = catalog.hardware("a100_sxm")
    times = []
    for limit in (400.0, 200.0, 100.0, 60.0, 20.0):
        answer = simulate(workload, dataclasses.replace(a100, tdp_w=limit))
        assert answer.values["power_w"] <= limit * (1 + 1e-9)
        times.append(answer.values["latency_s"])
    assert times == sorted(times)
    assert times[-1] > 2 * times[0]


def test_a_fused_epilogue_is_not_read_again():
    net = Net("w", dtype="float16")
    net.relu(net.linear(net.input((1024, 1024)), 1024, bias=False))
    answer = simulate(net.build(), gpu())
    alone = Net("w", dtype="float16")
    alone.linear(alone.input((1024, 1024)), 1024, bias=False)
    plain = simulate(alone.build(), gpu())
    # one kernel, the same traffic; 1024 * 1024 comparisons at 8e12/16 more
    assert answer.values["dram_bytes"] == plain.values["dram_bytes"]
    assert answer.values["latency_s"] - plain.values["latency_s"] == pytest.approx(1024 * 1024 / 5e11, rel=1e-6)
    assert answer.op_latency_s[1] == 0.0


def test_many_rows_do_not_need_much_memory():
    """Rows are scored in slices; the answer does not depend on where they are cut."""
    import tracemalloc

    rng = np.random.default_rng(0)
    n = 20_000
    ops = OpColumns.from_sizes("gemm", {d: np.floor(np.exp(rng.uniform(0, 9, n))) for d in "mnk"}, np.full(n, DTYPE_CODES["float16"], dtype=np.int16))
    tracemalloc.start()
    answer = simulate_ops(ops, [gpu()])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 20,000 rows x about 115 mappings x 8 B would be 18 MB an array, and a search holds dozens: 500 MB; answers themselves are 20,000 x 45 B
    assert peak < 60e6
    some = rng.choice(n, 50, replace=False)
    again = simulate_ops(ops.take(some), [gpu()])
    for name in ("time_s", "dynamic_j", "dram_bytes", "mapping", "limit"):
        np.testing.assert_array_equal(getattr(answer, name)[some], getattr(again, name))


def test_a_fabric_takes_no_lone_op():
    with pytest.raises(ValueError, match="use simulate"):
        cost(catalog.hardware("zcu104"), "gemm", m=1, n=1, k=1)
