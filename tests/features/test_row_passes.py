"""Rows read more than once: what a cache misses of a walk, how often rows are read, what that adds and where it adds nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from silicast.datasets import catalog
from silicast.datasets.columns import DeviceColumns, OpColumns
from silicast.datasets.ops import Op
from silicast.datasets.table import OpQuestions
from silicast.features.op_costs import op_costs
from silicast.features.row_passes import MARK, again_s, between, marks, missed, readings
from silicast.features.tabular import tabular_features


def asked(ops: list[Op], device: Any = "v100_pcie") -> OpQuestions:
    machine = catalog.hardware(device) if device else None
    nothing = pd.DataFrame(index=range(len(ops)))
    return OpQuestions(OpColumns.from_ops(ops), ("d",), (machine,), np.zeros(len(ops), dtype=np.int64), nothing, nothing)


def softmax(rows: int, cols: int) -> Op:
    return Op.of("s", "softmax", rows=rows, cols=cols, dtype="float32")


def norm(rows: int, cols: int) -> Op:
    return Op.of("n", "norm", rows=rows, cols=cols, dtype="float32")


def added(questions: OpQuestions) -> np.ndarray:
    device = questions.devices[0]
    assert device is not None
    return again_s(questions.ops, DeviceColumns.from_devices([device] * len(questions)), op_costs(questions))


def test_what_a_walk_misses_solves_its_equation() -> None:
    walk = np.array([0.0, 0.5, 1.0, 1.2, 2.0, 5.0, 50.0])
    share = missed(walk)
    assert (share[:3] == 0.0).all()
    np.testing.assert_allclose(share, -np.expm1(-share * walk), atol=1e-6)
    assert (np.diff(share[2:]) > 0).all()
    assert share[-1] > 0.999


def test_what_a_walk_misses_is_what_a_cache_with_random_replacement_misses() -> None:
    rng, lines, places = np.random.default_rng(0), 600, 400
    held, where, lost, turns = np.arange(places), {i: i for i in range(places)}, 0, 40
    for turn in range(turns):
        for line in range(lines):
            if line not in where:
                at = int(rng.integers(places))
                del where[int(held[at])]
                held[at], where[line], lost = line, at, lost + (turn >= turns // 2)
    assert abs(lost / (lines * (turns - turns // 2)) - float(missed(np.array([lines / places]))[0])) < 0.03


def test_rows_that_registers_hold_are_read_once() -> None:
    ops = OpColumns.from_ops([softmax(8, 1024), softmax(8, 1025), norm(8, 64), Op.of("e", "elementwise", elements=4096)])
    np.testing.assert_array_equal(readings(ops), [1.0, 3.0, 2.0, 1.0])


def test_rows_in_flight_are_as_many_as_there_are_and_as_fit() -> None:
    ops = OpColumns.from_ops([norm(10, 1024), norm(10**6, 1024), softmax(10**6, 8192)])
    np.testing.assert_allclose(between(ops, np.full(3, 80.0)), [10 * 4096 * 1.5, 80 * 16 * 4096 * 1.5, 80 * 4 * 32768 * 4 / 3])


def test_long_rows_cost_up_to_twice_as_much_and_short_ones_what_they_did() -> None:
    questions = asked([softmax(65536, 1024), softmax(65536, 2048), softmax(65536, 16384), Op.of("e", "elementwise", elements=10**8)])
    more, cold = added(questions), op_costs(questions).cold_s
    assert more[0] == more[3] == 0.0
    assert 0.0 < more[1] / cold[1] < 0.7  # from the cache
    assert 0.9 < more[2] / cold[2] < 1.1  # three readings and a writing, all of them DRAM's, for one of each


def test_nothing_is_added_where_nothing_is_known() -> None:
    for device in ("tpu_v3", "zcu102", "xeon_8380"):
        assert (added(asked([softmax(65536, 16384)], device)) == 0.0).all()


def test_models_without_the_mark_see_what_they_saw() -> None:
    questions = asked([softmax(65536, 16384), norm(65536, 4096), softmax(64, 64)])
    plain, marked = tabular_features(questions, {}), tabular_features(questions, marks(questions.ops))
    assert plain.names == marked.names
    np.testing.assert_array_equal(plain.values, marked.values)
    assert (marked.reference["latency_s"][:2] > plain.reference["latency_s"][:2]).all()
    assert marked.reference["latency_s"][2] == plain.reference["latency_s"][2]


def test_tables_without_such_rows_are_not_marked() -> None:
    assert marks(OpColumns.from_ops([softmax(64, 512), Op.of("g", "gemm", m=8, n=8, k=8)])) == {}
    assert marks(OpColumns.from_ops([norm(64, 512)])) == {MARK: ()}


def test_a_machine_without_a_name_is_answered() -> None:
    questions = asked([softmax(65536, 16384)], None)
    given = {"device": ("d",)}
    np.testing.assert_array_equal(tabular_features(questions, {**given, MARK: ()}).reference["latency_s"], tabular_features(questions, given).reference["latency_s"])
