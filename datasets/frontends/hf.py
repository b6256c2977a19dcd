"""Hugging Face `config.json` -> a model, and of the model the workload of one step; nothing is downloaded.

    model = read_config("config.json")                     # or a dict
    model.params                                           # of all devices together, exact
    model.workload("decode", batch=32, past=2048, tensor=8, dtype="bfloat16")
    model.transformer                                      # the noun that simulate_serving and simulate_training take; None for T5, ViT and Mamba-2

A config is told from a workload document (both end in .json) by `model_type` or `architectures` (`hf_config.is_config`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..dtypes import dtype_pair
from ..errors import FormatError, InputError, UnknownNameError
from ..transformer import PHASES, Transformer
from ..transformer_chain import Formats
from ..transformer_graph import Step, check_depth, model_graph
from ..workload import Workload
from .hf_config import Config, load
from .hf_mamba import mamba2
from .hf_t5 import t5
from .hf_text import FAMILIES as TEXT
from .hf_vit import vit

Build = Callable[[Step, Sequence[str]], Workload]
#: families that are not the `Transformer` noun
OTHERS: dict[str, Callable[[Config], Build]] = {"t5": t5, "mt5": t5, "vit": vit, "mamba2": mamba2}
#: every model_type that is read
MODEL_TYPES: tuple[str, ...] = tuple(sorted({*TEXT, *OTHERS}))
#: dimension of a step -> what it is and what stands in when it is not given
DIMS: dict[str, str] = {
    "batch": "sequences or images (1)", "tokens": "new tokens of each; of T5 the source's (512, in decode 1)", "past": "cached tokens (0, in decode 512)",
    "target": "target tokens of T5 (1; in forward and train as many as tokens)", "tensor": "devices a layer is cut over (1)", "expert": "devices the experts are spread over (1)",
}


@dataclass(frozen=True)
class Model:
    """A model out of a config: its key, `model_type`, the dtype its weights are stored in, how a step becomes a graph, what stood in for absent keys."""

    key: str
    model_type: str
    dtype: str
    weight_dtype: str
    phases: tuple[str, ...]
    dims: tuple[str, ...]
    build: Build = field(repr=False, compare=False)
    transformer: Transformer | None = None
    notes: tuple[str, ...] = ()

    @property
    def params(self) -> int:
        """Parameters in all, those of the head that `architectures` names among them."""
        return self.build(Step("forward"), ()).params

    def workload(self, phase: str = "", *, batch: int | None = None, tokens: int | None = None, past: int | None = None, target: int | None = None, tensor: int = 1,
                 expert: int = 1, dtype: str | None = None, weight_dtype: str | None = None, kv_dtype: str | None = None, collectives: bool = False,
                 optimizer: str = "adamw") -> Workload:
        """The workload of one step on ONE device of a tensor and expert group.

        `phase` (default: the first of `phases`): prefill, decode, forward, backward, or train (forward, backward and an `optimizer` step of
        `transformer_graph.OPTIMIZERS`). Lengths as in `DIMS`; what is not given stands in the workload's notes. `dtype` is what products compute in
        (default: as stored) or a weight-only scheme such as "int4_wo". `collectives`: the exchanges between devices are ops too, for `replay` or a
        Chakra trace; a lone machine refuses them. Raises InputError naming what does not fit.
        """
        phase = phase or self.phases[0]
        if phase not in self.phases:
            raise UnknownNameError("phase", phase, self.phases, f"of {self.key!r} ({self.model_type})")
        given: dict[str, int | None] = {"batch": batch, "tokens": tokens, "past": past, "target": target}
        two_sided, decoding = "target" in self.dims, phase == "decode"
        most = self.transformer.max_tokens if self.transformer is not None else 0
        usual: dict[str, int] = {"batch": 1, "tokens": 1 if decoding and not two_sided else min(512, most or 512), "past": min(512, most or 512) if decoding else 0}
        usual["target"] = 1 if phase in ("prefill", "decode") else tokens or usual["tokens"]
        for name, value in given.items():
            if value is not None and name not in self.dims:
                raise UnknownNameError("dimension", name, self.dims, f"of {self.key!r} ({self.model_type})")
        sizes = {name: usual[name] if value is None else value for name, value in given.items()}
        said = [f"{name} = {usual[name]}" for name in self.dims if name in given and given[name] is None and (name != "past" or decoding)]
        notes = [*self.notes, *([f"not given, so: {phase} with {', '.join(said)}"] if said else [])]
        compute, weight = dtype_pair(dtype) if dtype else (self.dtype, self.weight_dtype)
        formats = Formats.of(compute, weight_dtype or (weight if dtype or weight != compute else None), kv_dtype)
        step = Step(phase, sizes["batch"], sizes["tokens"], sizes["past"], tensor, expert, formats, collectives, optimizer, sizes["target"])
        return self.build(step, notes)


def read_config(source: Mapping[str, Any] | str | Path, where: str = "") -> Model:
    """The model of a config: a mapping or the path of a `config.json`.

    Raises FormatError naming file and key for a missing or impossible key, UnknownNameError for a model_type that is not read, UnsupportedOpError for
    a variant of a family that is not counted.
    """
    c = Config(source, where or "config") if isinstance(source, Mapping) else Config(load(Path(source)), where or str(source))
    if c.model_type not in MODEL_TYPES:
        raise UnknownNameError("model_type", c.model_type, MODEL_TYPES, f"in {c.where}. Known: {', '.join(MODEL_TYPES)}")
    stored = c.dtype
    try:
        dtype, weight = _quantised(c, *dtype_pair(stored))
        if c.model_type in OTHERS:
            return _other(c, dtype, weight)
        t, ends = TEXT[c.model_type](c)
        check_depth(t.key, t.layers)
    except InputError as error:
        raise (error if c.where in str(error) else FormatError(f"{c.where}: {error}")) from None
    notes = tuple(c.notes())
    phases = ("forward", "backward", "train") if t.encoder else ("prefill", "decode", "forward", "backward", "train")
    dims = ("batch", "tokens", *(() if t.encoder else ("past",)), "tensor", *(("expert",) if t.experts else ()))
    return Model(t.key, c.model_type, dtype, weight, phases, dims, lambda step, said: model_graph(t, step, ends, said), t, notes)


def _other(c: Config, dtype: str, weight: str) -> Model:
    build = OTHERS[c.model_type](c)
    phases = tuple(p for p in PHASES if p in ("forward", "backward", "train") or c.model_type != "vit")
    dims = {"vit": ("batch", "tensor"), "mamba2": ("batch", "tokens", "past", "tensor")}.get(c.model_type, ("batch", "tokens", "past", "target", "tensor"))
    name = c.data.get("_name_or_path")
    return Model(name if isinstance(name, str) and name else c.model_type, c.model_type, dtype, weight, phases, dims, build, None, tuple(c.notes()))


def _quantised(c: Config, dtype: str, weight: str) -> tuple[str, str]:
    """The formats of a checkpoint that `quantization_config` says is quantised. Raises UnknownNameError for a method that is not known."""
    c.read.add("quantization_config")
    how = c.data.get("quantization_config")
    if how is None:
        return dtype, weight
    method = how.get("quant_method") if isinstance(how, Mapping) else None
    if method == "fp8":
        return "float8", "float8"
    if method in ("gptq", "awq"):
        bits = how.get("bits", how.get("w_bit", 4))
        if bits not in (2, 4, 8):
            raise c.fault("quantization_config", "bits of 2, 4 or 8")
        return dtype if dtype != "float32" else "float16", f"int{bits}"
    if method == "bitsandbytes":
        return dtype, "int4" if how.get("load_in_4bit") else "int8"
    if method == "mxfp4":
        return dtype, "float4"
    raise UnknownNameError("quantization method", str(method), ("fp8", "gptq", "awq", "bitsandbytes", "mxfp4"), "under quantization_config")


def read_hf(data: Mapping[str, Any], where: str, dims: Mapping[str, int], dtype: str | None, phase: str | None) -> Workload:
    """The workload of a config for `read`: dimensions by their names in `DIMS`."""
    model = read_config(data, where)
    for name in dims:
        if name not in model.dims:
            raise UnknownNameError("dimension", name, model.dims, f"{where}: a {model.model_type} config has the dimensions {', '.join(f'{d}: {DIMS[d]}' for d in model.dims)}")
    try:
        sizes: dict[str, Any] = dict(dims)
        return model.workload(phase or "", dtype=dtype, **sizes)
    except InputError as error:
        raise (error if where in str(error) else FormatError(f"{where}: {error}")) from None
