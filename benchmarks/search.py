"""The three worked searches: what is missed beside exhaustive simulation of their spaces, how many evaluations and seconds that took, and how many deployments are
answered in a second.

    python benchmarks/search.py [--quick] [--json FILE]

Regret is the share of the true front's hypervolume that a method's front leaves uncovered (0: all found), the median and the worst over seeds; methods see the recorded
answers of the exhaustive run, so that they differ in what they ask only. Times are of one live run. "random needs": evaluations in random order until as little is missed.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from _tables import print_table, write_json

from silicast.serving.search import METHODS, Evaluations, Problem, search
from silicast.serving.search.front import covered
from silicast.serving.search.regret import exhaustive, regret
from silicast.serving.search.verify import as_table, verify

EXAMPLES = Path(__file__).resolve().parent.parent / "docs" / "examples"
NAMES = ("nas", "accelerator", "deployment")
BUDGET = 60


class Recorded:
    """A problem whose every answer is known: evaluating looks it up."""

    def __init__(self, problem: Problem, everything: Evaluations) -> None:
        self.problem, self.everything = problem, everything
        self.place = {problem.space.key(c): i for i, c in enumerate(everything.candidates)}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.problem, name)

    def evaluate(self, candidates: Any, by: Any = None) -> Evaluations:
        """As `Problem.evaluate`, out of the record."""
        return self.everything.take([self.place[self.problem.space.key(c)] for c in candidates])


def main() -> None:
    """Prints the tables, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    searches, models = [], []
    for name in NAMES:
        problem = Problem.read(EXAMPLES / f"search_{name}.yaml")
        everything, seconds = exhaustive(problem)
        searches += compared(problem, everything, seconds, 2 if options.quick else 7)
        if name != "deployment":
            models.append(by_a_model(problem, everything, seconds, 48))
    print_table(f"{BUDGET} evaluations by the simulator", searches)
    print_table("the front by a model that learned from 48 random candidates, verified by the simulator", models)
    many = deployments()
    print_table("deployments answered", many)
    write_json(options.json, {"searches": searches, "models": models, "deployments": many, "deployment_10000_s": many[0]["seconds for 10,000"], "deployment_10000_cpu_s": many[0]["processor s for 10,000"], "quick": options.quick})


def compared(problem: Problem, everything: Evaluations, seconds: float, seeds: int) -> list[dict[str, Any]]:
    """One row a method."""
    recorded: Any = Recorded(problem, everything)
    rows = []
    for method in METHODS:
        if method == "all":
            rows.append({"search": problem.name, "space": len(everything), "method": "all (exhaustive)", "evaluations": len(everything), "regret median": 0.0, "regret worst": 0.0,
                         "seconds": seconds, "of which answers": seconds, "front": len(everything.front)})
            continue
        missed = [regret(problem, search(recorded, BUDGET, method=method, seed=seed).front, everything, seconds).hypervolume for seed in range(seeds)]
        live = search(problem, BUDGET, method=method)
        row = {"search": problem.name, "space": len(everything), "method": method, "evaluations": len(live.evaluated), "regret median": float(np.median(missed)),
               "regret worst": float(max(missed)), "seconds": live.seconds, "of which answers": live.evaluating_s, "front": len(live.front)}
        rows.append(row | ({"random needs": needed(everything, float(np.median(missed)))} if method == "linas" else {}))
    return rows


def needed(everything: Evaluations, missed: float, draws: int = 5) -> int:
    """Evaluations in random order (median of a few) until no more than `missed` is missed."""
    like = everything.objectives[everything.front]
    whole, counts = covered(like, like), []
    for draw in range(draws):
        order = np.random.default_rng(draw).permutation(len(everything))
        low, high = 0, len(order)
        while high - low > 1:
            middle = (low + high) // 2
            part = order[:middle][everything.feasible[order[:middle]]]
            enough = 1.0 - covered(everything.objectives[part], like) / whole <= missed + 1e-12 if len(part) else False
            low, high = (low, middle) if enough else (middle, high)
        counts.append(high)
    return int(np.median(counts))


def by_a_model(problem: Problem, everything: Evaluations, seconds: float, learned: int) -> dict[str, Any]:
    """Boosted trees with intervals fitted to random candidates answer the whole space; their front is simulated."""
    from silicast.datasets.simulator import SIMULATOR_VERSION
    from silicast.features import FEATURE_VERSION, domain
    from silicast.serving.predictor import Predictor
    from silicast.surrogates.boosted import Boosted
    from silicast.surrogates.card import ModelCard
    from silicast.surrogates.conformal import Conformal

    begin = time.perf_counter()
    sample = problem.evaluate(problem.space.sample(learned, np.random.default_rng(0)))
    table = as_table(verify(problem, sample).measurements)
    parts = np.arange(len(table)) % 4
    model = Conformal(Boosted(trees=200, leaves=15, threads=1, targets=("latency_s", "power_w", "energy_j")), level=0.9)
    model.fit(table.take(parts < 3), table.take(parts == 3))
    model.conformalize(table.take(parts == 3))
    card = ModelCard("search", "0", "graph", model.targets, {}, FEATURE_VERSION, SIMULATOR_VERSION, table.source, table.digest, len(table), "none", 0.9, domain.describe(table))
    fitted = time.perf_counter() - begin
    found = search(problem, len(everything), Predictor(model, card, "search", "0", "memory"), method="all")
    assert found.verified is not None
    missed = regret(problem, found.front, everything, seconds)
    return {"search": problem.name, "learned from": learned, "regret": missed.hypervolume, "points": len(found.verified.truth), "confirmed": len(found.front),
            "median error": max(float(np.nanmedian(np.abs(v))) for v in found.verified.errors.values()), "in their intervals": found.verified.inside, "learning s": fitted,
            "answering s": found.seconds, "simulating all s": seconds}


def deployments() -> list[dict[str, Any]]:
    """More than 10,000 deployments: cold, then again."""
    document = {"vary": {"model": ["llama3_8b", "qwen3_8b"], "device": ["h100_sxm", "a100_sxm", "l40s", "h200_sxm"], "tensor": [1, 2, 4, 8], "pipeline": [1, 2],
                         "batch": [1, 2, 4, 8, 16, 32, 64, 128], "dtype": ["bfloat16", "float8", "int8"], "schedule": ["static", "continuous"], "split": [False, True],
                         "power_limit": [0, 300]},
                "build": {"deployment": {"prompt_tokens": 1024, "output_tokens": 256, "prices": {"other": 1.0}, "link_bandwidth_bytes_per_s": {"other": 4.5e11},
                                         "handover_bandwidth_bytes_per_s": 2.5e10}},
                "objectives": {"cost_per_mtok": "min", "tpot_s": "min"}, "constraints": {"ttft_s": {"at_most": 1.0}}}
    problem = Problem.of(document)
    rows = []
    for what in ("nothing known before", "the same again"):
        begin, busy = time.perf_counter(), time.process_time()
        grid = problem.space.grid()
        found = problem.evaluate(grid)
        front = found.front
        seconds, busy = time.perf_counter() - begin, time.process_time() - busy
        rows.append({"run": what, "configurations": len(grid), "seconds": seconds, "seconds for 10,000": seconds * 1e4 / len(grid), "processor s for 10,000": busy * 1e4 / len(grid), "feasible": int(found.feasible.sum()), "front": len(front)})
    one = [problem.space.grid()[i] for i in np.random.default_rng(0).choice(int(problem.space.size), 12, replace=False)]
    begin = time.perf_counter()
    for candidate in one:
        problem.design.one(problem.design.deployment({**candidate, "batch": 3}))
    rows.append({"run": "one by one, nothing shared (12 of them)", "configurations": len(one), "seconds": time.perf_counter() - begin,
                 "seconds for 10,000": (time.perf_counter() - begin) * 1e4 / len(one)})
    return rows


if __name__ == "__main__":
    main()
