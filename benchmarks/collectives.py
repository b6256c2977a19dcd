"""Measured collectives against ours, nothing fitted: python benchmarks/collectives.py [--json FILE]

* aiconfigurator `comm_nccl`: NCCL 2.27 to 2.29 in one node of 2, 4, 8 GPUs (A100, H100, B200 on NVSwitch; L40S on PCIe), half and int8.
* aiconfigurator `comm_allreduce`: custom all-reduce kernels of vLLM, SGLang and TensorRT-LLM, launched from a CUDA graph or eagerly.
* Vidur `collectives`: NCCL all-reduce and send between 2 to 16 GPUs in one or two nodes.

Our levels are written from data sheets and NCCL's own constants (see `nodes`); what nobody publishes about a node is an assumption that the
table's last column names. No constant was adjusted to these rows, but four choices were made with them in view, so they are no blind test: the shared
host bridge of PCIe nodes, the passes through memory beside a ring (`MEMORY_PASSES`), and the round figures for a custom kernel's flags and for eager
dispatch. The roofline beside ours is the bytes of the bandwidth-optimal algorithm at the links' full rate.
Without the tables the benchmark says so and ends with exit code 2.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _tables import data_folder, print_table, write_json

from silicast.datasets import catalog
from silicast.datasets.cluster import Cluster, Group, NetworkLevel
from silicast.datasets.simulator.collectives import bound_s, collective

#: custom kernels hand over to NCCL above this payload: vLLM CustomAllreduce, max_size 8 MiB (SGLang and TensorRT-LLM alike)
CUSTOM_MOST_BYTES = 8 * 2**20
#: host side of a kernel launched from Python, eagerly: framework dispatch and cudaLaunchKernel, nothing of it on the wire (assumption)
EAGER_S = 20e-6
BYTES = {"half": 2.0, "int8": 1.0, "bfloat16": 2.0}

#: what misses, and why
REASONS = {
    "l40s": "PCIe without a published host topology: one shared host bridge is assumed",
    "eager": "host dispatch is 20 us by assumption, measured 20 to 90 us by framework and machine",
    "graph": "launch and flag latency are assumptions; NCCL above 8 MiB",
    "two nodes": "the network between the profiled nodes is not published: one 100 Gb/s Ethernet port a node is assumed",
    "pairwise": "pairs on NVLink, pairs joined by one shared PCIe host bridge (assumption); nearly half of the sends are faster than the bridge's data-sheet rate",
    "a40": "the pair is taken as bridged by NVLink; the measured 4 GB/s are those of two cards that are not, through the host",
    "nvswitch": "NCCL's protocol constants; first use of a size and channel warm-up are not modelled",
}


def nodes() -> dict[str, NetworkLevel]:
    """One node's level for each measured machine, from data sheets and NCCL's constants (topo.h, tuning.cc)."""
    a100 = catalog.cluster("dgx_a100_superpod").levels[0]
    h100 = catalog.cluster("dgx_h100_superpod").levels[0]
    # B200: fifth-generation NVLink, 18 links of 50 GB/s each way (NVIDIA Blackwell brief, 2024); NCCL counts 40.1 a link, NVLS efficiency 0.74
    b200 = replace(h100, bandwidth_bytes_per_s=900e9, efficiency=40.1 / 50, reduce_efficiency=0.74)
    # PCIe 4.0 x16: 32 GB/s raw; NCCL counts 12 of 15.75 for generation 3, the same share here
    pcie = NetworkLevel("pcie", 8, "bus", 32e9, efficiency=12 / 15.75, stack="nccl_pcie")
    return {"a100_sxm": a100, "h100_sxm": h100, "b200_sxm": b200, "l40s": pcie}


def rows(data: Path) -> list[dict[str, Any]]:
    """A dict per slice: table, op, device, ranks and the errors of ours and of the roofline (APE in %, |log ratio|, Spearman)."""
    out = []
    for table, frame in frames(data).items():
        for keys, part in frame.groupby(["op", "device"], sort=True):
            out.append({"table": table, "op": keys[0], "device": keys[1], **errors(part), "why": REASONS[part["why"].iloc[0]]})
        out.append({"table": table, "op": "all", "device": "all", **errors(frame), "why": ""})
    return out


def frames(data: Path) -> dict[str, pd.DataFrame]:
    """Per table the rows with `measured_s`, `ours_s`, `bound_s`, `op`, `device`, `why`."""
    return {"comm_nccl": _nccl(data / "aiconfigurator"), "comm_allreduce": _custom(data / "aiconfigurator"), "vidur": _vidur(data / "vidur")}


def errors(frame: pd.DataFrame) -> dict[str, Any]:
    """Errors of ours and of the roofline over the rows."""
    truth = frame["measured_s"].to_numpy()
    out: dict[str, Any] = {"rows": len(frame)}
    for name in ("ours", "bound"):
        point = frame[f"{name}_s"].to_numpy()
        ape, log = np.abs(point / truth - 1) * 100, np.abs(np.log(point / truth))
        rank = pd.Series(point).rank().corr(pd.Series(truth).rank())
        out |= {f"{name} median %": float(np.median(ape)), f"{name} p90 %": float(np.quantile(ape, 0.9)), f"{name} |log| median": float(np.median(log)),
                f"{name} |log| p90": float(np.quantile(log, 0.9)), f"{name} spearman": float(rank)}
    return out


def _group(level: NetworkLevel, device: str, ranks: int) -> Group:
    return Cluster(device, device, ((catalog.hardware(device), level.size),), (level,)).group(ranks)


def _nccl(folder: Path) -> pd.DataFrame:
    frame = pd.read_parquet(folder / "comm_nccl.parquet")
    kinds = {"alltoall": "all_to_all"}
    levels, parts = nodes(), []
    for (device, op, ranks), part in frame.groupby(["hardware", "op_name", "num_gpus"]):
        kind, level = kinds.get(op, op), levels[device]
        payload = part["message_size"].to_numpy(dtype=float) * part["nccl_dtype"].map(BYTES).to_numpy(dtype=float)   # sizes count elements
        parts.append(pd.DataFrame({"measured_s": part["latency_ms"].to_numpy(dtype=float) * 1e-3, "ours_s": collective(kind, payload, _group(level, device, int(ranks))).time_s,
                                   "bound_s": bound_s(kind, payload, level, int(ranks)), "op": kind, "device": device, "why": "l40s" if device == "l40s" else "nvswitch"}))
    return pd.concat(parts, ignore_index=True)


def _custom(folder: Path) -> pd.DataFrame:
    frame = pd.read_parquet(folder / "comm_allreduce.parquet")
    levels, parts = nodes(), []
    for (device, source, ranks), part in frame.groupby(["hardware", "kernel_source", "num_gpus"]):
        level, payload = levels[device], part["message_size"].to_numpy(dtype=float) * 2.0
        ours = np.where(payload <= CUSTOM_MOST_BYTES, collective("all_reduce", payload, _group(replace(level, stack="custom"), device, int(ranks))).time_s,
                        collective("all_reduce", payload, _group(level, device, int(ranks))).time_s)
        eager = "eager" in str(source)
        parts.append(pd.DataFrame({"measured_s": part["latency_ms"].to_numpy(dtype=float) * 1e-3, "ours_s": np.maximum(ours, EAGER_S) if eager else ours,
                                   "bound_s": bound_s("all_reduce", payload, level, int(ranks)), "op": "eager" if eager else "graph", "device": device,
                                   "why": "l40s" if device == "l40s" else "eager" if eager else "graph"}))
    return pd.concat(parts, ignore_index=True)


def _vidur(folder: Path) -> pd.DataFrame:
    frame = pd.read_parquet(folder / "collectives.parquet")
    kinds, parts = {"send_recv": "send"}, []
    for (node, op, ranks, per_node), part in frame.groupby(["node", "collective", "num_workers", "devices_per_node"]):
        kind, payload = kinds.get(op, op), part["size"].to_numpy(dtype=float)
        device = "a40" if node.startswith("a40") else "a100_pcie" if "pairwise" in node else "a100_sxm"
        pair = NetworkLevel("nvlink", 2, "switch", 56.25e9 if device == "a40" else 300e9, efficiency=0.8, stack="nccl_nvlink")
        host = replace(nodes()["l40s"], size=2)
        inside = (nodes()["a100_sxm"],) if node == "a100_dgx" else (pair, host)
        # devices per node given, several nodes when there are more ranks: 12.5 GB/s a node for all of its devices together
        ethernet = NetworkLevel("ethernet", 2, "switch", 12.5e9 / int(per_node), stack="nccl_net")
        cluster = Cluster(node, node, ((catalog.hardware(device), int(np.prod([x.size for x in inside])) * 2),), (*inside, ethernet))
        whole = cluster.group(int(per_node))
        spans = whole.spans if ranks == per_node else (*whole.spans, (ethernet, int(ranks) // int(per_node)))
        group = Group(spans, whole.memory_bytes_per_s)
        # between nodes: each node's one port; inside: the slowest link
        slowest, parties = (replace(ethernet, bandwidth_bytes_per_s=12.5e9), int(ranks) // int(per_node)) if ranks != per_node else (min((x for x, _ in spans), key=lambda x: x.bandwidth_bytes_per_s), int(ranks))
        where = f"{node}, {'one node' if ranks == per_node else 'two nodes'}"
        parts.append(pd.DataFrame({"measured_s": part["median_ms"].to_numpy(dtype=float) * 1e-3, "ours_s": collective(kind, payload, group).time_s,
                                   "bound_s": bound_s(kind, payload, slowest, parties), "op": kind, "device": where,
                                   "why": "two nodes" if ranks != per_node else "pairwise" if "a100_pairwise" in node else "a40" if device == "a40" else "nvswitch"}))
    return pd.concat(parts, ignore_index=True)


def main() -> int:
    """Prints the table; exit code 2 when the measured tables are not there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    data = data_folder()
    if data is None:
        print("the open tables are not here: set SILICAST_DATA to the folder that holds aiconfigurator/ and vidur/", file=sys.stderr)
        return 2
    found = rows(data)
    shown = ("table", "op", "device", "rows", "ours median %", "ours p90 %", "ours |log| median", "ours spearman", "bound median %", "bound |log| median", "bound spearman")
    print_table("measured collectives, nothing fitted (bound: bytes at the links' full rate)", [{k: r[k] for k in shown} for r in found])
    print_table("why", [{"table": r["table"], "op": r["op"], "device": r["device"], "why": r["why"]} for r in found if r["why"] and r["ours median %"] > 25])
    write_json(options.json, {"rows": found})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
