"""ResNet-50 (v1.5: the stride sits in the 3x3 convolution), layer by layer. Run it: it prints the work and the parameters."""

from silicast.datasets.layers import Net, Value
from silicast.datasets.workload import Workload

STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))   # blocks, width of the 3x3 convolution


def bottleneck(net: Net, x: Value, width: int, stride: int) -> Value:
    """1x1, 3x3, 1x1 around a shortcut."""
    y = net.conv_norm(x, width, kernel=1)
    y = net.conv_norm(y, width, kernel=3, stride=stride)
    y = net.conv_norm(y, 4 * width, kernel=1, act="")
    if x.shape != y.shape:
        x = net.conv_norm(x, 4 * width, kernel=1, stride=stride, act="", name="shortcut")
    return net.relu(net.add(x, y))


def resnet50(batch: int = 1, dtype: str = "float16") -> Workload:
    """The network on `batch` images of 224 x 224."""
    net = Net("resnet50", dtype=dtype, family="cnn_residual")
    x = net.image(batch, 3, 224, 224)
    with net.scope("stem"):
        x = net.conv_norm(x, 64, kernel=7, stride=2)
        x = net.max_pool(x, kernel=3, stride=2, padding=1)
    for stage, (blocks, width) in enumerate(STAGES):
        for block in range(blocks):
            with net.scope(f"stage{stage + 1}/block{block}"):
                x = bottleneck(net, x, width, stride=2 if stage and not block else 1)
    net.linear(net.global_avg_pool(x), 1000, name="classifier")
    return net.build()


if __name__ == "__main__":
    workload = resnet50()
    print(f"{workload.name}: {len(workload.ops)} ops, {workload.macs:,.0f} multiply-adds, {workload.flops / 1e9:.2f} Gflop, {workload.params:,} parameters")
