"""Families of language models that are the `Transformer` noun: model_type -> the sizes in its config.

Each function states the keys of one configuration class and what its class documents as their defaults. Sizes that decide everything (layers,
widths, vocabulary) have no default here: every published config carries them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import FormatError, InputError, UnsupportedOpError
from ..transformer import Transformer
from ..transformer_graph import Ends
from .hf_config import Config

Family = Callable[[Config], tuple[Transformer, Ends]]


def _gated(c: Config, kv_heads: int | None = None, head_dim: int | None = None, tied: bool = False, act: str = "silu", **rest: Any) -> dict[str, Any]:
    """The fields that Llama's config and its descendants share; `kv_heads` and `head_dim` are the defaults of their class (None: from the others)."""
    hidden, heads = c.size("hidden_size"), c.size("num_attention_heads")
    return {"layers": c.size("num_hidden_layers"), "hidden": hidden, "heads": heads, "kv_heads": c.size("num_key_value_heads", default=kv_heads or heads),
            "head_dim": c.size("head_dim", default=head_dim or max(hidden // heads, 1)), "ffn": c.size("intermediate_size"), "vocab": c.size("vocab_size"),
            "act": c.activation("hidden_act", default=act), "tied": c.flag("tie_word_embeddings", tied), "max_tokens": c.size("max_position_embeddings", default=2048), **rest}


def _old(c: Config, hidden: int, layers: int, heads: int, ffn: int, **rest: Any) -> dict[str, Any]:
    """The fields of a model with layer norms, biases and a feed-forward of two matrices."""
    return {"layers": layers, "hidden": hidden, "heads": heads, "kv_heads": heads, "head_dim": max(hidden // heads, 1), "ffn": ffn, "vocab": c.size("vocab_size"),
            "gated": False, "bias": True, "layer_norm": True, "rope": False, "tied": True, **rest}


def _attention_bias(c: Config, default: bool = False) -> dict[str, bool]:
    biased = c.flag("attention_bias", default)
    return {"qkv_bias": biased, "out_bias": biased}


def _llama(c: Config) -> dict[str, Any]:
    return {**_gated(c), **_attention_bias(c), "ffn_bias": c.flag("mlp_bias", False)}


def _mistral(c: Config) -> dict[str, Any]:
    # the class has a window of 4096; a config with null says that there is none
    window = c.size("sliding_window", default=4096) if c.data.get("sliding_window", 0) is not None else 0
    return _gated(c, kv_heads=8, window=window)


def _mixtral(c: Config) -> dict[str, Any]:
    window = c.size("sliding_window") if c.has("sliding_window") else 0
    sizes = _gated(c, kv_heads=8, window=window, experts=c.size("num_local_experts", default=8), top_k=c.size("num_experts_per_tok", default=2))
    return {**sizes, "ffn": 0, "moe_ffn": sizes["ffn"]}


def _window_of_qwen(c: Config) -> int:
    if not c.flag("use_sliding_window", False):
        c.read.update(("sliding_window", "max_window_layers", "layer_types"))
        return 0
    first = c.size("max_window_layers", default=28, least=0)  # layers below it see everything
    if 0 < first < c.size("num_hidden_layers"):
        raise UnsupportedOpError(f"{c.where}: use_sliding_window: a window from layer {first} on is not counted; expected max_window_layers 0 or all of the layers")
    return 0 if first else c.size("sliding_window", default=4096)


def _qwen2(c: Config) -> dict[str, Any]:
    return _gated(c, kv_heads=32, window=_window_of_qwen(c), qkv_bias=True)


def _qwen3(c: Config) -> dict[str, Any]:
    return {**_gated(c, kv_heads=32, head_dim=128, window=_window_of_qwen(c), qk_norm=True), **_attention_bias(c)}


def _qwen_experts(c: Config, experts: int, top_k: int) -> dict[str, Any]:
    dense = c.data.get("mlp_only_layers") or []
    c.read.add("mlp_only_layers")
    if not isinstance(dense, list):
        raise c.fault("mlp_only_layers", "a list of layers")
    every = c.size("decoder_sparse_step", default=1)
    if dense != list(range(len(dense))) or (dense and every > 1):
        raise UnsupportedOpError(f"{c.where}: mlp_only_layers: dense layers {dense!r} with decoder_sparse_step {every} are not counted; expected the first ones, and 1")
    return {"experts": c.size("num_experts", default=experts), "top_k": c.size("num_experts_per_tok", default=top_k), "moe_ffn": c.size("moe_intermediate_size"),
            "dense_layers": len(dense), "moe_every": every}


def _qwen2_moe(c: Config) -> dict[str, Any]:
    sizes = {**_gated(c, kv_heads=16, window=_window_of_qwen(c), qkv_bias=c.flag("qkv_bias", True), shared_gate=True), **_qwen_experts(c, 60, 4)}
    shared = c.size("shared_expert_intermediate_size")
    if shared % sizes["moe_ffn"]:
        raise c.fault("shared_expert_intermediate_size", f"a multiple of moe_intermediate_size ({sizes['moe_ffn']})")
    return {**sizes, "shared_experts": shared // sizes["moe_ffn"]}


def _qwen3_moe(c: Config) -> dict[str, Any]:
    return {**_gated(c, kv_heads=4, window=_window_of_qwen(c), qk_norm=True), **_attention_bias(c), **_qwen_experts(c, 128, 8)}


def _phi3(c: Config) -> dict[str, Any]:
    return _gated(c, window=c.size("sliding_window") if c.has("sliding_window") else 0)


def _gemma(c: Config) -> dict[str, Any]:
    c.has("hidden_activation")
    return {**_gated(c, kv_heads=16, head_dim=256, tied=True, act="gelu_pytorch_tanh"), **_attention_bias(c)}


def _gemma2(c: Config) -> dict[str, Any]:
    act = c.activation("hidden_activation", default="gelu_pytorch_tanh")  # hidden_act, where both are given, is not what the model uses
    sizes = _gated(c, kv_heads=4, head_dim=256, tied=True, act="gelu", norms=4, window=c.size("sliding_window", default=4096), global_every=2)
    return {**sizes, **_attention_bias(c), "act": act}


def _deepseek(c: Config) -> dict[str, Any]:
    heads = c.size("num_attention_heads")
    nope, rope = c.size("qk_nope_head_dim", default=128), c.size("qk_rope_head_dim", default=64)
    c.read.update(("head_dim", "num_key_value_heads", "q_lora_rank", "n_routed_experts", "num_nextn_predict_layers"))
    if c.flag("attention_bias", False):
        raise UnsupportedOpError(f"{c.where}: attention_bias: biases of latent attention are not counted; expected false")
    sizes = {"layers": c.size("num_hidden_layers"), "hidden": c.size("hidden_size"), "heads": heads, "kv_heads": heads, "head_dim": nope + rope, "ffn": c.size("intermediate_size"),
             "vocab": c.size("vocab_size"), "act": c.activation("hidden_act", default="silu"), "tied": c.flag("tie_word_embeddings", False),
             "max_tokens": c.size("max_position_embeddings", default=2048), "nope_dim": nope, "rope_dim": rope, "v_dim": c.size("v_head_dim", default=128),
             "kv_rank": c.size("kv_lora_rank", default=512)}
    if "q_lora_rank" not in c.data:
        sizes["q_rank"] = c.size("q_lora_rank", default=1536)
    elif c.data["q_lora_rank"] is not None:
        sizes["q_rank"] = c.size("q_lora_rank")
    if c.data.get("n_routed_experts") is not None:
        every = c.size("moe_layer_freq", default=1)
        if every != 1:
            raise UnsupportedOpError(f"{c.where}: moe_layer_freq {every} is not counted; expected 1")
        sizes |= {"experts": c.size("n_routed_experts"), "top_k": c.size("num_experts_per_tok"), "moe_ffn": c.size("moe_intermediate_size"),
                  "shared_experts": c.size("n_shared_experts") if c.has("n_shared_experts") else 0, "dense_layers": c.size("first_k_dense_replace", default=0, least=0)}
    return sizes


def _gpt2(c: Config) -> dict[str, Any]:
    hidden = c.size("n_embd", "hidden_size")
    if c.flag("add_cross_attention", False):
        raise UnsupportedOpError(f"{c.where}: add_cross_attention: a decoder that reads an encoder is not counted; expected false")
    positions = c.size("n_positions", "max_position_embeddings")
    return _old(c, hidden, c.size("n_layer", "num_hidden_layers"), c.size("n_head", "num_attention_heads"), c.size("n_inner", default=4 * hidden), positions=positions,
                max_tokens=positions, act=c.activation("activation_function", default="gelu_new"), tied=c.flag("tie_word_embeddings", True))


def _gptj(c: Config) -> dict[str, Any]:
    hidden = c.size("n_embd", "hidden_size")
    c.read.add("rotary_dim")
    return _old(c, hidden, c.size("n_layer", "num_hidden_layers"), c.size("n_head", "num_attention_heads"), c.size("n_inner", default=4 * hidden), bias=False, ffn_bias=True,
                head_bias=True, rope=True, norms=1, max_tokens=c.size("n_positions", default=2048), act=c.activation("activation_function", default="gelu_new"),
                tied=c.flag("tie_word_embeddings", False))


def _gpt_neox(c: Config) -> dict[str, Any]:
    biased = c.flag("attention_bias", True)
    return _old(c, c.size("hidden_size"), c.size("num_hidden_layers"), c.size("num_attention_heads"), c.size("intermediate_size"), bias=False, ffn_bias=True,
                qkv_bias=biased, out_bias=biased, rope=True, max_tokens=c.size("max_position_embeddings", default=2048), act=c.activation("hidden_act", default="gelu"),
                tied=c.flag("tie_word_embeddings", False))


def _opt(c: Config) -> tuple[dict[str, Any], Ends]:
    hidden, positions = c.size("hidden_size"), c.size("max_position_embeddings", default=2048)
    biased, shifted = c.flag("enable_bias", True), c.flag("layer_norm_elementwise_affine", True)
    if not shifted:
        raise UnsupportedOpError(f"{c.where}: layer_norm_elementwise_affine false: norms without scale and shift are not counted")
    first = c.flag("do_layer_norm_before", True) and not c.flag("_remove_final_layer_norm", False)
    sizes = _old(c, hidden, c.size("num_hidden_layers"), c.size("num_attention_heads"), c.size("ffn_dim"), bias=biased, positions=positions + 2,  # OPT's table has two rows of padding
                 max_tokens=positions, act=c.activation("activation_function", default="relu"), tied=c.flag("tie_word_embeddings", True))
    width = c.size("word_embed_proj_dim", default=hidden)
    return sizes, Ends(norm="after" if first else "none", embed_width=0 if width == hidden else width)


def _bloom(c: Config) -> dict[str, Any]:
    hidden = c.size("hidden_size", "n_embed")
    return _old(c, hidden, c.size("n_layer", "num_hidden_layers"), c.size("n_head", "num_attention_heads"), 4 * hidden, embed_norm=True, act="gelu",
                tied=c.flag("tie_word_embeddings", True), max_tokens=c.size("seq_length", default=2048))


def _falcon(c: Config) -> dict[str, Any]:
    hidden, heads = c.size("hidden_size"), c.size("num_attention_heads", "n_head")
    new, shared, side_by_side = c.flag("new_decoder_architecture", False), c.flag("multi_query", True), c.flag("parallel_attn", True)
    if new:
        kv_heads, norms = c.size("num_kv_heads", default=heads), c.size("num_ln_in_parallel_attn", default=2)
    else:
        kv_heads, norms = 1 if shared else heads, 1 if side_by_side else 2
        c.read.update(("num_kv_heads", "num_ln_in_parallel_attn"))
    sizes = _old(c, hidden, c.size("num_hidden_layers", "n_layer"), heads, c.size("ffn_hidden_size", default=4 * hidden), bias=c.flag("bias", False), norms=norms,
                 rope=not c.flag("alibi", False), act=c.activation("activation", default="gelu"), tied=c.flag("tie_word_embeddings", True),
                 max_tokens=c.size("max_position_embeddings", default=2048))
    return {**sizes, "kv_heads": kv_heads}


def _phi(c: Config) -> dict[str, Any]:
    heads = c.size("num_attention_heads")
    sizes = _old(c, c.size("hidden_size"), c.size("num_hidden_layers"), heads, c.size("intermediate_size"), head_bias=True, rope=True, norms=1,
                 qk_norm=c.flag("qk_layernorm", False), act=c.activation("hidden_act", default="gelu_new"), tied=c.flag("tie_word_embeddings", False),
                 max_tokens=c.size("max_position_embeddings", default=2048))
    return {**sizes, "kv_heads": c.size("num_key_value_heads", default=heads)}


def _bert(types: int) -> Callable[[Config], tuple[dict[str, Any], Ends]]:
    def family(c: Config) -> tuple[dict[str, Any], Ends]:
        if c.flag("is_decoder", False) or c.flag("add_cross_attention", False):
            raise UnsupportedOpError(f"{c.where}: is_decoder: a {c.model_type} that decodes is not counted; expected false")
        if (kind := c.text("position_embedding_type", default="absolute")) != "absolute":
            raise UnsupportedOpError(f"{c.where}: position_embedding_type: expected 'absolute', got {kind!r}")
        positions = c.size("max_position_embeddings")
        sizes = _old(c, c.size("hidden_size"), c.size("num_hidden_layers"), c.size("num_attention_heads"), c.size("intermediate_size"), positions=positions,
                     max_tokens=positions - (2 if types == 1 and positions > 2 else 0), token_types=c.size("type_vocab_size", default=types), encoder=True,
                     act=c.activation("hidden_act", default="gelu"), tied=c.flag("tie_word_embeddings", True))
        return sizes, Ends(norm="before", head="pooler")
    return family


#: model_type -> the fields of its `Transformer`, with other ends than a final norm and a vocabulary where it has them
_SIZES: dict[str, Callable[[Config], Any]] = {
    "llama": _llama, "mistral": _mistral, "mixtral": _mixtral, "qwen2": _qwen2, "qwen2_moe": _qwen2_moe, "qwen3": _qwen3, "qwen3_moe": _qwen3_moe, "phi3": _phi3,
    "gemma": _gemma, "gemma2": _gemma2, "deepseek_v2": _deepseek, "deepseek_v3": _deepseek, "gpt2": _gpt2, "gptj": _gptj, "gpt_neox": _gpt_neox, "opt": _opt,
    "bloom": _bloom, "falcon": _falcon, "phi": _phi, "bert": _bert(2), "roberta": _bert(1), "xlm-roberta": _bert(1), "camembert": _bert(1),
}
#: how the name of an architecture ends -> head (decoder, encoder)
_HEADS: dict[str, tuple[str, str]] = {
    "ForCausalLM": ("lm", ""), "LMHeadModel": ("lm", ""), "DoubleHeadsModel": ("lm", ""), "ForMaskedLM": ("", "mlm"), "ForSequenceClassification": ("score", "classify"),
    "ForTokenClassification": ("tokens", "tokens"), "ForQuestionAnswering": ("tokens", "tokens"), "Model": ("none", "pooler"),
}


def _family(sizes: Callable[[Config], Any]) -> Family:
    def read(c: Config) -> tuple[Transformer, Ends]:
        found = sizes(c)
        fields, ends = found if isinstance(found, tuple) else (found, Ends())
        name = c.data.get("_name_or_path")
        title = name if isinstance(name, str) and name else c.model_type
        key = "".join(ch if ch.isalnum() or ch in "_-." else "_" for ch in title)[:80] or c.model_type
        try:
            t = Transformer(key=key, name=title, source=c.where, **fields)
        except InputError as error:
            raise FormatError(f"{c.where}: {error}") from None
        return t, _head(c, t, ends)
    return read


def _head(c: Config, t: Transformer, ends: Ends) -> Ends:
    named = c.architecture
    ending = next((e for e in sorted(_HEADS, key=len, reverse=True) if named.endswith(e)), "")
    if named and (not ending or not _HEADS[ending][t.encoder]):
        known = ", ".join(e for e, heads in _HEADS.items() if heads[t.encoder])
        raise UnsupportedOpError(f"{c.where}: architectures: {named!r} has a head that is not counted; expected a class that ends in {known}")
    head = _HEADS[ending][t.encoder] if ending else ends.head
    labels = 0
    if head in ("classify", "score", "tokens"):
        labels = 2 if ending == "ForQuestionAnswering" else c.labels()
    return Ends(ends.norm, head, labels, ends.embed_width)


FAMILIES: dict[str, Family] = {name: _family(sizes) for name, sizes in _SIZES.items()}
