"""What each ready-made model is made of: data, schema, size, seed, and when not to trust it. `training.ready` makes them.

    gpu-kernels      latency of single operators on data-centre GPUs
    gpu-power        latency, power and energy of matrix products and attention
    networks         whole networks on any machine of the catalogue, as the simulator would answer: boosted trees
    networks-graph   the same by a graph network
    llm-serving      TTFT and TPOT of served language models
    llm-inference    end-to-end latency of language models on five makers' machines
    fpga-hls4ml      dense layers through hls4ml: does it synthesise, cycles, LUT, FF, DSP, BRAM
    nas-few-shot     NAS-Bench-201 architectures: a prior, to be calibrated by ten measurements of your device
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..datasets import open_kernels
from ..datasets.errors import UnknownNameError

Found = Mapping[str, Path]


@dataclass(frozen=True)
class Part:
    """One table of a measured recipe: `make(files, rows, seed)` gives the frame, `rows` at most. `kinds`: the operators in it, joined by "+"; "" for a plain table."""

    make: Callable[[Found, int, int], pd.DataFrame]
    rows: int
    kinds: str = ""


@dataclass(frozen=True)
class Recipe:
    """A ready-made model in words and figures. Measured: `files` ((set, file) pairs), `parts` and `schema`. Simulated: `count` labels and a `member` with its
    `settings`. `asks`: what a question must tell; `doubts`: when not to trust it."""

    name: str
    about: str
    asks: str
    doubts: str
    targets: tuple[str, ...]
    files: tuple[tuple[str, str], ...] = ()
    parts: tuple[Part, ...] = ()
    schema: Mapping[str, Any] = field(default_factory=dict)
    count: int = 0
    member: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0


def _serving(found: Found, rows: int, seed: int) -> pd.DataFrame:
    frame = pd.read_parquet(found["aiconfigurator/serving_end_to_end.parquet"])
    frame = frame.rename(columns={"backend": "framework", "model_path": "model", "isl": "input_tokens", "osl": "output_tokens", "tp_size": "tensor_parallel", "moe_ep_size": "expert_parallel"})
    frame["precision"] = frame["precision"].astype(object).where(frame["precision"].notna(), "not told")
    frame = frame[frame["concurrency"].notna() & (frame["ttft_ms"] > 0) & (frame["tpot_ms"] > 0)]
    frame["attention_parallel"] = frame["attention_dp_size"].astype("Float64").fillna(1.0).clip(lower=1.0).astype(float)
    frame["expert_parallel"] = frame["expert_parallel"].clip(lower=1)
    return _typed(open_kernels.sampled(frame, rows, seed), ("hardware", *_SERVING, "ttft_ms", "tpot_ms"))


_SERVING = ("framework", "model", "precision", "input_tokens", "output_tokens", "concurrency", "tensor_parallel", "attention_parallel", "expert_parallel")
_INFERENCE = ("num_devices", "framework", "model", "in_out_len", "batch_size")


def _inference(found: Found, rows: int, seed: int) -> pd.DataFrame:
    frame = pd.read_parquet(found["llm_inference_bench/throughput.parquet"]).dropna()
    return _typed(open_kernels.sampled(frame[frame["latency_s"] > 0], rows, seed), ("hardware", *_INFERENCE, "latency_s"))


_HLS4ML = {"cycles": "WorstLatency_hls", "interval_cycles": "IntervalMax_hls", "ff": "FF_hls", "lut": "LUT_hls", "bram_18k": "BRAM_18K_hls", "dsp": "DSP_hls", "success": "hls_synth_success"}
_DENSE = ("d_in", "d_out", "prec", "rf", "strategy")


def _dense(found: Found, rows: int, seed: int) -> pd.DataFrame:
    frame = pd.read_parquet(found["hls4ml/two_layer_dense.parquet"])
    return _typed(open_kernels.sampled(frame, rows, seed), (*_DENSE, *_HLS4ML.values()))


def _cells(found: Found, rows: int, seed: int) -> pd.DataFrame:
    """Long: an architecture on a device per row. Architectures 0 to 1,899 stay out: HELP's protocol takes its measurements and its questions from them."""
    wide = pd.read_parquet(found["help/nasbench201_latency.parquet"])
    devices = [c for c in wide if str(c).startswith("lat_")]
    wide = open_kernels.sampled(wide[wide["arch_idx"] >= 1900], max(rows // len(devices), 1), seed)
    long = wide.melt(["arch_str"], devices, "device", "ms").dropna()
    long = long.assign(ms=long["ms"].astype(float), device=long["device"].str[4:-3])
    return _typed(long[long["ms"] > 0], ("device", "arch_str", "ms"))


def _typed(frame: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """Those columns, numbered anew; text as plain objects, empty numbers as NaN."""
    out = frame[list(columns)].reset_index(drop=True)
    return out.astype({c: float if pd.api.types.is_numeric_dtype(out[c]) and not pd.api.types.is_bool_dtype(out[c]) else bool if pd.api.types.is_bool_dtype(out[c]) else object for c in out})


def _kernels(*names: str) -> tuple[tuple[str, str], ...]:
    return tuple(("aiconfigurator", f"{name}.parquet") for name in names)


_SEEN = "Only the machines, formats and circumstances its card lists were measured; others are flagged, and their intervals are wide or not calibrated."
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (
    Recipe("gpu-kernels", "latency of matrix products, attention, routed experts, elementwise operators, softmax and norms on data-centre GPUs, as frameworks run them",
           "a table of operators: op, its sizes, dtype and hardware; framework, kernel_source and variant where you know them",
           _SEEN + " A network's latency is not the sum of its kernels'. float32 was measured on P4, P100, V100, T4 and A100 only, 16 bits and less on A40, A100, L40S, H100 and B200 only.",
           ("latency_s",), (*_kernels("gemm", "attention_context", "attention_generation", "mla_context", "mla_generation", "moe"), ("neusight", "op_latency.parquet"), ("vidur", "compute_ops.parquet")),
           (Part(open_kernels.gemms, 150_000, "gemm"), Part(open_kernels.attention, 140_000, "attention"), Part(open_kernels.experts, 100_000, "grouped_gemm"),
            Part(open_kernels.vectors, 50_000, "elementwise+softmax+norm")), open_kernels.SCHEMA),
    Recipe("gpu-power", "latency, NVML power and energy of matrix products and attention on B200 and GB200",
           "a table of operators: op (gemm or attention), its sizes, dtype and hardware; framework, kernel_source and variant where you know them",
           _SEEN + " Two GPUs of one generation say little about the power of another.", ("latency_s", "power_w", "energy_j"),
           _kernels("power_gemm", "power_attention_context", "power_attention_generation"), (Part(open_kernels.powers, 100_000, "gemm+attention"),), open_kernels.POWER_SCHEMA),
    Recipe("networks", "latency, power, energy and memory of whole networks on GPUs, CPUs, arrays, FPGAs and microcontrollers, as the reference simulator answers",
           "a network file any frontend reads, and machines", "It forecasts the simulator, not your machine: how far the two lie apart, only measurements say (docs/simulator.md).",
           ("latency_s", "power_w", "energy_j", "memory_bytes"), count=16_000, member="boosted", settings={"trees": 500, "leaves": 63}),
    Recipe("networks-graph", "the same as networks, by a graph network: message passing over the operators",
           "a network file any frontend reads, and machines", "It forecasts the simulator, not your machine: how far the two lie apart, only measurements say (docs/simulator.md).",
           ("latency_s", "power_w", "energy_j", "memory_bytes"), count=8_000, member="graphnet", settings={"epochs": 6, "hidden": 64, "pretrain": 0}),
    Recipe("llm-serving", "time to the first token and per output token of language models served by vLLM, TensorRT-LLM and SGLang on H100, B200 and GB200",
           f"a table with hardware, {', '.join(_SERVING)}", _SEEN + " A model never served here is told by the figures that silicast knows of its name, or by its name alone.", ("ttft_s", "tpot_s"), _kernels("serving_end_to_end"), (Part(_serving, 2_500),),
           {"features": list(_SERVING), "hardware": "hardware", "group": ["hardware", *_SERVING], "targets": {"ttft_s": {"column": "ttft_ms", "unit": "ms"}, "tpot_s": {"column": "tpot_ms", "unit": "ms"}}}),
    Recipe("llm-inference", "end-to-end latency of language models on A100, H100, MI250, Gaudi2 and Intel Max",
           f"a table with hardware, {', '.join(_INFERENCE)}", _SEEN + " Stacks differ more than machines do.", ("latency_s",), (("llm_inference_bench", "throughput.parquet"),), (Part(_inference, 3_300),),
           {"features": list(_INFERENCE), "hardware": "hardware", "group": ["model", "hardware"], "targets": {"latency_s": {"column": "latency_s", "unit": "s"}}}),
    Recipe("fpga-hls4ml", "two dense layers through hls4ml on an Alveo U250: whether they synthesise, cycles, interval, LUT, FF, BRAM, DSP",
           f"a table with {', '.join(_DENSE)}: widths, bits of precision, reuse factor, strategy", "Tool estimates at 5 ns, not a placed design; other layers, other parts and other clocks were not tried.",
           tuple(_HLS4ML), (("hls4ml", "two_layer_dense.parquet"),), (Part(_dense, 2_200),), {"features": list(_DENSE), "targets": {t: {"column": c} for t, c in _HLS4ML.items()}}),
    Recipe("nas-few-shot", "latency of NAS-Bench-201 architectures on 20 phones, CPUs and GPUs: a prior for your device, to be calibrated by ten measurements of it",
           "a table with device and arch_str (|nor_conv_3x3~0|+|...|, as NAS-Bench-201 writes a cell)", "Without measurements of your device it answers for the mean of those it knows: calibrate first "
           "(`silicast calibrate ready:nas-few-shot YOURS.csv --out DIR`). Phones were timed in whole milliseconds.", ("latency_s",),
           (("help", "nasbench201_latency.parquet"),), (Part(_cells, 8_000),),
           {"workload": {"column": "arch_str", "format": "nas-bench-201"}, "hardware": "device", "group": ["arch_str"], "targets": {"latency_s": {"column": "ms", "unit": "ms"}}}),
)}


def recipe(name: str) -> Recipe:
    """The recipe of that name; raises UnknownNameError naming the nearest."""
    if name not in RECIPES:
        raise UnknownNameError("ready-made model", name, RECIPES)
    return RECIPES[name]


def circumstances(frame: pd.DataFrame, context: tuple[str, ...]) -> list[list[Any]]:
    """What goes with what in a table of operators: [op, hardware, dtype, *context, rows], the most frequent first. Who does not tell a circumstance is
    answered for the most frequent one that agrees with what is told."""
    keys = ["op", "hardware", "dtype", *context]
    counted = frame.groupby(keys, sort=True).size().reset_index(name="rows").sort_values(["rows", *keys], ascending=[False, *[True] * len(keys)])
    return [[int(v) if isinstance(v, (np.integer, int)) else str(v) for v in row] for row in counted.itertuples(index=False)]
