"""Kernels others measured, as one table: the operators of `aiconfigurator`, `neusight` and `vidur` (`sources`) under silicast's own names.

Columns: `op` (a kind of `ops.OP_KINDS`), its sizes, `dtype`, of attention the cache's `weight_dtype`, `hardware`; the circumstances `framework`, `kernel_source` and `variant` (of routed
experts the distribution of tokens, of attention the phase, of a PyTorch operator its name), "" where a set does not tell them; `site`: rows that belong together; `latency_ms`
and, where it was measured, `power_w` and their product `energy_mj`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

#: the schema of the tables made here; sizes by kind
SCHEMA: dict[str, Any] = {
    "op": {"column": "op"}, "hardware": "hardware", "context": ["framework", "kernel_source", "variant"], "group": ["site"],
    "columns": {"gemm": {"b": "b", "m": "m", "n": "n", "k": "k", "dtype": "dtype"},
                "attention": {**{f: f for f in ("batch", "heads", "kv_heads", "q_len", "kv_len", "head_dim", "v_dim", "causal", "window", "latent")}, "dtype": "dtype", "weight_dtype": "weight_dtype"},
                "grouped_gemm": {"groups": "groups", "m": "m", "n": "n", "k": "k", "dtype": "dtype"},
                "elementwise": {"elements": "elements", "extra_elements": "extra_elements", "dtype": "dtype"},
                "norm": {"rows": "rows", "cols": "cols", "dtype": "dtype"},
                "softmax": {"rows": "rows", "cols": "cols", "dtype": "dtype"}},
    "targets": {"latency_s": {"column": "latency_ms", "unit": "ms"}}}
#: the same with power, for the sets that measured it
POWER_SCHEMA: dict[str, Any] = {**SCHEMA, "targets": {**SCHEMA["targets"], "power_w": {"column": "power_w", "unit": "W"}, "energy_j": {"column": "energy_mj", "unit": "mJ"}}}
#: formats of aiconfigurator that silicast calls otherwise: what it computes in
_DTYPES = {"w4a8_mxfp4_mxfp8": "fp8", "w4a16_mxfp4": "w4a16"}
#: NeuSight's operators that read two tensors
_BINARY = ("add", "mul", "div", "pow")
_UNARY = ("relu", "gelu", "tanh", "addu", "mulu", "divu", "powu")
#: Vidur's operators that are matrix products, and its normalisations and elementwise ones
_VIDUR_GEMM = ("attn_pre_proj", "attn_post_proj", "mlp_up_proj", "mlp_down_proj")
_VIDUR_NORM = ("input_layernorm", "post_attention_layernorm")


def sampled(frame: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    """At most `rows` of a table's rows, the same for the same seed."""
    return frame if len(frame) <= rows else frame.sample(rows, random_state=seed).sort_index()


def gemms(found: Mapping[str, Path], rows: int, seed: int) -> pd.DataFrame:
    """Matrix products: two thirds of aiconfigurator's, the rest NeuSight's `bmm` and `linear` and Vidur's projections."""
    theirs = _aiconfigurator(found["aiconfigurator/gemm.parquet"], 2 * rows // 3, seed, lambda f: {"op": "gemm", "b": 1, "site": _site("ai", f, "n", "k")})
    torch = _neusight(found["neusight/op_latency.parquet"], ("bmm", "linear"), rows // 5, seed)
    flat = torch["variant"] == "linear"
    torch = torch.assign(op="gemm", m=np.where(flat, torch["b"] * torch["m"], torch["m"]), b=np.where(flat, 1, torch["b"]), site=_site("ns", torch, "variant", "b", "m", "n", "k"))
    return _joined(theirs, torch, _vidur_gemms(found["vidur/compute_ops.parquet"], rows // 7, seed))


def attention(found: Mapping[str, Path], rows: int, seed: int) -> pd.DataFrame:
    """Attention of prompts and of generation, grouped-query and latent, from aiconfigurator."""
    def latent(phase: str) -> Callable[[pd.DataFrame], dict[str, Any]]:
        # prompts are expanded to heads of 128 + 64 and 128; generation works on the latent vector of 512 + 64 (DeepSeek-V2, arXiv:2405.04434, section 2.1)
        prompt = phase == "latent_context"
        wide = {"head_dim": 192, "v_dim": 128, "latent": 0} if prompt else {"head_dim": 576, "v_dim": 512, "latent": 1}
        return lambda f: {"op": "attention", "batch": f["batch_size"], "heads": f["num_heads"], "kv_heads": f["num_heads"] if prompt else 1, "q_len": f["isl"] if prompt else 1,
                          "kv_len": f["isl"] if prompt else f["step"], "causal": 1, "window": 0, "variant": phase, **wide, "site": _site(phase, f, "num_heads", "batch_size")}

    parts = [_aiconfigurator(found[f"aiconfigurator/attention_{phase}.parquet"], 2 * rows // 5, seed, _attended(phase)) for phase in ("context", "generation")]
    for phase, table in (("context", "context_mla"), ("generation", "generation_mla")):  # modules with their projections are another thing than attention
        parts.append(_aiconfigurator(found[f"aiconfigurator/mla_{phase}.parquet"], rows // 10, seed, latent(f"latent_{phase}"), where={"table": table}))
    return _joined(*parts)


def experts(found: Mapping[str, Path], rows: int, seed: int) -> pd.DataFrame:
    """Layers of routed experts from aiconfigurator, as the share one device has: of the experts, of the rows given to them, of each expert's width."""
    def share(f: pd.DataFrame) -> dict[str, Any]:
        spread = f["moe_ep_size"].astype(float)
        return {"op": "grouped_gemm", "groups": np.maximum(f["num_experts"] / spread, 1.0), "m": np.maximum(f["num_tokens"] * f["topk"] / spread, 1.0), "n": f["inter_size"] / f["moe_tp_size"],
                "k": f["hidden_size"], "variant": f["distribution"], "site": _site("moe", f, "num_experts", "inter_size", "hidden_size", "moe_tp_size", "moe_ep_size")}

    return _joined(_aiconfigurator(found["aiconfigurator/moe.parquet"], rows, seed, share))


def vectors(found: Mapping[str, Path], rows: int, seed: int) -> pd.DataFrame:
    """Elementwise operators, softmax and norms: two thirds NeuSight's, the rest Vidur's."""
    torch = _neusight(found["neusight/op_latency.parquet"], (*_UNARY, *_BINARY, "softmax", "ln"), 2 * rows // 3, seed)
    kind = torch["variant"].map({"softmax": "softmax", "ln": "norm"}).fillna("elementwise")
    size = (torch["b"] * torch["h"]).astype(float)
    torch = torch.assign(op=kind, rows=torch["b"], cols=torch["h"], elements=size, extra_elements=np.where(torch["variant"].isin(_BINARY), size, 0.0),
                         site=_site("ns", torch, "variant", "b", "h"))
    return _joined(torch, _vidur_vectors(found["vidur/compute_ops.parquet"], rows // 3, seed))


def powers(found: Mapping[str, Path], rows: int, seed: int) -> pd.DataFrame:
    """Latency, NVML power and their product for matrix products and attention on B200 and GB200, from aiconfigurator."""
    parts = [_aiconfigurator(found["aiconfigurator/power_gemm.parquet"], rows // 2, seed, lambda f: {"op": "gemm", "b": 1, "site": _site("ai", f, "n", "k")})]
    for phase in ("context", "generation"):
        parts.append(_aiconfigurator(found[f"aiconfigurator/power_attention_{phase}.parquet"], rows // 4, seed, _attended(phase)))
    frame = _joined(*parts)
    return frame.assign(energy_mj=frame["power_w"] * frame["latency_ms"])


def _aiconfigurator(place: Path, rows: int, seed: int, named: Callable[[pd.DataFrame], dict[str, Any]], where: Mapping[str, str] | None = None) -> pd.DataFrame:
    frame = pd.read_parquet(place)
    for column, value in (where or {}).items():
        frame = frame[frame[column] == value]
    frame = sampled(frame, rows, seed).reset_index(drop=True)
    dtype = frame["dtype"].astype(str).replace(_DTYPES)
    kept = {c: frame[c] for c in ("hardware", "framework", "kernel_source", "m", "n", "k", "latency_ms", "power_w") if c in frame}
    cache = {"weight_dtype": frame["kv_cache_dtype"].astype(str)} if "kv_cache_dtype" in frame else {}
    return pd.DataFrame({**kept, "variant": "", "dtype": dtype, **cache, **named(frame)})


def _attended(phase: str) -> Callable[[pd.DataFrame], dict[str, Any]]:
    return lambda f: {**_heads(f, phase), "site": _site(phase, f, "num_heads", "num_key_value_heads", "head_dim")}


def _heads(frame: pd.DataFrame, phase: str) -> dict[str, Any]:
    window = frame["window_size"].astype("Float64").fillna(0.0).astype(float)  # an empty cell is no window
    return {"op": "attention", "batch": frame["batch_size"], "heads": frame["num_heads"], "kv_heads": frame["num_key_value_heads"], "q_len": frame["isl"] if phase == "context" else 1,
            "kv_len": frame["isl"] if phase == "context" else frame["step"], "head_dim": frame["head_dim"], "v_dim": frame["head_dim"], "causal": 1, "window": window, "latent": 0, "variant": phase}


def _neusight(place: Path, ops: tuple[str, ...], rows: int, seed: int) -> pd.DataFrame:
    frame = pd.read_parquet(place)
    frame = sampled(frame[frame["op"].isin(ops)], rows, seed).reset_index(drop=True)
    # on the P4 the rows marked `test` of `linear` ran another library's kernels, three times as fast: circumstances nobody names
    frame = frame[~((frame["op"] == "linear") & (frame["split"] == "test") & frame["hardware"].str.contains("P4"))]
    return frame[["hardware", "latency_ms", "b", "h", "m", "n", "k"]].assign(variant=frame["op"].astype(str), framework="pytorch", kernel_source="", dtype="float32")


def _vidur(place: Path, ops: tuple[str, ...], rows: int, seed: int) -> pd.DataFrame:
    frame = pd.read_parquet(place)
    frame = sampled(frame[frame["op"].isin(ops)], rows, seed).reset_index(drop=True)
    return frame.assign(hardware=frame["device"], latency_ms=frame["median_ms"], variant=frame["op"].astype(str), framework="pytorch", kernel_source="vllm", dtype="float16",
                        wide=frame["n_expanded_embd"] / frame["num_tensor_parallel_workers"])


def _vidur_gemms(place: Path, rows: int, seed: int) -> pd.DataFrame:
    frame = _vidur(place, _VIDUR_GEMM, rows, seed)
    spread, dim, op = frame["num_tensor_parallel_workers"], frame["n_embd"] / frame["n_head"], frame["variant"]
    keys = np.maximum(frame["n_kv_head"] / spread, 1.0)
    n = np.select([op == "attn_pre_proj", op == "mlp_up_proj"], [dim * (frame["n_head"] / spread + 2 * keys), frame["wide"] * (1 + frame["use_gated_mlp"].astype(float))], frame["n_embd"])
    k = np.select([op == "attn_post_proj", op == "mlp_down_proj"], [frame["n_embd"] / spread, frame["wide"]], frame["n_embd"])
    frame = frame.assign(op="gemm", b=1, m=frame["num_tokens"], n=n, k=k)
    return frame.assign(site=_site("vidur", frame, "n", "k"))


def _vidur_vectors(place: Path, rows: int, seed: int) -> pd.DataFrame:
    frame = _vidur(place, (*_VIDUR_NORM, "add", "mlp_act"), rows, seed)
    tokens, norm, gated = frame["num_tokens"].astype(float), frame["variant"].isin(_VIDUR_NORM), frame["use_gated_mlp"].astype(float)
    act = frame["variant"] == "mlp_act"
    elements: pd.Series = tokens * np.where(act, frame["wide"], frame["n_embd"])
    frame = frame.assign(op=np.where(norm, "norm", "elementwise"), rows=tokens, cols=frame["n_embd"], elements=elements, extra_elements=np.where(act, gated * elements, elements))
    return frame.assign(site=_site("vidur", frame, "variant", "n_embd", "wide"))


def _site(what: str, frame: pd.DataFrame, *columns: str) -> pd.Series:
    out = pd.Series(what, index=frame.index)
    for column in columns:
        out = out + "/" + frame[column].astype(str)
    return out


#: the columns of the tables made here that are sizes
_SIZES = tuple(dict.fromkeys(c for by in SCHEMA["columns"].values() for f, c in by.items() if f not in ("dtype", "weight_dtype")))


def _joined(*parts: pd.DataFrame) -> pd.DataFrame:
    """One table of the parts; a size that a kind does not have is empty."""
    words = ("op", "hardware", "framework", "kernel_source", "variant", "dtype", "weight_dtype", "site")
    kept = [part[[c for c in (*words, *_SIZES, "latency_ms", "power_w") if c in part]] for part in parts]
    frame = pd.concat([p.astype({c: float for c in p if c not in words}) for p in kept], ignore_index=True)
    return frame.astype({w: object for w in words if w in frame})
