"""Targets, queries and measurements: valid at birth, JSON both ways."""

import json

import pytest

from silicast.datasets import catalog
from silicast.datasets.errors import FormatError, InputError, UnknownNameError
from silicast.datasets.measurement import TARGETS, Measurement, Query, target
from silicast.datasets.ops import Op
from silicast.datasets.simulator import simulate
from silicast.datasets.workload import Workload

WORKLOAD = Workload("w", (Op.of("a", "gemm", m=64, n=64, k=64, params=4096),), ())
QUERY = Query(WORKLOAD, catalog.hardware("t4"), {"framework": "torch"})


def test_every_target_names_its_unit_at_its_end():
    endings = {"s": "_s", "J": "_j", "W": "_w", "B": "_bytes", "mm2": "_mm2"}
    for name, t in TARGETS.items():
        assert t.name == name
        assert name.endswith(endings.get(t.unit, ""))
    with pytest.raises(UnknownNameError, match="nearest: latency_s"):
        target("latency")


def test_energy_is_power_times_latency():
    Measurement(QUERY, {"latency_s": 0.002, "power_w": 150.0, "energy_j": 0.3}, "measured:me")
    with pytest.raises(InputError, match=r"measurement of 'w': energy_j = 0.31 is not power x latency = 0.3"):
        Measurement(QUERY, {"latency_s": 0.002, "power_w": 150.0, "energy_j": 0.31}, "measured:me")
    Measurement(QUERY, {"latency_s": 0.002, "energy_j": 0.31}, "measured:me")   # without power there is nothing to contradict


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, "3", None, True, pytest.param(10**400, id="huge")])
def test_a_value_that_is_no_quantity(value):
    with pytest.raises(InputError, match="latency_s must be finite and non-negative"):
        Measurement(QUERY, {"latency_s": value}, "measured:me")


def test_an_unknown_target():
    with pytest.raises(UnknownNameError, match="unknown target 'latencys'"):
        Measurement(QUERY, {"latencys": 1.0}, "measured:me")


def test_json_both_ways():
    assert Query.from_json(json.loads(json.dumps(QUERY.to_json()))) == QUERY
    measurement = Measurement(QUERY, {"latency_s": 0.002, "lut": 0}, "measured:me", {"latency_s": 0.01}, "too big")
    assert Measurement.from_json(json.loads(json.dumps(measurement.to_json()))) == measurement
    simulated = simulate(WORKLOAD, catalog.hardware("t4")).measurement
    assert Measurement.from_json(json.loads(json.dumps(simulated.to_json()))) == simulated


@pytest.mark.parametrize("document", [
    None, [], {}, {"workload": WORKLOAD.to_json()}, {"workload": 5, "hardware": 5}, {**QUERY.to_json(), "context": 5}, {**QUERY.to_json(), "context": ["a"]},
    {**QUERY.to_json(), "context": {"a": 1}}, {**QUERY.to_json(), "hardware": WORKLOAD.to_json()},
    {**QUERY.to_json(), "hardware": {**QUERY.hardware.to_json(), "clock_hz": 10**400}}, {**QUERY.to_json(), "hardware": {**QUERY.hardware.to_json(), "memory": 5}},
])
def test_a_broken_query_document(document):
    with pytest.raises(InputError):
        Query.from_json(document)


@pytest.mark.parametrize("changes", [{"values": 5}, {"values": [1]}, {"spread": "a"}, {"query": None}, {"values": {"latency_s": "fast"}}])
def test_a_broken_measurement_document(changes):
    good = Measurement(QUERY, {"latency_s": 0.002}, "measured:me").to_json()
    with pytest.raises(InputError):
        Measurement.from_json({**good, **changes})
    with pytest.raises(FormatError, match="expected the keys query, values, source"):
        Measurement.from_json({"values": {}})
