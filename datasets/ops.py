"""Operators in canonical loop form: what is computed and what is moved, independent of any machine.

Every kind of operator states its dimensions once and reduces them to the same few columns (`COUNTS`): a
matrix-multiply view `b x (m x n x k)`, floating-point work on matrix and vector units, and bytes per operand. The
reduction is written in plain arithmetic, so it serves one `Op` of Python ints and a table of 400,000 rows of NumPy
arrays alike; the simulator and the features see nothing else.

FLOPs count a multiply-add as 2. Causal attention counts only the pairs that are attended. Transcendental functions count as the
number of vector operations in `ELEMENTWISE_COST`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .dtypes import BITS, dtype_name
from .errors import GraphError, UnknownNameError

Sizes = Mapping[str, Any]

#: the columns every operator reduces to (float64; flops count 2 per multiply-add; elements, not bytes, per operand)
COUNTS = (
    "b", "m", "n", "k",          # matrix view: b independent products of (m x k) by (k x n); zero for non-matrix kinds
    "matrix_flops",              # work a matrix unit can do
    "vector_flops",              # work only vector units can do
    "input_elements",            # distinct elements read, first operand(s)
    "weight_elements",           # distinct elements read, second operand (weights, keys and values, tables)
    "output_elements",           # elements written
    "window",                    # kernel area of a convolution or pool (input re-use), else 1
    "row",                       # length of the reduction in a norm, softmax or reduce, ranks of a collective, else 0
    "batch",                     # sequences or images, which b and m hold multiplied by heads or places; 0 for kinds that have none
    "reach",                     # keys that an attention's sliding window lets a query see, be there so many or not; 0 for no window
    "keys",                      # keys that an attention holds, in reach or not; rows of the table that a look-up is told of; else 0
)

#: no dimension or parameter count is larger
MAX_SIZE = 2**62
#: dimensions that say yes or no
FLAGS = frozenset({"bias", "causal", "latent", "mask"})

#: vector operations per element of an elementwise function (an exponential or a division is several instructions)
ELEMENTWISE_COST: dict[str, int] = {
    "add": 1, "sub": 1, "mul": 1, "max": 1, "min": 1, "relu": 1, "neg": 1, "abs": 1, "cast": 1, "compare": 1, "where": 1, "clip": 2,
    "div": 4, "sqrt": 4, "rsqrt": 4, "pow": 10, "exp": 8, "log": 8, "sigmoid": 10, "tanh": 12, "erf": 12, "gelu": 16,
    "silu": 11, "mish": 20, "hardswish": 4, "hardsigmoid": 3, "leakyrelu": 2, "quantize": 4, "dequantize": 2, "sin": 8, "other": 4,
}


@dataclass(frozen=True)
class OpKind:
    """One kind of operator: its required and optional dimensions and its reduction to `COUNTS`."""

    name: str
    required: tuple[str, ...]
    optional: Mapping[str, int]
    count: Callable[[Sizes], dict[str, Any]]
    meaning: str
    matrix: bool = False
    zero_allowed: frozenset[str] = frozenset()

    def span(self, dim: str) -> tuple[int, int]:
        """Least and greatest size of a dimension; `bias` and `causal` are flags, 0 or 1."""
        return 0 if dim in self.zero_allowed else 1, 1 if dim in FLAGS else MAX_SIZE

    @property
    def dims(self) -> tuple[str, ...]:
        """Every dimension, required ones first: the order of `Op.sizes`."""
        return (*self.required, *self.optional)


def _gemm(d: Sizes) -> dict[str, Any]:
    b, m, n, k = d["b"], d["m"], d["n"], d["k"]
    return {"b": b, "m": m, "n": n, "k": k, "matrix_flops": 2.0 * b * m * n * k, "vector_flops": 1.0 * d["bias"] * b * m * n,
            "input_elements": 1.0 * b * m * k, "weight_elements": 1.0 * b * k * n + d["bias"] * b * n, "output_elements": 1.0 * b * m * n}


def _conv(d: Sizes) -> dict[str, Any]:
    window = d["kernel_h"] * d["kernel_w"]
    m = 1.0 * d["batch"] * d["out_h"] * d["out_w"]
    n, k = d["out_channels"] / d["groups"], d["in_channels"] / d["groups"] * window
    return {"b": d["groups"], "m": m, "n": n, "k": k, "matrix_flops": 2.0 * d["groups"] * m * n * k,
            "vector_flops": d["bias"] * m * d["out_channels"],
            "input_elements": 1.0 * d["batch"] * d["in_channels"] * d["in_h"] * d["in_w"],
            "weight_elements": 1.0 * d["groups"] * n * k + d["bias"] * d["out_channels"],
            "output_elements": m * d["out_channels"], "window": window, "batch": d["batch"]}


def _attention(d: Sizes) -> dict[str, Any]:
    b, q, kv, window = 1.0 * d["batch"] * d["heads"], 1.0 * d["q_len"], 1.0 * d["kv_len"], 1.0 * d["window"]
    # a sliding window: nobody sees more keys than that, and keys no query sees are never read
    held, reach = kv, np.where(window > 0, np.minimum(window, kv), kv)
    kv = np.minimum(kv, q + reach - 1.0)
    ordered = d["causal"] * (q <= kv)
    first = kv - q + 1.0  # keys that the first query sees
    short = np.clip(reach - first, 0.0, q)  # queries that see fewer keys than reach
    pairs = np.where(ordered, short * first + short * (short - 1.0) / 2.0 + (q - short) * reach, q * np.minimum(reach, kv))
    kv_b = 1.0 * d["batch"] * d["kv_heads"]
    return {"b": b, "m": q, "n": kv, "k": d["head_dim"], "matrix_flops": 2.0 * b * pairs * (d["head_dim"] + d["v_dim"]),
            "vector_flops": 1.0 * (ELEMENTWISE_COST["exp"] + 4) * b * pairs, "input_elements": b * q * d["head_dim"],
            "weight_elements": kv_b * kv * (d["head_dim"] + d["v_dim"] * (1.0 - d["latent"])), "output_elements": b * q * d["v_dim"], "row": kv, "batch": d["batch"], "reach": window,
            "keys": held}


def _grouped_gemm(d: Sizes) -> dict[str, Any]:
    g, m, n, k = 1.0 * d["groups"], 1.0 * d["m"], d["n"], d["k"]
    return {"b": g, "m": m / g, "n": n, "k": k, "matrix_flops": 2.0 * m * n * k, "vector_flops": d["bias"] * m * n,
            "input_elements": m * k, "weight_elements": g * k * n + d["bias"] * g * n, "output_elements": m * n}


def _deform_conv(d: Sizes) -> dict[str, Any]:
    counted = _conv(d)
    taps = counted["m"] * counted["window"]
    # a sample between four pixels: four products, four sums (Dai et al., ICCV 2017, eq. 3); two offsets per tap and offset group, one mask value in v2
    return {**counted, "vector_flops": counted["vector_flops"] + 8.0 * taps * d["in_channels"],
            "input_elements": counted["input_elements"] + taps * d["offset_groups"] * (2.0 + d["mask"])}


def _scan(d: Sizes) -> dict[str, Any]:
    steps = 1.0 * d["batch"] * d["length"] * d["channels"]
    per_group = 1.0 * d["batch"] * d["length"] * d["groups"] * d["state"]
    # x, dt in and y out per channel, B and C per group and state; discretise, update and read out cost nine operations a state
    # (Gu and Dao, "Mamba", 2023, section 3.3.2)
    return {"vector_flops": 9.0 * steps * d["state"], "input_elements": 2.0 * steps + 2.0 * per_group,
            "weight_elements": 1.0 * d["channels"] * d["state"], "output_elements": steps, "row": d["length"], "batch": d["batch"]}


def _recurrent(d: Sizes) -> dict[str, Any]:
    steps, batch, hidden = d["steps"], d["batch"], d["hidden"]
    k, n = d["input"] + hidden, d["gates"] * hidden
    b = d["directions"]
    return {"b": b * steps, "m": batch, "n": n, "k": k, "matrix_flops": 2.0 * b * steps * batch * n * k,
            "vector_flops": 8.0 * b * steps * batch * n, "input_elements": 1.0 * steps * batch * d["input"],
            "weight_elements": 1.0 * b * n * (k + 2), "output_elements": 1.0 * b * steps * batch * hidden, "batch": batch}


def _elementwise(d: Sizes) -> dict[str, Any]:
    e = 1.0 * d["elements"]
    return {"vector_flops": e * d["cost"], "input_elements": e + d["extra_elements"], "output_elements": e}


def _rows(cost: float) -> Callable[[Sizes], dict[str, Any]]:
    def count(d: Sizes) -> dict[str, Any]:
        e = 1.0 * d["rows"] * d["cols"]
        return {"vector_flops": cost * e, "input_elements": e, "output_elements": e, "row": d["cols"]}
    return count


def _norm(d: Sizes) -> dict[str, Any]:
    return {**_rows(7.0)(d), "weight_elements": 2.0 * d["cols"]}


def _reduce(d: Sizes) -> dict[str, Any]:
    e = 1.0 * d["rows"] * d["cols"]
    return {"vector_flops": e, "input_elements": e, "output_elements": 1.0 * d["rows"], "row": d["cols"]}


def _pool(d: Sizes) -> dict[str, Any]:
    window = d["kernel_h"] * d["kernel_w"]
    out = 1.0 * d["batch"] * d["channels"] * d["out_h"] * d["out_w"]
    return {"vector_flops": out * window, "input_elements": 1.0 * d["batch"] * d["channels"] * d["in_h"] * d["in_w"],
            "output_elements": out, "window": window, "batch": d["batch"]}


def _gather(d: Sizes) -> dict[str, Any]:
    e = 1.0 * d["rows"] * d["width"]
    told = np.where(np.asarray(d["table_rows"]) > 1, d["table_rows"], 0)
    return {"vector_flops": 0.0 * e, "input_elements": 1.0 * d["rows"], "weight_elements": e, "output_elements": e, "keys": told}


def _move(d: Sizes) -> dict[str, Any]:
    e = 1.0 * d["elements"]
    return {"vector_flops": 0.0 * e, "input_elements": e, "output_elements": e}


def _route(d: Sizes) -> dict[str, Any]:
    scores = 1.0 * d["tokens"] * d["experts"]
    return {"vector_flops": (ELEMENTWISE_COST["exp"] + 4.0) * scores, "input_elements": scores,
            "output_elements": 2.0 * d["tokens"] * d["top_k"], "row": d["experts"]}


def _collective(out: Callable[[Sizes], Any]) -> Callable[[Sizes], dict[str, Any]]:
    def count(d: Sizes) -> dict[str, Any]:
        e = 1.0 * d["elements"]
        return {"vector_flops": 0.0 * e, "input_elements": e, "output_elements": out(d), "row": d.get("ranks", 0)}
    return count


def _bound(d: Sizes) -> dict[str, Any]:
    return {"vector_flops": 1.0 * d["output_elements"], "input_elements": 1.0 * d["input_elements"],
            "output_elements": 1.0 * d["output_elements"]}


def _kind(name: str, required: str, count: Callable[[Sizes], dict[str, Any]], meaning: str, zero: str = "", matrix: bool = False,
          **optional: int) -> OpKind:
    return OpKind(name, tuple(required.split()), optional, count, meaning, matrix, frozenset(zero.split()))


#: every operator kind; a plain dict names them
OP_KINDS: dict[str, OpKind] = {kind.name: kind for kind in (
    _kind("gemm", "m n k", _gemm, "matrix product, b independent ones of (m x k)(k x n)", "bias", True, b=1, bias=0),
    _kind("conv", "batch in_channels in_h in_w out_channels out_h out_w kernel_h kernel_w", _conv,
          "convolution; 1-D has h = 1, 3-D folds depth into h", "bias", True, stride_h=1, stride_w=1, groups=1, bias=0),
    _kind("attention", "batch heads kv_heads q_len kv_len head_dim v_dim", _attention,
          "softmax(Q K^T) V; queries are the last q_len of kv_len positions; window: keys a query sees at most (0: all); latent: values are part "
          "of the keys (MLA)", "causal window latent", True, causal=0, window=0, latent=0),
    _kind("recurrent", "steps batch input hidden gates", _recurrent, "RNN, GRU (3 gates) or LSTM (4 gates)", "", True, directions=1),
    _kind("elementwise", "elements", _elementwise, "one output per element; cost vector operations each",
          "extra_elements cost", cost=1, extra_elements=0),
    _kind("norm", "rows cols", _norm, "layer, RMS, group or batch normalisation over cols"),
    _kind("softmax", "rows cols", _rows(12.0), "softmax over cols"),
    _kind("reduce", "rows cols", _reduce, "sum, mean, max over cols"),
    _kind("pool", "batch channels in_h in_w out_h out_w kernel_h kernel_w", _pool, "average or max pooling", "", stride_h=1, stride_w=1),
    _kind("gather", "rows width", _gather, "embedding look-up: rows of a table", "", table_rows=1),
    _kind("move", "elements", _move, "transpose, concat, slice, pad, copy: no arithmetic"),
    _kind("route", "tokens experts top_k", _route, "mixture-of-experts gate"),
    _kind("bound", "input_elements output_elements", _bound, "an unknown operator, bounded by its traffic; labelled as such"),
    _kind("grouped_gemm", "groups m n k", _grouped_gemm, "products of m rows in all, spread evenly over groups with a (k x n) matrix each: experts", "bias", True, bias=0),
    _kind("deform_conv", "batch in_channels in_h in_w out_channels out_h out_w kernel_h kernel_w", _deform_conv,
          "convolution whose taps lie where the input says; mask: modulated (v2)", "bias mask", True, stride_h=1, stride_w=1, groups=1, bias=0, offset_groups=1, mask=0),
    _kind("scan", "batch length channels state", _scan, "selective state-space scan along length", groups=1),
    # elements: what one rank hands in; the answer is on a cluster, never on a lone machine
    _kind("all_reduce", "elements ranks", _collective(lambda d: 1.0 * d["elements"]), "sum over ranks, the result on each"),
    _kind("all_gather", "elements ranks", _collective(lambda d: 1.0 * d["elements"] * d["ranks"]), "every rank's elements on each"),
    _kind("reduce_scatter", "elements ranks", _collective(lambda d: 1.0 * d["elements"] / d["ranks"]), "sum over ranks, a part on each"),
    _kind("all_to_all", "elements ranks", _collective(lambda d: 1.0 * d["elements"]), "a part of every rank's elements to every other"),
    _kind("broadcast", "elements ranks", _collective(lambda d: 1.0 * d["elements"]), "one rank's elements on each"),
    _kind("send", "elements", _collective(lambda d: 1.0 * d["elements"]), "from one rank to another"),
)}
#: kinds whose work is between machines
COLLECTIVES: tuple[str, ...] = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "send")
KIND_CODES: dict[str, int] = {name: i for i, name in enumerate(OP_KINDS)}
KIND_NAMES: tuple[str, ...] = tuple(OP_KINDS)


def kind_of(name: str) -> OpKind:
    """The kind of that name; raises UnknownNameError naming the nearest."""
    if not isinstance(name, str) or name not in OP_KINDS:
        raise UnknownNameError("operator kind", name, OP_KINDS)
    return OP_KINDS[name]


def count_columns(kind: str, sizes: Sizes) -> dict[str, Any]:
    """`COUNTS` of one kind from its dimensions: scalars in, scalars out; arrays of length n in, arrays out.

    Missing optional dimensions take their defaults. Raises GraphError when a required one is missing.
    """
    spec = kind_of(kind)
    missing = [d for d in spec.required if d not in sizes]
    if missing:
        raise GraphError(f"{kind} needs the dimensions {', '.join(spec.required)}; missing: {', '.join(missing)}")
    counted = spec.count({**spec.optional, **sizes})
    empty = {"b": 0.0, "m": 0.0, "n": 0.0, "k": 0.0, "matrix_flops": 0.0, "weight_elements": 0.0, "window": 1.0, "row": 0.0}
    return {name: counted.get(name, empty.get(name, 0.0)) for name in COUNTS}


@dataclass(frozen=True, slots=True)
class Op:
    """One operator of a workload; valid at birth.

    `sizes` holds every dimension of the kind, in `OP_KINDS[kind].dims` order (use `Op.of` to give them by name).
    `dtype` is what it computes in and how activations are stored; weights and outputs may differ. `params` counts the
    parameter elements that live with this op (0 for an activation-activation product). `source` says where it came
    from (an ONNX node and op type, say). `sparsity` of the second operand: "" dense, "2:4" two of every four values kept, "0.1" a
    tenth kept anywhere. FLOPs are those of the dense product. Raises GraphError for a size that is not a positive integer.
    """

    name: str
    kind: str
    sizes: tuple[int, ...]
    dtype: str = "float16"
    weight_dtype: str = ""
    output_dtype: str = ""
    params: int = 0
    source: str = field(default="", compare=False)
    sparsity: str = ""

    def __post_init__(self) -> None:
        spec = kind_of(self.kind)
        if len(self.sizes) != len(spec.dims):
            raise GraphError(f"op {self.name!r} ({self.kind}): expected {len(spec.dims)} sizes ({', '.join(spec.dims)}), got {len(self.sizes)}")
        for dim, size in zip(spec.dims, self.sizes, strict=True):
            least, most = spec.span(dim)
            if not isinstance(size, int) or isinstance(size, bool) or not least <= size <= most:
                wanted = f"an integer of at least {least}, at most {'2**62' if most == MAX_SIZE else most}"
                raise GraphError(f"op {self.name!r} ({self.kind}): {dim} must be {wanted}, got {shown(size)}")
        if not isinstance(self.params, int) or isinstance(self.params, bool) or not 0 <= self.params <= MAX_SIZE:
            raise GraphError(f"op {self.name!r}: params must be an integer from 0 to 2**62, got {shown(self.params)}")
        if not isinstance(self.name, str) or not isinstance(self.source, str):
            raise GraphError(f"op: name and source must be text, got {type(self.name).__name__} and {type(self.source).__name__}")
        object.__setattr__(self, "dtype", dtype_name(self.dtype))
        object.__setattr__(self, "weight_dtype", dtype_name(self.weight_dtype or self.dtype))
        object.__setattr__(self, "output_dtype", dtype_name(self.output_dtype or self.dtype))
        sparsity_of(self.sparsity, f"op {self.name!r} ({self.kind}): sparsity")
        if self.sparsity and not kind_of(self.kind).matrix:
            raise GraphError(f"op {self.name!r} ({self.kind}): sparsity {self.sparsity!r} is for the weights of matrix work; expected none")
        if self.kind in ("conv", "deform_conv"):
            d = self.dims
            if d["in_channels"] % d["groups"] or d["out_channels"] % d["groups"]:
                raise GraphError(f"op {self.name!r}: channels {d['in_channels']} -> {d['out_channels']} are not divisible by groups {d['groups']}")

    @classmethod
    def of(cls, name: str, kind: str, *, dtype: str = "float16", weight_dtype: str = "", output_dtype: str = "",
           params: int = 0, source: str = "", sparsity: str = "", **sizes: int) -> Op:
        """An op with its dimensions given by name; optional ones default. Raises GraphError naming what is wrong."""
        spec = kind_of(kind)
        unknown = [s for s in sizes if s not in spec.dims]
        if unknown:
            raise GraphError(f"op {name!r} ({kind}): unknown dimension {', '.join(unknown)}; expected {', '.join(spec.dims)}")
        missing = [s for s in spec.required if s not in sizes]
        if missing:
            raise GraphError(f"op {name!r} ({kind}): missing dimension {', '.join(missing)}; expected {', '.join(spec.dims)}")
        values = tuple(int(v) if isinstance(v, np.integer) else v for v in (sizes.get(d, spec.optional.get(d)) for d in spec.dims))
        return cls(name, kind, values, dtype, weight_dtype, output_dtype, params, source, sparsity)  # type: ignore[arg-type]

    @property
    def dims(self) -> dict[str, int]:
        """Dimension name -> size."""
        return dict(zip(kind_of(self.kind).dims, self.sizes, strict=True))

    @property
    def counts(self) -> dict[str, float]:
        """The op reduced to `COUNTS`."""
        return {k: float(v) for k, v in count_columns(self.kind, self.dims).items()}

    @property
    def flops(self) -> float:
        """Operations on matrix and vector units, 2 per multiply-add."""
        c = self.counts
        return c["matrix_flops"] + c["vector_flops"]

    @property
    def macs(self) -> float:
        """Multiply-adds on matrix units."""
        return self.counts["matrix_flops"] / 2.0

    @property
    def bytes_read(self) -> float:
        """Distinct bytes read, each operand once."""
        c = self.counts
        return c["input_elements"] * BITS[self.dtype] / 8 + c["weight_elements"] * self._weight_bits / 8

    @property
    def _weight_bits(self) -> float:
        """Stored bits of one weight, kept or not."""
        kept, _, index_bits = sparsity_of(self.sparsity, self.name)
        return kept * BITS[self.weight_dtype] + index_bits

    @property
    def bytes_written(self) -> float:
        """Bytes written once."""
        return self.counts["output_elements"] * BITS[self.output_dtype] / 8

    @property
    def weight_bytes(self) -> float:
        """Bytes of parameters that live with this op."""
        return self.params * self._weight_bits / 8

    def to_json(self) -> dict[str, Any]:
        """A plain dict; `Op.from_json` gives back an equal op."""
        out: dict[str, Any] = {"name": self.name, "kind": self.kind, "dims": self.dims, "dtype": self.dtype}
        if self.weight_dtype != self.dtype:
            out["weight_dtype"] = self.weight_dtype
        if self.output_dtype != self.dtype:
            out["output_dtype"] = self.output_dtype
        if self.params:
            out["params"] = self.params
        if self.sparsity:
            out["sparsity"] = self.sparsity
        if self.source:
            out["source"] = self.source
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Op:
        """Reads `to_json`; an unknown or missing key raises GraphError naming it."""
        if not isinstance(data, Mapping):
            raise GraphError(f"op: expected a mapping with name, kind, dims; got {type(data).__name__}")
        allowed = {"name", "kind", "dims", "dtype", "weight_dtype", "output_dtype", "params", "source", "sparsity"}
        unknown = set(data) - allowed
        if unknown or not {"name", "kind", "dims"} <= set(data) or not isinstance(data["dims"], Mapping):
            raise GraphError(f"op: expected the keys name, kind, dims (and {', '.join(sorted(allowed - {'name', 'kind', 'dims'}))}), got {', '.join(map(str, data))}")
        rest = {k: v for k, v in data.items() if k not in ("name", "kind", "dims")}
        odd = set(data["dims"]) - set(kind_of(data["kind"]).dims)
        if odd:
            raise GraphError(f"op {shown(data['name'])} ({data['kind']}): unknown dimension {', '.join(map(str, odd))}; expected {', '.join(OP_KINDS[data['kind']].dims)}")
        return cls.of(data["name"], data["kind"], **rest, **data["dims"])


def sparsity_of(text: str, where: str) -> tuple[float, int, float]:
    """(share of the weights kept, pattern, index bits per weight) of a sparsity as people write it.

    Pattern: 0 dense, N of "N:M", -1 kept anywhere. An index costs log2(M) bits per kept value (NVIDIA A100 whitepaper: 2 bits for 2:4), a
    free pattern one bit per weight (bitmap). Raises GraphError naming `where`.
    """
    if text == "":
        return 1.0, 0, 0.0
    try:
        kept, _, of = text.partition(":")
        if of:
            n, m = int(kept), int(of)
            if 1 <= n < m <= 1024:
                return n / m, n, n / m * math.log2(m)
        elif 0.0 < float(kept) < 1.0:
            return float(kept), -1, 1.0
    except (AttributeError, ValueError):
        pass
    raise GraphError(f"{where}: expected '' (dense), 'N:M' such as '2:4', or a kept share such as '0.1', got {shown(text)}")


def shown(value: Any) -> str:
    """A value for a message, however long it is."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits; a list nested too deep
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= 60 else text[:57] + "..."
