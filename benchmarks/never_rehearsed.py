"""How far a table of one machine, or of one word, is from the next: python benchmarks/never_rehearsed.py [--operators] [--sizes] [--json FILE]

Where a plain table has a single machine, or one word in all rows of a column, nothing can be held out to say how far off answers about another one are. What is assumed there
(`surrogates.outlying._KIN_OFF`, `_KIN_POWER_OFF`, `_ALIEN_OFF`, `surrogates.valued.NEVER_REHEARSED`, `_PAIR_OFF`) is read off here: the open tables' machines (and words) are taken two by two, readings of the same configuration on one are
brought over to the other (machines by what both are rated at, as `newcomer` does; words as they are), and the factor is kept that nine tenths of a pair's readings lie within. Printed are the median, the
fourth fifth and the ninth tenth of those factors: over pairs of machines of one vendor and kind, over the other pairs whose machines the catalogue knows, over pairs that it does not; and, of words, over columns, of each the fourth fifth of
its pairs; and, of two words that are known and were never together, over pairs of columns, of each the fourth fifth of its squares of two words by two, how far the product of three corners misses the fourth. `--operators` (some ten minutes): what `silicast fit` fits to 3,000 operators of one machine is asked about the others' (`surrogates.conformal._LEAST_NEVER_REHEARSED`).
`--sizes` (some ten minutes): what it fits to a few hundred operators of one machine without the largest values of a size is asked about those, and how many times the usual width nine tenths of them need is told
(`surrogates.conformal._NEVER_BEYOND`), and how many have the width that rehearsals tell. The tables are no part of silicast; without them the benchmark says so and ends with exit code 2.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

import accuracy_ops
import numpy as np
import pandas as pd
from _tables import data_folder, print_table, write_json

from silicast.datasets.measured import read_measured
from silicast.features.device import named_machine
from silicast.surrogates import newcomer, size_rehearsal
from silicast.training import fitting

#: file -> (column of machines or "", readings as target -> column)
TABLES: dict[str, tuple[str, dict[str, str]]] = {
    "llm_inference_bench/throughput": ("hardware", {"latency_s": "latency_s"}),
    "zeus/train_power_limit": ("gpu", {"latency_s": "time_per_epoch_s", "power_w": "average_power_w"}),
    "splitwise/perf": ("hardware", {"ttft_s": "prompt_time_ms", "tpot_s": "token_time_ms"}),
    "vidur/compute_ops": ("device", {"latency_s": "median_ms"}), "vidur/collectives": ("", {"latency_s": "median_ms"}),
    **{f"aiconfigurator/{name}": ("hardware", {"latency_s": "latency_ms"}) for name in ("gemm", "moe", "attention_context", "attention_generation", "mla_context", "mla_generation", "comm_nccl", "comm_allreduce")},
    "aiconfigurator/power_gemm": ("hardware", {"latency_s": "latency_ms", "power_w": "power_w"}),
    "aiconfigurator/serving_end_to_end": ("hardware", {"ttft_s": "ttft_ms", "tpot_s": "tpot_ms"})}
#: what is neither asked nor a configuration: other readings, and labels that go with one machine alone
LEFT_OUT = {"latency_s", "throughput_tok_s", "time_per_epoch_s", "average_power_w", "peak_power_frac_tdp", "average_power_frac_tdp", "prompt_time_ms", "token_time_ms", "e2e_time_ms", "min_ms", "max_ms", "mean_ms",
            "median_ms", "std_ms", "latency_ms", "ttft_ms", "tpot_ms", "power_w", "energy_mj", "rank", "kernel_source", "version", "backend_version", "source", "power_limit_w"}
#: rows of a table looked at, configurations that a pair shares at least, and words of a column, those with most configurations
ROWS, LEAST, WORDS = 60_000, 5, 12
#: operators of a machine that are fitted; and where the largest sizes are held out
PER_MACHINE, PER_SMALL = 3_000, 250


def machines(name: str, frame: pd.DataFrame, column: str, target: str, reading: str, keys: list[str]) -> Iterator[dict[str, Any]]:
    """Pairs of machines of a table: one row each, with the factor that nine tenths of its readings lie within."""
    for one, other, ratio in _pairs(frame, keys, column, reading):
        off = np.abs(np.log(ratio) + newcomer.factors(other, [one], target)[0])
        known = [named_machine(machine) for machine in (one, other)]
        kind = "nobody's" if None in known else "kin" if newcomer.of_kin(other, [one])[0] else "other kinds"
        yield {"table": name, "target": target, "one": one, "other": other, "pair": kind, "readings": len(off), "factor": float(np.exp(np.quantile(off, 0.9)))}


def words(name: str, frame: pd.DataFrame, target: str, reading: str, keys: list[str]) -> Iterator[dict[str, Any]]:
    """Columns of words of a table: one row each, with the fourth fifth of its pairs' factors."""
    for column in keys:
        if pd.api.types.is_numeric_dtype(frame[column]):
            continue
        factors = [float(np.exp(np.quantile(np.abs(np.log(ratio)), 0.9))) for _, _, ratio in _pairs(frame, [k for k in keys if k != column], column, reading)]
        if factors:
            yield {"table": name, "target": target, "column": column, "pairs": len(factors), "factor": float(np.quantile(factors, 0.8))}


def blocks(name: str, frame: pd.DataFrame, target: str, reading: str, keys: list[str]) -> Iterator[dict[str, Any]]:
    """Pairs of columns of words: one row each, with the fourth fifth of the factors by which the product of three corners of two words by two misses the fourth (nine tenths of the configurations that have all four)."""
    texts = [k for k in keys if not pd.api.types.is_numeric_dtype(frame[k])]
    frame = frame[frame[reading] > 0].astype(dict.fromkeys(keys, str))
    for first, second in combinations(texts, 2):
        rest = [k for k in keys if k not in (first, second)]
        most = [frame[c].value_counts().index[:WORDS] for c in (first, second)]
        part = frame[frame[first].isin(most[0]) & frame[second].isin(most[1])]
        wide = np.log(part.groupby([*rest, first, second])[reading].median()).unstack([first, second])
        logs = {pair: wide[pair].to_numpy(dtype=np.float64) for pair in wide.columns}
        factors = []
        for (a, b), (c, d) in product(combinations(most[0], 2), combinations(most[1], 2)):
            if all(corner in logs for corner in ((a, c), (a, d), (b, c), (b, d))):
                off = np.abs(logs[a, c] + logs[b, d] - logs[a, d] - logs[b, c])
                if np.isfinite(off).sum() >= LEAST:
                    factors.append(float(np.exp(np.nanquantile(off, 0.9))))
        if factors:
            yield {"table": name, "target": target, "columns": f"{first} x {second}", "blocks": len(factors), "factor": float(np.quantile(factors, 0.8))}


def _pairs(frame: pd.DataFrame, keys: list[str], column: str, reading: str) -> Iterator[tuple[str, str, np.ndarray]]:
    """Two values of the column, and the ratios of the readings of all configurations that both have."""
    frame = frame[frame[reading] > 0].astype(dict.fromkeys((*keys, column), str))
    wide = frame.groupby([*keys, column])[reading].median().unstack(column)
    wide = wide[wide.notna().sum().sort_values(kind="stable").index[-WORDS:]]
    for one, other in permutations(wide.columns, 2):
        both = wide[[one, other]].dropna()
        if len(both) >= LEAST:
            yield str(one), str(other), (both[one] / both[other]).to_numpy(dtype=np.float64)


def networks(data: Path) -> Iterator[dict[str, Any]]:
    """Pairs of HELP's devices, at the same batch; a name without a batch is of batch 1."""
    for space in ("nasbench201", "fbnet", "ofa"):
        frame = pd.read_parquet(data / "help" / f"{space}_latency.parquet")
        frame = frame[[c for c in frame if c.startswith("lat_")]].rename(columns=lambda c: c[len("lat_"):-len("_ms")])
        long = frame.melt(ignore_index=False, var_name="device", value_name="latency_ms").reset_index()
        split = long["device"].str.extract(r"^(.*?)(?:_(\d+))?$")
        yield from machines(f"help/{space}", long.assign(device=split[0], batch=split[1].fillna("1")), "device", "latency_s", "latency_ms", ["index", "batch"])


def _operator_tables(data: Path) -> Iterator[tuple[str, Any, np.ndarray]]:
    """Names, tables of operators, and the (n,) machines of their rows."""
    for name, schema in (("gemm", accuracy_ops.GEMM), ("attention_generation", accuracy_ops.GENERATION), ("attention_context", accuracy_ops.ATTENTION), ("neusight", accuracy_ops.NEUSIGHT)):
        if name == "neusight":
            table = next(accuracy_ops.neusight_a100(data, 0, 16_000)).table
        else:
            frame = accuracy_ops.aiconfigurator(data, name)
            table = read_measured(pd.concat([part.sample(min(PER_MACHINE, len(part)), random_state=0) for _, part in frame.groupby("hardware")], ignore_index=True), schema)
        yield name, table, np.asarray(table.questions.strata).astype(str)


def sizes(data: Path) -> Iterator[dict[str, Any]]:
    """Sizes of small tables of operators: fitted to all but the largest values of one, asked about those."""
    for name, table, machine in _operator_tables(data):
        for one in np.unique(machine):
            rows = np.random.default_rng(0).permutation(np.flatnonzero(machine == one))[:PER_SMALL]
            small = table.take(np.sort(rows))
            for size, held in size_rehearsal.cuts(small.questions.ops).items():
                model = fitting.learned(small.take(~held), ("latency_s",), "group", 1000, 0.9, lambda text: None).surrogate
                asked, truth = small.questions.take(np.flatnonzero(held)), small.targets["latency_s"][held]
                found, usual = model.predict(asked), model.around(model.inner.predict(asked), asked.strata)
                off = float(np.quantile(np.abs(np.log(found.point[:, 0] / truth)) / np.log(usual.high[:, 0] / usual.point[:, 0]), 0.9))
                yield {"table": name, "machine": one, "size": size, "readings": len(truth), "times": off, "covered by the usual width": float(np.mean((usual.low[:, 0] <= truth) & (truth <= usual.high[:, 0]))),
                       "covered": float(np.mean((found.low[:, 0] <= truth) & (truth <= found.high[:, 0]))), "wider": float(np.median(np.log(found.high[:, 0] / found.point[:, 0]) / np.log(usual.high[:, 0] / usual.point[:, 0])))}


def operators(data: Path) -> Iterator[dict[str, Any]]:
    """Pairs of machines of tables of operators: fitted to the one alone, asked about the other."""
    for name, table, machine in _operator_tables(data):
        for one in np.unique(machine):
            model = fitting.learned(table.take(machine == one), ("latency_s",), "group", 1000, 0.9, lambda text: None).surrogate
            for other in np.unique(machine[machine != one]):
                asked = table.take(machine == other)
                found, truth = model.predict(asked.questions), asked.targets["latency_s"]
                covered = np.mean((found.low[:, 0] <= truth) & (truth <= found.high[:, 0]))
                yield {"table": name, "one": one, "other": other, "readings": len(truth), "factor": float(np.exp(np.quantile(np.abs(np.log(found.point[:, 0] / truth)), 0.9))), "covered": float(covered)}


def main() -> int:
    """Reads the tables, prints the two summaries and writes every pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operators", action="store_true", help="fit operators of one machine and ask about the others, too")
    parser.add_argument("--sizes", action="store_true", help="fit few operators without the largest sizes and ask about those, too")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    data = data_folder()
    if data is None:
        print("the open measured tables are not here: set SILICAST_DATA to their folder", file=sys.stderr)
        return 2
    pairs, columns, squares = list(networks(data)), [], []
    for name, (machine, targets) in TABLES.items():
        frame = pd.read_parquet(data / f"{name}.parquet")
        frame = frame.sample(min(ROWS, len(frame)), random_state=0)
        keys = [c for c in frame if c not in LEFT_OUT and c != machine and frame[c].nunique() > 1]
        for target, reading in targets.items():
            if machine:
                pairs += machines(name, frame, machine, target, reading, keys)
            columns += words(name, frame, target, reading, keys + ([machine] if machine else []))
            squares += blocks(name, frame, target, reading, keys + ([machine] if machine else []))
    columns = [c for c in columns if c["column"] != TABLES[c["table"]][0]]
    sorts = {f"machines, {kind}": [p["factor"] for p in pairs if p["pair"] == kind and p["target"] != "power_w"] for kind in ("kin", "other kinds", "nobody's")}
    sorts["power of machines, kin"] = [p["factor"] for p in pairs if p["pair"] == "kin" and p["target"] == "power_w"]
    shown = [{"nothing could be held out": sort, "pairs or columns": len(factors), **_of(factors)} for sort, factors in sorts.items()]
    shown.append({"nothing could be held out": "words", "pairs or columns": len(columns), **_of([c["factor"] for c in columns])})
    shown.append({"nothing could be held out": "pairs of words", "pairs or columns": len(squares), **_of([c["factor"] for c in squares])})
    fitted = list(operators(data)) if given.operators else []
    if fitted:
        shown.append({"nothing could be held out": "machines, operators", "pairs or columns": len(fitted), **_of([p["factor"] for p in fitted]), "covered": float(np.mean([p["covered"] for p in fitted]))})
    beyond = list(sizes(data)) if given.sizes else []
    print_table("factor that nine tenths of the readings lie within", shown)
    if beyond:
        print_table("times the usual width that nine tenths of the readings beyond a size need", [
            {"held out": sort, "cuts": len(part), **_of([b["times"] for b in part]), **{what: float(np.mean([b[what] for b in part])) for what in ("covered by the usual width", "covered", "wider")}}
            for sort in ("sizes", "corners") if (part := [b for b in beyond if (b["size"] == size_rehearsal.CORNER) == (sort == "corners")])])
    write_json(given.json, {"summary": shown, "machines": pairs, "words": columns, "pairs of words": squares, "operators": fitted, "sizes": beyond})
    return 0


def _of(factors: list[float]) -> dict[str, float]:
    return {name: float(np.quantile(factors, at)) for name, at in (("median", 0.5), ("fourth fifth", 0.8), ("ninth tenth", 0.9))}


if __name__ == "__main__":
    sys.exit(main())
