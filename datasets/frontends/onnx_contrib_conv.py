"""ONNX Runtime's convolutions and pools: with activation, channels last, or quantised."""

from __future__ import annotations

from math import prod

from ..errors import GraphError
from ..ops import ELEMENTWISE_COST as COST
from .onnx_foreign import Foreign, Outputs
from .onnx_site import Lowered, Site, fold_depth


def slid(size: int, kernel: int, stride: int, dilation: int, before: int, after: int, auto: str, ceil: int = 0) -> int:
    """Output positions of a window along one axis (ONNX Conv and pools)."""
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        return -(-size // stride)
    if auto == "VALID":
        before = after = 0
    free = size + before + after - dilation * (kernel - 1) - 1
    return (-(-free // stride) if ceil else free // stride) + 1


def _spatial(s: Site, image: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, ...]:
    """The spatial sizes of the output."""
    rank = len(kernel)
    strides, dilations, pads = s.attr("strides", [1] * rank), s.attr("dilations", [1] * rank), s.attr("pads", [0] * 2 * rank)
    return tuple(slid(image[a], kernel[a], strides[a], dilations[a], pads[a], pads[rank + a], s.attr("auto_pad", "NOTSET"), s.attr("ceil_mode", 0)) for a in range(rank))


def _last(s: Site) -> bool:
    return s.node.op.startswith("Nhwc") or bool(s.attr("channels_last", 0))


def _image(s: Site) -> tuple[int, int, tuple[int, ...]]:
    """(batch, channels, spatial sizes) of the first input."""
    x = s.shape(0)
    return (x[0], x[-1], x[1:-1]) if _last(s) else (x[0], x[1], x[2:])


def _joined(s: Site, batch: int, channels: int, spatial: tuple[int, ...]) -> tuple[int, ...]:
    return (batch, *spatial, channels) if _last(s) else (batch, channels, *spatial)


def _weight(s: Site) -> tuple[tuple[int, ...], int]:
    at = 3 if s.node.op == "QLinearConv" else 1
    return s.shape(at), at


def _conv_shapes(s: Site) -> Outputs:
    (batch, _, image), (weight, _) = _image(s), _weight(s)
    return [(_joined(s, batch, weight[0], _spatial(s, image, weight[2:])), s.elem(7) if s.node.op == "QLinearConv" else s.elem(0))]


def _conv(s: Site) -> Lowered | list[Lowered]:
    """A convolution, then the sum with a fourth input and the activation that the runtime fused in."""
    (batch, channels, image), (weight, at) = _image(s), _weight(s)
    groups, out = s.attr("group", 1), _spatial(s, image, weight[2:])
    if channels != weight[1] * groups:
        raise GraphError(f"{s.node.where}: weights of shape {weight} in {groups} groups do not fit an input of shape {s.shape(0)}")
    (in_h, in_w), (out_h, out_w), (kernel_h, kernel_w) = fold_depth(image), fold_depth(out), fold_depth(weight[2:])
    stride_h, stride_w = fold_depth(s.attr("strides", [1] * len(out)))
    bias = 8 if s.node.op == "QLinearConv" else 2
    first = Lowered("conv", {"batch": batch, "in_channels": channels, "in_h": in_h, "in_w": in_w, "out_channels": weight[0], "out_h": out_h, "out_w": out_w, "kernel_h": kernel_h,
                             "kernel_w": kernel_w, "stride_h": stride_h, "stride_w": stride_w, "groups": groups, "bias": int(s.has(bias))}, 0, at, slots=(at, bias))
    added, activation = s.node.op != "QLinearConv" and s.has(3), str(s.attr("activation", "")).lower()
    if not added and not activation:
        return first
    cost = added + (COST.get(activation, COST["other"]) if activation else 0)
    return [Lowered("conv", first.sizes, 0, at, "conv", (0, 1, 2), slots=(1, 2)),
            Lowered("elementwise", {"elements": s.out_size(), "cost": cost, "extra_elements": s.size(3) if added else 0}, None, None, activation or "sum", (3,), slots=())]


def _pool_shapes(s: Site) -> Outputs:
    batch, channels, image = _image(s)
    whole = "Global" in s.node.op
    spatial = (1,) * len(image) if whole else _spatial(s, image, tuple(s.attr("kernel_shape", [1] * len(image))))
    elem = s.elem(4) if s.node.op.startswith("QLinear") and s.has(4) else s.elem(0)
    return [(_joined(s, batch, channels, spatial), elem)]


def _pool(s: Site) -> Lowered:
    batch, channels, image = _image(s)
    kernel = list(image) if "Global" in s.node.op else list(s.attr("kernel_shape", [1] * len(image)))
    out = prod(s.out_shape()) // (batch * channels)
    (in_h, in_w), (kernel_h, kernel_w) = fold_depth(image), fold_depth(kernel)
    stride_h, stride_w = fold_depth(s.attr("strides", [1] * len(kernel)))
    return Lowered("pool", {"batch": batch, "channels": channels, "in_h": in_h, "in_w": in_w, "out_h": 1, "out_w": out, "kernel_h": kernel_h,
                            "kernel_w": kernel_w, "stride_h": stride_h, "stride_w": stride_w}, slots=())


CONVOLUTIONS: dict[str, Foreign] = {
    **dict.fromkeys(("FusedConv", "NhwcConv", "NhwcFusedConv"), Foreign(_conv_shapes, _conv, "conv, then the fused sum and activation")),
    "QLinearConv": Foreign(_conv_shapes, _conv, "conv in the stored integers"),
    **dict.fromkeys(("NhwcMaxPool", "QLinearAveragePool", "QLinearGlobalAveragePool"), Foreign(_pool_shapes, _pool, "pool")),
}
