"""The protocols of plain tables and of networks that `benchmarks/accuracy.py` runs, and how one is judged.

Every protocol goes the way of a user: a frame and a schema through `read_measured`, the default surrogate, answers for rows of groups it never saw. It gives trials, nothing of which is
done before they are called with a seed and whether to be quick: each returns a row per target and measure: what others published, what was aimed at, ours, and plain LightGBM on the same rows.

Where rows are drawn by chance the figures are medians over the seeds, `spread` how far they lie apart; what chance does not draw (a machine, a model held out), and shots, of which a trial makes
several draws, are asked once.
"""

from __future__ import annotations

import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from silicast.datasets.measured import Schema, read_measured
from silicast.datasets.table import Table
from silicast.features import domain as domains
from silicast.features.device import named_machine
from silicast.features.network_table import widened
from silicast.features.tabular import learn_vocabulary, tabular_features
from silicast.surrogates import store
from silicast.surrogates.classifier import auroc
from silicast.training import fitting, metrics
from silicast.training.calibrating import adapter

Row = dict[str, Any]
#: called with `seed=` and `quick=`
Trial = Callable[..., list[Row]]
Measure = Callable[[np.ndarray, np.ndarray], float]
#: rows learned from and rows asked about at most when it is to be quick
QUICK_ROWS = 600


def mape(y: np.ndarray, p: np.ndarray) -> float:
    """Mean APE in percent."""
    return 100.0 * float(np.nanmean(metrics.ape(y, p)))


def median_ape(y: np.ndarray, p: np.ndarray) -> float:
    """Median APE in percent."""
    return 100.0 * float(np.nanmedian(metrics.ape(y, p)))


def smape(y: np.ndarray, p: np.ndarray) -> float:
    """Mean of |p - y| / ((|p| + |y|) / 2) in percent; both zero counts as right."""
    middle = (np.abs(y) + np.abs(p)) / 2.0
    return 100.0 * float(np.mean(np.where(middle > 0, np.abs(p - y) / np.where(middle > 0, middle, 1.0), 0.0)))


def r2(y: np.ndarray, p: np.ndarray) -> float:
    """Coefficient of determination."""
    return 1.0 - float(((y - p) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def plain_trees(train: Table, asked: Table, target: str) -> np.ndarray:
    """(n,) answers of untuned LightGBM on the same columns: 200 trees, squared error, logarithms of positive targets."""
    import lightgbm

    words = learn_vocabulary(train.questions)
    seen = tabular_features(train.questions, words)
    y = train.targets[target]
    good = np.isfinite(y)
    log = bool((y[good] > 0).all())
    data = lightgbm.Dataset(seen.values[good], np.log(y[good]) if log else y[good], categorical_feature=list(seen.categorical))
    found = lightgbm.train({"verbosity": -1, "num_threads": 1, "deterministic": True, "seed": 0}, data, 200).predict(tabular_features(asked.questions, words).ordered(seen.names).values)
    return np.exp(found) if log else np.asarray(found)


def learned(train: Table, seed: int) -> Any:
    """The surrogate that `silicast fit` makes of a table. Sites of an operator table hang on label and seed, so its seed is another than that of what was held out: with
    the same one no row would calibrate."""
    return fitting.learned(train, tuple(train.targets), "group", seed + (1000 if train.questions.shape == "op" else 0), 0.9, lambda text: None).surrogate


def held_out(name: str, frame: pd.DataFrame, schema: Mapping[str, Any], asked: np.ndarray, wanted: Sequence[tuple[str, str, Measure, str, str]], skip: np.ndarray | None = None,
             shots: Sequence[int] = (), aims: Mapping[str, str] | None = None, *, seed: int, quick: bool) -> list[Row]:
    """One row per (target, measure): learn from the rows outside the (n,) mask `asked` (and `skip`), answer those inside. `shots`: how many of those inside correct the model then, and are
    not asked; `aims`: target -> what is aimed at with them."""
    use = ~asked if skip is None else ~(asked | skip)
    if quick:
        use, asked = (mask & np.isin(np.arange(len(mask)), np.random.default_rng(seed).permutation(np.flatnonzero(mask))[:QUICK_ROWS]) for mask in (use, asked))
    started, spec = time.process_time(), Schema.read(schema)
    train, test = (read_measured(frame[mask].reset_index(drop=True), spec, skip_bad_rows=True) for mask in (use, asked))
    model = learned(train, seed)
    found = model.predict(test.questions)
    took = time.process_time() - started
    trees = {target: plain_trees(train, test, target) for target in dict.fromkeys(w[0] for w in wanted)}
    out = []
    for target, label, measure, published, aim in wanted:
        j = found.column(target)
        y, p = test.targets[target], found.point[:, j]
        good = np.isfinite(y)
        covered = None if "AUROC" in label or not np.isfinite(found.low[good, j]).all() else metrics.coverage(y[good], found.low[good, j], found.high[good, j])
        out.append({"protocol": name, "target": target, "measure": label, "published": published, "aim": aim, "ours": measure(y[good], p[good]),
                    "plain LightGBM": measure(y[good], trees[target][good]), "coverage": covered, "rows": int(good.sum()), "cpu s": round(took, 1)})
    return out + (corrected(name, model, spec, train, test, shots, aims or {}, seed) if shots else [])


#: draws of shots; figures are means over them. Rows of the new machine at most, to draw from and to judge on; how many shots
DRAWS, ROWS_OF_SHOTS, SHOTS = 5, 1_500, (10, 20, 50, 100)


def corrected(name: str, model: Any, spec: Schema, train: Table, other: Table, counts: Sequence[int], aims: Mapping[str, str], seed: int) -> list[Row]:
    """Rows of a fitted model before and after so many random shots of `other`, judged on the rest of it: means over draws of shots."""
    rng = np.random.default_rng(seed)
    other = other.take(np.sort(rng.permutation(len(other))[:ROWS_OF_SHOTS]))
    card: Any = SimpleNamespace(domain=domains.describe(train), schema=spec.model_dump(mode="json"), level=0.9)
    before, out = model.predict(other.questions), []
    for shots in counts:
        started = time.process_time()
        each: dict[str, list[tuple[float, float, float]]] = {t: [] for t in model.targets}
        for _ in range(DRAWS):
            order = rng.permutation(len(other))
            mine, left = other.take(order[:shots]), order[shots:]
            rest = other.take(left)
            after = adapter(model, card, mine).adapt(mine).predict(rest.questions)
            for j, target in enumerate(model.targets):
                y = rest.targets[target]
                each[target].append((median_ape(y, after.point[:, j]), median_ape(y, before.point[left, j]), metrics.coverage(y, after.low[:, j], after.high[:, j])))
        for target, figures in each.items():
            (ours, uncorrected, covered), worse = (float(x) for x in np.mean(figures, axis=0)), float(np.mean([after > before for after, before, _ in figures]))
            out.append({"protocol": f"{name}, {shots} rows", "target": target, "measure": "median APE %", "published": "-", "aim": aims.get(target, "-"), "ours": ours, "uncorrected": uncorrected,
                        "draws made worse": worse, "coverage": covered, "rows": len(other) - shots, "cpu s": round(time.process_time() - started, 1)})
    return out


def some_groups(groups: Sequence[Any], share: float, seed: int) -> np.ndarray:
    """(n,) mask of the rows of a share of the groups."""
    labels = np.asarray([str(g) for g in groups])
    names = np.unique(labels)
    return np.isin(labels, np.random.default_rng(seed).permutation(names)[:max(1, round(share * len(names)))])


def accel_nasbench(data: Path, quick: bool, seed: int) -> Iterator[Trial]:
    """Accel-NASBench (arXiv:2404.08005), its own split."""
    frame = pd.read_parquet(data / "accel_nasbench" / "performance.parquet")
    features = [c for c in frame if c.startswith("block")] + ["macs", "params"]
    columns = [c for c in frame if c.endswith("_mean")]
    for column in columns:
        part = frame[np.isfinite(frame[column]) & (frame[column] > 0)].reset_index(drop=True)
        schema = {"features": features, "targets": {"value": {"column": column}}}
        yield partial(held_out, f"Accel-NASBench {column.split('.')[0]}", part, schema, (part["split"] == "test").to_numpy(), [("value", "Kendall tau", metrics.kendall, "-", "0.97")],
                      (part["split"] == "val").to_numpy())


def hat(data: Path, quick: bool, seed: int) -> Iterator[Trial]:
    """HAT (arXiv:2005.14187): each file's first 80 % against its last 10 %."""
    frame = pd.read_parquet(data / "hat" / "latency.parquet")
    schema = {"features": [c for c in frame if c.startswith(("encoder_", "decoder_"))], "targets": {"latency_s": {"column": "latency_total_ms", "unit": "ms"}}}
    for (task, device), part in frame.groupby(["task", "device"]):
        ordered = part.sort_values("row_in_file").reset_index(drop=True)
        place = np.arange(len(ordered)) / len(ordered)
        xeon = "xeon" in str(device)
        yield partial(held_out, f"HAT {task} {device}", ordered, schema, place >= 0.9, [("latency_s", "MAPE %", mape, "boosted " + ("5.1" if xeon else "0.8"), "4.5" if xeon else "0.7")],
                      (place >= 0.8) & (place < 0.9))


def zeus(data: Path, quick: bool, seed: int) -> Iterator[Trial]:
    """Zeus (NSDI 2023): (network, batch size) pairs never seen; a GPU never seen, with no rows of it and with 10 to 100."""
    frame = pd.read_parquet(data / "zeus" / "train_power_limit.parquet").dropna().reset_index(drop=True)
    schema = {"hardware": "gpu", "features": ["dataset", "network", "batch_size", "optimizer", "power_limit_w"],
              "targets": {"latency_s": {"column": "time_per_epoch_s", "unit": "s"}, "power_w": {"column": "average_power_w", "unit": "W"}}, "group": ["network", "batch_size"]}
    wanted = [("latency_s", "median APE %", median_ape, "-", "4"), ("latency_s", "MAPE %", mape, "-", "4"), ("power_w", "median APE %", median_ape, "-", "4"), ("power_w", "MAPE %", mape, "-", "4")]
    yield partial(held_out, "Zeus, unseen (network, batch)", frame, schema, some_groups(frame["network"] + frame["batch_size"].astype(str), 0.2, seed), wanted)
    for gpu in ("a40", "p100", "rtx6000") if seed == 0 else ():
        mine = frame["gpu"].str.contains(gpu[:4]).to_numpy()
        if mine.any() and not mine.all():
            yield partial(held_out, f"Zeus, unseen {gpu}", frame, schema, mine, [(*w[:4], "-") for w in wanted if "median" in w[1]], shots=SHOTS, aims={"latency_s": "8", "power_w": "8"})


def larger(data: Path, quick: bool, seed: int) -> Iterator[Trial]:
    """Numbers beyond all that was learned from, of plain tables: the largest messages of collectives (Vidur, NCCL), the longest caches and largest batches of an attention (Vidur), batches above 64 (Zeus)."""
    wanted = [("latency_s", label, f, "-", "-") for label, f in (("median APE %", median_ape), ("MAPE %", mape))]
    timed = {"column": "median_ms", "unit": "ms"}
    tables: list[tuple[str, str, dict[str, Any], str, float]] = [
        ("vidur/collectives", "Vidur collectives", {"features": ["num_workers", "size", "collective", "devices_per_node", "node"], "targets": {"latency_s": timed}, "group": ["size", "num_workers"]}, "size", 0.8),
        ("aiconfigurator/comm_nccl", "NCCL", {"hardware": "hardware", "features": ["framework", "op_name", "nccl_dtype", "num_gpus", "message_size"], "group": ["op_name", "num_gpus", "nccl_dtype"],
                                              "targets": {"latency_s": {"column": "latency_ms", "unit": "ms"}}}, "message_size", 0.85),
        *(("vidur/attention_a100_llama2_70b_tp2", "Vidur attention", {"features": ["batch_size", "prefill_chunk_size", "kv_cache_size", "is_prefill", "op"], "targets": {"latency_s": timed},
                                                                       "group": ["batch_size", "prefill_chunk_size", "kv_cache_size"]}, column, 0.8) for column in ("kv_cache_size", "batch_size")),
        ("zeus/train_power_limit", "Zeus", {"hardware": "gpu", "features": ["dataset", "network", "batch_size", "optimizer", "power_limit_w"], "group": ["network", "batch_size"],
                                            "targets": {"latency_s": {"column": "time_per_epoch_s", "unit": "s"}}}, "batch_size", 0.6)]
    for file, name, schema, column, share in tables:
        frame = pd.read_parquet(data / f"{file}.parquet")
        frame = frame[frame[schema["targets"]["latency_s"]["column"]] > 0].dropna(subset=schema["features"]).reset_index(drop=True)
        most = float(frame[column].quantile(share))
        yield partial(held_out, f"{name}, {column} above {most:.3g}", frame, schema, (frame[column] > most).to_numpy(), wanted)


def ecnas(data: Path, quick: bool, seed: int) -> Iterator[Trial]:
    """EC-NAS (arXiv:2210.06015): cells never seen."""
    frame = pd.read_parquet(data / "ecnas" / "cell_training_energy.parquet").dropna(subset=["gpu_energy_j", "gpu_power_w"]).reset_index(drop=True)
    schema = {"features": ["space", "trainable_params", "adjacency", "ops"], "targets": {"energy_j": {"column": "gpu_energy_j", "unit": "J"}, "power_w": {"column": "gpu_power_w", "unit": "W"}},
              "group": ["arch_hash"]}
    wanted = [(t, label, f, "-", aim) for t, aim in (("energy_j", "5"), ("power_w", "4")) for label, f in (("MAPE %", mape), ("median APE %", median_ape))]
    yield partial(held_out, "EC-NAS, unseen cells", frame, schema, some_groups(frame["arch_hash"], 0.2, seed), wanted)


def gpuptx(data: Path, quick: bool, seed: int) -> Iterator[Trial]:
    """gpuPTXModel (TPDS 2019): clocks never seen; benchmarks never seen."""
    frame = pd.read_parquet(data / "gpuptx" / "titanx_dvfs.parquet")
    frame = frame[(frame["time_ms"] > 0) & (frame["power_w"] > 0)].reset_index(drop=True)
    targets = {"latency_s": {"column": "time_ms", "unit": "ms"}, "power_w": {"column": "power_w", "unit": "W"}}
    clocks = ["mem_mhz", "core_mhz"]
    wanted = [(t, label, f, "-", aim) for t in targets for label, f in (("MAPE %", mape), ("median APE %", median_ape)) for aim in ["3"]]
    yield partial(held_out, "gpuPTX, unseen clocks", frame, {"features": ["benchmark", *clocks], "targets": targets, "group": clocks},
                  some_groups(frame["mem_mhz"].astype(str) + "/" + frame["core_mhz"].astype(str), 0.2, seed), wanted)
    counts = [c for c in frame if c.startswith("ptx_") and frame[c].nunique() > 1]
    yield partial(held_out, "gpuPTX, unseen benchmark", frame, {"features": [*counts, *clocks], "targets": targets, "group": ["benchmark"]},
                  some_groups(frame["benchmark"], 0.2, seed), [(t, label, f, "-", "12") for t, label, f, _, _ in wanted])


def llm_inference_bench(data: Path, quick: bool, seed: int) -> Iterator[Trial]:
    """LLM-Inference-Bench (arXiv:2411.00136): (model, device) pairs never seen; a device never seen."""
    frame = pd.read_parquet(data / "llm_inference_bench" / "throughput.parquet").dropna()
    frame = frame[frame["latency_s"] > 0].reset_index(drop=True)
    schema = {"hardware": "hardware", "features": ["num_devices", "framework", "model", "in_out_len", "batch_size"], "targets": {"latency_s": {"column": "latency_s", "unit": "s"}},
              "group": ["model", "hardware"]}
    yield partial(held_out, "LLM-Inference-Bench, unseen pair", frame, schema, some_groups(frame["model"] + frame["hardware"], 0.2, seed),
                  [("latency_s", "median APE %", median_ape, "-", "12"), ("latency_s", "MAPE %", mape, "-", "-")])
    machine = frame["hardware"].map({name: getattr(named_machine(name), "key", name) for name in frame["hardware"].unique()})  # Intel's GPU stands there by two names
    for key in sorted(machine.unique()) if seed == 0 else ():
        names = " and ".join(sorted(frame["hardware"][machine == key].unique()))
        yield partial(held_out, f"LLM-Inference-Bench, unseen {names}", frame, schema, (machine == key).to_numpy(), [("latency_s", "median APE %", median_ape, "WattGPU, other data: 8.5", "25")],
                      shots=SHOTS if key == "a100_sxm" else ())


def serving(data: Path, quick: bool, seed: int) -> Iterator[Trial]:
    """Served language models of aiconfigurator's end-to-end table: a model never seen, each in turn (those with 150 rows or more); known models in settings never seen."""
    frame = pd.read_parquet(data / "aiconfigurator" / "serving_end_to_end.parquet")
    frame = frame[frame["concurrency"].notna() & (frame["ttft_ms"] > 0) & (frame["tpot_ms"] > 0)].reset_index(drop=True)
    frame["precision"] = frame["precision"].astype(object).where(frame["precision"].notna(), "not told")
    frame["attention_dp_size"] = frame["attention_dp_size"].astype("Float64").fillna(1.0).astype(float)
    features = ["backend", "model_path", "precision", "isl", "osl", "concurrency", "tp_size", "attention_dp_size", "moe_ep_size"]
    schema = {"hardware": "hardware", "features": features, "group": ["model_path"], "targets": {"ttft_s": {"column": "ttft_ms", "unit": "ms"}, "tpot_s": {"column": "tpot_ms", "unit": "ms"}}}
    wanted = [("ttft_s", "median APE %", median_ape, "-", "20"), ("tpot_s", "median APE %", median_ape, "-", "12")]
    counts = frame["model_path"].value_counts()
    for model in [m for m in counts.index if counts[m] >= 150] if seed == 0 else ():
        yield partial(held_out, f"serving, unseen {str(model).rpartition('/')[2]}", frame, schema, (frame["model_path"] == model).to_numpy(), wanted)
    inputs = ["hardware", *features]
    yield partial(held_out, "serving, unseen configuration", frame, {**schema, "group": inputs}, some_groups(frame[inputs].astype(str).agg("|".join, axis=1), 0.2, seed),
                  [(t, label, f, published, "-") for t, label, f, published, _ in wanted])


def splitwise(data: Path, quick: bool, seed: int) -> Iterator[Trial]:
    """Splitwise (ISCA 2024): configurations never seen; a machine never seen, beside a single other one."""
    frame = pd.read_parquet(data / "splitwise" / "perf.parquet").dropna(subset=["prompt_time_ms", "token_time_ms"]).reset_index(drop=True)  # power is missing from most rows, and not asked for
    inputs = ["model", "hardware", "prompt_size", "batch_size", "token_size", "tensor_parallel"]
    schema = {"hardware": "hardware", "features": [c for c in inputs if c != "hardware"], "group": inputs,
              "targets": {"ttft_s": {"column": "prompt_time_ms", "unit": "ms"}, "tpot_s": {"column": "token_time_ms", "unit": "ms"}}}
    wanted = [(t, label, f, "2.84 (leaky)", "2.5") for t in ("ttft_s", "tpot_s") for label, f in (("MAPE %", mape), ("median APE %", median_ape))]
    yield partial(held_out, "Splitwise, unseen configuration", frame, schema, some_groups(frame[inputs].astype(str).agg("|".join, axis=1), 0.2, seed), wanted)
    for machine in sorted(frame["hardware"].unique()) if seed == 0 else ():
        yield partial(held_out, f"Splitwise, unseen {machine}", frame, schema, (frame["hardware"] == machine).to_numpy(), [(t, label, f, "-", "-") for t, label, f, _, _ in wanted if "median" in label])


def hls4ml(data: Path, quick: bool, seed: int) -> Iterator[Trial]:
    """wa-hls4ml's two-layer networks: configurations never seen; will it synthesise?"""
    frame = pd.read_parquet(data / "hls4ml" / "two_layer_dense.parquet")
    names = {"cycles": "WorstLatency_hls", "interval_cycles": "IntervalMax_hls", "ff": "FF_hls", "lut": "LUT_hls", "bram_18k": "BRAM_18K_hls", "dsp": "DSP_hls"}
    inputs = ["d_in", "d_out", "prec", "rf", "strategy"]
    asked = some_groups(frame[inputs].astype(str).agg("|".join, axis=1), 0.2, seed)
    done = frame["hls_synth_success"].to_numpy(dtype=bool) & frame[list(names.values())].notna().all(axis=1).to_numpy()
    schema = {"features": inputs, "targets": {t: {"column": c} for t, c in names.items()}}
    wanted = [(t, label, f, published, aim) for t in names for label, f, published, aim in (("R2", r2, "0.80 to 0.98", "0.98"), ("sMAPE %", smape, "10 to 30", "8"))]
    yield partial(held_out, "hls4ml, unseen configuration", frame[done].reset_index(drop=True), schema, asked[done], wanted)
    yield partial(held_out, "hls4ml, does it synthesise", frame, {"features": inputs, "targets": {"success": {"column": "hls_synth_success"}}}, asked, [("success", "AUROC", auroc, "-", "0.98")])


def hlsyn(data: Path, quick: bool, seed: int) -> Iterator[Trial]:
    """HLSyn (NeurIPS 2023): designs of known kernels, by their pragmas; kernels never seen, by their program graphs."""
    frame = pd.read_parquet(data / "hlsyn" / "designs.parquet")
    if quick:
        frame = frame[frame["kernel"].isin(sorted(frame["kernel"].unique())[::4])]
    frame = frame.sample(frac=1.0, random_state=seed).reset_index(drop=True)
    asked = some_groups(frame["kernel"] + frame["point"], 0.2, seed)
    valid = frame["valid"].to_numpy(dtype=bool) & (frame["perf_cycles"] > 0).to_numpy()
    yield partial(held_out, "HLSyn, designs of known kernels", frame[valid].reset_index(drop=True), {"features": ["kernel", "tool", "point"], "targets": {"cycles": {"column": "perf_cycles"}}, "group": ["kernel", "point"]},
                  asked[valid], [("cycles", "R2 of log", metrics.r2_log, "-", "0.97"), ("cycles", "MAPE %", mape, "-", "-")])
    yield partial(held_out, "HLSyn, is it valid", frame, {"features": ["kernel", "tool", "point"], "targets": {"valid": {"column": "valid"}}, "group": ["kernel", "point"]}, asked,
                  [("valid", "AUROC", auroc, "-", "0.97")])


def hlsyn_kernels(data: Path, quick: bool, seed: int) -> Iterator[Trial]:
    """HLSyn, kernels never seen."""
    yield partial(_unseen_kernels, data)


def _unseen_kernels(data: Path, *, seed: int, quick: bool) -> list[Row]:
    """One in four kernels is held out with all its designs; Spearman inside each, then the mean."""
    frame = pd.read_parquet(data / "hlsyn" / "designs.parquet")
    frame = frame[frame["valid"] & (frame["perf_cycles"] > 0)].sample(frac=1.0, random_state=seed)
    frame = frame.groupby("kernel").head(60 if quick else 150).reset_index(drop=True)
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(data / "hlsyn" / "graphs.tar.gz") as packed:
            packed.extractall(folder, filter="data")
        graphs = Path(folder) / "graphs"
        frame = frame[[(graphs / f"{k}_processed_result.gexf").exists() for k in frame["kernel"]]].reset_index(drop=True)
        schema = {"workload": {"column": "kernel", "format": f"{graphs}/{{}}_processed_result.gexf"}, "columns": {"point": "point"}, "features": ["tool"],
                  "targets": {"cycles": {"column": "perf_cycles"}}, "group": ["kernel"]}
        table = read_measured(frame, schema, skip_bad_rows=True)
    kernels = table.groups.astype(str)
    names = np.unique(kernels)
    fold = dict(zip(np.random.default_rng(seed).permutation(names), np.arange(len(names)) % 4, strict=True))
    place = np.array([fold[k] for k in kernels])
    ranks: dict[str, list[float]] = {"ours": [], "plain LightGBM": []}
    started = time.process_time()
    for i in range(1 if quick else 4):
        train, test = table.take(place != i), table.take(place == i)
        seen = [replace(t, questions=widened(t.questions)) for t in (train, test)]
        answers = {"ours": learned(train, seed).predict(test.questions).point[:, 0], "plain LightGBM": plain_trees(seen[0], seen[1], "cycles")}
        for kernel in np.unique(test.groups.astype(str)):
            here = test.groups.astype(str) == kernel
            if here.sum() >= 10 and np.ptp(test.targets["cycles"][here]) > 0:
                for how, found in answers.items():
                    ranks[how].append(metrics.spearman(test.targets["cycles"][here], found[here]))
    return [{"protocol": "HLSyn, kernels never seen", "target": "cycles", "measure": "Spearman inside the kernel", "published": "-", "aim": "0.75",
             **{how: float(np.nanmean(each)) for how, each in ranks.items()}, "rows": len(table), "cpu s": round(time.process_time() - started, 1)}]


#: devices a run leaves out: one of each family
HELP_DEVICES = {"nasbench201": ("2080ti_256", "1080ti_1", "titanx_32", "silver_4210r", "samsung_a50", "pixel3"), "fbnet": ("2080ti_64", "titan_rtx_1", "gold_6226", "silver_4210r", "samsung_a50", "pixel3")}


def help_few_shots(data: Path, quick: bool, seed: int) -> Iterator[Trial]:
    """HELP (NeurIPS 2021): a device never seen, 10 measurements out of architectures 0 to 899, Spearman over the middle 80 % of the next 1,000. Learned from 300
    other architectures on the other devices, as networks. The floor is what a process learned from 300 measurements of that device itself reaches."""
    for space, published in (("nasbench201", "0.932"), ("fbnet", "0.910")):
        wide = pd.read_parquet(data / "help" / f"{space}_latency.parquet")
        ops = [c for c in wide if c.startswith("op")]
        rng = np.random.default_rng(seed)
        shown = (wide["arch_idx"] < 1900) & (wide["arch_idx"] % (6 if quick else 2) == 0)
        kept = wide[shown | wide["arch_idx"].isin(rng.permutation(np.arange(1900, len(wide)))[:150 if quick else 300])]
        if space == "fbnet":
            kept = kept.assign(**{c: kept[c].astype(int) for c in ops})
        long = kept.melt(["arch_idx", *(["arch_str"] if "arch_str" in wide else ops)], [c for c in wide if c.startswith("lat_")], "device", "ms").dropna()
        long = long.assign(ms=long["ms"].astype(float), device=long["device"].str[4:-3])
        long = long[long["ms"] > 0].reset_index(drop=True)
        encoded = {"workload": {"column": "arch_str", "format": "nas-bench-201"}} if "arch_str" in wide else {"workload": {"format": "fbnet"}, "fixed": {"resolution": 32}}
        spec = Schema.read({**encoded, "hardware": "device", "targets": {"latency_s": {"column": "ms", "unit": "ms"}}, "group": ["arch_idx"]})
        table, number, on = read_measured(long, spec), long["arch_idx"].to_numpy(), long["device"].to_numpy()
        for device in HELP_DEVICES[space]:
            yield partial(_new_device, f"HELP {space}, unseen {device}, 10 rows", spec, table.take((on != device) & (number >= 1900)), table.take(on == device), number[on == device], published)


def _new_device(name: str, spec: Schema, train: Table, new: Table, own: np.ndarray, published: str, *, seed: int, quick: bool) -> list[Row]:
    """Learned from `train`, corrected by ten of the architectures 0 to 899 among `own`, (n,) numbers of those of `new`."""
    started, rng = time.process_time(), np.random.default_rng(seed)
    model = learned(train, seed)
    card: Any = SimpleNamespace(domain=domains.describe(train), schema=spec.model_dump(mode="json"), level=0.9)
    truth = new.targets["latency_s"]
    pool, query = np.flatnonzero(own < 900), np.flatnonzero((own >= 900) & (own < 1900))
    low, high = np.quantile(truth[query], [0.1, 0.9])
    query = query[(truth[query] >= low) & (truth[query] <= high)]
    chosen = {"ours": [pool[rng.permutation(len(pool))[:10]] for _ in range(1 if quick else DRAWS)],
              "ours, 10 suggested": [pool[adapter(model, card, new.take(pool)).most_telling(new.questions.take(pool), 10)]]}
    figures: dict[str, float] = {}
    for how, picks in chosen.items():
        answers = [adapter(model, card, new.take(p)).adapt(new.take(p)).predict(new.questions.take(query)) for p in picks]
        figures[how] = float(np.mean([metrics.spearman(truth[query], a.point[:, 0]) for a in answers]))
        if how == "ours":
            figures["coverage"] = float(np.mean([metrics.coverage(truth[query], a.low[:, 0], a.high[:, 0]) for a in answers]))
    mine = replace(new.take(np.flatnonzero(own >= 1900)), questions=widened(new.questions.take(np.flatnonzero(own >= 1900))))
    floor = store.member("kernel")(targets=("latency_s",), seed=seed).fit(mine).predict(widened(new.questions.take(query))).point[:, 0]
    return [{"protocol": name, "target": "latency_s", "measure": "Spearman", "published": published, "aim": "0.975", **figures,
             "learned from 300 of its own": metrics.spearman(truth[query], floor), "rows": len(query), "cpu s": round(time.process_time() - started, 1)}]


PROTOCOLS: dict[str, Callable[[Path, bool, int], Iterator[Trial]]] = {
    "accel_nasbench": accel_nasbench, "hat": hat, "zeus": zeus, "ecnas": ecnas, "gpuptx": gpuptx, "llm_inference_bench": llm_inference_bench, "serving": serving, "splitwise": splitwise, "hls4ml": hls4ml,
    "hlsyn": hlsyn, "hlsyn_kernels": hlsyn_kernels, "help": help_few_shots, "larger": larger,
}
#: protocols whose rows are drawn by nobody, or whose one run draws often enough: one seed says it
ONE_SEED = ("accel_nasbench", "hat", "help", "hlsyn_kernels", "larger")


def rows(data: Path, name: str, quick: bool, seed: int) -> Iterator[Row]:
    """A protocol's rows, as they are done; to be quick, those of its first trial."""
    for trial in islice(PROTOCOLS[name](data, quick, seed), 1 if quick else None):
        yield from trial(seed=seed, quick=quick)


def over_seeds(found: Sequence[Row]) -> list[Row]:
    """The median over seeds of every (protocol, target, measure), `spread` how far ours lie apart."""
    each: dict[tuple[str, str, str], list[Row]] = {}
    for row in found:
        each.setdefault((row["protocol"], row["target"], row["measure"]), []).append(row)
    out = []
    for same in each.values():
        figures = {k: [r[k] for r in same if isinstance(r.get(k), float)] for k in same[0]}
        middle = {k: float(np.median(figures[k])) if figures[k] and k != "cpu s" else v for k, v in same[0].items()}
        out.append({**middle, "spread": float(np.ptp(figures["ours"])), "seeds": len(same), "cpu s": round(sum(r["cpu s"] for r in same), 1)})
    return out
