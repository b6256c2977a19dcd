"""A transformer language model as a noun: its sizes, its exact parameter counts, its cache. What one device runs of it: `transformer_layers.py`.

    model = transformer("llama3_70b")                      # datasets/catalog/transformers
    model.params, model.active_params                      # 70_553_706_496, the same: it is dense
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from .dtypes import BITS, dtype_name
from .errors import InputError, UnknownNameError
from .ops import ELEMENTWISE_COST, MAX_SIZE, shown

LAYERS = ("dense", "moe")
REQUIRED = ("key", "name", "layers", "hidden", "heads", "kv_heads", "head_dim", "ffn", "vocab")
PHASES = ("prefill", "decode", "forward", "backward", "train")


@dataclass(frozen=True, slots=True)
class Segment:
    """`batch` sequences that each bring `new_tokens` to a cache of `past_tokens`. Raises InputError for an impossible one."""

    batch: int
    new_tokens: int
    past_tokens: int = 0

    def __post_init__(self) -> None:
        for name, least in (("batch", 1), ("new_tokens", 1), ("past_tokens", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MAX_SIZE:
                raise InputError(f"segment: {name}: expected an integer of at least {least}, got {shown(value)}")

    @property
    def tokens(self) -> int:
        """Tokens that pass through the linear layers."""
        return self.batch * self.new_tokens


@dataclass(frozen=True, slots=True)
class Block:
    """`count` equal layers: dense or moe, seeing at most `window` keys (0: all)."""

    kind: str
    window: int
    count: int


@dataclass(frozen=True)
class Transformer:
    """A decoder-only language model, or with `encoder` a bidirectional one; valid at birth.

    Sizes are those of a model's `config.json`. `ffn` is the width of the dense feed-forward (0 when every layer is a mixture), `gated`: three
    matrices in place of two. `bias`: on every linear layer of the blocks, `qkv_bias`: on query, key and value alone, `out_bias` on what
    follows attention, `ffn_bias` on the feed-forward's. Norms have a scale, with `layer_norm` a shift too; `norms` of them per layer, `qk_norm` two more over `head_dim`. `positions` learned vectors; `rope`: rotary ones.

    Mixture of experts: `experts` of width `moe_ffn`, `top_k` of them per token beside `shared_experts` (`shared_gate`: weighed by a gate); the first
    `dense_layers` are dense, and after them all but every `moe_every`-th. Latent attention (MLA, DeepSeek-V2, 2024, section 2.1): `kv_rank` > 0, `q_rank` (0: queries not
    compressed), `nope_dim`, `rope_dim`, `v_dim`. Sliding attention over `window` keys, every `global_every`-th layer sees all (0: none).

    Raises InputError naming the field of an impossible figure.
    """

    key: str
    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    gated: bool = True
    act: str = "silu"
    bias: bool = False
    qkv_bias: bool = False
    head_bias: bool = False
    layer_norm: bool = False
    norms: int = 2
    qk_norm: bool = False
    embed_norm: bool = False
    rope: bool = True
    positions: int = 0
    token_types: int = 0
    tied: bool = False
    encoder: bool = False
    window: int = 0
    global_every: int = 0
    experts: int = 0
    top_k: int = 0
    shared_experts: int = 0
    moe_ffn: int = 0
    dense_layers: int = 0
    moe_every: int = 1
    q_rank: int = 0
    kv_rank: int = 0
    nope_dim: int = 0
    rope_dim: int = 0
    v_dim: int = 0
    out_bias: bool = False
    ffn_bias: bool = False
    shared_gate: bool = False
    max_tokens: int = 0
    aliases: tuple[str, ...] = field(default=(), compare=False)
    source: str = field(default="", compare=False)
    notes: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        def fault(name: str, expected: str) -> InputError:
            return InputError(f"transformer {self.key!r}: {name}: expected {expected}, got {shown(getattr(self, name))}")

        needed = {"layers", "hidden", "heads", "kv_heads", "head_dim", "vocab", "moe_every", *({"top_k", "moe_ffn"} if self.experts else {"ffn"}),
                  *({"nope_dim", "rope_dim", "v_dim"} if self.kv_rank else set())}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.type == "int" and (not isinstance(value, int) or isinstance(value, bool) or not (f.name in needed) <= value <= MAX_SIZE):
                raise fault(f.name, f"an integer of at least {int(f.name in needed)}")
            if f.type == "bool" and not isinstance(value, bool):
                raise fault(f.name, "true or false")
            if f.type == "str" and not isinstance(value, str):
                raise fault(f.name, "text")
        if not self.key or not all(c.isalnum() or c in "_-." for c in self.key):
            raise fault("key", "letters, digits, '_', '-' or '.'")
        if self.act not in ELEMENTWISE_COST:
            raise UnknownNameError("elementwise function", self.act, ELEMENTWISE_COST, f"as act of transformer {self.key!r}")
        if self.heads % self.kv_heads:
            raise fault("kv_heads", f"a divisor of heads ({self.heads})")
        if self.dense_layers > self.layers:
            raise fault("dense_layers", f"at most layers ({self.layers})")
        if self.experts and self.top_k > self.experts:
            raise fault("top_k", f"at most experts ({self.experts})")
        if self.experts and not self.ffn and (self.dense_layers or self.moe_every > 1):
            raise fault("ffn", "the width of the dense layers")
        object.__setattr__(self, "aliases", tuple(self.aliases))

    # -- what it is made of -----------------------------------------------------------------------------------------------------------

    @property
    def moe_layers(self) -> int:
        """Layers whose feed-forward is a mixture of experts."""
        return (self.layers - self.dense_layers) // self.moe_every if self.experts else 0

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The distinct layers with their counts; the counts add up to `layers`."""
        wide = self.layers // self.global_every if self.global_every else (0 if self.window else self.layers)
        spans = [(self.window, self.layers - wide), (0, wide)] if self.window else [(0, self.layers)]
        out = []
        moe = self.moe_layers
        for window, count in spans:  # dense layers come first and are few: they are taken from the first span
            mixed = min(moe, count) if window == spans[-1][0] else max(count - (self.layers - moe), 0)
            moe -= mixed
            out += [Block("dense", window, count - mixed), Block("moe", window, mixed)]
        return tuple(b for b in out if b.count)

    @property
    def latent(self) -> bool:
        """Whether attention is multi-head latent attention (MLA)."""
        return self.kv_rank > 0

    def norm_params(self, width: int) -> int:
        """Parameters of one norm over `width`."""
        return width * (2 if self.layer_norm else 1)

    @property
    def attention_params(self) -> int:
        """Parameters of one layer's attention, without the norm before it."""
        d, h = self.hidden, self.heads
        if self.latent:
            query = self.nope_dim + self.rope_dim
            q = d * self.q_rank + self.norm_params(self.q_rank) + self.q_rank * h * query if self.q_rank else d * h * query
            return q + d * (self.kv_rank + self.rope_dim) + self.norm_params(self.kv_rank) + self.kv_rank * h * (self.nope_dim + self.v_dim) + h * self.v_dim * d
        own, shared = h * self.head_dim, self.kv_heads * self.head_dim
        biases = (self.bias or self.qkv_bias) * (own + 2 * shared) + (self.bias or self.out_bias) * d
        return d * (2 * own + 2 * shared) + biases + self.qk_norm * 2 * self.norm_params(self.head_dim)

    def ffn_params(self, width: int) -> int:
        """Parameters of one feed-forward of that width."""
        ups = 2 if self.gated else 1
        return (ups + 1) * self.hidden * width + (self.bias or self.ffn_bias) * (ups * width + self.hidden)

    def layer_params(self, kind: str, active: bool = False) -> int:
        """Parameters of one layer; `active`: those that one token meets. Raises UnknownNameError for a kind that is neither dense nor moe."""
        if kind not in LAYERS:
            raise UnknownNameError("layer", kind, LAYERS)
        own = self.attention_params + self.norms * self.norm_params(self.hidden)
        if kind == "dense":
            return own + self.ffn_params(self.ffn)
        return own + self.hidden * (self.experts + self.shared_gate) + self.bias * self.experts + ((self.top_k if active else self.experts) + self.shared_experts) * self.ffn_params(self.moe_ffn)

    @property
    def outer_params(self) -> int:
        """Parameters outside the layers: embeddings, final norm, language-model head."""
        d = self.hidden
        tables = (self.vocab * (1 if self.tied else 2) + self.positions + self.token_types) * d
        return tables + self.norm_params(d) * (1 + self.embed_norm) + self.head_bias * self.vocab

    @property
    def params(self) -> int:
        """Parameters in all, exact."""
        return self.outer_params + sum(b.count * self.layer_params(b.kind) for b in self.blocks)

    @property
    def active_params(self) -> int:
        """Parameters one token meets: the routed experts beyond `top_k` are left out (embeddings counted whole, as publishers do)."""
        return self.outer_params + sum(b.count * self.layer_params(b.kind, active=True) for b in self.blocks)

    # -- memory -----------------------------------------------------------------------------------------------------------------------

    @property
    def kv_elements_per_layer(self) -> int:
        """Cached elements of one token in one layer: keys and values of the key heads, or with MLA the latent and the rotary key."""
        return self.kv_rank + self.rope_dim if self.latent else 2 * self.kv_heads * self.head_dim

    def kv_bytes_per_token(self, dtype: str = "bfloat16") -> float:
        """Bytes of cache one more token of context costs, over all layers, before any window is full."""
        return self.layers * self.kv_elements_per_layer * BITS[dtype_name(dtype)] / 8

    def kv_bytes(self, tokens: float, dtype: str = "bfloat16") -> float:
        """Bytes of cache of one sequence of so many tokens; a layer with a window keeps no more than the window."""
        per = self.kv_elements_per_layer * BITS[dtype_name(dtype)] / 8
        return sum(b.count * per * (min(tokens, b.window) if b.window else tokens) for b in self.blocks)

    def weight_bytes(self, weight_dtype: str = "bfloat16", outer_dtype: str = "") -> float:
        """Bytes of all weights; embeddings and head in `outer_dtype` (default: `weight_dtype`, but never below 16 bits)."""
        inner = BITS[dtype_name(weight_dtype)]
        outer = BITS[dtype_name(outer_dtype)] if outer_dtype else max(inner, 16)
        return (self.params - self.outer_params) * inner / 8 + self.outer_params * outer / 8

    # -- documents --------------------------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """A plain dict of the fields that are not at their default; `Transformer.from_json` gives back an equal model."""
        out = {f.name: getattr(self, f.name) for f in fields(self)}
        kept = {f.name: f.default for f in fields(self)}
        return {k: (list(v) if isinstance(v, tuple) else v) for k, v in out.items() if v != kept[k]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Transformer:
        """Reads `to_json`. Raises InputError naming an unknown or missing key."""
        unknown, missing = set(data) - {f.name for f in fields(cls)}, set(REQUIRED) - set(data)
        if unknown or missing:
            said = [f"unknown {', '.join(sorted(unknown))}"] * bool(unknown) + [f"missing {', '.join(sorted(missing))}"] * bool(missing)
            raise InputError(f"transformer document: {'; '.join(said)}; expected {', '.join(REQUIRED)} and what differs from the defaults")
        return cls(**data)
