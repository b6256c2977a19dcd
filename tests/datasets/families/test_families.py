"""Every family's contract: valid, bounded, the same for the same seed, and wide enough for the networks people run."""

import json

import numpy as np
import pytest

from silicast.datasets.errors import GraphError, UnknownNameError
from silicast.datasets.families import FAMILIES, MAX_BYTES, MAX_OPS, MIX, sample, sample_mix
from silicast.datasets.families.draw import Draw, capped
from silicast.datasets.families.vit import MAX_OPS_VIT
from silicast.datasets.layers import Net
from silicast.datasets.workload import Workload

COUNT = 40


@pytest.fixture(scope="module", params=FAMILIES)
def drawn(request):
    return request.param, [sample(request.param, np.random.default_rng([7, seed])) for seed in range(COUNT)]


def test_samples_keep_the_caps(drawn):
    family, workloads = drawn
    for workload in workloads:
        assert workload.family == family
        assert len(workload.ops) <= (MAX_OPS_VIT if family == "vit" else MAX_OPS)
        assert workload.weight_bytes + workload.peak_activation_bytes <= MAX_BYTES
        assert workload.flops > 0
        assert workload.params > 0


def test_samples_are_whole_graphs(drawn):
    _, workloads = drawn
    for workload in workloads:
        made = [t for t in workload.tensors if t.producer >= 0]
        assert [t.producer for t in made] == list(range(len(workload.ops)))
        for tensor, op in zip(made, workload.ops, strict=True):
            assert abs(tensor.bytes - op.bytes_written) < 1, op.name     # int4 outputs round up to a byte
        assert len({op.name for op in workload.ops}) == len(workload.ops)
        unread = [t.name for t in workload.tensors if t.producer < 0 and not t.consumers]
        assert not unread
        ends = [t for t in workload.tensors if not t.consumers]
        assert 1 <= len(ends) <= 2, [t.name for t in ends]               # one answer; a detector may have two maps
        consumers = {c for t in workload.tensors for c in t.consumers}
        assert consumers == set(range(len(workload.ops)))                # every op reads something


def test_the_seed_decides(drawn):
    family, workloads = drawn
    again = [sample(family, np.random.default_rng([7, seed])) for seed in range(8)]
    assert again == workloads[:8]
    assert len({w.digest for w in workloads}) == COUNT


def test_samples_survive_json(drawn):
    _, workloads = drawn
    for workload in workloads[:8]:
        back = Workload.from_json(json.loads(json.dumps(workload.to_json())))
        assert back == workload
        assert back.digest == workload.digest


def dims(family: str, kind: str, dim: str, count: int = 250) -> np.ndarray:
    at = [op.dims[dim] for seed in range(count) for op in sample(family, np.random.default_rng([11, seed])).ops if op.kind == kind]
    return np.array(at)


@pytest.mark.parametrize(("family", "kind", "dim", "low", "high"), [
    ("cnn_plain", "conv", "kernel_h", 3, 11),           # VGG; AlexNet
    ("cnn_plain", "conv", "in_h", 14, 896),
    ("cnn_plain", "gemm", "k", 64, 25088),              # VGG's first dense layer: 512 x 7 x 7
    ("cnn_residual", "conv", "out_channels", 16, 2048), # ResNet-50's last stage
    ("cnn_residual", "conv", "in_h", 7, 896),
    ("cnn_depthwise", "conv", "out_channels", 16, 1792),# EfficientNet-B4's head
    ("cnn_depthwise", "conv", "groups", 1, 960),        # MobileNetV2's widest depthwise layer
    ("cnn_ocr", "conv", "in_h", 1, 960),
    ("cnn_ocr", "gemm", "n", 37, 6625),                 # the classic character sets of readers
    ("vit", "attention", "heads", 3, 16),
    ("vit", "gemm", "n", 192, 4096),                    # ViT-L's feed-forward width
    ("prefill", "gemm", "k", 768, 28672),               # GPT-2 small; Llama-70B's feed-forward width
    ("prefill", "attention", "q_len", 32, 8192),
    ("decode", "attention", "kv_len", 128, 30000),
    ("decode", "attention", "batch", 1, 128),
    ("mlp", "gemm", "n", 5, 4096),
    ("seq", "gather", "width", 8, 768),
    ("seq", "recurrent", "hidden", 16, 512),
])
def test_ranges_enclose_networks_in_use(family, kind, dim, low, high):
    sizes = dims(family, kind, dim)
    assert sizes.min() <= low
    assert sizes.max() >= high


#: published parameters of networks that must not lie outside (torchvision's model cards; Devlin et al. 2019 for BERT)
@pytest.mark.parametrize(("family", "low", "high"), [
    ("cnn_plain", 100_000, 143_667_240),        # VGG-19
    ("cnn_residual", 7_978_856, 60_192_808),    # DenseNet-121; ResNet-152
    ("cnn_depthwise", 2_542_856, 19_341_616),   # MobileNetV3-small; EfficientNet-B4
    ("vit", 5_700_000, 304_326_632),            # DeiT-tiny; ViT-L/16
    ("seq", 10_000, 109_482_240),               # BERT-base
])
def test_parameters_enclose_networks_in_use(family, low, high):
    params = [sample(family, np.random.default_rng([13, seed])).params for seed in range(600)]
    assert min(params) <= low
    assert max(params) >= high


def test_ops_enclose_deep_networks():
    depth = {family: max(len(sample(family, np.random.default_rng([17, seed])).ops) for seed in range(250)) for family in ("cnn_residual", "vit")}
    assert depth["cnn_residual"] >= 174     # ResNet-50, norms not folded
    assert depth["vit"] >= 240              # depth 24


def test_every_dtype_and_batch_occurs():
    seen = {family: [sample(family, np.random.default_rng([19, seed])) for seed in range(60)] for family in ("cnn_residual", "mlp", "vit")}
    for family, workloads in seen.items():
        assert {w.ops[0].dtype for w in workloads} == {"float16", "float32", "bfloat16", "int8"}, family
    batches = [w.ops[0].dims["m"] for w in seen["mlp"]]
    assert 0.25 < np.mean([b == 1 for b in batches]) < 0.65
    assert max(batches) > 100


def test_mix_names_every_family_and_adds_up():
    assert set(MIX) == set(FAMILIES)
    assert sum(MIX.values()) == pytest.approx(1.0)
    rng = np.random.default_rng(3)
    families = [sample_mix(rng).family for _ in range(200)]
    assert set(families) == set(FAMILIES)


def test_unknown_family_names_the_nearest():
    with pytest.raises(UnknownNameError, match="cnn_residual"):
        sample("cnn_residul", np.random.default_rng(0))


def test_a_family_that_breaks_its_caps_is_drawn_smaller_or_says_so():
    def greedy(draw: Draw) -> Net:
        net = Net("greedy", "float32")
        net.linear(net.input((1, 1 << 17)), (1 << 17) >> draw.shrink)
        return net

    workload = capped(greedy)(np.random.default_rng(0))
    assert workload.params == (1 << 17) * ((1 << 14) + 0) + (1 << 14)      # 64 GB at first, 8 GB after three halvings

    def hopeless(draw: Draw) -> Net:
        net = Net("hopeless")
        x = net.input((1, 2))
        for _ in range(5):
            x = net.relu(x)
        return net

    with pytest.raises(GraphError, match=r"'hopeless'.*twelve draws"):
        capped(hopeless, max_ops=4)(np.random.default_rng(0))
