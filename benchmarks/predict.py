"""How long an answer takes: python benchmarks/predict.py [--quick] [--model DIR] [--networks DIR] [--data DIR] [--json FILE]

Every row asks other questions than the one before. Single operators: a model of GEMMs (fitted in place to measured rows where the open tables are there, else to
rows the simulator answers), its student (`silicast compile`), one question at a time and in columns; beside it what the trees alone take in LightGBM and in ONNX
Runtime. Whole networks: a student of the simulator on one machine and on ten thousand, a graph network, and the simulator itself, the same questions. A cold
process, an import, a server: memory and requests (`serve.py`). With --model and --networks, folders made before take the place of the small ones; the accuracy
of small ones is not the point here, but what the students are off is printed beside their speed.

Each time is the best of several repeats of its p50 (and the p99 of that repeat): the machine is seldom ours alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _tables import data_folder, print_table, write_json

from silicast.datasets import catalog
from silicast.datasets.catalog import hardware
from silicast.datasets.catalog.drawn import DRAWN
from silicast.datasets.columns import OpColumns
from silicast.datasets.devices import sample_device
from silicast.datasets.dtypes import DTYPE_CODES
from silicast.datasets.families import FAMILIES, sample
from silicast.datasets.generate import generate, read_generated
from silicast.datasets.measured import read_measured
from silicast.datasets.ops import Op
from silicast.datasets.simulator import simulate, simulate_many
from silicast.datasets.simulator.simulate import simulate_ops
from silicast.datasets.splits import split_by_group
from silicast.datasets.table import GraphQuestions
from silicast.datasets.workload import Workload, WorkloadBuilder
from silicast.features import FEATURE_VERSION, domain
from silicast.serving.predictor import Predictor
from silicast.surrogates import store
from silicast.surrogates.card import ModelCard
from silicast.training.distilling import compile_model
from silicast.training.simulated import compile_simulator

GEMM: dict[str, Any] = {"op": "gemm", "columns": {"m": "m", "n": "n", "k": "k", "dtype": "dtype"}, "hardware": "hardware", "context": ["framework", "kernel_source"],
                        "targets": {"latency_s": {"column": "latency_ms", "unit": "ms"}}, "group": ["n", "k"]}
#: seconds ZigZag's search takes for a layer, as others have timed it (not measured in this run; for orientation)
ZIGZAG_S_PER_LAYER = 2.5
#: milliseconds of a mapping search for one layer are asked of the simulator so often
_SEARCHES = 40


def main() -> None:
    """Prints the tables, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller models and fewer repeats: at most two minutes on two free cores")
    parser.add_argument("--model", type=Path, help="a compiled model of GEMMs, to take the place of the small one")
    parser.add_argument("--networks", type=Path, help="a compiled student of the simulator, to take the place of the small one")
    parser.add_argument("--no-http", action="store_true", help="leave out the server's probes")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp())
    repeats = 3 if options.quick else 7
    rng = np.random.default_rng(21)
    try:
        gemm = Predictor.load(options.model or gemm_model(scratch, options.quick))
        networks = Predictor.load(options.networks or network_model(scratch, options.quick))
        out: dict[str, Any] = {}
        rows = singles(gemm, out, rng, repeats, 400 if options.quick else 3000)
        print_table("one question at a time, microseconds", rows)
        wide = columns(gemm, out, rng, repeats, 200_000 if options.quick else 1_000_000)
        print_table("columns, questions per second", wide)
        whole = wholes(networks, out, rng, repeats, scratch, options.quick)
        print_table("whole networks", whole)
        beside = against_simulator(networks, out, rng, repeats)
        print_table("one layer, beside the simulator's search for its mapping", beside)
        around = processes(scratch, options.networks or scratch / "networks", out, repeats)
        print_table("processes", around)
        if not options.no_http:
            from serve import probes

            out |= probes(options.quick)
            print_table("HTTP, one worker", [{"what": name, "per second": out[name]} for name in ("http_single_req_s", "http_bulk_rows_s")])
        said = {"gemm": gemm.card.extra.get("student", ""), "networks": networks.card.extra.get("student", "")}
        print("\nwhat the students are off:", *(f"  {name}: {text}" for name, text in said.items()), sep="\n")
        write_json(options.json, {**out, "students": said, "load_average": os.getloadavg()[0], "single": rows, "columns": wide, "networks": whole, "beside": beside,
                                  "processes": around, "quick": options.quick})
    finally:
        shutil.rmtree(scratch)


def best(ask: Callable[[int], Any], count: int, repeats: int) -> tuple[float, float]:
    """(p50, p99) in seconds of the repeat with the least p50, each of `count` different questions, after a warm-up."""
    for i in range(min(count, 50)):
        ask(i)
    found = []
    for _ in range(repeats):
        seconds = np.empty(count)
        for i in range(count):
            begin = time.perf_counter()
            ask(i)
            seconds[i] = time.perf_counter() - begin
        found.append((float(np.quantile(seconds, 0.5)), float(np.quantile(seconds, 0.99))))
    return min(found)


def cpu(ask: Callable[[int], Any], count: int) -> float:
    """Seconds of processor time per question: what a time is where others have the cores as well."""
    begin = time.process_time()
    for i in range(count):
        ask(i)
    return (time.process_time() - begin) / count


def rate(ask: Callable[[], Any], rows: int, repeats: int) -> float:
    """Rows per second of the best repeat, after one that warms up."""
    ask()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - begin)
    return rows / min(seconds)


def asked(gemm: Predictor, count: int, rng: np.random.Generator) -> pd.DataFrame:
    """Random GEMMs inside the model's domain, on the machines and in the circumstances it has seen together."""
    ranges = gemm.card.domain["ranges"]
    spans = {name: (np.expm1(low), np.expm1(high)) for name, low, high in zip(ranges["names"], ranges["low"], ranges["high"], strict=True)}
    many = 3 * count
    drawn = pd.DataFrame({d: np.exp(rng.uniform(*np.log(spans[d]), many)) for d in ("m", "n", "k")})
    drawn = pd.DataFrame({d: np.maximum(np.round(drawn[d] / step), 1.0) * step for d, step in (("m", 1.0), ("n", 128.0), ("k", 128.0))})
    work, moved = 2.0 * drawn["m"] * drawn["n"] * drawn["k"], drawn["m"] * drawn["k"] + drawn["n"] * drawn["k"] + drawn["m"] * drawn["n"]
    # the smallest of all sizes together, and the largest, were never measured
    inside = (work >= spans["matrix_flops"][0]) & (work <= spans["matrix_flops"][1]) & (2.0 * moved >= 4.0 * spans["total_bytes"][0]) & (2.0 * moved <= spans["total_bytes"][1])
    frame = drawn[inside].head(count).reset_index(drop=True)
    count = len(frame)
    combinations = json.loads(gemm.card.extra.get("combinations", "[]")) or [{"hardware": gemm.card.domain["devices"][0], "dtype": "float16",
                                                                              **{c: v[0] for c, v in gemm.card.domain["context"].items() if c != "dtype_name"}}]
    pick = rng.integers(len(combinations), size=count)
    return frame.assign(**{name: [combinations[i][name] for i in pick] for name in combinations[0]})


def singles(gemm: Predictor, out: dict[str, Any], rng: np.random.Generator, repeats: int, count: int) -> list[dict[str, Any]]:
    """One GEMM at a time: student, model, and the trees alone."""
    frame = asked(gemm, count, rng)
    sizes = frame[["m", "n", "k"]].to_dict("records")
    count = len(sizes)
    words = [c for c in frame.columns if c not in ("m", "n", "k", "hardware", "dtype")]
    on, dtype, context = frame["hardware"].tolist(), frame["dtype"].tolist(), frame[words].to_dict("records")
    p50, p99 = best(lambda i: gemm.predict_op("gemm", sizes[i], on[i], dtype=dtype[i], **context[i]), count, repeats)
    quick = np.mean([gemm.predict_op("gemm", sizes[i], on[i], dtype=dtype[i], **context[i]).speed == "columns" for i in range(count)])
    out["gemm_single_cpu_us"] = cpu(lambda i: gemm.predict_op("gemm", sizes[i], on[i], dtype=dtype[i], **context[i]), count) * 1e6
    out |= {"gemm_single_us_p50": p50 * 1e6, "gemm_single_us_p99": p99 * 1e6, "gemm_single_by_student": float(quick)}
    rows = [{"question": "one GEMM: dims to answer, interval, flag", "who": "silicast, student", "p50 us": p50 * 1e6, "p99 us": p99 * 1e6}]
    questions = [read_measured(frame.iloc[[i]], {k: v for k, v in gemm.card.schema.items() if k != "group"}, need_targets=False).questions for i in range(20)]

    def exact(i: int) -> Any:
        questions[i % 20].__dict__.pop("_features", None)
        return gemm.predict_table(questions[i % 20])

    p50, p99 = best(exact, 20, 2)
    out["gemm_exact_ms"] = p50 * 1e3
    rows.append({"question": "the same", "who": "silicast, the model itself", "p50 us": p50 * 1e6, "p99 us": p99 * 1e6})
    return rows + trees(gemm, out, rng, repeats, count)


def trees(gemm: Predictor, out: dict[str, Any], rng: np.random.Generator, repeats: int, count: int) -> list[dict[str, Any]]:
    """One featurised row through the trees of the model: LightGBM, ONNX Runtime, lleaves where it is installed."""
    booster = next((b for b in _boosters(gemm.surrogate)), None)
    if booster is None:
        return [{"question": "one featurised row through the trees", "who": "the model has none"}]
    values = np.floor(np.abs(rng.normal(size=(count, booster.num_feature()))) * 3.0).astype(np.float32)  # whole: some columns are categories
    rows = []
    p50, p99 = best(lambda i: booster.predict(values[i:i + 1], num_threads=1), count, repeats)
    out |= {"tree_row_lightgbm_us": p50 * 1e6, "trees": booster.num_trees()}
    rows.append({"question": f"one featurised row through {booster.num_trees()} trees", "who": "LightGBM", "p50 us": p50 * 1e6, "p99 us": p99 * 1e6})
    out["tree_row_us"] = p50 * 1e6
    try:
        from silicast.surrogates.compiled_trees import CompiledTrees

        compiled = CompiledTrees(booster)
    except ImportError:
        rows.append({"question": "the same", "who": "ONNX Runtime: not installed"})
    else:
        off = np.abs(compiled.predict(values) - booster.predict(values, num_threads=1)).max()
        p50, p99 = best(lambda i: compiled.predict(values[i:i + 1]), count, repeats)
        out |= {"tree_row_us": p50 * 1e6, "tree_row_apart": float(off)}
        rows.append({"question": "the same", "who": "silicast, ONNX Runtime", "p50 us": p50 * 1e6, "p99 us": p99 * 1e6})
    if find_spec("lleaves") is None:
        rows.append({"question": "the same", "who": "lleaves: not installed"})
    elif count > 1000:  # making machine code of them takes minutes
        from silicast.surrogates.native_trees import NativeTrees

        native = NativeTrees(booster)
        p50, p99 = best(lambda i: native.predict(values[i:i + 1]), count, repeats)
        out["tree_row_lleaves_us"] = p50 * 1e6
        rows.append({"question": "the same", "who": "silicast, lleaves", "p50 us": p50 * 1e6, "p99 us": p99 * 1e6})
    return rows


def _boosters(surrogate: Any) -> Any:
    """Every booster inside a surrogate."""
    yield from getattr(surrogate, "_boosters", {}).values()
    for one in (*getattr(surrogate, "members", ()), *([surrogate.inner] if getattr(surrogate, "inner", None) is not None else [])):
        yield from _boosters(one)


def columns(gemm: Predictor, out: dict[str, Any], rng: np.random.Generator, repeats: int, count: int) -> list[dict[str, Any]]:
    """Columns of GEMMs with intervals and verdicts, machines and circumstances mixed; the trees of LightGBM on as many featurised rows."""
    from silicast.serving.coded import Coded

    frame = asked(gemm, count, rng)
    count = len(frame)
    m, n, k = (frame[d].to_numpy() for d in ("m", "n", "k"))
    coded = {c: Coded.of(frame[c].tolist()) for c in frame.columns if c not in ("m", "n", "k")}
    machines, dtype = coded.pop("hardware"), coded.pop("dtype")
    rows = []
    for threads in (1, 0):
        found = rate(lambda t=threads: gemm.predict_columns(m, n, k, machines, dtype=dtype, threads=t, **coded), count, repeats)  # type: ignore[misc]
        rows.append({"who": f"silicast, student, {'one thread' if threads == 1 else 'all cores'}", "rows": count, "rows/s": found})
    out["gemm_columns_per_s"] = max(float(row["rows/s"]) for row in rows)
    out["gemm_columns_cpu_us"] = cpu(lambda i: gemm.predict_columns(m, n, k, machines, dtype=dtype, threads=1, **coded), 1) / count * 1e6
    told = gemm.predict_columns(m, n, k, machines, dtype=dtype, **coded)
    out |= {"gemm_columns_by_student": float(told.quick.mean()), "gemm_columns_in_domain": float(told.calibrated.mean())}
    booster = next((b for b in _boosters(gemm.surrogate)), None)
    if booster is not None:
        few = rng.normal(size=(20_000, booster.num_feature())).astype(np.float32)
        rows.append({"who": f"LightGBM, {booster.num_trees()} trees alone, features given, all cores", "rows": len(few), "rows/s": rate(lambda: booster.predict(few), len(few), 2)})
    return rows


def wholes(networks: Predictor, out: dict[str, Any], rng: np.random.Generator, repeats: int, scratch: Path, quick: bool) -> list[dict[str, Any]]:
    """ResNet-50 on one machine, on ten thousand; the graph network; the simulator."""
    machines = [d for d in map(catalog.hardware, DRAWN) if d.kind in ("gpu", "cpu") and not d.array]
    nets = [resnet50(batch) for batch in (1, 2, 4, 8, 16, 32)]
    asks = [GraphQuestions.cross(nets[i % len(nets)], [machines[(i * 7) % len(machines)]]) for i in range(240)]
    p50, p99 = best(lambda i: networks.predict_many(asks[i]), len(asks), repeats)
    out["network_cpu_ms"] = cpu(lambda i: networks.predict_many(asks[i]), len(asks)) * 1e3
    out |= {"network_ms": p50 * 1e3, "network_ms_p99": p99 * 1e3}
    rows = [{"question": "ResNet-50 on one machine", "who": "silicast, student of the simulator", "p50 ms": p50 * 1e3, "p99 ms": p99 * 1e3}]
    p50, p99 = best(lambda i: simulate(nets[i % len(nets)], machines[(i * 7) % len(machines)]), 40, 2)
    rows.append({"question": "the same", "who": "simulator", "p50 ms": p50 * 1e3, "p99 ms": p99 * 1e3})
    many = [sample_device(rng, "gpu", machines) for _ in range(1000 if quick else 10_000)]
    crossed = [GraphQuestions.cross(net, many) for net in nets[:3]]
    turn, few, out["network_devices"] = iter(range(10**9)), many[:40], len(many)
    found = rate(lambda: networks.predict_many(crossed[next(turn) % len(crossed)]), len(many), repeats)
    out |= {"network_devices_per_s": found, "network_devices_cpu_us": cpu(lambda i: networks.predict_many(crossed[i]), 3) / len(many) * 1e6}
    rows.append({"question": f"ResNet-50 on {len(many):,} made-up GPUs", "who": "silicast, student of the simulator", "answers/s": found})
    unseen = iter([[replace(d, key=f"{d.key}_{i}") for d in many] for i in range(repeats + 2)])
    found = rate(lambda: networks.predict_many(GraphQuestions.cross(nets[0], next(unseen))), len(many), repeats)
    out |= {"network_new_devices_per_s": found, "network_new_devices_cpu_us": cpu(lambda i: networks.predict_many(GraphQuestions.cross(nets[0], next(unseen))), 1) / len(many) * 1e6}
    rows.append({"question": "the same, none of them seen before", "who": "silicast, student of the simulator", "answers/s": found})
    rows.append({"question": "the same, 40 of them", "who": "simulator", "answers/s": rate(lambda: simulate_many(nets[0], few), len(few), 2)})
    told, truth = networks.predict_many(GraphQuestions.cross(nets[0], few)), [a.values["latency_s"] for a in simulate_many(nets[0], few)]
    out["network_median_error"] = float(np.median(np.abs(told.point[:, 0] / np.array(truth) - 1.0)))
    graph = graph_network(scratch, quick)
    if graph is not None:
        p50, p99 = best(lambda i: graph.predict_many(asks[i]), 40, repeats)
        out |= {"graph_network_ms": p50 * 1e3, "graph_network_ms_p99": p99 * 1e3, "graph_network_cpu_ms": cpu(lambda i: graph.predict_many(asks[i]), 40) * 1e3}
        rows.append({"question": "ResNet-50 on one machine", "who": "silicast, graph network", "p50 ms": p50 * 1e3, "p99 ms": p99 * 1e3})
    return rows


def against_simulator(networks: Predictor, out: dict[str, Any], rng: np.random.Generator, repeats: int) -> list[dict[str, Any]]:
    """The same layers: how long the simulator searches for one mapping after another, how long the student takes in columns, and what it is off."""
    machines = [d for d in map(catalog.hardware, DRAWN) if d.kind == "gpu"][:_SEARCHES]
    layers = [sample_layer(rng) for _ in range(_SEARCHES)]
    ops = [OpColumns.from_ops([layer]) for layer in layers]
    p50, _ = best(lambda i: simulate_ops(ops[i], [machines[i % len(machines)]]), _SEARCHES, 2)
    asks = [GraphQuestions.cross(alone(layer), machines) for layer in layers]
    for one in asks:
        networks.predict_many(one)
    seconds = min(_timed(lambda: [networks.predict_many(one) for one in asks]) for _ in range(repeats)) / (len(asks) * len(machines))
    wide = asks[0].workloads[0]
    thousands = GraphQuestions.cross(wide, [sample_device(rng, "gpu", machines) for _ in range(4000)])
    per_answer = 1.0 / rate(lambda: networks.predict_many(thousands), len(thousands), repeats)
    off = []
    for one, op in zip(asks, ops, strict=True):
        truth = np.array([simulate(one.workloads[0], d).values["latency_s"] for d in machines[::8]])
        off.append(np.abs(networks.predict_many(GraphQuestions.cross(one.workloads[0], machines[::8])).point[:, 0] / truth - 1.0))
        del op
    error = float(np.median(np.concatenate(off)))
    # processor time of both, which others on the machine change least
    search, answer = cpu(lambda i: simulate_ops(ops[i % _SEARCHES], [machines[i % len(machines)]]), 4 * _SEARCHES), cpu(lambda i: networks.predict_many(thousands), 3) / len(thousands)
    out |= {"vs_simulator_x": search / answer, "vs_simulator_median_error": error, "mapping_search_ms": p50 * 1e3, "mapping_search_cpu_ms": search * 1e3, "layer_answer_cpu_us": answer * 1e6,
            "vs_zigzag_x": ZIGZAG_S_PER_LAYER / min(seconds, per_answer)}
    return [{"who": "the simulator's search for a mapping", "us per layer": p50 * 1e6, "processor us": search * 1e6}, {"who": "student, 40 layers on as many GPUs", "us per layer": seconds * 1e6},
            {"who": "student, one layer on 4,000 GPUs", "us per layer": per_answer * 1e6, "processor us": answer * 1e6, "median error": error},
            {"who": "ZigZag, as it says (2.5 s a layer)", "us per layer": ZIGZAG_S_PER_LAYER * 1e6}]


def _timed(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def processes(scratch: Path, folder: Path, out: dict[str, Any], repeats: int) -> list[dict[str, Any]]:
    """A cold `silicast predict net --on h100` with a student's model, an import, and the memory of a process that has answered."""
    import onnx

    place = scratch / "net.onnx"
    onnx.save(small_onnx(), str(place))
    env = {**os.environ, "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}

    def cold(words: list[str]) -> float:
        begin = time.perf_counter()
        done = subprocess.run([sys.executable, "-P", *words], capture_output=True, text=True, env=env)
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}: {done.stderr}")
        return time.perf_counter() - begin

    bare = min(cold(["-c", "pass"]) for _ in range(repeats))
    imported = min(cold(["-c", "import silicast"]) for _ in range(repeats))
    out["import_s"] = max(imported - bare, 0.0)
    rows = [{"what": "import silicast (beyond Python's own start)", "seconds": out["import_s"]}]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out["cold_predict_s"] = min(cold(["-m", "silicast", "predict", str(place), "--on", "h100", "--model", str(folder), "--json"]) for _ in range(repeats))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    out["cold_predict_cpu_s"] = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / repeats
    rows.append({"what": "silicast predict net.onnx --on h100, cold", "seconds": out["cold_predict_s"], "processor seconds": out["cold_predict_cpu_s"]})
    return rows


def gemm_model(scratch: Path, quick: bool) -> Path:
    """A small compiled model of GEMMs: of measured rows where they are, else of rows the simulator answers."""
    count = 5_000 if quick else 20_000
    data = data_folder()
    place = data / "aiconfigurator" / "gemm.parquet" if data is not None else None
    frame = pd.read_parquet(place).sample(count, random_state=0).reset_index(drop=True) if place is not None and place.exists() else simulated_rows(count)
    table = read_measured(frame, GEMM, skip_bad_rows=True)
    parts = split_by_group(table, {"train": 0.8, "calibrate": 0.2}, 0)
    surrogate = store.member("conformal")(store.member("boosted")(targets=("latency_s",), trees=300, threads=2), 0.9).fit(parts["train"])
    surrogate.conformalize(parts["calibrate"])
    combinations = frame[["hardware", "dtype", "framework", "kernel_source"]].drop_duplicates().to_dict("records")
    card = ModelCard("gemm", "1", "op", ("latency_s",), {"latency_s": "s"}, FEATURE_VERSION, "", table.source, table.digest, len(parts["train"]), "", 0.9, domain.describe(parts["train"]),
                     schema=GEMM, extra={"combinations": json.dumps(combinations)})
    folder = store.save(surrogate, card, scratch / "gemm")
    compile_model(folder, table=parts["train"], count=20_000 if quick else 100_000, shown=400_000 if quick else 3_000_000)
    return folder


def simulated_rows(count: int) -> pd.DataFrame:
    """GEMMs on four GPUs, answered by the simulator."""
    rng = np.random.default_rng(1)
    names = ("a100_sxm", "h100_sxm", "l40s", "t4")
    frame = pd.DataFrame({d: np.floor(2.0 ** rng.uniform(low, 13.5, count)) for d, low in (("m", 0), ("n", 5), ("k", 5))})
    frame = frame.assign(dtype=rng.choice(["float16", "int8"], count), hardware=rng.choice(names, count), framework="simulator", kernel_source="simulator", latency_ms=0.0)
    for name in names:
        for dtype in ("float16", "int8"):
            rows = frame.index[(frame["hardware"] == name) & (frame["dtype"] == dtype)]
            part = frame.loc[rows]
            ops = OpColumns.from_sizes("gemm", {"b": np.ones(len(rows)), "bias": np.zeros(len(rows)), **{d: part[d].to_numpy() for d in ("m", "n", "k")}}, np.full(len(rows), DTYPE_CODES[dtype]))
            frame.loc[rows, "latency_ms"] = simulate_ops(ops, [hardware(name)]).time_s[:, 0] * 1e3
    return frame


def network_model(scratch: Path, quick: bool) -> Path:
    """A student of the simulator, taught for less long than `silicast compile simulator` does."""
    compile_simulator(scratch / "networks", networks=150 if quick else 500, shown=800_000 if quick else 8_000_000)
    return scratch / "networks"


def graph_network(scratch: Path, quick: bool) -> Predictor | None:
    """A graph network of demo size; None where torch is not installed."""
    if find_spec("torch_geometric") is None:
        return None
    generate(scratch / "set", count=200 if quick else 1500, seed=2, progress=False, say=lambda text: None)
    parts = split_by_group(read_generated(scratch / "set"), {"train": 0.7, "valid": 0.1, "calibrate": 0.2})
    surrogate = store.member("conformal")(store.member("graphnet")(epochs=1), 0.9).fit(parts["train"], parts["valid"]).conformalize(parts["calibrate"])
    card = ModelCard(name="graphnet", version="1", shape="graph", targets=surrogate.targets, units={}, feature_version=FEATURE_VERSION, simulator_version="", data_source="", data_digest="",
                     data_rows=len(parts["train"]), split="", level=0.9, domain=domain.describe(parts["train"]))
    return Predictor.load(store.save(surrogate, card, scratch / "graphnet"))


def sample_layer(rng: np.random.Generator) -> Op:
    """A matrix product or a convolution, as networks have them."""
    networks = sample(list(FAMILIES)[int(rng.integers(len(FAMILIES)))], rng)
    matrix = [op for op in networks.ops if op.kind in ("gemm", "conv")]
    return matrix[int(rng.integers(len(matrix)))] if matrix else sample_layer(rng)


def alone(op: Op) -> Workload:
    """A network of one operator."""
    build = WorkloadBuilder("layer", "layer")
    build.add(op, [build.input("x", int(op.counts["input_elements"]))])
    return build.build()


def resnet50(batch: int) -> Workload:
    """ResNet-50 at 224 x 224 (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1), float16, batch norms folded."""
    build = WorkloadBuilder(f"resnet50 b{batch}", "cnn_residual")

    def conv(name: str, x: Any, size: int, into: int, out: int, kernel: int, stride: int, relu: bool = True) -> tuple[Any, int]:
        to = -(-size // stride)
        y = build.add(Op.of(name, "conv", dtype="float16", batch=batch, in_channels=into, out_channels=out, in_h=size, in_w=size, out_h=to, out_w=to, kernel_h=kernel, kernel_w=kernel,
                            params=into * out * kernel * kernel), [x])
        return (build.add(Op.of(f"{name}.relu", "elementwise", dtype="float16", elements=batch * out * to * to), [y]) if relu else y), to

    x, size = conv("stem", build.input("image", batch * 3 * 224 * 224, dtype="float16"), 224, 3, 64, 7, 2)
    x = build.add(Op.of("pool", "pool", dtype="float16", batch=batch, channels=64, in_h=112, in_w=112, out_h=56, out_w=56, kernel_h=3, kernel_w=3), [x])
    size, channels = 56, 64
    for stage, (width, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for i in range(depth):
            stride = 2 if i == 0 and stage else 1
            name = f"s{stage}.{i}"
            y, _ = conv(f"{name}.a", x, size, channels, width, 1, 1)
            y, to = conv(f"{name}.b", y, size, width, width, 3, stride)
            y, _ = conv(f"{name}.c", y, to, width, 4 * width, 1, 1, relu=False)
            short = x if i else conv(f"{name}.short", x, size, channels, 4 * width, 1, stride, relu=False)[0]
            x = build.add(Op.of(f"{name}.add", "elementwise", dtype="float16", elements=batch * 4 * width * to * to, extra_elements=batch * 4 * width * to * to), [y, short])
            x = build.add(Op.of(f"{name}.relu", "elementwise", dtype="float16", elements=batch * 4 * width * to * to), [x])
            size, channels = to, 4 * width
    x = build.add(Op.of("mean", "reduce", dtype="float16", rows=batch * 2048, cols=49), [x])
    build.add(Op.of("fc", "gemm", dtype="float16", m=batch, n=1000, k=2048, params=2048 * 1000), [x])
    return build.build()


def small_onnx() -> Any:
    """A network of four convolutions as an ONNX model."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes, weights, before, channels = [], [], "x", 3
    for i, out in enumerate((32, 64, 128, 256)):
        weights.append(numpy_helper.from_array(rng.normal(size=(out, channels, 3, 3)).astype(np.float32), f"w{i}"))
        nodes += [helper.make_node("Conv", [before, f"w{i}"], [f"c{i}"], name=f"conv{i}", pads=[1, 1, 1, 1], strides=[2, 2]), helper.make_node("Relu", [f"c{i}"], [f"r{i}"], name=f"relu{i}")]
        before, channels = f"r{i}", out
    graph = helper.make_graph(nodes, "small", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 128, 128])],
                              [helper.make_tensor_value_info(before, TensorProto.FLOAT, [1, 256, 8, 8])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


if __name__ == "__main__":
    main()
