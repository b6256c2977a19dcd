"""ONNX files for the contract of frontends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx.helper import make_node

Maker = Callable[[Path], Path]


def _model(nodes: list[Any], inputs: dict[str, list[Any]], weights: dict[str, Any] | None = None, functions: list[Any] | None = None, opset: int = 17) -> bytes:
    stored = []
    for name, weight in (weights or {}).items():
        if isinstance(weight, TensorProto):
            weight.name = name
            stored.append(weight)
        else:
            stored.append(numpy_helper.from_array(np.asarray(weight), name))
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], stored)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1), helper.make_opsetid("com.example", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=functions or []).SerializeToString())


def _written(make: Callable[[], bytes]) -> Maker:
    def maker(folder: Path) -> Path:
        path = folder / "net.onnx"
        path.write_bytes(make())
        return path
    return maker


def _good() -> bytes:
    nodes = [make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]), make_node("Relu", ["c"], ["r"]), make_node("GlobalAveragePool", ["r"], ["p"]),
             make_node("Flatten", ["p"], ["f"]), make_node("Gemm", ["f", "m"], ["y"])]
    return _model(nodes, {"x": [2, 3, 8, 8]}, {"w": np.zeros((4, 3, 3, 3), np.float32), "b": np.zeros(4, np.float32), "m": np.zeros((4, 10), np.float32)})


#: 2 images: 64 places x 4 channels x 27 multiply-adds and a bias; a relu; a mean over 64 places; 4 x 10 multiply-adds
FLOPS = 2 * (64 * 4 * (2 * 27 + 1) + 64 * 4 + 64 * 4 + 2 * 40)


def _unknown(folder: Path) -> tuple[Path, str]:
    path = _written(lambda: _model([make_node("Fancy", ["x"], ["y"], name="f", domain="com.example")], {"x": [4]}))(folder)
    return path, r"net\.onnx: node 'f' \(Fancy of domain 'com\.example', in graph 'g'\)"


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, body: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _around(graph: bytes) -> bytes:
    """A model around the bytes of a graph: IR version 9, opset 17."""
    return b"\x08\x09" + _field(7, graph) + _field(8, b"\x10\x11")


def _nested(levels: int) -> bytes:
    """If within If within If: written byte by byte, since no library writes it."""
    graph = _field(1, _field(1, b"x") + _field(2, b"y") + _field(4, b"Relu")) + _field(2, b"g") + _field(12, _field(1, b"y"))
    for _ in range(levels):
        attribute = _field(1, b"then_branch") + _field(6, graph) + b"\xa0\x01\x05"
        graph = _field(1, _field(1, b"c") + _field(2, b"y") + _field(4, b"If") + _field(5, attribute)) + _field(2, b"g") + _field(12, _field(1, b"y"))
    return _around(graph)


def _loop(trips: int, inside: list[Any] | None = None) -> Any:
    body = helper.make_graph(inside or [make_node("Relu", ["s"], ["t"])], "body",
                             [helper.make_tensor_value_info("i", 7, []), helper.make_tensor_value_info("c", 9, []), helper.make_tensor_value_info("s", 1, None)],
                             [helper.make_tensor_value_info("c", 9, []), helper.make_tensor_value_info("t", 1, None)])
    return body, numpy_helper.from_array(np.asarray(trips), "n")


def _loops() -> bytes:
    body, n = _loop(10**9)
    return _model([make_node("Loop", ["n", "", "x"], ["y"], body=body)], {"x": [4]}, {"n": n})


def _loops_in_loops() -> bytes:
    inner, n = _loop(900)
    outer, _ = _loop(900, [make_node("Loop", ["n", "", "s"], ["t"], body=inner)])
    return _model([make_node("Loop", ["n", "", "x"], ["y"], body=outer)], {"x": [4]}, {"n": n})


def _endless() -> bytes:
    body, _ = _loop(0)
    return _model([make_node("Loop", ["", "t", "x"], ["y"], body=body)], {"x": [4]}, {"t": np.asarray(True)})


def _scan() -> bytes:
    body = helper.make_graph([make_node("Relu", ["e"], ["o"])], "body", [helper.make_tensor_value_info("e", 1, None)], [helper.make_tensor_value_info("o", 1, None)])
    return _model([make_node("Scan", ["x"], ["y"], body=body, num_scan_inputs=1)], {"x": [10**7, 4]})


def _functions(calls: int) -> bytes:
    """A function that calls the next one twice, and so on: 2^calls nodes. `calls` 0: one that calls itself."""
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    made = []
    for i in range(max(1, calls)):
        called = f"f{i + 1}" if calls else "f0"
        made.append(helper.make_function("local", f"f{i}", ["a"], ["b"], [make_node(called, ["a"], ["m"], domain="local"), make_node(called, ["m"], ["b"], domain="local")], opset))
    if calls:
        made.append(helper.make_function("local", f"f{calls}", ["a"], ["b"], [make_node("Relu", ["a"], ["b"])], opset))
    return _model([make_node("f0", ["x"], ["y"], domain="local")], {"x": [4]}, functions=made)


def _outside(place: str) -> bytes:
    weight = TensorProto(data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=place)
    return _model([make_node("Add", ["x", "w"], ["y"])], {"x": [4]}, {"w": weight})


def _grown(op: str, weights: dict[str, Any], *more: str, **attrs: Any) -> bytes:
    return _model([make_node(op, [*weights], ["g"], **attrs), make_node("Add", ["x", "g"], ["y"])], {"x": [1]}, weights)


def _folds() -> bytes:
    """Thousands of small constants, each pair of which makes a large one."""
    nodes = [make_node("Add", ["a", "b"], [f"c{i}"]) for i in range(3000)]
    return _model([*nodes, make_node("Nonesuch", ["x", *(f"c{i}" for i in range(3000))], ["y"])], {"x": [1]}, {"a": np.zeros((2000, 1), np.int64), "b": np.zeros((1, 2000), np.int64)})


def _sparse_file(folder: Path) -> Path:
    path = folder / "net.onnx"
    with path.open("wb") as file:
        file.truncate(3 * 2**30)
    return path


def _weights_inline(folder: Path) -> Path:
    """A gigabyte of weights in the file itself (a hole on disk)."""
    head = b"\x08" + _varint(256) + b"\x08" + _varint(2**20) + b"\x10\x01" + _field(8, b"w")
    raw, size = b"\x4a", 2**30
    tensor = len(head) + len(raw) + len(_varint(size)) + size
    shape = _field(1, b"\x08\x01") + _field(1, b"\x08" + _varint(256))
    value = _field(1, b"\x08\x01" + _field(2, shape))  # a float tensor of 1 x 256
    rest = _field(1, _field(1, b"x") + _field(1, b"w") + _field(2, b"y") + _field(4, b"MatMul")) + _field(2, b"g")
    rest += _field(11, _field(1, b"x") + _field(2, value)) + _field(12, _field(1, b"y"))
    graph = len(rest) + 1 + len(_varint(tensor)) + tensor
    path = folder / "net.onnx"
    with path.open("wb") as file:
        file.write(b"\x08\x09" + _field(8, b"\x10\x11") + b"\x3a" + _varint(graph) + rest + b"\x2a" + _varint(tensor) + head + raw + _varint(size))
        file.seek(size - 1, 1)
        file.write(b"\x00")
    return path


HOSTILE: dict[str, Maker] = {
    "empty": _written(lambda: b""),
    "zeros": _written(lambda: bytes(2**20)),
    "a sparse file of 3 GiB": _sparse_file,
    "a million small fields": _written(lambda: b"\x08\x09" * 2_000_000),
    "text": _written(lambda: b"hello, world\n" * 10_000),
    "truncated": _written(lambda: _good()[:-40]),
    "truncated in a large tensor": _written(lambda: _model([make_node("MatMul", ["x", "w"], ["y"])], {"x": [1, 512]}, {"w": np.zeros((512, 512), np.float32)})[:-500]),
    "nested 30 deep": _written(lambda: _nested(30)),
    "nested 5000 deep": _written(lambda: _nested(5000)),
    "huge input": _written(lambda: _model([make_node("Relu", ["x"], ["y"])], {"x": [2**62] * 20})),
    "a sequence of a billion tensors": _written(lambda: _model([make_node("SplitToSequence", ["x"], ["s"], axis=0), make_node("SequenceAt", ["s", "i"], ["y"])], {"x": [10**9, 4]},
                                                               {"i": np.array(0)})),
    "a sequence of a billion rows": _written(lambda: _model([make_node("SplitToSequence", ["x", "p"], ["s"], axis=0), make_node("SequenceAt", ["s", "i"], ["y"])], {"x": [10**9, 4]},
                                                            {"p": np.array(2), "i": np.array(0)})),
    "huge initializer": _written(lambda: _model([make_node("Add", ["x", "w"], ["y"])], {"x": [1]}, {"w": TensorProto(data_type=1, dims=[2**62] * 200)})),
    "negative initializer": _written(lambda: _model([make_node("Add", ["x", "w"], ["y"])], {"x": [1]}, {"w": TensorProto(data_type=1, dims=[-4])})),
    "huge expand": _written(lambda: _grown("Expand", {"one": np.zeros(1, np.float32), "s": np.array([2**31, 2**31])})),
    "huge tile": _written(lambda: _grown("Tile", {"one": np.zeros(1, np.float32), "s": np.array([2**62])})),
    "huge pad": _written(lambda: _grown("Pad", {"one": np.zeros(1, np.float32), "s": np.array([2**61, 2**61])})),
    "huge range": _written(lambda: _grown("Range", {"a": np.asarray(0), "b": np.asarray(2**62), "d": np.asarray(1)})),
    "thousands of constants that fold into large ones": _written(_folds),
    "cycle": _written(lambda: _model([make_node("Add", ["x", "b"], ["a"]), make_node("Relu", ["a"], ["b"]), make_node("Relu", ["b"], ["y"])], {"x": [4]})),
    "missing tensor": _written(lambda: _model([make_node("Add", ["x", "nowhere"], ["y"])], {"x": [4]})),
    "a loop of 10^9 trips": _written(_loops),
    "loops in loops": _written(_loops_in_loops),
    "an endless loop": _written(_endless),
    "a scan of 10^7 slices": _written(_scan),
    "functions that double forty times": _written(lambda: _functions(40)),
    "a function that calls itself": _written(lambda: _functions(0)),
    "data in the parent folder": _written(lambda: _outside("../../secret")),
    "data at an absolute path": _written(lambda: _outside("/etc/passwd")),
    "a name of 50 MB": _written(lambda: _model([make_node("Nonesuch", ["x"], ["y"], name="n" * 50_000_000)], {"x": [4]})),
    "a split into fewer parts than outputs": _written(lambda: _model([make_node("Split", ["x"], ["a", "b", "c"], num_outputs=2, axis=0), make_node("Add", ["a", "c"], ["y"])],
                                                                    {"x": [4]}, opset=18)),
    "a group of zero": _written(lambda: _model([make_node("Conv", ["x", "w"], ["y"], group=0)], {"x": [1, 3, 8, 8]}, {"w": TensorProto(data_type=1, dims=[4, 3, 3, 3])})),
    "strides of zero": _written(lambda: _model([make_node("Conv", ["x", "w"], ["y"], strides=[0, 0])], {"x": [1, 3, 8, 8]}, {"w": TensorProto(data_type=1, dims=[4, 3, 3, 3])})),
}
HARMLESS: dict[str, Maker] = {
    "a gigabyte declared": _written(lambda: _model([make_node("MatMul", ["x", "w"], ["y"])], {"x": [1, 16384]}, {"w": TensorProto(data_type=1, dims=[16384, 16384])})),
    "a gigabyte in the file": _weights_inline,
    "data beside the model that are not there": _written(lambda: _outside("weights.bin")),
}
def _quantised(bits: Any = 4, op: str = "Quant", domain: str = "qonnx.custom_op.general", datatype: str = "INT2", **attributes: Any) -> bytes:
    """A product of 8-bit data and weights of `bits` bits, thresholds, an annotated tensor (QONNX)."""
    nodes = [helper.make_node("Quant", ["x", "s", "z", "eight"], ["q"], domain="qonnx.custom_op.general"), helper.make_node(op, ["w", "s", "z", "bits"], ["v"], name="odd", domain=domain, **attributes),
             helper.make_node("MatMul", ["q", "v"], ["m"]), helper.make_node("MultiThreshold", ["m", "t"], ["y"], domain="finn.custom_op.general", out_dtype=datatype)]
    weights = {"s": np.float32(1), "z": np.float32(0), "eight": np.float32(8), "bits": np.asarray(bits), "w": np.ones((16, 4), np.float32), "t": np.ones((4, 3), np.float32)}
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, [2, 16])], [helper.make_tensor_value_info("y", 1, [2, 4])],
                              [numpy_helper.from_array(value, name) for name, value in weights.items()])
    graph.quantization_annotation.add(tensor_name="w").quant_parameter_tensor_names.add(key="finn_datatype", value=datatype)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), *(helper.make_opsetid(d, 1) for d in ("qonnx.custom_op.general", "finn.custom_op.general"))], ir_version=9).SerializeToString()


#: four operations for each of 32 numbers quantised, 2 x 16 x 4 multiply-adds; the thresholds belong to the product
_QONNX_FLOPS = 4 * 32 + 2 * 2 * 16 * 4
_QONNX: dict[str, Maker] = {
    "no bits": _written(lambda: _quantised(np.float32(0))), "bits by the billion": _written(lambda: _quantised(np.float32(1e9))), "bits that are no number": _written(lambda: _quantised(np.float32("nan"))),
    "bits below zero": _written(lambda: _quantised(np.int64(-(2**63)))), "an array of no bits": _written(lambda: _quantised(np.zeros(0, np.float32))), "text for bits": _written(lambda: _quantised("8")),
    "a datatype of a thousand digits": _written(lambda: _quantised(datatype="INT" + "9" * 1000)), "no datatype": _written(lambda: _quantised(datatype="")),
    "a float of no bits": _written(lambda: _quantised(np.float32(-1), "FloatQuant")),
}


def _unknown_quantiser(folder: Path) -> tuple[Path, str]:
    return _written(lambda: _quantised(op="XnorPopcountMatMul", domain="finn.custom_op.general"))(folder), "odd.*XnorPopcountMatMul of domain 'finn.custom_op.general'"


CASES = [{"suffix": ".onnx", "good": _written(_good), "flops": FLOPS, "unknown": _unknown, "hostile": HOSTILE, "harmless": HARMLESS},
         {"suffix": ".onnx", "good": _written(_quantised), "flops": _QONNX_FLOPS, "unknown": _unknown_quantiser, "hostile": _QONNX,
          "harmless": {"half a bit": _written(lambda: _quantised(np.float32(0.5))), "bits by channel": _written(lambda: _quantised(np.array([[2.0, 3.0, 4.0, 8.0]], np.float32)))}}]
