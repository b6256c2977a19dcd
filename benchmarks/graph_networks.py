"""Which graph network? python benchmarks/graph_networks.py [--quick] [--only NAME,...] [--count N] [--epochs N] [--data FOLDER] [--json FILE]

Generates labels, holds out whole workloads and four whole devices (no machine is sampled around those), trains every variant of the one model for as many epochs,
and prints error on unseen workloads, on workloads and devices both unseen, and milliseconds for one answer (a network known, the device another every time).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _tables import print_table, write_json

from silicast.datasets import catalog
from silicast.datasets.catalog.drawn import DRAWN
from silicast.datasets.generate import generate, read_generated
from silicast.datasets.splits import hold_out, split_by_group
from silicast.datasets.table import GraphQuestions, Table
from silicast.serving.demo import UNSEEN_DEVICES
from silicast.surrogates.graphnet import GraphNet

VARIANTS: dict[str, dict[str, Any]] = {
    "sage": {}, "sage, attention pool": {"pool": "attention"}, "sage, places": {"places": True}, "sage, attention pool, places": {"pool": "attention", "places": True},
    "sage, pre-trained": {"pretrain": 4}, "sage, attention pool, places, pre-trained": {"pool": "attention", "places": True, "pretrain": 4}, "topological order": {"mixing": "order", "layers": 1}, "transformer, places": {"mixing": "attention", "places": True, "pool": "attention"},
    "transformer, places, pre-trained": {"mixing": "attention", "places": True, "pool": "attention", "pretrain": 4},
}


def main() -> None:
    """Prints the table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few labels, few epochs, three variants")
    parser.add_argument("--only", default="", help=f"some of: {'; '.join(VARIANTS)} (separated by ;)")
    parser.add_argument("--count", type=int, default=9_000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--data", type=Path, help="a folder that holds such a table already")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    names = [n.strip() for n in options.only.split(";")] if options.only else ["sage", "sage, places", "topological order"] if options.quick else list(VARIANTS)
    unknown = [n for n in names if n not in VARIANTS]
    if unknown:
        parser.error(f"unknown variant {unknown[0]!r}; there are: {'; '.join(VARIANTS)}")
    table = _labels(options.data, 1_500 if options.quick else options.count, options.seed)
    rest, unseen = hold_out(table, "device", UNSEEN_DEVICES)
    parts = split_by_group(rest, {"train": 0.7, "valid": 0.08, "test": 0.22}, options.seed)
    unseen = unseen.take(~np.isin(unseen.groups, parts["train"].groups))  # neither the device nor the workload was trained on
    rows = []
    for name in names:
        begin = time.perf_counter()
        net = GraphNet(**{"epochs": 4 if options.quick else options.epochs, "pretrain": 0, **VARIANTS[name]}).fit(parts["train"], parts["valid"])
        seconds = time.perf_counter() - begin
        row: dict[str, Any] = {"variant": name}
        for where, part in (("unseen workload", parts["test"]), ("unseen both", unseen)):
            for target, told in (("latency_s", "latency"), ("power_w", "power")):
                row[f"{told} %, {where}"] = _errors(net, part, target)
        rows.append({**row, "ms an answer": _milliseconds(net, parts["test"]), "fit s": round(seconds), "weights": sum(p.numel() for p in net._net.parameters())})
        print_table(f"absolute percentage error, median / p90; {len(parts['train']):,} labels learned, {len(parts['test']):,} and {len(unseen):,} judged", rows)
    write_json(options.json, {"count": len(table), "epochs": options.epochs, "seed": options.seed, "unseen_devices": list(UNSEEN_DEVICES), "rows": rows, "quick": options.quick})


def _labels(folder: Path | None, count: int, seed: int) -> Table:
    if folder is not None:
        return read_generated(folder)
    scratch = Path(tempfile.mkdtemp())
    try:
        generate(scratch / "set", count=count, seed=seed, per_workload=4, unrelated=UNSEEN_DEVICES, progress=False, say=print)
        return read_generated(scratch / "set")
    finally:
        shutil.rmtree(scratch)


def _errors(net: GraphNet, part: Table, target: str) -> str:
    prediction = net.predict(part.questions)
    truth = part.targets[target]
    good = np.isfinite(truth)
    ape = np.abs(prediction.point[good, prediction.column(target)] / truth[good] - 1.0) * 100.0
    return f"{np.median(ape):.2f} / {np.quantile(ape, 0.9):.1f}"


def _milliseconds(net: GraphNet, part: Table, count: int = 60) -> float:
    """Median over questions about one middling network on machines in turn."""
    questions = part.questions
    workload = sorted(questions.workloads, key=lambda w: len(w.ops))[int(0.75 * len(questions.workloads))]
    machines = [d for d in map(catalog.hardware, DRAWN) if not d.fabric]
    seconds = []
    for i in range(count + 5):
        asked = GraphQuestions.cross(workload, [machines[i % len(machines)]])
        begin = time.perf_counter()
        net.predict(asked)
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds[5:]) * 1e3)


if __name__ == "__main__":
    main()
