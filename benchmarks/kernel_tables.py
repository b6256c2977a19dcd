"""Measured kernel tables as what was launched: every row is one to a dozen kernels of the simulator, its device and its measured seconds.

A table's circumstances are said where it is read, in words and in the `Launch`es: an FP8 layer of a serving library quantises its activations
first; an MLA module is its projections and its attention; a reading in a CUDA graph repeats over operands that may still be in the cache.
Nothing here is fitted: sizes come from the row, model dimensions from the model's public configuration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from silicast.datasets.columns import OpColumns
from silicast.datasets.dtypes import BITS, DTYPE_CODES, dtype_pair
from silicast.datasets.ops import ELEMENTWISE_COST


@dataclass(frozen=True)
class Launch:
    """One kernel of each of the rows `rows` (positions in the table). `copies`: the reading repeats over so many sets of weights in turn, so what
    fits in the last cache is found there; inf: operands come from DRAM."""

    rows: np.ndarray
    ops: OpColumns
    copies: float = np.inf


@dataclass(frozen=True)
class KernelTable:
    """n measured readings. `slices`: what the errors are grouped by (device, op, dtype, source); `launches`: the kernels that make them up;
    `once_s`: seconds a reading holds beside them (a graph's launch)."""

    name: str
    seconds: np.ndarray
    slices: pd.DataFrame
    launches: list[Launch]
    once_s: np.ndarray | float = 0.0


#: launching a CUDA graph of a few kernels: about 2.5 us ("Constant Time Launch for Straight-Line CUDA Graphs", NVIDIA developer blog, 2024, as remembered)
GRAPH_LAUNCH_S = 2.5e-6


def codes(names: pd.Series | list[str]) -> np.ndarray:
    """(n,) dtype codes of names."""
    return pd.Series(names).map(DTYPE_CODES).to_numpy(dtype=np.int16)


def kernel_ops(kind: str, compute: np.ndarray, weight: np.ndarray | None = None, output_bits: float | None = None, **sizes: Any) -> OpColumns:
    """n operators of one kind, results in formats of `output_bits` (None: as computed)."""
    columns = OpColumns.from_sizes(kind, {k: np.asarray(v, dtype=np.float64) for k, v in sizes.items()}, compute, weight)
    if output_bits is None:
        return columns
    bits = np.array([BITS[d] for d in DTYPE_CODES])[compute]
    return replace(columns, output_bytes=columns.output_bytes * output_bits / bits)


def quantise(rows: np.ndarray, elements: np.ndarray, to: np.ndarray) -> Launch:
    """Reads bfloat16, writes the narrow format: a kernel of its own before the product."""
    half = np.full(len(rows), DTYPE_CODES["bfloat16"], dtype=np.int16)
    ops = kernel_ops("elementwise", half, elements=elements, cost=np.full(len(rows), ELEMENTWISE_COST["quantize"]))
    bits = np.array([BITS[d] for d in DTYPE_CODES])[to]
    return Launch(rows, replace(ops, output_bytes=elements * bits / 8), 1.0)


def gemm(frame: pd.DataFrame) -> KernelTable:
    """aiconfigurator GEMM: linear layers of serving libraries, six sets of weights in turn in one CUDA graph."""
    pairs = {d: dtype_pair(d) for d in frame["dtype"].unique()}
    compute, weight = (codes(frame["dtype"].map({d: p[i] for d, p in pairs.items()})) for i in (0, 1))
    rows = np.arange(len(frame))
    m, n, k = (frame[c].to_numpy(np.float64) for c in "mnk")
    launches = [Launch(rows, kernel_ops("gemm", compute, weight, 16.0, m=m, n=n, k=k), 6.0)]
    token = frame["kernel_source"].str.contains("sgl_kernel")
    narrow = np.flatnonzero(frame["dtype"].isin(["fp8", "fp8_block", "nvfp4", "sq"]) & ~token)
    if len(narrow):
        launches.append(quantise(narrow, (m * k)[narrow], compute[narrow]))
    if token.any():  # a scale for each row of activations, found before it is used
        at = np.flatnonzero(token)
        rowwise = kernel_ops("norm", np.full(len(at), DTYPE_CODES["bfloat16"], dtype=np.int16), output_bits=8.0, rows=m[at], cols=k[at])
        launches.append(Launch(at, replace(rowwise, weight_bytes=0.0 * rowwise.weight_bytes), 1.0))
    slices = pd.DataFrame({"device": frame["hardware"], "op": "gemm", "dtype": frame["dtype"], "source": frame["kernel_source"]})
    return KernelTable("gemm", frame["latency_ms"].to_numpy() / 1e3, slices.reset_index(drop=True), launches, GRAPH_LAUNCH_S / 6)


def _attention(frame: pd.DataFrame, q: np.ndarray, kv: np.ndarray, computed: pd.Series, stored: pd.Series) -> OpColumns:
    """Causal attention; with a sliding window where the row has one."""
    window = frame["window_size"].fillna(0).to_numpy(np.float64) if "window_size" in frame else np.zeros(len(frame))
    sizes = {"batch": frame["batch_size"], "heads": frame["num_heads"], "kv_heads": frame["num_key_value_heads"], "q_len": q, "kv_len": kv,
             "head_dim": frame["head_dim"], "v_dim": frame["head_dim"], "causal": np.ones(len(frame)), "window": window}
    return kernel_ops("attention", codes(computed), codes(stored), 16.0, **sizes)


def cache_write(rows: np.ndarray, elements: np.ndarray, stored: np.ndarray) -> Launch:
    """New keys and values go into the paged cache, in its format."""
    half = np.full(len(rows), DTYPE_CODES["bfloat16"], dtype=np.int16)
    ops = kernel_ops("move", half, elements=np.maximum(elements, 1.0))
    return Launch(rows, replace(ops, output_bytes=ops.output_bytes * np.array([BITS[d] for d in DTYPE_CODES])[stored] / 16.0), 1.0)


def _served(frame: pd.DataFrame, name: str, q: np.ndarray, kv: np.ndarray, dtype: pd.Series) -> KernelTable:
    """An attention layer of a serving library, one in a CUDA graph that is launched for every reading: the cache is written, then read. TensorRT-LLM's
    first kernel also takes queries through (bias, rotary embedding) and, in context, counts sequences in another; FlashAttention-3 plans its blocks in one. Over an FP8 cache vLLM and
    SGLang first bring the queries into FP8."""
    rows = np.arange(len(frame))
    named = {"bfloat16": "bfloat16", "fp8": "float8"}
    computed, stored = frame["dtype"].map(named), frame["kv_cache_dtype"].map(named)
    ops = _attention(frame, q, kv, computed, stored if name != "attention context" else computed)
    trt = (frame["framework"] == "trtllm").to_numpy()
    tokens, dim = frame["batch_size"].to_numpy(np.float64) * q, frame["head_dim"].to_numpy(np.float64)
    new = tokens * dim * (2.0 * frame["num_key_value_heads"].to_numpy(np.float64) + trt * frame["num_heads"].to_numpy(np.float64))
    launches = [Launch(rows, ops, 1.0), cache_write(rows, new, codes(stored))]
    planned = np.flatnonzero((trt & (q.max() > 1)) | frame["kernel_source"].str.contains("fa3").to_numpy())
    if len(planned):
        launches.append(cache_write(planned, frame["batch_size"].to_numpy(np.float64)[planned], codes(stored)[planned]))
    asked = np.flatnonzero(((frame["kv_cache_dtype"] == "fp8") & ~trt & ~frame["kernel_source"].str.contains("triton")).to_numpy())
    if len(asked):
        launches.append(quantise(asked, (tokens * dim * frame["num_heads"].to_numpy(np.float64))[asked], np.full(len(asked), DTYPE_CODES["float8"], dtype=np.int16)))
    slices = pd.DataFrame({"device": frame["hardware"], "op": name, "dtype": dtype, "source": frame["framework"] + " " + frame["kernel_source"]})
    return KernelTable(name, frame["latency_ms"].to_numpy() / 1e3, slices.reset_index(drop=True), launches, GRAPH_LAUNCH_S)


def attention_context(frame: pd.DataFrame) -> KernelTable:
    """aiconfigurator context attention."""
    isl = frame["isl"].to_numpy(np.float64)
    return _served(frame, "attention context", isl, isl, frame["dtype"] + "/kv " + frame["kv_cache_dtype"])


def attention_generation(frame: pd.DataFrame) -> KernelTable:
    """aiconfigurator generation attention: one query a sequence."""
    return _served(frame, "attention generation", np.ones(len(frame)), frame["step"].to_numpy(np.float64) + 1, "kv " + frame["kv_cache_dtype"])


_HALF = "float16"


def _all(frame: pd.DataFrame, dtype: str) -> np.ndarray:
    return np.full(len(frame), DTYPE_CODES[dtype], dtype=np.int16)


def neusight(frame: pd.DataFrame) -> KernelTable:
    """NeuSight: single FP32 PyTorch operators, called eagerly."""
    launches: list[Launch] = []
    device = frame["hardware"].map({"NVIDIA A100-PCIE-40GB": "a100_pcie_40gb", "Tesla P100-PCIE-16GB": "p100_pcie", "Tesla P4": "p4", "Tesla T4": "t4", "Tesla V100-PCIE-32GB": "v100_pcie"})
    unary = {"relu": "relu", "gelu": "gelu", "tanh": "tanh", "addu": "add", "mulu": "mul", "divu": "div", "powu": "pow"}
    for op, part in frame.reset_index(drop=True).groupby("op"):
        rows, f = part.index.to_numpy(), _all(part, "float32")
        size = {c: part[c].to_numpy(np.float64) for c in ("b", "h", "m", "n", "k", "in_channels", "out_channels", "input_size", "kernel_size") if c in part}
        if op == "bmm":
            ops = kernel_ops("gemm", f, b=size["b"], m=size["m"], n=size["n"], k=size["k"])
        elif op == "linear":
            ops = kernel_ops("gemm", f, m=size["b"] * size["m"], n=size["n"], k=size["k"])
        elif op == "conv":
            side = size["input_size"]
            ops = kernel_ops("conv", f, batch=size["b"], in_channels=size["in_channels"], in_h=side, in_w=side, out_channels=size["out_channels"], out_h=side, out_w=side,
                       kernel_h=size["kernel_size"], kernel_w=size["kernel_size"])
        elif op in ("softmax", "ln"):
            ops = kernel_ops("softmax" if op == "softmax" else "norm", f, rows=size["b"], cols=size["h"])
        else:
            elements = size["b"] * size["h"]
            cost = np.full(len(part), ELEMENTWISE_COST[unary.get(str(op), str(op))])
            ops = kernel_ops("elementwise", f, elements=elements, cost=cost, extra_elements=elements * (op not in unary))
        launches.append(Launch(rows, ops))
    slices = pd.DataFrame({"device": device, "op": frame["op"].map(lambda o: o if o in ("bmm", "linear", "conv", "softmax", "ln") else "elementwise"), "dtype": "float32", "source": frame["op"]})
    return KernelTable("neusight", frame["latency_ms"].to_numpy() / 1e3, slices.reset_index(drop=True), launches)


def vidur(frame: pd.DataFrame) -> KernelTable:
    """Vidur: the layer operators of eight LLMs in float16, kernel times from a profiler, a tensor-parallel share of each."""
    launches: list[Launch] = []
    d = frame.reset_index(drop=True)
    for op, p in d.groupby("op"):
        rows, f = p.index.to_numpy(), _all(p, _HALF)
        t, tp, e = (p[c].to_numpy(np.float64) for c in ("num_tokens", "num_tensor_parallel_workers", "n_embd"))
        head, kv, wide = (p[c].to_numpy(np.float64) for c in ("n_head", "n_kv_head", "n_expanded_embd"))
        gated, dim = p["use_gated_mlp"].to_numpy(bool), e / head
        kv = np.maximum(kv / tp, 1.0)
        products = {"attn_pre_proj": (dim * (head / tp + 2 * kv), e), "attn_post_proj": (e, e / tp), "mlp_up_proj": (wide / tp * (1 + gated), e), "mlp_down_proj": (e, wide / tp)}
        if op in products:
            n, k = products[str(op)]
            ops = kernel_ops("gemm", f, m=t, n=n, k=k)
        elif "layernorm" in str(op):
            ops = kernel_ops("norm", f, rows=t, cols=e)
        elif op == "emb":
            ops = kernel_ops("gather", f, rows=t, width=e)
        elif op == "add":
            ops = kernel_ops("elementwise", f, elements=t * e, extra_elements=t * e)
        elif op == "mlp_act":
            out = t * wide / tp
            ops = kernel_ops("elementwise", f, elements=out, extra_elements=out * gated, cost=np.full(len(p), ELEMENTWISE_COST["silu"]))
        else:  # rotary embedding of queries and keys
            ops = kernel_ops("elementwise", f, elements=t * dim * (head / tp + kv), cost=np.full(len(p), 4))
        launches.append(Launch(rows, ops))
    slices = pd.DataFrame({"device": d["device"].map({"a100": "a100_sxm", "a40": "a40"}), "op": d["op"], "dtype": _HALF, "source": d["op"]})
    return KernelTable("vidur layers", d["median_ms"].to_numpy() / 1e3, slices, launches)


def vidur_attention(frame: pd.DataFrame) -> KernelTable:
    """Vidur's attention sweep: Llama-2-70B on two A100s, a prefill chunk over a cache, or a decode step of a batch."""
    d = frame.reset_index(drop=True)
    prefill = d["is_prefill"].to_numpy(bool)
    q = np.where(prefill, d["prefill_chunk_size"], 1).astype(float)
    table = pd.DataFrame({"batch_size": d["batch_size"], "num_heads": d["n_q_head"] / d["num_tensor_parallel_workers"],
                          "num_key_value_heads": d["n_kv_head"] / d["num_tensor_parallel_workers"], "head_dim": d["n_embd"] / d["n_q_head"]})
    half = pd.Series([_HALF] * len(d))
    ops = _attention(table, q, d["kv_cache_size"].to_numpy(float) + q, half, half)
    slices = pd.DataFrame({"device": "a100_sxm", "op": d["op"], "dtype": _HALF, "source": "flash attention"})
    return KernelTable("vidur attention", d["median_ms"].to_numpy() / 1e3, slices, [Launch(np.arange(len(d)), ops)])
