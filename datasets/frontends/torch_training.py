"""A step of training from the forward graph of a torch module: the backward pass by our own derivative rules, then the optimizer's update.

Why not torch's joint graph (`torch.export.experimental`): it takes attention apart into products with the whole score matrix in memory, batch norm into a dozen
passes and a recurrent cell into its time steps, and loses the names; no machine runs that. Here every op of the forward pass has its derivative in the same kinds,
reading what autograd keeps of it: products give two products, a convolution two convolutions (the gradient of the input in transposed form, that of the weights
with the result's gradient as its kernel), attention its scores once more and then three products (FlashAttention-2, Dao 2023, algorithm 2), functions and norms
passes over memory. FLOPs are checked against torch's own counter on a real backward pass, what is kept against autograd's saved-tensor hooks.

Gradients of a tensor read more than once are added up; of views of parts, joined by one copy. All gradients of parameters live until the update, as between
`loss.backward()` and `optimizer.step()`. Updates are one fused pass per parameter, written in place; their further writes are counted beside their reads.
"""

from __future__ import annotations

from math import ceil, prod
from typing import Any

from ..errors import GraphError, UnknownNameError
from ..ops import ELEMENTWISE_COST as COST
from ..ops import Op
from .torch_matrix import spread
from .torch_traced import Memory, Ran, Traced

#: optimizer -> (states per parameter, vector operations per parameter): plain SGD; with momentum; Adam (Kingma and Ba, ICLR 2015, algorithm 1)
UPDATES: dict[str, tuple[tuple[str, ...], int]] = {
    "sgd": ((), 2), "momentum": (("momentum",), 4), "adam": (("exp_avg", "exp_avg_sq"), 3 + 4 + COST["sqrt"] + 2 + COST["div"] + 2)}


def check_optimizer(training: str) -> None:
    """Raises UnknownNameError for an optimizer that is not in `UPDATES` ("" is none)."""
    if training and training not in UPDATES:
        raise UnknownNameError("optimizer for training", training, UPDATES)


def train(traced: Traced, optimizer: str) -> list[str]:
    """Appends the backward pass and the update to a traced forward pass; returns notes. Raises GraphError when no gradient flows."""
    back = _Backward(traced)
    notes = back.start()
    for ran in reversed(traced.ran):
        back.step(ran)
    if not back.parameters:
        raise GraphError(f"{traced.builder.name}: no gradient reaches a parameter; is something detached, or does nothing require a gradient?")
    states, cost = UPDATES[optimizer]
    for name, memory in back.parameters.items():
        gradient = back.gather(("parameter", name), memory, name)
        size = memory.elements
        kept = [traced.builder.input(f"{name}/{state}", size, memory.dtype) for state in states]
        op = Op.of(f"{name}/{optimizer}", "elementwise", dtype=memory.dtype, source=f"update:{optimizer}", elements=size, cost=cost, extra_elements=size * (1 + 2 * len(states)))
        traced.builder.add(op, [gradient, *kept], 0)
    return [*notes, f"a step of training with {optimizer}: backward pass by silicast's derivative rules, gradients kept until the update"]


class _Backward:
    """The backward pass while it is being built: gradients by the tensor (or parameter) they belong to."""

    def __init__(self, traced: Traced) -> None:
        self.traced, self.builder = traced, traced.builder
        self.found: dict[tuple[str, int | str], list[tuple[int, int]]] = {}  # -> (tensor of a gradient, elements it is for)
        self.parameters: dict[str, Memory] = {}
        self.flowing = {r.made for r in traced.ran if r.grad}

    def start(self) -> list[str]:
        """Seeds the outputs."""
        notes = []
        for memory in dict.fromkeys(id(m) for m in self.traced.outputs):
            out = next(m for m in self.traced.outputs if id(m) == memory)
            if not out.grad:
                continue
            seed = self.builder.input("gradient of the result", out.elements, out.dtype)
            self.found.setdefault(("tensor", out.tensor), []).append((seed, out.elements))
            if out.elements > 1:
                notes.append("the result is no single number: backward starts from a gradient of its shape, given as an input")
        return notes[:1]

    def step(self, ran: Ran) -> None:
        """The derivative of one op."""
        if not ran.grad or ("tensor", ran.made) not in self.found:
            return
        gradient = self.gather(("tensor", ran.made), ran.writes[0], ran.op.name)
        getattr(self, f"_{ran.op.kind}", self._passes)(ran, gradient)

    # -- bookkeeping ----------------------------------------------------------------------------------------------------------------

    def needs(self, ran: Ran, at: int) -> bool:
        """Whether operand `at` wants a gradient."""
        memory, tensor, _ = ran.reads[at]
        return memory.grad and (bool(memory.parameter) or tensor in self.flowing)

    def wanted(self, ran: Ran) -> list[int]:
        """Operands that want a gradient."""
        return [i for i in range(len(ran.reads)) if self.needs(ran, i)]

    def kept(self, ran: Ran) -> list[int]:
        """Tensors kept from the forward pass that the derivative reads; of a product of two, the factor of a gradient that nobody wants is not kept."""
        factors = [(at, t) for at, t in ran.kept if at >= 0]
        product = ran.op.kind in ("gemm", "conv", "elementwise") and len(factors) == 2
        held = [t for at, t in ran.kept if at < 0 or not product or any(self.needs(ran, other) for other, _ in factors if other != at)]
        return [t for t in dict.fromkeys((*held, ran.stats)) if t >= 0]

    def give(self, ran: Ran, at: int, tensor: int, elements: int = 0) -> None:
        """A gradient for operand `at`; one of a broadcast operand is summed first. `elements`: of the gradient, where it is another size than the operand as seen."""
        memory, own, seen = ran.reads[at]
        elements = elements or seen
        whole = min(seen, memory.elements)
        if elements > whole:
            tensor = self.add(ran, f"sum{at}", "reduce", [tensor], whole, rows=whole, cols=ceil(elements / whole))
            elements = whole
        key: tuple[str, int | str] = ("parameter", memory.parameter) if memory.parameter else ("tensor", own)
        if memory.parameter:
            self.parameters.setdefault(memory.parameter, memory)
        self.found.setdefault(key, []).append((tensor, elements))

    def gather(self, key: tuple[str, int | str], memory: Memory, name: str) -> int:
        """The one gradient of a tensor: what was given, added up; parts are joined."""
        given = self.found.pop(key)
        whole = [t for t, elements in given if elements >= memory.elements]
        parts = [t for t, elements in given if elements < memory.elements]
        if parts and memory.elements > 1:
            op = Op.of(self._name(f"{name}/backward/join"), "move", dtype=memory.dtype, source="backward", elements=memory.elements)
            whole.append(self.builder.add(op, dict.fromkeys(parts)))
        elif parts:
            whole += parts
        total = whole[0]
        for other in whole[1:]:
            op = Op.of(self._name(f"{name}/backward/add"), "elementwise", dtype=memory.dtype, source="backward", elements=memory.elements, extra_elements=memory.elements)
            total = self.builder.add(op, [total, other])
        return total

    def add(self, ran: Ran, part: str, kind: str, reads: list[int], made: int | None = None, weight_dtype: str = "", **sizes: Any) -> int:
        """An op of the backward pass, named after the one it is the derivative of."""
        op = Op.of(self._name(f"{ran.op.name}/backward{f'/{part}' if part else ''}"), kind, dtype=ran.op.dtype, weight_dtype=weight_dtype, output_dtype=ran.op.dtype, source="backward", **sizes)
        return self.builder.add(op, dict.fromkeys(t for t in reads if t >= 0), made)

    def _name(self, label: str) -> str:
        seen = self.traced.names[label] = self.traced.names.get(label, 0) + 1
        return label if seen == 1 else f"{label}_{seen}"

    # -- derivatives ----------------------------------------------------------------------------------------------------------------

    def _split(self, ran: Ran) -> tuple[int, int, list[int]]:
        """(first operand, second operand, the others: biases) of a product."""
        kept = [at for at, _ in ran.kept if at >= 0 and at != ran.weight]
        first = kept[0] if kept else next(i for i in range(len(ran.reads)) if i != ran.weight)
        second = ran.weight if ran.weight is not None else next(i for i in range(len(ran.reads)) if i != first)
        return first, second, [i for i in range(len(ran.reads)) if i not in (first, second)]

    def _gemm(self, ran: Ran, g: int) -> None:
        d: dict[str, Any] = ran.op.dims
        kept = self.kept(ran)
        first, second, rest = self._split(ran)
        if self.needs(ran, first):
            made = self.add(ran, "input", "gemm", [g, *kept], ran.reads[first][2], ran.op.weight_dtype, b=d["b"], m=d["m"], n=d["k"], k=d["n"])
            self.give(ran, first, made)
        if self.needs(ran, second):
            self.give(ran, second, self.add(ran, "weight", "gemm", [g, *kept], d["b"] * d["k"] * d["n"], b=d["b"], m=d["k"], n=d["n"], k=d["m"]), d["b"] * d["k"] * d["n"])
        for bias in rest:
            if self.needs(ran, bias):
                self.give(ran, bias, g, d["b"] * d["m"] * d["n"])

    def _conv(self, ran: Ran, g: int) -> None:
        d: dict[str, Any] = ran.op.dims
        kept = self.kept(ran)
        first, second, rest = self._split(ran)
        groups, kernel = d["groups"], (d["kernel_h"], d["kernel_w"])
        if self.needs(ran, first):
            kind, transposed = spread(d["batch"], d["out_channels"], (d["out_h"], d["out_w"]), d["in_channels"], kernel, (d["stride_h"], d["stride_w"]), groups)
            self.give(ran, first, self.add(ran, "input", kind, [g, *kept], ran.reads[first][2], ran.op.weight_dtype, **dict[str, Any](transposed)))
        if self.needs(ran, second):
            # every channel is an image, the examples are its channels, the gradient of the result is the kernel that slides over it
            sizes: dict[str, Any] = {"batch": d["in_channels"] // groups, "in_channels": d["batch"] * groups, "in_h": d["in_h"], "in_w": d["in_w"], "out_channels": d["out_channels"],
                     "out_h": kernel[0], "out_w": kernel[1], "kernel_h": d["out_h"], "kernel_w": d["out_w"], "groups": groups}
            self.give(ran, second, self.add(ran, "weight", "conv", [g, *kept], ran.reads[second][2], **sizes))
        for bias in rest:
            if self.needs(ran, bias):
                self.give(ran, bias, g, ran.writes[0].elements)

    def _attention(self, ran: Ran, g: int) -> None:
        d: dict[str, Any] = ran.op.dims
        kept = self.kept(ran)
        wanted = [i for i in self.wanted(ran) if i < 3]
        scores = self.add(ran, "scores", "attention", [g, *kept], 0, **d)
        size = sum(ran.reads[i][2] for i in range(3))
        made = self.add(ran, "", "attention", [g, scores, *kept], size, **{**d, "head_dim": 2 * d["head_dim"]})
        for i in wanted:
            self.give(ran, i, made, ran.reads[i][2])

    def _recurrent(self, ran: Ran, g: int) -> None:
        d: dict[str, Any] = ran.op.dims
        kept = self.kept(ran)
        own = [i for i in self.wanted(ran) if ran.reads[i][0].parameter]
        made = self.add(ran, "steps", "recurrent", [g, *kept], d["steps"] * d["batch"] * d["input"], ran.op.weight_dtype, **d)
        if own:
            size = sum(ran.reads[i][2] for i in own)
            grads = self.add(ran, "weight", "gemm", [made, *kept], size, b=d["directions"], m=d["gates"] * d["hidden"], n=d["input"] + d["hidden"], k=d["steps"] * d["batch"])
            for i in own:
                self.give(ran, i, grads)
        for i in self.wanted(ran):
            if i not in own:
                self.give(ran, i, made)

    def _elementwise(self, ran: Ran, g: int) -> None:
        out = ran.writes[0].elements
        kept = self.kept(ran)
        for i in self.wanted(ran):
            seen = ran.reads[i][2]
            if ran.step.back == 0:
                self.give(ran, i, g, max(seen, out) if seen <= out else seen)
            else:
                size = max(out, seen)
                made = self.add(ran, "", "elementwise", [g, *kept], size, elements=size, cost=ran.step.back, extra_elements=out * len(kept))
                self.give(ran, i, made, size)

    def _norm(self, ran: Ran, g: int) -> None:
        d: dict[str, Any] = ran.op.dims
        kept = self.kept(ran)
        for i in self.wanted(ran):
            seen = ran.reads[i][2]
            if ran.reads[i][0].parameter:
                size = d["rows"] * d["cols"]
                self.give(ran, i, self.add(ran, f"scale{i}", "reduce", [g, *kept], seen, rows=seen, cols=max(1, size // seen)), seen)
            else:
                self.give(ran, i, self.add(ran, "", "norm", [g, *kept], seen, **d))

    def _softmax(self, ran: Ran, g: int) -> None:
        size = ran.op.dims["rows"] * ran.op.dims["cols"]
        for i in self.wanted(ran):  # a product, a sum along the row, a difference, a product
            self.give(ran, i, self.add(ran, "", "elementwise", [g, *self.kept(ran)], size, elements=size, cost=4, extra_elements=size), size)

    def _reduce(self, ran: Ran, g: int) -> None:
        size, kept = ran.op.dims["rows"] * ran.op.dims["cols"], self.kept(ran)
        plain = not kept and "mean" not in ran.op.name.rsplit("/", 1)[-1]
        for i in self.wanted(ran):
            if plain:  # a view that repeats the gradient: nothing runs
                self.give(ran, i, g, ran.reads[i][2])
            else:
                self.give(ran, i, self.add(ran, "", "elementwise", [g, *kept], size, elements=size, cost=1 + len(kept)), ran.reads[i][2])

    def _pool(self, ran: Ran, g: int) -> None:
        d = ran.op.dims
        window = d["kernel_h"] * d["kernel_w"] * d["out_h"] * d["out_w"]
        for i in self.wanted(ran):
            size = ran.reads[i][2]
            cost = 1 if "max" in ran.op.source else max(1, ceil(window / (d["in_h"] * d["in_w"])))
            self.give(ran, i, self.add(ran, "", "elementwise", [g, *self.kept(ran)], size, elements=size, cost=cost, extra_elements=ran.writes[0].elements))

    def _gather(self, ran: Ran, g: int) -> None:
        d = ran.op.dims
        for i in self.wanted(ran):  # a dense gradient: zeros, then every row added where it came from
            size = ran.reads[i][2]
            zero = self.add(ran, "zero", "move", [g], size, elements=size)
            taken = d["rows"] * d["width"]
            self.give(ran, i, self.add(ran, "", "elementwise", [g, zero, *self.kept(ran)], size, elements=taken, extra_elements=taken + d["rows"]))

    def _bound(self, ran: Ran, g: int) -> None:
        size = sum(e for _, _, e in ran.reads)
        made = self.add(ran, "", "bound", [g, *self.kept(ran)], size, input_elements=size + ran.writes[0].elements, output_elements=size)
        for i in self.wanted(ran):
            self.give(ran, i, made)

    def _passes(self, ran: Ran, g: int) -> None:
        """Copies: the gradient is a view of the result's (parts of a concatenation, a copy), or the sum over what was repeated."""
        out, wanted = ran.writes[0].elements, self.wanted(ran)
        alone = len(ran.reads) == 1
        for i in wanted:
            seen = ran.reads[i][2]
            self.give(ran, i, g, out if alone and out % prod((seen,)) == 0 and out > seen else min(seen, out))
