"""T5: an encoder and a decoder that reads it, positions as a learned bias by distance (Raffel et al., JMLR 2020, section 2.1), norms by root mean square."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..errors import InputError
from ..ops import ELEMENTWISE_COST, Op
from ..transformer import Transformer
from ..transformer_chain import Chain
from ..transformer_graph import Ends, Step, add_head, check_depth, finished, outer_formats
from ..transformer_layers import add_feed_forward, share
from ..workload import Workload
from .hf_config import ACTIVATIONS, Config


def t5(c: Config) -> Callable[[Step, Sequence[str]], Workload]:
    """What builds the workload of a step: `tokens` of source, `target_tokens` of target. Decode adds the target tokens after `past_tokens` of them and
    reads the cached keys of the source; the encoder, and the weights that made those keys, are then no part of the graph."""
    words = c.text("feed_forward_proj", default="relu").split("-")
    gated, act = words[0] == "gated", words[-1]
    if act not in ACTIVATIONS or len(words) > 2 or (len(words) == 2 and not gated):
        raise c.fault("feed_forward_proj", f"an activation or gated-ACTIVATION, one of {', '.join(ACTIVATIONS)}")
    layers, heads = c.size("num_layers"), c.size("num_heads")
    t = Transformer(c.model_type, str(c.data.get("_name_or_path") or c.model_type), layers, c.size("d_model"), heads, heads, c.size("d_kv"), c.size("d_ff"), c.size("vocab_size"),
                    gated=gated, act=ACTIVATIONS[act], rope=False, tied=c.flag("tie_word_embeddings", c.model_type == "t5"), encoder=True)
    deep, buckets = c.size("num_decoder_layers", default=layers), c.size("relative_attention_num_buckets", default=32)
    c.read.update(("relative_attention_max_distance", "is_encoder_decoder", "n_positions"))
    check_depth(t.key, layers + deep)
    named = c.architecture
    decodes = not named.endswith("EncoderModel")
    head = "lm" if not named or named.endswith("ForConditionalGeneration") else "none"
    if named and not named.endswith(("ForConditionalGeneration", "EncoderModel", "T5Model")):
        raise c.fault("architectures", "T5ForConditionalGeneration, T5EncoderModel or T5Model")

    def build(step: Step, notes: Sequence[str]) -> Workload:
        if not decodes and step.phase in ("prefill", "decode"):
            raise InputError(f"{c.where}: {named} has no {step.phase} phase; expected forward, backward or train")
        chain = Chain(f"{t.key}/{step.phase}", step.formats)
        memory, held = -1, True
        if step.phase != "decode":
            x = _embedding(chain, t, step.batch * step.tokens, step, held=True)
            x = _stack(chain, t, "encoder", layers, x, step, step.tokens, 0, buckets, -1)
            memory, held = chain.norm("encoder/final_norm", x, step.batch * step.tokens, t, t.hidden), False
        if decodes:
            new = step.target_tokens
            past = step.past_tokens if step.phase == "decode" else 0
            x = _embedding(chain, t, step.batch * new, step, held)
            if step.phase == "decode":
                memory = chain.input("source_cache", 2 * deep * step.batch * step.tokens * heads * t.head_dim // step.tensor, chain.formats.kv)
            x = _stack(chain, t, "decoder", deep, x, step, new, past, buckets, memory)
            every = "forward" if step.phase in ("prefill", "decode") else step.phase  # logits of every target token
            add_head(chain, t, x, replace(step, tokens=new, past_tokens=past, phase=every), Ends(head=head))
        return finished(chain, step, notes)

    return build


def _embedding(chain: Chain, t: Transformer, tokens: int, step: Step, held: bool) -> int:
    """One table for both sides: its parameters live with the first look-up."""
    side = "source" if held and step.phase != "decode" else "target"
    f, columns = outer_formats(chain.formats), -(-t.vocab // step.tensor)
    ids = chain.input(f"{side}_ids", tokens, "int32")
    return chain.add(Op.of(f"{side}_embedding", "gather", rows=tokens, width=t.hidden, table_rows=columns, dtype=f.vector, weight_dtype=f.weight,
                           params=held * columns * t.hidden), [ids])


def _stack(chain: Chain, t: Transformer, side: str, layers: int, x: int, step: Step, new: int, past: int, buckets: int, memory: int) -> int:
    """The layers of one side; `memory` is what cross attention reads, -1 where there is none. In decode the keys of the source come from the cache."""
    b, d, hd, f, decoding = step.batch, t.hidden, t.head_dim, chain.formats, step.phase == "decode"
    heads, tokens, width = share(t, "heads", t.heads, step.tensor), b * new, share(t, "ffn columns", t.ffn, step.tensor)
    source, causal = step.tokens, side == "decoder"
    ids = chain.input(f"{side}/distances", new * (new + past), "int32")
    bias = chain.vector(f"{side}/relative_positions", "gather", [ids], buckets * heads, rows=new * (new + past), width=heads, table_rows=buckets)

    def closed(name: str, y: int, x: int) -> int:
        if step.collectives and step.tensor > 1:
            y = chain.vector(f"{name}_sum", "all_reduce", [y], elements=tokens * d, ranks=step.tensor)
        return chain.elementwise(f"{name}_add", [y, x], tokens * d, ELEMENTWISE_COST["add"], tokens * d)

    def attend(name: str, read: list[int], kv_len: int, ordered: bool) -> int:
        return chain.add(Op.of(name, "attention", batch=b, heads=heads, kv_heads=heads, q_len=new, kv_len=kv_len, head_dim=hd, v_dim=hd, causal=int(ordered),
                               dtype=f.vector, weight_dtype=f.kv if decoding else f.vector), read)

    for i in range(layers):
        chain.prefix = f"{side}.{i}/"
        y = chain.product("qkv", chain.norm("attention_norm", x, tokens, t, d), tokens, 3 * heads * hd, d)
        read = [y, bias]
        if causal and step.phase in ("prefill", "decode"):
            y = chain.vector("cache_write", "move", [y], elements=2 * tokens * heads * hd)
            read = [y, bias, *([chain.input("kv", 2 * b * past * heads * hd, f.kv)] if past else [])]
        x = closed("attention", chain.product("out", attend("attention", read, new + past, causal), tokens, d, heads * hd), x)
        if memory >= 0:
            q = chain.product("cross_q", chain.norm("cross_norm", x, tokens, t, d), tokens, heads * hd, d)
            wide = 2 * heads * hd
            # the widening of the source ran at prefill: its weights are held, its keys and values cached
            kv = memory if decoding else chain.product("cross_kv", memory, b * source, wide, d)
            y = attend("cross_attention", [q, kv], source, False)
            x = closed("cross", chain.product("cross_out", y, tokens, d, heads * hd), x)
        x = closed("ffn", add_feed_forward(chain, t, "ffn", chain.norm("ffn_norm", x, tokens, t, d), tokens, width), x)
    chain.prefix = ""
    return x
