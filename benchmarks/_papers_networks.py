"""Networks that the papers' headlines were measured on, from their own papers."""

from __future__ import annotations

from silicast.datasets.families.blocks import basic_block, bottleneck, inverted_residual, self_attention, separable
from silicast.datasets.layers import Net
from silicast.datasets.ops import Op
from silicast.datasets.workload import Workload


def resnet50(batch: int, dtype: str) -> Workload:
    """He et al. 2015: 3, 4, 6, 3 bottlenecks."""
    net = Net("resnet50", dtype, fold_norm=True)
    x = net.max_pool(net.conv_norm(net.image(batch, 3, 224, 224), 64, 7, 2), 3, 2, 1)
    for stage, depth in enumerate((3, 4, 6, 3)):
        for block in range(depth):
            with net.scope(f"{stage}.{block}"):
                x = bottleneck(net, x, 64 << stage, 256 << stage, 2 if block == 0 and stage else 1)
    net.linear(net.global_avg_pool(x), 1000)
    return net.build()


def vgg16(batch: int, dtype: str) -> Workload:
    """Simonyan and Zisserman 2014, configuration D."""
    net = Net("vgg16", dtype)
    x = net.image(batch, 3, 224, 224)
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            x = net.relu(net.conv(x, width, 3, bias=True))
        x = net.max_pool(x, 2, 2)
    x = net.flatten(x)
    for width in (4096, 4096, 1000):
        x = net.linear(x, width)
    return net.build()


def mobilenet_v1(batch: int, dtype: str) -> Workload:
    """Howard et al. 2017, width 1.0 at 224."""
    net = Net("mobilenet_v1", dtype, fold_norm=True)
    x = net.conv_norm(net.image(batch, 3, 224, 224), 32, 3, 2)
    for width, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)):
        x = separable(net, x, width, 3, stride)
    net.linear(net.global_avg_pool(x), 1000)
    return net.build()


def mobilenet_v2(batch: int, dtype: str, width: float = 1.0, size: int = 224) -> Workload:
    """Sandler et al. 2018; channels rounded to multiples of 8, the last layer not narrowed."""
    def scaled(channels: int) -> int:
        return max(8, round(channels * width / 8) * 8)

    net = Net("mobilenet_v2", dtype, fold_norm=True)
    x = net.conv_norm(net.image(batch, 3, size, size), scaled(32), 3, 2, act="clip")
    for expand, channels, depth, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):
        for block in range(depth):
            x = inverted_residual(net, x, scaled(channels), x.shape[1] * expand, 3, stride if block == 0 else 1)
    x = net.conv_norm(x, max(1280, scaled(1280)) if width >= 1.0 else 1280, 1, act="clip")
    net.linear(net.global_avg_pool(x), 1000)
    return net.build()


def bert_base(length: int, dtype: str) -> Workload:
    """Devlin et al. 2018: 12 layers of 768, without the embedding."""
    net = Net("bert", dtype)
    x = net.input((1, length, 768))
    for layer in range(12):
        with net.scope(str(layer)):
            x = net.layer_norm(net.add(x, self_attention(net, x, 12)))
            x = net.layer_norm(net.add(x, net.linear(net.activation(net.linear(x, 3072), "gelu"), 768)))
    return net.build()


def resnet8(dtype: str) -> Workload:
    """MLPerf Tiny (Banbury et al. 2021), image classification: 32 x 32, stages of 16, 32, 64."""
    net = Net("resnet8", dtype, fold_norm=True)
    x = net.conv_norm(net.image(1, 3, 32, 32), 16, 3)
    for width, stride in ((16, 1), (32, 2), (64, 2)):
        with net.scope(str(width)):
            x = basic_block(net, x, width, stride)
    net.linear(net.global_avg_pool(x), 10)
    return net.build()


def ds_cnn(dtype: str) -> Workload:
    """MLPerf Tiny, keyword spotting (Zhang et al. 2017): 49 x 10 features, four separable blocks of 64."""
    net = Net("ds_cnn", dtype, fold_norm=True)
    x = net.relu(net.conv(net.image(1, 1, 49, 10), 64, (10, 4), 2, (5, 1), bias=True))
    for _ in range(4):
        x = separable(net, x, 64)
    net.linear(net.global_avg_pool(x), 12)
    return net.build()


def resnet_convs(batch: int) -> list[tuple[tuple[int, int, int], ...]]:
    """(forward, input gradient, weight gradient) products (m, n, k) of every convolution of ResNet-18 after the first."""
    out = []
    for stage, side in enumerate((56, 28, 14, 7)):
        width, m = 64 << stage, batch * side * side
        for block in range(4):
            k = 9 * (width // 2 if stage and block == 0 else width)
            out.append(((m, width, k), (m, k, width), (k, width, m)))
    return out


def lstm_steps(batch: int, hidden: int) -> Workload:
    """One step of an LSTM as a framework runs it op by op: two products, their sum, four gates, five more elementwise kernels."""
    size, gates = batch * hidden, 4 * hidden
    ops = [Op.of("input", "gemm", m=batch, n=gates, k=hidden, params=gates * hidden, dtype="bfloat16", bias=1), Op.of("state", "gemm", m=batch, n=gates, k=hidden, params=gates * hidden, dtype="bfloat16", bias=1),
           Op.of("sum", "elementwise", elements=4 * size, extra_elements=4 * size, dtype="bfloat16"),
           *(Op.of(f"gate{i}", "elementwise", elements=size, cost=10, dtype="bfloat16") for i in range(4)),
           *(Op.of(name, "elementwise", elements=size, extra_elements=size, dtype="bfloat16") for name in ("forget", "write", "cell", "out")),
           Op.of("squash", "elementwise", elements=size, cost=12, dtype="bfloat16")]
    return Workload("lstm_step", tuple(ops), ())


def mixtral_layer(batch: int, context: int) -> Workload:
    """One decode step of one layer of Mixtral 8x7B (Jiang et al. 2024): grouped-query attention, two of eight experts."""
    width, hidden, d = 4096, 14336, "float16"
    ops = [Op.of("norm", "norm", rows=batch, cols=width, dtype=d), Op.of("qkv", "gemm", m=batch, n=6144, k=width, params=6144 * width, dtype=d),
           Op.of("attention", "attention", batch=batch, heads=32, kv_heads=8, q_len=1, kv_len=context, head_dim=128, v_dim=128, dtype=d),
           Op.of("out", "gemm", m=batch, n=width, k=width, params=width * width, dtype=d), Op.of("norm2", "norm", rows=batch, cols=width, dtype=d),
           Op.of("route", "route", tokens=batch, experts=8, top_k=2, dtype=d),
           Op.of("up", "grouped_gemm", groups=8, m=2 * batch, n=2 * hidden, k=width, params=8 * 2 * hidden * width, dtype=d),
           Op.of("act", "elementwise", elements=2 * batch * hidden, extra_elements=2 * batch * hidden, cost=12, dtype=d),
           Op.of("down", "grouped_gemm", groups=8, m=2 * batch, n=width, k=hidden, params=8 * hidden * width, dtype=d)]
    return Workload("mixtral_layer", tuple(ops), ())


def fft_convolution(length: int, channels: int) -> Workload:
    """A long convolution by Monarch's FFT (Fu et al., FlashFFTConv, 2023), the fusion example of SN40L's paper: products with 32 x 32 Fourier matrices, twiddle
    factors and transposes between them, a product with the filter's spectrum, and the way back. Real arithmetic stands for complex (both sides alike)."""
    net = Net("fft_convolution", "bfloat16")
    rows = length * channels // 32
    x = net.input((rows, 32))
    for way in ("forward", "back"):
        with net.scope(way):
            if way == "back":
                x = net.mul(x, net.input((rows, 32)))
            for _ in range(3):
                x = net.linear(x, 32, bias=False)
                x = net.activation(x, "neg")  # one operation an element, as a product with constants that stay on the chip
                x = net.reshape(net.permute(net.reshape(x, (rows // 32, 32, 32)), (0, 2, 1)), (rows, 32))
    return net.build()
