"""Power and clocks against measurement, unfitted: python benchmarks/power_trends.py [--json FILE]; part of benchmarks/measured.py.

* aiconfigurator `power_*`: mean NVML watts of kernels run again and again on B200 and GB200, against ours (energy over time, gaps between kernels included).
* gpuPTX: micro-benchmarks of a GTX Titan X over 32 pairs of clocks. Each is one of three archetypes by its name (arithmetic, cache and shared memory, DRAM, named
  in the row); times and watts relative to the highest pair, against ours of that archetype through `Hardware.at`.
* Zeus: epochs of training under power limits, time relative to the highest limit, against dense products (networks of large products) or launches of small kernels
  (the others) under the same limits.
* Splitwise: average and peak power over the limit of Llama-2-70B and BLOOM-176B, against prompt and token phases of one layer.

What is shown is trend: rank correlation, and the median of ours over measured. Nothing was fitted to these tables.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import kernel_tables
import numpy as np
import pandas as pd
from _tables import data_folder, print_table, write_json

from silicast.datasets import catalog
from silicast.datasets.columns import OpColumns
from silicast.datasets.hardware import Hardware
from silicast.datasets.ops import Op
from silicast.datasets.simulator import technology as tech
from silicast.datasets.simulator.kernels import Kernels
from silicast.datasets.simulator.machine import Machines
from silicast.datasets.simulator.power import capped
from silicast.datasets.simulator.throughput import throughput_costs

#: rows of each power table that are simulated
ROWS = 20_000
_READERS = {"power_gemm": kernel_tables.gemm, "power_attention_context": kernel_tables.attention_context, "power_attention_generation": kernel_tables.attention_generation}
_ZEUS = {"a40": "a40", "p100": "p100_pcie", "rtx6000": "quadro_rtx_6000"}
#: networks whose time is in large products; the others launch many small kernels
_DENSE = frozenset({"bert_base_uncased", "resnet50", "deepspeech2"})


def main() -> int:
    """Prints the table; exit code 2 when the measured tables are not there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    data = data_folder()
    if data is None:
        print("the open tables are not here: set SILICAST_DATA to the folder that holds aiconfigurator/, gpuptx/, zeus/ and splitwise/", file=sys.stderr)
        return 2
    found = rows(data)
    print_table("power and clocks: trends against measurement", found)
    write_json(options.json, {"rows": found})
    return 0


def rows(data: Path) -> list[dict[str, Any]]:
    """A row per table x device x group: readings, rank correlation, ours over measured."""
    return [*nvml(data), *clocks(data), *limits(data), *phases(data)]


def nvml(data: Path) -> list[dict[str, Any]]:
    """Watts of single kernels."""
    out = []
    for name, reader in _READERS.items():
        frame = pd.read_parquet(data / "aiconfigurator" / f"{name}.parquet").sample(ROWS, random_state=0).reset_index(drop=True)
        table = reader(frame)
        watts = np.zeros(len(frame))
        for key in table.slices["device"].unique():
            machines, mine = Machines.of([catalog.hardware(key)]), (table.slices["device"] == key).to_numpy()
            seconds, joules = np.zeros(len(frame)) + table.once_s, np.zeros(len(frame))
            for launch in table.launches:
                here = np.flatnonzero(mine[launch.rows])
                for part in np.array_split(here, max(len(here) // 500, 1)):
                    costs = _costs(launch.ops.take(part), machines, launch.copies)
                    seconds[launch.rows[part]] += costs[0] + machines.launch_s[0]
                    joules[launch.rows[part]] += costs[1]
            watts = np.where(mine, joules / seconds + machines.static_w[0], watts)
        for (device, dtype), part in table.slices.groupby(["device", "dtype"]):
            at = part.index.to_numpy()
            out.append(_row(f"aiconfigurator {name}", str(device), str(dtype), watts[at], frame["power_w"].to_numpy()[at], "watts"))
    return out


def clocks(data: Path) -> list[dict[str, Any]]:
    """The Titan X over clocks: watts and seconds relative to the highest pair."""
    frame = pd.read_parquet(data / "gpuptx" / "titanx_dvfs.parquet")
    device = catalog.hardware("gtx_titan_x")
    kinds = {"arithmetic": Op.of("x", "elementwise", dtype="float32", elements=2**24, cost=4000), "DRAM": Op.of("x", "move", dtype="float32", elements=2**28),
             "cache and shared memory": Op.of("x", "gemm", dtype="float32", m=2048, n=2048, k=2048)}
    pairs = sorted(set(zip(frame["core_mhz"], frame["mem_mhz"], strict=True)))
    names = frame["benchmark"]
    kind = np.where(names.str.contains("dram|DRAM|_4$|_16$", regex=True), "DRAM", np.where(names.str.contains("L2|l2d|l1|Shared|shd"), "cache and shared memory", "arithmetic"))
    out = []
    top = max(pairs)
    for name, op in kinds.items():
        machines = Machines.of([device.at(clock_hz=float(c) * 1e6, memory_clock_share=float(m) / top[1]) for c, m in pairs])
        costs = capped(throughput_costs(Kernels.cold(OpColumns.from_ops([op])), machines), machines)
        seconds = costs.time_s[0]
        ours = pd.DataFrame({"seconds": seconds, "watts": costs.dynamic_j[0] / seconds + machines.static_w}, index=pd.MultiIndex.from_tuples(pairs))
        mine = frame[kind == name].set_index(["core_mhz", "mem_mhz"])
        for figure, column in (("seconds", "time_ms"), ("watts", "power_w")):
            found = [(part[column].reindex(pairs).to_numpy(float) / float(part[column].loc[top]), (ours[figure] / ours[figure].loc[top]).to_numpy()) for _, part in mine.groupby("benchmark")]
            ranks = [float(pd.Series(y).corr(pd.Series(x), method="spearman")) for y, x in found]
            errors = np.concatenate([x / y for y, x in found])
            out.append({"table": "gpuPTX Titan X", "device": device.key, "group": name, "figure": f"{figure} relative to the highest clocks" + ("; GDDR5 at its high clock draws some 30 W whatever runs, which is static here" if figure == "watts" else ""), "n": len(errors), "rank": float(np.median(ranks)),
                        "ours over measured": float(np.median(errors)), "median %": float(np.median(np.abs(errors - 1)) * 100)})
    return out


def limits(data: Path) -> list[dict[str, Any]]:
    """Training under power limits: time relative to the highest limit."""
    frame = pd.read_parquet(data / "zeus" / "train_power_limit.parquet")
    out = []
    for (gpu, network), part in frame.groupby(["gpu", "network"]):
        device = catalog.hardware(_ZEUS[str(gpu)])
        dtype = "tfloat32" if "tfloat32" in device.matrix_rate else "float32"   # what PyTorch computes 32-bit convolutions in
        # the dense ones with the norms and activations between; the others in kernels of a few microseconds
        ops = [Op.of("x", "gemm", dtype=dtype, m=8192, n=2048, k=2048), Op.of("y", "norm", dtype="float32", rows=8192, cols=2048)] if network in _DENSE else [
            Op.of("x", "gemm", dtype=dtype, m=512, n=64, k=64), Op.of("y", "elementwise", dtype="float32", elements=2**16)]
        setups = sorted(part["power_limit_w"].unique())
        machines = Machines.of([_limited(device, float(w)) for w in setups])
        costs = capped(throughput_costs(Kernels.cold(OpColumns.from_ops(ops)), machines), machines)
        seconds = pd.Series((costs.time_s + machines.launch_s).sum(0), index=setups)
        relative = part["time_per_epoch_s"] / part.groupby(["batch_size", "optimizer", "dataset"])["time_per_epoch_s"].transform("min")
        measured = relative.groupby(part["power_limit_w"]).median().reindex(setups).to_numpy()
        ours = (seconds / seconds.min()).to_numpy()
        out.append({**_row("Zeus", device.key, str(network), ours, measured, f"time relative to the highest limit; at {setups[0]:g} W measured {measured[0]:.2f}, ours {ours[0]:.2f}"), "n": len(part)})
    return out


def phases(data: Path) -> list[dict[str, Any]]:
    """LLM phases: power over the limit of all GPUs."""
    frame = pd.read_parquet(data / "splitwise" / "perf.parquet").dropna()
    frame = frame.groupby(["model", "hardware", "prompt_size", "batch_size", "token_size", "tensor_parallel"], as_index=False)[["peak_power_frac_tdp", "average_power_frac_tdp"]].mean()
    peak, average = [], []
    for r in frame.itertuples():
        device = catalog.hardware("a100_sxm" if "a100" in str(r.hardware) else "h100_sxm")
        machines = Machines.of([device])
        prompt, token = (_layer(str(r.model), int(r.batch_size) * q, int(r.batch_size), q, int(r.prompt_size) + (0 if q > 1 else int(r.token_size) // 2), int(r.tensor_parallel)) for q in (int(r.prompt_size), 1))
        (s1, j1), (s2, j2) = ((costs[0] + machines.launch_s[0], costs[1]) for costs in (_costs(OpColumns.from_ops(ops), machines, np.inf) for ops in (prompt, token)))
        watts = machines.static_w[0] + np.array([j1.sum() / s1.sum(), (j1.sum() + r.token_size * j2.sum()) / (s1.sum() + r.token_size * s2.sum())])
        peak.append(max(watts[0], watts[1]) / float(device.tdp_w or 1.0))
        average.append(watts[1] / float(device.tdp_w or 1.0))
    out = []
    for (model, hardware), part in frame.groupby(["model", "hardware"]):
        at = part.index.to_numpy()
        out.append(_row("Splitwise", str(hardware), str(model), np.array(peak)[at], part["peak_power_frac_tdp"].to_numpy(), "peak power over the limit"))
        out.append(_row("Splitwise", str(hardware), str(model), np.array(average)[at], part["average_power_frac_tdp"].to_numpy(), "average power over the limit; the all-reduces between layers are left out"))
    return out


def _layer(model: str, rows_: int, batch: int, q: int, kv: int, parts: int) -> list[Op]:
    """One transformer layer's share of `parts` devices: Llama-2-70B or BLOOM-176B, public dimensions."""
    hidden, heads, kv_heads, wide, gated = (8192, 64, 8, 28672, 2) if "llama" in model else (14336, 112, 112, 57344, 1)
    dim, own, own_kv = hidden // heads, heads // parts, max(kv_heads // parts, 1)
    half = {"dtype": "float16"}
    return [Op.of("qkv", "gemm", m=rows_, n=dim * (own + 2 * own_kv), k=hidden, **half),
            Op.of("attention", "attention", batch=batch, heads=own, kv_heads=own_kv, q_len=q, kv_len=max(kv, q), head_dim=dim, v_dim=dim, causal=1, **half),
            Op.of("out", "gemm", m=rows_, n=hidden, k=dim * own, **half), Op.of("up", "gemm", m=rows_, n=gated * wide // parts, k=hidden, **half),
            Op.of("down", "gemm", m=rows_, n=hidden, k=wide // parts, **half), Op.of("norm", "norm", rows=rows_, cols=hidden, **half)]


def _limited(device: Hardware, watts: float) -> Hardware:
    """The device under a power limit; its static power is that of its published limit, whatever the limit is set to."""
    static = device.idle_w or tech.STATIC_SHARE * float(device.tdp_w or watts)
    return replace(device, tdp_w=watts, idle_w=min(static, 0.99 * watts))


def _costs(ops: OpColumns, machines: Machines, copies: float) -> tuple[np.ndarray, np.ndarray]:
    """(seconds, joules) of each op on the one machine, the power limit applied."""
    kernels = Kernels.repeated(ops, copies) if np.isfinite(copies) else Kernels.cold(ops)
    costs = capped(throughput_costs(kernels, machines), machines)
    return costs.time_s[:, 0], costs.dynamic_j[:, 0]


def _row(table: str, device: str, group: str, ours: np.ndarray, measured: np.ndarray, figure: str) -> dict[str, Any]:
    ratio = ours / measured
    rank = float(pd.Series(ours).corr(pd.Series(measured), method="spearman")) if np.ptp(ours) > 0 and np.ptp(measured) > 0 else None  # of a constant there is none
    return {"table": table, "device": device, "group": group, "figure": figure, "n": len(ours), "rank": rank,
            "ours over measured": float(np.median(ratio)), "median %": float(np.median(np.abs(ratio - 1)) * 100)}


if __name__ == "__main__":
    raise SystemExit(main())
