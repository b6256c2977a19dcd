"""A Keras architecture (`model.to_json()` of Keras 2 or 3, QKeras layers included) as operators, channels last, weights and data in whole-number formats.

Batch normalisation is a multiplication and an addition per element with two parameters per channel (its statistics folded). Padding "same" keeps
ceil(size / stride) positions, "valid" drops the rest (Keras documentation of Conv2D).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import FormatError, GraphError, UnsupportedOpError
from ..ops import ELEMENTWISE_COST, MAX_SIZE, Op, shown
from ..workload import Workload, WorkloadBuilder
from .hls4ml_config import Hls4mlConfig, LayerPlan, Setting

#: layers of a model that are read
MOST_LAYERS = 20_000
#: vector operations per element of an activation; softmax and linear have their own treatment
ACTIVATIONS: dict[str, int] = {
    **{name: ELEMENTWISE_COST[name] for name in ("relu", "sigmoid", "tanh", "gelu", "silu")},
    "relu6": ELEMENTWISE_COST["clip"], "swish": ELEMENTWISE_COST["silu"], "hard_sigmoid": ELEMENTWISE_COST["hardsigmoid"], "hard_tanh": ELEMENTWISE_COST["clip"],
    "leaky_relu": ELEMENTWISE_COST["leakyrelu"], "elu": ELEMENTWISE_COST["exp"] + 1, "selu": ELEMENTWISE_COST["exp"] + 2,
    "softplus": ELEMENTWISE_COST["exp"] + ELEMENTWISE_COST["log"], "softsign": ELEMENTWISE_COST["div"] + 2, "exponential": ELEMENTWISE_COST["exp"],
    "quantized_relu": ELEMENTWISE_COST["relu"], "quantized_bits": ELEMENTWISE_COST["clip"], "quantized_tanh": ELEMENTWISE_COST["clip"], "quantized_sigmoid": ELEMENTWISE_COST["hardsigmoid"],
    "binary": 1, "ternary": 2, "binary_tanh": 1, "ternary_tanh": 2,
}
#: quantisers without a number of bits
_NAMED_BITS = {"binary": 1, "stochastic_binary": 1, "bernoulli": 1, "binary_tanh": 1, "ternary": 2, "stochastic_ternary": 2, "ternary_tanh": 2}
_QUANTISER = re.compile(r"\s*(\w+)\s*\(\s*(?:bits\s*=\s*)?(\d{0,3})[^()]*\)\s*")
_NOTHING = frozenset({"Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "ActivityRegularization", "InputLayer"})
_GATES = {"SimpleRNN": 1, "QSimpleRNN": 1, "GRU": 3, "QGRU": 3, "LSTM": 4, "QLSTM": 4}


def is_keras(document: Any) -> bool:
    """Whether a JSON document is a Keras architecture."""
    return isinstance(document, Mapping) and document.get("class_name") in ("Sequential", "Functional", "Model") and "config" in document


@dataclass(frozen=True, slots=True)
class Flow:
    """A value between layers: its shape without the batch, channels last, its tensor and its bits."""

    shape: tuple[int, ...]
    tensor: int
    bits: int


def quantiser(given: Any, where: str) -> tuple[str, int | None]:
    """(name, bits) of a QKeras quantiser or of an activation: `quantized_bits(6,0)`, `relu`, or a mapping with class_name and config; ("", None) for
    None. Raises FormatError naming `where`."""
    if given is None:
        return "", None
    if isinstance(given, Mapping):
        inner = given.get("config", {})
        name, bits = given.get("class_name", given.get("registered_name")), inner.get("bits") if isinstance(inner, Mapping) else None
        text = f"{name}({bits if bits is not None else ''})"
    else:
        text = given if isinstance(given, str) and "(" in given else f"{given}()"
    match = _QUANTISER.fullmatch(text) if len(text) < 300 else None
    if match is None:
        raise FormatError(f"{where}: expected a quantiser such as quantized_bits(6,0) or an activation, got {shown(given)}")
    name = match[1]
    bits = int(match[2]) if match[2] else _NAMED_BITS.get(name, 8 if name.startswith("quantized_") else None)  # QKeras: 8 bits unless said
    if bits is not None and not 1 <= bits <= 64:
        raise FormatError(f"{where}: expected 1 to 64 bits, got {shown(given)}")
    return name, bits


def build(document: Any, config: Hls4mlConfig, batch: int, where: str) -> tuple[Workload, tuple[LayerPlan, ...]]:
    """(workload, one plan per layer that does something) of an architecture. Raises FormatError for another document, UnsupportedOpError naming
    the layer, GraphError for shapes that do not fit."""
    return _Model(document, config, batch, where).build()


class _Model:
    """Walks the layers in order and adds their operators."""

    def __init__(self, document: Any, config: Hls4mlConfig, batch: int, where: str) -> None:
        self.where, self.config, self.batch = where, config, batch
        kind = document.get("class_name") if isinstance(document, Mapping) else None
        inner = document.get("config") if kind in ("Sequential", "Functional", "Model") else None
        entries = inner.get("layers") if isinstance(inner, Mapping) else inner
        if not isinstance(entries, list) or not entries:
            raise FormatError(f"{where}: expected a Keras architecture (class_name Sequential or Functional with layers), got {shown(document)}")
        if len(entries) > MOST_LAYERS:
            raise FormatError(f"{where}: {len(entries)} layers; at most {MOST_LAYERS} are read")
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise GraphError(f"{where}: batch: expected a whole number of at least 1, got {shown(batch)}")
        self.name = str(inner.get("name", "keras"))[:100] if isinstance(inner, Mapping) else "keras"
        self.sequential, self.entries = kind == "Sequential", entries
        self.builder = WorkloadBuilder(self.name, "hls4ml")
        self.flows: dict[str, Flow] = {}
        self.plans: list[LayerPlan] = []
        self.count, self.layer, self.kind, self.now = 0, "", "", Setting()
        self.conf: Mapping[str, Any] = {}

    def build(self) -> tuple[Workload, tuple[LayerPlan, ...]]:
        last: Flow | None = None
        for at, entry in enumerate(self.entries):
            conf = entry.get("config") if isinstance(entry, Mapping) else None
            if not isinstance(conf, Mapping) or not isinstance(entry.get("class_name"), str):
                raise FormatError(f"{self.where}: layers[{at}]: expected class_name and config, got {shown(entry)}")
            self.kind, self.conf = entry["class_name"], conf
            self.layer = str(entry.get("name") or conf.get("name") or f"layer{at}")[:100]
            if self.layer in self.flows:
                raise FormatError(f"{self.where}: the name {self.layer!r} is taken by an earlier layer")
            inputs = self._inputs(entry, last)
            weight, result = (quantiser(conf.get(n) if n in conf else conf.get(m), self._at(n))[1] for n, m in (("kernel_quantizer", "depthwise_quantizer"), ("activation", "")))
            self.now = self.config.of(self.layer, self.kind, Setting(weight, result))
            first = self.count
            last = self.flows[self.layer] = self._add(inputs)
            if self.count > first:
                exact = (self.now.weight_bits or 1) + inputs[0].bits + math.ceil(math.log2(max(self.deep, 2)))
                self.plans.append(LayerPlan(self.layer, tuple(range(first, self.count)), self.now.weight_bits or 1, inputs[0].bits, min(self.now.sum_bits or exact, 128),
                                            self.now.reuse or 1, self.now.strategy or "latency"))
        return self.builder.build(), tuple(self.plans)

    # -- wiring ---------------------------------------------------------------------------------------------------------------------

    def _at(self, field: str = "") -> str:
        return f"{self.where}: layer {self.layer!r} ({self.kind})" + (f", {field}" if field else "")

    def _inputs(self, entry: Mapping[str, Any], last: Flow | None) -> list[Flow]:
        given = self.conf.get("batch_input_shape", self.conf.get("batch_shape"))
        if given is not None and (self.kind == "InputLayer" or last is None):
            if isinstance(given, Sequence) and given and isinstance(given[0], list):  # Keras 2 wrote a list of one shape
                given = given[0]
            if not isinstance(given, list | tuple) or len(given) < 2 or not all(isinstance(s, int) and not isinstance(s, bool) and 1 <= s <= MAX_SIZE for s in given[1:]):
                raise GraphError(f"{self._at('batch_shape')}: expected the batch and positive sizes, got {shown(given)}")
            shape = tuple(given[1:])
            bits = self.config.of(self.layer, "InputLayer").result_bits or 16
            return [Flow(shape, self.builder.input(self.layer if self.kind == "InputLayer" else f"{self.layer}_input", self.batch * math.prod(shape), _whole(bits)), bits)]
        if self.sequential:
            if last is None:
                raise GraphError(f"{self._at()}: the first layer says no batch_input_shape")
            return [last]
        names = _sources(entry.get("inbound_nodes"))
        missing = [n for n in names if n not in self.flows]
        if not names or missing:
            raise GraphError(f"{self._at('inbound_nodes')}: expected names of earlier layers, got {shown(missing or entry.get('inbound_nodes'))}")
        return [self.flows[n] for n in names]

    def _op(self, name: str, kind: str, inputs: Sequence[Flow], shape: tuple[int, ...], params: int = 0, bits: int | None = None, **sizes: int) -> Flow:
        out = bits or self.now.result_bits or 16
        weight = _whole(self.now.weight_bits or 16) if params else _whole(inputs[-1].bits)
        try:
            op = Op.of(name, kind, dtype=_whole(inputs[0].bits), weight_dtype=weight, output_dtype=_whole(out), params=params,
                       source=f"{self.layer} ({self.kind})", sparsity="", **sizes)
        except GraphError as error:
            raise GraphError(f"{self._at()}: {error}") from None
        self.count += 1
        return Flow(shape, self.builder.add(op, [f.tensor for f in inputs], self.batch * math.prod(shape)), out)

    def _number(self, field: str, default: int | None = None) -> int:
        value = self.conf.get(field, default)
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_SIZE:
            raise GraphError(f"{self._at(field)}: expected a whole number of at least 1, got {shown(value)}")
        return value

    def _pair(self, field: str, flat: bool, default: Any = 1) -> tuple[int, int]:
        value = self.conf.get(field)
        value = default if value is None else value
        parts = list(value) if isinstance(value, list | tuple) else [value] * (1 if flat else 2)
        parts = [1, *parts] if flat and len(parts) == 1 else parts
        if len(parts) != 2 or not all(isinstance(p, int) and not isinstance(p, bool) and 1 <= p <= MAX_SIZE for p in parts):
            raise GraphError(f"{self._at(field)}: expected {'one' if flat else 'two'} whole numbers of at least 1, got {shown(value)}")
        return parts[0], parts[1]

    # -- layers ---------------------------------------------------------------------------------------------------------------------

    def _add(self, inputs: list[Flow]) -> Flow:
        x, kind, self.deep = inputs[0], self.kind, 1
        if kind in _NOTHING:
            return x
        if kind == "Flatten":
            return Flow((math.prod(x.shape),), x.tensor, x.bits)
        if kind == "Reshape":
            return self._reshape(x)
        plain = kind.removeprefix("Q") if kind.startswith("Q") else kind
        made: dict[str, Callable[[list[Flow]], Flow]] = {
            "Dense": self._dense, "Conv1D": self._conv, "Conv2D": self._conv, "DepthwiseConv1D": self._conv, "DepthwiseConv2D": self._conv,
            "BatchNormalization": self._batch_norm, "MaxPooling1D": self._pool, "MaxPooling2D": self._pool, "AveragePooling1D": self._pool,
            "AveragePooling2D": self._pool, "GlobalAveragePooling1D": self._mean, "GlobalAveragePooling2D": self._mean, "GlobalMaxPooling1D": self._mean,
            "GlobalMaxPooling2D": self._mean, "Add": self._merge, "Subtract": self._merge, "Multiply": self._merge, "Concatenate": self._join,
            "ZeroPadding1D": self._pad, "ZeroPadding2D": self._pad, "UpSampling2D": self._enlarge, "SimpleRNN": self._recurrent, "GRU": self._recurrent, "LSTM": self._recurrent}
        if plain in made:
            y = made[plain](inputs)
            return self._activate(y, self.conf.get("activation") if plain in ("Dense", "Conv1D", "Conv2D", "DepthwiseConv1D", "DepthwiseConv2D") else None)
        if plain == "Activation":
            return self._activate(x, self.conf.get("activation"), own=True)
        alone = {"ReLU": "relu", "LeakyReLU": "leaky_relu", "ELU": "elu", "Softmax": "softmax", "PReLU": "leaky_relu"}
        if plain in alone:
            return self._activate(x, alone[plain], own=True)
        raise UnsupportedOpError(f"{self._at()}: layers of this class cannot be counted; known: {', '.join(sorted({*made, *alone, 'Activation', 'Flatten', 'Reshape'}))}")

    def _activate(self, x: Flow, given: Any, own: bool = False) -> Flow:
        name, bits = quantiser(given, self._at("activation"))
        if name in ("", "linear"):
            return x
        label = self.layer if own else f"{self.layer}_{name}"
        out = self.config.names[label].result_bits if not own and label in self.config.names else bits
        elements = self.batch * math.prod(x.shape)
        if name == "softmax":
            return self._op(label, "softmax", [x], x.shape, bits=out, rows=elements // x.shape[-1], cols=x.shape[-1])
        if name not in ACTIVATIONS:
            raise UnsupportedOpError(f"{self._at('activation')}: {name!r} cannot be counted; known: softmax, linear, {', '.join(sorted(ACTIVATIONS))}")
        return self._op(label, "elementwise", [x], x.shape, bits=out, elements=elements, cost=ACTIVATIONS[name])

    def _dense(self, inputs: list[Flow]) -> Flow:
        x, units, bias = inputs[0], self._number("units"), int(bool(self.conf.get("use_bias", True)))
        self.deep = x.shape[-1]
        rows = self.batch * math.prod(x.shape[:-1])
        return self._op(self.layer, "gemm", [x], (*x.shape[:-1], units), (self.deep + bias) * units, m=rows, n=units, k=self.deep, bias=bias)

    def _slid(self, x: Flow) -> tuple[int, int, int, int, int, tuple[int, int], tuple[int, int], bool]:
        """(height, width, channels, out height, out width, kernel, stride, flat)."""
        flat = "1D" in self.kind
        if len(x.shape) != (2 if flat else 3):
            raise GraphError(f"{self._at()}: expected {'(positions, channels)' if flat else '(height, width, channels)'}, got {x.shape}")
        if self.conf.get("data_format", "channels_last") not in ("channels_last", None):
            raise UnsupportedOpError(f"{self._at('data_format')}: only channels_last is read")
        pool = "Pooling" in self.kind
        kernel = self._pair("pool_size" if pool else "kernel_size", flat, 2 if pool else 1)
        stride = self._pair("strides", flat, self.conf.get("pool_size", 2) if pool else 1)
        dilation = self._pair("dilation_rate", flat)
        if flat:
            stride = (1, stride[1])
        h, w, c = (1, *x.shape) if flat else x.shape
        padding = self.conf.get("padding", "valid")
        if padding not in ("same", "valid", "causal"):
            raise GraphError(f"{self._at('padding')}: expected same, valid or causal, got {shown(padding)}")
        outs = [math.ceil(size / s) if padding != "valid" else (size - d * (k - 1) - 1) // s + 1 for size, k, s, d in zip((h, w), kernel, stride, dilation, strict=True)]
        if min(outs) < 1:
            raise GraphError(f"{self._at()}: a window of {kernel} does not fit into {(h, w)}")
        return h, w, c, outs[0], outs[1], kernel, stride, flat

    def _conv(self, inputs: list[Flow]) -> Flow:
        x, bias = inputs[0], int(bool(self.conf.get("use_bias", True)))
        h, w, c, oh, ow, (kh, kw), (sh, sw), flat = self._slid(x)
        depthwise = "Depthwise" in self.kind
        groups = c if depthwise else self._number("groups", 1)
        channels = c * self._number("depth_multiplier", 1) if depthwise else self._number("filters")
        if c % groups or channels % groups:
            raise GraphError(f"{self._at('groups')}: channels {c} -> {channels} are not divisible into {groups} groups")
        self.deep = c // groups * kh * kw
        return self._op(self.layer, "conv", [x], (ow, channels) if flat else (oh, ow, channels), (self.deep + bias) * channels, batch=self.batch, in_channels=c, in_h=h, in_w=w,
                        out_channels=channels, out_h=oh, out_w=ow, kernel_h=kh, kernel_w=kw, stride_h=sh, stride_w=sw, groups=groups, bias=bias)

    def _pool(self, inputs: list[Flow]) -> Flow:
        h, w, c, oh, ow, (kh, kw), (sh, sw), flat = self._slid(inputs[0])
        return self._op(self.layer, "pool", inputs[:1], (ow, c) if flat else (oh, ow, c), batch=self.batch, channels=c, in_h=h, in_w=w, out_h=oh, out_w=ow,
                        kernel_h=kh, kernel_w=kw, stride_h=sh, stride_w=sw)

    def _mean(self, inputs: list[Flow]) -> Flow:
        *positions, c = inputs[0].shape
        return self._op(self.layer, "reduce", inputs[:1], (1,) * len(positions) * bool(self.conf.get("keepdims")) + (c,), rows=self.batch * c, cols=math.prod(positions))

    def _batch_norm(self, inputs: list[Flow]) -> Flow:
        x, c = inputs[0], inputs[0].shape[-1]
        return self._op(self.layer, "elementwise", [x], x.shape, 2 * c, elements=self.batch * math.prod(x.shape), cost=2, extra_elements=2 * c)

    def _merge(self, inputs: list[Flow]) -> Flow:
        if len(inputs) < 2 or any(f.shape != inputs[0].shape for f in inputs):
            raise GraphError(f"{self._at()}: expected two or more values of one shape, got {', '.join(str(f.shape) for f in inputs)}")
        elements = self.batch * math.prod(inputs[0].shape)
        return self._op(self.layer, "elementwise", inputs, inputs[0].shape, elements=elements, cost=len(inputs) - 1, extra_elements=(len(inputs) - 1) * elements)

    def _join(self, inputs: list[Flow]) -> Flow:
        rank, axis = len(inputs[0].shape), self.conf.get("axis", -1)
        at = axis % (rank + 1) - 1 if isinstance(axis, int) else -1
        if not 0 <= at < rank or len({f.shape[:at] + f.shape[at + 1:] for f in inputs}) != 1:
            raise GraphError(f"{self._at('axis')}: expected values alike but for axis {shown(axis)}, got {', '.join(str(f.shape) for f in inputs)}")
        shape = (*inputs[0].shape[:at], sum(f.shape[at] for f in inputs), *inputs[0].shape[at + 1:])
        return self._op(self.layer, "move", inputs, shape, elements=self.batch * math.prod(shape))

    def _pad(self, inputs: list[Flow]) -> Flow:
        x, given = inputs[0], self.conf.get("padding", 1)
        axes = len(x.shape) - 1
        sides = [given] * axes if isinstance(given, int) else [given] if axes == 1 and isinstance(given, list | tuple) else given
        sums = [2 * s if isinstance(s, int) else sum(s) if isinstance(s, list | tuple) and all(isinstance(v, int) for v in s) else -1 for s in sides] if isinstance(sides, list | tuple) else []
        if len(sums) != axes or axes < 1 or min(sums) < 0:
            raise GraphError(f"{self._at('padding')}: expected whole numbers for {axes} axes, got {shown(given)}")
        shape = (*(size + extra for size, extra in zip(x.shape, sums, strict=False)), x.shape[-1])
        return self._op(self.layer, "move", [x], shape, elements=self.batch * math.prod(shape))

    def _enlarge(self, inputs: list[Flow]) -> Flow:
        if len(inputs[0].shape) != 3:
            raise GraphError(f"{self._at()}: expected (height, width, channels), got {inputs[0].shape}")
        (h, w, c), (sh, sw) = inputs[0].shape, self._pair("size", False, 2)
        return self._op(self.layer, "move", inputs[:1], (h * sh, w * sw, c), elements=self.batch * h * sh * w * sw * c)

    def _recurrent(self, inputs: list[Flow]) -> Flow:
        x, units, gates = inputs[0], self._number("units"), _GATES[self.kind]
        if len(x.shape) != 2:
            raise GraphError(f"{self._at()}: expected (steps, features), got {x.shape}")
        steps, d = x.shape
        biases = (2 if gates == 3 and self.conf.get("reset_after", True) else 1) if self.conf.get("use_bias", True) else 0  # Keras: a GRU has two bias vectors
        self.deep = d + units
        whole = bool(self.conf.get("return_sequences"))
        return self._op(self.layer, "recurrent", [x], (steps, units) if whole else (units,), gates * units * (d + units + biases), steps=steps, batch=self.batch, input=d, hidden=units, gates=gates)

    def _reshape(self, x: Flow) -> Flow:
        given = self.conf.get("target_shape")
        sizes = list(given) if isinstance(given, list | tuple) and all(isinstance(s, int) and not isinstance(s, bool) for s in given) else []
        total, known = math.prod(x.shape), math.prod(s for s in sizes if s != -1)
        if sizes.count(-1) == 1 and known > 0 and total % known == 0:
            sizes = [total // known if s == -1 else s for s in sizes]
        if not sizes or min(sizes) < 1 or math.prod(sizes) != total:
            raise GraphError(f"{self._at('target_shape')}: expected sizes of {total} elements in all, got {shown(given)}")
        return Flow(tuple(sizes), x.tensor, x.bits)


def _whole(bits: int) -> str:
    """The narrowest whole-number dtype that holds so many bits."""
    return next(f"int{n}" for n in (2, 4, 8, 16, 32, 64) if bits <= n)


def _sources(nodes: Any, depth: int = 0) -> list[str]:
    """Names of the layers a node reads: Keras 2 writes [[[name, 0, 0, {}], ...]], Keras 3 tensors with a keras_history."""
    if isinstance(nodes, Mapping):
        history = nodes.get("keras_history")
        inner = history[:1] if isinstance(history, list) else []
        return [str(n) for n in inner] or ([n for key in ("args", "config") for n in _sources(nodes.get(key), depth + 1)] if depth < 12 else [])
    if isinstance(nodes, list) and depth < 12:
        if len(nodes) >= 3 and isinstance(nodes[0], str) and all(isinstance(i, int) for i in nodes[1:3]):
            return [nodes[0]]
        return [n for inner in nodes for n in _sources(inner, depth + 1)]
    return []
