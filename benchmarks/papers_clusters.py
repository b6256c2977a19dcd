"""Published results of clusters and training systems beside ours: python benchmarks/papers_clusters.py [--json FILE]

Nothing is fitted; what a paper does not say is an assumption and stands in the row. A miss stays, with its reason.
Headlines of abstracts (MegaScale, Frontier, breadth-first, GSPMD, FRED) are as printed there; figures and plans of tables inside the papers were written from
memory of them and not compared with the print again.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from _tables import print_table, write_json

from silicast.datasets import catalog
from silicast.datasets.catalog.transformers import transformer
from silicast.datasets.cluster import Cluster, NetworkLevel
from silicast.datasets.errors import InputError
from silicast.datasets.simulator.collectives import collective
from silicast.datasets.simulator.memory_plan import layer_activation_bytes, model_states
from silicast.datasets.simulator.parallel import ParallelPlan
from silicast.datasets.simulator.parallel_step import TrainingStep, simulate_training
from silicast.datasets.simulator.parallel_work import DeviceWork
from silicast.datasets.transformer import Transformer


def row(system: str, headline: str, published: float, simulated: float, assumptions: str) -> dict[str, Any]:
    """One line of the table."""
    return {"system": system, "headline": headline, "published": published, "simulated": simulated, "ratio": simulated / published, "assumptions": assumptions}


def rows() -> list[dict[str, Any]]:
    """Every headline: system, headline, published, simulated, ratio, assumptions."""
    return [line for part in PARTS for line in part()]


def gpt(key: str, layers: int, hidden: int, heads: int, vocab: int = 51200, ffn: int = 0, head_dim: int = 0, positions: int = 2048) -> Transformer:
    """A GPT of that shape: feed-forward four times as wide unless said, tied embedding."""
    return Transformer(key, key, layers, hidden, heads, heads, head_dim or hidden // heads, ffn or 4 * hidden, vocab, gated=False, act="gelu", bias=True, layer_norm=True,
                       rope=False, positions=positions, tied=True)


def zero() -> list[dict[str, Any]]:
    """ZeRO, SC 2020, figure 1: 7.5 B parameters on 64 devices."""
    published = (120.0, 31.4, 16.6, 1.9)
    return [row("ZeRO", f"GB of model state, 7.5 B parameters on 64 devices, stage {stage}", gb, sum(model_states(7.5e9, stage, 64)) / 1e9, "2 + 2 + 12 bytes a parameter (as the paper)")
            for stage, gb in enumerate(published)]


def activations() -> list[dict[str, Any]]:
    """Korthikanti et al. 2022, equations 1, 2 and 4 for GPT-3 175B: s b h (34 + 5 a s / h) and its parallel forms."""
    model, s = transformer("gpt3_175b"), 2048
    whole, scores = s * model.hidden, 5 * model.heads * s / model.hidden
    plan = ParallelPlan(flash=False, dropout=True)
    cases = {"no parallelism": (plan, whole * (34 + scores)), "tensor 8": (replace(plan, tensor=8), whole * (10 + 24 / 8 + scores / 8)),
             "tensor 8 and sequence": (replace(plan, tensor=8, sequence=True), whole / 8 * (34 + scores)),
             "and selective recomputation": (replace(plan, tensor=8, sequence=True, recompute="selective"), whole / 8 * 34)}
    return [row("Korthikanti et al.", f"activation bytes of a GPT-3 175B layer, {name}", formula, layer_activation_bytes(model, p, s), "the paper's formula on its layer; ours counts tensor by tensor")
            for name, (p, formula) in cases.items()]


#: Megatron-LM of 2021: full recomputation, attention that writes its scores, dropout
OLD = {"recompute": "full", "flash": False, "dropout": True}


def megatron() -> list[dict[str, Any]]:
    """Narayanan et al., SC 2021, table 1: achieved TFLOP/s per A100, recomputation counted."""
    selene, out = catalog.cluster("selene"), []
    for key, gpus, pipeline, batch, published in (("megatron_1t", 3072, 64, 3072, 163.0), ("megatron_145b", 1536, 8, 2304, 148.0)):
        cluster = selene.take(gpus)
        step = simulate_training(transformer(key), cluster, ParallelPlan(tensor=8, pipeline=pipeline, data=gpus // (8 * pipeline), chunks=2, schedule="interleaved", **OLD), batch, 2048)
        out.append(row("Megatron-LM", f"TFLOP/s per GPU, {key}, {gpus} A100", published, step.flops_per_device_s / 1e12, "two chunks a stage" + OPTIMISM))
    return out


def korthikanti() -> list[dict[str, Any]]:
    """Korthikanti et al. 2022, table 5: MFU with sequence parallelism and selective recomputation on A100."""
    selene, out = catalog.cluster("selene"), []
    for key, gpus, pipeline, chunks, batch, published in (("gpt3_175b", 64, 8, 3, 64, 0.514), ("megatron_1t", 512, 64, 1, 512, 0.563)):
        plan = ParallelPlan(tensor=8, pipeline=pipeline, chunks=chunks, schedule="interleaved" if chunks > 1 else "1f1b", sequence=True, recompute="selective", flash=False, dropout=True)
        step = simulate_training(transformer(key), selene.take(gpus), plan, batch, 2048)
        out.append(row("Korthikanti et al.", f"MFU, {key}, {gpus} A100", published, step.mfu, f"{chunks} chunks a stage" + OPTIMISM))
    return out


def layer_times() -> list[dict[str, Any]]:
    """Korthikanti et al. 2022, table 4: milliseconds of one layer of the 22B model, micro-batch 4, tensor 8, forward and backward with its recomputation."""
    model, cluster = gpt("gpt_22b", 48, 6144, 64), catalog.cluster("selene").take(8)
    cases = {"baseline": (False, "none", 7.7, 11.9), "sequence parallel": (True, "none", 7.2, 11.8), "full recomputation": (False, "full", 7.7, 19.5), "selective": (False, "selective", 7.7, 13.2),
             "selective and sequence parallel": (True, "selective", 7.2, 13.1)}
    out = []
    for name, (sequence, recompute, forward, backward) in cases.items():
        plan = ParallelPlan(tensor=8, microbatch=4, sequence=sequence, recompute=recompute, flash=False, dropout=True, dtype="float16")
        work = DeviceWork(model, cluster, plan, 2048, cluster.hardware)
        stage = work.stage()
        ahead = stage.forward_s / model.layers + work.tensor_s()
        out += [row("Korthikanti et al.", f"ms of a 22B layer, {name}, {what}", published, ours * 1e3, "one node of A100") for what, published, ours in
                (("forward", forward, ahead), ("backward", backward, stage.total_s / model.layers - ahead))]
    return out


def megascale() -> list[dict[str, Any]]:
    """MegaScale, NSDI 2024, table 2: 175B on 12,288 GPUs, batch 6144, against Megatron-LM."""
    cluster, model = catalog.cluster("megascale"), transformer("gpt3_175b")
    base = ParallelPlan(tensor=8, pipeline=8, data=192, chunks=6, schedule="interleaved", sequence=True, recompute="selective", zero=1, overlap_gradients=False)
    ours = replace(base, zero=2, overlap_gradients=True, overlap_tensor=True, overlap_pipeline=True)
    plain, best = (simulate_training(model, cluster, plan, 6144, 2048) for plan in (base, ours))
    said = "tensor 8, pipeline 8, 6 chunks, A100; sliding window and parallel blocks left out"
    return [row("MegaScale", "MFU, 175B, 12,288 GPUs", 0.552, best.mfu, said + OPTIMISM), row("MegaScale", "MFU of Megatron-LM there", 0.412, plain.mfu, said + OPTIMISM),
            row("MegaScale", "speed-up over Megatron-LM", 0.552 / 0.412, best.mfu / plain.mfu, "overlap of tensor, pipeline and gradient traffic; its input pipeline and kernels left out")]


def frontier() -> list[dict[str, Any]]:
    """Dash et al., ISC 2024: share of peak of a GCD for 22B, 175B and 1T."""
    whole, out = catalog.cluster("frontier"), []
    models = {"22B": (gpt("gpt_22b", 48, 6144, 48), 2, 4, 128, 0.3838), "175B": (transformer("gpt3_175b"), 4, 16, 1024, 0.3614), "1T": (transformer("megatron_1t"), 8, 64, 3072, 0.3196)}
    for name, (model, tensor, pipeline, gcds, published) in models.items():
        data = gcds // (tensor * pipeline)
        step = simulate_training(model, whole.take(gcds), ParallelPlan(tensor=tensor, pipeline=pipeline, data=data, zero=1, recompute="full"), 100 * data, 2048)
        out.append(row("Frontier", f"share of peak, {name}, {gcds} GCDs", published, step.hfu,
                       f"tensor {tensor}, pipeline {pipeline}, 100 micro-batches of one sequence, full recomputation counted (degrees from memory of the paper)" + OPTIMISM))
    return out


def breadth_first() -> list[dict[str, Any]]:
    """Lamy-Poirier, MLSys 2023: 52B on 64 V100, best plan of each schedule for each batch; the largest gain."""
    model, v100 = gpt("gpt_52b", 64, 8192, 64, 30592, positions=1024), catalog.hardware("v100_sxm")
    nvlink = NetworkLevel("nvlink", 8, "switch", 150e9, efficiency=0.8, stack="nccl_nvlink")
    cluster = Cluster("dgx1_x8", "8 DGX-1V", ((v100, 64),), (nvlink, NetworkLevel("infiniband", 8, "switch", 6.25e9, stack="nccl_net")))
    gains = {batch: _best(model, cluster, batch, "breadth_first") / _best(model, cluster, batch, "interleaved") for batch in (16, 32, 64)}
    return [row("Breadth-first pipelines", "throughput over Megatron-LM, 52B, small batch", 1.43, max(gains.values()),
                "best of a grid of plans that fit, batch 16 to 64; sends and gradients overlapped in ours only; four 100 Gb/s ports a node (DGX-1V); 32 GiB a GPU")]


def _best(model: Transformer, cluster: Cluster, batch: int, schedule: str) -> float:
    """Tokens per second of the best plan of that schedule that fits 32 GiB."""
    return max((step.tokens_per_s for step in _plans(model, cluster, batch, schedule) if step.memory.total_bytes <= 32 * 2**30), default=math.nan)


def _plans(model: Transformer, cluster: Cluster, batch: int, schedule: str) -> Iterator[TrainingStep]:
    ours = schedule == "breadth_first"
    for tensor, pipeline, per_stage, microbatch, stage in itertools.product((2, 4, 8), (4, 8, 16), (1, 2, 4), (1, 2), (0, 3) if ours else (0,)):
        data = cluster.devices // (tensor * pipeline)
        chunks = model.layers // (pipeline * per_stage)
        if data < 1 or chunks < 1:
            continue
        try:
            yield simulate_training(model, cluster, ParallelPlan(tensor=tensor, pipeline=pipeline, data=data, chunks=chunks, microbatch=microbatch, schedule=schedule, recompute="full",
                                                                 flash=False, dropout=True, zero=stage, overlap_pipeline=ours, overlap_gradients=ours, dtype="float16"), batch, 1024)
        except InputError:
            continue   # a plan whose degrees do not divide the batch


def gspmd() -> list[dict[str, Any]]:
    """GSPMD, 2021, dense transformers in two-dimensional sharding: 50 to 62 % of peak on 128 to 2048 TPU v3 cores."""
    pod, out = catalog.cluster("tpu_v3_pod"), []
    grid = replace(pod.levels[0], size=64, dims=(8, 8))
    small = replace(pod, parts=((pod.hardware, 64),), levels=(grid,))
    cases = (("64B, 64 chips", gpt("gspmd_64b", 32, 8192, 128, 32000, 65536, 256, 1024), small, 16, 4, 64), ("1T, 1024 chips", gpt("gspmd_1t", 128, 16384, 256, 32000, 131072, 256, 1024), pod, 64, 16, 512))
    for name, model, cluster, tensor, data, batch in cases:
        plan = ParallelPlan(tensor=tensor, data=data, microbatch=batch // data, zero=3, sequence=True, recompute="full", overlap_tensor=True)
        step = simulate_training(model, cluster, plan, batch, 1024)
        out.append(row("GSPMD", f"share of peak, {name} (50 to 62 % published)", 0.56, step.mfu, f"weights sharded over {data} x {tensor} chips, batch {batch}; shapes from memory of the paper; full recomputation"))
    return out


def deepseek() -> list[dict[str, Any]]:
    """DeepSeek-AI, ISCA 2025, table of the multi-plane network: seconds of a step of DeepSeek-V3 on 2,048 H800."""
    plan = ParallelPlan(pipeline=16, data=128, expert=64, zero=1, uneven=True, overlap_pipeline=True, overlap_expert=True, expert_nodes=4, dtype="float8")
    step = simulate_training(transformer("deepseek_v3"), catalog.cluster("deepseek_v3"), plan, 15360, 4096)
    return [row("DeepSeek-V3", "seconds a step, 2,048 H800", 19.926, step.step_s, "all products in FP8, 1F1B stands in for DualPipe, exchanges of experts hidden; activations recomputed in part to fit (ours: "
                f"{step.memory.shortfall_bytes / 2**30:.0f} GiB short without); no multi-token prediction")]


def fred() -> list[dict[str, Any]]:
    """FRED, ISCA 2025: time of a 5 x 4 mesh wafer over that of FRED-D."""
    wafers = [catalog.cluster(name) for name in ("fred_mesh", "fred_wafer")]
    times = [collective("all_reduce", 60.2e6 * 2, wafer.group(20)).time_s for wafer in wafers]
    out = [row("FRED", "ResNet-152 speed-up over a mesh", 1.76, times[0] / times[1], "the gradients' all-reduce alone (60.2 M parameters, 16 bits): an upper bound of the whole")]
    cases = (("Transformer-17B", gpt("turing_17b", 78, 4256, 28, positions=1024), 1.87, {"tensor": 2, "pipeline": 2, "data": 5}, 1024),
             ("GPT-3", transformer("gpt3_175b"), 1.34, {"tensor": 2, "pipeline": 2, "data": 5}, 2048), ("Transformer-1T", transformer("megatron_1t"), 1.4, {"data": 20, "zero": 3}, 2048))
    for name, model, published, degrees, length in cases:
        plan = ParallelPlan(microbatch=2, **degrees)
        mesh, ours = (simulate_training(model, wafer, plan, plan.data * 16, length).step_s for wafer in wafers)
        out.append(row("FRED", f"{name} speed-up over a mesh", published, mesh / ours, "H100 as the NPU, 16 sequences a replica, traffic of gradients overlapped; streaming of weights from outside the wafer, "
                       "where a mesh loses most, is not modelled; memory is not enforced"))
    return out


#: said of every row in absolute MFU
OPTIMISM = "; no stragglers, host gaps, or clocks held down by heat: an upper estimate"
#: the parts of the table
PARTS: tuple[Callable[[], list[dict[str, Any]]], ...] = (zero, activations, layer_times, megatron, korthikanti, megascale, frontier, breadth_first, gspmd, deepseek, fred)


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = rows()
    print_table("clusters and training systems: published and simulated", [{k: v for k, v in line.items() if k != "assumptions"} for line in found])
    for line in found:
        print(f"  {line['system']}, {line['headline']}: {line['assumptions']}")
    write_json(options.json, {"rows": found})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
