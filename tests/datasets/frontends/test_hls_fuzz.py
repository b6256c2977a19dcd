"""Mutated program graphs, Keras architectures, hls4ml configurations and vectors of search spaces: read, or refused in one line, soon.

SILICAST_FUZZ_EXAMPLES sets how many of each are tried (250 in the tests).
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import re
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from silicast.datasets.encodings import ENCODINGS, decode
from silicast.datasets.errors import SilicastError
from silicast.datasets.frontends.hls import read_hls
from silicast.datasets.frontends.hls4ml import read_hls4ml, read_keras

EXAMPLES = int(os.environ.get("SILICAST_FUZZ_EXAMPLES", "250"))
NUMBERS = [0, 1, -1, 2, 3, 7, 255, 4096, 2**31, 2**62, 2**63, -(2**63), 0.5, 1e300, float("inf"), True, None, "", "x", [], {}, [1], {"a": 1}, "9" * 30, "none"]
TEXTS = ["icmp", "br", "load", "store", "%i", "%0", "add", "0", "100", "-1", "99999999999999999999", "getelementptr", "call", "auto{__PARA__L0}", "&", "<", '"', "</node>", "i32", "slt", "ne", "\n", ",", "{", "}"]


def source(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"fuzz_{name}", Path(__file__).parents[2] / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def models() -> list[Any]:
    """Architectures that between them reach every layer."""
    def layer(kind: str, name: str, **config: Any) -> dict[str, Any]:
        return {"class_name": kind, "name": name, "config": {"name": name, **config}}

    image = [layer("Conv2D", "c", filters=4, kernel_size=[3, 3], padding="same", activation="relu", batch_input_shape=[None, 8, 8, 2]), layer("QActivation", "a", activation="quantized_relu(4)"),
             layer("ZeroPadding2D", "z", padding=[[1, 1], [1, 1]]), layer("MaxPooling2D", "p", pool_size=[2, 2]), layer("QDepthwiseConv2D", "d", kernel_size=3, depthwise_quantizer="ternary()"),
             layer("BatchNormalization", "b"), layer("UpSampling2D", "u", size=2), layer("Reshape", "r", target_shape=[-1, 4]), layer("GRU", "g", units=3, return_sequences=True), layer("LSTM", "l", units=3),
             layer("Dense", "o", units=2, activation="softmax")]
    wired = [{**layer("InputLayer", "in", batch_shape=[None, 6]), "inbound_nodes": []}, {**layer("Dense", "x", units=6), "inbound_nodes": [[["in", 0, 0, {}]]]},
             {**layer("Add", "s"), "inbound_nodes": [[["in", 0, 0, {}], ["x", 0, 0, {}]]]}, {**layer("Concatenate", "k", axis=-1), "inbound_nodes": [[["in", 0, 0, {}], ["s", 0, 0, {}]]]}]
    return [{"class_name": "Sequential", "config": {"layers": image}}, {"class_name": "Functional", "config": {"name": "w", "layers": wired}}]


def twisted(value: Any, draw: random.Random) -> Any:
    """The document with one or two of its places changed."""
    copy = json.loads(json.dumps(value))
    for _ in range(draw.randint(1, 2)):
        at = copy
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at))) if isinstance(at, list) else []
            if not keys:
                break
            key = draw.choice(keys)
            if isinstance(at[key], dict | list) and at[key] and draw.random() < 0.85:
                at = at[key]
                continue
            act = draw.random()
            if act < 0.15:
                at.pop(key)
            elif act < 0.3 and isinstance(at, list):
                at.insert(key, at[draw.randrange(len(at))])
            else:
                at[key] = json.loads(json.dumps(draw.choice(NUMBERS)))  # a copy: it may be changed next
            break
    return copy


def shaken(text: str, draw: random.Random) -> str:
    """The text with some of its words changed, dropped or doubled."""
    for _ in range(draw.randint(1, 4)):
        spots = [m.span() for m in re.finditer(r"[\w%.-]+", text)]
        if not spots:
            return text
        a, b = draw.choice(spots)
        text = text[:a] + draw.choice([draw.choice(TEXTS), "", text[a:b] * 2, str(draw.choice(NUMBERS)), text[slice(*draw.choice(spots))]]) + text[b:]
    return text


def tried(read: Any, *given: Any, **named: Any) -> None:
    began, said = time.process_time(), ""
    try:
        read(*given, **named)
    except SilicastError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 2000
    assert time.process_time() - began < 1.0


def test_what_was_found(tmp_path):
    """Mutants that were neither read nor refused in a run of 4,000 each."""
    (tmp_path / "c.yml").write_text("KerasJson: m.json\nIOType: {a: 1}\nHLSConfig: {}\n", encoding="utf-8")
    with pytest.raises(SilicastError, match="IOType"):
        read_hls4ml(tmp_path / "c.yml")
    hat = source("datasets/encodings/test_encodings.py").HAT_284
    with pytest.raises(SilicastError, match="encoder_self_attention_heads"):
        decode("hat", {**hat, "encoder-self-attention-heads-all-subtransformer": [0] * 6})
    long = source("contracts/frontends/hls.py").graph(lambda text: text.replace("%0, 100", f"%0, {'9' * 4000}"))(tmp_path)
    with pytest.raises(SilicastError, match="loop0"):
        read_hls(long)


def test_a_text_encoding_that_nobody_knows(tmp_path):
    text = source("contracts/frontends/hls.py").graph()(tmp_path).read_text()
    (tmp_path / "f.gexf").write_text("<?xml version='1.0' encoding='alue'?>" + text.partition("?>")[2], encoding="utf-8")
    with pytest.raises(SilicastError, match=r"f\.gexf: refused: unknown encoding: alue"):
        read_hls(tmp_path / "f.gexf")


def test_padding_of_what_has_no_axes(tmp_path):
    wired = json.loads(json.dumps(models()[1]))
    wired["config"]["layers"][1] |= {"class_name": "ZeroPadding2D"}
    (tmp_path / "m.json").write_text(json.dumps(wired), encoding="utf-8")
    with pytest.raises(SilicastError, match="padding: expected whole numbers for 0 axes"):
        read_keras(tmp_path / "m.json")


def test_program_graphs(tmp_path):
    contract = source("contracts/frontends/hls.py")
    text, draw = contract.graph()(tmp_path).read_text(), random.Random(7)
    for _ in range(EXAMPLES):
        (tmp_path / "f.gexf").write_text(shaken(text, draw), encoding="utf-8")
        tried(read_hls, tmp_path / "f.gexf", draw.choice([None, {"__PARA__L0": draw.choice(NUMBERS)}, {"loop0": 3}]))


@pytest.mark.parametrize("which", [0, 1])
def test_keras_architectures(tmp_path, which):
    draw = random.Random(11)
    for _ in range(EXAMPLES):
        (tmp_path / "m.json").write_text(json.dumps(twisted(models()[which], draw)), encoding="utf-8")
        tried(read_keras, tmp_path / "m.json", batch=draw.choice([1, 2]))


def test_configurations(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps(models()[0]), encoding="utf-8")
    draw = random.Random(13)
    text = ("KerasJson: model.json\nClockPeriod: 5\nIOType: io_stream\nHLSConfig:\n  Model: {Precision: 'ap_fixed<16,6>', ReuseFactor: 1, Strategy: Latency}\n"
            "  LayerType:\n    Conv2D: {ReuseFactor: 4}\n  LayerName:\n    c:\n      Precision: {weight: 'ap_fixed<8,3>', accum: auto}\n      Strategy: Resource\n")
    for _ in range(EXAMPLES):
        (tmp_path / "c.yml").write_text(shaken(text, draw), encoding="utf-8")
        tried(lambda path: read_hls4ml(path).plan(), tmp_path / "c.yml")


@pytest.mark.parametrize("format", ENCODINGS)
def test_vectors(format):
    good, draw = source("datasets/encodings/test_encodings.py").GOOD[format], random.Random(17)
    for _ in range(EXAMPLES // 5):
        tried(decode, format, twisted(good, draw) if isinstance(good, dict) else shaken(good, draw), batch=draw.choice([1, 1, 0, 2**40]))
