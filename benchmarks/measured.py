"""The simulator against measured kernels, unfitted: python benchmarks/measured.py [--quick] [--only TABLE,...] [--json FILE]

Every row of the open kernel tables is simulated on its device: aiconfigurator (GEMM, attention, MLA, MoE), NeuSight and Vidur. No constant of the simulator was regressed on
these rows; but what it models (accumulation chains, trips of an attention's blocks, results that wait, repeats found in the cache) was chosen with these tables in view, and so were
three assumed latencies: a kernel's start, an attention block's trips and its step (`technology.FILL_CLOCKS`, `attention._TRIPS`, `_STEP_CLOCKS`). Beside it a plain roofline (arithmetic at the data-sheet rate or compulsory bytes at the data-sheet bandwidth, whichever is longer). A row faster than light is
dropped, and counted: one whose arithmetic exceeds the peak rate, or that moved more bytes than the last cache holds faster than DRAM allows.

Per table x device x operator x format: median and p90 absolute percentage error, median and p90 |log ratio|, median ratio (ours over measured), Spearman's rank
correlation; the median error of rows at least three times as long as the least reading of their device and source, where the harness (the host's calls, a graph's launch) no
longer decides; and, the one calibrated column, the median error when ours is lifted by what that least reading has over our least one ("harness added"). A median above 50 % has its reason in words. Then power and clocks (`power_trends`), collectives and whole models (`collectives`, `llm_serving`), where those are.
The tables are no part of silicast; without them the benchmark says so and ends with exit code 2.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import expert_tables
import kernel_tables
import numpy as np
import pandas as pd
from _tables import data_folder, print_table, write_json
from kernel_tables import KernelTable

from silicast.datasets import catalog
from silicast.datasets.columns import work_left
from silicast.datasets.hardware import Hardware
from silicast.datasets.ops import KIND_CODES
from silicast.datasets.simulator.kernels import Kernels
from silicast.datasets.simulator.machine import Machines
from silicast.datasets.simulator.power import capped
from silicast.datasets.simulator.throughput import throughput_costs

#: name -> (file, reader)
TABLES: Mapping[str, tuple[str, Callable[[pd.DataFrame], KernelTable]]] = {
    "gemm": ("aiconfigurator/gemm.parquet", kernel_tables.gemm),
    "attention context": ("aiconfigurator/attention_context.parquet", kernel_tables.attention_context),
    "attention generation": ("aiconfigurator/attention_generation.parquet", kernel_tables.attention_generation),
    "mla context": ("aiconfigurator/mla_context.parquet", expert_tables.mla_context),
    "mla generation": ("aiconfigurator/mla_generation.parquet", expert_tables.mla_generation),
    "moe": ("aiconfigurator/moe.parquet", expert_tables.moe),
    "neusight": ("neusight/op_latency.parquet", kernel_tables.neusight),
    "vidur layers": ("vidur/compute_ops.parquet", kernel_tables.vidur),
    "vidur attention": ("vidur/attention_a100_llama2_70b_tp2.parquet", kernel_tables.vidur_attention),
}
#: rows simulated at once
CHUNK = 20_000
#: kernels in one mapping search
SLICE = 500
#: a 3 x 3 convolution may take so many times fewer products than the direct one (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR
#: 2016: F(4 x 4, 3 x 3)); NeuSight's kernel names say that cuDNN did
WINOGRAD = 4.0
#: (part of the source, of the operator, of the device, why). What readings show is said as such; what only seems so, "it seems"
REASONS: tuple[tuple[str, str, str, str], ...] = (
    ("TritonFp8BlockScaledMMKernel", "", "", "no reading below 0.28 ms whatever the size: the host's calls, not the GPU; and above that a kernel at half the rate of the others"),
    ("Fp8BlockScaledMMKernel", "", "", "called without a CUDA graph: no reading below 55 to 155 us whatever the size (see the rows above the floor)"),
    ("torch_flow", "gemm", "", "no FP8 reading of this source below 12 us, where the others start at 4: more kernels than a quantisation and a product"),
    ("", "gemm", "l40s", "350 W hold the L40S far below its boost clock (2.52 GHz; base 1.11 GHz): at most 277 of 362 Top/s are read, half is usual; our power model lets it keep more"),
    ("WeightOnlyQuant", "", "", "no reading below 8 us whatever the size; it seems that widening the weights on vector units decides, which is not modelled"),
    ("", "elementwise", "", "called eagerly between two events: no reading below 24 to 50 us whatever the size (see the rows above the floor)"),
    ("", "softmax", "", "called eagerly: no reading below 32 to 55 us whatever the size (see the rows above the floor)"),
    ("", "ln", "", "called eagerly: no reading below 45 to 57 us whatever the size (see the rows above the floor)"),
    ("", "bmm", "", "called eagerly: no reading below 28 to 39 us; and the library's tiles (their names are in the table) are often 32 or 64 wide where the search takes 128"),
    ("", "linear", "p4", "the library runs 64 x 64 and 32 x 128 tiles (their names are in the table) at 1 to 1.6 Top/s, where 128 x 128 reach 4.3; rows whose k is no multiple of 4 are three times slower"),
    ("", "linear", "t4", "70 W hold the T4 at 3 to 4 of 8.1 Top/s; our power model lets it keep 6"),
    ("triton", "attention", "", "this Triton attention reaches a sixth of what FlashAttention-3 and TensorRT-LLM reach on the same rows"),
    ("", "attention", "l40s", "350 W hold the L40S far below its boost clock (2.52 GHz; base 1.11 GHz); our power model lets it keep more"),
    ("", "emb", "", "it seems that masks and index arithmetic run as kernels of their own around the look-up: five times the traffic of a gather"),
    ("", "layernorm", "", "the library's norm kernel draws 0.4 to 0.7 of the DRAM bandwidth that the addition in the same table draws; "
     "2,048 threads loading two bytes each keep 4 kB in flight a processor, 0.9 TB/s on A100 at 500 ns a trip"),
    ("", "mlp_act", "", "the library's activation kernel draws half of the DRAM bandwidth that the addition in the same table draws; as the norms"),
    ("", "attn_prefill", "", "the chunk attends through a page table at half the rate of the same GPU's context attention elsewhere"),
    ("vllm", "mla", "", "called without a CUDA graph: no reading below 70 to 300 us whatever the size"), ("sglang fa3", "mla", "", "no reading below 0.6 ms whatever the size: the host's calls"),
    ("sglang flashinfer", "mla", "", "no reading below 0.6 ms whatever the size: the host's calls"),
    ("trtllm", "mla generation", "a100", "it seems that each head reads the latent for itself on GPUs before Hopper: up to 30 times the bytes"),
    ("", "mla generation", "l40s", "it seems that each head reads the latent for itself on GPUs before Hopper: up to 30 times the bytes"),
    ("", "mla", "", "it seems that keys and values are expanded to heads in kernels of their own, which the row does not say"),
    ("flashinfer_cutlass", "moe", "", "a fifth of the rate of the other libraries on the same rows, at every size"),
    ("triton", "moe", "b200_sxm", "Triton's grouped product reaches a third of what the libraries made for this GPU reach on the same rows"),
    ("", "moe, experts spread", "", "many rows take as long as if all experts lay on the device: with all of them here (the rows `moe`) the error is half as large"),
    ("marlin", "moe", "", "Marlin widens 4-bit weights on vector units, which is not modelled"), ("mxfp4", "moe", "", "4-bit weights are widened on vector units, which is not modelled"),
    ("", "moe", "", "routing, sorting and padding of rows in kernels of their own, in numbers that depend on the library"),
)


def main() -> int:
    """Scores every table; exit code 2 when the tables are not there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20,000 rows of each table: seconds instead of minutes")
    parser.add_argument("--only", default="", help="names of tables, with commas")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    data = data_folder()
    if data is None:
        print("the open tables are not here: set SILICAST_DATA to the folder that holds aiconfigurator/, neusight/ and vidur/", file=sys.stderr)
        return 2
    chosen = [n for n in options.only.split(",") if n] or list(TABLES)
    rows: list[dict[str, Any]] = []
    totals: list[dict[str, Any]] = []
    for name in chosen:
        begin = time.perf_counter()
        scored = simulate_table(data, name, 20_000 if options.quick else None)
        new = score(scored, name)
        print_table(f"{name}: ours unfitted, against measured", [{k: v for k, v in r.items() if k != "table"} for r in new])
        rows += new
        totals.append({"table": name, **_errors(scored), "seconds": round(time.perf_counter() - begin, 1), "faster than light, dropped": scored.attrs["dropped"]})
    print_table("by table", totals)
    document: dict[str, Any] = {"quick": options.quick, "rows": rows, "tables": totals}
    if not options.only:
        for module in ("power_trends", "collectives", "llm_serving"):
            more = _hooked(module, data)
            if more is not None:
                document[module] = more
                print_table(module.replace("_", " "), more)
    write_json(options.json, document)
    return 0


def simulate_table(folder: Path, name: str, sample: int | None, seed: int = 0) -> pd.DataFrame:
    """A row per reading: slices, `measured`, `ours`, `roofline` (s). `attrs["dropped"]`: rows faster than light."""
    file, reader = TABLES[name]
    frame = pd.read_parquet(folder / file)
    if sample is not None and len(frame) > sample:
        frame = frame.sample(sample, random_state=seed)
    frame = frame.reset_index(drop=True)
    parts = [_simulated(reader(frame.iloc[at:at + CHUNK].reset_index(drop=True))) for at in range(0, len(frame), CHUNK)]
    whole = pd.concat(parts, ignore_index=True)
    kept = whole[whole["measured"] >= whole["light"]].reset_index(drop=True)
    kept.attrs["dropped"] = len(whole) - len(kept)
    return kept


def _simulated(table: KernelTable) -> pd.DataFrame:
    n = len(table.seconds)
    ours, work, moved, light = np.zeros(n) + table.once_s, np.zeros(n), np.zeros(n), np.zeros(n)
    for key in table.slices["device"].unique():
        device = catalog.hardware(key)
        mine = (table.slices["device"] == key).to_numpy()
        machines = Machines.of([device])
        for launch in table.launches:
            here = np.flatnonzero(mine[launch.rows])
            if not len(here):
                continue
            at, ops = launch.rows[here], launch.ops.take(here)
            kernels = Kernels.repeated(ops, launch.copies) if np.isfinite(launch.copies) else Kernels.cold(ops)
            for begin in range(0, len(ops), SLICE):
                part = np.arange(begin, min(begin + SLICE, len(ops)))
                ours[at[part]] += capped(throughput_costs(kernels.take(part), machines), machines).time_s[:, 0] + machines.launch_s[0]
            rate, vector = machines.figures.matrix_rate[0, ops.dtype], machines.figures.vector_rate[0, ops.dtype]
            matrix_s = ops.matrix_flops / rate * work_left(ops, machines.figures)[:, 0]
            work[at] += np.where(ops.matrix_flops > 0, matrix_s, ops.vector_flops / vector)
            moved[at] += ops.total_bytes / device.dram_bandwidth
            fewest = np.where(ops.kind == KIND_CODES["conv"], matrix_s / WINOGRAD, matrix_s)
            light[at] = np.maximum(light[at], np.maximum(fewest, (ops.total_bytes - _cache(device)) / device.dram_bandwidth))
    return table.slices.assign(measured=table.seconds, ours=ours, roofline=np.maximum(work, moved), light=light)


def _cache(device: Hardware) -> float:
    return sum(m.capacity_bytes for m in device.memory[:-1])


def score(scored: pd.DataFrame, table: str) -> list[dict[str, Any]]:
    """Errors by device, operator and format, with the reason of a median above 50 %."""
    out = []
    for (device, op, dtype), part in scored.groupby(["device", "op", "dtype"]):
        errors = _errors(part)
        out.append({"table": table, "device": device, "op": op, "dtype": dtype, **errors, "why": _reason(part, str(op), str(device)) if errors["median %"] > 50 else ""})
    return out


def _reason(part: pd.DataFrame, op: str, device: str) -> str:
    """The reason of the source with the most rows off by more than half."""
    off = part[(part["ours"] / part["measured"] - 1).abs() > 0.5]
    for source in off["source"].value_counts().index:
        for in_source, in_op, in_device, why in REASONS:
            if in_source in source and in_op in op and in_device in device:
                return why
    return "not explained"


def _errors(part: pd.DataFrame) -> dict[str, Any]:
    ratio, roof = part["ours"] / part["measured"], part["roofline"] / part["measured"]
    ape, log = (ratio - 1).abs() * 100, np.log(ratio).abs()
    floor = part.groupby(["device", "source"])["measured"].transform("min")
    long = part["measured"] >= 3 * floor
    lifted = part["ours"] + (floor - part.groupby(["device", "source"])["ours"].transform("min")).clip(lower=0.0)
    return {"n": len(part), "median %": float(ape.median()), "p90 %": float(ape.quantile(0.9)), "median |log|": float(log.median()), "p90 |log|": float(log.quantile(0.9)),
            "ratio": float(ratio.median()), "rank": float(part["ours"].corr(part["measured"], method="spearman")) if len(part) > 2 else None,
            "roofline %": float(((roof - 1).abs() * 100).median()), "above floor %": float(ape[long].median()) if long.any() else None, "above floor n": int(long.sum()),
            "harness added %": float(((lifted / part["measured"] - 1).abs() * 100).median())}


def _hooked(module: str, data: Path) -> list[dict[str, Any]] | None:
    """The rows of a neighbouring benchmark that offers `rows(data_folder)`; None where it is not there."""
    if not (Path(__file__).parent / f"{module}.py").exists():
        return None
    offered = getattr(importlib.import_module(module), "rows", None)
    return None if offered is None else list(offered(data))


if __name__ == "__main__":
    raise SystemExit(main())
