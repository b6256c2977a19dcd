"""Reading ONNX files: dimensions, damage, control flow, foreign operators, speed."""

from __future__ import annotations

import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.helper import make_node

from silicast.datasets.errors import FormatError, GraphError, SilicastError, UnknownNameError, UnsupportedOpError
from silicast.datasets.frontends import READERS, read
from silicast.datasets.workload import Workload

RELU = make_node("Relu", ["x"], ["y"], name="r")


class TestDimensions:
    def test_symbolic(self, net):
        workload = net(RELU, {"x": ["batch", 3]}, ["y"], dims={"batch": 8})
        assert workload.ops[0].dims["elements"] == 24
        assert workload.notes == ("batch = 8",)

    def test_unbound_names_input_symbol_and_flag(self, net):
        with pytest.raises(GraphError, match=r"net\.onnx: input 'x' axis 0 is the free dimension 'batch': give --dim batch=VALUE"):
            net(RELU, {"x": ["batch", 3]}, ["y"])

    def test_unnamed(self, net):
        with pytest.raises(GraphError, match=r"input 'x' axis 0 is a free dimension without a name: give --dim x\.0=VALUE"):
            net(RELU, {"x": [None, 3]}, ["y"])
        assert net(RELU, {"x": [None, 3]}, ["y"], dims={"x.0": 8}).ops[0].dims["elements"] == 24

    def test_exporters_placeholders_are_not_one_dimension(self, net):
        assert net(RELU, {"x": ["?", "?"]}, ["y"], dims={"x.0": 8, "x.1": 5}).ops[0].dims["elements"] == 40
        assert net(RELU, {"x": [-1, 3]}, ["y"], dims={"x.0": 8}).ops[0].dims["elements"] == 24

    def test_unknown_name(self, net):
        with pytest.raises(UnknownNameError, match="'batc'; nearest: batch"):
            net(RELU, {"x": ["batch", 3]}, ["y"], dims={"batc": 8})

    def test_fixed_axis(self, net):
        assert net(RELU, {"x": [4, 3]}, ["y"], dims={"x.0": 4}).ops[0].dims["elements"] == 12
        with pytest.raises(GraphError, match=r"--dim x\.0=8: the file fixes input 'x' axis 0 at 4"):
            net(RELU, {"x": [4, 3]}, ["y"], dims={"x.0": 8})

    def test_value_must_not_be_negative(self, net):
        with pytest.raises(GraphError, match="--dim batch=-3: expected a size of 0 or more"):
            net(RELU, {"x": ["batch", 3]}, ["y"], dims={"batch": -3})

    def test_impossible_size_in_the_file(self, net):
        with pytest.raises(GraphError, match="input 'x' axis 1 has the size -2"):
            net(RELU, {"x": [2, -2]}, ["y"])

    def test_an_empty_cache_is_no_work(self, net):
        # a decoder's first step: the keys so far are 0 x 8; the joined keys are the 3 new ones
        nodes = [make_node("Concat", ["past", "new"], ["k"], axis=0), make_node("Relu", ["k"], ["y"])]
        workload = net(nodes, {"past": ["so_far", 8], "new": [3, 8]}, ["y"], dims={"so_far": 0})
        assert [op.dims["elements"] for op in workload.ops] == [24, 24]

    def test_nothing_in_is_nothing_to_count(self, net):
        with pytest.raises(GraphError, match=r"nothing is left to count.*tensor 'x' is empty"):
            net(RELU, {"x": ["batch", 3]}, ["y"], dims={"batch": 0})

    def test_absurd_sizes(self, net):
        with pytest.raises(GraphError, match="input 'x' would have"):
            net(RELU, {"x": [2**40, 2**40]}, ["y"])
        with pytest.raises(GraphError, match=r"node .*Expand.* would have"):
            net([make_node("Expand", ["x", "s"], ["a"]), make_node("Relu", ["a"], ["y"])], {"x": [1]}, ["y"], {"s": np.array([2**31, 2**31])})

    def test_input_without_a_shape(self, onnx_file):
        path = onnx_file([RELU], {"x": [1]}, ["y"])
        model = onnx.load(path)
        model.graph.input[0].type.tensor_type.ClearField("shape")
        onnx.save(model, path)
        with pytest.raises(GraphError, match=r"input 'x' has no shape.*--dim x\.0=VALUE"):
            read(path)
        assert read(path, dims={"x.0": 3, "x.1": 5}).ops[0].dims["elements"] == 15


class TestShapeArithmetic:
    def test_reshape_from_shape(self, net):
        # the exporter's way to write x.reshape(batch, -1): Shape, Gather, Unsqueeze, Concat
        nodes = [make_node("Shape", ["x"], ["s"]), make_node("Gather", ["s", "zero"], ["b"]), make_node("Unsqueeze", ["b", "axes"], ["b1"]),
                 make_node("Concat", ["b1", "minus"], ["t"], axis=0), make_node("Reshape", ["x", "t"], ["f"]), make_node("MatMul", ["f", "w"], ["y"])]
        workload = net(nodes, {"x": ["n", 3, 4]}, ["y"], {"zero": np.array(0), "axes": np.array([0]), "minus": np.array([-1]), "w": (12, 5)}, dims={"n": 2})
        assert [op.source for op in workload.ops] == ["onnx MatMul y"]
        assert workload.macs == 2 * 12 * 5

    def test_expand_mask_range(self, net):
        # Range over the length, compared with itself: a constant mask, folded; only the Where is left
        nodes = [make_node("Shape", ["x"], ["s"]), make_node("Gather", ["s", "one"], ["len"]), make_node("Range", ["zero", "len", "one"], ["r"]),
                 make_node("Unsqueeze", ["r", "axes"], ["c"]), make_node("Less", ["r", "c"], ["m"]), make_node("Where", ["m", "x", "f"], ["y"])]
        weights = {"zero": np.array(0), "one": np.array(1), "axes": np.array([1]), "f": np.float32(-1e9)}
        assert [op.source for op in net(nodes, {"x": [7, "len"]}, ["y"], weights, dims={"len": 7}).ops] == ["onnx Where y"]

    def test_float_arithmetic_on_sizes(self, net):
        # floor(5 * 1.5) = 7 columns
        nodes = [make_node("Shape", ["x"], ["s"]), make_node("Slice", ["s", "one", "two"], ["h"]), make_node("Cast", ["h"], ["hf"], to=1),
                 make_node("Mul", ["hf", "r"], ["hs"]), make_node("Floor", ["hs"], ["hq"]), make_node("Cast", ["hq"], ["hi"], to=7),
                 make_node("Concat", ["one", "hi"], ["t"], axis=0), make_node("Expand", ["z", "t"], ["e"]), make_node("Relu", ["e"], ["y"])]
        weights = {"one": np.array([1]), "two": np.array([2]), "r": np.array([1.5], np.float32)}
        workload = net(nodes, {"x": [1, 5], "z": [1, 1]}, ["y"], weights)
        assert workload.ops[-1].dims["elements"] == 7

    def test_integer_division_truncates(self, net):
        nodes = [make_node("Div", ["a", "b"], ["q"]), make_node("Neg", ["q"], ["t"]), make_node("Expand", ["x", "t"], ["e"]), make_node("Relu", ["e"], ["y"])]
        assert net(nodes, {"x": [1]}, ["y"], {"a": np.array([-7]), "b": np.array([2])}).ops[-1].dims["elements"] == 3

    def test_data_dependent_shape_is_named(self, net):
        nodes = [make_node("Reshape", ["x", "s"], ["a"]), make_node("Relu", ["a"], ["y"], name="after")]
        with pytest.raises(GraphError, match=r"node 'after' \(Relu.*cannot be inferred"):
            net(nodes, {"x": [6], "s": (TensorProto.INT64, [2])}, ["y"])

    def test_big_constants_are_never_made(self, net):
        began = time.perf_counter()
        workload = net([make_node("ConstantOfShape", ["s"], ["c"]), make_node("Exp", ["c"], ["d"]), make_node("Add", ["x", "d"], ["y"])],
                       {"x": [1]}, ["y"], {"s": np.array([40_000, 40_000])})
        assert workload.ops[0].dims["elements"] == 1_600_000_000
        assert time.perf_counter() - began < 1

    def test_constant_of_an_unfit_shape_is_not_made(self, net):
        # ConstantOfShape wants int64 sizes; given others onnx infers nothing, and 2^60 elements must not be tried
        with pytest.raises(SilicastError, match=r"node 'c' \(ConstantOfShape.*the shape of 'c' cannot be inferred"):
            net([make_node("ConstantOfShape", ["s"], ["c"]), make_node("Add", ["x", "c"], ["y"])], {"x": [1]}, ["y"], {"s": np.array([2**30, 2**30], np.uint64)})

    def test_condition_takes_its_branch(self, onnx_file):
        def branch(op: str) -> onnx.GraphProto:
            return helper.make_graph([make_node(op, ["x"], ["same"], name=op)], op, [], [helper.make_tensor_value_info("same", 1, None)])

        nodes = [make_node("Equal", ["rate", "fast"], ["c"]),
                 make_node("If", ["c"], ["p"], then_branch=branch("Relu"), else_branch=branch("Tanh"), name="choose"),
                 make_node("If", ["c"], ["q"], then_branch=branch("Exp"), else_branch=branch("Sqrt"), name="choose"), make_node("Add", ["p", "q"], ["y"])]
        path = onnx_file(nodes, {"x": [4], "rate": (TensorProto.INT64, [])}, ["y"], {"fast": np.array(16)})
        assert [op.name for op in read(path, dims={"rate": 16}).ops] == ["Relu", "Exp", "y"]
        assert [op.name for op in read(path, dims={"rate": 8}).ops] == ["Tanh", "Sqrt", "y"]
        # not given: of each the dearer branch, tanh (12 operations) and exp (8), which the notes tell
        worst = read(path)
        assert [op.name for op in worst.ops] == ["Tanh", "Exp", "y"]
        assert [note for note in worst.notes if "else_branch is counted, the dearer one" in note and "'choose'" in note]


class TestUnknown:
    CUSTOM = make_node("Fancy", ["x"], ["h"], name="f", domain="com.example")

    def test_custom_domain_is_named(self, onnx_file):
        told = onnx_file([self.CUSTOM, make_node("Relu", ["h"], ["y"])], {"x": [4]}, ["y"], domains={"com.example": 1},
                         value_info=[helper.make_tensor_value_info("h", 1, [4])])
        with pytest.raises(UnsupportedOpError, match=r"node 'f' \(Fancy of domain 'com\.example', in graph 'g'\).*--unknown-ops bound"):
            read(told)

    def test_bounding_is_promised_only_where_it_works(self, onnx_file):
        path = onnx_file([self.CUSTOM, make_node("Relu", ["h"], ["y"])], {"x": [4]}, ["y"], domains={"com.example": 1})
        with pytest.raises(UnsupportedOpError, match="state the shapes of its outputs") as caught:
            read(path)
        assert "--unknown-ops" not in str(caught.value)
        with pytest.raises(SilicastError, match="cannot be inferred"):
            read(path, unknown_ops="bound")

    def test_bound(self, onnx_file):
        # 4 elements in, 6 out by the file's own value_info
        path = onnx_file([self.CUSTOM, make_node("Relu", ["h"], ["y"])], {"x": ["n"]}, ["y"], domains={"com.example": 1},
                         value_info=[helper.make_tensor_value_info("h", 1, ["n", 2])])
        workload = read(path, dims={"n": 3}, unknown_ops="bound")
        assert workload.bounded_ops == ("f",)
        assert workload.ops[0].dims == {"input_elements": 3, "output_elements": 6}
        assert any("Fancy" in note and "bounded" in note for note in workload.notes)

    def test_bound_needs_shapes(self, onnx_file):
        path = onnx_file([self.CUSTOM, make_node("Relu", ["h"], ["y"])], {"x": [4]}, ["y"], domains={"com.example": 1})
        with pytest.raises(GraphError, match=r"node 'f'.*cannot be inferred"):
            read(path, unknown_ops="bound")

    def test_unknown_operator_on_constants_is_not_folded(self, net):
        with pytest.raises(UnsupportedOpError, match="Nonesuch"):
            net([make_node("Nonesuch", ["w"], ["h"]), make_node("Add", ["x", "h"], ["y"])], {"x": [4]}, ["y"], {"w": (4,)})

    def test_loop_is_named(self, net):
        body = helper.make_graph([make_node("Identity", ["c"], ["co"]), make_node("Relu", ["x"], ["o"])], "body",
                                 [helper.make_tensor_value_info("i", 7, []), helper.make_tensor_value_info("c", 9, [])],
                                 [helper.make_tensor_value_info("co", 9, []), helper.make_tensor_value_info("o", 1, [4])])
        with pytest.raises(UnsupportedOpError, match=r"node 'spin' \(Loop.*how often it runs depends on data: give --dim spin\.trips=VALUE"):
            net(make_node("Loop", ["n", "t"], ["y"], body=body, name="spin"), {"x": [4], "n": (TensorProto.INT64, [])}, ["y"], {"t": np.array(True)})

    def test_local_functions_are_inlined(self, onnx_file):
        path = onnx_file([make_node("Twice", ["x"], ["y"], domain="local")], {"x": [4]}, ["y"], domains={"local": 1})
        model = onnx.load(path)
        model.functions.append(helper.make_function("local", "Twice", ["a"], ["b"], [make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]))
        onnx.save(model, path)
        assert read(path).flops == 4


class TestPrecision:
    def test_what_if(self, net):
        workload = net([make_node("Gather", ["w", "i"], ["h"]), make_node("MatMul", ["h", "m"], ["y"])], {"i": (TensorProto.INT64, [5])}, ["y"],
                       {"w": (100, 8), "m": (8, 4)}, dtype="float16")
        assert [(op.dtype, op.weight_dtype, op.output_dtype) for op in workload.ops] == [("float16",) * 3] * 2
        assert {t.name: t.bytes for t in workload.tensors} == {"i": 40, "h": 80, "y": 40}  # indices stay int64

    def test_weight_only_scheme(self, net):
        op = net(make_node("MatMul", ["x", "m"], ["y"]), {"x": [2, 8]}, ["y"], {"m": (8, 4)}, dtype="int4_wo").ops[0]
        assert (op.dtype, op.weight_dtype, op.output_dtype, op.weight_bytes) == ("float16", "int4", "float16", 16)

    def test_unknown_dtype(self, net):
        with pytest.raises(UnknownNameError, match="float61"):
            net(RELU, {"x": [2]}, ["y"], dtype="float61")

    def test_text_has_no_dtype(self, net):
        with pytest.raises(UnsupportedOpError, match=r"node .*element type 8"):
            net(make_node("Concat", ["x", "x"], ["y"], axis=0), {"x": (TensorProto.STRING, [4])}, ["y"])


class TestDamage:
    def test_missing_and_foreign_files(self, tmp_path):
        with pytest.raises(FormatError, match=r"gone\.onnx: no such file"):
            read(tmp_path / "gone.onnx")
        (tmp_path / "net.xyz").write_bytes(b"x")
        with pytest.raises(FormatError, match=r"'\.xyz'; expected one of \.onnx, "):
            read(tmp_path / "net.xyz")
        (tmp_path / "folder.onnx").mkdir()
        with pytest.raises(FormatError, match="not a regular file"):
            read(tmp_path / "folder.onnx")

    @pytest.mark.parametrize("content", [b"", b"\x00", b"\x00" * 4096, b"PK\x03\x04zipzip", b"hello, world\n", b'{"a": 1}', bytes(range(256)) * 8])
    def test_not_a_model(self, tmp_path, content):
        path = tmp_path / "net.onnx"
        path.write_bytes(content)
        with pytest.raises(FormatError, match=r"net\.onnx: "):
            read(path)

    def test_every_truncation_is_refused(self, onnx_file, tmp_path):
        nodes = [make_node("Conv", ["x", "w"], ["c"]), make_node("Relu", ["c"], ["r"]), make_node("Reshape", ["r", "s"], ["y"])]
        data = onnx_file(nodes, {"x": [1, 3, 8, 8]}, ["y"], {"w": np.zeros((4, 3, 3, 3), np.float32), "s": np.array([1, -1])}).read_bytes()
        path = tmp_path / "cut.onnx"
        for length in range(0, len(data), 3):
            path.write_bytes(data[:length])
            with pytest.raises(SilicastError):
                read(path)

    def test_flipped_bytes_raise_nothing_else(self, onnx_file, tmp_path):
        nodes = [make_node("Shape", ["x"], ["sh"]), make_node("Conv", ["x", "w"], ["c"]), make_node("Relu", ["c"], ["r"]), make_node("Reshape", ["r", "s"], ["q"]),
                 make_node("Softmax", ["q"], ["y"])]
        data = onnx_file(nodes, {"x": [1, 3, 8, 8]}, ["y"], {"w": (4, 3, 3, 3), "s": np.array([1, -1])}).read_bytes()
        path, rng = tmp_path / "bad.onnx", np.random.default_rng(0)
        refused = 0
        for _ in range(1500):
            broken = bytearray(data)
            for at in rng.integers(0, len(data), rng.integers(1, 4)):
                broken[at] = rng.integers(0, 256)
            path.write_bytes(bytes(broken))
            try:
                assert isinstance(read(path), Workload)
            except SilicastError:
                refused += 1
        assert refused > 500

    def test_cycle(self, net):
        nodes = [make_node("Add", ["x", "b"], ["a"], name="one"), make_node("Relu", ["a"], ["b"], name="two"), make_node("Relu", ["b"], ["y"])]
        with pytest.raises(GraphError, match=r"graph 'g' has a cycle: 3 nodes .*'one'.*'two'"):
            net(nodes, {"x": [4]}, ["y"])

    def test_unsorted_nodes_are_sorted(self, net):
        assert [op.name for op in net([make_node("Relu", ["a"], ["y"]), make_node("Tanh", ["x"], ["a"])], {"x": [4]}, ["y"]).ops] == ["a", "y"]

    def test_missing_tensor(self, net):
        with pytest.raises(GraphError, match=r"node 'r' \(Relu\) reads 'nowhere', which no node, input or initializer provides"):
            net(make_node("Relu", ["nowhere"], ["y"], name="r"), {"x": [4]}, ["y"])
        with pytest.raises(GraphError, match="output 'z' is provided by no node"):
            net(RELU, {"x": [4]}, ["z"])

    def test_duplicate_names(self, net, onnx_file):
        with pytest.raises(GraphError, match="name 'a' is given to two tensors"):
            net([make_node("Relu", ["x"], ["a"]), make_node("Tanh", ["x"], ["a"]), make_node("Relu", ["a"], ["y"])], {"x": [4]}, ["y"])
        path = onnx_file([make_node("Add", ["x", "w"], ["y"])], {"x": [4]}, ["y"], {"w": (4,)})
        model = onnx.load(path)
        model.graph.initializer.append(model.graph.initializer[0])
        onnx.save(model, path)
        with pytest.raises(GraphError, match="two initializers have the name 'w'"):
            read(path)

    def test_nothing_to_count(self, net):
        with pytest.raises(GraphError, match="nothing is left to count"):
            net(make_node("Identity", ["x"], ["y"]), {"x": [4]}, ["y"])

    def test_small_tensor_with_wrong_data(self, net):
        shape = TensorProto(data_type=TensorProto.INT64, dims=[3], raw_data=b"\x00" * 8)
        with pytest.raises(FormatError, match="initializer 's': its data do not fit"):
            net(make_node("Reshape", ["x", "s"], ["y"]), {"x": [4]}, ["y"], {"s": shape})

    def test_negative_initializer(self, net):
        with pytest.raises(GraphError, match="initializer 'w' has the impossible shape"):
            net(make_node("Add", ["x", "w"], ["y"]), {"x": [4]}, ["y"], {"w": TensorProto(data_type=1, dims=[-4])})

    def test_gigabyte_declared_without_data(self, net):
        began = time.perf_counter()
        workload = net(make_node("MatMul", ["x", "w"], ["y"]), {"x": [1, 16384]}, ["y"], {"w": (16384, 16384)})
        assert workload.weight_bytes == 2**30
        assert time.perf_counter() - began < 1

    def test_external_data_is_never_opened(self, net):
        weight = TensorProto(data_type=1, dims=[8, 4], data_location=TensorProto.EXTERNAL)
        weight.external_data.add(key="location", value="there/is/none.bin")
        assert net(make_node("MatMul", ["x", "w"], ["y"]), {"x": [2, 8]}, ["y"], {"w": weight}).params == 32

    @pytest.mark.parametrize("place", ["../weights", "a/../../b", "/etc/passwd", "C:\\weights", "..\\weights"])
    def test_external_data_outside_the_folder(self, net, place):
        weight = TensorProto(data_type=1, dims=[8, 4], data_location=TensorProto.EXTERNAL)
        weight.external_data.add(key="location", value=place)
        with pytest.raises(FormatError, match="initializer 'w': its external data lie outside the folder"):
            net(make_node("MatMul", ["x", "w"], ["y"]), {"x": [2, 8]}, ["y"], {"w": weight})


class TestGraph:
    def test_dead_nodes_are_dropped(self, net):
        workload = net([make_node("Relu", ["x"], ["y"]), make_node("Tanh", ["x"], ["unused"]), make_node("Exp", ["unused"], ["more"])], {"x": [4]}, ["y"])
        assert [op.name for op in workload.ops] == ["y"]

    def test_unused_outputs_are_no_tensors(self, net):
        weights = {"w": (1, 12, 5), "r": (1, 12, 3)}
        workload = net(make_node("LSTM", ["x", "w", "r"], ["y", "h", "c"], hidden_size=3), {"x": [7, 2, 5]}, ["y"], weights)
        assert [t.name for t in workload.tensors] == ["x", "y"]

    def test_json_round_trip(self, net, tmp_path):
        workload = net([make_node("MatMul", ["x", "w"], ["h"]), make_node("Relu", ["h"], ["y"])], {"x": [2, 3]}, ["y"], {"w": (3, 4)})
        import json

        (tmp_path / "net.json").write_text(json.dumps(workload.to_json()))
        again = read(tmp_path / "net.json")
        assert again == workload
        half = read(tmp_path / "net.json", dtype="float16")
        assert half.weight_bytes == workload.weight_bytes / 2
        assert [t.bytes for t in half.tensors] == [t.bytes // 2 for t in workload.tensors]
        with pytest.raises(UnknownNameError, match="no free dimensions"):
            read(tmp_path / "net.json", dims={"batch": 2})

    def test_readers_are_a_plain_dict(self):
        assert {".onnx", ".json"} <= set(READERS)

    def test_ten_thousand_nodes(self, onnx_file):
        nodes, last = [], "x"
        for i in range(2500):
            nodes += [make_node("Conv", [last, f"w{i % 10}"], [f"c{i}"], pads=[1, 1, 1, 1]), make_node("Relu", [f"c{i}"], [f"r{i}"]),
                      make_node("Add", [f"r{i}", last], [f"a{i}"]), make_node("Reshape", [f"a{i}", "s"], [f"q{i}"])]
            last = f"q{i}"
        path = onnx_file(nodes, {"x": [1, 8, 16, 16]}, [last], {"s": np.array([1, 8, 16, 16]), **{f"w{i}": (8, 8, 3, 3) for i in range(10)}})
        began = time.process_time()
        workload = read(path)
        assert time.process_time() - began < 4  # 0.5 s on one idle core
        assert (len(workload.ops), workload.macs, workload.params) == (7500, 2500 * 256 * 64 * 9, 5760)


def test_importing_the_frontends_loads_no_onnx():
    import subprocess
    import sys

    code = "import sys, silicast.datasets.frontends; sys.exit('onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
