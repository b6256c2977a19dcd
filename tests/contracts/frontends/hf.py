"""Configs of models for the contract of frontends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Maker = Callable[[Path], Path]
_GOOD: dict[str, Any] = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
                         "num_key_value_heads": 2, "vocab_size": 100, "torch_dtype": "bfloat16", "rms_norm_eps": 1e-6}


def _config(**change: Any) -> Maker:
    return _text(json.dumps({**_GOOD, **change}))


def _text(text: str) -> Maker:
    def maker(folder: Path) -> Path:
        (folder / "config.json").write_text(text)
        return folder / "config.json"
    return maker


def _unknown(folder: Path) -> tuple[Path, str]:
    return _config(model_type="fancy")(folder), "unknown model_type 'fancy'"


#: 3 tokens of one sequence, two layers: products (q, k, v together 64 x 128; out; up and gate; down), causal scores and values with 12 operations a pair, two norms of
#: 7 an element, two sums, rotation of 4 + 2 + 2 heads with 3 an element (values are written to the cache beside keys), silu and a product; then a norm and one token's logits
_ACROSS = 2 * 3 * (64 * 128 + 64 * 64 + 64 * 192 + 96 * 64) + 2 * 4 * 6 * (16 + 16) + 12 * 4 * 6
_BESIDE = 2 * 7 * 3 * 64 + 2 * 3 * 64 + 3 * 3 * 128 + (11 + 1) * 3 * 96
FLOPS = 2 * (_ACROSS + _BESIDE) + 7 * 3 * 64 + 2 * 64 * 100

CASES = [{
    "suffix": ".json", "good": _config(), "flops": FLOPS, "arguments": {"dims": {"tokens": 3}, "phase": "prefill"}, "unknown": _unknown,
    "hostile": {"nested": _text('{"model_type": ' * 100_000), "deep": _config(num_hidden_layers=2**39), "wide": _config(hidden_size=2**40, intermediate_size=2**40),
                "beyond integers": _config(vocab_size=10**400), "no numbers": _config(hidden_size="64"), "a list": _text('[{"model_type": "llama"}]'),
                "no family": _text('{"architectures": ["LlamaForCausalLM"]}'), "not a number": _config(num_attention_heads=float("nan")), "no heads": _config(num_attention_heads=0),
                "layers that are no list": _config(model_type="qwen3_moe", num_experts=4, moe_intermediate_size=8, mlp_only_layers=True), "keys that are lists": _config(architectures=[["LlamaForCausalLM"]]), "endless labels": _config(architectures=["LlamaForSequenceClassification"], num_labels=2**50)},
    "harmless": {"as deep as any": _config(num_hidden_layers=512)},
}]
