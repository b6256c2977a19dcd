"""Mutated ONNX files: whatever they hold, they are read or refused in one line, soon. What a ten minutes' run found is kept below.

SILICAST_FUZZ_EXAMPLES sets how many files are tried (250 in the tests).
"""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from onnx.helper import make_node

from silicast.datasets.errors import SilicastError
from silicast.datasets.frontends import read
from silicast.datasets.workload import Workload

EXAMPLES = int(os.environ.get("SILICAST_FUZZ_EXAMPLES", "250"))
NUMBERS = [0, 1, -1, 2, 3, 7, 255, 4096, 2**31 - 1, -(2**31), 2**31, 2**62, 2**63 - 1, -(2**63)]


def info(name: str, shape: list[Any] | None = None, elem: int = 1) -> Any:
    return helper.make_tensor_value_info(name, elem, shape)


@cache
def seeds() -> list[Any]:
    """Models that between them reach most of the reader."""
    step = helper.make_graph([make_node("MatMul", ["s", "m"], ["t"]), make_node("Identity", ["c"], ["co"])], "body",
                             [info("i", [], 7), info("c", [], 9), info("s")], [info("co", [], 9), info("t")])
    each = helper.make_graph([make_node("Relu", ["e"], ["o"])], "each", [info("e")], [info("o")])
    branches = {key: helper.make_graph([make_node(op, ["x"], ["b"])], key, [], [info("b")]) for key, op in (("then_branch", "Relu"), ("else_branch", "Tanh"))}
    graphs: list[tuple[list[Any], dict[str, list[int]], dict[str, Any]]] = [
        ([make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], strides=[1, 1], dilations=[1, 1], group=1),
         make_node("MaxPool", ["c"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
          make_node("Resize", ["p", "", "r"], ["z"], mode="linear"), make_node("ConvTranspose", ["z", "w"], ["y"], strides=[2, 2])],
         {"x": [1, 4, 8, 8]}, {"w": np.zeros((4, 4, 3, 3), np.float32), "b": np.zeros(4, np.float32), "r": np.array([1, 1, 2, 2], np.float32)}),
        ([make_node("Shape", ["x"], ["s"]), make_node("Gather", ["s", "i"], ["g"]), make_node("Unsqueeze", ["g", "a"], ["u"]), make_node("Concat", ["u", "k"], ["t"], axis=0),
          make_node("Reshape", ["x", "t"], ["h"]), make_node("Gemm", ["h", "m"], ["q"], transB=1, alpha=0.5), make_node("Softmax", ["q"], ["z"], axis=-1),
          make_node("TopK", ["z", "n"], ["y", "j"])],
         {"x": [2, 3, 4]}, {"i": np.array(0), "a": np.array([0]), "k": np.array([-1]), "m": np.zeros((5, 12), np.float32), "n": np.array([3])}),
        ([make_node("Loop", ["n", "t", "x"], ["y"], body=step, name="spin")], {"x": [4, 4]}, {"n": np.array(3), "t": np.array(True), "m": np.zeros((4, 4), np.float32)}),
        ([make_node("Scan", ["x"], ["y"], body=each, num_scan_inputs=1, scan_input_axes=[0], scan_output_axes=[0])], {"x": [3, 4]}, {}),
        ([make_node("ReduceSum", ["x"], ["r"], keepdims=0), make_node("Greater", ["r", "z"], ["c"]), make_node("If", ["c"], ["y"], **branches)], {"x": [4]}, {"z": np.float32(1)}),
        ([make_node("SplitToSequence", ["x", "two"], ["s"], axis=0), make_node("SequenceAt", ["s", "p"], ["e"]), make_node("ConcatFromSequence", ["s"], ["f"], axis=0, new_axis=0),
          make_node("Add", ["f", "x"], ["g"]), make_node("Einsum", ["g", "g"], ["y"], equation="ij,kj->ik")], {"x": [6, 4]}, {"two": np.array(2), "p": np.array(-1)}),
        ([make_node("QuantizeLinear", ["x", "sc", "zp"], ["q"]), make_node("DequantizeLinear", ["q", "sc", "zp"], ["d"]), make_node("DequantizeLinear", ["w", "sc", "zp"], ["v"]),
          make_node("MatMul", ["d", "v"], ["e"]), make_node("QuantizeLinear", ["e", "sc", "zp"], ["f"]), make_node("DequantizeLinear", ["f", "sc", "zp"], ["y"])],
         {"x": [2, 8]}, {"sc": np.float32(0.1), "zp": np.int8(0), "w": np.zeros((8, 4), np.int8)}),
        ([make_node("NonZero", ["x"], ["a"]), make_node("Slice", ["x", "b", "e"], ["c"]), make_node("Pad", ["c", "pd"], ["d"]), make_node("Tile", ["d", "rp"], ["f"]),
          make_node("Expand", ["f", "sh"], ["g"]), make_node("Split", ["g"], ["h", "j"], axis=1, num_outputs=2),
          make_node("LSTM", ["l", "W", "R"], ["k"], hidden_size=3), make_node("Add", ["h", "j"], ["y"])],
         {"x": [2, 4], "l": [5, 1, 2]}, {"b": np.array([0, 0]), "e": np.array([2, 4]), "pd": np.array([0, 0, 0, 0]), "rp": np.array([1, 1]), "sh": np.array([2, 4]),
                                         "W": np.zeros((1, 12, 2), np.float32), "R": np.zeros((1, 12, 3), np.float32)}),
        ([make_node("Attention", ["x", "w", "b"], ["a"], domain="com.microsoft", num_heads=2), make_node("SkipLayerNormalization", ["a", "x", "s"], ["n"], domain="com.microsoft"),
          make_node("MatMulNBits", ["n", "p", "c"], ["y"], domain="com.microsoft", K=8, N=4, bits=4, block_size=16)],
         {"x": [1, 5, 8]}, {"w": np.zeros((8, 24), np.float32), "b": np.zeros(24, np.float32), "s": np.zeros(8, np.float32),
          "p": np.zeros((4, 1, 8), np.uint8), "c": np.zeros(4, np.float32)}),
        ([make_node("DeformConv", ["x", "w", "o"], ["d"]), make_node("RoiAlign", ["d", "r", "i"], ["a"], output_height=2, output_width=2), make_node("DFT", ["a"], ["f"], axis=2),
          make_node("InstanceNormalization", ["a", "s", "s"], ["n"]), make_node("GridSample", ["n", "gr"], ["y"])],
         {"x": [1, 4, 8, 8], "o": [1, 18, 6, 6], "r": [3, 4], "gr": [3, 5, 5, 2]}, {"w": np.zeros((4, 4, 3, 3), np.float32),
          "i": np.array([0, 0, 0]), "s": np.zeros(4, np.float32)}),
    ]
    made = []
    for nodes, inputs, weights in graphs:
        graph = helper.make_graph(nodes, "g", [info(n, s) for n, s in inputs.items()], [info("y")], [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()])
        made.append(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19), helper.make_opsetid("com.microsoft", 1)], ir_version=9))
    return made


def places(message: Any, depth: int = 0) -> list[tuple[Any, Any, int]]:
    """(message, field, index) of every number and text in a message."""
    found: list[tuple[Any, Any, int]] = []
    for name, value in message.ListFields():
        repeated = name.is_repeated if hasattr(name, "is_repeated") else name.label == 3
        for index, item in enumerate(value if repeated else [value]):
            if name.message_type is not None:
                found += places(item, depth + 1) if depth < 30 else []
            else:
                found.append((message, name, index if repeated else -1))
    return found


def mutated(seed: int, changes: list[tuple[int, int, int]], flips: list[tuple[int, int]]) -> bytes:
    """A seed with some of its fields changed: numbers to odd ones, texts to other texts of the file, elements removed or doubled; then some bytes."""
    model = onnx.ModelProto()
    model.CopyFrom(seeds()[seed % len(seeds())])
    for where, what, how in changes:
        spots = places(model)
        message, name, index = spots[where % len(spots)]
        texts = [getattr(m, f.name) if i < 0 else getattr(m, f.name)[i] for m, f, i in spots if f.cpp_type == name.cpp_type and f.type == name.type]
        value: Any = texts[what % len(texts)] if name.cpp_type == 9 or how % 3 == 0 else NUMBERS[what % len(NUMBERS)]
        try:
            if index < 0 and how % 7 == 1:
                message.ClearField(name.name)
            elif index < 0:
                setattr(message, name.name, value)
            elif how % 7 == 1:
                del getattr(message, name.name)[index]
            elif how % 7 == 2:
                getattr(message, name.name).append(value)
            else:
                getattr(message, name.name)[index] = value
        except (ValueError, TypeError):  # the number does not fit the field
            continue
    data = bytearray(model.SerializeToString())
    for at, byte in flips:
        data[at % len(data)] = byte
    return bytes(data)


SMALL = st.integers(0, 10_000)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")  # a crash of the process leaves its file here


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(st.integers(0, 9), st.lists(st.tuples(SMALL, SMALL, SMALL), min_size=1, max_size=5), st.lists(st.tuples(SMALL, st.integers(0, 255)), max_size=2),
       st.sampled_from(["error", "bound"]))
def test_mutated_files(place, seed, changes, flips, unknown_ops):
    path = place / "net.onnx"
    path.write_bytes(mutated(seed, changes, flips))
    check(path, unknown_ops)


def check(path: Path, unknown_ops: Any = "error") -> None:
    began = time.process_time()
    said = ""
    try:
        workload = read(path, unknown_ops=unknown_ops)
        assert isinstance(workload, Workload)
        assert workload.flops >= 0
        assert workload.bytes_read >= 0
    except SilicastError as error:
        said = str(error)
    assert not said or str(path) in said
    assert "\n" not in said
    assert len(said) < 4000
    assert time.process_time() - began < 2


def test_the_seeds_themselves(tmp_path):
    for number, model in enumerate(seeds()):
        (tmp_path / f"{number}.onnx").write_bytes(model.SerializeToString())
        assert isinstance(read(tmp_path / f"{number}.onnx"), Workload)


#: (seed, changes, flips, unknown_ops) of files that once crashed the reader, and what was wrong
FOUND: list[tuple[int, list[tuple[int, int, int]], list[tuple[int, int]], str]] = [
    (0, [(621, 4997, 44)], [], "error"),  # an opset of -2^63: the message of the C++ library had several lines
    (2, [(0, 0, 1), (8012, 0, 0)], [], "error"),  # no opset of the standard operators
    (3, [(5869, 0, 1)], [], "error"),  # a Scan whose output has no axis
]


@pytest.mark.parametrize(("seed", "changes", "flips", "unknown_ops"), FOUND)
def test_what_was_found(tmp_path, seed, changes, flips, unknown_ops):
    path = tmp_path / "net.onnx"
    path.write_bytes(mutated(seed, changes, flips))
    check(path, unknown_ops)
