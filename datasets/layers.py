"""A network written down as it reads: `Net` adds one layer per line and counts its parameters exactly.

    net = Net("tiny", dtype="float16")
    x = net.image(1, 3, 224, 224)
    with net.scope("stem"):
        x = net.relu(net.batch_norm(net.conv(x, 64, kernel=7, stride=2)))
        x = net.max_pool(x, kernel=3, stride=2, padding=1)
    x = net.linear(net.global_avg_pool(x), 1000)
    workload = net.build()

Images are (n, c, h, w), sequences (n, t, d); a 1-D convolution works on (n, c, 1, t) with `kernel=(1, 3)`. Windows slide by the floor
rule of the ONNX operators Conv and MaxPool (`ceil_mode = 0`). What only renames elements (reshape, split, narrow) is free and adds no op;
what copies them (concat, permute, upsample) is a `move`. Layers go by their usual names; their cost is in `ops.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache

from .dtypes import dtype_name
from .errors import GraphError, UnknownNameError
from .ops import ELEMENTWISE_COST, Op
from .workload import Workload, WorkloadBuilder

Size = int | tuple[int, int]
#: recurrent cell -> gates
CELLS = {"rnn": 1, "gru": 3, "lstm": 4}


@dataclass(frozen=True, slots=True)
class Value:
    """What flows between layers: a shape and the id of the tensor that holds it (a view shares its tensor)."""

    shape: tuple[int, ...]
    tensor: int
    net: Net = field(repr=False, compare=False)

    @property
    def elements(self) -> int:
        """Elements of this value (of the view, where it is one)."""
        return math.prod(self.shape)


def _pair(size: Size) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)


@lru_cache(maxsize=65536)
def _valid(kind: str, sizes: tuple[int, ...], dtype: str, weight_dtype: str, params: int) -> Op:
    """An op that was checked: networks repeat their layers, and the checks cost more than the rest of building one."""
    return Op("", kind, sizes, dtype, weight_dtype, "", params)


def _named(op: Op, name: str) -> Op:
    """A copy of a valid op under another name, not checked again."""
    copy = object.__new__(Op)
    for field_name in Op.__slots__:
        object.__setattr__(copy, field_name, getattr(op, field_name))
    object.__setattr__(copy, "name", name)
    return copy


class Net:
    """Builds a `Workload` layer by layer.

    `dtype` is what activations are stored and computed in, `weight_dtype` (default: the same) how weights are stored. With `fold_norm`
    the composite `conv_norm` is a convolution with bias, as an exporter for inference leaves it, instead of convolution and batch norm.
    Every layer takes an optional `name`; without one it is the kind and a number. Names live inside the current `scope` and are unique.
    Every layer raises GraphError, naming itself, for shapes that do not fit.
    """

    def __init__(self, name: str, dtype: str = "float16", weight_dtype: str = "", family: str = "", fold_norm: bool = False) -> None:
        self.name, self.fold_norm = name, fold_norm
        self.dtype = dtype_name(dtype)
        self.weight_dtype = dtype_name(weight_dtype or dtype)
        self.params = 0
        self.op_count = 0
        self._builder = WorkloadBuilder(name, family)
        self._prefix = ""
        self._numbers: dict[str, int] = {}
        self._names: set[str] = set()

    def build(self, *notes: str) -> Workload:
        """The immutable workload; raises GraphError when no layer was added."""
        self._builder.notes.extend(notes)
        return self._builder.build()

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Layers inside are named `name/...`; scopes nest."""
        outer, self._prefix = self._prefix, f"{self._prefix}{name}/"
        try:
            yield
        finally:
            self._prefix = outer

    # -- inputs ---------------------------------------------------------------------------------------------------------------------

    def input(self, shape: Sequence[int], name: str = "", dtype: str = "") -> Value:
        """A graph input of that shape."""
        return self._input(shape, self._label(name, "input"), dtype_name(dtype or self.dtype))

    def _input(self, shape: Sequence[int], label: str, dtype: str) -> Value:
        if not shape or min(shape) < 1:
            raise self._fault(label, f"expected a shape of positive sizes, got {tuple(shape)}")
        return Value(tuple(shape), self._builder.input(label, math.prod(shape), dtype), self)

    def image(self, batch: int, channels: int, height: int, width: int, name: str = "") -> Value:
        """An image input (n, c, h, w)."""
        return self._input((batch, channels, height, width), self._label(name, "image"), self.dtype)

    def tokens(self, batch: int, length: int, name: str = "") -> Value:
        """Token ids (n, t), int32."""
        return self._input((batch, length), self._label(name, "tokens"), "int32")

    # -- matrix layers --------------------------------------------------------------------------------------------------------------

    def conv(self, x: Value, channels: int, kernel: Size = 3, stride: Size = 1, padding: Size | None = None, groups: int = 1,
             dilation: Size = 1, bias: bool = False, name: str = "") -> Value:
        """Convolution (n, c, h, w) -> (n, channels, h', w'); without `padding` an odd kernel at stride 1 keeps h and w."""
        label = self._label(name, "conv")
        n, c, h, w = self._image(label, x)
        (kh, kw), (sh, sw), (dh, dw) = _pair(kernel), _pair(stride), _pair(dilation)
        ph, pw = (dh * (kh - 1) // 2, dw * (kw - 1) // 2) if padding is None else _pair(padding)
        if groups < 1 or c % groups or channels % groups:
            raise self._fault(label, f"channels {c} -> {channels} are not divisible into {groups} groups")
        oh, ow = self._slide(label, h, kh, sh, ph, dh), self._slide(label, w, kw, sw, pw, dw)
        params = channels * (c // groups) * kh * kw + bias * channels
        return self._add(label, "conv", (n, c, h, w, channels, oh, ow, kh, kw, sh, sw, groups, int(bias)), (x,), (n, channels, oh, ow), params)

    def conv_transpose(self, x: Value, channels: int, kernel: int = 2, bias: bool = True, name: str = "") -> Value:
        """Transposed convolution with stride = kernel: every pixel becomes kernel x kernel pixels, counted as the 1x1 convolution it equals."""
        label = self._label(name, "conv_transpose")
        n, c, h, w = self._image(label, x)
        wide = channels * kernel * kernel
        return self._add(label, "conv", (n, c, h, w, wide, h, w, 1, 1, 1, 1, 1, int(bias)), (x,), (n, channels, h * kernel, w * kernel),
                         c * wide + bias * channels)

    def linear(self, x: Value, features: int, bias: bool = True, name: str = "", shared: bool = False) -> Value:
        """Dense layer over the last axis: (..., d) -> (..., features). `shared`: its parameters are another layer's and counted there."""
        label = self._label(name, "linear")
        *lead, d = x.shape
        return self._add(label, "gemm", (math.prod(lead), features, d, 1, int(bias)), (x,), (*lead, features), 0 if shared else d * features + bias * features)

    def matmul(self, a: Value, b: Value, name: str = "") -> Value:
        """Product of two activations (..., m, k) x (..., k, n); no parameters."""
        label = self._label(name, "matmul")
        if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
            raise self._fault(label, f"expected (..., m, k) and (..., k, n) with equal leading axes, got {a.shape} and {b.shape}")
        *lead, m, k = a.shape
        return self._add(label, "gemm", (m, b.shape[-1], k, math.prod(lead), 0), (a, b), (*lead, m, b.shape[-1]))

    def attention(self, q: Value, k: Value, v: Value, heads: int, kv_heads: int = 0, causal: bool = False, kv_len: int = 0, name: str = "") -> Value:
        """softmax(Q K^T) V of (n, t, d) values: (n, q_len, heads * v_dim).

        `kv_heads` (default heads) below `heads` is grouped-query attention. A `kv_len` above k's own length reads the rest from a cache,
        which becomes a graph input.
        """
        label = self._label(name, "attention")
        kv_heads = kv_heads or heads
        if not len(q.shape) == len(k.shape) == len(v.shape) == 3 or q.shape[0] != k.shape[0] or k.shape[:2] != v.shape[:2]:
            raise self._fault(label, f"expected q (n, t, d) and k, v (n, s, d'), got {q.shape}, {k.shape}, {v.shape}")
        n, q_len, width = q.shape
        if min(heads, kv_heads) < 1 or heads % kv_heads or width % heads or k.shape[2] % kv_heads or v.shape[2] % kv_heads or width // heads != k.shape[2] // kv_heads:
            raise self._fault(label, f"{heads} heads and {kv_heads} key heads do not divide widths q {width}, k {k.shape[2]}, v {v.shape[2]} into equal heads")
        head_dim, v_dim, own = width // heads, v.shape[2] // kv_heads, k.shape[1]
        kv_len = kv_len or own
        if kv_len < own or (causal and kv_len < q_len):
            raise self._fault(label, f"kv_len {kv_len} is shorter than the {own} keys given or, being causal, the {q_len} queries")
        read = [q, k, v]
        if kv_len > own:
            read.append(self.input((n, kv_len - own, kv_heads, head_dim + v_dim), f"{label[len(self._prefix):]}/kv_cache"))
        return self._add(label, "attention", (n, heads, kv_heads, q_len, kv_len, head_dim, v_dim, int(causal), 0, 0), read, (n, q_len, heads * v_dim))

    def recurrent(self, x: Value, hidden: int, cell: str = "lstm", bidirectional: bool = False, name: str = "") -> Value:
        """An RNN, GRU or LSTM over (n, t, d), two bias vectors per gate as in PyTorch: (n, t, hidden), twice that when bidirectional."""
        label = self._label(name, cell)
        if cell not in CELLS:
            raise UnknownNameError("recurrent cell", cell, CELLS)
        if len(x.shape) != 3:
            raise self._fault(label, f"expected (n, t, d), got {x.shape}")
        n, t, d = x.shape
        gates, ways = CELLS[cell], 1 + bidirectional
        return self._add(label, "recurrent", (t, n, d, hidden, gates, ways), (x,), (n, t, ways * hidden), ways * gates * hidden * (d + hidden + 2))

    def expert_linear(self, x: Value, experts: int, features: int, bias: bool = False, name: str = "") -> Value:
        """A dense layer for each of `experts`, rows (m, d) in order of their expert and evenly many to each: (m, features)."""
        label = self._label(name, "experts")
        if len(x.shape) != 2 or experts < 1:
            raise self._fault(label, f"expected rows (m, d) and at least one expert, got {x.shape} and {experts}")
        m, d = x.shape
        return self._add(label, "grouped_gemm", (experts, m, features, d, int(bias)), (x,), (m, features), experts * (d + bias) * features)

    def route(self, scores: Value, top_k: int, name: str = "") -> Value:
        """The best `top_k` of (..., experts) scores and their softmax weights: (..., top_k, 2)."""
        label = self._label(name, "route")
        *lead, experts = scores.shape
        if not 1 <= top_k <= experts:
            raise self._fault(label, f"expected 1 to {experts} experts to a token, got {top_k}")
        return self._add(label, "route", (math.prod(lead), experts, top_k), (scores,), (*lead, top_k, 2))

    def embedding(self, ids: Value, rows: int, width: int, name: str = "", shared: bool = False) -> Value:
        """Looks up (n, t) ids in a table of `rows` vectors: (n, t, width). `shared`: the table is another layer's and counted there."""
        return self._add(self._label(name, "embedding"), "gather", (ids.elements, width, rows), (ids,), (*ids.shape, width), 0 if shared else rows * width)

    # -- elementwise ----------------------------------------------------------------------------------------------------------------

    def activation(self, x: Value, kind: str, name: str = "") -> Value:
        """An elementwise function named in `ELEMENTWISE_COST`. Raises UnknownNameError for another."""
        if kind not in ELEMENTWISE_COST:
            raise UnknownNameError("elementwise function", kind, ELEMENTWISE_COST, f"in net {self.name!r}")
        return self._add(self._label(name, kind), "elementwise", (x.elements, ELEMENTWISE_COST[kind], 0), (x,), x.shape)

    def relu(self, x: Value, name: str = "") -> Value:
        """max(x, 0)."""
        return self.activation(x, "relu", name)

    def binary(self, x: Value, y: Value, kind: str, name: str = "") -> Value:
        """An elementwise function of two values; one of them may broadcast to the other's shape (NumPy's rule)."""
        if kind not in ELEMENTWISE_COST:
            raise UnknownNameError("elementwise function", kind, ELEMENTWISE_COST, f"in net {self.name!r}")
        label = self._label(name, kind)
        large, small = (x, y) if x.elements >= y.elements else (y, x)
        tail = large.shape[len(large.shape) - len(small.shape):]
        if len(small.shape) > len(large.shape) or any(s not in (1, t) for s, t in zip(small.shape, tail, strict=True)):
            raise self._fault(label, f"shapes {x.shape} and {y.shape} do not broadcast one to the other")
        return self._add(label, "elementwise", (large.elements, ELEMENTWISE_COST[kind], small.elements), (x, y), large.shape)

    def add(self, x: Value, y: Value, name: str = "") -> Value:
        """x + y."""
        return self.binary(x, y, "add", name)

    def mul(self, x: Value, y: Value, name: str = "") -> Value:
        """x * y."""
        return self.binary(x, y, "mul", name)

    def position_embedding(self, x: Value, rows: int = 0, name: str = "") -> Value:
        """Adds a learned vector per position of (n, t, d), from a table of `rows` (default t)."""
        label = self._label(name, "positions")
        if len(x.shape) != 3 or 0 < rows < x.shape[1]:
            raise self._fault(label, f"expected (n, t, d) with t within the {rows} positions, got {x.shape}")
        t, d = x.shape[1:]
        return self._add(label, "elementwise", (x.elements, ELEMENTWISE_COST["add"], t * d), (x,), x.shape, (rows or t) * d)

    def rope(self, x: Value, head_dim: int, name: str = "") -> Value:
        """Rotary positions on (n, t, d): two products and a sum per element against tables of t x head_dim sines and cosines."""
        label = self._label(name, "rope")
        if len(x.shape) != 3 or x.shape[2] % head_dim:
            raise self._fault(label, f"expected (n, t, d) with d a multiple of head_dim {head_dim}, got {x.shape}")
        cost = 2 * ELEMENTWISE_COST["mul"] + ELEMENTWISE_COST["add"]
        return self._add(label, "elementwise", (x.elements, cost, 2 * x.shape[1] * head_dim), (x,), x.shape)

    # -- normalisation, reductions and pools ----------------------------------------------------------------------------------------

    def batch_norm(self, x: Value, name: str = "") -> Value:
        """Batch norm at inference: a multiply and an add per element, 2 c parameters (running statistics are folded into them)."""
        label = self._label(name, "bn")
        if len(x.shape) < 2:
            raise self._fault(label, f"expected (n, c, ...), got {x.shape}")
        return self._add(label, "elementwise", (x.elements, 2, 2 * x.shape[1]), (x,), x.shape, 2 * x.shape[1])

    def layer_norm(self, x: Value, name: str = "") -> Value:
        """Layer norm over the last axis, scale and shift: 2 d parameters."""
        return self._add(self._label(name, "ln"), "norm", (math.prod(x.shape[:-1]), x.shape[-1]), (x,), x.shape, 2 * x.shape[-1])

    def rms_norm(self, x: Value, name: str = "") -> Value:
        """RMS norm over the last axis, scale only: d parameters."""
        return self._add(self._label(name, "rms"), "norm", (math.prod(x.shape[:-1]), x.shape[-1]), (x,), x.shape, x.shape[-1])

    def group_norm(self, x: Value, groups: int, name: str = "") -> Value:
        """Group norm of (n, c, ...) over `groups` groups of channels: 2 c parameters."""
        label = self._label(name, "gn")
        if len(x.shape) < 2 or groups < 1 or x.shape[1] % groups:
            raise self._fault(label, f"the channels of {x.shape} are not divisible into {groups} groups")
        rows = x.shape[0] * groups
        return self._add(label, "norm", (rows, x.elements // rows), (x,), x.shape, 2 * x.shape[1])

    def softmax(self, x: Value, name: str = "") -> Value:
        """Softmax over the last axis."""
        return self._add(self._label(name, "softmax"), "softmax", (math.prod(x.shape[:-1]), x.shape[-1]), (x,), x.shape)

    def mean(self, x: Value, axis: int, name: str = "") -> Value:
        """Mean over one axis, which goes away."""
        label = self._label(name, "mean")
        if not 0 < len(x.shape) > axis >= 0:
            raise self._fault(label, f"no axis {axis} in {x.shape}")
        shape = x.shape[:axis] + x.shape[axis + 1:]
        return self._add(label, "reduce", (math.prod(shape), x.shape[axis]), (x,), shape)

    def global_avg_pool(self, x: Value, name: str = "") -> Value:
        """Mean over h and w: (n, c, h, w) -> (n, c)."""
        label = self._label(name, "gap")
        n, c, h, w = self._image(label, x)
        return self._add(label, "reduce", (n * c, h * w), (x,), (n, c))

    def max_pool(self, x: Value, kernel: Size = 2, stride: Size | None = None, padding: Size = 0, name: str = "") -> Value:
        """Max pooling, stride = kernel unless given."""
        return self._pool(x, kernel, stride, padding, self._label(name, "max_pool"))

    def avg_pool(self, x: Value, kernel: Size = 2, stride: Size | None = None, padding: Size = 0, name: str = "") -> Value:
        """Average pooling, stride = kernel unless given."""
        return self._pool(x, kernel, stride, padding, self._label(name, "avg_pool"))

    def _pool(self, x: Value, kernel: Size, stride: Size | None, padding: Size, label: str) -> Value:
        n, c, h, w = self._image(label, x)
        (kh, kw), (ph, pw) = _pair(kernel), _pair(padding)
        sh, sw = (kh, kw) if stride is None else _pair(stride)
        oh, ow = self._slide(label, h, kh, sh, ph, 1), self._slide(label, w, kw, sw, pw, 1)
        return self._add(label, "pool", (n, c, h, w, oh, ow, kh, kw, sh, sw), (x,), (n, c, oh, ow))

    # -- moving and renaming --------------------------------------------------------------------------------------------------------

    def concat(self, values: Sequence[Value], axis: int = 1, name: str = "") -> Value:
        """Joins values along an axis: a copy."""
        label = self._label(name, "concat")
        shapes = {v.shape[:axis] + v.shape[axis + 1:] for v in values}
        if len(shapes) != 1 or not 0 <= axis < len(values[0].shape):
            raise self._fault(label, f"expected equal shapes but for axis {axis}, got {', '.join(str(v.shape) for v in values)}")
        first = values[0].shape
        shape = (*first[:axis], sum(v.shape[axis] for v in values), *first[axis + 1:])
        return self._add(label, "move", (math.prod(shape),), values, shape)

    def upsample(self, x: Value, scale: int = 2, name: str = "") -> Value:
        """Nearest-neighbour enlargement of (n, c, h, w): a copy of the output's size."""
        label = self._label(name, "upsample")
        n, c, h, w = self._image(label, x)
        return self._add(label, "move", (n * c * h * w * scale * scale,), (x,), (n, c, h * scale, w * scale))

    def permute(self, x: Value, order: Sequence[int], name: str = "") -> Value:
        """Transposes the axes and stores the result: a copy. (A transpose that the reader absorbs is `reshape`.)"""
        label = self._label(name, "permute")
        if sorted(order) != list(range(len(x.shape))):
            raise self._fault(label, f"expected an order of the {len(x.shape)} axes of {x.shape}, got {tuple(order)}")
        return self._add(label, "move", (x.elements,), (x,), tuple(x.shape[i] for i in order))

    def channel_shuffle(self, x: Value, name: str = "") -> Value:
        """Interleaves the channels of groups: a copy."""
        return self._add(self._label(name, "shuffle"), "move", (x.elements,), (x,), x.shape)

    def class_token(self, x: Value, name: str = "") -> Value:
        """Puts a learned vector before the sequence (n, t, d): a copy, d parameters."""
        label = self._label(name, "class_token")
        n, t, d = x.shape
        return self._add(label, "move", (n * (t + 1) * d,), (x,), (n, t + 1, d), d)

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """The same elements under another shape: free, no op."""
        if math.prod(shape) != x.elements:
            raise self._fault("reshape", f"{x.shape} has {x.elements} elements, {tuple(shape)} has {math.prod(shape)}")
        return Value(tuple(shape), x.tensor, self)

    def flatten(self, x: Value) -> Value:
        """(n, ...) -> (n, everything else): free."""
        return self.reshape(x, (x.shape[0], x.elements // x.shape[0]))

    def split(self, x: Value, sizes: Sequence[int], axis: int = -1) -> tuple[Value, ...]:
        """Views of consecutive parts along an axis: free. The parts must add up."""
        axis %= len(x.shape)
        if sum(sizes) != x.shape[axis] or min(sizes) < 1:
            raise self._fault("split", f"sizes {tuple(sizes)} do not add up to axis {axis} of {x.shape}")
        return tuple(Value((*x.shape[:axis], size, *x.shape[axis + 1:]), x.tensor, self) for size in sizes)

    def narrow(self, x: Value, size: int, axis: int = 1) -> Value:
        """A view of `size` positions of an axis: free."""
        return x if size == x.shape[axis] else self.split(x, (size, x.shape[axis] - size), axis)[0]

    # -- composites -----------------------------------------------------------------------------------------------------------------

    def conv_norm(self, x: Value, channels: int, kernel: Size = 3, stride: Size = 1, groups: int = 1, act: str = "relu",
                  padding: Size | None = None, name: str = "") -> Value:
        """Convolution, batch norm (folded into a bias under `fold_norm`) and activation (`act=""`: none)."""
        x = self.conv(x, channels, kernel, stride, padding, groups, bias=self.fold_norm, name=name)
        if not self.fold_norm:
            x = self.batch_norm(x)
        return self.activation(x, act) if act else x

    def se_block(self, x: Value, squeeze: int, act: str = "relu", gate: str = "sigmoid") -> Value:
        """Squeeze-and-excitation: (n, c, h, w) scaled per channel by a two-layer gate on its mean."""
        n, c = x.shape[:2]
        s = self.activation(self.linear(self.global_avg_pool(x), squeeze), act)
        s = self.activation(self.linear(s, c), gate)
        return self.mul(x, self.reshape(s, (n, c, 1, 1)))

    def patch_embed(self, x: Value, patch: int, width: int, name: str = "") -> Value:
        """An image cut into patch x patch squares, each projected: (n, c, h, w) -> (n, t, width)."""
        x = self.conv(x, width, patch, patch, padding=0, bias=True, name=name)
        return self.to_sequence(x)

    def to_sequence(self, x: Value) -> Value:
        """(n, c, h, w) -> (n, h * w, c), the transpose left to the reader: free."""
        n, c, h, w = self._image("to_sequence", x)
        return Value((n, h * w, c), x.tensor, self)

    # -- bookkeeping ----------------------------------------------------------------------------------------------------------------

    def _label(self, name: str, kind: str) -> str:
        if name:
            label = self._prefix + name
        else:
            stem = self._prefix + kind
            number = self._numbers.get(stem, 0)
            while (label := f"{stem}{number}") in self._names:
                number += 1
            self._numbers[stem] = number + 1
        if label in self._names:
            raise self._fault(label, "this name is taken; give another or open a scope")
        self._names.add(label)
        return label

    def _fault(self, label: str, message: str) -> GraphError:
        return GraphError(f"net {self.name!r}, layer {label!r}: {message}")

    def _image(self, label: str, x: Value) -> tuple[int, int, int, int]:
        if len(x.shape) != 4:
            raise self._fault(label, f"expected an image (n, c, h, w), got {x.shape}")
        n, c, h, w = x.shape
        return n, c, h, w

    def _slide(self, label: str, size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
        if min(kernel, stride, dilation) < 1 or padding < 0:
            raise self._fault(label, f"kernel {kernel}, stride {stride}, dilation {dilation} must be at least 1 and padding {padding} at least 0")
        out = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        if out < 1:
            raise self._fault(label, f"a window of {dilation * (kernel - 1) + 1} does not fit into {size} with padding {padding} on both sides")
        return out

    def _add(self, label: str, kind: str, sizes: tuple[int, ...], inputs: Sequence[Value], shape: tuple[int, ...], params: int = 0) -> Value:
        for x in inputs:
            if x.net is not self:
                raise self._fault(label, f"a value of shape {x.shape} belongs to another net, {x.net.name!r}")
        try:
            op = _named(_valid(kind, sizes, self.dtype, self.weight_dtype, params), label)
        except (GraphError, TypeError):
            op = Op(label, kind, sizes, self.dtype, self.weight_dtype, "", params)  # the same error, naming the layer
        self.params += params
        self.op_count += 1
        return Value(shape, self._builder.add(op, [x.tensor for x in inputs], math.prod(shape)), self)
