"""ONNX operators on images, regions and boxes."""

from __future__ import annotations

from math import prod

from ..errors import GraphError
from .onnx_site import Lowered, Site, fold_depth
from .onnx_sizes import boxes_kept


def _deform(s: Site) -> Lowered:
    x, w, out = s.shape(0), s.shape(1), s.out_shape()
    groups = s.attr("group", 1)
    if x[1] != w[1] * groups:
        raise GraphError(f"{s.node.where}: weights of shape {w} in {groups} groups do not fit an input of shape {x}")
    (in_h, in_w), (out_h, out_w), (kernel_h, kernel_w) = fold_depth(x[2:]), fold_depth(out[2:]), fold_depth(w[2:])
    stride_h, stride_w = fold_depth(s.attr("strides", [1] * (len(x) - 2)))
    return Lowered("deform_conv", {"batch": x[0], "in_channels": x[1], "in_h": in_h, "in_w": in_w, "out_channels": out[1], "out_h": out_h, "out_w": out_w, "kernel_h": kernel_h,
                                   "kernel_w": kernel_w, "stride_h": stride_h, "stride_w": stride_w, "groups": groups, "bias": int(s.has(3)),
                                   "offset_groups": s.attr("offset_group", 1), "mask": int(s.has(4))}, 0, 1, slots=(1, 3))


def _roi_align(s: Site) -> Lowered:
    # sampling_ratio points per bin and axis, each between four pixels; 0 means as many as the region is large: 2 stands in (assumption)
    points = (s.attr("sampling_ratio", 0) or 2) ** 2
    out = s.out_size()
    return Lowered("elementwise", {"elements": out, "cost": 8 * points, "extra_elements": max(0, min(s.size(0), 4 * points * out) - out) + s.size(1)}, slots=())


def _roi_pool(s: Site) -> Lowered:
    # a region is at most the whole map
    (h, w), (rows, cols) = s.shape(0)[2:], s.out_shape()[2:]
    out = s.out_size()
    return Lowered("elementwise", {"elements": out, "cost": -(-h // rows) * -(-w // cols), "extra_elements": max(0, s.size(0) - out) + s.size(1)}, slots=())


def _affine_grid(s: Site) -> Lowered:
    theta, out = s.shape(0), s.out_shape()
    return Lowered("gemm", {"b": theta[0], "m": prod(out[1:-1]), "n": out[-1], "k": theta[2]}, 0, None, slots=())


def _suppression(s: Site) -> Lowered:
    # of every class: each box against each kept one. Four minima and maxima, two differences, two clips, a product, two sums, a division (4), a comparison: 16
    batch, classes, count = s.shape(1)
    return Lowered("elementwise", {"elements": batch * classes * count, "cost": 16 * max(1, boxes_kept(s)), "extra_elements": s.size(0)}, 1, slots=())


def _resize(s: Site) -> Lowered:
    if s.attr("mode", "nearest") == "nearest":
        return Lowered("move", {"elements": s.out_size()}, None)
    resized = sum(a != b for a, b in zip(s.shape(0), s.out_shape(), strict=True))
    taps = (4 if s.attr("mode", "") == "cubic" else 2) ** resized
    return Lowered("elementwise", {"elements": s.out_size(), "cost": 2 * taps})  # one multiply-add per tap


def _grid_sample(s: Site) -> Lowered:
    taps = {"nearest": 1, "cubic": 16, "bicubic": 16}.get(s.attr("mode", "linear"), 2 ** (len(s.shape(0)) - 2))
    return Lowered("elementwise", {"elements": s.out_size(), "cost": 2 * taps, "extra_elements": s.size(1)})


VISION = {"DeformConv": _deform, "RoiAlign": _roi_align, "MaxRoiPool": _roi_pool, "AffineGrid": _affine_grid, "NonMaxSuppression": _suppression,
          **dict.fromkeys(("Resize", "Upsample"), _resize), "GridSample": _grid_sample}
