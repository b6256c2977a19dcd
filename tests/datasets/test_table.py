"""Tables: rows taken in any way stay with their answers."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from silicast.datasets import catalog
from silicast.datasets.columns import OpColumns
from silicast.datasets.errors import TableError
from silicast.datasets.measurement import Query
from silicast.datasets.ops import Op
from silicast.datasets.table import FeatureQuestions, GraphQuestions, OpQuestions, Questions, Table, target_unit
from silicast.datasets.workload import Workload

T4, A100 = catalog.hardware("t4"), catalog.hardware("a100_sxm")
WORKLOADS = [Workload(f"w{i}", (Op.of("a", "gemm", m=i, n=2, k=3),), ()) for i in (1, 2, 3)]


def graph_questions() -> GraphQuestions:
    return GraphQuestions.of([Query(w, h) for w in WORKLOADS for h in (T4, A100)])


def op_questions() -> OpQuestions:
    ops = OpColumns.from_ops([Op.of("a", "gemm", m=i, n=2, k=3) for i in range(1, 7)])
    return OpQuestions(ops, ("mine", "t4"), (None, T4), np.array([0, 1] * 3), pd.DataFrame({"framework": list("abcdef")}), pd.DataFrame({"x": np.arange(6.0)}))


def feature_questions() -> FeatureQuestions:
    return FeatureQuestions(pd.DataFrame({"a": np.arange(6.0), "b": list("uvwxyz")}))


def table(questions) -> Table:
    return Table(questions, {"latency_s": np.array([1.0, 2.0, np.nan, 4.0, 5.0, 6.0]), "power_w": np.full(6, np.nan)}, np.array(list("aabbcc"), dtype=object),
                 pd.DataFrame({"device": ["x", "y"] * 3}), "measured:me", ("a note",))


ALL = pytest.mark.parametrize("questions", [graph_questions(), op_questions(), feature_questions()], ids=["graph", "op", "features"])


def what(questions, row: int) -> tuple:
    """What is asked in one row, however it is stored."""
    if isinstance(questions, GraphQuestions):
        return questions.workloads[questions.workload_index[row]].name, questions.devices[questions.device_index[row]].key
    if isinstance(questions, OpQuestions):
        return questions.ops.m[row], questions.device_names[questions.device_index[row]], questions.context.iloc[row, 0], questions.extra.iloc[row, 0]
    return tuple(questions.frame.iloc[row])


@ALL
@pytest.mark.parametrize("index", [[4, 0, 4], [], [False, True, False, False, True, True], np.array([5, 1], dtype=np.int32)])
def test_take_keeps_rows_together(questions, index):
    whole = table(questions)
    part = whole.take(np.array(index))
    rows = np.flatnonzero(index) if len(index) and np.asarray(index).dtype == bool else np.asarray(index, dtype=int)
    assert isinstance(part.questions, Questions)
    assert len(part) == len(rows) == len(part.questions.strata)
    assert [what(part.questions, i) for i in range(len(part))] == [what(questions, r) for r in rows]
    np.testing.assert_array_equal(part.targets["latency_s"], whole.targets["latency_s"][rows])
    assert part.groups.tolist() == whole.groups[rows].tolist()
    assert part.slices["device"].tolist() == whole.slices["device"].iloc[rows].tolist()
    assert list(part.slices.index) == list(range(len(rows)))
    assert (part.source, part.notes) == (whole.source, whole.notes)


@ALL
def test_a_mask_of_another_length(questions):
    with pytest.raises(TableError, match="a mask of 3 rows for a table of 6"):
        table(questions).take(np.array([True, False, True]))


@ALL
def test_answered(questions):
    whole = table(questions)
    assert whole.answered("latency_s").targets["latency_s"].tolist() == [1.0, 2.0, 4.0, 5.0, 6.0]
    part = whole.take(np.array([0, 1]))
    assert part.answered("latency_s") is part
    with pytest.raises(TableError, match="no row has an answer for 'power_w'"):
        whole.answered("power_w")
    with pytest.raises(TableError, match="has no target 'energy_j'; it has: latency_s, power_w"):
        whole.answered("energy_j")


def test_the_digest_is_of_the_content_in_order():
    whole = table(feature_questions())
    assert whole.digest == table(feature_questions()).digest
    assert whole.take(np.array([1, 0, 2, 3, 4, 5])).digest != whole.digest
    assert dataclasses.replace(whole, groups=np.array(list("aabbcd"), dtype=object)).digest != whole.digest
    assert dataclasses.replace(whole, targets={"latency_s": whole.targets["latency_s"]}).digest != whole.digest
    assert dataclasses.replace(whole, slices=pd.DataFrame({"device": ["z"] * 6})).digest == whole.digest


def test_lengths_that_disagree():
    whole = table(feature_questions())
    with pytest.raises(TableError, match="target latency_s has 2 rows, the questions 6"):
        dataclasses.replace(whole, targets={"latency_s": np.ones(2)})
    with pytest.raises(TableError, match="2 groups and 6 slice rows for 6"):
        dataclasses.replace(whole, groups=np.array(["a", "b"]))


def test_equal_workloads_and_machines_are_kept_once():
    again = dataclasses.replace(WORKLOADS[0], name="again")          # the same content
    questions = GraphQuestions.of([Query(WORKLOADS[0], T4), Query(again, A100), Query(WORKLOADS[1], T4)])
    assert len(questions.workloads) == 2
    assert [d.key for d in questions.devices] == ["t4", "a100_sxm"]
    assert questions.workload_index.tolist() == [0, 0, 1]
    assert questions.strata.tolist() == ["gpu"] * 3
    part = questions.take(np.array([2]))
    assert (len(part.workloads), len(part.devices)) == (1, 1)
    crossed = GraphQuestions.cross(WORKLOADS[2], [A100, T4])
    assert [what(crossed, i) for i in range(2)] == [("w3", "a100_sxm"), ("w3", "t4")]
    assert len(crossed.device_columns) == 2
    assert len(GraphQuestions.of([]).strata) == 0


def test_target_units():
    assert (target_unit("latency_s"), target_unit("score")) == ("s", "")
