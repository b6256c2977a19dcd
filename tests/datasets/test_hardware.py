"""The machine type: valid at birth, JSON and digest, rates and their stand-ins."""

import dataclasses
import json
import pickle

import pytest

from silicast.datasets.errors import FormatError, InputError, UnknownNameError
from silicast.datasets.hardware import VECTOR_SHARE, Fabric, Hardware, MemoryLevel, SpatialArray

LEVELS = (MemoryLevel("sram", 2.0**20, 1e11, 1e-12, 2e-12), MemoryLevel("dram", 2.0**30, 1e10))


def machine(**changes: object) -> Hardware:
    given = {"key": "toy", "name": "Toy", "kind": "npu", "memory": LEVELS, "clock_hz": 1e9, "matrix_rate": {"float16": 8e12, "int8": 16e12},
             "vector_rate": {"float32": 1e12}, "tdp_w": 10.0, "idle_w": 1.0}
    return Hardware(**{**given, **changes})  # type: ignore[arg-type]


def test_json_round_trip_gives_an_equal_machine_with_the_same_digest():
    hardware = machine(array=SpatialArray(8, 16, "ws", 2, 1e-13), fabric=Fabric(10, 20, 30, 40), aliases=("a", "b"), vendor="V", year=2025,
                       cited={"clock": "ds"})
    again = Hardware.from_json(json.loads(json.dumps(hardware.to_json())))
    assert again == hardware
    assert again.digest == hardware.digest
    assert again.cited == hardware.cited
    assert hash(again) == hash(hardware)
    assert pickle.loads(pickle.dumps(hardware)) == hardware


def test_the_digest_is_of_the_figures_only():
    hardware = machine()
    renamed = machine(key="other", name="Other", aliases=("x",), vendor="W", year=1999, notes="n", cited={"clock": "elsewhere"})
    assert renamed.digest == hardware.digest
    assert len(hardware.digest) == 16
    for change in ({"clock_hz": 2e9}, {"tdp_w": 11.0}, {"units": 2}, {"matrix_rate": {"float16": 8e12}}, {"memory": LEVELS[1:]},
                   {"array": SpatialArray(8, 8, "ws")}, {"kind": "gpu"}):
        assert machine(**change).digest != hardware.digest, change


def test_the_digest_does_not_depend_on_the_order_of_rates():
    assert machine(matrix_rate={"int8": 16e12, "float16": 8e12}).digest == machine().digest


@pytest.mark.parametrize(("changes", "expected"), [
    ({"key": "a b"}, "key"),
    ({"key": ""}, "key"),
    ({"kind": "toaster"}, "kind: expected one of gpu"),
    ({"memory": ()}, "memory: expected at least one level"),
    ({"clock_hz": 0.0}, "clock: expected a finite number > 0"),
    ({"clock_hz": float("nan")}, "clock"),
    ({"units": 0}, "units: expected a finite number > 0"),
    ({"tdp_w": -1.0}, "tdp"),
    ({"idle_w": 11.0}, "idle: expected less than tdp"),
    ({"matrix_rate": {"int8": float("inf")}}, "matrix_rate.int8"),
    ({"memory": (MemoryLevel("dram", 1e9, 0.0),)}, "memory.dram.bandwidth"),
    ({"memory": (MemoryLevel("dram", 1e9),)}, "memory.dram.bandwidth"),
    ({"memory": (MemoryLevel("dram", 0.0, 1.0),)}, "memory.dram.capacity"),
    ({"array": SpatialArray(8, 8, "sideways")}, "array.dataflow"),
    ({"array": SpatialArray(0, 8, "ws")}, "array.rows"),
    ({"fabric": Fabric(1, 1, 0, 1)}, "fabric.dsp"),
    ({"fabric": Fabric(1, 1, 1, 1, -1)}, "fabric.uram"),
    ({"matrix_rate": {}, "vector_rate": {}}, "a compute rate, an array or a fabric"),
])
def test_an_impossible_machine_names_the_figure(changes, expected):
    with pytest.raises(InputError, match="hardware") as caught:
        machine(**changes)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_dtype_names_its_neighbours():
    with pytest.raises(UnknownNameError, match="float16"):
        machine(matrix_rate={"flaot16": 1e12})


def test_a_missing_format_is_computed_in_a_wider_one():
    hardware = machine()
    assert hardware.rate("float16") == 8e12
    assert hardware.rate("float8") == 8e12
    assert hardware.rate("int4") == 16e12
    assert hardware.rate("float32", matrix=False) == 1e12
    assert hardware.rate("float16", matrix=False) == 1e12


def test_rates_without_a_table_come_from_the_parts():
    array = machine(matrix_rate={}, vector_rate={}, array=SpatialArray(32, 32, "ws", 2))
    assert array.rate("int8") == 2 * 32 * 32 * 2 * 1e9
    assert array.rate("int8", matrix=False) == array.rate("int8") / VECTOR_SHARE
    assert machine(matrix_rate={}, vector_rate={}, fabric=Fabric(1, 1, 100, 1)).rate("int8") == 2 * 100 * 1e9


def test_the_outermost_memory_is_the_dram():
    assert machine().dram.name == "dram"
    assert machine().dram_bandwidth == 1e10


@pytest.mark.parametrize("document", [None, 3, [], {}, {"format": "silicast-workload/1"}, {"format": "silicast-hardware/1"},
                                      {**machine().to_json(), "colour": "red"},
                                      {**machine().to_json(), "memory": [{"nmae": "x"}]}, {**machine().to_json(), "memory": 3},
                                      {**machine().to_json(), "matrix_rate": 3}])
def test_another_document_is_a_format_error(document):
    with pytest.raises(FormatError, match="hardware document"):
        Hardware.from_json(document)


def test_a_machine_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        machine().clock_hz = 2e9  # type: ignore[misc]


def test_a_machine_at_another_clock_and_power_limit():
    hardware = machine()
    slow = hardware.at(clock_hz=0.5e9, power_limit_w=5.0, memory_clock_share=0.8)
    assert slow.key == "toy_500mhz_5w_mem0.8"
    assert (slow.clock_hz, slow.peak_clock_hz, slow.tdp_w) == (0.5e9, 1e9, 5.0)
    assert slow.full_tdp_w == 10.0
    assert slow.rate("float16") == 4e12
    assert slow.rate("float32", matrix=False) == 0.5e12
    assert [m.bandwidth_bytes_per_s for m in slow.memory] == [0.5e11, 0.8e10]
    assert slow.at(clock_hz=1e9).peak_clock_hz == 1e9  # the published clock is remembered
    assert hardware.at() == dataclasses.replace(hardware, peak_clock_hz=1e9, full_tdp_w=10.0)
    for odd in (0.0, -1.0, float("nan"), "fast"):
        with pytest.raises(InputError, match=r"at\(clock_hz\): expected a finite number > 0"):
            hardware.at(clock_hz=odd)  # type: ignore[arg-type]


def test_sparse_patterns_and_memories_that_serve_some_operands():
    assert machine(sparsity="2:4").sparsity_pattern == (2, 4)
    assert machine().sparsity_pattern is None
    with pytest.raises(InputError, match="sparsity: expected N:M"):
        machine(sparsity="4:2")
    with pytest.raises(InputError, match=r"memory.rf.serves: expected some of weights, inputs, outputs, got 'kernels'"):
        MemoryLevel("rf", 8.0, serves=("kernels",))
    with pytest.raises(InputError, match="write_bandwidth: expected a read bandwidth beside it"):
        MemoryLevel("rf", 8.0, write_bandwidth_bytes_per_s=1.0)
    with pytest.raises(InputError, match=r"array\.skips_zeros: expected one of"):
        SpatialArray(8, 8, "ws", skips_zeros="some")
    with pytest.raises(InputError, match=r"backing\.flash\.bandwidth: expected the bandwidth"):
        machine(backing=(MemoryLevel("flash", 1e9),))
    tiered = machine(backing=(MemoryLevel("flash", 1e9, 1e9),), array=SpatialArray(8, 8, "ws", skips_zeros="weights"), sparsity="1:4", area_mm2=3.0)
    assert Hardware.from_json(json.loads(json.dumps(tiered.to_json()))) == tiered
    assert tiered.digest != machine().digest


@pytest.mark.parametrize(("field", "value"), [("clock_hz", 1e300), ("clock_hz", 1e-300), ("tdp_w", 1e25), ("matrix_rate", {"int8": 1e30})])
def test_figures_beyond_any_machine_name_their_field(field, value):
    """They would overflow in a product of two, and a unit or an exponent is surely wrong."""
    with pytest.raises(InputError, match=r"(clock|tdp|matrix_rate\.int8): expected a figure between 1e-24 and 1e\+24"):
        machine(**{field: value})
