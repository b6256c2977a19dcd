"""Known networks, counted layer by layer from their papers and compared with what the reader counts.

The files are the weightless "light" ones that the onnx package carries for its own tests. Each count below is a formula
over the layer table of the architecture, written out here; nothing is taken from the reader.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from silicast.datasets.frontends import read


def package(name: str) -> Path:
    """The folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{name} is not installed")
    return Path(next(iter(spec.submodule_search_locations)))


def light(name: str) -> Path:
    path = package("onnx") / "backend" / "test" / "data" / "light" / f"light_{name}.onnx"
    if not path.exists():
        pytest.skip("this onnx release carries no light models")
    return path


class Tally:
    """Adds up multiply-adds and parameters of convolutions and dense layers."""

    def __init__(self) -> None:
        self.macs = 0
        self.params = 0

    def conv(self, size: int, cin: int, cout: int, kernel: int, groups: int = 1, bias: bool = True) -> None:
        """A convolution with square output of `size`."""
        self.macs += size * size * cout * (cin // groups) * kernel * kernel
        self.params += cout * (cin // groups) * kernel * kernel + cout * bias

    def dense(self, cin: int, cout: int) -> None:
        self.macs += cin * cout
        self.params += cin * cout + cout

    def batch_norm(self, channels: int) -> None:
        self.params += 2 * channels


def test_alexnet():
    # Krizhevsky et al. 2012 with the two groups, as in Caffe's reference model. The file is fed 224 without padding, so the
    # maps are 54, 26, 12 and 6 wide (its last pool is padded). Caffe states 60,965,224 parameters.
    t = Tally()
    t.conv(54, 3, 96, 11)
    t.conv(26, 96, 256, 5, groups=2)
    t.conv(12, 256, 384, 3)
    t.conv(12, 384, 384, 3, groups=2)
    t.conv(12, 384, 256, 3, groups=2)
    t.dense(256 * 6 * 6, 4096)
    t.dense(4096, 4096)
    t.dense(4096, 1000)
    assert t.params == 60_965_224
    workload = read(light("bvlc_alexnet"))
    assert (workload.macs, workload.params) == (t.macs, t.params)


def test_vgg19():
    # Simonyan and Zisserman 2014, configuration E: 19.6 G multiply-adds, 144 M parameters in the paper's table 2
    t = Tally()
    cin, size = 3, 224
    for cout, repeats in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        for _ in range(repeats):
            t.conv(size, cin, cout, 3)
            cin = cout
        size //= 2
    t.dense(512 * 7 * 7, 4096)
    t.dense(4096, 4096)
    t.dense(4096, 1000)
    assert (t.macs, t.params) == (19_632_062_464, 143_667_240)
    workload = read(light("vgg19"))
    assert (workload.macs, workload.params) == (t.macs, t.params)


def test_resnet50():
    # He et al. 2015, table 1, bottleneck blocks. The file strides in the 3x3 convolution (4.09 G); striding in the first 1x1,
    # as in the paper, would give 3.86 G. 25,557,032 parameters either way.
    def count(stride_in_3x3: bool) -> Tally:
        t = Tally()
        t.conv(112, 3, 64, 7, bias=False)
        t.batch_norm(64)
        cin, size = 64, 56
        for width, repeats in ((64, 3), (128, 4), (256, 6), (512, 3)):
            for block in range(repeats):
                out = size // 2 if block == 0 and width > 64 else size
                t.conv(size if stride_in_3x3 else out, cin, width, 1, bias=False)
                t.conv(out, width, width, 3, bias=False)
                t.conv(out, width, 4 * width, 1, bias=False)
                t.batch_norm(width)
                t.batch_norm(width)
                t.batch_norm(4 * width)
                if block == 0:
                    t.conv(out, cin, 4 * width, 1, bias=False)
                    t.batch_norm(4 * width)
                cin, size = 4 * width, out
        t.dense(2048, 1000)
        return t

    paper, here = count(stride_in_3x3=False), count(stride_in_3x3=True)
    assert (here.macs, here.params) == (4_089_184_256, 25_557_032)
    assert round(paper.macs / 1e9, 2) == 3.86
    workload = read(light("resnet50"))
    assert (workload.macs, workload.params) == (here.macs, here.params)
    assert sum(op.kind == "conv" for op in workload.ops) == 53


def test_squeezenet():
    # Iandola et al. 2016 and the authors' v1.1 (first layer 64 3x3 filters, pools earlier): 1,235,496 parameters
    t = Tally()
    t.conv(111, 3, 64, 3)
    cin = 64
    for size, squeeze, expand in ((55, 16, 64), (55, 16, 64), (27, 32, 128), (27, 32, 128), (13, 48, 192), (13, 48, 192), (13, 64, 256), (13, 64, 256)):
        t.conv(size, cin, squeeze, 1)
        t.conv(size, squeeze, expand, 1)
        t.conv(size, squeeze, expand, 3)
        cin = 2 * expand
    t.conv(13, 512, 1000, 1)
    assert t.params == 1_235_496
    workload = read(light("squeezenet"))
    assert (workload.macs, workload.params) == (t.macs, t.params)


def test_densenet121():
    # Huang et al. 2016: growth 32, blocks of 6, 12, 24, 16. The file follows each normalisation with a scale and a shift of
    # its own, so every channel has four numbers in place of two.
    t = Tally()
    t.conv(112, 3, 64, 7, bias=False)
    t.params += 4 * 64
    channels, size = 64, 56
    for index, layers in enumerate((6, 12, 24, 16)):
        for _ in range(layers):
            t.params += 4 * channels + 4 * 128
            t.conv(size, channels, 128, 1, bias=False)
            t.conv(size, 128, 32, 3, bias=False)
            channels += 32
        t.params += 4 * channels
        if index < 3:
            t.conv(size, channels, channels // 2, 1, bias=False)
            channels, size = channels // 2, size // 2
    t.conv(1, 1024, 1000, 1)
    workload = read(light("densenet121"))
    assert (workload.macs, workload.params) == (t.macs, t.params)


@pytest.mark.parametrize("name", ["inception_v1", "inception_v2", "shufflenet", "zfnet512"])
def test_other_light_models_read(name):
    workload = read(light(name))
    assert workload.macs > 1e8
    assert workload.digest == read(light(name)).digest


#: file -> (package, folder, dims)
PACKAGED = {
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": ("rapidocr_onnxruntime", "models", {"x.0": 1, "x.2": 48, "x.3": 192}),
    "ch_PP-OCRv4_rec_infer.onnx": ("rapidocr_onnxruntime", "models", {"p2o.DynamicDimension.0": 1, "p2o.DynamicDimension.1": 320, "x.2": 48}),
    "ch_PP-OCRv4_det_infer.onnx": ("rapidocr_onnxruntime", "models",
                                   {"p2o.DynamicDimension.0": 1, "p2o.DynamicDimension.1": 320, "p2o.DynamicDimension.2": 320}),
    "model.onnx": ("magika", "models", {"bytes.0": 2}),
    "silero_vad_op18_ifless.onnx": ("silero_vad", "data", {"batch": 1, "sequence": 576, "sr": 16000}),
    "silero_vad_16k_sequence.onnx": ("silero_vad", "data", {"sequence_length": 10}),
    "320n.onnx": ("nudenet", "", {"batch": 1, "height": 320, "width": 320}),
    "nakdimon.onnx": ("piper", "hebrew", {"unk__1915": 1, "unk__1916": 5}),  # four loops over five characters
}


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_models_read(name):
    home, folder, dims = PACKAGED[name]
    files = sorted((package(home) / folder).rglob(name))
    if not files:
        pytest.skip(f"this release of {home} has no {name}")
    workload = read(files[0], dims=dims)
    assert workload.macs > 0
    assert workload.digest == read(files[0], dims=dims).digest
    assert not workload.bounded_ops


def test_control_flow_takes_what_fits():
    files = sorted((package("silero_vad") / "data").glob("silero_vad.onnx"))
    if not files:
        pytest.skip("this release of silero_vad has no silero_vad.onnx")
    dims = {"input.0": 1, "input.1": 576, "state.1": 1}
    told = read(files[0], dims={**dims, "sr": 16000})  # the branch for 16 kHz, inlined
    assert told.macs > 0
    # not told: 576 samples do not fit the network for 8 kHz
    guessed = read(files[0], dims=dims)
    assert any("'If_0'" in note and "do not fit the other one" in note for note in guessed.notes)
    assert (guessed.macs, guessed.params) == (told.macs, told.params)


@pytest.mark.parametrize("name", ["ch_ppocr_mobile_v2.0_cls_infer.onnx", "320n.onnx", "silero_vad_openvino_16k.onnx"])
def test_convolutions_agree_with_the_runtime(name):
    """Of every convolution: the outputs that ONNX Runtime makes, times the weights that each one meets."""
    import numpy as np
    import onnx

    runtime = pytest.importorskip("onnxruntime")
    home, folder, dims = PACKAGED.get(name, ("silero_vad", "data", {}))
    files = sorted((package(home) / folder).rglob(name))
    if not files:
        pytest.skip(f"this release of {home} has no {name}")
    model = onnx.load(files[0])
    weights = {t.name: tuple(t.dims) for t in model.graph.initializer}
    weights.update((n.output[0], tuple(n.attribute[0].t.dims)) for n in model.graph.node if n.op_type == "Constant")
    convolutions = [n for n in model.graph.node if n.op_type == "Conv"]
    given = {i.name for i in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=n.output[0]) for n in convolutions if n.output[0] not in given)
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {i.name: np.zeros([d if isinstance(d, int) else dims.get(f"{i.name}.{a}", dims.get(d, 1)) for a, d in enumerate(i.shape)], np.float32) for i in session.get_inputs()}
    made = dict(zip((n.output[0] for n in convolutions), session.run([n.output[0] for n in convolutions], feeds), strict=True))
    ops = [op for op in read(files[0], dims=dims).ops if op.kind == "conv" and op.source.startswith("onnx Conv ")]
    assert [op.macs for op in ops] == [made[n.output[0]].size * np.prod(weights[n.input[1]][1:]) for n in convolutions]
