"""Loads that are no networks: learning without layers, vector search, graph layers, transforms, stencils, as workloads of the usual operators.

    workload = CLASSICAL["knn"](queries=16, points=1_000_000, features=96)

`CLASSICAL` names them; sizes are arguments with defaults. The docstring of each says its operations, which tests count by hand, and what an operator
stands for where there is none of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from ..workload import Workload
from .graph import gat, gcn, sage, spmm
from .grid import fft, stencil
from .learning import kmeans_step, knn, random_forest, svm
from .search import ivf_pq

__all__ = ["CLASSICAL"]

#: kernel -> builder; a plain dict names them
CLASSICAL: dict[str, Callable[..., Workload]] = {
    "svm": svm, "knn": knn, "kmeans_step": kmeans_step, "random_forest": random_forest, "ivf_pq": ivf_pq, "spmm": spmm, "gcn": gcn, "sage": sage, "gat": gat,
    "fft": fft, "stencil": stencil,
}
