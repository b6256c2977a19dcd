"""Networks quantised as Brevitas, QKeras and FINN write them: bits per layer, what a quantiser costs, the design they become."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, log2
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.helper import make_node

from silicast.datasets import catalog
from silicast.datasets.errors import GraphError, InputError, UnsupportedOpError
from silicast.datasets.frontends import read
from silicast.datasets.frontends.hls4ml import read_hls4ml
from silicast.datasets.frontends.hls4ml_onnx import read_qonnx
from silicast.datasets.frontends.onnx import read_quantised
from silicast.datasets.simulator.fpga import design

GENERAL, BREVITAS, FINN = "qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general"
EXPORT = Path(__file__).parent / "qonnx" / "brevitas_mlp.onnx"


def quant(x: str, bits: str, y: str, domain: str = GENERAL, op: str = "Quant", **attributes: Any) -> Any:
    return make_node(op, [x, "scale", "zero", bits], [y], name=f"q_{y}", domain=domain, **{"signed": 1, "narrow": 0, "rounding_mode": "ROUND", **attributes})


def model(nodes: list[Any], inputs: dict[str, list[int]], weights: dict[str, Any], outputs: tuple[str, ...] = ("y",), annotations: dict[str, str] | None = None) -> Any:
    given = {"scale": np.float32(0.1), "zero": np.float32(0), **{f"b{i}": np.float32(i) for i in range(1, 17)}, **weights}
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(n, 1, s) for n, s in inputs.items()], [helper.make_empty_tensor_value_info(o) for o in outputs],
                              [numpy_helper.from_array(np.asarray(v), k) for k, v in given.items() if any(k in n.input for n in nodes)])
    for name, datatype in (annotations or {}).items():
        entry = graph.quantization_annotation.add(tensor_name=name)
        entry.quant_parameter_tensor_names.add(key="finn_datatype", value=datatype)
    domains = sorted({n.domain for n in nodes} - {""})
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), *(helper.make_opsetid(d, 1) for d in domains)], ir_version=9)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def mlp(domain: str = GENERAL, op: str = "Quant") -> Any:
    """8-bit data of 16 features; 6-bit weights to 32; 3-bit unsigned activations; 2-bit weights to 5."""
    q = {"domain": domain, "op": op}
    return model([quant("x", "b8", "xq", **q), quant("w1", "b6", "w1q", narrow=1, **q), make_node("Gemm", ["xq", "w1q", "c1"], ["h"], name="fc1", transB=1),
                  make_node("Relu", ["h"], ["r"], name="relu"), quant("r", "b3", "rq", signed=0, **q), quant("w2", "b2", "w2q", **q),
                  make_node("Transpose", ["w2q"], ["w2t"], perm=[1, 0]), make_node("MatMul", ["rq", "w2t"], ["y"], name="fc2")],
                 {"x": [1, 16]}, {"w1": ones(32, 16), "c1": ones(32), "w2": ones(5, 32)})


def cnn() -> Any:
    """Batch norm and ReLU between a convolution and its quantiser, a pool behind it, an average that is truncated, bipolar weights at the end."""
    return model([quant("x", "b8", "xq"), quant("w", "b4", "wq"), make_node("Conv", ["xq", "wq"], ["c"], name="conv", pads=[1, 1, 1, 1]),
                  make_node("BatchNormalization", ["c", "g", "b", "m", "v"], ["n"], name="bn"), make_node("Relu", ["n"], ["r"], name="relu"), quant("r", "b4", "rq", signed=0),
                  make_node("MaxPool", ["rq"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]), quant("k", "b3", "kq"),
                  make_node("Conv", ["p", "kq"], ["d"], name="conv2"), make_node("Relu", ["d"], ["s"], name="relu2"), quant("s", "b4", "sq", signed=0),
                  make_node("GlobalAveragePool", ["sq"], ["a"], name="mean"), make_node("Trunc", ["a", "scale", "zero", "b8", "b4"], ["t"], name="trunc", domain=GENERAL),
                  make_node("Flatten", ["t"], ["f"], name="flat"), make_node("BipolarQuant", ["z", "scale"], ["zq"], name="bipolar", domain=GENERAL),
                  make_node("Gemm", ["f", "zq"], ["y"], name="fc")],
                 {"x": [1, 3, 8, 8]}, {"w": ones(6, 3, 3, 3), "g": ones(6), "b": ones(6), "m": ones(6), "v": ones(6), "k": ones(10, 6, 3, 3), "z": ones(10, 4)})


def streamlined() -> Any:
    """As FINN leaves it: weights annotated, thresholds in the place of activations."""
    return model([make_node("MatMul", ["x", "w"], ["h"], name="mvau"), make_node("MultiThreshold", ["h", "t"], ["q"], name="thres", domain=FINN, out_dtype="UINT2"),
                  make_node("MatMul", ["q", "u"], ["y"], name="mvau2")], {"x": [1, 64]}, {"w": ones(64, 32), "t": ones(32, 3), "u": ones(32, 10)},
                 annotations={"x": "INT8", "w": "BIPOLAR", "u": "TERNARY", "y": "INT20", "nobody": "INT4"})


def seeds() -> list[Any]:
    """Models for the fuzzer."""
    return [mlp(), cnn(), streamlined(), mlp(BREVITAS),
            model([make_node("FloatQuant", ["x", "scale", "b4", "b3", "b1", "b8"], ["f"], domain=GENERAL), make_node("Concat", ["f", "f"], ["c"], axis=0),
                   make_node("MultiThreshold", ["x", "t"], ["m"], domain=FINN, out_dtype="FIXED<8,4>"), make_node("Add", ["c", "m"], ["y"])], {"x": [1, 4]}, {"t": ones(1, 7)})]


def saved(tmp_path: Path, proto: Any) -> Path:
    onnx.save(proto, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


@pytest.mark.parametrize(("domain", "op"), [(GENERAL, "Quant"), (GENERAL, "IntQuant"), (BREVITAS, "Quant"), (FINN, "Quant")])
def test_a_quantised_perceptron_by_hand(tmp_path, domain, op):
    w, widths = read_quantised(saved(tmp_path, mlp(domain, op)))
    # the quantiser of the input is work of its own; that of the activations is the ReLU's
    assert [(o.name, o.kind, o.dtype, o.weight_dtype, o.output_dtype) for o in w.ops] == [
        ("q_xq", "elementwise", "float32", "float32", "int8"), ("fc1", "gemm", "int8", "int8", "int4"), ("relu", "elementwise", "int4", "int4", "int4"),
        ("fc2", "gemm", "int4", "int2", "float32")]
    assert [(d.bits if d else None, q.bits if q else None) for d, q in widths] == [(None, None), (8, 6), (3, None), (3, 2)]
    assert widths[1][1].narrow
    assert not widths[2][0].signed
    assert w.macs == 16 * 32 + 32 * 5
    assert w.flops == 2 * w.macs + 32 + 4 * 16 + 32  # a bias, 4 operations for each number quantised, ReLU
    assert w.params == 16 * 32 + 32 + 32 * 5
    assert w.notes == ("3 bits of 1 quantiser counted as int4, the narrowest format that holds them", "6 bits of 1 quantiser counted as int8, the narrowest format that holds them")


def test_a_quantised_convolution_net_by_hand(tmp_path):
    w, widths = read_quantised(saved(tmp_path, cnn()))
    assert [(o.name, o.dtype, o.output_dtype) for o in w.ops] == [("q_xq", "float32", "int8"), ("conv", "int8", "int4"), ("bn", "int4", "int4"), ("relu", "int4", "int4"),
                                                                  ("pool", "int4", "int4"), ("conv2", "int4", "int4"), ("relu2", "int4", "int4"), ("mean", "int4", "int4"), ("fc", "int4", "float32")]
    bits = {o.name: tuple(x.bits if x else None for x in pair) for o, pair in zip(w.ops, widths, strict=True)}
    assert (bits["conv"], bits["conv2"], bits["mean"], bits["fc"]) == ((8, 4), (4, 3), (4, None), (4, 1))
    assert w.macs == 6 * 27 * 64 + 10 * 54 * 4 + 40
    assert w.params == 6 * 27 + 12 + 540 + 40  # batch norm has two numbers a channel
    assert {t.name: t.bytes for t in w.tensors}["rq"] == 6 * 64 / 2  # four bits each


def test_thresholds_and_annotations_of_finn(tmp_path):
    w, widths = read_quantised(saved(tmp_path, streamlined()))
    assert [(o.name, o.dtype, o.weight_dtype, o.output_dtype) for o in w.ops] == [("mvau", "int8", "int2", "int2"), ("mvau2", "int2", "int2", "int32")]
    assert [tuple(x.bits for x in pair) for pair in widths] == [(8, 1), (2, 2)]
    assert w.params == 64 * 32 + 32 * 10


def test_what_several_read_is_quantised_by_itself(tmp_path):
    nodes = [make_node("Relu", ["x"], ["r"], name="relu"), quant("r", "b4", "a"), quant("r", "b8", "b"), make_node("Add", ["a", "b"], ["y"], name="sum")]
    w = read(saved(tmp_path, model(nodes, {"x": [1, 10]}, {})))
    assert [(o.name, o.flops) for o in w.ops] == [("relu", 10), ("q_a", 40), ("q_b", 40), ("sum", 10)]


def test_a_format_that_is_known_stays(tmp_path):
    """Numbers of 4 bits go through a pool, are scaled, and are stored as 8 bits: the pool still hands on 4."""
    nodes = [quant("x", "b4", "q"), make_node("MaxPool", ["q"], ["p"], name="pool", kernel_shape=[2, 2]), make_node("Mul", ["p", "two"], ["m"], name="scale"), quant("m", "b8", "y")]
    w = read(saved(tmp_path, model(nodes, {"x": [1, 2, 4, 4]}, {"two": np.float32(2)})))
    assert [(o.name, o.dtype, o.output_dtype) for o in w.ops] == [("q_q", "float32", "int4"), ("pool", "int4", "int4"), ("scale", "int4", "int8")]
    halves = [make_node("Split", ["x"], ["a", "b"], name="halves", axis=1), quant("a", "b4", "c"), make_node("Concat", ["c", "b"], ["y"], axis=1)]
    assert {t.name: t.bytes for t in read(saved(tmp_path, model(halves, {"x": [1, 8]}, {}))).tensors} == {"x": 32, "c": 2, "b": 16, "y": 32}


def test_bits_in_parts_and_by_channel(tmp_path):
    nodes = [quant("w", "each", "wq"), make_node("MatMul", ["x", "wq"], ["y"], name="fc")]
    for each, bits, dtype in ((np.float32(3.5), 4, "int4"), (np.array([[2.0, 5.0]], np.float32), 5, "int8"), (np.int32(12), 12, "int16"), (np.float64(0.5), 1, "int2")):
        w, widths = read_quantised(saved(tmp_path, model(nodes, {"x": [1, 3]}, {"w": ones(3, 2), "each": each})))
        assert (w.ops[0].weight_dtype, widths[0][1].bits) == (dtype, bits)


@pytest.mark.parametrize(("bits", "says"), [(np.float32(0), "0 bits"), (np.float32(-3), "-3 bits"), (np.float32(1e30), "1e.30 bits"), (np.float32("nan"), "nan bits"), (np.float32(33), "33 bits"),
                                            (ones(0), "no constant"), (np.array("8"), "no constant")])
def test_impossible_bits_are_one_clear_error(tmp_path, bits, says):
    with pytest.raises(GraphError, match=rf"q_wq.*{says}"):
        read(saved(tmp_path, model([quant("w", "each", "wq"), make_node("MatMul", ["x", "wq"], ["y"])], {"x": [1, 3]}, {"w": ones(3, 2), "each": bits})))


def test_what_is_not_known_is_named(tmp_path):
    with pytest.raises(GraphError, match=r"thres.*expected a datatype such as INT4.*got 'INT'"):
        read(saved(tmp_path, model([make_node("MultiThreshold", ["x", "t"], ["y"], name="thres", domain=FINN, out_dtype="INT")], {"x": [1, 3]}, {"t": ones(1, 3)})))
    with pytest.raises(UnsupportedOpError, match=r"XnorPopcountMatMul of domain 'finn.custom_op.general'"):
        read(saved(tmp_path, model([make_node("XnorPopcountMatMul", ["x", "w"], ["y"], domain=FINN)], {"x": [1, 3]}, {"w": ones(3, 3)})))
    computed = [make_node("ReduceMax", ["x"], ["n"], keepdims=0), quant("x", "n", "y")]
    with pytest.raises(GraphError, match="number of bits is no constant"):
        read(saved(tmp_path, model(computed, {"x": [1, 3]}, {})))


def test_a_project_has_the_bits_of_every_layer(tmp_path):
    project = read_qonnx(saved(tmp_path, mlp()))
    layers = {layer.name: layer for layer in project.layers}
    fc1, fc2 = layers["fc1"], layers["fc2"]
    assert (fc1.weight_bits, fc1.data_bits, fc1.sum_bits, fc1.reuse, fc1.strategy) == (6, 8, 6 + 8 + 4, 1, "latency")  # 16 products: 4 bits more
    assert (fc2.weight_bits, fc2.data_bits, fc2.sum_bits) == (2, 3, 2 + 3 + ceil(log2(32)))
    plan = project.plan()
    assert plan.weight_bits[1:] == (6, 2)
    assert plan.data_bits[1:] == (8, 3)
    narrow = design(project.workload, catalog.hardware("alveo_u250"), plan)
    wide = design(project.workload, catalog.hardware("alveo_u250"), replace(plan, weight_bits=16, data_bits=16))
    assert narrow.infeasible == wide.infeasible == ""
    assert narrow.dsp < wide.dsp == 16 * 32 + 32 * 5 + narrow.dsp  # narrow products go to look-up tables, wide ones take a slice each


def test_reuse_from_a_configuration_beside_it(tmp_path):
    saved(tmp_path, mlp())
    text = ("OnnxModel: net.onnx\nClockPeriod: 4\nIOType: io_parallel\nHLSConfig:\n  Model: {Precision: 'ap_fixed<16,6>', ReuseFactor: 1, Strategy: Latency}\n"
            "  LayerName:\n    fc1: {ReuseFactor: 8, Strategy: Resource}\n    fc2: {ReuseFactor: 4, Strategy: Latency, Precision: {weight: 'ap_int<5>'}}\n")
    (tmp_path / "hls4ml_config.yml").write_text(text, encoding="utf-8")
    project = read_hls4ml(tmp_path / "hls4ml_config.yml")
    assert [(x.name, x.weight_bits, x.data_bits, x.reuse, x.strategy) for x in project.layers if x.name.startswith("fc")] == [("fc1", 6, 8, 8, "resource"), ("fc2", 5, 3, 4, "latency")]
    plan = project.plan()
    assert plan.strategy == ("latency", "resource", "latency")  # the input's quantiser, a product with its ReLU, a product
    assert plan.clock_hz == 250e6
    made = design(project.workload, catalog.hardware("alveo_u250"), plan)
    assert made.infeasible == ""
    assert made.interval_cycles >= 8  # the layer with the larger reuse sets the rate
    assert read(tmp_path / "hls4ml_config.yml") == project.workload
    for wrong, says in (("OnnxModel: ../net.onnx", "leads out"), ("OnnxModel: 3", "expected the name of an ONNX file"), ("OnnxModel: other.onnx", "no such file")):
        (tmp_path / "hls4ml_config.yml").write_text(text.replace("OnnxModel: net.onnx", wrong), encoding="utf-8")
        with pytest.raises(InputError, match=says):
            read_hls4ml(tmp_path / "hls4ml_config.yml")


def test_an_export_of_brevitas():
    """Three layers of 6 bits (a jet tagger's sizes) as Brevitas 0.13.4 wrote them; MACs by format as qonnx 1.0.0's own `inference_cost` counts them."""
    w, widths = read_quantised(EXPORT)
    assert w.macs == 16 * 64 + 64 * 32 + 32 * 5
    assert w.params == w.macs + 64 + 32 + 5
    products: dict[tuple[int, int], float] = {}
    for op, (data, weight) in zip(w.ops, widths, strict=True):
        if data is not None and weight is not None:
            products[data.bits, weight.bits] = products.get((data.bits, weight.bits), 0) + op.macs
    assert products == {(8, 6): 1024, (6, 6): 2048 + 160}
    assert [layer.weight_bits for layer in read_qonnx(EXPORT).layers if layer.name.startswith("node_linear")] == [6, 6, 6]
