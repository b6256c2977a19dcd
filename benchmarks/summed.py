"""Do intervals of whole networks cover when single operators are added up? python benchmarks/summed.py [--quick] [--json FILE]

Networks are sampled and simulated; boosted trees learn their kernels one by one (as lone operators: what a kernel finds in the cache they cannot know),
intervals are calibrated on networks held out, and the sums of further networks, and of machines never seen, are compared with the simulated latency:
half widths as if errors were independent, as if they were all the same, and as calibration rows say they go together.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _tables import print_table, write_json

from silicast.datasets import catalog
from silicast.datasets.families import FAMILIES, sample
from silicast.datasets.simulator import simulate_many
from silicast.datasets.simulator.kernels import fuse
from silicast.datasets.table import GraphQuestions, OpQuestions, Table
from silicast.features.pairs import kernel_rows
from silicast.surrogates.boosted import Boosted
from silicast.surrogates.conformal import Conformal
from silicast.surrogates.summed import Summed, kernel_questions

KNOWN = ("h100_sxm", "a100_sxm", "t4", "v100_sxm", "xeon_8380", "rtx_3090")
UNSEEN = ("l4", "a40")


def main() -> None:
    """Prints the table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--networks", type=int, default=360)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    count = 90 if options.quick else options.networks
    rng = np.random.default_rng(options.seed)
    families = [f for f in FAMILIES if f != "decode"]
    workloads = [sample(families[i % len(families)], rng) for i in range(count)]
    cuts = {"train": workloads[:count // 2], "calibrate": workloads[count // 2:count * 3 // 4], "test": workloads[count * 3 // 4:]}
    tables = {name: kernels(own, KNOWN, rng) for name, own in cuts.items()}
    tables["unseen machine"] = kernels(cuts["test"], UNSEEN, rng)
    inner = Conformal(Boosted(targets=("latency_s",), trees=300)).fit(tables["train"][0]).conformalize(tables["calibrate"][0])
    summed = Summed(inner).conformalize(tables["calibrate"][0])
    independent, alike, unstretched = Summed(inner), Summed(inner), Summed(inner)
    independent._correlation, unstretched._correlation = {"": (0.0, 0.0)}, summed.correlation
    ways = {"as if independent": independent, "as if all the same": alike, "correlated": unstretched, "correlated, stretched (what Summed does)": summed}
    rows: list[dict[str, Any]] = []
    for where in ("test", "unseen machine"):
        _, questions, truth = tables[where]
        for way, model in ways.items():
            answer = model.predict(questions)
            width = np.log(answer.high[:, 0] / answer.point[:, 0])
            rows.append({"networks": "never seen" if where == "test" else "never seen, on machines never seen", "intervals": way, "n": len(truth), "covered %": 100.0 * float(np.mean((truth >= answer.low[:, 0]) & (truth <= answer.high[:, 0]))),
                         "median half width %": 100.0 * float(np.expm1(np.median(width))), "median APE %": 100.0 * float(np.median(np.abs(answer.point[:, 0] / truth - 1.0)))})
    print_table("90 % intervals of whole networks from single operators", rows)
    found = {device: f"{same:.2f} / {other:.2f}" for device, (same, other) in summed.correlation.items()}
    print("correlation of errors within / across kinds of operators:", ", ".join(f"{d or 'any other'} {c}" for d, c in found.items()))
    write_json(options.json, {"rows": rows, "correlation": summed.correlation, "stretch": summed._stretch, "networks": count, "seed": options.seed, "quick": options.quick})


def kernels(workloads: list[Any], keys: tuple[str, ...], rng: np.random.Generator) -> tuple[Table, GraphQuestions, np.ndarray]:
    """(every different kernel as a row with its simulated seconds, grouped by network; the pairs; their simulated latencies), each network on two machines."""
    devices = tuple(catalog.hardware(k) for k in keys)
    w = np.repeat(np.arange(len(workloads)), 2)
    d = np.concatenate([rng.permutation(len(keys))[:2] for _ in workloads])
    questions = GraphQuestions(tuple(workloads), devices, w, d)
    truth, each = np.empty(len(w)), []
    for pair, (a, b) in enumerate(zip(w, d, strict=True)):
        graph = fuse(workloads[a])
        done = simulate_many(workloads[a], [devices[b]])[0]
        first = np.zeros(len(graph.kernels), dtype=np.int64)
        first[graph.kernel_of[::-1]] = np.arange(len(workloads[a].ops))[::-1]
        seconds = np.empty(len(graph.unique))
        seconds[graph.inverse] = done.op_latency_s[first]
        each.append(seconds)
        truth[pair] = done.values["latency_s"]
    parts = list(kernel_rows(questions, unique=True))
    asked = [kernel_questions(questions, pairs, rows) for pairs, rows in parts]
    ops = type(asked[0].ops).concat([q.ops for q in asked])
    index = np.concatenate([q.device_index for q in asked])
    pair = np.concatenate([pairs[rows.pair] for pairs, rows in parts])
    op_questions = replace(asked[0], ops=ops, device_index=index, context=pd.DataFrame(index=range(len(ops))), extra=pd.DataFrame(index=range(len(ops))))
    assert isinstance(op_questions, OpQuestions)
    groups = np.array([workloads[w[p]].digest for p in pair], dtype=object)
    return Table(op_questions, {"latency_s": np.concatenate(each)}, groups, pd.DataFrame({"device": np.array(keys)[index]}), "simulated"), questions, truth


if __name__ == "__main__":
    main()
