"""Measured LLM inference end to end beside ours, without any fitting: python benchmarks/llm_serving.py [--json PATH]

* llm_inference_bench: seconds for a batch of equal requests, input = output tokens, five frameworks, A100, H100, MI250, Gaudi2, Max 1550.
* serving_end_to_end: TTFT and TPOT of served models under a fixed concurrency, three engines, H100, B200, GB200. TTFT is told twice: with
  requests that come at any moment, and with clients that stay in step (all read at once), between which a closed loop lies.
* splitwise: milliseconds of the prompt phase and of a token, Llama 2 70B and BLOOM 176B on A100 and H100.

Ours is the simulator as it stands, weights and cache in the formats the table names, no time for the host: what an engine's own code adds is
what is left. `roofline` is the larger of arithmetic at the data-sheet rate and bytes at the data-sheet bandwidth, shared by all devices.
Per slice: median and p90 of |log ratio|, median absolute percentage error, Spearman rank correlation. Rows that cannot be told are counted by reason.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _tables import data_folder, print_table, write_json

from silicast.datasets import catalog
from silicast.datasets.catalog.transformers import transformer
from silicast.datasets.cluster import Cluster, NetworkLevel
from silicast.datasets.dtypes import BITS
from silicast.datasets.errors import InputError
from silicast.datasets.hardware import Hardware
from silicast.datasets.simulator.serving import rig_of, simulate_serving
from silicast.datasets.simulator.serving_plan import ServingPlan
from silicast.datasets.simulator.serving_step import touched_share
from silicast.datasets.transformer import Transformer

#: device -> (bytes/s one way between two devices of a node, software): NVIDIA A100, H100 and Blackwell data sheets (half of the NVLink figure);
#: AMD CDNA 2 white paper: 50 GB/s a link, two to a peer (assumption); Intel, Gaudi2 white paper: 21 of 24 100-Gbit ports inside a node;
#: Xe Link of Max 1550: as MI250 (assumption)
LINKS: dict[str, tuple[float, str]] = {
    "a100_sxm": (300e9, "custom"), "a100_sxm_40gb": (300e9, "custom"), "h100_sxm": (450e9, "custom"), "b200_sxm": (900e9, "custom"), "gb200": (900e9, "custom"),
    "mi250": (100e9, "nccl_nvlink"), "gaudi2": (262.5e9, ""), "intel_max_1550": (100e9, "nccl_nvlink"),
}
#: seconds of one hop (assumption)
HOP_S = 1e-6
#: llm_inference_bench does not say which A100: vLLM's throughput with Llama 2 7B stops growing at the batch whose cache fills 40 GB, not 80
DEVICES = {"Nvidia A100 GPU": "a100_sxm_40gb"}
#: names of the tables that are not the catalogue's: a model of the same language part
SAME_AS = {"moonshotai/Kimi-K2.5": "kimi_k2", "MiniMaxAI/MiniMax-M2.5": "minimax_m2"}
#: what the catalogue cannot express, in words
BEYOND = {"Qwen/Qwen3.5-397B-A17B": "three of four layers are gated linear attention, which a Transformer does not have"}
QUANT = {"fp8": ("float8", "float8"), "fp8_block": ("float8", "float8"), "nvfp4": ("float4", "float4"), "fp4": ("float4", "float4"), "int4_wo": ("bfloat16", "int4"),
         "int4": ("bfloat16", "int4"), "bf16": ("bfloat16", "bfloat16")}
#: the format a checkpoint is published in, where a row names none and it is not bf16
NATIVE = {"deepseek-ai/DeepSeek-R1": "fp8_block", "deepseek-ai/DeepSeek-V3": "fp8_block", "Qwen/Qwen3-235B-A22B-FP8": "fp8", "MiniMaxAI/MiniMax-M2.5": "fp8_block",
          "moonshotai/Kimi-K2.5": "int4_wo", "openai/gpt-oss-120b": "fp4"}
#: slices whose median error is above 50 %: what most likely makes it, in words. Read off how the error moves with batch, devices and machine and from how the
#: engines work; nobody profiled these runs
WHY: dict[tuple[str, str], str] = {
    ("llm_inference_bench", "llama.cpp"): "one sequence, layers of several devices one after another; its matrix-vector kernels and graph walk reach a third to a half of the bandwidth, on MI250 and Max 1550 "
                                          "(ported by HIP and SYCL) far less, and between Max 1550 devices every activation passes through the host",
    ("llm_inference_bench", "Deepspeed-MII"): "eager kernels issued from Python one by one: a step lasts as long as the host takes to issue it, whatever the device",
    ("llm_inference_bench", "Deepspeed"): "static shapes on Gaudi2: a graph per bucket of lengths, padded to the longest, attention over the whole padded cache",
    ("llm_inference_bench", "vLLM"): "vLLM of spring 2024: scheduler, input preparation, sampling and detokenisation in Python between any two steps, some ms that do not shrink with the device",
    ("llm_inference_bench", "TensorRT-LLM"): "small batches: the C++ runtime's step overhead and sampling; large ones: static batches whose prefill is padded",
    ("splitwise", "token_s"): "vLLM of 2023 without CUDA graphs: 8 devices are no faster than 4 and H100 takes as long for 70B as for 176B, so the host's 30 to 45 ms per step is what was measured",
    ("splitwise", "prompt_s"): "the prompt phase of the same eager engine: short prompts last as long as the host takes to issue their kernels",
    ("serving_end_to_end", "ttft_s"): "time in the queue: all clients start at once and their requests are nearly equally long, so they ask again nearly together; requests at any moment wait far less",
    ("serving_end_to_end", "ttft_s in step"): "clients drift apart (real lengths vary), so they wait less than when all ask at once; at 4 to 8 clients the engine's and HTTP server's own 20 to 50 ms weigh more than the prefill",
    ("serving_end_to_end", "tpot_s"): "engines of several versions, some with multi-token prediction or overlap, a host share per step, and experts loaded unevenly",
}


@dataclass(frozen=True)
class Setting:
    """One measured configuration as ours sees it."""

    model: Transformer
    hardware: Hardware
    plan: ServingPlan
    prompt: int
    output: int
    batch: int

    @property
    def machine(self) -> Hardware | Cluster:
        """The device, or as many as the plan takes behind a switch."""
        return self.hardware if self.plan.devices == 1 else _node(self.hardware, self.plan.devices)

    def roofline(self, new: int, past: int, batch: int) -> float:
        """Seconds of one pass: the larger of arithmetic and bytes, shared by all devices."""
        tokens, model = new * batch, self.model
        weight = BITS[self.plan.weight_dtype or self.plan.dtype] / 8
        pairs = batch * new * (past + new / 2)
        flops = 2.0 * tokens * model.active_params + 4.0 * pairs * model.heads * model.head_dim * model.layers
        nbytes = model.params * weight * touched_share(model, tokens) + batch * model.kv_bytes(past + new, self.plan.cache_dtype)
        return max(flops / self.hardware.rate(self.plan.dtype), nbytes / self.hardware.dram_bandwidth) / self.plan.devices


@cache
def _node(hardware: Hardware, count: int) -> Cluster:
    bandwidth, stack = LINKS[hardware.key]
    level = NetworkLevel("node", count, "switch", bandwidth, HOP_S, stack=stack)
    return Cluster(f"{hardware.key}_x{count}", f"{count} x {hardware.name}", ((hardware, count),), (level,))


def _model(name: str) -> Transformer:
    if name in BEYOND:
        raise InputError(f"{name}: {BEYOND[name]}")
    return transformer(SAME_AS.get(name, name))


# -- the tables -------------------------------------------------------------------------------------------------------------------------

def inference_bench(folder: Path) -> Iterable[dict[str, Any]]:
    """Rows of llm_inference_bench: seconds of a batch from end to end."""
    table = pd.read_parquet(folder / "llm_inference_bench" / "throughput.parquet")
    keys = ["hardware", "num_devices", "framework", "model", "in_out_len", "batch_size"]
    for key, rows in table.groupby(keys):
        device, count, framework, model, length, batch = key
        base = {"table": "llm_inference_bench", "device": device, "engine": framework, "model": model, "target": "latency_s", "measured": float(rows.latency_s.median()),
                "at": f"{count} x, batch {batch}, {length} + {length}"}
        yield base | _forecast(lambda d=device, n=count, f=framework, m=model, t=length, b=batch: _batch_s(d, int(n), f, m, int(t), int(b)))


def _batch_s(device: str, count: int, framework: str, model: str, length: int, batch: int) -> tuple[float, float]:
    hardware, noun = catalog.hardware(DEVICES.get(device, device)), _model(model)
    if framework == "llama.cpp":
        # llama-bench: one sequence, whose prompt is read `batch` tokens at a time; layers of several devices run one after another
        alone = Setting(noun, hardware, ServingPlan(dtype="float16", memory_share=1.0), length, length, 1)
        rig = rig_of(noun, hardware, alone.plan)
        steps = math.ceil(length / batch)
        read = steps * (rig.step(_segments(1, batch, length // 2), 1).time_s if batch < length else rig.prefill(1, length).time_s)
        roof = steps * alone.roofline(min(batch, length), length // 2, 1) + length * alone.roofline(1, 3 * length // 2, 1)
        return read + length * rig.decode(1, 3 * length // 2).time_s, roof
    s = Setting(noun, hardware, ServingPlan(dtype="float16", tensor=count), length, length, batch)
    answer = simulate_serving(noun, s.machine, length, length, batch, plan=s.plan)
    waves = 1.0
    if answer.infeasible and answer.max_batch:  # what does not fit waits: waves of the batch that does
        waves, batch = batch / answer.max_batch, answer.max_batch
        answer = simulate_serving(noun, s.machine, length, length, batch, plan=s.plan)
    elif answer.infeasible:
        raise InputError("the weights and one sequence do not fit by our accounting, yet it was measured")
    return waves * answer.e2e_s, waves * (s.roofline(length, 0, batch) + length * s.roofline(1, 3 * length // 2, batch))


def _segments(batch: int, new: int, past: int) -> tuple[Any, ...]:
    from silicast.datasets.transformer import Segment

    return (Segment(batch, new, past),)


def splitwise(folder: Path) -> Iterable[dict[str, Any]]:
    """Rows of splitwise: seconds of the prompt phase, and of one token."""
    table = pd.read_parquet(folder / "splitwise" / "perf.parquet")
    for key, rows in table.groupby(["model", "hardware", "prompt_size", "batch_size", "token_size", "tensor_parallel"]):
        model, device, prompt, batch, output, tensor = key
        noun = transformer({"llama2-70b": "llama2_70b", "bloom-176b": "bloom_176b"}[model])
        s = Setting(noun, catalog.hardware(device), ServingPlan(dtype="float16", tensor=int(tensor), memory_share=1.0), int(prompt), int(output), int(batch))
        for target, column, pick in (("prompt_s", "prompt_time_ms", 0), ("token_s", "token_time_ms", 1)):
            base = {"table": "splitwise", "device": device, "engine": "vLLM 2023", "model": model, "target": target, "measured": float(rows[column].median()) / 1e3,
                    "at": f"{tensor} x, batch {batch}, {prompt} + {output}"}
            yield base | _forecast(lambda s=s, pick=pick: _phase_s(s, pick))


def _phase_s(s: Setting, pick: int) -> tuple[float, float]:
    answer = simulate_serving(s.model, s.machine, s.prompt, s.output, s.batch, plan=s.plan)
    if pick == 0:
        return answer.prefill_s, s.roofline(s.prompt, 0, s.batch)
    return answer.decode_step_s, s.roofline(1, s.prompt + s.output // 2, s.batch)


def end_to_end(folder: Path) -> Iterable[dict[str, Any]]:
    """Rows of serving_end_to_end: TTFT and TPOT under so many concurrent requests."""
    table = pd.read_parquet(folder / "aiconfigurator" / "serving_end_to_end.parquet")
    table["quant"] = table.gemm_quant_mode.fillna(table.precision)
    keys = ["backend", "model_path", "hardware", "quant", "isl", "osl", "batch_size", "concurrency", "tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size"]
    for key, rows in table.groupby(keys, dropna=False):
        at = dict(zip(keys, key, strict=True))
        for target, column in (("ttft_s", "ttft_ms"), ("ttft_s in step", "ttft_ms"), ("tpot_s", "tpot_ms")):
            base = {"table": "serving_end_to_end", "device": at["hardware"], "engine": at["backend"], "model": at["model_path"], "target": target, "measured": float(rows[column].median()) / 1e3,
                    "at": f"tp {at['tp_size']}, concurrency {at['concurrency']}, {at['isl']} + {at['osl']}, {at['quant']}"}
            yield base | _forecast(lambda at=at, t=target: _served(at, t))


def _served(at: dict[str, Any], target: str) -> tuple[float, float]:
    given = {k: 0 if pd.isna(at[k]) else int(at[k]) for k in ("attention_dp_size", "moe_tp_size", "moe_ep_size", "concurrency", "batch_size", "tp_size", "isl", "osl")}
    tensor, copies, expert = given["tp_size"], max(given["attention_dp_size"], 1), max(given["moe_ep_size"], 1)
    model, hardware = _model(at["model_path"]), catalog.hardware(at["hardware"])
    if copies > 1:
        raise InputError("attention is repeated over devices in a way the table's sizes do not settle")
    if tensor > 16 or (expert > 1 and not model.experts):
        raise InputError("more devices than a node, whose network the table does not say")
    concurrency = given["concurrency"] or given["batch_size"]
    dtype, weight = QUANT[NATIVE.get(at["model_path"], "bf16") if pd.isna(at["quant"]) else at["quant"]]
    plan = ServingPlan(dtype=dtype, weight_dtype=weight, tensor=tensor, expert=min(expert, tensor), schedule="static" if target == "ttft_s in step" else "continuous")
    s = Setting(model, hardware, plan, given["isl"], given["osl"], concurrency)
    answer = simulate_serving(model, s.machine, s.prompt, s.output, s.batch, plan=plan)
    if target != "tpot_s":
        return answer.ttft_s, s.roofline(s.prompt, 0, 1)
    return answer.tpot_s, s.roofline(1, s.prompt + s.output // 2, concurrency) + (concurrency - 1) * s.roofline(s.prompt, 0, 1) / max(s.output - 1, 1)


def _forecast(ask: Callable[[], tuple[float, float]]) -> dict[str, Any]:
    """Ours and the roofline, or why there is no answer."""
    try:
        ours, roof = ask()
        return {"simulated": ours, "roofline": roof, "skipped": ""}
    except InputError as error:
        return {"simulated": None, "roofline": None, "skipped": str(error)}


# -- the figures ------------------------------------------------------------------------------------------------------------------------

def figures(rows: list[dict[str, Any]], column: str) -> dict[str, float]:
    """Errors of one column against `measured`."""
    said, true = (np.array([r[c] for r in rows]) for c in (column, "measured"))
    off = np.abs(np.log(said / true))
    ape = np.abs(said / true - 1)
    return {"log_median": float(np.median(off)), "log_p90": float(np.quantile(off, 0.9)), "ape_median": float(np.median(ape)), "spearman": _spearman(said, true),
            "measured_over": float(np.median(true / said))}


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    if len(a) < 3:
        return math.nan
    ranks = [pd.Series(x).rank().to_numpy() for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1]) if all(r.std() > 0 for r in ranks) else math.nan


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per table, target, engine and device; `why` where the median error is above 50 %."""
    out = []
    frame = pd.DataFrame([r for r in rows if not r["skipped"]])
    for (table, target, engine, device), part in frame.groupby(["table", "target", "engine", "device"]):
        records = part.to_dict("records")
        ours, roof = figures(records, "simulated"), figures(records, "roofline")
        why = ""
        if ours["ape_median"] > 0.5 or ours["log_median"] > 0.5:
            why = WHY.get((table, engine)) or WHY.get((table, target), "")
        out.append({"table": table, "target": target, "engine": engine, "device": device, "rows": len(records), **{f"ours_{k}": v for k, v in ours.items()},
                    **{f"roofline_{k}": v for k, v in roof.items() if k != "measured_over"}, "why": why})
    return out


def run(folder: Path | None = None) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, int]]:
    """(rows, summary, rows left out by reason). Raises InputError when the tables are not there."""
    where = folder or data_folder()
    if where is None:
        raise InputError("the measured tables are not here: set SILICAST_DATA to their folder")
    rows = [row for table in (inference_bench, end_to_end, splitwise) for row in table(where)]
    return rows, summary(rows), dict(Counter(f"{r['table']}: {r['skipped']}" for r in rows if r["skipped"]))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, help="the folder of the measured tables")
    parser.add_argument("--kept", action="store_true", help="leave the rows, which hold the measured figures, out of the JSON")
    parser.add_argument("--json", type=Path, help="write rows and summary there")
    asked = parser.parse_args()
    rows, lines, left_out = run(asked.data)
    told = [r for r in rows if not r["skipped"]]
    whole = [{"table": t, "rows": len(part), **{f"ours_{k}": v for k, v in figures(part, "simulated").items()}, **{f"roofline_{k}": v for k, v in figures(part, "roofline").items()}}
             for t in dict.fromkeys((r["table"], r["target"]) for r in told) for part in [[r for r in told if (r["table"], r["target"]) == t]]]
    print_table("Whole tables", whole)
    print_table("By engine and device", [{k: v for k, v in line.items() if k != "why"} for line in lines])
    print_table("Above 50 %, and what most likely makes it", [{"slice": f"{x['table']} {x['target']} {x['engine']} {x['device']}", "ape_median": x["ours_ape_median"], "measured_over": x["ours_measured_over"], "why": x["why"]}
                                        for x in lines if x["why"]])
    print_table("Left out", [{"why": k, "rows": v} for k, v in left_out.items()])
    write_json(asked.json, {"benchmark": "llm_serving", "whole": whole, "summary": lines, "left_out": left_out, **({} if asked.kept else {"rows": rows})})


if __name__ == "__main__":
    main()
