"""How long an answer takes: python benchmarks/predict.py [--quick] [--model DIR] [--json FILE]

Single questions and bulk, each row another (workload, machine), p50 and p99, beside the reference simulator and the analytic estimate in the same
run. Without --model it trains small ones first (their accuracy is not the point here).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _tables import print_table, write_json

from silicast.datasets import catalog
from silicast.datasets.families import FAMILIES, sample
from silicast.datasets.generate import generate, read_generated
from silicast.datasets.simulator import simulate
from silicast.datasets.splits import split_by_group
from silicast.datasets.table import GraphQuestions
from silicast.datasets.workload import Workload
from silicast.features import FEATURE_VERSION, domain
from silicast.serving.predictor import Predictor
from silicast.surrogates import store
from silicast.surrogates.card import ModelCard


def main() -> None:
    """Prints the table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--model", type=Path, action="append", default=[])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp())
    try:
        folders = options.model or train(scratch, 600 if options.quick else 3000)
        predictors = {f.name: Predictor.load(str(f)) for f in folders}
        rng = np.random.default_rng(21)
        machines = [d for d in map(catalog.hardware, catalog.keys()) if not d.fabric]
        count = 60 if options.quick else 400
        names = list(FAMILIES)
        fresh = [sample(names[i % len(names)], rng) for i in range(count)]
        pick = rng.integers(len(machines), size=count)
        rows = [timed("simulator", "one (network, device), new network every time", lambda i: simulate(again(fresh[i]), machines[pick[i]]), count)]
        for name, predictor in predictors.items():
            rows.append(timed(name, "one (network, device), new network every time", lambda i, p=predictor: p.predict(again(fresh[i]), machines[pick[i]]), count))
        resnet = fresh[1]
        rows.append(timed("simulator", "same network, device rotates", lambda i: simulate(resnet, machines[i % len(machines)]), count))
        for name, predictor in predictors.items():
            rows.append(timed(name, "same network, device rotates", lambda i, p=predictor: p.predict(resnet, machines[i % len(machines)]), count))
        print_table("single questions, milliseconds", rows)
        table = bulk(predictors, fresh, machines, rng)
        print_table("bulk: all networks on all machines, answers per second (first time each network is seen)", table)
        write_json(options.json, {"single": rows, "bulk": table, "quick": options.quick})
    finally:
        shutil.rmtree(scratch)


def again(workload: Workload) -> Workload:
    """An equal workload with nothing cached: what a new question brings."""
    return Workload(workload.name, workload.ops, workload.tensors, workload.family)


def timed(who: str, what: str, ask: Callable[[int], Any], count: int) -> dict[str, Any]:
    """p50, p99 and mean in milliseconds over `count` questions after a warm-up of ten."""
    for i in range(10):
        ask(i)
    seconds = np.empty(count)
    for i in range(count):
        begin = time.perf_counter()
        ask(i)
        seconds[i] = time.perf_counter() - begin
    return {"question": what, "who": who, "p50 ms": float(np.quantile(seconds, 0.5) * 1e3), "p99 ms": float(np.quantile(seconds, 0.99) * 1e3), "mean ms": float(seconds.mean() * 1e3)}


def bulk(predictors: dict[str, Predictor], workloads: list[Workload], machines: list[Any], rng: np.random.Generator) -> list[dict[str, Any]]:
    """Answers per second over the cross product, in one call."""
    w, d = np.divmod(rng.permutation(len(workloads) * len(machines)), len(machines))
    rows = []
    for name, predictor in predictors.items():
        questions = GraphQuestions(tuple(again(x) for x in workloads), tuple(machines), w.astype(np.int64), d.astype(np.int64))
        begin = time.perf_counter()
        predictor.predict_many(questions)
        seconds = time.perf_counter() - begin
        rows.append({"who": name, "answers": len(questions), "answers/s": len(questions) / seconds})
    from silicast.datasets.simulator import simulate_many

    few = workloads[: max(len(workloads) // 4, 1)]
    begin = time.perf_counter()
    for workload in few:
        simulate_many(again(workload), machines)
    seconds = time.perf_counter() - begin
    rows.append({"who": "simulator", "answers": len(few) * len(machines), "answers/s": len(few) * len(machines) / seconds})
    return rows


def train(scratch: Path, count: int) -> list[Path]:
    """A boosted model and a graph network of demo size, in folders."""
    generate(scratch / "set", count=count, seed=2, progress=False, say=lambda text: None)
    parts = split_by_group(read_generated(scratch / "set"), {"train": 0.7, "valid": 0.1, "calibrate": 0.2})
    folders = []
    for name, settings in (("boosted", {"trees": 800}), ("graphnet", {"epochs": 2})):
        surrogate = store.member("conformal")(store.member(name)(**settings)).fit(parts["train"], parts["valid"]).conformalize(parts["calibrate"])
        card = ModelCard(name=name, version="1", shape="graph", targets=surrogate.targets, units={}, feature_version=FEATURE_VERSION, simulator_version="", data_source="", data_digest="",
                         data_rows=len(parts["train"]), split="", level=0.9, domain=domain.describe(parts["train"]))
        folders.append(store.save(surrogate, card, scratch / name))
    return folders


if __name__ == "__main__":
    main()
