"""Branches, loops, scans, sequences and sizes on data: what is counted by hand, what is said, what is refused."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.helper import make_node

from silicast.datasets.errors import GraphError, UnknownNameError, UnsupportedOpError
from silicast.datasets.frontends import read

I64, BOOL = TensorProto.INT64, TensorProto.BOOL


def info(name, elem=1, shape=None):
    return helper.make_tensor_value_info(name, elem, shape)


def body(nodes, carried, scans=(), extra=()):
    """A Loop's body: trip number, condition, then what it carries."""
    return helper.make_graph(nodes, "body", [info("i", I64, []), info("c", BOOL, []), *(info(n) for n, _ in carried)],
                             [info("co", BOOL, []), *(info(n) for _, n in carried), *(info(s) for s in scans), *extra])


KEEP = make_node("Identity", ["c"], ["co"])


class TestLoop:
    STEP = body([KEEP, make_node("MatMul", ["s", "w"], ["t"])], [("s", "t")])
    W: ClassVar = {"w": (4, 4)}

    def test_constant_trips(self, net):
        # five products of 2x4 by 4x4; the weight is one
        workload = net(make_node("Loop", ["n", "", "x"], ["y"], body=self.STEP), {"x": [2, 4]}, ["y"], {**self.W, "n": np.array(5)})
        assert (workload.macs, workload.params, len(workload.ops)) == (5 * 32, 16, 5)
        assert [t.consumers for t in workload.tensors if t.name == "x"] == [(0,)]

    def test_a_weight_inside_the_body_is_one_weight(self, net):
        step = helper.make_graph([KEEP, make_node("MatMul", ["s", "inner"], ["t"])], "body", [info("i", I64, []), info("c", BOOL, []), info("s")],
                                 [info("co", BOOL, []), info("t")], [helper.make_tensor("inner", 1, [4, 4], [0.0] * 16)])
        workload = net(make_node("Loop", ["n", "", "x"], ["y"], body=step), {"x": [2, 4]}, ["y"], {"n": np.array(5)})
        assert (workload.macs, workload.params) == (160, 16)

    def test_trips_on_data_are_asked_for(self, net):
        node = make_node("Loop", ["n", "t", "x"], ["y"], body=self.STEP, name="spin")
        given = ({"x": [2, 4], "n": (I64, [])}, ["y"], {**self.W, "t": np.array(True)})
        with pytest.raises(UnsupportedOpError, match=r"node 'spin' \(Loop, in graph 'g'\).*--dim spin\.trips=VALUE"):
            net(node, *given)
        assert net(node, *given, dims={"spin.trips": 3}).macs == 96
        assert net(node, *given, dims={"n": 3}).macs == 96  # the limit is an input: its value does as well
        with pytest.raises(UnknownNameError, match=r"spon\.trips"):
            net(node, *given, dims={"spon.trips": 3})

    def test_condition_on_data_with_a_limit(self, net):
        step = body([make_node("ReduceSum", ["s"], ["total"], keepdims=0), make_node("Less", ["total", "f"], ["co"]), make_node("MatMul", ["s", "w"], ["t"])], [("s", "t")])
        workload = net(make_node("Loop", ["n", "t", "x"], ["y"], body=step, name="spin"), {"x": [2, 4]}, ["y"],
                       {**self.W, "n": np.array(3), "t": np.array(True), "f": np.float32(7)})
        assert workload.macs == 96
        assert [note for note in workload.notes if "'spin'" in note and "all 3 trips" in note]

    def test_condition_that_folds(self, net):
        # while i < 4: the trip number is known, so the condition is
        step = body([make_node("Less", ["i", "three"], ["co"]), make_node("MatMul", ["s", "w"], ["t"])], [("s", "t")])
        workload = net(make_node("Loop", ["", "t", "x"], ["y"], body=step), {"x": [2, 4]}, ["y"], {**self.W, "t": np.array(True), "three": np.array(3)})
        assert workload.macs == 4 * 32  # trips 0, 1, 2 and 3, after which 3 < 3 is false

    def test_stacked_outputs_are_a_move(self, net):
        step = body([KEEP, make_node("Relu", ["s"], ["t"]), make_node("Tanh", ["t"], ["o"])], [("s", "t")], ["o"])
        workload = net([make_node("Loop", ["n", "", "x"], ["last", "all"], body=step), make_node("Relu", ["all"], ["y"])], {"x": [4]}, ["y"], {"n": np.array(3)})
        assert [op.kind for op in workload.ops].count("move") == 1
        assert workload.ops[-1].dims["elements"] == 12

    def test_growing_state(self, net):
        # a cache that grows by one row a trip: 1, 2, 3 rows written
        step = body([KEEP, make_node("Concat", ["s", "row"], ["t"], axis=0)], [("s", "t")])
        workload = net(make_node("Loop", ["n", "", "x"], ["y"], body=step), {"x": [0, 4], "row": [1, 4]}, ["y"], {"n": np.array(3)})
        assert [op.dims["elements"] for op in workload.ops] == [4, 8, 12]

    def test_too_many_trips(self, net):
        with pytest.raises(GraphError, match=r"node 'spin' .*100000 trips through 2 nodes unroll to more than 40000"):
            net(make_node("Loop", ["n", "", "x"], ["y"], body=self.STEP, name="spin"), {"x": [2, 4]}, ["y"], {**self.W, "n": np.array(100_000)})

    def test_no_trips(self, net):
        workload = net([make_node("Loop", ["n", "", "x"], ["s"], body=self.STEP), make_node("Relu", ["s"], ["y"])], {"x": [2, 4]}, ["y"], {**self.W, "n": np.array(0)})
        assert [op.name for op in workload.ops] == ["y"]


class TestScan:
    def test_an_input_that_its_operator_needs_is_missed_on_the_first_slice(self, net):
        """Not after 16,384 of them."""
        step = helper.make_graph([make_node("Relu", [""], ["o"])], "each", [info("e")], [info("o")])
        with pytest.raises(GraphError, match=r"'o' \(Relu, .*\): its input 0 \(X\) is empty; Relu needs it"):
            net(make_node("Scan", ["x"], ["y"], body=step, num_scan_inputs=1), {"x": [16384, 2]}, ["y"])

    def test_slices_are_read_where_they_lie(self, net):
        # h = tanh(x_t W + h): 7 steps of 3x5 by 5x5
        step = helper.make_graph([make_node("MatMul", ["e", "w"], ["p"]), make_node("Add", ["p", "h"], ["q"]), make_node("Tanh", ["q"], ["ho"]), make_node("Identity", ["ho"], ["o"])],
                                 "step", [info("h"), info("e")], [info("ho"), info("o")])
        workload = net(make_node("Scan", ["h0", "x"], ["last", "y"], body=step, num_scan_inputs=1), {"h0": [3, 5], "x": [7, 3, 5]}, ["y"], {"w": (5, 5)})
        assert (workload.macs, workload.params) == (7 * 75, 25)
        assert [op.kind for op in workload.ops] == ["gemm", "elementwise", "elementwise"] * 7 + ["move"]
        assert {t.name: t.bytes for t in workload.tensors if t.name in ("x", "y")} == {"x": 420, "y": 420}

    def test_other_axes(self, net):
        step = helper.make_graph([make_node("Relu", ["e"], ["o"])], "step", [info("e")], [info("o")])
        workload = net(make_node("Scan", ["x"], ["y"], body=step, num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[-1]), {"x": [2, 6]}, ["y"])
        assert [op.dims["elements"] for op in workload.ops] == [2] * 6 + [12]


class TestSequences:
    def test_split_map_concat(self, net):
        each = helper.make_graph([make_node("Relu", ["e"], ["o"])], "each", [info("e", 1, [2, 4])], [info("o", 1, [2, 4])])
        nodes = [make_node("SplitToSequence", ["x", "two"], ["s"], axis=0), make_node("SequenceMap", ["s"], ["m"], body=each),
                 make_node("ConcatFromSequence", ["m"], ["y"], axis=0)]
        workload = net(nodes, {"x": [6, 4]}, ["y"], {"two": np.array(2)})
        assert [op.kind for op in workload.ops] == ["move", "elementwise", "elementwise", "elementwise", "move"]
        assert workload.ops[-1].dims["elements"] == 24

    def test_taking_one_costs_nothing(self, net):
        nodes = [make_node("Relu", ["x"], ["a"]), make_node("SequenceConstruct", ["a", "x"], ["s"]), make_node("SequenceInsert", ["s", "x"], ["u"]),
                 make_node("SequenceErase", ["u", "first"], ["v"]), make_node("SequenceLength", ["v"], ["n"]), make_node("SequenceAt", ["u", "first"], ["b"]),
                 make_node("Expand", ["b", "n1"], ["e"]), make_node("Tanh", ["b"], ["y"])]
        workload = net(nodes, {"x": [4]}, ["y"], {"first": np.array(0), "n1": np.array([1])})
        assert [op.name for op in workload.ops] == ["a", "y"]

    def test_an_unknown_place_is_the_largest(self, net):
        nodes = [make_node("Relu", ["x"], ["a"]), make_node("Relu", ["z"], ["b"]), make_node("SequenceConstruct", ["a", "b"], ["s"]), make_node("SequenceAt", ["s", "p"], ["t"]),
                 make_node("Tanh", ["t"], ["y"])]
        workload = net(nodes, {"x": [4], "z": [40], "p": (I64, [])}, ["y"])
        assert workload.ops[-1].dims["elements"] == 40
        assert any("the largest is assumed" in note for note in workload.notes)

    def test_sequence_inputs_need_a_length(self, onnx_file):
        import onnx

        path = onnx_file([make_node("ConcatFromSequence", ["s"], ["c"], axis=0), make_node("Relu", ["c"], ["y"])], {}, ["y"])
        model = onnx.load(path)
        model.graph.input.append(helper.make_tensor_sequence_value_info("s", 1, ["n", 4]))
        onnx.save(model, path)
        with pytest.raises(GraphError, match=r"input 's' is a sequence of tensors: give --dim s\.length=VALUE"):
            read(path)
        assert [op.dims["elements"] for op in read(path, dims={"s.length": 3, "n": 2}).ops] == [24, 24]

    def test_optional(self, net):
        nodes = [make_node("Optional", ["x"], ["o"]), make_node("OptionalHasElement", ["o"], ["h"]), make_node("OptionalGetElement", ["o"], ["e"]),
                 make_node("Relu", ["e"], ["y"])]
        assert [op.name for op in net(nodes, {"x": [4]}, ["y"], opset=18).ops] == ["y"]


class TestSizesOnData:
    NODES = (make_node("NonZero", ["x"], ["nz"], name="find"), make_node("Transpose", ["nz"], ["t"]), make_node("Cast", ["t"], ["y"], to=1))

    def test_named_with_the_flag(self, net):
        with pytest.raises(GraphError, match=r"depends on the data node 'find' \(NonZero, in graph 'g'\) reads: give --dim nz\.1=VALUE, at most 24 \(--unknown-ops bound"):
            net(list(self.NODES), {"x": [4, 6]}, ["y"])

    def test_bound_by_the_caller(self, net):
        workload = net(list(self.NODES), {"x": [4, 6]}, ["y"], dims={"nz.1": 10})
        assert [op.dims["elements"] for op in workload.ops] == [24, 20, 20]

    def test_bounded(self, net):
        workload = net(list(self.NODES), {"x": [4, 6]}, ["y"], unknown_ops="bound")
        assert workload.ops[-1].dims["elements"] == 48
        assert any("its upper bound 24 was taken" in note for note in workload.notes)
        assert not workload.bounded_ops

    def test_by_the_name_the_file_states(self, onnx_file):
        path = onnx_file(list(self.NODES), {"x": [4, 6]}, ["y"], value_info=[info("nz", I64, [2, "found"])])
        assert read(path, dims={"found": 5}).ops[-1].dims["elements"] == 10

    def test_boxes(self, net):
        # 100 boxes of 3 classes, at most 20 kept of each: 300 x 20 pairs of 16 operations
        weights = {"most": np.array([20]), "iou": np.array([0.5], np.float32)}
        nodes = [make_node("NonMaxSuppression", ["b", "s", "most", "iou"], ["k"]), make_node("Cast", ["k"], ["y"], to=1)]
        workload = net(nodes, {"b": [1, 100, 4], "s": [1, 3, 100]}, ["y"], weights, unknown_ops="bound")
        assert workload.ops[0].flops == 300 * 20 * 16
        assert workload.ops[1].dims["elements"] == 60 * 3

    def test_a_number_from_data(self, net):
        nodes = [make_node("ReduceMax", ["x"], ["m"], keepdims=0), make_node("Cast", ["m"], ["count"], to=7), make_node("Range", ["zero", "count", "one"], ["r"]),
                 make_node("Cast", ["r"], ["f"], to=1), make_node("Add", ["f", "x1"], ["y"])]
        given = ({"x": [8], "x1": [1]}, ["y"], {"zero": np.array(0), "one": np.array(1)})
        with pytest.raises(GraphError, match=r"--dim r\.0=VALUE"):
            net(nodes, *given)
        assert net(nodes, *given, dims={"count": 7}).ops[-1].dims["elements"] == 7
        assert net(nodes, *given, dims={"r.0": 7}).ops[-1].dims["elements"] == 7

    def test_numbers_of_an_input_vector(self, net):
        nodes = [make_node("Expand", ["x", "s"], ["e"]), make_node("Relu", ["e"], ["y"])]
        given = ({"x": [1], "s": (I64, [2])}, ["y"])
        assert net(nodes, *given, dims={"s[0]": 3, "s[1]": 5}).ops[-1].dims["elements"] == 15
        with pytest.raises(GraphError, match=r"--dim s\[1\]=VALUE as well"):
            net(nodes, *given, dims={"s[0]": 3})

    def test_a_key_that_binds_nothing(self, net):
        with pytest.raises(GraphError, match=r"--dim y\.0=3 binds nothing"):
            net(make_node("Relu", ["x"], ["y"]), {"x": [4]}, ["y"], dims={"y.0": 3})
