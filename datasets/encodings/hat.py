"""HAT rows (Wang et al., "HAT: Hardware-Aware Transformers", ACL 2020, section 3): an encoder-decoder transformer of unequal layers.

    {"encoder_embed_dim": 640, "encoder_layer_num": 6, "encoder_ffn_embed_dim": [3072, ...], "encoder_self_attention_heads": [8, ...],
     "decoder_embed_dim": 512, "decoder_layer_num": 3, "decoder_ffn_embed_dim": [...], "decoder_self_attention_heads": [...],
     "decoder_ende_attention_heads": [...], "decoder_arbitrary_ende_attn": [...]}

The open latency table gives a mean over the layers (`..._avg`) in place of a list. The lists are then the most even ones of the space's own values
with that mean: parameters and FLOPs of the projections are those of the network measured, in which layer they lie is not known (a note says so).

Taken from the public code of the paper: queries, keys and values are 512 wide in all; a layer normalises after its shortcut; one table of word
vectors serves both sides and the output; latency was measured on sentences of 30 words, one at a time, and five beams (fairseq's default).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Any

from ..errors import FormatError, UnknownNameError
from ..layers import Net, Value
from ..ops import shown
from ..workload import Workload
from .vector import Encoding, listed, number, opened

QKV, LENGTH, BEAMS, MOST_LAYERS = 512, 30, 5, 8
#: words of the joined dictionaries: fairseq's log names the first, the second is that of its public WMT'14 English-French model (assumption)
WORDS = {"wmt14ende": 32768, "wmt14enfr": 44512}
FFN, HEADS = (512, 1024, 2048, 3072), (2, 4, 8)
#: encoder layers that a decoder layer attends to: as the table's mean counts them, and as a configuration writes them
SEEN, SEEN_AS_WRITTEN = (1, 2, 3), {-1: 1, 1: 2, 2: 3}
PARTS = ("both", "encoder", "decoder")
WHERE = "hat"


@lru_cache(maxsize=4096)
def _even(total: int, layers: int, choices: tuple[int, ...]) -> tuple[int, ...] | None:
    found = [c for c in combinations_with_replacement(sorted(choices, reverse=True), layers) if sum(c) == total]
    return min(found, key=lambda c: sum(v * v for v in c)) if found else None


def _layers(row: Mapping[str, Any], name: str, count: int, choices: tuple[int, ...], most: int) -> tuple[int, ...]:
    """One value per layer: the list under `name`, or the most even one whose mean is `name`_avg."""
    if name in row:
        values = opened(row[name], f"{WHERE}, {name}")
        given = len(values) if isinstance(values, list | tuple) else 0
        if given < count:
            raise FormatError(f"{WHERE}: {name}: expected {count} values, one per layer, got {shown(values)}")
        return tuple(number(v, -1 if choices is SEEN else 1, most, f"{WHERE}, {name}") for v in listed({name: values}, name, given, WHERE)[:count])  # a configuration lists layers it does not use
    mean = row.get(f"{name}_avg")
    if not isinstance(mean, int | float) or not 0.0 < mean <= most:
        raise FormatError(f"{WHERE}: expected a list under {name!r} or a number above 0 under '{name}_avg', got {shown(mean)}")
    values = _even(round(mean * count), count, choices)
    if values is None or abs(sum(values) - mean * count) > 0.01 * count:
        raise FormatError(f"{WHERE}: {name}_avg: {count} layers of {', '.join(map(str, choices))} cannot have the mean {mean}")
    return values


def _attend(net: Net, x: Value, memory: Value | None, heads: int, cached: int) -> Value:
    """Projections, attention, output, shortcut, norm. `memory` None: on x itself, `cached` positions before it; else keys of the encoder, projected
    in the first step of a generation and at hand in this one."""
    if memory is None:
        q, k, v = net.split(net.linear(x, 3 * QKV, name="qkv"), (QKV, QKV, QKV))
        y = net.attention(q, k, v, heads, causal=cached > 0, kv_len=cached + x.shape[1])
    else:
        q = net.linear(x, QKV, name="q")
        k, v = (net.linear(memory, QKV, name=name) for name in ("k", "v"))
        y = net.attention(q, k, v, heads)
    return net.layer_norm(net.add(x, net.linear(y, x.shape[2], name="out")))


def _feed(net: Net, x: Value, hidden: int) -> Value:
    return net.layer_norm(net.add(x, net.linear(net.relu(net.linear(x, hidden)), x.shape[2])))


def hat(encoding: Encoding, batch: int = 1, resolution: int = 0, dtype: str = "float32") -> Workload:
    """The transformer of a row: the encoder on `batch` sentences of `resolution` words (0: 30), and one step of the decoder.

    The step is the middle one of a generation as long as the sentence, with five beams per sentence; keys and values of the encoder's output
    are projected in it (the public code keeps them after the first step). A decoder latency of the table is 30 such steps. `part` in the row
    ("encoder", "decoder") leaves out the other half; `task` ("wmt14ende", "wmt14enfr") says the dictionary. Raises FormatError naming the column,
    UnknownNameError for another part or task.
    """
    row = opened(encoding, WHERE)
    if not isinstance(row, Mapping):
        raise FormatError(f"{WHERE}: expected a row of columns, got {shown(row)}")
    # a configuration of the paper's code: dashes, "-all" before a list, "-subtransformer" at the end
    row = {str(k).replace("-", "_").removesuffix("_subtransformer").removesuffix("_all"): v for k, v in row.items()}
    part, task, length = row.get("part", "both"), row.get("task", "wmt14ende"), resolution or LENGTH
    for what, value, known in (("part", part, PARTS), ("task", task, tuple(WORDS))):
        if value not in known:
            raise UnknownNameError(what, shown(value), known, f"in {WHERE}")
    wide, narrow = (number(row.get(f"{side}_embed_dim"), 1, 2**16, f"{WHERE}, {side}_embed_dim") for side in ("encoder", "decoder"))
    deep, shallow = (number(row.get(f"{side}_layer_num"), 1, MOST_LAYERS, f"{WHERE}, {side}_layer_num") for side in ("encoder", "decoder"))

    net = Net("hat", dtype, family="seq")
    words = WORDS[task]
    if part != "decoder":
        with net.scope("encoder"):
            x = net.embedding(net.tokens(batch, length), words, wide, shared=part == "both" and narrow > wide)
            x = net.add(net.activation(x, "mul", name="scale"), net.input((length, wide), "sines"))
            hidden, heads = _layers(row, "encoder_ffn_embed_dim", deep, FFN, 2**20), _layers(row, "encoder_self_attention_heads", deep, HEADS, QKV)
            outputs = []
            for i in range(deep):
                with net.scope(f"layer{i}"):
                    x = _feed(net, _attend(net, x, None, heads[i], 0), hidden[i])
                    outputs.append(x)
    if part != "encoder":
        beams = batch * BEAMS
        with net.scope("decoder"):
            hidden, heads = _layers(row, "decoder_ffn_embed_dim", shallow, FFN, 2**20), _layers(row, "decoder_self_attention_heads", shallow, HEADS, QKV)
            cross = _layers(row, "decoder_ende_attention_heads", shallow, HEADS, QKV)
            seen = [SEEN_AS_WRITTEN.get(s, s) if "decoder_arbitrary_ende_attn" in row else s for s in _layers(row, "decoder_arbitrary_ende_attn", shallow, SEEN, 3)]
            memories = {}
            for count in sorted(set(seen)):
                if part == "decoder" or count > deep:
                    memories[count] = net.input((beams, length * count, wide), f"memory{count}")
                else:  # the last layers' outputs one after another, once per beam
                    last = net.concat(outputs[-count:], axis=1, name=f"memory{count}/join") if count > 1 else outputs[-1]
                    memories[count] = net.concat([last] * BEAMS, axis=0, name=f"memory{count}/beams")
            y = net.embedding(net.tokens(beams, 1), words, narrow, shared=part == "both" and narrow <= wide)
            y = net.add(net.activation(y, "mul", name="scale"), net.input((1, narrow), "sines"))
            for i in range(shallow):
                with net.scope(f"layer{i}"):
                    with net.scope("self"):
                        y = _attend(net, y, None, heads[i], (length - 1) // 2)
                    with net.scope("cross"):
                        y = _attend(net, y, memories[seen[i]], cross[i], 0)
                    y = _feed(net, y, hidden[i])
            net.linear(y, words, bias=False, name="words", shared=True)
    means = [name for name in row if name.endswith("_avg")]
    return net.build(*(["the table gives means over layers; which layer has which value is a guess"] if means else []))
