"""Published headlines of LLM serving beside ours: python benchmarks/papers_llm.py [--json PATH]

`rows()` gives a dict a headline: system, headline, published, simulated, ratio (simulated / published), assumptions. What cannot be expressed keeps its
row, with `simulated` None and the reason. Nothing is fitted to these rows. Machines that are not GPUs serving LLMs (SN40L, PIM-GPT, Cambricon-LLM,
HNLPU) stand in `papers_machines.py`. Figures that are not in an abstract (traces, prices, limits, 14.1 to 7.5 and 5.7 ms, 68.5 %,
2.98x, 2.67x, 11 tok/s) are from memory of the papers and were not read again; the accepted shares of drafted tokens are assumptions.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from _tables import print_table, write_json

from silicast.datasets import catalog
from silicast.datasets.catalog.transformers import transformer
from silicast.datasets.cluster import Cluster, NetworkLevel
from silicast.datasets.errors import InputError
from silicast.datasets.hardware import Hardware
from silicast.datasets.simulator.serving import ServingAnswer, simulate_serving
from silicast.datasets.simulator.serving_plan import Draft, ServingPlan
from silicast.datasets.simulator.serving_split import simulate_split
from silicast.datasets.simulator.serving_step import Rig

#: bytes/s one way between devices of a node: half of the NVLink figure of the A100 and H100 data sheets
NVLINK = {"a100_sxm": 300e9, "h100_sxm": 450e9}


def node(device: str, count: int) -> Cluster:
    """`count` GPUs on NVLink with NCCL and an engine's own all-reduce."""
    machine = catalog.hardware(device)
    level = NetworkLevel("nvlink", count, "switch", NVLINK[machine.key], 1e-6, stack="custom")
    return Cluster(f"{machine.key}_x{count}", f"{count} x {machine.name}", ((machine, count),), (level,))


def _row(system: str, headline: str, published: float, simulated: float | None, assumptions: str) -> dict[str, Any]:
    return {"system": system, "headline": headline, "published": published, "simulated": simulated, "ratio": None if simulated is None else simulated / published, "assumptions": assumptions}


def rows() -> list[dict[str, Any]]:
    """Every headline; one whose device or model is absent says so."""
    parts: tuple[Callable[[], list[dict[str, Any]]], ...] = (splitwise, polca, sarathi, nanoflow, long_context, comet, speculation, not_expressible)
    out = []
    for part in parts:
        try:
            out += part()
        except InputError as error:
            out.append({"system": part.__name__, "headline": "", "published": None, "simulated": None, "ratio": None, "assumptions": f"not simulated: {error}"})
    return out


# -- Splitwise --------------------------------------------------------------------------------------------------------------------------

#: the conversation trace: median prompt and output (Splitwise, ISCA 2024, figure 3); dollars per hour of a machine (table 5)
PROMPT, OUTPUT = 1020, 129
DOLLARS = {"a100_sxm": 17.6, "h100_sxm": 38.0}
#: median time between tokens may be so many times that of a lone request (section 6.1: slowdown 1.25 at the median)
SLOWDOWN = 1.25


def splitwise() -> list[dict[str, Any]]:
    """Requests per second and dollar: prompts on H100 and tokens on A100, against H100 machines that do both."""
    model, plan = transformer("llama2_70b"), ServingPlan(dtype="float16", tensor=8, schedule="continuous")
    whole, slow = node("h100_sxm", 8), node("a100_sxm", 8)
    limit = SLOWDOWN * _lone(slow).tpot_s  # one limit for all: the paper's reference is a lone request on A100
    mixed = _largest(lambda b: simulate_serving(model, whole, PROMPT, OUTPUT, b, plan=plan), lambda a: a.tpot_s <= limit)
    base = mixed.request_rate_per_s / DOLLARS["h100_sxm"]
    out = []
    for name, writer, key in (("HH", whole, "h100_sxm"), ("HA", slow, "a100_sxm")):
        def pair(b: int, w: Cluster = writer) -> Any:
            return simulate_split(model, whole, w, PROMPT, OUTPUT, b, 25e9 * 8, token_machines=10**6, prompt_plan=plan, token_plan=plan)
        best = _largest(pair, lambda a: a.tpot_s <= limit and not a.infeasible)
        one_reader = best.request_rate_per_s                       # a prompt machine's own rate: token machines abound
        alone = simulate_split(model, whole, writer, PROMPT, OUTPUT, best.batch, 25e9 * 8, prompt_machines=10**6, prompt_plan=plan, token_plan=plan).request_rate_per_s
        dollars = DOLLARS["h100_sxm"] + one_reader / alone * DOLLARS[key]
        out.append(_row(f"Splitwise-{name}", "throughput per cost over machines that do both phases", 1.4 / 0.8, one_reader / dollars / base,
                        f"Llama 2 70B, {PROMPT} + {OUTPUT} tokens, 8 GPUs a machine, TPOT within {SLOWDOWN} of a lone request on A100; machines of both kinds in balance; "
                        "the published 1.4x throughput at 20 % lower cost is a fleet's under bursts with tail limits, ours a steady stream at the mean"))
    return out


def _lone(machine: Cluster) -> ServingAnswer:
    return simulate_serving("llama2_70b", machine, PROMPT, OUTPUT, 1, plan=ServingPlan(dtype="float16", tensor=8))


def _largest(ask: Callable[[int], Any], holds: Callable[[Any], bool], most: int = 1024) -> Any:
    """The answer at the largest batch that holds; the lone request's when none does."""
    low, high = 1, most
    while high > low:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(ask(middle)) else (low, middle - 1)
    return ask(low)


# -- POLCA ------------------------------------------------------------------------------------------------------------------------------

def polca() -> list[dict[str, Any]]:
    """Servers that fit under a power budget sized for every server at its peak."""
    model, plan = transformer("bloom_176b"), ServingPlan(dtype="float16", tensor=8, schedule="continuous", memory_share=1.0)
    machine = node("a100_sxm", 8)
    rig = Rig(model, machine.hardware, machine, plan)
    read = rig.prefill(1, 2048)
    peak = read.energy_j / read.time_s
    answer = simulate_serving(model, machine, 2048, 512, 8, plan=plan)
    return [_row("POLCA", "more servers under one power budget, share", 0.30, peak / answer.power_w - 1.0,
                 f"BLOOM 176B on 8 A100, 2048 + 512 tokens, 8 in flight: prompts draw {peak / 8:.0f} W a GPU, the mean over a request's life is {answer.power_w / 8:.0f} W; a row of "
                 "many servers draws the mean, and the budget is that of all reading prompts at once; fans, hosts and POLCA's caps on top are left out")]


# -- Sarathi-Serve ----------------------------------------------------------------------------------------------------------------------

def sarathi() -> list[dict[str, Any]]:
    """Requests per second at which 99 % of the gaps between tokens keep the limit: whole prefills against chunks of 512."""
    out = []
    for key, count, limit, published in (("mistral_7b", 1, 0.1, 2.6), ("yi_34b", 2, 0.2, 3.7)):
        model = transformer(key)
        machine: Hardware | Cluster = catalog.hardware("a100_sxm") if count == 1 else node("a100_sxm", count)
        plan = ServingPlan(dtype="float16", tensor=count, schedule="continuous")

        def whole(b: int, model: Any = model, machine: Any = machine, plan: Any = plan) -> ServingAnswer:
            return simulate_serving(model, machine, 1730, 415, b, plan=plan)

        def keeps(a: ServingAnswer, limit: float = limit) -> bool:
            gap = a.decode_step_s + a.prefill_s
            rare = a.request_rate_per_s * a.decode_step_s <= 0.01  # fewer than one step in a hundred has a prefill before it
            return not a.infeasible and (gap <= limit or rare)

        vllm = _largest(whole, keeps)
        chunked = _largest(lambda b, w=whole: w(b), lambda a: False)
        for tokens in (256, 512, 1024, 2048):
            cut = replace(plan, schedule="chunked", chunk_tokens=tokens)
            best = _largest(lambda b, m=model, h=machine, p=cut: simulate_serving(m, h, 1730, 415, b, plan=p), lambda a, t=limit: not a.infeasible and a.tpot_s <= t)
            chunked = max(chunked, best, key=lambda a: a.request_rate_per_s)
        out.append(_row("Sarathi-Serve", f"serving capacity over vLLM, {model.name}", published, chunked.request_rate_per_s / vllm.request_rate_per_s,
                        f"openchat's median request (1730 + 415 tokens) on {count} A100, gaps within {limit * 1e3:.0f} ms (their strict limit) at the 99th percentile; equal requests, the best chunk of 256 to 2048; "
                        f"ours {vllm.request_rate_per_s:.2f} against {chunked.request_rate_per_s:.2f} requests/s. With equal prompts a whole prefill either fits the limit or not; real traces have long ones"))
    return out


# -- NanoFlow ---------------------------------------------------------------------------------------------------------------------------

def nanoflow() -> list[dict[str, Any]]:
    """Share of the optimal throughput, 2 FLOPs per parameter and token at the peak rate."""
    model, machine = transformer("llama2_70b"), node("a100_sxm", 8)
    optimal = 8 * machine.hardware.rate("float16") / (2.0 * model.active_params)
    out = []
    for name, overlap, published in (("overlapped collectives", 1.0, 0.685), ("one after another", 0.0, 0.36)):
        plan = ServingPlan(dtype="float16", tensor=8, schedule="chunked", chunk_tokens=2048, overlap=overlap)
        most = simulate_serving(model, machine, 512, 512, 1, plan=plan).max_batch
        answer = max((simulate_serving(model, machine, 512, 512, b, plan=plan) for b in (256, 512, 1024, 1536) if b <= most), key=lambda a: a.throughput_tok_s)
        said = "the published figure is NanoFlow's own for Llama 2 70B (59 to 72 % over models)" if overlap else "the published figure is the best engine before it (1.91x less)"
        out.append(_row("NanoFlow", f"share of optimal throughput, {name}", published, answer.throughput_tok_s * 2 / optimal,
                        f"Llama 2 70B on 8 A100, 512 + 512 tokens, steps of 2048, {answer.batch} in flight; overlap hides the network only, not memory-bound attention; no host time; {said}"))
    return out


# -- long contexts ----------------------------------------------------------------------------------------------------------------------

def long_context() -> list[dict[str, Any]]:
    """The four costs of Fu, "Challenges in Deploying Long-Context Transformers", 2024: Yi 34B on one A100 of 80 GB, 50K tokens against 4K."""
    model, plan = transformer("yi_34b"), ServingPlan(dtype="bfloat16", memory_share=1.0, prefill_tokens=65536)
    machine = catalog.hardware("a100_sxm")
    rig = Rig(model, machine, None, plan)
    told = {}
    for tokens in (4096, 50_000):
        room = (machine.dram.capacity_bytes - rig.weight_bytes) / rig.kv_bytes(tokens)
        told[tokens] = (room, rig.prefill(1, tokens).time_s, 250 * rig.decode(1, tokens).time_s, model.kv_bytes(tokens) / 20e9)
    says = "Yi 34B, bf16, one A100 80 GB"
    (users4, read4, write4, swap4), (users50, read50, write50, swap50) = told[4096], told[50_000]
    return [
        _row("long-context analysis", "users at once, 4K", 20, users4, f"{says}; all memory but the weights is cache (activations left out as there)"),
        _row("long-context analysis", "users at once, 50K", 1, users50, f"{says}; theirs is rounded to whole users"),
        _row("long-context analysis", "prefill s, 4K", 0.89, read4, f"{says}; theirs at the peak rate"),
        _row("long-context analysis", "prefill s, 50K", 14.1, read50, f"{says}; theirs at the peak rate with 1.0e15 operations of attention beside the 3.4e15 of the weights (14.1 s x 312e12); "
             "causal attention of 60 layers of 56 heads of 128 has 2.2e15"),
        _row("long-context analysis", "decode s of 250 tokens, 4K", 8.5, write4, f"{says}; theirs at the data-sheet bandwidth"),
        _row("long-context analysis", "decode s of 250 tokens, 50K", 9.8, write50, f"{says}; theirs at the data-sheet bandwidth"),
        _row("long-context analysis", "context switch, 50K over 4K", 11.0, swap50 / swap4, f"cache over PCIe at 20 GB/s: {swap50:.2f} s against {swap4:.2f} s; the published pair is 1.1 s and 0.1 s (from memory)"),
    ]


# -- narrow formats ---------------------------------------------------------------------------------------------------------------------

def comet() -> list[dict[str, Any]]:
    """Throughput of W4A4KV4 over what TensorRT-LLM offers on A100, each at the batch that serves most."""
    machine, out = catalog.hardware("a100_sxm"), []
    forms = {"W4A4KV4": ServingPlan(dtype="int4", weight_dtype="int4", kv_dtype="int4"), "W4A16": ServingPlan(dtype="float16", weight_dtype="int4"),
             "W8A8": ServingPlan(dtype="int8", weight_dtype="int8"), "FP16": ServingPlan(dtype="float16")}
    for key in ("llama2_13b", "llama3_8b"):
        best = {}
        for name, plan in forms.items():
            tries = [simulate_serving(key, machine, 1024, 512, b, plan=plan) for b in (4, 16, 32, 64, 128, 256)]
            best[name] = max((a.throughput_tok_s for a in tries if not a.infeasible), default=0.0)
        rival = max(v for k, v in best.items() if k != "W4A4KV4")
        out.append(_row("COMET", f"throughput of W4A4KV4 over TensorRT-LLM, {transformer(key).name}", 2.02, best["W4A4KV4"] / rival,
                        f"one A100, 1024 + 512 tokens, best of batches 4 to 256: {', '.join(f'{k} {v:,.0f} tok/s' for k, v in best.items())}; the published mean is over several models; "
                        "all activations taken as 4 bits, theirs keep 5 to 20 % of the channels at 8"))
    return out


def speculation() -> list[dict[str, Any]]:
    """Speculative sampling, Chen et al., 2023: Chinchilla 70B with a 4B draft of 4 tokens on 16 TPU v4, 14.1 ms a token to 7.5 (XSum) and 5.7 (HumanEval)."""
    machine = catalog.hardware("tpu_v4")
    cluster = Cluster.of(machine, 16, 300e9 / 2, 1e-6, topology="torus")
    model, draft = transformer("llama_65b"), transformer("llama3.2_3b")
    out = []
    for task, published, acceptance in (("XSum", 14.1 / 7.52, 0.7), ("HumanEval", 14.1 / 5.73, 0.85)):
        plain, quick = (simulate_serving(model, cluster, 512, 128, 1, plan=ServingPlan(dtype="bfloat16", tensor=8, draft=d)) for d in (None, Draft(draft, 4, acceptance)))
        out.append(_row("speculative sampling", f"time per token, times less, {task}", published, plain.tpot_s / quick.tpot_s,
                        f"LLaMA 65B drafted by a 3B model in place of Chinchilla 70B and 4B; {acceptance:g} of the tokens accepted (assumption); {plain.tpot_s * 1e3:.1f} ms a token without; a draft on all chips pays "
                        "their collectives at every token, theirs is cut into fewer layers for that"))
    return out


def not_expressible() -> list[dict[str, Any]]:
    """Headlines that need what silicast does not have; kept in sight."""
    two_bits = "no 2-bit number format: the narrowest is 4 bits"
    return [
        _row("AccLLM", "throughput over FlightLLM, W2A8KV4 on U280", 2.98, None, f"not simulated: {two_bits}"),
        _row("T-MAC", "tok/s of BitNet-b1.58-3B on Raspberry Pi 5", 11.0, None, f"not simulated: {two_bits}, and look-ups in place of products"),
        _row("Duplex; InstInfer", "offload of low-op/byte work to stacked logic or storage", 2.67, None, "not simulated: two engines with different memories working on one step; a Hardware has one compute side"),
    ]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, help="write the rows there")
    asked = parser.parse_args()
    found = rows()
    print_table("Published headlines of LLM serving", [{k: v for k, v in r.items() if k != "assumptions"} for r in found])
    for r in found:
        print(f"  {r['system']}, {r['headline']}: {r['assumptions']}")
    write_json(asked.json, {"benchmark": "papers_llm", "rows": found})


if __name__ == "__main__":
    main()
