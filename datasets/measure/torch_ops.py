"""Single operators run by torch, on the CPU or a CUDA device, with buffers that rotate so that no call finds its operands in the cache.

On CUDA a sample is timed between two events on the stream, after the device has caught up; a call shorter than its launch from Python takes what the launch takes.
The code is short because it could not be run where it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from ..errors import InputError, UnsupportedOpError
from .machine import UNKNOWN_CACHE_BYTES, last_level_cache_bytes
from .timing import Call, Clock, wall_clock

#: operand sets at most; more would cost more to make than they tell
MOST_SETS = 4096


@dataclass(frozen=True)
class Runnable:
    """A call to be timed, and its clock. `cold`: whether the sets of operands it goes through are together larger than the cache."""

    call: Call
    clock: Clock
    cold: bool


def torch_device(name: str) -> Any:
    """The torch device "cpu" or "cuda". Raises InputError where torch or the device is missing."""
    try:
        import torch
    except ImportError:
        raise InputError("measuring single operators needs torch; run: pip install 'silicast[gnn]'") from None
    if name not in ("cpu", "cuda"):
        raise InputError(f"--device {name}: expected cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no CUDA device here; measure with --device cpu, or where there is one")
    return torch.device(name)


def hardware_name(device: str) -> str:
    """What the device calls itself."""
    from .machine import cpu_model

    if device == "cpu":
        return cpu_model()
    import torch

    return str(torch.cuda.get_device_name(0))


def gpu_uuid() -> str:
    """The UUID of the GPU that torch computes on, "" where it does not tell."""
    import torch

    return str(getattr(torch.cuda.get_device_properties(0), "uuid", "") or "")


def cache_bytes(device: str) -> int:
    """Bytes of the last-level cache; an assumed size where nobody tells."""
    if device == "cuda":
        import torch

        return int(getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 0) or UNKNOWN_CACHE_BYTES)
    return last_level_cache_bytes() or UNKNOWN_CACHE_BYTES


def cuda_clock(call: Call, first: int, count: int) -> float:
    """Seconds between two events around `count` calls on the current stream."""
    import torch

    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    for i in range(first, first + count):
        call(i)
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def exact(device: str) -> None:
    """Single precision is single precision: by default torch runs convolutions of it on a GPU in TF32."""
    import torch

    if device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def clock_of(device: str) -> Clock:
    """The clock of a device."""
    return cuda_clock if device == "cuda" else wall_clock


def set_threads(threads: int) -> None:
    """Threads torch computes with."""
    import torch

    torch.set_num_threads(threads)


def _gemm(d: Mapping[str, int]) -> tuple[list[tuple[int, ...]], Callable[..., Any]]:
    import torch

    if d.get("b", 1) > 1:
        return [(d["b"], d["m"], d["k"]), (d["b"], d["k"], d["n"])], torch.bmm
    return [(d["m"], d["k"]), (d["n"], d["k"])], torch.nn.functional.linear


def _conv(d: Mapping[str, int]) -> tuple[list[tuple[int, ...]], Callable[..., Any]]:
    import torch

    groups = d.get("groups", 1)
    stride = (d.get("stride_h", 1), d.get("stride_w", 1))
    padding = tuple(max(0, -(-((out - 1) * s + k - size) // 2)) for out, s, k, size in
                    ((d["out_h"], stride[0], d["kernel_h"], d["in_h"]), (d["out_w"], stride[1], d["kernel_w"], d["in_w"])))
    return ([(d["batch"], d["in_channels"], d["in_h"], d["in_w"]), (d["out_channels"], d["in_channels"] // groups, d["kernel_h"], d["kernel_w"])],
            lambda x, w: torch.nn.functional.conv2d(x, w, None, stride, padding, 1, groups))


def _attention(d: Mapping[str, int]) -> tuple[list[tuple[int, ...]], Callable[..., Any]]:
    import torch

    causal, grouped = bool(d.get("causal", 0)), d["heads"] != d["kv_heads"]
    if causal and d["q_len"] != d["kv_len"]:
        raise UnsupportedOpError(f"measuring causal attention of {d['q_len']} queries over {d['kv_len']} keys: torch aligns its mask otherwise; expected as many of both")
    return ([(d["batch"], d["heads"], d["q_len"], d["head_dim"]), (d["batch"], d["kv_heads"], d["kv_len"], d["head_dim"]), (d["batch"], d["kv_heads"], d["kv_len"], d["v_dim"])],
            lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=grouped))


def _norm(d: Mapping[str, int]) -> tuple[list[tuple[int, ...]], Callable[..., Any]]:
    import torch

    return [(d["rows"], d["cols"]), (d["cols"],), (d["cols"],)], lambda x, w, b: torch.nn.functional.layer_norm(x, (d["cols"],), w, b)


def _softmax(d: Mapping[str, int]) -> tuple[list[tuple[int, ...]], Callable[..., Any]]:
    import torch

    return [(d["rows"], d["cols"])], lambda x: torch.softmax(x, -1)


def _elementwise(d: Mapping[str, int]) -> tuple[list[tuple[int, ...]], Callable[..., Any]]:
    import torch

    two = d.get("extra_elements", 0) > 0
    return ([(d["elements"],)] * 2, torch.add) if two else ([(d["elements"],)], torch.relu)


#: kind -> shapes of the operands and the function of them
OPS: dict[str, Callable[[Mapping[str, int]], tuple[list[tuple[int, ...]], Callable[..., Any]]]] = {
    "gemm": _gemm, "conv": _conv, "attention": _attention, "norm": _norm, "softmax": _softmax, "elementwise": _elementwise}


def runnable(kind: str, sizes: Mapping[str, int], dtype: str, device: str) -> Runnable:
    """An operator of that kind and size, ready to be timed. Raises UnsupportedOpError for a kind that is not in `OPS`.

    The operands of one call lie one after the other in a slab of memory twice the last-level cache or more; each call takes the next set.
    """
    import torch

    if kind not in OPS:
        raise UnsupportedOpError(f"cannot measure a single {kind!r}; expected one of {', '.join(OPS)}")
    shapes, function = OPS[kind](sizes)
    each = [prod(shape) for shape in shapes]
    kind_of = getattr(torch, dtype)
    cache = cache_bytes(device)
    exact(device)
    item = torch.empty(0, dtype=kind_of).element_size()
    aligned = [-(-n * item // 64) * 64 // item for n in each]  # every operand begins on a cache line
    stride = sum(aligned)
    sets = max(1, min(MOST_SETS, -(-2 * cache // (stride * item))))
    size = sets * stride
    block = torch.empty(min(size, 1 << 20), device=device).uniform_(-1.0, 1.0).to(kind_of)
    slab = block.repeat(-(-size // len(block)))  # drawing every number would take longer than the measurement
    operands = []
    for i in range(sets):
        at, one = i * stride, []
        for n, room, shape in zip(each, aligned, shapes, strict=True):
            one.append(slab[at:at + n].view(shape))
            at += room
        operands.append(tuple(one))

    def call(i: int) -> Any:
        with torch.inference_mode():
            return function(*operands[i % sets])

    return Runnable(call, clock_of(device), sets * stride * item > cache)
