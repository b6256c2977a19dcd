"""Labels per second of the reference simulator: python benchmarks/simulate.py [--quick] [--json FILE]

A label is one (graph, device) answer: sampling the workload, fusing, mapping search on the device, graph totals. By family on one core, then
the whole generator (sampling, simulating, writing shards) over the default mix on all cores. Also mappings scored per second, by
machine style, and where the time of one label goes.
"""

from __future__ import annotations

import argparse
import cProfile
import multiprocessing
import pstats
import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _tables import print_table, write_json

from silicast.datasets import catalog
from silicast.datasets.catalog.drawn import DRAWN
from silicast.datasets.columns import OpColumns
from silicast.datasets.dtypes import DTYPE_CODES
from silicast.datasets.families import FAMILIES, sample
from silicast.datasets.generate import generate
from silicast.datasets.simulator import simulate_many, simulate_ops
from silicast.datasets.simulator.spatial import ARRAY_MAPPINGS
from silicast.datasets.simulator.throughput import GEMM_MAPPINGS

PER_WORKLOAD = 6


def main() -> None:
    """Prints the tables, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    families = by_family(20 if options.quick else 150)
    print_table(f"one core, {PER_WORKLOAD} machines a workload", families)
    mappings = by_style(2_000 if options.quick else 20_000)
    print_table("lone GEMMs: mappings scored", mappings)
    room = memory()
    print_table("memory of one call that scores a million mappings and more, above that of the imports", room)
    generator = whole(3_000 if options.quick else 30_000)
    print_table("`silicast generate`, default mix, all cores, from nothing to a finished manifest", [generator])
    spent = profile(60)
    print_table("where one core's time goes (profiled, mix of families)", spent)
    write_json(options.json, {"families": families, "mappings": mappings, "memory": room, "generate": generator, "profile": spent, "quick": options.quick})


def by_family(count: int) -> list[dict[str, Any]]:
    """Labels per second of each family, another workload every time."""
    pool = [catalog.hardware(k) for k in DRAWN]
    rows = []
    for family in FAMILIES:
        rng = np.random.default_rng(3)
        able = pool if family == "mlp" else [d for d in pool if not d.fabric]
        simulate_many(sample(family, rng), able[:PER_WORKLOAD])
        begin, ops = time.perf_counter(), 0
        for _ in range(count):
            workload = sample(family, rng)
            simulate_many(workload, [able[i] for i in rng.choice(len(able), PER_WORKLOAD, replace=False)])
            ops += len(workload.ops)
        seconds = time.perf_counter() - begin
        rows.append({"family": family, "labels/s": count * PER_WORKLOAD / seconds, "ops per graph": ops / count, "op evaluations/s": ops * PER_WORKLOAD / seconds})
    return rows


def by_style(count: int) -> list[dict[str, Any]]:
    """Ops and mappings per second on one GPU and one spatial array."""
    rng = np.random.default_rng(5)
    sizes = {d: np.exp(rng.uniform(np.log(16), np.log(8192), count)).round() for d in ("m", "n", "k")}
    ops = OpColumns.from_sizes("gemm", sizes, np.full(count, DTYPE_CODES["float16"]))
    rows = []
    for key, mappings in (("h100_sxm", GEMM_MAPPINGS), ("tpu_v4", ARRAY_MAPPINGS)):
        device = [catalog.hardware(key)]
        simulate_ops(ops.take(np.arange(100)), device)
        begin = time.perf_counter()
        for at in range(0, count, 500):
            simulate_ops(ops.take(np.arange(at, min(at + 500, count))), device)
        seconds = time.perf_counter() - begin
        rows.append({"machine": key, "op evaluations/s": count / seconds, "mappings per op": len(mappings), "mappings/s": count * len(mappings) / seconds})
    return rows


def memory() -> list[dict[str, Any]]:
    """Peak memory of one search over ten thousand GEMMs, each machine in a process of its own."""
    rows = []
    for key, mappings in (("h100_sxm", len(GEMM_MAPPINGS)), ("tpu_v4", len(ARRAY_MAPPINGS))):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append({"machine": key, "mappings": 10_000 * mappings, "peak MB": pool.apply(_search_mb, (key, 10_000))})
    return rows


def _search_mb(key: str, count: int) -> float:
    """MB by which the largest resident size grows in one call, after a small one has loaded everything."""
    rng = np.random.default_rng(5)
    sizes = {d: np.exp(rng.uniform(np.log(16), np.log(8192), count)).round() for d in ("m", "n", "k")}
    ops, device = OpColumns.from_sizes("gemm", sizes, np.full(count, DTYPE_CODES["float16"])), [catalog.hardware(key)]
    simulate_ops(ops.take(np.arange(2)), device)
    before = _peak_kb()
    simulate_ops(ops, device)
    return (_peak_kb() - before) / 1024


def _peak_kb() -> int:
    """kB this process has held at most: VmHWM, for the kernel carries the peak of whoever started it into ru_maxrss."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def whole(count: int) -> dict[str, Any]:
    """The generator end to end."""
    folder = Path(tempfile.mkdtemp())
    try:
        begin = time.perf_counter()
        manifest = generate(folder / "set", count=count, seed=11, progress=False, say=lambda text: None)
        seconds = time.perf_counter() - begin
        size = sum(f.stat().st_size for f in (folder / "set").rglob("*") if f.is_file())
        return {"labels": manifest.rows, "seconds": round(seconds, 1), "labels/s": manifest.rows / seconds, "feasible": manifest.feasible, "bytes per label": size / manifest.rows}
    finally:
        shutil.rmtree(folder)


def profile(count: int) -> list[dict[str, Any]]:
    """Share of time by function, the largest first."""
    pool = [d for d in map(catalog.hardware, DRAWN) if not d.fabric]
    rng = np.random.default_rng(9)
    watch = cProfile.Profile()
    watch.enable()
    for _ in range(count):
        simulate_many(sample(list(FAMILIES)[rng.integers(len(FAMILIES))], rng), [pool[i] for i in rng.choice(len(pool), PER_WORKLOAD, replace=False)])
    watch.disable()
    stats: Any = pstats.Stats(watch)
    named = {"throughput machines": "throughput_costs", "spatial arrays": "spatial_costs", "sampling": "sample", "fusion": "fuse", "power limit": "capped"}
    return [{"step": step, "share of time": sum(v[3] for k, v in stats.stats.items() if k[2] == name) / stats.total_tt} for step, name in named.items()]


if __name__ == "__main__":
    main()
