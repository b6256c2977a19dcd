"""The main job on embedded defaults: what `make run` shows a stranger.

Generate labelled data -> train boosted trees and a graph network, beside the analytic baseline -> register them -> judge them on unseen workloads and unseen devices ->
predict a real ONNX network nobody here wrote on a dozen devices, beside the simulator's answer.
"""

from __future__ import annotations

import importlib.util
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..datasets.errors import InputError
from ..datasets.measurement import TARGETS

Say = Callable[[str], None]

#: the devices of the closing table; some are never trained on, one cannot hold such a network: the flags should say so
DEMO_DEVICES = ("h100_sxm", "h200_sxm", "a100_sxm", "l40s", "l4", "t4", "rtx_4090", "mi300x", "tpu_v4", "xeon_8480", "raspberry_pi_4", "ethos_u55_256", "alveo_u250")
#: held out of training altogether
UNSEEN_DEVICES = ("mi300x", "l4", "tpu_v1", "raspberry_pi_4")


@dataclass(frozen=True)
class Sample:
    """A real ONNX network inside a package from the index: where it lies and the sizes its free dimensions take."""

    package: str
    file: str
    title: str
    dims: Mapping[str, int]


#: tried in order; the first that is installed is predicted
SAMPLES: tuple[Sample, ...] = (
    Sample("rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx", "PP-OCRv4 text detector, 1 x 3 x 640 x 640",
           {"p2o.DynamicDimension.0": 1, "p2o.DynamicDimension.1": 640, "p2o.DynamicDimension.2": 640}),
    Sample("magika", "models/standard_v3_3/model.onnx", "Magika file-type classifier, batch 1", {"unk__214": 1}),
)


def sample_network() -> tuple[Path, Sample]:
    """The first sample that is installed; its package is located, not imported. Raises InputError saying what to install."""
    for sample in SAMPLES:
        spec = importlib.util.find_spec(sample.package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            path = Path(folder) / sample.file
            if path.exists():
                return path, sample
    raise InputError("demo: no sample network is installed; run `pip install --no-deps rapidocr-onnxruntime`, or give your own with --onnx FILE")


def run_demo(out: Path, onnx: Path | None = None, count: int = 16_000, seed: int = 0, say: Say = print, quick: bool = False) -> dict[str, Any]:
    """Runs the whole way into the folder `out`; gives back what it found as a plain dict. `quick`: smaller models, a coarse answer.

    Raises InputError when there is no network to predict, or `out` holds something else.
    """
    from ..training.config import Experiment
    from ..training.pipeline import run

    begin = time.perf_counter()
    path, sample = (onnx, None) if onnx is not None else sample_network()
    workload = _read(path, sample.dims if sample else {})
    say(f"network to predict: {sample.title if sample else path.name} ({len(workload.ops)} operators, {workload.flops / 1e9:.3g} GFLOP, {workload.params / 1e6:.3g} M parameters)")
    story = run(Experiment.of(experiment(out, count, seed, quick), "demo"), say=say)
    rows = answers(workload, {m.name: m.folder for m in story.models})
    say(table_text(workload.name, rows))
    used = peak_memory_bytes()
    total = time.perf_counter() - begin
    result = {"network": workload.name, "models": {m.name: {"version": m.version, "folder": str(m.folder), "metrics": m.metrics} for m in story.models},
              "report": str(story.report), "registry": story.tracking_uri, "predictions": rows, "seconds": round(total, 1), "peak_memory_bytes": used}
    say(f"report:   {story.report}\nregistry: {story.tracking_uri} ({', '.join(f'models:/{m.name}@champion' for m in story.models if m.champion) or 'no champion moved'})\n"
        f"took {total:.0f} s, peak memory {used / 1e9:.2f} GB (largest process)")
    return result


def experiment(out: Path, count: int, seed: int, quick: bool) -> dict[str, Any]:
    """The demo's experiment document."""
    return {
        "name": "demo", "seed": seed, "out": str(out), "hold_out_devices": list(UNSEEN_DEVICES),
        "data": {"generate": {"out": str(out / f"data-{count}-{seed}"), "count": count, "per_workload": 4}},
        "split": {"train": 0.62, "valid": 0.06, "calibrate": 0.16, "test": 0.16},
        "targets": ["latency_s", "power_w", "energy_j", "memory_bytes"], "level": 0.9,
        "surrogates": [{"member": "analytic", "register_as": "silicast-analytic"},
                       {"member": "boosted", "register_as": "silicast-boosted", "settings": {"trees": 300 if quick else 800}},
                       {"member": "graphnet", "register_as": "silicast-graphnet", "settings": {"epochs": 3 if quick else 9, "hidden": 64, "pretrain": 0}}]}


def answers(workload: Any, folders: Mapping[str, Path]) -> list[dict[str, Any]]:
    """One row per demo device: the simulator's answer and each model's, with interval and domain flag."""
    from ..datasets.catalog import hardware
    from ..datasets.simulator import simulate_many
    from ..datasets.table import GraphQuestions
    from .predictor import Predictor

    devices = [hardware(key) for key in DEMO_DEVICES]
    simulated = simulate_many(workload, devices)
    predictions = {name: Predictor.load(str(folder)).predict_many(GraphQuestions.cross(workload, devices)) for name, folder in folders.items()}
    return [{"hardware": device.key, "trained_on": device.key not in UNSEEN_DEVICES, "simulator": {"values": answer.values, "infeasible": answer.infeasible},
             **{name: p.answer(i) for name, p in predictions.items()}} for i, (device, answer) in enumerate(zip(devices, simulated, strict=True))]


def table_text(network: str, rows: list[dict[str, Any]]) -> str:
    """The closing table as plain text."""
    from .quantities import interval, quantity

    def said_interval(answer: Mapping[str, Any], target: str) -> str:
        t = answer["targets"][target]
        said = interval(t["point"], t["low"], t["high"], TARGETS[target].unit)
        return said if answer["calibrated"] else said.replace(" [", " ~[")

    lines = [f"{network}: latency by the simulator, then point [90 % interval; ~ where it is not calibrated] by each model; energy by the boosted one",
             f"{'device':16s} {'simulator':>11s}  {'boosted':30s} {'graph network':30s} {'energy':>9s}  domain"]
    notes = []
    for row in rows:
        sim = row["simulator"]
        said = quantity(sim["values"]["latency_s"], "s") if sim["values"] else "does not fit"
        boosted, graph = row["silicast-boosted"], row["silicast-graphnet"]
        mark = "" if row["trained_on"] else " (device never trained on)"
        lines.append(f"{row['hardware']:16s} {said:>11s}  {said_interval(boosted, 'latency_s'):30s} {said_interval(graph, 'latency_s'):30s} "
                     f"{quantity(boosted['targets']['energy_j']['point'], 'J'):>9s}  {boosted['domain']['verdict']}{mark}")
        if boosted["domain"]["reason"]:
            notes.append(f"  {row['hardware']}: {boosted['domain']['reason']}")
        if sim["infeasible"]:
            notes.append(f"  {row['hardware']}: simulator: {sim['infeasible']}")
    return "\n".join([*lines, *notes])


def peak_memory_bytes() -> int:
    """Largest resident size of this process or any finished child, bytes (Linux and macOS report it in different units)."""
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


def _read(path: Path, dims: Mapping[str, int]) -> Any:
    from ..datasets.frontends import read

    return read(path, dims=dict(dims))
