"""The graph: order, cycles, liveness by hand, digests, and documents that are not what they claim."""

import copy
import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.datasets.errors import FormatError, GraphError, InputError, UnknownNameError
from silicast.datasets.ops import Op
from silicast.datasets.workload import FORMAT, Tensor, Workload, WorkloadBuilder


def move(name: str, elements: int = 1) -> Op:
    return Op.of(name, "move", elements=elements)


def branchy() -> Workload:
    """x -> a -> (b, c) -> d, tensor bytes x 100, a 40, b 10, c 20, d 5."""
    return Workload("branchy", tuple(move(n) for n in "abcd"),
                    (Tensor("x", 100, -1, (0,)), Tensor("a", 40, 0, (1, 2)), Tensor("b", 10, 1, (3,)), Tensor("c", 20, 2, (3,)), Tensor("d", 5, 3)))


def test_liveness_peak_by_hand():
    # while a runs: x 100 + a 40 = 140; b: a 40 + b 10 = 50; c: a 40 + b 10 + c 20 = 70; d: b 10 + c 20 + d 5 = 35
    assert branchy().peak_activation_bytes == 140
    # an input that only the last op reads is live from the start: a: x 100 + a 40 + late 60 = 200
    late = dataclasses.replace(branchy(), tensors=(*branchy().tensors, Tensor("late", 60, -1, (3,))))
    assert late.peak_activation_bytes == 200
    # an output of an early op lives to the end: 140 + 30 while a runs, then b 80, c 100, d 65
    early = dataclasses.replace(branchy(), tensors=(*branchy().tensors, Tensor("early", 30, 0)))
    assert early.peak_activation_bytes == 170
    assert dataclasses.replace(branchy(), tensors=()).peak_activation_bytes == 0


def test_edges_and_sums_by_hand():
    workload = branchy()
    assert workload.edges.tolist() == [[0, 1], [0, 2], [1, 3], [2, 3]]
    two = Workload("w", (Op.of("a", "gemm", m=2, n=3, k=4, params=12), Op.of("b", "gemm", m=2, n=5, k=3, params=15, weight_dtype="int8")), ())
    assert two.edges.shape == (0, 2)
    assert two.macs == 24 + 30
    assert two.flops == 108
    assert two.params == 27
    assert two.weight_bytes == 12 * 2 + 15
    assert two.bytes_read == (8 + 12) * 2 + 6 * 2 + 15
    assert two.bytes_written == (6 + 10) * 2
    assert two.bounded_ops == ()


def test_a_cycle_is_named():
    with pytest.raises(GraphError, match=r"workload 'loop' is cyclic: 2 operators wait for each other, among them 'b', 'c'"):
        Workload.of("loop", [move("a"), move("b"), move("c")], [Tensor("t", 1, 0, (1,)), Tensor("u", 1, 1, (2,)), Tensor("v", 1, 2, (1,))])
    with pytest.raises(GraphError, match="cyclic"):
        Workload.of("self", [move("a")], [Tensor("t", 1, 0, (0,))])
    with pytest.raises(GraphError, match="topological order"):
        Workload("w", (move("a"), move("b")), (Tensor("t", 1, 1, (0,)),))


@pytest.mark.parametrize("tensor", [
    Tensor("t", 1, 7, ()), Tensor("t", 1, -2, ()), Tensor("t", 1, 0, (9,)), Tensor("t", 1, -1, (-1,)), Tensor("t", -5, -1, (0,)), Tensor("t", 2**62 + 1, -1, (0,)),
    Tensor("t", 1.5, -1, (0,)), Tensor("t", True, -1, (0,)), Tensor("t", 10**400, -1, (0,)),
])
@pytest.mark.parametrize("make", [Workload.of, Workload])
def test_indexes_and_bytes_that_cannot_be(tensor, make):
    with pytest.raises(GraphError, match="'t'"):
        make("w", (move("a"), move("b")), (tensor,))


def test_an_empty_graph():
    with pytest.raises(GraphError, match="'w' has no operators"):
        Workload("w", (), ())
    with pytest.raises(GraphError, match="no operators"):
        WorkloadBuilder("w").build()


def test_ops_in_any_order_are_sorted():
    # d <- c <- b <- a given backwards: op 3 makes what 2 reads, and so on
    ops = [move("d", 4), move("c", 3), move("b", 2), move("a", 1)]
    workload = Workload.of("w", ops, [Tensor("x", 1, -1, (3,)), Tensor("ab", 1, 3, (2,)), Tensor("bc", 1, 2, (1,)), Tensor("cd", 1, 1, (0,)), Tensor("out", 1, 0)])
    assert [op.name for op in workload.ops] == ["a", "b", "c", "d"]
    assert [(t.producer, t.consumers) for t in workload.tensors] == [(-1, (0,)), (0, (1,)), (1, (2,)), (2, (3,)), (3, ())]


def test_a_sorted_graph_keeps_its_order():
    ops = [move("b"), move("a"), move("c")]
    assert Workload.of("w", ops, [Tensor("t", 1, 0, (2,))]).ops == tuple(ops)


def test_the_digest_is_of_the_content():
    workload = branchy()
    renamed = Workload("other", tuple(dataclasses.replace(op, name=op.name * 3, source="onnx") for op in workload.ops),
                       tuple(dataclasses.replace(t, name=t.name + "!") for t in workload.tensors), "family", ("a note",))
    assert renamed.digest == workload.digest
    assert len(workload.digest) == 16
    shuffled = dataclasses.replace(workload, tensors=workload.tensors[::-1])
    assert shuffled.digest == workload.digest
    others = [dataclasses.replace(workload, ops=(move("a", 2), *workload.ops[1:])), dataclasses.replace(workload, tensors=workload.tensors[:-1]),
              dataclasses.replace(workload, ops=tuple(dataclasses.replace(op, dtype="int8", weight_dtype="", output_dtype="") for op in workload.ops))]
    assert len({w.digest for w in others} | {workload.digest}) == 4


@st.composite
def graphs(draw: st.DrawFn) -> Workload:
    """Any small acyclic graph, built forwards."""
    builder = WorkloadBuilder(draw(st.text(max_size=4)), "fam")
    tensors = [builder.input("x", draw(st.integers(1, 1000)), draw(st.sampled_from(["float16", "int4", "fp32"])))]
    for i in range(draw(st.integers(1, 8))):
        op = draw(st.sampled_from([Op.of(f"g{i}", "gemm", m=2, n=3, k=4, params=12), move(f"m{i}", 7), Op.of(f"s{i}", "softmax", rows=2, cols=5, dtype="int8")]))
        tensors.append(builder.add(op, draw(st.lists(st.sampled_from(tensors), min_size=1, max_size=3))))
    return builder.build()


@given(graphs())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_json_round_trip_keeps_graph_and_digest(workload):
    again = Workload.from_json(json.loads(json.dumps(workload.to_json())))
    assert again == workload
    assert again.digest == workload.digest
    assert (again.notes, again.family) == (workload.notes, workload.family)


@given(graphs(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_order_of_the_ops_gives_a_valid_graph_of_the_same_work(workload, random):
    order = list(range(len(workload.ops)))
    random.shuffle(order)
    place = {op: i for i, op in enumerate(order)} | {-1: -1}
    moved = [Tensor(t.name, t.bytes, place[t.producer], tuple(place[c] for c in t.consumers)) for t in workload.tensors]
    again = Workload.of("w", [workload.ops[i] for i in order], moved)   # valid at birth: its own check has passed
    assert sorted(op.name for op in again.ops) == sorted(op.name for op in workload.ops)
    assert again.flops == workload.flops
    assert len(again.edges) == len(workload.edges)


@given(graphs())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_peak_lies_between_the_largest_step_and_everything(workload):
    total = sum(t.bytes for t in workload.tensors)
    largest = max(t.bytes for t in workload.tensors)
    assert largest <= workload.peak_activation_bytes <= total


def test_builder_faults_and_packing():
    builder = WorkloadBuilder("w")
    x = builder.input("x", 3, "int4")                              # 12 bits: 2 bytes
    builder.add(move("a"), [x, x])
    assert builder.build().tensors[0] == Tensor("x", 2, -1, (0,))  # read once, though named twice
    for bad in (5, -1):
        with pytest.raises(GraphError, match=f"reads tensor {bad}, but there are 2"):
            builder.add(move("b"), [bad])
    assert len(builder.build().ops) == 1                           # a refused op leaves nothing behind
    with pytest.raises(UnknownNameError, match="dtype"):
        builder.input("y", 1, "float17")


def spoiled() -> list[tuple[str, object]]:
    """A good document with one thing wrong in each."""
    def change(*path_and_value: object) -> dict:
        document = branchy().to_json()
        *path, last, value = path_and_value
        at = document
        for step in path:
            at = at[step]
        if value is KeyError:
            del at[last]
        else:
            at[last] = value
        return document
    deep: object = "x"
    for _ in range(100_000):
        deep = [deep]
    return [
        ("none", None), ("list", []), ("text", "workload"), ("empty", {}), ("version", change("format", "silicast-workload/9")), ("hardware", {"format": "silicast-hardware/1"}),
        ("ops gone", change("ops", KeyError)), ("ops text", change("ops", "abc")), ("ops none", change("ops", [])), ("op number", change("ops", 0, 5)),
        ("tensors gone", change("tensors", KeyError)), ("tensor number", change("tensors", 0, 5)), ("no consumers", change("tensors", 0, "consumers", KeyError)),
        ("consumers text", change("tensors", 0, "consumers", "0")), ("consumers nested", change("tensors", 0, "consumers", [[0]])),
        ("consumer float", change("tensors", 0, "consumers", [0.0])), ("bytes text", change("tensors", 0, "bytes", "100")),
        ("bytes infinite", change("tensors", 0, "bytes", float("inf"))), ("bytes huge", change("tensors", 0, "bytes", 10**400)),
        ("bytes true", change("tensors", 0, "bytes", True)), ("no bytes", change("tensors", 0, "bytes", KeyError)), ("producer float", change("tensors", 1, "producer", 0.0)),
        ("producer far", change("tensors", 4, "producer", 99)), ("name number", change("name", 5)), ("name deep", change("name", deep)), ("family", change("family", [1])),
        ("notes number", change("notes", 5)), ("notes deep", change("notes", [deep])), ("op deep", change("ops", 0, "dims", "elements", deep)),
        ("kind list", change("ops", 0, "kind", ["move"])), ("dims list", change("ops", 0, "dims", [1])), ("size huge", change("ops", 0, "dims", "elements", 10**5000)),
        ("size infinite", change("ops", 0, "dims", "elements", float("inf"))), ("dtype", change("ops", 0, "dtype", {"a": 1})), ("op name", change("ops", 0, "name", None)),
    ]


@pytest.mark.parametrize(("what", "document"), spoiled(), ids=[what for what, _ in spoiled()])
def test_a_broken_document_is_one_clear_error(what, document):
    with pytest.raises((FormatError, GraphError, UnknownNameError)) as caught:
        Workload.from_json(document)
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=6)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), anything)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_whatever_stands_in_a_document_only_our_errors_come_out(path, value):
    document = copy.deepcopy(branchy().to_json())
    at: object = document
    for depth, step in enumerate(path):
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            break
        key = keys[step % len(keys)]
        if depth == len(path) - 1 or not isinstance(at[key], (dict, list)):
            at[key] = value
            break
        at = at[key]
    try:
        again = Workload.from_json(document)
    except InputError:
        return
    assert np.isfinite(again.peak_activation_bytes)
    assert again.digest


def test_files(tmp_path):
    place = tmp_path / "w.json"
    place.write_text(json.dumps(branchy().to_json()))
    assert Workload.load(place) == branchy()
    with pytest.raises(FormatError, match=r"nowhere.json: no such file"):
        Workload.load(tmp_path / "nowhere.json")
    broken = {"cut": json.dumps(branchy().to_json())[:-20].encode(), "latin": b'{"name": "\xff\xfe"}', "empty": b"", "deep": b"[" * 200_000, "number": b'{"a": ' + b"9" * 5000 + b"}"}
    for name, content in broken.items():
        place = tmp_path / name
        place.write_bytes(content)
        with pytest.raises(FormatError, match=f"{name}: not a readable JSON document"):
            Workload.load(place)
    with pytest.raises(FormatError, match="not a readable"):
        Workload.load(tmp_path)
    assert FORMAT == "silicast-workload/1"
