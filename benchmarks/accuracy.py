"""Accuracy on measured data nobody trained on: python benchmarks/accuracy.py [--quick] [--only NAME,...] [--seeds N] [--jobs N] [--json FILE] [--page] [--pictures FOLDER]

Every protocol reads an open table, holds groups or machines out, fits what `silicast fit` fits by default, and scores it on the rows held out: median, 90th
percentile and mean absolute percentage error, beside plain LightGBM (defaults, on roofline features) and the roofline, published figures and the aim.
`+-` is half of what nine in ten draws of the groups held out, with replacement, put the median between. Where a machine is held out, a few measurements of it then correct the model. A protocol that draws its split is run with as many seeds as `--seeds` says
(default: plain tables and networks five, operator tables, which are large, one), and the median over them is shown with the spread. Protocols and seeds run side by side in `--jobs` processes, the longest
first, so `fit s` is no time of a fit alone; `processor s` is that of its threads. `--quick` takes the first trial of each protocol, one seed, and few rows: figures get worse. The file of `--json` is written after every
protocol. The tables are no part of silicast; without them the benchmark says so and ends with exit code 2.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import accuracy_tables
import guard
import numpy as np
from _tables import data_folder, print_table, write_json
from accuracy_ops import PROTOCOLS, QUICK_ROWS, Case, noise_floors
from accuracy_page import write_page

from silicast.datasets.schema import Schema
from silicast.features.tabular import learn_vocabulary, tabular_features
from silicast.training.fitting import learned

#: protocols of plain tables that take longest: the first to begin
_LONG = ("help", "serving", "llm_inference_bench")
#: what a plain LightGBM on roofline features sees beside the device's figures and the categories
_ROOFLINE = ("log_bound", "compute_over_dram", "m", "n", "k", "b", "row", "window", "log_matrix_flops", "log_vector_flops", "log_input_bytes", "log_weight_bytes", "log_output_bytes", "op_batch",
             "op_heads", "op_window", "op_keys")


def main() -> int:
    """Runs the protocols; exit code 2 when the tables are not there."""
    every = (*PROTOCOLS, *accuracy_tables.PROTOCOLS, "guard")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, few rows, the first trial of each protocol")
    parser.add_argument("--only", default="", help=f"some of: {', '.join(dict.fromkeys(every))}; ops: those of operator tables; tables: those of plain tables and networks; guard: what the verdict is worth, and how the simulator is learned")
    parser.add_argument("--seeds", type=int, default=0, help="seeds of each protocol whose split is drawn (default: operator tables 1, the others 5, quick 1)")
    parser.add_argument("--rows", type=int, default=0, help="rows of each operator table, in place of the protocol's own")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", action="store_true", help="write the tables into docs/accuracy.md")
    parser.add_argument("--pictures", type=Path, help="a folder for a bar chart per protocol")
    options = parser.parse_args()
    data = data_folder()
    if data is None:
        print("the open tables are not here: set SILICAST_DATA to the folder that holds aiconfigurator/, neusight/ and vidur/", file=sys.stderr)
        return 2
    names = options.only.split(",") if options.only else ["ops", "tables", "guard"]
    unknown = [n for n in names if n not in (*every, "ops", "tables")]
    if unknown:
        parser.error(f"unknown protocol {unknown[0]!r}; there are: {', '.join(dict.fromkeys(every))}, ops, tables")
    if options.page and (options.quick or options.only or options.rows):
        parser.error("--page is written by a whole run: leave --quick, --only and --rows out")
    begin, seeds = time.perf_counter(), options.seeds or (1 if options.quick else 5)
    ops = [(n, s) for n, p in PROTOCOLS.items() if n in names or "ops" in names for s in range((options.seeds or 1) if p.drawn else 1)]
    tables = [(n, s) for n in accuracy_tables.PROTOCOLS if n in names or "tables" in names for s in range(1 if n in accuracy_tables.ONE_SEED else seeds)]
    kept: dict[str, list[dict[str, Any]]] = {"rows": [], "tables": [], "guard": []}
    failed: list[dict[str, Any]] = []
    for library in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if options.jobs > 1 else ():
        os.environ.setdefault(library, "1")  # of the processes to come: a process for each core needs no threads that wait for one another
    with ProcessPoolExecutor(max_workers=options.jobs, mp_context=get_context("spawn")) as pool:
        asked: dict[Any, str] = {}
        for name, seed in sorted(ops, key=lambda t: (t[1], -PROTOCOLS[t[0]].rows)):
            asked[pool.submit(op_rows, data, name, seed, options.rows, options.quick)] = f"{name}, seed {seed}"
        for name, seed in sorted(tables, key=lambda t: (t[1], t[0] not in _LONG)):
            asked[pool.submit(table_rows, data, name, seed, options.quick)] = f"{name}, seed {seed}"
        for name in guard.TRIALS if "guard" in names else ():
            asked[pool.submit(guard_rows, data, name, options.quick)] = f"guard, {name}"
        for done in as_completed(asked):
            try:
                found = done.result()
            except Exception as error:
                failed.append({"protocol": asked[done], "error": f"{type(error).__name__}: {error}"})
                print_table("not done", failed[-1:])
                continue
            for part, new in found.items():
                kept[part] += new
                if new:
                    print_table(f"after {time.perf_counter() - begin:,.0f} s", new)
            write_json(options.json, _measured(kept, options.quick))
    print_table("absolute percentage errors on held-out rows, median over seeds (ours: the defaults of `silicast fit`)", over_seeds(kept["rows"]))
    floors = noise_floors(data) if {"gemm_sites", "power"} & {n for n, _ in ops} else []
    if floors:
        print_table("the noise floor: two frameworks' readings of one product by the same library, systematic difference taken out", floors)
    print_table("plain tables and networks, groups never seen: medians over seeds", accuracy_tables.over_seeds(kept["tables"]))
    print_table("the domain guard (aims: AUROC 0.85, rejected over accepted 3)", [r for r in kept["guard"] if r["held out"] == "all"])
    minutes = (time.perf_counter() - begin) / 60.0
    print(f"\n{minutes:.1f} minutes in {options.jobs} processes")
    measured = {**_measured(kept, options.quick), "floors": floors, "minutes": minutes, "failed": failed}
    write_json(options.json, measured)
    if options.page:
        write_page(measured)
    if options.pictures:
        draw(over_seeds(kept["rows"]), options.pictures)
    print_table("protocols that broke off", failed)
    return 1 if failed else 0


def _measured(kept: dict[str, list[dict[str, Any]]], quick: bool) -> dict[str, Any]:
    return {"rows": kept["rows"], "tables": accuracy_tables.over_seeds(kept["tables"]), "summary": over_seeds(kept["rows"]), "guard": kept["guard"], "quick": quick}


def op_rows(data: Path, name: str, seed: int, rows: int, quick: bool) -> dict[str, list[dict[str, Any]]]:
    """A protocol of an operator table with one seed: "rows" as of `judged`, protocol and seed beside them, and "tables" of those with shots. `rows`: of the table; 0 for the protocol's own."""
    cases = PROTOCOLS[name].cases(data, seed, rows or (QUICK_ROWS if quick else PROTOCOLS[name].rows))
    found, corrected = [], []
    for case in islice(cases, 1 if quick else None):
        scored, shot = judged(case, seed)
        found += [{"protocol": name, "seed": seed, **row} for row in scored]
        corrected += shot
    return {"rows": found, "tables": corrected}


def table_rows(data: Path, name: str, seed: int, quick: bool) -> dict[str, list[dict[str, Any]]]:
    """A protocol of plain tables or networks with one seed: "tables" as of `accuracy_tables.rows`."""
    return {"tables": list(accuracy_tables.rows(data, name, quick, seed))}


def guard_rows(data: Path, name: str, quick: bool) -> dict[str, list[dict[str, Any]]]:
    """Trials of the domain guard on a table: "guard" as of `guard.judged`; of the synthetic one "group" are workloads and "machine" are devices never seen."""
    return {"guard": [row for trial in islice(guard.trials(name, data, quick), 1 if quick else None) for row in guard.judged(trial)]}


def draw(summary: list[dict[str, Any]], folder: Path) -> None:
    """accuracy_PROTOCOL.svg: bars of the error of ours, plain LightGBM and the roofline, and what was published: means where that is a mean, else medians."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    matplotlib.rcParams |= {"svg.hashsalt": "silicast", "svg.fonttype": "none"}
    for protocol in dict.fromkeys(r["protocol"] for r in summary):
        rows = [r for r in summary if r["protocol"] == protocol]
        means = ["mean" in r["published"] for r in rows]
        figure, axes = plt.subplots(figsize=(9.0, 1.1 + 0.5 * len(rows)), layout="constrained")
        at = np.arange(len(rows))
        for j, (name, keys, colour) in enumerate((("silicast", ("median %", "mean %"), "#1b6ca8"), ("LightGBM", ("LightGBM", "LightGBM mean"), "#9aa5b1"),
                                                  ("roofline (median)", ("roofline", "roofline"), "#e0c097"))):
            axes.barh(at + 0.22 * j, [min(r[keys[mean]] or 0.0, 100.0) for r, mean in zip(rows, means, strict=True)], 0.21, label=name, color=colour)
        said = [re.match(r"[0-9.]+", r["published"]) for r in rows]
        told = [(i, float(m.group())) for i, m in enumerate(said) if m]
        axes.barh([i + 0.66 for i, _ in told], [x for _, x in told], 0.21, label="published", color="#7a3b69")
        axes.set_yticks(at + 0.33, [f"{r['case']}: {r['slice']}, {r['target'].split('_')[0]}{' (mean)' if mean else ''}" for r, mean in zip(rows, means, strict=True)], fontsize=7)
        axes.invert_yaxis()
        axes.set_xlabel("absolute percentage error on rows held out, median unless said; 100 at most", fontsize=8)
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(folder / f"accuracy_{protocol}.svg", metadata={"Date": None})
        plt.close(figure)


def judged(case: Case, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A row per slice and target that a figure is published or aimed at for, and rows with shots where the case takes some."""
    targets = tuple(t for t in case.table.targets if t in ("latency_s", "power_w"))
    train, test = case.table.take(~case.held), case.table.take(case.held)
    begin, worked = time.perf_counter(), time.process_time()
    fitted = learned(train, targets, "group", seed + 1000, 0.9, lambda text: None)  # places hang on label and seed: with the same seed no row would calibrate
    seconds, worked = time.perf_counter() - begin, time.process_time() - worked
    prediction = fitted.surrogate.predict(test.questions)
    out: list[dict[str, Any]] = []
    masks = {"all": np.ones(len(test), dtype=bool), **{k: v[case.held] for k, v in case.part_of.items()}}
    for j, target in enumerate(prediction.targets):
        truth = test.targets[target]
        plain, roof = plain_answers(train, test, target)
        covered = (truth >= prediction.low[:, j]) & (truth <= prediction.high[:, j])
        for part, mask in masks.items():
            key = target if target in case.figures else part
            if not mask.any() or (key not in case.figures and part == "all" and len(masks) > 1 and len(case.figures) > 1):
                continue
            published, aim = case.figures.get(key, ("", ""))
            out.append({"case": case.name, "target": target, "slice": part, **_errors(prediction.point[mask, j], truth[mask]), "covered": float(np.mean(covered[mask])), "published": published,
                        "aim": aim, "+-": _by_chance(prediction.point[mask, j], truth[mask], test.groups[mask]), "LightGBM": _errors(plain[mask], truth[mask])["median %"], "LightGBM mean": _errors(plain[mask], truth[mask])["mean %"],
                        "roofline": _errors(roof[mask], truth[mask])["median %"] if roof is not None else None, "rows": int(mask.sum()), "learned": fitted.rows,
                        "fit s": round(seconds, 1), "processor s": round(worked, 1)})
    if case.with_shots is None:
        return out, []
    return out, accuracy_tables.corrected(case.name, fitted.surrogate, Schema(), train, test, accuracy_tables.SHOTS, dict.fromkeys(targets, case.with_shots), seed)


def plain_answers(train: Any, test: Any, target: str) -> tuple[np.ndarray, np.ndarray | None]:
    """(answers of LightGBM with its defaults on roofline features, the roofline itself where the target has one)."""
    import lightgbm

    vocabulary = learn_vocabulary(train.questions)
    seen, asked = (tabular_features(t.questions, vocabulary) for t in (train, test))
    at = [i for i, (n, r) in enumerate(zip(seen.names, seen.roles, strict=True)) if n in _ROOFLINE or r in ("device", "own", "context")]
    bounds = [f.floor.get(target, np.ones(len(f.values))) for f in (seen, asked)]
    data = lightgbm.Dataset(seen.values[:, at], np.log(train.targets[target] / bounds[0]), categorical_feature=[j for j, i in enumerate(at) if i in seen.categorical])
    booster = lightgbm.train({"objective": "regression_l1", "verbosity": -1, "num_threads": 1, "seed": 0, "deterministic": True}, data, 300)
    return np.exp(booster.predict(asked.values[:, at])) * bounds[1], asked.floor.get(target)


def over_seeds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The median over seeds of every (case, target, slice), and how far the seeds lie apart."""
    out: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        out.setdefault((row["protocol"], row["case"], row["target"], row["slice"]), []).append(row)
    summary = []
    for (protocol, case, target, part), each in out.items():
        middle = {k: float(np.median([r[k] for r in each])) for k in ("median %", "+-", "p90 %", "mean %", "covered", "LightGBM", "LightGBM mean")}
        summary.append({"protocol": protocol, "case": case, "target": target, "slice": part, **middle, "spread %": float(np.ptp([r["median %"] for r in each])), "published": each[0]["published"], "aim": each[0]["aim"],
                        "roofline": each[0]["roofline"], "seeds": len(each)})
    return summary


def _errors(point: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    ape = np.abs(point / truth - 1.0) * 100.0
    return {"median %": float(np.median(ape)), "p90 %": float(np.quantile(ape, 0.9)), "mean %": float(ape.mean())}


def _by_chance(point: np.ndarray, truth: np.ndarray, groups: np.ndarray, draws: int = 100) -> float:
    """Half the range that nine in ten medians lie in when as many groups are drawn from those held out, with replacement."""
    ape, (_, group, sizes) = np.abs(point / truth - 1.0) * 100.0, np.unique(groups.astype(str), return_inverse=True, return_counts=True)
    rows = np.split(np.argsort(group, kind="stable"), np.cumsum(sizes)[:-1])
    rng = np.random.default_rng(0)
    medians = [np.median(ape[np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])]) for _ in range(draws)]
    return float(np.subtract(*np.quantile(medians, [0.95, 0.05])) / 2.0)


if __name__ == "__main__":
    raise SystemExit(main())
