"""Networks of the literature, layer by layer: their multiply-adds and parameters are known, and worked out again here by hand."""

import runpy
from pathlib import Path

import pytest

from silicast.datasets.errors import GraphError, UnknownNameError
from silicast.datasets.families.blocks import basic_block, encoder_block, feed_forward, inverted_residual, self_attention
from silicast.datasets.families.cells import EDGES, apply_cell, live, reduction
from silicast.datasets.layers import Net
from silicast.datasets.workload import Workload

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def example(name: str) -> dict:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def conv_macs(side: int, cin: int, cout: int, kernel: int) -> int:
    """Multiply-adds of a convolution whose output is side x side."""
    return side * side * cin * cout * kernel * kernel


# -- whole networks -------------------------------------------------------------------------------------------------------------------

def test_resnet50_has_the_published_size():
    # 25,557,032 parameters and 4.089 GMACs at 224: torchvision's model card of ResNet50_Weights (25557032 parameters, GFLOPS 4.09)
    workload = example("resnet50")["resnet50"]()
    macs = conv_macs(112, 3, 64, 7)
    cin = 64
    for blocks, width, side in ((3, 64, 56), (4, 128, 28), (6, 256, 14), (3, 512, 7)):
        before = side if width == 64 else 2 * side   # v1.5: the first 1x1 still runs at the larger size
        for block in range(blocks):
            macs += conv_macs(before if block == 0 else side, cin, width, 1) + conv_macs(side, width, width, 3) + conv_macs(side, width, 4 * width, 1)
            macs += conv_macs(side, cin, 4 * width, 1) if block == 0 else 0
            cin = 4 * width
    macs += 2048 * 1000
    assert macs == 4_089_184_256
    assert workload.macs == macs
    assert workload.params == 25_557_032
    assert workload.ops[0].name == "stem/conv0"
    assert "stage1/block0/shortcut" in {op.name for op in workload.ops}


def test_resnet18_has_the_published_parameters():
    # 11,689,512: torchvision's model card of ResNet18_Weights
    net = Net("resnet18")
    x = net.max_pool(net.conv_norm(net.image(1, 3, 224, 224), 64, 7, 2), 3, 2, 1)
    for stage, width in enumerate((64, 128, 256, 512)):
        for block in range(2):
            with net.scope(f"stage{stage}/block{block}"):
                x = basic_block(net, x, width, 2 if stage and not block else 1)
    assert x.shape == (1, 512, 7, 7)
    net.linear(net.global_avg_pool(x), 1000)
    assert net.build().params == 11_689_512


def test_vgg19_has_the_published_size():
    # 143,667,240 parameters: torchvision's model card of VGG19_Weights; 19.6 billion multiply-adds: He et al. 2016 (ResNet), section 3.3
    net = Net("vgg19", dtype="float32")
    x = net.image(1, 3, 224, 224)
    macs, cin, side = 0, 3, 224
    for width, count in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        for _ in range(count):
            x = net.relu(net.conv(x, width, 3, bias=True))
            macs, cin = macs + conv_macs(side, cin, width, 3), width
        x, side = net.max_pool(x, 2), side // 2
    x = net.flatten(x)
    for features in (4096, 4096, 1000):
        x = net.linear(x, features)
    macs += 512 * 7 * 7 * 4096 + 4096 * 4096 + 4096 * 1000
    assert macs == 19_632_062_464
    workload = net.build()
    assert workload.macs == macs
    assert workload.params == 143_667_240
    assert workload.weight_bytes == 4 * 143_667_240


def test_mobilenet_v2_has_the_published_parameters():
    # 3,504,872: torchvision's model card of MobileNet_V2_Weights; 300 M multiply-adds: Sandler et al., CVPR 2018, table 4
    net = Net("mobilenet_v2")
    x = net.conv_norm(net.image(1, 3, 224, 224), 32, 3, 2, act="clip")
    for t, c, n, s in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):
        for i in range(n):
            x = inverted_residual(net, x, c, t * x.shape[1], 3, s if i == 0 else 1)
    x = net.conv_norm(x, 1280, 1, act="clip")
    net.linear(net.global_avg_pool(x), 1000)
    workload = net.build()
    assert workload.params == 3_504_872
    assert workload.macs == pytest.approx(300e6, rel=0.01)


def test_efficientnet_b0_has_the_published_parameters():
    # 5,288,548: torchvision's model card of EfficientNet_B0_Weights
    net = Net("efficientnet_b0")
    x = net.conv_norm(net.image(1, 3, 224, 224), 32, 3, 2, act="silu")
    for t, c, n, s, k in ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)):
        for i in range(n):
            x = inverted_residual(net, x, c, t * x.shape[1], k, s if i == 0 else 1, "silu", squeeze=x.shape[1] // 4)
    x = net.conv_norm(x, 1280, 1, act="silu")
    net.linear(net.global_avg_pool(x), 1000)
    assert net.build().params == 5_288_548


def test_nas_bench_201_largest_cell_has_the_published_cost():
    # 220.12 M FLOPs (multiply-adds) and 1.53 M parameters for six 3x3 convolutions on CIFAR-10: the benchmark's record of that architecture (Dong & Yang, ICLR 2020)
    net = Net("nas")
    x = net.conv_norm(net.image(1, 3, 32, 32), 16, 3, act="")
    cell = dict.fromkeys(EDGES, "nor_conv_3x3")
    for stage, channels in enumerate((16, 32, 64)):
        if stage:
            x = reduction(net, x, channels)
        for _ in range(5):
            x = apply_cell(net, x, cell)
    net.linear(net.global_avg_pool(net.relu(net.batch_norm(x))), 10)
    workload = net.build()
    stages = 3 * 30 * conv_macs(32, 16, 16, 3)   # half the side, twice the channels: the same work in each stage
    reductions = 2 * (conv_macs(16, 16, 32, 3) + conv_macs(16, 32, 32, 3) + conv_macs(16, 16, 32, 1))
    assert workload.macs == conv_macs(32, 3, 16, 3) + stages + reductions + 64 * 10 == 220_119_680
    assert workload.params == pytest.approx(1.53e6, rel=0.01)


def test_dead_edges_of_a_cell_are_dropped():
    cell = dict.fromkeys(EDGES, "none") | {(0, 3): "skip_connect", (0, 1): "nor_conv_3x3", (2, 3): "avg_pool_3x3"}
    assert live(cell) == {(0, 3): "skip_connect"}


def test_bert_base_has_the_published_parameters():
    # 109,482,240 with the pooler: Devlin et al. 2019 say 110 M; 12 blocks x 7,087,872 = 85,054,464
    net = Net("bert")
    x = net.embedding(net.tokens(1, 128), 30522, 768)
    x = net.position_embedding(x, 512)
    net_params = net.params
    x = net.layer_norm(x)
    before = net.params
    for i in range(12):
        with net.scope(f"layer{i}"):
            x = encoder_block(net, x, heads=12, hidden=3072, pre_norm=False, fused=False)
    assert net.params - before == 85_054_464
    assert net_params == (30522 + 512) * 768
    pooled = net.linear(net.reshape(net.narrow(x, 1), (1, 768)), 768)
    assert net.params + 2 * 768 == 109_482_240   # and two token-type vectors, which the builder leaves out
    assert pooled.shape == (1, 768)


def test_gpt2_block():
    workload = example("gpt_block")["gpt_block"](length=1024)
    # 12 d^2 + 13 d at d = 768: qkv, output, up and down with their biases, two layer norms (Radford et al. 2019)
    assert workload.params == 12 * 768**2 + 13 * 768 == 7_087_872
    # dense 1024 x 12 d^2; causal attention 1024 * 1025 / 2 pairs, each 2 d multiply-adds
    assert workload.macs == 1024 * 12 * 768**2 + 1024 * 1025 // 2 * 2 * 768
    decode = example("gpt_block")["gpt_block"](length=1, past=1023)
    cache = next(t for t in decode.tensors if t.name.endswith("kv_cache"))
    assert cache.bytes == 1023 * 2 * 768 * 2
    assert decode.macs == 12 * 768**2 + 1024 * 2 * 768


def test_mixtral_moe_layer():
    workload = example("moe_layer")["moe_layer"](tokens=512)
    # Jiang et al. 2024: 8 experts of three 4096 x 14336 matrices, 2 to a token; a router and a norm
    assert workload.params == 8 * 3 * 4096 * 14336 + 8 * 4096 + 4096
    assert workload.macs == 512 * 2 * 3 * 4096 * 14336 + 512 * 8 * 4096
    up = next(op for op in workload.ops if op.name == "up")
    assert (up.kind, up.dims["groups"], up.dims["m"], up.weight_bytes) == ("grouped_gemm", 8, 1024, 2 * 8 * 4096 * 14336)
    route = next(op for op in workload.ops if op.kind == "route")
    assert route.counts["output_elements"] == 2 * 512 * 2
    net = Net("x")
    with pytest.raises(GraphError, match="1 to 4 experts"):
        net.route(net.input((3, 4)), 5)
    with pytest.raises(GraphError, match="rows"):
        net.expert_linear(net.input((3, 4, 5)), 2, 7)
    with pytest.raises(GraphError, match="0 heads"):
        net.attention(*[net.input((1, 3, 4)) for _ in range(3)], heads=0)


def test_shared_parameters_are_counted_once():
    net = Net("tied")
    x = net.embedding(net.tokens(1, 8), 100, 16)
    net.linear(x, 100, bias=False, shared=True)
    assert net.params == 1600
    assert net.build().macs == 8 * 16 * 100


def test_vit_b16_has_the_published_parameters():
    # 86,567,656: torchvision's model card of ViT_B_16_Weights
    net = Net("vit_b_16")
    x = net.position_embedding(net.class_token(net.patch_embed(net.image(1, 3, 224, 224), 16, 768)))
    assert x.shape == (1, 197, 768)
    for i in range(12):
        with net.scope(f"block{i}"):
            x = encoder_block(net, x, 12, 3072)
    net.linear(net.reshape(net.narrow(net.layer_norm(x), 1), (1, 768)), 1000)
    assert net.build().params == 86_567_656


def test_llama_7b_layer():
    # four 4096^2 projections, three 4096 x 11008, two norms: Touvron et al. 2023 (32 of them and 2 x 32000 x 4096 + 4096 make 6,738,415,616)
    net = Net("llama")
    x = net.input((1, 8, 4096))
    x = net.add(x, self_attention(net, net.rms_norm(x), 32, causal=True, bias=False, fused=False, rope=True))
    net.add(x, feed_forward(net, net.rms_norm(x), 11008, "silu", gated=True, bias=False))
    assert net.params == 4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096
    assert 32 * net.params + 2 * 32000 * 4096 + 4096 == 6_738_415_616


# -- single layers --------------------------------------------------------------------------------------------------------------------

def test_shapes_follow_the_floor_rule():
    net = Net("shapes")
    x = net.image(2, 3, 225, 224)
    assert net.conv(x, 8, 3, 2).shape == (2, 8, 113, 112)
    assert net.conv(x, 8, 3, 2, padding=0).shape == (2, 8, 112, 111)      # (225 - 3) // 2 + 1, (224 - 3) // 2 + 1
    assert net.conv(x, 8, (1, 7), (1, 4)).shape == (2, 8, 225, 56)
    assert net.conv(x, 8, 3, dilation=2).shape == (2, 8, 225, 224)
    assert net.max_pool(x, 3, 2, 1).shape == (2, 3, 113, 112)
    assert net.avg_pool(x, 2).shape == (2, 3, 112, 112)
    assert net.conv_transpose(x, 4).shape == (2, 4, 450, 448)
    assert net.upsample(x, 2).shape == (2, 3, 450, 448)


def test_op_dimensions_carry_their_names():
    net = Net("dims", weight_dtype="int8")
    x = net.image(2, 8, 10, 12)
    y = net.conv(x, 16, (3, 5), (2, 1), groups=4, bias=True)
    net.max_pool(y, (2, 3), (1, 2))
    seq = net.to_sequence(y)
    net.recurrent(seq, 32, "gru", bidirectional=True)
    q = net.linear(seq, 64)
    k = net.linear(seq, 16)
    net.attention(q, k, k, heads=8, kv_heads=2, causal=True, kv_len=100)
    net.embedding(net.tokens(2, 7), 1000, 24)
    workload = net.build()
    ops = {op.name: op for op in workload.ops}
    assert ops["conv0"].dims == {"batch": 2, "in_channels": 8, "in_h": 10, "in_w": 12, "out_channels": 16, "out_h": 5, "out_w": 12, "kernel_h": 3,
                                 "kernel_w": 5, "stride_h": 2, "stride_w": 1, "groups": 4, "bias": 1}
    assert ops["conv0"].params == 16 * 2 * 15 + 16 == ops["conv0"].counts["weight_elements"]
    assert ops["max_pool0"].dims == {"batch": 2, "channels": 16, "in_h": 5, "in_w": 12, "out_h": 4, "out_w": 5, "kernel_h": 2, "kernel_w": 3,
                                     "stride_h": 1, "stride_w": 2}
    assert ops["gru0"].dims == {"steps": 60, "batch": 2, "input": 16, "hidden": 32, "gates": 3, "directions": 2}
    assert ops["gru0"].params == 2 * 3 * 32 * (16 + 32 + 2)
    assert ops["linear0"].dims == {"m": 120, "n": 64, "k": 16, "b": 1, "bias": 1}
    assert ops["attention0"].dims == {"batch": 2, "heads": 8, "kv_heads": 2, "q_len": 60, "kv_len": 100, "head_dim": 8, "v_dim": 8, "causal": 1,
                                        "window": 0, "latent": 0}
    assert ops["embedding0"].dims == {"rows": 14, "width": 24, "table_rows": 1000}
    assert {op.weight_dtype for op in workload.ops} == {"int8"}
    tokens = next(t for t in workload.tensors if t.name == "tokens0")
    assert tokens.bytes == 14 * 4
    for op, made in zip(workload.ops, [t for t in workload.tensors if t.producer >= 0], strict=True):
        assert made.bytes == op.bytes_written, op.name   # the builder is told the size rather than counting it again


def test_norms_and_gates_count_their_parameters():
    net = Net("norms")
    x = net.image(2, 64, 7, 5)
    bn = net.batch_norm(x)
    net.group_norm(bn, 8)
    net.se_block(x, 16)
    seq = net.to_sequence(x)
    net.layer_norm(seq)
    net.rms_norm(seq)
    ops = {op.name: op for op in net.build().ops}
    assert ops["bn0"].params == 128
    assert ops["bn0"].dims == {"elements": 2 * 64 * 35, "cost": 2, "extra_elements": 128}
    assert (ops["gn0"].params, ops["ln0"].params, ops["rms0"].params) == (128, 128, 64)
    assert ops["gn0"].dims == {"rows": 16, "cols": 8 * 35}
    assert ops["mul0"].dims == {"elements": 2 * 64 * 35, "cost": 1, "extra_elements": 128}
    assert sum(op.params for op in ops.values()) - 128 - 128 - 128 - 64 == 64 * 16 + 16 + 16 * 64 + 64


def test_views_are_free_and_copies_are_moves():
    net = Net("views")
    x = net.input((2, 6, 12))
    a, b, c = net.split(x, (4, 4, 4))
    assert (a.shape, a.tensor) == ((2, 6, 4), x.tensor)
    assert net.narrow(x, 1).shape == (2, 1, 12)
    assert net.flatten(x).shape == (2, 72)
    assert net.op_count == 0
    joined = net.concat((a, b, c), axis=2)
    assert joined.shape == (2, 6, 12)
    assert net.permute(joined, (0, 2, 1)).shape == (2, 12, 6)
    assert net.matmul(joined, net.reshape(joined, (2, 12, 6))).shape == (2, 6, 6)
    assert [op.kind for op in net.build().ops] == ["move", "move", "gemm"]


def test_names_are_paths_and_unique():
    net = Net("names")
    x = net.image(1, 3, 8, 8)
    with net.scope("stage1"):
        with net.scope("block0"):
            net.conv(x, 4, name="first")
            net.conv(x, 4)
            with pytest.raises(GraphError, match=r"stage1/block0/first.*taken"):
                net.conv(x, 4, name="first")
        net.conv(x, 4, name="conv1")
        net.conv(x, 4)
        net.conv(x, 4)
    assert [op.name for op in net.build().ops] == ["stage1/block0/first", "stage1/block0/conv0", "stage1/conv1", "stage1/conv0", "stage1/conv2"]


@pytest.mark.parametrize(("wrong", "says"), [
    (lambda n, x, s: n.conv(x, 8, 3, groups=2), "not divisible into 2 groups"),
    (lambda n, x, s: n.conv(s, 8), r"expected an image \(n, c, h, w\), got \(1, 4, 6\)"),
    (lambda n, x, s: n.conv(x, 8, 11, padding=0), "window of 11 does not fit into 8"),
    (lambda n, x, s: n.max_pool(x, 9), "does not fit"),
    (lambda n, x, s: n.add(x, s), "do not broadcast"),
    (lambda n, x, s: n.matmul(s, s), "expected"),
    (lambda n, x, s: n.attention(s, s, s, heads=4), "4 heads"),
    (lambda n, x, s: n.attention(s, s, s, heads=3, kv_len=2), "kv_len 2 is shorter"),
    (lambda n, x, s: n.concat((x, s)), "equal shapes"),
    (lambda n, x, s: n.reshape(x, (5,)), "elements"),
    (lambda n, x, s: n.split(s, (1, 2)), "do not add up"),
    (lambda n, x, s: n.group_norm(x, 2), "not divisible"),
    (lambda n, x, s: n.recurrent(x, 8), r"expected \(n, t, d\)"),
    (lambda n, x, s: n.rope(s, 4), "multiple of head_dim 4"),
    (lambda n, x, s: n.position_embedding(s, 3), "3 positions"),
    (lambda n, x, s: n.permute(s, (0, 1)), "order"),
    (lambda n, x, s: n.mean(s, 3), "no axis 3"),
    (lambda n, x, s: n.linear(s, 0), "at least 1"),
    (lambda n, x, s: n.input((0, 3)), "positive sizes"),
    (lambda n, x, s: n.relu(Net("other").image(1, 1, 2, 2)), "another net, 'other'"),
])
def test_shapes_that_do_not_fit_are_errors(wrong, says):
    net = Net("wrong")
    x, s = net.image(1, 3, 8, 8), net.input((1, 4, 6))
    with pytest.raises(GraphError, match=says):
        wrong(net, x, s)


def test_unknown_names_are_errors():
    net = Net("wrong")
    x = net.input((1, 4, 6))
    with pytest.raises(UnknownNameError, match="gelu"):
        net.activation(x, "gellu")
    with pytest.raises(UnknownNameError, match="elementwise"):
        net.binary(x, x, "plus")
    with pytest.raises(UnknownNameError, match="lstm"):
        net.recurrent(x, 4, "lstmm")
    with pytest.raises(UnknownNameError, match="dtype"):
        Net("wrong", dtype="float17")
    with pytest.raises(GraphError, match="no operators"):
        net.build()


@pytest.mark.parametrize("name", ["resnet50", "gpt_block", "moe_layer"])
def test_examples_run_as_scripts(name, capsys):
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert "parameters" in capsys.readouterr().out


def test_a_built_network_survives_json():
    workload = example("resnet50")["resnet50"](batch=2, dtype="int8")
    assert Workload.from_json(workload.to_json()) == workload
