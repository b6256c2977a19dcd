"""A chain of operators that remembers what each read, so that its backward pass can be written from it; and the kernels of a backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

from .dtypes import BITS, dtype_name
from .ops import ELEMENTWISE_COST, Op
from .transformer import Transformer
from .workload import Workload, WorkloadBuilder

#: multiply, multiply, add per element of a rotated head
ROPE_COST = 2 * ELEMENTWISE_COST["mul"] + ELEMENTWISE_COST["add"]


@dataclass(frozen=True, slots=True)
class Formats:
    """Number formats of a layer: products in `product` with weights in `weight`, everything between in `vector`, the cache in `kv`."""

    product: str
    weight: str
    vector: str
    kv: str
    sparsity: str = ""

    @classmethod
    def of(cls, dtype: str, weight_dtype: str | None = None, kv_dtype: str | None = None, sparsity: str = "") -> Formats:
        """Defaults filled in: weights as products, the cache as activations, activations never below 16 bits."""
        product = dtype_name(dtype)
        vector = product if BITS[product] >= 16 else "bfloat16"
        return cls(product, dtype_name(weight_dtype or product), vector, dtype_name(kv_dtype or vector), sparsity)


class Chain:
    """Adds ops to a builder and remembers what each read, so that a backward pass can be written from it.

    `prefix` stands before the names of the ops added from then on. Every method returns the id of the tensor it makes.
    """

    def __init__(self, name: str, formats: Formats, family: str = "transformer") -> None:
        self.builder, self.formats = WorkloadBuilder(name, family), formats
        self.prefix = ""
        self.steps: list[tuple[Op, list[int], int]] = []
        self.sizes: dict[int, int] = {}
        self._written: dict[tuple[str, tuple[int, ...]], int] = {}
        self.tied: set[int] = set()  # made with weights that live elsewhere

    def input(self, name: str, elements: int, dtype: str = "") -> int:
        """An input of the graph."""
        tensor = self.builder.input(self.prefix + name, elements, dtype or self.formats.vector)
        self.sizes[tensor] = elements
        return tensor

    def add(self, op: Op, inputs: Sequence[int]) -> int:
        """One op that reads those tensors."""
        if self.prefix:
            op = copy(op)
            object.__setattr__(op, "name", self.prefix + op.name)  # a new name leaves an op valid; checking thousands of them again would take seconds
        shape = (op.kind, op.sizes)
        if shape not in self._written:  # layers repeat
            self._written[shape] = int(op.counts["output_elements"])
        tensor = self.builder.add(op, inputs, self._written[shape])
        self.sizes[tensor] = self._written[shape]
        self.steps.append((op, list(inputs), tensor))
        return tensor

    def product(self, name: str, x: int, m: int, n: int, k: int, bias: bool = False, b: int = 1, params: int | None = None) -> int:
        """b products (m x k)(k x n) with weights."""
        f, own = self.formats, b * k * n + bias * b * n
        tensor = self.add(Op.of(name, "gemm", m=m, n=n, k=k, b=b, bias=int(bias), dtype=f.product, weight_dtype=f.weight, output_dtype=f.vector,
                                sparsity=f.sparsity, params=own if params is None else params), [x])
        self.tied |= {tensor} if params == 0 else set()
        return tensor

    def experts(self, name: str, x: int, groups: int, m: int, n: int, k: int, bias: bool, held: int) -> int:
        """m rows over `groups` experts of the `held` ones."""
        f = self.formats
        return self.add(Op.of(name, "grouped_gemm", groups=groups, m=m, n=n, k=k, bias=int(bias), dtype=f.product, weight_dtype=f.weight, output_dtype=f.vector,
                              sparsity=f.sparsity, params=held * (k * n + bias * n)), [x])

    def vector(self, name: str, kind: str, inputs: Sequence[int], params: int = 0, **sizes: Any) -> int:
        """An op of any kind in the format between products."""
        return self.add(Op.of(name, kind, dtype=self.formats.vector, params=params, **sizes), inputs)

    def elementwise(self, name: str, inputs: Sequence[int], elements: int, cost: int, extra: int = 0, params: int = 0) -> int:
        """`cost` operations on each element; `extra` more elements are read."""
        return self.vector(name, "elementwise", inputs, params, elements=elements, cost=cost, extra_elements=extra)

    def norm(self, name: str, x: int, rows: int, t: Transformer, width: int) -> int:
        """A norm of the model's kind over `width`."""
        return self.vector(name, "norm", [x], t.norm_params(width), rows=rows, cols=width)


def finish(chain: Chain, phase: str) -> Workload:
    """The workload of a chain: as it stands, or with its backward pass ("train": both; "backward": that alone, reading what the forward pass saved)."""
    if phase in ("backward", "train"):
        return add_backward(chain, chain if phase == "train" else Chain(chain.builder.name, chain.formats)).builder.build()
    return chain.builder.build()


def add_backward(chain: Chain, target: Chain) -> Chain:
    """Adds the backward pass of `chain` to `target`, the chain itself or an empty one, and returns it."""
    forward, saved = list(chain.steps), dict[int, int]()
    target.prefix = ""

    def kept(tensor: int) -> int:
        if target is chain:
            return tensor
        if tensor not in saved:
            saved[tensor] = target.input(f"saved{tensor}", chain.sizes[tensor])
        return saved[tensor]

    gradient = target.input("gradient", chain.sizes[forward[-1][2]])
    for op, inputs, made in reversed(forward):
        for back in backward_of(op, made in chain.tied):
            out = target.add(back, [gradient, *map(kept, inputs)])
            if not back.name.endswith(".wgrad"):
                gradient = out
    return target


def backward_of(op: Op, tied: bool = False) -> list[Op]:
    """The kernels of an op's backward pass: `.dgrad` towards its inputs, `.wgrad` towards its weights, its own or `tied` ones. They hold no parameters.

    A product has two products of its size. Attention has five in place of two (scores, dV, dP, dQ, dK: FlashAttention-2, Dao 2023, algorithm
    2), written as one attention three times as wide in keys and twice in values. Elementwise work reads the gradient beside its input.
    """
    d: dict[str, Any] = op.dims
    dtype = op.output_dtype
    if op.kind == "gemm":
        flipped = [Op.of(f"{op.name}.dgrad", "gemm", m=d["m"], n=d["k"], k=d["n"], b=d["b"], dtype=dtype, weight_dtype=op.weight_dtype)]
        return [*flipped, Op.of(f"{op.name}.wgrad", "gemm", m=d["n"], n=d["k"], k=d["m"], b=d["b"], dtype=dtype)] if op.params or tied else flipped
    if op.kind == "grouped_gemm":
        return [Op.of(f"{op.name}.dgrad", "grouped_gemm", groups=d["groups"], m=d["m"], n=d["k"], k=d["n"], dtype=dtype, weight_dtype=op.weight_dtype),
                Op.of(f"{op.name}.wgrad", "gemm", b=d["groups"], m=d["n"], n=d["k"], k=max(1, d["m"] // d["groups"]), dtype=dtype)]
    if op.kind == "attention":
        return [Op.of(f"{op.name}.dgrad", "attention", dtype=dtype, **{**d, "head_dim": 3 * d["head_dim"], "v_dim": 2 * d["v_dim"], "latent": 0})]
    if op.kind == "elementwise":
        return [Op.of(f"{op.name}.dgrad", "elementwise", dtype=dtype, **{**d, "extra_elements": d["extra_elements"] + d["elements"]})]
    if op.kind == "norm":  # dx needs two row sums of gradient and input; the scale's gradient is a sum over rows
        return [Op.of(f"{op.name}.dgrad", "norm", dtype=dtype, **d), Op.of(f"{op.name}.wgrad", "elementwise", elements=d["rows"] * d["cols"], cost=2, dtype=dtype)]
    if op.kind == "conv":  # two convolutions of its size
        return [Op(f"{op.name}.dgrad", "conv", op.sizes, dtype), Op(f"{op.name}.wgrad", "conv", op.sizes, dtype)]
    if op.kind == "scan":  # the states are computed again, then the recurrence runs backwards for the inputs and for B, C and dt (Gu and Dao, 2023, section 3.3.2)
        return [Op(f"{op.name}.{part}", "scan", op.sizes, dtype) for part in ("recompute", "dgrad", "dgrad_bc")]
    if op.kind == "gather":
        return [Op.of(f"{op.name}.wgrad", "move", elements=d["rows"] * d["width"], dtype=dtype)]
    if op.kind == "reduce":
        return [Op.of(f"{op.name}.dgrad", "elementwise", elements=d["rows"] * d["cols"], cost=1, dtype=dtype)]
    return [Op(f"{op.name}.dgrad", op.kind, op.sizes, op.dtype)]
