"""How well surrogates learn the simulator: python benchmarks/synthetic.py [--quick] [--count N] [--json FILE]

Generates labels, holds out whole workloads (never rows) and four whole devices (no machine is sampled around those), trains the boosted and the graph model the demo trains, and prints
error and coverage on unseen workloads, on unseen devices, and what the domain flags were worth there.
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

from silicast.datasets.generate import generate, read_generated
from silicast.datasets.splits import hold_out, split_by_group
from silicast.datasets.table import Table
from silicast.features import domain
from silicast.serving.demo import UNSEEN_DEVICES
from silicast.surrogates import store


def main() -> None:
    """Prints the tables, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--count", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    count = 6_000 if options.quick else options.count
    scratch = Path(tempfile.mkdtemp())
    try:
        generate(scratch / "set", count=count, seed=options.seed, per_workload=4, unrelated=UNSEEN_DEVICES, progress=False, say=print)
        table = read_generated(scratch / "set")
    finally:
        shutil.rmtree(scratch)
    rest, unseen = hold_out(table, "device", UNSEEN_DEVICES)
    parts = split_by_group(rest, {"train": 0.55, "valid": 0.05, "calibrate": 0.2, "test": 0.2}, options.seed)
    unseen = unseen.take(~np.isin(unseen.groups, parts["train"].groups))  # neither the device nor the workload was trained on
    known = domain.describe(parts["train"])
    rows, slices = [], []
    for name, settings in (("analytic", {}), ("boosted", {"trees": 800}), ("graphnet", {"epochs": 3 if options.quick else 9})):
        begin = time.perf_counter()
        surrogate = store.member("conformal")(store.member(name)(**settings)).fit(parts["train"], parts["valid"]).conformalize(parts["calibrate"])
        seconds = time.perf_counter() - begin
        for where, part in (("unseen workloads", parts["test"]), ("unseen workloads and devices", unseen)):
            rows += judged(name, where, surrogate, part, known)
        slices += by_slice(name, surrogate, parts["test"])
        print(f"{name}: {seconds:.0f} s to train on {len(parts['train']):,} rows")
    print_table("absolute percentage error, %, and coverage of 90 % intervals", rows)
    print_table("latency on unseen workloads, by slice", slices)
    write_json(options.json, {"count": count, "seed": options.seed, "unseen_devices": list(UNSEEN_DEVICES), "rows": rows, "slices": slices, "quick": options.quick,
                              "parts": {k: len(v) for k, v in parts.items()}})


def judged(name: str, where: str, surrogate: Any, part: Table, known: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per target: errors, coverage, and how accepted and flagged answers differ."""
    prediction = surrogate.predict(part.questions)
    flagged = np.array([d.verdict != "in_domain" for d in domain.check(known, part.questions)])
    rows = []
    for j, target in enumerate(prediction.targets):
        truth = part.targets[target]
        good = np.isfinite(truth)
        ape = np.abs(prediction.point[good, j] / truth[good] - 1) * 100
        covered = (truth[good] >= prediction.low[good, j]) & (truth[good] <= prediction.high[good, j])
        mine = flagged[good]
        rows.append({"model": name, "rows": where, "target": target, "n": int(good.sum()), "median": float(np.median(ape)), "p90": float(np.quantile(ape, 0.9)),
                     "coverage": float(covered.mean()), "flagged": float(mine.mean()), "median accepted": _median(ape[~mine]), "median flagged": _median(ape[mine]),
                     "coverage accepted": float(covered[~mine].mean()) if (~mine).any() else None})
    return rows


def by_slice(name: str, surrogate: Any, part: Table) -> list[dict[str, Any]]:
    """Median latency error by family and by kind of device."""
    prediction = surrogate.predict(part.questions)
    truth = part.targets["latency_s"]
    good = np.isfinite(truth)
    ape = np.abs(prediction.point[:, prediction.column("latency_s")] / truth - 1) * 100
    return [{"model": name, "slice": f"{column} = {value}", "n": int((good & mine).sum()), "median": _median(ape[good & mine]), "p90": float(np.quantile(ape[good & mine], 0.9))}
            for column in ("family", "kind") for value in sorted(set(part.slices[column])) for mine in [(part.slices[column] == value).to_numpy()] if (good & mine).any()]


def _median(values: np.ndarray) -> float | None:
    return float(np.median(values)) if len(values) else None


if __name__ == "__main__":
    main()
