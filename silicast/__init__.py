"""silicast forecasts what a workload will cost on a piece of hardware, with an interval, and says when it does not know.

    import silicast as sc
    workload = sc.read("net.onnx", dims={"batch": 8})
    sc.simulate(workload, sc.hardware("h100"))
    sc.Predictor.load("models:/silicast-boosted@champion").predict(workload, sc.hardware("h100"))

Names are loaded when first used: importing silicast loads no heavy library.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

#: public name -> module that defines it
_PUBLIC: dict[str, str] = {
    "Op": "datasets.ops",
    "Workload": "datasets.workload",
    "WorkloadBuilder": "datasets.workload",
    "Hardware": "datasets.hardware",
    "MemoryLevel": "datasets.hardware",
    "Query": "datasets.measurement",
    "Measurement": "datasets.measurement",
    "TARGETS": "datasets.measurement",
    "read": "datasets.frontends",
    "hardware": "datasets.catalog",
    "cluster": "datasets.catalog.clusters",
    "transformer": "datasets.catalog.transformers",
    "Cluster": "datasets.cluster",
    "Transformer": "datasets.transformer",
    "simulate": "datasets.simulator",
    "simulate_serving": "datasets.simulator.serving",
    "ServingPlan": "datasets.simulator.serving_plan",
    "required": "datasets.simulator.serving_required",
    "simulate_training": "datasets.simulator.parallel_step",
    "ParallelPlan": "datasets.simulator.parallel",
    "collective": "datasets.simulator.collectives",
    "replay": "datasets.simulator.replay",
    "generate": "datasets.generate",
    "Prediction": "surrogates.prediction",
    "Predictor": "serving.predictor",
    "explain": "serving.explaining",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'silicast' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"silicast.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
