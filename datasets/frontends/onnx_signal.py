"""ONNX operators on signals and states: transforms, windows, linear attention, causal convolution, determinants."""

from __future__ import annotations

from math import ceil, log2, prod

from ..errors import GraphError
from ..ops import ELEMENTWISE_COST as COST
from .onnx_foreign import elementwise
from .onnx_site import Lowered, Site


def _number(s: Site, index: int, what: str) -> int | None:
    """The value of a scalar input, None when it is absent. Raises GraphError when it depends on data."""
    if not s.has(index):
        return None
    data = s.data(index)
    if data is None or data.size != 1:
        name = s.node.proto.input[index]
        raise GraphError(f"{s.node.where}: its {what} depends on data: give --dim {name}=VALUE")
    return int(data.reshape(()))


def _transform(points: int, real: bool) -> float:
    """Operations of one fast Fourier transform: 5 n log2 n real ones, half of that for real input (Cooley and Tukey 1965; the usual convention)."""
    return (2.5 if real else 5.0) * points * log2(max(2, points))


def _dft(s: Site) -> Lowered:
    shape, out = s.shape(0), s.out_size()
    axis = _number(s, 2, "axis")
    axis = (s.attr("axis", 1) if s.flat.opset < 20 else -2) if axis is None else axis
    points = _number(s, 1, "length") or shape[axis]
    count = prod(shape[:-1]) // shape[axis]
    return Lowered("elementwise", {"elements": out, "cost": max(1, ceil(count * _transform(points, shape[-1] == 1) / out)), "extra_elements": max(0, s.size(0) - out)}, slots=())


def _stft(s: Site) -> Lowered:
    shape, out = s.shape(0), s.out_shape()
    points = s.size(2) if s.has(2) else _number(s, 3, "frame length") or 1
    work = out[0] * out[1] * (_transform(points, len(shape) < 3 or shape[-1] == 1) + points * s.has(2))
    return Lowered("elementwise", {"elements": prod(out), "cost": max(1, ceil(work / prod(out)))}, slots=())


def _window(s: Site) -> Lowered:
    terms = 2 if s.node.op == "BlackmanWindow" else 1  # cosines per point, each scaled and added
    return Lowered("elementwise", {"elements": s.out_size(), "cost": terms * (COST["sin"] + 3)}, None, slots=())


def _mel(s: Site) -> Lowered:
    return Lowered("elementwise", {"elements": s.out_size(), "cost": COST["div"] + 2}, None, slots=())  # a slope up or down: (f - a) / (b - a)


def _det(s: Site) -> Lowered:
    n = s.shape(0)[-1]  # LU: 2/3 n^3 for n^2 numbers
    return Lowered("elementwise", {"elements": s.size(0), "cost": max(1, ceil(2 * n / 3))}, slots=())


def _linear_attention(s: Site) -> Lowered:
    heads, kv_heads = s.attr("q_num_heads", 0), s.attr("kv_num_heads", 0)
    q, v = s.shape(0), s.shape(2)
    if heads < 1 or kv_heads < 1:
        raise GraphError(f"{s.node.where}: q_num_heads is {heads}, kv_num_heads {kv_heads}; expected positive numbers")
    return Lowered("scan", {"batch": q[0], "length": q[1], "channels": heads * (v[2] // kv_heads), "state": q[2] // heads, "groups": kv_heads}, slots=())


def _causal_conv(s: Site) -> Lowered | list[Lowered]:
    (batch, channels, length), kernel = s.shape(0), s.shape(1)[2]
    sizes = {"batch": batch, "in_channels": channels, "in_h": 1, "in_w": length + kernel - 1, "out_channels": channels, "out_h": 1, "out_w": length, "kernel_h": 1,
             "kernel_w": kernel, "groups": channels, "bias": int(s.has(2))}
    activation = str(s.attr("activation", "none"))
    first = Lowered("conv", sizes, 0, 1, "conv", None, (1,) if s.writes(1) else (), slots=(1, 2))
    return first if activation == "none" else [first, elementwise(activation, s.size(0))]


SIGNAL = {"DFT": _dft, "STFT": _stft, **dict.fromkeys(("HannWindow", "HammingWindow", "BlackmanWindow"), _window), "MelWeightMatrix": _mel, "Det": _det,
          "LinearAttention": _linear_attention, "CausalConvWithState": _causal_conv}
