"""A whole transformer as one `Workload`: embedding, every layer in its order, head, and in training the backward pass and the optimizer's step.

    model_graph(transformer("llama3_8b"), Step("decode", batch=32, past_tokens=2048))

Layers repeat, so who only needs a cost asks `layer_workload` for each distinct one; this is for those who need the graph itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .dtypes import BITS
from .errors import InputError, UnknownNameError
from .ops import ELEMENTWISE_COST, Op
from .transformer import PHASES, Segment, Transformer
from .transformer_chain import Chain, Formats, add_backward
from .transformer_layers import add_layer
from .workload import Workload

#: what stands behind the layers; rows are tokens, or sequences where one token of each speaks for it
HEADS: dict[str, str] = {
    "none": "nothing: hidden states",
    "lm": "logits over the vocabulary",
    "mlm": "dense, activation and norm, then logits over the vocabulary with a bias (BERT)",
    "pooler": "dense and tanh on one token of each sequence",
    "classify": "a pooler, then labels with a bias",
    "score": "labels without a bias, of one token of each sequence",
    "tokens": "labels with a bias, of every token",
}
#: optimizer -> (float32 values read and written back per parameter, operations on each): AdamW keeps weight, mean and square (Loshchilov and
#: Hutter, ICLR 2019, algorithm 2: 18 operations a parameter, a square root and a division counted as in ELEMENTWISE_COST); SGD with momentum
#: keeps weight and velocity
OPTIMIZERS: dict[str, tuple[int, int]] = {"adamw": (3, 6), "sgd": (2, 2), "": (0, 0)}
#: layers beyond which nobody's model goes, and a graph would only fill the memory
MOST_LAYERS = 512


@dataclass(frozen=True, slots=True)
class Ends:
    """What stands before and after the layers: a norm "after" them, "before" them (BERT) or "none"; one of `HEADS` with so many `labels`;
    embeddings of another width than the layers' (`embed_width`, OPT-350M) with a projection on either side. Raises InputError, UnknownNameError."""

    norm: str = "after"
    head: str = "lm"
    labels: int = 0
    embed_width: int = 0

    def __post_init__(self) -> None:
        if self.norm not in ("after", "before", "none"):
            raise UnknownNameError("place of a norm", self.norm, ("after", "before", "none"))
        if self.head not in HEADS:
            raise UnknownNameError("head", self.head, HEADS)
        if self.head in ("classify", "score", "tokens") and self.labels < 1:
            raise InputError(f"head {self.head!r}: labels: expected a whole number of at least 1, got {self.labels!r}")


@dataclass(frozen=True, slots=True)
class Step:
    """What is run: a phase on `batch` sequences that bring `tokens` each to a cache of `past_tokens`, cut over `tensor` and `expert` devices.

    `formats` of numbers; `collectives`: what the devices exchange is part of the graph (a lone machine refuses it); `optimizer` of a training
    step, one of `OPTIMIZERS`. `target_tokens`: of the decoder, where a model has both sides. Raises InputError naming an impossible field.
    """

    phase: str = "prefill"
    batch: int = 1
    tokens: int = 1
    past_tokens: int = 0
    tensor: int = 1
    expert: int = 1
    formats: Formats = field(default_factory=lambda: Formats.of("bfloat16"))
    collectives: bool = False
    optimizer: str = "adamw"
    target_tokens: int = 1

    def __post_init__(self) -> None:
        if self.phase not in PHASES:
            raise UnknownNameError("phase", self.phase, PHASES)
        if self.optimizer not in OPTIMIZERS:
            raise UnknownNameError("optimizer", self.optimizer, OPTIMIZERS)
        for name in ("tensor", "expert", "target_tokens"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"step: {name}: expected a whole number of at least 1, got {value!r}")
        Segment(self.batch, self.tokens, self.past_tokens)

    @property
    def segment(self) -> Segment:
        """The sequences of the step."""
        return Segment(self.batch, self.tokens, self.past_tokens)


def kind_of_layer(t: Transformer, index: int) -> tuple[str, int]:
    """(dense or moe, window) of layer `index`: the order behind the counts of `Transformer.blocks`."""
    mixed = t.experts and index >= t.dense_layers and (index - t.dense_layers + 1) % t.moe_every == 0
    wide = t.global_every and (index + 1) % t.global_every == 0
    return "moe" if mixed else "dense", 0 if wide else t.window


def model_graph(t: Transformer, step: Step, ends: Ends | None = None, notes: Sequence[str] = ()) -> Workload:
    """The whole model on ONE device of the step's tensor and expert groups. Raises InputError for what does not divide, or an encoder that is to decode."""
    ends = ends or Ends()
    if t.encoder and step.phase in ("decode", "prefill"):
        raise InputError(f"transformer {t.key!r} is an encoder: it has no {step.phase} phase; expected forward, backward or train")
    check_depth(t.key, t.layers)
    chain = Chain(f"{t.key}/{step.phase}", step.formats)
    x = add_embedding(chain, t, step, ends)
    for i in range(t.layers):
        chain.prefix = f"layers.{i}/"
        kind, window = kind_of_layer(t, i)
        x = add_layer(chain, t, x, (step.segment,), step.phase, step.tensor, step.expert, kind, window, step.collectives)
    chain.prefix = ""
    add_head(chain, t, x, step, ends)
    return finished(chain, step, notes)


def check_depth(key: str, layers: int) -> None:
    """Raises InputError when a model is deeper than a graph is drawn for."""
    if layers > MOST_LAYERS:
        raise InputError(f"transformer {key!r}: layers: expected at most {MOST_LAYERS} for a whole graph, got {layers}; ask for one layer (layer_workload)")


def outer_formats(formats: Formats) -> Formats:
    """Embeddings and head stay in 16 bits, as published quantised checkpoints leave them, unless the weights alone are narrower."""
    weight = formats.weight if BITS[formats.weight] != BITS[formats.product] and BITS[formats.product] >= 16 else formats.vector
    return Formats(formats.vector, weight, formats.vector, formats.kv)


def add_embedding(chain: Chain, t: Transformer, step: Step, ends: Ends) -> int:
    """Adds the look-up of tokens with what is added to them; returns their vectors."""
    inner, chain.formats = chain.formats, outer_formats(chain.formats)
    tokens, width, columns = step.segment.tokens, ends.embed_width or t.hidden, -(-t.vocab // step.tensor)
    x = chain.input("ids", tokens, "int32")
    f = chain.formats
    x = chain.add(Op.of("embedding", "gather", rows=tokens, width=width, table_rows=columns, dtype=f.vector, weight_dtype=f.weight, params=columns * width), [x])
    if step.collectives and step.tensor > 1:
        x = chain.vector("embedding_sum", "all_reduce", [x], elements=tokens * width, ranks=step.tensor)
    if width != t.hidden:
        x = chain.product("project_in", x, tokens, t.hidden, width)
    if t.positions or t.token_types:
        x = chain.elementwise("positions", [x], tokens * t.hidden, ELEMENTWISE_COST["add"], step.tokens * t.hidden, (t.positions + t.token_types) * t.hidden)
    if t.embed_norm:
        x = chain.norm("embed_norm", x, tokens, t, t.hidden)
    if ends.norm == "before":
        x = chain.norm("first_norm", x, tokens, t, t.hidden)
    chain.formats = inner
    return x


def add_head(chain: Chain, t: Transformer, x: int, step: Step, ends: Ends) -> int:
    """Adds the last norm and the head, in training a loss over its logits."""
    inner, chain.formats = chain.formats, outer_formats(chain.formats)
    d, tokens, rows = t.hidden, step.segment.tokens, step.batch
    if ends.norm == "after":
        x = chain.norm("final_norm", x, tokens, t, d)
    logits = 0
    if ends.head in ("lm", "mlm"):
        rows = step.batch if step.phase == "prefill" else tokens
        if ends.head == "mlm":
            x = chain.product("mlm_dense", x, rows, d, d, bias=True)
            x = chain.elementwise("mlm_act", [x], rows * d, ELEMENTWISE_COST[t.act])
            x = chain.norm("mlm_norm", x, rows, t, d)
        width = ends.embed_width or d
        if width != d:
            x = chain.product("project_out", x, rows, width, d)
        logits = -(-t.vocab // step.tensor)
        bias = t.head_bias or ends.head == "mlm"
        x = chain.product("head", x, rows, logits, width, bias, params=(0 if t.tied else logits * width) + bias * logits)
        if step.collectives and step.tensor > 1 and step.phase != "train":
            x = chain.vector("logits", "all_gather", [x], elements=rows * logits, ranks=step.tensor)
    elif ends.head in ("pooler", "classify"):
        x = chain.product("pooler", x, rows, d, d, bias=True)
        x = chain.elementwise("pooler_act", [x], rows * d, ELEMENTWISE_COST["tanh"])
    if ends.head in ("classify", "score", "tokens"):
        rows, logits = (tokens if ends.head == "tokens" else rows), ends.labels
        x = chain.product("labels", x, rows, logits, d, bias=ends.head != "score")
    if step.phase == "train" and logits:
        x = chain.vector("loss", "softmax", [x], rows=rows, cols=logits)
    chain.formats = inner
    return x


def finished(chain: Chain, step: Step, notes: Sequence[str] = ()) -> Workload:
    """The workload of a whole model's chain: in training with backward pass and optimizer, one op for all parameters under one prefix."""
    said = list(notes)
    if step.phase == "backward":
        chain = add_backward(chain, Chain(chain.builder.name, chain.formats, chain.builder.family))
    elif step.phase == "train":
        forward = list(chain.steps)
        add_backward(chain, chain)
        said += _add_optimizer(chain, forward, step.optimizer)
    chain.builder.notes.extend(said)
    return chain.builder.build()


def _add_optimizer(chain: Chain, forward: Sequence[tuple[Op, list[int], int]], optimizer: str) -> list[str]:
    """Adds the optimizer's step: every kept value of a parameter is read and written in float32, its gradient read beside them."""
    kept, cost = OPTIMIZERS[optimizer]
    held: dict[str, int] = {}
    for op, _, _ in forward:
        prefix = op.name.rpartition("/")[0]
        held[prefix] = held.get(prefix, 0) + op.params
    gradients: dict[str, list[int]] = {}
    for op, _, tensor in chain.steps[len(forward):]:
        if op.name.endswith(".wgrad"):
            gradients.setdefault(op.name.rpartition("/")[0], []).append(tensor)
    for prefix, params in held.items():
        if kept and params:
            sizes: dict[str, Any] = {"elements": kept * params, "extra_elements": params, "cost": cost}
            name = f"{prefix}/{optimizer}" if prefix else optimizer
            chain.builder.add(Op.of(name, "elementwise", dtype="float32", **sizes), gradients.get(prefix, []), 0)  # in place: nothing new is kept
    total = sum(held.values())
    return [f"{optimizer}: {4 * kept * total} bytes of float32 state beside weights and activations, updated in place"] if kept else []
