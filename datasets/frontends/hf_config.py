"""A model's `config.json` as it is read: every key by name, every default that stood in remembered, every fault with file and key.

The defaults are those of the configuration class of the `transformers` library that the `model_type` names, as its documentation states them
(https://huggingface.co/docs/transformers, page of the model, "Config").
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import FormatError, InputError, UnknownNameError
from ..ops import shown

#: activation as configs name it -> elementwise function of `ELEMENTWISE_COST`
ACTIVATIONS: dict[str, str] = {
    "gelu": "gelu", "gelu_new": "gelu", "gelu_fast": "gelu", "gelu_pytorch_tanh": "gelu", "gelu_python": "gelu", "gelu_10": "gelu", "gelu_accurate": "gelu",
    "quick_gelu": "silu", "silu": "silu", "swish": "silu", "relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "mish": "mish", "leaky_relu": "leakyrelu",
}
#: no size of a config is larger: a file that says more means to hurt
MOST = 2**40


class Config:
    """The keys of one `config.json`, read by name. `where` stands in every message; `defaults` are the ones that stood in for absent keys."""

    def __init__(self, data: Mapping[str, Any], where: str) -> None:
        if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
            raise FormatError(f"{where}: expected a model configuration (a mapping with model_type), got {type(data).__name__}")
        self.data, self.where = data, where
        self.defaults: list[str] = []
        self.read: set[str] = set()
        kind = data.get("model_type")
        if not isinstance(kind, str):
            raise FormatError(f"{where}: model_type: expected the name of a model family, got {shown(kind)}")
        self.model_type = kind

    def fault(self, key: str, expected: str) -> InputError:
        """The error of a key whose value does not serve."""
        return FormatError(f"{self.where}: {key}: expected {expected}, got {shown(self.data.get(key))}")

    def size(self, *keys: str, default: int | None = None, least: int = 1) -> int:
        """A whole number under the first of these keys that is there (null is absent), else the default of the class, else FormatError."""
        key, value = self._find(keys, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MOST:
            raise self.fault(key, f"a whole number from {least} to 2**40")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Yes or no."""
        _, value = self._find((key,), default)
        if not isinstance(value, bool):
            raise self.fault(key, "true or false")
        return value

    def text(self, *keys: str, default: str | None = None) -> str:
        """A word."""
        key, value = self._find(keys, default)
        if not isinstance(value, str):
            raise self.fault(key, "text")
        return value

    def activation(self, *keys: str, default: str | None = None) -> str:
        """The elementwise function a key names. Raises UnknownNameError naming the known ones."""
        name = self.text(*keys, default=default)
        if name not in ACTIVATIONS:
            raise UnknownNameError("activation", name, ACTIVATIONS, f"in {self.where} under {keys[0]}")
        return ACTIVATIONS[name]

    def has(self, key: str) -> bool:
        """Whether a key is there with a value."""
        self.read.add(key)
        return self.data.get(key) is not None

    def labels(self) -> int:
        """Classes of a classifier: the length of id2label, else num_labels, else 2 (the default of every configuration class)."""
        names = self.data.get("id2label")
        self.read.add("id2label")
        if isinstance(names, (dict, list)) and names:
            return len(names)
        return self.size("num_labels", default=2)

    @property
    def architecture(self) -> str:
        """The first class that `architectures` names, "" where there is none."""
        self.read.add("architectures")
        names = self.data.get("architectures") or [""]
        if not isinstance(names, list) or not isinstance(names[0], str):
            raise self.fault("architectures", "a list of class names")
        return names[0]

    @property
    def dtype(self) -> str:
        """What the weights are stored in: `torch_dtype` or `dtype`, else float32."""
        return self.text("torch_dtype", "dtype", default="float32").removeprefix("torch.")

    def notes(self) -> list[str]:
        """What stood in, and which keys look like a misspelt known one: that is an error (FormatError) and no note."""
        for key in self.data.keys() - self.read - set(COMMON):
            near = difflib.get_close_matches(key, [k for k in self.read if k not in self.data], n=1, cutoff=0.88)
            if near:
                raise FormatError(f"{self.where}: unknown key {key!r}; did you mean {near[0]!r}? A {self.model_type} config knows: {', '.join(sorted(self.read))}")
        unread = sorted(self.data.keys() - self.read - set(COMMON))
        said = [f"absent, taken from the defaults of the {self.model_type} configuration class: {', '.join(self.defaults)}"] if self.defaults else []
        shown_keys = ", ".join(unread[:12]) + (f" and {len(unread) - 12} more" if len(unread) > 12 else "")
        return said + ([f"keys that change no operator counted here: {shown_keys}"] if unread else [])

    def _find(self, keys: tuple[str, ...], default: Any) -> tuple[str, Any]:
        self.read.update(keys)
        for key in keys:
            if self.data.get(key) is not None:
                return key, self.data[key]
        if default is None:
            raise FormatError(f"{self.where}: a {self.model_type} config needs the key {' or '.join(map(repr, keys))}; it has: {', '.join(sorted(self.data)[:40])}")
        said = f"{keys[0]} = {str(default).lower() if isinstance(default, bool) else default}"
        if said not in self.defaults:
            self.defaults.append(said)
        return keys[0], default


#: keys of every configuration that no operator depends on
COMMON = ("model_type", "_name_or_path", "transformers_version", "auto_map", "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "cls_token_id",
          "mask_token_id", "unk_token_id", "decoder_start_token_id", "use_cache", "initializer_range", "initializer_factor", "layer_norm_eps", "layer_norm_epsilon",
          "rms_norm_eps", "norm_eps", "norm_epsilon", "attention_dropout", "hidden_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout",
          "dropout_rate", "embd_pdrop", "attn_pdrop", "resid_pdrop", "classifier_dropout", "rope_theta", "rope_scaling", "rope_parameters", "label2id", "task_specific_params",
          "pretraining_tp", "output_router_logits", "router_aux_loss_coef", "output_past", "gradient_checkpointing", "prefix", "summary_type", "license", "language",
          "n_ctx", "head_dim_scale", "layerdrop", "init_std", "vocab_file", "tokenizer_class")


def is_config(data: Any) -> bool:
    """Whether a JSON document is a model's configuration, not a workload."""
    return isinstance(data, Mapping) and "format" not in data and ("model_type" in data or "architectures" in data)


def load(path: Path) -> Any:
    """A JSON document. Raises FormatError naming the file."""
    import json

    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, not JSON, or a number of thousands of digits
        raise FormatError(f"{path}: not a readable JSON document ({error})") from None

