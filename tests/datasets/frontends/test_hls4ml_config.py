"""hls4ml projects: a jet tagger and a small QKeras convolution net by hand, settings by layer, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from silicast.datasets import catalog
from silicast.datasets.errors import FormatError, GraphError, InputError, UnknownNameError, UnsupportedOpError
from silicast.datasets.frontends.hls4ml import read_hls4ml, read_hls4ml_workload, read_keras
from silicast.datasets.frontends.hls4ml_config import bits_of, parse_config
from silicast.datasets.frontends.hls4ml_keras import is_keras, quantiser
from silicast.datasets.simulator.fpga import design


def layer(kind: str, name: str, **config: object) -> dict:
    return {"class_name": kind, "config": {"name": name, **config}}


def tagger(first: dict | None = None) -> dict:
    """16 features, 64, 32, 32 and 5 classes: 4,389 parameters (Duarte et al., JINST 2018, section 3)."""
    widths = [("fc1", 64, "relu"), ("fc2", 32, "relu"), ("fc3", 32, "relu"), ("output", 5, "softmax")]
    return {"class_name": "Sequential", "config": {"name": "tagger", "layers": [
        layer("Dense", name, units=units, activation=act, use_bias=True, **({"batch_input_shape": [None, 16]} if i == 0 else {}), **((first or {}) if i == 0 else {}))
        for i, (name, units, act) in enumerate(widths)]}}


YAML = """
KerasJson: model.json
OutputDir: somewhere
XilinxPart: xcu250-figd2104-2L-e
ClockPeriod: 5
IOType: io_parallel
HLSConfig:
  Model: {Precision: "ap_fixed<16,6>", ReuseFactor: 1, Strategy: Latency}
  LayerType:
    Dense: {ReuseFactor: 4, Strategy: Resource}
  LayerName:
    fc2:
      Precision: {weight: "ap_fixed<8,3>", result: "ap_fixed<12,6>", accum: "ap_fixed<20,8>"}
      ReuseFactor: 64
"""


def project(folder: Path, model: dict | None = None, text: str = YAML) -> Path:
    (folder / "model.json").write_text(json.dumps(model or tagger()), encoding="utf-8")
    (folder / "hls4ml_config.yml").write_text(text, encoding="utf-8")
    return folder / "hls4ml_config.yml"


def test_the_tagger_by_hand(tmp_path):
    read = read_hls4ml(project(tmp_path))
    w = read.workload
    assert w.params == 4389
    assert w.macs == 16 * 64 + 64 * 32 + 32 * 32 + 32 * 5
    assert w.flops == 2 * w.macs + (64 + 32 + 32 + 5) + (64 + 32 + 32) + 12 * 5  # biases, ReLU, softmax at 12 a number
    assert [layer.name for layer in read.layers] == ["fc1", "fc2", "fc3", "output"]
    assert read_hls4ml(tmp_path / "hls4ml_config.yml", batch=8).workload.macs == 8 * w.macs


def test_settings_go_by_name_then_type_then_model(tmp_path):
    read = read_hls4ml(project(tmp_path))
    fc1, fc2, fc3, _ = read.layers
    assert (fc1.weight_bits, fc1.data_bits, fc1.reuse, fc1.strategy) == (16, 16, 4, "resource")
    assert (fc2.weight_bits, fc2.data_bits, fc2.sum_bits, fc2.reuse) == (8, 16, 20, 64)
    assert fc3.data_bits == 12  # what fc2 hands on
    assert read.workload.ops[2].weight_dtype == "int8"
    assert (read.config.io, read.config.clock_hz, read.config.part) == ("parallel", 200e6, "xcu250-figd2104-2L-e")


def test_the_plan_is_one_value_per_kernel(tmp_path):
    plan = read_hls4ml(project(tmp_path)).plan()
    # dense and ReLU are one kernel, the softmax stands alone
    assert plan.reuse == (4, 64, 4, 4, 4)
    assert plan.weight_bits == (16, 8, 16, 16, 16)
    assert (plan.strategy, plan.io, plan.clock_hz) == ("resource", "parallel", 200e6)
    made = design(read_hls4ml(tmp_path / "hls4ml_config.yml").workload, catalog.hardware("alveo_u250"), plan)
    assert made.infeasible == ""
    assert made.interval_cycles == 64  # the slowest layer sets the rate


def test_a_strategy_per_layer(tmp_path):
    text = YAML.replace("ReuseFactor: 64", "ReuseFactor: 64\n      Strategy: Latency")
    read = read_hls4ml(project(tmp_path, text=text))
    plan = read.plan()
    assert plan.strategy[:3] == ("resource", "latency", "resource")
    mixed = design(read.workload, catalog.hardware("alveo_u250"), plan)
    resource, latency = (design(read.workload, catalog.hardware("alveo_u250"), replace(plan, strategy=s)) for s in ("resource", "latency"))
    # only the second layer's weights leave the block RAM: no more of it than where all lie there, no less than where none do
    assert latency.bram_18k < mixed.bram_18k < resource.bram_18k
    assert mixed.cycles[0] == resource.cycles[0]
    assert mixed.cycles[1] == latency.cycles[1]
    with pytest.raises(InputError, match="strategy: expected one or 5, one per kernel, got 2"):
        design(read.workload, catalog.hardware("alveo_u250"), replace(plan, strategy=("latency", "latency")))
    with pytest.raises(InputError, match="got 'fast'"):
        replace(plan, strategy=("fast",) * 5)


def test_a_quantised_convolution_net_by_hand(tmp_path):
    model = {"class_name": "Functional", "config": {"name": "conv", "layers": [
        {"class_name": "InputLayer", "name": "in", "config": {"name": "in", "batch_shape": [None, 8, 8, 1]}, "inbound_nodes": []},
        {**layer("QConv2D", "c1", filters=4, kernel_size=[3, 3], strides=[1, 1], padding="same", use_bias=False,
                 kernel_quantizer={"class_name": "quantized_bits", "config": {"bits": 4, "integer": 0}}), "name": "c1", "inbound_nodes": [[["in", 0, 0, {}]]]},
        {**layer("QActivation", "a1", activation="quantized_relu(3,1)"), "name": "a1", "inbound_nodes": [[["c1", 0, 0, {}]]]},
        {**layer("MaxPooling2D", "p1", pool_size=[2, 2]), "name": "p1", "inbound_nodes": [{"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["a1", 0, 0]}}], "kwargs": {}}]},
        {**layer("BatchNormalization", "bn"), "name": "bn", "inbound_nodes": [[["p1", 0, 0, {}]]]},
        {**layer("QDepthwiseConv2D", "d1", kernel_size=3, strides=2, padding="valid", depthwise_quantizer="binary()"), "name": "d1", "inbound_nodes": [[["bn", 0, 0, {}]]]},
        {**layer("Flatten", "flat"), "name": "flat", "inbound_nodes": [[["d1", 0, 0, {}]]]},
        {**layer("QDense", "fc", units=2, kernel_quantizer="quantized_bits(6,0,alpha=1)"), "name": "fc", "inbound_nodes": [[["flat", 0, 0, {}]]]}]}}
    (tmp_path / "model.json").write_text(json.dumps(model), encoding="utf-8")
    read = read_keras(tmp_path / "model.json")
    conv, _, pool, norm, depth, dense = read.workload.ops
    assert conv.macs == 8 * 8 * 4 * 9
    assert (conv.params, depth.params, dense.params, norm.params) == (36, 4 * 9 + 4, 4 * 2 + 2, 8)
    assert pool.dims["out_h"] == 4
    assert depth.macs == 4 * 9  # 4 x 4 at stride 2 without padding is one position
    assert dense.macs == 8
    bits = {layer.name: (layer.weight_bits, layer.data_bits) for layer in read.layers}
    assert bits["c1"] == (4, 16)
    assert bits["p1"] == (16, 3)
    assert bits["d1"][0] == 1
    assert bits["fc"][0] == 6
    assert conv.weight_dtype == "int4"
    assert read.workload.edges.tolist() == [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]]


def test_recurrent_and_merging_layers(tmp_path):
    def node(name):
        return [[[name, 0, 0, {}]]]
    model = {"class_name": "Model", "config": {"name": "r", "layers": [
        {"class_name": "InputLayer", "name": "in", "config": {"name": "in", "batch_input_shape": [None, 20, 6]}, "inbound_nodes": []},
        {**layer("LSTM", "l", units=10, return_sequences=True), "name": "l", "inbound_nodes": node("in")},
        {**layer("GRU", "g", units=10), "name": "g", "inbound_nodes": node("l")},
        {**layer("Dense", "d", units=10, activation="tanh"), "name": "d", "inbound_nodes": node("g")},
        {**layer("Add", "sum"), "name": "sum", "inbound_nodes": [[["g", 0, 0, {}], ["d", 0, 0, {}]]]},
        {**layer("Concatenate", "both"), "name": "both", "inbound_nodes": [[["sum", 0, 0, {}], ["d", 0, 0, {}]]]}]}}
    (tmp_path / "model.json").write_text(json.dumps(model), encoding="utf-8")
    w = read_keras(tmp_path / "model.json").workload
    # Keras prints 680 for the LSTM and 660 for the GRU with two bias vectors
    assert [op.params for op in w.ops] == [4 * 10 * (6 + 10 + 1), 3 * 10 * (10 + 10 + 2), 110, 0, 0, 0]
    assert w.ops[-1].dims["elements"] == 20


@pytest.mark.parametrize(("text", "bits"), [("ap_fixed<16,6>", 16), ("ap_ufixed<8, 0, AP_RND_CONV, AP_SAT>", 8), ("fixed<12,4>", 12), ("ap_int<5>", 5), ("auto", None)])
def test_precisions(text, bits):
    assert bits_of(text, "here") == bits


@pytest.mark.parametrize("text", ["ap_fixed<0,0>", "ap_fixed<99,6>", "float", 16, None, "ap_fixed<" + "1" * 500])
def test_impossible_precisions_name_the_place(text):
    with pytest.raises(FormatError, match="here"):
        bits_of(text, "here")


@pytest.mark.parametrize(("given", "name", "bits"), [
    ("quantized_bits(6,0)", "quantized_bits", 6), ("quantized_relu(bits=4)", "quantized_relu", 4), ("ternary(alpha='auto')", "ternary", 2), ("quantized_bits()", "quantized_bits", 8),
    ("relu", "relu", None), (None, "", None), ({"class_name": "quantized_bits", "config": {"bits": 3}}, "quantized_bits", 3)])
def test_quantisers(given, name, bits):
    assert quantiser(given, "here") == (name, bits)


@pytest.mark.parametrize(("change", "kind", "says"), [
    (("io_parallel", "io_sideways"), UnknownNameError, "io_stream"), (("Strategy: Latency", "Strategy: Fastest"), UnknownNameError, "Resource"),
    (("ReuseFactor: 64", "ReuseFactor: 0"), FormatError, "fc2.*reuse"), (("ap_fixed<8,3>", "ap_float<8>"), FormatError, "fc2.*weight"), (("ClockPeriod: 5", "ClockPeriod: fast"), FormatError, "ClockPeriod"),
    (("model.json", "../model.json"), FormatError, "folder"), (("model.json", "/etc/hostname"), FormatError, "folder"), (("model.json", "none.json"), FormatError, "none.json"),
    (("KerasJson: model.json", "KerasJson: [1]"), FormatError, "KerasJson"), (("Model: {", "Model: &a {"), None, ""), (("OutputDir: somewhere", "OutputDir: *a"), FormatError, "aliases|YAML"),
    (("HLSConfig:", "HLSConfig: 3\nOther:"), FormatError, "Model"), (("KerasJson", "x: !!python/object:os.system {}\nKerasJson"), FormatError, "YAML")])
def test_impossible_configurations(tmp_path, change, kind, says):
    path = project(tmp_path, text=YAML.replace(*change, 1))
    if kind is None:
        read_hls4ml(path)
        return
    with pytest.raises(kind, match=says) as caught:
        read_hls4ml(path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(("model", "kind", "says"), [
    ({"class_name": "Sequential", "config": {"layers": []}}, FormatError, "Keras"), ([1], FormatError, "Keras"), ({"class_name": "Sequential", "config": {"layers": [3]}}, FormatError, r"layers\[0\]"),
    ({"class_name": "Sequential", "config": {"layers": [layer("Dense", "a", units=3)]}}, GraphError, "batch_input_shape"),
    ({"class_name": "Sequential", "config": {"layers": [layer("Dense", "a", units=-3, batch_input_shape=[None, 4])]}}, GraphError, "'a'.*units"),
    ({"class_name": "Sequential", "config": {"layers": [layer("Dense", "a", units=2**70, batch_input_shape=[None, 4])]}}, GraphError, "'a'"),
    ({"class_name": "Sequential", "config": {"layers": [layer("Dense", "a", units=2**61, batch_input_shape=[None, 2**61])]}}, GraphError, "'a'"),
    ({"class_name": "Sequential", "config": {"layers": [layer("Lambda", "magic", batch_input_shape=[None, 4])]}}, UnsupportedOpError, "'magic'.*Lambda"),
    ({"class_name": "Sequential", "config": {"layers": [layer("Dense", "a", units=3, activation="maxout", batch_input_shape=[None, 4])]}}, UnsupportedOpError, "maxout"),
    ({"class_name": "Sequential", "config": {"layers": [layer("Conv2D", "c", filters=3, kernel_size=9, batch_input_shape=[None, 4, 4, 1])]}}, GraphError, "'c'.*window"),
    ({"class_name": "Functional", "config": {"layers": [{**layer("Dense", "a", units=3), "inbound_nodes": [[["b", 0, 0]]]}]}}, GraphError, "'a'.*inbound"),
    ({"class_name": "Sequential", "config": {"layers": [layer("Flatten", "a", batch_input_shape=[None, 4])]}}, GraphError, "no operators")])
def test_impossible_models(tmp_path, model, kind, says):
    (tmp_path / "model.json").write_text(json.dumps(model), encoding="utf-8")
    with pytest.raises(kind, match=says) as caught:
        read_keras(tmp_path / "model.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 100_000, b"- " * 50_000, b"? " * 50_000, b"a: " * 50_000, b" " * 300_000, b"\xff\xfe", b'{"class_name": "Sequential", "config": ' + b'{"a":' * 50_000])
def test_damaged_files(tmp_path, data):
    for name, read in (("model.json", read_keras), ("c.yml", read_hls4ml)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(FormatError, match=name):
            read(tmp_path / name)


def test_as_a_reader(tmp_path):
    path = project(tmp_path)
    assert read_hls4ml_workload(path, {"batch": 2}, "error", None).macs == 2 * read_hls4ml_workload(tmp_path / "model.json", {}, "error", None).macs
    with pytest.raises(UnknownNameError, match="batch"):
        read_hls4ml_workload(path, {"length": 2}, "error", None)
    with pytest.raises(InputError, match="precision"):
        read_hls4ml_workload(path, {}, "error", "float16")


def test_what_is_a_keras_architecture():
    assert is_keras(tagger())
    assert not any(is_keras(other) for other in ([], {"class_name": "Dense", "config": {}}, {"format": "silicast-workload/1"}, None))


def test_an_entry_for_no_layer_is_noted(tmp_path):
    read = read_hls4ml(project(tmp_path, text=YAML.replace("    fc2:", "    fc9: {ReuseFactor: 2}\n    fc2:")))
    assert "fc9" in read.workload.notes[0]
    assert parse_config({}, "x").of("a", "Dense").reuse == 1
