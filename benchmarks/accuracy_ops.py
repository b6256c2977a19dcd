"""The open op tables as protocols: what is read, how the schema says it, what is held out, and what was published for it.

Every protocol is a small function that yields `Case`s: a table in SI, a mask of the rows held out, the slices to tell apart, published and aimed-at figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from silicast.datasets.measured import read_measured
from silicast.datasets.splits import split_by_group
from silicast.datasets.table import Table

LATENCY = {"latency_s": {"column": "latency_ms", "unit": "ms"}}
POWER = {**LATENCY, "power_w": {"column": "power_w", "unit": "W"}}
GEMM: dict[str, Any] = {"op": "gemm", "columns": {"m": "m", "n": "n", "k": "k", "dtype": "dtype"}, "hardware": "hardware", "context": ["framework", "kernel_source"],
                        "targets": LATENCY, "group": ["n", "k"]}
ATTENTION: dict[str, Any] = {
    "op": "attention", "hardware": "hardware", "context": ["framework", "kernel_source", "kv_cache_dtype"], "targets": LATENCY, "fixed": {"causal": 1},
    "columns": {"batch": "batch_size", "heads": "num_heads", "kv_heads": "num_key_value_heads", "q_len": "isl", "kv_len": "isl", "head_dim": "head_dim", "v_dim": "head_dim",
                "window": "window_size", "dtype": "dtype", "weight_dtype": "kv_cache_dtype"}, "group": ["num_heads", "num_key_value_heads", "head_dim"]}
GENERATION: dict[str, Any] = {**ATTENTION, "fixed": {"causal": 1, "q_len": 1}, "columns": {k: v for k, v in ATTENTION["columns"].items() if k != "q_len"} | {"kv_len": "step"}}
MOE: dict[str, Any] = {"op": "grouped_gemm", "columns": {"groups": "experts", "m": "given", "n": "width", "k": "hidden_size", "dtype": "dtype"},
                       "hardware": "hardware", "context": ["framework", "kernel_source", "distribution", "format"], "features": ["num_tokens", "topk", "moe_tp_size", "moe_ep_size"],
                       "targets": LATENCY, "group": ["num_experts", "inter_size", "hidden_size", "moe_tp_size", "moe_ep_size"]}
MLA: dict[str, Any] = {"op": "attention", "hardware": "hardware", "context": ["framework", "kernel_source", "kv_cache_dtype", "table", "gemm_type"], "targets": LATENCY,
                       "fixed": {"causal": 1, "head_dim": 192, "v_dim": 128}, "group": ["num_heads", "batch_size"],
                       "columns": {"batch": "batch_size", "heads": "num_heads", "kv_heads": "num_heads", "q_len": "isl", "kv_len": "isl", "dtype": "dtype"}}
_UNARY, _BINARY = ("relu", "gelu", "tanh", "addu", "mulu", "divu", "powu"), ("add", "mul", "div", "pow")
NEUSIGHT: dict[str, Any] = {
    "op": {"column": "op", "map": {"bmm": "gemm", "linear": "gemm", "ln": "norm", **dict.fromkeys((*_UNARY, *_BINARY), "elementwise")}}, "fixed": {"dtype": "float32"},
    "columns": {"bmm": {"b": "b", "m": "m", "n": "n", "k": "k"}, "linear": {"m": ["b", "m"], "n": "n", "k": "k"}, "softmax": {"rows": "b", "cols": "h"}, "ln": {"rows": "b", "cols": "h"},
                **{op: {"elements": ["b", "h"], "extra_elements": "second"} for op in (*_UNARY, *_BINARY)}},
    "hardware": "hardware", "targets": LATENCY, "group": ["op", "b", "h", "m", "n", "k"]}
VIDUR: dict[str, Any] = {"op": "gemm", "columns": {"m": "num_tokens", "n": "n", "k": "k"}, "fixed": {"dtype": "float16"}, "hardware": "device", "context": ["op"],
                         "targets": {"latency_s": {"column": "median_ms", "unit": "ms"}}, "group": ["n", "k"]}


@dataclass(frozen=True)
class Case:
    """One held-out trial. `held` (n,): rows judged on, of all others a model may learn. `part_of`: slice -> (n,) mask. `figures`: target or slice ->
    (published, aim), as text. `with_shots`: what is aimed at with a few measurements of those held out; None where none are taken."""

    name: str
    table: Table
    held: np.ndarray
    figures: Mapping[str, tuple[str, str]]
    part_of: Mapping[str, np.ndarray] = field(default_factory=dict)
    with_shots: str | None = None


def _sampled(frame: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    return frame.sample(min(rows, len(frame)), random_state=seed).reset_index(drop=True)


def aiconfigurator(data: Path, name: str) -> pd.DataFrame:
    """One of the tables of kernels of language models, empty cells told and formats by our names."""
    frame = pd.read_parquet(data / "aiconfigurator" / f"{name}.parquet")
    if "window_size" in frame:
        frame["window_size"] = frame["window_size"].astype("Float64").fillna(0.0)  # an empty cell is no window
    if "gemm_type" in frame:
        frame["gemm_type"] = frame["gemm_type"].fillna("none")
    frame["format"] = frame["dtype"]
    frame["dtype"] = frame["dtype"].replace({"w4a8_mxfp4_mxfp8": "fp8", "w4a16_mxfp4": "w4a16"})
    return frame


def _sites(table: Table, seed: int) -> np.ndarray:
    """(n,) whether a row belongs to the tenth of the groups that is held out; of few groups a sixth, drawn."""
    labels = np.unique(table.groups.astype(str))
    if len(labels) < 40:
        return np.isin(table.groups.astype(str), np.random.default_rng(seed).permutation(labels)[:max(1, round(len(labels) / 6))])
    marked = Table(table.questions, {"row": np.arange(len(table), dtype=np.float64)}, table.groups, table.slices, table.source)
    held = np.zeros(len(table), dtype=bool)
    held[split_by_group(marked, {"rest": 0.9, "held": 0.1}, seed)["held"].targets["row"].astype(np.int64)] = True
    return held


def _by(table: Table, column: str) -> dict[str, np.ndarray]:
    return {str(v): (table.slices[column] == v).to_numpy() for v in sorted(table.slices[column].unique())}


def gemm_sites(data: Path, seed: int, rows: int) -> Iterator[Case]:
    """GEMM with whole (n, k) held out."""
    table = read_measured(_sampled(aiconfigurator(data, "gemm"), rows, seed), GEMM)
    each = _by(table, "device")
    yield Case("GEMM, site held out", table, _sites(table, seed), dict.fromkeys(("all", *each), ("3.63 / 14.7", "1.8 / 8")), each)


def gemm_frontier(data: Path, seed: int, rows: int) -> Iterator[Case]:
    """GEMM beyond the largest n: trained up to 8,192, asked at 65,536."""
    frame = aiconfigurator(data, "gemm")
    frame = _sampled(frame[(frame["n"] <= 8192) | (frame["n"] == 65536)], rows, seed)
    table = read_measured(frame, GEMM)
    yield Case("GEMM, n = 65536 from n <= 8192", table, (frame["n"] > 8192).to_numpy(), {"all": ("9 to 15 / 51 to 112", "6 / 30")}, _by(table, "device"))


def gemm_gpu(data: Path, seed: int, rows: int) -> Iterator[Case]:
    """GEMM with one GPU never seen."""
    frame = aiconfigurator(data, "gemm")
    frame = frame.groupby("hardware").sample(rows // 4, random_state=seed).reset_index(drop=True)
    table = read_measured(frame, GEMM)
    for device in sorted(frame["hardware"].unique()):
        held = (frame["hardware"] == device).to_numpy()
        told = frame["kernel_source"].isin(frame.loc[~held, "kernel_source"]).to_numpy()
        parts = {"kernels that other GPUs run too": told & held, "kernels of this GPU alone": ~told & held}
        yield Case(f"GEMM, {device} never seen", table, held, {"all": ("-", "8")}, {k: v for k, v in parts.items() if v.any()}, "4")


def attention(data: Path, seed: int, rows: int) -> Iterator[Case]:
    """Attention of prompts with whole head shapes, or whole sequence lengths, held out; of generation with head shapes held out."""
    frame = _sampled(aiconfigurator(data, "attention_context"), rows, seed)
    for what, group, published in (("head shape", ATTENTION["group"], "2.0"), ("sequence", ["isl"], "3.21")):
        table = read_measured(frame, {**ATTENTION, "group": group})
        yield Case(f"context attention, {what} held out", table, _sites(table, seed), {"all": (published, "2")}, _by(table, "device"))
    table = read_measured(_sampled(aiconfigurator(data, "attention_generation"), rows, seed), GENERATION)
    yield Case("generation attention, head shape held out", table, _sites(table, seed), {"all": ("1.1", "1")}, _by(table, "device"))


def moe(data: Path, seed: int, rows: int) -> Iterator[Case]:
    """Layers of experts with whole layer shapes held out."""
    frame = _sampled(aiconfigurator(data, "moe"), rows, seed)
    # one device's share: of the experts, of the rows given to them, and of each expert's width
    spread = frame["moe_ep_size"].astype(float)
    frame["experts"], frame["given"] = np.maximum(frame["num_experts"] / spread, 1.0), np.maximum(frame["num_tokens"] * frame["topk"] / spread, 1.0)
    frame["width"] = frame["inter_size"] / frame["moe_tp_size"]
    table = read_measured(frame, MOE)
    yield Case("MoE, shape held out", table, _sites(table, seed), {"all": ("-", "4")}, _by(table, "device"))


def mla(data: Path, seed: int, rows: int) -> Iterator[Case]:
    """Latent attention of prompts with whole (heads, batch) held out."""
    table = read_measured(_sampled(aiconfigurator(data, "mla_context"), rows, seed), MLA)
    yield Case("context MLA, shape held out", table, _sites(table, seed), {"all": ("2.19 / 10", "2")}, _by(table, "device"))


def power(data: Path, seed: int, rows: int) -> Iterator[Case]:
    """NVML power of GEMM and attention, sites held out, and with GB200 never seen."""
    for name, schema in (("gemm", GEMM), ("attention_context", ATTENTION), ("attention_generation", GENERATION)):
        frame = _sampled(aiconfigurator(data, f"power_{name}"), rows, seed)
        table = read_measured(frame, {**schema, "targets": POWER})
        yield Case(f"power of {name.replace('_', ', ')}, site held out", table, _sites(table, seed), {"power_w": ("8 (Ampere)", "4"), "latency_s": ("-", "-")}, {})
        held = (frame["hardware"] == "gb200").to_numpy()
        yield Case(f"power of {name.replace('_', ', ')}, GB200 never seen", table, held, {"power_w": ("7 to 14", "7"), "latency_s": ("-", "-")}, {})


def _neusight(data: Path, rows: int, seed: int) -> tuple[pd.DataFrame, Table]:
    frame = pd.read_parquet(data / "neusight" / "op_latency.parquet")
    frame = frame[frame["op"] != "conv"].copy()
    frame["second"] = np.where(frame["op"].isin(_BINARY), frame["b"] * frame["h"], 0.0)
    test = frame[frame["split"] == "test"]
    train = frame[frame["split"] == "train"]
    frame = pd.concat([train.sample(min(rows, len(train)), random_state=seed), test.sample(min(max(rows // 4, min(rows, 4000)), len(test)), random_state=seed)]).reset_index(drop=True)
    return frame, read_measured(frame, NEUSIGHT)


def _ops(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    named = frame["op"].where(frame["op"].isin(["bmm", "linear", "softmax", "ln"]), "elementwise")
    return {op: (named == op).to_numpy() for op in ("bmm", "linear", "elementwise", "softmax", "ln")}


def neusight_test(data: Path, seed: int, rows: int) -> Iterator[Case]:
    """NeuSight's own test rows: the GPUs trained on, sizes far beyond. On the P4 the test rows of `linear` ran kernels of another library than the
    training rows, three times as fast; they are shown apart."""
    frame, table = _neusight(data, rows, seed)
    parts = _ops(frame)
    parts["linear, but for the P4"] = parts["linear"] & (frame["hardware"] != "Tesla P4").to_numpy()
    figures = dict(zip(("bmm", "linear", "elementwise", "softmax", "ln"), (("26.0 mean", "12"), ("20.0 mean", "12"), ("14.0 mean", "5"), ("19.3 mean", "8"), ("20.1 mean", "8")), strict=True))
    yield Case("NeuSight test rows", table, (frame["split"] == "test").to_numpy(), {**figures, "linear, but for the P4": ("-", "-")}, parts)


def neusight_a100(data: Path, seed: int, rows: int) -> Iterator[Case]:
    """NeuSight's operators with the A100 never seen (published: GPUs newer than all five)."""
    frame, table = _neusight(data, rows, seed)
    figures = dict(zip(("bmm", "linear", "elementwise", "softmax", "ln"), (("13.8 mean", "12"), ("13.9 mean", "12"), ("19.3 mean", "8"), ("13.9 mean", "8"), ("56.7 mean", "12")), strict=True))
    yield Case("NeuSight, A100 never seen", table, frame["hardware"].str.contains("A100").to_numpy(), figures, _ops(frame))


def vidur(data: Path, seed: int, rows: int) -> Iterator[Case]:
    """Vidur's linear layers with whole (n, k) held out, and with the A40 never seen."""
    frame = pd.read_parquet(data / "vidur" / "compute_ops.parquet")
    frame = _sampled(frame[frame["op"].isin(["attn_pre_proj", "attn_post_proj", "mlp_up_proj", "mlp_down_proj"])], rows, seed)
    tp, dim, kv = frame["num_tensor_parallel_workers"], frame["n_embd"] / frame["n_head"], np.maximum(frame["n_kv_head"] / frame["num_tensor_parallel_workers"], 1.0)
    wide = frame["n_expanded_embd"] / tp
    frame["n"] = np.select([frame["op"] == "attn_pre_proj", frame["op"] == "mlp_up_proj"], [dim * (frame["n_head"] / tp + 2 * kv), wide * (1 + frame["use_gated_mlp"].astype(float))], frame["n_embd"])
    frame["k"] = np.select([frame["op"] == "attn_post_proj", frame["op"] == "mlp_down_proj"], [frame["n_embd"] / tp, wide], frame["n_embd"])
    table = read_measured(frame, VIDUR)
    yield Case("Vidur linear layers, (n, k) held out", table, _sites(table, seed), {"all": ("-", "-")}, _by(table, "device"))
    yield Case("Vidur linear layers, A40 never seen", table, (frame["device"] == "a40").to_numpy(), {"all": ("-", "6 with 20 measurements")}, {}, "6")


def noise_floors(data: Path) -> list[dict[str, Any]]:
    """How far two readings of one product lie apart: bfloat16 GEMMs that two frameworks hand to the same library, on one GPU, their systematic ratio taken
    out, over sqrt(2): what a model that knew everything but the reading itself would miss by. And how far a machine lies from the next of kin that has readings of
    the same product by the same kernel, their systematic ratio taken out: what copying one machine's readings for the other would miss by."""
    out = []
    for name, column in (("gemm", "latency_ms"), ("power_gemm", "power_w")):
        frame = aiconfigurator(data, name)
        for device, part in frame[frame["dtype"] == "bfloat16"].groupby("hardware"):
            wide = part.assign(source=part["framework"] + " " + part["kernel_source"]).pivot_table(index=["m", "n", "k"], columns="source", values=column)
            for i, one in enumerate(wide.columns):
                for other in wide.columns[:i]:
                    off = np.log(wide[one] / wide[other]).dropna()
                    if len(off) >= 200:
                        off = (off - off.median()).abs() * 100.0 / np.sqrt(2.0)
                        out.append({"reading": column, "device": device, "one": one, "other": other, "median %": float(off.median()), "p90 %": float(off.quantile(0.9)), "pairs": len(off)})
    frame = aiconfigurator(data, "power_gemm").pivot_table(index=["m", "n", "k", "dtype", "framework", "kernel_source"], columns="hardware", values=["latency_ms", "power_w"])
    for column in ("latency_ms", "power_w"):
        for i, one in enumerate(frame[column].columns):
            for other in frame[column].columns[:i]:
                off = np.log(frame[column][one] / frame[column][other]).dropna()
                off = (off - off.median()).abs() * 100.0
                out.append({"reading": column, "device": f"{one} over {other}", "one": "the same product and kernel", "other": "on each", "median %": float(off.median()), "p90 %": float(off.quantile(0.9)), "pairs": len(off)})
    return out


@dataclass(frozen=True)
class Protocol:
    """`cases(data, seed, rows)`; `rows` of a full run; `drawn`: whether chance draws the rows held out."""

    cases: Callable[[Path, int, int], Iterator[Case]]
    rows: int
    drawn: bool


#: rows of each table in a quick run
QUICK_ROWS = 1_800
#: rows of a full run are what two cores can do in an hour; only GEMM sites are the whole table
PROTOCOLS: Mapping[str, Protocol] = {
    "gemm_sites": Protocol(gemm_sites, 400_000, True), "gemm_frontier": Protocol(gemm_frontier, 32_000, False), "gemm_gpu": Protocol(gemm_gpu, 16_000, False),
    "attention": Protocol(attention, 64_000, True), "moe": Protocol(moe, 64_000, True), "mla": Protocol(mla, 24_000, True), "power": Protocol(power, 12_000, True),
    "neusight_test": Protocol(neusight_test, 40_000, False), "neusight_a100": Protocol(neusight_a100, 20_000, False), "vidur": Protocol(vidur, 12_000, True)}
