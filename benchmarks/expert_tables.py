"""Measured tables of layers that are several kernels: mixture-of-experts layers and multi-head latent attention (aiconfigurator).

MoE: a gate, products of the rows each expert was given, the activation between them, the weighted sum. `power_law_A`: an expert's load is drawn from a power law of
exponent A, and the reading is of the most loaded device; loads here are that law's quantiles, dealt to devices in a fixed random order.

MLA: DeepSeek-V3's public dimensions (hidden 7168, query rank 1536, latent 512, rotary 64, head 128). `mla_*_module` rows hold the projections too; the
others the attention alone, over expanded heads in context and over the latent itself in generation.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
from kernel_tables import GRAPH_LAUNCH_S, KernelTable, Launch, cache_write, codes, kernel_ops, quantise

from silicast.datasets.dtypes import DTYPE_CODES
from silicast.datasets.ops import ELEMENTWISE_COST

#: how a table writes a format -> (computed in, weights stored in)
_FORMATS = {"bfloat16": ("bfloat16", "bfloat16"), "fp8": ("float8", "float8"), "fp8_block": ("float8", "float8"), "nvfp4": ("float4", "float4"),
            "int4_wo": ("bfloat16", "int4"), "w4a16_mxfp4": ("bfloat16", "float4"), "w4a8_mxfp4_mxfp8": ("float8", "float4")}
_HIDDEN, _Q_RANK, _LATENT, _ROPE, _HEAD = 7168.0, 1536.0, 512.0, 64.0, 128.0


@lru_cache(maxsize=65536)
def expert_loads(tokens: int, experts: int, topk: int, devices: int, exponent: float) -> tuple[float, float]:
    """(rows, experts with any) on the most loaded of `devices`; exponent 0: tokens are dealt evenly."""
    rows = float(tokens * topk)
    if exponent == 0.0 or rows <= experts:
        here = max(rows / devices, 1.0)
        return here, min(experts / devices, here)
    low, high, e = 1.0, max(0.8 * tokens, 2.0), 1.0 - exponent
    u = (np.arange(experts) + 0.5) / experts
    loads = (low**e + u * (high**e - low**e)) ** (1.0 / e)
    loads = np.minimum(np.round(loads / loads.sum() * rows), tokens)
    dealt = loads[np.random.default_rng(0).permutation(experts)].reshape(devices, -1)
    most = dealt[dealt.sum(1).argmax()]
    return max(float(most.sum()), 1.0), max(float((most > 0).sum()), 1.0)


def moe(frame: pd.DataFrame) -> KernelTable:
    """Mixture-of-experts layers, one device's share of experts (`moe_ep_size`) and of each (`moe_tp_size`)."""
    rows = np.arange(len(frame))
    compute, weight = (codes(frame["dtype"].map({k: v[i] for k, v in _FORMATS.items()})) for i in (0, 1))
    tokens, hidden, experts, topk = (frame[c].to_numpy(np.float64) for c in ("num_tokens", "hidden_size", "num_experts", "topk"))
    inter = frame["inter_size"].to_numpy(np.float64) / frame["moe_tp_size"].to_numpy(np.float64)
    law = frame["distribution"].map({"balanced": 0.0, "power_law_1.01": 1.01, "power_law_1.2": 1.2})
    keys = zip(frame["num_tokens"], frame["num_experts"], frame["topk"], frame["moe_ep_size"], law, strict=True)
    m, active = np.array([expert_loads(int(t), int(e), int(k), int(d), float(a)) for t, e, k, d, a in keys]).T
    gates = np.where(frame["kernel_source"].str.contains("nongated"), 1.0, 2.0)
    half = np.full(len(frame), DTYPE_CODES["bfloat16"], dtype=np.int16)
    act = kernel_ops("elementwise", half, elements=m * inter, extra_elements=m * inter * (gates - 1.0), cost=np.full(len(frame), ELEMENTWISE_COST["silu"]))
    launches = [Launch(rows, kernel_ops("route", half, tokens=tokens, experts=experts, top_k=topk), 1.0),
                Launch(rows, kernel_ops("grouped_gemm", compute, weight, 16.0, groups=active, m=m, n=gates * inter, k=hidden), 1.0), Launch(rows, act, 1.0),
                Launch(rows, kernel_ops("grouped_gemm", compute, weight, 16.0, groups=active, m=m, n=hidden, k=inter), 1.0),
                Launch(rows, kernel_ops("elementwise", half, elements=tokens * hidden, extra_elements=np.maximum(m - tokens, 0.0) * hidden), 1.0)]
    narrow = np.flatnonzero(frame["dtype"].isin(["fp8", "fp8_block", "nvfp4", "w4a8_mxfp4_mxfp8"]))
    if len(narrow):
        launches += [quantise(narrow, (tokens * hidden)[narrow], compute[narrow]), quantise(narrow, (m * inter)[narrow], compute[narrow])]
    slices = pd.DataFrame({"device": frame["hardware"], "op": np.where(frame["moe_ep_size"] == 1, "moe", "moe, experts spread"), "dtype": frame["dtype"], "source": frame["kernel_source"]})
    return KernelTable("moe", frame["latency_ms"].to_numpy() / 1e3, slices, launches, GRAPH_LAUNCH_S)


def mla_context(frame: pd.DataFrame) -> KernelTable:
    """Latent attention over a prompt: keys and values expanded to heads."""
    isl = frame["isl"].to_numpy(np.float64)
    return _mla(frame, "mla context", isl, isl, context=True)


def mla_generation(frame: pd.DataFrame) -> KernelTable:
    """Latent attention of one token a sequence, every head over the same latent."""
    return _mla(frame, "mla generation", np.ones(len(frame)), frame["isl"].to_numpy(np.float64) * (frame["isl"] > 1).to_numpy() + frame["step"].to_numpy(np.float64) + 1.0, context=False)


def _mla(frame: pd.DataFrame, name: str, q: np.ndarray, kv: np.ndarray, context: bool) -> KernelTable:
    everyone = np.arange(len(frame))
    b, heads = frame["batch_size"].to_numpy(np.float64), frame["num_heads"].to_numpy(np.float64)
    named = {"bfloat16": "bfloat16", "fp8": "float8", "fp8_block": "bfloat16"}
    stored = codes(frame["kv_cache_dtype"].map(named))
    one, computed = np.ones(len(frame)), codes(frame["dtype"].map(named))
    shape = {"head_dim": one * (_HEAD + _ROPE), "v_dim": one * _HEAD, "kv_heads": heads} if context else {"head_dim": one * (_LATENT + _ROPE), "v_dim": one * _LATENT, "kv_heads": one, "latent": one}
    attention = kernel_ops("attention", computed, computed if context else stored, 16.0, batch=b, heads=heads, q_len=q, kv_len=kv, causal=one, **shape)
    launches = [Launch(everyone, attention, 1.0), cache_write(everyone, b * q * (_LATENT + _ROPE), stored)]
    at = np.flatnonzero(frame["table"].str.contains("module|wideep").to_numpy())
    if len(at):
        t, h = (b * q)[at], heads[at]
        kind = frame["gemm_type"].fillna("fp8_block").iloc[at]
        compute, weight = (codes(kind.map({k: v[i] for k, v in _FORMATS.items()})) for i in (0, 1))
        half = np.full(len(at), DTYPE_CODES["bfloat16"], dtype=np.int16)
        narrow = np.flatnonzero((kind != "bfloat16").to_numpy())
        products = [(_Q_RANK + _LATENT + _ROPE, _HIDDEN), (h * (_HEAD + _ROPE), _Q_RANK), (_HIDDEN, h * _HEAD)] + ([(h * 2 * _HEAD, _LATENT)] if context else [])
        for n, k in products:
            launches.append(Launch(at, kernel_ops("gemm", compute, weight, 16.0, m=t, n=n + 0 * t, k=k + 0 * t), 1.0))
            if len(narrow):
                launches.append(quantise(at[narrow], (t * k)[narrow], compute[narrow]))
        for cols in (_Q_RANK, _LATENT):
            launches.append(Launch(at, kernel_ops("norm", half, rows=t, cols=cols + 0 * t), 1.0))
        launches.append(Launch(at, kernel_ops("elementwise", half, elements=t * (h + 1) * _ROPE, cost=4 + 0 * t), 1.0))
        if not context:  # queries into the latent, results out of it
            launches += [Launch(at, kernel_ops("gemm", half, b=h, m=t, n=n + 0 * t, k=k + 0 * t), 1.0) for n, k in ((_LATENT, _HEAD), (_HEAD, _LATENT))]
    slices = pd.DataFrame({"device": frame["hardware"], "op": name + np.where(frame["table"].str.contains("module|wideep"), " module", ""), "dtype": "kv " + frame["kv_cache_dtype"],
                           "source": frame["framework"] + " " + frame["kernel_source"]})
    return KernelTable(name, frame["latency_ms"].to_numpy() / 1e3, slices, launches, GRAPH_LAUNCH_S)
